/* SPDX-License-Identifier: MIT */
/*
 * The connections of a controller: a table of subflows for each queue and for all together, and
 * what the kernel's path manager is told to do.
 */
#include <string.h>

#include "info.h"

#define SETTLE_MS  1000 /* longest wait for subflows that this host is told to make */
#define OFFERED_MS 500	/* for those that only the target may offer */

/* Subflows that the kernel starts of its own accord; the first one's own endpoint starts none. */
static unsigned int own_subflows(const struct nof_mptcp_status *s, const struct nof_transport *t)
{
	const char *local = t->subflow_count ? t->subflows[0].local : "";
	unsigned int i, n = 0;

	local += local[0] == '[';
	for (i = 0; i < s->endpoint_count && i < NOF_ENDPOINTS_MAX; i++) {
		const struct nof_mptcp_endpoint *e = &s->endpoints[i];
		size_t len = strlen(e->addr);

		if ((e->is_subflow || e->is_fullmesh) &&
		    (strncmp(local, e->addr, len) != 0 || !strchr(":]", local[len])))
			n++;
	}
	return n < s->subflows_max ? n : s->subflows_max;
}

/* The kernel also counts subflows whose SYN has no answer yet: they have no round trip. */
bool subflow_is_made(const struct nof_subflow *s)
{
	return s->rtt_us > 0;
}

unsigned int subflows_made(const struct nof_transport *t)
{
	unsigned int i, n = 0;

	for (i = 0; i < t->subflow_count && i < NOF_SUBFLOWS_MAX; i++)
		n += subflow_is_made(&t->subflows[i]);
	return n ? n : t->subflow_count > 0;
}

/* The fewest subflows that an MPTCP connection here has; 0: none is MPTCP. */
static unsigned int fewest(const struct info *info)
{
	unsigned int i, made, n = 0;

	for (i = 0; i < info->queue_count; i++) {
		made = subflows_made(&info->queues[i]);
		if (info->queues[i].is_mptcp && (!n || made < n))
			n = made;
	}
	return n;
}

static int read_queues(struct info *info)
{
	int n;

	info->queues[0].size = sizeof(info->queues[0]);
	n = nof_ctrl_get_transports(info->ctrl, info->queues, INFO_MAX_QUEUES);
	if (n < 0)
		return n;
	info->queue_count = n < INFO_MAX_QUEUES ? (unsigned int)n : INFO_MAX_QUEUES;
	return 0;
}

/*
 * The kernel makes further subflows once the first has carried data: what is read right after
 * connecting would show fewer paths than there are a moment later.
 */
int queues_settle(struct info *info)
{
	uint64_t start = tool_now(), limit_ms;
	unsigned int own;
	int ret;

	for (;;) {
		/* mptcp_paths may be adding endpoints right now. */
		info->status.size = sizeof(info->status);
		if (nof_mptcp_get_status(&info->status) < 0)
			memset(&info->status, 0, sizeof(info->status));
		ret = read_queues(info);
		if (ret < 0 || !info->queue_count || !fewest(info))
			break;
		own = own_subflows(&info->status, &info->queues[0]);
		limit_ms = own ? SETTLE_MS :
			   info->opts.mptcp_paths[0] || info->status.add_addr_accepted_max ?
				 OFFERED_MS :
				 0;
		if (fewest(info) > (own ? own : 1) || tool_now() - start >= limit_ms * 1000000)
			break;
		ret = nof_loop_wait(info->loop, 10);
		if (ret < 0)
			break;
	}
	info->total.size = sizeof(info->total);
	return ret < 0 ? ret : nof_transport_sum(info->queues, info->queue_count, &info->total);
}

/* Text in lines of a terminal's width; all but the first begin with so many blanks. */
void print_wrapped(const char *label, unsigned int indent, const char *text)
{
	size_t column = indent, n;

	printf("%-*s", (int)indent, label);
	for (; *text; text += n + strspn(text + n, " ")) {
		n = strcspn(text, " ");
		if (column > indent && column + 1 + n > 96) {
			printf("\n%*s", (int)indent, "");
			column = indent;
		}
		column += (size_t)printf("%s%.*s", column > indent ? " " : "", (int)n, text);
	}
	putchar('\n');
}

static const char *format_time(char *buf, size_t len, uint32_t us)
{
	if (us < 10000)
		snprintf(buf, len, "%u.%02u ms", us / 1000, us / 10 % 100);
	else
		snprintf(buf, len, "%u ms", us / 1000);
	return buf;
}

static void print_table(const struct nof_transport *t)
{
	char sent[32], received[32], rtt[32], rto[32];
	unsigned int i;

	printf("  %-6s  %10s  %10s  %6s  %7s  %9s  %9s  %5s  %s\n", "STATE", "SENT", "RECEIVED",
	       "SHARE", "RETRANS", "RTT", "RTO", "CWND", "FROM -> TO");
	for (i = 0; i < t->subflow_count && i < NOF_SUBFLOWS_MAX; i++) {
		const struct nof_subflow *s = &t->subflows[i];

		printf("  %-6s  %10s  %10s  %4u.%u%%  %6u  %9s  %9s  %5u  %s -> %s\n",
		       subflow_is_made(s) ? nof_subflow_state_name(s->state) : "joins",
		       tool_format_bytes(sent, sizeof(sent), (double)s->bytes_sent),
		       tool_format_bytes(received, sizeof(received), (double)s->bytes_received),
		       s->share_permille / 10, s->share_permille % 10, s->retransmits,
		       format_time(rtt, sizeof(rtt), s->rtt_us),
		       format_time(rto, sizeof(rto), s->rto_us), s->cwnd, s->local, s->peer);
	}
	if (t->subflow_count > NOF_SUBFLOWS_MAX)
		printf("  (%u more)\n", t->subflow_count - NOF_SUBFLOWS_MAX);
}

static void print_notes(const struct nof_transport *t)
{
	if (t->reason[0])
		printf(": %s", t->reason);
	if (t->note[0])
		printf(" (%s)", t->note);
	putchar('\n');
}

static void print_queue(const struct nof_transport *t)
{
	char name[16];

	snprintf(name, sizeof(name), t->qid ? "I/O queue %u" : "admin queue", t->qid);
	printf("%-12s %s, %u path%s", name, t->is_mptcp ? "MPTCP" : "TCP", subflows_made(t),
	       subflows_made(t) == 1 ? "" : "s");
	print_notes(t);
	print_table(t);
}

void print_queues(const struct info *info)
{
	unsigned int i;

	for (i = 0; i < info->queue_count; i++)
		print_queue(&info->queues[i]);
	if (info->queue_count > 1) {
		printf("all queues   %u of %u connections are MPTCP; by pair of addresses:\n",
		       info->total.mptcp_connections, info->total.connections);
		print_table(&info->total);
	}
	puts("             (of this short look; nvmf-perf shows the same under load)");
}

void print_path_manager(const struct nof_mptcp_status *s)
{
	unsigned int i;

	if (!s->is_supported)
		return;
	printf("endpoints    %s\n", s->endpoint_count ? "" : "none");
	for (i = 0; i < s->endpoint_count && i < NOF_ENDPOINTS_MAX; i++) {
		const struct nof_mptcp_endpoint *e = &s->endpoints[i];

		printf("  %-10u %s%s%s%s%s%s%s\n", e->id, e->addr, e->dev[0] ? " on " : "", e->dev,
		       e->is_subflow ? ", starts subflows" : "",
		       e->is_signal ? ", is announced" : "", e->is_backup ? ", backup" : "",
		       e->is_fullmesh ? ", to every address of the target" : "");
	}
	printf("limits       %u subflow%s beside the first, %u address%s accepted from the "
	       "target\n",
	       s->subflows_max, s->subflows_max == 1 ? "" : "s", s->add_addr_accepted_max,
	       s->add_addr_accepted_max == 1 ? "" : "es");
	if (s->is_userspace_pm)
		puts("             (both without effect: a program manages the paths, if one "
		     "runs)");
}

void json_path_manager(struct json *j, const struct nof_mptcp_status *s)
{
	unsigned int i;

	json_object(j, "path_manager");
	json_bool(j, "is_supported", s->is_supported);
	json_bool(j, "is_enabled", s->is_enabled);
	json_string(j, "reason", s->reason);
	json_bool(j, "can_configure", s->can_configure);
	json_bool(j, "is_userspace", s->is_userspace_pm);
	json_object(j, "limits");
	json_u64(j, "subflows", s->subflows_max);
	json_u64(j, "add_addr_accepted", s->add_addr_accepted_max);
	json_object_end(j);
	json_array(j, "endpoints");
	for (i = 0; i < s->endpoint_count && i < NOF_ENDPOINTS_MAX; i++) {
		const struct nof_mptcp_endpoint *e = &s->endpoints[i];

		json_object(j, NULL);
		json_u64(j, "id", e->id);
		json_string(j, "address", e->addr);
		json_string(j, "dev", e->dev);
		json_bool(j, "is_subflow", e->is_subflow);
		json_bool(j, "is_signal", e->is_signal);
		json_bool(j, "is_backup", e->is_backup);
		json_bool(j, "is_fullmesh", e->is_fullmesh);
		json_object_end(j);
	}
	json_array_end(j);
	json_object_end(j);
}

void json_transport(struct json *j, const char *key, const struct nof_transport *t)
{
	unsigned int i;

	json_object(j, key);
	json_u64(j, "qid", t->qid);
	json_bool(j, "is_mptcp", t->is_mptcp);
	json_string(j, "protocol", t->is_mptcp ? "mptcp" : "tcp");
	json_string(j, "reason", t->reason);
	json_string(j, "note", t->note);
	json_u64(j, "token", t->token);
	json_u64(j, "connections", t->connections);
	json_u64(j, "mptcp_connections", t->mptcp_connections);
	json_u64(j, "bytes_sent", t->bytes_sent);
	json_u64(j, "bytes_received", t->bytes_received);
	json_u64(j, "bytes_reinjected", t->bytes_reinjected);
	json_u64(j, "retransmits", t->retransmits);
	json_u64(j, "subflows_max", t->subflows_max);
	json_u64(j, "subflow_count", t->subflow_count);
	json_array(j, "subflows");
	for (i = 0; i < t->subflow_count && i < NOF_SUBFLOWS_MAX; i++) {
		const struct nof_subflow *s = &t->subflows[i];

		json_object(j, NULL);
		json_u64(j, "id", s->id);
		json_string(j, "local", s->local);
		json_string(j, "peer", s->peer);
		json_string(j, "state", nof_subflow_state_name(s->state));
		json_bool(j, "is_established", subflow_is_made(s));
		json_u64(j, "bytes_sent", s->bytes_sent);
		json_u64(j, "bytes_received", s->bytes_received);
		json_double(j, "share", s->share_permille / 1000.0);
		json_u64(j, "retransmits", s->retransmits);
		json_u64(j, "rtt_us", s->rtt_us);
		json_u64(j, "rto_us", s->rto_us);
		json_u64(j, "cwnd", s->cwnd);
		json_object_end(j);
	}
	json_array_end(j);
	json_object_end(j);
}

void json_queues(struct json *j, const struct info *info)
{
	unsigned int i;

	json_array(j, "queues");
	for (i = 0; i < info->queue_count; i++)
		json_transport(j, NULL, &info->queues[i]);
	json_array_end(j);
	json_transport(j, "total", &info->total);
	json_path_manager(j, &info->status);
}
