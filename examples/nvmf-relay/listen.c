/* SPDX-License-Identifier: MIT */
/* Addresses: those that are listened on, and the target's. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../common/tool.h"
#include "relay.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static struct source listeners[RELAY_MAX_LISTEN];
static unsigned int listener_count;

const char *relay_name(const struct sockaddr *sa, socklen_t len, char buf[80])
{
	char host[64], port[8];

	if (getnameinfo(sa, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(buf, 80, "?");
	else
		snprintf(buf, 80, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
	return buf;
}

/* HOST:PORT, [IPv6]:PORT; HOST may be empty. */
static struct addrinfo *resolve(const char *address, int flags)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = flags }, *found = NULL;
	const char *colon = strrchr(address, ':');
	char host[256];
	size_t len;
	int r;

	if (!colon || !colon[1] || (size_t)(colon - address) >= sizeof(host)) {
		tool_error(0, "%s: HOST:PORT or [IPv6]:PORT is wanted.", address);
		return NULL;
	}
	len = (size_t)(colon - address);
	memcpy(host, address, len);
	host[len] = '\0';
	if (len > 1 && host[0] == '[' && host[len - 1] == ']') {
		memmove(host, host + 1, len - 2);
		host[len - 2] = '\0';
	} else if (strchr(host, ':')) {
		tool_error(0, "%s: an IPv6 address is written [ADDRESS]:PORT.", address);
		return NULL;
	}
	r = getaddrinfo(*host ? host : NULL, colon + 1, &hints, &found);
	if (r)
		tool_error(0, "%s: %s.", address,
			   r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r));
	return found;
}

int relay_resolve(const char *address)
{
	relay.target = resolve(address, 0);
	return relay.target ? 0 : -1;
}

void relay_pause_listeners(bool is_paused)
{
	relay.is_full = is_paused;
	for (unsigned int i = 0; i < listener_count; i++)
		source_watch(&listeners[i], is_paused ? 0 : EPOLLIN);
}

static void on_accept(struct source *s, uint32_t events)
{
	struct sockaddr_storage peer;
	socklen_t len;
	char name[80];
	int fd;

	(void)events;
	while (relay.pair_count < relay.o->max_pairs) {
		len = sizeof(peer);
		fd = accept4(s->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS &&
			    errno != ENOMEM)
				return;
			tool_error(0, "accepting a client: %s; others wait until one has ended.",
				   strerror(errno));
			break;
		}
		pair_new(fd, relay_name((struct sockaddr *)&peer, len, name));
	}
	relay_pause_listeners(true);
}

static int open_listener(const struct addrinfo *a, const char *address)
{
	const int one = 1;
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			relay.o->accepts_mptcp ? IPPROTO_MPTCP : IPPROTO_TCP);

	if (fd < 0) {
		if (relay.o->accepts_mptcp)
			tool_error(0,
				   "no MPTCP socket can be made here: %s; is "
				   "net.mptcp.enabled 1?",
				   strerror(errno));
		else
			tool_error(0, "no socket for %s: %s.", address, strerror(errno));
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (a->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, 1024) < 0) {
		tool_error(0, "listening on %s: %s.", address, strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

int relay_listen(const char *address)
{
	struct addrinfo *a = resolve(address, AI_PASSIVE);
	struct source *s = &listeners[listener_count];
	int fd;

	if (!a)
		return -1;
	fd = open_listener(a, address);
	freeaddrinfo(a);
	if (fd < 0)
		return -1;
	*s = (struct source){ .fd = fd, .fn = on_accept };
	listener_count++;
	if (source_watch(s, EPOLLIN) < 0) {
		tool_error(0, "watching %s: %s.", address, strerror(errno));
		return -1;
	}
	return 0;
}

void relay_print_listeners(void)
{
	struct sockaddr_storage ss;
	socklen_t len;
	char name[80];

	for (unsigned int i = 0; i < listener_count; i++) {
		len = sizeof(ss);
		getsockname(listeners[i].fd, (struct sockaddr *)&ss, &len);
		printf("listening on %s (%s)\n", relay_name((struct sockaddr *)&ss, len, name),
		       relay.o->accepts_mptcp ? "mptcp" : "tcp");
	}
	fflush(stdout);
}
