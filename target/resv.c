/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reservations: Register, Acquire, Release, and whom they keep away. */
#include <nvme/types.h>
#include <stdlib.h>

#include "resv.h"

#define CONFLICT (NVME_SC_RESERVATION_CONFLICT | DNR)
#define INVALID (NVME_SC_INVALID_FIELD | DNR)

enum { IEKEY = 1u << 3 };

static bool is_same(const uint8_t *a, const uint8_t *b)
{
	return !memcmp(a, b, HOSTID_LEN);
}

static const uint8_t *host_of(const struct cmd *cmd)
{
	return cmd->conn->ctrl->hostid;
}

static bool is_all_registrants(enum resv_type type)
{
	return type == RESV_WE_AR || type == RESV_EA_AR;
}

struct registrant *resv_find(const struct resv *r, const uint8_t *hostid)
{
	for (unsigned int i = 0; i < r->nreg; i++)
		if (is_same(r->reg[i].hostid, hostid))
			return &r->reg[i];
	return NULL;
}

bool resv_is_holder(const struct resv *r, const uint8_t *hostid)
{
	if (r->type == RESV_NONE)
		return false;
	if (is_all_registrants(r->type))
		return resv_find(r, hostid);
	return is_same(r->holder, hostid);
}

bool resv_conflicts(const struct cmd *cmd, const struct ns *ns, enum access access)
{
	const struct resv *r = ns->resv;
	const uint8_t *host = host_of(cmd);
	bool is_ea = r->type == RESV_EA || r->type == RESV_EA_RO || r->type == RESV_EA_AR;

	if (access == READS && !is_ea)
		return false;
	if (r->type == RESV_WE || r->type == RESV_EA)
		return !is_same(r->holder, host);
	return !resv_find(r, host);
}

/* Everyone registered but the host itself. */
static void notify_others(const struct ns *ns, const uint8_t *self, enum note_type type)
{
	for (unsigned int i = 0; i < ns->resv->nreg; i++)
		if (!is_same(ns->resv->reg[i].hostid, self))
			resv_notify(ns, ns->resv->reg[i].hostid, type);
}

static void set_type(struct ns *ns, enum resv_type type, const uint8_t *holder)
{
	ns->resv->type = type;
	if (holder)
		memcpy(ns->resv->holder, holder, HOSTID_LEN);
	if (type == RESV_NONE)
		ns->special &= ~NS_RESERVED;
	else
		ns->special |= NS_RESERVED;
}

static void drop_registrant(struct resv *r, struct registrant *g)
{
	unsigned int i = (unsigned int)(g - r->reg);

	memmove(g, g + 1, (r->nreg - i - 1) * sizeof(*g));
	r->nreg--;
}

/* ---- Register ---- */

static uint16_t add_registrant(struct resv *r, const uint8_t *hostid, uint64_t key)
{
	struct registrant *v;

	if (r->nreg == REGISTRANTS_MAX)
		return NVME_SC_INTERNAL | DNR;
	v = realloc(r->reg, (r->nreg + 1) * sizeof(*v));
	if (!v)
		return NVME_SC_INTERNAL;
	r->reg = v;
	memcpy(v[r->nreg].hostid, hostid, HOSTID_LEN);
	v[r->nreg++].key = key;
	return 0;
}

/* A holder that leaves takes its reservation along; the last of "all" does, too. */
static void unregister(struct ns *ns, struct registrant *g)
{
	struct resv *r = ns->resv;
	bool was_holder = resv_is_holder(r, g->hostid);
	enum resv_type type = r->type;
	uint8_t hostid[HOSTID_LEN];

	memcpy(hostid, g->hostid, HOSTID_LEN);
	drop_registrant(r, g);
	if (!was_holder || (is_all_registrants(type) && r->nreg))
		return;
	set_type(ns, RESV_NONE, NULL);
	if (type == RESV_WE_RO || type == RESV_EA_RO)
		notify_others(ns, hostid, NOTE_RELEASED);
}

static uint16_t do_register(struct cmd *cmd, struct ns *ns)
{
	struct resv *r = ns->resv;
	struct registrant *g = resv_find(r, host_of(cmd));
	uint32_t dw10 = sqe_dw(cmd, 10), action = dw10 & 7, cptpl = dw10 >> 30;
	uint64_t crkey = nofi_get64(cmd->buf), nrkey = nofi_get64(cmd->buf + 8);
	bool is_key = (dw10 & IEKEY) || (g && g->key == crkey);
	uint16_t status = 0;

	if (action > 2 || cptpl == 1 || cptpl == 3)	/* nothing survives power loss */
		return INVALID;
	switch (action) {
	case 0:
		if (g)
			return g->key == nrkey ? 0 : CONFLICT;
		status = add_registrant(r, host_of(cmd), nrkey);
		break;
	case 1:
		if (!g || !is_key)
			return CONFLICT;
		unregister(ns, g);
		break;
	case 2:
		if (!is_key)
			return CONFLICT;
		if (g)
			g->key = nrkey;
		else
			status = add_registrant(r, host_of(cmd), nrkey);
		break;
	}
	if (!status)
		r->gen++;
	return status;
}

/* ---- Acquire ---- */

/* Aborts one command of the queue; those that wait for data end once it is here. */
static bool abort_one(struct conn *c, const struct ns *ns)
{
	for (struct cmd *cmd = c->used_cmds; cmd; cmd = cmd->next) {
		if (cmd->ns != ns || cmd->status || cmd->is_muted)
			continue;
		cmd->status = NVME_SC_CMD_ABORTED_PREMEPT | DNR;
		cmd->sink = SINK_DISCARD;
		if (!cmd->is_parked)
			continue;
		cmd_done(cmd, cmd->status);
		return true;
	}
	return false;
}

/* Ends what the host has going on in the namespace. */
static void abort_commands(const struct ns *ns, const uint8_t *hostid)
{
	for (struct conn *c = conns, *next; c; c = next) {
		next = c->next;
		if (!c->ctrl || !c->qid || !is_same(c->ctrl->hostid, hostid))
			continue;
		while (abort_one(c, ns))
			;
		if (!c->in_rx)
			tx_flush(c);
	}
}

/* Unregisters every other host with the key (0: any); how many. */
static unsigned int preempt_key(struct ns *ns, const uint8_t *self, uint64_t key, bool is_any,
				bool is_abort)
{
	struct resv *r = ns->resv;
	unsigned int n = 0;

	for (unsigned int i = 0; i < r->nreg;) {
		struct registrant *g = &r->reg[i];
		uint8_t hostid[HOSTID_LEN];

		if (is_same(g->hostid, self) || (!is_any && g->key != key)) {
			i++;
			continue;
		}
		memcpy(hostid, g->hostid, HOSTID_LEN);
		drop_registrant(r, g);
		resv_notify(ns, hostid, NOTE_REG_PREEMPTED);
		if (is_abort)
			abort_commands(ns, hostid);
		n++;
	}
	return n;
}

static uint16_t preempt(struct cmd *cmd, struct ns *ns, enum resv_type type, uint64_t prkey,
			bool is_abort)
{
	struct resv *r = ns->resv;
	const uint8_t *self = host_of(cmd);
	enum resv_type old = r->type;
	struct registrant *holder = resv_find(r, r->holder), *me = resv_find(r, self);
	bool is_takeover;

	if (old == RESV_NONE || (is_all_registrants(old) && prkey)) {
		if (!prkey)
			return INVALID;
		if (!preempt_key(ns, self, prkey, false, is_abort) && me->key != prkey)
			return CONFLICT;
		r->gen++;
		return 0;
	}
	is_takeover = is_all_registrants(old) || (holder && holder->key == prkey);
	if (!is_takeover && !prkey)
		return INVALID;
	if (!preempt_key(ns, self, prkey, is_all_registrants(old), is_abort) && !is_takeover)
		return CONFLICT;
	r->gen++;
	if (!is_takeover)
		return 0;
	set_type(ns, type, self);
	if (old != type && old != RESV_WE && old != RESV_EA)
		notify_others(ns, self, NOTE_RELEASED);
	return 0;
}

static uint16_t do_acquire(struct cmd *cmd, struct ns *ns)
{
	struct resv *r = ns->resv;
	const uint8_t *self = host_of(cmd);
	struct registrant *g = resv_find(r, self);
	uint32_t dw10 = sqe_dw(cmd, 10), action = dw10 & 7, type = dw10 >> 8 & 0xff;
	uint64_t crkey = nofi_get64(cmd->buf), prkey = nofi_get64(cmd->buf + 8);

	if ((dw10 & IEKEY) || action > 2 || !type || type > RESV_EA_AR)
		return INVALID;
	if (!g || g->key != crkey)
		return CONFLICT;
	if (action)
		return preempt(cmd, ns, type, prkey, action == 2);
	if (r->type != RESV_NONE)
		return resv_is_holder(r, self) && r->type == type ? 0 : CONFLICT;
	set_type(ns, type, self);
	return 0;
}

/* ---- Release ---- */

static uint16_t do_release(struct cmd *cmd, struct ns *ns)
{
	struct resv *r = ns->resv;
	const uint8_t *self = host_of(cmd);
	struct registrant *g = resv_find(r, self);
	uint32_t dw10 = sqe_dw(cmd, 10), action = dw10 & 7;
	enum resv_type type = r->type;

	if ((dw10 & IEKEY) || action > 1)
		return INVALID;
	if (!g || g->key != nofi_get64(cmd->buf))
		return CONFLICT;
	if (action) {			/* Clear */
		notify_others(ns, self, NOTE_PREEMPTED);
		set_type(ns, RESV_NONE, NULL);
		r->nreg = 0;
		r->gen++;
		return 0;
	}
	if (!resv_is_holder(r, self))
		return 0;		/* nothing of it to release */
	if (type != (dw10 >> 8 & 0xff))
		return INVALID;
	set_type(ns, RESV_NONE, NULL);
	if (type != RESV_WE && type != RESV_EA)
		notify_others(ns, self, NOTE_RELEASED);
	return 0;
}

static void exec_resv(struct cmd *cmd)
{
	uint16_t (*const fn)(struct cmd *, struct ns *) =
		cmd->opc == nvme_cmd_resv_register ? do_register :
		cmd->opc == nvme_cmd_resv_acquire ? do_acquire : do_release;

	if (!cmd->ns->resv)
		cmd->ns->resv = calloc(1, sizeof(*cmd->ns->resv));
	cmd_done(cmd, cmd->ns->resv ? fn(cmd, cmd->ns) : NVME_SC_INTERNAL);
}

void resv_prepare(struct cmd *cmd)
{
	uint32_t len = cmd->opc == nvme_cmd_resv_release ? 8 : 16;

	cmd->ns = nvm_find_ns(cmd, sqe_dw(cmd, 1), UNRESERVED);
	if (!cmd->ns)
		return;
	if (cmd->opc == nvme_cmd_resv_report) {
		cmd->exec = exec_resv_report;
		if (sqe_dw(cmd, 10) >= 1 << 18)
			cmd->status = INVALID;
		else
			cmd_want_len(cmd, (sqe_dw(cmd, 10) + 1) * 4);
		return;
	}
	cmd->exec = exec_resv;
	if (cmd_want_len(cmd, len))
		cmd_alloc_buf(cmd);
}

void resv_free(struct ns *ns)
{
	if (!ns->resv)
		return;
	free(ns->resv->reg);
	free(ns->resv);
	ns->resv = NULL;
}
