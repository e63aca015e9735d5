/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <string.h>
#include <fcntl.h>

#include "../common/complete.h"
#include "copy.h"

enum opt {
	OPT_PROGRESS = 256,
	OPT_REQUESTS,
	OPT_REQUEST_SIZE,
	OPT_QUEUES,
	OPT_PATH,
	OPT_SPARSE,
	OPT_FLUSH,
	OPT_VERIFY,
	OPT_JSON,
	OPT_HELP,
	OPT_VERSION,
	OPT_COMPLETE,
};

static const struct option options[] = {
	{ "progress", optional_argument, NULL, OPT_PROGRESS },
	{ "requests", required_argument, NULL, OPT_REQUESTS },
	{ "request-size", required_argument, NULL, OPT_REQUEST_SIZE },
	{ "queues", required_argument, NULL, OPT_QUEUES },
	{ "path", required_argument, NULL, OPT_PATH },
	{ "sparse", no_argument, NULL, OPT_SPARSE },
	{ "flush", no_argument, NULL, OPT_FLUSH },
	{ "verify", no_argument, NULL, OPT_VERIFY },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ COMPLETE_OPTION, no_argument, NULL, OPT_COMPLETE },
	{ NULL, 0, NULL, 0 },
};

static const struct complete_values values[] = {
	{ "path", "@uri" },
	{ NULL, NULL },
};

static const char usage[] =
	"usage: nvmf-copy [options] SRC DST\n"
	"  --sparse             find zeroes; holes and write zeroes instead of sending them\n"
	"  --flush              end only when DST is durable\n"
	"  --verify             read DST back and compare its SHA-256 with what SRC held\n"
	"  --requests=N         requests in flight on each side (32)\n"
	"  --request-size=SIZE  bytes of a request, k and m accepted (256k)\n"
	"  --queues=N           I/O queues of each namespace (1)\n"
	"  --path=URI           another path to the namespace SRC or DST (repeatable)\n"
	"  --progress           show the bar even when standard error is no terminal\n"
	"  --progress=FD        lines PHASE PERCENT BYTES TOTAL on this descriptor instead\n"
	"  --json               one JSON document on standard output\n"
	"  --help, --version\n"
	"SRC and DST: nvme+tcp://HOST[:PORT]/SUBSYSTEM-NQN[/NAMESPACE][?key=value&...], the\n"
	"name of a file or block device, or - for standard input and output. DST is\n"
	"overwritten.\n";

static int number(const char *name, const char *v, uint64_t min, uint64_t max, uint64_t *out)
{
	if (tool_parse_u64(v, min, max, out))
		return 0;
	return 1 + tool_error(TOOL_USAGE, "--%s=%s: a number from %llu to %llu is wanted.", name, v,
			      (unsigned long long)min, (unsigned long long)max);
}

static int set_progress(struct copy_opts *o, const char *v)
{
	uint64_t fd = 0;
	int ret;

	if (!v) {
		o->wants_bar = true;
		return 0;
	}
	ret = number("progress", v, 0, 65535, &fd);
	if (ret)
		return ret;
	if (fcntl((int)fd, F_GETFD) < 0 || !tool_is_open((int)fd))
		return 1 + tool_error(TOOL_USAGE, "--progress=%s: this descriptor is not open.", v);
	o->progress_fd = (int)fd;
	return 0;
}

static int set(struct copy_opts *o, int opt, const char *v)
{
	uint64_t n = 0;
	int ret;

	switch (opt) {
	case OPT_PROGRESS: return set_progress(o, v);
	case OPT_REQUESTS:
		ret = number("requests", v, 1, COPY_MAX_REQUESTS, &n);
		o->requests = (unsigned int)n;
		return ret;
	case OPT_QUEUES:
		ret = number("queues", v, 1, COPY_MAX_QUEUES, &n);
		o->queues = (unsigned int)n;
		return ret;
	case OPT_PATH:
		if (!end_is_uri(v) || o->path_count == COPY_MAX_PATHS)
			return 1 + tool_error(TOOL_USAGE,
					      "--path=%s: the URI of a namespace is wanted, at "
					      "most %u times.",
					      v, COPY_MAX_PATHS);
		o->paths[o->path_count++] = v;
		return 0;
	case OPT_REQUEST_SIZE:
		if (!tool_parse_size(v, &o->chunk) || o->chunk < 4096 ||
		    o->chunk > COPY_MAX_CHUNK || (o->chunk & (o->chunk - 1)))
			return 1 + tool_error(TOOL_USAGE,
					      "--request-size=%s: a power of two from 4k to 64m is "
					      "wanted.",
					      v);
		return 0;
	case OPT_SPARSE: o->sparse = true; return 0;
	case OPT_FLUSH: o->flush = true; return 0;
	case OPT_VERIFY: o->verify = true; return 0;
	case OPT_JSON: o->json = true; return 0;
	}
	return 0;
}

/* What no single option shows. */
static int check(const struct copy_opts *o)
{
	bool to_stdout = !strcmp(o->dst, "-");

	if (o->json && to_stdout)
		return 1 + tool_error(TOOL_USAGE, "--json and the copy would both go to standard "
						  "output; give DST a name.");
	if (o->verify && to_stdout)
		return 1 + tool_error(TOOL_USAGE, "--verify: standard output cannot be read back.");
	if (o->path_count && !end_is_uri(o->src) && !end_is_uri(o->dst))
		return 1 + tool_error(TOOL_USAGE, "--path: neither SRC nor DST is a URI.");
	if (o->progress_fd == 1 && (to_stdout || o->json))
		return 1 + tool_error(TOOL_USAGE,
				      "--progress=1: standard output is taken by the "
				      "%s.",
				      to_stdout ? "copy" : "JSON document");
	return 0;
}

int copy_parse(int argc, char **argv, struct copy_opts *o)
{
	int c, ret;

	*o = (struct copy_opts){
		.requests = 32,
		.queues = 1,
		.chunk = 256 << 10,
		.progress_fd = -1,
	};
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (c) {
		case OPT_HELP: fputs(usage, stdout); return 1 + TOOL_OK;
		case OPT_VERSION: printf("nvmf-copy %s\n", nof_version()); return 1 + TOOL_OK;
		case OPT_COMPLETE:
			complete_print(options, values, "uri file -");
			return 1 + TOOL_OK;
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
	if (argc - optind != 2)
		return 1 + tool_error(TOOL_USAGE,
				      "SRC and DST are wanted, each a URI, a file or -; "
				      "--help lists the options.");
	o->src = argv[optind];
	o->dst = argv[optind + 1];
	return check(o);
}
