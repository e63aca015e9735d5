/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The connections of a controller as the user sees them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/internal.h"

static enum nof_subflow_state state_of(const struct nofi_sock_info *si, unsigned i)
{
	if (nofi_subflow_is_stale(si, i))
		return NOF_SUBFLOW_STALE;
	return si->subflow_count > 1 && si->subflows[i].is_backup ? NOF_SUBFLOW_BACKUP :
								    NOF_SUBFLOW_ACTIVE;
}

static void fill_subflow(struct nof_subflow *d, const struct nofi_sock_info *si, unsigned i,
			 uint64_t total)
{
	const struct nofi_subflow_info *s = &si->subflows[i];

	nofi_sockaddr_format((const struct sockaddr *)&s->local, d->local, sizeof(d->local));
	nofi_sockaddr_format((const struct sockaddr *)&s->peer, d->peer, sizeof(d->peer));
	d->bytes_sent = s->bytes_sent;
	d->bytes_received = s->bytes_received;
	d->retransmits = s->retransmits;
	d->rtt_us = s->rtt_us;
	d->rto_us = s->rto_us;
	d->cwnd = s->cwnd;
	d->id = s->id;
	d->state = state_of(si, i);
	d->share_permille = nofi_permille(s->bytes_sent + s->bytes_received, total);
}

void nofi_transport_from(const struct nofi_sock_info *si, uint16_t qid, struct nof_transport *t)
{
	unsigned n = si->subflow_count < NOF_SUBFLOWS_MAX ? si->subflow_count : NOF_SUBFLOWS_MAX;
	uint64_t total = 0;

	memset(t, 0, sizeof(*t));
	t->size = sizeof(*t);
	t->qid = qid;
	t->is_mptcp = si->proto.is_mptcp;
	snprintf(t->reason, sizeof(t->reason), "%s", si->proto.reason);
	snprintf(t->note, sizeof(t->note), "%s", si->proto.note);
	t->bytes_sent = si->bytes_sent;
	t->bytes_received = si->bytes_received;
	t->retransmits = si->retransmits;
	t->bytes_reinjected = si->bytes_reinjected;
	t->token = si->token;
	t->subflows_max = si->subflows_max;
	t->subflow_count = si->subflow_count;
	t->connections = 1;
	t->mptcp_connections = si->proto.is_mptcp;
	for (unsigned i = 0; i < n; i++)
		total += si->subflows[i].bytes_sent + si->subflows[i].bytes_received;
	for (unsigned i = 0; i < n; i++)
		fill_subflow(&t->subflows[i], si, i, total);
}
_Static_assert(NOF_SUBFLOWS_MAX <= NOFI_SUBFLOWS_MAX, "all are known");

int nofi_transport_fill(const struct nof_ctrl *ctrl, const struct nofi_queue *q,
			struct nof_transport *out)
{
	struct nof_transport t;
	struct nofi_sock_info si;
	int r = nofi_queue_get_info(q, &si);

	if (r < 0)
		return r;
	nofi_queue_find_backups(q, &si);
	nofi_transport_from(&si, nofi_queue_qid(q), &t);
	if (!t.note[0])
		snprintf(t.note, sizeof(t.note), "%s", ctrl->paths_note);
	t.size = out->size;
	memcpy(out, &t, t.size < sizeof(t) ? t.size : sizeof(t));
	return 0;
}

int nof_ctrl_get_transport(const struct nof_ctrl *ctrl, struct nof_transport *t)
{
	int r;

	if (!ctrl || !t || t->size < sizeof(t->size))
		return nofi_fail(-EINVAL,
				 "nof_ctrl_get_transport: ctrl and t must not be NULL, and "
				 "t->size must be sizeof(*t)");
	r = ctrl->admin ? nofi_transport_fill(ctrl, ctrl->admin, t) : -ENOTCONN;
	return r < 0 ? nofi_fail(r, "nof_ctrl_get_transport: the admin queue is not connected") : 0;
}

/* ---- all of them ---- */

static int by_qid(const void *a, const void *b)
{
	const struct nofi_queue *const *x = a, *const *y = b;

	return (int)nofi_queue_qid(*x) - (int)nofi_queue_qid(*y);
}

uint32_t nofi_ctrl_own_queues(const struct nof_ctrl *ctrl, struct nofi_queue *list[],
			      uint32_t max)
{
	pthread_mutex_t *lock = (pthread_mutex_t *)&ctrl->lock;
	const struct nofi_ioq *ioq;
	uint32_t n = 0;

	if (ctrl->admin && nofi_queue_is_ready(ctrl->admin) && n < max)
		list[n++] = ctrl->admin;
	pthread_mutex_lock(lock);
	for (ioq = ctrl->ioqs; ioq && n < max; ioq = ioq->next)
		if (ioq->loop == ctrl->loop && ioq->q && nofi_queue_is_ready(ioq->q))
			list[n++] = ioq->q;
	pthread_mutex_unlock(lock);
	qsort(list, n, sizeof(list[0]), by_qid);
	return n;
}

int nof_ctrl_get_transports(const struct nof_ctrl *ctrl, struct nof_transport *list,
			    uint32_t max)
{
	struct nofi_queue *queues[NOFI_IO_QUEUES_MAX + 1];
	uint32_t n, filled = 0, down = 0;
	size_t size;

	if (!ctrl || (max && (!list || list->size < sizeof(list->size))))
		return nofi_fail(-EINVAL, "nof_ctrl_get_transports: ctrl and list must not be "
				 "NULL, and list[0].size must be sizeof(*list)");
	n = nofi_ctrl_own_queues(ctrl, queues, NOFI_IO_QUEUES_MAX + 1);
	size = max ? list->size : 0;
	for (uint32_t i = 0; i < n && filled < max; i++) {
		/* As far apart as the caller's structures are: of another version, perhaps. */
		struct nof_transport *t = (void *)((char *)list + filled * size);

		t->size = size;
		if (nofi_transport_fill(ctrl, queues[i], t) == 0)
			filled++;
		else
			down++;
	}
	return (int)(n - down);
}

const char *nof_subflow_state_name(enum nof_subflow_state state)
{
	static const char *const names[] = {
		[NOF_SUBFLOW_ACTIVE] = "active",
		[NOF_SUBFLOW_BACKUP] = "backup",
		[NOF_SUBFLOW_STALE] = "stale",
	};

	return (unsigned)state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}
