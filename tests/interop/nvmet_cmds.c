/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What nvmf-perf does not do, against a real target. nvmet_cmds VERB URI [ARG...]
 *
 *	discover URI NQN...	the log names each NQN; prints its generation
 *	watch URI		a line for each change of the log, with the entries that came
 *				and went, until standard input ends
 *	vectors URI		odd iovecs, all sizes, written, read back, compared byte by byte
 *	flush URI		writes, then flush, alone and with FUA
 *	zeroes URI		write zeroes with and without DEAC, around it unchanged
 *	deallocate URI		the range reads as old data or zeroes, around it unchanged
 *	compare URI		equal succeeds, different fails; "unsupported" when it cannot
 *	bounds URI		unaligned and out of range requests are refused with a sentence
 *	status URI ERRNO...	write zeroes that the target refuses ends with one of ERRNO
 *	refused URI ERRNO...	connecting or opening fails with one of ERRNO and a sentence
 *	lose URI [QUEUES]	keeps I/O in flight, prints "running", and expects the
 *				connection to die: every operation must complete exactly once
 *
 * Exit status 0 when what was seen is right; one sentence on stderr when not.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "nof.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

enum {
	MAX_CHANS = 8,
	DEPTH = 16,		/* operations in flight per channel, for lose */
	LOSE_BYTES = 65536,
	RUNNING = 200,		/* completions before "running" is said */
	DEADLINE_MS = 60000,	/* for anything that has to happen */
};

static struct nof_loop *loop;
static struct nof_ctrl *ctrl;
static struct nof_ns *ns;
static struct nof_chan *chan;
static struct nof_ns_info info;

static int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static int fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return -1;
}

static int call_failed(const char *call, int r)
{
	return fail("%s: %s: %s", call, strerror(-r), nof_strerror_detail());
}

/* A call that has to succeed: ends the verb with its sentence otherwise. */
#define MUST(call)                                              \
	do {                                                    \
		int must_r = (call);                            \
		if (must_r < 0)                                 \
			return call_failed(#call, must_r);      \
	} while (0)

/* A call that has to fail like this, and say something about it. */
#define REFUSES(call, err)                                                              \
	do {                                                                            \
		int refused_r = (call);                                                 \
		if (refused_r != -(err))                                                \
			return fail("%s gives %d (%s), want -" #err, #call, refused_r,  \
				    strerror(abs(refused_r)));                          \
		if (strlen(nof_strerror_detail()) < 20)                                 \
			return fail("%s fails and explains with \"%s\"", #call,         \
				    nof_strerror_detail());                             \
		printf("%s: %s\n", #err, nof_strerror_detail());                        \
	} while (0)

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Different for every place and round, so that misplaced data is seen. */
static void fill(uint8_t *p, size_t len, uint64_t place, uint32_t round)
{
	uint64_t x = (place + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)round << 32;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = (uint8_t)(x >> 24);
	}
}

static int same(const uint8_t *got, const uint8_t *want, size_t len, const char *what)
{
	for (size_t i = 0; i < len; i++)
		if (got[i] != want[i])
			return fail("%s: byte %zu of %zu is %02x, want %02x", what, i, len,
				    got[i], want[i]);
	return 0;
}

static int open_loop(const struct nof_opts *opts)
{
	struct nof_loop_opts lo;

	nof_loop_opts_init(&lo);
	lo.engine = opts->engine;
	MUST(nof_loop_new(&lo, &loop));
	return 0;
}

static int open_ctrl(const char *uri)
{
	struct nof_opts opts;

	nof_opts_init(&opts);
	MUST(nof_uri_parse(uri, &opts));
	if (open_loop(&opts) < 0)
		return -1;
	MUST(nof_ctrl_new(loop, &opts, NULL, NULL, &ctrl));
	MUST(nof_ctrl_connect_sync(ctrl));
	return 0;
}

static int open_chan(const char *uri)
{
	if (open_ctrl(uri) < 0)
		return -1;
	MUST(nof_ns_open_sync(ctrl, NULL, &ns));
	info.size = sizeof(info);
	MUST(nof_ns_get_info(ns, &info));
	MUST(nof_chan_open_sync(ns, loop, &chan));
	return 0;
}

static int do_discover(int argc, char **argv)
{
	struct nof_discovery_log *log;
	int missing = 0;

	if (open_ctrl(argv[0]) < 0)
		return -1;
	MUST(nof_discovery_get_sync(ctrl, &log));
	printf("generation %" PRIu64 "\n", log->genctr);
	for (size_t i = 0; i < log->count; i++)
		printf("%s %s:%s subtype %u trtype %u\n", log->entries[i].subnqn,
		       log->entries[i].traddr, log->entries[i].trsvcid, log->entries[i].subtype,
		       log->entries[i].trtype);
	for (int n = 1; n < argc; n++) {
		bool found = false;

		for (size_t i = 0; i < log->count; i++)
			found |= !strcmp(log->entries[i].subnqn, argv[n]) &&
				 log->entries[i].trtype == 3 && log->entries[i].subtype == 2;
		if (!found)
			missing = fail("the discovery log does not name %s", argv[n]);
	}
	if (log->count != log->total)
		missing = fail("%zu entries were read of %" PRIu64, log->count, log->total);
	nof_discovery_free(log);
	return missing;
}

static void watched(void *arg, const struct nof_discovery_update *u)
{
	for (size_t i = 0; i < u->nadded; i++)
		printf("+ %s %s %u; ", u->added[i]->subnqn, u->added[i]->trsvcid,
		       u->added[i]->subtype);
	for (size_t i = 0; i < u->nremoved; i++)
		printf("- %s %s %u; ", u->removed[i]->subnqn, u->removed[i]->trsvcid,
		       u->removed[i]->subtype);
	for (size_t i = 0; i < u->log->nservices; i++)
		if (u->log->services[i].error)
			printf("! %s; ", u->log->services[i].detail);
	puts("");
	fflush(stdout);
}

static int do_watch(int argc, char **argv)
{
	struct nof_discovery_watch *watch;
	struct nof_opts opts;
	struct pollfd p[2];
	char c;

	nof_opts_init(&opts);
	MUST(nof_uri_parse(argv[0], &opts));
	if (open_loop(&opts) < 0)
		return -1;
	MUST(nof_discover_watch(loop, &opts, NULL, watched, NULL, &watch));
	p[0] = (struct pollfd){ .fd = nof_loop_fd(loop), .events = POLLIN };
	p[1] = (struct pollfd){ .fd = STDIN_FILENO, .events = POLLIN };
	while (!p[1].revents || read(STDIN_FILENO, &c, 1) > 0) {
		poll(p, 2, -1);
		MUST(nof_loop_process(loop));
	}
	nof_discover_watch_free(watch);
	return 0;
}

/* Cuts len bytes at buf into up to max pieces of odd sizes and alignments. */
static int cut(struct iovec *iov, int max, uint8_t *buf, size_t len, uint32_t round)
{
	static const size_t pieces[] = { 1, 3, 511, 4096, 7, 65536, 100, 32767, 2 };
	int n = 0;

	for (uint32_t k = round; len && n < max - 1; k++) {
		size_t piece = pieces[k % ARRAY_SIZE(pieces)];

		if (piece > len)
			piece = len;
		iov[n++] = (struct iovec){ buf, piece };
		buf += piece;
		len -= piece;
	}
	if (len)
		iov[n++] = (struct iovec){ buf, len };
	return n;
}

static int do_vectors(int argc, char **argv)
{
	static const size_t sizes[] = { 4096, 8192, 12288, 16384, 20480, 65536, 131072, 1 << 20,
					(1 << 20) + 4096 };
	enum { PIECES = 400, MAX = (1 << 20) + 4096 };
	struct iovec iov[PIECES];
	uint8_t *out = malloc(MAX + 1), *in = malloc(MAX + 1);
	uint32_t round = (uint32_t)now_ms();
	int n, r = 0;

	if (!out || !in)
		return fail("no memory");
	if (open_chan(argv[0]) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(sizes) && !r; i++, round++) {
		uint64_t offset = (uint64_t)i * 2 * MAX / info.block_size * info.block_size;

		/* The odd start makes every piece unaligned in memory. */
		fill(out + 1, sizes[i], offset, round);
		memset(in, 0xa5, MAX + 1);
		n = cut(iov, PIECES, out + 1, sizes[i], round);
		MUST(nof_pwritev(chan, iov, n, offset, round & 1 ? NOF_IO_FUA : 0));
		n = cut(iov, PIECES, in + 1, sizes[i], round + 4);
		MUST(nof_preadv(chan, iov, n, offset, 0));
		r = same(in + 1, out + 1, sizes[i], "iovecs");
		if (!r && in[0] != 0xa5)
			r = fail("a read wrote in front of its buffer");
		/* LBA addressing is the same place. */
		memset(in, 0, sizes[i]);
		MUST(nof_pread(chan, in, sizes[i], offset / info.block_size, NOF_IO_LBA));
		if (!r)
			r = same(in, out + 1, sizes[i], "LBA offset");
	}
	free(out);
	free(in);
	return r;
}

static int do_flush(int argc, char **argv)
{
	uint8_t *buf = calloc(1, 65536);

	if (!buf)
		return fail("no memory");
	if (open_chan(argv[0]) < 0)
		return -1;
	MUST(nof_pwrite(chan, buf, 65536, 0, 0));
	MUST(nof_pflush(chan));
	MUST(nof_pwrite(chan, buf, 65536, 65536, NOF_IO_FUA));
	MUST(nof_pflush(chan));
	free(buf);
	return 0;
}

enum { AREA = 1 << 20, HOLE_AT = 128 << 10, HOLE = 512 << 10 };

/* Fills AREA, lets punch() make its hole, and checks AREA; the hole may keep its old data. */
static int hole(int (*punch)(void), bool may_keep, uint32_t round)
{
	uint8_t *out = malloc(AREA), *in = malloc(AREA);
	bool is_kept;
	int r;

	if (!out || !in)
		return fail("no memory");
	fill(out, AREA, 0, round);
	MUST(nof_pwrite(chan, out, AREA, 0, 0));
	MUST(punch());
	MUST(nof_pread(chan, in, AREA, 0, 0));
	is_kept = may_keep && !memcmp(in + HOLE_AT, out + HOLE_AT, HOLE);
	if (!is_kept)
		memset(out + HOLE_AT, 0, HOLE);
	r = same(in, out, AREA, "around and in the hole");
	if (!r)
		printf("the range reads as %s\n", is_kept ? "old data" : "zeroes");
	free(out);
	free(in);
	return r;
}

static int punch_zeroes(void)
{
	return nof_pwrite_zeroes(chan, HOLE, HOLE_AT, 0);
}

static int punch_zeroes_deac(void)
{
	return nof_pwrite_zeroes(chan, HOLE, HOLE_AT, NOF_IO_DEALLOCATE);
}

static int punch_zeroes_lba(void)
{
	return nof_pwrite_zeroes(chan, HOLE / info.block_size, HOLE_AT / info.block_size,
				 NOF_IO_LBA | NOF_IO_FUA);
}

static int punch_deallocate(void)
{
	return nof_pdeallocate(chan, HOLE, HOLE_AT, 0);
}

static int do_zeroes(int argc, char **argv)
{
	if (open_chan(argv[0]) < 0)
		return -1;
	if (!(info.features & NOF_NS_WRITE_ZEROES))
		return fail("the namespace does not claim write zeroes");
	if (hole(punch_zeroes, false, 1) < 0 || hole(punch_zeroes_lba, false, 2) < 0)
		return -1;
	return hole(punch_zeroes_deac, false, 3);
}

static int do_deallocate(int argc, char **argv)
{
	if (open_chan(argv[0]) < 0)
		return -1;
	if (!(info.features & NOF_NS_DEALLOCATE))
		return fail("the namespace does not claim deallocate");
	return hole(punch_deallocate, !(info.features & NOF_NS_DEALLOC_ZEROES), 4);
}

static int do_compare(int argc, char **argv)
{
	uint8_t *buf = malloc(65536);

	if (!buf)
		return fail("no memory");
	if (open_chan(argv[0]) < 0)
		return -1;
	fill(buf, 65536, 0, 5);
	MUST(nof_pwrite(chan, buf, 65536, 0, 0));
	if (!(info.features & NOF_NS_COMPARE)) {
		REFUSES(nof_pcompare(chan, buf, 65536, 0, 0), EOPNOTSUPP);
		puts("unsupported");
		free(buf);
		return 0;
	}
	MUST(nof_pcompare(chan, buf, 65536, 0, 0));
	buf[40000] ^= 1;
	REFUSES(nof_pcompare(chan, buf, 65536, 0, 0), EILSEQ);
	free(buf);
	return 0;
}

static int do_bounds(int argc, char **argv)
{
	uint8_t *buf = calloc(2, 65536);
	uint64_t bs;

	if (!buf)
		return fail("no memory");
	if (open_chan(argv[0]) < 0)
		return -1;
	bs = info.block_size;
	REFUSES(nof_pread(chan, buf, bs, 1, 0), EINVAL);
	REFUSES(nof_pread(chan, buf, bs - 1, 0, 0), EINVAL);
	REFUSES(nof_pwrite(chan, buf, bs + 1, 0, 0), EINVAL);
	REFUSES(nof_pread(chan, buf, bs, info.bytes, 0), ERANGE);
	REFUSES(nof_pwrite(chan, buf, 2 * bs, info.bytes - bs, 0), ERANGE);
	REFUSES(nof_pread(chan, buf, bs, UINT64_MAX - bs + 1, 0), ERANGE);
	REFUSES(nof_pread(chan, buf, bs, info.blocks, NOF_IO_LBA), ERANGE);
	REFUSES(nof_pwrite_zeroes(chan, info.bytes, bs, 0), ERANGE);
	/* None of it may have hurt the connection, and the last block is there. */
	MUST(nof_pread(chan, buf, bs, info.bytes - bs, 0));
	MUST(nof_pread(chan, buf, bs, info.blocks - 1, NOF_IO_LBA));
	free(buf);
	return 0;
}

static int is_listed(int r, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(strerrorname_np(-r), argv[i]))
			return 1;
	return 0;
}

static int refused_as(const char *what, int r, int argc, char **argv)
{
	if (r >= 0)
		return fail("%s succeeded", what);
	if (!is_listed(r, argc, argv))
		return fail("%s fails with %s, not with one of those expected: %s", what,
			    strerrorname_np(-r), nof_strerror_detail());
	if (strlen(nof_strerror_detail()) < 20)
		return fail("%s explains itself with \"%s\"", what, nof_strerror_detail());
	printf("%s: %s\n", strerrorname_np(-r), nof_strerror_detail());
	return 0;
}

static int do_status(int argc, char **argv)
{
	uint8_t *buf = calloc(1, 65536);
	int r;

	if (!buf)
		return fail("no memory");
	if (open_chan(argv[0]) < 0)
		return -1;
	r = refused_as("write zeroes", nof_pwrite_zeroes(chan, 65536, 0, 0), argc, argv);
	/* An error of one command leaves the queue usable. */
	if (!r)
		MUST(nof_pwrite(chan, buf, 65536, 0, 0));
	free(buf);
	return r;
}

static int do_refused(int argc, char **argv)
{
	struct nof_opts opts;
	int r;

	nof_opts_init(&opts);
	r = nof_uri_parse(argv[0], &opts);
	if (r < 0)
		return refused_as("the URI", r, argc, argv);
	if (open_loop(&opts) < 0)
		return -1;
	MUST(nof_ctrl_new(loop, &opts, NULL, NULL, &ctrl));
	r = nof_ctrl_connect_sync(ctrl);
	if (r >= 0)
		r = nof_ns_open_sync(ctrl, NULL, &ns);
	return refused_as("connecting", r, argc, argv);
}

struct op {
	struct lost *lost;
	struct nof_chan *chan;
	uint64_t offset;	/* this operation's own part of the namespace */
	unsigned int turn;	/* how often it was submitted: chooses what it does */
	bool is_open;		/* accepted and not completed */
	uint8_t *buf;
};

struct lost {
	unsigned int submitted;
	unsigned int completed;
	unsigned int failed;
	unsigned int twice;	/* completions of operations that were not open: must stay 0 */
	int error;		/* of the first failure */
	char detail[400];
	bool is_said;
};

static void lost_done(void *arg, const struct nof_completion *c);

static void lost_submit(struct op *op)
{
	int r;

	op->is_open = true;
	switch (op->turn++ % 8) {
	case 3:
		r = nof_flush(op->chan, lost_done, op);
		break;
	case 1:
	case 5:
		r = nof_write(op->chan, op->buf, LOSE_BYTES, op->offset, 0, lost_done, op);
		break;
	case 2:
		r = nof_write(op->chan, op->buf, 4096, op->offset, 0, lost_done, op);
		break;
	default:
		r = nof_read(op->chan, op->buf, LOSE_BYTES, op->offset, 0, lost_done, op);
	}
	if (r < 0)
		op->is_open = false;
	else
		op->lost->submitted++;
}

static void lost_done(void *arg, const struct nof_completion *c)
{
	struct op *op = arg;
	struct lost *lost = op->lost;

	if (!op->is_open)
		lost->twice++;
	op->is_open = false;
	lost->completed++;
	if (!c->error) {
		lost_submit(op);
		return;
	}
	if (!lost->failed++) {
		lost->error = c->error;
		snprintf(lost->detail, sizeof(lost->detail), "%s", c->detail);
	}
}

static int do_lose(int argc, char **argv)
{
	int queues = argc > 1 ? atoi(argv[1]) : 1;
	struct nof_chan *chans[MAX_CHANS];
	static struct op ops[MAX_CHANS][DEPTH];
	struct lost lost = { 0 };
	uint64_t end = now_ms() + DEADLINE_MS;
	enum nof_ctrl_state state;
	int r = 0;

	if (queues < 1 || queues > MAX_CHANS)
		return fail("1 to %d queues", MAX_CHANS);
	if (open_chan(argv[0]) < 0)
		return -1;
	chans[0] = chan;
	for (int q = 1; q < queues; q++)
		MUST(nof_chan_open_sync(ns, loop, &chans[q]));
	for (int q = 0; q < queues; q++) {
		for (int i = 0; i < DEPTH; i++) {
			struct op *op = &ops[q][i];

			op->lost = &lost;
			op->chan = chans[q];
			op->offset = (uint64_t)(q * DEPTH + i) * LOSE_BYTES;
			op->turn = (unsigned int)i;
			op->buf = calloc(1, LOSE_BYTES);
			if (!op->buf)
				return fail("no memory");
			lost_submit(op);
		}
	}
	MUST(nof_loop_flush(loop));
	/*
	 * Ends when all is complete, and not before the controller is lost: the
	 * operations of a lost queue are not submitted again.
	 */
	while (lost.completed < lost.submitted || nof_ctrl_get_state(ctrl) == NOF_CTRL_LIVE) {
		if (now_ms() >= end) {
			r = fail("after %d s %u of %u operations are still open",
				 DEADLINE_MS / 1000, lost.submitted - lost.completed,
				 lost.submitted);
			break;
		}
		MUST(nof_loop_wait(loop, 1000));
		if (!lost.is_said && lost.completed >= RUNNING) {
			lost.is_said = true;
			puts("running");
			fflush(stdout);
		}
	}
	state = nof_ctrl_get_state(ctrl);
	printf("%u submitted, %u completed, %u failed, first with %s: %s; controller %s\n",
	       lost.submitted, lost.completed, lost.failed,
	       lost.error ? strerrorname_np(-lost.error) : "nothing", lost.detail,
	       nof_ctrl_state_name(state));
	if (lost.twice)
		r = fail("%u operations completed twice", lost.twice);
	if (!lost.failed)
		r = fail("nothing failed although the target is gone");
	else if (strlen(lost.detail) < 20)
		r = fail("the first failure explains itself with \"%s\"", lost.detail);
	if (state != NOF_CTRL_FAILED)
		r = fail("the controller is %s, want failed", nof_ctrl_state_name(state));
	/* A lost channel refuses at once. */
	if (!r)
		REFUSES(nof_flush(chan, lost_done, &ops[0][0]), ENOTCONN);
	for (int q = 1; q < queues; q++)
		nof_chan_close(chans[q]);
	for (int q = 0; q < queues; q++)
		for (int i = 0; i < DEPTH; i++)
			free(ops[q][i].buf);
	return r;
}

static const struct verb {
	const char *name;
	int (*run)(int argc, char **argv);	/* argv[0] is the URI */
	bool is_clean;				/* the association is still good at the end */
} verbs[] = {
	{ "discover", do_discover, true },
	{ "watch", do_watch, false },
	{ "vectors", do_vectors, true },
	{ "flush", do_flush, true },
	{ "zeroes", do_zeroes, true },
	{ "deallocate", do_deallocate, true },
	{ "compare", do_compare, true },
	{ "bounds", do_bounds, true },
	{ "status", do_status, true },
	{ "refused", do_refused, false },
	{ "lose", do_lose, false },
};

int main(int argc, char **argv)
{
	const struct verb *verb = NULL;
	int r;

	for (size_t i = 0; argc >= 3 && i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(argv[1], verbs[i].name))
			verb = &verbs[i];
	if (!verb) {
		fprintf(stderr, "usage: nvmet_cmds VERB URI [ARG...]\n");
		return 2;
	}
	r = verb->run(argc - 2, argv + 2);
	nof_chan_close(chan);
	nof_ns_close(ns);
	if (!r && verb->is_clean) {
		r = nof_ctrl_disconnect_sync(ctrl);
		if (r < 0)
			call_failed("nof_ctrl_disconnect_sync", r);
	}
	nof_ctrl_free(ctrl);
	nof_loop_free(loop);
	return r ? 1 : 0;
}
