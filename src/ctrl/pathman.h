/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The path manager of one controller (mptcp_paths): on its loop, without a thread.
 *
 *	          ┌── carrier lost, address gone ──► DOWN ──┐ back: ask
 *	ABSENT ─► UP                                        ├──────────► UP
 *	          └── silent while another answers ─► STALE ┘ back-off: ask
 *
 * UP: the address is an endpoint of the kernel's path manager, and connections have subflows
 * from it. Otherwise the endpoint is taken out, unless it is the last. pathman.c has the
 * states, pathman_ask.c the questions (a SYN over the path) that lead from one to the other.
 *
 * Nothing here runs while all is well: it is woken by changes of interfaces, by a queue that
 * is suspiciously quiet, and by a timer only while a path is not as it should be. One that has
 * no subflow for a minute has no timer either: it is thought of again with keep alives.
 */
#ifndef NOF_CTRL_PATHMAN_H
#define NOF_CTRL_PATHMAN_H

#include "ctrl/internal.h"
#include "mptcp/links.h"
#include "mptcp/pm_table.h"
#include "mptcp/stall.h"

enum nofi_pathman_state { NOFI_PATH_ABSENT, NOFI_PATH_UP, NOFI_PATH_DOWN, NOFI_PATH_STALE };

enum {
	NOFI_ASK_SYNS = 2,		/* the second if there is no answer: one may be lost */
	NOFI_ASK_AGAIN_MS = 5,
	NOFI_ASK_LIMIT_MS = 300,		/* and four round trips, for one path alone */
};

/* A question to one path. */
struct nofi_ask {
	int fd[NOFI_ASK_SYNS];		/* −1: none */
	bool is_running;
	bool is_round;			/* one of all paths at once: who is dead? */
	struct nofi_stall_path p;	/* when it was asked, when it answered */
};

struct nofi_pathman_path {
	struct nofi_pm_path conf;
	enum nofi_pathman_state state;
	uint32_t ifindex;		/* of the interface with the address, as of the last look */
	bool has_link;			/* address is there, carrier too */
	bool is_held;			/* its endpoint counts us */
	bool is_foreign;		/* … and is somebody else's: never touched */
	bool is_out;			/* … and is taken out */
	bool is_told;			/* the log has that it cannot be taken out */
	uint32_t backoff_ms;		/* of the next question after STALE */
	uint64_t put_back;		/* when it became UP last, 0: has been all the time */
	uint64_t due;			/* DOWN, STALE: ask. UP: has it a subflow? 0: never */
	uint32_t check_ms;		/* UP: pause before it is made again after the next time */
	uint32_t remakes;		/* … how often it was made again, without a subflow */
	uint64_t not_before;		/* UP without a subflow: when it may be made again */
	struct sockaddr_storage local, peer;	/* of its last known subflow */
	struct nofi_ask ask;
};

struct nofi_pathman {
	struct nof_ctrl *ctrl;
	struct nofi_pm_user user;
	struct nofi_links links;
	struct nofi_fd_watch link_watch;
	int epoll_fd;			/* the questions' sockets: readable when one is answered */
	struct nofi_fd_watch ask_watch;
	struct nofi_timer timer;	/* the earliest of all that is due */
	struct nofi_pm_list list;	/* what the user wants */
	unsigned count;
	struct nofi_pathman_path path[NOFI_PM_PATHS_MAX];
	bool is_changed;		/* subflows came or went: who watches them is to be told */
	struct nofi_addr home;		/* where connections go when nothing is in the way */
};

/* pathman_ask.c */
int nofi_ask_path(struct nofi_pathman *pm, unsigned index, bool is_round);
void nofi_ask_end(struct nofi_pathman *pm, unsigned index);
/* Takes answers, sends second SYNs; returns when it wants to be called again, 0: never. */
uint64_t nofi_ask_work(struct nofi_pathman *pm);
bool nofi_ask_is_round(const struct nofi_pathman *pm);

/* pathman.c, for pathman_ask.c: what an answer means */
void nofi_pathman_dead(struct nofi_pathman *pm, unsigned index);
void nofi_pathman_alive(struct nofi_pathman *pm, unsigned index);
void nofi_pathman_mute(struct nofi_pathman *pm, unsigned index);
void nofi_pathman_arm(struct nofi_pathman *pm);

#endif
