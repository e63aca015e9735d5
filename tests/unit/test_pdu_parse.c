/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * 1.5 lines 1 and 2, T-1 to T-4, T-6, T-20: one received header. Every PDU with
 * every byte set to every value, at every length, against an oracle that lists
 * what is legal instead of deciding it. The bytes end at an unreadable page.
 */
#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "pdu/crc32c.h"
#include "pdu/pdu.h"

enum { T_ICRESP = 1, T_TERM = 3, T_RESP = 5, T_DATA = 7, T_R2T = 9 };

struct verdict {
	int ret;		/* as nofi_pdu_parse() */
	size_t need;		/* if ret is 0 */
	uint16_t fes;		/* if ret is -EPROTO */
	uint32_t fei;
};

static struct verdict bad(uint16_t fes, uint32_t fei)
{
	return (struct verdict){ .ret = -EPROTO, .fes = fes, .fei = fei };
}

static uint32_t le32(const uint8_t *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool in_list(const unsigned int *list, size_t n, unsigned int value)
{
	while (n--)
		if (list[n] == value)
			return true;
	return false;
}

/* The rules of the checklist as lists of legal values. */
static struct verdict oracle(const struct nofi_pdu_params *pp, const uint8_t *b, size_t len)
{
	unsigned int legal[64], n, digests, head, m;
	bool can_digest, is_data;
	uint64_t payload;

	if (len == 0)
		return (struct verdict){ .need = 8 };
	if (!in_list((unsigned int[]){ 1, 3, 5, 7, 9 }, 5, b[0]))
		return bad(1, 0);

	if (b[0] == T_TERM) {
		if (len >= 3 && b[2] != 24)
			return bad(0, 0);
		if (len < 8)
			return (struct verdict){ .need = 8 };
		if (le32(b + 4) < 24 || le32(b + 4) > 152)
			return bad(0, 0);
		if (len < le32(b + 4))
			return (struct verdict){ .need = le32(b + 4) };
		return (struct verdict){ .ret = le32(b + 4) };
	}
	if ((b[0] == T_ICRESP) == pp->is_ready)
		return bad(2, 0);

	is_data = b[0] == T_DATA;
	can_digest = b[0] != T_ICRESP;
	digests = (can_digest && pp->hdgst ? 1 : 0) + (is_data && pp->ddgst ? 2 : 0);
	head = b[0] == T_ICRESP ? 128 : digests & 1 ? 28 : 24;

	n = 0;
	legal[n++] = digests;
	if (is_data) {
		legal[n++] = digests + 4;
		legal[n++] = digests + 4 + 8;
	}
	if (len >= 2 && !in_list(legal, n, b[1]))
		return bad(1, 1);
	if (len >= 3 && b[2] != (b[0] == T_ICRESP ? 128 : 24))
		return bad(1, 2);

	n = 0;
	if (!is_data)
		legal[n++] = 0;
	else
		for (m = 4 * (pp->hpda + 1); m <= 128; m += 4 * (pp->hpda + 1))
			if (m >= head)
				legal[n++] = m;
	if (len >= 4 && !in_list(legal, n, b[3]))
		return bad(1, 3);

	if (len < 8)
		return (struct verdict){ .need = 8 };
	payload = (uint64_t)le32(b + 4) - b[3] - (digests & 2 ? 4 : 0);
	if (is_data ? payload == 0 || payload > UINT32_MAX : le32(b + 4) != head)
		return bad(1, 4);
	if (len < head)
		return (struct verdict){ .need = head };
	if (digests & 1 && le32(b + 24) != nofi_crc32c(b, 24))
		return bad(3, le32(b + 24));
	if (is_data && le32(b + 16) != payload)
		return bad(1, 16);
	return (struct verdict){ .ret = head };
}

static struct guarded memory;
static void check_usual(const struct nofi_pdu_params *pp, const uint8_t *bytes, size_t len);

/* Parses len bytes that end at the unreadable page, and compares everything. */
static void check(const struct nofi_pdu_params *pp, const uint8_t *bytes, size_t len)
{
	struct verdict want = oracle(pp, bytes, len);
	uint8_t *buf = memory.end - len;
	struct nofi_pdu pdu, pdu_before;
	struct nofi_pdu_error err, err_before;
	size_t need = 0x5a5a;
	int ret;

	memcpy(buf, bytes, len);
	memset(&pdu, 0x5a, sizeof(pdu));
	memset(&err, 0x5a, sizeof(err));
	pdu_before = pdu;
	err_before = err;
	ret = nofi_pdu_parse(pp, buf, len, &pdu, &need, &err);
	if (ret != want.ret || (ret < 0 && (err.fes != want.fes || err.fei != want.fei)) ||
	    (ret == 0 && need != want.need))
		fail_msg("type %u flags %02x hlen %u pdo %u plen %u, %zu bytes, hdgst %d ddgst %d "
			 "hpda %u: got %d (FES %u FEI %u need %zu), "
			 "want %d (FES %u FEI %u need %zu)",
			 bytes[0], bytes[1], bytes[2], bytes[3], le32(bytes + 4), len, pp->hdgst,
			 pp->ddgst, pp->hpda, ret, err.fes, err.fei, need, want.ret, want.fes,
			 want.fei, want.need);

	/* Only the output that goes with the result is touched. */
	if (ret <= 0)
		assert_memory_equal(&pdu, &pdu_before, sizeof(pdu));
	if (ret >= 0)
		assert_memory_equal(&err, &err_before, sizeof(err));
	else
		assert_true(err.what && *err.what);
	if (ret != 0)
		assert_int_equal(need, 0x5a5a);
	if (ret > 0) {
		assert_ptr_equal(pdu.raw, buf);
		assert_int_equal(pdu.type, bytes[0]);
		assert_int_equal(pdu.flags, bytes[1]);
		assert_int_equal(pdu.hlen, bytes[2]);
		assert_int_equal(pdu.plen, le32(bytes + 4));
		assert_int_equal(pdu.head_len, bytes[0] == T_DATA ? bytes[3] : ret);
		assert_int_equal(pdu.data_len, bytes[0] == T_DATA ? le32(bytes + 16) : 0);
	}
	check_usual(pp, bytes, len);
}

/* The short cut agrees with the way round, and is taken by the PDUs that it is for. */
static void check_usual(const struct nofi_pdu_params *pp, const uint8_t *bytes, size_t len)
{
	struct verdict want = oracle(pp, bytes, len);
	uint8_t *buf = memory.end - len;
	struct nofi_pdu_error err;
	struct nofi_pdu pdu, other;
	size_t need, ret;

	memset(&pdu, 0x5a, sizeof(pdu));
	ret = nofi_pdu_usual(pp, buf, len, &pdu);
	if (!ret) {
		for (size_t i = 0; i < sizeof(pdu); i++)
			assert_int_equal(((uint8_t *)&pdu)[i], 0x5a);
		assert_false(want.ret > 0 && pp->is_ready && !pp->hpda &&
			     (bytes[0] == T_RESP ||
			      (bytes[0] == T_DATA && bytes[3] == (pp->hdgst ? 28 : 24))));
		return;
	}
	assert_int_equal(ret, want.ret);
	assert_int_equal(nofi_pdu_parse(pp, buf, len, &other, &need, &err), ret);
	assert_int_equal(pdu.type, other.type);
	assert_int_equal(pdu.flags, other.flags);
	assert_int_equal(pdu.hlen, other.hlen);
	assert_int_equal(pdu.head_len, other.head_len);
	assert_int_equal(pdu.plen, other.plen);
	assert_int_equal(pdu.data_len, other.data_len);
	assert_int_equal(pdu.cccid, other.cccid);
	assert_ptr_equal(pdu.raw, other.raw);
	if (pdu.type != T_DATA)
		return;
	assert_int_equal(pdu.offset, other.offset);
	assert_int_equal(pdu.length, other.length);
}

static void fix_digest(const struct nofi_pdu_params *pp, uint8_t *b)
{
	uint32_t crc;

	if (!pp->hdgst || b[0] == T_ICRESP || b[0] == T_TERM)
		return;
	crc = nofi_crc32c(b, 24);
	memcpy(b + 24, (uint8_t[]){ crc, crc >> 8, crc >> 16, crc >> 24 }, 4);
}

/* A good PDU of the type; returns the length of what the parser reads of it. */
static size_t make(const struct nofi_pdu_params *pp, uint8_t type, uint8_t *b)
{
	static const uint8_t cqe[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
	size_t n = pp->hdgst ? 28 : 24;

	switch (type) {
	case T_ICRESP:
		return nofi_enc_icresp(b, 3, true, true, 131072);
	case T_TERM:
		return nofi_enc_c2hterm(b, NOFI_FES_RANGE, 0x01020304, cqe, sizeof(cqe));
	case T_RESP:
		nofi_enc_capsule_resp(b, pp, cqe);
		return n;
	case T_DATA:
		nofi_enc_c2hdata(b, pp, 0x1122, 0x3000, 0x1000, NOFI_PDU_F_LAST);
		return n;
	default:
		nofi_enc_r2t(b, pp, 0x1122, 0x3344, 0x5000, 0x6000);
		return n;
	}
}

/* Runs body with every combination of negotiated parameters that matters. */
static void for_all_params(void (*body)(const struct nofi_pdu_params *pp))
{
	static const uint8_t hpdas[] = { 0, 1, 3, 6, 7, 15, 31 };
	unsigned int i, dg;

	for (i = 0; i < sizeof(hpdas); i++)
		for (dg = 0; dg < 8; dg++) {
			struct nofi_pdu_params pp = {
				.hdgst = dg & 1, .ddgst = dg & 2, .is_ready = dg & 4,
				.hpda = hpdas[i], .maxr2t = 1,
			};

			nofi_pdu_set_usual(&pp);
			body(&pp);
		}
}

static void every_prefix(const struct nofi_pdu_params *pp)
{
	uint8_t type, b[256];
	size_t n, len;

	for (type = 1; type <= 9; type += 2) {
		memset(b, 0, sizeof(b));
		n = make(pp, type, b);
		/* Also with more bytes behind: they belong to the next PDU. */
		for (len = 0; len <= n + 8; len++)
			check(pp, b, len);
	}
}

/* Before the ICResp the parameters are zeroes, and so may be what comes. */
static void l1_nothing_is_usual_at_first(void **state)
{
	struct nofi_pdu_params pp = { .maxr2t = 1 };
	struct nofi_pdu pdu;

	memset(memory.end - 64, 0, 64);
	for (size_t len = 1; len <= 64; len++)
		assert_int_equal(nofi_pdu_usual(&pp, memory.end - len, len, &pdu), 0);
}

static void l1_every_prefix_of_good_pdus(void **state)
{
	for_all_params(every_prefix);
}

static void every_byte_every_value(const struct nofi_pdu_params *pp)
{
	uint8_t type, good[256], b[256];
	size_t n, at, len;
	unsigned int value, fix;

	for (type = 1; type <= 9; type += 2) {
		memset(good, 0, sizeof(good));
		n = make(pp, type, good);
		for (at = 0; at < n; at++)
			for (value = 0; value < 256; value++)
				for (fix = 0; fix < 2; fix++) {
					memcpy(b, good, sizeof(b));
					b[at] = value;
					if (fix)
						fix_digest(pp, b);
					check(pp, b, n);
					check(pp, b, n + 100);
				}
		/* At every length, for the bytes the header is judged by. */
		for (at = 0; at < 24; at++)
			for (value = 0; value < 256; value++) {
				memcpy(b, good, sizeof(b));
				b[at] = value;
				for (len = 0; len <= (n < 32 ? n : 32); len++)
					check(pp, b, len);
			}
	}
}

static void l1_l2_every_single_byte_corruption(void **state)
{
	for_all_params(every_byte_every_value);
}

static void several_bytes(const struct nofi_pdu_params *pp)
{
	static const uint8_t nasty[] = { 0, 1, 4, 7, 8, 24, 28, 32, 64, 124, 128, 132, 255 };
	uint8_t b[256];
	unsigned int i, k;
	size_t n;

	for (i = 0; i < 20000; i++) {
		memset(b, 0, sizeof(b));
		n = make(pp, (uint8_t[]){ 1, 3, 5, 7, 7, 7, 9 }[random64() % 7], b);
		for (k = 1 + random64() % 4; k; k--)
			b[random64() % 24] = random64() & 1 ? random64() :
					     nasty[random64() % sizeof(nasty)];
		if (random64() & 1)
			fix_digest(pp, b);
		check(pp, b, random64() & 1 ? n : random64() % (n + 1));
	}
	for (i = 0; i < 5000; i++) {
		random_fill(b, sizeof(b));
		if (i & 1)
			b[0] = 1 + 2 * (random64() % 5);
		check(pp, b, random64() % 160);
	}
}

static void l1_l2_several_bytes_and_garbage(void **state)
{
	for_all_params(several_bytes);
}

static void pdo_and_lengths(const struct nofi_pdu_params *pp)
{
	uint32_t dd = pp->ddgst ? 4 : 0, plen, datal;
	unsigned int pdo;
	uint8_t b[256];
	int d;

	/* Each PDO with the PLEN and DATAL that would go with it, and one off. */
	for (pdo = 0; pdo < 256; pdo++)
		for (datal = 0; datal < 5; datal++)
			for (d = -5; d <= 5; d++) {
				memset(b, 0, sizeof(b));
				make(pp, T_DATA, b);
				b[3] = pdo;
				plen = pdo + datal + dd + d;
				memcpy(b + 4, &(uint32_t){ htole32(plen) }, 4);
				memcpy(b + 16, &(uint32_t){ htole32(datal) }, 4);
				fix_digest(pp, b);
				check(pp, b, 28);
			}
	/* Sums that wrap in 32 bits. */
	for (datal = 0xffffff00u; datal >= 0xffffff00u; datal++) {
		make(pp, T_DATA, b);
		plen = b[3] + datal + dd;
		memcpy(b + 4, &(uint32_t){ htole32(plen) }, 4);
		memcpy(b + 16, &(uint32_t){ htole32(datal) }, 4);
		fix_digest(pp, b);
		check(pp, b, 28);
	}
}

static void l2_l3_pdo_plen_datal(void **state)
{
	for_all_params(pdo_and_lengths);
}

/* The oracle could share a mistake with the parser: some verdicts spelled out. */
static void l1_l2_verdicts_spelled_out(void **state)
{
	static const struct {
		const char *why;
		bool is_ready, hdgst, ddgst;
		uint8_t hpda;
		size_t len;
		uint8_t bytes[28];
		int ret;
		uint16_t fes;
		uint32_t fei;
	} cases[] = {
		{ "CapsuleResp", 1, 0, 0, 0, 24, { 5, 0, 24, 0, 24 }, 24, 0, 0 },
		{ "C2HData 4 bytes", 1, 0, 0, 0, 24,
		  { 7, 4, 24, 24, 28, [16] = 4 }, 24, 0, 0 },
		{ "C2HData with DDGST, HPDA 31", 1, 0, 1, 31, 24,
		  { 7, 6, 24, 128, 136, [16] = 4 }, 24, 0, 0 },
		{ "type 08", 1, 0, 0, 0, 1, { 8 }, -EPROTO, 1, 0 },
		{ "H2CData from a controller", 1, 0, 0, 0, 24, { 6, 0, 24, 24, 28, [16] = 4 },
		  -EPROTO, 1, 0 },
		{ "ICReq from a controller", 0, 0, 0, 0, 1, { 0 }, -EPROTO, 1, 0 },
		{ "second ICResp", 1, 0, 0, 0, 1, { 1 }, -EPROTO, 2, 0 },
		{ "R2T before ICResp", 0, 0, 0, 0, 1, { 9 }, -EPROTO, 2, 0 },
		{ "HDGST not negotiated", 1, 0, 0, 0, 2, { 5, 1 }, -EPROTO, 1, 1 },
		{ "HDGST missing", 1, 1, 0, 0, 2, { 5, 0 }, -EPROTO, 1, 1 },
		{ "DDGST on CapsuleResp", 1, 0, 1, 0, 2, { 5, 2 }, -EPROTO, 1, 1 },
		{ "DDGST missing on C2HData", 1, 0, 1, 0, 2, { 7, 0 }, -EPROTO, 1, 1 },
		{ "LAST on R2T", 1, 0, 0, 0, 2, { 9, 4 }, -EPROTO, 1, 1 },
		{ "SUCCESS without LAST", 1, 0, 0, 0, 2, { 7, 8 }, -EPROTO, 1, 1 },
		{ "flag bit 4", 1, 0, 0, 0, 2, { 7, 16 }, -EPROTO, 1, 1 },
		{ "HLEN 25", 1, 0, 0, 0, 3, { 9, 0, 25 }, -EPROTO, 1, 2 },
		{ "PDO 24 on R2T", 1, 0, 0, 0, 4, { 9, 0, 24, 24 }, -EPROTO, 1, 3 },
		{ "PDO 0 on C2HData", 1, 0, 0, 0, 4, { 7, 0, 24, 0 }, -EPROTO, 1, 3 },
		{ "PDO in the digest", 1, 1, 0, 0, 4, { 7, 1, 24, 24 }, -EPROTO, 1, 3 },
		{ "PDO 132", 1, 0, 0, 0, 4, { 7, 0, 24, 132 }, -EPROTO, 1, 3 },
		{ "PDO 28 with HPDA 1", 1, 0, 0, 1, 4, { 7, 0, 24, 28 }, -EPROTO, 1, 3 },
		{ "PDO 26", 1, 0, 0, 0, 4, { 7, 0, 24, 26 }, -EPROTO, 1, 3 },
		{ "PLEN 28 on R2T without digest", 1, 0, 0, 0, 8, { 9, 0, 24, 0, 28 },
		  -EPROTO, 1, 4 },
		{ "PLEN = PDO", 1, 0, 0, 0, 8, { 7, 0, 24, 24, 24 }, -EPROTO, 1, 4 },
		{ "PLEN with room for DDGST only", 1, 0, 1, 0, 8, { 7, 2, 24, 24, 28 },
		  -EPROTO, 1, 4 },
		{ "DATAL 5 of 4", 1, 0, 0, 0, 24, { 7, 0, 24, 24, 28, [16] = 5 }, -EPROTO, 1, 16 },
		{ "DATAL 0", 1, 0, 0, 0, 24, { 7, 0, 24, 24, 28 }, -EPROTO, 1, 16 },
		{ "bad header digest", 1, 1, 0, 0, 28,
		  { 5, 1, 24, 0, 28, [24] = 0x44, 0x33, 0x22, 0x11 }, -EPROTO, 3, 0x11223344 },
		{ "TermReq before ICResp", 0, 0, 0, 0, 24, { 3, 0, 24, 0, 24 }, 24, 0, 0 },
		{ "TermReq, odd flags and PDO", 1, 1, 1, 0, 24, { 3, 255, 24, 255, 24 }, 24, 0, 0 },
		{ "TermReq PLEN 23", 1, 0, 0, 0, 24, { 3, 0, 24, 0, 23 }, -EPROTO, 0, 0 },
		{ "TermReq PLEN 153", 1, 0, 0, 0, 24, { 3, 0, 24, 0, 153 }, -EPROTO, 0, 0 },
		{ "ICResp with a flag", 0, 0, 0, 0, 2, { 1, 1 }, -EPROTO, 1, 1 },
	};
	size_t i, need;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct nofi_pdu_params pp = {
			.is_ready = cases[i].is_ready, .hdgst = cases[i].hdgst,
			.ddgst = cases[i].ddgst, .hpda = cases[i].hpda,
		};
		struct nofi_pdu_error err = { 0 };
		struct nofi_pdu pdu;
		int ret;

		ret = nofi_pdu_parse(&pp, cases[i].bytes, cases[i].len, &pdu, &need, &err);
		if (ret != cases[i].ret || err.fes != cases[i].fes || err.fei != cases[i].fei)
			fail_msg("%s: got %d, FES %u, FEI %u", cases[i].why, ret, err.fes, err.fei);
	}
}

static void t20_term_of_every_length(void **state)
{
	struct nofi_pdu_params pp = { .is_ready = true };
	struct nofi_pdu_error err;
	struct nofi_pdu pdu;
	uint8_t b[256], culprit[128];
	size_t n, len, need;

	random_fill(culprit, sizeof(culprit));
	for (n = 0; n <= sizeof(culprit); n++) {
		memset(b, 0, sizeof(b));
		assert_int_equal(nofi_enc_c2hterm(b, 0x0105, 0xfedcba98, culprit, n), 24 + n);
		for (len = 0; len <= 24 + n; len++)
			check(&pp, b, len);
		assert_int_equal(nofi_pdu_parse(&pp, b, 24 + n, &pdu, &need, &err), 24 + n);
		assert_int_equal(pdu.fes, 0x0105);
		assert_int_equal(pdu.fei, 0xfedcba98);
		assert_int_equal(pdu.data_len, 0);
		assert_memory_equal(pdu.raw + 24, culprit, n);
		assert_true(pdu.head_len <= NOFI_PDU_HEAD_MAX);
	}
}

/* 1.5 line 8: nothing the peer can say makes us ask for more. */
static void l8_need_is_bounded(void **state)
{
	struct nofi_pdu_error err;
	struct nofi_pdu pdu;
	uint8_t b[8];
	unsigned int i;
	size_t need;

	for (i = 0; i < 500000; i++) {
		struct nofi_pdu_params pp = { .is_ready = i & 1, .hdgst = i & 2, .ddgst = i & 4 };

		random_fill(b, sizeof(b));
		b[0] = 1 + 2 * (random64() % 5);
		if (i & 8)
			b[2] = 24;
		if (i & 16)
			b[5] = b[6] = b[7] = 0;
		if (nofi_pdu_parse(&pp, b, 8, &pdu, &need, &err) == 0)
			assert_in_range(need, 9, NOFI_PDU_HEAD_MAX);
	}
}

static int set_up(void **state)
{
	memory = guarded_new(512);
	return 0;
}

static int tear_down(void **state)
{
	guarded_free(&memory);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(l1_l2_verdicts_spelled_out),
		cmocka_unit_test(l1_nothing_is_usual_at_first),
		cmocka_unit_test(l1_every_prefix_of_good_pdus),
		cmocka_unit_test(l1_l2_every_single_byte_corruption),
		cmocka_unit_test(l1_l2_several_bytes_and_garbage),
		cmocka_unit_test(l2_l3_pdo_plen_datal),
		cmocka_unit_test(t20_term_of_every_length),
		cmocka_unit_test(l8_need_is_bounded),
	};

	return cmocka_run_group_tests_name("pdu_parse", tests, set_up, tear_down);
}
