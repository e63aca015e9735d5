/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Single commands: compare and write, fused; and whatever the caller composes (C-3).
 */
#include <errno.h>

#include "chan.h"
#include "ctrl/guard.h"
#include "err.h"
#include "pdu/pi.h"

void nofi_io_put_lba(struct nofi_io_cmd *cmd, uint64_t lba)
{
	cmd->cdw[0] = (uint32_t)lba;
	cmd->cdw[1] = (uint32_t)(lba >> 32);
}

void nofi_io_put_prinfo(struct nofi_io_cmd *cmd, const struct nofi_ns_ident *ns, uint64_t lba)
{
	struct nofi_pi pi = { .type = ns->pi_type, .pif = ns->pif, .sts = ns->sts };

	if (!ns->prinfo)
		return;
	cmd->cdw[2] |= ns->prinfo;
	nofi_pi_cdws(&pi, lba, &cmd->cdw2, &cmd->cdw3, &cmd->cdw[4]);
}

int nofi_io_nothing(struct nof_chan *chan, const char *name, nof_done_fn *done, void *arg)
{
	struct nof_io *io;
	int r = nofi_io_get(chan, name, 0, done, arg, &io);

	if (r < 0)
		return r;
	io->opcode = NOFI_OP_FLUSH;
	io->left = 0;
	nofi_io_instant(io);
	return 0;
}

/* ---- compare and write ---- */

int nof_compare_write(struct nof_chan *chan, const void *expected, const void *data, size_t len,
		      uint64_t offset, uint32_t flags, nof_done_fn *done, void *arg)
{
	/* Once it has been done, the medium does not hold what is expected any more. */
	struct nofi_io_cmd cmp = { .name = "compare and write", .opcode = NOFI_OP_COMPARE,
				   .dir = NOFI_DIR_WRITE, .class = NOFI_IO_ONCE };
	struct nofi_io_cmd wr = cmp;
	const struct nofi_ns_ident *ns;
	uint64_t slba, blocks, mask;
	uint32_t max;
	int r;

	if (!chan || !done)
		return nofi_fail(-EINVAL, "compare and write: no channel or no callback was given");
	ns = &chan->id;
	mask = (1ull << ns->lba_shift) - 1;
	if (!(ns->features & NOF_NS_COMPARE_WRITE))
		return nofi_fail(-EOPNOTSUPP, "compare and write: the controller does not support "
				 "it (FUSES bit 0, ONCS bit 0 of Identify Controller)");
	if (!ns->is_plain)
		return nofi_fail(-ENOTSUP, "compare and write: blocks of namespace %u have %u "
				 "bytes of metadata that only the caller knows", ns->nsid, ns->ms);
	if (!expected || !data || !len || len & mask ||
	    flags & ~(uint32_t)(NOF_IO_LBA | NOF_IO_FUA | NOF_IO_LR | NOF_IO_FAIL_FAST) ||
	    (!(flags & NOF_IO_LBA) && offset & mask))
		return nofi_fail(-EINVAL, "compare and write: two buffers of whole blocks (%u "
				 "bytes) are needed, the flags (%#x) being those of a write",
				 1u << ns->lba_shift, flags);
	slba = flags & NOF_IO_LBA ? offset : offset >> ns->lba_shift;
	blocks = len >> ns->lba_shift;
	max = ns->prinfo ? ns->max_md_blocks : ns->max_blocks;
	if (max > ns->atomic_cmp)
		max = ns->atomic_cmp;
	if (blocks > max)
		return nofi_fail(-EMSGSIZE, "compare and write: %llu blocks, but the controller "
				 "does at most %u as one step (ACWU, MDTS)",
				 (unsigned long long)blocks, max);
	r = nofi_io_check_place(ns, cmp.name, true, slba, blocks);
	if (r < 0)
		return r;
	nofi_io_put_lba(&cmp, slba);
	cmp.cdw[2] = (uint32_t)(blocks - 1) | (flags & NOF_IO_FUA ? 1u << 30 : 0) |
		     (flags & NOF_IO_LR ? 1u << 31 : 0);
	cmp.length = (uint32_t)len;
	nofi_io_put_prinfo(&cmp, ns, slba);
	wr = cmp;
	wr.opcode = NOFI_OP_WRITE;
	cmp.buf = (void *)(uintptr_t)expected;
	wr.buf = (void *)(uintptr_t)data;
	if (ns->prinfo)
		return nofi_io_fused_pi(chan, &cmp, &wr, slba, flags, done, arg);
	return nofi_io_submit_fused(chan, &cmp, &wr, flags & NOF_IO_FAIL_FAST, done, arg);
}

/* ---- anything ---- */

int nof_io_passthru(struct nof_chan *chan, const struct nof_passthru *args, nof_done_fn *done,
		    void *arg)
{
	struct nofi_io_cmd cmd = { .name = "I/O command", .class = NOFI_IO_ONCE };
	struct nof_passthru p;
	struct nofi_err err;
	int r;

	if (!chan || !done)
		return nofi_fail(-EINVAL, "nof_io_passthru: no channel or no callback was given");
	r = nofi_args_copy(&p, sizeof(p), args, "nof_io_passthru", &err);
	if (r < 0)
		return nofi_fail_err(&err);
	r = nofi_guard_io(p.opcode, &err);
	if (r == 0)
		r = nofi_guard_dir(p.opcode, 0, p.data, p.data_len, &cmd.dir, &err);
	if (r < 0)
		return nofi_fail(r, "nof_io_passthru: %s", err.text);
	if (p.nsid && p.nsid != chan->id.nsid && p.nsid != UINT32_MAX)
		return nofi_fail(-EINVAL, "nof_io_passthru: NSID %u, but the channel is of "
				 "namespace %u; open one for the other", p.nsid, chan->id.nsid);
	if (p.fctype || p.timeout_ms)
		return nofi_fail(-EINVAL, "nof_io_passthru: fctype and timeout_ms are for admin "
				 "commands");
	if (p.data_len > chan->id.max_bytes)
		return nofi_fail(-EMSGSIZE, "nof_io_passthru: %u bytes of data, but one command "
				 "moves at most %u (MDTS)", p.data_len, chan->id.max_bytes);
	cmd.opcode = p.opcode;
	cmd.nsid = p.nsid;
	cmd.cdw2 = p.cdw2;
	cmd.cdw3 = p.cdw3;
	cmd.cdw[0] = p.cdw10;
	cmd.cdw[1] = p.cdw11;
	cmd.cdw[2] = p.cdw12;
	cmd.cdw[3] = p.cdw13;
	cmd.cdw[4] = p.cdw14;
	cmd.cdw[5] = p.cdw15;
	cmd.buf = p.data;
	cmd.length = p.data_len;
	return nofi_io_submit_cmd(chan, &cmd, 0, done, arg);
}
