/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See links.h: rtnetlink. Changes are rare, so that each is answered by a look at everything. */
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "mptcp/links.h"

struct nofi_link {
	uint32_t ifindex;
	uint32_t flags;			/* IFF_… */
	char name[IFNAMSIZ];
};

int nofi_links_open(struct nofi_links *l, struct nofi_err *err)
{
	static const uint32_t groups[] = { RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR,
					   RTNLGRP_IPV6_IFADDR };
	int r;

	memset(l, 0, sizeof(*l));
	l->events.fd = l->ask.fd = -1;
	r = nofi_nl_open(&l->events, NETLINK_ROUTE, err);
	if (r == 0)
		r = nofi_nl_open(&l->ask, NETLINK_ROUTE, err);
	for (unsigned i = 0; i < sizeof(groups) / sizeof(groups[0]) && r == 0; i++) {
		r = nofi_nl_join(&l->events, groups[i]);
		if (r < 0)
			nofi_err_set(err, r, "cannot watch the network interfaces: %s",
				     strerror(-r));
	}
	if (r < 0)
		nofi_links_close(l);
	return r;
}

void nofi_links_close(struct nofi_links *l)
{
	nofi_nl_close(&l->events);
	nofi_nl_close(&l->ask);
	free(l->links);
	free(l->addrs);
	l->links = NULL;
	l->addrs = NULL;
	l->nlinks = l->naddrs = l->links_cap = l->addrs_cap = 0;
}

/* Room for one more: its place, or NULL. */
static void *grow(void **array, uint32_t *cap, uint32_t count, size_t size)
{
	uint32_t more = *cap ? *cap * 2 : 32;
	void *p;

	if (count == *cap) {
		p = realloc(*array, more * size);
		if (!p)
			return NULL;
		*array = p;
		*cap = more;
	}
	p = (char *)*array + count * size;
	memset(p, 0, size);
	return p;
}

static int take_link(const struct nlmsghdr *msg, void *arg)
{
	struct nofi_links *l = arg;
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(msg);
	const struct nlattr *attr;
	struct nofi_link *link;

	if (msg->nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(msg) < sizeof(*info) ||
	    l->nlinks >= NOFI_LINKS_MAX)
		return 0;
	link = grow((void **)&l->links, &l->links_cap, l->nlinks, sizeof(*link));
	if (!link)
		return -ENOMEM;
	l->nlinks++;
	link->ifindex = (uint32_t)info->ifi_index;
	link->flags = info->ifi_flags;
	mnl_attr_for_each(attr, msg, sizeof(*info))
		if (mnl_attr_get_type(attr) == IFLA_IFNAME)
			(void)nofi_nl_string(attr, link->name, sizeof(link->name));
	return 0;
}

static void describe(const struct nofi_links *l, struct nofi_link_addr *a)
{
	for (uint32_t i = 0; i < l->nlinks; i++) {
		const struct nofi_link *link = &l->links[i];

		if (link->ifindex != a->ifindex)
			continue;
		strcpy(a->dev, link->name);
		a->is_loopback = link->flags & IFF_LOOPBACK;
		a->has_carrier = (link->flags & IFF_UP) && (link->flags & IFF_RUNNING);
		return;
	}
}

static int take_addr(const struct nlmsghdr *msg, void *arg)
{
	struct nofi_links *l = arg;
	const struct ifaddrmsg *info = mnl_nlmsg_get_payload(msg);
	const struct nlattr *attr;
	struct nofi_link_addr *a;
	uint32_t flags;
	size_t len;

	if (msg->nlmsg_type != RTM_NEWADDR || mnl_nlmsg_get_payload_len(msg) < sizeof(*info) ||
	    (info->ifa_family != AF_INET && info->ifa_family != AF_INET6) ||
	    l->naddrs >= NOFI_LINKS_MAX)
		return 0;
	a = grow((void **)&l->addrs, &l->addrs_cap, l->naddrs, sizeof(*a));
	if (!a)
		return -ENOMEM;
	flags = info->ifa_flags;
	len = info->ifa_family == AF_INET ? 4 : 16;
	mnl_attr_for_each(attr, msg, sizeof(*info)) {
		/* On a point-to-point link IFA_ADDRESS is the other end, and IFA_LOCAL ours. */
		if (mnl_attr_get_type(attr) == IFA_LOCAL ||
		    (mnl_attr_get_type(attr) == IFA_ADDRESS && !a->addr.family)) {
			if (nofi_nl_bytes(attr, a->addr.bytes, len))
				a->addr.family = info->ifa_family;
		} else if (mnl_attr_get_type(attr) == IFA_FLAGS) {
			(void)nofi_nl_u32(attr, &flags);
		}
	}
	if (!a->addr.family)
		return 0;
	a->ifindex = info->ifa_index;
	a->is_usable = !(flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) || (flags & IFA_F_OPTIMISTIC);
	a->is_stable = !(flags & IFA_F_DEPRECATED) &&
		       !(info->ifa_family == AF_INET6 && (flags & IFA_F_TEMPORARY));
	a->is_global = info->ifa_scope < RT_SCOPE_LINK;
	describe(l, a);
	l->naddrs++;
	return 0;
}

static void no_links(void *arg)
{
	((struct nofi_links *)arg)->nlinks = 0;
}

static void no_addrs(void *arg)
{
	((struct nofi_links *)arg)->naddrs = 0;
}

static int ignore(const struct nlmsghdr *msg, void *arg)
{
	return 0;
}

int nofi_links_read(struct nofi_links *l)
{
	_Alignas(struct nlmsghdr) char buf[NOFI_NL_MESSAGE_MAX];
	struct nlmsghdr *req;
	int r;

	/* First: what changes from here on makes it readable again. */
	while (nofi_nl_receive(&l->events, ignore, NULL) == -ENOBUFS)
		;
	req = nofi_nl_put(buf, RTM_GETLINK, 0, sizeof(struct ifinfomsg), NULL);
	mnl_attr_put_u32(req, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	r = nofi_nl_dump(&l->ask, req, take_link, no_links, l);
	if (r == 0)
		r = nofi_nl_dump(&l->ask, nofi_nl_put(buf, RTM_GETADDR, 0,
						      sizeof(struct ifaddrmsg), NULL),
				 take_addr, no_addrs, l);
	if (r < 0)
		l->naddrs = 0;
	return r;
}

const struct nofi_link_addr *nofi_links_find(const struct nofi_links *l,
					     const struct nofi_pm_addr *addr, const char *dev)
{
	for (uint32_t i = 0; i < l->naddrs; i++)
		if (nofi_pm_addr_equal(&l->addrs[i].addr, addr) &&
		    (!dev[0] || !strcmp(l->addrs[i].dev, dev)))
			return &l->addrs[i];
	return NULL;
}
