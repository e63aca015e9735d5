/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A plain TCP connect beside an MPTCP connect that gets no answer (a middlebox drops
 * its SYNs): whether the target is there at all is known after one round trip, not
 * after the 3 s at which the kernel gives MPTCP up. Then it would also make every
 * other connection of the machine plain TCP for an hour (blackhole_timeout): another
 * reason to be faster than it.
 */
#ifndef NOF_QUEUE_RIVAL_H
#define NOF_QUEUE_RIVAL_H

#include "mptcp/sock.h"
#include "queue/loop.h"

struct nofi_rival;

/* It is connected. fd is the callee's and in no engine; the rival remains to be freed. */
typedef void nofi_rival_fn(void *arg, int fd);

/* A rival that cannot connect says nothing. −errno: none was started. */
int nofi_rival_start(struct nof_loop *loop, const struct nofi_sock_opts *opts,
		     const struct nofi_addr *addr, nofi_rival_fn *fn, void *arg,
		     struct nofi_rival **out);
/* Also from fn. NULL: no-op. */
void nofi_rival_free(struct nofi_rival *r);

#endif
