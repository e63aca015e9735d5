/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What cannot be sent now: pieces that are to be sent again, those that may not be
 * before their time (F-21, CRD), requests that found no slot. They end by being sent,
 * by cancel, by close, or when there is nothing left to wait for.
 */
#include <errno.h>
#include <stdlib.h>

#include "chan.h"
#include "err.h"

void nofi_pieces_init(struct nofi_pieces *l)
{
	l->head = NULL;
	l->tail = &l->head;
}

void nofi_pieces_add(struct nofi_pieces *l, struct nofi_piece *p)
{
	p->next = NULL;
	*l->tail = p;
	l->tail = &p->next;
}

static bool pieces_del(struct nofi_pieces *l, struct nofi_piece *p)
{
	struct nofi_piece **i;

	for (i = &l->head; *i && *i != p; i = &(*i)->next)
		;
	if (!*i)
		return false;
	*i = p->next;
	if (l->tail == &p->next)
		l->tail = i;
	return true;
}

void nofi_chan_kick(struct nof_chan *chan)
{
	if (!chan->is_gone)
		nofi_loop_defer(chan->loop, &chan->defer);
}

/* ---- again, and held ---- */

/* No memory for a timer: what it was to be waited for cannot be told any more. */
static void arm(struct nof_chan *chan, struct nofi_timer *t, uint64_t when)
{
	if (nofi_timer_arm(chan->loop, t, when) < 0)
		nofi_log(chan->loop, NOF_LOG_ERROR, "no memory for the timer of a channel");
}

void nofi_io_again(struct nofi_piece *p, uint64_t wait_ns)
{
	struct nof_chan *chan = p->io->chan;

	if (!wait_ns) {
		nofi_pieces_add(&chan->again, p);
		chan->needs_pump = true;
		nofi_chan_kick(chan);
		return;
	}
	p->sent_ns = nofi_loop_now(chan->loop) + wait_ns;
	nofi_pieces_add(&chan->held, p);
	if (!chan->hold_timer.pos || p->sent_ns < chan->hold_timer.deadline)
		arm(chan, &chan->hold_timer, p->sent_ns);
}

/* In the order in which they were held. */
static void hold_over(struct nofi_timer *t)
{
	struct nof_chan *chan = (void *)((char *)t - offsetof(struct nof_chan, hold_timer));
	uint64_t now = nofi_loop_now(chan->loop), next = UINT64_MAX;
	struct nofi_piece **i = &chan->held.head, *p;

	while ((p = *i)) {
		if (p->sent_ns > now) {
			if (p->sent_ns < next)
				next = p->sent_ns;
			i = &p->next;
			continue;
		}
		*i = p->next;
		nofi_pieces_add(&chan->again, p);
	}
	chan->held.tail = i;
	if (next != UINT64_MAX)
		arm(chan, &chan->hold_timer, next);
	nofi_io_pump(chan);
}

/* Too long without a way, though every controller may be alive and well (ANA). */
static void wait_over(struct nofi_timer *t)
{
	struct nof_chan *chan = (void *)((char *)t - offsetof(struct nof_chan, wait_timer));

	chan->is_expired = true;
	nofi_chan_go_on(chan);
}

void nofi_io_wait_init(struct nof_chan *chan)
{
	nofi_pieces_init(&chan->again);
	nofi_pieces_init(&chan->held);
	chan->pend_tail = &chan->pend_head;
	chan->instant_tail = &chan->instant_head;
	chan->hold_timer.fn = hold_over;
	chan->wait_timer.fn = wait_over;
}

void nofi_io_unwait(struct nof_io *io)
{
	struct nof_chan *chan = io->chan;
	struct nofi_pieces *lists[] = { &chan->again, &chan->held };

	for (int k = 0; k < 2; k++) {
		struct nofi_piece *p, *next;

		for (p = lists[k]->head; p; p = next) {
			next = p->next;
			if (p->io != io)
				continue;
			pieces_del(lists[k], p);
			if (p->mate)
				nofi_piece_put(p->mate);
			nofi_piece_put(p);
		}
	}
}

/* ---- the end of waiting ---- */

static struct nof_io *waiting(struct nof_chan *chan)
{
	struct nofi_piece *p = chan->again.head ? chan->again.head : chan->held.head;

	return p ? p->io : chan->pend_head;
}

void nofi_io_fail_waiting(struct nof_chan *chan, int code, const char *why)
{
	struct nof_io *io;

	/* Ending one takes all of it out of the lists. */
	while ((io = waiting(chan)))
		nofi_io_end(io, code, 0, why);
	nofi_timer_disarm(chan->loop, &chan->hold_timer);
}

void nofi_io_no_way(struct nof_chan *chan)
{
	struct nofi_err err = chan->why;

	if (!err.code)
		nofi_err_set(&err, -ENOTCONN, "there is no path to the namespace");
	nofi_io_fail_waiting(chan, err.code, err.text);
}

/* ---- cancel, fail-fast ---- */

int nof_chan_cancel(struct nof_chan *chan)
{
	struct nof_io *io;
	int n = 0;

	if (!chan)
		return nofi_fail(-EINVAL, "nof_chan_cancel: no channel was given");
	while ((io = waiting(chan))) {
		nofi_io_cancel(io, -ECANCELED, "canceled: nof_chan_cancel() was called");
		n++;
	}
	return n;
}

int nof_chan_set_fail_fast(struct nof_chan *chan, bool is_on)
{
	struct nofi_err err;
	struct nof_io *io;

	if (!chan)
		return nofi_fail(-EINVAL, "nof_chan_set_fail_fast: no channel was given");
	chan->is_fail_fast = is_on;
	if (!is_on)
		return 0;
	/* What only waits for a slot goes on. */
	err = chan->why;
	if (!err.code)
		nofi_err_set(&err, -ENOTCONN, "sending it again was given up: fail-fast was "
			     "switched on");
	while (chan->again.head || chan->held.head || (!chan->nactive && chan->pend_head)) {
		io = waiting(chan);
		nofi_io_cancel(io, err.code, err.text);
	}
	return 0;
}

/* ---- drain ---- */

int nof_chan_drain(struct nof_chan *chan, nof_done_fn *done, void *arg)
{
	struct nofi_drain *d;

	if (!chan || !done)
		return nofi_fail(-EINVAL, "nof_chan_drain: chan and done must not be NULL");
	if (chan->is_closing)
		return nofi_fail(-ENOTCONN, "nof_chan_drain: the channel was closed");
	d = calloc(1, sizeof(*d));
	if (!d)
		return nofi_fail(-ENOMEM, "nof_chan_drain: out of memory");
	d->done = done;
	d->arg = arg;
	if (!chan->inflight) {
		d->next = chan->drained;
		chan->drained = d;
		nofi_chan_kick(chan);
	} else if (!chan->epoch_inflight[!chan->is_epoch]) {
		/* All that is open is of this epoch: new ones are of the other. */
		d->next = NULL;
		chan->drains = d;
		chan->is_epoch = !chan->is_epoch;
	} else {
		d->next = chan->drains_next;
		chan->drains_next = d;
	}
	return 0;
}

void nofi_io_epoch_over(struct nof_chan *chan)
{
	/* The one that new requests are of ends again and again. */
	if (chan->epoch_inflight[!chan->is_epoch])
		return;
	while (chan->drains) {
		struct nofi_drain *d = chan->drains;

		chan->drains = d->next;
		d->next = chan->drained;
		chan->drained = d;
	}
	nofi_chan_kick(chan);
	/* With nobody who waits for it the present epoch goes on: the other one stays empty. */
	if (!chan->drains_next)
		return;
	chan->drains = chan->drains_next;
	chan->drains_next = NULL;
	chan->is_epoch = !chan->is_epoch;
	/* Those that came later may wait for nothing. */
	if (!chan->epoch_inflight[!chan->is_epoch])
		nofi_io_epoch_over(chan);
}

bool nofi_io_hold(struct nof_chan *chan)
{
	chan->epoch_inflight[chan->is_epoch]++;
	return chan->is_epoch;
}

void nofi_io_release(struct nof_chan *chan, bool epoch)
{
	if (!--chan->epoch_inflight[epoch] && chan->drains)
		nofi_io_epoch_over(chan);
}

void nofi_io_tell_drained(struct nof_chan *chan)
{
	struct nof_completion c = { .detail = "" };
	struct nofi_drain *d;

	while ((d = chan->drained)) {
		nof_done_fn *done = d->done;
		void *arg = d->arg;

		chan->drained = d->next;
		free(d);
		nofi_loop_count_done(chan->loop);
		done(arg, &c);
	}
}
