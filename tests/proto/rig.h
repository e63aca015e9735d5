/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rig of the protocol tests: a scripted nvmf-target in a process of its own,
 * a loop, a controller, a namespace and a channel, and operations that are counted.
 *
 *	static void t_something(struct rig *r)
 *	{
 *		rig_target(r, "--in-capsule=0", "resp opc=write: status 0x181");
 *		rig_open(r, "io_timeout=1");
 *		assert_int_equal(rig_write(r, buf, 4096, 0, 0), -EIO);
 *	}
 *
 * rig_main() runs each test in four variants, {TCP, MPTCP} × {io_uring, epoll}. The
 * way the loop is driven (poll(2), nof_loop_wait, nof_loop_run) differs from one case
 * to the next. After each test the rig checks that every accepted operation completed
 * exactly once, that every error had a sentence, and that the target survived.
 */
#ifndef NOF_TESTS_RIG_H
#define NOF_TESTS_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

#include "nof.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define RIG_NQN "nqn.2025-11.org.libnof:target"

enum {
	RIG_DEADLINE_MS = 10000,	/* whatever a test waits for must happen in this time */
	RIG_DETAIL = 640,
	RIG_EVENTS = 256,
};

enum rig_drive { RIG_POLL, RIG_WAIT, RIG_RUN };

/* One asynchronous operation: filled by rig_done(). */
struct rig_op {
	struct rig *rig;
	struct rig_op *next;		/* all of the test, newest first */
	bool is_refused;		/* the submit call failed: must never complete */
	unsigned count;			/* completions: 1 in the end */
	int error;
	uint16_t status;
	uint16_t qid;
	uint64_t result;
	char detail[RIG_DETAIL];
};

struct rig {
	/* the variant */
	bool is_mptcp;
	enum nof_engine engine;
	enum rig_drive drive;
	const void *arg;		/* of the test */

	/* the target */
	pid_t pid;			/* 0: none */
	char dir[64];			/* holds the control socket */
	uint16_t port;
	int control;			/* socket, −1: none */
	char rx[65536];			/* bytes of it not yet split into lines */
	size_t rx_len;
	char *events[RIG_EVENTS];	/* "event …" lines seen */
	unsigned nevents;
	bool was_killed;		/* by the test: its exit status means nothing */
	int port_fd;			/* holds port while no target does, −1: nothing to hold */

	/* the host */
	struct nof_loop *loop;
	struct nof_ctrl *ctrl;
	struct nof_ns *ns;
	struct nof_chan *chan;
	struct nof_opts opts;		/* of ctrl */
	struct nof_ns_info info;	/* of ns */
	struct rig_op *ops;
	struct rig_op *last;		/* the one that completed last */
	unsigned inflight;		/* accepted and not completed */
	unsigned failures;		/* NOF_CTRL_FAILED events */
	int failure_error;		/* of the last one */
	char failure[RIG_DETAIL];	/* its sentence */
	struct rig_state {		/* what was heard of each state */
		unsigned count;		/* events */
		int error;		/* of the last one */
		char detail[RIG_DETAIL];
	} states[NOF_CTRL_RESETTING + 1];
	char wrong[256];		/* what a callback found wrong; "" = nothing */
	bool is_submitting;		/* no completion may come now */
};

struct rig_test {
	const char *name;
	void (*fn)(struct rig *r);
	const void *arg;
};

/* main() of a test program. */
int rig_main(const char *group, const struct rig_test *tests, size_t count);
/* The same in one variant only: names, and what takes long. */
int rig_main_once(const char *group, const struct rig_test *tests, size_t count, bool is_mptcp,
		  enum nof_engine engine);

/* ---- the target ---- */

/* Starts it with options separated by blanks, and a fault script; NULL: none. */
void rig_target(struct rig *r, const char *options, const char *fault);
/* Before rig_target(): it, and those after it in this test, listen on one and the same port. */
void rig_keep_port(struct rig *r);
/* Ends it and makes room for another one in the same test. */
void rig_target_restart(struct rig *r);
/* A line to its control socket; the answer is valid until the next call. */
const char *rig_control(struct rig *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Replaces the fault script. */
void rig_fault(struct rig *r, const char *script);
uint64_t rig_stat(struct rig *r, const char *name);
/* Waits until the target has told an event that contains text. */
const char *rig_event(struct rig *r, const char *text);
bool rig_has_event(struct rig *r, const char *text);
/* Waits until the target has no connection any more. */
void rig_all_closed(struct rig *r);
void rig_signal(struct rig *r, int sig);
void rig_kill(struct rig *r);

/* ---- the host ---- */

uint64_t rig_now_ms(void);
/* One round of the loop, the way this case drives it; waits at most so long. */
void rig_turn(struct rig *r, int timeout_ms);
/* Waits for a condition with the deadline of all waits. */
#define RIG_UNTIL(r, cond)                                                              \
	do {                                                                            \
		uint64_t until_ = rig_now_ms() + RIG_DEADLINE_MS;                       \
		while (!(cond)) {                                                       \
			if (rig_now_ms() >= until_)                                     \
				fail_msg("waited %d ms for: %s", RIG_DEADLINE_MS, #cond); \
			rig_turn(r, 100);                                               \
		}                                                                       \
		rig_check(r);                                                           \
	} while (0)

/* The same without touching the loop: for what the target does. */
#define RIG_EVENTUALLY(cond)                                                            \
	do {                                                                            \
		uint64_t until_ = rig_now_ms() + RIG_DEADLINE_MS;                       \
		while (!(cond))                                                         \
			if (rig_now_ms() >= until_)                                     \
				fail_msg("waited %d ms for: %s", RIG_DEADLINE_MS, #cond); \
	} while (0)

/* Fails if a callback found something wrong. */
void rig_check(struct rig *r);
void rig_loop(struct rig *r);
struct nof_loop *rig_new_loop(struct rig *r, uint32_t flags);
/*
 * Options for this target; extra: "key=value&…" over the rig's own, or NULL. A lost
 * controller has failed unless extra has ctrl_loss_tmo.
 */
void rig_opts(struct rig *r, const char *extra, struct nof_opts *opts);
/* A connected controller. The error of connecting. */
int rig_connect(struct rig *r, const char *extra);
/* Controller, namespace (of opts.ns) and channel. The first error. */
int rig_try_open(struct rig *r, const char *extra);
/* The same, has to work. */
void rig_open(struct rig *r, const char *extra);
int rig_open_ns(struct rig *r, const char *id);
int rig_open_chan(struct rig *r);
int rig_disconnect(struct rig *r);
/* Closes what is open of the host, in the right order. */
void rig_close(struct rig *r);
/* Events of a controller made by a test. */
void rig_on_event(void *arg, const struct nof_event *ev);

/* ---- operations ---- */

struct rig_op *rig_op(struct rig *r);
void rig_done(void *arg, const struct nof_completion *c);
/* Notes what a submit call returned. */
struct rig_op *rig_accept(struct rig_op *op, int ret);
/* Submits: the operation's completion goes to op. */
#define RIG_SUBMIT(r, call_with_op)                                                     \
	({                                                                              \
		struct rig_op *op = rig_op(r);                                          \
		(r)->is_submitting = true;                                              \
		int ret_ = (call_with_op);                                              \
		(r)->is_submitting = false;                                             \
		rig_accept(op, ret_);                                                   \
	})
/* Waits for one; its error. */
int rig_finish(struct rig_op *op);
void rig_finish_all(struct rig *r);

struct rig_op *rig_submit_read(struct rig *r, void *buf, size_t len, uint64_t off);
struct rig_op *rig_submit_write(struct rig *r, const void *buf, size_t len, uint64_t off);
int rig_read(struct rig *r, void *buf, size_t len, uint64_t off, uint32_t flags);
int rig_write(struct rig *r, const void *buf, size_t len, uint64_t off, uint32_t flags);

/* A call that must be refused with err and a sentence. */
#define RIG_REFUSES(call, err)                                                          \
	do {                                                                            \
		assert_int_equal((call), -(err));                                       \
		assert_true(strlen(nof_strerror_detail()) >= 15);                       \
	} while (0)

/* Repeatable bytes that depend on place and seed. */
void rig_fill(void *p, size_t len, uint32_t seed);
bool rig_is_filled(const void *p, size_t len, uint32_t seed);

/* ---- tables of hostile cases ---- */

enum rig_action { ACT_CONNECT, ACT_OPEN, ACT_READ, ACT_WRITE, ACT_READ_WRITE, ACT_FLUSH,
		  ACT_ZEROES, ACT_COMPARE };

enum { NO_TERM = -1, ANY_TERM = -2, CLEAN = -3 };

struct rig_case {
	const char *target;	/* options of the target, or NULL */
	const char *fault;	/* its script, or NULL */
	const char *uri;	/* options of the host, or NULL */
	enum rig_action act;	/* what is done; the last step must end with error */
	uint32_t len;		/* bytes of I/O; 0 = 4096 */
	int error;
	bool is_after;		/* the last step succeeds; error is what ends the controller then */
	/*
	 * What the target must have received: an H2CTermReq with this FES and FEI,
	 * NO_TERM: the connection was closed without one, ANY_TERM: not looked at,
	 * CLEAN: the connection lives and the same action works afterwards.
	 */
	int fes;
	uint32_t fei;
	const char *says;	/* part of the sentence */
};

/* fn for struct rig_test with a struct rig_case as arg. */
void rig_run_case(struct rig *r);

#define RIG_ANY_FEI UINT32_MAX
#define RIG_CASE(name_, ...) \
	{ name_, rig_run_case, &(const struct rig_case){ __VA_ARGS__ } }

#endif
