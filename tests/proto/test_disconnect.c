/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Disconnect (F-8): when it is sent and when not, whatever the target makes of it, and
 * what a user may do while the queue leaves.
 */
#include <pthread.h>

#include "rig.h"

#define SEEN "on=resp for=disconnect do=set:dw1=0; "	/* changes nothing, and is counted */
#define LOST "on=disconnect do=drop"

static unsigned resets(struct rig *r)
{
	struct nof_ctrl_stats s = { .size = sizeof(s) };

	assert_int_equal(nof_ctrl_get_stats(r->ctrl, &s), 0);
	return (unsigned)s.resets;
}

static void close_chan(struct rig *r)
{
	nof_chan_close(r->chan);
	r->chan = NULL;
}

/* Opens one and uses it. */
static void works(struct rig *r)
{
	uint8_t out[4096], in[4096];

	if (!r->chan && rig_open_chan(r))
		fail_msg("%s", r->last->detail);
	rig_fill(out, sizeof(out), 7);
	if (rig_write(r, out, sizeof(out), 8192, 0))
		fail_msg("%s", r->last->detail);
	assert_int_equal(rig_read(r, in, sizeof(in), 8192, 0), 0);
	assert_memory_equal(in, out, sizeof(in));
}

static void t_sent(struct rig *r)
{
	rig_target(r, NULL, SEEN);
	rig_open(r, "nr_io_queues=1");
	for (unsigned i = 1; i <= 3; i++) {
		works(r);
		close_chan(r);
		RIG_UNTIL(r, rig_stat(r, "conns") == 1);
		assert_int_equal(rig_stat(r, "faults_fired"), i);
	}
	works(r);
	assert_int_equal(resets(r), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* The shutdown of the controller comes behind the answer. */
static void t_before_shutdown(struct rig *r)
{
	rig_target(r, NULL, "on=disconnect do=delay:100; " SEEN);
	rig_open(r, "nr_io_queues=1");
	works(r);
	close_chan(r);
	assert_int_equal(rig_disconnect(r), 0);
	assert_int_equal(rig_stat(r, "faults_fired"), 2);
}

/* Of a queue that others use, only by the last of them. */
static void t_shared(struct rig *r)
{
	struct nof_chan *other = NULL;
	struct rig_op *one;

	rig_target(r, NULL, SEEN);
	rig_open(r, "nr_io_queues=1");
	one = RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &other, rig_done, op));
	assert_int_equal(rig_finish(one), 0);
	nof_chan_close(other);
	works(r);
	assert_int_equal(rig_stat(r, "faults_fired"), 0);
	close_chan(r);
	RIG_UNTIL(r, rig_stat(r, "conns") == 1);
	assert_int_equal(rig_stat(r, "faults_fired"), 1);
}

/* Not where the target has none. */
static void t_without(struct rig *r)
{
	rig_target(r, NULL, SEEN "on=c2hdata for=identify cns=1 nth=1 do=set:data8[1804]=0");
	rig_open(r, "nr_io_queues=1");
	assert_int_equal(rig_stat(r, "faults_fired"), 1);
	works(r);
	close_chan(r);
	RIG_UNTIL(r, rig_stat(r, "conns") == 1);
	assert_int_equal(rig_stat(r, "faults_fired"), 1);
	works(r);
}

/* Nor when something is in flight: that ends at once, as ever. */
static void t_in_flight(struct rig *r)
{
	char buf[4096];
	struct rig_op *one;

	rig_target(r, NULL, "on=read do=drop; on=disconnect do=term:1:4");
	rig_open(r, "nr_io_queues=1");
	one = rig_submit_read(r, buf, sizeof(buf), 0);
	RIG_UNTIL(r, rig_stat(r, "faults_fired"));
	close_chan(r);
	assert_int_equal(one->error, -ECANCELED);
	RIG_UNTIL(r, rig_stat(r, "conns") == 1);
	assert_int_equal(rig_stat(r, "faults_fired"), 1);
	assert_int_equal(resets(r), 0);
}

/* Whatever becomes of it concerns this queue only. */
static void t_answer(struct rig *r)
{
	rig_target(r, NULL, r->arg);
	rig_open(r, "nr_io_queues=1&admin_timeout=0.3");
	works(r);
	close_chan(r);
	RIG_UNTIL(r, rig_stat(r, "conns") == 1);
	rig_fault(r, "");
	works(r);
	assert_int_equal(resets(r), 0);
	assert_int_equal(r->failures, 0);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_LIVE);
	assert_int_equal(rig_disconnect(r), 0);
}

/* The only queue, closed and wanted again at once; also while nothing answers Disconnect. */
static void t_again(struct rig *r)
{
	rig_target(r, NULL, r->arg);
	rig_open(r, "nr_io_queues=1&admin_timeout=0.3");
	for (unsigned i = 0; i < 4; i++) {
		close_chan(r);
		works(r);
	}
	assert_int_equal(resets(r), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* With others to choose from, the one that leaves is left alone. */
static void t_other_id(struct rig *r)
{
	rig_target(r, NULL, LOST);
	rig_open(r, "nr_io_queues=3");
	close_chan(r);
	works(r);
	assert_int_equal(r->last->qid, 2);
	close_chan(r);
	works(r);
	assert_int_equal(r->last->qid, 3);
	assert_int_equal(rig_stat(r, "conns"), 4);
	assert_int_equal(rig_disconnect(r), 0);
}

static void close_inside(void *arg, const struct nof_completion *c)
{
	struct rig_op *op = arg;
	struct rig *r = op->rig;

	rig_done(arg, c);
	close_chan(r);
}

static void t_inside(struct rig *r)
{
	struct rig_op *one;
	char buf[4096];

	rig_target(r, NULL, SEEN);
	rig_open(r, "nr_io_queues=1");
	one = RIG_SUBMIT(r, nof_read(r->chan, buf, sizeof(buf), 0, 0, close_inside, op));
	assert_int_equal(rig_finish(one), 0);
	RIG_UNTIL(r, rig_stat(r, "conns") == 1);
	works(r);
	assert_int_equal(resets(r), 0);
}

enum what { DISCONNECT, FREE, RESET, LOSS, FREE_ALL };

struct meddle {
	enum what what;
	bool is_sent;			/* it is at the target, and will not be answered */
};

static void t_meddle(struct rig *r)
{
	const struct meddle *m = r->arg;
	struct rig_op *one = NULL;

	rig_target(r, NULL, LOST);
	rig_open(r, "nr_io_queues=2&ctrl_loss_tmo=10&reconnect_delay=0.1");
	works(r);
	close_chan(r);
	if (m->is_sent)
		RIG_UNTIL(r, rig_stat(r, "faults_fired"));
	switch (m->what) {
	case DISCONNECT:
		one = RIG_SUBMIT(r, nof_ctrl_disconnect(r->ctrl, rig_done, op));
		break;
	case RESET:
		one = RIG_SUBMIT(r, nof_ctrl_reset(r->ctrl, rig_done, op));
		break;
	case LOSS:
		rig_control(r, "drop admin");
		RIG_UNTIL(r, r->states[NOF_CTRL_LIVE].count == 2);
		break;
	case FREE:
		nof_ctrl_free(r->ctrl);
		r->ctrl = NULL;
		rig_all_closed(r);
		break;
	case FREE_ALL:
		rig_close(r);
		rig_all_closed(r);
		return;
	}
	rig_finish_all(r);
	if (one)
		assert_int_equal(one->error, 0);
	if (m->what == RESET || m->what == LOSS) {
		assert_int_equal(resets(r), 1);
		/* The path through the new association may not have been looked at yet. */
		nof_ns_close(r->ns);
		r->ns = NULL;
		assert_int_equal(rig_open_ns(r, NULL), 0);
		works(r);
		assert_int_equal(rig_disconnect(r), 0);
	}
}

/* ---- a channel of another loop: its thread may go right after the close ---- */

static void *other_main(void *arg)
{
	struct rig *r = arg;
	struct nof_loop_opts lo;
	struct nof_loop *loop;
	struct nof_chan *chan;
	char buf[4096];
	void *ret = NULL;

	nof_loop_opts_init(&lo);
	lo.engine = r->engine;
	if (nof_loop_new(&lo, &loop) < 0)
		return "no loop";
	if (nof_chan_open_sync(r->ns, loop, &chan) < 0) {
		nof_loop_free(loop);
		return "no channel";
	}
	if (nof_pread(chan, buf, sizeof(buf), 0, 0) < 0)
		ret = "no data";
	nof_chan_close(chan);
	nof_loop_free(loop);
	return ret;
}

static void t_other_loop(struct rig *r)
{
	pthread_t t;
	void *ret;

	rig_target(r, NULL, SEEN);
	rig_open(r, "nr_io_queues=2");
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(pthread_create(&t, NULL, other_main, r), 0);
		assert_int_equal(pthread_join(t, &ret), 0);
		if (ret)
			fail_msg("%s", (const char *)ret);
	}
	RIG_UNTIL(r, rig_stat(r, "conns") == 2);
	assert_int_equal(rig_stat(r, "faults_fired"), 0);
	works(r);
	assert_int_equal(resets(r), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

#define MEDDLE(name_, ...) { name_, t_meddle, &(const struct meddle){ __VA_ARGS__ } }

static const struct rig_test tests[] = {
	{ "f8_sent", t_sent },
	{ "f8_before_shutdown", t_before_shutdown },
	{ "f8_shared", t_shared },
	{ "f8_without", t_without },
	{ "f8_in_flight", t_in_flight },
	{ "f8_unanswered", t_answer, LOST },
	{ "f8_refused", t_answer, "on=disconnect do=status:2/dnr" },
	{ "f8_closes", t_answer, "on=disconnect do=close" },
	{ "f8_resets", t_answer, "on=disconnect do=reset" },
	{ "f8_term", t_answer, "on=disconnect do=term:1:4" },
	{ "f8_answers_nonsense", t_answer, "on=resp for=disconnect do=set:cid=0xfffe" },
	{ "f8_again", t_again, SEEN },
	{ "f8_again_unanswered", t_again, LOST },
	{ "f8_other_id", t_other_id },
	{ "f8_inside", t_inside },
	MEDDLE("f8_disconnect", DISCONNECT, false),
	MEDDLE("f8_disconnect_sent", DISCONNECT, true),
	MEDDLE("f8_free", FREE, false),
	MEDDLE("f8_free_sent", FREE, true),
	MEDDLE("f8_free_all", FREE_ALL, false),
	MEDDLE("f8_free_all_sent", FREE_ALL, true),
	MEDDLE("f8_reset", RESET, false),
	MEDDLE("f8_reset_sent", RESET, true),
	MEDDLE("f8_loss", LOSS, false),
	MEDDLE("f8_loss_sent", LOSS, true),
	{ "f8_other_loop", t_other_loop },
};

int main(void)
{
	return rig_main("disconnect", tests, ARRAY_SIZE(tests));
}
