/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hedged reads: the first answer completes, once, and what the other one brings changes
 * nothing that the caller has. Queue 1 is the channel's, queue 2 its spare.
 */
#include "rig.h"

enum { LEN = 4096, MANY = 250, DEPTH = 16 };

#define OPTS "nr_io_queues=2&ctrl_loss_tmo=60&reconnect_delay=0.05&max_retries=5&hedge=0.03"

static struct nof_path_info path(struct rig *r)
{
	struct nof_path_info i = { .size = sizeof(i) };

	assert_int_equal(nof_ns_get_paths(r->ns, &i, 1), 1);
	return i;
}

/* The spare queue can be used: a read that is late by the first one comes by it. */
static void until_hedging(struct rig *r)
{
	char buf[512];

	rig_fault(r, "on=read qid=1 do=delay:90");
	RIG_UNTIL(r, rig_read(r, buf, sizeof(buf), 0, 0) == 0 && path(r).hedge_wins);
	rig_control(r, "clear");
	RIG_UNTIL(r, !path(r).inflight);
}

static void open_hedging_with(struct rig *r, const char *extra, const char *fault)
{
	char opts[256], data[LEN];

	snprintf(opts, sizeof(opts), OPTS "%s%s", extra ? "&" : "", extra ? extra : "");
	rig_target(r, "--queues=2", fault);
	rig_open(r, opts);
	rig_fill(data, LEN, 1);
	assert_int_equal(rig_write(r, data, LEN, 0, 0), 0);
	until_hedging(r);
}

static void open_hedging(struct rig *r, const char *extra)
{
	open_hedging_with(r, extra, NULL);
}

struct hedged {
	struct rig_op *op;
	uint64_t hedges, wins;		/* before */
	uint8_t buf[LEN];
};

static void submit(struct rig *r, struct hedged *h)
{
	struct nof_path_info i = path(r);

	h->hedges = i.hedges;
	h->wins = i.hedge_wins;
	memset(h->buf, 0xee, LEN);
	h->op = rig_submit_read(r, h->buf, LEN, 0);
}

/* Its buffer is the caller's again: nothing that comes now may change it. */
static void is_left_alone(struct rig *r, struct hedged *h)
{
	assert_true(rig_is_filled(h->buf, LEN, 1));
	memset(h->buf, 0x11, LEN);
	RIG_UNTIL(r, !path(r).inflight);
	for (int i = 0; i < LEN; i++)
		assert_int_equal(h->buf[i], 0x11);
	assert_int_equal(h->op->count, 1);
}

static void t_second_wins(struct rig *r)
{
	struct hedged h;

	open_hedging(r, r->arg);
	rig_fault(r, "on=read nth=1 do=delay:500");
	submit(r, &h);
	assert_int_equal(rig_finish(h.op), 0);
	assert_int_equal(h.op->qid, 2);
	assert_int_equal(path(r).hedge_wins, h.wins + 1);
	assert_int_equal(path(r).inflight, 1);
	is_left_alone(r, &h);
	/* Nothing is overdue any more: reads go by the first queue again. */
	assert_int_equal(rig_read(r, h.buf, LEN, 0, 0), 0);
	assert_int_equal(r->last->qid, 1);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_first_wins(struct rig *r)
{
	struct hedged h;

	open_hedging(r, r->arg);
	rig_fault(r, "on=read nth=1 do=delay:60; on=read nth=2 do=delay:500");
	submit(r, &h);
	assert_int_equal(rig_finish(h.op), 0);
	assert_int_equal(h.op->qid, 1);
	assert_int_equal(path(r).hedges, h.hedges + 1);
	assert_int_equal(path(r).hedge_wins, h.wins);
	is_left_alone(r, &h);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Answered at the same time, many times. */
static void t_both_at_once(struct rig *r)
{
	struct hedged h;

	open_hedging(r, r->arg);
	rig_fault(r, "on=read nth=1- every=2 do=delay:31");
	for (int i = 0; i < 10; i++) {
		submit(r, &h);
		assert_int_equal(rig_finish(h.op), 0);
		is_left_alone(r, &h);
	}
	assert_int_equal(rig_disconnect(r), 0);
}

/* While one is overdue, those that follow take the other queue. */
static void t_others_pass(struct rig *r)
{
	struct hedged h, more;

	open_hedging(r, NULL);
	rig_fault(r, "on=read nth=1 do=delay:500");
	submit(r, &h);
	assert_int_equal(rig_finish(h.op), 0);
	for (int i = 0; i < 5; i++) {
		submit(r, &more);
		assert_int_equal(rig_finish(more.op), 0);
		assert_int_equal(more.op->qid, 2);
	}
	is_left_alone(r, &h);
	assert_int_equal(rig_disconnect(r), 0);
}

/*
 * The first is in the middle of its data when the second wins, and goes on later: the output of
 * queue 1 stops for a while behind some byte, which is one of the data of one of the reads.
 */
static void t_in_mid_data(struct rig *r)
{
	struct hedged h;
	uint64_t before;

	for (unsigned at = 60000; at < 62000; at += 1013) {
		char fault[64];

		snprintf(fault, sizeof(fault), "on=accept conn=2 do=splitat:%u:200", at);
		open_hedging_with(r, r->arg, fault);
		before = path(r).hedges;
		for (int i = 0; i < 18; i++) {
			submit(r, &h);
			assert_int_equal(rig_finish(h.op), 0);
			is_left_alone(r, &h);
		}
		assert_true(path(r).hedges > before);
		assert_int_equal(rig_disconnect(r), 0);
		rig_close(r);
		rig_target_restart(r);
	}
}

/* The queue of the loser dies: the association goes, and what was read stays. */
static void t_loser_dies(struct rig *r)
{
	struct hedged h;
	unsigned live;

	open_hedging(r, NULL);
	rig_fault(r, "on=read nth=1 do=delay:20000");
	submit(r, &h);
	assert_int_equal(rig_finish(h.op), 0);
	assert_int_equal(h.op->qid, 2);
	live = r->states[NOF_CTRL_LIVE].count;
	rig_control(r, "drop io");
	RIG_UNTIL(r, r->states[NOF_CTRL_LIVE].count > live);
	is_left_alone(r, &h);
	rig_control(r, "clear");
	until_hedging(r);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Both are on their way when their queues die: repeated, and right. */
static void t_both_die(struct rig *r)
{
	struct hedged h;

	open_hedging(r, NULL);
	rig_fault(r, "on=read nth=1-2 do=delay:20000");
	submit(r, &h);
	RIG_UNTIL(r, path(r).hedges > h.hedges);
	RIG_EVENTUALLY(rig_stat(r, "faults_fired") == 2);
	rig_control(r, "drop io");
	assert_int_equal(rig_finish(h.op), 0);
	is_left_alone(r, &h);
	until_hedging(r);
	assert_int_equal(rig_disconnect(r), 0);
}

/* A failure of the second is not one of the read. */
static void t_second_fails(struct rig *r)
{
	struct hedged h;

	open_hedging(r, NULL);
	rig_fault(r, "on=read nth=1 do=delay:300; on=read nth=2 do=status:2/0x81");
	submit(r, &h);
	assert_int_equal(rig_finish(h.op), 0);
	assert_int_equal(h.op->qid, 1);
	is_left_alone(r, &h);
	rig_fault(r, "on=read nth=1 do=delay:60,status:2/0x81/dnr; on=read nth=2 do=delay:500");
	submit(r, &h);
	assert_int_not_equal(rig_finish(h.op), 0);
	RIG_UNTIL(r, !path(r).inflight);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Closed while both are on their way, and while only a stray is. */
static void t_close(struct rig *r)
{
	struct hedged h;

	open_hedging(r, NULL);
	rig_fault(r, "on=read nth=1-2 do=delay:20000");
	submit(r, &h);
	RIG_UNTIL(r, path(r).hedges > h.hedges);
	nof_chan_close(r->chan);
	r->chan = NULL;
	assert_int_equal(h.op->count, 1);
	assert_int_equal(h.op->error, -ECANCELED);
	rig_control(r, "clear");
	RIG_UNTIL(r, rig_stat(r, "conns") == 1);
	assert_int_equal(rig_open_chan(r), 0);
	until_hedging(r);
	rig_fault(r, "on=read nth=1 do=delay:20000");
	submit(r, &h);
	assert_int_equal(rig_finish(h.op), 0);
	nof_chan_close(r->chan);
	r->chan = NULL;
	assert_true(rig_is_filled(h.buf, LEN, 1));
	assert_int_equal(rig_disconnect(r), 0);
}

static void close_chan(void *arg, const struct nof_completion *c)
{
	struct rig_op *op = arg;
	struct rig *r = op->rig;

	nof_chan_close(r->chan);
	r->chan = NULL;
	rig_done(arg, c);
}

/* From the callback of the read itself. */
static void t_close_in_callback(struct rig *r)
{
	static uint8_t buf[LEN];
	struct rig_op *closes;

	open_hedging(r, NULL);
	rig_fault(r, "on=read nth=1 do=delay:20000");
	closes = RIG_SUBMIT(r, nof_read(r->chan, buf, LEN, 0, 0, close_chan, op));
	assert_int_equal(rig_finish(closes), 0);
	assert_true(rig_is_filled(buf, LEN, 1));
	assert_int_equal(rig_disconnect(r), 0);
}

/* Queues are shared: the channel waits for its strays there, and others do not suffer. */
static void t_close_shared(struct rig *r)
{
	struct nof_chan *other = NULL;
	struct hedged h;
	char buf[512];

	open_hedging(r, NULL);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &other, rig_done,
								op))), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_read(other, buf, sizeof(buf), 0, 0,
							   rig_done, op))), 0);
	rig_fault(r, "on=read nth=1 do=delay:100");
	submit(r, &h);
	assert_int_equal(rig_finish(h.op), 0);
	nof_chan_close(r->chan);
	r->chan = other;
	memset(h.buf, 0x11, LEN);
	for (int i = 0; i < 20; i++)
		assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	RIG_UNTIL(r, !path(r).inflight);
	for (int i = 0; i < LEN; i++)
		assert_int_equal(h.buf[i], 0x11);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Writes, large reads, and everything with the option off are sent once. */
static void t_not_hedged(struct rig *r)
{
	static char buf[16384];
	uint64_t before;

	open_hedging(r, NULL);
	before = path(r).hedges;
	rig_fault(r, "on=cmd qid=io do=delay:60");
	assert_int_equal(rig_write(r, buf, LEN, 65536, 0), 0);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(path(r).hedges, before);
	assert_int_equal(rig_disconnect(r), 0);
	rig_close(r);
	rig_control(r, "clear");
	rig_open(r, "nr_io_queues=2");
	rig_fault(r, "on=read do=delay:60");
	assert_int_equal(rig_read(r, buf, LEN, 0, 0), 0);
	assert_int_equal(path(r).hedges, 0);
	assert_int_equal(rig_stat(r, "conns"), 2);
	assert_int_equal(rig_disconnect(r), 0);
}

/*
 * A read comes back from a lost association, and the new one takes half of it at a time: the
 * second half, which begins in the third buffer, is completed by the second answer.
 */
static void t_cut_again(struct rig *r)
{
	enum { PARTS = 4 };
	static uint8_t want[PARTS * LEN];
	uint8_t *buf[PARTS];
	struct iovec iov[PARTS];
	struct nof_path_info before;
	struct rig_op *op_;

	open_hedging(r, NULL);
	for (int i = 0; i < PARTS; i++) {
		buf[i] = malloc(LEN);
		iov[i] = (struct iovec){ buf[i], LEN };
	}
	rig_fill(want, sizeof(want), 3);
	assert_int_equal(rig_write(r, want, sizeof(want), 0, 0), 0);
	do {
		until_hedging(r);
		before = path(r);
		for (int i = 0; i < PARTS; i++)
			memset(buf[i], 0xee, LEN);
		/* The new spare queue is connected while the first half is on its way. */
		rig_fault(r, "on=read nth=1 do=drop; on=read nth=2 do=delay:100; "
			     "on=read nth=3 do=delay:50");
		op_ = RIG_SUBMIT(r, nof_readv(r->chan, iov, PARTS, 0, 0, rig_done, op));
		RIG_UNTIL(r, rig_stat(r, "faults_fired") == 1);
		assert_string_equal(rig_control(r, "mdts 1"), "ok");
		rig_control(r, "drop io");
		if (rig_finish(op_))
			fail_msg("%s", op_->detail);
		for (int i = 0; i < PARTS; i++)
			assert_memory_equal(buf[i], want + i * LEN, LEN);
		RIG_UNTIL(r, !path(r).inflight);
		rig_control(r, "clear");
		assert_string_equal(rig_control(r, "mdts 8"), "ok");
		rig_control(r, "drop io");
	} while (path(r).hedge_wins == before.hedge_wins);
	until_hedging(r);
	for (int i = 0; i < PARTS; i++)
		free(buf[i]);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Several channels share two queues, one of which has more of them: each has its second. */
static void t_crowded(struct rig *r)
{
	struct nof_chan *chan[3];
	struct rig_op *ops[3];

	rig_target(r, "--queues=2", NULL);
	assert_int_equal(rig_connect(r, OPTS), 0);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	for (int i = 0; i < 3; i++)
		ops[i] = RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &chan[i], rig_done, op));
	for (int i = 0; i < 3; i++)
		assert_int_equal(rig_finish(ops[i]), 0);
	for (int i = 0; i < 3; i++) {
		uint64_t wins = path(r).hedge_wins;
		char buf[512], fault[64];

		r->chan = chan[i];
		snprintf(fault, sizeof(fault), "on=read qid=%u do=delay:30",
			 nof_chan_get_qid(r->chan));
		rig_fault(r, fault);
		RIG_UNTIL(r, rig_read(r, buf, sizeof(buf), 0, 0) == 0 && path(r).hedge_wins > wins);
		rig_control(r, "clear");
		RIG_UNTIL(r, !path(r).inflight);
	}
	nof_chan_close(chan[0]);
	nof_chan_close(chan[1]);
	assert_int_equal(rig_disconnect(r), 0);
}

/* The target grants one queue: no hedging, and nothing else is amiss. */
static void t_one_queue(struct rig *r)
{
	char buf[LEN];

	rig_target(r, "--queues=1", NULL);
	rig_open(r, OPTS);
	rig_fault(r, "on=read do=delay:60");
	assert_int_equal(rig_read(r, buf, LEN, 0, 0), 0);
	assert_int_equal(path(r).hedges, 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* All reads are late: no more than one of 20 is sent twice, beyond those it begins with. */
static void t_bounded(struct rig *r)
{
	static uint8_t buf[100][512];
	uint64_t before;

	open_hedging(r, "queue_size=128");
	before = path(r).hedges;
	rig_fault(r, "on=read do=delay:90");
	for (int i = 0; i < 100; i++)
		rig_submit_read(r, buf[i], 512, 0);
	rig_finish_all(r);
	assert_in_range(path(r).hedges - before, 1, 21);
	RIG_UNTIL(r, !path(r).inflight);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Much at a time, with delays here and there, scattered and checked. */
static void t_storm(struct rig *r)
{
	static uint8_t buf[DEPTH][LEN], want[DEPTH][LEN];
	struct rig_op *ops[DEPTH] = { NULL };
	struct iovec iov[DEPTH][3];

	open_hedging(r, r->arg);
	for (int i = 0; i < DEPTH; i++) {
		rig_fill(want[i], LEN, (uint32_t)i + 10);
		assert_int_equal(rig_write(r, want[i], LEN, (uint64_t)i * LEN, 0), 0);
		iov[i][0] = (struct iovec){ buf[i], 1000 };
		iov[i][1] = (struct iovec){ NULL, 0 };
		iov[i][2] = (struct iovec){ buf[i] + 1000, LEN - 1000 };
	}
	rig_fault(r, "on=read every=23 do=delay:45");
	for (int n = 0; n < MANY; n++) {
		int i = n % DEPTH;

		if (ops[i]) {
			assert_int_equal(rig_finish(ops[i]), 0);
			assert_memory_equal(buf[i], want[i], LEN);
			memset(buf[i], 0x77, LEN);
		}
		ops[i] = RIG_SUBMIT(r, nof_readv(r->chan, iov[i], 3, (uint64_t)i * LEN, 0,
						rig_done, op));
	}
	rig_finish_all(r);
	assert_memory_equal(buf, want, sizeof(buf));
	RIG_UNTIL(r, !path(r).inflight);
	assert_memory_equal(buf, want, sizeof(buf));
	assert_int_equal(rig_disconnect(r), 0);
}

static const struct rig_test tests[] = {
	{ "second_wins", t_second_wins },
	{ "second_wins_digest", t_second_wins, "data_digest=on&hdr_digest=on" },
	{ "first_wins", t_first_wins },
	{ "both_at_once", t_both_at_once },
	{ "others_pass", t_others_pass },
	{ "in_mid_data", t_in_mid_data },
	{ "in_mid_data_digest", t_in_mid_data, "data_digest=on" },
	{ "loser_dies", t_loser_dies },
	{ "both_die", t_both_die },
	{ "second_fails", t_second_fails },
	{ "cut_again", t_cut_again },
	{ "close", t_close },
	{ "close_in_callback", t_close_in_callback },
	{ "close_shared", t_close_shared },
	{ "not_hedged", t_not_hedged },
	{ "crowded", t_crowded },
	{ "one_queue", t_one_queue },
	{ "bounded", t_bounded },
	{ "storm", t_storm },
	{ "storm_digest", t_storm, "data_digest=on" },
};

int main(void)
{
	return rig_main("hedge", tests, ARRAY_SIZE(tests));
}
