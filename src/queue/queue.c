/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One connection: a socket on an engine, a protocol machine, one timer.
 *
 *	new ─► connecting ─► starting ─► icreq ─► ready ─► dead
 *
 * nofi_conn_die() is the only way into dead, from every state: it takes the socket from the
 * engine (nothing is in flight afterwards), completes every command, reports once.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lines.h"
#include "queue/conn.h"

enum { NOTES_MAX = 20 };		/* log lines of one connection that its target causes */

void nofi_conn_die(struct nofi_queue *q, const struct nofi_err *why, bool is_silent)
{
	const struct nofi_err *better = NULL;
	bool was;

	if (q->state == QUEUE_DEAD)
		return;
	q->state = QUEUE_DEAD;
	if (q->opts.reason && !q->is_freed)
		better = q->opts.reason(q->arg);
	q->err = better ? *better : *why;
	nofi_rival_free(q->rival);
	q->rival = NULL;
	if (q->sock.fd >= 0) {
		q->stream->remove(q->loop, &q->sock);
		nofi_sock_abort(q->sock.fd);
		q->sock.fd = -1;
	}
	nofi_batch_put(q->loop, q->batch);
	q->batch = NULL;
	nofi_loop_unmark_dirty(q->loop, &q->dirty);
	nofi_loop_undefer(q->loop, &q->defer);
	nofi_conn_disarm(q);
	nofi_timer_disarm(q->loop, &q->quiet_timer);
	nofi_tap_stream_free(q->tap);
	q->tap = NULL;
	nofi_log(q->loop, NOF_LOG_DEBUG, "queue %u to %s ended: %s", q->qid, q->peer, q->err.text);
	was = nofi_loop_enter(q->loop);
	nofi_machine_fail(&q->m, &q->err);
	if (!is_silent && !q->is_freed)
		q->fn(q->arg, NOFI_QUEUE_DEAD, &q->err);
	nofi_loop_leave(q->loop, was);
}

void nofi_conn_die_of(struct nofi_queue *q, int code, const char *fmt, ...)
{
	struct nofi_err err;
	char text[320];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	nofi_err_set(&err, code, "queue %u to %s: %s", q->qid, q->peer, text);
	nofi_conn_die(q, &err, false);
}

void nofi_conn_end_of(struct nofi_queue *q, int code, const char *text)
{
	if (q->pending.code || q->state == QUEUE_DEAD)
		return;
	nofi_err_set(&q->pending, code, "queue %u to %s: %s", q->qid, q->peer, text);
	nofi_loop_defer(q->loop, &q->defer);
}

/* The batch went out: release what it named, perhaps complete, send on. */
static void end_batch(struct nofi_queue *q)
{
	struct nofi_batch *b = q->batch;

	q->batch = NULL;
	q->is_sent = false;
	nofi_machine_tx_done(&q->m, b);
	nofi_batch_put(q->loop, b);
	nofi_machine_notify(&q->m);
	if (nofi_machine_has_tx(&q->m))
		nofi_loop_mark_dirty(q->loop, &q->dirty);
	nofi_conn_rest(q);
}

static void on_defer(struct nofi_defer *d)
{
	struct nofi_queue *q = nofi_conn_of(d, defer);

	if (q->is_freed) {
		/* Closed by another thread than the one that drives the ring: see remove. */
		if (q->sock.inflight && q->loop->eng_data) {
			nofi_loop_defer(q->loop, d);
			return;
		}
		q->stream->free(&q->sock);
		nofi_machine_free(&q->m);
		free(q);
		return;
	}
	if (q->pending.code)
		nofi_conn_die(q, &q->pending, false);
	else if (q->is_sent && q->batch)
		end_batch(q);
}

/* ---- the machine's wishes ---- */

static struct nofi_queue *of_machine(struct nofi_machine *m)
{
	return nofi_conn_of(m, m);
}

static void on_ready(struct nofi_machine *m)
{
	struct nofi_queue *q = of_machine(m);

	struct nofi_err err;

	/* The third ACK, and the first data, may have lost MPTCP's options. */
	if (nofi_sock_check_data(q->sock.fd, &q->opts.sock, &q->proto, &err) < 0) {
		nofi_conn_end_of(q, err.code, err.text);
		return;
	}
	q->state = QUEUE_READY;
	nofi_conn_disarm(q);
	nofi_log(q->loop, NOF_LOG_DEBUG, "queue %u to %s ready: %s%s%s, digests %s%s, MAXH2CDATA "
		 "%u", q->qid, q->peer, q->proto.is_mptcp ? "MPTCP" : "TCP",
		 q->proto.reason[0] ? ", " : "", q->proto.reason,
		 m->pp.hdgst ? "header " : "", m->pp.ddgst ? "data" : "", m->pp.maxh2cdata);
	q->fn(q->arg, NOFI_QUEUE_READY, NULL);
}

/*
 * T-20: the H2CTermReq may only follow a whole PDU. If our stream is in the middle
 * of one, closing is all that is left.
 */
static void send_term(struct nofi_queue *q, const struct nofi_pdu_error *pe,
		      const uint8_t *culprit, size_t culprit_len)
{
	uint8_t pdu[NOFI_TERM_MAX_PLEN + 8];
	bool is_clean = !q->batch && q->m.tx_cur == NOFI_NO_SLOT;
	size_t len;

	if (!is_clean) {
		q->stream->remove(q->loop, &q->sock);
		return;
	}
	len = nofi_enc_h2cterm(pdu, pe->fes, pe->fei, culprit, culprit_len);
	if (q->stream->finish(q->loop, &q->sock, pdu, len) < 0)
		return;
	if (q->tap)
		nofi_tap_bytes(q->tap, false, pdu, len);
	shutdown(q->sock.fd, SHUT_WR);
	nofi_loop_linger(q->loop, q->sock.fd);
	q->sock.fd = -1;
}

static void on_fatal(struct nofi_machine *m, const struct nofi_pdu_error *pe,
		     const uint8_t *culprit, size_t culprit_len, const struct nofi_err *err)
{
	struct nofi_queue *q = of_machine(m);
	uint8_t copy[NOFI_IC_LEN];
	struct nofi_err why;

	/* The stream was damaged on the way: the target is not to blame, and another try may do. */
	if (q->state == QUEUE_READY &&
	    nofi_sock_recheck(q->sock.fd, &q->opts.sock, &q->proto, &why) < 0) {
		nofi_conn_die_of(q, why.code, "%s", why.text);
		return;
	}
	if (pe->fes != NOFI_FES_NONE) {
		/* The culprit lies in staging, which remove() may give back. */
		if (culprit_len > sizeof(copy))
			culprit_len = sizeof(copy);
		if (culprit_len)
			memcpy(copy, culprit, culprit_len);
		send_term(q, pe, copy, culprit_len);
	}
	nofi_conn_die_of(q, err->code, "%s", err->text);
}

static void on_wants_tx(struct nofi_machine *m)
{
	struct nofi_queue *q = of_machine(m);

	if (nofi_machine_fifo_len(m) >= m->fifo_half)
		q->loop->wants_flush = true;
	nofi_loop_mark_dirty(q->loop, &q->dirty);
}

static void on_note(struct nofi_machine *m, const char *line)
{
	struct nofi_queue *q = of_machine(m);

	/* The target decides how often this is called. */
	if (q->notes >= NOTES_MAX)
		return;
	nofi_log(q->loop, NOF_LOG_WARN, "queue %u to %s: %s%s", q->qid, q->peer, line,
		 ++q->notes == NOTES_MAX ? "; no more of these are logged" : "");
}

static const struct nofi_machine_ops machine_ops = {
	.ready = on_ready,
	.fatal = on_fatal,
	.wants_tx = on_wants_tx,
	.note = on_note,
};

/* ---- sending ---- */

void nofi_conn_tap(struct nofi_queue *q, const struct nofi_batch *b)
{
	for (unsigned i = 0; i < b->iovs; i++)
		nofi_tap_bytes(q->tap, false, b->iov[i].iov_base, b->iov[i].iov_len);
}

/* One batch. An engine that sends at once calls sent() from inside: it marks q again for more. */
static void flush(struct nofi_dirty *d)
{
	struct nofi_queue *q = nofi_conn_of(d, dirty);
	struct nofi_batch *b;

	if (q->state != QUEUE_READY || q->batch || q->pending.code || !nofi_machine_has_tx(&q->m))
		return;
	b = nofi_batch_take(q->loop);
	if (!b) {
		nofi_loop_mark_dirty(q->loop, &q->dirty);
		return;
	}
	if (!nofi_machine_tx_build(&q->m, b)) {
		nofi_batch_put(q->loop, b);
		return;
	}
	if (q->tap)
		nofi_conn_tap(q, b);
	q->batch = b;
	/* Whose answer overtook its last bytes is done when they are out: that is waited for. */
	q->sock.may_tarry = !q->sock.stream && !nofi_machine_has_tx(&q->m) &&
			    !(b->refs && q->m.cmds[b->ref[0]].state == NOFI_SLOT_FINISHED);
	q->stream->send(q->loop, &q->sock, &b->msg, b->len);
}

static void end_later(struct nofi_queue *q, int code, const char *what)
{
	char text[128];

	snprintf(text, sizeof(text), "%s: %s; the target or the network is gone", what,
		 strerror(-code));
	nofi_conn_end_of(q, code, text);
}

static void on_sent(struct nofi_sock *s, int res)
{
	struct nofi_queue *q = nofi_conn_of(s, sock);
	struct nofi_batch *b = q->batch;

	if (res < 0) {
		/* The batch stays: its commands are completed by nofi_conn_die(). */
		if (s->why)
			nofi_conn_end_of(q, res, s->why);
		else
			end_later(q, res, "send");
		return;
	}
	/* Completions may run here: only inside a turn, never inside a flush of the caller's. */
	if (!nofi_loop_is_processing(q->loop)) {
		for (unsigned i = 0; i < b->refs; i++) {
			if (q->m.cmds[b->ref[i]].state != NOFI_SLOT_FINISHED)
				continue;
			q->is_sent = true;
			nofi_loop_defer(q->loop, &q->defer);
			return;
		}
	}
	end_batch(q);
}

/* ---- receiving ---- */

static unsigned on_place(struct nofi_sock *s, struct iovec *iov, unsigned max)
{
	struct nofi_machine *m = &nofi_conn_of(s, sock)->m;

	s->stage_len = nofi_machine_stage(m);
	return nofi_machine_place(m, iov, max);
}

static void tap_direct(struct nofi_queue *q, size_t len)
{
	for (unsigned i = 0; len; i++) {
		size_t n = len < q->sock.recv_iov[i].iov_len ? len : q->sock.recv_iov[i].iov_len;

		nofi_tap_bytes(q->tap, true, q->sock.recv_iov[i].iov_base, n);
		len -= n;
	}
}

static void on_received(struct nofi_sock *s, size_t direct, const uint8_t *staging, size_t staged,
			bool is_dry)
{
	struct nofi_queue *q = nofi_conn_of(s, sock);

	q->loop->taken += direct + staged;
	if (!is_dry)
		q->loop->has_more = true;
	if (q->quiet)
		q->heard = nofi_loop_now(q->loop);
	if (q->tap) {
		tap_direct(q, direct);
		if (staged)
			nofi_tap_bytes(q->tap, true, staging, staged);
	}
	if (direct)
		nofi_machine_rx_direct(&q->m, direct);
	if (staged)
		nofi_machine_rx(&q->m, staging, staged);
	nofi_machine_notify(&q->m);
	nofi_conn_rest(q);
}

static void on_ended(struct nofi_sock *s, int res)
{
	struct nofi_queue *q = nofi_conn_of(s, sock);
	bool is_new = q->state == QUEUE_ICREQ;

	if (s->why)
		nofi_conn_die_of(q, res < 0 ? res : -ECONNRESET, "%s", s->why);
	else if (q->state == QUEUE_STARTING && q->stream->name[0])
		nofi_conn_die_of(q, res < 0 ? res : -ECONNRESET, "the target closed the connection "
				 "during the %s handshake: %s; does it expect one on this port?",
				 q->stream->name, res < 0 ? strerror(-res) : "end of stream");
	else if (res == 0)
		nofi_conn_die_of(q, -ECONNRESET, is_new ?
				 "the target closed the connection without answering ICReq; is it "
				 "an NVMe/TCP port, and does it accept this host?" :
				 "the target closed the connection: it was stopped, or gave this "
				 "host up; its log should say why");
	else
		nofi_conn_die_of(q, res, is_new ? "%s before ICResp; is it an NVMe/TCP port?" :
				 "receive: %s; the target or the network is gone", strerror(-res));
}

static const struct nofi_sock_ops sock_ops = {
	.connected = nofi_conn_connected,
	.started = nofi_conn_started,
	.place = on_place,
	.received = on_received,
	.ended = on_ended,
	.sent = on_sent,
};

/* ---- interface ---- */

int nofi_queue_new(struct nof_loop *loop, const struct nofi_queue_opts *opts,
		   nofi_queue_event_fn *fn, void *arg, struct nofi_queue **out,
		   struct nofi_err *err)
{
	struct nofi_queue *q = nofi_zalloc_lines(sizeof(*q));
	int r;

	if (!q)
		return nofi_err_set(err, -ENOMEM, "queue %u: out of memory", opts->qid);
	r = nofi_machine_init(&q->m, &machine_ops, opts);
	if (r < 0) {
		free(q);
		return nofi_err_set(err, r, "queue %u: %s", opts->qid, strerror(-r));
	}
	q->loop = loop;
	q->opts = *opts;
	q->qid = opts->qid;
	q->fn = fn;
	q->arg = arg;
	q->command_timeout = opts->command_timeout_ns;
	q->sock.fd = -1;
	q->sock.ops = &sock_ops;
	q->stream = opts->stream ? opts->stream : &nofi_stream_plain;
	q->dirty.flush = flush;
	q->timer.fn = nofi_conn_on_timer;
	q->defer.fn = on_defer;
	nofi_sockaddr_format((const struct sockaddr *)&opts->addr.sa, q->peer, sizeof(q->peer));
	*out = q;
	return 0;
}

void nofi_queue_kill(struct nofi_queue *q, const struct nofi_err *why)
{
	nofi_conn_die(q, why, false);
}

void nofi_queue_free(struct nofi_queue *q)
{
	struct nofi_err why;

	if (!q || q->is_freed)
		return;
	q->is_freed = true;
	nofi_err_set(&why, -ECANCELED, "queue %u to %s: closed by the caller", q->qid, q->peer);
	nofi_conn_die(q, &why, true);
	/* It may be on the stack below us. */
	nofi_loop_undefer(q->loop, &q->defer);
	nofi_loop_defer(q->loop, &q->defer);
}

bool nofi_queue_is_ready(const struct nofi_queue *q)
{
	return q->state == QUEUE_READY;
}

const struct nofi_err *nofi_queue_error(const struct nofi_queue *q)
{
	return &q->err;
}

const struct nofi_pdu_params *nofi_queue_params(const struct nofi_queue *q)
{
	return &q->m.pp;
}

uint16_t nofi_queue_qid(const struct nofi_queue *q)
{
	return q->qid;
}

struct nof_loop *nofi_queue_loop(const struct nofi_queue *q)
{
	return q->loop;
}

int nofi_queue_get_info(const struct nofi_queue *q, struct nofi_sock_info *info)
{
	if (q->sock.fd < 0)
		return -ENOTCONN;
	return nofi_sock_get_info(q->sock.fd, &q->proto, info);
}

void nofi_queue_find_backups(const struct nofi_queue *q, struct nofi_sock_info *info)
{
	if (info->subflow_count > 1)
		nofi_sock_find_backups(q->sock.fd, info);
}

int nofi_queue_take(struct nofi_queue *q, uint32_t flags, struct nofi_cmd_desc *d)
{
	return nofi_machine_take(&q->m, flags, d);
}

uint64_t nofi_queue_send(struct nofi_queue *q, const struct nofi_cmd_desc *d)
{
	uint64_t now = nofi_loop_now(q->loop);
	uint64_t deadline = now + (d->timeout_ns ? d->timeout_ns : q->command_timeout);

	nofi_machine_send(&q->m, d, deadline);
	if (d->flags & NOFI_CMD_NO_TIMEOUT)
		return now;
	if (q->quiet)
		nofi_conn_watch_quiet(q);
	nofi_conn_watch_deadline(q, deadline);
	return now;
}

uint64_t nofi_queue_rw(struct nofi_queue *q, const struct nofi_rw *rw)
{
	uint64_t now = nofi_loop_now(q->loop);
	uint64_t deadline = now + q->command_timeout;

	if (!nofi_machine_rw(&q->m, rw, deadline))
		return 0;
	if (q->quiet)
		nofi_conn_watch_quiet(q);
	nofi_conn_watch_deadline(q, deadline);
	return now;
}

bool nofi_queue_redirect(struct nofi_queue *q, const void *old, const struct iovec *iov,
			 nofi_cmd_done_fn *done, void *arg)
{
	return nofi_machine_redirect(&q->m, old, iov, done, arg);
}

uint32_t nofi_queue_room(const struct nofi_queue *q)
{
	return nofi_machine_room(&q->m);
}

bool nofi_queue_is_idle(const struct nofi_queue *q)
{
	return q->m.free_count == q->m.used;
}

void nofi_queue_wait_room(struct nofi_queue *q, struct nofi_waiter *w)
{
	if (w->is_queued || q->state == QUEUE_DEAD)
		return;
	w->is_queued = true;
	w->next = NULL;
	*q->m.wait_tail = w;
	q->m.wait_tail = &w->next;
}

void nofi_queue_unwait(struct nofi_queue *q, struct nofi_waiter *w)
{
	struct nofi_waiter **p;

	if (!w->is_queued)
		return;
	for (p = &q->m.wait_head; *p && *p != w; p = &(*p)->next)
		;
	if (*p) {
		*p = w->next;
		if (q->m.wait_tail == &w->next)
			q->m.wait_tail = p;
	}
	w->is_queued = false;
}
