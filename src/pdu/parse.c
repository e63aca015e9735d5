/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The validator of one received PDU header (checklist 1.5 lines 1 and 2).
 *
 * The verdict depends on the bytes of the stream only, not on how they were
 * split: the common header is judged field by field in ascending order, each
 * as soon as it is complete; then nothing until the whole header with its
 * digest is there; then the digest; then the rest of the fields.
 */
#include "pdu/pdu.h"

#include "pdu/crc32c.h"
#include "pdu/error.h"

enum { FLAGS_LAST_SUCCESS = NOFI_PDU_F_LAST | NOFI_PDU_F_SUCCESS };

/* What a PDU type demands of its common header, and the sentences if it does not. */
struct rule {
	uint8_t hlen;		/* exact; 0 = not a type that a controller sends */
	bool has_hdgst;		/* carries a header digest when negotiated (T-4) */
	bool has_data;		/* has PDO, data, and a data digest when negotiated */
	uint8_t free_flags;	/* flags that may be either way */
	const char *flags;
	const char *hlen_text;
	const char *pdo;
	const char *plen;
};

static const struct rule rules[] = {
	[NOFI_PDU_ICRESP] = {
		.hlen = NOFI_IC_LEN,
		.flags = "ICResp has flags set, none is allowed",
		.hlen_text = "ICResp has a wrong header length (HLEN)",
		.pdo = "ICResp has a data offset (PDO), it carries no data",
		.plen = "ICResp has a wrong PDU length (PLEN)",
	},
	[NOFI_PDU_C2H_TERM] = {
		.hlen = NOFI_TERM_HLEN,
		.hlen_text = "C2HTermReq has a wrong header length (HLEN)",
		.plen = "C2HTermReq has a PDU length (PLEN) outside 24 to 152",
	},
	[NOFI_PDU_CAPSULE_RESP] = {
		.hlen = NOFI_CAPSULE_RESP_HLEN,
		.has_hdgst = true,
		.flags = "CapsuleResp has flags that differ from the negotiated digest",
		.hlen_text = "CapsuleResp has a wrong header length (HLEN)",
		.pdo = "CapsuleResp has a data offset (PDO), it carries no data",
		.plen = "CapsuleResp has a wrong PDU length (PLEN)",
	},
	[NOFI_PDU_C2H_DATA] = {
		.hlen = NOFI_DATA_HLEN,
		.has_hdgst = true,
		.has_data = true,
		.free_flags = FLAGS_LAST_SUCCESS,
		.flags = "C2HData has flags that differ from the negotiated digests, "
			 "or that do not exist",
		.hlen_text = "C2HData has a wrong header length (HLEN)",
		.pdo = "C2HData has a data offset (PDO) that lies in the header, beyond 128, "
		       "or off the alignment (HPDA)",
		.plen = "C2HData has a PDU length (PLEN) with no room for data",
	},
	[NOFI_PDU_R2T] = {
		.hlen = NOFI_R2T_HLEN,
		.has_hdgst = true,
		.flags = "R2T has flags that differ from the negotiated digest",
		.hlen_text = "R2T has a wrong header length (HLEN)",
		.pdo = "R2T has a data offset (PDO), it carries no data",
		.plen = "R2T has a wrong PDU length (PLEN)",
	},
};

static const struct rule *find_rule(uint8_t type)
{
	if (type >= sizeof(rules) / sizeof(rules[0]) || !rules[type].hlen)
		return NULL;
	return &rules[type];
}

static uint32_t digest_len(bool in_force)
{
	return in_force ? NOFI_DIGEST_LEN : 0;
}

/*
 * T-20: of a C2HTermReq only what is needed to read it. A malformed one is
 * not answered, which FES 0 tells the caller.
 */
static int check_term(const struct rule *rule, const uint8_t *buf, size_t len,
		      struct nofi_pdu_error *err)
{
	uint32_t plen;

	if (len > 2 && buf[2] != rule->hlen)
		return nofi_pdu_fail(err, NOFI_FES_NONE, 0, rule->hlen_text, buf[2], rule->hlen);
	if (len < NOFI_CH_LEN)
		return 0;
	plen = nofi_get32(buf + 4);
	if (plen < NOFI_TERM_HLEN)
		return nofi_pdu_fail(err, NOFI_FES_NONE, 0, rule->plen, plen, NOFI_TERM_HLEN);
	if (plen > NOFI_TERM_MAX_PLEN)
		return nofi_pdu_fail(err, NOFI_FES_NONE, 0, rule->plen, plen, NOFI_TERM_MAX_PLEN);
	return 0;
}

/* PDO of a PDU with data (1.5 line 2); that it leaves room in PLEN is PLEN's matter. */
static bool is_pdo_good(const struct nofi_pdu_params *pp, uint8_t pdo, uint32_t head)
{
	return pdo >= head && pdo <= 128 && pdo % ((pp->hpda + 1u) * 4) == 0;
}

/* As much of the common header as there is. buf[0..len), len may be 0. */
static int check_ch(const struct nofi_pdu_params *pp, const uint8_t *buf, size_t len,
		    struct nofi_pdu_error *err)
{
	const struct rule *rule;
	uint32_t head, ddgst, plen, min;
	uint8_t flags, want;

	if (len < 1)
		return 0;
	rule = find_rule(buf[0]);
	if (!rule)
		return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, 0,
				     "PDU type is not one that a controller sends", buf[0], 0);
	if (buf[0] == NOFI_PDU_C2H_TERM)
		return check_term(rule, buf, len, err);
	if (buf[0] == NOFI_PDU_ICRESP && pp->is_ready)
		return nofi_pdu_fail(err, NOFI_FES_SEQUENCE, 0, "a second ICResp came", buf[0], 0);
	if (buf[0] != NOFI_PDU_ICRESP && !pp->is_ready)
		return nofi_pdu_fail(err, NOFI_FES_SEQUENCE, 0, "a PDU came before the ICResp",
				     buf[0], NOFI_PDU_ICRESP);

	if (len < 2)
		return 0;
	flags = buf[1];
	want = (rule->has_hdgst && pp->hdgst ? NOFI_PDU_F_HDGST : 0) |
	       (rule->has_data && pp->ddgst ? NOFI_PDU_F_DDGST : 0);
	if ((flags & ~rule->free_flags) != want)
		return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, 1, rule->flags, flags, want);
	if ((flags & FLAGS_LAST_SUCCESS) == NOFI_PDU_F_SUCCESS)
		return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, 1,
				     "C2HData has SUCCESS without LAST", flags,
				     want | FLAGS_LAST_SUCCESS);

	if (len < 3)
		return 0;
	if (buf[2] != rule->hlen)
		return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, 2, rule->hlen_text, buf[2],
				     rule->hlen);

	if (len < 4)
		return 0;
	head = rule->hlen + digest_len(want & NOFI_PDU_F_HDGST);
	if (rule->has_data ? !is_pdo_good(pp, buf[3], head) : buf[3] != 0)
		return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, 3, rule->pdo, buf[3],
				     rule->has_data ? head : 0);

	if (len < NOFI_CH_LEN)
		return 0;
	plen = nofi_get32(buf + 4);
	if (!rule->has_data) {
		if (plen != head)
			return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, 4, rule->plen, plen, head);
		return 0;
	}
	ddgst = digest_len(want & NOFI_PDU_F_DDGST);
	min = buf[3] + 1 + ddgst;
	if (plen < min)
		return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, 4, rule->plen, plen, min);
	return 0;
}

void nofi_pdu_set_usual(struct nofi_pdu_params *pp)
{
	uint32_t head = NOFI_DATA_HLEN + digest_len(pp->hdgst);
	uint32_t flags = pp->hdgst ? NOFI_PDU_F_HDGST : 0;

	/* PDO right behind the header is a multiple of 4, which is enough for HPDA 0 only. */
	pp->usual_head = pp->is_ready && pp->hpda == 0 ? head : 0;
	pp->usual_resp = NOFI_PDU_CAPSULE_RESP | flags << 8 | NOFI_CAPSULE_RESP_HLEN << 16;
	if (pp->ddgst)
		flags |= NOFI_PDU_F_DDGST;
	pp->usual_data = NOFI_PDU_C2H_DATA | flags << 8 | NOFI_DATA_HLEN << 16 | head << 24;
	pp->usual_over = head + digest_len(pp->ddgst);
	pp->usual_read = !pp->usual_head || pp->hdgst || pp->ddgst ? 0 :
			 (uint64_t)NOFI_DATA_HLEN << 32 | pp->usual_data | NOFI_PDU_F_LAST << 8;
}

/* The fields after the common header, which is good; the header is complete. */
static int fill(const struct nofi_pdu_params *pp, const uint8_t *buf, uint32_t total,
		struct nofi_pdu *out, struct nofi_pdu_error *err)
{
	struct nofi_pdu pdu = {
		.type = buf[0],
		.flags = buf[1],
		.hlen = buf[2],
		.head_len = total,
		.plen = nofi_get32(buf + 4),
		.raw = buf,
	};
	uint64_t payload;

	switch (pdu.type) {
	case NOFI_PDU_CAPSULE_RESP:
		pdu.cccid = nofi_get16(buf + 20);
		break;
	case NOFI_PDU_C2H_DATA:
		pdu.head_len = buf[3];
		pdu.cccid = nofi_get16(buf + 8);
		pdu.offset = nofi_get32(buf + 12);
		pdu.length = nofi_get32(buf + 16);
		pdu.data_len = pdu.length;
		payload = (uint64_t)pdu.plen - pdu.head_len - digest_len(pp->ddgst);
		/* At least one byte, so this refuses DATAL = 0 too (1.5 line 3). */
		if (pdu.length != payload)
			return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, 16,
					     "C2HData has a data length (DATAL) that differs "
					     "from what its PDU length leaves",
					     pdu.length, payload);
		break;
	case NOFI_PDU_R2T:
		pdu.cccid = nofi_get16(buf + 8);
		pdu.ttag = nofi_get16(buf + 10);
		pdu.offset = nofi_get32(buf + 12);
		pdu.length = nofi_get32(buf + 16);
		break;
	case NOFI_PDU_C2H_TERM:
		pdu.fes = nofi_get16(buf + 8);
		pdu.fei = nofi_get32(buf + 10);
		break;
	}
	*out = pdu;
	return total;
}

int nofi_pdu_parse(const struct nofi_pdu_params *pp, const uint8_t *buf, size_t len,
		   struct nofi_pdu *pdu, size_t *need, struct nofi_pdu_error *err)
{
	bool has_hdgst;
	uint32_t total;
	int ret;

	ret = check_ch(pp, buf, len, err);
	if (ret)
		return ret;
	if (len < NOFI_CH_LEN) {
		*need = NOFI_CH_LEN;
		return 0;
	}

	/* The flag equals what was negotiated and is 0 where no digest may be; but T-20. */
	has_hdgst = (buf[1] & NOFI_PDU_F_HDGST) && buf[0] != NOFI_PDU_C2H_TERM;
	total = buf[2] + digest_len(has_hdgst);
	if (buf[0] == NOFI_PDU_C2H_TERM)
		total = nofi_get32(buf + 4);
	if (len < total) {
		*need = total;
		return 0;
	}

	if (has_hdgst) {
		uint32_t got = nofi_get32(buf + buf[2]);
		uint32_t want = nofi_crc32c(buf, buf[2]);

		if (got != want)
			return nofi_pdu_fail(err, NOFI_FES_HDGST, got,
					     "header digest does not match the header", got, want);
	}
	return fill(pp, buf, total, pdu, err);
}
