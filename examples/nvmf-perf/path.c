/* SPDX-License-Identifier: MIT */
/*
 * Paths: URIs connected, and those that lead to one namespace put together to one job.
 */
#include <stdlib.h>
#include <string.h>

#include "perf.h"

static int fail(struct run *run)
{
	run_error(run, &run->other_errors, "%s", nof_strerror_detail());
	return -1;
}

/* The last path of a namespace takes the load with it; another one is a loss to be reported. */
static void path_event(void *arg, const struct nof_event *ev)
{
	struct path *path = arg;
	struct run *run = path->run;
	unsigned int i;

	if (ev->type != NOF_EVENT_CTRL_STATE || ev->state != NOF_CTRL_FAILED || path->is_closing)
		return;
	path->is_lost = true;
	for (i = 0; i < run->path_count; i++)
		if (run->paths[i].job == path->job && !run->paths[i].is_lost)
			return;
	run_error(run, &run->other_errors, "%s", ev->detail);
	run_stop(run);
}

static bool is_same_namespace(const struct job *job, const struct path *path,
			      const struct nof_ns_info *n)
{
	const struct nof_ns_info *m = &job->ns_info;

	if (strcmp(job->ctrl_info.subnqn, path->info.subnqn))
		return false;
	if (m->has_uuid && n->has_uuid)
		return !memcmp(m->uuid, n->uuid, sizeof(m->uuid));
	if (m->has_nguid && n->has_nguid)
		return !memcmp(m->nguid, n->nguid, sizeof(m->nguid));
	return m->nsid == n->nsid;
}

static struct job *find_job(struct run *run, const struct path *path, const struct nof_ns_info *ns)
{
	unsigned int i;

	for (i = 0; i < run->job_count; i++)
		if (is_same_namespace(&run->jobs[i], path, ns))
			return &run->jobs[i];
	return NULL;
}

static int connect_path(struct path *path, struct nof_loop *loop)
{
	struct run *run = path->run;

	if (nof_ctrl_new(loop, &path->opts, path_event, path, &path->ctrl) < 0)
		return fail(run);
	/* The sentence of the call says more than that of the event. */
	path->is_closing = true;
	if (nof_ctrl_connect_sync(path->ctrl) < 0)
		return fail(run);
	path->is_closing = false;
	path->info.size = sizeof(path->info);
	return nof_ctrl_get_info(path->ctrl, &path->info) < 0 ? fail(run) : 0;
}

/* The namespace the URI names becomes a job, or the path one more of the job that has it. */
static int join(struct path *path)
{
	struct nof_ns_info info = { .size = sizeof(info) };
	struct run *run = path->run;
	struct job *job;
	struct nof_ns *ns;

	if (nof_ns_open_sync(path->ctrl, NULL, &ns) < 0)
		return fail(run);
	if (nof_ns_get_info(ns, &info) < 0) {
		nof_ns_close(ns);
		return fail(run);
	}
	job = find_job(run, path, &info);
	if (job) {
		path->job = job;
		job->path_count++;
		nof_ns_close(ns);
		return nof_ns_add_path_sync(job->ns, path->ctrl) < 0 ? fail(run) : 0;
	}
	job = &run->jobs[run->job_count];
	*job = (struct job){ .run = run, .index = run->job_count++, .uri = path->uri,
			     .io_timeout_ms = path->opts.io_timeout_ms, .ns = ns, .ns_info = info,
			     .ctrl_info = path->info, .path_count = 1 };
	path->job = job;
	return job_check(job);
}

int paths_open(struct run *run, const struct nof_opts *opts, struct nof_loop *loop)
{
	unsigned int i, count = run->o->uri_count;
	int ret;

	run->paths = calloc(count, sizeof(*run->paths));
	run->jobs = calloc(count, sizeof(*run->jobs));
	if (!run->paths || !run->jobs) {
		run_error(run, &run->other_errors, "no memory for %u paths.", count);
		return -1;
	}
	for (i = 0; i < count; i++) {
		struct path *path = &run->paths[run->path_count++];

		*path = (struct path){ .run = run, .index = i, .opts = opts[i],
				       .uri = run->o->uris[i] };
		ret = connect_path(path, loop);
		if (ret == 0)
			ret = join(path);
		if (ret)
			return ret;
	}
	return 0;
}

void paths_note(struct run *run)
{
	unsigned int i;

	for (i = 0; i < run->path_count; i++) {
		struct path *path = &run->paths[i];

		path->stats.size = sizeof(path->stats);
		if (path->ctrl)
			nof_ctrl_get_stats(path->ctrl, &path->stats);
	}
}

void paths_close(struct run *run)
{
	unsigned int i;

	for (i = 0; i < run->path_count; i++)
		run->paths[i].is_closing = true;
	for (i = 0; i < run->job_count; i++) {
		nof_ns_close(run->jobs[i].ns);
		run->jobs[i].ns = NULL;
	}
	for (i = 0; i < run->path_count; i++) {
		struct path *path = &run->paths[i];

		/* The load is over: what a clean end may still run into changes no result. */
		if (path->ctrl && nof_ctrl_get_state(path->ctrl) == NOF_CTRL_LIVE)
			nof_ctrl_disconnect_sync(path->ctrl);
		nof_ctrl_free(path->ctrl);
		path->ctrl = NULL;
	}
}
