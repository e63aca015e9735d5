/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See policy.h. */
#include "ctrl/numa.h"
#include "ctrl/policy.h"

bool nofi_ana_is_usable(uint8_t ana)
{
	return ana == NOF_ANA_NONE || ana == NOF_ANA_OPTIMIZED || ana == NOF_ANA_NON_OPTIMIZED;
}

/* Lower is better. */
static unsigned rank(const struct nofi_way *w)
{
	return (w->ana == NOF_ANA_NON_OPTIMIZED) * 2u + !w->is_preferred;
}

uint32_t nofi_policy_select(struct nofi_way *const *ways, uint32_t n,
			    uint8_t active[NOFI_PATHS_MAX])
{
	unsigned best = UINT32_MAX;
	bool is_pinned = false;
	uint32_t count = 0;

	for (uint32_t i = 0; i < n; i++)
		is_pinned = is_pinned || ways[i]->is_pinned;
	for (uint32_t i = 0; i < n; i++) {
		const struct nofi_way *w = ways[i];

		if (!w->is_usable || !nofi_ana_is_usable(w->ana) || (is_pinned && !w->is_pinned))
			continue;
		if (rank(w) < best) {
			best = rank(w);
			count = 0;
		}
		if (rank(w) == best)
			active[count++] = (uint8_t)i;
	}
	return count;
}

/* What a way costs; the least is taken. */
static uint64_t cost(enum nof_iopolicy policy, const struct nofi_way *w)
{
	if (policy == NOF_IOPOLICY_ROUND_ROBIN)
		return 0;
	/* Nothing says that what is not known is far: then the order decides. */
	if (policy == NOF_IOPOLICY_NUMA)
		return w->distance > NOFI_NUMA_NEAR ? w->distance : NOFI_NUMA_NEAR;
	if (policy == NOF_IOPOLICY_QUEUE_DEPTH)
		return w->inflight;
	/* One that was not tried yet is tried: nothing else would ever measure it. */
	return (w->inflight + 1ull) * w->service_ns;
}

int nofi_policy_choose(enum nof_iopolicy policy, struct nofi_way *const *ways,
		       const uint8_t *active, uint32_t n, uint32_t full, uint32_t *turn)
{
	uint64_t least = UINT64_MAX;
	int best = -1;

	for (uint32_t k = 0; k < n; k++) {
		/* Equals take turns; numa stays with the first of the nearest. */
		uint32_t i = policy == NOF_IOPOLICY_NUMA ? k : (*turn + k) % n;
		uint64_t c;

		if (full >> i & 1)
			continue;
		c = cost(policy, ways[active[i]]);
		if (best >= 0 && c >= least)
			continue;
		least = c;
		best = (int)i;
		if (policy == NOF_IOPOLICY_ROUND_ROBIN)
			break;
	}
	if (best >= 0)
		*turn = (uint32_t)best + 1;
	return best;
}
