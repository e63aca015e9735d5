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
	RESCAP = 0xfe,				/* every type, IEKEY; none survives power loss */
};

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
	id->oaes = htole32(1u << 8 | (ana_is_on ? 1u << 11 : 0));	/* namespaces, ANA */
	if (ana_is_on) {
		id->cmic |= 1u << 3;
		id->anatt = opt.anatt;
		id->anacap = 0x1f | 1u << 6;	/* every state; groups do not change */
		id->anagrpmax = htole32(ANA_GROUPS);
		id->nanagrpid = htole32(ana_groups(s));
	}
	id->frmw = 1u << 1 | 1u << 0;		/* one slot, read-only */
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

static void id_ns(const struct ns *ns, struct nvme_id_ns *id)
{
	id->nsze = id->ncap = id->nuse = htole64(ns->blocks);
	id->dlfeat = 1 | 1u << 3;		/* deallocated reads as zeroes; DEAC works */
	id->nmic = 1;
	id->rescap = RESCAP;
	id->mssrl = htole16(ns->mssrl);
	id->mcl = htole32(ns->mcl);
	id->msrc = ns->msrc;
	id->nsattr = ns->is_readonly ? 1 : 0;
	id->anagrpid = htole32(ana_is_on ? ns->anagrp : 0);
	memcpy(id->nguid, ns->nguid, sizeof(id->nguid));
	memcpy(id->eui64, ns->eui64, sizeof(id->eui64));
	id->lbaf[0].ds = ns->lbads;
	id->lbaf[0].ms = htole16(ns->ms);
	id->mc = 1;				/* metadata: behind the data of each block */
	id->flbas = ns->ms ? 1u << 4 : 0;
	id->dpc = 0x1f;				/* every type, first and last */
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
	/* 32-bit guards come with a 16-bit storage tag. */
	id->elbaf[0] = htole32((uint32_t)ns->pif << 7 | (ns->pif == PI_GUARD32 ? 16 : 0));
	id->lbstm = htole64(ns->pif == PI_GUARD32 ? 0xffff : 0);
}

/* CNS 05h, CSI 2 */
static void id_ns_zns(const struct ns *ns, struct nvme_zns_id_ns *id)
{
	const struct zns *z = ns->zns;

	id->ozcs = htole16(1);			/* reads may cross zones */
	id->mar = htole32(z->mar == UINT32_MAX ? UINT32_MAX : z->mar - 1);
	id->mor = htole32(z->mor == UINT32_MAX ? UINT32_MAX : z->mor - 1);
	id->lbafe[0].zsze = htole64(z->size);
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

/* csi -1: of every command set */
static void id_ns_list(const struct subsys *s, uint32_t after, int csi, uint8_t *out)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < s->nns && n < ID_LEN / 4; i++)
		if (s->ns[i]->nsid > after && (csi < 0 || csi == (s->ns[i]->zns ? 2 : 0)))
			nofi_put32(out + 4 * n++, s->ns[i]->nsid);
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
	struct subsys *s = cmd->conn->ctrl->subsys;
	uint32_t nsid = sqe_dw(cmd, 1);
	uint8_t cns = (uint8_t)sqe_dw(cmd, 10), csi = (uint8_t)(sqe_dw(cmd, 11) >> 24);
	struct ns *ns = ns_find(s, nsid);
	bool is_in_range = nsid && nsid <= subsys_nn(s);
	bool is_csi_known = !csi || (csi == 2 && has_zoned(s));
	uint16_t status = 0;

	memset(&out, 0, sizeof(out));
	switch (cns) {
	case 0x00:
		if (ns)
			id_ns(ns, &out.ns);
		else if (!is_in_range)		/* in range and inactive: all zeroes */
			status = NVME_SC_INVALID_NS | DNR;
		break;
	case 0x01:
		id_ctrl(cmd, &out.ctrl);
		break;
	case 0x02:
		if (nsid >= 0xfffffffe)
			status = NVME_SC_INVALID_NS | DNR;
		id_ns_list(s, nsid, -1, out.b);
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
		else if (!ns && !is_in_range)
			status = NVME_SC_INVALID_NS | DNR;
		else if (ns && csi)
			id_ns_zns(ns, &out.zns);
		else if (ns)
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
		id_ns_list(s, nsid, csi, out.b);
		break;
	case 0x08:
		if (!ns) {
			status = NVME_SC_INVALID_NS | DNR;
			break;
		}
		out.indep.nmic = 1;
		out.indep.rescap = RESCAP;
		out.indep.anagrpid = htole32(ana_is_on ? ns->anagrp : 0);
		out.indep.nsattr = ns->is_readonly ? 1 : 0;
		out.indep.nstat = 1;		/* ready */
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
