/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which path has died in silence? Pure: no socket, no clock.
 *
 * A connection whose commands wait while no byte arrives is suspicious, no more: the target
 * may be slow, and what the kernel knows of the subflows (unacknowledged data, times of the
 * last packets) looks the same on a path that died as on one with nothing to say. So a
 * suspicion only asks: a SYN over each path, which the target's kernel answers however busy
 * the target is. A path is dead when it stays silent for long after another has answered.
 */
#ifndef NOF_MPTCP_STALL_H
#define NOF_MPTCP_STALL_H

#include <stdbool.h>
#include <stdint.h>

enum {
	NOFI_STALL_BASE_NS = 10 * 1000000,	/* quiet for less is never suspicious */
	NOFI_STALL_LEVEL_MAX = 8,		/* … 2.5 s of a target that is always slow */
	NOFI_STALL_PATHS_MAX = 16,
};

/* How soon a quiet connection becomes suspicious. Zero-initialised. */
struct nofi_stall_pace {
	uint64_t rtt_ns;		/* smallest round trip of the slowest path */
	uint64_t alarm;			/* when the last suspicion was, or was forgotten in part */
	uint8_t level;			/* each doubles the limit */
};

uint64_t nofi_stall_limit(const struct nofi_stall_pace *p);
/* It was suspicious: it has to be quiet for longer the next time. */
void nofi_stall_alarmed(struct nofi_stall_pace *p, uint64_t now);
/* Time heals. */
void nofi_stall_calm(struct nofi_stall_pace *p, uint64_t now);

/* What became of asking one path. Times in ns. */
struct nofi_stall_path {
	uint64_t asked;
	uint64_t answered;		/* 0: not yet */
	uint64_t rtt_ns;		/* smoothed, as its subflow knows it; 0: unknown */
	uint64_t min_rtt_ns;
	bool is_failed;			/* it could not be asked: no route, no neighbour */
};

/*
 * Returns the paths (bit: index) that are dead, 0 as long as nothing is known or when all
 * live; *next: when to look again, 0: it is over. When no path answers, none is dead.
 */
uint32_t nofi_stall_judge(const struct nofi_stall_path *paths, unsigned count, uint64_t now,
			  uint64_t *next);

#endif
