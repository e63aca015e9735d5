/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a controller says about namespaces, judged: active list, geometry (C-1,
 * C-2), identification descriptors, limits of the NVM command set.
 */
#include <errno.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/ident.h"
#include "ctrl/ident_cs.h"
#include "ctrl/ns.h"
#include "pdu/wire.h"

_Static_assert(sizeof(struct nvme_id_ns) == NOFI_PAGE, "Identify Namespace");
_Static_assert(offsetof(struct nvme_id_ns, lbaf) == 128, "LBAF0");
_Static_assert(offsetof(struct nvme_id_ns, nsattr) == 99, "NSATTR");
_Static_assert(sizeof(struct nvme_id_ctrl_nvm) == NOFI_PAGE, "NVM Identify Controller");

int nofi_ident_nslist(const uint8_t page[NOFI_PAGE], uint32_t prev, uint32_t *ids, size_t max,
		      struct nofi_err *err)
{
	uint32_t n = 0;

	while (n < NOFI_NSIDS_PER_PAGE) {
		uint32_t id = nofi_get32(page + 4 * n);

		if (!id)
			break;
		if (id <= prev || id == 0xffffffff)
			return nofi_err_set(err, -EPROTO,
					    "active namespace list: NSID %u after %u, but "
					    "the list has to ascend; the target is at fault",
					    id, prev);
		if (n < max)
			ids[n] = id;
		prev = id;
		n++;
	}
	return (int)n;
}

/* Format index: FLBAS b3:0, and b6:5 above it when there are more than 16 formats. */
static unsigned format_index(const struct nvme_id_ns *id)
{
	unsigned i = id->flbas & 0xf;

	if (id->nlbaf > 15)
		i |= (id->flbas >> 5 & 3u) << 4;
	return i;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	while (len--)
		if (p[len])
			return false;
	return true;
}

static uint32_t clamp_bytes(uint64_t blocks, unsigned lba_shift)
{
	uint64_t bytes = blocks << lba_shift;

	return bytes > UINT32_MAX ? 0 : (uint32_t)bytes;
}

static void fill_features(struct nofi_ns_ident *ns, const struct nvme_id_ns *id,
			  const struct nofi_ctrl_ident *ctrl)
{
	uint32_t f = 0;

	if (ctrl->oncs & NVME_CTRL_ONCS_COMPARE)
		f |= NOF_NS_COMPARE;
	if (ctrl->oncs & NVME_CTRL_ONCS_DSM)
		f |= NOF_NS_DEALLOCATE;
	if (ctrl->oncs & NVME_CTRL_ONCS_WRITE_ZEROES)
		f |= NOF_NS_WRITE_ZEROES;
	if (ctrl->oncs & NVME_CTRL_ONCS_VERIFY)
		f |= NOF_NS_VERIFY;
	if (ctrl->oncs & NVME_CTRL_ONCS_WRITE_UNCORRECTABLE)
		f |= NOF_NS_WRITE_UNCORRECTABLE;
	if (ctrl->oncs & NVME_CTRL_ONCS_COPY)
		f |= NOF_NS_COPY;
	if (ctrl->oncs & NVME_CTRL_ONCS_RESERVATIONS)
		f |= NOF_NS_RESERVATIONS;
	if (ctrl->fuses & NVME_CTRL_FUSES_COMPARE_AND_WRITE && f & NOF_NS_COMPARE)
		f |= NOF_NS_COMPARE_WRITE;
	if (ctrl->has_volatile_cache)
		f |= NOF_NS_VOLATILE_CACHE;
	ns->is_read_only = id->nsattr & 1;
	if (ns->is_read_only)
		f |= NOF_NS_READ_ONLY;
	if (id->nmic & 1)
		f |= NOF_NS_SHARED;
	if ((id->dlfeat & 7) == 1)
		f |= NOF_NS_DEALLOC_ZEROES;
	if (f & NOF_NS_WRITE_ZEROES && id->dlfeat & 8)
		f |= NOF_NS_WRITE_ZEROES_DEAC;
	ns->features = f;
}

static void fill_limits(struct nofi_ns_ident *ns, const struct nvme_id_ns *id,
			const struct nofi_ctrl_ident *ctrl)
{
	uint32_t blocks = ctrl->max_transfer >> ns->lba_shift;

	ns->max_blocks = blocks < NOFI_NS_CMD_BLOCKS ? blocks : NOFI_NS_CMD_BLOCKS;
	/* Not in the letter of MDTS, but controllers apply it; WZSL may say otherwise. */
	ns->max_wz_blocks = ctrl->has_mdts ? ns->max_blocks : NOFI_NS_CMD_BLOCKS;
	ns->max_dsm_blocks = UINT32_MAX;
	ns->max_dsm_ranges = NOFI_NS_DSM_RANGES;
	ns->max_dsm_total = (uint64_t)ns->max_dsm_blocks * ns->max_dsm_ranges;
	ns->preferred_io = 0;
	ns->preferred_dealloc = 0;
	if (id->nsfeat & 0x10) {	/* OPTPERF: NPWG, NPDG are valid, 0's based */
		ns->preferred_io = clamp_bytes(le16toh(id->npwg) + 1u, ns->lba_shift);
		ns->preferred_dealloc = clamp_bytes(le16toh(id->npdg) + 1u, ns->lba_shift);
	} else if (id->noiob) {
		ns->preferred_io = clamp_bytes(le16toh(id->noiob), ns->lba_shift);
	}
}

int nofi_ident_ns(const uint8_t page[NOFI_PAGE], const struct nofi_ctrl_ident *ctrl,
		  struct nofi_ns_ident *ns, struct nofi_err *err)
{
	struct nvme_id_ns id;
	struct nvme_lbaf f;
	uint64_t nsze;
	unsigned i;
	int r;

	memcpy(&id, page, sizeof(id));
	nsze = le64toh(id.nsze);
	if (!nsze)
		return nofi_err_set(err, -ENODEV, "namespace %u is not active: its size is 0",
				    ns->nsid);
	i = format_index(&id);
	if (i > id.nlbaf || i > 63)
		return nofi_err_set(err, -EPROTO,
				    "namespace %u: format %u is in use, but only %u are "
				    "described; the target is at fault",
				    ns->nsid, i, id.nlbaf + 1u);
	f = id.lbaf[i];
	if (f.ds < 9)
		return nofi_err_set(err, -EPROTO,
				    "namespace %u: blocks of 2^%u bytes (LBADS), at "
				    "least 2^9 are possible; the target is at fault",
				    ns->nsid, f.ds);
	if (f.ds > 16)
		return nofi_err_set(err, -ENOTSUP, "namespace %u: blocks of 2^%u bytes (LBADS), "
				    "this version drives 2^9 to 2^16", ns->nsid, f.ds);
	if (nsze > (uint64_t)INT64_MAX >> f.ds)
		return nofi_err_set(err, -EPROTO,
				    "namespace %u: %llu blocks of %u bytes exceed 63 bits; "
				    "the target is at fault",
				    ns->nsid, (unsigned long long)nsze, 1u << f.ds);
	if (ctrl->max_transfer < 1u << f.ds)
		return nofi_err_set(err, -ENOTSUP, "namespace %u: a command moves at most %u bytes "
				    "(MDTS), less than one block of %u; the target is at fault",
				    ns->nsid, ctrl->max_transfer, 1u << f.ds);
	ns->nblocks = nsze;
	ns->lba_shift = f.ds;
	ns->ana_group = le32toh(id.anagrpid);
	fill_features(ns, &id, ctrl);
	fill_limits(ns, &id, ctrl);
	r = nofi_ident_format(page, i, ctrl, ns, err);
	if (r < 0)
		return r;
	nofi_ns_set_plain(ns);
	ns->has_nguid = !is_zero(id.nguid, sizeof(id.nguid));
	memcpy(ns->nguid, id.nguid, sizeof(ns->nguid));
	ns->has_eui64 = !is_zero(id.eui64, sizeof(id.eui64));
	memcpy(ns->eui64, id.eui64, sizeof(ns->eui64));
	return 0;
}

enum { NIDT_EUI64 = 1, NIDT_NGUID = 2, NIDT_UUID = 3, NIDT_CSI = 4 };

int nofi_ident_descs(const uint8_t page[NOFI_PAGE], struct nofi_ns_ident *ns, struct nofi_err *err)
{
	static const uint8_t lens[] = { [NIDT_EUI64] = 8, [NIDT_NGUID] = 16, [NIDT_UUID] = 16,
					[NIDT_CSI] = 1 };
	size_t pos = 0;

	while (pos + 4 <= NOFI_PAGE) {
		uint8_t nidt = page[pos], nidl = page[pos + 1];
		const uint8_t *nid = page + pos + 4;

		if (!nidl)
			return 0;
		if (pos + 4 + nidl > NOFI_PAGE)
			return nofi_err_set(
				err, -EPROTO,
				"namespace %u: an identification descriptor "
				"of %u bytes at %zu leaves the page; the target is at fault",
				ns->nsid, nidl, pos);
		/* By these a caller decides where to write: a strange one is not passed over. */
		if (nidt && nidt < sizeof(lens) && nidl != lens[nidt])
			return nofi_err_set(
				err, -EPROTO,
				"namespace %u: the identification descriptor "
				"of type %u has %u bytes instead of %u; the target is at "
				"fault",
				ns->nsid, nidt, nidl, lens[nidt]);
		switch (nidt) {
		case NIDT_EUI64:
			ns->has_eui64 = !is_zero(nid, 8);
			memcpy(ns->eui64, nid, 8);
			break;
		case NIDT_NGUID:
			ns->has_nguid = !is_zero(nid, 16);
			memcpy(ns->nguid, nid, 16);
			break;
		case NIDT_UUID:
			ns->has_uuid = !is_zero(nid, 16);
			memcpy(ns->uuid, nid, 16);
			break;
		case NIDT_CSI:
			ns->csi = nid[0];
			break;
		}
		pos += 4u + nidl;
	}
	return 0;
}

void nofi_ident_nvm(const uint8_t page[NOFI_PAGE], struct nofi_nvm_limits *out)
{
	struct nvme_id_ctrl_nvm id;

	memcpy(&id, page, sizeof(id));
	out->vsl = id.vsl;
	out->wzsl = id.wzsl;
	out->wusl = id.wusl;
	out->dmrl = id.dmrl;
	out->dmrsl = le32toh(id.dmrsl);
	out->dmsl = le64toh(id.dmsl);
}

/* A limit of 2^exp units of 2^(12+mpsmin) bytes; never a shift by what was said alone. */
static uint32_t limit_blocks(uint8_t exp, uint8_t mpsmin, const struct nofi_ns_ident *ns)
{
	uint32_t shift = 12u + mpsmin + exp;

	if (shift >= ns->lba_shift + 16u)
		return NOFI_NS_CMD_BLOCKS;
	return shift > ns->lba_shift ? 1u << (shift - ns->lba_shift) : 1;
}

void nofi_ns_apply_limits(struct nofi_ns_ident *ns, const struct nofi_nvm_limits *lim,
			  uint8_t mpsmin)
{
	if (lim->wzsl)
		ns->max_wz_blocks = limit_blocks(lim->wzsl, mpsmin, ns);
	if (lim->vsl)
		ns->max_verify_blocks = limit_blocks(lim->vsl, mpsmin, ns);
	if (lim->wusl)
		ns->max_wu_blocks = limit_blocks(lim->wusl, mpsmin, ns);
	if (lim->dmrl)
		ns->max_dsm_ranges = lim->dmrl;
	if (lim->dmrsl)
		ns->max_dsm_blocks = lim->dmrsl;
	ns->max_dsm_total = (uint64_t)ns->max_dsm_blocks * ns->max_dsm_ranges;
	if (lim->dmsl && lim->dmsl < ns->max_dsm_total)
		ns->max_dsm_total = lim->dmsl;
	if (ns->max_dsm_blocks > ns->max_dsm_total)
		ns->max_dsm_blocks = (uint32_t)ns->max_dsm_total;
}
