/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Zones of a namespace of the Zoned Namespace command set. */
#ifndef TARGET_ZNS_H
#define TARGET_ZNS_H

#include "target.h"

enum zone_state {
	ZONE_EMPTY = 1, ZONE_IMPLICIT = 2, ZONE_EXPLICIT = 3, ZONE_CLOSED = 4,
	ZONE_READ_ONLY = 13, ZONE_FULL = 14, ZONE_OFFLINE = 15,
};

struct zone {
	uint64_t wp;			/* next block to write, of the namespace */
	uint8_t state;			/* enum zone_state */
};

struct zns {
	uint64_t bytes, cap_bytes;	/* of data; size and cap follow from the format */
	uint64_t size, cap;		/* blocks of a zone, and those that can be written */
	uint32_t nzones;
	uint32_t mar, mor;		/* active and open zones, at most; UINT32_MAX: no limit */
	uint32_t nactive, nopen;	/* now */
	struct zone zones[];
};

/* Zones for ns, whose size is known; false: none fits, too many, or no memory. */
bool zns_init(struct ns *ns, uint64_t bytes, uint64_t cap, uint32_t mar, uint32_t mor);
void zns_reset(struct ns *ns);		/* all zones are empty, in the format of now */
uint16_t zns_check_read(const struct ns *ns, uint64_t slba, uint64_t nlb);
uint16_t zns_check_write(const struct ns *ns, uint64_t slba, uint64_t nlb);
/* The same, and the zone is opened and its write pointer moves. */
uint16_t zns_write(struct ns *ns, uint64_t slba, uint64_t nlb);
/* 79h, 7Ah, 7Dh */
void zns_prepare(struct cmd *cmd);
/* Control: puts the zone with this block into a state. */
bool zns_force(struct ns *ns, uint64_t slba, const char *state);

#endif
