/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hedged reads (option hedge): when a small read has no answer after a delay, it is sent once
 * more by another connection of the controller, its spare queue; the first answer completes it.
 *
 *	sent ─► watched ─(answer)─► done
 *	           └─(delay)─► overdue, sent again ─┬─(its own answer)─► done; the second is a stray
 *	                                            └─(the second's)───► done; the first is a stray
 *
 * The caller's buffer. The first goes there, the second into memory of ours. Where the second
 * wins, the first is turned away before anything is copied or told: its data goes to a place
 * that nobody reads, from whichever byte on. That can be done between any two bytes because so
 * small a payload is only ever copied out of the staging buffer, on this thread, and never
 * received straight into place (NOFI_DIRECT_MIN). So nothing is written after the completion.
 *
 * A stray keeps its record, its slot in the queue, and the channel (nofi_hedge_is_busy()) until
 * its answer or the end of its queue. While a queue has an overdue read, new reads go by the
 * other one, if that has none: most likely a packet of the first is lost, and what is behind it
 * waits, too.
 *
 * Nothing of this is touched while the option is off: chan->hedger is NULL.
 */
#ifndef NOF_HEDGE_H
#define NOF_HEDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "queue/queue.h"

struct nof_chan;
struct nofi_cpath;
struct nofi_piece;

enum {
	NOFI_HEDGE_BYTES = 12 * 1024,	/* larger reads are not hedged */
	NOFI_HEDGES_MAX = 16,		/* of a channel at a time */
};
#ifndef NOFI_SWEEP
_Static_assert((int)NOFI_HEDGE_BYTES < (int)NOFI_DIRECT_MIN,
	       "a hedged read is never received in place");
#endif

/* ---- when: hedge_delay.c, pure ---- */

/* A running estimate of the 95th percentile: of 20 samples, one is above it. */
struct nofi_quantile {
	uint64_t ns;			/* 0: no sample yet */
	uint32_t count;			/* saturates where the estimate is thought settled */
};
void nofi_quantile_add(struct nofi_quantile *q, uint64_t sample_ns);

/* So long after it was sent a read is overdue. fixed_us: the option; 0: by what was measured. */
uint64_t nofi_hedge_delay(uint32_t fixed_us, const struct nofi_quantile *q);

/* A bound on the extra load: one hedge for 20 reads, with some to begin with. */
struct nofi_hedge_budget {
	uint32_t credit;
};
void nofi_hedge_budget_init(struct nofi_hedge_budget *b);
void nofi_hedge_budget_read(struct nofi_hedge_budget *b);	/* a read has ended */
bool nofi_hedge_budget_take(struct nofi_hedge_budget *b);

/* ---- who and how: io_hedge.c ---- */

/* A way's queue is ready: asks for its spare, if the option is on. */
void nofi_hedge_ask(struct nofi_cpath *cp);
/* Gives the spare back; what is in flight on it alone completes before this returns. */
void nofi_hedge_put(struct nofi_cpath *cp);
bool nofi_hedge_is_shared(const struct nofi_cpath *cp);
/* The queue a read is to take now. */
struct nofi_queue *nofi_hedge_route(const struct nofi_cpath *cp);
/* A piece was sent: p->queue, p->sent_ns say by which and when. */
void nofi_hedge_sent(struct nofi_piece *p);
/* A piece's command ended, before anything else is made of it. */
void nofi_hedge_ended(struct nofi_piece *p, const struct nofi_cpl *cpl);
/* Commands are on their way that no request waits for. */
bool nofi_hedge_is_busy(const struct nof_chan *chan);
/* Nothing is in flight: the timer; and all memory. */
void nofi_hedge_stop(struct nof_chan *chan);
void nofi_hedge_free(struct nof_chan *chan);

#endif
