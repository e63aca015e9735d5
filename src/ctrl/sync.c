/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting forms: start the operation, run the loop until it is over. Every
 * operation ends in bounded time by itself, so the wait needs no deadline.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/internal.h"

/*
 * On the heap: when the loop's engine fails the wait ends before the operation
 * does, and the completion that comes later (from nof_ctrl_free()) must find it.
 */
struct wait {
	bool is_done;
	bool is_abandoned;
	struct nofi_err err;
	struct nof_ns *ns;		/* results: the caller's places may be gone by then */
	struct nof_discovery_log *log;
};

static void wait_done(void *arg, const struct nof_completion *c)
{
	struct wait *w = arg;

	if (w->is_abandoned) {
		nof_ns_close(w->ns);
		nof_discovery_free(w->log);
		free(w);
		return;
	}
	w->err.code = 0;
	if (c->error)
		nofi_err_set(&w->err, c->error, "%s", c->detail);
	w->is_done = true;
}

static int wait_begin(struct nof_loop *loop, const char *call, struct wait **out)
{
	if (nofi_loop_is_processing(loop))
		return nofi_fail(-EDEADLK,
				 "%s: cannot wait inside a callback; use the asynchronous "
				 "form",
				 call);
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : nofi_fail(-ENOMEM, "%s: out of memory", call);
}

/* r: what the start of the operation returned. The result goes to *ns or *log. */
static int wait_end(struct nof_loop *loop, const char *call, struct wait *w, int r,
		    struct nof_ns **ns, struct nof_discovery_log **log)
{
	size_t len = strlen(call);

	if (r < 0) {
		free(w);
		return r;
	}
	r = nofi_loop_run_until(loop, &w->is_done, 0);
	if (!w->is_done) {
		w->is_abandoned = true;
		return nofi_fail(r, "%s: the loop failed: %s", call, strerror(-r));
	}
	r = w->err.code;
	if (r == 0 && ns)
		*ns = w->ns;
	if (r == 0 && log)
		*log = w->log;
	/* The sentence may name the call already. */
	if (r < 0 && !strncmp(w->err.text, call, len))
		nofi_fail_err(&w->err);
	else if (r < 0)
		nofi_fail(r, "%s: %s", call, w->err.text);
	free(w);
	return r;
}

int nof_ctrl_connect_sync(struct nof_ctrl *ctrl)
{
	struct nof_loop *loop = nof_ctrl_get_loop(ctrl);
	struct wait *w;
	int r;

	if (!ctrl)
		return nofi_fail(-EINVAL, "nof_ctrl_connect_sync: no controller was given");
	r = wait_begin(loop, "nof_ctrl_connect", &w);
	if (r < 0)
		return r;
	return wait_end(loop, "nof_ctrl_connect", w, nof_ctrl_connect(ctrl, wait_done, w), NULL,
			NULL);
}

int nof_ctrl_disconnect_sync(struct nof_ctrl *ctrl)
{
	struct nof_loop *loop = nof_ctrl_get_loop(ctrl);
	struct wait *w;
	int r;

	if (!ctrl)
		return nofi_fail(-EINVAL, "nof_ctrl_disconnect_sync: no controller was given");
	r = wait_begin(loop, "nof_ctrl_disconnect", &w);
	if (r < 0)
		return r;
	return wait_end(loop, "nof_ctrl_disconnect", w, nof_ctrl_disconnect(ctrl, wait_done, w),
			NULL, NULL);
}

int nof_ctrl_reset_sync(struct nof_ctrl *ctrl)
{
	struct nof_loop *loop = nof_ctrl_get_loop(ctrl);
	struct wait *w;
	int r;

	if (!ctrl)
		return nofi_fail(-EINVAL, "nof_ctrl_reset_sync: no controller was given");
	r = wait_begin(loop, "nof_ctrl_reset", &w);
	if (r < 0)
		return r;
	return wait_end(loop, "nof_ctrl_reset", w, nof_ctrl_reset(ctrl, wait_done, w), NULL, NULL);
}

int nof_ctrl_subsystem_reset_sync(struct nof_ctrl *ctrl)
{
	struct nof_loop *loop = nof_ctrl_get_loop(ctrl);
	struct wait *w;
	int r;

	if (!ctrl)
		return nofi_fail(-EINVAL, "nof_ctrl_subsystem_reset_sync: no controller was given");
	r = wait_begin(loop, "nof_ctrl_subsystem_reset", &w);
	if (r < 0)
		return r;
	return wait_end(loop, "nof_ctrl_subsystem_reset", w,
			nof_ctrl_subsystem_reset(ctrl, wait_done, w), NULL, NULL);
}

int nof_connect(struct nof_loop *loop, const char *uri, struct nof_ctrl **out)
{
	struct nof_ctrl *ctrl;
	struct nof_opts *opts;
	int r;

	if (!loop || !uri || !out)
		return nofi_fail(-EINVAL, "nof_connect: loop, uri and ctrl must not be NULL");
	opts = malloc(sizeof(*opts));
	if (!opts)
		return nofi_fail(-ENOMEM, "nof_connect: out of memory");
	nof_opts_init(opts);
	r = nof_uri_parse(uri, opts);
	if (r == 0)
		r = nof_ctrl_new(loop, opts, NULL, NULL, &ctrl);
	free(opts);
	if (r < 0)
		return r;
	r = nof_ctrl_connect_sync(ctrl);
	if (r < 0) {
		struct nofi_err err;

		/* Freeing must not disturb the sentence. */
		nofi_err_set(&err, r, "%s", nof_strerror_detail());
		nof_ctrl_free(ctrl);
		return nofi_fail_err(&err);
	}
	*out = ctrl;
	return 0;
}

int nof_ns_open_sync(struct nof_ctrl *ctrl, const char *id, struct nof_ns **ns)
{
	struct nof_loop *loop = nof_ctrl_get_loop(ctrl);
	struct wait *w;
	int r;

	if (!ctrl || !ns)
		return nofi_fail(-EINVAL, "nof_ns_open_sync: ctrl and ns must not be NULL");
	r = wait_begin(loop, "nof_ns_open", &w);
	if (r < 0)
		return r;
	return wait_end(loop, "nof_ns_open", w, nof_ns_open(ctrl, id, &w->ns, wait_done, w), ns,
			NULL);
}

int nof_ns_add_path_sync(struct nof_ns *ns, struct nof_ctrl *ctrl)
{
	struct nof_loop *loop = nof_ctrl_get_loop(ctrl);
	struct wait *w;
	int r;

	if (!ns || !ctrl)
		return nofi_fail(-EINVAL, "nof_ns_add_path_sync: ns and ctrl must not be NULL");
	r = wait_begin(loop, "nof_ns_add_path", &w);
	if (r < 0)
		return r;
	return wait_end(loop, "nof_ns_add_path", w, nof_ns_add_path(ns, ctrl, wait_done, w), NULL,
			NULL);
}

int nof_discovery_get_sync(struct nof_ctrl *ctrl, struct nof_discovery_log **log)
{
	struct nof_loop *loop = nof_ctrl_get_loop(ctrl);
	struct wait *w;
	int r;

	if (!ctrl || !log)
		return nofi_fail(-EINVAL, "nof_discovery_get_sync: ctrl and log must not be NULL");
	r = wait_begin(loop, "nof_discovery_get", &w);
	if (r < 0)
		return r;
	return wait_end(loop, "nof_discovery_get", w,
			nof_discovery_get(ctrl, &w->log, wait_done, w), NULL, log);
}
