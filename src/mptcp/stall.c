/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See stall.h. */
#include "mptcp/stall.h"

enum {
	GIVE_UP_NS = 300 * 1000000,	/* no path answers: it is not about paths */
};
static const uint64_t heal_ns = 5000000000ull;

uint64_t nofi_stall_limit(const struct nofi_stall_pace *p)
{
	uint64_t limit = (uint64_t)NOFI_STALL_BASE_NS << p->level;

	return limit > 4 * p->rtt_ns ? limit : 4 * p->rtt_ns;
}

void nofi_stall_alarmed(struct nofi_stall_pace *p, uint64_t now)
{
	if (p->level < NOFI_STALL_LEVEL_MAX)
		p->level++;
	p->alarm = now;
}

void nofi_stall_calm(struct nofi_stall_pace *p, uint64_t now)
{
	while (p->level && now - p->alarm >= heal_ns) {
		p->level--;
		p->alarm += heal_ns;
	}
}

/* Queues on the way may be full: what the subflow saw lately counts, too. */
static uint64_t patience(const struct nofi_stall_path *p, uint64_t best)
{
	uint64_t t = NOFI_STALL_BASE_NS;

	if (t < 4 * best)
		t = 4 * best;
	if (t < 4 * p->min_rtt_ns)
		t = 4 * p->min_rtt_ns;
	if (t < 2 * p->rtt_ns)
		t = 2 * p->rtt_ns;
	return t < GIVE_UP_NS ? t : GIVE_UP_NS;
}

uint32_t nofi_stall_judge(const struct nofi_stall_path *paths, unsigned count, uint64_t now,
			  uint64_t *next)
{
	uint64_t best = UINT64_MAX, end = 0;
	uint32_t dead = 0;
	unsigned failed = 0;

	*next = 0;
	for (unsigned i = 0; i < count; i++) {
		const struct nofi_stall_path *p = &paths[i];

		if (p->answered && p->answered - p->asked < best)
			best = p->answered - p->asked;
		if (end < p->asked + GIVE_UP_NS)
			end = p->asked + GIVE_UP_NS;
		failed += p->is_failed && !p->answered;
	}
	if (best == UINT64_MAX) {
		*next = now < end && failed < count ? end : 0;
		return 0;
	}
	for (unsigned i = 0; i < count; i++) {
		const struct nofi_stall_path *p = &paths[i];
		uint64_t until = p->asked + patience(p, best);

		if (p->answered)
			continue;
		if (p->is_failed || now >= until)
			dead |= 1u << i;
		else if (!*next || until < *next)
			*next = until;
	}
	return dead;
}
