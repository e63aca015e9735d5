/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * NVM Subsystem Reset (F-7): "NVMe" is written to NSSR, and every controller of the
 * subsystem resets. Whether the target answers that or just closes is its choice, so both
 * end as a reset that was asked for: one attempt to reconnect in any case.
 *
 * Until the command is sent the user's completion belongs to the op, which fails with the
 * association; from then on it waits, like those of nof_ctrl_reset(), for what comes after.
 */
#include <errno.h>
#include <stdlib.h>

#include <nvme/types.h>

#include "ctrl/internal.h"

enum { NSSR_MAGIC = 0x4e564d65 };	/* "NVMe" */

struct nssr {
	struct nofi_op op;
	struct nofi_reset *wait;	/* of ctrl->resets once the command is sent */
};

/* The completion belongs to the op again: nothing was reset. */
static void take_back(struct nssr *n)
{
	struct nofi_reset **p;

	for (p = &n->op.ctrl->resets; *p != n->wait; p = &(*p)->next)
		;
	*p = n->wait->next;
	n->op.done = n->wait->done;
}

static void answered(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	struct nof_ctrl *ctrl = op->ctrl;
	struct nofi_err why;

	if (cpl->status) {
		op->status = cpl->status;
		nofi_err_set(&op->err, nof_status_errno(cpl->status),
			     "%s: %s: the target refused with \"%s\" (status %#x)", op->what,
			     op->cmd_what, nof_status_string(cpl->status), cpl->status);
		take_back(nofi_of(op, struct nssr, op));
		nofi_op_finish(op);
		return;
	}
	nofi_op_finish(op);
	nofi_err_set(&why, -ECONNRESET, "nof_ctrl_subsystem_reset() was called");
	nofi_ctrl_event(ctrl, NOFI_FSM_RESET, &why);
}

static void start(struct nofi_op *op)
{
	struct nssr *n = nofi_of(op, struct nssr, op);
	struct nof_ctrl *ctrl = op->ctrl;

	n->wait->done = op->done;
	n->wait->arg = op->arg;
	n->wait->next = ctrl->resets;
	ctrl->resets = n->wait;
	op->done = NULL;
	nofi_cmd_prop_set(&ctrl->op_cmd, NVME_REG_NSSR, NSSR_MAGIC);
	nofi_op_send(op, "Property Set NSSR", answered, true);
	if (op->err.code)
		take_back(n);
}

static void end(struct nofi_op *op)
{
	struct nssr *n = nofi_of(op, struct nssr, op);

	if (op->done)			/* else it is the list's */
		free(n->wait);
	free(n);
}

int nof_ctrl_subsystem_reset(struct nof_ctrl *ctrl, nof_done_fn *done, void *arg)
{
	struct nofi_err err;
	struct nssr *n;
	int r;

	if (!ctrl || !done)
		return nofi_fail(-EINVAL, "nof_ctrl_subsystem_reset: ctrl and done must not be "
				 "NULL");
	if (ctrl->state != NOF_CTRL_LIVE) {
		nofi_ctrl_not_live(ctrl, "nof_ctrl_subsystem_reset", &err);
		return nofi_fail_err(&err);
	}
	if (!NVME_CAP_NSSRC(ctrl->cap))
		return nofi_fail(-EOPNOTSUPP, "nof_ctrl_subsystem_reset: the controller does not "
				 "support it: CAP.NSSRS (bit 36) is 0; nof_ctrl_reset() renews "
				 "this association only");
	n = calloc(1, sizeof(*n));
	if (n)
		n->wait = calloc(1, sizeof(*n->wait));
	if (!n || !n->wait) {
		free(n);
		return nofi_fail(-ENOMEM, "nof_ctrl_subsystem_reset: out of memory");
	}
	n->op.ctrl = ctrl;
	n->op.what = "nof_ctrl_subsystem_reset";
	n->op.start = start;
	n->op.end = end;
	n->op.done = done;
	n->op.arg = arg;
	r = nofi_op_submit(&n->op);
	if (r < 0) {
		nofi_fail_err(&n->op.err);
		free(n->wait);
		free(n);
	}
	return r;
}
