/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the controller says about the connection, and whether we can live with it (T-7, T-8). */
#include "pdu/pdu.h"

#include "pdu/error.h"

enum {
	IC_PFV = 8,		/* offsets of the fields, for FEI */
	IC_CPDA = 10,
	IC_DGST = 11,
	IC_MAXH2CDATA = 12,
	DGST_HEADER = 1u << 0,
	DGST_DATA = 1u << 1,
};

/* NULL, or why the answer does not suit what was offered. */
static const char *judge_digest(enum nofi_digest_want want, bool is_on, const char *unasked,
				const char *declined)
{
	if (want == NOFI_DIGEST_OFF && is_on)
		return unasked;
	if (want == NOFI_DIGEST_ON && !is_on)
		return declined;
	return NULL;
}

int nofi_icresp_check(struct nofi_pdu_params *pp, const struct nofi_pdu *pdu,
		      enum nofi_digest_want hdgst, enum nofi_digest_want ddgst,
		      struct nofi_pdu_error *err)
{
	const uint8_t *raw = pdu->raw;
	uint8_t dgst, offered;
	const char *what;
	uint32_t max;

	if (pdu->type != NOFI_PDU_ICRESP)
		return nofi_pdu_fail(err, NOFI_FES_SEQUENCE, 0, "a PDU came before the ICResp",
				     pdu->type, NOFI_PDU_ICRESP);
	if (nofi_get16(raw + IC_PFV) != 0)
		return nofi_pdu_fail(err, NOFI_FES_UNSUPPORTED, IC_PFV,
				     "ICResp has a PDU format version (PFV) we do not speak",
				     nofi_get16(raw + IC_PFV), 0);
	if (raw[IC_CPDA] > NOFI_PDA_MAX)
		return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, IC_CPDA,
				     "ICResp has a data alignment (CPDA) beyond its limit",
				     raw[IC_CPDA], NOFI_PDA_MAX);

	dgst = raw[IC_DGST];
	offered = (hdgst != NOFI_DIGEST_OFF ? DGST_HEADER : 0) |
		  (ddgst != NOFI_DIGEST_OFF ? DGST_DATA : 0);
	if (dgst & ~(DGST_HEADER | DGST_DATA))
		return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, IC_DGST,
				     "ICResp has reserved digest bits set", dgst, offered);
	what = judge_digest(hdgst, dgst & DGST_HEADER,
			    "ICResp turns on the header digest, which was not offered",
			    "ICResp declines the header digest, which is required");
	if (!what)
		what = judge_digest(ddgst, dgst & DGST_DATA,
				    "ICResp turns on the data digest, which was not offered",
				    "ICResp declines the data digest, which is required");
	if (what)
		return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, IC_DGST, what, dgst, offered);

	max = nofi_get32(raw + IC_MAXH2CDATA);
	if (max < NOFI_MAXH2CDATA_MIN)
		return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, IC_MAXH2CDATA,
				     "ICResp has a data limit (MAXH2CDATA) below its minimum",
				     max, NOFI_MAXH2CDATA_MIN);
	if (max % 4)
		return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, IC_MAXH2CDATA,
				     "ICResp has a data limit (MAXH2CDATA) that is not a "
				     "multiple of 4", max, max & ~3u);

	pp->hdgst = dgst & DGST_HEADER;
	pp->ddgst = dgst & DGST_DATA;
	pp->cpda = raw[IC_CPDA];
	pp->maxh2cdata = max;
	pp->is_ready = true;
	nofi_pdu_set_usual(pp);
	return 0;
}
