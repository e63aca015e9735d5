/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Async events. A kind of event is told once, then masked until the host reads
 * its log page; what happens meanwhile is told after that.
 */
#include <nvme/types.h>
#include <stdlib.h>

#include "target.h"

#define AER_LIMIT (0x100u | NVME_SC_ASYNC_LIMIT | DNR)

static const struct {
	uint8_t type, info, lid;
	uint8_t config;			/* bit of feature 0Bh that allows it; 0xff: always */
} kinds[EV_KINDS] = {
	[EV_NS_CHANGED] = { 2, 0, 0x04, 8 },
	[EV_ANA] = { 2, 3, 0x0c, 11 },
	[EV_RESV] = { 6, 0, 0x80, 0xff },
	[EV_FIRMWARE] = { 2, 1, 0x03, 9 },
	[EV_SANITIZE] = { 6, 1, 0x81, 0xff },
	[EV_DISCOVERY] = { 2, 0xf0, 0x70, 31 },
};

/* Tells what is pending, as far as requests are armed. */
static void pump(struct ctrl *ctrl)
{
	struct ctrl_events *ev = &ctrl->ev;

	for (unsigned int k = 0; k < EV_KINDS; k++) {
		uint32_t bit = 1u << k;

		if (!(ev->pending & ~ev->masked & bit))
			continue;
		if (kinds[k].config != 0xff && !(ctrl->features[0x0b] >> kinds[k].config & 1))
			continue;
		if (!ctrl_event(ctrl, kinds[k].type, kinds[k].info, kinds[k].lid))
			return;
		ev->pending &= ~bit;
		ev->masked |= bit;
	}
}

void ctrl_notify(struct ctrl *ctrl, enum event_kind kind)
{
	ctrl->ev.pending |= 1u << kind;
	pump(ctrl);
}

void ctrl_log_read(struct ctrl *ctrl, enum event_kind kind)
{
	ctrl->ev.masked &= ~(1u << kind);
	pump(ctrl);
}

void exec_aer(struct cmd *cmd)
{
	struct ctrl *ctrl = cmd->conn->ctrl;

	if (ctrl->ev.naer == AER_MAX) {
		cmd_done(cmd, AER_LIMIT);
		return;
	}
	cmd->is_parked = true;
	ctrl->ev.aer[ctrl->ev.naer++] = cmd;
	pump(ctrl);
}

void forget_aer(struct ctrl *ctrl, const struct cmd *cmd)
{
	struct ctrl_events *ev = &ctrl->ev;

	for (unsigned int i = 0; i < ev->naer; i++) {
		if (ev->aer[i] != cmd)
			continue;
		ev->aer[i] = ev->aer[--ev->naer];
		return;
	}
}

void abort_aers(struct ctrl *ctrl)
{
	while (ctrl->ev.naer)
		cmd_done(ctrl->ev.aer[--ctrl->ev.naer], NVME_SC_ABORT_REQ | DNR);
}

bool ctrl_event(struct ctrl *ctrl, uint8_t type, uint8_t info, uint8_t lid)
{
	struct conn *c = ctrl->admin;
	struct cmd *cmd;

	if (!ctrl->ev.naer || !c)
		return false;
	cmd = ctrl->ev.aer[--ctrl->ev.naer];
	cmd->dw0 = type | (uint32_t)info << 8 | (uint32_t)lid << 16;
	cmd_done(cmd, 0);
	if (!c->in_rx && c->state != CONN_DEAD)
		tx_flush(c);
	return true;
}

/* ---- log 04h: changed namespaces ---- */

static void add_changed(struct ctrl *ctrl, uint32_t nsid)
{
	unsigned int i = ctrl->nchanged;

	if (!ctrl->changed)
		ctrl->changed = calloc(CHANGED_NS_MAX, sizeof(*ctrl->changed));
	if (!ctrl->changed || i > CHANGED_NS_MAX)
		return;
	for (unsigned int k = 0; k < i; k++)
		if (ctrl->changed[k] == nsid)
			return;
	ctrl->nchanged++;
	if (i == CHANGED_NS_MAX)
		return;
	while (i && ctrl->changed[i - 1] > nsid) {
		ctrl->changed[i] = ctrl->changed[i - 1];
		i--;
	}
	ctrl->changed[i] = nsid;
}

void ctrl_ns_changed(struct ctrl *ctrl, uint32_t nsid)
{
	add_changed(ctrl, nsid);
	ctrl_notify(ctrl, EV_NS_CHANGED);
}

void subsys_ns_changed(struct subsys *s, uint32_t nsid)
{
	struct ctrl *next;

	for (struct ctrl *k = s->ctrls; k; k = next) {
		next = k->next;		/* telling it may be the end of it */
		ctrl_ns_changed(k, nsid);
	}
}

uint8_t *log_ns_changed(struct ctrl *ctrl, bool is_kept, size_t *len)
{
	uint8_t *l = calloc(1, CHANGED_NS_MAX * 4);

	if (!l)
		return NULL;
	*len = CHANGED_NS_MAX * 4;
	if (ctrl->nchanged > CHANGED_NS_MAX)
		nofi_put32(l, 0xffffffff);	/* too many: look at all of them */
	else
		for (unsigned int i = 0; i < ctrl->nchanged; i++)
			nofi_put32(l + 4 * i, ctrl->changed[i]);
	if (!is_kept)
		ctrl->nchanged = 0;
	return l;
}
