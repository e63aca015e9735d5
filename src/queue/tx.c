/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transmit: the fifo of commands that have a capsule or an answer to an R2T to
 * send becomes one gathered batch. A PDU whose payload does not fit continues in
 * the next batch, so iovecs of any shape work without copying or allocating.
 */
#include <stdlib.h>

#include "lines.h"
#include "pdu/crc32c.h"
#include "queue/engine.h"
#include "queue/machine.h"

enum { POOL_MAX = 64 };		/* free batches a loop keeps */

struct nofi_batch *nofi_batch_take(struct nof_loop *loop)
{
	struct nofi_batch *b = loop->batches;

	if (b) {
		loop->batches = b->next;
		loop->batches_free--;
	} else {
		b = nofi_alloc_lines(sizeof(*b));
		if (!b)
			return NULL;
	}
	b->len = 0;
	b->iovs = b->refs = b->arena_used = 0;
	return b;
}

void nofi_batch_put(struct nof_loop *loop, struct nofi_batch *b)
{
	if (!b)
		return;
	if (loop->batches_free == POOL_MAX) {
		free(b);
		return;
	}
	b->next = loop->batches;
	loop->batches = b;
	loop->batches_free++;
}

void nofi_batches_free(struct nof_loop *loop)
{
	struct nofi_batch *b;

	while ((b = loop->batches)) {
		loop->batches = b->next;
		free(b);
	}
}

static struct nofi_cmd *tx_pop(struct nofi_machine *m)
{
	struct nofi_cmd *cmd = &m->cmds[m->fifo[m->fifo_head++ & m->fifo_mask]];

	cmd->is_in_fifo = false;
	return cmd;
}

/* Rare: a command failed while its R2T waited to be answered. */
void nofi_machine_tx_remove(struct nofi_machine *m, struct nofi_cmd *cmd)
{
	uint16_t slot = nofi_cmd_slot(m, cmd), i = m->fifo_head;

	while (m->fifo[i & m->fifo_mask] != slot)
		i++;
	for (; (uint16_t)(i + 1) != m->fifo_tail; i++)
		m->fifo[i & m->fifo_mask] = m->fifo[(i + 1) & m->fifo_mask];
	m->fifo_tail--;
	cmd->is_in_fifo = false;
}

bool nofi_machine_has_tx(const struct nofi_machine *m)
{
	return !m->is_stopped && (m->fifo_head != m->fifo_tail || m->tx_cur != NOFI_NO_SLOT);
}

/* ---- SQEs of reads and writes ---- */

static inline void put_rw_sqe(const struct nofi_cmd *cmd, const struct nofi_rw *rw, uint8_t *sqe)
{
	uint64_t sgl = cmd->xfer.is_incapsule ? NOFI_SGL_INCAPSULE : NOFI_SGL_TRANSPORT;

	nofi_put64(sqe, rw->opcode | NOFI_SQE_PSDT_SGL << 8 | (uint32_t)cmd->cid << 16 |
		   (uint64_t)rw->nsid << 32);
	memset(sqe + 8, 0, 24);
	/* T-10: exactly one SGL descriptor, of address or offset 0 */
	nofi_put64(sqe + 32, cmd->xfer.length | sgl << 56);
	nofi_put64(sqe + 40, rw->cdw[0] | (uint64_t)rw->cdw[1] << 32);
	nofi_put64(sqe + 48, rw->cdw[2]);
	nofi_put64(sqe + 56, 0);
}

void nofi_machine_sqe_of_rw(const struct nofi_machine *m, const struct nofi_cmd *cmd,
			    uint8_t *sqe)
{
	(void)m;
	put_rw_sqe(cmd, cmd->rw, sqe);
}

/* It is sent: from here on the cursor stands where the nofi_rw was named. */
static inline void start_rw(struct nofi_cmd *cmd, const struct nofi_rw *rw)
{
	const struct iovec *iov = rw->iov;
	size_t skip = rw->iov_skip;

	while (cmd->xfer.length && NOFI_UNLIKELY(skip >= iov->iov_len))
		skip -= iov++->iov_len;
	cmd->iov = iov;
	cmd->iov_off = skip;
}

/* Names as much of the current payload as fits. True: all of it. */
static bool add_payload(struct nofi_machine *m, struct nofi_batch *b)
{
	struct nofi_cmd *cmd = &m->cmds[m->tx_cur];
	bool is_ref = false;

	while (m->tx_left && b->iovs < NOFI_BATCH_IOVS - 1 && b->len < NOFI_BATCH_BYTES) {
		size_t room = cmd->iov->iov_len - cmd->iov_off;
		size_t piece = m->tx_left < room ? m->tx_left : room;
		uint8_t *p;

		if (piece > NOFI_BATCH_BYTES - b->len)
			piece = NOFI_BATCH_BYTES - b->len;

		/* An empty element may have no base: nothing may be computed from it. */
		if (piece) {
			p = (uint8_t *)cmd->iov->iov_base + cmd->iov_off;
			if (m->is_tx_ddgst)
				m->tx_crc = nofi_crc32c_update(m->tx_crc, p, piece);
			nofi_batch_add(b, p, piece);
			is_ref = true;
		}
		m->tx_left -= (uint32_t)piece;
		cmd->iov_off += piece;
		if (piece == room) {
			cmd->iov++;
			cmd->iov_off = 0;
		}
	}
	if (is_ref) {
		cmd->tx_refs++;
		b->ref[b->refs++] = m->tx_cur;
	}
	return !m->tx_left;
}

static void add_arena(struct nofi_batch *b, size_t len)
{
	nofi_batch_add(b, b->arena + b->arena_used, len);
	b->arena_used += (unsigned)len;
}

/* The current PDU is named up to its end: digest, and what comes next for the command. */
static void end_pdu(struct nofi_machine *m, struct nofi_batch *b)
{
	struct nofi_cmd *cmd = &m->cmds[m->tx_cur];

	if (m->is_tx_ddgst) {
		nofi_put32(b->arena + b->arena_used, nofi_crc32c_final(m->tx_crc));
		add_arena(b, NOFI_DIGEST_LEN);
	}
	m->tx_cur = NOFI_NO_SLOT;
	/* The answer may have come meanwhile: nothing more is sent for it then. */
	if (cmd->xfer.r2t_count && cmd->state == NOFI_SLOT_SENT && !cmd->is_in_fifo)
		nofi_machine_tx_push(m, cmd);
}

/* Writes the next header of cmd; starts its payload if it has one. */
static void start_pdu(struct nofi_machine *m, struct nofi_batch *b, struct nofi_cmd *cmd)
{
	uint8_t *out = b->arena + b->arena_used;
	uint32_t data_len = 0;
	struct nofi_h2c h2c;

	if (cmd->state != NOFI_SLOT_SENT) {
		uint8_t made[NOFI_SQE_LEN], *sqe = m->sqes[nofi_cmd_slot(m, cmd)];

		if (cmd->state == NOFI_SLOT_QUEUED_RW) {
			sqe = made;
			put_rw_sqe(cmd, cmd->rw, sqe);
			start_rw(cmd, cmd->rw);
		}
		if (cmd->xfer.is_incapsule)
			data_len = cmd->xfer.length;
		add_arena(b, nofi_enc_capsule_cmd(out, &m->pp, sqe, data_len));
		cmd->state = NOFI_SLOT_SENT;
	} else if (nofi_xfer_next_h2c(&cmd->xfer, &m->pp, &h2c)) {
		data_len = h2c.datal;
		add_arena(b, nofi_enc_h2cdata(out, &m->pp, cmd->cid, h2c.ttag, h2c.datao,
					      h2c.datal, h2c.is_last));
	}
	if (!data_len)
		return;
	m->tx_cur = nofi_cmd_slot(m, cmd);
	m->tx_left = data_len;
	m->is_tx_ddgst = m->pp.ddgst;
	m->tx_crc = NOFI_CRC32C_INIT;
}

/*
 * By the million: commands made of a nofi_rw, with all of their data in one piece or without,
 * where nothing but constants stands before the SQE and the data. Until something else is at the
 * head of the fifo.
 */
static void add_usual(struct nofi_machine *m, struct nofi_batch *b)
{
	const uint8_t *end = b->arena + NOFI_BATCH_ARENA - NOFI_PDU_ENC_MAX - NOFI_DIGEST_LEN;
	uint8_t *run = b->arena + b->arena_used, *out = run;
	uint16_t head = m->fifo_head;

	if (m->pp.hdgst || b->iovs + 3 > NOFI_BATCH_IOVS || b->len >= NOFI_BATCH_BYTES)
		return;
	for (; head != m->fifo_tail && out <= end; head++) {
		uint16_t slot = m->fifo[head & m->fifo_mask];
		struct nofi_cmd *cmd = &m->cmds[slot];
		const struct nofi_rw *rw = cmd->rw;
		uint64_t ch = NOFI_PDU_CAPSULE_CMD | NOFI_CAPSULE_CMD_HLEN << 16 |
			      (uint64_t)NOFI_CAPSULE_CMD_HLEN << 32;
		bool has_data = cmd->xfer.is_incapsule;

		if (cmd->state != NOFI_SLOT_QUEUED_RW)
			break;
		if (has_data) {
			size_t skip = rw->iov_skip;

			if (!m->usual_write || skip >= rw->iov->iov_len ||
			    rw->iov->iov_len - skip < rw->length ||
			    b->iovs + 4 > NOFI_BATCH_IOVS || b->refs == NOFI_BATCH_REFS ||
			    b->len >= NOFI_BATCH_BYTES)
				break;
			ch = m->usual_write + ((uint64_t)rw->length << 32);
		}
		nofi_put64(out, ch);
		put_rw_sqe(cmd, rw, out + NOFI_CH_LEN);
		out += NOFI_CAPSULE_CMD_HLEN;
		start_rw(cmd, rw);
		cmd->state = NOFI_SLOT_SENT;
		cmd->is_in_fifo = false;
		if (has_data) {
			add_arena(b, (size_t)(out - run));
			run = out;
			nofi_batch_add(b, (uint8_t *)rw->iov->iov_base + rw->iov_skip,
				       rw->length);
			cmd->iov_off += rw->length;
			cmd->tx_refs++;
			b->ref[b->refs++] = slot;
		}
	}
	m->fifo_head = head;
	if (out != run)
		add_arena(b, (size_t)(out - run));
}

bool nofi_machine_tx_build(struct nofi_machine *m, struct nofi_batch *b)
{
	while (!m->is_stopped) {
		if (m->tx_cur == NOFI_NO_SLOT)
			add_usual(m, b);
		if (b->arena_used + NOFI_PDU_ENC_MAX + NOFI_DIGEST_LEN > NOFI_BATCH_ARENA ||
		    b->iovs + 3 > NOFI_BATCH_IOVS || b->refs == NOFI_BATCH_REFS ||
		    b->len >= NOFI_BATCH_BYTES)
			break;
		if (m->tx_cur == NOFI_NO_SLOT) {
			if (m->fifo_head == m->fifo_tail)
				break;
			start_pdu(m, b, tx_pop(m));
			if (m->tx_cur == NOFI_NO_SLOT)
				continue;
		}
		if (!add_payload(m, b))
			break;
		end_pdu(m, b);
	}
	if (!b->len)
		return false;
	b->msg = (struct msghdr){ .msg_iov = b->iov, .msg_iovlen = b->iovs };
	return true;
}
