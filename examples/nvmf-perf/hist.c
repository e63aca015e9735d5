/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "hist.h"

void hist_init(struct hist *h)
{
	memset(h, 0, sizeof(*h));
	h->min = UINT64_MAX;
}

void hist_merge(struct hist *into, const struct hist *h)
{
	unsigned int i;

	into->ios += h->ios;
	into->bytes += h->bytes;
	into->sum += h->sum;
	into->sum_squares += h->sum_squares;
	if (h->min < into->min)
		into->min = h->min;
	if (h->max > into->max)
		into->max = h->max;
	for (i = 0; i < HIST_BUCKETS; i++)
		into->bucket[i] += h->bucket[i];
}

uint64_t hist_bucket_start(unsigned int i)
{
	unsigned int shift;

	if (i < HIST_SUB)
		return i;
	shift = i / HIST_SUB - 1;
	return (uint64_t)(HIST_SUB + i % HIST_SUB) << shift;
}

uint64_t hist_percentile(const struct hist *h, double percent)
{
	uint64_t rank, seen = 0, middle;
	unsigned int i;

	if (h->ios == 0)
		return 0;
	rank = (uint64_t)ceil(percent / 100 * (double)h->ios);
	if (rank < 1)
		rank = 1;
	for (i = 0; i < HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= rank)
			break;
	}
	if (i + 1 >= HIST_BUCKETS)
		return h->max;
	middle = (hist_bucket_start(i) + hist_bucket_start(i + 1)) / 2;
	/* The extremes are known exactly. */
	if (middle < h->min)
		return h->min;
	return middle > h->max ? h->max : middle;
}

double hist_mean(const struct hist *h)
{
	return h->ios ? (double)h->sum / (double)h->ios : 0;
}

double hist_stddev(const struct hist *h)
{
	double mean = hist_mean(h), var;

	if (h->ios == 0)
		return 0;
	var = h->sum_squares / (double)h->ios - mean * mean;
	return var > 0 ? sqrt(var) : 0;
}
