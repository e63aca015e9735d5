/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking paths whether they work. See pathman.h and mptcp/stall.h. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "ctrl/pathman.h"
#include "mptcp/probe.h"

/*
 * An endpoint of ours has the interface of its address, and so have its subflows: the routes
 * alone may lead elsewhere. Others' go where they were made for, or where routes lead.
 */
static const char *device_of(const struct nofi_pathman_path *p, char name[IFNAMSIZ])
{
	if (p->conf.dev[0] || p->is_foreign || !p->ifindex || !if_indextoname(p->ifindex, name))
		return p->conf.dev;
	return name;
}

static int send_syn(struct nofi_pathman *pm, unsigned index, unsigned k)
{
	struct nofi_pathman_path *p = &pm->path[index];
	struct epoll_event ev = { .events = EPOLLOUT | EPOLLONESHOT };
	char name[IFNAMSIZ];
	int fd = nofi_probe_start(&p->local, device_of(p, name), &p->peer);

	if (fd < 0)
		return fd;
	if (epoll_ctl(pm->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		nofi_probe_end(fd);
		return -errno;
	}
	p->ask.fd[k] = fd;
	return 0;
}

int nofi_ask_path(struct nofi_pathman *pm, unsigned index, bool is_round)
{
	struct nofi_ask *a = &pm->path[index].ask;
	int r;

	if (!pm->path[index].peer.ss_family)
		return -ENOENT;
	nofi_ask_end(pm, index);
	a->p.answered = 0;
	a->p.asked = nofi_loop_now(pm->ctrl->loop);
	a->is_running = true;
	a->is_round = is_round;
	r = send_syn(pm, index, 0);
	a->p.is_failed = r < 0;
	return 0;
}

void nofi_ask_end(struct nofi_pathman *pm, unsigned index)
{
	struct nofi_ask *a = &pm->path[index].ask;

	for (unsigned k = 0; k < NOFI_ASK_SYNS; k++) {
		nofi_probe_end(a->fd[k]);
		a->fd[k] = -1;
	}
	a->is_running = false;
}

bool nofi_ask_is_round(const struct nofi_pathman *pm)
{
	for (unsigned i = 0; i < pm->count; i++)
		if (pm->path[i].ask.is_running && pm->path[i].ask.is_round)
			return true;
	return false;
}

static void collect(struct nofi_ask *a, uint64_t now)
{
	bool is_open = false;

	for (unsigned k = 0; k < NOFI_ASK_SYNS; k++) {
		uint64_t rtt = 0;
		int r = a->fd[k] < 0 ? -1 : nofi_probe_result(a->fd[k], &rtt);

		if (r > 0 && !a->p.answered)
			a->p.answered = rtt && rtt < now - a->p.asked ? a->p.asked + rtt : now;
		if (r < 0) {
			nofi_probe_end(a->fd[k]);
			a->fd[k] = -1;
		}
		is_open |= a->fd[k] >= 0;
	}
	a->p.is_failed = !is_open;
}

/* A question of its own: has the path come back? Returns when to look again. */
static uint64_t look_at_one(struct nofi_pathman *pm, unsigned i, uint64_t now)
{
	struct nofi_ask *a = &pm->path[i].ask;
	uint64_t end = a->p.asked + NOFI_ASK_LIMIT_MS * NOFI_MS + 4 * a->p.min_rtt_ns;

	if (a->p.answered) {
		nofi_ask_end(pm, i);
		nofi_pathman_alive(pm, i);
		return 0;
	}
	if (!a->p.is_failed && now < end)
		return end;
	nofi_ask_end(pm, i);
	nofi_pathman_mute(pm, i);
	return 0;
}

static uint64_t look_at_round(struct nofi_pathman *pm, uint64_t now)
{
	struct nofi_stall_path paths[NOFI_PM_PATHS_MAX];
	unsigned of[NOFI_PM_PATHS_MAX], n = 0;
	uint64_t next;
	uint32_t dead;

	for (unsigned i = 0; i < pm->count; i++)
		if (pm->path[i].ask.is_running && pm->path[i].ask.is_round) {
			paths[n] = pm->path[i].ask.p;
			of[n++] = i;
		}
	if (!n)
		return 0;
	dead = nofi_stall_judge(paths, n, now, &next);
	for (unsigned i = 0; i < n; i++)
		if (!next || (dead & 1u << i))
			nofi_ask_end(pm, of[i]);
	for (unsigned i = 0; i < n; i++)
		if (dead & 1u << i)
			nofi_pathman_dead(pm, of[i]);
	return next;
}

uint64_t nofi_ask_work(struct nofi_pathman *pm)
{
	uint64_t now = nofi_loop_now(pm->ctrl->loop), next = UINT64_MAX, t;

	for (unsigned i = 0; i < pm->count; i++) {
		struct nofi_ask *a = &pm->path[i].ask;

		if (!a->is_running)
			continue;
		collect(a, now);
		t = a->p.asked + NOFI_ASK_AGAIN_MS * NOFI_MS;
		if (!a->p.answered && a->fd[0] >= 0 && a->fd[1] < 0) {
			if (now >= t)
				(void)send_syn(pm, i, 1);
			else if (t < next)
				next = t;
		}
		t = a->is_round ? 0 : look_at_one(pm, i, now);
		if (t && t < next)
			next = t;
	}
	t = look_at_round(pm, now);
	if (t && t < next)
		next = t;
	return next == UINT64_MAX ? 0 : next;
}
