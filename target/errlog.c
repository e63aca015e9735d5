/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Log 01h: the last commands of a controller that failed, the newest first. */
#include <stdlib.h>

#include "target.h"

enum { ENTRY_LEN = 64 };

/* From cmd_done(). Without memory nothing is remembered. */
void errlog_add(struct ctrl *ctrl, const struct cmd *cmd, uint16_t status)
{
	uint8_t *e;

	if (!ctrl->errors)
		ctrl->errors = calloc(ERRLOG_ENTRIES, ENTRY_LEN);
	if (!ctrl->errors)
		return;
	e = ctrl->errors + ctrl->nerrors++ % ERRLOG_ENTRIES * ENTRY_LEN;
	memset(e, 0, ENTRY_LEN);
	nofi_put64(e, ctrl->nerrors);
	nofi_put16(e + 8, cmd->conn->qid);
	nofi_put16(e + 10, cmd->cid);
	nofi_put16(e + 12, (uint16_t)(status << 1));
	nofi_put16(e + 14, 0xffff);		/* no parameter is named */
	nofi_put64(e + 16, cmd->ns ? cmd->slba : 0);
	nofi_put32(e + 24, sqe_dw(cmd, 1));
	e[29] = 3;				/* TCP */
}

uint8_t *log_errors(const struct ctrl *ctrl, size_t *len)
{
	uint8_t *l = calloc(ERRLOG_ENTRIES, ENTRY_LEN);
	uint64_t n = ctrl->nerrors < ERRLOG_ENTRIES ? ctrl->nerrors : ERRLOG_ENTRIES;

	*len = ERRLOG_ENTRIES * ENTRY_LEN;
	for (uint64_t i = 0; l && i < n; i++)
		memcpy(l + i * ENTRY_LEN,
		       ctrl->errors + (ctrl->nerrors - 1 - i) % ERRLOG_ENTRIES * ENTRY_LEN,
		       ENTRY_LEN);
	return l;
}
