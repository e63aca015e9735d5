/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See probe.h. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "mptcp/kernel.h"
#include "mptcp/probe.h"
#include "mptcp/sock.h"

static socklen_t len_of(const struct sockaddr_storage *sa)
{
	return sa->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

int nofi_probe_start(const struct sockaddr_storage *local, const char *dev,
		     const struct sockaddr_storage *peer)
{
	struct sockaddr_storage from = *local;
	int r, fd = socket(peer->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (from.ss_family == AF_INET)
		((struct sockaddr_in *)&from)->sin_port = 0;
	else
		((struct sockaddr_in6 *)&from)->sin6_port = 0;
	/* Where it is refused, the routes decide, as they do for most subflows. */
	if (dev[0])
		(void)setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, dev, strlen(dev) + 1);
	r = bind(fd, (struct sockaddr *)&from, len_of(&from));
	if (r == 0)
		r = connect(fd, (const struct sockaddr *)peer, len_of(peer));
	if (r < 0 && errno != EINPROGRESS) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int nofi_probe_result(int fd, uint64_t *rtt_ns)
{
	struct nofi_tcp_info info = { .rtt = 0 };
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };
	int error = 0;
	socklen_t len = sizeof(error);

	if (poll(&pfd, 1, 0) != 1)
		return 0;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	/* Refused: nobody listens there, says a living host. */
	if (error && error != ECONNREFUSED && error != ECONNRESET)
		return -error;
	/* Measured by the kernel: this program may have been late to look. */
	len = sizeof(info);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		info.rtt = 0;
	*rtt_ns = info.rtt * 1000ull;
	return 1;
}

void nofi_probe_end(int fd)
{
	nofi_sock_abort(fd);
}
