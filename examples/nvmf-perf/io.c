/* SPDX-License-Identifier: MIT */
/*
 * One queue under load. This runs once per I/O and its time counts as the host's: no allocation,
 * no lock, no division, one reading of the clock at most.
 */
#include <errno.h>

#include "perf.h"

#define TRIES 16 /* draws before a verifying queue waits for a completion instead */

/* xorshift64: all the randomness that offsets need. */
static uint64_t draw(struct queue *q)
{
	uint64_t r = q->rng;

	r ^= r << 13;
	r ^= r >> 7;
	r ^= r << 17;
	q->rng = r;
	return r * 0x2545f4914f6cdd1dull;
}

/* A number below n, without dividing. */
static uint64_t below(uint64_t random, uint64_t n)
{
	return (uint64_t)((unsigned __int128)random * n >> 64);
}

/* Units of an I/O, small as often as large: first the power of two, then a number within it. */
static uint64_t draw_units(struct queue *q)
{
	uint64_t most = q->units_max, low, high;
	unsigned int classes = 64u - (unsigned int)__builtin_clzll(most);

	low = 1ull << below(draw(q), classes);
	high = low * 2 <= most ? low * 2 : most + 1;
	return low + below(draw(q), high - low);
}

static bool pick_load(struct queue *q, const struct perf_opts *o, struct slot *s)
{
	unsigned int tries;
	uint64_t units = 1;

	for (tries = 0; tries < TRIES; tries++) {
		if (q->units_max > 1)
			units = draw_units(q);
		s->len = (uint32_t)(units * o->bs_min);
		s->is_write = o->writes && (!o->reads || below(draw(q), 100) >= o->read_percent);
		if (o->random) {
			uint64_t places = q->span_units - units + 1;

			s->offset = q->base + below(draw(q), places) * o->bs_min;
		} else {
			if (q->next + s->len > q->span)
				q->next = 0;
			s->offset = q->base + q->next;
		}
		if (!q->verify || verify_begin(q->verify, s->offset, s->len)) {
			q->next += s->len;
			return true;
		}
		if (!o->random)
			return false;
	}
	return false;
}

/* Random places for I/Os of one size, neither verified nor held back. */
static inline void pick_steady(struct queue *q, const struct perf_opts *o, struct slot *s)
{
	s->len = (uint32_t)o->bs_min;
	s->is_write = o->writes && (!o->reads || below(draw(q), 100) >= o->read_percent);
	s->offset = q->base + below(draw(q), q->span_units) * o->bs_min;
}

static bool pick_readback(struct queue *q, const struct perf_opts *o, struct slot *s)
{
	s->is_write = false;
	if (!verify_next_written(q->verify, &s->offset, &s->len, (uint32_t)o->bs_max))
		return false;
	return verify_begin(q->verify, s->offset, s->len);
}

/* An I/O that was picked did not go out: undo what picking did. */
static void unpick(struct queue *q, struct slot *s, bool is_readback)
{
	if (q->verify)
		verify_cancel(q->verify, s, is_readback);
	q->idle[q->idle_count++] = s;
}

static void io_done(void *arg, const struct nof_completion *c);

static inline int submit_one(struct queue *q, struct slot *s)
{
	if (s->is_write)
		return nof_write(q->chan, s->buf, s->len, s->offset, 0, io_done, s);
	return nof_read(q->chan, s->buf, s->len, s->offset, 0, io_done, s);
}

static int submit(struct queue *q, struct slot *s)
{
	if (q->verify) {
		if (s->is_write)
			verify_fill(q->verify, s);
		else
			verify_poison(q->verify, s);
	}
	return submit_one(q, s);
}

bool queue_finished(const struct queue *q, uint64_t now)
{
	return q->inflight == 0 && (run_stopped(q->run) || q->io_left == 0 || q->bytes_left == 0 ||
				    now >= q->run->deadline);
}

static bool may_submit(const struct queue *q, uint64_t now)
{
	return q->io_left && q->bytes_left && now < q->run->deadline && !run_stopped(q->run);
}

/* Picks and submits with s, which is not in the stack. False: not now, and s is there again. */
static inline bool fill_one(struct queue *q, struct slot *s, uint64_t now)
{
	const struct perf_opts *o = q->run->o;
	bool is_readback = false;
	int ret;

	if (q->is_steady) {
		pick_steady(q, o, s);
	} else if (q->worker->phase == PHASE_LOAD) {
		is_readback = true;
		if (!pick_readback(q, o, s)) {
			q->io_left = 0;
			goto idle;
		}
	} else {
		if (q->interval != 0) {
			if ((double)now < q->due)
				goto idle;
			/* A stall is not made good by a burst longer than a second. */
			if (q->due + (double)NSEC_PER_SEC < (double)now)
				q->due = (double)now;
			q->due += q->interval;
		}
		if (!pick_load(q, o, s))
			goto idle;
	}
	s->started = now;
	ret = submit(q, s);
	if (ret < 0) {
		unpick(q, s, is_readback);
		if (ret == -EAGAIN && q->inflight)
			return false;
		run_error(q->run, &q->run->io_errors, "%s", nof_strerror_detail());
		run_stop(q->run);
		return false;
	}
	q->submitted++;
	if (q->inflight++ == 0)
		q->waiting_since = now;
	/* From "no limit" they never get to 0. */
	q->io_left--;
	if (!q->is_steady)
		q->bytes_left -= s->len < q->bytes_left ? s->len : q->bytes_left;
	return true;
idle:
	q->idle[q->idle_count++] = s;
	return false;
}

void queue_fill(struct queue *q, uint64_t now)
{
	while (q->idle_count && may_submit(q, now))
		if (!fill_one(q, q->idle[--q->idle_count], now))
			return;
}

static uint64_t clock_of(struct worker *w)
{
	if (w->clock_left == 0) {
		w->now = tool_now();
		w->clock_left = w->clock_every;
	}
	w->clock_left--;
	return w->now;
}

/* A completion, good or not, ends a wait: of this queue, with commands in flight all the time. */
static void note_wait(struct queue *q, uint64_t now, bool is_measured)
{
	const struct run *run = q->run;

	if (is_measured && now - q->waiting_since > q->stall) {
		q->stall = now - q->waiting_since;
		q->stall_at = q->waiting_since;
	}
	q->waiting_since = now;
	if (q->timeline && is_measured) {
		uint64_t point = (now - run->measured) / run->o->timeline;

		if (point < timeline_points(run->o))
			q->timeline[point]++;
	}
}

/* The usual load, and all is well: the I/O that ended makes room for the next, in its place. */
static inline bool steady_done(struct queue *q, struct slot *s, uint64_t now)
{
	const struct run *run = q->run;
	bool is_measured = now >= run->measured;

	q->completed++;
	q->last_done = now;
	note_wait(q, now, is_measured);
	if (is_measured)
		hist_add(q->lat[s->is_write], now - s->started, s->len);
	if (q->idle_count || !may_submit(q, now))
		return false;
	pick_steady(q, run->o, s);
	s->started = now;
	if (submit_one(q, s) < 0)
		return false;
	q->submitted++;
	q->io_left--;
	return true;
}

static void io_done(void *arg, const struct nof_completion *c)
{
	struct slot *s = arg;
	struct queue *q = s->q;
	struct worker *w = q->worker;
	struct run *run = q->run;
	uint64_t now = clock_of(w);

	if (q->is_steady && !c->error) {
		if (steady_done(q, s, now))
			return;
		/* The limit, the end, or no room: the long way finds out. */
		q->inflight--;
		q->idle[q->idle_count++] = s;
		queue_fill(q, now);
		return;
	}
	q->inflight--;
	q->completed++;
	if (q->verify) {
		if (s->is_write)
			verify_end_write(q->verify, s, c->error == 0);
		else
			verify_end_read(q->verify, s, c->error == 0);
	}
	if (c->error == -ECANCELED && perf_signal) {
		run_stop(run);		/* the user's wish is no error */
	} else if (c->error) {
		run_error(run, &run->io_errors, "%s", c->detail);
		run_stop(run);
	} else if (w->phase != PHASE_LOAD) {
		bool is_measured = now >= run->measured;

		q->last_done = now;
		note_wait(q, now, is_measured);
		if (is_measured)
			hist_add(q->lat[s->is_write], now - s->started, s->len);
	}
	if (!q->idle_count && may_submit(q, now)) {
		fill_one(q, s, now);
		return;
	}
	q->idle[q->idle_count++] = s;
	queue_fill(q, now);
}
