/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How fast each implementation of CRC32C is on this CPU, next to memcpy(): bytes per ns of the
 * CRC alone (update) and of a copy with the CRC of what was copied (copy). Pieces are taken in
 * turn from an area that is in the second-level cache but not in the first, as data is that the
 * kernel has just delivered. JSON on stdout; --list only names what there is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pdu/crc32c.h"
#include "pdu/crc32c_impl.h"

enum { SPAN = 256 << 10, ROUNDS = 9, OFFSET = 28 };

static uint8_t *src, *dst;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* ops NULL: memcpy(). The best of several rounds: what else runs here only slows down. */
static double rate(const struct nofi_crc32c_ops *ops, int is_copy, size_t len, size_t bytes)
{
	static volatile uint32_t sink;
	double best = 0;

	for (int r = 0; r < ROUNDS; r++) {
		double start = now(), got;
		size_t done, at = 0;

		for (done = 0; done < bytes; done += len, at += len) {
			if (at + len > SPAN)
				at = 0;
			if (!ops)
				memcpy(dst + at, src + OFFSET + at, len);
			else if (is_copy)
				sink = ops->copy(sink, dst + at, src + OFFSET + at, len);
			else
				sink = ops->update(sink, src + OFFSET + at, len);
			/* The copy is wanted, though nobody reads it. */
			__asm__ volatile("" : : "r"(dst) : "memory");
		}
		got = (double)done / (now() - start);
		if (got > best)
			best = got;
	}
	return best;
}

static void list(void)
{
	const struct nofi_crc32c_ops *ops;

	printf("{\"implementations\": [");
	for (unsigned i = 0; (ops = nofi_crc32c_nth(i)); i++)
		printf("%s\"%s\"", i ? ", " : "", ops->name);
	printf("]");
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = { 24, 72, 512, 4096, 16384, 131072 };
	size_t bytes = 16 << 20;

	list();
	if (argc > 1 && !strcmp(argv[1], "--list")) {
		printf("}\n");
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "--quick"))
		bytes = 1 << 20;
	src = aligned_alloc(4096, SPAN + 4096);
	dst = aligned_alloc(4096, SPAN + 4096);
	if (!src || !dst)
		return 1;
	memset(src, 0x5a, SPAN + 4096);
	memset(dst, 0, SPAN + 4096);
	printf(", \"rates\": [");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		const struct nofi_crc32c_ops *ops;

		printf("%s{\"bytes\": %zu, \"memcpy\": %.2f", i ? ",\n" : "\n", sizes[i],
		       rate(NULL, 1, sizes[i], bytes));
		for (unsigned n = 0; (ops = nofi_crc32c_nth(n)); n++)
			printf(", \"%s\": {\"update\": %.2f, \"copy\": %.2f}", ops->name,
			       rate(ops, 0, sizes[i], bytes / 4),
			       rate(ops, 1, sizes[i], bytes / 4));
		printf("}");
	}
	printf("]}\n");
	return 0;
}
