/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How far an interface is from a processor, by a tree like sysfs. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "unit.h"

#include "ctrl/numa.h"

static char root[] = "/tmp/nof-numa-XXXXXX";

/* Makes the directories on the way. */
static void put(const char *path, const char *text)
{
	char full[512];
	FILE *f;

	snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *p = full + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(full, 0755);
		*p = '/';
	}
	f = fopen(full, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int setup(void **state)
{
	if (!mkdtemp(root))
		return -1;
	put("/sys/class/net/near/device/numa_node", "0\n");
	put("/sys/class/net/far/device/numa_node", "1\n");
	put("/sys/class/net/none/device/numa_node", "-1\n");
	put("/sys/class/net/bad/device/numa_node", "x\n");
	put("/sys/class/net/empty/device/numa_node", "");
	put("/sys/class/net/high/device/numa_node", "7\n");
	put("/sys/class/net/huge/device/numa_node", "99999999999999999999\n");
	put("/sys/class/net/bond0/mtu", "1500\n");
	put("/sys/devices/system/node/node0/distance", "10 21\n");
	put("/sys/devices/system/node/node1/distance", "21 10\n");
	put("/sys/devices/system/node/node2/distance", "0 300\n");
	put("/sys/devices/system/node/node3/distance", "\n");
	return 0;
}

static int teardown(void **state)
{
	char cmd[64];

	snprintf(cmd, sizeof(cmd), "rm -r %s", root);
	return system(cmd);
}

static void distances(void **state)
{
	assert_int_equal(nofi_numa_distance(root, "near", 0), NOFI_NUMA_NEAR);
	assert_int_equal(nofi_numa_distance(root, "far", 0), 21);
	assert_int_equal(nofi_numa_distance(root, "near", 1), 21);
	assert_int_equal(nofi_numa_distance(root, "far", 1), NOFI_NUMA_NEAR);
}

static void unknown(void **state)
{
	static const char *const names[] = {
		"none", "bad", "empty", "high", "huge", "bond0", "nothere", "", ".", "..", "a/b",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(nofi_numa_distance(root, names[i], 0), NOFI_NUMA_UNKNOWN);
	for (unsigned node = 2; node < 5; node++) {
		assert_int_equal(nofi_numa_distance(root, "near", node), NOFI_NUMA_UNKNOWN);
		assert_int_equal(nofi_numa_distance(root, "far", node), NOFI_NUMA_UNKNOWN);
	}
	assert_int_equal(nofi_numa_distance("/nothere", "near", 0), NOFI_NUMA_UNKNOWN);
}

static void interfaces(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	char name[16];

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(nofi_numa_interface((struct sockaddr *)&a, name, sizeof(name)), 0);
	assert_string_equal(name, "lo");
	assert_int_equal(nofi_numa_from_here((struct sockaddr *)&a), NOFI_NUMA_UNKNOWN);
	a.sin_addr.s_addr = htonl(0xcb007101);	/* 203.0.113.1, of documentation */
	assert_true(nofi_numa_interface((struct sockaddr *)&a, name, sizeof(name)) < 0);
	a.sin_family = AF_UNSPEC;
	assert_true(nofi_numa_interface((struct sockaddr *)&a, name, sizeof(name)) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(distances),
		cmocka_unit_test(unknown),
		cmocka_unit_test(interfaces),
	};

	return cmocka_run_group_tests_name("numa", tests, setup, teardown);
}
