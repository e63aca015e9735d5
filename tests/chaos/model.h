/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a range of a namespace must hold: the generation that each unit of 4 KiB was last written
 * with. Every 16 bytes of data carry their offset and their generation, so that a mismatch tells
 * whether data is older than it may be, of another place, or of nobody.
 *
 * Of one thread. A unit has at most one request in flight: the order of two is nobody's promise.
 */
#ifndef CHAOS_MODEL_H
#define CHAOS_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_UNIT 4096u

enum { MODEL_ZERO = 0 }; /* the generation of zeroes; others count from 1 */

struct unit {
	uint32_t gen;	   /* what it holds */
	uint32_t other;	   /* is_doubtful: or this, since a write of it failed half-way */
	bool is_busy;	   /* a request of it is in flight */
	bool is_doubtful;  /* left alone until the end, when either is right */
};

struct model {
	uint64_t base;	    /* bytes: where the range begins in the namespace */
	uint32_t count;	    /* units */
	uint32_t doubtful;  /* units that are */
	uint64_t seed;	    /* goes into the pattern: another run's data is no match */
	uint32_t next_gen;  /* of the next write */
	struct unit *units; /* count of them */
};

struct mismatch {
	uint64_t offset; /* bytes, in the namespace */
	char text[192];	 /* what was found instead */
};

/* False without memory. All units hold zeroes: write them first. */
bool model_init(struct model *m, uint64_t base, uint32_t count, uint64_t seed);
void model_free(struct model *m);

/* Takes a range for a request; false when a part of it is busy or doubtful. */
bool model_take(struct model *m, uint32_t first, uint32_t count);
void model_give_back(struct model *m, uint32_t first, uint32_t count);

/* A write of gen to a taken range ended, well or not. */
void model_written(struct model *m, uint32_t first, uint32_t count, uint32_t gen, bool is_good);

/* Data of generation gen, or, model_fill_expected(), what the range holds. */
void model_fill(const struct model *m, uint32_t first, uint32_t count, uint32_t gen, void *buf);
void model_fill_expected(const struct model *m, uint32_t first, uint32_t count, void *buf);

/* How many units of the range differ from what was read; *bad is the first of them. */
uint32_t model_check(const struct model *m, uint32_t first, uint32_t count, const void *buf,
		     struct mismatch *bad);

#endif
