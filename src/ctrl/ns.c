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
#include "ctrl/path.h"

enum { CNS_NS = 0x00, CNS_DESCS = 0x03, CSI_NVM = 0 };

/* Opening a namespace for the user. */
struct ns_op {
	struct nofi_ident_op i;
	struct nof_ns **out;
	struct nof_ns *ns;	/* to be handed out */
};

static void candidate(struct nofi_ident_op *o);

static void over(struct nofi_op *op)
{
	struct nofi_ident_op *o = (struct nofi_ident_op *)op;

	if (o->over)
		o->over(o);
	nofi_op_finish(op);
}

static void fail(struct nofi_ident_op *o, const struct nofi_err *err)
{
	nofi_err_set(&o->op.err, err->code, "%s: %s", o->op.what, err->text);
	over(&o->op);
}

static void ready(struct nofi_op *op, const struct nofi_err *err)
{
	struct nof_ctrl *ctrl = op->ctrl;

	if (err)
		fail((struct nofi_ident_op *)op, err);
	else if (ctrl->ident.has_ana && !ctrl->ana.is_known)
		/* Where access states differ, the namespace's is known before it is used. */
		nofi_ana_read(op, over);
	else
		over(op);
}

static void judge(struct nofi_ident_op *o)
{
	struct nof_ctrl *ctrl = o->op.ctrl;
	struct nofi_err err;
	int r;

	if (!nofi_ns_name_matches(&o->name, &o->id)) {
		candidate(o);
		return;
	}
	/* Judged only now: while scanning, a strange namespace is none of our business. */
	r = nofi_ident_ns(ctrl->page, &ctrl->ident, &o->id, &err);
	/* Again: CNS 00 overwrote what the descriptors had said. */
	if (r == 0)
		r = nofi_ident_descs(ctrl->op_page, &o->id, &err);
	if (r < 0) {
		fail(o, &err);
		return;
	}
	nofi_ns_extra(&o->op, &o->id, ready);
}

static void got_descs(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	struct nofi_ident_op *o = (struct nofi_ident_op *)op;
	struct nofi_err err;

	/* Controllers before 1.3 have no descriptors; the ids of CNS 00 remain. */
	if (cpl->status)
		memset(op->ctrl->op_page, 0, NOFI_PAGE);
	if (nofi_ident_descs(op->ctrl->op_page, &o->id, &err) < 0) {
		fail(o, &err);
		return;
	}
	judge(o);
}

static void got_ns(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	struct nofi_ident_op *o = (struct nofi_ident_op *)op;
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
			     o->id.nsid, nof_status_string(cpl->status), cpl->status);
		fail(o, &err);
		return;
	}
	if (is_gone || !nofi_get64(ctrl->op_page)) {	/* NSZE 0: not active */
		candidate(o);
		return;
	}
	/* Steps are over on a live controller: their page keeps CNS 00 until it is judged. */
	memcpy(ctrl->page, ctrl->op_page, NOFI_PAGE);
	o->id.has_nguid = memcmp(nguid, zero, 16) != 0;
	memcpy(o->id.nguid, nguid, 16);
	o->id.has_eui64 = memcmp(eui64, zero, 8) != 0;
	memcpy(o->id.eui64, eui64, 8);
	o->id.has_uuid = false;
	o->id.csi = CSI_NVM;
	nofi_cmd_identify(&ctrl->op_cmd, CNS_DESCS, o->id.nsid, 0, ctrl->op_page);
	nofi_op_send(op, "Identify namespace descriptors", got_descs, true);
}

static void nothing_found(struct nofi_ident_op *o)
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
static void candidate(struct nofi_ident_op *o)
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
	o->id.nsid = nsid;
	nofi_cmd_identify(&ctrl->op_cmd, CNS_NS, nsid, 0, ctrl->op_page);
	nofi_op_send(&o->op, "Identify Namespace", got_ns, true);
}

void nofi_ident_op_start(struct nofi_op *op)
{
	candidate((struct nofi_ident_op *)op);
}

static void found(struct nofi_ident_op *i)
{
	struct ns_op *o = (struct ns_op *)i;

	if (i->op.err.code)
		return;
	o->ns->id = i->id;
	if (!nofi_path_new(o->ns, i->op.ctrl, &i->id))
		nofi_err_set(&i->op.err, -ENOMEM, "nof_ns_open: out of memory");
}

static void end(struct nofi_op *op)
{
	struct ns_op *o = (struct ns_op *)op;

	if (op->err.code)
		nofi_ns_unref(o->ns);
	else
		*o->out = o->ns;
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
	r = nofi_ns_name_parse(id, &o->i.name, &err);
	if (r < 0) {
		r = nofi_fail(r, "nof_ns_open: %s", err.text);
		goto fail;
	}
	snprintf(o->i.text, sizeof(o->i.text), "%s", id);
	if (ctrl->is_known && ctrl->ident.is_discovery) {
		r = nofi_fail(-ENODEV,
			      "nof_ns_open: a discovery controller has no namespaces; name a "
			      "subsystem: nvme+tcp://%s/NQN",
			      nofi_text_host(&ctrl->opts, NULL, host, sizeof(host)));
		goto fail;
	}
	o->ns = nofi_ns_new(ctrl);
	if (!o->ns) {
		r = nofi_fail(-ENOMEM, "nof_ns_open: out of memory");
		goto fail;
	}
	o->out = ns;
	o->i.op.ctrl = ctrl;
	o->i.op.what = "nof_ns_open";
	o->i.op.start = nofi_ident_op_start;
	o->i.op.end = end;
	o->i.over = found;
	o->i.op.done = done;
	o->i.op.arg = arg;
	r = nofi_op_submit(&o->i.op);
	if (r < 0) {
		r = nofi_fail_err(&o->i.op.err);
		goto fail;
	}
	return 0;
fail:
	if (o->ns)
		nofi_ns_unref(o->ns);
	free(o);
	return r;
}

/* ---- the handle ---- */

struct nof_ns *nofi_ns_new(struct nof_ctrl *ctrl)
{
	struct nof_ns *ns = calloc(1, sizeof(*ns));

	if (!ns)
		return NULL;
	pthread_mutex_init(&ns->lock, NULL);
	atomic_init(&ns->refs, 1);
	atomic_init(&ns->memory, 1);
	ns->ctrl = nofi_ctrl_ref(ctrl);
	ns->iopolicy = ctrl->opts.iopolicy;
	return ns;
}

void nofi_ns_memory_put(struct nof_ns *ns)
{
	if (atomic_fetch_sub_explicit(&ns->memory, 1, memory_order_acq_rel) != 1)
		return;
	nofi_ctrl_unref(ns->ctrl);
	pthread_mutex_destroy(&ns->lock);
	free(ns);
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
	nofi_paths_drop(ns);
	nofi_ns_memory_put(ns);
}

void nof_ns_close(struct nof_ns *ns)
{
	if (ns)
		nofi_ns_unref(ns);
}

void nofi_ns_get_ident(const struct nof_ns *ns, struct nofi_ns_ident *out)
{
	pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&ns->lock;

	pthread_mutex_lock(lock);
	*out = ns->id;
	pthread_mutex_unlock(lock);
}

int nof_ns_get_info(const struct nof_ns *ns, struct nof_ns_info *info)
{
	struct nof_ns_info i = { 0 };
	struct nofi_ns_ident copy, *id = &copy;
	uint64_t dealloc;

	if (!ns || !info || info->size < sizeof(info->size))
		return nofi_fail(-EINVAL, "nof_ns_get_info: ns and info must not be NULL, and "
				 "info->size must be sizeof(*info)");
	nofi_ns_get_ident(ns, &copy);
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
