/* SPDX-License-Identifier: MIT */
/*
 * Completions over time. A path that is lost shows as a gap that no percentile tells of: the few
 * I/Os in flight are slow, but what hurts is that nothing at all is done meanwhile.
 */
#include <stdlib.h>

#include "perf.h"

unsigned int timeline_points(const struct perf_opts *o)
{
	return o->timeline ? (unsigned int)((o->runtime + o->timeline - 1) / o->timeline) : 0;
}

bool timeline_open(struct queue *q)
{
	const struct perf_opts *o = q->run->o;

	if (!o->timeline)
		return true;
	q->timeline = calloc(timeline_points(o), sizeof(*q->timeline));
	return q->timeline != NULL;
}

uint64_t timeline_at(const struct job *job, unsigned int point)
{
	uint64_t n = 0;
	unsigned int i;

	for (i = 0; i < job->run->queues; i++)
		if (job->queues[i].timeline)
			n += job->queues[i].timeline[point];
	return n;
}

void timeline_close(struct queue *q)
{
	free(q->timeline);
	q->timeline = NULL;
}

const struct queue *timeline_stalled(const struct job *job)
{
	const struct queue *worst = NULL;
	unsigned int i;

	for (i = 0; i < job->run->queues; i++)
		if (job->queues[i].stall > (worst ? worst->stall : 0))
			worst = &job->queues[i];
	return worst;
}
