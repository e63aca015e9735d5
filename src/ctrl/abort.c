/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Abort of I/O commands that were not answered in time (2.5): best effort.
 *
 *	queue's loop:  command late ─► nofi_abort_request() ─► abort_msg
 *	admin loop:    abort_msg ─► list of queues that have some ─► Abort commands,
 *	               at most ACL + 1 (and NOFI_ABORTS_MAX) at a time
 *
 * What becomes of the command is not decided here. Where the controller aborts it, it
 * ends by itself, with its own status; where nothing comes, its queue dies at the end
 * of the grace that it was given, and the association with it.
 */
#include <errno.h>
#include <string.h>

#include "ctrl/internal.h"

enum { NOT_ABORTED = 1u << 0 };	/* DW0 of the answer */

static void pump(struct nof_ctrl *ctrl);

static void abort_done(struct nofi_acmd *c, const struct nofi_cpl *cpl)
{
	struct nof_ctrl *ctrl = c->ctrl;
	uint16_t sqid = nofi_get16(c->sqe + 40), cid = nofi_get16(c->sqe + 42);

	if (cpl->error)
		return;		/* the admin queue is gone: so is all the rest */
	if (cpl->status || cpl->result & NOT_ABORTED) {
		ctrl->stats.aborts_failed++;
		nofi_log(ctrl->loop, NOF_LOG_INFO, "%s: command %u of queue %u was not aborted%s%s",
			 ctrl->opts.subnqn, cid, sqid, cpl->status ? ": " : "",
			 cpl->status ? nof_status_string(cpl->status) : "");
	} else {
		ctrl->stats.aborts_done++;
	}
	pump(ctrl);
}

static struct nofi_acmd *free_slot(struct nof_ctrl *ctrl)
{
	uint32_t limit = ctrl->ident.acl + 1u;

	for (uint32_t i = 0; i < NOFI_ABORTS_MAX && i < limit; i++)
		if (!ctrl->abort_cmd[i].is_busy)
			return &ctrl->abort_cmd[i];
	return NULL;
}

/* The next command of this queue, or false: then the queue is not in the list any more. */
static bool take(struct nofi_ioq *ioq, uint16_t *cid)
{
	struct nof_ctrl *ctrl = ioq->ctrl;
	bool has;

	pthread_mutex_lock(&ctrl->lock);
	has = ioq->abort_count && ioq->generation == ctrl->generation;
	if (has) {
		*cid = ioq->abort_cids[0];
		memmove(ioq->abort_cids, ioq->abort_cids + 1,
			--ioq->abort_count * sizeof(ioq->abort_cids[0]));
	} else {
		ioq->abort_count = 0;
		ioq->is_abort_posted = false;
	}
	pthread_mutex_unlock(&ctrl->lock);
	return has;
}

static void unlink_head(struct nof_ctrl *ctrl)
{
	struct nofi_ioq *ioq = ctrl->abort_head;

	ctrl->abort_head = ioq->abort_next;
	if (!ctrl->abort_head)
		ctrl->abort_tail = &ctrl->abort_head;
	ioq->abort_next = NULL;
	nofi_ioq_put(ioq);
}

static void pump(struct nof_ctrl *ctrl)
{
	struct nofi_acmd *c;
	uint16_t cid;

	while (ctrl->abort_head && ctrl->state == NOF_CTRL_LIVE && (c = free_slot(ctrl))) {
		struct nofi_ioq *ioq = ctrl->abort_head;

		if (!take(ioq, &cid)) {
			unlink_head(ctrl);
			continue;
		}
		c->ctrl = ctrl;
		c->done = abort_done;
		nofi_cmd_abort(c, ioq->qid, cid);
		/* No room on the admin queue: it has other troubles, what waits is given up. */
		if (nofi_acmd_send(c) < 0) {
			nofi_abort_stop(ctrl);
			return;
		}
		ctrl->stats.aborts++;
	}
}

static void abort_arrived(struct nofi_msg *m)
{
	struct nofi_ioq *ioq = nofi_of(m, struct nofi_ioq, abort_msg);
	struct nof_ctrl *ctrl = ioq->ctrl;

	*ctrl->abort_tail = ioq;
	ctrl->abort_tail = &ioq->abort_next;
	if (ctrl->state == NOF_CTRL_LIVE)
		pump(ctrl);
	else
		nofi_abort_stop(ctrl);
}

void nofi_abort_request(struct nofi_ioq *ioq, uint16_t cid)
{
	struct nof_ctrl *ctrl = ioq->ctrl;
	bool is_new;

	pthread_mutex_lock(&ctrl->lock);
	ctrl->late_commands++;
	if (ioq->abort_count < NOFI_IOQ_ABORTS)
		ioq->abort_cids[ioq->abort_count++] = cid;
	is_new = !ioq->is_abort_posted;
	if (is_new) {
		ioq->is_abort_posted = true;
		ioq->refs++;
	}
	pthread_mutex_unlock(&ctrl->lock);
	if (is_new)
		nofi_loop_post(ctrl->loop, &ioq->abort_msg);
}

void nofi_abort_stop(struct nof_ctrl *ctrl)
{
	while (ctrl->abort_head) {
		pthread_mutex_lock(&ctrl->lock);
		ctrl->abort_head->abort_count = 0;
		ctrl->abort_head->is_abort_posted = false;
		pthread_mutex_unlock(&ctrl->lock);
		unlink_head(ctrl);
	}
}

void nofi_abort_init(struct nof_ctrl *ctrl)
{
	ctrl->abort_tail = &ctrl->abort_head;
}

void nofi_abort_ioq_init(struct nofi_ioq *ioq)
{
	ioq->abort_msg.fn = abort_arrived;
}
