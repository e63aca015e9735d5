/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way of the data, first part: an API call is checked against the namespace and
 * becomes one request. io_send.c makes commands of it.
 */
#include <errno.h>
#include <limits.h>

#include "chan.h"
#include "err.h"

/* CDW12 bits */
static const uint32_t CDW12_LR = 1u << 31, CDW12_FUA = 1u << 30, CDW12_DEAC = 1u << 25;

/*
 * Public calls pass their opcode as a constant into the functions that are always inline: they are
 * part of them, and what does not concern them is not there at run time.
 */
NOFI_INLINE const char *op_name(enum nofi_opcode opcode)
{
	switch (opcode) {
	case NOFI_OP_FLUSH: return "flush";
	case NOFI_OP_WRITE: return "write";
	case NOFI_OP_READ: return "read";
	case NOFI_OP_COMPARE: return "compare";
	case NOFI_OP_WRITE_ZEROES: return "write zeroes";
	case NOFI_OP_DSM: return "deallocate";
	case NOFI_OP_VERIFY: return "verify";
	case NOFI_OP_WRITE_UNCOR: return "write uncorrectable";
	}
	return "command";
}

const char *nofi_io_name(enum nofi_opcode opcode)
{
	return op_name(opcode);
}

/* A request with everything but data and position. */
NOFI_INLINE int get_io(struct nof_chan *chan, enum nofi_opcode opcode, uint32_t flags,
		  nof_done_fn *done, void *arg, struct nof_io **out)
{
	int r = nofi_io_get(chan, op_name(opcode), flags, done, arg, out);

	if (r == 0)
		(*out)->opcode = opcode;
	return r;
}

NOFI_INLINE uint32_t cdw12_of(uint32_t flags)
{
	return (flags & NOF_IO_FUA ? CDW12_FUA : 0) | (flags & NOF_IO_LR ? CDW12_LR : 0);
}

NOFI_INLINE bool has_data(enum nofi_opcode opcode)
{
	return opcode == NOFI_OP_READ || opcode == NOFI_OP_WRITE || opcode == NOFI_OP_COMPARE;
}

NOFI_INLINE uint32_t known_flags(enum nofi_opcode opcode)
{
	switch (opcode) {
	case NOFI_OP_DSM:
	case NOFI_OP_WRITE_UNCOR:
		return NOF_IO_LBA;
	case NOFI_OP_WRITE_ZEROES:
		return NOF_IO_LBA | NOF_IO_FUA | NOF_IO_LR | NOF_IO_DEALLOCATE;
	case NOFI_OP_WRITE:
		return NOF_IO_LBA | NOF_IO_FUA | NOF_IO_LR | NOF_IO_ATOMIC;
	default:
		return NOF_IO_LBA | NOF_IO_FUA | NOF_IO_LR;
	}
}

/* Checks the place of a request on the namespace; bytes → blocks. */
NOFI_INLINE int check_range(const struct nofi_ns_ident *ns, enum nofi_opcode opcode, uint64_t len,
		       uint64_t offset,
		       uint32_t flags, uint64_t *slba, uint64_t *blocks)
{
	uint64_t mask = (1ull << ns->lba_shift) - 1;
	bool is_lba = flags & NOF_IO_LBA;
	uint32_t unknown = flags & ~(known_flags(opcode) | NOF_IO_FAIL_FAST);

	if (unknown)
		return nofi_fail(-EINVAL, "%s: flags %#x are not defined for it", op_name(opcode),
				 unknown);
	if ((!is_lba && (offset & mask)) || ((has_data(opcode) || !is_lba) && (len & mask)))
		return nofi_fail(-EINVAL, "%s: offset %llu and length %llu must be multiples of "
				 "the namespace's block size, %u bytes", op_name(opcode),
				 (unsigned long long)offset, (unsigned long long)len,
				 1u << ns->lba_shift);
	*slba = is_lba ? offset : offset >> ns->lba_shift;
	*blocks = is_lba && !has_data(opcode) ? len : len >> ns->lba_shift;
	if (opcode == NOFI_OP_READ && *slba <= ns->nblocks && *blocks <= ns->nblocks - *slba)
		return 0;
	return nofi_io_check_place(ns, op_name(opcode), opcode != NOFI_OP_READ &&
				   opcode != NOFI_OP_COMPARE && opcode != NOFI_OP_VERIFY, *slba,
				   *blocks);
}

int nofi_io_check_place(const struct nofi_ns_ident *ns, const char *name, bool is_write,
			uint64_t slba, uint64_t blocks)
{
	if (slba > ns->nblocks || blocks > ns->nblocks - slba)
		return nofi_fail(-ERANGE, "%s: %llu blocks at block %llu reach past the end of "
				 "namespace %u, which has %llu blocks of %u bytes", name,
				 (unsigned long long)blocks, (unsigned long long)slba, ns->nsid,
				 (unsigned long long)ns->nblocks, 1u << ns->lba_shift);
	if (is_write && ns->is_read_only)
		return nofi_fail(-EROFS, "%s: namespace %u is write protected: "
				 "the target offers it for reading only", name, ns->nsid);
	return 0;
}

/* C-1: one command, within what is written all or not at all also when power fails. */
int nofi_io_check_atomic(const struct nofi_ns_ident *ns, const char *name, uint32_t max,
			 uint64_t slba, uint64_t blocks)
{
	uint64_t b = ns->atomic_boundary, skip = b ? b - ns->atomic_offset : 0;

	if (blocks > max)
		return nofi_fail(-EMSGSIZE, "%s: %llu blocks cannot be written as one step: one "
				 "command moves %u, and %u are atomic", name,
				 (unsigned long long)blocks, max, ns->atomic_pf);
	if (b && blocks && (slba + skip) / b != (slba + blocks - 1 + skip) / b)
		return nofi_fail(-EMSGSIZE, "%s: blocks %llu to %llu are on both sides of a "
				 "boundary, every %llu blocks, across which nothing is atomic",
				 name, (unsigned long long)slba,
				 (unsigned long long)(slba + blocks - 1), (unsigned long long)b);
	return 0;
}

static int not_plain(const struct nofi_ns_ident *ns, enum nofi_opcode opcode)
{
	return nofi_fail(-ENOTSUP, "%s: blocks of namespace %u have %u bytes of metadata that only "
			 "the caller knows; use nof_readv_pi() and nof_writev_pi()",
			 op_name(opcode), ns->nsid, ns->ms);
}

static void set_place(struct nof_io *io, uint64_t slba, uint64_t blocks)
{
	uint8_t shift = io->chan->id.lba_shift;

	io->slba = slba;
	io->left = blocks;
	io->offset = slba << shift;
	io->bytes = blocks << shift;
}

/*
 * By the million: a read or write without flags, of one command, on the one way there is. All that
 * could be unusual of the channel is known beforehand. False: nothing was done; what is wrong, or
 * in the way, is found out by submit_data().
 */
NOFI_INLINE bool submit_usual(struct nof_chan *chan, enum nofi_opcode opcode, void *buf,
			      const struct iovec *iov, uint64_t len, uint64_t offset,
			      uint32_t flags, nof_done_fn *done, void *arg)
{
	bool is_read = opcode == NOFI_OP_READ;
	struct nofi_piece *p;
	struct nofi_cpath *cp;
	struct nof_io *io;
	uint64_t slba;

	if (NOFI_UNLIKELY(!chan || !done || flags || (!iov && !buf)))
		return false;
	cp = chan->usual[!is_read];
	io = chan->free;
	/* Those that wait go first. */
	if (NOFI_UNLIKELY(!cp || !io || chan->pend_head || chan->again.head))
		return false;
	if (NOFI_UNLIKELY(((offset | len) & chan->usual_mask) || len - 1 >= chan->usual_most ||
			  offset > chan->usual_size - len))
		return false;
	slba = offset >> chan->usual_shift;
	p = &io->first;
	p->one.iov_base = buf;
	p->one.iov_len = (size_t)len;
	p->rw.iov = iov ? iov : &p->one;
	p->rw.iov_skip = 0;
	p->rw.length = (uint32_t)len;
	p->rw.nsid = cp->id.nsid;
	p->rw.cdw[0] = (uint32_t)slba;
	p->rw.cdw[1] = (uint32_t)(slba >> 32);
	p->rw.cdw[2] = (uint32_t)(len >> chan->usual_shift) - 1;
	p->rw.opcode = opcode;
	p->rw.dir = is_read ? NOFI_DIR_READ : NOFI_DIR_WRITE;
	p->sent_ns = nofi_queue_rw(cp->q, &p->rw);
	if (NOFI_UNLIKELY(!p->sent_ns))
		return false;
	p->path = cp;
	p->queue = cp->q;
	p->avoid = NULL;
	p->more = 0;
	p->tries = 1;
	p->class = is_read ? NOFI_IO_IDEMPOTENT : NOFI_IO_WRITE;
	chan->free = io->next;
	chan->inflight++;
	chan->epoch_inflight[chan->is_epoch]++;
	io->done = done;
	io->arg = arg;
	io->error = 0;
	io->status = 0;
	io->qid = cp->qid;
	io->opcode = opcode;
	io->is_usual = true;
	io->is_pending = false;
	io->is_first_used = true;
	io->is_serial = io->is_raw = io->is_fail_fast = io->is_atomic = io->is_unknown = false;
	io->is_epoch = chan->is_epoch;
	io->pieces = 1;
	nofi_count(cp->way.inflight, 1);
	return true;
}

__attribute__((noinline))
static int submit_data(struct nof_chan *chan, enum nofi_opcode opcode, void *buf,
		       const struct iovec *iov, uint64_t len, uint64_t offset, uint32_t flags,
		       nof_done_fn *done, void *arg)
{
	uint64_t slba = 0, blocks = 0;
	struct nof_io *io;
	int r;

	r = get_io(chan, opcode, flags, done, arg, &io);
	if (r < 0)
		return r;
	if (len && !iov && !buf)
		r = nofi_fail(-EINVAL, "%s: the buffer is NULL", op_name(opcode));
	else if (opcode == NOFI_OP_COMPARE && !(chan->id.features & NOF_NS_COMPARE))
		r = nofi_fail(-EOPNOTSUPP, "compare: the controller does not support it (ONCS)");
	else if (!chan->id.is_plain)
		r = not_plain(&chan->id, opcode);
	else
		r = check_range(&chan->id, opcode, len, offset, flags, &slba, &blocks);
	if (r == 0 && flags & NOF_IO_ATOMIC)
		r = nofi_io_check_atomic(&chan->id, op_name(opcode),
					 chan->id.atomic_pf < chan->id.max_blocks ?
					 chan->id.atomic_pf : chan->id.max_blocks, slba, blocks);
	if (r < 0) {
		nofi_io_put(io);
		return r;
	}
	set_place(io, slba, blocks);
	io->cdw12 = cdw12_of(flags);
	io->is_atomic = flags & NOF_IO_ATOMIC;
	/* A zone is written in order. */
	io->is_serial = chan->id.zone_size && opcode == NOFI_OP_WRITE;
	io->iov_off = 0;
	if (iov) {
		io->iov = iov;
	} else {
		io->first.one = (struct iovec){ buf, (size_t)len };
		io->iov = &io->first.one;
	}
	if (!blocks)
		nofi_io_instant(io);
	else
		nofi_io_submit(io);
	return 0;
}

NOFI_INLINE int submit_vec(struct nof_chan *chan, enum nofi_opcode opcode,
			     const struct iovec *iov, int iovcnt, uint64_t offset, uint32_t flags,
			     nof_done_fn *done, void *arg)
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
	if ((opcode == NOFI_OP_READ || opcode == NOFI_OP_WRITE) &&
	    submit_usual(chan, opcode, NULL, iov, len, offset, flags, done, arg))
		return 0;
	return submit_data(chan, opcode, NULL, iov, len, offset, flags, done, arg);
}

int nof_read(struct nof_chan *chan, void *buf, size_t len, uint64_t offset, uint32_t flags,
	     nof_done_fn *done, void *arg)
{
	if (NOFI_LIKELY(submit_usual(chan, NOFI_OP_READ, buf, NULL, len, offset, flags, done, arg)))
		return 0;
	return submit_data(chan, NOFI_OP_READ, buf, NULL, len, offset, flags, done, arg);
}

int nof_write(struct nof_chan *chan, const void *buf, size_t len, uint64_t offset, uint32_t flags,
	      nof_done_fn *done, void *arg)
{
	void *from = (void *)(uintptr_t)buf;

	if (NOFI_LIKELY(submit_usual(chan, NOFI_OP_WRITE, from, NULL, len, offset, flags, done,
				     arg)))
		return 0;
	return submit_data(chan, NOFI_OP_WRITE, from, NULL, len, offset, flags, done, arg);
}

int nof_compare(struct nof_chan *chan, const void *buf, size_t len, uint64_t offset,
		uint32_t flags, nof_done_fn *done, void *arg)
{
	struct iovec one = { (void *)(uintptr_t)buf, len };

	if (chan && chan->id.prinfo)
		return nofi_io_compare_pi(chan, &one, 1, offset, flags, done, arg);
	return submit_data(chan, NOFI_OP_COMPARE, one.iov_base, NULL, len, offset, flags, done,
			   arg);
}

int nof_readv(struct nof_chan *chan, const struct iovec *iov, int iovcnt, uint64_t offset,
	      uint32_t flags, nof_done_fn *done, void *arg)
{
	return submit_vec(chan, NOFI_OP_READ, iov, iovcnt, offset, flags, done, arg);
}

int nof_writev(struct nof_chan *chan, const struct iovec *iov, int iovcnt, uint64_t offset,
	       uint32_t flags, nof_done_fn *done, void *arg)
{
	return submit_vec(chan, NOFI_OP_WRITE, iov, iovcnt, offset, flags, done, arg);
}

int nof_comparev(struct nof_chan *chan, const struct iovec *iov, int iovcnt, uint64_t offset,
		 uint32_t flags, nof_done_fn *done, void *arg)
{
	if (chan && chan->id.prinfo)
		return nofi_io_compare_pi(chan, iov, iovcnt, offset, flags, done, arg);
	return submit_vec(chan, NOFI_OP_COMPARE, iov, iovcnt, offset, flags, done, arg);
}

int nof_flush(struct nof_chan *chan, nof_done_fn *done, void *arg)
{
	struct nof_io *io;
	int r = get_io(chan, NOFI_OP_FLUSH, 0, done, arg, &io);

	if (r < 0)
		return r;
	io->offset = io->bytes = 0;
	io->left = 1;
	if (chan->id.features & NOF_NS_VOLATILE_CACHE) {
		nofi_io_submit(io);
	} else {
		io->left = 0;
		nofi_io_instant(io);
	}
	return 0;
}

NOFI_INLINE int submit_range(struct nof_chan *chan, enum nofi_opcode opcode, uint64_t len,
			uint64_t offset, uint32_t flags, uint32_t feature, nof_done_fn *done,
			void *arg)
{
	uint64_t slba = 0, blocks = 0;
	struct nof_io *io;
	int r;

	r = get_io(chan, opcode, flags, done, arg, &io);
	if (r < 0)
		return r;
	if (!(chan->id.features & feature))
		r = nofi_fail(-EOPNOTSUPP, "%s: the controller does not support it (ONCS)",
			      op_name(opcode));
	else
		r = check_range(&chan->id, opcode, len, offset, flags, &slba, &blocks);
	if (r < 0) {
		nofi_io_put(io);
		return r;
	}
	set_place(io, slba, blocks);
	io->cdw12 = cdw12_of(flags);
	/* "If possible": where it is not, zeroes are written all the same. */
	if ((flags & NOF_IO_DEALLOCATE) && (chan->id.features & NOF_NS_WRITE_ZEROES_DEAC))
		io->cdw12 |= CDW12_DEAC;
	io->iov = NULL;
	/* These write, too: a zone in order. */
	io->is_serial = opcode == NOFI_OP_DSM || (chan->id.zone_size && opcode != NOFI_OP_VERIFY);
	if (!blocks)
		nofi_io_instant(io);
	else
		nofi_io_submit(io);
	return 0;
}

int nof_write_zeroes(struct nof_chan *chan, uint64_t len, uint64_t offset, uint32_t flags,
		     nof_done_fn *done, void *arg)
{
	return submit_range(chan, NOFI_OP_WRITE_ZEROES, len, offset, flags, NOF_NS_WRITE_ZEROES,
			    done, arg);
}

int nof_deallocate(struct nof_chan *chan, uint64_t len, uint64_t offset, uint32_t flags,
		   nof_done_fn *done, void *arg)
{
	return submit_range(chan, NOFI_OP_DSM, len, offset, flags, NOF_NS_DEALLOCATE, done, arg);
}

int nof_verify(struct nof_chan *chan, uint64_t len, uint64_t offset, uint32_t flags,
	       nof_done_fn *done, void *arg)
{
	return submit_range(chan, NOFI_OP_VERIFY, len, offset, flags, NOF_NS_VERIFY, done, arg);
}

int nof_write_uncorrectable(struct nof_chan *chan, uint64_t len, uint64_t offset, uint32_t flags,
			    nof_done_fn *done, void *arg)
{
	return submit_range(chan, NOFI_OP_WRITE_UNCOR, len, offset, flags,
			    NOF_NS_WRITE_UNCORRECTABLE, done, arg);
}
