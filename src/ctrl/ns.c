/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening a namespace:
 *
 *	[next candidate ─►] Identify (CNS 00) ─► descriptors (CNS 03)
 *	─► matches? ─► what more there is to know (ns_extra.c)
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/ident_cs.h"
#include "ctrl/internal.h"

enum { CNS_NS = 0x00, CNS_DESCS = 0x03, CSI_NVM = 0 };

struct ns_op {
	struct nofi_op op;
	struct nofi_ns_name name;
	char text[64];		/* as the user wrote it */
	struct nof_ns **out;
	struct nof_ns *ns;	/* being filled */
	uint32_t last;		/* NSID looked at last: the next candidate is above it */
	bool is_scan;		/* more candidates may follow */
};

static void candidate(struct ns_op *o);

static void fail(struct ns_op *o, const struct nofi_err *err)
{
	nofi_err_set(&o->op.err, err->code, "%s: %s", o->op.what, err->text);
	nofi_op_finish(&o->op);
}

static void ready(struct nofi_op *op, const struct nofi_err *err)
{
	if (err)
		fail((struct ns_op *)op, err);
	else
		nofi_op_finish(op);
}

static void judge(struct ns_op *o)
{
	struct nof_ctrl *ctrl = o->op.ctrl;
	struct nofi_err err;
	int r;

	if (!nofi_ns_name_matches(&o->name, &o->ns->id)) {
		candidate(o);
		return;
	}
	/* Judged only now: while scanning, a strange namespace is none of our business. */
	r = nofi_ident_ns(ctrl->page, &ctrl->ident, &o->ns->id, &err);
	/* Again: CNS 00 overwrote what the descriptors had said. */
	if (r == 0)
		r = nofi_ident_descs(ctrl->op_page, &o->ns->id, &err);
	if (r < 0) {
		fail(o, &err);
		return;
	}
	nofi_ns_extra(&o->op, &o->ns->id, ready);
}

static void got_descs(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	struct ns_op *o = (struct ns_op *)op;
	struct nofi_err err;

	/* Controllers before 1.3 have no descriptors; the ids of CNS 00 remain. */
	if (cpl->status)
		memset(op->ctrl->op_page, 0, NOFI_PAGE);
	if (nofi_ident_descs(op->ctrl->op_page, &o->ns->id, &err) < 0) {
		fail(o, &err);
		return;
	}
	judge(o);
}

static void got_ns(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	struct ns_op *o = (struct ns_op *)op;
	struct nof_ctrl *ctrl = op->ctrl;
	struct nofi_err err;
	const uint8_t *nguid = ctrl->op_page + 104, *eui64 = ctrl->op_page + 120;
	static const uint8_t zero[16];
	bool is_gone = (cpl->status & 0x7ff) == 0x0b;	/* Invalid Namespace or Format */

	if (cpl->status && !is_gone) {
		op->status = cpl->status;
		nofi_err_set(&err, nof_status_errno(cpl->status),
			     "Identify Namespace %u: the target "
			     "refused with \"%s\" (status %#x)",
			     o->ns->id.nsid, nof_status_string(cpl->status), cpl->status);
		fail(o, &err);
		return;
	}
	if (is_gone || !nofi_get64(ctrl->op_page)) {	/* NSZE 0: not active */
		candidate(o);
		return;
	}
	/* Steps are over on a live controller: their page keeps CNS 00 until it is judged. */
	memcpy(ctrl->page, ctrl->op_page, NOFI_PAGE);
	o->ns->id.has_nguid = memcmp(nguid, zero, 16) != 0;
	memcpy(o->ns->id.nguid, nguid, 16);
	o->ns->id.has_eui64 = memcmp(eui64, zero, 8) != 0;
	memcpy(o->ns->id.eui64, eui64, 8);
	o->ns->id.has_uuid = false;
	o->ns->id.csi = CSI_NVM;
	nofi_cmd_identify(&ctrl->op_cmd, CNS_DESCS, o->ns->id.nsid, 0, ctrl->op_page);
	nofi_op_send(op, "Identify namespace descriptors", got_descs, true);
}

static void nothing_found(struct ns_op *o)
{
	struct nof_ctrl *ctrl = o->op.ctrl;
	struct nofi_err err;

	if (o->name.key == NOFI_NS_ANY)
		nofi_err_set(&err, -ENODEV, "subsystem \"%s\" shows this host no active namespace; "
			     "add or enable one at the target", ctrl->opts.subnqn);
	else
		nofi_err_set(&err, -ENODEV,
			     "subsystem \"%s\" has no active namespace %s; %u %s active%s",
			     ctrl->opts.subnqn, o->text, ctrl->nnsids,
			     ctrl->nnsids == 1 ? "is" : "are",
			     ctrl->nnsids ? ", nvmf-info --list shows them" : "");
	fail(o, &err);
}

/* Looks at the next namespace that could be meant. */
static void candidate(struct ns_op *o)
{
	struct nof_ctrl *ctrl = o->op.ctrl;
	uint32_t nsid = 0;

	if (o->name.key == NOFI_NS_NSID) {
		/* Asked directly: the list may be older than the namespace. */
		nsid = o->last ? 0 : o->name.nsid;
	} else {
		for (uint32_t i = 0; i < ctrl->nnsids && !nsid; i++)
			if (ctrl->nsids[i] > o->last)
				nsid = ctrl->nsids[i];
	}
	if (!nsid) {
		nothing_found(o);
		return;
	}
	o->last = nsid;
	o->ns->id.nsid = nsid;
	nofi_cmd_identify(&ctrl->op_cmd, CNS_NS, nsid, 0, ctrl->op_page);
	nofi_op_send(&o->op, "Identify Namespace", got_ns, true);
}

static void start(struct nofi_op *op)
{
	candidate((struct ns_op *)op);
}

static void end(struct nofi_op *op)
{
	struct ns_op *o = (struct ns_op *)op;

	if (op->err.code) {
		free(o->ns);
	} else {
		nofi_ctrl_ref(o->ns->ctrl);
		*o->out = o->ns;
	}
	free(o);
}

int nof_ns_open(struct nof_ctrl *ctrl, const char *id, struct nof_ns **ns, nof_done_fn *done,
		void *arg)
{
	char host[sizeof(ctrl->opts.traddr) + sizeof(ctrl->opts.trsvcid) + 4];
	struct nofi_err err;
	struct ns_op *o;
	int r;

	if (!ctrl || !ns || !done)
		return nofi_fail(-EINVAL, "nof_ns_open: ctrl, ns and done must not be NULL");
	if (!id || !id[0])
		id = ctrl->opts.ns;
	o = calloc(1, sizeof(*o));
	if (!o)
		return nofi_fail(-ENOMEM, "nof_ns_open: out of memory");
	r = nofi_ns_name_parse(id, &o->name, &err);
	if (r < 0) {
		r = nofi_fail(r, "nof_ns_open: %s", err.text);
		goto fail;
	}
	snprintf(o->text, sizeof(o->text), "%s", id);
	if (ctrl->is_known && ctrl->ident.is_discovery) {
		r = nofi_fail(-ENODEV,
			      "nof_ns_open: a discovery controller has no namespaces; name a "
			      "subsystem: nvme+tcp://%s/NQN",
			      nofi_text_host(&ctrl->opts, NULL, host, sizeof(host)));
		goto fail;
	}
	o->ns = calloc(1, sizeof(*o->ns));
	if (!o->ns) {
		r = nofi_fail(-ENOMEM, "nof_ns_open: out of memory");
		goto fail;
	}
	o->ns->ctrl = ctrl;
	atomic_init(&o->ns->refs, 1);
	o->out = ns;
	o->op.ctrl = ctrl;
	o->op.what = "nof_ns_open";
	o->op.start = start;
	o->op.end = end;
	o->op.done = done;
	o->op.arg = arg;
	r = nofi_op_submit(&o->op);
	if (r < 0) {
		r = nofi_fail_err(&o->op.err);
		goto fail;
	}
	return 0;
fail:
	free(o->ns);
	free(o);
	return r;
}

struct nof_ns *nofi_ns_ref(struct nof_ns *ns)
{
	atomic_fetch_add_explicit(&ns->refs, 1, memory_order_relaxed);
	return ns;
}

void nofi_ns_unref(struct nof_ns *ns)
{
	if (atomic_fetch_sub_explicit(&ns->refs, 1, memory_order_acq_rel) != 1)
		return;
	nofi_ctrl_unref(ns->ctrl);
	free(ns);
}

void nof_ns_close(struct nof_ns *ns)
{
	if (ns)
		nofi_ns_unref(ns);
}

int nof_ns_get_info(const struct nof_ns *ns, struct nof_ns_info *info)
{
	struct nof_ns_info i = { 0 };
	const struct nofi_ns_ident *id;
	uint64_t dealloc;

	if (!ns || !info || info->size < sizeof(info->size))
		return nofi_fail(-EINVAL, "nof_ns_get_info: ns and info must not be NULL, and "
				 "info->size must be sizeof(*info)");
	id = &ns->id;
	i.size = info->size;
	i.nsid = id->nsid;
	i.block_size = 1u << id->lba_shift;
	i.blocks = id->nblocks;
	i.bytes = id->nblocks << id->lba_shift;
	i.features = id->features;
	i.max_transfer = (uint64_t)id->max_blocks << id->lba_shift;
	i.max_write_zeroes = (uint64_t)id->max_wz_blocks << id->lba_shift;
	dealloc = id->max_dsm_total < id->nblocks ? id->max_dsm_total : id->nblocks;
	i.max_deallocate = dealloc << id->lba_shift;
	i.preferred_io = id->preferred_io;
	i.preferred_deallocate = id->preferred_dealloc;
	i.csi = id->csi;
	i.has_uuid = id->has_uuid;
	i.has_nguid = id->has_nguid;
	i.has_eui64 = id->has_eui64;
	memcpy(i.uuid, id->uuid, sizeof(i.uuid));
	memcpy(i.nguid, id->nguid, sizeof(i.nguid));
	memcpy(i.eui64, id->eui64, sizeof(i.eui64));
	nofi_ns_info_commands(id, &i);
	memcpy(info, &i, i.size < sizeof(i) ? i.size : sizeof(i));
	return 0;
}
