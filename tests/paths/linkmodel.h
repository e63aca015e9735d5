/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What one direction of an emulated link does to a packet: when it leaves, or
 * that it is lost. Time is an argument, chance comes from a seed, nothing is
 * allocated after the start: the same packets at the same times meet the same
 * fate.
 */
#ifndef TESTS_PATHS_LINKMODEL_H
#define TESTS_PATHS_LINKMODEL_H

#include <stdbool.h>
#include <stdint.h>

#define LM_PACKET_MAX 2048
#define LM_NEVER      UINT64_MAX

struct lm_params {
	uint64_t delay_ns;
	/* Added to or taken from the delay, evenly distributed, at most this. */
	uint64_t jitter_ns;
	/* A packet may overtake one whose jitter was larger. */
	bool may_reorder;
	/* Of 2^32 packets so many are lost, each for itself. */
	uint64_t loss;
	/* Bursts: of 2^32 packets outside so many begin one, of 2^32 inside so many are past it. */
	uint64_t burst_enter, burst_leave;
	/* Bits per second; 0 for no limit. */
	uint64_t rate;
	/* Bytes that may wait for the rate; what does not fit is lost. */
	uint64_t queue_bytes;
	/* So many packets at the beginning have the delay and the rate, but no bad luck. */
	uint64_t calm;
};

/* Every packet counts in packets, and in at most one of those that say how it was lost. */
struct lm_stats {
	uint64_t packets, bytes, delivered, lost_random, lost_burst, lost_queue, lost_pool, refused;
	uint64_t overtaken;
	uint64_t most_held;
};

struct lm_slot {
	uint64_t due;
	/* Order of arrival: equal times leave in it. */
	uint64_t number;
	uint32_t buffer;
};

struct lm_dir {
	struct lm_params params;
	struct lm_stats stats;
	uint64_t random;
	/* When the last bit accepted so far has been sent. */
	uint64_t free_at;
	/* No packet leaves before the previous one, unless it may. */
	uint64_t last_due;
	/* The highest number that has left. */
	uint64_t newest;
	bool in_burst;
	/* A heap, the earliest first, of those that wait; free buffers are a stack. */
	struct lm_slot *heap;
	uint32_t held, capacity;
	uint32_t *spare;
	uint8_t *memory;
	uint16_t *lengths;
};

/* 0, or -ENOMEM. */
int lm_start(struct lm_dir *dir, const struct lm_params *params, uint32_t capacity, uint64_t seed);
void lm_end(struct lm_dir *dir);

/* Where the next packet is to be received, LM_PACKET_MAX bytes; never NULL. */
uint8_t *lm_room(struct lm_dir *dir);
/* A packet of length bytes is there. Whether it is held, to leave at its time. */
bool lm_take(struct lm_dir *dir, uint64_t now, uint16_t length);
/* When the next packet leaves; LM_NEVER when none is held. */
uint64_t lm_due(const struct lm_dir *dir);
/* The packet that leaves first, if it is time; valid until the next call. */
const uint8_t *lm_give(struct lm_dir *dir, uint64_t now, uint16_t *length);

#endif
