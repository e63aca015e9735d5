/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ANA log: read in pieces, again from the start when it changed meanwhile, judged
 * before anything of it is believed. A namespace that stays in transition for longer
 * than twice what the controller said (ANATT) is a reason to start over with it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/internal.h"
#include "ctrl/path.h"

enum {
	LOG_ANA = 0x0c,
	LSP_GROUPS_ONLY = 1,	/* no NSIDs: Identify Namespace names the group */
	TRIES = 6,
	LSP_BYTE = 41,		/* of the SQE: CDW10 bits 15:8 */
};

/* ---- pure ---- */

static bool is_state(uint8_t state)
{
	return (state >= NOF_ANA_OPTIMIZED && state <= NOF_ANA_PERSISTENT_LOSS) ||
	       state == NOF_ANA_CHANGE;
}

int nofi_ana_parse(const uint8_t *log, size_t len, const struct nofi_ana_limits *lim,
		   struct nofi_ana_group *groups, struct nofi_err *err)
{
	uint32_t n, nnsids;
	size_t pos = NOFI_ANA_HEADER;

	if (len < NOFI_ANA_HEADER)
		return nofi_err_set(err, -EPROTO, "ANA log: %zu bytes are less than its header",
				    len);
	n = nofi_get16(log + 8);
	if (n > lim->nanagrpid || n > NOFI_ANA_GROUPS_MAX)
		return nofi_err_set(err, -EPROTO, "ANA log: it has %u groups, but Identify "
				    "Controller said at most %u; the target is at fault", n,
				    lim->nanagrpid);
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *d = log + pos;

		if (len - pos < NOFI_ANA_DESC)
			return nofi_err_set(err, -EPROTO, "ANA log: it ends within group %u of %u",
					    i + 1, n);
		groups[i].id = nofi_get32(d);
		groups[i].state = d[16] & 0xf;
		nnsids = nofi_get32(d + 4);
		if (!groups[i].id || groups[i].id > lim->anagrpmax)
			return nofi_err_set(err, -EPROTO, "ANA log: group %u, but 1 to %u are "
					    "possible; the target is at fault", groups[i].id,
					    lim->anagrpmax);
		if (!is_state(groups[i].state))
			return nofi_err_set(err, -EPROTO, "ANA log: group %u has the state %u, "
					    "which is not defined; the target is at fault",
					    groups[i].id, groups[i].state);
		pos += NOFI_ANA_DESC;
		if (nnsids > lim->nn || nnsids > (len - pos) / 4)
			return nofi_err_set(err, -EPROTO, "ANA log: group %u names %u namespaces, "
					    "more than there can be; the target is at fault",
					    groups[i].id, nnsids);
		pos += nnsids * 4u;
	}
	return (int)n;
}

uint8_t nofi_ana_state(const struct nof_ctrl *ctrl, uint32_t group)
{
	const struct nofi_ana *a = &ctrl->ana;

	if (!ctrl->ident.has_ana || !group || !a->is_known)
		return NOF_ANA_NONE;
	for (uint32_t i = 0; i < a->ngroups; i++)
		if (a->groups[i].id == group)
			return a->groups[i].state;
	return NOF_ANA_INACCESSIBLE;
}

/* ---- reading ---- */

static void got_piece(struct nofi_op *op, const struct nofi_cpl *cpl);

static size_t log_max(const struct nof_ctrl *ctrl)
{
	uint32_t n = ctrl->ident.nanagrpid;

	return NOFI_ANA_HEADER + (size_t)NOFI_ANA_DESC * (n < NOFI_ANA_GROUPS_MAX ? n :
							  NOFI_ANA_GROUPS_MAX);
}

static void over(struct nofi_op *op)
{
	struct nof_ctrl *ctrl = op->ctrl;
	void (*next)(struct nofi_op *op) = ctrl->ana_next;

	free(ctrl->ana.log);
	ctrl->ana.log = NULL;
	ctrl->ana_next = NULL;
	next(op);
}

/* Without it nothing is known: all counts as accessible, and the answers to I/O tell. */
static void failed(struct nofi_op *op, const struct nofi_err *err)
{
	nofi_log(op->ctrl->loop, NOF_LOG_WARN, "%s: no access states of namespaces: %s",
		 op->ctrl->opts.subnqn, err->text);
	over(op);
}

static void judge(struct nofi_op *op)
{
	struct nof_ctrl *ctrl = op->ctrl;
	struct nofi_ana *a = &ctrl->ana;
	struct nofi_ana_limits lim = { ctrl->ident.anagrpmax, ctrl->ident.nanagrpid,
				       ctrl->ident.nn };
	struct nofi_ana_group *groups;
	struct nofi_err err;
	int n;

	groups = malloc(sizeof(*groups) * (log_max(ctrl) / NOFI_ANA_DESC + 1));
	if (!groups)
		n = nofi_err_set(&err, -ENOMEM, "out of memory");
	else
		n = nofi_ana_parse(a->log, a->have, &lim, groups, &err);
	if (n < 0) {
		free(groups);
		failed(op, &err);
		return;
	}
	free(a->groups);
	a->groups = groups;
	a->ngroups = (uint32_t)n;
	a->is_known = true;
	over(op);
}

static void read_piece(struct nofi_op *op)
{
	struct nof_ctrl *ctrl = op->ctrl;
	struct nofi_ana *a = &ctrl->ana;
	size_t left = a->len - a->have, n = left < NOFI_PAGE ? left : NOFI_PAGE;

	/* The last read lets the controller report the next change (F-13). */
	a->is_retained = n < left;
	nofi_cmd_get_log(&ctrl->op_cmd, LOG_ANA, a->have, a->is_retained, ctrl->op_page,
			 (uint32_t)n);
	ctrl->op_cmd.sqe[LSP_BYTE] |= LSP_GROUPS_ONLY;
	nofi_op_send(op, "Get Log Page: ANA", got_piece, true);
}

static void begin(struct nofi_op *op)
{
	op->ctrl->ana.have = 0;
	op->ctrl->ana.len = log_max(op->ctrl);
	read_piece(op);
}

static void got_header(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	struct nof_ctrl *ctrl = op->ctrl;
	struct nofi_ana *a = &ctrl->ana;
	struct nofi_err err;

	if (!cpl->status && nofi_get64(ctrl->op_page) == nofi_get64(a->log)) {
		judge(op);
	} else if (!cpl->status && ++a->tries < TRIES) {
		begin(op);
	} else {
		nofi_err_set(&err, -EAGAIN, "the ANA log changed each time it was read");
		failed(op, &err);
	}
}

static void got_piece(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	struct nof_ctrl *ctrl = op->ctrl;
	struct nofi_ana *a = &ctrl->ana;
	size_t left = a->len - a->have, n = left < NOFI_PAGE ? left : NOFI_PAGE, end;
	struct nofi_err err;

	if (cpl->status) {
		nofi_err_set(&err, nof_status_errno(cpl->status), "Get Log Page: ANA: the target "
			     "refused with \"%s\" (status %#x)", nof_status_string(cpl->status),
			     cpl->status);
		failed(op, &err);
		return;
	}
	memcpy(a->log + a->have, ctrl->op_page, n);
	a->have += n;
	/* Groups that there are none of need not be read; too many are judged by the parser. */
	end = NOFI_ANA_HEADER + (size_t)NOFI_ANA_DESC * nofi_get16(a->log + 8);
	if (a->len > end)
		a->len = end;
	if (a->have < a->len) {
		read_piece(op);
	} else if (a->have <= NOFI_PAGE && !a->is_retained) {
		judge(op);	/* one command: it cannot have changed in between */
	} else {
		/* It was shorter than it might have been, or took several reads. */
		nofi_cmd_get_log(&ctrl->op_cmd, LOG_ANA, 0, false, ctrl->op_page, NOFI_ANA_HEADER);
		ctrl->op_cmd.sqe[LSP_BYTE] |= LSP_GROUPS_ONLY;
		nofi_op_send(op, "Get Log Page: ANA", got_header, true);
	}
}

void nofi_ana_read(struct nofi_op *op, void (*next)(struct nofi_op *op))
{
	struct nof_ctrl *ctrl = op->ctrl;
	struct nofi_ana *a = &ctrl->ana;
	struct nofi_err err;

	free(a->log);		/* of an op that ended in the middle */
	a->log = calloc(1, log_max(ctrl));
	a->tries = 0;
	ctrl->ana_next = next;
	if (!a->log) {
		nofi_err_set(&err, -ENOMEM, "out of memory");
		failed(op, &err);
		return;
	}
	begin(op);
}

/* ---- changes ---- */

static void transition_over(struct nofi_timer *t)
{
	struct nof_ctrl *ctrl = nofi_of(t, struct nof_ctrl, ana_timer);
	struct nofi_err err;

	nofi_err_set(&err, -ETIMEDOUT, "a namespace has been in transition (ANA change state) for "
		     "more than %u s, twice what the controller said that it takes (ANATT)",
		     ctrl->ident.anatt * 2u);
	nofi_ctrl_request_reset(ctrl, &err);
}

/* Tells the paths of a controller, and bounds a transition. */
static void tell(struct nof_ctrl *ctrl)
{
	bool is_changing = nofi_paths_tell_ana(ctrl);

	ctrl->ana_timer.fn = transition_over;
	if (!is_changing)
		nofi_timer_disarm(ctrl->loop, &ctrl->ana_timer);
	else if (!ctrl->ana_timer.pos)
		nofi_timer_arm(ctrl->loop, &ctrl->ana_timer, nofi_loop_now(ctrl->loop) +
			       (ctrl->ident.anatt ? ctrl->ident.anatt : 1) * 2000 * NOFI_MS);
}

static void changed_end(struct nofi_op *op)
{
	struct nof_ctrl *ctrl = op->ctrl;

	free(op);
	ctrl->has_ana_op = false;
	if (ctrl->state != NOF_CTRL_LIVE)
		return;
	tell(ctrl);
	if (ctrl->is_ana_due)
		nofi_ana_changed(ctrl);
}

static void changed_start(struct nofi_op *op)
{
	nofi_ana_read(op, nofi_op_finish);
}

void nofi_ana_changed(struct nof_ctrl *ctrl)
{
	struct nofi_op *op;

	if (ctrl->state != NOF_CTRL_LIVE)
		return;
	if (!ctrl->ident.has_ana) {
		tell(ctrl);
		return;
	}
	ctrl->is_ana_due = ctrl->has_ana_op;
	if (ctrl->has_ana_op)
		return;
	op = calloc(1, sizeof(*op));
	if (!op) {
		tell(ctrl);
		return;
	}
	op->ctrl = ctrl;
	op->what = "access states";
	op->start = changed_start;
	op->end = changed_end;
	ctrl->has_ana_op = true;
	nofi_op_submit(op);
}

void nofi_ana_stop(struct nof_ctrl *ctrl)
{
	nofi_timer_disarm(ctrl->loop, &ctrl->ana_timer);
	ctrl->ana.is_known = false;
	ctrl->is_ana_due = false;
}

void nofi_ana_free(struct nof_ctrl *ctrl)
{
	free(ctrl->ana.log);
	free(ctrl->ana.groups);
}
