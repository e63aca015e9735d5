/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One connection: states, the incremental receiver and its end. All
 * connections share one staging buffer, because each turn consumes what it
 * received completely: what stays behind is at most one PDU header (.head).
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fault.h"
#include "target.h"
#include "pdu/crc32c.h"

enum {
	STAGING = 512 << 10,
	DIRECT_MIN = 16 << 10,		/* payload left that is worth receiving in place */
	PUSH_AFTER = 8,			/* short answers, and once per turn they leave early */
	PUSH_MAX = 8 << 10,		/* bytes of an answer, on average, up to which it helps */
	HANDSHAKE_MS = 20000,		/* ICReq and Connect must have come */
	TERM_MS = 10000,		/* the host closes after C2HTermReq, or we do */
};

struct conn *conns;
static struct conn *dead;
static uint64_t next_id;
static uint8_t *staging;

int conn_rx_init(void)
{
	staging = malloc(STAGING);
	return staging ? 0 : -ENOMEM;
}

static void conn_event(struct io *io, uint32_t events);

static void on_timeout(struct timer *t)
{
	struct conn *c = container_of(t, struct conn, timer);

	if (c->state == CONN_READY && c->ctrl)
		return;
	if (c->is_paused) {
		timer_set(t, HANDSHAKE_MS * MS, on_timeout);
		return;
	}
	verbose("conn %llu: closed, the host did not go on in time", (unsigned long long)c->id);
	conn_close(c, true);
}

void conn_accept(int fd, struct listener *l, const char *peer, const char *local,
		 const char *port, bool is_ipv6, bool is_mptcp)
{
	struct conn *c;
	int one = 1;

	if (stats.conns >= opt.max_conns) {
		stats.rejected++;
		close(fd);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->io.fd = fd;
	c->io.fn = conn_event;
	c->port = l;
	c->id = ++next_id;
	c->state = CONN_ICREQ;
	c->is_mptcp = is_mptcp;
	c->is_ipv6 = is_ipv6;
	snprintf(c->peer, sizeof(c->peer), "%s", peer);
	snprintf(c->local, sizeof(c->local), "%s", local);
	snprintf(c->local_port, sizeof(c->local_port), "%s", port);
	c->maxr2t = 1;
	c->entries = 32;		/* until Connect says more */
	c->wait_tail = &c->wait_head;
	if (loop_add(&c->io, EPOLLIN)) {
		close(fd);
		free(c);
		return;
	}
	c->next = conns;
	if (conns)
		conns->prev = c;
	conns = c;
	stats.accepted++;
	stats.conns++;
	timer_set(&c->timer, HANDSHAKE_MS * MS, on_timeout);
	verbose("conn %llu: accepted from %s", (unsigned long long)c->id, peer);
	if (faults_active)
		fault_in(c, FAULT_ACCEPT, NULL);
}

/* Safe from anywhere, any number of times; the memory stays until the end of the turn. */
void conn_close(struct conn *c, bool is_reset)
{
	if (c->state == CONN_DEAD)
		return;
	c->state = CONN_DEAD;
	if (is_reset) {
		struct linger l = { 1, 0 };

		setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	}
	loop_del(&c->io);
	timer_cancel(&c->timer);
	timer_cancel(&c->fault.hold);
	if (c->prev)
		c->prev->next = c->next;
	else
		conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->prev = NULL;
	c->next = dead;
	dead = c;
	stats.conns--;
	stats.closed++;
	verbose("conn %llu: closed", (unsigned long long)c->id);
	cmd_cancel_all(c);
	if (c->ctrl)
		ctrl_conn_gone(c);
}

void conns_reap(void)
{
	while (dead) {
		struct conn *c = dead;

		dead = c->next;
		tx_free(c);
		cmd_free_all(c);
		free(c->fault.swapped);
		free(c);
	}
	ctrls_reap();
}

void conns_close_all(void)
{
	while (conns)
		conn_close(conns, false);
	conns_reap();
	tx_fini();
	free(staging);
	staging = NULL;
}

/* Flushes from here, so that the caller need not; the state after may be CONN_DEAD. */
void conn_close_after_flush(struct conn *c)
{
	if (c->state == CONN_DEAD)
		return;
	c->state = CONN_CLOSING;
	timer_set(&c->timer, TERM_MS * MS, on_timeout);
	if (!c->in_rx)
		tx_flush(c);
}

void conn_term(struct conn *c, uint16_t fes, uint32_t fei, const void *culprit, uint32_t len,
	       const char *what)
{
	if (c->state == CONN_DEAD || c->state == CONN_TERM)
		return;
	stats.c2h_term++;
	verbose("conn %llu: sending C2HTermReq fes=%u fei=%u: %s", (unsigned long long)c->id, fes,
		fei, what);
	control_event("sent C2HTermReq conn=%llu qid=%u fes=%u fei=%u: %s",
		      (unsigned long long)c->id, c->qid, fes, fei, what);
	c->rx_cmd = NULL;
	tx_term(c, fes, fei, culprit, len);
	if (c->state == CONN_DEAD)
		return;
	c->state = CONN_TERM;
	timer_set(&c->timer, TERM_MS * MS, on_timeout);
	if (!c->in_rx)
		tx_flush(c);
}

void conn_update_events(struct conn *c)
{
	uint32_t ev = 0;

	if (c->state == CONN_DEAD)
		return;
	if (!c->fault.is_stalled && !c->is_paused)
		ev |= EPOLLIN;
	if (c->tx.is_blocked && !c->is_paused)
		ev |= EPOLLOUT;
	loop_mod(&c->io, ev);
}

/* A host that kept quiet for too long meanwhile is given up now, and hears it now. */
void conn_set_paused(struct conn *c, bool is_paused)
{
	c->is_paused = is_paused;
	conn_update_events(c);
	if (!is_paused && !conn_is_expired(c))
		tx_flush(c);
}

static void on_icreq(struct conn *c, const uint8_t *h)
{
	uint32_t host_r2t = nofi_get32(h + 12);

	c->hpda = h[10];
	/* In force from the next PDU on; ICResp itself never has digests (T-4). */
	c->hdgst = (h[11] & 1) && opt.hdgst;
	c->ddgst = (h[11] & 2) && opt.ddgst;
	c->cpda = opt.cpda;
	/* MAXR2T is 0's based (T-9). */
	c->maxr2t = host_r2t >= opt.r2t - 1 ? opt.r2t : host_r2t + 1;
	c->state = CONN_READY;
	if (faults_active && fault_in(c, FAULT_ICREQ, NULL).is_dropped)
		return;
	tx_icresp(c);
}

static void on_h2c_term(struct conn *c, const uint8_t *h)
{
	uint16_t fes = nofi_get16(h + 8);
	uint32_t fei = nofi_get32(h + 10);

	stats.h2c_term++;
	verbose("conn %llu: host sent H2CTermReq fes=%u fei=%u", (unsigned long long)c->id, fes,
		fei);
	control_event("host sent H2CTermReq conn=%llu qid=%u fes=%u fei=%u culprit=0x%02x",
		      (unsigned long long)c->id, c->qid, fes, fei,
		      nofi_get32(h + 4) > NOFI_TERM_HLEN ? h[NOFI_TERM_HLEN] : 0xff);
	conn_close(c, false);
}

/* H2CData against the R2T it answers (T-13 seen from the controller). */
static bool on_h2c_data(struct conn *c, const uint8_t *h, uint32_t data)
{
	uint16_t ttag = nofi_get16(h + 10);
	uint32_t slot = ttag / MAX_R2T, off = nofi_get32(h + 12), len = nofi_get32(h + 16);
	struct cmd *cmd = slot < c->nslots ? c->slots[slot] : NULL;
	struct r2t *r = cmd ? &cmd->r2t[ttag % MAX_R2T] : NULL;
	bool is_end;

	if (cmd && !cmd_find(c, nofi_get16(h + 8))) {
		conn_term(c, NOFI_FES_INVALID_HDR, 8, h, 24, "CCCID is not outstanding");
		return false;
	}
	if (!r || !r->is_active) {
		conn_term(c, NOFI_FES_INVALID_HDR, 10, h, 24, "TTAG without an active R2T");
		return false;
	}
	if (cmd->cid != nofi_get16(h + 8)) {
		conn_term(c, NOFI_FES_INVALID_HDR, 8, h, 24, "CCCID does not fit the TTAG");
		return false;
	}
	if (len != data) {
		conn_term(c, NOFI_FES_INVALID_HDR, 16, h, 24, "DATAL differs from the payload");
		return false;
	}
	if ((uint64_t)off + len > (uint64_t)r->offset + r->length) {
		conn_term(c, NOFI_FES_RANGE, 0, h, 24, "data beyond the R2T");
		return false;
	}
	if (off != r->offset + r->received) {
		conn_term(c, NOFI_FES_SEQUENCE, 0, h, 24, "DATAO is not where the last PDU ended");
		return false;
	}
	if (len > opt.maxh2cdata) {
		conn_term(c, NOFI_FES_LIMIT, 0, h, 24, "more data than MAXH2CDATA");
		return false;
	}
	is_end = r->received + len == r->length;
	if (is_end != !!(h[1] & NOFI_PDU_F_LAST)) {
		conn_term(c, NOFI_FES_SEQUENCE, 0, h, 24, "LAST flag at the wrong PDU");
		return false;
	}
	c->rx_cmd = cmd;
	c->rx_r2t = r;
	c->rx_off = off;
	if (faults_active && fault_in(c, FAULT_H2CDATA, cmd).is_dropped)
		c->rx_cmd = NULL;
	return c->state == CONN_READY;
}

static void pdu_end(struct conn *c)
{
	bool is_bad = false;
	struct cmd *cmd = c->rx_cmd;

	if (c->rx_data && c->ddgst)
		is_bad = nofi_crc32c_final(c->rx_crc) != nofi_get32(c->rx_dgst);
	if (is_bad)
		stats.digest_errors++;
	c->rx = RX_HEAD;
	c->head_have = 0;
	c->rx_cmd = NULL;
	if (!cmd)
		return;
	if (c->rx_type == NOFI_PDU_CAPSULE_CMD)
		cmd_incapsule_done(cmd, is_bad);
	else
		cmd_h2c_done(cmd, c->rx_r2t, is_bad);
}

static void enter_data(struct conn *c)
{
	c->rx = RX_DATA;
	c->rx_left = c->rx_data;
	c->rx_crc = NOFI_CRC32C_INIT;
}

/* A complete header at h. */
static void on_header(struct conn *c, const uint8_t *h)
{
	uint32_t plen = nofi_get32(h + 4), head;

	c->head_have = 0;
	if (!check_pdu(c, h))
		return;
	switch (h[0]) {
	case NOFI_PDU_ICREQ:
		on_icreq(c, h);
		return;
	case NOFI_PDU_H2C_TERM:
		on_h2c_term(c, h);
		return;
	}
	head = h[2] + (c->hdgst ? NOFI_DIGEST_LEN : 0);
	c->rx_type = h[0];
	c->rx_data = 0;
	if (plen > head)
		c->rx_data = plen - h[3] - (c->ddgst ? NOFI_DIGEST_LEN : 0);
	if (h[0] == NOFI_PDU_CAPSULE_CMD) {
		c->rx_off = 0;
		c->rx_cmd = cmd_start(c, h + NOFI_CH_LEN, c->rx_data);
	} else if (!on_h2c_data(c, h, c->rx_data)) {
		return;
	}
	if (c->state == CONN_DEAD || c->state == CONN_TERM)
		return;
	if (!c->rx_data) {
		c->rx_cmd = NULL;
		return;
	}
	c->rx_left = h[3] - head;
	c->rx = RX_PAD;
	if (!c->rx_left)
		enter_data(c);
}

/*
 * The first answers of a batch leave while the rest is still worked on: the host wakes up and works
 * meanwhile, where both would take turns in waiting if everything left at the end. Once per turn:
 * more pushes cut a deep batch into many sends. Large answers need no such help, the kernel cuts
 * them itself.
 */
static void push_early(struct conn *c)
{
	if (++c->batch == PUSH_AFTER && c->tx.queued - c->tx.sent <= PUSH_AFTER * PUSH_MAX)
		tx_push(c);
}

static const uint8_t bare_cmd[NOFI_CH_LEN] = {
	NOFI_PDU_CAPSULE_CMD, 0, NOFI_CAPSULE_CMD_HLEN, 0, NOFI_CAPSULE_CMD_HLEN
};

static uint32_t feed_head(struct conn *c, const uint8_t *p, uint32_t n)
{
	uint32_t need = NOFI_CH_LEN, take = 0;

	/* A command without data and digest: nothing of its common header is left to be wrong. */
	if (!c->head_have && n >= NOFI_CAPSULE_CMD_HLEN && !memcmp(p, bare_cmd, NOFI_CH_LEN) &&
	    fast_read(c, p + NOFI_CH_LEN)) {
		if (n > NOFI_CAPSULE_CMD_HLEN)
			push_early(c);
		return NOFI_CAPSULE_CMD_HLEN;
	}
	/* The usual case: all of it is here, parsed where it lies. */
	if (!c->head_have && n >= NOFI_CH_LEN) {
		if (!check_ch(c, p, &need))
			return n;
		if (n >= need) {
			on_header(c, p);
			return need;
		}
		need = NOFI_CH_LEN;
	}
	if (c->head_have < NOFI_CH_LEN) {
		take = NOFI_CH_LEN - c->head_have < n ? NOFI_CH_LEN - c->head_have : n;
		memcpy(c->head + c->head_have, p, take);
		c->head_have += take;
		if (c->head_have < NOFI_CH_LEN)
			return take;
	}
	if (!check_ch(c, c->head, &need))
		return n;
	if (n > take) {
		uint32_t more = need - c->head_have < n - take ? need - c->head_have : n - take;

		memcpy(c->head + c->head_have, p + take, more);
		c->head_have += more;
		take += more;
	}
	if (c->head_have >= need)
		on_header(c, c->head);
	return take;
}

static void data_arrived(struct conn *c, const uint8_t *p, uint32_t n, bool is_placed)
{
	if (c->ddgst)
		c->rx_crc = nofi_crc32c_update(c->rx_crc, p, n);
	if (c->rx_cmd && !is_placed)
		cmd_sink(c->rx_cmd, c->rx_off, p, n);
	c->rx_off += n;
	c->rx_left -= n;
	if (c->rx_left)
		return;
	if (c->ddgst) {
		c->rx = RX_DDGST;
		c->rx_left = NOFI_DIGEST_LEN;
	} else {
		pdu_end(c);
	}
}

static void feed(struct conn *c, const uint8_t *p, uint32_t n)
{
	while (n && (c->state == CONN_ICREQ || c->state == CONN_READY)) {
		uint32_t take = c->rx_left < n ? c->rx_left : n;

		switch (c->rx) {
		case RX_HEAD:
			take = feed_head(c, p, n);
			break;
		case RX_PAD:
			c->rx_left -= take;
			if (!c->rx_left)
				enter_data(c);
			break;
		case RX_DATA:
			data_arrived(c, p, take, false);
			break;
		case RX_DDGST:
			memcpy(c->rx_dgst + NOFI_DIGEST_LEN - c->rx_left, p, take);
			c->rx_left -= take;
			if (!c->rx_left)
				pdu_end(c);
			break;
		}
		p += take;
		n -= take;
	}
}

static void receive(struct conn *c)
{
	struct iovec iov[2] = { [1] = { staging, STAGING } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	uint32_t direct = 0;
	ssize_t n;

	if (c->rx == RX_DATA && c->rx_left >= DIRECT_MIN && c->rx_cmd &&
	    c->state == CONN_READY) {
		iov[0].iov_base = cmd_sink_direct(c->rx_cmd, c->rx_off);
		if (iov[0].iov_base) {
			direct = c->rx_left;
			iov[0].iov_len = direct;
		}
	}
	/* The usual case has one buffer, and recv() has less to look at. */
	n = direct ? recvmsg(c->io.fd, &msg, MSG_DONTWAIT) :
		     recv(c->io.fd, staging, STAGING, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_close(c, false);
		return;
	}
	stats.rx_bytes += (uint64_t)n;
	if (c->state == CONN_TERM || c->state == CONN_CLOSING)
		return;
	c->in_rx = true;
	c->batch = 0;
	if (direct) {
		uint32_t got = (uint64_t)n < direct ? (uint32_t)n : direct;

		data_arrived(c, iov[0].iov_base, got, true);
		n -= got;
	}
	feed(c, staging, (uint32_t)n);
	c->in_rx = false;
}

static void conn_event(struct io *io, uint32_t events)
{
	struct conn *c = container_of(io, struct conn, io);

	if (events & EPOLLOUT)
		c->tx.is_blocked = false;
	if ((c->fault.is_stalled || c->is_paused) && (events & (EPOLLERR | EPOLLHUP))) {
		conn_close(c, false);
		return;
	}
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP) && !conn_is_expired(c))
		receive(c);
	if (c->state != CONN_DEAD)
		tx_flush(c);
}
