/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The addresses of this network namespace with the state of their links, and their changes. */
#ifndef NOF_MPTCP_LINKS_H
#define NOF_MPTCP_LINKS_H

#include "mptcp/pm.h"

enum { NOFI_LINKS_MAX = 4096 };		/* interfaces, and addresses: more are not looked at */

struct nofi_link;

struct nofi_links {
	struct nofi_nl events;		/* fd is readable when something may have changed */
	struct nofi_nl ask;		/* its answers do not mix with events */
	struct nofi_link *links;
	uint32_t nlinks, links_cap;
	struct nofi_link_addr *addrs;	/* as of the last nofi_links_read() */
	uint32_t naddrs, addrs_cap;
};

int nofi_links_open(struct nofi_links *l, struct nofi_err *err);
void nofi_links_close(struct nofi_links *l);

/* Takes all events that wait, and reads everything again. A negative errno leaves addrs empty. */
int nofi_links_read(struct nofi_links *l);

/* NULL: no interface (called dev, unless that is "") has this address. */
const struct nofi_link_addr *nofi_links_find(const struct nofi_links *l,
					     const struct nofi_pm_addr *addr, const char *dev);

#endif
