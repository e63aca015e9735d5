/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is remembered of targets whose way drops SYNs with MPTCP: of whom, for how long. */
#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "mptcp/memory.h"

#define SECOND 1000000000ull

static struct nofi_memory m;

static int setup(void **state)
{
	(void)state;
	memset(&m, 0, sizeof(m));
	return pthread_mutex_init(&m.lock, NULL);
}

static const struct sockaddr *v4(const char *addr, unsigned port)
{
	static struct sockaddr_in sa;

	sa = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
	assert_int_equal(inet_pton(AF_INET, addr, &sa.sin_addr), 1);
	return (struct sockaddr *)&sa;
}

static const struct sockaddr *v6(const char *addr, unsigned port, uint32_t scope)
{
	static struct sockaddr_in6 sa;

	sa = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port),
				    .sin6_scope_id = scope };
	assert_int_equal(inet_pton(AF_INET6, addr, &sa.sin6_addr), 1);
	return (struct sockaddr *)&sa;
}

static void nothing_is_known_at_first(void **state)
{
	struct nofi_memory_why why = { .left_s = 77 };

	(void)state;
	assert_false(nofi_memory_avoids(&m, 1, v4("10.0.0.1", 4420), SECOND, &why));
	assert_int_equal(why.left_s, 77);
	nofi_memory_clear(&m, 1, v4("10.0.0.1", 4420));
	assert_int_equal(m.count, 0);
}

static void one_lost_syn_is_no_proof(void **state)
{
	uint64_t now = SECOND;

	(void)state;
	assert_int_equal(nofi_memory_strike(&m, 1, v4("10.0.0.1", 4420), now, 1), 0);
	assert_false(nofi_memory_avoids(&m, 1, v4("10.0.0.1", 4420), now, NULL));
	/* A second one soon is; but not one long afterwards. */
	now += NOFI_MEMORY_DOUBT_S * SECOND;
	assert_int_equal(nofi_memory_strike(&m, 1, v4("10.0.0.1", 4420), now, 1), 0);
	now += SECOND;
	assert_int_equal(nofi_memory_strike(&m, 1, v4("10.0.0.1", 4420), now, 1),
			 NOFI_MEMORY_FIRST_S);
	assert_true(nofi_memory_avoids(&m, 1, v4("10.0.0.1", 4420), now, NULL));
}

static void only_that_target_is_avoided(void **state)
{
	(void)state;
	nofi_memory_strike(&m, 1, v4("10.0.0.1", 4420), SECOND, 2);
	nofi_memory_strike(&m, 1, v6("fe80::1", 4420, 3), SECOND, 2);
	assert_true(nofi_memory_avoids(&m, 1, v4("10.0.0.1", 4420), SECOND, NULL));
	assert_true(nofi_memory_avoids(&m, 1, v6("fe80::1", 4420, 3), SECOND, NULL));
	assert_false(nofi_memory_avoids(&m, 1, v4("10.0.0.2", 4420), SECOND, NULL));
	assert_false(nofi_memory_avoids(&m, 1, v4("10.0.0.1", 4421), SECOND, NULL));
	assert_false(nofi_memory_avoids(&m, 2, v4("10.0.0.1", 4420), SECOND, NULL));
	assert_false(nofi_memory_avoids(&m, 1, v6("fe80::1", 4420, 4), SECOND, NULL));
	assert_false(nofi_memory_avoids(&m, 1, v6("fe80::2", 4420, 3), SECOND, NULL));
	nofi_memory_clear(&m, 1, v4("10.0.0.1", 4420));
	assert_false(nofi_memory_avoids(&m, 1, v4("10.0.0.1", 4420), SECOND, NULL));
	assert_true(nofi_memory_avoids(&m, 1, v6("fe80::1", 4420, 3), SECOND, NULL));
}

static void the_pause_doubles_up_to_an_hour(void **state)
{
	uint64_t now = 5 * SECOND;
	uint32_t want = NOFI_MEMORY_FIRST_S;
	struct nofi_memory_why why;

	(void)state;
	assert_int_equal(nofi_memory_strike(&m, 1, v4("10.0.0.1", 4420), now, 2), want);
	for (int i = 0; i < 10; i++) {
		assert_true(nofi_memory_avoids(&m, 1, v4("10.0.0.1", 4420), now, &why));
		assert_int_equal(why.left_s, want);
		/* Those that had been under way at the same time do not make it longer. */
		assert_int_equal(nofi_memory_strike(&m, 1, v4("10.0.0.1", 4420), now, 2), want);
		now += want * SECOND - 1;
		assert_true(nofi_memory_avoids(&m, 1, v4("10.0.0.1", 4420), now, &why));
		assert_int_equal(why.left_s, 1);
		now++;
		/* One tries, its fellows do not wait for it. */
		assert_false(nofi_memory_avoids(&m, 1, v4("10.0.0.1", 4420), now, &why));
		assert_true(nofi_memory_avoids(&m, 1, v4("10.0.0.1", 4420), now, &why));
		assert_int_equal(why.left_s, NOFI_MEMORY_TRIAL_S);
		want = want * 2 < NOFI_MEMORY_LONGEST_S ? want * 2 : NOFI_MEMORY_LONGEST_S;
		now += 2 * SECOND;
		assert_int_equal(nofi_memory_strike(&m, 1, v4("10.0.0.1", 4420), now, 1), want);
	}
}

static void a_trial_without_a_result_is_repeated(void **state)
{
	uint64_t now = SECOND;

	(void)state;
	nofi_memory_strike(&m, 1, v4("10.0.0.1", 4420), now, 2);
	now += NOFI_MEMORY_FIRST_S * SECOND;
	for (int i = 0; i < 3; i++) {
		assert_false(nofi_memory_avoids(&m, 1, v4("10.0.0.1", 4420), now, NULL));
		assert_true(nofi_memory_avoids(&m, 1, v4("10.0.0.1", 4420), now, NULL));
		now += NOFI_MEMORY_TRIAL_S * SECOND;
	}
}

static void a_broken_connection_is_proof_enough(void **state)
{
	struct nofi_memory_why why;

	(void)state;
	assert_int_equal(nofi_memory_break(&m, 1, v4("10.0.0.1", 4420), SECOND),
			 NOFI_MEMORY_FIRST_S);
	nofi_memory_strike(&m, 1, v4("10.0.0.2", 4420), SECOND, 3);
	assert_true(nofi_memory_avoids(&m, 1, v4("10.0.0.1", 4420), SECOND, &why));
	assert_int_equal(why.cause, NOFI_MEMORY_BROKEN);
	assert_true(nofi_memory_avoids(&m, 1, v4("10.0.0.2", 4420), SECOND, &why));
	assert_int_equal(why.cause, NOFI_MEMORY_DROPPED);
}

static void the_table_is_bounded(void **state)
{
	uint64_t now = SECOND;

	(void)state;
	nofi_memory_strike(&m, 1, v4("10.0.0.1", 9), now++, 2);
	nofi_memory_strike(&m, 1, v4("10.0.0.1", 10), now++, 2);
	for (unsigned i = 0; i < NOFI_MEMORY_MAX - 2; i++)
		nofi_memory_strike(&m, 1, v4("10.0.0.1", 1000 + i), now++, 2);
	assert_int_equal(m.count, NOFI_MEMORY_MAX);
	/* What was looked at lately stays, the other oldest goes. */
	assert_true(nofi_memory_avoids(&m, 1, v4("10.0.0.1", 9), now++, NULL));
	for (unsigned i = 0; i < NOFI_MEMORY_MAX - 1; i++)
		nofi_memory_strike(&m, 1, v4("10.0.0.1", 3000 + i), now++, 2);
	assert_int_equal(m.count, NOFI_MEMORY_MAX);
	assert_true(nofi_memory_avoids(&m, 1, v4("10.0.0.1", 9), now, NULL));
	assert_false(nofi_memory_avoids(&m, 1, v4("10.0.0.1", 10), now, NULL));
	assert_false(nofi_memory_avoids(&m, 1, v4("10.0.0.1", 1000), now, NULL));
}

static void other_families_are_not_kept(void **state)
{
	const struct sockaddr sa = { .sa_family = AF_UNIX };

	(void)state;
	assert_int_equal(nofi_memory_strike(&m, 1, &sa, SECOND, 2), 0);
	assert_int_equal(m.count, 0);
	nofi_memory_strike(&m, 1, v4("10.0.0.1", 9), SECOND, 2);
	assert_false(nofi_memory_avoids(&m, 1, &sa, SECOND, NULL));
	nofi_memory_clear(&m, 1, &sa);
	assert_int_equal(m.count, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(nothing_is_known_at_first, setup),
		cmocka_unit_test_setup(one_lost_syn_is_no_proof, setup),
		cmocka_unit_test_setup(only_that_target_is_avoided, setup),
		cmocka_unit_test_setup(the_pause_doubles_up_to_an_hour, setup),
		cmocka_unit_test_setup(a_trial_without_a_result_is_repeated, setup),
		cmocka_unit_test_setup(a_broken_connection_is_proof_enough, setup),
		cmocka_unit_test_setup(the_table_is_bounded, setup),
		cmocka_unit_test_setup(other_families_are_not_kept, setup),
	};

	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
