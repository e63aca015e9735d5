/* SPDX-License-Identifier: MIT */
/*
 * Threads and phases. Each worker is a thread with a loop and the queues on it; worker 0 is the
 * main thread, whose loop also carries the controllers. Queues are opened one after the other, and
 * closed worker by worker; the load runs on all of them together.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "perf.h"

#define LONGEST_WAIT  NSEC_PER_SEC	  /* ns: bounds what a missed wake-up can cost */
#define DRAIN_EXTRA   (10 * NSEC_PER_SEC) /* beyond all that, before giving up */
#define PATIENCE      (3 * NSEC_PER_SEC)  /* after a signal: for what waits for a path */
#define MANY	      32u		  /* queues of a thread that are not gone through … */
#define SWEEP	      (10 * 1000000u)	  /* … every turn: ns between two times */
#define CLOCK_BATCH   8u		  /* completions per reading at large depth */
#define CLOCK_EXACT   16u		  /* up to this depth each gets its own */

volatile sig_atomic_t perf_signal;
static struct nof_loop *signal_loop; /* woken by the handler; set while a load runs */

static void on_signal(int sig)
{
	perf_signal = sig;
	if (signal_loop)
		nof_loop_wake(signal_loop);
}

static void catch_signals(struct nof_loop *loop)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESETHAND };

	signal_loop = loop;
	if (!loop)
		sa.sa_handler = SIG_DFL;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

void run_error(struct run *run, uint64_t *counter, const char *fmt, ...)
{
	va_list ap;

	pthread_mutex_lock(&run->lock);
	(*counter)++;
	if (!run->first[0]) {
		va_start(ap, fmt);
		vsnprintf(run->first, sizeof(run->first), fmt, ap);
		va_end(ap);
		if (!run->first[0])
			strcpy(run->first, "an operation failed and the library gave no reason.");
	}
	pthread_mutex_unlock(&run->lock);
}

void run_stop(struct run *run)
{
	unsigned int i;

	if (__atomic_exchange_n(&run->stop, true, __ATOMIC_RELAXED))
		return;
	for (i = 0; i < run->worker_count; i++) {
		struct nof_loop *loop = __atomic_load_n(&run->workers[i].loop, __ATOMIC_ACQUIRE);

		if (loop)
			nof_loop_wake(loop);
	}
}

static int worker_open(struct worker *w)
{
	struct run *run = w->run;
	struct nof_loop_opts lo;
	struct nof_loop *loop;

	nof_loop_opts_init(&lo);
	lo.engine = run->engine_wanted;
	lo.flags = NOF_LOOP_EXPLICIT_FLUSH | NOF_LOOP_DEDICATED;
	if (nof_loop_new(&lo, &loop) < 0) {
		run_error(run, &run->other_errors, "%s", nof_strerror_detail());
		return -1;
	}
	nof_loop_set_poll(loop, run->o->poll, 0);
	__atomic_store_n(&w->loop, loop, __ATOMIC_RELEASE);
	return 0;
}

/* False when opening was given up. */
static bool take_turn(struct run *run, unsigned int turn)
{
	bool is_mine;

	pthread_mutex_lock(&run->lock);
	while (run->open_turn != turn && !run->is_given_up)
		pthread_cond_wait(&run->changed, &run->lock);
	is_mine = !run->is_given_up;
	pthread_mutex_unlock(&run->lock);
	return is_mine;
}

static void pass_turn(struct run *run)
{
	pthread_mutex_lock(&run->lock);
	run->open_turn++;
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->lock);
}

/*
 * One queue at a time in the whole program, so that at most one thread is busy with a controller,
 * and each worker one before any gets a second: when the controller grants fewer than there are,
 * the later ones share what their own loop has.
 */
static void worker_open_queues(struct worker *w)
{
	struct run *run = w->run;
	unsigned int i, n = run->worker_count, rounds = run->workers[0].queue_count;

	w->clock_every = 1;
	for (i = 0; i < rounds && take_turn(run, i * n + w->index); i++) {
		/* Keep alives, while many queues are being connected. */
		if (w->index == 0)
			nof_loop_process(w->loop);
		if (i < w->queue_count && !run_stopped(run)) {
			if (queue_open(w->queues[i]) < 0)
				run_stop(run);
			else if (w->queues[i]->depth > CLOCK_EXACT)
				w->clock_every = CLOCK_BATCH;
		}
		pass_turn(run);
	}
}

/* Any thread may ask what a loop has done. */
static void take_stats(struct run *run, bool is_end)
{
	unsigned int i;

	for (i = 0; i < run->worker_count; i++) {
		struct worker *w = &run->workers[i];
		struct nof_loop_stats *s = is_end ? &w->ended : &w->begun;

		s->size = sizeof(*s);
		nof_loop_get_stats(w->loop, s);
	}
}

static void take_usage(double *user, double *sys)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	*user = (double)ru.ru_utime.tv_sec + (double)ru.ru_utime.tv_usec / 1e6;
	*sys = (double)ru.ru_stime.tv_sec + (double)ru.ru_stime.tv_usec / 1e6;
}

/* What only the main thread does while the load runs. Returns when it wants to be called again. */
static uint64_t supervise(struct run *run, uint64_t now)
{
	static uint64_t next_line; /* only one run at a time */
	uint64_t again = UINT64_MAX, every = run->o->status;
	static int is_tty = -1; /* asked once: this runs every turn */
	bool is_progress;

	if (is_tty < 0)
		is_tty = isatty(STDERR_FILENO);
	is_progress = every == 0 && is_tty;

	if (perf_signal && !run->is_interrupted) {
		run->is_interrupted = true;
		run_stop(run);
	}
	if (!run->usage_taken) {
		if (now >= run->measured) {
			take_usage(&run->usage_user, &run->usage_sys);
			take_stats(run, false);
			run->usage_taken = true;
		} else {
			again = run->measured;
		}
	}
	if (is_progress)
		every = NSEC_PER_SEC;
	if (every) {
		if (next_line < run->started || next_line > now + every)
			next_line = run->started + every;
		if (now >= next_line) {
			report_status(run, now, is_progress);
			if (!is_progress)
				run->live_due = next_line;
			while (next_line <= now)
				next_line += every;
		}
		if (next_line < again)
			again = next_line;
	}
	/* Behind the status line, as soon as every thread has looked at its own queues. */
	if (run->live_due && live_is_complete(run, run->live_due)) {
		live_print(run, now, stderr);
		run->live_due = 0;
	} else if (run->live_due && again > now + NSEC_PER_SEC / 100) {
		again = now + NSEC_PER_SEC / 100;
	}
	return again;
}

static void wait_until(struct worker *w, uint64_t now, uint64_t until)
{
	uint64_t ns = until <= now ? 0 : until - now;
	int ret;

	if (ns > LONGEST_WAIT)
		ns = LONGEST_WAIT;
	ret = nof_loop_wait_ns(w->loop, (int64_t)ns);
	if (ret < 0 && ret != -EINTR && !run_stopped(w->run)) {
		run_error(w->run, &w->run->other_errors, "%s", nof_strerror_detail());
		run_stop(w->run);
	}
}

/* How long the end waits for I/Os, before it gives up those that have no path. */
static uint64_t drain_limit(const struct run *run)
{
	uint64_t ms = 0;
	unsigned int i;

	if (perf_signal)
		return PATIENCE;
	for (i = 0; i < run->job_count; i++)
		if (run->jobs[i].io_timeout_ms > ms)
			ms = run->jobs[i].io_timeout_ms;
	return ms * 1000000;
}

/* What is with a target ends by itself. */
static void cancel_waiting(struct worker *w)
{
	unsigned int i;

	for (i = 0; i < w->queue_count; i++)
		nof_chan_cancel(w->queues[i]->chan);
}

/* Runs the queues of a worker until the load, or the read-back, has ended on all of them. */
/* What waits for time or room goes out. Returns how many queues have not finished. */
static unsigned int sweep(struct worker *w, uint64_t now, uint64_t *until)
{
	uint64_t submitted = 0;
	unsigned int i, active = 0;

	for (i = 0; i < w->queue_count; i++) {
		struct queue *q = w->queues[i];

		submitted -= q->submitted;
		queue_fill(q, now);
		submitted += q->submitted;
		active += !queue_finished(q, now);
		if (q->interval != 0 && q->due > (double)now && q->due < (double)*until)
			*until = (uint64_t)q->due;
	}
	/* Every other way of waiting hands over first what was submitted. */
	if (submitted && w->run->o->rate)
		nof_loop_flush(w->loop);
	return active;
}

static void worker_drive(struct worker *w)
{
	struct run *run = w->run;
	uint64_t drain_since = 0, longest = drain_limit(run), sweep_due = 0;
	unsigned int active = 1;

	for (;;) {
		uint64_t now = tool_now(), until = now + LONGEST_WAIT;

		w->clock_left = 0;
		/*
		 * A queue goes on by its own completions. Going through a thousand of them every
		 * turn would cost more than the I/Os.
		 */
		if (now >= sweep_due || now >= run->deadline || run_stopped(run)) {
			active = sweep(w, now, &until);
			sweep_due = w->queue_count > MANY && !run->o->rate ? now + SWEEP : 0;
		}
		if (sweep_due && sweep_due < until)
			until = sweep_due;
		if (run->o->status) {
			uint64_t again = live_sample(w, now);

			if (again < until)
				until = again;
		}
		if (w->index == 0) {
			uint64_t again = supervise(run, now);

			if (again < until)
				until = again;
		}
		if (!active)
			return;
		if (now >= run->deadline || run_stopped(run)) {
			if (!drain_since)
				drain_since = now;
			if (now - drain_since > drain_limit(run))
				cancel_waiting(w);
			if (now - drain_since > longest + DRAIN_EXTRA) {
				run_error(run, &run->other_errors,
					  "some I/Os were accepted and never completed, long after "
					  "io_timeout: a fault of libnof, please report it.");
				run_stop(run);
				return;
			}
		} else if (run->deadline < until) {
			until = run->deadline;
		}
		wait_until(w, now, until);
	}
}

static void start_readback(struct worker *w)
{
	unsigned int i;

	for (i = 0; i < w->queue_count; i++) {
		struct queue *q = w->queues[i];

		q->io_left = UINT64_MAX;
		q->bytes_left = UINT64_MAX;
		q->interval = 0;
	}
}

static void worker_close(struct worker *w)
{
	unsigned int i;

	for (i = 0; i < w->queue_count; i++) {
		queue_transport(w->queues[i]);
		queue_close(w->queues[i]);
	}
}

static void finish(struct worker *w, enum perf_phase phase)
{
	struct run *run = w->run;

	pthread_mutex_lock(&run->lock);
	w->phase = phase;
	w->is_open = true;
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->lock);
	if (phase != PHASE_OPEN)
		nof_loop_wake(run->workers[0].loop);
}

/* Waits until the main thread has begun a phase after the given one. */
static enum perf_phase next_phase(struct worker *w, enum perf_phase after)
{
	struct run *run = w->run;
	enum perf_phase phase;

	pthread_mutex_lock(&run->lock);
	while (run->phase <= after || (run->phase == PHASE_CLOSE && run->close_turn != w->index))
		pthread_cond_wait(&run->changed, &run->lock);
	phase = run->phase;
	pthread_mutex_unlock(&run->lock);
	return phase;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	enum perf_phase phase;

	if (worker_open(w) < 0)
		run_stop(w->run);
	worker_open_queues(w);
	finish(w, PHASE_OPEN);
	phase = next_phase(w, PHASE_OPEN);
	if (phase == PHASE_LOAD) {
		worker_drive(w);
		finish(w, PHASE_LOAD);
		phase = next_phase(w, PHASE_LOAD);
	}
	if (phase == PHASE_READBACK) {
		start_readback(w);
		worker_drive(w);
		finish(w, PHASE_READBACK);
		next_phase(w, PHASE_READBACK);
	}
	worker_close(w);
	return NULL;
}

static void begin(struct run *run, enum perf_phase phase, unsigned int turn)
{
	pthread_mutex_lock(&run->lock);
	run->phase = phase;
	run->close_turn = turn;
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->lock);
}

static bool all_finished(struct run *run, unsigned int count, enum perf_phase phase)
{
	unsigned int i;
	bool all = true;

	pthread_mutex_lock(&run->lock);
	for (i = 1; i < count; i++)
		all = all && run->workers[i].phase >= phase;
	pthread_mutex_unlock(&run->lock);
	return all;
}

/* A phase of the load on all threads; the controllers' loop keeps running to the end of it. */
static void drive_all(struct run *run, enum perf_phase phase)
{
	struct worker *w = &run->workers[0];

	begin(run, phase, 0);
	if (phase == PHASE_READBACK)
		start_readback(w);
	worker_drive(w);
	while (!all_finished(run, run->worker_count, phase)) {
		supervise(run, tool_now());
		nof_loop_wait(w->loop, 100);
	}
	w->phase = phase;
}

static void give_up(struct run *run)
{
	run_stop(run);
	pthread_mutex_lock(&run->lock);
	run->is_given_up = true;
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->lock);
}

static void start_threads(struct run *run, unsigned int *started)
{
	sigset_t all, old;
	int ret = 0;

	/* Signals are the main thread's: it alone looks for them. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (ret == 0 && *started < run->worker_count) {
		struct worker *w = &run->workers[*started];

		ret = pthread_create(&w->thread, NULL, worker_main, w);
		*started += ret == 0;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ret == 0)
		return;
	run_error(run, &run->other_errors, "thread %u could not be created: %s.", *started,
		  strerror(ret));
	give_up(run);
}

/* Returns once no worker opens anything any more. */
static int open_all(struct run *run, unsigned int *threads)
{
	unsigned int i;

	start_threads(run, threads);
	worker_open_queues(&run->workers[0]);
	pthread_mutex_lock(&run->lock);
	for (i = 1; i < *threads; i++)
		while (!run->workers[i].is_open)
			pthread_cond_wait(&run->changed, &run->lock);
	pthread_mutex_unlock(&run->lock);
	return run_stopped(run) ? -1 : 0;
}

static int out_of_memory(struct run *run)
{
	run_error(run, &run->other_errors, "no memory for %u queues.", run->queues);
	return -1;
}

/* Queues go to the workers in turn. */
static int lay_out(struct run *run)
{
	unsigned int i, k, n = 0, threads = run->o->threads, jobs = run->job_count;

	run->queues = run->o->queues ? run->o->queues : (threads + jobs - 1) / jobs;
	if ((uint64_t)run->queues * jobs < threads) {
		run_error(run, &run->other_errors,
			  "--threads=%u: there are only %u queues; give --queues=%u or fewer "
			  "threads.",
			  threads, run->queues * jobs, threads);
		return TOOL_USAGE;
	}
	for (i = 0; i < threads; i++) {
		struct worker *w = &run->workers[i];

		w->queues = calloc((size_t)run->queues * jobs / threads + 1,
				   sizeof(struct queue *));
		if (!w->queues)
			return out_of_memory(run);
	}
	for (i = 0; i < jobs; i++) {
		struct job *job = &run->jobs[i];

		job->queues = calloc(run->queues, sizeof(*job->queues));
		if (!job->queues)
			return out_of_memory(run);
		for (k = 0; k < run->queues; k++) {
			struct queue *q = &job->queues[k];
			struct worker *w = &run->workers[n++ % threads];

			q->run = run;
			q->job = job;
			q->worker = w;
			q->index = k;
			w->queues[w->queue_count++] = q;
		}
	}
	return 0;
}

static int set_up(struct run *run, const struct nof_opts *opts, unsigned int *threads)
{
	struct worker *w = &run->workers[0];
	int ret;

	run->engine_wanted = opts[0].engine;
	if (worker_open(w) < 0)
		return TOOL_FAILED;
	ret = paths_open(run, opts, w->loop);
	if (ret == 0)
		ret = lay_out(run);
	if (ret)
		return ret > 0 ? ret : TOOL_FAILED;
	if (open_all(run, threads) < 0)
		return TOOL_FAILED;
	run->engine = nof_loop_engine(w->loop);
	snprintf(run->engine_reason, sizeof(run->engine_reason), "%s",
		 nof_loop_engine_reason(w->loop));
	run->is_set_up = true;
	return 0;
}

static void load(struct run *run)
{
	const struct perf_opts *o = run->o;
	unsigned int i, k;

	catch_signals(run->workers[0].loop);
	run->started = tool_now();
	run->measured = run->started + o->ramp;
	run->deadline = o->runtime ? run->measured + o->runtime : UINT64_MAX;
	drive_all(run, PHASE_LOAD);
	if (run->usage_taken) {
		take_usage(&run->cpu_user, &run->cpu_sys);
		take_stats(run, true);
		run->cpu_user -= run->usage_user;
		run->cpu_sys -= run->usage_sys;
	}
	for (i = 0; i < run->job_count; i++)
		for (k = 0; k < run->queues; k++)
			if (run->jobs[i].queues[k].last_done > run->ended)
				run->ended = run->jobs[i].queues[k].last_done;
}

static void read_back(struct run *run)
{
	uint64_t before = 0, after = 0, ignored = 0;
	unsigned int i, k;
	bool any = false;

	for (i = 0; i < run->job_count; i++) {
		for (k = 0; k < run->queues; k++) {
			const struct verify *v = run->jobs[i].queues[k].verify;

			any = any || verify_has_written(v);
			verify_counts(v, &before, &ignored);
		}
	}
	if (!any || run_stopped(run))
		return;
	run->deadline = UINT64_MAX;
	drive_all(run, PHASE_READBACK);
	for (i = 0; i < run->job_count; i++)
		for (k = 0; k < run->queues; k++)
			verify_counts(run->jobs[i].queues[k].verify, &after, &ignored);
	run->readback_bytes = after - before;
	run->has_readback = !run_stopped(run);
}

static void tear_down(struct run *run, unsigned int threads)
{
	unsigned int i, k;

	catch_signals(NULL);
	run_stop(run);
	for (i = 1; i < threads; i++) {
		begin(run, PHASE_CLOSE, i);
		pthread_join(run->workers[i].thread, NULL);
	}
	worker_close(&run->workers[0]);
	paths_note(run);
	paths_close(run);
	for (i = 0; i < run->job_count; i++) {
		for (k = 0; run->jobs[i].queues && k < run->queues; k++) {
			struct queue *q = &run->jobs[i].queues[k];

			run->submitted += q->submitted;
			run->completed += q->completed;
			if (q->verify)
				verify_counts(q->verify, &run->checked_bytes, &run->unjudged_bytes);
		}
	}
	for (i = 0; i < run->worker_count; i++)
		nof_loop_free(run->workers[i].loop);
	if (run->submitted != run->completed)
		run_error(run, &run->other_errors,
			  "%llu I/Os were accepted and %llu completed: a fault of libnof, please "
			  "report it.",
			  (unsigned long long)run->submitted, (unsigned long long)run->completed);
}

void run_init(struct run *run, const struct perf_opts *o)
{
	memset(run, 0, sizeof(*run));
	run->o = o;
	run->engine = "";
	pthread_mutex_init(&run->lock, NULL);
	pthread_cond_init(&run->changed, NULL);
}

int run_execute(struct run *run, const struct nof_opts *opts)
{
	unsigned int threads = 1;
	int ret;

	run->workers = calloc(run->o->threads, sizeof(*run->workers));
	if (!run->workers) {
		run_error(run, &run->other_errors, "no memory for %u threads.", run->o->threads);
		return 0;
	}
	for (; run->worker_count < run->o->threads; run->worker_count++) {
		run->workers[run->worker_count].run = run;
		run->workers[run->worker_count].index = run->worker_count;
	}
	ret = set_up(run, opts, &threads);
	if (ret == 0) {
		load(run);
		if (run->o->verify && run->o->writes)
			read_back(run);
	}
	tear_down(run, threads);
	return ret == TOOL_USAGE ? ret : 0;
}

void run_free(struct run *run)
{
	unsigned int i, k;

	for (i = 0; i < run->job_count; i++) {
		for (k = 0; run->jobs[i].queues && k < run->queues; k++) {
			struct queue *q = &run->jobs[i].queues[k];

			free(q->lat[PERF_READ]);
			free(q->lat[PERF_WRITE]);
			verify_free(q->verify);
			timeline_close(q);
		}
		free(run->jobs[i].queues);
	}
	for (i = 0; i < run->worker_count; i++)
		free(run->workers[i].queues);
	free(run->jobs);
	free(run->paths);
	tool_targets_free(&run->targets);
	free(run->workers);
	pthread_mutex_destroy(&run->lock);
	pthread_cond_destroy(&run->changed);
}
