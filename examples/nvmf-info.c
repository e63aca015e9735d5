/* SPDX-License-Identifier: MIT */
/*
 * nvmf-info: what is behind a URI. Controller, namespaces, limits and transport of a subsystem,
 * or the log of a discovery controller.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include <nof.h>

#include "common/json.h"
#include "common/tool.h"

static const char usage[] =
	"usage: nvmf-info [--json] [--list | --size | --paths] URI\n"
	"  --json     one JSON document on standard output\n"
	"  --list     one line for each namespace, or each entry of a discovery log: its URI\n"
	"  --size     only the size of the namespace, in bytes\n"
	"  --paths    only the transport: MPTCP or TCP, and its subflows\n"
	"  --help, --version\n"
	"URI: nvme+tcp://HOST[:PORT][/SUBSYSTEM-NQN[/NAMESPACE]][?key=value&...], see libnof(3).\n"
	"Without a subsystem the discovery log of the host is shown.\n";

enum what { SHOW_ALL, SHOW_LIST, SHOW_SIZE, SHOW_PATHS };

struct info {
	enum what what;
	bool json;
	struct nof_opts opts;
	struct nof_loop *loop;
	struct nof_ctrl *ctrl;
	struct nof_ctrl_info ci;
	struct nof_ns_info *ns; /* those the URI names, or all that can be opened */
	size_t ns_count;
	struct nof_discovery_log *log;	/* NULL unless it is a discovery controller */
	struct nof_transport transport; /* of the admin queue */
};

static const struct {
	uint32_t bit;
	const char *name;
} features[] = {
	{ NOF_NS_WRITE_ZEROES, "write_zeroes" },
	{ NOF_NS_DEALLOCATE, "deallocate" },
	{ NOF_NS_COMPARE, "compare" },
	{ NOF_NS_VOLATILE_CACHE, "volatile_cache" },
	{ NOF_NS_READ_ONLY, "read_only" },
	{ NOF_NS_SHARED, "shared" },
	{ NOF_NS_DEALLOC_ZEROES, "deallocated_reads_zero" },
	{ NOF_NS_WRITE_ZEROES_DEAC, "write_zeroes_deallocates" },
};

#define FEATURES (sizeof(features) / sizeof(features[0]))

static const char *hex_id(char *buf, const uint8_t *id, size_t len, bool is_uuid)
{
	size_t i, n = 0;

	for (i = 0; i < len; i++) {
		if (is_uuid && (i == 4 || i == 6 || i == 8 || i == 10))
			buf[n++] = '-';
		n += (size_t)sprintf(buf + n, "%02x", id[i]);
	}
	buf[n] = '\0';
	return buf;
}

/* The best name of a namespace that a URI can carry. */
static const char *ns_id(char *buf, const struct nof_ns_info *ns)
{
	if (ns->has_uuid)
		return hex_id(buf, ns->uuid, sizeof(ns->uuid), true);
	sprintf(buf, "%u", ns->nsid);
	return buf;
}

static const char *entry_type(const struct nof_discovery_entry *e)
{
	switch (e->subtype) {
	case 1: return "referral";
	case 2: return "subsystem";
	case 3: return "discovery";
	}
	return "other";
}

static const char *transport_name(uint8_t trtype)
{
	switch (trtype) {
	case 1: return "rdma";
	case 2: return "fc";
	case 3: return "tcp";
	}
	return "other";
}

static int fetch_namespace(struct info *info, const char *id, struct nof_ns_info *out)
{
	struct nof_ns *ns;
	int ret = nof_ns_open_sync(info->ctrl, id, &ns);

	if (ret < 0)
		return ret;
	out->size = sizeof(*out);
	ret = nof_ns_get_info(ns, out);
	nof_ns_close(ns);
	return ret;
}

static int fetch_namespaces(struct info *info)
{
	int count = nof_ctrl_get_nsids(info->ctrl, NULL, 0), i, ret;
	bool is_one = info->opts.ns[0] || info->what == SHOW_SIZE;
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
		ret = nof_discovery_get_sync(info->ctrl, &info->log);
	else if (info->what != SHOW_PATHS)
		ret = fetch_namespaces(info);
	if (ret < 0)
		return ret;
	info->transport.size = sizeof(info->transport);
	return nof_ctrl_get_transport(info->ctrl, &info->transport);
}

static void print_transport(const struct nof_transport *t)
{
	char a[32], b[32];
	unsigned int i;

	printf("transport    %s", t->is_mptcp ? "MPTCP" : "TCP");
	if (t->reason[0])
		printf(": %s", t->reason);
	putchar('\n');
	for (i = 0; i < t->subflow_count && i < NOF_SUBFLOWS_MAX; i++)
		printf("  subflow    %s -> %s, sent %s, received %s, rtt %u us, %u retransmits\n",
		       t->subflows[i].local, t->subflows[i].peer,
		       tool_format_bytes(a, sizeof(a), (double)t->subflows[i].bytes_sent),
		       tool_format_bytes(b, sizeof(b), (double)t->subflows[i].bytes_received),
		       t->subflows[i].rtt_us, t->subflows[i].retransmits);
}

static void print_entry(const struct nof_discovery_entry *e)
{
	if (e->trtype == 3 && e->adrfam == 2)
		printf("%-10s nvme+tcp://[%s]:%s/%s\n", entry_type(e), e->traddr, e->trsvcid,
		       e->subnqn);
	else if (e->trtype == 3)
		printf("%-10s nvme+tcp://%s:%s/%s\n", entry_type(e), e->traddr, e->trsvcid,
		       e->subnqn);
	else
		printf("%-10s %s %s %s %s\n", entry_type(e), transport_name(e->trtype), e->traddr,
		       e->trsvcid, e->subnqn);
}

static void print_namespace(const struct nof_ns_info *ns)
{
	char a[64];
	size_t i;

	printf("namespace %-2u %s, %llu blocks of %u bytes\n", ns->nsid,
	       tool_format_bytes(a, sizeof(a), (double)ns->bytes), (unsigned long long)ns->blocks,
	       ns->block_size);
	if (ns->has_uuid)
		printf("  uuid       %s\n", hex_id(a, ns->uuid, sizeof(ns->uuid), true));
	if (ns->has_nguid)
		printf("  nguid      %s\n", hex_id(a, ns->nguid, sizeof(ns->nguid), false));
	if (ns->has_eui64)
		printf("  eui64      %s\n", hex_id(a, ns->eui64, sizeof(ns->eui64), false));
	printf("  limits     %s per command",
	       tool_format_bytes(a, sizeof(a), (double)ns->max_transfer));
	if (ns->preferred_io)
		printf(", %s preferred", tool_format_bytes(a, sizeof(a), (double)ns->preferred_io));
	printf("\n  features  ");
	for (i = 0; i < FEATURES; i++)
		if (ns->features & features[i].bit)
			printf(" %s", features[i].name);
	putchar('\n');
}

static void print_controller(const struct nof_ctrl_info *ci)
{
	char a[32], b[32];

	printf("subsystem    %s\n", ci->subnqn);
	printf("controller   %u, %s, serial %s, firmware %s, NVMe %u.%u.%u%s\n", ci->cntlid,
	       ci->model, ci->serial, ci->firmware, ci->version >> 16, ci->version >> 8 & 0xff,
	       ci->version & 0xff, ci->is_discovery ? ", discovery" : "");
	if (!ci->is_discovery)
		printf("queues       up to %u, %u entries; %s per command, %s in a capsule\n",
		       ci->nr_io_queues, ci->queue_size,
		       tool_format_bytes(a, sizeof(a), (double)ci->max_transfer),
		       tool_format_bytes(b, sizeof(b), (double)ci->in_capsule));
	printf("keep alive   ");
	if (ci->keep_alive_ms)
		printf("%u ms\n", ci->keep_alive_ms);
	else
		puts("none");
	printf("digests      %s%s%s\n", ci->has_hdr_digest ? "header " : "",
	       ci->has_data_digest ? "data" : "",
	       ci->has_hdr_digest || ci->has_data_digest ? "" : "none");
}

static void print_list(const struct info *info)
{
	struct nof_opts o = info->opts;
	char uri[8192];
	size_t i;

	for (i = 0; info->log && i < info->log->count; i++)
		print_entry(&info->log->entries[i]);
	for (i = 0; i < info->ns_count; i++) {
		ns_id(o.ns, &info->ns[i]);
		nof_uri_format(&o, uri, sizeof(uri));
		printf("%s\n", uri);
	}
}

static void print_text(const struct info *info)
{
	size_t i;

	switch (info->what) {
	case SHOW_SIZE: printf("%llu\n", (unsigned long long)info->ns[0].bytes); return;
	case SHOW_PATHS: print_transport(&info->transport); return;
	case SHOW_LIST: print_list(info); return;
	case SHOW_ALL: break;
	}
	print_controller(&info->ci);
	print_transport(&info->transport);
	for (i = 0; i < info->ns_count; i++)
		print_namespace(&info->ns[i]);
	for (i = 0; info->log && i < info->log->count; i++)
		print_entry(&info->log->entries[i]);
	if (info->log && info->log->count < info->log->total)
		printf("(%llu entries more)\n",
		       (unsigned long long)(info->log->total - info->log->count));
}

static void json_transport(struct json *j, const struct nof_transport *t)
{
	unsigned int i;

	json_object(j, "transport");
	json_u64(j, "qid", t->qid);
	json_bool(j, "is_mptcp", t->is_mptcp);
	json_string(j, "protocol", t->is_mptcp ? "mptcp" : "tcp");
	json_string(j, "reason", t->reason);
	json_array(j, "subflows");
	for (i = 0; i < t->subflow_count && i < NOF_SUBFLOWS_MAX; i++) {
		json_object(j, NULL);
		json_string(j, "local", t->subflows[i].local);
		json_string(j, "peer", t->subflows[i].peer);
		json_u64(j, "bytes_sent", t->subflows[i].bytes_sent);
		json_u64(j, "bytes_received", t->subflows[i].bytes_received);
		json_u64(j, "rtt_us", t->subflows[i].rtt_us);
		json_u64(j, "retransmits", t->subflows[i].retransmits);
		json_object_end(j);
	}
	json_array_end(j);
	json_object_end(j);
}

static void json_controller(struct json *j, const struct nof_ctrl_info *ci)
{
	json_object(j, "controller");
	json_string(j, "subnqn", ci->subnqn);
	json_string(j, "model", ci->model);
	json_string(j, "serial", ci->serial);
	json_string(j, "firmware", ci->firmware);
	json_u64(j, "cntlid", ci->cntlid);
	json_u64(j, "version", ci->version);
	json_bool(j, "is_discovery", ci->is_discovery);
	json_u64(j, "namespaces", ci->namespaces);
	json_u64(j, "nr_io_queues", ci->nr_io_queues);
	json_u64(j, "queue_size", ci->queue_size);
	json_u64(j, "max_transfer", ci->max_transfer);
	json_u64(j, "in_capsule", ci->in_capsule);
	json_u64(j, "keep_alive_ms", ci->keep_alive_ms);
	json_bool(j, "hdr_digest", ci->has_hdr_digest);
	json_bool(j, "data_digest", ci->has_data_digest);
	json_bool(j, "volatile_cache", ci->has_volatile_cache);
	json_object_end(j);
}

static void json_namespace(struct json *j, const struct nof_ns_info *ns)
{
	char id[64];
	size_t i;

	json_object(j, NULL);
	json_u64(j, "nsid", ns->nsid);
	json_u64(j, "bytes", ns->bytes);
	json_u64(j, "blocks", ns->blocks);
	json_u64(j, "block_size", ns->block_size);
	if (ns->has_uuid)
		json_string(j, "uuid", hex_id(id, ns->uuid, sizeof(ns->uuid), true));
	if (ns->has_nguid)
		json_string(j, "nguid", hex_id(id, ns->nguid, sizeof(ns->nguid), false));
	if (ns->has_eui64)
		json_string(j, "eui64", hex_id(id, ns->eui64, sizeof(ns->eui64), false));
	json_u64(j, "csi", ns->csi);
	json_u64(j, "max_transfer", ns->max_transfer);
	json_u64(j, "max_write_zeroes", ns->max_write_zeroes);
	json_u64(j, "max_deallocate", ns->max_deallocate);
	json_u64(j, "preferred_io", ns->preferred_io);
	json_u64(j, "preferred_deallocate", ns->preferred_deallocate);
	json_object(j, "features");
	for (i = 0; i < FEATURES; i++)
		json_bool(j, features[i].name, ns->features & features[i].bit);
	json_object_end(j);
	json_object_end(j);
}

static void json_discovery(struct json *j, const struct nof_discovery_log *log)
{
	size_t i;

	json_object(j, "discovery");
	json_u64(j, "genctr", log->genctr);
	json_u64(j, "total", log->total);
	json_array(j, "entries");
	for (i = 0; i < log->count; i++) {
		const struct nof_discovery_entry *e = &log->entries[i];

		json_object(j, NULL);
		json_string(j, "type", entry_type(e));
		json_string(j, "transport", transport_name(e->trtype));
		json_string(j, "adrfam",
			    e->adrfam == 1 ? "ipv4" :
			    e->adrfam == 2 ? "ipv6" :
					     "other");
		json_string(j, "traddr", e->traddr);
		json_string(j, "trsvcid", e->trsvcid);
		json_string(j, "subnqn", e->subnqn);
		json_u64(j, "portid", e->portid);
		json_u64(j, "cntlid", e->cntlid);
		json_bool(j, "tls", e->sectype == 2);
		json_object_end(j);
	}
	json_array_end(j);
	json_object_end(j);
}

static bool print_json(const struct info *info)
{
	struct json j;
	size_t i;

	json_init(&j, stdout);
	json_object(&j, NULL);
	if (info->what == SHOW_SIZE) {
		json_u64(&j, "bytes", info->ns[0].bytes);
	} else if (info->what == SHOW_PATHS) {
		json_transport(&j, &info->transport);
	} else {
		if (info->what == SHOW_ALL) {
			json_controller(&j, &info->ci);
			json_transport(&j, &info->transport);
		}
		if (info->log)
			json_discovery(&j, info->log);
		json_array(&j, "namespaces");
		for (i = 0; i < info->ns_count; i++)
			json_namespace(&j, &info->ns[i]);
		json_array_end(&j);
	}
	json_object_end(&j);
	return json_finish(&j);
}

static int run(struct info *info, const char *uri)
{
	struct nof_loop_opts lo;
	int ret;

	nof_opts_init(&info->opts);
	if (nof_uri_parse(uri, &info->opts) < 0)
		return tool_error(TOOL_USAGE, "%s", nof_strerror_detail());
	nof_loop_opts_init(&lo);
	lo.engine = info->opts.engine;
	if (nof_loop_new(&lo, &info->loop) < 0)
		return tool_error(TOOL_FAILED, "%s", nof_strerror_detail());
	ret = fetch(info);
	if (ret < 0) {
		ret = tool_error(TOOL_FAILED, "%s", nof_strerror_detail());
	} else if (info->what == SHOW_SIZE && info->ns_count == 0) {
		ret = tool_error(TOOL_USAGE,
				 "--size: %s is a discovery controller and has no "
				 "namespace; name a subsystem in the URI.",
				 uri);
	} else if (info->json) {
		ret = print_json(info) ? 0 : TOOL_FAILED;
	} else {
		print_text(info);
	}
	/* Everything has been read: a rough end would change nothing of it. */
	if (info->ctrl && nof_ctrl_get_state(info->ctrl) == NOF_CTRL_LIVE)
		nof_ctrl_disconnect_sync(info->ctrl);
	nof_discovery_free(info->log);
	nof_ctrl_free(info->ctrl);
	nof_loop_free(info->loop);
	free(info->ns);
	return ret;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "list", no_argument, NULL, 'l' },
		{ "size", no_argument, NULL, 's' },
		{ "paths", no_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	static struct info info;
	enum what what;
	int c, ret;

	tool_name = "nvmf-info";
	opterr = 0;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'j': info.json = true; continue;
		case 'h': fputs(usage, stdout); return TOOL_OK;
		case 'v': printf("nvmf-info %s\n", nof_version()); return TOOL_OK;
		case 'l': what = SHOW_LIST; break;
		case 's': what = SHOW_SIZE; break;
		case 'p': what = SHOW_PATHS; break;
		default:
			return tool_error(TOOL_USAGE,
					  "%s is not understood; --help lists the "
					  "options.",
					  argv[optind - 1]);
		}
		if (info.what != SHOW_ALL && info.what != what)
			return tool_error(TOOL_USAGE, "only one of --list, --size and --paths can "
						      "be asked for at a time.");
		info.what = what;
	}
	if (argc - optind != 1)
		return tool_error(TOOL_USAGE, "exactly one URI such as nvme+tcp://HOST is wanted; "
					      "--help lists the options.");
	ret = run(&info, argv[optind]);
	if (fflush(stdout) != 0 && ret == 0)
		ret = tool_error(TOOL_FAILED, "standard output: %s.", strerror(errno));
	return ret;
}
