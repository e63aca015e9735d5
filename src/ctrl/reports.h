/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What controllers report about zones, reservations and their commands, judged: pure
 * functions over the bytes they sent, none of which is trusted.
 */
#ifndef NOF_CTRL_REPORTS_H
#define NOF_CTRL_REPORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "nof.h"

/* ---- zones (ZNS 3.4.2.1.1) ---- */

enum { NOFI_ZONE_HEADER = 64, NOFI_ZONE_ENTRY = 64 };

struct nofi_zone_ctx {
	uint64_t nblocks;	/* of the namespace */
	uint64_t zone_size;	/* blocks */
	uint64_t from;		/* first block that was asked for: zones start there or later */
	uint32_t filter;	/* enum nof_zone_filter that was asked for */
};

/*
 * One answer of len bytes to Report Zones with the partial bit. Writes at most max
 * zones; returns how many it holds, or −EPROTO: more than fit, not in order, outside of
 * the namespace, a state or write pointer that cannot be.
 */
int nofi_zones_parse(const uint8_t *p, size_t len, const struct nofi_zone_ctx *ctx,
		     struct nof_zone *zones, uint32_t max, struct nofi_err *err);

/* ---- reservations (NVMe 2.0, 7.5 and figure 412 on) ---- */

/* Bytes of a report with n registrants. */
size_t nofi_resv_len(bool is_extended, uint32_t n);
/*
 * A report of len bytes. Writes *status but its size, and at most max registrants; returns how many
 * it wrote, or −EPROTO.
 */
int nofi_resv_parse(const uint8_t *p, size_t len, bool is_extended, struct nof_resv_status *status,
		    struct nof_registrant *regs, uint32_t max, struct nofi_err *err);

/* Log page 80h, 64 bytes. false: empty. */
struct nofi_resv_note {
	uint64_t count;		/* LPC */
	uint8_t type;		/* 1 registration preempted, 2 released, 3 preempted */
	uint8_t more;		/* log pages that wait behind it */
	uint32_t nsid;
};
bool nofi_resv_note_parse(const uint8_t p[64], struct nofi_resv_note *out);
const char *nofi_resv_note_text(uint8_t type);

/* ---- commands supported (log page 05h) ---- */

struct nofi_effects {
	bool is_known;
	uint8_t admin[32];	/* a bit per opcode */
	uint8_t io[32];
};
void nofi_effects_parse(const uint8_t p[4096], struct nofi_effects *out);
static inline bool nofi_effects_has(const uint8_t bits[32], uint8_t opcode)
{
	return bits[opcode / 8] >> opcode % 8 & 1;
}

#endif
