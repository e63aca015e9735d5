/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel tells about a connection and its subflows, old kernel or new. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#include "mptcp/kernel.h"
#include "mptcp/sock.h"

/* Everything is asked for with this many; a smaller structure of the kernel leaves zeroes. */
enum { SUBFLOWS = NOFI_SUBFLOWS_MAX };

static int get(int fd, int level, int option, void *value, socklen_t *len)
{
	return getsockopt(fd, level, option, value, len) < 0 ? -errno : 0;
}

/*
 * Describes subflow i, and adds it to the counters of the connection: there, what
 * was sent again does not count twice.
 */
static void add_subflow(struct nofi_sock_info *info, unsigned i, const struct nofi_tcp_info *t)
{
	struct nofi_subflow_info *s = &info->subflows[i];

	s->bytes_sent = t->bytes_sent;
	s->bytes_received = t->bytes_received;
	s->retransmits = t->total_retrans;
	s->rtt_us = t->rtt;
	s->min_rtt_us = t->min_rtt;
	s->is_closed = t->state == TCP_CLOSE;
	s->rto_us = t->rto;
	s->cwnd = t->snd_cwnd;
	s->unacked = t->unacked;
	s->backoff = t->backoff;
	s->ca_state = t->ca_state;
	s->last_ack_ms = t->last_ack_recv;
	s->last_data_ms = t->last_data_recv;
	info->bytes_sent += t->bytes_sent - t->bytes_retrans;
	info->bytes_received += t->bytes_received;
	info->retransmits += t->total_retrans;
}

/* Kernels from 6.5 on count for the connection, subflows that are gone included. */
static void fill_connection(struct nofi_sock_info *info, const struct nofi_mptcp_info *m,
			    size_t len)
{
	if (len < offsetof(struct nofi_mptcp_info, write_seq))
		return;
	info->token = m->token;
	info->subflows_max = m->subflows_max;
	if (len < offsetof(struct nofi_mptcp_info, bytes_acked))
		return;
	info->bytes_reinjected = m->bytes_retrans;
	info->bytes_sent = m->bytes_sent;
	info->bytes_received = m->bytes_received;
	info->retransmits += m->retransmits;	/* what went again over another subflow */
}

/* One consistent picture in one call, Linux 6.5 and later. */
static int get_full(int fd, struct nofi_sock_info *info)
{
	struct nofi_subflow_entry entries[SUBFLOWS];
	struct nofi_tcp_info tcp[SUBFLOWS];
	struct nofi_mptcp_full_info full;
	socklen_t len = sizeof(full);
	unsigned i;
	int r;

	memset(&full, 0, sizeof(full));
	memset(entries, 0, sizeof(entries));
	memset(tcp, 0, sizeof(tcp));
	full.size_tcpinfo_user = sizeof(tcp[0]);
	full.size_sfinfo_user = sizeof(entries[0]);
	full.size_arrays_user = SUBFLOWS;
	full.subflow_info = (uintptr_t)entries;
	full.tcp_info = (uintptr_t)tcp;
	r = get(fd, NOFI_SOL_MPTCP, NOFI_MPTCP_FULL_INFO, &full, &len);
	if (r < 0)
		return r;
	if (len < offsetof(struct nofi_mptcp_full_info, info))
		return -EOPNOTSUPP;

	info->subflow_count = full.num_subflows;
	for (i = 0; i < full.num_subflows && i < SUBFLOWS; i++) {
		info->subflows[i].id = entries[i].id;
		info->subflows[i].local = entries[i].addrs.local;
		info->subflows[i].peer = entries[i].addrs.remote;
		add_subflow(info, i, &tcp[i]);
	}
	fill_connection(info, &full.info, len - offsetof(struct nofi_mptcp_full_info, info));
	return 0;
}

/*
 * The same from three calls. A subflow that comes or goes between two of them can
 * leave an address beside the counters of another: a matter of display only.
 */
static int get_parts(int fd, struct nofi_sock_info *info)
{
	struct {
		struct nofi_subflow_data head;
		struct nofi_tcp_info item[SUBFLOWS];
	} tcp;
	struct {
		struct nofi_subflow_data head;
		struct nofi_subflow_addrs item[SUBFLOWS];
	} addrs;
	struct nofi_mptcp_info m;
	socklen_t len;
	unsigned i, n;
	int r;

	memset(&tcp, 0, sizeof(tcp));
	memset(&addrs, 0, sizeof(addrs));
	memset(&m, 0, sizeof(m));
	tcp.head.size_subflow_data = sizeof(tcp.head);
	tcp.head.size_user = sizeof(tcp.item[0]);
	len = sizeof(tcp);
	r = get(fd, NOFI_SOL_MPTCP, NOFI_MPTCP_TCPINFO, &tcp, &len);
	if (r < 0)
		return r;
	addrs.head.size_subflow_data = sizeof(addrs.head);
	addrs.head.size_user = sizeof(addrs.item[0]);
	len = sizeof(addrs);
	r = get(fd, NOFI_SOL_MPTCP, NOFI_MPTCP_SUBFLOW_ADDRS, &addrs, &len);
	if (r < 0)
		return r;

	info->subflow_count = tcp.head.num_subflows;
	n = info->subflow_count < SUBFLOWS ? info->subflow_count : SUBFLOWS;
	for (i = 0; i < n; i++) {
		info->subflows[i].local = addrs.item[i].local;
		info->subflows[i].peer = addrs.item[i].remote;
		add_subflow(info, i, &tcp.item[i]);
	}
	len = sizeof(m);
	r = get(fd, NOFI_SOL_MPTCP, NOFI_MPTCP_INFO, &m, &len);
	if (r < 0)
		return r;
	fill_connection(info, &m, len);
	return 0;
}

static int get_tcp(int fd, struct nofi_sock_info *info)
{
	struct nofi_subflow_info *s = &info->subflows[0];
	struct nofi_tcp_info tcp;
	socklen_t len = sizeof(tcp);
	int r;

	memset(&tcp, 0, sizeof(tcp));
	r = get(fd, IPPROTO_TCP, TCP_INFO, &tcp, &len);
	if (r < 0)
		return r;
	info->subflow_count = 1;
	add_subflow(info, 0, &tcp);
	len = sizeof(s->local);
	if (getsockname(fd, (struct sockaddr *)&s->local, &len) < 0)
		s->local.ss_family = AF_UNSPEC;
	len = sizeof(s->peer);
	if (getpeername(fd, (struct sockaddr *)&s->peer, &len) < 0)
		s->peer.ss_family = AF_UNSPEC;
	return 0;
}

int nofi_sock_get_info(int fd, const struct nofi_sock_proto *proto_in,
		       struct nofi_sock_info *out)
{
	struct nofi_sock_info info = { .proto = *proto_in };
	int r = -EOPNOTSUPP;

	if (info.proto.is_mptcp) {
		r = get_full(fd, &info);
		if (r < 0)
			r = get_parts(fd, &info);
	}
	if (r < 0) {
		struct nofi_sock_proto now = *proto_in;

		/* Fallback can also come after the connection has been made. */
		if (info.proto.is_mptcp) {
			r = nofi_sock_look(fd, &now);
			if (r < 0)
				return r;
		}
		memset(&info, 0, sizeof(info));
		info.proto = now;
		r = get_tcp(fd, &info);
	}
	if (r < 0)
		return r;
	*out = info;
	return 0;
}
