/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The loop as the layers above see it: time, timers, messages from other
 * threads, deferred work, log. One thread at a time.
 */
#ifndef NOF_QUEUE_LOOP_H
#define NOF_QUEUE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "hint.h"
#include "nof.h"

/* What every command needs of a loop, which begins with it. */
struct nofi_loop_turn {
	uint64_t now;			/* cached clock, valid while is_now_valid */
	bool is_now_valid;		/* within one turn, or since the last flush */
	bool is_processing;		/* inside a turn: callbacks may run */
	uint32_t done_count;		/* completions of the running turn */
};

/* CLOCK_MONOTONIC in ns. */
uint64_t nofi_clock_now(void);
uint64_t nofi_loop_read_clock(struct nof_loop *loop);

/* The same; cached for the length of one process call. */
static inline uint64_t nofi_loop_now(struct nof_loop *loop)
{
	const struct nofi_loop_turn *t = (const struct nofi_loop_turn *)loop;

	return NOFI_LIKELY(t->is_now_valid) ? t->now : nofi_loop_read_clock(loop);
}

/* A one-shot timer, embedded in its owner. Zero-initialised = not armed. */
struct nofi_timer {
	uint64_t deadline;			/* ns, valid while armed */
	uint32_t pos;				/* 1 + index in the loop's heap; 0 = not armed */
	void (*fn)(struct nofi_timer *t);	/* runs in the loop, disarmed already */
};

/* Arms or re-arms; fn must be set. −ENOMEM is possible only when the heap has to grow. */
int nofi_timer_arm(struct nof_loop *loop, struct nofi_timer *t, uint64_t deadline_ns);
void nofi_timer_disarm(struct nof_loop *loop, struct nofi_timer *t);

/* A message to a loop from any thread; embedded, owned by the sender until fn runs. */
struct nofi_msg {
	struct nofi_msg *next;
	void (*fn)(struct nofi_msg *m);		/* runs on the loop's thread */
};
void nofi_loop_post(struct nof_loop *loop, struct nofi_msg *m);

/*
 * Work for the end of the current process call, or of the next one; from the
 * loop's thread only (no system call when processing, a wake otherwise). Used to
 * complete what may not complete inside a submit call and to free objects that
 * are still on the stack.
 */
struct nofi_defer {
	struct nofi_defer *next;
	bool is_queued;
	void (*fn)(struct nofi_defer *d);
};
void nofi_loop_defer(struct nof_loop *loop, struct nofi_defer *d);
/* Takes it out again if it is queued. */
void nofi_loop_undefer(struct nof_loop *loop, struct nofi_defer *d);

/*
 * Watches a descriptor that is not a queue's: fn runs in the loop, once, when it is readable,
 * disarmed already. Embedded in its owner; zero-initialised = not armed.
 */
struct nofi_fd_watch {
	int fd;
	bool is_armed;
	void (*fn)(struct nofi_fd_watch *w);
};
int nofi_loop_watch(struct nof_loop *loop, struct nofi_fd_watch *w);
/* Harmless when it is not armed. Before the descriptor is closed. */
void nofi_loop_unwatch(struct nof_loop *loop, struct nofi_fd_watch *w);

/* Counts a completion for the return value of process. */
static inline void nofi_loop_count_done(struct nof_loop *loop)
{
	((struct nofi_loop_turn *)loop)->done_count++;
}

/* True inside nof_loop_process()/wait()/run(), and between enter and leave. */
bool nofi_loop_is_processing(const struct nof_loop *loop);

/*
 * Around callbacks that run outside of a turn, because something is closed or freed: a turn
 * inside them would end objects that are still on the stack. Leave gets what enter returned.
 */
bool nofi_loop_enter(struct nof_loop *loop);
void nofi_loop_leave(struct nof_loop *loop, bool was);

/* Logs one line when the level is wanted. */
__attribute__((format(printf, 3, 4)))
void nofi_log(struct nof_loop *loop, enum nof_log_level level, const char *fmt, ...);

/* Runs the loop until *flag or the deadline (ns, 0 = none): −EDEADLK in callbacks, −ETIMEDOUT. */
int nofi_loop_run_until(struct nof_loop *loop, const bool *flag, uint64_t deadline_ns);

#endif
