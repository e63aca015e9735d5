/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Admin commands other than Identify and Get Log Page. */
#include <nvme/types.h>

#include "target.h"

static void exec_keep_alive(struct cmd *cmd)
{
	cmd_done(cmd, 0);
}

/* More Aborts at a time than ACL allows: only faults keep them from ending at once. */
static bool is_over_acl(const struct cmd *cmd)
{
	unsigned int n = 0;

	for (const struct cmd *o = cmd->conn->used_cmds; o; o = o->next)
		n += !o->is_fabrics && o->opc == nvme_admin_abort_cmd;
	return n > opt.acl + 1u;
}

static void exec_abort(struct cmd *cmd)
{
	struct ctrl *ctrl = cmd->conn->ctrl;
	uint16_t sqid = (uint16_t)sqe_dw(cmd, 10), cid = (uint16_t)(sqe_dw(cmd, 10) >> 16);
	struct conn *c = sqid == 0 ? ctrl->admin : sqid <= ctrl->nio ? ctrl->io[sqid] : NULL;
	struct cmd *victim = c ? cmd_find(c, cid) : NULL;

	if (is_over_acl(cmd)) {
		cmd_done(cmd, 0x100 | NVME_SC_ABORT_LIMIT | DNR);
		return;
	}
	cmd->dw0 = 1;			/* not aborted */
	if (victim && victim != cmd && victim->is_parked) {
		forget_aer(ctrl, victim);
		cmd_done(victim, NVME_SC_ABORT_REQ);
		if (c != cmd->conn)
			tx_flush(c);
		cmd->dw0 = 0;
	}
	cmd_done(cmd, 0);
}

/* ---- features ---- */

/* FIDs that are a dword to us: stored, returned, otherwise without effect. */
static bool is_plain(uint32_t fid)
{
	return fid == 0x01 || fid == 0x02 || fid == 0x04 || fid == 0x05 || fid == 0x0a ||
	       fid == 0x0b || (fid == 0x06 && opt.vwc);
}

static void set_queues(struct cmd *cmd, struct ctrl *ctrl)
{
	uint32_t v = sqe_dw(cmd, 11), nsq = (v & 0xffff) + 1, ncq = (v >> 16) + 1;
	uint32_t n = nsq < ncq ? nsq : ncq;

	if (nsq > 0xffff || ncq > 0xffff) {
		cmd_done(cmd, NVME_SC_INVALID_FIELD | DNR);
		return;
	}
	for (uint32_t i = 1; i <= ctrl->nio; i++) {
		if (ctrl->io[i]) {
			cmd_done(cmd, NVME_SC_CMD_SEQ_ERROR | DNR);
			return;
		}
	}
	if (n > ctrl->nio)
		n = ctrl->nio;
	ctrl->granted = n < opt.queues ? n : opt.queues;
	cmd->dw0 = (ctrl->granted - 1) | (ctrl->granted - 1) << 16;
	cmd_done(cmd, 0);
}

/* ms since 1970, set by the host; 48 bits, and where they come from. */
static void set_timestamp(struct ctrl *ctrl, const uint8_t *buf)
{
	ctrl->timestamp = nofi_get64(buf) & 0xffffffffffffull;
	ctrl->timestamp_at = loop_now();
}

static void get_timestamp(struct cmd *cmd)
{
	struct ctrl *ctrl = cmd->conn->ctrl;
	uint64_t ms = ctrl->timestamp + (loop_now() - ctrl->timestamp_at) / MS;
	uint8_t out[8];

	nofi_put64(out, (ms & 0xffffffffffffull) | (ctrl->timestamp ? 2ull << 48 : 0));
	cmd_data_done(cmd, out, sizeof(out), false);
}

/* Bits: 0 saveable, 1 of a namespace, 2 changeable. */
static uint32_t capabilities(uint32_t fid)
{
	return fid == 0x82 ? 6 : fid == 0x81 || fid == 0x19 ? 0 : 4;
}

static void exec_set_features(struct cmd *cmd)
{
	struct ctrl *ctrl = cmd->conn->ctrl;
	uint32_t fid = sqe_dw(cmd, 10) & 0xff, v = sqe_dw(cmd, 11);

	if (sqe_dw(cmd, 10) >> 31) {		/* save: nothing is saveable */
		cmd_done(cmd, 0x100 | NVME_SC_FEATURE_NOT_SAVEABLE | DNR);
		return;
	}
	if (fid == 0x07 && !ctrl->subsys->is_discovery) {
		set_queues(cmd, ctrl);
		return;
	}
	if (fid == 0x82 && !ctrl->subsys->is_discovery) {
		resv_set_mask(cmd);
		return;
	}
	if (fid == 0x81) {			/* of fabrics hosts it is that of Connect */
		cmd_done(cmd, 0x100 | NVME_SC_FEATURE_NOT_CHANGEABLE | DNR);
		return;
	}
	if (fid == 0x0e && !ctrl->subsys->is_discovery) {
		set_timestamp(ctrl, cmd->buf);
	} else if (fid == 0x0f) {
		ctrl_set_kato(ctrl, v);
	} else if (fid == 0x16) {
		memcpy(ctrl->host_behavior, cmd->buf, sizeof(ctrl->host_behavior));
	} else if (fid == 0x19) {
		if (v & 0x1ff) {		/* only combination 0 exists */
			cmd_done(cmd, NVME_SC_INVALID_FIELD | DNR);
			return;
		}
	} else if (is_plain(fid)) {
		ctrl->features[fid] = v;
	} else {
		cmd_done(cmd, NVME_SC_INVALID_FIELD | DNR);
		return;
	}
	cmd_done(cmd, 0);
}

/* What Select asks for besides the value: the default, saved values (none), capabilities. */
static bool get_selected(struct cmd *cmd, uint32_t fid, uint32_t select)
{
	bool is_known = is_plain(fid) || fid == 0x07 || fid == 0x0e || fid == 0x0f ||
			fid == 0x16 || fid == 0x19 || fid == 0x81 || fid == 0x82;

	if (!select || !is_known)
		return false;
	if (select == 3)
		cmd->dw0 = capabilities(fid);
	else if (fid == 0x06)
		cmd->dw0 = 1;
	else if (fid == 0x07)
		cmd->dw0 = (opt.queues - 1) | (opt.queues - 1) << 16;
	cmd_done(cmd, select > 3 ? NVME_SC_INVALID_FIELD | DNR : 0);
	return true;
}

static void exec_get_features(struct cmd *cmd)
{
	struct ctrl *ctrl = cmd->conn->ctrl;
	uint32_t fid = sqe_dw(cmd, 10) & 0xff;

	if (get_selected(cmd, fid, sqe_dw(cmd, 10) >> 8 & 7))
		return;
	if (fid == 0x0e && !ctrl->subsys->is_discovery) {
		get_timestamp(cmd);
		return;
	}
	if (fid == 0x81) {
		cmd->dw0 = 1;			/* 128 bits */
		cmd_data_done(cmd, ctrl->hostid, sizeof(ctrl->hostid), false);
		return;
	}

	if (fid == 0x16) {
		cmd_data_done(cmd, ctrl->host_behavior, sizeof(ctrl->host_behavior), false);
		return;
	}
	if (fid == 0x82 && !ctrl->subsys->is_discovery) {
		resv_get_mask(cmd);
		return;
	}
	if (fid == 0x07 && !ctrl->subsys->is_discovery) {
		cmd->dw0 = (ctrl->granted - 1) | (ctrl->granted - 1) << 16;
	} else if (fid == 0x0f) {
		cmd->dw0 = ctrl->kato_ms;
	} else if (fid == 0x19) {
		cmd->dw0 = 0;
	} else if (is_plain(fid)) {
		cmd->dw0 = ctrl->features[fid];
	} else {
		cmd_done(cmd, NVME_SC_INVALID_FIELD | DNR);
		return;
	}
	cmd_done(cmd, 0);
}

static uint32_t feature_len(uint32_t fid)
{
	return fid == 0x16 ? 512 : fid == 0x0e ? 8 : fid == 0x81 ? 16 : 0;
}

static void prepare_features(struct cmd *cmd, bool is_set)
{
	uint32_t fid = sqe_dw(cmd, 10) & 0xff;

	cmd->exec = is_set ? exec_set_features : exec_get_features;
	if (!is_set && (sqe_dw(cmd, 10) >> 8 & 7))
		return;			/* no data of any other selection */
	if (feature_len(fid)) {
		if (cmd_want_len(cmd, feature_len(fid)) && is_set)
			cmd_alloc_buf(cmd);
		return;
	}
	/* A host may describe a buffer that the feature does not use; nothing is sent to it. */
	if (cmd->dir == 1 && cmd->len > NOFI_ADMIN_INCAPSULE)
		cmd->status = NVME_SC_SGL_INVALID_DATA | DNR;
}

/* What discovery controllers do not have. */
static bool prepare_more(struct cmd *cmd)
{
	switch (cmd->opc) {
	case nvme_admin_ns_mgmt:
	case nvme_admin_ns_attach:
		nsmgmt_prepare(cmd);
		return true;
	case nvme_admin_fw_commit:
	case nvme_admin_fw_download:
		fw_prepare(cmd);
		return true;
	case nvme_admin_format_nvm:
		format_prepare(cmd);
		return true;
	case nvme_admin_sanitize_nvm:
	case nvme_admin_dev_self_test:
		ops_prepare(cmd);
		return true;
	case nvme_admin_security_send:
	case nvme_admin_security_recv:
		security_prepare(cmd);
		return true;
	}
	return false;
}

void admin_prepare(struct cmd *cmd)
{
	switch (cmd->opc) {
	case nvme_admin_identify:
		identify_prepare(cmd);
		return;
	case nvme_admin_get_log_page:
		log_prepare(cmd);
		return;
	case nvme_admin_set_features:
		prepare_features(cmd, true);
		return;
	case nvme_admin_get_features:
		prepare_features(cmd, false);
		return;
	case nvme_admin_async_event:
		cmd->exec = exec_aer;
		return;
	case nvme_admin_keep_alive:
		cmd->exec = exec_keep_alive;
		return;
	case nvme_admin_abort_cmd:
		cmd->exec = exec_abort;
		return;
	}
	if (!cmd->conn->ctrl->subsys->is_discovery && prepare_more(cmd))
		return;
	cmd->status = NVME_SC_INVALID_OPCODE | DNR;
}
