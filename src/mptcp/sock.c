/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making, checking and abandoning sockets: MPTCP first, TCP with a reason. */
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mptcp/kernel.h"
#include "mptcp/memory.h"
#include "mptcp/sock.h"

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/*
 * So often the kernel sends a SYN again before it gives MPTCP up by itself: two with, and
 * the plain one (net.mptcp.syn_retrans_before_tcp_fallback + 1).
 */
enum { SYN_RETRANS_OF_FALLBACK = 3 };
enum { FIRST_WINDOW = 1 << 20 };	/* bytes, see open_window() */

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
	case ENFILE:
		return nofi_err_files(err, code, "socket");
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

static int configure(int fd, int family, bool is_mptcp, const struct nofi_sock_opts *opts,
		     struct nofi_sock_proto *proto, struct nofi_err *err)
{
	int r;

	r = nofi_sock_set_options(fd, family, is_mptcp, opts, proto->note, sizeof(proto->note),
				  err);
	if (r < 0)
		return r;
	if (opts->iface && *opts->iface) {
		r = bind_iface(fd, opts->iface, err);
		if (r < 0)
			return r;
	}
	if (opts->src.ss_family != AF_UNSPEC)
		return bind_source(fd, family, opts, err);
	return 0;
}

/* Under `mptcpize run` a socket of TCP becomes one of MPTCP: what is told is what is. */
static bool is_mptcp_socket(int fd)
{
	int protocol = IPPROTO_TCP;
	socklen_t len = sizeof(protocol);

	return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 &&
	       protocol == NOFI_IPPROTO_MPTCP;
}

/* A configured socket, or with the cause in *err a negative errno. */
static int open_tcp(int family, const struct nofi_sock_opts *opts, struct nofi_sock_proto *proto,
		    struct nofi_err *err)
{
	int fd = open_proto(family, IPPROTO_TCP);
	int r;

	if (fd < 0)
		return socket_error(family, fd, err);
	r = configure(fd, family, is_mptcp_socket(fd), opts, proto, err);
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

/* The network namespace of a socket; 0: Linux before 5.14. */
static uint64_t netns_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) < 0)
		return 0;
	return cookie;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Are SYNs with MPTCP to this peer known to get lost? */
static bool is_avoided(int fd, const struct nofi_sock_opts *opts, char *why, size_t why_len)
{
	struct nofi_memory_why memory;

	if (!opts->peer || opts->mptcp != NOFI_MPTCP_PREFER || !nofi_memory.count ||
	    !nofi_memory_avoids(&nofi_memory, netns_of(fd), opts->peer, now_ns(), &memory))
		return false;
	if (memory.cause == NOFI_MEMORY_BROKEN)
		snprintf(why, why_len, "MPTCP to this target was broken by a middlebox that "
			 "removes or alters TCP option 30; let it pass there. MPTCP is tried again "
			 "in %u s", memory.left_s);
	else
		snprintf(why, why_len, "earlier SYNs with MPTCP to this target got no answer: a "
			 "firewall on the way drops TCP option 30; let it pass there. MPTCP is "
			 "tried again in %u s", memory.left_s);
	return true;
}

/*
 * Tries MPTCP. Where only MPTCP is in the way, proto->reason says so; an error that
 * TCP would share leaves it empty.
 */
static int open_mptcp(int family, const struct nofi_sock_opts *opts, struct nofi_sock_proto *proto,
		      struct nofi_err *err)
{
	const size_t why_len = sizeof(proto->reason);
	char *why = proto->reason;
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
	if (is_avoided(fd, opts, why, why_len)) {
		close(fd);
		return -EPROTONOSUPPORT;
	}
	r = configure(fd, family, true, opts, proto, &cause);
	if (!r)
		return fd;
	close(fd);
	/* Options came to MPTCP one kernel at a time; some (sockopt.c) can be done without. */
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
		fd = open_mptcp(family, opts, &p, err);
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
	p.note[0] = '\0';
	fd = open_tcp(family, opts, &p, err);
	if (fd < 0)
		return fd;
	p.is_mptcp = is_mptcp_socket(fd);
	if (p.is_mptcp)
		p.reason[0] = '\0';
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

/* TCP_INFO as far as it is used here. False: there is none. */
static bool get_tcp_info(int fd, struct nofi_tcp_info *tcp)
{
	socklen_t len = sizeof(*tcp);

	memset(tcp, 0, sizeof(*tcp));
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, tcp, &len) == 0;
}

/* Remembers that SYNs to the peer of fd got no answer, and says so. */
static void strike(int fd, const struct nofi_sock_opts *opts, uint32_t unanswered,
		   struct nofi_sock_proto *proto)
{
	uint32_t pause = 0;

	proto->is_mptcp = false;
	if (opts && opts->peer)
		pause = nofi_memory_strike(&nofi_memory, netns_of(fd), opts->peer, now_ns(),
					   unanswered);
	if (pause && opts->mptcp == NOFI_MPTCP_PREFER)
		snprintf(proto->reason, sizeof(proto->reason),
			 "SYNs with MPTCP got no answer, plain TCP did: a firewall on the way "
			 "drops TCP option 30; let it pass there. MPTCP is tried again in %u s",
			 pause);
	else if (unanswered >= NOFI_MEMORY_PROOF)
		snprintf(proto->reason, sizeof(proto->reason),
			 "SYNs with MPTCP got no answer, plain TCP did: a firewall on the way "
			 "drops TCP option 30; let it pass there");
	else
		snprintf(proto->reason, sizeof(proto->reason),
			 "the SYN with MPTCP got no answer in time, plain TCP did: a lost packet, "
			 "or a firewall on the way that drops TCP option 30");
}

bool nofi_sock_is_dropped(int fd, const struct nofi_sock_opts *opts, struct nofi_sock_proto *proto)
{
	struct nofi_tcp_info tcp;
	uint32_t syns = 1;

	if (get_tcp_info(fd, &tcp)) {
		if (tcp.state == TCP_ESTABLISHED)
			return false;
		syns += tcp.total_retrans;
	}
	strike(fd, opts, syns, proto);
	return true;
}

/*
 * After an MPTCP connection whose SYNs got no answer, the kernel makes every new one of the
 * network namespace plain TCP, for an hour and longer. The only trace at the socket is that
 * it has fallen back while its SYN is still on the way.
 */
void nofi_sock_watch_syn(int fd, struct nofi_sock_proto *proto)
{
	struct nofi_tcp_info tcp;

	if (!proto->is_mptcp || speaks_mptcp(fd) != 0 || !get_tcp_info(fd, &tcp) ||
	    tcp.state != TCP_SYN_SENT)
		return;
	snprintf(proto->reason, sizeof(proto->reason),
		 "this kernel holds MPTCP back for now, as SYNs with it got no answer at some "
		 "target: `sysctl net.mptcp.blackhole_timeout=0` as root ends that");
}

/* The connection is plain TCP from its beginning. Why? True: it may be the target's doing. */
static bool explain_fallback(int fd, const struct nofi_sock_opts *opts,
			     struct nofi_sock_proto *proto)
{
	struct nofi_tcp_info tcp;

	proto->is_mptcp = false;
	if (proto->reason[0])
		return false;
	if (get_tcp_info(fd, &tcp) && tcp.total_retrans >= SYN_RETRANS_OF_FALLBACK) {
		strike(fd, opts, tcp.total_retrans, proto);
		return false;
	}
	snprintf(proto->reason, sizeof(proto->reason),
		 "the target did not take up MPTCP: it listens with plain TCP, or a middlebox on "
		 "the way removes the MPTCP options");
	return true;
}

/*
 * Room for the first burst of data. In Linux 6.18, what arrives while a receive holds MPTCP's
 * socket is acknowledged by TCP but not at the level of MPTCP, nor when it has been received
 * afterwards; a sender whose window or buffer is used up by it waits until its timer of 200 ms
 * sends something again. With the window of a new connection, 64 KiB, one command is enough
 * for that: in 9 of 75 fresh connections with reads and writes of 128 KiB and 1 MiB, against
 * 1 of 75 with this. A low-water mark makes the buffer fit it, and is put back at once; unlike
 * SO_RCVBUF that leaves autotuning on (and does nothing where SO_RCVBUF was set).
 */
static void open_window(int fd)
{
	if (set_int(fd, SOL_SOCKET, SO_RCVLOWAT, FIRST_WINDOW) == 0)
		(void)set_int(fd, SOL_SOCKET, SO_RCVLOWAT, 1);
}

int nofi_sock_check(int fd, const struct nofi_sock_opts *opts, struct nofi_sock_proto *proto,
		    struct nofi_err *err)
{
	bool is_target;
	int r;

	if (!proto->is_mptcp)
		return 0;
	r = speaks_mptcp(fd);
	if (r < 0)
		return nofi_err_set(err, r, "cannot ask whether the connection is MPTCP: %s",
				    strerror(-r));
	if (r) {
		proto->reason[0] = '\0';
		open_window(fd);
		if (opts && opts->peer && nofi_memory.count)
			nofi_memory_clear(&nofi_memory, netns_of(fd), opts->peer);
		return 0;
	}
	is_target = explain_fallback(fd, opts, proto);
	if (opts && opts->mptcp == NOFI_MPTCP_REQUIRE)
		return nofi_err_set(err, -EPROTONOSUPPORT, "mptcp=require: %s%s", proto->reason,
				    is_target ? "; make it listen with MPTCP (for most programs: "
				    "start it with `mptcpize run`)" : "");
	return 0;
}

int nofi_sock_check_data(int fd, const struct nofi_sock_opts *opts, struct nofi_sock_proto *proto,
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
		 "MPTCP ended with the first data: a middlebox (NAT, proxy, firewall) removes TCP "
		 "option 30 behind the handshake; let it pass there");
	if (opts->mptcp == NOFI_MPTCP_REQUIRE)
		return nofi_err_set(err, -EPROTONOSUPPORT, "mptcp=require: %s", proto->reason);
	return 0;
}

int nofi_sock_look(int fd, struct nofi_sock_proto *proto)
{
	int r;

	if (!proto->is_mptcp)
		return 0;
	r = speaks_mptcp(fd);
	if (r)
		return r < 0 ? r : 0;
	proto->is_mptcp = false;
	snprintf(proto->reason, sizeof(proto->reason),
		 "became plain TCP in mid-connection: a middlebox (NAT, proxy, firewall) removes "
		 "or alters TCP option 30; let it pass there");
	return 0;
}

/*
 * A connection that falls back behind its first data is damaged: the end that still sees
 * MPTCP's options waits in vain for acknowledgements of that level, and sends the same data
 * again, which the end that has fallen back takes for new data (seen with Linux 6.18: an
 * answer that arrived twice). So it is ended, and the next one is TCP from its beginning.
 */
int nofi_sock_recheck(int fd, const struct nofi_sock_opts *opts,
		      const struct nofi_sock_proto *proto, struct nofi_err *err)
{
	struct nofi_sock_proto now = *proto;

	if (nofi_sock_look(fd, &now) < 0 || now.is_mptcp == proto->is_mptcp)
		return 0;
	if (opts->peer)
		nofi_memory_break(&nofi_memory, netns_of(fd), opts->peer, now_ns());
	return nofi_err_set(err, -ECONNRESET, "the connection %s. It is given up, as the kernel "
			    "may repeat or lose data in such a case", now.reason);
}

bool nofi_sock_is_bare(int fd)
{
	struct {
		struct nofi_subflow_data head;
		struct nofi_tcp_info item[NOFI_SUBFLOWS_MAX];
	} tcp;
	socklen_t len = sizeof(tcp);
	unsigned i, n;

	memset(&tcp, 0, sizeof(tcp));
	tcp.head.size_subflow_data = sizeof(tcp.head);
	tcp.head.size_user = sizeof(tcp.item[0]);
	if (getsockopt(fd, NOFI_SOL_MPTCP, NOFI_MPTCP_TCPINFO, &tcp, &len))
		return false;
	n = tcp.head.num_subflows;
	if (n > NOFI_SUBFLOWS_MAX)
		return false;
	/* The first one stays in the list when it is closed. */
	for (i = 0; i < n && tcp.item[i].state == TCP_CLOSE; i++)
		;
	return i == n;
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
