/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asymmetric access (checklist 5.3) through two ports of one target: states decide which
 * path is used, changes are followed, answers are believed before the log is, and a
 * transition ends or is ended.
 */
#include "rig.h"

#define FAST "ctrl_loss_tmo=20&reconnect_delay=0.2&max_retries=5&nr_io_queues=2"

static struct {
	struct nof_ctrl *ctrl;
	unsigned ana_events, resets, up, down;
} b;

static void on_event(void *arg, const struct nof_event *ev)
{
	struct rig *r = arg;

	rig_on_event(arg, ev);
	b.ana_events += ev->type == NOF_EVENT_ANA;
	b.up += ev->type == NOF_EVENT_PATH_UP;
	b.down += ev->type == NOF_EVENT_PATH_DOWN;
	b.resets += ev->type == NOF_EVENT_CTRL_STATE && ev->state == NOF_CTRL_RESETTING;
	if (r->drive == RIG_RUN)
		nof_loop_stop(r->loop);
}

static struct nof_ctrl *connect_by(struct rig *r, uint16_t port, const char *extra)
{
	struct nof_ctrl *ctrl;
	struct nof_opts o;

	rig_opts(r, extra, &o);
	snprintf(o.trsvcid, sizeof(o.trsvcid), "%u", port);
	assert_int_equal(nof_ctrl_new(r->loop, &o, on_event, r, &ctrl), 0);
	if (rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(ctrl, rig_done, op))))
		fail_msg("%s", r->last->detail);
	return ctrl;
}

/* Port 2 with these states; NULL: only one path. */
static void open_two(struct rig *r, const char *target, const char *port2, const char *extra)
{
	char uri[256];
	const char *p;
	uint16_t port;

	memset(&b, 0, sizeof(b));
	snprintf(uri, sizeof(uri), FAST "%s%s", extra ? "&" : "", extra ? extra : "");
	rig_target(r, target, NULL);
	rig_loop(r);
	r->ctrl = connect_by(r, r->port, uri);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	assert_int_equal(rig_open_chan(r), 0);
	if (!port2)
		return;
	p = strstr(rig_control(r, "listen 127.0.0.1:0%s", port2), " port=");
	assert_non_null(p);
	port = (uint16_t)atoi(p + 6);
	assert_string_equal(rig_control(r, "%s", ""), "ok");
	b.ctrl = connect_by(r, port, uri);
	if (rig_finish(RIG_SUBMIT(r, nof_ns_add_path(r->ns, b.ctrl, rig_done, op))))
		fail_msg("%s", r->last->detail);
}

static void close_two(struct rig *r)
{
	nof_chan_close(r->chan);
	r->chan = NULL;
	nof_ns_close(r->ns);
	r->ns = NULL;
	nof_ctrl_free(b.ctrl);
	b.ctrl = NULL;
	rig_close(r);
}

static struct nof_path_info paths[2];

static const struct nof_path_info *look(struct rig *r, int i)
{
	paths[0].size = sizeof(paths[0]);
	assert_true(nof_ns_get_paths(r->ns, paths, 2) > i);
	return &paths[i];
}

static void set(struct rig *r, int port, const char *state)
{
	assert_string_equal(rig_control(r, "ana %d 1 %s", port, state), "ok");
}

/* Until the channel knows as well. */
static void wait_ana(struct rig *r, int i, enum nof_ana_state state)
{
	RIG_UNTIL(r, look(r, i)->ana == state);
	for (int k = 0; k < 5; k++)
		rig_turn(r, 2);
}

static void reads(struct rig *r, unsigned n, uint64_t got[2])
{
	uint64_t before[2] = { look(r, 0)->commands, look(r, 1)->commands };
	char buf[512];

	for (unsigned i = 0; i < n; i++)
		if (rig_read(r, buf, sizeof(buf), 0, 0))
			fail_msg("%s", r->last->detail);
	look(r, 0);
	for (int i = 0; i < 2; i++)
		got[i] = paths[i].commands - before[i];
}

static void t_optimized_first(struct rig *r)
{
	uint64_t got[2];

	open_two(r, "--ana=on", ",ana=1:non-optimized", "iopolicy=round-robin");
	assert_int_equal(look(r, 0)->ana, NOF_ANA_OPTIMIZED);
	assert_int_equal(look(r, 1)->ana, NOF_ANA_NON_OPTIMIZED);
	assert_int_equal(look(r, 1)->ana_group, 1);
	reads(r, 10, got);
	assert_int_equal(got[1], 0);
	/* They change places. */
	set(r, 2, "optimized");
	set(r, 1, "non-optimized");
	wait_ana(r, 0, NOF_ANA_NON_OPTIMIZED);
	wait_ana(r, 1, NOF_ANA_OPTIMIZED);
	reads(r, 10, got);
	assert_int_equal(got[0], 0);
	assert_int_equal(got[1], 10);
	/* Equals share. */
	set(r, 1, "optimized");
	wait_ana(r, 0, NOF_ANA_OPTIMIZED);
	reads(r, 10, got);
	assert_int_equal(got[0], 5);
	assert_true(b.ana_events >= 3);
	assert_int_equal(b.resets, 0);
	close_two(r);
}

/* An answer says it before the event does: nothing is lost, nothing is told to the caller. */
static void t_answers(struct rig *r)
{
	enum { N = 30 };
	static uint8_t buf[N][512];

	open_two(r, "--ana=on", ",ana=1:non-optimized", NULL);
	for (int i = 0; i < 10; i++)
		rig_submit_read(r, buf[i], 512, 0);
	set(r, 1, r->arg);
	for (int i = 10; i < N; i++) {
		if (i & 1)
			rig_submit_write(r, buf[i], 512, (uint64_t)i * 512);
		else
			rig_submit_read(r, buf[i], 512, 0);
	}
	rig_finish_all(r);
	for (struct rig_op *op = r->ops; op; op = op->next)
		if (op->error)
			fail_msg("%s", op->detail);
	RIG_UNTIL(r, !look(r, 0)->is_usable);
	assert_true(look(r, 1)->commands > 0);
	assert_int_equal(b.down, 1);
	/* And back. */
	set(r, 1, "optimized");
	wait_ana(r, 0, NOF_ANA_OPTIMIZED);
	RIG_UNTIL(r, b.up == 3);
	assert_int_equal(rig_read(r, buf[0], 512, 0, 0), 0);
	assert_int_equal(b.resets, 0);
	close_two(r);
}

/* The only path is inaccessible: requests wait for it, and not for ever. */
static void t_one_path_waits(struct rig *r)
{
	struct rig_op *a;
	char buf[512];

	open_two(r, "--ana=on", NULL, NULL);
	set(r, 1, "inaccessible");
	wait_ana(r, 0, NOF_ANA_INACCESSIBLE);
	a = rig_submit_read(r, buf, sizeof(buf), 0);
	for (int i = 0; i < 20; i++)
		rig_turn(r, 2);
	assert_int_equal(a->count, 0);
	set(r, 1, "non-optimized");
	assert_int_equal(rig_finish(a), 0);
	close_two(r);
}

static void t_one_path_ends(struct rig *r)
{
	struct rig_op *a;
	char buf[512];

	open_two(r, "--ana=on", NULL, "ctrl_loss_tmo=0.5");
	set(r, 1, "inaccessible");
	wait_ana(r, 0, NOF_ANA_INACCESSIBLE);
	a = rig_submit_read(r, buf, sizeof(buf), 0);
	assert_true(rig_finish(a) < 0);
	assert_non_null(strstr(a->detail, "inaccessible"));
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_LIVE);
	RIG_REFUSES(nof_read(r->chan, buf, sizeof(buf), 0, 0, rig_done, NULL), ENOTCONN);
	set(r, 1, "optimized");
	wait_ana(r, 0, NOF_ANA_OPTIMIZED);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	/* What is lost for good is not waited for. */
	set(r, 1, "persistent-loss");
	wait_ana(r, 0, NOF_ANA_PERSISTENT_LOSS);
	RIG_REFUSES(nof_read(r->chan, buf, sizeof(buf), 0, 0, rig_done, NULL), ENOTCONN);
	close_two(r);
}

static void t_transition_ends(struct rig *r)
{
	struct rig_op *a;
	char buf[512];

	open_two(r, "--ana=on --anatt=60", NULL, NULL);
	set(r, 1, "change");
	wait_ana(r, 0, NOF_ANA_CHANGE);
	a = rig_submit_read(r, buf, sizeof(buf), 0);
	rig_turn(r, 10);
	assert_int_equal(a->count, 0);
	set(r, 1, "optimized");
	assert_int_equal(rig_finish(a), 0);
	assert_int_equal(b.resets, 0);
	close_two(r);
}

/* Twice ANATT, and the controller is reset. */
static void t_transition_is_ended(struct rig *r)
{
	char buf[512];
	struct rig_op *a;

	open_two(r, "--ana=on --anatt=1", NULL, NULL);
	set(r, 1, "change");
	wait_ana(r, 0, NOF_ANA_CHANGE);
	a = rig_submit_read(r, buf, sizeof(buf), 0);
	RIG_UNTIL(r, b.resets == 1);
	set(r, 1, "optimized");
	assert_int_equal(rig_finish(a), 0);
	close_two(r);
}

/* A log that cannot be believed changes nothing; an accessible path goes on. */
static void t_hostile_log(struct rig *r)
{
	uint64_t got[2];
	char script[128];

	open_two(r, "--ana=on", ",ana=1:non-optimized", NULL);
	snprintf(script, sizeof(script), "on=c2hdata for=log lid=0xc do=%s", (const char *)r->arg);
	rig_fault(r, script);
	set(r, 2, "optimized");
	set(r, 1, "non-optimized");
	RIG_UNTIL(r, rig_stat(r, "faults_fired") >= 2);
	for (int i = 0; i < 10; i++)
		rig_turn(r, 2);
	assert_int_equal(look(r, 0)->ana, NOF_ANA_OPTIMIZED);
	assert_int_equal(look(r, 1)->ana, NOF_ANA_NON_OPTIMIZED);
	reads(r, 10, got);
	assert_int_equal(b.resets, 0);
	close_two(r);
}

static void t_log_refused(struct rig *r)
{
	char buf[512];

	memset(&b, 0, sizeof(b));
	rig_target(r, "--ana=on", "on=log lid=0xc do=status:2/dnr");
	rig_loop(r);
	r->ctrl = connect_by(r, r->port, FAST);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	assert_int_equal(rig_open_chan(r), 0);
	assert_int_equal(look(r, 0)->ana, NOF_ANA_NONE);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	close_two(r);
}

/*
 * The namespace's group decides, whatever the others are. The log is longer than a page: it is
 * read in pieces, and its header again at the end.
 */
static void t_many_groups(struct rig *r)
{
	char options[8192] = "--ana=on";
	size_t n = strlen(options);

	for (int i = 1; i <= 150; i++)
		n += (size_t)snprintf(options + n, sizeof(options) - n,
				      " --ns=mem:64k,nsid=%d,anagrp=%d", i, i);
	open_two(r, options, NULL, "ns=150");
	assert_int_equal(look(r, 0)->ana_group, 150);
	assert_int_equal(look(r, 0)->ana, NOF_ANA_OPTIMIZED);
	rig_fault(r, "on=log lid=0xc do=split:0");
	assert_string_equal(rig_control(r, "ana 1 7 inaccessible"), "ok");
	assert_string_equal(rig_control(r, "ana 1 150 non-optimized"), "ok");
	wait_ana(r, 0, NOF_ANA_NON_OPTIMIZED);
	assert_true(rig_stat(r, "faults_fired") >= 3);
	close_two(r);
}

/*
 * The log has changed each time that it was read: given up after six times, with what is known;
 * neither the controller nor I/O suffers, and the next change is heard of.
 */
static void t_always_changes(struct rig *r)
{
	char options[8192] = "--ana=on", buf[4096];
	size_t n = strlen(options);

	for (int i = 1; i <= 150; i++)
		n += (size_t)snprintf(options + n, sizeof(options) - n,
				      " --ns=mem:64k,nsid=%d,anagrp=%d", i, i);
	open_two(r, options, NULL, "ns=150");
	/* Two pieces, and the header again: that is another one. */
	rig_fault(r, "on=c2hdata for=log lid=0xc every=3 do=set:data64[0]+=1");
	assert_string_equal(rig_control(r, "ana 1 150 non-optimized"), "ok");
	RIG_UNTIL(r, rig_stat(r, "faults_fired") == 6);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(look(r, 0)->ana, NOF_ANA_OPTIMIZED);
	rig_control(r, "clear");
	assert_string_equal(rig_control(r, "ana 1 7 non-optimized"), "ok");
	wait_ana(r, 0, NOF_ANA_NON_OPTIMIZED);
	assert_int_equal(b.resets, 0);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_LIVE);
	close_two(r);
}

static const struct rig_test tests[] = {
	{ "optimized_first", t_optimized_first },
	{ "f12_answer_inaccessible", t_answers, "inaccessible" },
	{ "f12_answer_persistent_loss", t_answers, "persistent-loss" },
	{ "f12_answer_change", t_answers, "change" },
	{ "one_path_waits", t_one_path_waits },
	{ "one_path_ends", t_one_path_ends },
	{ "transition_ends", t_transition_ends },
	{ "transition_is_ended", t_transition_is_ended },
	{ "hostile_group_0", t_hostile_log, "set:data32[16]=0" },
	{ "hostile_group_max", t_hostile_log, "set:data32[16]=0xffffffff" },
	{ "hostile_state", t_hostile_log, "set:data8[32]=7" },
	{ "hostile_count", t_hostile_log, "set:data16[8]=0xffff" },
	{ "hostile_nsids", t_hostile_log, "set:data32[20]=0x40000001" },
	{ "log_refused", t_log_refused },
	{ "many_groups", t_many_groups },
	{ "always_changes", t_always_changes },
};

int main(void)
{
	return rig_main("ana", tests, ARRAY_SIZE(tests));
}
