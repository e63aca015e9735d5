/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is taken from a multicast DNS announcement: anybody on the network can send one. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "ctrl/mdns.h"

static struct nofi_mdns_raw raw(void)
{
	return (struct nofi_mdns_raw){ .name = "array", .host = "array.local", .port = 8009,
				       .traddr = "192.0.2.1", .iface = "eth0" };
}

static void txt(struct nofi_mdns_raw *r, const char *text)
{
	nofi_mdns_txt(r, (const uint8_t *)text, strlen(text));
}

static void test_txt(void **state)
{
	static const struct { const char *text; bool is_other; const char *nqn; } cases[] = {
		{ "p=tcp", false, "" }, { "P=TCP", false, "" }, { "p=roce", true, "" },
		{ "p=roce,tcp", false, "" }, { "p=", true, "" }, { "p", false, "" },
		{ "p=tcpx", true, "" }, { "=", false, "" }, { "", false, "" },
		{ "pp=x", false, "" },
		{ "nqn=nqn.2025-11.org.example:a", false, "nqn.2025-11.org.example:a" },
		{ "NQN=nqn.x", false, "nqn.x" }, { "nqn=", false, "" }, { "nqn=x", false, "" },
		{ "nqn=nqn.a b", false, "" }, { "nqn=nqn.\x1b[2J", false, "" },
		{ "nqn=nqn.\xc3\xa4", false, "" },
	};
	char longest[4 + 224 + 1] = "nqn=nqn.";

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct nofi_mdns_raw r = raw();

		txt(&r, cases[i].text);
		assert_int_equal(r.is_other, cases[i].is_other);
		assert_string_equal(r.nqn, cases[i].nqn);
	}
	for (int len = 222; len <= 224; len++) {
		struct nofi_mdns_raw r = raw();

		memset(longest + 8, 'x', sizeof(longest) - 9);
		longest[4 + len] = '\0';
		txt(&r, longest);
		assert_int_equal(strlen(r.nqn), len <= 223 ? len : 0);
	}
}

static void test_first_counts(void **state)
{
	struct nofi_mdns_raw r = raw();

	txt(&r, "nqn=nqn.first");
	txt(&r, "nqn=nqn.second");
	assert_string_equal(r.nqn, "nqn.first");
}

static void test_add(void **state)
{
	struct nof_mdns_list list = { 0 };
	struct nofi_mdns_raw r = raw();

	r.name = "\x1b[2J evil";
	assert_int_equal(nofi_mdns_add(&list, &r), 0);
	assert_int_equal(nofi_mdns_add(&list, &r), 0);
	assert_int_equal(list.count, 1);
	assert_string_equal(list.services[0].name, "?[2J evil");
	assert_string_equal(list.services[0].subnqn, NOF_DISCOVERY_NQN);
	assert_string_equal(list.services[0].trsvcid, "8009");
	r.port = 0;
	nofi_mdns_add(&list, &r);
	r.port = 1;
	r.traddr = "array.local";
	nofi_mdns_add(&list, &r);
	r.traddr = "192.0.2.1%eth0";
	nofi_mdns_add(&list, &r);
	r.traddr = "";
	nofi_mdns_add(&list, &r);
	r.traddr = "fe80::1";
	r.iface = "";
	nofi_mdns_add(&list, &r);
	r.is_other = true;
	r.traddr = "192.0.2.2";
	nofi_mdns_add(&list, &r);
	assert_int_equal(list.count, 1);
	r = raw();
	r.traddr = "fe80::1";
	nofi_mdns_add(&list, &r);
	assert_string_equal(list.services[1].traddr, "fe80::1%eth0");
	assert_int_equal(list.count, 2);
	free(list.services);
}

static void test_flood(void **state)
{
	struct nof_mdns_list list = { 0 };
	struct nofi_mdns_raw r = raw();

	for (unsigned i = 1; i < 2000; i++) {
		r.port = (uint16_t)i;
		assert_int_equal(nofi_mdns_add(&list, &r), 0);
	}
	assert_int_equal(list.count, NOFI_MDNS_MAX);
	free(list.services);
}

static void test_random_bytes(void **state)
{
	static const char alphabet[] = "pnqPNQ=tcp,.x\x1b\xff";
	struct guarded g = guarded_new(300);

	for (int i = 0; i < 200000; i++) {
		struct nofi_mdns_raw r = raw();
		size_t n = random64() % (i % 4 ? 12 : 300);
		uint8_t *p = g.end - n;

		for (size_t k = 0; k < n; k++)
			p[k] = (uint8_t)alphabet[random64() % (sizeof(alphabet) - 1)];
		if (n > 8 && i % 2)
			memcpy(p, "nqn=nqn.", 8);
		nofi_mdns_txt(&r, p, n);
		assert_non_null(memchr(r.nqn, 0, sizeof(r.nqn)));
		for (const char *c = r.nqn; *c; c++)
			assert_in_range(*c, '!', '~');
	}
	guarded_free(&g);
}

static void test_service_opts(void **state)
{
	struct nof_mdns_service s = { .traddr = "fe80::1%eth0", .trsvcid = "8009",
				      .subnqn = "nqn.x:cdc" };
	struct nof_opts o;

	nof_opts_init(&o);
	assert_int_equal(nof_uri_parse("nvme+tcp://h?tos=3", &o), 0);
	assert_int_equal(nof_mdns_service_opts(&s, &o, &o), 0);
	assert_string_equal(o.traddr, s.traddr);
	assert_string_equal(o.subnqn, s.subnqn);
	assert_int_equal(o.tos, 3);
	assert_int_equal(nof_mdns_service_opts(&s, NULL, &o), -EINVAL);
	o.size = 3;
	assert_int_equal(nof_mdns_service_opts(&s, &o, &o), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_txt),
		cmocka_unit_test(test_first_counts),
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_random_bytes),
		cmocka_unit_test(test_service_opts),
	};

	return cmocka_run_group_tests_name("mdns_list", tests, NULL, NULL);
}
