/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Formats of a namespace: the one it was made with comes first, then those that
 * every namespace has. Formatting keeps the memory: it was made large enough for
 * any of them, because output in flight may still point into it.
 */
#include <nvme/types.h>

#include "pi.h"
#include "target.h"
#include "zns.h"

static const struct lba_format common[] = {
	{ 9, 0, PI_GUARD16 },	{ 12, 0, PI_GUARD16 },	{ 9, 8, PI_GUARD16 },
	{ 12, 8, PI_GUARD16 },	{ 9, 16, PI_GUARD32 },	{ 12, 16, PI_GUARD32 },
	{ 9, 16, PI_GUARD64 },	{ 12, 16, PI_GUARD64 },	{ 9, 64, PI_GUARD16 },
	{ 12, 64, PI_GUARD16 },
};

#define INVALID_FORMAT (0x100u | NVME_SC_INVALID_FORMAT | DNR)

unsigned int format_count(void)
{
	return 1 + sizeof(common) / sizeof(common[0]);
}

/* ns NULL: of a namespace yet to be made. */
struct lba_format format_at(const struct ns *ns, unsigned int i)
{
	static const struct lba_format usual = { 12, 0, PI_GUARD16 };

	if (i)
		return common[i - 1];
	return ns ? ns->first_format : usual;
}

/* What follows from the format in force. */
void format_apply(struct ns *ns)
{
	struct lba_format f = format_at(ns, ns->flbas);

	ns->lbads = f.lbads;
	ns->ms = f.ms;
	ns->pif = f.pif;
	ns->stride = (1u << f.lbads) + f.ms;
	/* The size of a file holds the metadata, too; of the others it is that of the data. */
	ns->blocks = ns->kind == NS_FILE ? ns->bytes / ns->stride : ns->bytes >> ns->lbads;
	if (ns->pi_type)
		ns->special |= NS_PI;
	else
		ns->special &= ~NS_PI;
}

/* Memory for any format of so much data. */
uint64_t format_memory(const struct ns *ns)
{
	uint64_t max = 0;

	for (unsigned int i = 0; i < format_count(); i++) {
		struct lba_format f = format_at(ns, i);
		uint64_t need = (ns->bytes >> f.lbads) * ((1u << f.lbads) + f.ms);

		if (need > max)
			max = need;
	}
	return max;
}

bool format_is_valid(const struct ns *ns, unsigned int i, uint8_t pi_type)
{
	struct lba_format f;

	if (i >= format_count() || pi_type > 3)
		return false;
	f = format_at(ns, i);
	return !pi_type || f.ms >= pi_size(f.pif);
}

/* Commands under way were made for another geometry: none of them is executed any more. */
static void fail_commands(const struct ns *ns)
{
	for (struct conn *c = conns; c; c = c->next) {
		for (struct cmd *cmd = c->used_cmds; cmd; cmd = cmd->next) {
			if (cmd->ns != ns || cmd->status)
				continue;
			cmd->status = NVME_SC_FORMAT_IN_PROGRESS;
			cmd->sink = SINK_DISCARD;
		}
	}
}

static uint16_t format_one(struct ns *ns, uint32_t dw10)
{
	unsigned int i = (dw10 & 15) | (dw10 >> 12 & 3) << 4;
	uint8_t pi_type = dw10 >> 5 & 7;
	struct lba_format f;

	if (!format_is_valid(ns, i, pi_type))
		return INVALID_FORMAT;
	f = format_at(ns, i);
	if (f.ms && !(dw10 & 1u << 4))	/* metadata only travels behind its block */
		return INVALID_FORMAT;
	if (ns->is_readonly)
		return NVME_SC_NS_WRITE_PROTECTED | DNR;
	if (ns->special & NS_SANITIZING)
		return NVME_SC_SANITIZE_IN_PROGRESS;
	if (ns->zns && ns->kind == NS_FILE)
		return INVALID_FORMAT;	/* how many zones fit depends on the format */
	fail_commands(ns);
	ns->flbas = (uint8_t)i;
	ns->pi_type = pi_type;
	ns->is_pi_first = dw10 >> 8 & 1;
	format_apply(ns);
	return ns_erase(ns);
}

/* All data goes: what is read afterwards was never written. */
uint16_t ns_erase(struct ns *ns)
{
	range_clear(&ns->uncor);
	ns->special &= ~NS_UNCOR;
	if (ns->zns)
		zns_reset(ns);
	return ns_zero(ns, 0, ns->kind == NS_MEM ? ns->map_len : ns->blocks * ns->stride, true);
}

static void exec_format(struct cmd *cmd)
{
	struct ctrl *ctrl = cmd->conn->ctrl;
	struct subsys *s = ctrl->subsys;
	uint32_t nsid = sqe_dw(cmd, 1);
	uint16_t status = 0;
	bool is_any = false;

	if ((sqe_dw(cmd, 10) >> 9 & 7) > 2)
		status = NVME_SC_INVALID_FIELD | DNR;
	for (unsigned int i = 0; i < s->nns && !status; i++) {
		struct ns *ns = s->ns[i];

		if (nsid != 0xffffffff && ns->nsid != nsid)
			continue;
		is_any = true;
		if ((ns->special & NS_RESERVED) && resv_conflicts(cmd, ns, WRITES))
			status = NVME_SC_RESERVATION_CONFLICT | DNR;
		else
			status = format_one(ns, sqe_dw(cmd, 10));
	}
	if (!is_any && !status)
		status = NVME_SC_INVALID_NS | DNR;
	cmd_done(cmd, status);
	if (!status)
		subsys_ns_changed(s, nsid);
}

void format_prepare(struct cmd *cmd)
{
	cmd->exec = exec_format;
}
