/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transmit: the fifo of commands that have a capsule or an answer to an R2T to
 * send becomes one gathered batch. A PDU whose payload does not fit continues in
 * the next batch, so iovecs of any shape work without copying or allocating.
 */
#include <stdlib.h>

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
		b = malloc(sizeof(*b));
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

void nofi_machine_tx_push(struct nofi_machine *m, struct nofi_cmd *cmd)
{
	uint16_t slot = nofi_cmd_slot(m, cmd);

	if (cmd->is_in_fifo)
		return;
	cmd->is_in_fifo = true;
	cmd->tx_next = NOFI_NO_SLOT;
	if (m->tx_tail != NOFI_NO_SLOT)
		m->cmds[m->tx_tail].tx_next = slot;
	else
		m->tx_head = slot;
	m->tx_tail = slot;
	m->ops->wants_tx(m);
}

static struct nofi_cmd *tx_pop(struct nofi_machine *m)
{
	struct nofi_cmd *cmd = &m->cmds[m->tx_head];

	m->tx_head = cmd->tx_next;
	if (m->tx_head == NOFI_NO_SLOT)
		m->tx_tail = NOFI_NO_SLOT;
	cmd->is_in_fifo = false;
	return cmd;
}

/* Rare: a command failed while its R2T waited to be answered. */
void nofi_machine_tx_remove(struct nofi_machine *m, struct nofi_cmd *cmd)
{
	uint16_t slot = nofi_cmd_slot(m, cmd), prev = NOFI_NO_SLOT, i;

	for (i = m->tx_head; i != slot; i = m->cmds[i].tx_next)
		prev = i;
	if (prev == NOFI_NO_SLOT)
		m->tx_head = cmd->tx_next;
	else
		m->cmds[prev].tx_next = cmd->tx_next;
	if (m->tx_tail == slot)
		m->tx_tail = prev;
	cmd->is_in_fifo = false;
}

bool nofi_machine_has_tx(const struct nofi_machine *m)
{
	return !m->is_stopped && (m->tx_head != NOFI_NO_SLOT || m->tx_cur != NOFI_NO_SLOT);
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
	if (cmd->xfer.r2t_count && cmd->state == NOFI_SLOT_SENT)
		nofi_machine_tx_push(m, cmd);
}

/* Writes the next header of cmd; starts its payload if it has one. */
static void start_pdu(struct nofi_machine *m, struct nofi_batch *b, struct nofi_cmd *cmd)
{
	uint8_t *out = b->arena + b->arena_used;
	uint32_t data_len = 0;
	struct nofi_h2c h2c;

	if (cmd->state == NOFI_SLOT_QUEUED) {
		if (cmd->xfer.is_incapsule)
			data_len = cmd->xfer.length;
		add_arena(b, nofi_enc_capsule_cmd(out, &m->pp, cmd->sqe, data_len));
		cmd->state = NOFI_SLOT_SENT;
		m->sent_count++;
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

/* By the million: capsules without data, until something else is at the head of the fifo. */
static void add_capsules(struct nofi_machine *m, struct nofi_batch *b)
{
	uint8_t *start = b->arena + b->arena_used, *out = start;
	const uint8_t *end = b->arena + NOFI_BATCH_ARENA - NOFI_PDU_ENC_MAX - NOFI_DIGEST_LEN;
	uint32_t n = 0;

	if (b->iovs + 3 > NOFI_BATCH_IOVS || b->len >= NOFI_BATCH_BYTES)
		return;
	while (m->tx_head != NOFI_NO_SLOT && out <= end) {
		struct nofi_cmd *cmd = &m->cmds[m->tx_head];

		if (cmd->state != NOFI_SLOT_QUEUED || cmd->xfer.is_incapsule)
			break;
		out += nofi_enc_capsule_cmd(out, &m->pp, cmd->sqe, 0);
		cmd->state = NOFI_SLOT_SENT;
		cmd->is_in_fifo = false;
		m->tx_head = cmd->tx_next;
		n++;
	}
	if (!n)
		return;
	m->sent_count += n;
	if (m->tx_head == NOFI_NO_SLOT)
		m->tx_tail = NOFI_NO_SLOT;
	add_arena(b, (size_t)(out - start));
}

bool nofi_machine_tx_build(struct nofi_machine *m, struct nofi_batch *b)
{
	while (!m->is_stopped) {
		if (m->tx_cur == NOFI_NO_SLOT)
			add_capsules(m, b);
		if (b->arena_used + NOFI_PDU_ENC_MAX + NOFI_DIGEST_LEN > NOFI_BATCH_ARENA ||
		    b->iovs + 3 > NOFI_BATCH_IOVS || b->refs == NOFI_BATCH_REFS ||
		    b->len >= NOFI_BATCH_BYTES)
			break;
		if (m->tx_cur == NOFI_NO_SLOT) {
			if (m->tx_head == NOFI_NO_SLOT)
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
