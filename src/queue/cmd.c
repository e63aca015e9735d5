/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The CID table: slots, generations, deadlines, and the one place where a
 * command completes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "queue/machine.h"

/* Offsets in an SQE. */
enum { SQE_FLAGS = 1, SQE_CID = 2, SQE_NSID = 4, SQE_SGL = 24, SQE_CDW10 = 40 };

enum { STATUS_CODE = 0x7ff };	/* SCT and SC: 0 is success */
enum { REFILL = 15 };		/* new slots at a time: less than a page of them */

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
	m->first = m->last = m->tx_head = m->tx_tail = m->tx_cur = m->rx_slot = NOFI_NO_SLOT;
	m->wait_tail = &m->wait_head;
	while ((1u << m->cid_bits) < slots)
		m->cid_bits++;
	m->slot_mask = (uint16_t)((1u << m->cid_bits) - 1);
	m->cmds = aligned_alloc(64, slots * sizeof(*m->cmds));
	m->free = malloc(slots * sizeof(*m->free));
	if (!m->cmds || !m->free) {
		nofi_machine_free(m);
		return -ENOMEM;
	}
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

void nofi_machine_free(struct nofi_machine *m)
{
	free(m->cmds);
	free(m->free);
	m->cmds = NULL;
	m->free = NULL;
}

uint32_t nofi_machine_room(const struct nofi_machine *m)
{
	uint32_t n = nofi_machine_unused(m);

	return n > m->reserved ? n - m->reserved : 0;
}

int nofi_machine_take(struct nofi_machine *m, uint32_t flags, struct nofi_cmd_desc *d)
{
	struct nofi_cmd *cmd;
	uint16_t slot;

	if (m->is_stopped || !m->pp.is_ready)
		return -ENOTCONN;
	if (!(flags & NOFI_CMD_RESERVED ? nofi_machine_unused(m) : nofi_machine_room(m)))
		return -EAGAIN;
	if (!m->free_count)
		(void)nofi_machine_refill(m);
	slot = m->free[--m->free_count];
	cmd = &m->cmds[slot];
	memset(cmd->sqe, 0, sizeof(cmd->sqe));
	*d = (struct nofi_cmd_desc){ .sqe = cmd->sqe, .flags = flags, .slot = slot };
	return 0;
}

/* A new generation for every use, so that a late answer to the last one is not believed. */
static uint16_t next_cid(const struct nofi_machine *m, const struct nofi_cmd *cmd)
{
	uint16_t cid = (uint16_t)(cmd->cid + (1u << m->cid_bits));

	/* FFFFh means "no command" in other places of NVMe: never used. */
	return cid == 0xffff ? (uint16_t)(cid + (1u << m->cid_bits)) : cid;
}

/* Sorted by deadline. New ones nearly always belong at the end: the timeout rarely changes. */
static inline void timed_insert(struct nofi_machine *m, struct nofi_cmd *cmd)
{
	uint16_t slot = nofi_cmd_slot(m, cmd), prev = m->last;

	while (prev != NOFI_NO_SLOT && m->cmds[prev].deadline > cmd->deadline)
		prev = m->cmds[prev].prev;
	cmd->prev = prev;
	cmd->next = prev == NOFI_NO_SLOT ? m->first : m->cmds[prev].next;
	if (prev != NOFI_NO_SLOT)
		m->cmds[prev].next = slot;
	else
		m->first = slot;
	if (cmd->next != NOFI_NO_SLOT)
		m->cmds[cmd->next].prev = slot;
	else
		m->last = slot;
	cmd->is_timed = true;
}

static void timed_remove(struct nofi_machine *m, struct nofi_cmd *cmd)
{
	if (!cmd->is_timed)
		return;
	if (cmd->prev != NOFI_NO_SLOT)
		m->cmds[cmd->prev].next = cmd->next;
	else
		m->first = cmd->next;
	if (cmd->next != NOFI_NO_SLOT)
		m->cmds[cmd->next].prev = cmd->prev;
	else
		m->last = cmd->prev;
	cmd->is_timed = false;
}

/* Everything of a command that does not depend on what it does: its slot goes to the fifo. */
static inline void enqueue(struct nofi_machine *m, struct nofi_cmd *cmd, const struct iovec *iov,
			   size_t skip, uint32_t length, enum nofi_dir dir, uint32_t limit)
{
	bool is_incapsule = dir == NOFI_DIR_WRITE && length && length <= limit;

	cmd->cid = next_cid(m, cmd);
	nofi_xfer_init(&cmd->xfer, length ? dir : NOFI_DIR_NONE, length, is_incapsule);
	while (length && skip >= iov->iov_len) {
		skip -= iov->iov_len;
		iov++;
	}
	cmd->iov = iov;
	cmd->iov_off = skip;
	cmd->error = 0;
	cmd->detail = "";
	cmd->state = NOFI_SLOT_QUEUED;
	cmd->is_late = false;

	/* T-10: exactly one SGL descriptor */
	cmd->sqe[SQE_FLAGS] = (uint8_t)((cmd->sqe[SQE_FLAGS] & 0x3f) | NOFI_SQE_PSDT_SGL);
	nofi_put16(cmd->sqe + SQE_CID, cmd->cid);
	nofi_put32(cmd->sqe + SQE_SGL + 8, length);
	cmd->sqe[SQE_SGL + 15] = is_incapsule ? NOFI_SGL_INCAPSULE : NOFI_SGL_TRANSPORT;
	if (cmd->deadline)
		timed_insert(m, cmd);
	nofi_machine_tx_push(m, cmd);
}

void nofi_machine_send(struct nofi_machine *m, const struct nofi_cmd_desc *d, uint64_t deadline)
{
	struct nofi_cmd *cmd = &m->cmds[d->slot];

	cmd->done = d->done;
	cmd->arg = d->arg;
	cmd->timeout_ms = d->timeout_ns ? (uint32_t)(d->timeout_ns / 1000000) : 0;
	cmd->deadline = d->flags & NOFI_CMD_NO_TIMEOUT ? 0 : deadline;
	enqueue(m, cmd, d->iov, d->iov_skip, d->length, d->dir,
		d->flags & NOFI_CMD_FABRICS ? NOFI_ADMIN_INCAPSULE : m->incapsule_max);
}

bool nofi_machine_rw(struct nofi_machine *m, const struct nofi_rw *rw, uint64_t deadline)
{
	struct nofi_cmd *cmd;

	if (m->is_stopped || !m->pp.is_ready)
		return false;
	/* Used for I/O queues, where nothing is reserved. */
	if (m->free_count <= m->reserved && !nofi_machine_refill(m))
		return false;
	cmd = &m->cmds[m->free[--m->free_count]];
	memset(cmd->sqe, 0, sizeof(cmd->sqe));
	cmd->sqe[0] = rw->opcode;
	nofi_put32(cmd->sqe + SQE_NSID, rw->nsid);
	nofi_put32(cmd->sqe + SQE_CDW10, rw->cdw10);
	nofi_put32(cmd->sqe + SQE_CDW10 + 4, rw->cdw11);
	nofi_put32(cmd->sqe + SQE_CDW10 + 8, rw->cdw12);
	cmd->done = rw->done;
	cmd->arg = rw->arg;
	cmd->timeout_ms = 0;
	cmd->deadline = deadline;
	enqueue(m, cmd, rw->iov, rw->iov_skip, rw->length, rw->dir, m->incapsule_max);
	return true;
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
	cmd->iov = iov;
	cmd->iov_off = 0;
	cmd->done = done;
	cmd->arg = arg;
	return true;
}

uint64_t nofi_machine_deadline(const struct nofi_machine *m)
{
	return m->first == NOFI_NO_SLOT ? 0 : m->cmds[m->first].deadline;
}

const struct nofi_cmd *nofi_machine_oldest(const struct nofi_machine *m)
{
	return m->first == NOFI_NO_SLOT ? NULL : &m->cmds[m->first];
}

bool nofi_machine_extend(struct nofi_machine *m, uint64_t deadline, uint16_t *cid, uint8_t *opcode)
{
	struct nofi_cmd *cmd = &m->cmds[m->first];

	if (cmd->is_late)
		return false;
	timed_remove(m, cmd);
	cmd->is_late = true;
	cmd->deadline = deadline;
	timed_insert(m, cmd);
	*cid = cmd->cid;
	*opcode = cmd->sqe[0];
	return true;
}

/* The only way a command ends. The slot is free before the caller hears of it. */
static void finish(struct nofi_machine *m, struct nofi_cmd *cmd, const struct nofi_cpl *cpl)
{
	nofi_cmd_done_fn *done = cmd->done;
	void *arg = cmd->arg;

	timed_remove(m, cmd);
	cmd->state = NOFI_SLOT_FREE;
	cmd->xfer.dir = NOFI_DIR_NONE;
	m->free[m->free_count++] = nofi_cmd_slot(m, cmd);
	done(arg, cpl);
}

void nofi_machine_answer(struct nofi_machine *m, struct nofi_cmd *cmd, uint16_t cqe_status,
			 uint64_t result)
{
	struct nofi_cpl cpl = { .status = cqe_status, .result = result, .detail = "" };
	struct nofi_pdu_error pe;
	int r = nofi_xfer_is_whole_read(&cmd->xfer, cqe_status) ? 0 :
		nofi_xfer_end(&cmd->xfer, cqe_status, &pe);

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
	m->sent_count--;
	if (cmd->is_in_fifo)
		nofi_machine_tx_remove(m, cmd);
	if (cmd->tx_refs || m->tx_cur == nofi_cmd_slot(m, cmd)) {
		/* T-16: the answer overtook our own send; its payload is still named there. */
		cmd->state = NOFI_SLOT_FINISHED;
		cmd->status = cpl.status;
		cmd->result = cpl.result;
		cmd->error = cpl.error;
		cmd->detail = cpl.detail;
		return;
	}
	finish(m, cmd, &cpl);
}

/* An answer that came is the truth, even if nobody heard of it yet. */
static void finish_own(struct nofi_machine *m, struct nofi_cmd *cmd)
{
	struct nofi_cpl own = { .error = cmd->error, .status = cmd->status,
				.result = cmd->result, .detail = cmd->detail };

	finish(m, cmd, &own);
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
	own.is_unsent = cmd->state == NOFI_SLOT_QUEUED;
	if (cmd->state == NOFI_SLOT_FINISHED)
		finish_own(m, cmd);
	else
		finish(m, cmd, &own);
}

void nofi_machine_fail(struct nofi_machine *m, const struct nofi_err *err)
{
	struct nofi_cpl cpl = { .error = err->code, .detail = err->text };

	m->is_stopped = true;
	m->tx_head = m->tx_tail = m->tx_cur = NOFI_NO_SLOT;
	for (struct nofi_waiter *w = m->wait_head; w; w = w->next)
		w->is_queued = false;
	m->wait_head = NULL;
	m->wait_tail = &m->wait_head;
	/* In the order of their deadlines; then those without. */
	while (m->first != NOFI_NO_SLOT)
		fail_one(m, &m->cmds[m->first], &cpl);
	for (unsigned i = 0; i < m->used; i++)
		if (m->cmds[i].state != NOFI_SLOT_FREE)
			fail_one(m, &m->cmds[i], &cpl);
}

void nofi_machine_notify(struct nofi_machine *m)
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
