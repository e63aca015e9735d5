/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two threads, each with its loop and a queue of one and the same controller, at steady I/O.
 * Afterwards: which cache lines did both touch in libnof, one of them writing? Every such line
 * travels between their cores. Prints one JSON document for sharing.py; the library is built for
 * this program alone (sharing_hooks.c).
 *
 *	sharing ENGINE RW BYTES DEPTH COUNT URI [handed|provoke]
 *
 * handed: one thread opens everything, and hands a loop to the other, so that what they use was
 * allocated side by side. provoke: the threads also write to neighbouring bytes, to show that it
 * would be seen.
 */
#include <nof.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sharing.h"

enum { THREADS = SHARING_THREADS, DEPTH_MAX = 128 };

struct side;

struct io {
	struct side *side;
	uint8_t *buf;
	unsigned n;			/* I/Os begun on it */
};

/* The second one is apart from the first by more than any prefetcher takes at once. */
struct side {
	unsigned index;
	struct nof_loop *loop;
	struct nof_chan *chan;
	unsigned left, out;		/* of this phase: still to submit, under way */
	uint64_t done;
	int error;
	struct io io[DEPTH_MAX];
	char detail[512];
} __attribute__((aligned(256)));

static struct side sides[THREADS];
static struct nof_ns *ns;
static const char *rw;
static size_t bytes;
static unsigned depth, count;
static bool is_handed, is_provoking;
static uint8_t neighbours[SHARING_LINE] __attribute__((aligned(SHARING_LINE)));
static pthread_barrier_t barrier;
static atomic_bool is_open, is_closed;
extern const char __executable_start;

static int fail(struct side *s, int error, const char *what)
{
	if (!s->error) {
		s->error = error;
		snprintf(s->detail, sizeof(s->detail), "%s: %s", what, nof_strerror_detail());
	}
	return -1;
}

static void submit(struct io *io);

static void on_done(void *arg, const struct nof_completion *c)
{
	struct io *io = arg;
	struct side *s = io->side;

	s->out--;
	s->done++;
	if (c->error || c->status)
		fail(s, c->error ? c->error : -EIO, c->detail);
	else if (s->left)
		submit(io);
}

static void submit(struct io *io)
{
	struct side *s = io->side;
	bool is_write = rw[0] == 'w' || (rw[0] == 'm' && io->n & 1);
	uint64_t at = ((uint64_t)s->index << 28) + (uint64_t)(io - s->io) * bytes;
	int r;

	io->n++;
	r = is_write ? nof_write(s->chan, io->buf, bytes, at, 0, on_done, io) :
	    nof_read(s->chan, io->buf, bytes, at, 0, on_done, io);
	if (r < 0) {
		fail(s, r, "submit");
		return;
	}
	s->left--;
	s->out++;
}

static void run(struct side *s)
{
	s->left = count;
	for (unsigned i = 0; i < depth && s->left && !s->error; i++)
		submit(&s->io[i]);
	while (s->out && !s->error) {
		int r = nof_loop_wait(s->loop, 10000);

		if (r < 0)
			fail(s, r, "nof_loop_wait");
	}
}

static int open_side(struct side *s, enum nof_engine engine)
{
	struct nof_loop_opts o;
	int r;

	nof_loop_opts_init(&o);
	o.engine = engine;
	r = nof_loop_new(&o, &s->loop);
	if (r < 0)
		return fail(s, r, "nof_loop_new");
	for (unsigned i = 0; i < depth; i++) {
		s->io[i].side = s;
		s->io[i].buf = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);
		if (!s->io[i].buf)
			return fail(s, -ENOMEM, "buffers");
		memset(s->io[i].buf, 0, bytes);
	}
	return 0;
}

/* Once to warm up: what is made or grown at first use is no steady state. */
static void work(struct side *s)
{
	pthread_barrier_wait(&barrier);
	run(s);
	run(s);
	pthread_barrier_wait(&barrier);
	s->done = 0;
	sharing_begin(s->index);
	run(s);
	if (is_provoking)
		memset(neighbours + s->index, 1, s->index + 1);
	sharing_end();
	pthread_barrier_wait(&barrier);
}

static void *other(void *arg)
{
	struct side *s = arg;
	int r = is_handed ? 0 : nof_chan_open_sync(ns, s->loop, &s->chan);

	if (r < 0)
		fail(s, r, "nof_chan_open");
	atomic_store(&is_open, true);
	nof_loop_wake(sides[0].loop);
	work(s);
	nof_chan_close(s->chan);
	atomic_store(&is_closed, true);
	nof_loop_wake(sides[0].loop);
	return NULL;
}

/* The controller lives on this thread's loop: it has to turn while others open and close. */
static void turn_until(struct side *s, atomic_bool *flag)
{
	while (!atomic_load(flag) && !s->error)
		if (nof_loop_wait(s->loop, 1000) < 0)
			fail(s, -EIO, "nof_loop_wait");
}

static void on_open(void *arg, const struct nof_completion *c)
{
	if (c->error)
		fail(arg, c->error, "nof_chan_open");
	atomic_store(&is_open, true);
}

/* Both loops turn here: the controller's has a part in it. */
static int open_other(struct side *s)
{
	int r = nof_chan_open(ns, s->loop, &s->chan, on_open, s);

	while (r >= 0 && !atomic_load(&is_open)) {
		r = nof_loop_wait(s->loop, 1);
		if (r >= 0)
			r = nof_loop_wait(sides[0].loop, 1);
	}
	return r < 0 ? r : s->error;
}

static void print_access(const char *name, const struct sharing_line *l)
{
	printf("\"%s\": {\"reads\": %llu, \"writes\": %llu, \"read_mask\": \"%016llx\", "
	       "\"write_mask\": \"%016llx\", \"read_pc\": %lld, \"write_pc\": %lld}",
	       name, (unsigned long long)l->reads, (unsigned long long)l->writes,
	       (unsigned long long)l->read_mask, (unsigned long long)l->write_mask,
	       l->read_pc ? (long long)(l->read_pc - (uintptr_t)&__executable_start) : -1,
	       l->write_pc ? (long long)(l->write_pc - (uintptr_t)&__executable_start) : -1);
}

static void print_line(void *arg, const struct sharing_line *a, const struct sharing_line *b)
{
	unsigned *n = arg;
	uintptr_t start, caller;
	size_t len;

	printf("%s\n  {\"address\": %lld, ", (*n)++ ? "," : "",
	       (long long)(a->line - (uintptr_t)&__executable_start));
	if (sharing_block(a->line, &start, &len, &caller))
		printf("\"offset\": %lld, \"size\": %zu, \"maker_pc\": %lld, ",
		       (long long)(a->line - start), len,
		       (long long)(caller - (uintptr_t)&__executable_start));
	print_access("a", a);
	printf(", ");
	print_access("b", b);
	printf("}");
}

static int report(void)
{
	unsigned printed = 0;
	size_t shared;

	for (unsigned i = 0; i < THREADS; i++) {
		if (!sides[i].error)
			continue;
		fprintf(stderr, "sharing: thread %u: %s\n", i, sides[i].detail);
		return 1;
	}
	printf("{\"ios\": [%llu, %llu], \"lines\": [%zu, %zu], \"shared\": [",
	       (unsigned long long)sides[0].done, (unsigned long long)sides[1].done,
	       sharing_lines(0), sharing_lines(1));
	shared = sharing_compare(0, 1, 0, print_line, &printed);
	printf("],\n \"shared_written\": %zu, \"pairs\": [", shared);
	printed = 0;
	shared = sharing_compare(0, 1, 1, print_line, &printed);
	printf("],\n \"pairs_written\": %zu, \"exposed\": [", shared);
	printed = 0;
	shared = 0;
	for (unsigned i = 0; i < THREADS; i++)
		shared += sharing_exposed(i, print_line, &printed);
	printf("],\n \"exposed_written\": %zu}\n", shared);
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: sharing io_uring|epoll read|write|mixed BYTES DEPTH COUNT URI "
		"[handed|provoke]\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct side *s = &sides[0];
	struct nof_ctrl *ctrl = NULL;
	enum nof_engine engine;
	pthread_t thread;
	int r;

	if (argc < 7 || argc > 8)
		return usage();
	engine = strcmp(argv[1], "epoll") ? NOF_ENGINE_IO_URING : NOF_ENGINE_EPOLL;
	rw = argv[2];
	bytes = strtoul(argv[3], NULL, 10);
	depth = (unsigned)strtoul(argv[4], NULL, 10);
	count = (unsigned)strtoul(argv[5], NULL, 10);
	is_handed = argc == 8 && !strcmp(argv[7], "handed");
	is_provoking = argc == 8 && !is_handed;
	if (!bytes || !depth || depth > DEPTH_MAX || !count)
		return usage();
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		sides[i].index = i;
		if (open_side(&sides[i], engine) < 0)
			return report();
	}
	r = nof_connect(s->loop, argv[6], &ctrl);
	if (r == 0)
		r = nof_ns_open_sync(ctrl, NULL, &ns);
	if (r == 0)
		r = nof_chan_open_sync(ns, s->loop, &s->chan);
	if (r == 0 && is_handed)
		r = open_other(&sides[1]);
	if (r < 0) {
		fail(s, r, "connect");
		return report();
	}
	if (pthread_create(&thread, NULL, other, &sides[1]))
		return 1;
	turn_until(s, &is_open);
	work(s);
	turn_until(s, &is_closed);
	pthread_join(thread, NULL);
	nof_chan_close(s->chan);
	nof_ns_close(ns);
	nof_ctrl_free(ctrl);
	for (unsigned i = THREADS; i--;) {
		nof_loop_free(sides[i].loop);
		for (unsigned k = 0; k < depth; k++)
			free(sides[i].io[k].buf);
	}
	return report();
}
