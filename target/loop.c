/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"

enum { EVENTS = 256 };

static int ep = -1;
static bool is_stopping;
static bool does_spin;
static uint64_t now_ns;
static struct timer *timers;		/* head: the next to fire */
static void (*reaper)(void);

static void read_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now_ns = (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

int loop_init(void)
{
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (ep < 0)
		return -errno;
	read_clock();
	return 0;
}

void loop_fini(void)
{
	if (ep >= 0)
		close(ep);
	ep = -1;
}

uint64_t loop_now(void)
{
	return now_ns;
}

uint64_t loop_read_clock(void)
{
	read_clock();
	return now_ns;
}

void loop_stop(void)
{
	is_stopping = true;
}

void loop_set_reaper(void (*fn)(void))
{
	reaper = fn;
}

int loop_add(struct io *io, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = io };

	io->events = events;
	return epoll_ctl(ep, EPOLL_CTL_ADD, io->fd, &ev) ? -errno : 0;
}

void loop_mod(struct io *io, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = io };

	if (io->fd < 0 || io->events == events)
		return;
	io->events = events;
	epoll_ctl(ep, EPOLL_CTL_MOD, io->fd, &ev);
}

void loop_del(struct io *io)
{
	if (io->fd < 0)
		return;
	epoll_ctl(ep, EPOLL_CTL_DEL, io->fd, NULL);
	close(io->fd);
	io->fd = -1;
}

void timer_cancel(struct timer *t)
{
	if (!t->is_armed)
		return;
	if (t->prev)
		t->prev->next = t->next;
	else
		timers = t->next;
	if (t->next)
		t->next->prev = t->prev;
	t->is_armed = false;
}

void timer_set(struct timer *t, uint64_t delay_ns, void (*fn)(struct timer *t))
{
	struct timer *prev = NULL, *cur = timers;

	timer_cancel(t);
	cur = timers;
	t->at = now_ns + delay_ns;
	t->fn = fn;
	while (cur && cur->at <= t->at) {
		prev = cur;
		cur = cur->next;
	}
	t->prev = prev;
	t->next = cur;
	if (prev)
		prev->next = t;
	else
		timers = t;
	if (cur)
		cur->prev = t;
	t->is_armed = true;
}

static void run_timers(void)
{
	while (timers && timers->at <= now_ns) {
		struct timer *t = timers;

		timer_cancel(t);
		t->fn(t);
	}
}

static int next_timeout(void)
{
	uint64_t left;

	if (does_spin)
		return 0;
	if (!timers)
		return -1;
	if (timers->at <= now_ns)
		return 0;
	left = (timers->at - now_ns + MS - 1) / MS;
	return left > 60000 ? 60000 : (int)left;
}

void loop_set_spin(bool on)
{
	does_spin = on;
}

void loop_run(void)
{
	struct epoll_event ev[EVENTS];

	while (!is_stopping) {
		int n;

		read_clock();
		n = epoll_wait(ep, ev, EVENTS, next_timeout());
		read_clock();
		for (int i = 0; i < n; i++) {
			struct io *io = ev[i].data.ptr;

			/* An earlier callback of this batch may have closed it. */
			if (io->fd >= 0)
				io->fn(io, ev[i].events);
		}
		run_timers();
		if (reaper)
			reaper();
	}
}
