/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a hostile or broken controller may send: the lines of checklist 1.5 (l1…l8)
 * and the errors of 1.4. Each ends the connection with the right FES and FEI, every
 * command completes once, and no byte outside of a buffer changes.
 */
#include <errno.h>

#include "machine_rig.h"
#include "pdu/crc32c.h"

enum { LAST = NOFI_PDU_F_LAST, LAST_SUCCESS = NOFI_PDU_F_LAST | NOFI_PDU_F_SUCCESS };

/* One of each: a read, an R2T write, an in-capsule write, a command without data. */
struct bench {
	struct rig *r;
	struct rig_cmd *read, *write, *capsule, *flush, *late;
};

static struct bench bench_new(const struct rig_opts *o)
{
	struct rig_opts opts = *o;
	struct bench b;

	if (!opts.incapsule)
		opts.incapsule = 512;
	b.r = rig_new(&opts);
	b.read = rig_submit(b.r, &(struct rig_spec){ .dir = NOFI_DIR_READ, .length = 4096,
						     .shape = RIG_ZEROS, .deadline = 9 });
	b.write = rig_submit(b.r, &(struct rig_spec){ .dir = NOFI_DIR_WRITE, .length = 16384,
						      .deadline = 10 });
	b.capsule = rig_write(b.r, 512);
	b.flush = rig_submit(b.r, &(struct rig_spec){ .dir = NOFI_DIR_NONE });
	rig_flush(b.r);
	b.late = rig_read(b.r, 512);		/* not sent yet */
	rig_drop_out(b.r);
	return b;
}

/* Delivers, expects the end, frees. reads: bytes that b.read has got. */
static void expect(struct bench *b, uint16_t fes, uint32_t fei, uint32_t reads)
{
	struct rig *r = b->r;

	rig_deliver(r);
	assert_int_equal(r->fatal_count, 1);
	assert_int_equal(r->fatal.fes, fes);
	assert_int_equal(r->fatal.fei, fei);
	assert_int_equal(r->fatal_err.code, -EPROTO);
	if (fes)
		assert_true(r->culprit_len > 0);
	/* Deaf from now on. */
	rig_put_resp(r, b->flush->cid, 0, 0);
	rig_deliver(r);
	rig_check_all_done(r);
	rig_check_memory(b->read, reads);
	rig_check_memory(b->write, 0);
	rig_check_memory(b->capsule, 0);
	rig_check_memory(b->late, 0);
	rig_free(r);
}

/* A PDU of the bench with one header byte changed; the digest follows if it must. */
typedef void put_fn(struct bench *b);
static void put_resp(struct bench *b) { rig_put_resp(b->r, b->flush->cid, 0, 0); }
static void put_c2h(struct bench *b) { rig_put_c2h(b->r, b->read, 0, 4096, LAST); }
static void put_r2t(struct bench *b) { rig_put_r2t(b->r, b->write->cid, 1, 0, 16384); }

static void byte_case(put_fn *put, unsigned dgst, unsigned off, uint8_t value, uint16_t fes,
		      uint32_t fei)
{
	struct bench b = bench_new(&(struct rig_opts){
		.hdgst = dgst & 1, .ddgst = dgst & 2, .fail_in_fatal = off & 1 });
	uint8_t *p;

	put(&b);
	p = b.r->in.p;
	p[off] = value;
	if (p[1] & NOFI_PDU_F_HDGST)
		nofi_put32(p + p[2], nofi_crc32c(p, p[2]));
	expect(&b, fes, fei, 0);
}

static void l1_common_header(void **state)
{
	static const uint8_t types[] = { 0x00, 0x02, 0x04, 0x06, 0x08, 0x0a, 0x0b, 0x80, 0xff };
	put_fn *const puts[] = { put_resp, put_c2h, put_r2t };

	for (unsigned i = 0; i < sizeof(types); i++)
		byte_case(put_resp, 0, 0, types[i], 1, 0);
	for (unsigned i = 0; i < 3; i++) {
		byte_case(puts[i], 0, 1, 0x80, 1, 1);
		byte_case(puts[i], 0, 1, NOFI_PDU_F_HDGST, 1, 1);
		byte_case(puts[i], 0, 1, NOFI_PDU_F_DDGST, 1, 1);
		byte_case(puts[i], 3, 1, 0, 1, 1);
		byte_case(puts[i], 0, 2, 0, 1, 2);
		byte_case(puts[i], 0, 2, 255, 1, 2);
		byte_case(puts[i], 0, 4, 0, 1, i == 1 ? 16 : 4);
		byte_case(puts[i], 0, 7, 0xff, 1, i == 1 ? 16 : 4);
		byte_case(puts[i], 1, 4, 1, 1, i == 1 ? 16 : 4);
	}
	byte_case(put_c2h, 0, 1, NOFI_PDU_F_SUCCESS, 1, 1);
	byte_case(put_c2h, 0, 5, 0, 1, 4);
}

static void l2_data_offset(void **state)
{
	byte_case(put_resp, 0, 3, 24, 1, 3);
	byte_case(put_r2t, 0, 3, 24, 1, 3);
	byte_case(put_c2h, 0, 3, 0, 1, 3);
	byte_case(put_c2h, 0, 3, 23, 1, 3);
	byte_case(put_c2h, 0, 3, 26, 1, 3);
	byte_case(put_c2h, 0, 3, 132, 1, 3);
	byte_case(put_c2h, 0, 3, 255, 1, 3);
	byte_case(put_c2h, 1, 3, 24, 1, 3);
	byte_case(put_c2h, 0, 3, 28, 1, 16);
}

static void l3_c2hdata_length(void **state)
{
	byte_case(put_c2h, 0, 16, 1, 1, 16);
	byte_case(put_c2h, 0, 17, 0, 1, 16);		/* DATAL 0 */
	byte_case(put_c2h, 3, 19, 0xff, 1, 16);
}

static void c2h_case(struct rig_cmd *of(struct bench *), uint32_t off, uint32_t len, uint8_t flags,
		     uint16_t fes, uint32_t fei)
{
	for (unsigned dgst = 0; dgst < 4; dgst++) {
		struct bench b = bench_new(&(struct rig_opts){ .hdgst = dgst & 1,
							       .ddgst = dgst & 2 });

		rig_put_c2h(b.r, of(&b), off, len, flags);
		expect(&b, fes, fei, 0);
	}
}

static struct rig_cmd *of_read(struct bench *b) { return b->read; }
static struct rig_cmd *of_write(struct bench *b) { return b->write; }
static struct rig_cmd *of_capsule(struct bench *b) { return b->capsule; }
static struct rig_cmd *of_flush(struct bench *b) { return b->flush; }
static struct rig_cmd *of_late(struct bench *b) { return b->late; }

static void l3_c2hdata_on_write(void **state)
{
	c2h_case(of_write, 0, 16384, LAST, 1, 8);
	c2h_case(of_capsule, 0, 512, LAST_SUCCESS, 1, 8);
}

static void l3_c2hdata_on_no_data(void **state)
{
	c2h_case(of_flush, 0, 512, LAST, 1, 8);
}

static void l3_c2hdata_on_unsent_read(void **state)
{
	c2h_case(of_late, 0, 512, LAST, 1, 8);
}

static void l3_c2hdata_not_contiguous(void **state)
{
	c2h_case(of_read, 512, 512, 0, 2, 0);
	c2h_case(of_read, 512, 3584, LAST, 2, 0);
}

static void l3_c2hdata_beyond_the_buffer(void **state)
{
	c2h_case(of_read, 0, 4100, LAST, 4, 0);
	c2h_case(of_read, 4096, 4, LAST, 4, 0);
	c2h_case(of_read, 0xfffffffc, 8, LAST, 4, 0);	/* wraps in 32 bits */
	c2h_case(of_read, 0xffffffff, 4096, 0, 4, 0);
}

static void l3_c2hdata_last_wrong(void **state)
{
	c2h_case(of_read, 0, 512, LAST, 2, 0);
	c2h_case(of_read, 0, 4096, 0, 2, 0);
	c2h_case(of_read, 0, 512, LAST_SUCCESS, 2, 0);
}

static void l3_c2hdata_twice(void **state)
{
	struct bench b = bench_new(&(struct rig_opts){ 0 });

	rig_put_c2h(b.r, b.read, 0, 2048, 0);
	rig_put_c2h(b.r, b.read, 0, 2048, 0);
	expect(&b, 2, 0, 2048);
}

static void r2t_case(struct rig_cmd *of(struct bench *), uint32_t off, uint32_t len, uint16_t fes,
		     uint32_t fei)
{
	for (unsigned dgst = 0; dgst < 2; dgst++) {
		struct bench b = bench_new(&(struct rig_opts){ .hdgst = dgst });

		rig_put_r2t(b.r, of(&b)->cid, 1, off, len);
		expect(&b, fes, fei, 0);
	}
}

/* An answer would send what the read's buffer held before. */
static void l4_r2t_on_read(void **state) { r2t_case(of_read, 0, 4096, 1, 8); }
static void l4_r2t_on_in_capsule(void **state) { r2t_case(of_capsule, 0, 512, 1, 8); }
static void l4_r2t_on_no_data(void **state) { r2t_case(of_flush, 0, 4, 1, 8); }
static void l4_r2t_on_unsent_command(void **state) { r2t_case(of_late, 0, 4, 1, 8); }
static void l4_r2t_of_no_data(void **state) { r2t_case(of_write, 0, 0, 1, 16); }
static void l4_r2t_not_contiguous(void **state) { r2t_case(of_write, 4096, 4096, 2, 0); }

static void l4_r2t_beyond_transfer(void **state)
{
	r2t_case(of_write, 0, 16385, 4, 0);
	r2t_case(of_write, 16384, 1, 4, 0);
	r2t_case(of_write, 0xffffffff, 2, 4, 0);
	r2t_case(of_write, 4, 0xfffffffc, 4, 0);
}

static void l4_more_r2ts_than_maxr2t(void **state)
{
	for (uint32_t max = 1; max <= 4; max++) {
		struct bench b = bench_new(&(struct rig_opts){ .maxr2t = max });

		for (uint32_t i = 0; i <= max; i++)
			rig_put_r2t(b.r, b.write->cid, (uint16_t)i, i * 512, 512);
		expect(&b, 5, 0, 0);
	}
}

static void l4_ttag_still_active(void **state)
{
	struct bench b = bench_new(&(struct rig_opts){ 0 });

	rig_put_r2t(b.r, b.write->cid, 0xffff, 0, 512);
	rig_put_r2t(b.r, b.write->cid, 0xffff, 512, 512);
	expect(&b, 1, 10, 0);
}

static void l5_response_to_nothing(void **state)
{
	static const uint16_t xors[] = { 0x10, 0x80, 0x100, 0x8000, 0xff00 };

	for (unsigned i = 0; i < 5; i++) {
		struct bench b = bench_new(&(struct rig_opts){ .hdgst = i & 1 });

		rig_put_resp(b.r, b.flush->cid ^ xors[i], 0, 0);
		expect(&b, 1, 20, 0);
	}
}

/* Slots that do not exist: 5 slots take 3 bits of the CID. */
static void l5_response_beyond_the_slots(void **state)
{
	for (uint16_t slot = 0; slot < 8; slot++) {
		struct bench b = bench_new(&(struct rig_opts){ .qid = 1, .entries = 6 });

		if (b.late->slot == slot || slot > 4) {
			rig_put_resp(b.r, (uint16_t)((b.flush->cid & ~7) | slot), 0, 0);
			expect(&b, 1, 20, 0);
		} else {
			rig_free(b.r);
		}
	}
}

static void l5_response_to_unsent_command(void **state)
{
	struct bench b = bench_new(&(struct rig_opts){ 0 });

	rig_put_resp(b.r, b.late->cid, 0, 0);
	expect(&b, 1, 20, 0);
}

static void l5_response_twice(void **state)
{
	struct bench b = bench_new(&(struct rig_opts){ 0 });

	rig_put_resp(b.r, b.flush->cid, 0, 0);
	rig_put_resp(b.r, b.flush->cid, 0, 0);
	expect(&b, 1, 20, 0);
}

static void l5_response_after_success_flag(void **state)
{
	struct bench b = bench_new(&(struct rig_opts){ .disable_sqflow = true });

	rig_put_c2h(b.r, b.read, 0, 4096, LAST_SUCCESS);
	rig_put_resp(b.r, b.read->cid, 0, 0);
	expect(&b, 1, 20, 4096);
}

/* The slot is in use again: only the generation tells the late answer apart. */
static void l5_late_duplicate_of_an_old_generation(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .entries = 2, .qid = 1 });
	struct rig_cmd *old = rig_read(r, 512), *new;

	rig_flush(r);
	rig_put_resp(r, old->cid, 0x281, 0);
	rig_deliver(r);
	new = rig_read(r, 512);
	assert_int_equal(new->slot, old->slot);
	assert_int_not_equal(new->cid, old->cid);
	rig_flush(r);
	rig_put_resp(r, old->cid, 0x281, 0);
	rig_deliver(r);
	assert_int_equal(r->fatal.fes, 1);
	assert_int_equal(r->fatal.fei, 20);
	assert_int_equal(new->done_count, 0);
	rig_check_all_done(r);
	assert_int_equal(new->error, -EPROTO);
	rig_free(r);
}

static void l5_write_succeeds_before_its_r2ts(void **state)
{
	for (unsigned n = 0; n < 4; n++) {
		struct bench b = bench_new(&(struct rig_opts){ .hdgst = n & 1 });

		for (uint32_t i = 0; i < n; i++) {
			rig_put_r2t(b.r, b.write->cid, (uint16_t)i, i * 4096, 4096);
			rig_deliver(b.r);
			rig_flush(b.r);
		}
		rig_put_resp(b.r, b.write->cid, 0, 0);
		expect(&b, 2, 0, 0);
	}
}

/* Its R2Ts came, the answers still wait in the fifo. */
static void l5_write_succeeds_before_its_answers(void **state)
{
	struct bench b = bench_new(&(struct rig_opts){ 0 });

	rig_put_r2t(b.r, b.write->cid, 0, 0, 16384);
	rig_put_resp(b.r, b.write->cid, 0, 0);
	expect(&b, 2, 0, 0);
}

/* Part of the PDU is in the stream, the rest nobody has seen. */
static void l5_write_succeeds_in_the_middle_of_its_pdu(void **state)
{
	for (unsigned by_r2t = 0; by_r2t < 2; by_r2t++) {
		struct bench b = bench_new(&(struct rig_opts){ .incapsule = 8192 });
		struct rig_cmd *c;

		rig_put_resp(b.r, b.late->cid, 0x281, 0);
		rig_flush(b.r);
		rig_deliver(b.r);
		c = rig_submit(b.r, &(struct rig_spec){
			.dir = NOFI_DIR_WRITE, .length = by_r2t ? 10000 : 8000,
			.shape = RIG_BYTES });
		assert_true(rig_build(b.r));
		if (by_r2t) {
			rig_sent(b.r);
			rig_put_r2t(b.r, c->cid, 0, 0, 10000);
			rig_deliver(b.r);
			assert_true(rig_build(b.r));
		}
		assert_true(b.r->m.tx_cur == c->slot);
		rig_put_resp(b.r, c->cid, 0, 0);
		expect(&b, 2, 0, 0);
	}
}

static void l5_sqhd_beyond_the_queue(void **state)
{
	struct bench b = bench_new(&(struct rig_opts){ .entries = 32 });
	struct rig *r;
	struct rig_cmd *c;

	b.r->sqhd = 33;
	rig_put_resp(b.r, b.flush->cid, 0, 0);
	expect(&b, 1, 16, 0);

	/* With flow control off SQHD means nothing (T-17). */
	r = rig_new(&(struct rig_opts){ .entries = 32, .disable_sqflow = true });
	c = rig_submit(r, &(struct rig_spec){ .dir = NOFI_DIR_NONE });
	rig_flush(r);
	r->sqhd = 0xffff;
	rig_put_resp(r, c->cid, 0, 0);
	rig_deliver(r);
	assert_int_equal(c->done_count, 1);
	rig_free(r);
}

static void l6_data_and_r2t_after_completion(void **state)
{
	struct bench b = bench_new(&(struct rig_opts){ 0 });

	rig_put_c2h(b.r, b.read, 0, 1024, 0);
	rig_put_resp(b.r, b.read->cid, 0x281, 0);
	rig_put_c2h(b.r, b.read, 1024, 3072, LAST);
	expect(&b, 1, 8, 1024);

	b = bench_new(&(struct rig_opts){ 0 });
	rig_put_resp(b.r, b.write->cid, 0x281, 0);
	rig_put_r2t(b.r, b.write->cid, 0, 0, 16384);
	expect(&b, 1, 8, 0);
}

/* The answer came, the payload is still named by a batch: finished is not outstanding. */
static void l6_finished_command_is_not_outstanding(void **state)
{
	for (unsigned how = 0; how < 3; how++) {
		struct bench b = bench_new(&(struct rig_opts){ 0 });

		rig_put_r2t(b.r, b.write->cid, 0, 0, 16384);
		rig_deliver(b.r);
		assert_true(rig_build(b.r));
		rig_put_resp(b.r, b.write->cid, 0, 0);
		rig_deliver(b.r);
		assert_int_equal(b.write->done_count, 0);
		if (how == 0)
			rig_put_resp(b.r, b.write->cid, 0, 0);
		else if (how == 1)
			rig_put_r2t(b.r, b.write->cid, 1, 0, 4);
		else
			rig_put_c2h(b.r, b.write, 0, 4, 0);
		expect(&b, 1, how == 0 ? 20 : 8, 0);
	}
}

static void e02_second_icresp(void **state)
{
	struct bench b = bench_new(&(struct rig_opts){ 0 });

	rig_put_icresp(b.r);
	expect(&b, 2, 0, 0);
}

static void e02_pdu_before_icresp(void **state)
{
	struct rig *r = rig_new(&(struct rig_opts){ .no_handshake = true });

	rig_put_resp(r, 0, 0, 0);
	rig_deliver(r);
	assert_int_equal(r->fatal.fes, 2);
	assert_int_equal(r->ready_count, 0);
	rig_check_all_done(r);
	rig_free(r);
}

static void ic_case(unsigned off, uint8_t value, uint16_t fes)
{
	struct rig *r = rig_new(&(struct rig_opts){ .no_handshake = true });

	rig_put_icresp(r);
	r->in.p[off] = value;
	rig_deliver(r);
	assert_int_equal(r->fatal_count, 1);
	assert_int_equal(r->fatal.fes, fes);
	assert_int_equal(r->fatal.fei, off);
	assert_int_equal(r->ready_count, 0);
	rig_check_all_done(r);
	rig_free(r);
}

static void t7_icresp_values(void **state)
{
	ic_case(1, 1, 1);
	ic_case(2, 24, 1);
	ic_case(4, 129, 1);
	ic_case(8, 1, 6);
	ic_case(10, 32, 1);
	ic_case(11, 1, 1);		/* a digest that was not offered */
	ic_case(11, 2, 1);
	ic_case(11, 4, 1);
	ic_case(12, 2, 1);
}

static void e03_header_digest(void **state)
{
	put_fn *const puts[] = { put_resp, put_c2h, put_r2t };

	for (unsigned i = 0; i < 3; i++) {
		struct bench b = bench_new(&(struct rig_opts){ .hdgst = true });
		uint32_t got;

		puts[i](&b);
		b.r->in.p[24 + i] ^= 0x10;
		got = nofi_get32(b.r->in.p + 24);
		expect(&b, 3, got, 0);
	}
}

/* T-20: logged, closed, never answered; whole or in pieces, sound or not. */
static void t20_c2htermreq(void **state)
{
	for (unsigned len = 0; len <= 130; len += 26) {
		struct bench b = bench_new(&(struct rig_opts){ .hdgst = true });
		uint8_t pdu[NOFI_PDU_ENC_MAX], culprit[130] = { 4 };
		size_t n = nofi_enc_c2hterm(pdu, NOFI_FES_RANGE, 0, culprit, len);

		rig_feed(b.r, pdu, 9);
		rig_feed(b.r, pdu + 9, n - 9);
		assert_int_equal(b.r->fatal_count, 1);
		assert_int_equal(b.r->fatal.fes, 0);
		assert_int_equal(b.r->culprit_len, 0);
		assert_int_equal(b.r->fatal_err.code, -ECONNRESET);
		assert_non_null(strstr(b.r->fatal_err.text, "out of range"));
		rig_check_all_done(b.r);
		rig_free(b.r);
	}
}

static void t20_malformed_c2htermreq(void **state)
{
	static const uint32_t plens[] = { 0, 23, 153, 0xffffffff };

	for (unsigned i = 0; i < 4; i++) {
		struct bench b = bench_new(&(struct rig_opts){ 0 });
		uint8_t pdu[NOFI_PDU_ENC_MAX] = { 0 };

		nofi_enc_c2hterm(pdu, 1, 0, NULL, 0);
		nofi_put32(pdu + 4, plens[i]);
		rig_bytes_add(&b.r->in, pdu, 160);
		expect(&b, 0, 0, 0);
	}
}

/* Payload that never ends costs nothing: no memory, no copy outside. */
static void l8_stall_in_the_payload_then_the_end(void **state)
{
	for (unsigned cut = 0; cut < 60; cut++) {
		struct bench b = bench_new(&(struct rig_opts){ .hdgst = true, .ddgst = true });

		put_c2h(&b);
		rig_feed(b.r, b.r->in.p, cut);
		assert_int_equal(b.r->fatal_count, 0);
		rig_fail(b.r);
		rig_check_all_done(b.r);
		assert_int_equal(b.read->error, -ECONNRESET);
		rig_check_memory(b.read, cut > 28 ? cut - 28 : 0);
		rig_free(b.r);
	}
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(l1_common_header), T(l2_data_offset), T(l3_c2hdata_length),
		T(l3_c2hdata_on_write), T(l3_c2hdata_on_no_data), T(l3_c2hdata_on_unsent_read),
		T(l3_c2hdata_not_contiguous), T(l3_c2hdata_beyond_the_buffer),
		T(l3_c2hdata_last_wrong), T(l3_c2hdata_twice),
		T(l4_r2t_on_read), T(l4_r2t_on_in_capsule), T(l4_r2t_on_no_data),
		T(l4_r2t_on_unsent_command), T(l4_r2t_of_no_data), T(l4_r2t_not_contiguous),
		T(l4_r2t_beyond_transfer), T(l4_more_r2ts_than_maxr2t), T(l4_ttag_still_active),
		T(l5_response_to_nothing), T(l5_response_beyond_the_slots),
		T(l5_response_to_unsent_command), T(l5_response_twice),
		T(l5_response_after_success_flag), T(l5_late_duplicate_of_an_old_generation),
		T(l5_write_succeeds_before_its_r2ts), T(l5_write_succeeds_before_its_answers),
		T(l5_write_succeeds_in_the_middle_of_its_pdu), T(l5_sqhd_beyond_the_queue),
		T(l6_data_and_r2t_after_completion), T(l6_finished_command_is_not_outstanding),
		T(e02_second_icresp), T(e02_pdu_before_icresp), T(t7_icresp_values),
		T(e03_header_digest), T(t20_c2htermreq), T(t20_malformed_c2htermreq),
		T(l8_stall_in_the_payload_then_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
