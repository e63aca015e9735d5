/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Atomic writes (blktests' 059), metadata by raw commands (064) and protection
 * information (SPDK's target/dif), with our own code against the scripted target.
 */
#include "peer.h"

/* ---- 059 ---- */

static int write_atomic(struct rig *r, const void *buf, size_t blocks, uint64_t block)
{
	uint32_t bs = r->info.block_size;

	return rig_finish(RIG_SUBMIT(r, nof_write(r->chan, buf, blocks * bs, block * bs,
						  NOF_IO_ATOMIC, rig_done, op)));
}

/* What is one atomic unit goes as one command; what is not is refused, not split. */
static void t_atomic(struct rig *r)
{
	uint8_t *buf = calloc(64, 4096);
	uint32_t bs;

	rig_target(r, "--ns=mem:16M,bs=512,atomic=16 --mdts=4", NULL);
	rig_open(r, NULL);
	bs = r->info.block_size;
	assert_int_equal(r->info.atomic_write, 16 * bs);
	assert_int_equal(r->info.atomic_write_power_fail, 16 * bs);
	assert_int_equal(r->info.atomic_boundary, 0);
	rig_fault(r, "on=write do=split:0");
	for (uint32_t n = 1; n <= 16; n++) {
		assert_int_equal(write_atomic(r, buf, n, 3 * n), 0);
		assert_int_equal(rig_stat(r, "faults_fired"), n);
	}
	assert_int_equal(write_atomic(r, buf, 17, 0), -EMSGSIZE);
	assert_int_equal(write_atomic(r, buf, 256, 0), -EMSGSIZE);
	assert_int_equal(rig_stat(r, "faults_fired"), 16);
	/* Without the flag the same is split as ever. */
	assert_int_equal(rig_write(r, buf, 256 * bs, 0, 0), 0);
	assert_true(rig_stat(r, "faults_fired") > 16);
	assert_int_equal(rig_disconnect(r), 0);
	free(buf);
}

/* With a boundary every 8 blocks, the first of them behind block 2. */
static void t_atomic_boundary(struct rig *r)
{
	uint8_t *buf = calloc(16, 512);
	uint32_t bs;

	rig_target(r, "--ns=mem:16M,bs=512,atomic=8:8:2", NULL);
	rig_open(r, NULL);
	bs = r->info.block_size;
	assert_int_equal(r->info.atomic_boundary, 8 * bs);
	assert_int_equal(r->info.atomic_boundary_offset, 2 * bs);
	assert_int_equal(write_atomic(r, buf, 2, 0), 0);
	assert_int_equal(write_atomic(r, buf, 3, 0), -EMSGSIZE);
	assert_int_equal(write_atomic(r, buf, 8, 2), 0);
	assert_int_equal(write_atomic(r, buf, 8, 3), -EMSGSIZE);
	assert_int_equal(write_atomic(r, buf, 7, 3), 0);
	assert_int_equal(write_atomic(r, buf, 8, 10), 0);
	assert_int_equal(write_atomic(r, buf, 2, 9), -EMSGSIZE);
	assert_int_equal(rig_disconnect(r), 0);
	free(buf);
}

/* A namespace that promises nothing: one block still is. */
static void t_atomic_none(struct rig *r)
{
	uint8_t buf[1024] = { 0 };

	rig_target(r, "--ns=mem:16M,bs=512", NULL);
	rig_open(r, NULL);
	assert_int_equal(write_atomic(r, buf, 1, 5), 0);
	assert_int_equal(write_atomic(r, buf, 2, 5), -EMSGSIZE);
	assert_int_equal(rig_disconnect(r), 0);
}

/* ---- 064 ---- */

/* Extended blocks by raw commands: metadata travels behind the data of each block. */
static void t_raw_metadata(struct rig *r)
{
	enum { N = 8 };
	struct nof_passthru c = { .size = sizeof(c) };
	uint8_t *out, *in, md[N * 64];
	uint32_t bs, ms;
	struct iovec iov;

	rig_target(r, r->arg, NULL);
	rig_open(r, NULL);
	bs = r->info.block_size;
	ms = r->info.metadata_size;
	assert_true(ms == 8 || ms == 16 || ms == 64);
	assert_int_equal(r->info.pi_type, 0);
	out = malloc(N * (bs + ms));
	in = calloc(N, bs + ms);
	rig_fill(out, N * (bs + ms), 64);
	c.opcode = 1;
	c.cdw10 = 7;
	c.cdw12 = N - 1;
	c.data = out;
	c.data_len = N * (bs + ms);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_io_passthru(r->chan, &c, rig_done, op))), 0);
	c.opcode = 2;
	c.data = in;
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_io_passthru(r->chan, &c, rig_done, op))), 0);
	assert_memory_equal(in, out, N * (bs + ms));
	/* The same, taken apart. */
	memset(in, 0, N * (bs + ms));
	iov = (struct iovec){ in, N * bs };
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_readv_pi(r->chan, &iov, 1, md, N * ms, 7 * bs,
		0, &(struct nof_pi){ .size = sizeof(struct nof_pi), .mode = NOF_PI_CALLER },
		rig_done, op))), 0);
	for (uint32_t i = 0; i < N; i++) {
		assert_memory_equal(in + i * bs, out + i * (bs + ms), bs);
		assert_memory_equal(md + i * ms, out + i * (bs + ms) + bs, ms);
	}
	/* A length that leaves the metadata out is an error, not memory read or written. */
	c.data_len = N * bs;
	assert_true(rig_finish(RIG_SUBMIT(r, nof_io_passthru(r->chan, &c, rig_done, op))) < 0);
	assert_int_equal(rig_disconnect(r), 0);
	free(out);
	free(in);
}

/* ---- dif ---- */

static int pi_io(struct rig *r, bool is_write, void *buf, uint32_t blocks, uint64_t block,
		 enum nof_pi_mode mode, void *md, size_t md_len, uint16_t app_tag)
{
	struct iovec iov[2] = { { buf, 100 }, { (char *)buf + 100,
						blocks * r->info.block_size - 100 } };
	struct nof_pi pi = { .size = sizeof(pi), .mode = mode, .app_tag = app_tag,
			     .app_tag_mask = 0xffff,
			     .check = NOF_PI_GUARD | NOF_PI_APP_TAG | NOF_PI_REF_TAG,
			     .ref_tag = block };
	uint64_t off = block * r->info.block_size;

	/* Type 3 has no reference tag to check. */
	if (r->info.pi_type == 3)
		pi.check = NOF_PI_GUARD | NOF_PI_APP_TAG;
	return rig_finish(is_write ?
		RIG_SUBMIT(r, nof_writev_pi(r->chan, iov, 2, md, md_len, off, 0, &pi, rig_done,
					    op)) :
		RIG_SUBMIT(r, nof_readv_pi(r->chan, iov, 2, md, md_len, off, 0, &pi, rig_done,
					   op)));
}

#define PI_IO(r, want, ...)                                                             \
	do {                                                                            \
		int e_ = pi_io(r, __VA_ARGS__);                                         \
		if (e_ != (want))                                                       \
			fail_msg("%s ended with %d, want %d: %s", #__VA_ARGS__, e_,     \
				 want, (r)->last->detail);                              \
	} while (0)

/* Inserted by the library, passed through, checked by both; and by the controller. */
static void t_dif(struct rig *r)
{
	enum { N = 20 };
	uint8_t *out, *in, md[N * 64];
	uint32_t bs, ms, pi_len;
	bool is_plain;

	rig_target(r, r->arg, NULL);
	rig_open(r, NULL);
	bs = r->info.block_size;
	ms = r->info.metadata_size;
	assert_true(r->info.pi_type);
	pi_len = r->info.pi_guard_bits == 16 ? 8 : 16;
	/* Nothing in the metadata but protection information: it may be left to others. */
	is_plain = ms == pi_len;
	out = malloc(N * bs);
	in = malloc(N * bs);
	rig_fill(out, N * bs, 5);
	memset(md, 0x3c, sizeof(md));
	PI_IO(r, 0, true, out, N, 11, NOF_PI_LIBRARY, is_plain ? NULL : md,
			       is_plain ? 0 : N * ms, 0x1234);
	PI_IO(r, 0, false, in, N, 11, NOF_PI_LIBRARY, is_plain ? NULL : md,
			       is_plain ? 0 : N * ms, 0x1234);
	assert_memory_equal(in, out, N * bs);
	/* Another application tag is found, by the library or before it by the controller. */
	PI_IO(r, -EILSEQ, false, in, N, 11, NOF_PI_LIBRARY, is_plain ? NULL : md,
			       is_plain ? 0 : N * ms, 0x1235);
	/* What the medium holds, as it is; one bit of data changed under it. */
	PI_IO(r, 0, false, in, N, 11, NOF_PI_CALLER, md, N * ms, 0x1234);
	assert_memory_equal(in, out, N * bs);
	in[5 * bs + 17] ^= 4;
	PI_IO(r, -EILSEQ, true, in, N, 11, NOF_PI_CALLER, md, N * ms, 0x1234);
	/* The controller does all of it. */
	if (is_plain) {
		rig_fill(out, N * bs, 6);
		PI_IO(r, 0, true, out, N, 40, NOF_PI_CONTROLLER, NULL, 0, 0x77);
		PI_IO(r, 0, false, in, N, 40, NOF_PI_LIBRARY, NULL, 0, 0x77);
		assert_memory_equal(in, out, N * bs);
		/* And the ordinary calls, which leave it to the controller. */
		assert_int_equal(rig_write(r, out, N * bs, 80 * bs, 0), 0);
		assert_int_equal(rig_read(r, in, N * bs, 80 * bs, 0), 0);
		assert_memory_equal(in, out, N * bs);
	}
	assert_int_equal(rig_disconnect(r), 0);
	free(out);
	free(in);
}

/* Damaged on the way, without a data digest: the guard finds it. */
static void t_dif_damage(struct rig *r)
{
	enum { N = 4 };
	uint8_t *out, *in;
	uint32_t bs;

	rig_target(r, "--ns=mem:16M,bs=512,ms=8,pi=1", NULL);
	rig_open(r, NULL);
	bs = r->info.block_size;
	out = malloc(N * bs);
	in = malloc(N * bs);
	rig_fill(out, N * bs, 7);
	PI_IO(r, 0, true, out, N, 0, NOF_PI_LIBRARY, NULL, 0, 1);
	rig_fault(r, "on=c2hdata for=read do=set:data8[700]^=1");
	PI_IO(r, -EILSEQ, false, in, N, 0, NOF_PI_LIBRARY, NULL, 0, 1);
	assert_true(strlen(r->last->detail) > 30);
	rig_control(r, "clear");
	PI_IO(r, 0, false, in, N, 0, NOF_PI_LIBRARY, NULL, 0, 1);
	assert_memory_equal(in, out, N * bs);
	assert_int_equal(rig_disconnect(r), 0);
	free(out);
	free(in);
}

#define DIF(name_, spec_) { "spdk_target_dif_" name_, t_dif, "--ns=mem:16M," spec_ }

static const struct rig_test tests[] = {
	{ "blktests_nvme_059_atomic", t_atomic },
	{ "blktests_nvme_059_atomic_boundary", t_atomic_boundary },
	{ "blktests_nvme_059_atomic_none", t_atomic_none },
	{ "blktests_nvme_064_metadata_8", t_raw_metadata, "--ns=mem:16M,bs=512,ms=8" },
	{ "blktests_nvme_064_metadata_64", t_raw_metadata, "--ns=mem:16M,bs=4096,ms=64" },
	DIF("type1", "bs=512,ms=8,pi=1"),
	DIF("type2", "bs=512,ms=8,pi=2"),
	DIF("type3", "bs=512,ms=8,pi=3"),
	DIF("type1_4096", "bs=4096,ms=8,pi=1"),
	DIF("type1_ms64", "bs=4096,ms=64,pi=1"),
	DIF("type1_ms64_first", "bs=4096,ms=64,pi=1,pil=first"),
	DIF("guard32", "bs=4096,ms=16,pi=1,pif=32"),
	DIF("guard64", "bs=4096,ms=16,pi=1,pif=64"),
	{ "spdk_target_dif_damage", t_dif_damage },
};

int main(void)
{
	return rig_main("peer_metadata", tests, ARRAY_SIZE(tests));
}
