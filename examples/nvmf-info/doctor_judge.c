/* SPDX-License-Identifier: MIT */
/*
 * What of the facts stands between this host and several paths that replace each other quickly,
 * and the command that changes it. A finding is there only if its command would make it go away.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

#define LIMIT_MAX    8	   /* the kernel's, for subflows and for addresses */
#define RTO_FLOOR_US 20000 /* measured to be short enough for storage, and longer than most RTTs */

static struct finding *add(struct findings *out, enum level level, const char *id, const char *fmt,
			   ...) __attribute__((format(printf, 4, 5)));
static void run(struct finding *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void run_on_target(struct finding *n, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void free_commands(struct finding *n)
{
	while (n->count)
		free(n->commands[--n->count].text);
}

void doctor_free(struct findings *findings)
{
	while (findings->count)
		free_commands(&findings->list[--findings->count]);
}

/*
 * Behind those that are as important or more. What there is no room
 * for takes the place of the least important.
 */
static struct finding *add(struct findings *out, enum level level, const char *id, const char *fmt,
			   ...)
{
	struct finding *n;
	unsigned int i;
	va_list ap;

	if (out->count == FINDINGS_MAX)
		free_commands(&out->list[--out->count]);
	for (i = out->count; i > 0 && out->list[i - 1].level > level; i--)
		out->list[i] = out->list[i - 1];
	n = &out->list[i];
	out->count++;
	memset(n, 0, sizeof(*n));
	n->level = level;
	n->id = id;
	va_start(ap, fmt);
	vsnprintf(n->what, sizeof(n->what), fmt, ap);
	va_end(ap);
	return n;
}

static void add_command(struct finding *n, bool on_target, const char *fmt, va_list ap)
{
	if (n->count == COMMANDS_MAX || vasprintf(&n->commands[n->count].text, fmt, ap) < 0)
		return;
	n->commands[n->count].on_target = on_target;
	n->count++;
}

static void run(struct finding *n, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_command(n, false, fmt, ap);
	va_end(ap);
}

static void run_on_target(struct finding *n, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_command(n, true, fmt, ap);
	va_end(ap);
}

/* The last command has words in capitals that only the reader knows. */
static void is_pattern(struct finding *n)
{
	if (n->count)
		n->commands[n->count - 1].is_pattern = true;
}

static void costs(struct finding *n, const char *text)
{
	snprintf(n->cost, sizeof(n->cost), "%s", text);
}

/* uri without a key of it, in place. */
static void drop_key(char *uri, const char *key)
{
	size_t len = strlen(key), n;
	char *p = strchr(uri, '?');

	while (p && (strncmp(p + 1, key, len) != 0 || p[1 + len] != '='))
		p = strchr(p + 1, '&');
	if (!p)
		return;
	n = strcspn(p + 1, "&");
	if (p[1 + n] == '&')
		memmove(p + 1, p + 2 + n, strlen(p + 2 + n) + 1);
	else
		*p = '\0';
}

/* The command that looks again without one or two keys. */
static void run_without(struct finding *n, const char *uri, const char *key, const char *other)
{
	char *copy = strdup(uri);

	if (!copy)
		return;
	drop_key(copy, key);
	if (other)
		drop_key(copy, other);
	run(n, "nvmf-info --doctor '%s'", copy);
	free(copy);
}

static bool is_userspace_pm(const struct facts *f)
{
	return f->status.is_userspace_pm || f->sysctl.pm_type == 1 ||
	       !strcmp(f->sysctl.path_manager, "userspace");
}

/* Why there is no connection, as far as this host can tell. */
static void judge_unreachable(const struct facts *f, struct findings *out)
{
	struct finding *n;
	unsigned int i;

	if (f->route_error && f->peer[0])
		add(out, LEVEL_PROBLEM, "no-route", "This host has no route to the target %s.",
		    f->peer);
	for (i = 0; i < f->ways_count; i++) {
		const struct way *w = &f->ways[i];

		if (w->shares_link || w->is_up)
			continue;
		n = add(out, LEVEL_PROBLEM, "link-down", "%s, which has the address %s, is down.",
			w->dev, w->addr);
		run(n, "ip link set %s up", w->dev);
	}
}

/* Why it is TCP. False when it is so because this host wants it. */
static void judge_protocol(const struct facts *f, struct findings *out)
{
	const struct nof_transport *t = &f->info->transport;
	struct finding *n;

	if (f->info->opts.mptcp == NOF_MPTCP_OFF) {
		n = add(out, LEVEL_PROBLEM, "uri-off",
			"The URI says mptcp=off: leave it out to get MPTCP.");
		run_without(n, f->info->uri, "mptcp", NULL);
	}
	if (f->sysctl.enabled < 0) {
		n = add(out, LEVEL_PROBLEM, "no-mptcp",
			"This kernel has no MPTCP: Linux 5.6 or later with CONFIG_MPTCP is "
			"wanted; libnof then finds it by itself.");
		return;
	}
	if (f->sysctl.enabled == 0) {
		n = add(out, LEVEL_PROBLEM, "mptcp-disabled",
			"MPTCP is switched off on this host.");
		run(n, "sysctl -w net.mptcp.enabled=1");
		costs(n, "nothing: programs that do not ask for MPTCP do not get it.");
		return;
	}
	if (t->is_mptcp || f->info->opts.mptcp == NOF_MPTCP_OFF)
		return;
	if (f->error && f->info->opts.mptcp != NOF_MPTCP_REQUIRE)
		return;
	if (f->is_blackholed) {
		n = add(out, LEVEL_PROBLEM, "blackhole",
			"This kernel has stopped asking for MPTCP for a while, because "
			"something on the way swallowed its connection attempts. The command "
			"makes it try again; if the finding comes back, look for a firewall "
			"that drops TCP options it does not know.");
		run(n, "sysctl -w net.mptcp.blackhole_timeout=%ld",
		    f->sysctl.blackhole_timeout < 0 ? 3600 : f->sysctl.blackhole_timeout);
		costs(n, "the next connection takes some seconds if the way is still closed.");
		return;
	}
	n = add(out, LEVEL_PROBLEM, "target-tcp",
		"This host offers MPTCP and got TCP (%s). First look at the target: MPTCP must be "
		"enabled there, and the program must listen on an MPTCP socket: mptcpize starts "
		"one that does not know of it (mptcpize enable UNIT for a systemd service).",
		t->reason[0] ? t->reason : "no reason is known");
	run_on_target(n, "sysctl -w net.mptcp.enabled=1");
	run_on_target(n, "mptcpize run TARGET-PROGRAM ARGUMENTS");
	is_pattern(n);
}

/* The kernel may start a subflow from there. */
static bool is_start(const struct facts *f, const struct way *w)
{
	const struct nof_mptcp_endpoint *e;

	if (w->endpoint < 0 || !w->has_carrier)
		return false;
	e = &f->status.endpoints[w->endpoint];
	return e->is_subflow || e->is_fullmesh;
}

/* Subflow endpoints that could carry a subflow beside the first. */
static unsigned int usable_endpoints(const struct facts *f)
{
	const struct nof_transport *t = &f->info->transport;
	unsigned int i, n = 0;

	for (i = 0; i < f->ways_count; i++) {
		const struct way *w = &f->ways[i];

		if (!is_start(f, w))
			continue;
		/* That of the first subflow takes none of the limit. */
		n += !(t->subflow_count &&
		       !strncmp(t->subflows[0].local + f->is_v6, w->addr, strlen(w->addr)) &&
		       strchr(":]", t->subflows[0].local[f->is_v6 + strlen(w->addr)]));
	}
	return n;
}

/* An endpoint without a device goes where the routing table says: that may be another link. */
static void judge_device(const struct facts *f, const struct way *w, struct findings *out)
{
	const struct nof_mptcp_endpoint *e = &f->status.endpoints[w->endpoint];
	struct finding *n;

	if (e->dev[0] || w->route_error || !strcmp(w->route.dev, w->dev))
		return;
	n = add(out, LEVEL_PROBLEM, "wrong-device",
		"Packets from %s leave by %s instead of %s, because its endpoint names no "
		"device: two subflows, one link.",
		w->addr, w->route.dev, w->dev);
	run(n, "ip mptcp endpoint del id %u", e->id);
	run(n, "ip mptcp endpoint add %s dev %s subflow%s%s", w->addr, w->dev,
	    e->is_backup ? " backup" : "", e->is_fullmesh ? " fullmesh" : "");
}

/* Ways that have what they need on this host, and still carry nothing. */
static void judge_join(const struct facts *f, const struct way *w, struct findings *out)
{
	const struct nof_mptcp_endpoint *e = &f->status.endpoints[w->endpoint];
	struct finding *n;

	if (w->route_error && !e->dev[0]) {
		n = add(out, LEVEL_PROBLEM, "no-route-from",
			"There is an endpoint for %s, but no route to the target from there.",
			w->addr);
		run(n, "ip route add %s/%d via GATEWAY dev %s metric 1000", f->peer,
		    f->is_v6 ? 128 : 32, w->dev);
		is_pattern(n);
		return;
	}
	if (w->rp_filter == 1 && !w->route_error && strcmp(w->route.dev, w->dev) != 0) {
		n = add(out, LEVEL_PROBLEM, "rp-filter",
			"Strict reverse path filtering drops what the target sends to %s by %s, "
			"because the route to the target is by %s.",
			w->addr, w->dev, w->route.dev);
		run(n, "sysctl -w net.ipv4.conf.all.rp_filter=2");
		costs(n, "loose filtering: a forged source address is refused only when there is "
			 "no route to it at all.");
		return;
	}
	n = add(out, LEVEL_PROBLEM, "join-failed",
		"The endpoint %s is in order and the target did not accept a subflow from it. It "
		"may allow too few (first command), forbid joining its first address (second), "
		"or not be reachable by %s: then it has to announce an address that is (third).",
		w->addr, w->dev);
	run_on_target(n, "ip mptcp limits set subflow %d", LIMIT_MAX);
	run_on_target(n, "sysctl -w net.mptcp.allow_join_initial_addr_port=1");
	run_on_target(n, "ip mptcp endpoint add ADDRESS dev DEVICE signal");
	is_pattern(n);
	if (f->status.add_addr_accepted_max == 0)
		run(n, "ip mptcp limits set subflow %d add_addr_accepted %d", LIMIT_MAX, LIMIT_MAX);
}

/* How many addresses could become endpoints. */
static unsigned int judge_no_endpoints(const struct facts *f, struct findings *out, bool is_problem)
{
	struct finding *n = NULL;
	unsigned int i, missing = 0;

	for (i = 0; i < f->ways_count; i++) {
		const struct way *w = &f->ways[i];
		const struct nof_mptcp_endpoint *e =
			w->endpoint >= 0 ? &f->status.endpoints[w->endpoint] : NULL;

		if (w->is_used || w->shares_link || !w->has_carrier ||
		    (e && (e->is_subflow || e->is_fullmesh)))
			continue;
		if (!n)
			n = add(out, is_problem ? LEVEL_PROBLEM : LEVEL_NOTE, "no-endpoint",
				is_problem ?
					"%u path%s in use, and this host has more links. Linux "
					"starts a subflow from another address only if that is "
					"an endpoint. Or put mptcp_paths=auto into the URI: "
					"then libnof does it." :
					"%u path%s in use; these addresses could be more. Leave "
					"out those that do not lead to the target.",
				f->subflows, f->subflows == 1 ? " is" : "s are");
		if (e)
			run(n, "ip mptcp endpoint del id %u", e->id);
		run(n, "ip mptcp endpoint add %s dev %s subflow%s", w->addr, w->dev,
		    e && e->is_signal ? " signal" : "");
		missing++;
	}
	if (n)
		costs(n, "every MPTCP connection of this host may use these addresses.");
	return missing;
}

/* MPTCP, and fewer paths than there could be. */
static void judge_paths(const struct facts *f, struct findings *out)
{
	const struct nof_mptcp_status *s = &f->status;
	unsigned int i, missing, wanted = usable_endpoints(f), limit = s->subflows_max;
	bool is_limited;
	struct finding *n;

	for (i = 0; i < f->ways_count; i++) {
		const struct way *w = &f->ways[i];

		if (w->endpoint < 0 || w->has_carrier)
			continue;
		n = add(out, LEVEL_PROBLEM, "link-down",
			w->is_up ? "The endpoint %s is on %s, which has no carrier: look at its "
				   "cable and at the other end of it." :
				   "The endpoint %s is on %s, which is down.",
			w->addr, w->dev);
		if (!w->is_up)
			run(n, "ip link set %s up", w->dev);
	}
	if (f->info->opts.mptcp_paths[0] && !s->can_configure) {
		n = add(out, LEVEL_PROBLEM, "no-permission",
			"The URI has mptcp_paths, and this process may not configure paths: it "
			"needs the capability CAP_NET_ADMIN, or endpoints that are there already.");
		run(n, "setcap cap_net_admin+ep PROGRAM");
		is_pattern(n);
		costs(n, "who may run the program may have it change the network's configuration.");
	}
	if (is_userspace_pm(f)) {
		if (f->subflows > 1)
			return;
		n = add(out, LEVEL_PROBLEM, "userspace-pm",
			"Paths are left to a program (the user-space path manager), and none "
			"has made one: start it (mptcpd), or let the kernel do it.");
		if (f->sysctl.path_manager[0])
			run(n, "sysctl -w net.mptcp.path_manager=kernel");
		else
			run(n, "sysctl -w net.mptcp.pm_type=0");
		costs(n, "a path manager program no longer sees new connections.");
		return;
	}
	if (f->subflows < 2 && f->links < 2) {
		n = add(out, LEVEL_NOTE, "one-link",
			"This host has one link with an address to reach the target from. "
			"Another link of the target can be a second path: announce its address "
			"there.");
		run_on_target(n, "ip mptcp endpoint add ADDRESS dev DEVICE signal");
		is_pattern(n);
		if (s->add_addr_accepted_max == 0)
			run(n, "ip mptcp limits set subflow %d add_addr_accepted %d", LIMIT_MAX,
			    LIMIT_MAX);
		return;
	}
	missing = judge_no_endpoints(f, out, f->subflows < 2);
	if (f->subflows < 2)
		wanted += missing;
	if (wanted > LIMIT_MAX)
		wanted = LIMIT_MAX;
	is_limited = limit == 0 || (f->subflows < wanted + 1 && wanted > limit);
	if (is_limited) {
		n = add(out, f->subflows < 2 ? LEVEL_PROBLEM : LEVEL_ADVICE, "limits",
			"This host allows %u subflow%s beside the first of a connection%s.", limit,
			limit == 1 ? "" : "s",
			wanted > limit && limit ? ", and has addresses for more" : "");
		run(n, "ip mptcp limits set subflow %d", LIMIT_MAX);
	}
	for (i = 0; i < f->ways_count; i++) {
		const struct way *w = &f->ways[i];

		if (!is_start(f, w))
			continue;
		judge_device(f, w, out);
		if (!w->is_used && !is_limited && f->subflows <= wanted)
			judge_join(f, w, out);
	}
}

/* A floor that leaves room for the round trip, in steps of 10 ms. */
static uint32_t floor_wanted_us(const struct facts *f)
{
	uint32_t us = (2 * f->rtt_us + 9999) / 10000 * 10000;

	return us < RTO_FLOOR_US ? RTO_FLOOR_US : us;
}

static void judge_rto(const struct facts *f, struct findings *out)
{
	uint32_t wanted = floor_wanted_us(f);
	bool has_sysctl = f->sysctl.rto_min_us > 0;
	struct finding *n = NULL;
	unsigned int i;

	if (f->rto_min_us <= 2 * wanted)
		return;
	n = add(out, LEVEL_ADVICE, "rto-floor",
		"What is lost last is sent again after %u ms at the earliest. With a round trip "
		"of %u.%u ms that is a long pause after each such loss, and before a dead path "
		"is left.",
		f->rto_min_us / 1000, f->rtt_us / 1000, f->rtt_us / 100 % 10);
	costs(n, "a target that is slower than that gets some data twice.");
	if (has_sysctl && f->sysctl.rto_min_us > (long)(2 * wanted))
		run(n, "sysctl -w net.ipv4.tcp_rto_min_us=%u", wanted);
	/* A route that has a floor of its own, or an older kernel without the sysctl. */
	for (i = 0; i < f->ways_count; i++) {
		const struct way *w = &f->ways[i];

		if (w->route_error || w->shares_link ||
		    w->route.rto_min_us <= 2 * wanted * has_sysctl)
			continue;
		run(n, "ip route replace %s/%d %s%s%sdev %s src %s rto_min %ums", f->peer,
		    f->is_v6 ? 128 : 32, w->route.gateway[0] ? "via " : "", w->route.gateway,
		    w->route.gateway[0] ? " " : "", w->route.dev, w->route.source, wanted / 1000);
		if (!strcmp(f->route.dev, w->route.dev))
			break;
	}
	if (has_sysctl)
		run_on_target(n, "sysctl -w net.ipv4.tcp_rto_min_us=%u", wanted);
}

static void judge_handover(const struct facts *f, struct findings *out)
{
	struct finding *n;

	if (f->sysctl.stale_loss_cnt > 1) {
		n = add(out, LEVEL_ADVICE, "stale-loss",
			"A path that swallows everything is left only after %ld retransmission "
			"time-outs. After the first is soon enough. The target, which sends what "
			"is read, has a setting of its own.",
			f->sysctl.stale_loss_cnt);
		run(n, "sysctl -w net.mptcp.stale_loss_cnt=1");
		run_on_target(n, "sysctl -w net.mptcp.stale_loss_cnt=1");
		costs(n, "a path that loses much is left for a moment now and then.");
	}
	judge_rto(f, out);
	if (f->sysctl.add_addr_timeout > 120) {
		n = add(out, LEVEL_NOTE, "add-addr-timeout",
			"An announcement of an address that is lost is repeated after %ld s only.",
			f->sysctl.add_addr_timeout);
		run(n, "sysctl -w net.mptcp.add_addr_timeout=120");
	}
	if (f->sysctl.close_timeout > 60) {
		n = add(out, LEVEL_NOTE, "close-timeout",
			"A connection without any path is kept for %ld s by this host after it "
			"was closed.",
			f->sysctl.close_timeout);
		run(n, "sysctl -w net.mptcp.close_timeout=60");
	}
}

static void judge_buffers(const struct facts *f, struct findings *out)
{
	static const char names[][9] = { "tcp_rmem", "tcp_wmem" };
	const long *v[] = { f->sysctl.rmem, f->sysctl.wmem };
	struct finding *n;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		if (v[i][2] < 0 || (uint64_t)v[i][2] >= f->buffer_wanted)
			continue;
		n = add(out, LEVEL_ADVICE, i ? "send-buffer" : "receive-buffer",
			"A connection may buffer %ld KiB of what it %s; to fill %u link%s with a "
			"round trip of %u.%u ms takes %llu KiB.",
			v[i][2] >> 10, i ? "sends" : "receives", f->links, f->links == 1 ? "" : "s",
			f->rtt_us / 1000, f->rtt_us / 100 % 10,
			(unsigned long long)f->buffer_wanted >> 10);
		run(n, "sysctl -w net.ipv4.%s='%ld %ld %llu'", names[i], v[i][0], v[i][1],
		    (unsigned long long)f->buffer_wanted);
		costs(n, "memory, while so much is under way.");
	}
}

static void judge_rest(const struct facts *f, struct findings *out)
{
	struct finding *n;

	if (f->info->opts.sndbuf || f->info->opts.rcvbuf) {
		n = add(out, LEVEL_ADVICE, "fixed-buffers",
			"The URI fixes the size of the socket's buffers: the kernel then no longer "
			"adapts them to several paths, which can cost half of the bandwidth.");
		run_without(n, f->info->uri, "sndbuf", "rcvbuf");
		costs(n, "memory, while much is under way.");
	}
	if (f->sysctl.checksum_enabled == 1) {
		n = add(out, LEVEL_ADVICE, "checksum",
			"MPTCP adds a checksum of its own to all data: libnof's data digest "
			"(data_digest=on) protects the same bytes from end to end.");
		run(n, "sysctl -w net.mptcp.checksum_enabled=0");
		costs(n, "a middlebox that changes the data is no longer noticed by MPTCP.");
	}
	if (f->sysctl.scheduler[0] && strcmp(f->sysctl.scheduler, "default") != 0) {
		n = add(out, LEVEL_NOTE, "scheduler",
			"The packet scheduler is %s; libnof is measured with the default one.",
			f->sysctl.scheduler);
		run(n, "sysctl -w net.mptcp.scheduler=default");
	}
	if (f->sysctl.blackhole_timeout > 3600) {
		n = add(out, LEVEL_NOTE, "blackhole-timeout",
			"After a way that swallows MPTCP, all connections of this host are plain "
			"TCP for %ld s.",
			f->sysctl.blackhole_timeout);
		run(n, "sysctl -w net.mptcp.blackhole_timeout=3600");
	}
}

void doctor_judge(const struct facts *f, struct findings *out)
{
	const struct nof_transport *t = &f->info->transport;

	doctor_free(out);
	if (f->error)
		judge_unreachable(f, out);
	judge_protocol(f, out);
	if (!t->is_mptcp || f->is_loopback)
		return;
	judge_paths(f, out);
	if (f->subflows > 1 || f->links > 1)
		judge_handover(f, out);
	judge_buffers(f, out);
	judge_rest(f, out);
}
