/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which of several paths a command takes: pure. First, whenever something changed, the paths
 * that come into question; then, per command, one of those.
 */
#ifndef NOF_CTRL_POLICY_H
#define NOF_CTRL_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "nof.h"

enum { NOFI_PATHS_MAX = 32 };	/* of a namespace; bits of a mask below */

/* A path as the policies see it. */
struct nofi_way {
	bool is_usable;		/* connected, identified, and not refused by its ANA state */
	uint8_t ana;		/* enum nof_ana_state */
	bool is_pinned;		/* only this one is wanted */
	bool is_preferred;	/* of several equally good ones */
	uint8_t distance;	/* from the thread to its interface; 0: not known, counts as near */
	uint32_t inflight;	/* commands under way */
	uint64_t service_ns;	/* how long it lately takes to answer one, average; 0: not known */
};

/* ANA states that I/O may use: optimized, non-optimized, and none reported. */
bool nofi_ana_is_usable(uint8_t ana);

/*
 * The ways that come into question, as indexes in ascending order; returns how many. A pinned
 * one shuts out all others, usable or not; optimized ones come before others; of the rest, a
 * preferred one before all.
 */
uint32_t nofi_policy_select(struct nofi_way *const *ways, uint32_t n,
			    uint8_t active[NOFI_PATHS_MAX]);

/*
 * One of n > 0 active ways, but none of the mask full (bit i: active[i] takes no more now).
 * Returns i, or −1 when all are full. *turn is the policy's memory, of the caller.
 */
int nofi_policy_choose(enum nof_iopolicy policy, struct nofi_way *const *ways,
		       const uint8_t *active, uint32_t n, uint32_t full, uint32_t *turn);

enum { NOFI_AVERAGE_SHIFT = 4 };	/* a new measurement weighs 1/16 */

/* The average with a new measurement in it. */
static inline uint64_t nofi_policy_average(uint64_t average_ns, uint64_t sample_ns)
{
	uint64_t next;

	if (!average_ns)
		return sample_ns ? sample_ns : 1;
	next = average_ns - (average_ns >> NOFI_AVERAGE_SHIFT) +
	       (sample_ns >> NOFI_AVERAGE_SHIFT);
	return next ? next : 1;
}

#endif
