/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * I/O queues: one connection each, on the loop of the channel that asked.
 *
 *	CONNECTING ─► FABRICS (Connect sent) ─► READY ─► [LEAVING ─►] DEAD
 *	     └──────────────┴─────────────────────────────────────────┘
 *
 * Threads. An ioq belongs to its loop's thread. Under ctrl->lock are: the list of
 * ioqs (which is the set of queue ids in use), references and numbers of users.
 * The lock is never held while something is called that may call back.
 *
 *	the controller is lost ─► kill_msg to the loop of each queue
 *	a ready queue is lost  ─► lost_msg to the controller's loop
 *
 * After a reset the next association has its own queues: those of the old one, which
 * the loops of other threads close when they come to it, count no more (generation).
 *
 * A message owns a reference to the ioq until it ran; the ioq owns one to the
 * controller. The one of its users is handed on to LEAVING.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/internal.h"
#include "lines.h"

enum ioq_state { IOQ_CONNECTING, IOQ_FABRICS, IOQ_READY, IOQ_LEAVING, IOQ_DEAD };
enum { GRACE_MAX_MS = 5000, LEAVE_MAX_MS = 1000 };
enum ioq_told { TOLD_NOTHING, TOLD_READY, TOLD_END };

void nofi_ioq_put(struct nofi_ioq *ioq)
{
	struct nof_ctrl *ctrl = ioq->ctrl;
	uint32_t left;

	pthread_mutex_lock(&ctrl->lock);
	left = --ioq->refs;
	pthread_mutex_unlock(&ctrl->lock);
	if (left)
		return;
	free(ioq->connect_data);
	free(ioq);
	nofi_ctrl_unref(ctrl);
}

void nofi_ioq_get(struct nofi_ioq *ioq)
{
	pthread_mutex_lock(&ioq->ctrl->lock);
	ioq->refs++;
	pthread_mutex_unlock(&ioq->ctrl->lock);
}

/* Gives the queue id back. ctrl->lock is held. */
static void unlink_locked(struct nofi_ioq *ioq)
{
	struct nofi_ioq **p;

	if (!ioq->is_linked)
		return;
	for (p = &ioq->ctrl->ioqs; *p != ioq; p = &(*p)->next)
		;
	*p = ioq->next;
	ioq->is_linked = false;
}

/* ---- telling users ---- */

/* A callback may put any user: each round starts at the front again. */
static void tell(struct nofi_ioq *ioq)
{
	struct nofi_ioq_user *u;

	nofi_ioq_get(ioq);
	for (;;) {
		bool is_dead = ioq->state == IOQ_DEAD;

		for (u = ioq->users; u; u = u->next)
			if (is_dead ? u->told != TOLD_END : u->told == TOLD_NOTHING)
				break;
		if (!u || (!is_dead && ioq->state != IOQ_READY))
			break;
		if (!is_dead) {
			u->told = TOLD_READY;
			u->ready(u, NULL);
		} else if (u->told == TOLD_NOTHING) {
			u->told = TOLD_END;
			u->ready(u, &ioq->err);
		} else {
			u->told = TOLD_END;
			u->dead(u, &ioq->err);
		}
	}
	nofi_ioq_put(ioq);
}

static void tell_deferred(struct nofi_defer *d)
{
	tell(nofi_of(d, struct nofi_ioq, tell));
}

/* ---- death ---- */

/* On the controller's loop. */
static void lost_arrived(struct nofi_msg *m)
{
	struct nofi_ioq *ioq = nofi_of(m, struct nofi_ioq, lost_msg);
	struct nof_ctrl *ctrl = ioq->ctrl;
	bool is_freed;

	pthread_mutex_lock(&ctrl->lock);
	is_freed = ctrl->is_freed;
	pthread_mutex_unlock(&ctrl->lock);
	if (!is_freed && ctrl->state == NOF_CTRL_LIVE && ioq->generation == ctrl->generation) {
		nofi_place_lost(ctrl, ioq->place);
		nofi_ctrl_fail(ctrl, &ioq->err);
	}
	nofi_ioq_put(ioq);
}

/*
 * On the queue's loop, after its commands completed. A queue that never became
 * ready is the business of those who asked for it; one that was is a reason to
 * give up the association (T-22), unless that is what ended it.
 */
static void ioq_died(struct nofi_ioq *ioq, const struct nofi_err *err)
{
	struct nof_ctrl *ctrl = ioq->ctrl;
	bool is_loss = ioq->state == IOQ_READY;

	if (ioq->state == IOQ_DEAD)
		return;
	nofi_timer_disarm(ioq->loop, &ioq->again);
	nofi_timer_disarm(ioq->loop, &ioq->look);
	ioq->state = IOQ_DEAD;
	ioq->err = *err;
	pthread_mutex_lock(&ctrl->lock);
	unlink_locked(ioq);
	is_loss = is_loss && ctrl->state == NOF_CTRL_LIVE && !ctrl->is_freed &&
		  ioq->generation == ctrl->generation;
	if (is_loss && ctrl->loop != ioq->loop) {
		ioq->refs++;
		nofi_loop_post(ctrl->loop, &ioq->lost_msg);
	}
	pthread_mutex_unlock(&ctrl->lock);
	if (is_loss && ctrl->loop == ioq->loop) {
		nofi_place_lost(ctrl, ioq->place);
		nofi_ctrl_fail(ctrl, &ioq->err);
	}
	tell(ioq);
}

/* On the queue's loop. */
static void kill_arrived(struct nofi_msg *m)
{
	struct nofi_ioq *ioq = nofi_of(m, struct nofi_ioq, kill_msg);

	if (ioq->q)
		nofi_queue_kill(ioq->q, &ioq->kill_err);
	nofi_ioq_put(ioq);
}

/*
 * Its end was decided on the controller's loop, and the target may close the connection before
 * the message is here: what the user is told does not depend on which comes first.
 */
static const struct nofi_err *ioq_reason(void *arg)
{
	struct nofi_ioq *ioq = arg;
	bool is_posted;

	pthread_mutex_lock(&ioq->ctrl->lock);
	is_posted = ioq->is_kill_posted;
	pthread_mutex_unlock(&ioq->ctrl->lock);
	return is_posted ? &ioq->kill_err : NULL;
}

bool nofi_ioq_is_any_leaving(struct nof_ctrl *ctrl)
{
	const struct nofi_ioq *ioq;

	pthread_mutex_lock(&ctrl->lock);
	for (ioq = ctrl->ioqs; ioq && !ioq->is_leaving; ioq = ioq->next)
		;
	pthread_mutex_unlock(&ctrl->lock);
	return ioq;
}

/* One that this round has still to come to, with a reference. */
static struct nofi_ioq *take_for(struct nof_ctrl *ctrl, uint32_t round, enum nofi_kill scope)
{
	struct nofi_ioq *ioq;

	pthread_mutex_lock(&ctrl->lock);
	for (ioq = ctrl->ioqs; ioq; ioq = ioq->next)
		if ((scope == NOFI_KILL_EVERYWHERE || ioq->loop == ctrl->loop) &&
		    !(scope == NOFI_KILL_USED && ioq->is_leaving) && ioq->kill_round != round)
			break;
	if (ioq) {
		ioq->kill_round = round;
		ioq->refs++;
	}
	pthread_mutex_unlock(&ctrl->lock);
	return ioq;
}

/* What ends calls back, and that may close channels and free the controller: a round in this. */
void nofi_ioq_kill_all(struct nof_ctrl *ctrl, const struct nofi_err *why,
		       enum nofi_kill scope)
{
	struct nofi_ioq *ioq;
	uint32_t round;

	pthread_mutex_lock(&ctrl->lock);
	round = ++ctrl->kill_round;
	for (ioq = ctrl->ioqs; ioq; ioq = ioq->next) {
		if (scope == NOFI_KILL_EVERYWHERE || ioq->loop == ctrl->loop ||
		    ioq->is_kill_posted)
			continue;
		ioq->is_kill_posted = true;
		ioq->kill_err = *why;
		ioq->refs++;
		nofi_loop_post(ioq->loop, &ioq->kill_msg);
	}
	pthread_mutex_unlock(&ctrl->lock);
	while ((ioq = take_for(ctrl, round, scope))) {
		if (ioq->q)
			nofi_queue_kill(ioq->q, why);
		nofi_ioq_put(ioq);
	}
}

/* ---- late commands ---- */

/* For an Abort and its consequences; after it, the association ends. */
static uint64_t grace_ns(const struct nof_opts *o)
{
	return (o->io_timeout_ms < GRACE_MAX_MS ? o->io_timeout_ms : GRACE_MAX_MS) * NOFI_MS;
}

static void ioq_late(void *arg, uint16_t cid, uint8_t opcode)
{
	(void)opcode;
	nofi_abort_request(arg, cid);
}

/* ---- connecting ---- */

enum {
	CMD_SEQUENCE_ERROR = 0x00c,
	IN_USE_TRIES = 8,		/* 5 ms, 10 ms, …: 1.3 s in all */
	IN_USE_FIRST_MS = 5,
};

static void send_connect(struct nofi_ioq *ioq);

static void again_due(struct nofi_timer *t)
{
	struct nofi_ioq *ioq = nofi_of(t, struct nofi_ioq, again);

	if (ioq->state == IOQ_FABRICS)
		send_connect(ioq);
}

/*
 * The end of the last connection with this queue id may reach the target after the new
 * one: then the id is still in use there. It will not be for long.
 */
static bool ask_again(struct nofi_ioq *ioq, uint16_t status)
{
	uint64_t wait = (uint64_t)IN_USE_FIRST_MS << ioq->tries;

	if ((status & 0x7ff) != CMD_SEQUENCE_ERROR || ioq->tries >= IN_USE_TRIES)
		return false;
	ioq->tries++;
	ioq->again.fn = again_due;
	return !nofi_timer_arm(ioq->loop, &ioq->again, nofi_loop_now(ioq->loop) + wait * NOFI_MS);
}

static void connect_done(void *arg, const struct nofi_cpl *cpl)
{
	struct nofi_ioq *ioq = arg;
	const struct nof_opts *opts = &ioq->ctrl->opts;
	struct nofi_err err;

	free(ioq->connect_data);
	ioq->connect_data = NULL;
	if (ioq->state != IOQ_FABRICS || (!cpl->error && ask_again(ioq, cpl->status)))
		return;
	if (cpl->error)
		nofi_err_set(&err, cpl->error, "Connect of I/O queue %u: %s", ioq->qid,
			     cpl->detail);
	else if (cpl->status)
		nofi_connect_status(opts, ioq->qid, cpl->status, cpl->result, &err);
	else if (cpl->result & 0x60000)		/* ATR, ASCR */
		nofi_connect_status(opts, ioq->qid, 0x191, 0, &err);
	else {
		nofi_queue_set_timeout(ioq->q, opts->io_timeout_ms * NOFI_MS);
		nofi_queue_set_grace(ioq->q, grace_ns(opts), ioq_late);
		ioq->state = IOQ_READY;
		nofi_pathman_ioq_ready(ioq);
		/* From here on its token is known. */
		if (ioq->loop == ioq->ctrl->loop)
			nofi_transport_came(ioq->ctrl, ioq->q);
		nofi_log(ioq->loop, NOF_LOG_DEBUG, "I/O queue %u is ready", ioq->qid);
		tell(ioq);
		return;
	}
	ioq->is_refused = !cpl->error;
	/* When the queue is dying of something else this changes nothing. */
	nofi_queue_kill(ioq->q, &err);
}

static void send_connect(struct nofi_ioq *ioq)
{
	struct nofi_cmd_desc d;
	struct nofi_err err;
	int r;

	memset(&d, 0, sizeof(d));
	ioq->connect_data = malloc(NOFI_CONNECT_LEN);
	r = ioq->connect_data ? nofi_queue_take(ioq->q, NOFI_CMD_FABRICS, &d) : -ENOMEM;
	if (r < 0) {
		nofi_err_set(&err, r, "Connect of I/O queue %u: the command could not be sent: %s",
			     ioq->qid, strerror(-r));
		nofi_queue_kill(ioq->q, &err);
		return;
	}
	nofi_connect_build(ioq->ctrl, ioq->qid, ioq->cntlid, ioq->entries, d.sqe,
			   ioq->connect_data);
	ioq->connect_iov.iov_base = ioq->connect_data;
	ioq->connect_iov.iov_len = NOFI_CONNECT_LEN;
	d.iov = &ioq->connect_iov;
	d.iovcnt = 1;
	d.iov_skip = 0;
	d.length = NOFI_CONNECT_LEN;
	d.dir = NOFI_DIR_WRITE;
	d.flags = NOFI_CMD_FABRICS;
	d.done = connect_done;
	d.arg = ioq;
	ioq->state = IOQ_FABRICS;
	nofi_queue_send(ioq->q, &d);
}

static void ioq_event(void *arg, enum nofi_queue_event ev, const struct nofi_err *err);

/*
 * How to connect it next: from and to its own entry of queue_paths, then those behind it.
 * −ENOTCONN: its association is over; −ENOENT: all were tried.
 */
static int next_place(struct nofi_ioq *ioq, struct nofi_queue_opts *o, struct nofi_err *err)
{
	struct nof_ctrl *ctrl = ioq->ctrl;
	uint32_t places = ctrl->placement.count;
	int r = 0;

	pthread_mutex_lock(&ctrl->lock);
	if (ctrl->state != NOF_CTRL_LIVE || ctrl->is_freed || ioq->is_kill_posted ||
	    ioq->generation != ctrl->generation)
		r = nofi_ctrl_not_live(ctrl, NULL, err);
	else if (ioq->place_tries >= (places ? places : 1))
		r = -ENOENT;
	else
		nofi_queue_opts_fill(ctrl, ioq->qid, ioq->place_tries, o);
	pthread_mutex_unlock(&ctrl->lock);
	if (r == 0 && places)
		ioq->place = (uint8_t)nofi_placement_of(&ctrl->placement, ioq->qid,
							ioq->place_tries);
	ioq->place_tries++;
	return r;
}

/* On failure *err says why the last one could not be. */
static int start(struct nofi_ioq *ioq, struct nofi_err *err)
{
	struct nofi_queue *old = ioq->q, *q;
	struct nofi_queue_opts o;
	int r;

	while ((r = next_place(ioq, &o, err)) == 0) {
		o.reason = ioq_reason;
		if (nofi_queue_new(ioq->loop, &o, ioq_event, ioq, &q, err) < 0)
			continue;
		if (nofi_queue_start(q, err) == 0) {
			ioq->q = q;
			nofi_queue_free(old);
			return 0;
		}
		nofi_queue_free(q);
	}
	return r == -ENOENT ? err->code : r;
}

static void ioq_event(void *arg, enum nofi_queue_event ev, const struct nofi_err *err)
{
	struct nofi_ioq *ioq = arg;
	struct nofi_err why;

	if (ev == NOFI_QUEUE_READY) {
		send_connect(ioq);
		return;
	}
	why = *err;	/* it lives in the queue that is about to be replaced */
	if (ioq->state == IOQ_CONNECTING && ioq->place_tries < ioq->ctrl->placement.count) {
		nofi_log(ioq->loop, NOF_LOG_WARN, "I/O queue %u takes another entry of "
			 "queue_paths than its own: %s", ioq->qid, why.text);
		if (start(ioq, &why) == 0)
			return;
	}
	ioq_died(ioq, &why);
}

/* ---- leaving ---- */

/*
 * Disconnect (F-8), where it can be waited for: the one who closes a channel does not wait,
 * so the queue lives on without a user, until the answer or the deadline. That is sound on
 * the controller's own loop only, which is driven for as long as the controller is there,
 * and whose thread ends the controller. Another loop may never turn again after its last
 * channel, and may be freed before the controller: there, as for a queue that is not idle,
 * closing the connection is the end, which is always allowed.
 */
static bool may_leave(const struct nofi_ioq *ioq)
{
	const struct nof_ctrl *ctrl = ioq->ctrl;

	return ioq->loop == ctrl->loop && ioq->state == IOQ_READY && !ctrl->is_freed &&
	       ctrl->state == NOF_CTRL_LIVE && ioq->generation == ctrl->generation &&
	       ctrl->ident.has_disconnect && nofi_queue_is_ready(ioq->q) &&
	       nofi_queue_is_idle(ioq->q);
}

/* The last of it, with the reference of its users. */
static void end_ioq(struct nofi_ioq *ioq)
{
	struct nof_ctrl *ctrl = ioq->ctrl;
	struct nofi_queue *q = ioq->q;
	bool was_leaving = ioq->is_leaving;

	pthread_mutex_lock(&ctrl->lock);
	unlink_locked(ioq);
	pthread_mutex_unlock(&ctrl->lock);
	nofi_loop_undefer(ioq->loop, &ioq->tell);
	nofi_timer_disarm(ioq->loop, &ioq->again);
	nofi_timer_disarm(ioq->loop, &ioq->look);
	ioq->state = IOQ_DEAD;
	ioq->q = NULL;
	nofi_queue_free(q);
	if (was_leaving)
		nofi_recover_left(ctrl);
	nofi_ioq_put(ioq);
}

/* However it ended: the connection is closed, and its death concerns nobody any more. */
static void leave_done(void *arg, const struct nofi_cpl *cpl)
{
	struct nofi_ioq *ioq = arg;

	nofi_log(ioq->loop, NOF_LOG_DEBUG, "Disconnect of I/O queue %u: %s", ioq->qid,
		 cpl->error ? cpl->detail : nof_status_string(cpl->status));
	end_ioq(ioq);
}

static bool leave(struct nofi_ioq *ioq)
{
	const struct nof_opts *o = &ioq->ctrl->opts;
	struct nofi_cmd_desc d;

	if (!may_leave(ioq) || nofi_queue_take(ioq->q, NOFI_CMD_FABRICS, &d) < 0)
		return false;
	ioq->state = IOQ_LEAVING;
	pthread_mutex_lock(&ioq->ctrl->lock);
	ioq->is_leaving = true;
	pthread_mutex_unlock(&ioq->ctrl->lock);
	nofi_queue_set_grace(ioq->q, 0, NULL);
	d.sqe[0] = nvme_admin_fabrics;
	d.sqe[4] = nvme_fabrics_type_disconnect;
	d.timeout_ns = (o->admin_timeout_ms < LEAVE_MAX_MS ? o->admin_timeout_ms : LEAVE_MAX_MS) *
		       NOFI_MS;
	d.done = leave_done;
	d.arg = ioq;
	nofi_queue_send(ioq->q, &d);
	return true;
}

/* ---- get and put ---- */

static bool is_qid_used(const struct nof_ctrl *ctrl, uint16_t qid, bool or_leaving)
{
	const struct nofi_ioq *ioq;

	for (ioq = ctrl->ioqs; ioq; ioq = ioq->next)
		if (ioq->qid == qid && ioq->generation == ctrl->generation &&
		    (or_leaving || !ioq->is_leaving))
			return true;
	return false;
}

/*
 * Rather one that nobody holds than one that is being given back. With the latter, Connect
 * is sent again for as long as Disconnect may take: see ask_again().
 */
static uint16_t free_qid(const struct nof_ctrl *ctrl)
{
	uint32_t n = ctrl->nr_io_queues;

	for (uint32_t i = 0; i < 2 * n; i++) {
		uint16_t qid = (uint16_t)((ctrl->last_qid + i) % n + 1);

		if (!is_qid_used(ctrl, qid, i < n))
			return qid;
	}
	return 0;
}

static struct nofi_ioq *least_loaded(const struct nof_ctrl *ctrl, const struct nof_loop *loop,
				     const struct nofi_ioq *other_than)
{
	struct nofi_ioq *ioq, *best = NULL;

	for (ioq = ctrl->ioqs; ioq; ioq = ioq->next)
		if (ioq->loop == loop && ioq != other_than && ioq->state < IOQ_LEAVING &&
		    !ioq->is_kill_posted && ioq->generation == ctrl->generation &&
		    (!best || ioq->nusers < best->nusers))
			best = ioq;
	return best;
}

static void attach(struct nofi_ioq *ioq, struct nofi_ioq_user *u)
{
	u->ioq = ioq;
	u->told = TOLD_NOTHING;
	u->next = ioq->users;
	ioq->users = u;
}

int nofi_ctrl_queue_get(struct nof_ctrl *ctrl, struct nof_loop *loop, struct nofi_ioq_user *u,
			struct nofi_err *err)
{
	struct nofi_ioq *ioq, *fresh = nofi_zalloc_lines(sizeof(*fresh));
	int r = 0;

	u->ioq = NULL;
	if (!fresh)
		return nofi_err_set(err, -ENOMEM, "out of memory");
	pthread_mutex_lock(&ctrl->lock);
	if (ctrl->state != NOF_CTRL_LIVE || ctrl->is_freed) {
		r = nofi_ctrl_not_live(ctrl, NULL, err);
		goto out;
	}
	fresh->qid = free_qid(ctrl);
	if (!fresh->qid) {
		ioq = least_loaded(ctrl, loop, u->other_than);
		if (!ioq) {
			r = nofi_err_set(
				err, -ENOSPC,
				"all %u I/O queues that the target granted are in "
				"use on other loops; raise nr_io_queues, or the target's limit, "
				"or use fewer loops",
				ctrl->nr_io_queues);
			goto out;
		}
		ioq->nusers++;
		pthread_mutex_unlock(&ctrl->lock);
		free(fresh);
		attach(ioq, u);
		/* Connecting: it is told with the others. */
		if (ioq->state == IOQ_READY)
			nofi_loop_defer(loop, &ioq->tell);
		return 0;
	}
	ioq = fresh;
	ioq->ctrl = nofi_ctrl_ref(ctrl);
	ioq->loop = loop;
	ioq->state = IOQ_CONNECTING;
	ioq->refs = 1;
	ioq->nusers = 1;
	ioq->tell.fn = tell_deferred;
	ioq->kill_msg.fn = kill_arrived;
	ioq->lost_msg.fn = lost_arrived;
	nofi_abort_ioq_init(ioq);
	ioq->is_linked = true;
	ioq->next = ctrl->ioqs;
	ctrl->ioqs = ioq;
	ctrl->last_qid = ioq->qid;
	/* Facts of this association: outside the lock the next one may replace them. */
	ioq->generation = ctrl->generation;
	ioq->cntlid = ctrl->cntlid;
	ioq->entries = ctrl->io_entries;
	pthread_mutex_unlock(&ctrl->lock);

	r = start(ioq, err);
	if (r < 0) {
		pthread_mutex_lock(&ctrl->lock);
		unlink_locked(ioq);
		pthread_mutex_unlock(&ctrl->lock);
		ioq->state = IOQ_DEAD;
		nofi_ioq_put(ioq);
		return r;
	}
	attach(ioq, u);
	return 0;
out:
	pthread_mutex_unlock(&ctrl->lock);
	free(fresh);
	return r;
}

void nofi_ctrl_queue_put(struct nofi_ioq_user *u)
{
	struct nofi_ioq *ioq = u->ioq;
	struct nofi_ioq_user **p;
	uint32_t left;

	if (!ioq)
		return;
	for (p = &ioq->users; *p != u; p = &(*p)->next)
		;
	*p = u->next;
	u->ioq = NULL;
	u->next = NULL;
	pthread_mutex_lock(&ioq->ctrl->lock);
	left = --ioq->nusers;
	pthread_mutex_unlock(&ioq->ctrl->lock);
	if (!left && !leave(ioq))
		end_ioq(ioq);
}
