/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nof_route_get(): the way to our own loopback, and what is no address. */
#include <errno.h>
#include <string.h>

#include "nof.h"
#include "unit.h"

static void t_loopback(void **state)
{
	static const char *const peers[] = { "127.0.0.1", "127.0.0.1:4420" };
	static const char *const peers6[] = { "::1", "[::1]", "[::1]:4420" };
	struct nof_route r = { .size = sizeof(r) };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(nof_route_get(peers[i], NULL, &r), 0);
		assert_string_equal(r.dev, "lo");
		assert_string_equal(r.source, "127.0.0.1");
		assert_string_equal(r.gateway, "");
		assert_true(r.mtu >= 1500);
		assert_true(r.has_carrier);
		assert_int_equal(r.size, sizeof(r));
	}
	assert_int_equal(nof_route_get("127.0.0.1", "127.0.0.5", &r), 0);
	assert_string_equal(r.source, "127.0.0.5");
	for (size_t i = 0; i < 3; i++)
		if (nof_route_get(peers6[i], NULL, &r) == 0)
			assert_string_equal(r.dev, "lo");
}

static void t_refused(void **state)
{
	static const char *const bad[] = { "", "host", "[::1", "10.0.0.1.2", ":4420", "[]" };
	struct nof_route r = { .size = sizeof(r), .mtu = 7 };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(nof_route_get(bad[i], NULL, &r), -EINVAL);
		assert_non_null(strstr(nof_strerror_detail(), "peer"));
		assert_int_equal(nof_route_get("127.0.0.1", bad[i], &r), -EINVAL);
		assert_non_null(strstr(nof_strerror_detail(), "local"));
	}
	assert_int_equal(nof_route_get("127.0.0.1", "::1", &r), -EAFNOSUPPORT);
	assert_int_equal(nof_route_get(NULL, NULL, &r), -EINVAL);
	assert_int_equal(nof_route_get("127.0.0.1", NULL, NULL), -EINVAL);
	assert_int_equal(r.mtu, 7);
}

/* A struct of a program that is older than the library. */
static void t_short(void **state)
{
	struct nof_route r;

	(void)state;
	memset(&r, 0x55, sizeof(r));
	r.size = offsetof(struct nof_route, source);
	assert_int_equal(nof_route_get("127.0.0.1", NULL, &r), 0);
	assert_string_equal(r.dev, "lo");
	assert_int_equal(r.source[0], 0x55);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t_loopback),
		cmocka_unit_test(t_refused),
		cmocka_unit_test(t_short),
	};

	return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
