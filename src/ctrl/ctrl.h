/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The controller as the layer above (channels) sees it.
 *
 * Threads: a controller lives on the loop of its admin queue; its I/O queues may
 * live on others. What a channel calls from another loop's thread is below,
 * everything else belongs to the admin loop.
 */
#ifndef NOF_CTRL_CTRL_H
#define NOF_CTRL_CTRL_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "nof.h"
#include "queue/queue.h"

struct nofi_ioq;
struct nofi_ioq_user;

enum { NOFI_IOQ_ABORTS = 32 };	/* of one queue that may wait to be sent; more are not tried */

/*
 * err NULL: the queue is ready. Else why there is none. Called on the queue's
 * loop, never from inside nofi_ctrl_queue_get() or _put(); may call _put().
 */
typedef void nofi_ioq_fn(struct nofi_ioq_user *u, const struct nofi_err *err);

/*
 * A user of an I/O queue, embedded in a channel. After a successful get:
 *
 *	ready(u, err) or ready(u, NULL), once
 *	dead(u, err) at most once, only after ready(u, NULL), and after every
 *	             command of the queue has completed
 *
 * and none of them any more once put was called. put is owed in every case.
 */
struct nofi_ioq_user {
	nofi_ioq_fn *ready;		/* set by the caller before get */
	nofi_ioq_fn *dead;		/* set by the caller before get */
	const struct nofi_ioq *other_than;	/* set by the caller before get: never this one,
						   which is only compared; NULL: any */
	struct nofi_ioq *ioq;		/* NULL: no queue is held */
	struct nofi_ioq_user *next;	/* private: users of the same queue */
	uint8_t told;			/* private: enum ioq_told */
};

/* The connection a channel submits to. */
struct nofi_ioq {
	struct nofi_queue *q;		/* never NULL while a user holds the ioq; once dead, its
					   calls return −ENOTCONN */
	struct nof_ctrl *ctrl;		/* holds a reference */
	struct nof_loop *loop;		/* where q lives */
	uint16_t qid;			/* 1.. */
	uint8_t place;			/* entry of queue_paths that it took */
	uint16_t cntlid;		/* of the association it belongs to */
	uint32_t entries;		/* of the queue */
	uint32_t generation;		/* which association: ctrl->generation when it was got */
	/* The rest is private to ioq.c. */
	uint8_t state;			/* enum ioq_state; loop's thread */
	bool is_linked;			/* in ctrl->ioqs, holds its qid; under ctrl->lock */
	bool is_leaving;		/* Disconnect is under way; under ctrl->lock */
	uint32_t refs;			/* one while it has users, one per message on its way;
					   under ctrl->lock */
	uint32_t nusers;		/* attached users; written under ctrl->lock */
	struct nofi_ioq *next;		/* ctrl->ioqs; under ctrl->lock */
	uint32_t kill_round;		/* the last that came to it; under ctrl->lock */
	struct nofi_ioq_user *users;	/* loop's thread */
	struct nofi_defer tell;		/* tells users that came late */
	struct nofi_msg kill_msg;	/* to loop: the controller failed */
	bool is_kill_posted;		/* under ctrl->lock: of an association that has ended */
	struct nofi_err kill_err;	/* what kill_msg carries */
	struct nofi_msg lost_msg;	/* to the admin loop: this queue failed */
	/* abort.c: commands to be aborted, from loop to the admin loop; under ctrl->lock. */
	struct nofi_msg abort_msg;
	bool is_abort_posted;		/* abort_msg is on its way, or abort_next in use */
	struct nofi_ioq *abort_next;	/* admin loop: list of those that have some */
	uint32_t abort_count;		/* in abort_cids, oldest first */
	uint16_t abort_cids[NOFI_IOQ_ABORTS];
	struct nofi_err err;		/* why it is dead */
	bool is_refused;		/* Connect was answered, and the answer was no */
	struct nofi_timer again;	/* until Connect is sent again: the id was in use */
	uint8_t tries;			/* how often it was */
	struct nofi_msg quiet_msg;	/* to the controller's loop: is a path dead? */
	struct nofi_sock_info quiet_info;	/* under ctrl->lock: the subflows at that time */
	bool is_quiet_posted;		/* under ctrl->lock */
	bool is_quiet_look;		/* under ctrl->lock: it was only a look */
	struct nofi_timer look;		/* the next look for a path without a subflow */
	uint32_t look_ms;		/* until then */
	struct nofi_msg look_msg;	/* to the queue's loop: look again */
	bool is_look_posted;		/* under ctrl->lock */
	uint8_t place_tries;		/* entries of queue_paths that were tried */
	void *connect_data;		/* data of the Connect command while it is under way */
	struct iovec connect_iov;
};

/*
 * An I/O queue for a channel on loop: a connection of its own while the controller
 * has granted queues left, else a share of the least loaded one on that loop.
 * Call on loop's thread. −ENOTCONN: the controller is not live; −ENOSPC: all
 * (other) queues live on other loops; −ENOMEM.
 */
int nofi_ctrl_queue_get(struct nof_ctrl *ctrl, struct nof_loop *loop, struct nofi_ioq_user *u,
			struct nofi_err *err);

/*
 * Lets go of it: the last user closes the connection (what was still in flight
 * completes with −ECANCELED before this returns) and frees the queue id; an idle
 * one may say Disconnect first, in turns to come. On loop's thread, or while that is
 * at rest. Harmless when u holds nothing.
 */
void nofi_ctrl_queue_put(struct nofi_ioq_user *u);

/* Any thread; valid until the controller object is gone (a namespace holds it). */
struct nof_ctrl *nofi_ctrl_ref(struct nof_ctrl *ctrl);
void nofi_ctrl_unref(struct nof_ctrl *ctrl);
const struct nof_opts *nofi_ctrl_opts(const struct nof_ctrl *ctrl);	/* never changes */
/* Any thread, constant while the controller is live: what chan.c wants to know. */
bool nofi_ctrl_has_volatile_cache(const struct nof_ctrl *ctrl);
uint16_t nofi_ctrl_oncs(const struct nof_ctrl *ctrl);
uint32_t
nofi_ctrl_queue_entries(const struct nof_ctrl *ctrl); /* of an I/O queue: one less in flight */
const char *nofi_ctrl_subnqn(const struct nof_ctrl *ctrl);	/* for sentences */

/* ---- recovery ---- */

/* What happens to a controller as the layers above have to know it. */
enum nofi_ctrl_news {
	NOFI_NEWS_LIVE,			/* queues may be got (again) */
	NOFI_NEWS_LOST,			/* RESETTING: its queues are dead; may come back */
	NOFI_NEWS_FAST_FAIL,		/* lost for fast_io_fail_tmo: do not wait any longer */
	NOFI_NEWS_GONE,			/* FAILED, CLOSED or freed: final; unwatched already */
};

/*
 * Hears of its controller's life, on the admin loop's thread, from deferred context:
 * fn may call nofi_op_submit(), take the watch off, close and free. Not told of what
 * was before it was put on, but for GONE. Embedded in its owner.
 */
struct nofi_watch {
	struct nofi_watch *next;
	bool is_linked;
	/* err: why (LOST, FAST_FAIL, GONE); code 0 for LIVE. Valid during the call. */
	void (*fn)(struct nofi_watch *w, enum nofi_ctrl_news news, const struct nofi_err *err);
};

/* Admin loop's thread; not on a controller that was freed. Harmless when it is (not) on. */
void nofi_ctrl_watch(struct nof_ctrl *ctrl, struct nofi_watch *w);
void nofi_ctrl_unwatch(struct nof_ctrl *ctrl, struct nofi_watch *w);

/*
 * F-21: after so long a command of a lost association can have no effect any more. Any
 * thread; constant while LIVE. 0: the user turned it off.
 */
uint64_t nofi_ctrl_hold_ns(const struct nof_ctrl *ctrl);

/* Gives the association up and makes a new one, if LIVE. Admin loop's thread. */
void nofi_ctrl_request_reset(struct nof_ctrl *ctrl, const struct nofi_err *why);

/*
 * Tells the user; replaces a waiting event of the same type and nsid. Admin loop's thread,
 * any state, any context. error: negative errno or 0.
 */
__attribute__((format(printf, 5, 6)))
void nofi_notify(struct nof_ctrl *ctrl, enum nof_event_type type, uint32_t nsid, int error,
		 const char *fmt, ...);
/* The same for an asynchronous event of the controller, dw0 as it came. */
__attribute__((format(printf, 4, 5)))
void nofi_notify_aen(struct nof_ctrl *ctrl, enum nof_event_type type, uint32_t dw0,
		     const char *fmt, ...);

/* Of a connection: each is told. */
__attribute__((format(printf, 4, 5)))
void nofi_notify_queue(struct nof_ctrl *ctrl, enum nof_event_type type, uint16_t qid,
		       const char *fmt, ...);

/* Fills *t from a queue (its size field is the caller's). Queue's thread. −ENOTCONN. */
int nofi_transport_fill(const struct nof_ctrl *ctrl, const struct nofi_queue *q,
			struct nof_transport *t);
/* The same from what is known of the connection. Pure. */
void nofi_transport_from(const struct nofi_sock_info *si, uint16_t qid, struct nof_transport *t);

/* transport_watch.c: what is new since old (NULL: all of it). Pure. s: NULL of FALLBACK. */
enum nofi_transport_news {
	NOFI_NEWS_FALLBACK,
	NOFI_NEWS_CAME,
	NOFI_NEWS_WENT,
	NOFI_NEWS_STATE,
};
typedef void nofi_transport_news_fn(void *arg, const struct nof_transport *t,
				    enum nofi_transport_news news, const struct nof_subflow *s);
void nofi_transport_diff(const struct nof_transport *old, const struct nof_transport *now,
			 nofi_transport_news_fn *fn, void *arg);

uint32_t nofi_permille(uint64_t part, uint64_t whole);	/* rounded; 0 of 0 */
/* Its queues on its own loop that are ready, by queue id. Loop's thread. */
uint32_t nofi_ctrl_own_queues(const struct nof_ctrl *ctrl, struct nofi_queue *list[],
			      uint32_t max);

#endif
