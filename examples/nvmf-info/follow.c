/* SPDX-License-Identifier: MIT */
/*
 * --follow: a persistent discovery, for people and for scripts. Everything that is there comes
 * first, as added; then each change, as soon as the service tells it, until a signal.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "info.h"

enum { SERVICES_MAX = 64 }; /* as many as the library follows */

/* What was last said of a service. */
struct said {
	char traddr[sizeof(((struct nof_discovery_service *)0)->traddr)];
	char trsvcid[sizeof(((struct nof_discovery_service *)0)->trsvcid)];
	int error;
};

struct follow {
	struct nof_loop *loop;
	bool json;
	bool is_known; /* something has been shown */
	int ret;
	struct said said[SERVICES_MAX];
	size_t count;
};

static struct nof_loop *signal_loop;

static void on_signal(int sig)
{
	(void)sig;
	nof_loop_stop(signal_loop);
}

static int error_before(const struct follow *f, const struct nof_discovery_service *s)
{
	size_t i;

	for (i = 0; i < f->count; i++)
		if (!strcmp(f->said[i].traddr, s->traddr) &&
		    !strcmp(f->said[i].trsvcid, s->trsvcid))
			return f->said[i].error;
	return 0;
}

static void print_services(const struct follow *f, const struct nof_discovery_log *log)
{
	size_t i;

	for (i = 0; i < log->nservices; i++) {
		const struct nof_discovery_service *s = &log->services[i];

		if (s->error != error_before(f, s))
			printf("! service    %s port %s: %s\n", s->traddr, s->trsvcid,
			       s->error ? s->detail : "answers again");
	}
}

static void remember(struct follow *f, const struct nof_discovery_log *log)
{
	size_t i;

	f->count = log->nservices < SERVICES_MAX ? log->nservices : SERVICES_MAX;
	for (i = 0; i < f->count; i++) {
		strcpy(f->said[i].traddr, log->services[i].traddr);
		strcpy(f->said[i].trsvcid, log->services[i].trsvcid);
		f->said[i].error = log->services[i].error;
	}
	f->is_known = true;
}

static void print_change(const struct follow *f, const struct nof_discovery_update *u)
{
	size_t i;

	for (i = 0; i < u->nremoved; i++) {
		fputs("- ", stdout);
		print_entry(u->removed[i]);
	}
	for (i = 0; i < u->nadded; i++) {
		fputs("+ ", stdout);
		print_entry(u->added[i]);
	}
	print_services(f, u->log);
}

static void json_entries(struct json *j, const char *key,
			 const struct nof_discovery_entry *const *entries, size_t count)
{
	size_t i;

	json_array(j, key);
	for (i = 0; i < count; i++)
		json_entry(j, entries[i]);
	json_array_end(j);
}

static void print_line(const struct nof_discovery_update *u)
{
	struct json j;
	size_t i;

	json_init(&j, stdout);
	j.is_line = true;
	json_object(&j, NULL);
	json_entries(&j, "added", u->added, u->nadded);
	json_entries(&j, "removed", u->removed, u->nremoved);
	json_u64(&j, "count", u->log->count);
	json_array(&j, "services");
	for (i = 0; i < u->log->nservices; i++)
		json_service(&j, &u->log->services[i]);
	json_array_end(&j);
	json_object_end(&j);
	json_finish(&j);
}

static void on_update(void *arg, const struct nof_discovery_update *u)
{
	struct follow *f = arg;

	if (!f->is_known && u->log->services[0].error) {
		f->ret = tool_error(TOOL_FAILED, "%s", u->log->services[0].detail);
		nof_loop_stop(f->loop);
		return;
	}
	if (f->json)
		print_line(u);
	else
		print_change(f, u);
	remember(f, u->log);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		f->ret = tool_output_failed();
		nof_loop_stop(f->loop);
	}
}

int follow(const char *uri, bool wants_json)
{
	struct sigaction end = { .sa_handler = on_signal }, plain = { .sa_handler = SIG_DFL };
	struct follow f = { .json = wants_json };
	struct nof_discovery_watch *watch;
	struct nof_loop_opts lo;
	struct nof_opts opts;

	nof_opts_init(&opts);
	if (nof_uri_parse(uri, &opts) < 0)
		return tool_error(TOOL_USAGE, "%s", nof_strerror_detail());
	nof_loop_opts_init(&lo);
	lo.engine = opts.engine;
	if (nof_loop_new(&lo, &f.loop) < 0)
		return tool_error(TOOL_FAILED, "%s", nof_strerror_detail());
	if (nof_discover_watch(f.loop, &opts, NULL, on_update, &f, &watch) < 0) {
		nof_loop_free(f.loop);
		return tool_error(TOOL_FAILED, "%s", nof_strerror_detail());
	}
	signal_loop = f.loop;
	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	if (nof_loop_run(f.loop) < 0)
		f.ret = tool_error(TOOL_FAILED, "%s", nof_strerror_detail());
	sigaction(SIGINT, &plain, NULL);
	sigaction(SIGTERM, &plain, NULL);
	nof_discover_watch_free(watch);
	nof_loop_free(f.loop);
	return f.ret;
}
