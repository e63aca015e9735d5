/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads that need nothing but moving bytes are answered where they are received: no command is
 * set up, and no header is built twice. Whatever is unusual about one, right or wrong, returns
 * false before anything has changed, and goes the way of all commands (cmd.c, nvm.c), which this
 * must equal in all that a host can see.
 */
#include <nvme/types.h>

#include "fault.h"
#include "target.h"

/* Everything but the range, for which no other command is responsible either. */
static bool is_plain(const struct conn *c, const uint8_t *sqe)
{
	const struct ctrl *ctrl = c->ctrl;

	if (sqe[0] != nvme_cmd_read || !c->qid || c->state != CONN_READY || faults_active)
		return false;
	if (c->hdgst || c->ddgst || c->hpda || c->fused_first || c->is_fused_failed)
		return false;
	/* FUSE 0, an SGL, and in it a transport descriptor. */
	if (sqe[1] != NOFI_SQE_PSDT_SGL || sqe[24 + 15] != NOFI_SGL_TRANSPORT)
		return false;
	return ctrl && (ctrl->cc & 1) && (ctrl->csts & 1) && !ctrl->port->has_blocked;
}

bool fast_read(struct conn *c, const uint8_t *sqe)
{
	uint16_t cid = nofi_get16(sqe + 2);
	uint32_t len = nofi_get32(sqe + 24 + 8), nlb = nofi_get16(sqe + 48) + 1u;
	uint64_t slba = nofi_get64(sqe + 40);
	struct ns *ns;

	if (!is_plain(c, sqe))
		return false;
	ns = ns_find(c->ctrl->subsys, nofi_get32(sqe + 4));
	if (!ns || ns->special || ns->kind == NS_FILE)
		return false;
	if (slba >= ns->blocks || nlb > ns->blocks - slba || len != (uint64_t)nlb * ns->stride)
		return false;
	if ((c->ctrl->mdts && len > (uint64_t)PAGE << c->ctrl->mdts) ||
	    (opt.c2h_size && len > opt.c2h_size))
		return false;
	if (c->nused + tx_unsent_responses(c) >= c->entries || cmd_find(c, cid))
		return false;
	if (opt.tbkas)
		c->ctrl->last_seen = loop_now();
	stats.commands++;
	stats.reads++;
	stats.read_bytes += len;
	cmd_advance_sqhd(c);
	tx_read_answer(c, cid, ns->kind == NS_MEM ? ns->map + slba * ns->stride : NULL, len,
		       opt.success && c->sqflow_off);
	return true;
}
