/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctrl/job.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

static pthread_mutex_t jobs_lock = PTHREAD_MUTEX_INITIALIZER;
static struct nofi_job *jobs;
static uint64_t started;		/* jobs so far; under the lock */

static void unlink_job(struct nofi_job *job)
{
	struct nofi_job **p;

	pthread_mutex_lock(&jobs_lock);
	for (p = &jobs; *p != job; p = &(*p)->next)
		;
	*p = job->next;
	pthread_mutex_unlock(&jobs_lock);
}

static void deliver(struct nofi_job *job)
{
	struct nofi_err err = job->err;
	struct nof_completion c = { .error = err.code, .detail = err.code ? err.text : "" };
	nof_done_fn *done = job->done;
	struct nof_loop *loop = job->loop;
	void *arg = job->arg;

	unlink_job(job);
	job->end(job);
	nofi_loop_count_done(loop);
	done(arg, &c);
}

static void tell_fn(struct nofi_defer *d)
{
	deliver((struct nofi_job *)((char *)d - offsetof(struct nofi_job, tell)));
}

void nofi_job_start(struct nofi_job *job)
{
	job->err.code = 0;
	job->is_over = false;
	job->tell.fn = tell_fn;
	pthread_mutex_lock(&jobs_lock);
	job->serial = ++started;
	job->next = jobs;
	jobs = job;
	pthread_mutex_unlock(&jobs_lock);
}

void nofi_job_finish(struct nofi_job *job)
{
	if (job->is_over)
		return;
	job->is_over = true;
	nofi_loop_defer(job->loop, &job->tell);
}

static uint64_t last_serial(void)
{
	uint64_t serial;

	pthread_mutex_lock(&jobs_lock);
	serial = started;
	pthread_mutex_unlock(&jobs_lock);
	return serial;
}

static struct nofi_job *find_job(struct nof_loop *loop, void *arg, uint64_t last)
{
	struct nofi_job *job;

	pthread_mutex_lock(&jobs_lock);
	for (job = jobs; job; job = job->next)
		if (job->loop == loop && job->arg == arg && job->serial <= last)
			break;
	pthread_mutex_unlock(&jobs_lock);
	return job;
}

int nof_discover_cancel(struct nof_loop *loop, void *arg)
{
	/* What a callback begins because it was canceled is another matter: this ends. */
	uint64_t last = last_serial();
	struct nofi_job *job;
	bool was;
	int n = 0;

	if (!loop)
		return nofi_fail(-EINVAL, "nof_discover_cancel: loop must not be NULL");
	was = nofi_loop_enter(loop);
	/* A job belongs to this thread: nobody else ends what was found. */
	while ((job = find_job(loop, arg, last))) {
		if (!job->is_over) {
			job->is_over = true;
			nofi_err_set(&job->err, -ECANCELED, "nof_discover_cancel() was called");
			job->stop(job);
		}
		nofi_loop_undefer(loop, &job->tell);
		deliver(job);
		n++;
	}
	nofi_loop_leave(loop, was);
	return n;
}

/* ---- waiting ---- */

int nofi_job_wait_begin(struct nof_loop *loop, const char *call, struct nofi_job_wait *w)
{
	w->is_done = false;
	w->err.code = 0;
	return nofi_loop_is_processing(loop) ?
		       nofi_fail(-EDEADLK, "%s: cannot wait inside a callback; use the "
				 "asynchronous form", call) : 0;
}

void nofi_job_wait_done(void *arg, const struct nof_completion *c)
{
	struct nofi_job_wait *w = arg;

	if (c->error)
		nofi_err_set(&w->err, c->error, "%s", c->detail);
	w->is_done = true;
}

int nofi_job_wait(struct nof_loop *loop, const char *call, struct nofi_job_wait *w, int r)
{
	if (r < 0)
		return r;
	r = nofi_loop_run_until(loop, &w->is_done, 0);
	if (!w->is_done) {
		nof_discover_cancel(loop, w);
		return nofi_fail(r, "%s: the loop failed: %s", call, strerror(-r));
	}
	return w->err.code ? nofi_fail(w->err.code, "%s: %s", call, w->err.text) : 0;
}
