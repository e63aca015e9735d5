/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests and paths where they meet: what counts as a write, what no path may split,
 * and waiting for the end of several batches.
 */
#include "rig.h"

#define FAST "ctrl_loss_tmo=20&reconnect_delay=0.2&max_retries=5&duplicate_connect=on" \
	     "&nr_io_queues=2"

static unsigned fired(struct rig *r)
{
	return (unsigned)rig_stat(r, "faults_fired");
}

/* One drain after another, with new requests in between: each ends with what came before it. */
static void t_drains(struct rig *r)
{
	struct rig_op *io[4], *drain;
	char buf[512];

	rig_target(r, NULL, "on=read nth=2 do=delay:100; on=read nth=4 do=delay:100");
	rig_open(r, FAST);
	for (int i = 0; i < 4; i += 2) {
		io[i] = rig_submit_read(r, buf, sizeof(buf), 0);
		drain = RIG_SUBMIT(r, nof_chan_drain(r->chan, rig_done, op));
		io[i + 1] = rig_submit_read(r, buf, sizeof(buf), 0);
		assert_int_equal(rig_finish(drain), 0);
		assert_int_equal(io[i]->count, 1);
		/* That one is on its way, and no drain waits for it yet. */
		drain = RIG_SUBMIT(r, nof_chan_drain(r->chan, rig_done, op));
		assert_int_equal(rig_finish(drain), 0);
		assert_int_equal(io[i + 1]->count, 1);
	}
	assert_int_equal(rig_disconnect(r), 0);
}

/* F-21: it changes what is stored, and executed late it would destroy what was written since. */
static void t_uncorrectable_is_held(struct rig *r)
{
	struct rig_op *w;

	rig_target(r, NULL, NULL);
	rig_open(r, FAST "&write_hold=1.5");
	rig_fault(r, "on=writeuncor nth=1 do=drop; on=writeuncor nth=2- do=split:0");
	w = RIG_SUBMIT(r, nof_write_uncorrectable(r->chan, 4096, 0, 0, rig_done, op));
	RIG_UNTIL(r, fired(r) == 1);
	rig_control(r, "drop io");
	RIG_UNTIL(r, nof_ctrl_get_state(r->ctrl) != NOF_CTRL_LIVE);
	RIG_UNTIL(r, nof_ctrl_get_state(r->ctrl) == NOF_CTRL_LIVE);
	assert_int_equal(nof_pflush(r->chan), 0);
	assert_int_equal(w->count, 0);
	assert_int_equal(fired(r), 1);
	assert_int_equal(rig_finish(w), 0);
	assert_int_equal(fired(r), 2);
	assert_int_equal(rig_disconnect(r), 0);
}

/* ---- a second controller that moves less in one command ---- */

static struct nof_ctrl *second;

static void open_two(struct rig *r, const char *ns)
{
	struct nof_opts o;

	rig_target(r, ns, NULL);
	rig_open(r, FAST);
	assert_string_equal(rig_control(r, "mdts 1"), "ok");
	rig_opts(r, FAST, &o);
	assert_int_equal(nof_ctrl_new(r->loop, &o, NULL, NULL, &second), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(second, rig_done, op))), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ns_add_path(r->ns, second, rig_done, op))),
			 0);
	assert_int_equal(nof_ns_pin_path(r->ns, second), 0);
	/* The channel has heard of it. */
	RIG_UNTIL(r, nof_chan_get_qid(r->chan) && nof_pflush(r->chan) == 0);
}

static void close_two(struct rig *r)
{
	nof_chan_close(r->chan);
	r->chan = NULL;
	nof_ns_close(r->ns);
	r->ns = NULL;
	nof_ctrl_free(second);
	assert_int_equal(rig_disconnect(r), 0);
}

/* C-1: what is to be written at once is never split, by whichever path. */
static void t_atomic(struct rig *r)
{
	static char buf[32 * 512];
	struct rig_op *op_;
	int e;

	open_two(r, "--ns=mem:4M,bs=512,atomic=64 --listen=127.0.0.1:0");
	rig_fault(r, "on=write do=split:0");
	op_ = rig_op(r);
	e = nof_write(r->chan, buf, sizeof(buf), 0, NOF_IO_ATOMIC, rig_done, op_);
	rig_accept(op_, e);
	if (e == 0)
		e = rig_finish(op_);
	assert_int_equal(e, -EMSGSIZE);
	assert_int_equal(fired(r), 0);
	assert_int_equal(rig_write(r, buf, 16 * 512, 0, NOF_IO_ATOMIC), 0);
	assert_int_equal(fired(r), 1);
	/* Another one may be. */
	assert_int_equal(rig_write(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(fired(r), 3);
	close_two(r);
}

/* Commands that cannot be cut again are made for the path that takes the least. */
static void t_single_commands(struct rig *r)
{
	static char buf[32 * 512], md[32 * 8];
	struct nof_passthru p = { .size = sizeof(p), .opcode = 2, .cdw12 = 31, .data = buf,
				  .data_len = sizeof(buf) };
	struct nof_pi pi = { .size = sizeof(pi), .mode = NOF_PI_CALLER };
	struct iovec v = { buf, sizeof(buf) };

	open_two(r, "--ns=mem:4M,bs=512,ms=8 --listen=127.0.0.1:0");
	RIG_REFUSES(nof_io_passthru(r->chan, &p, rig_done, NULL), EMSGSIZE);
	assert_int_equal(nof_pwritev_pi(r->chan, &v, 1, md, sizeof(md), 0, 0, &pi), 0);
	assert_int_equal(nof_preadv_pi(r->chan, &v, 1, md, sizeof(md), 0, 0, &pi), 0);
	close_two(r);
}

/* C-4: the same identifier, and blocks as large as before, but not all of each is data. */
static void t_other_format(struct rig *r)
{
	struct rig_op *a;
	char buf[512];

	rig_keep_port(r);
	rig_target(r, "--ns=mem:4M,bs=512", NULL);
	rig_open(r, FAST);
	rig_kill(r);
	RIG_UNTIL(r, nof_ctrl_get_state(r->ctrl) != NOF_CTRL_LIVE);
	a = rig_submit_read(r, buf, sizeof(buf), 0);
	rig_target_restart(r);
	rig_target(r, r->arg, "on=read do=split:0");
	assert_int_equal(rig_finish(a), -ESTALE);
	if (!strstr(a->detail, "metadata"))
		fail_msg("%s", a->detail);
	assert_int_equal(fired(r), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

int main(void)
{
	const struct rig_test tests[] = {
		{ "drains", t_drains },
		{ "f21_uncorrectable_is_held", t_uncorrectable_is_held },
		{ "c1_atomic", t_atomic },
		{ "c1_single_commands", t_single_commands },
		{ "c4_metadata", t_other_format, "--ns=mem:4M,bs=512,ms=8" },
		{ "c4_protection_information", t_other_format, "--ns=mem:4M,bs=512,ms=8,pi=1" },
	};

	return rig_main("requeue_rules", tests, ARRAY_SIZE(tests));
}
