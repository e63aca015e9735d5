/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rules a host's PDU must keep before anything else looks at it. A broken
 * rule ends in C2HTermReq; FEI is the offset of the lowest bad field.
 */
#include "target.h"
#include "pdu/crc32c.h"

static bool bad_field(struct conn *c, const uint8_t *h, uint32_t len, uint32_t off,
		      const char *what)
{
	conn_term(c, NOFI_FES_INVALID_HDR, off, h, len, what);
	return false;
}

/* In-capsule bytes this queue may send; Fabrics and Admin commands always have 8192 (T-11). */
static uint32_t capsule_limit(const struct conn *c)
{
	if (!c->ctrl || c->qid == 0)
		return NOFI_ADMIN_INCAPSULE;
	return opt.in_capsule;
}

static bool check_data_layout(struct conn *c, const uint8_t *h, uint32_t head, uint32_t plen,
			      bool has_data)
{
	uint32_t pdo = h[3], align = (c->cpda + 1u) * 4u;
	uint32_t dd = c->ddgst ? NOFI_DIGEST_LEN : 0;

	if (!has_data) {
		if (h[1] & NOFI_PDU_F_DDGST)
			return bad_field(c, h, 8, 1, "DDGSTF without data");
		if (pdo)
			return bad_field(c, h, 8, 3, "PDO without data");
		return true;
	}
	if (!!(h[1] & NOFI_PDU_F_DDGST) != c->ddgst)
		return bad_field(c, h, 8, 1, "DDGSTF differs from what was negotiated");
	if (pdo < head || pdo > plen || pdo % align)
		return bad_field(c, h, 8, 3, "PDO before the header's end, past PLEN or unaligned");
	if (plen <= pdo + dd)
		return bad_field(c, h, 8, 4, "PLEN leaves no data after PDO");
	return true;
}

/* The 8 bytes at h; *need becomes the header bytes to collect before check_pdu(). */
bool check_ch(struct conn *c, const uint8_t *h, uint32_t *need)
{
	static const struct {
		uint8_t hlen, flags;
		bool is_known;
	} rule[] = {
		[NOFI_PDU_ICREQ] = { NOFI_IC_LEN, 0, true },
		[NOFI_PDU_H2C_TERM] = { NOFI_TERM_HLEN, 0, true },
		[NOFI_PDU_CAPSULE_CMD] = { NOFI_CAPSULE_CMD_HLEN,
					   NOFI_PDU_F_HDGST | NOFI_PDU_F_DDGST, true },
		[NOFI_PDU_H2C_DATA] = { NOFI_DATA_HLEN, NOFI_PDU_F_HDGST | NOFI_PDU_F_DDGST |
					NOFI_PDU_F_LAST, true },
	};
	uint8_t type = h[0], flags = h[1], hlen = h[2];
	uint32_t plen = nofi_get32(h + 4), head;
	bool is_ctl = type == NOFI_PDU_ICREQ || type == NOFI_PDU_H2C_TERM;

	if (type >= sizeof(rule) / sizeof(rule[0]) || !rule[type].is_known)
		return bad_field(c, h, 8, 0, "unknown PDU type");
	if (type == NOFI_PDU_H2C_TERM) {
		/* Malformed or not, it is never answered (T-20). */
		if (plen < NOFI_TERM_HLEN || plen > NOFI_TERM_MAX_PLEN || hlen != NOFI_TERM_HLEN) {
			verbose("conn %llu: malformed H2CTermReq", (unsigned long long)c->id);
			conn_close(c, false);
			return false;
		}
		*need = plen;
		return true;
	}
	if ((c->state == CONN_ICREQ) != (type == NOFI_PDU_ICREQ)) {
		conn_term(c, NOFI_FES_SEQUENCE, 0, h, 8, "PDU out of sequence with ICReq");
		return false;
	}
	if (flags & ~rule[type].flags)
		return bad_field(c, h, 8, 1, "reserved flags set");
	if (!is_ctl && !!(flags & NOFI_PDU_F_HDGST) != c->hdgst)
		return bad_field(c, h, 8, 1, "HDGSTF differs from what was negotiated");
	if (hlen != rule[type].hlen)
		return bad_field(c, h, 8, 2, "wrong HLEN");
	head = hlen + (!is_ctl && c->hdgst ? NOFI_DIGEST_LEN : 0);
	*need = head;
	if (type == NOFI_PDU_ICREQ) {
		if (h[3])
			return bad_field(c, h, 8, 3, "PDO of ICReq");
		if (plen != NOFI_IC_LEN)
			return bad_field(c, h, 8, 4, "PLEN of ICReq");
		return true;
	}
	if (plen < head)
		return bad_field(c, h, 8, 4, "PLEN shorter than the header");
	if (type == NOFI_PDU_CAPSULE_CMD) {
		if (!check_data_layout(c, h, head, plen, plen > head))
			return false;
		if (plen > head && plen - h[3] - (c->ddgst ? 4 : 0) > capsule_limit(c))
			return bad_field(c, h, 8, 4, "more in-capsule data than IOCCSZ allows");
		return true;
	}
	return check_data_layout(c, h, head, plen, true);
}

/* The complete header at h (check_ch() passed). */
bool check_pdu(struct conn *c, const uint8_t *h)
{
	uint8_t hlen = h[2];

	if (h[0] == NOFI_PDU_ICREQ) {
		if (nofi_get16(h + 8)) {
			conn_term(c, NOFI_FES_UNSUPPORTED, 8, h, hlen, "PFV of ICReq");
			return false;
		}
		if (h[10] > NOFI_PDA_MAX)
			return bad_field(c, h, hlen, 10, "HPDA above 31");
		if (h[11] & ~3u)
			return bad_field(c, h, hlen, 11, "reserved DGST bits");
		return true;
	}
	if (h[0] != NOFI_PDU_H2C_TERM && c->hdgst) {
		uint32_t got = nofi_get32(h + hlen);

		if (got != nofi_crc32c(h, hlen)) {
			stats.digest_errors++;
			conn_term(c, NOFI_FES_HDGST, got, h, hlen, "header digest");
			return false;
		}
	}
	return true;
}
