/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Admin commands of the user: one command as one operation, or one operation that
 * is the same command over and over along a buffer (log pages, firmware).
 */
#ifndef NOF_CTRL_ADMIN_H
#define NOF_CTRL_ADMIN_H

#include "ctrl/internal.h"

struct nofi_admin {
	struct nofi_op op;
	uint8_t sqe[NOFI_SQE_LEN];	/* all but CID, PSDT, SGL */
	uint8_t *data;			/* the caller's buffer, or own; NULL: none */
	size_t len;			/* of data, multiple of 4 */
	size_t pos;			/* bytes done */
	size_t piece;			/* of the command under way */
	size_t piece_max;		/* of one command; 0: len in one command */
	enum nofi_dir dir;
	uint32_t timeout_ms;		/* of each command, 0: admin_timeout */
	/* Before each command: writes what depends on the piece into sqe. NULL: nothing does. */
	void (*place)(struct nofi_admin *a, size_t pos, size_t piece, bool is_last);
	/* The last word about a status ≠ 0: true makes it a success. NULL: none is one. */
	bool (*forgive)(struct nofi_admin *a, uint16_t status);
	uint64_t base;			/* private to place: where the pieces start */
	bool keeps_event;		/* private to place of log pages: RAE also on the last */
	uint8_t own[];			/* data of its own, if asked for */
};

/*
 * A new operation: call is for sentences; own: bytes of data of its own, zeroed, that the command
 * sends. A failure (−EINVAL: an argument is missing; −ENOMEM) is the public call's.
 */
int nofi_admin_new(struct nof_ctrl *ctrl, const char *call, uint8_t opcode, uint32_t nsid,
		   size_t own, nof_done_fn *done, void *arg, struct nofi_admin **out);
/* The data; the direction is that of the opcode. */
void nofi_admin_data(struct nofi_admin *a, void *data, size_t len);
void nofi_admin_cdw(struct nofi_admin *a, unsigned n, uint32_t value);
/* Starts it, or frees it: the return value of the public call. */
int nofi_admin_submit(struct nofi_admin *a);

/* A bit the controller has to have: −EOPNOTSUPP with a sentence. ENOTCONN before it was live. */
int nofi_admin_needs(struct nof_ctrl *ctrl, const char *call, bool has, const char *bit);
/* nofi_args_copy() whose failure is the public call's. */
int nofi_admin_args(void *dst, size_t size, const void *src, const char *call);

#endif
