/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the peer cases about recovery share. */
#ifndef NOF_TESTS_RECOVER_H
#define NOF_TESTS_RECOVER_H

#include "peer.h"

/*
 * Options of a host that comes back soon. The hold of writes whose fate is unknown is
 * off: the target executes nothing of a connection that has ended.
 */
#define RECOVERS "ctrl_loss_tmo=20&reconnect_delay=0.2&write_hold=off&max_retries=10&"

static inline struct nof_ctrl_stats peer_stats(const struct rig *r)
{
	struct nof_ctrl_stats s = { .size = sizeof(s) };

	assert_int_equal(nof_ctrl_get_stats(r->ctrl, &s), 0);
	return s;
}

#endif
