/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The loop's contract on both engines: one pollable fd that is readable exactly
 * when there is something to do, timers in order, messages from other threads,
 * deferred work, no re-entry.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>

#include "queue/engine.h"
#include "unit_loop.h"

enum { MS = 1000000 };

static int poll_fd(struct nof_loop *loop, int timeout_ms)
{
	struct pollfd p = { .fd = nof_loop_fd(loop), .events = POLLIN };

	return poll(&p, 1, timeout_ms);
}

/* Runs what set-up left behind until the fd is quiet. */
static void settle(struct nof_loop *loop)
{
	while (poll_fd(loop, 0) == 1)
		assert_true(nof_loop_process(loop) >= 0);
}

struct fired {
	struct nofi_timer t;
	int *order, *count, id;
};

static void on_fired(struct nofi_timer *t)
{
	struct fired *f = (struct fired *)t;

	f->order[(*f->count)++] = f->id;
}

static void timers_fire_in_order_and_wake_the_fd(enum nof_engine engine)
{
	struct nof_loop *loop = new_loop(engine, 0);
	static const int delay[] = { 9, 3, 7, 1, 5 };
	struct fired f[5] = { 0 };
	int order[5], count = 0;
	uint64_t now = nofi_loop_now(loop);

	for (int i = 0; i < 5; i++) {
		f[i] = (struct fired){ .order = order, .count = &count, .id = delay[i],
				       .t.fn = on_fired };
		assert_int_equal(nofi_timer_arm(loop, &f[i].t, now + (uint64_t)delay[i] * MS), 0);
	}
	nofi_timer_disarm(loop, &f[2].t);
	assert_int_equal(nof_loop_flush(loop), 0);
	while (count < 4) {
		assert_int_equal(poll_fd(loop, 5000), 1);
		assert_true(nof_loop_process(loop) >= 0);
	}
	assert_int_equal(order[0], 1);
	assert_int_equal(order[1], 3);
	assert_int_equal(order[2], 5);
	assert_int_equal(order[3], 9);
	nof_loop_free(loop);
}

/* An earlier timer armed later replaces the one that the kernel knows. */
static void an_earlier_timer_overtakes(enum nof_engine engine)
{
	struct nof_loop *loop = new_loop(engine, 0);
	int order[2], count = 0;
	struct fired late = { .order = order, .count = &count, .id = 1, .t.fn = on_fired };
	struct fired soon = { .order = order, .count = &count, .id = 2, .t.fn = on_fired };

	nofi_timer_arm(loop, &late.t, nofi_loop_now(loop) + 60000ull * MS);
	nof_loop_flush(loop);
	nofi_timer_arm(loop, &soon.t, nofi_loop_now(loop) + 2 * MS);
	nof_loop_flush(loop);
	while (!count) {
		assert_int_equal(poll_fd(loop, 5000), 1);
		assert_true(nof_loop_process(loop) >= 0);
	}
	assert_int_equal(order[0], 2);
	settle(loop);
	/* And the late one is not forgotten, nor does it fire early. */
	assert_int_equal(count, 1);
	assert_true(late.t.pos != 0);
	nofi_timer_disarm(loop, &late.t);
	nof_loop_free(loop);
}

static void *wake_thread(void *arg)
{
	nof_loop_wake(arg);
	return NULL;
}

static void wake_from_a_thread_ends_a_wait(enum nof_engine engine, uint32_t flags)
{
	struct nof_loop *loop = new_loop(engine, flags);
	pthread_t th;

	for (int i = 0; i < 100; i++) {
		assert_int_equal(pthread_create(&th, NULL, wake_thread, loop), 0);
		assert_true(nof_loop_wait(loop, -1) >= 0);
		pthread_join(th, NULL);
	}
	nof_loop_free(loop);
}

static void wake_makes_the_fd_readable_once(enum nof_engine engine)
{
	struct nof_loop *loop = new_loop(engine, 0);

	settle(loop);
	assert_int_equal(poll_fd(loop, 0), 0);
	nof_loop_wake(loop);
	nof_loop_wake(loop);
	assert_int_equal(poll_fd(loop, 5000), 1);
	settle(loop);
	assert_int_equal(poll_fd(loop, 0), 0);
	nof_loop_free(loop);
}

struct counted {
	struct nofi_msg m;
	int *count;
};

static void on_msg(struct nofi_msg *m)
{
	(*((struct counted *)m)->count)++;
}

struct poster {
	struct nof_loop *loop;
	struct counted msg[1000];
};

static void *post_thread(void *arg)
{
	struct poster *p = arg;

	for (int i = 0; i < 1000; i++)
		nofi_loop_post(p->loop, &p->msg[i].m);
	return NULL;
}

static void messages_of_two_threads_all_arrive(enum nof_engine engine)
{
	struct nof_loop *loop = new_loop(engine, 0);
	struct poster *p = calloc(2, sizeof(*p));
	pthread_t th[2];
	int count = 0;

	for (int t = 0; t < 2; t++) {
		p[t].loop = loop;
		for (int i = 0; i < 1000; i++)
			p[t].msg[i] = (struct counted){ .m.fn = on_msg, .count = &count };
		assert_int_equal(pthread_create(&th[t], NULL, post_thread, &p[t]), 0);
	}
	while (count < 2000)
		assert_true(nof_loop_wait(loop, -1) >= 0);
	pthread_join(th[0], NULL);
	pthread_join(th[1], NULL);
	free(p);
	nof_loop_free(loop);
}

struct deferred {
	struct nofi_defer d;
	struct nof_loop *loop;
	int *count;
	int again;
	int seen_edeadlk;
};

static void on_deferred(struct nofi_defer *d)
{
	struct deferred *x = (struct deferred *)d;

	(*x->count)++;
	x->seen_edeadlk += nof_loop_process(x->loop) == -EDEADLK;
	if (x->again-- > 0)
		nofi_loop_defer(x->loop, d);
}

static void deferred_work_runs_once_per_turn_and_wakes(enum nof_engine engine)
{
	struct nof_loop *loop = new_loop(engine, 0);
	int count = 0;
	struct deferred x = { .d.fn = on_deferred, .loop = loop, .count = &count, .again = 2 };

	settle(loop);
	nofi_loop_defer(loop, &x.d);
	nofi_loop_defer(loop, &x.d);
	for (int i = 1; i <= 3; i++) {
		assert_int_equal(poll_fd(loop, 5000), 1);
		assert_true(nof_loop_process(loop) >= 0);
		assert_int_equal(count, i);
	}
	assert_int_equal(x.seen_edeadlk, 3);
	settle(loop);
	assert_int_equal(count, 3);
	nofi_loop_defer(loop, &x.d);
	nofi_loop_undefer(loop, &x.d);
	settle(loop);
	assert_int_equal(count, 3);
	nof_loop_free(loop);
}

static void *stop_thread(void *arg)
{
	nof_loop_stop(arg);
	return NULL;
}

static void run_ends_by_stop_of_another_thread(enum nof_engine engine, uint32_t flags)
{
	struct nof_loop *loop = new_loop(engine, flags);
	pthread_t th;

	for (int i = 0; i < 100; i++) {
		assert_int_equal(pthread_create(&th, NULL, stop_thread, loop), 0);
		assert_int_equal(nof_loop_run(loop), 0);
		pthread_join(th, NULL);
	}
	nof_loop_free(loop);
}

static void a_wait_ends_at_its_timeout(enum nof_engine engine)
{
	struct nof_loop *loop = new_loop(engine, 0);

	settle(loop);
	assert_int_equal(nof_loop_wait(loop, 1), 0);
	assert_int_equal(nof_loop_wait(loop, 0), 0);
	nof_loop_free(loop);
}

static void a_dedicated_loop_has_no_fd(enum nof_engine engine)
{
	struct nof_loop *loop = new_loop(engine, NOF_LOOP_DEDICATED);

	assert_int_equal(nof_loop_fd(loop), -ENOTSUP);
	assert_true(nof_strerror_detail()[0] != 0);
	nof_loop_free(loop);
}

static void bad_arguments_are_refused_with_a_sentence(enum nof_engine engine)
{
	struct nof_loop_opts o;
	struct nof_loop *loop = (void *)1;

	(void)engine;
	nof_loop_opts_init(&o);
	o.engine = (enum nof_engine)77;
	assert_int_equal(nof_loop_new(&o, &loop), -EINVAL);
	assert_non_null(strstr(nof_strerror_detail(), "77"));
	nof_loop_opts_init(&o);
	o.flags = 1u << 31;
	assert_int_equal(nof_loop_new(&o, &loop), -EINVAL);
	assert_ptr_equal(loop, (void *)1);
	assert_int_equal(nof_loop_process(NULL), -EINVAL);
	nof_loop_free(NULL);
}

struct watched {
	struct nofi_fd_watch w;
	unsigned *count;
};

static void on_watched(struct nofi_fd_watch *w)
{
	++*((struct watched *)w)->count;
}

static struct watched *watch(struct nof_loop *loop, int fd, unsigned *count)
{
	struct watched *v = calloc(1, sizeof(*v));

	assert_non_null(v);
	v->w.fd = fd;
	v->w.fn = on_watched;
	v->count = count;
	assert_int_equal(nofi_loop_watch(loop, &v->w), 0);
	return v;
}

static void wait_some(struct nof_loop *loop)
{
	for (int i = 0; i < 5; i++)
		assert_true(nof_loop_wait(loop, 1) >= 0);
}

/* Whether the loop has been driven by then or not, its memory is the caller's at once. */
static void what_is_unwatched_is_never_called(enum nof_engine engine, uint32_t flags)
{
	struct nof_loop *loop = new_loop(engine, flags);
	struct watched *v;
	unsigned count = 0;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	for (int round = 0; round < 3; round++) {
		v = watch(loop, fds[0], &count);
		if (round == 2)
			assert_int_equal(write(fds[1], "x", 1), 1);
		nofi_loop_unwatch(loop, &v->w);
		assert_false(v->w.is_armed);
		nofi_loop_unwatch(loop, &v->w);
		free(v);
		wait_some(loop);
		assert_int_equal(count, 0);
	}
	v = watch(loop, fds[0], &count);
	wait_some(loop);
	assert_int_equal(count, 1);
	assert_false(v->w.is_armed);
	free(v);
	v = watch(loop, fds[0], &count);
	nof_loop_free(loop);
	free(v);
	close(fds[0]);
	close(fds[1]);
}

#define BOTH(name) \
	static void name##_uring(void **s) { (void)s; name(NOF_ENGINE_IO_URING); } \
	static void name##_epoll(void **s) { (void)s; name(NOF_ENGINE_EPOLL); }
#define BOTH_FLAGS(name) \
	static void name##_uring(void **s) { (void)s; name(NOF_ENGINE_IO_URING, 0); } \
	static void name##_uring_dedicated(void **s) \
	{ (void)s; name(NOF_ENGINE_IO_URING, NOF_LOOP_DEDICATED); } \
	static void name##_epoll(void **s) { (void)s; name(NOF_ENGINE_EPOLL, 0); }

BOTH(timers_fire_in_order_and_wake_the_fd)
BOTH(an_earlier_timer_overtakes)
BOTH_FLAGS(wake_from_a_thread_ends_a_wait)
BOTH(wake_makes_the_fd_readable_once)
BOTH(messages_of_two_threads_all_arrive)
BOTH(deferred_work_runs_once_per_turn_and_wakes)
BOTH_FLAGS(run_ends_by_stop_of_another_thread)
BOTH(a_wait_ends_at_its_timeout)
BOTH(a_dedicated_loop_has_no_fd)
BOTH(bad_arguments_are_refused_with_a_sentence)
BOTH_FLAGS(what_is_unwatched_is_never_called)

/* More than the completion queue holds at once: the kernel keeps the rest until it is asked. */
static void completions_beyond_the_ring_are_not_lost(enum nof_engine engine, uint32_t flags)
{
	enum { MANY = 6000 };
	struct nof_loop *loop = new_loop(engine, flags);
	unsigned *counts = calloc(MANY, sizeof(*counts));
	struct watched **v = calloc(MANY, sizeof(struct watched *));
	unsigned fired = 0;
	int fds[2];

	assert_true(counts && v);
	assert_int_equal(pipe(fds), 0);
	/* A dedicated ring takes no more than its SQ holds before its thread is known. */
	assert_true(nof_loop_wait(loop, 0) >= 0);
	for (unsigned i = 0; i < MANY; i++)
		v[i] = watch(loop, fds[0], &counts[i]);
	wait_some(loop);
	assert_int_equal(write(fds[1], "x", 1), 1);
	for (int turns = 0; turns < 10000 && fired < MANY; turns++) {
		assert_true(nof_loop_wait(loop, 1000) >= 0);
		fired = 0;
		for (unsigned i = 0; i < MANY; i++)
			fired += counts[i];
	}
	wait_some(loop);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(counts[i], 1);
		free(v[i]);
	}
	free(v);
	free(counts);
	nof_loop_free(loop);
	close(fds[0]);
	close(fds[1]);
}

static void completions_beyond_the_ring_are_not_lost_uring(void **state)
{
	completions_beyond_the_ring_are_not_lost(NOF_ENGINE_IO_URING, 0);
}

static void completions_beyond_the_ring_are_not_lost_dedicated(void **state)
{
	completions_beyond_the_ring_are_not_lost(NOF_ENGINE_IO_URING, NOF_LOOP_DEDICATED);
}

/* A flush that marks another connection, or unmarks one, leaves those behind it in the list. */
struct chain {
	struct nofi_dirty d[4];
	struct nof_loop *loop;
	unsigned flushed[4];
};

static struct chain chain;

static void on_flush(struct nofi_dirty *d)
{
	long n = d - chain.d;

	chain.flushed[n]++;
	if (n == 0 && chain.flushed[0] == 1) {
		nofi_loop_mark_dirty(chain.loop, &chain.d[0]);
		nofi_loop_mark_dirty(chain.loop, &chain.d[1]);
		nofi_loop_unmark_dirty(chain.loop, &chain.d[2]);
	}
}

static void a_flush_may_change_the_list(enum nof_engine engine)
{
	static const unsigned want[] = { 2, 1, 0, 1 };

	memset(&chain, 0, sizeof(chain));
	chain.loop = new_loop(engine, 0);
	for (int i = 0; i < 4; i++) {
		chain.d[i].flush = on_flush;
		nofi_loop_mark_dirty(chain.loop, &chain.d[i]);
	}
	for (int i = 0; i < 4; i++)
		assert_true(nof_loop_process(chain.loop) >= 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(chain.flushed[i], want[i]);
	nof_loop_free(chain.loop);
}

BOTH(a_flush_may_change_the_list)

#define T(name) cmocka_unit_test(name##_uring), cmocka_unit_test(name##_epoll)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(timers_fire_in_order_and_wake_the_fd),
		T(an_earlier_timer_overtakes),
		T(wake_from_a_thread_ends_a_wait),
		cmocka_unit_test(wake_from_a_thread_ends_a_wait_uring_dedicated),
		T(wake_makes_the_fd_readable_once),
		T(messages_of_two_threads_all_arrive),
		T(deferred_work_runs_once_per_turn_and_wakes),
		T(run_ends_by_stop_of_another_thread),
		cmocka_unit_test(run_ends_by_stop_of_another_thread_uring_dedicated),
		T(a_wait_ends_at_its_timeout),
		T(a_dedicated_loop_has_no_fd),
		T(bad_arguments_are_refused_with_a_sentence),
		T(what_is_unwatched_is_never_called),
		T(a_flush_may_change_the_list),
		cmocka_unit_test(completions_beyond_the_ring_are_not_lost_uring),
		cmocka_unit_test(completions_beyond_the_ring_are_not_lost_dedicated),
		cmocka_unit_test(what_is_unwatched_is_never_called_uring_dedicated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
