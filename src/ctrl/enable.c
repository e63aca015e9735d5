/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Enabling a controller (F-6, checklist 2.2):
 *
 *	CAP ─► VS ─► CC ─► [disable ─► RDY 0] ─► set CC ─► CAP again ─► [CRTO]
 *	    ─► set CC.EN ─► RDY 1 ─► identify
 */
#include <errno.h>

#include <nvme/types.h>

#include "ctrl/internal.h"

enum {
	CC_EN = 1u << 0,
	CC_IOSQES_64 = 6u << 16,
	CC_IOCQES_16 = 4u << 20,
	CSTS_RDY = 1u << 0,
};

static const struct nofi_step step_vs, step_cc, step_disable, step_configure, step_cap_again,
	step_crto, step_enable;

/* CAP.TO counts 500 ms; one more, because a timeout of 0 is no time at all. */
static uint32_t cap_timeout_ms(uint64_t cap)
{
	return ((uint32_t)NVME_CAP_TO(cap) + 1) * 500;
}

static int check_cap(struct nof_ctrl *ctrl, uint64_t cap)
{
	const char *bad = NULL;

	if (cap == UINT64_MAX)
		bad = "all ones, which means that the controller is gone";
	else if (NVME_CAP_MQES(cap) < 1)
		bad = "queues of one entry (MQES 0)";
	else if (NVME_CAP_MPSMIN(cap) > NVME_CAP_MPSMAX(cap))
		bad = "a smallest page above the largest (MPSMIN > MPSMAX)";
	if (bad) {
		nofi_ctrl_failf(ctrl, -EPROTO, "CAP (%#llx) says %s; the target is at fault",
				(unsigned long long)cap, bad);
		return -EPROTO;
	}
	ctrl->cap = cap;
	ctrl->ready_ms = cap_timeout_ms(cap);
	return 0;
}

static int cap_send(struct nof_ctrl *ctrl)
{
	nofi_cmd_prop_get(&ctrl->step_cmd, NVME_REG_CAP, true);
	return nofi_acmd_send(&ctrl->step_cmd);
}

static void cap_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	if (check_cap(ctrl, cpl->result) == 0)
		nofi_step_enter(ctrl, &step_vs);
}

static int vs_send(struct nof_ctrl *ctrl)
{
	nofi_cmd_prop_get(&ctrl->step_cmd, NVME_REG_VS, false);
	return nofi_acmd_send(&ctrl->step_cmd);
}

static void vs_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	ctrl->vs = (uint32_t)cpl->result;
	nofi_step_enter(ctrl, &step_cc);
}

static int cc_send(struct nof_ctrl *ctrl)
{
	nofi_cmd_prop_get(&ctrl->step_cmd, NVME_REG_CC, false);
	return nofi_acmd_send(&ctrl->step_cmd);
}

static void cc_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	ctrl->cc = (uint32_t)cpl->result;
	nofi_step_enter(ctrl, ctrl->cc & CC_EN ? &step_disable : &step_configure);
}

static int cc_write(struct nof_ctrl *ctrl)
{
	nofi_cmd_prop_set(&ctrl->step_cmd, NVME_REG_CC, ctrl->cc);
	return nofi_acmd_send(&ctrl->step_cmd);
}

static int disable_send(struct nof_ctrl *ctrl)
{
	ctrl->cc &= ~(uint32_t)CC_EN;
	return cc_write(ctrl);
}

static void disable_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	nofi_csts_wait(ctrl, "become disabled", CSTS_RDY, 0, ctrl->ready_ms, &step_configure);
}

/* All but EN first: what CAP says may depend on the command set chosen. */
static int configure_send(struct nof_ctrl *ctrl)
{
	uint32_t css = 0;

	if (NVME_CAP_CSS(ctrl->cap) & NVME_CAP_CSS_CSI)
		css = NVME_CC_CSS_CSI;
	else if (!(NVME_CAP_CSS(ctrl->cap) & NVME_CAP_CSS_NVM) &&
		 NVME_CAP_CSS(ctrl->cap) & NVME_CAP_CSS_ADMIN)
		css = NVME_CC_CSS_ADMIN;
	ctrl->cc = css << NVME_CC_CSS_SHIFT | CC_IOSQES_64 | CC_IOCQES_16 |
		   (uint32_t)NVME_CAP_MPSMIN(ctrl->cap) << NVME_CC_MPS_SHIFT;
	return cc_write(ctrl);
}

static void configure_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	nofi_step_enter(ctrl, &step_cap_again);
}

static void cap_again_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	if (check_cap(ctrl, cpl->result) < 0)
		return;
	nofi_step_enter(ctrl, NVME_CAP_CRMS(ctrl->cap) ? &step_crto : &step_enable);
}

static int crto_send(struct nof_ctrl *ctrl)
{
	nofi_cmd_prop_get(&ctrl->step_cmd, NVME_REG_CRTO, false);
	return nofi_acmd_send(&ctrl->step_cmd);
}

/* CRWMT may exceed what fits in CAP.TO; its 16 bits of 500 ms are bounded by 10 minutes here. */
static void crto_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	uint32_t crwmt_ms = (uint32_t)(cpl->result & 0xffff) * 500;

	if (crwmt_ms > 600000)
		crwmt_ms = 600000;
	if (!cpl->status && crwmt_ms > ctrl->ready_ms)
		ctrl->ready_ms = crwmt_ms;
	nofi_step_enter(ctrl, &step_enable);
}

static int enable_send(struct nof_ctrl *ctrl)
{
	ctrl->cc |= CC_EN;
	return cc_write(ctrl);
}

static void enable_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	nofi_csts_wait(ctrl, "become ready", CSTS_RDY, CSTS_RDY, ctrl->ready_ms,
		       &nofi_step_identify);
}

const struct nofi_step nofi_step_cap = { "Property Get CAP", cap_send, cap_done, false };
static const struct nofi_step step_vs = { "Property Get VS", vs_send, vs_done, false };
static const struct nofi_step step_cc = { "Property Get CC", cc_send, cc_done, false };
static const struct nofi_step step_disable = {
	"Property Set CC (disable)", disable_send, disable_done, false
};
static const struct nofi_step step_configure = {
	"Property Set CC", configure_send, configure_done, false
};
static const struct nofi_step step_cap_again = {
	"Property Get CAP", cap_send, cap_again_done, false
};
static const struct nofi_step step_crto = { "Property Get CRTO", crto_send, crto_done, true };
static const struct nofi_step step_enable = {
	"Property Set CC (enable)", enable_send, enable_done, false
};
