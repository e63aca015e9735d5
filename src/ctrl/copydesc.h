/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Source ranges of Copy (NVM command set 3.2.2): how many of them, and how much of
 * each, one command takes, and their descriptors. Pure.
 */
#ifndef NOF_CTRL_COPYDESC_H
#define NOF_CTRL_COPYDESC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nof.h"
#include "pdu/pi.h"

struct nofi_copy_limits {
	uint32_t range;		/* blocks of one range (MSSRL), 1..65536 */
	uint32_t total;		/* blocks of one command (MCL), ≥ 1 */
	uint32_t ranges;	/* of one command (MSRC + 1), 1..256 */
};

/* Where the next command starts. */
struct nofi_copy_cursor {
	const struct nof_copy_range *range;	/* in blocks */
	size_t left;				/* ranges, with that one */
	uint64_t done;				/* blocks of that one */
};

enum { NOFI_COPY_DESC0 = 32, NOFI_COPY_DESC1 = 40, NOFI_COPY_RANGES = 256 };

/*
 * Fills descriptors of format 0 or 1 for one command and moves the cursor on. pi: expected
 * tags are written, NULL: none. Returns how many there are, 0 at the end; *blocks: their sum.
 */
unsigned nofi_copy_build(struct nofi_copy_cursor *at, const struct nofi_copy_limits *lim,
			 uint8_t format, const struct nofi_pi *pi, uint8_t *desc,
			 uint32_t *blocks);

#endif
