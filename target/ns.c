/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Subsystems and namespaces. Writes are taken as bytes in stream order, so a
 * write whose connection dies in the middle may leave part of its range
 * written; as with any disk, its content is undefined until it is written again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <nvme/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "target.h"

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
		if (!strcmp(s->nqn, nqn))
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
	for (tail = &subsystems; *tail; tail = &(*tail)->next)
		;
	*tail = s;
	return s;
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

static void set_identifiers(struct ns *ns)
{
	const char *nqn = ns->subsys->nqn;

	for (int i = 0; i < 2; i++) {
		nofi_put64(ns->nguid + i * 8, hash64(nqn, 0x100000000ull * (i + 1) + ns->nsid));
		nofi_put64(ns->uuid + i * 8, hash64(nqn, 0x100000000ull * (i + 3) + ns->nsid));
	}
	nofi_put64(ns->eui64, hash64(nqn, 0x500000000ull + ns->nsid));
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

static int parse_ns_options(struct ns *ns, char *o, char *err, size_t errlen)
{
	char *save = NULL;
	uint64_t v;

	for (char *t = strtok_r(o, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
		if (!strcmp(t, "ro")) {
			ns->is_readonly = true;
		} else if (!strncmp(t, "bs=", 3) && parse_size(t + 3, &v) &&
			   (v == 512 || v == 4096)) {
			ns->lbads = v == 512 ? 9 : 12;
		} else if (!strncmp(t, "nsid=", 5) && parse_size(t + 5, &v) && v && v <= 65535) {
			ns->nsid = (uint32_t)v;
		} else {
			snprintf(err, errlen, "unknown namespace option '%s': bs=512, bs=4096, "
				 "nsid=N and ro are known", t);
			return -1;
		}
	}
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

/* --ns=KIND:ARG[,option…]; a path with a comma in it cannot be given. */
int ns_add(struct subsys *s, const char *spec, char *err, size_t errlen)
{
	struct ns *ns = calloc(1, sizeof(*ns));
	char *copy = strdup(spec), *arg, *opts;
	uint64_t bytes = 0;

	if (!ns || !copy) {
		snprintf(err, errlen, "out of memory");
		goto fail;
	}
	ns->subsys = s;
	ns->lbads = 12;
	ns->fd = -1;
	arg = strchr(copy, ':');
	if (!arg)
		goto bad_spec;
	*arg++ = 0;
	opts = strchr(arg, ',');
	if (opts) {
		*opts++ = 0;
		if (parse_ns_options(ns, opts, err, errlen))
			goto fail;
	}
	if (!ns->nsid)
		ns->nsid = s->nns ? s->ns[s->nns - 1]->nsid + 1 : 1;
	if (ns_find(s, ns->nsid)) {
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
	ns->blocks = bytes >> ns->lbads;
	if (!ns->blocks || bytes > (1ull << 60)) {
		snprintf(err, errlen, "namespace '%s' has an unusable size", spec);
		goto fail;
	}
	if (ns->kind == NS_MEM) {
		ns->map_len = ns->blocks << ns->lbads;
		ns->map = mmap(NULL, ns->map_len, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (ns->map == MAP_FAILED) {
			ns->map = NULL;
			snprintf(err, errlen, "cannot reserve %llu bytes of address space: %s",
				 (unsigned long long)ns->map_len, strerror(errno));
			goto fail;
		}
	}
	set_identifiers(ns);
	if (insert(s, ns)) {
		snprintf(err, errlen, "out of memory");
		goto fail;
	}
	free(copy);
	return 0;
bad_spec:
	snprintf(err, errlen, "'%s' is no namespace: use mem:SIZE, file:PATH or null:SIZE", spec);
fail:
	if (ns && ns->fd >= 0)
		close(ns->fd);
	if (ns && ns->map)
		munmap(ns->map, ns->map_len);
	free(ns);
	free(copy);
	return -1;
}

void subsys_free_all(void)
{
	while (subsystems) {
		struct subsys *s = subsystems;

		subsystems = s->next;
		for (unsigned int i = 0; i < s->nns; i++) {
			if (s->ns[i]->map)
				munmap(s->ns[i]->map, s->ns[i]->map_len);
			if (s->ns[i]->kind == NS_FILE)
				close(s->ns[i]->fd);
			free(s->ns[i]);
		}
		while (s->hosts) {
			struct host_ref *h = s->hosts;

			s->hosts = h->next;
			free(h);
		}
		free(s->ns);
		free(s);
	}
}

/* mem: may only shrink and grow back, so that no byte in flight loses its place. */
int ns_resize(struct ns *ns, uint64_t bytes)
{
	uint64_t blocks = bytes >> ns->lbads;

	if (!blocks || (ns->kind == NS_MEM && bytes > ns->map_len) || ns->kind == NS_FILE)
		return -EINVAL;
	ns->blocks = blocks;
	return 0;
}

uint16_t ns_write(struct ns *ns, uint64_t off, const void *data, uint32_t len)
{
	const uint8_t *p = data;

	if (ns->kind == NS_MEM) {
		memcpy(ns->map + off, data, len);
		return 0;
	}
	if (ns->kind == NS_NULL)
		return 0;
	while (len) {
		ssize_t n = pwrite(ns->fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && (errno == ENOSPC || errno == EDQUOT) ?
				NVME_SC_CAP_EXCEEDED | DNR : STATUS_MEDIA(NVME_SC_WRITE_FAULT);
		p += n;
		off += (uint64_t)n;
		len -= (uint32_t)n;
	}
	return 0;
}

uint16_t ns_read(struct ns *ns, uint64_t off, void *data, uint32_t len)
{
	uint8_t *p = data;

	if (ns->kind == NS_MEM) {
		memcpy(data, ns->map + off, len);
		return 0;
	}
	if (ns->kind == NS_NULL) {
		memset(data, 0, len);
		return 0;
	}
	while (len) {
		ssize_t n = pread(ns->fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)		/* also when the file was truncated under us */
			return STATUS_MEDIA(NVME_SC_READ_ERROR);
		p += n;
		off += (uint64_t)n;
		len -= (uint32_t)n;
	}
	return 0;
}

bool ns_equal(struct ns *ns, uint64_t off, const void *data, uint32_t len, uint16_t *status)
{
	uint8_t buf[16384];
	const uint8_t *p = data;

	if (ns->kind == NS_MEM)
		return !memcmp(ns->map + off, data, len);
	while (len) {
		uint32_t n = len < sizeof(buf) ? len : (uint32_t)sizeof(buf);

		*status = ns_read(ns, off, buf, n);
		if (*status || memcmp(buf, p, n))
			return false;
		p += n;
		off += n;
		len -= n;
	}
	return true;
}

static void zero_mem(struct ns *ns, uint64_t off, uint64_t len)
{
	uint64_t mask = ~(uint64_t)(PAGE - 1);
	uint64_t a = (off + PAGE - 1) & mask, b = (off + len) & mask;

	if (b <= a) {
		memset(ns->map + off, 0, len);
		return;
	}
	memset(ns->map + off, 0, a - off);
	memset(ns->map + b, 0, off + len - b);
	/* Fresh anonymous pages read as zeroes: deallocating is the fastest write. */
	if (madvise(ns->map + a, b - a, MADV_DONTNEED))
		memset(ns->map + a, 0, b - a);
}

uint16_t ns_zero(struct ns *ns, uint64_t off, uint64_t len, bool is_dealloc)
{
	static const uint8_t zero[65536];
	int mode = is_dealloc ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;

	if (!len || ns->kind == NS_NULL)
		return 0;
	if (ns->kind == NS_MEM) {
		zero_mem(ns, off, len);
		return 0;
	}
	if (!fallocate(ns->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len))
		return 0;
	while (len) {
		uint32_t n = len < sizeof(zero) ? (uint32_t)len : (uint32_t)sizeof(zero);
		uint16_t status = ns_write(ns, off, zero, n);

		if (status)
			return status;
		off += n;
		len -= n;
	}
	return 0;
}

uint16_t ns_flush(struct ns *ns)
{
	if (ns->kind == NS_FILE && fdatasync(ns->fd))
		return STATUS_MEDIA(NVME_SC_WRITE_FAULT);
	return 0;
}
