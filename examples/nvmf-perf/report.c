/* SPDX-License-Identifier: MIT */
/*
 * Results for people.
 */
#include <string.h>

#include "perf.h"

double run_seconds(const struct run *run)
{
	return run->ended > run->measured ? (double)(run->ended - run->measured) / 1e9 : 0;
}

void job_result_get(const struct job *job, struct job_result *r)
{
	uint64_t ended = 0;
	unsigned int i;

	hist_init(&r->lat[PERF_READ]);
	hist_init(&r->lat[PERF_WRITE]);
	for (i = 0; i < job->run->queues; i++) {
		const struct queue *q = &job->queues[i];

		if (!q->lat[PERF_READ] || !q->lat[PERF_WRITE])
			continue;
		hist_merge(&r->lat[PERF_READ], q->lat[PERF_READ]);
		hist_merge(&r->lat[PERF_WRITE], q->lat[PERF_WRITE]);
		if (q->last_done > ended)
			ended = q->last_done;
	}
	r->seconds = ended > job->run->measured ? (double)(ended - job->run->measured) / 1e9 : 0;
}

static const char *format_count(char *buf, size_t len, double n)
{
	if (n >= 1e6)
		snprintf(buf, len, "%.2f M", n / 1e6);
	else if (n >= 1e4)
		snprintf(buf, len, "%.1f k", n / 1e3);
	else
		snprintf(buf, len, "%.0f", n);
	return buf;
}

static const char *format_ns(char *buf, size_t len, double ns)
{
	if (ns >= 1e9)
		snprintf(buf, len, "%.2f s", ns / 1e9);
	else if (ns >= 1e6)
		snprintf(buf, len, ns < 1e7 ? "%.2f ms" : "%.1f ms", ns / 1e6);
	else
		snprintf(buf, len, ns < 1e4 ? "%.2f us" : "%.1f us", ns / 1e3);
	return buf;
}

static void print_direction(const char *name, const struct hist *h, double seconds, FILE *out)
{
	static const double percent[] = { 50, 99, 99.9 };
	char a[32], b[32];
	size_t i;

	fprintf(out, "  %-9s %10s %10s/s", name,
		format_count(a, sizeof(a), seconds > 0 ? (double)h->ios / seconds : 0),
		tool_format_bytes(b, sizeof(b), seconds > 0 ? (double)h->bytes / seconds : 0));
	fprintf(out, " %10s", format_ns(a, sizeof(a), hist_mean(h)));
	for (i = 0; i < sizeof(percent) / sizeof(percent[0]); i++)
		fprintf(out, " %10s",
			format_ns(a, sizeof(a), (double)hist_percentile(h, percent[i])));
	fprintf(out, " %10s\n", format_ns(a, sizeof(a), (double)h->max));
}

#define BAR 50

/* One line for each half of a power of two. */
static void print_histogram(const char *name, const struct hist *h, FILE *out)
{
	const unsigned int step = HIST_SUB / 2;
	static const char bar[BAR + 1] = "##################################################";
	uint64_t most = 0, sum;
	unsigned int i, k, first = HIST_BUCKETS, last = 0;
	char a[32];

	for (i = 0; i < HIST_BUCKETS; i += step) {
		for (sum = 0, k = i; k < i + step; k++)
			sum += h->bucket[k];
		if (!sum)
			continue;
		if (first == HIST_BUCKETS)
			first = i;
		last = i;
		if (sum > most)
			most = sum;
	}
	if (!most)
		return;
	fprintf(out, "  %s latency from\n", name);
	for (i = first; i <= last; i += step) {
		for (sum = 0, k = i; k < i + step; k++)
			sum += h->bucket[k];
		fprintf(out, "  %12s %12llu %6.2f %% %.*s\n",
			format_ns(a, sizeof(a), (double)hist_bucket_start(i)),
			(unsigned long long)sum, 100.0 * (double)sum / (double)h->ios,
			(int)(sum * BAR / most), bar);
	}
}

static void print_transport(const struct queue *q, FILE *out)
{
	const struct nof_transport *t = &q->transport;
	char a[32], b[32];
	unsigned int i;

	if (t->size == 0)
		return;
	fprintf(out, "  queue %-3u %s", t->qid, t->is_mptcp ? "MPTCP" : "TCP");
	if (t->is_mptcp)
		fprintf(out, ", %u subflow%s", t->subflow_count, t->subflow_count == 1 ? "" : "s");
	else if (t->reason[0])
		fprintf(out, ": %s", t->reason);
	if (t->qid && q->run->o->iodepth >= q->job->ctrl_info.queue_size)
		fprintf(out, "; the queue takes %u commands at a time",
			q->job->ctrl_info.queue_size - 1);
	fputc('\n', out);
	for (i = 0; i < t->subflow_count && i < NOF_SUBFLOWS_MAX; i++) {
		const struct nof_subflow *s = &t->subflows[i];

		fprintf(out,
			"            %s -> %s  %ssent %s, received %s (%.1f %%), rtt %u us, "
			"%u retransmits\n",
			s->local, s->peer,
			s->state == NOF_SUBFLOW_BACKUP ? "backup, " :
			s->state == NOF_SUBFLOW_STALE  ? "stale, " :
							 "",
			tool_format_bytes(a, sizeof(a), (double)s->bytes_sent),
			tool_format_bytes(b, sizeof(b), (double)s->bytes_received),
			s->share_permille / 10.0, s->rtt_us, s->retransmits);
	}
	if (t->note[0])
		fprintf(out, "            %s\n", t->note);
}

/* One that did its work without a break needs no line. */
static void print_paths(const struct job *job, FILE *out)
{
	const struct run *run = job->run;
	char a[32], b[32];
	unsigned int i;

	for (i = 0; i < run->path_count; i++) {
		const struct path *p = &run->paths[i];

		if (p->job != job || (job->path_count == 1 && !p->stats.resets && !p->io.retries))
			continue;
		fprintf(out, "  path      %s\n            %s, %s, %s commands, %s", p->uri,
			nof_path_state_name(p->io.state), nof_ana_state_name(p->io.ana),
			format_count(a, sizeof(a), (double)p->io.commands),
			tool_format_bytes(b, sizeof(b), (double)p->io.bytes));
		if (p->io.avg_latency_us)
			fprintf(out, ", %u us", p->io.avg_latency_us);
		fprintf(out, "; %llu errors, %llu retries, %llu failovers, %llu reconnects\n",
			(unsigned long long)p->io.errors, (unsigned long long)p->io.retries,
			(unsigned long long)p->io.failovers,
			(unsigned long long)p->stats.reconnects);
	}
}

static void print_job(const struct job *job, FILE *out)
{
	const struct queue *slow = timeline_stalled(job);
	const struct perf_opts *o = job->run->o;
	static struct job_result r; /* too large for a stack */
	char a[32];
	unsigned int i;

	job_result_get(job, &r);
	fprintf(out, "%s\n  namespace %u of %s, %s in blocks of %u bytes\n", job->uri,
		job->ns_info.nsid, job->ctrl_info.subnqn,
		tool_format_bytes(a, sizeof(a), (double)job->ns_info.bytes),
		job->ns_info.block_size);
	fprintf(out, "  %-9s %10s %12s %10s %10s %10s %10s %10s\n", "", "IOPS", "bandwidth", "mean",
		"p50", "p99", "p99.9", "max");
	if (o->reads)
		print_direction("read", &r.lat[PERF_READ], r.seconds, out);
	if (o->writes)
		print_direction("write", &r.lat[PERF_WRITE], r.seconds, out);
	if (slow)
		fprintf(out, "  stall     %s was the longest time without a completion\n",
			format_ns(a, sizeof(a), (double)slow->stall));
	for (i = 0; i < job->run->queues; i++)
		print_transport(&job->queues[i], out);
	print_paths(job, out);
	if (o->hist && o->reads)
		print_histogram("read", &r.lat[PERF_READ], out);
	if (o->hist && o->writes)
		print_histogram("write", &r.lat[PERF_WRITE], out);
}

static uint64_t measured_ios(const struct run *run)
{
	uint64_t n = 0;
	unsigned int i, k, d;

	for (i = 0; i < run->job_count; i++)
		for (k = 0; k < run->queues; k++)
			for (d = 0; d < 2; d++)
				if (run->jobs[i].queues[k].lat[d])
					n += run->jobs[i].queues[k].lat[d]->ios;
	return n;
}

static void print_verify(const struct run *run, FILE *out)
{
	char a[32], b[32];

	fprintf(out, "verify      %s checked, %llu mismatch%s",
		tool_format_bytes(a, sizeof(a), (double)run->checked_bytes),
		(unsigned long long)run->verify_errors, run->verify_errors == 1 ? "" : "es");
	if (run->has_readback)
		fprintf(out, "; of it %s read back at the end",
			tool_format_bytes(b, sizeof(b), (double)run->readback_bytes));
	else if (run->o->writes)
		fputs("; not read back at the end", out);
	if (run->unjudged_bytes)
		fprintf(out, "; %s read had no known content",
			tool_format_bytes(b, sizeof(b), (double)run->unjudged_bytes));
	fputc('\n', out);
}

void report_text(const struct run *run, FILE *out)
{
	const struct perf_opts *o = run->o;
	uint64_t ios = measured_ios(run);
	double seconds = run_seconds(run), cpu = run->cpu_user + run->cpu_sys;
	char a[32], b[32];
	unsigned int i;

	if (!run->is_set_up)
		return;
	fprintf(out, "%s of %s", o->rw, tool_format_bytes(a, sizeof(a), (double)o->bs_min));
	if (o->bs_max != o->bs_min)
		fprintf(out, " to %s", tool_format_bytes(b, sizeof(b), (double)o->bs_max));
	fprintf(out, ", %u queue%s x %u deep, %u thread%s, %s, %.2f s%s\n", run->queues,
		run->queues == 1 ? "" : "s", o->iodepth, o->threads, o->threads == 1 ? "" : "s",
		run->engine, seconds, run->is_interrupted ? " (interrupted)" : "");
	if (run->engine_reason[0])
		fprintf(out, "%s\n", run->engine_reason);
	for (i = 0; i < run->job_count; i++)
		print_job(&run->jobs[i], out);
	for (i = 0; i < run->targets.count; i++)
		if (run->targets.list[i].error)
			fprintf(out, "not used    %s: %s\n", run->targets.list[i].uri,
				run->targets.list[i].detail);
	fprintf(out,
		"cpu         %.2f us per I/O (user %.2f s, system %.2f s, %.0f %% of a core)\n",
		ios ? cpu * 1e6 / (double)ios : 0, run->cpu_user, run->cpu_sys,
		seconds > 0 ? 100 * cpu / seconds : 0);
	if (o->verify)
		print_verify(run, out);
	fprintf(out, "I/Os        %llu submitted, %llu completed, %llu errors\n",
		(unsigned long long)run->submitted, (unsigned long long)run->completed,
		(unsigned long long)run->io_errors);
}

static void totals(const struct run *run, struct job_result *all)
{
	static struct job_result r;
	unsigned int i;

	hist_init(&all->lat[0]);
	hist_init(&all->lat[1]);
	for (i = 0; i < run->job_count; i++) {
		job_result_get(&run->jobs[i], &r);
		hist_merge(&all->lat[0], &r.lat[0]);
		hist_merge(&all->lat[1], &r.lat[1]);
	}
	hist_merge(&all->lat[0], &all->lat[1]);
	all->seconds = run_seconds(run);
}

static double ratio(double a, double b)
{
	return b > 0 ? a / b : 0;
}

void report_compare(const struct run *tcp, const struct run *mptcp, FILE *out)
{
	static struct job_result t, m;
	double iops_t, iops_m, cpu_t, cpu_m;
	char a[32], b[32];

	totals(tcp, &t);
	totals(mptcp, &m);
	iops_t = ratio((double)t.lat[0].ios, t.seconds);
	iops_m = ratio((double)m.lat[0].ios, m.seconds);
	cpu_t = ratio((tcp->cpu_user + tcp->cpu_sys) * 1e6, (double)t.lat[0].ios);
	cpu_m = ratio((mptcp->cpu_user + mptcp->cpu_sys) * 1e6, (double)m.lat[0].ios);
	fprintf(out, "comparison  %12s %12s %12s\n", "TCP", "MPTCP", "MPTCP/TCP");
	fprintf(out, "  IOPS      %12s %12s %12.3f\n", format_count(a, sizeof(a), iops_t),
		format_count(b, sizeof(b), iops_m), ratio(iops_m, iops_t));
	fprintf(out, "  p50       %12s %12s %12.3f\n",
		format_ns(a, sizeof(a), (double)hist_percentile(&t.lat[0], 50)),
		format_ns(b, sizeof(b), (double)hist_percentile(&m.lat[0], 50)),
		ratio((double)hist_percentile(&m.lat[0], 50),
		      (double)hist_percentile(&t.lat[0], 50)));
	fprintf(out, "  p99       %12s %12s %12.3f\n",
		format_ns(a, sizeof(a), (double)hist_percentile(&t.lat[0], 99)),
		format_ns(b, sizeof(b), (double)hist_percentile(&m.lat[0], 99)),
		ratio((double)hist_percentile(&m.lat[0], 99),
		      (double)hist_percentile(&t.lat[0], 99)));
	fprintf(out, "  CPU/I/O   %9.2f us %9.2f us %12.3f\n", cpu_t, cpu_m, ratio(cpu_m, cpu_t));
}

void report_status(const struct run *run, uint64_t now, bool is_progress)
{
	static uint64_t last_time, last_ios, last_bytes;
	uint64_t ios = 0, bytes = 0;
	double seconds, elapsed = (double)(now - run->started) / 1e9;
	char a[32], b[32], eta[48] = "";
	unsigned int i, k, d;

	for (i = 0; i < run->job_count; i++) {
		for (k = 0; k < run->queues; k++) {
			for (d = 0; d < 2; d++) {
				const struct hist *h = run->jobs[i].queues[k].lat[d];

				ios += __atomic_load_n(&h->ios, __ATOMIC_RELAXED);
				bytes += __atomic_load_n(&h->bytes, __ATOMIC_RELAXED);
			}
		}
	}
	if (last_time < run->started || ios < last_ios) {
		last_time = run->started;
		last_ios = 0;
		last_bytes = 0;
	}
	seconds = (double)(now - last_time) / 1e9;
	if (run->deadline != UINT64_MAX && run->deadline > now)
		snprintf(eta, sizeof(eta), ", %.0f s left", (double)(run->deadline - now) / 1e9);
	if (seconds > 0)
		fprintf(stderr, "%s%.1f s: %s IOPS, %s/s%s%s", is_progress ? "\r\033[K" : "",
			elapsed, format_count(a, sizeof(a), (double)(ios - last_ios) / seconds),
			tool_format_bytes(b, sizeof(b), (double)(bytes - last_bytes) / seconds),
			eta, is_progress ? "" : "\n");
	fflush(stderr);
	last_time = now;
	last_ios = ios;
	last_bytes = bytes;
}
