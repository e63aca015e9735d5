/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several connections as one: what goes over which pair of addresses. Pure. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/internal.h"

uint32_t nofi_permille(uint64_t part, uint64_t whole)
{
	/* Counters of 2^54 bytes and more lose what does not show in a per mille anyway. */
	while (whole >> 54) {
		whole >>= 1;
		part >>= 1;
	}
	return whole ? (uint32_t)((part * 1000 + whole / 2) / whole) : 0;
}

/* "10.0.0.1:4420", "[fe80::1%eth0]:4420" without port; what has none (a sum's) stays. */
static void strip_port(const char *in, char *out, size_t len)
{
	size_t n = strlen(in);

	if (in[0] == '[') {
		in++;
		n = strcspn(in, "]");
	} else if (strchr(in, ':') == strrchr(in, ':')) {
		n = strcspn(in, ":");
	}
	snprintf(out, len, "%.*s", (int)n, in);
}

/* What the means are made of. */
struct part {
	uint64_t rtt, rto;
	uint32_t count;
};

static struct nof_subflow *find(struct nof_transport *sum, uint32_t *used, const char *local,
				const char *peer)
{
	struct nof_subflow *s;

	for (uint32_t i = 0; i < *used; i++)
		if (!strcmp(sum->subflows[i].local, local) && !strcmp(sum->subflows[i].peer, peer))
			return &sum->subflows[i];
	if (*used == NOF_SUBFLOWS_MAX)
		return NULL;
	s = &sum->subflows[(*used)++];
	snprintf(s->local, sizeof(s->local), "%s", local);
	snprintf(s->peer, sizeof(s->peer), "%s", peer);
	s->state = NOF_SUBFLOW_BACKUP;
	return s;
}

/* Of one connection. Those that find no place count as one each. */
static void add_subflows(struct nof_transport *sum, const struct nof_transport *t,
			 struct part parts[NOF_SUBFLOWS_MAX], uint32_t *used)
{
	uint32_t n = t->subflow_count < NOF_SUBFLOWS_MAX ? t->subflow_count : NOF_SUBFLOWS_MAX;

	sum->subflow_count += t->subflow_count - n;
	for (uint32_t i = 0; i < n; i++) {
		const struct nof_subflow *s = &t->subflows[i];
		char local[64], peer[64];
		struct nof_subflow *d;
		struct part *p;

		strip_port(s->local, local, sizeof(local));
		strip_port(s->peer, peer, sizeof(peer));
		d = find(sum, used, local, peer);
		if (!d) {
			sum->subflow_count++;
			continue;
		}
		p = &parts[d - sum->subflows];
		d->bytes_sent += s->bytes_sent;
		d->bytes_received += s->bytes_received;
		d->retransmits += s->retransmits;
		d->cwnd += s->cwnd;
		p->rtt += s->rtt_us;
		p->rto += s->rto_us;
		p->count++;
		/* Stale is what was seen; active is only that nothing else was. */
		if (s->state == NOF_SUBFLOW_STALE)
			d->state = NOF_SUBFLOW_STALE;
		else if (s->state == NOF_SUBFLOW_ACTIVE && d->state == NOF_SUBFLOW_BACKUP)
			d->state = NOF_SUBFLOW_ACTIVE;
	}
}

static void add_connection(struct nof_transport *sum, const struct nof_transport *t)
{
	sum->is_mptcp = sum->is_mptcp && t->is_mptcp;
	if (!sum->reason[0])
		snprintf(sum->reason, sizeof(sum->reason), "%s", t->reason);
	if (!sum->note[0])
		snprintf(sum->note, sizeof(sum->note), "%s", t->note);
	sum->bytes_sent += t->bytes_sent;
	sum->bytes_received += t->bytes_received;
	sum->retransmits += t->retransmits;
	sum->bytes_reinjected += t->bytes_reinjected;
	if (t->subflows_max > sum->subflows_max)
		sum->subflows_max = t->subflows_max;
	sum->connections += t->connections;
	sum->mptcp_connections += t->mptcp_connections;
}

int nof_transport_sum(const struct nof_transport *list, uint32_t count,
		      struct nof_transport *sum)
{
	struct part parts[NOF_SUBFLOWS_MAX] = { 0 };
	struct nof_transport all = { .is_mptcp = count > 0 };
	uint32_t used = 0;
	uint64_t total = 0;
	size_t size;

	if ((count && (!list || list->size < sizeof(list->size))) || !sum ||
	    sum->size < sizeof(sum->size))
		return nofi_fail(-EINVAL, "nof_transport_sum: list and sum must not be NULL, and "
				 "their size must be sizeof(*sum)");
	size = count ? list->size : 0;
	for (uint32_t i = 0; i < count; i++) {
		struct nof_transport t = { 0 };

		memcpy(&t, (const char *)list + i * size, size < sizeof(t) ? size : sizeof(t));
		add_connection(&all, &t);
		add_subflows(&all, &t, parts, &used);
	}
	all.subflow_count += used;
	for (uint32_t i = 0; i < used; i++)
		total += all.subflows[i].bytes_sent + all.subflows[i].bytes_received;
	for (uint32_t i = 0; i < used; i++) {
		struct nof_subflow *s = &all.subflows[i];

		s->rtt_us = (uint32_t)(parts[i].rtt / parts[i].count);
		s->rto_us = (uint32_t)(parts[i].rto / parts[i].count);
		s->share_permille = nofi_permille(s->bytes_sent + s->bytes_received, total);
	}
	all.size = sum->size;
	memcpy(sum, &all, all.size < sizeof(all) ? all.size : sizeof(all));
	return 0;
}
