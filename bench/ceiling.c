/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options and small helpers of the raw loop; see ceiling.h for what it measures. */
#include "ceiling.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
"usage: ceiling --mode=server [--listen=ADDR] [--port=N] [--mptcp=on|off] [--resp=on|off]\n"
"               [--spin]\n"
"       ceiling --mode=client --port=N [--listen=ADDR] [--engine=epoll|io_uring]\n"
"               [--mptcp=on|off] [--bs=4k] [--qd=128] [--runtime=S] [--ramp=S] [--spin]\n"
"\n"
"The raw request/answer loop that libnof is compared against: 72-byte requests, answers of a\n"
"24-byte header, --bs bytes and (--resp=on, the default) a 24-byte completion.\n"
"  --listen=ADDR   numeric address to listen on or to connect to (127.0.0.1)\n"
"  --port=N        the server picks and prints one when it is 0 (the default)\n"
"  --nqn=NQN       client: ask namespace 1 of an NVMe/TCP target, blocks of 4096 bytes\n"
"  --cpu=N         run on this CPU only\n"
"  --spin          busy-wait instead of sleeping\n"
"  --ramp=S        seconds not measured at the start (0.2)\n"
"  --ios=N         client: end after N answers, whatever the time\n"
"  --stage=BYTES   client: staging buffer (256k)\n"
"  --direct=BYTES  client: payload still to come from which it goes straight to its buffer (16k)\n"
"  --behind=BYTES  client: staging offered behind such a payload (4k)\n"
"  --rcvbuf=BYTES  client: fixed socket receive buffer; switches off the kernel's tuning\n"
"The client prints one JSON object.\n";

static _Noreturn void bad_usage(const char *what, const char *arg)
{
	fprintf(stderr, "ceiling: bad value '%s' for --%s\n%s", arg, what, usage);
	exit(2);
}

static uint64_t parse_size(const char *what, const char *arg, uint64_t min, uint64_t max)
{
	char *end;
	uint64_t v;

	errno = 0;
	v = strtoull(arg, &end, 10);
	if (end == arg || errno || *arg == '-')
		bad_usage(what, arg);
	if (*end == 'k' || *end == 'K') {
		v <<= 10;
		end++;
	} else if (*end == 'm' || *end == 'M') {
		v <<= 20;
		end++;
	}
	if (*end || v < min || v > max)
		bad_usage(what, arg);
	return v;
}

static double parse_seconds(const char *what, const char *arg)
{
	char *end;
	double v = strtod(arg, &end);

	if (end == arg || *end || !(v >= 0 && v <= 86400))
		bad_usage(what, arg);
	return v;
}

static bool parse_choice(const char *what, const char *arg, const char *no, const char *yes)
{
	if (!strcmp(arg, yes))
		return true;
	if (strcmp(arg, no))
		bad_usage(what, arg);
	return false;
}

static void pin(const char *arg)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(parse_size("cpu", arg, 0, CPU_SETSIZE - 1), &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity to CPU %s: %s", arg, strerror(errno));
}

int main(int argc, char **argv)
{
	static const struct option longopts[] = {
		{ "mode", required_argument, NULL, 'm' },
		{ "listen", required_argument, NULL, 'l' },
		{ "nqn", required_argument, NULL, 'n' },
		{ "port", required_argument, NULL, 'p' },
		{ "engine", required_argument, NULL, 'e' },
		{ "mptcp", required_argument, NULL, 'M' },
		{ "bs", required_argument, NULL, 'b' },
		{ "qd", required_argument, NULL, 'q' },
		{ "runtime", required_argument, NULL, 't' },
		{ "ramp", required_argument, NULL, 'r' },
		{ "ios", required_argument, NULL, 'i' },
		{ "resp", required_argument, NULL, 'R' },
		{ "cpu", required_argument, NULL, 'c' },
		{ "stage", required_argument, NULL, 'S' },
		{ "direct", required_argument, NULL, 'D' },
		{ "behind", required_argument, NULL, 'B' },
		{ "rcvbuf", required_argument, NULL, 'u' },
		{ "spin", no_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	struct ceiling_opts o = {
		.addr = "127.0.0.1",
		.resp = true,
		.bs = 4096,
		.qd = 128,
		.runtime = 2,
		.ramp = 0.2,
		.stage = 256u << 10,
		.direct = 16u << 10,
		.behind = 4u << 10,
	};
	bool mode = false;
	int c;

	while ((c = getopt_long(argc, argv, "", longopts, NULL)) != -1) {
		switch (c) {
		case 'm':
			o.server = parse_choice("mode", optarg, "client", "server");
			mode = true;
			break;
		case 'l':
			o.addr = optarg;
			break;
		case 'p':
			o.port = (unsigned int)parse_size("port", optarg, 0, 65535);
			break;
		case 'n':
			o.nqn = optarg;
			break;
		case 'e':
			o.uring = parse_choice("engine", optarg, "epoll", "io_uring");
			break;
		case 'M':
			o.mptcp = parse_choice("mptcp", optarg, "off", "on");
			break;
		case 'b':
			o.bs = (unsigned int)parse_size("bs", optarg, BLOCK_LEN, BS_MAX);
			if (o.bs % BLOCK_LEN)
				bad_usage("bs", optarg);
			break;
		case 'q':
			o.qd = (unsigned int)parse_size("qd", optarg, 1, 4096);
			break;
		case 't':
			o.runtime = parse_seconds("runtime", optarg);
			break;
		case 'r':
			o.ramp = parse_seconds("ramp", optarg);
			break;
		case 'i':
			o.limit = parse_size("ios", optarg, 1, 1ull << 40);
			break;
		case 'R':
			o.resp = parse_choice("resp", optarg, "off", "on");
			break;
		case 'c':
			pin(optarg);
			break;
		case 'S':
			o.stage = parse_size("stage", optarg, 4096, 64u << 20);
			break;
		case 'D':
			o.direct = parse_size("direct", optarg, 1, BS_MAX);
			break;
		case 'B':
			o.behind = parse_size("behind", optarg, HDR_LEN, 64u << 20);
			break;
		case 'u':
			o.rcvbuf = (int)parse_size("rcvbuf", optarg, 4096, 1u << 30);
			break;
		case 's':
			o.spin = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind != argc || !mode || (!o.server && !o.port)) {
		fputs(usage, stderr);
		return 2;
	}
	if (o.nqn && o.bs % NVME_BLOCK_LEN)
		bad_usage("bs", "no multiple of 4096 with --nqn");
	if (o.behind > o.stage)
		o.behind = o.stage;
	return o.server ? server_run(&o) : client_run(&o);
}
