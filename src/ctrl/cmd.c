/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Admin and Fabrics commands: their SQEs, and sending one.
 */
#include <errno.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/internal.h"

static void acmd_done(void *arg, const struct nofi_cpl *cpl)
{
	struct nofi_acmd *c = arg;

	c->is_busy = false;
	c->done(c, cpl);
}

int nofi_acmd_send(struct nofi_acmd *c)
{
	struct nofi_cmd_desc d;
	int r;

	if (!c->ctrl->admin)
		return -ENOTCONN;
	if (c->is_busy)
		return -EBUSY;
	memset(&d, 0, sizeof(d));
	r = nofi_queue_take(c->ctrl->admin, c->flags, &d);
	if (r < 0)
		return r;
	memcpy(d.sqe, c->sqe, sizeof(c->sqe));
	d.iov = &c->iov;
	d.iovcnt = c->iov.iov_len ? 1 : 0;
	d.iov_skip = 0;
	d.length = (uint32_t)c->iov.iov_len;
	d.dir = c->iov.iov_len ? c->dir : NOFI_DIR_NONE;
	d.flags = c->flags;
	d.timeout_ns = c->timeout_ms * NOFI_MS;
	d.done = acmd_done;
	d.arg = c;
	c->is_busy = true;
	nofi_queue_send(c->ctrl->admin, &d);
	return 0;
}

static void begin(struct nofi_acmd *c, uint8_t opcode, uint32_t flags)
{
	memset(c->sqe, 0, sizeof(c->sqe));
	c->sqe[0] = opcode;
	c->iov.iov_base = NULL;
	c->iov.iov_len = 0;
	c->dir = NOFI_DIR_NONE;
	c->flags = flags;
	c->timeout_ms = 0;
}

static void set_data(struct nofi_acmd *c, enum nofi_dir dir, void *buf, uint32_t len)
{
	c->dir = dir;
	c->iov.iov_base = buf;
	c->iov.iov_len = len;
}

void nofi_cmd_simple(struct nofi_acmd *c, uint8_t opcode, uint32_t flags)
{
	begin(c, opcode, flags);
}

void nofi_cmd_abort(struct nofi_acmd *c, uint16_t sqid, uint16_t cid)
{
	begin(c, nvme_admin_abort_cmd, 0);
	nofi_put16(c->sqe + 40, sqid);
	nofi_put16(c->sqe + 42, cid);
}

void nofi_cmd_prop_get(struct nofi_acmd *c, uint32_t offset, bool is_8)
{
	begin(c, nvme_admin_fabrics, NOFI_CMD_FABRICS);
	c->sqe[4] = nvme_fabrics_type_property_get;
	c->sqe[40] = is_8;
	nofi_put32(c->sqe + 44, offset);
}

void nofi_cmd_prop_set(struct nofi_acmd *c, uint32_t offset, uint64_t value)
{
	begin(c, nvme_admin_fabrics, NOFI_CMD_FABRICS);
	c->sqe[4] = nvme_fabrics_type_property_set;
	nofi_put32(c->sqe + 44, offset);
	nofi_put64(c->sqe + 48, value);
}

void nofi_cmd_identify(struct nofi_acmd *c, uint8_t cns, uint32_t nsid, uint8_t csi, void *page)
{
	begin(c, nvme_admin_identify, 0);
	memset(page, 0, NOFI_PAGE);
	nofi_put32(c->sqe + 4, nsid);
	c->sqe[40] = cns;
	c->sqe[47] = csi;		/* CDW11 31:24 */
	set_data(c, NOFI_DIR_READ, page, NOFI_PAGE);
}

void nofi_cmd_set_feature(struct nofi_acmd *c, uint8_t fid, uint32_t cdw11)
{
	begin(c, nvme_admin_set_features, 0);
	c->sqe[40] = fid;
	nofi_put32(c->sqe + 44, cdw11);
}

/* Length and offset count dwords (F-13); callers keep both multiples of 4. */
void nofi_cmd_get_log(struct nofi_acmd *c, uint8_t lid, uint64_t offset, bool rae, void *buf,
		      uint32_t len)
{
	uint32_t numd = len / 4 - 1;

	begin(c, nvme_admin_get_log_page, 0);
	nofi_put32(c->sqe + 4, 0xffffffffu);
	nofi_put32(c->sqe + 40, lid | (rae ? 1u << 15 : 0) | (numd & 0xffff) << 16);
	nofi_put32(c->sqe + 44, numd >> 16);
	nofi_put64(c->sqe + 48, offset);
	set_data(c, NOFI_DIR_READ, buf, len);
}
