/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Get Log Page: the mandatory pages, and paging for all of them (F-13). */
#include <nvme/types.h>
#include <stdlib.h>

#include "target.h"

_Static_assert(sizeof(struct nvme_smart_log) == 512, "SMART log");
_Static_assert(sizeof(struct nvme_cmd_effects_log) == 4096, "effects log");

enum { LOG_MAX = 1 << 20 };		/* one Get Log Page moves at most this (and MDTS) */

static uint8_t *log_smart(size_t *len)
{
	struct nvme_smart_log *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	*len = sizeof(*l);
	nofi_put16(l->temperature, 313);
	l->avail_spare = 100;
	l->spare_thresh = 10;
	nofi_put64(l->data_units_read, stats.read_bytes / 512000);
	nofi_put64(l->data_units_written, stats.write_bytes / 512000);
	nofi_put64(l->host_reads, stats.reads);
	nofi_put64(l->host_writes, stats.writes);
	return (uint8_t *)l;
}

/* CSI 2 has the zone commands besides those of the NVM command set. */
static uint8_t *log_effects(uint8_t csi, size_t *len)
{
	static const uint8_t adm[] = {
		0x02, 0x06, 0x08, 0x09, 0x0a, 0x0c, 0x10, 0x11, 0x14, 0x18, 0x80, 0x81, 0x82, 0x84,
	};
	static const uint8_t io[] = {
		0x00, 0x01, 0x02, 0x04, 0x05, 0x08, 0x09, 0x0c, 0x0d, 0x0e, 0x11, 0x15, 0x19,
	};
	static const uint8_t changing[] = { 0x01, 0x04, 0x08, 0x09, 0x19 };
	struct nvme_cmd_effects_log *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	*len = sizeof(*l);
	for (size_t i = 0; i < sizeof(adm); i++)
		l->acs[adm[i]] = htole32(NVME_CMD_EFFECTS_CSUPP);
	if (opt.capacity) {
		l->acs[0x0d] = htole32(NVME_CMD_EFFECTS_CSUPP | NVME_CMD_EFFECTS_NIC);
		l->acs[0x15] = l->acs[0x0d];
	}
	l->acs[0x80] |= htole32(NVME_CMD_EFFECTS_LBCC | NVME_CMD_EFFECTS_NCC);
	l->acs[0x84] |= htole32(NVME_CMD_EFFECTS_LBCC);
	for (size_t i = 0; i < sizeof(io); i++)
		l->iocs[io[i]] = htole32(NVME_CMD_EFFECTS_CSUPP);
	if (csi == 2) {
		l->iocs[0x79] = htole32(NVME_CMD_EFFECTS_CSUPP | NVME_CMD_EFFECTS_LBCC);
		l->iocs[0x7a] = htole32(NVME_CMD_EFFECTS_CSUPP);
		l->iocs[0x7d] = l->iocs[0x79];
	}
	for (size_t i = 0; i < sizeof(changing); i++)
		l->iocs[changing[i]] |= htole32(NVME_CMD_EFFECTS_LBCC);
	return (uint8_t *)l;
}

static void exec_log(struct cmd *cmd)
{
	struct ctrl *ctrl = cmd->conn->ctrl;
	uint8_t lid = (uint8_t)sqe_dw(cmd, 10);
	bool rae = sqe_dw(cmd, 10) >> 15 & 1, is_known = true;
	uint64_t lpo = sqe_dw(cmd, 12) | (uint64_t)sqe_dw(cmd, 13) << 32;
	uint8_t *log = NULL, *out;
	enum event_kind told = EV_KINDS;
	size_t len = 0, n = 0;

	if (ctrl->subsys->is_discovery != (lid == 0x70) && lid > 1) {
		cmd_done(cmd, 0x100 | NVME_SC_INVALID_LOG_PAGE | DNR);
		return;
	}
	switch (lid) {
	case 0x01:
		log = log_errors(ctrl, &len);
		break;
	case 0x02:
		log = log_smart(&len);
		break;
	case 0x03:
		log = log_firmware(ctrl->subsys, &len);
		told = EV_FIRMWARE;
		break;
	case 0x04:
		log = log_ns_changed(ctrl, rae, &len);
		told = EV_NS_CHANGED;
		break;
	case 0x05:
		log = log_effects((uint8_t)(sqe_dw(cmd, 14) >> 24), &len);
		break;
	case 0x06:
		log = log_self_test(ctrl->subsys, &len);
		break;
	case 0x0c:
		is_known = ana_is_on;
		log = log_ana(ctrl, sqe_dw(cmd, 10) >> 8 & 1, &len);
		told = EV_ANA;
		break;
	case 0x81:
		log = log_sanitize(ctrl->subsys, &len);
		told = EV_SANITIZE;
		break;
	case 0x80:
		log = log_resv(ctrl, rae, &len);
		told = EV_RESV;
		break;
	case 0x70:
		log = log_discovery(cmd->conn, sqe_dw(cmd, 10) >> 9 & 1, &len);
		told = EV_DISCOVERY;
		break;
	default:
		is_known = false;
	}
	if (!is_known) {
		free(log);
		cmd_done(cmd, 0x100 | NVME_SC_INVALID_LOG_PAGE | DNR);
		return;
	}
	out = calloc(1, cmd->len);
	if (!log || !out) {
		cmd_done(cmd, NVME_SC_INTERNAL);
	} else if (lpo > len) {
		cmd_done(cmd, NVME_SC_INVALID_FIELD | DNR);
	} else {
		n = len - lpo < cmd->len ? len - lpo : cmd->len;
		memcpy(out, log + lpo, n);	/* past its end a page reads as zeroes */
		cmd_data_done(cmd, out, cmd->len, false);
		if (told != EV_KINDS && !rae)
			ctrl_log_read(ctrl, told);
	}
	free(out);
	free(log);
}

void log_prepare(struct cmd *cmd)
{
	uint32_t numd = sqe_dw(cmd, 10) >> 16 | (sqe_dw(cmd, 11) & 0xffff) << 16;

	cmd->exec = exec_log;
	if (numd >= LOG_MAX / 4 || (sqe_dw(cmd, 12) & 3))
		cmd->status = NVME_SC_INVALID_FIELD | DNR;
	else
		cmd_want_len(cmd, (numd + 1) * 4);
}
