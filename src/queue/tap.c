/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The PDU tap: what each queue sends and receives, before and behind TLS and
 * MPTCP, as one made-up TCP connection per queue in a pcap file. Wireshark can
 * follow such a stream, where it cannot put one together from several subflows.
 *
 * A record is: pcap header, IPv4 or IPv6 header, TCP header, data. Nothing is
 * ever lost or reordered in it, so the numbers are simple: each segment
 * acknowledges all that the other side has sent.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "queue/tap.h"

enum {
	FLUSH_AT = 64 * 1024,		/* buffered bytes that are worth a write */
	SEGMENT_MAX = 60 * 1024,	/* data of one packet; the IP length field has 16 bits */
	HEADERS_MAX = 16 + 40 + 28,	/* pcap, IPv6, TCP with options */
	BUFFER_SIZE = FLUSH_AT + HEADERS_MAX + SEGMENT_MAX,
	SNAPLEN = 256 * 1024,
	LINKTYPE_RAW = 101,		/* IPv4 or IPv6 header first */
	WINDOW_SCALE = 14,		/* the largest: no receiver here is ever full */
	ACK_EVERY = 1024 * 1024,	/* one-way traffic is acknowledged this often */
};

enum { TCP_FIN = 0x01, TCP_SYN = 0x02, TCP_PSH = 0x08, TCP_ACK = 0x10 };

struct nofi_tap {
	pthread_mutex_t lock;		/* guards all below, and the streams */
	int fd;				/* -1 after an error */
	unsigned refs;			/* one of the opener, one per stream */
	uint16_t ip_id;			/* identification of the next IPv4 packet */
	off_t whole;			/* bytes of the file that are whole packets */
	size_t used;			/* bytes in buf, whole packets */
	struct nofi_err error;		/* of the first write that failed */
	char path[256];			/* for sentences; a longer one is cut */
	uint8_t buf[BUFFER_SIZE];
};

/* One end of the made-up connection. */
struct end {
	uint8_t addr[16];		/* 4 bytes of it for IPv4 */
	uint16_t port;			/* in network order */
	uint32_t seq;			/* of the next byte it sends */
	uint32_t acked;			/* what the other end has acknowledged of it */
};

struct nofi_tap_stream {
	struct nofi_tap *tap;		/* holds a reference */
	bool is_v6;
	struct end end[2];		/* 0: this host, 1: the controller */
};

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = v >> 8;
	p[1] = v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

/* Sum of big-endian 16-bit words (RFC 1071); a last odd byte counts as a high one. */
static uint64_t sum16(uint64_t sum, const uint8_t *p, size_t len)
{
	for (; len >= 2; p += 2, len -= 2)
		sum += (uint32_t)p[0] << 8 | p[1];
	return len ? sum + ((uint32_t)p[0] << 8) : sum;
}

static uint16_t checksum(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* The first error ends the recording; what is no whole packet is cut off. */
static void fail(struct nofi_tap *tap, int code)
{
	int r;

	nofi_err_set(&tap->error, code, "write to pcap file %s: %s: it ends early; make room or "
		     "choose another place", tap->path, strerror(-code));
	/* Best effort: readers also cope with a cut last packet. */
	r = ftruncate(tap->fd, tap->whole);
	(void)r;
	close(tap->fd);
	tap->fd = -1;
	tap->used = 0;
}

static void flush(struct nofi_tap *tap)
{
	size_t done = 0;
	ssize_t n;

	while (tap->fd >= 0 && done < tap->used) {
		n = write(tap->fd, tap->buf + done, tap->used - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			fail(tap, n < 0 ? -errno : -ENOSPC);
			return;
		}
		done += n;
	}
	tap->whole += done;
	tap->used = 0;
}

static size_t build_ip(const struct nofi_tap_stream *s, uint8_t *p, const struct end *from,
		       const struct end *to, size_t tcp_len)
{
	if (s->is_v6) {
		memset(p, 0, 8);
		p[0] = 0x60;
		put16(p + 4, tcp_len);
		p[6] = IPPROTO_TCP;
		p[7] = 64;
		memcpy(p + 8, from->addr, 16);
		memcpy(p + 24, to->addr, 16);
		return 40;
	}
	memset(p, 0, 20);
	p[0] = 0x45;
	put16(p + 2, 20 + tcp_len);
	put16(p + 4, s->tap->ip_id++);
	put16(p + 6, 0x4000);		/* do not fragment */
	p[8] = 64;
	p[9] = IPPROTO_TCP;
	memcpy(p + 12, from->addr, 4);
	memcpy(p + 16, to->addr, 4);
	put16(p + 10, checksum(sum16(0, p, 20)));
	return 20;
}

static size_t build_tcp(const struct nofi_tap_stream *s, uint8_t *p, const struct end *from,
			const struct end *to, unsigned flags, const void *data, size_t len)
{
	size_t addr_len = s->is_v6 ? 16 : 4, header = 20;
	uint64_t sum;

	memcpy(p, &from->port, 2);
	memcpy(p + 2, &to->port, 2);
	put32(p + 4, from->seq);
	put32(p + 8, flags & TCP_ACK ? to->seq : 0);
	put16(p + 14, 0xffff);		/* window */
	put32(p + 16, 0);		/* checksum, urgent pointer */
	if (flags & TCP_SYN) {
		const uint8_t options[8] = { 2, 4, SEGMENT_MAX >> 8, SEGMENT_MAX & 0xff,
					     3, 3, WINDOW_SCALE, 0 };

		memcpy(p + header, options, sizeof(options));
		header += sizeof(options);
	}
	put16(p + 12, header / 4 << 12 | flags);
	if (len)
		memcpy(p + header, data, len);

	sum = sum16(0, from->addr, addr_len);
	sum = sum16(sum, to->addr, addr_len);
	sum += IPPROTO_TCP + header + len;
	put16(p + 16, checksum(sum16(sum, p, header + len)));
	return header + len;
}

static void add_packet(struct nofi_tap_stream *s, bool is_rx, unsigned flags, const void *data,
		       size_t len)
{
	struct end *from = &s->end[is_rx], *to = &s->end[!is_rx];
	struct nofi_tap *tap = s->tap;
	size_t ip_len = s->is_v6 ? 40 : 20, total;
	struct timespec now;
	uint32_t record[4];
	uint8_t *p;

	if (tap->fd < 0)
		return;
	/* There is always room for one packet behind FLUSH_AT. */
	if (tap->used >= FLUSH_AT)
		flush(tap);
	p = tap->buf + tap->used;
	total = build_tcp(s, p + sizeof(record) + ip_len, from, to, flags, data, len);
	total += build_ip(s, p + sizeof(record), from, to, total);
	clock_gettime(CLOCK_REALTIME, &now);
	record[0] = now.tv_sec;
	record[1] = now.tv_nsec;
	record[2] = total;		/* captured */
	record[3] = total;		/* on the wire */
	memcpy(p, record, sizeof(record));
	tap->used += sizeof(record) + total;

	from->seq += len + !!(flags & (TCP_SYN | TCP_FIN));
	if (flags & TCP_ACK)
		to->acked = to->seq;
}

int nofi_tap_open(const char *path, struct nofi_tap **out, struct nofi_err *err)
{
	/* Nanosecond variant of classic pcap, in the byte order of this machine. */
	const uint32_t header[6] = { 0xa1b23c4d, 0, 0, 0, SNAPLEN, LINKTYPE_RAW };
	const uint16_t version[2] = { 2, 4 };
	struct nofi_tap *tap;
	struct stat st;
	int fd, r;

	/* For the owner only: it holds the data of the volume. NONBLOCK: a pipe without reader. */
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
	if (fd < 0) {
		r = -errno;
		return nofi_err_set(err, r, "pcap file %s: cannot create it: %s", path,
				    strerror(-r));
	}
	/* A pipe would kill the program with SIGPIPE when its reader ends. */
	if (fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))) {
		close(fd);
		return nofi_err_set(err, -EINVAL, "pcap file %s: not a regular file", path);
	}
	if (S_ISREG(st.st_mode) && ftruncate(fd, 0) < 0) {
		r = -errno;
		close(fd);
		return nofi_err_set(err, r, "pcap file %s: cannot empty it: %s", path,
				    strerror(-r));
	}
	tap = calloc(1, sizeof(*tap));
	if (!tap) {
		close(fd);
		return nofi_err_set(err, -ENOMEM, "pcap file %s: out of memory", path);
	}
	pthread_mutex_init(&tap->lock, NULL);
	tap->fd = fd;
	tap->refs = 1;
	snprintf(tap->path, sizeof(tap->path), "%s", path);
	memcpy(tap->buf, header, sizeof(header));
	memcpy(tap->buf + 4, version, sizeof(version));
	tap->used = sizeof(header);
	flush(tap);
	if (tap->fd < 0) {
		r = tap->error.code;
		if (err)
			*err = tap->error;
		nofi_tap_close(tap);
		return r;
	}
	*out = tap;
	return 0;
}

/* Drops a reference and the lock. */
static void put_unlock(struct nofi_tap *tap)
{
	bool is_last = !--tap->refs;

	pthread_mutex_unlock(&tap->lock);
	if (!is_last)
		return;
	if (tap->fd >= 0)
		close(tap->fd);
	pthread_mutex_destroy(&tap->lock);
	free(tap);
}

void nofi_tap_close(struct nofi_tap *tap)
{
	if (!tap)
		return;
	pthread_mutex_lock(&tap->lock);
	flush(tap);
	put_unlock(tap);
}

int nofi_tap_status(struct nofi_tap *tap, struct nofi_err *err)
{
	int r;

	pthread_mutex_lock(&tap->lock);
	flush(tap);
	r = tap->error.code;
	if (r && err)
		*err = tap->error;
	pthread_mutex_unlock(&tap->lock);
	return r;
}

static void set_end(struct end *e, const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;

		memcpy(e->addr, &in6->sin6_addr, 16);
		e->port = in6->sin6_port;
	} else {
		const struct sockaddr_in *in = (const void *)sa;

		memcpy(e->addr, &in->sin_addr, 4);
		e->port = in->sin_port;
	}
}

int nofi_tap_stream_new(struct nofi_tap *tap, const struct sockaddr *local,
			const struct sockaddr *peer, struct nofi_tap_stream **out)
{
	struct nofi_tap_stream *s;
	struct timespec now;

	if (local->sa_family != peer->sa_family ||
	    (local->sa_family != AF_INET && local->sa_family != AF_INET6))
		return -EAFNOSUPPORT;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->tap = tap;
	s->is_v6 = local->sa_family == AF_INET6;
	set_end(&s->end[0], local);
	set_end(&s->end[1], peer);
	/* From a clock (RFC 9293 3.4.1): a port that is used again is a new stream. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	s->end[0].seq = (uint32_t)now.tv_sec * 250000 + now.tv_nsec / 4000;
	s->end[1].seq = s->end[0].seq + 0x40000000;

	pthread_mutex_lock(&tap->lock);
	tap->refs++;
	add_packet(s, false, TCP_SYN, NULL, 0);
	add_packet(s, true, TCP_SYN | TCP_ACK, NULL, 0);
	add_packet(s, false, TCP_ACK, NULL, 0);
	pthread_mutex_unlock(&tap->lock);
	*out = s;
	return 0;
}

void nofi_tap_stream_free(struct nofi_tap_stream *s)
{
	struct nofi_tap *tap;

	if (!s)
		return;
	tap = s->tap;
	pthread_mutex_lock(&tap->lock);
	add_packet(s, false, TCP_FIN | TCP_ACK, NULL, 0);
	add_packet(s, true, TCP_FIN | TCP_ACK, NULL, 0);
	add_packet(s, false, TCP_ACK, NULL, 0);
	flush(tap);
	free(s);
	put_unlock(tap);
}

void nofi_tap_bytes(struct nofi_tap_stream *s, bool is_rx, const void *data, size_t len)
{
	struct end *from = &s->end[is_rx];
	const uint8_t *p = data;

	pthread_mutex_lock(&s->tap->lock);
	while (len) {
		size_t n = len < SEGMENT_MAX ? len : SEGMENT_MAX;

		add_packet(s, is_rx, n == len ? TCP_PSH | TCP_ACK : TCP_ACK, p, n);
		if (from->seq - from->acked >= ACK_EVERY)
			add_packet(s, !is_rx, TCP_ACK, NULL, 0);
		p += n;
		len -= n;
	}
	pthread_mutex_unlock(&s->tap->lock);
}
