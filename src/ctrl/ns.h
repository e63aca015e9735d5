/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A namespace as the I/O path needs it. What channels need of it they copy, so that
 * any thread may use its channel without a lock.
 */
#ifndef NOF_CTRL_NS_H
#define NOF_CTRL_NS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "nof.h"

struct nofi_err;

enum {
	NOFI_NS_CMD_BLOCKS = 65536,	/* NLB is 16 bits, 0's based (C-1) */
	NOFI_NS_DSM_RANGES = 256,	/* ranges of one Dataset Management command */
};

/*
 * What Identify says of a namespace, validated: plain numbers. The limits are those of one
 * controller, the rest is the same through all of them.
 */
struct nofi_ns_ident {
	uint32_t nsid;
	uint32_t features;		/* enum nof_ns_feature */
	uint64_t nblocks;		/* NSZE; nblocks << lba_shift fits in 63 bits */
	uint8_t lba_shift;		/* 9..16 */
	uint8_t csi;			/* 0: NVM */
	bool is_read_only;		/* NSATTR b0 */
	bool has_uuid, has_nguid, has_eui64;
	uint8_t uuid[16];
	uint8_t nguid[16];
	uint8_t eui64[8];

	/* Limits of one command, in blocks, all ≥ 1. */
	uint32_t max_blocks;		/* read, write, compare: ≤ NOFI_NS_CMD_BLOCKS */
	uint32_t max_wz_blocks;		/* write zeroes: ≤ NOFI_NS_CMD_BLOCKS */
	uint32_t max_dsm_blocks;	/* of one range (DMRSL) */
	uint32_t max_dsm_ranges;	/* of one command (DMRL): 1..NOFI_NS_DSM_RANGES */
	uint64_t max_dsm_total;		/* of all ranges of one command (DMSL) */

	uint32_t preferred_io;		/* bytes, 0 unknown */
	uint32_t preferred_dealloc;	/* bytes, 0 unknown */
};

struct nof_ns {
	struct nof_ctrl *ctrl;		/* owns a reference to it */
	atomic_uint refs;		/* the user's, and one per channel (nofi_ns_ref) */
	struct nofi_ns_ident id;	/* as it was opened */
};

/* Any thread. */
struct nof_ns *nofi_ns_ref(struct nof_ns *ns);
void nofi_ns_unref(struct nof_ns *ns);

#endif
