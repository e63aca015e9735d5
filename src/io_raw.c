/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests that are one command, or two fused ones, filled by the files that know what the
 * command means (io.h).
 */
#include <errno.h>
#include <string.h>

#include "chan.h"
#include "err.h"

enum { FUSE_FIRST = 1, FUSE_SECOND = 2 };

/* used: bytes of the scratch that are taken already. */
static int fill_piece(struct nof_io *io, struct nofi_piece *p, const struct nofi_io_cmd *cmd,
		      uint32_t *used)
{
	if (cmd->length && cmd->scratch &&
	    (cmd->dir != NOFI_DIR_WRITE || cmd->length > NOFI_IO_SCRATCH - *used))
		return nofi_fail(-EINVAL, "%s: %u bytes do not fit into a request", cmd->name,
				 cmd->length);
	if (cmd->length && !cmd->scratch && !cmd->iov && !cmd->buf)
		return nofi_fail(-EINVAL, "%s: the buffer is NULL", cmd->name);
	p->io = io;
	p->is_raw = true;
	p->rw.opcode = cmd->opcode;
	p->fuse = 0;
	p->mate = NULL;
	p->class = (uint8_t)cmd->class;
	p->nsid = cmd->nsid;
	p->cdw2 = cmd->cdw2;
	p->cdw3 = cmd->cdw3;
	memcpy(p->rw.cdw, cmd->cdw, sizeof(p->rw.cdw));
	memcpy(p->cdw13, cmd->cdw + 3, sizeof(p->cdw13));
	p->rw.length = cmd->length;
	p->rw.dir = (uint8_t)(cmd->length ? cmd->dir : NOFI_DIR_NONE);
	p->rw.iov = cmd->iov;
	p->rw.iov_skip = 0;
	if (cmd->scratch || !cmd->iov) {
		p->one = (struct iovec){ cmd->buf, cmd->length };
		p->rw.iov = &p->one;
	}
	if (cmd->length && cmd->scratch) {
		p->one.iov_base = io->scratch + *used;
		memcpy(p->one.iov_base, cmd->scratch, cmd->length);
		*used += cmd->length;
	}
	return 0;
}

static int check_flags(const char *name, uint32_t flags)
{
	if (flags & ~(uint32_t)NOF_IO_FAIL_FAST)
		return nofi_fail(-EINVAL, "%s: flags %#x are not defined for it", name,
				 flags & ~(uint32_t)NOF_IO_FAIL_FAST);
	return 0;
}

static void submit_raw(struct nof_io *io)
{
	io->is_raw = true;
	io->opcode = io->first.rw.opcode;
	io->left = 1;
	nofi_io_submit(io);
}

int nofi_io_submit_cmd(struct nof_chan *chan, const struct nofi_io_cmd *cmd, uint32_t flags,
		       nof_done_fn *done, void *arg)
{
	uint32_t used = 0;
	struct nof_io *io;
	int r;

	r = check_flags(cmd->name, flags);
	if (r == 0)
		r = nofi_io_get(chan, cmd->name, flags, done, arg, &io);
	if (r < 0)
		return r;
	r = fill_piece(io, nofi_piece_get(io), cmd, &used);
	if (r < 0) {
		nofi_piece_put(&io->first);
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

	r = check_flags(first->name, flags);
	if (r == 0)
		r = nofi_io_get(chan, first->name, flags, done, arg, &io);
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
	r = fill_piece(io, nofi_piece_get(io), first, &used);
	mate = nofi_piece_get(io);
	if (r == 0)
		r = fill_piece(io, mate, second, &used);
	if (r < 0) {
		nofi_piece_put(mate);
		nofi_piece_put(&io->first);
		nofi_io_put(io);
		return r;
	}
	io->first.mate = mate;
	io->first.fuse = FUSE_FIRST;
	mate->fuse = FUSE_SECOND;
	submit_raw(io);
	return 0;
}
