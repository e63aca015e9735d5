/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a controller has to hear of its host before it shows all it can, each if it applies:
 *
 *	host behaviour (FID 16h): retry delays are obeyed, extended formats are understood
 *	─► combinations of command sets (CNS 1Ch) ─► the one in force (FID 19h) ─► a better one
 */
#include <string.h>

#include <nvme/types.h>

#include "ctrl/ident_cs.h"
#include "ctrl/internal.h"

enum {
	FID_BEHAVIOR = 0x16, BEHAVIOR_LEN = 512, BEHAVIOR_ACRE = 0, BEHAVIOR_LBAFEE = 2,
	FID_PROFILE = 0x19,
	CNS_COMBINATIONS = 0x1c, COMBINATIONS = 512,
};

static const struct nofi_step step_combinations, step_profile, step_set_profile;

/* ---- host behaviour ---- */

static bool has_delays(const struct nof_ctrl *ctrl)
{
	const uint32_t *t = ctrl->ident.crdt_ms;

	return t[0] || t[1] || t[2];
}

static void ask_combinations(struct nof_ctrl *ctrl)
{
	if (NVME_CC_CSS(ctrl->cc) == NVME_CC_CSS_CSI)
		nofi_step_enter(ctrl, &step_combinations);
	else
		nofi_bringup_namespaces(ctrl);
}

static int behavior_send(struct nof_ctrl *ctrl)
{
	memset(ctrl->page, 0, BEHAVIOR_LEN);
	ctrl->page[BEHAVIOR_ACRE] = has_delays(ctrl);
	ctrl->page[BEHAVIOR_LBAFEE] = (ctrl->ident.ctratt & NOFI_CTRATT_ELBAS) != 0;
	nofi_cmd_set_feature(&ctrl->step_cmd, FID_BEHAVIOR, 0);
	ctrl->step_cmd.iov.iov_base = ctrl->page;
	ctrl->step_cmd.iov.iov_len = BEHAVIOR_LEN;
	ctrl->step_cmd.dir = NOFI_DIR_WRITE;
	return nofi_acmd_send(&ctrl->step_cmd);
}

/* Refused, it is as if there were neither: nothing depends on it but what it would give. */
static void behavior_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	ctrl->has_acre = !cpl->status && has_delays(ctrl);
	ask_combinations(ctrl);
}

static const struct nofi_step step_behavior = {
	"Set Features: host behavior", behavior_send, behavior_done, true
};

void nofi_hostcaps_start(struct nof_ctrl *ctrl)
{
	ctrl->has_acre = false;
	if (has_delays(ctrl) || ctrl->ident.ctratt & NOFI_CTRATT_ELBAS)
		nofi_step_enter(ctrl, &step_behavior);
	else
		ask_combinations(ctrl);
}

/* ---- command sets ---- */

static unsigned worth(uint64_t combination)
{
	return (combination >> NOFI_CSI_NVM & 1) + (combination >> NOFI_CSI_ZNS & 1);
}

unsigned nofi_profile_best(const uint8_t page[NOFI_PAGE], unsigned now)
{
	unsigned best = now < COMBINATIONS ? now : 0;

	for (unsigned i = 0; i < COMBINATIONS; i++)
		if (worth(nofi_get64(page + 8 * i)) > worth(nofi_get64(page + 8 * best)))
			best = i;
	return best;
}

static int combinations_send(struct nof_ctrl *ctrl)
{
	nofi_cmd_identify(&ctrl->step_cmd, CNS_COMBINATIONS, 0, 0, ctrl->page);
	nofi_put16(ctrl->step_cmd.sqe + 42, 0xffff);	/* CNTID: of the one that is asked */
	return nofi_acmd_send(&ctrl->step_cmd);
}

static void combinations_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	/* Unknown, or only one: there is nothing to choose from. */
	if (cpl->status || !nofi_get64(ctrl->page + 8))
		nofi_bringup_namespaces(ctrl);
	else
		nofi_step_enter(ctrl, &step_profile);
}

static const struct nofi_step step_combinations = {
	"Identify command set combinations", combinations_send, combinations_done, true
};

static int profile_send(struct nof_ctrl *ctrl)
{
	nofi_cmd_simple(&ctrl->step_cmd, nvme_admin_get_features, 0);
	ctrl->step_cmd.sqe[40] = FID_PROFILE;
	return nofi_acmd_send(&ctrl->step_cmd);
}

static void profile_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	unsigned now = (unsigned)cpl->result & (COMBINATIONS - 1);

	ctrl->profile = nofi_profile_best(ctrl->page, now);
	if (cpl->status || ctrl->profile == now)
		nofi_bringup_namespaces(ctrl);
	else
		nofi_step_enter(ctrl, &step_set_profile);
}

static const struct nofi_step step_profile = {
	"Get Features: command set profile", profile_send, profile_done, true
};

static int set_profile_send(struct nof_ctrl *ctrl)
{
	nofi_cmd_set_feature(&ctrl->step_cmd, FID_PROFILE, ctrl->profile);
	return nofi_acmd_send(&ctrl->step_cmd);
}

static void set_profile_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	if (cpl->status)
		nofi_log(ctrl->loop, NOF_LOG_INFO, "%s: command set profile %u was refused: %s",
			 ctrl->opts.subnqn, ctrl->profile, nof_status_string(cpl->status));
	nofi_bringup_namespaces(ctrl);
}

static const struct nofi_step step_set_profile = {
	"Set Features: command set profile", set_profile_send, set_profile_done, true
};
