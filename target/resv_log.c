/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What hosts learn of reservations: Report, notifications (log 80h) and their mask (FID 82h). */
#include <nvme/types.h>
#include <stdlib.h>

#include "resv.h"

enum {
	HEAD_LEN = 24, ENTRY_LEN = 24,	/* with 64-bit host identifiers, which nobody has here */
	EXT_HEAD_LEN = 64, EXT_ENTRY_LEN = 64,
	NOTE_LEN = 64,
	MASKS = 0x0e,			/* REGPRE, RESREL, RESPRE */
};

/* ---- Report ---- */

static uint8_t *add_entry(uint8_t *p, const struct resv *r, const struct registrant *g,
			  uint16_t cntlid)
{
	nofi_put16(p, cntlid);
	p[2] = resv_is_holder(r, g->hostid);
	nofi_put64(p + 8, g->key);
	memcpy(p + 16, g->hostid, HOSTID_LEN);
	return p + EXT_ENTRY_LEN;
}

/* An entry for every controller of a registered host; one for a host that has none now. */
static uint8_t *add_entries(uint8_t *p, const struct ns *ns, const struct registrant *g,
			    const uint8_t *end)
{
	bool is_any = false;

	for (const struct ctrl *k = ns->subsys->ctrls; k && p < end; k = k->next) {
		if (memcmp(k->hostid, g->hostid, HOSTID_LEN))
			continue;
		p = add_entry(p, ns->resv, g, k->cntlid);
		is_any = true;
	}
	return is_any || p >= end ? p : add_entry(p, ns->resv, g, 0xffff);
}

void exec_resv_report(struct cmd *cmd)
{
	const struct ns *ns = cmd->ns;
	const struct resv *r = ns->resv;
	unsigned int max = r ? r->nreg : 0;
	uint8_t *out, *p;
	size_t size;

	if (!(sqe_dw(cmd, 11) & 1)) {	/* our hosts have 128-bit identifiers */
		cmd_done(cmd, NVME_SC_HOSTID_FORMAT | DNR);
		return;
	}
	for (const struct ctrl *k = ns->subsys->ctrls; k; k = k->next)
		max++;
	size = EXT_HEAD_LEN + max * EXT_ENTRY_LEN;
	if (size < cmd->len)
		size = cmd->len;
	out = calloc(1, size);
	if (!out) {
		cmd_done(cmd, NVME_SC_INTERNAL);
		return;
	}
	p = out + EXT_HEAD_LEN;
	for (unsigned int i = 0; r && i < r->nreg; i++)
		p = add_entries(p, ns, &r->reg[i], out + size);
	if (r) {
		nofi_put32(out, r->gen);
		out[4] = (uint8_t)r->type;
	}
	nofi_put16(out + 5, (uint16_t)((p - out - EXT_HEAD_LEN) / EXT_ENTRY_LEN));
	cmd_data_done(cmd, out, cmd->len, false);
	free(out);
}

/* ---- notifications ---- */

static uint8_t *mask_of(struct ctrl *ctrl, uint32_t nsid)
{
	for (unsigned int i = 0; i < ctrl->nresv_masks; i++)
		if (ctrl->resv_masks[i].nsid == nsid)
			return &ctrl->resv_masks[i].mask;
	return NULL;
}

static void note(struct ctrl *ctrl, uint32_t nsid, enum note_type type)
{
	const uint8_t *mask = mask_of(ctrl, nsid);

	if (mask && *mask >> type & 1)
		return;
	if (!ctrl->notes)
		ctrl->notes = calloc(NOTES_MAX, sizeof(*ctrl->notes));
	if (!ctrl->notes)
		return;
	ctrl->note_count++;
	if (ctrl->nnotes == NOTES_MAX) {	/* the count tells the host of the loss */
		memmove(ctrl->notes, ctrl->notes + 1, (NOTES_MAX - 1) * sizeof(*ctrl->notes));
		ctrl->nnotes--;
	}
	ctrl->notes[ctrl->nnotes++] = (struct resv_note){
		.count = ctrl->note_count, .nsid = nsid, .type = (uint8_t)type,
	};
	ctrl_notify(ctrl, EV_RESV);
}

void resv_notify(const struct ns *ns, const uint8_t *hostid, enum note_type type)
{
	struct ctrl *next;

	for (struct ctrl *k = ns->subsys->ctrls; k; k = next) {
		next = k->next;		/* telling it may be the end of it */
		if (!memcmp(k->hostid, hostid, HOSTID_LEN))
			note(k, ns->nsid, type);
	}
}

/* The oldest notification; reading takes it off, and the next one is an event of its own. */
uint8_t *log_resv(struct ctrl *ctrl, bool is_kept, size_t *len)
{
	uint8_t *l = calloc(1, NOTE_LEN);

	*len = NOTE_LEN;
	if (!l || !ctrl->nnotes)
		return l;
	nofi_put64(l, ctrl->notes[0].count);
	l[8] = ctrl->notes[0].type;
	l[9] = (uint8_t)(ctrl->nnotes - 1);
	nofi_put32(l + 12, ctrl->notes[0].nsid);
	if (is_kept)
		return l;
	ctrl->nnotes--;
	memmove(ctrl->notes, ctrl->notes + 1, ctrl->nnotes * sizeof(*ctrl->notes));
	if (ctrl->nnotes)
		ctrl->ev.pending |= 1u << EV_RESV;
	return l;
}

/* ---- FID 82h ---- */

static uint16_t set_mask(struct ctrl *ctrl, uint32_t nsid, uint8_t mask)
{
	uint8_t *old = mask_of(ctrl, nsid);
	struct resv_mask *v;

	if (old) {
		*old = mask;
		return 0;
	}
	v = realloc(ctrl->resv_masks, (ctrl->nresv_masks + 1) * sizeof(*v));
	if (!v)
		return NVME_SC_INTERNAL;
	ctrl->resv_masks = v;
	v[ctrl->nresv_masks++] = (struct resv_mask){ .nsid = nsid, .mask = mask };
	return 0;
}

void resv_set_mask(struct cmd *cmd)
{
	struct ctrl *ctrl = cmd->conn->ctrl;
	uint32_t nsid = sqe_dw(cmd, 1);
	uint8_t mask = sqe_dw(cmd, 11) & MASKS;
	uint16_t status = 0;

	for (unsigned int i = 0; i < ctrl->subsys->nns && nsid == 0xffffffff && !status; i++)
		status = set_mask(ctrl, ctrl->subsys->ns[i]->nsid, mask);
	if (nsid != 0xffffffff)
		status = ns_find(ctrl->subsys, nsid) ? set_mask(ctrl, nsid, mask) :
						       NVME_SC_INVALID_NS | DNR;
	cmd_done(cmd, status);
}

void resv_get_mask(struct cmd *cmd)
{
	struct ctrl *ctrl = cmd->conn->ctrl;
	const uint8_t *mask = mask_of(ctrl, sqe_dw(cmd, 1));

	cmd->dw0 = mask ? *mask : 0;
	cmd_done(cmd, ns_find(ctrl->subsys, sqe_dw(cmd, 1)) ? 0 : NVME_SC_INVALID_NS | DNR);
}
