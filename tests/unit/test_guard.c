/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* C-3: what passthrough may send, for every opcode, and which way its data goes. */
#include "unit.h"

#include <errno.h>

#include "ctrl/guard.h"

static struct nofi_err err;

static bool is_in(const uint8_t *list, size_t n, unsigned v)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == v)
			return true;
	return false;
}

static void test_admin_opcodes(void **state)
{
	static const uint8_t owned[] = { 0x00, 0x01, 0x04, 0x05, 0x08, 0x0c, 0x18, 0x7c, 0x7f };

	for (unsigned opc = 0; opc < 256; opc++) {
		int want = is_in(owned, sizeof(owned), opc) ? -EPERM : 0;

		memset(&err, 0, sizeof(err));
		assert_int_equal(nofi_guard_admin((uint8_t)opc, 0, 0, &err), want);
		if (want)
			assert_true(strlen(err.text) > 20);
		assert_int_equal(nofi_guard_io((uint8_t)opc, &err), opc == 0x7f ? -EPERM : 0);
	}
}

/* Of the Fabrics commands only Property Get, and what vendors define. */
static void test_fabrics_types(void **state)
{
	for (unsigned t = 0; t < 256; t++)
		assert_int_equal(nofi_guard_admin(0x7f, (uint8_t)t, 0, &err),
				 t == 4 || t >= 0xc0 ? 0 : -EPERM);
}

static void test_features(void **state)
{
	static const uint8_t owned[] = { 0x07, 0x0b, 0x0f, 0x16, 0x19, 0x81 };

	for (unsigned fid = 0; fid < 256; fid++) {
		int want = is_in(owned, sizeof(owned), fid) ? -EPERM : 0;

		assert_int_equal(nofi_guard_feature((uint8_t)fid, &err), want);
		/* The raw command is no way around it; SV and the reserved bits change nothing. */
		assert_int_equal(nofi_guard_admin(0x09, 0, fid | 0x80000000u, &err), want);
		assert_int_equal(nofi_guard_admin(0x09, 0, fid | 0x7fffff00u, &err), want);
		assert_int_equal(nofi_guard_admin(0x0a, 0, fid, &err), 0);
	}
}

static void test_direction(void **state)
{
	static const enum nofi_dir dirs[] = { NOFI_DIR_NONE, NOFI_DIR_WRITE, NOFI_DIR_READ };
	uint8_t buf[8];

	for (unsigned opc = 0; opc < 256; opc++) {
		unsigned way = opc & 3;
		enum nofi_dir dir = (enum nofi_dir)77;

		if (opc == 0x7f)
			continue;
		/* No data is always possible but for commands that go both ways. */
		assert_int_equal(nofi_guard_dir((uint8_t)opc, 0, NULL, 0, &dir, &err),
				 way == 3 ? -ENOTSUP : 0);
		if (way != 3)
			assert_int_equal(dir, NOFI_DIR_NONE);
		dir = (enum nofi_dir)77;
		assert_int_equal(nofi_guard_dir((uint8_t)opc, 0, buf, 8, &dir, &err),
				 way == 3 ? -ENOTSUP : way == 0 ? -EINVAL : 0);
		assert_int_equal(dir, way == 1 || way == 2 ? dirs[way] : 77);
		if (way == 1 || way == 2) {
			assert_int_equal(nofi_guard_dir((uint8_t)opc, 0, NULL, 8, &dir, &err),
					 -EINVAL);
			for (size_t len = 1; len < 8; len++)
				assert_int_equal(nofi_guard_dir((uint8_t)opc, 0, buf, len, &dir,
								&err), len == 4 ? 0 : -EINVAL);
		}
	}
	/* Of a Fabrics command its type says it. */
	for (unsigned t = 0; t < 256; t++) {
		enum nofi_dir dir = NOFI_DIR_NONE;
		unsigned way = t & 3;

		assert_int_equal(nofi_guard_dir(0x7f, (uint8_t)t, buf, 8, &dir, &err),
				 way == 3 ? -ENOTSUP : way == 0 ? -EINVAL : 0);
		if (way == 1 || way == 2)
			assert_int_equal(dir, dirs[way]);
	}
}

struct args_old {
	size_t size;
	uint32_t a;
};

struct args {
	size_t size;
	uint32_t a, b;
};

struct args_new {
	size_t size;
	uint32_t a, b, c, d;
};

/* Callers built against older and newer headers. */
static void test_args(void **state)
{
	struct args_old o = { sizeof(o), 1 };
	struct args_new n = { sizeof(n), 1, 2, 0, 0 };
	struct args a;
	size_t tiny = 3;

	memset(&a, 0x55, sizeof(a));
	o.size = offsetof(struct args_old, a) + 4;
	assert_int_equal(nofi_args_copy(&a, sizeof(a), &o, "call", &err), 0);
	assert_int_equal(a.a, 1);
	assert_int_equal(a.b, 0);
	assert_int_equal(nofi_args_copy(&a, sizeof(a), &n, "call", &err), 0);
	assert_int_equal(a.b, 2);
	n.d = 1;
	memset(&a, 0x55, sizeof(a));
	assert_int_equal(nofi_args_copy(&a, sizeof(a), &n, "call", &err), -E2BIG);
	assert_int_equal(nofi_args_copy(&a, sizeof(a), &tiny, "call", &err), -EINVAL);
	tiny = 0;
	assert_int_equal(nofi_args_copy(&a, sizeof(a), &tiny, "call", &err), -EINVAL);
	assert_int_equal(nofi_args_copy(&a, sizeof(a), NULL, "call", &err), -EINVAL);
	assert_int_equal(a.a, 0x55555555);	/* untouched */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_admin_opcodes),
		cmocka_unit_test(test_fabrics_types),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_direction),
		cmocka_unit_test(test_args),
	};

	return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
