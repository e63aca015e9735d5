/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The protocol machine of one connection: commands in, bytes out; bytes in,
 * payload placed and completions out. It owns no socket, no clock and no memory
 * but its tables, so it runs under a fuzzer or a test as it runs on a socket.
 *
 *	send:    nofi_machine_take/send ─► tx fifo ─► nofi_machine_tx_build() ─► batch
 *	receive: nofi_machine_place() names where payload goes,
 *	         nofi_machine_rx_direct() / nofi_machine_rx() take what came
 *
 * A slot's life:  free ─► queued ─► sent ─► (finished ─►) free
 * finished = the answer came while the stream still holds the command's payload
 * (T-16): the caller hears of it when the payload is released.
 */
#ifndef NOF_QUEUE_MACHINE_H
#define NOF_QUEUE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "err.h"
#include "pdu/pdu.h"
#include "queue/queue.h"
#include "queue/tx.h"

#define NOFI_NO_SLOT UINT16_MAX

enum nofi_slot_state { NOFI_SLOT_FREE, NOFI_SLOT_QUEUED, NOFI_SLOT_SENT, NOFI_SLOT_FINISHED };

/*
 * One CID. First cache line: the transfer, touched for each data PDU. Second: where
 * payload goes, whom to tell, timers. Third: the SQE, touched when sending only.
 */
struct nofi_cmd {
	struct nofi_xfer xfer;		/* rules and progress of the data */

	const struct iovec *iov;	/* cursor: the iovec payload is at … */
	size_t iov_off;			/* … and the byte in it */
	nofi_cmd_done_fn *done;
	void *arg;
	uint64_t deadline;		/* ns; 0 = none */
	uint16_t prev, next;		/* list of commands by deadline, NOFI_NO_SLOT = end */
	uint16_t tx_next;		/* in the tx fifo */
	uint16_t cid;			/* generation << cid_bits | slot */
	uint16_t tx_refs;		/* batches under way that name its payload */
	uint8_t state;			/* enum nofi_slot_state */
	bool is_in_fifo;
	bool is_timed;			/* is in the deadline list */
	bool is_late;			/* its deadline passed once: nofi_machine_extend() */
	uint16_t status;		/* of a finished command */
	uint32_t timeout_ms;		/* its own; 0: the queue's */
	int error;
	uint64_t result;
	const char *detail;		/* static text */

	uint8_t sqe[NOFI_SQE_LEN] __attribute__((aligned(64)));
};

enum nofi_rx_state {
	NOFI_RX_HEAD,			/* collecting a header */
	NOFI_RX_PAD,			/* skipping up to PDO */
	NOFI_RX_DATA,			/* payload of a C2HData */
	NOFI_RX_DDGST,			/* its digest */
};

struct nofi_machine;

struct nofi_machine_ops {
	/* The ICResp was accepted. */
	void (*ready)(struct nofi_machine *m);
	/*
	 * The connection must end: *err is the sentence. pe->fes ≠ 0 asks for an H2CTermReq
	 * with the culprit's header. The owner calls nofi_machine_fail() now or soon; the
	 * machine takes no more bytes.
	 */
	void (*fatal)(struct nofi_machine *m, const struct nofi_pdu_error *pe,
		      const uint8_t *culprit, size_t culprit_len, const struct nofi_err *err);
	/* Bytes wait to be sent. */
	void (*wants_tx)(struct nofi_machine *m);
	/* A line for the log. */
	void (*note)(struct nofi_machine *m, const char *line);
};

struct nofi_machine {
	const struct nofi_machine_ops *ops;
	struct nofi_pdu_params pp;
	enum nofi_digest_want hdgst, ddgst;	/* what the user wants */
	uint32_t entries;		/* SQSIZE + 1 */
	uint32_t incapsule_max;
	bool is_sqflow;			/* SQHD means something */
	bool is_stopped;		/* fatal was called or the queue died: no more rx, tx */

	struct nofi_cmd *cmds;		/* [slots]; those from used on have never been written */
	uint16_t *free;			/* stack of free slots below used */
	uint16_t slots;			/* entries − 1: what may be outstanding (T-17) */
	uint16_t used;			/* slots that were in use once: the others take no memory */
	uint16_t free_count;		/* in free */
	uint16_t reserved;		/* slots kept for NOFI_CMD_RESERVED */
	uint8_t cid_bits;		/* of the slot number in a CID; the rest is generation */
	uint16_t slot_mask;		/* so many bits */
	uint16_t first, last;		/* deadline list */
	uint32_t sent_count;		/* slots in state SENT */

	/* transmit */
	uint16_t tx_head, tx_tail;	/* fifo of commands with a capsule or an R2T to send */
	uint16_t tx_cur;		/* in the middle of its payload, across batches */
	bool is_tx_ddgst;		/* tx_cur's PDU ends with a digest */
	uint32_t tx_left;		/* payload bytes of the current PDU still to name */
	uint32_t tx_crc;

	/* receive */
	enum nofi_rx_state rx_state;
	uint32_t rx_left;		/* bytes of the present state still to come */
	uint32_t rx_crc;		/* running digest of the payload */
	uint16_t rx_slot;		/* whose payload it is */
	uint16_t rx_have;		/* header bytes collected in rx_head */
	struct nofi_pdu pdu;		/* the PDU being received */
	uint8_t rx_head[NOFI_TERM_MAX_PLEN + 8];
	uint8_t rx_ddgst[NOFI_DIGEST_LEN];

	struct nofi_waiter *wait_head, **wait_tail;
};

int nofi_machine_init(struct nofi_machine *m, const struct nofi_machine_ops *ops,
		      const struct nofi_queue_opts *o);
void nofi_machine_free(struct nofi_machine *m);

/* cmd.c: slots, deadlines, completion */
int nofi_machine_take(struct nofi_machine *m, uint32_t flags, struct nofi_cmd_desc *d);
void nofi_machine_send(struct nofi_machine *m, const struct nofi_cmd_desc *d, uint64_t deadline);
/* false: no slot, or no connection. */
bool nofi_machine_rw(struct nofi_machine *m, const struct nofi_rw *rw, uint64_t deadline);
/* The stack of free slots is short: some that were never in use come onto it. False: none left. */
bool nofi_machine_refill(struct nofi_machine *m);
uint32_t nofi_machine_room(const struct nofi_machine *m);
/* Slots that no command holds. */
static inline uint32_t nofi_machine_unused(const struct nofi_machine *m)
{
	return (uint32_t)(m->free_count + m->slots - m->used);
}
/* See nofi_queue_redirect(). */
bool nofi_machine_redirect(struct nofi_machine *m, const void *old, const struct iovec *iov,
			   nofi_cmd_done_fn *done, void *arg);
/* Earliest deadline, 0 = none; and its command, for the sentence. */
uint64_t nofi_machine_deadline(const struct nofi_machine *m);
const struct nofi_cmd *nofi_machine_oldest(const struct nofi_machine *m);
/*
 * The oldest one is late: gives it until deadline, once, and says which it was. False: it
 * had that already.
 */
bool nofi_machine_extend(struct nofi_machine *m, uint64_t deadline, uint16_t *cid,
			 uint8_t *opcode);
/* Completes every command once with err. Nothing may be in flight in the engine. */
void nofi_machine_fail(struct nofi_machine *m, const struct nofi_err *err);
/* The answer to a command, checked against its transfer. cqe_status: 15 bits. */
void nofi_machine_answer(struct nofi_machine *m, struct nofi_cmd *cmd, uint16_t cqe_status,
			 uint64_t result);
/* Tells waiters that there is room. */
void nofi_machine_notify(struct nofi_machine *m);

/* rx.c */
void nofi_machine_rx(struct nofi_machine *m, const uint8_t *data, size_t len);
unsigned nofi_machine_place(struct nofi_machine *m, struct iovec *iov, unsigned max);
void nofi_machine_rx_direct(struct nofi_machine *m, size_t len);
/* Reports a protocol error once and stops the machine. */
void nofi_machine_fatal(struct nofi_machine *m, const struct nofi_pdu_error *pe,
			const uint8_t *culprit, size_t culprit_len);
const char *nofi_fes_name(uint16_t fes);

/* tx.c */
bool nofi_machine_has_tx(const struct nofi_machine *m);
/* Fills an empty batch; false: nothing to send. */
bool nofi_machine_tx_build(struct nofi_machine *m, struct nofi_batch *b);
/* The batch went out (or never will): releases what it named. */
void nofi_machine_tx_done(struct nofi_machine *m, struct nofi_batch *b);
void nofi_machine_tx_push(struct nofi_machine *m, struct nofi_cmd *cmd);
void nofi_machine_tx_remove(struct nofi_machine *m, struct nofi_cmd *cmd);

static inline uint16_t nofi_cmd_slot(const struct nofi_machine *m, const struct nofi_cmd *cmd)
{
	return cmd->cid & m->slot_mask;
}

#endif
