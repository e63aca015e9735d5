/* SPDX-License-Identifier: MIT */
/*
 * nvmf-relay: a byte relay between MPTCP and TCP. One thread, epoll, level-triggered.
 *
 * A connection that is accepted becomes a pair of sockets, the client's and one to the target.
 * What happens to one of them happens to the other: bytes, the end of one direction, a reset.
 */
#ifndef NVMF_RELAY_H
#define NVMF_RELAY_H

#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum { RELAY_MAX_LISTEN = 16, RELAY_MAX_PAIRS = 100000 };

struct relay_opts {
	const char *listen[RELAY_MAX_LISTEN];
	unsigned int listen_count;
	const char *target;
	bool accepts_mptcp;  /* clients may speak MPTCP; plain TCP is served too */
	bool connects_mptcp; /* the target is asked for MPTCP */
	unsigned int max_pairs;
	int ready_fd; /* −1: none */
	bool is_verbose;
};

/* Something that epoll watches. The first member of what it belongs to. */
struct source {
	int fd; /* −1: closed */
	bool is_watched;
	uint32_t events; /* those watched for */
	void (*fn)(struct source *s, uint32_t events);
};

struct relay {
	const struct relay_opts *o;
	struct addrinfo *target; /* its addresses, tried in this order */
	int epoll;
	unsigned int pair_count;
	bool is_full;		   /* nothing is accepted until a pair ends */
	bool is_target_known_down; /* it was said, and is not said again */
	uint64_t accepted;	   /* connections so far */
	uint64_t bytes;		   /* relayed in both directions by pairs that ended */
};

extern struct relay relay;

int relay_parse(int argc, char **argv, struct relay_opts *o); /* 0, or 1 + exit status */
void relay_say(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* if verbose */

/* Watches the source for these events from now on; with none, for its failure alone. */
int source_watch(struct source *s, uint32_t events);
/* Forgets and closes it. */
void source_close(struct source *s);

/* listen.c: 0, or −1 behind a sentence. */
int relay_listen(const char *address);
int relay_resolve(const char *address);
void relay_print_listeners(void);
/* Accepts, or not, as relay.is_full says. */
void relay_pause_listeners(bool is_paused);
const char *relay_name(const struct sockaddr *sa, socklen_t len, char buf[80]);

/* pair.c: takes the accepted socket. */
void pair_new(int fd, const char *client);
/* Frees the pairs that ended: no event of this turn names them any more. */
void pair_reap(void);
/* Resets them all. */
void pair_end_all(void);

#endif
