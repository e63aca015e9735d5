/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting for answers without sleeping, and what a loop counts of its turns.
 */
#ifndef NOF_QUEUE_SPIN_H
#define NOF_QUEUE_SPIN_H

#include <stdatomic.h>
#include <stdint.h>

#include "queue/poll.h"

/* Written by the loop's thread only, read by any: no locked instruction is needed. */
struct nofi_loop_counts {
	_Atomic uint64_t turns, sleeps, spins, spin_hits, spin_looks, spin_ns, completions;
	_Atomic uint64_t limit;		/* of the next spin */
};

static inline void nofi_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

struct nofi_spin {
	_Atomic uint64_t wanted;	/* mode and max_us, from any thread; 0 = NOF_POLL_SLEEP */
	uint64_t had;			/* what poll was made of */
	struct nofi_poll poll;
};

/*
 * The waiting of one turn in another mode than NOF_POLL_SLEEP: looks, then lets the engine wait
 * for the rest of the time, and dispatch.
 */
int nofi_spin_wait(struct nof_loop *loop, int64_t timeout_ns);

#endif
