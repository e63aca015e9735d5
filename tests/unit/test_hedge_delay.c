/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When a read is overdue: the running percentile, the delay made of it, the bound on hedges. */
#include <stdlib.h>

#include "hedge.h"
#include "unit.h"

enum { US = 1000, MS = 1000000 };

static uint64_t seed = 1;

static uint32_t next(uint32_t below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(seed >> 33) % below;
}

/* Uniform from 0 to 1 ms: the 95th percentile is 950 µs. */
static void t_uniform(void **state)
{
	struct nofi_quantile q = { 0 };
	uint64_t least = UINT64_MAX, most = 0;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		nofi_quantile_add(&q, next(1000) * US);
		if (i < 20000)
			continue;
		least = q.ns < least ? q.ns : least;
		most = q.ns > most ? q.ns : most;
	}
	assert_in_range(least, 850 * US, 950 * US);
	assert_in_range(most, 950 * US, 1100 * US);
}

/* How long the slow ones take does not matter, as long as they are fewer than 5 %. */
static void t_tail(void **state)
{
	struct nofi_quantile q = { 0 };

	(void)state;
	for (int i = 0; i < 50000; i++)
		nofi_quantile_add(&q, next(100) < 3 ? 200ull * MS : (90 + next(20)) * US);
	assert_in_range(q.ns, 90 * US, 125 * US);
	assert_in_range(nofi_hedge_delay(0, &q), 250 * US, 250 * US);
}

/* It follows a change by a factor of 20 within some hundred samples, both ways. */
static void t_follows(void **state)
{
	struct nofi_quantile q = { 0 };
	int n;

	(void)state;
	for (int i = 0; i < 5000; i++)
		nofi_quantile_add(&q, 100 * US);
	for (n = 0; q.ns < 2 * MS && n < 100000; n++)
		nofi_quantile_add(&q, 2 * MS + 1);
	assert_in_range(n, 1, 300);
	for (n = 0; q.ns > 110 * US && n < 100000; n++)
		nofi_quantile_add(&q, 100 * US);
	assert_in_range(n, 1, 4000);
}

static void t_extremes(void **state)
{
	struct nofi_quantile q = { 0 };

	(void)state;
	for (int i = 0; i < 10000; i++)
		nofi_quantile_add(&q, 0);
	assert_in_range(q.ns, 1, 8192);
	for (int i = 0; i < 10000; i++)
		nofi_quantile_add(&q, UINT64_MAX);
	assert_int_equal(q.ns, 100 * MS);
	assert_int_equal(nofi_hedge_delay(0, &q), 100 * MS);
}

static void t_delay(void **state)
{
	struct nofi_quantile q = { 0 };

	(void)state;
	assert_int_equal(nofi_hedge_delay(0, &q), 10 * MS);
	assert_int_equal(nofi_hedge_delay(77, &q), 77 * US);
	for (int i = 0; i < 100000; i++)
		nofi_quantile_add(&q, (900 + next(100)) * US);
	assert_in_range(nofi_hedge_delay(0, &q), 1700 * US, 2100 * US);
	assert_int_equal(nofi_hedge_delay(60000000, &q), 60000ull * MS);
}

/* Never more than one of 20, but for those it begins with. */
static void t_budget(void **state)
{
	struct nofi_hedge_budget b;
	unsigned taken = 0, reads = 0;

	(void)state;
	nofi_hedge_budget_init(&b);
	while (nofi_hedge_budget_take(&b))
		taken++;
	assert_int_equal(taken, 16);
	for (taken = 0; reads < 100000; reads++) {
		nofi_hedge_budget_read(&b);
		taken += nofi_hedge_budget_take(&b);
	}
	assert_int_equal(taken, 5000);
	for (reads = 0; reads < 100000; reads++)
		nofi_hedge_budget_read(&b);
	for (taken = 0; nofi_hedge_budget_take(&b);)
		taken++;
	assert_int_equal(taken, 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t_uniform),	cmocka_unit_test(t_tail),
		cmocka_unit_test(t_follows),	cmocka_unit_test(t_extremes),
		cmocka_unit_test(t_delay),	cmocka_unit_test(t_budget),
	};

	return cmocka_run_group_tests_name("hedge_delay", tests, NULL, NULL);
}
