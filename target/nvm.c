/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The NVM command set. */
#include <nvme/types.h>
#include <stdlib.h>

#include "pi.h"
#include "target.h"
#include "zns.h"

enum { DSM_RANGE = 16, DSM_RANGES = 256, DSM_AD = 1u << 2, WZ_DEAC = 1u << 25 };

/* What keeps a command from a namespace that is there; 0: nothing. */
static uint16_t find_obstacle(const struct cmd *cmd, const struct ns *ns, enum access access)
{
	const struct ctrl *ctrl = cmd->conn->ctrl;
	uint16_t status = ctrl->port->has_blocked ? ana_status(ctrl->port, ns) : 0;

	if ((ns->special & NS_PRIVATE) && !ns_is_attached(ns, ctrl))
		return NVME_SC_INVALID_NS | DNR;
	if (status)
		return status;
	if ((ns->special & NS_ZONED) && !(ctrl->cc >> 4 & 7))
		return 0x100 | NVME_SC_IOCS_NOT_ENABLED | DNR;	/* CC.CSS: NVM only */
	if (ns->special & NS_SANITIZING)
		return NVME_SC_SANITIZE_IN_PROGRESS;
	if (access == WRITES && ns->is_readonly)
		return NVME_SC_NS_WRITE_PROTECTED | DNR;
	if ((ns->special & NS_RESERVED) && access != UNRESERVED && resv_conflicts(cmd, ns, access))
		return NVME_SC_RESERVATION_CONFLICT | DNR;
	return 0;
}

struct ns *nvm_find_ns(struct cmd *cmd, uint32_t nsid, enum access access)
{
	const struct ctrl *ctrl = cmd->conn->ctrl;
	struct ns *ns = ns_find(ctrl->subsys, nsid);

	if (!ns)
		cmd->status = NVME_SC_INVALID_NS | DNR;
	else if (ns->special || ctrl->port->has_blocked || ns->is_readonly)
		cmd->status = find_obstacle(cmd, ns, access);
	return cmd->status ? NULL : ns;
}

static bool want_ns(struct cmd *cmd, enum access access)
{
	cmd->ns = nvm_find_ns(cmd, sqe_dw(cmd, 1), access);
	return cmd->ns;
}

/* SLBA and NLB of the command, inside the namespace. */
static bool want_range(struct cmd *cmd)
{
	cmd->slba = sqe_dw(cmd, 10) | (uint64_t)sqe_dw(cmd, 11) << 32;
	cmd->nlb = (sqe_dw(cmd, 12) & 0xffff) + 1;
	if (cmd->slba >= cmd->ns->blocks || cmd->nlb > cmd->ns->blocks - cmd->slba) {
		cmd->status = NVME_SC_LBA_RANGE | DNR;
		return false;
	}
	cmd->ns_off = cmd->slba * cmd->ns->stride;
	return true;
}

bool nvm_fits(const struct cmd *cmd, uint64_t bytes)
{
	const struct ctrl *ctrl = cmd->conn->ctrl;

	return !ctrl->mdts || bytes <= (uint64_t)PAGE << ctrl->mdts;
}

/* Blocks of another size in the transfer, or tags that cannot be. */
static uint64_t pi_bytes(struct cmd *cmd)
{
	struct pi_args a;

	pi_args_of(cmd, &a);
	cmd->status = pi_validate(cmd->ns, &a, cmd->slba);
	/* What is only compared or checked is neither made nor stripped. */
	if (a.prinfo & PI_ACT && (cmd->opc == nvme_cmd_compare || cmd->opc == nvme_cmd_verify))
		cmd->status = 0x100 | NVME_SC_INVALID_PI | DNR;
	return (uint64_t)cmd->nlb * pi_host_block(cmd->ns, &a);
}

static void want_transfer(struct cmd *cmd)
{
	uint64_t bytes;

	if (!want_range(cmd))
		return;
	bytes = (uint64_t)cmd->nlb * cmd->ns->stride;
	if (cmd->ns->special & NS_PI)
		bytes = pi_bytes(cmd);
	if (!nvm_fits(cmd, bytes))
		cmd->status = NVME_SC_INVALID_FIELD | DNR;
	if (!cmd->status && cmd_want_len(cmd, (uint32_t)bytes) &&
	    (cmd->ns->special & NS_BLOCKWISE) && !cmd->fuse)
		block_prepare(cmd);
}

/* Some of its blocks may not be read. */
static bool hits_uncor(struct cmd *cmd)
{
	return (cmd->ns->special & NS_UNCOR) && range_hits(&cmd->ns->uncor, cmd->slba, cmd->nlb);
}

static void exec_read(struct cmd *cmd)
{
	struct ns *ns = cmd->ns;
	uint16_t status;
	uint8_t *buf;

	if (ns->special && hits_uncor(cmd)) {
		cmd_done(cmd, STATUS_MEDIA(NVME_SC_READ_ERROR));
		return;
	}
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
	if (cmd->ns->special)
		block_written(cmd->ns, cmd->slba, cmd->nlb);
	if (!cmd->status)
		cmd->status = flush_if_fua(cmd);
	cmd_done(cmd, cmd->status);
}

static void exec_compare(struct cmd *cmd)
{
	if (!cmd->status && hits_uncor(cmd))
		cmd->status = STATUS_MEDIA(NVME_SC_READ_ERROR);
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
	struct pi_args a;
	uint16_t status;

	pi_args_of(cmd, &a);
	status = block_zero(cmd->ns, &a, cmd->slba, cmd->nlb, sqe_dw(cmd, 12) & WZ_DEAC);
	if (!status)
		status = flush_if_fua(cmd);
	cmd_done(cmd, status);
}

static void exec_verify(struct cmd *cmd)
{
	cmd_done(cmd, cmd->ns->special ? block_verify(cmd) : 0);
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

		status = ns_zero(ns, slba * ns->stride, nlb * ns->stride, true);
		block_written(ns, slba, nlb);
	}
	cmd_done(cmd, status);
}

static void prepare_flush(struct cmd *cmd)
{
	cmd->exec = exec_flush;
	if (sqe_dw(cmd, 1) != 0xffffffff)
		want_ns(cmd, WRITES);
	/* A read-only namespace has nothing to flush, and says so gladly. */
	if (cmd->status == (NVME_SC_NS_WRITE_PROTECTED | DNR))
		cmd->status = 0;
}

static void prepare_dsm(struct cmd *cmd)
{
	cmd->exec = exec_dsm;
	if (!want_ns(cmd, WRITES))
		return;
	/* Linux sends a full list of 256 ranges, however few of them count. */
	if (cmd->len < ((sqe_dw(cmd, 10) & 0xff) + 1) * DSM_RANGE ||
	    cmd->len > DSM_RANGES * DSM_RANGE)
		cmd->status = NVME_SC_SGL_INVALID_DATA | DNR;
	else
		cmd_alloc_buf(cmd);
}

/* Half of a fused command: its data is kept until the other half is here. */
static void prepare_fused(struct cmd *cmd)
{
	if (cmd->status)
		return;
	cmd->exec = exec_fused;
	if (cmd->nlb > cmd->ns->acwu + 1u)
		cmd->status = NVME_SC_AWU_EXCEEDED | DNR;
	else
		cmd_alloc_buf(cmd);
}

void nvm_prepare(struct cmd *cmd)
{
	switch (cmd->opc) {
	case nvme_cmd_read:
		cmd->exec = exec_read;
		if (want_ns(cmd, READS))
			want_transfer(cmd);
		return;
	case nvme_cmd_write:
		cmd->exec = exec_write;
		if (want_ns(cmd, WRITES)) {
			cmd->sink = cmd->ns->kind == NS_NULL ? SINK_DISCARD : SINK_WRITE;
			want_transfer(cmd);
		}
		if (cmd->fuse)
			prepare_fused(cmd);
		return;
	case nvme_cmd_compare:
		cmd->exec = exec_compare;
		cmd->sink = SINK_COMPARE;
		if (want_ns(cmd, READS))
			want_transfer(cmd);
		if (cmd->fuse)
			prepare_fused(cmd);
		return;
	case nvme_cmd_flush:
		prepare_flush(cmd);
		return;
	case nvme_cmd_write_zeroes:
		cmd->exec = exec_write_zeroes;
		if (want_ns(cmd, WRITES))
			want_range(cmd);
		return;
	case nvme_cmd_write_uncor:
		cmd->exec = exec_write_uncorrectable;
		if (want_ns(cmd, WRITES))
			want_range(cmd);
		return;
	case nvme_cmd_verify:
		cmd->exec = exec_verify;
		if (want_ns(cmd, READS) && want_range(cmd) && (cmd->ns->special & NS_PI))
			pi_bytes(cmd);
		return;
	case nvme_zns_cmd_mgmt_send:
	case nvme_zns_cmd_mgmt_recv:
	case nvme_zns_cmd_append:
		zns_prepare(cmd);
		return;
	case nvme_cmd_dsm:
		prepare_dsm(cmd);
		return;
	case nvme_cmd_copy:
		if (want_ns(cmd, WRITES))
			copy_prepare(cmd);
		return;
	case nvme_cmd_resv_register:
	case nvme_cmd_resv_report:
	case nvme_cmd_resv_acquire:
	case nvme_cmd_resv_release:
		resv_prepare(cmd);
		return;
	}
	cmd->status = NVME_SC_INVALID_OPCODE | DNR;
}
