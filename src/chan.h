/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A channel and its requests. io.c and io_raw.c make requests of calls, io_send.c sends
 * them as commands, io_done.c takes the answers, io_wait.c keeps what cannot be sent now,
 * chan_paths.c knows the ways, chan.c is the channel's life, sync.c the waiting helpers.
 */
#ifndef NOF_CHAN_H
#define NOF_CHAN_H

#include <stdbool.h>
#include <stdint.h>

#include "ctrl/ctrl.h"
#include "ctrl/ns.h"
#include "ctrl/path.h"
#include "hedge.h"
#include "io.h"
#include "nof.h"

struct nof_io;
struct nofi_cpath;
struct nofi_hedge;
struct nofi_hedger;

/* How a piece ended that was decided upon when its mate has ended, too. */
struct nofi_verdict {
	enum nofi_retry what;
	uint64_t wait_ns;
};

/*
 * One command: all that is needed to send it, and to send it again. A request owns the first of
 * its pieces, further ones come from the channel's pool: no I/O allocates.
 *
 *	cut ─► sent ─► done
 *	         ▲ └─► held (until its time has come) ─┐
 *	         └──── again (no way has room) ◄──────┘
 *
 * The fields before fuse, two cache lines, are all that a command needs which goes well.
 */
struct nofi_piece {
	struct nofi_rw rw;		/* the command; the queue has a pointer to it. done and arg
					   never change */
	uint64_t sent_ns;		/* when; or while it is held, until when */
	struct nof_io *io;		/* whose it is */
	struct nofi_cpath *path;	/* where it was sent */
	struct nofi_queue *queue;	/* by which it was sent; is there until its end */
	struct nofi_cpath *avoid;	/* rather not there: only compared; NULL: anywhere */
	uint32_t more;			/* blocks that follow these: it was cut again */
	uint16_t tries;			/* how often it was sent */
	uint8_t class;			/* enum nofi_io_class */
	bool is_raw;			/* fields from fuse on mean something; else they are 0 */
	struct iovec one;		/* where rw.iov points when there is a plain buffer */

	uint8_t fuse;			/* FUSE bits of the SQE's flags */
	struct nofi_piece *mate;	/* second of a fused pair; NULL: none */
	struct nofi_piece *next;	/* pool, again or held list */
	uint32_t cdw13[3];		/* CDW13 to CDW15; 0 unless raw */
	uint32_t nsid;			/* 0: the path's */
	uint32_t cdw2, cdw3;
	struct nofi_verdict verdict;	/* of a fused one */
	/* io_hedge.c, of no meaning without chan->hedger. */
	struct nofi_hedge *hedge;	/* it was sent once more, and no answer has come; or NULL */
	struct nofi_piece *watch_prev, *watch_next;
	bool was_spare;			/* queue was the spare one */
	bool is_watched;		/* in the list of those that may become overdue */
	bool is_overdue;		/* counts in path->overdue */
} __attribute__((aligned(64)));

struct nofi_pieces {
	struct nofi_piece *head, **tail;
};

/*
 * One operation of the caller: one command, or the many it is split into. Taken
 * from its channel's table, so that no I/O allocates.
 *
 * A usual one (nofi_chan.usual) is one command, whose piece says all; what follows it here is
 * written by nofi_io_spell_out() if that command fails. It touches three cache lines: the
 * first, and the two in which the piece's first fields are.
 */
struct nof_io {
	struct nof_io *next;		/* free list, pending list or instant list */
	struct nof_chan *chan;
	nof_done_fn *done;
	void *arg;
	int error;			/* of the first command that failed */
	uint16_t status;
	uint16_t qid;			/* of the queue that carried the last command */
	uint8_t opcode;
	bool is_usual;			/* see above */
	bool is_pending;		/* in the channel's pending list: left is not 0 */
	bool is_first_used;		/* first is one of the pieces */
	bool is_serial;			/* one piece at a time: they share the scratch */
	bool is_raw;			/* first (and its mate) were filled by the submitter */
	bool is_fail_fast;		/* NOF_IO_FAIL_FAST */
	bool is_atomic;			/* NOF_IO_ATOMIC: is not cut */
	bool is_unknown;		/* a command of it that changes something was lost */
	bool is_epoch;			/* of the two that nof_chan_drain() tells apart */
	uint8_t fused_left;		/* of two, those that have not ended */
	uint32_t pieces;		/* cut, and not done */

	struct nofi_piece first;

	uint64_t left;			/* blocks not cut yet; 1 for a command without blocks */
	uint32_t cdw12;			/* FUA, LR, DEAC */
	const struct iovec *iov;	/* cursor: where the next piece's data starts … */
	size_t iov_off;			/* … and the byte in it */
	uint64_t slba;			/* of the next piece */
	const char *name;		/* for the sentence, static */
	const char *detail;		/* of a transport error: static, or the channel's why */
	uint64_t result;
	uint64_t offset, bytes;		/* what was asked for, for the sentence */
	uint8_t scratch[NOFI_IO_SCRATCH];	/* small data: DSM ranges, keys */
} __attribute__((aligned(64)));
_Static_assert(offsetof(struct nof_io, first) == 64, "a request's first cache line");
_Static_assert(offsetof(struct nofi_piece, io) == 64 && offsetof(struct nofi_piece, fuse) <= 128,
	       "the two of its piece");

/* A channel's way to its namespace: an I/O queue of one controller, on the channel's loop. */
struct nofi_cpath {
	struct nofi_way way;		/* first: policies see this of it */
	struct nof_chan *chan;
	struct nofi_path *path;		/* holds a reference */
	struct nofi_ioq_user user;	/* its share of an I/O queue; nothing is held while idle */
	struct nofi_queue *q;		/* user.ioq->q while ready, else NULL */
	struct nofi_waiter waiter;	/* for a slot */
	uint16_t qid;			/* of q, now or last */
	struct nofi_ioq_user spare;	/* io_hedge.c: its share of another queue there … */
	struct nofi_queue *spare_q;	/* … while ready, else NULL */
	uint32_t overdue[2];		/* reads without an answer on q, and on spare_q */
	bool wants_queue;		/* there is a new association */
	bool is_opening;		/* its queue is being connected */
	bool is_dying;			/* q is dead, its commands are being completed */
	/* As it was told last. */
	enum nofi_path_state state;
	uint32_t gen;			/* association in which a queue was asked for */
	uint32_t association;		/* in which the namespace was identified */
	bool is_removed;		/* of the namespace: goes when nothing is in flight */
	bool is_final;			/* does not return by itself, as far as is known here */
	bool is_ana_stale;
	uint32_t fails;			/* queues that could not be connected, in a row */
	struct nofi_timer again;	/* asks again: this host was short of something */
	struct nofi_ns_ident id;	/* the namespace through it: NSID, limits */
	uint64_t hold_ns;
	uint16_t crdt[3];
	uint32_t depth;			/* commands of a queue */
	uint32_t max_transfer;
	uint32_t max_retries;
	struct nofi_err err;		/* why it cannot be used */
	struct nofi_path_stats stats;
};

/* One nof_chan_drain() under way. */
struct nofi_drain {
	struct nofi_drain *next;
	nof_done_fn *done;
	void *arg;
};

struct nof_chan {
	/*
	 * What reads and writes need that are like most: one command on the one way there is, and
	 * nothing else waits. In one cache line; nofi_chan_set_usual() writes it whenever
	 * something changes that the I/O path would have to ask otherwise.
	 */
	struct nofi_cpath *usual[2];	/* of reads, of writes; NULL: go the long way */
	uint64_t usual_size;		/* bytes of the namespace */
	uint32_t usual_most;		/* bytes of one command, and ≤ usual_size */
	uint32_t usual_mask;		/* of a block, less 1 */
	struct nof_io *free;		/* requests not in use, of those that were in use once */
	struct nof_io *pend_head;	/* have commands that found no slot */
	struct nofi_pieces again;	/* may be sent again as soon as there is a way with room */

	struct nof_loop *loop;
	uint32_t inflight;		/* operations not completed */
	uint32_t epoch_inflight[2];	/* of these, those of each epoch */
	bool is_epoch;			/* of new ones */
	uint8_t usual_shift;		/* of a block */
	bool is_short;			/* a request waits for a piece */
	bool is_closing;		/* close was called; goes when nothing is in flight */
	struct nofi_drain *drains;	/* wait for the other epoch to end */

	struct nof_ns *ns;		/* referenced */
	struct nofi_ns_user user;	/* hears of changes of paths */
	struct nofi_ns_ident id;	/* the namespace as this channel's thread knows it */

	/* Paths: the ways of cpaths, in their order. */
	struct nofi_way *ways[NOFI_PATHS_MAX];
	uint32_t nways;
	struct nofi_cpath *only;	/* the one active way; NULL: none, or several */
	uint8_t active[NOFI_PATHS_MAX];	/* indexes of ways that come into question */
	uint32_t nactive;
	uint32_t turn;			/* memory of the policy */
	enum nof_iopolicy iopolicy;
	bool needs_look;		/* a path found no place in ways, or got no queue and is
					   to be asked for another */
	bool is_accepting;		/* a way is active, or may become so: requests may wait */
	bool is_expired;		/* they waited for too long: none, until a way is active */
	bool is_fail_fast;		/* nof_chan_set_fail_fast() */
	bool is_broken;			/* its loop's engine failed: nothing is tried again */

	struct nofi_hedger *hedger;	/* io_hedge.c; NULL: no path has the option */

	/* Requests and pieces. */
	void *table;			/* memory of the next two: pool, ios */
	struct nof_io *ios;		/* [limit]; the first nios were in use once */
	struct nofi_piece *pool;	/* [npool]; the last npieces were in use once */
	struct nofi_piece *pieces;	/* not in use; NULL when all npool are */
	uint32_t nios, npieces, npool;
	bool needs_pump;		/* the deferred call has to send what waits */
	struct nofi_pieces held;	/* not before their time */
	struct nofi_timer hold_timer;	/* the first of them */
	struct nofi_timer wait_timer;	/* bounds the time without an active way */
	struct nof_io **pend_tail;
	struct nof_io *instant_head, **instant_tail;	/* complete without a command, in the
							   deferred call */
	uint32_t instants;		/* how many */
	struct nofi_defer defer;	/* instant completions, pumping, the end */
	uint32_t limit;
	struct nofi_drain *drains_next;	/* wait for that, and for the present one */
	struct nofi_drain *drained;	/* over; told in the deferred call */

	bool is_asked;			/* nof_chan_open() returned, its completion is owed */
	bool is_open;			/* ready was told */
	bool is_gone;			/* only its memory is left, until the deferred call */
	bool is_awaited;		/* nof_chan_close() waits for is_gone and frees it */
	bool is_orphan;			/* freed when the last message has arrived */
	struct nof_chan **out;		/* of the open under way */
	nof_done_fn *done;
	void *arg;
	struct nofi_err why;		/* what detail of a failed request points to that is still
					   under way; why no way is left */
};

_Static_assert(offsetof(struct nof_chan, loop) == 64, "the usual fields: a cache line");

/* io.c: is it on the namespace, and writable? −ERANGE, −EROFS as the public call's failure. */
int nofi_io_check_place(const struct nofi_ns_ident *ns, const char *name, bool is_write,
			uint64_t slba, uint64_t blocks);
/* io.c: at most max blocks and not across an atomic boundary? −EMSGSIZE. */
int nofi_io_check_atomic(const struct nofi_ns_ident *ns, const char *name, uint32_t max,
			 uint64_t slba, uint64_t blocks);

/* cmd_raw.c: parts of commands, and a request that completes without one. */
void nofi_io_put_lba(struct nofi_io_cmd *cmd, uint64_t lba);
void nofi_io_put_prinfo(struct nofi_io_cmd *cmd, const struct nofi_ns_ident *ns, uint64_t lba);
int nofi_io_nothing(struct nof_chan *chan, const char *name, nof_done_fn *done, void *arg);
/* cmd_pi.c: nof_comparev() where the blocks have protection information. chan is not NULL. */
int nofi_io_compare_pi(struct nof_chan *chan, const struct iovec *iov, int iovcnt,
		       uint64_t offset, uint32_t flags, nof_done_fn *done, void *arg);
/* The same for nof_compare_write(): cmp and wr are as without it; cmp is changed. */
int nofi_io_fused_pi(struct nof_chan *chan, struct nofi_io_cmd *cmp, const struct nofi_io_cmd *wr,
		     uint64_t slba, uint32_t flags, nof_done_fn *done, void *arg);

static inline struct nofi_cpath *nofi_cpath_of(struct nofi_way *w)
{
	return (struct nofi_cpath *)w;
}

/* ---- chan_paths.c: the ways ---- */

/*
 * Learns what the paths are now, and asks for queues. Returns how many queues are being
 * connected; with none, chan->why says why.
 */
uint32_t nofi_chan_look(struct nof_chan *chan);
/* Which ways come into question, and whether requests may wait for one. */
void nofi_chan_reselect(struct nof_chan *chan);
/* What nof_chan.usual rests on may have changed. */
void nofi_chan_set_usual(struct nof_chan *chan);
/* Opening and requests: what waits can go on, or cannot any more. */
void nofi_chan_go_on(struct nof_chan *chan);
/* Whether it makes sense to wait for a queue though none is being connected. */
bool nofi_chan_may_wait(const struct nof_chan *chan);
/* A command of cp ended because its queue is dead. */
void nofi_cpath_lost(struct nofi_cpath *cp, int code, const char *why);
/* An answer said that the ANA state is not what we believed. */
void nofi_cpath_stale(struct nofi_cpath *cp);
/* Whether another way than cp could be used now. */
struct nofi_cpath *nofi_chan_other(struct nof_chan *chan, const struct nofi_cpath *cp);
/* Whether a controller is live and has the namespace. */
bool nofi_chan_has_live(const struct nof_chan *chan);
/* Gives the queue back; what is in flight on it alone completes before this returns. */
void nofi_cpath_put(struct nofi_cpath *cp);
bool nofi_cpath_is_shared(const struct nofi_cpath *cp);
void nofi_chan_free_paths(struct nof_chan *chan);
/* Frees those that were removed and are not in use; looks again if that was waited for. */
void nofi_chan_reap_paths(struct nof_chan *chan);

/* ---- chan.c ---- */

/* A request that was never in use; NULL: there is none left. */
struct nof_io *nofi_chan_fresh_io(struct nof_chan *chan);
/* The list of free pieces is empty: one that was never in use comes to it, if there is one. */
void nofi_chan_more_pieces(struct nof_chan *chan);

/* The first queue is ready (err NULL), or none will be. */
void nofi_chan_opened(struct nof_chan *chan, uint16_t qid, const struct nofi_err *err);
/* Runs the deferred call soon. */
void nofi_chan_kick(struct nof_chan *chan);

/* ---- io_wait.c: what waits ---- */

void nofi_pieces_init(struct nofi_pieces *l);
void nofi_pieces_add(struct nofi_pieces *l, struct nofi_piece *p);
/* p will be sent again, not before so long from now. */
void nofi_io_again(struct nofi_piece *p, uint64_t wait_ns);
/* The same as nofi_io_end(), but its callback comes in the deferred call. */
void nofi_io_cancel(struct nof_io *io, int code, const char *why);
/* Takes the pieces of a request out that are not on their way. */
void nofi_io_unwait(struct nof_io *io);
/* Fails everything that waits. */
void nofi_io_fail_waiting(struct nof_chan *chan, int code, const char *why);
/* There is nothing to wait for: fails it with chan->why. */
void nofi_io_no_way(struct nof_chan *chan);
void nofi_io_wait_init(struct nof_chan *chan);
/* The last operation of an epoch completed. */
void nofi_io_epoch_over(struct nof_chan *chan);
/*
 * An operation of several requests, some of which come later: it is one for nof_chan_drain().
 * hold returns what release wants; release comes before its completion is told.
 */
bool nofi_io_hold(struct nof_chan *chan);
void nofi_io_release(struct nof_chan *chan, bool epoch);
void nofi_io_tell_drained(struct nof_chan *chan);

/*
 * io_send.c: from requests to commands. A request from nofi_io_get() is either submitted, or
 * completed by nofi_io_instant(), or given back.
 */
int nofi_io_get(struct nof_chan *chan, const char *name, uint32_t flags, nof_done_fn *done,
		void *arg, struct nof_io **out);
void nofi_io_submit(struct nof_io *io);
/* Submits what is pending as far as there are slots. */
void nofi_io_pump(struct nof_chan *chan);
/* One for io: its first, or one of the channel's, which must have one left. */
struct nofi_piece *nofi_piece_get(struct nof_io *io);
void nofi_piece_put(struct nofi_piece *p);
/* The first part of a piece that had to be cut again is done. False: the rest is not wanted. */
bool nofi_piece_next_part(struct nofi_piece *p, const struct nofi_ns_ident *id);

/* ---- io_done.c: from commands back to requests ---- */

/* A usual request is one no more: fills in what it had no need of. */
void nofi_io_spell_out(struct nof_io *io);
/* io.c */
const char *nofi_io_name(enum nofi_opcode opcode);
/* A piece's command ended: nofi_cmd_done_fn. */
void nofi_piece_ended(void *arg, const struct nofi_cpl *cpl);
/* The first failure of a request is its own; what waits of it waits no more. */
void nofi_io_record(struct nof_io *io, int error, uint16_t status, const char *detail);
void nofi_io_unpend(struct nof_io *io);
void nofi_io_put(struct nof_io *io);
void nofi_io_instant(struct nof_io *io);
/* Ends a request that is in no list, if no piece of it is left. */
void nofi_io_end(struct nof_io *io, int code, uint16_t status, const char *why);
/* Completes what needed no command; all: also what is added meanwhile. */
void nofi_io_run_instant(struct nof_chan *chan, bool all);
/* Gives the connection up: everything open on the channel completes before it returns. */
void nofi_chan_abort(struct nof_chan *chan, const struct nofi_err *why);
/* The last operation completed of a channel that is closing. */
void nofi_chan_drained(struct nof_chan *chan);

#endif
