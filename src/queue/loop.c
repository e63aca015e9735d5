/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The loop: one turn = send what is queued, wait, dispatch, run messages, timers
 * and deferred work, send again. See loop.h for what the layers above use.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "err.h"
#include "lines.h"
#include "queue/engine.h"
#include "queue/linger.h"
#include "queue/tx.h"

enum {
	HOLD_MAX = 16,		/* more receives in one turn before what is queued goes out */
	FLUSH_ROUNDS = 4,	/* batches of one connection before receiving has its turn */
};

/* Further away than any machine is on, and still a valid time for the kernel. */
#define TIMER_NEVER (1ull << 62)

uint64_t nofi_clock_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t nofi_loop_read_clock(struct nof_loop *loop)
{
	loop->t.now = nofi_clock_now();
	loop->t.is_now_valid = true;
	return loop->t.now;
}

int nofi_loop_watch(struct nof_loop *loop, struct nofi_fd_watch *w)
{
	int r = loop->eng->watch(loop, w);

	/* From outside a turn: the engine has not heard of it yet. */
	if (r == 0 && !loop->t.is_processing)
		nof_loop_wake(loop);
	return r;
}

void nofi_loop_unwatch(struct nof_loop *loop, struct nofi_fd_watch *w)
{
	loop->eng->unwatch(loop, w);
}

bool nofi_loop_is_processing(const struct nof_loop *loop)
{
	return loop->t.is_processing;
}

bool nofi_loop_enter(struct nof_loop *loop)
{
	bool was = loop->t.is_processing;

	loop->t.is_processing = true;
	return was;
}

void nofi_loop_leave(struct nof_loop *loop, bool was)
{
	loop->t.is_processing = was;
	/* What was deferred, submitted or connected meanwhile relied on the end of a turn. */
	if (!was)
		nof_loop_wake(loop);
}

void nofi_log(struct nof_loop *loop, enum nof_log_level level, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	if (!loop->log || level > loop->log_level)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	loop->log(loop->log_arg, level, line);
}

/* ---- timers: binary heap, positions kept in the timers ---- */

static void heap_place(struct nof_loop *loop, uint32_t i, struct nofi_timer *t)
{
	loop->heap[i] = t;
	t->pos = i + 1;
}

static void heap_sift(struct nof_loop *loop, uint32_t i, struct nofi_timer *t)
{
	while (i && loop->heap[(i - 1) / 2]->deadline > t->deadline) {
		heap_place(loop, i, loop->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child + 1 < loop->heap_len &&
		    loop->heap[child + 1]->deadline < loop->heap[child]->deadline)
			child++;
		if (child >= loop->heap_len || loop->heap[child]->deadline >= t->deadline)
			break;
		heap_place(loop, i, loop->heap[child]);
		i = child;
	}
	heap_place(loop, i, t);
}

int nofi_timer_arm(struct nof_loop *loop, struct nofi_timer *t, uint64_t deadline_ns)
{
	t->deadline = deadline_ns;
	if (t->pos) {
		heap_sift(loop, t->pos - 1, t);
		return 0;
	}
	if (loop->heap_len == loop->heap_cap) {
		uint32_t cap = loop->heap_cap ? loop->heap_cap * 2 : 64;
		struct nofi_timer **heap = nofi_alloc_lines(cap * sizeof(*heap));

		if (!heap)
			return -ENOMEM;
		if (loop->heap_len)
			memcpy(heap, loop->heap, loop->heap_len * sizeof(*heap));
		free(loop->heap);
		loop->heap = heap;
		loop->heap_cap = cap;
	}
	loop->heap_len++;
	heap_sift(loop, loop->heap_len - 1, t);
	return 0;
}

void nofi_timer_disarm(struct nof_loop *loop, struct nofi_timer *t)
{
	uint32_t i = t->pos;
	struct nofi_timer *last;

	if (!i)
		return;
	t->pos = 0;
	last = loop->heap[--loop->heap_len];
	if (last != t)
		heap_sift(loop, i - 1, last);
}

static void run_timers(struct nof_loop *loop)
{
	uint64_t now;

	if (!loop->heap_len)
		return;
	now = nofi_loop_now(loop);
	/* Who arms himself again for a time that has passed waits for the next turn. */
	for (uint32_t n = loop->heap_len; n && loop->heap_len && loop->heap[0]->deadline <= now;
	     n--) {
		struct nofi_timer *t = loop->heap[0];

		nofi_timer_disarm(loop, t);
		t->fn(t);
	}
}

/*
 * While commands are in flight, the engine's timer is only moved when something is due earlier:
 * what was disarmed or pushed back costs one idle turn, not a call per I/O. Before idleness it is
 * put right, or the deadline of the last command would wake the process for nothing.
 */
static void update_timer(struct nof_loop *loop)
{
	uint64_t next = loop->heap_len ? loop->heap[0]->deadline : UINT64_MAX;

	if (loop->timer_set <= nofi_loop_now(loop))
		loop->timer_set = UINT64_MAX;	/* it has fired */
	if (next < loop->timer_set || (!loop->busy && next > loop->timer_set)) {
		loop->timer_set = next;
		loop->eng->set_timer(loop, next < TIMER_NEVER ? next : TIMER_NEVER);
	}
}

/* ---- messages, deferred work, dirty connections ---- */

void nof_loop_wake(struct nof_loop *loop)
{
	uint64_t one = 1;
	int saved;

	if (!loop || atomic_exchange(&loop->is_waking, true))
		return;
	saved = errno;		/* of what a signal handler interrupted */
	while (write(loop->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	errno = saved;
}

void nofi_loop_on_wake(struct nof_loop *loop)
{
	atomic_store(&loop->is_waking, false);
	loop->is_woken = true;
}

void nofi_loop_post(struct nof_loop *loop, struct nofi_msg *m)
{
	struct nofi_msg *head = atomic_load(&loop->msgs);

	do {
		m->next = head;
	} while (!atomic_compare_exchange_weak(&loop->msgs, &head, m));
	nof_loop_wake(loop);
}

static void run_msgs(struct nof_loop *loop)
{
	struct nofi_msg *m, *next, *fifo = NULL;

	if (!atomic_load_explicit(&loop->msgs, memory_order_relaxed))
		return;
	for (m = atomic_exchange(&loop->msgs, NULL); m; m = next) {
		next = m->next;
		m->next = fifo;
		fifo = m;
	}
	for (m = fifo; m; m = next) {
		next = m->next;
		m->fn(m);
	}
}

/*
 * What was submitted outside a turn must not be forgotten: make the fd readable. A dedicated
 * loop has none, and whatever drives it sends first.
 */
static void kick(struct nof_loop *loop)
{
	if (loop->t.is_processing || loop->is_kicked ||
	    (loop->flags & (NOF_LOOP_EXPLICIT_FLUSH | NOF_LOOP_DEDICATED)))
		return;
	loop->is_kicked = true;
	nof_loop_wake(loop);
}

void nofi_loop_defer(struct nof_loop *loop, struct nofi_defer *d)
{
	if (d->is_queued)
		return;
	d->is_queued = true;
	d->next = NULL;
	*loop->defer_tail = d;
	loop->defer_tail = &d->next;
	if (!loop->t.is_processing)
		nof_loop_wake(loop);
}

void nofi_loop_undefer(struct nof_loop *loop, struct nofi_defer *d)
{
	struct nofi_defer **p;

	if (!d->is_queued)
		return;
	for (p = &loop->defer_head; *p != d; p = &(*p)->next)
		;
	*p = d->next;
	if (loop->defer_tail == &d->next)
		loop->defer_tail = p;
	d->is_queued = false;
}

/* Work deferred by deferred work runs in the next turn, so that a turn ends. */
static void run_defers(struct nof_loop *loop)
{
	struct nofi_defer *d, marker = { .is_queued = true };

	if (!loop->defer_head)
		return;
	*loop->defer_tail = &marker;
	loop->defer_tail = &marker.next;
	while ((d = loop->defer_head) != &marker) {
		loop->defer_head = d->next;
		d->is_queued = false;
		d->fn(d);
	}
	loop->defer_head = marker.next;
	if (loop->defer_tail == &marker.next)
		loop->defer_tail = &loop->defer_head;
	if (loop->defer_head)
		nof_loop_wake(loop);
}

void nofi_loop_mark_dirty(struct nof_loop *loop, struct nofi_dirty *d)
{
	if (d->is_queued)
		return;
	d->is_queued = true;
	d->next = NULL;
	*loop->dirty_tail = d;
	loop->dirty_tail = &d->next;
	kick(loop);
}

void nofi_loop_unmark_dirty(struct nof_loop *loop, struct nofi_dirty *d)
{
	struct nofi_dirty **p;

	if (!d->is_queued)
		return;
	for (p = &loop->dirty_head; *p != d; p = &(*p)->next)
		;
	*p = d->next;
	if (loop->dirty_tail == &d->next)
		loop->dirty_tail = p;
	d->is_queued = false;
}

/* A flush may mark its connection again (held back, or failed): that is for the next round. */
static void flush_dirty(struct nof_loop *loop)
{
	struct nofi_dirty *d, marker = { .is_queued = true };

	if (!loop->dirty_head)
		return;
	/* They stay in the list until their turn: a flush may mark, or unmark, those behind it. */
	*loop->dirty_tail = &marker;
	loop->dirty_tail = &marker.next;
	while ((d = loop->dirty_head) != &marker) {
		loop->dirty_head = d->next;
		d->is_queued = false;
		d->flush(d);
	}
	loop->dirty_head = marker.next;
	if (loop->dirty_tail == &marker.next)
		loop->dirty_tail = &loop->dirty_head;
}

/*
 * One batch of each connection in a round, and then those again that have more: small commands
 * of one do not wait for all the data of another. A few rounds, then receiving has its turn.
 */
static void flush_all(struct nof_loop *loop)
{
	loop->is_kicked = true;		/* what is marked meanwhile needs no wake-up */
	for (int i = 0; i < FLUSH_ROUNDS && (!i || loop->dirty_head); i++)
		flush_dirty(loop);
	loop->is_kicked = false;
}

/* ---- turns ---- */

static int engine_failed(const struct nof_loop *loop, const char *call, int r)
{
	if (r == -EEXIST && (loop->flags & NOF_LOOP_DEDICATED))
		return nofi_fail(r, "%s: the loop was made with NOF_LOOP_DEDICATED and belongs to "
				 "the thread that ran it first; only that one may drive it", call);
	return nofi_fail(r, "%s: the %s engine failed: %s", call, loop->eng->name, strerror(-r));
}

/* The end of the last turn of a call: hands over what is queued. */
static int settle(struct nof_loop *loop)
{
	uint64_t set;
	int r;

	update_timer(loop);
	r = loop->eng->submit(loop);
	/* Only a poller would be woken by what is complete as soon as it is submitted. */
	if (r >= 0 && !(loop->flags & NOF_LOOP_DEDICATED) && loop->eng->reap &&
	    loop->eng->reap(loop)) {
		flush_dirty(loop);
		update_timer(loop);
		r = loop->eng->submit(loop);
	}
	/* What ended as it was submitted may have armed a timer. */
	set = loop->timer_set;
	update_timer(loop);
	if (loop->timer_set != set && r >= 0)
		r = loop->eng->submit(loop);
	/* Left by the last flush itself (a send failed or ended at once): for the next turn. */
	if (loop->defer_head || loop->dirty_head)
		nof_loop_wake(loop);
	return r;
}

/*
 * May what waits to be sent wait for more to be received? A connection by itself delays only
 * itself, and its commands are cheaper to send together; others are not to wait for it.
 */
static bool may_hold(const struct nof_loop *loop)
{
	bool is_shared = loop->dirty_head && loop->dirty_head->next;

	return loop->has_more && !loop->wants_flush &&
	       loop->taken < (is_shared ? NOFI_SHARED_TURN : NOFI_TURN) &&
	       !atomic_load_explicit(&loop->msgs, memory_order_relaxed);
}

static int wait_for_events(struct nof_loop *loop, int64_t timeout_ns)
{
	if (timeout_ns) {
		if (atomic_load_explicit(&loop->spin.wanted, memory_order_relaxed))
			return nofi_spin_wait(loop, timeout_ns);
		nofi_count(&loop->counts.sleeps, 1);
	}
	return loop->eng->wait(loop, timeout_ns);
}

static int turn(struct nof_loop *loop, int64_t timeout_ns, bool is_last)
{
	int r;

	loop->t.is_processing = true;
	loop->is_woken = false;
	loop->t.done_count = 0;
	loop->taken = 0;

	flush_all(loop);
	if (loop->defer_head || loop->dirty_head ||
	    atomic_load_explicit(&loop->msgs, memory_order_relaxed))
		timeout_ns = 0;
	update_timer(loop);
	loop->t.is_now_valid = false;
	loop->has_more = loop->wants_flush = false;
	r = wait_for_events(loop, timeout_ns);
	/*
	 * Where receives were cut short by their buffers, the rest is taken before anything
	 * is sent, unless half a queue waits: one send then carries the commands that many
	 * receives brought about. It is the sends that are expensive.
	 */
	for (int i = 0; i < HOLD_MAX && may_hold(loop) && r >= 0; i++) {
		loop->has_more = false;
		r = loop->eng->wait(loop, 0);
	}
	run_msgs(loop);
	loop->t.is_now_valid = false;	/* callbacks may have taken their time */
	run_timers(loop);
	run_defers(loop);
	/*
	 * The next turn sends first. Where it is sure to come soon, that is soon enough, and the
	 * system call that sends also waits.
	 */
	if (is_last && !(loop->flags & NOF_LOOP_DEDICATED)) {
		flush_all(loop);
		if (r >= 0)
			r = settle(loop);
	}
	loop->t.is_processing = false;
	loop->t.is_now_valid = false;
	nofi_count(&loop->counts.turns, 1);
	nofi_count(&loop->counts.completions, loop->t.done_count);
	return r < 0 ? r : (int)loop->t.done_count;
}

int nof_loop_process(struct nof_loop *loop)
{
	int r;

	if (!loop)
		return nofi_fail(-EINVAL, "nof_loop_process: no loop was given");
	if (loop->t.is_processing)
		return nofi_fail(-EDEADLK, "nof_loop_process: called from inside a callback");
	r = turn(loop, 0, true);
	return r < 0 ? engine_failed(loop, "nof_loop_process", r) : r;
}

int nof_loop_wait(struct nof_loop *loop, int timeout_ms)
{
	int r;

	if (!loop)
		return nofi_fail(-EINVAL, "nof_loop_wait: no loop was given");
	if (loop->t.is_processing)
		return nofi_fail(-EDEADLK, "nof_loop_wait: called from inside a callback");
	r = turn(loop, timeout_ms < 0 ? -1 : (int64_t)timeout_ms * 1000000, true);
	return r < 0 ? engine_failed(loop, "nof_loop_wait", r) : r;
}

int nof_loop_wait_ns(struct nof_loop *loop, int64_t timeout_ns)
{
	int r;

	if (!loop)
		return nofi_fail(-EINVAL, "nof_loop_wait_ns: no loop was given");
	if (loop->t.is_processing)
		return nofi_fail(-EDEADLK, "nof_loop_wait_ns: called from inside a callback");
	r = turn(loop, timeout_ns < 0 ? -1 : timeout_ns, true);
	return r < 0 ? engine_failed(loop, "nof_loop_wait_ns", r) : r;
}

int nof_loop_run(struct nof_loop *loop)
{
	int r = 0;

	if (!loop)
		return nofi_fail(-EINVAL, "nof_loop_run: no loop was given");
	if (loop->t.is_processing)
		return nofi_fail(-EDEADLK, "nof_loop_run: called from inside a callback");
	while (!atomic_load_explicit(&loop->is_stopped, memory_order_acquire) && r >= 0)
		r = turn(loop, -1, false);
	atomic_store(&loop->is_stopped, false);
	if (r >= 0) {
		loop->t.is_processing = true;
		flush_all(loop);
		r = settle(loop);
		loop->t.is_processing = false;
	}
	return r < 0 ? engine_failed(loop, "nof_loop_run", r) : 0;
}

int nofi_loop_run_until(struct nof_loop *loop, const bool *flag, uint64_t deadline_ns)
{
	int r = 0;

	if (loop->t.is_processing)
		return -EDEADLK;
	while (!*flag && r >= 0) {
		int64_t left = -1;

		if (deadline_ns) {
			uint64_t now = nofi_clock_now();

			if (now >= deadline_ns)
				return -ETIMEDOUT;
			left = (int64_t)(deadline_ns - now);
		}
		r = turn(loop, left, true);
	}
	return r < 0 ? r : 0;
}

void nof_loop_stop(struct nof_loop *loop)
{
	if (!loop)
		return;
	atomic_store_explicit(&loop->is_stopped, true, memory_order_release);
	nof_loop_wake(loop);
}

int nof_loop_flush(struct nof_loop *loop)
{
	int r;

	if (!loop)
		return nofi_fail(-EINVAL, "nof_loop_flush: no loop was given");
	if (loop->t.is_processing)
		return 0;	/* the end of this turn does it */
	/* A send that fails at once must not complete commands in here: see queue_flush(). */
	flush_all(loop);
	update_timer(loop);
	r = loop->eng->submit(loop);
	loop->t.is_now_valid = false;
	if (loop->dirty_head && !(loop->flags & NOF_LOOP_DEDICATED))
		nof_loop_wake(loop);
	return r < 0 ? engine_failed(loop, "nof_loop_flush", r) : 0;
}

int nof_loop_fd(struct nof_loop *loop)
{
	if (!loop)
		return nofi_fail(-EINVAL, "nof_loop_fd: no loop was given");
	if (loop->flags & NOF_LOOP_DEDICATED)
		return nofi_fail(-ENOTSUP, "nof_loop_fd: the loop was made with NOF_LOOP_DEDICATED "
				 "and cannot be polled");
	return loop->eng->fd(loop);
}

const char *nof_loop_engine(const struct nof_loop *loop)
{
	return loop ? loop->eng->name : "";
}

const char *nof_loop_engine_reason(const struct nof_loop *loop)
{
	return loop ? loop->engine_reason : "";
}

/* ---- life ---- */

void nof_loop_opts_init_sized(struct nof_loop_opts *opts, size_t size)
{
	struct nof_loop_opts d = { .size = size, .engine = NOF_ENGINE_AUTO,
				   .log_level = NOF_LOG_INFO };

	if (!opts || size < sizeof(opts->size))
		return;
	memset(opts, 0, size);
	memcpy(opts, &d, size < sizeof(d) ? size : sizeof(d));
}

static int open_engine(struct nof_loop *loop, enum nof_engine engine)
{
	struct nofi_err err;
	int r;

	if (engine != NOF_ENGINE_EPOLL) {
		loop->eng = &nofi_engine_uring;
		r = loop->eng->open(loop, &err);
		if (r == 0)
			return 0;
		if (engine == NOF_ENGINE_IO_URING || r == -EMFILE || r == -ENFILE)
			return nofi_fail(r, "nof_loop_new: %s", err.text);
		snprintf(loop->engine_reason, sizeof(loop->engine_reason), "%s", err.text);
	}
	loop->eng = &nofi_engine_epoll;
	r = loop->eng->open(loop, &err);
	return r < 0 ? nofi_fail(r, "nof_loop_new: %s", err.text) : 0;
}

int nof_loop_new(const struct nof_loop_opts *opts, struct nof_loop **out)
{
	struct nof_loop_opts o;
	struct nof_loop *loop;
	int r;

	nof_loop_opts_init(&o);
	if (!out)
		return nofi_fail(-EINVAL, "nof_loop_new: no place for the loop was given");
	if (opts) {
		if (opts->size < sizeof(opts->size) + sizeof(opts->engine))
			return nofi_fail(-EINVAL, "nof_loop_new: opts->size is %zu; call "
					 "nof_loop_opts_init() first", opts->size);
		memcpy(&o, opts, opts->size < sizeof(o) ? opts->size : sizeof(o));
	}
	if ((unsigned)o.engine > NOF_ENGINE_EPOLL)
		return nofi_fail(-EINVAL, "nof_loop_new: engine %d does not exist", o.engine);
	if (o.flags & ~(uint32_t)(NOF_LOOP_DEDICATED | NOF_LOOP_EXPLICIT_FLUSH))
		return nofi_fail(-EINVAL, "nof_loop_new: unknown flags %#x", o.flags);

	loop = nofi_zalloc_lines(sizeof(*loop));
	if (!loop)
		return nofi_fail(-ENOMEM, "nof_loop_new: out of memory");
	loop->flags = o.flags;
	loop->log = o.log;
	loop->log_arg = o.log_arg;
	loop->log_level = o.log_level;
	loop->timer_set = UINT64_MAX;
	loop->defer_tail = &loop->defer_head;
	loop->dirty_tail = &loop->dirty_head;
	loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (loop->wake_fd < 0) {
		struct nofi_err err;

		nofi_err_files(&err, -errno, "nof_loop_new: eventfd");
		r = nofi_fail_err(&err);
		goto fail;
	}
	r = open_engine(loop, o.engine);
	if (r < 0)
		goto fail;
	if (loop->engine_reason[0])
		nofi_log(loop, NOF_LOG_INFO, "epoll instead of io_uring: %s", loop->engine_reason);
	*out = loop;
	return 0;
fail:
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	free(loop);
	return r;
}

void nof_loop_free(struct nof_loop *loop)
{
	if (!loop)
		return;
	/* Objects that wait for their last breath (messages, deferred frees) get it. */
	loop->t.is_processing = true;
	for (int i = 0; i < 16 && (loop->defer_head || atomic_load(&loop->msgs)); i++) {
		run_msgs(loop);
		run_defers(loop);
	}
	nofi_linger_free_all(loop);
	loop->eng->close(loop);
	/* What waited for the ring of another thread: the last completion can come no more. */
	run_defers(loop);
	nofi_batches_free(loop);
	close(loop->wake_fd);
	free(loop->heap);
	free(loop);
}
