/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading and writing with metadata. Over fabrics each block is followed by its
 * metadata; callers have both apart. One list of pieces of memory brings them
 * together, block by block, so that no byte is copied:
 *
 *	iov   data 0 │ md 0 │ data 1 │ md 1 │ …
 *
 * Metadata that the controller makes by itself (PRACT) does not travel.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chan.h"
#include "ctrl/guard.h"
#include "err.h"
#include "pdu/pi.h"

enum {
	WINDOW = 8,			/* commands of one request at a time */
	/* CDW12 */
	PRACT = 1 << 29, PRCHK_GUARD = 1 << 28, PRCHK_APP = 1 << 27, PRCHK_REF = 1 << 26,
	STC = 1 << 24,
};

struct pi_io {
	struct nof_chan *chan;
	struct nofi_pi pi;
	uint8_t opcode;
	bool is_read;
	bool is_checked;		/* the library has the last word about a read */
	bool is_md_moved;		/* metadata is on the wire */
	uint32_t cdw12;			/* all but the number of blocks */
	uint32_t max;			/* blocks of one command */
	uint32_t window;
	uint32_t flags;			/* of each request */
	bool epoch;			/* nofi_io_hold() */
	uint64_t slba;			/* of the request */
	uint64_t blocks, pos;		/* all, and those that were sent */
	uint32_t inflight;
	int error;			/* of the first command that failed */
	uint16_t status;
	char text[384];			/* its sentence */
	const struct iovec *user;	/* the caller's data */
	uint8_t *md;			/* the caller's, or own; NULL: does not travel */
	uint8_t *own_md;
	struct iovec *iov;		/* what travels */
	struct iovec *next;		/* where the next command's data starts */
	nof_done_fn *done;
	void *arg;
};

static void pi_free(struct pi_io *p)
{
	free(p->own_md);
	free(p->iov);
	free(p);
}

static void on_part(void *arg, const struct nof_completion *c);

/* Elements of *p->next that hold len bytes; each block ends with one. */
static int span(const struct pi_io *p, size_t len)
{
	int n = 0;

	for (const struct iovec *v = p->next; len; v++, n++)
		len -= v->iov_len < len ? v->iov_len : len;
	return n;
}

static const char *part_name(uint8_t opcode)
{
	return opcode == NOFI_OP_READ ? "read with metadata" :
	       opcode == NOFI_OP_WRITE ? "write with metadata" : "compare with metadata";
}

static int send_part(struct pi_io *p)
{
	bool is_write = p->opcode == NOFI_OP_WRITE;
	struct nofi_io_cmd cmd = { .name = part_name(p->opcode), .opcode = p->opcode,
				   .dir = p->is_read ? NOFI_DIR_READ : NOFI_DIR_WRITE,
				   .class = !is_write ? NOFI_IO_IDEMPOTENT :
					    p->chan->id.zone_size ? NOFI_IO_ONCE : NOFI_IO_WRITE };
	uint64_t left = p->blocks - p->pos;
	uint32_t n = (uint32_t)(left < p->max ? left : p->max);
	uint32_t size = p->pi.block + (p->is_md_moved ? p->pi.ms : 0);
	int r;

	nofi_io_put_lba(&cmd, p->slba + p->pos);
	cmd.cdw[2] = (n - 1) | p->cdw12;
	if (p->pi.type) {
		nofi_pi_cdws(&p->pi, p->pos, &cmd.cdw2, &cmd.cdw3, &cmd.cdw[4]);
		cmd.cdw[5] = p->pi.app | (uint32_t)p->pi.app_mask << 16;
	}
	cmd.length = n * size;
	cmd.iov = p->next;
	cmd.iovcnt = span(p, cmd.length);
	r = nofi_io_submit_cmd(p->chan, &cmd, p->flags, on_part, p);
	if (r < 0)
		return r;
	p->next += cmd.iovcnt;
	p->pos += n;
	p->inflight++;
	return 0;
}

static const char *tag_name(enum nofi_pi_tag tag)
{
	switch (tag) {
	case NOFI_PI_GUARD: return "guard";
	case NOFI_PI_APP: return "application tag";
	case NOFI_PI_REF: return "reference tag";
	case NOFI_PI_STORAGE: return "storage tag";
	}
	return "tag";
}

static void check_read(struct pi_io *p)
{
	struct nofi_pi_fault f;

	if (nofi_pi_check(&p->pi, p->user, 0, p->md, p->blocks, &f) == 0)
		return;
	p->error = -EILSEQ;
	snprintf(p->text, sizeof(p->text), "read with metadata: block %llu of namespace %u has the "
		 "%s %#llx where %#llx is expected; its data was damaged, or was written to "
		 "another place, on its way or by the target",
		 (unsigned long long)(p->slba + f.index), p->chan->id.nsid, tag_name(f.tag),
		 (unsigned long long)f.got, (unsigned long long)f.want);
}

static void finish(struct pi_io *p, const struct nof_completion *c)
{
	struct nof_completion out = { .qid = c->qid };

	if (!p->error && p->is_checked)
		check_read(p);
	out.error = p->error;
	out.status = p->status;
	out.detail = p->error ? p->text : "";
	nofi_io_release(p->chan, p->epoch);
	p->done(p->arg, &out);
	pi_free(p);
}

static void on_part(void *arg, const struct nof_completion *c)
{
	struct pi_io *p = arg;

	p->inflight--;
	if (c->error && !p->error) {
		p->error = c->error;
		p->status = c->status;
		snprintf(p->text, sizeof(p->text), "%s", c->detail);
	}
	while (!p->error && p->pos < p->blocks && p->inflight < p->window) {
		int r = send_part(p);

		/* No slot: another part of it still has one, and will be back. */
		if (r == -EAGAIN && p->inflight)
			return;
		if (r < 0) {
			p->error = r;
			snprintf(p->text, sizeof(p->text), "%s", nof_strerror_detail());
		}
	}
	if (!p->inflight)
		finish(p, c);
}

/* ---- submission ---- */

/*
 * Data of all blocks in order, with a cut wherever a command may end, and with
 * metadata between them when it travels.
 */
static int weave(struct pi_io *p, const struct iovec *iov, int iovcnt)
{
	size_t n = (size_t)iovcnt + (size_t)p->blocks * (p->is_md_moved ? 2 : 1);
	uint64_t cut = p->is_md_moved ? 1 : p->max;	/* blocks between cuts */
	struct iovec *out;
	size_t off = 0;

	if (n > SIZE_MAX / sizeof(*out))
		return -ENOMEM;
	p->iov = p->next = out = malloc(n * sizeof(*out));
	if (!out)
		return -ENOMEM;
	for (uint64_t i = 0; i < p->blocks; i += cut) {
		uint64_t some = p->blocks - i < cut ? p->blocks - i : cut;
		size_t left = (size_t)some * p->pi.block;

		while (left) {
			size_t room = iov->iov_len - off, k = room < left ? room : left;

			if (k)
				*out++ = (struct iovec){ (uint8_t *)iov->iov_base + off, k };
			off += k;
			left -= k;
			if (off == iov->iov_len) {
				iov++;
				off = 0;
			}
		}
		if (p->is_md_moved)
			*out++ = (struct iovec){ p->md + i * p->pi.ms, p->pi.ms };
	}
	return 0;
}

static const char *call_name(uint8_t opcode)
{
	return opcode == NOFI_OP_READ ? "nof_readv_pi" :
	       opcode == NOFI_OP_WRITE ? "nof_writev_pi" : "compare";
}

static int check_pi(const struct nofi_ns_ident *ns, const char *name, const struct nof_pi *a)
{
	const uint32_t all = NOF_PI_GUARD | NOF_PI_APP_TAG | NOF_PI_REF_TAG | NOF_PI_STORAGE_TAG;

	if ((unsigned)a->mode > NOF_PI_CONTROLLER || a->check & ~all)
		return nofi_fail(-EINVAL, "%s: mode %d is not one of enum nof_pi_mode, or check "
				 "%#x has bits that are not in enum nof_pi_check", name,
				 (int)a->mode, a->check);
	if (!ns->ms)
		return nofi_fail(-ENOTSUP, "%s: the format of namespace %u has no metadata", name,
				 ns->nsid);
	if (!ns->pi_type && (a->mode != NOF_PI_CALLER || a->check))
		return nofi_fail(-ENOTSUP, "%s: the metadata of namespace %u is not protection "
				 "information: only NOF_PI_CALLER without checks makes sense",
				 name, ns->nsid);
	return 0;
}

static uint32_t cdw12_of(const struct nofi_ns_ident *ns, const struct nof_pi *a, uint32_t flags)
{
	return (flags & NOF_IO_FUA ? 1u << 30 : 0) | (flags & NOF_IO_LR ? 1u << 31 : 0) |
	       (a->mode == NOF_PI_CONTROLLER ? PRACT : 0) |
	       (a->check & NOF_PI_GUARD ? PRCHK_GUARD : 0) |
	       (a->check & NOF_PI_APP_TAG ? PRCHK_APP : 0) |
	       /* Type 3 has no reference tag to be checked. */
	       (a->check & NOF_PI_REF_TAG && ns->pi_type != 3 ? PRCHK_REF : 0) |
	       (a->check & NOF_PI_STORAGE_TAG && ns->sts ? STC : 0);
}

static int check_range(const struct nofi_ns_ident *ns, const char *name, const struct iovec *iov,
		       int iovcnt, uint64_t offset, uint32_t flags, uint64_t *slba,
		       uint64_t *blocks)
{
	uint64_t mask = (1ull << ns->lba_shift) - 1, len = 0;
	bool is_lba = flags & NOF_IO_LBA;

	if (iovcnt < 0 || (iovcnt && !iov))
		return nofi_fail(-EINVAL, "%s: iovcnt is %d%s", name, iovcnt,
				 iov ? "" : " and iov is NULL");
	for (int i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len > SSIZE_MAX - len)
			return nofi_fail(-EINVAL, "%s: the iovecs' lengths overflow", name);
		len += iov[i].iov_len;
	}
	if (flags & ~(uint32_t)(NOF_IO_LBA | NOF_IO_FUA | NOF_IO_LR | NOF_IO_ATOMIC |
				NOF_IO_FAIL_FAST))
		return nofi_fail(-EINVAL, "%s: flags %#x are not defined for it", name, flags);
	if ((!is_lba && offset & mask) || len & mask)
		return nofi_fail(-EINVAL, "%s: offset %llu and length %llu must be multiples of "
				 "the block size, %u bytes", name, (unsigned long long)offset,
				 (unsigned long long)len, 1u << ns->lba_shift);
	*slba = is_lba ? offset : offset >> ns->lba_shift;
	*blocks = len >> ns->lba_shift;
	return 0;
}

/* Where the metadata lies. */
static int place_md(struct pi_io *p, const struct nof_pi *a, void *md, size_t md_len)
{
	uint64_t want = p->blocks * p->pi.ms;
	bool is_all_pi = p->pi.type && p->pi.ms == nofi_pi_len(p->pi.pif);
	bool is_needed = a->mode == NOF_PI_CALLER || !is_all_pi;

	if ((md || is_needed) && (!md || md_len != want))
		return nofi_fail(-EINVAL, "metadata: %zu bytes%s were given, %llu blocks have %llu",
				 md_len, md ? "" : " at NULL", (unsigned long long)p->blocks,
				 (unsigned long long)want);
	p->is_md_moved = !(a->mode == NOF_PI_CONTROLLER && is_all_pi);
	if (!p->is_md_moved && md)
		return nofi_fail(-EINVAL, "metadata: all of it is the controller's with "
				 "NOF_PI_CONTROLLER, but a buffer was given");
	if (!p->is_md_moved)
		return 0;
	p->md = md;
	/* What the library computes does not change what the caller gave to be written. */
	if (md && (p->is_read || a->mode != NOF_PI_LIBRARY))
		return 0;
	p->own_md = p->md = calloc(1, want);
	if (!p->own_md)
		return nofi_fail(-ENOMEM, "metadata: no memory for %llu bytes",
				 (unsigned long long)want);
	if (md)
		memcpy(p->md, md, want);
	return 0;
}

static int fill(struct pi_io *p, const struct nof_pi *a, const struct iovec *iov, int iovcnt,
		void *md, size_t md_len, uint32_t flags)
{
	const struct nofi_ns_ident *ns = &p->chan->id;
	const char *name = call_name(p->opcode);
	bool is_compare = p->opcode == NOFI_OP_COMPARE;
	int r = nofi_io_check_place(ns, name, p->opcode == NOFI_OP_WRITE, p->slba, p->blocks);

	if (r < 0)
		return r;
	p->pi = (struct nofi_pi){ .type = ns->pi_type, .pif = ns->pif, .sts = ns->sts,
				  .is_first = ns->is_pi_first, .ms = ns->ms,
				  .block = 1u << ns->lba_shift, .checks = a->check,
				  .app = a->app_tag, .app_mask = a->app_tag_mask,
				  .ref = ns->pi_type == 1 || is_compare ? p->slba : a->ref_tag,
				  .storage = a->storage_tag };
	p->is_checked = p->is_read && a->mode == NOF_PI_LIBRARY;
	p->cdw12 = cdw12_of(ns, a, flags);
	/* A zone is written in order. */
	p->window = ns->zone_size && p->opcode == NOFI_OP_WRITE ? 1 : WINDOW;
	r = place_md(p, a, md, md_len);
	if (r < 0)
		return r;
	p->max = p->is_md_moved ? ns->max_md_blocks : ns->max_blocks;
	if (!p->max)
		return nofi_fail(-ENOTSUP, "%s: one command of the controller (MDTS) does not hold "
				 "a block of %u bytes with its %u of metadata", name, p->pi.block,
				 p->pi.ms);
	if (flags & NOF_IO_ATOMIC)
		r = p->is_read ? nofi_fail(-EINVAL, "%s: a read is not atomic", name) :
				 nofi_io_check_atomic(ns, name, ns->atomic_pf < p->max ?
						      ns->atomic_pf : p->max, p->slba, p->blocks);
	if (r < 0)
		return r;
	if (!p->is_read && a->mode == NOF_PI_LIBRARY)
		nofi_pi_fill(&p->pi, iov, 0, p->md, p->blocks);
	if (weave(p, iov, iovcnt) < 0)
		return nofi_fail(-ENOMEM, "%s: out of memory", name);
	return 0;
}

static int submit(struct nof_chan *chan, uint8_t opcode, const struct iovec *iov, int iovcnt,
		  void *md, size_t md_len, uint64_t offset, uint32_t flags,
		  const struct nof_pi *args, nof_done_fn *done, void *arg)
{
	const char *name = call_name(opcode);
	struct nof_pi a;
	struct nofi_err err;
	struct pi_io *p;
	int r;

	if (!chan || !done)
		return nofi_fail(-EINVAL, "%s: no channel or no callback was given", name);
	r = nofi_args_copy(&a, sizeof(a), args, name, &err);
	if (r < 0)
		return nofi_fail_err(&err);
	r = check_pi(&chan->id, name, &a);
	if (r < 0)
		return r;
	p = calloc(1, sizeof(*p));
	if (!p)
		return nofi_fail(-ENOMEM, "%s: out of memory", name);
	p->chan = chan;
	p->opcode = opcode;
	p->is_read = opcode == NOFI_OP_READ;
	p->user = iov;
	p->flags = flags & NOF_IO_FAIL_FAST;
	p->done = done;
	p->arg = arg;
	r = check_range(&chan->id, name, iov, iovcnt, offset, flags, &p->slba, &p->blocks);
	if (r == 0 && !p->blocks) {
		pi_free(p);
		return nofi_io_nothing(chan, name, done, arg);
	}
	if (r == 0)
		r = fill(p, &a, iov, iovcnt, md, md_len, flags);
	if (r == 0)
		r = send_part(p);
	if (r < 0) {
		pi_free(p);
		return r;
	}
	p->epoch = nofi_io_hold(chan);
	/* The others follow as these are done, but for a few that go beside it now. */
	while (p->pos < p->blocks && p->inflight < p->window && send_part(p) == 0)
		;
	return 0;
}

int nof_readv_pi(struct nof_chan *chan, const struct iovec *iov, int iovcnt, void *md,
		 size_t md_len, uint64_t offset, uint32_t flags, const struct nof_pi *pi,
		 nof_done_fn *done, void *arg)
{
	return submit(chan, NOFI_OP_READ, iov, iovcnt, md, md_len, offset, flags, pi, done, arg);
}

int nof_writev_pi(struct nof_chan *chan, const struct iovec *iov, int iovcnt, const void *md,
		  size_t md_len, uint64_t offset, uint32_t flags, const struct nof_pi *pi,
		  nof_done_fn *done, void *arg)
{
	return submit(chan, NOFI_OP_WRITE, iov, iovcnt, (void *)(uintptr_t)md, md_len, offset,
		      flags, pi, done, arg);
}

/* ---- comparing: controllers refuse PRACT, so that the information is made here ---- */

int nofi_io_compare_pi(struct nof_chan *chan, const struct iovec *iov, int iovcnt,
		       uint64_t offset, uint32_t flags, nof_done_fn *done, void *arg)
{
	const struct nof_pi pi = { .size = sizeof(pi), .mode = NOF_PI_LIBRARY,
				   .check = NOF_PI_GUARD | NOF_PI_REF_TAG };

	if (!(chan->id.features & NOF_NS_COMPARE))
		return nofi_fail(-EOPNOTSUPP, "compare: the controller does not support it (ONCS)");
	if (flags & NOF_IO_ATOMIC)
		return nofi_fail(-EINVAL, "compare: flags %#x are not defined for it", flags);
	for (int i = 0; i < iovcnt && iov; i++)
		if (iov[i].iov_len && !iov[i].iov_base)
			return nofi_fail(-EINVAL, "compare: the buffer is NULL");
	return submit(chan, NOFI_OP_COMPARE, iov, iovcnt, NULL, 0, offset, flags, &pi, done, arg);
}

struct fused {
	nof_done_fn *done;
	void *arg;
	struct iovec iov[];		/* of the comparison; behind it its metadata */
};

static void on_fused(void *arg, const struct nof_completion *c)
{
	struct fused *f = arg;

	f->done(f->arg, c);
	free(f);
}

int nofi_io_fused_pi(struct nof_chan *chan, struct nofi_io_cmd *cmp, const struct nofi_io_cmd *wr,
		     uint64_t slba, uint32_t flags, nof_done_fn *done, void *arg)
{
	const struct nofi_ns_ident *ns = &chan->id;
	uint32_t blocks = cmp->length >> ns->lba_shift;
	struct nofi_pi pi = { .type = ns->pi_type, .pif = ns->pif, .sts = ns->sts,
			      .is_first = ns->is_pi_first, .ms = ns->ms,
			      .block = 1u << ns->lba_shift, .ref = slba };
	struct iovec data = { cmp->buf, cmp->length };
	struct fused *f = malloc(sizeof(*f) + blocks * (2 * sizeof(f->iov[0]) + ns->ms));
	uint8_t *md;
	int r;

	if (!f)
		return nofi_fail(-ENOMEM, "%s: out of memory", cmp->name);
	md = (uint8_t *)(f->iov + 2 * (size_t)blocks);
	nofi_pi_fill(&pi, &data, 0, md, blocks);
	for (uint32_t i = 0; i < blocks; i++) {
		f->iov[2 * i] = (struct iovec){ (uint8_t *)cmp->buf + (size_t)i * pi.block,
						pi.block };
		f->iov[2 * i + 1] = (struct iovec){ md + (size_t)i * ns->ms, ns->ms };
	}
	f->done = done;
	f->arg = arg;
	cmp->iov = f->iov;
	cmp->iovcnt = (int)(2 * blocks);
	cmp->length += blocks * ns->ms;
	cmp->cdw[2] &= ~(uint32_t)PRACT;
	r = nofi_io_submit_fused(chan, cmp, wr, flags & NOF_IO_FAIL_FAST, on_fused, f);
	if (r < 0)
		free(f);
	return r;
}
