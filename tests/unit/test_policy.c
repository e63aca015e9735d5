/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which path a command takes. */
#include "unit.h"

#include "ctrl/policy.h"

static struct nofi_way w[4];
static struct nofi_way *const ways[4] = { &w[0], &w[1], &w[2], &w[3] };
static uint8_t active[NOFI_PATHS_MAX];

static void all_optimized(void)
{
	for (int i = 0; i < 4; i++)
		w[i] = (struct nofi_way){ .is_usable = true, .ana = NOF_ANA_OPTIMIZED };
}

static void check_active(uint32_t mask)
{
	uint32_t n = nofi_policy_select(ways, 4, active), got = 0;

	for (uint32_t i = 0; i < n; i++) {
		assert_true(!i || active[i] > active[i - 1]);
		got |= 1u << active[i];
	}
	assert_int_equal(got, mask);
	assert_int_equal(__builtin_popcount(mask), n);
}

static void optimized_come_first(void **state)
{
	all_optimized();
	check_active(0xf);
	w[0].ana = w[2].ana = NOF_ANA_NON_OPTIMIZED;
	check_active(0xa);
	w[1].is_usable = false;
	check_active(0x8);
	w[3].ana = NOF_ANA_INACCESSIBLE;
	check_active(0x5);
	w[0].ana = NOF_ANA_CHANGE;
	w[2].ana = NOF_ANA_PERSISTENT_LOSS;
	check_active(0);
	/* A controller without ANA is as good as an optimized one. */
	w[3].ana = NOF_ANA_NONE;
	check_active(0x8);
	for (unsigned a = 0; a < 256; a++)
		assert_int_equal(nofi_ana_is_usable((uint8_t)a), a <= 2);
}

static void pinned_and_preferred(void **state)
{
	all_optimized();
	w[1].is_preferred = true;
	check_active(0x2);
	w[1].is_usable = false;
	check_active(0xd);
	w[1].is_usable = true;
	/* Preferred among equals: not before what is better. */
	w[1].ana = NOF_ANA_NON_OPTIMIZED;
	check_active(0xd);
	w[2].is_pinned = true;
	check_active(0x4);
	w[2].is_usable = false;
	check_active(0);
}

static int choose(enum nof_iopolicy policy, uint32_t full, uint32_t *turn)
{
	return nofi_policy_choose(policy, ways, active, 4, full, turn);
}

static void numa_stays(void **state)
{
	uint32_t turn = 0;

	all_optimized();
	check_active(0xf);
	for (int i = 0; i < 5; i++)
		assert_int_equal(choose(NOF_IOPOLICY_NUMA, 0, &turn), 0);
	assert_int_equal(choose(NOF_IOPOLICY_NUMA, 0x3, &turn), 2);
	assert_int_equal(choose(NOF_IOPOLICY_NUMA, 0xf, &turn), -1);
}

static void numa_takes_the_nearest(void **state)
{
	uint32_t turn = 0;

	all_optimized();
	check_active(0xf);
	w[0].distance = w[1].distance = 21;
	w[2].distance = w[3].distance = 10;
	assert_int_equal(choose(NOF_IOPOLICY_NUMA, 0, &turn), 2);
	assert_int_equal(choose(NOF_IOPOLICY_NUMA, 0x4, &turn), 3);
	assert_int_equal(choose(NOF_IOPOLICY_NUMA, 0xc, &turn), 0);
	/* Not known: as good as near. */
	w[1].distance = 0;
	assert_int_equal(choose(NOF_IOPOLICY_NUMA, 0, &turn), 1);
	/* The others do not mind. */
	turn = 0;
	assert_int_equal(choose(NOF_IOPOLICY_ROUND_ROBIN, 0, &turn), 0);
	assert_int_equal(choose(NOF_IOPOLICY_QUEUE_DEPTH, 0, &turn), 1);
}

static void round_robin_goes_round(void **state)
{
	uint32_t turn = 0;

	all_optimized();
	check_active(0xf);
	for (int i = 0; i < 9; i++)
		assert_int_equal(choose(NOF_IOPOLICY_ROUND_ROBIN, 0, &turn), i % 4);
	assert_int_equal(choose(NOF_IOPOLICY_ROUND_ROBIN, 0x2, &turn), 2);
	assert_int_equal(choose(NOF_IOPOLICY_ROUND_ROBIN, 0x8, &turn), 0);
	assert_int_equal(choose(NOF_IOPOLICY_ROUND_ROBIN, 0xf, &turn), -1);
	/* Fewer ways than before. */
	turn = 1000;
	assert_int_equal(nofi_policy_choose(NOF_IOPOLICY_ROUND_ROBIN, ways, active, 3, 0, &turn),
			 1);
}

static void queue_depth_takes_the_shortest(void **state)
{
	uint32_t turn = 0, count[4] = { 0 };

	all_optimized();
	check_active(0xf);
	w[0].inflight = 10;
	w[1].inflight = 9;
	w[2].inflight = 30;
	w[3].inflight = 9;
	for (int i = 0; i < 22; i++) {
		int c = choose(NOF_IOPOLICY_QUEUE_DEPTH, 0, &turn);

		w[c].inflight++;
		count[c]++;
	}
	assert_int_equal(count[2], 0);
	for (int i = 0; i < 4; i++)
		assert_true(i == 2 || (w[i].inflight >= 16 && w[i].inflight <= 17));
}

/* The one twice as fast gets twice as much. */
static void service_time_weighs(void **state)
{
	uint32_t turn = 0, count[4] = { 0 };

	all_optimized();
	check_active(0xf);
	w[0].service_ns = 100000;
	w[1].service_ns = 200000;
	w[2].service_ns = 200000;
	w[3].service_ns = 100000;
	for (int i = 0; i < 600; i++) {
		int c = choose(NOF_IOPOLICY_SERVICE_TIME, 0, &turn);

		w[c].inflight++;
		count[c]++;
	}
	assert_in_range(count[0], 195, 205);
	assert_in_range(count[1], 95, 105);
	assert_in_range(count[2], 95, 105);
	assert_in_range(count[3], 195, 205);
	/* Not measured yet: is tried. */
	w[1].service_ns = 0;
	assert_int_equal(choose(NOF_IOPOLICY_SERVICE_TIME, 0, &turn), 1);
}

static void the_average_follows(void **state)
{
	uint64_t a = nofi_policy_average(0, 0);

	assert_int_equal(a, 1);
	a = nofi_policy_average(0, 1000);
	assert_int_equal(a, 1000);
	for (int i = 0; i < 200; i++)
		a = nofi_policy_average(a, 5000);
	assert_in_range(a, 4500, 5100);
	for (int i = 0; i < 300; i++) {
		a = nofi_policy_average(a, 0);
		assert_true(a);
	}
	assert_true(a < 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(optimized_come_first),
		cmocka_unit_test(pinned_and_preferred),
		cmocka_unit_test(numa_stays),
		cmocka_unit_test(numa_takes_the_nearest),
		cmocka_unit_test(round_robin_goes_round),
		cmocka_unit_test(queue_depth_takes_the_shortest),
		cmocka_unit_test(service_time_weighs),
		cmocka_unit_test(the_average_follows),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
