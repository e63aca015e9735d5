/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One queue = one connection, as the controller layer sees it.
 *
 *	new ─► start ─► connecting ─► ICReq sent ─► ready ─► dead
 *
 * Every state but ready has a deadline (connect_timeout); in ready every command
 * has its own. All failure goes through dead, which completes every outstanding
 * command once, with the queue's error, and then reports NOFI_QUEUE_DEAD once.
 */
#ifndef NOF_QUEUE_QUEUE_H
#define NOF_QUEUE_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "err.h"
#include "mptcp/sock.h"
#include "pdu/pdu.h"
#include "queue/loop.h"
#include "queue/sizes.h"

struct nofi_queue;
struct nofi_stream_ops;
struct nofi_tap;

/*
 * Asked, with the arg of the event function, when a queue ends: a better reason than what was
 * seen on its connection, or NULL. It outlives the queue.
 */
typedef const struct nofi_err *nofi_queue_reason_fn(void *arg);

struct nofi_queue_opts {
	uint16_t qid;
	uint32_t entries;		/* SQSIZE+1; entries−1 commands can be in flight */
	struct nofi_addr addr;		/* where to connect */
	struct nofi_sock_opts sock;
	enum nofi_digest_want hdgst, ddgst;
	uint32_t maxr2t;		/* 1..NOFI_R2T_MAX, offered */
	bool disable_sqflow;		/* CATTR b2 will be set: SQHD means nothing */
	uint32_t incapsule_max;		/* bytes of data in an I/O capsule; 8192 for qid 0 */
	uint64_t connect_timeout_ns;	/* TCP connect + the stream's handshake + ICResp */
	uint64_t command_timeout_ns;	/* default of each command */
	struct nofi_tap *tap;		/* NULL, or where plaintext PDUs are recorded */
	nofi_queue_reason_fn *reason;	/* NULL: none is better */
	const struct nofi_stream_ops *stream;	/* NULL: plain */
	void *stream_arg;		/* for its start() */
};

enum nofi_queue_event { NOFI_QUEUE_READY, NOFI_QUEUE_DEAD };
/* err: why it died (code −ECANCELED after nofi_queue_kill() by the owner). May free the queue. */
typedef void nofi_queue_event_fn(void *arg, enum nofi_queue_event ev, const struct nofi_err *err);

int nofi_queue_new(struct nof_loop *loop, const struct nofi_queue_opts *opts,
		   nofi_queue_event_fn *fn, void *arg, struct nofi_queue **out,
		   struct nofi_err *err);
/* Starts connecting; the outcome comes as an event, never from inside. */
int nofi_queue_start(struct nofi_queue *q, struct nofi_err *err);
/* Abortive end: commands complete and DEAD is reported before it returns. No-op when dead. */
void nofi_queue_kill(struct nofi_queue *q, const struct nofi_err *why);
/* Kills it silently if needed (commands complete with −ECANCELED, no event), frees. NULL: no-op. */
void nofi_queue_free(struct nofi_queue *q);

bool nofi_queue_is_ready(const struct nofi_queue *q);
const struct nofi_err *nofi_queue_error(const struct nofi_queue *q);
const struct nofi_pdu_params *nofi_queue_params(const struct nofi_queue *q);
uint16_t nofi_queue_qid(const struct nofi_queue *q);
struct nof_loop *nofi_queue_loop(const struct nofi_queue *q);
/*
 * Looks whether a ready queue that was MPTCP is so still: a system call, for now and then. If
 * not, it dies of it; later, from the loop: nothing is called from here.
 */
void nofi_queue_recheck(struct nofi_queue *q);
int nofi_queue_get_info(const struct nofi_queue *q, struct nofi_sock_info *info);
/* Adds to it which subflows are backups, if there is more than one. */
void nofi_queue_find_backups(const struct nofi_queue *q, struct nofi_sock_info *info);
/* Timeout of commands from now on (I/O queues: io_timeout after Connect). */
void nofi_queue_set_timeout(struct nofi_queue *q, uint64_t ns);
/*
 * From now on a command past its deadline is reported, once, and has so much longer (its
 * owner tries an Abort) until the queue dies of it. fn gets the arg of the event function;
 * it may do anything but kill or free the queue.
 */
typedef void nofi_queue_late_fn(void *arg, uint16_t cid, uint8_t opcode);
void nofi_queue_set_grace(struct nofi_queue *q, uint64_t ns, nofi_queue_late_fn *fn);

/*
 * From now on suspicious silence is reported: commands wait, there are several subflows, and
 * no byte has arrived for longer than is usual (stall.h). fn gets the arg of the event
 * function and what the subflows are; it may do anything but kill or free the queue. Costs
 * a timer while commands are in flight, which may run out once afterwards.
 */
typedef void nofi_queue_quiet_fn(void *arg, const struct nofi_sock_info *info);
void nofi_queue_set_quiet(struct nofi_queue *q, nofi_queue_quiet_fn *fn);

/* How a command ended, for its done function; valid during the call. */
struct nofi_cpl {
	int error;		/* 0: the answer is in status, result; else −errno */
	uint16_t status;	/* 15-bit NVMe status field (SF >> 1), 0 = success */
	uint64_t result;	/* CQE DW0 | DW1 << 32 */
	const char *detail;	/* sentence for error, else "" */
	bool is_unsent;		/* error: no byte of it has left this host */
};
typedef void nofi_cmd_done_fn(void *arg, const struct nofi_cpl *cpl);

enum nofi_cmd_flag {
	NOFI_CMD_NO_TIMEOUT = 1u << 0,	/* Asynchronous Event Request only */
	NOFI_CMD_RESERVED = 1u << 1,	/* may take the slot kept for keep alive */
	NOFI_CMD_FABRICS = 1u << 2,	/* in-capsule up to 8192 B on any queue (T-11) */
};

/*
 * A command being built. Take one, fill sqe (all but CID, PSDT, SGL: zeroed by
 * take), data and done, and send it: it is queued on the connection and goes out at
 * the next flush of the loop. Between take and send no other queue call.
 */
struct nofi_cmd_desc {
	uint8_t *sqe;			/* 64 bytes inside the queue, zeroed */
	const struct iovec *iov;	/* data; stays with the caller until done */
	int iovcnt;
	size_t iov_skip;		/* bytes of iov to skip first */
	uint32_t length;		/* data bytes, 0 = none */
	enum nofi_dir dir;
	uint32_t flags;			/* enum nofi_cmd_flag */
	uint64_t timeout_ns;		/* 0: the queue's */
	nofi_cmd_done_fn *done;
	void *arg;
	uint32_t slot;			/* private */
};

/* −EAGAIN: all slots taken; −ENOTCONN: not ready. */
int nofi_queue_take(struct nofi_queue *q, uint32_t flags, struct nofi_cmd_desc *d);
/* Returns the loop's clock, which its deadline was made with. */
uint64_t nofi_queue_send(struct nofi_queue *q, const struct nofi_cmd_desc *d);

/*
 * Take, fill and send in one, for what comes by the million: a plain command of an I/O queue
 * with the queue's timeout. *rw belongs to the caller and stays as it is until done: what is
 * needed of it is read when the command is sent. 0: it was not taken (see take), else the loop's
 * clock as above.
 */
struct nofi_rw {
	nofi_cmd_done_fn *done;
	void *arg;
	const struct iovec *iov;	/* data; stays, too */
	size_t iov_skip;		/* bytes of iov to skip first */
	uint32_t length;		/* data bytes, 0 = none */
	uint32_t nsid;
	uint32_t cdw[3];		/* CDW10 to CDW12 */
	uint8_t opcode;
	uint8_t dir;			/* enum nofi_dir */
};
uint64_t nofi_queue_rw(struct nofi_queue *q, const struct nofi_rw *rw);

/*
 * Turns a read away that was sent with old as its arg and has not ended: what is still to come
 * of its data goes to iov (as long as all of it; it stays until done), its end to done and arg.
 * Only a read of less than NOFI_DIRECT_MIN, which is never received straight into its buffer:
 * the buffer is not written after this. False: there is no such read.
 */
bool nofi_queue_redirect(struct nofi_queue *q, const void *old, const struct iovec *iov,
			 nofi_cmd_done_fn *done, void *arg);

/* Free command slots now. */
uint32_t nofi_queue_room(const struct nofi_queue *q);

/* No command is queued, or on the wire, or completing. */
bool nofi_queue_is_idle(const struct nofi_queue *q);

/* Tells, once, when a slot is free (never inside take/send; not when the queue dies). FIFO. */
struct nofi_waiter {
	struct nofi_waiter *next;
	bool is_queued;
	void (*fn)(struct nofi_waiter *w);
};
void nofi_queue_wait_room(struct nofi_queue *q, struct nofi_waiter *w);
void nofi_queue_unwait(struct nofi_queue *q, struct nofi_waiter *w);

/*
 * The PDU tap: plaintext PDUs of each queue as one synthetic TCP stream in a
 * pcap file (tap.c). Thread-safe, buffered; shared by the queues of a controller.
 */
int nofi_tap_open(const char *path, struct nofi_tap **out, struct nofi_err *err);
void nofi_tap_close(struct nofi_tap *tap);	/* NULL is accepted */
struct nofi_tap_stream;
int nofi_tap_stream_new(struct nofi_tap *tap, const struct sockaddr *local,
			const struct sockaddr *peer, struct nofi_tap_stream **out);
void nofi_tap_stream_free(struct nofi_tap_stream *s);
/* Bytes of the stream in order; is_rx: from the controller. */
void nofi_tap_bytes(struct nofi_tap_stream *s, bool is_rx, const void *data, size_t len);

#endif
