/* SPDX-License-Identifier: MIT */
/*
 * Latencies in log-linear buckets: every power of two is cut into 64 equal parts and a bucket
 * stands for its middle, so a percentile is wrong by less than 0.8 %.
 */
#ifndef PERF_HIST_H
#define PERF_HIST_H

#include <stdint.h>

#define HIST_SUB_BITS 6u
#define HIST_SUB      (1u << HIST_SUB_BITS)
#define HIST_MAX_BITS 40u /* 2^40 ns = 18 minutes; longer ones land in the last bucket */
#define HIST_BUCKETS  (HIST_SUB * (HIST_MAX_BITS - HIST_SUB_BITS + 1))

/* One writer; ios and bytes may be read by another thread meanwhile (relaxed atomics). */
struct hist {
	uint64_t ios;	    /* values in the buckets */
	uint64_t bytes;	    /* moved by them */
	uint64_t min;	    /* ns, UINT64_MAX while empty */
	uint64_t max;	    /* ns */
	uint64_t sum;	    /* ns */
	double sum_squares; /* ns² */
	uint64_t bucket[HIST_BUCKETS];
};

static inline unsigned int hist_index(uint64_t ns)
{
	unsigned int top;

	if (ns < HIST_SUB)
		return (unsigned int)ns;
	if (ns >> HIST_MAX_BITS)
		return HIST_BUCKETS - 1;
	top = 63u - (unsigned int)__builtin_clzll(ns);
	return (top - HIST_SUB_BITS + 1) * HIST_SUB +
	       (unsigned int)(ns >> (top - HIST_SUB_BITS) & (HIST_SUB - 1));
}

static inline void hist_add(struct hist *h, uint64_t ns, uint64_t bytes)
{
	h->bucket[hist_index(ns)]++;
	h->sum += ns;
	/* By way of the signed type, for which processors have an instruction. */
	h->sum_squares += (double)(int64_t)ns * (double)(int64_t)ns;
	if (ns < h->min)
		h->min = ns;
	if (ns > h->max)
		h->max = ns;
	__atomic_store_n(&h->ios, h->ios + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&h->bytes, h->bytes + bytes, __ATOMIC_RELAXED);
}

void hist_init(struct hist *h);
void hist_merge(struct hist *into, const struct hist *h);

/* The latency that percent of the values do not exceed, ns; 0 when empty. */
uint64_t hist_percentile(const struct hist *h, double percent);
double hist_mean(const struct hist *h);
double hist_stddev(const struct hist *h);

/* Lowest value of bucket i, ns. */
uint64_t hist_bucket_start(unsigned int i);

#endif
