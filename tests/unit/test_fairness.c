/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Nobody has a turn for himself: whatever goes on without end (bytes that never run dry, sends,
 * messages, timers and deferred work that bring about the next), a turn ends, and all others have
 * had theirs. Without a clock, on socket pairs whose other ends answer at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "queue/engine.h"
#include "unit_loop.h"

enum {
	PLACE = 64 * 1024,	/* a receive of the greedy, with its tail, is always filled */
	ANSWER = 512,		/* of the modest */
	MODEST = 5,
	CROWD = 40,
	/* What is promised: not taken from the library's constants. */
	BESIDE_MAX = 1024 * 1024,	/* bytes of a greedy one between two answers of another */
	TURN_MAX = 4608 * 1024,		/* bytes of one turn, of however many */
};

/* ---- peers ---- */

struct peer {
	struct nofi_sock s;
	struct nofi_dirty dirty;	/* a command waits to be sent */
	struct nof_loop *loop;
	int other;			/* what the target would hold */
	bool is_greedy;
	uint8_t *place;			/* greedy: PLACE bytes; else NULL */
	size_t got;			/* bytes received */
	unsigned answers;		/* modest: received */
	size_t *clock;			/* bytes of all greedy ones so far */
	size_t last, longest;		/* modest: *clock at the last answer, longest gap */
};

static const uint8_t zeroes[256 * 1024];

static void write_all(int fd)
{
	while (write(fd, zeroes, sizeof(zeroes)) > 0)
		;
	assert_int_equal(errno, EAGAIN);
}

/* The command arrives at once, and its answer is there. */
static void on_flush(struct nofi_dirty *d)
{
	struct peer *p = (struct peer *)((char *)d - offsetof(struct peer, dirty));

	if (!p->is_greedy)
		assert_int_equal(write(p->other, zeroes, ANSWER), ANSWER);
}

static unsigned on_place(struct nofi_sock *s, struct iovec *iov, unsigned max)
{
	struct peer *p = (struct peer *)s;

	(void)max;
	if (!p->is_greedy)
		return 0;
	iov[0] = (struct iovec){ p->place, PLACE };
	return 1;
}

static void on_received(struct nofi_sock *s, size_t direct, const uint8_t *staging, size_t staged,
			bool is_dry)
{
	struct peer *p = (struct peer *)s;

	(void)staging;
	p->got += direct + staged;
	/* As a queue does. */
	p->loop->taken += direct + staged;
	if (!is_dry)
		p->loop->has_more = true;
	nofi_loop_mark_dirty(p->loop, &p->dirty);
	if (p->is_greedy) {
		*p->clock += direct + staged;
		write_all(p->other);
		return;
	}
	assert_int_equal(staged, ANSWER);
	p->answers++;
	if (*p->clock - p->last > p->longest)
		p->longest = *p->clock - p->last;
	p->last = *p->clock;
}

static void on_ended(struct nofi_sock *s, int res)
{
	(void)s;
	fail_msg("ended: %d", res);
}

static const struct nofi_sock_ops ops = { .place = on_place, .received = on_received,
					  .ended = on_ended };

static void open_peer(struct peer *p, struct nof_loop *loop, bool is_greedy, size_t *clock)
{
	int fds[2];

	memset(p, 0, sizeof(*p));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	p->s.fd = fds[0];
	p->s.ops = &ops;
	p->other = fds[1];
	p->loop = loop;
	p->dirty.flush = on_flush;
	p->is_greedy = is_greedy;
	p->clock = clock;
	if (is_greedy) {
		p->place = malloc(PLACE);
		assert_non_null(p->place);
		write_all(p->other);
	} else {
		assert_int_equal(write(p->other, zeroes, ANSWER), ANSWER);
	}
	assert_int_equal(loop->eng->add(loop, &p->s), 0);
	loop->eng->recv_start(loop, &p->s);
}

static void close_peer(struct peer *p)
{
	p->loop->eng->remove(p->loop, &p->s);
	nofi_loop_unmark_dirty(p->loop, &p->dirty);
	close(p->s.fd);
	close(p->other);
	free(p->place);
}

static int one_turn(struct nof_loop *loop)
{
	return loop->flags & NOF_LOOP_DEDICATED ? nof_loop_wait(loop, 0) : nof_loop_process(loop);
}

/* One whose bytes never run dry beside some that ask, get their answer, and ask again. */
static void greedy_beside_modest(enum nof_engine engine, uint32_t flags)
{
	struct nof_loop *loop = new_loop(engine, flags);
	struct peer greedy, modest[MODEST];
	size_t clock = 0;

	open_peer(&greedy, loop, true, &clock);
	for (int i = 0; i < MODEST; i++)
		open_peer(&modest[i], loop, false, &clock);
	for (int turns = 0; turns < 200; turns++)
		assert_true(one_turn(loop) >= 0);
	assert_true(greedy.got > 100 * PLACE);
	for (int i = 0; i < MODEST; i++) {
		/* At first turns bring nothing but receives on their way. */
		assert_true(modest[i].answers >= 95);
		assert_in_range(modest[i].longest, 1, BESIDE_MAX);
		close_peer(&modest[i]);
	}
	close_peer(&greedy);
	nof_loop_free(loop);
}

/* Many that never run dry: a turn does not take one share of each. */
static void a_crowd_of_greedy_ones(enum nof_engine engine, uint32_t flags)
{
	struct nof_loop *loop = new_loop(engine, flags);
	static struct peer peer[CROWD];
	size_t clock = 0, before, least = SIZE_MAX, most = 0;

	for (int i = 0; i < CROWD; i++)
		open_peer(&peer[i], loop, true, &clock);
	for (int turns = 0; turns < 100; turns++) {
		before = clock;
		assert_true(one_turn(loop) >= 0);
		assert_in_range(clock - before, 0, TURN_MAX);
	}
	/* And those that had to wait were the first of the next. */
	for (int i = 0; i < CROWD; i++) {
		least = peer[i].got < least ? peer[i].got : least;
		most = peer[i].got > most ? peer[i].got : most;
		close_peer(&peer[i]);
	}
	assert_true(least > 0 && most < 2 * least);
	nof_loop_free(loop);
}

/* ---- work without end ---- */

struct endless {
	struct nof_loop *loop;
	struct nofi_timer timer, other_timer;
	struct nofi_msg msg;
	struct nofi_defer defer;
	struct nofi_dirty dirty, other_dirty;
	unsigned timers, msgs, defers, flushes, others;
	unsigned flushes_at_other;
};

#define endless_of(ptr, field) ((struct endless *)((char *)(ptr) - offsetof(struct endless, field)))

static void on_timer(struct nofi_timer *t)
{
	struct endless *e = endless_of(t, timer);

	e->timers++;
	nofi_timer_arm(e->loop, t, nofi_loop_now(e->loop));
}

static void on_other_timer(struct nofi_timer *t)
{
	endless_of(t, other_timer)->others++;
}

static void on_msg(struct nofi_msg *m)
{
	struct endless *e = endless_of(m, msg);

	e->msgs++;
	nofi_loop_post(e->loop, m);
}

static void on_defer(struct nofi_defer *d)
{
	struct endless *e = endless_of(d, defer);

	e->defers++;
	nofi_loop_defer(e->loop, d);
}

static void on_more(struct nofi_dirty *d)
{
	struct endless *e = endless_of(d, dirty);

	e->flushes++;
	nofi_loop_mark_dirty(e->loop, d);
}

static void on_small(struct nofi_dirty *d)
{
	struct endless *e = endless_of(d, other_dirty);

	e->flushes_at_other = e->flushes;
}

static void work_without_end_ends_a_turn(enum nof_engine engine, uint32_t flags)
{
	struct endless e = { .timer.fn = on_timer, .other_timer.fn = on_other_timer,
			     .msg.fn = on_msg, .defer.fn = on_defer, .dirty.flush = on_more,
			     .other_dirty.flush = on_small };

	e.loop = new_loop(engine, flags);
	nofi_timer_arm(e.loop, &e.timer, 1);
	nofi_loop_post(e.loop, &e.msg);
	nofi_loop_defer(e.loop, &e.defer);
	nofi_loop_mark_dirty(e.loop, &e.dirty);
	for (unsigned turns = 1; turns <= 20; turns++) {
		unsigned before = e.flushes;

		nofi_timer_arm(e.loop, &e.other_timer, 2);
		nofi_loop_mark_dirty(e.loop, &e.other_dirty);
		assert_true(one_turn(e.loop) >= 0);
		assert_true(e.timers >= 1 && e.timers <= 2 * turns);
		assert_true(e.msgs >= 1 && e.msgs <= turns);
		assert_true(e.defers >= 1 && e.defers <= turns);
		assert_int_equal(e.others, turns);
		/* What is small waits for one batch, not for all of them. */
		assert_true(e.flushes_at_other <= before + 1);
		assert_true(e.flushes > before && e.flushes <= before + 9);
	}
	nofi_loop_unmark_dirty(e.loop, &e.dirty);
	nofi_loop_undefer(e.loop, &e.defer);
	nofi_timer_disarm(e.loop, &e.timer);
	nof_loop_free(e.loop);
}

#define ON_ALL(name)                                                                    \
	static void name##_all(void **state)                                            \
	{                                                                               \
		(void)state;                                                            \
		name(NOF_ENGINE_EPOLL, 0);                                              \
		name(NOF_ENGINE_IO_URING, 0);                                           \
		name(NOF_ENGINE_IO_URING, NOF_LOOP_DEDICATED);                          \
	}

ON_ALL(greedy_beside_modest)
ON_ALL(a_crowd_of_greedy_ones)
ON_ALL(work_without_end_ends_a_turn)

/* Places are cut where the share ends, whatever their shapes. */
static void places_are_cut_to_a_share(void **state)
{
	(void)state;
	for (int round = 0; round < 2000; round++) {
		struct iovec iov[8], was[8];
		unsigned n = (unsigned)(random64() % 9), left;
		size_t all = 0, len, sum = 0;

		for (unsigned i = 0; i < n; i++) {
			iov[i].iov_base = (void *)(uintptr_t)(i + 1);
			iov[i].iov_len = random64() % 4 ? (size_t)(random64() % NOFI_SHARE) :
					 (size_t)NOFI_SHARE;
			was[i] = iov[i];
			all += iov[i].iov_len;
		}
		left = nofi_places_cut(iov, n, &len);
		assert_true(left <= n);
		for (unsigned i = 0; i < left; i++) {
			assert_ptr_equal(iov[i].iov_base, was[i].iov_base);
			if (i + 1 < left)
				assert_int_equal(iov[i].iov_len, was[i].iov_len);
			sum += iov[i].iov_len;
		}
		assert_int_equal(len, sum);
		assert_int_equal(len, all < NOFI_SHARE ? all : NOFI_SHARE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(greedy_beside_modest_all),
		cmocka_unit_test(a_crowd_of_greedy_ones_all),
		cmocka_unit_test(work_without_end_ends_a_turn_all),
		cmocka_unit_test(places_are_cut_to_a_share),
	};

	return cmocka_run_group_tests_name("fairness", tests, NULL, NULL);
}
