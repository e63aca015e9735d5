/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What goes beyond block size and block count: metadata and protection information
 * (C-2), atomic units (C-1), zones, and the limits of single commands. Pure functions
 * over Identify pages, as those of ident.h.
 */
#ifndef NOF_CTRL_IDENT_CS_H
#define NOF_CTRL_IDENT_CS_H

#include "ctrl/ident.h"
#include "ctrl/ns.h"

enum {
	NOFI_CSI_NVM = 0,
	NOFI_CSI_ZNS = 2,
	/* CTRATT */
	NOFI_CTRATT_HOSTID16 = 1 << 0,
	NOFI_CTRATT_ELBAS = 1 << 15,
};

/*
 * Format of a namespace from Identify Namespace (CNS 00), of which index is in use:
 * metadata, protection, atomics, copy limits; block size and features are in *ns. 0, −EPROTO,
 * −ENOTSUP.
 */
int nofi_ident_format(const uint8_t page[NOFI_PAGE], unsigned index,
		      const struct nofi_ctrl_ident *ctrl, struct nofi_ns_ident *ns,
		      struct nofi_err *err);

/* Is the page of nofi_ident_elbaf() needed for it? */
bool nofi_ident_wants_elbaf(const struct nofi_ns_ident *ns, const struct nofi_ctrl_ident *ctrl);
/* Guard format and storage tag (CNS 05, CSI 0). −EPROTO, −ENOTSUP. */
int nofi_ident_elbaf(const uint8_t page[NOFI_PAGE], struct nofi_ns_ident *ns, struct nofi_err *err);

/* Zones (CNS 05, CSI 2). −EPROTO: sizes that cannot be. */
int nofi_ident_zns(const uint8_t page[NOFI_PAGE], struct nofi_ns_ident *ns, struct nofi_err *err);

/* Limit of Zone Append (CNS 06, CSI 2): ZASL, units as MDTS. */
void nofi_ns_apply_zasl(struct nofi_ns_ident *ns, uint8_t zasl, uint8_t mpsmin);

/* What nof_ns_get_info() says of all this. */
void nofi_ns_info_commands(const struct nofi_ns_ident *ns, struct nof_ns_info *info);

/* Do commands built for one fit the other? Blocks, metadata, protection, zones. */
bool nofi_ns_same_format(const struct nofi_ns_ident *a, const struct nofi_ns_ident *b);

/* How plain reads and writes are sent, once all is known. */
void nofi_ns_set_plain(struct nofi_ns_ident *ns);

#endif
