/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes: in the capsule and by R2T, iovecs of any shape, T-16. */
#include <errno.h>

#include "machine_rig.h"

static void check_data(const struct rig_cmd *c, const struct rig_pdu *p, uint32_t offset)
{
	for (uint32_t i = 0; i < p->data_len; i++)
		assert_int_equal(p->data[i], rig_pattern(c, offset + i));
}

static void respond(struct rig *r, struct rig_cmd *c)
{
	rig_put_resp(r, c->cid, 0, 0);
	rig_deliver(r);
	assert_int_equal(r->fatal_count, 0);
	assert_int_equal(c->done_count, 1);
	assert_int_equal(c->error, 0);
	assert_int_equal(c->status, 0);
	rig_check_memory(c, 0);
}

static void t11_in_capsule_of_every_shape(void **state)
{
	static const uint32_t lengths[] = { 1, 3, 4, 512, 4096, 8192 };

	for (unsigned how = 0; how < 12; how++) {
		struct rig *r = rig_new(&(struct rig_opts){
			.hdgst = how & 1, .ddgst = how & 2, .incapsule = 8192,
			.cpda = how < 4 ? 0 : how < 8 ? 3 : 31 });

		for (unsigned l = 0; l < 6; l++)
			for (unsigned shape = 0; shape < RIG_SHAPES; shape++) {
				struct rig_cmd *c = rig_submit(r, &(struct rig_spec){
					.dir = NOFI_DIR_WRITE, .length = lengths[l],
					.shape = shape, .skip = shape * 11, .tail = shape });
				struct rig_pdu p;

				rig_flush(r);
				assert_true(rig_next(r, &p));
				assert_int_equal(p.data_len, lengths[l]);
				check_data(c, &p, 0);
				assert_false(rig_next(r, &p));
				respond(r, c);
			}
		rig_free(r);
	}
}

static void t11_fabrics_commands_have_their_own_limit(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .qid = 1, .incapsule = 0 });
	struct rig_cmd *c = rig_submit(r, &(struct rig_spec){
		.dir = NOFI_DIR_WRITE, .length = 1024, .flags = NOFI_CMD_FABRICS });
	struct rig_cmd *io = rig_write(r, 1024);
	struct rig_pdu p;

	rig_flush(r);
	assert_true(rig_next(r, &p));
	assert_int_equal(p.data_len, 1024);
	check_data(c, &p, 0);
	assert_true(rig_next(r, &p));
	assert_int_equal(p.cid, io->cid);
	assert_int_equal(p.pdo, 0);
	assert_false(rig_next(r, &p));
	rig_free(r);
}

/* Takes the H2CData PDUs that answer one R2T (T-13). */
static void take_r2t(struct rig *r, struct rig_cmd *c, uint16_t ttag, uint32_t off, uint32_t len)
{
	struct rig_pdu p;
	uint32_t done = 0;

	while (done < len) {
		assert_true(rig_next(r, &p));
		assert_int_equal(p.type, NOFI_PDU_H2C_DATA);
		assert_int_equal(p.cid, c->cid);
		assert_int_equal(p.ttag, ttag);
		assert_int_equal(p.offset, off + done);
		assert_true(p.length <= r->tpp.maxh2cdata);
		check_data(c, &p, p.offset);
		done += p.length;
		assert_true(done <= len);
		assert_int_equal(!!(p.flags & NOFI_PDU_F_LAST), done == len);
	}
}

static void one_r2t_write(struct rig *r, const struct rig_spec *spec, unsigned active)
{
	struct rig_cmd *c = rig_submit(r, spec);
	uint32_t off = 0, step = spec->length / 5 + 1;
	struct rig_pdu p;
	uint16_t ttag = 0xfffe;

	rig_flush(r);
	assert_true(rig_next(r, &p));
	assert_int_equal(p.type, NOFI_PDU_CAPSULE_CMD);
	assert_int_equal(p.pdo, 0);
	while (off < spec->length) {
		uint32_t from = off, len[4];
		unsigned n;

		for (n = 0; n < active && off < spec->length; n++) {
			len[n] = spec->length - off < step ? spec->length - off : step;
			rig_put_r2t(r, c->cid, (uint16_t)(ttag + n), off, len[n]);
			off += len[n];
		}
		rig_deliver(r);
		rig_flush(r);
		for (unsigned i = 0; i < n; i++) {
			take_r2t(r, c, (uint16_t)(ttag + i), from, len[i]);
			from += len[i];
		}
		assert_false(rig_next(r, &p));
		ttag = (uint16_t)(ttag + n);
	}
	respond(r, c);
}

static void t13_r2t_writes_of_every_shape(void **state)
{
	static const uint32_t lengths[] = { 1, 5, 4097, 30000 };

	for (unsigned how = 0; how < 8; how++) {
		struct rig *r = rig_new(&(struct rig_opts){
			.hdgst = how & 1, .ddgst = how & 2, .cpda = how & 4 ? 31 : 1,
			.maxh2cdata = 4096 });

		for (unsigned l = 0; l < 4; l++)
			for (unsigned shape = 0; shape < RIG_SHAPES; shape++)
				for (unsigned active = 1; active <= 4; active++)
					one_r2t_write(r, &(struct rig_spec){
						.dir = NOFI_DIR_WRITE, .length = lengths[l],
						.shape = shape, .skip = active * 3,
						.tail = active & 1 }, active);
		rig_free(r);
	}
}

/* One PDU over many batches: 100000 elements of one byte. */
static void pdu_spans_batches(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .ddgst = true, .maxh2cdata = 1 << 20 });
	struct rig_cmd *c = rig_submit(r, &(struct rig_spec){
		.dir = NOFI_DIR_WRITE, .length = 100000, .shape = RIG_BYTES });
	unsigned batches = 0;
	struct rig_pdu p;

	rig_flush(r);
	assert_true(rig_next(r, &p));
	rig_put_r2t(r, c->cid, 1, 0, 100000);
	rig_deliver(r);
	while (rig_build(r)) {
		assert_int_equal(r->m.cmds[c->slot].tx_refs, 1);
		rig_sent(r);
		batches++;
	}
	assert_true(batches > 300);
	take_r2t(r, c, 1, 0, 100000);
	respond(r, c);
	rig_free(r);
}

static void one_batch_never_overflows(void **state)
{
	/* 1000 capsules with digests and pads: arena, refs and iovecs reach their ends. */
	struct rig *r = rig_new(&(struct rig_opts){
		.qid = 1, .entries = 1001, .hdgst = true, .ddgst = true, .cpda = 31,
		.incapsule = 64 });
	struct rig_cmd *c[1000];
	struct rig_pdu p;
	int i;

	for (i = 0; i < 1000; i++)
		c[i] = rig_submit(r, &(struct rig_spec){
			.dir = i % 3 ? NOFI_DIR_WRITE : NOFI_DIR_READ,
			.length = 1 + (uint32_t)i % 60, .shape = (unsigned)i % RIG_SHAPES });
	rig_flush(r);
	for (i = 0; i < 1000; i++) {
		assert_true(rig_next(r, &p));
		assert_int_equal(p.cid, c[i]->cid);
		check_data(c[i], &p, 0);
	}
	assert_false(rig_next(r, &p));
	rig_free(r);
}

/* Headers alone are one iovec and no reference: the arena is what ends the batch. */
static void one_batch_never_overflows_its_arena(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .qid = 1, .entries = 1001, .hdgst = true });
	struct rig_pdu p;
	int i;

	for (i = 0; i < 1000; i++)
		assert_non_null(rig_read(r, 512));
	rig_flush(r);
	for (i = 0; i < 1000; i++)
		assert_true(rig_next(r, &p));
	assert_false(rig_next(r, &p));
	rig_free(r);
}

/* Adjacent buffers of different commands may share an iovec, not their bytes. */
static void r2ts_of_several_commands_take_turns(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .maxh2cdata = 4096 });
	struct rig_cmd *a = rig_write(r, 16384), *b = rig_write(r, 16384);
	uint32_t next[2] = { 0, 0 };
	struct rig_pdu p;

	rig_flush(r);
	rig_drop_out(r);
	rig_put_r2t(r, a->cid, 7, 0, 16384);
	rig_put_r2t(r, b->cid, 7, 0, 16384);
	rig_deliver(r);
	rig_flush(r);
	for (int i = 0; i < 8; i++) {
		struct rig_cmd *c;

		assert_true(rig_next(r, &p));
		/* Neither waits for the end of the other. */
		c = i % 2 ? b : a;
		assert_int_equal(p.cid, c->cid);
		assert_int_equal(p.offset, next[i % 2]);
		check_data(c, &p, p.offset);
		next[i % 2] += p.length;
	}
	respond(r, a);
	respond(r, b);
	rig_free(r);
}

static void t16_response_before_send_done(void **state)
{
	for (unsigned by_r2t = 0; by_r2t < 2; by_r2t++) {
		struct rig *r = rig_new(&(struct rig_opts){ .incapsule = by_r2t ? 0 : 8192 });
		struct rig_cmd *c = rig_write(r, 4096);

		if (by_r2t) {
			rig_flush(r);
			rig_put_r2t(r, c->cid, 1, 0, 4096);
			rig_deliver(r);
		}
		assert_true(rig_build(r));
		rig_put_resp(r, c->cid, 0, 99);
		rig_deliver(r);
		assert_int_equal(r->fatal_count, 0);
		assert_int_equal(c->done_count, 0);
		assert_int_equal(nofi_machine_unused(&r->m), r->m.slots - 1);
		rig_sent(r);
		assert_int_equal(c->done_count, 1);
		assert_int_equal(c->error, 0);
		assert_int_equal(c->result, 99);
		rig_free(r);
	}
}

/* One batch names the payload more than once: all of it is let go before the caller hears. */
static void t16_several_pdus_in_one_batch(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .maxh2cdata = 4096 });
	struct rig_cmd *c = rig_write(r, 16384);

	rig_flush(r);
	rig_put_r2t(r, c->cid, 1, 0, 16384);
	rig_deliver(r);
	assert_true(rig_build(r));
	assert_int_equal(r->m.cmds[c->slot].tx_refs, 4);
	rig_put_resp(r, c->cid, 0, 0);
	rig_deliver(r);
	assert_int_equal(c->done_count, 0);
	rig_sent(r);
	assert_int_equal(c->done_count, 1);
	rig_free(r);
}

/* A read's capsule is copied into the batch: nothing of the caller's is pinned. */
static void t16_reads_do_not_wait_for_the_send(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ 0 });
	struct rig_cmd *c = rig_read(r, 512);

	assert_true(rig_build(r));
	rig_put_c2h(r, c, 0, 512, NOFI_PDU_F_LAST);
	rig_put_resp(r, c->cid, 0, 0);
	rig_deliver(r);
	assert_int_equal(c->done_count, 1);
	rig_sent(r);
	rig_free(r);
}

/* An error in the middle of a PDU: the PDU is finished, the command after it. */
static void t16_error_in_the_middle_of_a_pdu(void **state)
{
	for (unsigned in_flight = 0; in_flight < 2; in_flight++) {
		struct rig *r = rig_new(&(struct rig_opts){ .maxh2cdata = 4096, .ddgst = true });
		struct rig_cmd *c = rig_submit(r, &(struct rig_spec){
			.dir = NOFI_DIR_WRITE, .length = 8192, .shape = RIG_BYTES });
		struct rig_pdu p;

		rig_flush(r);
		rig_drop_out(r);
		rig_put_r2t(r, c->cid, 1, 0, 4096);
		rig_put_r2t(r, c->cid, 2, 4096, 4096);
		rig_deliver(r);
		assert_true(rig_build(r));
		if (!in_flight)
			rig_sent(r);
		rig_put_resp(r, c->cid, 0x281, 0);
		rig_deliver(r);
		if (in_flight)
			rig_sent(r);
		assert_int_equal(c->done_count, 0);
		while (rig_build(r)) {
			assert_int_equal(c->done_count, 0);
			rig_sent(r);
		}
		assert_int_equal(c->done_count, 1);
		assert_int_equal(c->status, 0x281);
		/* One whole PDU and nothing for the second R2T. */
		assert_true(rig_next(r, &p));
		assert_int_equal(p.length, 4096);
		check_data(c, &p, 0);
		assert_false(rig_next(r, &p));
		rig_free(r);
	}
}

/* R2Ts wait in the fifo while another command's PDU is on its way; then the error comes. */
static void error_answer_while_r2ts_wait(void **state)
{
	for (unsigned which = 0; which < 3; which++) {
		struct rig *r = rig_new(&(struct rig_opts){ .maxh2cdata = 4096 });
		struct rig_cmd *c[3];
		struct rig_pdu p;

		for (int i = 0; i < 3; i++)
			c[i] = rig_write(r, 8192);
		rig_flush(r);
		rig_drop_out(r);
		for (int i = 0; i < 3; i++)
			rig_put_r2t(r, c[i]->cid, 0, 0, 8192);
		rig_put_resp(r, c[which]->cid, 0x6, 0);
		rig_deliver(r);
		assert_int_equal(c[which]->done_count, 1);
		assert_int_equal(c[which]->status, 0x6);
		rig_flush(r);
		while (rig_next(r, &p))
			assert_int_not_equal(p.cid, c[which]->cid);
		for (unsigned i = 0; i < 3; i++)
			if (i != which)
				respond(r, c[i]);
		/* The fifo is whole: what comes next is sent. */
		assert_non_null(rig_read(r, 512));
		rig_flush(r);
		assert_true(rig_next(r, &p));
		rig_free(r);
	}
}

static void error_answer_to_the_only_waiting_write(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ 0 });
	struct rig_cmd *c = rig_write(r, 8192);
	struct rig_pdu p;

	rig_flush(r);
	rig_drop_out(r);
	rig_put_r2t(r, c->cid, 0, 0, 8192);
	rig_put_resp(r, c->cid, 0x6, 0);
	rig_deliver(r);
	assert_int_equal(c->done_count, 1);
	assert_false(nofi_machine_has_tx(&r->m));
	assert_non_null(rig_write(r, 512));
	rig_flush(r);
	assert_true(rig_next(r, &p));
	assert_int_equal(p.type, NOFI_PDU_CAPSULE_CMD);
	assert_false(rig_next(r, &p));
	rig_free(r);
}

/* An answered R2T, an unanswered one, and one that comes in the middle of the answer. */
static void r2t_during_a_pdu_that_spans_batches(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .maxh2cdata = 4096 });
	struct rig_cmd *c = rig_submit(r, &(struct rig_spec){
		.dir = NOFI_DIR_WRITE, .length = 6000, .shape = RIG_BYTES });

	rig_flush(r);
	rig_drop_out(r);
	rig_put_r2t(r, c->cid, 1, 0, 3000);
	rig_deliver(r);
	assert_true(rig_build(r));
	rig_put_r2t(r, c->cid, 1 + 1, 3000, 3000);
	rig_deliver(r);
	rig_flush(r);
	take_r2t(r, c, 1, 0, 3000);
	take_r2t(r, c, 2, 3000, 3000);
	respond(r, c);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t11_in_capsule_of_every_shape),
		cmocka_unit_test(t11_fabrics_commands_have_their_own_limit),
		cmocka_unit_test(t13_r2t_writes_of_every_shape),
		cmocka_unit_test(pdu_spans_batches),
		cmocka_unit_test(one_batch_never_overflows),
		cmocka_unit_test(one_batch_never_overflows_its_arena),
		cmocka_unit_test(r2ts_of_several_commands_take_turns),
		cmocka_unit_test(t16_response_before_send_done),
		cmocka_unit_test(t16_several_pdus_in_one_batch),
		cmocka_unit_test(t16_reads_do_not_wait_for_the_send),
		cmocka_unit_test(t16_error_in_the_middle_of_a_pdu),
		cmocka_unit_test(error_answer_while_r2ts_wait),
		cmocka_unit_test(error_answer_to_the_only_waiting_write),
		cmocka_unit_test(r2t_during_a_pdu_that_spans_batches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
