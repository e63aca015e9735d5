/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The controller object, shared by the files of this folder.
 *
 *	                  ┌───────── RESETTING ◄─┐
 *	                  ▼                      │
 *	NEW ─────► CONNECTING ─────────────────► LIVE ─► DELETING ─► CLOSED
 *	                  │                                  │
 *	                  └──────────────────────────────────┴─────► FAILED
 *
 * Which state follows which event, and when, is decided by fsm.c; recover.c feeds it
 * and does what it says. Connecting (the first time and again) and deleting are a
 * chain of steps (struct nofi_step): each sends one command, judges the answer, and
 * ends in one transition: the next step, or nofi_ctrl_fail(). Commands have the admin
 * timeout as their deadline, waiting for CSTS has the controller's own, the transport
 * part connect_timeout, and the whole attempt the backstop of fsm.c.
 *
 * All failure goes through nofi_ctrl_fail(), which only notes it; the work (closing
 * queues, completing what waits, connecting again, telling the user) is done by
 * ctrl_work() at the end of the loop's turn, with nothing of ours on the stack.
 */
#ifndef NOF_CTRL_INTERNAL_H
#define NOF_CTRL_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "ctrl/ana.h"
#include "ctrl/ctrl.h"
#include "ctrl/fsm.h"
#include "ctrl/ident.h"
#include "ctrl/ns.h"
#include "ctrl/placement.h"
#include "ctrl/reports.h"
#include "pdu/wire.h"

#define NOFI_MS 1000000ull	/* ns */

enum {
	NOFI_ADMIN_ENTRIES = 32,	/* SQSIZE 31, as Linux has it (F-1) */
	NOFI_IO_QUEUES_MAX = 1024,	/* more are never asked for */
	NOFI_CTRL_NOTES = 32,		/* events that may wait for the user */
	NOFI_CTRL_NEWS = 4,		/* changes that may wait for the watches */
	NOFI_ABORTS_MAX = 4,		/* at a time, if the controller takes so many (ACL) */
};

/* An admin command with its one buffer; embedded, one at a time. */
struct nofi_acmd {
	struct nof_ctrl *ctrl;
	uint8_t sqe[NOFI_SQE_LEN];	/* all but CID, PSDT, SGL */
	struct iovec iov;		/* its data */
	enum nofi_dir dir;
	uint32_t flags;			/* enum nofi_cmd_flag */
	uint32_t timeout_ms;		/* 0: the admin timeout */
	bool is_busy;			/* sent, not completed */
	void (*done)(struct nofi_acmd *c, const struct nofi_cpl *cpl);
};

/* One step of bringing a controller up or down. */
struct nofi_step {
	const char *what;		/* for sentences: "Property Get CAP" */
	int (*send)(struct nof_ctrl *ctrl);
	void (*done)(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl);
	bool is_optional;		/* done judges a status ≠ 0 itself */
};

/*
 * An operation of the user on a live controller (open a namespace, read a log):
 * a chain of commands. They run one after the other, so that the admin queue never
 * runs out of room.
 */
struct nofi_op {
	struct nofi_op *next;
	const char *what;		/* public call, for sentences */
	void (*start)(struct nofi_op *op);
	/* Hands the result over (error 0) or drops it, frees the op. */
	void (*end)(struct nofi_op *op);
	struct nof_ctrl *ctrl;
	nof_done_fn *done;		/* NULL: internal */
	void *arg;
	struct nofi_err err;		/* code 0: success */
	uint16_t status;		/* NVMe status behind err */
	uint64_t result;		/* for the completion */
	/* The command under way (nofi_op_send). */
	const char *cmd_what;		/* for sentences */
	void (*next_fn)(struct nofi_op *op, const struct nofi_cpl *cpl);
	bool is_optional;		/* next_fn judges a status ≠ 0 itself */
	bool is_given_up;		/* it has failed, and waits for its command to end */
};

/* Somebody who waits for the end of a reset. */
struct nofi_reset {
	struct nofi_reset *next;
	nof_done_fn *done;
	void *arg;
	struct nofi_err err;		/* code 0: live again */
};

/* A look-up of the target's name under way; its result travels by message. */
struct nofi_lookup {
	struct nof_ctrl *ctrl;
	struct nofi_resolve *resolve;	/* owed a cancel */
	struct nofi_msg msg;		/* owns a reference to ctrl while it is on its way */
	bool is_posted;			/* by the look-up's thread: msg frees this */
	struct nofi_addrs addrs;
	struct nofi_err err;
};

/* ns_extra.c, while it runs: of the running op. */
struct nofi_ns_extra {
	struct nofi_ns_ident *id;	/* being filled */
	void (*done)(struct nofi_op *op, const struct nofi_err *err);
};

struct nofi_pathman;

struct nof_ctrl {
	struct nof_loop *loop;		/* of the admin queue */
	struct nof_opts opts;		/* checked, host identity filled in; constant */
	uint8_t hostid[16];
	struct nofi_placement placement;	/* queue_paths; constant */
	nof_event_fn *events;		/* NULL after nof_ctrl_free() */
	void *events_arg;
	atomic_uint refs;		/* user, namespaces, I/O queues, messages, work */
	struct nofi_tap *tap;		/* NULL: no pcap was wanted */

	pthread_mutex_t lock;		/* everything to the next blank line */
	enum nof_ctrl_state state;	/* written on the loop's thread only */
	bool is_freed;			/* nof_ctrl_free() was called */
	struct nofi_err err;		/* why it is not LIVE any more; FAILED: the sentence */
	uint32_t generation;		/* counts associations: what is of an old one is dead */
	struct nofi_ioq *ioqs;		/* those that hold a queue id */
	uint32_t kill_round;		/* counts teardowns: nofi_ioq_kill_all() */
	uint64_t late_commands;		/* I/O commands that were not answered in time */
	struct nofi_addr steer_from, steer_to;	/* pathman.c: new connections take another way than
					   theirs; len 0: they do not */
	uint16_t last_qid;		/* next-fit: an id rests after its connection closed, the
					   target may still be clearing it up */

	/* The admin loop's from here on. */
	struct nofi_queue *admin;	/* NULL before and after */
	struct nofi_fsm fsm;		/* the truth; state above is what it means to others */
	unsigned acts;			/* enum nofi_fsm_act: what ctrl_work() has to do */
	struct nofi_timer fsm_timer;	/* fsm's deadline, armed by ctrl_work() */
	uint32_t random;		/* of the jitter; never 0 */
	struct nofi_defer work;
	struct nofi_note *notes;	/* [NOFI_CTRL_NOTES] what the user has not heard of, oldest
					   first; NULL without an events function */
	uint32_t nnotes;
	struct nofi_watch *watches;	/* who wants news */
	struct nofi_watch *watch_next;	/* the next to be told, while they are being told */
	enum nofi_ctrl_news news[NOFI_CTRL_NEWS];	/* not told yet, oldest first */
	uint32_t nnews;
	nof_done_fn *connect_done;	/* NULL: none waits */
	void *connect_arg;
	bool is_connect_over;		/* deliver connect_done */
	struct nofi_err connect_err;	/* with this */
	nof_done_fn *disconnect_done;
	void *disconnect_arg;
	bool is_disconnect_over;
	struct nofi_reset *resets;	/* wait for LIVE or the end; while LIVE: nssr.c has sent
					   the command, and the loss to come was asked for */
	struct nofi_reset *resets_over;	/* their callbacks are to be called */
	uint16_t fail_status;		/* NVMe status of the refusal behind err, else 0 */

	/* connect.c: transport */
	struct nofi_lookup *lookup;	/* NULL: none is running */
	struct nofi_addrs addrs;
	struct nofi_try tries[NOFI_TRIES_MAX];	/* of this attempt, in their order */
	uint32_t ntries;
	uint32_t try_next;		/* tries[try_next−1] is being used, or was last */
	struct nofi_addr peer;		/* where that leads */
	uint32_t place_first;		/* entry of placement that the next attempt begins with */
	struct nofi_timer connect_timer;	/* bounds the look-up */
	uint64_t connect_deadline;	/* name and all addresses */
	struct sockaddr_storage src;	/* host_traddr; ss_family 0: none */
	socklen_t src_len;
	bool is_transport_up;		/* ICResp was accepted: no other address is tried */

	/* Steps */
	const struct nofi_step *step;
	struct nofi_acmd step_cmd;
	struct nofi_timer poll_timer;	/* the next look at CSTS */
	uint64_t poll_deadline;
	uint64_t poll_interval;
	uint32_t poll_mask, poll_want;	/* CSTS & mask == want ends it */
	const struct nofi_step *poll_then;
	const char *poll_what;		/* "become ready" */
	uint8_t *page;			/* NOFI_PAGE bytes for steps */

	/* transport.c, transport_watch.c, transport_events.c */
	struct nofi_transport_events *transport_events;	/* NULL: not begun */
	struct nofi_seen **seen;	/* [nseen] by queue id, what was told of it last; or NULL */
	uint32_t nseen;
	uint32_t beat_next;		/* the queue that the next keep alive looks at first */
	char paths_note[200];		/* why the path manager does not do what it is asked, a
					   sentence for nof_transport; else "". Written before LIVE
					   only: other loops read it */

	/* For other threads: what they may ask at any time, renewed before each LIVE. */
	atomic_uint pub_entries;	/* of an I/O queue */
	atomic_uint pub_oncs;
	atomic_bool pub_has_cache;
	_Atomic uint64_t pub_hold_ns;

	/* Facts, constant while LIVE; under lock from other threads. */
	uint64_t cap;
	uint32_t vs;
	uint32_t cc;
	uint32_t ready_ms;		/* time limit of enable and disable */
	uint16_t cntlid;
	struct nofi_ctrl_ident ident;
	uint32_t nr_io_queues;		/* granted and wanted */
	uint32_t io_entries;		/* of each */

	/* Active namespaces */
	uint32_t *nsids;
	uint32_t nnsids;
	uint32_t *old_nsids;		/* of the association before, until they were compared */
	uint32_t nold_nsids;
	uint32_t *new_nsids;		/* being read, page by page */
	uint32_t nnew;
	uint32_t new_last;		/* highest so far: the next page starts behind it */
	bool is_known;			/* has been LIVE: info may be read */
	unsigned profile;		/* command set combination to be set */
	bool has_nvm_limits;		/* CNS 06 was asked (and perhaps answered) */
	struct nofi_nvm_limits nvm_limits;
	bool has_zns;			/* the same of the two that follow */
	uint8_t zasl;
	struct nofi_effects zns_effects;
	struct nofi_ns_extra extra;

	/* resv_log.c */
	bool has_resv_log;		/* its op is queued or running */
	bool is_resv_due;		/* and has to run again */

	/* ops.c */
	struct nofi_op *op_head, *op_tail;	/* head is running */
	struct nofi_op *ended_head, *ended_tail;	/* callbacks to be called */
	struct nofi_acmd op_cmd;
	uint8_t *op_page;		/* NOFI_PAGE bytes for the running op */

	/* keepalive.c */
	struct nofi_acmd ka_cmd;
	struct nofi_timer ka_timer;
	uint64_t ka_sent;		/* when the last one went out */

	/* pathman.c */
	struct nofi_pathman *pathman;	/* NULL: no mptcp_paths, or they cannot be had */

	/* abort.c */
	struct nofi_acmd abort_cmd[NOFI_ABORTS_MAX];
	struct nofi_ioq *abort_head, **abort_tail;	/* queues with commands to abort; each
							   entry owns a reference */

	/* events.c */
	struct nofi_acmd aer_cmd;
	struct nofi_timer aer_timer;	/* re-arms late under a flood */
	uint64_t aer_window;		/* start of the second being counted */
	uint32_t aer_count;		/* events in it */
	struct nof_ctrl_stats stats;	/* size and what is computed are not in use */
	bool has_rescan;		/* the rescan op is queued or running */
	bool is_rescan_due;		/* and has to run again */
	uint32_t clear_due;		/* log pages (bit: LID) to be read for events to go on */
	bool has_clear;			/* the op that does so is queued or running */

	/* path.c, ana.c */
	struct nofi_path *paths;	/* namespaces through this controller */
	struct nofi_ana ana;
	void (*ana_next)(struct nofi_op *op);	/* after the log was read */
	bool has_ana_op;		/* the op that reads it is queued or running */
	bool is_ana_due;		/* and has to run again */
	struct nofi_timer ana_timer;	/* bounds a transition */
	bool has_acre;			/* promised to obey CRDT */
};

/* recover.c: events of its life, from any context on its thread */
void nofi_ctrl_fail(struct nof_ctrl *ctrl, const struct nofi_err *err);
__attribute__((format(printf, 3, 4)))
void nofi_ctrl_failf(struct nof_ctrl *ctrl, int code, const char *fmt, ...);
/* The same when it would fail again: no attempt follows. */
void nofi_ctrl_refused(struct nof_ctrl *ctrl, const struct nofi_err *err);
void nofi_ctrl_live(struct nof_ctrl *ctrl);
void nofi_ctrl_closed(struct nof_ctrl *ctrl);
/* ev with the reason err, or NULL. False: it changed nothing. */
bool nofi_ctrl_event(struct nof_ctrl *ctrl, enum nofi_fsm_event ev, const struct nofi_err *err);
void nofi_recover_init(struct nof_ctrl *ctrl);
/* Does what is due (teardown, attempt …) and arms the deadline. */
void nofi_recover_work(struct nof_ctrl *ctrl);
void nofi_recover_teardown(struct nof_ctrl *ctrl, bool everywhere);
/* A queue whose Disconnect was under way ended: a shutdown may have waited for it. */
void nofi_recover_left(struct nof_ctrl *ctrl);
/* "the controller is resetting: why", for calls that need it live. */
int nofi_ctrl_not_live(const struct nof_ctrl *ctrl, const char *what, struct nofi_err *err);
/* ctrl.c */
void nofi_ctrl_end_connect(struct nof_ctrl *ctrl, const struct nofi_err *err);
void nofi_ctrl_end_resets(struct nof_ctrl *ctrl, const struct nofi_err *err);
/* info.c: for other threads, before LIVE */
void nofi_ctrl_publish(struct nof_ctrl *ctrl);
/* From a member to its controller. */
#define nofi_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
void nofi_ctrl_schedule(struct nof_ctrl *ctrl);
/* FAILED or CLOSED: for good. */
bool nofi_ctrl_is_over(const struct nof_ctrl *ctrl);
/* Teardown parts in their files. */
void nofi_connect_cancel(struct nof_ctrl *ctrl);
void nofi_ka_stop(struct nof_ctrl *ctrl);
void nofi_aer_stop(struct nof_ctrl *ctrl);
/* Ends I/O queues: those of the controller's loop here, the others by a message to their loop. */
enum nofi_kill {
	NOFI_KILL_USED,			/* but not those whose Disconnect is under way */
	NOFI_KILL_ALL,
	NOFI_KILL_EVERYWHERE,		/* here also for other loops, whose threads are at rest */
};
void nofi_ioq_kill_all(struct nof_ctrl *ctrl, const struct nofi_err *why, enum nofi_kill scope);
/* One waits for the answer to its Disconnect; when it ended, nofi_recover_left() is called. */
bool nofi_ioq_is_any_leaving(struct nof_ctrl *ctrl);

/* notify.c: −1 without memory; each deliver tells one, false when none waits. */
int nofi_notify_init(struct nof_ctrl *ctrl);
/* why NULL: nothing to say. */
void nofi_notify_state(struct nof_ctrl *ctrl, enum nof_ctrl_state state,
		       const struct nofi_err *why);
bool nofi_notify_deliver(struct nof_ctrl *ctrl);
void nofi_news(struct nof_ctrl *ctrl, enum nofi_ctrl_news news);
bool nofi_news_deliver(struct nof_ctrl *ctrl);
/* At once. */
void nofi_news_tell(struct nof_ctrl *ctrl, enum nofi_ctrl_news news, const struct nofi_err *why);

/* connect.c */
int nofi_connect_start(struct nof_ctrl *ctrl, struct nofi_err *err);
/* How a queue is connected, an I/O queue at its n-th try. ctrl->lock is held, or loop's thread. */
void nofi_queue_opts_fill(const struct nof_ctrl *ctrl, uint16_t qid, uint32_t n,
			  struct nofi_queue_opts *o);
/* A connection of this entry of placement was lost: the next attempt begins with the next. */
void nofi_place_lost(struct nof_ctrl *ctrl, uint32_t place);
/* SQE and data of Connect for a queue. data: NOFI_CONNECT_LEN bytes; cntlid: for qid ≠ 0. */
enum { NOFI_CONNECT_LEN = 1024 };
void nofi_connect_build(const struct nof_ctrl *ctrl, uint16_t qid, uint16_t cntlid,
			uint32_t entries, uint8_t *sqe, uint8_t *data);
/* A refused Connect (F-4) as errno and sentence. Pure but for opts. */
int nofi_connect_status(const struct nof_opts *opts, uint16_t qid, uint16_t status,
			uint64_t result, struct nofi_err *err);

/* steps.c */
void nofi_step_enter(struct nof_ctrl *ctrl, const struct nofi_step *step);
void nofi_steps_stop(struct nof_ctrl *ctrl);
/* Polls CSTS until (CSTS & mask) == want, then enters the step. */
void nofi_csts_wait(struct nof_ctrl *ctrl, const char *what, uint32_t mask, uint32_t want,
		    uint32_t limit_ms, const struct nofi_step *then);
extern const struct nofi_step nofi_step_connect;	/* connect.c */
extern const struct nofi_step nofi_step_cap;		/* enable.c: the first of it */
extern const struct nofi_step nofi_step_identify;	/* bringup.c: the first of it */
extern const struct nofi_step nofi_step_shutdown;	/* shutdown.c */

/* cmd.c: the SQEs used here; acmd: ctrl and done are kept, the rest is overwritten. */
int nofi_acmd_send(struct nofi_acmd *c);
void nofi_cmd_prop_get(struct nofi_acmd *c, uint32_t offset, bool is_8);
void nofi_cmd_prop_set(struct nofi_acmd *c, uint32_t offset, uint64_t value);
void nofi_cmd_identify(struct nofi_acmd *c, uint8_t cns, uint32_t nsid, uint8_t csi, void *page);
void nofi_cmd_set_feature(struct nofi_acmd *c, uint8_t fid, uint32_t cdw11);
void nofi_cmd_get_log(struct nofi_acmd *c, uint8_t lid, uint64_t offset, bool rae, void *buf,
		      uint32_t len);
void nofi_cmd_abort(struct nofi_acmd *c, uint16_t sqid, uint16_t cid);
void nofi_cmd_simple(struct nofi_acmd *c, uint8_t opcode, uint32_t flags);

/* ops.c */
int nofi_op_submit(struct nofi_op *op);
void nofi_op_finish(struct nofi_op *op);	/* op->err says how */
/* Sends ctrl->op_cmd for the running op; next judges the answer. */
void nofi_op_send(struct nofi_op *op, const char *what,
		  void (*next)(struct nofi_op *op, const struct nofi_cpl *cpl), bool is_optional);
void nofi_ops_fail_all(struct nof_ctrl *ctrl, const struct nofi_err *err);

/* hostcaps.c: tells it; ends in nofi_bringup_namespaces() (bringup.c), or the ctrl's failure. */
void nofi_hostcaps_start(struct nof_ctrl *ctrl);
void nofi_bringup_namespaces(struct nof_ctrl *ctrl);
/* Index of the best combination (CNS 1Ch), which is now unless another is better. Pure. */
unsigned nofi_profile_best(const uint8_t page[NOFI_PAGE], unsigned now);

/* resv_log.c: the controller has notifications about reservations. */
void nofi_resv_event(struct nof_ctrl *ctrl);

/*
 * ns_extra.c: asks for what more is to be known of a namespace whose CNS 00 and 03 are in
 * *id; sends commands of op. done comes once, inside or later, with NULL or why not.
 */
void nofi_ns_extra(struct nofi_op *op, struct nofi_ns_ident *id,
		   void (*done)(struct nofi_op *op, const struct nofi_err *err));

/*
 * ns.c: identifying a namespace that is named, as an op. The owner fills op and name, sets op.end,
 * and finds the result in id.
 */
struct nofi_ident_op {
	struct nofi_op op;
	struct nofi_ns_name name;
	char text[64];			/* the name as the user wrote it */
	struct nofi_ns_ident id;	/* being filled */
	uint32_t last;			/* NSID looked at last: the next candidate is above it */
	/*
	 * The commands are over: op.err says how, and may be set to something else. Not called
	 * when the association ended meanwhile. NULL: nothing to do.
	 */
	void (*over)(struct nofi_ident_op *o);
};
void nofi_ident_op_start(struct nofi_op *op);
struct nof_ns *nofi_ns_new(struct nof_ctrl *ctrl);

/* nslist.c: the active list. begin, then one take per page; 1: another page is wanted. */
void nofi_nslist_begin(struct nof_ctrl *ctrl);
/* Keeps the list of the association before for nofi_events_relisted(). */
void nofi_nslist_keep(struct nof_ctrl *ctrl);
int nofi_nslist_take(struct nof_ctrl *ctrl, const uint8_t *page, struct nofi_err *err);

/* ioq.c: references, any thread */
void nofi_ioq_get(struct nofi_ioq *ioq);
void nofi_ioq_put(struct nofi_ioq *ioq);

/* abort.c */
void nofi_abort_init(struct nof_ctrl *ctrl);
void nofi_abort_ioq_init(struct nofi_ioq *ioq);
/* On the queue's loop: a command is late. */
void nofi_abort_request(struct nofi_ioq *ioq, uint16_t cid);
/* Forgets what waits; what is on the wire ends with the admin queue. */
void nofi_abort_stop(struct nof_ctrl *ctrl);

/*
 * pathman.c: mptcp_paths. Start before the first connection is made, live when the admin
 * queue is (each time), stop when the controller is over. All harmless without the option.
 */
void nofi_pathman_start(struct nof_ctrl *ctrl);
void nofi_pathman_live(struct nof_ctrl *ctrl);
/* The program is awake anyway: a look at what does not tell of itself. Loop's thread. */
void nofi_pathman_beat(struct nof_ctrl *ctrl);
void nofi_pathman_stop(struct nof_ctrl *ctrl);
/* On the queue's loop: its commands are watched from now on. */
void nofi_pathman_ioq_ready(struct nofi_ioq *ioq);
/* Sends a new connection another way while its own is known not to work. Under ctrl->lock. */
void nofi_pathman_steer(const struct nof_ctrl *ctrl, struct nofi_queue_opts *o);

/* transport_watch.c: looks at the connections and tells what changed. Loop's thread. */
void nofi_transport_changed(struct nof_ctrl *ctrl);
/* At one that has just become ready. */
void nofi_transport_came(struct nof_ctrl *ctrl, const struct nofi_queue *q);
/*
 * The program is awake for a keep alive: a look at some of the connections, at others the next
 * time, and whether they are MPTCP still. One that is not will end, later in this turn.
 */
void nofi_transport_beat(struct nof_ctrl *ctrl);
void nofi_transport_forget(struct nof_ctrl *ctrl);

/* transport_events.c: hears of changes from the kernel, where that is permitted. */
void nofi_transport_events_start(struct nof_ctrl *ctrl);
void nofi_transport_events_stop(struct nof_ctrl *ctrl);
/* Only of connections with these tokens, from now on. −ENOENT: none are heard anyway. */
int nofi_transport_events_filter(struct nof_ctrl *ctrl, const uint32_t *tokens, uint32_t count);

/* keepalive.c, events.c */
void nofi_ka_start(struct nof_ctrl *ctrl);
void nofi_aer_start(struct nof_ctrl *ctrl);
/* Live again: tells which namespaces came and went meanwhile. */
void nofi_events_relisted(struct nof_ctrl *ctrl);

#endif
