/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which path is dead: histories of questions and answers, and what follows from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mptcp/stall.h"

#define MS 1000000ull
#define T0 (1000 * MS)

static uint32_t judge(const struct nofi_stall_path *p, unsigned n, uint64_t ms, uint64_t *next)
{
	uint32_t dead = nofi_stall_judge(p, n, T0 + ms * MS, next);

	if (*next)
		*next = (*next - T0) / MS;
	return dead;
}

static void test_one_answers_the_other_does_not(void **state)
{
	struct nofi_stall_path p[2] = { { .asked = T0 }, { .asked = T0, .answered = T0 + MS } };
	uint64_t next;

	assert_int_equal(judge(p, 2, 2, &next), 0);
	assert_int_equal(next, 10);
	assert_int_equal(judge(p, 2, 10, &next), 1);
	assert_int_equal(next, 0);
}

static void test_slow_target_all_answer(void **state)
{
	struct nofi_stall_path p[3] = { { .asked = T0, .answered = T0 + 3 * MS },
					{ .asked = T0, .answered = T0 + MS },
					{ .asked = T0, .answered = T0 + 9 * MS } };
	uint64_t next;

	assert_int_equal(judge(p, 3, 100, &next), 0);
	assert_int_equal(next, 0);
}

static void test_target_is_gone_nobody_answers(void **state)
{
	struct nofi_stall_path p[2] = { { .asked = T0 }, { .asked = T0 } };
	uint64_t next;

	assert_int_equal(judge(p, 2, 50, &next), 0);
	assert_int_equal(next, 300);
	assert_int_equal(judge(p, 2, 300, &next), 0);
	assert_int_equal(next, 0);
}

static void test_long_path_is_given_its_time(void **state)
{
	/* 1 ms beside 30 ms: four round trips of its own, not of the other. */
	struct nofi_stall_path p[2] = { { .asked = T0, .answered = T0 + MS, .rtt_ns = MS },
					{ .asked = T0, .rtt_ns = 31 * MS, .min_rtt_ns = 30 * MS } };
	uint64_t next;

	assert_int_equal(judge(p, 2, 60, &next), 0);
	assert_int_equal(next, 120);
	assert_int_equal(judge(p, 2, 120, &next), 2);
}

static void test_full_queue_is_given_its_time(void **state)
{
	struct nofi_stall_path p[2] = { { .asked = T0, .answered = T0 + MS, .rtt_ns = MS },
					{ .asked = T0, .rtt_ns = 40 * MS, .min_rtt_ns = MS } };
	uint64_t next;

	assert_int_equal(judge(p, 2, 50, &next), 0);
	assert_int_equal(next, 80);
	p[1].answered = T0 + 45 * MS;
	assert_int_equal(judge(p, 2, 90, &next), 0);
	assert_int_equal(next, 0);
}

static void test_without_route(void **state)
{
	struct nofi_stall_path p[2] = { { .asked = T0, .is_failed = true }, { .asked = T0 } };
	uint64_t next;

	/* Not before another path has answered: then at once. */
	assert_int_equal(judge(p, 2, 1, &next), 0);
	assert_int_equal(next, 300);
	p[1].answered = T0 + 2 * MS;
	assert_int_equal(judge(p, 2, 2, &next), 1);
	assert_int_equal(next, 0);
	p[1].answered = 0;
	p[1].is_failed = true;
	assert_int_equal(judge(p, 2, 2, &next), 0);
	assert_int_equal(next, 0);
}

static void test_two_of_three(void **state)
{
	struct nofi_stall_path p[3] = { { .asked = T0 }, { .asked = T0, .answered = T0 + 4 * MS },
					{ .asked = T0, .min_rtt_ns = 5 * MS } };
	uint64_t next;

	assert_int_equal(judge(p, 3, 16, &next), 1);
	assert_int_equal(next, 20);
	assert_int_equal(judge(p, 3, 20, &next), 5);
	assert_int_equal(next, 0);
}

static void test_pace(void **state)
{
	struct nofi_stall_pace p = { 0 };
	uint64_t now = T0;

	assert_int_equal(nofi_stall_limit(&p), 10 * MS);
	p.rtt_ns = 20 * MS;
	assert_int_equal(nofi_stall_limit(&p), 80 * MS);
	p.rtt_ns = MS;
	for (int i = 0; i < 20; i++)
		nofi_stall_alarmed(&p, now);
	assert_int_equal(nofi_stall_limit(&p), 2560 * MS);
	nofi_stall_calm(&p, now + 4999 * MS);
	assert_int_equal(p.level, 8);
	nofi_stall_calm(&p, now + 11000 * MS);
	assert_int_equal(p.level, 6);
	nofi_stall_calm(&p, now + 100000 * MS);
	assert_int_equal(nofi_stall_limit(&p), 10 * MS);
	nofi_stall_calm(&p, now + 100000 * MS);
	assert_int_equal(p.level, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_answers_the_other_does_not),
		cmocka_unit_test(test_slow_target_all_answer),
		cmocka_unit_test(test_target_is_gone_nobody_answers),
		cmocka_unit_test(test_long_path_is_given_its_time),
		cmocka_unit_test(test_full_queue_is_given_its_time),
		cmocka_unit_test(test_without_route),
		cmocka_unit_test(test_two_of_three),
		cmocka_unit_test(test_pace),
	};

	return cmocka_run_group_tests_name("stall", tests, NULL, NULL);
}
