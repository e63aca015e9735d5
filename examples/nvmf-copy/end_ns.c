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

static int ns_close(struct end *end)
{
	unsigned int i;

	for (i = 0; i < end->chan_count; i++)
		nof_chan_close(end->chans[i]);
	free(end->chans);
	nof_ns_close(end->ns);
	/* Every result is in: what a clean end may still run into changes none. */
	if (end->ctrl && !end->is_abandoned && nof_ctrl_get_state(end->ctrl) == NOF_CTRL_LIVE)
		nof_ctrl_disconnect_sync(end->ctrl);
	nof_ctrl_free(end->ctrl);
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

int end_ns_open(struct copy *c, struct end *end)
{
	end->kind = END_NS;
	end->ops = &ns_ops;
	nof_opts_init(&end->opts);
	end->opts.ctrl_loss_tmo_ms = 10000;
	end->opts.nr_io_queues = c->o->queues;
	end->opts.queue_size = c->o->requests < 127 ? 128 : c->o->requests + 1;
	if (end->opts.queue_size > 1024)
		end->opts.queue_size = 1024;
	if (nof_uri_parse(end->name, &end->opts) < 0) {
		lib_fail(c);
		return TOOL_USAGE;
	}
	if (nof_ctrl_new(c->loop, &end->opts, NULL, NULL, &end->ctrl) < 0 ||
	    nof_ctrl_connect_sync(end->ctrl) < 0 || nof_ns_open_sync(end->ctrl, NULL, &end->ns) < 0)
		return lib_fail(c);
	end->info.size = sizeof(end->info);
	end->ctrl_info.size = sizeof(end->ctrl_info);
	if (nof_ns_get_info(end->ns, &end->info) < 0 ||
	    nof_ctrl_get_info(end->ctrl, &end->ctrl_info) < 0)
		return lib_fail(c);
	if (end->is_dst && (end->info.features & NOF_NS_READ_ONLY))
		return copy_fail(c, "namespace %u of %s is write protected.", end->info.nsid,
				 end->name);
	end->size = end->info.bytes;
	end->align = end->info.block_size;
	end->has_zero = end->info.features & NOF_NS_WRITE_ZEROES;
	return open_queues(c, end);
}
