/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nof_mdns_browse(). Avahi's client library can be driven by a foreign loop, but not
 * begun by one: connecting to D-Bus and asking whether the daemon is there blocks, for
 * as long as a stuck bus likes. So each browse has a thread of its own, as a name look-up
 * has (mptcp/resolve.c), and nobody waits for it: it shares a counted object with
 * the job, and hands the result to the loop as a message.
 */
#include "ctrl/mdns.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/internal.h"
#include "ctrl/job.h"

enum { TIMEOUT_MS = 3000, TIMEOUT_MAX_MS = 600000, GRACE_MS = 1000 };

/* Shared by the job and the thread; the last to let go frees it. */
struct browse {
	pthread_mutex_t lock;
	unsigned refs;			/* under lock: job, thread or its message */
	bool is_cancelled;		/* under lock: the loop may be gone */
	struct nof_loop *loop;
	struct nofi_msg msg;		/* the result is here */
	struct mdns_job *job;		/* NULL once it is over; loop's thread */
	uint32_t timeout_ms;
	struct nof_mdns_list list;	/* the thread's until the message */
	struct nofi_err err;
};

struct mdns_job {
	struct nofi_job job;
	struct browse *browse;
	struct nofi_timer timer;	/* for a daemon that does not answer at all */
	struct nof_mdns_list *list;	/* the result */
	struct nof_mdns_list **out;
};

static void put(struct browse *b)
{
	bool is_last;

	pthread_mutex_lock(&b->lock);
	is_last = !--b->refs;
	pthread_mutex_unlock(&b->lock);
	if (!is_last)
		return;
	pthread_mutex_destroy(&b->lock);
	free(b->list.services);
	free(b);
}

static bool is_cancelled(void *arg)
{
	struct browse *b = arg;
	bool is;

	pthread_mutex_lock(&b->lock);
	is = b->is_cancelled;
	pthread_mutex_unlock(&b->lock);
	return is;
}

static void *browse_main(void *arg)
{
	struct browse *b = arg;

	b->err.code = 0;
	nofi_mdns_ask(b->timeout_ms, is_cancelled, b, &b->list, &b->err);
	pthread_mutex_lock(&b->lock);
	if (!b->is_cancelled) {
		/* Under the lock: whoever cancels knows that nothing is posted afterwards. */
		nofi_loop_post(b->loop, &b->msg);	/* takes our reference along */
		pthread_mutex_unlock(&b->lock);
		return NULL;
	}
	pthread_mutex_unlock(&b->lock);
	put(b);
	return NULL;
}

/* Signals belong to the program's own threads: its handlers must not run in ours. */
static int start_thread(struct browse *b)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int e;

	e = pthread_attr_init(&attr);
	if (e)
		return -e;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	e = pthread_create(&thread, &attr, browse_main, b);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -e;
}

/* The thread is left to itself. */
static void let_go(struct mdns_job *m)
{
	struct browse *b = m->browse;

	nofi_timer_disarm(m->job.loop, &m->timer);
	m->browse = NULL;
	if (!b)
		return;
	b->job = NULL;
	pthread_mutex_lock(&b->lock);
	b->is_cancelled = true;
	pthread_mutex_unlock(&b->lock);
	put(b);
}

static void arrived(struct nofi_msg *msg)
{
	struct browse *b = nofi_of(msg, struct browse, msg);
	struct mdns_job *m = b->job;

	if (m) {
		m->job.err = b->err;
		*m->list = b->list;
		memset(&b->list, 0, sizeof(b->list));
		let_go(m);
		nofi_job_finish(&m->job);
	}
	put(b);
}

static void on_timer(struct nofi_timer *t)
{
	struct mdns_job *m = nofi_of(t, struct mdns_job, timer);

	nofi_err_set(&m->job.err, -ETIMEDOUT, "the Avahi daemon did not answer within %u ms; does "
		     "D-Bus work (`busctl status`), and is avahi-daemon stuck?",
		     m->browse->timeout_ms + GRACE_MS);
	let_go(m);
	nofi_job_finish(&m->job);
}

static void mdns_stop(struct nofi_job *job)
{
	let_go((struct mdns_job *)job);
}

static void mdns_end(struct nofi_job *job)
{
	struct mdns_job *m = (struct mdns_job *)job;

	if (job->err.code)
		nof_mdns_free(m->list);
	else
		*m->out = m->list;
	free(m);
}

static int begin(struct mdns_job *m, uint32_t timeout_ms, struct nofi_err *err)
{
	struct browse *b = calloc(1, sizeof(*b));
	struct nof_loop *loop = m->job.loop;
	int r;

	m->list = calloc(1, sizeof(*m->list));
	if (!b || !m->list) {
		free(b);
		return nofi_err_set(err, -ENOMEM, "out of memory");
	}
	pthread_mutex_init(&b->lock, NULL);
	b->refs = 2;
	b->loop = loop;
	b->msg.fn = arrived;
	b->job = m;
	b->timeout_ms = timeout_ms;
	m->browse = b;
	m->timer.fn = on_timer;
	r = nofi_timer_arm(loop, &m->timer,
			   nofi_loop_now(loop) + (timeout_ms + GRACE_MS) * NOFI_MS);
	if (r == 0)
		r = start_thread(b);
	if (r == 0)
		return 0;
	b->refs = 1;
	let_go(m);
	return nofi_err_set(err, r, "cannot start a thread to ask the Avahi daemon: %s",
			    strerror(-r));
}

int nof_mdns_browse(struct nof_loop *loop, uint32_t timeout_ms, struct nof_mdns_list **list,
		    nof_done_fn *done, void *arg)
{
	struct mdns_job *m;
	struct nofi_err err;
	int r;

	if (!loop || !list || !done)
		return nofi_fail(-EINVAL, "nof_mdns_browse: loop, list and done must not be NULL");
	if (timeout_ms > TIMEOUT_MAX_MS)
		return nofi_fail(-EINVAL, "nof_mdns_browse: timeout_ms is %u, at most %d are "
				 "possible", timeout_ms, TIMEOUT_MAX_MS);
	m = calloc(1, sizeof(*m));
	if (!m)
		return nofi_fail(-ENOMEM, "nof_mdns_browse: out of memory");
	m->out = list;
	m->job = (struct nofi_job){
		.loop = loop, .done = done, .arg = arg, .stop = mdns_stop, .end = mdns_end,
	};
#ifdef NOFI_HAVE_AVAHI
	r = begin(m, timeout_ms ? timeout_ms : TIMEOUT_MS, &err);
#else
	(void)begin;
	r = nofi_err_set(&err, -ENOSYS, "this library was built without mDNS; build it with "
			 "-Dmdns=enabled and Avahi's client library (libavahi-client-dev)");
#endif
	if (r < 0) {
		nof_mdns_free(m->list);
		free(m);
		return nofi_fail(r, "nof_mdns_browse: %s", err.text);
	}
	nofi_job_start(&m->job);
	return 0;
}

int nof_mdns_browse_sync(struct nof_loop *loop, uint32_t timeout_ms, struct nof_mdns_list **list)
{
	struct nofi_job_wait w;
	int r;

	if (!loop || !list)
		return nofi_fail(-EINVAL, "nof_mdns_browse_sync: loop and list must not be NULL");
	r = nofi_job_wait_begin(loop, "nof_mdns_browse", &w);
	if (r < 0)
		return r;
	return nofi_job_wait(loop, "nof_mdns_browse", &w,
			     nof_mdns_browse(loop, timeout_ms, list, nofi_job_wait_done, &w));
}

#ifndef NOFI_HAVE_AVAHI
int nofi_mdns_ask(uint32_t timeout_ms, bool (*is_over)(void *arg), void *arg,
		  struct nof_mdns_list *list, struct nofi_err *err)
{
	return nofi_err_set(err, -ENOSYS, "this library was built without mDNS");
}
#endif
