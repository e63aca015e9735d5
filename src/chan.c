/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A channel's life: opening (an I/O queue on its loop), loss, closing. Memory goes
 * in a deferred call, because close may be called from the channel's own callbacks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chan.h"
#include "err.h"

enum { EXTRA_IOS = 64 };	/* operations beyond the queue's depth that may wait for a slot */

static void put_queue(struct nof_chan *chan)
{
	if (chan->is_put)
		return;
	chan->is_put = true;
	if (chan->path.q)
		nofi_queue_unwait(chan->path.q, &chan->path.waiter);
	/* Completes what is in flight, if the queue was ours alone. */
	nofi_ctrl_queue_put(&chan->path.user);
}

/* Nothing of it is in flight: what is left is memory. */
static void chan_end(struct nof_chan *chan)
{
	if (chan->is_gone)
		return;
	chan->is_gone = true;
	put_queue(chan);
	nofi_loop_undefer(chan->loop, &chan->defer);
	if (!chan->is_awaited)
		nofi_loop_defer(chan->loop, &chan->defer);
}

static void free_tables(struct nof_chan *chan)
{
	free(chan->ios);
	free(chan->pool);
}

/* depth: commands that a queue takes. */
static int alloc_tables(struct nof_chan *chan, uint32_t depth)
{
	chan->limit = depth + EXTRA_IOS;
	chan->npool = chan->npieces = depth;
	chan->ios = calloc(chan->limit, sizeof(*chan->ios));
	chan->pool = calloc(chan->npool, sizeof(*chan->pool));
	if (!chan->ios || !chan->pool)
		return -ENOMEM;
	for (uint32_t i = chan->limit; i--;) {
		chan->ios[i].chan = chan;
		chan->ios[i].first.io = &chan->ios[i];
		chan->ios[i].next = chan->free;
		chan->free = &chan->ios[i];
	}
	for (uint32_t i = chan->npool; i--;) {
		chan->pool[i].next = chan->pieces;
		chan->pieces = &chan->pool[i];
	}
	return 0;
}

static void chan_free(struct nof_chan *chan)
{
	nofi_ns_unref(chan->ns);
	free_tables(chan);
	free(chan);
}

static void on_defer(struct nofi_defer *d)
{
	struct nof_chan *chan = (struct nof_chan *)((char *)d - offsetof(struct nof_chan, defer));

	if (chan->is_gone)
		chan_free(chan);
	else
		nofi_io_run_instant(chan, false);
}

static void on_room(struct nofi_waiter *w)
{
	struct nofi_cpath *cp = (void *)((char *)w - offsetof(struct nofi_cpath, waiter));

	nofi_io_pump(cp->chan);
}

static struct nof_chan *of_user(struct nofi_ioq_user *u)
{
	return ((struct nofi_cpath *)((char *)u - offsetof(struct nofi_cpath, user)))->chan;
}

static void on_ready(struct nofi_ioq_user *u, const struct nofi_err *err)
{
	struct nof_chan *chan = of_user(u);
	struct nof_completion c = { .error = err ? err->code : 0, .detail = err ? err->text : "" };
	nof_done_fn *done = chan->done;
	void *arg = chan->arg;

	chan->done = NULL;
	if (err) {
		/* err may live in what is put */
		struct nofi_err copy = *err;

		c.detail = copy.text;
		chan_end(chan);
		nofi_loop_count_done(chan->loop);
		done(arg, &c);
		return;
	}
	chan->path.q = u->ioq->q;
	chan->path.qid = c.qid = nofi_queue_qid(chan->path.q);
	chan->is_open = true;
	*chan->out = chan;
	nofi_loop_count_done(chan->loop);
	done(arg, &c);
}

static void on_dead(struct nofi_ioq_user *u, const struct nofi_err *err)
{
	nofi_io_fail_pending(of_user(u), err->code, err->text);
}

int nof_chan_open(struct nof_ns *ns, struct nof_loop *loop, struct nof_chan **out,
		  nof_done_fn *done, void *arg)
{
	struct nof_chan *chan;
	struct nofi_err err;
	int r;

	if (!ns || !loop || !out || !done)
		return nofi_fail(-EINVAL, "nof_chan_open: a NULL argument was given");
	chan = calloc(1, sizeof(*chan));
	if (!chan)
		return nofi_fail(-ENOMEM, "nof_chan_open: out of memory");
	if (alloc_tables(chan, nofi_ctrl_queue_entries(ns->ctrl) - 1) < 0) {
		free_tables(chan);
		free(chan);
		return nofi_fail(-ENOMEM, "nof_chan_open: out of memory");
	}
	chan->loop = loop;
	chan->ns = nofi_ns_ref(ns);
	chan->id = chan->path.id = ns->id;
	chan->pend_tail = &chan->pend_head;
	chan->instant_tail = &chan->instant_head;
	chan->defer.fn = on_defer;
	chan->path.chan = chan;
	chan->path.waiter.fn = on_room;
	chan->path.user.ready = on_ready;
	chan->path.user.dead = on_dead;
	chan->out = out;
	chan->done = done;
	chan->arg = arg;
	r = nofi_ctrl_queue_get(ns->ctrl, loop, &chan->path.user, &err);
	if (r < 0) {
		chan_free(chan);
		return nofi_fail(r, "nof_chan_open: %s", err.text);
	}
	return 0;
}

void nofi_chan_drained(struct nof_chan *chan)
{
	chan_end(chan);
}

static bool is_shared(const struct nof_chan *chan)
{
	const struct nofi_ioq_user *u = &chan->path.user;

	return u->ioq && (u->ioq->users != u || u->next);
}

void nofi_chan_abort(struct nof_chan *chan, const struct nofi_err *why)
{
	bool was = nofi_loop_enter(chan->loop);

	if (chan->path.q)
		nofi_queue_kill(chan->path.q, why);
	nofi_io_run_instant(chan, true);
	nofi_loop_leave(chan->loop, was);
}

void nof_chan_close(struct nof_chan *chan)
{
	bool was, is_over = true;

	if (!chan || chan->is_closing)
		return;
	was = nofi_loop_enter(chan->loop);
	chan->is_closing = true;
	/* Static text: of what is half on its way it is told later. */
	nofi_io_fail_pending(chan, -ECANCELED, "canceled: the channel was closed");
	nofi_io_run_instant(chan, true);
	if (!chan->inflight)
		chan_end(chan);
	else if (!is_shared(chan))
		/* Closing the connection completes the rest; the last one ends the channel. */
		put_queue(chan);
	else
		is_over = false;
	nofi_loop_leave(chan->loop, was);
	if (is_over)
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

uint16_t nof_chan_get_qid(const struct nof_chan *chan)
{
	return chan ? chan->path.qid : 0;
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
	int r;

	if (!chan || !t || t->size < sizeof(t->size))
		return nofi_fail(-EINVAL, "nof_chan_get_transport: set t->size to sizeof(*t)");
	r = chan->path.q ? nofi_transport_fill(chan->path.q, t) : -ENOTCONN;
	return r < 0 ? nofi_fail(r, "nof_chan_get_transport: the connection is down") : 0;
}
