/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fabrics Connect, properties, enabling and shutting down (F-1 to F-8), and the number
 * of queues (F-11): every refusal becomes an errno and a sentence, and what a
 * controller reports about itself is not trusted.
 */
#include "rig.h"

#define REFUSED(name_, status_, error_, says_)                                          \
	RIG_CASE("f4_connect_" name_, .fault = "on=connect do=status:" status_,           \
		 .act = ACT_CONNECT, .error = error_, .fes = NO_TERM, .says = says_)

/* Invalid parameter, and which one: IPO, and bit 16 when it is in the data. */
#define BAD_PARAM(name_, dw0_, error_, says_)                                           \
	RIG_CASE("f4_param_" name_, .act = ACT_CONNECT, .error = error_, .fes = NO_TERM,  \
		 .fault = "on=resp for=connect do=status:1/0x82/dnr,set:dw0=" dw0_,       \
		 .says = says_)

#define PROPERTY(name_, prop_, set_, error_, says_)                                     \
	RIG_CASE("f6_" name_, .act = ACT_CONNECT, .error = error_, .fes = NO_TERM,        \
		 .fault = "on=resp for=propget prop=" prop_ " do=" set_, .says = says_)

#define FAST_CAP "on=resp for=propget prop=0 do=set:u8[11]=0,set:dw1=0x20; "

/* F-6: a controller that is enabled already is reset first. */
static void t_enabled_before(struct rig *r)
{
	rig_target(r, NULL, "on=resp for=propget prop=0x14 do=set:dw0=0x460001; "
		   "on=resp for=propget prop=0x1c nth=1 do=set:dw0=1; "
		   "on=resp for=propget prop=0x1c nth=2 do=set:dw0=0");
	rig_open(r, NULL);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_set_count(struct rig *r)
{
	rig_target(r, NULL, "on=propset prop=0x14 do=split:0");
	rig_open(r, NULL);
	/* Configuration without EN, then with it. */
	assert_int_equal(rig_stat(r, "faults_fired"), 2);
	assert_int_equal(rig_disconnect(r), 0);
	/* F-7: the shutdown notification. */
	assert_int_equal(rig_stat(r, "faults_fired"), 3);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_CLOSED);
	rig_all_closed(r);
	assert_int_equal(r->failures, 0);
}

/* F-7: what is in flight is cancelled, and the end comes although nobody answers. */
static void t_shutdown_unanswered(struct rig *r)
{
	char buf[512];
	struct rig_op *op;

	rig_target(r, NULL, "on=read do=drop; on=propset nth=3 do=drop");
	rig_open(r, "admin_timeout=0.3");
	op = rig_submit_read(r, buf, sizeof(buf), 0);
	rig_turn(r, 10);
	assert_int_equal(rig_disconnect(r), -ETIMEDOUT);
	assert_int_equal(rig_finish(op), -ECANCELED);
	rig_all_closed(r);
	RIG_REFUSES(nof_read(r->chan, buf, sizeof(buf), 0, 0, rig_done, NULL), ENOTCONN);
	RIG_REFUSES(nof_ctrl_disconnect(r->ctrl, rig_done, NULL), ENOTCONN);
}

/* A queue that cannot be connected is no reason to give up the controller. */
static void t_io_connect_refused(struct rig *r)
{
	rig_target(r, NULL, "on=connect qid=1 do=status:1/0x81");
	assert_int_equal(rig_try_open(r, NULL), -EBUSY);
	assert_non_null(strstr(r->last->detail, "busy"));
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_LIVE);
	rig_control(r, "clear");
	assert_int_equal(rig_open_chan(r), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_wrong_nqn(struct rig *r)
{
	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, "subnqn=nqn.2020-01.org.example:nobody"), -ENOENT);
	assert_non_null(strstr(r->last->detail, "nqn.2020-01.org.example:nobody"));
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_FAILED);
}

static void t_host_not_allowed(struct rig *r)
{
	rig_target(r, "--nqn=" RIG_NQN " --ns=mem:1M --allow-host=nqn.2020-01.org.example:other",
		   NULL);
	assert_int_equal(rig_connect(r, NULL), -EACCES);
	assert_non_null(strstr(r->last->detail, "01234567-89ab"));
	rig_close(r);
	assert_int_equal(rig_connect(r, "hostnqn=nqn.2020-01.org.example:other"), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_connect_twice(struct rig *r)
{
	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, NULL), 0);
	RIG_REFUSES(nof_ctrl_connect(r->ctrl, rig_done, NULL), EALREADY);
	assert_int_equal(rig_disconnect(r), 0);
	RIG_REFUSES(nof_ctrl_connect(r->ctrl, rig_done, NULL), EALREADY);
}

/* ---- F-11 ---- */

struct grant {
	const char *dw0;
	uint32_t asked, granted;
};

static void t_grant(struct rig *r)
{
	const struct grant *k = r->arg;
	struct nof_ctrl_info info = { .size = sizeof(info) };
	struct nof_chan *chans[8] = { NULL };
	char script[80], asked[32];
	char buf[512];

	snprintf(script, sizeof(script), "on=resp for=setfeatures fid=7 do=set:dw0=%s", k->dw0);
	snprintf(asked, sizeof(asked), "nr_io_queues=%u", k->asked);
	rig_target(r, NULL, script);
	rig_open(r, asked);
	assert_int_equal(nof_ctrl_get_info(r->ctrl, &info), 0);
	assert_int_equal(info.nr_io_queues, k->granted);
	/* One channel more than queues: the last shares. */
	for (uint32_t i = 0; i < k->granted; i++)
		assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &chans[i],
									rig_done, op))), 0);
	for (uint32_t i = 0; i < k->granted; i++) {
		assert_in_range(nof_chan_get_qid(chans[i]), 1, k->granted);
		RIG_SUBMIT(r, nof_read(chans[i], buf, sizeof(buf), 0, 0, rig_done, op));
		rig_finish_all(r);
		assert_int_equal(r->last->error, 0);
	}
	for (uint32_t i = 0; i < k->granted; i++)
		nof_chan_close(chans[i]);
	assert_int_equal(rig_disconnect(r), 0);
}

#define GRANT(name_, ...) { "f11_grant_" name_, t_grant, &(const struct grant){ __VA_ARGS__ } }

static void t_fewer_for_real(struct rig *r)
{
	struct nof_ctrl_info info = { .size = sizeof(info) };

	rig_target(r, "--queues=2 --queue-size=32", NULL);
	rig_open(r, "nr_io_queues=4&queue_size=128");
	assert_int_equal(nof_ctrl_get_info(r->ctrl, &info), 0);
	assert_int_equal(info.nr_io_queues, 2);
	assert_int_equal(info.queue_size, 32);
	assert_int_equal(rig_disconnect(r), 0);
}

static const struct rig_test tests[] = {
	REFUSED("format", "1/0x80/dnr", -EPROTONOSUPPORT, "format"),
	REFUSED("busy", "1/0x81", -EBUSY, "busy"),
	REFUSED("restart_discovery", "1/0x83", -EAGAIN, "discovery"),
	REFUSED("invalid_host", "1/0x84/dnr", -EACCES, "host"),
	REFUSED("auth_required", "1/0x91/dnr", -ENOTSUP, "DH-HMAC-CHAP"),
	REFUSED("invalid_field", "2/dnr", -EINVAL, "Invalid Field"),
	REFUSED("internal", "6", -EIO, "log"),
	BAD_PARAM("subnqn", "0x10100", -ENOENT, "subsystem"),
	BAD_PARAM("hostnqn", "0x10200", -EACCES, "host NQN"),
	BAD_PARAM("hostid", "0x10000", -EINVAL, "host id"),
	BAD_PARAM("cntlid", "0x10010", -EINVAL, "controller id"),
	BAD_PARAM("qid", "42", -EINVAL, "queue id"),
	BAD_PARAM("sqsize", "44", -EINVAL, "queue size"),
	BAD_PARAM("kato", "48", -EINVAL, "keep alive"),
	BAD_PARAM("nonsense", "0xffffffff", -EACCES, NULL),
	RIG_CASE("f2_authentication_asked", .fault = "on=resp for=connect do=set:dw0=0x20001",
		 .act = ACT_CONNECT, .error = -ENOTSUP, .fes = NO_TERM, .says = "DH-HMAC-CHAP"),
	RIG_CASE("f2_concat_asked", .fault = "on=resp for=connect do=set:dw0=0x40001",
		 .act = ACT_CONNECT, .error = -ENOTSUP, .fes = NO_TERM),
	RIG_CASE("f2_cntlid_reserved", .fault = "on=resp for=connect do=set:dw0=0xffff",
		 .act = ACT_CONNECT, .error = -EPROTO, .fes = NO_TERM, .says = "reserved"),
	RIG_CASE("f5_cntlid_differs",
		 .fault = "on=c2hdata for=identify cns=1 do=set:data16[78]=999",
		 .act = ACT_CONNECT, .error = -EPROTO, .fes = NO_TERM, .says = "999"),
	PROPERTY("cap_all_ones", "0", "set:dw0=0xffffffff,set:dw1=0xffffffff", -EPROTO, "CAP"),
	PROPERTY("mqes_0", "0", "set:u16[8]=0", -EPROTO, "MQES"),
	PROPERTY("mpsmin_above_mpsmax", "0", "set:dw1=0x000f0820", -EPROTO, "MPSMIN"),
	PROPERTY("csts_cfs", "0x1c", "set:dw0=2", -EIO, "fatal"),
	PROPERTY("csts_rdy_and_cfs", "0x1c", "set:dw0=3", -EIO, "fatal"),
	PROPERTY("csts_all_ones", "0x1c", "set:dw0=0xffffffff", -EIO, "gone"),
	PROPERTY("cap_refused", "0", "status:2/dnr", -EINVAL, "CAP"),
	RIG_CASE("f6_never_ready", .act = ACT_CONNECT, .error = -ETIMEDOUT, .fes = NO_TERM,
		 .fault = FAST_CAP "on=resp for=propget prop=0x1c do=set:dw0=0",
		 .says = "become ready"),
	RIG_CASE("f6_slowly_ready", .act = ACT_READ_WRITE, .fes = CLEAN,
		 .fault = "on=resp for=propget prop=0x1c nth=1-6 do=set:dw0=0"),
	RIG_CASE("f6_mpsmin_15", .act = ACT_READ_WRITE, .fes = CLEAN,
		 .fault = "on=resp for=propget prop=0 nth=2 do=set:dw1=0x00ff0820"),
	{ "f6_enabled_before", t_enabled_before },
	{ "f7_shutdown", t_set_count },
	{ "f7_shutdown_unanswered", t_shutdown_unanswered },
	{ "f4_io_connect_refused", t_io_connect_refused },
	{ "f4_wrong_nqn", t_wrong_nqn },
	{ "f4_host_not_allowed", t_host_not_allowed },
	{ "connect_twice", t_connect_twice },
	GRANT("one", "0", 4, 1),
	GRANT("halves_differ", "0x00010003", 4, 2),
	GRANT("more", "0x003f003f", 3, 3),
	GRANT("all_ones", "0xffffffff", 2, 2),
	{ "f11_fewer_for_real", t_fewer_for_real },
};

int main(void)
{
	return rig_main("fabrics", tests, ARRAY_SIZE(tests));
}
