/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way of the data, back: a command that ended is done, or sent again by the rules of
 * ctrl/retry.c; with its last piece a request completes, once.
 */
#include <errno.h>
#include <stdio.h>

#include "chan.h"
#include "err.h"

enum { STATUS_CODE = 0x7ff, STATUS_FAILED_FUSED = 0x009 };

/* ---- completion ---- */

static const char *describe(const struct nof_io *io, char *buf, size_t len)
{
	uint32_t nsid = io->chan->id.nsid;
	int n;

	if (io->opcode == NOFI_OP_FLUSH || io->is_raw)
		n = snprintf(buf, len, "%s of namespace %u: ", io->name, nsid);
	else
		n = snprintf(buf, len, "%s of %llu bytes at offset %llu of namespace %u: ",
			     io->name, (unsigned long long)io->bytes,
			     (unsigned long long)io->offset, nsid);
	if (n < 0 || (size_t)n >= len)
		return buf;
	if (io->status)
		snprintf(buf + n, len - (size_t)n, "the controller answered %s (status %03xh%s)",
			 nof_status_string(io->status), io->status & STATUS_CODE,
			 io->status & NOF_STATUS_DNR ? ", do not retry" : "");
	else
		snprintf(buf + n, len - (size_t)n, "%s%s", io->detail, io->is_unknown ?
			 "; its outcome is unknown: the target may have executed it, or still do" :
			 "");
	return buf;
}

static inline void put(struct nof_io *io)
{
	struct nof_chan *chan = io->chan;

	io->next = chan->free;
	chan->free = io;
	chan->inflight--;
	if (!--chan->epoch_inflight[io->is_epoch] && chan->drains)
		nofi_io_epoch_over(chan);
}

void nofi_io_put(struct nof_io *io)
{
	put(io);
}

/* The request is free again before its owner hears of it. */
static inline void tell(struct nof_io *io, const struct nof_completion *c)
{
	struct nof_chan *chan = io->chan;
	nof_done_fn *done = io->done;
	void *arg = io->arg;

	put(io);
	nofi_loop_count_done(chan->loop);
	done(arg, c);
	if (NOFI_UNLIKELY(chan->is_closing) && !chan->inflight && !nofi_hedge_is_busy(chan))
		nofi_chan_drained(chan);
}

static void complete(struct nof_io *io)
{
	struct nof_completion c = { .error = io->error, .status = io->status,
				    .qid = io->qid, .result = io->result, .detail = "" };
	char text[640];

	if (io->error)
		c.detail = describe(io, text, sizeof(text));
	tell(io, &c);
}

void nofi_io_unpend(struct nof_io *io)
{
	struct nof_chan *chan = io->chan;
	struct nof_io **p;

	if (!io->is_pending)
		return;
	for (p = &chan->pend_head; *p != io; p = &(*p)->next)
		;
	*p = io->next;
	if (chan->pend_tail == &io->next)
		chan->pend_tail = p;
	io->is_pending = false;
}

/* Where detail lies may be gone before the last piece is over. */
static void keep_detail(struct nof_io *io)
{
	struct nof_chan *chan = io->chan;

	if (io->status || !io->error || io->detail == chan->why.text)
		return;
	nofi_err_set(&chan->why, io->error, "%s", io->detail);
	io->detail = chan->why.text;
}

void nofi_io_record(struct nof_io *io, int error, uint16_t status, const char *detail)
{
	/* The other command of a fused pair has the reason. */
	if (io->error && (io->status & STATUS_CODE) != STATUS_FAILED_FUSED)
		return;
	io->error = error;
	io->status = status;
	io->detail = detail;
	/* Filled, and not sent. */
	if (io->is_raw && io->left) {
		if (io->first.mate)
			nofi_piece_put(io->first.mate);
		nofi_piece_put(&io->first);
	}
	/* The rest need not be tried: the request has failed. */
	io->left = 0;
	nofi_io_unpend(io);
	if (io->pieces)
		nofi_io_unwait(io);
}

void nofi_io_end(struct nof_io *io, int code, uint16_t status, const char *why)
{
	nofi_io_record(io, code, status, why);
	if (io->pieces)
		keep_detail(io);
	else
		complete(io);
}

void nofi_io_cancel(struct nof_io *io, int code, const char *why)
{
	nofi_io_record(io, code, 0, why);
	keep_detail(io);
	if (!io->pieces)
		nofi_io_instant(io);
}

void nofi_io_instant(struct nof_io *io)
{
	struct nof_chan *chan = io->chan;

	io->next = NULL;
	*chan->instant_tail = io;
	chan->instant_tail = &io->next;
	chan->instants++;
	nofi_loop_defer(chan->loop, &chan->defer);
}

void nofi_io_run_instant(struct nof_chan *chan, bool all)
{
	struct nof_io *io;
	/* Those that callbacks add are for the next turn, so that this one ends. */
	uint32_t n = chan->instants;

	while ((all || n--) && (io = chan->instant_head)) {
		chan->instant_head = io->next;
		if (!io->next)
			chan->instant_tail = &chan->instant_head;
		chan->instants--;
		complete(io);
	}
}

/* ---- commands that ended ---- */

static struct nofi_retry_out decide(struct nofi_piece *p, const struct nofi_cpl *cpl)
{
	struct nof_io *io = p->io;
	struct nof_chan *chan = io->chan;
	struct nofi_cpath *cp = p->path;
	bool is_dead = !nofi_queue_is_ready(p->queue);
	struct nofi_retry_in in = {
		.status = cpl->status,
		.class = (enum nofi_io_class)p->class,
		.is_fail_fast = chan->is_fail_fast || io->is_fail_fast || chan->is_closing ||
				chan->is_broken || io->error,
		.sent = p->tries,
		.max_retries = cp->max_retries,
		.hold_ns = cp->hold_ns,
	};
	struct nofi_retry_out out;

	in.end = !cpl->error ? NOFI_END_STATUS : cpl->is_unsent ? NOFI_END_UNSENT :
		 is_dead ? NOFI_END_LOST : NOFI_END_DATA;
	if (is_dead)
		nofi_cpath_lost(cp, cpl->error ? cpl->error : -ECONNRESET, cpl->detail);
	if (cpl->is_unsent)
		p->tries--;
	if (in.end == NOFI_END_LOST && in.class != NOFI_IO_IDEMPOTENT)
		io->is_unknown = true;
	in.has_other = nofi_chan_other(chan, cp);
	memcpy(in.crdt, cp->crdt, sizeof(in.crdt));
	out = nofi_retry_decide(&in);
	if (out.is_ana)
		nofi_cpath_stale(cp);
	/* There is nothing to wait for. */
	if (!chan->is_accepting)
		out.what = NOFI_RETRY_COMPLETE;
	if (out.what == NOFI_RETRY_OTHER)
		p->avoid = cp;
	return out;
}

static void count_retry(const struct nofi_piece *p, enum nofi_retry what)
{
	nofi_count(p->path->stats.retries, 1);
	if (what == NOFI_RETRY_OTHER)
		nofi_count(p->path->stats.failovers, 1);
}

static void fail(struct nof_io *io, const struct nofi_cpl *cpl)
{
	if (cpl->error)
		nofi_io_record(io, cpl->error, 0, cpl->detail);
	else
		nofi_io_record(io, nof_status_errno(cpl->status), cpl->status, "");
}

/* The request may be over now. */
static void settle(struct nof_io *io)
{
	struct nof_chan *chan = io->chan;

	if (io->pieces) {
		keep_detail(io);
	} else if (!io->left) {
		complete(io);
	} else if (io->is_serial) {
		nofi_io_pump(chan);
		return;
	}
	if (chan->is_short)
		nofi_io_pump(chan);
}

/* Both are sent again, or none: what becomes of the pair is decided when both have ended. */
static void fused_ended(struct nofi_piece *p, const struct nofi_cpl *cpl)
{
	struct nof_io *io = p->io;
	struct nofi_piece *a = &io->first, *b = a->mate, *k[] = { a, b };
	struct nofi_retry_out out = { NOFI_RETRY_COMPLETE, 0, false };
	bool is_bad = cpl->error || cpl->status;

	p->verdict = (struct nofi_verdict){ NOFI_RETRY_COMPLETE, 0 };
	if (is_bad && (cpl->status & STATUS_CODE) != STATUS_FAILED_FUSED)
		out = decide(p, cpl);
	p->verdict.what = out.what;
	p->verdict.wait_ns = out.wait_ns;
	if (is_bad && out.what == NOFI_RETRY_COMPLETE) {
		fail(io, cpl);
		keep_detail(io);
	}
	if (--io->fused_left)
		return;
	out.what = a->verdict.what > b->verdict.what ? a->verdict.what : b->verdict.what;
	/* The second was only aborted because of the first: that is no failure of its own. */
	if (out.what != NOFI_RETRY_COMPLETE &&
	    (!io->error || (io->status & STATUS_CODE) == STATUS_FAILED_FUSED)) {
		io->error = io->status = 0;
		count_retry(p, out.what);
		nofi_io_again(a, a->verdict.wait_ns > b->verdict.wait_ns ? a->verdict.wait_ns :
			      b->verdict.wait_ns);
		return;
	}
	if (!io->error && out.what != NOFI_RETRY_COMPLETE)
		nofi_io_record(io, -EIO, 0, "one of two fused commands failed");
	for (int i = 1; i >= 0; i--)
		nofi_piece_put(k[i]);
	settle(io);
}

void nofi_io_spell_out(struct nof_io *io)
{
	const struct nofi_piece *p = &io->first;
	uint8_t shift = io->chan->id.lba_shift;

	if (!io->is_usual)
		return;
	io->is_usual = false;
	io->name = nofi_io_name((enum nofi_opcode)io->opcode);
	io->left = 0;
	io->cdw12 = 0;
	io->iov = p->rw.iov;
	io->iov_off = 0;
	io->offset = (p->rw.cdw[0] | (uint64_t)p->rw.cdw[1] << 32) << shift;
	io->bytes = p->rw.length;
	io->slba = (io->offset + io->bytes) >> shift;
}

NOFI_COLD static void ended_badly(struct nofi_piece *p, const struct nofi_cpl *cpl)
{
	struct nofi_retry_out out;

	nofi_io_spell_out(p->io);
	nofi_count(p->path->stats.errors, 1);
	if (p->io->first.mate) {
		fused_ended(p, cpl);
		return;
	}
	out = decide(p, cpl);
	if (out.what != NOFI_RETRY_COMPLETE) {
		count_retry(p, out.what);
		nofi_io_again(p, out.wait_ns);
		return;
	}
	fail(p->io, cpl);
	nofi_piece_put(p);
	settle(p->io);
}

static inline void count_end(struct nofi_piece *p, struct nofi_cpath *cp, uint64_t now)
{
	nofi_count(cp->way.inflight, -1u);
	nofi_count(cp->stats.commands, 1);
	nofi_count(cp->stats.bytes, p->rw.length);
	__atomic_store_n(&cp->way.service_ns,
			 nofi_policy_average(cp->way.service_ns, now - p->sent_ns),
			 __ATOMIC_RELAXED);
}

/* Any other end than that of a usual request on a usual channel. */
__attribute__((noinline))
static void ended(struct nofi_piece *p, const struct nofi_cpl *cpl)
{
	struct nof_io *io = p->io;
	struct nof_chan *chan = io->chan;
	struct nofi_cpath *cp = p->path;

	if (chan->hedger)
		nofi_hedge_ended(p, cpl);
	if (cp->is_removed && cp->way.inflight == 1)
		nofi_chan_kick(chan);	/* it may go then */
	if (cpl->error || cpl->status) {
		nofi_count(cp->way.inflight, -1u);
		nofi_count(cp->stats.commands, 1);
		io->result = cpl->result;
		ended_badly(p, cpl);
		return;
	}
	nofi_io_spell_out(io);
	io->result = cpl->result;
	count_end(p, cp, nofi_loop_now(chan->loop));
	if (p->fuse) {
		fused_ended(p, cpl);
		return;
	}
	if (p->more && nofi_piece_next_part(p, &cp->id))
		return;
	nofi_piece_put(p);
	if (!io->pieces && !io->left && !chan->is_short)
		complete(io);
	else
		settle(io);
}

void nofi_piece_ended(void *arg, const struct nofi_cpl *cpl)
{
	struct nofi_piece *p = arg;
	struct nof_io *io = p->io;
	struct nofi_cpath *cp = p->path;
	struct nof_chan *chan = cp->chan;

	/* chan->usual: it is not being closed, the way goes on, nothing is hedged. */
	if (NOFI_UNLIKELY(!io->is_usual || cpl->error || cpl->status || chan->usual[0] != cp ||
			  chan->is_short)) {
		ended(p, cpl);
		return;
	}
	count_end(p, cp, nofi_loop_now(chan->loop));
	tell(io, &(struct nof_completion){ .qid = io->qid, .result = cpl->result, .detail = "" });
}
