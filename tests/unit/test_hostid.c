/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Host identity: form of NQNs, one host id per host NQN, the same each time (F-3). */
#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "ctrl/ident.h"
#include "opts.h"

#define UUID "01234567-89ab-4def-8123-456789abcdef"
#define UUID_NQN "nqn.2014-08.org.nvmexpress:uuid:"

static void test_form(void **state)
{
	static const struct {
		const char *nqn;
		int r;
	} t[] = {
		{ UUID_NQN UUID, 0 },
		{ "nqn.2024-01.org.example:host", 0 },
		{ "nqn.2024-01.o", 0 },
		{ "", -EINVAL },
		{ "host", -EINVAL },
		{ "nqn", -EINVAL },
		{ "nqn.2024-01.", -EINVAL },
		{ "nqn.202x-01.org", -EINVAL },
		{ "nqn.2024_01.org", -EINVAL },
		{ "NQN.2024-01.org", -EINVAL },
		{ UUID_NQN, -EINVAL },
		{ UUID_NQN "01234567-89ab-4def-8123-456789abcde", -EINVAL },
		{ UUID_NQN UUID "0", -EINVAL },
		{ UUID_NQN "01234567x89ab-4def-8123-456789abcdef", -EINVAL },
		{ UUID_NQN "00000000-0000-0000-0000-000000000000", -EINVAL },
		/* Seen from firmware: a UUID without its dashes, and text. */
		{ UUID_NQN "0123456789ab4def8123456789abcdef", -EINVAL },
		{ UUID_NQN "Not Settable", -EINVAL },
	};
	char longest[300];
	struct nofi_err err;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		if (nofi_hostnqn_check(t[i].nqn, "hostnqn", &err) != t[i].r)
			fail_msg("%s: expected %d", t[i].nqn, t[i].r);
		if (t[i].r)
			assert_non_null(strstr(err.text, "hostnqn"));
	}
	snprintf(longest, sizeof(longest), "nqn.2024-01.org%0208d", 0);
	assert_int_equal(strlen(longest), 223);
	assert_int_equal(nofi_hostnqn_check(longest, "hostnqn", &err), 0);
	strcat(longest, "0");
	assert_int_equal(nofi_hostnqn_check(longest, "hostnqn", &err), -EINVAL);
}

static void test_uuid(void **state)
{
	uint8_t id[16], same[16] = { 1 };
	char text[37];

	assert_true(nofi_uuid_parse(UUID, id));
	assert_int_equal(id[0], 0x01);
	assert_int_equal(id[15], 0xef);
	nofi_uuid_format(id, text);
	assert_string_equal(text, UUID);
	/* A bad one leaves the output alone. */
	assert_false(nofi_uuid_parse("01234567-89ab-4def-8123-456789abcdeg", same));
	assert_int_equal(same[0], 1);
	assert_false(nofi_uuid_parse("", same));
}

static void test_derived_is_stable(void **state)
{
	char a[37], b[37], c[37];
	uint8_t id[16];

	nofi_uuid_derive("host", "0123456789abcdef0123456789abcdef", a);
	nofi_uuid_derive("host", "0123456789abcdef0123456789abcdef", b);
	nofi_uuid_derive("hostid", "0123456789abcdef0123456789abcdef", c);
	assert_string_equal(a, b);
	assert_string_not_equal(a, c);
	assert_true(nofi_uuid_parse(a, id));
	assert_int_equal(id[6] >> 4, 8);
	assert_int_equal(id[8] >> 6, 2);
}

static void test_hostid_follows_hostnqn(void **state)
{
	struct nof_opts o;
	struct nofi_err err;
	char first[37];

	nof_opts_init(&o);
	strcpy(o.hostnqn, UUID_NQN UUID);
	assert_int_equal(nofi_hostid_resolve(&o, &err), 0);
	assert_string_equal(o.hostid, UUID);

	/* Given ones stay as they are. */
	strcpy(o.hostid, "11111111-2222-4333-8444-555555555555");
	assert_int_equal(nofi_hostid_resolve(&o, &err), 0);
	assert_string_equal(o.hostid, "11111111-2222-4333-8444-555555555555");

	/* A name without a UUID: some id, always the same. */
	nof_opts_init(&o);
	strcpy(o.hostnqn, "nqn.2024-01.org.example:host");
	assert_int_equal(nofi_hostid_resolve(&o, &err), 0);
	strcpy(first, o.hostid);
	o.hostid[0] = '\0';
	assert_int_equal(nofi_hostid_resolve(&o, &err), 0);
	assert_string_equal(o.hostid, first);

	strcpy(o.hostid, "00000000-0000-0000-0000-000000000000");
	assert_int_equal(nofi_hostid_resolve(&o, &err), -EINVAL);
	assert_non_null(strstr(err.text, "zero"));
}

/* Without any option: a valid identity, and the same one twice. */
static void test_own_identity(void **state)
{
	struct nof_opts a, b;
	struct nofi_err err;

	nof_opts_init(&a);
	nof_opts_init(&b);
	assert_int_equal(nofi_hostid_resolve(&a, &err), 0);
	assert_int_equal(nofi_hostid_resolve(&b, &err), 0);
	assert_int_equal(nofi_hostnqn_check(a.hostnqn, "hostnqn", &err), 0);
	if (access("/etc/nvme/hostnqn", R_OK) == 0 || access("/etc/machine-id", R_OK) == 0) {
		assert_string_equal(a.hostnqn, b.hostnqn);
		assert_string_equal(a.hostid, b.hostid);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_form),
		cmocka_unit_test(test_uuid),
		cmocka_unit_test(test_derived_is_stable),
		cmocka_unit_test(test_hostid_follows_hostnqn),
		cmocka_unit_test(test_own_identity),
	};

	return cmocka_run_group_tests_name("hostid", tests, NULL, NULL);
}
