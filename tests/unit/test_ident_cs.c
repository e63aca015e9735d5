/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Formats, atomics, zones and limits of a hostile controller: what cannot be is refused,
 * what is left can be computed with.
 */
#include "unit.h"

#include <errno.h>

#include <nvme/types.h>

#include "ctrl/ident_cs.h"
#include "ctrl/internal.h"

static uint8_t page[NOFI_PAGE];
static struct nofi_err err;
static struct nofi_ns_ident ns;

static const struct nofi_ctrl_ident ctrl = {
	.max_transfer = 131072, .has_mdts = true, .awun = 3, .awupf = 1, .acwu = 7,
	.ctratt = NOFI_CTRATT_ELBAS | NOFI_CTRATT_HOSTID16,
	.oncs = NVME_CTRL_ONCS_COPY,
};

static struct nvme_id_ns *good(uint16_t ms, uint8_t dps)
{
	struct nvme_id_ns *id = (struct nvme_id_ns *)page;

	memset(page, 0, sizeof(page));
	memset(&ns, 0, sizeof(ns));
	id->nsze = htole64(1000000);
	id->lbaf[0].ds = 9;
	id->lbaf[0].ms = htole16(ms);
	id->flbas = 0x10;
	id->dps = dps;
	id->mssrl = htole16(16);
	id->mcl = htole32(64);
	id->msrc = 3;
	return id;
}

static int judge(void)
{
	memset(&err, 0, sizeof(err));
	return nofi_ident_ns(page, &ctrl, &ns, &err);
}

static void test_metadata(void **state)
{
	good(0, 1);
	assert_int_equal(judge(), 0);
	assert_true(ns.is_plain);
	assert_int_equal(ns.pi_type, 0);	/* nowhere to be */
	assert_int_equal(ns.prinfo, 0);
	good(8, 0);
	assert_int_equal(judge(), 0);
	assert_false(ns.is_plain);
	assert_int_equal(ns.max_md_blocks, 131072 / 520);
	good(8, 1);
	assert_int_equal(judge(), 0);
	assert_true(ns.is_plain);
	assert_int_equal(ns.prinfo, 1u << 29 | 1u << 28 | 1u << 26);
	good(8, 3);
	assert_int_equal(judge(), 0);
	assert_int_equal(ns.prinfo, 1u << 29 | 1u << 28);
	good(64, 8 | 1);
	assert_int_equal(judge(), 0);
	assert_true(ns.is_pi_first);
	assert_false(ns.is_plain);
	good(8, 1)->flbas = 0;
	assert_int_equal(judge(), -ENOTSUP);
	assert_non_null(strstr(err.text, "Fabrics"));
	for (uint8_t t = 4; t < 8; t++) {
		good(8, t);
		assert_int_equal(judge(), -EPROTO);
	}
	for (uint16_t ms = 1; ms < 8; ms++) {
		good(ms, 1);
		assert_int_equal(judge(), -EPROTO);
	}
	/* So much metadata that no command holds a block: told where it is used. */
	good(0xffff, 0);
	assert_int_equal(judge(), 0);
	assert_int_equal(ns.max_md_blocks, 1);
}

static void test_elbaf(void **state)
{
	for (uint32_t e = 0; e < 1u << 12; e++) {
		unsigned sts = e & 0x7f, pif = e >> 7 & 3;
		bool good_sts = pif == 0 ? sts <= 32 : pif == 1 ? sts >= 16 && sts <= 64 :
				sts <= 48;
		int want = pif == 3 ? -ENOTSUP : good_sts ? 0 : -EPROTO;

		good(16, 1);
		assert_int_equal(judge(), 0);
		assert_true(nofi_ident_wants_elbaf(&ns, &ctrl));
		memset(page, 0, sizeof(page));
		nofi_put32(page + 12, e);
		assert_int_equal(nofi_ident_elbaf(page, &ns, &err), want);
		assert_int_equal(ns.pif, want ? 0 : pif);
		nofi_ns_set_plain(&ns);
		assert_int_equal(ns.is_plain, !want && pif > 0);
		/* 16 bytes do not fit in 8. */
		ns.ms = 8;
		if (!want && pif)
			assert_int_equal(nofi_ident_elbaf(page, &ns, &err), -EPROTO);
	}
}

static void test_atomics(void **state)
{
	struct nvme_id_ns *id = good(0, 0);

	id->nawun = id->nawupf = id->nacwu = id->nabspf = id->nabo = htole16(0xffff);
	assert_int_equal(judge(), 0);
	assert_int_equal(ns.atomic, 4);		/* NSFEAT says that they mean nothing */
	assert_int_equal(ns.atomic_pf, 2);
	assert_int_equal(ns.atomic_cmp, 8);
	assert_int_equal(ns.atomic_boundary, 0);
	id->nsfeat = 2;
	assert_int_equal(judge(), 0);
	assert_int_equal(ns.atomic, 65536);
	assert_int_equal(ns.atomic_pf, 65536);
	assert_int_equal(ns.atomic_cmp, 65536);
	assert_int_equal(ns.atomic_boundary, 65536);
	assert_in_range(ns.atomic_offset, 0, 65535);
}

static void test_copy_limits(void **state)
{
	good(0, 0);
	assert_int_equal(judge(), 0);
	assert_true(ns.features & NOF_NS_COPY);
	assert_int_equal(ns.copy_ranges, 4);
	good(0, 0)->mcl = 0;
	assert_int_equal(judge(), 0);
	assert_false(ns.features & NOF_NS_COPY);
	good(0, 0)->mssrl = 0;
	assert_int_equal(judge(), 0);
	assert_false(ns.features & NOF_NS_COPY);
	good(0, 0)->mssrl = htole16(0xffff);
	assert_int_equal(judge(), 0);
	assert_int_equal(ns.copy_range, 64);
	good(0, 0)->msrc = 255;
	assert_int_equal(judge(), 0);
	assert_int_equal(ns.copy_ranges, 256);
}

static void test_zones(void **state)
{
	struct nvme_zns_id_ns *z = (struct nvme_zns_id_ns *)page;

	good(0, 0);
	assert_int_equal(judge(), 0);
	memset(page, 0, sizeof(page));
	assert_int_equal(nofi_ident_zns(page, &ns, &err), -EPROTO);
	z->lbafe[0].zsze = htole64(1000001);
	assert_int_equal(nofi_ident_zns(page, &ns, &err), -EPROTO);
	z->lbafe[0].zsze = htole64(UINT64_MAX);
	assert_int_equal(nofi_ident_zns(page, &ns, &err), -EPROTO);
	assert_int_equal(ns.zone_size, 0);
	z->lbafe[0].zsze = htole64(1000);
	z->mar = htole32(13);
	z->mor = htole32(UINT32_MAX);
	assert_int_equal(nofi_ident_zns(page, &ns, &err), 0);
	assert_int_equal(ns.zone_size, 1000);
	assert_int_equal(ns.max_active, 14);
	assert_int_equal(ns.max_open, 0);
	/* ZASL: every value is a limit of at least a block, and never more than MDTS. */
	for (unsigned mps = 0; mps < 16; mps++) {
		for (unsigned zasl = 0; zasl < 256; zasl++) {
			uint32_t shift = 12 + mps + zasl;
			uint64_t want = zasl && shift < 17 ? 1u << (shift - 9) : 256;

			ns.max_append_blocks = 256;
			nofi_ns_apply_zasl(&ns, (uint8_t)zasl, (uint8_t)mps);
			assert_int_equal(ns.max_append_blocks, want);
		}
	}
}

static void test_limits(void **state)
{
	for (unsigned v = 0; v < 256; v++) {
		struct nofi_nvm_limits lim = { .vsl = (uint8_t)v, .wusl = (uint8_t)(255 - v) };

		good(0, 0);
		assert_int_equal(judge(), 0);
		nofi_ns_apply_limits(&ns, &lim, (uint8_t)(v & 15));
		assert_in_range(ns.max_verify_blocks, 1, NOFI_NS_CMD_BLOCKS);
		assert_in_range(ns.max_wu_blocks, 1, NOFI_NS_CMD_BLOCKS);
	}
}

static void test_same_format(void **state)
{
	struct nofi_ns_ident a, b;

	good(16, 1);
	assert_int_equal(judge(), 0);
	a = b = ns;
	b.nblocks = 5;
	b.nsid = 7;
	b.max_blocks = 1;
	assert_true(nofi_ns_same_format(&a, &b));
#define DIFFERS(field) \
	do { \
		b = a; \
		b.field ^= 1; \
		assert_false(nofi_ns_same_format(&a, &b)); \
	} while (0)
	DIFFERS(lba_shift);
	DIFFERS(csi);
	DIFFERS(ms);
	DIFFERS(pi_type);
	DIFFERS(pif);
	DIFFERS(sts);
	DIFFERS(is_pi_first);
	DIFFERS(zone_size);
}

/* The one with NVM and zones; the one in force when no other is better. */
static void test_profile(void **state)
{
	memset(page, 0, sizeof(page));
	for (unsigned now = 0; now < 600; now++)
		assert_int_equal(nofi_profile_best(page, now), now < 512 ? now : 0);
	nofi_put64(page, 1);
	assert_int_equal(nofi_profile_best(page, 0), 0);
	nofi_put64(page + 8, 4);
	assert_int_equal(nofi_profile_best(page, 0), 0);
	nofi_put64(page + 8 * 511, UINT64_MAX);
	assert_int_equal(nofi_profile_best(page, 0), 511);
	nofi_put64(page + 16, 5);
	assert_int_equal(nofi_profile_best(page, 0), 2);
	assert_int_equal(nofi_profile_best(page, 511), 511);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_metadata),
		cmocka_unit_test(test_elbaf),
		cmocka_unit_test(test_atomics),
		cmocka_unit_test(test_copy_limits),
		cmocka_unit_test(test_zones),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_same_format),
		cmocka_unit_test(test_profile),
	};

	return cmocka_run_group_tests_name("ident_cs", tests, NULL, NULL);
}
