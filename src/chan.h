/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A channel and its requests. io.c is the way of the data, chan.c the channel's
 * life, sync.c the waiting helpers.
 */
#ifndef NOF_CHAN_H
#define NOF_CHAN_H

#include <stdbool.h>
#include <stdint.h>

#include "ctrl/ctrl.h"
#include "ctrl/ns.h"
#include "nof.h"

/*
 * One operation of the caller: one command, or the many it is split into. Taken
 * from its channel's table, so that no I/O allocates.
 */
struct nof_io {
	struct nof_io *next;		/* free list, or pending list */
	struct nof_chan *chan;
	nof_done_fn *done;
	void *arg;
	const struct iovec *iov;	/* cursor: where the next command's data starts … */
	size_t iov_off;			/* … and the byte in it */
	uint64_t slba;			/* of the next command */
	uint64_t left;			/* blocks not submitted yet */
	uint32_t inflight;		/* commands under way */
	uint32_t cdw12;			/* FUA, LR, DEAC */
	int error;			/* of the first command that failed */
	uint16_t status;
	uint8_t opcode;
	bool is_pending;		/* in the channel's pending list */
	const char *detail;		/* of a transport error: static, or the queue's */
	uint64_t result;
	uint64_t offset, bytes;		/* what was asked for, for the sentence */
	struct iovec one;		/* where iov points when there is a plain buffer */
	uint8_t range[16];		/* data of Dataset Management */
};

struct nof_chan {
	struct nof_ns *ns;		/* referenced */
	struct nof_loop *loop;
	struct nofi_ioq_user user;	/* its share of an I/O queue */
	struct nofi_queue *q;		/* user.ioq->q, once open */
	struct nof_io *ios;		/* [limit] */
	struct nof_io *free;		/* those not in use */
	struct nof_io *pend_head, **pend_tail;	/* have commands that found no slot */
	struct nof_io *instant_head, **instant_tail;	/* complete without a command, in the
							   deferred call */
	uint32_t instants;		/* how many */
	struct nofi_waiter waiter;	/* for a slot */
	struct nofi_defer defer;	/* instant completions, opening, the end */
	uint32_t limit;
	uint32_t inflight;		/* operations not completed */
	bool is_open;			/* ready was told */
	bool is_closing;		/* close was called; goes when nothing is in flight */
	bool is_put;			/* its share of the queue was given back */
	bool is_gone;			/* only its memory is left, until the deferred call */
	bool is_awaited;		/* nof_chan_close() waits for is_gone and frees it */
	struct nof_chan **out;		/* of the open under way */
	nof_done_fn *done;
	void *arg;
};

/* Submits what is pending as far as there are slots. */
void nofi_io_pump(struct nof_chan *chan);
/*
 * Fails what is pending: the queue is lost. why has to last until commands of these requests that
 * are under way have completed.
 */
void nofi_io_fail_pending(struct nof_chan *chan, int code, const char *why);
/* Completes what needed no command; all: also what is added meanwhile. */
void nofi_io_run_instant(struct nof_chan *chan, bool all);
/* Gives the connection up: everything open on the channel completes before it returns. */
void nofi_chan_abort(struct nof_chan *chan, const struct nofi_err *why);
/* The last operation completed of a channel that is closing. */
void nofi_chan_drained(struct nof_chan *chan);

#endif
