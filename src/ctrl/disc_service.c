/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of one discovery service:
 *
 *	REST ─► CONNECTING ─► READING ─► LEAVING ─► REST
 *	                         ▲  └──────(kept)────►│
 *	                         └────────────────────┘
 *
 * All but REST has the service's timer as its limit, and all failure is
 * nofi_disc_fail(). A controller that is freed calls back before that returns: those
 * callbacks see ctrl NULL and do nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/addrmap.h"
#include "ctrl/disc.h"
#include "ctrl/internal.h"

enum {
	LSP_PLEO = 1u << 1, LSP_ALLSUBE = 1u << 2,
	DCTYPE_CDC = 2,
	AEN_DISCOVERY = 1u << 31,	/* OAES: tells changes of the log */
	KEEP_ALIVE_MS = 30000,		/* of a kept connection whose options have none */
	LEAVE_MS = 2000,		/* for a clean end, which nobody needs */
	RETRY_MIN_MS = 1000,		/* after a failure; doubled each time, up to reread_ms */
};

static void read_start(struct nofi_disc_service *s);

static int arm(struct nofi_disc_service *s, uint32_t ms)
{
	struct nof_loop *loop = s->disc->loop;

	return nofi_timer_arm(loop, &s->timer, nofi_loop_now(loop) + ms * NOFI_MS);
}

static void enter(struct nofi_disc_service *s, enum nofi_disc_state state)
{
	s->disc->nbusy -= s->state != NOFI_DISC_REST;
	s->state = state;
	s->disc->nbusy += state != NOFI_DISC_REST;
	if (state == NOFI_DISC_REST)
		nofi_timer_disarm(s->disc->loop, &s->timer);
}

static void drop_ctrl(struct nofi_disc_service *s)
{
	struct nof_ctrl *ctrl = s->ctrl;

	s->ctrl = NULL;
	s->is_kept = false;
	enter(s, NOFI_DISC_REST);
	nof_ctrl_free(ctrl);
}

void nofi_disc_fail(struct nofi_disc_service *s, const struct nofi_err *err)
{
	uint32_t ms = RETRY_MIN_MS << (s->failures < 16 ? s->failures : 16);

	s->err = *err;
	drop_ctrl(s);
	if (s->disc->is_watch) {
		if (ms > s->disc->dopts.reread_ms)
			ms = s->disc->dopts.reread_ms;
		s->failures++;
		if (arm(s, ms) < 0)
			s->is_due = true;
	}
	nofi_disc_changed(s->disc);
}

static void fail_detail(struct nofi_disc_service *s, int code)
{
	struct nofi_err err;

	nofi_err_set(&err, code, "%s", nof_strerror_detail());
	nofi_disc_fail(s, &err);
}

/* ---- read, and then leave or stay ---- */

static bool is_well_known(const char *nqn)
{
	return !strcmp(nqn, NOF_DISCOVERY_NQN);
}

/*
 * Whether the service wants to be kept: one that the user named is tried, another has to offer
 * it (EPCSD), where it is named or in its own entry.
 */
static bool may_keep(const struct nofi_disc_service *s)
{
	if (!s->disc->is_watch)
		return false;
	if (s == s->disc->root || s->ref.eflags & NOFI_EFLAGS_EPCSD)
		return true;
	for (size_t i = 0; s->log && i < s->log->count; i++)
		if (s->log->entries[i].subtype == NOFI_SUBTYPE_CURRENT &&
		    s->log->entries[i].eflags & NOFI_EFLAGS_EPCSD)
			return true;
	return false;
}

static void left(void *arg, const struct nof_completion *c)
{
	struct nofi_disc_service *s = arg;

	if (!s->ctrl)
		return;
	drop_ctrl(s);
	if (s->disc->is_watch && !s->is_due && arm(s, s->disc->dopts.reread_ms) < 0)
		s->is_due = true;
	nofi_disc_changed(s->disc);
}

static void leave(struct nofi_disc_service *s)
{
	enter(s, NOFI_DISC_LEAVING);
	if (arm(s, LEAVE_MS) < 0 || nof_ctrl_disconnect(s->ctrl, left, s) < 0)
		left(s, NULL);
}

/* What the limits allow of a log; NCC means something from a central controller only. */
static void trim(struct nofi_disc_service *s, struct nof_discovery_log *log)
{
	const struct nofi_disc_service *t;
	size_t room = s->disc->dopts.max_records;

	for (t = s->disc->root; t; t = t->next)
		if (t != s && t->log)
			room -= t->log->count < room ? t->log->count : room;
	if (log->count > room)
		log->count = room;
	for (size_t i = 0; i < log->count && s->ctrl->ident.dctype != DCTYPE_CDC; i++)
		log->entries[i].eflags &= (uint16_t)~NOFI_EFLAGS_NCC;
}

static void read_done(void *arg, const struct nof_completion *c)
{
	struct nofi_disc_service *s = arg;
	struct nof_discovery_log *log = s->new_log;
	bool was_keepable = may_keep(s);
	enum nof_ctrl_state state;
	struct nofi_err err;

	s->new_log = NULL;
	if (!s->ctrl || c->error) {
		nof_discovery_free(log);
		if (!s->ctrl)
			return;
		nofi_err_set(&err, c->error, "%s", c->detail);
		state = nof_ctrl_get_state(s->ctrl);
		if (!s->is_kept || state == NOF_CTRL_LIVE || state == NOF_CTRL_FAILED ||
		    state == NOF_CTRL_CLOSED) {
			nofi_disc_fail(s, &err);
			return;
		}
		/* The controller is coming back by itself, and then tells. */
		s->err = err;
		s->is_due = true;
		enter(s, NOFI_DISC_REST);
		nofi_disc_changed(s->disc);
		return;
	}
	trim(s, log);
	if (nofi_disc_take_refs(s, log) < 0) {
		nof_discovery_free(log);
		nofi_err_set(&err, -ENOMEM, "the log of %s: out of memory", s->ref.traddr);
		nofi_disc_fail(s, &err);
		return;
	}
	nof_discovery_free(s->log);
	s->log = log;
	s->err.code = 0;
	s->failures = 0;
	/* Its own entry may say what the one that led here did not. */
	if (!was_keepable && may_keep(s))
		s->is_due = true;
	if (s->is_kept)
		enter(s, NOFI_DISC_REST);
	else
		leave(s);
	nofi_disc_changed(s->disc);
}

static void read_start(struct nofi_disc_service *s)
{
	uint32_t flags = s->disc->dopts.flags;
	uint8_t lsp = (uint8_t)((flags & NOF_DISCOVER_PORT_LOCAL ? LSP_PLEO : 0) |
				(flags & NOF_DISCOVER_ALL_SUBSYSTEMS ? LSP_ALLSUBE : 0));
	int r;

	enter(s, NOFI_DISC_READING);
	r = nofi_discovery_get(s->ctrl, lsp, &s->new_log, read_done, s);
	if (r < 0)
		fail_detail(s, r);
}

/* ---- connect ---- */

static void again(struct nofi_disc_service *s)
{
	drop_ctrl(s);
	s->is_due = true;
	nofi_disc_changed(s->disc);
}

static void connected(void *arg, const struct nof_completion *c)
{
	struct nofi_disc_service *s = arg;
	const struct nof_ctrl *ctrl = s->ctrl;
	struct nofi_err err;

	if (!ctrl)
		return;
	/* A refusal; one that is merely away will be asked by that name again. */
	if (c->status && strcmp(s->nqn, s->ref.nqn)) {
		strcpy(s->nqn, s->ref.nqn);
		s->is_unique_refused = true;
		again(s);
		return;
	}
	if (c->error) {
		nofi_err_set(&err, c->error, "%s", c->detail);
		nofi_disc_fail(s, &err);
		return;
	}
	s->peer = ctrl->peer;
	strcpy(s->own_nqn, ctrl->ident.subnqn);
	if (s != s->disc->root && nofi_disc_find_same(s)) {
		s->is_same = true;
		drop_ctrl(s);
		nofi_disc_changed(s->disc);
		return;
	}
	/* TP8013: a lasting association is made with the service's own name. */
	if (may_keep(s) && is_well_known(s->nqn) && s->own_nqn[0] && !is_well_known(s->own_nqn) &&
	    ctrl->ident.is_discovery && !s->is_unique_refused) {
		strcpy(s->nqn, s->own_nqn);
		again(s);
		return;
	}
	s->is_kept = may_keep(s) && ctrl->opts.keep_alive_tmo_ms &&
		     ctrl->ident.oaes & AEN_DISCOVERY;
	read_start(s);
}

static void on_event(void *arg, const struct nof_event *ev)
{
	struct nofi_disc_service *s = arg;
	struct nofi_err err;

	if (!s->ctrl || s->state != NOFI_DISC_REST) {
		/* What is under way ends by itself; only a change must not get lost. */
		s->is_due |= s->ctrl && ev->type == NOF_EVENT_DISCOVERY;
		return;
	}
	if (ev->type == NOF_EVENT_DISCOVERY ||
	    (ev->type == NOF_EVENT_CTRL_STATE && ev->state == NOF_CTRL_LIVE)) {
		s->is_due = true;
	} else if (ev->type != NOF_EVENT_CTRL_STATE || !ev->error) {
		return;
	} else {
		nofi_err_set(&err, ev->error, "%s", ev->detail);
		if (ev->state == NOF_CTRL_FAILED) {
			nofi_disc_fail(s, &err);
			return;
		}
		s->err = err;
	}
	nofi_disc_changed(s->disc);
}

static void fill_opts(const struct nofi_disc_service *s, struct nof_opts *o)
{
	*o = *s->disc->opts;
	strcpy(o->traddr, s->ref.traddr);
	strcpy(o->trsvcid, s->ref.trsvcid);
	strcpy(o->subnqn, s->nqn);
	o->ns[0] = '\0';
	/* Each controller would begin the file anew. */
	if (s != s->disc->root)
		o->pcap[0] = '\0';
	if (s != s->disc->root && !(s->ref.treq & NOFI_TREQ_NO_SQFLOW))
		o->disable_sqflow = false;
	if (!s->disc->is_watch) {
		o->ctrl_loss_tmo_ms = 0;
		return;
	}
	if (!may_keep(s))
		o->keep_alive_tmo_ms = 0;
	else if (!o->keep_alive_tmo_ms)
		o->keep_alive_tmo_ms = KEEP_ALIVE_MS;
}

static void on_timer(struct nofi_timer *t)
{
	struct nofi_disc_service *s = nofi_of(t, struct nofi_disc_service, timer);
	struct nofi_err err;

	switch (s->state) {
	case NOFI_DISC_REST:
		s->is_due = true;
		nofi_disc_changed(s->disc);
		return;
	case NOFI_DISC_LEAVING:
		left(s, NULL);
		return;
	case NOFI_DISC_CONNECTING:
	case NOFI_DISC_READING:
		break;
	}
	nofi_err_set(&err, -ETIMEDOUT, "discovery at %s port %s: %s within %u ms; the target or "
		     "the network is slow, or service_timeout_ms too short", s->ref.traddr,
		     s->ref.trsvcid, s->state == NOFI_DISC_CONNECTING ? "not connected" :
		     "the log was not read", s->disc->dopts.service_timeout_ms);
	nofi_disc_fail(s, &err);
}

int nofi_disc_ask(struct nofi_disc_service *s)
{
	struct nof_opts *o;
	int r;

	s->is_due = false;
	s->timer.fn = on_timer;
	r = arm(s, s->disc->dopts.service_timeout_ms);
	if (r < 0)
		goto fail;
	if (s->ctrl) {
		read_start(s);
		return 0;
	}
	o = malloc(sizeof(*o));
	r = -ENOMEM;
	if (!o)
		goto fail;
	fill_opts(s, o);
	r = nof_ctrl_new(s->disc->loop, o, on_event, s, &s->ctrl);
	free(o);
	if (r == 0) {
		enter(s, NOFI_DISC_CONNECTING);
		r = nof_ctrl_connect(s->ctrl, connected, s);
	}
	if (r == 0)
		return 0;
	fail_detail(s, r);
	return r;
fail:
	nofi_err_set(&s->err, r, "discovery at %s: out of memory", s->ref.traddr);
	nofi_disc_fail(s, &s->err);
	return nofi_fail_err(&s->err);
}

/* ---- all of them ---- */

void nofi_disc_changed(struct nofi_disc *d)
{
	if (!d->is_stopped)
		nofi_loop_defer(d->loop, &d->work);
}

bool nofi_disc_run(struct nofi_disc *d)
{
	struct nofi_disc_service *s;
	bool is_waiting = false;

	for (s = d->root; s; s = s->next) {
		if (!nofi_disc_is_wanted(s))
			continue;
		if (s->ctrl && nof_ctrl_get_state(s->ctrl) != NOF_CTRL_LIVE)
			continue;	/* its return is an event */
		if (d->nbusy >= d->dopts.max_parallel)
			is_waiting = true;
		else
			nofi_disc_ask(s);
	}
	return is_waiting || d->nbusy || d->work.is_queued;
}

static void work_fn(struct nofi_defer *work)
{
	struct nofi_disc *d = nofi_of(work, struct nofi_disc, work);

	d->step(d);
}

int nofi_disc_init(struct nofi_disc *d, struct nof_loop *loop, const struct nof_opts *opts,
		   const struct nof_discover_opts *dopts, struct nofi_err *err)
{
	struct nofi_disc_ref root;
	int r = nofi_disc_opts(dopts, &d->dopts, err);

	if (r < 0)
		return r;
	if (opts->size < offsetof(struct nof_opts, pcap))
		return nofi_err_set(err, -EINVAL, "opts->size is %zu; call nof_opts_init() first",
				    opts->size);
	r = nofi_addrmap_check(nofi_disc_map(opts), err);
	if (r < 0)
		return r;
	d->loop = loop;
	d->work.fn = work_fn;
	d->opts = malloc(sizeof(*d->opts));
	if (!d->opts)
		return nofi_err_set(err, -ENOMEM, "out of memory");
	nof_opts_init(d->opts);
	memcpy(d->opts, opts, opts->size < sizeof(*opts) ? opts->size : sizeof(*opts));
	d->opts->size = sizeof(*d->opts);

	memset(&root, 0, sizeof(root));
	strcpy(root.traddr, opts->traddr);
	strcpy(root.nqn, opts->subnqn[0] ? opts->subnqn : NOF_DISCOVERY_NQN);
	strcpy(root.trsvcid, opts->trsvcid[0] ? opts->trsvcid : "8009");
	nofi_disc_ref_addr(&root);
	if (!nofi_disc_add(d, &root)) {
		free(d->opts);
		return nofi_err_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

void nofi_disc_forget(struct nofi_disc_service *s)
{
	drop_ctrl(s);
	nof_discovery_free(s->log);
	s->log = NULL;
	free(s->refs);
	s->refs = NULL;
	s->nrefs = 0;
	s->is_due = true;
}

void nofi_disc_service_free(struct nofi_disc_service *s)
{
	drop_ctrl(s);
	nofi_timer_disarm(s->disc->loop, &s->timer);
	nof_discovery_free(s->log);
	free(s->refs);
	free(s);
}

void nofi_disc_fini(struct nofi_disc *d)
{
	struct nofi_disc_service *s;

	d->is_stopped = true;
	while ((s = d->root)) {
		d->root = s->next;
		nofi_disc_service_free(s);
	}
	nofi_loop_undefer(d->loop, &d->work);
	free(d->opts);
	d->opts = NULL;
}
