/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See fsm.h; tests/unit/test_fsm_model.c walks through every state it can reach. */
#include "ctrl/fsm.h"

enum { LEVEL_MAX = 32 };		/* 100 ms << 31 is beyond any cap */
#define DELAY_FIRST 100000000ull	/* 100 ms */

void nofi_fsm_init(struct nofi_fsm *f, const struct nofi_fsm_config *cfg)
{
	*f = (struct nofi_fsm){ .cfg = *cfg, .until = NOFI_FSM_NEVER };
}

bool nofi_fsm_is_over(const struct nofi_fsm *f)
{
	return f->state == NOFI_FSM_FAILED || f->state == NOFI_FSM_CLOSED;
}

static uint64_t add(uint64_t a, uint64_t b)
{
	return a > NOFI_FSM_NEVER - b ? NOFI_FSM_NEVER : a + b;
}

static bool is_outage(const struct nofi_fsm *f)
{
	return f->state == NOFI_FSM_RESETTING || f->state == NOFI_FSM_WAIT ||
	       f->state == NOFI_FSM_ATTEMPT;
}

/* A reset that was asked for is tried once whatever the options say of losses. */
static uint64_t loss_end(const struct nofi_fsm *f)
{
	if (f->is_asked && !f->cfg.loss_tmo)
		return NOFI_FSM_NEVER;
	return add(f->lost_at, f->cfg.loss_tmo);
}

static bool has_attempts_left(const struct nofi_fsm *f)
{
	if (f->is_asked && !f->attempts)
		return true;
	if (!f->cfg.loss_tmo)
		return false;
	return f->cfg.max_attempts < 0 || f->attempts < (uint32_t)f->cfg.max_attempts;
}

/* The pause before the attempt that comes next: none, then 100 ms doubled, ±25 %, capped. */
static uint64_t pause_for(const struct nofi_fsm *f, uint32_t random)
{
	uint64_t base, spread;

	if (!f->level)
		return 0;
	base = DELAY_FIRST << (f->level - 1);
	if (base > f->cfg.delay_max)
		base = f->cfg.delay_max;
	spread = base / 2;
	base = base - spread / 2 + (spread >> 16) * (random >> 16);
	return base < f->cfg.delay_max ? base : f->cfg.delay_max;
}

static unsigned enter(struct nofi_fsm *f, enum nofi_fsm_state state, uint64_t until, unsigned acts)
{
	f->state = state;
	f->until = until;
	return acts | NOFI_FSM_ACT_STATE;
}

static unsigned fail(struct nofi_fsm *f, enum nofi_fsm_why why)
{
	f->why = why;
	return enter(f, NOFI_FSM_FAILED, NOFI_FSM_NEVER, NOFI_FSM_ACT_TEARDOWN);
}

static unsigned shut(struct nofi_fsm *f)
{
	return enter(f, NOFI_FSM_CLOSED, NOFI_FSM_NEVER, NOFI_FSM_ACT_TEARDOWN);
}

/* Out of an attempt, or of the teardown: into the pause, or the end. */
static unsigned wait_or_fail(struct nofi_fsm *f, uint64_t now, uint32_t random, unsigned acts)
{
	if (now >= loss_end(f))
		return fail(f, NOFI_FSM_WHY_TIME);
	if (!has_attempts_left(f))
		return fail(f, f->cfg.loss_tmo ? NOFI_FSM_WHY_COUNT : NOFI_FSM_WHY_LOST);
	f->delay = pause_for(f, random);
	return enter(f, NOFI_FSM_WAIT, add(now, f->delay), acts);
}

static unsigned lose(struct nofi_fsm *f, uint64_t now, bool is_asked)
{
	/* Live for long enough: the next trouble is a new one. */
	if (now >= add(f->live_at, f->cfg.delay_max))
		f->level = 0;
	f->lost_at = now;
	f->attempts = 0;
	f->is_asked = is_asked;
	f->is_fast_failed = false;
	if (!has_attempts_left(f))
		return fail(f, f->cfg.loss_tmo ? NOFI_FSM_WHY_COUNT : NOFI_FSM_WHY_LOST);
	return enter(f, NOFI_FSM_RESETTING, now, NOFI_FSM_ACT_TEARDOWN);
}

static unsigned tick(struct nofi_fsm *f, uint64_t now, uint32_t random)
{
	unsigned acts = 0;

	if (is_outage(f)) {
		if (now >= loss_end(f))
			return fail(f, NOFI_FSM_WHY_TIME);
		if (!f->is_fast_failed && now >= add(f->lost_at, f->cfg.fast_fail_tmo)) {
			f->is_fast_failed = true;
			acts = NOFI_FSM_ACT_FAST_FAIL;
		}
	}
	if (now < f->until)
		return acts;
	switch (f->state) {
	case NOFI_FSM_WAIT:
		f->attempts++;
		if (f->level < LEVEL_MAX)
			f->level++;
		/* The user was told of it when the pause began. */
		f->state = NOFI_FSM_ATTEMPT;
		f->until = add(now, f->cfg.attempt_tmo);
		return acts | NOFI_FSM_ACT_ATTEMPT;
	case NOFI_FSM_ATTEMPT:
		return wait_or_fail(f, now, random, acts | NOFI_FSM_ACT_TEARDOWN);
	case NOFI_FSM_FIRST:
	case NOFI_FSM_DELETING:
		return fail(f, NOFI_FSM_WHY_STUCK);
	case NOFI_FSM_RESETTING:	/* the teardown is on its way */
	case NOFI_FSM_NEW:
	case NOFI_FSM_LIVE:
	case NOFI_FSM_FAILED:
	case NOFI_FSM_CLOSED:
	case NOFI_FSM_STATES:
		break;
	}
	return acts;
}

static unsigned lost(struct nofi_fsm *f, uint64_t now, uint32_t random)
{
	switch (f->state) {
	case NOFI_FSM_FIRST:
	case NOFI_FSM_DELETING:
		return fail(f, NOFI_FSM_WHY_LOST);
	case NOFI_FSM_LIVE:
		return lose(f, now, false);
	case NOFI_FSM_ATTEMPT:
		return wait_or_fail(f, now, random, NOFI_FSM_ACT_TEARDOWN);
	default:
		return 0;	/* known already */
	}
}

static unsigned disconnect(struct nofi_fsm *f, uint64_t now)
{
	if (f->state == NOFI_FSM_LIVE)
		return enter(f, NOFI_FSM_DELETING, add(now, f->cfg.delete_tmo),
			     NOFI_FSM_ACT_SHUTDOWN);
	/* Nothing to be saved at the target: an abortive end is a clean one. */
	return f->state == NOFI_FSM_DELETING ? 0 : shut(f);
}

unsigned nofi_fsm_event(struct nofi_fsm *f, enum nofi_fsm_event ev, uint64_t now, uint32_t random)
{
	if (nofi_fsm_is_over(f))
		return 0;
	switch (ev) {
	case NOFI_FSM_CONNECT:
		if (f->state != NOFI_FSM_NEW)
			return 0;
		return enter(f, NOFI_FSM_FIRST, add(now, f->cfg.attempt_tmo),
			     NOFI_FSM_ACT_ATTEMPT);
	case NOFI_FSM_UP:
		if (f->state != NOFI_FSM_FIRST && f->state != NOFI_FSM_ATTEMPT)
			return 0;
		f->live_at = now;
		return enter(f, NOFI_FSM_LIVE, NOFI_FSM_NEVER, 0);
	case NOFI_FSM_LOST:
		return lost(f, now, random);
	case NOFI_FSM_REFUSED:
		if (f->state != NOFI_FSM_FIRST && f->state != NOFI_FSM_ATTEMPT)
			return lost(f, now, random);
		return fail(f, NOFI_FSM_WHY_REFUSED);
	case NOFI_FSM_TORN_DOWN:
		if (f->state != NOFI_FSM_RESETTING)
			return 0;
		return wait_or_fail(f, now, random, 0);
	case NOFI_FSM_TICK:
		return tick(f, now, random);
	case NOFI_FSM_RESET:
		return f->state == NOFI_FSM_LIVE ? lose(f, now, true) : 0;
	case NOFI_FSM_DISCONNECT:
		return disconnect(f, now);
	case NOFI_FSM_DOWN:
		return f->state == NOFI_FSM_DELETING ? shut(f) : 0;
	case NOFI_FSM_FREE:
		return fail(f, NOFI_FSM_WHY_FREED);
	case NOFI_FSM_EVENTS:
		break;
	}
	return 0;
}

uint64_t nofi_fsm_deadline(const struct nofi_fsm *f)
{
	uint64_t until = f->until, fast;

	if (!is_outage(f))
		return until;
	if (loss_end(f) < until)
		until = loss_end(f);
	fast = f->is_fast_failed ? NOFI_FSM_NEVER : add(f->lost_at, f->cfg.fast_fail_tmo);
	return fast < until ? fast : until;
}

void nofi_fsm_extend(struct nofi_fsm *f, uint64_t ns)
{
	if (f->state == NOFI_FSM_FIRST || f->state == NOFI_FSM_ATTEMPT ||
	    f->state == NOFI_FSM_DELETING)
		f->until = add(f->until, ns);
}
