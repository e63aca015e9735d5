/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control socket: a test on the other end changes fault rules, asks for
 * counters and reads what happened. One line in, "ok", "error …" or one line of
 * answer out; a client that said "events" also gets "event …" lines.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fault.h"
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

static void reply(struct client *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void reply(struct client *k, const char *fmt, ...)
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
			reply(k, "event %s", slot);
}

static void do_stats(struct client *k)
{
	uint64_t fired = 0;

	for (struct fault_rule *r = fault_rules; r; r = r->next)
		fired += r->fired;
#define U(x) (unsigned long long)stats.x
	reply(k, "{\"accepted\":%llu,\"closed\":%llu,\"rejected\":%llu,\"conns\":%u,"
	      "\"commands\":%llu,\"reads\":%llu,\"writes\":%llu,\"read_bytes\":%llu,"
	      "\"write_bytes\":%llu,\"rx_bytes\":%llu,\"tx_bytes\":%llu,\"sends\":%llu,"
	      "\"h2c_term\":%llu,\"c2h_term\":%llu,\"digest_errors\":%llu,"
	      "\"kato_expired\":%llu,\"faults_fired\":%llu}",
	      U(accepted), U(closed), U(rejected), stats.conns, U(commands), U(reads),
	      U(writes), U(read_bytes), U(write_bytes), U(rx_bytes), U(tx_bytes), U(sends),
	      U(h2c_term), U(c2h_term), U(digest_errors), U(kato_expired),
	      (unsigned long long)fired);
#undef U
}

static void do_history(struct client *k)
{
	unsigned int first = nevents > HISTORY ? nevents - HISTORY : 0;

	for (unsigned int i = first; i < nevents; i++)
		reply(k, "event %s", history[i % HISTORY]);
	reply(k, "ok");
}

static void do_conns(struct client *k)
{
	for (struct conn *c = conns; c; c = c->next)
		reply(k, "conn id=%llu qid=%d cntlid=%d peer=\"%s\" transport=%s outstanding=%u "
		      "rx_cmd=%d tx=%llu hdgst=%d ddgst=%d", (unsigned long long)c->id,
		      c->ctrl ? c->qid : -1, c->ctrl ? c->ctrl->cntlid : -1, c->peer,
		      c->is_mptcp ? "mptcp" : "tcp", c->nused, c->rx_cmd != NULL,
		      (unsigned long long)c->tx.sent, c->hdgst, c->ddgst);
	reply(k, "ok");
}

static void do_listeners(struct client *k)
{
	for (struct listener *l = listeners; l; l = l->next)
		reply(k, "listener addr=%s port=%s transport=%s", l->addr, l->port,
		      l->is_mptcp ? "mptcp" : "tcp");
	reply(k, "ok");
}

/* aen TYPE INFO LID: completes one armed AER of every controller. */
static bool do_aen(const char *args)
{
	unsigned int type, info, lid;
	bool is_any = false;

	if (sscanf(args, "%i %i %i", (int *)&type, (int *)&info, (int *)&lid) != 3)
		return false;
	for (struct subsys *s = subsystems; s; s = s->next)
		for (struct ctrl *k = s->ctrls; k; k = k->next)
			is_any |= ctrl_event(k, (uint8_t)type, (uint8_t)info, (uint8_t)lid);
	return is_any;
}

/* resize NSID SIZE [NQN]: the hosts are told by a namespace attribute event. */
static bool do_resize(const char *args)
{
	char size[32], nqn[NQN_MAX + 2] = "";
	unsigned int nsid;
	uint64_t bytes;
	struct subsys *s = subsystems;
	struct ns *ns;

	if (sscanf(args, "%u %31s %224s", &nsid, size, nqn) < 2 || !parse_size(size, &bytes))
		return false;
	if (*nqn)
		s = subsys_find(nqn);
	ns = s ? ns_find(s, nsid) : NULL;
	if (!ns || ns_resize(ns, bytes))
		return false;
	for (struct ctrl *k = s->ctrls; k; k = k->next)
		ctrl_ns_changed(k);
	return true;
}

/* drop [io|admin|ID]: closes connections with a reset. */
static void do_drop(const char *args)
{
	struct conn *c = conns;

	while (c) {
		bool is_hit = !*args || (!strcmp(args, "io") && c->ctrl && c->qid) ||
			      (!strcmp(args, "admin") && c->ctrl && !c->qid) ||
			      strtoull(args, NULL, 0) == c->id;

		if (is_hit) {
			conn_close(c, true);
			c = conns;	/* closing one may have closed others */
			continue;
		}
		c = c->next;
	}
}

static void do_line(struct client *k, char *line)
{
	char err[512];
	char *args = strchr(line, ' ');

	if (args)
		*args++ = 0;
	else
		args = line + strlen(line);
	if (!strcmp(line, "fault") || !strcmp(line, "fault+")) {
		struct fault_rule *old = fault_rules;

		if (!line[5])
			fault_rules = NULL;
		if (fault_add(args, err, sizeof(err))) {
			fault_rules = old;
			reply(k, "error %s", err);
			return;
		}
		if (!line[5] && old) {
			struct fault_rule *now = fault_rules;

			fault_rules = old;
			fault_clear();
			fault_rules = now;
			faults_active = true;
		}
	} else if (!strcmp(line, "clear")) {
		fault_clear();
	} else if (!strcmp(line, "stats")) {
		do_stats(k);
		return;
	} else if (!strcmp(line, "conns")) {
		do_conns(k);
		return;
	} else if (!strcmp(line, "listeners")) {
		do_listeners(k);
		return;
	} else if (!strcmp(line, "events")) {
		k->is_watching = true;
	} else if (!strcmp(line, "history")) {
		do_history(k);
		return;
	} else if (!strcmp(line, "forget")) {
		nevents = 0;
	} else if (!strcmp(line, "drop")) {
		do_drop(args);
	} else if (!strcmp(line, "quit")) {
		loop_stop();
	} else if (!strcmp(line, "aen")) {
		if (!do_aen(args)) {
			reply(k, "error no event request is armed, or not 'aen TYPE INFO LID'");
			return;
		}
	} else if (!strcmp(line, "resize")) {
		if (!do_resize(args)) {
			reply(k, "error not 'resize NSID SIZE [NQN]' of a mem or null namespace "
			      "(mem: up to its first size)");
			return;
		}
	} else {
		reply(k, "error unknown command '%.40s'", line);
		return;
	}
	reply(k, "ok");
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
