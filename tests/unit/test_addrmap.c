/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The option addr_map: what matches, what it becomes, and what is no map. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "ctrl/addrmap.h"

static void maps(const char *map, const char *addr, const char *port, const char *to,
		 const char *to_port)
{
	struct nofi_err err = { 0 };
	char a[256], p[32];

	snprintf(a, sizeof(a), "%s", addr);
	snprintf(p, sizeof(p), "%s", port);
	if (nofi_addrmap_check(map, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(nofi_addrmap_apply(map, a, sizeof(a), p, sizeof(p)), to != NULL);
	assert_string_equal(a, to ? to : addr);
	assert_string_equal(p, to ? to_port : port);
}

static void test_matches(void **state)
{
	maps("", "10.0.0.1", "4420", NULL, NULL);
	maps("10.0.0.1=192.0.2.1", "10.0.0.1", "4420", "192.0.2.1", "4420");
	maps("10.0.0.1=192.0.2.1", "10.0.0.2", "4420", NULL, NULL);
	maps("10.0.0.1=192.0.2.1:5", "10.0.0.1", "4420", "192.0.2.1", "5");
	maps("10.0.0.1:4420=192.0.2.1:5", "10.0.0.1", "4420", "192.0.2.1", "5");
	maps("10.0.0.1:4420=192.0.2.1:5", "10.0.0.1", "4421", NULL, NULL);
	maps("10.0.0.1:4421=[::1]:6,10.0.0.1=192.0.2.1:7", "10.0.0.1", "4421", "::1", "6");
	maps("10.0.0.1:4421=[::1]:6,10.0.0.1=192.0.2.1:7", "10.0.0.1", "1", "192.0.2.1", "7");
	maps("10.0.0.1=10.0.0.2,10.0.0.2=10.0.0.3", "10.0.0.1", "1", "10.0.0.2", "1");
	maps("10.0.0.1=a,10.0.0.1=b,", "10.0.0.1", "1", "a", "1");
	maps("[2001:db8::1]=gate.example.org:14420", "2001:db8:0:0::1", "4420",
	     "gate.example.org", "14420");
	maps("[2001:db8:0::1]:4420=[fd00::2]", "2001:db8::1", "4420", "fd00::2", "4420");
	maps("[::1]=127.0.0.1", "127.0.0.1", "4420", NULL, NULL);
}

static void test_faults(void **state)
{
	static const char *const bad[][2] = {
		{ "x", "ADDR[:PORT]=ADDR" }, { "=", "missing" }, { "10.0.0.1=", "missing" },
		{ "=10.0.0.1", "missing" }, { "host=10.0.0.1", "numeric" },
		{ "10.0.0.1:=10.0.0.2", "port" }, { "10.0.0.1:0=10.0.0.2", "port" },
		{ "10.0.0.1:65536=10.0.0.2", "port" }, { "10.0.0.1:1x=10.0.0.2", "port" },
		{ "fd00::1=10.0.0.2", "brackets" }, { "[fd00::1=10.0.0.2", "closed" },
		{ "[10.0.0.1]=10.0.0.2", "not an IPv6" }, { "[fd00::1]x=10.0.0.2", "bracket" },
		{ "10.0.0.1=10.0.0.2=10.0.0.3", "neither" }, { "10.0.0.1=a b", "neither" },
		{ "10.0.0.1=fd00::1", "brackets" }, { "10.0.0.1=10.0.0.2,,", "ADDR[:PORT]=ADDR" },
	};
	struct nofi_err err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(nofi_addrmap_check(bad[i][0], &err), -EINVAL);
		if (!strstr(err.text, bad[i][1]) || !strstr(err.text, "addr_map, character"))
			fail_msg("%s: %s", bad[i][0], err.text);
	}
	assert_int_equal(nofi_addrmap_check("10.0.0.1=10.0.0.2,10.0.0.1:0=::1", &err), -EINVAL);
	assert_non_null(strstr(err.text, "character 19 "));
}

/* Neither end is left, nothing is written beyond, whatever the text. */
static void test_random_bytes(void **state)
{
	static const char alphabet[] = "10.:[]=,af%0123456789x";

	struct guarded g = guarded_new(48);

	for (int i = 0; i < 300000; i++) {
		char *map = (char *)g.end - 48, a[16] = "10.0.0.1", p[6] = "4420";
		size_t n = random64() % 48;
		struct nofi_err err;

		if (i % 3 == 0)
			n = (size_t)sprintf(map, "10.0.0.1=");
		for (size_t k = i % 3 ? 0 : n; k < 47; k++)
			map[k] = alphabet[random64() % (sizeof(alphabet) - 1)];
		map[47] = 0;
		if (nofi_addrmap_check(map, &err) == 0)
			nofi_addrmap_apply(map, a, sizeof(a), p, sizeof(p));
		else
			assert_true(err.text[0]);
		assert_true(strlen(a) < sizeof(a) && strlen(p) < sizeof(p));
	}
	guarded_free(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matches),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_random_bytes),
	};

	return cmocka_run_group_tests_name("addrmap", tests, NULL, NULL);
}
