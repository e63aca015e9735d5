/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Walking through the steps, and waiting for CSTS. See internal.h.
 */
#include <errno.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/internal.h"

static void step_done(struct nofi_acmd *c, const struct nofi_cpl *cpl)
{
	struct nof_ctrl *ctrl = c->ctrl;
	const struct nofi_step *step = ctrl->step;

	if (!step || (ctrl->state != NOF_CTRL_CONNECTING && ctrl->state != NOF_CTRL_DELETING))
		return;
	if (cpl->error) {
		nofi_ctrl_failf(ctrl, cpl->error, "%s: %s", step->what, cpl->detail);
		return;
	}
	if (cpl->status && !step->is_optional) {
		ctrl->fail_status = cpl->status;
		nofi_ctrl_failf(
			ctrl, nof_status_errno(cpl->status),
			"%s: the target refused with \"%s\" (status %#x); its log should say "
			"why",
			step->what, nof_status_string(cpl->status), cpl->status);
		return;
	}
	step->done(ctrl, cpl);
}

void nofi_step_enter(struct nof_ctrl *ctrl, const struct nofi_step *step)
{
	int r;

	ctrl->step = step;
	ctrl->step_cmd.ctrl = ctrl;
	ctrl->step_cmd.done = step_done;
	r = step->send(ctrl);
	if (r < 0)
		nofi_ctrl_failf(ctrl, r, "%s: the command could not be sent: %s", step->what,
				strerror(-r));
}

void nofi_steps_stop(struct nof_ctrl *ctrl)
{
	ctrl->step = NULL;
	nofi_timer_disarm(ctrl->loop, &ctrl->poll_timer);
}

/* ---- CSTS ---- */

enum { POLL_FIRST_MS = 1, POLL_MAX_MS = 100, CSTS_CFS = 1u << 1 };

static int csts_send(struct nof_ctrl *ctrl)
{
	nofi_cmd_prop_get(&ctrl->step_cmd, NVME_REG_CSTS, false);
	return nofi_acmd_send(&ctrl->step_cmd);
}

static void csts_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl);
static const struct nofi_step step_csts = { "Property Get CSTS", csts_send, csts_done, false };

static void csts_timer(struct nofi_timer *t)
{
	nofi_step_enter(nofi_of(t, struct nof_ctrl, poll_timer), &step_csts);
}

static void csts_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	uint32_t csts = (uint32_t)cpl->result;
	uint64_t now = nofi_loop_now(ctrl->loop);
	int r;

	if (csts == UINT32_MAX) {
		nofi_ctrl_failf(ctrl, -EIO, "the controller did not %s: CSTS reads all ones, which "
				"means that it is gone; see the target's log", ctrl->poll_what);
		return;
	}
	if (csts & CSTS_CFS) {
		nofi_ctrl_failf(ctrl, -EIO,
				"the controller did not %s: it reports a fatal status "
				"(CSTS %#x); see the target's log and restart it",
				ctrl->poll_what, csts);
		return;
	}
	if ((csts & ctrl->poll_mask) == ctrl->poll_want) {
		nofi_step_enter(ctrl, ctrl->poll_then);
		return;
	}
	if (now >= ctrl->poll_deadline) {
		nofi_ctrl_failf(ctrl, -ETIMEDOUT,
				"the controller did not %s within its own time "
				"limit (CSTS %#x); the target is stuck or overloaded",
				ctrl->poll_what, csts);
		return;
	}
	ctrl->poll_timer.fn = csts_timer;
	r = nofi_timer_arm(ctrl->loop, &ctrl->poll_timer,
			   now + ctrl->poll_interval < ctrl->poll_deadline ?
			   now + ctrl->poll_interval : ctrl->poll_deadline);
	if (r < 0)
		nofi_ctrl_failf(ctrl, r, "no memory for a timer");
	ctrl->poll_interval *= 2;
	if (ctrl->poll_interval > POLL_MAX_MS * NOFI_MS)
		ctrl->poll_interval = POLL_MAX_MS * NOFI_MS;
}

void nofi_csts_wait(struct nof_ctrl *ctrl, const char *what, uint32_t mask, uint32_t want,
		    uint32_t limit_ms, const struct nofi_step *then)
{
	ctrl->poll_what = what;
	ctrl->poll_mask = mask;
	ctrl->poll_want = want;
	ctrl->poll_then = then;
	ctrl->poll_interval = POLL_FIRST_MS * NOFI_MS;
	ctrl->poll_deadline = nofi_loop_now(ctrl->loop) + limit_ms * NOFI_MS;
	nofi_fsm_extend(&ctrl->fsm, limit_ms * NOFI_MS);
	nofi_step_enter(ctrl, &step_csts);
}
