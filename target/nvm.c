/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The NVM command set. */
#include <nvme/types.h>
#include <stdlib.h>

#include "target.h"

enum { DSM_RANGE = 16, DSM_RANGES = 256, DSM_AD = 1u << 2, WZ_DEAC = 1u << 25 };

static bool want_ns(struct cmd *cmd)
{
	const struct ctrl *ctrl = cmd->conn->ctrl;

	cmd->ns = ns_find(ctrl->subsys, sqe_dw(cmd, 1));
	if (!cmd->ns)
		cmd->status = NVME_SC_INVALID_NS | DNR;
	else if (ctrl->port->has_blocked)
		cmd->status = ana_status(ctrl->port, cmd->ns);
	return !cmd->status;
}

static bool want_writable(struct cmd *cmd)
{
	if (!cmd->ns->is_readonly)
		return true;
	cmd->status = NVME_SC_NS_WRITE_PROTECTED | DNR;
	return false;
}

/* SLBA and NLB of the command, inside the namespace. */
static bool want_range(struct cmd *cmd, uint64_t *bytes)
{
	uint64_t slba = sqe_dw(cmd, 10) | (uint64_t)sqe_dw(cmd, 11) << 32;
	uint32_t nlb = (sqe_dw(cmd, 12) & 0xffff) + 1;

	if (slba >= cmd->ns->blocks || nlb > cmd->ns->blocks - slba) {
		cmd->status = NVME_SC_LBA_RANGE | DNR;
		return false;
	}
	cmd->ns_off = slba << cmd->ns->lbads;
	*bytes = (uint64_t)nlb << cmd->ns->lbads;
	return true;
}

static bool want_transfer(struct cmd *cmd)
{
	uint64_t bytes;

	if (!want_range(cmd, &bytes))
		return false;
	if (cmd->conn->ctrl->mdts && bytes > (uint64_t)PAGE << cmd->conn->ctrl->mdts) {
		cmd->status = NVME_SC_INVALID_FIELD | DNR;
		return false;
	}
	return cmd_want_len(cmd, (uint32_t)bytes);
}

static void exec_read(struct cmd *cmd)
{
	struct ns *ns = cmd->ns;
	uint16_t status;
	uint8_t *buf;

	if (ns->kind == NS_NULL || ns->kind == NS_MEM) {
		/* With a digest payload is copied: bounded like a file's. */
		if (cmd->conn->ddgst && tx_is_full(cmd->conn) && !cmd->conn->in_wait) {
			cmd_wait_for_room(cmd);
			return;
		}
		stats.reads++;
		stats.read_bytes += cmd->len;
		cmd_data_done(cmd, ns->kind == NS_MEM ? ns->map + cmd->ns_off : NULL, cmd->len,
			      true);
		return;
	}
	if (tx_is_full(cmd->conn) && !cmd->conn->in_wait) {
		cmd_wait_for_room(cmd);
		return;
	}
	buf = malloc(cmd->len);
	if (!buf) {
		cmd_done(cmd, NVME_SC_INTERNAL);
		return;
	}
	status = ns_read(ns, cmd->ns_off, buf, cmd->len);
	stats.reads++;
	stats.read_bytes += cmd->len;
	if (status)
		cmd_done(cmd, status);
	else
		cmd_data_done(cmd, buf, cmd->len, false);
	free(buf);
}

static uint16_t flush_if_fua(struct cmd *cmd)
{
	return sqe_dw(cmd, 12) >> 30 & 1 ? ns_flush(cmd->ns) : 0;
}

static void exec_write(struct cmd *cmd)
{
	stats.writes++;
	stats.write_bytes += cmd->len;
	if (!cmd->status)
		cmd->status = flush_if_fua(cmd);
	cmd_done(cmd, cmd->status);
}

static void exec_compare(struct cmd *cmd)
{
	if (!cmd->status && cmd->is_mismatch)
		cmd->status = STATUS_MEDIA(NVME_SC_COMPARE_FAILED) | DNR;
	cmd_done(cmd, cmd->status);
}

static void exec_flush(struct cmd *cmd)
{
	const struct subsys *s = cmd->conn->ctrl->subsys;
	uint16_t status = 0;

	for (unsigned int i = 0; i < s->nns && !status; i++)
		if (!cmd->ns || cmd->ns == s->ns[i])
			status = ns_flush(s->ns[i]);
	cmd_done(cmd, status);
}

static void exec_write_zeroes(struct cmd *cmd)
{
	uint64_t bytes = ((uint64_t)(sqe_dw(cmd, 12) & 0xffff) + 1) << cmd->ns->lbads;
	uint16_t status = ns_zero(cmd->ns, cmd->ns_off, bytes, sqe_dw(cmd, 12) & WZ_DEAC);

	if (!status)
		status = flush_if_fua(cmd);
	cmd_done(cmd, status);
}

static void exec_verify(struct cmd *cmd)
{
	cmd_done(cmd, 0);		/* the range was checked; there is nothing else to verify */
}

static void exec_dsm(struct cmd *cmd)
{
	struct ns *ns = cmd->ns;
	uint32_t nr = (sqe_dw(cmd, 10) & 0xff) + 1;
	uint16_t status = 0;

	for (uint32_t i = 0; i < nr; i++) {
		uint32_t nlb = nofi_get32(cmd->buf + i * DSM_RANGE + 4);
		uint64_t slba = nofi_get64(cmd->buf + i * DSM_RANGE + 8);

		if (slba > ns->blocks || nlb > ns->blocks - slba) {
			cmd_done(cmd, NVME_SC_LBA_RANGE | DNR);
			return;
		}
	}
	for (uint32_t i = 0; i < nr && !status && (sqe_dw(cmd, 11) & DSM_AD); i++) {
		uint64_t nlb = nofi_get32(cmd->buf + i * DSM_RANGE + 4);
		uint64_t slba = nofi_get64(cmd->buf + i * DSM_RANGE + 8);

		status = ns_zero(ns, slba << ns->lbads, nlb << ns->lbads, true);
	}
	cmd_done(cmd, status);
}

static void prepare_flush(struct cmd *cmd)
{
	cmd->exec = exec_flush;
	if (sqe_dw(cmd, 1) != 0xffffffff)
		want_ns(cmd);
}

void nvm_prepare(struct cmd *cmd)
{
	uint64_t bytes;

	switch (cmd->opc) {
	case nvme_cmd_read:
		cmd->exec = exec_read;
		if (want_ns(cmd))
			want_transfer(cmd);
		return;
	case nvme_cmd_write:
		cmd->exec = exec_write;
		cmd->sink = SINK_WRITE;
		if (want_ns(cmd) && want_writable(cmd))
			want_transfer(cmd);
		return;
	case nvme_cmd_compare:
		cmd->exec = exec_compare;
		cmd->sink = SINK_COMPARE;
		if (want_ns(cmd))
			want_transfer(cmd);
		return;
	case nvme_cmd_flush:
		prepare_flush(cmd);
		return;
	case nvme_cmd_write_zeroes:
		cmd->exec = exec_write_zeroes;
		if (want_ns(cmd) && want_writable(cmd))
			want_range(cmd, &bytes);
		return;
	case nvme_cmd_verify:
		cmd->exec = exec_verify;
		if (want_ns(cmd))
			want_range(cmd, &bytes);
		return;
	case nvme_cmd_dsm:
		cmd->exec = exec_dsm;
		if (!want_ns(cmd) || !want_writable(cmd))
			return;
		/* Linux sends a full list of 256 ranges, however few of them count. */
		if (cmd->len < ((sqe_dw(cmd, 10) & 0xff) + 1) * DSM_RANGE ||
		    cmd->len > DSM_RANGES * DSM_RANGE)
			cmd->status = NVME_SC_SGL_INVALID_DATA | DNR;
		else
			cmd_alloc_buf(cmd);
		return;
	}
	cmd->status = NVME_SC_INVALID_OPCODE | DNR;
}
