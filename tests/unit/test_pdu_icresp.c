/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* T-7, T-8: every ICResp, against every wish for digests. */
#include "unit.h"

#include <errno.h>

#include "pdu/pdu.h"

static const struct nofi_pdu_params offered = { .hpda = 5, .maxr2t = 3 };

static int check(const uint8_t *raw, enum nofi_digest_want hd, enum nofi_digest_want dd,
		 struct nofi_pdu_params *pp, struct nofi_pdu_error *err)
{
	struct nofi_pdu pdu;
	size_t need;

	*pp = offered;
	memset(err, 0, sizeof(*err));
	assert_int_equal(nofi_pdu_parse(pp, raw, NOFI_IC_LEN, &pdu, &need, err), NOFI_IC_LEN);
	assert_int_equal(pdu.type, NOFI_PDU_ICRESP);
	assert_int_equal(pdu.hlen, 128);
	assert_int_equal(pdu.head_len, 128);
	assert_int_equal(pdu.data_len, 0);
	return nofi_icresp_check(pp, &pdu, hd, dd, err);
}

static void assert_refused(const uint8_t *raw, enum nofi_digest_want hd, enum nofi_digest_want dd,
			   uint16_t fes, uint32_t fei, uint64_t got)
{
	struct nofi_pdu_params pp;
	struct nofi_pdu_error err;

	assert_int_equal(check(raw, hd, dd, &pp, &err), -EPROTO);
	assert_int_equal(err.fes, fes);
	assert_int_equal(err.fei, fei);
	assert_int_equal(err.got, got);
	assert_non_null(err.what);
	/* Outputs untouched on failure. */
	assert_memory_equal(&pp, &offered, sizeof(pp));
}

static void t8_digest_policy(void **state)
{
	struct nofi_pdu_params pp;
	struct nofi_pdu_error err;
	uint8_t raw[128];
	unsigned int dgst, hd, dd;

	for (dgst = 0; dgst < 256; dgst++)
		for (hd = NOFI_DIGEST_OFF; hd <= NOFI_DIGEST_PREFER; hd++)
			for (dd = NOFI_DIGEST_OFF; dd <= NOFI_DIGEST_PREFER; dd++) {
				bool h = dgst & 1, d = dgst & 2;
				bool is_good = dgst < 4 &&
					(hd == NOFI_DIGEST_PREFER || h == (hd == NOFI_DIGEST_ON)) &&
					(dd == NOFI_DIGEST_PREFER || d == (dd == NOFI_DIGEST_ON));

				nofi_enc_icresp(raw, 0, false, false, 4096);
				raw[11] = dgst;
				if (!is_good) {
					assert_refused(raw, hd, dd, NOFI_FES_INVALID_HDR, 11, dgst);
					continue;
				}
				assert_int_equal(check(raw, hd, dd, &pp, &err), 0);
				assert_int_equal(pp.hdgst, h);
				assert_int_equal(pp.ddgst, d);
				assert_true(pp.is_ready);
			}
}

static void t7_pfv_must_be_0(void **state)
{
	uint8_t raw[128];
	unsigned int pfv;

	for (pfv = 1; pfv < 65536; pfv++) {
		nofi_enc_icresp(raw, 0, false, false, 4096);
		nofi_put16(raw + 8, pfv);
		/* Everything else wrong as well: the lowest field is named. */
		if (pfv % 2)
			memset(raw + 10, 0xff, 6);
		assert_refused(raw, 0, 0, NOFI_FES_UNSUPPORTED, 8, pfv);
	}
}

static void t7_cpda_at_most_31(void **state)
{
	struct nofi_pdu_params pp;
	struct nofi_pdu_error err;
	uint8_t raw[128];
	unsigned int cpda;

	for (cpda = 0; cpda < 256; cpda++) {
		nofi_enc_icresp(raw, cpda, false, false, 4096);
		if (cpda > 31) {
			assert_refused(raw, 0, 0, NOFI_FES_INVALID_HDR, 10, cpda);
			continue;
		}
		assert_int_equal(check(raw, 0, 0, &pp, &err), 0);
		assert_int_equal(pp.cpda, cpda);
		assert_int_equal(pp.hpda, offered.hpda);
		assert_int_equal(pp.maxr2t, offered.maxr2t);
	}
}

static void t7_maxh2cdata_at_least_4096_and_dwords(void **state)
{
	static const uint32_t edges[] = {
		0, 4, 4092, 4095, 4096, 4097, 4098, 4099, 4100, 131072, 0x7ffffffc, 0x80000000,
		0xfffffffc, 0xfffffffd, 0xffffffff,
	};
	struct nofi_pdu_params pp;
	struct nofi_pdu_error err;
	uint8_t raw[128];
	size_t i;

	for (i = 0; i < 15 + 100000; i++) {
		uint32_t max = i < 15 ? edges[i] : random64() >> (32 + random64() % 32);

		nofi_enc_icresp(raw, 0, false, false, max);
		if (max < 4096 || max % 4) {
			assert_refused(raw, 0, 0, NOFI_FES_INVALID_HDR, 12, max);
			continue;
		}
		assert_int_equal(check(raw, 0, 0, &pp, &err), 0);
		assert_int_equal(pp.maxh2cdata, max);
	}
}

static void t7_reserved_bytes_are_ignored(void **state)
{
	struct nofi_pdu_params pp;
	struct nofi_pdu_error err;
	uint8_t raw[128];

	nofi_enc_icresp(raw, 0, false, false, 4096);
	memset(raw + 16, 0xff, 112);
	assert_int_equal(check(raw, 0, 0, &pp, &err), 0);
}

static void t6_only_an_icresp_makes_ready(void **state)
{
	struct nofi_pdu pdu = { .type = NOFI_PDU_C2H_TERM };
	struct nofi_pdu_params pp = offered;
	struct nofi_pdu_error err;

	assert_int_equal(nofi_icresp_check(&pp, &pdu, 0, 0, &err), -EPROTO);
	assert_int_equal(err.fes, NOFI_FES_SEQUENCE);
	assert_false(pp.is_ready);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t8_digest_policy),
		cmocka_unit_test(t7_pfv_must_be_0),
		cmocka_unit_test(t7_cpda_at_most_31),
		cmocka_unit_test(t7_maxh2cdata_at_least_4096_and_dwords),
		cmocka_unit_test(t7_reserved_bytes_are_ignored),
		cmocka_unit_test(t6_only_an_icresp_makes_ready),
	};

	return cmocka_run_group_tests_name("pdu_icresp", tests, NULL, NULL);
}
