/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Channels, and the end of things: shared queues, several namespaces and controllers
 * on a loop, closing and freeing with I/O in flight and inside callbacks. Whatever
 * the order, every operation completes exactly once.
 */
#include "rig.h"

enum { N = 12 };

static struct nof_chan *open_chan(struct rig *r, struct nof_ns *ns)
{
	struct nof_chan *chan = NULL;

	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_chan_open(ns, r->loop, &chan, rig_done,
								op))), 0);
	return chan;
}

/* More channels than queues: they share, in both directions at once. */
static void t_sharing(struct rig *r)
{
	struct nof_chan *chans[5];
	uint8_t out[5][20480], in[5][20480];
	unsigned used = 0;

	rig_target(r, "--queues=2", NULL);
	rig_open(r, "nr_io_queues=2&queue_size=4");
	chans[0] = r->chan;
	for (int i = 1; i < 5; i++)
		chans[i] = open_chan(r, r->ns);
	for (int i = 0; i < 5; i++) {
		used |= 1u << nof_chan_get_qid(chans[i]);
		rig_fill(out[i], sizeof(out[i]), (uint32_t)i);
	}
	assert_int_equal(used, 6);	/* queues 1 and 2 */
	for (int k = 0; k < 20; k++)
		for (int i = 0; i < 5; i++)
			RIG_SUBMIT(r, nof_write(chans[i], out[i] + k * 1024, 1024,
						(uint64_t)(i * 20 + k) * 1024, 0, rig_done, op));
	rig_finish_all(r);
	for (int i = 0; i < 5; i++)
		RIG_SUBMIT(r, nof_read(chans[i], in[i], sizeof(in[i]), (uint64_t)i * 20480, 0,
				       rig_done, op));
	rig_finish_all(r);
	assert_memory_equal(in, out, sizeof(in));
	for (struct rig_op *op = r->ops; op; op = op->next)
		assert_int_equal(op->error, 0);
	for (int i = 1; i < 5; i++)
		nof_chan_close(chans[i]);
	assert_int_equal(rig_read(r, in[0], 512, 0, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Closing a channel ends its own I/O and nobody else's on the same queue. */
static void t_close_shared(struct rig *r)
{
	struct rig_op *mine[N], *others[N];
	struct nof_chan *other;
	char buf[2 * N][512];

	rig_target(r, NULL, NULL);
	rig_open(r, "queue_size=8");
	other = open_chan(r, r->ns);
	assert_int_equal(nof_chan_get_qid(other), nof_chan_get_qid(r->chan));
	for (int i = 0; i < N; i++) {
		mine[i] = RIG_SUBMIT(r, nof_read(r->chan, buf[i], 512, 0, 0, rig_done, op));
		others[i] = RIG_SUBMIT(r, nof_read(other, buf[N + i], 512, 0, 0, rig_done, op));
	}
	nof_chan_close(r->chan);
	r->chan = other;
	for (int i = 0; i < N; i++) {
		assert_int_equal(mine[i]->count, 1);
		assert_true(!mine[i]->error || mine[i]->error == -ECANCELED);
	}
	rig_finish_all(r);
	for (int i = 0; i < N; i++)
		assert_int_equal(others[i]->error, 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* A channel of its own: what is in flight is cancelled before close returns. */
static void t_close_in_flight(struct rig *r)
{
	struct rig_op *ops[N];
	char buf[N][4096];

	rig_target(r, r->arg, "on=read do=drop; on=write do=drop");
	rig_open(r, NULL);
	for (int i = 0; i < N; i++)
		ops[i] = i & 1 ? rig_submit_read(r, buf[i], 4096, 0) :
			 rig_submit_write(r, buf[i], 4096, 0);
	rig_turn(r, 10);
	nof_chan_close(r->chan);
	r->chan = NULL;
	for (int i = 0; i < N; i++) {
		assert_int_equal(ops[i]->count, 1);
		assert_int_equal(ops[i]->error, -ECANCELED);
	}
	/* The controller lives, the queue can be had again once the target knows. */
	rig_control(r, "clear");
	RIG_UNTIL(r, rig_stat(r, "conns") == 1);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_LIVE);
	assert_int_equal(rig_open_chan(r), 0);
	assert_int_equal(rig_read(r, buf[0], 4096, 0, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
	assert_int_equal(r->failures, 0);
}

/* Queued by submit and never sent: still completed by close. */
static void t_close_unsent(struct rig *r)
{
	struct rig_op *op, *more;
	char buf[512];

	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	op = rig_submit_read(r, buf, sizeof(buf), 0);
	more = rig_submit_read(r, buf, 0, 0);
	nof_chan_close(r->chan);
	r->chan = NULL;
	assert_int_equal(op->error, -ECANCELED);
	assert_int_equal(more->count, 1);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_ctrl_free_in_flight(struct rig *r)
{
	struct rig_op *ops[N];
	char buf[N][4096];

	rig_target(r, NULL, "on=read do=drop");
	rig_open(r, NULL);
	for (int i = 0; i < N; i++)
		ops[i] = rig_submit_read(r, buf[i], 4096, 0);
	rig_turn(r, 10);
	nof_ctrl_free(r->ctrl);
	r->ctrl = NULL;
	for (int i = 0; i < N; i++) {
		assert_int_equal(ops[i]->count, 1);
		assert_int_equal(ops[i]->error, -ECANCELED);
	}
	/* What is left may still be closed, and says so when it is used. */
	RIG_REFUSES(nof_read(r->chan, buf[0], 4096, 0, 0, rig_done, NULL), ENOTCONN);
	RIG_REFUSES(nof_chan_open(r->ns, r->loop, &r->chan, rig_done, NULL), ENOTCONN);
	rig_all_closed(r);
}

/* ---- inside callbacks ---- */

enum in_callback { CLOSE_CHAN, FREE_CTRL, CLOSE_ALL, DISCONNECT, SUBMIT };

static struct {
	enum in_callback what;
	unsigned left;
	char buf[4096];
} cb;

static void act_in_callback(void *arg, const struct nof_completion *c)
{
	struct rig_op *op = arg;
	struct rig *r = op->rig;

	rig_done(arg, c);
	switch (cb.what) {
	case SUBMIT:
		if (cb.left && cb.left--) {
			struct rig_op *next = rig_op(r);

			rig_accept(next, nof_read(r->chan, cb.buf, sizeof(cb.buf), 0, 0,
						  act_in_callback, next));
		}
		return;
	case DISCONNECT:
		if (r->ctrl && nof_ctrl_get_state(r->ctrl) == NOF_CTRL_LIVE) {
			struct rig_op *next = rig_op(r);

			rig_accept(next, nof_ctrl_disconnect(r->ctrl, rig_done, next));
		}
		return;
	case CLOSE_CHAN:
		nof_chan_close(r->chan);
		r->chan = NULL;
		return;
	case FREE_CTRL:
		nof_ctrl_free(r->ctrl);
		r->ctrl = NULL;
		return;
	case CLOSE_ALL:
		nof_chan_close(r->chan);
		nof_ns_close(r->ns);
		nof_ctrl_free(r->ctrl);
		r->chan = NULL;
		r->ns = NULL;
		r->ctrl = NULL;
		return;
	}
}

static void in_callback(struct rig *r, enum in_callback what, const char *fault)
{
	struct rig_op *first;
	char buf[N][4096];

	cb.what = what;
	cb.left = 100;
	rig_target(r, NULL, fault);
	rig_open(r, NULL);
	first = rig_op(r);
	rig_accept(first, nof_read(r->chan, cb.buf, sizeof(cb.buf), 0, 0, act_in_callback, first));
	for (int i = 1; i < N; i++)
		rig_submit_read(r, buf[i], sizeof(buf[i]), 0);
	rig_finish_all(r);
	for (struct rig_op *op = r->ops; op; op = op->next) {
		assert_int_equal(op->count, op->is_refused ? 0 : 1);
		assert_false(op->is_refused);
	}
}

static void t_submit_in_callback(struct rig *r)
{
	in_callback(r, SUBMIT, NULL);
	assert_int_equal(cb.left, 0);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_close_in_callback(struct rig *r)
{
	in_callback(r, CLOSE_CHAN, NULL);
	assert_null(r->chan);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_free_in_callback(struct rig *r)
{
	in_callback(r, FREE_CTRL, NULL);
	assert_null(r->ctrl);
}

static void t_close_all_in_callback(struct rig *r)
{
	in_callback(r, CLOSE_ALL, NULL);
	rig_all_closed(r);
}

static void t_disconnect_in_callback(struct rig *r)
{
	in_callback(r, DISCONNECT, NULL);
	RIG_UNTIL(r, nof_ctrl_get_state(r->ctrl) == NOF_CTRL_CLOSED);
}

/* The same while the connection is being lost: the callback runs in the middle of that. */
static void t_close_in_failing_callback(struct rig *r)
{
	in_callback(r, CLOSE_CHAN, "on=read do=reset");
}

static void t_free_in_failing_callback(struct rig *r)
{
	in_callback(r, FREE_CTRL, "on=read do=reset");
}

static void t_close_all_in_failing_callback(struct rig *r)
{
	in_callback(r, CLOSE_ALL, "on=read nth=5 do=term:1:0");
}

/* ---- several of everything on one loop ---- */

static void t_two_namespaces(struct rig *r)
{
	struct nof_ns *second = NULL;
	struct nof_chan *chan;
	uint8_t a[8192], b[8192], in[8192];

	rig_target(r, "--ns=mem:1M,bs=512 --ns=mem:1M,bs=4096", NULL);
	rig_open(r, NULL);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ns_open(r->ctrl, "2", &second, rig_done,
							      op))), 0);
	chan = open_chan(r, second);
	assert_ptr_equal(nof_chan_get_ns(chan), second);
	assert_ptr_equal(nof_chan_get_loop(chan), r->loop);
	rig_fill(a, sizeof(a), 1);
	rig_fill(b, sizeof(b), 2);
	RIG_SUBMIT(r, nof_write(r->chan, a, sizeof(a), 0, 0, rig_done, op));
	RIG_SUBMIT(r, nof_write(chan, b, sizeof(b), 0, 0, rig_done, op));
	rig_finish_all(r);
	assert_int_equal(rig_read(r, in, sizeof(in), 0, 0), 0);
	assert_memory_equal(in, a, sizeof(in));
	assert_int_equal(nof_pread(chan, in, sizeof(in), 0, 0), 0);
	assert_memory_equal(in, b, sizeof(in));
	RIG_REFUSES(nof_read(chan, in, 512, 0, 0, rig_done, NULL), EINVAL);
	nof_ns_close(second);
	assert_int_equal(nof_pread(chan, in, sizeof(in), 0, 0), 0);
	nof_chan_close(chan);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Losing one controller is nothing to the other. */
static void t_two_controllers(struct rig *r)
{
	struct nof_ctrl *ctrl;
	struct nof_ns *ns;
	struct nof_chan *chan;
	char buf[4096];

	rig_target(r, NULL, "on=flush do=reset");
	rig_open(r, NULL);
	ctrl = r->ctrl;
	ns = r->ns;
	chan = r->chan;
	r->ctrl = NULL;
	r->ns = NULL;
	r->chan = NULL;
	rig_open(r, NULL);
	for (int i = 0; i < 8; i++) {
		rig_submit_read(r, buf, 512, 0);
		RIG_SUBMIT(r, nof_read(chan, buf, 512, 0, 0, rig_done, op));
	}
	RIG_SUBMIT(r, nof_flush(chan, rig_done, op));
	rig_finish_all(r);
	RIG_UNTIL(r, r->failures == 1);
	assert_int_equal(nof_ctrl_get_state(ctrl), NOF_CTRL_FAILED);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_LIVE);
	for (int i = 0; i < 8; i++)
		assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	nof_chan_close(chan);
	nof_ns_close(ns);
	nof_ctrl_free(ctrl);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Opening and closing again and again leaves nothing behind, here or there. */
static void t_again_and_again(struct rig *r)
{
	char buf[512];

	rig_target(r, "--queues=3", NULL);
	rig_open(r, "nr_io_queues=3");
	for (int i = 0; i < 30; i++) {
		struct nof_chan *chan = open_chan(r, r->ns);

		if (i & 1)
			RIG_SUBMIT(r, nof_read(chan, buf, sizeof(buf), 0, 0, rig_done, op));
		nof_chan_close(chan);
		/* A target that has not seen the end of a queue yet refuses its number. */
		RIG_UNTIL(r, rig_stat(r, "conns") == 2);
	}
	rig_finish_all(r);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_null_is_accepted(struct rig *r)
{
	nof_chan_close(NULL);
	nof_ns_close(NULL);
	nof_ctrl_free(NULL);
	nof_loop_free(NULL);
	nof_discovery_free(NULL);
}

static const struct rig_test tests[] = {
	{ "sharing", t_sharing },
	{ "close_shared", t_close_shared },
	{ "close_in_flight", t_close_in_flight },
	{ "close_in_flight_r2t", t_close_in_flight, "--in-capsule=0" },
	{ "close_unsent", t_close_unsent },
	{ "ctrl_free_in_flight", t_ctrl_free_in_flight },
	{ "submit_in_callback", t_submit_in_callback },
	{ "close_in_callback", t_close_in_callback },
	{ "free_in_callback", t_free_in_callback },
	{ "close_all_in_callback", t_close_all_in_callback },
	{ "disconnect_in_callback", t_disconnect_in_callback },
	{ "close_in_failing_callback", t_close_in_failing_callback },
	{ "free_in_failing_callback", t_free_in_failing_callback },
	{ "close_all_in_failing_callback", t_close_all_in_failing_callback },
	{ "two_namespaces", t_two_namespaces },
	{ "two_controllers", t_two_controllers },
	{ "again_and_again", t_again_and_again },
	{ "null_is_accepted", t_null_is_accepted },
};

int main(void)
{
	return rig_main("channels", tests, ARRAY_SIZE(tests));
}
