/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reservations: four commands with a few bytes each, and one report.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chan.h"
#include "ctrl/reports.h"
#include "err.h"
#include "pdu/wire.h"

enum { OPC_REGISTER = 0x0d, OPC_REPORT = 0x0e, OPC_ACQUIRE = 0x11, OPC_RELEASE = 0x15 };

static int check(const struct nof_chan *chan, const char *name, uint32_t flags, uint32_t known)
{
	if (!chan)
		return nofi_fail(-EINVAL, "%s: no channel was given", name);
	if (!(chan->id.features & NOF_NS_RESERVATIONS))
		return nofi_fail(-EOPNOTSUPP, "%s: the controller does not support reservations "
				 "(ONCS bit 5 of Identify Controller is 0)", name);
	if (flags & ~known)
		return nofi_fail(-EINVAL, "%s: flags %#x are not defined for it", name,
				 flags & ~known);
	return 0;
}

static uint32_t ignore_key(uint32_t flags)
{
	return flags & NOF_RESV_IGNORE_KEY ? 1u << 3 : 0;
}

/*
 * once: said twice it would not mean the same, because the key it names is gone then. The
 * others may be repeated like a write.
 */
static int submit(struct nof_chan *chan, const char *name, uint8_t opcode, uint32_t cdw10,
		  uint64_t key, uint64_t key2, uint32_t len, bool once, nof_done_fn *done,
		  void *arg)
{
	uint8_t keys[16];
	struct nofi_io_cmd cmd = {
		.name = name, .opcode = opcode, .cdw = { cdw10 }, .scratch = keys, .length = len,
		.dir = NOFI_DIR_WRITE, .class = once ? NOFI_IO_ONCE : NOFI_IO_WRITE,
	};

	nofi_put64(keys, key);
	nofi_put64(keys + 8, key2);
	return nofi_io_submit_cmd(chan, &cmd, 0, done, arg);
}

int nof_resv_register(struct nof_chan *chan, enum nof_resv_register_action action, uint64_t key,
		      uint64_t new_key, uint32_t flags, nof_done_fn *done, void *arg)
{
	const uint32_t persist = NOF_RESV_PERSIST | NOF_RESV_NO_PERSIST;
	uint32_t cdw10 = (uint32_t)action | ignore_key(flags);
	int r = check(chan, "reservation register", flags, NOF_RESV_IGNORE_KEY | persist);

	if (r < 0)
		return r;
	if ((unsigned)action > NOF_RESV_REPLACE || (flags & persist) == persist)
		return nofi_fail(-EINVAL, "reservation register: action %d is none of the three, "
				 "or both kinds of persistence were asked for", (int)action);
	if (flags & persist)
		cdw10 |= (flags & NOF_RESV_PERSIST ? 3u : 2u) << 30;
	return submit(chan, "reservation register", OPC_REGISTER, cdw10, key, new_key, 16,
		      action != NOF_RESV_REGISTER, done, arg);
}

static int check_type(const char *name, enum nof_resv_type type)
{
	if (type < NOF_RESV_WRITE_EXCLUSIVE || type > NOF_RESV_EXCLUSIVE_ACCESS_ALL)
		return nofi_fail(-EINVAL, "%s: type %d is not one of enum nof_resv_type", name,
				 (int)type);
	return 0;
}

int nof_resv_acquire(struct nof_chan *chan, enum nof_resv_acquire_action action,
		     enum nof_resv_type type, uint64_t key, uint64_t preempt_key, uint32_t flags,
		     nof_done_fn *done, void *arg)
{
	int r = check(chan, "reservation acquire", flags, NOF_RESV_IGNORE_KEY);

	if (r == 0 && (unsigned)action > NOF_RESV_PREEMPT_ABORT)
		r = nofi_fail(-EINVAL, "reservation acquire: action %d is none of the three",
			      (int)action);
	if (r == 0)
		r = check_type("reservation acquire", type);
	if (r < 0)
		return r;
	return submit(chan, "reservation acquire", OPC_ACQUIRE,
		      (uint32_t)action | ignore_key(flags) | (uint32_t)type << 8, key, preempt_key,
		      16, action != NOF_RESV_ACQUIRE, done, arg);
}

int nof_resv_release(struct nof_chan *chan, enum nof_resv_release_action action,
		     enum nof_resv_type type, uint64_t key, uint32_t flags, nof_done_fn *done,
		     void *arg)
{
	int r = check(chan, "reservation release", flags, NOF_RESV_IGNORE_KEY);

	if (r == 0 && (unsigned)action > NOF_RESV_CLEAR)
		r = nofi_fail(-EINVAL, "reservation release: action %d is none of the two",
			      (int)action);
	/* Clearing names no type: it may be of any. */
	if (r == 0 && action == NOF_RESV_RELEASE)
		r = check_type("reservation release", type);
	if (r < 0)
		return r;
	return submit(chan, "reservation release", OPC_RELEASE,
		      (uint32_t)action | ignore_key(flags) |
		      (action == NOF_RESV_RELEASE ? (uint32_t)type << 8 : 0), key, 0, 8,
		      action != NOF_RESV_RELEASE, done, arg);
}

/* ---- report ---- */

struct report {
	struct nof_resv_status *status;
	struct nof_registrant *regs;
	uint32_t max;
	bool is_extended;
	nof_done_fn *done;
	void *arg;
	size_t len;
	uint8_t data[];
};

static void on_report(void *arg, const struct nof_completion *c)
{
	struct nof_resv_status st = { 0 };
	struct report *p = arg;
	struct nof_completion out = *c;
	struct nofi_err err;
	int n;

	if (!c->error) {
		/* Judged before anything of the caller's is touched. */
		n = nofi_resv_parse(p->data, p->len, p->is_extended, &st, p->regs, p->max, &err);
		if (n < 0) {
			out.error = n;
			out.detail = err.text;
			out.result = 0;
		} else {
			st.size = p->status->size;
			memcpy(p->status, &st, st.size < sizeof(st) ? st.size : sizeof(st));
			out.result = (uint64_t)n;
		}
	}
	p->done(p->arg, &out);
	free(p);
}

int nof_resv_report(struct nof_chan *chan, struct nof_resv_status *status,
		    struct nof_registrant *regs, uint32_t max, nof_done_fn *done, void *arg)
{
	struct nofi_io_cmd cmd = { .name = "reservation report", .opcode = OPC_REPORT,
				   .dir = NOFI_DIR_READ, .class = NOFI_IO_IDEMPOTENT };
	struct report *p;
	size_t len, limit;
	int r = check(chan, "reservation report", 0, 0);

	if (r < 0)
		return r;
	if (!status || status->size < sizeof(status->size) || (max && !regs) || !done)
		return nofi_fail(-EINVAL, "reservation report: status with its size, a place for "
				 "the registrants and a callback are needed");
	limit = chan->id.max_bytes;
	if (max > UINT16_MAX)
		max = UINT16_MAX;	/* there cannot be more */
	len = nofi_resv_len(chan->id.has_long_hostid, max);
	if (len > limit)
		len = limit - limit % 4;
	p = calloc(1, sizeof(*p) + len);
	if (!p)
		return nofi_fail(-ENOMEM, "reservation report: out of memory");
	*p = (struct report){ .status = status, .regs = regs, .max = max, .done = done,
			      .arg = arg, .is_extended = chan->id.has_long_hostid, .len = len };
	cmd.cdw[0] = (uint32_t)(len / 4 - 1);
	cmd.cdw[1] = p->is_extended;
	cmd.buf = p->data;
	cmd.length = (uint32_t)len;
	r = nofi_io_submit_cmd(chan, &cmd, 0, on_report, p);
	if (r < 0)
		free(p);
	return r;
}
