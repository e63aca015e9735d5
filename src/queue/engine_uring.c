/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The io_uring engine: one ring per loop. One io_uring_enter() per turn submits
 * the receives and gathered sends of all connections and waits. See uring.h for its parts.
 *
 * Polling: the ring's own fd is handed out; with COOP_TASKRUN it wakes pollers. A
 * dedicated loop uses DEFER_TASKRUN, whose ring fd would not. Nobody polls that one, so what
 * only matters to a wait is left to the next wait to submit.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lines.h"
#include "queue/uring.h"

enum {
	SQ_ENTRIES = 256,
	CQ_ENTRIES = 4096,
};

struct io_uring_sqe *nofi_uring_sqe(struct nofi_uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	/* Full: hand over what is there. Cannot fail for long: submit consumes all. */
	while (!sqe) {
		if (io_uring_submit(&u->ring) < 0)
			return NULL;
		sqe = io_uring_get_sqe(&u->ring);
	}
	return sqe;
}

/* ---- watch, wake, timer ---- */

static int uring_watch(struct nof_loop *loop, struct nofi_fd_watch *w)
{
	struct nofi_uring *u = nofi_uring_of(loop);
	struct nofi_watching *t = malloc(sizeof(*t));
	struct io_uring_sqe *sqe;

	if (!t)
		return -ENOMEM;
	sqe = nofi_uring_sqe(u);
	if (!sqe) {
		free(t);
		return -EIO;
	}
	t->w = w;
	t->next = u->watching;
	u->watching = t;
	io_uring_prep_poll_add(sqe, w->fd, POLLIN);
	nofi_uring_tag(sqe, t, NOFI_TAG_WATCH);
	w->is_armed = true;
	return 0;
}

static void on_watch(struct nofi_uring *u, struct nofi_watching *t)
{
	struct nofi_fd_watch *w = t->w;
	struct nofi_watching **p;

	for (p = &u->watching; *p != t; p = &(*p)->next)
		;
	*p = t->next;
	free(t);
	if (!w)
		return;
	w->is_armed = false;
	w->fn(w);
}

static int arm_wake(struct nof_loop *loop)
{
	struct io_uring_sqe *sqe = nofi_uring_sqe(nofi_uring_of(loop));

	if (!sqe)
		return -EIO;
	io_uring_prep_poll_add(sqe, loop->wake_fd, POLLIN);
	nofi_uring_tag(sqe, NULL, NOFI_TAG_WAKE);
	nofi_uring_of(loop)->is_wake_armed = true;
	return 0;
}

static void on_wake(struct nof_loop *loop)
{
	uint64_t n;

	nofi_uring_of(loop)->is_wake_armed = false;
	while (read(loop->wake_fd, &n, sizeof(n)) < 0 && errno == EINTR)
		;
	nofi_loop_on_wake(loop);
	arm_wake(loop);		/* when that fails uring_wait() tries again */
}

static void uring_set_timer(struct nof_loop *loop, uint64_t deadline_ns)
{
	struct nofi_uring *u = nofi_uring_of(loop);
	struct io_uring_sqe *sqe;

	sqe = nofi_uring_sqe(u);
	if (!sqe) {
		loop->timer_set = UINT64_MAX;	/* it is not: the next turn tries again */
		return;
	}
	u->timer.tv_sec = (int64_t)(deadline_ns / 1000000000);
	u->timer.tv_nsec = (long long)(deadline_ns % 1000000000);
	if (u->is_timer_armed) {
		/* ENOENT: it fired meanwhile, its completion arms the next one. */
		io_uring_prep_timeout_update(sqe, &u->timer, NOFI_TAG_TIMER, IORING_TIMEOUT_ABS);
		nofi_uring_tag(sqe, NULL, NOFI_TAG_IGNORE);
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
		return;
	}
	io_uring_prep_timeout(sqe, &u->timer, 0, IORING_TIMEOUT_ABS);
	nofi_uring_tag(sqe, NULL, NOFI_TAG_TIMER);
	u->is_timer_armed = true;
}

/* ---- dispatch ---- */

void nofi_uring_dispatch(struct nof_loop *loop, uint64_t user_data, int32_t res, uint32_t flags)
{
	struct nofi_uring *u = nofi_uring_of(loop);
	void *p = (void *)(uintptr_t)(user_data & ~(uint64_t)NOFI_TAG_MASK);
	struct nofi_sock *s = p;

	switch ((enum nofi_tag)(user_data & NOFI_TAG_MASK)) {
	case NOFI_TAG_RECV:
		s->inflight--;
		s->is_recv_armed = false;
		nofi_uring_on_recv(loop, s, res, flags);
		break;
	case NOFI_TAG_SEND:
		s->inflight--;
		s->is_quiet = false;
		nofi_uring_unlist(u, s);	/* there is nothing left to judge */
		nofi_uring_on_sent(loop, s, res);
		break;
	case NOFI_TAG_CONNECT:
		s->inflight--;
		nofi_uring_on_connected(loop, s, res);
		break;
	case NOFI_TAG_WATCH:
		on_watch(u, p);
		break;
	case NOFI_TAG_WAKE:
		on_wake(loop);
		break;
	case NOFI_TAG_TIMER:
		u->is_timer_armed = false;
		loop->timer_set = UINT64_MAX;
		break;
	case NOFI_TAG_IGNORE:
		break;
	}
}

static void dispatch_ready(struct nof_loop *loop)
{
	struct nofi_uring *u = nofi_uring_of(loop);
	struct io_uring_cqe *cqe;

	/* What is there now; what callbacks cause waits for the next turn. */
	unsigned n = io_uring_cq_ready(&u->ring);

	nofi_stash_dispatch(loop);
	while (n-- && loop->taken < NOFI_TURN && io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		uint64_t user_data = cqe->user_data;
		int32_t res = cqe->res;
		uint32_t flags = cqe->flags;

		/* Seen first: dispatch may cancel a socket, which reaps the ring itself. */
		io_uring_cqe_seen(&u->ring, cqe);
		nofi_uring_dispatch(loop, user_data, res, flags);
	}
	nofi_stash_dispatch(loop);
}

/* A dedicated ring belongs to the thread that drives it first. */
static int enable(struct nofi_uring *u)
{
	int r;

	if (!u->is_disabled)
		return 0;
	/* Declared by liburing 2.3, but its shared library does not export it. */
	r = (int)syscall(SYS_io_uring_register, u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS,
			 NULL, 0);
	if (r < 0)
		return -errno;
	u->is_disabled = false;
	return 0;
}

static int submit_all(struct nof_loop *loop)
{
	struct nofi_uring *u = nofi_uring_of(loop);
	int r;

	nofi_uring_arm_all(u);
	r = io_uring_submit(&u->ring);

	u->is_urgent = io_uring_sq_ready(&u->ring);
	nofi_uring_judge(loop);
	return r == -EINTR || r == -EBUSY || r == -EAGAIN ? 0 : r < 0 ? r : 0;
}

static int uring_submit(struct nof_loop *loop)
{
	struct nofi_uring *u = nofi_uring_of(loop);

	if (u->is_disabled || (!io_uring_sq_ready(&u->ring) && !u->recv))
		return 0;
	/* Receives and timers: nothing comes of them before somebody waits. */
	if ((loop->flags & NOF_LOOP_DEDICATED) && !u->is_urgent)
		return 0;
	return submit_all(loop);
}

static bool uring_reap(struct nof_loop *loop)
{
	struct nofi_uring *u = nofi_uring_of(loop);
	struct io_uring_cqe *cqe;
	bool any = false;

	/* Sends only: what comes from outside, a wake above all, has to reach the poller. */
	while (!u->stash_len && io_uring_cq_ready(&u->ring) &&
	       io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		uint64_t user_data = cqe->user_data;
		int32_t res = cqe->res;

		enum nofi_tag tag = user_data & NOFI_TAG_MASK;

		if (tag != NOFI_TAG_SEND && tag != NOFI_TAG_IGNORE)
			break;
		io_uring_cqe_seen(&u->ring, cqe);
		nofi_uring_dispatch(loop, user_data, res, 0);
		any = true;
	}
	return any;
}

/* Does the kernel hold back work that only a system call runs? */
static bool needs_enter(const struct nofi_uring *u)
{
	return !u->is_flagged || (IO_URING_READ_ONCE(*u->ring.sq.kflags) &
				  (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
}

static bool uring_peek(struct nof_loop *loop, bool will_wait)
{
	struct nofi_uring *u = nofi_uring_of(loop);

	if (u->is_disabled || !u->is_wake_armed || u->stash_len)
		return true;
	if ((io_uring_sq_ready(&u->ring) || u->recv) && (!will_wait || submit_all(loop) < 0))
		return true;
	return io_uring_cq_ready(&u->ring) || needs_enter(u);
}

static int uring_wait(struct nof_loop *loop, int64_t timeout_ns)
{
	struct nofi_uring *u = nofi_uring_of(loop);
	struct io_uring_cqe *cqe;
	int r = enable(u);

	if (r < 0)
		return r;
	if (!u->is_wake_armed)
		arm_wake(loop);
	nofi_uring_arm_all(u);
	if (u->stash_len)
		timeout_ns = 0;
	if (timeout_ns < 0) {
		r = io_uring_submit_and_wait(&u->ring, 1);
	} else if (timeout_ns > 0) {
		struct __kernel_timespec ts = { .tv_sec = timeout_ns / 1000000000,
						.tv_nsec = timeout_ns % 1000000000 };

		r = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &ts, NULL);
	} else if (io_uring_sq_ready(&u->ring) || needs_enter(u)) {
		r = io_uring_submit_and_get_events(&u->ring);
	}
	if (r < 0 && r != -EINTR && r != -ETIME && r != -EBUSY && r != -EAGAIN)
		return r;
	u->is_urgent = io_uring_sq_ready(&u->ring);
	nofi_uring_judge(loop);
	dispatch_ready(loop);
	return 0;
}

static int uring_add(struct nof_loop *loop, struct nofi_sock *s)
{
	(void)loop;
	(void)s;
	return 0;
}

/* ---- life ---- */

/*
 * Quiet sends (uring_io.c) need to be told how much of a send went out when not all did. Linux
 * 6.0 may forget that; an operation of 6.1 tells that it is newer.
 */
static bool can_be_quiet(struct nofi_uring *u)
{
	struct io_uring_probe *probe;
	bool can;

	if (!(u->ring.features & IORING_FEAT_CQE_SKIP))
		return false;
	probe = io_uring_get_probe_ring(&u->ring);
	can = probe && io_uring_opcode_supported(probe, IORING_OP_SENDMSG_ZC);
	io_uring_free_probe(probe);
	return can;
}

static int setup_ring(struct nof_loop *loop, struct nofi_uring *u)
{
	/*
	 * Best first; older kernels refuse flags they do not know with EINVAL. Without any,
	 * the kernel interrupts us to do its work, and there is none left to ask for.
	 */
	static const unsigned flags[] = {
		IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER |
		IORING_SETUP_R_DISABLED | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER |
		IORING_SETUP_R_DISABLED,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	bool is_dedicated = loop->flags & NOF_LOOP_DEDICATED;
	int r = -EINVAL;

	for (unsigned i = is_dedicated ? 0 : 2; i < 4 && r == -EINVAL; i++) {
		struct io_uring_params p = {
			.flags = flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
				 IORING_SETUP_SUBMIT_ALL,
			.cq_entries = CQ_ENTRIES,
		};

		r = io_uring_queue_init_params(SQ_ENTRIES, &u->ring, &p);
		u->is_disabled = flags[i] & IORING_SETUP_R_DISABLED;
		u->is_flagged = !(flags[i] & IORING_SETUP_DEFER_TASKRUN) ||
				(flags[i] & IORING_SETUP_TASKRUN_FLAG);
	}
	if (r >= 0)
		u->can_skip = can_be_quiet(u);
	return r;
}

static void uring_close(struct nof_loop *loop)
{
	struct nofi_uring *u = nofi_uring_of(loop);
	struct nofi_watching *w;

	io_uring_queue_exit(&u->ring);
	nofi_staging_close(u);
	while ((w = u->watching)) {
		u->watching = w->next;
		free(w);
	}
	free(u->stash);
	free(u);
	loop->eng_data = NULL;
}

static int uring_open(struct nof_loop *loop, struct nofi_err *err)
{
	struct nofi_uring *u = nofi_zalloc_lines(sizeof(*u));
	int r;

	if (!u)
		return nofi_err_set(err, -ENOMEM, "io_uring: out of memory");
	r = setup_ring(loop, u);
	if (r < 0) {
		free(u);
		if (r == -ENOSYS)
			return nofi_err_set(err, r, "io_uring_setup: the kernel has no io_uring; "
					    "engine=epoll works without");
		if (r == -EPERM || r == -EACCES)
			return nofi_err_set(err, r, "io_uring_setup: not permitted: the "
					    "sysctl kernel.io_uring_disabled is not 0, or a "
					    "seccomp filter (of a container) forbids it; "
					    "engine=epoll works without");
		if (r == -EMFILE || r == -ENFILE)
			return nofi_err_files(err, r, "io_uring_setup");
		if (r == -ENOMEM)
			return nofi_err_set(err, r, "io_uring_setup: no memory for the ring; "
					    "before Linux 5.12 it counts against RLIMIT_MEMLOCK, "
					    "which `ulimit -l` raises; engine=epoll works without");
		return nofi_err_set(err, r, "io_uring_setup: %s", strerror(-r));
	}
	loop->eng_data = u;
	u->quiet_tail = &u->quiet;
	u->recv_tail = &u->recv;
	r = nofi_stash_open(u, CQ_ENTRIES);
	if (r == 0)
		r = nofi_staging_open(u);
	if (r < 0) {
		uring_close(loop);
		return nofi_err_set(err, r == -EINVAL ? -ENOSYS : r,
				    "io_uring buffer ring: %s; it needs Linux 5.19, engine=epoll "
				    "works without", strerror(-r));
	}
	r = arm_wake(loop);
	if (r == 0)
		r = uring_submit(loop);
	if (r < 0) {
		uring_close(loop);
		return nofi_err_set(err, r, "io_uring_enter: %s", strerror(-r));
	}
	return 0;
}

static int uring_fd(struct nof_loop *loop)
{
	return nofi_uring_of(loop)->ring.ring_fd;
}

const struct nofi_engine_ops nofi_engine_uring = {
	.name = "io_uring",
	.open = uring_open,
	.close = uring_close,
	.fd = uring_fd,
	.add = uring_add,
	.remove = nofi_uring_remove,
	.connect = nofi_uring_connect,
	.recv_start = nofi_uring_recv_start,
	.send = nofi_uring_send,
	.watch = uring_watch,
	.unwatch = nofi_uring_unwatch,
	.submit = uring_submit,
	.reap = uring_reap,
	.peek = uring_peek,
	.wait = uring_wait,
	.set_timer = uring_set_timer,
};
