/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the kernel allows when the same number of requests is in flight on few or on many
 * connections: 72-byte requests, answers of a 24-byte header, 4 KiB and a 24-byte completion, by
 * the shortest epoll loop there is at both ends. One recv() and one send() per connection that is
 * ready, each for as many requests as there are; no protocol, no timers, no state but counters.
 *
 *	many_raw CONNECTIONS DEPTH SECONDS mptcp|tcp [CLIENT_CPU SERVER_CPU]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

enum { REQUEST = 72, ANSWER = 24 + 4096 + 24, BLOCK = 4096, STAGING = 256 * 1024, EVENTS = 256 };

struct conn {
	int fd;
	size_t part;		/* bytes of an incomplete message received */
	size_t owed;		/* bytes that wait for room in the socket */
	int is_watched;		/* EPOLLOUT is asked for */
};

static unsigned char staging[STAGING], zeroes[1 << 20], block[BLOCK];

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "many_raw: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_s(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void pin(const char *cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)strtoul(cpu, NULL, 10), &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("sched_setaffinity");
}

static void watch(int ep, struct conn *c, int op)
{
	struct epoll_event ev = { .events = EPOLLIN | (c->owed ? EPOLLOUT : 0), .data.ptr = c };

	if (epoll_ctl(ep, op, c->fd, &ev) < 0)
		die("epoll_ctl");
	c->is_watched = c->owed != 0;
}

static void push(int ep, struct conn *c)
{
	while (c->owed) {
		size_t n = c->owed < sizeof(zeroes) ? c->owed : sizeof(zeroes);
		ssize_t r = send(c->fd, zeroes, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (r < 0 && errno == EAGAIN)
			break;
		if (r < 0)
			die("send");
		c->owed -= (size_t)r;
	}
	if ((c->owed != 0) != c->is_watched)
		watch(ep, c, EPOLL_CTL_MOD);
}

/* Takes what is there; returns how many messages of this size became complete. */
static size_t pull(struct conn *c, size_t size)
{
	ssize_t r = recv(c->fd, staging, sizeof(staging), MSG_DONTWAIT);
	size_t n;

	if (r < 0 && errno == EAGAIN)
		return 0;
	if (r <= 0)
		exit(0);	/* the other end is done */
	n = (c->part + (size_t)r) / size;
	c->part = (c->part + (size_t)r) % size;
	return n;
}

static void serve(int listener, unsigned int conns)
{
	struct conn *all = calloc(conns, sizeof(*all));
	struct epoll_event events[EVENTS];
	int ep = epoll_create1(0);

	for (unsigned int i = 0; i < conns; i++) {
		all[i].fd = accept(listener, NULL, NULL);
		if (all[i].fd < 0)
			die("accept");
		watch(ep, &all[i], EPOLL_CTL_ADD);
	}
	for (;;) {
		int n = epoll_wait(ep, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;

			if (events[i].events & EPOLLIN)
				c->owed += pull(c, REQUEST) * ANSWER;
			push(ep, c);
		}
	}
}

static void load(struct conn *all, unsigned int conns, unsigned int depth, double seconds)
{
	double start = 0, cpu = 0, began = now_s(CLOCK_MONOTONIC);
	struct epoll_event events[EVENTS];
	unsigned long long done = 0;
	int ep = epoll_create1(0);

	for (unsigned int i = 0; i < conns; i++) {
		watch(ep, &all[i], EPOLL_CTL_ADD);
		all[i].owed = (size_t)depth * REQUEST;
		push(ep, &all[i]);
	}
	for (;;) {
		int n = epoll_wait(ep, events, EVENTS, 1000);
		double now = now_s(CLOCK_MONOTONIC);

		if (!start && now - began > 0.3) {
			start = now;
			cpu = now_s(CLOCK_PROCESS_CPUTIME_ID);
			done = 0;
		}
		if (start && now - start > seconds) {
			cpu = now_s(CLOCK_PROCESS_CPUTIME_ID) - cpu;
			printf("{\"connections\": %u, \"depth\": %u, \"iops\": %.0f, "
			       "\"client_us_per_io\": %.3f}\n", conns, depth,
			       (double)done / (now - start), cpu * 1e6 / (double)done);
			return;
		}
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			size_t k = events[i].events & EPOLLIN ? pull(c, ANSWER) : 0;

			for (size_t j = 0; j < k; j++)
				memcpy(block, staging + j * BLOCK % (STAGING - BLOCK), BLOCK);
			done += k;
			c->owed += k * REQUEST;
			push(ep, c);
		}
	}
}

static int open_socket(int protocol)
{
	int fd = socket(AF_INET, SOCK_STREAM, protocol), one = 1;

	if (fd < 0)
		die("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

int main(int argc, char **argv)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	unsigned int conns, depth, opened = 0;
	socklen_t len = sizeof(sa);
	int listener, protocol;
	struct conn *all;
	pid_t child;

	if ((argc != 5 && argc != 7) || !(conns = (unsigned int)strtoul(argv[1], NULL, 10)) ||
	    !(depth = (unsigned int)strtoul(argv[2], NULL, 10))) {
		fprintf(stderr, "usage: many_raw CONNECTIONS DEPTH SECONDS mptcp|tcp "
			"[CLIENT_CPU SERVER_CPU]\n");
		return 2;
	}
	protocol = strcmp(argv[4], "mptcp") ? 0 : IPPROTO_MPTCP;
	listener = open_socket(protocol);
	if (bind(listener, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    listen(listener, 4096) < 0 ||
	    getsockname(listener, (struct sockaddr *)&sa, &len) < 0)
		die("listen");
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (argc == 7)
			pin(argv[6]);
		serve(listener, conns);
	}
	if (argc == 7)
		pin(argv[5]);
	all = calloc(conns, sizeof(*all));
	for (; all && opened < conns; opened++) {
		all[opened].fd = open_socket(protocol);
		if (connect(all[opened].fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
			die("connect");
	}
	if (!all)
		die("calloc");
	load(all, conns, depth, strtod(argv[3], NULL));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return 0;
}
