/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options: defaults, limits of every key, structs of other sizes, what nof_ctrl_new() refuses. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "nof.h"
#include "opts.h"

static void test_defaults(void **state)
{
	struct nof_opts o;

	memset(&o, 0xff, sizeof(o));
	nof_opts_init(&o);
	assert_int_equal(o.size, sizeof(o));
	assert_int_equal(o.queue_size, 128);
	assert_int_equal(o.keep_alive_tmo_ms, 5000);
	assert_int_equal(o.connect_timeout_ms, 10000);
	assert_int_equal(o.admin_timeout_ms, 60000);
	assert_int_equal(o.io_timeout_ms, 30000);
	assert_int_equal(o.max_r2t, 4);
	assert_int_equal(o.tos, -1);
	assert_int_equal(o.so_priority, -1);
	assert_int_equal(o.so_mark, 0);
	assert_int_equal(o.sndbuf, 0);
	assert_int_equal(o.tcp_keepalive_ms, 0);
	assert_int_equal(o.rto_min_us, 0);
	assert_true(o.in_capsule);
	assert_int_equal(o.mptcp, NOF_MPTCP_PREFER);
	assert_string_equal(o.hostnqn, "");
	assert_int_equal(o.reconnect_delay_ms, 10000);
	assert_int_equal(o.ctrl_loss_tmo_ms, 600000);
	assert_int_equal(o.max_reconnects, -1);
	assert_int_equal(o.fast_io_fail_tmo_ms, -1);
	assert_int_equal(o.max_retries, 5);
	assert_int_equal(o.write_hold_ms, -1);
	assert_int_equal(o.iopolicy, NOF_IOPOLICY_NUMA);
	assert_false(o.duplicate_connect);
	assert_string_equal(o.addr_map, "");
	assert_string_equal(o.queue_paths, "");
	assert_int_equal(o.hedge_us, -1);
}

/* Every listed key is known to the setter, and to nobody else. */
static void test_keys(void **state)
{
	struct nof_opts o;
	size_t n = 0;

	nof_opts_init(&o);
	for (const char *const *k = nof_opts_keys(); *k; k++, n++) {
		assert_int_equal(nof_opts_set(&o, *k, "\x01"),
				 strstr(*k, "host") || !strcmp(*k, "pcap") ||
				 !strcmp(*k, "congestion") ? 0 : -EINVAL);
		assert_null(strstr(nof_strerror_detail(), "unknown key"));
	}
	assert_int_equal(n, 38);
	assert_int_equal(nof_opts_set(&o, "reconnect", "1"), -EINVAL);
	assert_non_null(strstr(nof_strerror_detail(), "unknown key \"reconnect\""));
	assert_non_null(strstr(nof_strerror_detail(), "the nearest one is reconnect_delay, "));
}

static void test_limits(void **state)
{
	static const struct {
		const char *key, *value;
		int r;
	} t[] = {
		{ "nr_io_queues", "0", 0 },
		{ "nr_io_queues", "1024", 0 },
		{ "nr_io_queues", "1025", -EINVAL },
		{ "nr_io_queues", "4294967297", -EINVAL },
		{ "nr_io_queues", "", -EINVAL },
		{ "nr_io_queues", " 1", -EINVAL },
		{ "nr_io_queues", "+1", -EINVAL },
		{ "queue_size", "0", -EINVAL },
		{ "queue_size", "2", 0 },
		{ "queue_size", "1024", 0 },
		{ "queue_size", "1025", -EINVAL },
		{ "keep_alive_tmo", "0", 0 },
		{ "keep_alive_tmo", "0.099", -EINVAL },
		{ "keep_alive_tmo", "0.1", 0 },
		{ "keep_alive_tmo", "86400", 0 },
		{ "keep_alive_tmo", "86400.001", -EINVAL },
		{ "keep_alive_tmo", ".", -EINVAL },
		{ "keep_alive_tmo", ".5", 0 },
		{ "keep_alive_tmo", "1,5", -EINVAL },
		{ "connect_timeout", "0", -EINVAL },
		{ "connect_timeout", "0.001", 0 },
		{ "connect_timeout", "0.0001", -EINVAL },
		{ "admin_timeout", "-1", -EINVAL },
		{ "reconnect_delay", "0", -EINVAL },
		{ "reconnect_delay", "0.01", 0 },
		{ "ctrl_loss_tmo", "0", 0 },
		{ "ctrl_loss_tmo", "-1", 0 },
		{ "ctrl_loss_tmo", "-2", -EINVAL },
		{ "ctrl_loss_tmo", "off", -EINVAL },
		{ "ctrl_loss_tmo", "1728000", 0 },
		{ "ctrl_loss_tmo", "1728000.001", -EINVAL },
		{ "max_reconnects", "0", 0 },
		{ "max_reconnects", "-1", 0 },
		{ "max_reconnects", "1000001", -EINVAL },
		{ "fast_io_fail_tmo", "0", 0 },
		{ "fast_io_fail_tmo", "0.5", 0 },
		{ "fast_io_fail_tmo", "off", 0 },
		{ "fast_io_fail_tmo", "-1", 0 },
		{ "max_retries", "0", 0 },
		{ "max_retries", "255", 0 },
		{ "max_retries", "256", -EINVAL },
		{ "write_hold", "auto", 0 },
		{ "write_hold", "off", 0 },
		{ "write_hold", "0.25", 0 },
		{ "write_hold", "on", -EINVAL },
		{ "iopolicy", "service-time", 0 },
		{ "iopolicy", "fast", -EINVAL },
		{ "duplicate_connect", "on", 0 },
		{ "duplicate_connect", "1", -EINVAL },
		{ "tos", "0", 0 },
		{ "tos", "255", 0 },
		{ "tos", "-1", -EINVAL },
		{ "congestion", "dctcp", 0 },
		{ "congestion", "sixteen-letters-", -EINVAL },
		{ "priority", "0", 0 },
		{ "priority", "65552", 0 },
		{ "priority", "2147483648", -EINVAL },
		{ "mark", "4294967295", 0 },
		{ "mark", "4294967296", -EINVAL },
		{ "sndbuf", "0", 0 },
		{ "sndbuf", "4095", -EINVAL },
		{ "sndbuf", "4k", 0 },
		{ "sndbuf", "1024m", 0 },
		{ "sndbuf", "1025M", -EINVAL },
		{ "rcvbuf", "64kb", -EINVAL },
		{ "rcvbuf", "k", -EINVAL },
		{ "rcvbuf", "", -EINVAL },
		{ "rcvbuf", "00000000000000004096", -EINVAL },
		{ "tcp_keepalive", "0", 0 },
		{ "tcp_keepalive", "0.9", -EINVAL },
		{ "tcp_keepalive", "2.5", 0 },
		{ "rto_min", "0", 0 },
		{ "rto_min", "0.005", 0 },
		{ "rto_min", "0.2", 0 },
		{ "rto_min", "0.0019", -EINVAL },
		{ "rto_min", "0.3", -EINVAL },
		{ "rto_min", "auto", -EINVAL },
		{ "max_r2t", "0", -EINVAL },
		{ "max_r2t", "4", 0 },
		{ "max_r2t", "5", -EINVAL },
		{ "mptcp", "on", -EINVAL },
		{ "mptcp", "off", 0 },
		{ "mptcp", "OFF", -EINVAL },
		{ "engine", "auto", 0 },
		{ "engine", "", -EINVAL },
		{ "host_iface", "123456789012345", 0 },
		{ "host_iface", "1234567890123456", -EINVAL },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct nof_opts o;

		nof_opts_init(&o);
		if (nof_opts_set(&o, t[i].key, t[i].value) != t[i].r)
			fail_msg("%s=%s: expected %d", t[i].key, t[i].value, t[i].r);
		if (t[i].r)
			assert_non_null(strstr(nof_strerror_detail(), t[i].key));
	}
}

/* Words stand for numbers, and are what a URI is written with. */
static void test_words(void **state)
{
	static const struct {
		const char *key, *value, *uri;
		size_t offset;
		int32_t number;
	} t[] = {
		{ "ctrl_loss_tmo", "-1", "-1", offsetof(struct nof_opts, ctrl_loss_tmo_ms), -1 },
		{ "ctrl_loss_tmo", "0", "0", offsetof(struct nof_opts, ctrl_loss_tmo_ms), 0 },
		{ "ctrl_loss_tmo", "1.5", "1.500", offsetof(struct nof_opts, ctrl_loss_tmo_ms),
		  1500 },
		{ "ctrl_loss_tmo", "600", NULL, offsetof(struct nof_opts, ctrl_loss_tmo_ms),
		  600000 },
		{ "max_reconnects", "3", "3", offsetof(struct nof_opts, max_reconnects), 3 },
		{ "max_reconnects", "-1", NULL, offsetof(struct nof_opts, max_reconnects), -1 },
		{ "fast_io_fail_tmo", "off", NULL, offsetof(struct nof_opts, fast_io_fail_tmo_ms),
		  -1 },
		{ "fast_io_fail_tmo", "0", "0", offsetof(struct nof_opts, fast_io_fail_tmo_ms), 0 },
		{ "write_hold", "auto", NULL, offsetof(struct nof_opts, write_hold_ms), -1 },
		{ "write_hold", "-1", NULL, offsetof(struct nof_opts, write_hold_ms), -1 },
		{ "write_hold", "off", "off", offsetof(struct nof_opts, write_hold_ms), 0 },
		{ "write_hold", "0", "off", offsetof(struct nof_opts, write_hold_ms), 0 },
		{ "iopolicy", "queue-depth", "queue-depth", offsetof(struct nof_opts, iopolicy),
		  NOF_IOPOLICY_QUEUE_DEPTH },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char uri[128], want[128];
		struct nof_opts o;
		int32_t v;

		nof_opts_init(&o);
		strcpy(o.traddr, "h");
		strcpy(o.subnqn, "x");
		assert_int_equal(nof_opts_set(&o, t[i].key, t[i].value), 0);
		memcpy(&v, (char *)&o + t[i].offset, sizeof(v));
		if (v != t[i].number)
			fail_msg("%s=%s is %d", t[i].key, t[i].value, v);
		snprintf(want, sizeof(want), "nvme+tcp://h/x%s%s%s%s", t[i].uri ? "?" : "",
			 t[i].uri ? t[i].key : "", t[i].uri ? "=" : "", t[i].uri ? t[i].uri : "");
		nof_uri_format(&o, uri, sizeof(uri));
		assert_string_equal(uri, want);
	}
}

/* A program built with an older header has a shorter struct: nothing behind it is touched. */
static void test_short_struct(void **state)
{
	struct nof_opts o;
	size_t size = offsetof(struct nof_opts, pcap);

	memset(&o, 0xaa, sizeof(o));
	nof_opts_init_sized(&o, size);
	assert_int_equal(nof_opts_set(&o, "pcap", "x"), -EINVAL);
	assert_int_equal(nof_opts_set(&o, "tos", "3"), 0);
	assert_int_equal(nof_uri_parse("nvme+tcp://h/x?tos=4", &o), 0);
	assert_int_equal(o.tos, 4);
	for (size_t i = size; i < sizeof(o); i++)
		assert_int_equal(((uint8_t *)&o)[i], 0xaa);
}

static void test_resolve(void **state)
{
	struct nof_opts o, r;
	struct nofi_err err;

	nof_opts_init(&o);
	assert_int_equal(nofi_opts_resolve(&o, &r, &err), -EINVAL);
	assert_non_null(strstr(err.text, "traddr"));
	strcpy(o.traddr, "h");
	assert_int_equal(nofi_opts_resolve(&o, &r, &err), 0);
	assert_string_equal(r.subnqn, NOF_DISCOVERY_NQN);
	assert_string_equal(r.trsvcid, "8009");
	assert_in_range(r.nr_io_queues, 1, NOFI_IO_QUEUES_LIMIT);
	strcpy(o.subnqn, "x");
	assert_int_equal(nofi_opts_resolve(&o, &r, &err), 0);
	assert_string_equal(r.trsvcid, "4420");
}

/* A struct filled field by field, not through the setter. */
static void test_bad_fields(void **state)
{
	struct nof_opts good, o, r;
	struct nofi_err err;

	nof_opts_init(&good);
	strcpy(good.traddr, "h");
#define REFUSED(change, word) do { \
		o = good; \
		change; \
		memset(&err, 0, sizeof(err)); \
		assert_int_equal(nofi_opts_resolve(&o, &r, &err), -EINVAL); \
		assert_non_null(strstr(err.text, word)); \
	} while (0)
	REFUSED(o.size = 0, "nof_opts_init");
	REFUSED(memset(o.traddr, 'x', sizeof(o.traddr)), "traddr");
	REFUSED(memset(o.pcap, 'x', sizeof(o.pcap)), "pcap");
	REFUSED(strcpy(o.subnqn, "a\nb"), "control");
	REFUSED(strcpy(o.trsvcid, "70000"), "port");
	REFUSED(strcpy(o.trsvcid, "http"), "port");
	REFUSED(strcpy(o.ns, "x"), "namespace");
	REFUSED(strcpy(o.hostnqn, "me"), "hostnqn");
	REFUSED(strcpy(o.hostid, "1"), "hostid");
	REFUSED(o.queue_size = 1, "queue_size");
	REFUSED(o.nr_io_queues = 100000, "nr_io_queues");
	REFUSED(o.connect_timeout_ms = 0, "connect_timeout");
	REFUSED(o.io_timeout_ms = UINT32_MAX, "io_timeout");
	REFUSED(o.keep_alive_tmo_ms = 1, "keep_alive_tmo");
	REFUSED(o.hdr_digest = (enum nof_switch)7, "hdr_digest");
	REFUSED(o.mptcp = (enum nof_mptcp)-1, "mptcp");
	REFUSED(o.max_r2t = 5, "max_r2t");
	REFUSED(o.tos = -2, "tos");
	REFUSED(o.reconnect_delay_ms = 0, "reconnect_delay");
	REFUSED(o.ctrl_loss_tmo_ms = -2, "ctrl_loss_tmo");
	REFUSED(o.max_reconnects = -2, "max_reconnects");
	REFUSED(o.fast_io_fail_tmo_ms = -7, "fast_io_fail_tmo");
	REFUSED(o.max_retries = 1000, "max_retries");
	REFUSED(o.write_hold_ms = -3, "write_hold");
	REFUSED(o.iopolicy = (enum nof_iopolicy)9, "iopolicy");
	REFUSED(memset(o.addr_map, 'x', sizeof(o.addr_map)), "addr_map");
	REFUSED(strcpy(o.queue_paths, "10.0.0.1,"), "queue_paths");
	REFUSED(o.hedge_us = 49, "hedge");
	REFUSED(o.hedge_us = 60000001, "hedge");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_short_struct),
		cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_bad_fields),
	};

	return cmocka_run_group_tests_name("opts", tests, NULL, NULL);
}
