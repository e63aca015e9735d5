/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Setting up a connection (T-5 to T-9): every bad ICResp is refused with the right
 * H2CTermReq, nothing is waited for longer than connect_timeout, and digests are
 * what both sides agreed on.
 */
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rig.h"

/* T-6, T-7: an ICResp with one field changed. */
#define BAD_ICRESP(name_, set_, fes_, fei_, says_)                                      \
	RIG_CASE("t7_icresp_" name_, .fault = "on=icresp do=set:" set_, .act = ACT_CONNECT, \
		 .error = -EPROTO, .fes = fes_, .fei = fei_, .says = says_)

/* ---- digests ---- */

struct digest_case {
	const char *target, *host;
	bool hdgst, ddgst;		/* in force in the end */
};

static void t_digest(struct rig *r)
{
	const struct digest_case *k = r->arg;
	struct nof_ctrl_info info = { .size = sizeof(info) };
	uint8_t out[20000 / 512 * 512], in[sizeof(out)];

	rig_target(r, k->target, NULL);
	rig_open(r, k->host);
	assert_int_equal(nof_ctrl_get_info(r->ctrl, &info), 0);
	assert_int_equal(info.has_hdr_digest, k->hdgst);
	assert_int_equal(info.has_data_digest, k->ddgst);
	/* Small enough for the capsule, and by R2T. */
	for (size_t len = 512; len <= sizeof(out); len = len * 6 + 512) {
		rig_fill(out, len, (uint32_t)len);
		memset(in, 0, sizeof(in));
		assert_int_equal(rig_write(r, out, len, 4096, 0), 0);
		assert_int_equal(rig_read(r, in, len, 4096, 0), 0);
		assert_memory_equal(in, out, len);
	}
	assert_int_equal(rig_disconnect(r), 0);
	assert_int_equal(rig_stat(r, "digest_errors"), 0);
}

#define DIGEST(name_, ...) { "t7_digest_" name_, t_digest, \
			     &(const struct digest_case){ __VA_ARGS__ } }

/* ---- who answers at all ---- */

static void t_refused_port(struct rig *r)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* Bound and not listening: nobody else can take the port meanwhile. */
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	r->port = ntohs(sin.sin_port);
	assert_int_equal(rig_connect(r, NULL), -ECONNREFUSED);
	assert_non_null(strstr(r->last->detail, "127.0.0.1"));
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_FAILED);
	close(fd);
}

/* The backlog accepts, nobody ever answers. */
static void t_mute_listener(struct rig *r)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t start = rig_now_ms();

	assert_int_equal(bind(fd, (struct sockaddr *)&sin, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	assert_int_equal(listen(fd, 4), 0);
	r->port = ntohs(sin.sin_port);
	assert_int_equal(rig_connect(r, "mptcp=prefer&connect_timeout=0.3"), -ETIMEDOUT);
	assert_non_null(strstr(r->last->detail, "ICResp"));
	assert_in_range(rig_now_ms() - start, 290, 2000);
	close(fd);
}

static void t_mptcp_fallback(struct rig *r)
{
	struct nof_transport t = { .size = sizeof(t) };

	rig_target(r, "--mptcp=off", NULL);
	assert_int_equal(rig_connect(r, "mptcp=require"), -EPROTONOSUPPORT);
	rig_close(r);
	assert_int_equal(rig_connect(r, "mptcp=prefer"), 0);
	assert_int_equal(nof_ctrl_get_transport(r->ctrl, &t), 0);
	assert_false(t.is_mptcp);
	assert_true(strlen(t.reason) > 15);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_transport_is_shown(struct rig *r)
{
	struct nof_transport t = { .size = sizeof(t) }, sum = { .size = sizeof(sum) };
	struct nof_transport list[3] = { { .size = sizeof(list[0]) } };

	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	assert_int_equal(nof_chan_get_transport(r->chan, &t), 0);
	assert_int_equal(t.is_mptcp, r->is_mptcp);
	assert_int_equal(t.qid, 1);
	assert_true(r->is_mptcp ? !*t.reason : strlen(t.reason) > 5);
	assert_true(t.subflow_count >= 1);
	assert_true(t.bytes_sent > 0 && t.bytes_received > 0);
	assert_int_equal(t.connections, 1);
	assert_int_equal(t.mptcp_connections, r->is_mptcp);
	assert_string_equal(t.note, "");
	assert_int_equal(t.subflows[0].state, NOF_SUBFLOW_ACTIVE);
	assert_true(t.subflows[0].rto_us > 0 && t.subflows[0].cwnd > 0);
	assert_int_equal(t.subflows[0].share_permille, 1000);
	assert_int_equal(nof_ctrl_get_transport(r->ctrl, &t), 0);
	assert_int_equal(t.qid, 0);

	/* All of them; with less room as many are told, and less is written. */
	assert_int_equal(nof_ctrl_get_transports(r->ctrl, NULL, 0), 2);
	assert_int_equal(nof_ctrl_get_transports(r->ctrl, list, 1), 2);
	assert_int_equal(list[1].size, 0);
	assert_int_equal(nof_ctrl_get_transports(r->ctrl, list, 3), 2);
	assert_int_equal(list[0].qid, 0);
	assert_int_equal(list[1].qid, 1);
	assert_int_equal(list[2].size, 0);
	assert_int_equal(nof_transport_sum(list, 2, &sum), 0);
	assert_int_equal(sum.connections, 2);
	assert_int_equal(sum.is_mptcp, r->is_mptcp);
	assert_int_equal(sum.bytes_sent, list[0].bytes_sent + list[1].bytes_sent);
	assert_int_equal(sum.subflow_count, 1);

	assert_int_equal(rig_disconnect(r), 0);
	assert_int_equal(nof_ctrl_get_transport(r->ctrl, &t), -ENOTCONN);
	assert_int_equal(nof_ctrl_get_transports(r->ctrl, list, 3), 0);
}

/* A connect that nothing answers can be given up at any time. */
static void t_free_while_connecting(struct rig *r)
{
	struct rig_op *op;

	rig_target(r, NULL, "on=icreq do=drop");
	rig_loop(r);
	rig_opts(r, NULL, &r->opts);
	assert_int_equal(nof_ctrl_new(r->loop, &r->opts, rig_on_event, r, &r->ctrl), 0);
	op = rig_op(r);
	assert_int_equal(nof_ctrl_connect(r->ctrl, rig_done, op), 0);
	RIG_UNTIL(r, rig_stat(r, "accepted") == 1);
	assert_int_equal(op->count, 0);
	nof_ctrl_free(r->ctrl);
	r->ctrl = NULL;
	assert_int_equal(op->count, 1);
	assert_int_equal(op->error, -ECANCELED);
	rig_all_closed(r);
}

static const struct rig_test tests[] = {
	BAD_ICRESP("pfv", "pfv=1", 6, 8, "PFV"),
	BAD_ICRESP("cpda", "cpda=32", 1, 10, "CPDA"),
	BAD_ICRESP("cpda_max", "cpda=255", 1, 10, "CPDA"),
	BAD_ICRESP("dgst_reserved", "dgst=4", 1, 11, "reserved"),
	BAD_ICRESP("dgst_hdr_unasked", "dgst=1", 1, 11, "header digest"),
	BAD_ICRESP("dgst_data_unasked", "dgst=2", 1, 11, "data digest"),
	BAD_ICRESP("maxh2cdata_0", "maxh2cdata=0", 1, 12, "MAXH2CDATA"),
	BAD_ICRESP("maxh2cdata_low", "maxh2cdata=4092", 1, 12, "MAXH2CDATA"),
	BAD_ICRESP("maxh2cdata_odd", "maxh2cdata=4098", 1, 12, "MAXH2CDATA"),
	BAD_ICRESP("flags", "flags=1", 1, 1, "flags"),
	BAD_ICRESP("hlen", "hlen=127", 1, 2, "HLEN"),
	BAD_ICRESP("pdo", "pdo=128", 1, 3, "PDO"),
	BAD_ICRESP("plen_short", "plen=127", 1, 4, "PLEN"),
	BAD_ICRESP("plen_long", "plen=0xffffffff", 1, 4, "PLEN"),
	BAD_ICRESP("type_unknown", "type=0x0b", 1, 0, "type"),
	BAD_ICRESP("type_of_host", "type=0", 1, 0, "type"),
	BAD_ICRESP("type_resp", "type=5", 2, 0, "before the ICResp"),
	RIG_CASE("t6_icresp_twice", .fault = "on=icresp do=dup", .act = ACT_CONNECT,
		 .error = -EPROTO, .fes = 2, .fei = 0, .says = "second ICResp"),
	RIG_CASE("t6_icresp_again_later", .fault = "on=resp for=identify do=inject:icresp",
		 .act = ACT_CONNECT, .error = -EPROTO, .fes = 2, .says = "second ICResp"),
	RIG_CASE("t6_pdu_before_icresp",
		 .fault = "on=icresp do=raw:050018001800000000000000000000000000000000000000",
		 .act = ACT_CONNECT, .error = -EPROTO, .fes = 2, .fei = 0,
		 .says = "before the ICResp"),
	RIG_CASE("t6_garbage", .fault = "on=icresp do=raw:485454502f312e3120343030,drop",
		 .act = ACT_CONNECT, .error = -EPROTO, .fes = 1, .fei = 0, .says = "PDU type"),
	RIG_CASE("t6_never", .fault = "on=icresp do=drop", .uri = "connect_timeout=0.3",
		 .act = ACT_CONNECT, .error = -ETIMEDOUT, .fes = NO_TERM, .says = "ICResp"),
	RIG_CASE("t6_partial", .fault = "on=icresp do=cut:1", .uri = "connect_timeout=0.3",
		 .act = ACT_CONNECT, .error = -ETIMEDOUT, .fes = NO_TERM, .says = "ICResp"),
	RIG_CASE("t6_late", .fault = "on=icresp do=delay:150", .act = ACT_READ_WRITE,
		 .fes = CLEAN),
	RIG_CASE("t6_in_bytes", .fault = "on=accept do=split:1", .act = ACT_READ_WRITE,
		 .fes = CLEAN),
	RIG_CASE("t6_closed", .fault = "on=icreq do=close,drop", .act = ACT_CONNECT,
		 .error = -ECONNRESET, .fes = NO_TERM, .says = "ICReq"),
	RIG_CASE("t6_reset", .fault = "on=icreq do=reset", .act = ACT_CONNECT,
		 .error = -ECONNRESET, .fes = NO_TERM),
	RIG_CASE("t6_coalesced_with_bad_pdu", .fault = "on=icresp do=send,inject:resp:cid=7",
		 .act = ACT_CONNECT, .error = -EPROTO, .fes = 1, .fei = 20, .says = "CID"),
	RIG_CASE("t6_coalesced_with_term", .fault = "on=icresp do=send,inject:c2hterm:fes=6:fei=8",
		 .act = ACT_CONNECT, .error = -ECONNRESET, .fes = NO_TERM, .says = "C2HTermReq"),
	RIG_CASE("t7_io_queue_icresp", .fault = "on=icresp conn=2 do=set:pfv=9", .act = ACT_OPEN,
		 .error = -EPROTO, .fes = 6, .fei = 8, .says = "PFV"),
	RIG_CASE("t7_hdr_digest_declined", .target = "--hdgst=off", .uri = "hdr_digest=on",
		 .act = ACT_CONNECT, .error = -EPROTO, .fes = 1, .fei = 11,
		 .says = "header digest"),
	RIG_CASE("t7_data_digest_declined", .target = "--ddgst=off", .uri = "data_digest=on",
		 .act = ACT_CONNECT, .error = -EPROTO, .fes = 1, .fei = 11, .says = "data digest"),
	DIGEST("off", "--hdgst=on --ddgst=on", "", false, false),
	DIGEST("hdr", "--hdgst=on --ddgst=on", "hdr_digest=on", true, false),
	DIGEST("data", "--hdgst=on --ddgst=on", "data_digest=on", false, true),
	DIGEST("both", "", "hdr_digest=on&data_digest=on", true, true),
	DIGEST("prefer_given", "", "hdr_digest=prefer&data_digest=prefer", true, true),
	DIGEST("prefer_not_given", "--hdgst=off --ddgst=off",
	       "hdr_digest=prefer&data_digest=prefer", false, false),
	DIGEST("prefer_half", "--hdgst=off", "hdr_digest=prefer&data_digest=on", false, true),
	{ "t5_refused_port", t_refused_port },
	{ "t6_mute_listener", t_mute_listener },
	{ "mptcp_fallback", t_mptcp_fallback },
	{ "transport_is_shown", t_transport_is_shown },
	{ "free_while_connecting", t_free_while_connecting },
};

int main(void)
{
	return rig_main("connection", tests, ARRAY_SIZE(tests));
}
