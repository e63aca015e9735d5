/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The option addr_map: "ADDR[:PORT]=ADDR[:PORT],…". On the left a numeric address,
 * IPv6 in brackets; on the right the same, or a name. Without a port on the left, all
 * ports match; without one on the right, the port stays. The first match counts.
 */
#ifndef NOF_CTRL_ADDRMAP_H
#define NOF_CTRL_ADDRMAP_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"

/* 0, or −EINVAL with a sentence that points at the fault. */
int nofi_addrmap_check(const char *map, struct nofi_err *err);

/*
 * Replaces a numeric address and its port, in place; both keep their size. True when
 * a rule of the map (checked before) matched.
 */
bool nofi_addrmap_apply(const char *map, char *addr, size_t addr_size, char *port,
			size_t port_size);

/* Whether two numeric addresses are the same one, however they are written. */
bool nofi_addr_is_same(const char *a, const char *b);

#endif
