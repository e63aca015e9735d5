/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sizes of the receive path. They were found by bench/sweep.py, for which a build with
 * NOFI_SWEEP takes them from the environment; no other build can change them.
 */
#ifndef NOF_QUEUE_SIZES_H
#define NOF_QUEUE_SIZES_H

#include <stdint.h>

#ifdef NOFI_SWEEP

struct nofi_sizes { uint32_t staging, direct, tail; };
extern struct nofi_sizes nofi_sizes;
#define NOFI_STAGING_LEN	nofi_sizes.staging
#define NOFI_DIRECT_MIN		nofi_sizes.direct
#define NOFI_TAIL_LEN		nofi_sizes.tail
enum { NOFI_TAIL_ROOM = 256 * 1024 };

#else

enum {
	/*
	 * Bytes of one receive into staging: below the direct threshold payload is
	 * cheaper to copy out of one large receive than to receive by itself.
	 */
	NOFI_STAGING_LEN = 256 * 1024,
	/*
	 * Payload of which this much is still to come is received straight into its buffer.
	 * Below it, copying out of one large receive costs less than a receive of its own.
	 */
	NOFI_DIRECT_MIN = 16 * 1024,
	/*
	 * Staging behind a direct receive: catches digest, response and next header
	 * in the same call, and little of the next payload, which goes direct itself.
	 */
	NOFI_TAIL_LEN = 8 * 1024,
	NOFI_TAIL_ROOM = NOFI_TAIL_LEN,	/* of a buffer for it */
};

#endif

#endif
