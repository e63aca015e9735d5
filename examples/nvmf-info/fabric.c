/* SPDX-License-Identifier: MIT */
/*
 * --connect-all: every controller that the URIs stand for, and which of them lead to the same
 * namespaces.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/expand.h"
#include "info.h"

struct member {
	const struct tool_target *target;
	struct nof_ctrl *ctrl;
	struct nof_ctrl_info info;
	int error; /* it is not connected: why is in detail */
	char detail[512];
};

/* A namespace, over all controllers that have it. */
struct volume {
	struct space space;
	char subnqn[224];
};

struct fabric {
	struct nof_loop *loop;
	struct tool_targets targets;
	struct member *members; /* one for each target */
	size_t connected;
	struct volume *volumes;
	size_t volume_count, room;
};

static int failed(struct member *m, int error)
{
	m->error = error;
	snprintf(m->detail, sizeof(m->detail), "%s", nof_strerror_detail());
	return error;
}

static bool is_same(const struct volume *v, const struct member *m, const struct nof_ns_info *n)
{
	const struct nof_ns_info *a = &v->space.info;

	if (strcmp(v->subnqn, m->info.subnqn))
		return false;
	if (a->has_uuid && n->has_uuid)
		return !memcmp(a->uuid, n->uuid, sizeof(a->uuid));
	if (a->has_nguid && n->has_nguid)
		return !memcmp(a->nguid, n->nguid, sizeof(a->nguid));
	return a->nsid == n->nsid;
}

static int keep(struct fabric *f, const struct member *m, struct nof_ns *ns,
		const struct nof_ns_info *info)
{
	struct volume *more, *v;

	if (f->volume_count == f->room) {
		f->room = f->room ? f->room * 2 : 8;
		more = realloc(f->volumes, f->room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		f->volumes = more;
	}
	v = &f->volumes[f->volume_count++];
	v->space = (struct space){ .ns = ns, .info = *info };
	memcpy(v->subnqn, m->info.subnqn, sizeof(v->subnqn));
	return 0;
}

static int take_namespace(struct fabric *f, struct member *m, uint32_t nsid)
{
	struct nof_ns_info info = { .size = sizeof(info) };
	struct nof_ns *ns;
	char id[16];
	size_t i;
	int ret;

	snprintf(id, sizeof(id), "%u", nsid);
	ret = nof_ns_open_sync(m->ctrl, id, &ns);
	/* One with a foreign format hides nothing of the others. */
	if (ret == -ENOTSUP)
		return 0;
	if (ret < 0)
		return failed(m, ret);
	nof_ns_get_info(ns, &info);
	for (i = 0; i < f->volume_count; i++) {
		if (!is_same(&f->volumes[i], m, &info))
			continue;
		nof_ns_close(ns);
		ret = nof_ns_add_path_sync(f->volumes[i].space.ns, m->ctrl);
		return ret < 0 ? failed(m, ret) : 0;
	}
	ret = keep(f, m, ns, &info);
	if (ret < 0)
		nof_ns_close(ns);
	return ret;
}

static int take_namespaces(struct fabric *f, struct member *m)
{
	int count = nof_ctrl_get_nsids(m->ctrl, NULL, 0), i, ret = 0;
	uint32_t *ids;

	if (count <= 0)
		return count < 0 ? failed(m, count) : 0;
	ids = calloc((size_t)count, sizeof(*ids));
	if (!ids)
		return -ENOMEM;
	i = nof_ctrl_get_nsids(m->ctrl, ids, (size_t)count);
	count = i < count ? i : count;
	for (i = 0; i < count && ret == 0; i++)
		ret = take_namespace(f, m, ids[i]);
	free(ids);
	return ret;
}

static int connect_member(struct fabric *f, struct member *m)
{
	int ret;

	if (m->target->error) {
		m->error = m->target->error;
		snprintf(m->detail, sizeof(m->detail), "%s", m->target->detail);
		return m->error;
	}
	ret = nof_ctrl_new(f->loop, &m->target->opts, NULL, NULL, &m->ctrl);
	if (ret == 0)
		ret = nof_ctrl_connect_sync(m->ctrl);
	if (ret < 0)
		return failed(m, ret);
	m->info.size = sizeof(m->info);
	ret = nof_ctrl_get_info(m->ctrl, &m->info);
	if (ret < 0)
		return failed(m, ret);
	f->connected++;
	return take_namespaces(f, m);
}

static int connect_all(struct fabric *f, char **uris, size_t count)
{
	struct nof_opts opts;
	size_t i;

	for (i = 0; i < count; i++) {
		info_opts(&opts);
		if (nof_uri_parse(uris[i], &opts) < 0)
			return tool_error(TOOL_USAGE, "%s", nof_strerror_detail());
		if (tool_expand(&f->targets, f->loop, &opts, uris[i]) < 0)
			return tool_error(TOOL_FAILED, "%s", f->targets.error);
	}
	f->members = calloc(f->targets.count + 1, sizeof(*f->members));
	if (!f->members)
		return tool_error(TOOL_FAILED, "no memory for %zu controllers.", f->targets.count);
	for (i = 0; i < f->targets.count; i++) {
		f->members[i].target = &f->targets.list[i];
		connect_member(f, &f->members[i]);
	}
	if (f->connected)
		return 0;
	return tool_error(TOOL_FAILED, "%s", f->members[0].detail);
}

static void print_fabric(const struct fabric *f)
{
	size_t i, k;

	for (i = 0; i < f->targets.count; i++) {
		const struct member *m = &f->members[i];

		if (m->error)
			printf("controller   -, %s: %s\n", m->target->uri, m->detail);
		else
			printf("controller   %u of %s, %s\n", m->info.cntlid, m->info.subnqn,
			       m->target->uri);
	}
	for (i = 0; i < f->volume_count; i++) {
		/* Those of one subsystem together, in the order in which they came. */
		for (k = 0; k < i; k++)
			if (!strcmp(f->volumes[k].subnqn, f->volumes[i].subnqn))
				break;
		if (k < i)
			continue;
		printf("subsystem    %s\n", f->volumes[i].subnqn);
		for (k = i; k < f->volume_count; k++)
			if (!strcmp(f->volumes[k].subnqn, f->volumes[i].subnqn))
				print_space(&f->volumes[k].space);
	}
}

static bool print_document(const struct fabric *f)
{
	struct json j;
	size_t i;

	json_init(&j, stdout);
	json_object(&j, NULL);
	json_array(&j, "controllers");
	for (i = 0; i < f->targets.count; i++) {
		const struct member *m = &f->members[i];

		json_object(&j, NULL);
		json_string(&j, "uri", m->target->uri);
		json_i64(&j, "error", m->error);
		json_string(&j, "detail", m->detail);
		if (m->info.size) {
			json_string(&j, "subnqn", m->info.subnqn);
			json_u64(&j, "cntlid", m->info.cntlid);
			json_string(&j, "state",
				    nof_ctrl_state_name(nof_ctrl_get_state(m->ctrl)));
		}
		json_object_end(&j);
	}
	json_array_end(&j);
	json_array(&j, "namespaces");
	for (i = 0; i < f->volume_count; i++)
		json_space(&j, f->volumes[i].subnqn, &f->volumes[i].space);
	json_array_end(&j);
	json_object_end(&j);
	return json_finish(&j);
}

static void free_fabric(struct fabric *f)
{
	size_t i;

	for (i = 0; i < f->volume_count; i++)
		nof_ns_close(f->volumes[i].space.ns);
	for (i = 0; f->members && i < f->targets.count; i++) {
		struct nof_ctrl *ctrl = f->members[i].ctrl;

		if (ctrl && nof_ctrl_get_state(ctrl) == NOF_CTRL_LIVE)
			nof_ctrl_disconnect_sync(ctrl);
		nof_ctrl_free(ctrl);
	}
	free(f->volumes);
	free(f->members);
	tool_targets_free(&f->targets);
	nof_loop_free(f->loop);
}

int fabric(char **uris, size_t count, bool wants_json)
{
	struct fabric f = { .loop = NULL };
	int ret;

	if (nof_loop_new(NULL, &f.loop) < 0)
		return tool_error(TOOL_FAILED, "%s", nof_strerror_detail());
	ret = connect_all(&f, uris, count);
	if (ret == 0 && wants_json)
		ret = print_document(&f) ? 0 : tool_output_failed();
	else if (ret == 0)
		print_fabric(&f);
	free_fabric(&f);
	return ret;
}
