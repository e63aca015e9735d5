/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CRC32C on a CPU that has an instruction for it; included once by each file
 * that knows such a CPU, after it has defined
 *   HW_TARGET        function attribute that allows all of these instructions
 *   HW_TARGET_NO_CLMUL   the same without those of HW_CLMUL
 *   HW_U64(crc, w)   crc continued over the 8 bytes of w, first byte lowest
 *   HW_U8(crc, b)    crc continued over one byte
 *   HW_CLMUL(a, k)   carry-less product of two 32-bit values, as uint64_t
 * or HW_ONE_STREAM_ONLY, if it has better for long pieces.
 *
 * One CRC instruction takes about three cycles but a new one can start every
 * cycle, so long pieces are cut in three streams of n bytes each that run
 * side by side. Moving a stream's CRC over the m bytes that follow it is a
 * multiplication by x^(8m) mod P. HW_CLMUL of two bit-reflected values gives
 * their product times x, and feeding it to the CRC instruction multiplies by
 * x^32 more, so the constant for m bytes is x^(8m-33) mod P. The products of
 * the first two streams are xored into the last word of the third: they cost
 * no extra step.
 */
#include "pdu/wire.h"

/* One stream: what is left of a piece, and short pieces. */
HW_TARGET_NO_CLMUL static inline __attribute__((always_inline)) uint32_t
one_stream(uint32_t crc, uint8_t *dst, const uint8_t *src, size_t len)
{
	uint64_t w;

	for (; len >= 8; len -= 8, src += 8) {
		w = nofi_get64(src);
		if (dst) {
			nofi_put64(dst, w);
			dst += 8;
		}
		crc = HW_U64(crc, w);
	}
	for (; len; len--, src++) {
		uint8_t byte = *src;

		if (dst)
			*dst++ = byte;
		crc = HW_U8(crc, byte);
	}
	return crc;
}

#ifndef HW_ONE_STREAM_ONLY

/* A block of 3 * 1360 = 4080 bytes suits 4 KiB pieces, 3 * 168 = 504 suits 512 bytes. */
enum { LONG_N = 1360, SHORT_N = 168 };
#define LONG_K1		0x3f70cc6fu	/* x^(8*1360-33) mod P, reflected */
#define LONG_K2		0x5aa1f3cfu	/* x^(16*1360-33) mod P */
#define SHORT_K1	0x1b3d8f29u	/* the same for 168 bytes */
#define SHORT_K2	0xa60ce07bu

/* A block of three streams of n bytes; also copied to dst unless that is NULL. */
HW_TARGET static inline __attribute__((always_inline)) uint32_t
three_streams(uint32_t crc, uint8_t *dst, const uint8_t *src, size_t n, uint32_t k1, uint32_t k2)
{
	uint32_t a = crc, b = 0, c = 0;
	uint64_t wa, wb, wc;
	size_t i;

	for (i = 0;; i += 8) {
		wa = nofi_get64(src + i);
		wb = nofi_get64(src + n + i);
		wc = nofi_get64(src + 2 * n + i);
		if (dst) {
			nofi_put64(dst + i, wa);
			nofi_put64(dst + n + i, wb);
			nofi_put64(dst + 2 * n + i, wc);
		}
		a = HW_U64(a, wa);
		b = HW_U64(b, wb);
		if (i == n - 8)
			break;
		c = HW_U64(c, wc);
	}
	return HW_U64(c, wc ^ HW_CLMUL(a, k2) ^ HW_CLMUL(b, k1));
}

HW_TARGET static inline __attribute__((always_inline)) uint32_t
all_streams(uint32_t crc, uint8_t *dst, const uint8_t *src, size_t len)
{
	for (; len >= 3 * LONG_N; len -= 3 * LONG_N, src += 3 * LONG_N) {
		crc = three_streams(crc, dst, src, LONG_N, LONG_K1, LONG_K2);
		if (dst)
			dst += 3 * LONG_N;
	}
	for (; len >= 3 * SHORT_N; len -= 3 * SHORT_N, src += 3 * SHORT_N) {
		crc = three_streams(crc, dst, src, SHORT_N, SHORT_K1, SHORT_K2);
		if (dst)
			dst += 3 * SHORT_N;
	}
	return one_stream(crc, dst, src, len);
}

HW_TARGET static uint32_t update_clmul(uint32_t crc, const void *data, size_t len)
{
	return all_streams(crc, NULL, data, len);
}

HW_TARGET static uint32_t copy_clmul(uint32_t crc, void *dst, const void *src, size_t len)
{
	return all_streams(crc, dst, src, len);
}

/* For the few CPUs, or hypervisors' idea of one, without carry-less multiplication. */
HW_TARGET_NO_CLMUL static uint32_t update_serial(uint32_t crc, const void *data, size_t len)
{
	return one_stream(crc, NULL, data, len);
}

HW_TARGET_NO_CLMUL static uint32_t copy_serial(uint32_t crc, void *dst, const void *src,
					       size_t len)
{
	return one_stream(crc, dst, src, len);
}

#endif
