/* SPDX-License-Identifier: MIT */
/*
 * CRC32C for the checks that the tools do themselves. Independent of the library's on purpose:
 * a fault in its digests must not hide itself here.
 */
#ifndef TOOL_CRC32C_H
#define TOOL_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* To be called once before any other thread computes. */
void tool_crc32c_init(void);

/* CRC32C of len bytes; crc is 0, or the result for the bytes before them. */
uint32_t tool_crc32c(uint32_t crc, const void *data, size_t len);

#endif
