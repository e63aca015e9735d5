/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rules of one command's data transfer (checklist 1.5 lines 3, 4, 5). A
 * refused PDU changes nothing. Sums are formed in 64 bits: all three terms of
 * "offset + length > limit" come from the wire or from a 32-bit field.
 *
 * Where a PDU breaks several rules, header fields go first, lowest offset
 * first (FES 01), then the number of R2Ts (05), the range (04), the order (02).
 */
#include "pdu/pdu.h"

#include "pdu/error.h"

enum {
	OFF_CCCID = 8,		/* offsets of the fields, for FEI */
	OFF_TTAG = 10,
	OFF_LENGTH = 16,
};

enum { STATUS_CODE = 0x7ff };	/* SCT and SC; CRD, M and DNR are above */

int nofi_xfer_c2hdata(struct nofi_xfer *x, const struct nofi_pdu *pdu, struct nofi_pdu_error *err)
{
	uint64_t end = (uint64_t)pdu->offset + pdu->data_len;
	bool is_last = pdu->flags & NOFI_PDU_F_LAST;

	if (x->dir != NOFI_DIR_READ)
		return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, OFF_CCCID,
				     "C2HData names a command that reads no data", pdu->cccid, 0);
	if (pdu->data_len == 0)
		return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, OFF_LENGTH,
				     "C2HData has no data (DATAL 0)", 0, 0);
	if (end > x->length)
		return nofi_pdu_fail(err, NOFI_FES_RANGE, 0,
				     "C2HData goes beyond the end of the command's buffer",
				     end, x->length);
	if (pdu->offset != x->received)
		return nofi_pdu_fail(err, NOFI_FES_SEQUENCE, 0,
				     "C2HData does not continue where the last one ended",
				     pdu->offset, x->received);
	/* T-14: LAST if and only if this is the final byte. Nothing fits after it. */
	if (is_last != (end == x->length))
		return nofi_pdu_fail(err, NOFI_FES_SEQUENCE, 0,
				     is_last ? "C2HData has LAST before the last byte" :
				     "C2HData lacks LAST at the last byte", end, x->length);

	x->received = end;
	x->is_last_seen = is_last;
	return 0;
}

static bool is_ttag_active(const struct nofi_xfer *x, uint16_t ttag)
{
	unsigned int i;

	for (i = 0; i < x->r2t_count; i++)
		if (x->r2t[(x->r2t_head + i) % NOFI_R2T_MAX].ttag == ttag)
			return true;
	return false;
}

int nofi_xfer_r2t(struct nofi_xfer *x, const struct nofi_pdu_params *pp,
		  const struct nofi_pdu *pdu, struct nofi_pdu_error *err)
{
	uint64_t end = (uint64_t)pdu->offset + pdu->length;
	uint32_t max = pp->maxr2t < NOFI_R2T_MAX ? pp->maxr2t : NOFI_R2T_MAX;
	unsigned int tail;

	/* An R2T that is answered for a read would send what the buffer held before. */
	if (x->dir != NOFI_DIR_WRITE)
		return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, OFF_CCCID,
				     "R2T names a command that writes no data", pdu->cccid, 0);
	if (x->is_incapsule)
		return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, OFF_CCCID,
				     "R2T names a command whose data went with its capsule",
				     pdu->cccid, 0);
	if (is_ttag_active(x, pdu->ttag))
		return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, OFF_TTAG,
				     "R2T has the tag (TTAG) of another that is still active",
				     pdu->ttag, 0);
	if (pdu->length == 0)
		return nofi_pdu_fail(err, NOFI_FES_INVALID_HDR, OFF_LENGTH,
				     "R2T asks for no data (R2TL 0)", 0, 0);
	if (x->r2t_count >= max)
		return nofi_pdu_fail(err, NOFI_FES_LIMIT, 0,
				     "more R2Ts are active than the limit (MAXR2T) allows",
				     x->r2t_count + 1u, max);
	if (end > x->length)
		return nofi_pdu_fail(err, NOFI_FES_RANGE, 0,
				     "R2T goes beyond the end of the command's data",
				     end, x->length);
	if (pdu->offset != x->requested)
		return nofi_pdu_fail(err, NOFI_FES_SEQUENCE, 0,
				     "R2T does not continue where the last one ended",
				     pdu->offset, x->requested);

	tail = (x->r2t_head + x->r2t_count) % NOFI_R2T_MAX;
	x->r2t[tail].ttag = pdu->ttag;
	x->r2t[tail].length = pdu->length;
	x->r2t_count++;
	x->requested = end;
	return 0;
}

bool nofi_xfer_next_h2c(struct nofi_xfer *x, const struct nofi_pdu_params *pp,
			struct nofi_h2c *out)
{
	uint32_t max = pp->maxh2cdata < NOFI_PDU_DATA_MAX ? pp->maxh2cdata : NOFI_PDU_DATA_MAX;
	uint32_t left, length;

	/* max is 0 only before the ICResp, when there is no R2T either: no endless loop. */
	if (x->dir != NOFI_DIR_WRITE || !x->r2t_count || !max)
		return false;

	length = x->r2t[x->r2t_head].length;
	left = length - x->r2t_done;
	out->ttag = x->r2t[x->r2t_head].ttag;
	out->datao = x->r2t_base + x->r2t_done;
	out->datal = left < max ? left : max;
	out->is_last = out->datal == left;

	x->sent += out->datal;
	x->r2t_done += out->datal;
	if (out->is_last) {
		/* R2Ts are contiguous: the next begins where this one ends. */
		x->r2t_base += length;
		x->r2t_done = 0;
		x->r2t_head = (x->r2t_head + 1) % NOFI_R2T_MAX;
		x->r2t_count--;
	}
	return true;
}

int nofi_xfer_end(const struct nofi_xfer *x, uint16_t cqe_status, struct nofi_pdu_error *err)
{
	/*
	 * A command that failed may end at any point of its transfer. Not so one with
	 * a stray M or DNR bit, which somebody else could take for a success.
	 */
	if (cqe_status & STATUS_CODE)
		return 0;

	if (x->dir == NOFI_DIR_WRITE && x->sent < x->length)
		return nofi_pdu_fail(err, NOFI_FES_SEQUENCE, 0,
				     "a write succeeded before all of its data was sent",
				     x->sent, x->length);
	/* T-21: wins over success. */
	if (x->has_bad_digest) {
		nofi_pdu_fail(err, NOFI_FES_NONE, 0,
			      "the data digest of a read did not match its data",
			      x->received, x->length);
		return -EBADMSG;
	}
	if (x->dir == NOFI_DIR_READ && x->received < x->length) {
		nofi_pdu_fail(err, NOFI_FES_NONE, 0, "a read succeeded without all of its data",
			      x->received, x->length);
		return -EIO;
	}
	return 0;
}
