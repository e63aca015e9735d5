/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel's routing table says about the way to an address: rtnetlink, read only. */
#include <errno.h>
#include <linux/ethtool.h>
#include <net/if.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "mptcp/netlink.h"
#include "mptcp/route.h"

static uint8_t addr_bits(const struct sockaddr *sa)
{
	return sa->sa_family == AF_INET6 ? 128 : 32;
}

static const void *addr_bytes(const struct sockaddr *sa)
{
	return sa->sa_family == AF_INET6 ?
		       (const void *)&((const struct sockaddr_in6 *)sa)->sin6_addr :
		       (const void *)&((const struct sockaddr_in *)sa)->sin_addr;
}

static void put_addr(struct nlmsghdr *req, uint16_t type, const struct sockaddr *sa)
{
	mnl_attr_put(req, type, addr_bits(sa) / 8, addr_bytes(sa));
}

static void take_addr(const struct nlattr *attr, uint8_t family, struct sockaddr_storage *out)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
	struct sockaddr_in *in = (struct sockaddr_in *)out;
	struct in6_addr v6;
	struct in_addr v4;

	if (family == AF_INET6 && nofi_nl_bytes(attr, &v6, sizeof(v6)))
		*in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = v6 };
	else if (family == AF_INET && nofi_nl_bytes(attr, &v4, sizeof(v4)))
		*in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = v4 };
}

/* RTA_VIA: a next hop of the other family. */
static void take_via(const struct nlattr *attr, struct sockaddr_storage *out)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
	struct rtvia via;

	if (mnl_attr_get_payload_len(attr) != sizeof(via) + sizeof(in6->sin6_addr))
		return;
	memcpy(&via, mnl_attr_get_payload(attr), sizeof(via));
	if (via.rtvia_family != AF_INET6)
		return;
	*in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6 };
	memcpy(&in6->sin6_addr, (const char *)mnl_attr_get_payload(attr) + sizeof(via),
	       sizeof(in6->sin6_addr));
}

static void take_metrics(const struct nlattr *nest, struct nofi_route *r)
{
	const struct nlattr *attr;
	uint32_t v;

	mnl_attr_for_each_nested(attr, nest) {
		if (!nofi_nl_u32(attr, &v))
			continue;
		if (mnl_attr_get_type(attr) == RTAX_MTU)
			r->mtu = v;
		else if (mnl_attr_get_type(attr) == RTAX_RTO_MIN)
			r->rto_min_ms = v;
	}
}

static int take_route(const struct nlmsghdr *msg, void *arg)
{
	const struct rtmsg *rt = mnl_nlmsg_get_payload(msg);
	const struct nlattr *attr;
	struct nofi_route *r = arg;

	if (msg->nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(msg) < sizeof(*rt))
		return -EBADMSG;
	mnl_attr_for_each(attr, msg, sizeof(*rt)) {
		switch (mnl_attr_get_type(attr)) {
		case RTA_OIF:
			(void)nofi_nl_u32(attr, &r->ifindex);
			break;
		case RTA_PREFSRC:
			take_addr(attr, rt->rtm_family, &r->source);
			break;
		case RTA_GATEWAY:
			take_addr(attr, rt->rtm_family, &r->gateway);
			break;
		case RTA_VIA:
			take_via(attr, &r->gateway);
			break;
		case RTA_METRICS:
			take_metrics(attr, r);
			break;
		}
	}
	return 0;
}

static int take_link(const struct nlmsghdr *msg, void *arg)
{
	const struct nlattr *attr;
	struct nofi_route *r = arg;
	uint32_t mtu = 0;
	uint8_t carrier = 0;

	if (msg->nlmsg_type != RTM_NEWLINK ||
	    mnl_nlmsg_get_payload_len(msg) < sizeof(struct ifinfomsg))
		return -EBADMSG;
	mnl_attr_for_each(attr, msg, sizeof(struct ifinfomsg)) {
		if (mnl_attr_get_type(attr) == IFLA_IFNAME)
			(void)nofi_nl_string(attr, r->dev, sizeof(r->dev));
		else if (mnl_attr_get_type(attr) == IFLA_MTU && nofi_nl_u32(attr, &mtu) && !r->mtu)
			r->mtu = mtu;
		else if (mnl_attr_get_type(attr) == IFLA_CARRIER && nofi_nl_u8(attr, &carrier))
			r->has_carrier = carrier;
	}
	return 0;
}

/* Virtual ones may have none, or one that means little. */
static uint32_t speed_of(const char *dev)
{
	union {
		struct ethtool_link_settings s;
		/* behind it masks, as many as the largest answer has */
		uint8_t room[sizeof(struct ethtool_link_settings) + 3 * 127 * sizeof(uint32_t)];
	} link = { .s.cmd = ETHTOOL_GLINKSETTINGS };
	struct ifreq ifr = { .ifr_data = (void *)&link };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint32_t speed = 0;

	if (fd < 0)
		return 0;
	memcpy(ifr.ifr_name, dev, strnlen(dev, sizeof(ifr.ifr_name) - 1));
	/* The first call says, as a negative number, how many words the masks have. */
	if (ioctl(fd, SIOCETHTOOL, &ifr) == 0 && link.s.link_mode_masks_nwords < 0) {
		link.s.link_mode_masks_nwords = (int8_t)-link.s.link_mode_masks_nwords;
		link.s.cmd = ETHTOOL_GLINKSETTINGS;
		if (ioctl(fd, SIOCETHTOOL, &ifr) == 0)
			speed = link.s.speed;
	}
	close(fd);
	return speed == (uint32_t)SPEED_UNKNOWN ? 0 : speed;
}

static int failed(const struct nofi_nl *nl, int r, const struct sockaddr *peer,
		  struct nofi_err *err)
{
	char to[80];

	nofi_sockaddr_format(peer, to, sizeof(to));
	return nofi_err_set(err, r, "no route to %s: %s%s%s; `ip route get` says the same", to,
			    strerror(-r), nl->message[0] ? ": " : "", nl->message);
}

int nofi_route_get(const struct sockaddr *peer, const struct sockaddr *local,
		   struct nofi_route *out, struct nofi_err *err)
{
	_Alignas(struct nlmsghdr) char buf[NOFI_NL_MESSAGE_MAX];
	struct nofi_route route = { 0 };
	struct ifinfomsg *link;
	struct nlmsghdr *req;
	struct nofi_nl nl;
	struct rtmsg *rt;
	void *extra;
	int r;

	if (local && local->sa_family != peer->sa_family)
		return nofi_err_set(err, -EAFNOSUPPORT, "one address is IPv4, the other IPv6");
	r = nofi_nl_open(&nl, NETLINK_ROUTE, err);
	if (r < 0)
		return r;
	req = nofi_nl_put(buf, RTM_GETROUTE, 0, sizeof(*rt), &extra);
	rt = extra;
	rt->rtm_family = (unsigned char)peer->sa_family;
	rt->rtm_dst_len = addr_bits(peer);
	put_addr(req, RTA_DST, peer);
	if (local) {
		rt->rtm_src_len = addr_bits(local);
		put_addr(req, RTA_SRC, local);
	}
	if (peer->sa_family == AF_INET6 && ((const struct sockaddr_in6 *)peer)->sin6_scope_id)
		mnl_attr_put_u32(req, RTA_OIF, ((const struct sockaddr_in6 *)peer)->sin6_scope_id);
	r = nofi_nl_request(&nl, req, take_route, &route);
	if (r == 0 && route.ifindex) {
		req = nofi_nl_put(buf, RTM_GETLINK, 0, sizeof(*link), &extra);
		link = extra;
		link->ifi_index = (int)route.ifindex;
		r = nofi_nl_request(&nl, req, take_link, &route);
	}
	if (r < 0)
		r = failed(&nl, r, peer, err);
	nofi_nl_close(&nl);
	if (r < 0)
		return r;
	/* The answer has it only when the kernel chose. */
	if (local)
		memcpy(&route.source, local, addr_bits(local) == 32 ? sizeof(struct sockaddr_in) :
		       sizeof(struct sockaddr_in6));
	route.speed_mbit = speed_of(route.dev);
	*out = route;
	return 0;
}
