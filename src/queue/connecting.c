/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Until a connection is connected: the socket, MPTCP that has no answer and plain TCP that is
 * tried beside it, the ICReq. And whether it is MPTCP still.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "queue/conn.h"

/*
 * MPTCP's second SYN leaves after 1 s. When it has no answer either a little later, plain TCP
 * is tried beside it; with mptcp=require MPTCP has until its third, and until just before
 * the kernel gives it up, which would cost other targets their MPTCP.
 */
#define RIVAL_NS   1200000000ull
#define REQUIRE_NS 2500000000ull
/* A path manager may be about to make a new subflow, in place of the last that went. */
#define BARE_NS    1000000000ull

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

void nofi_conn_connected(struct nofi_sock *s, int res)
{
	struct nofi_queue *q = nofi_conn_of(s, sock);
	struct nofi_err err;

	if (res < 0) {
		nofi_sock_connect_error(res, (struct sockaddr *)&q->opts.addr.sa, &err);
		nofi_conn_die_of(q, res, "%s", err.text);
		return;
	}
	nofi_rival_free(q->rival);
	q->rival = NULL;
	q->is_raced = true;
	if (q->timer.deadline < q->connect_deadline)
		nofi_conn_arm(q, q->connect_deadline);
	res = nofi_sock_check(s->fd, &q->opts.sock, &q->proto, &err);
	if (res < 0) {
		nofi_conn_die_of(q, res, "%s", err.text);
		return;
	}
	start_tap(q);
	q->state = QUEUE_STARTING;
	res = q->stream->start(q->loop, s, q->opts.stream_arg);
	if (res < 0)
		nofi_conn_die_of(q, res, "%s", s->why ? s->why : strerror(-res));
}

void nofi_conn_started(struct nofi_sock *s)
{
	struct nofi_queue *q = nofi_conn_of(s, sock);
	struct nofi_batch *b = nofi_batch_take(q->loop);
	size_t len;

	if (!b) {
		nofi_conn_die_of(q, -ENOMEM, "out of memory");
		return;
	}
	len = nofi_enc_icreq(b->arena, 0, q->opts.hdgst != NOFI_DIGEST_OFF,
			     q->opts.ddgst != NOFI_DIGEST_OFF, q->m.pp.maxr2t);
	nofi_batch_add(b, b->arena, len);
	b->msg = (struct msghdr){ .msg_iov = b->iov, .msg_iovlen = b->iovs };
	if (q->tap)
		nofi_conn_tap(q, b);
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
		nofi_conn_arm(q, patience < q->connect_deadline ? patience : q->connect_deadline);
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
		nofi_conn_die_of(q, r, "%s: %s", q->loop->eng->name, strerror(-r));
		return;
	}
	nofi_conn_connected(&q->sock, 0);
}

/* When plain TCP is to be tried beside MPTCP. */
static uint64_t race_time(const struct nofi_queue *q)
{
	uint64_t half = q->opts.connect_timeout_ns / 2;

	return q->started + (half < RIVAL_NS ? half : RIVAL_NS);
}

bool nofi_conn_race(struct nofi_queue *q)
{
	if (q->is_raced || q->state != QUEUE_CONNECTING)
		return false;
	q->is_raced = true;
	if (nofi_conn_arm(q, q->connect_deadline) < 0)
		return false;
	(void)nofi_rival_start(q->loop, &q->opts.sock, &q->opts.addr, on_rival, q, &q->rival);
	return true;
}

bool nofi_conn_is_dropped(struct nofi_queue *q)
{
	return q->state == QUEUE_CONNECTING && q->is_alive &&
	       nofi_sock_is_dropped(q->sock.fd, &q->opts.sock, &q->proto);
}

/* ---- interface ---- */

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
	r = nofi_conn_arm(q, q->is_raced ? q->connect_deadline : race_time(q));
	if (r == 0)
		r = q->loop->eng->connect(q->loop, &q->sock, (struct sockaddr *)&q->opts.addr.sa,
					  q->opts.addr.len);
	if (r == 0)
		nofi_sock_watch_syn(q->sock.fd, &q->proto);
	if (r < 0) {
		nofi_sock_connect_error(r, (struct sockaddr *)&q->opts.addr.sa, &why);
		nofi_err_set(err, r, "queue %u to %s: %s", q->qid, q->peer, why.text);
		nofi_conn_die(q, err, true);
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
		nofi_conn_end_of(q, why.code, why.text);
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
		nofi_conn_end_of(q, -ECONNRESET, "no subflow is left: the target was restarted, "
				 "or a firewall on the way has reset the last one");
}
