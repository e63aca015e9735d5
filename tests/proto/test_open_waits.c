/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening a channel while no path can be used: it waits as requests do when one may return,
 * and ends with the path's reason when none does.
 */
#include <signal.h>

#include "rig.h"

#define FAST "reconnect_delay=0.2&nr_io_queues=2"

static struct nof_chan *chan;

static void open_ns(struct rig *r, const char *extra)
{
	chan = NULL;
	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, extra), 0);
	assert_int_equal(rig_open_ns(r, NULL), 0);
}

static struct rig_op *open_chan(struct rig *r)
{
	return RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &chan, rig_done, op));
}

static enum nof_path_state state(struct rig *r)
{
	struct nof_path_info p = { .size = sizeof(p) };

	assert_int_equal(nof_ns_get_paths(r->ns, &p, 1), 1);
	return p.state;
}

static void lose(struct rig *r)
{
	rig_control(r, "drop admin");
	RIG_UNTIL(r, state(r) != NOF_PATH_UP);
}

static void is_open(struct rig *r, struct rig_op *o)
{
	char buf[512];

	if (rig_finish(o))
		fail_msg("%s", o->detail);
	assert_non_null(chan);
	r->chan = chan;
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(r->failures, 0);
	rig_close(r);
}

/* LIVE again, and the namespace is still being identified. */
static void t_while_checking(struct rig *r)
{
	struct rig_op *o;

	open_ns(r, FAST "&ctrl_loss_tmo=20");
	rig_fault(r, "on=cmd cns=0 nth=1 do=delay:300");
	lose(r);
	RIG_UNTIL(r, nof_ctrl_get_state(r->ctrl) == NOF_CTRL_LIVE);
	assert_int_not_equal(state(r), NOF_PATH_UP);
	o = open_chan(r);
	assert_int_equal(o->is_refused, false);
	is_open(r, o);
}

static void t_while_lost(struct rig *r)
{
	struct rig_op *o;

	open_ns(r, FAST "&ctrl_loss_tmo=20");
	lose(r);
	assert_int_not_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_LIVE);
	o = open_chan(r);
	assert_int_equal(o->is_refused, false);
	is_open(r, o);
}

/* At the same moment: whatever the library knows of it by then. */
static void t_at_reset(struct rig *r)
{
	struct rig_op *o, *reset;

	open_ns(r, FAST "&ctrl_loss_tmo=20");
	reset = RIG_SUBMIT(r, nof_ctrl_reset(r->ctrl, rig_done, op));
	o = open_chan(r);
	assert_int_equal(o->is_refused, false);
	assert_int_equal(rig_finish(reset), 0);
	is_open(r, o);
}

/* The association ends while the queue is being connected. */
static void t_while_connecting(struct rig *r)
{
	struct rig_op *o;

	open_ns(r, FAST "&ctrl_loss_tmo=20");
	rig_fault(r, "on=cmd fctype=1 qid=io nth=1 do=drop");
	o = open_chan(r);
	RIG_UNTIL(r, rig_stat(r, "faults_fired") == 1);
	assert_int_equal(o->count, 0);
	rig_control(r, "drop all");
	is_open(r, o);
}

/* The queue's connection alone ends: the association is made anew, as for an open channel. */
static void t_queue_is_reset(struct rig *r)
{
	struct nof_ctrl_stats st = { .size = sizeof(st) };

	open_ns(r, FAST "&ctrl_loss_tmo=20");
	rig_fault(r, "on=cmd fctype=1 qid=io nth=1 do=reset");
	assert_int_equal(rig_finish(open_chan(r)), 0);
	assert_int_equal(nof_ctrl_get_stats(r->ctrl, &st), 0);
	assert_int_equal(st.resets, 1);
	r->chan = chan;
	rig_close(r);
}

/* What the controller answers is for who asked, and no reason to give it up. */
static void t_refused(struct rig *r)
{
	open_ns(r, FAST "&ctrl_loss_tmo=20");
	rig_fault(r, "on=cmd fctype=1 qid=io nth=1 do=status:0x182");
	assert_true(rig_finish(open_chan(r)) < 0);
	assert_null(chan);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_LIVE);
	assert_int_equal(rig_open_chan(r), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* It does not come back: the open ends by the timers of requests, with the reason. */
static void t_never_returns(struct rig *r)
{
	struct rig_op *o;

	open_ns(r, r->arg);
	rig_keep_port(r);
	rig_kill(r);
	RIG_UNTIL(r, state(r) != NOF_PATH_UP);
	o = open_chan(r);
	assert_int_equal(o->is_refused, false);
	assert_true(rig_finish(o) < 0);
	assert_true(strlen(o->detail) > 15);
	assert_null(chan);
	/* The next one does not wait again. */
	RIG_UNTIL(r, state(r) == NOF_PATH_GONE || strstr(r->arg, "fast_io"));
	RIG_REFUSES(nof_chan_open(r->ns, r->loop, &chan, rig_done, NULL), ENOTCONN);
	rig_close(r);
}

static void t_other_namespace(struct rig *r)
{
	struct rig_op *o;

	open_ns(r, FAST "&ctrl_loss_tmo=20");
	rig_fault(r, "on=cmd cns=0 nth=1 do=delay:300");
	assert_string_equal(rig_control(r, "ns-remap 1 mem:1M,uuid=01234567-89ab-4cde-8f01-"
					"234567890001"), "ok");
	lose(r);
	o = open_chan(r);
	assert_int_equal(rig_finish(o), -ESTALE);
	assert_null(chan);
	rig_close(r);
}

/* The controller is freed, or the namespace closed, before there was a queue. */
static void t_freed(struct rig *r)
{
	bool close_first = r->arg;
	struct rig_op *o;

	open_ns(r, FAST "&ctrl_loss_tmo=-1");
	rig_kill(r);
	RIG_UNTIL(r, state(r) != NOF_PATH_UP);
	o = open_chan(r);
	assert_int_equal(o->is_refused, false);
	if (close_first) {
		nof_ns_close(r->ns);
		r->ns = NULL;
	}
	assert_int_equal(o->count, 0);
	nof_ctrl_free(r->ctrl);
	r->ctrl = NULL;
	assert_int_equal(o->count, 1);
	assert_true(o->error < 0);
	assert_null(chan);
	rig_close(r);
}

static void t_no_recovery(struct rig *r)
{
	open_ns(r, FAST "&ctrl_loss_tmo=0");
	rig_kill(r);
	RIG_UNTIL(r, state(r) != NOF_PATH_UP);
	RIG_REFUSES(nof_chan_open(r->ns, r->loop, &chan, rig_done, NULL), ENOTCONN);
	rig_close(r);
}

static const struct rig_test tests[] = {
	{ "while_checking", t_while_checking },
	{ "while_lost", t_while_lost },
	{ "at_reset", t_at_reset },
	{ "while_connecting", t_while_connecting },
	{ "queue_is_reset", t_queue_is_reset },
	{ "refused", t_refused },
	{ "ctrl_loss_tmo", t_never_returns, FAST "&ctrl_loss_tmo=0.5" },
	{ "fast_io_fail", t_never_returns, FAST "&ctrl_loss_tmo=20&fast_io_fail_tmo=0.3" },
	{ "other_namespace", t_other_namespace },
	{ "ctrl_freed", t_freed, NULL },
	{ "ns_closed_ctrl_freed", t_freed, "" },
	{ "no_recovery", t_no_recovery },
};

int main(void)
{
	return rig_main("open_waits", tests, ARRAY_SIZE(tests));
}
