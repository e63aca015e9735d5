/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ANA log (0Ch), judged: nothing of it is believed before all of it is. */
#include "unit.h"

#include <errno.h>
#include <stdlib.h>

#include "ctrl/ana.h"
#include "nof.h"
#include "pdu/wire.h"

static const struct nofi_ana_limits lim = { .anagrpmax = 100, .nanagrpid = 20, .nn = 64 };
static struct nofi_ana_group groups[NOFI_ANA_GROUPS_MAX];
static struct nofi_err err;

struct log {
	uint8_t b[65536];
	size_t len;
};

static struct log *begin(void)
{
	static struct log l;

	memset(&l, 0, sizeof(l));
	l.len = NOFI_ANA_HEADER;
	return &l;
}

static void put(struct log *l, uint32_t id, uint8_t state, uint32_t nnsids)
{
	nofi_put16(l->b + 8, (uint16_t)(nofi_get16(l->b + 8) + 1));
	nofi_put32(l->b + l->len, id);
	nofi_put32(l->b + l->len + 4, nnsids);
	l->b[l->len + 16] = state;
	l->len += NOFI_ANA_DESC + nnsids * 4;
}

/* At the end of an allocation, so that a byte too far is seen. */
static int parse(const struct log *l, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, l->b, len);
	err.text[0] = '\0';
	r = nofi_ana_parse(copy, len, &lim, groups, &err);
	free(copy);
	assert_true(r >= 0 || (r == -EPROTO && strlen(err.text) > 15));
	return r;
}

static void good_logs(void **state)
{
	static const uint8_t states[] = { 1, 2, 3, 4, 15 };
	struct log *l = begin();

	assert_int_equal(parse(l, l->len), 0);
	for (uint32_t i = 0; i < 5; i++)
		put(l, i * 20 + 1, states[i], i);
	assert_int_equal(parse(l, l->len), 5);
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(groups[i].id, i * 20 + 1);
		assert_int_equal(groups[i].state, states[i]);
	}
	/* The high bits of the state are reserved. */
	l->b[NOFI_ANA_HEADER + 16] |= 0xf0;
	assert_int_equal(parse(l, l->len), 5);
	assert_int_equal(groups[0].state, NOF_ANA_OPTIMIZED);
	/* What lies behind it is not looked at. */
	assert_int_equal(parse(l, l->len + 100), 5);
}

static void cut_anywhere(void **state)
{
	struct log *l = begin();

	for (uint32_t i = 1; i <= 3; i++)
		put(l, i, 1, 2);
	for (size_t len = 0; len < l->len; len++)
		assert_int_equal(parse(l, len), -EPROTO);
	assert_int_equal(parse(l, l->len), 3);
}

static void out_of_bounds(void **state)
{
	struct log *l = begin();

	put(l, 0, 1, 0);
	assert_int_equal(parse(l, l->len), -EPROTO);
	l = begin();
	put(l, 101, 1, 0);
	assert_int_equal(parse(l, l->len), -EPROTO);
	l = begin();
	put(l, 0xffffffff, 1, 0);
	assert_int_equal(parse(l, l->len), -EPROTO);
	for (unsigned s = 0; s < 16; s++) {
		l = begin();
		put(l, 1, (uint8_t)s, 0);
		assert_int_equal(parse(l, l->len), (s >= 1 && s <= 4) || s == 15 ? 1 : -EPROTO);
	}
	/* More groups than Identify said, more namespaces than there can be. */
	l = begin();
	for (uint32_t i = 1; i <= 21; i++)
		put(l, i, 1, 0);
	assert_int_equal(parse(l, l->len), -EPROTO);
	l = begin();
	put(l, 1, 1, 65);
	assert_int_equal(parse(l, l->len), -EPROTO);
	l = begin();
	put(l, 1, 1, 0);
	nofi_put32(l->b + NOFI_ANA_HEADER + 4, 0x40000001);	/* × 4 = 4 in 32 bits */
	assert_int_equal(parse(l, l->len), -EPROTO);
	l = begin();
	nofi_put16(l->b + 8, 0xffff);
	assert_int_equal(parse(l, sizeof(l->b)), -EPROTO);
}

static void noise(void **state)
{
	struct log *l = begin();
	uint64_t x = 88172645463325252ull;

	for (int k = 0; k < 20000; k++) {
		size_t len = 16 + (size_t)(x % 600);

		for (size_t i = 0; i < len; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			l->b[i] = (uint8_t)(x >> 20) & (k & 1 ? 0xff : 0x03);
		}
		nofi_put16(l->b + 8, (uint16_t)(x % 24));
		parse(l, len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_logs),
		cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(out_of_bounds),
		cmocka_unit_test(noise),
	};

	return cmocka_run_group_tests_name("ana", tests, NULL, NULL);
}
