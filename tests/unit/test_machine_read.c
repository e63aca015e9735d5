/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The handshake, and reads: placement, digests, the end by response or by SUCCESS. */
#include <errno.h>

#include "machine_rig.h"

enum { LAST = NOFI_PDU_F_LAST, LAST_SUCCESS = NOFI_PDU_F_LAST | NOFI_PDU_F_SUCCESS };

static void t6_nothing_is_taken_before_icresp(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .no_handshake = true });
	struct nofi_cmd_desc d;

	assert_int_equal(nofi_machine_take(&r->m, 0, &d), -ENOTCONN);
	assert_false(nofi_machine_has_tx(&r->m));
	assert_false(rig_build(r));
	rig_put_icresp(r);
	rig_deliver(r);
	assert_int_equal(r->ready_count, 1);
	assert_int_equal(r->m.pp.maxh2cdata, 65536);
	assert_non_null(rig_read(r, 512));
	rig_free(r);
}

static void submit_two(struct rig *r)
{
	assert_non_null(rig_read(r, 512));
	assert_non_null(rig_read(r, 1024));
}

static void commands_from_inside_ready_are_sent(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .no_handshake = true, .hdgst = true });
	struct rig_pdu p;

	r->on_ready = submit_two;
	rig_put_icresp(r);
	rig_deliver(r);
	rig_flush(r);
	assert_true(rig_next(r, &p));
	assert_int_equal(p.length, 512);
	assert_true(rig_next(r, &p));
	assert_int_equal(p.length, 1024);
	assert_false(rig_next(r, &p));
	rig_free(r);
}

static void read_capsule_has_transport_sgl(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .incapsule = 8192 });
	struct rig_cmd *c = rig_read(r, 4096);
	struct rig_cmd *flush = rig_submit(r, &(struct rig_spec){ .dir = NOFI_DIR_NONE });
	struct rig_pdu p;

	assert_true(r->wants_count > 0);
	rig_flush(r);
	assert_true(rig_next(r, &p));
	assert_int_equal(p.cid, c->cid);
	assert_int_equal(p.sqe[0], 2);
	assert_int_equal(p.length, 4096);
	assert_int_equal(p.pdo, 0);
	assert_true(rig_next(r, &p));
	assert_int_equal(p.cid, flush->cid);
	assert_int_equal(p.length, 0);
	rig_put_resp(r, flush->cid, 0, 0x1122334455667788u);
	rig_deliver(r);
	assert_int_equal(flush->done_count, 1);
	assert_int_equal(flush->error, 0);
	assert_true(flush->result == 0x1122334455667788u);
	assert_int_equal(c->done_count, 0);
	rig_free(r);
}

/* A read of spec in n PDUs, by response or by SUCCESS. */
static void one_read(struct rig *r, const struct rig_spec *spec, unsigned n, bool by_success)
{
	struct rig_cmd *c = rig_submit(r, spec);
	uint32_t off = 0, step = spec->length / n;

	rig_flush(r);
	for (unsigned i = 0; i < n; i++) {
		uint32_t len = i == n - 1 ? spec->length - off : step;

		rig_put_c2h(r, c, off, len, i < n - 1 ? 0 : by_success ? LAST_SUCCESS : LAST);
		off += len;
	}
	if (!by_success)
		rig_put_resp(r, c->cid, 0, 7);
	rig_deliver(r);
	assert_int_equal(r->fatal_count, 0);
	assert_int_equal(c->done_count, 1);
	assert_int_equal(c->error, 0);
	assert_int_equal(c->status, 0);
	assert_int_equal(c->result, by_success ? 0 : 7);
	rig_check_memory(c, spec->length);
}

static void t14_reads_of_every_shape(void **state)
{
	static const uint32_t lengths[] = { 1, 4, 512, 4099, 20000, 70000 };

	for (unsigned how = 0; how < 32; how++) {
		struct rig *r = rig_new(&(struct rig_opts){
			.hdgst = how & 1, .ddgst = how & 2, .hpda = how & 4 ? 31 : 0,
			.disable_sqflow = how & 8 });

		r->use_place = how & 16;
		r->staging_len = 4096;	/* little at a time: payload is under way when it asks */
		for (unsigned l = 0; l < 6; l++)
			for (unsigned shape = 0; shape < RIG_SHAPES; shape++)
				for (unsigned n = 1; n <= 3 && n <= lengths[l]; n++)
					one_read(r, &(struct rig_spec){
						.dir = NOFI_DIR_READ, .length = lengths[l],
						.shape = shape, .skip = n * 7 * (shape & 1),
						.tail = n - 1 }, n, n == 2);
		if (how & 16)
			assert_true(r->place_count > 0);
		/* SUCCESS although flow control is on: accepted, and noted (T-14). */
		if (how & 8)
			assert_int_equal(r->note_count, 0);
		else
			assert_true(r->note_count > 0);
		rig_free(r);
	}
}

/* 256 KiB of staging would hold two of these, nearly: not once they are known. */
static void long_reads_are_placed_though_staging_would_hold_them(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .disable_sqflow = true });
	enum { LENGTH = 131072, READS = 8 };
	struct rig_cmd *c[READS];

	r->use_place = true;
	for (int i = 0; i < READS; i++)
		c[i] = rig_submit(r, &(struct rig_spec){ .dir = NOFI_DIR_READ, .length = LENGTH });
	rig_flush(r);
	for (int i = 0; i < READS; i++)
		rig_put_c2h(r, c[i], 0, LENGTH, LAST_SUCCESS);
	rig_deliver(r);
	/* All but the first two, which came with what nobody knew of yet. */
	assert_int_equal(r->place_count, READS - 2);
	for (int i = 0; i < READS; i++) {
		assert_int_equal(c[i]->done_count, 1);
		rig_check_memory(c[i], LENGTH);
	}
	rig_free(r);
}

static void interleaved_reads_go_to_their_own_buffers(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .ddgst = true });
	struct rig_cmd *c[3];

	for (int i = 0; i < 3; i++)
		c[i] = rig_submit(r, &(struct rig_spec){ .dir = NOFI_DIR_READ, .length = 3000,
							 .shape = RIG_RANDOM });
	rig_flush(r);
	for (uint32_t off = 0; off < 3000; off += 1000)
		for (int i = 2; i >= 0; i--)
			rig_put_c2h(r, c[i], off, 1000, off == 2000 ? LAST : 0);
	for (int i = 0; i < 3; i++)
		rig_put_resp(r, c[i]->cid, 0, 0);
	rig_deliver(r);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(c[i]->done_count, 1);
		assert_int_equal(c[i]->done_order, (unsigned)i + 1);
		rig_check_memory(c[i], 3000);
	}
	rig_free(r);
}

static void t15_success_without_all_bytes_fails_the_read(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ 0 });
	struct rig_cmd *none = rig_read(r, 4096), *half = rig_read(r, 4096);
	struct rig_cmd *error = rig_read(r, 4096), *after;

	rig_flush(r);
	rig_put_resp(r, none->cid, 0, 0);
	rig_put_c2h(r, half, 0, 2048, 0);
	rig_put_resp(r, half->cid, 0, 0);
	rig_put_c2h(r, error, 0, 1024, 0);
	rig_put_resp(r, error->cid, 0x281, 0);
	rig_deliver(r);
	assert_int_equal(r->fatal_count, 0);
	assert_int_equal(none->error, -EIO);
	assert_true(none->detail[0]);
	rig_check_memory(none, 0);
	assert_int_equal(half->error, -EIO);
	rig_check_memory(half, 2048);
	assert_int_equal(error->error, 0);
	assert_int_equal(error->status, 0x281);
	/* The connection lives on. */
	after = rig_read(r, 512);
	rig_flush(r);
	rig_put_c2h(r, after, 0, 512, LAST);
	rig_put_resp(r, after->cid, 0, 0);
	rig_deliver(r);
	assert_int_equal(after->error, 0);
	rig_check_memory(after, 512);
	rig_free(r);
}

static void t15_status_with_stray_bits_is_still_a_success(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ 0 });
	struct rig_cmd *c = rig_read(r, 4096);

	rig_flush(r);
	rig_put_resp(r, c->cid, 0x4000, 0);		/* DNR and nothing else */
	rig_deliver(r);
	assert_int_equal(c->error, -EIO);
	rig_free(r);
}

/* Digest wrong in PDU bad of two; then the read ends as told. */
static void digest_case(unsigned bad, bool by_success, uint16_t status)
{
	struct rig *r = rig_new(&(struct rig_opts){ .ddgst = true, .disable_sqflow = true });
	struct rig_cmd *c = rig_read(r, 8192), *other = rig_read(r, 512);

	rig_flush(r);
	rig_put_c2h(r, c, 0, 4096, 0);
	if (bad == 0)
		r->in.p[r->in.len - 1] ^= 1;
	rig_put_c2h(r, c, 4096, 4096, by_success ? LAST_SUCCESS : LAST);
	if (bad == 1)
		r->in.p[r->in.len - 4] ^= 0x80;
	if (!by_success)
		rig_put_resp(r, c->cid, status, 0);
	rig_put_c2h(r, other, 0, 512, LAST_SUCCESS);
	rig_deliver(r);
	assert_int_equal(r->fatal_count, 0);
	assert_int_equal(c->done_count, 1);
	if (status) {
		assert_int_equal(c->error, 0);
		assert_int_equal(c->status, status);
	} else {
		assert_int_equal(c->error, -EBADMSG);
		assert_true(c->detail[0]);
	}
	rig_check_memory(c, 8192);
	assert_int_equal(other->error, 0);
	rig_check_memory(other, 512);
	assert_true(r->note_count > 0);
	rig_free(r);
}

static void t21_bad_digest_wins_over_a_later_success(void **state)
{
	digest_case(0, false, 0);
	digest_case(1, false, 0);
	digest_case(0, true, 0);
	digest_case(1, true, 0);
	/* A failure is a failure, and says why. */
	digest_case(0, false, 0x281);
}

static void t21_bad_data_is_noticed_like_a_bad_digest(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .ddgst = true });
	struct rig_cmd *c = rig_read(r, 512);

	rig_flush(r);
	rig_put_c2h(r, c, 0, 512, LAST);
	r->in.p[NOFI_DATA_HLEN + 100] ^= 1;
	rig_put_resp(r, c->cid, 0, 0);
	rig_deliver(r);
	assert_int_equal(c->error, -EBADMSG);
	rig_free(r);
}

/* The bad digest of one read does not stick to the slot's next. */
static void t21_next_user_of_the_slot_is_clean(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .ddgst = true, .entries = 2 });
	struct rig_cmd *c = rig_read(r, 512), *d;

	rig_flush(r);
	rig_put_c2h(r, c, 0, 512, LAST);
	r->in.p[r->in.len - 1] ^= 1;
	rig_put_resp(r, c->cid, 0, 0);
	rig_deliver(r);
	assert_int_equal(c->error, -EBADMSG);
	d = rig_read(r, 512);
	assert_int_equal(d->slot, c->slot);
	rig_flush(r);
	rig_put_c2h(r, d, 0, 512, LAST);
	rig_put_resp(r, d->cid, 0, 0);
	rig_deliver(r);
	assert_int_equal(d->error, 0);
	rig_free(r);
}

static void place_names_the_payload_and_no_more(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ 0 });
	struct rig_cmd *c = rig_read(r, 65536);
	struct iovec iov[4];

	rig_flush(r);
	assert_int_equal(nofi_machine_place(&r->m, iov, 4), 0);
	rig_put_c2h(r, c, 0, 32768, 0);
	rig_feed(r, r->in.p, NOFI_DATA_HLEN + 10);
	assert_int_equal(nofi_machine_place(&r->m, iov, 4), 1);
	assert_ptr_equal(iov[0].iov_base, (uint8_t *)c->iov[0].iov_base + 10);
	assert_int_equal(iov[0].iov_len, 32768 - 10);
	/* Enough has come: the rest is cheaper to copy. */
	rig_feed(r, r->in.p + NOFI_DATA_HLEN + 10, 30000);
	assert_int_equal(nofi_machine_place(&r->m, iov, 4), 0);
	rig_free(r);
}

static void place_gives_no_half_of_a_payload(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ 0 });
	struct rig_cmd *c = rig_submit(r, &(struct rig_spec){ .dir = NOFI_DIR_READ,
							     .length = 32768, .shape = RIG_BYTES });
	struct iovec iov[64];

	rig_flush(r);
	rig_put_c2h(r, c, 0, 32768, LAST);
	rig_feed(r, r->in.p, NOFI_DATA_HLEN);
	assert_int_equal(nofi_machine_place(&r->m, iov, 64), 0);
	rig_free(r);
}

/* Buffers are the caller's again when the commands have failed. */
static void place_names_nothing_once_stopped(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ 0 });
	struct rig_cmd *c = rig_read(r, 65536);
	struct iovec iov[4];

	rig_flush(r);
	rig_put_c2h(r, c, 0, 65536, LAST);
	rig_feed(r, r->in.p, NOFI_DATA_HLEN);
	assert_int_equal(nofi_machine_place(&r->m, iov, 4), 1);
	rig_fail(r);
	assert_int_equal(c->error, -ECONNRESET);
	assert_int_equal(nofi_machine_place(&r->m, iov, 4), 0);
	nofi_machine_rx_direct(&r->m, 100);
	nofi_machine_rx(&r->m, r->in.p, 100);
	rig_check_memory(c, 0);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t6_nothing_is_taken_before_icresp),
		cmocka_unit_test(commands_from_inside_ready_are_sent),
		cmocka_unit_test(read_capsule_has_transport_sgl),
		cmocka_unit_test(t14_reads_of_every_shape),
		cmocka_unit_test(long_reads_are_placed_though_staging_would_hold_them),
		cmocka_unit_test(interleaved_reads_go_to_their_own_buffers),
		cmocka_unit_test(t15_success_without_all_bytes_fails_the_read),
		cmocka_unit_test(t15_status_with_stray_bits_is_still_a_success),
		cmocka_unit_test(t21_bad_digest_wins_over_a_later_success),
		cmocka_unit_test(t21_bad_data_is_noticed_like_a_bad_digest),
		cmocka_unit_test(t21_next_user_of_the_slot_is_clean),
		cmocka_unit_test(place_names_the_payload_and_no_more),
		cmocka_unit_test(place_gives_no_half_of_a_payload),
		cmocka_unit_test(place_names_nothing_once_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
