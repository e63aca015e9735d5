/* SPDX-License-Identifier: MIT */
/*
 * One namespace and the queues over it.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "perf.h"

static int fail(struct job *job)
{
	run_error(job->run, &job->run->other_errors, "%s", nof_strerror_detail());
	return -1;
}

/* What the command line asked for and this namespace cannot do. */
int job_check(struct job *job)
{
	const struct perf_opts *o = job->run->o;
	const struct nof_ns_info *ns = &job->ns_info;
	char a[32], b[32];

	job->size = o->size && o->size < ns->bytes ? o->size : ns->bytes;
	if (o->bs_min % ns->block_size) {
		run_error(
			job->run, &job->run->other_errors,
			"--bs=%llu: namespace %u of %s has blocks of %u bytes; the size of an I/O "
			"must be a multiple of that.",
			(unsigned long long)o->bs_min, ns->nsid, job->uri, ns->block_size);
		return TOOL_USAGE;
	}
	if (o->size > ns->bytes) {
		run_error(job->run, &job->run->other_errors,
			  "--size=%s: namespace %u of %s ends at %s; use a smaller --size, "
			  "or none.",
			  tool_format_bytes(a, sizeof(a), (double)o->size), ns->nsid, job->uri,
			  tool_format_bytes(b, sizeof(b), (double)ns->bytes));
		return TOOL_USAGE;
	}
	if (o->writes && (ns->features & NOF_NS_READ_ONLY)) {
		run_error(
			job->run, &job->run->other_errors,
			"namespace %u of %s is write protected; --rw=read and --rw=randread work.",
			ns->nsid, job->uri);
		return -1;
	}
	if (o->writes && ns->zone_size) {
		run_error(job->run, &job->run->other_errors,
			  "namespace %u of %s has zones, which can only be written in order; "
			  "--rw=read and --rw=randread work.",
			  ns->nsid, job->uri);
		return -1;
	}
	return 0;
}

static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

/*
 * The bytes of the namespace that a queue touches. Sequential queues each take a part, and so do
 * verifying ones: what a block must hold is then known to one thread, without locks.
 */
static int place(struct queue *q)
{
	const struct perf_opts *o = q->run->o;
	struct job *job = q->job;
	uint64_t parts = 1, part = 0;
	char buf[32];

	if (!o->random || o->verify) {
		parts = q->run->queues;
		part = q->index;
	}
	q->span = job->size / parts / o->bs_min * o->bs_min;
	q->base = part * q->span;
	q->span_units = q->span / o->bs_min;
	q->units_max = o->bs_max / o->bs_min;
	if (q->span >= o->bs_max)
		return 0;
	run_error(
		q->run, &q->run->other_errors,
		"%s of %s are too small for I/Os of %llu bytes in %llu parts; use fewer queues or "
		"smaller I/Os.",
		tool_format_bytes(buf, sizeof(buf), (double)job->size), job->uri,
		(unsigned long long)o->bs_max, (unsigned long long)parts);
	return -1;
}

static uint64_t share(uint64_t total, const struct queue *q)
{
	unsigned int n = q->run->queues;

	if (total == 0)
		return UINT64_MAX;
	return total / n + (q->index < total % n);
}

static int allocate(struct queue *q)
{
	const struct perf_opts *o = q->run->o;
	uint64_t state = o->seed ^ (uint64_t)q->job->index << 32 ^ (uint64_t)(q->index + 1) << 48;
	unsigned int i;
	size_t n;

	q->rng = splitmix(&state) | 1;
	q->slots = calloc(q->depth, sizeof(*q->slots));
	q->idle = calloc(q->depth, sizeof(*q->idle));
	q->lat[PERF_READ] = malloc(sizeof(struct hist));
	q->lat[PERF_WRITE] = malloc(sizeof(struct hist));
	q->mem_len = (size_t)(q->depth * ((o->bs_max + 4095) & ~4095ull));
	q->mem = mmap(NULL, q->mem_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (o->verify)
		q->verify = verify_new(q->job, q->base, q->span);
	if (q->mem == MAP_FAILED)
		q->mem = NULL;
	if (!timeline_open(q) || !q->slots || !q->idle || !q->lat[PERF_READ] ||
	    !q->lat[PERF_WRITE] || !q->mem || (o->verify && !q->verify)) {
		run_error(
			q->run, &q->run->other_errors,
			"no memory for %u buffers of %llu bytes; use a smaller --iodepth or --bs.",
			q->depth, (unsigned long long)o->bs_max);
		return -1;
	}
	/* Noise that no storage can compress; also takes the page faults now. */
	for (n = 0; n < q->mem_len; n += 8) {
		uint64_t r = splitmix(&state);

		memcpy(q->mem + n, &r, 8);
	}
	hist_init(q->lat[PERF_READ]);
	hist_init(q->lat[PERF_WRITE]);
	for (i = 0; i < q->depth; i++) {
		q->slots[i].q = q;
		q->slots[i].buf = q->mem + i * (q->mem_len / q->depth);
		q->idle[q->depth - 1 - i] = &q->slots[i];
	}
	q->idle_count = q->depth;
	return 0;
}

int queue_open(struct queue *q)
{
	const struct perf_opts *o = q->run->o;

	if (nof_chan_open_sync(q->job->ns, q->worker->loop, &q->chan) < 0)
		return fail(q->job);
	q->depth = nof_chan_get_limit(q->chan);
	if (q->depth > o->iodepth)
		q->depth = o->iodepth;
	q->io_left = share(o->io_limit, q);
	q->bytes_left = share(o->io_size, q);
	q->is_steady = o->random && o->bs_min == o->bs_max && !o->verify && !o->rate;
	/* There one limit is enough: of I/Os, the last of which may pass that of bytes. */
	if (q->is_steady && q->bytes_left != UINT64_MAX) {
		uint64_t ios = (q->bytes_left + o->bs_min - 1) / o->bs_min;

		q->io_left = ios < q->io_left ? ios : q->io_left;
		q->bytes_left = UINT64_MAX;
	}
	q->interval = o->rate ? (double)NSEC_PER_SEC * q->run->queues / (double)o->rate : 0;
	queue_transport(q);
	if (place(q) < 0)
		return -1;
	return allocate(q);
}

void queue_transport(struct queue *q)
{
	struct nof_transport t = { .size = sizeof(t) };

	/* A dead connection tells nothing: what was known before stands. */
	if (q->chan && nof_chan_get_transport(q->chan, &t) == 0)
		q->transport = t;
}

void queue_close(struct queue *q)
{
	nof_chan_close(q->chan);
	q->chan = NULL;
	if (q->mem)
		munmap(q->mem, q->mem_len);
	q->mem = NULL;
	free(q->slots);
	free(q->idle);
	q->slots = NULL;
	q->idle = NULL;
}
