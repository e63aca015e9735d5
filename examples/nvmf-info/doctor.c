/* SPDX-License-Identifier: MIT */
/*
 * Looks at this host and at the connection, and says what stands between them and several paths.
 */
#include <ifaddrs.h>
#include <net/if.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include "info.h"

#define ADVICE 8

struct finding {
	int enabled;		/* net.mptcp.enabled; −1: this kernel has no MPTCP */
	unsigned int addresses; /* of this host, of the connection's family, not loopback */
	bool is_loopback;	/* the connection stays on this host */
	char advice[ADVICE][320];
	unsigned int count;
};

static void advise(struct finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void advise(struct finding *f, const char *fmt, ...)
{
	va_list ap;

	if (f->count == ADVICE)
		return;
	va_start(ap, fmt);
	vsnprintf(f->advice[f->count++], sizeof(f->advice[0]), fmt, ap);
	va_end(ap);
}

static int mptcp_enabled(void)
{
	FILE *file = fopen("/proc/sys/net/mptcp/enabled", "r");
	int v = -1;

	if (!file)
		return -1;
	if (fscanf(file, "%d", &v) != 1)
		v = -1;
	fclose(file);
	return v;
}

static unsigned int count_addresses(int family)
{
	struct ifaddrs *all, *i;
	unsigned int n = 0;

	if (getifaddrs(&all) < 0)
		return 0;
	for (i = all; i; i = i->ifa_next) {
		if (!i->ifa_addr || i->ifa_addr->sa_family != family)
			continue;
		n += (i->ifa_flags & IFF_UP) && !(i->ifa_flags & IFF_LOOPBACK);
	}
	freeifaddrs(all);
	return n;
}

static void look(const struct info *info, struct finding *f)
{
	const struct nof_transport *t = &info->transport;
	const char *local = t->subflow_count ? t->subflows[0].local : "";

	f->enabled = mptcp_enabled();
	f->addresses = count_addresses(local[0] == '[' ? AF_INET6 : AF_INET);
	f->is_loopback = !strncmp(local, "127.", 4) || !strncmp(local, "[::1]", 5);
	if (info->opts.mptcp == NOF_MPTCP_OFF)
		advise(f, "The URI says mptcp=off: leave it out.");
	if (f->enabled < 0)
		advise(f, "This kernel has no MPTCP: Linux 5.6 or later with CONFIG_MPTCP is "
			  "wanted; libnof then finds it by itself.");
	else if (f->enabled == 0)
		advise(f, "MPTCP is switched off on this host: sysctl net.mptcp.enabled=1");
	else if (!t->is_mptcp && info->opts.mptcp != NOF_MPTCP_OFF)
		advise(f, "This host offers MPTCP and got TCP: look at the target (it must listen "
			  "on an MPTCP socket; existing programs can be started by mptcpize run) "
			  "and at middleboxes that remove TCP options.");
	if (!t->is_mptcp || t->subflow_count > 1)
		return;
	if (f->is_loopback) {
		advise(f, "The connection stays on this host: one path is all there is.");
		return;
	}
	if (f->addresses > 1)
		advise(f,
		       "Only one path is in use and this host has %u addresses: ip mptcp "
		       "endpoint add ADDRESS dev DEVICE subflow, for each of the others",
		       f->addresses);
	else
		advise(f, "Only one path is in use and this host has one address: the target can "
			  "offer more of its own: there, ip mptcp endpoint add ADDRESS signal");
	advise(f, "Both hosts must allow more subflows: ip mptcp limits set subflow 4 "
		  "add_addr_accepted 4");
}

static int doctor_json(const struct info *info, const struct finding *f)
{
	struct json j;
	unsigned int i;

	json_init(&j, stdout);
	json_object(&j, NULL);
	json_object(&j, "host");
	json_bool(&j, "has_mptcp", f->enabled >= 0);
	json_bool(&j, "mptcp_enabled", f->enabled > 0);
	json_u64(&j, "addresses", f->addresses);
	json_object_end(&j);
	json_transport(&j, &info->transport);
	json_array(&j, "advice");
	for (i = 0; i < f->count; i++)
		json_string(&j, NULL, f->advice[i]);
	json_array_end(&j);
	json_object_end(&j);
	return json_finish(&j) ? TOOL_OK : tool_output_failed();
}

int doctor(const struct info *info)
{
	struct finding f = { .enabled = -1 };
	unsigned int i;

	look(info, &f);
	if (info->json)
		return doctor_json(info, &f);
	printf("this host    %s; %u address%s beside loopback\n",
	       f.enabled > 0  ? "MPTCP is enabled" :
	       f.enabled == 0 ? "MPTCP is switched off" :
				"the kernel has no MPTCP",
	       f.addresses, f.addresses == 1 ? "" : "es");
	print_transport(&info->transport);
	for (i = 0; i < f.count; i++)
		printf("* %s\n", f.advice[i]);
	if (!f.count)
		puts("* Nothing to change.");
	return TOOL_OK;
}
