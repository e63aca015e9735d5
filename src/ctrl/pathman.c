/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The path manager's states, and what it does to endpoints. See pathman.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "ctrl/pathman.h"

enum {
	BACKOFF_FIRST_MS = 500, BACKOFF_MAX_MS = 10000,
	BACKOFF_FORGET_MS = 30000,	/* so long without trouble, and it begins anew */
	CHECK_FIRST_MS = 500,
	CHECK_MAX_MS = 60000,		/* from here on with a keep alive, without a timer */
	REMAKES = 8, REMADE_MAX_MS = 960000,	/* what is refused so often is asked for rarely */
	LOOK_FIRST_MS = 250, LOOK_LAST_MS = 2000,
	SUBFLOWS_MAX = 8,		/* what kernels take as a limit */
};

static const char *name_of(const struct nofi_pathman_path *p, char *buf, size_t len)
{
	return nofi_pm_addr_format(&p->conf.addr, buf, len);
}

static uint64_t in_ms(const struct nofi_pathman *pm, uint32_t ms)
{
	return nofi_loop_now(pm->ctrl->loop) + ms * NOFI_MS;
}

static void look_again(struct nof_ctrl *ctrl);

/* ---- endpoints ---- */

static void check_soon(struct nofi_pathman *pm, struct nofi_pathman_path *p)
{
	p->check_ms = CHECK_FIRST_MS;
	p->remakes = 0;
	p->due = in_ms(pm, CHECK_FIRST_MS);
}

/* False: it stays as it is, because it is not ours, or the last. */
static bool take_out(struct nofi_pathman *pm, struct nofi_pathman_path *p, const char *why)
{
	char name[64];
	int r;

	if (!p->is_held || p->is_out)
		return p->is_out;
	r = nofi_pm_take_out(&pm->user, &p->conf.addr);
	if (r == 0) {
		p->is_out = pm->is_changed = true;
		p->is_told = false;
		nofi_log(pm->ctrl->loop, NOF_LOG_WARN, "%s: path %s: %s; its traffic goes over "
			 "the others", pm->ctrl->opts.subnqn, name_of(p, name, sizeof(name)), why);
		return true;
	}
	if (!p->is_told)
		nofi_log(pm->ctrl->loop, NOF_LOG_WARN, "%s: path %s: %s, but it stays in use: %s",
			 pm->ctrl->opts.subnqn, name_of(p, name, sizeof(name)), why,
			 r == -EPERM ? "its endpoint was configured by somebody else" :
			 r == -EBUSY ? "it is the last one" : strerror(-r));
	p->is_told = true;
	return false;
}

static void put_back(struct nofi_pathman *pm, struct nofi_pathman_path *p)
{
	struct nofi_err err = { 0 };
	char name[64];

	if (p->is_out && nofi_pm_put_back(&pm->user, &p->conf.addr, &err) < 0) {
		nofi_log(pm->ctrl->loop, NOF_LOG_WARN, "%s: %s", pm->ctrl->opts.subnqn, err.text);
		p->due = in_ms(pm, p->backoff_ms);
		return;
	}
	if (p->is_out)
		nofi_log(pm->ctrl->loop, NOF_LOG_INFO, "%s: path %s is back",
			 pm->ctrl->opts.subnqn, name_of(p, name, sizeof(name)));
	p->is_out = p->is_told = false;
	pm->is_changed = true;
	p->state = NOFI_PATH_UP;
	p->put_back = nofi_loop_now(pm->ctrl->loop);
	check_soon(pm, p);
	look_again(pm->ctrl);
}

static void hold(struct nofi_pathman *pm, struct nofi_pathman_path *p)
{
	struct nofi_err err = { 0 };
	int r = nofi_pm_hold(&pm->user, &p->conf, p->ifindex, &err);

	p->state = NOFI_PATH_UP;
	if (r < 0) {
		nofi_log(pm->ctrl->loop, NOF_LOG_WARN, "%s: %s", pm->ctrl->opts.subnqn, err.text);
		return;
	}
	p->is_held = true;
	p->is_foreign = r == 1;
	check_soon(pm, p);
}

/* ---- what answers mean ---- */

void nofi_pathman_dead(struct nofi_pathman *pm, unsigned index)
{
	struct nofi_pathman_path *p = &pm->path[index];
	uint64_t now = nofi_loop_now(pm->ctrl->loop);

	if (p->state != NOFI_PATH_UP || !take_out(pm, p, "nothing comes back over it while others "
						  "answer"))
		return;
	if (!p->put_back || now - p->put_back > BACKOFF_FORGET_MS * NOFI_MS)
		p->backoff_ms = BACKOFF_FIRST_MS;
	p->state = NOFI_PATH_STALE;
	p->due = in_ms(pm, p->backoff_ms);
}

/*
 * One that was away comes back; one that is UP but without a subflow gets another chance,
 * because the kernel makes subflows from an endpoint once.
 */
void nofi_pathman_alive(struct nofi_pathman *pm, unsigned index)
{
	struct nofi_pathman_path *p = &pm->path[index];

	if (p->state == NOFI_PATH_UP) {
		uint32_t pause = p->check_ms, remakes = p->remakes;

		if (!take_out(pm, p, "it works, but a connection has no subflow from it"))
			return;
		put_back(pm, p);
		p->check_ms = pause;
		p->remakes = remakes + 1;
		return;
	}
	put_back(pm, p);
}

void nofi_pathman_mute(struct nofi_pathman *pm, unsigned index)
{
	struct nofi_pathman_path *p = &pm->path[index];

	if (p->state == NOFI_PATH_UP || !p->has_link)
		return;
	p->due = in_ms(pm, p->backoff_ms);
	p->backoff_ms = p->backoff_ms * 2 < BACKOFF_MAX_MS ? p->backoff_ms * 2 : BACKOFF_MAX_MS;
}

/* ---- which subflows there are ---- */

static struct nofi_pathman_path *path_of(struct nofi_pathman *pm, const struct sockaddr *local)
{
	struct nofi_pm_addr addr;

	if (!nofi_pm_addr_from(local, &addr))
		return NULL;
	for (unsigned i = 0; i < pm->count; i++)
		if (nofi_pm_addr_equal(&pm->path[i].conf.addr, &addr))
			return &pm->path[i];
	return NULL;
}

/* Where paths lead to. Returns those (bit: index) that have a subflow. */
static uint32_t learn(struct nofi_pathman *pm, const struct nofi_sock_info *info)
{
	uint32_t seen = 0;

	for (unsigned i = 0; i < info->subflow_count && i < NOFI_SUBFLOWS_MAX; i++) {
		const struct nofi_subflow_info *s = &info->subflows[i];
		struct nofi_pathman_path *p = path_of(pm, (const struct sockaddr *)&s->local);

		if (!p || s->is_closed)
			continue;
		p->local = s->local;
		p->peer = s->peer;
		p->ask.p.rtt_ns = s->rtt_us * 1000ull;
		p->ask.p.min_rtt_ns = s->min_rtt_us < UINT32_MAX ? s->min_rtt_us * 1000ull : 0;
		seen |= 1u << (p - pm->path);
	}
	return seen;
}

/* A subflow of the other family can only be had where both ends have one socket for both. */
static bool can_join(const struct nofi_pathman_path *p, const struct nofi_sock_info *info)
{
	struct nofi_pm_addr first;

	return nofi_pm_addr_from((const struct sockaddr *)&info->subflows[0].peer, &first) &&
	       first.family == p->conf.addr.family;
}

/* A connection has no subflow from it: where the kernel gave up on that, it does not try again. */
static void make_again(struct nofi_pathman *pm, unsigned index, const struct nofi_sock_info *info)
{
	struct nofi_pathman_path *p = &pm->path[index];
	uint64_t now = nofi_loop_now(pm->ctrl->loop);
	uint32_t max = p->remakes < REMAKES ? CHECK_MAX_MS : REMADE_MAX_MS;

	if (p->state != NOFI_PATH_UP || !p->is_held || p->is_foreign || !can_join(p, info) ||
	    p->ask.is_running || now < p->not_before)
		return;
	p->not_before = in_ms(pm, p->check_ms);
	p->check_ms = p->check_ms * 2 < max ? p->check_ms * 2 : max;
	if (!p->peer.ss_family) {
		nofi_pm_addr_to(&p->conf.addr, &p->local);
		p->peer = info->subflows[0].peer;
	}
	(void)nofi_ask_path(pm, index, false);
}

/* UP for a while: the admin queue stands for what is asked without a message. */
static void check(struct nofi_pathman *pm, unsigned index)
{
	struct nofi_pathman_path *p = &pm->path[index];
	struct nof_ctrl *ctrl = pm->ctrl;
	struct nofi_sock_info info;

	p->due = 0;
	pm->is_changed = true;	/* subflows come some time after their endpoint */
	if (ctrl->state != NOF_CTRL_LIVE || !ctrl->admin || !p->is_held || p->is_foreign ||
	    nofi_queue_get_info(ctrl->admin, &info) < 0 || !info.proto.is_mptcp ||
	    !info.subflow_count || (learn(pm, &info) & 1u << index) || !can_join(p, &info))
		return;
	make_again(pm, index, &info);
	if (p->check_ms < CHECK_MAX_MS)
		p->due = in_ms(pm, p->check_ms);
}

/* ---- links ---- */

static void link_lost(struct nofi_pathman *pm, unsigned index, bool is_gone)
{
	struct nofi_pathman_path *p = &pm->path[index];

	nofi_ask_end(pm, index);
	p->due = 0;
	(void)take_out(pm, p, is_gone ? "the address is gone" : "the link is down");
	if (p->state == NOFI_PATH_UP || p->state == NOFI_PATH_STALE)
		p->state = NOFI_PATH_DOWN;
}

/* A path that knows where it leads to is asked first: the other end may take longer. */
static void link_back(struct nofi_pathman *pm, unsigned index)
{
	struct nofi_pathman_path *p = &pm->path[index];

	p->backoff_ms = BACKOFF_FIRST_MS;
	if (!p->is_held)
		hold(pm, p);
	else if (!p->is_out)
		put_back(pm, p);
	else if (nofi_ask_path(pm, index, false) < 0)
		put_back(pm, p);
}

/* Of an address that is gone when all are taken: they may come and go for years. */
static struct nofi_pathman_path *free_place(struct nofi_pathman *pm)
{
	if (pm->count < NOFI_PM_PATHS_MAX)
		return &pm->path[pm->count++];
	for (unsigned i = 0; i < pm->count; i++) {
		struct nofi_pathman_path *p = &pm->path[i];

		if (nofi_links_find(&pm->links, &p->conf.addr, p->conf.dev))
			continue;
		nofi_ask_end(pm, i);
		if (p->is_held)
			nofi_pm_drop(&pm->user, &p->conf.addr);
		return p;
	}
	return NULL;
}

static void add_found(struct nofi_pathman *pm, const struct nofi_link_addr *a)
{
	struct nofi_pathman_path *p;

	for (unsigned i = 0; i < pm->count; i++)
		if (nofi_pm_addr_equal(&pm->path[i].conf.addr, &a->addr))
			return;
	p = free_place(pm);
	if (!p)
		return;
	memset(p, 0, sizeof(*p));
	for (unsigned k = 0; k < NOFI_ASK_SYNS; k++)
		p->ask.fd[k] = -1;
	p->conf.addr = a->addr;
	strcpy(p->conf.dev, a->dev);
}

static void look_at_links(struct nofi_pathman *pm)
{
	if (nofi_links_read(&pm->links) < 0)
		return;		/* what is not known does not count as lost */
	for (uint32_t i = 0; pm->list.is_auto && i < pm->links.naddrs; i++)
		if (nofi_pm_is_suitable(&pm->links.addrs[i]))
			add_found(pm, &pm->links.addrs[i]);
	for (unsigned i = 0; i < pm->count; i++) {
		struct nofi_pathman_path *p = &pm->path[i];
		const struct nofi_link_addr *a = nofi_links_find(&pm->links, &p->conf.addr,
								 p->conf.dev);
		bool has_link = a && a->is_usable && a->has_carrier;

		if (a)
			p->ifindex = a->ifindex;
		if (has_link == p->has_link)
			continue;
		p->has_link = has_link;
		if (has_link)
			link_back(pm, i);
		else
			link_lost(pm, i, !a);
	}
}

/* ---- where new connections go ---- */

/* The local address that the routes choose for to; false: there is no way. */
static bool source_for(const struct nofi_addr *to, struct sockaddr_storage *out)
{
	socklen_t len = sizeof(*out);
	int fd = socket(to->sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && !connect(fd, (const struct sockaddr *)&to->sa, to->len) &&
		  !getsockname(fd, (struct sockaddr *)out, &len);

	if (fd >= 0)
		close(fd);
	return ok;
}

/*
 * While the way that a connection would take is known not to work, it takes the one of a path
 * that does. Published under the lock: I/O queues are connected on other loops, too.
 */
static void steer(struct nofi_pathman *pm)
{
	struct nof_ctrl *ctrl = pm->ctrl;
	const struct nofi_pathman_path *use = NULL, *p;
	struct sockaddr_storage src;
	struct nofi_addr to = pm->home, from = { 0 };
	bool is_well = true;

	for (unsigned i = 0; i < pm->count; i++)
		is_well &= pm->path[i].state == NOFI_PATH_UP;
	if (!to.len || (is_well && !ctrl->steer_from.len))
		return;
	p = source_for(&to, &src) ? path_of(pm, (struct sockaddr *)&src) : NULL;
	for (unsigned i = 0; i < pm->count && !use; i++)
		if (pm->path[i].state == NOFI_PATH_UP && pm->path[i].has_link &&
		    pm->path[i].peer.ss_family == to.sa.ss_family)
			use = &pm->path[i];
	if ((p && p->state == NOFI_PATH_UP) || !use || use == p)
		use = NULL;
	if (use) {
		from.len = nofi_pm_addr_to(&use->conf.addr, &from.sa);
		to.sa = use->peer;
	}
	pthread_mutex_lock(&ctrl->lock);
	ctrl->steer_from = from;
	ctrl->steer_to = to;
	pthread_mutex_unlock(&ctrl->lock);
}

void nofi_pathman_steer(const struct nof_ctrl *ctrl, struct nofi_queue_opts *o)
{
	if (!ctrl->steer_from.len || ctrl->placement.count || o->sock.src.ss_family ||
	    o->sock.iface[0] || o->addr.sa.ss_family != ctrl->steer_to.sa.ss_family)
		return;
	o->addr = ctrl->steer_to;
	o->sock.src = ctrl->steer_from.sa;
	o->sock.src_len = ctrl->steer_from.len;
}

/* ---- turns ---- */

static void rearm_asks(struct nofi_pathman *pm)
{
	if (!pm->ask_watch.is_armed)
		(void)nofi_loop_watch(pm->ctrl->loop, &pm->ask_watch);
}

/* Everything that is due; then the timer for what will be. */
void nofi_pathman_arm(struct nofi_pathman *pm)
{
	struct nof_loop *loop = pm->ctrl->loop;
	uint64_t now = nofi_loop_now(loop), next;
	bool is_asking = false;

	for (unsigned i = 0; i < pm->count; i++) {
		struct nofi_pathman_path *p = &pm->path[i];

		if (!p->due || p->due > now)
			continue;
		p->due = p->ask.is_running ? in_ms(pm, NOFI_ASK_LIMIT_MS) : 0;
		if (p->ask.is_running)
			continue;
		if (p->state == NOFI_PATH_UP)
			check(pm, i);
		else if (p->has_link && nofi_ask_path(pm, i, false) < 0)
			put_back(pm, p);
	}
	next = nofi_ask_work(pm);
	for (unsigned i = 0; i < pm->count; i++) {
		if (pm->path[i].due && (!next || pm->path[i].due < next))
			next = pm->path[i].due;
		is_asking |= pm->path[i].ask.is_running;
	}
	if (is_asking)
		rearm_asks(pm);
	if (next)
		(void)nofi_timer_arm(loop, &pm->timer, next);
	else
		nofi_timer_disarm(loop, &pm->timer);
	steer(pm);
	if (pm->is_changed)
		nofi_transport_changed(pm->ctrl);
	pm->is_changed = false;
}

static void timer_due(struct nofi_timer *t)
{
	nofi_pathman_arm(nofi_of(t, struct nofi_pathman, timer));
}

static void answer_came(struct nofi_fd_watch *w)
{
	struct nofi_pathman *pm = nofi_of(w, struct nofi_pathman, ask_watch);
	struct epoll_event ev[2 * NOFI_PM_PATHS_MAX];

	/* One-shot events: taken, they make it readable no more. */
	(void)epoll_wait(pm->epoll_fd, ev, 2 * NOFI_PM_PATHS_MAX, 0);
	nofi_pathman_arm(pm);
}

static void links_changed(struct nofi_fd_watch *w)
{
	struct nofi_pathman *pm = nofi_of(w, struct nofi_pathman, link_watch);

	look_at_links(pm);
	(void)nofi_loop_watch(pm->ctrl->loop, w);
	nofi_pathman_arm(pm);
}

/* ---- a quiet queue ---- */

/* On the controller's loop. */
static void ask_all(struct nofi_pathman *pm, const struct nofi_sock_info *info)
{
	uint32_t seen = learn(pm, info);

	if (!(seen & (seen - 1)) || nofi_ask_is_round(pm))
		return;
	for (unsigned i = 0; i < pm->count; i++) {
		struct nofi_pathman_path *p = &pm->path[i];

		if ((seen & 1u << i) && p->state == NOFI_PATH_UP)
			(void)nofi_ask_path(pm, i, true);
	}
	nofi_pathman_arm(pm);
}

/* What a look at an I/O queue has shown. */
static void judge_look(struct nofi_pathman *pm, const struct nofi_sock_info *info)
{
	uint32_t seen = learn(pm, info);

	if (!info->proto.is_mptcp || !info->subflow_count)
		return;
	for (unsigned i = 0; i < pm->count; i++)
		if (!(seen & 1u << i))
			make_again(pm, i, info);
	nofi_pathman_arm(pm);
}

static void admin_quiet(void *arg, const struct nofi_sock_info *info)
{
	struct nof_ctrl *ctrl = arg;

	if (ctrl->pathman)
		ask_all(ctrl->pathman, info);
}

static void judge(struct nof_ctrl *ctrl, const struct nofi_sock_info *info, bool is_look)
{
	if (!ctrl->pathman || ctrl->is_freed)
		return;
	if (is_look)
		judge_look(ctrl->pathman, info);
	else
		ask_all(ctrl->pathman, info);
}

static void quiet_arrived(struct nofi_msg *m)
{
	struct nofi_ioq *ioq = nofi_of(m, struct nofi_ioq, quiet_msg);
	struct nof_ctrl *ctrl = ioq->ctrl;
	struct nofi_sock_info info;
	bool is_look;

	pthread_mutex_lock(&ctrl->lock);
	info = ioq->quiet_info;
	is_look = ioq->is_quiet_look;
	ioq->is_quiet_posted = false;
	pthread_mutex_unlock(&ctrl->lock);
	judge(ctrl, &info, is_look);
	nofi_ioq_put(ioq);
}

/* From the queue's loop to the controller's. */
static void tell(struct nofi_ioq *ioq, const struct nofi_sock_info *info, bool is_look)
{
	struct nof_ctrl *ctrl = ioq->ctrl;

	if (ioq->loop == ctrl->loop) {
		judge(ctrl, info, is_look);
		return;
	}
	pthread_mutex_lock(&ctrl->lock);
	/* Silence is more urgent than a look that has not arrived yet. */
	if (!ioq->is_quiet_posted || !is_look) {
		ioq->quiet_info = *info;
		ioq->is_quiet_look = is_look;
	}
	/* Under the lock: until is_freed is set, the controller's loop is there. */
	if (!ioq->is_quiet_posted && !ctrl->is_freed) {
		ioq->is_quiet_posted = true;
		ioq->refs++;
		nofi_loop_post(ctrl->loop, &ioq->quiet_msg);
	}
	pthread_mutex_unlock(&ctrl->lock);
}

static void ioq_quiet(void *arg, const struct nofi_sock_info *info)
{
	tell(arg, info, false);
}

/* ---- looks at I/O queues: a join may have been refused for one of them only ---- */

static void look_due(struct nofi_timer *t)
{
	struct nofi_ioq *ioq = nofi_of(t, struct nofi_ioq, look);
	struct nofi_sock_info info;

	if (!ioq->q || !nofi_queue_is_ready(ioq->q))
		return;
	ioq->look_ms *= 2;
	if (ioq->look_ms <= LOOK_LAST_MS)
		(void)nofi_timer_arm(ioq->loop, t,
				     nofi_loop_now(ioq->loop) + ioq->look_ms * NOFI_MS);
	if (nofi_queue_get_info(ioq->q, &info) == 0)
		tell(ioq, &info, true);
}

/* A few, then none until a path comes back: an idle queue has no timer. */
static void begin_looks(struct nofi_ioq *ioq)
{
	ioq->look_ms = LOOK_FIRST_MS;
	(void)nofi_timer_arm(ioq->loop, &ioq->look,
			     nofi_loop_now(ioq->loop) + LOOK_FIRST_MS * NOFI_MS);
}

static void look_arrived(struct nofi_msg *m)
{
	struct nofi_ioq *ioq = nofi_of(m, struct nofi_ioq, look_msg);

	pthread_mutex_lock(&ioq->ctrl->lock);
	ioq->is_look_posted = false;
	pthread_mutex_unlock(&ioq->ctrl->lock);
	if (ioq->q && nofi_queue_is_ready(ioq->q))
		begin_looks(ioq);
	nofi_ioq_put(ioq);
}

static void look_again(struct nof_ctrl *ctrl)
{
	struct nofi_ioq *ioq;

	pthread_mutex_lock(&ctrl->lock);
	for (ioq = ctrl->ioqs; ioq; ioq = ioq->next) {
		if (ioq->is_leaving || ioq->generation != ctrl->generation || !ioq->look.fn)
			continue;
		if (ioq->loop == ctrl->loop) {
			begin_looks(ioq);
		} else if (!ioq->is_look_posted) {
			ioq->is_look_posted = true;
			ioq->refs++;
			nofi_loop_post(ioq->loop, &ioq->look_msg);
		}
	}
	pthread_mutex_unlock(&ctrl->lock);
}

void nofi_pathman_ioq_ready(struct nofi_ioq *ioq)
{
	const struct nof_ctrl *ctrl = ioq->ctrl;

	/* Where nobody would do anything about it, silence is not watched. */
	if (!ctrl->opts.mptcp_paths[0] || ctrl->opts.mptcp == NOF_MPTCP_OFF || ctrl->paths_note[0])
		return;
	ioq->quiet_msg.fn = quiet_arrived;
	ioq->look_msg.fn = look_arrived;
	nofi_queue_set_quiet(ioq->q, ioq_quiet);
	/* Under the lock: from here on look_again() includes it. */
	pthread_mutex_lock(&ioq->ctrl->lock);
	ioq->look.fn = look_due;
	pthread_mutex_unlock(&ioq->ctrl->lock);
	begin_looks(ioq);
}

void nofi_pathman_live(struct nof_ctrl *ctrl)
{
	struct nofi_pathman *pm = ctrl->pathman;
	struct nofi_sock_info info;

	if (!pm)
		return;
	nofi_queue_set_quiet(ctrl->admin, admin_quiet);
	if (nofi_queue_get_info(ctrl->admin, &info) == 0)
		learn(pm, &info);
	for (unsigned i = 0; i < pm->count; i++)
		if (pm->path[i].state == NOFI_PATH_UP && pm->path[i].is_held)
			check_soon(pm, &pm->path[i]);
	if (!ctrl->steer_from.len)
		pm->home = ctrl->peer;
	nofi_pathman_arm(pm);
}

/* ---- limits, and what others do ---- */

static void raise_limits(struct nofi_pathman *pm, struct nofi_err *err)
{
	unsigned n = pm->count > 2 ? pm->count : 2;
	struct nofi_pm_limits want = {
		/* From an address of ours, and to one that the target tells of. */
		.subflows = 2 * n < SUBFLOWS_MAX ? 2 * n : SUBFLOWS_MAX,
		.add_addr_accepted = n < SUBFLOWS_MAX ? n : SUBFLOWS_MAX,
	};

	(void)nofi_pm_raise(&pm->user, &want, err);
}

/* Another program's endpoint, and the limits that it raised, go with it when it ends. */
static bool renew(struct nofi_pathman *pm, struct nofi_pathman_path *p)
{
	struct nofi_err err = { 0 };
	char name[64];

	if (nofi_pm_renew(&pm->user, &p->conf, p->ifindex, &err) != 0)
		return false;
	p->is_foreign = p->is_told = false;
	nofi_log(pm->ctrl->loop, NOF_LOG_INFO, "%s: path %s: its endpoint was somebody else's and "
		 "went with them; it is kept from here now", pm->ctrl->opts.subnqn,
		 name_of(p, name, sizeof(name)));
	check_soon(pm, p);
	return true;
}

void nofi_pathman_beat(struct nof_ctrl *ctrl)
{
	struct nofi_pathman *pm = ctrl->pathman;
	struct nofi_err err = { 0 };
	bool is_ours = false;
	uint64_t now;

	if (!pm)
		return;
	now = nofi_loop_now(ctrl->loop);
	for (unsigned i = 0; i < pm->count; i++) {
		struct nofi_pathman_path *p = &pm->path[i];

		if (p->is_held && p->is_foreign && p->has_link)
			is_ours |= renew(pm, p);
		else if (p->state == NOFI_PATH_UP && p->is_held && p->check_ms >= CHECK_MAX_MS &&
			 !p->due && now >= p->not_before)
			p->due = now;
	}
	if (is_ours) {
		raise_limits(pm, &err);
		look_again(ctrl);
	}
	nofi_pathman_arm(pm);
}

/* ---- life ---- */

static int start(struct nofi_pathman *pm, struct nofi_err *err)
{
	int r = nofi_pm_join(&pm->user, err);

	if (r < 0)
		return r;
	r = nofi_pm_check(&pm->user, err);
	if (r < 0)
		return r;
	r = nofi_links_open(&pm->links, err);
	if (r < 0)
		return r;
	pm->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (pm->epoll_fd < 0)
		return nofi_err_set(err, -errno, "epoll_create: %s", strerror(errno));
	pm->link_watch.fd = pm->links.events.fd;
	pm->link_watch.fn = links_changed;
	pm->ask_watch.fd = pm->epoll_fd;
	pm->ask_watch.fn = answer_came;
	pm->timer.fn = timer_due;
	return nofi_loop_watch(pm->ctrl->loop, &pm->link_watch);
}

void nofi_pathman_stop(struct nof_ctrl *ctrl)
{
	struct nofi_pathman *pm = ctrl->pathman;

	if (!pm)
		return;
	ctrl->pathman = NULL;
	nofi_timer_disarm(ctrl->loop, &pm->timer);
	if (pm->link_watch.fn)
		nofi_loop_unwatch(ctrl->loop, &pm->link_watch);
	if (pm->ask_watch.fn)
		nofi_loop_unwatch(ctrl->loop, &pm->ask_watch);
	for (unsigned i = 0; i < pm->count; i++)
		nofi_ask_end(pm, i);
	nofi_pm_leave(&pm->user);
	nofi_links_close(&pm->links);
	if (pm->epoll_fd >= 0)
		close(pm->epoll_fd);
	free(pm);
}

/* For the log, and for whoever looks at a connection. */
static void complain(struct nof_ctrl *ctrl, const char *text)
{
	nofi_log(ctrl->loop, NOF_LOG_WARN, "%s: %s", ctrl->opts.subnqn, text);
	snprintf(ctrl->paths_note, sizeof(ctrl->paths_note), "%.199s", text);
}

/* Paths are an optimisation: without them the controller is connected all the same. */
void nofi_pathman_start(struct nof_ctrl *ctrl)
{
	struct nofi_err err = { 0 };
	struct nofi_pathman *pm;

	if (!ctrl->opts.mptcp_paths[0] || ctrl->opts.mptcp == NOF_MPTCP_OFF || ctrl->pathman)
		return;
	pm = calloc(1, sizeof(*pm));
	if (!pm)
		return;
	ctrl->pathman = pm;
	pm->ctrl = ctrl;
	pm->epoll_fd = pm->links.events.fd = pm->links.ask.fd = -1;
	(void)nofi_pm_parse(ctrl->opts.mptcp_paths, &pm->list, NULL);
	if (start(pm, &err) < 0) {
		complain(ctrl, err.text);
		nofi_pathman_stop(ctrl);
		return;
	}
	if (nofi_pm_is_userspace())
		complain(ctrl, "mptcp_paths has no effect: connections of this network namespace "
			 "are left to a daemon (mptcpd); `sysctl net.mptcp.pm_type=0` changes it");
	for (unsigned i = 0; i < pm->list.count; i++) {
		struct nofi_pathman_path *p = &pm->path[pm->count++];

		p->conf = pm->list.path[i];
		for (unsigned k = 0; k < NOFI_ASK_SYNS; k++)
			p->ask.fd[k] = -1;
	}
	look_at_links(pm);
	raise_limits(pm, &err);
	if (err.code)
		nofi_log(ctrl->loop, NOF_LOG_WARN, "%s: %s", ctrl->opts.subnqn, err.text);
	for (unsigned i = 0; i < pm->count; i++) {
		char name[64];

		if (!pm->path[i].ifindex)
			nofi_log(ctrl->loop, NOF_LOG_WARN, "%s: mptcp_paths: no interface has the "
				 "address %s now; it is used when one has", ctrl->opts.subnqn,
				 name_of(&pm->path[i], name, sizeof(name)));
	}
	nofi_pathman_arm(pm);
}
