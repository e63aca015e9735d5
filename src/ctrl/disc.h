/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Several discovery services as one: a tree of services, each named by entries of
 * the log of another, on one loop.
 *
 *	disc_entry.c    what an entry of a log leads to; untrusted in, checked out
 *	disc_tree.c     from the logs that were read: which services there are, and what
 *	                they know together. No I/O
 *	disc_service.c  the life of one service: connect, read, leave or keep
 *	disc_walk.c     nof_discover(): read each once
 *	disc_watch.c    nof_discover_watch(): and stay informed
 *
 * A service is asked when it is due and there is room (max_parallel). Whatever
 * happens to one ends in nofi_disc_changed(), which only defers disc->step(): there
 * the tree is built anew, what is due is started, and the owner looks whether it
 * is done. Every service under way has a timer.
 */
#ifndef NOF_CTRL_DISC_H
#define NOF_CTRL_DISC_H

#include <stdbool.h>
#include <stdint.h>

#include "ctrl/ident.h"
#include "mptcp/sock.h"
#include "queue/loop.h"

enum { NOFI_DISC_SERVICES_MAX = 64, NOFI_DISC_RECORDS_MAX = 262144 };

/* Bits of struct nof_discovery_entry. */
enum {
	NOFI_TRTYPE_TCP = 3,
	NOFI_SUBTYPE_REFERRAL = 1, NOFI_SUBTYPE_NVM = 2, NOFI_SUBTYPE_CURRENT = 3,
	NOFI_TREQ_SECURE_MASK = 3, NOFI_TREQ_SECURE_REQUIRED = 1, NOFI_TREQ_NO_SQFLOW = 1u << 2,
	NOFI_EFLAGS_DUPRETINFO = 1u << 0, NOFI_EFLAGS_EPCSD = 1u << 1, NOFI_EFLAGS_NCC = 1u << 2,
};

/* Where an entry leads: checked, behind the address map. */
struct nofi_disc_ref {
	char traddr[256];
	char trsvcid[32];
	char nqn[224];
	struct nofi_addr addr;		/* of traddr and trsvcid; len 0: a name */
	uint8_t subtype;
	uint8_t treq;
	uint16_t eflags;
	struct nofi_err err;		/* code ≠ 0: why it cannot be used */
};

/*
 * Fills *ref from an entry of a log that was read with opts: their address map is applied,
 * and a link-local address has their interface. ref->err is set, and returned, when it
 * leads nowhere.
 */
int nofi_disc_ref(const struct nof_discovery_entry *e, const struct nof_opts *opts,
		  struct nofi_disc_ref *ref);
/* Fills ref->addr from its texts if they are numbers. */
void nofi_disc_ref_addr(struct nofi_disc_ref *ref);
/* The same address and port, however they are written. */
bool nofi_disc_same_place(const struct nofi_disc_ref *a, const struct nofi_disc_ref *b);
/* The address map of options of any size; "" when they have none. */
const char *nofi_disc_map(const struct nof_opts *opts);
/* 0, or EINVAL for limits that make no sense; in NULL: defaults. */
int nofi_disc_opts(const struct nof_discover_opts *in, struct nof_discover_opts *out,
		   struct nofi_err *err);

enum nofi_disc_state {
	NOFI_DISC_REST,			/* nothing under way; asked again when is_due */
	NOFI_DISC_CONNECTING,
	NOFI_DISC_READING,
	NOFI_DISC_LEAVING,		/* read; the clean end of the connection */
};

struct nofi_disc;

struct nofi_disc_service {
	struct nofi_disc *disc;
	struct nofi_disc_service *next;	/* in the order of the tree, breadth first */
	struct nofi_disc_ref ref;	/* how it was named first */
	char nqn[224];			/* to ask it by */
	char own_nqn[224];		/* what it calls itself, "" before it was asked */
	struct nofi_addr peer;		/* where it was reached last; len 0: never */
	enum nofi_disc_state state;
	bool is_due;			/* to be asked (again) */
	bool is_kept;			/* connected while it rests: it can tell changes */
	bool is_unique_refused;		/* its own NQN did not work: stay with the well-known */
	bool is_same;			/* found out to be another of the list */
	struct nof_ctrl *ctrl;		/* NULL: not connected */
	struct nof_discovery_log *log;	/* the last whole one; NULL before */
	struct nof_discovery_log *new_log;	/* being read */
	struct nofi_disc_ref *refs;	/* of log: services it refers to */
	uint32_t nrefs;
	struct nofi_err err;		/* why log is missing or old; code 0: it is current */
	struct nofi_timer timer;	/* under way: its limit; resting: when it is due again */
	uint32_t failures;		/* in a row, for the pause before the next try */

	/* Of the tree, built anew from the root each time (disc_tree.c). */
	bool is_seen;			/* some log, or the user, names it */
	uint32_t depth;
	uint32_t index;
	struct nofi_disc_service *parent;	/* the first that named it; NULL: the user */
	/* The other way to the same information: this one is asked while that does not work. */
	struct nofi_disc_service *alternative_to;
};

struct nofi_disc {
	struct nof_loop *loop;
	struct nof_opts *opts;		/* of the user: what every service is asked with */
	struct nof_discover_opts dopts;	/* checked */
	struct nofi_disc_service *root;	/* list; the first is the user's and stays */
	uint32_t nservices;
	uint32_t nbusy;			/* under way */
	bool is_watch;			/* services are kept and tried again */
	bool is_stopped;		/* being torn down: callbacks only clean up */
	struct nofi_defer work;		/* runs step */
	void (*step)(struct nofi_disc *d);
};

/* disc_tree.c */
struct nofi_disc_service *nofi_disc_add(struct nofi_disc *d, const struct nofi_disc_ref *ref);
/* Takes the referrals out of a log that was read. −ENOMEM. */
int nofi_disc_take_refs(struct nofi_disc_service *s, const struct nof_discovery_log *log);
/* Which services there are, by the logs so far; those nobody names any more go. */
int nofi_disc_rebuild(struct nofi_disc *d);
/* All logs as one. −ENOMEM. */
int nofi_disc_merge(const struct nofi_disc *d, struct nof_discovery_log **out);
/* Whether the service is to be asked now. */
bool nofi_disc_is_wanted(const struct nofi_disc_service *s);
/* Another service of the list that is this one; NULL: none. */
struct nofi_disc_service *nofi_disc_find_same(const struct nofi_disc_service *s);

/* Entries with all but .service the same; those that lead to the same place. */
bool nofi_entry_equal(const struct nof_discovery_entry *a, const struct nof_discovery_entry *b);
bool nofi_entry_same_place(const struct nof_discovery_entry *a,
			   const struct nof_discovery_entry *b);
uint32_t nofi_entry_hash(const struct nof_discovery_entry *e, uint32_t seed);	/* of the place */

/* disc_service.c */
int nofi_disc_init(struct nofi_disc *d, struct nof_loop *loop, const struct nof_opts *opts,
		   const struct nof_discover_opts *dopts, struct nofi_err *err);
/* Closes and frees all. */
void nofi_disc_fini(struct nofi_disc *d);
/* Asks the service: connects it, or reads over the connection it has. */
int nofi_disc_ask(struct nofi_disc_service *s);
/* Ends what is under way; the reason becomes the service's error. */
void nofi_disc_fail(struct nofi_disc_service *s, const struct nofi_err *err);
/* It is not needed at present: closes its connection, and what it told is void. */
void nofi_disc_forget(struct nofi_disc_service *s);
/* Closes its connection, if any, and frees it; it is in no list. */
void nofi_disc_service_free(struct nofi_disc_service *s);
/* Starts what is due, as far as there is room. True: something is under way. */
bool nofi_disc_run(struct nofi_disc *d);
void nofi_disc_changed(struct nofi_disc *d);

/* discovery.c: nof_discovery_get() with LSP bits; whether they are refused shows by itself. */
int nofi_discovery_get(struct nof_ctrl *ctrl, uint8_t lsp, struct nof_discovery_log **log,
		       nof_done_fn *done, void *arg);

#endif
