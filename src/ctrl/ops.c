/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Operations on a live controller: one at a time, the others wait their turn.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/internal.h"

static void move_to_ended(struct nof_ctrl *ctrl, struct nofi_op *op)
{
	op->next = NULL;
	if (ctrl->ended_tail)
		ctrl->ended_tail->next = op;
	else
		ctrl->ended_head = op;
	ctrl->ended_tail = op;
	nofi_ctrl_schedule(ctrl);
}

/* The head of the list is the one that runs. */
int nofi_op_submit(struct nofi_op *op)
{
	struct nof_ctrl *ctrl = op->ctrl;

	if (ctrl->state != NOF_CTRL_LIVE)
		return nofi_ctrl_not_live(ctrl, op->what, &op->err);
	op->next = NULL;
	op->err.code = 0;
	op->status = 0;
	op->result = 0;
	op->is_given_up = false;
	if (ctrl->op_tail)
		ctrl->op_tail->next = op;
	else
		ctrl->op_head = op;
	ctrl->op_tail = op;
	if (ctrl->op_head == op)
		op->start(op);
	return 0;
}

void nofi_op_finish(struct nofi_op *op)
{
	struct nof_ctrl *ctrl = op->ctrl;

	ctrl->op_head = op->next;
	if (!ctrl->op_head)
		ctrl->op_tail = NULL;
	move_to_ended(ctrl, op);
	/* Starting one may end it at once: then it starts the next itself. */
	if (ctrl->op_head)
		ctrl->op_head->start(ctrl->op_head);
}

static void op_cmd_done(struct nofi_acmd *c, const struct nofi_cpl *cpl)
{
	struct nofi_op *op = c->ctrl->op_head;

	if (op && op->is_given_up) {
		nofi_op_finish(op);
		return;
	}
	if (!op || c->ctrl->state != NOF_CTRL_LIVE)
		return;		/* nofi_ops_fail_all() ends it */
	if (cpl->error) {
		nofi_err_set(&op->err, cpl->error, "%s: %s: %s", op->what, op->cmd_what,
			     cpl->detail);
		nofi_op_finish(op);
		return;
	}
	if (cpl->status && !op->is_optional) {
		op->status = cpl->status;
		nofi_err_set(&op->err, nof_status_errno(cpl->status),
			     "%s: %s: the target refused with \"%s\" (status %#x)", op->what,
			     op->cmd_what, nof_status_string(cpl->status), cpl->status);
		nofi_op_finish(op);
		return;
	}
	op->next_fn(op, cpl);
}

void nofi_op_send(struct nofi_op *op, const char *what,
		  void (*next)(struct nofi_op *op, const struct nofi_cpl *cpl), bool is_optional)
{
	struct nof_ctrl *ctrl = op->ctrl;
	int r;

	op->cmd_what = what;
	op->next_fn = next;
	op->is_optional = is_optional;
	ctrl->op_cmd.ctrl = ctrl;
	ctrl->op_cmd.done = op_cmd_done;
	r = nofi_acmd_send(&ctrl->op_cmd);
	if (r < 0) {
		nofi_err_set(&op->err, r, "%s: %s: the command could not be sent: %s", op->what,
			     what, strerror(-r));
		nofi_op_finish(op);
	}
}

void nofi_ops_fail_all(struct nof_ctrl *ctrl, const struct nofi_err *err)
{
	struct nofi_op *op = ctrl->op_head, *held = NULL, *next;

	/*
	 * On a connection that lives on, for the clean end, data of the command under way may
	 * still be moved: its operation ends with the command, at the latest with the queue.
	 */
	if (op && ctrl->op_cmd.is_busy)
		held = op;
	ctrl->op_head = held;
	ctrl->op_tail = held;
	for (; op; op = next) {
		next = op->next;
		op->next = NULL;
		nofi_err_set(&op->err, err->code, "%s: %s", op->what, err->text);
		if (op == held)
			op->is_given_up = true;
		else
			move_to_ended(ctrl, op);
	}
}
