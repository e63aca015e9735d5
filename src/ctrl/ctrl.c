/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The controller object: its life, what the user may ask of it, and the one place
 * where the user is told what became of it. States: recover.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/internal.h"
#include "opts.h"

static void ctrl_work(struct nofi_defer *d);

struct nof_ctrl *nofi_ctrl_ref(struct nof_ctrl *ctrl)
{
	atomic_fetch_add_explicit(&ctrl->refs, 1, memory_order_relaxed);
	return ctrl;
}

void nofi_ctrl_unref(struct nof_ctrl *ctrl)
{
	if (atomic_fetch_sub_explicit(&ctrl->refs, 1, memory_order_acq_rel) != 1)
		return;
	nofi_tap_close(ctrl->tap);
	pthread_mutex_destroy(&ctrl->lock);
	free(ctrl->page);
	free(ctrl->op_page);
	free(ctrl->nsids);
	free(ctrl->new_nsids);
	free(ctrl->old_nsids);
	nofi_ana_free(ctrl);
	free(ctrl->notes);
	nofi_transport_forget(ctrl);
	free(ctrl);
}

int nof_ctrl_new(struct nof_loop *loop, const struct nof_opts *opts, nof_event_fn *events,
		 void *arg, struct nof_ctrl **out)
{
	struct nof_ctrl *ctrl;
	struct nofi_err err;
	int r;

	if (!loop || !opts || !out)
		return nofi_fail(-EINVAL, "nof_ctrl_new: loop, opts and ctrl must not be NULL");
	ctrl = calloc(1, sizeof(*ctrl));
	if (!ctrl)
		return nofi_fail(-ENOMEM, "nof_ctrl_new: out of memory");
	pthread_mutex_init(&ctrl->lock, NULL);
	atomic_init(&ctrl->refs, 1);
	ctrl->loop = loop;
	ctrl->events = events;
	ctrl->events_arg = arg;
	ctrl->work.fn = ctrl_work;
	ctrl->page = malloc(NOFI_PAGE);
	ctrl->op_page = malloc(NOFI_PAGE);
	if (!ctrl->page || !ctrl->op_page || nofi_notify_init(ctrl) < 0) {
		r = nofi_fail(-ENOMEM, "nof_ctrl_new: out of memory");
		goto fail;
	}
	r = nofi_opts_resolve(opts, &ctrl->opts, &err);
	if (r < 0) {
		r = nofi_fail(r, "nof_ctrl_new: %s", err.text);
		goto fail;
	}
	nofi_uuid_parse(ctrl->opts.hostid, ctrl->hostid);
	r = nofi_placement_parse(ctrl->opts.queue_paths, ctrl->opts.trsvcid, &ctrl->placement,
				 &err);
	if (r < 0) {
		r = nofi_fail(r, "nof_ctrl_new: %s", err.text);
		goto fail;
	}
	nofi_recover_init(ctrl);
	if (ctrl->opts.pcap[0]) {
		r = nofi_tap_open(ctrl->opts.pcap, &ctrl->tap, &err);
		if (r < 0) {
			r = nofi_fail(r, "nof_ctrl_new: %s", err.text);
			goto fail;
		}
	}
	*out = ctrl;
	return 0;
fail:
	nofi_ctrl_unref(ctrl);
	return r;
}

/* ---- states ---- */

/* Freed from inside a callback, it must not come back: what is left delivers at once. */
void nofi_ctrl_schedule(struct nof_ctrl *ctrl)
{
	if (!ctrl->is_freed)
		nofi_loop_defer(ctrl->loop, &ctrl->work);
}

bool nofi_ctrl_is_over(const struct nof_ctrl *ctrl)
{
	return ctrl->state == NOF_CTRL_FAILED || ctrl->state == NOF_CTRL_CLOSED;
}

void nofi_ctrl_end_connect(struct nof_ctrl *ctrl, const struct nofi_err *err)
{
	if (!ctrl->connect_done || ctrl->is_connect_over)
		return;
	ctrl->is_connect_over = true;
	if (err)
		ctrl->connect_err = *err;
}

void nofi_ctrl_end_resets(struct nof_ctrl *ctrl, const struct nofi_err *err)
{
	struct nofi_reset *w, **tail = &ctrl->resets_over;

	while (*tail)
		tail = &(*tail)->next;
	*tail = ctrl->resets;
	ctrl->resets = NULL;
	for (w = *tail; w; w = w->next) {
		w->err.code = 0;
		if (err)
			w->err = *err;
	}
}

/* ---- telling the user ---- */

static void call_done(nof_done_fn *done, void *arg, const struct nofi_err *err, uint16_t status,
		      uint64_t result, struct nof_loop *loop)
{
	struct nof_completion c = {
		.error = err->code,
		.status = err->code ? status : 0,
		.result = result,
		.detail = err->code ? err->text : "",
	};

	nofi_loop_count_done(loop);
	done(arg, &c);
}

/*
 * Delivers one thing the user waits for; false when there is none. Nothing of
 * ctrl is touched after a callback: it may have been freed but for our reference.
 */
static bool deliver(struct nof_ctrl *ctrl)
{
	struct nofi_op *op = ctrl->ended_head;
	nof_done_fn *done;

	if (nofi_news_deliver(ctrl) || nofi_notify_deliver(ctrl))
		return true;
	if (ctrl->is_connect_over) {
		done = ctrl->connect_done;
		ctrl->connect_done = NULL;
		ctrl->is_connect_over = false;
		call_done(done, ctrl->connect_arg, &ctrl->connect_err, ctrl->fail_status, 0,
			  ctrl->loop);
		return true;
	}
	if (ctrl->resets_over) {
		struct nofi_reset *w = ctrl->resets_over, copy = *w;

		ctrl->resets_over = w->next;
		free(w);
		call_done(copy.done, copy.arg, &copy.err, 0, 0, ctrl->loop);
		return true;
	}
	if (op) {
		struct nofi_err err = op->err;
		uint16_t status = op->status;
		uint64_t result = op->result;
		void *arg = op->arg;

		ctrl->ended_head = op->next;
		if (!ctrl->ended_head)
			ctrl->ended_tail = NULL;
		done = op->done;
		op->end(op);
		if (done)
			call_done(done, arg, &err, status, result, ctrl->loop);
		return true;
	}
	if (ctrl->is_disconnect_over && ctrl->disconnect_done) {
		struct nofi_err err = ctrl->err;

		done = ctrl->disconnect_done;
		ctrl->disconnect_done = NULL;
		if (ctrl->state == NOF_CTRL_CLOSED)
			err.code = 0;
		call_done(done, ctrl->disconnect_arg, &err, 0, 0, ctrl->loop);
		return true;
	}
	return false;
}

static void ctrl_work(struct nofi_defer *d)
{
	struct nof_ctrl *ctrl = nofi_ctrl_ref(nofi_of(d, struct nof_ctrl, work));

	nofi_recover_work(ctrl);
	while (deliver(ctrl))
		;
	nofi_ctrl_unref(ctrl);
}

void nof_ctrl_free(struct nof_ctrl *ctrl)
{
	struct nof_loop *loop;
	struct nofi_err why;
	bool was;

	if (!ctrl)
		return;
	loop = ctrl->loop;
	was = nofi_loop_enter(loop);
	ctrl->events = NULL;
	ctrl->nnotes = 0;
	pthread_mutex_lock(&ctrl->lock);
	ctrl->is_freed = true;
	pthread_mutex_unlock(&ctrl->lock);
	nofi_err_set(&why, -ECANCELED, "nof_ctrl_free() was called");
	nofi_ctrl_event(ctrl, NOFI_FSM_FREE, &why);
	ctrl->is_disconnect_over = true;
	ctrl->acts = 0;
	ctrl->nnews = 0;
	nofi_timer_disarm(loop, &ctrl->fsm_timer);
	nofi_recover_teardown(ctrl, true);
	nofi_pathman_stop(ctrl);
	nofi_transport_events_stop(ctrl);
	nofi_news_tell(ctrl, NOFI_NEWS_GONE, &ctrl->err);
	while (deliver(ctrl))
		;
	nofi_loop_undefer(loop, &ctrl->work);
	nofi_ctrl_unref(ctrl);
	nofi_loop_leave(loop, was);
}

/* ---- public calls ---- */

int nof_ctrl_connect(struct nof_ctrl *ctrl, nof_done_fn *done, void *arg)
{
	struct nofi_err err;
	int r;

	if (!ctrl || !done)
		return nofi_fail(-EINVAL, "nof_ctrl_connect: ctrl and done must not be NULL");
	if (ctrl->state != NOF_CTRL_NEW)
		return nofi_fail(-EALREADY, "nof_ctrl_connect: the controller is %s; connect a "
				 "new one", nof_ctrl_state_name(ctrl->state));
	nofi_pathman_start(ctrl);
	r = nofi_connect_start(ctrl, &err);
	if (r < 0) {
		nofi_pathman_stop(ctrl);
		return nofi_fail(r, "nof_ctrl_connect: %s", err.text);
	}
	ctrl->connect_done = done;
	ctrl->connect_arg = arg;
	nofi_ctrl_event(ctrl, NOFI_FSM_CONNECT, NULL);
	ctrl->acts &= ~(unsigned)NOFI_FSM_ACT_ATTEMPT;	/* has begun */
	return 0;
}

int nof_ctrl_disconnect(struct nof_ctrl *ctrl, nof_done_fn *done, void *arg)
{
	if (!ctrl || !done)
		return nofi_fail(-EINVAL, "nof_ctrl_disconnect: ctrl and done must not be NULL");
	switch (ctrl->state) {
	case NOF_CTRL_DELETING:
		return nofi_fail(-EALREADY, "nof_ctrl_disconnect: is under way already");
	case NOF_CTRL_FAILED:
		return nofi_fail(-ENOTCONN, "nof_ctrl_disconnect: the connection is gone: %s",
				 ctrl->err.text);
	case NOF_CTRL_CLOSED:
		return nofi_fail(-ENOTCONN, "nof_ctrl_disconnect: is closed already");
	case NOF_CTRL_NEW:
	case NOF_CTRL_CONNECTING:
	case NOF_CTRL_LIVE:
	case NOF_CTRL_RESETTING:
		break;
	}
	ctrl->disconnect_done = done;
	ctrl->disconnect_arg = arg;
	nofi_ctrl_event(ctrl, NOFI_FSM_DISCONNECT, NULL);
	return 0;
}

int nof_ctrl_reset(struct nof_ctrl *ctrl, nof_done_fn *done, void *arg)
{
	struct nofi_reset *w, **tail;
	struct nofi_err err;

	if (!ctrl || !done)
		return nofi_fail(-EINVAL, "nof_ctrl_reset: ctrl and done must not be NULL");
	if (ctrl->state != NOF_CTRL_LIVE && ctrl->state != NOF_CTRL_RESETTING &&
	    !(ctrl->state == NOF_CTRL_CONNECTING && ctrl->is_known)) {
		nofi_ctrl_not_live(ctrl, "nof_ctrl_reset", &err);
		return nofi_fail_err(&err);
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return nofi_fail(-ENOMEM, "nof_ctrl_reset: out of memory");
	w->done = done;
	w->arg = arg;
	for (tail = &ctrl->resets; *tail; tail = &(*tail)->next)
		;
	*tail = w;
	nofi_err_set(&err, -ECONNRESET, "nof_ctrl_reset() was called");
	nofi_ctrl_event(ctrl, NOFI_FSM_RESET, &err);
	return 0;
}

enum nof_ctrl_state nof_ctrl_get_state(const struct nof_ctrl *ctrl)
{
	return ctrl ? ctrl->state : NOF_CTRL_NEW;
}

struct nof_loop *nof_ctrl_get_loop(const struct nof_ctrl *ctrl)
{
	return ctrl ? ctrl->loop : NULL;
}

const char *nof_ctrl_state_name(enum nof_ctrl_state state)
{
	static const char *const names[] = {
		[NOF_CTRL_NEW] = "new", [NOF_CTRL_CONNECTING] = "connecting",
		[NOF_CTRL_LIVE] = "live", [NOF_CTRL_DELETING] = "deleting",
		[NOF_CTRL_FAILED] = "failed", [NOF_CTRL_CLOSED] = "closed",
		[NOF_CTRL_RESETTING] = "resetting",
	};

	return (unsigned)state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}
