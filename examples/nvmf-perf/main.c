/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "perf.h"

enum { MAX_ASKED = 1024 };	/* the library's limit of nr_io_queues */

/* One for each channel; with hedged reads a second one that they are sent by. */
static uint32_t queues_to_ask(const struct perf_opts *o, const struct nof_opts *opts)
{
	uint32_t n = o->queues ? o->queues : o->threads;

	return opts->hedge_us < 0 || n > MAX_ASKED / 2 ? n : 2 * n;
}

/* Options of every URI: what the command line wants is a default that the URI may override. */
static int parse_uris(const struct perf_opts *o, struct nof_opts *opts)
{
	unsigned int i;

	for (i = 0; i < o->uri_count; i++) {
		nof_opts_init(&opts[i]);
		opts[i].ctrl_loss_tmo_ms = 0;	/* a measurement with a gap in it is none */
		opts[i].queue_size = o->iodepth < 128 ? 128 : o->iodepth + 1;
		if (nof_uri_parse(o->uris[i], &opts[i]) < 0)
			return tool_error(TOOL_USAGE, "%s", nof_strerror_detail());
		if (!opts[i].nr_io_queues)
			opts[i].nr_io_queues = queues_to_ask(o, &opts[i]);
		if (o->pcap && nof_opts_set(&opts[i], "pcap", o->pcap) < 0)
			return tool_error(TOOL_USAGE, "%s", nof_strerror_detail());
		if (opts[i].engine != opts[0].engine)
			return tool_error(TOOL_USAGE, "the URIs ask for different engines; all "
						      "of them share the loops of one.");
	}
	return 0;
}

/* The exit code that a run deserves; its sentence is the only line on standard error. */
static int verdict(const struct run *run, int usage)
{
	if (usage)
		return tool_error(usage, "%s", run->first);
	if (run->first[0])
		return tool_error(TOOL_FAILED, "%s", run->first);
	return TOOL_OK;
}

static bool report(const struct run *run, FILE *json_out)
{
	bool ok = true;

	if (run->o->json)
		ok = report_json(run, NULL, stdout);
	else
		report_text(run, stdout);
	if (json_out)
		ok = report_json(run, NULL, json_out) && ok;
	return ok;
}

static int run_once(const struct perf_opts *o, const struct nof_opts *opts, FILE *json_out)
{
	struct run run;
	int usage;
	bool ok = true;

	run_init(&run, o);
	usage = run_execute(&run, opts);
	if (!usage)
		ok = report(&run, json_out);
	usage = verdict(&run, usage);
	run_free(&run);
	if (!ok && !usage)
		return tool_error(TOOL_FAILED, "the results could not be written.");
	return usage;
}

/* The same load twice; MPTCP second, so that its numbers never profit from a cold target. */
static int run_compare(const struct perf_opts *o, struct nof_opts *opts, FILE *json_out)
{
	bool *require = calloc(o->uri_count, sizeof(*require));
	struct run tcp, mptcp;
	unsigned int i;
	int ret;
	bool ok = true;

	if (!require)
		return tool_error(TOOL_FAILED, "no memory for %u URIs.", o->uri_count);
	run_init(&tcp, o);
	run_init(&mptcp, o);
	for (i = 0; i < o->uri_count; i++) {
		require[i] = opts[i].mptcp == NOF_MPTCP_REQUIRE;
		opts[i].mptcp = NOF_MPTCP_OFF;
	}
	ret = run_execute(&tcp, opts);
	if (ret || tcp.first[0] || tcp.is_interrupted) {
		if (!ret)
			ok = report(&tcp, json_out);
		ret = verdict(&tcp, ret);
		goto out;
	}
	for (i = 0; i < o->uri_count; i++)
		opts[i].mptcp = require[i] ? NOF_MPTCP_REQUIRE : NOF_MPTCP_PREFER;
	ret = run_execute(&mptcp, opts);
	if (!ret) {
		if (!o->json) {
			report_text(&tcp, stdout);
			report_text(&mptcp, stdout);
			report_compare(&tcp, &mptcp, stdout);
		} else {
			ok = report_json(&mptcp, &tcp, stdout);
		}
		if (json_out)
			ok = report_json(&mptcp, &tcp, json_out) && ok;
	}
	ret = verdict(&mptcp, ret);
out:
	if (!ok && !ret)
		ret = tool_error(TOOL_FAILED, "the results could not be written.");
	free(require);
	run_free(&tcp);
	run_free(&mptcp);
	return ret;
}

int main(int argc, char **argv)
{
	struct perf_opts o;
	struct nof_opts *opts;
	FILE *json_out = NULL;
	int ret;

	tool_init("nvmf-perf");
	ret = perf_parse(argc, argv, &o);
	if (ret)
		return ret - 1;
	opts = calloc(o.uri_count, sizeof(*opts));
	if (!opts)
		return tool_error(TOOL_FAILED, "no memory for %u URIs.", o.uri_count);
	ret = parse_uris(&o, opts);
	if (ret)
		goto out;
	/* Opened before the load: ten minutes of work shall not end at a mistyped name. */
	if (o.json_out) {
		json_out = fopen(o.json_out, "w");
		if (!json_out) {
			ret = tool_error(TOOL_USAGE, "--json-out=%s: %s.", o.json_out,
					 strerror(errno));
			goto out;
		}
	}
	if (o.verify)
		verify_setup(o.seed);
	ret = o.compare_tcp ? run_compare(&o, opts, json_out) : run_once(&o, opts, json_out);
	if (fflush(stdout) != 0 && ret == 0)
		ret = tool_error(TOOL_FAILED, "the results could not be written: %s.",
				 strerror(errno));
	if (json_out && fclose(json_out) != 0 && ret == 0)
		ret = tool_error(TOOL_FAILED, "--json-out=%s: %s.", o.json_out, strerror(errno));
out:
	free(opts);
	return ret;
}
