/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whoever polls the loop's fd is never forgotten: whatever is left when a call
 * returns (work deferred at the very end of a turn, a timer armed there, completions
 * put aside while another socket was removed) makes the fd readable.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "queue/engine.h"
#include "unit_loop.h"

static bool is_readable(struct nof_loop *loop, int timeout_ms)
{
	struct pollfd p = { .fd = nof_loop_fd(loop), .events = POLLIN };

	return poll(&p, 1, timeout_ms) == 1;
}

static void settle(struct nof_loop *loop)
{
	while (is_readable(loop, 0))
		assert_true(nof_loop_process(loop) >= 0);
}

/* ---- the end of a turn ---- */

struct late {
	struct nof_loop *loop;
	struct nofi_dirty dirty, other;
	struct nofi_defer defer;
	struct nofi_timer timer;
	int flushed, deferred, fired;
	bool wants_defer, wants_dirty;
};

#define late_of(ptr, field) ((struct late *)((char *)(ptr) - offsetof(struct late, field)))

static void on_late_defer(struct nofi_defer *d)
{
	late_of(d, defer)->deferred++;
}

static void on_late_timer(struct nofi_timer *t)
{
	late_of(t, timer)->fired++;
}

static void on_other(struct nofi_dirty *d)
{
	late_of(d, other)->flushed++;
}

/* A send that fails or completes commands at once, in the last flush of a turn. */
static void on_late_flush(struct nofi_dirty *d)
{
	struct late *l = late_of(d, dirty);

	if (l->wants_defer)
		nofi_loop_defer(l->loop, &l->defer);
	if (l->wants_dirty)
		nofi_loop_mark_dirty(l->loop, &l->other);
}

static void on_begin(struct nofi_timer *t)
{
	struct late *l = late_of(t, timer);

	nofi_loop_mark_dirty(l->loop, &l->dirty);
}

static void late_init(struct late *l, struct nof_loop *loop)
{
	*l = (struct late){ .loop = loop, .dirty.flush = on_late_flush, .other.flush = on_other,
			    .defer.fn = on_late_defer, .timer.fn = on_begin };
}

/* Timers run after the wait, so what they mark is sent by the last flush. */
static void run_late(struct late *l)
{
	settle(l->loop);
	assert_int_equal(nofi_timer_arm(l->loop, &l->timer, nofi_loop_now(l->loop)), 0);
	assert_true(nof_loop_process(l->loop) >= 0);
	assert_int_equal(l->timer.pos, 0);
}

static void work_deferred_by_the_last_flush_wakes(enum nof_engine engine)
{
	struct nof_loop *loop = new_loop(engine, 0);
	struct late l;

	late_init(&l, loop);
	l.wants_defer = true;
	run_late(&l);
	assert_int_equal(l.deferred, 0);
	assert_true(is_readable(loop, 0));
	settle(loop);
	assert_int_equal(l.deferred, 1);
	nof_loop_free(loop);
}

static void what_the_last_flush_queues_is_sent(enum nof_engine engine)
{
	struct nof_loop *loop = new_loop(engine, 0);
	struct late l;

	late_init(&l, loop);
	l.wants_dirty = true;
	run_late(&l);
	if (!l.flushed)
		assert_true(is_readable(loop, 0));
	settle(loop);
	assert_int_equal(l.flushed, 1);
	nof_loop_free(loop);
}

static void on_stop(struct nofi_defer *d)
{
	struct late *l = late_of(d, defer);

	l->timer.fn = on_late_timer;
	nofi_timer_arm(l->loop, &l->timer, nofi_loop_now(l->loop) + 2000000);
	nof_loop_stop(l->loop);
}

static void a_timer_of_the_last_turn_of_run_wakes_the_fd(enum nof_engine engine)
{
	struct nof_loop *loop = new_loop(engine, 0);
	struct late l;

	late_init(&l, loop);
	l.defer.fn = on_stop;
	nofi_loop_defer(loop, &l.defer);
	assert_int_equal(nof_loop_run(loop), 0);
	while (!l.fired) {
		assert_true(is_readable(loop, 5000));
		assert_true(nof_loop_process(loop) >= 0);
	}
	nof_loop_free(loop);
}

/* ---- a socket goes while others have received ---- */

struct peer {
	struct nofi_sock s;		/* first */
	int far;			/* the other end */
	size_t got;
	int ended;
};

static void on_connected(struct nofi_sock *s, int res)
{
}

static unsigned on_place(struct nofi_sock *s, struct iovec *iov, unsigned max)
{
	return 0;
}

static void on_received(struct nofi_sock *s, size_t direct, const uint8_t *staging, size_t staged,
			bool is_dry)
{
	((struct peer *)s)->got += staged;
}

static void on_ended(struct nofi_sock *s, int res)
{
	((struct peer *)s)->ended++;
}

static void on_sent(struct nofi_sock *s, int res)
{
}

static const struct nofi_sock_ops ops = { on_connected, on_place, on_received, on_ended, on_sent };

static void peer_init(struct nof_loop *loop, struct peer *p)
{
	int fd[2];

	memset(p, 0, sizeof(*p));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	p->s.fd = fd[0];
	p->s.ops = &ops;
	p->far = fd[1];
	assert_int_equal(loop->eng->add(loop, &p->s), 0);
	loop->eng->recv_start(loop, &p->s);
}

static void peer_free(struct nof_loop *loop, struct peer *p)
{
	loop->eng->remove(loop, &p->s);
	close(p->s.fd);
	close(p->far);
}

static void removing_a_socket_forgets_no_other(enum nof_engine engine)
{
	struct nof_loop *loop = new_loop(engine, 0);
	struct peer gone, other[3];

	peer_init(loop, &gone);
	for (int i = 0; i < 3; i++)
		peer_init(loop, &other[i]);
	nof_loop_flush(loop);
	settle(loop);
	for (int i = 0; i < 3; i++)
		assert_int_equal(write(other[i].far, "x", 1), 1);
	nof_loop_wake(loop);
	peer_free(loop, &gone);		/* from outside a turn, as nof_ctrl_free() does */
	for (int i = 0; i < 3; i++) {
		while (!other[i].got) {
			assert_true(is_readable(loop, 2000));
			assert_true(nof_loop_process(loop) >= 0);
		}
	}
	assert_int_equal(gone.got + (size_t)gone.ended, 0);
	/* And wake-ups still work. */
	settle(loop);
	nof_loop_wake(loop);
	assert_true(is_readable(loop, 2000));
	for (int i = 0; i < 3; i++)
		peer_free(loop, &other[i]);
	nof_loop_free(loop);
}

struct remover {
	struct nofi_timer t;		/* first */
	struct nof_loop *loop;
	struct peer *gone, *other;
};

/* Data of the other arrives in this very turn, behind its wait. */
static void on_remove(struct nofi_timer *t)
{
	struct remover *r = (struct remover *)t;

	assert_int_equal(write(r->other->far, "x", 1), 1);
	peer_free(r->loop, r->gone);
}

static void removing_a_socket_in_a_timer_forgets_no_other(enum nof_engine engine)
{
	struct nof_loop *loop = new_loop(engine, 0);
	struct peer gone, other;
	struct remover r = { .t.fn = on_remove, .loop = loop, .gone = &gone, .other = &other };

	peer_init(loop, &gone);
	peer_init(loop, &other);
	nof_loop_flush(loop);
	settle(loop);
	assert_int_equal(nofi_timer_arm(loop, &r.t, nofi_loop_now(loop)), 0);
	assert_true(nof_loop_process(loop) >= 0);
	while (!other.got) {
		assert_true(is_readable(loop, 2000));
		assert_true(nof_loop_process(loop) >= 0);
	}
	peer_free(loop, &other);
	nof_loop_free(loop);
}

/* A signal handler may run between a system call and the look at its errno. */
static void a_wake_leaves_errno_alone(enum nof_engine engine)
{
	struct nof_loop *loop = new_loop(engine, 0);
	uint64_t full = UINT64_MAX - 1;
	int fd = loop->wake_fd;

	assert_int_equal(write(fd, &full, sizeof(full)), sizeof(full));
	errno = EXDEV;
	nof_loop_wake(loop);		/* its write fails: EAGAIN */
	assert_int_equal(errno, EXDEV);
	settle(loop);
	nof_loop_free(loop);
}

#define BOTH(name) \
	static void name##_uring(void **s) { name(NOF_ENGINE_IO_URING); } \
	static void name##_epoll(void **s) { name(NOF_ENGINE_EPOLL); }

BOTH(work_deferred_by_the_last_flush_wakes)
BOTH(what_the_last_flush_queues_is_sent)
BOTH(a_timer_of_the_last_turn_of_run_wakes_the_fd)
BOTH(removing_a_socket_forgets_no_other)
BOTH(removing_a_socket_in_a_timer_forgets_no_other)
BOTH(a_wake_leaves_errno_alone)

#define T(name) cmocka_unit_test(name##_uring), cmocka_unit_test(name##_epoll)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(work_deferred_by_the_last_flush_wakes),
		T(what_the_last_flush_queues_is_sent),
		T(a_timer_of_the_last_turn_of_run_wakes_the_fd),
		T(removing_a_socket_forgets_no_other),
		T(removing_a_socket_in_a_timer_forgets_no_other),
		T(a_wake_leaves_errno_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
