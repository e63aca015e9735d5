/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection, as its own files see it; all others see queue.h.
 *
 *	queue.c       its life and its end, what the machine and the engine tell it, sending
 *	connecting.c  until it is connected, and whether it is still MPTCP
 *	deadline.c    its timers: connect, the oldest command, silence
 */
#ifndef NOF_QUEUE_CONN_H
#define NOF_QUEUE_CONN_H

#include "mptcp/stall.h"
#include "queue/engine.h"
#include "queue/machine.h"
#include "queue/queue.h"
#include "queue/rival.h"
#include "queue/stream.h"

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
	enum queue_state state;
	uint16_t qid;
	uint16_t notes;			/* of NOTES_MAX */
	bool is_hot;			/* counted in loop->hot while its timer is armed */
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

#define nofi_conn_of(ptr, field) \
	((struct nofi_queue *)((char *)(ptr) - offsetof(struct nofi_queue, field)))

/* ---- queue.c ---- */

/* The only way into dead: nothing is in flight in the engine afterwards. */
void nofi_conn_die(struct nofi_queue *q, const struct nofi_err *why, bool is_silent);
__attribute__((format(printf, 3, 4)))
void nofi_conn_die_of(struct nofi_queue *q, int code, const char *fmt, ...);
/* Dies of it later, where it may. */
void nofi_conn_end_of(struct nofi_queue *q, int code, const char *text);
/* Records a batch that is about to be sent. */
void nofi_conn_tap(struct nofi_queue *q, const struct nofi_batch *b);

/* ---- connecting.c ---- */

void nofi_conn_connected(struct nofi_sock *s, int res);
/* The stream carries bytes: the first are the ICReq. */
void nofi_conn_started(struct nofi_sock *s);
/* The timer fired. True: it is too early for the end of the connect; the timer is armed again. */
bool nofi_conn_race(struct nofi_queue *q);
/* mptcp=require, plain TCP was answered, MPTCP's SYNs in all that time were not. */
bool nofi_conn_is_dropped(struct nofi_queue *q);

/* ---- deadline.c ---- */

void nofi_conn_on_timer(struct nofi_timer *t);
/* The queue's one timer; the loop counts those that are armed. */
int nofi_conn_arm(struct nofi_queue *q, uint64_t deadline);
void nofi_conn_disarm(struct nofi_queue *q);
/* Something completed. Where nothing is waited for any more, no timer is left behind. */
static inline void nofi_conn_rest(struct nofi_queue *q)
{
	if (q->state == QUEUE_READY && q->timer.pos && !nofi_machine_waiting(&q->m))
		nofi_conn_disarm(q);
}
/* A command was just added: its answer is waited for. */
void nofi_conn_watch_quiet(struct nofi_queue *q);
/* nofi_conn_watch_deadline(): the timer is not armed, or for later. */
void nofi_conn_move_deadline(struct nofi_queue *q, uint64_t deadline);

/*
 * Lazily: one timer per queue, moved when it fires, not per command. It may stand
 * for a command with a longer timeout, as Connect has one.
 */
static inline void nofi_conn_watch_deadline(struct nofi_queue *q, uint64_t deadline)
{
	if (!q->timer.pos || deadline < q->timer.deadline)
		nofi_conn_move_deadline(q, deadline);
}

#endif
