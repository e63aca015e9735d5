/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Commands beside reads and writes (nof.h, section More commands; C-1, C-3, C-5): verify,
 * write uncorrectable, copy, compare and write, atomic writes, raw commands.
 */
#include "rig.h"

enum { BS = 512, BIG = 1 << 20 };

#define ID_CTRL "on=c2hdata for=identify cns=1 do="
#define ID_NS "on=c2hdata for=identify cns=0 do="

static int verify(struct rig *r, uint64_t len, uint64_t off, uint32_t flags)
{
	return rig_finish(RIG_SUBMIT(r, nof_verify(r->chan, len, off, flags, rig_done, op)));
}

static int uncorrectable(struct rig *r, uint64_t len, uint64_t off, uint32_t flags)
{
	return rig_finish(RIG_SUBMIT(r, nof_write_uncorrectable(r->chan, len, off, flags, rig_done,
								op)));
}

static int copy(struct rig *r, const struct nof_copy_range *v, size_t n, uint64_t off,
		uint32_t flags)
{
	return rig_finish(RIG_SUBMIT(r, nof_copy(r->chan, v, n, off, flags, rig_done, op)));
}

static int compare_write(struct rig *r, const void *want, const void *data, size_t len,
			 uint64_t off)
{
	return rig_finish(RIG_SUBMIT(r, nof_compare_write(r->chan, want, data, len, off, 0,
							  rig_done, op)));
}

/* Blocks are made bad, found by verify and read, and healed by writing. */
static void t_bad_blocks(struct rig *r)
{
	static uint8_t buf[64 * BS];

	rig_target(r, "--mdts=1", NULL);
	rig_open(r, NULL);
	assert_true(r->info.features & NOF_NS_VERIFY);
	assert_true(r->info.features & NOF_NS_WRITE_UNCORRECTABLE);
	rig_fill(buf, sizeof(buf), 1);
	assert_int_equal(rig_write(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(verify(r, r->info.bytes, 0, 0), 0);
	assert_int_equal(verify(r, r->info.blocks, 0, NOF_IO_LBA), 0);
	assert_int_equal(uncorrectable(r, 40 * BS, 3 * BS, 0), 0);
	assert_true(verify(r, 64 * BS, 0, 0) < 0);
	assert_int_equal(r->last->status & 0x7ff, 0x281);
	assert_non_null(strstr(r->last->detail, "verify of 32768 bytes"));
	assert_true(rig_read(r, buf, 64 * BS, 0, 0) < 0);
	assert_int_equal(verify(r, 3 * BS, 0, 0), 0);
	assert_int_equal(verify(r, 20 * BS, 43 * BS, 0), 0);
	rig_fill(buf, sizeof(buf), 2);
	assert_int_equal(rig_write(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(verify(r, 64 * BS, 0, NOF_IO_FUA), 0);
	assert_int_equal(uncorrectable(r, 2, 7, NOF_IO_LBA), 0);
	assert_true(rig_read(r, buf, BS, 8 * BS, 0) < 0);
	assert_int_equal(rig_read(r, buf, BS, 9 * BS, 0), 0);
	/* Nothing to do */
	assert_int_equal(verify(r, 0, 0, 0), 0);
	assert_int_equal(uncorrectable(r, 0, 0, 0), 0);
	RIG_REFUSES(nof_verify(r->chan, BS + 1, 0, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_verify(r->chan, BS, r->info.bytes, 0, rig_done, NULL), ERANGE);
	RIG_REFUSES(nof_verify(r->chan, BS, 0, NOF_IO_DEALLOCATE, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_write_uncorrectable(r->chan, BS, 0, NOF_IO_FUA, rig_done, NULL), EINVAL);
	assert_int_equal(nof_pverify(r->chan, BS, 0, 0), 0);
	assert_int_equal(nof_pwrite_uncorrectable(r->chan, BS, 0, 0), 0);
	assert_true(nof_pverify(r->chan, BS, 0, 0) < 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Limits of CNS 06 in units of 4 KiB: 2^1 of them are 16 blocks; the target counts commands. */
static void t_limits(struct rig *r)
{
	static uint8_t buf[64 * BS];
	uint64_t before;

	rig_target(r, NULL, "on=c2hdata for=identify cns=6 do=set:data8[0]=1,set:data8[2]=2");
	rig_open(r, NULL);
	assert_int_equal(r->info.max_verify, 16 * BS);
	assert_int_equal(rig_write(r, buf, sizeof(buf), 0, 0), 0);
	before = rig_stat(r, "commands");
	assert_int_equal(verify(r, 64 * BS, 0, 0), 0);
	assert_int_equal(rig_stat(r, "commands") - before, 4);
	before = rig_stat(r, "commands");
	assert_int_equal(uncorrectable(r, 64 * BS, 0, 0), 0);
	assert_int_equal(rig_stat(r, "commands") - before, 2);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Any ranges, with any limits of the controller: the destination holds them all, in order. */
static void t_copy(struct rig *r)
{
	static uint8_t src[256 * BS], want[256 * BS], in[256 * BS];
	struct nof_copy_range v[6] = {
		{ 0, 7 * BS }, { 100 * BS, 1 * BS }, { 20 * BS, 40 * BS }, { 0, 0 },
		{ 20 * BS, 2 * BS }, { 255 * BS, BS },
	};
	uint64_t total = 0;

	rig_target(r, r->arg, NULL);
	rig_open(r, NULL);
	assert_true(r->info.features & NOF_NS_COPY);
	assert_true(r->info.max_copy_ranges > 0 && r->info.max_copy_range > 0);
	rig_fill(src, sizeof(src), 5);
	assert_int_equal(rig_write(r, src, sizeof(src), 0, 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		memcpy(want + total, src + v[i].offset, v[i].length);
		total += v[i].length;
	}
	assert_int_equal(copy(r, v, ARRAY_SIZE(v), 1000 * BS, NOF_IO_FUA), 0);
	assert_int_equal(rig_read(r, in, total, 1000 * BS, 0), 0);
	assert_memory_equal(in, want, total);
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		v[i].offset /= BS;
		v[i].length /= BS;
	}
	assert_int_equal(copy(r, v, ARRAY_SIZE(v), 2000, NOF_IO_LBA), 0);
	assert_int_equal(rig_read(r, in, total, 2000 * BS, 0), 0);
	assert_memory_equal(in, want, total);
	/* Nothing: done */
	assert_int_equal(copy(r, v + 3, 1, 0, NOF_IO_LBA), 0);
	assert_int_equal(nof_pcopy(r->chan, v, 1, 3000, NOF_IO_LBA), 0);
	RIG_REFUSES(nof_copy(r->chan, v, 0, 0, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_copy(r->chan, NULL, 1, 0, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_copy(r->chan, v, 1, 0, NOF_IO_DEALLOCATE, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_copy(r->chan, v, 1, 6, NOF_IO_LBA, rig_done, NULL), EINVAL);
	assert_non_null(strstr(nof_strerror_detail(), "overlap"));
	RIG_REFUSES(nof_copy(r->chan, v, 1, r->info.blocks - 6, NOF_IO_LBA, rig_done, NULL),
		    ERANGE);
	RIG_REFUSES(nof_copy(r->chan, v, 1, 1, 0, rig_done, NULL), EINVAL);
	v[0].offset = UINT64_MAX;
	RIG_REFUSES(nof_copy(r->chan, v, 1, 0, NOF_IO_LBA, rig_done, NULL), ERANGE);
	assert_int_equal(rig_disconnect(r), 0);
}

/* The second of several commands fails, or the connection goes: one completion, with a reason. */
static void t_copy_fails(struct rig *r)
{
	static uint8_t src[64 * BS];
	struct nof_copy_range v = { 0, 64 * BS };

	rig_target(r, "--ns=mem:4M,bs=512,copy=8:16:2", NULL);
	rig_open(r, NULL);
	assert_int_equal(rig_write(r, src, sizeof(src), 0, 0), 0);
	rig_fault(r, "on=copy nth=2 do=status:2/0x82/dnr");
	assert_int_equal(copy(r, &v, 1, 100 * BS, 0) < 0, true);
	assert_int_equal(rig_stat(r, "faults_fired"), 1);
	rig_fault(r, "on=copy nth=2 do=reset");
	assert_int_equal(copy(r, &v, 1, 100 * BS, 0) < 0, true);
	RIG_UNTIL(r, r->failures);
}

static void t_compare_write(struct rig *r)
{
	static uint8_t a[128 * BS], b[128 * BS], in[129 * BS];

	rig_target(r, r->arg, NULL);
	rig_open(r, NULL);
	assert_true(r->info.features & NOF_NS_COMPARE_WRITE);
	assert_int_equal(r->info.max_compare_write, 128 * BS);
	rig_fill(a, sizeof(a), 1);
	rig_fill(b, sizeof(b), 2);
	assert_int_equal(rig_write(r, a, sizeof(a), 0, 0), 0);
	assert_int_equal(compare_write(r, a, b, sizeof(a), 0), 0);
	assert_int_equal(rig_read(r, in, sizeof(a), 0, 0), 0);
	assert_memory_equal(in, b, sizeof(a));
	/* Not what is expected: nothing is written. */
	assert_int_equal(compare_write(r, a, a, sizeof(a), 0), -EILSEQ);
	assert_int_equal(r->last->status & 0x7ff, 0x285);
	assert_int_equal(rig_read(r, in, sizeof(a), 0, 0), 0);
	assert_memory_equal(in, b, sizeof(a));
	assert_int_equal(nof_pcompare_write(r->chan, b, a, BS, 0, 0), 0);
	assert_int_equal(nof_pcompare_write(r->chan, b, a, BS, 0, 0), -EILSEQ);
	RIG_REFUSES(nof_compare_write(r->chan, in, in, 129 * BS, 0, 0, rig_done, NULL), EMSGSIZE);
	RIG_REFUSES(nof_compare_write(r->chan, in, in, 0, 0, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_compare_write(r->chan, NULL, in, BS, 0, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_compare_write(r->chan, in, in, BS, r->info.bytes, 0, rig_done, NULL),
		    ERANGE);
	assert_int_equal(rig_disconnect(r), 0);
}

/* A counter that many increase, each by comparing and writing: every increment is there. */
static void t_compare_write_counts(struct rig *r)
{
	enum { N = 200 };
	static uint8_t was[N][BS], is[N][BS];
	struct rig_op *ops[8];
	uint8_t block[BS] = { 0 };
	unsigned won = 0;

	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	assert_int_equal(rig_write(r, block, BS, 0, 0), 0);
	for (unsigned round = 0; round < N / 8; round++) {
		for (unsigned i = 0; i < 8; i++) {
			memset(was[i], (int)won, BS);
			memset(is[i], (int)won + 1, BS);
			ops[i] = RIG_SUBMIT(r, nof_compare_write(r->chan, was[i], is[i], BS, 0, 0,
								 rig_done, op));
		}
		for (unsigned i = 0, winners = 0; i < 8; i++) {
			int e = rig_finish(ops[i]);

			assert_true(e == 0 || e == -EILSEQ);
			winners += e == 0;
			assert_true(winners <= 1);
			won += e == 0;
		}
	}
	assert_int_equal(won, N / 8);
	assert_int_equal(rig_read(r, block, BS, 0, 0), 0);
	assert_int_equal(block[0], won);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Lost between the two answers: told once, never sent again. */
static void t_compare_write_lost(struct rig *r)
{
	static uint8_t a[BS], b[BS];

	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	rig_fault(r, r->arg);
	assert_true(compare_write(r, a, b, BS, 0) < 0);
	RIG_UNTIL(r, r->failures);
}

/* C-1: AWUPF 7 (8 blocks), boundary every 16 blocks from block 4 on. */
static void t_atomic(struct rig *r)
{
	static uint8_t buf[64 * BS];
	static const struct {
		uint32_t slba, blocks;
		int error;
	} k[] = {
		{ 0, 4, 0 }, { 0, 5, EMSGSIZE }, { 3, 2, EMSGSIZE }, { 4, 8, 0 },
		{ 4, 9, EMSGSIZE },
		{ 12, 8, 0 }, { 13, 8, EMSGSIZE }, { 20, 8, 0 }, { 19, 1, 0 }, { 19, 2, EMSGSIZE },
		{ 4, 0, 0 },
	};

	rig_target(r, NULL, ID_NS "set:data8[24]=2,set:data16[36]=7,set:data16[42]=4,"
		   "set:data16[44]=15");
	rig_open(r, NULL);
	assert_int_equal(r->info.atomic_write_power_fail, 8 * BS);
	assert_int_equal(r->info.atomic_boundary, 16 * BS);
	assert_int_equal(r->info.atomic_boundary_offset, 4 * BS);
	for (size_t i = 0; i < ARRAY_SIZE(k); i++) {
		if (k[i].error)
			RIG_REFUSES(nof_write(r->chan, buf, k[i].blocks * BS, k[i].slba * BS,
					      NOF_IO_ATOMIC, rig_done, NULL), k[i].error);
		else
			assert_int_equal(rig_write(r, buf, k[i].blocks * BS, k[i].slba * BS,
						   NOF_IO_ATOMIC), 0);
		/* Without the flag it is an ordinary write. */
		assert_int_equal(rig_write(r, buf, k[i].blocks * BS, k[i].slba * BS, 0), 0);
	}
	RIG_REFUSES(nof_read(r->chan, buf, BS, 0, NOF_IO_ATOMIC, rig_done, NULL), EINVAL);
	assert_int_equal(rig_disconnect(r), 0);
}

/* The controller's units count where the namespace has none; MDTS is a limit as well. */
static void t_atomic_of_controller(struct rig *r)
{
	static uint8_t buf[64 * BS];

	rig_target(r, "--mdts=1", ID_CTRL "set:data16[528]=255");
	rig_open(r, NULL);
	assert_int_equal(r->info.atomic_write_power_fail, 256 * BS);
	assert_int_equal(rig_write(r, buf, 16 * BS, 0, NOF_IO_ATOMIC), 0);
	RIG_REFUSES(nof_write(r->chan, buf, 17 * BS, 0, NOF_IO_ATOMIC, rig_done, NULL), EMSGSIZE);
	assert_int_equal(rig_disconnect(r), 0);
}

/* C-5 */
static void t_gates(struct rig *r)
{
	struct nof_copy_range v = { 0, BS };
	static uint8_t buf[BS];

	rig_target(r, NULL, ID_CTRL "set:data16[520]=0,set:data16[522]=0");
	rig_open(r, NULL);
	RIG_REFUSES(nof_verify(r->chan, BS, 0, 0, rig_done, NULL), EOPNOTSUPP);
	RIG_REFUSES(nof_write_uncorrectable(r->chan, BS, 0, 0, rig_done, NULL), EOPNOTSUPP);
	RIG_REFUSES(nof_copy(r->chan, &v, 1, BS, 0, rig_done, NULL), EOPNOTSUPP);
	RIG_REFUSES(nof_compare_write(r->chan, buf, buf, BS, 0, 0, rig_done, NULL), EOPNOTSUPP);
	assert_non_null(strstr(nof_strerror_detail(), "FUSES"));
	RIG_REFUSES(nof_zone_mgmt(r->chan, 0, NOF_ZONE_OPEN, rig_done, NULL), ENOTSUP);
	RIG_REFUSES(nof_resv_acquire(r->chan, NOF_RESV_ACQUIRE, NOF_RESV_WRITE_EXCLUSIVE, 1, 0, 0,
				     rig_done, NULL), EOPNOTSUPP);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Copy without limits, or without the format that is needed, cannot be used. */
static void t_copy_limits_missing(struct rig *r)
{
	struct nof_copy_range v = { 0, BS };

	rig_target(r, NULL, r->arg);
	rig_open(r, NULL);
	RIG_REFUSES(nof_copy(r->chan, &v, 1, BS, 0, rig_done, NULL), EOPNOTSUPP);
	assert_int_equal(rig_disconnect(r), 0);
}

static int passthru(struct rig *r, const struct nof_passthru *p)
{
	return rig_finish(RIG_SUBMIT(r, nof_io_passthru(r->chan, p, rig_done, op)));
}

/* C-3 */
static void t_passthru(struct rig *r)
{
	static uint8_t out[8 * BS], in[8 * BS], huge[2 << 20];
	struct nof_passthru p = { .size = sizeof(p), .opcode = 1, .cdw10 = 5, .cdw12 = 7,
				  .data = out, .data_len = sizeof(out) };
	uint64_t result = 1;

	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	rig_fill(out, sizeof(out), 3);
	assert_int_equal(passthru(r, &p), 0);
	p.opcode = 2;
	p.data = in;
	p.nsid = 1;
	assert_int_equal(passthru(r, &p), 0);
	assert_memory_equal(in, out, sizeof(out));
	memset(in, 0, sizeof(in));
	assert_int_equal(rig_read(r, in, sizeof(in), 5 * BS, 0), 0);
	assert_memory_equal(in, out, sizeof(out));
	p = (struct nof_passthru){ .size = sizeof(p), .opcode = 0, .nsid = 0xffffffff };
	assert_int_equal(nof_pio_passthru(r->chan, &p, &result), 0);
	assert_int_equal(result, 0);
	p.opcode = 0xfc;		/* the controller's word */
	p.nsid = 0;
	assert_int_equal(passthru(r, &p), -EOPNOTSUPP);
	p.opcode = 0x7f;
	RIG_REFUSES(nof_io_passthru(r->chan, &p, rig_done, NULL), EPERM);
	p.opcode = 0x83;
	RIG_REFUSES(nof_io_passthru(r->chan, &p, rig_done, NULL), ENOTSUP);
	p.opcode = 0x80;
	p.data = in;
	p.data_len = 4;
	RIG_REFUSES(nof_io_passthru(r->chan, &p, rig_done, NULL), EINVAL);
	p.opcode = 2;
	p.data_len = 3;
	RIG_REFUSES(nof_io_passthru(r->chan, &p, rig_done, NULL), EINVAL);
	p.data = huge;
	p.data_len = sizeof(huge);
	RIG_REFUSES(nof_io_passthru(r->chan, &p, rig_done, NULL), EMSGSIZE);
	p.data_len = BS;
	p.nsid = 2;
	RIG_REFUSES(nof_io_passthru(r->chan, &p, rig_done, NULL), EINVAL);
	p.nsid = 0;
	p.timeout_ms = 5;
	RIG_REFUSES(nof_io_passthru(r->chan, &p, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_io_passthru(r->chan, NULL, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_io_passthru(NULL, &p, rig_done, NULL), EINVAL);
	assert_int_equal(rig_disconnect(r), 0);
}

static void on_drained(void *arg, const struct nof_completion *c)
{
	struct rig_op *op = arg, *copy = op->next;

	/* ops are newest first: the one before is the copy. */
	if (copy->count != 1)
		op->rig->drive = (enum rig_drive)99;
	rig_done(arg, c);
}

/* An operation of many commands is one to nof_chan_drain(). */
static void t_drain(struct rig *r)
{
	static uint8_t src[64 * BS];
	struct nof_copy_range v = { 0, 64 * BS };
	struct rig_op *c, *d;

	rig_target(r, "--ns=mem:4M,bs=512,copy=1:1:1", NULL);
	rig_open(r, NULL);
	assert_int_equal(rig_write(r, src, sizeof(src), 0, 0), 0);
	for (int i = 0; i < 3; i++) {
		c = RIG_SUBMIT(r, nof_copy(r->chan, &v, 1, 100 * BS, NOF_IO_FAIL_FAST, rig_done,
					   op));
		d = RIG_SUBMIT(r, nof_chan_drain(r->chan, on_drained, op));
		assert_int_equal(rig_finish(d), 0);
		assert_true(r->drive != (enum rig_drive)99);
		assert_int_equal(c->count, 1);
		assert_int_equal(c->error, 0);
	}
	assert_int_equal(rig_disconnect(r), 0);
}

#define COMES_BACK "ctrl_loss_tmo=10&reconnect_delay=0.2&write_hold=off&max_retries=5"

/* The connection goes in the middle of it; it goes on when that is back. */
static void t_goes_on(struct rig *r)
{
	static uint8_t src[64 * BS], in[64 * BS];
	struct nof_copy_range v = { 0, 64 * BS };

	rig_target(r, "--ns=mem:4M,bs=512,copy=8:16:2", NULL);
	rig_open(r, COMES_BACK);
	rig_fill(src, sizeof(src), 6);
	assert_int_equal(rig_write(r, src, sizeof(src), 0, 0), 0);
	rig_fault(r, "on=copy nth=2 do=reset");
	assert_int_equal(copy(r, &v, 1, 100 * BS, 0), 0);
	assert_int_equal(rig_read(r, in, sizeof(in), 100 * BS, 0), 0);
	assert_memory_equal(in, src, sizeof(in));
	rig_fault(r, "on=verify nth=1 do=reset");
	assert_int_equal(verify(r, r->info.bytes, 0, 0), 0);
	rig_fault(r, "on=writeuncor nth=1 do=reset");
	assert_int_equal(uncorrectable(r, BS, 0, 0), 0);
	assert_true(rig_read(r, in, BS, 0, 0) < 0);
	/* What must not happen twice is not sent twice. */
	rig_fault(r, "on=resp for=write do=reset");
	assert_true(compare_write(r, src + BS, in, BS, BS) < 0);
	assert_int_equal(rig_stat(r, "faults_fired"), 1);
	assert_true(r->last->error == -ECONNRESET || r->last->error == -EPIPE);
	rig_control(r, "clear");
	assert_int_equal(rig_read(r, in, BS, 5 * BS, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

static void on_done_close(void *arg, const struct nof_completion *c)
{
	struct rig_op *op = arg;

	rig_done(arg, c);
	nof_chan_close(op->rig->chan);
	op->rig->chan = NULL;
}

/* All kinds at once, and the channel goes: before they are sent, while they are, in a callback. */
static void t_closed_in_flight(struct rig *r)
{
	static uint8_t a[8 * BS], b[8 * BS];
	struct nof_copy_range v[2] = { { 0, 100 * BS }, { 200 * BS, 100 * BS } };
	struct nof_passthru p = { .size = sizeof(p), .opcode = 2, .data = a, .data_len = BS };
	struct nof_resv_status st = { .size = sizeof(st) };
	struct nof_registrant g[4];
	bool in_callback = r->arg && !strcmp(r->arg, "callback");

	rig_target(r, "--ns=mem:4M,bs=512,copy=8:16:2", NULL);
	rig_open(r, "queue_size=8");
	for (unsigned i = 0; i < 4; i++) {
		RIG_SUBMIT(r, nof_copy(r->chan, v, 2, 1000 * BS, 0, rig_done, op));
		RIG_SUBMIT(r, nof_verify(r->chan, r->info.bytes, 0, 0,
					 in_callback && i == 1 ? on_done_close : rig_done, op));
		RIG_SUBMIT(r, nof_compare_write(r->chan, a, b, sizeof(a), 0, 0, rig_done, op));
		RIG_SUBMIT(r, nof_io_passthru(r->chan, &p, rig_done, op));
		RIG_SUBMIT(r, nof_resv_report(r->chan, &st, g, 4, rig_done, op));
	}
	if (in_callback) {
		RIG_UNTIL(r, !r->chan);
		/* What had begun ends by itself. */
		rig_finish_all(r);
	} else {
		if (r->arg)
			rig_turn(r, 0);
		nof_chan_close(r->chan);
		r->chan = NULL;
		assert_int_equal(r->inflight, 0);
	}
	assert_int_equal(rig_disconnect(r), 0);
}

int main(void)
{
	const struct rig_test tests[] = {
		{ "bad_blocks", t_bad_blocks },
		{ "c1_limits", t_limits },
		{ "copy", t_copy, NULL },
		{ "c1_copy_of_1", t_copy, "--ns=mem:4M,bs=512,copy=1:1:1" },
		{ "c1_copy_of_3", t_copy, "--ns=mem:4M,bs=512,copy=3:7:2" },
		{ "c1_copy_of_20", t_copy, "--ns=mem:4M,bs=512,copy=20:20:256" },
		{ "copy_fails", t_copy_fails },
		{ "compare_write", t_compare_write, NULL },
		{ "compare_write_r2t", t_compare_write, "--in-capsule=0" },
		{ "compare_write_counts", t_compare_write_counts },
		{ "compare_write_lost_1", t_compare_write_lost, "on=resp for=compare do=reset" },
		{ "compare_write_lost_2", t_compare_write_lost, "on=resp for=write do=reset" },
		{ "c1_atomic", t_atomic },
		{ "c1_atomic_of_controller", t_atomic_of_controller },
		{ "c5_gates", t_gates },
		{ "c5_copy_without_mcl", t_copy_limits_missing, ID_NS "set:data32[76]=0" },
		{ "c5_copy_without_format", t_copy_limits_missing, ID_CTRL "set:data16[534]=2" },
		{ "c3_passthru", t_passthru },
		{ "drain", t_drain },
		{ "goes_on_after_loss", t_goes_on },
		{ "closed_before_sent", t_closed_in_flight, NULL },
		{ "closed_in_flight", t_closed_in_flight, "turn" },
		{ "closed_in_callback", t_closed_in_flight, "callback" },
	};

	return rig_main("commands", tests, ARRAY_SIZE(tests));
}
