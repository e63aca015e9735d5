/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Identify pages of a hostile controller: bad values are refused or bounded, never used. */
#include "unit.h"

#include <errno.h>

#include <nvme/types.h>

#include "ctrl/internal.h"

static uint8_t page[NOFI_PAGE];
static struct nofi_err err;

static const struct nofi_ident_ctx ctx = { .cntlid = 7, .wants_keep_alive = true };

static struct nvme_id_ctrl *good_ctrl(void)
{
	struct nvme_id_ctrl *id = (struct nvme_id_ctrl *)page;

	memset(page, 0, sizeof(page));
	id->cntlid = htole16(7);
	id->cntrltype = 1;
	id->kas = htole16(10);
	id->sgls = htole32(1);
	id->ioccsz = htole32(4 + 512);
	id->mdts = 5;
	id->maxcmd = htole16(128);
	memset(id->mn, ' ', sizeof(id->mn));
	memcpy(id->mn, "Model", 5);
	return id;
}

static int check_ctrl(struct nofi_ctrl_ident *o)
{
	memset(&err, 0, sizeof(err));
	return nofi_ident_ctrl(page, &ctx, o, &err);
}

static void test_ctrl_good(void **state)
{
	struct nofi_ctrl_ident o;

	good_ctrl();
	assert_int_equal(check_ctrl(&o), 0);
	assert_string_equal(o.model, "Model");
	assert_int_equal(o.incapsule, 8192);
	assert_int_equal(o.max_transfer, 131072);
	assert_int_equal(o.kas_ms, 1000);
	assert_false(o.is_discovery);
}

static void refused(int code, const char *word)
{
	struct nofi_ctrl_ident o;

	memset(&o, 0x55, sizeof(o));
	assert_int_equal(check_ctrl(&o), code);
	assert_non_null(strstr(err.text, word));
	assert_int_equal(o.nn, 0x55555555);	/* untouched */
}

static void test_ctrl_refused(void **state)
{
	struct nofi_ctrl_ident o;

	good_ctrl()->cntlid = htole16(8);
	refused(-EPROTO, "controller 8");
	good_ctrl()->sgls = 0;
	refused(-ENOTSUP, "SGL");
	good_ctrl()->sgls = htole32(4);
	refused(-ENOTSUP, "SGL");
	good_ctrl()->kas = 0;
	refused(-ENOTSUP, "keep_alive_tmo");
	good_ctrl()->icdoff = htole16(1);
	refused(-ENOTSUP, "ICDOFF");
	for (int i = 4; i < 256; i++) {
		good_ctrl()->cntrltype = (uint8_t)i;
		refused(-EPROTO, "type");
	}
	for (uint32_t i = 0; i < 4; i++) {
		good_ctrl()->ioccsz = htole32(i);
		refused(-EPROTO, "IOCCSZ");
	}
	/* Nothing fits in the capsule: then its offset means nothing either. */
	good_ctrl()->ioccsz = htole32(4);
	((struct nvme_id_ctrl *)page)->icdoff = htole16(1);
	assert_int_equal(check_ctrl(&o), 0);
	assert_int_equal(o.incapsule, 0);
}

static void test_capsule_size_is_bounded(void **state)
{
	static const uint32_t sizes[] = {
		5, 0xffff, 0x10000000, 0x10000004, 0x80000000, 0xffffffff
	};
	struct nofi_ctrl_ident o;

	for (size_t i = 0; i < 6; i++) {
		uint64_t want = (uint64_t)sizes[i] * 16 - 64;

		good_ctrl()->ioccsz = htole32(sizes[i]);
		assert_int_equal(check_ctrl(&o), 0);
		assert_int_equal(o.incapsule, want < NOFI_TRANSFER_MAX ? want : NOFI_TRANSFER_MAX);
	}
}

/* Every MDTS with every MPSMIN: a power of two within bounds, never a shift too far. */
static void test_mdts(void **state)
{
	for (unsigned mps = 0; mps < 16; mps++) {
		for (unsigned mdts = 0; mdts < 256; mdts++) {
			struct nofi_ident_ctx c = ctx;
			struct nofi_ctrl_ident o;

			c.mpsmin = (uint8_t)mps;
			good_ctrl()->mdts = (uint8_t)mdts;
			assert_int_equal(nofi_ident_ctrl(page, &c, &o, &err), 0);
			assert_in_range(o.max_transfer, 4096, NOFI_TRANSFER_MAX);
			assert_int_equal(o.max_transfer & (o.max_transfer - 1), 0);
			if (mdts && 12 + mps + mdts < 20)
				assert_int_equal(o.max_transfer, 1u << (12 + mps + mdts));
			assert_int_equal(o.has_mdts, mdts != 0);
		}
	}
}

static void test_discovery_controller(void **state)
{
	struct nofi_ident_ctx c = { .cntlid = 7, .is_discovery_nqn = true };
	struct nvme_id_ctrl *id = good_ctrl();
	struct nofi_ctrl_ident o;

	/* What concerns I/O is not asked of it. */
	id->cntrltype = 0;
	id->ioccsz = 0;
	id->sgls = 0;
	id->kas = 0;
	assert_int_equal(nofi_ident_ctrl(page, &c, &o, &err), 0);
	assert_true(o.is_discovery);
	c.is_discovery_nqn = false;
	assert_int_equal(nofi_ident_ctrl(page, &c, &o, &err), -ENOTSUP);
}

static void test_text(void **state)
{
	char out[9];

	nofi_text_copy(out, (const uint8_t *)"a\x1b[2J\xff\n ", 8);
	assert_string_equal(out, "a?[2J??");
	nofi_text_copy(out, (const uint8_t *)"12345678", 8);
	assert_string_equal(out, "12345678");
	nofi_text_copy(out, (const uint8_t *)"        ", 8);
	assert_string_equal(out, "");
	nofi_text_copy(out, (const uint8_t *)"ab\0cd   ", 8);
	assert_string_equal(out, "ab");
}

static void test_nslist(void **state)
{
	static uint32_t ids[NOFI_NSIDS_PER_PAGE];

	memset(page, 0, sizeof(page));
	assert_int_equal(nofi_ident_nslist(page, 0, ids, 1024, &err), 0);
	for (uint32_t i = 0; i < 1024; i++)
		nofi_put32(page + 4 * i, 3 * i + 1);
	assert_int_equal(nofi_ident_nslist(page, 0, ids, 1024, &err), 1024);
	assert_int_equal(ids[1023], 3070);
	/* A page that does not continue, a loop, a double, the broadcast id. */
	assert_int_equal(nofi_ident_nslist(page, 1, ids, 1024, &err), -EPROTO);
	assert_int_equal(nofi_ident_nslist(page, 3070, ids, 1024, &err), -EPROTO);
	nofi_put32(page + 40, 28);
	assert_int_equal(nofi_ident_nslist(page, 0, ids, 1024, &err), -EPROTO);
	nofi_put32(page + 40, 0xffffffff);
	assert_int_equal(nofi_ident_nslist(page, 0, ids, 1024, &err), -EPROTO);
	assert_non_null(strstr(err.text, "ascend"));
	/* Behind the first zero nothing counts. */
	nofi_put32(page + 40, 0);
	assert_int_equal(nofi_ident_nslist(page, 0, ids, 1024, &err), 10);
}

static const struct nofi_ctrl_ident ctrl = {
	.max_transfer = 131072, .has_mdts = true, .oncs = 0xd,
};

static struct nvme_id_ns *good_ns(void)
{
	struct nvme_id_ns *id = (struct nvme_id_ns *)page;

	memset(page, 0, sizeof(page));
	id->nsze = htole64(1000);
	id->lbaf[0].ds = 12;
	return id;
}

static int check_ns(const struct nofi_ctrl_ident *c, struct nofi_ns_ident *ns)
{
	memset(ns, 0, sizeof(*ns));
	ns->nsid = 1;
	memset(&err, 0, sizeof(err));
	return nofi_ident_ns(page, c, ns, &err);
}

static void test_ns_good(void **state)
{
	struct nofi_ns_ident ns;

	good_ns()->dlfeat = 9;
	assert_int_equal(check_ns(&ctrl, &ns), 0);
	assert_int_equal(ns.nblocks, 1000);
	assert_int_equal(ns.lba_shift, 12);
	assert_int_equal(ns.max_blocks, 32);
	assert_int_equal(ns.features, NOF_NS_COMPARE | NOF_NS_DEALLOCATE | NOF_NS_WRITE_ZEROES |
			 NOF_NS_DEALLOC_ZEROES | NOF_NS_WRITE_ZEROES_DEAC);
	assert_false(ns.has_nguid || ns.has_eui64);
}

static void test_ns_block_sizes(void **state)
{
	for (unsigned ds = 0; ds < 256; ds++) {
		struct nofi_ns_ident ns;
		int want = ds < 9 ? -EPROTO : ds > 16 ? -ENOTSUP : 0;

		good_ns()->lbaf[0].ds = (uint8_t)ds;
		assert_int_equal(check_ns(&ctrl, &ns), want);
		if (!want)
			assert_in_range(ns.max_blocks, 1, NOFI_NS_CMD_BLOCKS);
	}
}

static void test_ns_refused(void **state)
{
	struct nofi_ctrl_ident small = ctrl;
	struct nofi_ns_ident ns;

	good_ns()->nsze = 0;
	assert_int_equal(check_ns(&ctrl, &ns), -ENODEV);
	good_ns()->lbaf[0].ms = htole16(8);
	assert_int_equal(check_ns(&ctrl, &ns), -ENOTSUP);
	assert_non_null(strstr(err.text, "metadata"));
	good_ns()->flbas = 1;			/* one format is described */
	assert_int_equal(check_ns(&ctrl, &ns), -EPROTO);
	good_ns()->nsze = htole64(INT64_MAX >> 12);
	assert_int_equal(check_ns(&ctrl, &ns), 0);
	good_ns()->nsze = htole64((INT64_MAX >> 12) + 1ull);
	assert_int_equal(check_ns(&ctrl, &ns), -EPROTO);
	good_ns()->nsze = UINT64_MAX;
	assert_int_equal(check_ns(&ctrl, &ns), -EPROTO);
	/* No block fits in a command. */
	small.max_transfer = 8192;
	good_ns()->lbaf[0].ds = 16;
	assert_int_equal(check_ns(&small, &ns), -ENOTSUP);
	assert_non_null(strstr(err.text, "MDTS"));
}

/* Bits 6:5 of FLBAS count only with more than 16 formats. */
static void test_ns_format_index(void **state)
{
	struct nvme_id_ns *id;
	struct nofi_ns_ident ns;

	id = good_ns();
	id->nlbaf = 63;
	id->flbas = 0x6f;			/* 3:0 = 15, 6:5 = 3: format 63 */
	id->lbaf[63].ds = 9;
	assert_int_equal(check_ns(&ctrl, &ns), 0);
	assert_int_equal(ns.lba_shift, 9);
	id = good_ns();
	id->nlbaf = 15;
	id->flbas = 0x60;
	assert_int_equal(check_ns(&ctrl, &ns), 0);
	assert_int_equal(ns.lba_shift, 12);
	id = good_ns();
	id->nlbaf = 255;			/* more than the page describes */
	id->flbas = 0x6f;
	assert_int_equal(check_ns(&ctrl, &ns), -EPROTO);
}

static void test_descs(void **state)
{
	struct nofi_ns_ident ns;
	uint8_t *p = page;

	memset(page, 0, sizeof(page));
	memset(&ns, 0, sizeof(ns));
	p[0] = 3, p[1] = 16, memset(p + 4, 0xab, 16), p += 20;
	p[0] = 9, p[1] = 5, p += 9;		/* unknown: passed over */
	p[0] = 4, p[1] = 1, p[4] = 2, p += 5;
	p[0] = 1, p[1] = 8, memset(p + 4, 0xcd, 8);
	assert_int_equal(nofi_ident_descs(page, &ns, &err), 0);
	assert_true(ns.has_uuid && ns.has_eui64 && !ns.has_nguid);
	assert_int_equal(ns.csi, 2);
	assert_int_equal(ns.eui64[7], 0xcd);
}

static void test_descs_hostile(void **state)
{
	struct nofi_ns_ident ns = { 0 };

	/* Every wrong length of every known type. */
	for (unsigned nidt = 1; nidt <= 4; nidt++) {
		unsigned right = nidt == 1 ? 8 : nidt == 4 ? 1 : 16;

		for (unsigned nidl = 1; nidl < 256; nidl++) {
			memset(page, 0, sizeof(page));
			page[0] = (uint8_t)nidt;
			page[1] = (uint8_t)nidl;
			assert_int_equal(nofi_ident_descs(page, &ns, &err),
					 nidl == right ? 0 : -EPROTO);
		}
	}
	/* A chain of unknown ones up to the end, the last of which leaves the page. */
	for (unsigned nidl = 1; nidl < 256; nidl++) {
		struct guarded g = guarded_new(NOFI_PAGE);
		uint8_t *p = g.end - NOFI_PAGE;
		size_t pos;
		int r;

		memset(p, 0, NOFI_PAGE);
		for (pos = 0; pos + 4 <= NOFI_PAGE; pos += 4 + nidl) {
			p[pos] = 0x80;
			p[pos + 1] = (uint8_t)nidl;
		}
		r = nofi_ident_descs(p, &ns, &err);
		assert_int_equal(r, pos > NOFI_PAGE ? -EPROTO : 0);
		guarded_free(&g);
	}
}

static void test_nvm_limits(void **state)
{
	for (unsigned wzsl = 0; wzsl < 256; wzsl++) {
		for (unsigned shift = 9; shift <= 16; shift++) {
			struct nofi_nvm_limits lim = { .wzsl = (uint8_t)wzsl };
			struct nofi_ns_ident ns;

			good_ns()->lbaf[0].ds = (uint8_t)shift;
			assert_int_equal(check_ns(&ctrl, &ns), 0);
			nofi_ns_apply_limits(&ns, &lim, 0);
			assert_in_range(ns.max_wz_blocks, 1, NOFI_NS_CMD_BLOCKS);
			if (wzsl && (1ull << (wzsl > 30 ? 30 : wzsl)) * 4096 >> shift <= 65536 &&
			    wzsl + 12 >= shift)
				assert_int_equal(ns.max_wz_blocks, 1ull << (12 + wzsl - shift));
		}
	}
	for (uint64_t dmsl = 0; dmsl < 5; dmsl++) {
		struct nofi_nvm_limits lim = { .dmrl = 2, .dmrsl = 3, .dmsl = dmsl };
		struct nofi_ns_ident ns;

		good_ns();
		assert_int_equal(check_ns(&ctrl, &ns), 0);
		nofi_ns_apply_limits(&ns, &lim, 15);
		assert_int_equal(ns.max_dsm_ranges, 2);
		assert_int_equal(ns.max_dsm_total, dmsl ? dmsl : 6);
		assert_in_range(ns.max_dsm_blocks, 1, 3);
	}
}

/* Any page at all: bounded results or a sentence. */
static void test_random_pages(void **state)
{
	for (int i = 0; i < 20000; i++) {
		struct nofi_nvm_limits lim;
		struct nofi_ctrl_ident o;
		struct nofi_ns_ident ns;
		struct nof_discovery_entry e;

		random_fill(page, sizeof(page));
		nofi_put16(page + 78, 7);
		page[111] &= 3;
		if (check_ctrl(&o) == 0)
			assert_in_range(o.max_transfer, 4096, NOFI_TRANSFER_MAX);
		page[128 + 2] = page[128 + 3] = 0;
		if (check_ns(&ctrl, &ns) == 0) {
			nofi_ident_nvm(page, &lim);
			nofi_ns_apply_limits(&ns, &lim, page[0] & 15);
			assert_in_range(ns.max_blocks, 1, NOFI_NS_CMD_BLOCKS);
			assert_in_range(ns.max_wz_blocks, 1, NOFI_NS_CMD_BLOCKS);
			assert_true(ns.max_dsm_blocks >= 1 &&
				    ns.max_dsm_total >= ns.max_dsm_blocks);
		} else {
			assert_true(err.text[0]);
		}
		nofi_ident_descs(page, &ns, &err);
		nofi_discovery_decode(page, &e);
		for (const char *p = e.subnqn; *p; p++)
			assert_in_range(*p, 0x20, 0x7e);
		assert_true(strlen(e.traddr) <= 256 && strlen(e.trsvcid) <= 32);
	}
}

static void test_connect_refusals(void **state)
{
	static const struct {
		uint16_t status;
		uint32_t result;
		int code;
		const char *says;
	} t[] = {
		{ 0x4182, 0x10100, -ENOENT, "knows no subsystem" },
		{ 0x4182, 0x10200, -EACCES, "hostnqn" },
		{ 0x4182, 0x10010, -EINVAL, "controller id" },
		{ 0x4182, 48, -EINVAL, "keep alive" },
		{ 0x4182, 0xffff, -EINVAL, "a field" },
		{ 0x181, 0, -EBUSY, "busy" },
		{ 0x4180, 0, -EPROTONOSUPPORT, "format" },
		{ 0x183, 0, -EAGAIN, "discovery log" },
		{ 0x4184, 0, -EACCES, "does not allow this host" },
		{ 0x191, 0, -ENOTSUP, "authentication" },
	};
	struct nof_opts o;

	nof_opts_init(&o);
	strcpy(o.subnqn, "nqn.x");
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		assert_int_equal(nofi_connect_status(&o, 0, t[i].status, t[i].result, &err),
				 t[i].code);
		assert_non_null(strstr(err.text, t[i].says));
	}
	/* Any other status is an error too, with its name. */
	for (uint32_t s = 1; s < 0x8000; s++)
		assert_true(nofi_connect_status(&o, 0, (uint16_t)s, random64(), &err) < 0 ||
			    !(s & 0x7ff));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ctrl_good),
		cmocka_unit_test(test_ctrl_refused),
		cmocka_unit_test(test_capsule_size_is_bounded),
		cmocka_unit_test(test_mdts),
		cmocka_unit_test(test_discovery_controller),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_nslist),
		cmocka_unit_test(test_ns_good),
		cmocka_unit_test(test_ns_block_sizes),
		cmocka_unit_test(test_ns_refused),
		cmocka_unit_test(test_ns_format_index),
		cmocka_unit_test(test_descs),
		cmocka_unit_test(test_descs_hostile),
		cmocka_unit_test(test_nvm_limits),
		cmocka_unit_test(test_random_pages),
		cmocka_unit_test(test_connect_refusals),
	};

	return cmocka_run_group_tests_name("ident", tests, NULL, NULL);
}
