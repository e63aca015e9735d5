/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * News about connections: subflows that came, went or changed their state, fallback to TCP.
 *
 * The kernel tells them to those who may listen (transport_events.c, pathman.c). For all
 * others each keep alive looks: it wakes the loop anyway, so that an idle machine is woken for
 * nothing else. Looked at are the queues on the
 * controller's own loop, and only when somebody wants events.
 */
#include <stdlib.h>
#include <string.h>

#include "ctrl/internal.h"

/* What was seen last of a queue; outlives its connection, so that TCP after MPTCP is news. */
struct nofi_seen {
	struct nofi_seen *next;
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

static struct nofi_seen *seen_of(struct nof_ctrl *ctrl, uint16_t qid)
{
	struct nofi_seen *s;

	for (s = ctrl->seen; s && s->t.qid != qid; s = s->next)
		;
	return s;
}

void nofi_transport_changed(struct nof_ctrl *ctrl)
{
	struct nofi_queue *queues[NOFI_IO_QUEUES_MAX + 1];
	uint32_t tokens[NOFI_IO_QUEUES_MAX + 1], n, known = 0;
	bool is_new = false;

	if (!ctrl->events)
		return;
	n = nofi_ctrl_own_queues(ctrl, queues, NOFI_IO_QUEUES_MAX + 1);
	for (uint32_t i = 0; i < n; i++) {
		struct nof_transport t = { .size = sizeof(t) };
		struct nofi_seen *s;

		if (nofi_transport_fill(ctrl, queues[i], &t) < 0)
			continue;
		s = seen_of(ctrl, t.qid);
		nofi_transport_diff(s ? &s->t : NULL, &t, tell, ctrl);
		if (!s) {
			s = calloc(1, sizeof(*s));
			if (!s)
				continue;	/* told again next time */
			s->next = ctrl->seen;
			ctrl->seen = s;
		}
		is_new |= s->t.token != t.token;
		s->t = t;
		if (t.token)
			tokens[known++] = t.token;
	}
	if (is_new)
		(void)nofi_transport_events_filter(ctrl, tokens, known);
}

void nofi_transport_forget(struct nof_ctrl *ctrl)
{
	struct nofi_seen *s;

	while ((s = ctrl->seen)) {
		ctrl->seen = s->next;
		free(s);
	}
}
