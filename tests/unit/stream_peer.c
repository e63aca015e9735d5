/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include "pdu/crc32c.h"
#include "stream_peer.h"
#include "unit.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

enum { HELLO, CONFIRM, OPEN };

static void add(struct peer_buf *b, const void *p, size_t len)
{
	if (b->pos == b->len)
		b->pos = b->len = 0;
	if (b->len + len > b->cap) {
		b->cap = (b->len + len) * 2 + 4096;
		b->p = realloc(b->p, b->cap);
		assert_non_null(b->p);
	}
	if (len)
		memcpy(b->p + b->len, p, len);
	b->len += len;
}

static size_t left(const struct peer_buf *b)
{
	return b->len - b->pos;
}

static size_t some(size_t max)
{
	return 1 + random64() % max;
}

struct peer *peer_new(bool is_mptcp, struct sockaddr_storage *sa, socklen_t *len)
{
	struct peer *p = calloc(1, sizeof(*p));
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	assert_non_null(p);
	p->fd = -1;
	p->chunk = 65536;
	p->maxh2cdata = 32768;
	p->secret = 42;
	p->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			     is_mptcp ? IPPROTO_MPTCP : IPPROTO_TCP);
	assert_true(p->listener >= 0);
	assert_int_equal(bind(p->listener, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(p->listener, 1), 0);
	*len = sizeof(*sa);
	assert_int_equal(getsockname(p->listener, (struct sockaddr *)sa, len), 0);
	return p;
}

static void hang_up(struct peer *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

void peer_free(struct peer *p)
{
	hang_up(p);
	close(p->listener);
	free(p->in.p);
	free(p->plain.p);
	free(p->answer.p);
	free(p->out.p);
	free(p);
}

/* ---- the controller ---- */

static void answer(struct peer *p, const uint8_t *head, size_t len, const uint8_t *data,
		   size_t data_len)
{
	uint8_t crc[NOFI_DIGEST_LEN];

	add(&p->answer, head, len);
	if (!data_len)
		return;
	add(&p->answer, data, data_len);
	if (p->pp.ddgst) {
		nofi_put32(crc, nofi_crc32c(data, data_len));
		add(&p->answer, crc, sizeof(crc));
	}
}

static void respond(struct peer *p, uint16_t cid)
{
	uint8_t out[NOFI_PDU_ENC_MAX], cqe[NOFI_CQE_LEN] = { 0 };

	nofi_put16(cqe + 12, cid);
	answer(p, out, nofi_enc_capsule_resp(out, &p->pp, cqe), NULL, 0);
}

static void on_icreq(struct peer *p, const uint8_t *pdu)
{
	uint8_t out[NOFI_PDU_ENC_MAX];

	p->pp = (struct nofi_pdu_params){ .is_ready = true, .hdgst = pdu[11] & 1,
					  .ddgst = pdu[11] & 2, .maxh2cdata = p->maxh2cdata };
	answer(p, out, nofi_enc_icresp(out, 0, p->pp.hdgst, p->pp.ddgst, p->maxh2cdata), NULL, 0);
}

/* Reads come in several data PDUs, writes are asked for in one go. */
static void on_capsule(struct peer *p, const uint8_t *pdu, const uint8_t *data, uint32_t data_len)
{
	const uint8_t *sqe = pdu + NOFI_CH_LEN;
	uint32_t length = nofi_get32(sqe + 32), at = nofi_get32(sqe + 40) * 512, done = 0;
	uint8_t out[NOFI_PDU_ENC_MAX];
	uint16_t cid = nofi_get16(sqe + 2);

	assert_true(at <= PEER_MEM && length <= PEER_MEM - at);
	if (sqe[0] == 2) {
		while (done < length) {
			uint32_t n = (uint32_t)some(length > 65536 ? 200000 : 9000);

			if (n > length - done)
				n = length - done;
			answer(p, out, nofi_enc_c2hdata(out, &p->pp, cid, done, n, done + n ==
							length ? NOFI_PDU_F_LAST : 0),
			       p->mem + at + done, n);
			done += n;
		}
		respond(p, cid);
	} else if (data_len) {
		assert_int_equal(data_len, length);
		memcpy(p->mem + at, data, length);
		respond(p, cid);
	} else {
		uint16_t ttag = cid & 255;

		p->write[ttag].cid = cid;
		p->write[ttag].at = at;
		p->write[ttag].length = length;
		p->write[ttag].done = 0;
		answer(p, out, nofi_enc_r2t(out, &p->pp, cid, ttag, 0, length), NULL, 0);
	}
}

static void on_h2cdata(struct peer *p, const uint8_t *pdu, const uint8_t *data, uint32_t data_len)
{
	uint16_t ttag = nofi_get16(pdu + 10) & 255;

	if (nofi_get16(pdu + 8) != p->write[ttag].cid ||
	    nofi_get32(pdu + 12) != p->write[ttag].done || data_len != nofi_get32(pdu + 16) ||
	    data_len > p->write[ttag].length - p->write[ttag].done || data_len > p->maxh2cdata) {
		p->bad++;
		return;
	}
	memcpy(p->mem + p->write[ttag].at + p->write[ttag].done, data, data_len);
	p->write[ttag].done += data_len;
	if (p->write[ttag].done == p->write[ttag].length)
		respond(p, p->write[ttag].cid);
}

/* A whole PDU of the host; false: it is not whole yet. */
static bool take_pdu(struct peer *p)
{
	const uint8_t *pdu = p->plain.p + p->plain.pos, *data;
	uint32_t plen, data_len = 0;

	if (left(&p->plain) < NOFI_CH_LEN)
		return false;
	plen = nofi_get32(pdu + 4);
	assert_true(plen >= NOFI_CH_LEN && plen < 1 << 20);
	if (left(&p->plain) < plen)
		return false;
	p->plain.pos += plen;
	data = pdu + pdu[3];
	if (pdu[3])
		data_len = plen - pdu[3] - (pdu[1] & NOFI_PDU_F_DDGST ? NOFI_DIGEST_LEN : 0);
	if ((pdu[1] & NOFI_PDU_F_HDGST) &&
	    nofi_get32(pdu + pdu[2]) != nofi_crc32c(pdu, pdu[2]))
		p->bad++;
	if ((pdu[1] & NOFI_PDU_F_DDGST) &&
	    nofi_get32(data + data_len) != nofi_crc32c(data, data_len))
		p->bad++;
	if (pdu[0] == NOFI_PDU_ICREQ)
		on_icreq(p, pdu);
	else if (pdu[0] == NOFI_PDU_CAPSULE_CMD)
		on_capsule(p, pdu, data, data_len);
	else if (pdu[0] == NOFI_PDU_H2C_DATA)
		on_h2cdata(p, pdu, data, data_len);
	else if (pdu[0] == NOFI_PDU_H2C_TERM)
		p->got_term = true;
	else
		p->bad++;
	return true;
}

/* ---- the stream ---- */

static void put(struct peer *p, enum scramble_type type, const void *payload, size_t len)
{
	uint8_t out[SCRAMBLE_RECORD_MAX];

	add(&p->out, out, scramble_seal(&p->tx, type, payload, len, out));
}

/* The last record that is sent before the fault, or in its place. */
static void do_fault(struct peer *p, const uint8_t *payload, size_t len)
{
	uint8_t out[SCRAMBLE_RECORD_MAX];
	static const uint8_t unknown[NOFI_CH_LEN] = { 0x55, 0, 8, 0, 8 };
	size_t n;

	p->is_stuck = true;
	switch (p->fault) {
	case PEER_ALTERS:
		n = scramble_seal(&p->tx, SCRAMBLE_DATA, payload, len, out);
		out[SCRAMBLE_HEAD + random64() % len] ^= 1 << random64() % 8;
		add(&p->out, out, n);
		break;
	case PEER_CUTS_RECORD:
		n = scramble_seal(&p->tx, SCRAMBLE_DATA, payload, len, out);
		add(&p->out, out, some(n - 1));
		p->closes = true;
		break;
	case PEER_CUTS:
		p->closes = true;
		break;
	case PEER_ENDS:
		put(p, SCRAMBLE_END, "", 0);
		p->closes = true;
		break;
	case PEER_BREAKS_PROTOCOL:
		put(p, SCRAMBLE_DATA, unknown, sizeof(unknown));
		break;
	default:
		put(p, SCRAMBLE_CONFIRM, "peer", 4);
		break;
	}
}

/* Answers become records of any size. */
static bool seal_answers(struct peer *p)
{
	bool any = left(&p->answer);

	if (p->is_plain || (p->is_handover && p->phase == OPEN)) {
		add(&p->out, p->answer.p + p->answer.pos, left(&p->answer));
		p->answer.pos = p->answer.len;
		return any;
	}
	while (left(&p->answer) && !p->is_stuck) {
		size_t n = random64() % 4 ? SCRAMBLE_MAX : some(SCRAMBLE_MAX);

		if (n > left(&p->answer))
			n = left(&p->answer);
		/* A PDU that is wrong has to begin where one ends. */
		if (p->fault >= PEER_ALTERS && p->records_out >= p->fault_at &&
		    (p->fault != PEER_BREAKS_PROTOCOL || n == left(&p->answer))) {
			if (p->fault == PEER_BREAKS_PROTOCOL)
				put(p, SCRAMBLE_DATA, p->answer.p + p->answer.pos, n);
			do_fault(p, p->answer.p + p->answer.pos, n);
			p->answer.pos = p->answer.len;
			break;
		}
		put(p, SCRAMBLE_DATA, p->answer.p + p->answer.pos, n);
		p->answer.pos += n;
		p->records_out++;
		if (p->rekey_every && p->records_out % p->rekey_every == 0) {
			put(p, SCRAMBLE_NOISE, "", 0);
			put(p, SCRAMBLE_REKEY, p->records_out / p->rekey_every % 2 ? "\1" : "", 1);
		}
	}
	return any;
}

static void on_hello(struct peer *p)
{
	static const uint8_t nonce[SCRAMBLE_NONCE] = "nonce 2";
	uint8_t icresp[NOFI_PDU_ENC_MAX];
	struct scramble_dir rx, tx;
	size_t n;

	switch (p->fault) {
	case PEER_SILENT:
		return;
	case PEER_CHATTY:
		put(p, SCRAMBLE_NOISE, "hm", 2);
		return;
	case PEER_REFUSES:
		put(p, SCRAMBLE_REFUSE, "no such identity", 16);
		return;
	case PEER_ANSWERS_PLAIN:
		n = nofi_enc_icresp(icresp, 0, false, false, 4096);
		add(&p->out, icresp, n);
		return;
	default:
		break;
	}
	scramble_keys(p->fault == PEER_OTHER_KEY ? p->secret + 1 : p->secret, p->record.payload,
		      nonce, &rx, &tx);
	put(p, SCRAMBLE_HELLO, nonce, SCRAMBLE_NONCE);
	p->rx = rx;
	p->tx = tx;
	p->phase = CONFIRM;
	if (p->fault == PEER_LEAVES) {
		p->closes = true;
		p->is_stuck = true;
	}
	/* Another key: it would find the host's wrong, but says its own first. */
	if (p->fault == PEER_OTHER_KEY)
		put(p, SCRAMBLE_CONFIRM, "peer", 4);
}

static void on_record(struct peer *p)
{
	struct scramble_record *r = &p->record;

	if (p->phase == HELLO && r->type == SCRAMBLE_HELLO && r->len == SCRAMBLE_NONCE) {
		on_hello(p);
	} else if (p->phase == CONFIRM && r->type == SCRAMBLE_CONFIRM) {
		p->phase = OPEN;
		if (!p->is_stuck)
			put(p, SCRAMBLE_CONFIRM, "peer", 4);
	} else if (p->phase == OPEN && r->type == SCRAMBLE_DATA) {
		add(&p->plain, r->payload, r->len);
	} else if (p->phase == OPEN && r->type == SCRAMBLE_REKEY) {
		p->rekeys_in++;
	} else if (r->type == SCRAMBLE_END) {
		p->got_end = true;
	} else {
		p->bad++;
	}
}

static bool open_records(struct peer *p)
{
	bool any = false;

	while (left(&p->in)) {
		int r;

		if (p->is_plain || (p->is_handover && p->phase == OPEN)) {
			add(&p->plain, p->in.p + p->in.pos, left(&p->in));
			p->in.pos = p->in.len;
			return true;
		}
		r = scramble_open(&p->rx, p->in.p + p->in.pos, left(&p->in), &p->record);
		if (!r)
			break;
		any = true;
		if (r < 0) {
			p->in.pos = p->in.len;
			/* With a key of its own it can open nothing. */
			if (p->fault != PEER_OTHER_KEY)
				p->bad++;
			break;
		}
		p->in.pos += (size_t)r;
		on_record(p);
	}
	return any;
}

/* ---- the socket ---- */

static bool receive(struct peer *p)
{
	uint8_t buf[65536];
	ssize_t n;

	n = recv(p->fd, buf, some(p->chunk), MSG_DONTWAIT);
	if (n > 0) {
		add(&p->in, buf, (size_t)n);
		return true;
	}
	if (n < 0 && errno == EAGAIN)
		return false;
	hang_up(p);
	return true;
}

static bool transmit(struct peer *p)
{
	size_t n = some(p->chunk);
	ssize_t r;

	if (p->fd < 0 || (!left(&p->out) && !p->closes))
		return false;
	if (left(&p->out)) {
		r = send(p->fd, p->out.p + p->out.pos, n < left(&p->out) ? n : left(&p->out),
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r < 0 && errno == EAGAIN)
			return false;
		if (r < 0) {
			hang_up(p);
			return true;
		}
		p->out.pos += (size_t)r;
	}
	if (!left(&p->out) && p->closes) {
		shutdown(p->fd, SHUT_WR);
		p->closes = false;
	}
	return true;
}

bool peer_pump(struct peer *p)
{
	bool any = false;

	if (p->fd < 0 && p->listener >= 0) {
		p->fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (p->fd < 0)
			return false;
	}
	any = receive(p);
	any |= open_records(p);
	while (take_pdu(p))
		any = true;
	if (p->fault == PEER_CHATTY && p->phase == HELLO && p->tx.seq && !left(&p->out))
		put(p, SCRAMBLE_NOISE, "hm", 2);
	any |= seal_answers(p);
	return transmit(p) || any;
}

bool peer_turn(struct peer *p, struct nof_loop *loop)
{
	int done = nof_loop_process(loop);

	assert_true(done >= 0);
	return peer_pump(p) || done;
}

bool peer_wait(struct peer *p, struct nof_loop *loop, int timeout_ms)
{
	struct pollfd fds[] = {
		{ .fd = nof_loop_fd(loop), .events = POLLIN },
		{ .fd = p->fd < 0 ? p->listener : p->fd, .events = POLLIN },
	};

	if (p->fd >= 0 && p->out.pos < p->out.len)
		fds[1].events |= POLLOUT;
	return poll(fds, 2, timeout_ms) != 0;
}
