/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Firmware images: anything but what begins with "BAD" is one, and its first
 * eight bytes are its revision. Slot 1 holds the program itself, read-only.
 */
#include <nvme/types.h>
#include <ctype.h>
#include <stdlib.h>

#include "target.h"

#define CMD_STATUS(sc) (0x100u | (sc) | DNR)

enum { REPLACE = 0, REPLACE_AND_ACTIVATE = 1, ACTIVATE = 2, ACTIVATE_NOW = 3 };

static void revision_of(const uint8_t *image, size_t n, char *out)
{
	for (size_t i = 0; i < FW_REV_LEN; i++)
		out[i] = i < n && isgraph(image[i]) ? (char)image[i] : ' ';
}

void fw_init(struct subsys *s)
{
	for (unsigned int i = 0; i < FW_SLOTS; i++)
		memset(s->fw.rev[i], 0, FW_REV_LEN);
	copy_padded(s->fw.rev[0], NOF_VERSION, FW_REV_LEN);
	s->fw.active = 1;
}

static void tell(struct subsys *s)
{
	struct ctrl *next;

	for (struct ctrl *k = s->ctrls; k; k = next) {
		next = k->next;		/* telling it may be the end of it */
		ctrl_notify(k, EV_FIRMWARE);
	}
}

/* Control: another revision runs, as if activated from elsewhere. */
void fw_set(struct subsys *s, const char *revision)
{
	revision_of((const uint8_t *)revision, strlen(revision), s->fw.rev[1]);
	s->fw.active = 2;
	s->fw.next = 0;
	tell(s);
}

/* A controller reset activates what waited for one. */
void fw_reset(struct subsys *s)
{
	if (s->fw.next)
		s->fw.active = s->fw.next;
	s->fw.next = 0;
}

static void exec_download(struct cmd *cmd)
{
	struct firmware *fw = &cmd->conn->ctrl->subsys->fw;
	uint64_t off = sqe_dw(cmd, 11) * 4ull, end = off + cmd->len;

	if (end > FW_MAX) {
		cmd_done(cmd, NVME_SC_INVALID_FIELD | DNR);
		return;
	}
	if (!fw->image)
		fw->image = malloc(FW_MAX);
	if (!fw->image) {
		cmd_done(cmd, NVME_SC_INTERNAL);
		return;
	}
	if (range_hits(&fw->have, off, cmd->len)) {
		cmd_done(cmd, CMD_STATUS(NVME_SC_OVERLAPPING_RANGE));
		return;
	}
	memcpy(fw->image + off, cmd->buf, cmd->len);
	cmd_done(cmd, range_add(&fw->have, off, cmd->len) ? 0 : NVME_SC_INTERNAL);
}

/* The pieces make one image from its beginning. */
static size_t image_len(const struct firmware *fw)
{
	uint64_t end = 0;

	for (unsigned int i = 0; i < fw->have.n; i++) {
		if (fw->have.v[i].start != end)
			return 0;
		end = fw->have.v[i].end;
	}
	return end;
}

static uint16_t commit(struct subsys *s, uint32_t slot, uint32_t action)
{
	struct firmware *fw = &s->fw;
	size_t len = image_len(fw);

	if (slot > FW_SLOTS)
		return CMD_STATUS(NVME_SC_FIRMWARE_SLOT);
	if (action > ACTIVATE_NOW)
		return NVME_SC_INVALID_FIELD | DNR;
	if (action == REPLACE || action == REPLACE_AND_ACTIVATE ||
	    (action == ACTIVATE_NOW && fw->have.n)) {
		if (!slot)		/* ours to choose */
			slot = fw->active == 2 ? 3 : 2;
		if (slot == 1)
			return CMD_STATUS(NVME_SC_FIRMWARE_SLOT);
		if (len < 4 || !memcmp(fw->image, "BAD", 3)) {
			range_clear(&fw->have);
			return CMD_STATUS(NVME_SC_FIRMWARE_IMAGE);
		}
		revision_of(fw->image, len, fw->rev[slot - 1]);
		range_clear(&fw->have);
	}
	if (!slot || !fw->rev[slot - 1][0])
		return CMD_STATUS(NVME_SC_FIRMWARE_IMAGE);
	if (action == ACTIVATE_NOW) {
		fw->active = (uint8_t)slot;
		fw->next = 0;
	} else if (action != REPLACE) {
		fw->next = (uint8_t)slot;
	}
	return 0;
}

static void exec_commit(struct cmd *cmd)
{
	struct subsys *s = cmd->conn->ctrl->subsys;
	uint32_t action = sqe_dw(cmd, 10) >> 3 & 7;
	uint16_t status = commit(s, sqe_dw(cmd, 10) & 7, action);

	cmd_done(cmd, status);
	if (!status && action == ACTIVATE_NOW)
		tell(s);
}

uint8_t *log_firmware(const struct subsys *s, size_t *len)
{
	struct nvme_firmware_slot *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	*len = sizeof(*l);
	l->afi = (uint8_t)(s->fw.active | s->fw.next << 4);
	for (unsigned int i = 0; i < FW_SLOTS; i++)
		memcpy(l->frs[i], s->fw.rev[i], FW_REV_LEN);
	return (uint8_t *)l;
}

void fw_prepare(struct cmd *cmd)
{
	uint32_t numd = sqe_dw(cmd, 10);

	if (cmd->opc == nvme_admin_fw_commit) {
		cmd->exec = exec_commit;
		return;
	}
	cmd->exec = exec_download;
	if (numd >= FW_MAX / 4)
		cmd->status = NVME_SC_INVALID_FIELD | DNR;
	else if (cmd_want_len(cmd, (numd + 1) * 4))
		cmd_alloc_buf(cmd);
}

void fw_free(struct subsys *s)
{
	free(s->fw.image);
	range_clear(&s->fw.have);
}
