/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The io_uring engine: one ring per loop. One io_uring_enter() per turn submits
 * the receives and gathered sends of all connections and waits.
 *
 * Receive: staging comes from a ring of provided buffers shared by all
 * connections, so an idle connection pins none; the kernel picks one when data is
 * there. It has few buffers (they stay in the cache) and grows when they run
 * out. A direct receive names the caller's memory and a small tail buffer.
 *
 * Polling: the ring's own fd is handed out; with COOP_TASKRUN it wakes pollers. A
 * dedicated loop uses DEFER_TASKRUN, whose ring fd would not.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "queue/engine.h"

enum {
	SQ_ENTRIES = 256,
	CQ_ENTRIES = 4096,
	BUFS_MIN = 1,			/* staging buffers at first */
	BUFS_MAX = 64,			/* at most: also the size of the buffer ring */
	BUF_GROUP = 1,
};

/* What a completion belongs to: the low bits of user_data; the rest is a pointer. */
enum tag { TAG_RECV, TAG_SEND, TAG_CONNECT, TAG_WATCH, TAG_WAKE, TAG_TIMER, TAG_IGNORE };
enum { TAG_MASK = 7 };

struct nofi_tailbuf {
	struct nofi_tailbuf *next;
	uint8_t data[NOFI_TAIL_LEN];
};

/* A completion that arrived while another one's socket was being cancelled. */
struct stashed {
	uint64_t user_data;
	int32_t res;
	uint32_t flags;
};

/* A poll in the ring, apart from what it is for: that may be gone when it completes. */
struct watching {
	struct watching *next;
	struct nofi_fd_watch *w;	/* NULL: unwatched meanwhile */
};

struct uring {
	struct io_uring ring;
	struct io_uring_buf_ring *bufs;	/* mmap'ed, BUFS_MAX entries */
	uint8_t *staging[BUFS_MAX];	/* NULL = not allocated yet */
	unsigned staging_count;
	struct nofi_sock *starved;	/* sockets whose receive found no buffer */
	struct nofi_tailbuf *tails;	/* free tail buffers */
	struct watching *watching;	/* all polls of watches that are in the ring */
	struct stashed *stash;		/* completions to dispatch before the ring's */
	unsigned stash_len, stash_cap, stash_pos;
	struct __kernel_timespec timer;	/* deadline of the one timeout request */
	bool is_timer_armed;		/* it is in the ring */
	bool is_wake_armed;		/* so is the poll of the eventfd */
	bool is_disabled;		/* dedicated: enabled by the thread that waits first */
};

static struct uring *uring_of(struct nof_loop *loop)
{
	return loop->eng_data;
}

static struct io_uring_sqe *get_sqe(struct uring *u)
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

static void set_tag(struct io_uring_sqe *sqe, void *p, enum tag tag)
{
	io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)p | tag);
}

/* ---- staging ---- */

static void give_buffer(struct uring *u, unsigned bid)
{
	io_uring_buf_ring_add(u->bufs, u->staging[bid], NOFI_STAGING_LEN, (unsigned short)bid,
			      io_uring_buf_ring_mask(BUFS_MAX), 0);
	io_uring_buf_ring_advance(u->bufs, 1);
}

static bool grow_staging(struct uring *u)
{
	void *p;

	if (u->staging_count == BUFS_MAX)
		return false;
	p = mmap(NULL, NOFI_STAGING_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		 -1, 0);
	if (p == MAP_FAILED)
		return false;
	u->staging[u->staging_count] = p;
	give_buffer(u, u->staging_count++);
	return true;
}

static struct nofi_tailbuf *take_tail(struct uring *u)
{
	struct nofi_tailbuf *t = u->tails;

	if (t)
		u->tails = t->next;
	else
		t = malloc(sizeof(*t));
	return t;
}

static void put_tail(struct uring *u, struct nofi_sock *s)
{
	if (!s->tail)
		return;
	s->tail->next = u->tails;
	u->tails = s->tail;
	s->tail = NULL;
}

/* ---- receive ---- */

static void arm_recv(struct nof_loop *loop, struct nofi_sock *s)
{
	struct uring *u = uring_of(loop);
	struct io_uring_sqe *sqe;
	unsigned n;

	if (!s->is_receiving || s->is_recv_armed || s->is_starved)
		return;
	n = s->ops->place(s, s->recv_iov, NOFI_PLACES_MAX);
	sqe = get_sqe(u);
	if (!sqe) {
		s->is_receiving = false;
		s->ops->ended(s, -EIO);
		return;
	}
	if (n && !s->tail)
		s->tail = take_tail(u);
	if (n) {
		s->direct_len = 0;
		for (unsigned i = 0; i < n; i++)
			s->direct_len += (uint32_t)s->recv_iov[i].iov_len;
		if (s->tail) {
			s->recv_iov[n].iov_base = s->tail->data;
			s->recv_iov[n].iov_len = NOFI_TAIL_LEN;
			n++;
		}
		s->recv_msg = (struct msghdr){ .msg_iov = s->recv_iov, .msg_iovlen = n };
		io_uring_prep_recvmsg(sqe, s->fd, &s->recv_msg, 0);
	} else {
		s->direct_len = 0;
		put_tail(u, s);
		io_uring_prep_recv(sqe, s->fd, NULL, NOFI_STAGING_LEN, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = BUF_GROUP;
		s->recv_msg.msg_iovlen = 0;
	}
	/* Nothing was left last time: trying first would only fail. */
	if (s->is_dry)
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	set_tag(sqe, s, TAG_RECV);
	s->is_recv_armed = true;
	s->inflight++;
}

static void on_recv(struct nof_loop *loop, struct nofi_sock *s, int res, uint32_t flags)
{
	struct uring *u = uring_of(loop);
	bool is_direct = s->recv_msg.msg_iovlen;
	unsigned bid = flags >> IORING_CQE_BUFFER_SHIFT;
	bool has_buf = flags & IORING_CQE_F_BUFFER;
	size_t offered = !is_direct ? (size_t)NOFI_STAGING_LEN :
			 s->direct_len + (s->tail ? (size_t)NOFI_TAIL_LEN : 0);

	if (!s->is_receiving || s->fd < 0)
		goto out;
	s->is_dry = res > 0 && (size_t)res < offered;
	if (res > 0 && is_direct) {
		size_t n = (size_t)res, direct = n < s->direct_len ? n : s->direct_len;

		s->ops->received(s, direct, s->tail ? s->tail->data : NULL, n - direct,
				 s->is_dry);
	} else if (res > 0 && has_buf && bid < u->staging_count) {
		s->ops->received(s, 0, u->staging[bid], (size_t)res,
				 s->is_dry);
	} else if (res == -ENOBUFS) {
		/* Everyone's buffers are in use in this very batch: they come back when it is
		   dispatched. More connections are ready than buffers: grow. */
		if (!grow_staging(u)) {
			s->is_starved = true;
			s->next_starved = u->starved;
			u->starved = s;
		}
	} else if (res != -ECANCELED && res != -EINTR && res != -EAGAIN) {
		/* A cancelled receive is not the peer's doing: its thread ended. Receive again. */
		s->is_receiving = false;
		s->ops->ended(s, res);
	}
out:
	if (has_buf && bid < u->staging_count)
		give_buffer(u, bid);
	if (s->fd >= 0)
		arm_recv(loop, s);
}

static void feed_starved(struct nof_loop *loop)
{
	struct uring *u = uring_of(loop);
	struct nofi_sock *s, *next;

	s = u->starved;
	u->starved = NULL;
	for (; s; s = next) {
		next = s->next_starved;
		s->is_starved = false;
		arm_recv(loop, s);
	}
}

static void uring_recv_start(struct nof_loop *loop, struct nofi_sock *s)
{
	s->is_receiving = true;
	arm_recv(loop, s);
}

/* ---- send ---- */

static void post_send(struct nof_loop *loop, struct nofi_sock *s)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(loop));

	if (!sqe) {
		s->is_send_busy = false;
		s->ops->sent(s, -EIO);
		return;
	}
	if (s->msg->msg_iovlen == 1)
		io_uring_prep_send(sqe, s->fd, s->msg->msg_iov[0].iov_base,
				   s->msg->msg_iov[0].iov_len, MSG_NOSIGNAL | MSG_WAITALL);
	else
		io_uring_prep_sendmsg(sqe, s->fd, s->msg, MSG_NOSIGNAL | MSG_WAITALL);
	set_tag(sqe, s, TAG_SEND);
	s->inflight++;
}

static void uring_send(struct nof_loop *loop, struct nofi_sock *s, struct msghdr *msg, size_t len)
{
	s->msg = msg;
	s->send_left = len;
	s->is_send_busy = true;
	post_send(loop, s);
}

static void on_sent(struct nof_loop *loop, struct nofi_sock *s, int res)
{
	if (!s->is_send_busy || s->fd < 0)
		return;
	if (res > 0 && (size_t)res < s->send_left) {
		s->send_left -= (size_t)res;
		nofi_msg_advance(s->msg, (size_t)res);
		post_send(loop, s);
		return;
	}
	if (res == -EINTR || res == -EAGAIN || res == -ECANCELED) {
		post_send(loop, s);
		return;
	}
	s->is_send_busy = false;
	s->ops->sent(s, res > 0 ? 0 : res < 0 ? res : -EPIPE);
}

/* ---- connect, watch, wake, timer ---- */

static int watch_connect(struct nof_loop *loop, struct nofi_sock *s)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(loop));

	if (!sqe)
		return -EIO;
	io_uring_prep_poll_add(sqe, s->fd, POLLOUT);
	set_tag(sqe, s, TAG_CONNECT);
	s->is_connecting = true;
	s->inflight++;
	return 0;
}

static int uring_connect(struct nof_loop *loop, struct nofi_sock *s, const struct sockaddr *sa,
			 socklen_t len)
{
	/* The system call, not the ring's: seccomp and fault injection see it. */
	if (connect(s->fd, sa, len) < 0 && errno != EINPROGRESS)
		return -errno;
	return watch_connect(loop, s);
}

static void on_connected(struct nof_loop *loop, struct nofi_sock *s, int res)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (!s->is_connecting || s->fd < 0)
		return;
	/* The thread that submitted it ended; the connection goes on. */
	if (res == -ECANCELED && watch_connect(loop, s) == 0)
		return;
	s->is_connecting = false;
	if (res < 0)
		err = -res;
	else if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	s->ops->connected(s, -err);
}

static int uring_watch(struct nof_loop *loop, struct nofi_fd_watch *w)
{
	struct uring *u = uring_of(loop);
	struct watching *t = malloc(sizeof(*t));
	struct io_uring_sqe *sqe;

	if (!t)
		return -ENOMEM;
	sqe = get_sqe(u);
	if (!sqe) {
		free(t);
		return -EIO;
	}
	t->w = w;
	t->next = u->watching;
	u->watching = t;
	io_uring_prep_poll_add(sqe, w->fd, POLLIN);
	set_tag(sqe, t, TAG_WATCH);
	w->is_armed = true;
	return 0;
}

static void on_watch(struct uring *u, struct watching *t)
{
	struct nofi_fd_watch *w = t->w;
	struct watching **p;

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
	struct io_uring_sqe *sqe = get_sqe(uring_of(loop));

	if (!sqe)
		return -EIO;
	io_uring_prep_poll_add(sqe, loop->wake_fd, POLLIN);
	set_tag(sqe, NULL, TAG_WAKE);
	uring_of(loop)->is_wake_armed = true;
	return 0;
}

static void on_wake(struct nof_loop *loop)
{
	uint64_t n;

	uring_of(loop)->is_wake_armed = false;
	while (read(loop->wake_fd, &n, sizeof(n)) < 0 && errno == EINTR)
		;
	nofi_loop_on_wake(loop);
	arm_wake(loop);		/* when that fails uring_wait() tries again */
}

static void uring_set_timer(struct nof_loop *loop, uint64_t deadline_ns)
{
	struct uring *u = uring_of(loop);
	struct io_uring_sqe *sqe;

	sqe = get_sqe(u);
	if (!sqe) {
		loop->timer_set = UINT64_MAX;	/* it is not: the next turn tries again */
		return;
	}
	u->timer.tv_sec = (int64_t)(deadline_ns / 1000000000);
	u->timer.tv_nsec = (long long)(deadline_ns % 1000000000);
	if (u->is_timer_armed) {
		/* ENOENT: it fired meanwhile, its completion arms the next one. */
		io_uring_prep_timeout_update(sqe, &u->timer, TAG_TIMER, IORING_TIMEOUT_ABS);
		set_tag(sqe, NULL, TAG_IGNORE);
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
		return;
	}
	io_uring_prep_timeout(sqe, &u->timer, 0, IORING_TIMEOUT_ABS);
	set_tag(sqe, NULL, TAG_TIMER);
	u->is_timer_armed = true;
}

/* ---- dispatch ---- */

static void dispatch(struct nof_loop *loop, uint64_t user_data, int32_t res, uint32_t flags)
{
	struct uring *u = uring_of(loop);
	void *p = (void *)(uintptr_t)(user_data & ~(uint64_t)TAG_MASK);
	struct nofi_sock *s = p;

	switch ((enum tag)(user_data & TAG_MASK)) {
	case TAG_RECV:
		s->inflight--;
		s->is_recv_armed = false;
		on_recv(loop, s, res, flags);
		break;
	case TAG_SEND:
		s->inflight--;
		on_sent(loop, s, res);
		break;
	case TAG_CONNECT:
		s->inflight--;
		on_connected(loop, s, res);
		break;
	case TAG_WATCH:
		on_watch(u, p);
		break;
	case TAG_WAKE:
		on_wake(loop);
		break;
	case TAG_TIMER:
		u->is_timer_armed = false;
		loop->timer_set = UINT64_MAX;
		break;
	case TAG_IGNORE:
		break;
	}
}

static void dispatch_stash(struct nof_loop *loop)
{
	struct uring *u = uring_of(loop);

	while (u->stash_pos < u->stash_len) {
		struct stashed c = u->stash[u->stash_pos++];

		dispatch(loop, c.user_data, c.res, c.flags);
	}
	u->stash_pos = u->stash_len = 0;
}

static void dispatch_ready(struct nof_loop *loop)
{
	struct uring *u = uring_of(loop);
	struct io_uring_cqe *cqe;

	/* What is there now; what callbacks cause waits for the next turn. */
	unsigned n = io_uring_cq_ready(&u->ring);

	dispatch_stash(loop);
	while (n-- && io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		uint64_t user_data = cqe->user_data;
		int32_t res = cqe->res;
		uint32_t flags = cqe->flags;

		/* Seen first: dispatch may cancel a socket, which reaps the ring itself. */
		io_uring_cqe_seen(&u->ring, cqe);
		dispatch(loop, user_data, res, flags);
	}
	dispatch_stash(loop);
	if (u->starved)
		feed_starved(loop);
}

/* A dedicated ring belongs to the thread that drives it first. */
static int enable(struct uring *u)
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

static int uring_submit(struct nof_loop *loop)
{
	struct uring *u = uring_of(loop);
	int r;

	if (u->is_disabled || !io_uring_sq_ready(&u->ring))
		return 0;
	r = io_uring_submit(&u->ring);
	return r == -EINTR || r == -EBUSY || r == -EAGAIN ? 0 : r < 0 ? r : 0;
}

static bool uring_reap(struct nof_loop *loop)
{
	struct uring *u = uring_of(loop);
	struct io_uring_cqe *cqe;
	bool any = false;

	/* Sends only: what comes from outside, a wake above all, has to reach the poller. */
	while (!u->stash_len && io_uring_cq_ready(&u->ring) &&
	       io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		uint64_t user_data = cqe->user_data;
		int32_t res = cqe->res;

		if ((user_data & TAG_MASK) != TAG_SEND && (user_data & TAG_MASK) != TAG_IGNORE)
			break;
		io_uring_cqe_seen(&u->ring, cqe);
		dispatch(loop, user_data, res, 0);
		any = true;
	}
	return any;
}

/* Does the kernel hold back work that only a system call runs? */
static bool needs_enter(const struct uring *u)
{
	return __atomic_load_n(u->ring.sq.kflags, __ATOMIC_RELAXED) &
	       (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

static bool uring_peek(struct nof_loop *loop, bool will_wait)
{
	struct uring *u = uring_of(loop);

	if (u->is_disabled || !u->is_wake_armed || u->stash_len)
		return true;
	if (io_uring_sq_ready(&u->ring) && (!will_wait || uring_submit(loop) < 0))
		return true;
	return io_uring_cq_ready(&u->ring) || needs_enter(u);
}

static int uring_wait(struct nof_loop *loop, int64_t timeout_ns)
{
	struct uring *u = uring_of(loop);
	struct io_uring_cqe *cqe;
	int r = enable(u);

	if (r < 0)
		return r;
	if (!u->is_wake_armed)
		arm_wake(loop);
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
	dispatch_ready(loop);
	return 0;
}

/* ---- sockets come and go ---- */

static int uring_add(struct nof_loop *loop, struct nofi_sock *s)
{
	(void)loop;
	(void)s;
	return 0;
}

/* Keeps a completion of somebody else for the next dispatch. */
static void stash(struct uring *u, const struct io_uring_cqe *cqe)
{
	if (u->stash_len == u->stash_cap) {
		unsigned cap = u->stash_cap ? u->stash_cap * 2 : 64;
		struct stashed *p = realloc(u->stash, cap * sizeof(*p));

		if (!p)
			return;	/* it starts as large as the CQ ring: not reached in practice */
		u->stash = p;
		u->stash_cap = cap;
	}
	u->stash[u->stash_len++] = (struct stashed){ cqe->user_data, cqe->res, cqe->flags };
}

/* A completion of p while it is being removed: account, give its buffer back. */
static void reap(struct uring *u, struct nofi_sock *s, const struct io_uring_cqe *cqe)
{
	unsigned bid = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

	s->inflight--;
	if ((cqe->user_data & TAG_MASK) == TAG_RECV)
		s->is_recv_armed = false;
	if ((cqe->flags & IORING_CQE_F_BUFFER) && bid < u->staging_count)
		give_buffer(u, bid);
}

static bool is_of(uint64_t user_data, const void *p)
{
	enum tag tag = user_data & TAG_MASK;

	return (user_data & ~(uint64_t)TAG_MASK) == (uint64_t)(uintptr_t)p &&
	       (tag == TAG_RECV || tag == TAG_SEND || tag == TAG_CONNECT);
}

static bool cancel_tag(struct uring *u, void *p, enum tag tag)
{
	struct io_uring_sqe *sqe = get_sqe(u);

	if (!sqe)
		return false;
	io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)p | tag, 0);
	set_tag(sqe, NULL, TAG_IGNORE);
	return true;
}

/*
 * Completions that were put aside no longer show at the ring's fd, perhaps the wake-up
 * among them: one that says nothing takes their place, or a poller would wait for ever.
 */
static void show_stash(struct uring *u)
{
	struct io_uring_sqe *sqe;

	if (u->stash_pos == u->stash_len)
		return;
	sqe = get_sqe(u);
	if (!sqe)
		return;
	io_uring_prep_nop(sqe);
	set_tag(sqe, NULL, TAG_IGNORE);
	io_uring_submit(&u->ring);
}

/* Takes p's completions out of the stash; returns how many there were. */
static void unstash(struct uring *u, struct nofi_sock *s)
{
	unsigned keep = u->stash_pos;

	for (unsigned i = u->stash_pos; i < u->stash_len; i++) {
		struct stashed c = u->stash[i];
		struct io_uring_cqe cqe = { .user_data = c.user_data, .res = c.res,
					    .flags = c.flags };

		if (is_of(c.user_data, s))
			reap(u, s, &cqe);
		else
			u->stash[keep++] = c;
	}
	u->stash_len = keep;
}

static void uring_remove(struct nof_loop *loop, struct nofi_sock *s)
{
	struct uring *u = uring_of(loop);
	struct io_uring_cqe *cqe;

	s->is_receiving = false;
	s->is_connecting = false;
	s->is_send_busy = false;
	if (s->is_starved) {
		struct nofi_sock **p;

		for (p = &u->starved; *p && *p != s; p = &(*p)->next_starved)
			;
		if (*p)
			*p = s->next_starved;
		s->is_starved = false;
	}
	unstash(u, s);
	if (s->inflight) {
		static const enum tag tags[] = { TAG_RECV, TAG_SEND, TAG_CONNECT };
		unsigned asked = 0;

		/* Requests on sockets wait in poll, so cancelling ends them at once. */
		while (s->inflight) {
			int r;

			while (asked < 3 && cancel_tag(u, s, tags[asked]))
				asked++;
			/* Nobody has run this ring yet, and who does first owns it: not we. */
			if (u->is_disabled)
				break;
			/* Waits only when all was cancelled: a full ring is emptied first. */
			r = asked < 3 ? io_uring_submit_and_get_events(&u->ring) :
			    io_uring_submit_and_wait(&u->ring, 1);
			if (r < 0 && r != -EINTR && r != -EBUSY && r != -EAGAIN)
				break;
			while (s->inflight && io_uring_peek_cqe(&u->ring, &cqe) == 0) {
				if (is_of(cqe->user_data, s))
					reap(u, s, cqe);
				else
					stash(u, cqe);
				io_uring_cqe_seen(&u->ring, cqe);
			}
		}
		show_stash(u);
	}
	put_tail(u, s);
}

/*
 * Without waiting for the completion: the ring may be that of another thread, or not enabled
 * yet. It finds nobody when it comes.
 */
static void uring_unwatch(struct nof_loop *loop, struct nofi_fd_watch *w)
{
	struct uring *u = uring_of(loop);

	if (!w->is_armed)
		return;
	w->is_armed = false;
	for (struct watching *t = u->watching; t; t = t->next)
		if (t->w == w) {
			t->w = NULL;
			(void)cancel_tag(u, t, TAG_WATCH);
		}
	if (!u->is_disabled)
		(void)io_uring_submit(&u->ring);
}

/* ---- life ---- */

static int setup_ring(struct nof_loop *loop, struct uring *u)
{
	/* Best first; older kernels refuse flags they do not know with EINVAL. */
	const unsigned dedicated[] = {
		IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER |
		IORING_SETUP_R_DISABLED | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0 };
	const unsigned polled[] = { IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0 };
	bool is_dedicated = loop->flags & NOF_LOOP_DEDICATED;
	const unsigned *flags = is_dedicated ? dedicated : polled;
	unsigned n = is_dedicated ? 3 : 2;
	int r = -EINVAL;

	for (unsigned i = 0; i < n && r == -EINVAL; i++) {
		struct io_uring_params p = {
			.flags = flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
				 IORING_SETUP_SUBMIT_ALL,
			.cq_entries = CQ_ENTRIES,
		};

		r = io_uring_queue_init_params(SQ_ENTRIES, &u->ring, &p);
		u->is_disabled = flags[i] & IORING_SETUP_R_DISABLED;
	}
	return r;
}

static int setup_buffers(struct uring *u)
{
	struct io_uring_buf_reg reg = { .ring_entries = BUFS_MAX, .bgid = BUF_GROUP };
	size_t len = BUFS_MAX * sizeof(struct io_uring_buf);
	int r;

	u->bufs = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (u->bufs == MAP_FAILED) {
		u->bufs = NULL;
		return -ENOMEM;
	}
	reg.ring_addr = (uint64_t)(uintptr_t)u->bufs;
	r = io_uring_register_buf_ring(&u->ring, &reg, 0);
	if (r < 0)
		return r;
	io_uring_buf_ring_init(u->bufs);
	while (u->staging_count < BUFS_MIN)
		if (!grow_staging(u))
			return -ENOMEM;
	return 0;
}

static void uring_close(struct nof_loop *loop)
{
	struct uring *u = uring_of(loop);
	struct nofi_tailbuf *t;
	struct watching *w;

	io_uring_queue_exit(&u->ring);
	for (unsigned i = 0; i < u->staging_count; i++)
		munmap(u->staging[i], NOFI_STAGING_LEN);
	if (u->bufs)
		munmap(u->bufs, BUFS_MAX * sizeof(struct io_uring_buf));
	while ((t = u->tails)) {
		u->tails = t->next;
		free(t);
	}
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
	struct uring *u = calloc(1, sizeof(*u));
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
		return nofi_err_set(err, r, "io_uring_setup: %s", strerror(-r));
	}
	loop->eng_data = u;
	u->stash_cap = CQ_ENTRIES;
	u->stash = malloc(u->stash_cap * sizeof(*u->stash));
	r = u->stash ? setup_buffers(u) : -ENOMEM;
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
	return uring_of(loop)->ring.ring_fd;
}

const struct nofi_engine_ops nofi_engine_uring = {
	.name = "io_uring",
	.open = uring_open,
	.close = uring_close,
	.fd = uring_fd,
	.add = uring_add,
	.remove = uring_remove,
	.connect = uring_connect,
	.recv_start = uring_recv_start,
	.send = uring_send,
	.watch = uring_watch,
	.unwatch = uring_unwatch,
	.submit = uring_submit,
	.reap = uring_reap,
	.wait = uring_wait,
	.peek = uring_peek,
	.set_timer = uring_set_timer,
};
