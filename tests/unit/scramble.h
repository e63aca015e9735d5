/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A stream for tests, with what makes TLS hard to carry: records with a size limit and a tag,
 * a key that changes in the middle, a handshake of two round trips, an end that is said, more
 * bytes on the wire than in the stream. It hides nothing: whoever looks can undo it.
 *
 *	host:  HELLO ──► ◄── HELLO   CONFIRM ──► ◄── CONFIRM   then DATA, REKEY, NOISE, END
 */
#ifndef NOF_TESTS_SCRAMBLE_H
#define NOF_TESTS_SCRAMBLE_H

#include <stddef.h>
#include <stdint.h>

enum scramble_type {
	SCRAMBLE_HELLO = 1,		/* nonce; the only record with the key of nobody */
	SCRAMBLE_CONFIRM,		/* proves the key that came of the nonces */
	SCRAMBLE_DATA,
	SCRAMBLE_NOISE,			/* nothing; may come at any time */
	SCRAMBLE_REKEY,			/* what follows has a new key; payload 1: do so too */
	SCRAMBLE_REFUSE,		/* no, because (a sentence) */
	SCRAMBLE_END,			/* nothing follows */
};

enum {
	SCRAMBLE_HEAD = 8,		/* type, padding, length, sequence number */
	SCRAMBLE_MAX = 4096,		/* of payload */
	SCRAMBLE_PAD_MAX = 32,
	SCRAMBLE_TAG = 8,
	SCRAMBLE_RECORD_MAX = SCRAMBLE_HEAD + SCRAMBLE_MAX + SCRAMBLE_PAD_MAX + SCRAMBLE_TAG,
	SCRAMBLE_NONCE = 8,
};

/* One direction. */
struct scramble_dir {
	uint64_t key;
	uint32_t seq;
};

struct scramble_record {
	enum scramble_type type;
	uint8_t payload[SCRAMBLE_MAX];
	size_t len;
};

/* Both directions, of both sides, from the shared secret and the nonces. */
void scramble_keys(uint64_t secret, const uint8_t *host_nonce, const uint8_t *peer_nonce,
		   struct scramble_dir *to_peer, struct scramble_dir *to_host);
/* Writes a whole record, at most SCRAMBLE_RECORD_MAX bytes. A REKEY takes effect at once. */
size_t scramble_seal(struct scramble_dir *d, enum scramble_type type, const void *payload,
		     size_t len, uint8_t *out);
/* Bytes of the record at buf; 0: it is not whole yet; −EBADMSG: it is not the other side's. */
int scramble_open(struct scramble_dir *d, const uint8_t *buf, size_t len,
		  struct scramble_record *r);

struct nofi_stream_ops;

/* What the host's side gets as its stream_arg; also what a test learns from it. */
struct scramble_host {
	uint64_t secret;
	int is_handover;		/* after the handshake bytes go as they are, as with kTLS */
	size_t out_limit;		/* bytes it hands to the engine at once, about; 0: 64 KiB */
	unsigned records_in, rekeys_in, rekeys_out, starts, frees;
	uint64_t direct, staged;	/* plain bytes by where they went */
};

extern const struct nofi_stream_ops scramble_stream;

#endif
