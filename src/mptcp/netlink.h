/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Netlink requests of the thread's network namespace. libmnl builds and parses the
 * messages; here are the socket, the deadline, and what every caller would write again.
 *
 * The kernel answers most requests before sendto() returns, so a request is made where it
 * is needed and waits for its answer; the deadline is for what should not happen. Nothing
 * here belongs on the I/O path.
 */
#ifndef NOF_MPTCP_NETLINK_H
#define NOF_MPTCP_NETLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>

#include "err.h"

enum {
	NOFI_NL_MESSAGE_MAX = 2048,	/* room for a request, see nofi_nl_put() */
	NOFI_NL_TIMEOUT_MS = 1000,	/* of a request with all its answers */
};

/* One netlink socket; one thread at a time. */
struct nofi_nl {
	int fd;				/* −1: closed */
	uint32_t seq;			/* of the last request */
	char message[128];		/* what the kernel said to the last error, or "" */
};

/* protocol: NETLINK_ROUTE, NETLINK_GENERIC. The socket neither blocks nor survives exec. */
int nofi_nl_open(struct nofi_nl *nl, int protocol, struct nofi_err *err);
void nofi_nl_close(struct nofi_nl *nl);

/*
 * Begins a request in buf (NOFI_NL_MESSAGE_MAX bytes, aligned as a nlmsghdr) with an extra
 * header of extra_len zeroed bytes. Attributes are added with mnl_attr_put…().
 */
struct nlmsghdr *nofi_nl_put(void *buf, uint16_t type, uint16_t flags, size_t extra_len,
			     void **extra);
/* The same for a command of a generic netlink family. */
struct nlmsghdr *nofi_nl_put_genl(void *buf, uint16_t family, uint8_t cmd, uint8_t version,
				  uint16_t flags);

/*
 * Gets each message of an answer, or each event. Complete, but its attributes are to be
 * judged: see nofi_nl_u32() and its like. After a negative errno it is not called again.
 */
typedef int nofi_nl_fn(const struct nlmsghdr *msg, void *arg);

/*
 * Sends req (NLM_F_REQUEST is added, NLM_F_ACK unless it is a dump) and waits for the end
 * of the answer. fn may be NULL. Returns 0 or a negative errno: the kernel's, fn's; −ETIMEDOUT;
 * −EINTR: the table changed during the dump, which is to be repeated (nofi_nl_dump() does).
 */
int nofi_nl_request(struct nofi_nl *nl, struct nlmsghdr *req, nofi_nl_fn *fn, void *arg);
/* A dump, repeated a few times when it was inconsistent: reset (may be NULL) starts each. */
int nofi_nl_dump(struct nofi_nl *nl, struct nlmsghdr *req, nofi_nl_fn *fn,
		 void (*reset)(void *arg), void *arg);

/* Events: subscribe, then take what has arrived, without waiting. */
int nofi_nl_join(struct nofi_nl *nl, uint32_t group);
/* Returns 0 when dry; −ENOBUFS: events were lost, so the state is to be read again. */
int nofi_nl_receive(struct nofi_nl *nl, nofi_nl_fn *fn, void *arg);

/*
 * The number of a generic netlink family, and of one of its multicast groups (group_name
 * NULL: not wanted; group 0: it has none of this name). −ENOENT: no such family, its module
 * is missing.
 */
int nofi_nl_family(struct nofi_nl *nl, const char *name, uint16_t *family, const char *group_name,
		   uint32_t *group);

/* Attributes with their length checked: false leaves *out untouched. */
bool nofi_nl_u8(const struct nlattr *attr, uint8_t *out);
bool nofi_nl_u16(const struct nlattr *attr, uint16_t *out);
bool nofi_nl_u32(const struct nlattr *attr, uint32_t *out);
bool nofi_nl_bytes(const struct nlattr *attr, void *out, size_t len);	/* exactly len */
bool nofi_nl_string(const struct nlattr *attr, char *out, size_t size);	/* cut off where it must */

#endif
