/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How the user's admin commands run. They take their turn among the operations of
 * their controller, so that the admin queue always has room for keep alives.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/admin.h"
#include "ctrl/guard.h"

static void send_next(struct nofi_admin *a);

static void got(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	struct nofi_admin *a = (struct nofi_admin *)op;

	op->result = cpl->result;
	if (cpl->status && !(a->forgive && a->forgive(a, cpl->status))) {
		op->status = cpl->status;
		nofi_err_set(&op->err, nof_status_errno(cpl->status),
			     "%s: the controller answered \"%s\" (status %03xh%s)%s", op->what,
			     nof_status_string(cpl->status), cpl->status & 0x7ffu,
			     cpl->status & NOF_STATUS_DNR ? ", do not retry" : "",
			     a->pos ? ", after a part of it succeeded" : "");
		nofi_op_finish(op);
		return;
	}
	a->pos += a->piece;
	if (a->pos < a->len)
		send_next(a);
	else
		nofi_op_finish(op);
}

static void send_next(struct nofi_admin *a)
{
	struct nofi_acmd *c = &a->op.ctrl->op_cmd;
	size_t left = a->len - a->pos;

	a->piece = a->piece_max && left > a->piece_max ? a->piece_max : left;
	if (a->place)
		a->place(a, a->pos, a->piece, a->piece == left);
	nofi_cmd_simple(c, a->sqe[0], 0);
	memcpy(c->sqe, a->sqe, sizeof(c->sqe));
	c->iov.iov_base = a->piece ? a->data + a->pos : NULL;
	c->iov.iov_len = a->piece;
	c->dir = a->dir;
	c->timeout_ms = a->timeout_ms;
	nofi_op_send(&a->op, "the command", got, true);
}

static void start(struct nofi_op *op)
{
	send_next((struct nofi_admin *)op);
}

static void end(struct nofi_op *op)
{
	free(op);
}

int nofi_admin_new(struct nof_ctrl *ctrl, const char *call, uint8_t opcode, uint32_t nsid,
		   size_t own, nof_done_fn *done, void *arg, struct nofi_admin **out)
{
	struct nofi_admin *a;

	if (!ctrl || !done)
		return nofi_fail(-EINVAL, "%s: no controller or no callback was given", call);
	a = calloc(1, sizeof(*a) + own);
	if (!a)
		return nofi_fail(-ENOMEM, "%s: out of memory", call);
	a->op.ctrl = ctrl;
	a->op.what = call;
	a->op.start = start;
	a->op.end = end;
	a->op.done = done;
	a->op.arg = arg;
	a->sqe[0] = opcode;
	nofi_put32(a->sqe + 4, nsid);
	if (own)
		nofi_admin_data(a, a->own, own);
	*out = a;
	return 0;
}

void nofi_admin_data(struct nofi_admin *a, void *data, size_t len)
{
	a->data = data;
	a->len = len;
	a->dir = !len ? NOFI_DIR_NONE : (a->sqe[0] & 3) == 1 ? NOFI_DIR_WRITE : NOFI_DIR_READ;
}

void nofi_admin_cdw(struct nofi_admin *a, unsigned n, uint32_t value)
{
	nofi_put32(a->sqe + 4 * n, value);
}

int nofi_admin_submit(struct nofi_admin *a)
{
	uint32_t max = a->op.ctrl->ident.max_transfer;
	int r;

	if (!a->op.ctrl->is_known) {
		r = nofi_fail(-ENOTCONN, "%s: the controller has not been live yet, it is %s",
			      a->op.what, nof_ctrl_state_name(nof_ctrl_get_state(a->op.ctrl)));
	} else if (!a->piece_max && a->len > max) {
		r = nofi_fail(-EMSGSIZE, "%s: %zu bytes of data, but one command moves at most %u "
			      "(MDTS)", a->op.what, a->len, max);
	} else {
		r = nofi_op_submit(&a->op);
		if (r == 0)
			return 0;
		r = nofi_fail_err(&a->op.err);
	}
	free(a);
	return r;
}

int nofi_admin_needs(struct nof_ctrl *ctrl, const char *call, bool has, const char *bit)
{
	if (!ctrl)
		return nofi_fail(-EINVAL, "%s: no controller was given", call);
	if (!ctrl->is_known)
		return nofi_fail(-ENOTCONN, "%s: the controller has not been live yet, it is %s",
				 call, nof_ctrl_state_name(nof_ctrl_get_state(ctrl)));
	if (!has)
		return nofi_fail(-EOPNOTSUPP, "%s: the controller does not support it: %s of "
				 "Identify Controller is 0", call, bit);
	return 0;
}

int nofi_admin_args(void *dst, size_t size, const void *src, const char *call)
{
	struct nofi_err err;
	int r = nofi_args_copy(dst, size, src, call, &err);

	return r < 0 ? nofi_fail_err(&err) : 0;
}
