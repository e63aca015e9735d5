/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CRC32C by carry-less multiplication of 64 bytes at once: AVX-512 with VPCLMULQDQ, so no CPU
 * that slows down for wide registers.
 *
 * A register holds four 128-bit remainders. Moving one over the d bits that follow it is a
 * multiplication by x^d mod P, its halves apart: the half that comes first is worth x^64 more.
 * As in crc32c_hw.h the product of two bit-reflected values comes out one bit too high and a
 * constant in the low half of 64 bits is worth x^32 too much, which makes it x^(d-33) mod P.
 * Four registers run side by side, since each step waits for the one before it. What is left
 * in the end is 16 bytes, of which the CRC instruction makes the CRC.
 */
#include "pdu/crc32c_impl.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define HW_TARGET		__attribute__((target("sse4.2,pclmul,avx512f,vpclmulqdq")))
#define HW_TARGET_NO_CLMUL	HW_TARGET
#define HW_U64(crc, w)		((uint32_t)_mm_crc32_u64(crc, w))
#define HW_U8(crc, b)		_mm_crc32_u8(crc, b)
#define HW_ONE_STREAM_ONLY

#include "pdu/crc32c_hw.h"

enum { WORD = 64, STEP = 4 * WORD };

/* For a distance of d bits: x^(d+31) and x^(d-33) mod P, reflected. */
#define FOLD_2048	0xb9e02b86, 0xdcb17aa4
#define FOLD_512	0x9e4addf8, 0x740eef02
#define FOLD_384	0xddc0152b, 0x1c291d04
#define FOLD_256	0xba4fc28e, 0x3da6d0cb
#define FOLD_128	0x493c7d27, 0xf20c0dfe

/* a moved over the bits that k is for, with next, which lies there. */
HW_TARGET static inline __m512i fold(__m512i a, __m512i k, __m512i next)
{
	return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(a, k, 0x00),
					 _mm512_clmulepi64_epi128(a, k, 0x11), next, 0x96);
}

/* The CRC of the four remainders, one behind the other. */
HW_TARGET static inline uint32_t finish(__m512i a)
{
	const __m512i k = _mm512_set_epi64(0, 0, FOLD_128, FOLD_256, FOLD_384);
	/* The last of the four is where all go. */
	__m512i sum = fold(a, k, _mm512_maskz_mov_epi64(0xc0, a));
	__m256i half = _mm256_xor_si256(_mm512_castsi512_si256(sum),
					_mm512_extracti64x4_epi64(sum, 1));
	__m128i rest = _mm_xor_si128(_mm256_castsi256_si128(half),
				     _mm256_extracti128_si256(half, 1));

	return (uint32_t)_mm_crc32_u64(_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(rest)),
				       (uint64_t)_mm_extract_epi64(rest, 1));
}

/* The word at src; also copied to dst unless that is NULL. */
HW_TARGET static inline __m512i take(uint8_t *dst, const uint8_t *src, size_t at)
{
	__m512i w = _mm512_loadu_si512(src + at);

	if (dst)
		_mm512_storeu_si512(dst + at, w);
	return w;
}

HW_TARGET static inline __attribute__((always_inline)) uint32_t
by_words(uint32_t crc, uint8_t *dst, const uint8_t *src, size_t len)
{
	const __m512i step = _mm512_broadcast_i32x4(_mm_set_epi64x(FOLD_2048));
	const __m512i word = _mm512_broadcast_i32x4(_mm_set_epi64x(FOLD_512));
	__m512i a, b, c, d;
	size_t at = STEP;

	/* Headers and the like: the registers would cost more than they save. */
	if (len < STEP)
		return one_stream(crc, dst, src, len);
	a = _mm512_xor_si512(take(dst, src, 0),
			     _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
	b = take(dst, src, WORD);
	c = take(dst, src, 2 * WORD);
	d = take(dst, src, 3 * WORD);
	for (; len - at >= STEP; at += STEP) {
		a = fold(a, step, take(dst, src, at));
		b = fold(b, step, take(dst, src, at + WORD));
		c = fold(c, step, take(dst, src, at + 2 * WORD));
		d = fold(d, step, take(dst, src, at + 3 * WORD));
	}
	d = fold(fold(fold(a, word, b), word, c), word, d);
	for (; len - at >= WORD; at += WORD)
		d = fold(d, word, take(dst, src, at));
	return one_stream(finish(d), dst ? dst + at : NULL, src + at, len - at);
}

HW_TARGET static uint32_t update_wide(uint32_t crc, const void *data, size_t len)
{
	return by_words(crc, NULL, data, len);
}

HW_TARGET static uint32_t copy_wide(uint32_t crc, void *dst, const void *src, size_t len)
{
	return by_words(crc, dst, src, len);
}

static const struct nofi_crc32c_ops ops_wide = { "avx512", update_wide, copy_wide };

const struct nofi_crc32c_ops *nofi_crc32c_probe_avx512(void)
{
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("vpclmulqdq") ||
	    !__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("pclmul"))
		return NULL;
	return &ops_wide;
}

#else

const struct nofi_crc32c_ops *nofi_crc32c_probe_avx512(void)
{
	return NULL;
}

#endif
