/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What others did to reservations: the event (type 6) says only that there is something in
 * log page 80h. It is read until it is empty; each page is told.
 */
#include <stdlib.h>
#include <string.h>

#include "ctrl/internal.h"

enum {
	LOG_RESERVATION = 0x80, LOG_LEN = 64,
	READS_MAX = 256,		/* the controller counts those that wait in a byte */
};

struct resv_op {
	struct nofi_op op;
	unsigned reads;
};

static void read_page(struct resv_op *o);

static void end(struct nofi_op *op)
{
	struct nof_ctrl *ctrl = op->ctrl;

	ctrl->has_resv_log = false;
	free(op);
	if (ctrl->is_resv_due)
		nofi_resv_event(ctrl);
}

static void got_page(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	struct resv_op *o = (struct resv_op *)op;
	struct nofi_resv_note n;

	if (cpl->status || !nofi_resv_note_parse(op->ctrl->op_page, &n)) {
		nofi_op_finish(op);
		return;
	}
	nofi_notify(op->ctrl, NOF_EVENT_RESERVATION, n.nsid, 0, "namespace %u: %s", n.nsid,
		    nofi_resv_note_text(n.type));
	if (++o->reads < READS_MAX)
		read_page(o);
	else
		nofi_op_finish(op);
}

static void read_page(struct resv_op *o)
{
	struct nof_ctrl *ctrl = o->op.ctrl;

	memset(ctrl->op_page, 0, LOG_LEN);
	nofi_cmd_get_log(&ctrl->op_cmd, LOG_RESERVATION, 0, false, ctrl->op_page, LOG_LEN);
	nofi_op_send(&o->op, "Get Log Page: reservation notification", got_page, true);
}

static void start(struct nofi_op *op)
{
	op->ctrl->is_resv_due = false;
	read_page((struct resv_op *)op);
}

void nofi_resv_event(struct nof_ctrl *ctrl)
{
	struct resv_op *o;

	/* What comes while the log is being read may be behind what was read: once more. */
	ctrl->is_resv_due = ctrl->has_resv_log;
	if (ctrl->has_resv_log || ctrl->state != NOF_CTRL_LIVE)
		return;
	o = calloc(1, sizeof(*o));
	if (!o)
		return;
	o->op.ctrl = ctrl;
	o->op.what = "reservation event";
	o->op.start = start;
	o->op.end = end;
	ctrl->has_resv_log = true;
	nofi_op_submit(&o->op);
}
