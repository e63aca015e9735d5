/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the peer cases share: verified load on the rig, and waiting while it runs. */
#ifndef NOF_TESTS_PEER_H
#define NOF_TESTS_PEER_H

#include "load.h"
#include "rig.h"

enum { PEER_DEADLINE_MS = 20000 };

/* Waits for a condition while the load goes on. */
#define PEER_UNTIL(r, l, cond)                                                          \
	do {                                                                            \
		uint64_t end_ = rig_now_ms() + PEER_DEADLINE_MS;                        \
		while (!(cond)) {                                                       \
			if (rig_now_ms() >= end_)                                       \
				fail_msg("waited %d ms for: %s (%s)", PEER_DEADLINE_MS, \
					 #cond, (l) ? load_get(l)->detail : "");        \
			if (l)                                                          \
				load_tick(l);                                           \
			nof_loop_flush((r)->loop);                                      \
			rig_turn(r, 20);                                                \
		}                                                                       \
		rig_check(r);                                                           \
	} while (0)

/* A command of the target's control socket that has to work, with whatever it answers. */
#define PEER_OK(r, ...)                                                                 \
	do {                                                                            \
		const char *line_ = rig_control(r, __VA_ARGS__);                        \
		while (strcmp(line_, "ok")) {                                           \
			if (!strncmp(line_, "error", 5))                                \
				fail_msg("target: %s", line_);                          \
			line_ = rig_control(r, "%s", "");                               \
		}                                                                       \
	} while (0)

/* A load on the rig's channel, started. */
static inline struct load *peer_load(struct rig *r, const struct load_opts *opts)
{
	struct load_opts o = opts ? *opts : (struct load_opts){ 0 };
	struct load *l;

	o.loop = r->loop;
	if (!o.seed)
		o.seed = 42;
	l = load_new(&o);
	assert_non_null(l);
	load_add(l, r->chan);
	load_start(l);
	return l;
}

/* So many more completions. */
static inline void peer_more(struct rig *r, struct load *l, uint64_t count)
{
	uint64_t want = load_get(l)->completed + count;

	PEER_UNTIL(r, l, load_get(l)->completed >= want || load_get(l)->errors);
}

/* What is open ends, everything is read back, nothing was wrong. Frees the load. */
static inline void peer_finish(struct rig *r, struct load *l)
{
	const struct load_stats *t = load_get(l);

	load_stop(l);
	PEER_UNTIL(r, l, load_is_idle(l));
	if (!t->errors) {
		load_read_back(l);
		PEER_UNTIL(r, l, load_is_idle(l));
	}
	if (t->errors)
		fail_msg("%llu operations failed, the first with %d: %s",
			 (unsigned long long)t->errors, t->error, t->detail);
	if (t->mismatches)
		fail_msg("%llu blocks differ: %s", (unsigned long long)t->mismatches, t->mismatch);
	assert_int_equal(t->doubled, 0);
	assert_int_equal(t->completed, t->submitted);
	assert_true(t->checked > 0);
	load_free(l);
}

#endif
