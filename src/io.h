/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests that are one command, for the files that know what the command means:
 * they fill struct nofi_io_cmd, and the request completes like any other.
 */
#ifndef NOF_IO_H
#define NOF_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "ctrl/retry.h"
#include "nof.h"
#include "queue/queue.h"

struct nof_chan;

enum nofi_opcode {
	NOFI_OP_FLUSH = 0x00,
	NOFI_OP_WRITE = 0x01,
	NOFI_OP_READ = 0x02,
	NOFI_OP_WRITE_UNCOR = 0x04,
	NOFI_OP_COMPARE = 0x05,
	NOFI_OP_WRITE_ZEROES = 0x08,
	NOFI_OP_DSM = 0x09,
	NOFI_OP_VERIFY = 0x0c,
};

enum { NOFI_IO_SCRATCH = 64 };	/* bytes a request can keep for small data */

struct nofi_io_cmd {
	const char *name;	/* for sentences, static: "reservation register" */
	uint8_t opcode;
	uint32_t nsid;		/* 0: the channel's */
	uint32_t cdw2, cdw3;
	uint32_t cdw[6];	/* CDW10 to CDW15 */
	/* Its data: one of these, the first that is not NULL; length bytes, 0: none. */
	const void *scratch;	/* at most NOFI_IO_SCRATCH bytes, copied; not for data from
				   the controller */
	const struct iovec *iov;	/* the caller's until done; lengths add up to length */
	int iovcnt;
	void *buf;		/* the caller's until done */
	uint32_t length;
	enum nofi_dir dir;
	enum nofi_io_class class;
};

/*
 * One command as one request: it waits for room, is repeated by the rules of its class, and
 * completes once, never inside this call; c->result is the answer's DW1:DW0. The caller checked
 * what the command means; refused here: −EINVAL (no channel, callback, impossible data),
 * −EAGAIN, −ENOTCONN.
 */
int nofi_io_submit_cmd(struct nof_chan *chan, const struct nofi_io_cmd *cmd, uint32_t flags,
		       nof_done_fn *done, void *arg);

/*
 * Two commands, fused: adjacent on one queue, nothing between them. Completes when both are
 * over, with the failure that explains the other (a first command that failed aborts the
 * second). Scratch of both is shared: together at most NOFI_IO_SCRATCH. −EOPNOTSUPP: the queue
 * cannot hold two.
 */
int nofi_io_submit_fused(struct nof_chan *chan, const struct nofi_io_cmd *first,
			 const struct nofi_io_cmd *second, uint32_t flags, nof_done_fn *done,
			 void *arg);

#endif
