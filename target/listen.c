/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Listening sockets: MPTCP where the kernel has it, which serve TCP clients too. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "target.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef TCP_IS_MPTCP
#define TCP_IS_MPTCP 43
#endif

struct listener *listeners;

static void describe(const struct sockaddr_storage *ss, char *addr, size_t addrlen, char *port,
		     size_t portlen)
{
	const struct sockaddr_in6 *v6 = (const void *)ss;
	struct sockaddr_in v4;
	const struct sockaddr *sa = (const void *)ss;
	socklen_t len = sizeof(*v6);

	if (ss->ss_family == AF_INET) {
		len = sizeof(v4);
	} else if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
		memset(&v4, 0, sizeof(v4));
		v4.sin_family = AF_INET;
		v4.sin_port = v6->sin6_port;
		memcpy(&v4.sin_addr, v6->sin6_addr.s6_addr + 12, 4);
		sa = (const void *)&v4;
		len = sizeof(v4);
	}
	if (getnameinfo(sa, len, addr, (socklen_t)addrlen, port, (socklen_t)portlen,
			NI_NUMERICHOST | NI_NUMERICSERV)) {
		snprintf(addr, addrlen, "?");
		snprintf(port, portlen, "0");
	}
}

static bool is_mptcp_conn(int fd, bool may_be)
{
	int v = 0;
	socklen_t len = sizeof(v);

	if (!may_be)
		return false;
	if (getsockopt(fd, IPPROTO_TCP, TCP_IS_MPTCP, &v, &len))
		return true;		/* unknown: the kernel is too old to tell */
	return v;
}

/*
 * A burst of writes right after the connection was made stalls for 200 ms now and then
 * (Linux 6.18): what arrives while MPTCP's socket is locked by a receive is acknowledged by
 * TCP, but not at the level of MPTCP, and if the sender has used up its window it waits in
 * vain for that, until its retransmission timer. The small window of the beginning makes
 * this likely; a low-water mark that is put back at once makes room for it, and unlike
 * SO_RCVBUF leaves autotuning on.
 */
static void open_window(int fd)
{
	const int high = 1 << 20, low = 1;

	setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &high, sizeof(high));
	setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low));
}

/*
 * Out of descriptors, a waiting connection would wake us for ever: a reserve
 * lets us take it and hang up.
 */
static int reserve = -1;

static void refuse_one(int listen_fd)
{
	int fd;

	if (reserve >= 0)
		close(reserve);
	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_accept(struct io *io, uint32_t events)
{
	struct listener *l = container_of(io, struct listener, io);

	for (int i = 0; i < 64; i++) {
		struct sockaddr_storage peer, local;
		socklen_t plen = sizeof(peer), llen = sizeof(local);
		char pa[64], pp[8], la[64], lp[8], who[80];
		bool is_mptcp;
		int fd = accept4(io->fd, (struct sockaddr *)&peer, &plen,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE)
				refuse_one(io->fd);
			return;
		}
		describe(&peer, pa, sizeof(pa), pp, sizeof(pp));
		local = peer;
		getsockname(fd, (struct sockaddr *)&local, &llen);
		describe(&local, la, sizeof(la), lp, sizeof(lp));
		snprintf(who, sizeof(who), "%.60s port %s", pa, pp);
		is_mptcp = is_mptcp_conn(fd, l->is_mptcp);
		if (is_mptcp)
			open_window(fd);
		conn_accept(fd, l, who, la, lp, strchr(la, ':') != NULL, is_mptcp);
	}
}

static int open_socket(const struct addrinfo *ai, bool *is_mptcp)
{
	int fd = -1;

	*is_mptcp = false;
	if (opt.is_mptcp) {
		fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			    IPPROTO_MPTCP);
		*is_mptcp = fd >= 0;
	}
	if (fd < 0)
		fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			    IPPROTO_TCP);
	return fd;
}

/*
 * Accepted connections inherit it, and later subflows take it from their connection. After bind():
 * an MPTCP socket has no subflow before, and then believes any name.
 */
static int set_congestion(int fd, char *err, size_t errlen)
{
	if (!opt.congestion || !setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, opt.congestion,
					   (socklen_t)strlen(opt.congestion)))
		return 0;
	snprintf(err, errlen, "--congestion=%.32s: %s; net.ipv4.tcp_available_congestion_control "
		 "lists what this kernel has, tcp_allowed_congestion_control what needs no "
		 "privilege", opt.congestion, strerror(errno));
	return -1;
}

/* ADDR:PORT, [IPv6]:PORT, ADDR or :PORT */
static int split_spec(char *spec, const char **host, const char **port)
{
	char *p;

	*port = "4420";
	if (*spec == '[') {
		p = strchr(spec, ']');
		if (!p)
			return -1;
		*host = spec + 1;
		*p++ = 0;
		if (*p == ':')
			*port = p + 1;
		return *p && *p != ':' ? -1 : 0;
	}
	p = strrchr(spec, ':');
	*host = spec;
	if (p) {
		*p = 0;
		*port = p + 1;
	}
	return strchr(spec, ':') ? -1 : 0;
}

struct listener *listen_find(unsigned int index)
{
	struct listener *l;

	for (l = listeners; l && l->index != index; l = l->next)
		;
	return l;
}

/* What follows the address: ana=GROUP:STATE, portid=N. */
static int parse_port_options(struct listener *l, char *o, char *err, size_t errlen)
{
	char *save = NULL;
	uint64_t v;

	for (char *t = strtok_r(o, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
		if (!strncmp(t, "ana=", 4)) {
			if (ana_parse(l, t + 4, err, errlen))
				return -1;
		} else if (!strncmp(t, "portid=", 7) && parse_size(t + 7, &v) && v <= 0xffff) {
			l->portid = (uint16_t)v;
		} else {
			snprintf(err, errlen, "unknown port option '%s': ana=GROUP:STATE and "
				 "portid=N are known", t);
			return -1;
		}
	}
	return 0;
}

/* Listeners stay sorted by index; a port that comes back gets its old place. */
static void insert(struct listener *l)
{
	struct listener **p = &listeners;

	for (l->index = 1; *p && (*p)->index == l->index; p = &(*p)->next)
		l->index++;
	if (!l->portid)
		l->portid = (uint16_t)l->index;
	l->next = *p;
	*p = l;
}

struct listener *listen_add(const char *spec, char *err, size_t errlen)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *ai = NULL;
	struct listener *l = calloc(1, sizeof(*l));
	char *copy = strdup(spec), *opts;
	const char *host, *port;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int rc, one = 1;

	if (!l || !copy) {
		snprintf(err, errlen, "out of memory");
		goto fail;
	}
	l->io.fd = -1;
	memset(l->ana, 1, sizeof(l->ana));	/* optimized */
	opts = strchr(copy, ',');
	if (opts) {
		*opts++ = 0;
		if (parse_port_options(l, opts, err, errlen))
			goto fail;
	}
	if (split_spec(copy, &host, &port)) {
		snprintf(err, errlen, "'%s' is no address: write ADDR:PORT or [IPv6]:PORT", spec);
		goto fail;
	}
	rc = getaddrinfo(*host ? host : NULL, port, &hints, &ai);
	if (rc) {
		snprintf(err, errlen, "cannot listen on %s: %s", spec, gai_strerror(rc));
		goto fail;
	}
	l->io.fd = open_socket(ai, &l->is_mptcp);
	if (l->io.fd < 0) {
		snprintf(err, errlen, "cannot create a socket for %s: %s", spec, strerror(errno));
		goto fail;
	}
	setsockopt(l->io.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (ai->ai_family == AF_INET6)
		setsockopt(l->io.fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(l->io.fd, ai->ai_addr, ai->ai_addrlen) || set_congestion(l->io.fd, err, errlen) ||
	    listen(l->io.fd, 1024)) {
		if (*err)
			goto fail;
		snprintf(err, errlen, "cannot listen on %s: %s; choose another address, or port "
			 "0 for a free one", spec, strerror(errno));
		goto fail;
	}
	getsockname(l->io.fd, (struct sockaddr *)&ss, &len);
	describe(&ss, l->addr, sizeof(l->addr), l->port, sizeof(l->port));
	l->is_ipv6 = ss.ss_family == AF_INET6;
	l->is_wildcard = !strcmp(l->addr, "0.0.0.0") || !strcmp(l->addr, "::");
	l->io.fn = on_accept;
	if (reserve < 0)
		reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	rc = loop_add(&l->io, EPOLLIN);
	if (rc) {
		snprintf(err, errlen, "cannot watch the socket of %s: %s", spec, strerror(-rc));
		goto fail;
	}
	insert(l);
	freeaddrinfo(ai);
	free(copy);
	return l;
fail:
	if (ai)
		freeaddrinfo(ai);
	if (l && l->io.fd >= 0)
		close(l->io.fd);
	free(l);
	free(copy);
	return NULL;
}

/* The port goes, and with a reset all that came by it; its memory with the process's end. */
static struct listener *removed;

void listen_remove(struct listener *l)
{
	struct listener **p;
	struct conn *c = conns;

	for (p = &listeners; *p != l; p = &(*p)->next)
		;
	*p = l->next;
	loop_del(&l->io);
	while (c) {
		if (c->port == l) {
			conn_close(c, true);
			c = conns;	/* closing one may have closed others */
		} else {
			c = c->next;
		}
	}
	l->next = removed;
	removed = l;
}

void listen_pause(struct listener *l, bool is_paused)
{
	struct conn *c = conns;

	l->is_paused = is_paused;
	loop_mod(&l->io, is_paused ? 0 : EPOLLIN);
	while (c) {
		if (c->port != l || c->is_paused == is_paused) {
			c = c->next;
			continue;
		}
		conn_set_paused(c, is_paused);
		c = conns;		/* it may have been the end of it and of others */
	}
}

void listen_print(void)
{
	for (struct listener *l = listeners; l; l = l->next)
		printf(l->is_ipv6 ? "listening on [%s]:%s (%s)\n" : "listening on %s:%s (%s)\n",
		       l->addr, l->port, l->is_mptcp ? "mptcp" : "tcp");
	fflush(stdout);
}

void listen_close_all(void)
{
	while (listeners)
		listen_remove(listeners);
	while (removed) {
		struct listener *l = removed;

		removed = l->next;
		free(l);
	}
	if (reserve >= 0)
		close(reserve);
	reserve = -1;
}
