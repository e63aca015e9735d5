/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What more has to be asked before a namespace can be used, each if it applies:
 *
 *	limits of the NVM command set (CNS 06, once per controller)
 *	─► guard format (CNS 05) ─► zones (CNS 05, CSI 2)
 *	─► append limit (CNS 06, CSI 2) and commands (log 05h, CSI 2), once per controller
 *
 * Runs inside an operation that has done CNS 00 and 03.
 */
#include <errno.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/ident_cs.h"
#include "ctrl/internal.h"

enum { CNS_CSI_NS = 0x05, CNS_CSI_CTRL = 0x06, LOG_EFFECTS = 0x05, OPC_ZONE_APPEND = 0x7d };

static void ask_elbaf(struct nofi_op *op);
static void ask_zones(struct nofi_op *op);
static void ask_zasl(struct nofi_op *op);
static void ask_effects(struct nofi_op *op);

static uint8_t mpsmin(const struct nof_ctrl *ctrl)
{
	return (uint8_t)(ctrl->cap >> 48 & 0xf);
}

static void finish(struct nofi_op *op, const struct nofi_err *err)
{
	struct nofi_ns_extra *x = &op->ctrl->extra;

	if (!err)
		nofi_ns_set_plain(x->id);
	x->done(op, err);
}

static void refuse(struct nofi_op *op, const char *what, const struct nofi_cpl *cpl)
{
	struct nofi_err err;

	op->status = cpl->status;
	nofi_err_set(&err, nof_status_errno(cpl->status), "%s of namespace %u: the target refused "
		     "with \"%s\" (status %#x)", what, op->ctrl->extra.id->nsid,
		     nof_status_string(cpl->status), cpl->status);
	finish(op, &err);
}

/* ---- limits ---- */

static void have_limits(struct nofi_op *op)
{
	struct nof_ctrl *ctrl = op->ctrl;

	nofi_ns_apply_limits(ctrl->extra.id, &ctrl->nvm_limits, mpsmin(ctrl));
	ask_elbaf(op);
}

static void got_limits(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	struct nof_ctrl *ctrl = op->ctrl;

	/* Older controllers do not know CNS 06: then there are no such limits. */
	ctrl->has_nvm_limits = true;
	if (!cpl->status)
		nofi_ident_nvm(ctrl->op_page, &ctrl->nvm_limits);
	have_limits(op);
}

void nofi_ns_extra(struct nofi_op *op, struct nofi_ns_ident *id,
		   void (*done)(struct nofi_op *op, const struct nofi_err *err))
{
	struct nof_ctrl *ctrl = op->ctrl;
	struct nofi_err err;

	ctrl->extra.id = id;
	ctrl->extra.done = done;
	if (id->csi != NOFI_CSI_NVM && id->csi != NOFI_CSI_ZNS) {
		nofi_err_set(&err, -ENOTSUP, "namespace %u has command set %u; this version drives "
			     "NVM (0) and zoned namespaces (2)", id->nsid, id->csi);
		finish(op, &err);
		return;
	}
	if (ctrl->has_nvm_limits) {
		have_limits(op);
		return;
	}
	nofi_cmd_identify(&ctrl->op_cmd, CNS_CSI_CTRL, 0, NOFI_CSI_NVM, ctrl->op_page);
	nofi_op_send(op, "Identify command set limits", got_limits, true);
}

/* ---- guard format ---- */

static void got_elbaf(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	struct nofi_err err;

	if (cpl->status)
		refuse(op, "Identify guard format", cpl);
	else if (nofi_ident_elbaf(op->ctrl->op_page, op->ctrl->extra.id, &err) < 0)
		finish(op, &err);
	else
		ask_zones(op);
}

static void ask_elbaf(struct nofi_op *op)
{
	struct nof_ctrl *ctrl = op->ctrl;

	if (!nofi_ident_wants_elbaf(ctrl->extra.id, &ctrl->ident)) {
		ask_zones(op);
		return;
	}
	nofi_cmd_identify(&ctrl->op_cmd, CNS_CSI_NS, ctrl->extra.id->nsid, NOFI_CSI_NVM,
			  ctrl->op_page);
	nofi_op_send(op, "Identify guard format", got_elbaf, true);
}

/* ---- zones ---- */

static void got_zones(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	struct nofi_err err;

	if (cpl->status)
		refuse(op, "Identify zones", cpl);
	else if (nofi_ident_zns(op->ctrl->op_page, op->ctrl->extra.id, &err) < 0)
		finish(op, &err);
	else
		ask_zasl(op);
}

static void ask_zones(struct nofi_op *op)
{
	struct nof_ctrl *ctrl = op->ctrl;

	if (ctrl->extra.id->csi != NOFI_CSI_ZNS) {
		finish(op, NULL);
		return;
	}
	nofi_cmd_identify(&ctrl->op_cmd, CNS_CSI_NS, ctrl->extra.id->nsid, NOFI_CSI_ZNS,
			  ctrl->op_page);
	nofi_op_send(op, "Identify zones", got_zones, true);
}

static void have_zns(struct nofi_op *op)
{
	struct nof_ctrl *ctrl = op->ctrl;

	nofi_ns_apply_zasl(ctrl->extra.id, ctrl->zasl, mpsmin(ctrl));
	/* No log, no knowledge: then the controller has the last word. */
	if (!ctrl->zns_effects.is_known ||
	    nofi_effects_has(ctrl->zns_effects.io, OPC_ZONE_APPEND))
		ctrl->extra.id->features |= NOF_NS_ZONE_APPEND;
	finish(op, NULL);
}

static void got_effects(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	if (!cpl->status)
		nofi_effects_parse(op->ctrl->op_page, &op->ctrl->zns_effects);
	op->ctrl->has_zns = true;
	have_zns(op);
}

static void ask_effects(struct nofi_op *op)
{
	struct nof_ctrl *ctrl = op->ctrl;

	if (!(ctrl->ident.lpa & NVME_CTRL_LPA_CMD_EFFECTS)) {
		ctrl->has_zns = true;
		have_zns(op);
		return;
	}
	memset(ctrl->op_page, 0, NOFI_PAGE);
	nofi_cmd_get_log(&ctrl->op_cmd, LOG_EFFECTS, 0, false, ctrl->op_page, NOFI_PAGE);
	ctrl->op_cmd.sqe[59] = NOFI_CSI_ZNS;	/* CDW14 31:24 */
	nofi_op_send(op, "Get Log Page: commands of zoned namespaces", got_effects, true);
}

static void got_zasl(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	op->ctrl->zasl = cpl->status ? 0 : op->ctrl->op_page[0];
	ask_effects(op);
}

static void ask_zasl(struct nofi_op *op)
{
	struct nof_ctrl *ctrl = op->ctrl;

	if (ctrl->has_zns) {
		have_zns(op);
		return;
	}
	nofi_cmd_identify(&ctrl->op_cmd, CNS_CSI_CTRL, 0, NOFI_CSI_ZNS, ctrl->op_page);
	nofi_op_send(op, "Identify append limit", got_zasl, true);
}
