/* SPDX-License-Identifier: MIT */
#include "info.h"

void json_transport(struct json *j, const struct nof_transport *t)
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
	for (i = 0; features[i].name; i++)
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

bool print_json(const struct info *info)
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
