/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "info.h"

void print_transport(const struct nof_transport *t)
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

void print_entry(const struct nof_discovery_entry *e)
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

/* Services that were asked beside the first, and those that could not be. */
static void print_services(const struct nof_discovery_log *log)
{
	size_t i;

	for (i = 0; i < log->nservices; i++) {
		const struct nof_discovery_service *s = &log->services[i];

		if (log->nservices == 1 && !s->error)
			return;
		printf("service    %*s%s port %s: ", (int)s->depth * 2, "", s->traddr, s->trsvcid);
		if (s->error)
			puts(s->detail);
		else
			printf("%llu entries, generation %llu\n", (unsigned long long)s->records,
			       (unsigned long long)s->genctr);
	}
}

static void print_paths(const struct nof_ns *ns)
{
	static struct nof_path_info paths[INFO_MAX_PATHS];
	int n, i;

	paths[0].size = sizeof(paths[0]);
	n = nof_ns_get_paths(ns, paths, INFO_MAX_PATHS);
	for (i = 0; i < n && i < INFO_MAX_PATHS; i++) {
		const struct nof_path_info *p = &paths[i];

		printf("  path       %s, %s", p->address, nof_path_state_name(p->state));
		if (p->ana != NOF_ANA_NONE)
			printf(", ANA group %u %s", p->ana_group, nof_ana_state_name(p->ana));
		printf("%s%s\n", p->detail[0] ? ": " : "", p->detail);
	}
}

static void print_zones(const struct nof_ns_info *ns)
{
	char a[32];

	printf("  zones      %llu of %s", (unsigned long long)ns->zones,
	       tool_format_bytes(a, sizeof(a), (double)ns->zone_size * ns->block_size));
	if (ns->max_open_zones)
		printf(", %u may be open", ns->max_open_zones);
	if (ns->max_active_zones)
		printf(", %u active", ns->max_active_zones);
	putchar('\n');
}

static void print_features(const struct nof_ns_info *ns)
{
	size_t i, column = 0, n;

	for (i = 0; features[i].name; i++) {
		if (!(ns->features & features[i].bit))
			continue;
		n = strlen(features[i].name) + 1;
		if (column == 0)
			printf("  features  ");
		else if (column + n > 80)
			printf("\n            ");
		column = column + n > 80 ? n : column + n;
		printf(" %s", features[i].name);
	}
	if (column)
		putchar('\n');
}

void print_space(const struct space *space)
{
	const struct nof_ns_info *ns = &space->info;
	char a[64];

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
	if (ns->atomic_write > ns->block_size)
		printf(", %s atomic", tool_format_bytes(a, sizeof(a), (double)ns->atomic_write));
	putchar('\n');
	if (ns->metadata_size)
		printf("  metadata   %u bytes with each block", ns->metadata_size);
	if (ns->pi_type)
		printf(", protection information type %u with a guard of %u bits", ns->pi_type,
		       ns->pi_guard_bits);
	if (ns->metadata_size)
		putchar('\n');
	if (ns->zone_size)
		print_zones(ns);
	print_features(ns);
	print_paths(space->ns);
}

/* What makes it unlike others; everything it can do is shown of a single one. */
static void print_notes(const struct nof_ns_info *ns)
{
	if (ns->features & NOF_NS_READ_ONLY)
		printf(" read-only");
	if (ns->features & NOF_NS_SHARED)
		printf(" shared");
	if (ns->zone_size)
		printf(" zoned");
	if (ns->pi_type)
		printf(" protected:%u", ns->pi_type);
	else if (ns->metadata_size)
		printf(" metadata:%u", ns->metadata_size);
	putchar('\n');
}

/* Several namespaces: a line each. */
static void print_table(const struct info *info)
{
	char size[32], id[64];
	size_t i;

	printf("\n%6s  %10s  %6s  %-36s  %s\n", "NSID", "SIZE", "BLOCK", "UUID, NGUID OR EUI64",
	       "NOTES");
	for (i = 0; i < info->ns_count; i++) {
		const struct nof_ns_info *ns = &info->ns[i].info;

		strcpy(id, "-");
		if (ns->has_uuid)
			hex_id(id, ns->uuid, sizeof(ns->uuid), true);
		else if (ns->has_nguid)
			hex_id(id, ns->nguid, sizeof(ns->nguid), false);
		else if (ns->has_eui64)
			hex_id(id, ns->eui64, sizeof(ns->eui64), false);
		printf("%6u  %10s  %6u  %-36s ", ns->nsid,
		       tool_format_bytes(size, sizeof(size), (double)ns->bytes), ns->block_size,
		       id);
		print_notes(ns);
	}
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
	struct nof_opts o; /* without our own defaults */
	char uri[8192];
	size_t i;

	for (i = 0; info->log && i < info->log->count; i++)
		print_entry(&info->log->entries[i]);
	nof_opts_init(&o);
	nof_uri_parse(info->uri, &o);
	for (i = 0; i < info->ns_count; i++) {
		ns_id(o.ns, &info->ns[i].info);
		nof_uri_format(&o, uri, sizeof(uri));
		printf("%s\n", uri);
	}
}

void print_text(const struct info *info)
{
	size_t i;

	switch (info->what) {
	case SHOW_SIZE: printf("%llu\n", (unsigned long long)info->ns[0].info.bytes); return;
	case SHOW_PATHS:
		print_queues(info);
		print_path_manager(&info->status);
		for (i = 0; i < info->ns_count; i++) {
			printf("namespace    %u\n", info->ns[i].info.nsid);
			print_paths(info->ns[i].ns);
		}
		return;
	case SHOW_LIST: print_list(info); return;
	default: break;
	}
	print_controller(&info->ci);
	print_transport(&info->transport);
	if (info->ns_count > 1)
		print_table(info);
	else if (info->ns_count == 1)
		print_space(&info->ns[0]);
	for (i = 0; info->log && i < info->log->count; i++)
		print_entry(&info->log->entries[i]);
	if (info->log)
		print_services(info->log);
	if (info->log && info->log->count < info->log->total)
		printf("(%llu entries more)\n",
		       (unsigned long long)(info->log->total - info->log->count));
}
