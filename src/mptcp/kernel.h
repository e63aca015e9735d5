/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's MPTCP socket interface, as far as it is used here. Written out
 * because the headers of a distribution may be older than its kernel, and with
 * the sizes fixed: these structures grow at their ends, and the kernel is told
 * how much of them is wanted.
 */
#ifndef NOF_MPTCP_KERNEL_H
#define NOF_MPTCP_KERNEL_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
	NOFI_IPPROTO_MPTCP = 262,
	NOFI_SOL_MPTCP = 284,
	NOFI_MPTCP_INFO = 1,		/* Linux 5.16 */
	NOFI_MPTCP_TCPINFO = 2,		/* 5.16 */
	NOFI_MPTCP_SUBFLOW_ADDRS = 3,	/* 5.16 */
	NOFI_MPTCP_FULL_INFO = 4,	/* 6.5 */
	NOFI_TCP_IS_MPTCP = 43,		/* 6.9, level IPPROTO_TCP */
};

/* struct mptcp_info of Linux 6.10: 96 bytes, of which older kernels give less. */
struct nofi_mptcp_info {
	uint8_t subflows;		/* those beside the first; see subflows_total */
	uint8_t add_addr_signal;
	uint8_t add_addr_accepted;
	uint8_t subflows_max;
	uint8_t add_addr_signal_max;
	uint8_t add_addr_accepted_max;
	uint32_t flags;			/* bit 0: fallback */
	uint32_t token;
	uint64_t write_seq;
	uint64_t snd_una;
	uint64_t rcv_nxt;
	uint8_t local_addr_used;
	uint8_t local_addr_max;
	uint8_t csum_enabled;
	uint32_t retransmits;		/* from here on 6.5 */
	uint64_t bytes_retrans;
	uint64_t bytes_sent;
	uint64_t bytes_received;
	uint64_t bytes_acked;
	uint8_t subflows_total;		/* 6.9: all of them */
	uint8_t reserved[3];
	uint32_t last_data_sent;
	uint32_t last_data_recv;
	uint32_t last_ack_recv;
};
static_assert(sizeof(struct nofi_mptcp_info) == 96, "kernel ABI");
static_assert(offsetof(struct nofi_mptcp_info, retransmits) == 44, "kernel ABI");
static_assert(offsetof(struct nofi_mptcp_info, subflows_total) == 80, "kernel ABI");

/* In front of the arrays of MPTCP_TCPINFO and MPTCP_SUBFLOW_ADDRS. */
struct nofi_subflow_data {
	uint32_t size_subflow_data;	/* in: sizeof this */
	uint32_t num_subflows;		/* out: how many there are, 0 on the way in */
	uint32_t size_kernel;		/* out: the kernel's element, 0 on the way in */
	uint32_t size_user;		/* in: the distance of our elements */
} __attribute__((aligned(8)));
static_assert(sizeof(struct nofi_subflow_data) == 16, "kernel ABI");

struct nofi_subflow_addrs {
	struct sockaddr_storage local;
	struct sockaddr_storage remote;
};
static_assert(sizeof(struct nofi_subflow_addrs) == 256, "kernel ABI");

/* One subflow in MPTCP_FULL_INFO. */
struct nofi_subflow_entry {
	uint32_t id;
	struct nofi_subflow_addrs addrs;
};
static_assert(sizeof(struct nofi_subflow_entry) == 264, "kernel ABI");

struct nofi_mptcp_full_info {
	uint32_t size_tcpinfo_kernel;	/* out */
	uint32_t size_tcpinfo_user;	/* in: the distance of our elements */
	uint32_t size_sfinfo_kernel;	/* out */
	uint32_t size_sfinfo_user;	/* in */
	uint32_t num_subflows;		/* out: how many there are */
	uint32_t size_arrays_user;	/* in: for how many there is room */
	uint64_t subflow_info;		/* in: address of struct nofi_subflow_entry[] */
	uint64_t tcp_info;		/* in: address of struct nofi_tcp_info[] */
	struct nofi_mptcp_info info;	/* out */
};
static_assert(offsetof(struct nofi_mptcp_full_info, info) == 40, "kernel ABI");

/* The part of struct tcp_info that is read (Linux 4.19 has all of it). */
struct nofi_tcp_info {
	uint8_t state, ca_state, retransmits, probes, backoff, options, wscale, flags;
	uint32_t rto;			/* us */
	uint32_t ato, snd_mss, rcv_mss;
	uint32_t unacked, sacked, lost, retrans, fackets;
	uint32_t last_data_sent, last_ack_sent, last_data_recv, last_ack_recv;
	uint32_t pmtu, rcv_ssthresh;
	uint32_t rtt;			/* us */
	uint32_t rttvar, snd_ssthresh;
	uint32_t snd_cwnd;
	uint32_t advmss, reordering, rcv_rtt, rcv_space;
	uint32_t total_retrans;
	uint64_t pacing_rate, max_pacing_rate;
	uint64_t bytes_acked;
	uint64_t bytes_received;	/* in order, each once */
	uint32_t segs_out, segs_in, notsent_bytes, min_rtt, data_segs_in, data_segs_out;
	uint64_t delivery_rate, busy_time, rwnd_limited, sndbuf_limited;
	uint32_t delivered, delivered_ce;
	uint64_t bytes_sent;		/* retransmitted ones included */
	uint64_t bytes_retrans;
};
static_assert(offsetof(struct nofi_tcp_info, rtt) == 68, "kernel ABI");
static_assert(offsetof(struct nofi_tcp_info, total_retrans) == 100, "kernel ABI");
static_assert(offsetof(struct nofi_tcp_info, bytes_received) == 128, "kernel ABI");
static_assert(offsetof(struct nofi_tcp_info, bytes_sent) == 200, "kernel ABI");

#endif
