/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a program may do to its paths while I/O runs: reset a controller, take a path out and put
 * it back, change the policy and the preferred path. On the main thread, whose loop the
 * controllers live on. None of it may cost a request, because one path always stays.
 */
#include <errno.h>

#include "chaos.h"

#define MS 1000000ull

static struct {
	uint64_t rng;
	uint64_t next;		     /* ns: of the next deed */
	bool is_busy[MAX_PATHS];     /* a reset or an addition is under way */
	bool is_out[MAX_PATHS];	     /* taken out */
	uint64_t back_at[MAX_PATHS]; /* ns: when it is to come back */
	struct chaos *chaos;
} sh;

struct op {
	unsigned int path;
};

static struct op ops[MAX_PATHS];

static uint32_t rnd(uint32_t below)
{
	sh.rng ^= sh.rng << 13;
	sh.rng ^= sh.rng >> 7;
	sh.rng ^= sh.rng << 17;
	return (uint32_t)(sh.rng >> 33) % below;
}

static bool is_live(unsigned int path)
{
	return nof_ctrl_get_state(sh.chaos->ctrls[path]) == NOF_CTRL_LIVE;
}

static void reset_done(void *arg, const struct nof_completion *c)
{
	const struct op *op = arg;

	if (!sh.is_busy[op->path])
		fail(sh.chaos, "a reset of path %u completed twice", op->path);
	sh.is_busy[op->path] = false;
}

static void reset(unsigned int path)
{
	if (!is_live(path) || sh.is_busy[path])
		return;
	sh.is_busy[path] = true;
	if (nof_ctrl_reset(sh.chaos->ctrls[path], reset_done, &ops[path]) == 0) {
		sh.chaos->deeds.resets++;
		return;
	}
	sh.is_busy[path] = false;
	fail(sh.chaos, "reset of path %u: %s", path, nof_strerror_detail());
}

static void take_out(unsigned int path)
{
	unsigned int i;

	for (i = 0; i < sh.chaos->o.paths; i++)
		if (sh.is_out[i])
			return;
	if (nof_ns_remove_path(sh.chaos->ns, sh.chaos->ctrls[path]) < 0) {
		fail(sh.chaos, "removal of path %u: %s", path, nof_strerror_detail());
		return;
	}
	sh.is_out[path] = true;
	sh.back_at[path] = now_ns() + (100 + rnd(2000)) * MS;
	sh.chaos->deeds.removals++;
}

static void add_done(void *arg, const struct nof_completion *c)
{
	const struct op *op = arg;

	if (!sh.is_busy[op->path] || !sh.is_out[op->path])
		fail(sh.chaos, "an addition of path %u completed twice", op->path);
	sh.is_busy[op->path] = false;
	sh.is_out[op->path] = c->error != 0;
	sh.chaos->deeds.additions += c->error == 0;
	/* It may be lost again meanwhile, but it is what it was. */
	if (c->error == -ESTALE || c->error == -ENOTUNIQ || c->error == -EEXIST ||
	    c->error == -ENOSPC)
		fail(sh.chaos, "addition of path %u: %d, %s", op->path, c->error, c->detail);
}

static void put_back(unsigned int path)
{
	if (!sh.is_out[path] || sh.is_busy[path] || now_ns() < sh.back_at[path] || !is_live(path))
		return;
	sh.is_busy[path] = true;
	if (nof_ns_add_path(sh.chaos->ns, sh.chaos->ctrls[path], add_done, &ops[path]) == 0)
		return;
	sh.is_busy[path] = false;
	fail(sh.chaos, "addition of path %u: %s", path, nof_strerror_detail());
}

static void prefer(unsigned int path)
{
	struct nof_ctrl *ctrl = rnd(3) ? sh.chaos->ctrls[path] : NULL;

	if (sh.is_out[path])
		return;
	if (nof_ns_set_preferred(sh.chaos->ns, ctrl) < 0)
		fail(sh.chaos, "preferring path %u: %s", path, nof_strerror_detail());
}

void shake_begin(struct chaos *c)
{
	unsigned int i;

	sh.chaos = c;
	sh.rng = (c->o.seed + 77) * 0x9e3779b97f4a7c15ull;
	for (i = 0; i < MAX_PATHS; i++)
		ops[i].path = i;
}

void shake_turn(struct chaos *c)
{
	static const enum nof_iopolicy policies[] = { NOF_IOPOLICY_NUMA, NOF_IOPOLICY_ROUND_ROBIN,
						      NOF_IOPOLICY_QUEUE_DEPTH,
						      NOF_IOPOLICY_SERVICE_TIME };
	uint64_t now = now_ns();
	unsigned int i, path;

	for (i = 0; i < c->o.paths; i++)
		put_back(i);
	if (now < sh.next)
		return;
	sh.next = now + (50 + rnd(1500)) * MS;
	path = rnd(c->o.paths);
	switch (rnd(4)) {
	case 0: reset(path); break;
	case 1: take_out(path); break;
	case 2: nof_ns_set_iopolicy(c->ns, policies[rnd(4)]); break;
	case 3: prefer(path); break;
	}
}

bool shake_is_over(const struct chaos *c)
{
	unsigned int i;

	for (i = 0; i < c->o.paths; i++)
		if (sh.is_busy[i])
			return false;
	return true;
}
