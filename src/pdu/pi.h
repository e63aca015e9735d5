/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Protection information (C-2; NVM command set 5.2): the 8 or 16 bytes of a block's
 * metadata that hold a guard over its contents, an application tag and a reference
 * tag. Computes and checks them; knows neither commands nor connections.
 *
 *	             guard           application tag   storage and reference tag
 *	PIF 0 (16b)  2 bytes, T10DIF        2                4 bytes
 *	PIF 1 (32b)  4 bytes, CRC32C        2               10 bytes
 *	PIF 2 (64b)  8 bytes, NVMe CRC64    2                6 bytes
 *
 * All fields are big-endian. The storage tag is the upper STS bits of the last field.
 */
#ifndef NOF_PDU_PI_H
#define NOF_PDU_PI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum nofi_pif { NOFI_PIF_16, NOFI_PIF_32, NOFI_PIF_64 };

enum nofi_pi_tag {
	NOFI_PI_GUARD = 1u << 0,
	NOFI_PI_APP = 1u << 1,
	NOFI_PI_REF = 1u << 2,
	NOFI_PI_STORAGE = 1u << 3,
};

struct nofi_pi {
	uint8_t type;		/* 1: the reference tag is the block's number; 2: counts from
				   what the host says; 3: means nothing */
	uint8_t pif;		/* enum nofi_pif */
	uint8_t sts;		/* bits of the storage tag, see nofi_pi_is_possible() */
	bool is_first;		/* in the first bytes of the metadata; else in the last, and the
				   guard covers what is before it */
	uint16_t ms;		/* bytes of metadata per block, ≥ nofi_pi_len() */
	uint32_t block;		/* bytes of data per block */
	uint32_t checks;	/* enum nofi_pi_tag: what nofi_pi_check() looks at */
	uint16_t app, app_mask;	/* expected and written; only bits of the mask are compared */
	uint64_t ref;		/* of the first block; cut to its bits */
	uint64_t storage;
};

/* What did not match. */
struct nofi_pi_fault {
	uint64_t index;		/* block, 0: the first */
	enum nofi_pi_tag tag;
	uint64_t got, want;
};

/* Bytes of protection information: 8 or 16. */
static inline unsigned nofi_pi_len(uint8_t pif)
{
	return pif == NOFI_PIF_16 ? 8 : 16;
}

/* May a namespace say so? Storage tags of 0..32, 16..64, 0..48 bits, by format. */
bool nofi_pi_is_possible(uint8_t pif, uint8_t sts);
unsigned nofi_pi_ref_bits(const struct nofi_pi *pi);

/*
 * Writes the protection information of blocks into md (ms bytes per block; other bytes
 * of it stay), whose data starts off bytes into iov.
 */
void nofi_pi_fill(const struct nofi_pi *pi, const struct iovec *iov, size_t off, uint8_t *md,
		  uint64_t blocks);
/* Compares it: 0, or −EILSEQ with the first fault. Escape values switch it off for a block. */
int nofi_pi_check(const struct nofi_pi *pi, const struct iovec *iov, size_t off, const uint8_t *md,
		  uint64_t blocks, struct nofi_pi_fault *fault);

/* Initial (or expected initial) storage and reference tag, index blocks on, as CDW2, 3, 14. */
void nofi_pi_cdws(const struct nofi_pi *pi, uint64_t index, uint32_t *cdw2, uint32_t *cdw3,
		  uint32_t *cdw14);

/* The guards. Start with 0 and ~0 (the others finish by inverting); any split. */
uint16_t nofi_crc16_update(uint16_t crc, const void *data, size_t len);
uint64_t nofi_crc64_update(uint64_t crc, const void *data, size_t len);

#endif
