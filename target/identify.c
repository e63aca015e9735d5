/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Identify: what the controller and its namespaces say about themselves (F-10). */
#include <nvme/types.h>
#include <stdio.h>

#include "pi.h"
#include "target.h"
#include "zns.h"

_Static_assert(sizeof(struct nvme_id_ctrl) == 4096, "Identify Controller");
_Static_assert(sizeof(struct nvme_id_ns) == 4096, "Identify Namespace");
_Static_assert(sizeof(struct nvme_nvm_id_ns) == 4096, "Identify Namespace, NVM");
_Static_assert(sizeof(struct nvme_zns_id_ns) == 4096, "Identify Namespace, zoned");

enum {
	ID_LEN = 4096, ID_CQT = 386,
	ONCS = 1u << 0 | 1u << 1 |		/* Compare, Write Uncorrectable */
	       1u << 2 | 1u << 3 |		/* DSM, Write Zeroes */
	       1u << 4 | 1u << 5 |		/* Select in features, reservations */
	       1u << 7 | 1u << 8,		/* Verify, Copy */
	OACS = 1u << 0 | 1u << 1 |		/* security, Format */
	       1u << 2 | 1u << 4,		/* firmware, self-test */
	RESCAP = 0xfe,				/* every type, IEKEY; none survives power loss */
};

static uint64_t total_capacity(const struct subsys *s)
{
	uint64_t sum = ns_unallocated(s);

	for (unsigned int i = 0; i < s->nns; i++)
		sum += s->ns[i]->bytes;
	return sum;
}

static void id_ctrl(struct cmd *cmd, struct nvme_id_ctrl *id)
{
	struct ctrl *ctrl = cmd->conn->ctrl;
	struct subsys *s = ctrl->subsys;
	uint32_t nn = subsys_nn(s);

	copy_padded(id->sn, s->serial, sizeof(id->sn));
	copy_padded(id->mn, "libnof nvmf-target", sizeof(id->mn));
	copy_padded(id->fr, NOF_VERSION, sizeof(id->fr));
	id->cmic = 1u << 1 | 1u << 0;		/* several controllers, several ports */
	id->mdts = ctrl->mdts;
	id->cntlid = htole16(ctrl->cntlid);
	id->ver = htole32(0x00020000);
	id->rtd3e = htole32(1000000);
	/* 128-bit host id, TBKAS, extended LBA formats (guards of 32 and 64 bits) */
	id->ctratt = htole32(1u << 0 | (opt.tbkas ? 1u << 6 : 0) | 1u << 15);
	id->cntrltype = s->is_discovery ? 2 : 1;
	id->crdt1 = htole16(opt.crdt[0]);
	id->crdt2 = htole16(opt.crdt[1]);
	id->crdt3 = htole16(opt.crdt[2]);
	nofi_put16((uint8_t *)id + ID_CQT, opt.cqt);
	id->acl = opt.acl;
	id->aerl = AER_MAX - 1;
	id->lpa = 1u << 1 | 1u << 2;		/* effects log, extended data */
	id->kas = htole16(1);			/* 100 ms */
	id->maxcmd = htole16((uint16_t)(opt.queue_size > 0xffff ? 0xffff : opt.queue_size));
	id->sgls = htole32(1u << 0 | 1u << 20 | 1u << 21);
	id->ioccsz = htole32((NOFI_SQE_LEN + opt.in_capsule) / 16);
	id->iorcsz = htole32(1);
	id->msdbd = 1;
	snprintf(id->subnqn, sizeof(id->subnqn), "%s", s->nqn);
	if (s->is_discovery) {
		id->oaes = htole32(1u << 31);
		id->dctype = 1;
		return;
	}
	id->oaes = htole32(1u << 8 | 1u << 9 | (ana_is_on ? 1u << 11 : 0));	/* + ANA */
	if (ana_is_on) {
		id->cmic |= 1u << 3;
		id->anatt = opt.anatt;
		id->anacap = 0x1f | 1u << 6;	/* every state; groups do not change */
		id->anagrpmax = htole32(ANA_GROUPS);
		id->nanagrpid = htole32(ANA_GROUPS);	/* hosts size their log buffer by it */
	}
	id->oacs = htole16(OACS | (opt.capacity ? 1u << 3 : 0));
	id->frmw = FW_SLOTS << 1 | 1u << 0 | 1u << 4;	/* slot 1 read-only, no reset needed */
	id->fwug = 0xff;
	memcpy(id->fr, s->fw.rev[s->fw.active - 1], FW_REV_LEN);
	id->elpe = ERRLOG_ENTRIES - 1;
	id->edstt = htole16(1);
	id->dsto = 1;				/* one self-test at a time */
	id->sanicap = htole32(7 | 2u << 30);	/* crypto, block, overwrite */
	id->fna = 1u << 2;			/* crypto erase by Format */
	nofi_put64(id->tnvmcap, total_capacity(s));
	nofi_put64(id->unvmcap, ns_unallocated(s));
	id->wctemp = htole16(343);
	id->cctemp = htole16(353);
	id->sqes = 0x66;
	id->cqes = 0x44;
	id->nn = htole32(nn);
	id->mnan = htole32(nn);
	id->oncs = htole16(ONCS);
	id->fuses = htole16(1);			/* Compare and Write */
	id->acwu = htole16(127);
	id->ocfs = htole16(0xf);		/* Copy formats 0 to 3 */
	id->vwc = opt.vwc ? 7 : 6;		/* NSID FFFFFFFFh allowed in Flush */
	id->ofcs = htole16(1);			/* Disconnect */
}

/* ns NULL: of a namespace yet to be made. */
static void id_formats(const struct ns *ns, struct nvme_id_ns *id)
{
	id->nlbaf = (uint8_t)(format_count() - 1);
	for (unsigned int i = 0; i < format_count(); i++) {
		struct lba_format f = format_at(ns, i);

		id->lbaf[i].ds = f.lbads;
		id->lbaf[i].ms = htole16(f.ms);
	}
	id->mc = 1;				/* metadata: behind the data of each block */
	id->dpc = 0x1f;				/* every type, first and last */
}

static void id_ns(const struct ns *ns, struct nvme_id_ns *id)
{
	id->nsze = id->ncap = id->nuse = htole64(ns->blocks);
	id->dlfeat = 1 | 1u << 3;		/* deallocated reads as zeroes; DEAC works */
	id->nmic = ns->nmic;
	id->rescap = RESCAP;
	id->mssrl = htole16(ns->mssrl);
	id->mcl = htole32(ns->mcl);
	id->msrc = ns->msrc;
	id->nsattr = ns->is_readonly ? 1 : 0;
	id->anagrpid = htole32(ana_is_on ? ns->anagrp : 0);
	memcpy(id->nguid, ns->nguid, sizeof(id->nguid));
	memcpy(id->eui64, ns->eui64, sizeof(id->eui64));
	id_formats(ns, id);
	id->flbas = (uint8_t)((ns->flbas & 15) | (ns->flbas >> 4) << 5 | (ns->ms ? 1u << 4 : 0));
	nofi_put64(id->nvmcap, ns->bytes);
	id->dps = (uint8_t)(ns->pi_type | (ns->is_pi_first ? 1u << 3 : 0));
	if (ns->atomic) {
		id->nsfeat |= 1u << 1;
		id->nawun = id->nawupf = htole16((uint16_t)(ns->atomic - 1));
		id->nacwu = htole16(ns->acwu);
	}
	if (ns->atomic_boundary) {
		id->nabsn = id->nabspf = htole16((uint16_t)(ns->atomic_boundary - 1));
		id->nabo = htole16(ns->atomic_offset);
	}
}

/* CNS 05h, CSI 0: formats of protection information. */
static void id_ns_nvm(const struct ns *ns, struct nvme_nvm_id_ns *id)
{
	for (unsigned int i = 0; i < format_count(); i++) {
		uint32_t pif = format_at(ns, i).pif;

		/* 32-bit guards come with a 16-bit storage tag. */
		id->elbaf[i] = htole32(pif << 7 | (pif == PI_GUARD32 ? 16 : 0));
	}
	id->lbstm = htole64(ns && ns->pif == PI_GUARD32 ? 0xffff : 0);
}

/* CNS 05h, CSI 2 */
static void id_ns_zns(const struct ns *ns, struct nvme_zns_id_ns *id)
{
	const struct zns *z = ns->zns;

	id->ozcs = htole16(1);			/* reads may cross zones */
	id->mar = htole32(z->mar == UINT32_MAX ? UINT32_MAX : z->mar - 1);
	id->mor = htole32(z->mor == UINT32_MAX ? UINT32_MAX : z->mor - 1);
	for (unsigned int i = 0; i < format_count(); i++)
		id->lbafe[i].zsze = htole64(z->bytes >> format_at(ns, i).lbads);
}

static bool has_zoned(const struct subsys *s)
{
	for (unsigned int i = 0; i < s->nns; i++)
		if (s->ns[i]->zns)
			return true;
	return false;
}

static uint8_t *add_desc(uint8_t *p, uint8_t type, uint8_t len, const void *value)
{
	static const uint8_t none[16];

	if (type < 4 && !memcmp(value, none, len))
		return p;
	p[0] = type;
	p[1] = len;
	memcpy(p + 4, value, len);
	return p + 4 + len;
}

static void id_ns_descs(const struct ns *ns, uint8_t *p)
{
	uint8_t csi = ns->zns ? 2 : 0;

	p = add_desc(p, 1, 8, ns->eui64);
	p = add_desc(p, 2, 16, ns->nguid);
	p = add_desc(p, 3, 16, ns->uuid);
	add_desc(p, 4, 1, &csi);
}

/* Those attached to ctrl (NULL: all there are), of a command set (csi -1: of every). */
static void id_ns_list(const struct subsys *s, const struct ctrl *ctrl, uint32_t after, int csi,
		       uint8_t *out)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < s->nns && n < ID_LEN / 4; i++) {
		const struct ns *ns = s->ns[i];

		if (ns->nsid <= after || (ctrl && !ns_is_attached(ns, ctrl)) ||
		    (csi >= 0 && csi != (ns->zns ? 2 : 0)))
			continue;
		nofi_put32(out + 4 * n++, ns->nsid);
	}
}

/* Controllers from an id on, those that ns (NULL: any) is attached to. */
static void id_ctrl_list(const struct subsys *s, const struct ns *ns, uint32_t from, uint8_t *out)
{
	uint16_t n = 0;

	for (; from <= 0xffef && n < ID_LEN / 2 - 1; from++)
		for (const struct ctrl *k = s->ctrls; k; k = k->next)
			if (k->cntlid == from && (!ns || ns_is_attached(ns, k)))
				nofi_put16(out + 2 * ++n, k->cntlid);
	nofi_put16(out, n);
}

static void exec_identify(struct cmd *cmd)
{
	union {
		uint8_t b[ID_LEN];
		struct nvme_id_ctrl ctrl;
		struct nvme_id_ns ns;
		struct nvme_id_independent_id_ns indep;
		struct nvme_nvm_id_ns nvm;
		struct nvme_zns_id_ns zns;
	} out;
	struct ctrl *ctrl = cmd->conn->ctrl;
	struct subsys *s = ctrl->subsys;
	uint32_t nsid = sqe_dw(cmd, 1);
	uint8_t cns = (uint8_t)sqe_dw(cmd, 10), csi = (uint8_t)(sqe_dw(cmd, 11) >> 24);
	struct ns *allocated = ns_find(s, nsid);
	struct ns *ns = allocated && ns_is_attached(allocated, ctrl) ? allocated : NULL;
	bool is_in_range = nsid && nsid <= subsys_nn(s);
	bool is_csi_known = !csi || (csi == 2 && has_zoned(s));
	uint16_t status = 0;

	memset(&out, 0, sizeof(out));
	switch (cns) {
	case 0x00:
		if (ns)
			id_ns(ns, &out.ns);
		else if (nsid == 0xffffffff)	/* what namespaces have in common */
			id_formats(NULL, &out.ns);
		else if (!is_in_range)		/* in range and inactive: all zeroes */
			status = NVME_SC_INVALID_NS | DNR;
		break;
	case 0x01:
		id_ctrl(cmd, &out.ctrl);
		break;
	case 0x02:
		if (nsid >= 0xfffffffe)
			status = NVME_SC_INVALID_NS | DNR;
		id_ns_list(s, ctrl, nsid, -1, out.b);
		break;
	case 0x03:
		if (ns)
			id_ns_descs(ns, out.b);
		else
			status = NVME_SC_INVALID_NS | DNR;
		break;
	case 0x05:
		if (!is_csi_known || (csi && !ns) || (ns && !!ns->zns != !!csi && csi))
			status = NVME_SC_INVALID_FIELD | DNR;
		else if (!ns && !is_in_range && nsid != 0xffffffff)
			status = NVME_SC_INVALID_NS | DNR;
		else if (ns && csi)
			id_ns_zns(ns, &out.zns);
		else if (ns || nsid == 0xffffffff)
			id_ns_nvm(ns, &out.nvm);
		break;
	case 0x06:
		if (!is_csi_known)
			status = NVME_SC_INVALID_FIELD | DNR;
		if (csi == 2)
			out.b[0] = opt.zasl;
		break;				/* CSI 0: no limits beyond MDTS */
	case 0x07:
		if (!is_csi_known)
			status = NVME_SC_INVALID_FIELD | DNR;
		if (nsid >= 0xfffffffe)
			status = NVME_SC_INVALID_NS | DNR;
		id_ns_list(s, ctrl, nsid, csi, out.b);
		break;
	case 0x08:
		if (!ns) {
			status = NVME_SC_INVALID_NS | DNR;
			break;
		}
		out.indep.nmic = ns->nmic;
		out.indep.rescap = RESCAP;
		out.indep.anagrpid = htole32(ana_is_on ? ns->anagrp : 0);
		out.indep.nsattr = ns->is_readonly ? 1 : 0;
		out.indep.nstat = 1;		/* ready */
		break;
	case 0x10:
		if (nsid >= 0xfffffffe)
			status = NVME_SC_INVALID_NS | DNR;
		id_ns_list(s, NULL, nsid, -1, out.b);
		break;
	case 0x11:
		if (allocated)
			id_ns(allocated, &out.ns);
		else if (!is_in_range)
			status = NVME_SC_INVALID_NS | DNR;
		break;
	case 0x12:
		if (!allocated)
			status = NVME_SC_INVALID_NS | DNR;
		else
			id_ctrl_list(s, allocated, sqe_dw(cmd, 10) >> 16, out.b);
		break;
	case 0x13:
		id_ctrl_list(s, NULL, sqe_dw(cmd, 10) >> 16, out.b);
		break;
	case 0x1c:
		/* combination 0: the NVM command set, and zones if there are any */
		nofi_put64(out.b, 1 | (has_zoned(s) ? 4 : 0));
		break;
	default:
		status = NVME_SC_INVALID_FIELD | DNR;
	}
	if (status)
		cmd_done(cmd, status);
	else
		cmd_data_done(cmd, out.b, ID_LEN, false);
}

void identify_prepare(struct cmd *cmd)
{
	cmd->exec = exec_identify;
	cmd_want_len(cmd, ID_LEN);
}
