/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between crc32c.c, which chooses, and the files with machine instructions. */
#ifndef NOF_PDU_CRC32C_IMPL_H
#define NOF_PDU_CRC32C_IMPL_H

#include <stddef.h>
#include <stdint.h>

struct nofi_crc32c_ops {
	const char *name;	/* what nofi_crc32c_impl() tells */
	uint32_t (*update)(uint32_t crc, const void *data, size_t len);
	uint32_t (*copy)(uint32_t crc, void *dst, const void *src, size_t len);
};

/* What this machine can run, or NULL; each is NULL on any other architecture. */
const struct nofi_crc32c_ops *nofi_crc32c_probe_avx512(void);
const struct nofi_crc32c_ops *nofi_crc32c_probe_x86(void);
const struct nofi_crc32c_ops *nofi_crc32c_probe_arm(void);

/* For tests and measurements: all that this machine can run, fastest first; NULL after the last. */
const struct nofi_crc32c_ops *nofi_crc32c_nth(unsigned n);

#endif
