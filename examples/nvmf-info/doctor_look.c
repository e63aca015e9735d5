/* SPDX-License-Identifier: MIT */
/*
 * What is so: the connection, the path manager's settings, the addresses of this host and the
 * routes from them, and the settings of the kernel that matter. Nothing is judged here.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

#define BUFFER_MIN (1 << 20)  /* storage has its queue depth under way, whatever the distance */
#define BUFFER_MAX (64 << 20) /* more is not advised by a single measurement */

static bool read_line(const char *path, char *buf, size_t len)
{
	FILE *file = fopen(path, "re");
	bool ok;

	if (!file)
		return false;
	ok = fgets(buf, (int)len, file) != NULL;
	fclose(file);
	if (ok)
		buf[strcspn(buf, "\n")] = '\0';
	return ok;
}

/* Up to count numbers of a file below /proc/sys/net; those that are missing stay −1. */
static void read_numbers(const char *name, long *v, unsigned int count)
{
	char path[128], line[128] = "", *p = line, *end;
	unsigned int i;

	for (i = 0; i < count; i++)
		v[i] = -1;
	snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
	if (!read_line(path, line, sizeof(line)))
		return;
	for (i = 0; i < count; i++, p = end) {
		long n = strtol(p, &end, 10);

		if (end == p)
			return;
		v[i] = n;
	}
}

static long read_number(const char *name)
{
	long v;

	read_numbers(name, &v, 1);
	return v;
}

static void read_word(const char *name, char *buf, size_t len)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
	if (!read_line(path, buf, len))
		buf[0] = '\0';
}

static void look_at_sysctls(struct sysctls *s)
{
	s->enabled = read_number("mptcp/enabled");
	s->pm_type = read_number("mptcp/pm_type");
	s->stale_loss_cnt = read_number("mptcp/stale_loss_cnt");
	s->blackhole_timeout = read_number("mptcp/blackhole_timeout");
	s->add_addr_timeout = read_number("mptcp/add_addr_timeout");
	s->close_timeout = read_number("mptcp/close_timeout");
	s->allow_join_initial_addr_port = read_number("mptcp/allow_join_initial_addr_port");
	s->checksum_enabled = read_number("mptcp/checksum_enabled");
	s->rto_min_us = read_number("ipv4/tcp_rto_min_us");
	read_numbers("ipv4/tcp_rmem", s->rmem, 3);
	read_numbers("ipv4/tcp_wmem", s->wmem, 3);
	read_word("mptcp/path_manager", s->path_manager, sizeof(s->path_manager));
	read_word("mptcp/scheduler", s->scheduler, sizeof(s->scheduler));
	read_word("ipv4/tcp_congestion_control", s->congestion, sizeof(s->congestion));
}

/* A counter of the line pair that begins with "MPTcpExt:"; 0 where there is none. */
static uint64_t read_counter(const char *name)
{
	static char names[16384], values[16384];
	FILE *file = fopen("/proc/net/netstat", "re");
	char *n, *v, *save_n = NULL, *save_v = NULL;
	uint64_t count = 0;

	if (!file)
		return 0;
	while (fgets(names, sizeof(names), file) && fgets(values, sizeof(values), file)) {
		if (strncmp(names, "MPTcpExt:", 9) != 0)
			continue;
		n = strtok_r(names, " \n", &save_n);
		v = strtok_r(values, " \n", &save_v);
		for (; n && v;
		     n = strtok_r(NULL, " \n", &save_n), v = strtok_r(NULL, " \n", &save_v))
			if (!strcmp(n, name))
				count = strtoull(v, NULL, 10);
	}
	fclose(file);
	return count;
}

/* "10.0.0.1:4420" and "[fd00::1]:4420" without port, brackets and scope. */
static void strip(const char *with_port, char *addr, size_t len)
{
	const char *start = with_port + (with_port[0] == '[');
	size_t n = with_port[0] == '[' ? strcspn(start, "]%") : strcspn(start, ":");

	snprintf(addr, len, "%.*s", (int)n, start);
}

static bool is_same_address(const char *a, const char *b)
{
	unsigned char x[16], y[16];

	if (inet_pton(AF_INET, a, x) == 1)
		return inet_pton(AF_INET, b, y) == 1 && !memcmp(x, y, 4);
	return inet_pton(AF_INET6, a, x) == 1 && inet_pton(AF_INET6, b, y) == 1 &&
	       !memcmp(x, y, 16);
}

static bool is_loopback(const char *addr)
{
	return !strncmp(addr, "127.", 4) || !strcmp(addr, "::1");
}

static bool carries(const struct nof_transport *t, const char *addr)
{
	char local[64];
	unsigned int i;

	for (i = 0; i < t->subflow_count && i < NOF_SUBFLOWS_MAX; i++) {
		strip(t->subflows[i].local, local, sizeof(local));
		if (subflow_is_made(&t->subflows[i]) && is_same_address(local, addr))
			return true;
	}
	return false;
}

static int find_endpoint(const struct nof_mptcp_status *s, const char *addr)
{
	unsigned int i;

	for (i = 0; i < s->endpoint_count && i < NOF_ENDPOINTS_MAX; i++)
		if (is_same_address(s->endpoints[i].addr, addr))
			return (int)i;
	return -1;
}

/* The larger of all and the device's own is what the kernel goes by. */
static int rp_filter_of(const char *dev)
{
	char name[64];
	long all = read_number("ipv4/conf/all/rp_filter"), own;

	snprintf(name, sizeof(name), "ipv4/conf/%s/rp_filter", dev);
	own = read_number(name);
	return (int)(own > all ? own : all);
}

static int ask_route(const struct facts *f, const char *local, struct nof_route *r)
{
	memset(r, 0, sizeof(*r));
	r->size = sizeof(*r);
	return f->peer[0] ? nof_route_get(f->peer, local, r) : -EDESTADDRREQ;
}

static bool is_global(const struct sockaddr *sa)
{
	const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;

	return sa->sa_family == AF_INET || !IN6_IS_ADDR_LINKLOCAL(a);
}

static void add_way(struct facts *f, const struct ifaddrs *i)
{
	struct way *w = &f->ways[f->ways_count];
	const void *a =
		f->is_v6 ? (const void *)&((struct sockaddr_in6 *)(void *)i->ifa_addr)->sin6_addr :
			   (const void *)&((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr;
	unsigned int k;

	memset(w, 0, sizeof(*w));
	inet_ntop(f->is_v6 ? AF_INET6 : AF_INET, a, w->addr, sizeof(w->addr));
	snprintf(w->dev, sizeof(w->dev), "%s", i->ifa_name);
	w->is_up = i->ifa_flags & IFF_UP;
	w->has_carrier = w->is_up && (i->ifa_flags & IFF_RUNNING);
	w->is_used = carries(&f->info->transport, w->addr);
	w->endpoint = find_endpoint(&f->status, w->addr);
	w->rp_filter = f->is_v6 ? -1 : rp_filter_of(w->dev);
	w->route_error = ask_route(f, w->addr, &w->route);
	for (k = 0; k < f->ways_count; k++)
		w->shares_link |= !strcmp(f->ways[k].dev, w->dev);
	f->links += w->has_carrier && !w->shares_link;
	f->ways_count++;
}

static void look_at_addresses(struct facts *f)
{
	struct ifaddrs *all, *i;

	if (getifaddrs(&all) < 0)
		return;
	for (i = all; i && f->ways_count < WAYS_MAX; i = i->ifa_next)
		if (i->ifa_addr && i->ifa_addr->sa_family == (f->is_v6 ? AF_INET6 : AF_INET) &&
		    !(i->ifa_flags & IFF_LOOPBACK) && is_global(i->ifa_addr))
			add_way(f, i);
	freeifaddrs(all);
}

/* A device that does not know its speed (a virtual one, mostly) counts as 1 Gbit/s. */
static uint64_t speed_of(const struct nof_route *r)
{
	return r->speed_mbit ? r->speed_mbit : 1000;
}

/*
 * A first SYN that was lost (a neighbour that had to be asked for, mostly) spoils the estimate of
 * the round trip for a while: it varies then by far more than it takes.
 */
static bool is_settled(const struct facts *f, const struct nof_subflow *s)
{
	return s->rto_us < s->rtt_us || s->rto_us - s->rtt_us <= 2 * f->rto_min_us + 2 * s->rtt_us;
}

/*
 * A receiver that reorders several paths needs twice the sum of their bandwidths, as long as the
 * slowest of them takes (RFC 6182 section 5.3). The fastest is taken for it: so early, a busy
 * machine makes a round trip look longer than it is, and this is about what is surely too little.
 */
static void derive(struct facts *f)
{
	const struct nof_transport *t = &f->info->transport;
	uint32_t shortest_us = 0;
	uint64_t mbit = 0;
	unsigned int i;

	f->rto_min_us = f->route.rto_min_us;
	for (i = 0; i < f->ways_count; i++) {
		const struct way *w = &f->ways[i];

		if (w->route_error || !w->has_carrier || w->shares_link)
			continue;
		mbit += speed_of(&w->route);
		if (w->route.rto_min_us > f->rto_min_us)
			f->rto_min_us = w->route.rto_min_us;
	}
	if (!f->rto_min_us)
		f->rto_min_us = f->sysctl.rto_min_us > 0 ? (uint32_t)f->sysctl.rto_min_us : 200000;
	for (i = 0; i < t->subflow_count && i < NOF_SUBFLOWS_MAX; i++) {
		uint32_t us = t->subflows[i].rtt_us;

		if (!us || !is_settled(f, &t->subflows[i]))
			continue;
		if (us > f->rtt_us)
			f->rtt_us = us;
		if (!shortest_us || us < shortest_us)
			shortest_us = us;
	}
	f->buffer_wanted = 2 * mbit * shortest_us / 8;
	if (f->buffer_wanted > BUFFER_MAX)
		f->buffer_wanted = BUFFER_MAX;
	if (f->buffer_wanted < BUFFER_MIN)
		f->buffer_wanted = BUFFER_MIN;
	f->buffer_wanted = (f->buffer_wanted + 0xffff) & ~0xffffull;
}

/* Connections that began as TCP because MPTCP had been swallowed before (Linux 6.12). */
uint64_t doctor_tcp_starts(void)
{
	return read_counter("MPCapableSYNTXDisabled");
}

void doctor_look(struct facts *f, const struct info *info, const char *error)
{
	const struct nof_transport *t = &info->transport;
	char local[64] = "";
	unsigned char a[16];

	memset(f, 0, sizeof(*f));
	f->info = info;
	f->error = error;
	f->status.size = sizeof(f->status);
	f->status_error = nof_mptcp_get_status(&f->status);
	look_at_sysctls(&f->sysctl);
	f->is_blackholed = doctor_tcp_starts() > info->tcp_starts;
	f->subflows = subflows_made(t);
	if (t->subflow_count) {
		strip(t->subflows[0].local, local, sizeof(local));
		strip(t->subflows[0].peer, f->peer, sizeof(f->peer));
	} else if (inet_pton(AF_INET, info->opts.traddr, a) == 1 ||
		   inet_pton(AF_INET6, info->opts.traddr, a) == 1) {
		snprintf(f->peer, sizeof(f->peer), "%.63s", info->opts.traddr);
	}
	f->is_v6 = strchr(f->peer, ':') != NULL;
	f->is_loopback = is_loopback(f->peer) || (local[0] && is_same_address(local, f->peer));
	f->route_error = ask_route(f, local[0] ? local : NULL, &f->route);
	look_at_addresses(f);
	derive(f);
}
