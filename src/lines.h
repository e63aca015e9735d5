/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory that a thread writes with every I/O begins and ends with a cache line, or whatever the
 * allocator puts beside it for another thread would travel between their cores. Freed by free().
 * bench/sharing.py finds what lacks it.
 */
#ifndef NOF_LINES_H
#define NOF_LINES_H

#include <stdlib.h>
#include <string.h>

enum { NOFI_LINE = 64 };

static inline void *nofi_alloc_lines(size_t size)
{
	return aligned_alloc(NOFI_LINE, (size + NOFI_LINE - 1) & ~(size_t)(NOFI_LINE - 1));
}

static inline void *nofi_zalloc_lines(size_t size)
{
	void *p = nofi_alloc_lines(size);

	return p ? memset(p, 0, size) : NULL;
}

#endif
