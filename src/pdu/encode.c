/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Encoders: the header of a PDU, its digest, and zeroes up to its data (T-1, T-2, T-3). */
#include "pdu/pdu.h"

#include "pdu/crc32c.h"

static void put_ch(uint8_t *out, uint8_t type, uint8_t flags, uint8_t hlen, uint8_t pdo,
		   uint32_t plen)
{
	out[0] = type;
	out[1] = flags;
	out[2] = hlen;
	out[3] = pdo;
	nofi_put32(out + 4, plen);
}

/*
 * Completes a header whose bytes after the common header are in place: common
 * header, then digest, then pad. data_len = 0 makes a PDU without data, which
 * has no PDO and no data digest (T-1, T-4). Returns the bytes before the data.
 */
static size_t finish(uint8_t *out, const struct nofi_pdu_params *pp, uint8_t type, uint8_t flags,
		     uint8_t hlen, uint8_t pda, uint32_t data_len)
{
	size_t head = hlen + (pp->hdgst ? NOFI_DIGEST_LEN : 0);
	size_t align = (pda + 1u) * 4;
	size_t end = head;
	uint32_t plen = head;

	if (data_len > NOFI_PDU_DATA_MAX || pda > NOFI_PDA_MAX)
		return 0;
	if (pp->hdgst)
		flags |= NOFI_PDU_F_HDGST;
	if (data_len) {
		/* T-2: the next multiple, not merely at least one alignment. */
		end = (head + align - 1) / align * align;
		plen = end + data_len;
		if (pp->ddgst) {
			flags |= NOFI_PDU_F_DDGST;
			plen += NOFI_DIGEST_LEN;
		}
	}
	put_ch(out, type, flags, hlen, data_len ? end : 0, plen);
	if (pp->hdgst)
		nofi_put32(out + hlen, nofi_crc32c(out, hlen));
	memset(out + head, 0, end - head);
	return end;
}

static size_t put_ic(uint8_t *out, uint8_t type, uint8_t pda, bool hdgst, bool ddgst, uint32_t max)
{
	memset(out, 0, NOFI_IC_LEN);
	put_ch(out, type, 0, NOFI_IC_LEN, 0, NOFI_IC_LEN);
	/* PFV at 8 is 0: the only version there is. */
	out[10] = pda;
	out[11] = hdgst | ddgst << 1;
	nofi_put32(out + 12, max);
	return NOFI_IC_LEN;
}

/* H2CData, C2HData and R2T share a layout; a field that one reserves is 0. */
static void put_data_fields(uint8_t *out, uint16_t cccid, uint16_t ttag, uint32_t offset,
			    uint32_t length)
{
	nofi_put16(out + 8, cccid);
	nofi_put16(out + 10, ttag);
	nofi_put32(out + 12, offset);
	nofi_put32(out + 16, length);
	nofi_put32(out + 20, 0);
}

static size_t put_term(uint8_t *out, uint8_t type, uint16_t fes, uint32_t fei, const void *culprit,
		       size_t culprit_len)
{
	const size_t max = NOFI_TERM_MAX_PLEN - NOFI_TERM_HLEN;

	if (culprit_len > max)
		culprit_len = max;
	memset(out, 0, NOFI_TERM_HLEN);
	put_ch(out, type, 0, NOFI_TERM_HLEN, 0, NOFI_TERM_HLEN + culprit_len);
	nofi_put16(out + 8, fes);
	nofi_put32(out + 10, fei);
	if (culprit_len)
		memcpy(out + NOFI_TERM_HLEN, culprit, culprit_len);
	return NOFI_TERM_HLEN + culprit_len;
}

size_t nofi_enc_icreq(uint8_t *out, uint8_t hpda, bool hdgst, bool ddgst, uint32_t maxr2t)
{
	/* T-9: 0's based on the wire; a caller's 0 cannot mean 2^32. */
	return put_ic(out, NOFI_PDU_ICREQ, hpda, hdgst, ddgst, maxr2t ? maxr2t - 1 : 0);
}

size_t nofi_enc_icresp(uint8_t *out, uint8_t cpda, bool hdgst, bool ddgst, uint32_t maxh2cdata)
{
	return put_ic(out, NOFI_PDU_ICRESP, cpda, hdgst, ddgst, maxh2cdata);
}

size_t nofi_enc_capsule_cmd(uint8_t *out, const struct nofi_pdu_params *pp, const void *sqe,
			    uint32_t data_len)
{
	memcpy(out + NOFI_CH_LEN, sqe, NOFI_SQE_LEN);
	/* By the million: nothing to compute. */
	if (!data_len && !pp->hdgst) {
		put_ch(out, NOFI_PDU_CAPSULE_CMD, 0, NOFI_CAPSULE_CMD_HLEN, 0,
		       NOFI_CAPSULE_CMD_HLEN);
		return NOFI_CAPSULE_CMD_HLEN;
	}
	return finish(out, pp, NOFI_PDU_CAPSULE_CMD, 0, NOFI_CAPSULE_CMD_HLEN, pp->cpda, data_len);
}

size_t nofi_enc_capsule_resp(uint8_t *out, const struct nofi_pdu_params *pp, const void *cqe)
{
	memcpy(out + NOFI_CH_LEN, cqe, NOFI_CQE_LEN);
	return finish(out, pp, NOFI_PDU_CAPSULE_RESP, 0, NOFI_CAPSULE_RESP_HLEN, 0, 0);
}

size_t nofi_enc_h2cdata(uint8_t *out, const struct nofi_pdu_params *pp, uint16_t cccid,
			uint16_t ttag, uint32_t datao, uint32_t datal, bool is_last)
{
	put_data_fields(out, cccid, ttag, datao, datal);
	return finish(out, pp, NOFI_PDU_H2C_DATA, is_last ? NOFI_PDU_F_LAST : 0, NOFI_DATA_HLEN,
		      pp->cpda, datal);
}

size_t nofi_enc_c2hdata(uint8_t *out, const struct nofi_pdu_params *pp, uint16_t cccid,
			uint32_t datao, uint32_t datal, uint8_t last_success_flags)
{
	put_data_fields(out, cccid, 0, datao, datal);
	return finish(out, pp, NOFI_PDU_C2H_DATA,
		      last_success_flags & (NOFI_PDU_F_LAST | NOFI_PDU_F_SUCCESS), NOFI_DATA_HLEN,
		      pp->hpda, datal);
}

size_t nofi_enc_r2t(uint8_t *out, const struct nofi_pdu_params *pp, uint16_t cccid, uint16_t ttag,
		    uint32_t r2to, uint32_t r2tl)
{
	put_data_fields(out, cccid, ttag, r2to, r2tl);
	return finish(out, pp, NOFI_PDU_R2T, 0, NOFI_R2T_HLEN, 0, 0);
}

size_t nofi_enc_h2cterm(uint8_t *out, uint16_t fes, uint32_t fei, const void *culprit,
			size_t culprit_len)
{
	return put_term(out, NOFI_PDU_H2C_TERM, fes, fei, culprit, culprit_len);
}

size_t nofi_enc_c2hterm(uint8_t *out, uint16_t fes, uint32_t fei, const void *culprit,
			size_t culprit_len)
{
	return put_term(out, NOFI_PDU_C2H_TERM, fes, fei, culprit, culprit_len);
}
