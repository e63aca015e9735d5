/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The admin commands (nof.h, section Administration; C-3, C-5, F-13): they reach the
 * controller, come back with their result, and what must not be sent is refused.
 */
#include "rig.h"

/* What a controller says it can, and what it then answers to commands it does not know. */
#define CAN "on=c2hdata for=identify cns=1 do=set:data16[256]=0x1f,set:data32[328]=7," \
	    "set:data8[524]=4"
#define NOOP(opc) "; on=cmd qid=0 opc=" #opc " do=status:0"

static int admin(struct rig *r, const struct nof_passthru *p)
{
	return rig_finish(RIG_SUBMIT(r, nof_admin(r->ctrl, p, rig_done, op)));
}

static int get_log(struct rig *r, const struct nof_log_args *a, void *data, size_t len)
{
	return rig_finish(RIG_SUBMIT(r, nof_get_log(r->ctrl, a, data, len, rig_done, op)));
}

static uint16_t le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint64_t le64(const uint8_t *p)
{
	return le16(p) | (uint64_t)le16(p + 2) << 16 | (uint64_t)le16(p + 4) << 32 |
	       (uint64_t)le16(p + 6) << 48;
}

static void t_identify(struct rig *r)
{
	struct nof_identify_args a = { .size = sizeof(a), .cns = 1 };
	struct nof_passthru p = { .size = sizeof(p), .opcode = 6, .cdw10 = 1, .data_len = 4096 };
	struct nof_ctrl_info info = { .size = sizeof(info) };
	static uint8_t id[4096], raw[4096];

	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, NULL), 0);
	assert_int_equal(nof_ctrl_get_info(r->ctrl, &info), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_identify(r->ctrl, &a, id, rig_done, op))), 0);
	assert_int_equal(le16(id + 78), info.cntlid);
	p.data = raw;
	assert_int_equal(admin(r, &p), 0);
	assert_memory_equal(id, raw, 4096);
	a.cns = 0;
	a.nsid = 1;
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_identify(r->ctrl, &a, id, rig_done, op))), 0);
	assert_true(le64(id) > 0);
	/* What the controller refuses comes with its status. */
	a.nsid = 4711;
	assert_true(rig_finish(RIG_SUBMIT(r, nof_identify(r->ctrl, &a, id, rig_done, op))) < 0);
	assert_int_equal(r->last->status & 0x7ff, 0x0b);
	assert_non_null(strstr(r->last->detail, "nof_identify"));
	RIG_REFUSES(nof_identify(r->ctrl, &a, NULL, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_identify(r->ctrl, NULL, id, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_identify(NULL, &a, id, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_identify(r->ctrl, &a, id, NULL, NULL), EINVAL);
	a.size = 2;
	RIG_REFUSES(nof_identify(r->ctrl, &a, id, rig_done, NULL), EINVAL);
	assert_int_equal(rig_disconnect(r), 0);
	a.size = sizeof(a);
	RIG_REFUSES(nof_identify(r->ctrl, &a, id, rig_done, NULL), ENOTCONN);
}

/* Many at a time: they queue, each has its own answer. */
static void t_in_order(struct rig *r)
{
	enum { N = 50 };
	static uint8_t id[N][4096];
	struct rig_op *ops[N];

	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, NULL), 0);
	for (unsigned i = 0; i < N; i++) {
		struct nof_identify_args a = { .size = sizeof(a), .cns = i & 1, .nsid = 1 };

		memset(id[i], 0xaa, sizeof(id[i]));
		if (a.cns)
			a.nsid = 0;
		ops[i] = RIG_SUBMIT(r, nof_identify(r->ctrl, &a, id[i], rig_done, op));
	}
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(rig_finish(ops[i]), 0);
	for (unsigned i = 2; i < N; i++)
		assert_memory_equal(id[i], id[i & 1], 4096);
	assert_int_equal(rig_disconnect(r), 0);
}

/* F-13: a long page comes in pieces of MDTS, and only the last of them without RAE. */
static void t_log_pieces(struct rig *r)
{
	enum { SUBSYSTEMS = 31, LEN = 1024 + SUBSYSTEMS * 1024 };
	static uint8_t whole[LEN], part[LEN];
	struct nof_log_args a = { .size = sizeof(a), .lid = 0x70 };
	char options[4096], *p = options;

	p += sprintf(p, "--mdts=1");
	for (int i = 0; i < SUBSYSTEMS; i++)
		p += sprintf(p, " --nqn=nqn.2025-11.org.example:disk%d --ns=null:1M", i);
	rig_target(r, options, NULL);
	assert_int_equal(rig_connect(r, "subnqn=" NOF_DISCOVERY_NQN "&keep_alive_tmo=0"), 0);
	assert_int_equal(get_log(r, &a, whole, LEN), 0);
	assert_int_equal(le64(whole + 8), SUBSYSTEMS);
	assert_int_equal(whole[1024], 3);
	assert_int_equal(whole[LEN - 1024], 3);
	/* The same by hand, at odd places. */
	for (a.offset = 0; a.offset < LEN;) {
		size_t n = LEN - a.offset < 1028 ? LEN - a.offset : 1028;

		assert_int_equal(get_log(r, &a, part + a.offset, n), 0);
		a.offset += n;
	}
	assert_memory_equal(whole, part, LEN);
	/* The second of five pieces fails. */
	a.offset = 0;
	rig_fault(r, "on=log nth=2 do=status:6/dnr");
	assert_true(get_log(r, &a, whole, LEN) < 0);
	assert_non_null(strstr(r->last->detail, "part"));
	rig_control(r, "clear");
	RIG_REFUSES(nof_get_log(r->ctrl, &a, whole, 6, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_get_log(r->ctrl, &a, whole, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_get_log(r->ctrl, &a, NULL, 8, rig_done, NULL), EINVAL);
	a.offset = 2;
	RIG_REFUSES(nof_get_log(r->ctrl, &a, whole, 8, rig_done, NULL), EINVAL);
	a.offset = 0;
	a.lsp = 128;
	RIG_REFUSES(nof_get_log(r->ctrl, &a, whole, 8, rig_done, NULL), EINVAL);
	assert_int_equal(rig_disconnect(r), 0);
}

/* LPA b2 is 0: there are no offsets. */
static void t_log_without_offsets(struct rig *r)
{
	struct nof_log_args a = { .size = sizeof(a), .lid = 2 };
	static uint8_t log[32768];

	rig_target(r, NULL, "on=c2hdata for=identify cns=1 do=set:data8[261]=0");
	assert_int_equal(rig_connect(r, NULL), 0);
	assert_int_equal(get_log(r, &a, log, 512), 0);
	RIG_REFUSES(nof_get_log(r->ctrl, &a, log, sizeof(log), rig_done, NULL), EOPNOTSUPP);
	a.offset = 4;
	RIG_REFUSES(nof_get_log(r->ctrl, &a, log, 8, rig_done, NULL), EOPNOTSUPP);
	assert_non_null(strstr(nof_strerror_detail(), "LPA"));
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_features(struct rig *r)
{
	static const uint8_t owned[] = { 0x07, 0x0b, 0x0f, 0x16, 0x19, 0x81 };
	struct nof_feature_args a = { .size = sizeof(a), .fid = 4, .cdw11 = 0x12345 };
	struct nof_passthru p = { .size = sizeof(p), .opcode = 9 };
	uint8_t behaviour[512];

	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, NULL), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_set_feature(r->ctrl, &a, rig_done, op))), 0);
	a.cdw11 = 0;
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_get_feature(r->ctrl, &a, rig_done, op))), 0);
	assert_int_equal(r->last->result & 0xffffffff, 0x12345);
	/* The library's own: to be read, not to be set, raw neither. */
	for (size_t i = 0; i < ARRAY_SIZE(owned); i++) {
		a.fid = owned[i];
		RIG_REFUSES(nof_set_feature(r->ctrl, &a, rig_done, NULL), EPERM);
		p.cdw10 = owned[i];
		RIG_REFUSES(nof_admin(r->ctrl, &p, rig_done, NULL), EPERM);
	}
	a.fid = 0x16;
	a.data = behaviour;
	a.data_len = sizeof(behaviour);
	memset(behaviour, 0x55, sizeof(behaviour));
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_get_feature(r->ctrl, &a, rig_done, op))), 0);
	assert_int_equal(behaviour[511], 0);
	a.fid = 0x0f;
	a.data_len = 0;
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_get_feature(r->ctrl, &a, rig_done, op))), 0);
	assert_int_equal(r->last->result, 2000);
	a.fid = 0xd3;
	assert_true(rig_finish(RIG_SUBMIT(r, nof_get_feature(r->ctrl, &a, rig_done, op))) < 0);
	a.save = true;
	RIG_REFUSES(nof_get_feature(r->ctrl, &a, rig_done, NULL), EINVAL);
	a.select = 1;
	RIG_REFUSES(nof_set_feature(r->ctrl, &a, rig_done, NULL), EINVAL);
	a.select = 0;
	a.data_len = 3;
	RIG_REFUSES(nof_set_feature(r->ctrl, &a, rig_done, NULL), EINVAL);
	assert_int_equal(rig_disconnect(r), 0);
}

/* C-3 */
static void t_guards(struct rig *r)
{
	static const uint8_t owned[] = { 0x00, 0x01, 0x04, 0x05, 0x08, 0x0c, 0x18, 0x7c };
	struct nof_passthru p = { .size = sizeof(p) };
	static uint8_t buf[2 << 20];

	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(owned); i++) {
		p.opcode = owned[i];
		RIG_REFUSES(nof_admin(r->ctrl, &p, rig_done, NULL), EPERM);
	}
	p.opcode = 0x7f;
	for (unsigned t = 0; t < 12; t++) {
		p.fctype = (uint8_t)t;
		if (t != 4)
			RIG_REFUSES(nof_admin(r->ctrl, &p, rig_done, NULL), EPERM);
	}
	/* Property Get VS */
	p.fctype = 4;
	p.cdw11 = 8;
	assert_int_equal(admin(r, &p), 0);
	assert_true(r->last->result >= 0x10000);
	p = (struct nof_passthru){ .size = sizeof(p), .opcode = 0xc3 };
	RIG_REFUSES(nof_admin(r->ctrl, &p, rig_done, NULL), ENOTSUP);
	p.opcode = 0xc0;
	p.data = buf;
	p.data_len = 4;
	RIG_REFUSES(nof_admin(r->ctrl, &p, rig_done, NULL), EINVAL);
	p.opcode = 0xc2;
	p.data_len = 5;
	RIG_REFUSES(nof_admin(r->ctrl, &p, rig_done, NULL), EINVAL);
	p.data_len = sizeof(buf);
	RIG_REFUSES(nof_admin(r->ctrl, &p, rig_done, NULL), EMSGSIZE);
	p.data = NULL;
	p.data_len = 4;
	RIG_REFUSES(nof_admin(r->ctrl, &p, rig_done, NULL), EINVAL);
	/* Unknown to the target: its business. */
	p.data_len = 0;
	assert_true(admin(r, &p) < 0);
	assert_int_equal(r->last->status & 0x7ff, 1);
	/* And the association has not suffered. */
	p = (struct nof_passthru){ .size = sizeof(p), .opcode = 6, .cdw10 = 1, .data = buf,
				   .data_len = 4096 };
	assert_int_equal(admin(r, &p), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* C-5: without the bit of OACS there is a sentence that names it. */
static void t_gates(struct rig *r)
{
	struct nof_ns_create_args c = { .size = sizeof(c), .blocks = 8 };
	struct nof_format_args f = { .size = sizeof(f), .nsid = 1 };
	struct nof_sanitize_args s = { .size = sizeof(s), .action = NOF_SANITIZE_BLOCK_ERASE };
	struct nof_security_args y = { .size = sizeof(y) };
	uint8_t buf[64] = { 0 };

	rig_target(r, NULL, "on=c2hdata for=identify cns=1 do=set:data16[256]=0,"
		   "set:data32[328]=0");
	rig_loop(r);
	rig_opts(r, NULL, &r->opts);
	assert_int_equal(nof_ctrl_new(r->loop, &r->opts, rig_on_event, r, &r->ctrl), 0);
	RIG_REFUSES(nof_format(r->ctrl, &f, rig_done, NULL), ENOTCONN);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(r->ctrl, rig_done, op))), 0);
	RIG_REFUSES(nof_ns_create(r->ctrl, &c, rig_done, NULL), EOPNOTSUPP);
	assert_non_null(strstr(nof_strerror_detail(), "OACS"));
	RIG_REFUSES(nof_ns_delete(r->ctrl, 1, 0, rig_done, NULL), EOPNOTSUPP);
	RIG_REFUSES(nof_ns_attach(r->ctrl, 1, NULL, 0, rig_done, NULL), EOPNOTSUPP);
	RIG_REFUSES(nof_ns_detach(r->ctrl, 1, NULL, 0, rig_done, NULL), EOPNOTSUPP);
	RIG_REFUSES(nof_format(r->ctrl, &f, rig_done, NULL), EOPNOTSUPP);
	RIG_REFUSES(nof_sanitize(r->ctrl, &s, rig_done, NULL), EOPNOTSUPP);
	assert_non_null(strstr(nof_strerror_detail(), "SANICAP"));
	RIG_REFUSES(nof_self_test(r->ctrl, 1, NOF_SELF_TEST_SHORT, rig_done, NULL), EOPNOTSUPP);
	RIG_REFUSES(nof_fw_download(r->ctrl, buf, 64, 0, rig_done, NULL), EOPNOTSUPP);
	RIG_REFUSES(nof_fw_commit(r->ctrl, 1, 1, 0, rig_done, NULL), EOPNOTSUPP);
	RIG_REFUSES(nof_security_send(r->ctrl, &y, buf, 64, rig_done, NULL), EOPNOTSUPP);
	RIG_REFUSES(nof_security_receive(r->ctrl, &y, buf, 64, rig_done, NULL), EOPNOTSUPP);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Arguments that no controller could understand. */
static void t_bad_arguments(struct rig *r)
{
	struct nof_ns_create_args c = { .size = sizeof(c) };
	struct nof_format_args f = { .size = sizeof(f) };
	struct nof_sanitize_args s = { .size = sizeof(s) };
	struct nof_security_args y = { .size = sizeof(y) };
	uint16_t ids[1] = { 1 };
	uint8_t buf[64] = { 0 };

	rig_target(r, NULL, CAN);
	assert_int_equal(rig_connect(r, NULL), 0);
	RIG_REFUSES(nof_ns_create(r->ctrl, &c, rig_done, NULL), EINVAL);
	c.blocks = 8;
	c.capacity = 9;
	RIG_REFUSES(nof_ns_create(r->ctrl, &c, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_ns_delete(r->ctrl, 0, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_ns_attach(r->ctrl, 1, NULL, 1, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_ns_attach(r->ctrl, 1, ids, 2048, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_format(r->ctrl, &f, rig_done, NULL), EINVAL);
	f.nsid = 1;
	f.format = 64;
	RIG_REFUSES(nof_format(r->ctrl, &f, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_sanitize(r->ctrl, &s, rig_done, NULL), EINVAL);
	s.action = (enum nof_sanitize_action)5;
	RIG_REFUSES(nof_sanitize(r->ctrl, &s, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_self_test(r->ctrl, 1, (enum nof_self_test)0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_fw_download(r->ctrl, buf, 63, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_fw_download(r->ctrl, buf, 64, 2, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_fw_download(r->ctrl, buf, 64, UINT64_MAX - 67, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_fw_download(r->ctrl, buf, SIZE_MAX - 3, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_fw_commit(r->ctrl, 8, 0, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_security_send(r->ctrl, &y, buf, 3, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_security_send(r->ctrl, &y, NULL, 4, rig_done, NULL), EINVAL);
	assert_int_equal(rig_disconnect(r), 0);
}

/* A commit that only wants a reset is a success that says so; other statuses are not. */
static void t_commit_wants_reset(struct rig *r)
{
	static const struct {
		const char *status;
		uint16_t want;
		int error;
	} k[] = {
		{ "status:0", 0, 0 }, { "status:1/0x0b", 0x10b, 0 }, { "status:1/0x10", 0x110, 0 },
		{ "status:1/0x11", 0x111, 0 }, { "status:1/0x06", 0, -1 },
	};
	char fault[64];

	rig_target(r, NULL, CAN);
	assert_int_equal(rig_connect(r, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(k); i++) {
		snprintf(fault, sizeof(fault), "on=cmd qid=0 opc=0x10 do=%s", k[i].status);
		rig_fault(r, fault);
		assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_fw_commit(r->ctrl, 1, 1, 0, rig_done,
									op))) < 0, k[i].error < 0);
		if (!k[i].error)
			assert_int_equal(r->last->result, k[i].want);
		else
			assert_int_equal(r->last->status & 0x7ff, 0x106);
	}
	assert_int_equal(rig_disconnect(r), 0);
}

/* What takes long may have a timeout of its own; the others keep admin_timeout. */
static void t_own_timeout(struct rig *r)
{
	struct nof_format_args f = { .size = sizeof(f), .nsid = 1, .timeout_ms = 8000 };
	uint64_t start;

	rig_target(r, NULL, CAN "; on=cmd qid=0 opc=0x80 do=delay:1500,status:0");
	assert_int_equal(rig_connect(r, "admin_timeout=0.5"), 0);
	start = rig_now_ms();
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_format(r->ctrl, &f, rig_done, op))), 0);
	assert_true(rig_now_ms() - start >= 1400);
	f.timeout_ms = r->arg ? 700 : 0;
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_format(r->ctrl, &f, rig_done, op))),
			 -ETIMEDOUT);
	/* The sentence knows which it was. */
	assert_non_null(strstr(r->last->detail, r->arg ? " 700 ms" : " 500 ms"));
	RIG_UNTIL(r, r->failures);
}

/* The connection goes while some wait and one is under way: all end, once. */
static void t_lost(struct rig *r)
{
	static uint8_t id[8][4096];
	struct nof_identify_args a = { .size = sizeof(a), .cns = 1 };

	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, NULL), 0);
	rig_fault(r, r->arg);
	for (int i = 0; i < 8; i++)
		RIG_SUBMIT(r, nof_identify(r->ctrl, &a, id[i], rig_done, op));
	rig_finish_all(r);
	assert_true(r->last->error < 0);
	RIG_UNTIL(r, r->failures);
	RIG_REFUSES(nof_identify(r->ctrl, &a, id[0], rig_done, NULL), ENOTCONN);
}

static void t_freed_in_flight(struct rig *r)
{
	static uint8_t id[8][4096];
	struct nof_identify_args a = { .size = sizeof(a), .cns = 1 };

	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, NULL), 0);
	rig_fault(r, "on=identify do=drop");
	for (int i = 0; i < 8; i++)
		RIG_SUBMIT(r, nof_identify(r->ctrl, &a, id[i], rig_done, op));
	rig_turn(r, 20);
	nof_ctrl_free(r->ctrl);
	r->ctrl = NULL;
	assert_int_equal(r->inflight, 0);
	assert_int_equal(r->last->error, -ECANCELED);
}

/*
 * The clean end overtakes an answer: what is under way is canceled, but its buffer is the
 * caller's again only when nothing can be written into it any more.
 */
static void t_disconnect_in_flight(struct rig *r)
{
	struct nof_identify_args a = { .size = sizeof(a), .cns = 1 };
	static uint8_t page[2][4096], mark[4096];
	struct rig_op *ops[2], *end;

	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, NULL), 0);
	rig_fault(r, "on=identify do=delay:200; on=propget prop=0x1c do=delay:500");
	for (int i = 0; i < 2; i++)
		ops[i] = RIG_SUBMIT(r, nof_identify(r->ctrl, &a, page[i], rig_done, op));
	end = RIG_SUBMIT(r, nof_ctrl_disconnect(r->ctrl, rig_done, op));
	assert_int_equal(rig_finish(ops[1]), -ECANCELED);
	assert_int_equal(rig_finish(ops[0]), -ECANCELED);
	memset(mark, 0xaa, sizeof(mark));
	memset(page, 0xaa, sizeof(page));
	assert_int_equal(rig_finish(end), 0);
	assert_memory_equal(page[0], mark, sizeof(mark));
	assert_memory_equal(page[1], mark, sizeof(mark));
}

static int finish_create(struct rig *r, const struct nof_ns_create_args *c)
{
	return rig_finish(RIG_SUBMIT(r, nof_ns_create(r->ctrl, c, rig_done, op)));
}

/* Made, attached, used, detached, deleted. */
static void t_namespace_life(struct rig *r)
{
	struct nof_ns_create_args c = { .size = sizeof(c), .blocks = 2048, .is_shared = true };
	struct nof_ctrl_info info = { .size = sizeof(info) };
	static uint8_t out[4096], in[4096];
	uint16_t twice[3];
	char name[16];
	uint32_t nsid = 0;

	rig_target(r, "--capacity=64M --ns=mem:4M,bs=512", NULL);
	rig_open(r, NULL);
	assert_int_equal(nof_ctrl_get_info(r->ctrl, &info), 0);
	assert_int_equal(finish_create(r, &c), 0);
	nsid = (uint32_t)r->last->result;
	assert_true(nsid > 1);
	snprintf(name, sizeof(name), "%u", nsid);
	/* Nobody sees it yet. */
	nof_chan_close(r->chan);
	nof_ns_close(r->ns);
	r->chan = NULL;
	r->ns = NULL;
	assert_int_equal(rig_open_ns(r, name), -ENODEV);
	/* In any order, and twice: the list that is sent ascends. */
	twice[0] = twice[1] = twice[2] = info.cntlid;
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ns_attach(r->ctrl, nsid, twice, 3, rig_done,
								op))), 0);
	assert_int_equal(rig_open_ns(r, name), 0);
	assert_int_equal(r->info.blocks, 2048);
	assert_int_equal(rig_open_chan(r), 0);
	rig_fill(out, sizeof(out), 1);
	assert_int_equal(rig_write(r, out, 4096, 0, 0), 0);
	assert_int_equal(rig_read(r, in, 4096, 0, 0), 0);
	assert_memory_equal(in, out, 4096);
	nof_chan_close(r->chan);
	nof_ns_close(r->ns);
	r->chan = NULL;
	r->ns = NULL;
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ns_attach(r->ctrl, nsid, NULL, 0, rig_done,
								op))) < 0, true);
	assert_int_equal(r->last->status & 0x7ff, 0x118);	/* attached already */
	assert_int_equal(nof_ns_detach_sync(r->ctrl, nsid, NULL, 0), 0);
	assert_int_equal(rig_open_ns(r, name), -ENODEV);
	assert_int_equal(nof_ns_attach_sync(r->ctrl, nsid, NULL, 0), 0);
	assert_int_equal(nof_ns_delete_sync(r->ctrl, nsid, 0), 0);
	assert_int_equal(rig_open_ns(r, name), -ENODEV);
	c.blocks = 1ull << 40;
	assert_true(finish_create(r, &c) < 0);
	assert_int_equal(r->last->status & 0x7ff, 0x115);	/* no room */
	c.blocks = 2048;
	assert_int_equal(nof_ns_create_sync(r->ctrl, &c, &nsid), 0);
	assert_int_equal(nof_ns_delete_sync(r->ctrl, nsid, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Every format that the target has, and back: what is opened then has it. */
static void t_formats(struct rig *r)
{
	static const struct {
		uint8_t format, pi, ms, guard;
		uint32_t bs;
	} k[] = {
		{ 1, 0, 0, 0, 512 }, { 2, 0, 0, 0, 4096 }, { 3, 1, 8, 16, 512 },
		{ 4, 3, 8, 16, 4096 }, { 5, 2, 16, 32, 512 }, { 8, 1, 16, 64, 4096 },
		{ 9, 0, 64, 0, 512 }, { 0, 0, 0, 0, 512 },
	};
	static uint8_t buf[4096];

	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(k); i++) {
		struct nof_format_args f = { .size = sizeof(f), .nsid = 1, .format = k[i].format,
					     .pi_type = k[i].pi, .erase = (enum nof_erase)(i % 3),
					     .is_pi_first = k[i].pi == 3, .timeout_ms = 5000 };

		assert_int_equal(nof_format_sync(r->ctrl, &f), 0);
		assert_int_equal(rig_open_ns(r, NULL), 0);
		assert_int_equal(r->info.block_size, k[i].bs);
		assert_int_equal(r->info.metadata_size, k[i].ms);
		assert_int_equal(r->info.pi_type, k[i].pi);
		assert_int_equal(r->info.pi_guard_bits, k[i].guard);
		assert_int_equal(r->info.is_pi_first, k[i].pi == 3);
		assert_int_equal(rig_open_chan(r), 0);
		if (!r->info.needs_metadata) {
			assert_int_equal(rig_read(r, buf, 4096, 0, 0), 0);
			assert_int_equal(buf[0] | buf[4095], 0);
			rig_fill(buf, sizeof(buf), 3);
			assert_int_equal(rig_write(r, buf, 4096, 0, 0), 0);
		}
		nof_chan_close(r->chan);
		nof_ns_close(r->ns);
		r->chan = NULL;
		r->ns = NULL;
	}
	assert_true(rig_finish(RIG_SUBMIT(r, nof_format(r->ctrl, &(struct nof_format_args){
		.size = sizeof(struct nof_format_args), .nsid = 1, .format = 60 }, rig_done,
							op))) < 0);
	assert_int_equal(r->last->status & 0x7ff, 0x10a);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Security protocols give back what they got; a list of them is protocol 0. */
static void t_security(struct rig *r)
{
	struct nof_security_args y = { .size = sizeof(y), .secp = 0xef, .spsp = 0x1234 };
	static uint8_t out[16384], in[16384];

	rig_target(r, r->arg, NULL);
	assert_int_equal(rig_connect(r, NULL), 0);
	rig_fill(out, sizeof(out), 9);
	assert_int_equal(nof_security_send_sync(r->ctrl, &y, out, sizeof(out)), 0);
	assert_int_equal(nof_security_receive_sync(r->ctrl, &y, in, sizeof(in)), 0);
	assert_memory_equal(in, out, sizeof(in));
	/* Another protocol specific value, other data. */
	y.spsp = 0x1235;
	assert_int_equal(nof_security_receive_sync(r->ctrl, &y, in, 64), 0);
	assert_int_equal(in[0] | in[63], 0);
	y.secp = y.spsp = 0;
	assert_int_equal(nof_security_receive_sync(r->ctrl, &y, in, 64), 0);
	assert_true(in[7] >= 1);
	y.secp = 0x77;
	assert_true(nof_security_receive_sync(r->ctrl, &y, in, 64) < 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* An image in pieces of MDTS, committed; then Identify shows the revision at its start. */
static void t_firmware(struct rig *r)
{
	static uint8_t image[40000], log[512];
	struct nof_log_args l = { .size = sizeof(l), .lid = 3 };
	struct nof_ctrl_info info = { .size = sizeof(info) };
	uint64_t result = 7;

	rig_target(r, "--mdts=1", r->arg);
	assert_int_equal(rig_connect(r, NULL), 0);
	rig_fill(image, sizeof(image), 5);
	memcpy(image, "9.8.7\0\0", 8);
	assert_int_equal(nof_fw_download_sync(r->ctrl, image, sizeof(image), 0), 0);
	assert_int_equal(rig_stat(r, "commands") > 5, true);
	assert_int_equal(nof_fw_commit_sync(r->ctrl, 2, 1, 5000, &result), 0);
	assert_int_equal(nof_get_log_sync(r->ctrl, &l, log, sizeof(log)), 0);
	assert_memory_equal(log + 8 + 8, "9.8.7", 5);
	/* A hole in the image, a slot that cannot be. */
	assert_int_equal(nof_fw_download_sync(r->ctrl, image, 4096, 8192), 0);
	assert_true(nof_fw_commit_sync(r->ctrl, 2, 0, 0, &result) < 0);
	assert_true(nof_fw_commit_sync(r->ctrl, 7, 2, 0, &result) < 0);
	assert_int_equal(nof_ctrl_get_info(r->ctrl, &info), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_sanitize(struct rig *r)
{
	static const enum nof_sanitize_action actions[] = {
		NOF_SANITIZE_BLOCK_ERASE, NOF_SANITIZE_OVERWRITE, NOF_SANITIZE_CRYPTO_ERASE,
	};
	struct nof_log_args l = { .size = sizeof(l), .lid = 0x81 };
	static uint8_t buf[512], log[512];

	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		struct nof_sanitize_args s = { .size = sizeof(s), .action = actions[i],
					       .overwrite_passes = 1, .pattern = 0 };

		rig_fill(buf, sizeof(buf), 2);
		assert_int_equal(rig_write(r, buf, 512, 0, 0), 0);
		assert_int_equal(nof_sanitize_sync(r->ctrl, &s), 0);
		RIG_UNTIL(r, nof_get_log_sync(r->ctrl, &l, log, sizeof(log)) == 0 &&
			  (le16(log + 2) & 7) == 1);
		assert_int_equal(rig_read(r, buf, 512, 0, 0), 0);
		if (actions[i] != NOF_SANITIZE_CRYPTO_ERASE)
			assert_int_equal(buf[0] | buf[511], 0);
	}
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_self_test(struct rig *r)
{
	struct nof_log_args l = { .size = sizeof(l), .lid = 6 };
	static uint8_t log[564];

	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, NULL), 0);
	assert_int_equal(nof_self_test_sync(r->ctrl, 1, NOF_SELF_TEST_SHORT), 0);
	RIG_UNTIL(r, nof_get_log_sync(r->ctrl, &l, log, sizeof(log)) == 0 && !(log[0] & 15) &&
		  (log[4] >> 4) == 1);
	assert_int_equal(log[4] & 15, 0);		/* passed */
	assert_int_equal(nof_self_test_sync(r->ctrl, 1, NOF_SELF_TEST_ABORT), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_waiting_forms(struct rig *r)
{
	struct nof_identify_args a = { .size = sizeof(a), .cns = 1 };
	struct nof_log_args l = { .size = sizeof(l), .lid = 2 };
	struct nof_feature_args f = { .size = sizeof(f), .fid = 4, .cdw11 = 99 };
	struct nof_passthru p = { .size = sizeof(p), .opcode = 0x7f, .fctype = 4, .cdw11 = 8 };
	static uint8_t page[4096];
	uint64_t v = 0;

	rig_target(r, NULL, CAN NOOP(0x80) NOOP(0x84) NOOP(0x14) NOOP(0x10) NOOP(0x11)
		   NOOP(0x0d) NOOP(0x15));
	assert_int_equal(rig_connect(r, NULL), 0);
	assert_int_equal(nof_identify_sync(r->ctrl, &a, page), 0);
	assert_int_equal(nof_get_log_sync(r->ctrl, &l, page, 512), 0);
	assert_int_equal(nof_set_feature_sync(r->ctrl, &f, NULL), 0);
	assert_int_equal(nof_get_feature_sync(r->ctrl, &f, &v), 0);
	assert_int_equal(v & 0xffffffff, 99);
	assert_int_equal(nof_admin_sync(r->ctrl, &p, &v), 0);
	assert_true(v >= 0x10000);
	p.opcode = 0xc0;
	assert_int_equal(nof_admin_sync(r->ctrl, &p, &v), -EOPNOTSUPP);
	assert_true(strlen(nof_strerror_detail()) > 20);
	RIG_REFUSES(nof_admin_sync(NULL, &p, &v), EINVAL);
	assert_int_equal(nof_format_sync(r->ctrl, &(struct nof_format_args){
		.size = sizeof(struct nof_format_args), .nsid = 1 }), 0);
	assert_int_equal(nof_sanitize_sync(r->ctrl, &(struct nof_sanitize_args){
		.size = sizeof(struct nof_sanitize_args), .action = NOF_SANITIZE_OVERWRITE }), 0);
	assert_int_equal(nof_self_test_sync(r->ctrl, 1, NOF_SELF_TEST_SHORT), 0);
	assert_int_equal(nof_fw_commit_sync(r->ctrl, 1, 1, 0, &v), 0);
	assert_int_equal(nof_ns_delete_sync(r->ctrl, 9, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

int main(void)
{
	const struct rig_test tests[] = {
		{ "identify", t_identify },
		{ "in_order", t_in_order },
		{ "f13_log_pieces", t_log_pieces },
		{ "f13_log_without_offsets", t_log_without_offsets },
		{ "features", t_features },
		{ "c3_guards", t_guards },
		{ "c5_gates", t_gates },
		{ "bad_arguments", t_bad_arguments },
		{ "commit_wants_reset", t_commit_wants_reset },
		{ "own_timeout", t_own_timeout },
		{ "own_timeout_over", t_own_timeout, "" },
		{ "lost", t_lost, "on=identify nth=3 do=reset" },
		{ "lost_silently", t_lost, "on=identify nth=3 do=silence" },
		{ "freed_in_flight", t_freed_in_flight },
		{ "disconnect_in_flight", t_disconnect_in_flight },
		{ "waiting_forms", t_waiting_forms },
		{ "namespace_life", t_namespace_life },
		{ "formats", t_formats },
		{ "security", t_security, NULL },
		{ "security_mdts", t_security, "--mdts=3" },
		{ "firmware", t_firmware, NULL },
		{ "firmware_fwug", t_firmware,
		  "on=c2hdata for=identify cns=1 do=set:data8[319]=1" },
		{ "sanitize", t_sanitize },
		{ "self_test", t_self_test },
	};

	return rig_main("admin", tests, ARRAY_SIZE(tests));
}
