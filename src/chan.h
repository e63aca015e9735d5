/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A channel and its requests. io.c makes requests of calls, io_send.c sends them as
 * commands, chan.c is the channel's life, sync.c the waiting helpers.
 */
#ifndef NOF_CHAN_H
#define NOF_CHAN_H

#include <stdbool.h>
#include <stdint.h>

#include "ctrl/ctrl.h"
#include "ctrl/ns.h"
#include "io.h"
#include "nof.h"

struct nof_io;
struct nofi_cpath;

/*
 * One command: all that is needed to send it, and to send it again. A request owns the first of
 * its pieces, further ones come from the channel's pool: no I/O allocates.
 */
struct nofi_piece {
	struct nofi_piece *next;	/* the pool's free list */
	struct nof_io *io;		/* whose it is */
	struct nofi_cpath *path;	/* where it was sent */
	struct nofi_piece *mate;	/* second of a fused pair; NULL: none */
	const struct iovec *iov;	/* its data: from the byte iov_off of this element on */
	size_t iov_off;
	uint32_t length;		/* bytes of data, 0: none */
	uint8_t opcode;
	uint8_t dir;			/* enum nofi_dir */
	bool is_raw;			/* fields from fuse on mean something; else they are 0 */
	uint32_t cdw[6];		/* CDW10 to CDW15; the last three 0 unless raw */
	uint8_t fuse;			/* FUSE bits of the SQE's flags */
	uint32_t nsid;			/* 0: the path's */
	uint32_t cdw2, cdw3;
};

/*
 * One operation of the caller: one command, or the many it is split into. Taken
 * from its channel's table, so that no I/O allocates.
 */
struct nof_io {
	struct nof_io *next;		/* free list, or pending list */
	struct nof_chan *chan;
	nof_done_fn *done;
	void *arg;
	const struct iovec *iov;	/* cursor: where the next piece's data starts … */
	size_t iov_off;			/* … and the byte in it */
	uint64_t slba;			/* of the next piece */
	uint64_t left;			/* blocks not cut yet; 1 for a command without blocks */
	uint32_t pieces;		/* cut, and not done */
	uint32_t cdw12;			/* FUA, LR, DEAC */
	int error;			/* of the first command that failed */
	uint16_t status;
	uint8_t opcode;
	bool is_pending;		/* in the channel's pending list: left is not 0 */
	bool is_first_used;		/* first is one of the pieces */
	bool is_serial;			/* one piece at a time: they share the scratch */
	bool is_raw;			/* first (and its mate) were filled by the submitter */
	const char *name;		/* for the sentence, static */
	const char *detail;		/* of a transport error: static, or the channel's why */
	uint64_t result;
	uint64_t offset, bytes;		/* what was asked for, for the sentence */
	struct iovec one;		/* where iov points when there is a plain buffer */
	struct nofi_piece first;
	struct iovec two;		/* the same for the second of a fused pair */
	uint8_t scratch[NOFI_IO_SCRATCH];	/* small data: DSM ranges, keys */
};

/* A channel's way to its namespace: an I/O queue of one controller, on the channel's loop. */
struct nofi_cpath {
	struct nof_chan *chan;
	struct nofi_ioq_user user;	/* its share of an I/O queue */
	struct nofi_queue *q;		/* user.ioq->q, once open */
	uint16_t qid;			/* of q */
	struct nofi_waiter waiter;	/* for a slot */
	struct nofi_ns_ident id;	/* the namespace through it: NSID, limits */
	uint32_t inflight;		/* commands sent and not answered */
};

struct nof_chan {
	struct nof_ns *ns;		/* referenced */
	struct nof_loop *loop;
	struct nofi_cpath path;
	struct nofi_ns_ident id;	/* the namespace as this channel's thread knows it */
	struct nof_io *ios;		/* [limit] */
	struct nof_io *free;		/* those not in use */
	struct nofi_piece *pool;	/* [npool] */
	struct nofi_piece *pieces;	/* those not in use */
	uint32_t npool;
	uint32_t npieces;		/* how many are free */
	bool is_short;			/* a request waits for a piece */
	struct nof_io *pend_head, **pend_tail;	/* have commands that found no slot */
	struct nof_io *instant_head, **instant_tail;	/* complete without a command, in the
							   deferred call */
	uint32_t instants;		/* how many */
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
	struct nofi_err why;		/* what detail of a failed request points to that is still
					   under way */
};

/* io.c: is it on the namespace, and writable? −ERANGE, −EROFS as the public call's failure. */
int nofi_io_check_place(const struct nofi_ns_ident *ns, const char *name, bool is_write,
			uint64_t slba, uint64_t blocks);
/* io.c: at most max blocks and not across an atomic boundary? −EMSGSIZE. */
int nofi_io_check_atomic(const struct nofi_ns_ident *ns, const char *name, uint32_t max,
			 uint64_t slba, uint64_t blocks);

/* cmd_raw.c: parts of commands, and a request that completes without one. */
void nofi_io_put_lba(struct nofi_io_cmd *cmd, uint64_t lba);
void nofi_io_put_prinfo(struct nofi_io_cmd *cmd, const struct nofi_ns_ident *ns, uint64_t lba);
int nofi_io_nothing(struct nof_chan *chan, const char *name, nof_done_fn *done, void *arg);
/* cmd_pi.c: nof_comparev() where the blocks have protection information. chan is not NULL. */
int nofi_io_compare_pi(struct nof_chan *chan, const struct iovec *iov, int iovcnt,
		       uint64_t offset, uint32_t flags, nof_done_fn *done, void *arg);
/* The same for nof_compare_write(): cmp and wr are as without it; cmp is changed. */
int nofi_io_fused_pi(struct nof_chan *chan, struct nofi_io_cmd *cmp, const struct nofi_io_cmd *wr,
		     uint64_t slba, uint32_t blocks, nof_done_fn *done, void *arg);

/*
 * io_send.c: from requests to commands and back. A request from nofi_io_get() is either
 * submitted, or completed by nofi_io_instant(), or given back.
 */
int nofi_io_get(struct nof_chan *chan, const char *name, nof_done_fn *done, void *arg,
		struct nof_io **out);
void nofi_io_put(struct nof_io *io);
void nofi_io_submit(struct nof_io *io);
void nofi_io_instant(struct nof_io *io);
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
