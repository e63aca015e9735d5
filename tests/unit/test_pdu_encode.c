/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* T-1 to T-4: the bytes of every PDU, and every alignment and digest of each. */
#include "unit.h"

#include "pdu/crc32c.h"
#include "pdu/pdu.h"

static void assert_bytes(const uint8_t *got, size_t got_len, const uint8_t *want, size_t want_len)
{
	assert_int_equal(got_len, want_len);
	assert_memory_equal(got, want, want_len);
}

#define ASSERT_IMAGE(out, n, ...)						\
	do {									\
		static const uint8_t image[] = { __VA_ARGS__ };			\
		assert_bytes(out, n, image, sizeof(image));			\
	} while (0)

static void t6_icreq_image(void **state)
{
	static const uint8_t want[128] = {
		0x00, 0x00, 0x80, 0x00, 0x80, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x07, 0x03, 0x03, 0x00, 0x00, 0x00,
	};
	uint8_t out[NOFI_PDU_ENC_MAX];
	size_t n;

	memset(out, 0xee, sizeof(out));
	n = nofi_enc_icreq(out, 7, true, true, 4);
	assert_bytes(out, n, want, sizeof(want));
	assert_int_equal(out[128], 0xee);

	/* T-9: 0's based. T-8: one bit for each digest. */
	nofi_enc_icreq(out, 0, true, false, 1);
	assert_int_equal(out[10], 0);
	assert_int_equal(out[11], 1);
	assert_int_equal(nofi_get32(out + 12), 0);
	nofi_enc_icreq(out, 0, false, true, 0x01020304);
	assert_int_equal(out[11], 2);
	assert_int_equal(nofi_get32(out + 12), 0x01020303);
	nofi_enc_icreq(out, 0, false, false, 0);
	assert_int_equal(out[11], 0);
	assert_int_equal(nofi_get32(out + 12), 0);
}

static void t7_icresp_image(void **state)
{
	static const uint8_t want[128] = {
		0x01, 0x00, 0x80, 0x00, 0x80, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x1f, 0x02, 0x00, 0x00, 0x02, 0x00,
	};
	uint8_t out[NOFI_PDU_ENC_MAX];
	size_t n = nofi_enc_icresp(out, 31, false, true, 131072);

	assert_bytes(out, n, want, sizeof(want));
}

static void t1_capsule_cmd_image(void **state)
{
	static const struct nofi_pdu_params plain;
	static const struct nofi_pdu_params digests = { .hdgst = true, .ddgst = true, .cpda = 3 };
	uint8_t out[NOFI_PDU_ENC_MAX], sqe[64];
	size_t n, i;

	for (i = 0; i < 64; i++)
		sqe[i] = 0x40 + i;

	n = nofi_enc_capsule_cmd(out, &plain, sqe, 0);
	assert_int_equal(n, 72);
	ASSERT_IMAGE(out, 8, 0x04, 0x00, 72, 0, 72, 0, 0, 0);
	assert_memory_equal(out + 8, sqe, 64);

	/* 4096 bytes in the capsule: PDO 72, PLEN 4168 = 1048h. */
	n = nofi_enc_capsule_cmd(out, &plain, sqe, 4096);
	assert_int_equal(n, 72);
	ASSERT_IMAGE(out, 8, 0x04, 0x00, 72, 72, 0x48, 0x10, 0, 0);

	/* T-2: 76 bytes with CPDA 3 begin their data at 80. PLEN 80 + 4096 + 4 = 1054h. */
	memset(out, 0xee, sizeof(out));
	n = nofi_enc_capsule_cmd(out, &digests, sqe, 4096);
	assert_int_equal(n, 80);
	ASSERT_IMAGE(out, 8, 0x04, 0x03, 72, 80, 0x54, 0x10, 0, 0);
	assert_memory_equal(out + 8, sqe, 64);
	ASSERT_IMAGE(out + 76, 5, 0, 0, 0, 0, 0xee);

	/* T-4: no data, no data digest, no pad. */
	n = nofi_enc_capsule_cmd(out, &digests, sqe, 0);
	assert_int_equal(n, 76);
	ASSERT_IMAGE(out, 8, 0x04, 0x01, 72, 0, 76, 0, 0, 0);
}

static void t1_data_pdu_images(void **state)
{
	static const struct nofi_pdu_params plain;
	uint8_t out[NOFI_PDU_ENC_MAX];
	size_t n;

	n = nofi_enc_h2cdata(out, &plain, 0x1234, 0xabcd, 0x00012000, 0x1000, true);
	ASSERT_IMAGE(out, n, 0x06, 0x04, 24, 24, 0x18, 0x10, 0, 0, 0x34, 0x12, 0xcd, 0xab,
		     0x00, 0x20, 0x01, 0x00, 0x00, 0x10, 0, 0, 0, 0, 0, 0);
	n = nofi_enc_h2cdata(out, &plain, 1, 2, 0, 4, false);
	ASSERT_IMAGE(out, n, 0x06, 0x00, 24, 24, 28, 0, 0, 0, 1, 0, 2, 0,
		     0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0);
	n = nofi_enc_c2hdata(out, &plain, 0x1234, 0x2000, 0x1000, 0xff);
	ASSERT_IMAGE(out, n, 0x07, 0x0c, 24, 24, 0x18, 0x10, 0, 0, 0x34, 0x12, 0, 0,
		     0x00, 0x20, 0, 0, 0x00, 0x10, 0, 0, 0, 0, 0, 0);
	n = nofi_enc_c2hdata(out, &plain, 0x1234, 0x2000, 0x1000, NOFI_PDU_F_LAST);
	assert_int_equal(out[1], 0x04);
	n = nofi_enc_r2t(out, &plain, 0xfffe, 0x8001, 0xfffff000, 0x00fedcba);
	ASSERT_IMAGE(out, n, 0x09, 0x00, 24, 0, 24, 0, 0, 0, 0xfe, 0xff, 0x01, 0x80,
		     0x00, 0xf0, 0xff, 0xff, 0xba, 0xdc, 0xfe, 0x00, 0, 0, 0, 0);
}

/* Digests worked out apart from this code: crc32c over the 24 header bytes, flags already set. */
static void t3_header_digest_images(void **state)
{
	static const struct nofi_pdu_params pp = { .hdgst = true };
	static const uint8_t cqe[16] = { [12] = 0x2a, [14] = 0x01 };
	uint8_t out[NOFI_PDU_ENC_MAX];
	size_t n;

	n = nofi_enc_capsule_resp(out, &pp, cqe);
	ASSERT_IMAGE(out, n, 0x05, 0x01, 24, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		     0, 0, 0, 0, 0x2a, 0, 0x01, 0, 0x00, 0xde, 0xa7, 0x04);
	n = nofi_enc_r2t(out, &pp, 1, 2, 0, 4096);
	ASSERT_IMAGE(out, n, 0x09, 0x01, 24, 0, 28, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0,
		     0, 0x10, 0, 0, 0, 0, 0, 0, 0xd0, 0x11, 0x9e, 0x6d);
}

static void t20_term_images(void **state)
{
	uint8_t out[NOFI_PDU_ENC_MAX], culprit[200];
	size_t n, i;

	random_fill(culprit, sizeof(culprit));
	n = nofi_enc_h2cterm(out, NOFI_FES_HDGST, 0xa1b2c3d4, NULL, 0);
	ASSERT_IMAGE(out, n, 0x02, 0, 24, 0, 24, 0, 0, 0, 0x03, 0x00, 0xd4, 0xc3, 0xb2, 0xa1,
		     0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	n = nofi_enc_c2hterm(out, NOFI_FES_INVALID_HDR, 4, culprit, 8);
	assert_int_equal(n, 32);
	ASSERT_IMAGE(out, 24, 0x03, 0, 24, 0, 32, 0, 0, 0, 0x01, 0x00, 4, 0, 0, 0,
		     0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_memory_equal(out + 24, culprit, 8);
	/* At most 128 bytes of the culprit. */
	for (i = 0; i <= sizeof(culprit); i++) {
		memset(out, 0xee, sizeof(out));
		n = nofi_enc_h2cterm(out, 1, 0, culprit, i);
		assert_int_equal(n, 24 + (i < 128 ? i : 128));
		assert_int_equal(nofi_get32(out + 4), n);
		assert_memory_equal(out + 24, culprit, n - 24);
		assert_int_equal(out[n], 0xee);
	}
}

/* What T-1 and T-2 say of a PDU, apart from how the encoder computes it. */
static void assert_t1(const uint8_t *out, size_t n, uint8_t hlen, bool hdgst, bool ddgst,
		      unsigned int pda, uint32_t data_len, uint8_t other_flags)
{
	uint32_t head = hdgst ? hlen + 4u : hlen, pdo = head, plen;
	size_t i;

	assert_int_equal(out[1], other_flags | (hdgst ? 1 : 0) | (ddgst && data_len ? 2 : 0));
	assert_int_equal(out[2], hlen);
	if (data_len) {
		while (pdo % (4 * (pda + 1)))
			pdo++;
		plen = pdo + data_len + (ddgst ? 4 : 0);
		assert_int_equal(out[3], pdo);
	} else {
		plen = head;
		assert_int_equal(out[3], 0);
	}
	assert_int_equal(nofi_get32(out + 4), plen);
	assert_int_equal(n, pdo);
	if (hdgst)
		assert_int_equal(nofi_get32(out + hlen), nofi_crc32c(out, hlen));
	for (i = head; i < pdo; i++)
		assert_int_equal(out[i], 0);
	assert_int_equal(out[n], 0xee);
}

static void t2_every_alignment_digest_and_length(void **state)
{
	static const uint32_t lengths[] = { 0, 1, 4, 512, 4096, 131072, NOFI_PDU_DATA_MAX };
	uint8_t out[NOFI_PDU_ENC_MAX], sqe[64], cqe[16];
	unsigned int pda, dg, i, other;
	size_t n;

	random_fill(sqe, sizeof(sqe));
	random_fill(cqe, sizeof(cqe));
	for (pda = 0; pda <= NOFI_PDA_MAX; pda++)
		for (dg = 0; dg < 4; dg++)
			for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
				struct nofi_pdu_params pp = { .hdgst = dg & 1, .ddgst = dg & 2 };
				uint32_t len = lengths[i];

				/* The alignment of the other direction must not matter. */
				other = random64() % 32;
				pp.cpda = pda;
				pp.hpda = other;
				memset(out, 0xee, sizeof(out));
				n = nofi_enc_capsule_cmd(out, &pp, sqe, len);
				assert_t1(out, n, 72, pp.hdgst, pp.ddgst, pda, len, 0);
				assert_memory_equal(out + 8, sqe, 64);
				memset(out, 0xee, sizeof(out));
				n = nofi_enc_h2cdata(out, &pp, 1, 2, 3, len, i & 1);
				assert_t1(out, n, 24, pp.hdgst, pp.ddgst, pda, len, i & 1 ? 4 : 0);

				pp.hpda = pda;
				pp.cpda = other;
				memset(out, 0xee, sizeof(out));
				n = nofi_enc_c2hdata(out, &pp, 1, 2, len, 0x0c);
				assert_t1(out, n, 24, pp.hdgst, pp.ddgst, pda, len, 0x0c);
				memset(out, 0xee, sizeof(out));
				n = nofi_enc_r2t(out, &pp, 1, 2, 3, len);
				assert_t1(out, n, 24, pp.hdgst, pp.ddgst, pda, 0, 0);
				memset(out, 0xee, sizeof(out));
				n = nofi_enc_capsule_resp(out, &pp, cqe);
				assert_t1(out, n, 24, pp.hdgst, pp.ddgst, pda, 0, 0);
				assert_memory_equal(out + 8, cqe, 16);
			}
}

static void t1_refuses_what_has_no_encoding(void **state)
{
	struct nofi_pdu_params pp = { .hdgst = true, .ddgst = true };
	uint8_t out[NOFI_PDU_ENC_MAX], sqe[64] = { 0 };

	assert_int_equal(nofi_enc_capsule_cmd(out, &pp, sqe, NOFI_PDU_DATA_MAX + 1), 0);
	assert_int_equal(nofi_enc_h2cdata(out, &pp, 0, 0, 0, UINT32_MAX, true), 0);
	assert_int_equal(nofi_enc_c2hdata(out, &pp, 0, 0, UINT32_MAX, 0), 0);
	pp.cpda = NOFI_PDA_MAX + 1;
	assert_int_equal(nofi_enc_capsule_cmd(out, &pp, sqe, 4), 0);
}

/* What one side encodes, the other accepts and reads back. */
static void t1_round_trip_of_controller_pdus(void **state)
{
	uint8_t out[NOFI_PDU_ENC_MAX], cqe[16];
	struct nofi_pdu_error err;
	struct nofi_pdu pdu;
	unsigned int pda, dg, i;
	size_t n, need;

	for (pda = 0; pda <= NOFI_PDA_MAX; pda++)
		for (dg = 0; dg < 4; dg++)
			for (i = 0; i < 100; i++) {
				struct nofi_pdu_params pp = {
					.is_ready = true, .hdgst = dg & 1, .ddgst = dg & 2,
					.hpda = pda,
				};
				size_t head = pp.hdgst ? 28 : 24;
				uint16_t cccid = random64(), ttag = random64();
				uint32_t off = random64();
				uint32_t len = 1 + random64() % NOFI_PDU_DATA_MAX;
				uint8_t flags = (uint8_t[]){ 0, 4, 12 }[i % 3];

				n = nofi_enc_c2hdata(out, &pp, cccid, off, len, flags);
				assert_int_equal(nofi_pdu_parse(&pp, out, n, &pdu, &need, &err),
						 head);
				assert_int_equal(pdu.type, NOFI_PDU_C2H_DATA);
				assert_int_equal(pdu.flags, flags | dg);
				assert_int_equal(pdu.hlen, 24);
				assert_int_equal(pdu.head_len, n);
				assert_int_equal(pdu.plen, n + len + (pp.ddgst ? 4 : 0));
				assert_int_equal(pdu.data_len, len);
				assert_int_equal(pdu.length, len);
				assert_int_equal(pdu.offset, off);
				assert_int_equal(pdu.cccid, cccid);
				assert_ptr_equal(pdu.raw, out);

				n = nofi_enc_r2t(out, &pp, cccid, ttag, off, len);
				assert_int_equal(nofi_pdu_parse(&pp, out, n, &pdu, &need, &err),
						 head);
				assert_int_equal(pdu.type, NOFI_PDU_R2T);
				assert_int_equal(pdu.head_len, head);
				assert_int_equal(pdu.plen, head);
				assert_int_equal(pdu.data_len, 0);
				assert_int_equal(pdu.cccid, cccid);
				assert_int_equal(pdu.ttag, ttag);
				assert_int_equal(pdu.offset, off);
				assert_int_equal(pdu.length, len);

				random_fill(cqe, sizeof(cqe));
				n = nofi_enc_capsule_resp(out, &pp, cqe);
				assert_int_equal(nofi_pdu_parse(&pp, out, n, &pdu, &need, &err),
						 head);
				assert_int_equal(pdu.type, NOFI_PDU_CAPSULE_RESP);
				assert_int_equal(pdu.cccid, nofi_get16(cqe + 12));
				assert_int_equal(pdu.data_len, 0);
				assert_int_equal(pdu.plen, head);
				assert_memory_equal(pdu.raw + 8, cqe, 16);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t6_icreq_image),
		cmocka_unit_test(t7_icresp_image),
		cmocka_unit_test(t1_capsule_cmd_image),
		cmocka_unit_test(t1_data_pdu_images),
		cmocka_unit_test(t3_header_digest_images),
		cmocka_unit_test(t20_term_images),
		cmocka_unit_test(t2_every_alignment_digest_and_length),
		cmocka_unit_test(t1_refuses_what_has_no_encoding),
		cmocka_unit_test(t1_round_trip_of_controller_pdus),
	};

	return cmocka_run_group_tests_name("pdu_encode", tests, NULL, NULL);
}
