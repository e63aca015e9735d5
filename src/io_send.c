/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way of the data, second part: a request is cut into pieces within the limits of
 * the way it takes, and each piece is one command. What becomes of them: io_done.c.
 */
#include <errno.h>
#include <string.h>

#include "chan.h"
#include "err.h"
#include "pdu/pi.h"
#include "pdu/wire.h"

/* SQE offsets and bits */
enum { SQE_FLAGS = 1, SQE_NSID = 4, SQE_CDW2 = 8, SQE_CDW3 = 12, SQE_CDW10 = 40 };
static const uint32_t DSM_AD = 1u << 2, PRACT = 1u << 29;

/* ---- pieces ---- */

static bool has_piece(const struct nof_io *io)
{
	return !io->is_first_used || io->chan->pieces;
}

struct nofi_piece *nofi_piece_get(struct nof_io *io)
{
	struct nof_chan *chan = io->chan;
	struct nofi_piece *p = &io->first;

	if (io->is_first_used) {
		p = chan->pieces;
		chan->pieces = p->next;
		if (!chan->pieces)
			nofi_chan_more_pieces(chan);
		p->io = io;
	}
	io->is_first_used = true;
	io->pieces++;
	p->tries = 0;
	p->more = 0;
	p->avoid = NULL;
	return p;
}

void nofi_piece_put(struct nofi_piece *p)
{
	struct nof_io *io = p->io;
	struct nof_chan *chan = io->chan;

	io->pieces--;
	if (p->is_raw) {
		p->is_raw = false;
		p->mate = NULL;
		p->fuse = 0;
		memset(p->cdw13, 0, sizeof(p->cdw13));
		p->nsid = p->cdw2 = p->cdw3 = 0;
	}
	if (p == &io->first) {
		io->is_first_used = false;
		return;
	}
	p->next = chan->pieces;
	chan->pieces = p;
}

/* ---- cutting ---- */

static void advance(struct nof_io *io, size_t n)
{
	while (n) {
		size_t room = io->iov->iov_len - io->iov_off;

		if (n < room) {
			io->iov_off += n;
			return;
		}
		n -= room;
		io->iov++;
		io->iov_off = 0;
	}
}

/* Of one command. */
static uint64_t max_blocks(uint8_t opcode, const struct nofi_ns_ident *lim)
{
	switch (opcode) {
	case NOFI_OP_WRITE_ZEROES:
		return lim->max_wz_blocks;
	case NOFI_OP_VERIFY:
		return lim->max_verify_blocks;
	case NOFI_OP_WRITE_UNCOR:
		return lim->max_wu_blocks;
	case NOFI_OP_DSM:
		return lim->max_dsm_blocks < lim->max_dsm_total ? lim->max_dsm_blocks :
		       lim->max_dsm_total;
	}
	return lim->max_blocks;
}

static inline bool is_rw(const struct nof_io *io)
{
	return io->opcode == NOFI_OP_READ || io->opcode == NOFI_OP_WRITE;
}

/* The largest next piece; a DSM is one range at a time, its data lies in the request. */
static uint32_t next_blocks(const struct nof_io *io, const struct nofi_ns_ident *lim)
{
	uint64_t max = is_rw(io) ? lim->max_blocks : max_blocks(io->opcode, lim);

	return (uint32_t)(io->left < max ? io->left : max);
}

/* The controller makes and checks protection information that is all of the metadata (C-2). */
static void cut_pi(const struct nofi_ns_ident *lim, struct nofi_piece *p, uint64_t slba)
{
	struct nofi_pi pi = { .type = lim->pi_type, .pif = lim->pif, .sts = lim->sts };

	if (p->rw.opcode == NOFI_OP_WRITE_UNCOR)
		return;
	p->is_raw = true;
	p->fuse = 0;
	p->nsid = 0;
	p->mate = NULL;
	/* Zeroes have nothing to be checked, and what is only checked nothing to be made of it. */
	p->rw.cdw[2] |= p->rw.opcode == NOFI_OP_WRITE_ZEROES ? lim->prinfo & PRACT :
		     p->rw.opcode == NOFI_OP_VERIFY ? lim->prinfo & ~PRACT : lim->prinfo;
	p->cdw13[0] = p->cdw13[2] = 0;
	/* The reference tag counts with the blocks. Of type 2 it could be anything: ours does. */
	nofi_pi_cdws(&pi, slba, &p->cdw2, &p->cdw3, &p->cdw13[1]);
}

static void cut_range(struct nof_io *io, struct nofi_piece *p, uint32_t blocks)
{
	memset(io->scratch, 0, 4);
	nofi_put32(io->scratch + 4, blocks);
	nofi_put64(io->scratch + 8, io->slba);
	p->one = (struct iovec){ io->scratch, 16 };
	p->rw.opcode = NOFI_OP_DSM;
	p->rw.iov = &p->one;
	p->rw.iov_skip = 0;
	p->rw.length = 16;
	p->rw.dir = NOFI_DIR_WRITE;
	p->rw.cdw[0] = 0;
	p->rw.cdw[1] = DSM_AD;
	p->rw.cdw[2] = 0;
}

static enum nofi_io_class class_of(uint8_t opcode, const struct nofi_ns_ident *lim)
{
	if (opcode == NOFI_OP_READ)
		return NOFI_IO_IDEMPOTENT;
	switch (opcode) {
	case NOFI_OP_WRITE:
	case NOFI_OP_WRITE_ZEROES:
	case NOFI_OP_WRITE_UNCOR:
		/* A zone that has been written is written behind that the second time. */
		return lim->zone_size ? NOFI_IO_ONCE : NOFI_IO_WRITE;
	case NOFI_OP_DSM:
		return NOFI_IO_WRITE;
	}
	return NOFI_IO_IDEMPOTENT;
}

/* A piece that is the next so many blocks of a request. */
static inline void fill_rw(const struct nof_io *io, const struct nofi_ns_ident *lim,
			   uint32_t blocks, struct nofi_piece *p)
{
	p->rw.opcode = io->opcode;
	p->rw.dir = !io->iov ? NOFI_DIR_NONE :
		    io->opcode == NOFI_OP_READ ? NOFI_DIR_READ : NOFI_DIR_WRITE;
	p->rw.cdw[0] = (uint32_t)io->slba;
	p->rw.cdw[1] = (uint32_t)(io->slba >> 32);
	p->rw.cdw[2] = (blocks - 1) | io->cdw12;
	p->rw.iov = io->iov;
	p->rw.iov_skip = io->iov_off;
	p->rw.length = io->iov ? blocks << lim->lba_shift : 0;
}

/* They are the piece's now. */
static inline void consume(struct nof_io *io, const struct nofi_piece *p, uint32_t blocks)
{
	io->slba += blocks;
	io->left -= blocks;
	if (io->left && p->rw.length && io->iov)
		advance(io, p->rw.length);
}

/* The next piece of a request, for a way with these limits. */
static void cut(struct nof_io *io, const struct nofi_ns_ident *lim, struct nofi_piece *p)
{
	uint32_t blocks;

	p->class = class_of(io->opcode, lim);
	if (io->opcode == NOFI_OP_FLUSH) {
		p->rw.opcode = io->opcode;
		p->rw.cdw[0] = p->rw.cdw[1] = p->rw.cdw[2] = 0;
		p->rw.length = 0;
		p->rw.dir = NOFI_DIR_NONE;
		io->left = 0;
		return;
	}
	blocks = next_blocks(io, lim);
	if (io->opcode == NOFI_OP_DSM) {
		cut_range(io, p, blocks);
	} else {
		fill_rw(io, lim, blocks, p);
		if (lim->prinfo)
			cut_pi(lim, p, io->slba);
	}
	consume(io, p, blocks);
}

static void set_blocks(struct nofi_piece *p, uint32_t blocks, uint8_t lba_shift)
{
	p->rw.cdw[2] = (p->rw.cdw[2] & ~0xffffu) | (blocks - 1);
	if (p->rw.length)
		p->rw.length = blocks << lba_shift;
}

static uint64_t slba_of(const struct nofi_piece *p)
{
	return p->rw.cdw[0] | (uint64_t)p->rw.cdw[1] << 32;
}

/* The first part of a piece that had to be cut again is done. False: the rest is not wanted. */
bool nofi_piece_next_part(struct nofi_piece *p, const struct nofi_ns_ident *id)
{
	uint64_t slba = slba_of(p) + (p->rw.cdw[2] & 0xffff) + 1;
	uint32_t more = p->more;

	if (p->io->chan->is_closing && !p->io->error)
		nofi_io_record(p->io, -ECANCELED, 0, "canceled: the channel was closed");
	if (p->io->error)
		return false;
	p->rw.cdw[0] = (uint32_t)slba;
	p->rw.cdw[1] = (uint32_t)(slba >> 32);
	p->rw.iov_skip += p->rw.length;
	p->more = 0;
	p->tries = 0;
	p->avoid = NULL;
	set_blocks(p, more, id->lba_shift);
	if (p->is_raw)
		cut_pi(id, p, slba);
	nofi_io_again(p, 0);
	return true;
}

/* ---- commands to be sent ---- */

static void fill_raw(const struct nofi_piece *p, uint8_t *sqe)
{
	sqe[SQE_FLAGS] = p->fuse;
	if (p->nsid)
		nofi_put32(sqe + SQE_NSID, p->nsid);
	nofi_put32(sqe + SQE_CDW2, p->cdw2);
	nofi_put32(sqe + SQE_CDW3, p->cdw3);
	for (unsigned i = 3; i < 6; i++)
		nofi_put32(sqe + SQE_CDW10 + 4 * i, p->cdw13[i - 3]);
}

/* d was taken from the path's queue. */
static inline void issue(struct nofi_cpath *cp, struct nofi_piece *p, struct nofi_cmd_desc *d)
{
	d->sqe[0] = p->rw.opcode;
	nofi_put32(d->sqe + SQE_NSID, cp->id.nsid);
	nofi_put32(d->sqe + SQE_CDW10, p->rw.cdw[0]);
	nofi_put32(d->sqe + SQE_CDW10 + 4, p->rw.cdw[1]);
	nofi_put32(d->sqe + SQE_CDW10 + 8, p->rw.cdw[2]);
	if (p->is_raw)
		fill_raw(p, d->sqe);
	d->iov = p->rw.iov;
	d->iov_skip = p->rw.iov_skip;
	d->length = p->rw.length;
	d->dir = (enum nofi_dir)p->rw.dir;
	d->done = nofi_piece_ended;
	d->arg = p;
	p->path = cp;
	p->queue = cp->q;
	p->tries++;
	p->io->qid = cp->qid;
	nofi_count(cp->way.inflight, 1);
	p->sent_ns = nofi_queue_send(cp->q, d);
	if (cp->chan->hedger)
		nofi_hedge_sent(p);
}

static struct nofi_cpath *pick_by_policy(struct nof_chan *chan, const struct nofi_cpath *avoid,
					 uint32_t slots)
{
	uint32_t full = 0;
	int i;

	for (i = 0; avoid && chan->nactive > 1 && (uint32_t)i < chan->nactive; i++)
		if (nofi_cpath_of(chan->ways[chan->active[i]]) == avoid)
			full = 1u << i;
	while ((i = nofi_policy_choose(chan->iopolicy, chan->ways, chan->active, chan->nactive,
				       full, &chan->turn)) >= 0) {
		struct nofi_cpath *cp = nofi_cpath_of(chan->ways[chan->active[i]]);

		if (nofi_queue_room(cp->q) >= slots)
			return cp;
		full |= 1u << i;
	}
	return NULL;
}

/*
 * A way that has room for so many commands now. avoid: rather not by this one, which may be
 * NULL. NULL: there is none now. Whether the only one has room for one, nofi_queue_take() says.
 */
static inline struct nofi_cpath *pick(struct nof_chan *chan, const struct nofi_cpath *avoid,
				      uint32_t slots)
{
	struct nofi_cpath *cp = chan->only;

	if (!cp)
		return chan->nactive ? pick_by_policy(chan, avoid, slots) : NULL;
	if (!avoid && slots == 1)
		return cp;
	/* Also one that would not have been chosen otherwise: the best one just failed. */
	if (cp == avoid && !cp->way.is_pinned) {
		struct nofi_cpath *other = nofi_chan_other(chan, avoid);

		cp = other && other->depth >= slots ? other : cp;
	}
	return nofi_queue_room(cp->q) >= slots ? cp : NULL;
}

/* Whether any of the ways that come into question, if there is one, ever has room for two. */
static bool can_pair(const struct nof_chan *chan)
{
	bool can = !chan->nactive;

	for (uint32_t i = 0; i < chan->nactive; i++)
		can = can || nofi_cpath_of(chan->ways[chan->active[i]])->depth >= 2;
	return can;
}

/*
 * A piece that was cut for another way may be too large for this one. Then it is done in
 * several commands, one after the other: that takes nothing which others might hold. What is
 * more than blocks cannot be cut.
 */
static int fit(const struct nofi_cpath *cp, struct nofi_piece *p)
{
	bool has_blocks = !p->io->is_raw && p->rw.opcode != NOFI_OP_FLUSH &&
			  p->rw.opcode != NOFI_OP_DSM;
	uint32_t blocks = (p->rw.cdw[2] & 0xffff) + 1;
	uint32_t max = (uint32_t)max_blocks(p->rw.opcode, &cp->id);

	if (!has_blocks)
		return p->rw.length > cp->max_transfer ? -EMSGSIZE : 0;
	if (blocks <= max)
		return 0;
	if (p->io->is_atomic)
		return -EMSGSIZE;
	p->more += blocks - max;
	set_blocks(p, max, cp->id.lba_shift);
	return 0;
}

/* d was taken from the path's queue; the second of two that must not be parted follows. */
static void issue_pair(struct nofi_cpath *cp, struct nofi_piece *p, struct nofi_cmd_desc *d)
{
	p->io->fused_left = p->mate ? 2 : 0;
	issue(cp, p, d);
	if (p->mate && nofi_queue_take(cp->q, 0, d) == 0)
		issue(cp, p->mate, d);
}

/* The head of the list again. */
static int send_again(struct nof_chan *chan, struct nofi_piece *p)
{
	struct nofi_cmd_desc d;
	struct nofi_cpath *cp;
	int r;

	if (p->mate && !can_pair(chan))
		return -EOPNOTSUPP;
	cp = pick(chan, p->avoid, p->mate ? 2 : 1);
	if (!cp)
		return -EAGAIN;
	r = fit(cp, p);
	if (r < 0)
		return r;
	if (nofi_queue_take(cp->q, 0, &d) < 0)
		return -EAGAIN;
	chan->again.head = p->next;
	if (!chan->again.head)
		chan->again.tail = &chan->again.head;
	issue_pair(cp, p, &d);
	return 0;
}

/* A command that was filled by its submitter, or two that must not be parted. */
static int send_raw(struct nof_io *io)
{
	struct nofi_piece *p = &io->first;
	struct nofi_cmd_desc d;
	struct nofi_cpath *cp;

	if (p->mate && !can_pair(io->chan))
		return -EOPNOTSUPP;
	cp = pick(io->chan, NULL, p->mate ? 2 : 1);
	if (!cp)
		return -EAGAIN;
	if (nofi_queue_take(cp->q, 0, &d) < 0)
		return -EAGAIN;
	io->left = 0;
	issue_pair(cp, p, &d);
	return 0;
}

/*
 * A read or a write, as most are: of the piece the queue makes the command by itself. It is filled
 * before it is known to be sent, and only taken when it was.
 */
static inline int send_rw(struct nof_io *io, struct nofi_cpath *cp)
{
	struct nofi_queue *q = io->chan->hedger && io->opcode == NOFI_OP_READ ?
			       nofi_hedge_route(cp) : cp->q;
	struct nofi_piece *p = io->is_first_used ? io->chan->pieces : &io->first;
	uint32_t blocks = next_blocks(io, &cp->id);
	uint64_t now;

	fill_rw(io, &cp->id, blocks, p);
	p->rw.nsid = cp->id.nsid;
	now = nofi_queue_rw(q, &p->rw);
	if (!now)
		return -EAGAIN;
	p = nofi_piece_get(io);
	p->class = class_of(io->opcode, &cp->id);
	p->path = cp;
	p->queue = q;
	p->tries = 1;
	p->sent_ns = now;
	io->qid = q == cp->q ? cp->qid : nofi_queue_qid(q);
	consume(io, p, blocks);
	nofi_count(cp->way.inflight, 1);
	if (io->chan->hedger)
		nofi_hedge_sent(p);
	return 0;
}

static inline int send_next(struct nof_io *io)
{
	struct nofi_cmd_desc d;
	struct nofi_cpath *cp;
	struct nofi_piece *p;

	if (io->is_raw)
		return send_raw(io);
	if (!has_piece(io)) {
		io->chan->is_short = true;
		return -EAGAIN;
	}
	cp = pick(io->chan, NULL, 1);
	if (!cp)
		return -EAGAIN;
	/* It waited for a way, and this one takes less than those that there were. */
	if (io->is_atomic && (io->left > cp->id.max_blocks || io->left > cp->id.atomic_pf))
		return -EMSGSIZE;
	if (is_rw(io) && !cp->id.prinfo)
		return send_rw(io, cp);
	if (nofi_queue_take(cp->q, 0, &d) < 0)
		return -EAGAIN;
	p = nofi_piece_get(io);
	cut(io, &cp->id, p);
	issue(cp, p, &d);
	return 0;
}

static inline int send_all(struct nof_io *io)
{
	int r = 0;

	while (io->left && r == 0) {
		if (io->is_serial && io->pieces)
			return -EAGAIN;
		r = send_next(io);
	}
	return r;
}

static void wait_room(struct nof_chan *chan)
{
	/* Also those that are not the best: pick() may want one. */
	for (uint32_t i = 0; i < chan->nways; i++) {
		struct nofi_cpath *cp = nofi_cpath_of(chan->ways[i]);

		if (cp->way.is_usable && nofi_ana_is_usable(cp->way.ana))
			nofi_queue_wait_room(cp->q, &cp->waiter);
	}
}

/* No way that is left takes it. */
static void give_up(struct nof_io *io, int code)
{
	nofi_io_cancel(io, code, code == -EOPNOTSUPP ?
		       "it takes two commands side by side, but a queue of the controller that is "
		       "left holds one; raise queue_size" :
		       "the controller that is left takes less data in a command than the one that "
		       "was lost");
}

static void pend(struct nof_io *io)
{
	struct nof_chan *chan = io->chan;

	io->is_pending = true;
	io->next = NULL;
	*chan->pend_tail = io;
	chan->pend_tail = &io->next;
	wait_room(chan);
}

/* False: no way takes any more now. */
static bool pump_again(struct nof_chan *chan)
{
	struct nofi_piece *p;
	int r;

	while ((p = chan->again.head)) {
		r = send_again(chan, p);
		if (r == -EAGAIN)
			return false;
		if (r < 0)
			give_up(p->io, r);
	}
	return true;
}

void nofi_io_pump(struct nof_chan *chan)
{
	struct nof_io *io, *next;
	int r;

	chan->is_short = false;
	chan->needs_pump = false;
	/* What was sent before goes first. */
	if (!pump_again(chan)) {
		wait_room(chan);
		return;
	}
	for (io = chan->pend_head; io; io = next) {
		next = io->next;
		r = send_all(io);
		if (r < 0 && r != -EAGAIN) {
			give_up(io, r);
			continue;
		}
		if (r < 0) {
			/* A DSM waits for its own command, others may pass it. */
			if (io->is_serial && io->pieces)
				continue;
			wait_room(chan);
			return;
		}
		nofi_io_unpend(io);
	}
}

/* ---- submission ---- */

static int too_many(const struct nof_chan *chan)
{
	return nofi_fail(-EAGAIN, "%u operations are open on this channel, its limit; wait for a "
			 "completion and try again", chan->limit);
}

static int not_connected(const struct nof_chan *chan)
{
	return nofi_fail(-ENOTCONN, "the channel's connection is lost: %s",
			 chan->why.text[0] && !chan->is_closing ? chan->why.text :
			 "the channel is closed");
}

int nofi_io_get(struct nof_chan *chan, const char *name, uint32_t flags, nof_done_fn *done,
		void *arg, struct nof_io **out)
{
	bool is_fail_fast = flags & NOF_IO_FAIL_FAST;
	struct nof_io *io;

	if (!chan || !done)
		return nofi_fail(-EINVAL, "%s: no channel or no callback was given", name);
	if (!chan->is_open || chan->is_closing || !chan->is_accepting ||
	    (!chan->nactive && (chan->is_fail_fast || is_fail_fast)))
		return not_connected(chan);
	io = chan->free;
	if (io)
		chan->free = io->next;
	else if (!(io = nofi_chan_fresh_io(chan)))
		return too_many(chan);
	chan->inflight++;
	chan->epoch_inflight[chan->is_epoch]++;
	io->is_epoch = chan->is_epoch;
	io->done = done;
	io->arg = arg;
	io->name = name;
	io->pieces = 0;
	io->cdw12 = 0;
	io->error = 0;
	io->status = 0;
	io->is_pending = io->is_first_used = io->is_serial = io->is_raw = false;
	io->is_atomic = io->is_unknown = io->is_usual = false;
	io->is_fail_fast = is_fail_fast;
	io->qid = 0;
	io->result = 0;
	*out = io;
	return 0;
}

void nofi_io_submit(struct nof_io *io)
{
	int r = -EAGAIN;

	/* Those that wait go first. */
	if (!io->chan->pend_head && !io->chan->again.head)
		r = send_all(io);
	if (r == -EAGAIN)
		pend(io);
	else if (r < 0)
		give_up(io, r);
}
