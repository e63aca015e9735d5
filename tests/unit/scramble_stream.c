/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host's side of the test stream: what a TLS stream has to do, without the TLS. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/stream.h"
#include "scramble.h"

enum { OUT_MAX = 64 * 1024 };

enum phase { HELLO, CONFIRM, OPEN, HANDED_OVER };

struct scramble {
	struct nof_loop *loop;
	struct nofi_sock *s;
	const struct nofi_sock_ops *up;	/* the queue's */
	struct scramble_host *host;
	enum phase phase;
	bool is_removed;
	struct scramble_dir tx, rx;
	uint8_t nonce[SCRAMBLE_NONCE];
	bool owes_rekey;		/* the peer asked for it */

	uint8_t in[SCRAMBLE_RECORD_MAX];	/* a record that is not whole yet */
	size_t in_have;
	struct scramble_record record;
	struct iovec places[NOFI_PLACES_MAX];

	struct msghdr *msg;		/* the queue's send under way, NULL = none */
	size_t msg_left;		/* its bytes that are in no record yet */
	uint8_t plain[SCRAMBLE_MAX];
	uint8_t out[OUT_MAX];		/* records that the engine sends */
	size_t out_len;
	struct iovec out_iov;
	struct msghdr out_msg;
	bool is_busy;			/* they are under way */
	bool is_pumping;		/* pump() is on the stack */

	char why[160];
};

static struct scramble *state_of(struct nofi_sock *s)
{
	return s->stream;
}

/* ---- sending ---- */

static void put(struct scramble *st, enum scramble_type type, const void *payload, size_t len)
{
	st->out_len += scramble_seal(&st->tx, type, payload, len, st->out + st->out_len);
}

static bool has_room(const struct scramble *st)
{
	size_t limit = st->host->out_limit ? st->host->out_limit : OUT_MAX;

	return st->out_len < limit && st->out_len + SCRAMBLE_RECORD_MAX <= OUT_MAX;
}

static void put_data(struct scramble *st)
{
	size_t n = 0;

	while (st->msg_left && n < SCRAMBLE_MAX) {
		size_t room = SCRAMBLE_MAX - n, piece = st->msg->msg_iov->iov_len;

		if (piece > room)
			piece = room;
		memcpy(st->plain + n, st->msg->msg_iov->iov_base, piece);
		nofi_msg_advance(st->msg, piece);
		st->msg_left -= piece;
		n += piece;
	}
	put(st, SCRAMBLE_DATA, st->plain, n);
}

/* Records of what waits, until nothing does. An engine that sends at once ends it in here. */
static void pump(struct scramble *st)
{
	if (st->is_pumping)
		return;
	st->is_pumping = true;
	while (!st->is_busy && !st->is_removed) {
		if (st->owes_rekey && has_room(st)) {
			st->owes_rekey = false;
			st->host->rekeys_out++;
			put(st, SCRAMBLE_REKEY, "", 1);
		}
		while (st->msg && st->msg_left && has_room(st))
			put_data(st);
		if (!st->out_len)
			break;
		st->out_iov = (struct iovec){ st->out, st->out_len };
		st->out_msg = (struct msghdr){ .msg_iov = &st->out_iov, .msg_iovlen = 1 };
		st->is_busy = true;
		st->loop->eng->send(st->loop, st->s, &st->out_msg, st->out_len);
	}
	st->is_pumping = false;
}

static void on_sent(struct nofi_sock *s, int res)
{
	struct scramble *st = state_of(s);

	if (res < 0) {
		if (st->msg)
			st->up->sent(s, res);
		else
			st->up->ended(s, res);
		return;
	}
	st->is_busy = false;
	st->out_len = 0;
	if (st->msg && !st->msg_left) {
		st->msg = NULL;
		st->up->sent(s, 0);
	}
	pump(st);
}

static void scramble_send(struct nof_loop *loop, struct nofi_sock *s, struct msghdr *msg,
			  size_t len)
{
	struct scramble *st = state_of(s);

	if (st->phase == HANDED_OVER) {
		loop->eng->send(loop, s, msg, len);
		return;
	}
	st->msg = msg;
	st->msg_left = len;
	pump(st);
}

/* ---- receiving ---- */

static void end(struct scramble *st, int code, const char *why)
{
	snprintf(st->why, sizeof(st->why), "%s", why);
	st->s->why = st->why;
	st->up->ended(st->s, code);
}

/* Plain bytes: straight to where the queue wants them, the rest as staging. */
static void deliver(struct scramble *st, const uint8_t *p, size_t len, bool is_dry)
{
	struct nofi_sock *s = st->s;
	unsigned n = st->up->place(s, st->places, NOFI_PLACES_MAX);
	size_t direct = 0;

	for (unsigned i = 0; i < n && direct < len; i++) {
		size_t piece = st->places[i].iov_len;

		if (piece > len - direct)
			piece = len - direct;
		memcpy(st->places[i].iov_base, p + direct, piece);
		direct += piece;
	}
	s->recv_iov = st->places;
	st->host->direct += direct;
	st->host->staged += len - direct;
	st->up->received(s, direct, p + direct, len - direct, is_dry);
}

static void on_hello(struct scramble *st)
{
	if (st->record.len != SCRAMBLE_NONCE) {
		end(st, -EBADMSG, "scramble: a hello without a nonce");
		return;
	}
	scramble_keys(st->host->secret, st->nonce, st->record.payload, &st->tx, &st->rx);
	st->phase = CONFIRM;
	put(st, SCRAMBLE_CONFIRM, "host", 4);
	pump(st);
}

static void on_confirm(struct scramble *st)
{
	if (st->host->is_handover) {
		st->phase = HANDED_OVER;
		st->s->ops = st->up;
	} else {
		st->phase = OPEN;
	}
	st->host->starts++;
	st->up->started(st->s);
}

static void on_record(struct scramble *st, bool is_dry)
{
	struct scramble_record *r = &st->record;

	st->host->records_in++;
	if (r->type == SCRAMBLE_NOISE) {
		/* nothing */
	} else if (r->type == SCRAMBLE_REFUSE) {
		char text[100];

		snprintf(text, sizeof(text), "the target refused: %.*s", (int)r->len,
			 (const char *)r->payload);
		end(st, -EACCES, text);
	} else if (r->type == SCRAMBLE_END) {
		st->up->ended(st->s, 0);
	} else if (st->phase == HELLO && r->type == SCRAMBLE_HELLO) {
		on_hello(st);
	} else if (st->phase == CONFIRM && r->type == SCRAMBLE_CONFIRM) {
		on_confirm(st);
	} else if (st->phase == OPEN && r->type == SCRAMBLE_DATA) {
		deliver(st, r->payload, r->len, is_dry);
	} else if (st->phase == OPEN && r->type == SCRAMBLE_REKEY) {
		st->host->rekeys_in++;
		st->owes_rekey = r->len && r->payload[0];
		pump(st);
	} else {
		end(st, -EPROTO, "scramble: a record that has no business here");
	}
}

static unsigned on_place(struct nofi_sock *s, struct iovec *iov, unsigned max)
{
	return 0;	/* what arrives is no plain text: staging */
}

static void on_received(struct nofi_sock *s, size_t direct, const uint8_t *staging, size_t staged,
			bool is_dry)
{
	struct scramble *st = state_of(s);

	while (!st->is_removed) {
		size_t room = sizeof(st->in) - st->in_have, take = staged < room ? staged : room;
		int r;

		memcpy(st->in + st->in_have, staging, take);
		st->in_have += take;
		staging += take;
		staged -= take;
		r = scramble_open(&st->rx, st->in, st->in_have, &st->record);
		if (r < 0) {
			end(st, r, st->phase < OPEN ?
			    "scramble: the target has another secret, or does not speak it" :
			    "scramble: a record was altered on its way");
			return;
		}
		if (!r)
			return;
		st->in_have -= (size_t)r;
		memmove(st->in, st->in + r, st->in_have);
		on_record(st, is_dry);
		if (st->phase != HANDED_OVER || st->is_removed)
			continue;
		/* What came behind the last record is the queue's as it is. */
		if (st->in_have)
			st->up->received(s, 0, st->in, st->in_have, is_dry);
		if (staged && !st->is_removed)
			st->up->received(s, 0, staging, staged, is_dry);
		return;
	}
}

static void on_ended(struct nofi_sock *s, int res)
{
	struct scramble *st = state_of(s);

	if (res < 0 || st->phase < OPEN)
		st->up->ended(s, res);
	else if (st->in_have)
		end(st, -ECONNABORTED, "scramble: cut off in the middle of a record");
	else
		end(st, -ECONNABORTED, "scramble: cut off, the target did not say that it ends");
}

static const struct nofi_sock_ops own_ops = {
	.place = on_place,
	.received = on_received,
	.ended = on_ended,
	.sent = on_sent,
};

/* ---- beginning and end ---- */

static int scramble_start(struct nof_loop *loop, struct nofi_sock *s, void *arg)
{
	struct scramble *st = calloc(1, sizeof(*st));

	if (!st) {
		s->why = "scramble: out of memory";
		return -ENOMEM;
	}
	st->loop = loop;
	st->s = s;
	st->host = arg;
	st->up = s->ops;
	memcpy(st->nonce, "nonce 1", SCRAMBLE_NONCE);
	s->stream = st;
	s->ops = &own_ops;
	loop->eng->recv_start(loop, s);
	if (st->is_removed)
		return 0;
	put(st, SCRAMBLE_HELLO, st->nonce, SCRAMBLE_NONCE);
	pump(st);
	return 0;
}

/* Only between two records can anything be said. */
static int say(struct scramble *st, bool is_clean, const void *bytes, size_t len)
{
	ssize_t r;

	if (!is_clean)
		return -EAGAIN;
	st->out_len = 0;
	if (len)
		put(st, SCRAMBLE_DATA, bytes, len);
	put(st, SCRAMBLE_END, "", 0);
	r = send(st->s->fd, st->out, st->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);
	return r == (ssize_t)st->out_len ? 0 : r < 0 ? -errno : -EAGAIN;
}

static int scramble_finish(struct nof_loop *loop, struct nofi_sock *s, const void *bytes,
			   size_t len)
{
	struct scramble *st = state_of(s);
	bool is_clean = st->phase == OPEN && !st->is_busy && !st->msg;

	loop->eng->remove(loop, s);
	st->is_removed = true;
	return say(st, is_clean, bytes, len);
}

static void scramble_remove(struct nof_loop *loop, struct nofi_sock *s)
{
	struct scramble *st = state_of(s);
	bool is_first = st && !st->is_removed;
	bool is_clean = is_first && st->phase == OPEN && !st->is_busy && !st->msg;

	loop->eng->remove(loop, s);
	if (!st)
		return;
	st->is_removed = true;
	if (is_first)
		say(st, is_clean, NULL, 0);
}

static void scramble_free(struct nofi_sock *s)
{
	struct scramble *st = state_of(s);

	if (!st)
		return;
	st->host->frees++;
	free(st);
	s->stream = NULL;
}

const struct nofi_stream_ops scramble_stream = {
	.name = "scramble",
	.start = scramble_start,
	.send = scramble_send,
	.finish = scramble_finish,
	.remove = scramble_remove,
	.free = scramble_free,
};
