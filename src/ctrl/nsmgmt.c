/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Making, deleting, attaching and formatting namespaces.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/admin.h"

enum {
	SEL_CREATE = 0, SEL_DELETE = 1,
	SEL_ATTACH = 0, SEL_DETACH = 1,
	CNTLIDS_MAX = 2047,		/* of one controller list */
	LBAF_MAX = 63,
};

_Static_assert(sizeof(struct nvme_ctrl_list) == NOFI_PAGE, "controller list");

static int needs_management(struct nof_ctrl *ctrl, const char *call)
{
	return nofi_admin_needs(ctrl, call, ctrl && ctrl->ident.oacs & NVME_CTRL_OACS_NS_MGMT,
				"OACS bit 3 (namespace management)");
}

int nof_ns_create(struct nof_ctrl *ctrl, const struct nof_ns_create_args *args, nof_done_fn *done,
		  void *arg)
{
	struct nof_ns_create_args p;
	struct nofi_admin *a;
	struct nvme_id_ns id;
	int r;

	r = nofi_admin_args(&p, sizeof(p), args, "nof_ns_create");
	if (r < 0)
		return r;
	if (!p.blocks || p.capacity > p.blocks || p.format > LBAF_MAX || p.pi_type > 3)
		return nofi_fail(-EINVAL, "nof_ns_create: %llu blocks (more than 0) with a "
				 "capacity of %llu (at most as many), format %u (0 to 63), "
				 "protection type %u (0 to 3)", (unsigned long long)p.blocks,
				 (unsigned long long)p.capacity, p.format, p.pi_type);
	r = needs_management(ctrl, "nof_ns_create");
	if (r == 0)
		r = nofi_admin_new(ctrl, "nof_ns_create", nvme_admin_ns_mgmt, 0, NOFI_PAGE, done,
				   arg, &a);
	if (r < 0)
		return r;
	memset(&id, 0, sizeof(id));
	id.nsze = htole64(p.blocks);
	id.ncap = htole64(p.capacity ? p.capacity : p.blocks);
	/* Over fabrics metadata is part of the block (b4), C-2. */
	id.flbas = (uint8_t)((p.format & 0xf) | 1u << 4 | (uint32_t)(p.format >> 4) << 5);
	id.dps = (uint8_t)(p.pi_type | (p.is_pi_first ? 8 : 0));
	id.nmic = p.is_shared ? 1 : 0;
	id.anagrpid = htole32(p.ana_group);
	id.nvmsetid = htole16(p.nvmset);
	id.endgid = htole16(p.endurance_group);
	memcpy(a->own, &id, sizeof(id));
	nofi_admin_cdw(a, 10, SEL_CREATE);
	nofi_admin_cdw(a, 11, (uint32_t)p.csi << 24);
	a->timeout_ms = p.timeout_ms;
	return nofi_admin_submit(a);
}

int nof_ns_delete(struct nof_ctrl *ctrl, uint32_t nsid, uint32_t timeout_ms, nof_done_fn *done,
		  void *arg)
{
	struct nofi_admin *a;
	int r = needs_management(ctrl, "nof_ns_delete");

	if (r == 0 && !nsid)
		r = nofi_fail(-EINVAL, "nof_ns_delete: NSID 0 names no namespace");
	if (r == 0)
		r = nofi_admin_new(ctrl, "nof_ns_delete", nvme_admin_ns_mgmt, nsid, 0, done, arg,
				   &a);
	if (r < 0)
		return r;
	nofi_admin_cdw(a, 10, SEL_DELETE);
	a->timeout_ms = timeout_ms;
	return nofi_admin_submit(a);
}

static int ascending(const void *a, const void *b)
{
	return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

/* A controller list ascends, and names none twice. */
static void put_list(uint8_t *out, const uint16_t *cntlids, size_t n)
{
	uint16_t sorted[CNTLIDS_MAX];
	size_t k = 0;

	memcpy(sorted, cntlids, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), ascending);
	for (size_t i = 0; i < n; i++)
		if (!i || sorted[i] != sorted[i - 1])
			nofi_put16(out + 2 * ++k, sorted[i]);
	nofi_put16(out, (uint16_t)k);
}

static int attachment(struct nof_ctrl *ctrl, const char *call, uint32_t sel, uint32_t nsid,
		      const uint16_t *cntlids, size_t n, nof_done_fn *done, void *arg)
{
	struct nofi_admin *a;
	int r = needs_management(ctrl, call);

	if (r < 0)
		return r;
	if (!nsid || n > CNTLIDS_MAX || (n && !cntlids))
		return nofi_fail(-EINVAL, "%s: NSID %u and a list of %zu controllers; a namespace "
				 "and at most %u controllers are to be named", call, nsid, n,
				 CNTLIDS_MAX);
	r = nofi_admin_new(ctrl, call, nvme_admin_ns_attach, nsid, NOFI_PAGE, done, arg, &a);
	if (r < 0)
		return r;
	/* An empty list means the controller that is asked. */
	put_list(a->own, n ? cntlids : &ctrl->cntlid, n ? n : 1);
	nofi_admin_cdw(a, 10, sel);
	return nofi_admin_submit(a);
}

int nof_ns_attach(struct nof_ctrl *ctrl, uint32_t nsid, const uint16_t *cntlids, size_t n,
		  nof_done_fn *done, void *arg)
{
	return attachment(ctrl, "nof_ns_attach", SEL_ATTACH, nsid, cntlids, n, done, arg);
}

int nof_ns_detach(struct nof_ctrl *ctrl, uint32_t nsid, const uint16_t *cntlids, size_t n,
		  nof_done_fn *done, void *arg)
{
	return attachment(ctrl, "nof_ns_detach", SEL_DETACH, nsid, cntlids, n, done, arg);
}

int nof_format(struct nof_ctrl *ctrl, const struct nof_format_args *args, nof_done_fn *done,
	       void *arg)
{
	struct nof_format_args p;
	struct nofi_admin *a;
	uint32_t cdw10;
	int r;

	r = nofi_admin_args(&p, sizeof(p), args, "nof_format");
	if (r < 0)
		return r;
	if (!p.nsid || p.format > LBAF_MAX || p.pi_type > 3 || p.erase > NOF_ERASE_CRYPTO)
		return nofi_fail(-EINVAL, "nof_format: NSID %u (not 0), format %u (0 to 63), "
				 "protection type %u (0 to 3), erase %u (0 to 2)", p.nsid,
				 p.format, p.pi_type, p.erase);
	r = nofi_admin_needs(ctrl, "nof_format", ctrl && ctrl->ident.oacs & NVME_CTRL_OACS_FORMAT,
			     "OACS bit 1 (Format NVM)");
	if (r == 0 && p.erase == NOF_ERASE_CRYPTO && !(ctrl->ident.fna & 4))
		r = nofi_fail(-EOPNOTSUPP, "nof_format: the controller has no cryptographic erase "
			      "(FNA bit 2 of Identify Controller is 0)");
	if (r == 0)
		r = nofi_admin_new(ctrl, "nof_format", nvme_admin_format_nvm, p.nsid, 0, done,
				   arg, &a);
	if (r < 0)
		return r;
	/* MSET 1: over fabrics metadata is part of the block (C-2). */
	cdw10 = (p.format & 0xf) | 1u << 4 | (uint32_t)p.pi_type << 5 |
		(p.is_pi_first ? 1u << 8 : 0) | (uint32_t)p.erase << 9 |
		(uint32_t)(p.format >> 4) << 12;
	nofi_admin_cdw(a, 10, cdw10);
	a->timeout_ms = p.timeout_ms;
	return nofi_admin_submit(a);
}
