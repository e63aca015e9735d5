/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who hears of a controller: its user, by events, and the layers above, by watches.
 *
 * Both are queued where something happens and told by ctrl_work(), with nothing of
 * ours on the stack. What waits for the user is bounded: an event replaces a waiting
 * one about the same thing, and when there is no room the oldest that is not a change
 * of state gives way to one that says that some are missing.
 */
#include <stdlib.h>
#include <string.h>

#include "ctrl/internal.h"

struct nofi_note {
	enum nof_event_type type;
	enum nof_ctrl_state state;	/* of CTRL_STATE */
	uint32_t nsid;
	uint32_t aen;			/* DW0 of an asynchronous event, else 0 */
	uint16_t qid;			/* of SUBFLOW, FALLBACK */
	struct nofi_err err;		/* code 0: a sentence all the same */
};

/* ---- events for the user ---- */

int nofi_notify_init(struct nof_ctrl *ctrl)
{
	if (!ctrl->events)
		return 0;
	ctrl->notes = calloc(NOFI_CTRL_NOTES, sizeof(*ctrl->notes));
	return ctrl->notes ? 0 : -1;
}

static void drop_note(struct nof_ctrl *ctrl, uint32_t i)
{
	ctrl->nnotes--;
	memmove(ctrl->notes + i, ctrl->notes + i + 1,
		(ctrl->nnotes - i) * sizeof(ctrl->notes[0]));
}

static bool is_gap(const struct nofi_note *n)
{
	return n->type == NOF_EVENT_NS_CHANGED && !n->nsid;
}

static struct nofi_note *append(struct nof_ctrl *ctrl)
{
	memset(&ctrl->notes[ctrl->nnotes], 0, sizeof(ctrl->notes[0]));
	return &ctrl->notes[ctrl->nnotes++];
}

static void drop_oldest(struct nof_ctrl *ctrl)
{
	for (uint32_t i = 0; i < ctrl->nnotes; i++)
		if (ctrl->notes[i].type != NOF_EVENT_CTRL_STATE && !is_gap(&ctrl->notes[i])) {
			drop_note(ctrl, i);
			return;
		}
	/* All are changes of state: the last ones tell where it ended. */
	drop_note(ctrl, 0);
}

static void make_room(struct nof_ctrl *ctrl)
{
	struct nofi_note *gap;

	if (ctrl->nnotes < NOFI_CTRL_NOTES)
		return;
	drop_oldest(ctrl);
	for (uint32_t i = 0; i < ctrl->nnotes; i++)
		if (is_gap(&ctrl->notes[i]))
			return;
	drop_oldest(ctrl);
	gap = append(ctrl);
	gap->type = NOF_EVENT_NS_CHANGED;
	nofi_err_set(&gap->err, -1, "more happened than events can wait: look at everything again");
	gap->err.code = 0;
}

/* Those of which a later one does not contain the earlier. */
static bool is_told_each(enum nof_event_type type)
{
	return type == NOF_EVENT_CTRL_STATE || type == NOF_EVENT_SUBFLOW ||
	       type == NOF_EVENT_FALLBACK;
}

/* Room for one more, or the one about the same thing that waits. NULL: nobody listens. */
static struct nofi_note *place(struct nof_ctrl *ctrl, enum nof_event_type type, uint32_t nsid,
			       uint32_t aen)
{
	uint32_t i;

	if (!ctrl->events || !ctrl->notes)
		return NULL;
	for (i = 0; i < ctrl->nnotes && !is_told_each(type); i++)
		if (ctrl->notes[i].type == type && ctrl->notes[i].nsid == nsid &&
		    ctrl->notes[i].aen == aen)
			return &ctrl->notes[i];
	make_room(ctrl);
	return append(ctrl);
}

static struct nofi_note *note(struct nof_ctrl *ctrl, enum nof_event_type type, uint32_t nsid,
			      uint32_t aen, int error, const char *fmt, va_list ap)
{
	struct nofi_note *n = place(ctrl, type, nsid, aen);

	if (!n)
		return NULL;
	n->type = type;
	n->nsid = nsid;
	n->aen = aen;
	/* Good news has a sentence as well. */
	nofi_err_vset(&n->err, -1, fmt, ap);
	n->err.code = error;
	nofi_ctrl_schedule(ctrl);
	return n;
}

void nofi_notify(struct nof_ctrl *ctrl, enum nof_event_type type, uint32_t nsid, int error,
		 const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(ctrl, type, nsid, 0, error, fmt, ap);
	va_end(ap);
}

void nofi_notify_queue(struct nof_ctrl *ctrl, enum nof_event_type type, uint16_t qid,
		       const char *fmt, ...)
{
	struct nofi_note *n;
	va_list ap;

	va_start(ap, fmt);
	n = note(ctrl, type, 0, 0, 0, fmt, ap);
	va_end(ap);
	if (n)
		n->qid = qid;
}

void nofi_notify_aen(struct nof_ctrl *ctrl, enum nof_event_type type, uint32_t dw0,
		     const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(ctrl, type, 0, dw0, 0, fmt, ap);
	va_end(ap);
}

void nofi_notify_state(struct nof_ctrl *ctrl, enum nof_ctrl_state state,
		       const struct nofi_err *why)
{
	struct nofi_note *n = place(ctrl, NOF_EVENT_CTRL_STATE, 0, 0);

	if (!n)
		return;
	n->type = NOF_EVENT_CTRL_STATE;
	n->state = state;
	if (why)
		n->err = *why;
	nofi_ctrl_schedule(ctrl);
}

bool nofi_notify_deliver(struct nof_ctrl *ctrl)
{
	struct nofi_note n;
	struct nof_event ev;

	if (!ctrl->nnotes)
		return false;
	n = ctrl->notes[0];
	drop_note(ctrl, 0);
	ev = (struct nof_event){
		.type = n.type,
		.ctrl = ctrl,
		.state = n.type == NOF_EVENT_CTRL_STATE ? n.state : ctrl->state,
		.error = n.err.code,
		.detail = n.err.text,
		.nsid = n.nsid,
		.aen_type = n.aen & 7,
		.aen_info = (uint8_t)(n.aen >> 8),
		.log_page = (uint8_t)(n.aen >> 16),
		.qid = n.qid,
	};
	if (ctrl->events)
		ctrl->events(ctrl->events_arg, &ev);
	return true;
}

/* ---- news for the layers above ---- */

void nofi_ctrl_watch(struct nof_ctrl *ctrl, struct nofi_watch *w)
{
	if (w->is_linked)
		return;
	w->is_linked = true;
	w->next = ctrl->watches;
	ctrl->watches = w;
	if (nofi_ctrl_is_over(ctrl))
		nofi_news(ctrl, NOFI_NEWS_GONE);
}

void nofi_ctrl_unwatch(struct nof_ctrl *ctrl, struct nofi_watch *w)
{
	struct nofi_watch **p;

	if (!w->is_linked)
		return;
	for (p = &ctrl->watches; *p != w; p = &(*p)->next)
		;
	*p = w->next;
	if (ctrl->watch_next == w)
		ctrl->watch_next = w->next;
	w->is_linked = false;
	w->next = NULL;
}

void nofi_news(struct nof_ctrl *ctrl, enum nofi_ctrl_news news)
{
	/* The last one is what counts: who was told nothing of the others lost nothing. */
	if (ctrl->nnews == NOFI_CTRL_NEWS)
		ctrl->nnews--;
	ctrl->news[ctrl->nnews++] = news;
	nofi_ctrl_schedule(ctrl);
}

/* A watch may be taken off, and the controller freed, by the one that is told. */
void nofi_news_tell(struct nof_ctrl *ctrl, enum nofi_ctrl_news news, const struct nofi_err *why)
{
	struct nofi_err err = *why;
	struct nofi_watch *w;

	ctrl->watch_next = ctrl->watches;
	while ((w = ctrl->watch_next)) {
		ctrl->watch_next = w->next;
		if (news == NOFI_NEWS_GONE)
			nofi_ctrl_unwatch(ctrl, w);
		w->fn(w, news, &err);
	}
}

bool nofi_news_deliver(struct nof_ctrl *ctrl)
{
	enum nofi_ctrl_news news;

	if (!ctrl->nnews)
		return false;
	news = ctrl->news[0];
	ctrl->nnews--;
	memmove(ctrl->news, ctrl->news + 1, ctrl->nnews * sizeof(ctrl->news[0]));
	nofi_news_tell(ctrl, news, &ctrl->err);
	return true;
}
