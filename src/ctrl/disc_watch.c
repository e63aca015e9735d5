/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nof_discover_watch(): the services stay, and what they know together is told whenever it is
 * another than before. Whatever happens, the whole is put together anew and compared: there
 * is no way to lose a change or to tell one twice.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/disc.h"
#include "ctrl/internal.h"

enum { SETTLE_MS = 1000 };	/* a change is told so late at the latest */

struct nof_discovery_watch {
	struct nofi_disc disc;
	nof_discovery_fn *fn;
	void *arg;
	struct nof_discovery_log *log;	/* as told last; NULL before the first time */
	struct nofi_timer settle;	/* tells although something is still being read */
	bool is_settled;		/* it has fired */
	bool is_telling;		/* fn runs */
	bool is_freed;			/* inside fn */
};

/* The entries of a that are not in b, as pointers into a. Returns their number. */
static size_t diff(const struct nof_discovery_log *a, const struct nof_discovery_log *b,
		   const struct nof_discovery_entry **out, uint32_t *table, size_t mask)
{
	uint32_t seed = (uint32_t)((uintptr_t)table >> 4);
	size_t n = 0;

	memset(table, 0, (mask + 1) * sizeof(*table));
	for (size_t i = 0; b && i < b->count; i++) {
		size_t slot = nofi_entry_hash(&b->entries[i], seed) & mask;

		while (table[slot])
			slot = (slot + 1) & mask;
		table[slot] = (uint32_t)i + 1;
	}
	for (size_t i = 0; a && i < a->count; i++) {
		size_t slot = nofi_entry_hash(&a->entries[i], seed) & mask;

		while (table[slot] &&
		       !nofi_entry_equal(&b->entries[table[slot] - 1], &a->entries[i]))
			slot = (slot + 1) & mask;
		if (!table[slot])
			out[n++] = &a->entries[i];
	}
	return n;
}

static bool services_differ(const struct nof_discovery_log *a, const struct nof_discovery_log *b)
{
	if (a->nservices != b->nservices)
		return true;
	for (size_t i = 0; i < a->nservices; i++) {
		const struct nof_discovery_service *s = &a->services[i], *t = &b->services[i];

		if (strcmp(s->traddr, t->traddr) || strcmp(s->trsvcid, t->trsvcid) ||
		    strcmp(s->subnqn, t->subnqn) || s->parent != t->parent || s->error != t->error)
			return true;
	}
	return false;
}

/* False: the watch was freed meanwhile. */
static bool call(struct nof_discovery_watch *w, const struct nof_discovery_update *u)
{
	w->is_telling = true;
	nofi_loop_count_done(w->disc.loop);
	w->fn(w->arg, u);
	w->is_telling = false;
	return !w->is_freed;
}

static int tell(struct nof_discovery_watch *w)
{
	struct nof_discovery_log *log, *old = w->log;
	struct nof_discovery_update u = { .size = sizeof(u) };
	const struct nof_discovery_entry **list = NULL;
	uint32_t *table = NULL;
	size_t most, mask = 1;

	if (nofi_disc_merge(&w->disc, &log) < 0)
		return -ENOMEM;
	most = log->count + (old ? old->count : 0);
	while (mask < 2 * most)
		mask *= 2;
	list = calloc(most + 1, sizeof(*list));
	table = calloc(mask, sizeof(*table));
	if (!list || !table) {
		nof_discovery_free(log);
		free(list);
		free(table);
		return -ENOMEM;
	}
	u.log = log;
	u.added = list;
	u.nadded = diff(log, old, list, table, mask - 1);
	u.removed = list + u.nadded;
	u.nremoved = diff(old, log, list + u.nadded, table, mask - 1);
	free(table);
	if (old && !u.nadded && !u.nremoved && !services_differ(old, log)) {
		nof_discovery_free(log);
	} else {
		w->log = log;
		if (!call(w, &u)) {
			nof_discovery_free(log);
			free(w);
		}
		nof_discovery_free(old);
	}
	free(list);
	return 0;
}

static int settle_arm(struct nof_discovery_watch *w)
{
	struct nof_loop *loop = w->disc.loop;

	return w->settle.pos ? 0 : nofi_timer_arm(loop, &w->settle,
						  nofi_loop_now(loop) + SETTLE_MS * NOFI_MS);
}

static void step(struct nofi_disc *d)
{
	struct nof_discovery_watch *w = nofi_of(d, struct nof_discovery_watch, disc);
	bool is_busy, is_settled = w->is_settled;

	w->is_settled = false;
	if (nofi_disc_rebuild(d) < 0)
		nofi_log(d->loop, NOF_LOG_WARN, "discovery at %s: out of memory, the services "
			 "it refers to are not all known", d->opts->traddr);
	is_busy = nofi_disc_run(d);
	if (is_busy && settle_arm(w) < 0)
		is_settled = true;
	if (is_busy && !is_settled)
		return;
	if (!is_busy)
		nofi_timer_disarm(d->loop, &w->settle);
	/* Nothing is known, not even that the first service is dead. */
	if (!d->root->log && !d->root->err.code)
		return;
	if (tell(w) < 0)
		settle_arm(w);
}

static void on_settle(struct nofi_timer *t)
{
	struct nof_discovery_watch *w = nofi_of(t, struct nof_discovery_watch, settle);

	w->is_settled = true;
	nofi_disc_changed(&w->disc);
}

int nof_discover_watch(struct nof_loop *loop, const struct nof_opts *opts,
		       const struct nof_discover_opts *dopts, nof_discovery_fn *fn, void *arg,
		       struct nof_discovery_watch **watch)
{
	struct nof_discovery_watch *w;
	struct nofi_err err;
	int r;

	if (!loop || !opts || !fn || !watch)
		return nofi_fail(-EINVAL, "nof_discover_watch: loop, opts, fn and watch must not "
				 "be NULL");
	w = calloc(1, sizeof(*w));
	if (!w)
		return nofi_fail(-ENOMEM, "nof_discover_watch: out of memory");
	r = nofi_disc_init(&w->disc, loop, opts, dopts, &err);
	if (r < 0) {
		free(w);
		return nofi_fail(r, "nof_discover_watch: %s", err.text);
	}
	w->disc.step = step;
	w->disc.is_watch = true;
	w->fn = fn;
	w->arg = arg;
	w->settle.fn = on_settle;
	r = nofi_disc_ask(w->disc.root);
	if (r < 0) {
		err = w->disc.root->err;
		nofi_disc_fini(&w->disc);
		free(w);
		return nofi_fail(r, "nof_discover_watch: %s", err.text);
	}
	*watch = w;
	return 0;
}

int nof_discover_watch_refresh(struct nof_discovery_watch *w)
{
	if (!w)
		return nofi_fail(-EINVAL, "nof_discover_watch_refresh: watch must not be NULL");
	for (struct nofi_disc_service *s = w->disc.root; s; s = s->next)
		s->is_due = true;
	nofi_disc_changed(&w->disc);
	return 0;
}

void nof_discover_watch_free(struct nof_discovery_watch *w)
{
	if (!w || w->is_freed)
		return;
	nofi_timer_disarm(w->disc.loop, &w->settle);
	nofi_disc_fini(&w->disc);
	w->is_freed = true;
	if (w->is_telling)
		return;		/* tell() frees the rest */
	nof_discovery_free(w->log);
	free(w);
}
