/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copy: source ranges of formats 0 to 3 to one place (NVM command set §3.3.2). */
#include <nvme/types.h>
#include <stdlib.h>

#include "pi.h"
#include "target.h"

enum { RANGE_SHORT = 32, RANGE_LONG = 40 };

#define SIZE_LIMIT (0x100u | NVME_SC_CMD_SIZE_LIMIT_EXCEEDED | DNR)
#define INCOMPATIBLE (0x185u | DNR)	/* incompatible namespace or format */

struct source {
	struct ns *ns;
	struct pi_args pi;		/* how its protection information is checked */
	uint64_t slba;
	uint32_t nlb;
};

static uint8_t format_of(const struct cmd *cmd)
{
	return sqe_dw(cmd, 12) >> 8 & 15;
}

static uint32_t range_len(uint8_t format)
{
	return format & 1 ? RANGE_LONG : RANGE_SHORT;
}

/* Formats 2 and 3 name other namespaces; the host says that it knows them (FID 16h). */
static bool is_enabled(const struct cmd *cmd, uint8_t format)
{
	const uint8_t *behavior = cmd->conn->ctrl->host_behavior;

	return format < 2 || (format < 4 && (nofi_get16(behavior + 4) >> format & 1));
}

/* PRINFOR and the range's expected tags; what is moved always carries its information. */
static void source_pi(const struct cmd *cmd, const uint8_t *r, uint8_t format, struct pi_args *a)
{
	const uint8_t *tags = r + (format & 1 ? 36 : 28);

	memset(a, 0, sizeof(*a));
	a->prinfo = sqe_dw(cmd, 12) >> 12 & 7;
	a->is_full = true;
	a->app = nofi_get16(tags);
	a->appmask = nofi_get16(tags + 2);
	a->ref = format & 1 ? nofi_get64(r + 28) : nofi_get32(r + 24);
	if (cmd->ns->pif == PI_GUARD32)
		a->storage = nofi_get16(r + 26);
	else if (cmd->ns->pif == PI_GUARD64)
		a->ref &= 0xffffffffffffull;
}

static uint16_t parse_range(struct cmd *cmd, uint32_t i, struct source *src)
{
	uint8_t format = format_of(cmd);
	const uint8_t *r = cmd->buf + i * range_len(format);

	src->ns = cmd->ns;
	src->slba = nofi_get64(r + 8);
	src->nlb = nofi_get16(r + 16) + 1u;
	if (format >= 2) {
		src->ns = nvm_find_ns(cmd, nofi_get32(r), READS);
		if (!src->ns)
			return cmd->status;
		if (src->ns->stride != cmd->ns->stride || src->ns->lbads != cmd->ns->lbads ||
		    src->ns->pi_type != cmd->ns->pi_type || src->ns->pif != cmd->ns->pif)
			return INCOMPATIBLE;
	}
	source_pi(cmd, r, format, &src->pi);
	if (src->nlb > cmd->ns->mssrl)
		return SIZE_LIMIT;
	if (src->slba >= src->ns->blocks || src->nlb > src->ns->blocks - src->slba)
		return NVME_SC_LBA_RANGE | DNR;
	return 0;
}

static uint16_t move(struct cmd *cmd, uint32_t nr, uint64_t total, uint8_t *mem)
{
	struct ns *ns = cmd->ns;
	struct pi_args a;
	uint8_t *at = mem;
	struct source src;
	uint16_t status = 0;

	for (uint32_t i = 0; i < nr && !status; i++) {
		status = parse_range(cmd, i, &src);
		if (!status)
			status = block_read(src.ns, &src.pi, src.slba, src.nlb, at);
		at += (size_t)src.nlb * ns->stride;
	}
	pi_args_of(cmd, &a);
	a.is_full = true;
	return status ? status : block_write(ns, &a, cmd->slba, (uint32_t)total, mem);
}

static void exec_copy(struct cmd *cmd)
{
	uint32_t nr = (sqe_dw(cmd, 12) & 0xff) + 1;
	struct ns *ns = cmd->ns;
	uint16_t status = 0;
	uint64_t total = 0;
	struct source src;
	uint8_t *mem;

	if (nr > ns->msrc + 1u)
		status = SIZE_LIMIT;
	for (uint32_t i = 0; i < nr && !status; i++) {
		status = parse_range(cmd, i, &src);
		if (status)
			cmd->dw0 = i;	/* the range that failed */
		total += src.nlb;
	}
	if (!status && total > ns->mcl)
		status = SIZE_LIMIT;
	if (!status && (cmd->slba >= ns->blocks || total > ns->blocks - cmd->slba))
		status = NVME_SC_LBA_RANGE | DNR;
	if (status) {
		cmd_done(cmd, status);
		return;
	}
	mem = malloc(total * ns->stride);
	status = mem ? move(cmd, nr, total, mem) : NVME_SC_INTERNAL;
	free(mem);
	cmd_done(cmd, status);
}

void copy_prepare(struct cmd *cmd)
{
	uint32_t nr = (sqe_dw(cmd, 12) & 0xff) + 1;

	cmd->exec = exec_copy;
	cmd->slba = sqe_dw(cmd, 10) | (uint64_t)sqe_dw(cmd, 11) << 32;
	if (!is_enabled(cmd, format_of(cmd)))
		cmd->status = format_of(cmd) < 4 ? INCOMPATIBLE : NVME_SC_INVALID_FIELD | DNR;
	else if (!nvm_fits(cmd, nr * range_len(format_of(cmd))))
		cmd->status = NVME_SC_INVALID_FIELD | DNR;
	else if (cmd_want_len(cmd, nr * range_len(format_of(cmd))))
		cmd_alloc_buf(cmd);
}
