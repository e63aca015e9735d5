/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* F-20, F-21: which command is sent again, where and when. */
#include "unit.h"

#include "ctrl/retry.h"
#include "nof.h"

#define HOLD 15000000000ull

static struct nofi_retry_in base(enum nofi_ending end, uint16_t status, enum nofi_io_class class)
{
	return (struct nofi_retry_in){ .end = end, .status = status, .class = class, .sent = 1,
				       .max_retries = 5, .hold_ns = HOLD, .has_other = true };
}

static void status_rules(void **state)
{
	static const struct {
		uint16_t status;
		enum nofi_retry read, write, once;
		bool is_ana;
	} k[] = {
		/* Will not pass. */
		{ 0x002, NOFI_RETRY_COMPLETE, NOFI_RETRY_COMPLETE, NOFI_RETRY_COMPLETE, false },
		{ 0x080, NOFI_RETRY_COMPLETE, NOFI_RETRY_COMPLETE, NOFI_RETRY_COMPLETE, false },
		{ 0x281, NOFI_RETRY_COMPLETE, NOFI_RETRY_COMPLETE, NOFI_RETRY_COMPLETE, false },
		{ 0x285, NOFI_RETRY_COMPLETE, NOFI_RETRY_COMPLETE, NOFI_RETRY_COMPLETE, false },
		{ 0x083, NOFI_RETRY_COMPLETE, NOFI_RETRY_COMPLETE, NOFI_RETRY_COMPLETE, false },
		{ 0x191, NOFI_RETRY_COMPLETE, NOFI_RETRY_COMPLETE, NOFI_RETRY_COMPLETE, false },
		/* May pass: on the same path. */
		{ 0x004, NOFI_RETRY_SAME, NOFI_RETRY_SAME, NOFI_RETRY_COMPLETE, false },
		{ 0x006, NOFI_RETRY_SAME, NOFI_RETRY_SAME, NOFI_RETRY_COMPLETE, false },
		{ 0x007, NOFI_RETRY_SAME, NOFI_RETRY_SAME, NOFI_RETRY_COMPLETE, false },
		{ 0x021, NOFI_RETRY_SAME, NOFI_RETRY_SAME, NOFI_RETRY_COMPLETE, false },
		{ 0x022, NOFI_RETRY_SAME, NOFI_RETRY_SAME, NOFI_RETRY_COMPLETE, false },
		/* Was not begun. */
		{ 0x082, NOFI_RETRY_SAME, NOFI_RETRY_SAME, NOFI_RETRY_SAME, false },
		{ 0x084, NOFI_RETRY_SAME, NOFI_RETRY_SAME, NOFI_RETRY_SAME, false },
		/* The path is to blame. */
		{ 0x300, NOFI_RETRY_OTHER, NOFI_RETRY_OTHER, NOFI_RETRY_COMPLETE, false },
		{ 0x301, NOFI_RETRY_OTHER, NOFI_RETRY_OTHER, NOFI_RETRY_OTHER, true },
		{ 0x302, NOFI_RETRY_OTHER, NOFI_RETRY_OTHER, NOFI_RETRY_OTHER, true },
		{ 0x303, NOFI_RETRY_OTHER, NOFI_RETRY_OTHER, NOFI_RETRY_OTHER, true },
		{ 0x360, NOFI_RETRY_OTHER, NOFI_RETRY_OTHER, NOFI_RETRY_COMPLETE, false },
		{ 0x370, NOFI_RETRY_OTHER, NOFI_RETRY_OTHER, NOFI_RETRY_COMPLETE, false },
	};

	for (size_t i = 0; i < sizeof(k) / sizeof(k[0]); i++) {
		for (int class = 0; class < 3; class++) {
			struct nofi_retry_in in = base(NOFI_END_STATUS, k[i].status, class);
			struct nofi_retry_out out = nofi_retry_decide(&in);
			enum nofi_retry want = class == 0 ? k[i].read : class == 1 ? k[i].write :
					       k[i].once;

			assert_int_equal(out.what, want);
			assert_int_equal(out.is_ana, k[i].is_ana);
			/* The controller has spoken: nothing is executing any more. */
			assert_int_equal(out.wait_ns, 0);
			in.status |= NOF_STATUS_DNR;
			assert_int_equal(nofi_retry_decide(&in).what, NOFI_RETRY_COMPLETE);
		}
	}
}

static void crd_selects_the_delay(void **state)
{
	for (unsigned crd = 1; crd <= 3; crd++) {
		struct nofi_retry_in in = base(NOFI_END_STATUS, (uint16_t)(0x022 | crd << 11),
					       NOFI_IO_WRITE);
		struct nofi_retry_out out;

		in.crdt[0] = 1;
		in.crdt[1] = 20;
		in.crdt[2] = 65535;
		out = nofi_retry_decide(&in);
		assert_int_equal(out.what, NOFI_RETRY_SAME);
		assert_int_equal(out.wait_ns, in.crdt[crd - 1] * 100000000ull);
		/* The controller asks for another attempt, whatever else it says. */
		in.status = (uint16_t)(0x281 | crd << 11);
		assert_int_equal(nofi_retry_decide(&in).what, NOFI_RETRY_SAME);
		in.class = NOFI_IO_ONCE;
		assert_int_equal(nofi_retry_decide(&in).what, NOFI_RETRY_COMPLETE);
	}
}

static void the_same_moment_is_not_met_again(void **state)
{
	struct nofi_retry_in in = base(NOFI_END_STATUS, 0x022, NOFI_IO_IDEMPOTENT);

	assert_int_equal(nofi_retry_decide(&in).wait_ns, 0);
	in.sent = 2;
	assert_true(nofi_retry_decide(&in).wait_ns > 0);
	/* A path that failed is used again at once only if it is not the only one. */
	in = base(NOFI_END_STATUS, 0x300, NOFI_IO_IDEMPOTENT);
	assert_int_equal(nofi_retry_decide(&in).wait_ns, 0);
	in.has_other = false;
	assert_true(nofi_retry_decide(&in).wait_ns > 0);
}

static void unknown_fate(void **state)
{
	struct nofi_retry_in in = base(NOFI_END_LOST, 0, NOFI_IO_IDEMPOTENT);
	struct nofi_retry_out out = nofi_retry_decide(&in);

	assert_int_equal(out.what, NOFI_RETRY_OTHER);
	assert_int_equal(out.wait_ns, 0);
	in.class = NOFI_IO_WRITE;
	out = nofi_retry_decide(&in);
	assert_int_equal(out.what, NOFI_RETRY_OTHER);
	assert_int_equal(out.wait_ns, HOLD);
	in.class = NOFI_IO_ONCE;
	assert_int_equal(nofi_retry_decide(&in).what, NOFI_RETRY_COMPLETE);
	/* What never left is nobody's. */
	for (int class = 0; class < 3; class++) {
		in = base(NOFI_END_UNSENT, 0, class);
		out = nofi_retry_decide(&in);
		assert_int_equal(out.what, NOFI_RETRY_OTHER);
		assert_int_equal(out.wait_ns, 0);
	}
	in = base(NOFI_END_DATA, 0, NOFI_IO_IDEMPOTENT);
	assert_int_equal(nofi_retry_decide(&in).what, NOFI_RETRY_SAME);
	in.class = NOFI_IO_ONCE;
	assert_int_equal(nofi_retry_decide(&in).what, NOFI_RETRY_COMPLETE);
}

/* Everything there is: bounded, held, and never against the caller's will. */
static void invariants(void **state)
{
	for (unsigned status = 0; status < 0x8000; status++)
	for (int end = NOFI_END_STATUS; end <= NOFI_END_LOST; end++)
	for (int class = 0; class < 3; class++)
	for (uint32_t sent = 1; sent < 4; sent++) {
		struct nofi_retry_in in = base(end, (uint16_t)status, class);
		struct nofi_retry_out out;

		if (end != NOFI_END_STATUS && status)
			continue;
		in.sent = sent;
		in.max_retries = 2;
		in.crdt[0] = in.crdt[1] = in.crdt[2] = 3;
		out = nofi_retry_decide(&in);
		if (out.what != NOFI_RETRY_COMPLETE) {
			assert_true(sent <= in.max_retries);
			assert_false(end == NOFI_END_STATUS && status & NOF_STATUS_DNR);
			if (end == NOFI_END_LOST) {
				assert_int_not_equal(class, NOFI_IO_ONCE);
				assert_true(class != NOFI_IO_WRITE || out.wait_ns >= HOLD);
			}
		}
		assert_true(out.wait_ns <= HOLD);
		in.is_fail_fast = true;
		assert_int_equal(nofi_retry_decide(&in).what, NOFI_RETRY_COMPLETE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status_rules),
		cmocka_unit_test(crd_selects_the_delay),
		cmocka_unit_test(the_same_moment_is_not_met_again),
		cmocka_unit_test(unknown_fate),
		cmocka_unit_test(invariants),
	};

	return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}
