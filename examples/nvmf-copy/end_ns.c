/* SPDX-License-Identifier: MIT */
/*
 * A namespace as SRC or DST: a controller and its queues on the one loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "copy.h"

bool end_is_uri(const char *name)
{
	return strstr(name, "://") != NULL;
}

static void ns_done(void *arg, const struct nof_completion *cpl)
{
	struct io *io = arg;

	io->end->busy--;
	io->result = cpl->error ? 0 : io->len;
	io->done(io, cpl->error, cpl->detail);
}

static int submit_on(struct nof_chan *chan, struct io *io)
{
	switch (io->kind) {
	case IO_READ: return nof_read(chan, io->buf, io->len, io->offset, 0, ns_done, io);
	case IO_WRITE: return nof_write(chan, io->buf, io->len, io->offset, 0, ns_done, io);
	case IO_ZERO:
		return nof_write_zeroes(
			chan, io->len, io->offset,
			io->end->info.features & NOF_NS_WRITE_ZEROES_DEAC ? NOF_IO_DEALLOCATE : 0,
			ns_done, io);
	case IO_FLUSH: return nof_flush(chan, ns_done, io);
	}
	return -EINVAL;
}

static int ns_submit(struct io *io)
{
	struct end *end = io->end;
	unsigned int i;
	int ret = -EAGAIN;

	for (i = 0; i < end->chan_count && ret == -EAGAIN; i++) {
		ret = submit_on(end->chans[end->chan_next], io);
		end->chan_next = (end->chan_next + 1) % end->chan_count;
	}
	return ret;
}

static void close_path(struct path *path, bool is_silent)
{
	/* Every result is in: what a clean end may still run into changes none. */
	if (path->ctrl && !is_silent && nof_ctrl_get_state(path->ctrl) == NOF_CTRL_LIVE)
		nof_ctrl_disconnect_sync(path->ctrl);
	nof_ctrl_free(path->ctrl);
	path->ctrl = NULL;
}

/* For the report, which comes after everything is closed. */
static void note_paths(struct end *end)
{
	static struct nof_path_info infos[COPY_MAX_PATHS + 1];
	struct path *path;
	int n = 0, i;

	infos[0].size = sizeof(infos[0]);
	if (end->ns)
		n = nof_ns_get_paths(end->ns, infos, COPY_MAX_PATHS + 1);
	for (path = end->paths; path; path = path->next) {
		for (i = 0; i < n; i++)
			if (infos[i].ctrl == path->ctrl)
				path->io = infos[i];
		path->stats.size = sizeof(path->stats);
		if (path->ctrl)
			nof_ctrl_get_stats(path->ctrl, &path->stats);
	}
}

static int ns_close(struct end *end)
{
	struct path *path;
	unsigned int i;

	note_paths(end);
	for (i = 0; i < end->chan_count; i++)
		nof_chan_close(end->chans[i]);
	free(end->chans);
	nof_ns_close(end->ns);
	for (path = end->paths; path; path = path->next)
		close_path(path, end->is_abandoned);
	return 0;
}

static const struct end_ops ns_ops = { .submit = ns_submit, .close = ns_close };

static int lib_fail(struct copy *c)
{
	return copy_fail(c, "%s", nof_strerror_detail());
}

static int open_queues(struct copy *c, struct end *end)
{
	unsigned int i;

	end->chans = calloc(c->o->queues, sizeof(struct nof_chan *));
	if (!end->chans)
		return copy_fail(c, "no memory for %u queues.", c->o->queues);
	for (i = 0; i < c->o->queues; i++) {
		if (nof_chan_open_sync(end->ns, c->loop, &end->chans[i]) < 0)
			return lib_fail(c);
		end->chan_count++;
		end->limit += nof_chan_get_limit(end->chans[i]);
	}
	end->transport.size = sizeof(end->transport);
	if (nof_chan_get_transport(end->chans[0], &end->transport) < 0)
		return lib_fail(c);
	return 0;
}

/* A controller for uri, not yet of any end. 0, −1 or TOOL_USAGE. */
static int connect_path(struct copy *c, const char *uri, struct path **out)
{
	struct path *path = calloc(1, sizeof(*path));

	if (!path)
		return copy_fail(c, "no memory for a path.");
	*out = path;
	path->uri = uri;
	nof_opts_init(&path->opts);
	path->opts.ctrl_loss_tmo_ms = 10000;
	path->opts.nr_io_queues = c->o->queues;
	path->opts.queue_size = c->o->requests < 127 ? 128 : c->o->requests + 1;
	if (path->opts.queue_size > 1024)
		path->opts.queue_size = 1024;
	if (nof_uri_parse(uri, &path->opts) < 0) {
		lib_fail(c);
		return TOOL_USAGE;
	}
	if (nof_ctrl_new(c->loop, &path->opts, NULL, NULL, &path->ctrl) < 0 ||
	    nof_ctrl_connect_sync(path->ctrl) < 0)
		return lib_fail(c);
	return 0;
}

void end_ns_forget(struct end *end)
{
	struct path *path;

	while ((path = end->paths)) {
		end->paths = path->next;
		free(path);
	}
}

int end_ns_open(struct copy *c, struct end *end)
{
	int ret;

	end->kind = END_NS;
	end->ops = &ns_ops;
	ret = connect_path(c, end->name, &end->paths);
	if (ret)
		return ret;
	if (nof_ns_open_sync(end->paths->ctrl, NULL, &end->ns) < 0)
		return lib_fail(c);
	end->info.size = sizeof(end->info);
	end->ctrl_info.size = sizeof(end->ctrl_info);
	if (nof_ns_get_info(end->ns, &end->info) < 0 ||
	    nof_ctrl_get_info(end->paths->ctrl, &end->ctrl_info) < 0)
		return lib_fail(c);
	if (end->is_dst && (end->info.features & NOF_NS_READ_ONLY))
		return copy_fail(c, "namespace %u of %s is write protected.", end->info.nsid,
				 end->name);
	if (end->is_dst && end->info.zone_size)
		return copy_fail(c,
				 "namespace %u of %s has zones, which can only be written in "
				 "order; a copy writes in any.",
				 end->info.nsid, end->name);
	if (end->info.needs_metadata)
		return copy_fail(c,
				 "namespace %u of %s has %u bytes of metadata with each block, "
				 "which would be lost.",
				 end->info.nsid, end->name, end->info.metadata_size);
	end->size = end->info.bytes;
	end->align = end->info.block_size;
	end->has_zero = end->info.features & NOF_NS_WRITE_ZEROES;
	return open_queues(c, end);
}

/* The end whose namespace a new path leads to, by what its URI names there. */
static struct end *find_end(struct copy *c, struct path *path)
{
	struct end *ends[2] = { &c->src, &c->dst };
	struct end it = { .kind = END_NS, .paths = path };
	struct end *found = NULL;
	unsigned int i;

	it.info.size = sizeof(it.info);
	it.ctrl_info.size = sizeof(it.ctrl_info);
	if (nof_ns_open_sync(path->ctrl, NULL, &it.ns) < 0) {
		lib_fail(c);
		return NULL;
	}
	if (nof_ns_get_info(it.ns, &it.info) == 0 &&
	    nof_ctrl_get_info(path->ctrl, &it.ctrl_info) == 0)
		for (i = 0; i < 2 && !found; i++)
			if (ends[i]->kind == END_NS && end_is_same(ends[i], &it))
				found = ends[i];
	nof_ns_close(it.ns);
	return found;
}

int end_ns_add_path(struct copy *c, const char *uri)
{
	struct path *path = NULL, **tail;
	struct end *end = NULL;
	int ret = connect_path(c, uri, &path);

	if (ret == 0) {
		end = find_end(c, path);
		if (!end)
			ret = c->error[0] ? -1 : TOOL_USAGE;
		if (ret > 0)
			copy_fail(c, "--path=%s leads to another namespace than SRC and DST.", uri);
	}
	if (ret == 0 && nof_ns_add_path_sync(end->ns, path->ctrl) < 0)
		ret = lib_fail(c);
	if (ret) {
		if (path)
			close_path(path, false);
		free(path);
		return ret;
	}
	for (tail = &end->paths; *tail; tail = &(*tail)->next)
		;
	*tail = path;
	return 0;
}
