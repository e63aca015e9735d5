/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The option queue_paths: what it means, what is none, and who takes which entry. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/placement.h"
#include "unit.h"

static const char *text(const struct nofi_addr *a)
{
	static char buf[2][80];
	static unsigned turn;

	return a->len ? nofi_sockaddr_format((const struct sockaddr *)&a->sa, buf[turn++ & 1],
					     sizeof(buf[0])) : "";
}

static void t_parse(void **state)
{
	static const struct {
		const char *in, *from, *to;
	} good[] = {
		{ "10.0.0.1", "10.0.0.1:0", "" },
		{ "-10.0.0.2", "", "10.0.0.2:4420" },
		{ "-10.0.0.2:99", "", "10.0.0.2:99" },
		{ "10.0.0.1-10.0.0.2", "10.0.0.1:0", "10.0.0.2:4420" },
		{ "10.0.0.1-10.0.0.2:65535", "10.0.0.1:0", "10.0.0.2:65535" },
		{ "fd00::1", "[fd00::1]:0", "" },
		{ "[fd00::1]", "[fd00::1]:0", "" },
		{ "fd00::1-fd00::2", "[fd00::1]:0", "[fd00::2]:4420" },
		{ "[fd00::1]-[fd00::2]:8009", "[fd00::1]:0", "[fd00::2]:8009" },
		{ "-[fd00::2]", "", "[fd00::2]:4420" },
		{ "-fd00::2", "", "[fd00::2]:4420" },
		{ "fe80::1%lo", "[fe80::1%lo]:0", "" },
		{ "[fe80::1%lo]-[fe80::2%lo]:1", "[fe80::1%lo]:0", "[fe80::2%lo]:1" },
	};
	struct nofi_placement p;
	struct nofi_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (nofi_placement_parse(good[i].in, "4420", &p, &err) < 0)
			fail_msg("%s: %s", good[i].in, err.text);
		assert_int_equal(p.count, 1);
		assert_string_equal(text(&p.place[0].from), good[i].from);
		assert_string_equal(text(&p.place[0].to), good[i].to);
	}
	assert_int_equal(nofi_placement_parse("", "4420", &p, &err), 0);
	assert_int_equal(p.count, 0);
	assert_int_equal(nofi_placement_parse("10.0.0.1,-10.0.1.2,fd00::1-fd00::2", "1", &p, &err),
			 0);
	assert_int_equal(p.count, 3);
	assert_string_equal(text(&p.place[1].to), "10.0.1.2:1");
}

static void t_refused(void **state)
{
	static const char *const bad[][2] = {
		{ ",", "empty" },
		{ "10.0.0.1,", "empty" },
		{ ",10.0.0.1", "empty" },
		{ "-", "not a numeric address" },
		{ "host", "not a numeric address" },
		{ "10.0.0.1:4420", "not a numeric address" },
		{ "10.0.0.1-", "not a numeric address" },
		{ "10.0.0.1-10.0.0.2:", "port" },
		{ "10.0.0.1-10.0.0.2:0", "port" },
		{ "10.0.0.1-10.0.0.2:65536", "port" },
		{ "10.0.0.1-10.0.0.2:4x", "port" },
		{ "-[fd00::2]4420", "colon and a port" },
		{ "[fd00::1", "not closed" },
		{ "[fd00::1]x", "dash" },
		{ "[10.0.0.1]", "not an IPv6" },
		{ "-[fd00::2", "not closed" },
		{ "10.0.0.1-fd00::2", "the other IPv6" },
		{ "[fe80::1%nosuch]", "interface" },
	};
	struct nofi_placement p;
	char many[512] = "";
	struct nofi_err err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (nofi_placement_parse(bad[i][0], "4420", &p, &err) != -EINVAL)
			fail_msg("%s was taken", bad[i][0]);
		if (!strstr(err.text, bad[i][1]) || !strstr(err.text, "queue_paths, character"))
			fail_msg("%s: %s", bad[i][0], err.text);
	}
	for (int i = 0; i < NOFI_PLACES_MAX; i++)
		strcat(many, i ? ",10.0.0.1" : "10.0.0.1");
	assert_int_equal(nofi_placement_parse(many, "4420", &p, &err), 0);
	assert_int_equal(p.count, NOFI_PLACES_MAX);
	strcat(many, ",10.0.0.1");
	assert_int_equal(nofi_placement_parse(many, "4420", &p, &err), -EINVAL);
	assert_non_null(strstr(err.text, "more than 16"));
}

/* The sentence says where: the second entry begins at character 10. */
static void t_position(void **state)
{
	struct nofi_placement p;
	struct nofi_err err;

	(void)state;
	assert_int_equal(nofi_placement_parse("10.0.0.1,x", "4420", &p, &err), -EINVAL);
	assert_non_null(strstr(err.text, "character 10 (\"x\")"));
}

static void t_queues(void **state)
{
	struct nofi_placement p;
	struct nofi_err err;

	(void)state;
	assert_int_equal(nofi_placement_parse("10.0.0.1,10.0.1.1,10.0.2.1", "1", &p, &err), 0);
	for (uint16_t qid = 1; qid < 100; qid++) {
		bool seen[3] = { false };

		assert_int_equal(nofi_placement_of(&p, qid, 0), (qid - 1) % 3);
		for (uint32_t n = 0; n < 3; n++)
			seen[nofi_placement_of(&p, qid, n)] = true;
		assert_true(seen[0] && seen[1] && seen[2]);
	}
}

static uint32_t tries(const char *paths, uint32_t first, struct nofi_try out[NOFI_TRIES_MAX])
{
	static struct nofi_addrs target;
	struct nofi_addrs one;
	struct nofi_placement p;
	struct nofi_err err;

	target.count = 3;
	for (unsigned i = 0; i < 3; i++) {
		static const char *const names[] = { "10.0.0.9", "fd00::9", "10.0.1.9" };

		assert_int_equal(nofi_resolve_numeric(names[i], "4420", &one), 1);
		target.addr[i] = one.addr[0];
	}
	assert_int_equal(nofi_placement_parse(paths, "4420", &p, &err), 0);
	return nofi_placement_tries(&p, &target, first, out);
}

static void expect(const char *paths, uint32_t first, const char *want)
{
	struct nofi_try out[NOFI_TRIES_MAX];
	uint32_t n = tries(paths, first, out);
	char got[256] = "";

	for (uint32_t i = 0; i < n; i++)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%u/%u", i ? " " : "",
			 out[i].place, out[i].addr);
	assert_string_equal(got, want);
}

static void t_admin(void **state)
{
	(void)state;
	expect("", 0, "0/0 0/1 0/2");
	expect("", 5, "0/0 0/1 0/2");
	expect("10.0.0.1,10.0.1.1", 0, "0/0 1/0 0/2 1/2");
	expect("10.0.0.1,10.0.1.1", 1, "1/0 0/0 1/2 0/2");
	expect("10.0.0.1,10.0.1.1", 2, "0/0 1/0 0/2 1/2");
	expect("-10.0.0.2,-10.0.1.2", 1, "1/0 0/0");
	expect("fd00::1", 0, "0/1");
	expect("10.0.0.1,fd00::1", 0, "0/0 1/1 0/2");
	expect("-10.0.0.2,10.0.1.1", 0, "0/0 1/0 1/2");
}

static void t_family(void **state)
{
	struct nofi_placement p;
	struct nofi_addrs target = { .count = 2 }, one;
	struct nofi_err err;

	(void)state;
	assert_int_equal(nofi_resolve_numeric("10.0.0.9", "1", &one), 1);
	target.addr[0] = one.addr[0];
	assert_int_equal(nofi_resolve_numeric("fd00::9", "1", &one), 1);
	target.addr[1] = one.addr[0];
	assert_int_equal(nofi_placement_parse("fd00::1,10.0.0.1,-10.0.5.5", "7", &p, &err), 0);
	assert_ptr_equal(nofi_place_to(&p.place[0], &target, 0), &target.addr[1]);
	assert_ptr_equal(nofi_place_to(&p.place[1], &target, 1), &target.addr[0]);
	assert_ptr_equal(nofi_place_to(&p.place[2], &target, 1), &p.place[2].to);
	target.count = 1;
	assert_ptr_equal(nofi_place_to(&p.place[0], &target, 0), &target.addr[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t_parse),	cmocka_unit_test(t_refused),
		cmocka_unit_test(t_position),	cmocka_unit_test(t_queues),
		cmocka_unit_test(t_admin),	cmocka_unit_test(t_family),
	};

	return cmocka_run_group_tests_name("placement", tests, NULL, NULL);
}
