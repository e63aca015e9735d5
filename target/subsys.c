/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Subsystems and their namespaces: made from specifications, found, removed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ns_spec.h"
#include "pi.h"
#include "target.h"
#include "zns.h"

struct subsys *subsystems;


/* A stable 64-bit hash for serial numbers and identifiers: same NQN and NSID, same result. */
static uint64_t hash64(const char *s, uint64_t salt)
{
	uint64_t h = 0x9e3779b97f4a7c15ull ^ (salt * 0xbf58476d1ce4e5b9ull);

	for (; *s; s++) {
		h = (h ^ (uint8_t)*s) * 0x100000001b3ull;
		h ^= h >> 29;
	}
	h *= 0x94d049bb133111ebull;
	return h ^ (h >> 32);
}

static bool is_nqn(const char *s)
{
	size_t n = strlen(s);

	return n >= 5 && n <= NQN_MAX && !strncmp(s, "nqn.", 4);
}

struct subsys *subsys_find(const char *nqn)
{
	for (struct subsys *s = subsystems; s; s = s->next)
		if (!strcmp(s->nqn, nqn) || (*s->alias && !strcmp(s->alias, nqn)))
			return s;
	return NULL;
}

struct subsys *subsys_new(const char *nqn, char *err, size_t errlen)
{
	struct subsys *s, **tail;

	if (!is_nqn(nqn)) {
		snprintf(err, errlen, "'%s' is no NQN: it starts with \"nqn.\" and has at most %d "
			 "characters, e.g. %s", nqn, NQN_MAX, DEFAULT_NQN);
		return NULL;
	}
	if (subsys_find(nqn)) {
		snprintf(err, errlen, "subsystem %s is given twice", nqn);
		return NULL;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		snprintf(err, errlen, "out of memory");
		return NULL;
	}
	strcpy(s->nqn, nqn);
	snprintf(s->serial, sizeof(s->serial), "NOF%016llX",
		 (unsigned long long)hash64(nqn, 0));
	s->is_discovery = !strcmp(nqn, DISCOVERY_NQN);
	fw_init(s);
	for (tail = &subsystems; *tail; tail = &(*tail)->next)
		;
	*tail = s;
	return s;
}

/* Another name; the one it had stays its alias. */
bool subsys_rename(struct subsys *s, const char *nqn, char *err, size_t errlen)
{
	if (!is_nqn(nqn) || subsys_find(nqn)) {
		snprintf(err, errlen, "'%s' is no NQN, or in use", nqn);
		return false;
	}
	strcpy(s->alias, s->nqn);
	strcpy(s->nqn, nqn);
	return true;
}

bool subsys_allows(const struct subsys *s, const char *hostnqn)
{
	if (!s->hosts)
		return true;
	for (struct host_ref *h = s->hosts; h; h = h->next)
		if (!strcmp(h->nqn, hostnqn))
			return true;
	return false;
}

struct ns *ns_find(const struct subsys *s, uint32_t nsid)
{
	for (unsigned int i = 0; i < s->nns; i++)
		if (s->ns[i]->nsid == nsid)
			return s->ns[i];
	return NULL;
}

/* Those that were given stay; generation tells a namespace from one that had its NSID before. */
static void set_identifiers(struct ns *ns, unsigned int given, uint32_t generation)
{
	const char *nqn = ns->subsys->nqn;
	uint64_t id = ns->nsid + ((uint64_t)generation << 40);

	for (int i = 0; i < 2; i++) {
		if (!(given & GIVEN_NGUID))
			nofi_put64(ns->nguid + i * 8, hash64(nqn, 0x100000000ull * (i + 1) + id));
		if (!(given & GIVEN_UUID))
			nofi_put64(ns->uuid + i * 8, hash64(nqn, 0x100000000ull * (i + 3) + id));
	}
	if (!(given & GIVEN_EUI64))
		nofi_put64(ns->eui64, hash64(nqn, 0x500000000ull + id));
	if (given & GIVEN_UUID)
		return;
	/* A UUID of the custom kind: version 8, variant 10b. */
	ns->uuid[6] = (ns->uuid[6] & 0x0f) | 0x80;
	ns->uuid[8] = (ns->uuid[8] & 0x3f) | 0x80;
}

static int open_file(struct ns *ns, const char *path, char *err, size_t errlen, uint64_t *bytes)
{
	struct stat st;
	off_t end;

	ns->fd = open(path, (ns->is_readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (ns->fd < 0 || fstat(ns->fd, &st)) {
		snprintf(err, errlen, "cannot open %s: %s", path, strerror(errno));
		return -1;
	}
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
		snprintf(err, errlen, "%s is neither a regular file nor a block device", path);
		return -1;
	}
	end = lseek(ns->fd, 0, SEEK_END);
	if (end <= 0) {
		snprintf(err, errlen, "%s is empty; make it as large as the namespace is to be, "
			 "e.g. with truncate -s 1G", path);
		return -1;
	}
	*bytes = (uint64_t)end;
	return 0;
}

static int insert(struct subsys *s, struct ns *ns)
{
	struct ns **v = realloc(s->ns, (s->nns + 1) * sizeof(*v));
	unsigned int i = s->nns;

	if (!v)
		return -1;
	s->ns = v;
	while (i && v[i - 1]->nsid > ns->nsid) {
		v[i] = v[i - 1];
		i--;
	}
	v[i] = ns;
	s->nns++;
	return 0;
}

static void ns_free(struct ns *ns)
{
	if (ns->fd >= 0)
		close(ns->fd);
	if (ns->map)
		munmap(ns->map, ns->map_len);
	range_clear(&ns->uncor);
	resv_free(ns);
	ns_free_hosts(ns);
	free(ns->zns);
	free(ns);
}

/* ---- the removed ones ---- */

static struct ns *dead_ns;

static bool is_referred_to(const struct ns *ns)
{
	for (const struct conn *c = conns; c; c = c->next) {
		if (c->tx.head < c->tx.n)
			return true;	/* unsent output may point into its memory */
		for (const struct cmd *cmd = c->used_cmds; cmd; cmd = cmd->next)
			if (cmd->ns == ns)
				return true;
	}
	return false;
}

/* Whoever makes namespaces calls this first: making and removing many keeps memory flat. */
static void sweep(bool is_all)
{
	struct ns **p = &dead_ns;

	while (*p) {
		struct ns *ns = *p;

		if (!is_all && is_referred_to(ns)) {
			p = &ns->next_dead;
			continue;
		}
		*p = ns->next_dead;
		ns_free(ns);
	}
}

void ns_remove(struct ns *ns)
{
	struct subsys *s = ns->subsys;
	unsigned int i = 0;

	while (s->ns[i] != ns)
		i++;
	memmove(s->ns + i, s->ns + i + 1, (s->nns - i - 1) * sizeof(*s->ns));
	s->nns--;
	ns->next_dead = dead_ns;
	dead_ns = ns;
}

/* ---- made ---- */

static int map_memory(struct ns *ns, char *err, size_t errlen)
{
	ns->map_len = format_memory(ns);
	ns->map = mmap(NULL, ns->map_len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ns->map != MAP_FAILED)
		return 0;
	ns->map = NULL;
	snprintf(err, errlen, "cannot reserve %llu bytes of address space: %s",
		 (unsigned long long)ns->map_len, strerror(errno));
	return -1;
}

/* KIND:ARG[,option…]; a path with a comma in it cannot be given. NULL and a sentence. */
static struct ns *ns_make(struct subsys *s, const char *spec, uint32_t nsid, uint32_t generation,
			  char *err, size_t errlen)
{
	struct ns *ns = calloc(1, sizeof(*ns));
	char *copy = strdup(spec), *arg, *opts;
	struct ns_extra extra = { .mar = UINT32_MAX, .mor = UINT32_MAX };
	uint64_t bytes = 0;

	if (!ns || !copy) {
		snprintf(err, errlen, "out of memory");
		goto fail;
	}
	ns->subsys = s;
	ns->lbads = 12;
	ns->anagrp = 1;
	ns->nmic = 1;
	ns->fd = -1;
	ns->mssrl = 1024;
	ns->mcl = 8192;
	ns->msrc = 127;
	ns->acwu = 127;
	arg = strchr(copy, ':');
	if (!arg)
		goto bad_spec;
	*arg++ = 0;
	opts = strchr(arg, ',');
	if (opts) {
		*opts++ = 0;
		if (ns_parse_options(ns, opts, &extra, err, errlen))
			goto fail;
	}
	if (nsid)
		ns->nsid = nsid;
	else if (!ns->nsid)
		ns->nsid = s->nns ? s->ns[s->nns - 1]->nsid + 1 : 1;
	if (!nsid && ns_find(s, ns->nsid)) {
		snprintf(err, errlen, "namespace id %u is given twice", ns->nsid);
		goto fail;
	}
	if (!strcmp(copy, "file")) {
		ns->kind = NS_FILE;
		if (open_file(ns, arg, err, errlen, &bytes))
			goto fail;
	} else if (!strcmp(copy, "mem") || !strcmp(copy, "null")) {
		ns->kind = copy[0] == 'm' ? NS_MEM : NS_NULL;
		if (!parse_size(arg, &bytes)) {
			snprintf(err, errlen, "'%s' is no size: a number with k, M, G or T", arg);
			goto fail;
		}
	} else {
		goto bad_spec;
	}
	ns->first_format = (struct lba_format){ ns->lbads, (uint8_t)ns->ms, ns->pif };
	ns->bytes = ns->bytes_max = bytes;
	format_apply(ns);
	if (!ns->blocks || bytes > (1ull << 60)) {
		snprintf(err, errlen, "namespace '%s' has an unusable size", spec);
		goto fail;
	}
	if (extra.zone && !zns_init(ns, extra.zone, extra.zone_cap, extra.mar, extra.mor)) {
		snprintf(err, errlen, "namespace '%s' has no whole zone, or too many", spec);
		goto fail;
	}
	if (ns->pi_type && ns->ms < pi_size(ns->pif)) {
		snprintf(err, errlen, "namespace '%s': its protection information does not fit "
			 "into %u bytes of metadata", spec, ns->ms);
		goto fail;
	}
	if (ns->kind == NS_MEM && map_memory(ns, err, errlen))
		goto fail;
	set_identifiers(ns, extra.given, generation);
	free(copy);
	return ns;
bad_spec:
	snprintf(err, errlen, "'%s' is no namespace: use mem:SIZE, file:PATH or null:SIZE", spec);
fail:
	if (ns)
		ns_free(ns);
	free(copy);
	return NULL;
}

struct ns *ns_add(struct subsys *s, const char *spec, char *err, size_t errlen)
{
	struct ns *ns;

	sweep(false);
	ns = ns_make(s, spec, 0, 0, err, errlen);
	if (ns && insert(s, ns)) {
		snprintf(err, errlen, "out of memory");
		ns_free(ns);
		return NULL;
	}
	return ns;
}

struct ns *ns_remap(struct ns *old, const char *spec, char *err, size_t errlen)
{
	struct subsys *s = old->subsys;
	struct ns *ns;

	sweep(false);
	ns = ns_make(s, spec, old->nsid, ++s->generation, err, errlen);
	if (!ns)
		return NULL;
	ns_remove(old);
	insert(s, ns);			/* the array has room: one has just left */
	return ns;
}

/* NN, and MNAN: where namespaces may appear at run time, room for them from the start. */
uint32_t subsys_nn(const struct subsys *s)
{
	uint32_t last = s->nns ? s->ns[s->nns - 1]->nsid : 0;

	return (ana_is_on || opt.capacity) && !s->is_discovery && last < MIN_NN ? MIN_NN : last;
}

/* As if the NSID had never been used before. */
void ns_new_identity(struct ns *ns)
{
	set_identifiers(ns, 0, ++ns->subsys->generation);
}

static void subsys_free(struct subsys *s)
{
	for (unsigned int i = 0; i < s->nns; i++)
		ns_free(s->ns[i]);
	while (s->hosts) {
		struct host_ref *h = s->hosts;

		s->hosts = h->next;
		free(h);
	}
	fw_free(s);
	free(s->ns);
	free(s);
}

/* Kept to the end: its controllers and namespaces are still being taken down. */
static struct subsys *removed;

void subsys_remove(struct subsys *s)
{
	struct subsys **p;

	for (p = &subsystems; *p != s; p = &(*p)->next)
		;
	*p = s->next;
	ops_cancel(s);
	while (s->ctrls)
		ctrl_destroy(s->ctrls);
	while (s->nns)
		ns_remove(s->ns[s->nns - 1]);
	s->next = removed;
	removed = s;
}

void subsys_free_all(void)
{
	sweep(true);
	while (subsystems)
		subsys_remove(subsystems);
	sweep(true);
	while (removed) {
		struct subsys *s = removed;

		removed = s->next;
		subsys_free(s);
	}
}
