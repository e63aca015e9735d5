/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking a socket out of the ring: its requests are cancelled and their completions waited for,
 * so that its memory may go. What arrives meanwhile for others is put aside, and dispatched
 * first the next time.
 */
#include <errno.h>
#include <stdlib.h>

#include "queue/uring.h"

int nofi_stash_open(struct nofi_uring *u, unsigned cap)
{
	u->stash_cap = cap;
	u->stash = malloc(cap * sizeof(*u->stash));
	return u->stash ? 0 : -ENOMEM;
}

void nofi_stash_dispatch(struct nof_loop *loop)
{
	struct nofi_uring *u = nofi_uring_of(loop);

	while (u->stash_pos < u->stash_len) {
		struct nofi_stashed c = u->stash[u->stash_pos++];

		nofi_uring_dispatch(loop, c.user_data, c.res, c.flags);
	}
	u->stash_pos = u->stash_len = 0;
}

/* Keeps a completion of somebody else for the next dispatch. */
static void stash(struct nofi_uring *u, const struct io_uring_cqe *cqe)
{
	if (u->stash_len == u->stash_cap) {
		unsigned cap = u->stash_cap ? u->stash_cap * 2 : 64;
		struct nofi_stashed *p = realloc(u->stash, cap * sizeof(*p));

		if (!p)
			return;	/* it starts as large as the CQ ring: not reached in practice */
		u->stash = p;
		u->stash_cap = cap;
	}
	nofi_uring_heard(cqe->user_data);
	u->stash[u->stash_len++] = (struct nofi_stashed){ cqe->user_data, cqe->res, cqe->flags };
}

/* A completion of s while it is being removed: account, give its buffer back. */
static void reap(struct nofi_uring *u, struct nofi_sock *s, const struct io_uring_cqe *cqe)
{
	unsigned bid = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

	nofi_uring_heard(cqe->user_data);
	s->inflight--;
	if ((cqe->user_data & NOFI_TAG_MASK) == NOFI_TAG_RECV)
		s->is_recv_armed = false;
	if ((cqe->flags & IORING_CQE_F_BUFFER) && bid < u->staging_count)
		nofi_staging_give(u, bid);
}

static bool is_of(uint64_t user_data, const void *p)
{
	enum nofi_tag tag = user_data & NOFI_TAG_MASK;

	return (user_data & ~(uint64_t)NOFI_TAG_MASK) == (uint64_t)(uintptr_t)p &&
	       (tag == NOFI_TAG_RECV || tag == NOFI_TAG_SEND || tag == NOFI_TAG_CONNECT);
}

static bool cancel_tag(struct nofi_uring *u, void *p, enum nofi_tag tag)
{
	struct io_uring_sqe *sqe = nofi_uring_sqe(u);

	if (!sqe)
		return false;
	io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)p | tag, 0);
	nofi_uring_tag(sqe, NULL, NOFI_TAG_IGNORE);
	return true;
}

/*
 * Completions that were put aside no longer show at the ring's fd, perhaps the wake-up
 * among them: one that says nothing takes their place, or a poller would wait for ever.
 */
static void show_stash(struct nofi_uring *u)
{
	struct io_uring_sqe *sqe;

	if (u->stash_pos == u->stash_len)
		return;
	sqe = nofi_uring_sqe(u);
	if (!sqe)
		return;
	io_uring_prep_nop(sqe);
	nofi_uring_tag(sqe, NULL, NOFI_TAG_IGNORE);
	io_uring_submit(&u->ring);
}

/* Takes the completions of s out of the stash. */
static void unstash(struct nofi_uring *u, struct nofi_sock *s)
{
	unsigned keep = u->stash_pos;

	for (unsigned i = u->stash_pos; i < u->stash_len; i++) {
		struct nofi_stashed c = u->stash[i];
		struct io_uring_cqe cqe = { .user_data = c.user_data, .res = c.res,
					    .flags = c.flags };

		if (is_of(c.user_data, s))
			reap(u, s, &cqe);
		else
			u->stash[keep++] = c;
	}
	u->stash_len = keep;
}

void nofi_uring_remove(struct nof_loop *loop, struct nofi_sock *s)
{
	struct nofi_uring *u = nofi_uring_of(loop);
	struct io_uring_cqe *cqe;

	s->is_receiving = false;
	s->is_connecting = false;
	s->is_send_busy = false;
	nofi_uring_unwant(u, s);
	unstash(u, s);
	if (s->inflight) {
		static const enum nofi_tag tags[] = { NOFI_TAG_RECV, NOFI_TAG_SEND,
						      NOFI_TAG_CONNECT };
		unsigned asked = 0;

		/* Requests on sockets wait in poll, so cancelling ends them at once. */
		while (s->inflight) {
			int r;

			while (asked < 3 && cancel_tag(u, s, tags[asked]))
				asked++;
			/* Nobody has run this ring yet, and who does first owns it: not we. */
			if (u->is_disabled)
				break;
			/* Waits only when all was cancelled: a full ring is emptied first. */
			r = asked < 3 ? io_uring_submit_and_get_events(&u->ring) :
			    io_uring_submit_and_wait(&u->ring, 1);
			if (r < 0 && r != -EINTR && r != -EBUSY && r != -EAGAIN)
				break;
			while (s->inflight && io_uring_peek_cqe(&u->ring, &cqe) == 0) {
				if (is_of(cqe->user_data, s))
					reap(u, s, cqe);
				else
					stash(u, cqe);
				io_uring_cqe_seen(&u->ring, cqe);
			}
			nofi_uring_judge_one(u, s);
		}
		show_stash(u);
	}
	/* Whether it is counted or not: no list may lead to what is gone. */
	if (!s->inflight)
		nofi_uring_unlist(u, s);
	nofi_tail_put(u, s);
}

/*
 * Without waiting for the completion: the ring may be that of another thread, or not enabled
 * yet. It finds nobody when it comes.
 */
void nofi_uring_unwatch(struct nof_loop *loop, struct nofi_fd_watch *w)
{
	struct nofi_uring *u = nofi_uring_of(loop);

	if (!w->is_armed)
		return;
	w->is_armed = false;
	for (struct nofi_watching *t = u->watching; t; t = t->next)
		if (t->w == w) {
			t->w = NULL;
			(void)cancel_tag(u, t, NOFI_TAG_WATCH);
		}
	if (!u->is_disabled)
		(void)io_uring_submit(&u->ring);
}
