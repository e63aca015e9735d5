/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mptcp_paths: what is accepted, what it means, and which addresses "auto" takes. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "mptcp/pm.h"
#include "nof.h"

static void accepts(const char *text, struct nofi_pm_list *l)
{
	struct nofi_err err = { 0 };

	if (nofi_pm_parse(text, l, &err) < 0)
		fail_msg("\"%s\": %s", text, err.text);
}

static void test_nothing_and_auto(void **state)
{
	struct nofi_pm_list l;

	accepts("", &l);
	assert_false(l.is_auto);
	assert_int_equal(l.count, 0);
	accepts("auto", &l);
	assert_true(l.is_auto);
	assert_int_equal(l.count, 0);
}

static void test_addresses(void **state)
{
	struct nofi_pm_list l;
	char text[64];

	accepts("10.0.0.1,10.0.1.1%eth1,backup,2001:db8::1,[2001:db8::2]%eth2,fullmesh,backup,"
		"[2001:db8::3%eth3]", &l);
	assert_int_equal(l.count, 5);
	assert_string_equal(nofi_pm_addr_format(&l.path[0].addr, text, sizeof(text)), "10.0.0.1");
	assert_string_equal(l.path[0].dev, "");
	assert_false(l.path[0].is_backup || l.path[0].is_fullmesh);
	assert_string_equal(l.path[1].dev, "eth1");
	assert_true(l.path[1].is_backup && !l.path[1].is_fullmesh);
	assert_string_equal(nofi_pm_addr_format(&l.path[2].addr, text, sizeof(text)),
			    "2001:db8::1");
	assert_string_equal(nofi_pm_addr_format(&l.path[3].addr, text, sizeof(text)),
			    "2001:db8::2");
	assert_string_equal(l.path[3].dev, "eth2");
	assert_true(l.path[3].is_backup && l.path[3].is_fullmesh);
	assert_string_equal(l.path[4].dev, "eth3");
}

static void test_refusals(void **state)
{
	static const char *const bad[] = {
		"backup", "10.0.0.1,", ",10.0.0.1", "10.0.0.1,,10.0.0.2", "10.0.0", "eth0",
		"10.0.0.1%", "10.0.0.1%an-interface-with-a-long-name", "[::1", "[2001:db8::1]x",
		"auto,backup", "10.0.0.1,10.0.0.1", "0.0.0.0", "::", "224.0.0.1", "ff02::1",
		"fe80::1%eth0", "169.254.1.1", "255.255.255.255", "target.example",
		"10.0.0.1,primary", " 10.0.0.1",
		"10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5,10.0.0.6,10.0.0.7,10.0.0.8,10.0.0.9",
		"1111111111111111111111111111111111111111111111111111111111111111111111111111111",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct nofi_pm_list l = { .count = 77 };
		struct nofi_err err = { 0 };

		if (nofi_pm_parse(bad[i], &l, &err) != -EINVAL)
			fail_msg("\"%s\" was accepted", bad[i]);
		assert_int_equal(l.count, 77);
		assert_non_null(strstr(err.text, "mptcp_paths"));
	}
}

static void test_mapped_address(void **state)
{
	struct sockaddr_in6 mapped = { .sin6_family = AF_INET6 };
	struct sockaddr_in plain = { .sin_family = AF_INET };
	struct sockaddr unix_sa = { .sa_family = AF_UNIX };
	struct sockaddr_storage back;
	struct nofi_pm_addr a, b;

	inet_pton(AF_INET6, "::ffff:10.1.2.3", &mapped.sin6_addr);
	inet_pton(AF_INET, "10.1.2.3", &plain.sin_addr);
	assert_true(nofi_pm_addr_from((struct sockaddr *)&mapped, &a));
	assert_true(nofi_pm_addr_from((struct sockaddr *)&plain, &b));
	assert_true(nofi_pm_addr_equal(&a, &b));
	assert_false(nofi_pm_addr_from(&unix_sa, &a));
	assert_int_equal(nofi_pm_addr_to(&b, &back), sizeof(plain));
	assert_memory_equal(&back, &plain, sizeof(plain));
}

static void test_suitable(void **state)
{
	struct nofi_link_addr good = { .has_carrier = true, .is_usable = true, .is_stable = true,
				       .is_global = true }, a;

	good.addr.family = AF_INET;
	memcpy(good.addr.bytes, "\x0a\0\0\1", 4);
	assert_true(nofi_pm_is_suitable(&good));
	a = good;
	a.has_carrier = false;		/* it may come */
	assert_true(nofi_pm_is_suitable(&a));
	a = good;
	a.is_loopback = true;
	assert_false(nofi_pm_is_suitable(&a));
	a = good;
	a.is_usable = false;
	assert_false(nofi_pm_is_suitable(&a));
	a = good;
	a.is_stable = false;
	assert_false(nofi_pm_is_suitable(&a));
	a = good;
	a.is_global = false;
	assert_false(nofi_pm_is_suitable(&a));
	a = good;
	memcpy(a.addr.bytes, "\xa9\xfe\0\1", 4);
	assert_false(nofi_pm_is_suitable(&a));
	a.addr.family = AF_INET6;	/* whose bytes are not aligned as a struct in6_addr */
	memcpy(a.addr.bytes, "\xfd\0\0\x80", 4);
	assert_true(nofi_pm_is_suitable(&a));
	memcpy(a.addr.bytes, "\xfe\x80\0\0", 4);
	assert_false(nofi_pm_is_suitable(&a));
}

static void test_status(void **state)
{
	struct nof_mptcp_status s;

	assert_int_equal(nof_mptcp_get_status(NULL), -EINVAL);
	memset(&s, 0, sizeof(s));
	assert_int_equal(nof_mptcp_get_status(&s), -EINVAL);
	s.size = sizeof(s);
	assert_int_equal(nof_mptcp_get_status(&s), 0);
	assert_int_equal(s.size, sizeof(s));
	/* Whatever this machine has: an answer without a reason is a yes, and vice versa. */
	assert_int_equal(s.is_enabled, !s.reason[0]);
	if (s.is_enabled)
		assert_true(s.is_supported);
	/* An older program's smaller struct is not written beyond. */
	memset(&s, 0x5a, sizeof(s));
	s.size = offsetof(struct nof_mptcp_status, can_configure);
	assert_int_equal(nof_mptcp_get_status(&s), 0);
	assert_int_equal(*((unsigned char *)&s + s.size), 0x5a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_and_auto),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_mapped_address),
		cmocka_unit_test(test_suitable),
		cmocka_unit_test(test_status),
	};

	return cmocka_run_group_tests_name("pm", tests, NULL, NULL);
}
