/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Options of the connection, set once on a socket before connect: of an MPTCP socket the
 * kernel copies them to every subflow that it has and that it makes.
 *
 * What MPTCP refuses on every kernel (TCP_USER_TIMEOUT, TCP_SYNCNT) is not asked for: the
 * library's own timers bound connecting, each command and keep alive. SO_LINGER is the
 * library's own, too: how a connection is given up is not a matter of taste (T-5).
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mptcp/sock.h"

enum {
	KEEPALIVE_PROBES = 3,
	RTO_MIN_US = 45,		/* TCP_RTO_MIN_US, Linux 6.15 */
};

/* The socket being set up, and where what cannot be had is noted. */
struct setup {
	int fd;
	int family;
	bool is_mptcp;
	char *note;
	size_t note_len;
	struct nofi_err *err;
};

static int set_int(const struct setup *s, int level, int option, int value)
{
	return setsockopt(s->fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/*
 * Options came to MPTCP one kernel at a time, IPV6_TCLASS not until 6.18. That one is
 * missing is no reason to do without MPTCP, which was asked for as well: it is noted.
 */
static bool is_lacking(const struct setup *s, int r, const char *option, const char *key)
{
	if (!s->is_mptcp || (r != -EOPNOTSUPP && r != -ENOPROTOOPT))
		return false;
	if (!s->note[0])
		snprintf(s->note, s->note_len, "%s is without effect: MPTCP of this kernel lacks "
			 "%s; plain TCP (mptcp=off) has it", key, option);
	return true;
}

static int set_tos(const struct setup *s, int tos)
{
	int r;

	if (tos < 0)
		return 0;
	if (s->family == AF_INET6)
		r = set_int(s, IPPROTO_IPV6, IPV6_TCLASS, tos);
	else
		r = set_int(s, IPPROTO_IP, IP_TOS, tos);
	if (r == 0 || is_lacking(s, r, s->family == AF_INET6 ? "IPV6_TCLASS" : "IP_TOS", "tos"))
		return 0;
	return nofi_err_set(s->err, r, "cannot set tos=%d on an %s socket: %s", tos,
			    s->family == AF_INET6 ? "IPv6" : "IPv4", strerror(-r));
}

/* "reno cubic bbr" of a sysctl, or a question mark. */
static const char *read_names(const char *sysctl, char *buf, size_t len)
{
	char path[80];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/%s", sysctl);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, len - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return "?";
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return buf;
}

static int try_congestion(int fd, const char *name)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) < 0 ?
		       -errno : 0;
}

/* An MPTCP socket without subflows takes any name, and what is wrong with it never shows. */
static int judge_congestion(int family, const char *name)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	int r = fd < 0 ? 0 : try_congestion(fd, name);

	if (fd >= 0)
		close(fd);
	return r;
}

static int set_congestion(const struct setup *s, const char *name)
{
	char names[128];
	int r = 0;

	if (!name || !*name)
		return 0;
	if (s->is_mptcp)
		r = judge_congestion(s->family, name);
	if (r == 0)
		r = try_congestion(s->fd, name);
	switch (-r) {
	case 0:
		return 0;
	case ENOENT:
		return nofi_err_set(s->err, -EINVAL, "congestion=%s: this kernel has no congestion "
				    "control of this name, it has: %s; others may be modules: "
				    "`modprobe tcp_%s`", name,
				    read_names("tcp_available_congestion_control",
					       names, sizeof(names)), name);
	case EPERM:
		return nofi_err_set(s->err, r, "congestion=%s: takes CAP_NET_ADMIN, without "
				    "it there are: %s; see sysctl "
				    "net.ipv4.tcp_allowed_congestion_control", name,
				    read_names("tcp_allowed_congestion_control",
					       names, sizeof(names)));
	}
	if (is_lacking(s, r, "TCP_CONGESTION", "congestion"))
		return 0;
	return nofi_err_set(s->err, r, "congestion=%s: %s", name, strerror(-r));
}

static int set_priority(const struct setup *s, int priority)
{
	int r = priority < 0 ? 0 : set_int(s, SOL_SOCKET, SO_PRIORITY, priority);

	if (r == 0 || is_lacking(s, r, "SO_PRIORITY", "priority"))
		return 0;
	if (r == -EPERM)
		return nofi_err_set(s->err, r, "priority=%d: not permitted: more than 6 takes "
				    "CAP_NET_ADMIN", priority);
	return nofi_err_set(s->err, r, "priority=%d: %s", priority, strerror(-r));
}

/* What goes another way than it was marked for is worse than TCP: nothing is noted here. */
static int set_mark(const struct setup *s, uint32_t mark)
{
	int r = mark ? set_int(s, SOL_SOCKET, SO_MARK, (int)mark) : 0;

	if (r == -EPERM)
		return nofi_err_set(s->err, r, "mark=%u: not permitted: it takes CAP_NET_ADMIN in "
				    "this network namespace (since Linux 5.17 CAP_NET_RAW will do)",
				    mark);
	if (r < 0)
		return nofi_err_set(s->err, r, "cannot set mark=%u: %s", mark, strerror(-r));
	return 0;
}

static int set_buffer(const struct setup *s, int option, const char *key, uint32_t size)
{
	socklen_t len = sizeof(int);
	int r, got = 0;

	if (!size)
		return 0;	/* autotuning */
	r = set_int(s, SOL_SOCKET, option, (int)size);
	if (r == -EOPNOTSUPP || r == -ENOPROTOOPT) {
		if (is_lacking(s, r, option == SO_SNDBUF ? "SO_SNDBUF" : "SO_RCVBUF", key))
			return 0;
	}
	if (r < 0)
		return nofi_err_set(s->err, r, "%s=%u: %s", key, size, strerror(-r));
	/* The kernel cuts silently, and doubles what it grants. */
	if (!getsockopt(s->fd, SOL_SOCKET, option, &got, &len) && (uint32_t)got / 2 < size &&
	    !s->note[0])
		snprintf(s->note, s->note_len, "%s=%u was cut to %d: the limit is sysctl "
			 "net.core.%cmem_max", key, size, got / 2, option == SO_SNDBUF ? 'w' : 'r');
	return 0;
}

/* Silence for so long, then as many probes in the same time again, and the subflow ends. */
static int set_keepalive(const struct setup *s, uint32_t ms)
{
	int idle = (int)((ms + 999) / 1000), step = idle / KEEPALIVE_PROBES;
	int r;

	if (!ms)
		return 0;
	r = set_int(s, SOL_SOCKET, SO_KEEPALIVE, 1);
	if (r == 0)
		r = set_int(s, IPPROTO_TCP, TCP_KEEPIDLE, idle);
	if (r == 0)
		r = set_int(s, IPPROTO_TCP, TCP_KEEPINTVL, step < 1 ? 1 : step);
	if (r == 0)
		r = set_int(s, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
	if (r == 0 || is_lacking(s, r, "TCP_KEEPIDLE", "tcp_keepalive"))
		return 0;
	return nofi_err_set(s->err, r, "cannot set tcp_keepalive: %s", strerror(-r));
}

/* Its effect can be had on MPTCP and on older kernels, too, but by the route only. */
static int set_rto_min(const struct setup *s, uint32_t us)
{
	int r = us ? set_int(s, IPPROTO_TCP, RTO_MIN_US, (int)us) : 0;

	if (r == -EOPNOTSUPP || r == -ENOPROTOOPT) {
		if (!s->note[0])
			snprintf(s->note, s->note_len, "rto_min is without effect on %s here: set "
				 "it with `ip route change ROUTE rto_min %ums`",
				 s->is_mptcp ? "MPTCP" : "TCP", us / 1000);
		return 0;
	}
	if (r < 0)
		return nofi_err_set(s->err, r, "cannot set rto_min to %u us: %s", us,
				    strerror(-r));
	return 0;
}

int nofi_sock_set_options(int fd, int family, bool is_mptcp, const struct nofi_sock_opts *opts,
			  char *note, size_t note_len, struct nofi_err *err)
{
	const struct setup s = { .fd = fd, .family = family, .is_mptcp = is_mptcp, .note = note,
				 .note_len = note_len, .err = err };
	int r;

	r = set_int(&s, IPPROTO_TCP, TCP_NODELAY, 1);	/* T-5 */
	if (r < 0)
		return nofi_err_set(err, r, "cannot set TCP_NODELAY: %s", strerror(-r));
	r = set_tos(&s, opts->tos);
	if (r == 0)
		r = set_congestion(&s, opts->congestion);
	if (r == 0)
		r = set_priority(&s, opts->priority);
	if (r == 0)
		r = set_mark(&s, opts->mark);
	if (r == 0)
		r = set_buffer(&s, SO_SNDBUF, "sndbuf", opts->sndbuf);
	if (r == 0)
		r = set_buffer(&s, SO_RCVBUF, "rcvbuf", opts->rcvbuf);
	if (r == 0)
		r = set_keepalive(&s, opts->keepalive_ms);
	if (r == 0)
		r = set_rto_min(&s, opts->rto_min_us);
	return r;
}
