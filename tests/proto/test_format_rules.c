/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the format of a namespace changes about commands that say nothing of it: where
 * protection information is made and where it has to be sent, what has to be written in
 * order, and how much describes a copy.
 */
#include "rig.h"

#define M "--ns=mem:4M,bs=512,"

static int compare(struct rig *r, const void *buf, size_t len, uint64_t off)
{
	return rig_finish(RIG_SUBMIT(r, nof_compare(r->chan, buf, len, off, 0, rig_done, op)));
}

/* A comparison and a check may not ask the controller to make the information (PRACT). */
static void t_compare(struct rig *r)
{
	enum { N = 100, LEN = N * 512 };
	static uint8_t out[LEN], zero[LEN];
	struct iovec v[3] = { { out, 100 }, { out + 100, 0 }, { out + 100, LEN - 100 } };
	struct nof_pi pi = { .size = sizeof(pi), .mode = NOF_PI_LIBRARY, .app_tag = 0x1234,
			     .ref_tag = 400 };
	struct iovec one = { out, LEN };

	rig_target(r, r->arg, NULL);
	rig_open(r, NULL);
	rig_fill(out, LEN, 1);
	assert_int_equal(rig_write(r, out, LEN, 512, 0), 0);
	assert_int_equal(nof_pverify(r->chan, LEN, 512, 0), 0);
	assert_int_equal(compare(r, out, LEN, 512), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_comparev(r->chan, v, 3, 512, 0, rig_done,
							       op))), 0);
	/* One byte, in the last command. */
	out[LEN - 3] ^= 1;
	assert_int_equal(compare(r, out, LEN, 512), -EILSEQ);
	assert_int_equal(r->last->status & 0x7ff, 0x285);
	assert_non_null(strstr(r->last->detail, "compare"));
	/* Not what the tags are, the information is no part of the comparison; nor one that
	   was never made. */
	assert_int_equal(nof_pwritev_pi(r->chan, &one, 1, NULL, 0, 400 * 512, 0, &pi), 0);
	assert_int_equal(compare(r, out, LEN, 400 * 512), 0);
	assert_int_equal(compare(r, zero, LEN, 1000 * 512), 0);
	/* Fused: the write's information is made by the controller. */
	assert_int_equal(nof_pcompare_write(r->chan, zero, out, 4 * 512, 1000 * 512, 0), 0);
	assert_int_equal(nof_pcompare_write(r->chan, zero, out, 4 * 512, 1000 * 512, 0), -EILSEQ);
	assert_int_equal(compare(r, out, 4 * 512, 1000 * 512), 0);
	assert_int_equal(nof_pverify(r->chan, 4 * 512, 1000 * 512, 0), 0);
	RIG_REFUSES(nof_compare(r->chan, NULL, 512, 0, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_compare(r->chan, out, 512, 0, NOF_IO_ATOMIC, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_compare(r->chan, out, 512, r->info.bytes, 0, rig_done, NULL), ERANGE);
	RIG_REFUSES(nof_compare(r->chan, out, 512, 0, 0, NULL, NULL), EINVAL);
	assert_int_equal(compare(r, NULL, 0, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Everything that writes a zone does it in order, also in several commands. */
static void t_zone_in_order(struct rig *r)
{
	enum { LEN = 200 * 512 };
	static uint8_t in[LEN], zero[LEN];
	struct nof_zone z;

	rig_target(r, M "zns=128k --mdts=1", NULL);
	rig_open(r, NULL);
	assert_true(r->info.max_write_zeroes < LEN);
	rig_fault(r, "on=writezeroes nth=1 do=delay:50; on=writeuncor nth=1 do=delay:50");
	assert_int_equal(nof_pwrite_zeroes(r->chan, LEN, 0, 0), 0);
	assert_int_equal(rig_read(r, in, LEN, 0, 0), 0);
	assert_memory_equal(in, zero, LEN);
	assert_int_equal(nof_pwrite_uncorrectable(r->chan, LEN, 256 * 512, 0), 0);
	assert_int_equal(nof_pzone_report(r->chan, 256, NOF_ZONES_ALL, &z, 1), 1);
	assert_int_equal(z.write_pointer, 256 + 200);
	assert_int_equal(rig_disconnect(r), 0);
}

/* What was appended can be read like anything else. */
static void t_append(struct rig *r)
{
	static uint8_t out[8 * 512], in[8 * 512];
	uint64_t lba;

	rig_target(r, r->arg, NULL);
	rig_open(r, NULL);
	rig_fill(out, sizeof(out), 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(nof_pzone_append(r->chan, out, sizeof(out), 256, 0, &lba), 0);
		assert_int_equal(lba, 256 + 8 * i);
		assert_int_equal(rig_read(r, in, sizeof(in), lba * 512, 0), 0);
		assert_memory_equal(in, out, sizeof(in));
	}
	assert_int_equal(rig_disconnect(r), 0);
}

/* Descriptors of 40 bytes: 204 of them are all that MDTS lets through. */
static void t_copy_descriptors(struct rig *r)
{
	enum { N = 256 };
	struct nof_copy_range ranges[N];
	uint64_t before;

	rig_target(r, M "ms=16,pi=1,pif=64,copy=128:65535:256 --mdts=1", NULL);
	rig_open(r, NULL);
	for (unsigned i = 0; i < N; i++)
		ranges[i] = (struct nof_copy_range){ 2 * i, 1 };
	before = rig_stat(r, "commands");
	assert_int_equal(nof_pcopy(r->chan, ranges, N, 1000, NOF_IO_LBA), 0);
	assert_int_equal(rig_stat(r, "commands") - before, 2);
	assert_int_equal(rig_disconnect(r), 0);
}

int main(void)
{
	const struct rig_test tests[] = {
		{ "compare_type1", t_compare, M "ms=8,pi=1" },
		{ "compare_type2", t_compare, M "ms=8,pi=2" },
		{ "compare_type3", t_compare, M "ms=8,pi=3" },
		{ "compare_guard64", t_compare, M "ms=16,pi=1,pif=64" },
		{ "compare_guard32", t_compare, M "ms=16,pi=2,pif=32" },
		{ "compare_split", t_compare, M "ms=8,pi=1 --mdts=1" },
		{ "compare_r2t", t_compare, M "ms=8,pi=1 --in-capsule=0" },
		{ "zone_in_order", t_zone_in_order },
		{ "append", t_append, M "zns=128k" },
		{ "append_type1", t_append, M "zns=128k,ms=8,pi=1" },
		{ "append_type2", t_append, M "zns=128k,ms=8,pi=2" },
		{ "append_type3", t_append, M "zns=128k,ms=8,pi=3" },
		{ "copy_descriptors", t_copy_descriptors },
	};

	return rig_main("format_rules", tests, ARRAY_SIZE(tests));
}
