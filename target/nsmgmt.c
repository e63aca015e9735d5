/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Namespaces made and attached by hosts. Controllers are dynamic, so an
 * attachment is to the host of the controller that is named, and holds for all
 * controllers it has and will have.
 */
#include <nvme/types.h>
#include <stdio.h>
#include <stdlib.h>

#include "target.h"

enum { CREATE = 0, DELETE = 1, ATTACH = 0, DETACH = 1, DATA_LEN = 4096, LIST_MAX = 2047 };

#define CMD_STATUS(sc) (0x100u | (sc) | DNR)

/* ---- who sees a namespace ---- */

static struct host_ref **find_host(struct ns *ns, const char *nqn)
{
	struct host_ref **p;

	for (p = &ns->hosts; *p && strcmp((*p)->nqn, nqn); p = &(*p)->next)
		;
	return p;
}

bool ns_is_attached(const struct ns *ns, const struct ctrl *ctrl)
{
	const struct host_ref *h = ns->hosts;

	if (!(ns->special & NS_PRIVATE))
		return true;
	while (h && strcmp(h->nqn, ctrl->hostnqn))
		h = h->next;
	return !!h != ns->is_host_list_of_excluded;
}

static uint16_t set_attached(struct ns *ns, const struct ctrl *ctrl, bool is_attached)
{
	struct host_ref **p = find_host(ns, ctrl->hostnqn), *h = *p;

	if (!(ns->special & NS_PRIVATE)) {	/* attached to all, from now on to all but these */
		ns->is_host_list_of_excluded = true;
		ns->special |= NS_PRIVATE;
	}
	if (h) {
		*p = h->next;
		free(h);
		return 0;
	}
	h = calloc(1, sizeof(*h));
	if (!h)
		return NVME_SC_INTERNAL;
	strcpy(h->nqn, ctrl->hostnqn);
	h->next = ns->hosts;
	ns->hosts = h;
	return 0;
}

void ns_free_hosts(struct ns *ns)
{
	while (ns->hosts) {
		struct host_ref *h = ns->hosts;

		ns->hosts = h->next;
		free(h);
	}
}

/* ---- Namespace Attachment ---- */

static struct ctrl *find_ctrl(const struct subsys *s, uint16_t cntlid)
{
	struct ctrl *k;

	for (k = s->ctrls; k && k->cntlid != cntlid; k = k->next)
		;
	return k;
}

static uint16_t check_list(struct cmd *cmd, const struct ns *ns, bool is_attach)
{
	const struct subsys *s = cmd->conn->ctrl->subsys;
	uint16_t n = nofi_get16(cmd->buf);

	if (!n || n > LIST_MAX)
		return CMD_STATUS(NVME_SC_CTRL_LIST_INVALID);
	for (unsigned int i = 1; i <= n; i++) {
		const struct ctrl *k = find_ctrl(s, nofi_get16(cmd->buf + 2 * i));

		if (!k || (i > 1 && nofi_get16(cmd->buf + 2 * i) <=
				    nofi_get16(cmd->buf + 2 * (i - 1))))
			return CMD_STATUS(NVME_SC_CTRL_LIST_INVALID);
		if (ns_is_attached(ns, k) == is_attach)
			return CMD_STATUS(is_attach ? NVME_SC_NS_ALREADY_ATTACHED :
						      NVME_SC_NS_NOT_ATTACHED);
	}
	if (is_attach && !(ns->nmic & 1) && (n > 1 || ns->hosts))
		return CMD_STATUS(NVME_SC_NS_IS_PRIVATE);
	return 0;
}

/* The controller, or another one of its host, is in the command's list. */
static bool is_listed(const struct cmd *cmd, const struct ctrl *ctrl)
{
	for (unsigned int i = 1; i <= nofi_get16(cmd->buf); i++) {
		const struct ctrl *k = find_ctrl(ctrl->subsys, nofi_get16(cmd->buf + 2 * i));

		if (k && !strcmp(k->hostnqn, ctrl->hostnqn))
			return true;
	}
	return false;
}

static void exec_attach(struct cmd *cmd)
{
	struct ctrl *ctrl = cmd->conn->ctrl;
	struct subsys *s = ctrl->subsys;
	struct ns *ns = ns_find(s, sqe_dw(cmd, 1));
	uint32_t sel = sqe_dw(cmd, 10) & 15;
	uint16_t status, n = nofi_get16(cmd->buf);
	struct ctrl *next;

	if (!ns)
		status = NVME_SC_INVALID_NS | DNR;
	else if (sel > DETACH)
		status = NVME_SC_INVALID_FIELD | DNR;
	else
		status = check_list(cmd, ns, sel == ATTACH);
	if (status) {
		cmd_done(cmd, status);
		return;
	}
	for (unsigned int i = 1; i <= n && !status; i++) {
		const struct ctrl *k = find_ctrl(s, nofi_get16(cmd->buf + 2 * i));

		/* Two controllers of one host: the first brought the other along. */
		if (ns_is_attached(ns, k) != (sel == ATTACH))
			status = set_attached(ns, k, sel == ATTACH);
	}
	for (struct ctrl *k = s->ctrls; k; k = next) {
		next = k->next;		/* telling it may be the end of it */
		if (k != ctrl && is_listed(cmd, k))
			ctrl_ns_changed(k, ns->nsid);
	}
	cmd_done(cmd, status);
}

/* ---- Namespace Management ---- */

static uint64_t used_capacity(const struct subsys *s)
{
	uint64_t used = 0;

	for (unsigned int i = 0; i < s->nns; i++)
		used += s->ns[i]->is_created ? s->ns[i]->bytes : 0;
	return used;
}

uint64_t ns_unallocated(const struct subsys *s)
{
	uint64_t used = used_capacity(s);

	return used < opt.capacity ? opt.capacity - used : 0;
}

static uint32_t free_nsid(const struct subsys *s)
{
	uint32_t nsid = 1;

	for (unsigned int i = 0; i < s->nns && s->ns[i]->nsid == nsid; i++)
		nsid++;
	return nsid;
}

static uint16_t create(struct cmd *cmd)
{
	const struct nvme_id_ns *d = (const void *)cmd->buf;
	struct subsys *s = cmd->conn->ctrl->subsys;
	unsigned int format = (d->flbas & 15) | (d->flbas >> 5 & 3) << 4;
	uint64_t nsze = le64toh(d->nsze), anagrp = le32toh(d->anagrpid);
	uint32_t nsid = free_nsid(s);
	struct lba_format f;
	char spec[128], err[256];
	struct ns *ns;

	if (sqe_dw(cmd, 11) >> 24)
		return CMD_STATUS(NVME_SC_IOCS_NOT_SUPPORTED);
	if (anagrp > ANA_GROUPS)
		return CMD_STATUS(NVME_SC_ANA_GROUP_ID_INVALID);
	if (!nsze)
		return NVME_SC_INVALID_FIELD | DNR;
	if (le64toh(d->ncap) != nsze)
		return CMD_STATUS(NVME_SC_THIN_PROV_NOT_SUPP);
	if (!format_is_valid(NULL, format, d->dps & 7))
		return CMD_STATUS(NVME_SC_INVALID_FORMAT);
	f = format_at(NULL, format);
	if (f.ms && !(d->flbas & 1u << 4))
		return CMD_STATUS(NVME_SC_INVALID_FORMAT);
	if (nsze > ns_unallocated(s) >> f.lbads)
		return CMD_STATUS(NVME_SC_NS_INSUFFICIENT_CAP);
	if (nsid > subsys_nn(s))
		return CMD_STATUS(NVME_SC_NS_ID_UNAVAILABLE);
	snprintf(spec, sizeof(spec), "mem:%llu,bs=512,nsid=%u",
		 (unsigned long long)nsze << f.lbads, nsid);
	ns = ns_add(s, spec, err, sizeof(err));
	if (!ns)
		return NVME_SC_INTERNAL;
	ns_new_identity(ns);
	ns->is_created = true;
	ns->anagrp = anagrp ? (uint32_t)anagrp : 1;
	ns->nmic = d->nmic & 1;
	ns->special |= NS_PRIVATE;
	ns->first_format = format_at(NULL, 0);
	ns->flbas = (uint8_t)format;
	ns->pi_type = d->dps & 7;
	ns->is_pi_first = d->dps >> 3 & 1;
	format_apply(ns);
	cmd->dw0 = nsid;
	return 0;
}

static uint16_t delete(struct cmd *cmd, struct subsys *s)
{
	uint32_t nsid = sqe_dw(cmd, 1);
	struct ns *ns = ns_find(s, nsid);

	if (nsid != 0xffffffff && !ns)
		return NVME_SC_INVALID_NS | DNR;
	while (s->nns && (ns || nsid == 0xffffffff)) {
		struct ns *victim = ns ? ns : s->ns[s->nns - 1];
		uint32_t id = victim->nsid;
		struct ctrl *next;

		for (struct ctrl *k = s->ctrls; k; k = next) {
			next = k->next;
			if (k != cmd->conn->ctrl && ns_is_attached(victim, k))
				ctrl_ns_changed(k, id);
		}
		ns_remove(victim);
		if (ns)
			break;
	}
	return 0;
}

static void exec_create(struct cmd *cmd)
{
	cmd_done(cmd, create(cmd));
}

static void exec_delete(struct cmd *cmd)
{
	cmd_done(cmd, delete(cmd, cmd->conn->ctrl->subsys));
}

void nsmgmt_prepare(struct cmd *cmd)
{
	bool is_attach = cmd->opc == nvme_admin_ns_attach;
	uint32_t sel = sqe_dw(cmd, 10) & 15;

	if (!opt.capacity) {
		cmd->status = NVME_SC_INVALID_OPCODE | DNR;
	} else if (is_attach || sel == CREATE) {
		cmd->exec = is_attach ? exec_attach : exec_create;
		if (cmd_want_len(cmd, DATA_LEN))
			cmd_alloc_buf(cmd);
	} else if (sel == DELETE) {
		cmd->exec = exec_delete;
		cmd_want_len(cmd, 0);
	} else {
		cmd->status = NVME_SC_INVALID_FIELD | DNR;
	}
}
