/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Verified random I/O to one namespace over one or more paths, while the test that
 * started it breaks them.
 *
 *	verify_paths [--seed=N] [--depth=N] [--channels=N] [--zeroes] [--drain=S] URI...
 *
 * The first URI names the namespace, each other one is another path to it. On stdin:
 *
 *	stats		the counters so far
 *	reset N		reset of the Nth controller (nof_ctrl_reset)
 *	stop		no new operations; when all have ended everything is read back,
 *			the counters are told for the last time, and the program ends
 *
 * On stdout one JSON object per line: {"event": …} as things happen, {"stats": …}.
 * Exit status 0: no error, no mismatch, nothing completed twice or never.
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

#include "load.h"

enum { MAX_PATHS = 8 };

struct path {
	unsigned index;
	struct nof_ctrl *ctrl;
	enum nof_ctrl_state state;
	unsigned lives;		/* how often it became live */
	unsigned losses;	/* how often it was live and is not any more */
};

static struct nof_loop *loop;
static struct nof_ns *ns;
static struct nof_chan *chans[LOAD_CHANS];
static struct path paths[MAX_PATHS];
static unsigned npaths, nchans = 1;
static struct load *load;
static uint64_t drain_ms = 60000;

static int fail(const char *what, int error, const char *detail)
{
	fprintf(stderr, "verify_paths: %s: %s: %s\n", what, strerror(-error), detail);
	return -1;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* A JSON string; the library's sentences are printable. */
static void quoted(const char *key, const char *s)
{
	printf("\"%s\": \"", key);
	for (; *s; s++)
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((unsigned char)*s >= ' ')
			putchar(*s);
	putchar('"');
}

static void on_event(void *arg, const struct nof_event *ev)
{
	struct path *p = arg;

	printf("{\"event\": %d, \"path\": %u, ", ev->type, p->index);
	if (ev->type == NOF_EVENT_CTRL_STATE) {
		if (ev->state == NOF_CTRL_LIVE)
			p->lives++;
		if (p->state == NOF_CTRL_LIVE && ev->state != NOF_CTRL_LIVE)
			p->losses++;
		p->state = ev->state;
		quoted("state", nof_ctrl_state_name(ev->state));
		printf(", ");
	}
	printf("\"error\": %d, ", ev->error);
	quoted("detail", ev->detail);
	printf("}\n");
	fflush(stdout);
}

static const struct nof_path_info *find(const struct nof_path_info *info, int n,
					const struct nof_ctrl *ctrl)
{
	static const struct nof_path_info none;

	for (int i = 0; i < n && i < MAX_PATHS; i++)
		if (info[i].ctrl == ctrl)
			return &info[i];
	return &none;
}

static void tell(bool is_final)
{
	const struct load_stats *t = load_get(load);
	struct nof_path_info info[MAX_PATHS] = { { .size = sizeof(info[0]) } };
	int n = nof_ns_get_paths(ns, info, MAX_PATHS);

	printf("{\"stats\": {\"final\": %s, \"submitted\": %" PRIu64 ", \"completed\": %" PRIu64
	       ", \"reads\": %" PRIu64 ", \"writes\": %" PRIu64 ", \"zeroes\": %" PRIu64
	       ", \"flushes\": %" PRIu64 ", \"checked\": %" PRIu64 ", \"errors\": %" PRIu64
	       ", \"mismatches\": %" PRIu64 ", \"doubled\": %" PRIu64 ", \"stall_ms\": %" PRIu64
	       ", \"first_error\": %d, ", is_final ? "true" : "false", t->submitted, t->completed,
	       t->reads, t->writes, t->zeroes, t->flushes, t->checked, t->errors, t->mismatches,
	       t->doubled, t->stall_ms, t->error);
	quoted("detail", t->detail);
	printf(", ");
	quoted("mismatch", t->mismatch);
	printf(", \"paths\": [");
	for (unsigned i = 0; i < npaths; i++) {
		const struct nof_path_info *p = find(info, n, paths[i].ctrl);
		struct nof_ctrl_info ci = { .size = sizeof(ci) };

		nof_ctrl_get_info(paths[i].ctrl, &ci);
		printf("%s{\"lives\": %u, \"losses\": %u, \"queues\": %u, \"cntlid\": %u, "
		       "\"commands\": %" PRIu64 ", \"errors\": %" PRIu64 ", \"retries\": %" PRIu64
		       ", \"failovers\": %" PRIu64 ", ", i ? ", " : "", paths[i].lives,
		       paths[i].losses, ci.nr_io_queues, ci.cntlid, p->commands, p->errors,
		       p->retries, p->failovers);
		quoted("ana", nof_ana_state_name(p->ana));
		printf(", ");
		quoted("path", nof_path_state_name(p->state));
		printf(", ");
		quoted("state", nof_ctrl_state_name(nof_ctrl_get_state(paths[i].ctrl)));
		printf("}");
	}
	printf("]}}\n");
	fflush(stdout);
}

static void reset_done(void *arg, const struct nof_completion *c)
{
	struct path *p = arg;

	printf("{\"reset\": %u, \"error\": %d, ", p->index, c->error);
	quoted("detail", c->detail);
	printf("}\n");
	fflush(stdout);
}

static void reset(unsigned index)
{
	int r = -EINVAL;

	if (index < npaths)
		r = nof_ctrl_reset(paths[index].ctrl, reset_done, &paths[index]);
	if (r < 0) {
		printf("{\"reset\": %u, \"error\": %d, ", index, r);
		quoted("detail", index < npaths ? nof_strerror_detail() : "no such path");
		printf("}\n");
		fflush(stdout);
	}
}

/* Takes what is on stdin; false when it is time to end. */
static bool take_commands(void)
{
	static char text[4096];
	static size_t len;
	ssize_t n = read(STDIN_FILENO, text + len, sizeof(text) - 1 - len);
	char *line = text, *nl;

	if (n <= 0)
		return false;
	len += (size_t)n;
	text[len] = '\0';
	while ((nl = strchr(line, '\n'))) {
		*nl = '\0';
		if (!strcmp(line, "stop"))
			return false;
		if (!strcmp(line, "stats"))
			tell(false);
		else if (!strncmp(line, "reset ", 6))
			reset((unsigned)atoi(line + 6));
		else
			fprintf(stderr, "verify_paths: unknown command: %s\n", line);
		line = nl + 1;
	}
	len -= (size_t)(line - text);
	memmove(text, line, len);
	return true;
}

/* One round of the loop; false: the other side of stdin wants an end. */
static bool turn(bool is_listening)
{
	struct pollfd p[2] = { { .fd = nof_loop_fd(loop), .events = POLLIN },
			       { .fd = STDIN_FILENO, .events = POLLIN } };
	bool goes_on = true;

	poll(p, is_listening ? 2 : 1, 50);
	nof_loop_process(loop);
	load_tick(load);
	nof_loop_flush(loop);
	if (is_listening && p[1].revents)
		goes_on = take_commands();
	return goes_on;
}

static int drain(const char *what)
{
	uint64_t end = now_ms() + drain_ms;

	while (!load_is_idle(load)) {
		if (now_ms() >= end) {
			const struct load_stats *t = load_get(load);

			fprintf(stderr, "verify_paths: %s: after %" PRIu64 " s %" PRIu64
				" operations are still open\n", what, drain_ms / 1000,
				t->submitted - t->completed);
			return -1;
		}
		turn(false);
	}
	return 0;
}

static int open_paths(char **uris, unsigned count)
{
	int r;

	for (unsigned i = 0; i < count; i++) {
		struct path *p = &paths[i];
		struct nof_opts opts;

		nof_opts_init(&opts);
		r = nof_uri_parse(uris[i], &opts);
		if (r < 0)
			return fail(uris[i], r, nof_strerror_detail());
		p->index = i;
		r = nof_ctrl_new(loop, &opts, on_event, p, &p->ctrl);
		if (r < 0)
			return fail(uris[i], r, nof_strerror_detail());
		npaths++;
		r = nof_ctrl_connect_sync(p->ctrl);
		if (r < 0)
			return fail(uris[i], r, nof_strerror_detail());
		r = i ? nof_ns_add_path_sync(ns, p->ctrl) : nof_ns_open_sync(p->ctrl, NULL, &ns);
		if (r < 0)
			return fail("opening the namespace", r, nof_strerror_detail());
	}
	for (unsigned i = 0; i < nchans; i++) {
		r = nof_chan_open_sync(ns, loop, &chans[i]);
		if (r < 0)
			return fail("opening a channel", r, nof_strerror_detail());
		load_add(load, chans[i]);
	}
	return 0;
}

static int run(void)
{
	const struct load_stats *t = load_get(load);
	int r;

	load_start(load);
	nof_loop_flush(loop);
	while (turn(true))
		;
	load_stop(load);
	r = drain("stopping");
	if (!r) {
		load_read_back(load);
		nof_loop_flush(loop);
		r = drain("reading back");
	}
	tell(true);
	if (r || t->errors || t->mismatches || t->doubled || t->submitted != t->completed)
		return -1;
	return 0;
}

int main(int argc, char **argv)
{
	struct load_opts o = { .seed = 1 };
	int first = 1, r;

	for (; first < argc && !strncmp(argv[first], "--", 2); first++) {
		const char *a = argv[first];

		if (!strncmp(a, "--seed=", 7))
			o.seed = strtoull(a + 7, NULL, 0);
		else if (!strncmp(a, "--depth=", 8))
			o.depth = (uint32_t)atoi(a + 8);
		else if (!strncmp(a, "--channels=", 11))
			nchans = (unsigned)atoi(a + 11);
		else if (!strncmp(a, "--drain=", 8))
			drain_ms = strtoull(a + 8, NULL, 0) * 1000;
		else if (!strcmp(a, "--zeroes"))
			o.has_zeroes = true;
		else
			first = argc;
	}
	if (first >= argc || argc - first > MAX_PATHS || !nchans || nchans > LOAD_CHANS) {
		fprintf(stderr, "usage: verify_paths [option...] URI...\n");
		return 2;
	}
	r = nof_loop_new(NULL, &loop);
	if (r < 0)
		return fail("nof_loop_new", r, nof_strerror_detail()) ? 1 : 1;
	o.loop = loop;
	load = load_new(&o);
	r = load ? open_paths(argv + first, (unsigned)(argc - first)) : -1;
	if (!r)
		r = run();
	for (unsigned i = 0; i < nchans; i++)
		nof_chan_close(chans[i]);
	nof_ns_close(ns);
	for (unsigned i = 0; i < npaths; i++)
		nof_ctrl_free(paths[i].ctrl);
	nof_loop_free(loop);
	load_free(load);
	return r ? 1 : 0;
}
