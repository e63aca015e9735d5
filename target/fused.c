/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fused Compare and Write: the two commands follow each other on one queue and
 * are executed as one, once the data of both is here. What happens to one half
 * alone also ends the other.
 */
#include <nvme/types.h>

#include "pi.h"
#include "target.h"

enum { FIRST = 1, SECOND = 2 };

/* Both halves exist: may they belong together? */
static void check_pair(struct cmd *first, struct cmd *second)
{
	bool is_same = sqe_dw(first, 1) == sqe_dw(second, 1) &&
		       sqe_dw(first, 10) == sqe_dw(second, 10) &&
		       sqe_dw(first, 11) == sqe_dw(second, 11) &&
		       (sqe_dw(first, 12) & 0xffff) == (sqe_dw(second, 12) & 0xffff);

	if (first->opc == nvme_cmd_compare && second->opc == nvme_cmd_write && is_same)
		return;
	if (!first->status)
		first->status = NVME_SC_INVALID_FIELD | DNR;
	if (!second->status)
		second->status = NVME_SC_INVALID_FIELD | DNR;
}

/* Ends a half that has nothing left to wait for but the other. */
static void finish_waiting(struct cmd *cmd)
{
	if (!cmd->is_fused_ready)
		return;			/* it ends by itself once its data is here */
	cmd->is_fused_ready = false;
	cmd_done(cmd, cmd->status);
}

/* A command came while a first half waits, or is itself half of something. */
void fused_arrived(struct cmd *cmd)
{
	struct conn *c = cmd->conn;
	struct cmd *first = c->fused_first;
	bool has_failed = c->is_fused_failed;

	c->fused_first = NULL;
	c->is_fused_failed = false;
	if (cmd->fuse == SECOND && first) {
		first->mate = cmd;
		cmd->mate = first;
		check_pair(first, cmd);
		if (first->status)
			finish_waiting(first);
		return;
	}
	if (first) {
		first->status = NVME_SC_FUSED_MISSING | DNR;
		finish_waiting(first);
	}
	if (cmd->fuse == SECOND)
		cmd->status = has_failed ? NVME_SC_FUSED_FAIL : NVME_SC_FUSED_MISSING | DNR;
	else if (cmd->fuse == FIRST)
		c->fused_first = cmd;
}

/* From cmd_done(): this half is over, with whatever status. */
void fused_done(struct cmd *cmd)
{
	struct conn *c = cmd->conn;
	struct cmd *mate = cmd->mate;

	cmd->fuse = 0;
	cmd->mate = NULL;
	if (c->fused_first == cmd) {
		c->fused_first = NULL;
		c->is_fused_failed = true;
	}
	if (!mate)
		return;
	mate->mate = NULL;
	if (!mate->status)
		mate->status = NVME_SC_FUSED_FAIL;
	finish_waiting(mate);
}

static uint16_t compare_and_write(struct cmd *first, struct cmd *second)
{
	uint16_t status = first->status ? first->status : second->status;
	struct pi_args a;

	if (!status)
		status = block_compare(first->ns, first);
	if (status)
		return status;
	pi_args_of(second, &a);
	stats.writes++;
	stats.write_bytes += second->len;
	return block_write(second->ns, &a, second->slba, second->nlb, second->buf);
}

void exec_fused(struct cmd *cmd)
{
	struct cmd *first = cmd->fuse == FIRST ? cmd : cmd->mate;
	struct cmd *second = first ? first->mate : NULL;
	struct conn *c = cmd->conn;
	uint16_t status;

	cmd->is_fused_ready = cmd->is_parked = true;
	if (!second || !first->is_fused_ready || !second->is_fused_ready)
		return;
	status = compare_and_write(first, second);
	first->is_fused_ready = second->is_fused_ready = false;
	first->mate = second->mate = NULL;
	first->fuse = second->fuse = 0;
	cmd_done(first, status);
	if (c->state != CONN_DEAD)
		cmd_done(second, status ? NVME_SC_FUSED_FAIL : 0);
}
