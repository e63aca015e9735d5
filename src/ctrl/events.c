/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asynchronous events (F-12): one request is always with the controller. A
 * change of the namespaces makes us read the list of changes (which lets the
 * controller report the next one) and the active list again. Everything else
 * is logged. A flood is slowed down by asking for the next event later.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/internal.h"

enum {
	EVENTS_PER_SECOND = 10,
	TYPE_ERROR = 0, TYPE_SMART = 1, TYPE_NOTICE = 2,
	NOTICE_NS_CHANGED = 0x00,
	NOTICE_DISCOVERY = 0xf0,
	LOG_CHANGED_NS = 0x04,
	CNS_NS_LIST = 0x02,
};

/* ---- re-reading the namespaces: an operation of our own ---- */

static void rescan_start(struct nofi_op *op);
static void rescan_again(struct nof_ctrl *ctrl);

static void rescan_end(struct nofi_op *op)
{
	struct nof_ctrl *ctrl = op->ctrl;

	ctrl->has_rescan = false;
	if (op->err.code)
		nofi_log(ctrl->loop, NOF_LOG_WARN,
			 "%s: the namespaces changed, but reading the new "
			 "list failed: %s",
			 ctrl->opts.subnqn, op->err.text);
	free(op);
	if (ctrl->is_rescan_due)
		rescan_again(ctrl);
}

static void rescan_again(struct nof_ctrl *ctrl)
{
	struct nofi_op *op;

	ctrl->is_rescan_due = ctrl->has_rescan;
	if (ctrl->has_rescan || ctrl->state != NOF_CTRL_LIVE)
		return;
	op = calloc(1, sizeof(*op));
	if (!op)
		return;
	op->ctrl = ctrl;
	op->what = "namespace scan";
	op->start = rescan_start;
	op->end = rescan_end;
	ctrl->has_rescan = true;
	nofi_op_submit(op);
}

static void rescan_list(struct nofi_op *op, const struct nofi_cpl *cpl);

static void rescan_read(struct nofi_op *op)
{
	nofi_cmd_identify(&op->ctrl->op_cmd, CNS_NS_LIST, op->ctrl->new_last, 0, op->ctrl->op_page);
	nofi_op_send(op, "Identify active namespaces", rescan_list, false);
}

static void rescan_list(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	int r = nofi_nslist_take(op->ctrl, op->ctrl->op_page, &op->err);

	if (r > 0) {
		rescan_read(op);
		return;
	}
	if (r == 0)
		nofi_log(op->ctrl->loop, NOF_LOG_INFO, "%s: namespaces changed, now %u",
			 op->ctrl->opts.subnqn, op->ctrl->nnsids);
	nofi_op_finish(op);
}

/* What the log says is not needed, we read the whole list; reading it clears the event. */
static void rescan_log(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	nofi_nslist_begin(op->ctrl);
	rescan_read(op);
}

static void rescan_start(struct nofi_op *op)
{
	nofi_cmd_get_log(&op->ctrl->op_cmd, LOG_CHANGED_NS, 0, false, op->ctrl->op_page, NOFI_PAGE);
	nofi_op_send(op, "Get Log Page: changed namespaces", rescan_log, true);
}

/* ---- events ---- */

static void aer_send(struct nof_ctrl *ctrl)
{
	int r;

	nofi_cmd_simple(&ctrl->aer_cmd, nvme_admin_async_event, NOFI_CMD_NO_TIMEOUT);
	r = nofi_acmd_send(&ctrl->aer_cmd);
	if (r < 0 && r != -ENOTCONN)
		nofi_log(ctrl->loop, NOF_LOG_WARN, "%s: no more asynchronous events: %s",
			 ctrl->opts.subnqn, strerror(-r));
}

static void aer_tick(struct nofi_timer *t)
{
	aer_send(nofi_of(t, struct nof_ctrl, aer_timer));
}

static void rearm(struct nof_ctrl *ctrl)
{
	uint64_t now = nofi_loop_now(ctrl->loop);

	if (now - ctrl->aer_window >= 1000 * NOFI_MS) {
		ctrl->aer_window = now;
		ctrl->aer_count = 0;
	}
	if (++ctrl->aer_count < EVENTS_PER_SECOND ||
	    nofi_timer_arm(ctrl->loop, &ctrl->aer_timer, ctrl->aer_window + 1000 * NOFI_MS) < 0)
		aer_send(ctrl);
}

static void aer_done(struct nofi_acmd *c, const struct nofi_cpl *cpl)
{
	struct nof_ctrl *ctrl = c->ctrl;
	uint32_t dw0 = (uint32_t)cpl->result;
	uint8_t type = dw0 & 7, info = (uint8_t)(dw0 >> 8), lid = (uint8_t)(dw0 >> 16);

	if (cpl->error || !ctrl->admin || !ctrl->aer_timer.fn)
		return;
	if (cpl->status) {
		nofi_log(ctrl->loop, NOF_LOG_INFO, "%s: no more asynchronous events: %s",
			 ctrl->opts.subnqn, nof_status_string(cpl->status));
		return;
	}
	if (type == TYPE_NOTICE && info == NOTICE_NS_CHANGED)
		rescan_again(ctrl);
	else
		nofi_log(ctrl->loop,
			 type == TYPE_ERROR || type == TYPE_SMART ? NOF_LOG_WARN : NOF_LOG_INFO,
			 "%s: event type %u info %#x, log page %#x%s", ctrl->opts.subnqn, type,
			 info, lid,
			 type == TYPE_NOTICE && info == NOTICE_DISCOVERY ?
				 " (discovery log changed)" :
				 "");
	rearm(ctrl);
}

void nofi_aer_start(struct nof_ctrl *ctrl)
{
	ctrl->aer_cmd.ctrl = ctrl;
	ctrl->aer_cmd.done = aer_done;
	ctrl->aer_timer.fn = aer_tick;
	ctrl->aer_window = nofi_loop_now(ctrl->loop);
	aer_send(ctrl);
}

void nofi_aer_stop(struct nof_ctrl *ctrl)
{
	nofi_timer_disarm(ctrl->loop, &ctrl->aer_timer);
	ctrl->aer_timer.fn = NULL;
	ctrl->is_rescan_due = false;
}
