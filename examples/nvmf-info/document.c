/* SPDX-License-Identifier: MIT */
#include "info.h"

static void json_stats(struct json *j, const struct nof_ctrl_stats *s)
{
	json_object(j, "stats");
	json_u64(j, "resets", s->resets);
	json_u64(j, "reconnect_attempts", s->reconnect_attempts);
	json_u64(j, "reconnects", s->reconnects);
	json_u64(j, "keep_alives", s->keep_alives);
	json_u64(j, "events", s->events);
	json_u64(j, "timeouts", s->timeouts);
	json_u64(j, "aborts", s->aborts);
	json_object_end(j);
}

static void json_controller(struct json *j, const struct info *info)
{
	const struct nof_ctrl_info *ci = &info->ci;

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
	json_string(j, "state", nof_ctrl_state_name(info->state));
	json_stats(j, &info->stats);
	json_object_end(j);
}

static void json_paths(struct json *j, const struct nof_ns *ns)
{
	static struct nof_path_info paths[INFO_MAX_PATHS];
	int n, i;

	paths[0].size = sizeof(paths[0]);
	n = nof_ns_get_paths(ns, paths, INFO_MAX_PATHS);
	json_array(j, "paths");
	for (i = 0; i < n && i < INFO_MAX_PATHS; i++) {
		json_object(j, NULL);
		json_string(j, "address", paths[i].address);
		json_string(j, "state", nof_path_state_name(paths[i].state));
		json_bool(j, "usable", paths[i].is_usable);
		json_string(j, "ana_state", nof_ana_state_name(paths[i].ana));
		json_u64(j, "ana_group", paths[i].ana_group);
		json_string(j, "detail", paths[i].detail);
		json_object_end(j);
	}
	json_array_end(j);
}

void json_space(struct json *j, const char *subnqn, const struct space *space)
{
	const struct nof_ns_info *ns = &space->info;
	char id[64];
	size_t i;

	json_object(j, NULL);
	if (subnqn)
		json_string(j, "subnqn", subnqn);
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
	json_u64(j, "atomic_write", ns->atomic_write);
	json_u64(j, "atomic_write_power_fail", ns->atomic_write_power_fail);
	json_u64(j, "atomic_boundary", ns->atomic_boundary);
	json_u64(j, "max_compare_write", ns->max_compare_write);
	json_u64(j, "max_copy", ns->max_copy);
	json_u64(j, "metadata_size", ns->metadata_size);
	json_u64(j, "pi_type", ns->pi_type);
	if (ns->pi_type) {
		json_u64(j, "pi_guard_bits", ns->pi_guard_bits);
		json_u64(j, "pi_storage_tag_bits", ns->pi_storage_tag_bits);
		json_bool(j, "pi_first", ns->is_pi_first);
	}
	if (ns->zone_size) {
		json_u64(j, "zones", ns->zones);
		json_u64(j, "zone_size", ns->zone_size);
		json_u64(j, "max_open_zones", ns->max_open_zones);
		json_u64(j, "max_active_zones", ns->max_active_zones);
		json_u64(j, "max_append", ns->max_append);
	}
	json_object(j, "features");
	for (i = 0; features[i].name; i++)
		json_bool(j, features[i].name, ns->features & features[i].bit);
	json_object_end(j);
	json_paths(j, space->ns);
	json_object_end(j);
}

void json_service(struct json *j, const struct nof_discovery_service *s)
{
	json_object(j, NULL);
	json_string(j, "traddr", s->traddr);
	json_string(j, "trsvcid", s->trsvcid);
	json_string(j, "subnqn", s->subnqn);
	json_u64(j, "depth", s->depth);
	json_u64(j, "parent", s->parent);
	json_u64(j, "genctr", s->genctr);
	json_u64(j, "records", s->records);
	json_i64(j, "error", s->error);
	json_string(j, "detail", s->detail);
	json_object_end(j);
}

void json_entry(struct json *j, const struct nof_discovery_entry *e)
{
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
	json_u64(j, "treq", e->treq);
	json_u64(j, "eflags", e->eflags);
	json_u64(j, "service", e->service);
	json_object_end(j);
}

static void json_discovery(struct json *j, const struct nof_discovery_log *log)
{
	size_t i;

	json_object(j, "discovery");
	json_u64(j, "genctr", log->genctr);
	json_u64(j, "total", log->total);
	json_array(j, "entries");
	for (i = 0; i < log->count; i++)
		json_entry(j, &log->entries[i]);
	json_array_end(j);
	json_array(j, "services");
	for (i = 0; i < log->nservices; i++)
		json_service(j, &log->services[i]);
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
		json_u64(&j, "bytes", info->ns[0].info.bytes);
	} else if (info->what == SHOW_PATHS) {
		json_transport(&j, "transport", &info->transport);
		json_queues(&j, info);
		json_array(&j, "namespaces");
		for (i = 0; i < info->ns_count; i++) {
			json_object(&j, NULL);
			json_u64(&j, "nsid", info->ns[i].info.nsid);
			json_paths(&j, info->ns[i].ns);
			json_object_end(&j);
		}
		json_array_end(&j);
	} else {
		if (info->what == SHOW_ALL) {
			json_controller(&j, info);
			json_transport(&j, "transport", &info->transport);
		}
		if (info->log)
			json_discovery(&j, info->log);
		json_array(&j, "namespaces");
		for (i = 0; i < info->ns_count; i++)
			json_space(&j, NULL, &info->ns[i]);
		json_array_end(&j);
	}
	json_object_end(&j);
	return json_finish(&j);
}
