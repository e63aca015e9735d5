/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A namespace as the I/O path needs it. What channels need of it they copy, so that
 * any thread may use its channel without a lock.
 */
#ifndef NOF_CTRL_NS_H
#define NOF_CTRL_NS_H

#include <pthread.h>
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
	uint32_t ana_group;		/* 0: none */

	/* Limits of one command, in blocks, all ≥ 1. */
	uint32_t max_blocks;		/* read, write, compare: ≤ NOFI_NS_CMD_BLOCKS */
	uint32_t max_wz_blocks;		/* write zeroes: ≤ NOFI_NS_CMD_BLOCKS */
	uint32_t max_dsm_blocks;	/* of one range (DMRSL) */
	uint32_t max_dsm_ranges;	/* of one command (DMRL): 1..NOFI_NS_DSM_RANGES */
	uint64_t max_dsm_total;		/* of all ranges of one command (DMSL) */

	/* ident_cs.c: format */
	uint8_t format;			/* index of the LBA format */
	uint16_t ms;			/* bytes of metadata per block, behind it on the wire */
	uint8_t pi_type;		/* protection information: 0 none, 1, 2, 3 */
	uint8_t pif;			/* enum nofi_pif */
	uint8_t sts;			/* bits of the storage tag */
	bool is_pi_first;		/* in front of the rest of the metadata */
	bool is_plain;			/* nof_read() and the like work: the controller does what
					   there is of metadata */
	uint32_t prinfo;		/* in CDW12 of these; 0: no protection information */
	/* Blocks of one command, ≥ 1 unless it says otherwise. */
	uint32_t max_bytes;		/* of data of one command */
	uint32_t max_md_blocks;		/* with metadata in the transfer; may be 0 */
	uint32_t max_verify_blocks;	/* ≤ NOFI_NS_CMD_BLOCKS */
	uint32_t max_wu_blocks;		/* write uncorrectable: ≤ NOFI_NS_CMD_BLOCKS */
	uint32_t copy_range, copy_total, copy_ranges;	/* of Copy, where there is Copy */
	uint16_t copy_formats;		/* a bit each */
	bool has_long_hostid;		/* the controller knows hosts by 16 bytes */
	/* Blocks that are written all or not at all. */
	uint32_t atomic;		/* in the eyes of other commands */
	uint32_t atomic_pf;		/* also through a loss of power */
	uint32_t atomic_cmp;		/* compare and write */
	uint32_t atomic_boundary;	/* atomic_pf ends at multiples of it …, 0: at none */
	uint32_t atomic_offset;		/* … from this block on */
	/* Zones; 0 without */
	uint64_t zone_size;		/* blocks */
	uint32_t max_active, max_open;	/* zones, 0: no limit */
	uint32_t max_append_blocks;	/* of one Zone Append */

	uint32_t preferred_io;		/* bytes, 0 unknown */
	uint32_t preferred_dealloc;	/* bytes, 0 unknown */
};

struct nofi_path;
struct nofi_ns_user;

/*
 * The user's handle of a namespace. It outlives its last reference until the loops of its
 * paths' controllers have let go of it.
 */
struct nof_ns {
	struct nof_ctrl *ctrl;		/* the one it was opened through; owns a reference to it */
	atomic_uint refs;		/* the user's, and one per channel (nofi_ns_ref) */
	atomic_uint memory;		/* one while there are refs, one per path */

	pthread_mutex_t lock;		/* everything below; never taken on the I/O path */
	struct nofi_ns_ident id;	/* as it was opened, its size as it is now; the identity and
					   the geometry but for the size never change */
	struct nofi_path *paths;	/* in the order in which they were added */
	struct nofi_ns_user *users;	/* channels */
	uint32_t npaths;
	enum nof_iopolicy iopolicy;
	struct nofi_path *pinned;	/* NULL: none */
	struct nofi_path *preferred;	/* NULL: none */
	bool is_closed;			/* no refs any more */
};

/* Any thread. */
struct nof_ns *nofi_ns_ref(struct nof_ns *ns);
void nofi_ns_unref(struct nof_ns *ns);
void nofi_ns_memory_put(struct nof_ns *ns);
/* As it is now. */
void nofi_ns_get_ident(const struct nof_ns *ns, struct nofi_ns_ident *out);

#endif
