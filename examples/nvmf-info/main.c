/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "../common/complete.h"
#include "info.h"

static const char usage[] =
	"usage: nvmf-info [--json] [--list | --size | --paths | --can=CAP | --is=PROP |\n"
	"                 --doctor] URI\n"
	"       nvmf-info [--json] --connect-all URI...\n"
	"       nvmf-info [--json] --follow URI\n"
	"  --json      one JSON document on standard output\n"
	"  --list      one line for each namespace, or each entry of a discovery log: its URI\n"
	"  --size      only the size of the namespace, in bytes\n"
	"  --paths     only the connection of each queue: MPTCP or TCP and why, its subflows, and\n"
	"              what the kernel's path manager may do; and ANA states\n"
	"  --doctor    is it MPTCP, why not, is there a second path, and the commands that help\n"
	"  --connect-all  connect to all that the URIs name or that their discovery logs list,\n"
	"              and show which controllers are paths of the same namespace\n"
	"  --follow    the discovery log, then each change of it, until SIGINT or SIGTERM;\n"
	"              with --json, a document on a line for each\n"
	"  --help, --version\n";

static const char usage_end[] =
	"URI: nvme+tcp://HOST[:PORT][/SUBSYSTEM-NQN[/NAMESPACE]][?key=value&...], see libnof(3).\n"
	"Without a subsystem the discovery log of the host is shown.\n";

void info_opts(struct nof_opts *opts)
{
	nof_opts_init(opts);
	/* A look is not worth waiting for, unless the URI says so. */
	opts->ctrl_loss_tmo_ms = 0;
}

static int fetch_namespace(struct info *info, const char *id, struct space *out)
{
	int ret = nof_ns_open_sync(info->ctrl, id, &out->ns);

	if (ret < 0)
		return ret;
	out->info.size = sizeof(out->info);
	return nof_ns_get_info(out->ns, &out->info);
}

static int fetch_namespaces(struct info *info)
{
	int count = nof_ctrl_get_nsids(info->ctrl, NULL, 0), i, ret;
	bool is_one = info->opts.ns[0] || info->what == SHOW_SIZE || info->what == SHOW_ANSWER;
	uint32_t *ids;
	char id[16];

	if (count < 0)
		return count;
	info->ns = calloc((size_t)count + 1, sizeof(*info->ns));
	ids = calloc((size_t)count + 1, sizeof(*ids));
	ret = info->ns && ids ? 0 : -ENOMEM;
	if (ret == 0 && is_one) {
		ret = fetch_namespace(info, NULL, &info->ns[0]);
		info->ns_count = ret == 0;
	} else if (ret == 0) {
		i = nof_ctrl_get_nsids(info->ctrl, ids, (size_t)count);
		if (i < count)
			count = i;
		for (i = 0; i < count; i++) {
			snprintf(id, sizeof(id), "%u", ids[i]);
			ret = fetch_namespace(info, id, &info->ns[info->ns_count]);
			/* One with a foreign format hides nothing of the others. */
			if (ret == -ENOTSUP)
				ret = 0;
			else if (ret < 0)
				break;
			else
				info->ns_count++;
		}
	}
	free(ids);
	return ret;
}

static bool wants_namespaces(const struct info *info)
{
	if (info->what == SHOW_ANSWER)
		return question_wants_namespace(info->question);
	return info->what != SHOW_DOCTOR;
}

/*
 * A controller has no I/O queue before a channel wants one. Where there is no namespace to have
 * a channel of, the admin queue alone is shown.
 */
static int fetch_queues(struct info *info)
{
	if (info->ns_count > 0 && nof_chan_open_sync(info->ns[0].ns, info->loop, &info->chan) < 0)
		info->chan = NULL;
	return queues_settle(info);
}

static int fetch(struct info *info)
{
	int ret = nof_ctrl_new(info->loop, &info->opts, NULL, NULL, &info->ctrl);

	if (ret < 0)
		return ret;
	ret = nof_ctrl_connect_sync(info->ctrl);
	if (ret < 0)
		return ret;
	info->ci.size = sizeof(info->ci);
	ret = nof_ctrl_get_info(info->ctrl, &info->ci);
	if (ret < 0)
		return ret;
	if (info->ci.is_discovery)
		ret = nof_discover_sync(info->loop, &info->opts, NULL, &info->log);
	else if (wants_namespaces(info))
		ret = fetch_namespaces(info);
	if (ret == 0 && (info->what == SHOW_PATHS || info->what == SHOW_DOCTOR))
		ret = fetch_queues(info);
	if (ret < 0)
		return ret;
	info->state = nof_ctrl_get_state(info->ctrl);
	info->stats.size = sizeof(info->stats);
	nof_ctrl_get_stats(info->ctrl, &info->stats);
	info->transport.size = sizeof(info->transport);
	return nof_ctrl_get_transport(info->ctrl, &info->transport);
}

static int run(struct info *info, const char *uri)
{
	struct nof_loop_opts lo;
	size_t i;
	int ret;

	info->uri = uri;
	info_opts(&info->opts);
	if (nof_uri_parse(uri, &info->opts) < 0)
		return tool_error(TOOL_USAGE, "%s", nof_strerror_detail());
	nof_loop_opts_init(&lo);
	lo.engine = info->opts.engine;
	if (nof_loop_new(&lo, &info->loop) < 0)
		return tool_error(TOOL_FAILED, "%s", nof_strerror_detail());
	info->tcp_starts = doctor_tcp_starts();
	ret = fetch(info);
	if (info->what == SHOW_DOCTOR) {
		ret = doctor(info, ret < 0 ? nof_strerror_detail() : NULL);
	} else if (ret < 0) {
		ret = tool_error(TOOL_FAILED, "%s", nof_strerror_detail());
	} else if (info->what == SHOW_SIZE && info->ns_count == 0) {
		ret = tool_error(TOOL_USAGE,
				 "--size: %s is a discovery controller and has no "
				 "namespace; name a subsystem in the URI.",
				 uri);
	} else if (info->what == SHOW_ANSWER) {
		ret = question_answer(info);
	} else if (info->json) {
		ret = print_json(info) ? 0 : tool_output_failed();
	} else {
		print_text(info);
	}
	nof_chan_close(info->chan);
	/* Everything has been read: a rough end would change nothing of it. */
	if (info->ctrl && nof_ctrl_get_state(info->ctrl) == NOF_CTRL_LIVE)
		nof_ctrl_disconnect_sync(info->ctrl);
	nof_discovery_free(info->log);
	for (i = 0; i < info->ns_count; i++)
		nof_ns_close(info->ns[i].ns);
	nof_ctrl_free(info->ctrl);
	nof_loop_free(info->loop);
	free(info->ns);
	return ret;
}

/* The names in lines of a terminal's width, indented as the usage is. */
static void wrap(char *names)
{
	size_t column = 0, n;
	char *p = names;

	for (; *p; p += n + (p[n] == ' ')) {
		n = strcspn(p, " ");
		if (column + n + 1 > 66 && p > names) {
			p[-1] = '\n';
			column = 0;
		}
		column += n + 1;
	}
}

static void print_names(const char *option, const char *what, const char *name)
{
	char names[256], *line, *save = NULL;

	printf("  --%s%-*sexit 0 if %s, 3 if not; %s is one of\n", option,
	       (int)(10 - strlen(option)), name, what, name + 1);
	question_names(names, sizeof(names), option);
	wrap(names);
	for (line = strtok_r(names, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		printf("              %s\n", line);
}

static void print_usage(void)
{
	fputs(usage, stdout);
	print_names("can", "the namespace can", "=CAP");
	print_names("is", "it is so", "=PROP");
	fputs(usage_end, stdout);
}

static void print_completions(const struct option *options)
{
	char can[256], is[256];
	const struct complete_values values[] = {
		{ "can", question_names(can, sizeof(can), "can") },
		{ "is", question_names(is, sizeof(is), "is") },
		{ NULL, NULL },
	};

	complete_print(options, values, "uri");
}

static int end_output(int ret)
{
	if (fflush(stdout) != 0 && ret != TOOL_FAILED && ret != TOOL_USAGE)
		ret = tool_output_failed();
	return ret;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "list", no_argument, NULL, 'l' },
		{ "size", no_argument, NULL, 's' },
		{ "paths", no_argument, NULL, 'p' },
		{ "can", required_argument, NULL, 'c' },
		{ "is", required_argument, NULL, 'i' },
		{ "doctor", no_argument, NULL, 'd' },
		{ "connect-all", no_argument, NULL, 'a' },
		{ "follow", no_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ COMPLETE_OPTION, no_argument, NULL, 'b' },
		{ NULL, 0, NULL, 0 },
	};
	static struct info info;
	const char *option;
	char names[256];
	enum what what;
	int c;

	tool_init("nvmf-info");
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (c) {
		case 'j': info.json = true; continue;
		case 'h': print_usage(); return TOOL_OK;
		case 'v': printf("nvmf-info %s\n", nof_version()); return TOOL_OK;
		case 'b': print_completions(options); return TOOL_OK;
		case 'l': what = SHOW_LIST; break;
		case 's': what = SHOW_SIZE; break;
		case 'p': what = SHOW_PATHS; break;
		case 'd': what = SHOW_DOCTOR; break;
		case 'a': what = SHOW_FABRIC; break;
		case 'f': what = SHOW_CHANGES; break;
		case 'c':
		case 'i':
			what = SHOW_ANSWER;
			option = c == 'c' ? "can" : "is";
			info.question = question_find(option, optarg);
			if (!info.question)
				return tool_error(TOOL_USAGE,
						  "--%s=%s: one of these is wanted: %s.", option,
						  optarg,
						  question_names(names, sizeof(names), option));
			break;
		case ':': return tool_error(TOOL_USAGE, "%s needs a value.", argv[optind - 1]);
		default:
			return tool_error(TOOL_USAGE,
					  "%s is not understood; --help lists the options.",
					  argv[optind - 1]);
		}
		if (info.what != SHOW_ALL)
			return tool_error(TOOL_USAGE, "only one of --list, --size, --paths, --can, "
						      "--is, --doctor, --connect-all and "
						      "--follow can be asked for at a time.");
		info.what = what;
	}
	if (info.what == SHOW_FABRIC && optind < argc)
		return end_output(fabric(argv + optind, (size_t)(argc - optind), info.json));
	if (argc - optind != 1)
		return tool_error(TOOL_USAGE, "exactly one URI such as nvme+tcp://HOST is wanted; "
					      "--help lists the options.");
	if (info.what == SHOW_CHANGES)
		return end_output(follow(argv[optind], info.json));
	return end_output(run(&info, argv[optind]));
}
