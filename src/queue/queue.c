/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One connection: a socket on an engine, a protocol machine, one timer.
 *
 *	new ─► connecting ─► starting ─► icreq ─► ready ─► dead
 *
 * die() is the only way into dead, from every state: it takes the socket from the
 * engine (nothing is in flight afterwards), completes every command, reports once.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mptcp/stall.h"
#include "queue/engine.h"
#include "queue/machine.h"
#include "queue/queue.h"
#include "queue/rival.h"
#include "queue/stream.h"

enum {
	LATE_NS = 50 * 1000000,		/* a timer is late when it fires so long after its time */
};
/*
 * MPTCP's second SYN leaves after 1 s. When it has no answer either a little later, plain TCP
 * is tried beside it; with mptcp=require MPTCP has until its third, and until just before
 * the kernel gives it up, which would cost other targets their MPTCP.
 */
#define RIVAL_NS   1200000000ull
#define REQUIRE_NS 2500000000ull
/* A path manager may be about to make a new subflow, in place of the last that went. */
#define BARE_NS    1000000000ull
enum { NOTES_MAX = 20 };		/* log lines of one connection that its target causes */

enum queue_state {
	QUEUE_NEW, QUEUE_CONNECTING, QUEUE_STARTING, QUEUE_ICREQ, QUEUE_READY, QUEUE_DEAD
};

struct nofi_queue {
	struct nofi_machine m;
	struct nofi_sock sock;
	struct nofi_dirty dirty;	/* linked while bytes wait to be sent */
	struct nof_loop *loop;
	const struct nofi_stream_ops *stream;	/* what bytes go through */
	struct nofi_batch *batch;	/* the send under way, NULL = none */
	uint64_t command_timeout;	/* ns, of commands sent from now on */
	uint64_t grace;			/* ns, what a late command has left once it was reported */
	nofi_queue_late_fn *late;	/* NULL: it has none, and the queue dies at once */
	uint64_t excused;		/* deadlines up to here were moved once: is_excused() */
	struct nofi_timer timer;	/* connect deadline; then the oldest command's at most */
	uint32_t waiting;		/* commands and R2T answers queued since the last flush */
	enum queue_state state;
	uint16_t qid;
	uint16_t notes;			/* of NOTES_MAX */
	bool is_freed;			/* free was called: memory goes with the defer */
	bool is_sent;			/* batch went out; its completions wait for a turn */
	nofi_queue_event_fn *fn;
	void *arg;
	struct nofi_queue_opts opts;
	struct nofi_sock_proto proto;	/* what the socket speaks */
	struct nofi_rival *rival;	/* while connecting: plain TCP beside MPTCP, else NULL */
	uint64_t connect_deadline;	/* ns: of the connection and its ICResp */
	uint64_t started;		/* ns: when connect was called */
	uint64_t bare_since;		/* ns: seen without any subflow since, 0 = has some */
	bool is_raced;			/* the rival had its start, or there will be none */
	bool is_alive;			/* mptcp=require: plain TCP was answered, MPTCP not yet */
	char peer[80];			/* "127.0.0.1:4420", for sentences */
	struct nofi_tap_stream *tap;	/* NULL = not recorded */
	struct nofi_err err;		/* why it is dead */
	nofi_queue_quiet_fn *quiet;	/* NULL: silence is not watched */
	struct nofi_timer quiet_timer;	/* armed while commands are in flight, if it is */
	uint64_t heard;			/* when a byte arrived last, or was waited for again */
	struct nofi_stall_pace pace;	/* after how long silence is suspicious */
	struct nofi_err pending;	/* an end that may not happen where it was noticed */
	struct nofi_defer defer;	/* dies of pending, or frees */
};

#define of(ptr, field) ((struct nofi_queue *)((char *)(ptr) - offsetof(struct nofi_queue, field)))

/* The queue's one timer; the loop counts those that are armed. */
static int arm(struct nofi_queue *q, uint64_t deadline)
{
	bool was_armed = q->timer.pos;
	int r = nofi_timer_arm(q->loop, &q->timer, deadline);

	if (!was_armed && q->timer.pos)
		q->loop->busy++;
	return r;
}

static void disarm(struct nofi_queue *q)
{
	if (!q->timer.pos)
		return;
	nofi_timer_disarm(q->loop, &q->timer);
	q->loop->busy--;
}

static void die(struct nofi_queue *q, const struct nofi_err *why, bool is_silent)
{
	bool was;

	if (q->state == QUEUE_DEAD)
		return;
	q->state = QUEUE_DEAD;
	q->err = *why;
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
	disarm(q);
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

__attribute__((format(printf, 3, 4)))
static void die_of(struct nofi_queue *q, int code, const char *fmt, ...)
{
	struct nofi_err err;
	char text[320];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	nofi_err_set(&err, code, "queue %u to %s: %s", q->qid, q->peer, text);
	die(q, &err, false);
}

/* Dies of it later, where it may. */
static void end_of(struct nofi_queue *q, int code, const char *text)
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
}

static void on_defer(struct nofi_defer *d)
{
	struct nofi_queue *q = of(d, defer);

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
		die(q, &q->pending, false);
	else if (q->is_sent && q->batch)
		end_batch(q);
}

/* ---- the machine's wishes ---- */

static struct nofi_queue *of_machine(struct nofi_machine *m)
{
	return of(m, m);
}

static void on_ready(struct nofi_machine *m)
{
	struct nofi_queue *q = of_machine(m);

	struct nofi_err err;

	/* The third ACK, and the first data, may have lost MPTCP's options. */
	if (nofi_sock_check_data(q->sock.fd, &q->opts.sock, &q->proto, &err) < 0) {
		end_of(q, err.code, err.text);
		return;
	}
	q->state = QUEUE_READY;
	disarm(q);
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
		die_of(q, why.code, "%s", why.text);
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
	die_of(q, err->code, "%s", err->text);
}

static void on_wants_tx(struct nofi_machine *m)
{
	struct nofi_queue *q = of_machine(m);

	if (++q->waiting * 2 >= m->slots)
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

static void tap_batch(struct nofi_queue *q, const struct nofi_batch *b)
{
	for (unsigned i = 0; i < b->iovs; i++)
		nofi_tap_bytes(q->tap, false, b->iov[i].iov_base, b->iov[i].iov_len);
}

static void flush(struct nofi_dirty *d)
{
	struct nofi_queue *q = of(d, dirty);

	q->waiting = 0;
	/* An engine that sends at once calls sent() from inside: then there may be more. */
	while (q->state == QUEUE_READY && !q->batch && !q->pending.code &&
	       nofi_machine_has_tx(&q->m)) {
		struct nofi_batch *b = nofi_batch_take(q->loop);

		if (!b) {
			nofi_loop_mark_dirty(q->loop, &q->dirty);
			return;
		}
		if (!nofi_machine_tx_build(&q->m, b)) {
			nofi_batch_put(q->loop, b);
			return;
		}
		if (q->tap)
			tap_batch(q, b);
		q->batch = b;
		q->stream->send(q->loop, &q->sock, &b->msg, b->len);
	}
}

static void end_later(struct nofi_queue *q, int code, const char *what)
{
	char text[128];

	snprintf(text, sizeof(text), "%s: %s; the target or the network is gone", what,
		 strerror(-code));
	end_of(q, code, text);
}

static void on_sent(struct nofi_sock *s, int res)
{
	struct nofi_queue *q = of(s, sock);
	struct nofi_batch *b = q->batch;

	if (res < 0) {
		/* The batch stays: its commands are completed by die(). */
		if (s->why)
			end_of(q, res, s->why);
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
	return nofi_machine_place(&of(s, sock)->m, iov, max);
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
	struct nofi_queue *q = of(s, sock);

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
	/* Nothing is waited for any more: an idle connection leaves no timer behind. */
	if (q->state == QUEUE_READY && q->timer.pos && !nofi_machine_deadline(&q->m))
		disarm(q);
}

static void on_ended(struct nofi_sock *s, int res)
{
	struct nofi_queue *q = of(s, sock);
	bool is_new = q->state == QUEUE_ICREQ;

	if (s->why)
		die_of(q, res < 0 ? res : -ECONNRESET, "%s", s->why);
	else if (q->state == QUEUE_STARTING && q->stream->name[0])
		die_of(q, res < 0 ? res : -ECONNRESET, "the target closed the connection during "
		       "the %s handshake: %s; does it expect one on this port?", q->stream->name,
		       res < 0 ? strerror(-res) : "end of stream");
	else if (res == 0)
		die_of(q, -ECONNRESET, is_new ?
		       "the target closed the connection without answering ICReq; is it an "
		       "NVMe/TCP port, and does it accept this host?" :
		       "the target closed the connection: it was stopped, or gave this "
		       "host up; its log should say why");
	else
		die_of(q, res, is_new ? "%s before ICResp; is it an NVMe/TCP port?" :
		       "receive: %s; the target or the network is gone", strerror(-res));
}

/* ---- connecting ---- */

static void start_tap(struct nofi_queue *q)
{
	struct sockaddr_storage local;
	socklen_t len = sizeof(local);

	if (!q->opts.tap || getsockname(q->sock.fd, (struct sockaddr *)&local, &len) < 0)
		return;
	if (nofi_tap_stream_new(q->opts.tap, (struct sockaddr *)&local,
				(struct sockaddr *)&q->opts.addr.sa, &q->tap) < 0)
		q->tap = NULL;
}

static void on_connected(struct nofi_sock *s, int res)
{
	struct nofi_queue *q = of(s, sock);
	struct nofi_err err;

	if (res < 0) {
		nofi_sock_connect_error(res, (struct sockaddr *)&q->opts.addr.sa, &err);
		die_of(q, res, "%s", err.text);
		return;
	}
	nofi_rival_free(q->rival);
	q->rival = NULL;
	q->is_raced = true;
	if (q->timer.deadline < q->connect_deadline)
		arm(q, q->connect_deadline);
	res = nofi_sock_check(s->fd, &q->opts.sock, &q->proto, &err);
	if (res < 0) {
		die_of(q, res, "%s", err.text);
		return;
	}
	start_tap(q);
	q->state = QUEUE_STARTING;
	res = q->stream->start(q->loop, s, q->opts.stream_arg);
	if (res < 0)
		die_of(q, res, "%s", s->why ? s->why : strerror(-res));
}

/* The stream carries bytes: the first are the ICReq. */
static void on_started(struct nofi_sock *s)
{
	struct nofi_queue *q = of(s, sock);
	struct nofi_batch *b = nofi_batch_take(q->loop);
	size_t len;

	if (!b) {
		die_of(q, -ENOMEM, "out of memory");
		return;
	}
	len = nofi_enc_icreq(b->arena, 0, q->opts.hdgst != NOFI_DIGEST_OFF,
			     q->opts.ddgst != NOFI_DIGEST_OFF, q->m.pp.maxr2t);
	nofi_batch_add(b, b->arena, len);
	b->msg = (struct msghdr){ .msg_iov = b->iov, .msg_iovlen = b->iovs };
	if (q->tap)
		tap_batch(q, b);
	q->state = QUEUE_ICREQ;
	q->batch = b;
	q->stream->send(q->loop, s, &b->msg, b->len);
}

/* ---- MPTCP without an answer ---- */

/* Plain TCP is connected, MPTCP not: it takes its place, or with mptcp=require proves the drop. */
static void on_rival(void *arg, int fd)
{
	struct nofi_queue *q = arg;
	struct nofi_sock_proto proto = { .is_mptcp = true };
	uint64_t patience = q->started + REQUIRE_NS;
	int r;

	nofi_rival_free(q->rival);
	q->rival = NULL;
	if (q->opts.sock.mptcp == NOFI_MPTCP_REQUIRE) {
		nofi_sock_abort(fd);
		q->is_alive = true;
		arm(q, patience < q->connect_deadline ? patience : q->connect_deadline);
		return;
	}
	/* Answered at the last moment: its event is on the way. */
	if (!nofi_sock_is_dropped(q->sock.fd, &q->opts.sock, &proto)) {
		nofi_sock_abort(fd);
		return;
	}
	q->loop->eng->remove(q->loop, &q->sock);
	nofi_sock_abort(q->sock.fd);
	q->sock.fd = fd;
	q->proto = proto;
	nofi_log(q->loop, NOF_LOG_WARN, "queue %u to %s: uses TCP: %s", q->qid, q->peer,
		 proto.reason);
	r = q->loop->eng->add(q->loop, &q->sock);
	if (r < 0) {
		nofi_sock_abort(fd);
		q->sock.fd = -1;
		die_of(q, r, "%s: %s", q->loop->eng->name, strerror(-r));
		return;
	}
	on_connected(&q->sock, 0);
}

/* When plain TCP is to be tried beside MPTCP. */
static uint64_t race_time(const struct nofi_queue *q)
{
	uint64_t half = q->opts.connect_timeout_ns / 2;

	return q->started + (half < RIVAL_NS ? half : RIVAL_NS);
}

/* True: it is too early for the end of the connect; the timer is armed again. */
static bool race(struct nofi_queue *q)
{
	if (q->is_raced || q->state != QUEUE_CONNECTING)
		return false;
	q->is_raced = true;
	if (arm(q, q->connect_deadline) < 0)
		return false;
	(void)nofi_rival_start(q->loop, &q->opts.sock, &q->opts.addr, on_rival, q, &q->rival);
	return true;
}

/* mptcp=require, plain TCP was answered, MPTCP's SYNs in all that time were not. */
static bool is_dropped(struct nofi_queue *q)
{
	return q->state == QUEUE_CONNECTING && q->is_alive &&
	       nofi_sock_is_dropped(q->sock.fd, &q->opts.sock, &q->proto);
}

static const struct nofi_sock_ops sock_ops = {
	.connected = on_connected,
	.started = on_started,
	.place = on_place,
	.received = on_received,
	.ended = on_ended,
	.sent = on_sent,
};

/*
 * A timer that fires late says that this program was busy elsewhere, and that deadlines are
 * as old as the clock they were made with. What was due before that is given as much time
 * again, at most its timeout, and only once.
 */
static bool is_excused(struct nofi_queue *q, uint64_t deadline, uint64_t timeout)
{
	uint64_t now = nofi_loop_now(q->loop), late = now - deadline;

	if (late < LATE_NS || deadline <= q->excused)
		return false;
	q->excused = now;
	return arm(q, now + (late < timeout ? late : timeout)) == 0;
}

/* Reports those that are late for the first time. False: one is so for the second time. */
static bool give_grace(struct nofi_queue *q)
{
	uint64_t now = nofi_loop_now(q->loop);
	uint64_t deadline;

	while ((deadline = nofi_machine_deadline(&q->m)) && deadline <= now) {
		uint16_t cid;
		uint8_t opcode;

		if (!q->late || !nofi_machine_extend(&q->m, now + q->grace, &cid, &opcode))
			return false;
		nofi_log(q->loop, NOF_LOG_WARN, "queue %u to %s: no answer to a command (opcode "
			 "%02xh, CID %u) in time", q->qid, q->peer, opcode, cid);
		q->late(q->arg, cid, opcode);
	}
	if (deadline)
		arm(q, deadline);
	return true;
}

static void on_timer(struct nofi_timer *t)
{
	struct nofi_queue *q = of(t, timer);
	uint64_t deadline;
	const struct nofi_cmd *cmd;
	unsigned ms;

	q->loop->busy--;	/* it is disarmed now */
	if (q->state != QUEUE_READY) {
		if (race(q))
			return;
		if (is_dropped(q)) {
			die_of(q, -EPROTONOSUPPORT, "mptcp=require: %s", q->proto.reason);
			return;
		}
		/* It was answered at the last moment: its event is on the way. */
		if (t->deadline < q->connect_deadline && arm(q, q->connect_deadline) == 0)
			return;
		if (is_excused(q, t->deadline, q->opts.connect_timeout_ns))
			return;
		ms = (unsigned)(q->opts.connect_timeout_ns / 1000000);
		if (q->state == QUEUE_STARTING)
			die_of(q, -ETIMEDOUT, "connected, but the %s handshake did not end within "
			       "%u ms; does the target expect one on this port?",
			       q->stream->name, ms);
		else if (q->state == QUEUE_ICREQ)
			die_of(q, -ETIMEDOUT, "connected, but no ICResp within %u ms; is it an "
			       "NVMe/TCP port, or is the target stuck?", ms);
		else
			die_of(q, -ETIMEDOUT, "no connection within %u ms; suspect the address, "
			       "a firewall, or a target that is down", ms);
		return;
	}
	/* Armed for a command that may have completed long ago: look at today's oldest. */
	deadline = nofi_machine_deadline(&q->m);
	if (!deadline)
		return;
	/* Under load this comes once per timeout: often enough, on whatever loop the queue is. */
	nofi_queue_recheck(q);
	if (deadline > nofi_loop_now(q->loop)) {
		arm(q, deadline);
		return;
	}
	if (is_excused(q, deadline, q->command_timeout) || give_grace(q))
		return;
	cmd = nofi_machine_oldest(&q->m);
	die_of(q, -ETIMEDOUT, "no answer to a command (opcode %02xh, CID %u) within its timeout of "
	       "%u ms%s; the target is stuck or the network drops data", cmd->sqe[0], cmd->cid,
	       cmd->timeout_ms ? cmd->timeout_ms : (unsigned)(q->command_timeout / 1000000),
	       cmd->is_late ? ", nor after an attempt to abort it" : "");
}

/* ---- silence ---- */

/* There are several ways, and *rtt is the smallest round trip of the slowest. */
static bool has_ways(const struct nofi_sock_info *info, uint64_t *rtt)
{
	*rtt = 0;
	for (unsigned i = 0; i < info->subflow_count && i < NOFI_SUBFLOWS_MAX; i++)
		if (info->subflows[i].min_rtt_us < UINT32_MAX &&
		    info->subflows[i].min_rtt_us * 1000ull > *rtt)
			*rtt = info->subflows[i].min_rtt_us * 1000ull;
	return info->proto.is_mptcp && info->subflow_count > 1;
}

/* Not a command's deadline: what it finds may be that nothing waits any more. */
static void on_quiet(struct nofi_timer *t)
{
	struct nofi_queue *q = of(t, quiet_timer);
	uint64_t now = nofi_loop_now(q->loop), limit;
	struct nofi_sock_info info;

	if (q->state != QUEUE_READY || !nofi_machine_deadline(&q->m))
		return;
	nofi_stall_calm(&q->pace, now);
	limit = nofi_stall_limit(&q->pace);
	if (now - q->heard >= limit) {
		if (nofi_queue_get_info(q, &info) < 0)
			return;
		if (!has_ways(&info, &q->pace.rtt_ns)) {
			q->heard = now;
		} else if (now - q->heard >= nofi_stall_limit(&q->pace)) {
			nofi_stall_alarmed(&q->pace, now);
			q->heard = now;
			q->quiet(q->arg, &info);
		}
		limit = nofi_stall_limit(&q->pace);
	}
	/* Without memory for it silence is not noticed: commands have their deadlines still. */
	(void)nofi_timer_arm(q->loop, t, q->heard + limit);
}

static void watch_quiet(struct nofi_queue *q)
{
	if (!nofi_machine_deadline(&q->m))
		q->heard = nofi_loop_now(q->loop);
	if (!q->quiet_timer.pos)
		(void)nofi_timer_arm(q->loop, &q->quiet_timer,
				     q->heard + nofi_stall_limit(&q->pace));
}

/* ---- interface ---- */

int nofi_queue_new(struct nof_loop *loop, const struct nofi_queue_opts *opts,
		   nofi_queue_event_fn *fn, void *arg, struct nofi_queue **out,
		   struct nofi_err *err)
{
	struct nofi_queue *q = aligned_alloc(64, (sizeof(*q) + 63) & ~(size_t)63);
	int r;

	if (!q)
		return nofi_err_set(err, -ENOMEM, "queue %u: out of memory", opts->qid);
	memset(q, 0, sizeof(*q));
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
	q->timer.fn = on_timer;
	q->defer.fn = on_defer;
	nofi_sockaddr_format((const struct sockaddr *)&opts->addr.sa, q->peer, sizeof(q->peer));
	*out = q;
	return 0;
}

int nofi_queue_start(struct nofi_queue *q, struct nofi_err *err)
{
	struct nofi_err why;
	int r;

	q->opts.sock.peer = (const struct sockaddr *)&q->opts.addr.sa;
	r = nofi_sock_open(q->opts.addr.sa.ss_family, &q->opts.sock, &q->proto, err);
	if (r < 0)
		return r;
	q->sock.fd = r;
	r = q->loop->eng->add(q->loop, &q->sock);
	if (r < 0) {
		close(q->sock.fd);
		q->sock.fd = -1;
		return nofi_err_set(err, r, "queue %u to %s: %s: %s", q->qid, q->peer,
				    q->loop->eng->name, strerror(-r));
	}
	q->state = QUEUE_CONNECTING;
	q->started = nofi_loop_now(q->loop);
	q->connect_deadline = q->started + q->opts.connect_timeout_ns;
	q->is_raced = !q->proto.is_mptcp;
	r = arm(q, q->is_raced ? q->connect_deadline : race_time(q));
	if (r == 0)
		r = q->loop->eng->connect(q->loop, &q->sock, (struct sockaddr *)&q->opts.addr.sa,
					  q->opts.addr.len);
	if (r == 0)
		nofi_sock_watch_syn(q->sock.fd, &q->proto);
	if (r < 0) {
		nofi_sock_connect_error(r, (struct sockaddr *)&q->opts.addr.sa, &why);
		nofi_err_set(err, r, "queue %u to %s: %s", q->qid, q->peer, why.text);
		die(q, err, true);
		return r;
	}
	/* From outside a turn: the engine has not heard of the connect and its deadline yet. */
	if (!nofi_loop_is_processing(q->loop))
		nof_loop_wake(q->loop);
	return 0;
}

void nofi_queue_recheck(struct nofi_queue *q)
{
	struct nofi_err why;
	uint64_t now;

	if (q->state != QUEUE_READY || !q->proto.is_mptcp || q->pending.code)
		return;
	if (nofi_sock_recheck(q->sock.fd, &q->opts.sock, &q->proto, &why) < 0) {
		end_of(q, why.code, why.text);
		return;
	}
	if (!nofi_sock_is_bare(q->sock.fd)) {
		q->bare_since = 0;
		return;
	}
	now = nofi_loop_now(q->loop);
	if (!q->bare_since)
		q->bare_since = now;
	else if (now - q->bare_since >= BARE_NS)
		end_of(q, -ECONNRESET, "no subflow is left: the target was restarted, or a "
		       "firewall on the way has reset the last one");
}

void nofi_queue_kill(struct nofi_queue *q, const struct nofi_err *why)
{
	die(q, why, false);
}

void nofi_queue_free(struct nofi_queue *q)
{
	struct nofi_err why;

	if (!q || q->is_freed)
		return;
	q->is_freed = true;
	nofi_err_set(&why, -ECANCELED, "queue %u to %s: closed by the caller", q->qid, q->peer);
	die(q, &why, true);
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

void nofi_queue_set_timeout(struct nofi_queue *q, uint64_t ns)
{
	q->command_timeout = ns;
}

void nofi_queue_set_grace(struct nofi_queue *q, uint64_t ns, nofi_queue_late_fn *fn)
{
	q->grace = ns;
	q->late = fn;
}

void nofi_queue_set_quiet(struct nofi_queue *q, nofi_queue_quiet_fn *fn)
{
	q->quiet_timer.fn = on_quiet;
	q->heard = nofi_loop_now(q->loop);
	q->quiet = fn;
}

int nofi_queue_take(struct nofi_queue *q, uint32_t flags, struct nofi_cmd_desc *d)
{
	return nofi_machine_take(&q->m, flags, d);
}

/*
 * Lazily: one timer per queue, moved when it fires, not per command. It may stand
 * for a command with a longer timeout, as Connect has one.
 */
static inline void watch_deadline(struct nofi_queue *q, uint64_t deadline)
{
	if (q->timer.pos && deadline >= q->timer.deadline)
		return;
	if (arm(q, deadline) < 0 && !q->pending.code) {
		/* No command without a deadline. */
		nofi_err_set(&q->pending, -ENOMEM, "queue %u to %s: out of memory for a timer",
			     q->qid, q->peer);
		nofi_loop_defer(q->loop, &q->defer);
	}
}

uint64_t nofi_queue_send(struct nofi_queue *q, const struct nofi_cmd_desc *d)
{
	uint64_t now = nofi_loop_now(q->loop);
	uint64_t deadline = now + (d->timeout_ns ? d->timeout_ns : q->command_timeout);

	if (q->quiet && !(d->flags & NOFI_CMD_NO_TIMEOUT))
		watch_quiet(q);
	nofi_machine_send(&q->m, d, deadline);
	if (!(d->flags & NOFI_CMD_NO_TIMEOUT))
		watch_deadline(q, deadline);
	return now;
}

uint64_t nofi_queue_rw(struct nofi_queue *q, const struct nofi_rw *rw)
{
	uint64_t now = nofi_loop_now(q->loop);
	uint64_t deadline = now + q->command_timeout;

	if (q->quiet)
		watch_quiet(q);
	if (!nofi_machine_rw(&q->m, rw, deadline))
		return 0;
	watch_deadline(q, deadline);
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
	return q->m.free_count == q->m.slots;
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
