/* SPDX-License-Identifier: MIT */
/*
 * --status-interval: what goes over which path right now. Each worker looks at the connections of
 * its own queues, as their thread; the main thread adds up what it finds, and prints.
 */
#include <stdlib.h>
#include <string.h>

#include "perf.h"

uint64_t live_sample(struct worker *w, uint64_t now)
{
	struct run *run = w->run;
	uint64_t every = run->o->status;
	unsigned int i;

	if (!every)
		return UINT64_MAX;
	if (w->next_sample < run->started || w->next_sample > now + every)
		w->next_sample = run->started + every;
	if (now < w->next_sample)
		return w->next_sample;
	while (w->next_sample <= now)
		w->next_sample += every;
	for (i = 0; i < w->queue_count; i++) {
		struct nof_transport t = { .size = sizeof(t) };

		/* Between two connections there is nothing to see. */
		if (!w->queues[i]->chan || nof_chan_get_transport(w->queues[i]->chan, &t) < 0)
			t.connections = 0;
		pthread_mutex_lock(&run->lock);
		w->queues[i]->live = t;
		pthread_mutex_unlock(&run->lock);
	}
	__atomic_store_n(&w->sampled, now, __ATOMIC_RELEASE);
	return w->next_sample;
}

bool live_is_complete(const struct run *run, uint64_t since)
{
	unsigned int i;

	for (i = 0; i < run->worker_count; i++)
		if (__atomic_load_n(&run->workers[i].sampled, __ATOMIC_ACQUIRE) < since)
			return false;
	return true;
}

static bool add_up(struct run *run, struct nof_transport *sum)
{
	unsigned int i, k, n = 0;
	struct nof_transport *list = calloc((size_t)run->job_count * run->queues, sizeof(*list));
	int ret = -1;

	if (!list)
		return false;
	pthread_mutex_lock(&run->lock);
	for (i = 0; i < run->job_count; i++)
		for (k = 0; k < run->queues; k++)
			if (run->jobs[i].queues[k].live.connections)
				list[n++] = run->jobs[i].queues[k].live;
	pthread_mutex_unlock(&run->lock);
	sum->size = sizeof(*sum);
	if (n)
		ret = nof_transport_sum(list, n, sum);
	free(list);
	return ret == 0;
}

/* Counters of a connection that was made anew start again: nothing negative is shown. */
static double rate(uint64_t now, uint64_t before, double seconds)
{
	return now > before && seconds > 0 ? (double)(now - before) / seconds / 1e6 : 0;
}

static const struct nof_subflow *same(const struct nof_transport *t, const struct nof_subflow *s)
{
	static const struct nof_subflow none;
	uint32_t i;

	for (i = 0; i < t->subflow_count && i < NOF_SUBFLOWS_MAX; i++)
		if (strcmp(t->subflows[i].local, s->local) == 0 &&
		    strcmp(t->subflows[i].peer, s->peer) == 0)
			return &t->subflows[i];
	return &none;
}

void live_print(struct run *run, uint64_t now, FILE *out)
{
	double seconds = (double)(now - (run->live_time ? run->live_time : run->started)) / 1e9;
	struct nof_transport sum;
	uint32_t i;

	if (!add_up(run, &sum))
		return;
	for (i = 0; i < sum.subflow_count && i < NOF_SUBFLOWS_MAX; i++) {
		const struct nof_subflow *s = &sum.subflows[i], *before = same(&run->live, s);

		fprintf(out,
			"  %s -> %s  %-6s out %.1f MB/s, in %.1f MB/s, rtt %u us, %u retransmits\n",
			s->local, s->peer,
			sum.mptcp_connections ? nof_subflow_state_name(s->state) : "TCP",
			rate(s->bytes_sent, before->bytes_sent, seconds),
			rate(s->bytes_received, before->bytes_received, seconds), s->rtt_us,
			s->retransmits);
	}
	run->live = sum;
	run->live_time = now;
}
