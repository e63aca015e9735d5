/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What becomes of a command that ended badly (F-20, F-21): pure, without clock or state, so that
 * it can be looked at case by case and walked exhaustively.
 *
 * The one rule behind it: a command whose answer is not known may still be executing. One that
 * changes what is stored must not be sent again, anywhere, before the hold is over; one that
 * would do something else the second time is never sent again.
 */
#ifndef NOF_CTRL_RETRY_H
#define NOF_CTRL_RETRY_H

#include <stdbool.h>
#include <stdint.h>

/* What repeating a command does that was perhaps executed. */
enum nofi_io_class {
	NOFI_IO_IDEMPOTENT,	/* nothing: as reads, resend freely */
	NOFI_IO_WRITE,		/* changes what is stored: resend after the hold (F-21) */
	NOFI_IO_ONCE,		/* something else the second time: never, unless it was refused
				   unexecuted */
};

/* How it ended. */
enum nofi_ending {
	NOFI_END_STATUS,	/* the controller answered with a status that is not 0 */
	NOFI_END_DATA,		/* it answered well, but its data was damaged on the way here */
	NOFI_END_UNSENT,	/* no byte of it left this host: nobody can be executing it */
	NOFI_END_LOST,		/* sent, and the connection ended: its fate is unknown */
};

struct nofi_retry_in {
	enum nofi_ending end;
	uint16_t status;	/* for END_STATUS: 15 bits */
	enum nofi_io_class class;
	bool is_fail_fast;	/* the caller wants to hear of it at once */
	uint32_t sent;		/* how often it was sent, this time included */
	uint32_t max_retries;	/* it is sent at most so often again */
	uint16_t crdt[3];	/* CRDT1 to 3 in 100 ms, 0 where the controller has none (or was not
				   told that we obey them) */
	uint64_t hold_ns;	/* F-21: how long the target may go on with it */
	bool has_other;		/* another path can be used now */
};

enum nofi_retry {
	NOFI_RETRY_COMPLETE,	/* tell the caller */
	NOFI_RETRY_SAME,	/* send it again, the path is as good as any */
	NOFI_RETRY_OTHER,	/* send it again by another path; by this one only when there is
				   no other, or wait for one */
};

struct nofi_retry_out {
	enum nofi_retry what;
	uint64_t wait_ns;	/* not before so long from now */
	bool is_ana;		/* the path's ANA state is not what we believed: read the log */
};

struct nofi_retry_out nofi_retry_decide(const struct nofi_retry_in *in);

/* The command has to leave the path alone that answered so: SCT 3. */
bool nofi_status_is_path(uint16_t status);
/* 301h, 302h, 303h. */
bool nofi_status_is_ana(uint16_t status);

#endif
