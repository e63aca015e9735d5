/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Formats, zones and limits of namespaces, judged. See ident_cs.h. */
#include <errno.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/ident_cs.h"
#include "pdu/pi.h"
#include "pdu/wire.h"

_Static_assert(sizeof(struct nvme_nvm_id_ns) == NOFI_PAGE, "NVM Identify Namespace");
_Static_assert(sizeof(struct nvme_zns_id_ns) == NOFI_PAGE, "ZNS Identify Namespace");
_Static_assert(offsetof(struct nvme_zns_id_ns, lbafe) == 2816, "LBAFE0");

enum {
	NSFEAT_ATOMIC = 1 << 1,
	FLBAS_EXTENDED = 1 << 4,
	DPS_FIRST = 1 << 3,
	/* PRINFO in CDW12 */
	PRACT = 1u << 29, PRCHK_GUARD = 1u << 28, PRCHK_REF = 1u << 26,
};

static void fill_atomics(struct nofi_ns_ident *ns, const struct nvme_id_ns *id,
			 const struct nofi_ctrl_ident *ctrl)
{
	/* All are 0's based. Namespaces may have their own, and these boundaries. */
	ns->atomic = ctrl->awun + 1u;
	ns->atomic_pf = ctrl->awupf + 1u;
	ns->atomic_cmp = ctrl->acwu + 1u;
	ns->atomic_boundary = 0;
	ns->atomic_offset = 0;
	if (!(id->nsfeat & NSFEAT_ATOMIC))
		return;
	if (id->nawun)
		ns->atomic = le16toh(id->nawun) + 1u;
	if (id->nawupf)
		ns->atomic_pf = le16toh(id->nawupf) + 1u;
	if (id->nacwu)
		ns->atomic_cmp = le16toh(id->nacwu) + 1u;
	if (id->nabspf) {
		ns->atomic_boundary = le16toh(id->nabspf) + 1u;
		ns->atomic_offset = le16toh(id->nabo) % ns->atomic_boundary;
	}
}

static void fill_copy(struct nofi_ns_ident *ns, const struct nvme_id_ns *id)
{
	uint32_t mcl = le32toh(id->mcl), mssrl = le16toh(id->mssrl);

	ns->copy_ranges = id->msrc + 1u;
	ns->copy_total = mcl;
	ns->copy_range = mssrl;
	/* Both are mandatory with Copy: without them nothing is known that would work. */
	if (!mcl || !mssrl)
		ns->features &= ~(uint32_t)NOF_NS_COPY;
	if (ns->copy_range > ns->copy_total)
		ns->copy_range = ns->copy_total;
}

int nofi_ident_format(const uint8_t page[NOFI_PAGE], unsigned index,
		      const struct nofi_ctrl_ident *ctrl, struct nofi_ns_ident *ns,
		      struct nofi_err *err)
{
	struct nvme_id_ns id;
	uint8_t type;

	memcpy(&id, page, sizeof(id));
	ns->format = (uint8_t)index;
	ns->ms = le16toh(id.lbaf[index].ms);
	ns->pi_type = type = id.dps & 7;
	ns->is_pi_first = id.dps & DPS_FIRST;
	ns->pif = NOFI_PIF_16;
	ns->sts = 0;
	if (!ns->ms)
		ns->pi_type = type = 0;
	if (type > 3)
		return nofi_err_set(err, -EPROTO, "namespace %u: protection information of type %u "
				    "(DPS) is not defined; the target is at fault", ns->nsid, type);
	if (ns->ms && !(id.flbas & FLBAS_EXTENDED))
		return nofi_err_set(err, -ENOTSUP, "namespace %u: its %u bytes of metadata per "
				    "block want a buffer of their own (FLBAS bit 4 is 0), but "
				    "NVMe over Fabrics moves them with the block only; format it "
				    "so", ns->nsid, ns->ms);
	if (type && ns->ms < nofi_pi_len(NOFI_PIF_16))
		return nofi_err_set(err, -EPROTO, "namespace %u: protection information in %u "
				    "bytes of metadata, it needs 8; the target is at fault",
				    ns->nsid, ns->ms);
	ns->max_bytes = ctrl->max_transfer;
	ns->max_md_blocks = ctrl->max_transfer / ((1u << ns->lba_shift) + ns->ms);
	if (ns->max_md_blocks > NOFI_NS_CMD_BLOCKS)
		ns->max_md_blocks = NOFI_NS_CMD_BLOCKS;
	ns->max_verify_blocks = ns->max_wu_blocks = ctrl->has_mdts ? ns->max_blocks :
						    (uint32_t)NOFI_NS_CMD_BLOCKS;
	fill_atomics(ns, &id, ctrl);
	fill_copy(ns, &id);
	ns->copy_formats = ctrl->ocfs;
	ns->has_long_hostid = ctrl->ctratt & NOFI_CTRATT_HOSTID16;
	return 0;
}

bool nofi_ident_wants_elbaf(const struct nofi_ns_ident *ns, const struct nofi_ctrl_ident *ctrl)
{
	return ns->pi_type && ctrl->ctratt & NOFI_CTRATT_ELBAS;
}

int nofi_ident_elbaf(const uint8_t page[NOFI_PAGE], struct nofi_ns_ident *ns, struct nofi_err *err)
{
	uint32_t elbaf = nofi_get32(page + offsetof(struct nvme_nvm_id_ns, elbaf) +
				    4 * (ns->format & 63u));
	uint8_t pif = elbaf >> 7 & 3, sts = elbaf & 0x7f;

	if (pif > NOFI_PIF_64)
		return nofi_err_set(err, -ENOTSUP, "namespace %u: its protection information has "
				    "the format %u (ELBAF %#x), this version knows 0 to 2",
				    ns->nsid, pif, elbaf);
	if (!nofi_pi_is_possible(pif, sts))
		return nofi_err_set(err, -EPROTO, "namespace %u: a storage tag of %u bits does not "
				    "fit the protection information's format %u (ELBAF %#x); the "
				    "target is at fault", ns->nsid, sts, pif, elbaf);
	if (ns->ms < nofi_pi_len(pif))
		return nofi_err_set(err, -EPROTO, "namespace %u: protection information of %u "
				    "bytes in %u bytes of metadata; the target is at fault",
				    ns->nsid, nofi_pi_len(pif), ns->ms);
	ns->pif = pif;
	ns->sts = sts;
	return 0;
}

int nofi_ident_zns(const uint8_t page[NOFI_PAGE], struct nofi_ns_ident *ns, struct nofi_err *err)
{
	struct nvme_zns_id_ns id;
	uint64_t size;

	memcpy(&id, page, sizeof(id));
	size = le64toh(id.lbafe[ns->format & 63].zsze);
	if (!size || size > ns->nblocks)
		return nofi_err_set(err, -EPROTO, "namespace %u: zones of %llu blocks (ZSZE) in a "
				    "namespace of %llu; the target is at fault", ns->nsid,
				    (unsigned long long)size, (unsigned long long)ns->nblocks);
	ns->zone_size = size;
	/* 0's based, all ones: no limit. */
	ns->max_active = le32toh(id.mar) == UINT32_MAX ? 0 : le32toh(id.mar) + 1;
	ns->max_open = le32toh(id.mor) == UINT32_MAX ? 0 : le32toh(id.mor) + 1;
	ns->max_append_blocks = ns->max_blocks;
	return 0;
}

void nofi_ns_apply_zasl(struct nofi_ns_ident *ns, uint8_t zasl, uint8_t mpsmin)
{
	uint32_t shift = 12u + mpsmin + zasl, blocks;

	/* Never a shift by what the controller said alone. */
	if (!zasl || shift >= ns->lba_shift + 16u)
		return;
	blocks = shift > ns->lba_shift ? 1u << (shift - ns->lba_shift) : 1;
	if (blocks < ns->max_append_blocks)
		ns->max_append_blocks = blocks;
}

void nofi_ns_set_plain(struct nofi_ns_ident *ns)
{
	bool is_all_pi = ns->pi_type && ns->ms == nofi_pi_len(ns->pif);

	ns->is_plain = !ns->ms || is_all_pi;
	ns->prinfo = is_all_pi ? PRACT | PRCHK_GUARD | (ns->pi_type != 3 ? PRCHK_REF : 0) : 0;
}

void nofi_ns_info_commands(const struct nofi_ns_ident *ns, struct nof_ns_info *i)
{
	static const uint8_t guard_bits[] = { 16, 32, 64 };
	uint8_t shift = ns->lba_shift;
	uint32_t cmp;

	i->metadata_size = ns->ms;
	i->pi_type = ns->pi_type;
	i->pi_guard_bits = ns->pi_type ? guard_bits[ns->pif] : 0;
	i->pi_storage_tag_bits = ns->sts;
	i->is_pi_first = ns->is_pi_first;
	i->needs_metadata = !ns->is_plain;
	i->max_verify = (uint64_t)ns->max_verify_blocks << shift;
	cmp = ns->prinfo ? ns->max_md_blocks : ns->max_blocks;
	if (ns->features & NOF_NS_COMPARE_WRITE)
		i->max_compare_write = (uint64_t)(ns->atomic_cmp < cmp ? ns->atomic_cmp : cmp) <<
				       shift;
	i->atomic_write = (uint64_t)ns->atomic << shift;
	i->atomic_write_power_fail = (uint64_t)ns->atomic_pf << shift;
	i->atomic_boundary = (uint64_t)ns->atomic_boundary << shift;
	i->atomic_boundary_offset = (uint64_t)ns->atomic_offset << shift;
	if (ns->features & NOF_NS_COPY) {
		i->max_copy_range = (uint64_t)ns->copy_range << shift;
		i->max_copy = (uint64_t)ns->copy_total << shift;
		i->max_copy_ranges = ns->copy_ranges;
	}
	i->max_open_zones = ns->max_open;
	i->max_active_zones = ns->max_active;
	i->zone_size = ns->zone_size;
	i->zones = ns->zone_size ? (ns->nblocks + ns->zone_size - 1) / ns->zone_size : 0;
	i->max_append = (uint64_t)ns->max_append_blocks << shift;
}

bool nofi_ns_same_format(const struct nofi_ns_ident *a, const struct nofi_ns_ident *b)
{
	return a->lba_shift == b->lba_shift && a->csi == b->csi && a->ms == b->ms &&
	       a->pi_type == b->pi_type && a->pif == b->pif && a->sts == b->sts &&
	       a->is_pi_first == b->is_pi_first && a->zone_size == b->zone_size;
}
