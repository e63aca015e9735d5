/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What waits has an end: places where a request, or an open, could be forgotten because
 * the path it waits for went, came back smaller, or is not the one that makes room.
 */
#include <sys/resource.h>

#include "rig.h"

#define FAST "ctrl_loss_tmo=20&reconnect_delay=0.2&max_retries=5&nr_io_queues=4"

static struct {
	struct nof_ctrl *ctrl;
	uint16_t port;
} b;

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
	char uri[256];
	struct nof_ctrl *ctrl;
	struct nof_opts o;

	snprintf(uri, sizeof(uri), FAST "%s%s", extra ? "&" : "", extra ? extra : "");
	rig_opts(r, uri, &o);
	snprintf(o.trsvcid, sizeof(o.trsvcid), "%u", port);
	assert_int_equal(nof_ctrl_new(r->loop, &o, rig_on_event, r, &ctrl), 0);
	if (rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(ctrl, rig_done, op))))
		fail_msg("%s", r->last->detail);
	return ctrl;
}

static void add(struct rig *r)
{
	if (rig_finish(RIG_SUBMIT(r, nof_ns_add_path(r->ns, b.ctrl, rig_done, op))))
		fail_msg("%s", r->last->detail);
}

/* Two controllers by two ports; what: of the second port. No channel yet. */
static void open_ns(struct rig *r, const char *target, const char *what, const char *extra1,
		    const char *extra2)
{
	char port[64];

	memset(&b, 0, sizeof(b));
	r->drive = RIG_WAIT;
	rig_target(r, target, NULL);
	rig_loop(r);
	snprintf(port, sizeof(port), "127.0.0.1:0%s", what ? what : "");
	b.port = listen_on(r, port);
	r->ctrl = connect_by(r, r->port, extra1);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	b.ctrl = connect_by(r, b.port, extra2);
}

static struct nof_path_info paths[2];

static const struct nof_path_info *look(struct rig *r, int i)
{
	paths[0].size = sizeof(paths[0]);
	assert_int_equal(nof_ns_get_paths(r->ns, paths, 2), 2);
	return &paths[i];
}

/* I/O goes by path i, wherever else it goes. */
static void is_used(struct rig *r, int i)
{
	uint64_t until = rig_now_ms() + RIG_DEADLINE_MS, before = look(r, i)->commands;
	char buf[512];

	while (look(r, i)->commands == before) {
		if (rig_now_ms() > until)
			fail_msg("path %d is not used", i);
		if (rig_read(r, buf, sizeof(buf), 0, 0))
			fail_msg("%s", r->last->detail);
	}
}

static void open_two(struct rig *r, const char *target, const char *what, const char *extra1,
		     const char *extra2)
{
	open_ns(r, target, what, extra1, extra2);
	assert_int_equal(rig_open_chan(r), 0);
	add(r);
	assert_int_equal(nof_ns_set_iopolicy(r->ns, NOF_IOPOLICY_ROUND_ROBIN), 0);
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

/* ---- choosing ---- */

/* A choice ends with the path that was chosen: what it had goes by the others. */
static void t_pinned_is_removed(struct rig *r)
{
	struct rig_op *op_;
	char buf[512];

	open_two(r, NULL, NULL, NULL, NULL);
	is_used(r, 1);
	assert_int_equal(nof_ns_pin_path(r->ns, b.ctrl), 0);
	rig_turn(r, 5);
	is_used(r, 1);
	rig_fault(r, "on=read nth=1 do=drop");
	op_ = rig_submit_read(r, buf, sizeof(buf), 0);
	RIG_UNTIL(r, rig_stat(r, "faults_fired") == 1);
	assert_int_equal(look(r, 1)->inflight, 1);
	assert_int_equal(nof_ns_remove_path(r->ns, b.ctrl), 0);
	if (rig_finish(op_))
		fail_msg("%s", op_->detail);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	close_two(r);
}

/*
 * The best path answers that it cannot now; the other one, which is not the best, takes one
 * command at a time. Those that wait for it go when it has room, though nobody asks again.
 */
static void t_room_of_the_second_best(struct rig *r)
{
	enum { N = 6 };
	struct rig_op *ops[N];
	char buf[512];

	open_two(r, "--ana=on", ",ana=1:non-optimized", NULL, "queue_size=2");
	RIG_UNTIL(r, look(r, 1)->is_usable);
	for (int i = 0; i < 10; i++)
		rig_turn(r, 5);
	rig_fault(r, "on=read nth=1-6 do=status:3/0; on=read nth=7- do=delay:5");
	for (int i = 0; i < N; i++)
		ops[i] = rig_submit_read(r, buf, sizeof(buf), 0);
	rig_finish_all(r);
	for (int i = 0; i < N; i++)
		if (ops[i]->error)
			fail_msg("%d: %s", i, ops[i]->detail);
	assert_int_equal(look(r, 1)->commands, N);
	close_two(r);
}

/* ---- sizes ---- */

/*
 * All commands of a request that uses up all that there is come back and are to be cut: none
 * of them may wait for another one to end.
 */
static void t_smaller_when_all_is_used(struct rig *r)
{
	enum { LEN = 8 * 32768 };
	uint8_t *out = malloc(LEN), *in = calloc(1, LEN);
	struct rig_op *op_;

	/* 32 KiB of a command, one command on each path. */
	open_two(r, "--ns=mem:4M,bs=512 --mdts=3", NULL, "queue_size=2&write_hold=0.1",
		 "queue_size=2&write_hold=0.1");
	is_used(r, 1);
	rig_fill(out, LEN, 3);
	rig_fault(r, "on=write nth=1-2 do=drop");
	op_ = rig_submit_write(r, out, LEN, 512);
	RIG_UNTIL(r, rig_stat(r, "faults_fired") == 2);
	assert_string_equal(rig_control(r, "mdts 1"), "ok");
	rig_control(r, "drop io");
	if (rig_finish(op_))
		fail_msg("%s", op_->detail);
	assert_int_equal(rig_read(r, in, LEN, 512, 0), 0);
	assert_memory_equal(in, out, LEN);
	close_two(r);
	free(out);
	free(in);
}

/* What may not be cut is not, also when it waited for a path that came back smaller. */
static void t_atomic_waits(struct rig *r)
{
	static char buf[32 * 512];
	struct rig_op *op_;
	int e;

	rig_target(r, "--ns=mem:4M,bs=512,atomic=64", NULL);
	rig_open(r, FAST);
	assert_string_equal(rig_control(r, "mdts 1"), "ok");
	rig_control(r, "drop io");
	RIG_UNTIL(r, nof_ctrl_get_state(r->ctrl) != NOF_CTRL_LIVE);
	op_ = rig_op(r);
	e = nof_write(r->chan, buf, sizeof(buf), 0, NOF_IO_ATOMIC, rig_done, op_);
	rig_accept(op_, e);
	assert_int_equal(e, 0);
	rig_fault(r, "on=write do=split:0");
	assert_int_equal(rig_finish(op_), -EMSGSIZE);
	assert_int_equal(rig_stat(r, "faults_fired"), 0);
	assert_int_equal(rig_write(r, buf, 16 * 512, 0, NOF_IO_ATOMIC), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* As many attempts as the option can say, and no more. */
static void t_retries_end(struct rig *r)
{
	struct nof_path_info p = { .size = sizeof(p) };
	char buf[512];

	rig_target(r, NULL, NULL);
	rig_open(r, FAST "&data_digest=on&max_retries=255");
	rig_fault(r, "on=c2hdata for=read do=ddgst:bad");
	assert_true(rig_read(r, buf, sizeof(buf), 0, 0) < 0);
	assert_int_equal(nof_ns_get_paths(r->ns, &p, 1), 1);
	assert_int_equal(p.commands, 256);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Two commands that belong together, and a path that takes one at a time. */
static void t_fused_and_a_small_queue(struct rig *r)
{
	struct rig_op *op_;
	char a[512] = { 0 };

	open_two(r, "--ns=mem:4M,bs=512", NULL, NULL, "queue_size=2");
	is_used(r, 1);
	assert_int_equal(nof_ns_pin_path(r->ns, b.ctrl), 0);
	rig_turn(r, 5);
	is_used(r, 1);
	op_ = RIG_SUBMIT(r, nof_compare_write(r->chan, a, a, sizeof(a), 0, 0, rig_done, op));
	if (!op_->is_refused)
		assert_int_equal(rig_finish(op_), -EOPNOTSUPP);
	assert_int_equal(rig_read(r, a, sizeof(a), 0, 0), 0);
	assert_int_equal(nof_ns_pin_path(r->ns, NULL), 0);
	for (int i = 0; i < 10; i++)
		rig_turn(r, 1);
	/* Where there is one that can, that one does it. */
	for (int i = 0; i < 4; i++)
		assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_compare_write(r->chan, a, a,
					    sizeof(a), 0, 0, rig_done, op))), 0);
	close_two(r);
}

/* ---- queues ---- */

/* The path goes while the channel is being opened through it. */
static void t_open_and_remove(struct rig *r)
{
	struct nof_chan *chan = NULL;
	struct rig_op *one;

	open_ns(r, NULL, NULL, NULL, NULL);
	one = RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &chan, rig_done, op));
	assert_int_equal(nof_ns_remove_path(r->ns, r->ctrl), 0);
	assert_true(rig_finish(one) < 0);
	assert_null(chan);
	add(r);
	assert_int_equal(rig_open_chan(r), 0);
	assert_int_equal(nof_pflush(r->chan), 0);
	close_two(r);
}

/* A controller with one queue: it is free for the path that comes back, whoever shares it. */
static void t_one_queue(struct rig *r)
{
	struct nof_chan *more[2] = { NULL };
	int n = r->arg ? 2 : 0;
	static uint8_t buf[32][512];

	open_two(r, NULL, NULL, "nr_io_queues=1", "nr_io_queues=1");
	for (int i = 0; i < n; i++)
		assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &more[i],
									rig_done, op))), 0);
	is_used(r, 1);
	for (int k = 0; k < 10; k++) {
		for (int i = 0; i < 32; i++)
			rig_submit_read(r, buf[i], 512, 0);
		for (int i = 0; i < n; i++)
			RIG_SUBMIT(r, nof_read(more[i], buf[0], 512, 0, 0, rig_done, op));
		if (k & 1)
			rig_turn(r, 1);
		assert_int_equal(nof_ns_remove_path(r->ns, b.ctrl), 0);
		if (k & 2)
			rig_turn(r, 1);
		add(r);
		rig_finish_all(r);
		is_used(r, 1);
	}
	for (struct rig_op *o = r->ops; o; o = o->next)
		if (o->error)
			fail_msg("%s", o->detail);
	for (int i = 0; i < n; i++)
		nof_chan_close(more[i]);
	close_two(r);
}

/* One of two paths gives no queue at first: the channel opens with the other, and gets both. */
static void t_open_with_one_refused(struct rig *r)
{
	open_ns(r, NULL, NULL, NULL, NULL);
	add(r);
	/* Admin queues are connected already. */
	rig_fault(r, "on=connect qid=io nth=1 do=status:1/0x82/dnr");
	assert_int_equal(rig_open_chan(r), 0);
	assert_int_equal(nof_ns_set_iopolicy(r->ns, NOF_IOPOLICY_ROUND_ROBIN), 0);
	is_used(r, 0);
	is_used(r, 1);
	close_two(r);
}

/* One path gave no queue while the other one could have, which then refused for good. */
static void t_open_when_the_other_refuses(struct rig *r)
{
	open_ns(r, NULL, NULL, NULL, NULL);
	add(r);
	rig_fault(r, "on=connect qid=io nth=1 do=reset; on=connect qid=io nth=2 do=delay:200; "
		  "on=resp for=connect nth=1 do=status:1/0x82/dnr");
	assert_int_equal(rig_open_chan(r), 0);
	is_used(r, 0);
	close_two(r);
}

/* This process has no descriptor left for a moment: the path is used a little later. */
static void t_no_descriptors(struct rig *r)
{
	struct rlimit was, none;

	open_ns(r, NULL, NULL, NULL, NULL);
	assert_int_equal(rig_open_chan(r), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	add(r);
	for (int i = 0; i < 20; i++)
		nof_loop_wait(r->loop, 5);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_int_equal(nof_ns_set_iopolicy(r->ns, NOF_IOPOLICY_ROUND_ROBIN), 0);
	is_used(r, 1);
	/* Nobody else had to suffer for it. */
	assert_int_equal(nof_ctrl_get_state(b.ctrl), NOF_CTRL_LIVE);
	assert_int_equal(r->states[NOF_CTRL_RESETTING].count, 0);
	close_two(r);
}

/* ---- two loops ---- */

static struct nof_loop *side;

static void side_turns(int n)
{
	for (int i = 0; i < n; i++)
		nof_loop_wait(side, 5);
}

static void on_open(void *arg, const struct nof_completion *c)
{
	*(int *)arg = c->error ? c->error : 1;
}

/* The channel is on a loop of its own that comes to its messages when the test says so. */
static struct nof_chan *open_aside(struct rig *r)
{
	uint64_t until = rig_now_ms() + RIG_DEADLINE_MS;
	struct nof_chan *chan;
	int is_open = 0;

	side = rig_new_loop(r, 0);
	assert_int_equal(nof_chan_open(r->ns, side, &chan, on_open, &is_open), 0);
	while (!is_open && rig_now_ms() < until)
		nof_loop_wait(side, 10);
	assert_int_equal(is_open, 1);
	return chan;
}

static uint64_t resets_of(const struct nof_ctrl *ctrl)
{
	struct nof_ctrl_stats s = { .size = sizeof(s) };

	assert_int_equal(nof_ctrl_get_stats(ctrl, &s), 0);
	return s.resets;
}

/* A queue of the old association is no news about the new one. */
static void t_late_news_of_a_queue(struct rig *r)
{
	bool is_early = r->arg;
	struct nof_chan *chan;
	struct rig_op *op_;
	char buf[512];
	int e;

	open_ns(r, NULL, NULL, NULL, NULL);
	chan = open_aside(r);
	/* The second queue begins to connect, and gets no further. */
	add(r);
	assert_string_equal(rig_control(r, "pause 2"), "ok");
	assert_int_equal(nof_ns_pin_path(r->ns, b.ctrl), 0);
	side_turns(3);
	/* Something to look at, in front of the end of that queue, or nothing. */
	if (is_early)
		assert_int_equal(nof_ns_set_iopolicy(r->ns, NOF_IOPOLICY_ROUND_ROBIN), 0);
	op_ = RIG_SUBMIT(r, nof_ctrl_reset(b.ctrl, rig_done, op));
	RIG_UNTIL(r, look(r, 1)->state == NOF_PATH_DOWN);
	if (!is_early) {
		assert_string_equal(rig_control(r, "resume 2"), "ok");
		assert_int_equal(rig_finish(op_), 0);
		RIG_UNTIL(r, look(r, 1)->is_usable);
	}
	side_turns(3);
	op_ = rig_op(r);
	e = nof_read(chan, buf, sizeof(buf), 0, 0, rig_done, op_);
	if (e)
		fail_msg("%s", nof_strerror_detail());
	rig_accept(op_, e);
	if (is_early)
		assert_string_equal(rig_control(r, "resume 2"), "ok");
	for (uint64_t until = rig_now_ms() + RIG_DEADLINE_MS; !op_->count; ) {
		assert_true(rig_now_ms() < until);
		side_turns(1);
		nof_loop_wait(r->loop, 1);
	}
	if (op_->error)
		fail_msg("%s", op_->detail);
	assert_int_equal(resets_of(b.ctrl), 1);
	nof_chan_close(chan);
	nof_loop_free(side);
	close_two(r);
}

/* ---- identification ---- */

/* It fails for a moment: that is no reason to give up what waits. */
static void t_check_fails_once(struct rig *r)
{
	struct rig_op *op_;
	char buf[512];

	rig_target(r, NULL, NULL);
	rig_open(r, FAST);
	rig_fault(r, "on=identify cns=0 nth=1-2 do=status:6");
	rig_control(r, "drop io");
	RIG_UNTIL(r, nof_ctrl_get_state(r->ctrl) != NOF_CTRL_LIVE);
	op_ = rig_submit_read(r, buf, sizeof(buf), 0);
	if (rig_finish(op_))
		fail_msg("%s", op_->detail);
	assert_int_equal(rig_stat(r, "faults_fired"), 2);
	assert_int_equal(rig_disconnect(r), 0);
}

static const struct rig_test tests[] = {
	{ "pinned_is_removed", t_pinned_is_removed },
	{ "room_of_the_second_best", t_room_of_the_second_best },
	{ "smaller_when_all_is_used", t_smaller_when_all_is_used },
	{ "atomic_waits", t_atomic_waits },
	{ "retries_end", t_retries_end },
	{ "fused_and_a_small_queue", t_fused_and_a_small_queue },
	{ "open_and_remove", t_open_and_remove },
	{ "one_queue", t_one_queue, NULL },
	{ "one_queue_shared", t_one_queue, "" },
	{ "open_with_one_refused", t_open_with_one_refused },
	{ "open_when_the_other_refuses", t_open_when_the_other_refuses },
	{ "no_descriptors", t_no_descriptors },
	{ "late_news_early", t_late_news_of_a_queue, "early" },
	{ "late_news_late", t_late_news_of_a_queue },
	{ "check_fails_once", t_check_fails_once },
};

int main(void)
{
	return rig_main("paths_edges", tests, ARRAY_SIZE(tests));
}
