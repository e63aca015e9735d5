/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sockets: MPTCP first, TCP with a recorded reason (design promise 7), options
 * that hold on every subflow, and what the kernel tells about the connection.
 * Knows nothing of NVMe.
 */
#ifndef NOF_MPTCP_SOCK_H
#define NOF_MPTCP_SOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "err.h"

enum nofi_mptcp_want { NOFI_MPTCP_PREFER, NOFI_MPTCP_REQUIRE, NOFI_MPTCP_OFF };

struct nofi_sock_opts {
	enum nofi_mptcp_want mptcp;
	int tos;			/* −1: leave; else IP_TOS / IPV6_TCLASS */
	int priority;			/* −1: leave */
	const char *congestion;		/* "" or NULL: leave */
	uint32_t mark;			/* 0: none */
	uint32_t sndbuf, rcvbuf;	/* 0: autotuning */
	uint32_t keepalive_ms;		/* of the kernel, 0: none */
	uint32_t rto_min_us;		/* floor of the retransmission timer, 0: leave */
	const char *iface;		/* SO_BINDTODEVICE before connect, "" or NULL: none */
	struct sockaddr_storage src;	/* source address to bind, ss_family 0: none */
	socklen_t src_len;
	/*
	 * Who will be connected to: PREFER skips MPTCP where it is known to be dropped on the
	 * way (memory.h). NULL: nothing is looked up or remembered. Must live as long as this.
	 */
	const struct sockaddr *peer;
};

/* Which protocol a socket really speaks, and why. */
struct nofi_sock_proto {
	bool is_mptcp;
	char reason[160];		/* sentence when not MPTCP; "" else */
	char note[120];			/* what was asked for and the kernel cannot do */
};

/*
 * A non-blocking, close-on-exec stream socket with NODELAY and the options set,
 * bound as asked. MPTCP unless OFF or refused by the kernel (facts: ENOPROTOOPT =
 * net.mptcp.enabled is 0; EPROTONOSUPPORT, EINVAL = kernel without it; EPERM,
 * EACCES = a filter): then TCP with the reason, or with REQUIRE the error.
 * Returns the fd, or a negative errno with *err.
 */
int nofi_sock_open(int family, const struct nofi_sock_opts *opts, struct nofi_sock_proto *proto,
		   struct nofi_err *err);

/*
 * Just after connect() was called: does the kernel try MPTCP at all? If not, *proto knows why
 * for nofi_sock_check() (net.mptcp.blackhole_timeout, which is not told otherwise).
 */
void nofi_sock_watch_syn(int fd, struct nofi_sock_proto *proto);

/*
 * sockopt.c: NODELAY and what of opts is neither interface nor address. What MPTCP of this
 * kernel lacks leaves a sentence in note, which is "" before.
 */
int nofi_sock_set_options(int fd, int family, bool is_mptcp, const struct nofi_sock_opts *opts,
			  char *note, size_t note_len, struct nofi_err *err);

/*
 * After connect: did the peer accept MPTCP? Updates *proto (silent fallback:
 * TCP_IS_MPTCP, else MPTCP_INFO). REQUIRE makes fallback -EPROTONOSUPPORT with *err.
 * opts may be NULL: then fallback is never an error.
 */
int nofi_sock_check(int fd, const struct nofi_sock_opts *opts, struct nofi_sock_proto *proto,
		    struct nofi_err *err);

/*
 * After the first data went both ways, as above: they may have lost MPTCP's options. A
 * connection that is TCP from here on is a sound one.
 */
int nofi_sock_check_data(int fd, const struct nofi_sock_opts *opts, struct nofi_sock_proto *proto,
			 struct nofi_err *err);

/*
 * Later: is it MPTCP still? If not, its stream cannot be trusted: −ECONNRESET with *err, also
 * with PREFER, and the target is remembered. A system call; not for the I/O path.
 */
int nofi_sock_recheck(int fd, const struct nofi_sock_opts *opts,
		      const struct nofi_sock_proto *proto, struct nofi_err *err);
/* The same question for display only: *proto says what it is now, and why. */
int nofi_sock_look(int fd, struct nofi_sock_proto *proto);

/*
 * Is it an MPTCP connection that has lost its last subflow? The kernel reports no error then,
 * but waits for another one, which does not come by itself, for net.mptcp.close_timeout (60 s).
 */
bool nofi_sock_is_bare(int fd);

/*
 * Plain TCP to opts->peer was answered; how is fd, an MPTCP socket that tries the same? True:
 * its SYNs were not answered, which is remembered and said in *proto. False: it is connected.
 */
bool nofi_sock_is_dropped(int fd, const struct nofi_sock_opts *opts,
			  struct nofi_sock_proto *proto);

/* Closes abortively: queued data is dropped, the peer sees RST (T-5). */
void nofi_sock_abort(int fd);

/* "10.0.0.1:4420", "[::1]:4420". Returns buf. */
const char *nofi_sockaddr_format(const struct sockaddr *sa, char *buf, size_t len);

/* A sentence for a failed connect: whom to suspect ("nothing listens on …"). Returns code. */
int nofi_sock_connect_error(int code, const struct sockaddr *peer, struct nofi_err *err);

enum { NOFI_SUBFLOWS_MAX = 8 };

struct nofi_subflow_info {
	struct sockaddr_storage local, peer;
	uint64_t bytes_sent, bytes_received;	/* this subflow, retransmits included */
	uint32_t retransmits;
	uint32_t rtt_us;
	uint32_t min_rtt_us;
	uint32_t rto_us;			/* backed off: the base is rto_us >> backoff */
	uint32_t cwnd;
	uint32_t id;				/* the kernel's, 0: not known */
	uint32_t unacked;			/* segments on their way */
	uint8_t backoff;			/* time-outs in a row */
	uint8_t ca_state;			/* enum nofi_ca_state */
	uint32_t last_ack_ms, last_data_ms;	/* since the last one was received */
	bool is_closed;				/* the first one, kept by the kernel as a shell */
	bool is_backup;				/* flagged so by one end */
};

enum nofi_ca_state { NOFI_CA_LOSS = 4 };	/* after a time-out; no other is looked at */

struct nofi_sock_info {
	struct nofi_sock_proto proto;
	uint64_t bytes_sent, bytes_received;	/* of the connection */
	uint32_t retransmits;
	uint64_t bytes_reinjected;		/* sent again over another subflow */
	uint32_t token;				/* 0: not known, or TCP */
	uint32_t subflows_max;			/* limit of the path manager */
	uint32_t subflow_count;			/* all; at most NOFI_SUBFLOWS_MAX are described */
	struct nofi_subflow_info subflows[NOFI_SUBFLOWS_MAX];
};

/*
 * Counters now, from TCP_INFO, MPTCP_INFO, MPTCP_TCPINFO, MPTCP_SUBFLOW_ADDRS
 * (MPTCP_FULL_INFO where there), tolerant of kernels with smaller or larger
 * structures. proto_in: what is known already (its reason is kept).
 */
int nofi_sock_get_info(int fd, const struct nofi_sock_proto *proto_in,
		       struct nofi_sock_info *info);

/*
 * diag.c: sets is_backup of each subflow, from sock_diag or the endpoints of this network
 * namespace; where neither answers it stays false. Some system calls for each subflow: not
 * part of nofi_sock_get_info().
 */
void nofi_sock_find_backups(int fd, struct nofi_sock_info *info);

/* state.c, pure: is subflow i stale, as nof.h defines it? */
bool nofi_subflow_is_stale(const struct nofi_sock_info *info, unsigned i);

/*
 * Name resolution. Numeric addresses are resolved at once, without blocking:
 * nofi_resolve_numeric() returns 1 and fills *out; 0: a name; -EINVAL: empty host,
 * or a port that is not 0 to 65535 (0: of a source); -ENODEV: no such interface behind the % of an
 * IPv6 address. For a name nofi_resolve_start() looks it up in a thread
 * of its own that lives only that long (getaddrinfo has no non-blocking form
 * that honours nsswitch) and calls fn from that thread; the caller hands the
 * result to its loop. nofi_resolve_cancel() makes sure fn is not called (it waits for a call
 * that runs right now, not for the look-up); the caller must hold no lock that fn
 * takes. It may be called from fn. Every start that returned 0 needs one cancel.
 */
struct nofi_addr {
	struct sockaddr_storage sa;
	socklen_t len;
};
enum { NOFI_ADDRS_MAX = 8 };
struct nofi_addrs {
	unsigned count;
	struct nofi_addr addr[NOFI_ADDRS_MAX];
};

int nofi_resolve_numeric(const char *host, const char *port, struct nofi_addrs *out);

struct nofi_resolve;
typedef void nofi_resolve_fn(void *arg, const struct nofi_addrs *addrs, const struct nofi_err *err);
int nofi_resolve_start(const char *host, const char *port, nofi_resolve_fn *fn, void *arg,
		       struct nofi_resolve **out, struct nofi_err *err);
void nofi_resolve_cancel(struct nofi_resolve *r);	/* after fn ran: releases */

#endif
