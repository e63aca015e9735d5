/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is done to the device as a whole: sanitize, self-test, firmware, security
 * protocols.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/admin.h"

int nof_sanitize(struct nof_ctrl *ctrl, const struct nof_sanitize_args *args, nof_done_fn *done,
		 void *arg)
{
	static const struct {
		uint32_t cap;
		const char *bit;
	} needs[] = {
		[NOF_SANITIZE_EXIT_FAILURE] = { NVME_CTRL_SANICAP_CES | NVME_CTRL_SANICAP_BES |
						NVME_CTRL_SANICAP_OWS, "SANICAP" },
		[NOF_SANITIZE_BLOCK_ERASE] = { NVME_CTRL_SANICAP_BES,
					       "SANICAP bit 1 (block erase)" },
		[NOF_SANITIZE_OVERWRITE] = { NVME_CTRL_SANICAP_OWS, "SANICAP bit 2 (overwrite)" },
		[NOF_SANITIZE_CRYPTO_ERASE] = { NVME_CTRL_SANICAP_CES,
						"SANICAP bit 0 (crypto erase)" },
	};
	struct nof_sanitize_args p;
	struct nofi_admin *a;
	int r;

	r = nofi_admin_args(&p, sizeof(p), args, "nof_sanitize");
	if (r < 0)
		return r;
	if (p.action < NOF_SANITIZE_EXIT_FAILURE || p.action > NOF_SANITIZE_CRYPTO_ERASE ||
	    p.overwrite_passes > 16)
		return nofi_fail(-EINVAL, "nof_sanitize: action %d is none of enum "
				 "nof_sanitize_action, or %u passes (1 to 16, 0: 16)",
				 (int)p.action, p.overwrite_passes);
	r = nofi_admin_needs(ctrl, "nof_sanitize",
			     ctrl && ctrl->ident.sanicap & needs[p.action].cap,
			     needs[p.action].bit);
	if (r == 0)
		r = nofi_admin_new(ctrl, "nof_sanitize", nvme_admin_sanitize_nvm, 0, 0, done, arg,
				   &a);
	if (r < 0)
		return r;
	nofi_admin_cdw(a, 10, (uint32_t)p.action | (p.allow_unrestricted_exit ? 1u << 3 : 0) |
		       (p.overwrite_passes & 0xfu) << 4 | (p.invert_pattern ? 1u << 8 : 0) |
		       (p.no_deallocate ? 1u << 9 : 0));
	nofi_admin_cdw(a, 11, p.pattern);
	a->timeout_ms = p.timeout_ms;
	return nofi_admin_submit(a);
}

int nof_self_test(struct nof_ctrl *ctrl, uint32_t nsid, enum nof_self_test test, nof_done_fn *done,
		  void *arg)
{
	struct nofi_admin *a;
	int r;

	if ((unsigned)test < 1 || (unsigned)test > 15)
		return nofi_fail(-EINVAL, "nof_self_test: code %d; 1 short, 2 extended, 15 abort",
				 (int)test);
	r = nofi_admin_needs(ctrl, "nof_self_test",
			     ctrl && ctrl->ident.oacs & NVME_CTRL_OACS_SELF_TEST,
			     "OACS bit 4 (device self-test)");
	if (r == 0)
		r = nofi_admin_new(ctrl, "nof_self_test", nvme_admin_dev_self_test, nsid, 0, done,
				   arg, &a);
	if (r < 0)
		return r;
	nofi_admin_cdw(a, 10, (uint32_t)test);
	return nofi_admin_submit(a);
}

/* ---- firmware ---- */

static int needs_firmware(struct nof_ctrl *ctrl, const char *call)
{
	return nofi_admin_needs(ctrl, call, ctrl && ctrl->ident.oacs & NVME_CTRL_OACS_FW,
				"OACS bit 2 (firmware)");
}

static void place_fw(struct nofi_admin *a, size_t pos, size_t piece, bool is_last)
{
	nofi_admin_cdw(a, 10, (uint32_t)(piece / 4 - 1));
	nofi_admin_cdw(a, 11, (uint32_t)((a->base + pos) / 4));
}

/* The largest piece that is a multiple of the granularity, if a command can hold one. */
static size_t fw_piece(const struct nof_ctrl *ctrl)
{
	size_t max = ctrl->ident.max_transfer, unit = ctrl->ident.fwug * (size_t)4096;

	if (ctrl->ident.fwug == 0 || ctrl->ident.fwug == 0xff)
		return max;
	return max < unit ? max : max - max % unit;
}

int nof_fw_download(struct nof_ctrl *ctrl, const void *image, size_t len, uint64_t offset,
		    nof_done_fn *done, void *arg)
{
	struct nofi_admin *a;
	int r = needs_firmware(ctrl, "nof_fw_download");

	if (r < 0)
		return r;
	/* Offsets are 32 bits of dwords. */
	if (!image || !len || len % 4 || offset % 4 || offset > UINT32_MAX * 4ull ||
	    len > UINT32_MAX * 4ull - offset)
		return nofi_fail(-EINVAL, "nof_fw_download: %zu bytes at offset %llu%s; images "
				 "come in dwords, up to 16 GiB", len, (unsigned long long)offset,
				 image ? "" : " from a NULL buffer");
	r = nofi_admin_new(ctrl, "nof_fw_download", nvme_admin_fw_download, 0, 0, done, arg, &a);
	if (r < 0)
		return r;
	a->base = offset;
	nofi_admin_data(a, (void *)(uintptr_t)image, len);
	a->place = place_fw;
	a->piece_max = fw_piece(ctrl);
	return nofi_admin_submit(a);
}

/* The image was taken; only what makes it run is still to come: the caller's to arrange. */
static bool is_activation_status(struct nofi_admin *a, uint16_t status)
{
	status &= 0x7ff;
	if (status != 0x10b && status != 0x110 && status != 0x111)
		return false;
	a->op.result = status;
	return true;
}

int nof_fw_commit(struct nof_ctrl *ctrl, uint8_t slot, uint8_t action, uint32_t timeout_ms,
		  nof_done_fn *done, void *arg)
{
	struct nofi_admin *a;
	int r = needs_firmware(ctrl, "nof_fw_commit");

	if (r < 0)
		return r;
	if (slot > 7 || action > 7)
		return nofi_fail(-EINVAL, "nof_fw_commit: slot %u (0 to 7), action %u (0 to 7)",
				 slot, action);
	r = nofi_admin_new(ctrl, "nof_fw_commit", nvme_admin_fw_commit, 0, 0, done, arg, &a);
	if (r < 0)
		return r;
	nofi_admin_cdw(a, 10, slot | (uint32_t)action << 3);
	a->timeout_ms = timeout_ms;
	a->forgive = is_activation_status;
	return nofi_admin_submit(a);
}

/* ---- security ---- */

static int security(struct nof_ctrl *ctrl, const char *call, uint8_t opcode,
		    const struct nof_security_args *args, void *data, uint32_t len,
		    nof_done_fn *done, void *arg)
{
	struct nof_security_args p;
	struct nofi_admin *a;
	int r;

	r = nofi_admin_args(&p, sizeof(p), args, call);
	if (r < 0)
		return r;
	if (len % 4 || (len && !data))
		return nofi_fail(-EINVAL, "%s: %u bytes%s; data moves in dwords, pad it with "
				 "zeroes", call, len, data ? "" : " in a NULL buffer");
	r = nofi_admin_needs(ctrl, call, ctrl && ctrl->ident.oacs & NVME_CTRL_OACS_SECURITY,
			     "OACS bit 0 (security)");
	if (r == 0)
		r = nofi_admin_new(ctrl, call, opcode, p.nsid, 0, done, arg, &a);
	if (r < 0)
		return r;
	nofi_admin_cdw(a, 10, p.nssf | (uint32_t)p.spsp << 8 | (uint32_t)p.secp << 24);
	nofi_admin_cdw(a, 11, len);
	nofi_admin_data(a, data, len);
	a->timeout_ms = p.timeout_ms;
	return nofi_admin_submit(a);
}

int nof_security_send(struct nof_ctrl *ctrl, const struct nof_security_args *args,
		      const void *data, uint32_t len, nof_done_fn *done, void *arg)
{
	return security(ctrl, "nof_security_send", nvme_admin_security_send, args,
			(void *)(uintptr_t)data, len, done, arg);
}

int nof_security_receive(struct nof_ctrl *ctrl, const struct nof_security_args *args, void *data,
			 uint32_t len, nof_done_fn *done, void *arg)
{
	return security(ctrl, "nof_security_receive", nvme_admin_security_recv, args, data, len,
			done, arg);
}
