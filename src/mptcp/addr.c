/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Addresses as people write them, and what a failed connect to one most likely means. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "mptcp/sock.h"

const char *nofi_sockaddr_format(const struct sockaddr *sa, char *buf, size_t len)
{
	char host[INET6_ADDRSTRLEN], iface[IF_NAMESIZE];

	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(buf, len, "%s:%u", host, ntohs(in->sin_port));
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;

		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		if (!in6->sin6_scope_id)
			snprintf(buf, len, "[%s]:%u", host, ntohs(in6->sin6_port));
		else if (if_indextoname(in6->sin6_scope_id, iface))
			snprintf(buf, len, "[%s%%%s]:%u", host, iface, ntohs(in6->sin6_port));
		else
			snprintf(buf, len, "[%s%%%u]:%u", host, in6->sin6_scope_id,
				 ntohs(in6->sin6_port));
	} else {
		snprintf(buf, len, "(no address)");
	}
	return buf;
}

int nofi_sock_connect_error(int code, const struct sockaddr *peer, struct nofi_err *err)
{
	char to[80];

	nofi_sockaddr_format(peer, to, sizeof(to));
	switch (-code) {
	case ECONNREFUSED:
		return nofi_err_set(err, code,
			"connect to %s: connection refused: nothing listens there; is the target "
			"running, and is this its port (default 4420, discovery 8009)?", to);
	case ETIMEDOUT:
		return nofi_err_set(err, code,
			"connect to %s: no answer in time: the host is down, the address is wrong, "
			"or a firewall drops the packets; try `ping`, then check firewalls", to);
	case EHOSTUNREACH:
		return nofi_err_set(err, code,
			"connect to %s: no route to host: the host is down, not on this network, "
			"or a firewall rejects; check the address, and `ip route get` for it", to);
	case ENETUNREACH:
		return nofi_err_set(err, code,
			"connect to %s: network is unreachable: this machine has no route that "
			"leads there; check `ip route`%s", to,
			peer->sa_family == AF_INET6 ? " with -6: is IPv6 set up here?" : "");
	case ENETDOWN:
		return nofi_err_set(err, code,
			"connect to %s: the network interface is down; check `ip link`", to);
	case EACCES:
	case EPERM:
		return nofi_err_set(err, code,
			"connect to %s: not permitted: a firewall rule of this machine (or a "
			"sandbox, SELinux, a broadcast address) forbids it", to);
	case EADDRNOTAVAIL:
		return nofi_err_set(err, code,
			"connect to %s: no local address or port to connect from: host_traddr is "
			"not an address of this machine, or all local ports are taken", to);
	case EADDRINUSE:
		return nofi_err_set(err, code,
			"connect to %s: another connection has this local address and port",
			to);
	case EINVAL:
		return nofi_err_set(err, code,
			"connect to %s: invalid argument: the address cannot be reached from the "
			"source address or interface asked for (link-local IPv6 needs %%INTERFACE)",
			to);
	case EAFNOSUPPORT:
		return nofi_err_set(err, code,
			"connect to %s: this system does not support its address family", to);
	case ECONNRESET:
	case EPIPE:
		return nofi_err_set(err, code,
			"connect to %s: the target closed the connection at once: it may be "
			"shutting down, or at its limit of connections", to);
	case ECANCELED:
		return nofi_err_set(err, code, "connect to %s: canceled", to);
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
		return nofi_err_set(err, code,
			"connect to %s: this machine is out of memory or descriptors (%s)", to,
			strerror(-code));
	default:
		return nofi_err_set(err, code, "connect to %s: %s", to, strerror(-code));
	}
}
