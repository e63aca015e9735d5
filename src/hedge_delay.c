/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When a read is overdue, and how many may be sent twice. See hedge.h. */
#include "hedge.h"

enum {
	ABOVE = 19,			/* the share above is 1 in ABOVE + 1 */
	SETTLED = 256,			/* samples until steps are small */
	STEP_FIRST = 6,			/* a step is 1/64 of the estimate, later 1/1024 */
	STEP_LATER = 10,
	COST = 20,			/* reads that pay for a hedge */
	CREDIT_MAX = 32 * COST,
};
#define LEAST_NS 4096ull		/* steps of less would be none */
#define MIN_NS 250000ull		/* below, a busy machine makes reads overdue */
#define MAX_NS 100000000ull
#define UNKNOWN_NS 10000000ull		/* until there is an estimate */

/*
 * Each sample moves it by one step down, or by 19 up: at rest where 19 of 20 lie below.
 * Only the side counts, not the distance: a retransmission of seconds is one sample above.
 */
void nofi_quantile_add(struct nofi_quantile *q, uint64_t sample_ns)
{
	uint64_t step = q->ns >> (q->count < SETTLED ? STEP_FIRST : STEP_LATER);

	if (q->count < SETTLED)
		q->count++;
	if (!q->ns)
		q->ns = sample_ns < MAX_NS ? sample_ns : MAX_NS;
	else if (sample_ns > q->ns)
		q->ns += ABOVE * step;
	else
		q->ns -= step;
	if (q->ns < LEAST_NS)
		q->ns = LEAST_NS;
	if (q->ns > MAX_NS)
		q->ns = MAX_NS;
}

uint64_t nofi_hedge_delay(uint32_t fixed_us, const struct nofi_quantile *q)
{
	uint64_t ns;

	if (fixed_us)
		return fixed_us * 1000ull;
	if (q->count < SETTLED)
		return UNKNOWN_NS;
	ns = q->ns * 2;
	return ns < MIN_NS ? MIN_NS : ns > MAX_NS ? MAX_NS : ns;
}

void nofi_hedge_budget_init(struct nofi_hedge_budget *b)
{
	b->credit = CREDIT_MAX / 2;
}

void nofi_hedge_budget_read(struct nofi_hedge_budget *b)
{
	if (b->credit < CREDIT_MAX)
		b->credit++;
}

bool nofi_hedge_budget_take(struct nofi_hedge_budget *b)
{
	if (b->credit < COST)
		return false;
	b->credit -= COST;
	return true;
}
