/* SPDX-License-Identifier: MIT */
/* nvmf-relay: options, signals, the loop. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "../common/tool.h"
#include "relay.h"

struct relay relay = { .epoll = -1 };
static bool is_stopping;

enum opt {
	OPT_LISTEN = 256,
	OPT_MPTCP,
	OPT_MAX_CONNECTIONS,
	OPT_READY_FD,
	OPT_VERBOSE,
	OPT_HELP,
	OPT_VERSION,
	OPT_COMPLETE,
};

static const struct option options[] = {
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "mptcp", required_argument, NULL, OPT_MPTCP },
	{ "max-connections", required_argument, NULL, OPT_MAX_CONNECTIONS },
	{ "ready-fd", required_argument, NULL, OPT_READY_FD },
	{ "verbose", no_argument, NULL, OPT_VERBOSE },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "bash-options", no_argument, NULL, OPT_COMPLETE },
	{ NULL, 0, NULL, 0 },
};

static const char usage[] =
	"usage: nvmf-relay [options] --listen=ADDRESS:PORT HOST:PORT\n"
	"Passes connections on to HOST:PORT, so that a target without MPTCP can be reached by\n"
	"several paths at once.\n"
	"  --listen=ADDRESS:PORT  where clients connect (repeatable; port 0: a free one). Their\n"
	"                         further subflows come to this port of every announced address:\n"
	"                         0.0.0.0 is usually right\n"
	"  --mptcp=SIDES          listen, connect, both or off: which side speaks MPTCP (listen)\n"
	"  --max-connections=N    so many at a time, others wait (4096)\n"
	"  --ready-fd=N           a line is written to this descriptor once all listens\n"
	"  --verbose              say on standard error who comes and goes\n"
	"  --help, --version\n";

/* What the shell's completion asks. This program works without libnof, whose tools have more. */
static void print_options(void)
{
	for (const struct option *o = options; o->name; o++) {
		if (o->val == OPT_COMPLETE)
			continue;
		printf("--%s%s\n", o->name,
		       o->val == OPT_MPTCP ? "= listen connect both off" :
		       o->has_arg	   ? "=" :
					     "");
	}
	printf("operands\nkeys\n");
}

static int set_mptcp(struct relay_opts *o, const char *v)
{
	o->accepts_mptcp = !strcmp(v, "listen") || !strcmp(v, "both");
	o->connects_mptcp = !strcmp(v, "connect") || !strcmp(v, "both");
	if (o->accepts_mptcp || o->connects_mptcp || !strcmp(v, "off"))
		return 0;
	return 1 + tool_error(TOOL_USAGE, "--mptcp=%s: listen, connect, both or off is wanted.", v);
}

static int set(struct relay_opts *o, int opt, const char *v)
{
	uint64_t n;

	switch (opt) {
	case OPT_LISTEN:
		if (o->listen_count == RELAY_MAX_LISTEN)
			return 1 + tool_error(TOOL_USAGE, "--listen: at most %u times.",
					      RELAY_MAX_LISTEN);
		o->listen[o->listen_count++] = v;
		return 0;
	case OPT_MPTCP: return set_mptcp(o, v);
	case OPT_MAX_CONNECTIONS:
		if (!tool_parse_u64(v, 1, RELAY_MAX_PAIRS, &n))
			return 1 + tool_error(TOOL_USAGE,
					      "--max-connections=%s: a number from 1 to %u is "
					      "wanted.",
					      v, RELAY_MAX_PAIRS);
		o->max_pairs = (unsigned int)n;
		return 0;
	case OPT_READY_FD:
		if (!tool_parse_u64(v, 0, 65535, &n) || fcntl((int)n, F_GETFD) < 0 ||
		    !tool_is_open((int)n))
			return 1 + tool_error(TOOL_USAGE, "--ready-fd=%s: no open descriptor.", v);
		o->ready_fd = (int)n;
		return 0;
	case OPT_VERBOSE: o->is_verbose = true; return 0;
	}
	return 0;
}

int relay_parse(int argc, char **argv, struct relay_opts *o)
{
	int c, ret;

	*o = (struct relay_opts){ .accepts_mptcp = true, .max_pairs = 4096, .ready_fd = -1 };
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (c) {
		case OPT_HELP: fputs(usage, stdout); return 1 + TOOL_OK;
		case OPT_VERSION: printf("nvmf-relay %s\n", NOF_VERSION); return 1 + TOOL_OK;
		case OPT_COMPLETE: print_options(); return 1 + TOOL_OK;
		case ':': return 1 + tool_error(TOOL_USAGE, "%s needs a value.", argv[optind - 1]);
		case '?':
			return 1 + tool_error(TOOL_USAGE,
					      "%s is not understood; --help lists the options.",
					      argv[optind - 1]);
		}
		ret = set(o, c, optarg);
		if (ret)
			return ret;
	}
	if (argc - optind != 1 || !o->listen_count)
		return 1 + tool_error(TOOL_USAGE,
				      "--listen=ADDRESS:PORT and the target's HOST:PORT "
				      "are wanted; --help tells more.");
	o->target = argv[optind];
	return 0;
}

void relay_say(const char *fmt, ...)
{
	va_list ap;

	if (!relay.o->is_verbose)
		return;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

int source_watch(struct source *s, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	if (s->is_watched && s->events == events)
		return 0;
	if (epoll_ctl(relay.epoll, s->is_watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, s->fd, &ev) < 0)
		return -errno;
	s->is_watched = true;
	s->events = events;
	return 0;
}

void source_close(struct source *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	s->is_watched = false;
}

static void on_signal(struct source *s, uint32_t events)
{
	is_stopping = true;
}

static int watch_signals(struct source *s)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->fn = on_signal;
	s->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->fd < 0 || source_watch(s, EPOLLIN) < 0)
		return tool_error(-1, "signalfd: %s.", strerror(errno));
	return 0;
}

/* Two descriptors for each connection; the soft limit is often 1024. */
static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int start(const struct relay_opts *o, struct source *signals)
{
	raise_limit();
	relay.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (relay.epoll < 0)
		return tool_error(-1, "epoll: %s.", strerror(errno));
	if (watch_signals(signals) < 0 || relay_resolve(o->target) < 0)
		return -1;
	for (unsigned int i = 0; i < o->listen_count; i++)
		if (relay_listen(o->listen[i]) < 0)
			return -1;
	relay_print_listeners();
	if (o->ready_fd >= 0) {
		if (write(o->ready_fd, "ready\n", 6) < 0)
			tool_error(0, "--ready-fd: %s.", strerror(errno));
		close(o->ready_fd);
	}
	return 0;
}

static void loop(void)
{
	struct epoll_event events[64];

	while (!is_stopping) {
		/* Room may also come from elsewhere: a descriptor of another process. */
		int n = epoll_wait(relay.epoll, events, 64, relay.is_full ? 1000 : -1);

		for (int i = 0; i < n; i++) {
			struct source *s = events[i].data.ptr;

			/* An earlier one of this turn may have closed it. */
			if (s->fd >= 0)
				s->fn(s, events[i].events);
		}
		pair_reap();
		if (n == 0 && relay.pair_count < relay.o->max_pairs)
			relay_pause_listeners(false);
	}
}

int main(int argc, char **argv)
{
	struct source signals = { .fd = -1 };
	struct relay_opts o;
	int ret;

	tool_init("nvmf-relay");
	ret = relay_parse(argc, argv, &o);
	if (ret)
		return ret - 1;
	relay.o = &o;
	if (start(&o, &signals) < 0)
		return TOOL_FAILED;
	loop();
	pair_end_all();
	relay_say("%llu connections, %llu bytes", (unsigned long long)relay.accepted,
		  (unsigned long long)relay.bytes);
	source_close(&signals);
	close(relay.epoll);
	freeaddrinfo(relay.target);
	return TOOL_OK;
}
