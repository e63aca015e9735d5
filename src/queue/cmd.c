/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The CID table: slots, generations, deadlines, and the one place where a
 * command completes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lines.h"
#include "queue/machine.h"

/* Offsets in an SQE. */
enum { SQE_FLAGS = 1, SQE_CID = 2, SQE_SGL = 24 };

enum { STATUS_CODE = 0x7ff };	/* SCT and SC: 0 is success */
enum { REFILL = 31 };		/* new slots at a time: less than a page of them */

int nofi_machine_init(struct nofi_machine *m, const struct nofi_machine_ops *ops,
		      const struct nofi_queue_opts *o)
{
	uint32_t slots = o->entries - 1;

	if (o->entries < 2 || o->entries > 4096)
		return -EINVAL;
	memset(m, 0, sizeof(*m));
	m->ops = ops;
	m->pp.maxr2t = o->maxr2t < 1 ? 1 : o->maxr2t > NOFI_R2T_MAX ? NOFI_R2T_MAX : o->maxr2t;
	m->hdgst = o->hdgst;
	m->ddgst = o->ddgst;
	m->entries = o->entries;
	m->incapsule_max = o->incapsule_max;
	m->is_sqflow = !o->disable_sqflow;
	m->slots = (uint16_t)slots;
	m->reserved = o->qid == 0 && slots > 4 ? 1 : 0;
	m->rw_floor = UINT16_MAX;
	m->tx_cur = m->rx_slot = NOFI_NO_SLOT;
	m->wait_tail = &m->wait_head;
	m->cid_step = 1;
	while (m->cid_step < slots)
		m->cid_step = (uint16_t)(m->cid_step << 1);
	m->slot_mask = m->fifo_mask = (uint16_t)(m->cid_step - 1);
	m->fifo_half = (uint16_t)((slots + 1) / 2);
	m->cmds = nofi_alloc_lines(slots * sizeof(*m->cmds));
	m->sqes = nofi_alloc_lines(slots * sizeof(*m->sqes));
	m->free = nofi_alloc_lines((slots + m->cid_step) * sizeof(*m->free));
	if (!m->cmds || !m->sqes || !m->free) {
		nofi_machine_free(m);
		return -ENOMEM;
	}
	m->fifo = m->free + slots;
	return 0;
}

/*
 * A queue that is never deeper than this touches one page of its table; the rest is address
 * space. It is asked when the stack has run short, so that it costs the usual command nothing.
 */
bool nofi_machine_refill(struct nofi_machine *m)
{
	uint16_t n = m->slots - m->used < REFILL ? (uint16_t)(m->slots - m->used) : REFILL;

	if (!n)
		return false;
	memset(&m->cmds[m->used], 0, n * sizeof(*m->cmds));
	/* What is on the stack is taken after these: it is in the cache no less. */
	for (uint16_t i = n; i--;) {
		uint16_t slot = (uint16_t)(m->used + i);

		m->cmds[slot].cid = slot;
		m->free[m->free_count++] = slot;
	}
	m->used = (uint16_t)(m->used + n);
	return true;
}

bool nofi_machine_rw_refill(struct nofi_machine *m)
{
	/* Used for I/O queues, where nothing is reserved. */
	return m->rw_floor != UINT16_MAX && nofi_machine_refill(m);
}

void nofi_machine_free(struct nofi_machine *m)
{
	free(m->cmds);
	free(m->sqes);
	free(m->free);
	m->cmds = NULL;
	m->sqes = NULL;
	m->free = NULL;
}

uint32_t nofi_machine_room(const struct nofi_machine *m)
{
	uint32_t n = nofi_machine_unused(m);

	return n > m->reserved ? n - m->reserved : 0;
}

int nofi_machine_take(struct nofi_machine *m, uint32_t flags, struct nofi_cmd_desc *d)
{
	uint16_t slot;

	if (m->is_stopped || !m->pp.is_ready)
		return -ENOTCONN;
	if (!(flags & NOFI_CMD_RESERVED ? nofi_machine_unused(m) : nofi_machine_room(m)))
		return -EAGAIN;
	if (!m->free_count)
		(void)nofi_machine_refill(m);
	slot = m->free[--m->free_count];
	memset(m->sqes[slot], 0, sizeof(m->sqes[slot]));
	*d = (struct nofi_cmd_desc){ .sqe = m->sqes[slot], .flags = flags, .slot = slot };
	return 0;
}

/* What the queue puts into an SQE: the CID, and exactly one SGL descriptor (T-10). */
static void complete_sqe(struct nofi_machine *m, const struct nofi_cmd *cmd)
{
	uint8_t *sqe = m->sqes[nofi_cmd_slot(m, cmd)];

	sqe[SQE_FLAGS] = (uint8_t)((sqe[SQE_FLAGS] & 0x3f) | NOFI_SQE_PSDT_SGL);
	nofi_put16(sqe + SQE_CID, cmd->cid);
	nofi_put32(sqe + SQE_SGL + 8, cmd->xfer.length);
	sqe[SQE_SGL + 15] = cmd->xfer.is_incapsule ? NOFI_SGL_INCAPSULE : NOFI_SGL_TRANSPORT;
}

void nofi_machine_send(struct nofi_machine *m, const struct nofi_cmd_desc *d, uint64_t deadline)
{
	uint32_t limit = d->flags & NOFI_CMD_FABRICS ? NOFI_ADMIN_INCAPSULE : m->incapsule_max;
	struct nofi_cmd *cmd = &m->cmds[d->slot];

	cmd->done = d->done;
	cmd->arg = d->arg;
	cmd->timeout_ms = d->timeout_ns ? (uint32_t)(d->timeout_ns / 1000000) : 0;
	cmd->deadline = d->flags & NOFI_CMD_NO_TIMEOUT ? 0 : deadline;
	if (!cmd->deadline)
		m->untimed++;
	cmd->cid = nofi_cmd_next_cid(m, cmd);
	nofi_xfer_init(&cmd->xfer, d->length ? d->dir : NOFI_DIR_NONE, d->length,
		       d->length && d->length <= limit);
	cmd->iov = d->iov;
	cmd->iov_off = d->iov_skip;
	while (d->length && cmd->iov_off >= cmd->iov->iov_len)
		cmd->iov_off -= cmd->iov++->iov_len;
	cmd->state = NOFI_SLOT_QUEUED;
	cmd->opcode = d->sqe[0];
	cmd->is_late = false;
	complete_sqe(m, cmd);
	nofi_machine_tx_push(m, cmd);
}

bool nofi_machine_redirect(struct nofi_machine *m, const void *old, const struct iovec *iov,
			   nofi_cmd_done_fn *done, void *arg)
{
	struct nofi_cmd *cmd;
	unsigned i;

	for (i = 0; i < m->used; i++)
		if (m->cmds[i].state != NOFI_SLOT_FREE && m->cmds[i].arg == old)
			break;
	cmd = &m->cmds[i];
	if (m->is_stopped || i == m->used || cmd->xfer.dir != NOFI_DIR_READ ||
	    cmd->xfer.length >= NOFI_DIRECT_MIN || iov->iov_len < cmd->xfer.length)
		return false;
	/* It may be that of the nofi_rw nothing was read yet, and it will not stay. */
	if (cmd->state == NOFI_SLOT_QUEUED_RW) {
		nofi_machine_sqe_of_rw(m, cmd, m->sqes[i]);
		cmd->state = NOFI_SLOT_QUEUED;
	}
	cmd->iov = iov;
	cmd->iov_off = 0;
	cmd->done = done;
	cmd->arg = arg;
	return true;
}

/* The command whose deadline comes first, of several the one in the lowest slot; NULL: none. */
static struct nofi_cmd *oldest(const struct nofi_machine *m)
{
	struct nofi_cmd *first = NULL;

	if (!nofi_machine_waiting(m))
		return NULL;
	for (struct nofi_cmd *cmd = m->cmds; cmd < m->cmds + m->used; cmd++)
		if (cmd->state != NOFI_SLOT_FREE && cmd->deadline &&
		    (!first || cmd->deadline < first->deadline))
			first = cmd;
	return first;
}

uint64_t nofi_machine_deadline(const struct nofi_machine *m)
{
	const struct nofi_cmd *cmd = oldest(m);

	return cmd ? cmd->deadline : 0;
}

const struct nofi_cmd *nofi_machine_oldest(const struct nofi_machine *m)
{
	return oldest(m);
}

bool nofi_machine_extend(struct nofi_machine *m, uint64_t deadline, uint16_t *cid, uint8_t *opcode)
{
	struct nofi_cmd *cmd = oldest(m);

	if (!cmd || cmd->is_late)
		return false;
	cmd->is_late = true;
	cmd->deadline = deadline;
	*cid = cmd->cid;
	*opcode = cmd->opcode;
	return true;
}

/* An answer that is not simply taken: a failure, or our own send is still under way. */
NOFI_COLD static void answer_odd(struct nofi_machine *m, struct nofi_cmd *cmd,
				 uint16_t cqe_status, uint64_t result)
{
	struct nofi_cpl cpl = { .status = cqe_status, .result = result, .detail = "" };
	struct nofi_pdu_error pe;
	int r = nofi_xfer_end(&cmd->xfer, cqe_status, &pe);

	/* 1.5 line 5: so much was counted as sent, but the stream does not hold all of it yet. */
	if (r == 0 && !(cqe_status & STATUS_CODE) && m->tx_cur == nofi_cmd_slot(m, cmd)) {
		pe = (struct nofi_pdu_error){
			.fes = NOFI_FES_SEQUENCE, .got = cmd->xfer.sent - m->tx_left,
			.want = cmd->xfer.length,
			.what = "a write succeeded before all of its data was sent" };
		r = -EPROTO;
	}
	if (r == -EPROTO) {
		nofi_machine_fatal(m, &pe, m->pdu.raw, m->pdu.hlen);
		return;
	}
	/* M, DNR or CRD beside a success: nobody above may take them for a failure. */
	if (!(cqe_status & STATUS_CODE))
		cpl.status = 0;
	if (r < 0) {
		cpl.error = r;
		cpl.detail = pe.what;
	}
	if (cmd->is_in_fifo)
		nofi_machine_tx_remove(m, cmd);
	if (cmd->tx_refs || m->tx_cur == nofi_cmd_slot(m, cmd)) {
		/*
		 * T-16: the answer overtook our own send; its payload is still named there. That
		 * it is a write, which has no error of its own, makes status and result all.
		 */
		cmd->state = NOFI_SLOT_FINISHED;
		cmd->status = cpl.status;
		cmd->result = cpl.result;
		return;
	}
	nofi_machine_finish(m, cmd, &cpl);
}

void nofi_machine_answer(struct nofi_machine *m, struct nofi_cmd *cmd, uint16_t cqe_status,
			 uint64_t result)
{
	struct nofi_cpl cpl = { .result = result, .detail = "" };

	if (NOFI_LIKELY(!cqe_status && nofi_xfer_is_whole(&cmd->xfer) && !cmd->is_in_fifo &&
			!cmd->tx_refs && m->tx_cur != nofi_cmd_slot(m, cmd)))
		nofi_machine_finish(m, cmd, &cpl);
	else
		answer_odd(m, cmd, cqe_status, result);
}

/* An answer that came is the truth, even if nobody heard of it yet. */
static void finish_own(struct nofi_machine *m, struct nofi_cmd *cmd)
{
	struct nofi_cpl own = { .status = cmd->status, .result = cmd->result, .detail = "" };

	nofi_machine_finish(m, cmd, &own);
}

void nofi_machine_tx_done(struct nofi_machine *m, struct nofi_batch *b)
{
	for (unsigned i = 0; i < b->refs && !m->is_stopped; i++) {
		struct nofi_cmd *cmd = &m->cmds[b->ref[i]];

		cmd->tx_refs--;
		if (cmd->state == NOFI_SLOT_FINISHED && !cmd->tx_refs && m->tx_cur != b->ref[i])
			finish_own(m, cmd);
	}
}

static void fail_one(struct nofi_machine *m, struct nofi_cmd *cmd, const struct nofi_cpl *cpl)
{
	struct nofi_cpl own = *cpl;

	/* Built into a batch it counts as sent: the kernel may have some of it. */
	own.is_unsent = cmd->state == NOFI_SLOT_QUEUED || cmd->state == NOFI_SLOT_QUEUED_RW;
	if (cmd->state == NOFI_SLOT_FINISHED)
		finish_own(m, cmd);
	else
		nofi_machine_finish(m, cmd, &own);
}

void nofi_machine_fail(struct nofi_machine *m, const struct nofi_err *err)
{
	struct nofi_cpl cpl = { .error = err->code, .detail = err->text };
	struct nofi_cmd *cmd;

	nofi_machine_stop(m);
	m->fifo_head = m->fifo_tail;
	m->tx_cur = NOFI_NO_SLOT;
	for (struct nofi_waiter *w = m->wait_head; w; w = w->next)
		w->is_queued = false;
	m->wait_head = NULL;
	m->wait_tail = &m->wait_head;
	/* In the order of their deadlines; then those without. */
	while ((cmd = oldest(m)))
		fail_one(m, cmd, &cpl);
	for (unsigned i = 0; i < m->used; i++)
		if (m->cmds[i].state != NOFI_SLOT_FREE)
			fail_one(m, &m->cmds[i], &cpl);
}

void nofi_machine_tell_waiters(struct nofi_machine *m)
{
	struct nofi_waiter *w;
	unsigned turns = 0;

	/* Each that waits now gets one turn: who waits again goes behind the others. */
	for (w = m->wait_head; w; w = w->next)
		turns++;
	for (; turns; turns--) {
		w = m->wait_head;
		if (!w || m->is_stopped || !nofi_machine_room(m))
			return;
		m->wait_head = w->next;
		if (!m->wait_head)
			m->wait_tail = &m->wait_head;
		w->is_queued = false;
		w->fn(w);
	}
}
