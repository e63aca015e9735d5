/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Connecting and taking leave at any moment, after SPDK's host cases async_init and
 * connect_stress: spdk_host_NAME and what it tests there, with our own code.
 */
#include "peer.h"

enum { MANY = 24 };

/* async_init: freed or disconnected at every step of coming up. */
static void t_async_init(struct rig *r)
{
	bool is_up = false;

	rig_target(r, NULL, NULL);
	rig_loop(r);
	for (unsigned turns = 0; !is_up; turns++) {
		struct rig_op *up;
		int e;

		rig_opts(r, "nr_io_queues=2", &r->opts);
		assert_int_equal(nof_ctrl_new(r->loop, &r->opts, rig_on_event, r, &r->ctrl), 0);
		up = RIG_SUBMIT(r, nof_ctrl_connect(r->ctrl, rig_done, op));
		for (unsigned i = 0; i < turns && !up->count; i++)
			rig_turn(r, 20);
		is_up = up->count;
		/* Odd: leave politely, even: at once. */
		if (turns & 1 && !is_up) {
			e = nof_ctrl_disconnect(r->ctrl, rig_done, rig_op(r));
			rig_accept(r->ops, e);
			RIG_UNTIL(r, up->count);
			rig_finish_all(r);
		}
		nof_ctrl_free(r->ctrl);
		r->ctrl = NULL;
		assert_int_equal(up->count, 1);
		if (!is_up)
			assert_true(up->error < 0);
		assert_true(turns < 200);
	}
	rig_all_closed(r);
	/* After all of it the target and the loop still work. */
	rig_open(r, NULL);
	assert_int_equal(rig_disconnect(r), 0);
}

/* connect_stress: many controllers come and go at the same time on one loop. */
static void t_connect_stress(struct rig *r)
{
	struct nof_ctrl *ctrls[MANY] = { NULL };
	struct rig_op *ops[MANY];

	rig_target(r, "--queues=4", NULL);
	rig_loop(r);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < MANY; i++) {
			rig_opts(r, NULL, &r->opts);
			assert_int_equal(nof_ctrl_new(r->loop, &r->opts, rig_on_event, r,
						      &ctrls[i]), 0);
			ops[i] = RIG_SUBMIT(r, nof_ctrl_connect(ctrls[i], rig_done, op));
		}
		rig_finish_all(r);
		for (int i = 0; i < MANY; i++)
			assert_int_equal(ops[i]->error, 0);
		assert_int_equal(rig_stat(r, "conns"), MANY);
		for (int i = 0; i < MANY; i++)
			if (i % 3)
				ops[i] = RIG_SUBMIT(r, nof_ctrl_disconnect(ctrls[i], rig_done, op));
		rig_finish_all(r);
		for (int i = 0; i < MANY; i++) {
			if (i % 3)
				assert_int_equal(ops[i]->error, 0);
			nof_ctrl_free(ctrls[i]);
		}
		rig_all_closed(r);
	}
	assert_int_equal(r->failures, 0);
}

static const struct rig_test tests[] = {
	{ "spdk_host_async_init", t_async_init },
	{ "spdk_host_connect_stress", t_connect_stress },
};

int main(void)
{
	return rig_main("spdk_connect", tests, ARRAY_SIZE(tests));
}
