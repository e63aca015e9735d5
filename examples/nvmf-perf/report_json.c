/* SPDX-License-Identifier: MIT */
/*
 * Results for programs: names and units of fio's JSON where fio has them.
 */
#include <stdlib.h>

#include "../common/json.h"
#include "perf.h"

static void put_latency(struct json *j, const struct hist *h, bool with_bins)
{
	static const double percent[] = { 1,  5,  10, 20, 30,	40,   50,    60,   70,
					  80, 90, 95, 99, 99.5, 99.9, 99.95, 99.99 };
	char key[32];
	unsigned int i;

	json_object(j, "clat_ns");
	json_u64(j, "min", h->ios ? h->min : 0);
	json_u64(j, "max", h->max);
	json_double(j, "mean", hist_mean(h));
	json_double(j, "stddev", hist_stddev(h));
	json_u64(j, "N", h->ios);
	json_object(j, "percentile");
	for (i = 0; h->ios && i < sizeof(percent) / sizeof(percent[0]); i++) {
		snprintf(key, sizeof(key), "%f", percent[i]);
		json_u64(j, key, hist_percentile(h, percent[i]));
	}
	json_object_end(j);
	if (with_bins) {
		json_object(j, "bins");
		for (i = 0; i < HIST_BUCKETS; i++) {
			if (!h->bucket[i])
				continue;
			snprintf(key, sizeof(key), "%llu",
				 (unsigned long long)hist_bucket_start(i));
			json_u64(j, key, h->bucket[i]);
		}
		json_object_end(j);
	}
	json_object_end(j);
}

static void put_direction(struct json *j, const char *key, const struct hist *h, double seconds,
			  bool with_bins)
{
	json_object(j, key);
	json_u64(j, "io_bytes", h->bytes);
	json_u64(j, "bw_bytes", seconds > 0 ? (uint64_t)((double)h->bytes / seconds) : 0);
	json_double(j, "iops", seconds > 0 ? (double)h->ios / seconds : 0);
	json_u64(j, "runtime", h->ios ? (uint64_t)(seconds * 1000) : 0);
	json_u64(j, "total_ios", h->ios);
	put_latency(j, h, with_bins);
	json_object_end(j);
}

static void put_path(struct json *j, const struct path *path)
{
	json_object(j, NULL);
	json_string(j, "uri", path->uri);
	json_u64(j, "cntlid", path->info.cntlid);
	json_string(j, "state", nof_path_state_name(path->io.state));
	json_string(j, "ana_state", nof_ana_state_name(path->io.ana));
	json_u64(j, "ana_group", path->io.ana_group);
	json_u64(j, "commands", path->io.commands);
	json_u64(j, "bytes", path->io.bytes);
	json_u64(j, "errors", path->io.errors);
	json_u64(j, "retries", path->io.retries);
	json_u64(j, "failovers", path->io.failovers);
	json_u64(j, "hedges", path->io.hedges);
	json_u64(j, "hedge_wins", path->io.hedge_wins);
	json_u64(j, "latency_us", path->io.avg_latency_us);
	json_u64(j, "resets", path->stats.resets);
	json_u64(j, "reconnect_attempts", path->stats.reconnect_attempts);
	json_u64(j, "reconnects", path->stats.reconnects);
	json_u64(j, "timeouts", path->stats.timeouts);
	json_u64(j, "aborts", path->stats.aborts);
	json_object_end(j);
}

static void put_paths(struct json *j, const struct job *job)
{
	const struct run *run = job->run;
	uint64_t reconnects = 0, retries = 0;
	unsigned int i;

	json_array(j, "paths");
	for (i = 0; i < run->path_count; i++) {
		if (run->paths[i].job != job)
			continue;
		put_path(j, &run->paths[i]);
		reconnects += run->paths[i].stats.reconnects;
		retries += run->paths[i].io.retries;
	}
	json_array_end(j);
	json_u64(j, "reconnects", reconnects);
	json_u64(j, "retries", retries);
}

static void put_stall(struct json *j, const struct run *run, const struct job *job)
{
	const struct queue *q = timeline_stalled(job);
	unsigned int i;

	json_u64(j, "stall_ns", q ? q->stall : 0);
	if (q && q->stall_at > run->measured)
		json_double(j, "stall_at", (double)(q->stall_at - run->measured) / 1e9);
	if (!run->o->timeline)
		return;
	json_object(j, "timeline");
	json_double(j, "interval", (double)run->o->timeline / 1e9);
	json_array(j, "ios");
	for (i = 0; i < timeline_points(run->o); i++)
		json_u64(j, NULL, timeline_at(job, i));
	json_array_end(j);
	json_object_end(j);
}

static void put_job(struct json *j, const struct run *run, const struct job *job)
{
	static struct job_result r;
	const struct perf_opts *o = run->o;
	double seconds = run_seconds(run);
	uint64_t submitted = 0, completed = 0;
	unsigned int i, depth = o->iodepth;

	job_result_get(job, &r);
	for (i = 0; i < run->queues; i++) {
		submitted += job->queues[i].submitted;
		completed += job->queues[i].completed;
		if (job->queues[i].depth < depth)
			depth = job->queues[i].depth;
	}
	json_object(j, NULL);
	json_string(j, "jobname", job->uri);
	json_u64(j, "nsid", job->ns_info.nsid);
	json_string(j, "subnqn", job->ctrl_info.subnqn);
	json_u64(j, "size", job->ns_info.bytes);
	json_u64(j, "block_size", job->ns_info.block_size);
	json_u64(j, "iodepth", depth);
	json_u64(j, "nr_io_queues", job->ctrl_info.nr_io_queues);
	json_bool(j, "hdr_digest", job->ctrl_info.has_hdr_digest);
	json_bool(j, "data_digest", job->ctrl_info.has_data_digest);
	put_direction(j, "read", &r.lat[PERF_READ], r.seconds, o->hist);
	put_direction(j, "write", &r.lat[PERF_WRITE], r.seconds, o->hist);
	json_u64(j, "job_runtime", (uint64_t)(r.seconds * 1000));
	put_stall(j, run, job);
	/* Of the process: threads and the kernel's share serve all jobs. */
	json_double(j, "usr_cpu", seconds > 0 ? 100 * run->cpu_user / seconds : 0);
	json_double(j, "sys_cpu", seconds > 0 ? 100 * run->cpu_sys / seconds : 0);
	json_u64(j, "submitted", submitted);
	json_u64(j, "completed", completed);
	put_paths(j, job);
	json_object_end(j);
}

/* Members of a connection, or of a sum: an object must be open. */
static void put_connection(struct json *j, const struct nof_transport *t)
{
	unsigned int i;

	json_bool(j, "is_mptcp", t->is_mptcp);
	json_string(j, "protocol", t->is_mptcp ? "mptcp" : "tcp");
	json_string(j, "reason", t->reason);
	json_string(j, "note", t->note);
	json_u64(j, "bytes_sent", t->bytes_sent);
	json_u64(j, "bytes_received", t->bytes_received);
	json_u64(j, "bytes_reinjected", t->bytes_reinjected);
	json_u64(j, "retransmits", t->retransmits);
	json_u64(j, "subflows_max", t->subflows_max);
	json_u64(j, "subflow_count", t->subflow_count);
	json_array(j, "subflows");
	for (i = 0; i < t->subflow_count && i < NOF_SUBFLOWS_MAX; i++) {
		const struct nof_subflow *s = &t->subflows[i];

		json_object(j, NULL);
		json_string(j, "local", s->local);
		json_string(j, "peer", s->peer);
		json_string(j, "state", nof_subflow_state_name(s->state));
		json_u64(j, "id", s->id);
		json_u64(j, "bytes_sent", s->bytes_sent);
		json_u64(j, "bytes_received", s->bytes_received);
		json_u64(j, "share_permille", s->share_permille);
		json_u64(j, "rtt_us", s->rtt_us);
		json_u64(j, "rto_us", s->rto_us);
		json_u64(j, "cwnd", s->cwnd);
		json_u64(j, "retransmits", s->retransmits);
		json_object_end(j);
	}
	json_array_end(j);
}

static void put_transport(struct json *j, const struct queue *q)
{
	const struct nof_transport *t = &q->transport;

	if (t->size == 0)
		return;
	json_object(j, NULL);
	json_u64(j, "job", q->job->index);
	json_u64(j, "qid", t->qid);
	json_u64(j, "token", t->token);
	put_connection(j, t);
	json_object_end(j);
}

/* All queues of all jobs: subflows between the same two addresses are one here. */
static void put_transport_total(struct json *j, const struct run *run)
{
	struct nof_transport *list, sum = { .size = sizeof(sum) };
	unsigned int i, k, n = 0;

	list = calloc((size_t)run->job_count * run->queues + 1, sizeof(*list));
	if (!list)
		return;
	for (i = 0; i < run->job_count; i++)
		for (k = 0; k < run->queues; k++)
			if (run->jobs[i].queues && run->jobs[i].queues[k].transport.size)
				list[n++] = run->jobs[i].queues[k].transport;
	if (n && nof_transport_sum(list, n, &sum) == 0) {
		json_object(j, "transport_total");
		json_u64(j, "connections", sum.connections);
		json_u64(j, "mptcp_connections", sum.mptcp_connections);
		put_connection(j, &sum);
		json_object_end(j);
	}
	free(list);
}

static void put_options(struct json *j, const struct run *run)
{
	const struct perf_opts *o = run->o;

	json_object(j, "global options");
	json_string(j, "rw", o->rw);
	if (o->reads && o->writes)
		json_u64(j, "rwmixread", o->read_percent);
	json_u64(j, "bs_min", o->bs_min);
	json_u64(j, "bs_max", o->bs_max);
	json_u64(j, "iodepth", o->iodepth);
	json_u64(j, "queues", run->queues);
	json_u64(j, "threads", o->threads);
	json_double(j, "runtime", (double)o->runtime / 1e9);
	json_double(j, "ramp_time", (double)o->ramp / 1e9);
	json_u64(j, "io_limit", o->io_limit);
	json_u64(j, "io_size", o->io_size);
	json_u64(j, "rate_iops", o->rate);
	json_bool(j, "verify", o->verify);
	json_string(j, "poll",
		    o->poll == NOF_POLL_SPIN     ? "spin" :
		    o->poll == NOF_POLL_ADAPTIVE ? "adaptive" :
						   "sleep");
	json_u64(j, "seed", o->seed);
	json_object_end(j);
}

/* What a thread's loop did while it was measured. */
static void put_loop(struct json *j, const struct worker *w)
{
	const struct nof_loop_stats *a = &w->begun, *b = &w->ended;

	json_object(j, NULL);
	json_u64(j, "turns", b->turns - a->turns);
	json_u64(j, "sleeps", b->sleeps - a->sleeps);
	json_u64(j, "spins", b->spins - a->spins);
	json_u64(j, "spin_hits", b->spin_hits - a->spin_hits);
	json_u64(j, "spin_looks", b->spin_looks - a->spin_looks);
	json_double(j, "spin_s", (double)(b->spin_ns - a->spin_ns) / 1e9);
	json_double(j, "spin_limit_us", (double)b->spin_limit_ns / 1e3);
	json_u64(j, "completions", b->completions - a->completions);
	json_object_end(j);
}

/* Members of a document: an object must be open. */
static void put_run(struct json *j, const struct run *run)
{
	const struct perf_opts *o = run->o;
	static struct job_result r;
	uint64_t ios = 0;
	unsigned int i, k;

	json_string(j, "libnof version", nof_version());
	put_options(j, run);
	json_string(j, "engine", run->engine);
	json_string(j, "engine_reason", run->engine_reason);
	json_bool(j, "interrupted", run->is_interrupted);
	json_array(j, "jobs");
	for (i = 0; run->is_set_up && i < run->job_count; i++) {
		put_job(j, run, &run->jobs[i]);
		job_result_get(&run->jobs[i], &r);
		ios += r.lat[PERF_READ].ios + r.lat[PERF_WRITE].ios;
	}
	json_array_end(j);
	json_array(j, "not_used");
	for (i = 0; i < run->targets.count; i++) {
		if (!run->targets.list[i].error)
			continue;
		json_object(j, NULL);
		json_string(j, "uri", run->targets.list[i].uri);
		json_string(j, "detail", run->targets.list[i].detail);
		json_object_end(j);
	}
	json_array_end(j);
	json_object(j, "cpu");
	json_double(j, "user_s", run->cpu_user);
	json_double(j, "sys_s", run->cpu_sys);
	json_double(j, "us_per_io", ios ? (run->cpu_user + run->cpu_sys) * 1e6 / (double)ios : 0);
	json_object_end(j);
	json_array(j, "loops");
	for (i = 0; run->usage_taken && i < run->worker_count; i++)
		put_loop(j, &run->workers[i]);
	json_array_end(j);
	json_array(j, "transport");
	for (i = 0; i < run->job_count; i++)
		for (k = 0; k < run->queues; k++)
			put_transport(j, &run->jobs[i].queues[k]);
	json_array_end(j);
	put_transport_total(j, run);
	if (o->verify) {
		json_object(j, "verify");
		json_u64(j, "checked_bytes", run->checked_bytes);
		json_u64(j, "unjudged_bytes", run->unjudged_bytes);
		json_bool(j, "readback", run->has_readback);
		json_u64(j, "readback_bytes", run->readback_bytes);
		json_object_end(j);
	}
	json_object(j, "errors");
	json_u64(j, "io", run->io_errors);
	json_u64(j, "verify", run->verify_errors);
	json_u64(j, "other", run->other_errors);
	json_string(j, "first", run->first);
	json_object_end(j);
	json_u64(j, "submitted", run->submitted);
	json_u64(j, "completed", run->completed);
}

static double iops(const struct run *run)
{
	static struct job_result r;
	double n = 0, seconds = run_seconds(run);
	unsigned int i;

	for (i = 0; i < run->job_count; i++) {
		job_result_get(&run->jobs[i], &r);
		n += (double)(r.lat[PERF_READ].ios + r.lat[PERF_WRITE].ios);
	}
	return seconds > 0 ? n / seconds : 0;
}

bool report_json(const struct run *run, const struct run *tcp, FILE *out)
{
	struct json j;
	double base;

	json_init(&j, out);
	json_object(&j, NULL);
	put_run(&j, run);
	if (tcp) {
		base = iops(tcp);
		json_object(&j, "compare");
		json_double(&j, "iops_mptcp_over_tcp", base > 0 ? iops(run) / base : 0);
		json_object(&j, "tcp");
		put_run(&j, tcp);
		json_object_end(&j);
		json_object_end(&j);
	}
	json_object_end(&j);
	return json_finish(&j);
}
