/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The cache lines that threads touch in instrumented code: sharing_hooks.c. */
#ifndef NOF_BENCH_SHARING_H
#define NOF_BENCH_SHARING_H

#include <stddef.h>
#include <stdint.h>

enum { SHARING_THREADS = 2, SHARING_LINE = 64 };

struct sharing_line {
	uintptr_t line;			/* its address */
	uint64_t reads, writes;
	uint64_t read_mask, write_mask;	/* which of its bytes */
	uintptr_t read_pc, write_pc;	/* the first of each */
};

/* From here on what this thread does is noted, under this number, until the end. */
void sharing_begin(unsigned thread);
void sharing_end(void);
/* Lines noted of a thread. */
size_t sharing_lines(unsigned thread);

/*
 * Every line that both touched and one of them wrote; returns how many. With apart = 1 the two
 * are the halves of an aligned pair, which some processors fetch together.
 */
typedef void sharing_fn(void *arg, const struct sharing_line *a, const struct sharing_line *b);
size_t sharing_compare(unsigned a, unsigned b, unsigned apart, sharing_fn *fn, void *arg);

/*
 * Every line that the thread wrote of an allocation that does not have it for itself: what another
 * thread gets next to it is luck. Returns how many.
 */
size_t sharing_exposed(unsigned thread, sharing_fn *fn, void *arg);

/* The allocation that a line belongs to, and who made it; 0: none that is known. */
int sharing_block(uintptr_t line, uintptr_t *start, size_t *len, uintptr_t *caller);

#endif
