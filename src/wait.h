/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting for an operation of a channel: submit, run the loop until the callback came.
 * Every operation ends in bounded time, so these waits do.
 */
#ifndef NOF_WAIT_H
#define NOF_WAIT_H

#include "chan.h"
#include "err.h"

struct nofi_wait {
	bool is_done;
	struct nofi_err err;
	uint64_t result;
};

/* The callback; arg is the struct nofi_wait. */
void nofi_wait_done(void *arg, const struct nof_completion *c);
/* May a call wait? −EINVAL, −EDEADLK. */
int nofi_wait_check(struct nof_chan *chan);
/* r: what the submission returned. The operation's error. */
int nofi_wait_finish(struct nof_chan *chan, struct nofi_wait *w, int r);

/* call submits with nofi_wait_done and &w. */
#define NOFI_WAIT_FOR(chan, call) \
	do { \
		struct nofi_wait w = { 0 }; \
		int r_ = nofi_wait_check(chan); \
		if (r_ < 0) \
			return r_; \
		return nofi_wait_finish(chan, &w, call); \
	} while (0)

#endif
