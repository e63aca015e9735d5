/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nof_discover(): every service is read once; when nothing is under way it is over. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/disc.h"
#include "ctrl/internal.h"
#include "ctrl/job.h"

struct walk {
	struct nofi_job job;
	struct nofi_disc disc;
	struct nofi_timer timer;	/* of the whole walk */
	bool is_late;			/* it has expired: nothing is started any more */
	struct nof_discovery_log *log;	/* the result, from the end to the callback */
	struct nof_discovery_log **out;
};

static void no_time(struct nofi_disc_service *s)
{
	struct nofi_err err;

	nofi_err_set(&err, -ETIMEDOUT, "discovery at %s port %s: not done when the %u ms of the "
		     "whole walk (timeout_ms) were over", s->ref.traddr, s->ref.trsvcid,
		     s->disc->dopts.timeout_ms);
	nofi_disc_fail(s, &err);
}

static void stop_late(struct walk *w)
{
	struct nofi_disc_service *s;

	for (s = w->disc.root; s; s = s->next) {
		if (s->state != NOFI_DISC_REST && !s->log)
			no_time(s);
		else if (nofi_disc_is_wanted(s))
			no_time(s);
		s->is_due = false;
	}
}

static void finish(struct walk *w)
{
	const struct nofi_disc_service *root = w->disc.root;

	nofi_timer_disarm(w->job.loop, &w->timer);
	if (!root->log)
		w->job.err = root->err;
	else if (nofi_disc_merge(&w->disc, &w->log) < 0)
		nofi_err_set(&w->job.err, -ENOMEM, "out of memory");
	nofi_job_finish(&w->job);
}

static void step(struct nofi_disc *d)
{
	struct walk *w = nofi_of(d, struct walk, disc);

	if (w->job.is_over)
		return;
	if (nofi_disc_rebuild(d) < 0) {
		nofi_err_set(&w->job.err, -ENOMEM, "out of memory");
		nofi_timer_disarm(d->loop, &w->timer);
		nofi_job_finish(&w->job);
		return;
	}
	if (w->is_late)
		stop_late(w);
	if (!nofi_disc_run(d))
		finish(w);
}

static void on_timer(struct nofi_timer *t)
{
	struct walk *w = nofi_of(t, struct walk, timer);

	w->is_late = true;
	nofi_disc_changed(&w->disc);
}

static void walk_stop(struct nofi_job *job)
{
	struct walk *w = (struct walk *)job;

	nofi_timer_disarm(job->loop, &w->timer);
	nofi_disc_fini(&w->disc);
}

static void walk_end(struct nofi_job *job)
{
	struct walk *w = (struct walk *)job;

	if (job->err.code)
		nof_discovery_free(w->log);
	else
		*w->out = w->log;
	nofi_disc_fini(&w->disc);
	free(w);
}

int nof_discover(struct nof_loop *loop, const struct nof_opts *opts,
		 const struct nof_discover_opts *dopts, struct nof_discovery_log **log,
		 nof_done_fn *done, void *arg)
{
	struct nofi_err err;
	struct walk *w;
	int r;

	if (!loop || !opts || !log || !done)
		return nofi_fail(-EINVAL, "nof_discover: loop, opts, log and done must not be "
				 "NULL");
	w = calloc(1, sizeof(*w));
	if (!w)
		return nofi_fail(-ENOMEM, "nof_discover: out of memory");
	r = nofi_disc_init(&w->disc, loop, opts, dopts, &err);
	if (r < 0) {
		free(w);
		return nofi_fail(r, "nof_discover: %s", err.text);
	}
	w->disc.step = step;
	w->out = log;
	w->timer.fn = on_timer;
	w->job = (struct nofi_job){
		.loop = loop, .done = done, .arg = arg, .stop = walk_stop, .end = walk_end,
	};
	r = nofi_timer_arm(loop, &w->timer,
			   nofi_loop_now(loop) + w->disc.dopts.timeout_ms * NOFI_MS);
	if (r == 0)
		r = nofi_disc_ask(w->disc.root);
	if (r < 0) {
		nofi_err_set(&err, r, "%s", w->disc.root->err.code ? w->disc.root->err.text :
			     "no memory for a timer");
		nofi_timer_disarm(loop, &w->timer);
		nofi_disc_fini(&w->disc);
		free(w);
		return nofi_fail(r, "nof_discover: %s", err.text);
	}
	nofi_job_start(&w->job);
	return 0;
}

int nof_discover_sync(struct nof_loop *loop, const struct nof_opts *opts,
		      const struct nof_discover_opts *dopts, struct nof_discovery_log **log)
{
	struct nofi_job_wait w;
	int r;

	if (!loop || !opts || !log)
		return nofi_fail(-EINVAL, "nof_discover_sync: loop, opts and log must not be NULL");
	r = nofi_job_wait_begin(loop, "nof_discover", &w);
	if (r < 0)
		return r;
	return nofi_job_wait(loop, "nof_discover", &w,
			     nof_discover(loop, opts, dopts, log, nofi_job_wait_done, &w));
}
