/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A path: a namespace through one controller.
 *
 *	CHECKING ─► UP ─► DOWN (lost) ─► CHECKING … ─► GONE
 *	    └─► REFUSED
 *
 * Threads. A path's life is its controller's admin loop's: watch, identification, events.
 * What it is now lies under ns->lock, for channels on any loop. They copy it when they are told
 * that something changed (struct nofi_ns_user), and never look at it on the I/O path.
 */
#ifndef NOF_CTRL_PATH_H
#define NOF_CTRL_PATH_H

#include <stdatomic.h>

#include "ctrl/ctrl.h"
#include "ctrl/ns.h"
#include "ctrl/policy.h"

enum nofi_path_state {
	NOFI_PATH_CHECKING,		/* live, but the namespace is yet to be identified */
	NOFI_PATH_UP,			/* identified: I/O queues may be got */
	NOFI_PATH_DOWN,			/* its controller is lost and may come back */
	NOFI_PATH_REFUSED,		/* live, but what is there is not this namespace */
	NOFI_PATH_GONE,			/* for good */
};

/* What a channel counts of its way; written by its thread, relaxed, read by any. */
struct nofi_path_stats {
	struct nofi_path_stats *next;	/* path->stats; ns->lock */
	struct nofi_way *way;		/* inflight and service time */
	uint64_t commands;		/* completed, well or not */
	uint64_t bytes;			/* of data of those that succeeded */
	uint64_t errors;		/* commands that ended badly */
	uint64_t retries;		/* of those, how many were sent again … */
	uint64_t failovers;		/* … and of those, how many because of the path */
	uint64_t hedges;		/* reads that were sent once more … */
	uint64_t hedge_wins;		/* … and completed by the second answer */
};

/* One writer: no atomic addition is needed. */
#define nofi_count(var, n) __atomic_store_n(&(var), (var) + (n), __ATOMIC_RELAXED)

struct nofi_path {
	struct nof_ns *ns;		/* its memory, not a reference of a user */
	struct nof_ctrl *ctrl;		/* holds a reference */
	atomic_uint refs;		/* ns->paths, the watch, channels, messages, the check */

	/* ns->lock */
	struct nofi_path *next;		/* ns->paths */
	enum nofi_path_state state;
	bool is_removed;		/* not in ns->paths any more */
	bool is_fast_failed;		/* lost for longer than fast_io_fail_tmo */
	bool is_ana_stale;		/* an answer contradicted ana: the log is being read */
	uint8_t ana;			/* enum nof_ana_state */
	uint32_t gen;			/* counts associations in which it was UP */
	struct nofi_ns_ident id;	/* the namespace through it */
	uint64_t hold_ns;		/* F-21 */
	uint16_t crdt[3];		/* 0 unless we promised to obey them */
	uint32_t association;		/* ctrl->generation in which id was found out */
	uint32_t depth;			/* commands of an I/O queue */
	uint32_t max_transfer;		/* bytes of a command */
	struct nofi_err err;		/* why it is not UP */
	struct nofi_path_stats *stats;	/* of channels */
	struct nofi_path_stats past;	/* of those that were closed */
	bool is_report_posted;		/* report is on its way */
	bool is_ana_reported, is_queue_reported;	/* what it says */
	struct nofi_err queue_err;	/* why a channel got no queue … */
	uint32_t queue_gen;		/* … in this association */

	/* Admin loop's thread. */
	struct nofi_path *ctrl_next;	/* ctrl->paths */
	struct nofi_watch watch;
	bool is_listed;			/* in ctrl->paths: the watch's reference is held */
	bool has_check;			/* identification is queued or running */
	bool is_check_due;		/* and has to run again */
	bool was_usable;		/* what the last event said */
	unsigned rechecks;		/* since it was refused */
	struct nofi_timer recheck;	/* the next */
	struct nofi_msg report;		/* from channels */
	struct nofi_msg bye;		/* from the end of the namespace, or its removal */
};

/* Who uses a namespace: embedded in a channel. */
struct nofi_ns_user {
	struct nofi_ns_user *next;	/* ns->users; ns->lock */
	struct nof_ns *ns;		/* referenced by the owner */
	struct nof_loop *loop;
	struct nofi_msg msg;		/* says: look again */
	bool is_posted;			/* it is on its way; ns->lock */
	bool is_marked;			/* ns->lock */
	/* On loop's thread, or while it is at rest: the paths changed. */
	void (*changed)(struct nofi_ns_user *u);
};

/* Any thread. */
void nofi_ns_user_add(struct nof_ns *ns, struct nofi_ns_user *u);
/* True: changed() will still be called once, and u has to last until then. */
bool nofi_ns_user_del(struct nof_ns *ns, struct nofi_ns_user *u);
struct nofi_path *nofi_path_ref(struct nofi_path *p);
void nofi_path_unref(struct nofi_path *p);
void nofi_path_stats_add(struct nofi_path *p, struct nofi_path_stats *s);
void nofi_path_stats_del(struct nofi_path *p, struct nofi_path_stats *s);
/* An answer said that the path's ANA state is not what we believed. */
void nofi_path_report_ana(struct nofi_path *p);
/* A channel got no queue in association gen, though that lives: it is reset if it still does. */
void nofi_path_report_queue(struct nofi_path *p, uint32_t gen, const struct nofi_err *err);

/* Admin loop's thread. */
struct nofi_path *nofi_path_new(struct nof_ns *ns, struct nof_ctrl *ctrl,
				const struct nofi_ns_ident *id);
/* The ANA log was read; true when a namespace is in transition. */
bool nofi_paths_tell_ana(struct nof_ctrl *ctrl);
/* Namespaces changed: nsid, or 0 for all. */
void nofi_paths_recheck(struct nof_ctrl *ctrl, uint32_t nsid);

/* Whether what was found is the namespace that was opened: 0, or −ESTALE with a sentence. */
int nofi_path_judge(const struct nofi_ns_ident *ns, const struct nofi_ns_ident *id,
		    struct nofi_err *err);

/* Any thread. The last: the last reference of a namespace is gone. */
void nofi_ns_tell(struct nof_ns *ns);
void nofi_path_remove(struct nofi_path *p);
void nofi_paths_drop(struct nof_ns *ns);

#endif
