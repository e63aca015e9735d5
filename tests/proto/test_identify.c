/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What controllers and namespaces say about themselves (F-10, C-1, C-2, C-4; security
 * list 8.3): absurd values are refused with a sentence or cut down to something safe,
 * never computed with.
 */
#include "rig.h"

#define ID_CTRL "on=c2hdata for=identify cns=1 do="
#define ID_NS "on=c2hdata for=identify cns=0 do="
#define ID_DESCS "on=c2hdata for=identify cns=3 do="
#define ID_LIST "on=c2hdata for=identify cns=2 do="

#define BAD_CTRL(name_, set_, error_, says_)                                            \
	RIG_CASE("ctrl_" name_, .fault = ID_CTRL set_, .act = ACT_CONNECT, .error = error_, \
		 .fes = NO_TERM, .says = says_)
/* Opening the namespace fails, the controller stays. */
#define BAD_NS(name_, fault_, error_, says_)                                            \
	{ "ns_" name_, t_bad_ns, &(const struct rig_case){                                \
		.fault = fault_, .error = error_, .says = says_ } }
#define GOOD(name_, fault_, ...)                                                        \
	RIG_CASE(name_, .fault = fault_, .act = ACT_READ_WRITE, .len = 65536, .fes = CLEAN, \
		 __VA_ARGS__)

static void t_bad_ns(struct rig *r)
{
	const struct rig_case *k = r->arg;

	rig_target(r, NULL, k->fault);
	assert_int_equal(rig_connect(r, NULL), 0);
	if (rig_open_ns(r, NULL) != k->error || !strstr(r->last->detail, k->says))
		fail_msg("want %d and \"%s\", got %d: %s", k->error, k->says, r->last->error,
			 r->last->detail);
	assert_null(r->ns);
	rig_control(r, "clear");
	assert_int_equal(rig_open_ns(r, NULL), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_limits(struct rig *r)
{
	enum { LEN = 3 << 20 };
	static const struct {
		unsigned mdts;
		uint64_t max;
	} k[] = { { 0, 1 << 20 }, { 1, 8192 }, { 31, 1 << 20 }, { 255, 1 << 20 } };
	uint8_t *out = malloc(LEN), *in = malloc(LEN);
	char script[80];

	rig_fill(out, LEN, 1);
	for (size_t i = 0; i < ARRAY_SIZE(k); i++) {
		struct nof_ctrl_info info = { .size = sizeof(info) };

		snprintf(script, sizeof(script), ID_CTRL "set:data8[77]=%u", k[i].mdts);
		rig_target(r, NULL, script);
		rig_open(r, NULL);
		assert_int_equal(nof_ctrl_get_info(r->ctrl, &info), 0);
		assert_int_equal(info.max_transfer, k[i].max);
		assert_int_equal(r->info.max_transfer, k[i].max);
		memset(in, 0, LEN);
		assert_int_equal(rig_write(r, out, LEN, 0, 0), 0);
		assert_int_equal(rig_read(r, in, LEN, 0, 0), 0);
		assert_memory_equal(in, out, LEN);
		assert_int_equal(rig_disconnect(r), 0);
		rig_close(r);
		rig_target_restart(r);
	}
	free(out);
	free(in);
}

static void t_maxcmd(struct rig *r)
{
	struct nof_ctrl_info info = { .size = sizeof(info) };

	rig_target(r, NULL, ID_CTRL "set:data16[514]=4");
	rig_open(r, "queue_size=128");
	assert_int_equal(nof_ctrl_get_info(r->ctrl, &info), 0);
	assert_int_equal(info.queue_size, 5);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Strings for humans cannot drive their terminal. */
static void t_strings(struct rig *r)
{
	struct nof_ctrl_info info = { .size = sizeof(info) };

	rig_target(r, NULL, ID_CTRL "set:data32[24]=0x6d325b1b,set:data8[63]=0xff,set:data8[4]=7");
	assert_int_equal(rig_connect(r, NULL), 0);
	assert_int_equal(nof_ctrl_get_info(r->ctrl, &info), 0);
	assert_memory_equal(info.model, "?[2m", 4);
	for (const char *p = info.model; *p; p++)
		assert_in_range(*p, ' ', '~');
	assert_int_equal(info.serial[0], '?');
	assert_string_equal(info.subnqn, RIG_NQN);
	assert_int_equal(rig_disconnect(r), 0);
}

/* The list of active namespaces is read in pages. */
static void t_many_namespaces(struct rig *r)
{
	enum { N = 1030 };
	char *options = malloc(N * 20 + 1), *p = options;
	uint32_t *ids = malloc(N * sizeof(*ids));

	for (int i = 0; i < N; i++)
		p += sprintf(p, " --ns=null:1M");
	rig_target(r, options, NULL);
	assert_int_equal(rig_connect(r, NULL), 0);
	assert_int_equal(nof_ctrl_get_nsids(r->ctrl, ids, N), N);
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(ids[i], i + 1);
	assert_int_equal(nof_ctrl_get_nsids(r->ctrl, ids, 2), N);
	assert_int_equal(rig_open_ns(r, "1030"), 0);
	assert_int_equal(r->info.nsid, 1030);
	assert_int_equal(rig_disconnect(r), 0);
	free(options);
	free(ids);
}

/* C-4: by number and by the identifiers of the descriptors. */
static void t_names(struct rig *r)
{
	char uuid[40], nguid[40], eui[20];
	struct nof_ns_info second;
	const uint8_t *u;

	rig_target(r, "--ns=mem:1M,bs=512 --ns=mem:2M,bs=4096,nsid=7", NULL);
	assert_int_equal(rig_connect(r, NULL), 0);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	assert_int_equal(r->info.nsid, 1);
	nof_ns_close(r->ns);
	r->ns = NULL;
	assert_int_equal(rig_open_ns(r, "7"), 0);
	second = r->info;
	assert_int_equal(second.block_size, 4096);
	assert_int_equal(second.bytes, 2 << 20);
	assert_true(second.has_uuid && second.has_nguid && second.has_eui64);
	u = second.uuid;
	snprintf(uuid, sizeof(uuid), "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x"
		 "%02x%02x", u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10],
		 u[11], u[12], u[13], u[14], u[15]);
	for (int i = 0; i < 16; i++)
		sprintf(nguid + 2 * i, "%02x", second.nguid[i]);
	for (int i = 0; i < 8; i++)
		sprintf(eui + 2 * i, "%02x", second.eui64[i]);
	for (int i = 0; i < 3; i++) {
		const char *id = i == 0 ? uuid : i == 1 ? nguid : eui;

		nof_ns_close(r->ns);
		r->ns = NULL;
		assert_int_equal(rig_open_ns(r, id), 0);
		assert_int_equal(r->info.nsid, 7);
	}
	nof_ns_close(r->ns);
	r->ns = NULL;
	assert_int_equal(rig_open_ns(r, "3"), -ENODEV);
	assert_int_equal(rig_open_ns(r, "99"), -ENODEV);
	assert_int_equal(rig_open_ns(r, "00000000-1111-2222-3333-444444444444"), -ENODEV);
	assert_int_equal(rig_open_ns(r, "0"), -EINVAL);
	assert_int_equal(rig_open_ns(r, "not a name"), -EINVAL);
	assert_int_equal(rig_disconnect(r), 0);
	RIG_REFUSES(nof_ns_open(r->ctrl, "1", &r->ns, rig_done, NULL), ENOTCONN);
}

/* A chain of unknown descriptors, the last of which leaves the page. */
static void t_nidl_overflow(struct rig *r)
{
	char script[2048], *p = script;

	p += sprintf(p, ID_DESCS);
	for (int pos = 0; pos + 4 <= 4096; pos += 259)
		p += sprintf(p, "%sset:data16[%d]=0xff7f", pos ? "," : "", pos);
	rig_target(r, NULL, script);
	assert_int_equal(rig_connect(r, NULL), 0);
	assert_int_equal(rig_open_ns(r, NULL), -EPROTO);
	assert_non_null(strstr(r->last->detail, "leaves the page"));
	assert_int_equal(rig_disconnect(r), 0);
}

/* F-12: an event makes the library look at the namespaces again. */
static void t_namespace_changes(struct rig *r)
{
	uint32_t id;

	rig_target(r, "--ns=mem:4M", "on=log lid=4 do=split:0");
	rig_open(r, NULL);
	assert_string_equal(rig_control(r, "resize 1 2M"), "ok");
	RIG_UNTIL(r, rig_stat(r, "faults_fired") >= 1);
	assert_int_equal(nof_ctrl_get_nsids(r->ctrl, &id, 1), 1);
	assert_int_equal(r->info.bytes, 4 << 20);	/* a snapshot */
	nof_chan_close(r->chan);
	r->chan = NULL;
	nof_ns_close(r->ns);
	r->ns = NULL;
	assert_int_equal(rig_open_ns(r, NULL), 0);
	assert_int_equal(r->info.bytes, 2 << 20);
	assert_int_equal(rig_disconnect(r), 0);
}

static const struct rig_test tests[] = {
	BAD_CTRL("ioccsz_0", "set:data32[1792]=0", -EPROTO, "IOCCSZ"),
	BAD_CTRL("ioccsz_3", "set:data32[1792]=3", -EPROTO, "IOCCSZ"),
	BAD_CTRL("icdoff", "set:data16[1800]=1", -ENOTSUP, "ICDOFF"),
	BAD_CTRL("sgls_0", "set:data32[536]=0", -ENOTSUP, "SGL"),
	BAD_CTRL("kas_0", "set:data16[320]=0", -ENOTSUP, "keep alive"),
	BAD_CTRL("cntrltype", "set:data8[111]=9", -EPROTO, "type"),
	RIG_CASE("ctrl_refused", .fault = "on=identify cns=1 do=status:6", .act = ACT_CONNECT,
		 .error = -EIO, .fes = NO_TERM, .says = "Identify"),
	GOOD("ctrl_kas_0_without_kato", ID_CTRL "set:data16[320]=0", .uri = "keep_alive_tmo=0"),
	GOOD("ctrl_ioccsz_4", ID_CTRL "set:data32[1792]=4"),
	GOOD("ctrl_ioccsz_max", ID_CTRL "set:data32[1792]=0xffffffff",
	     .target = "--in-capsule=1M"),
	GOOD("ctrl_nn_0", ID_CTRL "set:data32[516]=0"),
	GOOD("ctrl_nn_max", ID_CTRL "set:data32[516]=0xffffffff"),
	GOOD("ctrl_aerl_255", ID_CTRL "set:data8[259]=255"),
	GOOD("ctrl_no_events", "on=setfeatures fid=0x0b do=status:2/dnr"),
	GOOD("ctrl_oaes_0", ID_CTRL "set:data32[92]=0"),
	{ "ctrl_mdts", t_limits },
	{ "ctrl_maxcmd", t_maxcmd },
	{ "ctrl_strings", t_strings },
	RIG_CASE("list_unsorted", .fault = ID_LIST "set:data32[0]=5,set:data32[4]=3",
		 .act = ACT_CONNECT, .error = -EPROTO, .fes = NO_TERM, .says = "ascend"),
	RIG_CASE("list_loop", .fault = ID_LIST "set:data32[4]=1", .act = ACT_CONNECT,
		 .error = -EPROTO, .fes = NO_TERM, .says = "ascend"),
	RIG_CASE("list_ffffffff", .fault = ID_LIST "set:data32[0]=0xffffffff", .act = ACT_CONNECT,
		 .error = -EPROTO, .fes = NO_TERM),
	{ "list_many", t_many_namespaces },
	BAD_NS("lbads_0", ID_NS "set:data8[130]=0", -EPROTO, "LBADS"),
	BAD_NS("lbads_8", ID_NS "set:data8[130]=8", -EPROTO, "LBADS"),
	BAD_NS("lbads_17", ID_NS "set:data8[130]=17", -ENOTSUP, "LBADS"),
	BAD_NS("lbads_64", ID_NS "set:data8[130]=64", -ENOTSUP, "LBADS"),
	BAD_NS("metadata", ID_NS "set:data16[128]=8", -ENOTSUP, "metadata"),
	BAD_NS("flbas", ID_NS "set:data8[26]=15", -EPROTO, "format"),
	BAD_NS("flbas_high", ID_NS "set:data8[25]=63,set:data8[26]=0x61", -EPROTO, "LBADS"),
	BAD_NS("nsze_0", ID_NS "set:data64[0]=0", -ENODEV, "namespace"),
	BAD_NS("nsze_max", ID_NS "set:data64[0]=0xffffffffffffffff", -EPROTO, "63 bits"),
	BAD_NS("refused", "on=identify cns=0 do=status:6", -EIO, "Identify"),
	BAD_NS("csi", ID_DESCS "set:data8[56]=3", -ENOTSUP, "command set"),
	BAD_NS("nidl_of_uuid", ID_DESCS "set:data8[33]=17", -EPROTO, "descriptor"),
	{ "ns_nidl_overflow", t_nidl_overflow },
	GOOD("ns_no_descriptors", "on=identify cns=3 do=status:2/dnr"),
	GOOD("ns_no_limits_page", "on=identify cns=6 do=status:2/dnr"),
	GOOD("ns_unknown_descriptor", ID_DESCS "set:data8[0]=0x55"),
	{ "ns_names", t_names },
	{ "f12_namespace_changes", t_namespace_changes },
};

int main(void)
{
	return rig_main("identify", tests, ARRAY_SIZE(tests));
}
