/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The self-tuning of adaptive polling, by itself: waits are fed to it, and it has to follow
 * what a spin would have brought.
 */
#include "queue/poll.h"
#include "unit.h"

enum { US = 1000 };

/* A target that answers after answer; waking up takes wake. Returns what the wait spun. */
static uint64_t wait_for(struct nofi_poll *p, uint64_t answer, uint64_t wake)
{
	uint64_t limit = nofi_poll_begin(p, true);
	bool is_hit = answer <= limit;

	assert_true(limit <= p->max);
	nofi_poll_end(p, limit, is_hit ? answer : answer + wake);
	return is_hit ? answer : limit;
}

static void fast_answers_are_found_from_the_first(void **state)
{
	struct nofi_poll p;

	(void)state;
	nofi_poll_init(&p, NOF_POLL_ADAPTIVE, 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(wait_for(&p, 10 * US, 40 * US), 10 * US);
	/* And it does not mean to look much longer than that. */
	assert_true(p.limit <= 32 * US && p.limit >= 10 * US);
}

static void the_limit_follows_down_and_up(void **state)
{
	struct nofi_poll p;
	uint64_t low;
	int i;

	(void)state;
	nofi_poll_init(&p, NOF_POLL_ADAPTIVE, 200);
	for (i = 0; i < 300; i++)
		wait_for(&p, 4 * US, 40 * US);
	low = p.limit;
	assert_true(low <= 13 * US);
	/* Answers get slower than the limit: a few just missed, then it has them. */
	for (i = 0; wait_for(&p, 60 * US, 40 * US) < 60 * US; i++)
		assert_true(i < 16);
	assert_true(p.limit > low);
	for (i = 0; i < 1000; i++)
		assert_int_equal(wait_for(&p, 60 * US, 40 * US), 60 * US);
}

static void late_answers_end_it(void **state)
{
	struct nofi_poll p;
	uint64_t spun = 0, waited = 0;

	(void)state;
	nofi_poll_init(&p, NOF_POLL_ADAPTIVE, 0);
	for (int i = 0; i < 100000; i++) {
		spun += wait_for(&p, 1000 * US, 40 * US);
		waited += 1000 * US;
	}
	assert_int_equal(p.limit, 0);
	assert_int_equal(p.next_rest, NOFI_POLL_REST_MAX);
	/* All tries together: a few parts in 10,000 of the time. */
	assert_true(spun * 2000 < waited);
}

/* The boundary: answers that always come just after the longest spin. */
static void what_is_always_just_missed_is_given_up(void **state)
{
	struct nofi_poll p;
	uint64_t spun = 0;

	(void)state;
	nofi_poll_init(&p, NOF_POLL_ADAPTIVE, 0);
	for (int i = 0; i < 100000; i++)
		spun += wait_for(&p, 55 * US, 40 * US);
	assert_true(spun < 100000ull * 55 * US / 100);
}

static void a_fast_target_is_found_again(void **state)
{
	struct nofi_poll p;
	int i;

	(void)state;
	nofi_poll_init(&p, NOF_POLL_ADAPTIVE, 0);
	for (i = 0; i < 100000; i++)
		wait_for(&p, 1000 * US, 40 * US);
	/* Its waits end, sleep and wake-up and all, sooner than a spin would: at once. */
	for (i = 0; wait_for(&p, 5 * US, 30 * US) < 5 * US; i++)
		assert_true(i < 2);
	for (i = 0; i < 100000; i++)
		wait_for(&p, 1000 * US, 40 * US);
	/* Waking up takes longer than a spin, so that only a try can tell. */
	for (i = 0; wait_for(&p, 5 * US, 90 * US) < 5 * US; i++)
		assert_true(i <= NOFI_POLL_REST_MAX);
	for (i = 0; i < 1000; i++)
		assert_int_equal(wait_for(&p, 5 * US, 90 * US), 5 * US);
}

static void nothing_in_flight_never_spins(void **state)
{
	struct nofi_poll p;

	(void)state;
	nofi_poll_init(&p, NOF_POLL_ADAPTIVE, 0);
	for (int i = 0; i < 10000; i++) {
		assert_int_equal(nofi_poll_begin(&p, false), 0);
		if (i % 3 == 0)
			wait_for(&p, 10 * US, 40 * US);
	}
}

static void modes_are_what_they_say(void **state)
{
	struct nofi_poll p;

	(void)state;
	nofi_poll_init(&p, NOF_POLL_SLEEP, 0);
	assert_int_equal(nofi_poll_begin(&p, true), 0);
	nofi_poll_end(&p, 0, 1);
	assert_int_equal(nofi_poll_begin(&p, true), 0);
	nofi_poll_init(&p, NOF_POLL_SPIN, 0);
	assert_true(nofi_poll_begin(&p, true) == NOFI_POLL_NO_LIMIT);
	assert_true(nofi_poll_begin(&p, false) == NOFI_POLL_NO_LIMIT);
	nofi_poll_init(&p, NOF_POLL_ADAPTIVE, 7);
	assert_int_equal(p.max, 7 * US);
}

/* Whatever comes, the limit stays within its bounds, and rests end. */
static void any_sequence_keeps_the_bounds(void **state)
{
	static const uint64_t maxes[] = { 1, 2, 3, 50, 1000, 1000000 };

	(void)state;
	for (unsigned k = 0; k < sizeof(maxes) / sizeof(maxes[0]); k++) {
		struct nofi_poll p;
		unsigned slept = 0;

		nofi_poll_init(&p, NOF_POLL_ADAPTIVE, (uint32_t)maxes[k]);
		for (int i = 0; i < 200000; i++) {
			uint64_t limit = nofi_poll_begin(&p, true);
			uint64_t waited = random64() >> (33 + random64() % 31);

			assert_true(limit <= maxes[k] * US);
			slept = limit ? 0 : slept + 1;
			assert_true(slept <= NOFI_POLL_REST_MAX);
			/* What took shorter than a limit was a hit, and those are never longer. */
			nofi_poll_end(&p, limit, waited);
			assert_true(p.limit <= p.max);
			assert_true(p.next_rest <= NOFI_POLL_REST_MAX &&
				    p.next_rest >= NOFI_POLL_REST_MIN);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fast_answers_are_found_from_the_first),
		cmocka_unit_test(the_limit_follows_down_and_up),
		cmocka_unit_test(late_answers_end_it),
		cmocka_unit_test(what_is_always_just_missed_is_given_up),
		cmocka_unit_test(a_fast_target_is_found_again),
		cmocka_unit_test(nothing_in_flight_never_spins),
		cmocka_unit_test(modes_are_what_they_say),
		cmocka_unit_test(any_sequence_keeps_the_bounds),
	};

	return cmocka_run_group_tests_name("poll", tests, NULL, NULL);
}
