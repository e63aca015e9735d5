/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The I/O calls (nof.h, section I/O; C-1): each does what it says, requests of any
 * shape and size are split and put together again, and what cannot be done is refused.
 */
#include "rig.h"

enum { BIG = 5 << 20 };

static void flush(struct rig *r, int error)
{
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_flush(r->chan, rig_done, op))), error);
}

static int zeroes(struct rig *r, uint64_t len, uint64_t off, uint32_t flags)
{
	return rig_finish(RIG_SUBMIT(r, nof_write_zeroes(r->chan, len, off, flags, rig_done, op)));
}

static int deallocate(struct rig *r, uint64_t len, uint64_t off, uint32_t flags)
{
	return rig_finish(RIG_SUBMIT(r, nof_deallocate(r->chan, len, off, flags, rig_done, op)));
}

static int compare(struct rig *r, const void *buf, size_t len, uint64_t off)
{
	return rig_finish(RIG_SUBMIT(r, nof_compare(r->chan, buf, len, off, 0, rig_done, op)));
}

/* Every operation, on both block sizes, with a model in memory. */
static void t_all_operations(struct rig *r)
{
	uint8_t *model = malloc(BIG), *in = malloc(BIG);
	uint32_t bs;

	rig_target(r, r->arg, NULL);
	rig_open(r, NULL);
	bs = r->info.block_size;
	rig_fill(model, BIG, bs);
	assert_int_equal(rig_write(r, model, BIG, 0, 0), 0);
	memset(model + 4 * bs, 0, 64 * bs);
	assert_int_equal(zeroes(r, 64 * bs, 4 * bs, 0), 0);
	memset(model + 100 * bs, 0, 300 * bs);
	assert_int_equal(zeroes(r, 300 * bs, 100 * bs, NOF_IO_DEALLOCATE | NOF_IO_FUA), 0);
	memset(model + 500 * bs, 0, bs);
	assert_int_equal(deallocate(r, bs, 500 * bs, 0), 0);
	flush(r, 0);
	assert_int_equal(rig_read(r, in, BIG, 0, NOF_IO_FUA | NOF_IO_LR), 0);
	assert_memory_equal(in, model, BIG);
	assert_int_equal(compare(r, model, 1 << 20, 0), 0);
	model[12345] ^= 1;
	assert_int_equal(compare(r, model, 1 << 20, 0), -EILSEQ);
	assert_int_equal(r->last->status & 0x7ff, 0x285);
	/* Blocks instead of bytes. */
	assert_int_equal(rig_write(r, model, 2 * bs, 7, NOF_IO_LBA), 0);
	assert_int_equal(rig_read(r, in, 2 * bs, 7 * bs, 0), 0);
	assert_memory_equal(in, model, 2 * bs);
	assert_int_equal(zeroes(r, 3, 7, NOF_IO_LBA), 0);
	assert_int_equal(rig_read(r, in, 3 * bs, 7 * bs, 0), 0);
	for (uint32_t i = 0; i < 3 * bs; i++)
		assert_int_equal(in[i], 0);
	assert_int_equal(deallocate(r, 3, 7, NOF_IO_LBA), 0);
	/* Nothing at all is done, but it completes. */
	assert_int_equal(rig_read(r, in, 0, 0, 0), 0);
	assert_int_equal(rig_write(r, in, 0, r->info.bytes, 0), 0);
	assert_int_equal(zeroes(r, 0, 0, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
	free(model);
	free(in);
}

/* Cuts len bytes into pieces of changing sizes, 0 and 1 among them. */
static int shape(struct iovec *iov, int max, uint8_t *buf, size_t len, uint32_t seed)
{
	static const size_t sizes[] = { 1, 0, 3, 511, 512, 513, 0, 0, 4096, 1, 7, 65536, 0, 2 };
	size_t done = 0;
	int n = 0;

	while (done < len && n < max - 1) {
		size_t piece = sizes[(seed + (unsigned)n) % ARRAY_SIZE(sizes)];

		if (piece > len - done)
			piece = len - done;
		iov[n++] = (struct iovec){ buf + done, piece };
		done += piece;
	}
	if (done < len)
		iov[n++] = (struct iovec){ buf + done, len - done };
	iov[n++] = (struct iovec){ NULL, 0 };
	return n;
}

static void t_vectors(struct rig *r)
{
	enum { MAX = 4000, LEN = 300 * 512 };
	struct iovec *w = calloc(MAX, sizeof(*w)), *v = calloc(MAX, sizeof(*v));
	uint8_t *out = malloc(LEN), *in = malloc(LEN);

	rig_target(r, "--mdts=4 --in-capsule=1024", NULL);
	rig_open(r, r->arg);
	for (uint32_t seed = 0; seed < 14; seed++) {
		size_t len = seed % 3 ? LEN : 512 * (seed + 1);
		int nw = shape(w, MAX - 1, out, len, seed);
		int nr = shape(v, MAX - 1, in, len, seed * 5 + 1);

		rig_fill(out, len, seed);
		memset(in, 0, LEN);
		assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_writev(r->chan, w, nw, 512 * seed, 0,
								     rig_done, op))), 0);
		assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_readv(r->chan, v, nr, 512 * seed, 0,
								    rig_done, op))), 0);
		assert_memory_equal(in, out, len);
		assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_comparev(r->chan, v, nr, 512 * seed,
								       0, rig_done, op))), 0);
	}
	/* One byte each. */
	for (int i = 0; i < 2048; i++)
		w[i] = (struct iovec){ out + i, 1 };
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_writev(r->chan, w, 2048, 0, 0, rig_done,
							     op))), 0);
	for (int i = 0; i < 2048; i++)
		w[i].iov_base = in + i;
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_readv(r->chan, w, 2048, 0, 0, rig_done,
							    op))), 0);
	assert_memory_equal(in, out, 2048);
	/* Only empty pieces, and none. */
	w[0] = w[1] = (struct iovec){ NULL, 0 };
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_readv(r->chan, w, 2, 0, 0, rig_done, op))),
			 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_readv(r->chan, NULL, 0, 0, 0, rig_done,
							    op))), 0);
	RIG_REFUSES(nof_readv(r->chan, NULL, 1, 0, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_readv(r->chan, w, -1, 0, 0, rig_done, NULL), EINVAL);
	w[0].iov_len = w[1].iov_len = SIZE_MAX / 2;
	RIG_REFUSES(nof_readv(r->chan, w, 2, 0, 0, rig_done, NULL), EINVAL);
	assert_int_equal(rig_disconnect(r), 0);
	free(w);
	free(v);
	free(out);
	free(in);
}

/* What the target saw in CDW12. */
static void t_flags(struct rig *r)
{
	static const struct {
		const char *rule;
		uint32_t flags;
		bool is_zeroes;
	} k[] = {
		{ "on=write bit12=30 do=split:0", NOF_IO_FUA, false },
		{ "on=write bit12=31 do=split:0", NOF_IO_LR, false },
		{ "on=writezeroes bit12=25 do=split:0", NOF_IO_DEALLOCATE, true },
		{ "on=writezeroes bit12=30 do=split:0", NOF_IO_FUA, true },
	};
	char buf[512] = { 0 };

	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(k); i++) {
		rig_fault(r, k[i].rule);
		for (int on = 0; on < 2; on++) {
			uint32_t flags = on ? k[i].flags : 0;

			assert_int_equal(k[i].is_zeroes ? zeroes(r, 512, 0, flags) :
					 rig_write(r, buf, 512, 0, flags), 0);
			assert_int_equal(rig_stat(r, "faults_fired"), on);
		}
	}
	rig_fault(r, "on=read bit12=30 do=split:0");
	assert_int_equal(rig_read(r, buf, 512, 0, NOF_IO_FUA), 0);
	assert_int_equal(rig_stat(r, "faults_fired"), 1);
	assert_int_equal(rig_disconnect(r), 0);
}

/* C-1: one request, many commands, one completion; and they travel side by side. */
static void t_split_by_mdts(struct rig *r)
{
	uint8_t *out = malloc(BIG), *in = calloc(1, BIG);

	rig_target(r, "--mdts=1 --in-capsule=0 --queue-size=8", "on=write do=split:0");
	rig_open(r, NULL);
	assert_int_equal(r->info.max_transfer, 8192);
	rig_fill(out, BIG, 3);
	assert_int_equal(rig_write(r, out, BIG, 512, 0), 0);
	assert_int_equal(rig_stat(r, "faults_fired"), BIG / 8192);
	assert_int_equal(rig_read(r, in, BIG, 512, 0), 0);
	assert_memory_equal(in, out, BIG);
	rig_fault(r, "on=writezeroes do=split:0");
	assert_int_equal(zeroes(r, BIG, 512, 0), 0);
	assert_int_equal(rig_stat(r, "faults_fired"), BIG / r->info.max_write_zeroes);
	assert_int_equal(rig_disconnect(r), 0);
	free(out);
	free(in);
}

/* The first failure is reported, once, and the rest is not waited for in vain. */
static void t_part_fails(struct rig *r)
{
	uint8_t *buf = calloc(1, BIG);
	struct rig_op *big, *small;

	rig_target(r, "--mdts=1", "on=read nth=7 do=status:2/0x81/dnr");
	rig_open(r, "queue_size=8");
	big = rig_submit_read(r, buf, BIG, 0);
	small = rig_submit_read(r, buf, 512, 0);
	rig_finish_all(r);
	assert_true(big->error < 0);
	assert_int_equal(big->status, 0x4281);
	assert_int_equal(small->error, 0);
	assert_int_equal(rig_read(r, buf, BIG, 0, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
	free(buf);
}

static void t_refusals(struct rig *r)
{
	uint8_t buf[1024];
	uint64_t end;

	rig_target(r, "--ns=mem:1M,bs=512", NULL);
	rig_open(r, NULL);
	end = r->info.bytes;
	RIG_REFUSES(nof_read(r->chan, buf, 511, 0, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_read(r->chan, buf, 512, 1, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_read(r->chan, buf, 513, 1, NOF_IO_LBA, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_read(r->chan, buf, 512, end, 0, rig_done, NULL), ERANGE);
	RIG_REFUSES(nof_read(r->chan, buf, 1024, end - 512, 0, rig_done, NULL), ERANGE);
	RIG_REFUSES(nof_write(r->chan, buf, 512, UINT64_MAX - 511, 0, rig_done, NULL), ERANGE);
	RIG_REFUSES(nof_write(r->chan, buf, 512, UINT64_MAX, NOF_IO_LBA, rig_done, NULL), ERANGE);
	RIG_REFUSES(nof_write_zeroes(r->chan, UINT64_MAX, 1, NOF_IO_LBA, rig_done, NULL), ERANGE);
	RIG_REFUSES(nof_deallocate(r->chan, end + 512, 0, 0, rig_done, NULL), ERANGE);
	RIG_REFUSES(nof_read(r->chan, buf, 512, 0, 0x8000, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_read(r->chan, buf, 512, 0, NOF_IO_DEALLOCATE, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_read(NULL, buf, 512, 0, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_read(r->chan, buf, 512, 0, 0, NULL, NULL), EINVAL);
	/* None of them leaves a trace. */
	assert_int_equal(nof_chan_get_inflight(r->chan), 0);
	assert_int_equal(rig_read(r, buf, 512, end - 512, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_read_only(struct rig *r)
{
	uint8_t buf[512];

	rig_target(r, "--ns=mem:1M,ro", NULL);
	rig_open(r, NULL);
	assert_true(r->info.features & NOF_NS_READ_ONLY);
	RIG_REFUSES(nof_write(r->chan, buf, 4096, 0, 0, rig_done, NULL), EROFS);
	RIG_REFUSES(nof_write_zeroes(r->chan, 4096, 0, 0, rig_done, NULL), EROFS);
	RIG_REFUSES(nof_deallocate(r->chan, 4096, 0, 0, rig_done, NULL), EROFS);
	assert_int_equal(rig_disconnect(r), 0);
}

/* C-5: what ONCS does not offer is not sent. */
static void t_oncs(struct rig *r)
{
	char buf[512] = { 0 };

	rig_target(r, NULL, "on=c2hdata for=identify cns=1 do=set:data16[520]=0");
	rig_open(r, NULL);
	RIG_REFUSES(nof_compare(r->chan, buf, 512, 0, 0, rig_done, NULL), EOPNOTSUPP);
	RIG_REFUSES(nof_write_zeroes(r->chan, 512, 0, 0, rig_done, NULL), EOPNOTSUPP);
	RIG_REFUSES(nof_deallocate(r->chan, 512, 0, 0, rig_done, NULL), EOPNOTSUPP);
	assert_int_equal(rig_write(r, buf, 512, 0, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_no_volatile_cache(struct rig *r)
{
	rig_target(r, "--no-flush-cache", "on=flush do=split:0");
	rig_open(r, NULL);
	assert_false(r->info.features & NOF_NS_VOLATILE_CACHE);
	flush(r, 0);
	assert_int_equal(rig_stat(r, "faults_fired"), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* The calls that wait, and that they may not be made in callbacks. */
static int nested;

static void from_callback(void *arg, const struct nof_completion *c)
{
	struct rig_op *op = arg;
	char buf[512];

	nested = nof_pread(op->rig->chan, buf, sizeof(buf), 0, 0);
	rig_done(arg, c);
}

static void t_sync_calls(struct rig *r)
{
	uint8_t out[4096], in[4096] = { 0 };
	struct iovec iov[2] = { { in, 1000 }, { in + 1000, 3096 } };
	struct rig_op *op;

	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	rig_fill(out, sizeof(out), 4);
	assert_int_equal(nof_pwrite(r->chan, out, sizeof(out), 8192, NOF_IO_FUA), 0);
	assert_int_equal(nof_preadv(r->chan, iov, 2, 8192, 0), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(nof_pcompare(r->chan, out, sizeof(out), 8192, 0), 0);
	RIG_REFUSES(nof_pcompare(r->chan, out, sizeof(out), 0, 0), EILSEQ);
	assert_int_equal(nof_pwritev(r->chan, iov, 2, 0, 0), 0);
	assert_int_equal(nof_pflush(r->chan), 0);
	assert_int_equal(nof_pwrite_zeroes(r->chan, 4096, 0, 0), 0);
	assert_int_equal(nof_pdeallocate(r->chan, 4096, 0, 0), 0);
	RIG_REFUSES(nof_pread(r->chan, in, 1, 0, 0), EINVAL);
	op = rig_op(r);
	assert_int_equal(nof_read(r->chan, in, 512, 0, 0, from_callback, op), 0);
	assert_int_equal(rig_finish(op), 0);
	assert_int_equal(nested, -EDEADLK);
	assert_int_equal(rig_disconnect(r), 0);
}

#define STATUS(name_, status_, error_)                                                  \
	RIG_CASE("status_" name_, .fault = "on=read do=status:" status_, .act = ACT_READ, \
		 .error = error_, .fes = CLEAN)

static const struct rig_test tests[] = {
	{ "all_operations_512", t_all_operations, "--ns=mem:16M,bs=512" },
	{ "all_operations_4096", t_all_operations, "--ns=mem:16M,bs=4096" },
	{ "all_operations_file", t_all_operations, "--ns=mem:16M,bs=512 --mdts=2 --in-capsule=0" },
	{ "vectors", t_vectors, "" },
	{ "vectors_digests", t_vectors, "hdr_digest=on&data_digest=on" },
	{ "vectors_r2t", t_vectors, "in_capsule=off&max_r2t=1" },
	{ "flags_seen_by_target", t_flags },
	{ "c1_split_by_mdts", t_split_by_mdts },
	{ "c1_part_fails", t_part_fails },
	{ "refusals", t_refusals },
	{ "read_only", t_read_only },
	{ "c5_oncs", t_oncs },
	{ "c5_no_volatile_cache", t_no_volatile_cache },
	{ "sync_calls", t_sync_calls },
	STATUS("lba_range", "0x80/dnr", -ERANGE),
	STATUS("internal", "6", -EIO),
	STATUS("unrecovered_read", "2/0x81", -EIO),
	STATUS("guard", "2/0x82", -EILSEQ),
	STATUS("write_protected", "0x20", -EROFS),
	STATUS("capacity", "0x81", -ENOSPC),
	STATUS("vendor", "7/0xff", -EIO),
	RIG_CASE("status_of_write", .fault = "on=write do=status:2/0x80/dnr", .act = ACT_WRITE,
		 .error = -EIO, .fes = CLEAN, .says = "do not retry"),
	RIG_CASE("status_of_flush", .fault = "on=flush do=status:6", .act = ACT_FLUSH,
		 .error = -EIO, .fes = CLEAN),
};

int main(void)
{
	return rig_main("io", tests, ARRAY_SIZE(tests));
}
