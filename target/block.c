/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whole blocks from and to a namespace that needs more than moving bytes:
 * blocks marked as bad, and what is moved for Copy and fused commands.
 */
#include <nvme/types.h>
#include <stdlib.h>

#include "target.h"

uint16_t block_read(struct ns *ns, uint64_t slba, uint32_t nlb, uint8_t *out)
{
	if ((ns->special & NS_UNCOR) && range_hits(&ns->uncor, slba, nlb))
		return STATUS_MEDIA(NVME_SC_READ_ERROR);
	return ns_read(ns, slba * ns->stride, out, nlb * ns->stride);
}

uint16_t block_write(struct ns *ns, uint64_t slba, uint32_t nlb, const uint8_t *in)
{
	uint16_t status = ns_write(ns, slba * ns->stride, in, nlb * ns->stride);

	if (!status)
		block_written(ns, slba, nlb);
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

	if (!range_add(&ns->uncor, cmd->slba, cmd->nlb)) {
		cmd_done(cmd, NVME_SC_INTERNAL);
		return;
	}
	ns->special |= NS_UNCOR;
	cmd_done(cmd, 0);
}
