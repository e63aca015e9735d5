/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CRC32C: the portable code, and the choice of what runs. */
#include "pdu/crc32c.h"

#include <stdatomic.h>

#include "pdu/crc32c_impl.h"
#include "pdu/wire.h"

/*
 * Eight bytes a step: table k holds the CRC of a byte followed by k zero bytes.
 * The CRC is linear, so an entry is the xor of those of its single bits; the
 * 64 constants are 82f63b78h (the polynomial, reflected) shifted on bit by bit.
 * That makes the tables constants of the program, with nothing to set up.
 */
#define BIT(n, b, v)	((n) >> (b) & 1 ? (v) : 0u)
#define ENTRY(n, b0, b1, b2, b3, b4, b5, b6, b7)			\
	(BIT(n, 0, b0) ^ BIT(n, 1, b1) ^ BIT(n, 2, b2) ^ BIT(n, 3, b3) ^	\
	 BIT(n, 4, b4) ^ BIT(n, 5, b5) ^ BIT(n, 6, b6) ^ BIT(n, 7, b7))
#define ROW4(n, ...)							\
	ENTRY(n, __VA_ARGS__), ENTRY((n) + 1, __VA_ARGS__),		\
	ENTRY((n) + 2, __VA_ARGS__), ENTRY((n) + 3, __VA_ARGS__)
#define ROW16(n, ...)							\
	ROW4(n, __VA_ARGS__), ROW4((n) + 4, __VA_ARGS__),		\
	ROW4((n) + 8, __VA_ARGS__), ROW4((n) + 12, __VA_ARGS__)
#define ROW64(n, ...)							\
	ROW16(n, __VA_ARGS__), ROW16((n) + 16, __VA_ARGS__),		\
	ROW16((n) + 32, __VA_ARGS__), ROW16((n) + 48, __VA_ARGS__)
#define TABLE(...)							\
	{ ROW64(0, __VA_ARGS__), ROW64(64, __VA_ARGS__),		\
	  ROW64(128, __VA_ARGS__), ROW64(192, __VA_ARGS__) }

static const uint32_t table[8][256] = {
	TABLE(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf,
	      0x105ec76f, 0x20bd8ede, 0x417b1dbc, 0x82f63b78),
	TABLE(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8,
	      0x3fc5f181, 0x7f8be302, 0xff17c604, 0xfbc3faf9),
	TABLE(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5,
	      0x70a27d8a, 0xe144fb14, 0xc76580d9, 0x8b277743),
	TABLE(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6,
	      0xe964b13d, 0xd725148b, 0xaba65fe7, 0x52a0c93f),
	TABLE(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91,
	      0x8f2261d3, 0x1ba8b557, 0x37516aae, 0x6ea2d55c),
	TABLE(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f,
	      0xc00c303e, 0x85f4168d, 0x0e045beb, 0x1c08b7d6),
	TABLE(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53,
	      0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a, 0xf56e0ef4),
	TABLE(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da,
	      0x847609b4, 0x0d006599, 0x1a00cb32, 0x34019664),
};

uint32_t nofi_crc32c_update_portable(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (; len >= 8; len -= 8, p += 8) {
		uint64_t w = nofi_get64(p) ^ crc;

		crc = table[7][w & 0xff] ^ table[6][w >> 8 & 0xff] ^
		      table[5][w >> 16 & 0xff] ^ table[4][w >> 24 & 0xff] ^
		      table[3][w >> 32 & 0xff] ^ table[2][w >> 40 & 0xff] ^
		      table[1][w >> 48 & 0xff] ^ table[0][w >> 56];
	}
	for (; len; len--, p++)
		crc = crc >> 8 ^ table[0][(crc ^ *p) & 0xff];
	return crc;
}

/* Pieces that stay in the first-level cache between the two passes. */
enum { COPY_PIECE = 8192 };

static uint32_t copy_portable(uint32_t crc, void *dst, const void *src, size_t len)
{
	uint8_t *d = dst;
	const uint8_t *s = src;

	while (len) {
		size_t n = len < COPY_PIECE ? len : COPY_PIECE;

		memcpy(d, s, n);
		/* Of the copy: another thread may be changing the source. */
		crc = nofi_crc32c_update_portable(crc, d, n);
		d += n;
		s += n;
		len -= n;
	}
	return crc;
}

static const struct nofi_crc32c_ops ops_portable = {
	"portable", nofi_crc32c_update_portable, copy_portable
};

/* NULL until the first use. Every thread that gets here first finds the same. */
static const struct nofi_crc32c_ops *_Atomic chosen;

const struct nofi_crc32c_ops *nofi_crc32c_nth(unsigned n)
{
	const struct nofi_crc32c_ops *all[] = {
		nofi_crc32c_probe_avx512(), nofi_crc32c_probe_x86(), nofi_crc32c_probe_arm(),
		&ops_portable,
	};

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i] && n-- == 0)
			return all[i];
	return NULL;
}

static __attribute__((noinline, cold)) const struct nofi_crc32c_ops *choose(void)
{
	const struct nofi_crc32c_ops *ops = nofi_crc32c_nth(0);

	/* Relaxed: what it points to is constant, there is nothing to order. */
	atomic_store_explicit(&chosen, ops, memory_order_relaxed);
	return ops;
}

static inline const struct nofi_crc32c_ops *get_ops(void)
{
	const struct nofi_crc32c_ops *ops = atomic_load_explicit(&chosen, memory_order_relaxed);

	return ops ? ops : choose();
}

uint32_t nofi_crc32c_update(uint32_t crc, const void *data, size_t len)
{
	return get_ops()->update(crc, data, len);
}

uint32_t nofi_crc32c_copy(uint32_t crc, void *dst, const void *src, size_t len)
{
	return get_ops()->copy(crc, dst, src, len);
}

const char *nofi_crc32c_impl(void)
{
	return get_ops()->name;
}
