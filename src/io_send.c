/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way of the data, second part: a request is cut into pieces within the limits of
 * the way it takes, each piece is one command, and when the last is over the request
 * completes, once.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "chan.h"
#include "err.h"
#include "pdu/pi.h"
#include "pdu/wire.h"

/* SQE offsets and bits */
enum { SQE_FLAGS = 1, SQE_NSID = 4, SQE_CDW2 = 8, SQE_CDW3 = 12, SQE_CDW10 = 40 };
enum { FUSE_FIRST = 1, FUSE_SECOND = 2 };
static const uint32_t DSM_AD = 1u << 2, PRACT = 1u << 29;

enum { STATUS_CODE = 0x7ff, STATUS_FAILED_FUSED = 0x009 };

/* ---- pieces ---- */

static bool has_piece(const struct nof_io *io)
{
	return !io->is_first_used || io->chan->pieces;
}

static struct nofi_piece *piece_get(struct nof_io *io)
{
	struct nof_chan *chan = io->chan;
	struct nofi_piece *p = &io->first;

	if (io->is_first_used) {
		p = chan->pieces;
		chan->pieces = p->next;
		chan->npieces--;
		p->io = io;
	}
	io->is_first_used = true;
	io->pieces++;
	return p;
}

static void piece_put(struct nofi_piece *p)
{
	struct nof_io *io = p->io;
	struct nof_chan *chan = io->chan;

	io->pieces--;
	if (p->is_raw) {
		p->is_raw = false;
		p->mate = NULL;
		p->fuse = 0;
		memset(p->cdw, 0, sizeof(p->cdw));
		p->nsid = p->cdw2 = p->cdw3 = 0;
	}
	if (p == &io->first) {
		io->is_first_used = false;
		return;
	}
	p->next = chan->pieces;
	chan->pieces = p;
	chan->npieces++;
}

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
		snprintf(buf + n, len - (size_t)n, "%s", io->detail);
	return buf;
}

void nofi_io_put(struct nof_io *io)
{
	struct nof_chan *chan = io->chan;

	io->next = chan->free;
	chan->free = io;
	chan->inflight--;
}

static void complete(struct nof_io *io)
{
	struct nof_chan *chan = io->chan;
	struct nof_completion c = { .error = io->error, .status = io->status,
				    .qid = chan->path.qid, .result = io->result, .detail = "" };
	nof_done_fn *done = io->done;
	void *arg = io->arg;
	char text[640];

	if (io->error)
		c.detail = describe(io, text, sizeof(text));
	nofi_io_put(io);
	nofi_loop_count_done(chan->loop);
	done(arg, &c);
	if (chan->is_closing && !chan->inflight)
		nofi_chan_drained(chan);
}

static void unpend(struct nof_io *io)
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

static void record(struct nof_io *io, int error, uint16_t status, const char *detail)
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
			piece_put(io->first.mate);
		piece_put(&io->first);
	}
	/* The rest need not be tried: the request has failed. */
	io->left = 0;
	unpend(io);
}

/* Where detail lies may be gone before the last piece is over. */
static void keep_detail(struct nof_io *io)
{
	struct nof_chan *chan = io->chan;

	if (!io->pieces || io->status || io->detail == chan->why.text)
		return;
	nofi_err_set(&chan->why, io->error, "%s", io->detail);
	io->detail = chan->why.text;
}

void nofi_io_fail_pending(struct nof_chan *chan, int code, const char *why)
{
	struct nof_io *io;

	while ((io = chan->pend_head)) {
		record(io, code, 0, why);
		if (io->pieces)
			keep_detail(io);
		else
			complete(io);
	}
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

/* The largest next piece; a DSM is one range at a time, its data lies in the request. */
static uint32_t next_blocks(const struct nof_io *io, const struct nofi_ns_ident *lim)
{
	uint64_t max = lim->max_blocks;

	switch (io->opcode) {
	case NOFI_OP_WRITE_ZEROES:
		max = lim->max_wz_blocks;
		break;
	case NOFI_OP_VERIFY:
		max = lim->max_verify_blocks;
		break;
	case NOFI_OP_WRITE_UNCOR:
		max = lim->max_wu_blocks;
		break;
	case NOFI_OP_DSM:
		max = lim->max_dsm_blocks < lim->max_dsm_total ? lim->max_dsm_blocks :
		      lim->max_dsm_total;
		break;
	}
	return (uint32_t)(io->left < max ? io->left : max);
}

/* The controller makes and checks protection information that is all of the metadata (C-2). */
static void cut_pi(const struct nof_io *io, const struct nofi_ns_ident *lim, struct nofi_piece *p)
{
	struct nofi_pi pi = { .type = lim->pi_type, .pif = lim->pif, .sts = lim->sts };

	if (io->opcode == NOFI_OP_WRITE_UNCOR)
		return;
	p->is_raw = true;
	p->fuse = 0;
	p->nsid = 0;
	p->mate = NULL;
	/* Zeroes have nothing to be checked, and what is only checked nothing to be made of it. */
	p->cdw[2] |= io->opcode == NOFI_OP_WRITE_ZEROES ? lim->prinfo & PRACT :
		     io->opcode == NOFI_OP_VERIFY ? lim->prinfo & ~PRACT : lim->prinfo;
	p->cdw[3] = p->cdw[5] = 0;
	/* The reference tag counts with the blocks. Of type 2 it could be anything: ours does. */
	nofi_pi_cdws(&pi, io->slba, &p->cdw2, &p->cdw3, &p->cdw[4]);
}

static void cut_range(struct nof_io *io, struct nofi_piece *p, uint32_t blocks)
{
	memset(io->scratch, 0, 4);
	nofi_put32(io->scratch + 4, blocks);
	nofi_put64(io->scratch + 8, io->slba);
	io->one = (struct iovec){ io->scratch, 16 };
	p->iov = &io->one;
	p->iov_off = 0;
	p->length = 16;
	p->dir = NOFI_DIR_WRITE;
	p->cdw[0] = 0;
	p->cdw[1] = DSM_AD;
	p->cdw[2] = 0;
}

/* The next piece of a request, for a way with these limits. */
static void cut(struct nof_io *io, const struct nofi_ns_ident *lim, struct nofi_piece *p)
{
	uint32_t blocks;

	p->opcode = io->opcode;
	if (io->opcode == NOFI_OP_FLUSH) {
		p->cdw[0] = p->cdw[1] = p->cdw[2] = 0;
		p->length = 0;
		p->dir = NOFI_DIR_NONE;
		io->left = 0;
		return;
	}
	blocks = next_blocks(io, lim);
	if (io->opcode == NOFI_OP_DSM) {
		cut_range(io, p, blocks);
	} else {
		p->cdw[0] = (uint32_t)io->slba;
		p->cdw[1] = (uint32_t)(io->slba >> 32);
		p->cdw[2] = (blocks - 1) | io->cdw12;
		if (!io->iov) {
			p->length = 0;
			p->dir = NOFI_DIR_NONE;
		} else {
			p->iov = io->iov;
			p->iov_off = io->iov_off;
			p->length = blocks << lim->lba_shift;
			p->dir = io->opcode == NOFI_OP_READ ? NOFI_DIR_READ : NOFI_DIR_WRITE;
		}
		if (lim->prinfo)
			cut_pi(io, lim, p);
	}
	io->slba += blocks;
	io->left -= blocks;
	if (io->left && p->length && io->iov)
		advance(io, p->length);
}

/* ---- commands ---- */

static void failed(struct nof_io *io, const struct nofi_cpl *cpl)
{
	if (cpl->error)
		record(io, cpl->error, 0, cpl->detail);
	else
		record(io, nof_status_errno(cpl->status), cpl->status, "");
}

static void on_command(void *arg, const struct nofi_cpl *cpl)
{
	struct nofi_piece *p = arg;
	struct nof_io *io = p->io;
	struct nof_chan *chan = io->chan;

	p->path->inflight--;
	io->result = cpl->result;
	if (cpl->error || cpl->status)
		failed(io, cpl);
	piece_put(p);
	if (io->pieces) {
		if (io->error)
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

static void fill_raw(const struct nofi_piece *p, uint8_t *sqe)
{
	sqe[SQE_FLAGS] = p->fuse;
	if (p->nsid)
		nofi_put32(sqe + SQE_NSID, p->nsid);
	nofi_put32(sqe + SQE_CDW2, p->cdw2);
	nofi_put32(sqe + SQE_CDW3, p->cdw3);
	for (unsigned i = 3; i < 6; i++)
		nofi_put32(sqe + SQE_CDW10 + 4 * i, p->cdw[i]);
}

/* d was taken from the path's queue. */
static void issue(struct nofi_cpath *cp, struct nofi_piece *p, struct nofi_cmd_desc *d)
{
	d->sqe[0] = p->opcode;
	nofi_put32(d->sqe + SQE_NSID, cp->id.nsid);
	nofi_put32(d->sqe + SQE_CDW10, p->cdw[0]);
	nofi_put32(d->sqe + SQE_CDW10 + 4, p->cdw[1]);
	nofi_put32(d->sqe + SQE_CDW10 + 8, p->cdw[2]);
	if (p->is_raw)
		fill_raw(p, d->sqe);
	d->iov = p->iov;
	d->iov_skip = p->iov_off;
	d->length = p->length;
	d->dir = (enum nofi_dir)p->dir;
	d->done = on_command;
	d->arg = p;
	p->path = cp;
	cp->inflight++;
	nofi_queue_send(cp->q, d);
}

/* A command that was filled by its submitter, or two that must not be parted. */
static int send_raw(struct nof_io *io, struct nofi_cpath *cp)
{
	struct nofi_piece *p = &io->first;
	struct nofi_cmd_desc d;
	int r;

	if (p->mate && nofi_queue_is_ready(cp->q) && nofi_queue_room(cp->q) < 2)
		return -EAGAIN;
	for (; p; p = p->mate) {
		r = nofi_queue_take(cp->q, 0, &d);
		if (r < 0)
			return r;
		issue(cp, p, &d);
	}
	io->left = 0;
	return 0;
}

static int send_next(struct nof_io *io)
{
	struct nofi_cpath *cp = &io->chan->path;
	struct nofi_cmd_desc d;
	struct nofi_piece *p;
	int r;

	if (io->is_raw)
		return send_raw(io, cp);
	if (!has_piece(io)) {
		io->chan->is_short = true;
		return -EAGAIN;
	}
	r = nofi_queue_take(cp->q, 0, &d);
	if (r < 0)
		return r;
	p = piece_get(io);
	cut(io, &cp->id, p);
	issue(cp, p, &d);
	return 0;
}

static int send_all(struct nof_io *io)
{
	int r = 0;

	while (io->left && r == 0) {
		if (io->is_serial && io->pieces)
			return -EAGAIN;
		r = send_next(io);
	}
	return r;
}

static void pend(struct nof_io *io)
{
	struct nof_chan *chan = io->chan;

	io->is_pending = true;
	io->next = NULL;
	*chan->pend_tail = io;
	chan->pend_tail = &io->next;
	nofi_queue_wait_room(chan->path.q, &chan->path.waiter);
}

void nofi_io_pump(struct nof_chan *chan)
{
	struct nof_io *io, *next;

	chan->is_short = false;
	for (io = chan->pend_head; io; io = next) {
		next = io->next;
		if (send_all(io) < 0) {
			/* A DSM waits for its own command, others may pass it. */
			if (io->is_serial && io->pieces)
				continue;
			nofi_queue_wait_room(chan->path.q, &chan->path.waiter);
			return;
		}
		unpend(io);
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
	const struct nofi_err *err = chan->path.q ? nofi_queue_error(chan->path.q) : NULL;

	return nofi_fail(-ENOTCONN, "the channel's connection is lost: %s",
			 err && err->text[0] ? err->text : "the channel is closed");
}

int nofi_io_get(struct nof_chan *chan, const char *name, nof_done_fn *done, void *arg,
		struct nof_io **out)
{
	struct nof_io *io;

	if (!chan || !done)
		return nofi_fail(-EINVAL, "%s: no channel or no callback was given", name);
	if (!chan->is_open || chan->is_closing || !nofi_queue_is_ready(chan->path.q))
		return not_connected(chan);
	io = chan->free;
	if (!io)
		return too_many(chan);
	chan->free = io->next;
	chan->inflight++;
	io->done = done;
	io->arg = arg;
	io->name = name;
	io->pieces = 0;
	io->cdw12 = 0;
	io->error = 0;
	io->status = 0;
	io->is_pending = io->is_first_used = io->is_serial = io->is_raw = false;
	io->result = 0;
	*out = io;
	return 0;
}

void nofi_io_submit(struct nof_io *io)
{
	/* Those that wait for a slot go first. */
	if (io->chan->pend_head || send_all(io) < 0)
		pend(io);
}

/* used: bytes of the scratch that are taken already. */
static int fill_piece(struct nof_io *io, struct nofi_piece *p, const struct nofi_io_cmd *cmd,
		      struct iovec *one, uint32_t *used)
{
	if (cmd->length && cmd->scratch &&
	    (cmd->dir != NOFI_DIR_WRITE || cmd->length > NOFI_IO_SCRATCH - *used))
		return nofi_fail(-EINVAL, "%s: %u bytes do not fit into a request", cmd->name,
				 cmd->length);
	if (cmd->length && !cmd->scratch && !cmd->iov && !cmd->buf)
		return nofi_fail(-EINVAL, "%s: the buffer is NULL", cmd->name);
	p->io = io;
	p->is_raw = true;
	p->opcode = cmd->opcode;
	p->fuse = 0;
	p->mate = NULL;
	p->nsid = cmd->nsid;
	p->cdw2 = cmd->cdw2;
	p->cdw3 = cmd->cdw3;
	memcpy(p->cdw, cmd->cdw, sizeof(p->cdw));
	p->length = cmd->length;
	p->dir = (uint8_t)(cmd->length ? cmd->dir : NOFI_DIR_NONE);
	p->iov = cmd->iov;
	p->iov_off = 0;
	if (cmd->scratch || !cmd->iov) {
		*one = (struct iovec){ cmd->buf, cmd->length };
		p->iov = one;
	}
	if (cmd->length && cmd->scratch) {
		one->iov_base = io->scratch + *used;
		memcpy(one->iov_base, cmd->scratch, cmd->length);
		*used += cmd->length;
	}
	return 0;
}

static void submit_raw(struct nof_io *io)
{
	io->is_raw = true;
	io->opcode = io->first.opcode;
	io->left = 1;
	nofi_io_submit(io);
}

int nofi_io_submit_cmd(struct nof_chan *chan, const struct nofi_io_cmd *cmd, uint32_t flags,
		       nof_done_fn *done, void *arg)
{
	uint32_t used = 0;
	struct nof_io *io;
	int r;

	r = nofi_io_get(chan, cmd->name, done, arg, &io);
	if (r < 0)
		return r;
	r = fill_piece(io, piece_get(io), cmd, &io->one, &used);
	if (r < 0) {
		piece_put(&io->first);
		nofi_io_put(io);
		return r;
	}
	submit_raw(io);
	return 0;
}

int nofi_io_submit_fused(struct nof_chan *chan, const struct nofi_io_cmd *first,
			 const struct nofi_io_cmd *second, uint32_t flags, nof_done_fn *done,
			 void *arg)
{
	struct nofi_piece *mate;
	uint32_t used = 0;
	struct nof_io *io;
	int r;

	r = nofi_io_get(chan, first->name, done, arg, &io);
	if (r < 0)
		return r;
	if (chan->npool < 2) {
		nofi_io_put(io);
		return nofi_fail(-EOPNOTSUPP, "%s: it takes two commands side by side, but a queue "
				 "of this controller holds one; raise queue_size", first->name);
	}
	if (!chan->pieces) {
		nofi_io_put(io);
		return nofi_fail(-EAGAIN, "%s: all commands of this channel are in use; wait for "
				 "a completion and try again", first->name);
	}
	r = fill_piece(io, piece_get(io), first, &io->one, &used);
	mate = piece_get(io);
	if (r == 0)
		r = fill_piece(io, mate, second, &io->two, &used);
	if (r < 0) {
		piece_put(mate);
		piece_put(&io->first);
		nofi_io_put(io);
		return r;
	}
	io->first.mate = mate;
	io->first.fuse = FUSE_FIRST;
	mate->fuse = FUSE_SECOND;
	submit_raw(io);
	return 0;
}
