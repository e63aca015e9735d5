/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What this process has changed in the kernel's MPTCP path managers, so that it is undone
 * when the last one who wants it goes, or the process exits. One entry for each network
 * namespace; endpoints in it count their users. An endpoint that was there before is used
 * and never touched. Any thread; a lock, and system calls under it: not for the I/O path.
 */
#ifndef NOF_MPTCP_PM_TABLE_H
#define NOF_MPTCP_PM_TABLE_H

#include "mptcp/pm.h"

struct nofi_pm_ns;

/* One who wants endpoints; embedded in its owner. */
struct nofi_pm_user {
	struct nofi_pm_user *next;
	struct nofi_pm_ns *ns;		/* NULL: has not joined */
	uint32_t held;			/* bit: index of the endpoint in the namespace */
};

/* Of the thread's network namespace. −ENOENT: there is no path manager. */
int nofi_pm_join(struct nofi_pm_user *u, struct nofi_err *err);
/* Lets go of everything. Harmless when it has not joined. */
void nofi_pm_leave(struct nofi_pm_user *u);

/* May anything be changed here? −EPERM with a sentence. */
int nofi_pm_check(struct nofi_pm_user *u, struct nofi_err *err);

/* Raises limits that are lower. Restored when all have left, unless somebody changed them. */
int nofi_pm_raise(struct nofi_pm_user *u, const struct nofi_pm_limits *want,
		  struct nofi_err *err);

/*
 * Makes the path's address an endpoint, or takes part in it. Returns 1 when it was there
 * before and is somebody else's.
 */
int nofi_pm_hold(struct nofi_pm_user *u, const struct nofi_pm_path *path, uint32_t ifindex,
		 struct nofi_err *err);
/*
 * One that is somebody else's may have gone with its owner: then it is made, as ours. Returns
 * 1 while it is there and theirs, 0: it is ours.
 */
int nofi_pm_renew(struct nofi_pm_user *u, const struct nofi_pm_path *path, uint32_t ifindex,
		  struct nofi_err *err);
void nofi_pm_drop(struct nofi_pm_user *u, const struct nofi_pm_addr *addr);

/*
 * The path does not work: subflows from it end. −EPERM: the endpoint is not ours; −EBUSY:
 * it is the last one that somebody has. Harmless when it was taken out before.
 */
int nofi_pm_take_out(struct nofi_pm_user *u, const struct nofi_pm_addr *addr);
/* The path works again: the connections get new subflows. Also for one that is not out. */
int nofi_pm_put_back(struct nofi_pm_user *u, const struct nofi_pm_addr *addr,
		     struct nofi_err *err);

#endif
