/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two commands that must not be parted, and two paths: lost, they are never sent again;
 * refused unexecuted, both go by the other path, next to each other (the target insists on
 * that).
 */
#include "rig.h"

#define FAST "ctrl_loss_tmo=20&reconnect_delay=0.2&max_retries=5&nr_io_queues=2&write_hold=0.1"

enum { BS = 512, READS = 16 };

static struct nof_ctrl *second;
static struct nof_path_info paths[2];
static uint8_t zero[BS], ones[BS];

static const struct nof_path_info *look(struct rig *r, int i)
{
	paths[0].size = sizeof(paths[0]);
	assert_int_equal(nof_ns_get_paths(r->ns, paths, 2), 2);
	return &paths[i];
}

static void open_two(struct rig *r)
{
	const char *port;
	char buf[BS];
	struct nof_opts o;

	memset(ones, 1, sizeof(ones));
	rig_target(r, "--ana=on --ns=mem:1M,bs=512,anagrp=1", NULL);
	assert_int_equal(rig_connect(r, FAST), 0);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	assert_int_equal(rig_open_chan(r), 0);
	port = strstr(rig_control(r, "listen 127.0.0.1:0,ana=1:non-optimized"), " port=");
	assert_non_null(port);
	rig_opts(r, FAST, &o);
	snprintf(o.trsvcid, sizeof(o.trsvcid), "%d", atoi(port + 6));
	assert_string_equal(rig_control(r, "%s", ""), "ok");
	assert_int_equal(nof_ctrl_new(r->loop, &o, NULL, NULL, &second), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(second, rig_done, op))), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ns_add_path(r->ns, second, rig_done, op))),
			 0);
	/* It has a queue when it has been used. */
	assert_int_equal(nof_ns_pin_path(r->ns, second), 0);
	RIG_UNTIL(r, (rig_read(r, buf, BS, 0, 0), look(r, 1)->commands));
	assert_int_equal(nof_ns_pin_path(r->ns, NULL), 0);
	for (int i = 0; i < 10; i++)
		rig_turn(r, 1);
}

static void close_two(struct rig *r)
{
	nof_chan_close(r->chan);
	r->chan = NULL;
	nof_ns_close(r->ns);
	r->ns = NULL;
	nof_ctrl_free(second);
	second = NULL;
	rig_close(r);
}

static struct rig_op *compare_write(struct rig *r)
{
	return RIG_SUBMIT(r, nof_compare_write(r->chan, zero, ones, BS, 0, 0, rig_done, op));
}

/* The connection ends while the pair, or half of it, is with the target. */
static void t_lost(struct rig *r)
{
	uint64_t before;
	struct rig_op *o;
	uint8_t buf[BS];

	open_two(r);
	rig_fault(r, r->arg);
	before = look(r, 1)->commands;
	o = compare_write(r);
	RIG_UNTIL(r, rig_stat(r, "faults_fired") >= 1);
	rig_control(r, "drop io");
	assert_true(rig_finish(o) < 0);
	assert_int_equal(o->status, 0);
	assert_non_null(strstr(o->detail, "outcome is unknown"));
	/* Both are back, the hold is over: nothing of it was sent by any path. */
	rig_fault(r, "on=compare do=split:0; on=write do=split:0");
	RIG_UNTIL(r, look(r, 0)->state == NOF_PATH_UP && look(r, 1)->state == NOF_PATH_UP);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_chan_drain(r->chan, rig_done, op))), 0);
	for (int i = 0; i < 200; i++)
		rig_turn(r, 1);
	assert_int_equal(rig_read(r, buf, BS, 0, 0), 0);
	assert_int_equal(rig_stat(r, "faults_fired"), 0);
	assert_true(look(r, 1)->commands >= before);
	assert_int_equal(o->count, 1);
	close_two(r);
}

/* Both halves are told that the path is not the one: they go by the other, with others around. */
static void t_refused(struct rig *r)
{
	static uint8_t in[2 * READS][BS];
	struct rig_op *o;
	uint64_t before;
	uint8_t buf[BS];

	open_two(r);
	before = look(r, 1)->commands;
	rig_fault(r, r->arg);
	for (int i = 0; i < READS; i++)
		rig_submit_read(r, in[i], BS, BS);
	o = compare_write(r);
	for (int i = READS; i < 2 * READS; i++)
		rig_submit_read(r, in[i], BS, BS);
	if (rig_finish(o))
		fail_msg("%s", o->detail);
	rig_finish_all(r);
	assert_int_equal(o->count, 1);
	assert_true(look(r, 1)->commands >= before + 2);
	assert_true(look(r, 0)->failovers >= 1);
	assert_int_equal(rig_read(r, buf, BS, 0, 0), 0);
	assert_memory_equal(buf, ones, BS);
	/* Executed once: what it expected is not there any more. */
	assert_int_equal(rig_finish(compare_write(r)), -EILSEQ);
	close_two(r);
}

static const struct rig_test tests[] = {
	{ "lost_first_half", t_lost, "on=compare nth=1 do=drop" },
	{ "lost_second_half", t_lost, "on=write nth=1 do=drop" },
	{ "lost_both", t_lost, "on=compare nth=1 do=drop; on=write nth=1 do=drop" },
	{ "refused_both", t_refused,
	  "on=compare nth=1 do=status:3/2; on=write nth=1 do=status:3/2" },
	{ "refused_first", t_refused, "on=compare nth=1 do=status:3/2" },
};

int main(void)
{
	return rig_main("fused_paths", tests, ARRAY_SIZE(tests));
}
