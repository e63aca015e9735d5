/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Time and latencies, for the raw loop and for the clients of other protocols beside it. */
#include "ceiling.h"

#include <time.h>

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t hist_percentile(const struct hist *h, double percent)
{
	uint64_t want = (uint64_t)((double)h->count * percent / 100.0);
	uint64_t seen = 0;
	size_t i;

	for (i = 0; i < sizeof(h->n) / sizeof(h->n[0]); i++) {
		unsigned int shift;

		seen += h->n[i];
		if (!h->n[i] || seen <= want)
			continue;
		/* The inverse of hist_add(): the lowest 2^(HIST_SUB+1) values are exact. */
		if (i < (2u << HIST_SUB))
			return i;
		shift = (unsigned int)(i >> HIST_SUB) - 1;
		return ((uint64_t)(i - ((size_t)shift << HIST_SUB)) << shift) + (1ull << shift) / 2;
	}
	return 0;
}
