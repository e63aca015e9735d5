/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* T-3: the digest. Known answers, then every way to compute it against one bit by bit. */
#include "unit.h"

#include "pdu/crc32c.h"

enum { MAX_LEN = 4200, MAX_ALIGN = 64 };

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
	uint8_t copy[64];

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

static void t3_hardware_runs_where_it_should(void **state)
{
	const char *impl = nofi_crc32c_impl();

#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		assert_string_equal(impl, "sse4.2");
#elif !defined(__aarch64__)
	assert_string_equal(impl, "portable");
#endif
	assert_non_null(impl);
}

static void check_one(const struct guarded *src, const struct guarded *dst, size_t align,
		      size_t len)
{
	uint32_t init = random64();
	const uint8_t *p = src->end - MAX_LEN - MAX_ALIGN + align;
	uint32_t want = by_definition(init, p, len);
	size_t i, dst_align = random64() % MAX_ALIGN;
	uint8_t *d = dst->end - MAX_LEN - 3 * MAX_ALIGN + dst_align;

	assert_int_equal(nofi_crc32c_update(init, p, len), want);
	assert_int_equal(nofi_crc32c_update_portable(init, p, len), want);

	/* The copy, with bytes around it that must survive. */
	memset(d - MAX_ALIGN, 0xa5, len + 2 * MAX_ALIGN);
	assert_int_equal(nofi_crc32c_copy(init, d, p, len), want);
	assert_memory_equal(d, p, len);
	for (i = 1; i <= MAX_ALIGN; i++) {
		assert_int_equal(d[-(ptrdiff_t)i], 0xa5);
		assert_int_equal(d[len + i - 1], 0xa5);
	}
	/* And with both ends against the wall. */
	p = src->end - len;
	assert_int_equal(nofi_crc32c_copy(init, dst->end - len, p, len),
			 by_definition(init, p, len));
	assert_memory_equal(dst->end - len, p, len);
	assert_int_equal(nofi_crc32c_update(init, p, len), by_definition(init, p, len));
}

static void t3_every_alignment_and_length(void **state)
{
	struct guarded src = guarded_new(MAX_LEN + 4 * MAX_ALIGN);
	struct guarded dst = guarded_new(MAX_LEN + 4 * MAX_ALIGN);
	size_t align, len, i;

	random_fill(src.end - MAX_LEN - 4 * MAX_ALIGN, MAX_LEN + 4 * MAX_ALIGN);
	for (align = 0; align < MAX_ALIGN; align++) {
		for (len = 0; len <= 80; len++)
			check_one(&src, &dst, align, len);
		/* Around the block sizes, and anywhere. */
		for (len = 500; len <= 516; len++)
			check_one(&src, &dst, align, len);
		for (len = 4078; len <= 4098; len += 2)
			check_one(&src, &dst, align, len);
		for (i = 0; i < 12; i++)
			check_one(&src, &dst, align, random64() % (MAX_LEN + 1));
	}
	for (len = 0; len <= MAX_LEN; len += 7)
		check_one(&src, &dst, random64() % MAX_ALIGN, len);
	guarded_free(&src);
	guarded_free(&dst);
}

static void t3_split_at_every_point(void **state)
{
	static uint8_t data[MAX_LEN], copy[MAX_LEN];
	uint32_t want, crc;
	size_t at;

	random_fill(data, sizeof(data));
	want = by_definition(NOFI_CRC32C_INIT, data, sizeof(data));
	for (at = 0; at <= sizeof(data); at++) {
		crc = nofi_crc32c_update(NOFI_CRC32C_INIT, data, at);
		crc = nofi_crc32c_copy(crc, copy + at, data + at, sizeof(data) - at);
		assert_int_equal(crc, want);
		crc = nofi_crc32c_copy(NOFI_CRC32C_INIT, copy, data, at);
		crc = nofi_crc32c_update(crc, data + at, sizeof(data) - at);
		assert_int_equal(crc, want);
	}
	assert_memory_equal(copy, data, sizeof(data));
	for (at = 0; at <= sizeof(data); at += 31) {
		crc = nofi_crc32c_update_portable(NOFI_CRC32C_INIT, data, at);
		crc = nofi_crc32c_update_portable(crc, data + at, sizeof(data) - at);
		assert_int_equal(crc, want);
	}
}

static void t3_large_pieces(void **state)
{
	size_t len = 1048576 + 1234, i;
	uint8_t *data = malloc(len), *copy = malloc(len);
	uint32_t want;

	assert_non_null(data);
	assert_non_null(copy);
	random_fill(data, len);
	for (i = 0; i < 5; i++) {
		want = nofi_crc32c_update_portable(i, data + i, len - i);
		if (i == 0)
			assert_int_equal(want, by_definition(0, data, len));
		assert_int_equal(nofi_crc32c_update(i, data + i, len - i), want);
		assert_int_equal(nofi_crc32c_copy(i, copy, data + i, len - i), want);
		assert_memory_equal(copy, data + i, len - i);
	}
	free(data);
	free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t3_check_value),
		cmocka_unit_test(t3_iscsi_examples),
		cmocka_unit_test(t3_hardware_runs_where_it_should),
		cmocka_unit_test(t3_every_alignment_and_length),
		cmocka_unit_test(t3_split_at_every_point),
		cmocka_unit_test(t3_large_pieces),
	};

	return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
