/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Does a path work? A SYN over it, to where a subflow went; a plain TCP connection that
 * is reset as soon as it is made. Any answer of the peer's kernel is a yes.
 */
#ifndef NOF_MPTCP_PROBE_H
#define NOF_MPTCP_PROBE_H

#include <stdint.h>
#include <sys/socket.h>

/*
 * Begins. The descriptor (or a negative errno) becomes writable when there is a result. dev
 * "": wherever the source address leads to.
 */
int nofi_probe_start(const struct sockaddr_storage *local, const char *dev,
		     const struct sockaddr_storage *peer);
/* 1: the path works, and *rtt_ns is how long the answer took; 0: nothing known yet; or why not. */
int nofi_probe_result(int fd, uint64_t *rtt_ns);
void nofi_probe_end(int fd);		/* −1 is accepted */

#endif
