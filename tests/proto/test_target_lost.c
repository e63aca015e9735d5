/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The target dies (SIGKILL) or stops (SIGSTOP) in the middle of I/O, or its connection
 * is cut at some byte: every operation completes once, in bounded time, with a
 * sentence; and what completed with success really has its data (T-15, T-22).
 */
#include <signal.h>

#include "rig.h"

enum { DEPTH = 16, LEN = 20480 };

/* Keeps I/O in flight until one fails; each completion submits the next. */
struct load {
	struct rig *r;
	unsigned good, bad;
	unsigned until;			/* completions after which do_it() is due */
	bool is_over;
	struct slot {
		struct load *load;
		struct rig_op *op;
		bool is_write;
		uint64_t offset;
		uint8_t buf[LEN];
	} slot[DEPTH];
};

static void submit(struct slot *s);

static void on_done(void *arg, const struct nof_completion *c)
{
	struct slot *s = arg;
	struct load *l = s->load;

	rig_done(s->op, c);
	if (c->error) {
		l->bad++;
		l->is_over = true;
		return;
	}
	l->good++;
	if (!s->is_write && !rig_is_filled(s->buf, LEN, (uint32_t)(s->offset / LEN)))
		snprintf(l->r->wrong, sizeof(l->r->wrong), "a read succeeded with wrong data");
	if (!l->is_over)
		submit(s);
}

static void submit(struct slot *s)
{
	struct rig *r = s->load->r;
	int ret;

	s->op = rig_op(r);
	s->is_write = !s->is_write;
	if (s->is_write)
		rig_fill(s->buf, LEN, (uint32_t)(s->offset / LEN));
	else
		memset(s->buf, 0, LEN);
	ret = s->is_write ? nof_write(r->chan, s->buf, LEN, s->offset, 0, on_done, s) :
	      nof_read(r->chan, s->buf, LEN, s->offset, 0, on_done, s);
	if (rig_accept(s->op, ret)->is_refused)
		s->load->is_over = true;
}

static struct load *start(struct rig *r, unsigned until)
{
	struct load *l = calloc(1, sizeof(*l));

	assert_non_null(l);
	l->r = r;
	l->until = until;
	for (unsigned i = 0; i < DEPTH; i++) {
		l->slot[i].load = l;
		l->slot[i].offset = (uint64_t)i * LEN;
		submit(&l->slot[i]);
	}
	RIG_UNTIL(r, l->good >= l->until || l->is_over);
	return l;
}

static void finish(struct rig *r, struct load *l)
{
	uint64_t start = rig_now_ms();

	rig_finish_all(r);
	assert_true(rig_now_ms() - start < 5000);
	assert_true(l->bad > 0);
	RIG_UNTIL(r, r->failures == 1);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_FAILED);
	rig_close(r);
	free(l);
}

static void t_killed(struct rig *r)
{
	for (unsigned i = 0; i < 8; i++) {
		struct load *l;

		rig_target(r, i & 1 ? "--in-capsule=0 --c2h-size=8192" : "", NULL);
		rig_open(r, i & 2 ? "hdr_digest=on&data_digest=on" : "nr_io_queues=1");
		l = start(r, 7 + i * 23);
		rig_kill(r);
		finish(r, l);
		rig_target_restart(r);
		r->failures = 0;
	}
}

static void t_stopped(struct rig *r)
{
	struct load *l;

	rig_target(r, NULL, NULL);
	rig_open(r, r->arg);
	l = start(r, 100);
	rig_signal(r, SIGSTOP);
	finish(r, l);
	rig_signal(r, SIGCONT);
}

static void t_stopped_while_idle(struct rig *r)
{
	rig_target(r, NULL, NULL);
	rig_open(r, "keep_alive_tmo=0.4");
	rig_signal(r, SIGSTOP);
	RIG_UNTIL(r, r->failures == 1);
	assert_int_equal(r->failure_error, -ETIMEDOUT);
	rig_close(r);
	rig_signal(r, SIGCONT);
}

static void t_killed_while_idle(struct rig *r)
{
	uint64_t start;

	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	start = rig_now_ms();
	rig_kill(r);
	RIG_UNTIL(r, r->failures == 1);
	assert_true(rig_now_ms() - start < 1500);
	assert_true(strlen(r->failure) > 20);
}

/* Stopped for less than any timeout: nobody notices. */
static void t_pause(struct rig *r)
{
	struct load *l;
	uint64_t until;

	rig_target(r, NULL, NULL);
	rig_open(r, "keep_alive_tmo=5&io_timeout=5");
	l = start(r, 50);
	rig_signal(r, SIGSTOP);
	until = rig_now_ms() + 300;
	while (rig_now_ms() < until)
		rig_turn(r, 20);
	rig_signal(r, SIGCONT);
	RIG_UNTIL(r, l->good > 300);
	l->is_over = true;
	rig_finish_all(r);
	assert_int_equal(l->bad, 0);
	assert_int_equal(rig_disconnect(r), 0);
	rig_close(r);
	free(l);
}

/* One way of losing the connection at many positions of the target's stream. */
static void t_cut(struct rig *r)
{
	char script[64];

	for (unsigned i = 0; i < 12; i++) {
		struct load *l;

		/* Behind the set-up of an I/O queue: ICResp and the answer to Connect. */
		snprintf(script, sizeof(script), "on=accept conn=2 do=at:%u:%s", 160 + i * i * 977,
			 (const char *)r->arg);
		rig_target(r, "--c2h-size=4096 --in-capsule=4096", script);
		rig_open(r, "io_timeout=0.3");
		l = start(r, UINT32_MAX / 2);
		finish(r, l);
		rig_target_restart(r);
		r->failures = 0;
	}
}

/* Lost while the controller is being set up: connecting fails, wherever it is. */
static void t_cut_during_connect(struct rig *r)
{
	char script[64];

	for (unsigned k = 1; k < 5200; k += 173) {
		snprintf(script, sizeof(script), "on=accept do=at:%u:%s", k,
			 k & 1 ? "close" : "reset");
		rig_target(r, NULL, script);
		assert_int_equal(rig_try_open(r, NULL), -ECONNRESET);
		rig_close(r);
		rig_target_restart(r);
		r->failures = 0;
	}
}

/* The target drops single connections: the whole controller goes (T-22). */
static void t_one_connection(struct rig *r)
{
	struct load *l;

	rig_target(r, NULL, NULL);
	rig_open(r, "nr_io_queues=2");
	l = start(r, 40);
	assert_string_equal(rig_control(r, "drop %s", (const char *)r->arg), "ok");
	finish(r, l);
	rig_all_closed(r);
}

static const struct rig_test tests[] = {
	{ "killed", t_killed },
	{ "killed_while_idle", t_killed_while_idle },
	{ "stopped", t_stopped, "io_timeout=0.4" },
	{ "stopped_keep_alive_first", t_stopped, "keep_alive_tmo=0.4" },
	{ "stopped_while_idle", t_stopped_while_idle },
	{ "pause", t_pause },
	{ "cut_close", t_cut, "close" },
	{ "cut_reset", t_cut, "reset" },
	{ "cut_silence", t_cut, "silence" },
	{ "cut_during_connect", t_cut_during_connect },
	{ "drop_io", t_one_connection, "io" },
	{ "drop_admin", t_one_connection, "admin" },
};

int main(void)
{
	return rig_main("target_lost", tests, ARRAY_SIZE(tests));
}
