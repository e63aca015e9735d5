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

	if (run->o->status && (ev->type == NOF_EVENT_SUBFLOW || ev->type == NOF_EVENT_FALLBACK))
		fprintf(stderr, "  %s\n", ev->detail);
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

/* A controller, and a namespace through it. A negative errno, with the library's sentence. */
static int connect_path(struct path *path, struct nof_loop *loop, struct nof_ns **ns)
{
	int ret = nof_ctrl_new(loop, path->opts, path_event, path, &path->ctrl);

	if (ret < 0)
		return ret;
	/* The sentence of the call says more than that of the event. */
	path->is_closing = true;
	ret = nof_ctrl_connect_sync(path->ctrl);
	if (ret < 0)
		return ret;
	path->is_closing = false;
	path->info.size = sizeof(path->info);
	ret = nof_ctrl_get_info(path->ctrl, &path->info);
	return ret < 0 ? ret : nof_ns_open_sync(path->ctrl, NULL, ns);
}

/* The namespace the URI names becomes a job, or the path one more of the job that has it. */
static int join(struct path *path, struct nof_ns *ns)
{
	struct nof_ns_info info = { .size = sizeof(info) };
	struct run *run = path->run;
	struct job *job;

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
			     .io_timeout_ms = path->opts->io_timeout_ms, .ns = ns, .ns_info = info,
			     .ctrl_info = path->info, .path_count = 1 };
	path->job = job;
	return job_check(job);
}

/* All that the URIs stand for; what a discovery log has and cannot be connected to is left out. */
static int expand(struct run *run, const struct nof_opts *opts, struct nof_loop *loop)
{
	struct tool_targets *t = &run->targets;
	unsigned int i;
	size_t k, usable = 0;

	for (i = 0; i < run->o->uri_count; i++) {
		if (tool_expand(t, loop, &opts[i], run->o->uris[i]) == 0)
			continue;
		run_error(run, &run->other_errors, "%s", t->error);
		return -1;
	}
	for (k = 0; k < t->count; k++)
		usable += !t->list[k].error;
	if (!usable) {
		run_error(run, &run->other_errors, "%s: %s", t->list[0].uri, t->list[0].detail);
		return -1;
	}
	if (run->o->pcap && usable > 1) {
		run_error(run, &run->other_errors,
			  "--pcap records one connection set, and %s stands for %zu.",
			  run->o->uris[0], usable);
		return TOOL_USAGE;
	}
	run->paths = calloc(usable, sizeof(*run->paths));
	run->jobs = calloc(usable, sizeof(*run->jobs));
	if (run->paths && run->jobs)
		return 0;
	run_error(run, &run->other_errors, "no memory for %zu paths.", usable);
	return -1;
}

/* Not all that a log lists can be reached from everywhere: the rest is enough. */
static int leave_out(struct path *path, struct tool_target *target, int error)
{
	target->error = error;
	snprintf(target->detail, sizeof(target->detail), "%s", nof_strerror_detail());
	path->is_closing = true;
	nof_ctrl_free(path->ctrl);
	path->run->path_count--;
	return 0;
}

int paths_open(struct run *run, const struct nof_opts *opts, struct nof_loop *loop)
{
	int ret = expand(run, opts, loop);
	struct nof_ns *ns;
	size_t i;

	for (i = 0; ret == 0 && i < run->targets.count; i++) {
		struct tool_target *target = &run->targets.list[i];
		struct path *path = &run->paths[run->path_count];

		if (target->error)
			continue;
		*path = (struct path){ .run = run, .index = run->path_count++,
				       .opts = &target->opts, .uri = target->uri };
		ret = connect_path(path, loop, &ns);
		if (ret == 0)
			ret = join(path, ns);
		else if (target->is_listed)
			ret = leave_out(path, target, ret);
		else
			ret = fail(run);
	}
	if (ret || run->job_count)
		return ret;
	run_error(run, &run->other_errors, "%s: %s", run->targets.list[0].uri,
		  run->targets.list[0].detail);
	return -1;
}

static void note_io(struct job *job)
{
	static struct nof_path_info infos[PERF_MAX_PATHS];
	struct run *run = job->run;
	unsigned int i;
	int n, k;

	infos[0].size = sizeof(infos[0]);
	n = nof_ns_get_paths(job->ns, infos, PERF_MAX_PATHS);
	for (i = 0; i < run->path_count; i++)
		for (k = 0; k < n && k < (int)PERF_MAX_PATHS; k++)
			if (infos[k].ctrl == run->paths[i].ctrl && run->paths[i].job == job)
				run->paths[i].io = infos[k];
}

void paths_note(struct run *run)
{
	unsigned int i;

	for (i = 0; i < run->path_count; i++) {
		struct path *path = &run->paths[i];

		if (!path->ctrl)
			continue;
		path->stats.size = sizeof(path->stats);
		nof_ctrl_get_stats(path->ctrl, &path->stats);
	}
	for (i = 0; i < run->job_count; i++)
		note_io(&run->jobs[i]);
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
