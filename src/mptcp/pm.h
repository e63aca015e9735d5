/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The path manager's view of paths: what mptcp_paths says, which local addresses suit,
 * and the kernel's endpoints and limits (pm_netlink.c).
 *
 * A path is a local address. Where it is an endpoint of the kernel's path manager, every
 * MPTCP connection of this network namespace gets a subflow from it; where the endpoint is
 * taken away, these subflows end, what they had in flight goes over the others, and the
 * peers are told (REMOVE_ADDR), so that they do the same with theirs.
 */
#ifndef NOF_MPTCP_PM_H
#define NOF_MPTCP_PM_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "mptcp/netlink.h"

/* An address without a port. Zeroed where it is not used, so that memcmp() compares. */
struct nofi_pm_addr {
	uint16_t family;		/* AF_INET, AF_INET6 */
	uint8_t bytes[16];		/* network order; IPv4: the first four */
};

bool nofi_pm_addr_from(const struct sockaddr *sa, struct nofi_pm_addr *out);
/* out: a socket address with port 0. Returns its length. */
socklen_t nofi_pm_addr_to(const struct nofi_pm_addr *a, struct sockaddr_storage *out);
const char *nofi_pm_addr_format(const struct nofi_pm_addr *a, char *buf, size_t len);
bool nofi_pm_addr_equal(const struct nofi_pm_addr *a, const struct nofi_pm_addr *b);

/* ---- the list (pm.c, pure) ---- */

enum { NOFI_PM_PATHS_MAX = 8 };		/* older kernels take no more */

struct nofi_pm_path {
	struct nofi_pm_addr addr;
	char dev[IFNAMSIZ];		/* "" : whatever interface has the address */
	bool is_backup, is_fullmesh;
};

struct nofi_pm_list {
	bool is_auto;			/* every suitable address: path[] is empty */
	unsigned count;
	struct nofi_pm_path path[NOFI_PM_PATHS_MAX];
};

/* "", "auto", or "ADDR[%DEV][,backup][,fullmesh],…". −EINVAL with *err. */
int nofi_pm_parse(const char *text, struct nofi_pm_list *out, struct nofi_err *err);

/* A local address with its interface, as links.c finds it. */
struct nofi_link_addr {
	struct nofi_pm_addr addr;
	uint32_t ifindex;
	char dev[IFNAMSIZ];
	bool is_loopback;		/* of the interface */
	bool has_carrier;		/* it is up and its link is, too */
	bool is_usable;			/* may be used: not tentative, not a duplicate */
	bool is_stable;			/* neither temporary nor deprecated */
	bool is_global;			/* not link-local, not host */
};

/* Would mptcp_paths=auto take it? Without regard to the carrier. Pure. */
bool nofi_pm_is_suitable(const struct nofi_link_addr *a);

/* ---- the kernel (pm_netlink.c) ---- */

enum { NOFI_PM_ENDPOINTS_MAX = 64 };

struct nofi_pm_endpoint {
	struct nofi_pm_addr addr;
	uint16_t port;			/* host order; 0: none */
	uint8_t id;
	uint32_t flags;			/* NOFI_PM_F_… */
	uint32_t ifindex;		/* 0: any */
};

enum {
	NOFI_PM_F_SIGNAL = 1u << 0,
	NOFI_PM_F_SUBFLOW = 1u << 1,
	NOFI_PM_F_BACKUP = 1u << 2,
	NOFI_PM_F_FULLMESH = 1u << 3,
	NOFI_PM_F_IMPLICIT = 1u << 4,	/* the kernel's own note of an address in use */
};

struct nofi_pm_limits {
	uint32_t subflows;		/* beside the first */
	uint32_t add_addr_accepted;
};

struct nofi_pm {
	struct nofi_nl nl;
	uint16_t family;
	uint32_t events;		/* multicast group, 0: none */
};

/* −ENOENT: the kernel has no MPTCP, or no path manager. */
int nofi_pm_open(struct nofi_pm *pm, struct nofi_err *err);
void nofi_pm_close(struct nofi_pm *pm);

/* Up to max of them; returns how many there are, or a negative errno. */
int nofi_pm_endpoints(struct nofi_pm *pm, struct nofi_pm_endpoint *list, unsigned max);
/* id 0: the kernel chooses. −EEXIST: has it already. −EPERM: CAP_NET_ADMIN is missing. */
int nofi_pm_add(struct nofi_pm *pm, const struct nofi_pm_endpoint *ep);
/* By id; id 0: the first subflow of those connections that have this local address. */
int nofi_pm_del(struct nofi_pm *pm, uint8_t id, const struct nofi_pm_addr *addr);
int nofi_pm_get_limits(struct nofi_pm *pm, struct nofi_pm_limits *limits);
int nofi_pm_set_limits(struct nofi_pm *pm, const struct nofi_pm_limits *limits);
/* 0, or −EPERM, or what else a request that changes nothing comes to. */
int nofi_pm_may_configure(struct nofi_pm *pm);
/* New connections are left to a daemon (net.mptcp.pm_type, net.mptcp.path_manager). */
bool nofi_pm_is_userspace(void);

#endif
