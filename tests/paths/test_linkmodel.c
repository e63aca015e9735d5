// SPDX-License-Identifier: LGPL-2.1-or-later
/* The link emulator's model, on a clock of the test's own: every number here is exact. */
#include "../unit/unit.h"

#include "linkmodel.h"

#define MS 1000000u

static struct lm_dir dir;

static void start(struct lm_params params, uint32_t capacity, uint64_t seed)
{
	if (!params.queue_bytes)
		params.queue_bytes = UINT32_MAX;
	assert_int_equal(lm_start(&dir, &params, capacity, seed), 0);
}

/* A packet that carries its number. */
static bool take(uint64_t now, uint32_t number, uint16_t length)
{
	memcpy(lm_room(&dir), &number, sizeof(number));
	return lm_take(&dir, now, length);
}

/* The number of the packet that leaves, or -1. */
static int64_t give(uint64_t now)
{
	uint16_t length;
	uint32_t number;
	const uint8_t *p = lm_give(&dir, now, &length);

	if (!p)
		return -1;
	memcpy(&number, p, sizeof(number));
	return number;
}

static void test_delay_is_exact_and_keeps_the_order(void **state)
{
	(void)state;
	start((struct lm_params){.delay_ns = 5 * MS}, 100, 1);
	for (uint32_t i = 0; i < 100; i++)
		assert_true(take(i * 1000, i, 1500));
	assert_int_equal(lm_due(&dir), 5 * MS);
	assert_int_equal(give(5 * MS - 1), -1);
	for (uint32_t i = 0; i < 100; i++) {
		assert_int_equal(lm_due(&dir), 5 * MS + i * 1000);
		assert_int_equal(give(5 * MS + i * 1000), i);
		assert_int_equal(give(5 * MS + i * 1000), -1);
	}
	assert_true(lm_due(&dir) == LM_NEVER);
	assert_int_equal(dir.stats.delivered, 100);
	assert_int_equal(dir.stats.most_held, 100);
	lm_end(&dir);
}

static void test_jitter_stays_within_its_bounds(void **state)
{
	uint64_t earliest = LM_NEVER, latest = 0;

	(void)state;
	start((struct lm_params){.delay_ns = 5 * MS, .jitter_ns = 2 * MS, .may_reorder = true},
	      1, 1);
	/* One at a time, so that none waits for another. */
	for (uint32_t i = 0; i < 10000; i++) {
		assert_true(take(0, i, 100));
		earliest = lm_due(&dir) < earliest ? lm_due(&dir) : earliest;
		latest = lm_due(&dir) > latest ? lm_due(&dir) : latest;
		assert_int_equal(give(7 * MS), i);
	}
	assert_in_range(earliest, 3 * MS, 3 * MS + MS / 100);
	assert_in_range(latest, 7 * MS - MS / 100, 7 * MS);
	lm_end(&dir);
	/* More jitter than delay: nothing leaves before it came. */
	start((struct lm_params){.delay_ns = MS, .jitter_ns = 9 * MS, .may_reorder = true}, 1, 1);
	for (uint32_t i = 0; i < 1000; i++) {
		assert_true(take(100 * MS, i, 100));
		assert_in_range(lm_due(&dir), 100 * MS, 110 * MS);
		assert_int_equal(give(LM_NEVER - 1), i);
	}
	lm_end(&dir);
}

static void test_jitter_reorders_only_where_it_may(void **state)
{
	(void)state;
	for (int may = 0; may < 2; may++) {
		uint64_t seen = 0;
		uint32_t out_of_order = 0;

		start((struct lm_params){.delay_ns = 5 * MS, .jitter_ns = MS, .may_reorder = may},
		      1000, 3);
		for (uint32_t i = 0; i < 1000; i++)
			assert_true(take(i * 10000, i, 100));
		for (uint32_t i = 0; i < 1000; i++) {
			int64_t number = give(LM_NEVER - 1);

			assert_in_range(number, 0, 999);
			seen += (uint64_t)number;
			out_of_order += number != i;
		}
		assert_int_equal(seen, 999 * 500);
		if (may)
			assert_true(out_of_order > 500 && dir.stats.overtaken > 300);
		else
			assert_true(out_of_order == 0 && dir.stats.overtaken == 0);
		lm_end(&dir);
	}
}

static void test_loss_is_the_share_asked_for(void **state)
{
	static const uint32_t permille[] = {0, 5, 10, 100, 1000};

	(void)state;
	for (size_t k = 0; k < sizeof(permille) / sizeof(permille[0]); k++) {
		uint32_t lost = 0, want = permille[k] * 100;

		start((struct lm_params){.loss = ((uint64_t)permille[k] << 32) / 1000}, 1, 7);
		for (uint32_t i = 0; i < 100000; i++) {
			if (take(0, i, 100))
				assert_int_equal(give(0), i);
			else
				lost++;
		}
		assert_in_range(lost, want - want / 10, want + want / 10);
		assert_int_equal(dir.stats.lost_random, lost);
		assert_int_equal(dir.stats.packets, 100000);
		lm_end(&dir);
	}
}

static void test_bursts_have_their_mean_length(void **state)
{
	uint32_t lost = 0, bursts = 0;
	bool before = false;

	(void)state;
	/* One packet of a hundred begins a burst, one of four inside ends it: four on average. */
	start((struct lm_params){.burst_enter = (1ull << 32) / 100, .burst_leave = 1ull << 30}, 1,
	      11);
	for (uint32_t i = 0; i < 100000; i++) {
		bool now = !take(0, i, 100);

		if (!now)
			assert_int_equal(give(0), i);
		lost += now;
		bursts += now && !before;
		before = now;
	}
	/* A share of enter / (enter + leave) of all packets. */
	assert_in_range(lost, 3400, 4300);
	assert_in_range(lost * 10 / bursts, 36, 44);
	assert_int_equal(dir.stats.lost_burst, lost);
	lm_end(&dir);
}

static void test_rate_spaces_packets_and_bounds_the_queue(void **state)
{
	uint32_t held = 0;

	(void)state;
	/* 100 Mbit/s: 1250 bytes take 100 us. Ten of them fit the queue, one is on the wire. */
	start((struct lm_params){.rate = 100000000, .queue_bytes = 12500}, 100, 1);
	for (uint32_t i = 0; i < 50; i++)
		held += take(0, i, 1250);
	assert_int_equal(held, 10);
	assert_int_equal(dir.stats.lost_queue, 40);
	for (uint32_t i = 0; i < 10; i++) {
		assert_int_equal(lm_due(&dir), (i + 1) * 100000);
		assert_int_equal(give((i + 1) * 100000), i);
	}
	/* An idle link has saved nothing up. */
	assert_true(take(50 * MS, 99, 1250));
	assert_int_equal(lm_due(&dir), 50 * MS + 100000);
	/* Twice as much as passes in a second, offered evenly: half of it passes. */
	lm_end(&dir);
	start((struct lm_params){.rate = 100000000, .queue_bytes = 12500}, 100, 1);
	held = 0;
	for (uint32_t i = 0; i < 20000; i++) {
		uint64_t now = i * 50000ull;

		while (give(now) >= 0)
			;
		held += take(now, i, 1250);
	}
	assert_in_range(held, 10000, 10011);
	lm_end(&dir);
}

static void test_the_same_seed_is_the_same_fate(void **state)
{
	static uint64_t due[2][2000];
	struct lm_params params = {.delay_ns = 5 * MS, .jitter_ns = MS, .loss = 1u << 28,
				   .burst_enter = 1u << 26, .burst_leave = 1u << 30};
	uint32_t differing = 0;

	(void)state;
	for (uint64_t run = 0; run < 3; run++) {
		start(params, 1, run == 2 ? 6 : 5);
		for (uint32_t i = 0; i < 2000; i++) {
			uint64_t when = take(i * 1000, i, 900) ? lm_due(&dir) : 0;

			give(LM_NEVER - 1);
			if (run < 2)
				due[run][i] = when;
			else
				differing += when != due[0][i];
		}
		lm_end(&dir);
	}
	assert_memory_equal(due[0], due[1], sizeof(due[0]));
	assert_true(differing > 1000);
	/* Another option does not change which packets are lost. */
	params.jitter_ns = 0;
	start(params, 1, 5);
	for (uint32_t i = 0; i < 2000; i++) {
		assert_int_equal(take(i * 1000, i, 900), due[0][i] != 0);
		give(LM_NEVER - 1);
	}
	lm_end(&dir);
}

static void test_luck_is_good_in_the_beginning(void **state)
{
	(void)state;
	start((struct lm_params){.delay_ns = 5 * MS, .jitter_ns = MS, .loss = 1ull << 32,
				 .calm = 50}, 100, 1);
	for (uint32_t i = 0; i < 100; i++) {
		assert_int_equal(take(i, i, 100), i < 50);
		if (i < 50) {
			assert_int_equal(lm_due(&dir), 5 * MS + i);
			assert_int_equal(give(5 * MS + i), i);
		}
	}
	lm_end(&dir);
}

static void test_a_full_pool_loses_and_recovers(void **state)
{
	(void)state;
	start((struct lm_params){.delay_ns = MS}, 4, 1);
	for (uint32_t round = 0; round < 1000; round++) {
		uint64_t now = round * 2ull * MS;

		for (uint32_t i = 0; i < 6; i++)
			assert_int_equal(take(now, round * 10 + i, 60), i < 4);
		for (uint32_t i = 0; i < 4; i++)
			assert_int_equal(give(now + MS), round * 10 + i);
		assert_int_equal(give(now + MS), -1);
	}
	assert_int_equal(dir.stats.lost_pool, 2000);
	assert_int_equal(dir.stats.delivered, 4000);
	lm_end(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_delay_is_exact_and_keeps_the_order),
		cmocka_unit_test(test_jitter_stays_within_its_bounds),
		cmocka_unit_test(test_jitter_reorders_only_where_it_may),
		cmocka_unit_test(test_loss_is_the_share_asked_for),
		cmocka_unit_test(test_bursts_have_their_mean_length),
		cmocka_unit_test(test_rate_spaces_packets_and_bounds_the_queue),
		cmocka_unit_test(test_the_same_seed_is_the_same_fate),
		cmocka_unit_test(test_luck_is_good_in_the_beginning),
		cmocka_unit_test(test_a_full_pool_loses_and_recovers),
	};

	return cmocka_run_group_tests_name("linkmodel", tests, NULL, NULL);
}
