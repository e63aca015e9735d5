/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The PDU tap: an own reader follows every made-up stream back to the bytes that
 * went in; tshark, where it is installed, dissects a session and finds no fault.
 */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "pdu/crc32c.h"
#include "queue/tap.h"

static char dir[] = "/tmp/nof-test-tap-XXXXXX";
static char path[64];

static int make_dir(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/t.pcap", dir);
	return 0;
}

static int remove_dir(void **state)
{
	unlink(path);
	return rmdir(dir);
}

static void address(struct sockaddr_storage *sa, bool is_v6, unsigned host, unsigned port)
{
	memset(sa, 0, sizeof(*sa));
	if (is_v6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)sa;

		in6->sin6_family = AF_INET6;
		in6->sin6_addr.s6_addr[0] = 0xfd;
		in6->sin6_addr.s6_addr[15] = host;
		in6->sin6_port = htons(port);
	} else {
		struct sockaddr_in *in = (struct sockaddr_in *)sa;

		in->sin_family = AF_INET;
		in->sin_addr.s_addr = htonl(0x0a000000 + host);
		in->sin_port = htons(port);
	}
}

static struct nofi_tap_stream *stream_new(struct nofi_tap *tap, bool is_v6, unsigned port)
{
	struct sockaddr_storage local, peer;
	struct nofi_tap_stream *s;

	address(&local, is_v6, 1, port);
	address(&peer, is_v6, 2, 4420);
	assert_int_equal(nofi_tap_stream_new(tap, (struct sockaddr *)&local,
					     (struct sockaddr *)&peer, &s), 0);
	return s;
}

/* The reader. */

struct half {
	bool has_syn, has_fin;
	uint32_t next;		/* expected sequence number */
	uint8_t *data;
	size_t len;
};

struct file {
	uint8_t *bytes;
	size_t len;
	size_t packets;
	struct half half[65536][2];	/* by local port; 1: from port 4420 */
};

static unsigned get16(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static unsigned ones_sum(uint32_t sum, const uint8_t *p, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		sum += i % 2 ? p[i] : p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static void read_packet(struct file *f, const uint8_t *p, size_t len)
{
	bool is_v6 = p[0] >> 4 == 6, is_rx;
	size_t ip_len = is_v6 ? 40 : 20, addr_len = is_v6 ? 16 : 4, header;
	const uint8_t *addrs = p + (is_v6 ? 8 : 12), *tcp = p + ip_len;
	struct half *from, *to;
	unsigned flags, sum;

	assert_true(len >= ip_len + 20);
	if (is_v6) {
		assert_int_equal(get16(p + 4), len - ip_len);
		assert_int_equal(p[6], IPPROTO_TCP);
	} else {
		assert_int_equal(p[0], 0x45);
		assert_int_equal(get16(p + 2), len);
		assert_int_equal(p[9], IPPROTO_TCP);
		assert_int_equal(ones_sum(0, p, 20), 0xffff);
	}
	sum = ones_sum(IPPROTO_TCP + (len - ip_len), addrs, 2 * addr_len);
	assert_int_equal(ones_sum(sum, tcp, len - ip_len), 0xffff);

	is_rx = get16(tcp) == 4420;
	assert_true(is_rx || get16(tcp + 2) == 4420);
	assert_int_equal(addrs[addr_len - 1], is_rx ? 2 : 1);
	assert_int_equal(addrs[2 * addr_len - 1], is_rx ? 1 : 2);
	from = &f->half[get16(is_rx ? tcp + 2 : tcp)][is_rx];
	to = &f->half[get16(is_rx ? tcp + 2 : tcp)][!is_rx];
	header = (tcp[12] >> 4) * 4;
	flags = tcp[13];
	len -= ip_len + header;

	if (flags & 0x02) {
		assert_false(from->has_syn);
		from->has_syn = true;
		from->next = get32(tcp + 4) + 1;
		assert_int_equal(len, 0);
	} else {
		assert_true(from->has_syn);
		assert_int_equal(get32(tcp + 4), from->next);
		assert_true(!len || !from->has_fin);
		from->next += len + (flags & 1);
		from->has_fin |= flags & 1;
	}
	if (flags & 0x10)
		assert_int_equal(get32(tcp + 8), to->next);
	else
		assert_true(!is_rx && flags == 0x02);
	if (len) {
		from->data = realloc(from->data, from->len + len);
		memcpy(from->data + from->len, tcp + header, len);
		from->len += len;
	}
}

static struct file *read_file(void)
{
	struct file *f = calloc(1, sizeof(*f));
	uint64_t time, last = 0;
	struct stat st;
	size_t at = 24;
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	f->len = st.st_size;
	f->bytes = malloc(f->len);
	assert_int_equal(read(fd, f->bytes, f->len), f->len);
	close(fd);

	assert_true(f->len >= 24);
	assert_int_equal(*(uint32_t *)f->bytes, 0xa1b23c4d);
	assert_int_equal(*(uint32_t *)(f->bytes + 20), 101);
	while (at < f->len) {
		uint32_t r[4];

		/* Whole packets only. */
		assert_true(at + sizeof(r) <= f->len);
		memcpy(r, f->bytes + at, sizeof(r));
		at += sizeof(r);
		assert_true(r[1] < 1000000000 && r[2] == r[3] && r[2] <= 65575);
		assert_true(at + r[2] <= f->len);
		time = r[0] * UINT64_C(1000000000) + r[1];
		assert_true(time >= last);
		last = time;
		read_packet(f, f->bytes + at, r[2]);
		at += r[2];
		f->packets++;
	}
	return f;
}

static void free_file(struct file *f)
{
	size_t i;

	for (i = 0; i < 65536; i++) {
		free(f->half[i][0].data);
		free(f->half[i][1].data);
	}
	free(f->bytes);
	free(f);
}

static void test_streams(void **state)
{
	static const size_t lengths[] = { 1, 0, 72, 61440, 61441, 200001, 24, 3000000, 8, 65535 };
	const size_t count = sizeof(lengths) / sizeof(lengths[0]);
	struct nofi_tap *tap;
	struct nofi_err err;
	size_t max = 3000000, i, sent;
	uint8_t *data = malloc(max);
	struct file *f;
	unsigned port;

	random_fill(data, max);
	assert_int_equal(nofi_tap_open(path, &tap, &err), 0);
	for (port = 40000; port < 40003; port++) {
		struct nofi_tap_stream *s = stream_new(tap, port & 1, port);

		for (i = 0; i < count; i++) {
			nofi_tap_bytes(s, false, data, lengths[i]);
			nofi_tap_bytes(s, true, data, lengths[count - 1 - i]);
		}
		nofi_tap_stream_free(s);
	}
	assert_int_equal(nofi_tap_status(tap, &err), 0);
	nofi_tap_close(tap);

	f = read_file();
	for (port = 40000; port < 40003; port++) {
		const struct half *h = f->half[port];

		assert_true(h[0].has_fin && h[1].has_fin);
		for (sent = i = 0; i < count; sent += lengths[i++])
			assert_memory_equal(h[0].data + sent, data, lengths[i]);
		assert_int_equal(h[0].len, sent);
		for (sent = 0; i--; sent += lengths[i])
			assert_memory_equal(h[1].data + sent, data, lengths[i]);
		assert_int_equal(h[1].len, sent);
	}
	free_file(f);
	free(data);
}

struct writer {
	struct nofi_tap *tap;
	unsigned port;
};

static void *write_stream(void *arg)
{
	struct writer *w = arg;
	struct nofi_tap_stream *s;
	struct sockaddr_storage local, peer;
	uint8_t byte[97];
	int i;

	address(&local, false, 1, w->port);
	address(&peer, false, 2, 4420);
	if (nofi_tap_stream_new(w->tap, (struct sockaddr *)&local, (struct sockaddr *)&peer, &s))
		return w;
	memset(byte, w->port, sizeof(byte));
	for (i = 0; i < 3000; i++)
		nofi_tap_bytes(s, i % 3 == 0, byte, 1 + i % sizeof(byte));
	nofi_tap_stream_free(s);
	return NULL;
}

static void test_threads(void **state)
{
	struct writer w[4];
	pthread_t thread[4];
	struct nofi_tap *tap;
	struct nofi_err err;
	struct file *f;
	unsigned i;
	size_t j;
	void *failed;

	assert_int_equal(nofi_tap_open(path, &tap, &err), 0);
	for (i = 0; i < 4; i++) {
		w[i] = (struct writer){ .tap = tap, .port = 50001 + i };
		assert_int_equal(pthread_create(&thread[i], NULL, write_stream, &w[i]), 0);
	}
	for (i = 0; i < 4; i++) {
		pthread_join(thread[i], &failed);
		assert_null(failed);
	}
	nofi_tap_close(tap);
	f = read_file();
	for (i = 0; i < 4; i++) {
		const struct half *h = f->half[50001 + i];

		assert_true(h[0].has_fin && h[1].has_fin);
		for (j = 0; j < h[0].len; j++)
			assert_int_equal(h[0].data[j], (50001 + i) & 0xff);
		assert_int_equal(h[0].len, f->half[50001][0].len);
		assert_int_equal(h[1].len, f->half[50001][1].len);
	}
	free_file(f);
}

/* A stream outlives the opener's reference: nothing dangles, all is written. */
static void test_close_before_streams(void **state)
{
	struct nofi_tap_stream *s;
	struct nofi_tap *tap;
	struct nofi_err err;
	struct file *f;

	assert_int_equal(nofi_tap_open(path, &tap, &err), 0);
	s = stream_new(tap, false, 40000);
	nofi_tap_close(tap);
	nofi_tap_bytes(s, true, "late", 4);
	nofi_tap_stream_free(s);
	f = read_file();
	assert_int_equal(f->half[40000][1].len, 4);
	assert_true(f->half[40000][1].has_fin);
	free_file(f);
	nofi_tap_close(NULL);
	nofi_tap_stream_free(NULL);
}

static void test_disk_full(void **state)
{
	static uint8_t data[50000];
	struct rlimit before, small;
	struct nofi_tap_stream *s;
	struct nofi_tap *tap;
	struct nofi_err err = { 0 };
	struct file *f;
	int i;

	assert_int_equal(nofi_tap_open(path, &tap, &err), 0);
	s = stream_new(tap, false, 40000);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = 333333;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (i = 0; i < 50; i++)
		nofi_tap_bytes(s, i & 1, data, sizeof(data));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(nofi_tap_status(tap, &err), -EFBIG);
	assert_int_equal(err.code, -EFBIG);
	assert_non_null(strstr(err.text, path));
	nofi_tap_stream_free(s);
	nofi_tap_close(tap);
	/* What is there can be read, and is not much less than what there was room for. */
	f = read_file();
	assert_true(f->len > 200000 && f->len <= 333333);
	free_file(f);

	assert_int_equal(nofi_tap_open("/dev/full", &tap, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "/dev/full"));
}

static void test_bad_files(void **state)
{
	struct sockaddr_storage v4, v6, none = { .ss_family = AF_UNSPEC };
	struct nofi_tap_stream *s;
	struct nofi_tap *tap;
	struct nofi_err err;

	assert_int_equal(nofi_tap_open("/nonexistent/x.pcap", &tap, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/x.pcap"));
	assert_int_equal(nofi_tap_open(dir, &tap, &err), -EISDIR);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_true(nofi_tap_open(path, &tap, &err) < 0);
	unlink(path);

	assert_int_equal(nofi_tap_open(path, &tap, &err), 0);
	address(&v4, false, 1, 1);
	address(&v6, true, 1, 1);
	assert_int_equal(nofi_tap_stream_new(tap, (struct sockaddr *)&v4, (struct sockaddr *)&v6,
					     &s), -EAFNOSUPPORT);
	assert_int_equal(nofi_tap_stream_new(tap, (struct sockaddr *)&none,
					     (struct sockaddr *)&none, &s), -EAFNOSUPPORT);
	nofi_tap_close(tap);
}

/* A session by hand, so that what it proves does not rest on the library's own encoder. */

static void put_le32(uint8_t *p, uint32_t v)
{
	p[0] = v;
	p[1] = v >> 8;
	p[2] = v >> 16;
	p[3] = v >> 24;
}

/* Common header, header digest and data digest around what is in p already; returns PLEN. */
static size_t finish_pdu(uint8_t *p, unsigned type, unsigned flags, unsigned hlen, size_t data_len)
{
	size_t plen = hlen + 4 + (data_len ? data_len + 4 : 0);

	p[0] = type;
	p[1] = flags | 1 | (data_len ? 2 : 0);
	p[2] = hlen;
	p[3] = data_len ? hlen + 4 : 0;
	put_le32(p + 4, plen);
	put_le32(p + hlen, nofi_crc32c(p, hlen));
	if (data_len)
		put_le32(p + plen - 4, nofi_crc32c(p + hlen + 4, data_len));
	return plen;
}

static void tap_pieces(struct nofi_tap_stream *s, bool is_rx, const uint8_t *p, size_t len,
		       size_t piece)
{
	for (; len; p += piece, len -= piece) {
		if (piece > len)
			piece = len;
		nofi_tap_bytes(s, is_rx, p, piece);
	}
}

enum { READ_LEN = 131072, PDUS = 7 };

static void tap_session(struct nofi_tap_stream *s, size_t piece)
{
	uint8_t *p = calloc(1, READ_LEN + 100);
	size_t len;

	p[2] = 128;			/* ICReq: HLEN, PLEN, digests */
	p[4] = 128;
	p[11] = 3;
	tap_pieces(s, false, p, 128, piece);
	memset(p, 0, 128);
	p[0] = 1;			/* ICResp; MAXH2CDATA */
	p[2] = 128;
	p[4] = 128;
	p[11] = 3;
	put_le32(p + 12, 131072);
	tap_pieces(s, true, p, 128, piece);

	memset(p, 0, 128);
	p[8] = 0x7f;			/* fabrics command: Connect, CID 1, 1024 bytes in capsule */
	p[9] = 0x40;
	p[10] = 1;
	p[12] = 1;
	put_le32(p + 8 + 32, 1024);
	p[8 + 39] = 0x01;
	p[8 + 42] = 1;			/* QID */
	len = finish_pdu(p, 4, 0, 72, 1024);
	tap_pieces(s, false, p, len, piece);
	memset(p, 0, len);
	p[8 + 12] = 1;			/* answer: CNTLID 0, CID 1 */
	tap_pieces(s, true, p, finish_pdu(p, 5, 0, 24, 0), piece);

	memset(p, 0, 128);
	p[8] = 0x02;			/* read, CID 2, NSID 1 */
	p[9] = 0x40;
	p[10] = 2;
	p[12] = 1;
	put_le32(p + 8 + 32, READ_LEN);
	p[8 + 39] = 0x5a;
	p[8 + 48] = READ_LEN / 512 - 1;
	tap_pieces(s, false, p, finish_pdu(p, 4, 0, 72, 0), piece);
	memset(p, 0, 128);
	p[8] = 2;			/* data: CCCID 2, DATAO 0, all, LAST */
	put_le32(p + 16, READ_LEN);
	random_fill(p + 28, READ_LEN);
	tap_pieces(s, true, p, finish_pdu(p, 7, 4, 24, READ_LEN), piece < 72 ? 4999 : piece);
	memset(p, 0, 128);
	p[8 + 12] = 2;
	tap_pieces(s, true, p, finish_pdu(p, 5, 0, 24, 0), piece);
	free(p);
}

/* How many values tshark prints (several of a frame: with commas), or how many are this one. */
static int tshark(const char *arguments, const char *value)
{
	char command[1024], line[4096];
	int count = 0;
	FILE *out;

	snprintf(command, sizeof(command),
		 "tshark -r %s -d tcp.port==4420,nvme-tcp -o tcp.check_checksum:TRUE "
		 "-o ip.check_checksum:TRUE -o nvme-tcp.check_hdgst:TRUE "
		 "-o nvme-tcp.check_ddgst:TRUE -T fields %s 2>/dev/null", path, arguments);
	out = popen(command, "r");
	assert_non_null(out);
	while (fgets(line, sizeof(line), out)) {
		char *rest = line, *token;

		while ((token = strsep(&rest, ",\t\n"))) {
			if (*token && (!value || !strcmp(token, value)))
				count++;
		}
	}
	assert_int_equal(pclose(out), 0);
	return count;
}

static void test_tshark(void **state)
{
	static const size_t pieces[] = { 1000000, 1, 61 };
	enum { STREAMS = 3 };
	struct nofi_tap *tap;
	struct nofi_err err;
	unsigned i;
	int frames;

	if (system("tshark --version >/dev/null 2>&1")) {
		print_message("# tshark is not installed\n");
		skip();
	}
	assert_int_equal(nofi_tap_open(path, &tap, &err), 0);
	for (i = 0; i < STREAMS; i++) {
		struct nofi_tap_stream *s = stream_new(tap, i & 1, 40000 + i);

		tap_session(s, pieces[i]);
		nofi_tap_stream_free(s);
	}
	nofi_tap_close(tap);

	/* Nothing lost, reordered, malformed or wrongly summed (status 1: good)… */
	assert_int_equal(tshark("-e frame.number -Y '_ws.malformed || tcp.analysis.flags'", NULL),
			 0);
	frames = tshark("-e frame.number", NULL);
	assert_int_equal(tshark("-e tcp.checksum.status", "1"), frames);
	assert_int_equal(tshark("-e ip.checksum.status", "1"), tshark("-Y ip -e ip.version", "4"));
	/* …and every PDU of every stream is found, put together, with good digests. */
	for (i = 0; i < STREAMS; i++) {
		char types[100], header[100], data[100];

		snprintf(types, sizeof(types), "-Y 'tcp.stream == %u' -e nvme-tcp.type", i);
		snprintf(header, sizeof(header), "-Y 'tcp.stream == %u' -e nvme-tcp.hdgst.status",
			 i);
		snprintf(data, sizeof(data), "-Y 'tcp.stream == %u' -e nvme-tcp.ddgst.status", i);
		assert_int_equal(tshark(types, NULL), PDUS);
		assert_int_equal(tshark(types, "4"), 2);
		assert_int_equal(tshark(types, "7"), 1);
		assert_int_equal(tshark(header, NULL), PDUS - 2);
		assert_int_equal(tshark(header, "1"), PDUS - 2);
		assert_int_equal(tshark(data, NULL), 2);
		assert_int_equal(tshark(data, "1"), 2);
	}
	assert_int_equal(tshark("-Y 'nvme.cmd.opc == 2' -e nvme.cmd.cid", "0x0002"), STREAMS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_close_before_streams),
		cmocka_unit_test(test_disk_full),
		cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_tshark),
	};

	return cmocka_run_group_tests_name("tap", tests, make_dir, remove_dir);
}
