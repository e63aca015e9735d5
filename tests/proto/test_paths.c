/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One namespace by two controllers, each by a port of its own (checklist 5.3): which path
 * I/O takes, what happens when one goes, and that nobody suffers from what befell another.
 */
#include <signal.h>

#include "rig.h"

enum { SEEN = 64 };

/* The second controller, and what was heard of both. */
static struct {
	struct nof_ctrl *ctrl;
	uint16_t port;
	struct {
		const struct nof_ctrl *ctrl;
		enum nof_event_type type;
		enum nof_ctrl_state state;
	} seen[SEEN];
	unsigned nseen;
} b;

static void on_event(void *arg, const struct nof_event *ev)
{
	struct rig *r = arg;

	rig_on_event(arg, ev);
	if (b.nseen < SEEN) {
		b.seen[b.nseen].ctrl = ev->ctrl;
		b.seen[b.nseen].type = ev->type;
		b.seen[b.nseen++].state = ev->state;
	}
	if (r->drive == RIG_RUN)
		nof_loop_stop(r->loop);
}

static unsigned seen(const struct nof_ctrl *ctrl, enum nof_event_type type)
{
	unsigned n = 0;

	for (unsigned i = 0; i < b.nseen; i++)
		n += b.seen[i].ctrl == ctrl && b.seen[i].type == type;
	return n;
}

static unsigned seen_state(const struct nof_ctrl *ctrl, enum nof_ctrl_state state)
{
	unsigned n = 0;

	for (unsigned i = 0; i < b.nseen; i++)
		n += b.seen[i].ctrl == ctrl && b.seen[i].type == NOF_EVENT_CTRL_STATE &&
		     b.seen[i].state == state;
	return n;
}

#define FAST "ctrl_loss_tmo=20&reconnect_delay=0.2&max_retries=5&nr_io_queues=2"

static uint16_t listen_on(struct rig *r, const char *what)
{
	const char *answer = rig_control(r, "listen %s", what), *port = strstr(answer, " port=");
	uint16_t n;

	if (!port)
		fail_msg("listen %s: %s", what, answer);
	n = (uint16_t)atoi(port + 6);
	assert_string_equal(rig_control(r, "%s", ""), "ok");
	return n;
}

static struct nof_ctrl *connect_by(struct rig *r, uint16_t port, const char *extra)
{
	struct nof_ctrl *ctrl;
	struct nof_opts o;

	rig_opts(r, extra, &o);
	snprintf(o.trsvcid, sizeof(o.trsvcid), "%u", port);
	assert_int_equal(nof_ctrl_new(r->loop, &o, on_event, r, &ctrl), 0);
	if (rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(ctrl, rig_done, op))))
		fail_msg("%s", r->last->detail);
	return ctrl;
}

static int add(struct rig *r, struct nof_ctrl *ctrl)
{
	return rig_finish(RIG_SUBMIT(r, nof_ns_add_path(r->ns, ctrl, rig_done, op)));
}

static void open_two(struct rig *r, const char *target, const char *extra)
{
	char uri[256];

	memset(&b, 0, sizeof(b));
	snprintf(uri, sizeof(uri), FAST "%s%s", extra ? "&" : "", extra ? extra : "");
	rig_target(r, target, NULL);
	rig_loop(r);
	b.port = listen_on(r, "127.0.0.1:0");
	r->ctrl = connect_by(r, r->port, uri);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	assert_int_equal(rig_open_chan(r), 0);
	b.ctrl = connect_by(r, b.port, uri);
	if (add(r, b.ctrl))
		fail_msg("%s", r->last->detail);
}

static void close_two(struct rig *r)
{
	nof_chan_close(r->chan);
	r->chan = NULL;
	nof_ns_close(r->ns);
	r->ns = NULL;
	nof_ctrl_free(b.ctrl);
	b.ctrl = NULL;
	rig_close(r);
}

static struct nof_path_info paths[2];

static const struct nof_path_info *look(struct rig *r, int i)
{
	paths[0].size = sizeof(paths[0]);
	assert_int_equal(nof_ns_get_paths(r->ns, paths, 2), 2);
	return &paths[i];
}

/* Both have a queue on the channel's loop. */
static void both_ready(struct rig *r)
{
	char buf[512];

	RIG_UNTIL(r, look(r, 0)->is_usable && look(r, 1)->is_usable);
	assert_int_equal(nof_ns_set_iopolicy(r->ns, NOF_IOPOLICY_ROUND_ROBIN), 0);
	for (int i = 0; i < 500; i++) {
		uint64_t before = look(r, 1)->commands;

		assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
		assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
		if (look(r, 1)->commands == before + 1)
			return;
	}
	fail_msg("the second path is not used");
}

static void policy(struct rig *r, enum nof_iopolicy p)
{
	assert_int_equal(nof_ns_set_iopolicy(r->ns, p), 0);
	/* It arrives by a message, whichever way the loop is driven. */
	for (int i = 0; i < 5; i++)
		rig_turn(r, 2);
}

/* Reads one after the other, and what each path got of them. */
static void reads(struct rig *r, unsigned n, uint64_t got[2])
{
	uint64_t before[2] = { look(r, 0)->commands, look(r, 1)->commands };
	char buf[512];

	for (unsigned i = 0; i < n; i++)
		if (rig_read(r, buf, sizeof(buf), 0, 0))
			fail_msg("%s", r->last->detail);
	look(r, 0);
	for (int i = 0; i < 2; i++)
		got[i] = paths[i].commands - before[i];
	assert_true(got[0] + got[1] >= n);
}

/* ---- policies ---- */

static void t_policies(struct rig *r)
{
	enum { N = 200 };
	static uint8_t buf[N][512];
	uint64_t got[2], before;

	open_two(r, NULL, "queue_size=32");
	both_ready(r);
	policy(r, NOF_IOPOLICY_NUMA);
	reads(r, 20, got);
	assert_int_equal(got[0], 20);
	policy(r, NOF_IOPOLICY_ROUND_ROBIN);
	reads(r, 20, got);
	assert_int_equal(got[0], 10);
	assert_int_equal(got[1], 10);
	policy(r, NOF_IOPOLICY_QUEUE_DEPTH);
	before = look(r, 0)->commands;
	for (int i = 0; i < 40; i++)
		rig_submit_read(r, buf[i], 512, 0);
	rig_finish_all(r);
	assert_int_equal(look(r, 0)->commands - before, 20);
	policy(r, NOF_IOPOLICY_SERVICE_TIME);
	for (int k = 0; k < 20; k++) {
		for (int i = 0; i < 32; i++)
			rig_submit_read(r, buf[i], 512, 0);
		rig_finish_all(r);
	}
	look(r, 0);
	assert_true(paths[0].avg_latency_us && paths[1].avg_latency_us);
	assert_true(paths[1].commands > 60);
	/* A path that is full is not waited for while the other has room. */
	policy(r, NOF_IOPOLICY_NUMA);
	before = look(r, 1)->commands;
	for (int i = 0; i < 60; i++)
		rig_submit_read(r, buf[i], 512, 0);
	rig_finish_all(r);
	assert_true(look(r, 1)->commands > before);
	RIG_REFUSES(nof_ns_set_iopolicy(r->ns, (enum nof_iopolicy)77), EINVAL);
	close_two(r);
}

static void t_pin_and_prefer(struct rig *r)
{
	uint64_t got[2];

	open_two(r, NULL, NULL);
	both_ready(r);
	policy(r, NOF_IOPOLICY_ROUND_ROBIN);
	assert_int_equal(nof_ns_set_preferred(r->ns, b.ctrl), 0);
	policy(r, NOF_IOPOLICY_ROUND_ROBIN);
	reads(r, 10, got);
	assert_int_equal(got[1], 10);
	assert_true(look(r, 1)->is_preferred);
	assert_int_equal(nof_ns_pin_path(r->ns, r->ctrl), 0);
	policy(r, NOF_IOPOLICY_ROUND_ROBIN);
	reads(r, 10, got);
	assert_int_equal(got[0], 10);
	assert_true(look(r, 0)->is_pinned);
	assert_int_equal(nof_ns_pin_path(r->ns, NULL), 0);
	assert_int_equal(nof_ns_set_preferred(r->ns, NULL), 0);
	policy(r, NOF_IOPOLICY_ROUND_ROBIN);
	reads(r, 10, got);
	assert_int_equal(got[0], 5);
	close_two(r);
}

/* A preferred path takes over again when it is back; a pinned one is waited for. */
static void t_failback(struct rig *r)
{
	uint64_t got[2];
	struct rig_op *op;
	char buf[512];

	open_two(r, NULL, NULL);
	both_ready(r);
	assert_int_equal(nof_ns_set_preferred(r->ns, b.ctrl), 0);
	policy(r, NOF_IOPOLICY_NUMA);
	reads(r, 5, got);
	assert_int_equal(got[1], 5);
	assert_string_equal(rig_control(r, "unlisten 2"), "ok");
	RIG_UNTIL(r, look(r, 1)->state == NOF_PATH_DOWN);
	reads(r, 5, got);
	assert_int_equal(got[0], 5);
	/* Pinned: waits for that path and no other. */
	assert_int_equal(nof_ns_pin_path(r->ns, b.ctrl), 0);
	policy(r, NOF_IOPOLICY_NUMA);
	op = rig_submit_read(r, buf, sizeof(buf), 0);
	for (int i = 0; i < 20; i++)
		rig_turn(r, 1);
	assert_int_equal(op->count, 0);
	snprintf(buf, sizeof(buf), "127.0.0.1:%u", b.port);
	assert_int_equal(listen_on(r, buf), b.port);
	assert_int_equal(rig_finish(op), 0);
	assert_int_equal(nof_ns_pin_path(r->ns, NULL), 0);
	policy(r, NOF_IOPOLICY_NUMA);
	reads(r, 5, got);
	assert_int_equal(got[1], 5);
	assert_true(seen(b.ctrl, NOF_EVENT_PATH_DOWN) == 1 && seen(b.ctrl, NOF_EVENT_PATH_UP) == 2);
	close_two(r);
}

/* ---- failover ---- */

static void t_failover(struct rig *r)
{
	enum { N = 60 };
	static uint8_t in[N][4096];
	uint8_t out[4096];
	struct rig_op *ops[N];

	open_two(r, NULL, "queue_size=16");
	both_ready(r);
	policy(r, NOF_IOPOLICY_ROUND_ROBIN);
	rig_fill(out, sizeof(out), 5);
	assert_int_equal(rig_write(r, out, sizeof(out), 0, 0), 0);
	memset(in, 0, sizeof(in));
	for (int i = 0; i < N; i++)
		ops[i] = rig_submit_read(r, in[i], sizeof(in[i]), 0);
	rig_turn(r, 0);
	assert_string_equal(rig_control(r, "unlisten 1"), "ok");
	for (int i = 0; i < 200; i++) {
		uint8_t more[4096] = { 0 };

		if (rig_read(r, more, sizeof(more), 0, 0))
			fail_msg("%s", r->last->detail);
		assert_memory_equal(more, out, sizeof(out));
	}
	rig_finish_all(r);
	for (int i = 0; i < N; i++) {
		if (ops[i]->error)
			fail_msg("%d: %s", i, ops[i]->detail);
		assert_memory_equal(in[i], out, sizeof(out));
	}
	RIG_UNTIL(r, look(r, 0)->state == NOF_PATH_DOWN);
	assert_int_equal(seen(r->ctrl, NOF_EVENT_PATH_DOWN), 1);
	/* The other one never noticed. */
	assert_int_equal(seen_state(b.ctrl, NOF_CTRL_RESETTING), 0);
	assert_int_equal(seen(b.ctrl, NOF_EVENT_PATH_DOWN), 0);
	assert_int_equal(look(r, 1)->errors, 0);
	assert_int_equal(nof_ctrl_get_state(b.ctrl), NOF_CTRL_LIVE);
	close_two(r);
}

/* A port that falls silent: found by the keep alive, what it had goes by the other path. */
static void t_silent_path(struct rig *r)
{
	enum { N = 10 };
	static uint8_t buf[N][512];

	open_two(r, NULL, "keep_alive_tmo=0.6&connect_timeout=0.5");
	both_ready(r);
	assert_string_equal(rig_control(r, "pause 1"), "ok");
	for (int i = 0; i < N; i++)
		rig_submit_read(r, buf[i], sizeof(buf[i]), 0);
	rig_finish_all(r);
	for (struct rig_op *op = r->ops; op; op = op->next)
		assert_int_equal(op->error, 0);
	assert_true(seen_state(r->ctrl, NOF_CTRL_RESETTING) >= 1);
	assert_int_equal(seen_state(b.ctrl, NOF_CTRL_RESETTING), 0);
	assert_string_equal(rig_control(r, "resume 1"), "ok");
	RIG_UNTIL(r, look(r, 0)->is_usable);
	both_ready(r);
	close_two(r);
}

/* F-21 over two paths: the write does not overtake itself. */
static void t_write_is_held(struct rig *r)
{
	uint8_t out[4096], in[4096];
	struct rig_op *w;

	open_two(r, NULL, "write_hold=1.5");
	both_ready(r);
	policy(r, NOF_IOPOLICY_NUMA);
	rig_fill(out, sizeof(out), 6);
	rig_fault(r, "on=write nth=1 do=drop; on=write nth=2-99 do=split:0");
	w = rig_submit_write(r, out, sizeof(out), 0);
	RIG_UNTIL(r, rig_stat(r, "faults_fired") == 1);
	assert_string_equal(rig_control(r, "unlisten 1"), "ok");
	RIG_UNTIL(r, look(r, 0)->state == NOF_PATH_DOWN);
	/* Reads and new writes go by the other path at once. */
	assert_int_equal(rig_read(r, in, sizeof(in), 0, 0), 0);
	assert_int_equal(rig_write(r, out, sizeof(out), 8192, 0), 0);
	assert_int_equal(rig_stat(r, "faults_fired"), 2);
	assert_int_equal(w->count, 0);
	assert_int_equal(rig_finish(w), 0);
	assert_int_equal(rig_stat(r, "faults_fired"), 3);
	assert_int_equal(rig_read(r, in, sizeof(in), 0, 0), 0);
	assert_memory_equal(in, out, sizeof(in));
	close_two(r);
}

/* Both are gone: requests wait, and end when the last one is given up. */
static void t_last_path_gone(struct rig *r)
{
	struct rig_op *a, *w;
	char buf[512];

	open_two(r, NULL, "ctrl_loss_tmo=0.6");
	both_ready(r);
	assert_string_equal(rig_control(r, "unlisten 1"), "ok");
	assert_string_equal(rig_control(r, "unlisten 2"), "ok");
	RIG_UNTIL(r, look(r, 0)->state == NOF_PATH_DOWN && look(r, 1)->state == NOF_PATH_DOWN);
	a = rig_submit_read(r, buf, sizeof(buf), 0);
	w = rig_submit_write(r, buf, sizeof(buf), 0);
	assert_false(a->is_refused);
	rig_finish_all(r);
	assert_true(a->error < 0 && w->error < 0);
	RIG_UNTIL(r, look(r, 0)->state == NOF_PATH_GONE && look(r, 1)->state == NOF_PATH_GONE);
	RIG_REFUSES(nof_read(r->chan, buf, sizeof(buf), 0, 0, rig_done, NULL), ENOTCONN);
	close_two(r);
}

/* A controller that does not come back (ctrl_loss_tmo=0) is no reason to fail I/O either. */
static void t_without_recovery(struct rig *r)
{
	char buf[512];

	open_two(r, NULL, "ctrl_loss_tmo=0");
	both_ready(r);
	for (int i = 0; i < 20; i++)
		rig_submit_read(r, buf, sizeof(buf), 0);
	assert_string_equal(rig_control(r, "unlisten 1"), "ok");
	rig_finish_all(r);
	for (struct rig_op *op = r->ops; op; op = op->next)
		if (op->error)
			fail_msg("%s", op->detail);
	RIG_UNTIL(r, look(r, 0)->state == NOF_PATH_GONE);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	close_two(r);
}

/* ---- adding and removing ---- */

static void t_add_refused(struct rig *r)
{
	struct nof_ctrl *c;

	open_two(r, "--nqn=" RIG_NQN " --ns=mem:1M,bs=512 --ns=mem:1M,bs=4096 "
		 "--nqn=nqn.2025-11.org.libnof:other --ns=mem:1M,bs=512", NULL);
	RIG_REFUSES(nof_ns_add_path(r->ns, b.ctrl, rig_done, NULL), EEXIST);
	RIG_REFUSES(nof_ns_add_path(r->ns, NULL, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_ns_remove_path(r->ns, NULL), EINVAL);
	/* The same address once more. */
	c = connect_by(r, b.port, FAST);
	RIG_REFUSES(nof_ns_add_path(r->ns, c, rig_done, NULL), EEXIST);
	RIG_REFUSES(nof_ns_remove_path(r->ns, c), ENOENT);
	RIG_REFUSES(nof_ns_pin_path(r->ns, c), ENOENT);
	nof_ctrl_free(c);
	c = connect_by(r, b.port, FAST "&duplicate_connect=on");
	assert_int_equal(add(r, c), 0);
	assert_int_equal(nof_ns_remove_path(r->ns, c), 0);
	nof_ctrl_free(c);
	/* Another subsystem. */
	c = connect_by(r, b.port, FAST "&subnqn=nqn.2025-11.org.libnof:other");
	RIG_REFUSES(nof_ns_add_path(r->ns, c, rig_done, NULL), ESTALE);
	nof_ctrl_free(c);
	close_two(r);
}

/* The identifier decides, not the number. */
static void t_found_by_identifier(struct rig *r)
{
	struct rig_op *one;

	memset(&b, 0, sizeof(b));
	rig_target(r, "--ns=mem:1M,bs=512,nsid=3,uuid=11111111-2222-4333-8444-555555555555",
		   NULL);
	rig_loop(r);
	b.port = listen_on(r, "127.0.0.1:0");
	r->ctrl = connect_by(r, r->port, FAST);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	b.ctrl = connect_by(r, b.port, FAST);
	/* Meanwhile another namespace has the number. */
	assert_string_equal(rig_control(r, "ns-remap 3 mem:1M,bs=512,"
					"uuid=99999999-2222-4333-8444-555555555555"), "ok");
	one = RIG_SUBMIT(r, nof_ns_add_path(r->ns, b.ctrl, rig_done, op));
	assert_int_equal(rig_finish(one), -ESTALE);
	close_two(r);
}

static void t_no_identifier(struct rig *r)
{
	memset(&b, 0, sizeof(b));
	rig_target(r, "--ns=mem:1M,bs=512,uuid=none,nguid=none,eui64=none", NULL);
	rig_loop(r);
	b.port = listen_on(r, "127.0.0.1:0");
	r->ctrl = connect_by(r, r->port, FAST);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	b.ctrl = connect_by(r, b.port, FAST);
	RIG_REFUSES(nof_ns_add_path(r->ns, b.ctrl, rig_done, NULL), ENOTUNIQ);
	close_two(r);
}

/* What is under way on a path that is removed goes by the other. */
static void t_remove_busy(struct rig *r)
{
	enum { N = 20 };
	static uint8_t buf[N][512];
	uint64_t reads_before;

	open_two(r, NULL, "write_hold=0.2");
	both_ready(r);
	reads_before = rig_stat(r, "reads");
	rig_fault(r, "on=read nth=1-5 do=delay:300; on=write nth=1-5 do=delay:300");
	for (int i = 0; i < N; i++) {
		if (i & 1)
			rig_submit_write(r, buf[i], sizeof(buf[i]), (uint64_t)i * 512);
		else
			rig_submit_read(r, buf[i], sizeof(buf[i]), (uint64_t)i * 512);
	}
	RIG_UNTIL(r, rig_stat(r, "faults_fired") == 10);
	/* By turns: what is delayed is on both. It ends where it is, and is sent once. */
	assert_int_equal(nof_ns_remove_path(r->ns, b.ctrl), 0);
	for (int i = 0; i < 20; i++)
		rig_turn(r, 1);
	rig_control(r, "clear");
	assert_int_equal(add(r, b.ctrl), 0);
	RIG_UNTIL(r, look(r, 1)->is_usable);
	for (int i = 0; i < 20; i++)
		rig_turn(r, 1);
	assert_int_equal(nof_ns_remove_path(r->ns, r->ctrl), 0);
	rig_finish_all(r);
	for (struct rig_op *op = r->ops; op; op = op->next)
		if (op->error)
			fail_msg("%s", op->detail);
	assert_int_equal(rig_stat(r, "writes"), N / 2);
	assert_int_equal(rig_stat(r, "reads"), reads_before + N / 2);
	assert_int_equal(nof_ns_remove_path(r->ns, b.ctrl), 0);
	/* It arrives by a message: then there is no path any more. */
	for (int i = 0; i < 100; i++)
		if (rig_read(r, buf[0], 512, 0, 0) == -ENOTCONN)
			break;
	assert_int_equal(rig_read(r, buf[0], 512, 0, 0), -ENOTCONN);
	close_two(r);
}

/* ---- closing and freeing, at every stage and in callbacks ---- */

enum stage { FREE_FIRST, FREE_SECOND, FREE_BOTH, DISCONNECT_FIRST, CLOSE_CHAN, CLOSE_NS_TOO,
	     REMOVE_FIRST, STAGES };

static void act(struct rig *r, enum stage what)
{
	switch (what) {
	case FREE_FIRST:
	case FREE_BOTH:
		nof_ctrl_free(r->ctrl);
		r->ctrl = NULL;
		if (what == FREE_FIRST)
			return;
		/* fall through */
	case FREE_SECOND:
		nof_ctrl_free(b.ctrl);
		b.ctrl = NULL;
		return;
	case DISCONNECT_FIRST:
		if (nof_ctrl_get_state(r->ctrl) == NOF_CTRL_LIVE) {
			struct rig_op *op = rig_op(r);

			rig_accept(op, nof_ctrl_disconnect(r->ctrl, rig_done, op));
		}
		return;
	case CLOSE_NS_TOO:
		nof_ns_close(r->ns);
		r->ns = NULL;
		/* fall through */
	case CLOSE_CHAN:
		nof_chan_close(r->chan);
		r->chan = NULL;
		return;
	case REMOVE_FIRST:
		nof_ns_remove_path(r->ns, r->ctrl);
		return;
	case STAGES:
		return;
	}
}

static enum stage in_callback;

static void act_once(void *arg, const struct nof_completion *c)
{
	struct rig_op *op = arg;
	enum stage what = in_callback;

	rig_done(arg, c);
	in_callback = STAGES;
	act(op->rig, what);
}

static void some_io(struct rig *r, nof_done_fn *first, uint8_t (*buf)[512], int n)
{
	struct rig_op *op = rig_op(r);

	rig_accept(op, nof_read(r->chan, buf[0], 512, 0, 0, first, op));
	for (int i = 1; i < n; i++) {
		if (i & 1)
			rig_submit_write(r, buf[i], 512, (uint64_t)i * 512);
		else
			rig_submit_read(r, buf[i], 512, (uint64_t)i * 512);
	}
}

/* With commands on their way, with the first path lost, with both lost. */
static void t_close_anytime(struct rig *r)
{
	enum { N = 40 };
	static uint8_t buf[N][512];
	enum stage what = (enum stage)(intptr_t)r->arg % STAGES;
	int when = (int)((intptr_t)r->arg / STAGES);

	open_two(r, NULL, "queue_size=8&write_hold=0.1&ctrl_loss_tmo=1&io_timeout=0.4");
	both_ready(r);
	if (when == 3) {
		in_callback = what;
		some_io(r, act_once, buf, N);
		RIG_UNTIL(r, in_callback == STAGES);
	} else {
		rig_fault(r, "on=read nth=1-9 do=drop; on=write nth=1-9 do=drop");
		some_io(r, rig_done, buf, N);
		rig_turn(r, 5);
		if (when >= 1)
			assert_string_equal(rig_control(r, "unlisten 1"), "ok");
		if (when >= 2)
			assert_string_equal(rig_control(r, "unlisten 2"), "ok");
		if (when >= 1)
			RIG_UNTIL(r, look(r, 0)->state != NOF_PATH_UP);
		act(r, what);
	}
	rig_control(r, "clear");
	/* What may go on by the other path does; what the target never answers ends by its time. */
	rig_finish_all(r);
	close_two(r);
}

/* A channel is opened while the path comes and goes, and closed before it is open. */
static void t_open_and_close(struct rig *r)
{
	char buf[512];

	/* A target that has not seen the end of a queue yet refuses its number. */
	open_two(r, NULL, "nr_io_queues=32");
	for (int i = 0; i < 10; i++) {
		struct nof_chan *chan = NULL;
		struct rig_op *one;

		nof_chan_close(r->chan);
		r->chan = NULL;
		if (i & 1)
			assert_int_equal(nof_ns_remove_path(r->ns, b.ctrl), 0);
		one = RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &chan, rig_done, op));
		if (i & 1)
			assert_int_equal(add(r, b.ctrl), 0);
		assert_int_equal(rig_finish(one), 0);
		r->chan = chan;
		assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	}
	close_two(r);
}

/* The namespace is closed before its controllers, after them, and never looked at again. */
static void t_any_order(struct rig *r)
{
	char buf[512];

	open_two(r, NULL, NULL);
	both_ready(r);
	nof_ctrl_free(b.ctrl);
	b.ctrl = NULL;
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(look(r, 1)->state, NOF_PATH_GONE);
	nof_ctrl_free(r->ctrl);
	r->ctrl = NULL;
	assert_int_equal(look(r, 0)->state, NOF_PATH_GONE);
	nof_ns_close(r->ns);
	r->ns = NULL;
	RIG_REFUSES(nof_read(r->chan, buf, sizeof(buf), 0, 0, rig_done, NULL), ENOTCONN);
	close_two(r);
}

#define ANYTIME(name_, what_) \
	{ "close_in_flight_" name_, t_close_anytime, (void *)(intptr_t)(what_) }, \
	{ "close_one_lost_" name_, t_close_anytime, (void *)(intptr_t)(STAGES + what_) }, \
	{ "close_both_lost_" name_, t_close_anytime, (void *)(intptr_t)(2 * STAGES + what_) }, \
	{ "close_in_callback_" name_, t_close_anytime, (void *)(intptr_t)(3 * STAGES + what_) }

static const struct rig_test tests[] = {
	{ "policies", t_policies },
	{ "pin_and_prefer", t_pin_and_prefer },
	{ "failback", t_failback },
	{ "failover", t_failover },
	{ "silent_path", t_silent_path },
	{ "f21_write_is_held", t_write_is_held },
	{ "last_path_gone", t_last_path_gone },
	{ "without_recovery", t_without_recovery },
	{ "add_refused", t_add_refused },
	{ "found_by_identifier", t_found_by_identifier },
	{ "no_identifier", t_no_identifier },
	{ "remove_busy", t_remove_busy },
	{ "open_and_close", t_open_and_close },
	{ "any_order", t_any_order },
	ANYTIME("free_first", FREE_FIRST),
	ANYTIME("free_second", FREE_SECOND),
	ANYTIME("free_both", FREE_BOTH),
	ANYTIME("disconnect", DISCONNECT_FIRST),
	ANYTIME("chan", CLOSE_CHAN),
	ANYTIME("all", CLOSE_NS_TOO),
	ANYTIME("remove", REMOVE_FIRST),
};

int main(void)
{
	return rig_main("paths", tests, ARRAY_SIZE(tests));
}
