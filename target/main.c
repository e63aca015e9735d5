/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nvmf-target: options, start and end. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "fault.h"
#include "target.h"

struct options opt = {
	.is_mptcp = true,
	.hdgst = true,
	.ddgst = true,
	.success = true,
	.kato_check = true,
	.vwc = true,
	.in_capsule = 8192,
	.r2t = 1,
	.maxh2cdata = 1 << 20,
	.mdts = 8,
	.queues = 64,
	.queue_size = 1024,
	.max_conns = 1024,
	.anatt = 10,
	.acl = 3,
	.tbkas = true,
	.cntlid_min = 1,
	.ready_fd = -1,
};

struct stats stats;

static const char usage_text[] =
"usage: nvmf-target [option]…\n"
"\n"
"A small userspace NVMe/TCP target for tests and benchmarks. It has no access\n"
"control worth the name: keep it on loopback or in a network of your own.\n"
"\n"
"what is served\n"
"  --listen=ADDR:PORT[,ana=GROUP:STATE…][,portid=N]\n"
"                         listen there (repeatable; default 127.0.0.1:4420; port 0: a free one)\n"
"  --mptcp=prefer|off     MPTCP sockets where the kernel has them (default prefer)\n"
"  --congestion=NAME      congestion control of its connections (default: the system's)\n"
"  --nqn=NQN              begins a subsystem; the --ns and --allow-host after it are its own\n"
"  --ns=mem:SIZE|file:PATH|null:SIZE[,option…]\n"
"                         a namespace (repeatable; default mem:1G with 4096-byte blocks)\n"
"  --allow-host=NQN       only this host may connect (repeatable; default any)\n"
"                         options: bs=512|4096 nsid=N ro anagrp=N uuid= nguid= eui64= copy=\n"
"                         ms=8|16|64 pi=1|2|3 pif=16|32|64 pil=first atomic=N[:BOUNDARY[:OFFSET]]\n"
"                         zns=ZONESIZE zcap=SIZE mar=N mor=N\n"
"limits and behaviour\n"
"  --ana=on|off           ANA (default: on with several ports, or where groups are given)\n"
"  --anatt=S              ANA transition time (default 10)\n"
"  --cqt=MS               command quiesce time (default 0)\n"
"  --crdt=A,B,C           command retry delays in units of 100 ms (default 0,0,0)\n"
"  --tbkas=on|off         any command keeps the association alive (default on)\n"
"  --acl=N                concurrent Aborts less one (default 3)\n"
"  --zasl=N               largest Zone Append, 4096 << N bytes, 0 = as --mdts (default 0)\n"
"  --capacity=SIZE        room for namespaces that hosts make (default 0: they may not)\n"
"  --op-time=MS           how long Sanitize and self-tests take (default 0)\n"
"  --discovery-nqn=NQN    the discovery subsystem's own name besides the well-known one\n"
"  --cntlid-min=N         the first controller id (default 1)\n"
"  --hdgst[=on|off] --ddgst[=on|off]  agree to digests the host offers (default on)\n"
"  --in-capsule=BYTES     in-capsule data on I/O queues, 0 = none (default 8192)\n"
"  --r2t=N                R2Ts per command at a time, at most the host's MAXR2T (default 1)\n"
"  --r2t-size=BYTES       bytes per R2T (default: all)\n"
"  --c2h-size=BYTES       bytes per C2HData (default: all)\n"
"  --success=on|off       SUCCESS flag instead of a response where allowed (default on)\n"
"  --cpda=N               alignment (N+1)*4 of data in host PDUs, 0..31 (default 0)\n"
"  --maxh2cdata=BYTES     data per H2CData PDU (default 1M)\n"
"  --mdts=N               largest transfer, 4096 << N bytes, 0 = no limit (default 8)\n"
"  --queues=N             I/O queues per controller (default 64)\n"
"  --queue-size=N         entries per queue (default 1024)\n"
"  --kato-check=on|off    give up hosts that are silent for 1.5 keep alive timeouts (default on)\n"
"  --no-flush-cache       report no volatile write cache\n"
"  --spin                 never sleep while waiting, for measurements\n"
"  --max-conns=N          connections at a time (default 1024)\n"
"tests\n"
"  --fault=SCRIPT|@FILE   misbehave; the language is in nvmf-target(1)\n"
"  --control=PATH         control socket\n"
"  --ready-fd=N           a line is written to this fd once all sockets listen\n"
"  --verbose              say on stderr what happens\n"
"  --help --version\n";

void verbose(const char *fmt, ...)
{
	va_list ap;

	if (!opt.verbose)
		return;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

bool parse_size(const char *s, uint64_t *out)
{
	static const char units[] = "kmgt";
	unsigned long long v;
	char *end;

	if (!isdigit((unsigned char)*s))
		return false;
	errno = 0;
	v = strtoull(s, &end, 0);
	if (errno)
		return false;
	if (*end) {
		const char *u = strchr(units, tolower((unsigned char)*end));
		unsigned int shift;

		if (!u)
			return false;
		shift = 10 * (unsigned int)(u - units + 1);
		if (v > UINT64_MAX >> shift)
			return false;
		v <<= shift;
		end++;
		if (!strcmp(end, "iB") || !strcmp(end, "B"))
			end = "";
		if (*end)
			return false;
	}
	*out = v;
	return true;
}

void copy_padded(char *dst, const char *src, size_t n)
{
	size_t len = strnlen(src, n);

	memcpy(dst, src, len);
	memset(dst + len, ' ', n - len);
}

enum { EXIT_USAGE = 2 };

static void __attribute__((noreturn, format(printf, 1, 2))) usage_error(const char *fmt, ...)
{
	va_list ap;

	fputs("nvmf-target: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("; see nvmf-target --help\n", stderr);
	exit(EXIT_USAGE);
}

static bool on_off(const char *name, const char *v)
{
	if (!v || !strcmp(v, "on"))
		return true;
	if (strcmp(v, "off"))
		usage_error("--%s=%s: on or off", name, v);
	return false;
}

static uint32_t number(const char *name, const char *v, uint64_t min, uint64_t max)
{
	uint64_t n;

	if (!parse_size(v, &n) || n < min || n > max)
		usage_error("--%s=%s: a number from %llu to %llu", name, v,
			    (unsigned long long)min, (unsigned long long)max);
	return (uint32_t)n;
}

enum {
	O_LISTEN = 256, O_MPTCP, O_NQN, O_NS, O_HDGST, O_DDGST, O_FAULT, O_READY_FD, O_IN_CAPSULE,
	O_R2T, O_R2T_SIZE, O_C2H_SIZE, O_SUCCESS, O_CPDA, O_MAXH2CDATA, O_MDTS, O_QUEUES,
	O_QUEUE_SIZE, O_KATO_CHECK, O_ALLOW_HOST, O_NO_FLUSH, O_MAX_CONNS, O_CONTROL, O_VERBOSE,
	O_ANA, O_ANATT, O_CQT, O_CRDT, O_TBKAS, O_ACL, O_CNTLID_MIN, O_ZASL,
	O_CAPACITY, O_OP_TIME, O_DISCOVERY_NQN, O_CONGESTION, O_SPIN,
	O_HELP, O_VERSION, O_BASH_OPTIONS,
};

static const struct option longopts[] = {
	{ "listen", required_argument, NULL, O_LISTEN },
	{ "mptcp", required_argument, NULL, O_MPTCP },
	{ "congestion", required_argument, NULL, O_CONGESTION },
	{ "nqn", required_argument, NULL, O_NQN },
	{ "ns", required_argument, NULL, O_NS },
	{ "hdgst", optional_argument, NULL, O_HDGST },
	{ "ddgst", optional_argument, NULL, O_DDGST },
	{ "fault", required_argument, NULL, O_FAULT },
	{ "ready-fd", required_argument, NULL, O_READY_FD },
	{ "in-capsule", required_argument, NULL, O_IN_CAPSULE },
	{ "r2t", required_argument, NULL, O_R2T },
	{ "r2t-size", required_argument, NULL, O_R2T_SIZE },
	{ "c2h-size", required_argument, NULL, O_C2H_SIZE },
	{ "success", required_argument, NULL, O_SUCCESS },
	{ "cpda", required_argument, NULL, O_CPDA },
	{ "maxh2cdata", required_argument, NULL, O_MAXH2CDATA },
	{ "mdts", required_argument, NULL, O_MDTS },
	{ "queues", required_argument, NULL, O_QUEUES },
	{ "queue-size", required_argument, NULL, O_QUEUE_SIZE },
	{ "kato-check", required_argument, NULL, O_KATO_CHECK },
	{ "spin", no_argument, NULL, O_SPIN },
	{ "allow-host", required_argument, NULL, O_ALLOW_HOST },
	{ "no-flush-cache", no_argument, NULL, O_NO_FLUSH },
	{ "max-conns", required_argument, NULL, O_MAX_CONNS },
	{ "ana", required_argument, NULL, O_ANA },
	{ "anatt", required_argument, NULL, O_ANATT },
	{ "cqt", required_argument, NULL, O_CQT },
	{ "crdt", required_argument, NULL, O_CRDT },
	{ "tbkas", required_argument, NULL, O_TBKAS },
	{ "acl", required_argument, NULL, O_ACL },
	{ "cntlid-min", required_argument, NULL, O_CNTLID_MIN },
	{ "zasl", required_argument, NULL, O_ZASL },
	{ "capacity", required_argument, NULL, O_CAPACITY },
	{ "op-time", required_argument, NULL, O_OP_TIME },
	{ "discovery-nqn", required_argument, NULL, O_DISCOVERY_NQN },
	{ "control", required_argument, NULL, O_CONTROL },
	{ "verbose", no_argument, NULL, O_VERBOSE },
	{ "help", no_argument, NULL, O_HELP },
	{ "version", no_argument, NULL, O_VERSION },
	{ "bash-options", no_argument, NULL, O_BASH_OPTIONS },
	{ NULL, 0, NULL, 0 },
};

/* What the shell's completion asks: a line for each option, and the values of those with few. */
static void print_options(void)
{
	static const struct {
		int option;
		const char *values;
	} values[] = {
		{ O_MPTCP, "prefer off" }, { O_HDGST, "on off" },      { O_DDGST, "on off" },
		{ O_SUCCESS, "on off" },   { O_KATO_CHECK, "on off" }, { O_CONTROL, "@file" },
		{ O_ANA, "on off" },	   { O_TBKAS, "on off" },
	};
	const struct option *o;
	size_t i;

	for (o = longopts; o->name; o++) {
		if (o->val == O_BASH_OPTIONS)
			continue;
		printf("--%s%s", o->name,
		       o->has_arg == required_argument ? "=" :
		       o->has_arg == optional_argument ? "[=]" :
							 "");
		for (i = 0; i < sizeof(values) / sizeof(values[0]); i++)
			if (values[i].option == o->val)
				printf(" %s", values[i].values);
		putchar('\n');
	}
}

static const char *listen_specs[64];
static unsigned int nlisten;

/* The subsystem that --ns and --allow-host belong to. */
static struct subsys *current(struct subsys **cur)
{
	char err[512];

	if (!*cur)
		*cur = subsys_new(DEFAULT_NQN, err, sizeof(err));
	if (!*cur)
		usage_error("%s", err);
	return *cur;
}

static void allow_host(struct subsys *s, const char *nqn)
{
	struct host_ref *h;

	if (strlen(nqn) > NQN_MAX)
		usage_error("--allow-host=%s: longer than an NQN may be", nqn);
	h = calloc(1, sizeof(*h));
	if (!h)
		usage_error("out of memory");
	strcpy(h->nqn, nqn);
	h->next = s->hosts;
	s->hosts = h;
}

static const char *discovery_nqn;	/* --discovery-nqn */
static int ana_option = -1;		/* --ana, -1: not given */

static void set_crdt(const char *v)
{
	unsigned int a, b = 0, c = 0;

	if (sscanf(v, "%u,%u,%u", &a, &b, &c) < 1 || a > 0xffff || b > 0xffff || c > 0xffff)
		usage_error("--crdt=%s: up to three numbers, in units of 100 ms", v);
	opt.crdt[0] = (uint16_t)a;
	opt.crdt[1] = (uint16_t)b;
	opt.crdt[2] = (uint16_t)c;
}

static void set_option(int o, const char *v, struct subsys **cur)
{
	char err[512];

	switch (o) {
	case O_LISTEN:
		if (nlisten == sizeof(listen_specs) / sizeof(listen_specs[0]))
			usage_error("too many --listen options");
		listen_specs[nlisten++] = v;
		break;
	case O_MPTCP:
		if (strcmp(v, "prefer") && strcmp(v, "off"))
			usage_error("--mptcp=%s: prefer or off", v);
		opt.is_mptcp = v[0] == 'p';
		break;
	case O_CONGESTION:
		opt.congestion = v;
		break;
	case O_NQN:
		*cur = subsys_new(v, err, sizeof(err));
		if (!*cur)
			usage_error("--nqn: %s", err);
		if ((*cur)->is_discovery)
			usage_error("--nqn: the discovery subsystem is always there");
		break;
	case O_NS:
		if (!ns_add(current(cur), v, err, sizeof(err))) {
			fprintf(stderr, "nvmf-target: --ns=%s: %s\n", v, err);
			exit(strncmp(v, "file:", 5) ? EXIT_USAGE : 1);
		}
		break;
	case O_ALLOW_HOST:
		allow_host(current(cur), v);
		break;
	case O_HDGST:
		opt.hdgst = on_off("hdgst", v);
		break;
	case O_DDGST:
		opt.ddgst = on_off("ddgst", v);
		break;
	case O_SUCCESS:
		opt.success = on_off("success", v);
		break;
	case O_KATO_CHECK:
		opt.kato_check = on_off("kato-check", v);
		break;
	case O_SPIN:
		opt.spin = true;
		break;
	case O_IN_CAPSULE:
		opt.in_capsule = number("in-capsule", v, 0, 16 << 20) & ~15u;
		break;
	case O_R2T:
		opt.r2t = number("r2t", v, 1, MAX_R2T);
		break;
	case O_R2T_SIZE:
		opt.r2t_size = number("r2t-size", v, 4, 1u << 30) & ~3u;
		break;
	case O_C2H_SIZE:
		opt.c2h_size = number("c2h-size", v, 4, 1u << 30) & ~3u;
		break;
	case O_CPDA:
		opt.cpda = (uint8_t)number("cpda", v, 0, NOFI_PDA_MAX);
		break;
	case O_MAXH2CDATA:
		opt.maxh2cdata = number("maxh2cdata", v, NOFI_MAXH2CDATA_MIN, 1u << 30) & ~3u;
		break;
	case O_MDTS:
		opt.mdts = (uint8_t)number("mdts", v, 0, 16);
		break;
	case O_QUEUES:
		opt.queues = number("queues", v, 1, MAX_QUEUES);
		break;
	case O_QUEUE_SIZE:
		opt.queue_size = number("queue-size", v, 2, MAX_ENTRIES);
		break;
	case O_MAX_CONNS:
		opt.max_conns = number("max-conns", v, 1, 1 << 20);
		break;
	case O_READY_FD:
		opt.ready_fd = (int)number("ready-fd", v, 0, 1 << 20);
		break;
	case O_NO_FLUSH:
		opt.vwc = false;
		break;
	case O_ANA:
		ana_option = on_off("ana", v);
		break;
	case O_ANATT:
		opt.anatt = (uint8_t)number("anatt", v, 1, 255);
		break;
	case O_CQT:
		opt.cqt = (uint16_t)number("cqt", v, 0, 0xffff);
		break;
	case O_CRDT:
		set_crdt(v);
		break;
	case O_TBKAS:
		opt.tbkas = on_off("tbkas", v);
		break;
	case O_ACL:
		opt.acl = (uint8_t)number("acl", v, 0, 255);
		break;
	case O_ZASL:
		opt.zasl = (uint8_t)number("zasl", v, 0, 16);
		break;
	case O_CAPACITY:
		if (!parse_size(v, &opt.capacity) || opt.capacity > 1ull << 50)
			usage_error("--capacity=%s: a size", v);
		break;
	case O_OP_TIME:
		opt.op_time = number("op-time", v, 0, 3600 * 1000);
		break;
	case O_DISCOVERY_NQN:
		discovery_nqn = v;
		break;
	case O_CNTLID_MIN:
		opt.cntlid_min = (uint16_t)number("cntlid-min", v, 1, 0xffef);
		break;
	case O_CONTROL:
		opt.control = v;
		break;
	case O_FAULT:
		if (fault_add(v, err, sizeof(err)))
			usage_error("--fault: %s", err);
		break;
	case O_VERBOSE:
		opt.verbose = true;
		break;
	case O_HELP:
		fputs(usage_text, stdout);
		exit(0);
	case O_VERSION:
		puts("nvmf-target " NOF_VERSION);
		exit(0);
	case O_BASH_OPTIONS:
		print_options();
		exit(0);
	default:
		fputs("nvmf-target: see nvmf-target --help\n", stderr);
		exit(EXIT_USAGE);
	}
}

static void parse_options(int argc, char **argv)
{
	struct subsys *cur = NULL;
	char err[512];
	int o;

	while ((o = getopt_long(argc, argv, "", longopts, NULL)) != -1)
		set_option(o, optarg, &cur);
	if (optind < argc)
		usage_error("unexpected argument '%s'", argv[optind]);
	if (!subsystems && !ns_add(current(&cur), "mem:1G", err, sizeof(err)))
		usage_error("%s", err);
	ana_is_on |= nlisten > 1;
	if (!nlisten)
		listen_specs[nlisten++] = "127.0.0.1:4420";
	cur = subsys_new(DISCOVERY_NQN, err, sizeof(err));
	if (!cur)
		usage_error("%s", err);
	if (discovery_nqn && !subsys_rename(cur, discovery_nqn, err, sizeof(err)))
		usage_error("--discovery-nqn: %s", err);
}

static void on_signal(struct io *io, uint32_t events)
{
	loop_stop();
}

static int watch_signals(struct io *io)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	io->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (io->fd < 0)
		return -errno;
	io->fn = on_signal;
	return loop_add(io, EPOLLIN);
}

/* Room for --max-conns sockets, as far as the hard limit lets us. */
static void raise_fd_limit(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) || rl.rlim_cur >= opt.max_conns + 64)
		return;
	rl.rlim_cur = opt.max_conns + 64;
	if (rl.rlim_cur > rl.rlim_max)
		rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
}

int main(int argc, char **argv)
{
	static struct io signals = { .fd = -1 };
	char err[512] = "";
	int rc = 1, e;

	parse_options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	raise_fd_limit();
	e = loop_init();
	if (!e)
		e = watch_signals(&signals);
	if (!e)
		e = conn_rx_init();
	if (e) {
		snprintf(err, sizeof(err), "cannot start: %s", strerror(-e));
		goto out;
	}
	loop_set_reaper(conns_reap);
	for (unsigned int i = 0; i < nlisten; i++)
		if (!listen_add(listen_specs[i], err, sizeof(err)))
			goto out;
	if (ana_option >= 0)
		ana_is_on = ana_option;
	if (opt.control && control_open(opt.control, err, sizeof(err)))
		goto out;
	listen_print();
	if (opt.ready_fd >= 0) {
		if (write(opt.ready_fd, "ready\n", 6) != 6) {
			snprintf(err, sizeof(err), "cannot write to --ready-fd=%d: %s",
				 opt.ready_fd, strerror(errno));
			goto out;
		}
		if (opt.ready_fd > 2)
			close(opt.ready_fd);
	}
	loop_set_spin(opt.spin);
	loop_run();
	rc = 0;
out:
	if (*err)
		fprintf(stderr, "nvmf-target: %s\n", err);
	listen_close_all();
	conns_close_all();
	control_close();
	fault_clear();
	subsys_free_all();
	discovery_clear();
	loop_del(&signals);
	loop_fini();
	return rc;
}
