/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of the io_uring engine share: the ring of a loop, what a completion belongs
 * to, and what the parts do for each other.
 *
 *	engine_uring.c	the ring's life, waiting, dispatch, timer, wake-ups
 *	uring_io.c	a socket's requests: connect, receive, send
 *	uring_staging.c	the buffers that receives take from
 *	uring_cancel.c	taking a socket, or a watched descriptor, out of the ring
 */
#ifndef NOF_QUEUE_URING_H
#define NOF_QUEUE_URING_H

#include <liburing.h>

#include "queue/engine.h"

enum {
	NOFI_BUFS_MAX = 64,		/* staging buffers at most: the size of their ring */
	NOFI_BUF_GROUP = 1,
};

/* What a completion belongs to: the low bits of user_data; the rest is a pointer. */
enum nofi_tag {
	NOFI_TAG_RECV, NOFI_TAG_SEND, NOFI_TAG_CONNECT,		/* nofi_sock */
	NOFI_TAG_WATCH,						/* nofi_watching */
	NOFI_TAG_WAKE, NOFI_TAG_TIMER, NOFI_TAG_IGNORE,		/* NULL */
};
enum { NOFI_TAG_MASK = 7 };

/* What a direct receive needs while it is in the ring; an idle connection has none. */
struct nofi_tailbuf {
	struct nofi_tailbuf *next;	/* free ones */
	struct msghdr msg;		/* over iov */
	size_t len;			/* offered of data: 0 or all of it */
	struct iovec iov[NOFI_PLACES_MAX + 1];
	uint8_t data[NOFI_TAIL_ROOM];	/* staging behind the places */
};

/* A completion that arrived while another one's socket was being cancelled. */
struct nofi_stashed {
	uint64_t user_data;
	int32_t res;
	uint32_t flags;
};

/* A poll in the ring, apart from what it is for: that may be gone when it completes. */
struct nofi_watching {
	struct nofi_watching *next;
	struct nofi_fd_watch *w;	/* NULL: unwatched meanwhile */
};

struct nofi_uring {
	struct io_uring ring;
	struct io_uring_buf_ring *bufs;	/* mmap'ed, NOFI_BUFS_MAX entries */
	uint8_t *staging[NOFI_BUFS_MAX];	/* NULL = not allocated yet */
	unsigned staging_count;
	struct nofi_sock *recv, **recv_tail;	/* sockets whose receive is to be armed */
	struct nofi_tailbuf *tails;	/* free ones */
	struct iovec places[NOFI_PLACES_MAX];	/* scratch: what place() fills in */
	struct nofi_sock *quiet, **quiet_tail;	/* quiet sends not judged yet, oldest first */
	struct nofi_watching *watching;	/* all polls of watches that are in the ring */
	struct nofi_stashed *stash;	/* completions to dispatch before the ring's */
	unsigned stash_len, stash_cap, stash_pos;
	struct __kernel_timespec timer;	/* deadline of the one timeout request */
	bool is_timer_armed;		/* it is in the ring */
	bool is_wake_armed;		/* so is the poll of the eventfd */
	bool is_disabled;		/* dedicated: enabled by the thread that waits first */
	bool is_flagged;		/* the kernel says in sq.kflags when it has work for us */
	bool is_urgent;			/* a send is in the queue of submissions */
	bool can_skip;			/* sends may be quiet (uring_io.c) */
};

static inline struct nofi_uring *nofi_uring_of(struct nof_loop *loop)
{
	return loop->eng_data;
}

static inline void nofi_uring_tag(struct io_uring_sqe *sqe, const void *p, enum nofi_tag tag)
{
	io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)p | tag);
}

/* NULL: the ring is full, and the kernel does not take what is in it. */
struct io_uring_sqe *nofi_uring_sqe(struct nofi_uring *u);

/* A completion, already counted as seen. */
void nofi_uring_dispatch(struct nof_loop *loop, uint64_t user_data, int32_t res, uint32_t flags);

/* ---- uring_io.c ---- */

int nofi_uring_connect(struct nof_loop *loop, struct nofi_sock *s, const struct sockaddr *sa,
		       socklen_t len);
void nofi_uring_recv_start(struct nof_loop *loop, struct nofi_sock *s);
void nofi_uring_send(struct nof_loop *loop, struct nofi_sock *s, struct msghdr *msg, size_t len);
void nofi_uring_on_connected(struct nof_loop *loop, struct nofi_sock *s, int res);
void nofi_uring_on_recv(struct nof_loop *loop, struct nofi_sock *s, int res, uint32_t flags);
void nofi_uring_on_sent(struct nof_loop *loop, struct nofi_sock *s, int res);
/* Before every submission: arms the receives that are wanted. */
void nofi_uring_arm_all(struct nofi_uring *u);
/* Takes s from the list of those, if it is there. */
void nofi_uring_unwant(struct nofi_uring *u, struct nofi_sock *s);

/*
 * Ends the quiet sends that the kernel has taken: see there. After every submission and
 * before its completions are dispatched.
 */
void nofi_uring_judge_all(struct nof_loop *loop);
static inline void nofi_uring_judge(struct nof_loop *loop)
{
	if (nofi_uring_of(loop)->quiet)
		nofi_uring_judge_all(loop);
}
/* A completion shows that a send, if it is one, was not quiet after all. */
static inline void nofi_uring_heard(uint64_t user_data)
{
	if ((user_data & NOFI_TAG_MASK) == NOFI_TAG_SEND)
		((struct nofi_sock *)(uintptr_t)(user_data & ~(uint64_t)NOFI_TAG_MASK))->is_quiet =
			false;
}
/* The same for s alone, which is being removed: nothing is called. */
void nofi_uring_judge_one(struct nofi_uring *u, struct nofi_sock *s);
/* Takes s from their list, if it is there. */
void nofi_uring_unlist(struct nofi_uring *u, struct nofi_sock *s);

/* ---- uring_staging.c ---- */

int nofi_staging_open(struct nofi_uring *u);
void nofi_staging_close(struct nofi_uring *u);
/* One buffer more; false: there are as many as there may be, or no memory. */
bool nofi_staging_grow(struct nofi_uring *u);
struct nofi_tailbuf *nofi_tail_take(struct nofi_uring *u);
void nofi_tail_put(struct nofi_uring *u, struct nofi_sock *s);

static inline void nofi_staging_give(struct nofi_uring *u, unsigned bid)
{
	io_uring_buf_ring_add(u->bufs, u->staging[bid], NOFI_STAGING_LEN, (unsigned short)bid,
			      io_uring_buf_ring_mask(NOFI_BUFS_MAX), 0);
	io_uring_buf_ring_advance(u->bufs, 1);
}

/* ---- uring_cancel.c ---- */

int nofi_stash_open(struct nofi_uring *u, unsigned cap);
void nofi_stash_dispatch(struct nof_loop *loop);
void nofi_uring_remove(struct nof_loop *loop, struct nofi_sock *s);
void nofi_uring_unwatch(struct nof_loop *loop, struct nofi_fd_watch *w);

#endif
