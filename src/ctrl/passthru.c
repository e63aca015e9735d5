/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading and setting what a controller knows: raw admin commands, Identify, log
 * pages, features.
 */
#include <errno.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/admin.h"
#include "ctrl/guard.h"

int nof_admin(struct nof_ctrl *ctrl, const struct nof_passthru *cmd, nof_done_fn *done, void *arg)
{
	struct nof_passthru p;
	struct nofi_admin *a;
	enum nofi_dir dir;
	struct nofi_err err;
	int r;

	r = nofi_admin_args(&p, sizeof(p), cmd, "nof_admin");
	if (r < 0)
		return r;
	r = nofi_guard_admin(p.opcode, p.fctype, p.cdw10, &err);
	if (r == 0)
		r = nofi_guard_dir(p.opcode, p.fctype, p.data, p.data_len, &dir, &err);
	if (r < 0)
		return nofi_fail(r, "nof_admin: %s", err.text);
	r = nofi_admin_new(ctrl, "nof_admin", p.opcode, p.nsid, 0, done, arg, &a);
	if (r < 0)
		return r;
	if (p.opcode == nvme_admin_fabrics)
		a->sqe[4] = p.fctype;
	nofi_admin_cdw(a, 2, p.cdw2);
	nofi_admin_cdw(a, 3, p.cdw3);
	nofi_admin_cdw(a, 10, p.cdw10);
	nofi_admin_cdw(a, 11, p.cdw11);
	nofi_admin_cdw(a, 12, p.cdw12);
	nofi_admin_cdw(a, 13, p.cdw13);
	nofi_admin_cdw(a, 14, p.cdw14);
	nofi_admin_cdw(a, 15, p.cdw15);
	nofi_admin_data(a, p.data, p.data_len);
	a->dir = dir;
	a->timeout_ms = p.timeout_ms;
	return nofi_admin_submit(a);
}

int nof_identify(struct nof_ctrl *ctrl, const struct nof_identify_args *args, void *data,
		 nof_done_fn *done, void *arg)
{
	struct nof_identify_args p;
	struct nofi_admin *a;
	int r;

	r = nofi_admin_args(&p, sizeof(p), args, "nof_identify");
	if (r < 0)
		return r;
	if (!data || p.uuid_index > 127)
		return nofi_fail(-EINVAL, "nof_identify: a buffer of 4096 bytes is needed, and "
				 "UUID indexes have 7 bits");
	r = nofi_admin_new(ctrl, "nof_identify", nvme_admin_identify, p.nsid, 0, done, arg, &a);
	if (r < 0)
		return r;
	nofi_admin_cdw(a, 10, p.cns | (uint32_t)p.cntid << 16);
	nofi_admin_cdw(a, 11, p.cns_id | (uint32_t)p.csi << 24);
	nofi_admin_cdw(a, 14, p.uuid_index);
	nofi_admin_data(a, data, NOFI_PAGE);
	return nofi_admin_submit(a);
}

/* ---- log pages ---- */

static void place_log(struct nofi_admin *a, size_t pos, size_t piece, bool is_last)
{
	uint32_t numd = (uint32_t)(piece / 4 - 1), cdw10, cdw11;
	uint64_t offset = a->base + pos;

	cdw10 = nofi_get32(a->sqe + 40) & 0x7fff;
	cdw11 = nofi_get32(a->sqe + 44) & 0xffff0000u;
	/* F-13: reading it without RAE lets the controller report the next event. */
	cdw10 |= (!is_last || a->keeps_event ? 1u << 15 : 0) | (numd & 0xffff) << 16;
	nofi_admin_cdw(a, 10, cdw10);
	nofi_admin_cdw(a, 11, cdw11 | numd >> 16);
	nofi_put64(a->sqe + 48, offset);
}

static int check_log(struct nof_ctrl *ctrl, const struct nof_log_args *p, const void *data,
		     size_t len)
{
	if (!data || !len || len % 4 || p->offset % 4)
		return nofi_fail(-EINVAL, "nof_get_log: %zu bytes at offset %llu%s; log pages are "
				 "read in dwords", len, (unsigned long long)p->offset,
				 data ? "" : " into a NULL buffer");
	if (p->lsp > 127 || p->uuid_index > 127)
		return nofi_fail(-EINVAL, "nof_get_log: LSP %u and UUID index %u have 7 bits",
				 p->lsp, p->uuid_index);
	/* Without it the length has 12 bits and there is no offset. */
	if (ctrl && ctrl->is_known && !(ctrl->ident.lpa & NVME_CTRL_LPA_EXTENDED) &&
	    (p->offset || len > 4096 * 4 || len > ctrl->ident.max_transfer))
		return nofi_fail(-EOPNOTSUPP, "nof_get_log: %zu bytes at offset %llu: the "
				 "controller has no offsets in log pages (LPA bit 2 of Identify "
				 "Controller is 0)", len, (unsigned long long)p->offset);
	return 0;
}

int nof_get_log(struct nof_ctrl *ctrl, const struct nof_log_args *args, void *data, size_t len,
		nof_done_fn *done, void *arg)
{
	struct nof_log_args p;
	struct nofi_admin *a;
	int r;

	r = nofi_admin_args(&p, sizeof(p), args, "nof_get_log");
	if (r == 0)
		r = check_log(ctrl, &p, data, len);
	if (r == 0)
		r = nofi_admin_new(ctrl, "nof_get_log", nvme_admin_get_log_page,
				   p.nsid ? p.nsid : NVME_NSID_ALL, 0, done, arg, &a);
	if (r < 0)
		return r;
	a->base = p.offset;
	a->keeps_event = p.keep_event;
	nofi_admin_cdw(a, 10, p.lid | (uint32_t)p.lsp << 8);
	nofi_admin_cdw(a, 11, (uint32_t)p.lsi << 16);
	nofi_admin_cdw(a, 14, p.uuid_index | (uint32_t)p.csi << 24);
	nofi_admin_data(a, data, len);
	a->place = place_log;
	a->piece_max = ctrl->ident.max_transfer;
	return nofi_admin_submit(a);
}

/* ---- features ---- */

static int feature(struct nof_ctrl *ctrl, const struct nof_feature_args *args, bool is_set,
		   nof_done_fn *done, void *arg)
{
	const char *call = is_set ? "nof_set_feature" : "nof_get_feature";
	struct nof_feature_args p;
	struct nofi_admin *a;
	struct nofi_err err;
	enum nofi_dir dir;
	int r;

	r = nofi_admin_args(&p, sizeof(p), args, call);
	if (r < 0)
		return r;
	r = is_set ? nofi_guard_feature(p.fid, &err) : 0;
	if (r == 0)
		r = nofi_guard_dir(is_set ? nvme_admin_set_features : nvme_admin_get_features, 0,
				   p.data, p.data_len, &dir, &err);
	if (r < 0)
		return nofi_fail(r, "%s: %s", call, err.text);
	if (p.select > 7 || (is_set && p.select) || (!is_set && p.save) || p.uuid_index > 127)
		return nofi_fail(-EINVAL, "%s: select (0 to 7) is for reading and save for "
				 "setting, UUID indexes have 7 bits", call);
	r = nofi_admin_new(ctrl, call, is_set ? nvme_admin_set_features : nvme_admin_get_features,
			   p.nsid, 0, done, arg, &a);
	if (r < 0)
		return r;
	nofi_admin_cdw(a, 10, p.fid | (uint32_t)p.select << 8 | (p.save ? 1u << 31 : 0));
	nofi_admin_cdw(a, 11, p.cdw11);
	nofi_admin_cdw(a, 12, p.cdw12);
	nofi_admin_cdw(a, 13, p.cdw13);
	nofi_admin_cdw(a, 14, p.uuid_index);
	nofi_admin_cdw(a, 15, p.cdw15);
	nofi_admin_data(a, p.data, p.data_len);
	return nofi_admin_submit(a);
}

int nof_get_feature(struct nof_ctrl *ctrl, const struct nof_feature_args *args, nof_done_fn *done,
		    void *arg)
{
	return feature(ctrl, args, false, done, arg);
}

int nof_set_feature(struct nof_ctrl *ctrl, const struct nof_feature_args *args, nof_done_fn *done,
		    void *arg)
{
	return feature(ctrl, args, true, done, arg);
}
