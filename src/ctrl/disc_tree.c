/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tree of services, breadth first from the one the user named (F-32). It is
 * built from nothing after each change: a service whose last referral is gone falls out
 * by itself, and loops end because a service that was met is not entered again. No I/O.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/disc.h"

static bool is_well_known(const char *nqn)
{
	return !strcmp(nqn, NOF_DISCOVERY_NQN);
}

static bool addr_equal(const struct nofi_addr *a, const struct nofi_addr *b)
{
	return a->len && a->len == b->len && !memcmp(&a->sa, &b->sa, a->len);
}

bool nofi_disc_same_place(const struct nofi_disc_ref *a, const struct nofi_disc_ref *b)
{
	return addr_equal(&a->addr, &b->addr) ||
	       (!strcmp(a->traddr, b->traddr) && !strcmp(a->trsvcid, b->trsvcid));
}

static bool is_named_by(const struct nofi_disc_service *s, const struct nofi_disc_ref *ref)
{
	if (!nofi_disc_same_place(&s->ref, ref) && !addr_equal(&s->peer, &ref->addr))
		return false;
	return !strcmp(ref->nqn, s->ref.nqn) || !strcmp(ref->nqn, s->nqn) ||
	       !strcmp(ref->nqn, s->own_nqn);
}

static struct nofi_disc_service *find(struct nofi_disc *d, const struct nofi_disc_ref *ref)
{
	struct nofi_disc_service *s;

	for (s = d->root; s; s = s->next)
		if (is_named_by(s, ref))
			return s;
	return NULL;
}

struct nofi_disc_service *nofi_disc_find_same(const struct nofi_disc_service *s)
{
	struct nofi_disc_service *t;

	for (t = s->disc->root; t; t = t->next)
		if (t != s && !t->is_same && addr_equal(&t->peer, &s->peer) && t->own_nqn[0] &&
		    !strcmp(t->own_nqn, s->own_nqn))
			return t;
	return NULL;
}

struct nofi_disc_service *nofi_disc_add(struct nofi_disc *d, const struct nofi_disc_ref *ref)
{
	struct nofi_disc_service *s = calloc(1, sizeof(*s)), **p;

	if (!s)
		return NULL;
	s->disc = d;
	s->ref = *ref;
	s->err = ref->err;
	s->is_due = true;
	strcpy(s->nqn, ref->nqn);
	for (p = &d->root; *p; p = &(*p)->next)
		;
	*p = s;
	d->nservices++;
	return s;
}

/* EFLAGS of entries of the same service that return the same: one of them is enough. */
static bool is_referral(const struct nof_discovery_entry *e)
{
	return e->subtype == NOFI_SUBTYPE_REFERRAL ||
	       (e->subtype == NOFI_SUBTYPE_CURRENT && !(e->eflags & NOFI_EFLAGS_DUPRETINFO));
}

int nofi_disc_take_refs(struct nofi_disc_service *s, const struct nof_discovery_log *log)
{
	uint32_t max = s->disc->dopts.max_services, n = 0, i;
	struct nofi_disc_ref *refs = calloc(max, sizeof(*refs)), *fit;

	if (!refs)
		return -ENOMEM;
	for (size_t k = 0; k < log->count && n < max; k++) {
		struct nofi_disc_ref *ref = &refs[n];

		if (!is_referral(&log->entries[k]))
			continue;
		nofi_disc_ref(&log->entries[k], s->disc->opts, ref);
		for (i = 0; i < n; i++)
			if (nofi_disc_same_place(&refs[i], ref) && !strcmp(refs[i].nqn, ref->nqn))
				break;
		n += i == n;
	}
	/* Most logs have few; not to shrink it is no error. */
	fit = n ? realloc(refs, n * sizeof(*refs)) : NULL;
	if (!n)
		free(refs);
	free(s->refs);
	s->refs = n && !fit ? refs : fit;
	s->nrefs = n;
	return 0;
}

/* The first entry of the same log with the same unique name and the same promise. */
static struct nofi_disc_service *
find_alternative(struct nofi_disc_service *const *order, uint32_t n,
		 const struct nofi_disc_service *parent, const struct nofi_disc_ref *ref)
{
	if (!(ref->eflags & NOFI_EFLAGS_DUPRETINFO) || ref->err.code || is_well_known(ref->nqn))
		return NULL;
	for (uint32_t i = 1; i < n; i++)
		if (order[i]->parent == parent && !order[i]->alternative_to &&
		    !order[i]->ref.err.code && !strcmp(order[i]->ref.nqn, ref->nqn) &&
		    (order[i]->ref.eflags & NOFI_EFLAGS_DUPRETINFO))
			return order[i];
	return NULL;
}

static bool is_listed(const struct nofi_disc_service *s)
{
	if (s->is_same)
		return false;
	return !s->alternative_to || s->log || s->err.code || s->state != NOFI_DISC_REST;
}

bool nofi_disc_is_wanted(const struct nofi_disc_service *s)
{
	const struct nofi_disc_service *first = s->alternative_to;

	if (!s->is_due || !s->is_seen || s->is_same || s->state != NOFI_DISC_REST ||
	    s->ref.err.code)
		return false;
	/* The other way is asked first, and this one only while that leads nowhere. */
	return !first || (first->err.code && first->state == NOFI_DISC_REST);
}

/*
 * Things that were so and are no more: a way in reserve that is not needed, since the first
 * works again, and a service that was the same as one that has gone.
 */
static void tidy(struct nofi_disc *d)
{
	struct nofi_disc_service *s;

	for (s = d->root; s; s = s->next) {
		const struct nofi_disc_service *first = s->alternative_to;

		if (first && first->log && !first->err.code && s->log) {
			nofi_disc_forget(s);
		} else if (s->is_same && !nofi_disc_find_same(s)) {
			s->is_same = false;
			s->is_due = true;
		} else {
			continue;
		}
		nofi_disc_changed(d);	/* what it referred to is not there now, or not yet */
	}
}

/* Puts the list into the order of the tree and frees those that are not in it. */
static void relink(struct nofi_disc *d, struct nofi_disc_service *const *order, uint32_t n)
{
	struct nofi_disc_service *s, *next, *gone = NULL;
	uint32_t index = 0;

	for (s = d->root; s; s = next) {
		next = s->next;
		if (s->is_seen)
			continue;
		s->next = gone;
		gone = s;
		d->nservices--;
	}
	for (uint32_t i = 0; i < n; i++) {
		order[i]->next = i + 1 < n ? order[i + 1] : NULL;
		order[i]->index = index;
		index += is_listed(order[i]);
	}
	while ((s = gone)) {
		gone = s->next;
		nofi_disc_service_free(s);
	}
}

int nofi_disc_rebuild(struct nofi_disc *d)
{
	struct nofi_disc_service *order[NOFI_DISC_SERVICES_MAX], *s, *t;
	uint32_t n = 0, before;
	bool is_cut = false;

	for (s = d->root; s; s = s->next) {
		s->is_seen = false;
		s->alternative_to = NULL;
	}
	d->root->is_seen = true;
	order[n++] = d->root;
	for (uint32_t i = 0; i < n; i++) {
		s = order[i];
		if (!s->log || s->is_same || s->depth >= d->dopts.max_depth)
			continue;
		for (uint32_t k = 0; k < s->nrefs; k++) {
			const struct nofi_disc_ref *ref = &s->refs[k];

			t = find(d, ref);
			if (!t && d->nservices >= d->dopts.max_services) {
				is_cut = true;
				continue;
			}
			if (!t)
				t = nofi_disc_add(d, ref);
			if (!t)
				return -ENOMEM;
			if (t->is_seen)
				continue;
			t->is_seen = true;
			t->depth = s->depth + 1;
			t->parent = s;
			t->alternative_to = find_alternative(order, n, s, ref);
			order[n++] = t;
		}
	}
	before = d->nservices;
	relink(d, order, n);
	if (d->is_watch)
		tidy(d);
	/* What has just gone made room. */
	if (is_cut && d->nservices < before)
		nofi_disc_changed(d);
	else if (is_cut)
		nofi_log(d->loop, NOF_LOG_WARN, "discovery at %s: more than %u services are "
			 "referred to, the others are left out", d->opts->traddr,
			 d->dopts.max_services);
	return 0;
}

/* ---- one log of all ---- */

bool nofi_entry_same_place(const struct nof_discovery_entry *a,
			   const struct nof_discovery_entry *b)
{
	return a->trtype == b->trtype && a->adrfam == b->adrfam && a->subtype == b->subtype &&
	       !strcmp(a->traddr, b->traddr) && !strcmp(a->trsvcid, b->trsvcid) &&
	       !strcmp(a->subnqn, b->subnqn);
}

bool nofi_entry_equal(const struct nof_discovery_entry *a, const struct nof_discovery_entry *b)
{
	return nofi_entry_same_place(a, b) && a->treq == b->treq && a->portid == b->portid &&
	       a->cntlid == b->cntlid && a->asqsz == b->asqsz && a->eflags == b->eflags &&
	       a->sectype == b->sectype;
}

static uint32_t hash_text(uint32_t h, const char *s)
{
	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * 16777619u;
	return (h ^ 0xff) * 16777619u;
}

uint32_t nofi_entry_hash(const struct nof_discovery_entry *e, uint32_t seed)
{
	uint32_t h = 2166136261u ^ seed ^ e->subtype ^ (uint32_t)e->trtype << 8;

	return hash_text(hash_text(hash_text(h, e->traddr), e->trsvcid), e->subnqn);
}

static void describe(const struct nofi_disc_service *s, struct nof_discovery_service *out)
{
	strcpy(out->traddr, s->ref.traddr);
	strcpy(out->trsvcid, s->ref.trsvcid);
	strcpy(out->subnqn, s->own_nqn[0] ? s->own_nqn : s->nqn);
	out->depth = s->depth;
	out->parent = s->parent ? s->parent->index : 0;
	out->genctr = s->log ? s->log->genctr : 0;
	out->records = s->log ? s->log->count : 0;
	out->error = s->err.code;
	if (s->err.code) {
		strcpy(out->detail, s->err.text);
	} else if (!s->log) {
		out->error = -EINPROGRESS;
		strcpy(out->detail, "the service has not answered yet");
	}
}

int nofi_disc_merge(const struct nofi_disc *d, struct nof_discovery_log **out)
{
	struct nof_discovery_log *log = calloc(1, sizeof(*log));
	const struct nofi_disc_service *s;
	size_t sum = 0, mask = 1;
	uint64_t left_out = 0;
	uint32_t seed;
	uint32_t *table = NULL;		/* 1 + index of the entry with that hash; 0: free */

	for (s = d->root; s; s = s->next)
		sum += s->log ? s->log->count : 0;
	while (mask < 2 * sum)
		mask *= 2;
	if (log) {
		table = calloc(mask, sizeof(*table));
		log->entries = calloc(sum + 1, sizeof(*log->entries));
		log->services = calloc(d->nservices, sizeof(*log->services));
	}
	if (!log || !table || !log->entries || !log->services) {
		free(table);
		nof_discovery_free(log);
		return -ENOMEM;
	}
	mask--;
	seed = (uint32_t)((uintptr_t)table >> 4);	/* no log is made to collide */
	for (s = d->root; s; s = s->next) {
		if (!is_listed(s))
			continue;
		describe(s, &log->services[log->nservices++]);
		if (!s->log)
			continue;
		if (s->log->total - s->log->count <= UINT64_MAX - left_out)
			left_out += s->log->total - s->log->count;
		for (size_t i = 0; i < s->log->count; i++) {
			const struct nof_discovery_entry *e = &s->log->entries[i];
			size_t slot = nofi_entry_hash(e, seed) & mask;

			while (table[slot] &&
			       !nofi_entry_same_place(&log->entries[table[slot] - 1], e))
				slot = (slot + 1) & mask;
			if (table[slot])
				continue;
			log->entries[log->count] = *e;
			log->entries[log->count].service = s->index;
			table[slot] = (uint32_t)++log->count;
		}
	}
	free(table);
	log->genctr = d->root->log ? d->root->log->genctr : 0;
	log->total = left_out <= UINT64_MAX - log->count ? left_out + log->count : UINT64_MAX;
	*out = log;
	return 0;
}
