/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A channel's life: opening (an I/O queue per path on its loop), closing. Memory goes
 * in a deferred call, because close may be called from the channel's own callbacks, and
 * not before the last message about its paths has arrived.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chan.h"
#include "err.h"
#include "lines.h"

enum { EXTRA_IOS = 64 };	/* operations beyond the queue's depth that may wait for a slot */

static void free_tables(struct nof_chan *chan)
{
	free(chan->table);
	nofi_hedge_free(chan);
}

/* depth: commands that a queue takes. */
static int alloc_tables(struct nof_chan *chan, uint32_t depth)
{
	chan->limit = depth + EXTRA_IOS;
	chan->npool = depth;
	chan->table = nofi_alloc_lines(depth * sizeof(*chan->pool) +
				       chan->limit * sizeof(*chan->ios));
	if (!chan->table)
		return -ENOMEM;
	chan->pool = chan->table;
	chan->ios = (struct nof_io *)(chan->pool + depth);
	nofi_chan_more_pieces(chan);
	return 0;
}

static void init_piece(struct nofi_piece *p)
{
	p->rw.done = nofi_piece_ended;
	p->rw.arg = p;
}

/*
 * An idle channel touches a page of its table, if that; one that never has more than a few
 * requests at a time, a few pages. The rest is address space: what was never in use is written
 * to only when the free lists have run out.
 */
struct nof_io *nofi_chan_fresh_io(struct nof_chan *chan)
{
	struct nof_io *io = &chan->ios[chan->nios];

	if (chan->nios == chan->limit)
		return NULL;
	chan->nios++;
	memset(io, 0, sizeof(*io));
	io->chan = chan;
	io->first.io = io;
	init_piece(&io->first);
	return io;
}

/* Pieces from the end of their array downwards, which is beside the first requests. */
void nofi_chan_more_pieces(struct nof_chan *chan)
{
	struct nofi_piece *p;

	if (chan->npieces == chan->npool)
		return;
	p = &chan->pool[chan->npool - ++chan->npieces];
	memset(p, 0, sizeof(*p));
	init_piece(p);
	chan->pieces = p;
}

static void chan_free(struct nof_chan *chan)
{
	nofi_chan_free_paths(chan);
	/* A message that is on its way needs the rest. */
	chan->is_orphan = nofi_ns_user_del(chan->ns, &chan->user);
	if (chan->is_orphan)
		return;
	nofi_ns_unref(chan->ns);
	free_tables(chan);
	free(chan);
}

static void put_queues(struct nofi_cpath *cp)
{
	nofi_cpath_put(cp);
	nofi_hedge_put(cp);
}

/* Nothing of it is in flight: what is left is memory. */
static void chan_end(struct nof_chan *chan)
{
	if (chan->is_gone)
		return;
	chan->is_gone = true;
	/* One of them may be on the stack: their memory goes with the channel's. */
	for (uint32_t i = 0; i < chan->nways; i++)
		put_queues(nofi_cpath_of(chan->ways[i]));
	nofi_timer_disarm(chan->loop, &chan->hold_timer);
	nofi_timer_disarm(chan->loop, &chan->wait_timer);
	nofi_hedge_stop(chan);
	nofi_loop_undefer(chan->loop, &chan->defer);
	nofi_io_tell_drained(chan);
	if (!chan->is_awaited)
		nofi_loop_defer(chan->loop, &chan->defer);
}

static void on_defer(struct nofi_defer *d)
{
	struct nof_chan *chan = (struct nof_chan *)((char *)d - offsetof(struct nof_chan, defer));

	if (chan->is_gone) {
		chan_free(chan);
		return;
	}
	nofi_chan_reap_paths(chan);
	if (chan->needs_pump)
		nofi_io_pump(chan);
	nofi_io_run_instant(chan, false);
	if (!chan->is_gone)
		nofi_io_tell_drained(chan);
}

/* Also called while the loop is at rest, when a controller is freed. */
static void on_changed(struct nofi_ns_user *u)
{
	struct nof_chan *chan = (struct nof_chan *)((char *)u - offsetof(struct nof_chan, user));
	bool was;

	if (chan->is_orphan) {
		chan_free(chan);
		return;
	}
	if (chan->is_closing || chan->is_gone)
		return;
	was = nofi_loop_enter(chan->loop);
	nofi_chan_look(chan);
	nofi_loop_leave(chan->loop, was);
}

void nofi_chan_opened(struct nof_chan *chan, uint16_t qid, const struct nofi_err *err)
{
	struct nof_completion c = { .error = err ? err->code : 0, .qid = qid, .detail = "" };
	nof_done_fn *done = chan->done;
	void *arg = chan->arg;
	struct nofi_err copy;

	chan->done = NULL;
	chan->is_asked = false;
	if (err) {
		copy = *err;
		c.detail = copy.text;
		chan_end(chan);
	} else {
		chan->is_open = true;
		nofi_chan_set_usual(chan);
		*chan->out = chan;
	}
	nofi_loop_count_done(chan->loop);
	done(arg, &c);
}

int nof_chan_open(struct nof_ns *ns, struct nof_loop *loop, struct nof_chan **out,
		  nof_done_fn *done, void *arg)
{
	struct nof_chan *chan;
	struct nofi_err err;
	uint32_t depth = 0;

	if (!ns || !loop || !out || !done)
		return nofi_fail(-EINVAL, "nof_chan_open: a NULL argument was given");
	pthread_mutex_lock(&ns->lock);
	for (struct nofi_path *p = ns->paths; p; p = p->next)
		depth = p->depth > depth ? p->depth : depth;
	pthread_mutex_unlock(&ns->lock);
	chan = nofi_zalloc_lines(sizeof(*chan));
	if (!chan)
		return nofi_fail(-ENOMEM, "nof_chan_open: out of memory");
	if (alloc_tables(chan, depth ? depth : 1) < 0) {
		free_tables(chan);
		free(chan);
		return nofi_fail(-ENOMEM, "nof_chan_open: out of memory");
	}
	chan->loop = loop;
	chan->ns = nofi_ns_ref(ns);
	chan->defer.fn = on_defer;
	chan->user.loop = loop;
	chan->user.changed = on_changed;
	chan->out = out;
	chan->done = done;
	chan->arg = arg;
	nofi_io_wait_init(chan);
	nofi_ns_user_add(ns, &chan->user);
	/* What may return is waited for, as requests wait. */
	if (!nofi_chan_look(chan) && !nofi_chan_may_wait(chan)) {
		err = chan->why;
		/* Only what a queue was refused for is an error of its own. */
		if (!nofi_chan_has_live(chan))
			err.code = -ENOTCONN;
		chan->is_gone = true;
		nofi_loop_undefer(loop, &chan->defer);
		chan_free(chan);
		return nofi_fail(err.code, "nof_chan_open: %s", err.text);
	}
	chan->is_asked = true;
	nofi_chan_reselect(chan);
	return 0;
}

void nofi_chan_drained(struct nof_chan *chan)
{
	chan_end(chan);
}

void nofi_chan_abort(struct nof_chan *chan, const struct nofi_err *why)
{
	bool was = nofi_loop_enter(chan->loop);

	chan->is_broken = true;
	for (uint32_t i = 0; i < chan->nways; i++) {
		struct nofi_cpath *cp = nofi_cpath_of(chan->ways[i]);

		if (cp->q)
			nofi_queue_kill(cp->q, why);
		if (cp->spare_q)
			nofi_queue_kill(cp->spare_q, why);
	}
	nofi_io_fail_waiting(chan, why->code, why->text);
	nofi_io_run_instant(chan, true);
	nofi_loop_leave(chan->loop, was);
}

/* Closing a connection completes what is on it; the last one ends the channel. */
static void put_own_queues(struct nof_chan *chan)
{
	for (uint32_t i = 0; i < chan->nways && !chan->is_gone; i++) {
		struct nofi_cpath *cp = nofi_cpath_of(chan->ways[i]);

		if (!nofi_cpath_is_shared(cp))
			nofi_cpath_put(cp);
		if (!nofi_hedge_is_shared(cp))
			nofi_hedge_put(cp);
	}
}

void nof_chan_close(struct nof_chan *chan)
{
	bool was;

	if (!chan || chan->is_closing)
		return;
	was = nofi_loop_enter(chan->loop);
	chan->is_closing = true;
	nofi_chan_set_usual(chan);
	/* Static text: of what is half on its way it is told later. */
	nofi_io_fail_waiting(chan, -ECANCELED, "canceled: the channel was closed");
	nofi_io_run_instant(chan, true);
	if (chan->inflight || nofi_hedge_is_busy(chan))
		put_own_queues(chan);
	if (!chan->inflight && !nofi_hedge_is_busy(chan))
		chan_end(chan);
	nofi_loop_leave(chan->loop, was);
	if (chan->is_gone)
		return;
	/*
	 * Others use the connection: their commands must not suffer, and ours may not be
	 * forgotten while data is on its way into our buffers.
	 */
	if (nofi_loop_is_processing(chan->loop))
		return;
	chan->is_awaited = true;
	while (!chan->is_gone)
		if (nof_loop_wait(chan->loop, -1) < 0)
			break;
	chan->is_awaited = false;
	if (chan->is_gone)
		chan_free(chan);
}

struct nof_ns *nof_chan_get_ns(const struct nof_chan *chan)
{
	return chan ? chan->ns : NULL;
}

struct nof_loop *nof_chan_get_loop(const struct nof_chan *chan)
{
	return chan ? chan->loop : NULL;
}

/* Of the path that comes first. */
static const struct nofi_cpath *first(const struct nof_chan *chan)
{
	if (!chan->nways)
		return NULL;
	return nofi_cpath_of(chan->ways[chan->nactive ? chan->active[0] : 0]);
}

uint16_t nof_chan_get_qid(const struct nof_chan *chan)
{
	const struct nofi_cpath *cp = chan ? first(chan) : NULL;

	return cp ? cp->qid : 0;
}

uint32_t nof_chan_get_limit(const struct nof_chan *chan)
{
	return chan ? chan->limit : 0;
}

uint32_t nof_chan_get_inflight(const struct nof_chan *chan)
{
	return chan ? chan->inflight : 0;
}

int nof_chan_get_transport(const struct nof_chan *chan, struct nof_transport *t)
{
	const struct nofi_cpath *cp = chan ? first(chan) : NULL;
	int r;

	if (!chan || !t || t->size < sizeof(t->size))
		return nofi_fail(-EINVAL, "nof_chan_get_transport: set t->size to sizeof(*t)");
	r = cp && cp->q ? nofi_transport_fill(cp->user.ioq->ctrl, cp->q, t) : -ENOTCONN;
	return r < 0 ? nofi_fail(r, "nof_chan_get_transport: the connection is down") : 0;
}
