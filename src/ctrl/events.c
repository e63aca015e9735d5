/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asynchronous events (F-12): one request is always with the controller. Each kind is
 * told to the user; its log page is read, which lets the controller report the next
 * one of that kind. A change of the namespaces makes us read the active list again
 * as well. A flood is slowed down by asking for the next event later.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/internal.h"
#include "ctrl/path.h"

enum {
	EVENTS_PER_SECOND = 10,
	TYPE_ERROR = 0, TYPE_SMART = 1, TYPE_NOTICE = 2, TYPE_COMMAND_SET = 6,
	RESERVATION = 0x00,		/* of the command set's: log page 80h has something */
	NOTICE_NS_CHANGED = 0x00,
	NOTICE_FW_ACTIVATION = 0x01,
	NOTICE_ANA = 0x03,
	NOTICE_DISCOVERY = 0xf0,
	LOG_ERROR = 0x01, LOG_SMART = 0x02, LOG_FIRMWARE = 0x03, LOG_CHANGED_NS = 0x04,
	LOG_SMALL = 512,	/* of the first three, what has to be read */
	CNS_NS_LIST = 0x02,
};

/* ---- re-reading the namespaces: an operation of our own ---- */

static void rescan_start(struct nofi_op *op);
static void rescan_again(struct nof_ctrl *ctrl);

struct rescan {
	struct nofi_op op;
	uint32_t changed[NOFI_NSIDS_PER_PAGE];	/* what log 04h named, ascending or not */
	uint32_t nchanged;
	bool is_all;			/* too many to be named */
	uint32_t *old;			/* the list before */
	uint32_t nold;
};

static bool has_nsid(const uint32_t *ids, uint32_t n, uint32_t nsid)
{
	for (uint32_t i = 0; i < n; i++)
		if (ids[i] == nsid)
			return true;
	return false;
}

/* Both lists ascend. s: what the controller said of those that stayed, or NULL. */
static void tell_differences(struct nof_ctrl *ctrl, const uint32_t *old, uint32_t nold,
			     const struct rescan *s)
{
	uint32_t i = 0, k = 0;

	while (i < nold || k < ctrl->nnsids) {
		uint32_t was = i < nold ? old[i] : UINT32_MAX;
		uint32_t is = k < ctrl->nnsids ? ctrl->nsids[k] : UINT32_MAX;

		if (was < is) {
			nofi_notify(ctrl, NOF_EVENT_NS_REMOVED, was, 0,
				    "namespace %u is not active any more", was);
			nofi_paths_recheck(ctrl, was);
			i++;
		} else if (is < was) {
			nofi_notify(ctrl, NOF_EVENT_NS_ADDED, is, 0, "namespace %u is active", is);
			nofi_paths_recheck(ctrl, is);
			k++;
		} else {
			bool is_named = s && !s->is_all &&
					has_nsid(s->changed, s->nchanged, is);

			if (is_named || (s && s->is_all))
				nofi_paths_recheck(ctrl, is);
			if (is_named)
				nofi_notify(ctrl, NOF_EVENT_NS_CHANGED, is, 0,
					    "size or attributes of namespace %u changed", is);
			i++;
			k++;
		}
	}
	if (s && s->is_all)
		nofi_notify(ctrl, NOF_EVENT_NS_CHANGED, 0, 0, "more namespaces changed than the "
			    "controller can name");
}

void nofi_events_relisted(struct nof_ctrl *ctrl)
{
	if (ctrl->old_nsids)
		tell_differences(ctrl, ctrl->old_nsids, ctrl->nold_nsids, NULL);
	free(ctrl->old_nsids);
	ctrl->old_nsids = NULL;
}

static void rescan_end(struct nofi_op *op)
{
	struct rescan *s = (struct rescan *)op;
	struct nof_ctrl *ctrl = op->ctrl;

	ctrl->has_rescan = false;
	free(s->old);
	if (op->err.code)
		nofi_log(ctrl->loop, NOF_LOG_WARN,
			 "%s: the namespaces changed, but reading the new "
			 "list failed: %s",
			 ctrl->opts.subnqn, op->err.text);
	free(s);
	if (ctrl->is_rescan_due)
		rescan_again(ctrl);
}

static void rescan_again(struct nof_ctrl *ctrl)
{
	struct rescan *s;

	ctrl->is_rescan_due = ctrl->has_rescan;
	if (ctrl->has_rescan || ctrl->state != NOF_CTRL_LIVE)
		return;
	s = calloc(1, sizeof(*s));
	if (!s)
		return;
	s->op.ctrl = ctrl;
	s->op.what = "namespace scan";
	s->op.start = rescan_start;
	s->op.end = rescan_end;
	ctrl->has_rescan = true;
	nofi_op_submit(&s->op);
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
	if (r == 0) {
		nofi_log(op->ctrl->loop, NOF_LOG_INFO, "%s: namespaces changed, now %u",
			 op->ctrl->opts.subnqn, op->ctrl->nnsids);
		tell_differences(op->ctrl, ((struct rescan *)op)->old, ((struct rescan *)op)->nold,
				 (struct rescan *)op);
	}
	nofi_op_finish(op);
}

/* Reading the log clears the event; what was added or removed, the list shows. */
static void rescan_log(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	struct rescan *s = (struct rescan *)op;
	struct nof_ctrl *ctrl = op->ctrl;

	s->is_all = cpl->status || nofi_get32(ctrl->op_page) == 0xffffffff;
	while (!s->is_all && s->nchanged < NOFI_NSIDS_PER_PAGE &&
	       nofi_get32(ctrl->op_page + 4 * s->nchanged)) {
		s->changed[s->nchanged] = nofi_get32(ctrl->op_page + 4 * s->nchanged);
		s->nchanged++;
	}
	s->old = malloc(ctrl->nnsids * sizeof(*s->old) + 1);
	if (s->old) {
		memcpy(s->old, ctrl->nsids, ctrl->nnsids * sizeof(*s->old));
		s->nold = ctrl->nnsids;
	}
	nofi_nslist_begin(ctrl);
	rescan_read(op);
}

static void rescan_start(struct nofi_op *op)
{
	memset(op->ctrl->op_page, 0, NOFI_PAGE);
	nofi_cmd_get_log(&op->ctrl->op_cmd, LOG_CHANGED_NS, 0, false, op->ctrl->op_page, NOFI_PAGE);
	nofi_op_send(op, "Get Log Page: changed namespaces", rescan_log, true);
}

/* ---- logs that are read only so that the controller reports the next event ---- */

static void clear_again(struct nof_ctrl *ctrl);

static void clear_end(struct nofi_op *op)
{
	struct nof_ctrl *ctrl = op->ctrl;

	free(op);
	ctrl->has_clear = false;
	clear_again(ctrl);
}

static void clear_done(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	nofi_op_finish(op);
}

static void clear_start(struct nofi_op *op)
{
	struct nof_ctrl *ctrl = op->ctrl;
	uint8_t lid = ctrl->clear_due & 1u << LOG_ERROR ? LOG_ERROR :
		      ctrl->clear_due & 1u << LOG_SMART ? LOG_SMART : LOG_FIRMWARE;

	ctrl->clear_due &= ~(1u << lid);
	nofi_cmd_get_log(&ctrl->op_cmd, lid, 0, false, ctrl->op_page,
			 lid == LOG_ERROR ? 64 : LOG_SMALL);
	nofi_op_send(op, "Get Log Page (of an event)", clear_done, true);
}

static void clear_again(struct nof_ctrl *ctrl)
{
	struct nofi_op *op;

	if (!ctrl->clear_due || ctrl->has_clear || ctrl->state != NOF_CTRL_LIVE)
		return;
	op = calloc(1, sizeof(*op));
	if (!op)
		return;
	op->ctrl = ctrl;
	op->what = "event";
	op->start = clear_start;
	op->end = clear_end;
	ctrl->has_clear = true;
	nofi_op_submit(op);
}

/* ---- events ---- */

static void tell(struct nof_ctrl *ctrl, enum nof_event_type type, uint32_t dw0, const char *what)
{
	nofi_log(ctrl->loop, type == NOF_EVENT_HEALTH ? NOF_LOG_WARN : NOF_LOG_INFO,
		 "%s: %s: event type %u info %#x, log page %#x", ctrl->opts.subnqn, what, dw0 & 7,
		 dw0 >> 8 & 0xff, dw0 >> 16 & 0xff);
	nofi_notify_aen(ctrl, type, dw0, "the controller reports %s: type %u, info %#x, log page "
			"%#x", what, dw0 & 7, dw0 >> 8 & 0xff, dw0 >> 16 & 0xff);
}

static void on_notice(struct nof_ctrl *ctrl, uint32_t dw0)
{
	switch (dw0 >> 8 & 0xff) {
	case NOTICE_NS_CHANGED:
		rescan_again(ctrl);
		return;
	case NOTICE_FW_ACTIVATION:
		tell(ctrl, NOF_EVENT_FIRMWARE, dw0, "that firmware is being activated");
		ctrl->clear_due |= 1u << LOG_FIRMWARE;
		clear_again(ctrl);
		return;
	case NOTICE_ANA:
		tell(ctrl, NOF_EVENT_ANA, dw0, "a change of access states (ANA)");
		nofi_ana_changed(ctrl);
		return;
	case NOTICE_DISCOVERY:
		tell(ctrl, NOF_EVENT_DISCOVERY, dw0, "a change of the discovery log");
		return;
	}
	tell(ctrl, NOF_EVENT_OTHER, dw0, "a notice");
}

static void on_event(struct nof_ctrl *ctrl, uint32_t dw0)
{
	switch (dw0 & 7) {
	case TYPE_NOTICE:
		on_notice(ctrl, dw0);
		return;
	case TYPE_ERROR:
	case TYPE_SMART:
		tell(ctrl, NOF_EVENT_HEALTH, dw0,
		     (dw0 & 7) == TYPE_ERROR ? "an error" : "a health condition");
		ctrl->clear_due |= 1u << ((dw0 & 7) == TYPE_ERROR ? LOG_ERROR : LOG_SMART);
		clear_again(ctrl);
		return;
	}
	if ((dw0 & 7) == TYPE_COMMAND_SET && (dw0 >> 8 & 0xff) == RESERVATION) {
		nofi_resv_event(ctrl);
		return;
	}
	tell(ctrl, NOF_EVENT_OTHER, dw0, "an event");
}

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

	if (cpl->error || !ctrl->admin || !ctrl->aer_timer.fn)
		return;
	if (cpl->status) {
		nofi_log(ctrl->loop, NOF_LOG_INFO, "%s: no more asynchronous events: %s",
			 ctrl->opts.subnqn, nof_status_string(cpl->status));
		return;
	}
	ctrl->stats.events++;
	on_event(ctrl, (uint32_t)cpl->result);
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
	ctrl->clear_due = 0;
	nofi_ana_stop(ctrl);
	ctrl->has_nvm_limits = false;	/* another association may have others */
}
