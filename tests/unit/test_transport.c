/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is said of connections: which subflow is stale, shares, and the sum of several. */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

#include "ctrl/ctrl.h"

/* A subflow that is well: everything acknowledged, heard from a moment ago. */
static const struct nofi_subflow_info well = {
	.rto_us = 200000, .rtt_us = 1000, .cwnd = 10, .last_ack_ms = 5, .last_data_ms = 5,
};

static struct nofi_sock_info two(void)
{
	struct nofi_sock_info si = { .proto.is_mptcp = true, .subflow_count = 2 };

	si.subflows[0] = well;
	si.subflows[1] = well;
	return si;
}

/* Sent something ms ago and was not heard of since; backoff timers have run out. */
static void cut(struct nofi_subflow_info *s, uint32_t ms, uint8_t backoff)
{
	s->unacked = 3;
	s->backoff = backoff;
	s->rto_us = 200000u << backoff;
	s->last_ack_ms = ms;
	s->last_data_ms = ms;
}

static void test_stale(void **state)
{
	struct nofi_sock_info si = two();

	assert_false(nofi_subflow_is_stale(&si, 0));
	cut(&si.subflows[0], 650, 2);
	assert_true(nofi_subflow_is_stale(&si, 0));
	assert_false(nofi_subflow_is_stale(&si, 1));
	assert_false(nofi_subflow_is_stale(&si, 2));
	assert_false(nofi_subflow_is_stale(&si, 77));

	/* Cut off locally: the timer is not backed off, the kernel says loss. */
	si = two();
	cut(&si.subflows[1], 900, 0);
	assert_false(nofi_subflow_is_stale(&si, 1));
	si.subflows[1].ca_state = NOFI_CA_LOSS;
	assert_true(nofi_subflow_is_stale(&si, 1));

	/* Also when the connection has been idle since: what counts is who was heard of later. */
	si = two();
	cut(&si.subflows[0], 60000, 6);
	si.subflows[1].last_ack_ms = si.subflows[1].last_data_ms = 50000;
	assert_true(nofi_subflow_is_stale(&si, 0));
}

static void test_not_stale(void **state)
{
	struct nofi_sock_info si = two();

	/* One time-out is what every lost tail costs. */
	cut(&si.subflows[0], 250, 1);
	assert_false(nofi_subflow_is_stale(&si, 0));
	/* Slow, but acknowledged in between. */
	cut(&si.subflows[0], 100, 3);
	assert_false(nofi_subflow_is_stale(&si, 0));
	/* Nothing is on its way. */
	cut(&si.subflows[0], 10000, 5);
	si.subflows[0].unacked = 0;
	assert_false(nofi_subflow_is_stale(&si, 0));
	/* Both are silent: it is the target. */
	cut(&si.subflows[0], 1500, 3);
	cut(&si.subflows[1], 1500, 3);
	assert_false(nofi_subflow_is_stale(&si, 0));
	assert_false(nofi_subflow_is_stale(&si, 1));
	/* The other is quiet as well, and had nothing to send. */
	si.subflows[1] = well;
	si.subflows[1].last_ack_ms = si.subflows[1].last_data_ms = 1450;
	assert_false(nofi_subflow_is_stale(&si, 0));
	/* There is no other. */
	si.subflow_count = 1;
	assert_false(nofi_subflow_is_stale(&si, 0));
}

/* Whatever the kernel may say: no shift that is too wide, nothing behind the array. */
static void test_wild_numbers(void **state)
{
	struct nofi_sock_info si;
	struct nof_transport t;
	unsigned i, k;

	for (i = 0; i < 20000; i++) {
		random_fill(&si, sizeof(si));
		memset(&si.proto, 0, sizeof(si.proto));
		for (k = 0; k < NOFI_SUBFLOWS_MAX; k++)
			si.subflows[k].is_backup = k & 1;
		for (k = 0; k < NOFI_SUBFLOWS_MAX + 2; k++)
			(void)nofi_subflow_is_stale(&si, k);
		nofi_transport_from(&si, 1, &t);
		for (k = 0; k < NOF_SUBFLOWS_MAX && k < t.subflow_count; k++)
			assert_true(t.subflows[k].state <= NOF_SUBFLOW_STALE);
	}
}

static void set_addr(struct sockaddr_storage *ss, const char *addr, uint16_t port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ss;

	memset(ss, 0, sizeof(*ss));
	in->sin_family = AF_INET;
	in->sin_port = htons(port);
	assert_int_equal(inet_pton(AF_INET, addr, &in->sin_addr), 1);
}

static void test_from(void **state)
{
	struct nofi_sock_info si = two();
	struct nof_transport t;

	set_addr(&si.subflows[0].local, "10.0.1.1", 1000);
	set_addr(&si.subflows[0].peer, "10.0.1.2", 4420);
	set_addr(&si.subflows[1].local, "10.0.2.1", 1001);
	set_addr(&si.subflows[1].peer, "10.0.2.2", 4420);
	si.subflows[0].bytes_sent = 100;
	si.subflows[0].bytes_received = 200;
	si.subflows[1].bytes_received = 600;
	si.subflows[1].is_backup = true;
	si.subflows[1].id = 2;
	si.token = 0xabcd;
	snprintf(si.proto.note, sizeof(si.proto.note), "a note");
	nofi_transport_from(&si, 3, &t);
	assert_int_equal(t.qid, 3);
	assert_true(t.is_mptcp);
	assert_int_equal(t.connections, 1);
	assert_int_equal(t.mptcp_connections, 1);
	assert_int_equal(t.token, 0xabcd);
	assert_string_equal(t.note, "a note");
	assert_string_equal(t.subflows[0].local, "10.0.1.1:1000");
	assert_string_equal(t.subflows[1].peer, "10.0.2.2:4420");
	assert_int_equal(t.subflows[0].share_permille, 333);
	assert_int_equal(t.subflows[1].share_permille, 667);
	assert_int_equal(t.subflows[0].state, NOF_SUBFLOW_ACTIVE);
	assert_int_equal(t.subflows[1].state, NOF_SUBFLOW_BACKUP);
	assert_int_equal(t.subflows[1].id, 2);
	assert_int_equal(t.subflows[0].rto_us, 200000);
	assert_int_equal(t.subflows[0].cwnd, 10);

	/* Stale tells more than backup; a sole backup is what carries the data. */
	cut(&si.subflows[1], 700, 2);
	nofi_transport_from(&si, 3, &t);
	assert_int_equal(t.subflows[1].state, NOF_SUBFLOW_STALE);
	si.subflows[0] = si.subflows[1];
	si.subflow_count = 1;
	nofi_transport_from(&si, 3, &t);
	assert_int_equal(t.subflows[0].state, NOF_SUBFLOW_ACTIVE);
	assert_int_equal(t.subflows[0].share_permille, 1000);

	/* More than there is room for: all are counted. */
	si = two();
	si.subflow_count = 300;
	nofi_transport_from(&si, 3, &t);
	assert_int_equal(t.subflow_count, 300);
	assert_int_equal(t.subflows[7].share_permille, 0);
}

static void test_permille(void **state)
{
	assert_int_equal(nofi_permille(0, 0), 0);
	assert_int_equal(nofi_permille(1, 3), 333);
	assert_int_equal(nofi_permille(2, 3), 667);
	assert_int_equal(nofi_permille(7, 7), 1000);
	assert_int_equal(nofi_permille(UINT64_MAX, UINT64_MAX), 1000);
	assert_int_equal(nofi_permille(UINT64_MAX / 4, UINT64_MAX), 250);
	/* Counters that do not fit together stay a number, whatever it is. */
	(void)nofi_permille(UINT64_MAX, 1);
}

static struct nof_transport connection(uint16_t qid, const char *a, const char *b)
{
	struct nof_transport t = { .size = sizeof(t), .qid = qid, .is_mptcp = true,
				   .connections = 1, .mptcp_connections = 1, .subflow_count = 2 };

	snprintf(t.subflows[0].local, sizeof(t.subflows[0].local), "%s:%u", a, 1000u + qid);
	snprintf(t.subflows[0].peer, sizeof(t.subflows[0].peer), "10.9.0.2:4420");
	snprintf(t.subflows[1].local, sizeof(t.subflows[1].local), "%s:%u", b, 2000u + qid);
	snprintf(t.subflows[1].peer, sizeof(t.subflows[1].peer), "[fd00::2]:4420");
	for (unsigned i = 0; i < 2; i++) {
		t.subflows[i].bytes_sent = 100 * (i + 1);
		t.subflows[i].bytes_received = 1000 * (i + 1);
		t.subflows[i].retransmits = i + 1;
		t.subflows[i].rtt_us = 100 * qid;
		t.subflows[i].rto_us = 1000 * qid;
		t.subflows[i].cwnd = 10;
		t.bytes_sent += t.subflows[i].bytes_sent;
		t.bytes_received += t.subflows[i].bytes_received;
		t.retransmits += t.subflows[i].retransmits;
	}
	return t;
}

static void test_sum(void **state)
{
	struct nof_transport list[2], sum = { .size = sizeof(sum) };

	list[0] = connection(1, "10.9.0.1", "[fd00::1]");
	list[1] = connection(3, "10.9.0.1", "[fd00::1]");
	list[1].subflows[1].state = NOF_SUBFLOW_BACKUP;
	assert_int_equal(nof_transport_sum(list, 2, &sum), 0);
	assert_true(sum.is_mptcp);
	assert_int_equal(sum.size, sizeof(sum));
	assert_int_equal(sum.connections, 2);
	assert_int_equal(sum.mptcp_connections, 2);
	assert_int_equal(sum.subflow_count, 2);
	assert_int_equal(sum.bytes_sent, 600);
	assert_int_equal(sum.bytes_received, 6000);
	assert_int_equal(sum.retransmits, 6);
	assert_string_equal(sum.subflows[0].local, "10.9.0.1");
	assert_string_equal(sum.subflows[0].peer, "10.9.0.2");
	assert_string_equal(sum.subflows[1].local, "fd00::1");
	assert_string_equal(sum.subflows[1].peer, "fd00::2");
	assert_int_equal(sum.subflows[0].bytes_received, 2000);
	assert_int_equal(sum.subflows[0].share_permille, 333);
	assert_int_equal(sum.subflows[1].share_permille, 667);
	assert_int_equal(sum.subflows[1].retransmits, 4);
	assert_int_equal(sum.subflows[0].rtt_us, 200);
	assert_int_equal(sum.subflows[0].rto_us, 2000);
	assert_int_equal(sum.subflows[0].cwnd, 20);
	assert_int_equal(sum.subflows[1].state, NOF_SUBFLOW_ACTIVE);

	list[0].subflows[1].state = NOF_SUBFLOW_BACKUP;
	assert_int_equal(nof_transport_sum(list, 2, &sum), 0);
	assert_int_equal(sum.subflows[1].state, NOF_SUBFLOW_BACKUP);
	list[0].subflows[0].state = NOF_SUBFLOW_STALE;
	assert_int_equal(nof_transport_sum(list, 2, &sum), 0);
	assert_int_equal(sum.subflows[0].state, NOF_SUBFLOW_STALE);

	/* One of them is TCP: so the whole is not MPTCP, and says why. */
	list[1].is_mptcp = false;
	list[1].mptcp_connections = 0;
	strcpy(list[1].reason, "because");
	assert_int_equal(nof_transport_sum(list, 2, &sum), 0);
	assert_false(sum.is_mptcp);
	assert_int_equal(sum.mptcp_connections, 1);
	assert_string_equal(sum.reason, "because");

	/* A sum can be added up again, and nothing to nothing. */
	list[0] = sum;
	assert_int_equal(nof_transport_sum(list, 1, &sum), 0);
	assert_memory_equal(&list[0], &sum, sizeof(sum));
	assert_int_equal(nof_transport_sum(NULL, 0, &sum), 0);
	assert_false(sum.is_mptcp);
	assert_int_equal(sum.connections, 0);
}

/* More pairs of addresses than there is room for: every one is counted, once at least. */
static void test_sum_of_many(void **state)
{
	struct nof_transport list[12], sum = { .size = sizeof(sum) };
	char a[32], b[32];

	for (unsigned i = 0; i < 12; i++) {
		snprintf(a, sizeof(a), "10.1.0.%u", i);
		snprintf(b, sizeof(b), "[fd00:1::%u]", i);
		list[i] = connection((uint16_t)i, a, b);
	}
	assert_int_equal(nof_transport_sum(list, 12, &sum), 0);
	assert_int_equal(sum.subflow_count, 24);
	assert_int_equal(sum.bytes_sent, 12 * 300);
}

/* Of a program that knows a shorter structure: its distance, and nothing written behind it. */
static void test_sizes(void **state)
{
	const size_t old = offsetof(struct nof_transport, note);
	struct nof_transport one = connection(1, "10.9.0.1", "10.9.0.3");
	_Alignas(struct nof_transport) char bytes[2 * sizeof(struct nof_transport)];
	struct nof_transport sum;

	memset(bytes, 0xee, sizeof(bytes));
	one.size = old;
	memcpy(bytes, &one, old);
	memcpy(bytes + old, &one, old);
	memset(&sum, 0xdd, sizeof(sum));
	sum.size = old;
	assert_int_equal(nof_transport_sum((const struct nof_transport *)bytes, 2, &sum), 0);
	assert_int_equal(sum.bytes_sent, 600);
	assert_int_equal(sum.subflows[1].bytes_sent, 400);
	assert_int_equal((unsigned char)sum.note[0], 0xdd);
	assert_int_equal(sum.size, old);

	assert_int_equal(nof_transport_sum(NULL, 1, &sum), -EINVAL);
	assert_int_equal(nof_transport_sum(&one, 1, NULL), -EINVAL);
	sum.size = 2;
	assert_int_equal(nof_transport_sum(&one, 1, &sum), -EINVAL);
	assert_int_equal(nof_ctrl_get_transports(NULL, NULL, 0), -EINVAL);
	assert_string_equal(nof_subflow_state_name(NOF_SUBFLOW_STALE), "stale");
	assert_string_equal(nof_subflow_state_name(NOF_SUBFLOW_BACKUP), "backup");
	assert_string_equal(nof_subflow_state_name((enum nof_subflow_state)77), "unknown");
}

struct news {
	unsigned count;
	enum nofi_transport_news what[32];
	char local[32][64];
};

static void note(void *arg, const struct nof_transport *t, enum nofi_transport_news what,
		 const struct nof_subflow *s)
{
	struct news *n = arg;

	assert_true(n->count < 32);
	n->what[n->count] = what;
	snprintf(n->local[n->count++], sizeof(n->local[0]), "%s", s ? s->local : "");
}

static struct news diff(const struct nof_transport *old, const struct nof_transport *now)
{
	struct news n = { 0 };

	nofi_transport_diff(old, now, note, &n);
	return n;
}

static void test_news(void **state)
{
	struct nof_transport old = connection(1, "10.9.0.1", "10.9.1.1"), now = old;
	struct news n;

	/* Seen for the first time: what came beside the first. */
	n = diff(NULL, &now);
	assert_int_equal(n.count, 1);
	assert_int_equal(n.what[0], NOFI_NEWS_CAME);
	assert_string_equal(n.local[0], "10.9.1.1:2001");
	n = diff(&old, &now);
	assert_int_equal(n.count, 0);

	/* The same of another connection of this queue, whose ports are others. */
	now = connection(2, "10.9.0.1", "10.9.1.1");
	now.token = 5;
	n = diff(&old, &now);
	assert_int_equal(n.count, 1);
	assert_int_equal(n.what[0], NOFI_NEWS_CAME);

	now = old;
	now.subflow_count = 1;
	n = diff(&old, &now);
	assert_int_equal(n.count, 1);
	assert_int_equal(n.what[0], NOFI_NEWS_WENT);
	assert_string_equal(n.local[0], "10.9.1.1:2001");
	n = diff(&now, &old);
	assert_int_equal(n.count, 1);
	assert_int_equal(n.what[0], NOFI_NEWS_CAME);

	/* The first went, and the other takes its place in the list. */
	now.subflows[0] = old.subflows[1];
	n = diff(&old, &now);
	assert_int_equal(n.count, 1);
	assert_int_equal(n.what[0], NOFI_NEWS_WENT);
	assert_string_equal(n.local[0], "10.9.0.1:1001");

	now = old;
	now.subflows[0].state = NOF_SUBFLOW_STALE;
	now.subflows[1].bytes_sent++;
	n = diff(&old, &now);
	assert_int_equal(n.count, 1);
	assert_int_equal(n.what[0], NOFI_NEWS_STATE);
	assert_string_equal(n.local[0], "10.9.0.1:1001");
}

static void test_news_of_fallback(void **state)
{
	struct nof_transport old = connection(1, "10.9.0.1", "10.9.1.1"), now = old;
	struct news n;

	now.is_mptcp = false;
	now.subflow_count = 1;
	now.token = 0;
	n = diff(&old, &now);
	assert_int_equal(n.count, 1);
	assert_int_equal(n.what[0], NOFI_NEWS_FALLBACK);
	n = diff(NULL, &now);
	assert_int_equal(n.count, 0);
	n = diff(&now, &now);
	assert_int_equal(n.count, 0);
	/* And back, by a new connection. */
	n = diff(&now, &old);
	assert_int_equal(n.count, 1);
	assert_int_equal(n.what[0], NOFI_NEWS_CAME);

	/* More than can be described: nothing is guessed. */
	old.subflow_count = 20;
	now = connection(9, "10.8.0.1", "10.8.1.1");
	now.subflow_count = 21;
	n = diff(&old, &now);
	assert_int_equal(n.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stale),
		cmocka_unit_test(test_not_stale),
		cmocka_unit_test(test_wild_numbers),
		cmocka_unit_test(test_from),
		cmocka_unit_test(test_permille),
		cmocka_unit_test(test_sum),
		cmocka_unit_test(test_sum_of_many),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_news),
		cmocka_unit_test(test_news_of_fallback),
	};

	return cmocka_run_group_tests_name("transport", tests, NULL, NULL);
}
