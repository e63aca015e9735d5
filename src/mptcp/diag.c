/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which subflows are backups. sock_diag tells it of one socket, found by its addresses and
 * not by going through all of the machine; older kernels only to those with CAP_NET_ADMIN.
 * The flag of the endpoint that a subflow was made from is what is left then.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>

#include "mptcp/netlink.h"
#include "mptcp/pm.h"
#include "mptcp/sock.h"

#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif

/* Linux 5.6 (<linux/inet_diag.h>, <linux/mptcp.h>): written out for older headers. */
enum {
	ULP_INFO = 19,			/* INET_DIAG_ULP_INFO */
	ULP_INFO_MPTCP = 3,		/* INET_ULP_INFO_MPTCP, inside it */
	SUBFLOW_ATTR_FLAGS = 8,		/* MPTCP_SUBFLOW_ATTR_FLAGS, inside that */
	FLAG_BACKUP = 1 << 4 | 1 << 5,	/* …_BKUP_REM, …_BKUP_LOC */
};

struct answer {
	uint32_t flags;
	bool has_flags;
};

static int take(const struct nlmsghdr *msg, void *arg)
{
	struct answer *a = arg;
	const struct nlattr *attr, *ulp, *sub;

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(struct inet_diag_msg))
		return 0;
	mnl_attr_for_each(attr, msg, sizeof(struct inet_diag_msg)) {
		if (mnl_attr_get_type(attr) != ULP_INFO)
			continue;
		mnl_attr_for_each_nested(ulp, attr) {
			if (mnl_attr_get_type(ulp) != ULP_INFO_MPTCP)
				continue;
			mnl_attr_for_each_nested(sub, ulp)
				if (mnl_attr_get_type(sub) == SUBFLOW_ATTR_FLAGS)
					a->has_flags |= nofi_nl_u32(sub, &a->flags);
		}
	}
	return 0;
}

/* False: not an address of a TCP connection. */
static bool put_address(const struct sockaddr_storage *ss, __be32 addr[4], __be16 *port)
{
	if (ss->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)ss;

		addr[0] = in->sin_addr.s_addr;
		*port = in->sin_port;
		return true;
	}
	if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;

		memcpy(addr, &in6->sin6_addr, sizeof(in6->sin6_addr));
		*port = in6->sin6_port;
		return true;
	}
	return false;
}

static int ask(struct nofi_nl *nl, const struct nofi_subflow_info *s, uint32_t ifindex,
	       struct answer *a)
{
	_Alignas(struct nlmsghdr) char buf[NOFI_NL_MESSAGE_MAX];
	struct inet_diag_req_v2 *req;
	struct nlmsghdr *msg;
	void *extra;

	msg = nofi_nl_put(buf, SOCK_DIAG_BY_FAMILY, 0, sizeof(*req), &extra);
	req = extra;
	req->sdiag_family = (uint8_t)s->local.ss_family;
	req->sdiag_protocol = IPPROTO_TCP;
	/* The information about upper protocols comes whenever any extension is asked for. */
	req->idiag_ext = 1 << (INET_DIAG_INFO - 1);
	req->idiag_states = 1u << TCP_ESTABLISHED;
	req->id.idiag_if = ifindex;
	req->id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
	req->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	if (s->local.ss_family != s->peer.ss_family ||
	    !put_address(&s->local, req->id.idiag_src, &req->id.idiag_sport) ||
	    !put_address(&s->peer, req->id.idiag_dst, &req->id.idiag_dport))
		return -EAFNOSUPPORT;
	return nofi_nl_request(nl, msg, take, a);
}

/* The endpoint that a subflow was made from, NULL: none, as of the first subflow. */
static const struct nofi_pm_endpoint *endpoint_of(const struct sockaddr_storage *local,
						  const struct nofi_pm_endpoint *list, int count)
{
	struct nofi_pm_addr addr;

	if (!nofi_pm_addr_from((const struct sockaddr *)local, &addr))
		return NULL;
	for (int i = 0; i < count; i++)
		if (nofi_pm_addr_equal(&list[i].addr, &addr))
			return &list[i];
	return NULL;
}

static int get_endpoints(struct nofi_pm_endpoint *list, unsigned max)
{
	struct nofi_pm pm;
	int n;

	if (nofi_pm_open(&pm, NULL) < 0)
		return 0;
	n = nofi_pm_endpoints(&pm, list, max);
	nofi_pm_close(&pm);
	return n > (int)max ? (int)max : n;
}

static uint32_t device_of(int fd)
{
	uint32_t ifindex = 0;
	socklen_t len = sizeof(ifindex);

	return getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &ifindex, &len) < 0 ? 0 : ifindex;
}

void nofi_sock_find_backups(int fd, struct nofi_sock_info *info)
{
	struct nofi_pm_endpoint endpoints[NOFI_PM_ENDPOINTS_MAX];
	const struct nofi_pm_endpoint *ep;
	uint32_t device = device_of(fd);
	struct nofi_nl nl = { .fd = -1 };
	int count;

	if (!info->proto.is_mptcp)
		return;
	count = get_endpoints(endpoints, NOFI_PM_ENDPOINTS_MAX);
	(void)nofi_nl_open(&nl, NETLINK_SOCK_DIAG, NULL);
	for (unsigned i = 0; i < info->subflow_count && i < NOFI_SUBFLOWS_MAX; i++) {
		struct nofi_subflow_info *s = &info->subflows[i];
		struct answer a = { 0 };

		ep = endpoint_of(&s->local, endpoints, count);
		if (nl.fd >= 0 && ask(&nl, s, 0, &a) == -ENOENT) {
			/* One that is bound to a device is found only with that. */
			uint32_t ifindex = ep && ep->ifindex ? ep->ifindex : device;

			if (ifindex)
				(void)ask(&nl, s, ifindex, &a);
		}
		s->is_backup = a.has_flags ? a.flags & FLAG_BACKUP :
					     ep && (ep->flags & NOFI_PM_F_BACKUP);
	}
	nofi_nl_close(&nl);
}
