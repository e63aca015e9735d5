/* SPDX-License-Identifier: MIT */
/* Two sockets that are one connection: bytes, half-close and reset pass from each to the other. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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

enum {
	CHUNK = 256 << 10, /* read at a time */
	TURNS = 8,	   /* chunks before others have theirs */
};

struct side {
	struct source source;
	struct pair *pair;
	char *held;	/* bytes from the other side that this one did not take; NULL: none */
	size_t at, len; /* those of held that are left; while any are, nothing more is read */
	bool has_ended; /* the peer sends no more */
	bool is_shut;	/* we send no more: the other side has ended and all of it was sent */
	uint64_t received;
};

struct pair {
	struct side client, target;
	const struct addrinfo *address; /* of the target, the one in use */
	bool is_connecting;		/* to the target; nothing is read from the client yet */
	bool is_over;			/* closed, to be freed after this turn */
	char name[80];			/* the client's address */
	struct pair *prev, *next;
};

static struct pair *pairs;
static struct pair *buried;
/* Only bytes that could not be passed on at once need memory of their own. */
static char chunk[CHUNK];

static struct side *other(struct side *s)
{
	return s == &s->pair->client ? &s->pair->target : &s->pair->client;
}

static void end(struct pair *p, const char *how)
{
	if (p->is_over)
		return;
	relay_say("%s: %s, %llu bytes from and %llu bytes to the client", p->name, how,
		  (unsigned long long)p->client.received, (unsigned long long)p->target.received);
	relay.bytes += p->client.received + p->target.received;
	source_close(&p->client.source);
	source_close(&p->target.source);
	free(p->client.held);
	free(p->target.held);
	p->client.held = p->target.held = NULL;
	if (p->prev)
		p->prev->next = p->next;
	else
		pairs = p->next;
	if (p->next)
		p->next->prev = p->prev;
	p->is_over = true;
	p->next = buried;
	buried = p;
	relay.pair_count--;
	if (relay.is_full)
		relay_pause_listeners(false);
}

static void drop(int fd)
{
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };
	const struct sockaddr nobody = { .sa_family = AF_UNSPEC };

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	/* Not every kernel resets all subflows when the socket is closed. */
	connect(fd, &nobody, sizeof(nobody));
}

/* A reset, not an end: whoever is left must not take it for the end of all data. */
static void reset(struct pair *p, const char *why)
{
	if (p->is_over)
		return;
	drop(p->client.source.fd);
	drop(p->target.source.fd);
	end(p, why);
}

static bool is_later(int error)
{
	return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

/* Sends what is held. False: this socket is broken. */
static bool send_held(struct side *s)
{
	ssize_t n;

	while (s->len > 0) {
		n = send(s->source.fd, s->held + s->at, s->len, MSG_NOSIGNAL);
		if (n < 0)
			return is_later(errno);
		s->at += (size_t)n;
		s->len -= (size_t)n;
	}
	free(s->held);
	s->held = NULL;
	return true;
}

static bool send_chunk(struct side *to, size_t len)
{
	ssize_t n = send(to->source.fd, chunk, len, MSG_NOSIGNAL);

	if (n < 0) {
		if (!is_later(errno))
			return false;
		n = 0;
	}
	if ((size_t)n == len)
		return true;
	to->at = 0;
	to->len = len - (size_t)n;
	to->held = malloc(to->len);
	if (!to->held)
		return false;
	memcpy(to->held, chunk + n, to->len);
	return true;
}

/* From one side to the other, as much as goes now. False: a socket is broken. */
static bool pump(struct side *from, struct side *to)
{
	for (int turn = 0; turn < TURNS; turn++) {
		ssize_t n;

		if (to->held && !send_held(to))
			return false;
		if (to->held)
			return true;
		if (from->has_ended) {
			if (!to->is_shut && shutdown(to->source.fd, SHUT_WR) < 0)
				return false;
			to->is_shut = true;
			return true;
		}
		n = recv(from->source.fd, chunk, sizeof(chunk), 0);
		/* MPTCP that fell back to TCP says so when both sides have ended, nothing left. */
		if (n < 0 && errno == ENOTCONN && from->is_shut)
			n = 0;
		if (n < 0)
			return is_later(errno);
		if (n == 0) {
			from->has_ended = true;
			continue;
		}
		from->received += (uint64_t)n;
		if (!send_chunk(to, (size_t)n))
			return false;
		/* Rarely is there more; if so, epoll says it. */
		if ((size_t)n < sizeof(chunk))
			return true;
	}
	return true;
}

static uint32_t wants(struct side *s)
{
	const struct pair *p = s->pair;

	if (p->is_connecting)
		return s == &p->target ? EPOLLOUT : 0;
	return (s->has_ended || other(s)->held ? 0u : (uint32_t)EPOLLIN) |
	       (s->held ? (uint32_t)EPOLLOUT : 0u);
}

static void on_event(struct source *source, uint32_t events);

static int open_target(struct pair *p)
{
	const struct addrinfo *a = p->address;
	const int one = 1;
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			relay.o->connects_mptcp ? IPPROTO_MPTCP : IPPROTO_TCP);

	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	if (connect(fd, a->ai_addr, a->ai_addrlen) < 0 && errno != EINPROGRESS) {
		int r = -errno;

		close(fd);
		return r;
	}
	p->target.source.fd = fd;
	p->is_connecting = true;
	return source_watch(&p->target.source, EPOLLOUT);
}

static void say_target_down(const struct addrinfo *a, int error)
{
	char name[80];

	if (relay.is_target_known_down)
		return;
	relay.is_target_known_down = true;
	tool_error(0, "the target %s: %s; clients are turned away until it answers.",
		   relay_name(a->ai_addr, a->ai_addrlen, name), strerror(-error));
}

/* To the next of the target's addresses that can be tried at all. */
static void connect_target(struct pair *p, int error)
{
	const struct addrinfo *last = p->address;

	source_close(&p->target.source);
	p->address = last ? last->ai_next : relay.target;
	for (; p->address; p->address = p->address->ai_next) {
		last = p->address;
		error = open_target(p);
		if (error == 0)
			return;
		source_close(&p->target.source);
	}
	say_target_down(last, error);
	reset(p, "the target does not answer");
}

static void connected(struct pair *p)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(p->target.source.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error) {
		connect_target(p, -error);
		return;
	}
	p->is_connecting = false;
	relay.is_target_known_down = false;
}

static void on_event(struct source *source, uint32_t events)
{
	struct side *s = (struct side *)source;
	struct pair *p = s->pair;

	if (p->is_connecting && s == &p->target && events)
		connected(p);
	else if (events & EPOLLERR)
		reset(p, s == &p->client ? "reset by the client" : "reset by the target");
	if (p->is_over)
		return;
	if (!p->is_connecting && (!pump(&p->client, &p->target) || !pump(&p->target, &p->client))) {
		char why[80];

		snprintf(why, sizeof(why), "broken: %s", strerror(errno));
		reset(p, why);
		return;
	}
	if (p->client.is_shut && p->target.is_shut) {
		end(p, "ended");
		return;
	}
	if (source_watch(&p->client.source, wants(&p->client)) < 0 ||
	    source_watch(&p->target.source, wants(&p->target)) < 0) {
		reset(p, strerror(errno));
		return;
	}
	/*
	 * epoll tells of a hang-up whether it is wanted or not. Where nothing else is wanted (both
	 * directions are over here, but the other side is still taking the last of it) it would
	 * tell for ever; the next event of the other side has this one watched again.
	 */
	if ((events & EPOLLHUP) && source->is_watched && !source->events) {
		epoll_ctl(relay.epoll, EPOLL_CTL_DEL, source->fd, NULL);
		source->is_watched = false;
	}
}

void pair_new(int fd, const char *client)
{
	struct pair *p = calloc(1, sizeof(*p));
	const int one = 1;

	if (!p) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	snprintf(p->name, sizeof(p->name), "%s", client);
	p->client = (struct side){ .source = { .fd = fd, .fn = on_event }, .pair = p };
	p->target = (struct side){ .source = { .fd = -1, .fn = on_event }, .pair = p };
	p->next = pairs;
	if (pairs)
		pairs->prev = p;
	pairs = p;
	relay.pair_count++;
	relay.accepted++;
	relay_say("%s: accepted", p->name);
	if (source_watch(&p->client.source, 0) < 0)
		reset(p, strerror(errno));
	else
		connect_target(p, 0);
}

void pair_reap(void)
{
	while (buried) {
		struct pair *p = buried;

		buried = p->next;
		free(p);
	}
}

void pair_end_all(void)
{
	while (pairs)
		reset(pairs, "the relay ends");
	pair_reap();
}
