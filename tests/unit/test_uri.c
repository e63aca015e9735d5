/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* URIs: every part lands in its option; a malformed one gets a sentence that points at it. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "nof.h"
#include "opts.h"

#define NQN "nqn.2024-01.org.example:disk"

static void parse_ok(const char *uri, struct nof_opts *o)
{
	nof_opts_init(o);
	if (nof_uri_parse(uri, o) != 0)
		fail_msg("%s: %s", uri, nof_strerror_detail());
}

static void test_parts(void **state)
{
	static const struct {
		const char *uri, *host, *port, *nqn, *ns;
	} t[] = {
		{ "nvme+tcp://h/" NQN, "h", "", NQN, "" },
		{ "nvmf-tcp://h/" NQN, "h", "", NQN, "" },
		{ "NVMe+TCP://h/" NQN, "h", "", NQN, "" },
		{ "nvme+tcp://10.0.0.1:4420/" NQN "/7", "10.0.0.1", "4420", NQN, "7" },
		{ "nvme+tcp://[::1]/" NQN, "::1", "", NQN, "" },
		{ "nvme+tcp://[fe80::1%25eth0]:1/" NQN "/", "fe80::1%eth0", "1", NQN, "" },
		{ "nvme+tcp://h", "h", "", "", "" },
		{ "nvme+tcp://h/", "h", "", "", "" },
		{ "nvme+tcp://h?tos=1", "h", "", "", "" },
		{ "nvme+tcp://h:65535?", "h", "65535", "", "" },
		{ "nvme+tcp://h/a%2Fb", "h", "", "a/b", "" },
		{ "nvme+tcp://h/" NQN "/01234567-89ab-cdef-0123-456789abcdef", "h", "", NQN,
		  "01234567-89ab-cdef-0123-456789abcdef" },
		{ "nvme+tcp://h/" NQN "/0123456789abcdef0123456789abcdef", "h", "", NQN,
		  "0123456789abcdef0123456789abcdef" },
		{ "nvme+tcp://h/" NQN "/0123456789abcdef", "h", "", NQN, "0123456789abcdef" },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct nof_opts o;

		parse_ok(t[i].uri, &o);
		assert_string_equal(o.traddr, t[i].host);
		assert_string_equal(o.trsvcid, t[i].port);
		assert_string_equal(o.subnqn, t[i].nqn);
		assert_string_equal(o.ns, t[i].ns);
	}
}

static void test_query(void **state)
{
	struct nof_opts o;

	parse_ok(
		"nvme+tcp://h/" NQN
		"?hdr_digest=prefer&data_digest=on&&nr_io_queues=3&queue_size=64"
		"&keep_alive_tmo=2.5&io_timeout=0.25&mptcp=require&engine=epoll&disable_sqflow=on"
		"&in_capsule=off&tos=16&max_r2t=1&host_iface=eth%30&ctrl_loss_tmo=0"
		"&pcap=/tmp/a%26b",
		&o);
	assert_int_equal(o.hdr_digest, NOF_PREFER);
	assert_int_equal(o.data_digest, NOF_ON);
	assert_int_equal(o.nr_io_queues, 3);
	assert_int_equal(o.queue_size, 64);
	assert_int_equal(o.keep_alive_tmo_ms, 2500);
	assert_int_equal(o.io_timeout_ms, 250);
	assert_int_equal(o.mptcp, NOF_MPTCP_REQUIRE);
	assert_int_equal(o.engine, NOF_ENGINE_EPOLL);
	assert_true(o.disable_sqflow);
	assert_false(o.in_capsule);
	assert_int_equal(o.tos, 16);
	assert_int_equal(o.max_r2t, 1);
	assert_string_equal(o.host_iface, "eth0");
	assert_string_equal(o.pcap, "/tmp/a&b");
}

static void test_discovery_keep_alive(void **state)
{
	struct nof_opts o;

	parse_ok("nvme+tcp://h", &o);
	assert_int_equal(o.keep_alive_tmo_ms, 0);
	parse_ok("nvme+tcp://h/" NOF_DISCOVERY_NQN, &o);
	assert_int_equal(o.keep_alive_tmo_ms, 0);
	parse_ok("nvme+tcp://h?keep_alive_tmo=30", &o);
	assert_int_equal(o.keep_alive_tmo_ms, 30000);
	parse_ok("nvme+tcp://h/" NQN, &o);
	assert_int_equal(o.keep_alive_tmo_ms, 5000);
}

/* at: 1-based character the sentence must name; says: what it must contain. */
static void test_faults(void **state)
{
	static char long_host[400], long_nqn[400];
	const struct {
		const char *uri;
		int at;
		const char *says;
	} t[] = {
		{ "", 1, "nvme+tcp://" },
		{ "http://h/x", 1, "nvme+tcp://" },
		{ "nvme+tcp:/h", 1, "nvme+tcp://" },
		{ "nvme+tcp://", 12, "host" },
		{ "nvme+tcp:///" NQN, 12, "host" },
		{ "nvme+tcp://:4420/x", 12, "host" },
		{ "nvme+tcp://h:/x", 13, "port" },
		{ "nvme+tcp://h:0/x", 14, "65535" },
		{ "nvme+tcp://h:65536/x", 14, "65535" },
		{ "nvme+tcp://h:99999999999999999999/x", 14, "65535" },
		{ "nvme+tcp://h:4x/x", 14, "65535" },
		{ "nvme+tcp://h:-1/x", 14, "65535" },
		{ "nvme+tcp://[::1/x", 12, "bracket" },
		{ "nvme+tcp://[]/x", 13, "host" },
		{ "nvme+tcp://[::1]4420/x", 17, "colon" },
		{ "nvme+tcp://::1/x", 12, "[::1]" },
		{ "nvme+tcp://u@h/x", 13, "user" },
		{ "nvme+tcp://h/x#y", 15, "%23" },
		{ "nvme+tcp://h/x%", 15, "hex" },
		{ "nvme+tcp://h/x%4", 15, "hex" },
		{ "nvme+tcp://h/x%zz", 15, "hex" },
		{ "nvme+tcp://h/x%00", 15, "control" },
		{ "nvme+tcp://h/x%0Ay", 15, "control" },
		{ "nvme+tcp://h/x\ny", 15, "control" },
		{ "nvme+tcp://h//1", 14, "NQN" },
		{ "nvme+tcp://h/x/1/2", 17, "%2F" },
		{ "nvme+tcp://h/x/0", 16, "NSID" },
		{ "nvme+tcp://h/x/4294967295", 16, "NSID" },
		{ "nvme+tcp://h/x/abc", 16, "neither" },
		{ "nvme+tcp://h/x/00000000-0000-0000-0000-000000000000", 16, "zeroes" },
		{ "nvme+tcp://h/x?tos", 16, "KEY=VALUE" },
		{ "nvme+tcp://h/x?=1", 16, "unknown key" },
		{ "nvme+tcp://h/x?foo=1", 16, "unknown key \"foo\"" },
		{ "nvme+tcp://h/x?tos=1&tos=256", 22, "255" },
		{ "nvme+tcp://h/x?hdr_digest=yes", 16, "prefer" },
		{ "nvme+tcp://h/x?in_capsule=1", 16, "on or off" },
		{ "nvme+tcp://h/x?queue_size=1", 16, "from 2 to 1024" },
		{ "nvme+tcp://h/x?io_timeout=0", 16, "seconds" },
		{ "nvme+tcp://h/x?io_timeout=1e3", 16, "seconds" },
		{ "nvme+tcp://h/x?ctrl_loss_tmo=-2", 16, "or -1" },
		{ "nvme+tcp://h/x?iopolicy=x", 16, "queue-depth or service-time" },
		{ "nvme+tcp://h/x?write_hold=on", 16, "auto, -1 or off" },
		{ long_host, 12, "longer than 255" },
		{ long_nqn, 14, "longer than 223" },
	};

	snprintf(long_host, sizeof(long_host), "nvme+tcp://%0300d", 0);
	snprintf(long_nqn, sizeof(long_nqn), "nvme+tcp://h/%0300d", 0);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct nof_opts o, before;
		char where[32];

		nof_opts_init(&o);
		before = o;
		assert_int_equal(nof_uri_parse(t[i].uri, &o), -EINVAL);
		assert_memory_equal(&o, &before, sizeof(o));
		snprintf(where, sizeof(where), "character %d (", t[i].at);
		if (!strstr(nof_strerror_detail(), where) ||
		    !strstr(nof_strerror_detail(), t[i].says))
			fail_msg("%s: %s", t[i].uri, nof_strerror_detail());
	}
}

static void test_allow(void **state)
{
	struct nof_opts o;

	nof_opts_init(&o);
	assert_int_equal(nof_uri_parse_allow("nvme+tcp://h/x?pcap=/etc/passwd", NULL, &o), -EPERM);
	assert_non_null(strstr(nof_strerror_detail(), "pcap"));
	assert_string_equal(o.pcap, "");
	/* Spelling does not get around it. */
	assert_int_equal(nof_uri_parse_allow("nvme+tcp://h/x?%70cap=/x", NULL, &o), -EPERM);
	assert_int_equal(nof_uri_parse_allow("nvme+tcp://h/x?tos=1", NULL, &o), 0);
	assert_int_equal(nof_uri_parse_allow("nvme+tcp://h/x?tos=1", "", &o), -EPERM);
	assert_int_equal(nof_uri_parse_allow("nvme+tcp://h/x?mark=1", NULL, &o), -EPERM);
	assert_int_equal(nof_uri_parse_allow("nvme+tcp://h/x?mark=1", "mark", &o), 0);
	assert_int_equal(nof_uri_parse("nvme+tcp://h/x?sndbuf=4m&rcvbuf=64k&mark=7", &o), 0);
	assert_int_equal(o.sndbuf, 4 << 20);
	assert_int_equal(o.rcvbuf, 64 << 10);
	assert_int_equal(o.so_mark, 7);
	assert_int_equal(nof_uri_parse_allow("nvme+tcp://h/x?tos=1", "mptcp,tos", &o), 0);
	assert_int_equal(nof_uri_parse_allow("nvme+tcp://h/x?tos=1", "mptcp,to", &o), -EPERM);
	assert_int_equal(nof_uri_parse_allow("nvme+tcp://h/x?pcap=a", "pcap", &o), 0);
}

static void test_format_round_trip(void **state)
{
	static const char *const uris[] = {
		"nvme+tcp://h/" NQN,
		"nvme+tcp://[fe80::1%25eth0]:4421/" NQN "/3",
		"nvme+tcp://h/a%2Fb%20c?host_traddr=::1&nr_io_queues=2&keep_alive_tmo=2.500"
		"&hdr_digest=on",
		"nvme+tcp://h:8009/",
		"nvme+tcp://h/?keep_alive_tmo=5.000",
		"nvme+tcp://h/x?tos=0&mptcp=off&engine=io_uring&in_capsule=off&max_r2t=2"
		"&pcap=/a/b%26",
		"nvme+tcp://h/x?reconnect_delay=2&ctrl_loss_tmo=-1&max_reconnects=7"
		"&fast_io_fail_tmo=0.500&max_retries=0&write_hold=off&iopolicy=round-robin"
		"&duplicate_connect=on"
		"&addr_map=10.0.0.1:4420%3D127.0.0.1:5000,10.0.0.2%3D%5B::1%5D",
		"nvme+tcp://h/x?queue_paths=10.0.0.1,10.0.1.1-10.0.1.2:4421,%5B::1%5D-%5B::2%5D:1"
		"&hedge=auto",
		"nvme+tcp://h/x?hedge=0.000050",
		"nvme+tcp://h/x?hedge=2.500000",
	};

	for (size_t i = 0; i < sizeof(uris) / sizeof(uris[0]); i++) {
		struct nof_opts a, b;
		char text[1024], cut[16];
		int n;

		parse_ok(uris[i], &a);
		n = nof_uri_format(&a, text, sizeof(text));
		assert_string_equal(text, uris[i]);
		assert_int_equal(n, strlen(text));
		parse_ok(text, &b);
		assert_memory_equal(&a, &b, sizeof(a));
		assert_int_equal(nof_uri_format(&a, cut, sizeof(cut)), n);
		assert_memory_equal(cut, text, sizeof(cut) - 1);
		assert_int_equal(cut[sizeof(cut) - 1], 0);
		assert_int_equal(nof_uri_format(&a, NULL, 0), n);
	}
}

/* Whatever the bytes, it ends, and with a sentence when it fails. */
static void test_random_bytes(void **state)
{
	static const char alphabet[] = "nvme+tcp://[]:%?&=#@/0123afz-.\xc3\x01";

	for (int i = 0; i < 200000; i++) {
		char uri[64] = "nvme+tcp://";
		size_t n = random64() % 40, start = random64() % 8 ? 11 : 0;
		struct nof_opts o;

		for (size_t k = 0; k < n; k++)
			uri[start + k] = alphabet[random64() % (sizeof(alphabet) - 1)];
		uri[start + n] = '\0';
		nof_opts_init(&o);
		if (nof_uri_parse(uri, &o) < 0)
			assert_non_null(strstr(nof_strerror_detail(), "character"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_query),
		cmocka_unit_test(test_discovery_keep_alive),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_allow),
		cmocka_unit_test(test_format_round_trip),
		cmocka_unit_test(test_random_bytes),
	};

	return cmocka_run_group_tests_name("uri", tests, NULL, NULL);
}
