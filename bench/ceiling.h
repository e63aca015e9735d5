/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The raw request/answer loop that libnof is measured against.
 *
 * The bytes have the shape of NVMe/TCP reads: a 72-byte CapsuleCmd asks, a C2HData PDU (24-byte
 * header and the data) answers, followed by a 24-byte CapsuleResp unless the data PDU carries
 * SUCCESS. Nothing else of the protocol is there: no connection set-up, no status, no timers,
 * no queues, no validation beyond what keeps the loop itself from going wrong. What an initiator
 * cannot avoid is there: cutting the stream into PDUs by their length fields, and putting each
 * payload into the buffer of the request it belongs to.
 */
#ifndef BENCH_CEILING_H
#define BENCH_CEILING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define CAPSULE_LEN	72u		/* CapsuleCmd: common header and SQE */
#define HDR_LEN		24u		/* C2HData header, and the whole CapsuleResp */
#define BLOCK_LEN	512u		/* unit of the number of blocks in a request */
#define NVME_BLOCK_LEN	4096u		/* of the namespace, where the server is a target */
#define BS_MAX		(4u << 20)

enum {
	PDU_CMD = 0x04,
	PDU_RESP = 0x05,
	PDU_C2H = 0x07,
};

#define FLAG_LAST	0x04
#define FLAG_SUCCESS	0x08

struct ceiling_opts {
	const char *addr;	/* numeric IPv4 or IPv6 address */
	const char *nqn;	/* client: the other side is an NVMe/TCP target, NULL: our server */
	unsigned int port;	/* the server may be given 0 and prints the one it got */
	bool server;
	bool uring;		/* client engine: io_uring, else epoll */
	bool mptcp;		/* ask for IPPROTO_MPTCP */
	bool spin;		/* never sleep while waiting */
	bool resp;		/* server: answer data without SUCCESS, then a CapsuleResp */
	unsigned int bs;	/* bytes per request, a multiple of BLOCK_LEN */
	unsigned int qd;	/* requests outstanding, at most 4096 */
	double runtime;		/* measured seconds */
	double ramp;		/* seconds before the measurement begins */
	uint64_t limit;		/* ends after so many answers, 0: by the clock */
	size_t stage;		/* client: bytes of the staging buffer */
	size_t direct;		/* client: a payload with this much to come bypasses staging */
	size_t behind;		/* client: staging bytes offered behind such a payload */
	int rcvbuf;		/* client: SO_RCVBUF, 0 leaves the kernel's tuning alone */
};

/* Latencies in ns: 128 linear steps per power of two, so a percentile is at most 0.4 % off. */
#define HIST_SUB	7
struct hist {
	uint64_t n[(64 - HIST_SUB) << HIST_SUB];
	uint64_t count;
	uint64_t sum;
};

static inline void hist_add(struct hist *h, uint64_t ns)
{
	unsigned int shift = 0;

	h->count++;
	h->sum += ns;
	if (ns >> (HIST_SUB + 1))
		shift = 63 - (unsigned int)__builtin_clzll(ns) - HIST_SUB;
	h->n[((size_t)shift << HIST_SUB) + (ns >> shift)]++;
}

/* Middle of the step that holds the given share of all latencies, as nvmf-perf reports it. */
uint64_t hist_percentile(const struct hist *h, double percent);

/* One request: free (waiting in client.ready) or outstanding. */
struct slot {
	uint8_t *buf;		/* bs bytes of its own, as an application would have */
	uint64_t sent_ns;	/* when the batch that carried it was handed to the kernel */
	uint32_t got;		/* payload bytes received so far */
	bool outstanding;
};

struct client {
	const struct ceiling_opts *o;
	int fd;
	struct slot *slots;	/* qd of them, the index is the CID */
	uint8_t *capsules;	/* qd capsules in a row: neighbours go out as one iovec */
	uint16_t *ready;	/* FIFO ring of the slots to send, qd entries */
	unsigned int ready_head;
	unsigned int ready_count;
	struct iovec *send_iov;	/* qd entries, in use while a send is in flight */

	uint8_t *stage;
	size_t stage_head;	/* first byte not parsed */
	size_t stage_tail;	/* first byte not received */
	struct iovec recv_iov[2];
	size_t recv_want;	/* sum of recv_iov: a shorter receive ran dry */
	struct slot *cur;	/* whose payload is being received, NULL between PDUs */
	uint32_t cur_rest;	/* payload bytes of the current PDU to come, not 0 with cur */
	bool cur_success;	/* no CapsuleResp follows the current PDU */

	struct hist hist;
	uint64_t ios;
	uint64_t ramp_ios;	/* answers before the measurement began */
	uint64_t sends;
	uint64_t receives;
	uint64_t ramp_ns;	/* when the measurement begins, 0 once it has */
	uint64_t start_ns;
	uint64_t end_ns;
	double user_s;		/* CPU of this process: at the start, then the difference */
	double sys_s;
};

static inline uint32_t get_le32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint16_t get_le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline void put_le32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
	p[2] = (uint8_t)(v >> 16);
	p[3] = (uint8_t)(v >> 24);
}

static inline void put_le16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

uint64_t now_ns(void);
_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ceiling_client.c: what both engines share */
unsigned int client_prep_send(struct client *c);
void client_prep_recv(struct client *c);
/* False when the run is over. */
bool client_received(struct client *c, size_t n);

static inline bool client_wants_send(const struct client *c, bool dry)
{
	return c->ready_count && (dry || c->ready_count >= (c->o->qd + 1) / 2);
}

int client_run(const struct ceiling_opts *o);

/* ceiling_nvme.c */
int nvme_connect(const struct ceiling_opts *o, int (*connect_to)(const struct ceiling_opts *o));
void nvme_command(uint8_t *sqe, unsigned int bs);

/* ceiling_engines.c */
void client_epoll(struct client *c);
void client_uring(struct client *c);

/* ceiling_server.c */
int server_run(const struct ceiling_opts *o);

#endif
