/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Moving data (T-10 to T-17): what is written is what is read back, whatever the
 * limits, the R2T schedule, the alignment and the split into C2HData are; and the
 * target, which checks each PDU of the host (order, LAST, limits, TTAG), has
 * nothing to complain about.
 */
#include "rig.h"

/* Rules that change nothing: "faults_fired" counts what passes by. */
#define COUNT_R2T "on=r2t do=set:ttag^=0"
#define COUNT_H2CDATA "on=h2cdata do=split:0"
#define COUNT_C2HDATA "on=c2hdata for=read do=set:cccid^=0"

enum { MAX_LEN = 256 << 10 };

static void round_trip(struct rig *r, uint32_t len, uint64_t off, uint32_t seed)
{
	uint8_t *out = malloc(len), *in = calloc(1, len);

	rig_fill(out, len, seed);
	assert_int_equal(rig_write(r, out, len, off, 0), 0);
	assert_int_equal(rig_read(r, in, len, off, 0), 0);
	assert_memory_equal(in, out, len);
	free(out);
	free(in);
}

static void several(struct rig *r, uint32_t len)
{
	enum { N = 8 };
	uint8_t *out = malloc((size_t)N * len), *in = calloc(N, len);

	rig_fill(out, (size_t)N * len, len);
	for (uint32_t i = 0; i < N; i++)
		rig_submit_write(r, out + i * len, len, (uint64_t)i * len);
	nof_loop_flush(r->loop);
	rig_finish_all(r);
	for (uint32_t i = 0; i < N; i++)
		rig_submit_read(r, in + i * len, len, (uint64_t)i * len);
	rig_finish_all(r);
	for (struct rig_op *op = r->ops; op; op = op->next)
		assert_int_equal(op->error, 0);
	assert_memory_equal(in, out, (size_t)N * len);
	free(out);
	free(in);
}

struct transfer {
	const char *target, *host, *count;
	uint32_t len;
	uint64_t counted;	/* PDUs that count must have seen for one write and read of len */
};

static void t_transfer(struct rig *r)
{
	static const uint32_t sizes[] = { 512, 1024, 4096, 7680, 8192, 8704, 16384, 65536,
					  100 * 512, MAX_LEN };
	const struct transfer *k = r->arg;

	rig_target(r, k->target, k->count);
	rig_open(r, k->host);
	round_trip(r, k->len, 1 << 20, 99);
	if (k->count)
		assert_int_equal(rig_stat(r, "faults_fired"), k->counted);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		round_trip(r, sizes[i], 512 * i, (uint32_t)i);
	several(r, 512);
	several(r, 20480);
	assert_int_equal(rig_disconnect(r), 0);
	assert_int_equal(rig_stat(r, "c2h_term"), 0);
	assert_int_equal(rig_stat(r, "h2c_term"), 0);
	assert_int_equal(rig_stat(r, "digest_errors"), 0);
}

#define TRANSFER(name_, ...) { name_, t_transfer, &(const struct transfer){ __VA_ARGS__ } }

/* T-2, T-8: every alignment a controller can ask for, with and without digests. */
static void t_cpda(struct rig *r)
{
	static const char *const hosts[] = { "", "hdr_digest=on&data_digest=on" };
	char options[64];

	for (unsigned cpda = 0; cpda < 32; cpda++) {
		snprintf(options, sizeof(options), "--cpda=%u --in-capsule=4096", cpda);
		rig_target(r, options, NULL);
		rig_open(r, hosts[cpda & 1]);
		round_trip(r, 4096, 0, cpda);		/* in the capsule */
		round_trip(r, 8192, 4096, cpda);	/* H2CData */
		assert_int_equal(rig_disconnect(r), 0);
		assert_int_equal(rig_stat(r, "c2h_term"), 0);
		rig_close(r);
		rig_target_restart(r);
	}
}

/* T-1: the host skips whatever lies between the header and PDO. */
static void t_padding(struct rig *r)
{
	char script[64];

	rig_target(r, NULL, NULL);
	rig_open(r, r->arg);
	for (unsigned pad = 4; pad <= 96; pad += 4) {
		snprintf(script, sizeof(script), "on=c2hdata for=read do=pad:%u", pad);
		rig_fault(r, script);
		round_trip(r, 4096, 0, pad);
		round_trip(r, 65536, 0, pad);
	}
	assert_int_equal(rig_disconnect(r), 0);
}

/* T-15: what a successful answer did not deliver is an error of that read only. */
#define SHORT(name_, target_, uri_, fault_)                                             \
	RIG_CASE("t15_" name_, .target = target_, .uri = uri_, .fault = fault_,           \
		 .act = ACT_READ, .error = -EIO, .fes = CLEAN, .says = "without all of its data")

/* T-14: a SUCCESS flag although flow control is on is believed. */
static void t_success_unasked(struct rig *r)
{
	char buf[4096];

	rig_target(r, NULL, "on=c2hdata for=read do=set:flags=0x0c; on=resp for=read do=drop");
	rig_open(r, NULL);
	for (int i = 0; i < 3; i++)
		assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	rig_control(r, "clear");
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* T-16: an answer overtakes the data of its own command. The buffer is the caller's again
 * only when its last byte was sent: data digests would show a change. */
struct overtaken {
	struct rig_op *op;
	uint8_t *buf;
};

static void scribble(void *arg, const struct nof_completion *c)
{
	struct overtaken *o = arg;

	memset(o->buf, 0xee, 1 << 20);
	rig_done(o->op, c);
}

static void t_answer_overtakes(struct rig *r)
{
	enum { LEN = 1 << 20, N = 8 };
	uint8_t *buf = calloc(N, LEN);
	struct overtaken o[N];

	rig_target(r, "--in-capsule=1M", "on=write do=inject:resp:status=4,drop");
	rig_open(r, "data_digest=on&io_timeout=10");
	for (int i = 0; i < N; i++) {
		o[i].op = rig_op(r);
		o[i].buf = buf + (size_t)i * LEN;
		rig_fill(o[i].buf, LEN, (uint32_t)i);
		assert_int_equal(nof_write(r->chan, o[i].buf, LEN, 0, 0, scribble, &o[i]), 0);
	}
	rig_finish_all(r);
	for (int i = 0; i < N; i++) {
		assert_true(o[i].op->error < 0);
		assert_int_equal(o[i].op->status, 4);
	}
	rig_control(r, "clear");
	assert_int_equal(rig_write(r, buf, 512, 0, 0), 0);
	assert_int_equal(rig_stat(r, "digest_errors"), 0);
	assert_int_equal(rig_disconnect(r), 0);
	free(buf);
}

/* T-17: never more commands on the wire than the queue has entries minus one. */
static void t_queue_full(struct rig *r)
{
	char buf[512];
	unsigned n = 0;

	rig_target(r, "--queue-size=16", "on=read nth=1 do=delay:100");
	rig_open(r, "queue_size=8");
	while (!RIG_SUBMIT(r, nof_read(r->chan, buf, sizeof(buf), 0, 0, rig_done, op))->is_refused)
		n++;
	assert_int_equal(r->ops->error, -EAGAIN);
	assert_int_equal(n, nof_chan_get_limit(r->chan));
	assert_int_equal(n, nof_chan_get_inflight(r->chan));
	rig_finish_all(r);
	assert_int_equal(nof_chan_get_inflight(r->chan), 0);
	assert_int_equal(rig_stat(r, "c2h_term"), 0);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

static const struct rig_test tests[] = {
	/* T-11: the limit of the capsule, from both sides */
	TRANSFER("t11_in_capsule_at_limit", .count = COUNT_R2T, .len = 8192, .counted = 0),
	TRANSFER("t11_beyond_in_capsule", .count = COUNT_R2T, .len = 8704, .counted = 1),
	TRANSFER("t11_small_in_capsule", "--in-capsule=1024", .count = COUNT_R2T, .len = 1024,
		 .counted = 0),
	TRANSFER("t11_small_in_capsule_exceeded", "--in-capsule=1024", .count = COUNT_R2T,
		 .len = 1536, .counted = 1),
	TRANSFER("t11_large_in_capsule", "--in-capsule=1M", .count = COUNT_R2T, .len = MAX_LEN,
		 .counted = 0),
	TRANSFER("t11_no_in_capsule", "--in-capsule=0", .count = COUNT_R2T, .len = 512,
		 .counted = 1),
	/* T-12 */
	TRANSFER("t12_always_r2t", .host = "in_capsule=off", .count = COUNT_R2T, .len = 512,
		 .counted = 1),
	/* T-13, T-9 */
	TRANSFER("t13_r2t_several", "--in-capsule=0 --r2t=4 --r2t-size=4096", .count = COUNT_R2T,
		 .len = 65536, .counted = 16),
	TRANSFER("t13_r2t_two_at_a_time", "--in-capsule=0 --r2t=16 --r2t-size=4096",
		 "max_r2t=2", COUNT_R2T, 65536, 16),
	TRANSFER("t13_r2t_one_at_a_time", "--in-capsule=0 --r2t=16 --r2t-size=4096",
		 "max_r2t=1", COUNT_R2T, 65536, 16),
	TRANSFER("t13_r2t_tiny", "--in-capsule=0 --r2t=4 --r2t-size=100", .count = COUNT_R2T,
		 .len = 4096, .counted = 41),
	TRANSFER("t13_maxh2cdata_4096", "--in-capsule=0 --maxh2cdata=4096",
		 .count = COUNT_H2CDATA, .len = 65536, .counted = 16),
	TRANSFER("t13_maxh2cdata_odd", "--in-capsule=0 --maxh2cdata=5004",
		 .count = COUNT_H2CDATA, .len = 65536, .counted = 14),
	TRANSFER("t13_maxh2cdata_and_r2ts", "--in-capsule=0 --maxh2cdata=4096 --r2t=4 "
		 "--r2t-size=10000", "hdr_digest=on&data_digest=on", COUNT_H2CDATA, 65536, 20),
	/* T-14 */
	TRANSFER("t14_c2h_4096", "--c2h-size=4096", .count = COUNT_C2HDATA, .len = 65536,
		 .counted = 16),
	TRANSFER("t14_c2h_tiny", "--c2h-size=20", .count = COUNT_C2HDATA, .len = 512,
		 .counted = 26),
	TRANSFER("t14_c2h_tiny_digests", "--c2h-size=36", "hdr_digest=on&data_digest=on",
		 COUNT_C2HDATA, 512, 15),
	TRANSFER("t14_c2h_odd_large", "--c2h-size=50000", "data_digest=on", COUNT_C2HDATA,
		 MAX_LEN, 6),
	TRANSFER("t14_success_flag", "--success=on", "disable_sqflow=on"),
	TRANSFER("t14_success_flag_split", "--success=on --c2h-size=1000",
		 "disable_sqflow=on&data_digest=on"),
	TRANSFER("t14_no_success_flag", "--success=off", "disable_sqflow=on"),
	TRANSFER("t14_flow_control", "--success=on", "disable_sqflow=off&queue_size=5"),
	{ "t14_success_unasked", t_success_unasked },
	RIG_CASE("t14_success_and_response", .uri = "disable_sqflow=on", .act = ACT_READ,
		 .fault = "on=c2hdata for=read do=send,inject:resp", .is_after = true,
		 .error = -EPROTO, .fes = 1, .fei = 20, .says = "not outstanding"),
	RIG_CASE("t14_last_missing", .fault = "on=c2hdata for=read do=set:flags=0",
		 .act = ACT_READ, .error = -EPROTO, .fes = 2, .says = "lacks LAST"),
	RIG_CASE("t14_last_early", .target = "--c2h-size=2048", .act = ACT_READ,
		 .fault = "on=c2hdata for=read nth=1 do=set:flags=4", .error = -EPROTO, .fes = 2,
		 .says = "LAST before"),
	RIG_CASE("t14_success_early", .target = "--c2h-size=2048", .act = ACT_READ,
		 .fault = "on=c2hdata for=read nth=1 do=set:flags=12", .error = -EPROTO, .fes = 2,
		 .says = "LAST before"),
	/* T-15 */
	SHORT("no_data", NULL, NULL, "on=c2hdata for=read do=drop"),
	SHORT("no_data_flow_off", "--success=off", "disable_sqflow=on",
	      "on=c2hdata for=read do=drop"),
	SHORT("last_piece_missing", "--c2h-size=1024", NULL, "on=c2hdata for=read nth=4 do=drop"),
	SHORT("half", "--c2h-size=2048", "hdr_digest=on&data_digest=on",
	      "on=c2hdata for=read nth=2 do=drop"),
	SHORT("success_without_data", NULL, NULL, "on=read do=status:0"),
	SHORT("4_bytes_missing", NULL, NULL, "on=c2hdata for=read do=short:4,set:flags=0"),
	RIG_CASE("t15_identify_without_data", .fault = "on=identify do=status:0",
		 .act = ACT_CONNECT, .error = -EIO, .fes = NO_TERM),
	/* T-17 */
	RIG_CASE("t17_sqhd_beyond_queue", .fault = "on=resp for=read do=set:sqhd=0x7fff",
		 .act = ACT_READ, .error = -EPROTO, .fes = 1, .fei = 16, .says = "SQHD"),
	RIG_CASE("t17_sqhd_ignored_without_flow", .fault = "on=resp do=set:sqhd=0xffff",
		 .target = "--success=off", .uri = "disable_sqflow=on", .act = ACT_READ_WRITE,
		 .fes = CLEAN),
	{ "t17_queue_full", t_queue_full },
	{ "t16_answer_overtakes", t_answer_overtakes },
	{ "t8_cpda_0_to_31", t_cpda },
	{ "t1_padding", t_padding, "" },
	{ "t1_padding_digests", t_padding, "hdr_digest=on&data_digest=on" },
};

int main(void)
{
	return rig_main("transfer", tests, ARRAY_SIZE(tests));
}
