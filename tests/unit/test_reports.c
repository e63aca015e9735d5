/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reports of zones and reservations, log pages, and the descriptors of Copy: good ones are
 * read, hostile ones refused, and nothing is touched outside of what was given.
 */
#include "unit.h"

#include <errno.h>

#include "ctrl/copydesc.h"
#include "ctrl/reports.h"
#include "pdu/wire.h"

static struct nofi_err err;

/* ---- zones ---- */

enum { ZSIZE = 1000, NZONES = 20 };

static const struct nofi_zone_ctx all = { .nblocks = ZSIZE * NZONES, .zone_size = ZSIZE };

/* Zones n of a report, all open with a write pointer of 7. */
static void put_zone(uint8_t *page, unsigned i, uint64_t start)
{
	uint8_t *d = page + 64 + 64 * i;

	memset(d, 0, 64);
	d[0] = 2;
	d[1] = NOF_ZONE_EXPLICIT_OPEN << 4;
	nofi_put64(d + 8, ZSIZE - 10);
	nofi_put64(d + 16, start);
	nofi_put64(d + 24, start + 7);
}

static void put_zones(uint8_t *page, unsigned n)
{
	memset(page, 0, 64);
	nofi_put64(page, n);
	for (unsigned i = 0; i < n; i++)
		put_zone(page, i, i * ZSIZE);
}

static int parse(const uint8_t *page, size_t len, const struct nofi_zone_ctx *ctx,
		 struct nof_zone *z, uint32_t max)
{
	memset(&err, 0, sizeof(err));
	return nofi_zones_parse(page, len, ctx, z, max, &err);
}

static void test_zones_good(void **state)
{
	uint8_t page[64 + 64 * 5];
	struct nof_zone z[6];

	put_zones(page, 5);
	page[64 + 64 * 2 + 1] = NOF_ZONE_FULL << 4;
	memset(z, 0x55, sizeof(z));
	assert_int_equal(parse(page, sizeof(page), &all, z, 5), 5);
	assert_int_equal(z[1].start, ZSIZE);
	assert_int_equal(z[1].capacity, ZSIZE - 10);
	assert_int_equal(z[1].write_pointer, ZSIZE + 7);
	assert_int_equal(z[1].type, 2);
	assert_true(z[2].write_pointer == UINT64_MAX);
	assert_int_equal(z[5].state, 0x55);	/* untouched */
	memset(z, 0x55, sizeof(z));
	assert_int_equal(parse(page, sizeof(page), &all, z, 2), 2);
	assert_int_equal(z[2].state, 0x55);
	put_zones(page, 0);
	assert_int_equal(parse(page, 64, &all, z, 2), 0);
}

static void test_zones_hostile(void **state)
{
	uint8_t page[64 + 64 * 5];
	struct nof_zone z[5];
	struct nofi_zone_ctx ctx = all;

	for (size_t len = 0; len < 64; len++)
		assert_int_equal(parse(page, len, &all, z, 5), -EPROTO);
	put_zones(page, 5);
	assert_int_equal(parse(page, sizeof(page) - 1, &all, z, 5), -EPROTO);
	nofi_put64(page, UINT64_MAX);
	assert_int_equal(parse(page, sizeof(page), &all, z, 5), -EPROTO);
	nofi_put64(page, 6);
	assert_int_equal(parse(page, sizeof(page), &all, z, 5), -EPROTO);
	/* start: between zones, behind the end, again, skipped */
	put_zones(page, 5);
	put_zone(page, 3, 3 * ZSIZE + 1);
	assert_int_equal(parse(page, sizeof(page), &all, z, 5), -EPROTO);
	put_zone(page, 3, NZONES * ZSIZE);
	assert_int_equal(parse(page, sizeof(page), &all, z, 5), -EPROTO);
	put_zone(page, 3, UINT64_MAX - UINT64_MAX % ZSIZE);
	assert_int_equal(parse(page, sizeof(page), &all, z, 5), -EPROTO);
	put_zone(page, 3, 2 * ZSIZE);
	assert_int_equal(parse(page, sizeof(page), &all, z, 5), -EPROTO);
	put_zone(page, 3, 4 * ZSIZE);
	assert_int_equal(parse(page, sizeof(page), &all, z, 5), -EPROTO);
	/* with a filter zones may be missing, but not be in another state */
	put_zone(page, 4, 9 * ZSIZE);
	ctx.filter = NOF_ZONES_EXPLICIT_OPEN;
	assert_int_equal(parse(page, sizeof(page), &ctx, z, 5), 5);
	page[64 + 1] = NOF_ZONE_FULL << 4;
	assert_int_equal(parse(page, sizeof(page), &ctx, z, 5), -EPROTO);
	/* in front of what was asked for */
	ctx.filter = 0;
	ctx.from = ZSIZE;
	put_zones(page, 5);
	assert_int_equal(parse(page, sizeof(page), &ctx, z, 5), -EPROTO);
	/* capacity */
	put_zones(page, 5);
	nofi_put64(page + 64 + 8, ZSIZE + 1);
	assert_int_equal(parse(page, sizeof(page), &all, z, 5), -EPROTO);
	nofi_put64(page + 64 + 8, UINT64_MAX);
	assert_int_equal(parse(page, sizeof(page), &all, z, 5), -EPROTO);
	/* write pointer */
	put_zones(page, 5);
	nofi_put64(page + 64 + 64 + 24, ZSIZE - 1);
	assert_int_equal(parse(page, sizeof(page), &all, z, 5), -EPROTO);
	nofi_put64(page + 64 + 64 + 24, 2 * ZSIZE - 9);
	assert_int_equal(parse(page, sizeof(page), &all, z, 5), -EPROTO);
	nofi_put64(page + 64 + 64 + 24, 2 * ZSIZE - 10);
	assert_int_equal(parse(page, sizeof(page), &all, z, 5), 5);
	/* states */
	for (unsigned s = 0; s < 16; s++) {
		bool good = (s >= 1 && s <= 4) || s >= 13;

		put_zones(page, 1);
		page[64 + 1] = (uint8_t)(s << 4 | 0xf);
		assert_int_equal(parse(page, sizeof(page), &all, z, 5), good ? 1 : -EPROTO);
	}
}

/* Random pages in exact memory: whatever comes out keeps the rules. */
static void test_zones_random(void **state)
{
	struct nof_zone *z = malloc(8 * sizeof(*z));
	uint8_t *page = malloc(64 + 64 * 8);

	for (int run = 0; run < 20000; run++) {
		int n;

		put_zones(page, 8);
		for (int k = random64() % 4; k >= 0; k--)
			page[random64() % (64 + 64 * 8)] = (uint8_t)random64();
		n = parse(page, 64 + 64 * 8, &all, z, 8);
		assert_true(n == -EPROTO || (n >= 0 && n <= 8));
		for (int i = 0; i < n; i++) {
			assert_int_equal(z[i].start % ZSIZE, 0);
			assert_true(z[i].start < all.nblocks);
			assert_true(z[i].capacity <= ZSIZE);
		}
	}
	free(z);
	free(page);
}

/* ---- reservations ---- */

static void test_resv(void **state)
{
	uint8_t p[64 + 64 * 3];
	struct nof_resv_status st;
	struct nof_registrant r[3];

	for (int ext = 0; ext < 2; ext++) {
		size_t head = ext ? 64 : 24, entry = ext ? 64 : 24;

		assert_int_equal(nofi_resv_len(ext, 3), head + 3 * entry);
		memset(p, 0, sizeof(p));
		nofi_put32(p, 77);
		p[4] = 3;
		nofi_put16(p + 5, 3);
		p[9] = 1;
		for (unsigned i = 0; i < 3; i++) {
			uint8_t *e = p + head + i * entry;

			nofi_put16(e, (uint16_t)(i + 1));
			e[2] = i == 1;
			memset(e + (ext ? 16 : 8), 0x10 + (int)i, ext ? 16 : 8);
			nofi_put64(e + (ext ? 8 : 16), 1000 + i);
		}
		memset(r, 0x55, sizeof(r));
		assert_int_equal(nofi_resv_parse(p, head + 3 * entry, ext, &st, r, 3, &err), 3);
		assert_int_equal(st.generation, 77);
		assert_int_equal(st.type, NOF_RESV_WRITE_EXCLUSIVE_REG);
		assert_true(st.is_persistent);
		assert_int_equal(st.registrants, 3);
		assert_int_equal(r[2].cntlid, 3);
		assert_int_equal(r[2].key, 1002);
		assert_int_equal(r[2].hostid[7], 0x12);
		assert_int_equal(r[2].hostid[15], ext ? 0x12 : 0);
		assert_true(r[1].is_holder && !r[0].is_holder);
		/* More than there is room for, here and there. */
		memset(r, 0x55, sizeof(r));
		assert_int_equal(nofi_resv_parse(p, head + 3 * entry, ext, &st, r, 1, &err), 1);
		assert_int_equal(r[1].cntlid, 0x5555);
		nofi_put16(p + 5, 0xffff);
		assert_int_equal(nofi_resv_parse(p, head + 3 * entry, ext, &st, r, 3, &err), 3);
		assert_int_equal(st.registrants, 0xffff);
		assert_int_equal(nofi_resv_parse(p, head + 3 * entry - 1, ext, &st, r, 3, &err), 2);
		assert_int_equal(nofi_resv_parse(p, head, ext, &st, r, 3, &err), 0);
		for (size_t len = 0; len < head; len++)
			assert_int_equal(nofi_resv_parse(p, len, ext, &st, r, 3, &err), -EPROTO);
		/* A holder of nothing, and types that are not defined. */
		p[4] = 0;
		assert_int_equal(nofi_resv_parse(p, head + 3 * entry, ext, &st, r, 3, &err),
				 -EPROTO);
		for (unsigned t = 7; t < 256; t++) {
			p[4] = (uint8_t)t;
			assert_int_equal(nofi_resv_parse(p, head + 3 * entry, ext, &st, r, 3,
							 &err), -EPROTO);
		}
	}
}

static void test_resv_note(void **state)
{
	uint8_t p[64] = { 0 };
	struct nofi_resv_note n;

	assert_false(nofi_resv_note_parse(p, &n));
	nofi_put64(p, 5);
	p[9] = 3;
	nofi_put32(p + 12, 42);
	for (unsigned t = 1; t < 256; t++) {
		p[8] = (uint8_t)t;
		assert_true(nofi_resv_note_parse(p, &n));
		assert_int_equal(n.nsid, 42);
		assert_int_equal(n.more, 3);
		assert_true(strlen(nofi_resv_note_text(n.type)) > 10);
	}
}

/* ---- effects ---- */

static void test_effects(void **state)
{
	static uint8_t p[4096];
	struct nofi_effects e;

	random_fill(p, sizeof(p));
	nofi_effects_parse(p, &e);
	assert_true(e.is_known);
	for (unsigned i = 0; i < 256; i++) {
		assert_int_equal(nofi_effects_has(e.admin, (uint8_t)i), p[4 * i] & 1);
		assert_int_equal(nofi_effects_has(e.io, (uint8_t)i), p[1024 + 4 * i] & 1);
	}
}

/* ---- copy ---- */

/* Whatever the limits: all blocks, in order, once, and no command beyond them. */
static void test_copy_split(void **state)
{
	static uint8_t desc[NOFI_COPY_RANGES * NOFI_COPY_DESC1];

	for (int run = 0; run < 3000; run++) {
		struct nof_copy_range r[8];
		struct nofi_copy_limits lim = { .range = 1 + (uint32_t)(random64() % 20),
						.total = 1 + (uint32_t)(random64() % 50),
						.ranges = 1 + (uint32_t)(random64() % 6) };
		struct nofi_copy_cursor at = { .range = r, .left = random64() % 9 };
		unsigned format = random64() & 1, len = format ? 40 : 32, n;
		size_t k = 0, count = at.left;
		uint64_t pos = 0;
		uint32_t blocks;

		if (random64() % 8 == 0)
			lim.range = 65536, lim.total = UINT32_MAX, lim.ranges = 256;
		for (size_t i = 0; i < count; i++)
			r[i] = (struct nof_copy_range){ random64() % 100000, random64() % 100 };
		while ((n = nofi_copy_build(&at, &lim, (uint8_t)format, NULL, desc, &blocks))) {
			uint32_t sum = 0;

			assert_true(n <= lim.ranges);
			assert_true(blocks <= lim.total);
			for (unsigned i = 0; i < n; i++) {
				const uint8_t *d = desc + i * len;
				uint32_t nlb = nofi_get16(d + 16) + 1u;

				while (pos == r[k].length) {
					k++;
					pos = 0;
				}
				assert_true(nlb <= lim.range);
				assert_true(nofi_get64(d + 8) == r[k].offset + pos);
				assert_true(nlb <= r[k].length - pos);
				pos += nlb;
				sum += nlb;
			}
			assert_int_equal(sum, blocks);
		}
		for (; k < count; k++, pos = 0)
			assert_true(pos == r[k].length);
	}
}

static void test_copy_tags(void **state)
{
	struct nof_copy_range r = { 0x1122334455667788, 3 };
	struct nofi_copy_limits lim = { 65536, 65536, 256 };
	struct nofi_copy_cursor at = { &r, 1, 0 };
	struct nofi_pi pi = { .type = 1, .app = 0xa1a2, .app_mask = 0xffff };
	static const uint8_t want[10] = { 0xd3, 0xc4, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
					  0x88 };
	uint8_t desc[40];
	uint32_t blocks;

	assert_int_equal(nofi_copy_build(&at, &lim, 0, &pi, desc, &blocks), 1);
	assert_int_equal(nofi_get32(desc + 24), 0x55667788);
	assert_int_equal(nofi_get16(desc + 28), 0xffff);
	assert_int_equal(nofi_get16(desc + 30), 0xa1a2);
	at = (struct nofi_copy_cursor){ &r, 1, 0 };
	pi.pif = NOFI_PIF_32;
	pi.sts = 16;
	pi.storage = 0xd3c4;
	assert_int_equal(nofi_copy_build(&at, &lim, 1, &pi, desc, &blocks), 1);
	assert_memory_equal(desc + 26, want, 10);
	assert_int_equal(nofi_get16(desc + 36), 0xffff);
	assert_int_equal(nofi_get16(desc + 38), 0xa1a2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zones_good),
		cmocka_unit_test(test_zones_hostile),
		cmocka_unit_test(test_zones_random),
		cmocka_unit_test(test_resv),
		cmocka_unit_test(test_resv_note),
		cmocka_unit_test(test_effects),
		cmocka_unit_test(test_copy_split),
		cmocka_unit_test(test_copy_tags),
	};

	return cmocka_run_group_tests_name("reports", tests, NULL, NULL);
}
