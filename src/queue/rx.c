/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Receive: bytes in any split → PDUs → payload into the caller's buffers →
 * completions. All bytes given are consumed: a partial header is kept (≤ 160 B),
 * payload is copied out at once, so nothing refers to the staging afterwards.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "pdu/crc32c.h"
#include "queue/machine.h"

const char *nofi_fes_name(uint16_t fes)
{
	static const char *const names[] = {
		[NOFI_FES_NONE] = "no error",
		[NOFI_FES_INVALID_HDR] = "invalid PDU header field",
		[NOFI_FES_SEQUENCE] = "PDU sequence error",
		[NOFI_FES_HDGST] = "header digest error",
		[NOFI_FES_RANGE] = "data transfer out of range",
		[NOFI_FES_LIMIT] = "data transfer or R2T limit exceeded",
		[NOFI_FES_UNSUPPORTED] = "unsupported parameter",
	};

	return fes < sizeof(names) / sizeof(names[0]) ? names[fes] : "unknown error";
}

void nofi_machine_fatal(struct nofi_machine *m, const struct nofi_pdu_error *pe,
			const uint8_t *culprit, size_t culprit_len)
{
	struct nofi_err err;

	if (m->is_stopped)
		return;
	nofi_machine_stop(m);
	nofi_err_set(&err, -EPROTO, "the target broke the NVMe/TCP protocol: %s (seen %llu, "
		     "expected %llu; %s); suspect the target, or a middlebox that alters data",
		     pe->what, (unsigned long long)pe->got, (unsigned long long)pe->want,
		     nofi_fes_name(pe->fes));
	m->ops->fatal(m, pe, culprit, culprit_len, &err);
}

static void fatal_pdu(struct nofi_machine *m, const struct nofi_pdu_error *pe)
{
	nofi_machine_fatal(m, pe, m->pdu.raw, m->pdu.hlen);
}

static struct nofi_cmd *not_found(struct nofi_machine *m, uint16_t cid, const char *what,
				  uint32_t fei)
{
	fatal_pdu(m, &(struct nofi_pdu_error){ .fes = NOFI_FES_INVALID_HDR, .fei = fei,
					       .what = what, .got = cid });
	return NULL;
}

/* The command a PDU names: outstanding, of this generation (1.5 lines 3–6). */
static inline struct nofi_cmd *find(struct nofi_machine *m, uint16_t cid, const char *what,
				    uint32_t fei)
{
	uint16_t slot = cid & m->slot_mask;

	if (slot < m->used && m->cmds[slot].cid == cid && m->cmds[slot].state == NOFI_SLOT_SENT)
		return &m->cmds[slot];
	return not_found(m, cid, what, fei);
}

static void on_icresp(struct nofi_machine *m)
{
	struct nofi_pdu_error pe;

	if (nofi_icresp_check(&m->pp, &m->pdu, m->hdgst, m->ddgst, &pe) < 0) {
		fatal_pdu(m, &pe);
		return;
	}
	m->rw_floor = m->reserved;
	/* The data right behind the SQE, and behind it nothing. */
	if (!m->pp.hdgst && !m->pp.ddgst && NOFI_CAPSULE_CMD_HLEN % ((m->pp.cpda + 1u) * 4) == 0)
		m->usual_write = NOFI_PDU_CAPSULE_CMD | NOFI_CAPSULE_CMD_HLEN << 16 |
				 (uint64_t)NOFI_CAPSULE_CMD_HLEN << 24 |
				 (uint64_t)NOFI_CAPSULE_CMD_HLEN << 32;
	m->ops->ready(m);
}

static void on_resp(struct nofi_machine *m)
{
	const uint8_t *cqe = m->pdu.raw + NOFI_CH_LEN;
	struct nofi_cmd *cmd;
	uint16_t sqhd = nofi_get16(cqe + 8);

	cmd = find(m, m->pdu.cccid, "CapsuleResp names a command (CID) that is not outstanding",
		   20);
	if (!cmd)
		return;
	if (m->is_sqflow && sqhd > m->entries) {
		fatal_pdu(m, &(struct nofi_pdu_error){
			.fes = NOFI_FES_INVALID_HDR, .fei = 16, .got = sqhd, .want = m->entries,
			.what = "CapsuleResp has an SQ head (SQHD) beyond the queue" });
		return;
	}
	nofi_machine_answer(m, cmd, nofi_get16(cqe + 14) >> 1, nofi_get64(cqe));
}

static void on_r2t(struct nofi_machine *m)
{
	struct nofi_cmd *cmd;
	struct nofi_pdu_error pe;

	cmd = find(m, m->pdu.cccid, "R2T names a command (CCCID) that is not outstanding", 8);
	if (!cmd)
		return;
	if (nofi_xfer_r2t(&cmd->xfer, &m->pp, &m->pdu, &pe) < 0) {
		fatal_pdu(m, &pe);
		return;
	}
	if (!cmd->is_in_fifo)
		nofi_machine_tx_push(m, cmd);
}

static void on_term(struct nofi_machine *m)
{
	struct nofi_err err;

	nofi_machine_stop(m);
	nofi_err_set(&err, -ECONNRESET, "the target ended the connection with a C2HTermReq: %s "
		     "(FES %02xh, FEI %#x); it took one of our PDUs for wrong",
		     nofi_fes_name(m->pdu.fes), m->pdu.fes, m->pdu.fei);
	/* FES 0: never answered (T-20) */
	m->ops->fatal(m, &(struct nofi_pdu_error){ .fes = NOFI_FES_NONE }, NULL, 0, &err);
}

static void on_c2hdata(struct nofi_machine *m, uint32_t pad)
{
	struct nofi_cmd *cmd;
	struct nofi_pdu_error pe;

	cmd = find(m, m->pdu.cccid, "C2HData names a command (CCCID) that is not outstanding", 8);
	if (!cmd)
		return;
	if (!nofi_xfer_c2hdata_whole(&cmd->xfer, &m->pdu) &&
	    nofi_xfer_c2hdata(&cmd->xfer, &m->pdu, &pe) < 0) {
		fatal_pdu(m, &pe);
		return;
	}
	m->rx_slot = nofi_cmd_slot(m, cmd);
	m->rx_crc = NOFI_CRC32C_INIT;
	m->rx_state = pad ? NOFI_RX_PAD : NOFI_RX_DATA;
	m->rx_left = pad ? pad : m->pdu.data_len;
}

/* The data PDU is complete. */
static void end_of_data(struct nofi_machine *m)
{
	struct nofi_cmd *cmd = &m->cmds[m->rx_slot];

	m->rx_state = NOFI_RX_HEAD;
	m->rx_slot = NOFI_NO_SLOT;
	if (!(m->pdu.flags & NOFI_PDU_F_SUCCESS))
		return;
	if (m->is_sqflow)
		m->ops->note(m, "C2HData with SUCCESS although SQ flow control is on");
	m->pdu.raw = m->rx_head;	/* the header is gone; answers to reads are never fatal */
	nofi_machine_answer(m, cmd, 0, 0);
}

static void end_of_payload(struct nofi_machine *m)
{
	if (!m->pp.ddgst) {
		end_of_data(m);
		return;
	}
	m->rx_state = NOFI_RX_DDGST;
	m->rx_left = NOFI_DIGEST_LEN;
}

static void judge_ddgst(struct nofi_machine *m, struct nofi_cmd *cmd, const uint8_t *ddgst)
{
	if (nofi_get32(ddgst) == nofi_crc32c_final(m->rx_crc))
		return;
	/* T-21: not fatal, but the command fails whatever follows */
	cmd->xfer.has_bad_digest = true;
	m->ops->note(m, "a C2HData had a wrong data digest: that read fails");
}

static void end_of_ddgst(struct nofi_machine *m)
{
	judge_ddgst(m, &m->cmds[m->rx_slot], m->rx_ddgst);
	end_of_data(m);
}

/* Copies payload to where the command's cursor is. n ≤ rx_left. */
static void place_payload(struct nofi_machine *m, const uint8_t *data, size_t n)
{
	struct nofi_cmd *cmd = &m->cmds[m->rx_slot];

	m->rx_left -= (uint32_t)n;
	while (n) {
		size_t room = cmd->iov->iov_len - cmd->iov_off;
		size_t piece = n < room ? n : room;
		uint8_t *to;

		/* An empty element may have no base: nothing may be computed from it. */
		if (piece) {
			to = (uint8_t *)cmd->iov->iov_base + cmd->iov_off;
			if (m->pp.ddgst)
				m->rx_crc = nofi_crc32c_copy(m->rx_crc, to, data, piece);
			else
				memcpy(to, data, piece);
		}
		data += piece;
		n -= piece;
		cmd->iov_off += piece;
		if (piece == room) {
			cmd->iov++;
			cmd->iov_off = 0;
		}
	}
}

/*
 * A usual C2HData of which all is there, payload and digest. Returns how much that is, 0 if it
 * was refused.
 */
static size_t on_whole_data(struct nofi_machine *m, const uint8_t *payload)
{
	size_t len = m->pdu.data_len, all = m->pdu.plen - m->pdu.head_len;
	struct nofi_cmd *cmd;
	uint8_t *to;
	size_t room;

	on_c2hdata(m, 0);
	if (m->rx_state != NOFI_RX_DATA)
		return 0;
	cmd = &m->cmds[m->rx_slot];
	room = cmd->iov->iov_len - cmd->iov_off;
	if (len > room) {
		place_payload(m, payload, len);
	} else {
		to = (uint8_t *)cmd->iov->iov_base + cmd->iov_off;
		if (m->pp.ddgst)
			m->rx_crc = nofi_crc32c_copy(m->rx_crc, to, payload, len);
		else
			memcpy(to, payload, len);
		cmd->iov_off += len;
		m->rx_left = 0;
		if (len == room) {
			cmd->iov++;
			cmd->iov_off = 0;
		}
	}
	if (m->pp.ddgst)
		judge_ddgst(m, cmd, payload + len);
	end_of_data(m);
	return all;
}

/* A header is complete in memory; used = its bytes without pad. */
static void on_head(struct nofi_machine *m, size_t used)
{
	switch (m->pdu.type) {
	case NOFI_PDU_C2H_DATA:
		on_c2hdata(m, (uint32_t)(m->pdu.head_len - used));
		break;
	case NOFI_PDU_CAPSULE_RESP:
		on_resp(m);
		break;
	case NOFI_PDU_R2T:
		on_r2t(m);
		break;
	case NOFI_PDU_ICRESP:
		on_icresp(m);
		break;
	case NOFI_PDU_C2H_TERM:
		on_term(m);
		break;
	}
}

/*
 * A header that was refused, as far as it has come: HLEN says where it ends, where
 * that is believable; of another type's header the common part is all we know.
 */
static void fatal_head(struct nofi_machine *m, const struct nofi_pdu_error *pe,
		       const uint8_t *head, size_t len)
{
	size_t hlen = len > 2 && head[2] >= NOFI_CH_LEN && head[2] <= NOFI_IC_LEN ? head[2] :
		      NOFI_CH_LEN;

	nofi_machine_fatal(m, pe, head, len < hlen ? len : hlen);
}

/* Header bytes: parsed in place when all are there, else collected. Returns bytes used. */
static size_t rx_head(struct nofi_machine *m, const uint8_t *data, size_t len)
{
	struct nofi_pdu_error pe;
	size_t need = 0, take, used = 0;
	int r;

	if (!m->rx_have) {
		r = nofi_pdu_parse(&m->pp, data, len, &m->pdu, &need, &pe);
		if (r > 0) {
			on_head(m, (size_t)r);
			return (size_t)r;
		}
		if (r < 0) {
			fatal_head(m, &pe, data, len);
			return len;
		}
		memcpy(m->rx_head, data, len);	/* fewer than a header takes */
		m->rx_have = (uint16_t)len;
		return len;
	}
	for (;;) {
		r = nofi_pdu_parse(&m->pp, m->rx_head, m->rx_have, &m->pdu, &need, &pe);
		if (r != 0 || used == len)
			break;
		take = need - m->rx_have;
		if (take > len - used)
			take = len - used;
		memcpy(m->rx_head + m->rx_have, data + used, take);
		m->rx_have = (uint16_t)(m->rx_have + take);
		used += take;
	}
	if (r > 0) {
		m->rx_have = 0;
		on_head(m, (size_t)r);
	} else if (r < 0) {
		fatal_head(m, &pe, m->rx_head, m->rx_have);
	}
	return used;
}

/* ---- what comes by the million ---- */

/* First 8 bytes of the header of a CapsuleResp, without a digest. */
#define USUAL_RESP (NOFI_PDU_CAPSULE_RESP | (uint64_t)NOFI_CAPSULE_RESP_HLEN << 16 | \
		    (uint64_t)NOFI_CAPSULE_RESP_HLEN << 32)

/*
 * A CapsuleResp that says success to a command of which all is done. True: it is taken. False
 * proves nothing and changed nothing. at: 24 bytes.
 */
static inline bool usual_resp(struct nofi_machine *m, const uint8_t *at, struct nofi_cpl *ok)
{
	uint64_t tail = nofi_get64(at + 16);	/* SQHD, SQID, CID, status */
	uint16_t cid = (uint16_t)(tail >> 32), slot = cid & m->slot_mask;
	struct nofi_cmd *cmd = &m->cmds[slot];

	/* Bit 48 is the phase tag, which means nothing here. */
	if (NOFI_UNLIKELY(slot >= m->used || cmd->cid != cid || cmd->state != NOFI_SLOT_SENT ||
			  tail >> 49 || (m->is_sqflow && (uint16_t)tail > m->entries) ||
			  !nofi_xfer_is_whole(&cmd->xfer) || cmd->is_in_fifo || cmd->tx_refs ||
			  m->tx_cur == slot))
		return false;
	ok->result = nofi_get64(at + 8);
	nofi_machine_finish(m, cmd, ok);
	return true;
}

/*
 * A C2HData that has all data of its read, all of which is there and goes into one piece of
 * memory. Returns the bytes used, and what is left to do is the end of the PDU; 0: as above.
 * One comparison each for the header's first 8 bytes, and for DATAO and DATAL.
 */
static inline size_t usual_read(struct nofi_machine *m, const uint8_t *at, size_t len,
				uint64_t head)
{
	uint16_t cid = nofi_get16(at + 8), slot = cid & m->slot_mask;
	struct nofi_cmd *cmd = &m->cmds[slot];
	uint32_t length;
	uint8_t *to;

	if (NOFI_UNLIKELY(slot >= m->used || cmd->cid != cid || cmd->state != NOFI_SLOT_SENT ||
			  cmd->xfer.dir != NOFI_DIR_READ || cmd->xfer.received))
		return 0;
	length = cmd->xfer.length;
	if (NOFI_UNLIKELY((head & ~((uint64_t)NOFI_PDU_F_SUCCESS << 8)) !=
			  m->pp.usual_read + ((uint64_t)length << 32) ||
			  nofi_get64(at + 12) != (uint64_t)length << 32 ||
			  len - NOFI_DATA_HLEN < length ||
			  cmd->iov->iov_len - cmd->iov_off < length))
		return 0;
	to = (uint8_t *)cmd->iov->iov_base + cmd->iov_off;
	/* The cursor is left behind: no byte of this read may come any more. */
	cmd->xfer.received = length;
	cmd->xfer.is_last_seen = true;
	memcpy(to, at + NOFI_DATA_HLEN, length);
	if (NOFI_UNLIKELY(head & (uint64_t)NOFI_PDU_F_SUCCESS << 8)) {
		m->rx_slot = slot;
		m->pdu.flags = NOFI_PDU_F_LAST | NOFI_PDU_F_SUCCESS;
		end_of_data(m);
	}
	return NOFI_DATA_HLEN + length;
}

/* ---- any other ---- */

/* The header of a PDU, or a part of one; of a usual one all that is there. Bytes used. */
__attribute__((noinline))
static size_t rx_pdu(struct nofi_machine *m, const uint8_t *data, size_t len)
{
	size_t n = m->rx_have ? 0 : nofi_pdu_usual(&m->pp, data, len, &m->pdu);

	if (!n)
		return rx_head(m, data, len);
	if (m->pdu.type == NOFI_PDU_CAPSULE_RESP)
		on_resp(m);
	else if (len < m->pdu.plen)
		on_c2hdata(m, 0);
	else
		n += on_whole_data(m, data + n);
	return n;
}

/* In the middle of a PDU with data. Returns the bytes used. */
static size_t rx_data(struct nofi_machine *m, const uint8_t *data, size_t len)
{
	size_t n = len < m->rx_left ? len : m->rx_left;

	switch (m->rx_state) {
	case NOFI_RX_PAD:
		m->rx_left -= (uint32_t)n;
		if (!m->rx_left) {
			m->rx_state = NOFI_RX_DATA;
			m->rx_left = m->pdu.data_len;
		}
		break;
	case NOFI_RX_DATA:
		place_payload(m, data, n);
		if (!m->rx_left)
			end_of_payload(m);
		break;
	case NOFI_RX_DDGST:
		memcpy(m->rx_ddgst + NOFI_DIGEST_LEN - m->rx_left, data, n);
		m->rx_left -= (uint32_t)n;
		if (!m->rx_left)
			end_of_ddgst(m);
		break;
	}
	return n;
}

void nofi_machine_rx(struct nofi_machine *m, const uint8_t *data, size_t len)
{
	struct nofi_cpl ok = { .detail = "" };

	while (len && !m->is_stopped) {
		size_t n = 0;

		if (m->rx_state != NOFI_RX_HEAD) {
			n = rx_data(m, data, len);
		} else if (NOFI_LIKELY(len >= NOFI_DATA_HLEN && !m->rx_have && m->pp.usual_read)) {
			uint64_t head = nofi_get64(data);

			if (head != USUAL_RESP)
				n = usual_read(m, data, len, head);
			else if (usual_resp(m, data, &ok))
				n = NOFI_CAPSULE_RESP_HLEN;
		}
		if (NOFI_UNLIKELY(!n))
			n = rx_pdu(m, data, len);
		data += n;
		len -= n;
	}
}

/*
 * Where large payloads come one behind the other, staging that is offered whole would take the
 * next of them with its header, as often as it happens to hold whole PDUs all of them: no more
 * than the header is wanted there.
 */
uint32_t nofi_machine_stage(struct nofi_machine *m)
{
	if (m->pdu.data_len)
		m->is_rx_large = m->pdu.data_len >= NOFI_DIRECT_MIN;
	return m->is_rx_large ? NOFI_TAIL_LEN : NOFI_STAGING_LEN;
}

unsigned nofi_machine_place(struct nofi_machine *m, struct iovec *iov, unsigned max)
{
	const struct nofi_cmd *cmd;
	const struct iovec *src;
	size_t off, left = m->rx_left;
	unsigned n = 0;

	if (m->is_stopped)	/* the buffers are the callers' again, or soon */
		return 0;
	if (m->rx_state != NOFI_RX_DATA || left < NOFI_DIRECT_MIN)
		return 0;
	cmd = &m->cmds[m->rx_slot];
	src = cmd->iov;
	off = cmd->iov_off;
	while (left && n < max) {
		size_t piece = src->iov_len - off;

		if (piece > left)
			piece = left;
		if (piece) {
			iov[n].iov_base = (uint8_t *)src->iov_base + off;
			iov[n++].iov_len = piece;
		}
		left -= piece;
		src++;
		off = 0;
	}
	/* More pieces than one receive takes: tails would land before them. */
	return left ? 0 : n;
}

void nofi_machine_rx_direct(struct nofi_machine *m, size_t len)
{
	struct nofi_cmd *cmd;

	if (m->is_stopped)
		return;
	cmd = &m->cmds[m->rx_slot];
	m->rx_left -= (uint32_t)len;
	while (len) {
		size_t room = cmd->iov->iov_len - cmd->iov_off;
		size_t piece = len < room ? len : room;

		if (m->pp.ddgst && piece)
			m->rx_crc = nofi_crc32c_update(m->rx_crc,
				(uint8_t *)cmd->iov->iov_base + cmd->iov_off, piece);
		len -= piece;
		cmd->iov_off += piece;
		if (piece == room) {
			cmd->iov++;
			cmd->iov_off = 0;
		}
	}
	if (!m->rx_left)
		end_of_payload(m);
}
