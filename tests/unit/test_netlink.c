/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Netlink: requests end, refusals are errors, dumps are complete, attributes are checked. */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "mptcp/netlink.h"

struct found {
	unsigned links;
	bool has_lo;
};

static int take_link(const struct nlmsghdr *msg, void *arg)
{
	struct found *f = arg;
	const struct nlattr *attr;
	char name[IFNAMSIZ];

	f->links++;
	mnl_attr_for_each(attr, msg, sizeof(struct ifinfomsg))
		if (mnl_attr_get_type(attr) == IFLA_IFNAME &&
		    nofi_nl_string(attr, name, sizeof(name)) && !strcmp(name, "lo"))
			f->has_lo = true;
	return 0;
}

static void start_over(void *arg)
{
	memset(arg, 0, sizeof(struct found));
}

static void test_dump(void **state)
{
	_Alignas(struct nlmsghdr) char buf[NOFI_NL_MESSAGE_MAX];
	struct found f = { .links = 99 };
	struct nofi_nl nl;

	assert_int_equal(nofi_nl_open(&nl, NETLINK_ROUTE, NULL), 0);
	assert_int_equal(nofi_nl_dump(&nl, nofi_nl_put(buf, RTM_GETLINK, 0,
						       sizeof(struct ifinfomsg), NULL),
				      take_link, start_over, &f), 0);
	assert_true(f.has_lo);
	assert_true(f.links >= 1 && f.links != 99);
	nofi_nl_close(&nl);
	assert_int_equal(nl.fd, -1);
}

static int refuse(const struct nlmsghdr *msg, void *arg)
{
	return -E2BIG;
}

static void test_callback_ends_request(void **state)
{
	_Alignas(struct nlmsghdr) char buf[NOFI_NL_MESSAGE_MAX];
	struct found f = { 0 };
	struct nofi_nl nl;

	assert_int_equal(nofi_nl_open(&nl, NETLINK_ROUTE, NULL), 0);
	assert_int_equal(nofi_nl_dump(&nl, nofi_nl_put(buf, RTM_GETLINK, 0,
						       sizeof(struct ifinfomsg), NULL),
				      refuse, NULL, NULL), -E2BIG);
	/* What is left of that answer is not taken for the next. */
	assert_int_equal(nofi_nl_dump(&nl, nofi_nl_put(buf, RTM_GETLINK, 0,
						       sizeof(struct ifinfomsg), NULL),
				      take_link, start_over, &f), 0);
	assert_true(f.has_lo);
	nofi_nl_close(&nl);
}

static void test_refusal(void **state)
{
	_Alignas(struct nlmsghdr) char buf[NOFI_NL_MESSAGE_MAX];
	struct nlmsghdr *req;
	struct nofi_nl nl;
	void *extra;

	assert_int_equal(nofi_nl_open(&nl, NETLINK_ROUTE, NULL), 0);
	req = nofi_nl_put(buf, RTM_GETLINK, 0, sizeof(struct ifinfomsg), &extra);
	((struct ifinfomsg *)extra)->ifi_index = 0x7fffffff;
	assert_int_equal(nofi_nl_request(&nl, req, NULL, NULL), -ENODEV);
	nofi_nl_close(&nl);
}

static void test_family(void **state)
{
	struct nofi_nl nl;
	uint16_t family = 0;
	uint32_t group = 0;

	assert_int_equal(nofi_nl_open(&nl, NETLINK_GENERIC, NULL), 0);
	assert_int_equal(nofi_nl_family(&nl, "nlctrl", &family, "notify", &group), 0);
	assert_int_equal(family, GENL_ID_CTRL);
	assert_int_not_equal(group, 0);
	assert_int_equal(nofi_nl_family(&nl, "nlctrl", &family, "no such group", &group), 0);
	assert_int_equal(group, 0);
	assert_int_equal(nofi_nl_family(&nl, "nlctrl", &family, NULL, NULL), 0);
	assert_int_equal(nofi_nl_family(&nl, "nof-none", &family, NULL, NULL), -ENOENT);
	nofi_nl_close(&nl);
}

static void test_events_are_not_waited_for(void **state)
{
	struct found f = { 0 };
	struct nofi_nl nl;

	assert_int_equal(nofi_nl_open(&nl, NETLINK_ROUTE, NULL), 0);
	assert_int_equal(nofi_nl_join(&nl, RTNLGRP_LINK), 0);
	assert_int_equal(nofi_nl_receive(&nl, take_link, &f), 0);
	nofi_nl_close(&nl);
}

static void test_attributes(void **state)
{
	_Alignas(struct nlmsghdr) char buf[NOFI_NL_MESSAGE_MAX];
	struct nlmsghdr *req = nofi_nl_put(buf, NLMSG_MIN_TYPE, 0, 0, NULL);
	const struct nlattr *attr = mnl_nlmsg_get_payload(req);
	uint8_t b = 1;
	uint16_t w = 2;
	uint32_t d = 3;
	char text[4];

	mnl_attr_put_u32(req, 1, 77);
	assert_false(nofi_nl_u8(attr, &b));
	assert_false(nofi_nl_u16(attr, &w));
	assert_int_equal(b, 1);
	assert_int_equal(w, 2);
	assert_true(nofi_nl_u32(attr, &d));
	assert_int_equal(d, 77);

	/* Neither an end nor room enough. */
	req = nofi_nl_put(buf, NLMSG_MIN_TYPE, 0, 0, NULL);
	mnl_attr_put(req, 1, 6, "abcdef");
	assert_true(nofi_nl_string(attr, text, sizeof(text)));
	assert_string_equal(text, "abc");
	req = nofi_nl_put(buf, NLMSG_MIN_TYPE, 0, 0, NULL);
	mnl_attr_put(req, 1, 0, NULL);
	assert_false(nofi_nl_string(attr, text, sizeof(text)));
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dump),
		cmocka_unit_test(test_callback_ends_request),
		cmocka_unit_test(test_refusal),
		cmocka_unit_test(test_family),
		cmocka_unit_test(test_events_are_not_waited_for),
		cmocka_unit_test(test_attributes),
	};

	return cmocka_run_group_tests_name("netlink", tests, NULL, NULL);
}
