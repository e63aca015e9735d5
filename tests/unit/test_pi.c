/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Protection information (C-2): known answers of the guards; every format, position and
 * type against a slow oracle that shares no code; and every bit that may be wrong.
 */
#include "unit.h"

#include <errno.h>

#include "pdu/crc32c.h"
#include "pdu/pi.h"

/* ---- known answers ---- */

static void test_known_guards(void **state)
{
	static uint8_t k[4096], z[4096];

	assert_int_equal(nofi_crc16_update(0, "123456789", 9), 0xd0db);
	assert_true(~nofi_crc64_update(UINT64_MAX, "123456789", 9) == 0xae8b14860a799888u);
	/* 4 KiB blocks without metadata: the examples of NVM command set 5.2.1. */
	assert_int_equal(nofi_crc16_update(0, z, 4096), 0);
	assert_int_equal(nofi_crc32c(z, 4096), 0x98f94189);
	assert_true(~nofi_crc64_update(UINT64_MAX, z, 4096) == 0x6482d367eb22b64eu);
	memset(k, 0xff, sizeof(k));
	assert_int_equal(nofi_crc32c(k, 4096), 0x25c1fe13);
	assert_true(~nofi_crc64_update(UINT64_MAX, k, 4096) == 0xc0ddba7302eca3acu);
	for (unsigned i = 0; i < 4096; i++)
		k[i] = (uint8_t)i;
	assert_int_equal(nofi_crc32c(k, 4096), 0x9c71fe32);
	assert_true(~nofi_crc64_update(UINT64_MAX, k, 4096) == 0x3e729f5f6750449cu);
	for (unsigned i = 0; i < 4096; i++)
		k[i] = (uint8_t)(255 - i);
	assert_int_equal(nofi_crc32c(k, 4096), 0x214941a8);
	assert_true(~nofi_crc64_update(UINT64_MAX, k, 4096) == 0x9a2df64b8e9e517eu);
}

/* ---- the oracle: bit by bit, over bytes laid out as strings of bits ---- */

static uint64_t slow_guard(unsigned pif, const uint8_t *p, size_t len)
{
	uint64_t c = pif ? UINT64_MAX : 0;

	if (pif == 1)
		c = 0xffffffff;
	for (size_t i = 0; i < len * 8; i++) {
		unsigned bit = pif ? p[i / 8] >> (i % 8) & 1 : p[i / 8] >> (7 - i % 8) & 1;

		if (pif == 0) {
			bit ^= c >> 15 & 1;
			c = (c << 1 & 0xffff) ^ (bit ? 0x8bb7 : 0);
		} else {
			bit ^= c & 1;
			c = c >> 1 ^ (!bit ? 0 : pif == 1 ? 0x82f63b78u : 0x9a6c9329ac4bc9b5u);
		}
	}
	return pif == 0 ? c : pif == 1 ? c ^ 0xffffffff : ~c;
}

/* n bits of v at bit position pos, most significant first. */
static void put_bits(uint8_t *p, unsigned pos, unsigned n, uint64_t v)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned b = pos + i;

		p[b / 8] &= (uint8_t)~(0x80 >> b % 8);
		if (v >> (n - 1 - i) & 1)
			p[b / 8] |= (uint8_t)(0x80 >> b % 8);
	}
}

static void slow_fill(const struct nofi_pi *pi, const uint8_t *data, uint8_t *md, uint64_t ref)
{
	static const unsigned guard[] = { 16, 32, 64 }, space[] = { 32, 80, 48 };
	unsigned len = pi->pif ? 16 : 8, pos = pi->is_first ? 0 : pi->ms - len;
	unsigned covered = pi->is_first ? 0 : pos, sts = pi->sts, g = guard[pi->pif];
	uint8_t *copy = malloc(pi->block + covered);

	memcpy(copy, data, pi->block);
	memcpy(copy + pi->block, md, covered);
	put_bits(md + pos, 0, g, slow_guard(pi->pif, copy, pi->block + covered));
	put_bits(md + pos, g, 16, pi->app);
	put_bits(md + pos, g + 16, sts, pi->storage);
	put_bits(md + pos, g + 16 + sts, space[pi->pif] - sts, ref);
	free(copy);
}

/* ---- every format against it ---- */

/* Cuts a buffer at random, with empty pieces among them. */
static int cut(struct iovec *iov, uint8_t *p, size_t len)
{
	int n = 0;

	while (len) {
		size_t k = random64() % 4 ? random64() % 700 : 0;

		if (k > len)
			k = len;
		iov[n++] = (struct iovec){ p, k };
		p += k;
		len -= k;
	}
	return n;
}

static void random_pi(struct nofi_pi *pi)
{
	static const uint8_t lo[] = { 0, 16, 0 }, hi[] = { 32, 64, 48 };
	unsigned pif = random64() % 3;
	unsigned sts = lo[pif] + random64() % (hi[pif] - lo[pif] + 1u);

	*pi = (struct nofi_pi){ .type = (uint8_t)(1 + random64() % 3), .pif = (uint8_t)pif,
				.sts = (uint8_t)sts, .is_first = random64() & 1,
				.ms = (uint16_t)(nofi_pi_len((uint8_t)pif) + random64() % 60),
				.block = 512u << random64() % 2, .checks = 15,
				.app = (uint16_t)random64(), .app_mask = 0xffff,
				.ref = random64(), .storage = random64() };
	if (pi->app == 0xffff)
		pi->app = 0;
	if (random64() % 4 == 0)
		pi->ms = (uint16_t)nofi_pi_len(pi->pif);
	assert_true(nofi_pi_is_possible(pi->pif, pi->sts));
}

static void test_against_oracle(void **state)
{
	enum { BLOCKS = 5 };
	static uint8_t data[BLOCKS * 1024 + 100], md[BLOCKS * 80], want[BLOCKS * 80];
	static struct iovec iov[20000];
	struct nofi_pi_fault f;

	for (int run = 0; run < 1500; run++) {
		struct nofi_pi pi;
		size_t off = random64() % 100;
		uint64_t mask;

		random_pi(&pi);
		random_fill(data, sizeof(data));
		random_fill(md, sizeof(md));
		memcpy(want, md, sizeof(md));
		mask = nofi_pi_ref_bits(&pi) == 64 ? UINT64_MAX :
		       (1ull << nofi_pi_ref_bits(&pi)) - 1;
		for (unsigned i = 0; i < BLOCKS; i++)
			slow_fill(&pi, data + off + i * pi.block, want + i * pi.ms,
				  (pi.ref + (pi.type == 3 ? 0 : i)) & mask);
		cut(iov, data, sizeof(data));
		nofi_pi_fill(&pi, iov, off, md, BLOCKS);
		assert_memory_equal(md, want, sizeof(md));
		assert_int_equal(nofi_pi_check(&pi, iov, off, md, BLOCKS, &f), 0);
	}
}

/* Each bit of data, of covered metadata and of each field, turned over. */
static void test_every_bit_counts(void **state)
{
	enum { BLOCK = 512 };
	static uint8_t data[2 * BLOCK], md[2 * 80];

	for (int run = 0; run < 60; run++) {
		struct iovec iov = { data, sizeof(data) };
		struct nofi_pi pi;
		struct nofi_pi_fault f;
		unsigned len, pos, guard;

		random_pi(&pi);
		pi.block = BLOCK;
		random_fill(data, sizeof(data));
		random_fill(md, sizeof(md));
		nofi_pi_fill(&pi, &iov, 0, md, 2);
		len = nofi_pi_len(pi.pif);
		pos = pi.is_first ? 0 : pi.ms - len;
		guard = pi.pif == 0 ? 2 : pi.pif == 1 ? 4 : 8;
		for (int k = 0; k < 40; k++) {
			size_t bit = random64() % (BLOCK * 8);

			data[BLOCK + bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(nofi_pi_check(&pi, &iov, 0, md, 2, &f), -EILSEQ);
			assert_int_equal(f.index, 1);
			assert_int_equal(f.tag, NOFI_PI_GUARD);
			data[BLOCK + bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		for (unsigned bit = 0; bit < pi.ms * 8u; bit++) {
			uint8_t *p = md + pi.ms + bit / 8;
			unsigned at = bit / 8;
			bool is_covered = !pi.is_first && at < pos;
			bool is_pi = at >= pos && at < pos + len;
			/* Type 3 says nothing about the reference tag. */
			bool is_free = is_pi && at >= pos + guard + 2 && pi.type == 3 &&
				       bit - (pos + guard + 2) * 8 >= pi.sts;
			int want = (is_covered || is_pi) && !is_free ? -EILSEQ : 0;
			bool is_escape;

			*p ^= (uint8_t)(0x80 >> bit % 8);
			is_escape = md[pi.ms + pos + guard] == 0xff &&
				    md[pi.ms + pos + guard + 1] == 0xff;
			if (!is_escape)
				assert_int_equal(nofi_pi_check(&pi, &iov, 0, md, 2, &f), want);
			*p ^= (uint8_t)(0x80 >> bit % 8);
		}
		/* What is not asked for is not looked at. */
		md[pi.ms + pos] ^= 1;
		pi.checks = NOFI_PI_APP | NOFI_PI_REF | NOFI_PI_STORAGE;
		assert_int_equal(nofi_pi_check(&pi, &iov, 0, md, 2, &f), 0);
	}
}

static void test_app_mask(void **state)
{
	uint8_t data[512] = { 1 }, md[8];
	struct iovec iov = { data, sizeof(data) };
	struct nofi_pi pi = { .type = 1, .ms = 8, .block = 512, .app = 0x1234, .app_mask = 0xff00,
			      .checks = NOFI_PI_APP };
	struct nofi_pi_fault f;

	nofi_pi_fill(&pi, &iov, 0, md, 1);
	pi.app = 0x12ff;
	assert_int_equal(nofi_pi_check(&pi, &iov, 0, md, 1, &f), 0);
	pi.app = 0x1334;
	assert_int_equal(nofi_pi_check(&pi, &iov, 0, md, 1, &f), -EILSEQ);
	assert_int_equal(f.tag, NOFI_PI_APP);
	assert_int_equal(f.got, 0x1234);
	assert_int_equal(f.want, 0x1334);
}

/* FFFFh of types 1 and 2, and with all ones in the reference tag of type 3: unchecked. */
static void test_escapes(void **state)
{
	for (unsigned pif = 0; pif < 3; pif++) {
		for (unsigned type = 1; type <= 3; type++) {
			uint8_t data[1024], md[32];
			struct iovec iov = { data, sizeof(data) };
			struct nofi_pi pi = { .type = (uint8_t)type, .pif = (uint8_t)pif,
					      .sts = pif == 1 ? 16 : 0, .block = 512, .checks = 15,
					      .app_mask = 0xffff };
			unsigned len = nofi_pi_len((uint8_t)pif);
			unsigned guard = pif == 0 ? 2 : pif == 1 ? 4 : 8;
			struct nofi_pi_fault f;

			pi.ms = (uint16_t)len;
			random_fill(data, sizeof(data));
			nofi_pi_fill(&pi, &iov, 0, md, 2);
			memset(md, 0xff, guard + 2);	/* the first: guard and app tag */
			assert_int_equal(nofi_pi_check(&pi, &iov, 0, md, 2, &f),
					 type == 3 ? -EILSEQ : 0);
			memset(md, 0xff, len);
			assert_int_equal(nofi_pi_check(&pi, &iov, 0, md, 2, &f), 0);
			/* The second block is still checked, against its own data. */
			data[1023] ^= 1;
			assert_int_equal(nofi_pi_check(&pi, &iov, 0, md, 2, &f), -EILSEQ);
			assert_int_equal(f.index, 1);
		}
	}
}

/* Tags in the command: CDW14 lowest, then CDW3, then CDW2 15:0. */
static void test_command_dwords(void **state)
{
	struct nofi_pi pi = { .type = 1, .ref = 0xfffffffe };
	uint32_t c2, c3, c14;

	nofi_pi_cdws(&pi, 3, &c2, &c3, &c14);
	assert_int_equal(c14, 1);
	assert_int_equal(c3 | c2, 0);
	pi = (struct nofi_pi){ .type = 2, .sts = 8, .ref = 0xabcdef, .storage = 0x7712 };
	nofi_pi_cdws(&pi, 0, &c2, &c3, &c14);
	assert_int_equal(c14, 0x12abcdef);
	pi = (struct nofi_pi){ .type = 1, .pif = 2, .sts = 0, .ref = 0x1122334455667788 };
	nofi_pi_cdws(&pi, 0, &c2, &c3, &c14);
	assert_int_equal(c14, 0x55667788);
	assert_int_equal(c3, 0x3344);
	assert_int_equal(c2, 0);
	pi = (struct nofi_pi){ .type = 1, .pif = 1, .sts = 16, .ref = 0x1122334455667788,
			       .storage = 0xf1e2d3c4 };
	nofi_pi_cdws(&pi, 1, &c2, &c3, &c14);
	assert_int_equal(c14, 0x55667789);
	assert_int_equal(c3, 0x11223344);
	assert_int_equal(c2, 0xd3c4);
	pi = (struct nofi_pi){ .type = 1, .pif = 1, .sts = 64, .ref = 0x1122334455667788,
			       .storage = 0x0102030405060708 };
	nofi_pi_cdws(&pi, 0, &c2, &c3, &c14);
	assert_int_equal(c14, 0x07087788);
	assert_int_equal(c3, 0x03040506);
	assert_int_equal(c2, 0x0102);
}

static void test_possible(void **state)
{
	for (unsigned pif = 0; pif < 256; pif++) {
		for (unsigned sts = 0; sts < 256; sts++) {
			bool want = (pif == 0 && sts <= 32) ||
				    (pif == 1 && sts >= 16 && sts <= 64) ||
				    (pif == 2 && sts <= 48);

			assert_int_equal(nofi_pi_is_possible((uint8_t)pif, (uint8_t)sts), want);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_guards),
		cmocka_unit_test(test_against_oracle),
		cmocka_unit_test(test_every_bit_counts),
		cmocka_unit_test(test_app_mask),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_command_dwords),
		cmocka_unit_test(test_possible),
	};

	return cmocka_run_group_tests_name("pi", tests, NULL, NULL);
}
