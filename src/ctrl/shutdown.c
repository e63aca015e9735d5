/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The clean end (F-7): CC.SHN = normal, wait for CSTS.SHST = complete, close.
 */
#include <nvme/types.h>

#include "ctrl/internal.h"

enum {
	CC_SHN_NORMAL = 1u << 14,
	CSTS_SHST_MASK = 3u << 2,
	CSTS_SHST_COMPLETE = 2u << 2,
	LIMIT_MIN_MS = 5000,
	LIMIT_MAX_MS = 60000,
};

static int over_send(struct nof_ctrl *ctrl)
{
	nofi_steps_stop(ctrl);
	nofi_ctrl_closed(ctrl);
	return 0;
}

/* Not a command: the end of the chain. */
static const struct nofi_step step_over = { "shutdown", over_send, NULL, false };

static int shutdown_send(struct nof_ctrl *ctrl)
{
	ctrl->cc = (ctrl->cc & ~(3u << 14)) | CC_SHN_NORMAL;
	nofi_cmd_prop_set(&ctrl->step_cmd, NVME_REG_CC, ctrl->cc);
	return nofi_acmd_send(&ctrl->step_cmd);
}

static void shutdown_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	uint32_t limit_ms = ctrl->ident.rtd3e_us / 1000;

	limit_ms = limit_ms < LIMIT_MIN_MS ? LIMIT_MIN_MS :
		   limit_ms > LIMIT_MAX_MS ? LIMIT_MAX_MS : limit_ms;
	nofi_csts_wait(ctrl, "shut down", CSTS_SHST_MASK, CSTS_SHST_COMPLETE, limit_ms, &step_over);
}

const struct nofi_step nofi_step_shutdown = {
	"Property Set CC (shutdown)", shutdown_send, shutdown_done, false
};
