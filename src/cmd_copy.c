/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copy inside the controller: ranges cut to its limits, one command after the other.
 */
#include <errno.h>
#include <stdlib.h>

#include "chan.h"
#include "ctrl/copydesc.h"
#include "err.h"
#include "pdu/wire.h"

enum { OPC_COPY = 0x19, RANGES_MAX = 1 << 20 };

struct copy {
	struct nof_chan *chan;
	uint64_t dst;			/* block of the next command */
	struct nofi_copy_cursor at;
	struct nofi_copy_limits lim;
	uint8_t format;
	uint32_t cdw12;			/* all but the number of ranges */
	uint32_t flags;			/* of each request */
	bool epoch;			/* nofi_io_hold() */
	struct nofi_pi pi;
	nof_done_fn *done;
	void *arg;
	uint8_t desc[NOFI_COPY_RANGES * NOFI_COPY_DESC1];
	struct nof_copy_range ranges[];	/* in blocks */
};

static void on_part(void *arg, const struct nof_completion *c);

/* 1: sent; 0: nothing is left. */
static int next_part(struct copy *p)
{
	struct nofi_io_cmd cmd = { .name = "copy", .opcode = OPC_COPY, .dir = NOFI_DIR_WRITE,
				   .class = NOFI_IO_WRITE, .buf = p->desc };
	const struct nofi_pi *pi = p->pi.type ? &p->pi : NULL;
	uint32_t blocks;
	unsigned n = nofi_copy_build(&p->at, &p->lim, p->format, pi, p->desc, &blocks);
	int r;

	if (!n)
		return 0;
	nofi_io_put_lba(&cmd, p->dst);
	cmd.cdw[2] = (n - 1) | p->cdw12;
	if (pi)
		nofi_pi_cdws(pi, p->dst, &cmd.cdw2, &cmd.cdw3, &cmd.cdw[4]);
	cmd.length = n * (p->format ? NOFI_COPY_DESC1 : NOFI_COPY_DESC0);
	p->dst += blocks;
	r = nofi_io_submit_cmd(p->chan, &cmd, p->flags, on_part, p);
	return r < 0 ? r : 1;
}

static void on_part(void *arg, const struct nof_completion *c)
{
	struct copy *p = arg;
	struct nof_completion out = *c;
	struct nofi_err err;
	int r;

	if (!c->error) {
		r = next_part(p);
		if (r > 0)
			return;
		if (r < 0) {
			nofi_err_set(&err, r, "%s", nof_strerror_detail());
			out.error = r;
			out.detail = err.text;
		}
	}
	out.result = 0;
	nofi_io_release(p->chan, p->epoch);
	p->done(p->arg, &out);
	free(p);
}

/* Ranges in blocks, with their sum. */
static int take_ranges(const struct nofi_ns_ident *ns, const struct nof_copy_range *in, size_t n,
		       uint32_t flags, struct nof_copy_range *out, uint64_t *total)
{
	uint64_t mask = (1ull << ns->lba_shift) - 1;
	unsigned shift = flags & NOF_IO_LBA ? 0 : ns->lba_shift;

	*total = 0;
	for (size_t i = 0; i < n; i++) {
		int r;

		if (shift && (in[i].offset | in[i].length) & mask)
			return nofi_fail(-EINVAL, "copy: offset %llu and length %llu of range %zu "
					 "must be multiples of the block size, %u bytes",
					 (unsigned long long)in[i].offset,
					 (unsigned long long)in[i].length, i, 1u << ns->lba_shift);
		out[i].offset = in[i].offset >> shift;
		out[i].length = in[i].length >> shift;
		r = nofi_io_check_place(ns, "copy", false, out[i].offset, out[i].length);
		if (r < 0)
			return r;
		*total += out[i].length;
		if (*total > ns->nblocks)
			return nofi_fail(-ERANGE, "copy: the ranges have more blocks than "
					 "namespace %u", ns->nsid);
	}
	return 0;
}

static int check_overlap(const struct copy *p, size_t n, uint64_t total)
{
	for (size_t i = 0; i < n; i++) {
		const struct nof_copy_range *r = &p->ranges[i];

		if (r->length && r->offset < p->dst + total && p->dst < r->offset + r->length)
			return nofi_fail(-EINVAL, "copy: range %zu, %llu blocks at %llu, overlaps "
					 "the destination, %llu blocks at %llu; what would be "
					 "copied then is not defined", i,
					 (unsigned long long)r->length,
					 (unsigned long long)r->offset, (unsigned long long)total,
					 (unsigned long long)p->dst);
	}
	return 0;
}

static int check(const struct nof_chan *chan, const struct nof_copy_range *ranges, size_t n,
		 uint32_t flags, uint8_t format)
{
	if (!(chan->id.features & NOF_NS_COPY))
		return nofi_fail(-EOPNOTSUPP, "copy: the controller does not support it (ONCS bit "
				 "8), or names no limits for namespace %u (MSSRL, MCL)",
				 chan->id.nsid);
	if (!(chan->id.copy_formats & 1u << format))
		return nofi_fail(-EOPNOTSUPP, "copy: the controller does not take descriptors of "
				 "format %u (OCFS %#x), which the namespace's protection "
				 "information wants", format, chan->id.copy_formats);
	if (!ranges || !n || n > RANGES_MAX)
		return nofi_fail(-EINVAL, "copy: %zu ranges; 1 to %u can be copied", n, RANGES_MAX);
	if (flags & ~(uint32_t)(NOF_IO_LBA | NOF_IO_FUA | NOF_IO_LR | NOF_IO_FAIL_FAST))
		return nofi_fail(-EINVAL, "copy: flags %#x are not defined for it", flags);
	return 0;
}

/* The descriptors are data of a command, too: MDTS holds for them. */
static struct nofi_copy_limits limits_of(const struct nofi_ns_ident *ns, uint8_t format)
{
	uint32_t fit = ns->max_bytes / (format ? NOFI_COPY_DESC1 : NOFI_COPY_DESC0);

	return (struct nofi_copy_limits){ ns->copy_range, ns->copy_total,
					  ns->copy_ranges < fit ? ns->copy_ranges : fit };
}

int nof_copy(struct nof_chan *chan, const struct nof_copy_range *ranges, size_t n, uint64_t offset,
	     uint32_t flags, nof_done_fn *done, void *arg)
{
	const struct nofi_ns_ident *ns;
	uint64_t total;
	struct copy *p;
	uint8_t format;
	int r;

	if (!chan || !done)
		return nofi_fail(-EINVAL, "copy: no channel or no callback was given");
	ns = &chan->id;
	format = ns->pi_type && ns->pif ? 1 : 0;
	r = check(chan, ranges, n, flags, format);
	if (r < 0)
		return r;
	if (!(flags & NOF_IO_LBA) && offset & ((1u << ns->lba_shift) - 1))
		return nofi_fail(-EINVAL, "copy: the destination %llu must be a multiple of the "
				 "block size, %u bytes", (unsigned long long)offset,
				 1u << ns->lba_shift);
	p = malloc(sizeof(*p) + n * sizeof(p->ranges[0]));
	if (!p)
		return nofi_fail(-ENOMEM, "copy: out of memory");
	p->chan = chan;
	p->dst = flags & NOF_IO_LBA ? offset : offset >> ns->lba_shift;
	p->at = (struct nofi_copy_cursor){ p->ranges, n, 0 };
	p->format = format;
	p->flags = flags & NOF_IO_FAIL_FAST;
	p->lim = limits_of(ns, format);
	p->pi = (struct nofi_pi){ .type = ns->pi_type, .pif = ns->pif, .sts = ns->sts };
	p->cdw12 = (uint32_t)format << 8 | (flags & NOF_IO_FUA ? 1u << 30 : 0) |
		   (flags & NOF_IO_LR ? 1u << 31 : 0);
	/* Checked where it is read, made anew where it is written: tags follow the blocks. */
	if (ns->pi_type)
		p->cdw12 |= 1u << 29 | 1u << 15 | 1u << 14 | (ns->pi_type != 3 ? 1u << 12 : 0);
	p->done = done;
	p->arg = arg;
	r = take_ranges(ns, ranges, n, flags, p->ranges, &total);
	if (r == 0)
		r = nofi_io_check_place(ns, "copy", true, p->dst, total);
	if (r == 0)
		r = check_overlap(p, n, total);
	if (r == 0)
		r = next_part(p);
	if (r > 0) {
		p->epoch = nofi_io_hold(chan);
		return 0;
	}
	free(p);
	/* Nothing to copy: done, asynchronously. */
	return r < 0 ? r : nofi_io_nothing(chan, "copy", done, arg);
}
