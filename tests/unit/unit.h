/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the unit tests share: cmocka, repeatable random numbers, guarded memory. */
#ifndef NOF_TESTS_UNIT_H
#define NOF_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* xorshift64*: the same sequence on every run. */
static uint64_t random_state = 0x9e3779b97f4a7c15u;

static inline uint64_t random64(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 0x2545f4914f6cdd1du;
}

static inline void random_fill(void *p, size_t len)
{
	uint8_t *b = p;

	while (len--)
		*b++ = random64() >> 56;
}

/* Memory whose end is followed by a page that cannot be touched. */
struct guarded {
	uint8_t *map;
	size_t map_len;
	uint8_t *end;		/* first byte that faults */
};

static inline struct guarded guarded_new(size_t len)
{
	size_t page = sysconf(_SC_PAGESIZE);
	struct guarded g;

	g.map_len = (len + page - 1) / page * page + page;
	g.map = mmap(NULL, g.map_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(g.map != MAP_FAILED);
	g.end = g.map + g.map_len - page;
	assert_int_equal(mprotect(g.end, page, PROT_NONE), 0);
	return g;
}

static inline void guarded_free(struct guarded *g)
{
	munmap(g->map, g->map_len);
}

#endif
