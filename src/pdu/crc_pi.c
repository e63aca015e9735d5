/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guards of protection information that are not CRC32C: T10DIF (8bb7h, not
 * reflected) and NVMe's CRC64 (ad93d23594c93659h, reflected). Eight bytes a step:
 * table k holds the CRC of a byte followed by k zero bytes.
 */
#include <pthread.h>

#include "pdu/pi.h"
#include "pdu/wire.h"

#define POLY16 0x8bb7u
#define POLY64 0x9a6c9329ac4bc9b5ull	/* reflected */

static uint16_t t16[8][256];
static uint64_t t64[8][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
	for (unsigned n = 0; n < 256; n++) {
		uint32_t a = n << 8;
		uint64_t b = n;

		for (int bit = 0; bit < 8; bit++) {
			a = a & 0x8000 ? a << 1 ^ POLY16 : a << 1;
			b = b & 1 ? b >> 1 ^ POLY64 : b >> 1;
		}
		t16[0][n] = (uint16_t)a;
		t64[0][n] = b;
	}
	for (unsigned k = 1; k < 8; k++) {
		for (unsigned n = 0; n < 256; n++) {
			uint16_t a = t16[k - 1][n];
			uint64_t b = t64[k - 1][n];

			t16[k][n] = (uint16_t)(a << 8 ^ t16[0][a >> 8]);
			t64[k][n] = b >> 8 ^ t64[0][b & 0xff];
		}
	}
}

uint16_t nofi_crc16_update(uint16_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;

	pthread_once(&once, make_tables);
	for (; len >= 8; len -= 8, p += 8)
		crc = t16[7][p[0] ^ crc >> 8] ^ t16[6][p[1] ^ (crc & 0xff)] ^ t16[5][p[2]] ^
		      t16[4][p[3]] ^ t16[3][p[4]] ^ t16[2][p[5]] ^ t16[1][p[6]] ^ t16[0][p[7]];
	for (; len; len--, p++)
		crc = (uint16_t)(crc << 8 ^ t16[0][crc >> 8 ^ *p]);
	return crc;
}

uint64_t nofi_crc64_update(uint64_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;

	pthread_once(&once, make_tables);
	for (; len >= 8; len -= 8, p += 8) {
		uint64_t w = nofi_get64(p) ^ crc;

		crc = t64[7][w & 0xff] ^ t64[6][w >> 8 & 0xff] ^ t64[5][w >> 16 & 0xff] ^
		      t64[4][w >> 24 & 0xff] ^ t64[3][w >> 32 & 0xff] ^ t64[2][w >> 40 & 0xff] ^
		      t64[1][w >> 48 & 0xff] ^ t64[0][w >> 56];
	}
	for (; len; len--, p++)
		crc = crc >> 8 ^ t64[0][(crc ^ *p) & 0xff];
	return crc;
}
