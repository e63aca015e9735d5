/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A send batch: what one gathered send carries. Headers, digests and SQEs are
 * written into its arena; payload is named where it lies. Batches are pooled per
 * loop: an idle connection holds none.
 */
#ifndef NOF_QUEUE_TX_H
#define NOF_QUEUE_TX_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct nof_loop;

enum {
	NOFI_BATCH_IOVS = 256,
	NOFI_BATCH_ARENA = 16 * 1024,
	NOFI_BATCH_REFS = 256,
	/*
	 * Payload bytes of one batch, about: a command's buffer is pinned until its whole
	 * batch went out, so one batch must not be the socket's whole send buffer.
	 */
	NOFI_BATCH_BYTES = 512 * 1024,
};

struct nofi_batch {
	struct nofi_batch *next;	/* in the loop's pool */
	struct msghdr msg;		/* over iov; the engine advances it */
	size_t len;			/* bytes of all iovecs */
	unsigned iovs;			/* used of iov */
	unsigned refs;			/* used of ref */
	unsigned arena_used;
	struct iovec iov[NOFI_BATCH_IOVS];
	uint16_t ref[NOFI_BATCH_REFS];	/* slots whose payload this batch names */
	uint8_t arena[NOFI_BATCH_ARENA];
};

/* An empty batch from the pool; NULL: out of memory, try at the next flush. */
struct nofi_batch *nofi_batch_take(struct nof_loop *loop);
void nofi_batch_put(struct nof_loop *loop, struct nofi_batch *b);
void nofi_batches_free(struct nof_loop *loop);

/* One piece of memory more for the batch. */
static inline void nofi_batch_add(struct nofi_batch *b, void *p, size_t len)
{
	struct iovec *last = b->iovs ? &b->iov[b->iovs - 1] : NULL;

	b->len += len;
	/* Headers lie one behind the other in the arena: one iovec for a run of them. */
	if (last && (char *)last->iov_base + last->iov_len == p) {
		last->iov_len += len;
		return;
	}
	b->iov[b->iovs].iov_base = p;
	b->iov[b->iovs++].iov_len = len;
}

#endif
