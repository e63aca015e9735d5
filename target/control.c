/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control socket: a test on the other end changes what is served, asks for
 * counters and reads what happened. One line in (control_cmd.c), "ok", "error …"
 * or one line of answer out; a client that said "events" also gets "event …" lines.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "target.h"

enum { LINE = 65536, HISTORY = 64, EVENT_LEN = 200 };

struct client {
	struct io io;
	struct client *next;
	bool is_watching;		/* wants event lines */
	bool is_dead;
	size_t have;
	char line[LINE];
};

static struct io server = { .fd = -1 };
static char socket_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
static struct client *clients;
/* The last events, so that a test that asks later still finds them. */
static char history[HISTORY][EVENT_LEN];
static unsigned int nevents;

void control_reply(struct client *k, const char *fmt, ...)
{
	char buf[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, sizeof(buf) - 1, fmt, ap);
	va_end(ap);
	if (n < 0 || k->is_dead)
		return;
	if ((size_t)n > sizeof(buf) - 2)
		n = (int)sizeof(buf) - 2;
	buf[n++] = '\n';
	/* A client that does not read loses its lines, never blocks the target. */
	if (send(k->io.fd, buf, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN)
		k->is_dead = true;
}

void control_event(const char *fmt, ...)
{
	char *slot = history[nevents++ % HISTORY];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(slot, EVENT_LEN, fmt, ap);
	va_end(ap);
	for (struct client *k = clients; k; k = k->next)
		if (k->is_watching)
			control_reply(k, "event %s", slot);
}

static void do_history(struct client *k)
{
	unsigned int first = nevents > HISTORY ? nevents - HISTORY : 0;

	for (unsigned int i = first; i < nevents; i++)
		control_reply(k, "event %s", history[i % HISTORY]);
}

static void do_line(struct client *k, char *line)
{
	char err[512];
	char *args = strchr(line, ' ');

	if (args)
		*args++ = 0;
	else
		args = line + strlen(line);
	if (!strcmp(line, "events")) {
		k->is_watching = true;
	} else if (!strcmp(line, "history")) {
		do_history(k);
	} else if (!strcmp(line, "forget")) {
		nevents = 0;
	} else {
		switch (control_command(k, line, args, err, sizeof(err))) {
		case CONTROL_ANSWERED:
			return;
		case CONTROL_FAILED:
			control_reply(k, "error %s", err);
			return;
		case CONTROL_OK:
			break;
		}
	}
	control_reply(k, "ok");
}

static void client_gone(struct client *k)
{
	struct client **p;

	for (p = &clients; *p != k; p = &(*p)->next)
		;
	*p = k->next;
	loop_del(&k->io);
	free(k);
}

static void on_client(struct io *io, uint32_t events)
{
	struct client *k = container_of(io, struct client, io);
	ssize_t n = recv(io->fd, k->line + k->have, LINE - 1 - k->have, MSG_DONTWAIT);
	char *start = k->line, *nl;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_gone(k);
		return;
	}
	k->have += (size_t)n;
	k->line[k->have] = 0;
	while ((nl = strchr(start, '\n'))) {
		*nl = 0;
		do_line(k, start);
		start = nl + 1;
	}
	k->have -= (size_t)(start - k->line);
	memmove(k->line, start, k->have);
	if (k->is_dead || k->have == LINE - 1)
		client_gone(k);
}

static void on_connect(struct io *io, uint32_t events)
{
	int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct client *k;

	if (fd < 0)
		return;
	k = calloc(1, sizeof(*k));
	if (!k) {
		close(fd);
		return;
	}
	k->io.fd = fd;
	k->io.fn = on_client;
	if (loop_add(&k->io, EPOLLIN)) {
		close(fd);
		free(k);
		return;
	}
	k->next = clients;
	clients = k;
}

int control_open(const char *path, char *err, size_t errlen)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int rc;

	if (strlen(path) >= sizeof(sun.sun_path)) {
		snprintf(err, errlen, "the path of the control socket is too long: %s", path);
		return -1;
	}
	strcpy(sun.sun_path, path);
	server.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	server.fn = on_connect;
	unlink(path);
	if (server.fd < 0 || bind(server.fd, (struct sockaddr *)&sun, sizeof(sun)) ||
	    listen(server.fd, 8)) {
		snprintf(err, errlen, "cannot open the control socket %s: %s", path,
			 strerror(errno));
		return -1;
	}
	strcpy(socket_path, path);
	rc = loop_add(&server, EPOLLIN);
	if (rc) {
		snprintf(err, errlen, "cannot watch the control socket: %s", strerror(-rc));
		return -1;
	}
	return 0;
}

void control_close(void)
{
	while (clients)
		client_gone(clients);
	if (server.fd < 0)
		return;
	loop_del(&server);
	unlink(socket_path);
}
