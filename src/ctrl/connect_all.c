/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nof_connect_all(): from the entries of a log to controllers. Which entries are tried
 * is decided at once; then as many as may be are under way, each with a timer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/addrmap.h"
#include "ctrl/disc.h"
#include "ctrl/internal.h"
#include "ctrl/job.h"
#include "opts.h"

enum { CTRLS_MAX = 1024, PARALLEL_MAX = 64, DAY_MS = 86400000 };

/* One entry to be connected. */
struct attempt {
	struct all *all;
	struct nof_connect_record *record;
	struct nof_ctrl *ctrl;		/* NULL: not under way, or over */
	struct nofi_timer timer;
	struct nofi_disc_ref ref;
};

struct all {
	struct nofi_job job;
	struct nof_opts *opts;
	struct nof_connect_all_opts aopts;
	struct nof_discover_opts dopts;	/* copy of *aopts.discover */
	const struct nof_discovery_log *log;	/* NULL: the walk is under way */
	struct nof_discovery_log *own_log;	/* of our walk */
	bool is_walking;
	struct nof_connect_result *result;
	struct nof_connect_result **out;
	struct attempt *attempts;
	size_t nattempts, next;		/* next: the first that was not started */
	uint32_t nbusy;
	struct nofi_defer work;		/* runs step() */
};

/* What the caller gets: the log of our own walk belongs to it. */
struct result {
	struct nof_connect_result pub;
	struct nof_discovery_log *own_log;
};

static void kick(struct all *a)
{
	if (!a->job.is_over)
		nofi_loop_defer(a->job.loop, &a->work);
}

/* ---- which ---- */

static int add_attempt(struct all *a, struct nof_connect_record *rec,
		       const struct nof_discovery_entry *e, struct nofi_err *err)
{
	struct nofi_disc_ref ref;
	struct attempt *t;

	if (nofi_disc_ref(e, a->opts, &ref) < 0) {
		*err = ref.err;
		return err->code;
	}
	if (e->eflags & NOFI_EFLAGS_NCC)
		return nofi_err_set(err, -EHOSTUNREACH, "\"%.80s\" at %s port %s: the discovery "
				    "service has no connection to it now (NCC)", ref.nqn,
				    ref.traddr, ref.trsvcid);
	for (size_t i = 0; i < a->nattempts && !a->opts->duplicate_connect; i++) {
		t = &a->attempts[i];
		if (nofi_disc_same_place(&t->ref, &ref) && !strcmp(t->ref.nqn, ref.nqn))
			return nofi_err_set(err, -EEXIST, "\"%.80s\" at %s port %s: the same "
					    "address, port and NQN as entry %zu", ref.nqn,
					    ref.traddr, ref.trsvcid, t->record->entry);
	}
	if (a->nattempts == a->aopts.max_ctrls)
		return nofi_err_set(err, -E2BIG, "\"%.80s\" at %s port %s: not tried, %u records "
				    "were before it (max_ctrls)", ref.nqn, ref.traddr, ref.trsvcid,
				    a->aopts.max_ctrls);
	t = &a->attempts[a->nattempts++];
	t->all = a;
	t->record = rec;
	t->ref = ref;
	return 0;
}

static bool is_chosen(const struct all *a, const struct nof_discovery_entry *e)
{
	return e->subtype == NOFI_SUBTYPE_NVM &&
	       (!a->aopts.subnqn[0] || !strcmp(a->aopts.subnqn, e->subnqn));
}

static void set_error(struct nof_connect_record *rec, const struct nofi_err *err)
{
	rec->error = err->code;
	memcpy(rec->detail, err->text, sizeof(rec->detail));
}

_Static_assert(sizeof(((struct nof_connect_record *)0)->detail) ==
	       sizeof(((struct nofi_err *)0)->text), "a sentence fits");

/* −ENOENT: none is chosen. */
static int choose(struct all *a, struct nofi_err *err)
{
	const struct nof_discovery_log *log = a->log;
	struct result *res = calloc(1, sizeof(*res));
	struct nofi_err why;
	size_t n = 0, room;

	if (!res)
		return nofi_err_set(err, -ENOMEM, "out of memory");
	a->result = &res->pub;
	res->own_log = a->own_log;
	a->own_log = NULL;
	a->result->log = log;
	for (size_t i = 0; i < log->count; i++)
		n += is_chosen(a, &log->entries[i]);
	room = n < a->aopts.max_ctrls ? n : a->aopts.max_ctrls;
	a->result->records = calloc(n + 1, sizeof(*a->result->records));
	a->attempts = calloc(room + 1, sizeof(*a->attempts));
	if (!a->result->records || !a->attempts)
		return nofi_err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < log->count; i++) {
		struct nof_connect_record *rec = &a->result->records[a->result->count];

		if (!is_chosen(a, &log->entries[i]))
			continue;
		a->result->count++;
		rec->entry = i;
		if (add_attempt(a, rec, &log->entries[i], &why) < 0)
			set_error(rec, &why);
	}
	if (!n)
		return nofi_err_set(err, -ENOENT, "none of the %zu entries of the discovery log is "
				    "a subsystem%s%s", log->count,
				    a->aopts.subnqn[0] ? " named " : " for this host",
				    a->aopts.subnqn);
	return 0;
}

/* ---- one ---- */

static void attempt_end(struct attempt *t, const struct nofi_err *err)
{
	struct nof_ctrl *ctrl = t->ctrl;

	t->ctrl = NULL;
	t->all->nbusy--;
	nofi_timer_disarm(t->all->job.loop, &t->timer);
	if (err) {
		set_error(t->record, err);
		nof_ctrl_free(ctrl);
	} else {
		t->record->ctrl = ctrl;
		t->all->result->connected++;
	}
	kick(t->all);
}

static void connected(void *arg, const struct nof_completion *c)
{
	struct attempt *t = arg;
	struct nofi_err err;

	if (!t->ctrl)
		return;		/* being freed */
	if (c->error)
		nofi_err_set(&err, c->error, "%s", c->detail);
	attempt_end(t, c->error ? &err : NULL);
}

static void on_timer(struct nofi_timer *timer)
{
	struct attempt *t = nofi_of(timer, struct attempt, timer);
	struct nofi_err err;

	nofi_err_set(&err, -ETIMEDOUT, "\"%.80s\" at %s port %s: not live within %u ms; the target "
		     "or the network is slow, or timeout_ms too short", t->ref.nqn, t->ref.traddr,
		     t->ref.trsvcid, t->all->aopts.timeout_ms);
	attempt_end(t, &err);
}

static int start(struct attempt *t)
{
	struct all *a = t->all;
	const struct nof_discovery_entry *e = &a->log->entries[t->record->entry];
	struct nof_opts *o = malloc(sizeof(*o));
	int r;

	if (!o)
		return nofi_fail(-ENOMEM, "out of memory");
	r = nof_discover_entry_opts(e, a->opts, o);
	if (t != a->attempts)
		o->pcap[0] = '\0';
	if (r == 0)
		r = nof_ctrl_new(a->job.loop, o, a->aopts.events, a->aopts.events_arg, &t->ctrl);
	free(o);
	if (r < 0)
		return r;
	t->timer.fn = on_timer;
	r = nofi_timer_arm(a->job.loop, &t->timer,
			   nofi_loop_now(a->job.loop) + a->aopts.timeout_ms * NOFI_MS);
	if (r < 0)
		return nofi_fail(r, "no memory for a timer");
	return nof_ctrl_connect(t->ctrl, connected, t);
}

/* ---- all ---- */

static void finish(struct all *a)
{
	const struct nof_connect_result *res = a->result;

	for (size_t i = 0; i < res->count && !res->connected; i++) {
		const struct nof_connect_record *rec = &res->records[i];

		/* A repetition says nothing about the first. */
		if (rec->error == -EEXIST)
			continue;
		if (res->count == 1)
			nofi_err_set(&a->job.err, rec->error, "%s", rec->detail);
		else
			nofi_err_set(&a->job.err, rec->error, "none of %zu records could be "
				     "connected; the first: %s", res->count, rec->detail);
		break;
	}
	nofi_job_finish(&a->job);
}

static void step(struct nofi_defer *d)
{
	struct all *a = nofi_of(d, struct all, work);

	if (!a->result && choose(a, &a->job.err) < 0) {
		nofi_job_finish(&a->job);
		return;
	}
	while (a->next < a->nattempts && a->nbusy < a->aopts.max_parallel) {
		struct attempt *t = &a->attempts[a->next++];
		int r;

		a->nbusy++;
		r = start(t);
		if (r < 0) {
			struct nofi_err err;

			nofi_err_set(&err, r, "%s", nof_strerror_detail());
			attempt_end(t, &err);
		}
	}
	if (!a->nbusy && a->next == a->nattempts)
		finish(a);
}

static void walked(void *arg, const struct nof_completion *c)
{
	struct all *a = arg;

	a->is_walking = false;
	if (a->job.is_over)
		return;
	a->log = a->own_log;
	if (c->error) {
		nofi_err_set(&a->job.err, c->error, "%s", c->detail);
		nofi_job_finish(&a->job);
	} else {
		kick(a);
	}
}

static void all_stop(struct nofi_job *job)
{
	struct all *a = (struct all *)job;

	if (a->is_walking)
		nof_discover_cancel(job->loop, a);
	nofi_loop_undefer(job->loop, &a->work);
	for (size_t i = 0; i < a->nattempts; i++) {
		struct attempt *t = &a->attempts[i];
		struct nof_ctrl *ctrl = t->ctrl;

		nofi_timer_disarm(job->loop, &t->timer);
		t->ctrl = NULL;
		nof_ctrl_free(ctrl);
	}
}

static void all_end(struct nofi_job *job)
{
	struct all *a = (struct all *)job;

	nofi_loop_undefer(job->loop, &a->work);
	if (!job->err.code) {
		*a->out = a->result;
	} else if (a->result) {
		for (size_t i = 0; i < a->result->count; i++)
			nof_ctrl_free(a->result->records[i].ctrl);
		nof_connect_all_free(a->result);
	}
	nof_discovery_free(a->own_log);
	free(a->attempts);
	free(a->opts);
	free(a);
}

static const struct nof_connect_all_opts defaults = {
	.size = sizeof(struct nof_connect_all_opts),
	.max_parallel = 8,
	.max_ctrls = 64,
	.timeout_ms = 30000,
};

void nof_connect_all_opts_init_sized(struct nof_connect_all_opts *opts, size_t size)
{
	if (!opts || size < sizeof(opts->size))
		return;
	memset(opts, 0, size);
	memcpy(opts, &defaults, size < sizeof(defaults) ? size : sizeof(defaults));
	opts->size = size;
}

static int take_opts(struct all *a, const struct nof_opts *opts,
		     const struct nof_connect_all_opts *in, struct nofi_err *err)
{
	struct nof_connect_all_opts o = defaults;

	if (in && in->size < offsetof(struct nof_connect_all_opts, events))
		return nofi_err_set(err, -EINVAL, "aopts->size is %zu; call "
				    "nof_connect_all_opts_init() first", in->size);
	if (in)
		memcpy(&o, in, in->size < sizeof(o) ? in->size : sizeof(o));
	if (!memchr(o.subnqn, 0, sizeof(o.subnqn)))
		return nofi_err_set(err, -EINVAL, "subnqn is longer than %d characters",
				    NOFI_NQN_MAX);
	if (o.max_parallel < 1 || o.max_parallel > PARALLEL_MAX || o.max_ctrls < 1 ||
	    o.max_ctrls > CTRLS_MAX || o.timeout_ms < 1 || o.timeout_ms > DAY_MS)
		return nofi_err_set(err, -EINVAL, "max_parallel is %u (1 to %d), max_ctrls %u "
				    "(1 to %d), timeout_ms %u (1 to %d)", o.max_parallel,
				    PARALLEL_MAX, o.max_ctrls, CTRLS_MAX, o.timeout_ms, DAY_MS);
	if (nofi_disc_opts(o.discover, &a->dopts, err) < 0)
		return err->code;
	a->aopts = o;
	if (opts->size < offsetof(struct nof_opts, pcap))
		return nofi_err_set(err, -EINVAL, "opts->size is %zu; call nof_opts_init() first",
				    opts->size);
	if (nofi_addrmap_check(nofi_disc_map(opts), err) < 0)
		return err->code;
	a->opts = malloc(sizeof(*a->opts));
	if (!a->opts)
		return nofi_err_set(err, -ENOMEM, "out of memory");
	nof_opts_init(a->opts);
	memcpy(a->opts, opts, opts->size < sizeof(*opts) ? opts->size : sizeof(*opts));
	a->opts->size = sizeof(*a->opts);
	return 0;
}

int nof_connect_all(struct nof_loop *loop, const struct nof_opts *opts,
		    const struct nof_connect_all_opts *aopts, const struct nof_discovery_log *log,
		    struct nof_connect_result **result, nof_done_fn *done, void *arg)
{
	struct nofi_err err;
	struct all *a;
	int r;

	if (!loop || !opts || !result || !done)
		return nofi_fail(-EINVAL, "nof_connect_all: loop, opts, result and done must not "
				 "be NULL");
	a = calloc(1, sizeof(*a));
	if (!a)
		return nofi_fail(-ENOMEM, "nof_connect_all: out of memory");
	r = take_opts(a, opts, aopts, &err);
	if (r == 0 && !log) {
		r = nof_discover(loop, a->opts, &a->dopts, &a->own_log, walked, a);
		if (r < 0)
			nofi_err_set(&err, r, "%s", nof_strerror_detail());
	}
	if (r < 0) {
		free(a->opts);
		free(a);
		return nofi_fail(r, "nof_connect_all: %s", err.text);
	}
	a->log = log;
	a->is_walking = !log;
	a->out = result;
	a->work.fn = step;
	a->job = (struct nofi_job){
		.loop = loop, .done = done, .arg = arg, .stop = all_stop, .end = all_end,
	};
	nofi_job_start(&a->job);
	if (log)
		kick(a);
	return 0;
}

int nof_connect_all_sync(struct nof_loop *loop, const struct nof_opts *opts,
			 const struct nof_connect_all_opts *aopts,
			 const struct nof_discovery_log *log, struct nof_connect_result **result)
{
	struct nofi_job_wait w;
	int r;

	if (!loop || !opts || !result)
		return nofi_fail(-EINVAL, "nof_connect_all_sync: loop, opts and result must not be "
				 "NULL");
	r = nofi_job_wait_begin(loop, "nof_connect_all", &w);
	if (r < 0)
		return r;
	return nofi_job_wait(loop, "nof_connect_all", &w,
			     nof_connect_all(loop, opts, aopts, log, result, nofi_job_wait_done,
					     &w));
}

void nof_connect_all_free(struct nof_connect_result *pub)
{
	struct result *res = (struct result *)pub;

	if (!res)
		return;
	nof_discovery_free(res->own_log);
	free(pub->records);
	free(res);
}
