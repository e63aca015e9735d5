/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two ways in which the raw client waits, receives and sends. */
#include "ceiling.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void epoll_send(struct client *c)
{
	struct msghdr msg = { .msg_iov = c->send_iov };
	size_t want = 0, i;
	ssize_t n;

	msg.msg_iovlen = client_prep_send(c);
	for (i = 0; i < msg.msg_iovlen; i++)
		want += msg.msg_iov[i].iov_len;
	n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
	if (n < 0)
		die("sendmsg: %s", strerror(errno));
	/* Requests are at most 288 KiB, far below what the socket and the server take. */
	if ((size_t)n != want)
		die("sendmsg took %zd of %zu bytes", n, want);
}

void client_epoll(struct client *c)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int ep = epoll_create1(EPOLL_CLOEXEC);
	bool dry = true;

	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev))
		die("epoll: %s", strerror(errno));
	if (fcntl(c->fd, F_SETFL, O_NONBLOCK))
		die("fcntl: %s", strerror(errno));
	for (;;) {
		struct msghdr msg = { .msg_iov = c->recv_iov };
		ssize_t n;

		if (client_wants_send(c, dry))
			epoll_send(c);
		if (dry && !c->o->spin && epoll_wait(ep, &ev, 1, -1) < 0 && errno != EINTR)
			die("epoll_wait: %s", strerror(errno));
		client_prep_recv(c);
		if (c->recv_iov[1].iov_len) {
			msg.msg_iovlen = 2;
			n = recvmsg(c->fd, &msg, 0);
		} else {
			n = recv(c->fd, c->recv_iov[0].iov_base, c->recv_iov[0].iov_len, 0);
		}
		if (!n)
			die("the server closed the connection");
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			die("recv: %s", strerror(errno));
		dry = n < 0 || (size_t)n < c->recv_want;
		if (n > 0 && !client_received(c, (size_t)n))
			break;
	}
	close(ep);
}

enum {
	TAG_SEND = 1,
	TAG_RECV = 2,
};

static void uring_prep_send(struct client *c, struct io_uring *ring, struct msghdr *msg)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	msg->msg_iov = c->send_iov;
	msg->msg_iovlen = client_prep_send(c);
	/*
	 * A send that worked is not reported: once every answer to a batch is here, the kernel
	 * has necessarily taken all of its bytes. MSG_WAITALL: the kernel finishes short sends.
	 */
	if (msg->msg_iovlen == 1)
		io_uring_prep_send(sqe, 0, c->send_iov[0].iov_base, c->send_iov[0].iov_len,
				   MSG_NOSIGNAL | MSG_WAITALL);
	else
		io_uring_prep_sendmsg(sqe, 0, msg, MSG_NOSIGNAL | MSG_WAITALL);
	sqe->flags |= IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS;
	sqe->user_data = TAG_SEND;
}

static void uring_prep_recv(struct client *c, struct io_uring *ring, struct msghdr *msg, bool dry)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	client_prep_recv(c);
	if (c->recv_iov[1].iov_len) {
		msg->msg_iov = c->recv_iov;
		msg->msg_iovlen = 2;
		io_uring_prep_recvmsg(sqe, 0, msg, 0);
	} else {
		io_uring_prep_recv(sqe, 0, c->recv_iov[0].iov_base, c->recv_iov[0].iov_len, 0);
	}
	sqe->flags |= IOSQE_FIXED_FILE;
	if (dry)
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	sqe->user_data = TAG_RECV;
}

static struct io_uring_cqe *uring_next(struct client *c, struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int err;

	if (!c->o->spin) {
		err = io_uring_submit_and_wait(ring, 1);
		if (err < 0 && err != -EINTR)
			die("io_uring_enter: %s", strerror(-err));
		return io_uring_peek_cqe(ring, &cqe) ? NULL : cqe;
	}
	/* With DEFER_TASKRUN nothing completes unless we ask. */
	do {
		err = io_uring_submit_and_get_events(ring);
		if (err < 0 && err != -EINTR)
			die("io_uring_enter: %s", strerror(-err));
	} while (io_uring_peek_cqe(ring, &cqe));
	return cqe;
}

void client_uring(struct client *c)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_CQSIZE,
		.cq_entries = 64,
	};
	struct msghdr send_msg = { }, recv_msg = { };
	struct io_uring ring;
	bool dry = true, armed = false;
	int err;

	err = io_uring_queue_init_params(16, &ring, &p);
	if (err)
		die("io_uring_setup: %s", strerror(-err));
	err = io_uring_register_files(&ring, &c->fd, 1);
	if (err)
		die("io_uring_register_files: %s", strerror(-err));
	io_uring_register_ring_fd(&ring);	/* saves a little; older kernels refuse */
	for (;;) {
		struct io_uring_cqe *cqe;
		uint64_t tag;
		int res;

		if (!armed) {
			if (client_wants_send(c, dry))
				uring_prep_send(c, &ring, &send_msg);
			uring_prep_recv(c, &ring, &recv_msg, dry);
			armed = true;
		}
		cqe = uring_next(c, &ring);
		if (!cqe)
			continue;
		tag = cqe->user_data;
		res = cqe->res;
		io_uring_cqe_seen(&ring, cqe);
		if (tag == TAG_SEND)
			die("send: %s", res < 0 ? strerror(-res) : "short");
		armed = false;
		if (!res)
			die("the server closed the connection");
		if (res < 0 && res != -EINTR)
			die("recv: %s", strerror(-res));
		dry = res < 0 || (size_t)res < c->recv_want;
		if (res > 0 && !client_received(c, (size_t)res))
			break;
	}
	io_uring_queue_exit(&ring);
}
