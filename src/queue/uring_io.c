/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A socket's requests in the ring: one receive, one send, at first a connect.
 *
 * Quiet sends. A send nearly always succeeds while it is submitted, and its completion then says
 * nothing that was not known, but it ends the wait that was to be for an answer: two system
 * calls where one would do. So a send whose end nobody waits for asks for no completion if it
 * succeeds, and, by MSG_DONTWAIT, not to be kept until there is room. It then is over when the
 * submission is, one way or the other: a completion says what it did not send, and none that it
 * sent everything. What is left is sent as a request that waits.
 */
#include <errno.h>
#include <poll.h>

#include "queue/uring.h"

/* What is longer hardly fits at once: better one request that waits for room. */
enum { QUIET_MAX = 64 * 1024 };

/* ---- receive ---- */

/* To n places in the caller's memory, and a tail behind them. False: out of memory. */
static bool prep_direct(struct nofi_uring *u, struct io_uring_sqe *sqe, struct nofi_sock *s,
			unsigned n)
{
	struct nofi_tailbuf *t = s->tail;
	size_t len;

	if (!t)
		t = s->tail = nofi_tail_take(u);
	if (!t)
		return false;
	n = nofi_places_cut(u->places, n, &len);
	for (unsigned i = 0; i < n; i++)
		t->iov[i] = u->places[i];
	s->direct_len = (uint32_t)len;
	/* Behind places that were cut down there is only more payload. */
	t->len = len < NOFI_SHARE ? NOFI_TAIL_LEN : 0;
	t->iov[n].iov_base = t->data;
	t->iov[n].iov_len = t->len;
	t->msg = (struct msghdr){ .msg_iov = t->iov, .msg_iovlen = n + (t->len > 0) };
	s->recv_iov = t->iov;
	io_uring_prep_recvmsg(sqe, s->fd, &t->msg, 0);
	return true;
}

static void prep_staged(struct nofi_uring *u, struct io_uring_sqe *sqe, struct nofi_sock *s)
{
	nofi_tail_put(u, s);
	io_uring_prep_recv(sqe, s->fd, NULL, nofi_sock_stage(s), 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = NOFI_BUF_GROUP;
}

/* False: the ring is full. */
static bool arm_recv(struct nofi_uring *u, struct nofi_sock *s)
{
	struct io_uring_sqe *sqe = nofi_uring_sqe(u);
	unsigned n;

	if (!sqe)
		return false;
	n = s->ops->place(s, u->places, NOFI_PLACES_MAX);
	/* Payload may be staged, too: that costs a copy, and needs no memory. */
	if (!n || !prep_direct(u, sqe, s, n))
		prep_staged(u, sqe, s);
	/* Nothing was left last time: trying first would only fail. */
	if (s->is_dry)
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	nofi_uring_tag(sqe, s, NOFI_TAG_RECV);
	s->is_recv_armed = true;
	s->inflight++;
	return true;
}

/*
 * Receives are armed at the last moment before a submission, behind the sends of the same turn:
 * what the target has to do comes first.
 */
static void want_recv(struct nofi_uring *u, struct nofi_sock *s)
{
	if (s->is_recv_armed || s->is_recv_wanted)
		return;
	s->is_recv_wanted = true;
	s->next_recv = NULL;
	*u->recv_tail = s;
	u->recv_tail = &s->next_recv;
}

void nofi_uring_arm_all(struct nofi_uring *u)
{
	struct nofi_sock *s;

	while ((s = u->recv)) {
		if (s->is_receiving && !arm_recv(u, s))
			return;		/* the next submission tries again */
		nofi_uring_unwant(u, s);
	}
}

void nofi_uring_unwant(struct nofi_uring *u, struct nofi_sock *s)
{
	struct nofi_sock **p = &u->recv;

	if (!s->is_recv_wanted)
		return;
	s->is_recv_wanted = false;
	while (*p != s)
		p = &(*p)->next_recv;
	*p = s->next_recv;
	if (u->recv_tail == &s->next_recv)
		u->recv_tail = p;
}

void nofi_uring_on_recv(struct nof_loop *loop, struct nofi_sock *s, int res, uint32_t flags)
{
	struct nofi_uring *u = nofi_uring_of(loop);
	unsigned bid = flags >> IORING_CQE_BUFFER_SHIFT;
	bool has_buf = flags & IORING_CQE_F_BUFFER;
	size_t offered = s->tail ? s->direct_len + s->tail->len : nofi_sock_stage(s);

	if (!s->is_receiving || s->fd < 0)
		goto out;
	s->is_dry = res > 0 && (size_t)res < offered;
	if (res > 0 && s->tail) {
		size_t n = (size_t)res, direct = n < s->direct_len ? n : s->direct_len;

		s->ops->received(s, direct, s->tail->data, n - direct, s->is_dry);
	} else if (res > 0 && has_buf && bid < u->staging_count) {
		s->ops->received(s, 0, u->staging[bid], (size_t)res, s->is_dry);
	} else if (res == -ENOBUFS) {
		/* More connections are ready than buffers, whose data waits in this very batch:
		   they are back when the next receive is armed, and then there is one more. */
		(void)nofi_staging_grow(u);
	} else if (res != -ECANCELED && res != -EINTR && res != -EAGAIN) {
		/* A cancelled receive is not the peer's doing: its thread ended. Receive again. */
		s->is_receiving = false;
		s->ops->ended(s, res);
	}
out:
	if (has_buf && bid < u->staging_count)
		nofi_staging_give(u, bid);
	if (s->fd >= 0 && s->is_receiving)
		want_recv(u, s);
}

void nofi_uring_recv_start(struct nof_loop *loop, struct nofi_sock *s)
{
	s->is_receiving = true;
	want_recv(nofi_uring_of(loop), s);
}

/* ---- send ---- */

static void post_send(struct nof_loop *loop, struct nofi_sock *s, bool is_quiet)
{
	struct nofi_uring *u = nofi_uring_of(loop);
	struct io_uring_sqe *sqe = nofi_uring_sqe(u);
	int flags = MSG_NOSIGNAL | MSG_WAITALL | (is_quiet ? MSG_DONTWAIT : 0);

	if (!sqe) {
		s->is_send_busy = false;
		s->ops->sent(s, -EIO);
		return;
	}
	if (s->msg->msg_iovlen == 1)
		io_uring_prep_send(sqe, s->fd, s->msg->msg_iov[0].iov_base,
				   s->msg->msg_iov[0].iov_len, flags);
	else
		io_uring_prep_sendmsg(sqe, s->fd, s->msg, (unsigned)flags);
	nofi_uring_tag(sqe, s, NOFI_TAG_SEND);
	s->inflight++;
	u->is_urgent = true;
	if (!is_quiet)
		return;
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	s->is_quiet = s->is_listed = true;
	s->quiet_at = u->ring.sq.sqe_tail;
	s->next_quiet = NULL;
	*u->quiet_tail = s;
	u->quiet_tail = &s->next_quiet;
}

void nofi_uring_send(struct nof_loop *loop, struct nofi_sock *s, struct msghdr *msg, size_t len)
{
	s->msg = msg;
	s->send_left = len;
	s->is_send_busy = true;
	post_send(loop, s, s->may_tarry && !s->is_listed && len <= QUIET_MAX &&
		  nofi_uring_of(loop)->can_skip);
}

void nofi_uring_on_sent(struct nof_loop *loop, struct nofi_sock *s, int res)
{
	if (!s->is_send_busy || s->fd < 0)
		return;
	if (res > 0 && (size_t)res < s->send_left) {
		s->send_left -= (size_t)res;
		nofi_msg_advance(s->msg, (size_t)res);
		post_send(loop, s, false);
		return;
	}
	if (res == -EINTR || res == -EAGAIN || res == -ECANCELED) {
		post_send(loop, s, false);
		return;
	}
	s->is_send_busy = false;
	s->ops->sent(s, res > 0 ? 0 : res < 0 ? res : -EPIPE);
}

/* Has the kernel taken the submission before position at? */
static bool is_taken(const struct nofi_uring *u, unsigned at)
{
	return (int)(io_uring_smp_load_acquire(u->ring.sq.khead) - at) >= 0;
}

/* A completion that found no room would be missed: not before the kernel has put it there. */
static bool may_judge(const struct nofi_uring *u)
{
	return !(IO_URING_READ_ONCE(*u->ring.sq.kflags) & IORING_SQ_CQ_OVERFLOW);
}

void nofi_uring_unlist(struct nofi_uring *u, struct nofi_sock *s)
{
	struct nofi_sock **p = &u->quiet;

	if (!s->is_listed)
		return;
	s->is_listed = false;
	while (*p != s)
		p = &(*p)->next_quiet;
	*p = s->next_quiet;
	if (u->quiet_tail == &s->next_quiet)
		u->quiet_tail = p;
}

void nofi_uring_judge_all(struct nof_loop *loop)
{
	struct nofi_uring *u = nofi_uring_of(loop);
	struct io_uring_cqe *cqe;
	struct nofi_sock *s;
	unsigned head;

	if (!is_taken(u, u->quiet->quiet_at) || !may_judge(u))
		return;
	io_uring_for_each_cqe(&u->ring, head, cqe)
		nofi_uring_heard(cqe->user_data);
	/* sent() may bring about other sends, and remove sockets. */
	while ((s = u->quiet) && is_taken(u, s->quiet_at)) {
		nofi_uring_unlist(u, s);
		if (!s->is_quiet)
			continue;	/* its completion is on the way */
		s->is_quiet = false;
		s->inflight--;
		if (!s->is_send_busy || s->fd < 0)
			continue;
		s->is_send_busy = false;
		s->ops->sent(s, 0);
	}
}

void nofi_uring_judge_one(struct nofi_uring *u, struct nofi_sock *s)
{
	if (!s->is_quiet || !is_taken(u, s->quiet_at) || !may_judge(u))
		return;
	s->is_quiet = false;
	s->inflight--;
}

/* ---- connect ---- */

static int watch_connect(struct nof_loop *loop, struct nofi_sock *s)
{
	struct io_uring_sqe *sqe = nofi_uring_sqe(nofi_uring_of(loop));

	if (!sqe)
		return -EIO;
	io_uring_prep_poll_add(sqe, s->fd, POLLOUT);
	nofi_uring_tag(sqe, s, NOFI_TAG_CONNECT);
	s->is_connecting = true;
	s->inflight++;
	return 0;
}

int nofi_uring_connect(struct nof_loop *loop, struct nofi_sock *s, const struct sockaddr *sa,
		       socklen_t len)
{
	/* The system call, not the ring's: seccomp and fault injection see it. */
	if (connect(s->fd, sa, len) < 0 && errno != EINPROGRESS)
		return -errno;
	return watch_connect(loop, s);
}

void nofi_uring_on_connected(struct nof_loop *loop, struct nofi_sock *s, int res)
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
