/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The life of an association, as a pure function: state, event and time in, state,
 * deadline and things to do out. It owns no timer, no connection and no memory, so
 * that a test can walk through all of it.
 *
 *	          connect          live          lost, reset        torn down
 *	   NEW ───────────► FIRST ──────► LIVE ─────────────► RESETTING ─────────┐
 *	                                   ▲                                     ▼
 *	                                   └────────────── ATTEMPT ◄─────────── WAIT
 *	                                         live         │      time is up  ▲
 *	                                                      └──────────────────┘
 *	                                                              lost
 *	disconnect:  LIVE ──► DELETING ──► CLOSED;  from the others at once to CLOSED
 *	FAILED:      FIRST lost;  LIVE lost and no attempt is wanted;  the time or the
 *	             number of attempts is over;  the target refuses for good
 *
 * Every state but NEW, LIVE, FAILED and CLOSED has a deadline; what LIVE waits for
 * has its own (commands, keep alive).
 */
#ifndef NOF_CTRL_FSM_H
#define NOF_CTRL_FSM_H

#include <stdbool.h>
#include <stdint.h>

enum nofi_fsm_state {
	NOFI_FSM_NEW,
	NOFI_FSM_FIRST,			/* the user's connect: tried once */
	NOFI_FSM_LIVE,
	NOFI_FSM_RESETTING,		/* lost: what is left of it has to be taken down */
	NOFI_FSM_WAIT,			/* until the next attempt */
	NOFI_FSM_ATTEMPT,		/* to reconnect */
	NOFI_FSM_DELETING,		/* clean shutdown */
	NOFI_FSM_FAILED,
	NOFI_FSM_CLOSED,
	NOFI_FSM_STATES,
};

enum nofi_fsm_event {
	NOFI_FSM_CONNECT,		/* the user wants it */
	NOFI_FSM_UP,			/* the bring-up is complete */
	NOFI_FSM_LOST,			/* the attempt, or the association, failed */
	NOFI_FSM_REFUSED,		/* the same, and it would fail again */
	NOFI_FSM_TORN_DOWN,		/* nothing of the old association is left */
	NOFI_FSM_TICK,			/* the deadline has passed (early ones do no harm) */
	NOFI_FSM_RESET,			/* the user wants a new association */
	NOFI_FSM_DISCONNECT,		/* the user wants the end */
	NOFI_FSM_DOWN,			/* the clean shutdown is complete */
	NOFI_FSM_FREE,			/* the user wants the end at once */
	NOFI_FSM_EVENTS,
};

/* What the caller has to do. */
enum nofi_fsm_act {
	NOFI_FSM_ACT_STATE = 1u << 0,	/* tell the user where it is now */
	NOFI_FSM_ACT_TEARDOWN = 1u << 1,	/* close everything, then TORN_DOWN */
	NOFI_FSM_ACT_ATTEMPT = 1u << 2,	/* begin to connect */
	NOFI_FSM_ACT_SHUTDOWN = 1u << 3,	/* begin the clean end */
	NOFI_FSM_ACT_FAST_FAIL = 1u << 4,	/* what waits for it shall wait no longer */
};

/* Why it is FAILED. */
enum nofi_fsm_why {
	NOFI_FSM_WHY_LOST,		/* and no attempt was wanted, or it had never been live */
	NOFI_FSM_WHY_TIME,		/* ctrl_loss_tmo */
	NOFI_FSM_WHY_COUNT,		/* max_reconnects */
	NOFI_FSM_WHY_REFUSED,
	NOFI_FSM_WHY_STUCK,		/* FIRST or DELETING took too long as a whole */
	NOFI_FSM_WHY_FREED,
};

#define NOFI_FSM_NEVER UINT64_MAX

/* All in ns. */
struct nofi_fsm_config {
	uint64_t delay_max;		/* cap of the pauses between attempts, ≥ 1 */
	uint64_t loss_tmo;		/* from the loss to FAILED; 0: no attempt, NEVER */
	uint64_t fast_fail_tmo;		/* from the loss to FAST_FAIL, NEVER */
	uint64_t attempt_tmo;		/* backstop of one attempt; its steps have their own */
	uint64_t delete_tmo;		/* backstop of the clean end */
	int32_t max_attempts;		/* per loss, −1: any number */
};

struct nofi_fsm {
	struct nofi_fsm_config cfg;
	enum nofi_fsm_state state;
	enum nofi_fsm_why why;		/* of FAILED */
	uint32_t attempts;		/* begun since the loss */
	uint32_t level;			/* of the back-off; outlives a short LIVE */
	bool is_asked;			/* the loss was the user's wish: one attempt in any case */
	bool is_fast_failed;		/* FAST_FAIL was said for this loss */
	uint64_t lost_at;		/* of this loss; valid from RESETTING to the next LIVE */
	uint64_t live_at;
	uint64_t until;			/* of the state; NEVER: none */
	uint64_t delay;			/* the pause of this WAIT, for the sentence */
};

void nofi_fsm_init(struct nofi_fsm *f, const struct nofi_fsm_config *cfg);

/* random: any 32 bits, for the jitter. Returns enum nofi_fsm_act bits; 0: nothing happened. */
unsigned nofi_fsm_event(struct nofi_fsm *f, enum nofi_fsm_event ev, uint64_t now,
			uint32_t random);

/* When to come back with TICK; NEVER: no need to. */
uint64_t nofi_fsm_deadline(const struct nofi_fsm *f);

/* A step of this attempt may take so long for good reasons: more time for the backstop. */
void nofi_fsm_extend(struct nofi_fsm *f, uint64_t ns);

/* FAILED or CLOSED. */
bool nofi_fsm_is_over(const struct nofi_fsm *f);

#endif
