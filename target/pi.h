/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Protection information. On the medium its bytes are complemented, so that
 * blocks that were never written (all zeroes) read as all ones, which no check
 * looks at: that is what the specification wants of deallocated blocks.
 */
#ifndef TARGET_PI_H
#define TARGET_PI_H

#include <stdbool.h>
#include <stdint.h>

struct ns;
struct cmd;

enum pi_guard { PI_GUARD16, PI_GUARD32, PI_GUARD64 };	/* as PIF of ELBAF */
enum { PI_CHECK_REF = 1, PI_CHECK_APP = 2, PI_CHECK_GUARD = 4, PI_ACT = 8 };	/* PRINFO */

/* What a command says about the protection information of its blocks. */
struct pi_args {
	uint8_t prinfo;
	bool is_full;			/* the transfer has it even with PRACT */
	bool is_storage_checked;	/* STC */
	bool is_remapped;		/* Zone Append: reference tags become those of the blocks */
	uint16_t app, appmask;
	uint16_t storage;		/* 32-bit guard only */
	uint64_t ref;			/* of the first block */
	uint64_t slba;			/* is_remapped: where the first block goes */
};

uint32_t pi_size(enum pi_guard pif);
void pi_args_of(const struct cmd *cmd, struct pi_args *a);
/* 0, or why the arguments cannot be (181h). */
uint16_t pi_validate(const struct ns *ns, const struct pi_args *a, uint64_t slba);
/* Bytes of a block in the transfer. */
uint32_t pi_host_block(const struct ns *ns, const struct pi_args *a);
/* From the host's blocks to the medium's, inserted or checked; 0 or 282h to 284h, 288h. */
uint16_t pi_to_medium(const struct ns *ns, const struct pi_args *a, uint32_t nlb,
		      const uint8_t *host, uint8_t *medium);
/* The other way, checked, and stripped if it is to be; host NULL: only checked. */
uint16_t pi_from_medium(const struct ns *ns, const struct pi_args *a, uint32_t nlb,
			const uint8_t *medium, uint8_t *host);
/* Blocks with their metadata, but for the protection information in it. */
bool pi_is_equal(const struct ns *ns, uint32_t nlb, const uint8_t *a, const uint8_t *b);

#endif
