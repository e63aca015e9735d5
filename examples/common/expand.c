/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "expand.h"

enum { SUBSYSTEM = 2 /* subtype of an entry */ };

bool tool_is_discovery(const struct nof_opts *opts)
{
	return !opts->subnqn[0] || !strcmp(opts->subnqn, NOF_DISCOVERY_NQN);
}

static struct tool_target *add(struct tool_targets *t, const char *uri)
{
	struct tool_target *target, *more;

	if (t->count == t->room) {
		t->room = t->room ? t->room * 2 : 4;
		more = realloc(t->list, t->room * sizeof(*more));
		if (!more)
			return NULL;
		t->list = more;
	}
	target = &t->list[t->count];
	memset(target, 0, sizeof(*target));
	target->uri = strdup(uri);
	if (!target->uri)
		return NULL;
	t->count++;
	return target;
}

static int out_of_memory(struct tool_targets *t)
{
	snprintf(t->error, sizeof(t->error), "no memory for a list of subsystems.");
	return -ENOMEM;
}

/* What an entry says when it cannot be made a URI. */
static void describe(const struct nof_discovery_entry *e, char *buf, size_t len)
{
	snprintf(buf, len, "%s port %s, %s", e->traddr, e->trsvcid, e->subnqn);
}

/* base with what the tool wants by itself; shown is what the user gave, for the URI. */
static int add_entry(struct tool_targets *t, const struct nof_opts *base,
		     const struct nof_opts *shown, const struct nof_discovery_entry *e)
{
	struct tool_target *target;
	struct nof_opts opts, plain;
	char uri[8192], detail[512] = "";
	int ret = nof_discover_entry_opts(e, base, &opts);

	if (ret < 0) {
		snprintf(detail, sizeof(detail), "%s", nof_strerror_detail());
		describe(e, uri, sizeof(uri));
	} else {
		nof_discover_entry_opts(e, shown, &plain);
		nof_uri_format(&plain, uri, sizeof(uri));
	}
	target = add(t, uri);
	if (!target)
		return out_of_memory(t);
	target->is_listed = true;
	target->error = ret;
	memcpy(target->detail, detail, sizeof(detail));
	if (ret == 0)
		target->opts = opts;
	return 0;
}

int tool_expand(struct tool_targets *t, struct nof_loop *loop, const struct nof_opts *opts,
		const char *uri)
{
	struct nof_discovery_log *log;
	struct tool_target *target;
	struct nof_opts shown;
	size_t before = t->count, i;
	int ret;

	t->error[0] = '\0';
	if (!tool_is_discovery(opts)) {
		target = add(t, uri);
		if (target)
			target->opts = *opts;
		return target ? 0 : out_of_memory(t);
	}
	ret = nof_discover_sync(loop, opts, NULL, &log);
	if (ret < 0) {
		snprintf(t->error, sizeof(t->error), "%s", nof_strerror_detail());
		return ret;
	}
	nof_opts_init(&shown);
	nof_uri_parse(uri, &shown);
	for (i = 0; i < log->count && ret == 0; i++)
		if (log->entries[i].subtype == SUBSYSTEM)
			ret = add_entry(t, opts, &shown, &log->entries[i]);
	nof_discovery_free(log);
	if (ret == 0 && t->count == before) {
		snprintf(t->error, sizeof(t->error), "%s: its log lists no subsystem.", uri);
		ret = -ENOENT;
	}
	return ret;
}

void tool_targets_free(struct tool_targets *t)
{
	size_t i;

	for (i = 0; i < t->count; i++)
		free(t->list[i].uri);
	free(t->list);
	memset(t, 0, sizeof(*t));
}
