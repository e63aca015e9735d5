/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keep alive (F-14, F-15): one every KATO/2; unanswered for KATO, the
 * association is gone. This is the only thing that wakes an idle connection; what
 * else wants to look at it now and then does so when the answer has come.
 *
 * With traffic based keep alive (CTRATT b6) commands would count as well, but
 * sending it all the same is always right, and needs no count of what the I/O
 * queues of other threads do.
 */
#include <errno.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/internal.h"

static uint64_t kato_ns(const struct nof_ctrl *ctrl)
{
	return ctrl->opts.keep_alive_tmo_ms * NOFI_MS;
}

static void arm(struct nof_ctrl *ctrl, uint64_t when)
{
	int r = nofi_timer_arm(ctrl->loop, &ctrl->ka_timer, when);

	if (r < 0)
		nofi_ctrl_failf(ctrl, r, "keep alive: no memory for a timer");
}

static void ka_done(struct nofi_acmd *c, const struct nofi_cpl *cpl)
{
	struct nof_ctrl *ctrl = c->ctrl;

	if (!ctrl->admin || !ctrl->ka_timer.fn)
		return;
	if (cpl->error) {
		nofi_ctrl_failf(ctrl, cpl->error, "keep alive: %s", cpl->detail);
		return;
	}
	if (cpl->status) {
		nofi_ctrl_failf(
			ctrl, (cpl->status & 0x7ff) == 0x19 ? -ETIMEDOUT : -EIO,
			"keep alive: the target answered \"%s\" (status %#x): the association "
			"is gone; was this host stopped for longer than %u ms?",
			nof_status_string(cpl->status), cpl->status, ctrl->opts.keep_alive_tmo_ms);
		return;
	}
	ctrl->stats.keep_alives++;
	nofi_pathman_beat(ctrl);
	/* Nothing else would tell of a fallback in mid-connection. */
	nofi_transport_beat(ctrl);
	arm(ctrl, ctrl->ka_sent + kato_ns(ctrl) / 2);
}

static void ka_tick(struct nofi_timer *t)
{
	struct nof_ctrl *ctrl = nofi_of(t, struct nof_ctrl, ka_timer);
	int r;

	if (ctrl->ka_cmd.is_busy) {
		nofi_ctrl_failf(
			ctrl, -ETIMEDOUT,
			"keep alive: no answer within %u ms "
			"(keep_alive_tmo); the target or the network is down, or overloaded",
			ctrl->opts.keep_alive_tmo_ms);
		return;
	}
	nofi_cmd_simple(&ctrl->ka_cmd, nvme_admin_keep_alive, NOFI_CMD_RESERVED);
	r = nofi_acmd_send(&ctrl->ka_cmd);
	if (r < 0) {
		nofi_ctrl_failf(ctrl, r, "keep alive: the command could not be sent: %s",
				strerror(-r));
		return;
	}
	ctrl->ka_sent = nofi_loop_now(ctrl->loop);
	arm(ctrl, ctrl->ka_sent + kato_ns(ctrl));
}

void nofi_ka_start(struct nof_ctrl *ctrl)
{
	if (!ctrl->opts.keep_alive_tmo_ms)
		return;
	ctrl->ka_cmd.ctrl = ctrl;
	ctrl->ka_cmd.done = ka_done;
	ctrl->ka_timer.fn = ka_tick;
	arm(ctrl, nofi_loop_now(ctrl->loop) + kato_ns(ctrl) / 2);
}

void nofi_ka_stop(struct nof_ctrl *ctrl)
{
	nofi_timer_disarm(ctrl->loop, &ctrl->ka_timer);
	ctrl->ka_timer.fn = NULL;
}
