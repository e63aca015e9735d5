/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One controller, channels on two loops in two threads, real I/O in both; and the
 * controller is lost from either side while both run. Under ThreadSanitizer this shows
 * that nothing is shared without a rule.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "rig.h"

enum { DEPTH = 8, LEN = 8192 };

/* One side: a loop and what runs on it. Only its own thread touches the plain fields. */
struct side {
	struct rig *r;
	struct nof_ns *ns;		/* shared, immutable */
	struct nof_loop *loop;
	struct nof_chan *chan;
	uint64_t base;			/* where it may write */
	unsigned goal;			/* good completions after which it stops; 0 = at an error */
	int open_error;
	bool is_open_done;
	unsigned submitted, completed, refused;
	unsigned twice, silent, corrupt;
	int error;			/* the first one */
	atomic_uint good;		/* the other thread looks at it */
	struct unit {
		struct side *side;
		bool is_write, is_out;
		uint64_t offset;
		uint32_t seed;
		uint8_t buf[LEN];
	} unit[DEPTH];
};

static void submit(struct unit *u);

static void on_done(void *arg, const struct nof_completion *c)
{
	struct unit *u = arg;
	struct side *s = u->side;

	if (!u->is_out)
		s->twice++;
	u->is_out = false;
	s->completed++;
	if (c->error) {
		if (strlen(c->detail) < 15)
			s->silent++;
		if (!s->error)
			s->error = c->error;
		return;
	}
	if (!u->is_write && !rig_is_filled(u->buf, LEN, u->seed))
		s->corrupt++;
	atomic_fetch_add(&s->good, 1);
	if (!s->error && (!s->goal || atomic_load(&s->good) < s->goal))
		submit(u);
}

static void submit(struct unit *u)
{
	struct side *s = u->side;
	int ret;

	u->is_write = !u->is_write;
	if (u->is_write)
		rig_fill(u->buf, LEN, ++u->seed);
	else
		memset(u->buf, 0, LEN);
	u->is_out = true;
	ret = u->is_write ? nof_write(s->chan, u->buf, LEN, u->offset, 0, on_done, u) :
	      nof_read(s->chan, u->buf, LEN, u->offset, 0, on_done, u);
	if (ret == 0) {
		s->submitted++;
		return;
	}
	u->is_out = false;
	s->refused++;
	if (!s->error)
		s->error = ret;
}

static void on_open(void *arg, const struct nof_completion *c)
{
	struct side *s = arg;

	s->is_open_done = true;
	s->open_error = c->error;
}

static void run(struct side *s)
{
	uint64_t until = rig_now_ms() + RIG_DEADLINE_MS;

	if (nof_chan_open(s->ns, s->loop, &s->chan, on_open, s) < 0) {
		s->open_error = -1;
		return;
	}
	while (!s->is_open_done && rig_now_ms() < until)
		nof_loop_wait(s->loop, 100);
	if (!s->chan)
		return;
	for (unsigned i = 0; i < DEPTH; i++) {
		s->unit[i].side = s;
		s->unit[i].seed = (uint32_t)(s->base + i * 100);
		s->unit[i].offset = s->base + (uint64_t)i * LEN;
		submit(&s->unit[i]);
	}
	while (s->completed < s->submitted && rig_now_ms() < until)
		nof_loop_wait(s->loop, 100);
}

static void *thread_main(void *arg)
{
	struct side *s = arg;

	run(s);
	/* What the other side posts to this loop is taken while it waits here. */
	nof_chan_close(s->chan);
	s->chan = NULL;
	return NULL;
}

static void check(const struct side *s)
{
	assert_int_equal(s->open_error, 0);
	assert_int_equal(s->completed, s->submitted);
	assert_int_equal(s->twice, 0);
	assert_int_equal(s->silent, 0);
	assert_int_equal(s->corrupt, 0);
}

struct pair {
	struct side a, b;
	pthread_t thread;
};

/* Side A is the controller's loop and this thread, B the other one. */
static struct pair *start(struct rig *r, unsigned goal)
{
	struct pair *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	r->drive = RIG_WAIT;
	assert_int_equal(rig_connect(r, "nr_io_queues=2"), 0);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	p->a = (struct side){ .r = r, .ns = r->ns, .loop = r->loop, .goal = goal };
	p->b = (struct side){ .r = r, .ns = r->ns, .base = 4 << 20, .goal = goal };
	p->b.loop = rig_new_loop(r, NOF_LOOP_DEDICATED);
	assert_int_equal(pthread_create(&p->thread, NULL, thread_main, &p->b), 0);
	return p;
}

static void end(struct rig *r, struct pair *p)
{
	check(&p->a);
	check(&p->b);
	nof_chan_close(p->a.chan);
	nof_loop_free(p->b.loop);
	rig_close(r);
	free(p);
}

static void t_io_in_both(struct rig *r)
{
	struct pair *p;

	rig_target(r, r->arg, NULL);
	p = start(r, 600);
	run(&p->a);
	pthread_join(p->thread, NULL);
	assert_int_equal(p->a.error, 0);
	assert_int_equal(p->b.error, 0);
	assert_int_equal(rig_disconnect(r), 0);
	end(r, p);
}

static void *killer(void *arg)
{
	struct pair *p = arg;
	uint64_t until = rig_now_ms() + RIG_DEADLINE_MS;
	struct rig *r = p->a.r;

	while ((atomic_load(&p->a.good) < 100 || atomic_load(&p->b.good) < 100) &&
	       rig_now_ms() < until)
		;
	if (!strcmp(r->arg, "kill"))
		kill(r->pid, SIGKILL);
	else if (!strcmp(r->arg, "stop"))
		kill(r->pid, SIGSTOP);
	else
		rig_control(r, "drop %s", (const char *)r->arg);
	return NULL;
}

/* The controller is lost while both threads have I/O in flight. */
static void t_lost_in_both(struct rig *r)
{
	struct pair *p;
	pthread_t k;

	rig_target(r, NULL, NULL);
	r->was_killed = !strcmp(r->arg, "kill");
	p = start(r, 0);
	assert_int_equal(pthread_create(&k, NULL, killer, p), 0);
	run(&p->a);
	pthread_join(k, NULL);
	pthread_join(p->thread, NULL);
	assert_true(p->a.error < 0);
	assert_true(p->b.error < 0);
	RIG_UNTIL(r, r->failures == 1);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_FAILED);
	end(r, p);
}

/* Only the queue on the other loop is lost: its loss reaches the controller. */
static void t_other_queue_lost(struct rig *r)
{
	struct pair *p;
	uint64_t until;

	rig_target(r, NULL, NULL);
	p = start(r, 0);
	until = rig_now_ms() + RIG_DEADLINE_MS;
	while (atomic_load(&p->b.good) < 50 && rig_now_ms() < until)
		nof_loop_wait(r->loop, 10);
	rig_control(r, "drop 2");
	RIG_UNTIL(r, r->failures == 1);
	pthread_join(p->thread, NULL);
	assert_true(p->b.error < 0);
	end(r, p);
}

/* Disconnecting cancels what other loops have in flight. */
static void t_disconnect(struct rig *r)
{
	struct pair *p;
	uint64_t until;

	rig_target(r, NULL, NULL);
	p = start(r, 0);
	until = rig_now_ms() + RIG_DEADLINE_MS;
	while (atomic_load(&p->b.good) < 50 && rig_now_ms() < until)
		nof_loop_wait(r->loop, 10);
	assert_int_equal(rig_disconnect(r), 0);
	pthread_join(p->thread, NULL);
	assert_int_equal(p->b.error, -ECANCELED);
	end(r, p);
}

/* One turn of the controller's loop and one of another, both on this thread. */
#define UNTIL_BOTH(r, other, cond) do {                                                 \
	uint64_t until_ = rig_now_ms() + RIG_DEADLINE_MS;                               \
	while (!(cond)) {                                                               \
		assert_true(rig_now_ms() < until_);                                     \
		assert_true(nof_loop_process((r)->loop) >= 0);                          \
		assert_true(nof_loop_wait(other, 10) >= 0);                             \
	}                                                                               \
} while (0)

/*
 * The same, when the target has closed the connection before the other loop comes to hear of
 * it: the reason is what the user did, not what the target made of that.
 */
static void t_disconnect_late(struct rig *r)
{
	struct side b = { .r = r };
	struct rig_op *op;
	char buf[512];

	rig_target(r, NULL, "on=read do=drop");
	assert_int_equal(rig_connect(r, "nr_io_queues=2"), 0);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	b.loop = rig_new_loop(r, 0);
	assert_int_equal(nof_chan_open(r->ns, b.loop, &b.chan, on_open, &b), 0);
	UNTIL_BOTH(r, b.loop, b.is_open_done);
	assert_int_equal(b.open_error, 0);
	op = rig_op(r);
	rig_accept(op, nof_read(b.chan, buf, sizeof(buf), 0, 0, rig_done, op));
	UNTIL_BOTH(r, b.loop, rig_stat(r, "faults_fired") == 1);
	assert_int_equal(rig_disconnect(r), 0);
	rig_all_closed(r);
	UNTIL_BOTH(r, b.loop, op->count);
	assert_int_equal(op->error, -ECANCELED);
	assert_non_null(strstr(op->detail, "nof_ctrl_disconnect()"));
	nof_chan_close(b.chan);
	nof_loop_free(b.loop);
	rig_close(r);
}

/* Every queue is in use on this loop: the other one gets none. */
static void t_no_queue_left(struct rig *r)
{
	struct nof_loop *other;
	struct nof_chan *chan = NULL;

	rig_target(r, NULL, NULL);
	rig_open(r, "nr_io_queues=1");
	other = rig_new_loop(r, 0);
	RIG_REFUSES(nof_chan_open(r->ns, other, &chan, rig_done, NULL), ENOSPC);
	assert_null(chan);
	nof_loop_free(other);
	assert_int_equal(rig_disconnect(r), 0);
}

/* nof_loop_stop() and nof_loop_wake() from another thread. */
static void *runner(void *arg)
{
	return nof_loop_run(arg) == 0 ? NULL : arg;
}

static void t_stop_from_thread(struct rig *r)
{
	void *ret = r;

	for (int i = 0; i < 50; i++) {
		struct nof_loop *loop = rig_new_loop(r, i & 1 ? NOF_LOOP_DEDICATED : 0);
		pthread_t t;

		assert_int_equal(pthread_create(&t, NULL, runner, loop), 0);
		nof_loop_wake(loop);
		nof_loop_stop(loop);
		pthread_join(t, &ret);
		assert_null(ret);
		nof_loop_free(loop);
	}
}

static const struct rig_test tests[] = {
	{ "io_in_both", t_io_in_both, "" },
	{ "io_in_both_r2t", t_io_in_both, "--in-capsule=0 --r2t=4 --r2t-size=4096" },
	{ "killed", t_lost_in_both, "kill" },
	{ "stopped", t_lost_in_both, "stop" },
	{ "admin_dropped", t_lost_in_both, "admin" },
	{ "io_dropped", t_lost_in_both, "io" },
	{ "other_queue_lost", t_other_queue_lost },
	{ "disconnect", t_disconnect },
	{ "disconnect_late", t_disconnect_late },
	{ "no_queue_left", t_no_queue_left },
	{ "stop_from_thread", t_stop_from_thread },
};

int main(void)
{
	return rig_main("two_loops", tests, ARRAY_SIZE(tests));
}
