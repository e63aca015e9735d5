/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long a loop looks for answers before it sleeps, learned from how long the last waits
 * took. Pure: no clock, no loop; all times are ns.
 *
 *	spinning ── a few misses in a row ──► resting ── n waits, or a short one ──► spinning
 *
 * A spin that found an answer sets the next limit to some three times what it took, downwards
 * slowly. One that just missed doubles it, one whose answer came late halves it. Who rests sleeps
 * at once; the rests get longer as long as the tries between them fail, so that a target that
 * never answers in time costs next to nothing.
 */
#ifndef NOF_QUEUE_POLL_H
#define NOF_QUEUE_POLL_H

#include <stdbool.h>
#include <stdint.h>

#include "nof.h"

enum {
	NOFI_POLL_MAX_US = 50,		/* default bound of one spin */
	NOFI_POLL_MIN_NS = 2000,	/* a limit below that is none */
	NOFI_POLL_MISSES = 3,		/* in a row, and it rests */
	NOFI_POLL_REST_MIN = 4,		/* waits of the first rest … */
	NOFI_POLL_REST_MAX = 1024,	/* … and of the longest */
};

#define NOFI_POLL_NO_LIMIT UINT64_MAX

struct nofi_poll {
	enum nof_poll_mode mode;
	uint64_t max;			/* the limit never exceeds it */
	uint64_t limit;			/* of the next spin; 0 = resting */
	uint32_t rest;			/* waits left of the rest */
	uint32_t next_rest;		/* length of the next one */
	uint32_t misses;		/* spins in a row that found nothing */
};

void nofi_poll_init(struct nofi_poll *p, enum nof_poll_mode mode, uint32_t max_us);

/* A wait begins: how long it may look. 0: not at all; NOFI_POLL_NO_LIMIT: as long as it lasts. */
uint64_t nofi_poll_begin(struct nofi_poll *p, bool has_inflight);

/* It ended, with an answer or long after one was due: what begin returned, and how long it took. */
void nofi_poll_end(struct nofi_poll *p, uint64_t limit, uint64_t waited);

#endif
