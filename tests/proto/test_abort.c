/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An I/O command that is not answered in time (2.5): Abort first, within ACL; what the
 * controller aborts ends with its status; for what never comes the association is made
 * anew. max_retries=0: what became of the command itself is what is looked at.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "rig.h"

#define LATE "ctrl_loss_tmo=20&reconnect_delay=0.2&io_timeout=0.3&max_retries=0"

static struct nof_ctrl_stats stats_of(struct rig *r)
{
	struct nof_ctrl_stats s = { .size = sizeof(s) };

	assert_int_equal(nof_ctrl_get_stats(r->ctrl, &s), 0);
	return s;
}

struct late {
	const char *fault;
	int error;			/* of the write */
	uint16_t status;
	unsigned done, failed;		/* Aborts that did and did not help */
	bool is_reset;			/* the association is given up */
};

static void t_late(struct rig *r)
{
	const struct late *k = r->arg;
	struct nof_ctrl_stats s;
	struct rig_op *one;
	char buf[512] = "";

	rig_target(r, NULL, NULL);
	rig_open(r, LATE);
	rig_fault(r, k->fault);
	one = rig_submit_write(r, buf, sizeof(buf), 0);
	assert_int_equal(rig_finish(one), k->error);
	assert_int_equal(one->status, k->status);
	RIG_UNTIL(r, r->states[NOF_CTRL_LIVE].count == (k->is_reset ? 2 : 1));
	/* The command may end before the answer to its Abort is here. */
	RIG_UNTIL(r, stats_of(r).aborts_done + stats_of(r).aborts_failed >= k->done + k->failed);
	s = stats_of(r);
	assert_int_equal(s.timeouts, 1);
	assert_int_equal(s.aborts, 1);
	assert_int_equal(s.aborts_done, k->done);
	assert_int_equal(s.aborts_failed, k->failed);
	assert_int_equal(s.resets, k->is_reset);
	if (!k->is_reset) {
		assert_int_equal(rig_write(r, buf, sizeof(buf), 0, 0), 0);
		assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	} else {
		assert_non_null(strstr(r->states[NOF_CTRL_RESETTING].detail, "abort"));
		assert_int_equal(r->states[NOF_CTRL_RESETTING].error, -ETIMEDOUT);
	}
	assert_int_equal(rig_disconnect(r), 0);
}

/* More late commands than Aborts may be outstanding (ACL): the others wait. */
static void t_limit(struct rig *r)
{
	enum { N = 20 };
	const unsigned *acl = r->arg;
	char options[16];
	struct rig_op *ops[N];
	char buf[N][512];

	snprintf(options, sizeof(options), "--acl=%u", *acl);
	rig_target(r, options, NULL);
	rig_open(r, LATE);
	rig_fault(r, "on=read nth=1-20 do=drop; on=abort do=drop");
	for (int i = 0; i < N; i++)
		ops[i] = rig_submit_read(r, buf[i], sizeof(buf[i]), 0);
	rig_finish_all(r);
	for (int i = 0; i < N; i++)
		assert_int_equal(ops[i]->error, -ETIMEDOUT);
	RIG_UNTIL(r, r->states[NOF_CTRL_LIVE].count == 2);
	assert_int_equal(stats_of(r).timeouts, N);
	assert_int_equal(stats_of(r).aborts, *acl + 1);
	assert_int_equal(stats_of(r).aborts_done + stats_of(r).aborts_failed, 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Answered one by one, all of them get their turn. */
static void t_all_get_their_turn(struct rig *r)
{
	enum { N = 20 };
	struct rig_op *ops[N];
	char buf[N][512];

	rig_target(r, NULL, NULL);
	rig_open(r, LATE);
	rig_fault(r, "on=read nth=1-20 do=delay:20000");
	for (int i = 0; i < N; i++)
		ops[i] = rig_submit_read(r, buf[i], sizeof(buf[i]), 0);
	rig_finish_all(r);
	for (int i = 0; i < N; i++)
		assert_int_equal(ops[i]->status, 7);
	RIG_UNTIL(r, stats_of(r).aborts_done == N);
	assert_int_equal(stats_of(r).resets, 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* The queue, or the controller, dies while an Abort is under way. */
static void t_dies(struct rig *r)
{
	struct rig_op *one;
	char buf[512];

	rig_target(r, NULL, NULL);
	rig_open(r, LATE "&io_timeout=0.5");
	rig_fault(r, "on=read nth=1 do=drop; on=abort do=drop");
	one = rig_submit_read(r, buf, sizeof(buf), 0);
	RIG_UNTIL(r, stats_of(r).aborts == 1);
	assert_int_equal(one->count, 0);
	rig_control(r, "drop %s", (const char *)r->arg);
	assert_int_not_equal(rig_finish(one), 0);
	RIG_UNTIL(r, r->states[NOF_CTRL_LIVE].count == 2);
	assert_int_equal(stats_of(r).aborts_done + stats_of(r).aborts_failed, 0);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_freed(struct rig *r)
{
	struct rig_op *one;
	char buf[512];

	rig_target(r, NULL, NULL);
	rig_open(r, LATE "&io_timeout=0.5");
	rig_fault(r, "on=read nth=1 do=drop; on=abort do=drop");
	one = rig_submit_read(r, buf, sizeof(buf), 0);
	RIG_UNTIL(r, stats_of(r).aborts == 1);
	assert_int_equal(one->count, 0);
	nof_ctrl_free(r->ctrl);
	r->ctrl = NULL;
	assert_int_equal(rig_finish(one), -ECANCELED);
}

/* ---- a queue on the loop of another thread ---- */

struct other {
	struct nof_ns *ns;
	struct nof_loop *loop;
	struct nof_chan *chan;
	int error;			/* the first that happened */
	atomic_uint step;		/* 1: the read is under way, 2: it has ended */
	uint16_t status;
	char buf[512];
};

static void other_read_done(void *arg, const struct nof_completion *c)
{
	struct other *o = arg;

	o->error = c->error;
	o->status = c->status;
	atomic_store(&o->step, 2);
	nof_loop_stop(o->loop);
}

static void *other_main(void *arg)
{
	struct other *o = arg;

	o->error = nof_chan_open_sync(o->ns, o->loop, &o->chan);
	if (!o->error)
		o->error = nof_read(o->chan, o->buf, sizeof(o->buf), 0, 0, other_read_done, o);
	atomic_store(&o->step, o->error ? 2 : 1);
	if (!o->error)
		nof_loop_run(o->loop);
	nof_chan_close(o->chan);
	return NULL;
}

static void t_other_loop(struct rig *r)
{
	struct other o = { .step = 0 };
	pthread_t thread;

	rig_target(r, NULL, NULL);
	rig_open(r, LATE "&nr_io_queues=2");
	rig_fault(r, "on=read nth=1 do=delay:20000");
	o.ns = r->ns;
	o.loop = rig_new_loop(r, 0);
	assert_int_equal(pthread_create(&thread, NULL, other_main, &o), 0);
	RIG_UNTIL(r, atomic_load(&o.step) == 2);
	pthread_join(thread, NULL);
	assert_int_equal(o.error, -ECANCELED);
	assert_int_equal(o.status, 7);
	RIG_UNTIL(r, stats_of(r).aborts_done == 1);
	assert_int_equal(stats_of(r).resets, 0);
	nof_loop_free(o.loop);
	assert_int_equal(rig_disconnect(r), 0);
}

#define CASE(name_, ...) { name_, t_late, &(const struct late){ __VA_ARGS__ } }

static const struct rig_test tests[] = {
	CASE("aborted", .fault = "on=write nth=1 do=delay:20000", .error = -ECANCELED, .status = 7,
	     .done = 1),
	CASE("not_aborted", .fault = "on=write nth=1 do=drop", .error = -ETIMEDOUT, .failed = 1,
	     .is_reset = true),
	CASE("never_answered", .fault = "on=write nth=1 do=drop; on=abort do=drop",
	     .error = -ETIMEDOUT, .is_reset = true),
	CASE("limit_exceeded", .fault = "on=write nth=1 do=drop; on=abort do=status:1/3",
	     .error = -ETIMEDOUT, .failed = 1, .is_reset = true),
	CASE("comes_after_all", .fault = "on=write nth=1 do=delay:450; on=abort do=status:1/3",
	     .error = 0, .failed = 1),
	{ "limit_1", t_limit, &(const unsigned){ 0 } },
	{ "limit_4", t_limit, &(const unsigned){ 3 } },
	{ "all_get_their_turn", t_all_get_their_turn },
	{ "io_dies", t_dies, "io" },
	{ "admin_dies", t_dies, "admin" },
	{ "freed", t_freed },
	{ "other_loop", t_other_loop },
};

int main(void)
{
	return rig_main("abort", tests, ARRAY_SIZE(tests));
}
