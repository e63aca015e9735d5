/* SPDX-License-Identifier: MIT */
/*
 * Looks at this host and at the connection, and says what stands between them and several paths:
 * first what is so, then each finding with what changes it.
 */
#include <string.h>

#include "doctor.h"

static const char *const level_names[] = { "problem", "advice", "note" };

static void print_host(const struct facts *f)
{
	const struct nof_mptcp_status *s = &f->status;
	unsigned int i;

	printf("this host    %s; %u link%s%s\n",
	       f->sysctl.enabled > 0  ? "MPTCP is enabled" :
	       f->sysctl.enabled == 0 ? "MPTCP is switched off" :
					"the kernel has no MPTCP",
	       f->links, f->links == 1 ? "" : "s",
	       s->can_configure ? "" : ", and no permission to configure them");
	for (i = 0; i < f->ways_count; i++) {
		const struct way *w = &f->ways[i];

		printf("  address    %s on %s%s%s", w->addr, w->dev,
		       !w->is_up       ? ", down" :
		       !w->has_carrier ? ", no carrier" :
					 "",
		       w->is_used ? ", in use" : "");
		if (w->route.speed_mbit && w->has_carrier)
			printf(", %u Mbit/s", w->route.speed_mbit);
		printf("%s\n", w->endpoint >= 0 ? ", an endpoint" : "");
	}
	print_path_manager(s);
	if (!f->peer[0])
		return;
	if (f->route_error)
		printf("route        none to %s\n", f->peer);
	else
		printf("route        to %s by %s, from %s, MTU %u, RTO floor %u.%u ms\n", f->peer,
		       f->route.dev, f->route.source, f->route.mtu, f->rto_min_us / 1000,
		       f->rto_min_us / 100 % 10);
}

static void print_finding(const struct finding *n, unsigned int number)
{
	const struct {
		const char *title;
		bool on_target;
	} sides[] = { { "run here", false }, { "run on the target", true } };
	unsigned int i, side;
	char label[16];

	snprintf(label, sizeof(label), "%u.", number);
	print_wrapped(label, 3, n->what);
	for (side = 0; side < 2; side++) {
		bool is_first = true;

		for (i = 0; i < n->count; i++) {
			if (n->commands[i].on_target != sides[side].on_target)
				continue;
			if (is_first)
				printf("   %s:\n", sides[side].title);
			is_first = false;
			printf("      %s\n", n->commands[i].text);
		}
	}
	if (n->cost[0]) {
		char text[256];

		snprintf(text, sizeof(text), "cost: %s", n->cost);
		print_wrapped("", 3, text);
	}
}

static void print_findings(const struct facts *f, const struct findings *list)
{
	static const char *const heads[] = {
		"What is wrong:",
		"What would be better:",
		"Worth knowing:",
	};
	const struct nof_transport *t = &f->info->transport;
	unsigned int i;

	if (f->error)
		puts("\nThere is no connection.");
	else if (t->is_mptcp && f->is_loopback)
		puts("\nMPTCP is in use. The connection stays on this host: one path is all there "
		     "is.");
	else if (t->is_mptcp && f->subflows > 1)
		printf("\nMPTCP is in use, over %u paths.\n", f->subflows);
	else if (t->is_mptcp)
		puts("\nMPTCP is in use, over one path.");
	if (!list->count && !f->error)
		puts("Nothing to change.");
	for (i = 0; i < list->count; i++) {
		if (i == 0 || list->list[i].level != list->list[i - 1].level)
			printf("\n%s\n", heads[list->list[i].level]);
		print_finding(&list->list[i], i + 1);
	}
}

static void json_number(struct json *j, const char *key, long value)
{
	if (value < 0)
		json_null(j, key);
	else
		json_i64(j, key, value);
}

static void json_sysctls(struct json *j, const struct sysctls *s)
{
	unsigned int i;

	json_object(j, "sysctl");
	json_number(j, "net.mptcp.enabled", s->enabled);
	json_number(j, "net.mptcp.pm_type", s->pm_type);
	json_string(j, "net.mptcp.path_manager", s->path_manager);
	json_string(j, "net.mptcp.scheduler", s->scheduler);
	json_number(j, "net.mptcp.stale_loss_cnt", s->stale_loss_cnt);
	json_number(j, "net.mptcp.blackhole_timeout", s->blackhole_timeout);
	json_number(j, "net.mptcp.add_addr_timeout", s->add_addr_timeout);
	json_number(j, "net.mptcp.close_timeout", s->close_timeout);
	json_number(j, "net.mptcp.allow_join_initial_addr_port", s->allow_join_initial_addr_port);
	json_number(j, "net.mptcp.checksum_enabled", s->checksum_enabled);
	json_number(j, "net.ipv4.tcp_rto_min_us", s->rto_min_us);
	json_string(j, "net.ipv4.tcp_congestion_control", s->congestion);
	json_array(j, "net.ipv4.tcp_rmem");
	for (i = 0; i < 3; i++)
		json_number(j, NULL, s->rmem[i]);
	json_array_end(j);
	json_array(j, "net.ipv4.tcp_wmem");
	for (i = 0; i < 3; i++)
		json_number(j, NULL, s->wmem[i]);
	json_array_end(j);
	json_object_end(j);
}

static void json_route(struct json *j, const char *key, int error, const struct nof_route *r)
{
	if (error) {
		json_null(j, key);
		return;
	}
	json_object(j, key);
	json_string(j, "dev", r->dev);
	json_string(j, "source", r->source);
	json_string(j, "gateway", r->gateway);
	json_u64(j, "mtu", r->mtu);
	json_u64(j, "rto_min_us", r->rto_min_us);
	json_u64(j, "speed_mbit", r->speed_mbit);
	json_bool(j, "has_carrier", r->has_carrier);
	json_object_end(j);
}

static void json_host(struct json *j, const struct facts *f)
{
	unsigned int i;

	json_object(j, "host");
	json_bool(j, "has_mptcp", f->sysctl.enabled >= 0);
	json_bool(j, "mptcp_enabled", f->sysctl.enabled > 0);
	json_bool(j, "can_configure", f->status.can_configure);
	json_u64(j, "links", f->links);
	json_array(j, "addresses");
	for (i = 0; i < f->ways_count; i++) {
		const struct way *w = &f->ways[i];

		json_object(j, NULL);
		json_string(j, "address", w->addr);
		json_string(j, "dev", w->dev);
		json_bool(j, "is_up", w->is_up);
		json_bool(j, "has_carrier", w->has_carrier);
		json_bool(j, "is_used", w->is_used);
		json_bool(j, "is_endpoint", w->endpoint >= 0);
		json_route(j, "route", w->route_error, &w->route);
		json_object_end(j);
	}
	json_array_end(j);
	json_path_manager(j, &f->status);
	json_route(j, "route", f->route_error, &f->route);
	json_u64(j, "rto_min_us", f->rto_min_us);
	json_u64(j, "buffer_wanted", f->buffer_wanted);
	json_sysctls(j, &f->sysctl);
	json_object_end(j);
}

static void json_finding(struct json *j, const struct finding *n)
{
	unsigned int i;

	json_object(j, NULL);
	json_string(j, "id", n->id);
	json_string(j, "level", level_names[n->level]);
	json_string(j, "what", n->what);
	json_array(j, "commands");
	for (i = 0; i < n->count; i++) {
		json_object(j, NULL);
		json_string(j, "where", n->commands[i].on_target ? "target" : "host");
		json_string(j, "command", n->commands[i].text);
		json_bool(j, "is_pattern", n->commands[i].is_pattern);
		json_object_end(j);
	}
	json_array_end(j);
	json_string(j, "cost", n->cost);
	json_object_end(j);
}

static bool print_document(const struct facts *f, const struct findings *list)
{
	struct json j;
	unsigned int i;

	json_init(&j, stdout);
	json_object(&j, NULL);
	if (f->error)
		json_string(&j, "error", f->error);
	else
		json_null(&j, "error");
	json_host(&j, f);
	if (!f->error)
		json_transport(&j, "transport", &f->info->transport);
	json_array(&j, "findings");
	for (i = 0; i < list->count; i++)
		json_finding(&j, &list->list[i]);
	json_array_end(&j);
	json_object_end(&j);
	return json_finish(&j);
}

int doctor(const struct info *info, const char *error)
{
	static struct findings list;
	static struct facts facts;
	int ret = TOOL_OK;

	doctor_look(&facts, info, error);
	doctor_judge(&facts, &list);
	if (info->json) {
		if (!print_document(&facts, &list))
			ret = tool_output_failed();
	} else {
		print_host(&facts);
		if (!error)
			print_transport(&info->transport);
		print_findings(&facts, &list);
	}
	doctor_free(&list);
	if (error && ret == TOOL_OK && fflush(stdout) == 0)
		ret = tool_error(TOOL_FAILED, "%s", error);
	return ret;
}
