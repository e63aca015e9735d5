/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors: sentences survive wrapping, cutting and hostile bytes; statuses have names and errnos. */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "err.h"
#include "nof.h"

static void test_set_and_wrap(void **state)
{
	struct nofi_err err = { 0 };

	assert_int_equal(nofi_err_set(&err, -EIO, "read %d", 7), -EIO);
	assert_int_equal(err.code, -EIO);
	assert_string_equal(err.text, "read 7");
	/* A layer above adds its part; the arguments name the target itself. */
	nofi_err_set(&err, err.code, "queue 1: %s", err.text);
	assert_string_equal(err.text, "queue 1: read 7");
	nofi_err_set(&err, 0, "not an error");
	assert_int_equal(err.code, 0);
	assert_string_equal(err.text, "");
	assert_int_equal(nofi_err_set(NULL, -EPIPE, "nobody asked"), -EPIPE);
}

static void test_no_control_bytes(void **state)
{
	struct nofi_err err;

	nofi_err_set(&err, -EPROTO, "NQN %s", "a\nb\x1b[31m\x7f\xc3\xa9");
	assert_string_equal(err.text, "NQN a b [31m \xc3\xa9");
}

static void test_cut(void **state)
{
	char text[1000];
	struct nofi_err err;
	size_t n, len;

	for (n = sizeof(err.text) - 8; n < sizeof(err.text) + 8; n++) {
		memset(text, 'x', n);
		text[n] = '\0';
		nofi_err_set(&err, -EIO, "%s", text);
		len = strlen(err.text);
		if (n < sizeof(err.text))
			assert_string_equal(err.text, text);
		else
			assert_string_equal(err.text + len - 3, "...");
	}
	/* Never half a character, whichever byte the cut falls on. */
	for (n = 0; n < 4; n++) {
		memset(text, 'x', n);
		for (len = n; len < 900; len += 2)
			memcpy(text + len, "\xc3\xa9", 2);
		text[len] = '\0';
		nofi_err_set(&err, -EIO, "%s", text);
		len = strlen(err.text);
		assert_string_equal(err.text + len - 3, "...");
		assert_int_equal((len - 3 - n) % 2, 0);
	}
}

static void *other_thread(void *arg)
{
	*(bool *)arg = !*nof_strerror_detail();
	nofi_fail(-EPERM, "of the other thread");
	return NULL;
}

static void test_detail_is_per_thread(void **state)
{
	bool was_empty = false;
	pthread_t thread;

	assert_string_equal(nof_strerror_detail(), "");
	assert_int_equal(nofi_fail(-EINVAL, "bad %s", "key"), -EINVAL);
	assert_int_equal(pthread_create(&thread, NULL, other_thread, &was_empty), 0);
	pthread_join(thread, NULL);
	assert_true(was_empty);
	assert_string_equal(nof_strerror_detail(), "bad key");
	nofi_fail(-EINVAL, "opts: %s", nof_strerror_detail());
	assert_string_equal(nof_strerror_detail(), "opts: bad key");
}

static void test_status_string(void **state)
{
	unsigned s;

	assert_string_equal(nof_status_string(0x80), "LBA Out of Range");
	assert_string_equal(nof_status_string(0x80 | NOF_STATUS_DNR | NOF_STATUS_MORE),
			    "LBA Out of Range");
	assert_string_equal(nof_status_string(0x285), "Compare Failure");
	assert_string_equal(nof_status_string(0x184), "Connect Invalid Host");
	assert_non_null(strstr(nof_status_string(0x180), "Conflicting Attributes"));
	assert_non_null(strstr(nof_status_string(0x180), "Incompatible Format"));
	assert_string_equal(nof_status_string(0x7ff), "Vendor Specific Status");
	for (s = 0; s <= 0xffff; s++) {
		const char *text = nof_status_string(s);
		size_t len = strlen(text);

		assert_true(len > 3 && len < 130);
		assert_null(strpbrk(text, ":\n"));
		/* The pointer is good for ever. */
		assert_ptr_equal(text, nof_status_string(s));
	}
}

static void test_status_errno(void **state)
{
	unsigned s;

	assert_int_equal(nof_status_errno(0), 0);
	assert_int_equal(nof_status_errno(0x81), -ENOSPC);
	assert_int_equal(nof_status_errno(0x20 | NOF_STATUS_DNR), -EROFS);
	assert_int_equal(nof_status_errno(0x285), -EILSEQ);
	assert_int_equal(nof_status_errno(0x282), -EILSEQ);
	assert_int_equal(nof_status_errno(0x06), -EIO);
	/* Nothing but success is success. */
	for (s = 1; s <= 0x7ff; s++)
		assert_true(nof_status_errno(s) < 0);
}

static void test_version(void **state)
{
	unsigned major, minor, patch;

	assert_int_equal(sscanf(nof_version(), "%u.%u.%u", &major, &minor, &patch), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_detail_is_per_thread),
		cmocka_unit_test(test_set_and_wrap),
		cmocka_unit_test(test_no_control_bytes),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_status_string),
		cmocka_unit_test(test_status_errno),
		cmocka_unit_test(test_version),
	};

	return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
