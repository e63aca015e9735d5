// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A link between two network namespaces that is slow, shaky or lossy as asked:
 * a tun device in each, and this program between them. For kernels without
 * netem, and repeatable: the fate of packet number n of a direction depends on
 * the seed, on n and on when the packet came.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "linkmodel.h"

/* Packets taken from one device before the others have their turn. */
#define BATCH 64
/* What each direction can hold: 100 ms of 1 Gbit/s in full packets. */
#define CAPACITY 16384
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Index of a direction is that of the device where its packets come from. */
enum { UP, DOWN };

struct emu {
	struct lm_dir dir[2];
	int tun[2];
	int timer;
	/* What the timer is set to, so that it is set only when that changes. */
	uint64_t armed;
};

static const char usage[] =
	"usage: linkemu --dev=NAME [OPTION...] NETNS-A NETNS-B\n"
	"Makes the tun device NAME in both namespaces (files, as /run/netns/x) and joins them.\n"
	"Says \"ready\", then works until standard input ends; then prints what it has counted.\n"
	"  --delay=TIME     us, ms or s          --jitter=TIME    more or less, no overtaking\n"
	"  --loss=PERCENT   each packet          --burst=PERCENT:PERCENT  of packets begin a\n"
	"  --rate=RATE      kbit, mbit, gbit                      burst of loss : end it\n"
	"  --queue=BYTES    k, m; before the rate (256k)\n"
	"  --reorder        jitter may reorder   --calm=N  the first N packets have good luck\n"
	"  --seed=N\n"
	"All but --dev and --seed also as --delay-up (A to B), --delay-down, and so on.\n";

static void die(const char *what, const char *why)
{
	fprintf(stderr, "linkemu: %s: %s\n", what, why);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A number with one of the suffixes, which may be the empty one. */
static double number(const char *text, const char *const *suffixes, const double *factors)
{
	char *end;
	double value = strtod(text, &end);

	for (size_t i = 0; end != text && value >= 0 && value < 1e15 && suffixes[i]; i++)
		if (!strcmp(end, suffixes[i]))
			return value * factors[i];
	die(text, "not a number with a unit that fits");
	return 0;
}

static uint64_t time_ns(const char *text)
{
	return (uint64_t)number(text, (const char *const[]){"us", "ms", "s", NULL},
				(const double[]){1e3, 1e6, 1e9});
}

static uint64_t share(const char *text)
{
	double percent = number(text, (const char *const[]){"", "%", NULL}, (const double[]){1, 1});

	if (percent > 100)
		die(text, "more than 100 percent");
	return (uint64_t)(percent / 100 * 4294967296.0);
}

static void burst(struct lm_params *p, const char *text)
{
	char enter[32];
	const char *colon = strchr(text, ':');

	if (!colon || (size_t)(colon - text) >= sizeof(enter))
		die(text, "want PERCENT:PERCENT");
	memcpy(enter, text, (size_t)(colon - text));
	enter[colon - text] = 0;
	p->burst_enter = share(enter);
	p->burst_leave = share(colon + 1);
}

static void set(struct lm_params *p, int key, const char *text)
{
	switch (key) {
	case 'd':
		p->delay_ns = time_ns(text);
		break;
	case 'j':
		p->jitter_ns = time_ns(text);
		break;
	case 'l':
		p->loss = share(text);
		break;
	case 'b':
		burst(p, text);
		break;
	case 'r':
		p->rate = (uint64_t)number(text,
					   (const char *const[]){"kbit", "mbit", "gbit", NULL},
					   (const double[]){1e3, 1e6, 1e9});
		break;
	case 'q':
		p->queue_bytes = (uint64_t)number(text, (const char *const[]){"", "k", "m", NULL},
						  (const double[]){1, 1024, 1048576});
		break;
	case 'c':
		p->calm = (uint64_t)number(text, (const char *const[]){"", NULL},
					   (const double[]){1});
		break;
	case 'o':
		p->may_reorder = true;
		break;
	}
}

/* The device in the namespace; packets are read from and written to the returned fd. */
static int open_tun(const char *netns, const char *name)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int ns = open(netns, O_RDONLY | O_CLOEXEC), fd, sock;

	if (ns < 0 || setns(ns, CLONE_NEWNET) < 0)
		die(netns, strerror(errno));
	close(ns);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		die("/dev/net/tun", strerror(errno));
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &request) < 0)
		die(name, strerror(errno));
	/* The device itself must not be what loses packets. */
	sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	request.ifr_ifru.ifru_ivalue = CAPACITY;
	if (sock < 0 || ioctl(sock, SIOCSIFTXQLEN, &request) < 0)
		die(name, strerror(errno));
	close(sock);
	return fd;
}

static void deliver(struct emu *emu, int from, uint64_t now)
{
	struct lm_dir *dir = &emu->dir[from];
	const uint8_t *packet;
	uint16_t length;

	while ((packet = lm_give(dir, now, &length)))
		if (write(emu->tun[!from], packet, length) < 0)
			dir->stats.refused++;
}

static void receive(struct emu *emu, int from)
{
	struct lm_dir *dir = &emu->dir[from];
	uint64_t now = now_ns();

	for (int i = 0; i < BATCH; i++) {
		ssize_t got = read(emu->tun[from], lm_room(dir), LM_PACKET_MAX);

		if (got <= 0)
			return;
		lm_take(dir, now, (uint16_t)got);
	}
}

static void arm(struct emu *emu)
{
	uint64_t up = lm_due(&emu->dir[UP]), down = lm_due(&emu->dir[DOWN]);
	uint64_t due = up < down ? up : down;
	struct itimerspec when = {0};

	if (due == emu->armed)
		return;
	emu->armed = due;
	if (due != LM_NEVER) {
		when.it_value.tv_sec = (time_t)(due / 1000000000u);
		when.it_value.tv_nsec = (long)(due % 1000000000u);
	}
	timerfd_settime(emu->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void work(struct emu *emu)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);
	const int fds[] = {emu->tun[UP], emu->tun[DOWN], emu->timer, STDIN_FILENO};
	struct epoll_event events[ARRAY_SIZE(fds)];

	for (uint32_t i = 0; i < ARRAY_SIZE(fds); i++) {
		events[i] = (struct epoll_event){.events = EPOLLIN, .data.u32 = i};
		if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &events[i]) < 0)
			die("epoll", strerror(errno));
	}
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, events, ARRAY_SIZE(events), -1);
		uint64_t now, expired;

		if (n < 0 && errno != EINTR)
			die("epoll_wait", strerror(errno));
		for (int i = 0; i < n; i++) {
			uint32_t which = events[i].data.u32;

			if (which == 3 || (which < 2 && (events[i].events & EPOLLERR)))
				goto end;        /* asked to end, or a namespace is gone */
			if (which < 2)
				receive(emu, (int)which);
			else if (read(emu->timer, &expired, sizeof(expired)) > 0)
				emu->armed = LM_NEVER;
		}
		now = now_ns();
		deliver(emu, UP, now);
		deliver(emu, DOWN, now);
		arm(emu);
	}
end:
	close(ep);
}

static void print(const char *name, const struct lm_dir *dir)
{
	const struct lm_stats *s = &dir->stats;
	const struct {
		const char *what;
		uint64_t value;
	} lines[] = {
		{"packets", s->packets},         {"bytes", s->bytes},
		{"delivered", s->delivered},     {"lost_random", s->lost_random},
		{"lost_burst", s->lost_burst},   {"lost_queue", s->lost_queue},
		{"lost_pool", s->lost_pool},     {"refused", s->refused},
		{"overtaken", s->overtaken},     {"most_held", s->most_held},
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		printf("%s.%s %" PRIu64 "\n", name, lines[i].what, lines[i].value);
}

int main(int argc, char **argv)
{
	static const char *const keys[] = {"delay", "jitter", "loss", "burst",
					   "rate",  "queue",  "calm",  "reorder"};
	static const char *const suffixes[] = {"", "-up", "-down"};
	static const char letters[] = "djlbrqco";
	static char names[ARRAY_SIZE(keys) * ARRAY_SIZE(suffixes)][16];
	struct option options[ARRAY_SIZE(names) + 4] = {0};
	struct lm_params params[2] = {{.queue_bytes = 256 << 10}, {.queue_bytes = 256 << 10}};
	const char *dev = NULL;
	uint64_t seed = 1;
	struct emu emu = {.armed = LM_NEVER};
	int c, index = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(names[i], sizeof(names[i]), "%s%s", keys[i / 3], suffixes[i % 3]);
		options[i] = (struct option){names[i],
					     keys[i / 3][0] == 'r' && keys[i / 3][1] == 'e' ?
						     no_argument :
						     required_argument,
					     NULL, 1};
	}
	options[ARRAY_SIZE(names)] = (struct option){"dev", required_argument, NULL, 'D'};
	options[ARRAY_SIZE(names) + 1] = (struct option){"seed", required_argument, NULL, 'S'};
	options[ARRAY_SIZE(names) + 2] = (struct option){"help", no_argument, NULL, 'h'};
	while ((c = getopt_long(argc, argv, "", options, &index)) >= 0) {
		if (c == 1) {
			if (index % 3 != 2)
				set(&params[UP], letters[index / 3], optarg);
			if (index % 3 != 1)
				set(&params[DOWN], letters[index / 3], optarg);
		} else if (c == 'D') {
			dev = optarg;
		} else if (c == 'S') {
			seed = strtoull(optarg, NULL, 0);
		} else {
			fputs(usage, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : 2;
		}
	}
	if (!dev || argc - optind != 2) {
		fputs(usage, stderr);
		return 2;
	}
	prctl(PR_SET_TIMERSLACK, 1);
	for (int i = 0; i < 2; i++) {
		emu.tun[i] = open_tun(argv[optind + i], dev);
		if (lm_start(&emu.dir[i], &params[i], CAPACITY, seed * 2 + (uint64_t)i) < 0)
			die("memory", "none left");
	}
	emu.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (emu.timer < 0)
		die("timerfd", strerror(errno));
	work(&emu);
	print("up", &emu.dir[UP]);
	print("down", &emu.dir[DOWN]);
	for (int i = 0; i < 2; i++) {
		close(emu.tun[i]);
		lm_end(&emu.dir[i]);
	}
	close(emu.timer);
	return 0;
}
