/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What becomes of requests when their commands end badly (F-20, F-21, T-22, C-4): sent
 * again by the rules of their kind, held, or failed, as the options and the caller say;
 * each exactly once. One path: the controller is lost and comes back.
 */
#include <signal.h>
#include <unistd.h>

#include "rig.h"

#define FAST "ctrl_loss_tmo=20&reconnect_delay=0.2&max_retries=5"

static void open_fast(struct rig *r, const char *extra)
{
	char uri[256];

	snprintf(uri, sizeof(uri), FAST "%s%s", extra ? "&" : "", extra ? extra : "");
	rig_open(r, uri);
}

static struct nof_path_info path(struct rig *r)
{
	struct nof_path_info p = { .size = sizeof(p) };

	assert_int_equal(nof_ns_get_paths(r->ns, &p, 1), 1);
	return p;
}

/* How many the target got since the script was set; "on=… do=split:0" counts and does nothing. */
static unsigned fired(struct rig *r)
{
	return (unsigned)rig_stat(r, "faults_fired");
}

/* ---- status ---- */

struct status_case {
	const char *fault;
	const char *opts;
	int error;
	unsigned sent;			/* commands that the target saw */
};

static void t_status(struct rig *r)
{
	const struct status_case *k = r->arg;
	char buf[4096];
	int e;

	rig_target(r, NULL, NULL);
	open_fast(r, k->opts);
	rig_fault(r, k->fault);
	rig_control(r, "fault+ on=read do=split:0");
	e = rig_read(r, buf, sizeof(buf), 0, 0);
	if (e != k->error)
		fail_msg("ended with %d, want %d: %s", e, k->error, r->last->detail);
	assert_int_equal(path(r).commands, k->sent);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_LIVE);
	assert_int_equal(rig_disconnect(r), 0);
}

#define STATUS(name_, ...) { name_, t_status, &(const struct status_case){ __VA_ARGS__ } }

/* The caller forbids it. */
static void t_fail_fast_flag(struct rig *r)
{
	char buf[4096];

	rig_target(r, NULL, NULL);
	open_fast(r, NULL);
	rig_fault(r, "on=read nth=1 do=status:0x22");
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, NOF_IO_FAIL_FAST), -EIO);
	rig_fault(r, "on=read nth=1 do=status:0x22");
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(nof_chan_set_fail_fast(r->chan, true), 0);
	rig_fault(r, "on=read nth=1 do=status:0x22");
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), -EIO);
	assert_int_equal(rig_disconnect(r), 0);
}

/*
 * CRD names a delay, and only that makes this status one to be tried again. CRDT2 is 60 s: the
 * request is still waiting when the others are done, and can be cancelled.
 */
static void t_crd(struct rig *r)
{
	struct rig_op *late;
	char buf[512];

	rig_target(r, "--crdt=1,600,0", NULL);
	open_fast(r, NULL);
	rig_fault(r, "on=read nth=1 do=status:2/0x81/crd1");
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(path(r).retries, 1);
	rig_fault(r, "on=read nth=1 do=status:2/0x81/crd2");
	late = rig_submit_read(r, buf, sizeof(buf), 0);
	RIG_UNTIL(r, path(r).retries == 2);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(late->count, 0);
	assert_int_equal(nof_chan_cancel(r->chan), 1);
	assert_int_equal(rig_finish(late), -ECANCELED);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Exactly the command that failed is repeated, the others of its request are not. */
static void t_one_of_many(struct rig *r)
{
	enum { LEN = 64 * 4096 };
	uint8_t *out = malloc(LEN), *in = malloc(LEN);

	rig_target(r, "--mdts=1", NULL);
	open_fast(r, NULL);
	assert_int_equal(r->info.max_transfer, 8192);
	rig_fill(out, LEN, 1);
	rig_fault(r, "on=write nth=7 do=status:0x22");
	assert_int_equal(rig_write(r, out, LEN, 0, 0), 0);
	assert_int_equal(path(r).commands, LEN / 8192 + 1);
	rig_fault(r, "on=read nth=9 do=status:0x22; on=read nth=12 do=status:0x22");
	assert_int_equal(rig_read(r, in, LEN, 0, 0), 0);
	assert_memory_equal(in, out, LEN);
	assert_int_equal(path(r).commands, 2 * LEN / 8192 + 3);
	assert_int_equal(path(r).retries, 3);
	assert_int_equal(rig_disconnect(r), 0);
	free(out);
	free(in);
}

/* A damaged read is read again. */
static void t_digest(struct rig *r)
{
	uint8_t out[4096], in[4096];

	rig_target(r, NULL, NULL);
	open_fast(r, "data_digest=on");
	rig_fill(out, sizeof(out), 2);
	assert_int_equal(rig_write(r, out, sizeof(out), 0, 0), 0);
	rig_fault(r, "on=c2hdata for=read nth=1 do=ddgst:bad");
	assert_int_equal(rig_read(r, in, sizeof(in), 0, 0), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(path(r).retries, 1);
	assert_int_equal(rig_disconnect(r), 0);
}

/* ---- loss ---- */

static void t_read_after_loss(struct rig *r)
{
	enum { N = 40 };
	static uint8_t in[N][4096];
	uint8_t out[4096];
	struct rig_op *ops[N];

	rig_target(r, NULL, NULL);
	open_fast(r, "queue_size=8");
	rig_fill(out, sizeof(out), 3);
	assert_int_equal(rig_write(r, out, sizeof(out), 0, 0), 0);
	rig_fault(r, r->arg);
	memset(in, 0, sizeof(in));
	for (int i = 0; i < N; i++)
		ops[i] = rig_submit_read(r, in[i], sizeof(in[i]), 0);
	rig_finish_all(r);
	for (int i = 0; i < N; i++) {
		if (ops[i]->error)
			fail_msg("%d: %s", i, ops[i]->detail);
		assert_memory_equal(in[i], out, sizeof(out));
	}
	assert_int_equal(path(r).state, NOF_PATH_UP);
	assert_int_equal(r->failures, 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/*
 * F-21: a write whose fate is unknown is not sent again before the hold, reads are. The
 * target never answers the first one; the association ends; another begins.
 */
static void t_write_is_held(struct rig *r)
{
	uint8_t out[4096], in[4096];
	struct rig_op *w;

	rig_target(r, NULL, NULL);
	open_fast(r, "write_hold=1.5");
	rig_fill(out, sizeof(out), 4);
	rig_fault(r, "on=write nth=1 do=drop; on=write nth=2-99 do=split:0");
	w = rig_submit_write(r, out, sizeof(out), 0);
	RIG_UNTIL(r, fired(r) == 1);
	rig_control(r, "drop io");
	RIG_UNTIL(r, nof_ctrl_get_state(r->ctrl) != NOF_CTRL_LIVE);
	/* It is back long before the hold is over: reads go, the write does not. */
	assert_int_equal(rig_read(r, in, sizeof(in), 0, 0), 0);
	assert_int_equal(w->count, 0);
	assert_int_equal(fired(r), 1);
	assert_int_equal(rig_finish(w), 0);
	assert_int_equal(fired(r), 2);
	assert_int_equal(rig_read(r, in, sizeof(in), 0, 0), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(path(r).failovers, 1);
	assert_int_equal(rig_disconnect(r), 0);
}

/*
 * A write without an answer may have been executed, or still be: its sentence says so, and how long
 * to wait can be asked. What was not sent, and reads, say no such thing.
 */
static void t_says_unknown(struct rig *r)
{
	struct nof_ctrl_info info = { .size = sizeof(info) };
	struct rig_op *w, *late, *unsent;
	uint8_t buf[512] = { 0 };

	rig_target(r, NULL, NULL);
	open_fast(r, "write_hold=60");
	assert_int_equal(nof_ctrl_get_info(r->ctrl, &info), 0);
	assert_int_equal(info.hold_ms, 60000);
	rig_fault(r, "on=write nth=1-2 do=drop; on=read do=drop");
	w = RIG_SUBMIT(r, nof_write(r->chan, buf, sizeof(buf), 0, NOF_IO_FAIL_FAST, rig_done, op));
	late = rig_submit_write(r, buf, sizeof(buf), 0);
	RIG_SUBMIT(r, nof_read(r->chan, buf, sizeof(buf), 0, NOF_IO_FAIL_FAST, rig_done, op));
	RIG_UNTIL(r, fired(r) == 3);
	rig_control(r, "drop io");
	assert_true(rig_finish(w) < 0);
	assert_non_null(strstr(w->detail, "outcome is unknown"));
	RIG_UNTIL(r, r->ops->count);
	assert_true(r->ops->error < 0);
	assert_null(strstr(r->ops->detail, "unknown"));
	RIG_UNTIL(r, nof_ctrl_get_state(r->ctrl) != NOF_CTRL_LIVE);
	unsent = rig_submit_write(r, buf, sizeof(buf), 0);
	assert_int_equal(nof_chan_cancel(r->chan), 2);
	assert_int_equal(rig_finish(late), -ECANCELED);
	assert_non_null(strstr(late->detail, "outcome is unknown"));
	assert_int_equal(rig_finish(unsent), -ECANCELED);
	assert_null(strstr(unsent->detail, "unknown"));
	rig_close(r);
}

/* By default the hold follows from the keep alive time. */
static void t_hold_follows_kato(struct rig *r)
{
	uint8_t out[512] = { 0 }, in[512];
	struct rig_op *w;

	rig_target(r, NULL, NULL);
	open_fast(r, "keep_alive_tmo=0.5");
	rig_fault(r, "on=write nth=1 do=drop; on=write nth=2-99 do=split:0");
	w = rig_submit_write(r, out, sizeof(out), 0);
	RIG_UNTIL(r, fired(r) == 1);
	rig_control(r, "drop io");
	RIG_UNTIL(r, nof_ctrl_get_state(r->ctrl) != NOF_CTRL_LIVE);
	assert_int_equal(rig_read(r, in, sizeof(in), 0, 0), 0);
	assert_int_equal(fired(r), 1);
	assert_int_equal(rig_finish(w), 0);
	assert_int_equal(fired(r), 2);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Switched off, it goes as soon as there is a connection. */
static void t_hold_off(struct rig *r)
{
	uint8_t out[512] = { 0 };
	struct rig_op *w;

	rig_target(r, NULL, NULL);
	open_fast(r, "write_hold=off");
	rig_fault(r, "on=write nth=1 do=drop");
	w = rig_submit_write(r, out, sizeof(out), 0);
	RIG_UNTIL(r, fired(r) == 1);
	rig_control(r, "drop io");
	assert_int_equal(rig_finish(w), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* What never left this host is not held. */
static void t_unsent_is_not_held(struct rig *r)
{
	uint8_t out[512] = { 0 };
	struct rig_op *w[20];
	unsigned left = 0;

	rig_target(r, NULL, NULL);
	open_fast(r, "queue_size=4&write_hold=8");
	rig_fault(r, "on=read do=reset");
	/* The connection ends by a read, so that no write is under way but those in its batch. */
	rig_submit_read(r, out, sizeof(out), 0);
	rig_turn(r, 50);
	rig_control(r, "clear");
	for (int i = 0; i < 20; i++)
		w[i] = rig_submit_write(r, out, sizeof(out), 512 * (uint64_t)i);
	rig_finish_all(r);
	for (int i = 0; i < 20; i++)
		left += w[i]->error != 0;
	assert_int_equal(left, 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Each attempt is lost: after max_retries it fails with what happened to the last one. */
static void t_max_retries(struct rig *r)
{
	char buf[512];

	rig_target(r, NULL, NULL);
	open_fast(r, "max_retries=2");
	rig_fault(r, "on=read do=reset");
	assert_true(rig_read(r, buf, sizeof(buf), 0, 0) < 0);
	assert_int_equal(fired(r), 3);
	rig_control(r, "clear");
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* The target dies and another one takes its place: nothing is lost, nothing stays open. */
static void t_restart(struct rig *r)
{
	enum { N = 32 };
	static uint8_t out[N][8192], in[8192];
	struct rig_op *ops[N];

	char options[128], file[64];
	FILE *f;

	snprintf(file, sizeof(file), "/tmp/nof-requeue-%d", getpid());
	f = fopen(file, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(truncate(file, 1 << 20), 0);
	snprintf(options, sizeof(options), "--ns=file:%s,bs=512", file);
	rig_keep_port(r);
	rig_target(r, options, NULL);
	open_fast(r, "write_hold=0.3&queue_size=8");
	for (int i = 0; i < N; i++) {
		rig_fill(out[i], sizeof(out[i]), (uint32_t)i);
		ops[i] = rig_submit_write(r, out[i], sizeof(out[i]), (uint64_t)i * 8192);
	}
	rig_turn(r, 1);
	rig_kill(r);
	rig_turn(r, 20);
	rig_target_restart(r);
	rig_target(r, options, NULL);
	rig_finish_all(r);
	for (int i = 0; i < N; i++) {
		if (ops[i]->error)
			fail_msg("%d: %s", i, ops[i]->detail);
		assert_int_equal(rig_read(r, in, sizeof(in), (uint64_t)i * 8192, 0), 0);
		assert_memory_equal(in, out[i], sizeof(in));
	}
	assert_int_equal(rig_disconnect(r), 0);
	unlink(file);
}

/* ---- the end of waiting ---- */

static void lose(struct rig *r)
{
	rig_kill(r);
	RIG_UNTIL(r, nof_ctrl_get_state(r->ctrl) != NOF_CTRL_LIVE);
}

static void t_ctrl_loss(struct rig *r)
{
	struct rig_op *a, *b;
	char buf[512];

	rig_target(r, NULL, NULL);
	open_fast(r, "ctrl_loss_tmo=0.5");
	lose(r);
	a = rig_submit_read(r, buf, sizeof(buf), 0);
	b = rig_submit_write(r, buf, sizeof(buf), 0);
	assert_false(a->is_refused);
	rig_finish_all(r);
	assert_true(a->error < 0 && b->error < 0);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_FAILED);
	assert_int_equal(path(r).state, NOF_PATH_GONE);
	RIG_REFUSES(nof_read(r->chan, buf, sizeof(buf), 0, 0, rig_done, NULL), ENOTCONN);
}

static void t_fast_io_fail(struct rig *r)
{
	struct rig_op *a;
	char buf[512];

	rig_keep_port(r);
	rig_target(r, NULL, NULL);
	open_fast(r, "fast_io_fail_tmo=0.3");
	lose(r);
	a = rig_submit_read(r, buf, sizeof(buf), 0);
	assert_true(rig_finish(a) < 0);
	assert_int_not_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_FAILED);
	RIG_REFUSES(nof_read(r->chan, buf, sizeof(buf), 0, 0, rig_done, NULL), ENOTCONN);
	/* Attempts go on, and once it is back I/O is as before. */
	rig_target_restart(r);
	rig_target(r, NULL, NULL);
	RIG_UNTIL(r, path(r).is_usable);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_cancel(struct rig *r)
{
	struct rig_op *ops[100], *more;
	char buf[512];

	rig_keep_port(r);
	rig_target(r, NULL, NULL);
	open_fast(r, "queue_size=64");
	lose(r);
	for (int i = 0; i < 100; i++)
		ops[i] = i & 1 ? rig_submit_read(r, buf, sizeof(buf), 0) :
			 rig_submit_write(r, buf, sizeof(buf), 0);
	assert_int_equal(nof_chan_get_inflight(r->chan), 100);
	assert_int_equal(nof_chan_cancel(r->chan), 100);
	/* Not inside the call. */
	assert_int_equal(ops[0]->count, 0);
	rig_finish_all(r);
	for (int i = 0; i < 100; i++)
		assert_int_equal(ops[i]->error, -ECANCELED);
	assert_int_equal(nof_chan_cancel(r->chan), 0);
	more = rig_submit_read(r, buf, sizeof(buf), 0);
	rig_target_restart(r);
	rig_target(r, NULL, NULL);
	assert_int_equal(rig_finish(more), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* What is with the controller ends by itself; what is held does not wait for its time. */
static void t_cancel_held(struct rig *r)
{
	uint8_t buf[512] = { 0 };
	struct rig_op *w;

	rig_target(r, NULL, NULL);
	open_fast(r, "write_hold=30");
	rig_fault(r, "on=write nth=1 do=drop; on=write nth=2-99 do=split:0");
	w = rig_submit_write(r, buf, sizeof(buf), 0);
	RIG_UNTIL(r, fired(r) == 1);
	assert_int_equal(nof_chan_cancel(r->chan), 0);
	rig_control(r, "drop io");
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(w->count, 0);
	assert_int_equal(nof_chan_cancel(r->chan), 1);
	assert_int_equal(rig_finish(w), -ECANCELED);
	assert_int_equal(fired(r), 1);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_fail_fast_while_waiting(struct rig *r)
{
	struct rig_op *a;
	char buf[512];

	rig_target(r, NULL, NULL);
	open_fast(r, NULL);
	lose(r);
	a = rig_submit_read(r, buf, sizeof(buf), 0);
	RIG_REFUSES(nof_read(r->chan, buf, sizeof(buf), 0, NOF_IO_FAIL_FAST, rig_done, NULL),
		    ENOTCONN);
	rig_turn(r, 10);
	assert_int_equal(a->count, 0);
	assert_int_equal(nof_chan_set_fail_fast(r->chan, true), 0);
	assert_true(rig_finish(a) < 0);
	RIG_REFUSES(nof_read(r->chan, buf, sizeof(buf), 0, 0, rig_done, NULL), ENOTCONN);
	assert_int_equal(nof_chan_set_fail_fast(r->chan, false), 0);
	a = rig_submit_read(r, buf, sizeof(buf), 0);
	assert_false(a->is_refused);
	nof_chan_close(r->chan);
	r->chan = NULL;
	assert_int_equal(a->error, -ECANCELED);
}

static void t_drain(struct rig *r)
{
	struct rig_op *ops[50], *d[3], *idle;
	char buf[512];

	rig_target(r, NULL, NULL);
	open_fast(r, "queue_size=8");
	idle = RIG_SUBMIT(r, nof_chan_drain(r->chan, rig_done, op));
	assert_int_equal(idle->count, 0);
	assert_int_equal(rig_finish(idle), 0);
	for (int i = 0; i < 20; i++)
		ops[i] = rig_submit_read(r, buf, sizeof(buf), 0);
	d[0] = RIG_SUBMIT(r, nof_chan_drain(r->chan, rig_done, op));
	for (int i = 20; i < 40; i++)
		ops[i] = rig_submit_read(r, buf, sizeof(buf), 0);
	d[1] = RIG_SUBMIT(r, nof_chan_drain(r->chan, rig_done, op));
	d[2] = RIG_SUBMIT(r, nof_chan_drain(r->chan, rig_done, op));
	assert_int_equal(rig_finish(d[0]), 0);
	for (int i = 0; i < 20; i++)
		assert_int_equal(ops[i]->count, 1);
	assert_int_equal(rig_finish(d[1]), 0);
	for (int i = 0; i < 40; i++)
		assert_int_equal(ops[i]->count, 1);
	assert_int_equal(rig_finish(d[2]), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* ---- who comes back (C-4, F-11) ---- */

static void t_resized(struct rig *r)
{
	struct nof_ns_info info = { .size = sizeof(info) };
	char buf[512];

	rig_keep_port(r);
	rig_target(r, "--ns=mem:4M,bs=512", NULL);
	open_fast(r, NULL);
	lose(r);
	rig_target_restart(r);
	rig_target(r, "--ns=mem:8M,bs=512 --mdts=1", NULL);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(nof_ns_get_info(r->ns, &info), 0);
	assert_int_equal(info.bytes, 8 << 20);
	assert_int_equal(info.max_transfer, 8192);
	assert_int_equal(rig_read(r, buf, sizeof(buf), (8 << 20) - 512, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* A piece that was cut for a larger MDTS is cut again. */
static void t_smaller_mdts(struct rig *r)
{
	enum { LEN = 256 * 1024 };
	uint8_t *out = malloc(LEN), *in = calloc(1, LEN);
	struct rig_op *w;

	rig_keep_port(r);
	rig_target(r, "--ns=mem:4M,bs=512", "on=write do=drop");
	open_fast(r, "write_hold=0.2");
	rig_fill(out, LEN, 9);
	w = rig_submit_write(r, out, LEN, 512);
	RIG_UNTIL(r, fired(r));
	lose(r);
	rig_target_restart(r);
	rig_target(r, "--ns=mem:4M,bs=512 --mdts=2", NULL);
	if (rig_finish(w))
		fail_msg("%s", w->detail);
	assert_int_equal(rig_read(r, in, LEN, 512, 0), 0);
	assert_memory_equal(in, out, LEN);
	assert_int_equal(rig_disconnect(r), 0);
	free(out);
	free(in);
}

struct other {
	const char *ns;			/* of the target that comes back */
	const char *says;
};

static void t_other_namespace(struct rig *r)
{
	const struct other *k = r->arg;
	struct rig_op *a;
	char buf[4096];

	rig_keep_port(r);
	rig_target(r, "--ns=mem:4M,bs=512", NULL);
	open_fast(r, NULL);
	lose(r);
	a = rig_submit_write(r, buf, sizeof(buf), 0);
	rig_target_restart(r);
	rig_target(r, k->ns, "on=write do=split:0");
	assert_true(rig_finish(a) < 0);
	if (!strstr(a->detail, k->says))
		fail_msg("want \"%s\", got: %s", k->says, a->detail);
	assert_int_equal(fired(r), 0);
	assert_int_equal(path(r).state, NOF_PATH_REFUSED);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_LIVE);
	RIG_REFUSES(nof_write(r->chan, buf, sizeof(buf), 0, 0, rig_done, NULL), ENOTCONN);
	assert_int_equal(rig_disconnect(r), 0);
}

static const struct rig_test tests[] = {
	STATUS("f20_dnr", "on=read nth=1 do=status:0x22/dnr", NULL, -EIO, 1),
	STATUS("f20_media_error", "on=read nth=1 do=status:2/0x81", NULL, -EIO, 1),
	STATUS("f20_invalid_field", "on=read nth=1 do=status:2", NULL, -EINVAL, 1),
	STATUS("f20_transport", "on=read nth=1 do=status:0x22", NULL, 0, 2),
	STATUS("f20_interrupted", "on=read nth=1 do=status:0x21", NULL, 0, 2),
	STATUS("f20_not_ready", "on=read nth=1-2 do=status:0x82", NULL, 0, 3),
	STATUS("f20_path_error", "on=read nth=1 do=status:3/0", NULL, 0, 2),
	STATUS("f20_ana_without_log", "on=read nth=1 do=status:3/2", NULL, 0, 2),
	STATUS("f20_max_retries", "on=read do=status:0x22", "max_retries=3", -EIO, 4),
	STATUS("f20_no_retries", "on=read do=status:0x22", "max_retries=0", -EIO, 1),
	{ "f20_fail_fast", t_fail_fast_flag },
	{ "f20_crd", t_crd },
	{ "f20_one_of_many", t_one_of_many },
	{ "f20_data_digest", t_digest },
	{ "t22_reads_reset", t_read_after_loss, "on=read nth=3 do=reset" },
	{ "t22_reads_dropped", t_read_after_loss, "on=read nth=5 do=drop; on=read nth=6 do=reset" },
	{ "t22_reads_term", t_read_after_loss, "on=read nth=10 do=term:1:0" },
	{ "f21_says_unknown", t_says_unknown },
	{ "f21_write_is_held", t_write_is_held },
	{ "f21_hold_follows_kato", t_hold_follows_kato },
	{ "f21_hold_off", t_hold_off },
	{ "f21_unsent_is_not_held", t_unsent_is_not_held },
	{ "max_retries", t_max_retries },
	{ "target_restart", t_restart },
	{ "ctrl_loss_tmo", t_ctrl_loss },
	{ "fast_io_fail_tmo", t_fast_io_fail },
	{ "cancel", t_cancel },
	{ "cancel_held", t_cancel_held },
	{ "fail_fast", t_fail_fast_while_waiting },
	{ "drain", t_drain },
	{ "c4_resized", t_resized },
	{ "c4_smaller_mdts", t_smaller_mdts },
	{ "c4_other_uuid", t_other_namespace, &(const struct other){
		"--ns=mem:4M,bs=512,uuid=11111111-2222-4333-8444-555555555555", "another" } },
	{ "c4_other_block_size", t_other_namespace, &(const struct other){
		"--ns=mem:4M,bs=4096", "blocks of 4096" } },
	{ "c4_no_namespace", t_other_namespace, &(const struct other){
		"--ns=mem:4M,bs=512,nsid=7", "no active namespace" } },
};

int main(void)
{
	return rig_main("requeue", tests, ARRAY_SIZE(tests));
}
