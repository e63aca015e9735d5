/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a hostile target may send and must not get away with: the receive validation
 * table (checklist 1.5, lines 1 to 8) and the errors of 1.4 (T-20, T-21). Each case
 * is one wrong PDU; the target tells which H2CTermReq the host answered with.
 */
#include "rig.h"

/* One field of the answer to a read is wrong. */
#define BAD_RESP(name_, set_, fei_, says_)                                              \
	RIG_CASE("line1_resp_" name_, .fault = "on=resp for=read do=set:" set_,           \
		 .act = ACT_READ, .error = -EPROTO, .fes = 1, .fei = fei_, .says = says_)

#define BAD_DATA(name_, set_, fes_, fei_, says_)                                        \
	RIG_CASE(name_, .fault = "on=c2hdata for=read do=set:" set_, .act = ACT_READ,     \
		 .error = -EPROTO, .fes = fes_, .fei = fei_, .says = says_)

/* A 4096-byte write by R2T. */
#define BAD_R2T(name_, do_, fes_, fei_, says_)                                          \
	RIG_CASE(name_, .target = "--in-capsule=0", .fault = "on=r2t for=write do=" do_,  \
		 .act = ACT_WRITE, .error = -EPROTO, .fes = fes_, .fei = fei_, .says = says_)

/* The same in R2Ts of 1024 bytes. */
#define BAD_R2TS(name_, uri_, fault_, fes_, fei_, says_)                                \
	RIG_CASE(name_, .target = "--in-capsule=0 --r2t=4 --r2t-size=1024", .uri = uri_,  \
		 .fault = fault_, .act = ACT_WRITE, .error = -EPROTO, .fes = fes_,        \
		 .fei = fei_, .says = says_)

/* Line 7: a completion of an event request that is not outstanding (any more). */
static void t_aer_twice(struct rig *r)
{
	rig_target(r, NULL, "on=resp for=aer do=dup");
	rig_open(r, NULL);
	RIG_UNTIL(r, !strcmp(rig_control(r, "aen 2 1 5"), "ok"));
	RIG_UNTIL(r, r->failures);
	assert_non_null(strstr(rig_event(r, "host sent H2CTermReq"), " fes=1 fei=20 "));
}

/* Line 7: a flood of events is slowed down, and nothing else suffers. */
static void t_aer_flood(struct rig *r)
{
	uint64_t start, asked;
	char buf[512];
	unsigned n = 0;

	rig_target(r, NULL, "on=aer do=split:0");
	rig_open(r, NULL);
	start = rig_now_ms();
	while (rig_now_ms() - start < 700) {
		if (!strcmp(rig_control(r, "aen 2 1 5"), "ok"))
			n++;
		assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	}
	asked = rig_stat(r, "faults_fired");
	assert_true(n >= 5);
	assert_true(asked <= 25);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Line 3 and 5: an answer with an old generation of a CID that is in use again. */
static void t_old_generation(struct rig *r)
{
	char buf[512];

	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	rig_fault(r, "on=resp for=read do=set:cid^=0x8000");
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), -EPROTO);
	assert_non_null(strstr(rig_event(r, "host sent H2CTermReq"), " fes=1 fei=20 "));
}

/* What was received before the bad PDU is not given up: it completes with success. */
static void t_good_before_bad(struct rig *r)
{
	struct rig_op *op[8];
	char buf[8][512];

	rig_target(r, NULL, "on=resp for=read nth=4 do=set:hlen=25");
	rig_open(r, NULL);
	for (int i = 0; i < 8; i++)
		op[i] = rig_submit_read(r, buf[i], sizeof(buf[i]), 0);
	nof_loop_flush(r->loop);
	rig_finish_all(r);
	for (int i = 0; i < 8; i++)
		assert_int_equal(op[i]->error, i < 3 ? 0 : -EPROTO);
	assert_non_null(strstr(rig_event(r, "host sent H2CTermReq"), " fes=1 fei=2 "));
}

/* T-22, T-20: one bad PDU ends every command of all queues of the controller. */
static void t_all_queues_end(struct rig *r)
{
	struct nof_chan *other;
	struct rig_op *ops[6];
	char buf[6][512];

	rig_target(r, NULL, "on=read do=drop");
	rig_open(r, "nr_io_queues=2");
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &other, rig_done,
								op))), 0);
	for (int i = 0; i < 6; i++) {
		struct nof_chan *c = i & 1 ? other : r->chan;

		ops[i] = RIG_SUBMIT(r, nof_read(c, buf[i], 512, 0, 0, rig_done, op));
	}
	nof_loop_flush(r->loop);
	RIG_UNTIL(r, rig_stat(r, "faults_fired") == 6);
	rig_fault(r, "on=flush do=term:1:0");
	RIG_SUBMIT(r, nof_flush(other, rig_done, op));
	rig_finish_all(r);
	for (int i = 0; i < 6; i++)
		assert_int_equal(ops[i]->error, -ECONNRESET);
	RIG_UNTIL(r, r->failures == 1);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_FAILED);
	nof_chan_close(other);
	rig_all_closed(r);
}

static const struct rig_test tests[] = {
	/* line 1: common header */
	BAD_RESP("type_unknown", "type=0x0a", 0, "PDU type"),
	BAD_RESP("type_h2cdata", "type=6", 0, "PDU type"),
	BAD_RESP("type_icreq", "type=0", 0, "PDU type"),
	BAD_RESP("type_h2cterm", "type=2", 0, "PDU type"),
	BAD_RESP("type_capsule_cmd", "type=4", 0, "PDU type"),
	BAD_RESP("type_ff", "type=255", 0, "PDU type"),
	BAD_RESP("flag_hdgst", "flags=1", 1, "digest"),
	BAD_RESP("flag_ddgst", "flags=2", 1, "digest"),
	BAD_RESP("flag_reserved", "flags=0x80", 1, "flags"),
	BAD_RESP("hlen", "hlen=25", 2, "HLEN"),
	BAD_RESP("hlen_0", "hlen=0", 2, "HLEN"),
	BAD_RESP("pdo", "pdo=24", 3, "PDO"),
	BAD_RESP("plen_short", "plen=23", 4, "PLEN"),
	BAD_RESP("plen_long", "plen=28", 4, "PLEN"),
	BAD_RESP("plen_4g", "plen=0xffffffff", 4, "PLEN"),
	RIG_CASE("line1_digest_missing", .uri = "hdr_digest=on", .act = ACT_READ,
		 .fault = "on=resp for=read do=set:flags=0", .error = -EPROTO, .fes = 1, .fei = 1),
	BAD_DATA("line1_data_flag_reserved", "flags=0x14", 1, 1, "flags"),
	BAD_DATA("line1_data_flag_ddgst", "flags=6", 1, 1, "digest"),
	BAD_DATA("line1_data_success_without_last", "flags=8", 1, 1, "SUCCESS"),
	BAD_DATA("line1_data_hlen", "hlen=20", 1, 2, "HLEN"),
	BAD_DATA("line1_data_plen_0", "plen=0", 1, 4, "PLEN"),
	BAD_DATA("line1_data_plen_no_data", "plen=24", 1, 4, "PLEN"),
	BAD_R2T("line1_r2t_hlen", "set:hlen=20", 1, 2, "HLEN"),
	BAD_R2T("line1_r2t_plen", "set:plen=25", 1, 4, "PLEN"),
	BAD_R2T("line1_r2t_flags", "set:flags=4", 1, 1, "flags"),
	/* line 2: PDO */
	BAD_DATA("line2_pdo_0", "pdo=0", 1, 3, "PDO"),
	BAD_DATA("line2_pdo_in_header", "pdo=20", 1, 3, "PDO"),
	BAD_DATA("line2_pdo_odd", "pdo=26", 1, 3, "PDO"),
	BAD_DATA("line2_pdo_132", "pdo=132", 1, 3, "PDO"),
	BAD_DATA("line2_pdo_255", "pdo=255", 1, 3, "PDO"),
	BAD_DATA("line2_pdo_beyond_plen", "pdo=28,set:plen=27", 1, 4, "PLEN"),
	RIG_CASE("line2_pdo_in_hdr_digest", .uri = "hdr_digest=on", .act = ACT_READ,
		 .fault = "on=c2hdata for=read do=set:pdo=24", .error = -EPROTO, .fes = 1,
		 .fei = 3),
	BAD_R2T("line2_r2t_pdo", "set:pdo=24", 1, 3, "PDO"),
	/* line 3: C2HData */
	BAD_DATA("line3_datal_long", "length+=4", 1, 16, "DATAL"),
	BAD_DATA("line3_datal_short", "length-=4", 1, 16, "DATAL"),
	BAD_DATA("line3_datal_0", "length=0", 1, 16, "DATAL"),
	BAD_DATA("line3_plen_long", "plen+=4", 1, 16, "DATAL"),
	BAD_DATA("line3_cccid_never_used", "cccid+=1", 1, 8, "not outstanding"),
	BAD_DATA("line3_cccid_ffff", "cccid=0xffff", 1, 8, "not outstanding"),
	BAD_DATA("line3_cccid_old_generation", "cccid^=0x8000", 1, 8, "not outstanding"),
	BAD_DATA("line3_beyond_end", "offset=4", 4, 0, "beyond the end"),
	BAD_DATA("line3_beyond_4g", "offset=0xfffff800", 4, 0, "beyond the end"),
	BAD_DATA("line3_datal_4g", "length=0xffffffe0,set:plen=0xfffffff8", 4, 0,
		 "beyond the end"),
	RIG_CASE("line3_gap", .target = "--c2h-size=1024", .act = ACT_READ, .error = -EPROTO,
		 .fault = "on=c2hdata for=read nth=2 do=set:offset=2048", .fes = 2,
		 .says = "does not continue"),
	RIG_CASE("line3_overlap", .target = "--c2h-size=1024", .act = ACT_READ, .error = -EPROTO,
		 .fault = "on=c2hdata for=read nth=3 do=set:offset=1024", .fes = 2,
		 .says = "does not continue"),
	RIG_CASE("line3_swapped", .target = "--c2h-size=1024", .act = ACT_READ, .error = -EPROTO,
		 .fault = "on=c2hdata for=read nth=2 do=swap", .fes = 2,
		 .says = "does not continue"),
	RIG_CASE("line3_first_lost", .target = "--c2h-size=1024", .act = ACT_READ,
		 .fault = "on=c2hdata for=read nth=1 do=drop", .error = -EPROTO, .fes = 2,
		 .says = "does not continue"),
	RIG_CASE("line3_twice", .fault = "on=c2hdata for=read do=dup", .act = ACT_READ,
		 .error = -EPROTO, .fes = 2, .says = "does not continue"),
	RIG_CASE("line3_on_write_with_r2t", .target = "--in-capsule=0", .act = ACT_WRITE,
		 .fault = "on=write do=inject:c2hdata:len=512", .error = -EPROTO, .fes = 1,
		 .fei = 8, .says = "reads no data"),
	RIG_CASE("line3_on_write_in_capsule", .act = ACT_WRITE,
		 .fault = "on=write do=inject:c2hdata:len=512", .error = -EPROTO, .fes = 1,
		 .fei = 8, .says = "reads no data"),
	RIG_CASE("line3_on_flush", .act = ACT_FLUSH,
		 .fault = "on=flush do=inject:c2hdata:len=4", .error = -EPROTO, .fes = 1,
		 .fei = 8, .says = "reads no data"),
	/* line 4: R2T */
	RIG_CASE("line4_on_read", .act = ACT_READ, .error = -EPROTO, .fes = 1, .fei = 8,
		 .fault = "on=read do=inject:r2t:length=512", .says = "writes no data"),
	RIG_CASE("line4_on_flush", .act = ACT_FLUSH, .error = -EPROTO, .fes = 1, .fei = 8,
		 .fault = "on=flush do=inject:r2t:length=512", .says = "writes no data"),
	RIG_CASE("line4_on_in_capsule_write", .act = ACT_WRITE, .error = -EPROTO, .fes = 1,
		 .fei = 8, .fault = "on=write do=inject:r2t:length=512",
		 .says = "with its capsule"),
	BAD_R2T("line4_cccid", "set:cccid+=1", 1, 8, "not outstanding"),
	BAD_R2T("line4_r2tl_0", "set:length=0", 1, 16, "R2TL"),
	BAD_R2T("line4_beyond_end", "set:length=4100", 4, 0, "beyond the end"),
	BAD_R2T("line4_offset_beyond_end", "set:offset=512", 4, 0, "beyond the end"),
	BAD_R2T("line4_offset_wraps", "set:offset=0xfffff000", 4, 0, "beyond the end"),
	BAD_R2T("line4_length_4g", "set:length=0xffffffff", 4, 0, "beyond the end"),
	BAD_R2TS("line4_gap", "max_r2t=1", "on=r2t nth=2 do=set:offset=2048", 2, 0,
		 "does not continue"),
	BAD_R2TS("line4_again", "max_r2t=1", "on=r2t nth=2 do=set:offset=0", 2, 0,
		 "does not continue"),
	BAD_R2TS("line4_maxr2t_1", "max_r2t=1",
		 "on=r2t nth=1 do=send,set:offset=1024,set:ttag+=1,send", 5, 0, "MAXR2T"),
	BAD_R2TS("line4_maxr2t_4", "max_r2t=4",
		 "on=r2t nth=4 do=send,inject:r2t:offset=3072:length=1024:ttag=0x7777", 5, 0,
		 "MAXR2T"),
	BAD_R2TS("line4_ttag_active", "max_r2t=4",
		 "on=r2t nth=1 do=send,set:offset=1024,send", 1, 10, "TTAG"),
	/* line 5: CapsuleResp */
	BAD_RESP("cid_never_used", "cid+=1", 20, "not outstanding"),
	BAD_RESP("cid_ffff", "cid=0xffff", 20, "not outstanding"),
	RIG_CASE("line5_twice", .fault = "on=resp for=read do=dup", .act = ACT_READ,
		 .is_after = true, .error = -EPROTO, .fes = 1, .fei = 20,
		 .says = "not outstanding"),
	RIG_CASE("line5_phase_bit", .fault = "on=resp do=set:phase=1", .act = ACT_READ_WRITE,
		 .fes = CLEAN),
	RIG_CASE("line5_write_before_its_data", .target = "--in-capsule=0", .act = ACT_WRITE,
		 .fault = "on=write do=inject:resp,drop", .error = -EPROTO, .fes = 2,
		 .says = "before all of its data"),
	RIG_CASE("line5_write_in_half", .target = "--in-capsule=0 --r2t-size=1024",
		 .uri = "max_r2t=1", .act = ACT_WRITE, .fault = "on=r2t nth=3 do=inject:resp,drop",
		 .error = -EPROTO, .fes = 2, .says = "before all of its data"),
	RIG_CASE("line5_write_fails_before_its_data", .target = "--in-capsule=0",
		 .act = ACT_WRITE, .fault = "on=write do=status:6", .error = -EIO,
		 .fes = CLEAN),
	RIG_CASE("line5_success_with_dnr_before_data", .target = "--in-capsule=0",
		 .act = ACT_WRITE, .fault = "on=write do=inject:resp:status=0x4000,drop",
		 .error = -EPROTO, .fes = 2),
	{ "line5_old_generation", t_old_generation },
	/* line 6: after completion */
	RIG_CASE("line6_data_after_completion", .act = ACT_READ, .is_after = true,
		 .fault = "on=resp for=read do=send,inject:c2hdata:len=512", .error = -EPROTO,
		 .fes = 1, .fei = 8, .says = "not outstanding"),
	RIG_CASE("line6_r2t_after_completion", .act = ACT_READ, .is_after = true,
		 .fault = "on=resp for=read do=send,inject:r2t:length=512", .error = -EPROTO,
		 .fes = 1, .fei = 8, .says = "not outstanding"),
	/* line 7: events */
	{ "line7_aer_twice", t_aer_twice },
	{ "line7_aer_flood", t_aer_flood },
	/* line 8: stalls and sizes */
	RIG_CASE("line8_stall_in_data", .act = ACT_READ, .uri = "io_timeout=0.3",
		 .fault = "on=c2hdata for=read do=cut:1,send,silence", .error = -ETIMEDOUT,
		 .fes = NO_TERM, .says = "no answer"),
	RIG_CASE("line8_stall_in_header", .act = ACT_READ, .uri = "io_timeout=0.3",
		 .fault = "on=resp for=read do=cut:3,send,silence", .error = -ETIMEDOUT,
		 .fes = NO_TERM, .says = "no answer"),
	RIG_CASE("line8_stall_in_large_data", .act = ACT_READ, .uri = "io_timeout=0.3",
		 .len = 1 << 20, .fault = "on=c2hdata for=read do=cut:100000,send,silence",
		 .error = -ETIMEDOUT, .fes = NO_TERM, .says = "no answer"),
	/* T-20 */
	RIG_CASE("t20_hdr_digest", .uri = "hdr_digest=on", .act = ACT_READ,
		 .fault = "on=resp for=read do=hdgst:bad", .error = -EPROTO, .fes = 3,
		 .fei = RIG_ANY_FEI, .says = "header digest"),
	RIG_CASE("t20_hdr_digest_of_data", .uri = "hdr_digest=on&data_digest=on", .act = ACT_READ,
		 .fault = "on=c2hdata for=read do=hdgst:bad", .error = -EPROTO, .fes = 3,
		 .fei = RIG_ANY_FEI, .says = "header digest"),
	RIG_CASE("t20_hdr_digest_wins_over_fields", .uri = "hdr_digest=on", .act = ACT_READ,
		 .fault = "on=resp for=read do=set:cid+=1,hdgst:keep", .error = -EPROTO, .fes = 3,
		 .fei = RIG_ANY_FEI),
	RIG_CASE("t20_c2hterm", .act = ACT_READ, .fault = "on=read do=term:1:4",
		 .error = -ECONNRESET, .fes = NO_TERM, .says = "FES 01h, FEI 0x4"),
	RIG_CASE("t20_c2hterm_unknown_fes", .act = ACT_READ, .fault = "on=read do=term:99:0",
		 .error = -ECONNRESET, .fes = NO_TERM, .says = "unknown"),
	RIG_CASE("t20_c2hterm_during_connect", .act = ACT_CONNECT, .error = -ECONNRESET,
		 .fault = "on=identify do=term:2:0", .fes = NO_TERM, .says = "C2HTermReq"),
	RIG_CASE("t20_c2hterm_too_long", .act = ACT_READ, .error = -EPROTO, .fes = NO_TERM,
		 .fault = "on=read do=inject:c2hterm:plen=153", .says = "C2HTermReq"),
	RIG_CASE("t20_c2hterm_too_short", .act = ACT_READ, .error = -EPROTO, .fes = NO_TERM,
		 .fault = "on=read do=inject:c2hterm:plen=23", .says = "C2HTermReq"),
	RIG_CASE("t20_c2hterm_hlen", .act = ACT_READ, .error = -EPROTO, .fes = NO_TERM,
		 .fault = "on=read do=inject:c2hterm:hlen=28", .says = "C2HTermReq"),
	/* T-21 */
	RIG_CASE("t21_data_digest", .uri = "data_digest=on", .act = ACT_READ, .error = -EBADMSG,
		 .fault = "on=c2hdata for=read do=ddgst:bad", .fes = CLEAN, .says = "digest"),
	RIG_CASE("t21_data_digest_large", .uri = "data_digest=on&hdr_digest=on", .act = ACT_READ,
		 .len = 1 << 20, .error = -EBADMSG, .fault = "on=c2hdata for=read do=ddgst:bad",
		 .fes = CLEAN, .says = "digest"),
	RIG_CASE("t21_data_digest_of_changed_data", .uri = "data_digest=on", .act = ACT_READ,
		 .error = -EBADMSG, .fault = "on=c2hdata for=read do=set:data8[77]^=1,ddgst:keep",
		 .fes = CLEAN, .says = "digest"),
	RIG_CASE("t21_data_digest_of_one_piece", .target = "--c2h-size=512",
		 .uri = "data_digest=on", .act = ACT_READ, .error = -EBADMSG,
		 .fault = "on=c2hdata for=read nth=2 do=ddgst:bad", .fes = CLEAN,
		 .says = "digest"),
	RIG_CASE("t21_data_digest_with_success_flag", .uri = "data_digest=on&disable_sqflow=on",
		 .act = ACT_READ, .error = -EBADMSG, .fault = "on=c2hdata for=read do=ddgst:bad",
		 .fes = CLEAN, .says = "digest"),
	RIG_CASE("t21_data_digest_of_identify", .uri = "data_digest=on", .act = ACT_CONNECT,
		 .error = -EBADMSG, .fault = "on=c2hdata for=identify do=ddgst:bad",
		 .fes = NO_TERM, .says = "digest"),
	{ "t20_good_before_bad", t_good_before_bad },
	{ "t22_all_queues_end", t_all_queues_end },
};

int main(void)
{
	return rig_main("receive_rules", tests, ARRAY_SIZE(tests));
}
