/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Encoders, the strict validator of received PDUs, and the rules of one
 * command's data transfer. Pure functions: no I/O, no allocation, no state but
 * their arguments, so everything here is tested by feeding bytes.
 *
 *   bytes ─► nofi_pdu_parse()      one PDU by itself: type, flags, lengths, PDO,
 *                                  header digest (checklist 1.5 lines 1, 2)
 *         ─► nofi_xfer_*()         the PDU against the command it names:
 *                                  direction, offsets, limits (lines 3, 4, 5)
 */
#ifndef NOF_PDU_PDU_H
#define NOF_PDU_PDU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pdu/crc32c.h"
#include "pdu/wire.h"

/* What both sides agreed on in ICReq/ICResp; fixed for the connection's life. */
struct nofi_pdu_params {
	bool is_ready;		/* ICResp was accepted; before it nothing else may come */
	bool hdgst;		/* header digest in force */
	bool ddgst;		/* data digest in force */
	uint8_t hpda;		/* we asked: C2HData PDO is a multiple of (hpda+1)*4 */
	uint8_t cpda;		/* controller asked: CapsuleCmd, H2CData data offset */
	uint32_t maxh2cdata;	/* bytes of data in one H2CData PDU, at most */
	uint32_t maxr2t;	/* active R2Ts of one command, at most (1's based here) */

	/* For nofi_pdu_usual(): what follows from the above. */
	uint32_t usual_head;	/* bytes of a header with its digest; 0: there is no usual form */
	uint32_t usual_resp;	/* first 4 bytes of a CapsuleResp */
	uint32_t usual_data;	/* of a C2HData but for LAST and SUCCESS */
	uint32_t usual_over;	/* bytes of a C2HData that are not data */
	uint64_t usual_read;	/* without digests, first 8 bytes of a C2HData with all data of a
				   read, but for SUCCESS, when PLEN is what the data adds to; 0:
				   there are digests, or there is no usual form */
};

/* Why a connection must end: goes into H2CTermReq and into the sentence. */
struct nofi_pdu_error {
	uint16_t fes;		/* enum nofi_fes; NONE: send no H2CTermReq (T-20, or not fatal) */
	uint32_t fei;		/* per FES: offset of the bad field, or received digest */
	const char *what;	/* static text: a clause, without numbers and full stop */
	uint64_t got;		/* the offending value, for the sentence */
	uint64_t want;		/* the limit or expected value, 0 where there is none */
};

/* A received PDU header, decoded and checked. */
struct nofi_pdu {
	uint8_t type;		/* enum nofi_pdu_type */
	uint8_t flags;
	uint8_t hlen;		/* header bytes without digest */
	uint8_t head_len;	/* bytes before the data: PDO, else HLEN+HDGST; TermReq: PLEN */
	uint32_t plen;
	uint32_t data_len;	/* payload bytes (DATAL), 0 for PDUs without data */
	uint16_t cccid;		/* C2HData, R2T; CapsuleResp: CID of the CQE */
	uint16_t ttag;		/* R2T */
	uint32_t offset;	/* DATAO, R2TO */
	uint32_t length;	/* DATAL, R2TL */
	uint16_t fes;		/* C2HTermReq */
	uint32_t fei;		/* C2HTermReq */
	const uint8_t *raw;	/* the header in the caller's memory (CQE at raw+8, IC fields) */
};

/* nofi_pdu_parse() never wants more bytes at once (1.5 line 8): a whole C2HTermReq at most. */
enum { NOFI_PDU_HEAD_MAX = NOFI_TERM_MAX_PLEN };

/* The bits of a common header's first four bytes that a C2HData may have either way. */
enum { NOFI_USUAL_FREE = (NOFI_PDU_F_LAST | NOFI_PDU_F_SUCCESS) << 8 };

/* The most data one PDU can have so that PLEN, with any header and digest, fits in 32 bits. */
#define NOFI_PDU_DATA_MAX 0xffffff00u

/*
 * Parses the header of a PDU sent by a controller from the len bytes at buf,
 * as strictly as the bytes so far allow: a bad type is reported with one byte.
 * How the stream was split never changes the verdict: first the common header,
 * field by field; then, with HLEN + HDGST bytes, the header digest; then DATAL.
 * Returns
 *   >0  number of bytes of buf that the header takes: head_len without pad,
 *       i.e. HLEN + HDGST; *pdu is filled. The pad (head_len − returned),
 *       payload and data digest follow in the stream. Of a C2HTermReq all PLEN
 *       bytes count as header; the culprit's bytes are at raw + 24.
 *    0  more bytes are needed; *need is the total number wanted at buf
 *       (8 first, then HLEN + HDGST; a TermReq wants PLEN);
 *   <0  -EPROTO, *err filled; the connection is lost.
 * Only the output that belongs to the result is written. ICResp values
 * themselves are judged by nofi_icresp_check(). A C2HTermReq may come at any
 * time, nothing but its lengths is checked, and a malformed one is not to be
 * answered: -EPROTO with FES NONE (T-20).
 */
int nofi_pdu_parse(const struct nofi_pdu_params *pp, const uint8_t *buf, size_t len,
		   struct nofi_pdu *pdu, size_t *need, struct nofi_pdu_error *err);

/*
 * The two PDUs that come by the million, in the form in which every controller sends them:
 * returns the bytes of the header, with *pdu filled, as nofi_pdu_parse() would. 0 proves
 * nothing, that decides then. Comparisons with constants of the connection, and no call but for
 * a header digest.
 */
static inline size_t nofi_pdu_usual(const struct nofi_pdu_params *pp, const uint8_t *buf,
				    size_t len, struct nofi_pdu *pdu)
{
	uint32_t low, plen, length = 0;
	bool is_resp;

	if (!pp->usual_head || len < pp->usual_head)
		return 0;
	low = nofi_get32(buf);
	plen = nofi_get32(buf + 4);
	is_resp = low == pp->usual_resp && plen == pp->usual_head;
	if (!is_resp) {
		if ((low & ~(uint32_t)NOFI_USUAL_FREE) != pp->usual_data ||
		    (low & NOFI_USUAL_FREE) == NOFI_PDU_F_SUCCESS << 8)
			return 0;
		length = nofi_get32(buf + 16);
		/* No data (DATAL 0) is for the other one to judge. */
		if (!length || (uint64_t)length + pp->usual_over != plen)
			return 0;
	}
	if (pp->hdgst && nofi_get32(buf + NOFI_DATA_HLEN) != nofi_crc32c(buf, NOFI_DATA_HLEN))
		return 0;
	if (is_resp) {
		pdu->type = NOFI_PDU_CAPSULE_RESP;
		pdu->flags = low >> 8 & 0xff;
		pdu->data_len = 0;
		pdu->cccid = nofi_get16(buf + 20);
	} else {
		pdu->type = NOFI_PDU_C2H_DATA;
		pdu->flags = low >> 8 & 0xff;
		pdu->data_len = pdu->length = length;
		pdu->offset = nofi_get32(buf + 12);
		pdu->cccid = nofi_get16(buf + 8);
	}
	pdu->raw = buf;
	pdu->plen = plen;
	pdu->hlen = NOFI_DATA_HLEN;
	pdu->head_len = (uint8_t)pp->usual_head;
	return pp->usual_head;
}

/* Digest policy of a connection, from the user's options. */
enum nofi_digest_want {
	NOFI_DIGEST_OFF,
	NOFI_DIGEST_ON,		/* the target must agree */
	NOFI_DIGEST_PREFER,	/* the target may decline */
};

/*
 * Judges an ICResp (T-7, T-8) that nofi_pdu_parse() accepted and completes
 * *pp: digests, cpda, maxh2cdata, is_ready. hpda and maxr2t were set by the
 * caller as offered. 0 or -EPROTO with *err (FES 06 for PFV, 01 for others).
 */
int nofi_icresp_check(struct nofi_pdu_params *pp, const struct nofi_pdu *pdu,
		      enum nofi_digest_want hdgst, enum nofi_digest_want ddgst,
		      struct nofi_pdu_error *err);

/* Makes what nofi_pdu_usual() compares with, from the other parameters. */
void nofi_pdu_set_usual(struct nofi_pdu_params *pp);

/* Bytes an encoder writes at most, header digest and pad included. */
enum { NOFI_PDU_ENC_MAX = 256 };

/*
 * The encoders return 0 for what cannot be encoded: more data than
 * NOFI_PDU_DATA_MAX, or an alignment above NOFI_PDA_MAX.
 */

/* ICReq (T-6): 128 bytes at out. maxr2t is 1's based here, 0's based on the wire. */
size_t nofi_enc_icreq(uint8_t *out, uint8_t hpda, bool hdgst, bool ddgst, uint32_t maxr2t);

/*
 * CapsuleCmd header with its SQE (already complete but for nothing), header
 * digest and pad up to the data when data_len > 0 (T-1, T-2 with pp->cpda).
 * Returns the bytes written; data and data digest follow from elsewhere.
 */
size_t nofi_enc_capsule_cmd(uint8_t *out, const struct nofi_pdu_params *pp, const void *sqe,
			    uint32_t data_len);

/* H2CData header (T-13), digest and pad; is_last sets LAST. */
size_t nofi_enc_h2cdata(uint8_t *out, const struct nofi_pdu_params *pp, uint16_t cccid,
			uint16_t ttag, uint32_t datao, uint32_t datal, bool is_last);

/* H2CTermReq with up to 128 bytes of the offending header (T-20). Returns its PLEN ≤ 152. */
size_t nofi_enc_h2cterm(uint8_t *out, uint16_t fes, uint32_t fei, const void *culprit,
			size_t culprit_len);

/* Encoders of the controller's PDUs: for nvmf-target and for tests. */
size_t nofi_enc_icresp(uint8_t *out, uint8_t cpda, bool hdgst, bool ddgst, uint32_t maxh2cdata);
size_t nofi_enc_capsule_resp(uint8_t *out, const struct nofi_pdu_params *pp, const void *cqe);
size_t nofi_enc_c2hdata(uint8_t *out, const struct nofi_pdu_params *pp, uint16_t cccid,
			uint32_t datao, uint32_t datal, uint8_t last_success_flags);
size_t nofi_enc_r2t(uint8_t *out, const struct nofi_pdu_params *pp, uint16_t cccid, uint16_t ttag,
		    uint32_t r2to, uint32_t r2tl);
size_t nofi_enc_c2hterm(uint8_t *out, uint16_t fes, uint32_t fei, const void *culprit,
			size_t culprit_len);

/*
 * The transfer of one command. The queue keeps one per CID; these functions
 * hold the rules, so that a test can walk every order of PDUs without a
 * connection.
 */
enum nofi_dir { NOFI_DIR_NONE, NOFI_DIR_READ, NOFI_DIR_WRITE };

enum { NOFI_R2T_MAX = 4 };	/* R2Ts of one command we can hold; MAXR2T offered is ≤ this */

/*
 * 64 bytes. The first 16 are all that a read, or a write whose data goes with its capsule, ever
 * touches: the owner puts them into the cache line that it has in hand anyway.
 */
struct nofi_xfer {
	uint32_t length;	/* bytes the command moves */
	uint32_t received;	/* READ: payload bytes accepted so far = next DATAO */
	uint32_t sent;		/* WRITE: bytes handed to the stream; in-capsule: all of them */
	uint8_t dir;		/* enum nofi_dir */
	bool is_incapsule;	/* WRITE: data travels in the capsule, no R2T may come */
	bool is_last_seen;	/* READ: a C2HData with LAST came */
	bool has_bad_digest;	/* a data digest failed: the command fails in any case (T-21) */
	/* From here on of meaning for a WRITE only. */
	uint32_t requested;	/* bytes covered by R2Ts so far = next R2TO */
	uint8_t r2t_head;	/* ring of active R2Ts: the one being answered */
	uint8_t r2t_count;	/* active R2Ts */
	struct {
		uint32_t length;	/* R2TL */
		uint16_t ttag;		/* opaque, echoed */
	} r2t[NOFI_R2T_MAX];	/* contiguous, from r2t_base to requested */
	uint32_t r2t_base;	/* R2TO of the R2T at r2t_head */
	uint32_t r2t_done;	/* bytes of it already put into H2CData PDUs */
};
_Static_assert(offsetof(struct nofi_xfer, requested) == 16, "what every command needs");
_Static_assert(sizeof(struct nofi_xfer) == 64, "a cache line");

static inline void nofi_xfer_init(struct nofi_xfer *x, enum nofi_dir dir, uint32_t length,
				  bool is_incapsule)
{
	bool is_all = dir == NOFI_DIR_WRITE && is_incapsule;

	x->length = length;
	x->received = 0;
	/* No answer can come before the capsule, and the data went with it. */
	x->sent = is_all ? length : 0;
	x->dir = (uint8_t)dir;
	x->is_incapsule = is_all;
	x->is_last_seen = x->has_bad_digest = false;
	if (dir == NOFI_DIR_WRITE)
		memset(&x->requested, 0, sizeof(*x) - offsetof(struct nofi_xfer, requested));
}

/*
 * A C2HData header for this command (T-14, 1.5 line 3). 0, or -EPROTO with *err.
 * Accounts data_len as received.
 */
int nofi_xfer_c2hdata(struct nofi_xfer *x, const struct nofi_pdu *pdu, struct nofi_pdu_error *err);

/*
 * The same for the usual case, all data of the command in one PDU, without a call. False:
 * nothing was changed, nofi_xfer_c2hdata() decides.
 */
static inline bool nofi_xfer_c2hdata_whole(struct nofi_xfer *x, const struct nofi_pdu *pdu)
{
	if (x->dir != NOFI_DIR_READ || x->received || pdu->offset || !pdu->data_len ||
	    pdu->data_len != x->length || !(pdu->flags & NOFI_PDU_F_LAST))
		return false;
	x->received = x->length;
	x->is_last_seen = true;
	return true;
}

/* nofi_xfer_end() is 0 for a success: all data moved as it should. Without a call. */
static inline bool nofi_xfer_is_whole(const struct nofi_xfer *x)
{
	return x->dir == NOFI_DIR_READ ? x->received == x->length && !x->has_bad_digest :
	       x->dir == NOFI_DIR_NONE || x->sent >= x->length;
}

/*
 * An R2T for this command (T-13, 1.5 line 4). 0 and queued, or -EPROTO with *err.
 * That the TTAG is not active is checked among this command's R2Ts.
 */
int nofi_xfer_r2t(struct nofi_xfer *x, const struct nofi_pdu_params *pp,
		  const struct nofi_pdu *pdu, struct nofi_pdu_error *err);

/*
 * The next H2CData PDU to send for the R2T at the head; false when no R2T is
 * active. Counts it as sent: the caller puts it into the stream now. An R2T
 * stops being active with its PDU that has is_last.
 */
struct nofi_h2c {
	uint16_t ttag;
	uint32_t datao;
	uint32_t datal;
	bool is_last;		/* LAST: ends this R2T */
};
bool nofi_xfer_next_h2c(struct nofi_xfer *x, const struct nofi_pdu_params *pp,
			struct nofi_h2c *out);

/*
 * The end of the command: by CapsuleResp, or by SUCCESS on C2HData (is_success_flag).
 * cqe_status is the 15-bit NVMe status field (CQE bits 31:17 of DW3). Success is
 * SCT 0 and SC 0, whatever CRD, M and DNR (bits 14:11) say.
 * Returns 0 = believe it; -EPROTO with *err = connection error (a write that
 * succeeded before all its data was sent, 1.5 line 5); -EIO = the status says
 * success but bytes are missing (T-15); -EBADMSG = data digest failed (T-21).
 * The last two fill *err with FES NONE: they end the command, not the connection.
 * A write counts as sent once its bytes were handed to the stream.
 */
int nofi_xfer_end(const struct nofi_xfer *x, uint16_t cqe_status, struct nofi_pdu_error *err);

#endif
