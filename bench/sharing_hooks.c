/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which cache lines does a thread touch? The library is compiled with the instrumentation of
 * ThreadSanitizer, every load and store a call, but linked with these functions instead of its
 * run-time: they note the line in a table of the calling thread. Exact and repeatable, on any
 * machine, with any number of cores; what a processor's counters would say about caches is a
 * consequence.
 *
 * Not seen: what the C library does (but for the functions wrapped below), and the kernel.
 */
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sharing.h"

enum { SLOTS = 1 << 18, BLOCKS_MAX = 1 << 16 };

#define LINE ((uintptr_t)SHARING_LINE)

struct table {
	struct sharing_line *slot;
	size_t used;
};

static struct table tables[SHARING_THREADS];
static __thread struct table *mine;	/* NULL: what this thread does is not noted */

/* Allocations, to name a line by: what was made last at an address counts. */
static struct block {
	uintptr_t start, end, caller;
} blocks[BLOCKS_MAX];
static _Atomic unsigned block_count;

/* ---- noting ---- */

static struct sharing_line *line_of(struct table *t, uintptr_t line)
{
	size_t i = (line / LINE * 0x9e3779b97f4a7c15u) >> 46;

	while (t->slot[i].line != line) {
		if (!t->slot[i].line) {
			/* Never full in practice; half of it is kept empty for the search. */
			if (t->used == SLOTS / 2)
				abort();
			t->used++;
			t->slot[i].line = line;
			break;
		}
		i = (i + 1) % SLOTS;
	}
	return &t->slot[i];
}

static void note(const void *p, size_t len, int is_write, uintptr_t pc)
{
	uintptr_t at = (uintptr_t)p, end = at + len;

	while (at < end) {
		uintptr_t line = at & ~(LINE - 1), to = end < line + LINE ? end : line + LINE;
		struct sharing_line *l = line_of(mine, line);
		uint64_t mask = to - at == 64 ? ~0ull : ((1ull << (to - at)) - 1) << (at - line);

		if (is_write) {
			if (!l->writes++)
				l->write_pc = pc;
			l->write_mask |= mask;
		} else {
			if (!l->reads++)
				l->read_pc = pc;
			l->read_mask |= mask;
		}
		at = to;
	}
}

#define PC ((uintptr_t)__builtin_return_address(0))
#define NOTE(p, len, is_write)					\
	do {							\
		if (mine)					\
			note(p, len, is_write, PC);		\
	} while (0)

void sharing_begin(unsigned thread)
{
	struct table *t = &tables[thread];

	if (!t->slot) {
		t->slot = mmap(NULL, SLOTS * sizeof(*t->slot), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (t->slot == MAP_FAILED)
			abort();
	}
	mine = t;
}

void sharing_end(void)
{
	mine = NULL;
}

size_t sharing_lines(unsigned thread)
{
	return tables[thread].used;
}

static const struct sharing_line *find(const struct table *t, uintptr_t line)
{
	size_t i = (line / LINE * 0x9e3779b97f4a7c15u) >> 46;

	while (t->slot[i].line && t->slot[i].line != line)
		i = (i + 1) % SLOTS;
	return t->slot[i].line ? &t->slot[i] : NULL;
}

size_t sharing_compare(unsigned a, unsigned b, unsigned apart, sharing_fn *fn, void *arg)
{
	size_t n = 0;

	for (size_t i = 0; i < SLOTS; i++) {
		const struct sharing_line *x = &tables[a].slot[i], *y;

		if (!x->line)
			continue;
		y = find(&tables[b], x->line ^ apart * LINE);
		if (!y || (!x->writes && !y->writes))
			continue;
		n++;
		fn(arg, x, y);
	}
	return n;
}

int sharing_block(uintptr_t line, uintptr_t *start, size_t *len, uintptr_t *caller)
{
	for (unsigned i = atomic_load(&block_count); i--;) {
		if (line + LINE <= blocks[i].start || line >= blocks[i].end)
			continue;
		*start = blocks[i].start;
		*len = blocks[i].end - blocks[i].start;
		*caller = blocks[i].caller;
		return 1;
	}
	return 0;
}

size_t sharing_exposed(unsigned thread, sharing_fn *fn, void *arg)
{
	size_t n = 0, len;
	uintptr_t start, caller;

	for (size_t i = 0; i < SLOTS; i++) {
		const struct sharing_line *x = &tables[thread].slot[i];

		if (!x->writes || !sharing_block(x->line, &start, &len, &caller) ||
		    (start <= x->line && x->line + LINE <= start + len))
			continue;
		n++;
		fn(arg, x, x);
	}
	return n;
}

/* ---- what the compiler calls ---- */

void __tsan_init(void);
void __tsan_init(void)
{
}

void __tsan_func_entry(void *pc);
void __tsan_func_entry(void *pc)
{
	(void)pc;
}

void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}

#define ACCESS(name, len, is_write)				\
	void __tsan_##name(void *p);				\
	void __tsan_##name(void *p) { NOTE(p, len, is_write); }
#define ACCESSES(len)						\
	ACCESS(read##len, len, 0)				\
	ACCESS(write##len, len, 1)				\
	ACCESS(unaligned_read##len, len, 0)			\
	ACCESS(unaligned_write##len, len, 1)			\
	ACCESS(volatile_read##len, len, 0)			\
	ACCESS(volatile_write##len, len, 1)
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

void __tsan_read_range(void *p, size_t len);
void __tsan_read_range(void *p, size_t len)
{
	NOTE(p, len, 0);
}

void __tsan_write_range(void *p, size_t len);
void __tsan_write_range(void *p, size_t len)
{
	NOTE(p, len, 1);
}

#define ATOMIC_RMW(bits, type, name)						\
	type __tsan_atomic##bits##_##name(volatile type *p, type v, int order);	\
	type __tsan_atomic##bits##_##name(volatile type *p, type v, int order)	\
	{									\
		(void)order;							\
		NOTE((const void *)p, sizeof(*p), 1);				\
		return __atomic_##name(p, v, __ATOMIC_SEQ_CST);			\
	}
/* A failed exchange counts as a write: the line was fetched to be written. */
#define ATOMIC_CAS(bits, type, name, is_weak)					\
	int __tsan_atomic##bits##_##name(volatile type *p, type *old, type v,	\
					 int order, int fail);			\
	int __tsan_atomic##bits##_##name(volatile type *p, type *old, type v,	\
					 int order, int fail)			\
	{									\
		(void)order;							\
		(void)fail;							\
		NOTE((const void *)p, sizeof(*p), 1);				\
		return __atomic_compare_exchange_n(p, old, v, is_weak,		\
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);	\
	}
#define ATOMICS(bits, type)							\
	type __tsan_atomic##bits##_load(const volatile type *p, int order);	\
	type __tsan_atomic##bits##_load(const volatile type *p, int order)	\
	{									\
		(void)order;							\
		NOTE((const void *)p, sizeof(*p), 0);				\
		return __atomic_load_n(p, __ATOMIC_SEQ_CST);			\
	}									\
	void __tsan_atomic##bits##_store(volatile type *p, type v, int order);	\
	void __tsan_atomic##bits##_store(volatile type *p, type v, int order)	\
	{									\
		(void)order;							\
		NOTE((const void *)p, sizeof(*p), 1);				\
		__atomic_store_n(p, v, __ATOMIC_SEQ_CST);			\
	}									\
	type __tsan_atomic##bits##_exchange(volatile type *p, type v, int order);	\
	type __tsan_atomic##bits##_exchange(volatile type *p, type v, int order)	\
	{									\
		(void)order;							\
		NOTE((const void *)p, sizeof(*p), 1);				\
		return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);		\
	}									\
	ATOMIC_RMW(bits, type, fetch_add)					\
	ATOMIC_RMW(bits, type, fetch_sub)					\
	ATOMIC_RMW(bits, type, fetch_and)					\
	ATOMIC_RMW(bits, type, fetch_or)					\
	ATOMIC_RMW(bits, type, fetch_xor)					\
	ATOMIC_CAS(bits, type, compare_exchange_strong, 0)			\
	ATOMIC_CAS(bits, type, compare_exchange_weak, 1)			\
	/* clang's: the value that was there */					\
	type __tsan_atomic##bits##_compare_exchange_val(volatile type *p, type old, type v,	\
							int order, int fail);	\
	type __tsan_atomic##bits##_compare_exchange_val(volatile type *p, type old, type v,	\
							int order, int fail)	\
	{									\
		(void)order;							\
		(void)fail;							\
		NOTE((const void *)p, sizeof(*p), 1);				\
		(void)__atomic_compare_exchange_n(p, &old, v, 0,		\
						  __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);	\
		return old;							\
	}
ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order)
{
	(void)order;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order)
{
	(void)order;
}

/* ---- what the C library does on the library's behalf: -Wl,--wrap, or clang's own names ---- */

#define COPY(name)								\
	void *__real_##name(void *to, const void *from, size_t len);		\
	void *__wrap_##name(void *to, const void *from, size_t len);		\
	void *__wrap_##name(void *to, const void *from, size_t len)		\
	{									\
		NOTE(from, len, 0);						\
		NOTE(to, len, 1);						\
		return __real_##name(to, from, len);				\
	}									\
	void *__tsan_##name(void *to, const void *from, size_t len);		\
	void *__tsan_##name(void *to, const void *from, size_t len)		\
	{									\
		NOTE(from, len, 0);						\
		NOTE(to, len, 1);						\
		return __real_##name(to, from, len);				\
	}
COPY(memcpy)
COPY(memmove)

void *__real_memset(void *p, int c, size_t len);
void *__wrap_memset(void *p, int c, size_t len);
void *__wrap_memset(void *p, int c, size_t len)
{
	NOTE(p, len, 1);
	return __real_memset(p, c, len);
}

void *__tsan_memset(void *p, int c, size_t len);
void *__tsan_memset(void *p, int c, size_t len)
{
	NOTE(p, len, 1);
	return __real_memset(p, c, len);
}

static void *made(void *p, size_t len, uintptr_t caller)
{
	unsigned i;

	if (!p)
		return p;
	i = atomic_fetch_add(&block_count, 1);
	if (i < BLOCKS_MAX)
		blocks[i] = (struct block){ (uintptr_t)p, (uintptr_t)p + len, caller };
	else
		atomic_store(&block_count, BLOCKS_MAX);
	return p;
}

void *__real_malloc(size_t len);
void *__wrap_malloc(size_t len);
void *__wrap_malloc(size_t len)
{
	return made(__real_malloc(len), len, PC);
}

void *__real_calloc(size_t n, size_t len);
void *__wrap_calloc(size_t n, size_t len);
void *__wrap_calloc(size_t n, size_t len)
{
	return made(__real_calloc(n, len), n * len, PC);
}

void *__real_realloc(void *p, size_t len);
void *__wrap_realloc(void *p, size_t len);
void *__wrap_realloc(void *p, size_t len)
{
	return made(__real_realloc(p, len), len, PC);
}

void *__real_aligned_alloc(size_t align, size_t len);
void *__wrap_aligned_alloc(size_t align, size_t len);
void *__wrap_aligned_alloc(size_t align, size_t len)
{
	return made(__real_aligned_alloc(align, len), len, PC);
}
