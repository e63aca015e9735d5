/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "copy.h"

static int end_open(struct copy *c, struct end *end, const char *name, bool is_dst)
{
	*end = (struct end){ .name = name, .is_dst = is_dst, .fd = -1, .align = 1 };
	if (end_is_uri(name))
		return end_ns_open(c, end);
	return end_file_open(c, end);
}

int end_open_src(struct copy *c, struct end *end, const char *name)
{
	return end_open(c, end, name, false);
}

int end_open_dst(struct copy *c, struct end *end, const char *name)
{
	return end_open(c, end, name, true);
}

int end_begin_dst(struct copy *c, struct end *end, uint64_t total)
{
	return end->kind == END_NS ? 0 : end_file_begin(c, end, total);
}

int end_set_size(struct copy *c, struct end *end, uint64_t size)
{
	return end->kind == END_FILE ? end_file_set_size(c, end, size) : 0;
}

int end_close(struct end *end)
{
	int ret = end->ops ? end->ops->close(end) : 0;

	end->ops = NULL;
	return ret;
}

bool end_is_same(const struct end *a, const struct end *b)
{
	const struct nof_ns_info *m = &a->info, *n = &b->info;

	if (a->kind == END_STREAM || b->kind == END_STREAM)
		return false;
	if (a->kind != END_NS || b->kind != END_NS)
		return a->kind == b->kind && a->dev == b->dev && a->ino == b->ino;
	if (m->has_uuid && n->has_uuid)
		return !memcmp(m->uuid, n->uuid, sizeof(m->uuid));
	if (m->has_nguid && n->has_nguid)
		return !memcmp(m->nguid, n->nguid, sizeof(m->nguid));
	/* Without identifiers only the same address is known to be the same storage. */
	return m->nsid == n->nsid && !strcmp(a->ctrl_info.subnqn, b->ctrl_info.subnqn) &&
	       !strcmp(a->paths->opts.traddr, b->paths->opts.traddr) &&
	       !strcmp(a->paths->opts.trsvcid, b->paths->opts.trsvcid);
}

const char *end_kind_name(const struct end *end)
{
	switch (end->kind) {
	case END_NS: return "namespace";
	case END_FILE: return "file";
	case END_DEVICE: return "device";
	case END_STREAM: return "stream";
	}
	return "";
}

int end_submit(struct io *io)
{
	int ret;

	/* Before: the pool's thread may be done with it before submit() returns. */
	io->end->busy++;
	ret = io->end->ops->submit(io);
	if (ret < 0)
		io->end->busy--;
	return ret;
}
