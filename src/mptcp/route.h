/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The way to an address, as the routing table of the thread's network namespace has it. */
#ifndef NOF_MPTCP_ROUTE_H
#define NOF_MPTCP_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "mptcp/sock.h"

struct nofi_route {
	uint32_t ifindex;		/* 0: none, which a usable route has not */
	char dev[16];
	struct sockaddr_storage source;	/* ss_family 0: the kernel did not say */
	struct sockaddr_storage gateway;	/* ss_family 0: on the link */
	uint32_t mtu;			/* of the route, else of the interface */
	uint32_t rto_min_ms;		/* 0: the sysctl's */
	uint32_t speed_mbit;		/* 0: not known */
	bool has_carrier;
};

/* local: NULL, or from there. The kernel's errno with a sentence: −ENETUNREACH … */
int nofi_route_get(const struct sockaddr *peer, const struct sockaddr *local,
		   struct nofi_route *out, struct nofi_err *err);

#endif
