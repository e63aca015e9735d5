/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The other end of a queue, in the same thread: a listener that takes one connection, speaks
 * the test stream (or plain), and in it plays the I/O queue of a controller with a memory.
 * It is driven by peer_pump(), never blocks, and cuts everything into pieces at random.
 */
#ifndef NOF_TESTS_STREAM_PEER_H
#define NOF_TESTS_STREAM_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "nof.h"
#include "pdu/pdu.h"
#include "scramble.h"

enum { PEER_MEM = 8 << 20 };

/* What it does wrong. */
enum peer_fault {
	PEER_GOOD,
	PEER_SILENT,			/* never answers the hello */
	PEER_CHATTY,			/* answers with noise, without end */
	PEER_LEAVES,			/* closes instead of a confirmation */
	PEER_REFUSES,
	PEER_OTHER_KEY,
	PEER_ANSWERS_PLAIN,		/* knows no handshake: an ICResp at once */
	/* after so many records of data (fault_at): */
	PEER_ALTERS,			/* one bit */
	PEER_CUTS_RECORD,		/* closes within */
	PEER_CUTS,			/* closes between two */
	PEER_ENDS,			/* says that it ends, and closes */
	PEER_BREAKS_PROTOCOL,		/* a PDU that no controller sends */
	PEER_STRAY,			/* a record of the handshake */
};

struct peer_buf {
	uint8_t *p;
	size_t pos, len, cap;
};

struct peer {
	enum peer_fault fault;
	unsigned fault_at;
	unsigned rekey_every;		/* records of data; every other one wants one back */
	bool is_plain;			/* no stream */
	bool is_handover;		/* none after the handshake */
	uint64_t secret;
	size_t chunk;			/* one receive or send takes at most so much, at random */
	uint32_t maxh2cdata;

	int listener, fd;		/* −1 = none */
	int phase;			/* of the handshake */
	struct scramble_dir tx, rx;
	struct scramble_record record;
	struct nofi_pdu_params pp;
	struct peer_buf in, plain, answer, out;
	unsigned records_out, rekeys_in;
	bool is_stuck;			/* the fault has happened: nothing more is sent */
	bool closes;			/* when all went out */
	bool got_term, got_end;		/* from the host */
	unsigned bad;			/* PDUs or records of the host that were wrong */
	struct { uint16_t cid; uint32_t at, length, done; } write[256];	/* by ttag */
	uint8_t mem[PEER_MEM];
};

struct peer *peer_new(bool is_mptcp, struct sockaddr_storage *sa, socklen_t *len);
void peer_free(struct peer *p);
/* Does what can be done now; true: something was. */
bool peer_pump(struct peer *p);
/* The host's turn, and then its own; true: one of them did something. */
bool peer_turn(struct peer *p, struct nof_loop *loop);
/* Until one of them can go on; false: neither could in that time. */
bool peer_wait(struct peer *p, struct nof_loop *loop, int timeout_ms);

#endif
