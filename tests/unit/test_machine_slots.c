/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CIDs and slots, the reserved slot, deadlines, waiters, and the end of a queue. */
#include <errno.h>

#include "machine_rig.h"

static void complete(struct rig *r, struct rig_cmd *c)
{
	rig_flush(r);
	rig_drop_out(r);
	rig_put_resp(r, c->cid, 0, 0);
	rig_deliver(r);
	assert_int_equal(c->done_count, 1);
	assert_int_equal(c->error, 0);
}

static struct rig_cmd *no_data(struct rig *r, uint32_t flags, uint64_t deadline)
{
	return rig_submit(r, &(struct rig_spec){ .flags = flags, .deadline = deadline });
}

static void ignore(void *arg, const struct nofi_cpl *cpl)
{
}

static void cid_ffff_is_never_used(void **state)
{
	static const uint32_t entries[] = { 2, 3, 5, 9, 257, 4096 };

	for (unsigned e = 0; e < 6; e++) {
		struct rig *r = rig_new(&(struct rig_opts){ .qid = 1, .entries = entries[e] });
		struct nofi_cmd_desc d;
		unsigned slots = entries[e] - 1;
		uint16_t before;

		assert_int_equal(r->m.slots, slots);
		/* The last slot is the one that FFFFh could name: all its generations. */
		while (nofi_machine_refill(&r->m))
			;
		r->m.free[r->m.free_count - 1] = (uint16_t)(slots - 1);
		for (unsigned i = 0; i < 66000; i++) {
			uint8_t pdu[NOFI_PDU_ENC_MAX], cqe[NOFI_CQE_LEN] = { 0 };
			struct nofi_cmd *cmd = &r->m.cmds[slots - 1];

			before = cmd->cid;
			assert_int_equal(nofi_machine_take(&r->m, 0, &d), 0);
			assert_int_equal(d.slot, slots - 1);
			d.done = ignore;
			nofi_machine_send(&r->m, &d, 0);
			assert_int_not_equal(cmd->cid, 0xffff);
			assert_int_not_equal(cmd->cid, before);
			assert_true(rig_build(r));
			rig_sent(r);
			r->out.len = r->out_pos = 0;
			nofi_put16(cqe + 12, cmd->cid);
			nofi_machine_rx(&r->m, pdu, nofi_enc_capsule_resp(pdu, &r->tpp, cqe));
			assert_int_equal(r->fatal_count, 0);
		}
		rig_free(r);
	}
}

static void cids_of_outstanding_commands_differ(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .qid = 1, .entries = 101 });
	static bool is_used[65536];

	memset(is_used, 0, sizeof(is_used));
	for (int i = 0; i < 100; i++) {
		struct rig_cmd *c = no_data(r, 0, 0);

		assert_non_null(c);
		assert_false(is_used[c->cid]);
		is_used[c->cid] = true;
	}
	/* T-17: never more than entries − 1. */
	assert_null(no_data(r, 0, 0));
	assert_int_equal(nofi_machine_room(&r->m), 0);
	rig_fail(r);
	rig_check_all_done(r);
	rig_free(r);
}

static void entries_are_bounded(void **state)
{
	static const uint32_t bad[] = { 0, 1, 4097, 65536, 0xffffffff };
	static const struct nofi_machine_ops ops;
	struct nofi_machine m;

	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(nofi_machine_init(&m, &ops, &(struct nofi_queue_opts){
				 .entries = bad[i] }), -EINVAL);
}

static void one_admin_slot_is_reserved(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .entries = 8 });
	struct rig_cmd *first = NULL, *ka;

	assert_int_equal(nofi_machine_room(&r->m), 6);
	for (int i = 0; i < 6; i++) {
		struct rig_cmd *c = no_data(r, 0, 0);

		assert_non_null(c);
		first = first ? first : c;
	}
	assert_null(no_data(r, 0, 0));
	ka = no_data(r, NOFI_CMD_RESERVED, 0);
	assert_non_null(ka);
	assert_null(no_data(r, NOFI_CMD_RESERVED, 0));
	/* What becomes free first is the reserve again. */
	complete(r, first);
	assert_null(no_data(r, 0, 0));
	complete(r, ka);
	assert_non_null(no_data(r, 0, 0));
	assert_null(no_data(r, 0, 0));
	rig_free(r);
}

static void earliest_deadline_is_reported(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .qid = 1 });
	struct rig_cmd *a, *b, *c, *never;

	assert_int_equal(nofi_machine_deadline(&r->m), 0);
	assert_null(nofi_machine_oldest(&r->m));
	never = no_data(r, NOFI_CMD_NO_TIMEOUT, 1);
	assert_int_equal(nofi_machine_deadline(&r->m), 0);
	a = no_data(r, 0, 100);
	b = no_data(r, 0, 200);
	c = no_data(r, 0, 300);
	assert_int_equal(nofi_machine_deadline(&r->m), 100);
	complete(r, b);
	assert_int_equal(nofi_machine_deadline(&r->m), 100);
	complete(r, a);
	assert_int_equal(nofi_machine_deadline(&r->m), 300);
	assert_int_equal(nofi_machine_oldest(&r->m)->cid, c->cid);
	complete(r, c);
	assert_int_equal(nofi_machine_deadline(&r->m), 0);
	assert_int_equal(never->done_count, 0);
	rig_free(r);
}

/* The timeout became shorter while older commands are out. */
static void a_shorter_timeout_is_not_hidden_by_older_commands(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .qid = 1 });
	struct rig_cmd *c[5];
	static const uint64_t deadlines[] = { 500, 300, 400, 300, 600 };
	static const int order[] = { 1, 3, 2, 0, 4 };

	for (int i = 0; i < 5; i++)
		c[i] = no_data(r, 0, deadlines[i]);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(nofi_machine_deadline(&r->m), deadlines[order[i]]);
		assert_int_equal(nofi_machine_oldest(&r->m)->cid, c[order[i]]->cid);
		complete(r, c[order[i]]);
	}
	assert_int_equal(nofi_machine_deadline(&r->m), 0);
	rig_free(r);
}

static void fail_completes_in_order_of_submission(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .qid = 1 });
	struct rig_cmd *c[10];

	for (int i = 0; i < 10; i++)
		c[i] = rig_submit(r, &(struct rig_spec){ .dir = i & 1 ? NOFI_DIR_READ :
			NOFI_DIR_WRITE, .length = 512, .deadline = (uint64_t)i + 1 });
	complete(r, rig_submit(r, &(struct rig_spec){ .deadline = 99 }));
	rig_fail(r);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(c[i]->done_order, i + 2);
		assert_int_equal(c[i]->error, -ECONNRESET);
		assert_non_null(strstr(c[i]->detail, "test ended"));
	}
	rig_check_all_done(r);
	rig_free(r);
}

/* An answer that came is the truth, with and without a timeout. */
static void fail_keeps_answers_that_came(void **state)
{
	for (unsigned timed = 0; timed < 2; timed++) {
		struct rig *r = rig_new(&(struct rig_opts){ .incapsule = 4096, .qid = 1 });
		struct rig_cmd *c = rig_submit(r, &(struct rig_spec){
			.dir = NOFI_DIR_WRITE, .length = 512, .deadline = timed ? 7 : 0 });
		struct rig_cmd *d = rig_submit(r, &(struct rig_spec){
			.dir = NOFI_DIR_WRITE, .length = 512, .deadline = timed ? 7 : 0 });

		assert_true(rig_build(r));
		rig_put_resp(r, c->cid, 0, 42);
		rig_deliver(r);
		assert_int_equal(c->done_count, 0);
		rig_fail(r);
		assert_int_equal(c->done_count, 1);
		assert_int_equal(c->error, 0);
		assert_int_equal(c->result, 42);
		assert_int_equal(d->error, -ECONNRESET);
		rig_check_all_done(r);
		rig_free(r);
	}
}

static struct rig_cmd *again;

static void submit_again(struct rig_cmd *c)
{
	again = rig_submit(c->rig, &(struct rig_spec){ .dir = NOFI_DIR_WRITE, .length = 512 });
}

/* A callback may submit: the slot is free before it runs, the machine sound. */
static void callback_submits_in_the_same_slot(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .entries = 2, .qid = 1, .incapsule = 512 });
	struct rig_cmd *c = rig_write(r, 512), *first;
	struct nofi_cmd_desc d;

	/* From inside rx. */
	c->on_done = submit_again;
	complete(r, c);
	assert_non_null(again);
	assert_int_equal(again->slot, c->slot);
	/* From inside tx_done: the answer overtook the send. */
	first = again;
	first->on_done = submit_again;
	assert_true(rig_build(r));
	rig_put_resp(r, first->cid, 0, 0);
	rig_deliver(r);
	assert_int_equal(first->done_count, 0);
	rig_sent(r);
	assert_int_equal(first->done_count, 1);
	assert_ptr_not_equal(again, first);
	assert_int_equal(again->slot, first->slot);
	/* From inside fail: refused. */
	c = again;
	c->on_done = submit_again;
	rig_fail(r);
	assert_int_equal(c->error, -ECONNRESET);
	assert_null(again);
	assert_int_equal(nofi_machine_take(&r->m, 0, &d), -ENOTCONN);
	rig_free(r);
}

static void fail_here(struct rig_cmd *c)
{
	rig_fail(c->rig);
}

/* A callback may close the queue: nothing is touched afterwards. */
static void callback_ends_the_queue(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .qid = 1, .incapsule = 512 });
	struct rig_cmd *c[4];

	for (int i = 0; i < 4; i++)
		c[i] = rig_write(r, 512);
	c[1]->on_done = fail_here;
	assert_true(rig_build(r));
	for (int i = 0; i < 4; i++)
		rig_put_resp(r, c[i]->cid, 0, 0);
	rig_deliver(r);
	rig_sent(r);
	for (int i = 0; i < 4; i++)
		assert_int_equal(c[i]->done_count, 1);
	rig_free(r);
}

/* ---- waiters ---- */

struct waiter {
	struct nofi_waiter w;
	struct rig *r;
	unsigned calls;
	bool takes, waits_again;
	struct waiter *kicks;		/* taken out of the queue by our call */
};

static void wait_room(struct waiter *w)
{
	w->w.is_queued = true;
	w->w.next = NULL;
	*w->r->m.wait_tail = &w->w;
	w->r->m.wait_tail = &w->w.next;
}

static void unwait(struct waiter *w)
{
	struct nofi_waiter **p = &w->r->m.wait_head;

	while (*p != &w->w)
		p = &(*p)->next;
	*p = w->w.next;
	if (w->r->m.wait_tail == &w->w.next)
		w->r->m.wait_tail = p;
	w->w.is_queued = false;
}

static void on_room(struct nofi_waiter *nw)
{
	struct waiter *w = (struct waiter *)nw;

	w->calls++;
	assert_in_range(w->calls, 1, 1000);	/* an endless loop ends here */
	if (w->takes)
		assert_non_null(no_data(w->r, 0, 0));
	if (w->kicks && w->kicks->w.is_queued)
		unwait(w->kicks);
	if (w->waits_again)
		wait_room(w);
}

static void waiters_take_turns(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .entries = 2, .qid = 1 });
	struct waiter w[3];

	no_data(r, 0, 0);
	for (int i = 0; i < 3; i++) {
		w[i] = (struct waiter){ .w.fn = on_room, .r = r, .takes = true,
					.waits_again = true };
		wait_room(&w[i]);
	}
	for (unsigned turn = 0; turn < 9; turn++) {
		nofi_machine_notify(&r->m);	/* no room: nobody */
		complete(r, r->cmds);
		nofi_machine_notify(&r->m);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(w[i].calls, turn / 3 + (i <= turn % 3));
	}
	rig_fail(r);
	for (int i = 0; i < 3; i++)
		assert_false(w[i].w.is_queued);
	assert_null(r->m.wait_head);
	rig_free(r);
}

static void who_waits_again_gets_one_turn(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .entries = 8, .qid = 1 });
	struct waiter w[3];

	for (int i = 0; i < 3; i++) {
		w[i] = (struct waiter){ .w.fn = on_room, .r = r, .waits_again = true };
		wait_room(&w[i]);
	}
	nofi_machine_notify(&r->m);
	for (int i = 0; i < 3; i++)
		assert_int_equal(w[i].calls, 1);
	rig_free(r);
}

/* One takes the last of the queue out: the round still ends. */
static void waiter_that_leaves_does_not_unbound_the_round(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .entries = 8, .qid = 1 });
	struct waiter w[2];

	for (int i = 0; i < 2; i++) {
		w[i] = (struct waiter){ .w.fn = on_room, .r = r };
		wait_room(&w[i]);
	}
	w[0].kicks = &w[1];
	w[0].waits_again = true;
	nofi_machine_notify(&r->m);
	assert_in_range(w[0].calls, 1, 2);
	assert_int_equal(w[1].calls, 0);
	assert_true(w[0].w.is_queued);
	rig_free(r);
}

/*
 * What is sent side by side stays side by side on the queue, whatever else there is to send: data
 * that an R2T asked for, payload that takes several batches. Fused commands rely on it.
 */
static void commands_sent_in_a_row_stay_adjacent(void **state)
{
	for (int order = 0; order < 3; order++) {
		struct rig *r = rig_new(&(struct rig_opts){ .qid = 1, .incapsule = 8192 });
		struct rig_cmd *old = rig_write(r, 300000), *first, *second;
		struct rig_pdu p;
		int capsules = 0;

		rig_flush(r);
		rig_drop_out(r);
		rig_put_r2t(r, old->cid, 7, 0, 300000);
		if (order == 0)
			rig_deliver(r);		/* its data waits already */
		if (order == 2) {
			rig_deliver(r);
			assert_true(rig_build(r));	/* and is half on its way */
		}
		first = rig_submit(r, &(struct rig_spec){ .dir = NOFI_DIR_WRITE, .length = 8192,
							  .shape = RIG_BYTES });
		second = rig_write(r, 8192);
		if (order == 1)
			rig_deliver(r);		/* it comes in between */
		rig_flush(r);
		while (rig_next(r, &p)) {
			if (p.type == NOFI_PDU_CAPSULE_CMD && p.cid == first->cid)
				capsules = 1;
			else if (capsules == 1)
				assert_true(p.type == NOFI_PDU_CAPSULE_CMD &&
					    p.cid == second->cid && ++capsules);
		}
		assert_int_equal(capsules, 2);
		rig_fail(r);
		rig_check_all_done(r);
		rig_free(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cid_ffff_is_never_used),
		cmocka_unit_test(cids_of_outstanding_commands_differ),
		cmocka_unit_test(commands_sent_in_a_row_stay_adjacent),
		cmocka_unit_test(entries_are_bounded),
		cmocka_unit_test(one_admin_slot_is_reserved),
		cmocka_unit_test(earliest_deadline_is_reported),
		cmocka_unit_test(a_shorter_timeout_is_not_hidden_by_older_commands),
		cmocka_unit_test(fail_completes_in_order_of_submission),
		cmocka_unit_test(fail_keeps_answers_that_came),
		cmocka_unit_test(callback_submits_in_the_same_slot),
		cmocka_unit_test(callback_ends_the_queue),
		cmocka_unit_test(waiters_take_turns),
		cmocka_unit_test(who_waits_again_gets_one_turn),
		cmocka_unit_test(waiter_that_leaves_does_not_unbound_the_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
