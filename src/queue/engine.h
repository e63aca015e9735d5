/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an engine does for a connection: connect, receive without end, one
 * gathered send at a time, and the waiting. io_uring and epoll implement the same
 * table; a connection does not know which one it has.
 */
#ifndef NOF_QUEUE_ENGINE_H
#define NOF_QUEUE_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "err.h"
#include "queue/loop.h"
#include "queue/sizes.h"
#include "queue/spin.h"

enum {
	NOFI_PLACES_MAX = 64,		/* iovecs of one direct receive */
	/*
	 * Fairness, in bytes received. A share is what one connection takes in before the others
	 * have their turn. When several wait to send, no more than two shares keep them waiting;
	 * and timers, messages and wake-ups wait for no more than a turn, however many
	 * connections have something.
	 */
	NOFI_SHARE = 256 * 1024,
	NOFI_SHARED_TURN = 2 * NOFI_SHARE,
	NOFI_TURN = 16 * NOFI_SHARE,
};

struct nofi_sock;

struct nofi_sock_ops {
	/* connect ended: 0 or −errno */
	void (*connected)(struct nofi_sock *s, int res);
	/*
	 * Where do the next bytes go? Fills up to max iovecs with places for payload and
	 * returns how many; 0: staging, s->stage_len bytes of it at most.
	 */
	unsigned (*place)(struct nofi_sock *s, struct iovec *iov, unsigned max);
	/* direct bytes went to the places asked for last, staged bytes follow at staging */
	void (*received)(struct nofi_sock *s, size_t direct, const uint8_t *staging,
			 size_t staged, bool is_dry);
	/* nothing more will be received: 0 = end of stream, −errno (s->why may say more) */
	void (*ended)(struct nofi_sock *s, int res);
	/* the send ended: all bytes went, or −errno */
	void (*sent)(struct nofi_sock *s, int res);
	/* from a stream (stream.h), never from an engine: bytes may be sent now */
	void (*started)(struct nofi_sock *s);
};

/* One socket attached to an engine, embedded in its owner. */
struct nofi_sock {
	int fd;				/* −1 = detached */
	const struct nofi_sock_ops *ops;
	bool is_connecting;		/* a connect is under way */
	bool is_receiving;		/* recv_start was called, ended not yet */
	bool is_recv_armed;		/* io_uring: a receive is in the ring */
	bool is_send_busy;		/* a send is under way: msg belongs to the engine */
	bool is_poll_out;		/* epoll: EPOLLOUT is registered */
	bool is_dry;			/* io_uring: the last receive took all there was */
	bool is_recv_wanted;		/* io_uring: among those whose receive is to be armed */
	/*
	 * The owner's, for its next send: nothing waits for its end, so ops->sent() may come
	 * as late as with the next event, whatever that is.
	 */
	bool may_tarry;
	bool is_quiet;			/* io_uring: no completion if the send succeeds */
	bool is_listed;			/* io_uring: among the quiet ones */
	uint32_t inflight;		/* io_uring: requests of this socket in the ring */
	uint32_t direct_len;		/* bytes of the direct places in the armed receive */
	uint32_t stage_len;		/* the owner's: limit of a receive into staging, 0 = all */
	struct msghdr *msg;		/* the send under way, advanced by the engine */
	size_t send_left;		/* its bytes not sent yet */
	struct nofi_tailbuf *tail;	/* io_uring: of the direct receive in the ring */
	struct iovec *recv_iov;		/* inside received(): the direct places */
	struct nofi_sock *next_recv;
	struct nofi_sock *next_quiet;
	unsigned quiet_at;		/* io_uring: position behind it in the submissions */
	void *stream;			/* state of the stream between, if it has one */
	const char *why;		/* a stream's sentence for its error, else NULL */
};

/* How much the next receive into staging may take. */
static inline uint32_t nofi_sock_stage(const struct nofi_sock *s)
{
	return s->stage_len ? s->stage_len : (uint32_t)NOFI_STAGING_LEN;
}

/* n bytes of msg went out: the rest is what is left to send. */
static inline void nofi_msg_advance(struct msghdr *msg, size_t n)
{
	while (n && n >= msg->msg_iov->iov_len) {
		n -= msg->msg_iov->iov_len;
		msg->msg_iov++;
		msg->msg_iovlen--;
	}
	if (n) {
		msg->msg_iov->iov_base = (char *)msg->msg_iov->iov_base + n;
		msg->msg_iov->iov_len -= n;
	}
}

/* Cuts places down to a share. Returns how many are left, and their bytes in *len. */
static inline unsigned nofi_places_cut(struct iovec *iov, unsigned n, size_t *len)
{
	size_t room = NOFI_SHARE;
	unsigned used = 0;

	while (used < n && room) {
		if (iov[used].iov_len > room)
			iov[used].iov_len = room;
		room -= iov[used++].iov_len;
	}
	*len = NOFI_SHARE - room;
	return used;
}

struct nofi_engine_ops {
	const char *name;
	int (*open)(struct nof_loop *loop, struct nofi_err *err);
	void (*close)(struct nof_loop *loop);
	int (*fd)(struct nof_loop *loop);
	int (*add)(struct nof_loop *loop, struct nofi_sock *s);
	/*
	 * Cancels and waits: afterwards nothing of s is in flight and no op is called. Only a
	 * dedicated loop that another thread drives leaves s->inflight behind: then s has to
	 * stay until it is 0, or until the engine is closed.
	 */
	void (*remove)(struct nof_loop *loop, struct nofi_sock *s);
	int (*connect)(struct nof_loop *loop, struct nofi_sock *s, const struct sockaddr *sa,
		       socklen_t len);
	void (*recv_start)(struct nof_loop *loop, struct nofi_sock *s);
	/* msg (and what it points at) is stable until ops->sent(); len: its bytes; may_tarry */
	void (*send)(struct nof_loop *loop, struct nofi_sock *s, struct msghdr *msg, size_t len);
	int (*watch)(struct nof_loop *loop, struct nofi_fd_watch *w);
	void (*unwatch)(struct nof_loop *loop, struct nofi_fd_watch *w);
	/* Hands what was queued to the kernel; on a dedicated loop what is not for a wait. */
	int (*submit)(struct nof_loop *loop);
	/*
	 * Dispatches sends that completed as soon as they were submitted, which would make the
	 * fd readable for nothing; false when there was none. NULL: not needed.
	 */
	bool (*reap)(struct nof_loop *loop);
	/*
	 * Waits up to timeout_ns (−1: for ever, 0: not at all) and dispatches events: of a
	 * connection at most a share, and none any more after a turn's worth in loop->taken.
	 * What is left is noticed by the next wait, and by the fd.
	 */
	int (*wait)(struct nof_loop *loop, int64_t timeout_ns);
	/*
	 * Would wait(0) dispatch anything? will_wait: it is called at once if so; what was queued
	 * is handed to the kernel first. Else nothing is changed, and the fd stays readable.
	 */
	bool (*peek)(struct nof_loop *loop, bool will_wait);
	/* Earliest timer, UINT64_MAX = none: a wait, and the fd, must notice it. */
	void (*set_timer)(struct nof_loop *loop, uint64_t deadline_ns);
};

extern const struct nofi_engine_ops nofi_engine_uring, nofi_engine_epoll;

/* Something with bytes to send; linked into the loop while it has. */
struct nofi_dirty {
	struct nofi_dirty *next;
	bool is_queued;
	void (*flush)(struct nofi_dirty *d);
};

struct nofi_batch;

struct nof_loop {
	struct nofi_loop_turn t;	/* first: nofi_loop_now() */
	const struct nofi_engine_ops *eng;
	void *eng_data;			/* the engine's own state */
	uint32_t flags;			/* enum nof_loop_flag */
	nof_log_fn *log;		/* NULL = no log */
	void *log_arg;
	enum nof_log_level log_level;
	char engine_reason[512];	/* why AUTO chose epoll, "" otherwise */

	bool has_more;			/* a receive filled its buffers: there is more to take */
	bool wants_flush;		/* half a queue waits to be sent: now */
	bool is_kicked;			/* the fd was made readable for unsent submissions */
	size_t taken;			/* bytes received in the running turn */

	struct nofi_timer **heap;	/* binary heap by deadline */
	uint32_t heap_len, heap_cap;
	uint64_t timer_set;		/* deadline the engine knows, UINT64_MAX = none */
	uint32_t busy;			/* queues whose timer is armed: they wait for something */
	uint32_t hot;			/* of these, I/O queues with commands in flight */

	_Atomic(struct nofi_msg *) msgs;	/* from any thread, newest first */
	atomic_bool is_waking;		/* a wake-up is on its way */
	atomic_bool is_stopped;		/* nof_loop_stop() was called */
	bool is_woken;			/* the wake-up arrived in this turn */
	int wake_fd;			/* eventfd, read by the engine */
	struct nofi_spin spin;		/* how to wait */
	struct nofi_loop_counts counts;

	struct nofi_defer *defer_head, **defer_tail;
	struct nofi_dirty *dirty_head, **dirty_tail;

	struct nofi_batch *batches;	/* free send batches (tx.h) */
	uint32_t batches_free;
	struct nofi_linger *lingers;	/* sockets draining after a TermReq */
};

void nofi_loop_mark_dirty(struct nof_loop *loop, struct nofi_dirty *d);
void nofi_loop_unmark_dirty(struct nof_loop *loop, struct nofi_dirty *d);

/* The engine saw the eventfd. */
void nofi_loop_on_wake(struct nof_loop *loop);

/*
 * Drains a socket after an H2CTermReq was sent: closes when the peer does, at the
 * latest after 30 s (T-20). Owns fd.
 */
void nofi_loop_linger(struct nof_loop *loop, int fd);

#endif
