/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Identify Controller, judged (F-5, F-10, T-11), and the discovery log's entries.
 */
#include <errno.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/ident.h"
#include "pdu/wire.h"

_Static_assert(sizeof(struct nvme_id_ctrl) == NOFI_PAGE, "Identify Controller");
_Static_assert(offsetof(struct nvme_id_ctrl, ioccsz) == 1792, "IOCCSZ");
_Static_assert(offsetof(struct nvme_id_ctrl, kas) == 320, "KAS");
_Static_assert(offsetof(struct nvme_id_ctrl, subnqn) == 768, "SUBNQN");
_Static_assert(offsetof(struct nvme_id_ctrl, acl) == 258, "ACL");
_Static_assert(offsetof(struct nvme_id_ctrl, crdt1) == 128, "CRDT1");

enum {
	CTRATT_TBKAS = 1u << 6,
	CQT_OFFSET = 386,		/* ms, 16 bits (TP4129): older headers do not have it */
};

/*
 * MDTS is a power of two of units of 2^(12+MPSMIN) bytes, 0 = no limit. Never
 * shifts by what the controller said: MDTS 255 is as good as none.
 */
static uint32_t max_transfer(uint8_t mdts, uint8_t mpsmin)
{
	uint32_t shift = 12u + mpsmin + mdts;

	if (!mdts || shift >= 20)
		return NOFI_TRANSFER_MAX;
	return 1u << shift;
}

static int check_capsules(const struct nvme_id_ctrl *id, struct nofi_ctrl_ident *out,
			  struct nofi_err *err)
{
	uint32_t ioccsz = le32toh(id->ioccsz);
	uint64_t data;

	if (ioccsz < 4)
		return nofi_err_set(
			err, -EPROTO,
			"Identify Controller: IOCCSZ is %u, but a command "
			"capsule takes at least 4 units of 16 bytes; the target is at fault",
			ioccsz);
	data = (uint64_t)ioccsz * 16 - 64;
	if (id->icdoff && data)
		return nofi_err_set(
			err, -ENOTSUP,
			"Identify Controller: in-capsule data has to start "
			"%u bytes behind the command (ICDOFF %u), which this version does "
			"not support; set the target's in-capsule data size to 0",
			le16toh(id->icdoff) * 16u, le16toh(id->icdoff));
	/* Requests are never larger than NOFI_TRANSFER_MAX: the cap withholds nothing. */
	out->incapsule = data < NOFI_TRANSFER_MAX ? (uint32_t)data : NOFI_TRANSFER_MAX;
	return 0;
}

int nofi_ident_ctrl(const uint8_t page[NOFI_PAGE], const struct nofi_ident_ctx *ctx,
		    struct nofi_ctrl_ident *res, struct nofi_err *err)
{
	struct nvme_id_ctrl id;
	struct nofi_ctrl_ident o;
	int r;

	memcpy(&id, page, sizeof(id));
	memset(&o, 0, sizeof(o));
	if (le16toh(id.cntlid) != ctx->cntlid)
		return nofi_err_set(err, -EPROTO, "Identify Controller: this is controller %u, but "
				    "Connect was answered by %u; the target is at fault",
				    le16toh(id.cntlid), ctx->cntlid);
	if (id.cntrltype > 3)
		return nofi_err_set(err, -EPROTO, "Identify Controller: controller type %u is not "
				    "defined", id.cntrltype);
	o.is_discovery = id.cntrltype == 2 || (!id.cntrltype && ctx->is_discovery_nqn);
	/* Discovery controllers move no data by I/O queues: what concerns those is not theirs. */
	if (!o.is_discovery) {
		if (!(le32toh(id.sgls) & 3))
			return nofi_err_set(
				err, -ENOTSUP,
				"Identify Controller: SGLs are not "
				"supported (SGLS %#x), but NVMe over Fabrics needs them; "
				"the target is at fault",
				le32toh(id.sgls));
		r = check_capsules(&id, &o, err);
		if (r < 0)
			return r;
		if (!id.kas && ctx->wants_keep_alive)
			return nofi_err_set(
				err, -ENOTSUP,
				"Identify Controller: keep alive is not "
				"supported (KAS 0), but NVMe over Fabrics needs it; set "
				"keep_alive_tmo to 0 to do without");
	}
	nofi_text_copy(o.subnqn, (const uint8_t *)id.subnqn, sizeof(o.subnqn) - 1);
	nofi_text_copy(o.model, (const uint8_t *)id.mn, sizeof(id.mn));
	nofi_text_copy(o.serial, (const uint8_t *)id.sn, sizeof(id.sn));
	nofi_text_copy(o.firmware, (const uint8_t *)id.fr, sizeof(id.fr));
	o.has_volatile_cache = id.vwc & 1;
	o.has_mdts = id.mdts != 0;
	o.aerl = id.aerl;
	o.dctype = id.dctype;
	o.acl = id.acl;
	o.has_disconnect = le16toh(id.ofcs) & NVME_CTRL_OFCS_DISCONNECT;
	o.has_tbkas = le32toh(id.ctratt) & CTRATT_TBKAS;
	o.cqt_ms = nofi_get16(page + CQT_OFFSET);
	o.crdt_ms[0] = le16toh(id.crdt1) * 100u;
	o.crdt_ms[1] = le16toh(id.crdt2) * 100u;
	o.crdt_ms[2] = le16toh(id.crdt3) * 100u;
	o.maxcmd = le16toh(id.maxcmd);
	o.oncs = le16toh(id.oncs);
	o.oacs = le16toh(id.oacs);
	o.fuses = le16toh(id.fuses);
	o.ocfs = le16toh(id.ocfs);
	o.lpa = id.lpa;
	o.fwug = id.fwug;
	o.fna = id.fna;
	o.awun = le16toh(id.awun);
	o.awupf = le16toh(id.awupf);
	o.acwu = le16toh(id.acwu);
	o.sanicap = le32toh(id.sanicap);
	o.ver = le32toh(id.ver);
	o.nn = le32toh(id.nn);
	o.oaes = le32toh(id.oaes);
	o.ctratt = le32toh(id.ctratt);
	o.rtd3e_us = le32toh(id.rtd3e);
	o.kas_ms = le16toh(id.kas) * 100u;
	o.max_transfer = max_transfer(id.mdts, ctx->mpsmin);
	o.has_ana = id.cmic & 8;
	o.anatt = id.anatt;
	o.anagrpmax = le32toh(id.anagrpmax);
	o.nanagrpid = le32toh(id.nanagrpid);
	*res = o;
	return 0;
}

void nofi_discovery_decode(const uint8_t raw[1024], struct nof_discovery_entry *out)
{
	struct nvmf_disc_log_entry e;

	_Static_assert(sizeof(e) == 1024, "discovery log entry");
	memcpy(&e, raw, sizeof(e));
	memset(out, 0, sizeof(*out));
	out->trtype = e.trtype;
	out->adrfam = e.adrfam;
	out->subtype = e.subtype;
	out->treq = e.treq;
	out->portid = le16toh(e.portid);
	out->cntlid = le16toh(e.cntlid);
	out->asqsz = le16toh(e.asqsz);
	out->eflags = le16toh(e.eflags);
	out->sectype = e.trtype == NVMF_TRTYPE_TCP ? e.tsas.tcp.sectype : 0;
	nofi_text_copy(out->trsvcid, (const uint8_t *)e.trsvcid, sizeof(e.trsvcid));
	nofi_text_copy(out->subnqn, (const uint8_t *)e.subnqn, sizeof(e.subnqn));
	nofi_text_copy(out->traddr, (const uint8_t *)e.traddr, sizeof(e.traddr));
}
