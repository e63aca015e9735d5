/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ways of a channel: an I/O queue per path, on the channel's loop. Paths change on
 * the loops of their controllers; here arrives that they did, and what they are now is
 * copied. On the I/O path only the copies are looked at, without a lock.
 *
 *	idle ─► opening ─► ready ─► dying ─► idle …
 *
 * A queue is asked for once per association; who got none is idle until the next.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chan.h"
#include "ctrl/numa.h"
#include "err.h"
#include "lines.h"

enum {
	FAILS_MAX = 5,			/* queues in a row that could not be connected */
	AGAIN_FIRST_MS = 100,		/* what this host was short of is asked for again */
};

static struct nofi_cpath *of_user(struct nofi_ioq_user *u)
{
	return (struct nofi_cpath *)((char *)u - offsetof(struct nofi_cpath, user));
}

static void on_room(struct nofi_waiter *w)
{
	struct nofi_cpath *cp = (void *)((char *)w - offsetof(struct nofi_cpath, waiter));

	nofi_io_pump(cp->chan);
}

/* ---- which ways ---- */

/* It can be waited for: whatever keeps it has an end. */
static bool may_return(const struct nofi_cpath *cp)
{
	if (cp->is_removed || cp->is_final)
		return false;
	switch (cp->state) {
	case NOFI_PATH_CHECKING:
	case NOFI_PATH_DOWN:
		return true;
	case NOFI_PATH_UP:
		return cp->way.ana != NOF_ANA_PERSISTENT_LOSS;
	case NOFI_PATH_REFUSED:
	case NOFI_PATH_GONE:
		return false;
	}
	return false;
}

static int32_t loss_tmo(const struct nofi_cpath *cp)
{
	return nofi_ctrl_opts(cp->path->ctrl)->ctrl_loss_tmo_ms;
}

/* How long requests wait without an active way; −1: for ever. */
static int64_t patience_ms(const struct nof_chan *chan)
{
	int64_t most = 0;

	for (uint32_t i = 0; i < chan->nways; i++) {
		const struct nofi_cpath *cp = nofi_cpath_of(chan->ways[i]);
		int32_t tmo = loss_tmo(cp);

		if (!may_return(cp))
			continue;
		if (tmo < 0)
			return -1;
		if (tmo > most)
			most = tmo;
	}
	return most;
}

bool nofi_chan_may_wait(const struct nof_chan *chan)
{
	return chan->is_accepting && patience_ms(chan);
}

static void say_why(struct nof_chan *chan)
{
	const struct nofi_cpath *best = NULL, *any = NULL;

	for (uint32_t i = 0; i < chan->nways; i++) {
		const struct nofi_cpath *cp = nofi_cpath_of(chan->ways[i]);

		if (cp->is_removed)
			continue;
		any = any ? any : cp;
		if (cp->err.code)
			best = cp;
	}
	if (best)
		chan->why = best->err;
	else if (!any)
		nofi_err_set(&chan->why, -ENOTCONN, "the namespace has no path any more");
	else
		nofi_err_set(&chan->why, -EHOSTUNREACH, "no controller can access the namespace "
			     "now: its ANA state is %s",
			     nof_ana_state_name((enum nof_ana_state)any->way.ana));
}

void nofi_chan_set_usual(struct nof_chan *chan)
{
	struct nofi_cpath *cp = chan->only;
	const struct nofi_ns_ident *id = &chan->id;
	uint64_t most;

	chan->usual[0] = chan->usual[1] = NULL;
	if (!cp || !chan->is_open || chan->is_closing || chan->hedger || !id->is_plain ||
	    cp->id.prinfo || cp->id.lba_shift != id->lba_shift)
		return;
	chan->usual_shift = id->lba_shift;
	chan->usual_mask = (1u << id->lba_shift) - 1;
	chan->usual_size = id->nblocks << id->lba_shift;
	most = (uint64_t)cp->id.max_blocks << id->lba_shift;
	most = most < UINT32_MAX ? most : UINT32_MAX & ~chan->usual_mask;
	chan->usual_most = (uint32_t)(most < chan->usual_size ? most : chan->usual_size);
	chan->usual[0] = cp;
	/* A zone is written in order. */
	if (!id->is_read_only && !id->zone_size)
		chan->usual[1] = cp;
}

void nofi_chan_reselect(struct nof_chan *chan)
{
	bool may = false, is_pinned = false;

	for (uint32_t i = 0; i < chan->nways; i++)
		is_pinned = is_pinned || chan->ways[i]->is_pinned;
	for (uint32_t i = 0; i < chan->nways; i++) {
		struct nofi_cpath *cp = nofi_cpath_of(chan->ways[i]);

		cp->way.is_usable = cp->q && !cp->is_dying && !cp->is_removed &&
				    cp->state == NOFI_PATH_UP && !cp->is_ana_stale;
		may = may || (may_return(cp) && (!is_pinned || cp->way.is_pinned));
	}
	chan->nactive = nofi_policy_select(chan->ways, chan->nways, chan->active);
	chan->only = chan->nactive == 1 ? nofi_cpath_of(chan->ways[chan->active[0]]) : NULL;
	if (chan->nactive) {
		chan->is_expired = false;
		nofi_timer_disarm(chan->loop, &chan->wait_timer);
	} else {
		say_why(chan);
		if (may && !chan->is_expired && (chan->is_open || chan->is_asked) &&
		    !chan->wait_timer.pos) {
			int64_t ms = patience_ms(chan);

			if (ms >= 0)
				nofi_timer_arm(chan->loop, &chan->wait_timer,
					       nofi_loop_now(chan->loop) +
					       (uint64_t)ms * 1000000);
		}
	}
	chan->is_accepting = chan->nactive || (may && !chan->is_expired);
	nofi_chan_set_usual(chan);
}

struct nofi_cpath *nofi_chan_other(struct nof_chan *chan, const struct nofi_cpath *cp)
{
	for (uint32_t i = 0; i < chan->nways; i++) {
		struct nofi_cpath *o = nofi_cpath_of(chan->ways[i]);

		if (o != cp && o->way.is_usable && nofi_ana_is_usable(o->way.ana))
			return o;
	}
	return NULL;
}

bool nofi_chan_has_live(const struct nof_chan *chan)
{
	for (uint32_t i = 0; i < chan->nways; i++)
		if (nofi_cpath_of(chan->ways[i])->state == NOFI_PATH_UP)
			return true;
	return false;
}

static uint32_t opening(const struct nof_chan *chan)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < chan->nways; i++)
		n += nofi_cpath_of(chan->ways[i])->is_opening;
	return n;
}

void nofi_chan_go_on(struct nof_chan *chan)
{
	nofi_chan_reselect(chan);
	if (chan->is_closing)
		return;
	if (!chan->is_open) {
		struct nofi_err err = chan->why;

		if (!chan->is_asked || opening(chan))
			return;
		if (!chan->is_accepting)
			nofi_chan_opened(chan, 0, &err);
		else if (chan->needs_look)
			nofi_chan_kick(chan);
		return;
	}
	if (!chan->is_accepting) {
		nofi_io_no_way(chan);
	} else if (chan->nactive) {
		chan->needs_pump = true;
		nofi_chan_kick(chan);
	}
}

/* ---- queues ---- */

void nofi_cpath_put(struct nofi_cpath *cp)
{
	struct nofi_queue *q = cp->q;

	if (q)
		nofi_queue_unwait(q, &cp->waiter);
	nofi_timer_disarm(cp->chan->loop, &cp->again);
	cp->is_opening = false;
	/* Completes what is in flight, if the queue was ours alone. */
	nofi_ctrl_queue_put(&cp->user);
	cp->q = NULL;
	cp->is_dying = false;
}

bool nofi_cpath_is_shared(const struct nofi_cpath *cp)
{
	const struct nofi_ioq_user *u = &cp->user;

	return u->ioq && (u->ioq->users != u || u->next);
}

void nofi_cpath_lost(struct nofi_cpath *cp, int code, const char *why)
{
	if (cp->is_dying)
		return;
	cp->is_dying = true;
	nofi_err_set(&cp->err, code, "%s", why);
	/* Ended by the user, or nothing will be done about it: it is not waited for. */
	cp->is_final = code == -ECANCELED || !loss_tmo(cp);
	nofi_chan_reselect(cp->chan);
}

void nofi_cpath_stale(struct nofi_cpath *cp)
{
	if (cp->is_ana_stale)
		return;
	cp->is_ana_stale = true;
	nofi_path_report_ana(cp->path);
	nofi_chan_reselect(cp->chan);
}

/*
 * Who opens a channel hears of it at once; when another path gives a queue, this one is asked
 * again.
 */
static void fail_opening(struct nofi_cpath *cp)
{
	cp->is_final = true;
	cp->gen = 0;
	cp->chan->needs_look = true;
}

/* The controller lives and gives no queue: once more from the start, but not for ever. */
static void queue_failed(struct nofi_cpath *cp)
{
	struct nof_chan *chan = cp->chan;

	if (!chan->is_open && !loss_tmo(cp)) {
		fail_opening(cp);
	} else if (cp->state != NOFI_PATH_UP || (!chan->is_open && opening(chan))) {
		/* It was lost since, which is why; or it may be that no other gives one, either. */
		cp->gen = 0;
		chan->needs_look = true;
	} else if (++cp->fails <= FAILS_MAX && !cp->is_final) {
		nofi_path_report_queue(cp->path, cp->gen, &cp->err);
	} else {
		cp->is_final = true;
	}
}

static void no_queue(struct nofi_cpath *cp, const struct nofi_err *err)
{
	struct nof_chan *chan = cp->chan;
	bool is_refused = cp->user.ioq->is_refused;

	cp->err = *err;
	nofi_cpath_put(cp);
	if (!chan->is_open && is_refused)
		fail_opening(cp);
	else
		queue_failed(cp);
	nofi_chan_go_on(chan);
}

/* The thread may move later: that it stays near its interface is what binding it is for. */
static uint8_t distance(const struct nofi_queue *q)
{
	struct nofi_sock_info info;
	int d = NOFI_NUMA_UNKNOWN;

	if (nofi_queue_get_info(q, &info) == 0 && info.subflow_count)
		d = nofi_numa_from_here((const struct sockaddr *)&info.subflows[0].local);
	return (uint8_t)(d == NOFI_NUMA_UNKNOWN ? 0 : d);
}

static void on_ready(struct nofi_ioq_user *u, const struct nofi_err *err)
{
	struct nofi_cpath *cp = of_user(u);
	struct nof_chan *chan = cp->chan;

	cp->is_opening = false;
	if (err) {
		struct nofi_err copy = *err;	/* it may live in what is put */

		no_queue(cp, &copy);
		return;
	}
	cp->q = u->ioq->q;
	cp->qid = nofi_queue_qid(cp->q);
	cp->is_dying = false;
	cp->fails = 0;
	cp->way.distance = distance(cp->q);
	__atomic_store_n(&cp->way.service_ns, 0, __ATOMIC_RELAXED);
	nofi_hedge_ask(cp);
	if (chan->is_open) {
		nofi_chan_go_on(chan);
		return;
	}
	nofi_chan_reselect(chan);
	if (chan->needs_look)
		nofi_chan_kick(chan);
	nofi_chan_opened(chan, cp->qid, NULL);
}

static void on_dead(struct nofi_ioq_user *u, const struct nofi_err *err)
{
	struct nofi_cpath *cp = of_user(u);
	struct nof_chan *chan = cp->chan;

	nofi_cpath_lost(cp, err->code, err->text);
	nofi_cpath_put(cp);
	nofi_chan_go_on(chan);
}

static void ask_queue(struct nofi_cpath *cp);

static void ask_again(struct nofi_timer *t)
{
	struct nofi_cpath *cp = (void *)((char *)t - offsetof(struct nofi_cpath, again));

	if (cp->state != NOFI_PATH_UP || cp->is_removed || cp->user.ioq)
		return;
	ask_queue(cp);
	nofi_chan_go_on(cp->chan);
}

/* What is missing is missing here: a new association would only want more of it. */
static bool is_shortage(int code)
{
	return code == -ENOMEM || code == -ENOBUFS || code == -EMFILE || code == -ENFILE;
}

static void ask_queue(struct nofi_cpath *cp)
{
	uint64_t wait_ms = (uint64_t)AGAIN_FIRST_MS << (cp->fails < FAILS_MAX ? cp->fails :
							FAILS_MAX);
	struct nof_loop *loop = cp->chan->loop;
	int r;

	cp->user.ready = on_ready;
	cp->user.dead = on_dead;
	cp->is_opening = true;
	r = nofi_ctrl_queue_get(cp->path->ctrl, loop, &cp->user, &cp->err);
	if (r == 0 && cp->user.ioq->generation == cp->association)
		return;
	cp->is_opening = false;
	if (r == 0) {
		/* C-4: of the next association, which is still to be looked at. It will be told. */
		nofi_ctrl_queue_put(&cp->user);
		return;
	}
	if (r == -ENOTCONN) {
		/* Not live: it will be told, unless that is the end. */
		cp->is_final = cp->is_final || !loss_tmo(cp);
		return;
	}
	cp->again.fn = ask_again;
	if (r == -ENOSPC)
		cp->is_final = true;	/* in use elsewhere: as long as this association */
	else if (!is_shortage(r))
		queue_failed(cp);
	else if (!cp->chan->is_open)
		fail_opening(cp);
	else if (++cp->fails > FAILS_MAX ||
		 nofi_timer_arm(loop, &cp->again, nofi_loop_now(loop) + wait_ms * 1000000) < 0)
		cp->is_final = true;
}

/* ---- looking ---- */

static struct nofi_cpath *find(struct nof_chan *chan, const struct nofi_path *p)
{
	for (uint32_t i = 0; i < chan->nways; i++)
		if (nofi_cpath_of(chan->ways[i])->path == p)
			return nofi_cpath_of(chan->ways[i]);
	return NULL;
}

/* ns->lock is held. */
static struct nofi_cpath *new_cpath(struct nof_chan *chan, struct nofi_path *p)
{
	struct nofi_cpath *cp;

	if (chan->nways == NOFI_PATHS_MAX)
		return NULL;
	cp = nofi_zalloc_lines(sizeof(*cp));
	if (!cp)
		return NULL;
	cp->chan = chan;
	cp->path = nofi_path_ref(p);
	cp->waiter.fn = on_room;
	cp->stats.way = &cp->way;
	cp->stats.next = p->stats;
	p->stats = &cp->stats;
	chan->ways[chan->nways++] = &cp->way;
	return cp;
}

/* ns->lock is held. */
static void copy(struct nofi_cpath *cp, const struct nofi_path *p, const struct nof_ns *ns)
{
	cp->state = p->state;
	cp->id = p->id;
	cp->way.ana = p->ana;
	cp->way.is_pinned = ns->pinned == p;
	cp->way.is_preferred = ns->preferred == p;
	cp->is_ana_stale = p->is_ana_stale;
	cp->hold_ns = p->hold_ns;
	memcpy(cp->crdt, p->crdt, sizeof(cp->crdt));
	cp->association = p->association;
	cp->depth = p->depth;
	cp->max_transfer = p->max_transfer;
	cp->max_retries = nofi_ctrl_opts(p->ctrl)->max_retries;
	cp->is_removed = false;
	if (p->err.code)
		cp->err = p->err;
	if (p->state == NOFI_PATH_UP && p->gen != cp->gen) {
		cp->gen = p->gen;
		cp->is_final = false;
		cp->wants_queue = true;
		cp->err.code = 0;
	}
	if (p->is_fast_failed || p->state == NOFI_PATH_GONE)
		cp->is_final = true;
	else if (p->state == NOFI_PATH_CHECKING)
		cp->is_final = false;
}

/*
 * Removed ones that still carry commands wait for them: the association lives on, so that no
 * hold would end what a closed queue leaves behind at the target (F-21).
 */
static uint32_t reap(struct nof_chan *chan)
{
	uint32_t n = 0;

	for (uint32_t i = chan->nways; i--;) {
		struct nofi_cpath *cp = nofi_cpath_of(chan->ways[i]);

		if (!cp->is_removed || cp->way.inflight)
			continue;
		nofi_cpath_put(cp);
		nofi_hedge_put(cp);
		chan->nways--;
		memmove(&chan->ways[i], &chan->ways[i + 1],
			(chan->nways - i) * sizeof(chan->ways[0]));
		nofi_path_stats_del(cp->path, &cp->stats);
		nofi_path_unref(cp->path);
		free(cp);
		n++;
	}
	nofi_chan_reselect(chan);
	return n;
}

void nofi_chan_reap_paths(struct nof_chan *chan)
{
	uint32_t n = reap(chan);

	/* Full, only those that went make room for others. */
	if (chan->needs_look && (n || chan->nways < NOFI_PATHS_MAX) && !chan->is_closing)
		nofi_chan_look(chan);
}

void nofi_chan_free_paths(struct nof_chan *chan)
{
	for (uint32_t i = 0; i < chan->nways; i++)
		nofi_cpath_of(chan->ways[i])->is_removed = true;
	reap(chan);
}

static uint32_t less(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* Limits of commands that are not cut when they are sent. */
static void narrow(struct nofi_ns_ident *id, const struct nofi_ns_ident *path)
{
	id->max_blocks = less(id->max_blocks, path->max_blocks);
	id->max_bytes = less(id->max_bytes, path->max_bytes);
	id->max_md_blocks = less(id->max_md_blocks, path->max_md_blocks);
	id->max_append_blocks = less(id->max_append_blocks, path->max_append_blocks);
	id->copy_range = less(id->copy_range, path->copy_range);
	id->copy_total = less(id->copy_total, path->copy_total);
	id->copy_ranges = less(id->copy_ranges, path->copy_ranges);
	id->atomic_pf = less(id->atomic_pf, path->atomic_pf);
	id->atomic_cmp = less(id->atomic_cmp, path->atomic_cmp);
}

static void take_paths(struct nof_chan *chan)
{
	struct nof_ns *ns = chan->ns;

	for (uint32_t i = 0; i < chan->nways; i++) {
		nofi_cpath_of(chan->ways[i])->is_removed = true;
		/* Nobody is to wait for it. */
		chan->ways[i]->is_pinned = chan->ways[i]->is_preferred = false;
	}
	chan->needs_look = false;
	pthread_mutex_lock(&ns->lock);
	chan->id = ns->id;
	chan->iopolicy = ns->iopolicy;
	for (struct nofi_path *p = ns->paths; p; p = p->next) {
		struct nofi_cpath *cp = find(chan, p);

		if (!cp)
			cp = new_cpath(chan, p);
		if (cp)
			copy(cp, p, ns);
		else
			chan->needs_look = true;
	}
	pthread_mutex_unlock(&ns->lock);
	/* What is made without knowing its way has to fit all of them. */
	for (uint32_t i = 0; i < chan->nways; i++)
		if (!nofi_cpath_of(chan->ways[i])->is_removed)
			narrow(&chan->id, &nofi_cpath_of(chan->ways[i])->id);
}

uint32_t nofi_chan_look(struct nof_chan *chan)
{
	bool has_removed = false;
	struct nofi_err ended;

	nofi_err_set(&ended, -ECONNRESET, "the controller has given the association up and has a "
		     "new one");
	take_paths(chan);
	nofi_chan_reselect(chan);
	for (uint32_t i = 0; i < chan->nways; i++) {
		struct nofi_cpath *cp = nofi_cpath_of(chan->ways[i]);

		has_removed = has_removed || cp->is_removed;
		if (cp->is_removed && !cp->way.inflight) {
			nofi_cpath_put(cp);
			nofi_hedge_put(cp);
		}
		if (!cp->wants_queue || cp->is_removed)
			continue;
		cp->wants_queue = false;
		/*
		 * Of the association before. That its end has not come here yet is no reason to
		 * call it canceled: what is on it is sent again like all that was lost.
		 */
		if (cp->q)
			nofi_queue_kill(cp->q, &ended);
		if (cp->spare_q)
			nofi_queue_kill(cp->spare_q, &ended);
		nofi_cpath_put(cp);
		nofi_hedge_put(cp);
		ask_queue(cp);
	}
	if (has_removed)
		nofi_chan_kick(chan);
	nofi_chan_go_on(chan);
	return opening(chan);
}
