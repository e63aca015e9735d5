/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Endpoints and limits of the kernel's MPTCP path manager: generic netlink "mptcp_pm". */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <linux/mptcp.h>

#include "mptcp/pm.h"

int nofi_pm_open(struct nofi_pm *pm, struct nofi_err *err)
{
	int r = nofi_nl_open(&pm->nl, NETLINK_GENERIC, err);

	if (r < 0)
		return r;
	r = nofi_nl_family(&pm->nl, MPTCP_PM_NAME, &pm->family, MPTCP_PM_EV_GRP_NAME, &pm->events);
	if (r == 0)
		return 0;
	nofi_pm_close(pm);
	if (r == -ENOENT)
		return nofi_err_set(err, r, "this kernel has no MPTCP path manager: it needs Linux "
				    "5.6 or later built with CONFIG_MPTCP");
	return nofi_err_set(err, r, "the kernel's MPTCP path manager does not answer: %s",
			    strerror(-r));
}

void nofi_pm_close(struct nofi_pm *pm)
{
	nofi_nl_close(&pm->nl);
}

/* ---- endpoints ---- */

struct dump {
	struct nofi_pm_endpoint *list;
	unsigned count, max;
};

static void start_over(void *arg)
{
	((struct dump *)arg)->count = 0;
}

static void take_endpoint(const struct nlattr *nest, struct nofi_pm_endpoint *ep)
{
	const struct nlattr *attr;

	mnl_attr_for_each_nested(attr, nest) {
		switch (mnl_attr_get_type(attr)) {
		case MPTCP_PM_ADDR_ATTR_FAMILY:
			(void)nofi_nl_u16(attr, &ep->addr.family);
			break;
		case MPTCP_PM_ADDR_ATTR_ID:
			(void)nofi_nl_u8(attr, &ep->id);
			break;
		case MPTCP_PM_ADDR_ATTR_ADDR4:
			(void)nofi_nl_bytes(attr, ep->addr.bytes, 4);
			break;
		case MPTCP_PM_ADDR_ATTR_ADDR6:
			(void)nofi_nl_bytes(attr, ep->addr.bytes, 16);
			break;
		case MPTCP_PM_ADDR_ATTR_PORT:
			(void)nofi_nl_u16(attr, &ep->port);
			break;
		case MPTCP_PM_ADDR_ATTR_FLAGS:
			(void)nofi_nl_u32(attr, &ep->flags);
			break;
		case MPTCP_PM_ADDR_ATTR_IF_IDX:
			(void)nofi_nl_u32(attr, &ep->ifindex);
			break;
		default:
			break;
		}
	}
}

static int take_endpoints(const struct nlmsghdr *msg, void *arg)
{
	struct dump *d = arg;
	const struct nlattr *attr;

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(struct genlmsghdr))
		return -EBADMSG;
	mnl_attr_for_each(attr, msg, sizeof(struct genlmsghdr)) {
		struct nofi_pm_endpoint ep = { 0 };

		if (mnl_attr_get_type(attr) != MPTCP_PM_ATTR_ADDR)
			continue;
		take_endpoint(attr, &ep);
		if (ep.addr.family != AF_INET && ep.addr.family != AF_INET6)
			continue;
		if (d->count < d->max)
			d->list[d->count] = ep;
		d->count++;
	}
	return 0;
}

int nofi_pm_endpoints(struct nofi_pm *pm, struct nofi_pm_endpoint *list, unsigned max)
{
	_Alignas(struct nlmsghdr) char buf[NOFI_NL_MESSAGE_MAX];
	struct dump d = { .list = list, .max = max };
	struct nlmsghdr *req = nofi_nl_put_genl(buf, pm->family, MPTCP_PM_CMD_GET_ADDR,
						MPTCP_PM_VER, 0);
	int r = nofi_nl_dump(&pm->nl, req, take_endpoints, start_over, &d);

	return r < 0 ? r : (int)d.count;
}

static void put_addr(struct nlmsghdr *req, const struct nofi_pm_addr *addr)
{
	mnl_attr_put_u16(req, MPTCP_PM_ADDR_ATTR_FAMILY, addr->family);
	if (addr->family == AF_INET)
		mnl_attr_put(req, MPTCP_PM_ADDR_ATTR_ADDR4, 4, addr->bytes);
	else
		mnl_attr_put(req, MPTCP_PM_ADDR_ATTR_ADDR6, 16, addr->bytes);
}

int nofi_pm_add(struct nofi_pm *pm, const struct nofi_pm_endpoint *ep)
{
	_Alignas(struct nlmsghdr) char buf[NOFI_NL_MESSAGE_MAX];
	struct nlmsghdr *req = nofi_nl_put_genl(buf, pm->family, MPTCP_PM_CMD_ADD_ADDR,
						MPTCP_PM_VER, 0);
	struct nlattr *nest = mnl_attr_nest_start(req, MPTCP_PM_ATTR_ADDR);

	put_addr(req, &ep->addr);
	if (ep->id)
		mnl_attr_put_u8(req, MPTCP_PM_ADDR_ATTR_ID, ep->id);
	mnl_attr_put_u32(req, MPTCP_PM_ADDR_ATTR_FLAGS, ep->flags);
	if (ep->ifindex)
		mnl_attr_put_u32(req, MPTCP_PM_ADDR_ATTR_IF_IDX, ep->ifindex);
	mnl_attr_nest_end(req, nest);
	return nofi_nl_request(&pm->nl, req, NULL, NULL);
}

int nofi_pm_del(struct nofi_pm *pm, uint8_t id, const struct nofi_pm_addr *addr)
{
	_Alignas(struct nlmsghdr) char buf[NOFI_NL_MESSAGE_MAX];
	struct nlmsghdr *req = nofi_nl_put_genl(buf, pm->family, MPTCP_PM_CMD_DEL_ADDR,
						MPTCP_PM_VER, 0);
	struct nlattr *nest = mnl_attr_nest_start(req, MPTCP_PM_ATTR_ADDR);

	/* With an id the kernel has no use for the address, but wants a family. */
	put_addr(req, addr);
	mnl_attr_put_u8(req, MPTCP_PM_ADDR_ATTR_ID, id);
	mnl_attr_nest_end(req, nest);
	return nofi_nl_request(&pm->nl, req, NULL, NULL);
}

int nofi_pm_may_configure(struct nofi_pm *pm)
{
	_Alignas(struct nlmsghdr) char buf[NOFI_NL_MESSAGE_MAX];
	struct nlmsghdr *req = nofi_nl_put_genl(buf, pm->family, MPTCP_PM_CMD_DEL_ADDR,
						MPTCP_PM_VER, 0);
	/* The privilege is looked at first; then that there is no address in it. */
	int r = nofi_nl_request(&pm->nl, req, NULL, NULL);

	return r == -EINVAL ? 0 : r;
}

/* ---- limits ---- */

static int take_limits(const struct nlmsghdr *msg, void *arg)
{
	struct nofi_pm_limits *l = arg;
	const struct nlattr *attr;

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(struct genlmsghdr))
		return -EBADMSG;
	mnl_attr_for_each(attr, msg, sizeof(struct genlmsghdr)) {
		if (mnl_attr_get_type(attr) == MPTCP_PM_ATTR_SUBFLOWS)
			(void)nofi_nl_u32(attr, &l->subflows);
		else if (mnl_attr_get_type(attr) == MPTCP_PM_ATTR_RCV_ADD_ADDRS)
			(void)nofi_nl_u32(attr, &l->add_addr_accepted);
	}
	return 0;
}

int nofi_pm_get_limits(struct nofi_pm *pm, struct nofi_pm_limits *limits)
{
	_Alignas(struct nlmsghdr) char buf[NOFI_NL_MESSAGE_MAX];
	struct nofi_pm_limits l = { 0 };
	struct nlmsghdr *req = nofi_nl_put_genl(buf, pm->family, MPTCP_PM_CMD_GET_LIMITS,
						MPTCP_PM_VER, 0);
	int r = nofi_nl_request(&pm->nl, req, take_limits, &l);

	if (r == 0)
		*limits = l;
	return r;
}

int nofi_pm_set_limits(struct nofi_pm *pm, const struct nofi_pm_limits *limits)
{
	_Alignas(struct nlmsghdr) char buf[NOFI_NL_MESSAGE_MAX];
	struct nlmsghdr *req = nofi_nl_put_genl(buf, pm->family, MPTCP_PM_CMD_SET_LIMITS,
						MPTCP_PM_VER, 0);

	mnl_attr_put_u32(req, MPTCP_PM_ATTR_SUBFLOWS, limits->subflows);
	mnl_attr_put_u32(req, MPTCP_PM_ATTR_RCV_ADD_ADDRS, limits->add_addr_accepted);
	return nofi_nl_request(&pm->nl, req, NULL, NULL);
}

/* ---- who manages ---- */

bool nofi_pm_is_userspace(void)
{
	/* The one since Linux 5.19, in newer kernels an alias of path_manager. */
	int fd = open("/proc/sys/net/mptcp/pm_type", O_RDONLY | O_CLOEXEC);
	char c = '0';

	if (fd < 0)
		return false;
	if (read(fd, &c, 1) != 1)
		c = '0';
	close(fd);
	return c == '1';
}
