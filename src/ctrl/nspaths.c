/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The paths of a namespace, for the user: adding and removing, which one I/O takes,
 * what is known of them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/internal.h"
#include "ctrl/path.h"

/* ---- adding ---- */

struct add_op {
	struct nofi_ident_op i;
	struct nof_ns *ns;		/* referenced */
};

static bool is_same_address(const struct nof_opts *a, const struct nof_opts *b)
{
	return !strcmp(a->traddr, b->traddr) && !strcmp(a->trsvcid, b->trsvcid) &&
	       !strcmp(a->host_traddr, b->host_traddr) && !strcmp(a->host_iface, b->host_iface);
}

/* Whether this controller can be one more. */
static int check_new(struct nof_ns *ns, struct nof_ctrl *ctrl, struct nofi_err *err)
{
	int r = 0;

	pthread_mutex_lock(&ns->lock);
	if (ns->npaths >= NOFI_PATHS_MAX)
		r = nofi_err_set(err, -ENOSPC, "nof_ns_add_path: the namespace has %u paths, as "
				 "many as are possible", ns->npaths);
	for (struct nofi_path *p = ns->paths; p && r == 0; p = p->next) {
		if (p->ctrl == ctrl)
			r = nofi_err_set(err, -EEXIST, "nof_ns_add_path: this controller is a "
					 "path of the namespace already");
		else if (!ctrl->opts.duplicate_connect &&
			 is_same_address(&p->ctrl->opts, &ctrl->opts))
			r = nofi_err_set(err, -EEXIST, "nof_ns_add_path: there is a path by %s "
					 "port %s already; set duplicate_connect to have it twice",
					 ctrl->opts.traddr, ctrl->opts.trsvcid);
	}
	pthread_mutex_unlock(&ns->lock);
	return r;
}

static void found(struct nofi_ident_op *i)
{
	struct nof_ns *ns = ((struct add_op *)i)->ns;
	struct nofi_ns_ident id;
	struct nofi_err err;

	if (i->op.err.code == -ENODEV)
		nofi_err_set(&i->op.err, -ESTALE, "nof_ns_add_path: this controller shows no "
			     "namespace with the identifier of the one that is open");
	if (i->op.err.code)
		return;
	nofi_ns_get_ident(ns, &id);
	if (nofi_path_judge(&id, &i->id, &err) < 0)
		nofi_err_set(&i->op.err, err.code, "nof_ns_add_path: %s", err.text);
	else if (check_new(ns, i->op.ctrl, &i->op.err) == 0 &&
		 !nofi_path_new(ns, i->op.ctrl, &i->id))
		nofi_err_set(&i->op.err, -ENOMEM, "nof_ns_add_path: out of memory");
}

static void add_end(struct nofi_op *op)
{
	struct add_op *o = (struct add_op *)op;

	nofi_ns_unref(o->ns);
	free(o);
}

/* By what the namespace is looked for. */
static bool name_of(const struct nofi_ns_ident *id, struct nofi_ns_name *name)
{
	const uint8_t *from = id->has_uuid ? id->uuid : id->has_nguid ? id->nguid : id->eui64;

	if (!id->has_uuid && !id->has_nguid && !id->has_eui64)
		return false;
	name->key = id->has_uuid ? NOFI_NS_UUID : id->has_nguid ? NOFI_NS_NGUID : NOFI_NS_EUI64;
	memcpy(name->id, from, name->key == NOFI_NS_EUI64 ? 8 : 16);
	return true;
}

int nof_ns_add_path(struct nof_ns *ns, struct nof_ctrl *ctrl, nof_done_fn *done, void *arg)
{
	struct nofi_ns_ident id;
	struct nofi_err err;
	struct add_op *o;
	int r;

	if (!ns || !ctrl || !done)
		return nofi_fail(-EINVAL, "nof_ns_add_path: ns, ctrl and done must not be NULL");
	if (strcmp(ns->ctrl->opts.subnqn, ctrl->opts.subnqn))
		return nofi_fail(-ESTALE, "nof_ns_add_path: the controller is of subsystem %s, the "
				 "namespace of %s", ctrl->opts.subnqn, ns->ctrl->opts.subnqn);
	r = check_new(ns, ctrl, &err);
	if (r < 0)
		return nofi_fail_err(&err);
	o = calloc(1, sizeof(*o));
	if (!o)
		return nofi_fail(-ENOMEM, "nof_ns_add_path: out of memory");
	nofi_ns_get_ident(ns, &id);
	if (!name_of(&id, &o->i.name)) {
		free(o);
		return nofi_fail(-ENOTUNIQ, "nof_ns_add_path: namespace %u has no UUID, NGUID or "
				 "EUI64, so nobody can tell whether another controller shows the "
				 "same", id.nsid);
	}
	snprintf(o->i.text, sizeof(o->i.text), "with the same identifier");
	o->ns = nofi_ns_ref(ns);
	o->i.op.ctrl = ctrl;
	o->i.op.what = "nof_ns_add_path";
	o->i.op.start = nofi_ident_op_start;
	o->i.op.end = add_end;
	o->i.over = found;
	o->i.op.done = done;
	o->i.op.arg = arg;
	r = nofi_op_submit(&o->i.op);
	if (r < 0) {
		nofi_fail_err(&o->i.op.err);
		nofi_ns_unref(ns);
		free(o);
	}
	return r;
}

/* ---- choosing ---- */

/* ns->lock is held. NULL: it is none. */
static struct nofi_path *find(struct nof_ns *ns, const struct nof_ctrl *ctrl)
{
	struct nofi_path *p;

	for (p = ns->paths; p && p->ctrl != ctrl; p = p->next)
		;
	return p;
}

static int no_path(const char *call)
{
	return nofi_fail(-ENOENT, "%s: this controller is no path of the namespace", call);
}

int nof_ns_remove_path(struct nof_ns *ns, struct nof_ctrl *ctrl)
{
	struct nofi_path *p;

	if (!ns || !ctrl)
		return nofi_fail(-EINVAL, "nof_ns_remove_path: ns and ctrl must not be NULL");
	pthread_mutex_lock(&ns->lock);
	p = find(ns, ctrl);
	if (p)
		nofi_path_ref(p);
	pthread_mutex_unlock(&ns->lock);
	if (!p)
		return no_path("nof_ns_remove_path");
	nofi_path_remove(p);
	nofi_path_unref(p);
	return 0;
}

int nof_ns_set_iopolicy(struct nof_ns *ns, enum nof_iopolicy policy)
{
	if (!ns || (unsigned)policy > NOF_IOPOLICY_SERVICE_TIME)
		return nofi_fail(-EINVAL, "nof_ns_set_iopolicy: no namespace, or policy %d does "
				 "not exist", (int)policy);
	pthread_mutex_lock(&ns->lock);
	ns->iopolicy = policy;
	pthread_mutex_unlock(&ns->lock);
	nofi_ns_tell(ns);
	return 0;
}

static int set_choice(struct nof_ns *ns, struct nof_ctrl *ctrl, const char *call, bool is_pin)
{
	struct nofi_path *p = NULL;

	if (!ns)
		return nofi_fail(-EINVAL, "%s: ns must not be NULL", call);
	pthread_mutex_lock(&ns->lock);
	if (ctrl)
		p = find(ns, ctrl);
	if (p || !ctrl)
		*(is_pin ? &ns->pinned : &ns->preferred) = p;
	pthread_mutex_unlock(&ns->lock);
	if (ctrl && !p)
		return no_path(call);
	nofi_ns_tell(ns);
	return 0;
}

int nof_ns_pin_path(struct nof_ns *ns, struct nof_ctrl *ctrl)
{
	return set_choice(ns, ctrl, "nof_ns_pin_path", true);
}

int nof_ns_set_preferred(struct nof_ns *ns, struct nof_ctrl *ctrl)
{
	return set_choice(ns, ctrl, "nof_ns_set_preferred", false);
}

/* ---- looking ---- */

_Static_assert((int)NOF_PATH_CHECKING == NOFI_PATH_CHECKING && (int)NOF_PATH_UP == NOFI_PATH_UP &&
	       (int)NOF_PATH_DOWN == NOFI_PATH_DOWN && (int)NOF_PATH_GONE == NOFI_PATH_GONE,
	       "the public states are ours");

static void add_stats(struct nof_path_info *i, const struct nofi_path_stats *s)
{
	i->commands += __atomic_load_n(&s->commands, __ATOMIC_RELAXED);
	i->bytes += __atomic_load_n(&s->bytes, __ATOMIC_RELAXED);
	i->errors += __atomic_load_n(&s->errors, __ATOMIC_RELAXED);
	i->retries += __atomic_load_n(&s->retries, __ATOMIC_RELAXED);
	i->failovers += __atomic_load_n(&s->failovers, __ATOMIC_RELAXED);
	i->hedges += __atomic_load_n(&s->hedges, __ATOMIC_RELAXED);
	i->hedge_wins += __atomic_load_n(&s->hedge_wins, __ATOMIC_RELAXED);
}

static void fill_info(const struct nof_ns *ns, const struct nofi_path *p, struct nof_path_info *i)
{
	uint64_t service = 0;
	uint32_t n = 0;

	i->ctrl = p->ctrl;
	nofi_text_host(&p->ctrl->opts, NULL, i->address, sizeof(i->address));
	i->state = (enum nof_path_state)p->state;
	i->nsid = p->id.nsid;
	i->ana = (enum nof_ana_state)p->ana;
	i->ana_group = p->id.ana_group;
	i->is_usable = p->state == NOFI_PATH_UP && nofi_ana_is_usable(p->ana) && !p->is_ana_stale;
	i->is_preferred = ns->preferred == p;
	i->is_pinned = ns->pinned == p;
	snprintf(i->detail, sizeof(i->detail), "%.*s", (int)sizeof(i->detail) - 1,
		 p->state == NOFI_PATH_UP ? "" : p->err.text);
	add_stats(i, &p->past);
	for (const struct nofi_path_stats *s = p->stats; s; s = s->next) {
		uint64_t ns_each = __atomic_load_n(&s->way->service_ns, __ATOMIC_RELAXED);

		add_stats(i, s);
		i->inflight += __atomic_load_n(&s->way->inflight, __ATOMIC_RELAXED);
		service += ns_each;
		n += ns_each != 0;
	}
	i->avg_latency_us = n ? (uint32_t)(service / n / 1000) : 0;
}

int nof_ns_get_paths(const struct nof_ns *ns, struct nof_path_info *info, size_t max)
{
	pthread_mutex_t *lock;
	size_t size, n = 0;

	if (!ns || (max && (!info || info->size < sizeof(info->size))))
		return nofi_fail(-EINVAL, "nof_ns_get_paths: ns must not be NULL, and info->size "
				 "of the first must be sizeof(*info)");
	size = max ? info->size : 0;
	lock = (pthread_mutex_t *)(uintptr_t)&ns->lock;
	pthread_mutex_lock(lock);
	for (const struct nofi_path *p = ns->paths; p; p = p->next, n++) {
		struct nof_path_info i = { .size = size };

		if (n >= max)
			continue;
		fill_info(ns, p, &i);
		memset((char *)info + n * size, 0, size);
		memcpy((char *)info + n * size, &i, size < sizeof(i) ? size : sizeof(i));
	}
	pthread_mutex_unlock(lock);
	return (int)n;
}

const char *nof_path_state_name(enum nof_path_state state)
{
	static const char *const names[] = {
		[NOF_PATH_CHECKING] = "checking", [NOF_PATH_UP] = "up", [NOF_PATH_DOWN] = "down",
		[NOF_PATH_REFUSED] = "refused", [NOF_PATH_GONE] = "gone",
	};

	return (unsigned)state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

const char *nof_ana_state_name(enum nof_ana_state state)
{
	switch (state) {
	case NOF_ANA_NONE: return "none";
	case NOF_ANA_OPTIMIZED: return "optimized";
	case NOF_ANA_NON_OPTIMIZED: return "non-optimized";
	case NOF_ANA_INACCESSIBLE: return "inaccessible";
	case NOF_ANA_PERSISTENT_LOSS: return "persistent-loss";
	case NOF_ANA_CHANGE: return "change";
	}
	return "unknown";
}
