/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See numa.h. */
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctrl/numa.h"

enum { TEXT = 4096, DISTANCE_MAX = 255 };

static int read_text(const char *path, char *text, size_t len)
{
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return -errno;
	n = fread(text, 1, len - 1, f);
	fclose(f);
	text[n] = '\0';
	return n ? 0 : -ENODATA;
}

/* The n-th number of a line; −1: there is none. */
static long number(const char *text, unsigned n)
{
	for (;; n--) {
		char *end;
		long v = strtol(text, &end, 10);

		if (end == text)
			return -1;
		if (!n)
			return v;
		text = end;
	}
}

int nofi_numa_distance(const char *root, const char *ifname, unsigned node)
{
	char path[512], text[TEXT];
	long nic, distance;

	if (!ifname[0] || strchr(ifname, '/') || ifname[0] == '.')
		return NOFI_NUMA_UNKNOWN;
	snprintf(path, sizeof(path), "%s/sys/class/net/%s/device/numa_node", root, ifname);
	if (read_text(path, text, sizeof(text)) < 0)
		return NOFI_NUMA_UNKNOWN;
	nic = number(text, 0);
	if (nic < 0)
		return NOFI_NUMA_UNKNOWN;
	snprintf(path, sizeof(path), "%s/sys/devices/system/node/node%u/distance", root, node);
	if (read_text(path, text, sizeof(text)) < 0)
		return NOFI_NUMA_UNKNOWN;
	/* One number per node that is online: its place is its number unless some are missing. */
	distance = nic < TEXT ? number(text, (unsigned)nic) : -1;
	return distance < NOFI_NUMA_NEAR || distance > DISTANCE_MAX ? NOFI_NUMA_UNKNOWN :
	       (int)distance;
}

static int is_same(const struct sockaddr *a, const struct sockaddr *b)
{
	if (!b || a->sa_family != b->sa_family)
		return 0;
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)b)->sin_addr.s_addr;
	if (a->sa_family != AF_INET6)
		return 0;
	return !memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
		       &((const struct sockaddr_in6 *)b)->sin6_addr, sizeof(struct in6_addr));
}

int nofi_numa_interface(const struct sockaddr *local, char *name, size_t len)
{
	struct ifaddrs *all, *i;
	int r = -ENODEV;

	if (getifaddrs(&all) < 0)
		return -ENODEV;
	for (i = all; i && r < 0; i = i->ifa_next) {
		if (!is_same(local, i->ifa_addr))
			continue;
		snprintf(name, len, "%s", i->ifa_name);
		r = 0;
	}
	freeifaddrs(all);
	return r;
}

int nofi_numa_from_here(const struct sockaddr *local)
{
	char name[IF_NAMESIZE];
	unsigned cpu, node;

	if (syscall(SYS_getcpu, &cpu, &node, NULL) < 0 ||
	    nofi_numa_interface(local, name, sizeof(name)) < 0)
		return NOFI_NUMA_UNKNOWN;
	return nofi_numa_distance("", name, node);
}
