/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What state a subflow is in, as far as its counters tell. The kernel has its own idea
 * (net.mptcp.stale_loss_cnt) but tells it to nobody.
 */
#include "mptcp/sock.h"

enum {
	STALE_TIMEOUTS = 2,	/* one alone is what any loss of a tail costs */
	STALE_RTOS = 2,		/* without an acknowledgement; the second time-out ends the third */
};

static uint64_t base_rto_us(const struct nofi_subflow_info *s)
{
	return s->rto_us >> (s->backoff < 31 ? s->backoff : 31);
}

/* Nothing came back for what was sent, and its timer has run out more than once. */
static bool is_in_trouble(const struct nofi_subflow_info *s)
{
	if (!s->unacked || (s->backoff < STALE_TIMEOUTS && s->ca_state != NOFI_CA_LOSS))
		return false;
	return s->last_ack_ms * 1000ull >= STALE_RTOS * base_rto_us(s);
}

static uint32_t silent_ms(const struct nofi_subflow_info *s)
{
	return s->last_ack_ms < s->last_data_ms ? s->last_ack_ms : s->last_data_ms;
}

/*
 * It takes another subflow that has heard from the target since this one did, by more than
 * what this one waits for an answer: where nothing comes by any way, the target is gone, not
 * the path.
 */
bool nofi_subflow_is_stale(const struct nofi_sock_info *info, unsigned i)
{
	unsigned n = info->subflow_count < NOFI_SUBFLOWS_MAX ? info->subflow_count :
							       NOFI_SUBFLOWS_MAX;
	const struct nofi_subflow_info *s = &info->subflows[i];

	if (i >= n || !is_in_trouble(s))
		return false;
	for (unsigned k = 0; k < n; k++) {
		const struct nofi_subflow_info *o = &info->subflows[k];

		if (k != i && !is_in_trouble(o) &&
		    silent_ms(o) * 1000ull + base_rto_us(s) <= silent_ms(s) * 1000ull)
			return true;
	}
	return false;
}
