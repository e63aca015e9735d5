/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules that make the target misbehave. The language is documented in
 * target/README.md; fault.c parses it, fault_run.c applies it.
 */
#ifndef TARGET_FAULT_H
#define TARGET_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn;
struct cmd;
struct pdu_out;

enum fault_event {
	/* something came in */
	FAULT_ACCEPT,
	FAULT_ICREQ,
	FAULT_CMD,
	FAULT_H2CDATA,
	/* something goes out */
	FAULT_ICRESP,
	FAULT_RESP,
	FAULT_C2HDATA,
	FAULT_R2T,
	FAULT_C2HTERM,
	FAULT_PDU,			/* any of the outgoing ones */
};

enum fault_verb {
	DO_SET, DO_HDGST, DO_DDGST, DO_RAW, DO_SEND, DO_DROP, DO_DUP, DO_DELAY, DO_SILENCE,
	DO_STALL, DO_CLOSE, DO_RESET, DO_KILL, DO_TERM, DO_SPLIT, DO_SPLITAT, DO_MERGE, DO_SWAP,
	DO_SHORT, DO_CUT, DO_PAD, DO_INJECT, DO_STATUS, DO_AT,
};

/* Where a number is put: a field of the header, any bytes of it, or bytes of the payload. */
struct fault_set {
	bool is_data;			/* the payload instead of the header */
	uint8_t size;			/* bytes: 1, 2, 4, 8 */
	uint8_t shift;			/* a bit field inside it … */
	uint64_t mask;			/* … before shifting; 0: all of it */
	char op;			/* '=' set, '+' add, '-' subtract, '^' xor */
	uint32_t offset;
	uint64_t value;
	struct fault_set *next;
};

struct fault_action {
	enum fault_verb verb;
	uint64_t arg[2];		/* numbers, by verb */
	uint8_t *raw;			/* DO_RAW */
	uint32_t raw_len;
	struct fault_set *sets;		/* DO_SET: one; DO_INJECT: any */
	struct fault_action *next;
};

struct fault_rule {
	enum fault_event event;
	/* conditions, -1: any */
	int64_t qid, opc, fctype, cid, nsid, cns, fid, lid, prop, bit12, status, conn;
	bool is_io_only;		/* qid=io */
	uint64_t nth;			/* first match that fires, 1 by default */
	uint64_t last;			/* last one that fires */
	uint64_t every;			/* of those, each so-many-th */
	uint64_t seen;			/* matches so far */
	uint64_t fired;
	struct fault_action *actions;
	struct fault_rule *next;
};

struct fault_verdict {
	bool is_dropped;		/* do not process what came in */
	bool is_status;			/* answer the command with .status instead */
	uint16_t status;
	uint32_t delay_ms;		/* execute the command so much later */
};

extern bool faults_active;		/* any rule exists, or a connection is still under one */
extern struct fault_rule *fault_rules;

/* Adds the rules of script (text, or @FILE). 0, or -1 with a sentence in err and nothing added. */
int fault_add(const char *script, char *err, size_t errlen);
void fault_clear(void);			/* no rules; connections keep what was done to them */

struct fault_verdict fault_in(struct conn *c, enum fault_event ev, struct cmd *cmd);
void fault_out(struct conn *c, struct pdu_out *p);
/* Bytes the next send may carry: 0 = none now, UINT64_MAX = no limit. */
uint64_t fault_send_limit(struct conn *c);
void fault_sent(struct conn *c);	/* after each send */

#endif
