/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting forms of the admin commands: start, run the loop until it is over.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/admin.h"

/* On the heap: when the engine fails, the completion that still comes must find it. */
struct waiting {
	bool is_done;
	bool is_abandoned;
	struct nofi_err err;
	uint64_t result;
};

static void on_done(void *arg, const struct nof_completion *c)
{
	struct waiting *w = arg;

	if (w->is_abandoned) {
		free(w);
		return;
	}
	w->is_done = true;
	w->err.code = 0;
	w->result = c->result;
	if (c->error)
		nofi_err_set(&w->err, c->error, "%s", c->detail);
}

static int begin(struct nof_ctrl *ctrl, struct waiting **out)
{
	if (!ctrl)
		return nofi_fail(-EINVAL, "no controller was given");
	if (nofi_loop_is_processing(ctrl->loop))
		return nofi_fail(-EDEADLK, "a waiting call was made inside a callback; use the "
				 "asynchronous form there");
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : nofi_fail(-ENOMEM, "out of memory");
}

static int finish(struct nof_ctrl *ctrl, struct waiting *w, int r, uint64_t *result)
{
	if (r < 0) {
		free(w);
		return r;
	}
	r = nofi_loop_run_until(ctrl->loop, &w->is_done, 0);
	if (!w->is_done) {
		struct nofi_err why;

		/* The engine broke: nothing may be written to the caller's buffer any more. */
		w->is_abandoned = true;
		nofi_err_set(&why, r, "the %s engine failed while waiting: %s; the connection was "
			     "given up", nof_loop_engine(ctrl->loop), strerror(-r));
		if (ctrl->admin)
			nofi_queue_kill(ctrl->admin, &why);
		return nofi_fail_err(&why);
	}
	r = w->err.code ? nofi_fail_err(&w->err) : 0;
	if (r == 0 && result)
		*result = w->result;
	free(w);
	return r;
}

#define WAIT_FOR(ctrl, result, call) \
	do { \
		struct waiting *w; \
		int r_ = begin(ctrl, &w); \
		return r_ < 0 ? r_ : finish(ctrl, w, call, result); \
	} while (0)

int nof_admin_sync(struct nof_ctrl *ctrl, const struct nof_passthru *cmd, uint64_t *result)
{
	WAIT_FOR(ctrl, result, nof_admin(ctrl, cmd, on_done, w));
}

int nof_identify_sync(struct nof_ctrl *ctrl, const struct nof_identify_args *args, void *data)
{
	WAIT_FOR(ctrl, NULL, nof_identify(ctrl, args, data, on_done, w));
}

int nof_get_log_sync(struct nof_ctrl *ctrl, const struct nof_log_args *args, void *data,
		     size_t len)
{
	WAIT_FOR(ctrl, NULL, nof_get_log(ctrl, args, data, len, on_done, w));
}

int nof_get_feature_sync(struct nof_ctrl *ctrl, const struct nof_feature_args *args,
			 uint64_t *result)
{
	WAIT_FOR(ctrl, result, nof_get_feature(ctrl, args, on_done, w));
}

int nof_set_feature_sync(struct nof_ctrl *ctrl, const struct nof_feature_args *args,
			 uint64_t *result)
{
	WAIT_FOR(ctrl, result, nof_set_feature(ctrl, args, on_done, w));
}

int nof_ns_create_sync(struct nof_ctrl *ctrl, const struct nof_ns_create_args *args,
		       uint32_t *nsid)
{
	uint64_t result = 0;
	struct waiting *w;
	int r = begin(ctrl, &w);

	if (r == 0)
		r = finish(ctrl, w, nof_ns_create(ctrl, args, on_done, w), &result);
	if (r == 0 && nsid)
		*nsid = (uint32_t)result;
	return r;
}

int nof_ns_delete_sync(struct nof_ctrl *ctrl, uint32_t nsid, uint32_t timeout_ms)
{
	WAIT_FOR(ctrl, NULL, nof_ns_delete(ctrl, nsid, timeout_ms, on_done, w));
}

int nof_ns_attach_sync(struct nof_ctrl *ctrl, uint32_t nsid, const uint16_t *cntlids, size_t n)
{
	WAIT_FOR(ctrl, NULL, nof_ns_attach(ctrl, nsid, cntlids, n, on_done, w));
}

int nof_ns_detach_sync(struct nof_ctrl *ctrl, uint32_t nsid, const uint16_t *cntlids, size_t n)
{
	WAIT_FOR(ctrl, NULL, nof_ns_detach(ctrl, nsid, cntlids, n, on_done, w));
}

int nof_format_sync(struct nof_ctrl *ctrl, const struct nof_format_args *args)
{
	WAIT_FOR(ctrl, NULL, nof_format(ctrl, args, on_done, w));
}

int nof_sanitize_sync(struct nof_ctrl *ctrl, const struct nof_sanitize_args *args)
{
	WAIT_FOR(ctrl, NULL, nof_sanitize(ctrl, args, on_done, w));
}

int nof_self_test_sync(struct nof_ctrl *ctrl, uint32_t nsid, enum nof_self_test test)
{
	WAIT_FOR(ctrl, NULL, nof_self_test(ctrl, nsid, test, on_done, w));
}

int nof_fw_download_sync(struct nof_ctrl *ctrl, const void *image, size_t len, uint64_t offset)
{
	WAIT_FOR(ctrl, NULL, nof_fw_download(ctrl, image, len, offset, on_done, w));
}

int nof_fw_commit_sync(struct nof_ctrl *ctrl, uint8_t slot, uint8_t action, uint32_t timeout_ms,
		       uint64_t *result)
{
	WAIT_FOR(ctrl, result, nof_fw_commit(ctrl, slot, action, timeout_ms, on_done, w));
}

int nof_security_send_sync(struct nof_ctrl *ctrl, const struct nof_security_args *args,
			   const void *data, uint32_t len)
{
	WAIT_FOR(ctrl, NULL, nof_security_send(ctrl, args, data, len, on_done, w));
}

int nof_security_receive_sync(struct nof_ctrl *ctrl, const struct nof_security_args *args,
			      void *data, uint32_t len)
{
	WAIT_FOR(ctrl, NULL, nof_security_receive(ctrl, args, data, len, on_done, w));
}
