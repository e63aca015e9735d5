/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whole blocks from and to a namespace that needs more than moving bytes:
 * protection information, zones, blocks marked as bad. Their data is kept until
 * all of it is here, then checked and moved at once.
 */
#include <nvme/types.h>
#include <stdlib.h>

#include "pi.h"
#include "target.h"
#include "zns.h"

enum { CHUNK_BLOCKS = 64 };

/* A command waited while its namespace was formatted: blocks may be gone, or of another size. */
static uint16_t check_inside(const struct ns *ns, uint64_t slba, uint64_t nlb)
{
	return slba >= ns->blocks || nlb > ns->blocks - slba ? NVME_SC_LBA_RANGE | DNR : 0;
}

/* A size that cannot be had is an error of the command. */
static uint8_t *room(uint64_t blocks, uint32_t each)
{
	uint64_t n = blocks * each;

	return malloc(n ? n : 1);
}

uint16_t block_read(struct ns *ns, const struct pi_args *a, uint64_t slba, uint32_t nlb,
		    uint8_t *out)
{
	uint16_t status = check_inside(ns, slba, nlb);
	uint8_t *medium;

	if (!status && ns->zns)
		status = zns_check_read(ns, slba, nlb);
	if (status)
		return status;
	if ((ns->special & NS_UNCOR) && range_hits(&ns->uncor, slba, nlb))
		return STATUS_MEDIA(NVME_SC_READ_ERROR);
	if (!(ns->special & NS_PI))
		return out ? ns_read(ns, slba * ns->stride, out, nlb * ns->stride) : 0;
	medium = room(nlb, ns->stride);
	if (!medium)
		return NVME_SC_INTERNAL;
	status = ns_read(ns, slba * ns->stride, medium, nlb * ns->stride);
	if (!status)
		status = pi_from_medium(ns, a, nlb, medium, out);
	free(medium);
	return status;
}

uint16_t block_write(struct ns *ns, const struct pi_args *a, uint64_t slba, uint32_t nlb,
		     const uint8_t *in)
{
	uint16_t status = check_inside(ns, slba, nlb);
	uint8_t *medium = NULL;

	if (status)
		return status;
	if (ns->special & NS_PI) {
		medium = room(nlb, ns->stride);
		if (!medium)
			return NVME_SC_INTERNAL;
		status = pi_to_medium(ns, a, nlb, in, medium);
		in = medium;
	}
	if (!status && ns->zns)
		status = zns_write(ns, slba, nlb);
	if (!status)
		status = ns_write(ns, slba * ns->stride, in, nlb * ns->stride);
	free(medium);
	if (!status)
		block_written(ns, slba, nlb);
	return status;
}

/* With PRACT zeroes get their information; without, none that could be checked. */
uint16_t block_zero(struct ns *ns, const struct pi_args *a, uint64_t slba, uint32_t nlb,
		    bool is_dealloc)
{
	static const uint8_t zeroes[CHUNK_BLOCKS * (4096 + 64)];
	static uint8_t medium[sizeof(zeroes)];
	struct pi_args part;
	uint16_t status = check_inside(ns, slba, nlb);

	if (!status && ns->zns)
		status = zns_write(ns, slba, nlb);
	if (!status)
		status = ns_zero(ns, slba * ns->stride, (uint64_t)nlb * ns->stride, is_dealloc);
	if (!status)
		block_written(ns, slba, nlb);
	if (status || is_dealloc || !(ns->special & NS_PI) || !(a->prinfo & PI_ACT))
		return status;
	part = *a;
	part.is_full = true;
	while (nlb && !status) {
		uint32_t n = nlb < CHUNK_BLOCKS ? nlb : CHUNK_BLOCKS;

		pi_to_medium(ns, &part, n, zeroes, medium);
		status = ns_write(ns, slba * ns->stride, medium, n * ns->stride);
		slba += n;
		nlb -= n;
		if (ns->pi_type != 3)
			part.ref += n;
	}
	return status;
}

/* What is written can be read again. */
void block_written(struct ns *ns, uint64_t slba, uint64_t nlb)
{
	if (!(ns->special & NS_UNCOR))
		return;
	range_del(&ns->uncor, slba, nlb);
	if (!ns->uncor.n)
		ns->special &= ~NS_UNCOR;
}

void exec_write_uncorrectable(struct cmd *cmd)
{
	struct ns *ns = cmd->ns;
	uint16_t status = check_inside(ns, cmd->slba, cmd->nlb);

	if (!status && ns->zns)
		status = zns_write(ns, cmd->slba, cmd->nlb);
	if (!status && !range_add(&ns->uncor, cmd->slba, cmd->nlb))
		status = NVME_SC_INTERNAL;
	if (!status)
		ns->special |= NS_UNCOR;
	cmd_done(cmd, status);
}

static void exec_block_read(struct cmd *cmd)
{
	struct pi_args a;
	uint16_t status;
	uint8_t *buf;

	if (tx_is_full(cmd->conn) && !cmd->conn->in_wait) {
		cmd_wait_for_room(cmd);
		return;
	}
	buf = room(cmd->len, 1);
	if (!buf) {
		cmd_done(cmd, NVME_SC_INTERNAL);
		return;
	}
	pi_args_of(cmd, &a);
	status = block_read(cmd->ns, &a, cmd->slba, cmd->nlb, buf);
	stats.reads++;
	stats.read_bytes += cmd->len;
	if (status)
		cmd_done(cmd, status);
	else
		cmd_data_done(cmd, buf, cmd->len, false);
	free(buf);
}

static void exec_block_write(struct cmd *cmd)
{
	struct pi_args a;
	uint16_t status;

	pi_args_of(cmd, &a);
	status = block_write(cmd->ns, &a, cmd->slba, cmd->nlb, cmd->buf);
	if (!status && (sqe_dw(cmd, 12) >> 30 & 1))
		status = ns_flush(cmd->ns);
	stats.writes++;
	stats.write_bytes += cmd->len;
	cmd_done(cmd, status);
}

uint16_t block_compare(struct ns *ns, const struct cmd *cmd)
{
	uint8_t *old = room(cmd->len, 1);
	struct pi_args a;
	uint16_t status;

	if (!old)
		return NVME_SC_INTERNAL;
	pi_args_of(cmd, &a);
	status = block_read(ns, &a, cmd->slba, cmd->nlb, old);
	if (!status && (ns->special & NS_PI ? !pi_is_equal(ns, cmd->nlb, old, cmd->buf) :
					      memcmp(old, cmd->buf, cmd->len)))
		status = STATUS_MEDIA(NVME_SC_COMPARE_FAILED) | DNR;
	free(old);
	return status;
}

static void exec_block_compare(struct cmd *cmd)
{
	cmd_done(cmd, block_compare(cmd->ns, cmd));
}

uint16_t block_verify(struct cmd *cmd)
{
	struct pi_args a;
	uint16_t status = 0;

	pi_args_of(cmd, &a);
	for (uint32_t done = 0; done < cmd->nlb && !status; done += CHUNK_BLOCKS) {
		uint32_t left = cmd->nlb - done;
		struct pi_args part = a;

		if (cmd->ns->pi_type != 3)
			part.ref += done;
		status = block_read(cmd->ns, &part, cmd->slba + done,
				    left < CHUNK_BLOCKS ? left : CHUNK_BLOCKS, NULL);
	}
	return status;
}

/* After nvm.c found namespace and range: Read, Write and Compare of such a namespace. */
void block_prepare(struct cmd *cmd)
{
	cmd->exec = cmd->opc == nvme_cmd_read ? exec_block_read :
		    cmd->opc == nvme_cmd_write ? exec_block_write : exec_block_compare;
	if (cmd->opc == nvme_cmd_read)
		return;
	if (cmd->opc == nvme_cmd_write && cmd->ns->zns)
		cmd->status = zns_check_write(cmd->ns, cmd->slba, cmd->nlb);
	if (!cmd->status)
		cmd_alloc_buf(cmd);
}
