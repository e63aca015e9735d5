/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a loop waits: it sleeps, looks for a while, or never sleeps, as it was told, and may be
 * told otherwise at any time by any thread. What it does is counted, not timed.
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "rig.h"

enum { DEPTH = 8, LEN = 4096 };

static struct nof_loop_stats stats(struct nof_loop *loop)
{
	struct nof_loop_stats s = { .size = sizeof(s) };

	assert_int_equal(nof_loop_get_stats(loop, &s), 0);
	return s;
}

static void set(struct rig *r, enum nof_poll_mode mode)
{
	assert_int_equal(nof_loop_set_poll(r->loop, mode, 0), 0);
}

static void open_waiting(struct rig *r, const char *fault, const char *uri)
{
	r->drive = RIG_WAIT;
	rig_target(r, NULL, fault);
	rig_open(r, uri);
}

static void read_some(struct rig *r, unsigned n)
{
	char buf[LEN];

	while (n--)
		assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
}

/* What is left over, the wake-up of set_poll too, is gone: the next waits run out. */
static void settle(struct rig *r)
{
	uint64_t until = rig_now_ms() + 30;

	while (rig_now_ms() < until)
		assert_true(nof_loop_wait(r->loop, 10) >= 0);
}

static void t_sleep_is_the_default(struct rig *r)
{
	struct nof_loop_stats s;

	open_waiting(r, NULL, NULL);
	s = stats(r->loop);
	assert_int_equal(s.mode, NOF_POLL_SLEEP);
	read_some(r, 20);
	s = stats(r->loop);
	assert_int_equal(s.spins, 0);
	assert_int_equal(s.spin_looks, 0);
	assert_true(s.sleeps > 0 && s.turns >= s.sleeps);
	assert_true(s.completions >= 20);
}

/* Idle, with an Asynchronous Event Request outstanding as always: not one look. */
static void t_adaptive_costs_nothing_idle(struct rig *r)
{
	struct nof_loop_stats before, after;

	open_waiting(r, NULL, "keep_alive_tmo=0&io_timeout=60");
	set(r, NOF_POLL_ADAPTIVE);
	read_some(r, 50);
	before = stats(r->loop);
	assert_int_equal(before.mode, NOF_POLL_ADAPTIVE);
	assert_true(before.spins > 0);
	settle(r);
	before = stats(r->loop);
	for (int i = 0; i < 20; i++)
		assert_int_equal(nof_loop_wait(r->loop, 5), 0);
	after = stats(r->loop);
	assert_int_equal(after.spins, before.spins);
	assert_int_equal(after.spin_looks, before.spin_looks);
	/* One turn each: nothing woke it. */
	assert_int_equal(after.turns, before.turns + 20);
	assert_int_equal(after.sleeps, before.sleeps + 20);
}

/* Keep alives are nobody's latency. */
static void t_keep_alives_are_slept_for(struct rig *r)
{
	struct nof_ctrl_stats c = { .size = sizeof(c) };

	open_waiting(r, NULL, "keep_alive_tmo=0.2");
	set(r, NOF_POLL_ADAPTIVE);
	RIG_UNTIL(r, nof_ctrl_get_stats(r->ctrl, &c) == 0 && c.keep_alives >= 3);
	assert_int_equal(stats(r->loop).spins, 0);
}

/* A write is complete before its send is reported: in flight ends there, too. */
static void t_nothing_stays_in_flight(struct rig *r)
{
	static char buf[256 * 1024];
	struct nof_loop_stats before;

	open_waiting(r, NULL, "keep_alive_tmo=0&io_timeout=60");
	set(r, NOF_POLL_ADAPTIVE);
	for (int i = 0; i < 40; i++)
		assert_int_equal(rig_write(r, buf, i % 2 ? sizeof(buf) : LEN, 0, 0), 0);
	settle(r);
	before = stats(r->loop);
	for (int i = 0; i < 5; i++)
		assert_int_equal(nof_loop_wait(r->loop, 5), 0);
	assert_int_equal(stats(r->loop).spins, before.spins);
}

static void t_spin_never_sleeps(struct rig *r)
{
	struct nof_loop_stats before, after;

	open_waiting(r, NULL, NULL);
	set(r, NOF_POLL_SPIN);
	read_some(r, 1);
	before = stats(r->loop);
	read_some(r, 30);
	assert_true(nof_loop_wait(r->loop, 5) >= 0);	/* idle, too */
	after = stats(r->loop);
	assert_int_equal(after.sleeps, before.sleeps);
	assert_true(after.spins > before.spins && after.spin_hits > before.spin_hits);
	assert_true(after.spin_looks - before.spin_looks >= after.spins - before.spins);
	assert_true(after.spin_ns > before.spin_ns);
	assert_int_equal(after.mode, NOF_POLL_SPIN);
}

/* Timers run while it spins: the deadline of a command, in this case. */
static void t_deadlines_hold_while_spinning(struct rig *r)
{
	char buf[LEN];

	open_waiting(r, "on=read do=drop", "io_timeout=0.2");
	set(r, (enum nof_poll_mode)(intptr_t)r->arg);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), -ETIMEDOUT);
}

/* ---- from another thread ---- */

struct load {
	struct rig *r;
	unsigned goal;
	unsigned submitted, completed, failed, twice;
	struct unit {
		struct load *load;
		bool is_out;
		char buf[LEN];
	} unit[DEPTH];
	atomic_bool is_over;
	struct nof_loop *loop;
};

static void submit(struct unit *u);

static void on_done(void *arg, const struct nof_completion *c)
{
	struct unit *u = arg;
	struct load *l = u->load;

	l->twice += !u->is_out;
	u->is_out = false;
	l->completed++;
	l->failed += c->error != 0;
	if (l->submitted < l->goal)
		submit(u);
}

static void submit(struct unit *u)
{
	u->is_out = true;
	u->load->submitted++;
	if (nof_read(u->load->r->chan, u->buf, LEN, 0, 0, on_done, u) < 0)
		u->load->failed++;
}

static void run_load(struct load *l, unsigned goal, unsigned depth)
{
	l->submitted = l->completed = 0;
	l->goal = goal;
	for (unsigned i = 0; i < depth; i++) {
		l->unit[i].load = l;
		submit(&l->unit[i]);
	}
	RIG_UNTIL(l->r, l->completed == goal);
	assert_int_equal(l->submitted, goal);
	assert_int_equal(l->failed, 0);
	assert_int_equal(l->twice, 0);
}

static void *switcher(void *arg)
{
	struct load *l = arg;
	struct nof_loop_stats s = { .size = sizeof(s) };

	for (unsigned i = 0; !atomic_load(&l->is_over); i++) {
		nof_loop_set_poll(l->loop, i % 3, i % 7 * 10);
		nof_loop_get_stats(l->loop, &s);
		/* Until the loop has seen it, or has nothing more to do. */
		for (uint64_t turns = s.turns; s.turns == turns && !atomic_load(&l->is_over);)
			nof_loop_get_stats(l->loop, &s);
	}
	return NULL;
}

static void t_switched_in_mid_load(struct rig *r)
{
	struct load *l = calloc(1, sizeof(*l));
	struct nof_loop_stats before, after;
	pthread_t t;

	assert_non_null(l);
	open_waiting(r, NULL, NULL);
	l->r = r;
	l->loop = r->loop;
	assert_int_equal(pthread_create(&t, NULL, switcher, l), 0);
	run_load(l, 2000, 1);
	run_load(l, 4000, DEPTH);
	atomic_store(&l->is_over, true);
	pthread_join(t, NULL);

	set(r, NOF_POLL_SPIN);
	before = stats(r->loop);
	run_load(l, 100, 1);
	assert_true(stats(r->loop).spins > before.spins);
	/* Spinning stops with the next wait. */
	set(r, NOF_POLL_SLEEP);
	before = stats(r->loop);
	run_load(l, 200, 1);
	after = stats(r->loop);
	assert_int_equal(after.spins, before.spins);
	assert_int_equal(after.spin_looks, before.spin_looks);
	assert_true(after.completions >= before.completions + 200);
	free(l);
}

static void *stopper(void *arg)
{
	struct nof_loop *loop = arg;
	struct nof_loop_stats s = { .size = sizeof(s) };

	while (nof_loop_get_stats(loop, &s) == 0 && !s.spins)
		;
	nof_loop_set_poll(loop, NOF_POLL_SLEEP, 0);
	while (nof_loop_get_stats(loop, &s) == 0 && !s.sleeps)
		;
	nof_loop_set_poll(loop, NOF_POLL_SPIN, 0);
	nof_loop_stop(loop);
	return NULL;
}

/* A wait without limit is told, spinning or asleep. */
static void t_waiting_is_changed(struct rig *r)
{
	for (int i = 0; i < 20; i++) {
		struct nof_loop *loop = rig_new_loop(r, i & 1 ? NOF_LOOP_DEDICATED : 0);
		pthread_t t;

		assert_int_equal(nof_loop_set_poll(loop, NOF_POLL_SPIN, 0), 0);
		assert_int_equal(pthread_create(&t, NULL, stopper, loop), 0);
		assert_int_equal(nof_loop_run(loop), 0);
		pthread_join(t, NULL);
		nof_loop_free(loop);
	}
}

/* ---- who polls the fd ---- */

static bool was_ready;

static void on_look(void *arg, const struct nof_completion *c)
{
	struct rig_op *op = arg;

	was_ready = nof_loop_is_ready(op->rig->loop);
	rig_done(arg, c);
}

static void t_is_ready(struct rig *r)
{
	struct pollfd p = { .events = POLLIN };
	char buf[LEN];
	struct rig_op *read;

	r->drive = RIG_POLL;
	rig_target(r, NULL, NULL);
	rig_open(r, "keep_alive_tmo=0&io_timeout=60");
	p.fd = nof_loop_fd(r->loop);
	while (poll(&p, 1, 50) > 0)
		assert_true(nof_loop_process(r->loop) >= 0);
	assert_false(nof_loop_is_ready(r->loop));
	nof_loop_wake(r->loop);
	assert_true(nof_loop_is_ready(r->loop));
	assert_int_equal(nof_loop_process(r->loop), 0);
	assert_false(nof_loop_is_ready(r->loop));
	for (int i = 0; i < 20; i++) {
		read = RIG_SUBMIT(r, nof_read(r->chan, buf, LEN, 0, 0, on_look, op));
		assert_true(nof_loop_is_ready(r->loop));	/* it waits to be sent */
		while (!read->count) {
			RIG_EVENTUALLY(nof_loop_is_ready(r->loop));
			/* Asking takes nothing away. */
			assert_int_equal(poll(&p, 1, 0), 1);
			assert_true(nof_loop_process(r->loop) >= 0);
		}
		assert_int_equal(read->error, 0);
		assert_false(was_ready);
	}
	assert_false(nof_loop_is_ready(NULL));
}

/* nof_loop_process() never looks twice, whatever the mode. */
static void t_process_never_spins(struct rig *r)
{
	r->drive = RIG_POLL;
	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	set(r, NOF_POLL_SPIN);
	read_some(r, 10);
	assert_int_equal(stats(r->loop).spins, 0);
	assert_int_equal(stats(r->loop).sleeps, 0);
}

/* ---- calls ---- */

static void on_nested(void *arg, const struct nof_completion *c)
{
	struct rig_op *op = arg;

	was_ready = nof_loop_wait_ns(op->rig->loop, 0) == -EDEADLK;
	rig_done(arg, c);
}

static void t_wrong_calls(struct rig *r)
{
	struct nof_loop_stats s = { .size = 4 };
	struct nof_loop_stats old;
	char buf[LEN];

	open_waiting(r, NULL, NULL);
	RIG_REFUSES(nof_loop_set_poll(NULL, NOF_POLL_SPIN, 0), EINVAL);
	RIG_REFUSES(nof_loop_set_poll(r->loop, (enum nof_poll_mode)3, 0), EINVAL);
	RIG_REFUSES(nof_loop_set_poll(r->loop, NOF_POLL_ADAPTIVE, 1000001), ERANGE);
	RIG_REFUSES(nof_loop_get_stats(NULL, &s), EINVAL);
	RIG_REFUSES(nof_loop_get_stats(r->loop, NULL), EINVAL);
	RIG_REFUSES(nof_loop_get_stats(r->loop, &s), EINVAL);
	RIG_REFUSES(nof_loop_wait_ns(NULL, 0), EINVAL);
	assert_int_equal(nof_loop_set_poll(r->loop, NOF_POLL_ADAPTIVE, 77), 0);
	s = stats(r->loop);
	assert_int_equal(s.max_us, 77);
	/* A program made when there was less of it. */
	memset(&old, 0x5a, sizeof(old));
	old.size = offsetof(struct nof_loop_stats, spins);
	assert_int_equal(nof_loop_get_stats(r->loop, &old), 0);
	assert_true(old.turns > 0 && old.turns < UINT32_MAX);
	assert_true(old.spins == 0x5a5a5a5a5a5a5a5aull);

	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_read(r->chan, buf, LEN, 0, 0, on_nested,
							   op))), 0);
	assert_true(was_ready);
	assert_true(nof_loop_wait_ns(r->loop, 0) >= 0);
	assert_true(nof_loop_wait_ns(r->loop, 200000) >= 0);
	nof_loop_wake(r->loop);
	assert_true(nof_loop_wait_ns(r->loop, -1) >= 0);
}

static const struct rig_test tests[] = {
	{ "sleep_is_the_default", t_sleep_is_the_default },
	{ "adaptive_costs_nothing_idle", t_adaptive_costs_nothing_idle },
	{ "keep_alives_are_slept_for", t_keep_alives_are_slept_for },
	{ "nothing_stays_in_flight", t_nothing_stays_in_flight },
	{ "spin_never_sleeps", t_spin_never_sleeps },
	{ "deadlines_adaptive", t_deadlines_hold_while_spinning, (void *)NOF_POLL_ADAPTIVE },
	{ "deadlines_spin", t_deadlines_hold_while_spinning, (void *)NOF_POLL_SPIN },
	{ "switched_in_mid_load", t_switched_in_mid_load },
	{ "waiting_is_changed", t_waiting_is_changed },
	{ "is_ready", t_is_ready },
	{ "process_never_spins", t_process_never_spins },
	{ "wrong_calls", t_wrong_calls },
};

int main(void)
{
	return rig_main("poll_modes", tests, ARRAY_SIZE(tests));
}
