/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See pm_table.h.
 *
 * The netlink socket of an entry belongs to its namespace for good: what is undone later, by
 * whichever thread, is undone there. A child of fork() has a copy of the table, and no part
 * in what its parent did: entries carry the process that made them.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "mptcp/pm_table.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

enum { HELD_MAX = 32, LOCK_AT_EXIT_S = 2 };

struct held {
	struct nofi_pm_endpoint ep;	/* as it was added; id: the kernel's choice */
	uint32_t users;			/* 0: the place is free */
	bool is_ours;			/* added by us, to be removed */
	bool is_out;			/* ours, and taken away for now */
};

struct nofi_pm_ns {
	struct nofi_pm_ns *next;
	uint64_t cookie;		/* which namespace */
	pid_t pid;			/* whose entry it is */
	struct nofi_pm pm;
	struct nofi_pm_user *users;
	struct held held[HELD_MAX];
	bool has_limits;		/* were changed: from old to set */
	struct nofi_pm_limits old, set;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct nofi_pm_ns *table;	/* under lock */

/* Linux before 5.14 has no cookies: there the inode of the namespace has to do. */
static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);
	struct stat st;

	if (!getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) && cookie)
		return cookie;
	return stat("/proc/thread-self/ns/net", &st) == 0 ? st.st_ino : 1;
}

/* ---- endpoints; lock is held ---- */

static bool find_endpoint(struct nofi_pm_ns *ns, const struct nofi_pm_addr *addr,
			  struct nofi_pm_endpoint *out)
{
	struct nofi_pm_endpoint list[NOFI_PM_ENDPOINTS_MAX];
	int n = nofi_pm_endpoints(&ns->pm, list, NOFI_PM_ENDPOINTS_MAX);

	for (int i = 0; i < n && i < NOFI_PM_ENDPOINTS_MAX; i++)
		if (nofi_pm_addr_equal(&list[i].addr, addr) && !list[i].port &&
		    !(list[i].flags & NOFI_PM_F_IMPLICIT)) {
			*out = list[i];
			return true;
		}
	return false;
}

/* It is as we made it: what somebody has put in its place is theirs. */
static bool is_as_made(struct nofi_pm_ns *ns, const struct held *h)
{
	struct nofi_pm_endpoint now;

	return find_endpoint(ns, &h->ep.addr, &now) && now.id == h->ep.id &&
	       now.flags == h->ep.flags && now.ifindex == h->ep.ifindex;
}

static int add(struct nofi_pm_ns *ns, struct held *h)
{
	struct nofi_pm_endpoint ep = h->ep, now;
	int r;

	/* The same id again, if it is free: peers know the path by it. */
	r = nofi_pm_add(&ns->pm, &ep);
	if (r == -EEXIST && ep.id && !find_endpoint(ns, &ep.addr, &now)) {
		ep.id = 0;
		r = nofi_pm_add(&ns->pm, &ep);
	}
	if (r < 0)
		return r;
	h->is_ours = true;
	h->is_out = false;
	if (find_endpoint(ns, &ep.addr, &now))
		h->ep.id = now.id;
	return 0;
}

static int take_out(struct nofi_pm_ns *ns, struct held *h)
{
	int r = 0;

	if (is_as_made(ns, h))
		r = nofi_pm_del(&ns->pm, h->ep.id, &h->ep.addr);
	if (r < 0)
		return r;
	h->is_out = true;
	/*
	 * Connections whose first subflow this was say REMOVE_ADDR over the first subflow that is
	 * left in their list; it may have been this one, so that it is said again now that it is
	 * gone. Where no connection began from this address, it does nothing.
	 */
	(void)nofi_pm_del(&ns->pm, 0, &h->ep.addr);
	return 0;
}

static void release(struct nofi_pm_ns *ns, unsigned i)
{
	struct held *h = &ns->held[i];

	if (--h->users)
		return;
	if (h->is_ours && !h->is_out && is_as_made(ns, h))
		(void)nofi_pm_del(&ns->pm, h->ep.id, &h->ep.addr);
	memset(h, 0, sizeof(*h));
}

static void restore_limits(struct nofi_pm_ns *ns)
{
	struct nofi_pm_limits now;

	if (ns->has_limits && nofi_pm_get_limits(&ns->pm, &now) == 0 &&
	    !memcmp(&now, &ns->set, sizeof(now)))
		(void)nofi_pm_set_limits(&ns->pm, &ns->old);
	ns->has_limits = false;
}

static struct held *find_held(const struct nofi_pm_user *u, const struct nofi_pm_addr *addr,
			      unsigned *index)
{
	for (unsigned i = 0; u->ns && i < HELD_MAX; i++)
		if ((u->held & 1u << i) && nofi_pm_addr_equal(&u->ns->held[i].ep.addr, addr)) {
			*index = i;
			return &u->ns->held[i];
		}
	return NULL;
}

/* Would somebody be left without any path? */
static bool is_last(const struct nofi_pm_ns *ns, unsigned index)
{
	uint32_t out = 1u << index;

	for (unsigned i = 0; i < HELD_MAX; i++)
		if (ns->held[i].is_out)
			out |= 1u << i;
	for (const struct nofi_pm_user *u = ns->users; u; u = u->next)
		if ((u->held & 1u << index) && !(u->held & ~out))
			return true;
	return false;
}

/* ---- interface ---- */

int nofi_pm_join(struct nofi_pm_user *u, struct nofi_err *err)
{
	struct nofi_pm_ns *ns;
	struct nofi_pm pm;
	uint64_t cookie;
	int r = nofi_pm_open(&pm, err);

	if (r < 0)
		return r;
	cookie = cookie_of(pm.nl.fd);
	pthread_mutex_lock(&lock);
	for (ns = table; ns && (ns->cookie != cookie || ns->pid != getpid()); ns = ns->next)
		;
	if (!ns) {
		ns = calloc(1, sizeof(*ns));
		if (!ns) {
			pthread_mutex_unlock(&lock);
			nofi_pm_close(&pm);
			return nofi_err_set(err, -ENOMEM, "out of memory");
		}
		ns->cookie = cookie;
		ns->pid = getpid();
		ns->pm = pm;
		ns->next = table;
		table = ns;
	} else {
		nofi_pm_close(&pm);
	}
	u->ns = ns;
	u->held = 0;
	u->next = ns->users;
	ns->users = u;
	pthread_mutex_unlock(&lock);
	return 0;
}

void nofi_pm_leave(struct nofi_pm_user *u)
{
	struct nofi_pm_ns *ns = u->ns, **n;
	struct nofi_pm_user **p;

	if (!ns)
		return;
	u->ns = NULL;
	if (ns->pid != getpid())
		return;		/* of the parent */
	pthread_mutex_lock(&lock);
	for (p = &ns->users; *p != u; p = &(*p)->next)
		;
	*p = u->next;
	for (unsigned i = 0; i < HELD_MAX; i++)
		if (u->held & 1u << i)
			release(ns, i);
	if (!ns->users) {
		restore_limits(ns);
		for (n = &table; *n != ns; n = &(*n)->next)
			;
		*n = ns->next;
		nofi_pm_close(&ns->pm);
		free(ns);
	}
	pthread_mutex_unlock(&lock);
}

static int refused(int r, const char *what, const struct nofi_nl *nl, struct nofi_err *err)
{
	if (r == -EPERM)
		return nofi_err_set(err, r, "mptcp_paths: not permitted to configure MPTCP: it "
				    "takes CAP_NET_ADMIN, or a user and network namespace of "
				    "one's own (unshare -Urn)");
	return nofi_err_set(err, r, "mptcp_paths: the kernel refused %s: %s%s%s", what,
			    strerror(-r), nl->message[0] ? ": " : "", nl->message);
}

int nofi_pm_check(struct nofi_pm_user *u, struct nofi_err *err)
{
	int r;

	pthread_mutex_lock(&lock);
	r = nofi_pm_may_configure(&u->ns->pm);
	if (r < 0)
		refused(r, "changes", &u->ns->pm.nl, err);
	pthread_mutex_unlock(&lock);
	return r;
}

int nofi_pm_raise(struct nofi_pm_user *u, const struct nofi_pm_limits *want, struct nofi_err *err)
{
	struct nofi_pm_ns *ns = u->ns;
	struct nofi_pm_limits now, set;
	int r;

	pthread_mutex_lock(&lock);
	r = nofi_pm_get_limits(&ns->pm, &now);
	set = now;
	if (set.subflows < want->subflows)
		set.subflows = want->subflows;
	if (set.add_addr_accepted < want->add_addr_accepted)
		set.add_addr_accepted = want->add_addr_accepted;
	if (r == 0 && memcmp(&set, &now, sizeof(set))) {
		r = nofi_pm_set_limits(&ns->pm, &set);
		if (r == 0) {
			/* Raised further: what was there before the first time is still the old. */
			if (!ns->has_limits || memcmp(&now, &ns->set, sizeof(now)))
				ns->old = now;
			ns->set = set;
			ns->has_limits = true;
		}
	}
	if (r < 0)
		refused(r, "higher limits", &ns->pm.nl, err);
	pthread_mutex_unlock(&lock);
	return r;
}

static void describe(struct held *h, const struct nofi_pm_path *path, uint32_t ifindex)
{
	memset(&h->ep, 0, sizeof(h->ep));
	h->ep.addr = path->addr;
	h->ep.ifindex = ifindex;
	h->ep.flags = NOFI_PM_F_SUBFLOW | (path->is_backup ? NOFI_PM_F_BACKUP : 0) |
		      (path->is_fullmesh ? NOFI_PM_F_FULLMESH : 0);
}

int nofi_pm_hold(struct nofi_pm_user *u, const struct nofi_pm_path *path, uint32_t ifindex,
		 struct nofi_err *err)
{
	struct nofi_pm_ns *ns = u->ns;
	struct nofi_pm_endpoint now;
	unsigned i, free_place = HELD_MAX;
	struct held *h;
	int r = 0;

	pthread_mutex_lock(&lock);
	for (i = 0; i < HELD_MAX; i++) {
		if (!ns->held[i].users)
			free_place = i;
		else if (nofi_pm_addr_equal(&ns->held[i].ep.addr, &path->addr))
			break;
	}
	if (i == HELD_MAX) {
		i = free_place;
		if (i == HELD_MAX) {
			pthread_mutex_unlock(&lock);
			return nofi_err_set(err, -ENOSPC, "mptcp_paths: more than %d endpoints in "
					    "one process", HELD_MAX);
		}
		h = &ns->held[i];
		memset(h, 0, sizeof(*h));
		describe(h, path, ifindex);
		if (find_endpoint(ns, &path->addr, &now))
			h->ep = now;
		else
			r = add(ns, h);
		if (r == -EEXIST)
			r = 0;		/* somebody was faster */
		if (r < 0) {
			refused(r, "an endpoint", &ns->pm.nl, err);
			memset(h, 0, sizeof(*h));
		}
	}
	if (r == 0 && !(u->held & 1u << i)) {
		ns->held[i].users++;
		u->held |= 1u << i;
	}
	if (r == 0)
		r = !ns->held[i].is_ours;
	pthread_mutex_unlock(&lock);
	return r;
}

int nofi_pm_renew(struct nofi_pm_user *u, const struct nofi_pm_path *path, uint32_t ifindex,
		  struct nofi_err *err)
{
	struct nofi_pm_endpoint now;
	struct held *h;
	unsigned i;
	int r = 0;

	pthread_mutex_lock(&lock);
	h = find_held(u, &path->addr, &i);
	if (h && !h->is_ours && !find_endpoint(u->ns, &path->addr, &now)) {
		describe(h, path, ifindex);
		r = add(u->ns, h);
		if (r == -EEXIST)
			r = 0;		/* it is there after all */
		if (r < 0)
			refused(r, "an endpoint", &u->ns->pm.nl, err);
	}
	if (r == 0)
		r = !h ? -ENOENT : !h->is_ours;
	pthread_mutex_unlock(&lock);
	return r;
}

void nofi_pm_drop(struct nofi_pm_user *u, const struct nofi_pm_addr *addr)
{
	unsigned i;

	pthread_mutex_lock(&lock);
	if (find_held(u, addr, &i)) {
		u->held &= ~(1u << i);
		release(u->ns, i);
	}
	pthread_mutex_unlock(&lock);
}

int nofi_pm_take_out(struct nofi_pm_user *u, const struct nofi_pm_addr *addr)
{
	struct held *h;
	unsigned i;
	int r = -ENOENT;

	pthread_mutex_lock(&lock);
	h = find_held(u, addr, &i);
	if (h && !h->is_ours)
		r = -EPERM;
	else if (h && h->is_out)
		r = 0;
	else if (h && is_last(u->ns, i))
		r = -EBUSY;
	else if (h)
		r = take_out(u->ns, h);
	pthread_mutex_unlock(&lock);
	return r;
}

int nofi_pm_put_back(struct nofi_pm_user *u, const struct nofi_pm_addr *addr,
		     struct nofi_err *err)
{
	struct held *h;
	unsigned i;
	int r = 0;

	pthread_mutex_lock(&lock);
	h = find_held(u, addr, &i);
	if (h && h->is_out) {
		r = add(u->ns, h);
		if (r == -EEXIST) {
			h->is_ours = h->is_out = false;
			r = 0;
		}
		if (r < 0)
			refused(r, "an endpoint", &u->ns->pm.nl, err);
	}
	pthread_mutex_unlock(&lock);
	return r;
}

/* At exit, or when the library is unloaded: those who have not left will not any more. */
__attribute__((destructor)) static void undo_all(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LOCK_AT_EXIT_S;
	if (pthread_mutex_timedlock(&lock, &until))
		return;
	for (struct nofi_pm_ns *ns = table; ns; ns = ns->next) {
		if (ns->pid != getpid())
			continue;
		for (unsigned i = 0; i < HELD_MAX; i++)
			if (ns->held[i].users) {
				ns->held[i].users = 1;
				release(ns, i);
			}
		restore_limits(ns);
	}
	pthread_mutex_unlock(&lock);
}
