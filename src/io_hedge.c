/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hedged reads: see hedge.h for what happens when, and why it is sound. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chan.h"
#include "err.h"
#include "hedge.h"
#include "pdu/wire.h"

enum { SQE_NSID = 4, SQE_CDW10 = 40 };

/* A read that was sent twice, while any of the two is on its way. */
struct nofi_hedge {
	struct nofi_hedge *next;	/* free ones */
	struct nof_chan *chan;
	struct nofi_cpath *cp;		/* both count as in flight there, so it stays */
	struct nofi_piece *piece;	/* NULL: it is done */
	bool is_first_out;		/* the first is a stray of ours; else it is the piece's */
	bool is_second_out;
	bool is_first_spare;		/* it went by the spare queue */
	uint16_t qid;			/* of the queue that the second went by */
	struct iovec iov;		/* the second's data */
};

struct nofi_hedger {
	uint32_t fixed_us;		/* 0: auto */
	struct nofi_quantile latency;	/* of small reads */
	struct nofi_hedge_budget budget;
	struct nofi_piece *head, *tail;	/* watched: sent, not overdue yet; oldest first */
	struct nofi_timer timer;	/* armed while something is watched, lazily: it is moved
					   when it fires, not by each read */
	struct nof_chan *chan;
	struct nofi_hedge *free;
	uint32_t busy;			/* records in use */
	struct iovec trash;		/* where strays' data goes; written only */
	struct nofi_hedge hedge[NOFI_HEDGES_MAX];
	uint8_t data[NOFI_HEDGES_MAX + 1][NOFI_HEDGE_BYTES];
};

static void timer_due(struct nofi_timer *t);

static struct nofi_hedger *hedger_new(struct nof_chan *chan, uint32_t fixed_us)
{
	struct nofi_hedger *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->chan = chan;
	g->fixed_us = fixed_us;
	g->timer.fn = timer_due;
	g->trash = (struct iovec){ g->data[NOFI_HEDGES_MAX], NOFI_HEDGE_BYTES };
	nofi_hedge_budget_init(&g->budget);
	for (unsigned i = 0; i < NOFI_HEDGES_MAX; i++) {
		g->hedge[i].chan = chan;
		g->hedge[i].iov.iov_base = g->data[i];
		g->hedge[i].next = g->free;
		g->free = &g->hedge[i];
	}
	return g;
}

bool nofi_hedge_is_busy(const struct nof_chan *chan)
{
	return chan->hedger && chan->hedger->busy;
}

void nofi_hedge_stop(struct nof_chan *chan)
{
	if (chan->hedger)
		nofi_timer_disarm(chan->loop, &chan->hedger->timer);
}

void nofi_hedge_free(struct nof_chan *chan)
{
	free(chan->hedger);
	chan->hedger = NULL;
}

/* ---- the spare queue ---- */

static struct nofi_cpath *of_spare(struct nofi_ioq_user *u)
{
	return (struct nofi_cpath *)((char *)u - offsetof(struct nofi_cpath, spare));
}

static void spare_ready(struct nofi_ioq_user *u, const struct nofi_err *err)
{
	struct nofi_cpath *cp = of_spare(u);

	if (!err) {
		cp->spare_q = u->ioq->q;
		return;
	}
	nofi_log(cp->chan->loop, NOF_LOG_WARN, "hedge: no second queue, no hedged reads in this "
		 "association: %s", err->text);
	nofi_hedge_put(cp);
}

/* Its commands have completed; the end of the association follows. */
static void spare_dead(struct nofi_ioq_user *u, const struct nofi_err *err)
{
	(void)err;
	nofi_hedge_put(of_spare(u));
}

void nofi_hedge_put(struct nofi_cpath *cp)
{
	cp->spare_q = NULL;
	nofi_ctrl_queue_put(&cp->spare);
}

bool nofi_hedge_is_shared(const struct nofi_cpath *cp)
{
	const struct nofi_ioq_user *u = &cp->spare;

	return u->ioq && (u->ioq->users != u || u->next);
}

void nofi_hedge_ask(struct nofi_cpath *cp)
{
	struct nof_chan *chan = cp->chan;
	int32_t us = nofi_ctrl_opts(cp->path->ctrl)->hedge_us;
	struct nofi_err err;
	int r;

	if (us < 0)
		return;
	if (!chan->hedger)
		chan->hedger = hedger_new(chan, (uint32_t)us);
	if (!chan->hedger || cp->spare.ioq)
		return;
	cp->spare.ready = spare_ready;
	cp->spare.dead = spare_dead;
	cp->spare.other_than = cp->user.ioq;
	r = nofi_ctrl_queue_get(cp->path->ctrl, chan->loop, &cp->spare, &err);
	if (r == -ENOSPC)
		nofi_log(chan->loop, NOF_LOG_WARN, "hedge: the controller has no second queue for "
			 "this channel, so no read is hedged; raise nr_io_queues, or the target's "
			 "limit");
	else if (r < 0)
		nofi_log(chan->loop, NOF_LOG_WARN, "hedge: no second queue, no hedged reads in "
			 "this association: %s", err.text);
	else if (cp->spare.ioq->generation != cp->user.ioq->generation)
		nofi_hedge_put(cp);	/* of the next association, in which it asks again */
}

static bool is_spare(const struct nofi_piece *p)
{
	return p->queue == p->path->spare_q;
}

struct nofi_queue *nofi_hedge_route(const struct nofi_cpath *cp)
{
	if (cp->overdue[0] && !cp->overdue[1] && cp->spare_q &&
	    nofi_queue_is_ready(cp->spare_q) && nofi_queue_room(cp->spare_q))
		return cp->spare_q;
	return cp->q;
}

/* ---- what is watched ---- */

static void unwatch(struct nofi_hedger *g, struct nofi_piece *p)
{
	if (!p->is_watched)
		return;
	p->is_watched = false;
	*(p->watch_prev ? &p->watch_prev->watch_next : &g->head) = p->watch_next;
	*(p->watch_next ? &p->watch_next->watch_prev : &g->tail) = p->watch_prev;
}

static void arm(struct nofi_hedger *g)
{
	if (!g->head || g->timer.pos)
		return;
	/* Without memory for a timer reads are not hedged, which nobody was promised. */
	(void)nofi_timer_arm(g->chan->loop, &g->timer, g->head->sent_ns +
			     nofi_hedge_delay(g->fixed_us, &g->latency));
}

void nofi_hedge_sent(struct nofi_piece *p)
{
	struct nofi_hedger *g = p->io->chan->hedger;

	p->hedge = NULL;
	p->is_overdue = false;
	p->was_spare = is_spare(p);
	if (p->rw.opcode != NOFI_OP_READ || p->is_raw || p->mate ||
	    p->rw.length > NOFI_HEDGE_BYTES || !p->path->spare_q)
		return;
	p->is_watched = true;
	p->watch_next = NULL;
	p->watch_prev = g->tail;
	*(g->tail ? &g->tail->watch_next : &g->head) = p;
	g->tail = p;
	arm(g);
}

/* ---- the second ---- */

static void put(struct nofi_hedge *h)
{
	struct nof_chan *chan = h->chan;
	struct nofi_hedger *g = chan->hedger;

	if (h->is_first_out || h->is_second_out)
		return;
	h->next = g->free;
	g->free = h;
	g->busy--;
	if (chan->is_closing && !chan->inflight && !g->busy)
		nofi_chan_drained(chan);
}

/* A command of the record's that is no request's any more ended, or the second. */
static void count_end(struct nofi_cpath *cp)
{
	nofi_count(cp->way.inflight, -1u);
	if (cp->is_removed && !cp->way.inflight)
		nofi_chan_kick(cp->chan);
}

static void stray_ended(void *arg, const struct nofi_cpl *cpl)
{
	struct nofi_hedge *h = arg;

	(void)cpl;
	h->is_first_out = false;
	h->cp->overdue[h->is_first_spare]--;
	count_end(h->cp);
	put(h);
}

/* To the caller's buffers, which are as long. */
static void copy_out(const struct nofi_piece *p, const uint8_t *from)
{
	const struct iovec *iov = p->rw.iov;
	size_t off = p->rw.iov_skip, left = p->rw.length;

	/* The later part of a piece that was cut again begins in a later one. */
	for (; left && off >= iov->iov_len; iov++)
		off -= iov->iov_len;
	while (left) {
		size_t n = iov->iov_len - off < left ? iov->iov_len - off : left;

		if (n)
			memcpy((uint8_t *)iov->iov_base + off, from, n);
		from += n;
		left -= n;
		iov++;
		off = 0;
	}
}

static void second_ended(void *arg, const struct nofi_cpl *cpl)
{
	struct nofi_hedge *h = arg;
	struct nofi_piece *p = h->piece;
	struct nofi_cpath *cp = h->cp;

	h->is_second_out = false;
	h->piece = NULL;
	count_end(cp);
	if (p)
		p->hedge = NULL;
	/* A failure of the second is none of the read: the first is still on its way. */
	if (!p || cpl->error || cpl->status ||
	    !nofi_queue_redirect(p->queue, p, &h->chan->hedger->trash, stray_ended, h)) {
		put(h);
		return;
	}
	/* From here on the first is the record's. */
	h->is_first_out = true;
	h->is_first_spare = p->was_spare;
	nofi_count(cp->way.inflight, 1);
	p->is_overdue = false;
	nofi_count(cp->stats.hedge_wins, 1);
	copy_out(p, h->iov.iov_base);
	p->io->qid = h->qid;
	nofi_piece_ended(p, cpl);
}

static void send_second(struct nofi_hedger *g, struct nofi_piece *p)
{
	struct nofi_cpath *cp = p->path;
	struct nofi_queue *q = p->was_spare ? cp->q : cp->spare_q;
	struct nofi_hedge *h = g->free;
	struct nofi_cmd_desc d;

	if (!h || !q || q == p->queue || cp->is_dying || g->chan->is_closing ||
	    !nofi_queue_is_ready(q) || !nofi_queue_room(q) || !nofi_hedge_budget_take(&g->budget) ||
	    nofi_queue_take(q, 0, &d) < 0)
		return;
	g->free = h->next;
	g->busy++;
	h->piece = p;
	h->cp = cp;
	h->is_second_out = true;
	h->qid = nofi_queue_qid(q);
	h->iov.iov_len = p->rw.length;
	p->hedge = h;
	d.sqe[0] = p->rw.opcode;
	nofi_put32(d.sqe + SQE_NSID, cp->id.nsid);
	for (unsigned i = 0; i < 3; i++)
		nofi_put32(d.sqe + SQE_CDW10 + 4 * i, p->rw.cdw[i]);
	d.iov = &h->iov;
	d.length = p->rw.length;
	d.dir = NOFI_DIR_READ;
	d.done = second_ended;
	d.arg = h;
	nofi_count(cp->way.inflight, 1);
	nofi_count(cp->stats.hedges, 1);
	nofi_queue_send(q, &d);
}

static void timer_due(struct nofi_timer *t)
{
	struct nofi_hedger *g = (void *)((char *)t - offsetof(struct nofi_hedger, timer));
	uint64_t now = nofi_loop_now(g->chan->loop);
	uint64_t delay = nofi_hedge_delay(g->fixed_us, &g->latency);
	struct nofi_piece *p;

	while ((p = g->head) && p->sent_ns + delay <= now) {
		unwatch(g, p);
		p->is_overdue = true;
		p->path->overdue[p->was_spare]++;
		send_second(g, p);
	}
	arm(g);
}

void nofi_hedge_ended(struct nofi_piece *p, const struct nofi_cpl *cpl)
{
	struct nofi_hedger *g = p->io->chan->hedger;

	if (p->rw.opcode == NOFI_OP_READ && !cpl->error && !cpl->status &&
	    p->rw.length <= NOFI_HEDGE_BYTES) {
		nofi_quantile_add(&g->latency, nofi_loop_now(g->chan->loop) - p->sent_ns);
		nofi_hedge_budget_read(&g->budget);
	}
	unwatch(g, p);
	if (p->is_overdue)
		p->path->overdue[p->was_spare]--;
	p->is_overdue = false;
	/* The second is a stray now. */
	if (p->hedge)
		p->hedge->piece = NULL;
	p->hedge = NULL;
}
