/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chaos.h"

static const char usage[] =
	"usage: chaos [option]... URI...\n"
	"Verified random I/O on one namespace; each URI is a path to it.\n"
	"  --seed=N      of kinds, places and sizes (1)\n"
	"  --seconds=S   of load; then all of it is read again (10)\n"
	"  --workers=N   threads, each with a loop, a channel and a part of the namespace (2)\n"
	"  --depth=N     requests in flight of each (16)\n"
	"  --span=MIB    of the namespace (64)\n"
	"  --interval=S  between two lines of JSON (1)\n"
	"  --max-age=S   a request in flight for longer is lost (120)\n"
	"  --plant=lost|doubled|corrupt  a fault of its own, which it must find\n"
	"  --shake       resets controllers, takes paths out and back, drains, at random\n"
	"SIGTERM or SIGINT end the load early.\n";

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static volatile sig_atomic_t got_signal;

static void on_signal(int sig)
{
	got_signal = sig;
}

static double number(const char *name, const char *text, double min, double max)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || !(v >= min && v <= max)) {
		fprintf(stderr, "chaos: --%s=%s: a number from %g to %g\n", name, text, min, max);
		exit(2);
	}
	return v;
}

static enum plant parse_plant(const char *text)
{
	static const char *const names[] = { "nothing", "lost", "doubled", "corrupt" };
	unsigned int i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(text, names[i]))
			return (enum plant)i;
	fprintf(stderr, "chaos: --plant=%s: lost, doubled or corrupt\n", text);
	exit(2);
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "seconds", required_argument, NULL, 't' },
		{ "workers", required_argument, NULL, 'w' },
		{ "depth", required_argument, NULL, 'd' },
		{ "span", required_argument, NULL, 'm' },
		{ "interval", required_argument, NULL, 'i' },
		{ "max-age", required_argument, NULL, 'a' },
		{ "plant", required_argument, NULL, 'p' },
		{ "shake", no_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	*o = (struct options){ .seed = 1, .workers = 2, .depth = 16, .span = 64u << 20,
			       .seconds = 10, .interval = 1, .max_age = 120 };
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's': o->seed = (uint64_t)number("seed", optarg, 0, 1e15); break;
		case 't': o->seconds = number("seconds", optarg, 0.1, 1e6); break;
		case 'w':
			o->workers = (unsigned int)number("workers", optarg, 1, MAX_WORKERS);
			break;
		case 'd': o->depth = (unsigned int)number("depth", optarg, 1, MAX_DEPTH); break;
		case 'm': o->span = (uint64_t)number("span", optarg, 1, 1 << 16) << 20; break;
		case 'i': o->interval = number("interval", optarg, 0.1, 3600); break;
		case 'a': o->max_age = number("max-age", optarg, 1, 3600); break;
		case 'p': o->plant = parse_plant(optarg); break;
		case 'k': o->shake = true; break;
		case 'h': fputs(usage, stdout); exit(0);
		default: exit(2);
		}
	}
	for (; optind < argc && o->paths < MAX_PATHS; optind++)
		o->uris[o->paths++] = argv[optind];
	if (!o->paths || optind < argc) {
		fprintf(stderr, "chaos: one to %d URIs are wanted\n", MAX_PATHS);
		exit(2);
	}
}

struct listener {
	struct chaos *chaos;
	unsigned int path;
};

static void on_event(void *arg, const struct nof_event *ev)
{
	const struct listener *l = arg;

	report_event(l->chaos, l->path, ev);
	if (ev->type == NOF_EVENT_CTRL_STATE && ev->state == NOF_CTRL_FAILED &&
	    GET(l->chaos->phase) < CLOSE)
		fail(l->chaos, "path %u was given up: %s", l->path, ev->detail);
}

static int open_paths(struct chaos *c, struct nof_loop *loop)
{
	static struct listener listeners[MAX_PATHS];
	unsigned int i;

	for (i = 0; i < c->o.paths; i++) {
		listeners[i] = (struct listener){ c, i };
		if (nof_ctrl_new(loop, &c->opts[i], on_event, &listeners[i], &c->ctrls[i]) < 0 ||
		    nof_ctrl_connect_sync(c->ctrls[i]) < 0)
			goto failed;
	}
	if (nof_ns_open_sync(c->ctrls[0], NULL, &c->ns) < 0)
		goto failed;
	for (i = 1; i < c->o.paths; i++)
		if (nof_ns_add_path_sync(c->ns, c->ctrls[i]) < 0)
			goto failed;
	c->info.size = sizeof(c->info);
	nof_ns_get_info(c->ns, &c->info);
	if (c->info.bytes < c->o.span || MODEL_UNIT % c->info.block_size) {
		fail(c, "the namespace has %llu bytes in blocks of %u",
		     (unsigned long long)c->info.bytes, c->info.block_size);
		return -1;
	}
	return 0;
failed:
	fail(c, "%s", nof_strerror_detail());
	return -1;
}

/* The main thread, often. */
static void turn(struct chaos *c)
{
	static uint64_t next;
	uint64_t now = now_ns();

	if (got_signal)
		SET(c->ended, (uint64_t)0);
	if (c->o.shake && GET(c->phase) == LOAD && now < GET(c->ended))
		shake_turn(c);
	if (now < next)
		return;
	report_interval(c);
	next = now + (uint64_t)(c->o.interval * 1e9);
}

static bool all_finished(struct chaos *c, int phase)
{
	unsigned int i;

	for (i = 1; i < c->o.workers; i++)
		if (__atomic_load_n(&c->workers[i].phase, __ATOMIC_ACQUIRE) < phase)
			return false;
	return true;
}

static void begin(struct chaos *c, enum phase phase)
{
	pthread_mutex_lock(&c->lock);
	SET(c->phase, phase);
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

static void wait_for(struct chaos *c, int phase)
{
	pthread_mutex_lock(&c->lock);
	while (c->phase < phase)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	int phase;

	w->thread = pthread_self();
	if (worker_open(w) < 0)
		SET(w->chaos->is_ending, true);
	__atomic_store_n(&w->phase, OPEN, __ATOMIC_RELEASE);
	for (phase = FILL; phase <= REREAD; phase++) {
		wait_for(w->chaos, phase);
		worker_run(w, phase, NULL);
	}
	wait_for(w->chaos, CLOSE);
	worker_close(w);
	__atomic_store_n(&w->phase, CLOSE, __ATOMIC_RELEASE);
	return NULL;
}

/* The controllers live on the main thread's loop: it runs until everybody is there. */
static void wait_for_all(struct chaos *c, enum phase phase)
{
	while (!all_finished(c, phase)) {
		turn(c);
		nof_loop_wait(c->workers[0].loop, 20);
	}
}

static void run_phases(struct chaos *c)
{
	static const char *const names[] = { [FILL] = "fill", [LOAD] = "load",
					     [REREAD] = "reread" };
	int phase;

	c->begun = now_ns();
	for (phase = FILL; phase <= REREAD; phase++) {
		report_phase(c, names[phase]);
		if (phase == LOAD)
			c->ended = now_ns() + (uint64_t)(c->o.seconds * 1e9);
		begin(c, phase);
		worker_run(&c->workers[0], phase, turn);
		wait_for_all(c, phase);
	}
}

int main(int argc, char **argv)
{
	static struct chaos c;
	struct sigaction sa = { .sa_handler = on_signal };
	unsigned int i, threads = 1;
	bool ok;

	parse(argc, argv, &c.o);
	pthread_mutex_init(&c.lock, NULL);
	pthread_cond_init(&c.changed, NULL);
	for (i = 0; i < c.o.paths; i++) {
		nof_opts_init(&c.opts[i]);
		c.opts[i].nr_io_queues = c.o.workers;
		if (nof_uri_parse(c.o.uris[i], &c.opts[i]) < 0) {
			fprintf(stderr, "chaos: %s\n", nof_strerror_detail());
			return 2;
		}
	}
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	for (i = 0; i < c.o.workers; i++)
		if (worker_init(&c.workers[i], &c, i) < 0)
			goto out;
	if (worker_open(&c.workers[0]) < 0 || open_paths(&c, c.workers[0].loop) < 0 ||
	    worker_open(&c.workers[0]) < 0)
		goto out;
	for (; threads < c.o.workers; threads++)
		if (pthread_create(&c.workers[threads].thread, NULL, worker_main,
				   &c.workers[threads]))
			abort();
	wait_for_all(&c, OPEN);
	shake_begin(&c);
	run_phases(&c);
	while (!shake_is_over(&c))
		nof_loop_wait(c.workers[0].loop, 20);
	begin(&c, CLOSE);
	wait_for_all(&c, CLOSE);
	for (i = 1; i < threads; i++)
		pthread_join(c.workers[i].thread, NULL);
out:
	worker_close(&c.workers[0]);
	nof_ns_close(c.ns);
	for (i = 0; i < c.o.paths; i++)
		nof_ctrl_free(c.ctrls[i]);
	ok = report_end(&c);
	for (i = 0; i < c.o.workers; i++)
		worker_free(&c.workers[i]);
	return ok ? 0 : 1;
}
