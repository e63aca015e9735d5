/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What both engines of the raw client share: slots, the stream parser, the measurement. */
#include "ceiling.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP	262
#endif
#define OPT_TCP_IS_MPTCP 43	/* TCP_IS_MPTCP, newer than Debian 12's headers */

/* Gathers every ready request: returns the number of entries in send_iov. */
unsigned int client_prep_send(struct client *c)
{
	uint64_t now = now_ns();
	unsigned int n = 0;

	while (c->ready_count) {
		unsigned int cid = c->ready[c->ready_head];
		uint8_t *capsule = c->capsules + (size_t)cid * CAPSULE_LEN;
		struct iovec *last = n ? &c->send_iov[n - 1] : NULL;

		if (++c->ready_head == c->o->qd)
			c->ready_head = 0;
		c->ready_count--;
		c->slots[cid].sent_ns = now;
		c->slots[cid].got = 0;
		c->slots[cid].outstanding = true;
		if (last && (uint8_t *)last->iov_base + last->iov_len == capsule) {
			last->iov_len += CAPSULE_LEN;
			continue;
		}
		c->send_iov[n].iov_base = capsule;
		c->send_iov[n].iov_len = CAPSULE_LEN;
		n++;
	}
	c->sends++;
	return n;
}

/*
 * A long payload goes straight into its buffer, with just enough staging behind it for the
 * headers that follow: what lands in staging is copied once more. Everything else is staged.
 */
void client_prep_recv(struct client *c)
{
	c->receives++;
	if (c->cur && c->cur_rest >= c->o->direct) {
		/* The parser stops inside a payload only when staging is empty. */
		c->recv_iov[0].iov_base = c->cur->buf + c->cur->got;
		c->recv_iov[0].iov_len = c->cur_rest;
		c->recv_iov[1].iov_base = c->stage;
		c->recv_iov[1].iov_len = c->o->behind;
		c->recv_want = c->cur_rest + c->o->behind;
		return;
	}
	c->recv_iov[0].iov_base = c->stage + c->stage_tail;
	c->recv_iov[0].iov_len = c->o->stage - c->stage_tail;
	c->recv_iov[1].iov_len = 0;
	c->recv_want = c->recv_iov[0].iov_len;
}

static void complete(struct client *c, unsigned int cid, uint64_t now)
{
	struct slot *s = &c->slots[cid];
	unsigned int i = c->ready_head + c->ready_count;

	s->outstanding = false;
	c->ready[i < c->o->qd ? i : i - c->o->qd] = (uint16_t)cid;
	c->ready_count++;
	c->ios++;
	hist_add(&c->hist, now - s->sent_ns);
}

static void payload_done(struct client *c, uint64_t now)
{
	if (c->cur_success)
		complete(c, (unsigned int)(c->cur - c->slots), now);
	c->cur = NULL;
}

/* Takes one header off staging. The checks only keep a confused server from corrupting us. */
static void parse_header(struct client *c, const uint8_t *p, uint64_t now)
{
	uint32_t plen = get_le32(p + 4);
	unsigned int cid;

	if (p[2] != HDR_LEN)
		die("the server sent a PDU of type %u with header length %u", p[0], p[2]);
	if (p[0] == PDU_C2H) {
		uint32_t len = get_le32(p + 16);

		cid = get_le16(p + 8);
		if (cid >= c->o->qd || !c->slots[cid].outstanding || !len ||
		    get_le32(p + 12) != c->slots[cid].got ||
		    len > c->o->bs - c->slots[cid].got || plen != HDR_LEN + len)
			die("the server sent %u bytes of data that nobody asked for", len);
		c->cur = &c->slots[cid];
		c->cur_rest = len;
		c->cur_success = p[1] & FLAG_SUCCESS;
		return;
	}
	cid = get_le16(p + 20);
	if (p[0] != PDU_RESP || plen != HDR_LEN || cid >= c->o->qd ||
	    !c->slots[cid].outstanding || c->slots[cid].got != c->o->bs)
		die("the server sent an unexpected PDU of type %u", p[0]);
	complete(c, cid, now);
}

static void parse_stage(struct client *c, uint64_t now)
{
	uint8_t *p = c->stage + c->stage_head;
	size_t avail = c->stage_tail - c->stage_head;

	for (;;) {
		if (c->cur) {
			uint32_t take = c->cur_rest < avail ? c->cur_rest : (uint32_t)avail;

			memcpy(c->cur->buf + c->cur->got, p, take);
			c->cur->got += take;
			c->cur_rest -= take;
			p += take;
			avail -= take;
			if (c->cur_rest)
				break;
			payload_done(c, now);
		}
		if (avail < HDR_LEN)
			break;
		parse_header(c, p, now);
		p += HDR_LEN;
		avail -= HDR_LEN;
	}
	/* What is left is part of a header: less than HDR_LEN bytes to move. */
	if (avail)
		memmove(c->stage, p, avail);
	c->stage_head = 0;
	c->stage_tail = avail;
}

static void read_cpu(double *user, double *sys)
{
	struct rusage ru;

	/* With the kernel's io_uring workers, if there are any. */
	getrusage(RUSAGE_SELF, &ru);
	*user = (double)ru.ru_utime.tv_sec + (double)ru.ru_utime.tv_usec / 1e6;
	*sys = (double)ru.ru_stime.tv_sec + (double)ru.ru_stime.tv_usec / 1e6;
}

static void start_measuring(struct client *c, uint64_t now)
{
	memset(&c->hist, 0, sizeof(c->hist));
	c->ramp_ios = c->ios;
	c->ios = 0;
	c->sends = 0;
	c->receives = 0;
	c->ramp_ns = 0;
	c->start_ns = now;
	c->end_ns = now + (uint64_t)(c->o->runtime * 1e9);
	read_cpu(&c->user_s, &c->sys_s);
}

bool client_received(struct client *c, size_t n)
{
	uint64_t now = now_ns();

	if (c->cur && c->cur_rest >= c->o->direct) {
		uint32_t take = n < c->cur_rest ? (uint32_t)n : c->cur_rest;

		c->cur->got += take;
		c->cur_rest -= take;
		n -= take;
		if (!c->cur_rest)
			payload_done(c, now);
	}
	c->stage_tail += n;
	if (n)
		parse_stage(c, now);
	if (c->ramp_ns) {
		if (now >= c->ramp_ns)
			start_measuring(c, now);
		return true;
	}
	if (now < c->end_ns && !(c->o->limit && c->ramp_ios + c->ios >= c->o->limit))
		return true;
	c->end_ns = now;
	return false;
}

static int connect_to(const struct ceiling_opts *o)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM };
	struct addrinfo *ai;
	char port[8];
	int fd, one = 1;

	snprintf(port, sizeof(port), "%u", o->port);
	if (getaddrinfo(o->addr, port, &hints, &ai))
		die("'%s' is not a numeric address", o->addr);
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, o->mptcp ? IPPROTO_MPTCP : 0);
	if (fd < 0)
		die("socket for %s: %s", o->mptcp ? "MPTCP" : "TCP", strerror(errno));
	if (o->rcvbuf && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &o->rcvbuf, sizeof(o->rcvbuf)))
		die("SO_RCVBUF: %s", strerror(errno));
	if (connect(fd, ai->ai_addr, ai->ai_addrlen))
		die("connect to %s port %u: %s", o->addr, o->port, strerror(errno));
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		die("TCP_NODELAY: %s", strerror(errno));
	freeaddrinfo(ai);
	return fd;
}

/* MPTCP may silently have become TCP: the numbers must not be filed under the wrong name. */
static bool is_mptcp(const struct client *c)
{
	socklen_t len = sizeof(int);
	int on = 0;

	if (!c->o->mptcp)
		return false;
	return !getsockopt(c->fd, IPPROTO_TCP, OPT_TCP_IS_MPTCP, &on, &len) && on;
}

static void *need(size_t size)
{
	void *p = NULL;

	if (posix_memalign(&p, 4096, size))
		die("out of memory for %zu bytes", size);
	memset(p, 0, size);
	return p;
}

static void client_init(struct client *c)
{
	const struct ceiling_opts *o = c->o;
	uint8_t *bufs = need((size_t)o->qd * o->bs);
	unsigned int i;

	c->slots = need(o->qd * sizeof(*c->slots));
	c->capsules = need((size_t)o->qd * CAPSULE_LEN);
	c->ready = need(o->qd * sizeof(*c->ready));
	c->send_iov = need(o->qd * sizeof(*c->send_iov));
	c->stage = need(o->stage);
	for (i = 0; i < o->qd; i++) {
		uint8_t *p = c->capsules + (size_t)i * CAPSULE_LEN;

		c->slots[i].buf = bufs + (size_t)i * o->bs;
		p[0] = PDU_CMD;
		p[2] = CAPSULE_LEN;
		put_le32(p + 4, CAPSULE_LEN);
		p[8] = 0x02;				/* SQE: read */
		put_le16(p + 10, (uint16_t)i);		/* SQE: CID */
		put_le32(p + 8 + 48, o->bs / BLOCK_LEN - 1);
		if (o->nqn)
			nvme_command(p + 8, o->bs);
		c->ready[i] = (uint16_t)i;
	}
	c->ready_count = o->qd;
}

static void report(const struct client *c, bool mptcp)
{
	const struct ceiling_opts *o = c->o;
	double secs = (double)(c->end_ns - c->start_ns) / 1e9;
	double cpu = c->user_s + c->sys_s;

	printf("{\"engine\": \"%s\", \"transport\": \"%s\", \"bs\": %u, \"qd\": %u, "
	       "\"spin\": %s, \"runtime_s\": %.6f, \"all_ios\": %llu, \"ios\": %llu, "
	       "\"iops\": %.1f, \"bw_bytes\": %.0f, \"cpu\": {\"user_s\": %.6f, \"sys_s\": %.6f}, "
	       "\"ios_per_cpu_s\": %.1f, \"sends\": %llu, \"receives\": %llu, "
	       "\"lat_ns\": {\"mean\": %.0f, \"50.000000\": %llu, \"99.000000\": %llu, "
	       "\"99.900000\": %llu}}\n",
	       o->uring ? "io_uring" : "epoll", mptcp ? "mptcp" : "tcp", o->bs, o->qd,
	       o->spin ? "true" : "false", secs,
	       (unsigned long long)(c->ramp_ios + c->ios), (unsigned long long)c->ios,
	       (double)c->ios / secs, (double)c->ios * o->bs / secs, c->user_s, c->sys_s,
	       cpu > 0 ? (double)c->ios / cpu : 0.0, (unsigned long long)c->sends,
	       (unsigned long long)c->receives,
	       c->hist.count ? (double)c->hist.sum / (double)c->hist.count : 0.0,
	       (unsigned long long)hist_percentile(&c->hist, 50),
	       (unsigned long long)hist_percentile(&c->hist, 99),
	       (unsigned long long)hist_percentile(&c->hist, 99.9));
}

int client_run(const struct ceiling_opts *o)
{
	static struct client c;		/* zeroed, and too large for the stack */
	double user, sys;
	bool mptcp;

	c.o = o;
	client_init(&c);
	c.fd = o->nqn ? nvme_connect(o, connect_to) : connect_to(o);
	mptcp = is_mptcp(&c);
	if (o->mptcp && !mptcp)
		die("the connection to %s port %u fell back to TCP: is the server listening "
		    "with --mptcp=on?", o->addr, o->port);
	c.ramp_ns = now_ns() + (uint64_t)(o->ramp * 1e9);
	if (o->uring)
		client_uring(&c);
	else
		client_epoll(&c);
	read_cpu(&user, &sys);
	c.user_s = user - c.user_s;
	c.sys_s = sys - c.sys_s;
	report(&c, mptcp);
	close(c.fd);
	return 0;
}
