/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way of the data, first part: an API call becomes one request, the request
 * one or more commands within the limits of the namespace (C-1).
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "chan.h"
#include "err.h"

enum opcode {
	OP_FLUSH = 0x00,
	OP_WRITE = 0x01,
	OP_READ = 0x02,
	OP_COMPARE = 0x05,
	OP_WRITE_ZEROES = 0x08,
	OP_DSM = 0x09,
};

/* SQE offsets and bits */
enum { SQE_NSID = 4, SQE_CDW10 = 40, SQE_CDW11 = 44, SQE_CDW12 = 48 };
static const uint32_t CDW12_LR = 1u << 31, CDW12_FUA = 1u << 30, CDW12_DEAC = 1u << 25;
static const uint32_t DSM_AD = 1u << 2;

static const char *op_name(uint8_t opcode)
{
	switch ((enum opcode)opcode) {
	case OP_FLUSH: return "flush";
	case OP_WRITE: return "write";
	case OP_READ: return "read";
	case OP_COMPARE: return "compare";
	case OP_WRITE_ZEROES: return "write zeroes";
	case OP_DSM: return "deallocate";
	}
	return "command";
}

/* ---- completion ---- */

static const char *describe(const struct nof_io *io, char *buf, size_t len)
{
	int n;

	if (io->opcode == OP_FLUSH)
		n = snprintf(buf, len, "flush of namespace %u: ", io->chan->ns->id.nsid);
	else
		n = snprintf(buf, len, "%s of %llu bytes at offset %llu of namespace %u: ",
			     op_name(io->opcode), (unsigned long long)io->bytes,
			     (unsigned long long)io->offset, io->chan->ns->id.nsid);
	if (n < 0 || (size_t)n >= len)
		return buf;
	if (io->status)
		snprintf(buf + n, len - (size_t)n, "the controller answered %s (status %03xh%s)",
			 nof_status_string(io->status), io->status & 0x7ffu,
			 io->status & NOF_STATUS_DNR ? ", do not retry" : "");
	else
		snprintf(buf + n, len - (size_t)n, "%s", io->detail);
	return buf;
}

/* Back to the channel's table. */
static void put_io(struct nof_io *io)
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
				    .qid = nofi_queue_qid(chan->q), .result = io->result,
				    .detail = "" };
	nof_done_fn *done = io->done;
	void *arg = io->arg;
	char text[640];

	if (io->error)
		c.detail = describe(io, text, sizeof(text));
	put_io(io);
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
	if (io->error)
		return;
	io->error = error;
	io->status = status;
	io->detail = detail;
	/* The rest need not be tried: the request has failed. */
	io->left = 0;
	unpend(io);
}

static void on_command(void *arg, const struct nofi_cpl *cpl)
{
	struct nof_io *io = arg;

	io->inflight--;
	io->result = cpl->result;
	if (cpl->error)
		record(io, cpl->error, 0, cpl->detail);
	else if (cpl->status)
		record(io, nof_status_errno(cpl->status), cpl->status, "");
	if (io->inflight)
		return;
	if (!io->left)
		complete(io);
	else if (io->opcode == OP_DSM)
		nofi_io_pump(io->chan);
}

void nofi_io_fail_pending(struct nof_chan *chan, int code, const char *why)
{
	struct nof_io *io;

	while ((io = chan->pend_head)) {
		record(io, code, 0, why);
		if (!io->inflight)
			complete(io);
	}
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

/* ---- commands ---- */

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
static uint32_t piece(const struct nof_io *io, const struct nofi_ns_ident *ns)
{
	uint64_t max = io->opcode == OP_WRITE_ZEROES ? ns->max_wz_blocks :
		       io->opcode != OP_DSM ? ns->max_blocks :
		       ns->max_dsm_blocks < ns->max_dsm_total ? ns->max_dsm_blocks :
		       ns->max_dsm_total;

	return (uint32_t)(io->left < max ? io->left : max);
}

static int send_command(struct nof_io *io)
{
	struct nof_chan *chan = io->chan;
	const struct nofi_ns_ident *ns = &chan->ns->id;
	struct nofi_cmd_desc d;
	uint32_t blocks;
	int r;

	r = nofi_queue_take(chan->q, 0, &d);
	if (r < 0)
		return r;
	d.sqe[0] = io->opcode;
	nofi_put32(d.sqe + SQE_NSID, ns->nsid);
	d.done = on_command;
	d.arg = io;
	if (io->opcode == OP_FLUSH) {
		io->left = 0;
		goto send;
	}
	blocks = piece(io, ns);
	if (io->opcode == OP_DSM) {
		memset(io->range, 0, 4);
		nofi_put32(io->range + 4, blocks);
		nofi_put64(io->range + 8, io->slba);
		nofi_put32(d.sqe + SQE_CDW11, DSM_AD);
		io->one = (struct iovec){ io->range, sizeof(io->range) };
		d.iov = &io->one;
		d.iovcnt = 1;
		d.length = sizeof(io->range);
		d.dir = NOFI_DIR_WRITE;
	} else {
		nofi_put64(d.sqe + SQE_CDW10, io->slba);
		nofi_put32(d.sqe + SQE_CDW12, (blocks - 1) | io->cdw12);
		if (io->opcode != OP_WRITE_ZEROES) {
			d.iov = io->iov;
			d.iov_skip = io->iov_off;
			d.length = blocks << ns->lba_shift;
			d.dir = io->opcode == OP_READ ? NOFI_DIR_READ : NOFI_DIR_WRITE;
		}
	}
	io->slba += blocks;
	io->left -= blocks;
	if (io->left && d.iov && io->opcode != OP_DSM)
		advance(io, d.length);
send:
	io->inflight++;
	nofi_queue_send(chan->q, &d);
	return 0;
}

static int send_all(struct nof_io *io)
{
	int r = 0;

	while (io->left && r == 0) {
		if (io->opcode == OP_DSM && io->inflight)
			return -EAGAIN;
		r = send_command(io);
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
	nofi_queue_wait_room(chan->q, &chan->waiter);
}

void nofi_io_pump(struct nof_chan *chan)
{
	struct nof_io *io, *next;

	for (io = chan->pend_head; io; io = next) {
		next = io->next;
		if (send_all(io) < 0) {
			/* A DSM waits for its own command, others may pass it. */
			if (io->opcode == OP_DSM && io->inflight)
				continue;
			nofi_queue_wait_room(chan->q, &chan->waiter);
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
	const struct nofi_err *err = chan->q ? nofi_queue_error(chan->q) : NULL;

	return nofi_fail(-ENOTCONN, "the channel's connection is lost: %s",
			 err && err->text[0] ? err->text : "the channel is closed");
}

/* A request with everything but data and position. */
static int get_io(struct nof_chan *chan, enum opcode opcode, nof_done_fn *done, void *arg,
		  struct nof_io **out)
{
	struct nof_io *io;

	if (!chan || !done)
		return nofi_fail(-EINVAL, "%s: no channel or no callback was given",
				 op_name(opcode));
	if (!chan->is_open || chan->is_closing || !nofi_queue_is_ready(chan->q))
		return not_connected(chan);
	io = chan->free;
	if (!io)
		return too_many(chan);
	chan->free = io->next;
	chan->inflight++;
	io->done = done;
	io->arg = arg;
	io->inflight = 0;
	io->cdw12 = 0;
	io->error = 0;
	io->status = 0;
	io->opcode = opcode;
	io->is_pending = false;
	io->result = 0;
	*out = io;
	return 0;
}

static void instant(struct nof_io *io)
{
	struct nof_chan *chan = io->chan;

	io->next = NULL;
	*chan->instant_tail = io;
	chan->instant_tail = &io->next;
	chan->instants++;
	nofi_loop_defer(chan->loop, &chan->defer);
}

static int submit(struct nof_io *io)
{
	/* Those that wait for a slot go first. */
	if (io->chan->pend_head || send_all(io) < 0)
		pend(io);
	return 0;
}

static uint32_t cdw12_of(uint32_t flags)
{
	return (flags & NOF_IO_FUA ? CDW12_FUA : 0) | (flags & NOF_IO_LR ? CDW12_LR : 0);
}

/* Checks the place of a request on the namespace; bytes → blocks. */
static int check_range(const struct nofi_ns_ident *ns, enum opcode opcode, uint64_t len,
		       uint64_t offset,
		       uint32_t flags, uint64_t *slba, uint64_t *blocks)
{
	uint64_t mask = (1ull << ns->lba_shift) - 1;
	bool is_lba = flags & NOF_IO_LBA, has_data = opcode != OP_WRITE_ZEROES && opcode != OP_DSM;
	uint32_t known = NOF_IO_LBA | (opcode == OP_DSM ? 0u : NOF_IO_FUA | NOF_IO_LR) |
			 (opcode == OP_WRITE_ZEROES ? NOF_IO_DEALLOCATE : 0u);

	if (flags & ~known)
		return nofi_fail(-EINVAL, "%s: flags %#x are not defined for it", op_name(opcode),
				 flags & ~known);
	if ((!is_lba && (offset & mask)) || ((has_data || !is_lba) && (len & mask)))
		return nofi_fail(-EINVAL, "%s: offset %llu and length %llu must be multiples of "
				 "the namespace's block size, %u bytes", op_name(opcode),
				 (unsigned long long)offset, (unsigned long long)len,
				 1u << ns->lba_shift);
	*slba = is_lba ? offset : offset >> ns->lba_shift;
	*blocks = is_lba && !has_data ? len : len >> ns->lba_shift;
	if (*slba > ns->nblocks || *blocks > ns->nblocks - *slba)
		return nofi_fail(-ERANGE, "%s: %llu blocks at block %llu reach past the end of "
				 "namespace %u, which has %llu blocks of %u bytes", op_name(opcode),
				 (unsigned long long)*blocks, (unsigned long long)*slba, ns->nsid,
				 (unsigned long long)ns->nblocks, 1u << ns->lba_shift);
	if (opcode != OP_READ && opcode != OP_COMPARE && ns->is_read_only)
		return nofi_fail(-EROFS, "%s: namespace %u is write protected: "
				 "the target offers it for reading only", op_name(opcode),
				 ns->nsid);
	return 0;
}

static void set_place(struct nof_io *io, uint64_t slba, uint64_t blocks)
{
	uint8_t shift = io->chan->ns->id.lba_shift;

	io->slba = slba;
	io->left = blocks;
	io->offset = slba << shift;
	io->bytes = blocks << shift;
}

static int submit_data(struct nof_chan *chan, enum opcode opcode, void *buf,
		       const struct iovec *iov, uint64_t len, uint64_t offset, uint32_t flags,
		       nof_done_fn *done, void *arg)
{
	uint64_t slba, blocks;
	struct nof_io *io;
	int r;

	r = get_io(chan, opcode, done, arg, &io);
	if (r < 0)
		return r;
	if (len && !iov && !buf)
		r = nofi_fail(-EINVAL, "%s: the buffer is NULL", op_name(opcode));
	else if (opcode == OP_COMPARE && !(chan->ns->id.features & NOF_NS_COMPARE))
		r = nofi_fail(-EOPNOTSUPP, "compare: the controller does not support it (ONCS)");
	else
		r = check_range(&chan->ns->id, opcode, len, offset, flags, &slba, &blocks);
	if (r < 0) {
		put_io(io);
		return r;
	}
	set_place(io, slba, blocks);
	io->cdw12 = cdw12_of(flags);
	io->iov_off = 0;
	if (iov) {
		io->iov = iov;
	} else {
		io->one = (struct iovec){ buf, (size_t)len };
		io->iov = &io->one;
	}
	if (!blocks)
		instant(io);
	else
		submit(io);
	return 0;
}

static int submit_vec(struct nof_chan *chan, enum opcode opcode, const struct iovec *iov,
		      int iovcnt, uint64_t offset, uint32_t flags, nof_done_fn *done, void *arg)
{
	uint64_t len = 0;

	if (iovcnt < 0 || (iovcnt && !iov))
		return nofi_fail(-EINVAL, "%s: iovcnt is %d%s", op_name(opcode), iovcnt,
				 iov ? "" : " and iov is NULL");
	for (int i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len > SSIZE_MAX - len)
			return nofi_fail(-EINVAL, "%s: the iovecs' lengths overflow",
					 op_name(opcode));
		len += iov[i].iov_len;
	}
	return submit_data(chan, opcode, NULL, iov, len, offset, flags, done, arg);
}

int nof_read(struct nof_chan *chan, void *buf, size_t len, uint64_t offset, uint32_t flags,
	     nof_done_fn *done, void *arg)
{
	return submit_data(chan, OP_READ, buf, NULL, len, offset, flags, done, arg);
}

int nof_write(struct nof_chan *chan, const void *buf, size_t len, uint64_t offset, uint32_t flags,
	      nof_done_fn *done, void *arg)
{
	return submit_data(chan, OP_WRITE, (void *)(uintptr_t)buf, NULL, len, offset, flags, done,
			   arg);
}

int nof_compare(struct nof_chan *chan, const void *buf, size_t len, uint64_t offset,
		uint32_t flags, nof_done_fn *done, void *arg)
{
	return submit_data(chan, OP_COMPARE, (void *)(uintptr_t)buf, NULL, len, offset, flags,
			   done, arg);
}

int nof_readv(struct nof_chan *chan, const struct iovec *iov, int iovcnt, uint64_t offset,
	      uint32_t flags, nof_done_fn *done, void *arg)
{
	return submit_vec(chan, OP_READ, iov, iovcnt, offset, flags, done, arg);
}

int nof_writev(struct nof_chan *chan, const struct iovec *iov, int iovcnt, uint64_t offset,
	       uint32_t flags, nof_done_fn *done, void *arg)
{
	return submit_vec(chan, OP_WRITE, iov, iovcnt, offset, flags, done, arg);
}

int nof_comparev(struct nof_chan *chan, const struct iovec *iov, int iovcnt, uint64_t offset,
		 uint32_t flags, nof_done_fn *done, void *arg)
{
	return submit_vec(chan, OP_COMPARE, iov, iovcnt, offset, flags, done, arg);
}

int nof_flush(struct nof_chan *chan, nof_done_fn *done, void *arg)
{
	struct nof_io *io;
	int r = get_io(chan, OP_FLUSH, done, arg, &io);

	if (r < 0)
		return r;
	io->offset = io->bytes = 0;
	io->left = 1;
	if (chan->ns->id.features & NOF_NS_VOLATILE_CACHE) {
		submit(io);
	} else {
		io->left = 0;
		instant(io);
	}
	return 0;
}

static int submit_range(struct nof_chan *chan, enum opcode opcode, uint64_t len, uint64_t offset,
			uint32_t flags, uint32_t feature, nof_done_fn *done, void *arg)
{
	uint64_t slba, blocks;
	struct nof_io *io;
	int r;

	r = get_io(chan, opcode, done, arg, &io);
	if (r < 0)
		return r;
	if (!(chan->ns->id.features & feature))
		r = nofi_fail(-EOPNOTSUPP, "%s: the controller does not support it (ONCS)",
			      op_name(opcode));
	else
		r = check_range(&chan->ns->id, opcode, len, offset, flags, &slba, &blocks);
	if (r < 0) {
		put_io(io);
		return r;
	}
	set_place(io, slba, blocks);
	io->cdw12 = cdw12_of(flags);
	/* "If possible": where it is not, zeroes are written all the same. */
	if ((flags & NOF_IO_DEALLOCATE) && (chan->ns->id.features & NOF_NS_WRITE_ZEROES_DEAC))
		io->cdw12 |= CDW12_DEAC;
	io->iov = NULL;
	io->iov_off = 0;
	if (!blocks)
		instant(io);
	else
		submit(io);
	return 0;
}

int nof_write_zeroes(struct nof_chan *chan, uint64_t len, uint64_t offset, uint32_t flags,
		     nof_done_fn *done, void *arg)
{
	return submit_range(chan, OP_WRITE_ZEROES, len, offset, flags, NOF_NS_WRITE_ZEROES, done,
			    arg);
}

int nof_deallocate(struct nof_chan *chan, uint64_t len, uint64_t offset, uint32_t flags,
		   nof_done_fn *done, void *arg)
{
	return submit_range(chan, OP_DSM, len, offset, flags, NOF_NS_DEALLOCATE, done, arg);
}
