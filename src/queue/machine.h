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
 *
 * Nothing is kept in order by deadline: a queue has one timer, which is moved when it fires, and
 * only then all slots are looked at. A command costs a store.
 */
#ifndef NOF_QUEUE_MACHINE_H
#define NOF_QUEUE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "err.h"
#include "hint.h"
#include "pdu/pdu.h"
#include "queue/queue.h"
#include "queue/tx.h"

#define NOFI_NO_SLOT UINT16_MAX

enum nofi_slot_state {
	NOFI_SLOT_FREE,
	NOFI_SLOT_QUEUED,	/* its SQE is complete */
	NOFI_SLOT_QUEUED_RW,	/* it is still to be made of the nofi_rw */
	NOFI_SLOT_SENT,
	NOFI_SLOT_FINISHED,
};

/*
 * One CID, two cache lines. A read, and a write whose data goes with its capsule, touch the
 * first only, from the take to the answer: the last 16 bytes of it are what they need of the
 * transfer. The second is for R2Ts and for what is rare. SQEs lie apart from this
 * (nofi_machine.sqes): those of reads and writes are made in the batch, at once where they are
 * sent from.
 */
struct nofi_cmd {
	nofi_cmd_done_fn *done;
	void *arg;
	union {
		const struct iovec *iov;	/* cursor: the iovec payload is at … */
		const struct nofi_rw *rw;	/* QUEUED_RW: where all of it stands */
	};
	size_t iov_off;			/* … and the byte in it; not of QUEUED_RW */
	uint64_t deadline;		/* ns; 0 = none */
	uint16_t cid;			/* generation << cid_bits | slot */
	uint16_t tx_refs;		/* batches under way that name its payload */
	uint8_t state;			/* enum nofi_slot_state */
	uint8_t opcode;
	bool is_in_fifo;		/* waits to be sent, or to answer an R2T */
	bool is_late;			/* its deadline passed once: nofi_machine_extend() */

	struct nofi_xfer xfer;		/* rules and progress of the data */

	uint32_t timeout_ms;		/* its own; 0: the queue's */
	uint16_t status;		/* of a finished command; a failed one is never that */
	uint64_t result;
};
_Static_assert(offsetof(struct nofi_cmd, xfer) + offsetof(struct nofi_xfer, requested) == 64,
	       "what a read needs ends with the first cache line");
_Static_assert(sizeof(struct nofi_cmd) == 128, "two cache lines");

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

/* In the order in which commands touch it; what only connecting and errors need comes last. */
struct nofi_machine {
	/* Submission and transmission. */
	struct nofi_cmd *cmds;		/* [slots]; those from used on have never been written */
	uint16_t *free;			/* stack of free slots below used */
	uint16_t *fifo;			/* ring of slots: a capsule, or an R2T's answer, to send */
	uint8_t (*sqes)[NOFI_SQE_LEN];	/* [slots], of commands that are not made of a nofi_rw */
	uint16_t free_count;		/* in free */
	uint16_t used;			/* slots that were in use once: the others take no memory */
	uint16_t rw_floor;		/* nofi_machine_rw() leaves so many free; UINT16_MAX: not
					   ready, or stopped */
	uint16_t cid_step;		/* 1 << cid_bits: one generation */
	uint16_t slot_mask;		/* cid_bits of a CID are the slot number */
	uint16_t fifo_head, fifo_tail;	/* count up, and wrap at 16 bits */
	uint16_t fifo_mask;
	uint16_t fifo_half;		/* so many in it are half a queue */
	uint16_t untimed;		/* commands without a deadline */
	uint16_t slots;			/* entries − 1: what may be outstanding (T-17) */
	uint32_t incapsule_max;

	/* Receipt: a line of its own up to rx_crc. */
	uint16_t rx_state __attribute__((aligned(64)));	/* enum nofi_rx_state */
	uint16_t rx_have;		/* header bytes collected in rx_head */
	uint16_t rx_slot;		/* whose payload it is */
	uint16_t tx_cur;		/* in the middle of its payload, across batches */
	bool is_stopped;		/* fatal was called or the queue died: no more rx, tx */
	bool is_sqflow;			/* SQHD means something */
	bool is_rx_large;		/* the last C2HData was long: nofi_machine_stage() */
	bool is_tx_ddgst;		/* tx_cur's PDU ends with a digest */
	uint32_t entries;		/* SQSIZE + 1 */
	uint32_t rx_left;		/* bytes of the present state still to come */
	uint32_t rx_crc;		/* running digest of the payload */
	uint32_t tx_left;		/* payload bytes of the current PDU still to name */
	uint32_t tx_crc;
	uint64_t usual_write;		/* first 8 bytes of a capsule with data, when PLEN is what
					   the data adds to; 0: digests or a pad, it is unusual */
	struct nofi_waiter *wait_head, **wait_tail;

	struct nofi_pdu_params pp;
	struct nofi_pdu pdu;		/* the PDU being received */
	const struct nofi_machine_ops *ops;
	enum nofi_digest_want hdgst, ddgst;	/* what the user wants */
	uint16_t reserved;		/* slots kept for NOFI_CMD_RESERVED */
	uint8_t rx_head[NOFI_TERM_MAX_PLEN + 8];
	uint8_t rx_ddgst[NOFI_DIGEST_LEN];
};
_Static_assert(offsetof(struct nofi_machine, incapsule_max) < 64, "submission: one cache line");
_Static_assert(offsetof(struct nofi_machine, rx_state) == 64 &&
	       offsetof(struct nofi_machine, wait_head) < 128, "receipt: another");

int nofi_machine_init(struct nofi_machine *m, const struct nofi_machine_ops *ops,
		      const struct nofi_queue_opts *o);
void nofi_machine_free(struct nofi_machine *m);

/* cmd.c: slots, deadlines, completion */
int nofi_machine_take(struct nofi_machine *m, uint32_t flags, struct nofi_cmd_desc *d);
void nofi_machine_send(struct nofi_machine *m, const struct nofi_cmd_desc *d, uint64_t deadline);
/* The stack of free slots is short: some that were never in use come onto it. False: none left. */
bool nofi_machine_refill(struct nofi_machine *m);
uint32_t nofi_machine_room(const struct nofi_machine *m);
/* See nofi_queue_redirect(). */
bool nofi_machine_redirect(struct nofi_machine *m, const void *old, const struct iovec *iov,
			   nofi_cmd_done_fn *done, void *arg);
/* Earliest deadline, 0 = none; and its command, for the sentence. They look at every slot. */
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
void nofi_machine_tell_waiters(struct nofi_machine *m);

/* rx.c */
void nofi_machine_rx(struct nofi_machine *m, const uint8_t *data, size_t len);
unsigned nofi_machine_place(struct nofi_machine *m, struct iovec *iov, unsigned max);
/* How much one receive into staging may take. */
uint32_t nofi_machine_stage(struct nofi_machine *m);
void nofi_machine_rx_direct(struct nofi_machine *m, size_t len);
/* Reports a protocol error once and stops the machine. */
void nofi_machine_fatal(struct nofi_machine *m, const struct nofi_pdu_error *pe,
			const uint8_t *culprit, size_t culprit_len);
const char *nofi_fes_name(uint16_t fes);

/* tx.c */
bool nofi_machine_has_tx(const struct nofi_machine *m);
/* The SQE of a command that is QUEUED_RW. */
void nofi_machine_sqe_of_rw(const struct nofi_machine *m, const struct nofi_cmd *cmd,
			    uint8_t *sqe);
/* Fills an empty batch; false: nothing to send. */
bool nofi_machine_tx_build(struct nofi_machine *m, struct nofi_batch *b);
/* The batch went out (or never will): releases what it named. */
void nofi_machine_tx_done(struct nofi_machine *m, struct nofi_batch *b);
void nofi_machine_tx_remove(struct nofi_machine *m, struct nofi_cmd *cmd);

static inline uint16_t nofi_cmd_slot(const struct nofi_machine *m, const struct nofi_cmd *cmd)
{
	return cmd->cid & m->slot_mask;
}

static inline uint16_t nofi_machine_fifo_len(const struct nofi_machine *m)
{
	return (uint16_t)(m->fifo_tail - m->fifo_head);
}

static inline void nofi_machine_notify(struct nofi_machine *m)
{
	if (NOFI_UNLIKELY(m->wait_head))
		nofi_machine_tell_waiters(m);
}

/* Slots that no command holds. */
static inline uint32_t nofi_machine_unused(const struct nofi_machine *m)
{
	return (uint32_t)(m->free_count + m->slots - m->used);
}

/* Commands with a deadline that are outstanding. One that was only taken counts as such. */
static inline uint32_t nofi_machine_waiting(const struct nofi_machine *m)
{
	return (uint32_t)(m->used - m->free_count - m->untimed);
}

/* Nothing more is sent or received. */
static inline void nofi_machine_stop(struct nofi_machine *m)
{
	m->is_stopped = true;
	m->rw_floor = UINT16_MAX;
}

/*
 * It is in the fifo at most once, which therefore never runs over. The owner hears of the first,
 * and when half a queue has gathered.
 */
static inline void nofi_machine_tx_push(struct nofi_machine *m, struct nofi_cmd *cmd)
{
	uint16_t n;

	cmd->is_in_fifo = true;
	m->fifo[m->fifo_tail++ & m->fifo_mask] = nofi_cmd_slot(m, cmd);
	n = nofi_machine_fifo_len(m);
	if (NOFI_UNLIKELY(n == 1 || n == m->fifo_half))
		m->ops->wants_tx(m);
}

/* A new generation for every use, so that a late answer to the last one is not believed. */
static inline uint16_t nofi_cmd_next_cid(const struct nofi_machine *m, const struct nofi_cmd *cmd)
{
	uint16_t cid = (uint16_t)(cmd->cid + m->cid_step);

	/* FFFFh means "no command" in other places of NVMe: never used. */
	return NOFI_UNLIKELY(cid == 0xffff) ? (uint16_t)(cid + m->cid_step) : cid;
}

/* nofi_machine_rw() found no free slot: true if there is one now. */
bool nofi_machine_rw_refill(struct nofi_machine *m);

/*
 * Takes a slot for *rw, which stays until done, and queues it. deadline is not 0. False: no slot,
 * or no connection. The SQE is made when it is sent: see tx.c.
 */
static inline bool nofi_machine_rw(struct nofi_machine *m, const struct nofi_rw *rw,
				   uint64_t deadline)
{
	struct nofi_cmd *cmd;

	if (NOFI_UNLIKELY(m->free_count <= m->rw_floor) && !nofi_machine_rw_refill(m))
		return false;
	cmd = &m->cmds[m->free[--m->free_count]];
	cmd->done = rw->done;
	cmd->arg = rw->arg;
	cmd->rw = rw;
	cmd->deadline = deadline;
	cmd->cid = nofi_cmd_next_cid(m, cmd);
	cmd->state = NOFI_SLOT_QUEUED_RW;
	cmd->opcode = rw->opcode;
	cmd->is_late = false;
	nofi_xfer_init(&cmd->xfer, rw->length ? (enum nofi_dir)rw->dir : NOFI_DIR_NONE, rw->length,
		       rw->length <= m->incapsule_max);
	nofi_machine_tx_push(m, cmd);
	return true;
}

/* The only way a command ends. The slot is free before the caller hears of it. */
static inline void nofi_machine_finish(struct nofi_machine *m, struct nofi_cmd *cmd,
				       const struct nofi_cpl *cpl)
{
	nofi_cmd_done_fn *done = cmd->done;
	void *arg = cmd->arg;

	if (NOFI_UNLIKELY(!cmd->deadline))
		m->untimed--;
	cmd->state = NOFI_SLOT_FREE;
	cmd->xfer.dir = NOFI_DIR_NONE;
	m->free[m->free_count++] = nofi_cmd_slot(m, cmd);
	done(arg, cpl);
}

#endif
