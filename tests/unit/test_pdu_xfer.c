/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * 1.5 lines 3 to 5, T-13, T-14, T-15, T-21: one command's transfer. All states
 * that a short transfer can reach, and in each of them every PDU that could
 * come, against a model that keeps one cell per byte instead of counters.
 */
#include "unit.h"

#include <errno.h>

#include "pdu/pdu.h"

enum { UNITS = 8 };

static struct nofi_pdu c2hdata(uint32_t datao, uint32_t datal, uint8_t flags)
{
	return (struct nofi_pdu){
		.type = NOFI_PDU_C2H_DATA, .flags = flags, .cccid = 7,
		.offset = datao, .length = datal, .data_len = datal,
	};
}

static struct nofi_pdu r2t(uint16_t ttag, uint32_t r2to, uint32_t r2tl)
{
	return (struct nofi_pdu){
		.type = NOFI_PDU_R2T, .cccid = 7, .ttag = ttag, .offset = r2to, .length = r2tl,
	};
}

/* --- the model of a write ------------------------------------------------ */

struct model {
	uint32_t length, maxr2t, maxh2c;
	uint16_t wanted_by[UNITS];	/* per byte: 1 + index of the R2T that asked for it */
	bool is_sent[UNITS];
	struct { uint16_t ttag; bool is_active; } r2ts[UNITS];
	unsigned int n_r2ts;
};

static unsigned int model_requested(const struct model *m)
{
	unsigned int i, n = 0;

	for (i = 0; i < m->length; i++)
		n += m->wanted_by[i] != 0;
	return n;
}

/* The FES that an R2T deserves, 0 if it is welcome; FEI to *fei. */
static uint16_t model_judge_r2t(const struct model *m, uint16_t ttag, uint64_t r2to, uint64_t r2tl,
				uint32_t *fei)
{
	unsigned int i, active = 0;

	*fei = 0;
	for (i = 0; i < m->n_r2ts; i++) {
		active += m->r2ts[i].is_active;
		if (m->r2ts[i].is_active && m->r2ts[i].ttag == ttag) {
			*fei = 10;
			return NOFI_FES_INVALID_HDR;
		}
	}
	if (r2tl == 0) {
		*fei = 16;
		return NOFI_FES_INVALID_HDR;
	}
	if (active == m->maxr2t)
		return NOFI_FES_LIMIT;
	if (r2to + r2tl > m->length)
		return NOFI_FES_RANGE;
	if (r2to != model_requested(m))
		return NOFI_FES_SEQUENCE;
	return 0;
}

static void model_add_r2t(struct model *m, uint16_t ttag, uint32_t r2to, uint32_t r2tl)
{
	m->r2ts[m->n_r2ts].ttag = ttag;
	m->r2ts[m->n_r2ts].is_active = true;
	m->n_r2ts++;
	while (r2tl--)
		m->wanted_by[r2to++] = m->n_r2ts;
}

/* What must be sent next: the lowest byte asked for and not sent, and what follows it. */
static bool model_next(struct model *m, struct nofi_h2c *out)
{
	unsigned int i, owner, n;

	for (i = 0; i < m->length && (!m->wanted_by[i] || m->is_sent[i]); i++)
		;
	if (i == m->length)
		return false;
	owner = m->wanted_by[i];
	memset(out, 0, sizeof(*out));
	out->ttag = m->r2ts[owner - 1].ttag;
	out->datao = i;
	for (n = 0; n < m->maxh2c && i < m->length && m->wanted_by[i] == owner; n++)
		m->is_sent[i++] = true;
	out->datal = n;
	out->is_last = i == m->length || m->wanted_by[i] != owner;
	if (out->is_last)
		m->r2ts[owner - 1].is_active = false;
	return true;
}

static bool model_all_sent(const struct model *m)
{
	unsigned int i;

	for (i = 0; i < m->length; i++)
		if (!m->is_sent[i])
			return false;
	return true;
}

/* --- every state of a write ---------------------------------------------- */

static unsigned long writes_seen;

static void assert_ends(const struct nofi_xfer *x, int want)
{
	struct nofi_pdu_error err = { 0 };

	assert_int_equal(nofi_xfer_end(x, 0, &err), want);
	if (want) {
		assert_non_null(err.what);
		assert_int_equal(err.fes, want == -EPROTO ? NOFI_FES_SEQUENCE : NOFI_FES_NONE);
	}
	/* DNR, M and CRD without a code are no failure. */
	assert_int_equal(nofi_xfer_end(x, 0x7800, &err), want);
	/* A failed command may end anywhere: any status is believed. */
	assert_int_equal(nofi_xfer_end(x, 0x0006, &err), 0);
	assert_int_equal(nofi_xfer_end(x, 0x4370, &err), 0);
}

static void walk_write(const struct nofi_xfer *x, const struct model *m,
		       const struct nofi_pdu_params *pp)
{
	struct nofi_pdu_error err;
	struct nofi_xfer x2;
	struct model m2;
	struct nofi_pdu pdu;
	struct nofi_h2c got, want;
	uint32_t off, len, fei;
	unsigned int ttag;
	uint16_t fes;
	bool is_next;

	writes_seen++;
	assert_ends(x, model_all_sent(m) ? 0 : -EPROTO);

	/* A C2HData never belongs here. */
	pdu = c2hdata(0, 1, 0);
	x2 = *x;
	assert_int_equal(nofi_xfer_c2hdata(&x2, &pdu, &err), -EPROTO);
	assert_int_equal(err.fes, NOFI_FES_INVALID_HDR);
	assert_int_equal(err.fei, 8);
	assert_memory_equal(&x2, x, sizeof(x2));

	memset(&got, 0, sizeof(got));
	x2 = *x;
	m2 = *m;
	is_next = nofi_xfer_next_h2c(&x2, pp, &got);
	assert_int_equal(is_next, model_next(&m2, &want));
	if (is_next) {
		assert_int_equal(got.ttag, want.ttag);
		assert_int_equal(got.datao, want.datao);
		assert_int_equal(got.datal, want.datal);
		assert_int_equal(got.is_last, want.is_last);
		walk_write(&x2, &m2, pp);
	} else {
		assert_memory_equal(&x2, x, sizeof(x2));
	}

	/* Every R2T there could be; tags repeat, so that finished ones come again. */
	for (off = 0; off <= m->length + 1; off++)
		for (len = 0; len <= m->length + 1; len++)
			for (ttag = 0; ttag <= m->maxr2t; ttag++) {
				pdu = r2t(0x8000 + ttag, off, len);
				x2 = *x;
				memset(&err, 0, sizeof(err));
				fes = model_judge_r2t(m, 0x8000 + ttag, off, len, &fei);
				if (fes) {
					assert_int_equal(nofi_xfer_r2t(&x2, pp, &pdu, &err),
							 -EPROTO);
					assert_int_equal(err.fes, fes);
					assert_int_equal(err.fei, fei);
					assert_memory_equal(&x2, x, sizeof(x2));
					continue;
				}
				assert_int_equal(nofi_xfer_r2t(&x2, pp, &pdu, &err), 0);
				/* All free tags are alike: walk on from the one on turn. */
				if (ttag != m->n_r2ts % (m->maxr2t + 1))
					continue;
				m2 = *m;
				model_add_r2t(&m2, 0x8000 + ttag, off, len);
				walk_write(&x2, &m2, pp);
			}
}

static void t13_l4_every_state_of_a_write(void **state)
{
	struct nofi_pdu_params pp = { .is_ready = true };
	struct nofi_xfer x;
	struct model m;
	uint32_t length, maxr2t, maxh2c;

	for (length = 1; length <= UNITS; length++)
		for (maxr2t = 1; maxr2t <= NOFI_R2T_MAX; maxr2t++)
			for (maxh2c = 1; maxh2c <= 3; maxh2c++) {
				/* Splits below the R2T's size are walked on shorter transfers. */
				if (length > 6 && maxh2c < 3)
					continue;
				pp.maxr2t = maxr2t;
				pp.maxh2cdata = maxh2c;
				nofi_xfer_init(&x, NOFI_DIR_WRITE, length, false);
				memset(&m, 0, sizeof(m));
				m.length = length;
				m.maxr2t = maxr2t;
				m.maxh2c = maxh2c;
				walk_write(&x, &m, &pp);
			}
	/* The walk did walk: all 128 compositions of 8 units at the very least. */
	assert_true(writes_seen > 10000);
}

/* --- every state of a read ----------------------------------------------- */

struct read_model {
	uint32_t length;
	bool has[UNITS];
};

static uint16_t model_judge_data(const struct read_model *m, uint32_t off, uint32_t len,
				 bool is_last, uint32_t *fei)
{
	uint32_t first = 0;

	*fei = 0;
	while (first < m->length && m->has[first])
		first++;
	if (len == 0) {
		*fei = 16;
		return NOFI_FES_INVALID_HDR;
	}
	if (off + len > m->length)
		return NOFI_FES_RANGE;
	if (off != first || is_last != (off + len == m->length))
		return NOFI_FES_SEQUENCE;
	return 0;
}

static void walk_read(const struct nofi_xfer *x, const struct read_model *m)
{
	static const uint8_t flags[] = { 0, NOFI_PDU_F_LAST, NOFI_PDU_F_LAST | NOFI_PDU_F_SUCCESS };
	static const struct nofi_pdu_params pp = { .maxr2t = 4, .maxh2cdata = 4096 };
	struct nofi_pdu_error err;
	struct read_model m2;
	struct nofi_xfer x2;
	struct nofi_h2c h2c;
	struct nofi_pdu pdu;
	uint32_t off, len, fei, i, n = 0;
	unsigned int f;
	uint16_t fes;

	for (i = 0; i < m->length; i++)
		n += m->has[i];
	assert_int_equal(x->received, n);
	assert_ends(x, n == m->length ? 0 : -EIO);
	x2 = *x;
	x2.has_bad_digest = true;
	assert_ends(&x2, -EBADMSG);

	/* An R2T on a read would leak the buffer: refused, and nothing to send. */
	x2 = *x;
	pdu = r2t(1, 0, 1);
	assert_int_equal(nofi_xfer_r2t(&x2, &pp, &pdu, &err), -EPROTO);
	assert_int_equal(err.fes, NOFI_FES_INVALID_HDR);
	assert_int_equal(err.fei, 8);
	assert_memory_equal(&x2, x, sizeof(x2));
	assert_false(nofi_xfer_next_h2c(&x2, &pp, &h2c));

	for (off = 0; off <= m->length + 1; off++)
		for (len = 0; len <= m->length + 1; len++)
			for (f = 0; f < sizeof(flags); f++) {
				pdu = c2hdata(off, len, flags[f]);
				x2 = *x;
				fes = model_judge_data(m, off, len, flags[f] != 0, &fei);
				if (fes) {
					assert_int_equal(nofi_xfer_c2hdata(&x2, &pdu, &err),
							 -EPROTO);
					assert_int_equal(err.fes, fes);
					assert_int_equal(err.fei, fei);
					assert_memory_equal(&x2, x, sizeof(x2));
					continue;
				}
				assert_int_equal(nofi_xfer_c2hdata(&x2, &pdu, &err), 0);
				assert_int_equal(x2.is_last_seen, flags[f] != 0);
				m2 = *m;
				for (i = off; i < off + len; i++)
					m2.has[i] = true;
				walk_read(&x2, &m2);
			}
}

static void t14_l3_every_state_of_a_read(void **state)
{
	struct read_model m;
	struct nofi_xfer x;
	uint32_t length;

	for (length = 1; length <= UNITS; length++) {
		nofi_xfer_init(&x, NOFI_DIR_READ, length, false);
		memset(&m, 0, sizeof(m));
		m.length = length;
		walk_read(&x, &m);
	}
}

/* --- one rule each ------------------------------------------------------- */

static void t13_h2cdata_last_only_on_final(void **state)
{
	static const struct nofi_pdu_params pp = { .maxr2t = 2, .maxh2cdata = 4096 };
	struct nofi_pdu first = r2t(0xbeef, 0, 10000), second = r2t(0x0001, 10000, 4096);
	static const struct nofi_h2c want[] = {
		{ 0xbeef, 0, 4096, false }, { 0xbeef, 4096, 4096, false },
		{ 0xbeef, 8192, 1808, true }, { 0x0001, 10000, 4096, true },
	};
	struct nofi_pdu_error err;
	struct nofi_xfer x;
	struct nofi_h2c h;
	size_t i;

	nofi_xfer_init(&x, NOFI_DIR_WRITE, 14096, false);
	assert_int_equal(nofi_xfer_r2t(&x, &pp, &first, &err), 0);
	assert_int_equal(nofi_xfer_r2t(&x, &pp, &second, &err), 0);
	for (i = 0; i < 4; i++) {
		assert_true(nofi_xfer_next_h2c(&x, &pp, &h));
		assert_int_equal(h.ttag, want[i].ttag);
		assert_int_equal(h.datao, want[i].datao);
		assert_int_equal(h.datal, want[i].datal);
		assert_int_equal(h.is_last, want[i].is_last);
	}
	assert_false(nofi_xfer_next_h2c(&x, &pp, &h));
	assert_int_equal(x.sent, 14096);
	assert_ends(&x, 0);
}

static void l4_no_r2t_for_incapsule_data(void **state)
{
	static const struct nofi_pdu_params pp = { .maxr2t = 1, .maxh2cdata = 4096 };
	struct nofi_pdu pdu = r2t(1, 0, 4096);
	struct nofi_pdu_error err;
	struct nofi_xfer x;

	nofi_xfer_init(&x, NOFI_DIR_WRITE, 4096, true);
	assert_int_equal(nofi_xfer_r2t(&x, &pp, &pdu, &err), -EPROTO);
	assert_int_equal(err.fes, NOFI_FES_INVALID_HDR);
	assert_int_equal(err.fei, 8);
	assert_ends(&x, 0);
}

static void l3_l4_no_data_for_a_command_without(void **state)
{
	static const struct nofi_pdu_params pp = { .maxr2t = 1, .maxh2cdata = 4096 };
	struct nofi_pdu in = c2hdata(0, 4, 4), out = r2t(1, 0, 4);
	struct nofi_pdu_error err;
	struct nofi_xfer x;

	nofi_xfer_init(&x, NOFI_DIR_NONE, 0, false);
	assert_int_equal(nofi_xfer_c2hdata(&x, &in, &err), -EPROTO);
	assert_int_equal(err.fei, 8);
	assert_int_equal(nofi_xfer_r2t(&x, &pp, &out, &err), -EPROTO);
	assert_int_equal(err.fei, 8);
	assert_ends(&x, 0);
}

static void l4_limit_is_the_lower_of_offer_and_room(void **state)
{
	static const struct nofi_pdu_params pp = { .maxr2t = UINT32_MAX, .maxh2cdata = 4096 };
	struct nofi_pdu_error err;
	struct nofi_xfer x;
	struct nofi_pdu pdu;
	uint32_t i;

	nofi_xfer_init(&x, NOFI_DIR_WRITE, 100, false);
	for (i = 0; i < NOFI_R2T_MAX; i++) {
		pdu = r2t(i, i, 1);
		assert_int_equal(nofi_xfer_r2t(&x, &pp, &pdu, &err), 0);
	}
	pdu = r2t(i, i, 1);
	assert_int_equal(nofi_xfer_r2t(&x, &pp, &pdu, &err), -EPROTO);
	assert_int_equal(err.fes, NOFI_FES_LIMIT);
	assert_int_equal(err.got, NOFI_R2T_MAX + 1);
	assert_int_equal(err.want, NOFI_R2T_MAX);
}

static void t13_no_endless_loop_without_icresp(void **state)
{
	static const struct nofi_pdu_params pp = { .maxr2t = 1 };
	struct nofi_pdu pdu = r2t(1, 0, 4);
	struct nofi_pdu_error err;
	struct nofi_xfer x;
	struct nofi_h2c h;

	nofi_xfer_init(&x, NOFI_DIR_WRITE, 4, false);
	assert_int_equal(nofi_xfer_r2t(&x, &pp, &pdu, &err), 0);
	assert_false(nofi_xfer_next_h2c(&x, &pp, &h));
}

static void t13_plen_never_overflows(void **state)
{
	static const struct nofi_pdu_params pp = {
		.hdgst = true, .ddgst = true, .cpda = 31, .maxr2t = 1, .maxh2cdata = 0xfffffffc,
	};
	struct nofi_pdu pdu = r2t(1, 0, UINT32_MAX);
	uint8_t out[NOFI_PDU_ENC_MAX];
	struct nofi_pdu_error err;
	struct nofi_xfer x;
	struct nofi_h2c h;

	nofi_xfer_init(&x, NOFI_DIR_WRITE, UINT32_MAX, false);
	assert_int_equal(nofi_xfer_r2t(&x, &pp, &pdu, &err), 0);
	assert_true(nofi_xfer_next_h2c(&x, &pp, &h));
	assert_int_equal(h.datal, NOFI_PDU_DATA_MAX);
	assert_false(h.is_last);
	assert_int_equal(nofi_enc_h2cdata(out, &pp, 0, h.ttag, h.datao, h.datal, h.is_last), 128);
	assert_int_equal(nofi_get32(out + 4), 128ull + NOFI_PDU_DATA_MAX + 4);
	assert_true(nofi_xfer_next_h2c(&x, &pp, &h));
	assert_int_equal(h.datao, NOFI_PDU_DATA_MAX);
	assert_int_equal(h.datal, UINT32_MAX - NOFI_PDU_DATA_MAX);
	assert_true(h.is_last);
	assert_int_equal(x.sent, UINT32_MAX);
	assert_int_equal(x.r2t_base, x.requested);
}

/* Numbers near 0, near the transfer's end, and near 2^32. */
static uint32_t odd_number(uint32_t length)
{
	switch (random64() % 4) {
	case 0:
		return random64() % 16;
	case 1:
		return length + random64() % 16 - 8;
	case 2:
		return UINT32_MAX - random64() % 16;
	default:
		return random64() >> 32;
	}
}

static void l3_l4_sums_in_64_bits(void **state)
{
	struct nofi_pdu_params pp = { .maxr2t = 1, .maxh2cdata = 4096 };
	struct nofi_pdu_error err;
	unsigned int i, accepted = 0;

	for (i = 0; i < 2000000; i++) {
		uint32_t length = odd_number(0), at = length ? random64() % length : 0;
		uint32_t off = random64() % 2 ? at : odd_number(length);
		uint32_t len = random64() % 4 ? odd_number(length) : length - off;
		bool is_fit = (unsigned __int128)off + len <= length;
		bool is_end = (unsigned __int128)off + len == length;
		struct nofi_xfer x;
		struct nofi_pdu pdu;
		uint16_t fes;
		int ret;

		fes = !len ? NOFI_FES_INVALID_HDR : !is_fit ? NOFI_FES_RANGE :
		      off != at ? NOFI_FES_SEQUENCE : 0;
		nofi_xfer_init(&x, NOFI_DIR_READ, length, false);
		x.received = at;
		pdu = c2hdata(off, len, is_end ? NOFI_PDU_F_LAST : 0);
		ret = nofi_xfer_c2hdata(&x, &pdu, &err);
		assert_int_equal(ret, fes ? -EPROTO : 0);
		if (fes)
			assert_int_equal(err.fes, fes);
		else
			assert_int_equal(x.received, at + len);
		assert_true(x.received <= x.length);

		nofi_xfer_init(&x, NOFI_DIR_WRITE, length, false);
		x.requested = at;
		pdu = r2t(1, off, len);
		ret = nofi_xfer_r2t(&x, &pp, &pdu, &err);
		assert_int_equal(ret, fes ? -EPROTO : 0);
		if (fes)
			assert_int_equal(err.fes, fes);
		else
			accepted++;
		assert_true(x.requested <= x.length);
	}
	assert_true(accepted > 10000);
}

static void t15_short_read_is_no_success(void **state)
{
	struct nofi_pdu pdu = c2hdata(0, 512, 0);
	struct nofi_pdu_error err;
	struct nofi_xfer x;

	nofi_xfer_init(&x, NOFI_DIR_READ, 4096, false);
	assert_ends(&x, -EIO);
	assert_int_equal(nofi_xfer_c2hdata(&x, &pdu, &err), 0);
	assert_int_equal(nofi_xfer_end(&x, 0, &err), -EIO);
	assert_int_equal(err.got, 512);
	assert_int_equal(err.want, 4096);
}

static void t21_digest_error_wins(void **state)
{
	struct nofi_pdu pdu = c2hdata(0, 4096, NOFI_PDU_F_LAST | NOFI_PDU_F_SUCCESS);
	struct nofi_pdu_error err;
	struct nofi_xfer x;

	nofi_xfer_init(&x, NOFI_DIR_READ, 4096, false);
	assert_int_equal(nofi_xfer_c2hdata(&x, &pdu, &err), 0);
	assert_ends(&x, 0);
	x.has_bad_digest = true;
	assert_ends(&x, -EBADMSG);
}

static void l5_write_cannot_succeed_unsent(void **state)
{
	static const struct nofi_pdu_params pp = { .maxr2t = 1, .maxh2cdata = 4096 };
	struct nofi_pdu pdu = r2t(1, 0, 8192);
	struct nofi_pdu_error err;
	struct nofi_xfer x;
	struct nofi_h2c h;

	nofi_xfer_init(&x, NOFI_DIR_WRITE, 8192, false);
	assert_ends(&x, -EPROTO);
	assert_int_equal(nofi_xfer_r2t(&x, &pp, &pdu, &err), 0);
	assert_ends(&x, -EPROTO);
	assert_true(nofi_xfer_next_h2c(&x, &pp, &h));
	assert_ends(&x, -EPROTO);
	assert_true(nofi_xfer_next_h2c(&x, &pp, &h));
	assert_ends(&x, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t13_h2cdata_last_only_on_final),
		cmocka_unit_test(t13_l4_every_state_of_a_write),
		cmocka_unit_test(t13_no_endless_loop_without_icresp),
		cmocka_unit_test(t13_plen_never_overflows),
		cmocka_unit_test(t14_l3_every_state_of_a_read),
		cmocka_unit_test(t15_short_read_is_no_success),
		cmocka_unit_test(t21_digest_error_wins),
		cmocka_unit_test(l3_l4_sums_in_64_bits),
		cmocka_unit_test(l3_l4_no_data_for_a_command_without),
		cmocka_unit_test(l4_no_r2t_for_incapsule_data),
		cmocka_unit_test(l4_limit_is_the_lower_of_offer_and_room),
		cmocka_unit_test(l5_write_cannot_succeed_unsent),
	};

	return cmocka_run_group_tests_name("pdu_xfer", tests, NULL, NULL);
}
