/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looking for answers before sleeping, and the functions that choose how.
 *
 * Looking costs no system call with io_uring: what completed is in the ring, and a flag there says
 * that the kernel has work to finish. It ends for whatever ends a wait: an event of any
 * descriptor, a timer (the engine's), a wake-up, a message.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "err.h"
#include "queue/engine.h"

enum { MAX_US_LIMIT = 1000000 };

static uint64_t pack(enum nof_poll_mode mode, uint32_t max_us)
{
	return mode == NOF_POLL_SLEEP ? 0 : (uint64_t)mode << 32 | max_us;
}

static bool is_called(const struct nof_loop *loop)
{
	return atomic_load_explicit(&loop->is_waking, memory_order_relaxed) ||
	       atomic_load_explicit(&loop->msgs, memory_order_relaxed);
}

/* Looks until there is something, or time is over; returns how long it took. */
static uint64_t look(struct nof_loop *loop, uint64_t start, uint64_t length, bool *is_hit)
{
	uint64_t looks = 0, took = 0;

	nofi_count(&loop->counts.spins, 1);	/* now: one of NOF_POLL_SPIN may last */
	do {
		looks++;
		/* A peek hands over sends, which may end, and bring about more. */
		*is_hit = is_called(loop) || loop->eng->peek(loop, true) || loop->dirty_head ||
			  loop->defer_head || loop->t.done_count;
		took = nofi_clock_now() - start;
	} while (!*is_hit && took < length);
	nofi_count(&loop->counts.spin_hits, *is_hit);
	nofi_count(&loop->counts.spin_looks, looks);
	nofi_count(&loop->counts.spin_ns, took);
	return took;
}

int nofi_spin_wait(struct nof_loop *loop, int64_t timeout_ns)
{
	struct nofi_poll *p = &loop->spin.poll;
	uint64_t wanted = atomic_load_explicit(&loop->spin.wanted, memory_order_relaxed);
	uint64_t start, took = 0, limit, length;
	bool is_hit = false;
	int r;

	if (wanted != loop->spin.had) {
		loop->spin.had = wanted;
		nofi_poll_init(p, (enum nof_poll_mode)(wanted >> 32), (uint32_t)wanted);
	}
	if (!loop->hot && p->mode != NOF_POLL_SPIN) {
		nofi_count(&loop->counts.sleeps, 1);
		return loop->eng->wait(loop, timeout_ns);
	}
	start = nofi_clock_now();
	limit = length = nofi_poll_begin(p, true);
	if (timeout_ns >= 0 && length > (uint64_t)timeout_ns)
		length = (uint64_t)timeout_ns;
	if (length)
		took = look(loop, start, length, &is_hit);
	if (is_hit || (timeout_ns >= 0 && took >= (uint64_t)timeout_ns))
		timeout_ns = 0;
	else if (timeout_ns > 0)
		timeout_ns -= (int64_t)took;
	if (timeout_ns)
		nofi_count(&loop->counts.sleeps, 1);
	r = loop->eng->wait(loop, timeout_ns);
	if (!is_hit)
		took = nofi_loop_now(loop) - start;
	/* What ended without an answer says nothing, unless one is overdue. */
	if (loop->t.done_count || took > p->max)
		nofi_poll_end(p, limit, took);
	atomic_store_explicit(&loop->counts.limit, p->mode == NOF_POLL_SPIN ? 0 : p->limit,
			      memory_order_relaxed);
	return r;
}

int nof_loop_set_poll(struct nof_loop *loop, enum nof_poll_mode mode, uint32_t max_us)
{
	if (!loop)
		return nofi_fail(-EINVAL, "nof_loop_set_poll: no loop was given");
	if ((unsigned)mode > NOF_POLL_SPIN)
		return nofi_fail(-EINVAL, "nof_loop_set_poll: mode %d does not exist", (int)mode);
	if (max_us > MAX_US_LIMIT)
		return nofi_fail(-ERANGE, "nof_loop_set_poll: max_us is %u; more than %d is no "
				 "spin any more: use NOF_POLL_SPIN", max_us, MAX_US_LIMIT);
	atomic_store(&loop->spin.wanted, pack(mode, max_us));
	nof_loop_wake(loop);
	return 0;
}

bool nof_loop_is_ready(struct nof_loop *loop)
{
	if (!loop || loop->t.is_processing)
		return false;
	return is_called(loop) || loop->defer_head || loop->dirty_head ||
	       loop->eng->peek(loop, false);
}

int nof_loop_get_stats(const struct nof_loop *loop, struct nof_loop_stats *stats)
{
	const struct nofi_loop_counts *c;
	struct nof_loop_stats s = { 0 };
	uint64_t wanted;

	if (!loop || !stats)
		return nofi_fail(-EINVAL, "nof_loop_get_stats: no %s was given",
				 loop ? "place for the result" : "loop");
	if (stats->size < offsetof(struct nof_loop_stats, turns))
		return nofi_fail(-EINVAL, "nof_loop_get_stats: stats->size is %zu; set it to "
				 "sizeof(struct nof_loop_stats)", stats->size);
	c = &loop->counts;
	wanted = atomic_load_explicit(&loop->spin.wanted, memory_order_relaxed);
	s.size = stats->size;
	s.mode = (uint32_t)(wanted >> 32);
	s.max_us = (uint32_t)wanted ? (uint32_t)wanted : NOFI_POLL_MAX_US;
	s.turns = atomic_load_explicit(&c->turns, memory_order_relaxed);
	s.sleeps = atomic_load_explicit(&c->sleeps, memory_order_relaxed);
	s.spins = atomic_load_explicit(&c->spins, memory_order_relaxed);
	s.spin_hits = atomic_load_explicit(&c->spin_hits, memory_order_relaxed);
	s.spin_looks = atomic_load_explicit(&c->spin_looks, memory_order_relaxed);
	s.spin_ns = atomic_load_explicit(&c->spin_ns, memory_order_relaxed);
	s.spin_limit_ns = atomic_load_explicit(&c->limit, memory_order_relaxed);
	s.completions = atomic_load_explicit(&c->completions, memory_order_relaxed);
	memcpy(stats, &s, s.size < sizeof(s) ? s.size : sizeof(s));
	return 0;
}
