/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From ready to live:
 *
 *	Identify Controller ─► hostcaps.c ─► active namespaces ─► number of queues ─► events ─► LIVE
 *	                   └──────────── discovery controller ───────────────────────┘
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/internal.h"

static const struct nofi_step step_nslist, step_queues, step_aen;

enum {
	FID_QUEUES = 0x07,
	FID_AEN = 0x0b,
	CNS_CTRL = 0x01,
	CNS_NS_LIST = 0x02,
	/* Events we act on (F-12), bits of OAES and of the feature. */
	AEN_NS_ATTR = 1u << 8,
	AEN_FIRMWARE = 1u << 9,
	AEN_ANA = 1u << 11,
	AEN_DISCOVERY = 1u << 31,
};

static uint32_t wanted_events(const struct nof_ctrl *ctrl)
{
	return ctrl->ident.oaes & (ctrl->ident.is_discovery ? AEN_DISCOVERY :
				   AEN_NS_ATTR | AEN_FIRMWARE | AEN_ANA);
}

static int identify_send(struct nof_ctrl *ctrl)
{
	nofi_cmd_identify(&ctrl->step_cmd, CNS_CTRL, 0, 0, ctrl->page);
	return nofi_acmd_send(&ctrl->step_cmd);
}

static void identify_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	struct nofi_ident_ctx ctx = {
		.cntlid = ctrl->cntlid,
		.mpsmin = NVME_CAP_MPSMIN(ctrl->cap),
		.is_discovery_nqn = !strcmp(ctrl->opts.subnqn, NOF_DISCOVERY_NQN),
		.wants_keep_alive = ctrl->opts.keep_alive_tmo_ms != 0,
	};
	struct nofi_err err;

	if (nofi_ident_ctrl(ctrl->page, &ctx, &ctrl->ident, &err) < 0) {
		nofi_ctrl_fail(ctrl, &err);
		return;
	}
	/* From here on the steps may take longer than the target waits for a sign of life. */
	nofi_ka_start(ctrl);
	if (ctrl->ident.is_discovery) {
		/* Without keep alive it is read and left again: nobody waits for events. */
		if (ctrl->opts.keep_alive_tmo_ms && wanted_events(ctrl))
			nofi_step_enter(ctrl, &step_aen);
		else
			nofi_ctrl_live(ctrl);
		return;
	}
	nofi_hostcaps_start(ctrl);
}

void nofi_bringup_namespaces(struct nof_ctrl *ctrl)
{
	nofi_nslist_keep(ctrl);
	nofi_nslist_begin(ctrl);
	nofi_step_enter(ctrl, &step_nslist);
}

const struct nofi_step nofi_step_identify = {
	"Identify Controller", identify_send, identify_done, false
};

static int nslist_send(struct nof_ctrl *ctrl)
{
	nofi_cmd_identify(&ctrl->step_cmd, CNS_NS_LIST, ctrl->new_last, 0, ctrl->page);
	return nofi_acmd_send(&ctrl->step_cmd);
}

static void nslist_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	struct nofi_err err;
	int r = nofi_nslist_take(ctrl, ctrl->page, &err);

	if (r < 0)
		nofi_ctrl_fail(ctrl, &err);
	else
		nofi_step_enter(ctrl, r ? &step_nslist : &step_queues);
}

static const struct nofi_step step_nslist = {
	"Identify active namespaces", nslist_send, nslist_done, false
};

static int queues_send(struct nof_ctrl *ctrl)
{
	uint32_t n = ctrl->opts.nr_io_queues - 1;

	nofi_cmd_set_feature(&ctrl->step_cmd, FID_QUEUES, n << 16 | n);
	return nofi_acmd_send(&ctrl->step_cmd);
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* F-11: both halves are 0's based, and the grant may be lower or higher. */
static void queues_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	uint32_t nsq = ((uint32_t)cpl->result & 0xffff) + 1;
	uint32_t ncq = ((uint32_t)cpl->result >> 16) + 1;
	uint32_t mqes = (uint32_t)NVME_CAP_MQES(ctrl->cap) + 1;

	ctrl->nr_io_queues = min_u32(ctrl->opts.nr_io_queues, min_u32(nsq, ncq));
	ctrl->io_entries = min_u32(ctrl->opts.queue_size, mqes);
	/* MAXCMD counts commands; a queue of n entries holds n−1. */
	if (ctrl->ident.maxcmd)
		ctrl->io_entries = min_u32(ctrl->io_entries, ctrl->ident.maxcmd + 1u);
	nofi_step_enter(ctrl, &step_aen);
}

static const struct nofi_step step_queues = {
	"Set Features: number of queues", queues_send, queues_done, false
};

static int aen_send(struct nof_ctrl *ctrl)
{
	nofi_cmd_set_feature(&ctrl->step_cmd, FID_AEN, wanted_events(ctrl));
	return nofi_acmd_send(&ctrl->step_cmd);
}

/* Events are a convenience: a controller that cannot give them is used without. */
static void aen_done(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	if (cpl->status)
		nofi_log(ctrl->loop, NOF_LOG_INFO, "%s: no asynchronous events: %s",
			 ctrl->opts.subnqn, nof_status_string(cpl->status));
	else
		nofi_aer_start(ctrl);
	nofi_steps_stop(ctrl);
	nofi_ctrl_live(ctrl);
}

static const struct nofi_step step_aen = {
	"Set Features: asynchronous events", aen_send, aen_done, true
};
