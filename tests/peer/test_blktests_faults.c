/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reset and loss cases of blktests' tests/nvme, named after them, with verified I/O
 * going on: nothing may fail, nothing may be lost, doubled or old. Our own code.
 */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "recover.h"

static int reset(struct rig *r)
{
	return rig_finish(RIG_SUBMIT(r, nof_ctrl_reset(r->ctrl, rig_done, op)));
}

/* 005, 022: the controller is reset and is the same for who uses it. */
static void t_reset(struct rig *r)
{
	struct nof_ctrl_stats s;
	uint8_t out[4096], in[4096];

	rig_target(r, NULL, NULL);
	rig_open(r, r->arg);
	for (unsigned i = 1; i <= 5; i++) {
		rig_fill(out, sizeof(out), i);
		assert_int_equal(rig_write(r, out, sizeof(out), 4096 * i, 0), 0);
		assert_int_equal(reset(r), 0);
		assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_LIVE);
		s = peer_stats(r);
		assert_int_equal(s.resets, i);
		assert_int_equal(s.reconnects, i);
		/* Without ctrl_loss_tmo nothing waits for a path: who wants that waits here. */
		if (!r->opts.ctrl_loss_tmo_ms)
			RIG_UNTIL(r, !rig_read(r, in, sizeof(in), 4096 * i, 0));
		assert_int_equal(rig_read(r, in, sizeof(in), 4096 * i, 0), 0);
		assert_memory_equal(in, out, sizeof(in));
	}
	assert_int_equal(rig_disconnect(r), 0);
}

/* 040: resets under I/O, then the controller is deleted under I/O. */
static void t_reset_io(struct rig *r)
{
	struct rig_op *resets[3];
	struct load *l;

	rig_target(r, "--in-capsule=4096 --r2t-size=8192 --c2h-size=8192", NULL);
	rig_open(r, RECOVERS "nr_io_queues=2");
	l = peer_load(r, NULL);
	for (unsigned i = 0; i < 3; i++) {
		peer_more(r, l, 60);
		resets[i] = RIG_SUBMIT(r, nof_ctrl_reset(r->ctrl, rig_done, op));
		PEER_UNTIL(r, l, resets[i]->count);
		assert_int_equal(resets[i]->error, 0);
	}
	peer_more(r, l, 60);
	peer_finish(r, l);
	l = peer_load(r, NULL);
	peer_more(r, l, 60);
	resets[0] = RIG_SUBMIT(r, nof_ctrl_disconnect(r->ctrl, rig_done, op));
	PEER_UNTIL(r, l, resets[0]->count);
	load_stop(l);
	PEER_UNTIL(r, l, load_is_idle(l));
	assert_int_equal(load_get(l)->submitted, load_get(l)->completed);
	assert_int_equal(load_get(l)->doubled, 0);
	assert_int_equal(load_get(l)->mismatches, 0);
	load_free(l);
}

/* 048: the number of queues changes from one association to the next, both ways. */
static void t_queue_count(struct rig *r)
{
	enum { CHANS = 4 };
	static const uint32_t counts[] = { 1, 3, 2, 16, 4 };
	struct nof_chan *chans[CHANS];
	struct load *l;

	rig_target(r, "--queues=4", NULL);
	rig_open(r, RECOVERS "nr_io_queues=4");
	l = peer_load(r, NULL);
	for (int i = 1; i < CHANS; i++) {
		assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &chans[i],
									rig_done, op))), 0);
		load_add(l, chans[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		struct nof_ctrl_info info = { .size = sizeof(info) };

		peer_more(r, l, 50);
		PEER_OK(r, "queues %u", counts[i]);
		PEER_OK(r, "drop");
		PEER_UNTIL(r, l, peer_stats(r).reconnects == i + 1);
		peer_more(r, l, 50);
		assert_int_equal(nof_ctrl_get_info(r->ctrl, &info), 0);
		assert_int_equal(info.nr_io_queues, counts[i] < CHANS ? counts[i] : CHANS);
	}
	peer_finish(r, l);
	for (int i = 1; i < CHANS; i++)
		nof_chan_close(chans[i]);
	assert_int_equal(rig_disconnect(r), 0);
}

/* 060: the target drops all its connections, again and again. */
static void t_target_reset(struct rig *r)
{
	struct load *l;

	rig_target(r, "--in-capsule=4096 --r2t-size=8192", NULL);
	rig_open(r, RECOVERS "data_digest=on");
	l = peer_load(r, &(struct load_opts){ .has_zeroes = true });
	for (unsigned i = 1; i <= 5; i++) {
		peer_more(r, l, 60);
		PEER_OK(r, "drop %s", i & 1 ? "" : "io");
		PEER_UNTIL(r, l, peer_stats(r).reconnects >= i);
	}
	peer_more(r, l, 60);
	peer_finish(r, l);
	assert_int_equal(rig_disconnect(r), 0);
}

/* 061: the target ends, by force or politely, and is started again, under I/O. */
static void t_teardown(struct rig *r)
{
	char options[160], path[] = "/tmp/nof-peer-ns-XXXXXX";
	int fd = mkstemp(path);
	struct load *l;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 16 << 20), 0);
	close(fd);
	snprintf(options, sizeof(options), "--ns=file:%s,bs=512 --in-capsule=4096", path);
	rig_keep_port(r);
	rig_target(r, options, NULL);
	rig_open(r, "ctrl_loss_tmo=20&reconnect_delay=1&keep_alive_tmo=1&write_hold=off&"
		 "max_retries=10");
	l = peer_load(r, NULL);
	for (unsigned i = 1; i <= 3; i++) {
		peer_more(r, l, 60);
		if (i & 1)
			rig_kill(r);
		rig_target_restart(r);
		PEER_UNTIL(r, l, nof_ctrl_get_state(r->ctrl) != NOF_CTRL_LIVE);
		rig_target(r, options, NULL);
		PEER_UNTIL(r, l, nof_ctrl_get_state(r->ctrl) == NOF_CTRL_LIVE);
		assert_int_equal(peer_stats(r).reconnects, i);
	}
	peer_more(r, l, 60);
	peer_finish(r, l);
	assert_int_equal(rig_disconnect(r), 0);
	unlink(path);
}

static const struct rig_test tests[] = {
	{ "blktests_nvme_005_reset", t_reset, "keep_alive_tmo=2" },
	{ "blktests_nvme_022_reset_recovering", t_reset, RECOVERS "nr_io_queues=2" },
	{ "blktests_nvme_040_reset_under_io", t_reset_io },
	{ "blktests_nvme_048_queue_count", t_queue_count },
	{ "blktests_nvme_060_target_reset", t_target_reset },
	{ "blktests_nvme_061_target_teardown", t_teardown },
};

int main(void)
{
	return rig_main("blktests_faults", tests, ARRAY_SIZE(tests));
}
