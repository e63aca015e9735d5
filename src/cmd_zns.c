/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zoned namespaces: report (page by page), management, append.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chan.h"
#include "ctrl/reports.h"
#include "err.h"
#include "pdu/pi.h"
#include "pdu/wire.h"

enum {
	OPC_MGMT_SEND = 0x79, OPC_MGMT_RECV = 0x7a, OPC_APPEND = 0x7d,
	ZRA_PARTIAL = 1 << 16,
	ZSA_ALL = 1 << 8,
	PAGE_MAX = 64 << 10,		/* of one report: about a thousand zones */
};

static const uint32_t CDW12_LR = 1u << 31, CDW12_FUA = 1u << 30, CDW12_PIREMAP = 1u << 25;

static int check(const struct nof_chan *chan, const char *name)
{
	if (!chan)
		return nofi_fail(-EINVAL, "%s: no channel was given", name);
	if (!chan->id.zone_size)
		return nofi_fail(-ENOTSUP, "%s: namespace %u has no zones, its command set is %u",
				 name, chan->id.nsid, chan->id.csi);
	return 0;
}

static int check_zone(const struct nof_chan *chan, const char *name, uint64_t zone)
{
	if (zone >= chan->id.nblocks)
		return nofi_fail(-ERANGE, "%s: block %llu is behind the end of namespace %u, which "
				 "has %llu", name, (unsigned long long)zone, chan->id.nsid,
				 (unsigned long long)chan->id.nblocks);
	if (zone % chan->id.zone_size)
		return nofi_fail(-EINVAL, "%s: no zone starts at block %llu; they do every %llu "
				 "blocks", name, (unsigned long long)zone,
				 (unsigned long long)chan->id.zone_size);
	return 0;
}

/* ---- report ---- */

struct report {
	struct nof_chan *chan;
	struct nof_zone *zones;
	uint32_t max, count;
	uint32_t asked;			/* zones the page under way has room for */
	struct nofi_zone_ctx ctx;
	bool epoch;			/* nofi_io_hold() */
	nof_done_fn *done;
	void *arg;
	size_t len;			/* of data */
	uint8_t data[];
};

static void on_page(void *arg, const struct nof_completion *c);

static int next_page(struct report *p)
{
	struct nofi_io_cmd cmd = { .name = "zone report", .opcode = OPC_MGMT_RECV,
				   .dir = NOFI_DIR_READ, .class = NOFI_IO_IDEMPOTENT,
				   .buf = p->data };
	size_t len = NOFI_ZONE_HEADER + (size_t)(p->max - p->count) * NOFI_ZONE_ENTRY;

	if (len > p->len)
		len = p->len;
	p->asked = (uint32_t)((len - NOFI_ZONE_HEADER) / NOFI_ZONE_ENTRY);
	memset(p->data, 0, len);
	cmd.length = (uint32_t)len;
	cmd.cdw[0] = (uint32_t)p->ctx.from;
	cmd.cdw[1] = (uint32_t)(p->ctx.from >> 32);
	cmd.cdw[2] = (uint32_t)(len / 4 - 1);
	/* Partial: the count is of this page, not of all that would follow. */
	cmd.cdw[3] = p->ctx.filter << 8 | ZRA_PARTIAL;
	return nofi_io_submit_cmd(p->chan, &cmd, 0, on_page, p);
}

static void on_page(void *arg, const struct nof_completion *c)
{
	struct report *p = arg;
	struct nof_completion out = *c;
	struct nofi_err err;
	int n;

	if (!c->error) {
		n = nofi_zones_parse(p->data, NOFI_ZONE_HEADER + (size_t)p->asked * NOFI_ZONE_ENTRY,
				     &p->ctx, p->zones + p->count, p->asked, &err);
		if (n >= 0) {
			p->count += (uint32_t)n;
			if (n)
				p->ctx.from = p->zones[p->count - 1].start + p->ctx.zone_size;
			out.result = p->count;
			if (n && (uint32_t)n == p->asked && p->count < p->max &&
			    p->ctx.from < p->ctx.nblocks) {
				n = next_page(p);
				if (n == 0)
					return;
				nofi_err_set(&err, n, "%s", nof_strerror_detail());
			}
		}
		if (n < 0) {
			out.error = n;
			out.detail = err.text;
			out.result = 0;
		}
	}
	nofi_io_release(p->chan, p->epoch);
	p->done(p->arg, &out);
	free(p);
}

int nof_zone_report(struct nof_chan *chan, uint64_t lba, enum nof_zone_filter filter,
		    struct nof_zone *zones, uint32_t max, nof_done_fn *done, void *arg)
{
	struct report *p;
	size_t len, limit;
	int r = check(chan, "zone report");

	if (r < 0)
		return r;
	if ((unsigned)filter > NOF_ZONES_OFFLINE || !zones || !max || !done)
		return nofi_fail(-EINVAL, "zone report: a place for at least one zone and a "
				 "callback are needed, and filter %d has to be one of enum "
				 "nof_zone_filter", (int)filter);
	if (lba >= chan->id.nblocks)
		return nofi_fail(-ERANGE, "zone report: block %llu is behind the end of namespace "
				 "%u, which has %llu", (unsigned long long)lba, chan->id.nsid,
				 (unsigned long long)chan->id.nblocks);
	limit = chan->id.max_bytes;
	len = NOFI_ZONE_HEADER + (size_t)max * NOFI_ZONE_ENTRY;
	len = len < PAGE_MAX ? len : PAGE_MAX;
	len = len < limit ? len : limit - limit % NOFI_ZONE_ENTRY;
	p = malloc(sizeof(*p) + len);
	if (!p)
		return nofi_fail(-ENOMEM, "zone report: out of memory");
	*p = (struct report){ .chan = chan, .zones = zones, .max = max, .done = done, .arg = arg,
			      .len = len };
	p->ctx = (struct nofi_zone_ctx){ .nblocks = chan->id.nblocks, .from = lba,
					 .zone_size = chan->id.zone_size,
					 .filter = (uint32_t)filter };
	r = next_page(p);
	if (r < 0)
		free(p);
	else
		p->epoch = nofi_io_hold(chan);
	return r;
}

/* ---- management, append ---- */

int nof_zone_mgmt(struct nof_chan *chan, uint64_t zone, enum nof_zone_action action,
		  nof_done_fn *done, void *arg)
{
	struct nofi_io_cmd cmd = { .name = "zone management", .opcode = OPC_MGMT_SEND,
				   .class = NOFI_IO_WRITE };
	int r = check(chan, cmd.name);

	if (r == 0 && (action < NOF_ZONE_CLOSE || action > NOF_ZONE_OFFLINE_NOW))
		r = nofi_fail(-EINVAL, "zone management: action %d is not one of enum "
			      "nof_zone_action", (int)action);
	if (r == 0 && zone != NOF_ZONE_EVERY)
		r = check_zone(chan, cmd.name, zone);
	if (r == 0)
		r = nofi_io_check_place(&chan->id, cmd.name, true, 0, 0);
	if (r < 0)
		return r;
	if (zone == NOF_ZONE_EVERY)
		cmd.cdw[3] = ZSA_ALL;
	else
		nofi_io_put_lba(&cmd, zone);
	cmd.cdw[3] |= (uint32_t)action;
	return nofi_io_submit_cmd(chan, &cmd, 0, done, arg);
}

int nof_zone_append(struct nof_chan *chan, const void *buf, size_t len, uint64_t zone,
		    uint32_t flags, nof_done_fn *done, void *arg)
{
	/* Repeated, it would write its data twice. */
	struct nofi_io_cmd cmd = { .name = "zone append", .opcode = OPC_APPEND,
				   .dir = NOFI_DIR_WRITE, .class = NOFI_IO_ONCE,
				   .buf = (void *)(uintptr_t)buf };
	uint64_t blocks;
	int r = check(chan, cmd.name);

	if (r < 0)
		return r;
	if (!(chan->id.features & NOF_NS_ZONE_APPEND))
		return nofi_fail(-EOPNOTSUPP, "zone append: the controller does not support it "
				 "(command 7Dh in log page 05h of the zoned command set)");
	if (!chan->id.is_plain)
		return nofi_fail(-ENOTSUP, "zone append: blocks of namespace %u have %u bytes of "
				 "metadata that only the caller knows; use nof_writev_pi()",
				 chan->id.nsid, chan->id.ms);
	blocks = len >> chan->id.lba_shift;
	if (!buf || !len || len & ((1u << chan->id.lba_shift) - 1) ||
	    flags & ~(uint32_t)(NOF_IO_FUA | NOF_IO_LR | NOF_IO_FAIL_FAST))
		return nofi_fail(-EINVAL, "zone append: %zu bytes%s with flags %#x; whole blocks "
				 "of %u bytes are appended, at least one", len,
				 buf ? "" : " of a NULL buffer", flags,
				 1u << chan->id.lba_shift);
	if (blocks > chan->id.max_append_blocks)
		return nofi_fail(-EMSGSIZE, "zone append: %llu blocks, but one command appends at "
				 "most %u (ZASL, MDTS), and it cannot be split",
				 (unsigned long long)blocks, chan->id.max_append_blocks);
	r = check_zone(chan, cmd.name, zone);
	if (r == 0)
		r = nofi_io_check_place(&chan->id, cmd.name, true, zone, blocks);
	if (r < 0)
		return r;
	nofi_io_put_lba(&cmd, zone);
	cmd.cdw[2] = (uint32_t)(blocks - 1) | (flags & NOF_IO_FUA ? CDW12_FUA : 0) |
		     (flags & NOF_IO_LR ? CDW12_LR : 0);
	nofi_io_put_prinfo(&cmd, &chan->id, zone);
	/* The controller knows where the blocks will be: it has to correct their tags. */
	if (chan->id.prinfo && chan->id.pi_type != 3)
		cmd.cdw[2] |= CDW12_PIREMAP;
	cmd.length = (uint32_t)len;
	return nofi_io_submit_cmd(chan, &cmd, flags & NOF_IO_FAIL_FAST, done, arg);
}
