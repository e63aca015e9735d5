/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * NVM Subsystem Reset (F-7): refused where there is none, answered or not, the other
 * controllers of the subsystem, and what a user may do meanwhile.
 */
#include "rig.h"

#define FAST "ctrl_loss_tmo=20&reconnect_delay=0.2&"
#define NO_NSSRS "on=resp for=propget prop=0 do=set:dw1=0x08000820"

static struct nof_ctrl_stats stats_of(const struct nof_ctrl *ctrl)
{
	struct nof_ctrl_stats s = { .size = sizeof(s) };

	assert_int_equal(nof_ctrl_get_stats(ctrl, &s), 0);
	return s;
}

static struct rig_op *reset(struct rig *r)
{
	return RIG_SUBMIT(r, nof_ctrl_subsystem_reset(r->ctrl, rig_done, op));
}

/* Namespace and channel survive, or are opened again where recovery is off. */
static void works(struct rig *r)
{
	uint8_t out[4096], in[4096];

	rig_fill(out, sizeof(out), 7);
	if (rig_write(r, out, sizeof(out), 8192, 0))
		fail_msg("%s", r->last->detail);
	assert_int_equal(rig_read(r, in, sizeof(in), 8192, 0), 0);
	assert_memory_equal(in, out, sizeof(in));
}

static void t_refused(struct rig *r)
{
	struct rig_op *one;

	rig_target(r, NULL, NO_NSSRS);
	rig_loop(r);
	rig_opts(r, FAST, &r->opts);
	assert_int_equal(nof_ctrl_new(r->loop, &r->opts, rig_on_event, r, &r->ctrl), 0);
	RIG_REFUSES(nof_ctrl_subsystem_reset(NULL, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_ctrl_subsystem_reset_sync(NULL), EINVAL);
	RIG_REFUSES(nof_ctrl_subsystem_reset(r->ctrl, NULL, NULL), EINVAL);
	RIG_REFUSES(nof_ctrl_subsystem_reset(r->ctrl, rig_done, NULL), ENOTCONN);
	one = RIG_SUBMIT(r, nof_ctrl_connect(r->ctrl, rig_done, op));
	assert_int_equal(rig_finish(one), 0);
	RIG_REFUSES(nof_ctrl_subsystem_reset(r->ctrl, rig_done, NULL), EOPNOTSUPP);
	assert_non_null(strstr(nof_strerror_detail(), "NSSRS"));
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_LIVE);
	one = RIG_SUBMIT(r, nof_ctrl_disconnect(r->ctrl, rig_done, op));
	RIG_REFUSES(nof_ctrl_subsystem_reset(r->ctrl, rig_done, NULL), ENOTCONN);
	assert_int_equal(rig_finish(one), 0);
}

/* The target says no: nothing was reset, and the status is told. */
static void t_declined(struct rig *r)
{
	struct rig_op *one;

	rig_target(r, NULL, "on=propset prop=0x20 do=status:2/dnr");
	rig_open(r, NULL);
	one = reset(r);
	assert_int_equal(rig_finish(one), -EINVAL);
	assert_int_equal(one->status & 0x7ff, 2);
	assert_non_null(strstr(one->detail, "NSSR"));
	assert_int_equal(stats_of(r->ctrl).resets, 0);
	works(r);
	/* A loss that comes later is one, not the reset that was asked for. */
	rig_control(r, "drop admin");
	RIG_UNTIL(r, r->failures == 1);
}

struct way {
	const char *fault;
	const char *uri;
};

static void t_works(struct rig *r)
{
	const struct way *w = r->arg;
	struct nof_ctrl_info before = { .size = sizeof(before) }, after = before;
	bool has_recovery = strstr(w->uri, "ctrl_loss_tmo=20");
	struct rig_op *ops[2];

	rig_target(r, NULL, w->fault);
	rig_open(r, w->uri);
	works(r);
	assert_int_equal(nof_ctrl_get_info(r->ctrl, &before), 0);
	/* The second waits its turn: it was sent in time, and ends well, or it was not. */
	ops[0] = reset(r);
	ops[1] = reset(r);
	rig_finish_all(r);
	if (ops[0]->error)
		fail_msg("%s", ops[0]->detail);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_LIVE);
	assert_int_equal(stats_of(r->ctrl).resets, 1);
	assert_int_equal(r->states[NOF_CTRL_RESETTING].count, 1);
	assert_int_equal(nof_ctrl_get_info(r->ctrl, &after), 0);
	assert_int_not_equal(before.cntlid, after.cntlid);
	if (!has_recovery) {
		nof_chan_close(r->chan);
		nof_ns_close(r->ns);
		r->chan = NULL;
		r->ns = NULL;
		assert_int_equal(rig_open_ns(r, NULL), 0);
		assert_int_equal(rig_open_chan(r), 0);
	}
	works(r);
	rig_fault(r, "");
	if (r->drive != RIG_RUN)
		assert_int_equal(nof_ctrl_subsystem_reset_sync(r->ctrl), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Asked for without recovery: tried once, and the end if that fails. */
static void t_fails(struct rig *r)
{
	struct rig_op *one;

	rig_target(r, NULL, "on=connect qid=0 nth=2- do=status:1/0x81");
	rig_open(r, NULL);
	one = reset(r);
	assert_int_equal(rig_finish(one), -EBUSY);
	assert_int_equal(r->failures, 1);
	assert_int_equal(stats_of(r->ctrl).reconnect_attempts, 1);
}

/* The other controllers of the subsystem are lost by it, and come back by themselves. */
static void t_others(struct rig *r)
{
	struct nof_ctrl *other;
	struct rig_op *ops[2];
	struct nof_opts opts;

	rig_target(r, NULL, NULL);
	rig_open(r, FAST);
	rig_opts(r, FAST, &opts);
	assert_int_equal(nof_ctrl_new(r->loop, &opts, NULL, NULL, &other), 0);
	ops[0] = RIG_SUBMIT(r, nof_ctrl_connect(other, rig_done, op));
	assert_int_equal(rig_finish(ops[0]), 0);
	ops[1] = reset(r);
	assert_int_equal(rig_finish(ops[1]), 0);
	RIG_UNTIL(r, stats_of(other).reconnects == 1);
	assert_int_equal(stats_of(other).resets, 1);
	assert_int_equal(nof_ctrl_get_state(other), NOF_CTRL_LIVE);
	works(r);
	assert_int_equal(rig_stat(r, "conns"), 3);
	nof_ctrl_free(other);
}

enum what { DISCONNECT, FREE, RESET };

struct meddle {
	bool is_sent;			/* the command is out, and not answered */
	enum what what;
};

static void t_meddle(struct rig *r)
{
	const struct meddle *m = r->arg;
	struct rig_op *one, *two = NULL;

	rig_target(r, NULL, "on=propset prop=0x20 nth=1 do=drop");
	rig_open(r, FAST);
	one = reset(r);
	if (m->is_sent)
		RIG_UNTIL(r, rig_stat(r, "faults_fired"));
	switch (m->what) {
	case DISCONNECT:
		two = RIG_SUBMIT(r, nof_ctrl_disconnect(r->ctrl, rig_done, op));
		break;
	case FREE:
		nof_ctrl_free(r->ctrl);
		r->ctrl = NULL;
		break;
	case RESET:
		two = RIG_SUBMIT(r, nof_ctrl_reset(r->ctrl, rig_done, op));
		break;
	}
	rig_finish_all(r);
	assert_int_equal(one->error, m->what == RESET ? 0 : -ECANCELED);
	if (two)
		assert_int_equal(two->error, 0);
	if (m->what == RESET)
		works(r);
	rig_close(r);
}

#define WAY(name_, ...) { name_, t_works, &(const struct way){ __VA_ARGS__ } }
#define MEDDLE(name_, ...) { name_, t_meddle, &(const struct meddle){ __VA_ARGS__ } }

static const struct rig_test tests[] = {
	{ "f7_subsystem_refused", t_refused },
	{ "f7_subsystem_declined", t_declined },
	WAY("f7_subsystem", NULL, FAST),
	WAY("f7_subsystem_without_recovery", NULL, "ctrl_loss_tmo=0"),
	WAY("f7_subsystem_closes", "on=propset prop=0x20 nth=1 do=close", FAST),
	WAY("f7_subsystem_closes_without_recovery", "on=propset prop=0x20 nth=1 do=close",
	    "ctrl_loss_tmo=0"),
	WAY("f7_subsystem_unanswered", "on=propset prop=0x20 nth=1 do=drop",
	    "ctrl_loss_tmo=0&admin_timeout=0.3"),
	{ "f7_subsystem_fails", t_fails },
	{ "f7_subsystem_others", t_others },
	MEDDLE("f7_subsystem_disconnect", false, DISCONNECT),
	MEDDLE("f7_subsystem_disconnect_sent", true, DISCONNECT),
	MEDDLE("f7_subsystem_free", false, FREE),
	MEDDLE("f7_subsystem_free_sent", true, FREE),
	MEDDLE("f7_subsystem_reset", false, RESET),
	MEDDLE("f7_subsystem_reset_sent", true, RESET),
};

int main(void)
{
	return rig_main("subsystem_reset", tests, ARRAY_SIZE(tests));
}
