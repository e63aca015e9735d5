/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Security Send and Receive: protocol 0 lists the others, which give back what was sent. */
#include <nvme/types.h>
#include <stdlib.h>

#include "target.h"

enum { MAX = 64 << 10, LIST_HEAD = 8 };

static const uint8_t protocols[] = { 0x00, 0xef, 0xfe };

static uint8_t secp(const struct cmd *cmd)
{
	return (uint8_t)(sqe_dw(cmd, 10) >> 24);
}

static bool is_known(uint8_t protocol)
{
	return memchr(protocols, protocol, sizeof(protocols));
}

static void exec_send(struct cmd *cmd)
{
	struct ctrl *ctrl = cmd->conn->ctrl;

	free(ctrl->security);
	ctrl->security = cmd->buf;
	ctrl->security_len = cmd->len;
	ctrl->security_id = sqe_dw(cmd, 10);
	cmd->buf = NULL;
	cmd_done(cmd, 0);
}

static void exec_receive(struct cmd *cmd)
{
	const struct ctrl *ctrl = cmd->conn->ctrl;
	uint32_t size = cmd->len < LIST_HEAD + sizeof(protocols) ?
			LIST_HEAD + sizeof(protocols) : cmd->len;
	uint8_t *out = calloc(1, size);

	if (!out) {
		cmd_done(cmd, NVME_SC_INTERNAL);
		return;
	}
	if (!secp(cmd)) {
		out[7] = sizeof(protocols);
		memcpy(out + LIST_HEAD, protocols, sizeof(protocols));
	} else if (ctrl->security && ctrl->security_id == sqe_dw(cmd, 10)) {
		memcpy(out, ctrl->security,
		       cmd->len < ctrl->security_len ? cmd->len : ctrl->security_len);
	}
	cmd_data_done(cmd, out, cmd->len, false);
	free(out);
}

void security_prepare(struct cmd *cmd)
{
	bool is_send = cmd->opc == nvme_admin_security_send;

	cmd->exec = is_send ? exec_send : exec_receive;
	if (!is_known(secp(cmd)) || (is_send && !secp(cmd)) || sqe_dw(cmd, 11) > MAX)
		cmd->status = NVME_SC_INVALID_FIELD | DNR;
	else if (cmd_want_len(cmd, sqe_dw(cmd, 11)) && is_send)
		cmd_alloc_buf(cmd);
}
