/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The self-tuning of NOF_POLL_ADAPTIVE; see poll.h.
 */
#include "queue/poll.h"

void nofi_poll_init(struct nofi_poll *p, enum nof_poll_mode mode, uint32_t max_us)
{
	*p = (struct nofi_poll){
		.mode = mode,
		.max = (max_us ? max_us : NOFI_POLL_MAX_US) * 1000ull,
		.next_rest = NOFI_POLL_REST_MIN,
	};
	p->limit = p->max;	/* the first try */
}

uint64_t nofi_poll_begin(struct nofi_poll *p, bool has_inflight)
{
	if (p->mode == NOF_POLL_SPIN)
		return NOFI_POLL_NO_LIMIT;
	if (p->mode != NOF_POLL_ADAPTIVE || !has_inflight)
		return 0;
	if (p->rest) {
		p->rest--;
		return 0;
	}
	/* After a rest nothing is known but that it was too short or too long ago. */
	if (!p->limit)
		p->limit = p->max;
	return p->limit;
}

static void rest(struct nofi_poll *p)
{
	p->limit = 0;
	p->misses = 0;
	p->rest = p->next_rest;
	if (p->next_rest < NOFI_POLL_REST_MAX)
		p->next_rest *= 2;
}

static void hit(struct nofi_poll *p, uint64_t waited)
{
	uint64_t aim = waited * 3;

	if (aim < NOFI_POLL_MIN_NS)
		aim = NOFI_POLL_MIN_NS;
	if (aim > p->max)
		aim = p->max;
	if (aim > p->limit)
		p->limit = aim;
	else
		p->limit -= (p->limit - aim) / 16;
	p->misses = 0;
	if (p->next_rest > NOFI_POLL_REST_MIN)
		p->next_rest /= 2;
}

/* waited has the wake-up in it, which alone may take as long as the longest spin. */
static void miss(struct nofi_poll *p, uint64_t waited)
{
	if (++p->misses == NOFI_POLL_MISSES) {
		rest(p);
		return;
	}
	p->limit = waited <= 2 * p->max ? p->limit * 2 : p->limit / 2;
	if (p->limit > p->max)
		p->limit = p->max;
	if (p->limit < NOFI_POLL_MIN_NS)
		rest(p);
}

void nofi_poll_end(struct nofi_poll *p, uint64_t limit, uint64_t waited)
{
	if (p->mode != NOF_POLL_ADAPTIVE)
		return;
	if (!limit) {
		/* It slept, and yet it took no longer than a spin: that would have found it. */
		if (waited <= p->max)
			p->rest = 0;
		return;
	}
	if (waited <= limit)
		hit(p, waited);
	else
		miss(p, waited);
}
