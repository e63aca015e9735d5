/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Output of a connection: headers and copied payload live in chunks, payload
 * that stays valid is referenced, and everything queued during one turn leaves
 * in as few sendmsg calls as iovecs allow.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "fault.h"
#include "target.h"
#include "pdu/crc32c.h"

enum {
	CHUNK = 64 << 10,
	ZEROES = 64 << 10,		/* small enough to stay in the cache */
	SEND_IOV = 1024,		/* UIO_MAXIOV */
	SPARE = 16,			/* chunks kept for the next ones to send */
};

static const uint8_t zeroes[ZEROES] __attribute__((aligned(PAGE)));

/*
 * Chunks of the usual size that nobody needs now. A connection that has sent everything keeps none:
 * with a thousand of them one after the other writes its headers into the same memory, which is
 * still in the cache.
 */
static struct chunk *spare;
static unsigned int nspare;

static struct chunk *chunk_get(size_t size)
{
	struct chunk *k = spare;

	if (size != CHUNK || !k)
		return malloc(sizeof(*k) + size);
	spare = k->next;
	nspare--;
	return k;
}

static void chunk_put(struct chunk *k)
{
	if (k->size != CHUNK || nspare == SPARE) {
		free(k);
		return;
	}
	k->next = spare;
	spare = k;
	nspare++;
}

void tx_fini(void)
{
	while (spare) {
		struct chunk *k = spare;

		spare = k->next;
		free(k);
	}
	nspare = 0;
}

static struct chunk *chunk_new(struct conn *c, size_t n)
{
	size_t size = n > CHUNK ? n : CHUNK;
	struct chunk *k = chunk_get(size);

	if (!k) {
		conn_close(c, true);
		return NULL;
	}
	k->next = NULL;
	k->end = c->tx.queued;
	k->size = (uint32_t)size;
	k->used = 0;
	if (c->tx.last)
		c->tx.last->next = k;
	else
		c->tx.first = k;
	c->tx.last = k;
	return k;
}

uint8_t *tx_room(struct conn *c, size_t n)
{
	struct chunk *k = c->tx.last;

	if (c->state == CONN_DEAD)
		return NULL;
	if (!k || k->size - k->used < n)
		k = chunk_new(c, n);
	return k ? k->mem + k->used : NULL;
}

static bool add_iov(struct conn *c, const void *p, size_t n)
{
	struct tx *t = &c->tx;

	if (t->n > t->head) {
		struct iovec *last = &t->iov[t->n - 1];

		if ((uint8_t *)last->iov_base + last->iov_len == p) {
			last->iov_len += n;
			t->queued += n;
			return true;
		}
	}
	if (t->n == t->cap) {
		if (t->head >= t->cap / 2 && t->head) {
			memmove(t->iov, t->iov + t->head, (t->n - t->head) * sizeof(*t->iov));
			t->n -= t->head;
			t->head = 0;
		} else {
			unsigned int cap = t->cap ? t->cap * 2 : 64;
			struct iovec *v = realloc(t->iov, cap * sizeof(*v));

			if (!v) {
				conn_close(c, true);
				return false;
			}
			t->iov = v;
			t->cap = cap;
		}
	}
	t->iov[t->n].iov_base = (void *)(uintptr_t)p;
	t->iov[t->n++].iov_len = n;
	t->queued += n;
	return true;
}

void tx_commit(struct conn *c, size_t n)
{
	struct chunk *k = c->tx.last;

	if (!n || !add_iov(c, k->mem + k->used, n))
		return;
	k->used += (uint32_t)n;
	k->end = c->tx.queued;
	c->tx.copied += n;
}

void tx_bytes(struct conn *c, const void *data, size_t n)
{
	uint8_t *p = tx_room(c, n);

	if (!p || !n)
		return;
	memcpy(p, data, n);
	tx_commit(c, n);
}

static void add_zeroes(struct conn *c, uint32_t len)
{
	while (len) {
		uint32_t n = len < ZEROES ? len : ZEROES;

		if (!add_iov(c, zeroes, n))
			return;
		len -= n;
	}
}

bool tx_is_full(const struct conn *c)
{
	return c->tx.copied > TX_BACKLOG;
}

/* Returns output memory that the kernel has taken. */
static void release(struct tx *t)
{
	while (t->first && t->first != t->last && t->first->end <= t->sent) {
		struct chunk *k = t->first;

		t->first = k->next;
		t->copied -= k->used;
		chunk_put(k);
	}
	if (t->first && t->first == t->last && t->sent == t->queued) {
		chunk_put(t->first);
		t->first = t->last = NULL;
		t->copied = 0;
	}
	while (t->resp_n && t->resp_end[t->resp_head] <= t->sent) {
		t->resp_head = (t->resp_head + 1) & (t->resp_cap - 1);
		t->resp_n--;
	}
}

static void advance(struct tx *t, size_t n)
{
	t->sent += n;
	stats.tx_bytes += n;
	while (n) {
		struct iovec *v = &t->iov[t->head];

		if (n < v->iov_len) {
			v->iov_base = (uint8_t *)v->iov_base + n;
			v->iov_len -= n;
			return;
		}
		n -= v->iov_len;
		t->head++;
	}
	if (t->head == t->n)
		t->head = t->n = 0;
}

static void send_some(struct conn *c)
{
	struct tx *t = &c->tx;

	while (t->head < t->n && c->state != CONN_DEAD && !c->is_paused) {
		struct iovec one;
		struct msghdr msg = { .msg_iov = t->iov + t->head };
		uint64_t limit = UINT64_MAX;
		ssize_t n;

		msg.msg_iovlen = t->n - t->head < SEND_IOV ? t->n - t->head : SEND_IOV;
		if (faults_active) {
			limit = fault_send_limit(c);
			if (!limit)
				return;
		}
		if (limit != UINT64_MAX) {
			one = t->iov[t->head];
			if (one.iov_len > limit)
				one.iov_len = limit;
			msg.msg_iov = &one;
			msg.msg_iovlen = 1;
		}
		n = sendmsg(c->io.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		stats.sends++;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			t->is_blocked = true;
			return;
		}
		if (n < 0) {
			conn_close(c, false);
			return;
		}
		advance(t, (size_t)n);
		if (faults_active)
			fault_sent(c);
	}
}

void tx_push(struct conn *c)
{
	if (c->state != CONN_DEAD && !c->tx.is_blocked)
		send_some(c);
}

void tx_flush(struct conn *c)
{
	struct tx *t = &c->tx;

	if (c->state == CONN_DEAD)
		return;
	if (!t->is_blocked)
		send_some(c);
	if (c->state == CONN_DEAD)
		return;
	release(t);
	while (c->wait_head && !tx_is_full(c)) {
		/* Room again: the reads that waited for it. */
		struct cmd *cmd = c->wait_head;

		c->wait_head = cmd->wait_next;
		if (!c->wait_head)
			c->wait_tail = &c->wait_head;
		cmd->is_waiting = false;
		c->in_wait = true;
		if (cmd->status)	/* its namespace was formatted meanwhile */
			cmd_done(cmd, cmd->status);
		else
			cmd->exec(cmd);
		c->in_wait = false;
		if (c->state == CONN_DEAD)
			return;
		if (!t->is_blocked)
			send_some(c);
		if (c->state == CONN_DEAD)
			return;
		release(t);
	}
	if (c->state == CONN_CLOSING && t->head == t->n && !c->fault.is_held) {
		conn_close(c, false);
		return;
	}
	conn_update_events(c);
}

void tx_free(struct conn *c)
{
	struct tx *t = &c->tx;

	while (t->first) {
		struct chunk *k = t->first;

		t->first = k->next;
		chunk_put(k);
	}
	free(t->iov);
	free(t->resp_end);
	memset(t, 0, sizeof(*t));
}

uint32_t tx_unsent_responses(struct conn *c)
{
	return c->tx.resp_n;
}

/* Remembers where a response ends: until it is sent its command counts as outstanding. */
static void count_response(struct conn *c)
{
	struct tx *t = &c->tx;

	if (t->resp_n == t->resp_cap) {
		unsigned int cap = t->resp_cap ? t->resp_cap * 2 : 64;
		uint64_t *v = malloc(cap * sizeof(*v));

		if (!v) {
			conn_close(c, true);
			return;
		}
		for (unsigned int i = 0; i < t->resp_n; i++)
			v[i] = t->resp_end[(t->resp_head + i) & (t->resp_cap - 1)];
		free(t->resp_end);
		t->resp_end = v;
		t->resp_cap = cap;
		t->resp_head = 0;
	}
	t->resp_end[(t->resp_head + t->resp_n++) & (t->resp_cap - 1)] = t->queued;
}

static uint32_t zero_crc(uint32_t len)
{
	static uint32_t known_len, known_crc;
	uint32_t crc = NOFI_CRC32C_INIT, left = len;

	if (len == known_len)
		return known_crc;
	while (left) {
		uint32_t n = left < ZEROES ? left : ZEROES;

		crc = nofi_crc32c_update(crc, zeroes, n);
		left -= n;
	}
	known_len = len;
	known_crc = nofi_crc32c_final(crc);
	return known_crc;
}

uint32_t tx_finish_head(const struct conn *c, struct pdu_out *p)
{
	uint8_t type = p->head[0];
	bool is_ctl = type == NOFI_PDU_ICRESP || type == NOFI_PDU_C2H_TERM;
	uint32_t head = p->hlen, align = (c->hpda + 1u) * 4u, pdo = 0, plen;

	if (!is_ctl && c->hdgst) {
		p->head[1] |= NOFI_PDU_F_HDGST;
		head += NOFI_DIGEST_LEN;
	}
	plen = head + (is_ctl ? p->len : 0);
	if (!is_ctl && p->len) {
		pdo = (head + align - 1) / align * align;	/* T-2 */
		plen = pdo + p->len;
		if (c->ddgst) {
			p->head[1] |= NOFI_PDU_F_DDGST;
			plen += NOFI_DIGEST_LEN;
		}
	}
	p->head[2] = p->hlen;
	p->head[3] = (uint8_t)pdo;
	nofi_put32(p->head + 4, plen);
	return head;
}

void tx_pdu_plain(struct conn *c, struct pdu_out *p)
{
	uint32_t head = tx_finish_head(c, p), pdo = p->head[3];
	bool has_ddgst = p->head[1] & NOFI_PDU_F_DDGST;
	uint32_t start = pdo ? pdo : head, crc;
	uint8_t *out = tx_room(c, start);

	if (!out)
		return;
	memcpy(out, p->head, p->hlen);
	if (head > p->hlen)
		nofi_put32(out + p->hlen, nofi_crc32c(p->head, p->hlen));
	memset(out + head, 0, start - head);
	tx_commit(c, start);
	if (!p->len || c->state == CONN_DEAD)
		return;
	if (!p->data) {
		add_zeroes(c, p->len);
		if (has_ddgst && c->state != CONN_DEAD) {
			uint8_t le[4];

			nofi_put32(le, zero_crc(p->len));
			tx_bytes(c, le, sizeof(le));
		}
		return;
	}
	if (p->is_stable && !has_ddgst) {
		add_iov(c, p->data, p->len);
		return;
	}
	/* With a digest the bytes must not change after it was computed: always a copy. */
	out = tx_room(c, p->len + NOFI_DIGEST_LEN);
	if (!out)
		return;
	if (has_ddgst) {
		crc = nofi_crc32c_copy(NOFI_CRC32C_INIT, out, p->data, p->len);
		nofi_put32(out + p->len, nofi_crc32c_final(crc));
	} else {
		memcpy(out, p->data, p->len);
	}
	tx_commit(c, p->len + (has_ddgst ? NOFI_DIGEST_LEN : 0));
}

void tx_pdu(struct conn *c, struct pdu_out *p)
{
	if (c->state == CONN_DEAD || c->state == CONN_TERM)
		return;
	if (faults_active)
		fault_out(c, p);
	else
		tx_pdu_plain(c, p);
}

void tx_icresp(struct conn *c)
{
	struct pdu_out p = { .head = { NOFI_PDU_ICRESP }, .hlen = NOFI_IC_LEN };

	p.head[10] = opt.cpda;
	p.head[11] = (uint8_t)((c->hdgst ? 1 : 0) | (c->ddgst ? 2 : 0));
	nofi_put32(p.head + 12, opt.maxh2cdata);
	tx_pdu(c, &p);
}

void tx_c2hdata(struct conn *c, struct cmd *cmd, uint32_t off, const void *data, uint32_t len,
		uint8_t flags, bool is_stable)
{
	struct pdu_out p;

	p.hlen = NOFI_DATA_HLEN;
	memset(p.head, 0, NOFI_DATA_HLEN);
	p.head[0] = NOFI_PDU_C2H_DATA;
	p.head[1] = flags;
	nofi_put16(p.head + 8, cmd->cid);
	nofi_put32(p.head + 12, off);
	nofi_put32(p.head + 16, len);
	p.data = data;
	p.len = len;
	p.is_stable = is_stable;
	p.cmd = cmd;
	tx_pdu(c, &p);
	if ((flags & NOFI_PDU_F_SUCCESS) && c->state != CONN_DEAD)
		count_response(c);
}

void tx_r2t(struct conn *c, struct cmd *cmd, uint16_t ttag, uint32_t off, uint32_t len)
{
	struct pdu_out p = { .head = { NOFI_PDU_R2T }, .hlen = NOFI_R2T_HLEN, .cmd = cmd };

	nofi_put16(p.head + 8, cmd->cid);
	nofi_put16(p.head + 10, ttag);
	nofi_put32(p.head + 12, off);
	nofi_put32(p.head + 16, len);
	tx_pdu(c, &p);
}

void tx_resp(struct conn *c, struct cmd *cmd, uint16_t cid, uint16_t status, uint32_t dw0,
	     uint32_t dw1, bool is_counted)
{
	struct pdu_out p;

	p.hlen = NOFI_CAPSULE_RESP_HLEN;
	p.data = NULL;
	p.len = 0;
	p.is_stable = false;
	p.cmd = cmd;
	memset(p.head, 0, NOFI_CAPSULE_RESP_HLEN);
	p.head[0] = NOFI_PDU_CAPSULE_RESP;
	nofi_put32(p.head + 8, dw0);
	nofi_put32(p.head + 12, dw1);
	nofi_put16(p.head + 16, c->sqhd);
	nofi_put16(p.head + 18, c->qid);
	nofi_put16(p.head + 20, cid);
	nofi_put16(p.head + 22, (uint16_t)(status << 1));
	tx_pdu(c, &p);
	if (is_counted && c->state != CONN_DEAD)
		count_response(c);
}

void tx_term(struct conn *c, uint16_t fes, uint32_t fei, const void *culprit, uint32_t len)
{
	struct pdu_out p = { .head = { NOFI_PDU_C2H_TERM }, .hlen = NOFI_TERM_HLEN };

	nofi_put16(p.head + 8, fes);
	nofi_put32(p.head + 10, fei);
	p.data = culprit;
	p.len = len > 128 ? 128 : len;
	tx_pdu(c, &p);
}

void tx_read_answer(struct conn *c, uint16_t cid, const void *data, uint32_t len, bool is_success)
{
	uint8_t *h = tx_room(c, NOFI_DATA_HLEN + NOFI_CAPSULE_RESP_HLEN);

	if (!h)
		return;
	h[0] = NOFI_PDU_C2H_DATA;
	h[1] = NOFI_PDU_F_LAST | (is_success ? NOFI_PDU_F_SUCCESS : 0);
	h[2] = h[3] = NOFI_DATA_HLEN;
	nofi_put32(h + 4, NOFI_DATA_HLEN + len);
	nofi_put32(h + 8, cid);
	nofi_put32(h + 12, 0);
	nofi_put32(h + 16, len);
	nofi_put32(h + 20, 0);
	tx_commit(c, NOFI_DATA_HLEN);
	if (data)
		add_iov(c, data, len);
	else
		add_zeroes(c, len);
	if (c->state == CONN_DEAD)
		return;
	if (!is_success) {
		h += NOFI_DATA_HLEN;
		memset(h, 0, NOFI_CAPSULE_RESP_HLEN);
		h[0] = NOFI_PDU_CAPSULE_RESP;
		h[2] = h[4] = NOFI_CAPSULE_RESP_HLEN;
		nofi_put16(h + 16, c->sqhd);
		nofi_put16(h + 18, c->qid);
		nofi_put16(h + 20, cid);
		tx_commit(c, NOFI_CAPSULE_RESP_HLEN);
	}
	if (c->state != CONN_DEAD)
		count_response(c);
}
