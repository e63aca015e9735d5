/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "../common/json.h"
#include "copy.h"

static void report_paths(struct json *j, const struct end *end)
{
	const struct path *path;

	json_array(j, "paths");
	for (path = end->paths; path; path = path->next) {
		json_object(j, NULL);
		json_string(j, "uri", path->uri);
		json_string(j, "state", nof_path_state_name(path->io.state));
		json_string(j, "ana_state", nof_ana_state_name(path->io.ana));
		json_u64(j, "commands", path->io.commands);
		json_u64(j, "bytes", path->io.bytes);
		json_u64(j, "retries", path->io.retries);
		json_u64(j, "failovers", path->io.failovers);
		json_u64(j, "reconnects", path->stats.reconnects);
		json_object_end(j);
	}
	json_array_end(j);
}

static void report_end(struct json *j, const char *key, const struct end *end)
{
	const struct nof_transport *t = &end->transport;

	json_object(j, key);
	json_string(j, "name", end->name ? end->name : "");
	json_string(j, "kind", end_kind_name(end));
	if (end->size == COPY_UNKNOWN)
		json_null(j, "bytes");
	else
		json_u64(j, "bytes", end->size);
	json_u64(j, "block_size", end->align);
	if (end->kind == END_NS) {
		json_u64(j, "nsid", end->info.nsid);
		json_string(j, "subnqn", end->ctrl_info.subnqn);
		json_string(j, "protocol", t->is_mptcp ? "mptcp" : "tcp");
		json_string(j, "reason", t->reason);
		report_paths(j, end);
	}
	json_object_end(j);
}

static double seconds(uint64_t ns)
{
	return (double)ns / (double)NSEC_PER_SEC;
}

bool report_json(const struct copy *c, int code, FILE *out)
{
	uint64_t moved = c->written + c->zeroed;
	struct json j;

	json_init(&j, out);
	json_object(&j, NULL);
	json_bool(&j, "complete", c->is_complete);
	json_bool(&j, "interrupted", c->is_interrupted);
	json_string(&j, "error", code ? c->error : "");
	report_end(&j, "source", &c->src);
	report_end(&j, "destination", &c->dst);
	json_u64(&j, "good_bytes", c->good);
	json_u64(&j, "written_bytes", c->written);
	json_u64(&j, "zeroed_bytes", c->zeroed);
	json_double(&j, "seconds", seconds(c->ns_copy));
	json_double(&j, "flush_seconds", seconds(c->ns_flush));
	json_double(&j, "bytes_per_second", c->ns_copy ? (double)moved / seconds(c->ns_copy) : 0.0);
	if (c->o->verify) {
		json_object(&j, "verify");
		if (c->verdict < 0)
			json_null(&j, "same");
		else
			json_bool(&j, "same", c->verdict);
		json_string(&j, "sha256", c->sha256);
		json_u64(&j, "bytes", c->verified);
		if (c->mismatch != COPY_UNKNOWN)
			json_u64(&j, "first_difference", c->mismatch);
		json_double(&j, "seconds", seconds(c->ns_verify));
		json_object_end(&j);
	}
	json_object_end(&j);
	return json_finish(&j);
}
