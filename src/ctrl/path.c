/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of a path: it hears of its controller, has the namespace identified anew
 * whenever that comes back (C-4), and tells the channels. See path.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/ident_cs.h"
#include "ctrl/internal.h"
#include "ctrl/path.h"

enum {
	RECHECKS = 10,			/* of a namespace that could not be identified */
	RECHECK_FIRST_MS = 100,
	RECHECK_MAX_MS = 5000,
};

static void check(struct nofi_path *p);

/* ---- references ---- */

struct nofi_path *nofi_path_ref(struct nofi_path *p)
{
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void nofi_path_unref(struct nofi_path *p)
{
	struct nof_ns *ns = p->ns;

	if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	nofi_ctrl_unref(p->ctrl);
	free(p);
	nofi_ns_memory_put(ns);
}

/* To the admin loop, while there is one. Takes a reference with it. */
static void post(struct nofi_path *p, struct nofi_msg *m)
{
	struct nof_ctrl *ctrl = p->ctrl;

	pthread_mutex_lock(&ctrl->lock);
	if (!ctrl->is_freed) {
		nofi_path_ref(p);
		nofi_loop_post(ctrl->loop, m);
	}
	pthread_mutex_unlock(&ctrl->lock);
}

/* ---- channels ---- */

static void look_again(struct nofi_msg *m)
{
	struct nofi_ns_user *u = nofi_of(m, struct nofi_ns_user, msg);

	pthread_mutex_lock(&u->ns->lock);
	u->is_posted = false;
	pthread_mutex_unlock(&u->ns->lock);
	u->changed(u);
}

void nofi_ns_user_add(struct nof_ns *ns, struct nofi_ns_user *u)
{
	u->ns = ns;
	u->msg.fn = look_again;
	pthread_mutex_lock(&ns->lock);
	u->next = ns->users;
	ns->users = u;
	pthread_mutex_unlock(&ns->lock);
}

bool nofi_ns_user_del(struct nof_ns *ns, struct nofi_ns_user *u)
{
	struct nofi_ns_user **p;
	bool is_posted;

	pthread_mutex_lock(&ns->lock);
	for (p = &ns->users; *p && *p != u; p = &(*p)->next)
		;
	if (*p)
		*p = u->next;
	is_posted = u->is_posted;
	pthread_mutex_unlock(&ns->lock);
	return is_posted;
}

void nofi_ns_tell(struct nof_ns *ns)
{
	pthread_mutex_lock(&ns->lock);
	for (struct nofi_ns_user *u = ns->users; u; u = u->next) {
		if (u->is_posted)
			continue;
		u->is_posted = true;
		nofi_loop_post(u->loop, &u->msg);
	}
	pthread_mutex_unlock(&ns->lock);
}

/* The controller is being freed: nothing may be left that waits for it, all threads rest. */
static void tell_now(struct nof_ns *ns)
{
	struct nofi_ns_user *u;

	pthread_mutex_lock(&ns->lock);
	for (u = ns->users; u; u = u->next)
		u->is_marked = true;
	for (;;) {
		/* One that is told may close others: from the front again. */
		for (u = ns->users; u && !u->is_marked; u = u->next)
			;
		if (!u)
			break;
		u->is_marked = false;
		pthread_mutex_unlock(&ns->lock);
		u->changed(u);
		pthread_mutex_lock(&ns->lock);
	}
	pthread_mutex_unlock(&ns->lock);
}

void nofi_path_stats_add(struct nofi_path *p, struct nofi_path_stats *s)
{
	pthread_mutex_lock(&p->ns->lock);
	s->next = p->stats;
	p->stats = s;
	pthread_mutex_unlock(&p->ns->lock);
}

void nofi_path_stats_del(struct nofi_path *p, struct nofi_path_stats *s)
{
	struct nofi_path_stats **i;

	pthread_mutex_lock(&p->ns->lock);
	for (i = &p->stats; *i && *i != s; i = &(*i)->next)
		;
	if (*i)
		*i = s->next;
	p->past.commands += s->commands;
	p->past.bytes += s->bytes;
	p->past.errors += s->errors;
	p->past.retries += s->retries;
	p->past.failovers += s->failovers;
	p->past.hedges += s->hedges;
	p->past.hedge_wins += s->hedge_wins;
	pthread_mutex_unlock(&p->ns->lock);
}

/* ---- states ---- */

static bool is_usable(const struct nofi_path *p)
{
	return p->state == NOFI_PATH_UP && nofi_ana_is_usable(p->ana);
}

/* Admin loop's thread, which alone changes what is read here. */
static void tell_user(struct nofi_path *p)
{
	bool is_now = is_usable(p);

	if (is_now == p->was_usable)
		return;
	p->was_usable = is_now;
	if (is_now)
		nofi_notify(p->ctrl, NOF_EVENT_PATH_UP, p->id.nsid, 0,
			    "namespace %u can be used through this controller", p->id.nsid);
	else if (p->state == NOFI_PATH_UP)
		nofi_notify(p->ctrl, NOF_EVENT_PATH_DOWN, p->id.nsid, -EHOSTUNREACH,
			    "namespace %u cannot be used through this controller: its ANA state "
			    "is %s", p->id.nsid, nof_ana_state_name(p->ana));
	else
		nofi_notify(p->ctrl, NOF_EVENT_PATH_DOWN, p->id.nsid,
			    p->err.code ? p->err.code : -ENOTCONN,
			    "namespace %u cannot be used through this controller: %s", p->id.nsid,
			    p->err.text);
}

static void set_state(struct nofi_path *p, enum nofi_path_state state, const struct nofi_err *err)
{
	pthread_mutex_lock(&p->ns->lock);
	p->state = state;
	if (err)
		p->err = *err;
	pthread_mutex_unlock(&p->ns->lock);
	nofi_log(p->ctrl->loop, NOF_LOG_DEBUG, "%s: path of namespace %u: state %d%s%s",
		 p->ctrl->opts.subnqn, p->id.nsid, state, err ? ": " : "", err ? err->text : "");
	tell_user(p);
}

/* What the controller says of itself now. ns->lock is held. */
static void fill(struct nofi_path *p)
{
	struct nof_ctrl *ctrl = p->ctrl;

	p->association = ctrl->generation;
	p->hold_ns = nofi_ctrl_hold_ns(ctrl);
	for (int i = 0; i < 3; i++)
		p->crdt[i] = ctrl->has_acre ? (uint16_t)(ctrl->ident.crdt_ms[i] / 100) : 0;
	p->depth = ctrl->io_entries - 1;
	p->max_transfer = ctrl->ident.max_transfer;
	p->ana = nofi_ana_state(ctrl, p->id.ana_group);
	p->is_ana_stale = false;
}

/* ---- identification ---- */

struct check_op {
	struct nofi_ident_op i;
	struct nofi_path *path;		/* holds a reference */
};

/* All that the namespace is known by must be the same. */
static bool is_same(const struct nofi_ns_ident *a, const struct nofi_ns_ident *b)
{
	return (!a->has_uuid || (b->has_uuid && !memcmp(a->uuid, b->uuid, 16))) &&
	       (!a->has_nguid || (b->has_nguid && !memcmp(a->nguid, b->nguid, 16))) &&
	       (!a->has_eui64 || (b->has_eui64 && !memcmp(a->eui64, b->eui64, 8)));
}

int nofi_path_judge(const struct nofi_ns_ident *ns, const struct nofi_ns_ident *id,
		    struct nofi_err *err)
{
	if (!is_same(ns, id))
		return nofi_err_set(err, -ESTALE, "NSID %u is another namespace there: its UUID, "
				    "NGUID or EUI64 differs; was it removed and another one made "
				    "at the target?", id->nsid);
	if (!nofi_ns_same_format(ns, id))
		return nofi_err_set(err, -ESTALE, "namespace %u has another format now: blocks of "
				    "%u bytes with %u of metadata, protection type %u, command set "
				    "%u, where it had %u, %u, %u, %u when it was opened; open it "
				    "again", id->nsid, 1u << id->lba_shift, id->ms, id->pi_type,
				    id->csi, 1u << ns->lba_shift, ns->ms, ns->pi_type, ns->csi);
	return 0;
}

/* The namespace is what it was, perhaps of another size. */
static void take_ident(struct nofi_path *p, const struct nofi_ns_ident *id)
{
	struct nof_ns *ns = p->ns;
	struct nofi_ns_ident old;
	bool is_changing;

	pthread_mutex_lock(&ns->lock);
	old = ns->id;
	p->id = *id;
	ns->id = *id;
	ns->id.nsid = old.nsid;
	p->err.code = 0;
	p->err.text[0] = '\0';
	fill(p);
	is_changing = p->ana == NOF_ANA_CHANGE;
	pthread_mutex_unlock(&ns->lock);
	p->rechecks = 0;
	set_state(p, NOFI_PATH_UP, NULL);
	if (old.nblocks != id->nblocks)
		nofi_notify(p->ctrl, NOF_EVENT_NS_CHANGED, id->nsid, 0,
			    "namespace %u has %llu blocks now, it had %llu", id->nsid,
			    (unsigned long long)id->nblocks, (unsigned long long)old.nblocks);
	if (is_changing)
		nofi_ana_changed(p->ctrl);	/* it is bounded from there */
}

static void refuse(struct nofi_path *p, const struct nofi_err *err)
{
	uint64_t ms = RECHECK_FIRST_MS;

	/* What is another namespace remains one; the rest may pass, and is waited for. */
	if (err->code == -ESTALE || err->code == -ENODEV || p->rechecks == RECHECKS) {
		set_state(p, NOFI_PATH_REFUSED, err);
		return;
	}
	set_state(p, NOFI_PATH_CHECKING, err);
	for (unsigned i = 0; i < p->rechecks && ms < RECHECK_MAX_MS; i++)
		ms *= 2;
	p->rechecks++;
	nofi_timer_arm(p->ctrl->loop, &p->recheck, nofi_loop_now(p->ctrl->loop) + ms * NOFI_MS);
}

static void recheck(struct nofi_timer *t)
{
	check(nofi_of(t, struct nofi_path, recheck));
}

static void check_end(struct nofi_op *op)
{
	struct check_op *o = (struct check_op *)op;
	struct nofi_path *p = o->path;
	struct nofi_ns_ident ns;
	struct nofi_err err = op->err;

	p->has_check = false;
	if (!p->is_listed || op->ctrl->state != NOF_CTRL_LIVE || p->state == NOFI_PATH_GONE)
		goto out;
	if (p->is_check_due) {
		check(p);
		goto out;
	}
	if (!err.code) {
		nofi_ns_get_ident(p->ns, &ns);
		nofi_path_judge(&ns, &o->i.id, &err);
	}
	if (err.code)
		refuse(p, &err);
	else
		take_ident(p, &o->i.id);
	nofi_ns_tell(p->ns);
out:
	free(o);
	nofi_path_unref(p);
}

static void check(struct nofi_path *p)
{
	struct nofi_err err;
	struct check_op *o;

	p->is_check_due = p->has_check;
	if (p->has_check || p->ctrl->state != NOF_CTRL_LIVE)
		return;
	nofi_timer_disarm(p->ctrl->loop, &p->recheck);
	o = calloc(1, sizeof(*o));
	if (!o) {
		nofi_err_set(&err, -ENOMEM, "out of memory");
		refuse(p, &err);
		return;
	}
	o->path = nofi_path_ref(p);
	o->i.name.key = NOFI_NS_NSID;
	o->i.name.nsid = p->id.nsid;
	snprintf(o->i.text, sizeof(o->i.text), "%u", p->id.nsid);
	o->i.op.ctrl = p->ctrl;
	o->i.op.what = "namespace check";
	o->i.op.start = nofi_ident_op_start;
	o->i.op.end = check_end;
	p->has_check = true;
	nofi_op_submit(&o->i.op);
}

void nofi_paths_recheck(struct nof_ctrl *ctrl, uint32_t nsid)
{
	for (struct nofi_path *p = ctrl->paths; p; p = p->ctrl_next)
		if (!nsid || p->id.nsid == nsid)
			check(p);
}

/* ---- news ---- */

static void unlist(struct nofi_path *p)
{
	struct nofi_path **i;

	if (!p->is_listed)
		return;
	p->is_listed = false;
	for (i = &p->ctrl->paths; *i != p; i = &(*i)->ctrl_next)
		;
	*i = p->ctrl_next;
	nofi_ctrl_unwatch(p->ctrl, &p->watch);
	nofi_timer_disarm(p->ctrl->loop, &p->recheck);
	nofi_path_unref(p);
}

static void on_news(struct nofi_watch *w, enum nofi_ctrl_news news, const struct nofi_err *err)
{
	struct nofi_path *p = nofi_path_ref(nofi_of(w, struct nofi_path, watch));
	struct nofi_err checking;

	switch (news) {
	case NOFI_NEWS_LIVE:
		nofi_err_set(&checking, -ENOTCONN, "the namespace is being identified");
		pthread_mutex_lock(&p->ns->lock);
		p->gen++;
		p->is_fast_failed = false;
		pthread_mutex_unlock(&p->ns->lock);
		p->rechecks = 0;
		set_state(p, NOFI_PATH_CHECKING, &checking);
		check(p);
		break;
	case NOFI_NEWS_LOST:
		set_state(p, NOFI_PATH_DOWN, err);
		break;
	case NOFI_NEWS_FAST_FAIL:
		pthread_mutex_lock(&p->ns->lock);
		p->is_fast_failed = true;
		p->err = *err;
		pthread_mutex_unlock(&p->ns->lock);
		break;
	case NOFI_NEWS_GONE:
		set_state(p, NOFI_PATH_GONE, err);
		unlist(p);
		break;
	}
	if (p->ctrl->is_freed)
		tell_now(p->ns);
	else
		nofi_ns_tell(p->ns);
	nofi_path_unref(p);
}

bool nofi_paths_tell_ana(struct nof_ctrl *ctrl)
{
	bool is_changing = false;

	for (struct nofi_path *p = ctrl->paths; p; p = p->ctrl_next) {
		pthread_mutex_lock(&p->ns->lock);
		p->ana = nofi_ana_state(ctrl, p->id.ana_group);
		p->is_ana_stale = false;
		pthread_mutex_unlock(&p->ns->lock);
		is_changing = is_changing || p->ana == NOF_ANA_CHANGE;
		tell_user(p);
		nofi_ns_tell(p->ns);
	}
	return is_changing;
}

/* ---- reports of channels ---- */

static void report_arrived(struct nofi_msg *m)
{
	struct nofi_path *p = nofi_of(m, struct nofi_path, report);
	bool is_ana, is_queue;
	struct nofi_err err;

	pthread_mutex_lock(&p->ns->lock);
	is_ana = p->is_ana_reported;
	is_queue = p->is_queue_reported && p->queue_gen == p->gen;
	err = p->queue_err;
	p->is_report_posted = p->is_ana_reported = p->is_queue_reported = false;
	pthread_mutex_unlock(&p->ns->lock);
	if (p->is_listed && is_queue && p->state == NOFI_PATH_UP)
		nofi_ctrl_request_reset(p->ctrl, &err);
	if (p->is_listed && is_ana)
		nofi_ana_changed(p->ctrl);
	nofi_path_unref(p);
}

/* ns->lock is held. */
static bool must_post(struct nofi_path *p)
{
	bool must = !p->is_report_posted;

	p->is_report_posted = true;
	return must;
}

void nofi_path_report_ana(struct nofi_path *p)
{
	bool must;

	pthread_mutex_lock(&p->ns->lock);
	p->is_ana_stale = p->is_ana_reported = true;
	must = must_post(p);
	pthread_mutex_unlock(&p->ns->lock);
	if (must)
		post(p, &p->report);
}

void nofi_path_report_queue(struct nofi_path *p, uint32_t gen, const struct nofi_err *err)
{
	bool must;

	pthread_mutex_lock(&p->ns->lock);
	p->is_queue_reported = true;
	p->queue_err = *err;
	p->queue_gen = gen;
	must = must_post(p);
	pthread_mutex_unlock(&p->ns->lock);
	if (must)
		post(p, &p->report);
}

/* ---- beginning and end ---- */

static void bye_arrived(struct nofi_msg *m)
{
	struct nofi_path *p = nofi_of(m, struct nofi_path, bye);

	unlist(p);
	nofi_path_unref(p);
}

struct nofi_path *nofi_path_new(struct nof_ns *ns, struct nof_ctrl *ctrl,
				const struct nofi_ns_ident *id)
{
	struct nofi_path *p = calloc(1, sizeof(*p)), **tail;

	if (!p)
		return NULL;
	p->ns = ns;
	p->ctrl = nofi_ctrl_ref(ctrl);
	p->id = *id;
	p->gen = 1;
	p->watch.fn = on_news;
	p->recheck.fn = recheck;
	p->report.fn = report_arrived;
	p->bye.fn = bye_arrived;
	atomic_init(&p->refs, 1);
	atomic_fetch_add(&ns->memory, 1);
	p->state = ctrl->state == NOF_CTRL_LIVE ? NOFI_PATH_UP : ctrl->is_freed ?
		   NOFI_PATH_GONE : NOFI_PATH_DOWN;
	if (p->state != NOFI_PATH_UP)
		nofi_err_set(&p->err, -ENOTCONN, "the controller is %s: %s",
			     nof_ctrl_state_name(ctrl->state), ctrl->err.text);
	pthread_mutex_lock(&ns->lock);
	fill(p);
	for (tail = &ns->paths; *tail; tail = &(*tail)->next)
		;
	*tail = p;
	ns->npaths++;
	pthread_mutex_unlock(&ns->lock);
	if (!ctrl->is_freed) {
		p->is_listed = true;
		nofi_path_ref(p);
		p->ctrl_next = ctrl->paths;
		ctrl->paths = p;
		nofi_ctrl_watch(ctrl, &p->watch);
	}
	tell_user(p);
	nofi_ns_tell(ns);
	if (p->ana == NOF_ANA_CHANGE)
		nofi_ana_changed(ctrl);
	return p;
}

/*
 * It is out of the namespace's list, whose reference goes. Where the controller was freed, its
 * thread has taken the path off its own list, or is about to.
 */
static void drop(struct nofi_path *p)
{
	post(p, &p->bye);
	nofi_path_unref(p);
}

void nofi_path_remove(struct nofi_path *p)
{
	struct nof_ns *ns = p->ns;
	struct nofi_path **i;

	pthread_mutex_lock(&ns->lock);
	for (i = &ns->paths; *i && *i != p; i = &(*i)->next)
		;
	if (!*i) {
		pthread_mutex_unlock(&ns->lock);
		return;
	}
	*i = p->next;
	p->is_removed = true;
	ns->npaths--;
	if (ns->pinned == p)
		ns->pinned = NULL;
	if (ns->preferred == p)
		ns->preferred = NULL;
	pthread_mutex_unlock(&ns->lock);
	nofi_ns_tell(ns);
	drop(p);
}

void nofi_paths_drop(struct nof_ns *ns)
{
	struct nofi_path *p, *next;

	pthread_mutex_lock(&ns->lock);
	p = ns->paths;
	ns->paths = NULL;
	ns->npaths = 0;
	ns->is_closed = true;
	for (struct nofi_path *i = p; i; i = i->next)
		i->is_removed = true;
	pthread_mutex_unlock(&ns->lock);
	for (; p; p = next) {
		next = p->next;
		drop(p);
	}
}
