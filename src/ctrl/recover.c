/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The driver of fsm.c: feeds it what happens, does what it says.
 *
 * Noting an event is always safe: it changes the state, and leaves the work to
 * ctrl_work() at the end of the loop's turn. There, in this order: the clean end
 * begins, or what is left of the association is taken down; an attempt begins; the
 * deadline is armed.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "ctrl/internal.h"

enum {
	/* Of the chain of steps as a whole, each of which has its own time: a backstop. */
	ATTEMPT_COMMANDS = 64,
	DELETE_MS = 10000,
};

static enum nof_ctrl_state public_state(enum nofi_fsm_state s)
{
	static const enum nof_ctrl_state map[NOFI_FSM_STATES] = {
		[NOFI_FSM_NEW] = NOF_CTRL_NEW,
		[NOFI_FSM_FIRST] = NOF_CTRL_CONNECTING,
		[NOFI_FSM_LIVE] = NOF_CTRL_LIVE,
		[NOFI_FSM_RESETTING] = NOF_CTRL_RESETTING,
		[NOFI_FSM_WAIT] = NOF_CTRL_CONNECTING,
		[NOFI_FSM_ATTEMPT] = NOF_CTRL_CONNECTING,
		[NOFI_FSM_DELETING] = NOF_CTRL_DELETING,
		[NOFI_FSM_FAILED] = NOF_CTRL_FAILED,
		[NOFI_FSM_CLOSED] = NOF_CTRL_CLOSED,
	};

	return map[s];
}

static uint64_t never_or_ms(int32_t ms)
{
	return ms < 0 ? NOFI_FSM_NEVER : (uint64_t)ms * NOFI_MS;
}

static void fsm_tick(struct nofi_timer *t)
{
	struct nof_ctrl *ctrl = nofi_of(t, struct nof_ctrl, fsm_timer);

	nofi_ctrl_event(ctrl, NOFI_FSM_TICK, NULL);
	/* Whatever it did: the next deadline is to be armed. */
	nofi_ctrl_schedule(ctrl);
}

void nofi_recover_init(struct nof_ctrl *ctrl)
{
	const struct nof_opts *o = &ctrl->opts;
	struct nofi_fsm_config cfg = {
		.delay_max = o->reconnect_delay_ms * NOFI_MS,
		.loss_tmo = never_or_ms(o->ctrl_loss_tmo_ms),
		.fast_fail_tmo = never_or_ms(o->fast_io_fail_tmo_ms),
		.attempt_tmo = (o->connect_timeout_ms +
				(uint64_t)ATTEMPT_COMMANDS * o->admin_timeout_ms) * NOFI_MS,
		.delete_tmo = ((uint64_t)ATTEMPT_COMMANDS * o->admin_timeout_ms + DELETE_MS) *
			      NOFI_MS,
		.max_attempts = o->max_reconnects,
	};

	nofi_fsm_init(&ctrl->fsm, &cfg);
	ctrl->fsm_timer.fn = fsm_tick;
	if (getrandom(&ctrl->random, sizeof(ctrl->random), GRND_NONBLOCK) < 0 || !ctrl->random)
		ctrl->random = (uint32_t)nofi_loop_now(ctrl->loop) | 1;
	nofi_ctrl_publish(ctrl);
	nofi_abort_init(ctrl);
}

/* For the jitter only. */
static uint32_t next_random(struct nof_ctrl *ctrl)
{
	ctrl->random ^= ctrl->random << 13;
	ctrl->random ^= ctrl->random >> 17;
	ctrl->random ^= ctrl->random << 5;
	return ctrl->random;
}

/* ---- sentences ---- */

static unsigned long long ms_since(struct nof_ctrl *ctrl, uint64_t when)
{
	return (nofi_loop_now(ctrl->loop) - when) / NOFI_MS;
}

/* Why it failed: what happened last, and why that was the end. */
static void describe_failure(struct nof_ctrl *ctrl, struct nofi_err *err)
{
	const struct nofi_fsm *f = &ctrl->fsm;
	struct nofi_err last = *err;
	unsigned long long ms = ms_since(ctrl, f->lost_at);
	bool was_live = ctrl->is_known;

	if (!last.code)
		nofi_err_set(&last, -ETIMEDOUT, "it took too long");
	switch (f->why) {
	case NOFI_FSM_WHY_LOST:
	case NOFI_FSM_WHY_FREED:
		*err = last;
		break;
	case NOFI_FSM_WHY_TIME:
		nofi_err_set(err, last.code, "gave up after %llu.%03llu s and %u attempts to "
			     "reconnect (ctrl_loss_tmo): %s", ms / 1000, ms % 1000, f->attempts,
			     last.text);
		break;
	case NOFI_FSM_WHY_COUNT:
		nofi_err_set(err, last.code, "gave up after %u attempts to reconnect in "
			     "%llu.%03llu s (max_reconnects): %s", f->attempts, ms / 1000,
			     ms % 1000, last.text);
		break;
	case NOFI_FSM_WHY_REFUSED:
		if (was_live)
			nofi_err_set(err, last.code, "gave up at attempt %u to reconnect, "
				     "%llu.%03llu s after the loss, because it was refused for "
				     "good: %s", f->attempts, ms / 1000, ms % 1000, last.text);
		break;
	case NOFI_FSM_WHY_STUCK:
		nofi_err_set(err, -ETIMEDOUT, "%s as a whole took too long, though each step was "
			     "in time; the target is overloaded or at fault",
			     ctrl->disconnect_done ? "shutting down" : "connecting");
		break;
	}
}

/* A sentence also where nothing is wrong: code may be 0. */
__attribute__((format(printf, 3, 4)))
static void say(struct nofi_err *note, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	nofi_err_vset(note, -1, fmt, ap);
	va_end(ap);
	note->code = code;
}

/* What the user reads of a change of state; code 0 where nothing is wrong. */
static void describe(struct nof_ctrl *ctrl, struct nofi_err *note)
{
	const struct nofi_fsm *f = &ctrl->fsm;
	char host[sizeof(ctrl->opts.traddr) + sizeof(ctrl->opts.trsvcid) + 4];
	unsigned long long ms;

	switch (f->state) {
	case NOFI_FSM_FIRST:
		say(note, 0, "connecting to %s",
			     nofi_text_host(&ctrl->opts, NULL, host, sizeof(host)));
		break;
	case NOFI_FSM_LIVE:
		ms = ms_since(ctrl, f->lost_at);
		if (f->attempts)
			say(note, 0, "live again at attempt %u, %llu.%03llu s after the "
				     "loss: controller %u, %u namespaces, %u I/O queues",
				     f->attempts, ms / 1000, ms % 1000, ctrl->cntlid,
				     ctrl->nnsids, ctrl->nr_io_queues);
		else
			say(note, 0, "live: controller %u, %u namespaces, %u I/O queues "
				     "of %u entries", ctrl->cntlid, ctrl->nnsids,
				     ctrl->nr_io_queues, ctrl->io_entries);
		break;
	case NOFI_FSM_RESETTING:
		say(note, ctrl->err.code, "the association is lost: %s", ctrl->err.text);
		break;
	case NOFI_FSM_WAIT:
		ms = f->delay / NOFI_MS;
		say(note, ctrl->err.code, "attempt %u to reconnect to %s in %llu.%03llu "
			     "s, after: %s", f->attempts + 1,
			     nofi_text_host(&ctrl->opts, NULL, host, sizeof(host)), ms / 1000,
			     ms % 1000, ctrl->err.text);
		break;
	case NOFI_FSM_DELETING:
		say(note, 0, "shutting down, as the user wishes");
		break;
	case NOFI_FSM_CLOSED:
		say(note, 0, "closed, as the user wished");
		break;
	case NOFI_FSM_FAILED:
		*note = ctrl->err;
		break;
	case NOFI_FSM_ATTEMPT:
	case NOFI_FSM_NEW:
	case NOFI_FSM_STATES:
		break;
	}
}

int nofi_ctrl_not_live(const struct nof_ctrl *ctrl, const char *what, struct nofi_err *err)
{
	bool has_reason = ctrl->err.code && ctrl->state != NOF_CTRL_LIVE;

	return nofi_err_set(err, -ENOTCONN, "%s%sthe controller is %s%s%s", what ? what : "",
			    what ? ": " : "", nof_ctrl_state_name(ctrl->state),
			    has_reason ? ": " : "", has_reason ? ctrl->err.text : "");
}

/* ---- what an event brings about ---- */

static void enter_state(struct nof_ctrl *ctrl, const struct nofi_err *err)
{
	enum nof_ctrl_state state = public_state(ctrl->fsm.state), old = ctrl->state;
	struct nofi_err why = err ? *err : ctrl->err, note = { 0 };

	if (ctrl->fsm.state == NOFI_FSM_FAILED)
		describe_failure(ctrl, &why);
	if (ctrl->fsm.state == NOFI_FSM_CLOSED)
		nofi_err_set(&why, -ECANCELED, "nof_ctrl_disconnect() was called");
	if (ctrl->fsm.state == NOFI_FSM_LIVE)
		why.code = 0;
	pthread_mutex_lock(&ctrl->lock);
	ctrl->err = why;
	ctrl->state = state;
	if (old == NOF_CTRL_LIVE && state != NOF_CTRL_DELETING)
		ctrl->generation++;
	pthread_mutex_unlock(&ctrl->lock);
	describe(ctrl, &note);
	nofi_log(ctrl->loop, note.code ? NOF_LOG_WARN : NOF_LOG_INFO, "%s: %s: %s",
		 ctrl->opts.subnqn, nof_ctrl_state_name(state), note.text);
	nofi_notify_state(ctrl, state, &note);
	if (old == NOF_CTRL_LIVE && state != NOF_CTRL_DELETING)
		ctrl->stats.resets++;
	switch (ctrl->fsm.state) {
	case NOFI_FSM_LIVE:
		nofi_ctrl_end_connect(ctrl, NULL);
		nofi_ctrl_end_resets(ctrl, NULL);
		nofi_news(ctrl, NOFI_NEWS_LIVE);
		break;
	case NOFI_FSM_RESETTING:
		nofi_news(ctrl, NOFI_NEWS_LOST);
		break;
	case NOFI_FSM_FAILED:
	case NOFI_FSM_CLOSED:
		nofi_ctrl_end_connect(ctrl, &ctrl->err);
		nofi_ctrl_end_resets(ctrl, &ctrl->err);
		if (ctrl->disconnect_done)
			ctrl->is_disconnect_over = true;
		nofi_news(ctrl, NOFI_NEWS_GONE);
		break;
	default:
		break;
	}
}

bool nofi_ctrl_event(struct nof_ctrl *ctrl, enum nofi_fsm_event ev, const struct nofi_err *err)
{
	unsigned acts = nofi_fsm_event(&ctrl->fsm, ev, nofi_loop_now(ctrl->loop),
				       next_random(ctrl));

	if (!acts)
		return false;
	/* What had to begin begins no more. */
	if (acts & NOFI_FSM_ACT_TEARDOWN)
		ctrl->acts &= ~(unsigned)(NOFI_FSM_ACT_ATTEMPT | NOFI_FSM_ACT_SHUTDOWN);
	ctrl->acts |= acts & (NOFI_FSM_ACT_TEARDOWN | NOFI_FSM_ACT_ATTEMPT |
			      NOFI_FSM_ACT_SHUTDOWN);
	if (acts & NOFI_FSM_ACT_FAST_FAIL)
		nofi_news(ctrl, NOFI_NEWS_FAST_FAIL);
	if (acts & NOFI_FSM_ACT_STATE)
		enter_state(ctrl, err);
	nofi_ctrl_schedule(ctrl);
	return true;
}

void nofi_ctrl_fail(struct nof_ctrl *ctrl, const struct nofi_err *err)
{
	bool is_asked = ctrl->resets && ctrl->state == NOF_CTRL_LIVE;

	nofi_ctrl_event(ctrl, is_asked ? NOFI_FSM_RESET : NOFI_FSM_LOST, err);
}

void nofi_ctrl_refused(struct nof_ctrl *ctrl, const struct nofi_err *err)
{
	nofi_ctrl_event(ctrl, NOFI_FSM_REFUSED, err);
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

void nofi_ctrl_live(struct nof_ctrl *ctrl)
{
	ctrl->is_known = true;
	if (ctrl->fsm.state == NOFI_FSM_ATTEMPT)
		ctrl->stats.reconnects++;
	nofi_ctrl_publish(ctrl);
	nofi_ctrl_event(ctrl, NOFI_FSM_UP, NULL);
	nofi_pathman_live(ctrl);
	nofi_events_relisted(ctrl);
	nofi_transport_events_start(ctrl);
	nofi_transport_changed(ctrl);
}

void nofi_ctrl_closed(struct nof_ctrl *ctrl)
{
	nofi_ctrl_event(ctrl, NOFI_FSM_DOWN, NULL);
}

/* ---- the work ---- */

/* Ends everything that could still call back. What waits is completed with the reason. */
void nofi_recover_teardown(struct nof_ctrl *ctrl, bool everywhere)
{
	struct nofi_queue *admin = ctrl->admin;
	struct nofi_err why = ctrl->err;

	if (ctrl->state == NOF_CTRL_CLOSED)
		nofi_err_set(&why, -ECANCELED, "the controller was disconnected by its user");
	nofi_connect_cancel(ctrl);
	nofi_steps_stop(ctrl);
	nofi_ka_stop(ctrl);
	nofi_aer_stop(ctrl);
	nofi_abort_stop(ctrl);
	if (nofi_ctrl_is_over(ctrl)) {
		nofi_pathman_stop(ctrl);
		nofi_transport_events_stop(ctrl);
	}
	ctrl->admin = NULL;
	if (admin) {
		nofi_queue_kill(admin, &why);
		nofi_queue_free(admin);
	}
	nofi_ops_fail_all(ctrl, &why);
	nofi_ioq_kill_all(ctrl, &why, everywhere ? NOFI_KILL_EVERYWHERE : NOFI_KILL_ALL);
}

/*
 * A channel may have been closed just before: its Disconnect has its answer or its deadline
 * first, or the target would see CC.SHN and the end of the connection in its place.
 */
static void start_shutdown(struct nof_ctrl *ctrl)
{
	struct nofi_err why;

	nofi_err_set(&why, -ECANCELED, "nof_ctrl_disconnect() was called");
	nofi_ops_fail_all(ctrl, &why);
	nofi_ioq_kill_all(ctrl, &why, NOFI_KILL_USED);
	if (ctrl->state == NOF_CTRL_DELETING && !nofi_ioq_is_any_leaving(ctrl))
		nofi_step_enter(ctrl, &nofi_step_shutdown);
}

void nofi_recover_left(struct nof_ctrl *ctrl)
{
	if (ctrl->fsm.state != NOFI_FSM_DELETING || ctrl->is_freed)
		return;
	ctrl->acts |= NOFI_FSM_ACT_SHUTDOWN;
	nofi_ctrl_schedule(ctrl);
}

static void start_attempt(struct nof_ctrl *ctrl)
{
	struct nofi_err err;

	ctrl->stats.reconnect_attempts++;
	nofi_log(ctrl->loop, NOF_LOG_DEBUG, "%s: attempt %u to reconnect", ctrl->opts.subnqn,
		 ctrl->fsm.attempts);
	if (nofi_connect_start(ctrl, &err) < 0)
		nofi_ctrl_fail(ctrl, &err);
}

static void arm_deadline(struct nof_ctrl *ctrl)
{
	uint64_t deadline = nofi_fsm_deadline(&ctrl->fsm);
	struct nofi_err err;

	if (deadline == NOFI_FSM_NEVER || ctrl->is_freed) {
		nofi_timer_disarm(ctrl->loop, &ctrl->fsm_timer);
		return;
	}
	if (nofi_timer_arm(ctrl->loop, &ctrl->fsm_timer, deadline) == 0)
		return;
	/* No state without a deadline: then rather the end. */
	nofi_err_set(&err, -ENOMEM, "no memory for a timer");
	nofi_ctrl_event(ctrl, NOFI_FSM_FREE, &err);
}

void nofi_recover_work(struct nof_ctrl *ctrl)
{
	unsigned acts;

	while ((acts = ctrl->acts)) {
		ctrl->acts = 0;
		if (acts & NOFI_FSM_ACT_SHUTDOWN)
			start_shutdown(ctrl);
		if (acts & NOFI_FSM_ACT_TEARDOWN) {
			nofi_recover_teardown(ctrl, false);
			nofi_ctrl_event(ctrl, NOFI_FSM_TORN_DOWN, NULL);
		}
		/*
		 * Also behind a teardown: a tick of the same turn may have ended the pause
		 * already. Not when what was told meanwhile ended the attempt.
		 */
		if (acts & NOFI_FSM_ACT_ATTEMPT && ctrl->fsm.state == NOFI_FSM_ATTEMPT)
			start_attempt(ctrl);
	}
	arm_deadline(ctrl);
}
