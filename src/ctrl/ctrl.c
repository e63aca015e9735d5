/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The controller object: life, states, and the one place where everything ends.
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
	free(ctrl->notes);
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

void nofi_ctrl_set_state(struct nof_ctrl *ctrl, enum nof_ctrl_state state)
{
	nofi_log(ctrl->loop, NOF_LOG_DEBUG, "%s: %s -> %s", ctrl->opts.subnqn,
		 nof_ctrl_state_name(ctrl->state), nof_ctrl_state_name(state));
	pthread_mutex_lock(&ctrl->lock);
	ctrl->state = state;
	pthread_mutex_unlock(&ctrl->lock);
	nofi_notify_state(ctrl, state, state == NOF_CTRL_FAILED ? &ctrl->err : NULL);
	if (state == NOF_CTRL_LIVE)
		nofi_news(ctrl, NOFI_NEWS_LIVE);
	else if (nofi_ctrl_is_over(ctrl))
		nofi_news(ctrl, NOFI_NEWS_GONE);
	nofi_ctrl_schedule(ctrl);
}

bool nofi_ctrl_is_over(const struct nof_ctrl *ctrl)
{
	return ctrl->state == NOF_CTRL_FAILED || ctrl->state == NOF_CTRL_CLOSED;
}

static void end_connect(struct nof_ctrl *ctrl, const struct nofi_err *err)
{
	if (!ctrl->connect_done || ctrl->is_connect_over)
		return;
	ctrl->is_connect_over = true;
	if (err)
		ctrl->connect_err = *err;
}

void nofi_ctrl_live(struct nof_ctrl *ctrl)
{
	ctrl->is_known = true;
	end_connect(ctrl, NULL);
	nofi_ctrl_set_state(ctrl, NOF_CTRL_LIVE);
	nofi_log(ctrl->loop, NOF_LOG_INFO,
		 "%s is live: controller %u, %u namespaces, %u I/O queues of %u entries",
		 ctrl->opts.subnqn, ctrl->cntlid, ctrl->nnsids, ctrl->nr_io_queues,
		 ctrl->io_entries);
}

void nofi_ctrl_closed(struct nof_ctrl *ctrl)
{
	ctrl->needs_teardown = true;
	ctrl->is_disconnect_over = true;
	nofi_ctrl_set_state(ctrl, NOF_CTRL_CLOSED);
}

void nofi_ctrl_fail(struct nof_ctrl *ctrl, const struct nofi_err *err)
{
	if (nofi_ctrl_is_over(ctrl))
		return;
	pthread_mutex_lock(&ctrl->lock);
	ctrl->err = *err;
	pthread_mutex_unlock(&ctrl->lock);
	ctrl->needs_teardown = true;
	ctrl->needs_shutdown = false;
	end_connect(ctrl, err);
	if (ctrl->disconnect_done)
		ctrl->is_disconnect_over = true;
	nofi_log(ctrl->loop, NOF_LOG_WARN, "%s failed: %s", ctrl->opts.subnqn, err->text);
	nofi_ctrl_set_state(ctrl, NOF_CTRL_FAILED);
}

void nofi_ctrl_failf(struct nof_ctrl *ctrl, int code, const char *fmt, ...)
{
	struct nofi_err err;
	va_list ap;

	va_start(ap, fmt);
	nofi_err_vset(&err, code, fmt, ap);
	va_end(ap);
	nofi_ctrl_fail(ctrl, &err);
}

void nofi_ctrl_request_reset(struct nof_ctrl *ctrl, const struct nofi_err *why)
{
	if (ctrl->state == NOF_CTRL_LIVE)
		nofi_ctrl_fail(ctrl, why);
}

/* ---- the end ---- */

/* Ends everything that could still call back. What waits is completed with the reason. */
static void teardown(struct nof_ctrl *ctrl, bool everywhere)
{
	struct nofi_queue *admin = ctrl->admin;
	struct nofi_err why;

	ctrl->needs_teardown = false;
	ctrl->needs_shutdown = false;
	if (ctrl->state == NOF_CTRL_FAILED)
		why = ctrl->err;
	else
		nofi_err_set(&why, -ECANCELED, "the controller was disconnected by its user");

	nofi_connect_cancel(ctrl);
	nofi_steps_stop(ctrl);
	nofi_ka_stop(ctrl);
	nofi_aer_stop(ctrl);
	ctrl->admin = NULL;
	if (admin) {
		nofi_queue_kill(admin, &why);
		nofi_queue_free(admin);
	}
	nofi_ops_fail_all(ctrl, &why);
	nofi_ioq_kill_all(ctrl, &why, everywhere);
}

static void start_shutdown(struct nof_ctrl *ctrl)
{
	struct nofi_err why;

	ctrl->needs_shutdown = false;
	nofi_err_set(&why, -ECANCELED, "nof_ctrl_disconnect() was called");
	nofi_ops_fail_all(ctrl, &why);
	nofi_ioq_kill_all(ctrl, &why, false);
	if (ctrl->state == NOF_CTRL_DELETING)
		nofi_step_enter(ctrl, &nofi_step_shutdown);
}

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

	if (ctrl->needs_shutdown)
		start_shutdown(ctrl);
	if (ctrl->needs_teardown)
		teardown(ctrl, false);
	while (deliver(ctrl))
		;
	nofi_ctrl_unref(ctrl);
}

void nof_ctrl_free(struct nof_ctrl *ctrl)
{
	struct nof_loop *loop;
	bool was;

	if (!ctrl)
		return;
	loop = ctrl->loop;
	was = nofi_loop_enter(loop);
	ctrl->events = NULL;
	ctrl->nnotes = 0;
	ctrl->nnews = 0;
	if (!nofi_ctrl_is_over(ctrl)) {
		struct nofi_err why;

		nofi_err_set(&why, -ECANCELED, "nof_ctrl_free() was called");
		pthread_mutex_lock(&ctrl->lock);
		ctrl->err = why;
		ctrl->state = NOF_CTRL_FAILED;
		pthread_mutex_unlock(&ctrl->lock);
		end_connect(ctrl, &why);
		ctrl->is_disconnect_over = true;
	}
	pthread_mutex_lock(&ctrl->lock);
	ctrl->is_freed = true;
	pthread_mutex_unlock(&ctrl->lock);
	teardown(ctrl, true);
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
	r = nofi_connect_start(ctrl, &err);
	if (r < 0)
		return nofi_fail(r, "nof_ctrl_connect: %s", err.text);
	ctrl->connect_done = done;
	ctrl->connect_arg = arg;
	nofi_ctrl_set_state(ctrl, NOF_CTRL_CONNECTING);
	return 0;
}

int nof_ctrl_disconnect(struct nof_ctrl *ctrl, nof_done_fn *done, void *arg)
{
	struct nofi_err why;

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
		/* Nothing to be saved at the target: an abortive end is a clean one. */
		nofi_err_set(&why, -ECANCELED, "nof_ctrl_disconnect() was called");
		end_connect(ctrl, &why);
		ctrl->disconnect_done = done;
		ctrl->disconnect_arg = arg;
		nofi_ctrl_closed(ctrl);
		return 0;
	case NOF_CTRL_LIVE:
	case NOF_CTRL_RESETTING:
		break;
	}
	ctrl->disconnect_done = done;
	ctrl->disconnect_arg = arg;
	ctrl->needs_shutdown = true;
	nofi_ctrl_set_state(ctrl, NOF_CTRL_DELETING);
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
