/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The discovery log (F-13, F-30, F-31): header, entries in pieces, header
 * again; when the generation changed meanwhile, all over.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/disc.h"
#include "ctrl/internal.h"

enum {
	LOG_DISCOVERY = 0x70,
	HEADER = 1024, ENTRY = 1024,
	PIECE = NOFI_PAGE / ENTRY,	/* entries per command */
	HEADER_READ = 20,		/* GENCTR, NUMREC, RECFMT */
	ENTRIES_MAX = 4096,
	TRIES = 6,
};

struct log_op {
	struct nofi_op op;
	struct nof_discovery_log **out;
	struct nof_discovery_log *log;
	uint32_t want;		/* entries to read */
	uint32_t have;
	uint32_t tries;
	uint8_t lsp;		/* log specific bits of the request */
};

static void read_header(struct log_op *o);
static void read_piece(struct log_op *o);

static void fail(struct log_op *o, int code, const char *text)
{
	nofi_err_set(&o->op.err, code, "nof_discovery_get: %s", text);
	nofi_op_finish(&o->op);
}

/* Every read of one log asks the same question: LSP stands in bits 14:8 of CDW10. */
static void get_log(struct log_op *o, uint64_t offset, bool rae, uint32_t len)
{
	struct nof_ctrl *ctrl = o->op.ctrl;

	memset(ctrl->op_page, 0, NOFI_PAGE);
	nofi_cmd_get_log(&ctrl->op_cmd, LOG_DISCOVERY, offset, rae, ctrl->op_page, len);
	ctrl->op_cmd.sqe[41] |= o->lsp & 0x7f;
}

static void got_last_header(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	struct log_op *o = (struct log_op *)op;

	if (nofi_get64(op->ctrl->op_page) != o->log->genctr) {
		if (++o->tries >= TRIES)
			fail(o, -EAGAIN,
			     "the log changed at each of 6 tries to read it; try again when "
			     "the target's configuration has settled");
		else
			read_header(o);
		return;
	}
	o->log->count = o->have;
	nofi_op_finish(op);
}

static void got_piece(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	struct log_op *o = (struct log_op *)op;

	for (uint32_t i = 0; i < PIECE && o->have < o->want; i++, o->have++)
		nofi_discovery_decode(op->ctrl->op_page + i * ENTRY, &o->log->entries[o->have]);
	read_piece(o);
}

static void read_piece(struct log_op *o)
{
	uint32_t n = o->want - o->have;

	if (!n) {
		/* The one read without RAE: the controller may report the next change. */
		get_log(o, 0, false, HEADER_READ);
		nofi_op_send(&o->op, "Get Log Page: discovery", got_last_header, false);
		return;
	}
	if (n > PIECE)
		n = PIECE;
	get_log(o, HEADER + (uint64_t)o->have * ENTRY, true, n * ENTRY);
	nofi_op_send(&o->op, "Get Log Page: discovery entries", got_piece, false);
}

static void got_header(struct nofi_op *op, const struct nofi_cpl *cpl)
{
	struct log_op *o = (struct log_op *)op;
	const uint8_t *page = op->ctrl->op_page;
	struct nof_discovery_log *log = o->log;

	if (cpl->status) {
		/* It knows none of the bits: then all it has, as if nobody had asked. */
		o->lsp = 0;
		read_header(o);
		return;
	}
	if (nofi_get16(page + 16)) {
		fail(o, -EPROTO,
		     "the log's record format is not 0, which this version does not know");
		return;
	}
	log->genctr = nofi_get64(page);
	log->total = nofi_get64(page + 8);
	o->want = log->total < ENTRIES_MAX ? (uint32_t)log->total : ENTRIES_MAX;
	o->have = 0;
	free(log->entries);
	log->entries = o->want ? calloc(o->want, sizeof(*log->entries)) : NULL;
	if (o->want && !log->entries) {
		fail(o, -ENOMEM, "out of memory");
		return;
	}
	read_piece(o);
}

static void read_header(struct log_op *o)
{
	get_log(o, 0, true, HEADER_READ);
	nofi_op_send(&o->op, "Get Log Page: discovery", got_header, o->lsp != 0);
}

static void start(struct nofi_op *op)
{
	read_header((struct log_op *)op);
}

static void end(struct nofi_op *op)
{
	struct log_op *o = (struct log_op *)op;

	if (op->err.code)
		nof_discovery_free(o->log);
	else
		*o->out = o->log;
	free(o);
}

int nof_discovery_get(struct nof_ctrl *ctrl, struct nof_discovery_log **log, nof_done_fn *done,
		      void *arg)
{
	return nofi_discovery_get(ctrl, 0, log, done, arg);
}

int nofi_discovery_get(struct nof_ctrl *ctrl, uint8_t lsp, struct nof_discovery_log **log,
		       nof_done_fn *done, void *arg)
{
	char host[sizeof(ctrl->opts.traddr) + sizeof(ctrl->opts.trsvcid) + 4];
	struct log_op *o;
	int r;

	if (!ctrl || !log || !done)
		return nofi_fail(-EINVAL, "nof_discovery_get: ctrl, log and done must not be NULL");
	if (ctrl->is_known && !ctrl->ident.is_discovery)
		return nofi_fail(-EOPNOTSUPP, "nof_discovery_get: \"%s\" is not a discovery "
				 "controller; connect to nvme+tcp://%s without an NQN",
				 ctrl->opts.subnqn,
				 nofi_text_host(&ctrl->opts, NULL, host, sizeof(host)));
	o = calloc(1, sizeof(*o));
	if (o)
		o->log = calloc(1, sizeof(*o->log));
	if (!o || !o->log) {
		free(o);
		return nofi_fail(-ENOMEM, "nof_discovery_get: out of memory");
	}
	o->out = log;
	o->lsp = lsp;
	o->op.ctrl = ctrl;
	o->op.what = "nof_discovery_get";
	o->op.start = start;
	o->op.end = end;
	o->op.done = done;
	o->op.arg = arg;
	r = nofi_op_submit(&o->op);
	if (r < 0) {
		r = nofi_fail_err(&o->op.err);
		nof_discovery_free(o->log);
		free(o);
	}
	return r;
}

void nof_discovery_free(struct nof_discovery_log *log)
{
	if (!log)
		return;
	free(log->entries);
	free(log->services);
	free(log);
}
