/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The option queue_paths: "[SRC][-DST],…", numeric addresses. Which connection goes from and
 * to which of its entries. Pure; IPv6 in brackets, or bare where no port follows.
 */
#ifndef NOF_CTRL_PLACEMENT_H
#define NOF_CTRL_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "mptcp/sock.h"

enum { NOFI_PLACES_MAX = 16, NOFI_TRIES_MAX = NOFI_PLACES_MAX * NOFI_ADDRS_MAX };

struct nofi_place {
	struct nofi_addr from;		/* len 0: from anywhere, or host_traddr */
	struct nofi_addr to;		/* len 0: the target's address; never neither */
};

struct nofi_placement {
	uint32_t count;			/* 0: the option is not in use */
	struct nofi_place place[NOFI_PLACES_MAX];
};

/* port: of a DST without one. −EINVAL with a sentence that points at the fault. */
int nofi_placement_parse(const char *text, const char *port, struct nofi_placement *out,
			 struct nofi_err *err);

/*
 * The entry of an I/O queue at its n-th try (from 0): its own, (qid − 1) mod count, which it
 * asks for first in every association; then, so that it is not missing for want of one link,
 * those behind it. count is not 0.
 */
static inline uint32_t nofi_placement_of(const struct nofi_placement *p, uint16_t qid, uint32_t n)
{
	return (qid - 1u + n) % p->count;
}

/* One way to connect the admin queue: an entry, and an address of the target. */
struct nofi_try {
	uint8_t place;			/* 0 without entries, too */
	uint8_t addr;			/* index; of no meaning where the entry has its own */
};

/*
 * All of them in the order to be tried: the entries from first on, with the first address of
 * the target; the same with the second … An entry with a DST comes once. Left out is what
 * has two families. Returns how many.
 */
uint32_t nofi_placement_tries(const struct nofi_placement *p, const struct nofi_addrs *target,
			      uint32_t first, struct nofi_try out[NOFI_TRIES_MAX]);

/* Where an entry leads that has no DST: to the address preferred, or the first of its family. */
const struct nofi_addr *nofi_place_to(const struct nofi_place *place,
				      const struct nofi_addrs *target, uint32_t preferred);

#endif
