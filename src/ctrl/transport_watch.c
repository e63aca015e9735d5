/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * News about connections: subflows that came, went or changed their state, fallback to TCP.
 *
 * The kernel tells them to those who may listen (transport_events.c, pathman.c). For all
 * others each keep alive looks: it wakes the loop anyway, so that an idle machine is woken for
 * nothing else. Looked at are the queues on the controller's own loop; what has changed is told
 * when somebody wants events.
 */
#include <stdlib.h>
#include <string.h>

#include "ctrl/internal.h"

/*
 * Connections that one keep alive looks at. A controller of more has each looked at in one of
 * several: what an idle machine does for a thousand queues stays as little as for a few.
 */
enum { BEAT_MAX = 64 };

/* What was seen last of a queue; outlives its connection, so that TCP after MPTCP is news. */
struct nofi_seen {
	bool is_known;			/* t means something */
	struct nof_transport t;
};

static const struct nof_subflow *find(const struct nof_transport *t, const struct nof_subflow *s)
{
	for (uint32_t i = 0; i < t->subflow_count && i < NOF_SUBFLOWS_MAX; i++)
		if (!strcmp(t->subflows[i].local, s->local) &&
		    !strcmp(t->subflows[i].peer, s->peer))
			return &t->subflows[i];
	return NULL;
}

/* More than are described: those that are not may be any, so none has gone. */
static bool is_complete(const struct nof_transport *t)
{
	return t->subflow_count <= NOF_SUBFLOWS_MAX;
}

void nofi_transport_diff(const struct nof_transport *old, const struct nof_transport *now,
			 nofi_transport_news_fn *fn, void *arg)
{
	struct nof_transport first;

	if (!now->is_mptcp) {
		if (old && old->is_mptcp)
			fn(arg, now, NOFI_NEWS_FALLBACK, NULL);
		return;
	}
	/* A new connection begins with one subflow; the others came. */
	if (!old || !old->is_mptcp || old->token != now->token) {
		first = *now;
		if (first.subflow_count)
			first.subflow_count = 1;
		first.subflows[0].state = NOF_SUBFLOW_ACTIVE;
		old = &first;
	}
	for (uint32_t i = 0; i < now->subflow_count && i < NOF_SUBFLOWS_MAX; i++) {
		const struct nof_subflow *s = &now->subflows[i], *was = find(old, s);

		if (!was && is_complete(old))
			fn(arg, now, NOFI_NEWS_CAME, s);
		else if (was && was->state != s->state)
			fn(arg, now, NOFI_NEWS_STATE, s);
	}
	for (uint32_t i = 0; i < old->subflow_count && i < NOF_SUBFLOWS_MAX; i++)
		if (is_complete(now) && !find(now, &old->subflows[i]))
			fn(arg, now, NOFI_NEWS_WENT, &old->subflows[i]);
}

static void tell(void *arg, const struct nof_transport *t, enum nofi_transport_news news,
		 const struct nof_subflow *s)
{
	struct nof_ctrl *ctrl = arg;
	const char *state = s ? nof_subflow_state_name(s->state) : "";

	switch (news) {
	case NOFI_NEWS_FALLBACK:
		nofi_notify_queue(ctrl, NOF_EVENT_FALLBACK, t->qid,
				  "queue %u was MPTCP and is plain TCP now: %s", t->qid, t->reason);
		return;
	case NOFI_NEWS_CAME:
		nofi_notify_queue(ctrl, NOF_EVENT_SUBFLOW, t->qid,
				  "queue %u: subflow %s -> %s came, it is %s; there are %u", t->qid,
				  s->local, s->peer, state, t->subflow_count);
		return;
	case NOFI_NEWS_WENT:
		nofi_notify_queue(ctrl, NOF_EVENT_SUBFLOW, t->qid,
				  "queue %u: subflow %s -> %s went, %u left", t->qid, s->local,
				  s->peer, t->subflow_count);
		return;
	case NOFI_NEWS_STATE:
		nofi_notify_queue(ctrl, NOF_EVENT_SUBFLOW, t->qid,
				  "queue %u: subflow %s -> %s is %s now", t->qid, s->local, s->peer,
				  state);
		return;
	}
}

/* NULL: no memory, it is told again next time. */
static struct nofi_seen *seen_of(struct nof_ctrl *ctrl, uint16_t qid)
{
	if (qid >= ctrl->nseen) {
		uint32_t n = ctrl->nr_io_queues >= qid ? ctrl->nr_io_queues + 1 : qid + 1u;
		struct nofi_seen **seen = realloc(ctrl->seen, n * sizeof(*seen));

		if (!seen)
			return NULL;
		memset(seen + ctrl->nseen, 0, (n - ctrl->nseen) * sizeof(*seen));
		ctrl->seen = seen;
		ctrl->nseen = n;
	}
	if (!ctrl->seen[qid])
		ctrl->seen[qid] = calloc(1, sizeof(*ctrl->seen[qid]));
	return ctrl->seen[qid];
}

/* True: it is another connection than it was. */
static bool look_at(struct nof_ctrl *ctrl, const struct nofi_queue *q)
{
	struct nof_transport t = { .size = sizeof(t) };
	struct nofi_seen *s;
	bool is_new;

	if (nofi_transport_fill(ctrl, q, &t) < 0)
		return false;
	s = seen_of(ctrl, t.qid);
	nofi_transport_diff(s && s->is_known ? &s->t : NULL, &t, tell, ctrl);
	if (!s)
		return false;
	is_new = s->t.token != t.token;
	s->t = t;
	s->is_known = true;
	return is_new;
}

static void filter(struct nof_ctrl *ctrl)
{
	uint32_t tokens[NOFI_IO_QUEUES_MAX + 1], n = 0;

	for (uint32_t i = 0; i < ctrl->nseen && n < NOFI_IO_QUEUES_MAX + 1; i++)
		if (ctrl->seen[i] && ctrl->seen[i]->t.token)
			tokens[n++] = ctrl->seen[i]->t.token;
	(void)nofi_transport_events_filter(ctrl, tokens, n);
}

void nofi_transport_changed(struct nof_ctrl *ctrl)
{
	struct nofi_queue *queues[NOFI_IO_QUEUES_MAX + 1];
	bool is_new = false;
	uint32_t n;

	if (!ctrl->events)
		return;
	n = nofi_ctrl_own_queues(ctrl, queues, NOFI_IO_QUEUES_MAX + 1);
	for (uint32_t i = 0; i < n; i++)
		is_new |= look_at(ctrl, queues[i]);
	if (is_new)
		filter(ctrl);
}

void nofi_transport_came(struct nof_ctrl *ctrl, const struct nofi_queue *q)
{
	if (ctrl->events && look_at(ctrl, q))
		filter(ctrl);
}

void nofi_transport_beat(struct nof_ctrl *ctrl)
{
	struct nofi_queue *queues[NOFI_IO_QUEUES_MAX + 1];
	uint32_t n = nofi_ctrl_own_queues(ctrl, queues, NOFI_IO_QUEUES_MAX + 1);
	bool is_new = false;

	for (uint32_t i = 0; i < n && i < BEAT_MAX; i++) {
		const uint32_t k = (ctrl->beat_next + i) % n;

		nofi_queue_recheck(queues[k]);
		if (ctrl->events)
			is_new |= look_at(ctrl, queues[k]);
	}
	ctrl->beat_next = n ? (ctrl->beat_next + BEAT_MAX) % n : 0;
	if (is_new)
		filter(ctrl);
}

void nofi_transport_forget(struct nof_ctrl *ctrl)
{
	for (uint32_t i = 0; i < ctrl->nseen; i++)
		free(ctrl->seen[i]);
	free(ctrl->seen);
	ctrl->seen = NULL;
	ctrl->nseen = 0;
}
