/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A protocol machine on the bench: its host side is driven by calls, its
 * controller side by these encoders and decoders. Every payload lies in memory with
 * canaries between its elements and a page behind it that cannot be touched, so
 * that one byte too far does not go unseen.
 *
 *	c = rig_submit(r, ...); rig_flush(r);		the host sends
 *	while (rig_next(r, &pdu)) ...			what the controller got
 *	rig_put_resp(r, c->cid, 0, 0); rig_deliver(r);	what it answers
 */
#ifndef NOF_TESTS_MACHINE_RIG_H
#define NOF_TESTS_MACHINE_RIG_H

#include "queue/machine.h"

#ifdef NOF_RIG_ABORT
#include <stdio.h>
#include <stdlib.h>
/* A broken promise must look like a crash to the fuzzer. */
#define CHECK(cond)								\
	do {									\
		if (!(cond)) {							\
			fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #cond); \
			abort();						\
		}								\
	} while (0)
#else
#include "unit.h"
#define CHECK(cond) assert_true(cond)
#endif

struct rig_bytes {
	uint8_t *p;
	size_t len, cap;
};

struct rig_opts {
	uint16_t qid;			/* 0: one slot is reserved */
	uint32_t entries;		/* 0 = 128 */
	bool hdgst, ddgst;		/* offered by the host and accepted */
	bool disable_sqflow;
	uint8_t cpda, hpda;
	uint32_t maxh2cdata;		/* 0 = 65536 */
	uint32_t maxr2t;		/* 0 = 4 */
	uint32_t incapsule;		/* bytes of in-capsule data, 0 = none */
	bool no_handshake;		/* stay before the ICResp */
	bool fail_in_fatal;		/* the owner dies inside fatal(), as a queue does */
};

enum rig_shape {
	RIG_ONE,			/* one element */
	RIG_BYTES,			/* elements of one byte */
	RIG_ZEROS,			/* elements of 0..3 bytes, the empty ones without base */
	RIG_RANDOM,			/* elements of 0..5000 bytes */
	RIG_SHAPES,
};

struct rig_spec {
	enum nofi_dir dir;
	uint32_t length;
	enum rig_shape shape;
	uint32_t skip, tail;		/* bytes of the iovecs before and behind the payload */
	uint32_t flags;			/* enum nofi_cmd_flag */
	uint64_t deadline;
};

struct rig_cmd {
	struct rig *rig;
	struct rig_cmd *next;
	struct rig_spec spec;
	uint8_t *map;			/* whole mapping, last page is the guard */
	size_t map_len;
	uint8_t *area;			/* elements and canaries, ends at the guard page */
	size_t area_len;
	struct iovec *iov;
	int iovcnt;
	uint8_t seed;			/* of the payload's pattern */
	struct nofi_rw rw;		/* if it was sent as one */
	uint16_t slot, cid;
	unsigned done_count;
	unsigned done_order;		/* 1 = first completion of the rig */
	int error;
	uint16_t status;
	uint64_t result;
	char detail[400];
	void (*on_done)(struct rig_cmd *c);
};

struct rig {
	struct nofi_machine m;
	struct rig_opts o;
	struct nofi_pdu_params tpp;	/* the controller's view */
	struct nofi_batch *batch;	/* reused for every send */
	bool is_batch_busy;		/* built, tx_done not called yet */
	struct rig_bytes out;		/* bytes from the host */
	size_t out_pos;			/* decoded so far */
	struct rig_bytes in;		/* bytes for the host, not yet delivered */
	uint16_t sqhd;			/* in responses */
	bool use_place;			/* deliver as an engine does */
	size_t tail_len;		/* staging behind direct places, 0 = NOFI_TAIL_LEN */
	size_t staging_len;		/* that one receive finds, 0 = NOFI_STAGING_LEN */
	unsigned place_count;		/* direct receives made */
	unsigned ready_count, fatal_count, note_count, wants_count;
	struct nofi_pdu_error fatal;
	struct nofi_err fatal_err;
	uint8_t culprit[NOFI_IC_LEN];
	size_t culprit_len;
	void (*on_ready)(struct rig *r);
	unsigned done_count;
	struct rig_cmd *cmds;
	uint8_t next_seed;
};

/* A PDU that the host sent, checked in all that T-1 to T-4 demand. */
struct rig_pdu {
	uint8_t type, flags;
	uint16_t cid, ttag;
	uint32_t offset, length;
	const uint8_t *sqe;
	const uint8_t *data;
	uint32_t data_len;
	uint8_t pdo;
};

void rig_bytes_add(struct rig_bytes *b, const void *p, size_t len);

struct rig *rig_new(const struct rig_opts *o);
void rig_free(struct rig *r);
void rig_put_icresp(struct rig *r);

/* A command with its memory, not yet sent; NULL when the machine has no room. */
struct rig_cmd *rig_submit(struct rig *r, const struct rig_spec *spec);
struct rig_cmd *rig_read(struct rig *r, uint32_t length);
struct rig_cmd *rig_write(struct rig *r, uint32_t length);
/* The byte at offset i of the payload. */
uint8_t rig_pattern(const struct rig_cmd *c, uint32_t i);
/* Canaries are whole, a read has got its first n bytes and no other, a write is unchanged. */
void rig_check_memory(const struct rig_cmd *c, uint32_t n);
/* Only that nothing outside of the payload changed: for a controller that sends anything. */
void rig_check_outside(const struct rig_cmd *c);

/* Host side: one batch out (false: none), its end, all there is. */
bool rig_build(struct rig *r);
void rig_sent(struct rig *r);
void rig_flush(struct rig *r);
/* Next PDU of the host's stream; false at its end. */
bool rig_next(struct rig *r, struct rig_pdu *p);
/* Skips all that the host sent so far. */
void rig_drop_out(struct rig *r);
/* Ends all commands with −ECONNRESET. */
void rig_fail(struct rig *r);
/* After a fatal error: every command completes exactly once. */
void rig_check_all_done(struct rig *r);

/* Controller side: PDUs into r->in. */
void rig_put_resp(struct rig *r, uint16_t cid, uint16_t status, uint64_t result);
void rig_put_c2h(struct rig *r, const struct rig_cmd *c, uint32_t offset, uint32_t length,
		 uint8_t flags);
void rig_put_r2t(struct rig *r, uint16_t cid, uint16_t ttag, uint32_t offset, uint32_t length);
/* Hands r->in, or any bytes, to the machine. */
void rig_deliver(struct rig *r);
void rig_feed(struct rig *r, const void *data, size_t len);

#endif
