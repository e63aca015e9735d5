/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What many I/O queues on one loop cost: memory of each, idle and after a burst, the time until
 * all are connected and closed, and the CPU they use while idle. For many.py and memory.py; prints
 * one JSON object.
 *
 * The first queue is opened, used and counted as the base: what all queues share (the loop, its
 * ring and staging, the resolver's and malloc's beginnings) belongs to none of the others. The
 * rest is opened at once: all controllers together, and all queues of each as soon as it lives.
 */
#include <nof.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define LIMIT_S 60.0		/* whatever is waited for takes less */

struct chan;

/* A controller and what is reached through it. */
struct peer {
	struct nof_ctrl *ctrl;
	struct nof_ns *ns;
	struct chan *chans;	/* [queues] */
};

struct chan {
	struct nof_chan *chan;
	bool is_base;
};

struct memory {
	long rss_kib;		/* Rss of smaps_rollup */
	long dirty_kib;		/* its private dirty pages */
	long mapped_kib;	/* writable private address space */
	size_t heap;		/* bytes that malloc() has given out, its mmaps included */
	unsigned int fds;
};

static struct nof_loop *loop;
static unsigned int queues = 1;	/* per controller */
static struct peer *peers;
static unsigned int waiting;	/* operations whose callback is owed */
static unsigned int opened, failed, lost;
static char first_error[300];

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double cpu_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void note_error(const char *what, const char *detail)
{
	if (!failed++)
		snprintf(first_error, sizeof(first_error), "%s: %s", what, detail);
}

static long rollup(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtol(at + strlen(key), NULL, 10) : -1;
}

static void measure(struct memory *m)
{
	static char text[1 << 16];
	struct mallinfo2 mi = mallinfo2();
	struct dirent *ent;
	char line[300];
	size_t n;
	FILE *f;
	DIR *dir;

	memset(m, 0, sizeof(*m));
	m->heap = mi.uordblks + mi.hblkhd;
	f = fopen("/proc/self/smaps_rollup", "r");
	if (f) {
		n = fread(text, 1, sizeof(text) - 1, f);
		text[n] = '\0';
		fclose(f);
		m->rss_kib = rollup(text, "\nRss:");
		m->dirty_kib = rollup(text, "\nPrivate_Dirty:");
	}
	f = fopen("/proc/self/maps", "r");
	while (f && fgets(line, sizeof(line), f)) {
		unsigned long from, to;
		char perms[5];

		if (sscanf(line, "%lx-%lx %4s", &from, &to, perms) == 3 && perms[1] == 'w' &&
		    perms[3] == 'p')
			m->mapped_kib += (long)((to - from) / 1024);
	}
	if (f)
		fclose(f);
	dir = opendir("/proc/self/fd");
	while (dir && (ent = readdir(dir)))
		m->fds += ent->d_name[0] != '.';
	if (dir)
		closedir(dir);
}

static void print_memory(const char *name, const struct memory *m, const struct memory *base,
			 unsigned int n)
{
	printf(", \"%s\": {\"rss_kib\": %ld, \"dirty_kib\": %ld, \"mapped_kib\": %ld, "
	       "\"heap_bytes\": %zu, \"fds\": %u", name, m->rss_kib, m->dirty_kib, m->mapped_kib,
	       m->heap, m->fds);
	if (base && n)
		printf(", \"rss_per_queue\": %.0f, \"mapped_per_queue\": %.0f, "
		       "\"heap_per_queue\": %.0f",
		       (double)(m->rss_kib - base->rss_kib) * 1024 / n,
		       (double)(m->mapped_kib - base->mapped_kib) * 1024 / n,
		       (double)(m->heap - base->heap) / n);
	printf("}");
}

static void on_event(void *arg, const struct nof_event *ev)
{
	(void)arg;
	if (ev->type == NOF_EVENT_CTRL_STATE && ev->state == NOF_CTRL_FAILED) {
		lost++;
		note_error("a controller was lost", ev->detail);
	}
}

static void on_open(void *arg, const struct nof_completion *c)
{
	(void)arg;
	waiting--;
	if (c->error)
		note_error("nof_chan_open", c->detail);
	else
		opened++;
}

static void open_chans(struct peer *p)
{
	for (unsigned int i = 0; i < queues; i++) {
		if (p->chans[i].chan)
			continue;
		if (nof_chan_open(p->ns, loop, &p->chans[i].chan, on_open, NULL) < 0)
			note_error("nof_chan_open", nof_strerror_detail());
		else
			waiting++;
	}
}

static void on_ns(void *arg, const struct nof_completion *c)
{
	waiting--;
	if (c->error)
		note_error("nof_ns_open", c->detail);
	else
		open_chans(arg);
}

static void on_connect(void *arg, const struct nof_completion *c)
{
	struct peer *p = arg;

	waiting--;
	if (c->error)
		note_error("nof_ctrl_connect", c->detail);
	else if (nof_ns_open(p->ctrl, NULL, &p->ns, on_ns, p) < 0)
		note_error("nof_ns_open", nof_strerror_detail());
	else
		waiting++;
}

static int settle(void)
{
	double until = now_s() + LIMIT_S;

	while (waiting && now_s() < until) {
		int r = nof_loop_wait(loop, 1000);

		if (r < 0)
			return r;
	}
	if (waiting)
		note_error("waiting", "not everything ended within a minute");
	return 0;
}

/* ---- the phases ---- */

static int connect_all(const struct nof_opts *opts, unsigned int from, unsigned int to)
{
	for (unsigned int i = from; i < to; i++) {
		struct peer *p = &peers[i];

		if (nof_ctrl_new(loop, opts, on_event, NULL, &p->ctrl) < 0 ||
		    nof_ctrl_connect(p->ctrl, on_connect, p) < 0)
			note_error("nof_ctrl_connect", nof_strerror_detail());
		else
			waiting++;
	}
	return settle();
}

static unsigned char block[1 << 16];

static void on_read(void *arg, const struct nof_completion *c)
{
	(void)arg;
	waiting--;
	if (c->error)
		note_error("nof_read", c->detail);
}

/* Each queue reads so much at a time, all of them at once. */
static int burst(unsigned int n, unsigned int depth)
{
	for (unsigned int i = 0; i < n; i++)
		for (unsigned int k = 0; k < queues; k++)
			for (unsigned int d = 0; d < depth && peers[i].chans[k].chan; d++)
				if (nof_read(peers[i].chans[k].chan, block, 4096, 0, 0, on_read,
					     NULL) < 0)
					note_error("nof_read", nof_strerror_detail());
				else
					waiting++;
	return settle();
}

static int idle(double seconds, unsigned int *wakes)
{
	double end = now_s() + seconds, left;

	*wakes = 0;
	while ((left = end - now_s()) > 0) {
		int r = nof_loop_wait(loop, (int)(left * 1e3) + 1);

		if (r < 0)
			return r;
		++*wakes;
	}
	return 0;
}

static void close_all(unsigned int n)
{
	for (unsigned int i = 0; peers && i < n; i++) {
		for (unsigned int k = 0; peers[i].chans && k < queues; k++)
			nof_chan_close(peers[i].chans[k].chan);
		nof_ns_close(peers[i].ns);
		nof_ctrl_free(peers[i].ctrl);
		free(peers[i].chans);
	}
	free(peers);
	nof_loop_free(loop);
}

static int run(const struct nof_opts *opts, unsigned int n, unsigned int depth, double seconds)
{
	struct memory base, open_, after;
	struct nof_ctrl_info info = { .size = sizeof(info) };
	unsigned int all = n * queues, wakes, want = queues;
	double start, cpu;

	/* One queue, used once: the base. */
	queues = 1;
	if (connect_all(opts, 0, 1) < 0 || burst(1, 1) < 0 || failed)
		return -1;
	queues = want;
	if (nof_ctrl_get_info(peers[0].ctrl, &info) < 0)
		return -1;
	if (info.nr_io_queues < queues) {
		note_error("the target", "grants fewer I/O queues than were asked for");
		return -1;
	}
	measure(&base);
	start = now_s();
	cpu = cpu_s();
	open_chans(&peers[0]);
	if (connect_all(opts, 1, n) < 0 || failed)
		return -1;
	printf("{\"engine\": \"%s\", \"controllers\": %u, \"queues\": %u, \"depth\": %u, "
	       "\"opened\": %u, \"connect_s\": %.3f, \"connect_cpu_s\": %.3f",
	       nof_loop_engine(loop), n, all, info.queue_size, opened, now_s() - start,
	       cpu_s() - cpu);
	measure(&open_);
	print_memory("base", &base, NULL, 0);
	print_memory("idle_memory", &open_, &base, all - 1);
	if (depth) {
		start = now_s();
		if (burst(n, depth) < 0 || failed)
			return -1;
		printf(", \"burst_depth\": %u, \"burst_s\": %.3f", depth, now_s() - start);
		measure(&after);
		print_memory("burst_memory", &after, &base, all - 1);
	}
	if (seconds > 0) {
		if (idle(1, &wakes) < 0)
			return -1;
		cpu = cpu_s();
		start = now_s();
		if (idle(seconds, &wakes) < 0)
			return -1;
		cpu = cpu_s() - cpu;
		printf(", \"idle_s\": %.3f, \"idle_cpu_s\": %.6f, \"idle_wakes\": %u, "
		       "\"keep_alive_ms\": %u", now_s() - start, cpu, wakes, info.keep_alive_ms);
	}
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: many [--controllers=N] [--queues=N] [--burst=DEPTH] "
		"[--idle=SECONDS] URI\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "controllers", required_argument, NULL, 'c' },
		{ "queues", required_argument, NULL, 'q' },
		{ "burst", required_argument, NULL, 'b' },
		{ "idle", required_argument, NULL, 'i' },
		{ NULL, 0, NULL, 0 },
	};
	unsigned int n = 1, depth = 0;
	struct nof_loop_opts lopts;
	struct nof_opts opts;
	double seconds = 0, start;
	int err, opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		unsigned int v = optarg ? (unsigned int)strtoul(optarg, NULL, 10) : 0;

		if (opt == 'c')
			n = v;
		else if (opt == 'q')
			queues = v;
		else if (opt == 'b')
			depth = v;
		else if (opt == 'i')
			seconds = strtod(optarg, NULL);
		else
			return usage();
	}
	if (optind + 1 != argc || n < 1 || n > 4096 || queues < 1 || queues > 1024)
		return usage();
	nof_opts_init(&opts);
	nof_loop_opts_init(&lopts);
	opts.nr_io_queues = queues;
	err = nof_uri_parse(argv[optind], &opts);
	if (err) {
		fprintf(stderr, "many: %s\n", nof_strerror_detail());
		return 1;
	}
	lopts.engine = opts.engine;
	err = nof_loop_new(&lopts, &loop);
	peers = calloc(n, sizeof(*peers));
	for (unsigned int i = 0; !err && peers && i < n; i++)
		if (!(peers[i].chans = calloc(queues, sizeof(*peers[i].chans))))
			err = -ENOMEM;
	if (!err && !peers)
		err = -ENOMEM;
	if (!err)
		err = run(&opts, n, depth, seconds);
	start = now_s();
	close_all(n);
	if (err || failed) {
		fprintf(stderr, "many: %s\n", failed ? first_error : nof_strerror_detail());
		return 1;
	}
	printf(", \"close_s\": %.3f}\n", now_s() - start);
	return 0;
}
