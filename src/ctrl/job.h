/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An operation of the user that belongs to a loop and to no controller (a walk over
 * discovery services, a browse). Its callback is called once, never inside the
 * call that started it; nof_discover_cancel() finds it by loop and arg.
 */
#ifndef NOF_CTRL_JOB_H
#define NOF_CTRL_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "queue/loop.h"

struct nofi_job {
	struct nofi_job *next;		/* all of the process; under a lock of job.c */
	struct nof_loop *loop;
	nof_done_fn *done;
	void *arg;			/* of done */
	struct nofi_err err;		/* how it ended; code 0: well */
	uint64_t serial;		/* counts all that were started */
	bool is_over;			/* only the callback is left */
	struct nofi_defer tell;		/* calls it */
	/* Ends everything that could still call into the job. Not called once it is over. */
	void (*stop)(struct nofi_job *job);
	/* Hands the result over (err.code 0) or drops it, and frees the job. */
	void (*end)(struct nofi_job *job);
};

/* All fields but next, err, serial, is_over and tell are set. */
void nofi_job_start(struct nofi_job *job);
/* job->err says how. The job is gone after this turn. */
void nofi_job_finish(struct nofi_job *job);

/*
 * The waiting form: arg of a job is the struct, done nofi_job_wait_done. wait gets what the
 * starting call returned; begin refuses inside callbacks.
 */
struct nofi_job_wait {
	bool is_done;
	struct nofi_err err;
};
int nofi_job_wait_begin(struct nof_loop *loop, const char *call, struct nofi_job_wait *w);
void nofi_job_wait_done(void *arg, const struct nof_completion *c);
int nofi_job_wait(struct nof_loop *loop, const char *call, struct nofi_job_wait *w, int r);

#endif
