/* SPDX-License-Identifier: MIT */
/*
 * What a URI stands for: a subsystem, or all those that a discovery service lists.
 */
#ifndef TOOL_EXPAND_H
#define TOOL_EXPAND_H

#include <nof.h>

/* A controller to be connected to. */
struct tool_target {
	struct nof_opts opts;
	char *uri;
	bool is_listed;	  /* by a discovery service; not named by the user */
	int error;	  /* it cannot be connected to: negative errno */
	char detail[512]; /* … and why, a sentence */
};

struct tool_targets {
	struct tool_target *list;
	size_t count, room;
	char error[640]; /* sentence of the call that failed */
};

/* True when a URI names no subsystem, or the discovery service itself. */
bool tool_is_discovery(const struct nof_opts *opts);

/*
 * Adds to *t what opts, of the URI uri, stands for: itself, or each subsystem that its discovery
 * service and those it refers to list. 0, or a negative errno and t->error: what is in *t stays.
 * ENOENT: nothing is listed.
 */
int tool_expand(struct tool_targets *t, struct nof_loop *loop, const struct nof_opts *opts,
		const char *uri);
void tool_targets_free(struct tool_targets *t);

#endif
