/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Losing and damaging things, after SPDK's host cases digest, timeout, target_disconnect
 * and abort: spdk_host_NAME and what it tests there, with our own code.
 */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "recover.h"

/* digest: clean runs with each digest; the target checks ours. */
static void t_digest_clean(struct rig *r)
{
	struct load *l;

	rig_target(r, "--in-capsule=4096", NULL);
	rig_open(r, r->arg);
	l = peer_load(r, NULL);
	peer_more(r, l, 200);
	peer_finish(r, l);
	assert_int_equal(rig_stat(r, "digest_errors"), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/*
 * digest: injected errors. Data of reads that arrives damaged is read again, writes that
 * the target found damaged are written again; nobody hears of it, the connection lives.
 */
static void t_digest_errors(struct rig *r)
{
	struct load *l;

	/* One PDU each: of what comes in many, some would be damaged every time. */
	rig_target(r, "--in-capsule=4096", NULL);
	rig_open(r, RECOVERS "data_digest=on&hdr_digest=on");
	l = peer_load(r, &(struct load_opts){ .max_blocks = 16 });
	peer_more(r, l, 50);
	rig_fault(r, "on=c2hdata for=read every=5 do=ddgst:bad; on=write every=7 do=status:0x22");
	peer_more(r, l, 400);
	assert_true(rig_stat(r, "faults_fired") > 20);
	PEER_OK(r, "clear");
	peer_finish(r, l);
	assert_int_equal(peer_stats(r).resets, 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* digest: who wants to hear of it does, with the errno that says so. */
static void t_digest_fail_fast(struct rig *r)
{
	char buf[4096];

	rig_target(r, NULL, "on=c2hdata for=read nth=1 do=ddgst:bad");
	rig_open(r, RECOVERS "data_digest=on");
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, NOF_IO_FAIL_FAST), -EBADMSG);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, NOF_IO_FAIL_FAST), 0);
	assert_int_equal(peer_stats(r).resets, 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* digest: a damaged header is fatal to the connection, and recovered from. */
static void t_digest_header(struct rig *r)
{
	struct load *l;

	rig_target(r, NULL, NULL);
	rig_open(r, RECOVERS "data_digest=on&hdr_digest=on");
	l = peer_load(r, NULL);
	for (unsigned i = 1; i <= 3; i++) {
		peer_more(r, l, 50);
		rig_fault(r, "on=c2hdata for=read nth=9 do=hdgst:bad");
		PEER_UNTIL(r, l, peer_stats(r).reconnects == i);
	}
	peer_more(r, l, 50);
	peer_finish(r, l);
	/* How many were told with an H2CTermReq depends on what was being sent: see T-20. */
	assert_int_equal(peer_stats(r).resets, 3);
	assert_int_equal(rig_disconnect(r), 0);
}

/* timeout: ctrl_loss_tmo ends it, not before and not long after; all I/O is told. */
static void t_ctrl_loss(struct rig *r)
{
	enum { N = 6 };
	struct rig_op *ops[N];
	char buf[N][512];
	uint64_t lost;

	rig_keep_port(r);
	rig_target(r, NULL, NULL);
	rig_open(r, "ctrl_loss_tmo=1.2&reconnect_delay=0.2&write_hold=off");
	rig_kill(r);
	RIG_UNTIL(r, nof_ctrl_get_state(r->ctrl) != NOF_CTRL_LIVE);
	lost = rig_now_ms();
	for (int i = 0; i < N; i++)
		ops[i] = rig_submit_read(r, buf[i], sizeof(buf[i]), 0);
	rig_finish_all(r);
	for (int i = 0; i < N; i++) {
		assert_int_equal(ops[i]->is_refused, false);
		assert_true(ops[i]->error < 0);
	}
	RIG_UNTIL(r, r->failures == 1);
	assert_true(rig_now_ms() - lost >= 1000);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_FAILED);
	assert_true(peer_stats(r).reconnect_attempts >= 3);
	assert_int_equal(peer_stats(r).reconnects, 0);
	RIG_REFUSES(nof_read(r->chan, buf[0], 512, 0, 0, rig_done, NULL), ENOTCONN);
}

/* timeout: max_reconnects ends it by number. */
static void t_max_reconnects(struct rig *r)
{
	rig_keep_port(r);
	rig_target(r, NULL, NULL);
	rig_open(r, "ctrl_loss_tmo=60&reconnect_delay=0.2&max_reconnects=3");
	rig_kill(r);
	RIG_UNTIL(r, r->failures == 1);
	assert_int_equal(peer_stats(r).reconnect_attempts, 3);
}

/* timeout: fast_io_fail_tmo fails I/O early; reconnecting goes on, and I/O works again. */
static void t_fast_io_fail(struct rig *r)
{
	char options[160], buf[512], path[] = "/tmp/nof-peer-ns-XXXXXX";
	int fd = mkstemp(path);
	struct rig_op *early, *late;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	close(fd);
	snprintf(options, sizeof(options), "--ns=file:%s,bs=512", path);
	rig_keep_port(r);
	rig_target(r, options, NULL);
	rig_open(r, RECOVERS "fast_io_fail_tmo=0.5");
	rig_kill(r);
	RIG_UNTIL(r, nof_ctrl_get_state(r->ctrl) != NOF_CTRL_LIVE);
	early = rig_submit_read(r, buf, sizeof(buf), 0);
	assert_true(rig_finish(early) < 0);
	assert_int_not_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_FAILED);
	/* From here on nothing waits: refused at once, or failed at once. */
	late = rig_submit_read(r, buf, sizeof(buf), 0);
	assert_true(rig_finish(late) < 0);
	assert_int_not_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_FAILED);
	rig_target_restart(r);
	rig_target(r, options, NULL);
	RIG_UNTIL(r, nof_ctrl_get_state(r->ctrl) == NOF_CTRL_LIVE);
	RIG_UNTIL(r, !rig_read(r, buf, sizeof(buf), 0, 0));
	assert_int_equal(rig_disconnect(r), 0);
	unlink(path);
}

/* target_disconnect: killed in the middle of I/O, started again after some attempts. */
static void t_target_disconnect(struct rig *r)
{
	char options[160], path[] = "/tmp/nof-peer-ns-XXXXXX";
	int fd = mkstemp(path);
	struct load *l;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 16 << 20), 0);
	close(fd);
	snprintf(options, sizeof(options), "--ns=file:%s,bs=512 --in-capsule=0 --r2t-size=8192",
		 path);
	rig_keep_port(r);
	rig_target(r, options, NULL);
	rig_open(r, RECOVERS "nr_io_queues=2");
	l = peer_load(r, NULL);
	peer_more(r, l, 60);
	rig_kill(r);
	PEER_UNTIL(r, l, peer_stats(r).reconnect_attempts >= 3);
	assert_int_equal(load_get(l)->errors, 0);
	rig_target_restart(r);
	rig_target(r, options, NULL);
	PEER_UNTIL(r, l, peer_stats(r).reconnects == 1);
	peer_more(r, l, 60);
	peer_finish(r, l);
	assert_int_equal(rig_disconnect(r), 0);
	unlink(path);
}

/* abort: a command that is not answered is aborted, sent again, and nothing is reset. */
static void t_abort(struct rig *r)
{
	char buf[4096];

	rig_target(r, NULL, "on=read nth=1 do=delay:60000");
	rig_open(r, RECOVERS "io_timeout=0.3");
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(peer_stats(r).timeouts, 1);
	assert_int_equal(peer_stats(r).aborts, 1);
	assert_int_equal(peer_stats(r).aborts_done, 1);
	assert_int_equal(peer_stats(r).resets, 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* abort: more commands than Aborts are allowed at a time (ACL + 1). */
static void t_abort_many(struct rig *r)
{
	enum { N = 12 };
	struct rig_op *ops[N];
	char buf[N][512];

	rig_target(r, "--acl=1", "on=read nth=1-12 do=delay:60000");
	rig_open(r, RECOVERS "io_timeout=0.3");
	for (int i = 0; i < N; i++)
		ops[i] = rig_submit_read(r, buf[i], sizeof(buf[i]), 0);
	rig_finish_all(r);
	for (int i = 0; i < N; i++)
		assert_int_equal(ops[i]->error, 0);
	assert_int_equal(peer_stats(r).aborts_done, N);
	assert_int_equal(peer_stats(r).resets, 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* abort: an Abort that does not help is followed by a reset. */
static void t_abort_in_vain(struct rig *r)
{
	char buf[4096];

	rig_target(r, NULL, "on=read nth=1 do=drop; on=abort do=drop");
	rig_open(r, RECOVERS "io_timeout=0.3&admin_timeout=1");
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(peer_stats(r).aborts, 1);
	assert_int_equal(peer_stats(r).resets, 1);
	assert_int_equal(rig_disconnect(r), 0);
}

static const struct rig_test tests[] = {
	{ "spdk_host_digest_clean_header", t_digest_clean, "hdr_digest=on" },
	{ "spdk_host_digest_clean_data", t_digest_clean, "data_digest=on" },
	{ "spdk_host_digest_clean_both", t_digest_clean, "hdr_digest=on&data_digest=on" },
	{ "spdk_host_digest_errors", t_digest_errors },
	{ "spdk_host_digest_fail_fast", t_digest_fail_fast },
	{ "spdk_host_digest_header", t_digest_header },
	{ "spdk_host_timeout_ctrl_loss", t_ctrl_loss },
	{ "spdk_host_timeout_max_reconnects", t_max_reconnects },
	{ "spdk_host_timeout_fast_io_fail", t_fast_io_fail },
	{ "spdk_host_target_disconnect", t_target_disconnect },
	{ "spdk_target_abort", t_abort },
	{ "spdk_target_abort_many", t_abort_many },
	{ "spdk_target_abort_in_vain", t_abort_in_vain },
};

int main(void)
{
	return rig_main("spdk_faults", tests, ARRAY_SIZE(tests));
}
