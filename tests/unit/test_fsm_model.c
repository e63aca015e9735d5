/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every state that the recovery machine (fsm.c) can reach, together with one command whose
 * fate the retry rules (retry.c) decide: under each event at each moment that matters, for
 * many configurations. The driver here does what recover.c does; the rest of the world does
 * anything it likes. What must hold:
 *
 *	no state without a deadline, and a deadline that passes changes something
 *	a command completes once, never twice; where the options bound the time, it does
 *	so in bounded time: there is no way to go round in circles with it
 *	a write whose fate is unknown is not sent again before its hold is over, one that
 *	must not be repeated is never sent again
 *	FAILED and CLOSED are final
 *	attempts are no more than wanted, and apart by the back-off unless it was calm before
 *
 * Time is exact; a state is the same as another one when everything that is still to be
 * compared with the clock is as far away. NOFI_MODEL_VERBOSE=1 prints how many there were.
 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "ctrl/fsm.h"
#include "ctrl/retry.h"

#define MS 1000000ull

enum {
	MAX_RETRIES = 2,
	STEP_MS = 60,			/* a moment in which no deadline passes */
	IO_MS = 90,			/* how long a command may be on the wire */
	ATTEMPT_MS = 170,
	DELETE_MS = 110,
	DEPTH_MAX = 4096,		/* no run without a repetition is longer */
};

enum cmd_state { CMD_NONE, CMD_WAIT, CMD_SENT, CMD_DONE };

struct config {
	struct nofi_fsm_config fsm;
	uint64_t hold;			/* F-21, ns */
	enum nofi_io_class class;
};

struct world {
	struct nofi_fsm fsm;
	uint64_t now;
	unsigned acts;			/* the driver owes them */
	/* the command */
	enum cmd_state cmd;
	uint8_t sent;			/* how often */
	uint8_t completions;
	bool is_fast;			/* FAST_FAIL is in force */
	uint64_t not_before;		/* of the next send */
	uint64_t io_until;		/* while SENT */
	uint64_t unknown_until;		/* ghost: an old incarnation may still execute */
	bool is_unknown;		/* ghost: such a one exists, or existed */
	/* ghosts of the outage and the back-off */
	uint64_t lost_at;
	uint8_t attempts;		/* of this outage, up to 200 */
	uint64_t last_attempt;
	bool was_calm;			/* no attempt since it was live for long, or ever */
};

/* What may happen. */
enum move {
	M_CONNECT, M_UP, M_LOST, M_REFUSED, M_RESET, M_DISCONNECT, M_DOWN, M_FREE, M_TORN_DOWN,
	M_SUBMIT, M_ANSWER, M_RETRY_STATUS, M_PATH_STATUS, M_STEP, M_DEADLINE, M_EARLY_TICK,
	MOVES
};
static const char *const move_names[MOVES] = {
	"connect", "up", "lost", "refused", "reset", "disconnect", "down", "free", "torn-down",
	"submit", "answer", "retry-status", "path-status", "step", "deadline", "early-tick",
};
static const char *const state_names[NOFI_FSM_STATES] = {
	"NEW", "FIRST", "LIVE", "RESETTING", "WAIT", "ATTEMPT", "DELETING", "FAILED", "CLOSED",
};

static const struct config *cfg;
static char fault[256];
#define RULE(cond, text)                                                        \
	do {                                                                    \
		if (!(cond) && !*fault)                                         \
			snprintf(fault, sizeof(fault), "%s", text);             \
	} while (0)

/* ---- the command ---- */

static void complete(struct world *w)
{
	w->completions++;
	RULE(w->completions == 1, "a command completed twice");
	w->cmd = CMD_DONE;
}

static void judge(struct world *w, enum nofi_ending end, uint16_t status)
{
	struct nofi_retry_in in = {
		.end = end,
		.status = status,
		.class = cfg->class,
		.sent = w->sent,
		.max_retries = MAX_RETRIES,
		.hold_ns = cfg->hold,
	};
	struct nofi_retry_out out = nofi_retry_decide(&in);

	if (end == NOFI_END_LOST) {
		w->is_unknown = true;
		w->unknown_until = w->now + cfg->hold;
	}
	if (out.what == NOFI_RETRY_COMPLETE || nofi_fsm_is_over(&w->fsm) || w->is_fast) {
		complete(w);
		return;
	}
	w->cmd = CMD_WAIT;
	w->not_before = w->now + out.wait_ns;
}

static void pump(struct world *w)
{
	if (w->cmd != CMD_WAIT)
		return;
	if (nofi_fsm_is_over(&w->fsm) || w->fsm.state == NOFI_FSM_DELETING || w->is_fast) {
		complete(w);
		return;
	}
	if (w->fsm.state != NOFI_FSM_LIVE || w->now < w->not_before)
		return;
	RULE(!w->is_unknown || cfg->class != NOFI_IO_ONCE,
	     "a command that must not be repeated was sent again");
	RULE(!w->is_unknown || cfg->class != NOFI_IO_WRITE || w->now >= w->unknown_until,
	     "a write was sent again before its hold was over");
	w->sent++;
	RULE(w->sent <= MAX_RETRIES + 1, "a command was sent more often than max_retries allows");
	w->cmd = CMD_SENT;
	w->io_until = w->now + IO_MS * MS;
}

/* ---- the driver: as recover.c, with its rules about what may be asked of it ---- */

static void check_step(struct world *w, const struct nofi_fsm *old, unsigned acts)
{
	const struct nofi_fsm *f = &w->fsm;
	bool had_connections = old->state == NOFI_FSM_LIVE || old->state == NOFI_FSM_FIRST ||
			       old->state == NOFI_FSM_ATTEMPT || old->state == NOFI_FSM_DELETING;
	bool has_connections = f->state == NOFI_FSM_LIVE || f->state == NOFI_FSM_FIRST ||
			       f->state == NOFI_FSM_ATTEMPT || f->state == NOFI_FSM_DELETING;

	if (nofi_fsm_is_over(old)) {
		RULE(!acts && f->state == old->state && f->why == old->why,
		     "a final state was left, or something happened in it");
		return;
	}
	RULE(acts || f->state == old->state, "the state changed, and nobody was told");
	RULE(f->state == old->state || f->state == NOFI_FSM_ATTEMPT || acts & NOFI_FSM_ACT_STATE,
	     "a change of state is no event");
	RULE(!had_connections || has_connections || acts & NOFI_FSM_ACT_TEARDOWN,
	     "connections are left open");
	RULE(!(acts & NOFI_FSM_ACT_ATTEMPT) ||
	     f->state == NOFI_FSM_FIRST || f->state == NOFI_FSM_ATTEMPT, "an attempt of no state");
	RULE(f->state != NOFI_FSM_LIVE || old->state == NOFI_FSM_LIVE ||
	     old->state == NOFI_FSM_FIRST || old->state == NOFI_FSM_ATTEMPT,
	     "live without an attempt");
	RULE(!(acts & NOFI_FSM_ACT_SHUTDOWN) || f->state == NOFI_FSM_DELETING,
	     "a shutdown of no state");
	if (f->state == NOFI_FSM_WAIT && acts & NOFI_FSM_ACT_STATE) {
		uint64_t base = f->level ? 100 * MS << (f->level - 1) : 0;

		if (base > f->cfg.delay_max)
			base = f->cfg.delay_max;
		RULE(f->delay <= f->cfg.delay_max, "a pause above the cap");
		RULE(f->delay >= base / 4 * 3, "a pause below the back-off");
	}
	if (acts & NOFI_FSM_ACT_FAST_FAIL) {
		RULE(!w->is_fast, "FAST_FAIL twice in one outage");
		RULE(w->now >= f->lost_at + f->cfg.fast_fail_tmo, "FAST_FAIL too early");
	}
	if (old->state == NOFI_FSM_LIVE) {
		w->lost_at = w->now;
		w->attempts = 0;
	}
	if (f->state == NOFI_FSM_ATTEMPT && old->state != NOFI_FSM_ATTEMPT) {
		w->attempts += w->attempts < 200;
		uint64_t cap = f->cfg.delay_max;
		uint64_t least = (cap < 100 * MS ? cap : 100 * MS) / 4 * 3;

		RULE(f->attempts == w->attempts || w->attempts == 200, "attempts are miscounted");
		RULE(w->was_calm || w->now - w->last_attempt >= least,
		     "attempts without a pause between them");
		RULE(f->cfg.max_attempts < 0 || f->is_asked ||
		     f->attempts <= (uint32_t)f->cfg.max_attempts, "more attempts than wanted");
		RULE(f->cfg.loss_tmo || (f->is_asked && f->attempts == 1),
		     "an attempt though none was wanted");
		RULE(f->cfg.loss_tmo == NOFI_FSM_NEVER || !f->cfg.loss_tmo ||
		     w->now < f->lost_at + f->cfg.loss_tmo, "an attempt after ctrl_loss_tmo");
		w->last_attempt = w->now;
		w->was_calm = false;
	}
	if (old->state == NOFI_FSM_LIVE && f->state != NOFI_FSM_LIVE &&
	    w->now >= old->live_at + f->cfg.delay_max)
		w->was_calm = true;
}

static void event(struct world *w, enum nofi_fsm_event ev, uint32_t random)
{
	struct nofi_fsm old = w->fsm;
	unsigned acts = nofi_fsm_event(&w->fsm, ev, w->now, random);

	check_step(w, &old, acts);
	if (acts & NOFI_FSM_ACT_TEARDOWN)
		w->acts &= ~(unsigned)(NOFI_FSM_ACT_ATTEMPT | NOFI_FSM_ACT_SHUTDOWN);
	w->acts |= acts;
	if (acts & NOFI_FSM_ACT_FAST_FAIL)
		w->is_fast = true;
	if (w->fsm.state == NOFI_FSM_LIVE)
		w->is_fast = false;
}

static void drive(struct world *w, uint32_t random)
{
	for (int i = 0; w->acts && i < 8; i++) {
		unsigned acts = w->acts;

		w->acts = 0;
		if (acts & (NOFI_FSM_ACT_TEARDOWN | NOFI_FSM_ACT_SHUTDOWN) && w->cmd == CMD_SENT)
			judge(w, NOFI_END_LOST, 0);
		if (acts & NOFI_FSM_ACT_TEARDOWN)
			event(w, NOFI_FSM_TORN_DOWN, random);
	}
	RULE(!w->acts, "the work never ends");
	pump(w);
}

/* ---- moves ---- */

static uint64_t next_deadline(const struct world *w)
{
	uint64_t d = nofi_fsm_deadline(&w->fsm);

	if (w->cmd == CMD_SENT && w->io_until < d)
		d = w->io_until;
	if (w->cmd == CMD_WAIT && w->fsm.state == NOFI_FSM_LIVE && w->not_before > w->now &&
	    w->not_before < d)
		d = w->not_before;
	return d;
}

static void pass_deadline(struct world *w, uint32_t random)
{
	uint64_t before = next_deadline(w);

	w->now = before;
	if (w->cmd == CMD_SENT && w->io_until <= w->now) {
		event(w, NOFI_FSM_LOST, random);
		RULE(w->acts, "a late command has no consequence");
	} else if (nofi_fsm_deadline(&w->fsm) <= w->now) {
		struct nofi_fsm old = w->fsm;

		event(w, NOFI_FSM_TICK, random);
		RULE(w->acts || w->fsm.state != old.state, "a deadline passed without consequence");
	}
}

/* False: not possible here. */
static bool make(struct world *w, enum move m, uint32_t random)
{
	const enum nofi_fsm_state s = w->fsm.state;
	bool is_up = s == NOFI_FSM_LIVE && w->cmd == CMD_SENT;

	switch (m) {
	case M_CONNECT:
		event(w, NOFI_FSM_CONNECT, random);
		break;
	case M_UP:
		event(w, NOFI_FSM_UP, random);
		break;
	case M_LOST:
		event(w, NOFI_FSM_LOST, random);
		break;
	case M_REFUSED:
		event(w, NOFI_FSM_REFUSED, random);
		RULE((s != NOFI_FSM_FIRST && s != NOFI_FSM_ATTEMPT) ||
		     w->fsm.state == NOFI_FSM_FAILED, "refused for good, and tried again");
		break;
	case M_TORN_DOWN:
		event(w, NOFI_FSM_TORN_DOWN, random);
		break;
	case M_RESET:
		event(w, NOFI_FSM_RESET, random);
		break;
	case M_DISCONNECT:
		event(w, NOFI_FSM_DISCONNECT, random);
		break;
	case M_DOWN:
		event(w, NOFI_FSM_DOWN, random);
		break;
	case M_FREE:
		event(w, NOFI_FSM_FREE, random);
		break;
	case M_SUBMIT:
		if (w->cmd != CMD_NONE || w->is_fast || s == NOFI_FSM_NEW || s == NOFI_FSM_FIRST ||
		    s == NOFI_FSM_DELETING || nofi_fsm_is_over(&w->fsm))
			return false;
		w->cmd = CMD_WAIT;
		break;
	case M_ANSWER:
		if (!is_up)
			return false;
		complete(w);
		break;
	case M_RETRY_STATUS:
		if (!is_up)
			return false;
		judge(w, NOFI_END_STATUS, 0x007);
		break;
	case M_PATH_STATUS:
		if (!is_up)
			return false;
		judge(w, NOFI_END_STATUS, 0x303);
		break;
	case M_STEP:
		if (next_deadline(w) <= w->now + STEP_MS * MS || nofi_fsm_is_over(&w->fsm))
			return false;
		w->now += STEP_MS * MS;
		break;
	case M_DEADLINE:
		if (next_deadline(w) == NOFI_FSM_NEVER)
			return false;
		pass_deadline(w, random);
		break;
	case M_EARLY_TICK:
		event(w, NOFI_FSM_TICK, random);
		break;
	case MOVES:
		return false;
	}
	drive(w, random);
	return true;
}

/* ---- what holds in every state ---- */

static bool is_outage(const struct nofi_fsm *f)
{
	return f->state == NOFI_FSM_RESETTING || f->state == NOFI_FSM_WAIT ||
	       f->state == NOFI_FSM_ATTEMPT;
}

static void check_state(struct world *w)
{
	const struct nofi_fsm *f = &w->fsm;
	uint64_t deadline = nofi_fsm_deadline(f);
	uint64_t longest = f->cfg.attempt_tmo > f->cfg.delay_max ? f->cfg.attempt_tmo :
			   f->cfg.delay_max;

	if (longest < f->cfg.delete_tmo)
		longest = f->cfg.delete_tmo;
	switch (f->state) {
	case NOFI_FSM_NEW:
	case NOFI_FSM_LIVE:
		break;
	case NOFI_FSM_FAILED:
	case NOFI_FSM_CLOSED:
		RULE(w->cmd == CMD_NONE || w->cmd == CMD_DONE, "a command never completes");
		for (int ev = 0; ev < NOFI_FSM_EVENTS; ev++) {
			struct world copy = *w;

			copy.now += 1000 * MS;
			event(&copy, (enum nofi_fsm_event)ev, 0);
			RULE(copy.fsm.state == f->state, "a final state was left");
		}
		break;
	case NOFI_FSM_RESETTING:
		RULE(false, "RESETTING outlives the turn in which it is taken down");
		break;
	default:
		RULE(deadline != NOFI_FSM_NEVER, "a state without a deadline");
		RULE(deadline <= w->now + longest, "a deadline too far away");
		RULE(deadline >= w->now || w->fsm.until >= w->now, "a deadline was missed");
	}
	if (is_outage(f) && f->cfg.loss_tmo != NOFI_FSM_NEVER && !f->is_asked)
		RULE(deadline <= f->lost_at + f->cfg.loss_tmo, "longer than ctrl_loss_tmo");
	if (is_outage(f) && f->cfg.fast_fail_tmo != NOFI_FSM_NEVER)
		RULE(w->now <= w->lost_at + f->cfg.fast_fail_tmo || w->is_fast,
		     "FAST_FAIL is overdue");
	RULE(w->cmd != CMD_SENT || f->state == NOFI_FSM_LIVE, "a command on no connection");
	RULE(w->cmd != CMD_DONE || w->completions == 1, "done, but not told");
	RULE(w->cmd == CMD_DONE || !w->completions, "told, but not done");
}

/* ---- the walk ---- */

/* All that decides what can follow: times as distances, those that count no more left out. */
struct key {
	uint64_t lost, live, until, not_before, io_until, unknown, last;
	uint32_t attempts, level;
	uint8_t state, why, cmd, sent, completions, flags;
	uint8_t pad[2];
};

static uint64_t since(uint64_t now, uint64_t when, uint64_t cap)
{
	return now - when < cap ? now - when : cap;
}

static uint64_t ahead(uint64_t now, uint64_t when)
{
	return when == NOFI_FSM_NEVER ? when : when > now ? when - now : 0;
}

static void make_key(const struct world *w, struct key *k)
{
	const struct nofi_fsm *f = &w->fsm;
	uint64_t cap = 0;

	memset(k, 0, sizeof(*k));
	k->state = (uint8_t)f->state;
	k->cmd = (uint8_t)w->cmd;
	k->completions = w->completions;
	if (nofi_fsm_is_over(f))
		return;
	if (f->cfg.loss_tmo != NOFI_FSM_NEVER)
		cap = f->cfg.loss_tmo;
	if (f->cfg.fast_fail_tmo != NOFI_FSM_NEVER && f->cfg.fast_fail_tmo > cap)
		cap = f->cfg.fast_fail_tmo;
	if (is_outage(f)) {
		k->lost = since(w->now, f->lost_at, cap);
		k->attempts = f->cfg.max_attempts < 0 && f->attempts > 1 ? 1 : f->attempts;
	}
	if (f->state == NOFI_FSM_LIVE)
		k->live = since(w->now, f->live_at, f->cfg.delay_max);
	k->until = ahead(w->now, f->until);
	/* From there on the cap of the pause is what counts. */
	k->level = f->level < 3 ? f->level : 3;
	k->flags = (uint8_t)(f->is_asked | f->is_fast_failed << 1 | w->is_fast << 2 |
			     w->was_calm << 3 | w->is_unknown << 4);
	k->sent = w->sent;
	if (w->cmd == CMD_WAIT)
		k->not_before = ahead(w->now, w->not_before);
	if (w->cmd == CMD_SENT)
		k->io_until = ahead(w->now, w->io_until);
	if (w->is_unknown && w->cmd == CMD_WAIT)
		k->unknown = ahead(w->now, w->unknown_until);
	if (!w->was_calm)
		k->last = since(w->now, w->last_attempt, 200 * MS);
}

enum { BUCKETS = 1 << 20 };
struct node {
	struct key key;
	uint32_t next;			/* of its bucket, 1 + index */
	bool is_open;			/* on the stack: meeting it again closes a circle */
};
static struct node *nodes;
static uint32_t nnodes, cap_nodes;
static uint32_t *buckets;
static uint64_t total_nodes, total_moves;

static uint32_t find(const struct key *k, bool *is_new)
{
	const uint64_t *p = (const uint64_t *)k;
	uint64_t h = 0x9e3779b97f4a7c15ull;
	uint32_t *b;

	_Static_assert(sizeof(*k) % 8 == 0, "hashed by 8 bytes, without gaps");
	for (size_t i = 0; i < sizeof(*k) / 8; i++) {
		h = (h ^ p[i]) * 0xff51afd7ed558ccdull;
		h ^= h >> 29;
	}
	b = &buckets[h % BUCKETS];
	for (uint32_t i = *b; i; i = nodes[i - 1].next)
		if (!memcmp(&nodes[i - 1].key, k, sizeof(*k))) {
			*is_new = false;
			return i - 1;
		}
	if (nnodes == cap_nodes) {
		cap_nodes = cap_nodes ? cap_nodes * 2 : 1 << 16;
		nodes = realloc(nodes, cap_nodes * sizeof(*nodes));
		assert_non_null(nodes);
	}
	nodes[nnodes] = (struct node){ .key = *k, .next = *b };
	*b = ++nnodes;
	*is_new = true;
	return nnodes - 1;
}

static struct frame {
	struct world w;
	uint32_t node;
	uint8_t move, random;		/* to be tried next */
} *stack;

static void tell_way(unsigned depth)
{
	for (unsigned i = 0; i <= depth; i++) {
		const struct world *w = &stack[i].w;

		fprintf(stderr, "# %7.1f ms %-9s attempts %u level %u cmd %d sent %u, then %s\n",
			(double)w->now / 1e6, state_names[w->fsm.state], w->fsm.attempts,
			w->fsm.level, w->cmd, w->sent, move_names[stack[i].move]);
	}
	fail_msg("%s (loss %lld fast %lld max %d delay %lld hold %lld class %d)", fault,
		 (long long)(cfg->fsm.loss_tmo / MS), (long long)(cfg->fsm.fast_fail_tmo / MS),
		 cfg->fsm.max_attempts, (long long)(cfg->fsm.delay_max / MS),
		 (long long)(cfg->hold / MS), cfg->class);
}

/* With a bound on every outage, a command cannot be kept for ever. */
static bool may_go_round(const struct world *w)
{
	return w->cmd == CMD_NONE || w->cmd == CMD_DONE || cfg->fsm.loss_tmo == NOFI_FSM_NEVER;
}

static void explore(const struct config *c)
{
	struct world first = { .was_calm = true };
	unsigned depth = 0;
	struct key k;
	bool is_new;

	cfg = c;
	nnodes = 0;
	memset(buckets, 0, BUCKETS * sizeof(*buckets));
	nofi_fsm_init(&first.fsm, &c->fsm);
	first.now = 1000 * MS;
	make_key(&first, &k);
	stack[0] = (struct frame){ .w = first, .node = find(&k, &is_new) };
	nodes[stack[0].node].is_open = true;
	for (;;) {
		struct frame *f = &stack[depth];
		struct world w = f->w;
		uint32_t n;

		if (f->move == MOVES) {
			nodes[f->node].is_open = false;
			if (!depth--)
				break;
			stack[depth].random ^= 1;
			stack[depth].move += !stack[depth].random;
			continue;
		}
		/* Both ends of the jitter. */
		if (!make(&w, (enum move)f->move, f->random ? UINT32_MAX : 0)) {
			f->move++;
			f->random = 0;
			continue;
		}
		total_moves++;
		if (!*fault)
			check_state(&w);
		if (*fault)
			tell_way(depth);
		make_key(&w, &k);
		n = find(&k, &is_new);
		if (!is_new) {
			/* Standing still is not going round: nothing was done, no time passed. */
			if (nodes[n].is_open && n != f->node && !may_go_round(&w)) {
				RULE(false, "a command goes round in circles");
				tell_way(depth);
			}
			f->random ^= 1;
			f->move += !f->random;
			continue;
		}
		RULE(depth + 1 < DEPTH_MAX, "a run without an end");
		if (*fault)
			tell_way(depth);
		nodes[n].is_open = true;
		stack[++depth] = (struct frame){ .w = w, .node = n };
	}
	total_nodes += nnodes;
}

/* ---- configurations ---- */

static void walk(enum nofi_io_class class)
{
	static const uint64_t loss[] = { 0, 500 * MS, NOFI_FSM_NEVER };
	static const uint64_t fast[] = { 0, 220 * MS, NOFI_FSM_NEVER };
	static const int32_t most[] = { -1, 0, 2 };
	static const uint64_t delays[] = { 40 * MS, 150 * MS };
	static const uint64_t holds[] = { 0, 310 * MS };

	nodes = NULL;
	cap_nodes = 0;
	total_nodes = total_moves = 0;
	*fault = '\0';
	buckets = malloc(BUCKETS * sizeof(*buckets));
	stack = malloc(DEPTH_MAX * sizeof(*stack));
	assert_non_null(buckets);
	assert_non_null(stack);
	for (unsigned i = 0; i < 3 * 3 * 3 * 2 * 2; i++) {
		const struct config c = {
			.fsm = { .loss_tmo = loss[i % 3], .fast_fail_tmo = fast[i / 3 % 3],
				 .max_attempts = most[i / 9 % 3], .delay_max = delays[i / 27 % 2],
				 .attempt_tmo = ATTEMPT_MS * MS, .delete_tmo = DELETE_MS * MS },
			.hold = holds[i / 54],
			.class = class,
		};

		explore(&c);
	}
	if (getenv("NOFI_MODEL_VERBOSE"))
		fprintf(stderr, "# %llu states, %llu moves\n", (unsigned long long)total_nodes,
			(unsigned long long)total_moves);
	/* It has really been somewhere. */
	assert_true(total_nodes > 10000);
	free(nodes);
	free(buckets);
	free(stack);
}

static void test_reads(void **state)
{
	walk(NOFI_IO_IDEMPOTENT);
}

static void test_writes(void **state)
{
	walk(NOFI_IO_WRITE);
}

static void test_once(void **state)
{
	walk(NOFI_IO_ONCE);
}

/* ---- the back-off in numbers, as users know it ---- */

static void test_pauses(void **state)
{
	const struct nofi_fsm_config c = {
		.delay_max = 10000 * MS, .loss_tmo = NOFI_FSM_NEVER,
		.fast_fail_tmo = NOFI_FSM_NEVER, .attempt_tmo = 1000 * MS,
		.delete_tmo = 1000 * MS, .max_attempts = -1,
	};
	static const uint64_t want_ms[] = {
		0, 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000
	};

	for (int pass = 0; pass < 3; pass++) {
		uint32_t random = pass == 0 ? 0 : pass == 1 ? UINT32_MAX : 0x80000000;
		uint64_t now = 5 * MS;
		struct nofi_fsm f;

		nofi_fsm_init(&f, &c);
		nofi_fsm_event(&f, NOFI_FSM_CONNECT, now, random);
		nofi_fsm_event(&f, NOFI_FSM_UP, now, random);
		now += 60000 * MS;
		nofi_fsm_event(&f, NOFI_FSM_LOST, now, random);
		nofi_fsm_event(&f, NOFI_FSM_TORN_DOWN, now, random);
		for (size_t i = 0; i < sizeof(want_ms) / sizeof(want_ms[0]); i++) {
			uint64_t want = want_ms[i] * MS, pause = nofi_fsm_deadline(&f) - now;

			assert_int_equal(f.state, NOFI_FSM_WAIT);
			assert_int_equal(pause, f.delay);
			assert_in_range(pause, want / 4 * 3,
					want < 8000 * MS ? want / 4 * 5 : want);
			if (pass == 2)
				assert_in_range(pause, want / 100 * 99, want);
			now += pause;
			assert_int_equal(nofi_fsm_event(&f, NOFI_FSM_TICK, now, random),
					 NOFI_FSM_ACT_ATTEMPT);
			nofi_fsm_event(&f, NOFI_FSM_LOST, now, random);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pauses),
		cmocka_unit_test(test_reads),
		cmocka_unit_test(test_writes),
		cmocka_unit_test(test_once),
	};

	return cmocka_run_group_tests_name("fsm_model", tests, NULL, NULL);
}
