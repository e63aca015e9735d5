/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which targets MPTCP does not reach, because something on the way drops its SYNs or
 * breaks its connections: new ones use TCP at once, until MPTCP is tried again. By
 * address, port and network namespace, so that one firewall costs no other target
 * its MPTCP, as the kernel's own blackhole detection does for the whole namespace.
 *
 *	unknown ─► suspected (one SYN unanswered) ─► avoided ─► on trial ─► avoided, twice as long
 *	   ▲                                                       │
 *	   └──────────────────── MPTCP was answered ───────────────┘
 *
 * Bounded; the one that was used longest ago makes room. Touched when connections
 * are made, never on the I/O path.
 */
#ifndef NOF_MPTCP_MEMORY_H
#define NOF_MPTCP_MEMORY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
	NOFI_MEMORY_MAX = 64,		/* targets */
	NOFI_MEMORY_PROOF = 2,		/* SYNs without an answer that make up a proof */
	NOFI_MEMORY_FIRST_S = 120,	/* avoided for so long at first, … */
	NOFI_MEMORY_LONGEST_S = 3600,	/* … and at most */
	NOFI_MEMORY_TRIAL_S = 10,	/* one connection tries again; others wait for its result */
	NOFI_MEMORY_DOUBT_S = 600,	/* a suspicion is forgotten after this */
};

/* What happened to MPTCP on the way. */
enum nofi_memory_cause { NOFI_MEMORY_DROPPED, NOFI_MEMORY_BROKEN };

struct nofi_memory_entry {
	uint64_t netns;			/* cookie of the network namespace, 0: kernel has none */
	uint8_t addr[16];		/* IPv4 in the first four, rest 0 */
	uint32_t scope;			/* interface of a link-local IPv6 address, else 0 */
	uint16_t port;			/* network order */
	uint16_t family;		/* AF_UNSPEC: a free entry */
	uint32_t pause_s;		/* length of the present avoidance, 0: only suspected */
	uint32_t unanswered;		/* SYNs, while suspected */
	enum nofi_memory_cause cause;	/* the latest */
	uint64_t until;			/* ns: end of avoidance, or of the suspicion */
	uint64_t used;			/* ns: last looked at or struck */
};

struct nofi_memory {
	pthread_mutex_t lock;
	atomic_uint count;		/* used entries: 0 lets readers go without the lock */
	struct nofi_memory_entry entries[NOFI_MEMORY_MAX];
};

/* The process's own. */
extern struct nofi_memory nofi_memory;

/*
 * True: use TCP at once; why (may be NULL) is for how long, and what happened. False also
 * for the one connection that tries. now: CLOCK_MONOTONIC in ns.
 */
struct nofi_memory_why {
	uint32_t left_s;
	enum nofi_memory_cause cause;
};
bool nofi_memory_avoids(struct nofi_memory *m, uint64_t netns, const struct sockaddr *peer,
			uint64_t now, struct nofi_memory_why *why);

/* So many SYNs got no answer while plain TCP did. Returns for how long MPTCP is avoided now. */
uint32_t nofi_memory_strike(struct nofi_memory *m, uint64_t netns, const struct sockaddr *peer,
			    uint64_t now, uint32_t unanswered);

/* A connection that was MPTCP was damaged on the way: the next ones are TCP. */
uint32_t nofi_memory_break(struct nofi_memory *m, uint64_t netns, const struct sockaddr *peer,
			   uint64_t now);

/* MPTCP was answered. */
void nofi_memory_clear(struct nofi_memory *m, uint64_t netns, const struct sockaddr *peer);

#endif
