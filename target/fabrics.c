/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fabrics commands: Connect with all its refusals, properties, Disconnect;
 * and with them the life of a controller, from admin Connect to the loss of
 * its admin connection or the end of its keep alive timer.
 */
#include <nvme/types.h>
#include <stdlib.h>

#include "fault.h"
#include "target.h"

enum {
	FC_PROP_SET = 0x00, FC_CONNECT = 0x01, FC_PROP_GET = 0x04, FC_DISCONNECT = 0x08,
	CONNECT_LEN = 1024,
	CATTR_NO_SQFLOW = 1u << 2,
	MIN_ADMIN_ENTRIES = 32,
	NSSR_MAGIC = 0x4e564d65,	/* "NVMe" */
	CSTS_NSSRO = 1 << 4,
	READY_TIMEOUT = 4,	/* CAP.TO, CRTO: 2 s in units of 500 ms; it takes no time */
	DISCOVERY_KATO_MS = 120000,	/* for hosts that set none */
};

#define CONNECT_STATUS(sc) (0x100u | (sc) | DNR)

static struct ctrl *dead_ctrls;
static uint16_t last_cntlid;

void ctrls_reap(void)
{
	while (dead_ctrls) {
		struct ctrl *ctrl = dead_ctrls;

		dead_ctrls = ctrl->next;
		free(ctrl->io);
		free(ctrl->changed);
		free(ctrl->notes);
		free(ctrl->resv_masks);
		free(ctrl->errors);
		free(ctrl->security);
		free(ctrl);
	}
}

void ctrl_destroy(struct ctrl *ctrl)
{
	struct ctrl **p;

	if (ctrl->is_dead)
		return;
	ctrl->is_dead = true;
	timer_cancel(&ctrl->kato);
	for (p = &ctrl->subsys->ctrls; *p != ctrl; p = &(*p)->next)
		;
	*p = ctrl->next;
	if (ctrl->admin)
		conn_close(ctrl->admin, false);
	for (uint32_t i = 1; i <= ctrl->nio; i++)
		if (ctrl->io[i])
			conn_close(ctrl->io[i], false);
	ctrl->next = dead_ctrls;
	dead_ctrls = ctrl;
	verbose("controller %u: gone", ctrl->cntlid);
}

void ctrl_conn_gone(struct conn *c)
{
	struct ctrl *ctrl = c->ctrl;

	if (c->qid == 0) {
		ctrl->admin = NULL;
		ctrl->ev.naer = 0;
		ctrl_destroy(ctrl);
	} else if (ctrl->io[c->qid] == c) {
		ctrl->io[c->qid] = NULL;
	}
}

/* Any command counts where CTRATT.TBKAS is set, else only Keep Alive. */
void ctrl_seen(struct ctrl *ctrl, const struct cmd *cmd)
{
	if (opt.tbkas || cmd->is_fabrics || (cmd->opc == 0x18 && !cmd->conn->qid))
		ctrl->last_seen = loop_now();
}

static uint64_t silence_limit(const struct ctrl *ctrl)
{
	return ctrl->kato_ms * MS * 3 / 2;
}

static void expire(struct ctrl *ctrl)
{
	stats.kato_expired++;
	verbose("controller %u: no command for %u ms, closing", ctrl->cntlid, ctrl->kato_ms);
	control_event("keep alive expired cntlid=%u", ctrl->cntlid);
	ctrl_destroy(ctrl);
}

static void on_kato(struct timer *t)
{
	struct ctrl *ctrl = container_of(t, struct ctrl, kato);
	uint64_t silent = loop_now() - ctrl->last_seen;

	if (silent < silence_limit(ctrl))
		timer_set(t, silence_limit(ctrl) - silent, on_kato);
	else if (ctrl->port->is_paused)		/* its end would be heard: see conn_set_paused() */
		timer_set(t, silence_limit(ctrl), on_kato);
	else
		expire(ctrl);
}

/*
 * A host that heard nothing for the keep alive time may have sent its writes again elsewhere.
 * What this process still finds of them after it was stopped for longer must not be executed:
 * the clock is read anew for each command, because it may have stopped anywhere.
 */
bool conn_is_expired(struct conn *c)
{
	struct ctrl *ctrl = c->ctrl;

	if (c->state == CONN_DEAD)
		return true;
	if (!ctrl || !ctrl->kato.is_armed ||
	    loop_read_clock() - ctrl->last_seen < silence_limit(ctrl))
		return false;
	expire(ctrl);
	return true;
}

void ctrl_set_kato(struct ctrl *ctrl, uint32_t ms)
{
	timer_cancel(&ctrl->kato);
	if (!ms && ctrl->subsys->is_discovery)
		ms = DISCOVERY_KATO_MS;
	ctrl->kato_ms = ms;
	if (ms && opt.kato_check)
		timer_set(&ctrl->kato, silence_limit(ctrl), on_kato);
}

/* ---- Connect ---- */

static void bad_param(struct cmd *cmd, uint16_t offset, bool is_data)
{
	cmd->dw0 = offset | (is_data ? 1u << 16 : 0);	/* IPO, IATTR */
	cmd_done(cmd, CONNECT_STATUS(NVME_SC_CONNECT_INVALID_PARAM));
}

static bool is_terminated(const char *s)
{
	return memchr(s, 0, NQN_MAX + 1) && *s;
}

static bool is_zero(const uint8_t *p, size_t n)
{
	while (n--)
		if (*p++)
			return false;
	return true;
}

static uint16_t new_cntlid(const struct subsys *s)
{
	for (;;) {
		const struct ctrl *k;

		last_cntlid = last_cntlid >= 0xffef || last_cntlid < opt.cntlid_min ?
			      opt.cntlid_min : last_cntlid + 1;
		for (k = s->ctrls; k && k->cntlid != last_cntlid; k = k->next)
			;
		if (!k)
			return last_cntlid;
	}
}

static struct ctrl *ctrl_new(struct subsys *s, struct conn *c, const struct nvmf_connect_data *d)
{
	struct ctrl *ctrl = calloc(1, sizeof(*ctrl));

	if (!ctrl)
		return NULL;
	ctrl->nio = opt.queues;
	ctrl->io = calloc(ctrl->nio + 1, sizeof(*ctrl->io));
	if (!ctrl->io) {
		free(ctrl);
		return NULL;
	}
	ctrl->subsys = s;
	ctrl->cntlid = new_cntlid(s);
	strcpy(ctrl->hostnqn, d->hostnqn);
	memcpy(ctrl->hostid, d->hostid, sizeof(ctrl->hostid));
	ctrl->admin = c;
	ctrl->port = c->port;
	ctrl->granted = ctrl->nio;
	ctrl->mdts = opt.mdts;
	ctrl->features[6] = 1;		/* write cache enabled */
	ctrl->next = s->ctrls;
	s->ctrls = ctrl;
	return ctrl;
}

static void connected(struct cmd *cmd, struct ctrl *ctrl, uint16_t qid)
{
	struct conn *c = cmd->conn;
	bool no_flow = cmd->sqe[46] & CATTR_NO_SQFLOW;

	c->ctrl = ctrl;
	c->qid = qid;
	c->entries = nofi_get16(cmd->sqe + 44) + 1u;
	c->sqflow_off = no_flow;
	timer_cancel(&c->timer);
	ctrl_seen(ctrl, cmd);
	cmd->dw0 = ctrl->cntlid;
	verbose("conn %llu: controller %u queue %u, %u entries, %s", (unsigned long long)c->id,
		ctrl->cntlid, qid, c->entries, ctrl->hostnqn);
	/* FFFFh in this response says that SQ flow control is off. */
	c->sqhd = no_flow ? 0xffff : 0;
	cmd_done(cmd, 0);
	if (no_flow)
		c->sqhd = 0;
}

static void connect_admin(struct cmd *cmd, struct subsys *s, const struct nvmf_connect_data *d)
{
	struct ctrl *ctrl;

	if (le16toh(d->cntlid) != 0xffff) {	/* controllers are dynamic */
		bad_param(cmd, 16, true);
		return;
	}
	if (nofi_get16(cmd->sqe + 44) + 1 < MIN_ADMIN_ENTRIES) {
		bad_param(cmd, 44, false);
		return;
	}
	ctrl = ctrl_new(s, cmd->conn, d);
	if (!ctrl) {
		cmd_done(cmd, 0x100 | NVME_SC_CONNECT_CTRL_BUSY);
		return;
	}
	ctrl_set_kato(ctrl, sqe_dw(cmd, 12));
	connected(cmd, ctrl, 0);
}

static void connect_io(struct cmd *cmd, struct subsys *s, const struct nvmf_connect_data *d,
		       uint16_t qid)
{
	struct ctrl *ctrl = s->ctrls;

	while (ctrl && ctrl->cntlid != le16toh(d->cntlid))
		ctrl = ctrl->next;
	if (!ctrl) {
		bad_param(cmd, 16, true);
		return;
	}
	if (strcmp(ctrl->hostnqn, d->hostnqn)) {
		bad_param(cmd, 512, true);
		return;
	}
	if (memcmp(ctrl->hostid, d->hostid, sizeof(ctrl->hostid))) {
		bad_param(cmd, 0, true);
		return;
	}
	if (s->is_discovery || qid > ctrl->granted) {
		bad_param(cmd, 42, false);
		return;
	}
	if (ctrl->io[qid] || !(ctrl->cc & 1) || !(ctrl->csts & 1)) {
		cmd_done(cmd, NVME_SC_CMD_SEQ_ERROR | DNR);
		return;
	}
	ctrl->io[qid] = cmd->conn;
	connected(cmd, ctrl, qid);
}

static void exec_connect(struct cmd *cmd)
{
	const struct nvmf_connect_data *d = (const void *)cmd->buf;
	uint16_t qid = nofi_get16(cmd->sqe + 42), sqsize = nofi_get16(cmd->sqe + 44);
	struct subsys *s;

	if (nofi_get16(cmd->sqe + 40)) {	/* RECFMT */
		cmd_done(cmd, CONNECT_STATUS(NVME_SC_CONNECT_FORMAT));
		return;
	}
	if (!sqsize || sqsize >= (qid ? opt.queue_size : MAX_ENTRIES)) {
		bad_param(cmd, 44, false);
		return;
	}
	if (cmd->sqe[46] & ~0x0fu) {
		bad_param(cmd, 46, false);
		return;
	}
	if (!is_terminated(d->subsysnqn)) {
		bad_param(cmd, 256, true);
		return;
	}
	if (!is_terminated(d->hostnqn) || strncmp(d->hostnqn, "nqn.", 4)) {
		bad_param(cmd, 512, true);
		return;
	}
	if (is_zero(d->hostid, sizeof(d->hostid))) {
		bad_param(cmd, 0, true);
		return;
	}
	s = subsys_find(d->subsysnqn);
	if (!s) {
		bad_param(cmd, 256, true);
		return;
	}
	if (!subsys_allows(s, d->hostnqn)) {
		cmd_done(cmd, CONNECT_STATUS(NVME_SC_CONNECT_INVALID_HOST));
		return;
	}
	if (qid)
		connect_io(cmd, s, d, qid);
	else
		connect_admin(cmd, s, d);
}

/* ---- properties ---- */

static uint64_t capabilities(void)
{
	return (uint64_t)(opt.queue_size - 1) |	/* MQES */
	       1ull << 16 |			/* CQR */
	       (uint64_t)READY_TIMEOUT << 24 |
	       1ull << 36 |			/* NSSRS */
	       1ull << 37 | 1ull << 43 |	/* CSS: NVM, and I/O command sets */
	       1ull << 59;			/* CRMS: ready with media */
}

static bool property(const struct ctrl *ctrl, uint32_t offset, uint64_t *v, bool *is_8)
{
	*is_8 = offset == 0;
	switch (offset) {
	case 0x00:
		*v = capabilities();
		return true;
	case 0x08:
		*v = 0x00020000;		/* VS 2.0 */
		return true;
	case 0x14:
		*v = ctrl->cc;
		return true;
	case 0x1c:
		*v = ctrl->csts | (ctrl->subsys->is_nssro ? CSTS_NSSRO : 0);
		return true;
	case 0x20:
		*v = 0;				/* NSSR */
		return true;
	case 0x68:
		*v = READY_TIMEOUT;		/* CRTO.CRWMT */
		return true;
	}
	return false;
}

static void exec_prop_get(struct cmd *cmd)
{
	bool is_8;
	uint64_t v;

	if (!property(cmd->conn->ctrl, sqe_dw(cmd, 11), &v, &is_8) ||
	    (cmd->sqe[40] & 7) != (is_8 ? 1 : 0)) {
		cmd_done(cmd, NVME_SC_INVALID_FIELD | DNR);
		return;
	}
	cmd->dw0 = (uint32_t)v;
	cmd->dw1 = (uint32_t)(v >> 32);
	cmd_done(cmd, 0);
}

static void close_io_queues(struct ctrl *ctrl)
{
	for (uint32_t i = 1; i <= ctrl->nio; i++)
		if (ctrl->io[i])
			conn_close(ctrl->io[i], false);
}

static bool is_cc_valid(const struct ctrl *ctrl, uint32_t cc)
{
	uint32_t css = cc >> 4 & 7, iosqes = cc >> 16 & 15, iocqes = cc >> 20 & 15;

	if (!(cc & 1))
		return true;
	if ((css && css != 6) || (cc >> 7 & 15) || (cc >> 11 & 7))
		return false;		/* CSS, MPS, AMS we offer nothing else for */
	return ctrl->subsys->is_discovery || (iosqes == 6 && iocqes == 4);
}

static void set_cc(struct ctrl *ctrl, uint32_t cc)
{
	uint32_t old = ctrl->cc;

	ctrl->cc = cc;
	if ((cc & 1) && !(old & 1))
		ctrl->csts = is_cc_valid(ctrl, cc) ? 1 : 2;	/* RDY, or CFS */
	if (!(cc & 1) && (old & 1)) {
		/* A controller reset: features and I/O queues go, the association stays. */
		ctrl->csts = 0;
		ctrl->granted = opt.queues < ctrl->nio ? opt.queues : ctrl->nio;
		ctrl->mdts = opt.mdts;
		memset(&ctrl->ev, 0, sizeof(ctrl->ev));
		ctrl->nchanged = 0;
		fw_reset(ctrl->subsys);
		memset(ctrl->features, 0, sizeof(ctrl->features));
		ctrl->features[6] = 1;
		close_io_queues(ctrl);
	}
	if ((cc >> 14 & 3) && !(old >> 14 & 3)) {
		for (unsigned int i = 0; i < ctrl->subsys->nns; i++)
			ns_flush(ctrl->subsys->ns[i]);
		ctrl->csts = (ctrl->csts & ~0xcu) | 0x8;	/* SHST: complete */
	}
	if (!(cc >> 14 & 3))
		ctrl->csts &= ~0xcu;
}

/* Every controller ends; the one that asked for it once the answer is out. */
static void reset_subsystem(struct cmd *cmd)
{
	struct ctrl *self = cmd->conn->ctrl, *k, *next;
	struct subsys *s = self->subsys;

	verbose("subsystem %s: reset", s->nqn);
	control_event("subsystem reset cntlid=%u", self->cntlid);
	s->is_nssro = true;
	fw_reset(s);
	for (k = s->ctrls; k; k = next) {
		next = k->next;
		if (k != self)
			ctrl_destroy(k);
	}
	close_io_queues(self);
	cmd_done(cmd, 0);
	conn_close_after_flush(self->admin);
}

static void exec_prop_set(struct cmd *cmd)
{
	struct ctrl *ctrl = cmd->conn->ctrl;
	uint32_t offset = sqe_dw(cmd, 11), v = sqe_dw(cmd, 12);

	if (cmd->sqe[40] & 7)
		offset = UINT32_MAX;
	switch (offset) {
	case 0x14:
		break;
	case 0x1c:
		if (v & CSTS_NSSRO)		/* cleared by writing 1 */
			ctrl->subsys->is_nssro = false;
		cmd_done(cmd, 0);
		return;
	case 0x20:
		if (v == NSSR_MAGIC)
			reset_subsystem(cmd);
		else
			cmd_done(cmd, 0);	/* anything else has no effect */
		return;
	default:
		cmd_done(cmd, NVME_SC_INVALID_FIELD | DNR);
		return;
	}
	if (!(v & 1) && (ctrl->cc & 1))
		abort_aers(ctrl);
	set_cc(ctrl, v);
	cmd_done(cmd, 0);
}

static void exec_disconnect(struct cmd *cmd)
{
	struct conn *c = cmd->conn;

	if (!c->qid || nofi_get16(cmd->sqe + 40)) {
		cmd_done(cmd, NVME_SC_INVALID_FIELD | DNR);
		return;
	}
	cmd_done(cmd, 0);
	conn_close_after_flush(c);
}

void fabrics_prepare(struct cmd *cmd)
{
	struct conn *c = cmd->conn;
	uint8_t fctype = cmd->sqe[4];

	if (fctype == FC_CONNECT) {
		if (c->ctrl) {
			cmd->status = NVME_SC_CMD_SEQ_ERROR | DNR;
			return;
		}
		cmd->exec = exec_connect;
		if (cmd_want_len(cmd, CONNECT_LEN))
			cmd_alloc_buf(cmd);
		return;
	}
	if (!c->ctrl) {
		cmd->status = NVME_SC_CMD_SEQ_ERROR | DNR;
		return;
	}
	switch (fctype) {
	case FC_PROP_SET:
		cmd->exec = exec_prop_set;
		break;
	case FC_PROP_GET:
		cmd->exec = exec_prop_get;
		break;
	case FC_DISCONNECT:
		cmd->exec = exec_disconnect;
		return;
	default:
		cmd->status = NVME_SC_INVALID_OPCODE | DNR;
		return;
	}
	if (c->qid)		/* properties belong to the admin queue */
		cmd->status = NVME_SC_INVALID_OPCODE | DNR;
}
