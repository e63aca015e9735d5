/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "crc32c.h"

#define POLY 0x82f63b78u /* Castagnoli, reflected */

static uint32_t table[8][256];
static uint32_t (*update)(uint32_t crc, const unsigned char *p, size_t len);

static uint32_t update_bytes(uint32_t crc, const unsigned char *p, size_t len)
{
	while (len--)
		crc = table[0][(crc ^ *p++) & 0xff] ^ crc >> 8;
	return crc;
}

static uint32_t update_table(uint32_t crc, const unsigned char *p, size_t len)
{
	unsigned int i;

	for (; len >= 8; p += 8, len -= 8) {
		uint32_t next = 0;

		/* The first four bytes meet the running CRC, the others only shift past it. */
		for (i = 0; i < 8; i++) {
			unsigned char b = p[i];

			if (i < 4)
				b ^= (unsigned char)(crc >> 8 * i);
			next ^= table[7 - i][b];
		}
		crc = next;
	}
	return update_bytes(crc, p, len);
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t update_sse42(uint32_t crc, const unsigned char *p,
							       size_t len)
{
	uint64_t c = crc, v;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&v, p, 8);
		c = __builtin_ia32_crc32di(c, v);
	}
	return update_bytes((uint32_t)c, p, len);
}
#endif

void tool_crc32c_init(void)
{
	unsigned int i, k;

	for (i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (k = 0; k < 8; k++)
			crc = crc & 1 ? crc >> 1 ^ POLY : crc >> 1;
		table[0][i] = crc;
	}
	for (k = 1; k < 8; k++)
		for (i = 0; i < 256; i++)
			table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 0xff];
	update = update_table;
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		update = update_sse42;
#endif
}

uint32_t tool_crc32c(uint32_t crc, const void *data, size_t len)
{
	return ~update(~crc, data, len);
}
