/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How far a network interface is from a processor: what sysfs says of NUMA nodes. Reads small
 * files; not for the I/O path.
 */
#ifndef NOF_CTRL_NUMA_H
#define NOF_CTRL_NUMA_H

#include <stddef.h>
#include <sys/socket.h>

enum {
	NOFI_NUMA_NEAR = 10,	/* on the same node, as the kernel says it */
	NOFI_NUMA_UNKNOWN = -1,
};

/*
 * Between interface ifname and node: NOFI_NUMA_NEAR to 255, or NOFI_NUMA_UNKNOWN where nothing
 * is said of it: loopback, bonds, VLANs, machines with one node. root: "", or where a tree like
 * that of /sys lies.
 */
int nofi_numa_distance(const char *root, const char *ifname, unsigned node);

/* The interface that has this address; 0, −ENODEV. */
int nofi_numa_interface(const struct sockaddr *local, char *name, size_t len);

/* Between the interface of an address and the processor that runs the calling thread. */
int nofi_numa_from_here(const struct sockaddr *local);

#endif
