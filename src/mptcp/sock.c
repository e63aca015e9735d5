/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making, checking and abandoning sockets: MPTCP first, TCP with a reason. */
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mptcp/kernel.h"
#include "mptcp/sock.h"

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

static int open_proto(int family, int protocol)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);

	return fd < 0 ? -errno : fd;
}

/* Why there is no MPTCP socket, with what can be done about it. */
static void say_refusal(int code, char *buf, size_t len)
{
	switch (-code) {
	case ENOPROTOOPT:
		snprintf(buf, len, "MPTCP is switched off on this machine: "
			 "`sysctl net.mptcp.enabled=1` as root switches it on");
		break;
	case EPROTONOSUPPORT:
	case ESOCKTNOSUPPORT:
	case EINVAL:
		snprintf(buf, len, "this kernel has no MPTCP (%s): it needs Linux 5.6 or later "
			 "built with CONFIG_MPTCP", strerror(-code));
		break;
	case EPERM:
	case EACCES:
		snprintf(buf, len, "a filter (seccomp, a container's profile, SELinux) forbids "
			 "MPTCP sockets here (%s)", strerror(-code));
		break;
	default:
		snprintf(buf, len, "the kernel refused an MPTCP socket (%s)", strerror(-code));
	}
}

/* These say that the machine, not MPTCP, is the trouble; TCP would fare no better. */
static bool is_resource_error(int code)
{
	switch (-code) {
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
	case EAFNOSUPPORT:
		return true;
	default:
		return false;
	}
}

static int socket_error(int family, int code, struct nofi_err *err)
{
	switch (-code) {
	case EMFILE:
		return nofi_err_set(err, code, "socket: too many open files in this process: "
				    "raise `ulimit -n` or use fewer queues");
	case ENFILE:
		return nofi_err_set(err, code, "socket: too many open files in the system: "
				    "see sysctl fs.file-max");
	case EAFNOSUPPORT:
		return nofi_err_set(err, code, "socket: this system has no %s: use an address of "
				    "the other kind", family == AF_INET6 ? "IPv6" : "IPv4");
	case EPERM:
	case EACCES:
		return nofi_err_set(err, code, "socket: not permitted to create a TCP socket: a "
				    "filter (seccomp, a container's profile, SELinux) forbids it");
	default:
		return nofi_err_set(err, code, "socket: %s", strerror(-code));
	}
}

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int bind_iface(int fd, const char *iface, struct nofi_err *err)
{
	size_t len = strlen(iface);
	int r = 0;

	if (len >= IFNAMSIZ)
		r = -ENODEV;
	else if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, iface, len + 1) < 0)
		r = -errno;
	switch (-r) {
	case 0:
		return 0;
	case ENODEV:
		return nofi_err_set(err, r, "host_iface=%.32s: there is no such network interface; "
				    "`ip link` lists them", iface);
	case EPERM:
		return nofi_err_set(err, r, "host_iface=%s: not permitted to bind a socket to an "
				    "interface: it takes CAP_NET_RAW here", iface);
	default:
		return nofi_err_set(err, r, "host_iface=%s: cannot bind the socket to this "
				    "interface: %s", iface, strerror(-r));
	}
}

static int bind_source(int fd, int family, const struct nofi_sock_opts *opts, struct nofi_err *err)
{
	const struct sockaddr *src = (const struct sockaddr *)&opts->src;
	char name[80];
	int r;

	nofi_sockaddr_format(src, name, sizeof(name));
	if (src->sa_family != family)
		return nofi_err_set(err, -EAFNOSUPPORT, "host_traddr %s: the target's address is "
				    "%s: use a source address of the same kind", name,
				    family == AF_INET6 ? "IPv6" : "IPv4");
	/*
	 * The port is chosen at connect, so that connections to different targets can
	 * share ports. Kernels that lack it for MPTCP choose here: correct, too.
	 */
	(void)set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
	r = bind(fd, src, opts->src_len) < 0 ? -errno : 0;
	switch (-r) {
	case 0:
		return 0;
	case EADDRNOTAVAIL:
		return nofi_err_set(err, r, "host_traddr %s: not an address of this machine%s; "
				    "`ip address` lists them", name,
				    opts->iface && *opts->iface ? " on that interface" : "");
	case EADDRINUSE:
		return nofi_err_set(err, r, "host_traddr %s: address and port are in use", name);
	case EACCES:
	case EPERM:
		return nofi_err_set(err, r, "host_traddr %s: not permitted to bind to it", name);
	case EINVAL:
		return nofi_err_set(err, r, "host_traddr %s: cannot be bound to: a link-local "
				    "IPv6 address needs %%INTERFACE behind it", name);
	default:
		return nofi_err_set(err, r, "host_traddr %s: bind: %s", name, strerror(-r));
	}
}

/*
 * All options are set before connect on the MPTCP socket itself: the kernel copies
 * them to each subflow that it makes. The buffers' sizes are left to autotuning.
 */
static int configure(int fd, int family, const struct nofi_sock_opts *opts, struct nofi_err *err)
{
	int r;

	r = set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);	/* T-5 */
	if (r < 0)
		return nofi_err_set(err, r, "cannot set TCP_NODELAY: %s", strerror(-r));
	if (opts->tos >= 0) {
		if (family == AF_INET6)
			r = set_int(fd, IPPROTO_IPV6, IPV6_TCLASS, opts->tos);
		else
			r = set_int(fd, IPPROTO_IP, IP_TOS, opts->tos);
		if (r < 0)
			return nofi_err_set(err, r, "cannot set tos=%d on an %s socket: %s",
					    opts->tos, family == AF_INET6 ? "IPv6" : "IPv4",
					    strerror(-r));
	}
	if (opts->iface && *opts->iface) {
		r = bind_iface(fd, opts->iface, err);
		if (r < 0)
			return r;
	}
	if (opts->src.ss_family != AF_UNSPEC)
		return bind_source(fd, family, opts, err);
	return 0;
}

/* A configured socket, or with the cause in *err a negative errno. */
static int open_configured(int family, int protocol, const struct nofi_sock_opts *opts,
			   struct nofi_err *err)
{
	int fd = open_proto(family, protocol);
	int r;

	if (fd < 0)
		return socket_error(family, fd, err);
	r = configure(fd, family, opts, err);
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

/*
 * Tries MPTCP. Where only MPTCP is in the way, *why says so; an error that
 * TCP would share leaves it empty.
 */
static int open_mptcp(int family, const struct nofi_sock_opts *opts, char *why, size_t why_len,
		      struct nofi_err *err)
{
	struct nofi_err cause = { 0 };
	int fd = open_proto(family, NOFI_IPPROTO_MPTCP);
	int r;

	why[0] = '\0';
	if (fd < 0) {
		if (is_resource_error(fd))
			return socket_error(family, fd, err);
		say_refusal(fd, why, why_len);
		return fd;
	}
	r = configure(fd, family, opts, &cause);
	if (!r)
		return fd;
	close(fd);
	/* Options came to MPTCP one kernel at a time (IPV6_TCLASS: not in 6.18). */
	if (r == -EOPNOTSUPP || r == -ENOPROTOOPT)
		snprintf(why, why_len, "MPTCP of this kernel lacks what was asked for: %.90s",
			 cause.text);
	else if (err)
		*err = cause;
	return r;
}

int nofi_sock_open(int family, const struct nofi_sock_opts *opts, struct nofi_sock_proto *proto,
		   struct nofi_err *err)
{
	struct nofi_sock_proto p = { .is_mptcp = true };
	int fd;

	if (opts->mptcp != NOFI_MPTCP_OFF) {
		fd = open_mptcp(family, opts, p.reason, sizeof(p.reason), err);
		if (fd < 0 && !p.reason[0])
			return fd;
		if (fd < 0 && opts->mptcp == NOFI_MPTCP_REQUIRE)
			return nofi_err_set(err, -EPROTONOSUPPORT, "mptcp=require: %s", p.reason);
		if (fd >= 0) {
			*proto = p;
			return fd;
		}
	} else {
		snprintf(p.reason, sizeof(p.reason), "switched off by mptcp=off");
	}
	p.is_mptcp = false;
	fd = open_configured(family, IPPROTO_TCP, opts, err);
	if (fd >= 0)
		*proto = p;
	return fd;
}

/* 1: MPTCP, 0: TCP, or a negative errno. */
static int speaks_mptcp(int fd)
{
	union {
		int yes;
		struct nofi_mptcp_info info;
	} u = { .yes = 0 };
	socklen_t len = sizeof(u.yes);

	if (!getsockopt(fd, IPPROTO_TCP, NOFI_TCP_IS_MPTCP, &u.yes, &len))
		return u.yes != 0;
	if (errno != EOPNOTSUPP && errno != ENOPROTOOPT)
		return -errno;
	/* Linux before 6.9: only a connection that is MPTCP has this. */
	len = sizeof(u.info);
	if (!getsockopt(fd, NOFI_SOL_MPTCP, NOFI_MPTCP_INFO, &u.info, &len))
		return 1;
	return errno == EOPNOTSUPP || errno == ENOPROTOOPT ? 0 : -errno;
}

int nofi_sock_check(int fd, const struct nofi_sock_opts *opts, struct nofi_sock_proto *proto,
		    struct nofi_err *err)
{
	int r;

	if (!proto->is_mptcp)
		return 0;
	r = speaks_mptcp(fd);
	if (r < 0)
		return nofi_err_set(err, r, "cannot ask whether the connection is MPTCP: %s",
				    strerror(-r));
	if (r)
		return 0;
	proto->is_mptcp = false;
	snprintf(proto->reason, sizeof(proto->reason),
		 "the target did not take up MPTCP: it listens with plain TCP, or a middlebox on "
		 "the way removes the MPTCP options");
	if (opts && opts->mptcp == NOFI_MPTCP_REQUIRE)
		return nofi_err_set(err, -EPROTONOSUPPORT, "mptcp=require: %s; make it listen with "
				    "MPTCP (for most programs: start it with `mptcpize run`)",
				    proto->reason);
	return 0;
}

void nofi_sock_abort(int fd)
{
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };
	const struct sockaddr unspec = { .sa_family = AF_UNSPEC };

	if (fd < 0)
		return;
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	/*
	 * A request in flight in an io_uring, or a forked child, may keep the socket
	 * alive after close(): disconnecting drops the data and resets right now.
	 */
	(void)connect(fd, &unspec, sizeof(unspec));
	close(fd);
}
