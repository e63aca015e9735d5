/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nof_route_get(): the way to an address, for those who explain a setup. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "mptcp/route.h"
#include "nof.h"

/* "A", "A:PORT", "[A]", "[A]:PORT": as nof_subflow has them, and as people write them. */
static int parse(const char *text, const char *what, struct nofi_addr *out)
{
	const char *colon = strchr(text, ':'), *end;
	bool has_port = colon && !strchr(colon + 1, ':');
	struct nofi_addrs found;
	char host[128];
	size_t len;

	if (*text == '[') {
		text++;
		end = strchr(text, ']');
	} else {
		end = has_port ? colon : text + strlen(text);
	}
	len = end ? (size_t)(end - text) : 0;
	if (!len || len >= sizeof(host))
		return nofi_fail(-EINVAL, "nof_route_get: %s \"%.64s\" is not a numeric address",
				 what, text);
	memcpy(host, text, len);
	host[len] = '\0';
	if (nofi_resolve_numeric(host, "0", &found) != 1)
		return nofi_fail(-EINVAL, "nof_route_get: %s \"%.64s\" is not a numeric address",
				 what, text);
	*out = found.addr[0];
	return 0;
}

/* Without the port, which a route has none of. */
static void format(const struct sockaddr_storage *sa, char *buf, size_t len)
{
	if (sa->ss_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, buf,
			  (socklen_t)len);
	else if (sa->ss_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)sa)->sin6_addr, buf,
			  (socklen_t)len);
	else
		buf[0] = '\0';
}

int nof_route_get(const char *peer, const char *local, struct nof_route *route)
{
	struct nofi_addr to, from = { .len = 0 };
	struct nof_route out = { 0 };
	struct nofi_route r;
	struct nofi_err err;
	int ret;

	if (!peer || !route || route->size < sizeof(route->size))
		return nofi_fail(-EINVAL, "nof_route_get: peer and route must not be NULL, and "
				 "route->size must be sizeof(*route)");
	ret = parse(peer, "peer", &to);
	if (ret == 0 && local)
		ret = parse(local, "local", &from);
	if (ret < 0)
		return ret;
	ret = nofi_route_get((const struct sockaddr *)&to.sa,
			     from.len ? (const struct sockaddr *)&from.sa : NULL, &r, &err);
	if (ret < 0)
		return nofi_fail(ret, "nof_route_get: %s", err.text);
	out.size = route->size;
	snprintf(out.dev, sizeof(out.dev), "%s", r.dev);
	format(&r.source, out.source, sizeof(out.source));
	format(&r.gateway, out.gateway, sizeof(out.gateway));
	out.mtu = r.mtu;
	out.rto_min_us = r.rto_min_ms * 1000;
	out.speed_mbit = r.speed_mbit;
	out.has_carrier = r.has_carrier;
	memcpy(route, &out, out.size < sizeof(out) ? out.size : sizeof(out));
	return 0;
}
