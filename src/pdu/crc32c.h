/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CRC32C (Castagnoli, reflected, init and final xor ffffffffh), the digest of
 * NVMe/TCP (T-3). Incremental: start with NOFI_CRC32C_INIT, feed pieces in any
 * split, finish with nofi_crc32c_final(). CRC32C("123456789") = e3069283h.
 * Hardware instructions are chosen once at run time; a portable table is the
 * fallback and both are compared by the unit tests.
 */
#ifndef NOF_PDU_CRC32C_H
#define NOF_PDU_CRC32C_H

#include <stddef.h>
#include <stdint.h>

#define NOFI_CRC32C_INIT 0xffffffffu

/* Continues crc over len bytes. Thread-safe, no state. */
uint32_t nofi_crc32c_update(uint32_t crc, const void *data, size_t len);

/* Copies len bytes and continues crc over them, in one pass over the memory. */
uint32_t nofi_crc32c_copy(uint32_t crc, void *dst, const void *src, size_t len);

static inline uint32_t nofi_crc32c_final(uint32_t crc)
{
	return ~crc;
}

/* One piece, finished. */
static inline uint32_t nofi_crc32c(const void *data, size_t len)
{
	return nofi_crc32c_final(nofi_crc32c_update(NOFI_CRC32C_INIT, data, len));
}

/* For tests: the portable code, and what runs ("avx512", "sse4.2", "armv8", "portable"). */
uint32_t nofi_crc32c_update_portable(uint32_t crc, const void *data, size_t len);
const char *nofi_crc32c_impl(void);

#endif
