/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "../common/complete.h"
#include "perf.h"

enum opt {
	OPT_RW = 256,
	OPT_RWMIXREAD,
	OPT_BS,
	OPT_BSRANGE,
	OPT_IODEPTH,
	OPT_QUEUES,
	OPT_THREADS,
	OPT_RUNTIME,
	OPT_RAMP_TIME,
	OPT_SIZE,
	OPT_IO_LIMIT,
	OPT_IO_SIZE,
	OPT_RATE_IOPS,
	OPT_VERIFY,
	OPT_POLL,
	OPT_SEED,
	OPT_JSON,
	OPT_JSON_OUT,
	OPT_PCAP,
	OPT_HIST,
	OPT_STATUS_INTERVAL,
	OPT_COMPARE_TCP,
	OPT_TIMELINE,
	OPT_HELP,
	OPT_VERSION,
	OPT_COMPLETE,
};

static const struct option options[] = {
	{ "rw", required_argument, NULL, OPT_RW },
	{ "rwmixread", required_argument, NULL, OPT_RWMIXREAD },
	{ "bs", required_argument, NULL, OPT_BS },
	{ "bsrange", required_argument, NULL, OPT_BSRANGE },
	{ "iodepth", required_argument, NULL, OPT_IODEPTH },
	{ "queues", required_argument, NULL, OPT_QUEUES },
	{ "threads", required_argument, NULL, OPT_THREADS },
	{ "runtime", required_argument, NULL, OPT_RUNTIME },
	{ "ramp-time", required_argument, NULL, OPT_RAMP_TIME },
	{ "size", required_argument, NULL, OPT_SIZE },
	{ "io-limit", required_argument, NULL, OPT_IO_LIMIT },
	{ "io-size", required_argument, NULL, OPT_IO_SIZE },
	{ "rate-iops", required_argument, NULL, OPT_RATE_IOPS },
	{ "verify", optional_argument, NULL, OPT_VERIFY },
	{ "poll", required_argument, NULL, OPT_POLL },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "json-out", required_argument, NULL, OPT_JSON_OUT },
	{ "pcap", required_argument, NULL, OPT_PCAP },
	{ "hist", no_argument, NULL, OPT_HIST },
	{ "status-interval", required_argument, NULL, OPT_STATUS_INTERVAL },
	{ "compare-tcp", no_argument, NULL, OPT_COMPARE_TCP },
	{ "timeline", required_argument, NULL, OPT_TIMELINE },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ COMPLETE_OPTION, no_argument, NULL, OPT_COMPLETE },
	{ NULL, 0, NULL, 0 },
};

static const struct complete_values values[] = {
	{ "rw", "read write randread randwrite rw randrw" },
	{ "verify", "crc32c" },
	{ "poll", "sleep adaptive spin" },
	{ "json-out", "@file" },
	{ "pcap", "@file" },
	{ NULL, NULL },
};

static const char usage[] =
	"usage: nvmf-perf [options] URI...\n"
	"  --rw=MODE             read, write, randread, randwrite, rw or randrw (read)\n"
	"  --rwmixread=PERCENT   share of reads in rw and randrw (70)\n"
	"  --bs=SIZE             bytes of an I/O, k, m, g accepted (4k)\n"
	"  --bsrange=MIN-MAX     mixed sizes, multiples of MIN, small as often as large\n"
	"  --iodepth=N           I/Os in flight on each queue (32)\n"
	"  --queues=N            I/O queues of each namespace (as many as threads)\n"
	"  --threads=N           threads, each with its own loop (1)\n"
	"  --runtime=S           seconds to run (10, unless --io-limit or --io-size is given)\n"
	"  --ramp-time=S         seconds of load before measuring begins (0)\n"
	"  --size=SIZE           use only the first SIZE bytes of the namespace\n"
	"  --io-limit=N          end after N I/Os of each namespace\n"
	"  --io-size=SIZE        end after SIZE bytes moved of each namespace\n"
	"  --rate-iops=N         at most N I/Os per second on each namespace\n"
	"  --verify[=crc32c]     write marked blocks, check every read, read back at the end\n"
	"  --poll=MODE           wait by sleep, adaptive or spin (sleep)\n"
	"  --seed=N              the same N gives the same I/Os (1)\n"
	"  --json                one JSON document on standard output\n"
	"  --json-out=FILE       the JSON document into FILE as well\n"
	"  --pcap=FILE           record all PDUs for Wireshark (one URI)\n"
	"  --hist                show the latency histogram\n"
	"  --status-interval=S   a line on standard error every S seconds\n"
	"  --timeline=S          completions in each S seconds, in the JSON document\n"
	"  --compare-tcp         the same load over TCP, then over MPTCP, and the ratio\n"
	"  --help, --version\n"
	"URI: nvme+tcp://HOST[:PORT]/SUBSYSTEM-NQN[/NAMESPACE][?key=value&...], see libnof(3).\n"
	"URIs of one namespace are paths to it; one without a subsystem is all that it lists.\n"
	"Writing modes destroy what the namespace holds.\n";

static int bad(const char *option, const char *value, const char *wanted)
{
	return 1 + tool_error(TOOL_USAGE, "--%s=%s: %s.", option, value, wanted);
}

static int parse_rw(struct perf_opts *o, const char *v)
{
	static const struct {
		const char *name;
		bool reads, writes, random;
	} modes[] = {
		{ "read", true, false, false },	    { "write", false, true, false },
		{ "randread", true, false, true },  { "randwrite", false, true, true },
		{ "rw", true, true, false },	    { "randrw", true, true, true },
		{ "readwrite", true, true, false },
	};
	size_t i;

	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(v, modes[i].name))
			continue;
		o->rw = modes[i].name;
		o->reads = modes[i].reads;
		o->writes = modes[i].writes;
		o->random = modes[i].random;
		return 0;
	}
	return bad("rw", v, "read, write, randread, randwrite, rw or randrw is wanted");
}

static int parse_bsrange(struct perf_opts *o, const char *v)
{
	char min[32];
	const char *dash = strchr(v, '-');
	size_t n = dash ? (size_t)(dash - v) : 0;

	if (!dash || n >= sizeof(min))
		return bad("bsrange", v, "two sizes such as 4k-1m are wanted");
	memcpy(min, v, n);
	min[n] = '\0';
	if (!tool_parse_size(min, &o->bs_min) || !tool_parse_size(dash + 1, &o->bs_max) ||
	    o->bs_min == 0 || o->bs_max < o->bs_min || o->bs_max > PERF_MAX_BS)
		return bad("bsrange", v, "two sizes such as 4k-1m are wanted, up to 1g");
	return 0;
}

static int parse_poll(struct perf_opts *o, const char *v)
{
	if (!strcmp(v, "sleep"))
		o->poll = NOF_POLL_SLEEP;
	else if (!strcmp(v, "adaptive"))
		o->poll = NOF_POLL_ADAPTIVE;
	else if (!strcmp(v, "spin"))
		o->poll = NOF_POLL_SPIN;
	else
		return bad("poll", v, "sleep, adaptive or spin is wanted");
	return 0;
}

static int number(const char *name, const char *v, uint64_t min, uint64_t max, uint64_t *out)
{
	if (tool_parse_u64(v, min, max, out))
		return 0;
	return 1 + tool_error(TOOL_USAGE, "--%s=%s: a number from %llu to %llu is wanted.", name, v,
			      (unsigned long long)min, (unsigned long long)max);
}

static int count(const char *name, const char *v, unsigned int max, unsigned int *out)
{
	uint64_t n = 0;
	int ret = number(name, v, 1, max, &n);

	if (ret == 0)
		*out = (unsigned int)n;
	return ret;
}

static int size(const char *name, const char *v, uint64_t *out)
{
	if (tool_parse_size(v, out) && *out)
		return 0;
	return bad(name, v, "a size such as 4096, 64k, 10m or 2g is wanted");
}

static int duration(const char *name, const char *v, bool may_be_zero, uint64_t *out)
{
	if (tool_parse_time(v, out) && (*out || may_be_zero))
		return 0;
	return bad(name, v, "seconds are wanted, such as 10, 0.5 or 2m");
}

static int set(struct perf_opts *o, int opt, const char *v)
{
	uint64_t n = 0;
	int ret;

	switch (opt) {
	case OPT_RW: return parse_rw(o, v);
	case OPT_RWMIXREAD:
		ret = number("rwmixread", v, 0, 100, &n);
		o->read_percent = (unsigned int)n;
		return ret;
	case OPT_BS:
		if (!tool_parse_size(v, &o->bs_min) || !o->bs_min || o->bs_min > PERF_MAX_BS)
			return bad("bs", v, "a size such as 4k or 1m is wanted, up to 1g");
		o->bs_max = o->bs_min;
		return 0;
	case OPT_BSRANGE: return parse_bsrange(o, v);
	case OPT_IODEPTH: return count("iodepth", v, PERF_MAX_DEPTH, &o->iodepth);
	case OPT_QUEUES: return count("queues", v, PERF_MAX_QUEUES, &o->queues);
	case OPT_THREADS: return count("threads", v, PERF_MAX_THREADS, &o->threads);
	case OPT_RUNTIME: return duration("runtime", v, false, &o->runtime);
	case OPT_RAMP_TIME: return duration("ramp-time", v, true, &o->ramp);
	case OPT_SIZE: return size("size", v, &o->size);
	case OPT_IO_LIMIT: return number("io-limit", v, 1, UINT64_MAX, &o->io_limit);
	case OPT_IO_SIZE: return size("io-size", v, &o->io_size);
	case OPT_RATE_IOPS: return number("rate-iops", v, 1, NSEC_PER_SEC, &o->rate);
	case OPT_VERIFY:
		if (v && strcmp(v, "crc32c"))
			return bad("verify", v, "crc32c is the only method");
		o->verify = true;
		return 0;
	case OPT_POLL: return parse_poll(o, v);
	case OPT_SEED: return number("seed", v, 0, UINT64_MAX, &o->seed);
	case OPT_JSON: o->json = true; return 0;
	case OPT_JSON_OUT: o->json_out = v; return 0;
	case OPT_PCAP: o->pcap = v; return 0;
	case OPT_HIST: o->hist = true; return 0;
	case OPT_STATUS_INTERVAL: return duration("status-interval", v, false, &o->status);
	case OPT_TIMELINE: return duration("timeline", v, false, &o->timeline);
	case OPT_COMPARE_TCP: o->compare_tcp = true; return 0;
	}
	return 0;
}

/* What no single option shows. */
static int check(struct perf_opts *o)
{
	if (o->uri_count == 0)
		return 1 + tool_error(TOOL_USAGE, "a URI such as nvme+tcp://HOST/SUBSYSTEM-NQN is "
						  "missing; --help lists the options.");
	if (o->pcap && (o->uri_count > 1 || o->compare_tcp))
		return 1 + tool_error(TOOL_USAGE, "--pcap records one connection set: give one URI "
						  "and no --compare-tcp.");
	if (o->bs_max % o->bs_min)
		return 1 + tool_error(TOOL_USAGE, "--bsrange: the larger size must be a multiple "
						  "of the smaller.");
	if (o->size && o->size < o->bs_max)
		return 1 + tool_error(TOOL_USAGE, "--size is less than the size of one I/O.");
	if (!o->runtime && !o->io_limit && !o->io_size)
		o->runtime = 10 * NSEC_PER_SEC;
	if (o->timeline && (!o->runtime || o->runtime / o->timeline >= PERF_MAX_POINTS))
		return 1 + tool_error(TOOL_USAGE, "--timeline cuts --runtime into at most %u "
						  "intervals: give a --runtime, or longer "
						  "intervals.", PERF_MAX_POINTS);
	return 0;
}

int perf_parse(int argc, char **argv, struct perf_opts *o)
{
	int c, ret;

	*o = (struct perf_opts){
		.rw = "read",
		.reads = true,
		.read_percent = 70,
		.bs_min = 4096,
		.bs_max = 4096,
		.iodepth = 32,
		.threads = 1,
		.seed = 1,
	};
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (c) {
		case OPT_HELP: fputs(usage, stdout); return 1 + TOOL_OK;
		case OPT_VERSION: printf("nvmf-perf %s\n", nof_version()); return 1 + TOOL_OK;
		case OPT_COMPLETE: complete_print(options, values, "uri"); return 1 + TOOL_OK;
		case ':': return 1 + tool_error(TOOL_USAGE, "%s needs a value.", argv[optind - 1]);
		case '?':
			return 1 + tool_error(TOOL_USAGE,
					      "%s is not understood; --help lists the "
					      "options.",
					      argv[optind - 1]);
		}
		ret = set(o, c, optarg);
		if (ret)
			return ret;
	}
	o->uris = argv + optind;
	o->uri_count = (unsigned int)(argc - optind);
	return check(o);
}
