/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A loop, for the unit tests that need one. */
#ifndef NOF_TESTS_UNIT_LOOP_H
#define NOF_TESTS_UNIT_LOOP_H

#include "nof.h"
#include "unit.h"

/* flags: enum nof_loop_flag. Fails the test if there can be none. */
static inline struct nof_loop *new_loop(enum nof_engine engine, uint32_t flags)
{
	struct nof_loop_opts o;
	struct nof_loop *loop = NULL;

	nof_loop_opts_init(&o);
	o.engine = engine;
	o.flags = flags;
	if (nof_loop_new(&o, &loop) < 0)
		fail_msg("%s", nof_strerror_detail());
	return loop;
}

#endif
