/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The answering side of the raw loop: one thread, epoll, every answer from the same static
 * bytes. It must be faster than any client, or the client's numbers mean nothing.
 */
#include "ceiling.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP	262
#endif

#define IN_LEN		(64u << 10)
#define BATCH		256u	/* answers per sendmsg: two iovecs each */

struct conn {
	int fd;
	bool blocked;			/* waiting for EPOLLOUT, reads nothing meanwhile */
	size_t in_head;			/* requests in[in_head..in_tail) are not answered yet */
	size_t in_tail;
	uint8_t in[IN_LEN];
	/* meta[i] is the completion of answer i-1 followed by the header of answer i. */
	uint8_t meta[BATCH + 1][2 * HDR_LEN];
	struct iovec iov[2 * BATCH + 1];
	unsigned int iov_head;		/* iov[iov_head..iov_count) is still to be sent */
	unsigned int iov_count;
};

static uint8_t payload[BS_MAX];

static void put_data_header(uint8_t *p, const uint8_t *req, uint32_t len, bool resp)
{
	p[0] = PDU_C2H;
	p[1] = resp ? FLAG_LAST : FLAG_LAST | FLAG_SUCCESS;
	p[2] = HDR_LEN;
	p[3] = HDR_LEN;
	put_le32(p + 4, HDR_LEN + len);
	memcpy(p + 8, req + 10, 2);
	put_le32(p + 12, 0);
	put_le32(p + 16, len);
}

static void put_completion(uint8_t *p, const uint8_t *req)
{
	p[0] = PDU_RESP;
	p[2] = HDR_LEN;
	put_le32(p + 4, HDR_LEN);
	memcpy(p + 20, req + 10, 2);
}

/* Turns waiting requests into the next batch; false when no whole request waits. */
static bool build_batch(struct conn *c, const struct ceiling_opts *o)
{
	unsigned int n = 0, iovs = 0;

	while (n < BATCH && c->in_tail - c->in_head >= CAPSULE_LEN) {
		const uint8_t *req = c->in + c->in_head;
		uint32_t len = (get_le32(req + 8 + 48) + 1) * BLOCK_LEN;
		size_t skip = n && o->resp ? 0 : HDR_LEN;

		if (req[0] != PDU_CMD || req[2] != CAPSULE_LEN || !len || len > BS_MAX)
			die("a client sent something that is no request");
		put_data_header(c->meta[n] + HDR_LEN, req, len, o->resp);
		c->iov[iovs].iov_base = c->meta[n] + skip;
		c->iov[iovs++].iov_len = 2 * HDR_LEN - skip;
		c->iov[iovs].iov_base = payload;
		c->iov[iovs++].iov_len = len;
		if (o->resp)
			put_completion(c->meta[n + 1], req);
		n++;
		c->in_head += CAPSULE_LEN;
	}
	if (n && o->resp) {
		c->iov[iovs].iov_base = c->meta[n];
		c->iov[iovs++].iov_len = HDR_LEN;
	}
	c->iov_head = 0;
	c->iov_count = iovs;
	return n;
}

/* Returns 1 when the batch is out, 0 when the socket is full, -1 when the client is gone. */
static int send_batch(struct conn *c)
{
	while (c->iov_head < c->iov_count) {
		struct msghdr msg = {
			.msg_iov = c->iov + c->iov_head,
			.msg_iovlen = c->iov_count - c->iov_head,
		};
		ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			return errno == EAGAIN ? 0 : errno == EINTR ? 1 : -1;
		while (n && (size_t)n >= c->iov[c->iov_head].iov_len)
			n -= (ssize_t)c->iov[c->iov_head++].iov_len;
		if (n) {
			struct iovec *v = &c->iov[c->iov_head];

			v->iov_base = (uint8_t *)v->iov_base + n;
			v->iov_len -= (size_t)n;
		}
	}
	return 1;
}

/* Returns false when the client is gone. */
static bool serve(struct conn *c, const struct ceiling_opts *o, int ep)
{
	struct epoll_event ev = { .data.ptr = c };
	ssize_t n;
	int sent;

	for (;;) {
		do {
			sent = send_batch(c);
			if (sent < 0)
				return false;
		} while (sent && build_batch(c, o));
		if (c->blocked != !sent) {
			c->blocked = !sent;
			ev.events = sent ? EPOLLIN : EPOLLOUT;
			epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
		}
		if (!sent)
			return true;
		if (c->in_head) {
			memmove(c->in, c->in + c->in_head, c->in_tail - c->in_head);
			c->in_tail -= c->in_head;
			c->in_head = 0;
		}
		n = recv(c->fd, c->in + c->in_tail, IN_LEN - c->in_tail, MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (!n)
			return false;
		c->in_tail += (size_t)n;
	}
}

static void accept_one(int lfd, int ep)
{
	int one = 1, fd = accept4(lfd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct epoll_event ev = { .events = EPOLLIN };
	struct conn *c;

	if (fd < 0)
		return;
	c = calloc(1, sizeof(*c));
	if (!c)
		die("out of memory");
	c->fd = fd;
	ev.data.ptr = c;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
	    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev))
		die("accepted socket: %s", strerror(errno));
}

static int listen_on(const struct ceiling_opts *o)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_PASSIVE,
				  .ai_socktype = SOCK_STREAM };
	struct sockaddr_storage ss = { };
	socklen_t len = sizeof(ss);
	struct addrinfo *ai;
	char port[8];
	int fd, one = 1;

	snprintf(port, sizeof(port), "%u", o->port);
	if (getaddrinfo(o->addr, port, &hints, &ai))
		die("'%s' is not a numeric address", o->addr);
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, o->mptcp ? IPPROTO_MPTCP : 0);
	if (fd < 0)
		die("socket for %s: %s", o->mptcp ? "MPTCP" : "TCP", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, 16))
		die("listen on %s port %u: %s", o->addr, o->port, strerror(errno));
	freeaddrinfo(ai);
	getsockname(fd, (struct sockaddr *)&ss, &len);
	/* The port sits at the same place for IPv4 and IPv6. */
	printf("%u\n", ntohs(((struct sockaddr_in *)&ss)->sin_port));
	fflush(stdout);
	return fd;
}

int server_run(const struct ceiling_opts *o)
{
	struct epoll_event evs[16], ev = { .events = EPOLLIN };
	int lfd = listen_on(o);
	int ep = epoll_create1(EPOLL_CLOEXEC);
	int i, n;

	memset(payload, 0xa5, sizeof(payload));
	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, lfd, &ev))
		die("epoll: %s", strerror(errno));
	for (;;) {
		n = epoll_wait(ep, evs, 16, o->spin ? 0 : -1);
		for (i = 0; i < n; i++) {
			struct conn *c = evs[i].data.ptr;

			if (!c) {
				accept_one(lfd, ep);
			} else if (!serve(c, o, ep)) {
				close(c->fd);
				free(c);
			}
		}
	}
}
