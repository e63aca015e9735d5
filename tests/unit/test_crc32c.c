/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* T-3: the digest. Known answers, then every way to compute it against one bit by bit. */
#include "unit.h"

#include "pdu/crc32c.h"
#include "pdu/crc32c_impl.h"

enum { MAX_LEN = 5000, MAX_ALIGN = 64 };

/* The definition, one bit at a time: what everything else is measured by. */
static uint32_t by_definition(uint32_t crc, const uint8_t *p, size_t len)
{
	int bit;

	for (; len; len--, p++) {
		crc ^= *p;
		for (bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
	}
	return crc;
}

static void assert_digest(const void *data, size_t len, uint32_t want)
{
	const struct nofi_crc32c_ops *ops;
	uint8_t copy[64];

	for (unsigned i = 0; (ops = nofi_crc32c_nth(i)); i++)
		assert_int_equal(~ops->update(NOFI_CRC32C_INIT, data, len), want);
	assert_int_equal(nofi_crc32c(data, len), want);
	assert_int_equal(~nofi_crc32c_update_portable(NOFI_CRC32C_INIT, data, len), want);
	assert_true(len <= sizeof(copy));
	assert_int_equal(~nofi_crc32c_copy(NOFI_CRC32C_INIT, copy, data, len), want);
	assert_memory_equal(copy, data, len);
}

static void t3_check_value(void **state)
{
	assert_digest("", 0, 0);
	assert_digest("a", 1, 0xc1d04330);
	assert_digest("123456789", 9, 0xe3069283);
}

/* The examples of RFC 3720 appendix B.4; printed there in the order of transmission. */
static void t3_iscsi_examples(void **state)
{
	static const uint8_t read_pdu[48] = {
		0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18,
		[32] = 0x28, [40] = 0x02,
	};
	uint8_t buf[32];
	int i;

	memset(buf, 0, sizeof(buf));
	assert_digest(buf, 32, 0x8a9136aa);
	memset(buf, 0xff, sizeof(buf));
	assert_digest(buf, 32, 0x62a8ab43);
	for (i = 0; i < 32; i++)
		buf[i] = i;
	assert_digest(buf, 32, 0x46dd794e);
	for (i = 0; i < 32; i++)
		buf[i] = 31 - i;
	assert_digest(buf, 32, 0x113fdb5c);
	assert_digest(read_pdu, 48, 0xd9963a56);
}

static void t3_the_fastest_that_there_is_runs(void **state)
{
	const struct nofi_crc32c_ops *ops = nofi_crc32c_nth(0);
	unsigned n = 0;

	assert_string_equal(nofi_crc32c_impl(), ops->name);
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq"))
		assert_string_equal(nofi_crc32c_nth(n++)->name, "avx512");
	if (__builtin_cpu_supports("sse4.2"))
		assert_string_equal(nofi_crc32c_nth(n++)->name, "sse4.2");
#elif defined(__aarch64__)
	if (strcmp(ops->name, "portable"))
		assert_string_equal(nofi_crc32c_nth(n++)->name, "armv8");
#endif
	assert_string_equal(nofi_crc32c_nth(n++)->name, "portable");
	assert_null(nofi_crc32c_nth(n));
}

/* dst lies at d, with MAX_ALIGN bytes on both sides that are its own to check. */
static void check_copy(const struct nofi_crc32c_ops *ops, uint32_t init, uint8_t *d,
		       const uint8_t *p, size_t len, uint32_t want)
{
	uint8_t around[MAX_ALIGN];

	memset(around, 0xa5, sizeof(around));
	memset(d - MAX_ALIGN, 0xa5, len + 2 * MAX_ALIGN);
	assert_int_equal(ops->copy(init, d, p, len), want);
	assert_memory_equal(d, p, len);
	assert_memory_equal(d - MAX_ALIGN, around, MAX_ALIGN);
	assert_memory_equal(d + len, around, MAX_ALIGN);
}

static void check_one(const struct guarded *src, const struct guarded *dst, size_t align,
		      size_t len)
{
	uint32_t init = random64();
	const uint8_t *p = src->end - MAX_LEN - MAX_ALIGN + align;
	const uint8_t *wall = src->end - len;
	uint32_t want = by_definition(init, p, len), want_wall = by_definition(init, wall, len);
	size_t dst_align = random64() % MAX_ALIGN;
	uint8_t *d = dst->end - MAX_LEN - 3 * MAX_ALIGN + dst_align;
	const struct nofi_crc32c_ops *ops;

	for (unsigned i = 0; (ops = nofi_crc32c_nth(i)); i++) {
		assert_int_equal(ops->update(init, p, len), want);
		check_copy(ops, init, d, p, len, want);
		/* And with both ends against the wall. */
		assert_int_equal(ops->update(init, wall, len), want_wall);
		assert_int_equal(ops->copy(init, dst->end - len, wall, len), want_wall);
		assert_memory_equal(dst->end - len, wall, len);
	}
}

static void t3_every_length(void **state)
{
	struct guarded src = guarded_new(MAX_LEN + 4 * MAX_ALIGN);
	struct guarded dst = guarded_new(MAX_LEN + 4 * MAX_ALIGN);

	random_fill(src.end - MAX_LEN - 4 * MAX_ALIGN, MAX_LEN + 4 * MAX_ALIGN);
	for (size_t len = 0; len <= MAX_LEN; len++)
		check_one(&src, &dst, random64() % MAX_ALIGN, len);
	guarded_free(&src);
	guarded_free(&dst);
}

static void t3_every_alignment(void **state)
{
	/* Around what the implementations work with at once. */
	static const size_t edges[] = { 0, 6, 62, 126, 254, 318, 502, 510, 1022, 4078, 4094, 4600 };
	struct guarded src = guarded_new(MAX_LEN + 4 * MAX_ALIGN);
	struct guarded dst = guarded_new(MAX_LEN + 4 * MAX_ALIGN);

	random_fill(src.end - MAX_LEN - 4 * MAX_ALIGN, MAX_LEN + 4 * MAX_ALIGN);
	for (size_t align = 0; align < MAX_ALIGN; align++)
		for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
			for (size_t len = edges[i]; len <= edges[i] + 4; len++)
				check_one(&src, &dst, align, len);
	guarded_free(&src);
	guarded_free(&dst);
}

/* What was computed in two pieces, by any two of the implementations, is the same. */
static void t3_split_at_every_point(void **state)
{
	static uint8_t data[MAX_LEN], copy[MAX_LEN];
	const struct nofi_crc32c_ops *head, *tail;
	uint32_t want, crc;
	size_t at;

	random_fill(data, sizeof(data));
	want = by_definition(NOFI_CRC32C_INIT, data, sizeof(data));
	for (at = 0; at <= sizeof(data); at++) {
		for (unsigned i = 0; (head = nofi_crc32c_nth(i)); i++) {
			tail = nofi_crc32c_nth(i + 1);
			if (!tail)
				tail = nofi_crc32c_nth(0);
			crc = head->update(NOFI_CRC32C_INIT, data, at);
			crc = tail->copy(crc, copy + at, data + at, sizeof(data) - at);
			assert_int_equal(crc, want);
			crc = head->copy(NOFI_CRC32C_INIT, copy, data, at);
			crc = head->update(crc, data + at, sizeof(data) - at);
			assert_int_equal(crc, want);
		}
	}
	assert_memory_equal(copy, data, sizeof(data));
}

static void t3_large_pieces(void **state)
{
	const struct nofi_crc32c_ops *ops;
	size_t len = 1048576 + 1234;
	uint8_t *data = malloc(len), *copy = malloc(len);
	uint32_t want;

	assert_non_null(data);
	assert_non_null(copy);
	random_fill(data, len);
	for (uint32_t i = 0; i < 5; i++) {
		want = by_definition(i, data + i, len - i);
		for (unsigned n = 0; (ops = nofi_crc32c_nth(n)); n++) {
			memset(copy, 0, len);
			assert_int_equal(ops->update(i, data + i, len - i), want);
			assert_int_equal(ops->copy(i, copy, data + i, len - i), want);
			assert_memory_equal(copy, data + i, len - i);
		}
	}
	free(data);
	free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t3_check_value),
		cmocka_unit_test(t3_iscsi_examples),
		cmocka_unit_test(t3_the_fastest_that_there_is_runs),
		cmocka_unit_test(t3_every_length),
		cmocka_unit_test(t3_every_alignment),
		cmocka_unit_test(t3_split_at_every_point),
		cmocka_unit_test(t3_large_pieces),
	};

	return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
