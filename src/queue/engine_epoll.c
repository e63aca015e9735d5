/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The epoll engine, for where io_uring is refused: one epoll descriptor per loop,
 * which is also the fd that is handed out; a timerfd for the earliest timer. One
 * staging buffer serves all connections, since data is parsed before the next
 * receive.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lines.h"
#include "queue/engine.h"

enum {
	EVENTS_MAX = 64,
};

/* What an event belongs to: the low bits of the pointer. */
enum tag { TAG_SOCK, TAG_WATCH, TAG_WAKE, TAG_TIMER };
enum { TAG_MASK = 3 };

struct poller {
	int fd;				/* epoll */
	int timer_fd;
	uint8_t *staging;		/* NOFI_STAGING_LEN */
	struct iovec iov[NOFI_PLACES_MAX + 1];	/* of the receive under way */
	struct epoll_event events[EVENTS_MAX];
	int event_count;		/* being dispatched, or found by peek: remove() blanks
					   its own */
	int first;			/* of the events: where dispatching begins next time */
	bool is_coarse;			/* there is no epoll_pwait2() */
};

static struct poller *poller_of(struct nof_loop *loop)
{
	return loop->eng_data;
}

static int control(struct poller *p, int op, int fd, uint32_t events, const void *obj, enum tag tag)
{
	struct epoll_event ev = { .events = events,
				  .data.u64 = (uint64_t)(uintptr_t)obj | tag };

	return epoll_ctl(p->fd, op, fd, &ev) < 0 ? -errno : 0;
}

/* ---- sockets ---- */

static int poller_add(struct nof_loop *loop, struct nofi_sock *s)
{
	/* Errors and hang-ups only, until connect or receive ask for more. */
	return control(poller_of(loop), EPOLL_CTL_ADD, s->fd, 0, s, TAG_SOCK);
}

static void forget_events(struct poller *p, const void *obj, enum tag tag)
{
	for (int i = 0; i < p->event_count; i++)
		if (p->events[i].data.u64 == ((uint64_t)(uintptr_t)obj | tag))
			p->events[i].events = 0;
}

static void poller_remove(struct nof_loop *loop, struct nofi_sock *s)
{
	struct poller *p = poller_of(loop);

	control(p, EPOLL_CTL_DEL, s->fd, 0, s, TAG_SOCK);
	forget_events(p, s, TAG_SOCK);
	s->is_connecting = false;
	s->is_receiving = false;
	s->is_send_busy = false;
	s->is_poll_out = false;
}

static int update_events(struct poller *p, struct nofi_sock *s)
{
	uint32_t events = 0;

	if (s->is_receiving)
		events |= EPOLLIN;
	if (s->is_connecting || s->is_poll_out)
		events |= EPOLLOUT;
	return control(p, EPOLL_CTL_MOD, s->fd, events, s, TAG_SOCK);
}

static int poller_connect(struct nof_loop *loop, struct nofi_sock *s, const struct sockaddr *sa,
			  socklen_t len)
{
	if (connect(s->fd, sa, len) < 0 && errno != EINPROGRESS)
		return -errno;
	s->is_connecting = true;
	return update_events(poller_of(loop), s);
}

static void on_connected(struct nof_loop *loop, struct nofi_sock *s)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	s->is_connecting = false;
	update_events(poller_of(loop), s);
	s->ops->connected(s, -err);
}

static void poller_recv_start(struct nof_loop *loop, struct nofi_sock *s)
{
	int r;

	s->is_receiving = true;
	r = update_events(poller_of(loop), s);
	if (r < 0) {
		s->is_receiving = false;
		s->ops->ended(s, r);
	}
}

static void do_recv(struct nof_loop *loop, struct nofi_sock *s)
{
	struct poller *p = poller_of(loop);

	s->recv_iov = p->iov;
	for (size_t taken = 0, got; taken < NOFI_SHARE && s->fd >= 0 && s->is_receiving;
	     taken += got) {
		struct msghdr msg = { .msg_iov = p->iov };
		size_t direct, limit, room;
		unsigned n = s->ops->place(s, p->iov, NOFI_PLACES_MAX);
		ssize_t r;

		got = 0;
		n = nofi_places_cut(p->iov, n, &direct);
		/* Behind places that were cut down there is only more payload. */
		limit = !n ? nofi_sock_stage(s) : direct < NOFI_SHARE ? NOFI_TAIL_LEN : 0;
		p->iov[n].iov_base = p->staging;
		p->iov[n].iov_len = limit;
		msg.msg_iovlen = n + (limit > 0);
		r = n ? recvmsg(s->fd, &msg, MSG_DONTWAIT) :
			recv(s->fd, p->staging, limit, MSG_DONTWAIT);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && errno == EAGAIN)
			return;
		if (r <= 0) {
			s->is_receiving = false;
			update_events(p, s);
			s->ops->ended(s, r < 0 ? -errno : 0);
			return;
		}
		got = (size_t)r;
		room = direct + limit;
		if (direct > got)
			direct = got;
		s->ops->received(s, direct, p->staging, got - direct, got < room);
		if (got < room)
			return;
	}
}

/* ---- send ---- */

static void do_send(struct nof_loop *loop, struct nofi_sock *s)
{
	bool wants_out = false;
	int res = 0;

	while (s->send_left) {
		ssize_t r = sendmsg(s->fd, s->msg, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && errno == EAGAIN) {
			wants_out = true;
			break;
		}
		if (r < 0) {
			res = -errno;
			break;
		}
		s->send_left -= (size_t)r;
		nofi_msg_advance(s->msg, (size_t)r);
	}
	if (s->is_poll_out != wants_out) {
		s->is_poll_out = wants_out;
		update_events(poller_of(loop), s);
	}
	if (wants_out)
		return;
	s->is_send_busy = false;
	s->ops->sent(s, res);
}

static void poller_send(struct nof_loop *loop, struct nofi_sock *s, struct msghdr *msg, size_t len)
{
	s->msg = msg;
	s->send_left = len;
	s->is_send_busy = true;
	do_send(loop, s);
}

/* ---- watch, wake, timer ---- */

static int poller_watch(struct nof_loop *loop, struct nofi_fd_watch *w)
{
	struct poller *p = poller_of(loop);
	uint32_t events = EPOLLIN | EPOLLONESHOT;
	int r = control(p, EPOLL_CTL_ADD, w->fd, events, w, TAG_WATCH);

	if (r == -EEXIST)
		r = control(p, EPOLL_CTL_MOD, w->fd, events, w, TAG_WATCH);
	w->is_armed = r == 0;
	return r;
}

static void poller_unwatch(struct nof_loop *loop, struct nofi_fd_watch *w)
{
	control(poller_of(loop), EPOLL_CTL_DEL, w->fd, 0, w, TAG_WATCH);
	forget_events(poller_of(loop), w, TAG_WATCH);
	w->is_armed = false;
}

static void poller_set_timer(struct nof_loop *loop, uint64_t deadline_ns)
{
	struct itimerspec its = { .it_value = {
		.tv_sec = (time_t)(deadline_ns / 1000000000),
		.tv_nsec = (long)(deadline_ns % 1000000000) } };

	timerfd_settime(poller_of(loop)->timer_fd, TFD_TIMER_ABSTIME, &its, NULL);
}

static void drain(int fd)
{
	uint64_t n;

	while (read(fd, &n, sizeof(n)) < 0 && errno == EINTR)
		;
}

/* ---- waiting ---- */

static void dispatch(struct nof_loop *loop, uint64_t data, uint32_t events)
{
	struct poller *p = poller_of(loop);
	void *obj = (void *)(uintptr_t)(data & ~(uint64_t)TAG_MASK);
	struct nofi_sock *s = obj;
	struct nofi_fd_watch *w = obj;

	switch ((enum tag)(data & TAG_MASK)) {
	case TAG_SOCK:
		if (s->is_connecting) {
			on_connected(loop, s);
			return;
		}
		if (s->is_send_busy && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
			do_send(loop, s);
		if (s->fd >= 0 && s->is_receiving &&
		    (events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP)))
			do_recv(loop, s);
		return;
	case TAG_WATCH:
		w->is_armed = false;
		w->fn(w);
		return;
	case TAG_WAKE:
		drain(loop->wake_fd);
		nofi_loop_on_wake(loop);
		return;
	case TAG_TIMER:
		drain(p->timer_fd);
		loop->timer_set = UINT64_MAX;
		return;
	}
}

/* Kernels before 5.11 know milliseconds only. */
static int wait_ms(struct poller *p, int64_t timeout_ns)
{
	int64_t up = (timeout_ns + 999999) / 1000000;

	return epoll_wait(p->fd, p->events, EVENTS_MAX,
			  timeout_ns < 0 ? -1 : up > INT32_MAX ? INT32_MAX : (int)up);
}

static int wait_events(struct poller *p, int64_t timeout_ns)
{
	struct timespec ts = { .tv_sec = (time_t)(timeout_ns / 1000000000),
			       .tv_nsec = (long)(timeout_ns % 1000000000) };
	int n;

	if (timeout_ns <= 0 || p->is_coarse)
		return wait_ms(p, timeout_ns);
	n = epoll_pwait2(p->fd, p->events, EVENTS_MAX, &ts, NULL);
	/* EPERM: a seccomp filter that does not know it. */
	if (n >= 0 || (errno != ENOSYS && errno != EPERM))
		return n;
	p->is_coarse = true;
	return wait_ms(p, timeout_ns);
}

/*
 * Connections that a full turn leaves out are still ready, and reported again, in the same order
 * perhaps: then they come first. All else is dispatched now: a one-shot is reported once.
 */
static void dispatch_all(struct nof_loop *loop)
{
	struct poller *p = poller_of(loop);
	int n = p->event_count, at = p->first < n ? p->first : 0;
	bool is_full = false;

	p->first = 0;
	for (int left = n; left; left--, at = at + 1 < n ? at + 1 : 0) {
		struct epoll_event ev = p->events[at];

		if (!ev.events)
			continue;
		if (loop->taken >= NOFI_TURN && (ev.data.u64 & TAG_MASK) == TAG_SOCK) {
			if (!is_full)
				p->first = at;
			is_full = true;
			continue;
		}
		dispatch(loop, ev.data.u64, ev.events);
	}
	p->event_count = 0;
}

static int poller_wait(struct nof_loop *loop, int64_t timeout_ns)
{
	struct poller *p = poller_of(loop);

	if (!p->event_count) {
		int n = wait_events(p, timeout_ns);

		if (n < 0)
			return errno == EINTR ? 0 : -errno;
		p->event_count = n;
	}
	dispatch_all(loop);
	return 0;
}

static bool poller_peek(struct nof_loop *loop, bool will_wait)
{
	struct poller *p = poller_of(loop);
	struct pollfd pfd = { .fd = p->fd, .events = POLLIN };
	int n;

	if (p->event_count)
		return true;
	/* An event that is taken out may be a one-shot: then it has to be dispatched. */
	if (!will_wait)
		return poll(&pfd, 1, 0) > 0;
	n = wait_events(p, 0);
	if (n > 0)
		p->event_count = n;
	return n > 0;
}

static int poller_submit(struct nof_loop *loop)
{
	(void)loop;
	return 0;
}

/* ---- life ---- */

static void poller_close(struct nof_loop *loop)
{
	struct poller *p = poller_of(loop);

	if (p->timer_fd >= 0)
		close(p->timer_fd);
	if (p->fd >= 0)
		close(p->fd);
	free(p->staging);
	free(p);
	loop->eng_data = NULL;
}

static int poller_open(struct nof_loop *loop, struct nofi_err *err)
{
	struct poller *p = nofi_zalloc_lines(sizeof(*p));
	int r;

	if (!p)
		return nofi_err_set(err, -ENOMEM, "epoll: out of memory");
	loop->eng_data = p;
	p->timer_fd = -1;
	p->fd = epoll_create1(EPOLL_CLOEXEC);
	if (p->fd < 0)
		goto fail;
	p->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (p->timer_fd < 0)
		goto fail;
	p->staging = malloc(NOFI_STAGING_LEN);
	if (!p->staging) {
		errno = ENOMEM;
		goto fail;
	}
	r = control(p, EPOLL_CTL_ADD, p->timer_fd, EPOLLIN, NULL, TAG_TIMER);
	if (r == 0)
		r = control(p, EPOLL_CTL_ADD, loop->wake_fd, EPOLLIN, NULL, TAG_WAKE);
	if (r == 0)
		return 0;
	errno = -r;
fail:
	r = errno == EMFILE || errno == ENFILE ? nofi_err_files(err, -errno, "epoll") :
	    nofi_err_set(err, -errno, "epoll: %m");
	poller_close(loop);
	return r;
}

static int poller_fd(struct nof_loop *loop)
{
	return poller_of(loop)->fd;
}

const struct nofi_engine_ops nofi_engine_epoll = {
	.name = "epoll",
	.open = poller_open,
	.close = poller_close,
	.fd = poller_fd,
	.add = poller_add,
	.remove = poller_remove,
	.connect = poller_connect,
	.recv_start = poller_recv_start,
	.send = poller_send,
	.watch = poller_watch,
	.unwatch = poller_unwatch,
	.submit = poller_submit,
	.wait = poller_wait,
	.peek = poller_peek,
	.set_timer = poller_set_timer,
};
