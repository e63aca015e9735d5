/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Verified random I/O for tests that break things meanwhile: reads, writes, write
 * zeroes and flushes of mixed sizes, each block marked with its place and version.
 *
 *	load = load_new(&(struct load_opts){ .loop = loop, .seed = 1, .depth = 16 });
 *	load_add(load, chan);
 *	load_start(load);
 *	... run the loop, break something ...
 *	load_stop(load);		// what is open ends, nothing new is submitted
 *	... until load_is_idle() ...
 *	load_read_back(load);		// once more everything, until load_is_idle()
 *	assert(!load->stats.mismatches && !load->stats.errors);
 *
 * A write that ended with an error may or may not have happened: its blocks may hold
 * the old or the new version until they are written again. A write that succeeded has
 * happened: an older version after it (or an older write that arrives late) is found.
 */
#ifndef NOF_TESTS_LOAD_H
#define NOF_TESTS_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "nof.h"

enum {
	LOAD_BLOCK = 4096,	/* unit of versions and of all I/O */
	LOAD_SLOT = 64,		/* blocks of a slot: one operation at a time is in it */
	LOAD_CHANS = 16,
	LOAD_TEXT = 400,
};

struct load_opts {
	struct nof_loop *loop;
	uint64_t seed;		/* the same seed gives the same operations of each slot */
	uint32_t depth;		/* slots, that is operations in flight; default 16 */
	uint64_t base;		/* first byte of the namespace to use */
	uint32_t max_blocks;	/* of one operation, at most and by default LOAD_SLOT */
	bool has_zeroes;	/* write zeroes too */
	bool is_reading;	/* reads only, of what was written before */
	uint32_t flags;		/* of every operation */
};

struct load_stats {
	uint64_t submitted, completed;
	uint64_t reads, writes, zeroes, flushes;	/* with success */
	uint64_t checked;	/* blocks compared */
	uint64_t errors;	/* completions with an error, and refused submissions */
	uint64_t mismatches;	/* blocks that hold what they must not hold */
	uint64_t doubled;	/* completions of what was not open */
	uint64_t stall_ms;	/* longest time without a completion while it ran */
	int error;		/* of the first error */
	char detail[LOAD_TEXT];	/* its sentence */
	char mismatch[LOAD_TEXT];	/* the first mismatch in words */
};

struct load;

struct load *load_new(const struct load_opts *opts);
/* Another channel that operations go to, in turn. */
void load_add(struct load *l, struct nof_chan *chan);
void load_start(struct load *l);
void load_stop(struct load *l);
bool load_is_idle(const struct load *l);
void load_read_back(struct load *l);
/* Submits what could not be submitted before: call it now and then. */
void load_tick(struct load *l);
const struct load_stats *load_get(const struct load *l);
/* Forgets channels, after they were closed or lost; versions stay. */
void load_detach(struct load *l);
/* Only when idle. */
void load_free(struct load *l);

#endif
