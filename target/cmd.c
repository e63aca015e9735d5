/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of one command: slot, SGL, R2T schedule, data, response. Commands
 * are allocated as the queue fills and reused; a slot number never moves,
 * because it is part of the TTAG.
 */
#include <nvme/types.h>
#include <stdlib.h>

#include "fault.h"
#include "target.h"

uint32_t sqe_dw(const struct cmd *cmd, unsigned int n)
{
	return nofi_get32(cmd->sqe + n * 4);
}

struct cmd *cmd_find(struct conn *c, uint16_t cid)
{
	struct cmd *cmd = c->by_cid[cid % CID_BUCKETS];

	while (cmd && cmd->cid != cid)
		cmd = cmd->same_bucket;
	return cmd;
}

static struct cmd *cmd_get(struct conn *c, uint16_t cid)
{
	struct cmd *cmd = c->free_cmds;

	/*
	 * A command is outstanding until its response is on the wire; a host
	 * that has more of them than its queue has entries broke the rules,
	 * and this is what bounds our memory.
	 */
	if (c->nused + tx_unsent_responses(c) >= c->entries)
		return NULL;
	if (cmd) {
		c->free_cmds = cmd->next;
	} else {
		if (c->nslots == c->slots_cap) {
			uint32_t cap = c->slots_cap ? c->slots_cap * 2 : 16;
			struct cmd **v = realloc(c->slots, cap * sizeof(*v));

			if (!v)
				return NULL;
			c->slots = v;
			c->slots_cap = cap;
		}
		cmd = calloc(1, sizeof(*cmd));
		if (!cmd)
			return NULL;
		cmd->conn = c;
		cmd->slot = (uint16_t)c->nslots;
		c->slots[c->nslots++] = cmd;
	}
	cmd->prev = NULL;
	cmd->next = c->used_cmds;
	if (cmd->next)
		cmd->next->prev = cmd;
	c->used_cmds = cmd;
	cmd->cid = cid;
	cmd->same_bucket = c->by_cid[cid % CID_BUCKETS];
	c->by_cid[cid % CID_BUCKETS] = cmd;
	c->nused++;
	return cmd;
}

static void cmd_put(struct cmd *cmd)
{
	struct conn *c = cmd->conn;
	struct cmd **p = &c->by_cid[cmd->cid % CID_BUCKETS];

	while (*p != cmd)
		p = &(*p)->same_bucket;
	*p = cmd->same_bucket;
	timer_cancel(&cmd->timer);
	free(cmd->buf);
	cmd->buf = NULL;
	if (c->rx_cmd == cmd)
		c->rx_cmd = NULL;
	if (cmd->prev)
		cmd->prev->next = cmd->next;
	else
		c->used_cmds = cmd->next;
	if (cmd->next)
		cmd->next->prev = cmd->prev;
	cmd->next = c->free_cmds;
	c->free_cmds = cmd;
	c->nused--;
}

void cmd_cancel_all(struct conn *c)
{
	for (struct cmd *cmd = c->used_cmds; cmd; cmd = cmd->next)
		timer_cancel(&cmd->timer);
}

void cmd_free_all(struct conn *c)
{
	for (uint32_t i = 0; i < c->nslots; i++) {
		free(c->slots[i]->buf);
		free(c->slots[i]);
	}
	free(c->slots);
	c->slots = NULL;
	c->nslots = 0;
}

bool cmd_want_len(struct cmd *cmd, uint32_t len)
{
	if (cmd->len == len)
		return true;
	cmd->status = NVME_SC_SGL_INVALID_DATA | DNR;
	return false;
}

bool cmd_alloc_buf(struct cmd *cmd)
{
	cmd->sink = SINK_BUF;
	cmd->buf = calloc(1, cmd->len ? cmd->len : 1);
	if (cmd->buf)
		return true;
	cmd->status = NVME_SC_INTERNAL;
	return false;
}

/* The one SGL descriptor of a command (T-10). */
static uint16_t check_sgl(struct cmd *cmd, uint32_t incap)
{
	const uint8_t *d = cmd->sqe + 24;
	uint64_t addr = nofi_get64(d);
	uint32_t len = nofi_get32(d + 8);
	uint8_t type = d[15];

	if (cmd->fuse && (cmd->fuse == 3 || (cmd->opc != nvme_cmd_compare &&
					     cmd->opc != nvme_cmd_write)))
		return NVME_SC_INVALID_FIELD | DNR;
	if (!cmd->conn->qid && (cmd->sqe[1] & 3))
		return NVME_SC_INVALID_FIELD | DNR;
	if ((cmd->sqe[1] & 0xc0) != NOFI_SQE_PSDT_SGL)
		return NVME_SC_INVALID_FIELD | DNR;
	if (cmd->is_fabrics && !cmd->dir)
		return incap ? NVME_SC_SGL_INVALID_DATA | DNR : 0;
	if (!cmd->dir)
		return len || incap ? NVME_SC_SGL_INVALID_DATA | DNR : 0;
	if (type == NOFI_SGL_INCAPSULE) {
		if (cmd->dir != 1)
			return NVME_SC_SGL_INVALID_TYPE | DNR;
		if (addr)
			return NVME_SC_SGL_INVALID_OFFSET | DNR;
		if (len != incap)
			return NVME_SC_SGL_INVALID_DATA | DNR;
		cmd->is_incapsule = true;
	} else if (type == NOFI_SGL_TRANSPORT) {
		if (incap)
			return NVME_SC_SGL_INVALID_DATA | DNR;
	} else {
		return NVME_SC_SGL_INVALID_TYPE | DNR;
	}
	cmd->len = len;
	return 0;
}

static void prepare(struct cmd *cmd)
{
	struct conn *c = cmd->conn;

	if (cmd->is_fabrics) {
		fabrics_prepare(cmd);
		return;
	}
	if (!c->ctrl || !(c->ctrl->cc & 1) || !(c->ctrl->csts & 1)) {
		cmd->status = NVME_SC_CMD_SEQ_ERROR | DNR;
		return;
	}
	if (c->qid)
		nvm_prepare(cmd);
	else
		admin_prepare(cmd);
}

static void on_delay(struct timer *t)
{
	struct cmd *cmd = container_of(t, struct cmd, timer);
	struct conn *c = cmd->conn;

	cmd->is_parked = false;
	cmd_go(cmd);
	if (c->state != CONN_DEAD)
		tx_flush(c);
}

static void go_or_delay(struct cmd *cmd)
{
	if (!cmd->delay_ms) {
		cmd_go(cmd);
		return;
	}
	cmd->is_parked = true;
	timer_set(&cmd->timer, cmd->delay_ms * MS, on_delay);
	cmd->delay_ms = 0;
}

static void exec_nothing(struct cmd *cmd)
{
	cmd_done(cmd, 0);
}

struct cmd *cmd_start(struct conn *c, const uint8_t *sqe, uint32_t incap)
{
	uint16_t cid = nofi_get16(sqe + 2);
	bool is_conflict = cmd_find(c, cid) != NULL;
	struct cmd *cmd = cmd_get(c, cid);

	if (!cmd) {
		conn_term(c, NOFI_FES_LIMIT, 0, sqe - NOFI_CH_LEN, NOFI_CAPSULE_CMD_HLEN,
			  "more commands outstanding than the queue has entries");
		return NULL;
	}
	stats.commands++;
	memcpy(cmd->sqe, sqe, NOFI_SQE_LEN);
	cmd->opc = sqe[0];
	cmd->is_fabrics = cmd->opc == 0x7f;
	cmd->dir = (cmd->is_fabrics ? sqe[4] : sqe[0]) & 3;
	cmd->is_incapsule = cmd->is_parked = cmd->is_muted = false;
	cmd->is_mismatch = cmd->is_waiting = cmd->is_fused_ready = false;
	cmd->fuse = c->qid ? sqe[1] & 3 : 0;
	cmd->mate = NULL;
	cmd->exec = NULL;
	cmd->sink = SINK_DISCARD;
	cmd->len = cmd->received = cmd->requested = 0;
	cmd->dw0 = cmd->dw1 = 0;
	cmd->delay_ms = 0;
	cmd->ns = NULL;
	cmd->slba = 0;
	if (c->ctrl)
		ctrl_seen(c->ctrl, cmd);
	cmd->status = check_sgl(cmd, incap);
	if (is_conflict)
		cmd->status = NVME_SC_CMDID_CONFLICT | DNR;
	if (cmd->fuse || c->fused_first || c->is_fused_failed) {
		fused_arrived(cmd);
		if (c->state == CONN_DEAD)
			return NULL;
	}
	if (faults_active) {
		struct fault_verdict v = fault_in(c, FAULT_CMD, cmd);

		if (c->state == CONN_DEAD || c->state == CONN_TERM)
			return NULL;
		cmd->delay_ms = v.delay_ms;
		cmd->is_muted = v.is_dropped;
		if (v.is_status && !v.status) {
			cmd->exec = exec_nothing;	/* a success that did nothing */
			cmd->dir = 0;
		} else if (v.is_status) {
			cmd->status = v.status;
		}
	}
	if (!cmd->status && !cmd->is_muted && !cmd->exec)
		prepare(cmd);
	if (cmd->status)
		cmd->sink = SINK_DISCARD;
	if (incap)
		return cmd;
	if (!cmd->is_muted)
		go_or_delay(cmd);
	return NULL;
}

static void send_r2ts(struct cmd *cmd)
{
	struct conn *c = cmd->conn;
	uint32_t size = opt.r2t_size ? opt.r2t_size : UINT32_MAX;

	for (uint32_t i = 0; i < c->maxr2t && cmd->requested < cmd->len; i++) {
		struct r2t *r = &cmd->r2t[i];

		if (r->is_active)
			continue;
		r->is_active = true;
		r->offset = cmd->requested;
		r->length = cmd->len - cmd->requested < size ? cmd->len - cmd->requested : size;
		r->received = 0;
		cmd->requested += r->length;
		tx_r2t(c, cmd, (uint16_t)(cmd->slot * MAX_R2T + i), r->offset, r->length);
		if (c->state != CONN_READY)
			return;
	}
}

/* What changes something is not done for a host that was given up meanwhile. */
static void cmd_exec(struct cmd *cmd)
{
	bool is_read = cmd->conn->qid && cmd->opc == nvme_cmd_read;

	if (is_read || !conn_is_expired(cmd->conn))
		cmd->exec(cmd);
}

/* Everything the command needs from its capsule is here. */
void cmd_go(struct cmd *cmd)
{
	if (cmd->status) {
		cmd_done(cmd, cmd->status);
		return;
	}
	if (cmd->dir == 1 && cmd->len && !cmd->is_incapsule) {
		for (unsigned int i = 0; i < MAX_R2T; i++)
			cmd->r2t[i].is_active = false;
		send_r2ts(cmd);
		return;
	}
	cmd_exec(cmd);
}

void cmd_incapsule_done(struct cmd *cmd, bool is_bad_digest)
{
	cmd->received = cmd->len;
	if (cmd->is_muted)
		return;
	if (is_bad_digest)
		cmd->status = STATUS_TRANSIENT;
	go_or_delay(cmd);
}

void cmd_h2c_done(struct cmd *cmd, struct r2t *r, bool is_bad_digest)
{
	struct conn *c = cmd->conn;

	r->received += c->rx_data;
	cmd->received += c->rx_data;
	if (is_bad_digest) {
		/* Not fatal (T-21): the rest is still fetched, then the command fails. */
		cmd->status = STATUS_TRANSIENT;
		cmd->sink = SINK_DISCARD;
	}
	if (r->received < r->length)
		return;
	r->is_active = false;
	if (cmd->received < cmd->len)
		send_r2ts(cmd);
	else if (cmd->status)
		cmd_done(cmd, cmd->status);
	else
		cmd_exec(cmd);
}

void cmd_sink(struct cmd *cmd, uint32_t off, const void *data, uint32_t len)
{
	uint16_t status = 0;

	switch (cmd->sink) {
	case SINK_DISCARD:
		return;
	case SINK_WRITE:
		if (conn_is_expired(cmd->conn))
			return;
		status = ns_write(cmd->ns, cmd->ns_off + off, data, len);
		break;
	case SINK_COMPARE:
		if (!ns_equal(cmd->ns, cmd->ns_off + off, data, len, &status))
			cmd->is_mismatch = true;
		break;
	case SINK_BUF:
		memcpy(cmd->buf + off, data, len);
		return;
	}
	if (status) {
		cmd->status = status;
		cmd->sink = SINK_DISCARD;
	}
}

void *cmd_sink_direct(struct cmd *cmd, uint32_t off)
{
	if (cmd->sink != SINK_WRITE || cmd->ns->kind != NS_MEM)
		return NULL;
	return cmd->ns->map + cmd->ns_off + off;
}

void cmd_wait_for_room(struct cmd *cmd)
{
	struct conn *c = cmd->conn;

	cmd->is_waiting = true;
	cmd->wait_next = NULL;
	*c->wait_tail = cmd;
	c->wait_tail = &cmd->wait_next;
}

void cmd_advance_sqhd(struct conn *c)
{
	if (c->sqflow_off)
		return;
	c->sqhd = c->sqhd + 1u >= c->entries ? 0 : (uint16_t)(c->sqhd + 1);
}

/*
 * Sends the response. With a status, or a number in DW0, it is the caller's
 * last word on the command, which is free afterwards.
 */
void cmd_done(struct cmd *cmd, uint16_t status)
{
	struct conn *c = cmd->conn;

	if (c->state == CONN_DEAD)
		return;
	if (status && c->ctrl)
		errlog_add(c->ctrl, cmd, status);
	cmd_advance_sqhd(c);
	tx_resp(c, cmd, cmd->cid, status, cmd->dw0, cmd->dw1, true);
	if (c->state == CONN_DEAD)
		return;
	if (cmd->fuse)
		fused_done(cmd);
	cmd_put(cmd);
}

void cmd_data_done(struct cmd *cmd, const void *data, uint32_t len, bool is_stable)
{
	struct conn *c = cmd->conn;
	uint32_t step = opt.c2h_size ? opt.c2h_size : UINT32_MAX, off = 0;
	bool is_success = opt.success && c->sqflow_off && !cmd->dw0 && !cmd->dw1 && len;

	while (off < len) {
		uint32_t n = len - off < step ? len - off : step;
		uint8_t flags = 0;

		if (off + n == len)
			flags = NOFI_PDU_F_LAST | (is_success ? NOFI_PDU_F_SUCCESS : 0);
		tx_c2hdata(c, cmd, off, data ? (const uint8_t *)data + off : NULL, n, flags,
			   is_stable);
		if (c->state == CONN_DEAD)
			return;
		off += n;
	}
	if (!is_success) {
		cmd_done(cmd, 0);
		return;
	}
	cmd_advance_sqhd(c);
	cmd_put(cmd);
}
