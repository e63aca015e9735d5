/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What callbacks may do, and what they may not bring about: no turn inside
 * a call that frees, no turn without end, no sentence out of memory that is gone.
 */
#include "rig.h"

#include <pthread.h>
#include <unistd.h>

enum { BIG = 4 << 20, FLOOD = 100000 };

/* ---- callbacks inside nof_ctrl_free() and nof_chan_close() ---- */

static struct {
	struct rig *r;
	struct nof_chan *other;
	int process, wait, run, pread;
	unsigned calls;
	char buf[512];
} re;

static void on_reentry(void *arg, const struct nof_completion *c)
{
	struct rig *r = re.r;

	re.calls++;
	re.process = nof_loop_process(r->loop);
	re.wait = nof_loop_wait(r->loop, 0);
	re.run = nof_loop_run(r->loop);
	re.pread = re.other ? nof_pread(re.other, re.buf, sizeof(re.buf), 0, 0) : -EDEADLK;
	rig_done(arg, c);
}

static void open_two(struct rig *r)
{
	memset(&re, 0, sizeof(re));
	re.r = r;
	rig_target(r, "--queues=2", "on=read do=drop");
	rig_open(r, "nr_io_queues=2");
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &re.other,
								rig_done, op))), 0);
	RIG_SUBMIT(r, nof_read(r->chan, re.buf, sizeof(re.buf), 0, 0, on_reentry, op));
	rig_turn(r, 10);
}

static void check_refused(void)
{
	assert_int_equal(re.calls, 1);
	assert_int_equal(re.process, -EDEADLK);
	assert_int_equal(re.wait, -EDEADLK);
	assert_int_equal(re.run, -EDEADLK);
	assert_int_equal(re.pread, -EDEADLK);
}

static void t_no_turn_inside_close(struct rig *r)
{
	open_two(r);
	nof_chan_close(r->chan);
	r->chan = NULL;
	check_refused();
	nof_chan_close(re.other);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_no_turn_inside_free(struct rig *r)
{
	open_two(r);
	nof_ctrl_free(r->ctrl);
	r->ctrl = NULL;
	check_refused();
	nof_chan_close(re.other);
}

/* ---- a controller that is freed by the callback of what its own teardown ends ---- */

static struct {
	struct rig *r;
	struct nof_chan *chan[3];	/* each with a queue */
	char buf[512];
} three;

static void on_first_lost(void *arg, const struct nof_completion *c)
{
	/* One that the teardown has still to come to, and then all of it, inside of it. */
	nof_chan_close(three.chan[2]);
	nof_ctrl_free(three.r->ctrl);
	three.r->ctrl = NULL;
	rig_done(arg, c);
}

/* What is leaked, AddressSanitizer tells. */
static void t_free_inside_teardown(struct rig *r)
{
	rig_target(r, "--queues=3", "on=read do=drop");
	rig_open(r, "nr_io_queues=3&ctrl_loss_tmo=10");
	memset(&three, 0, sizeof(three));
	three.r = r;
	three.chan[0] = r->chan;
	for (int i = 1; i < 3; i++)
		assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop,
							&three.chan[i], rig_done, op))), 0);
	RIG_SUBMIT(r, nof_read(r->chan, three.buf, sizeof(three.buf), 0, 0, on_first_lost, op));
	rig_turn(r, 10);
	RIG_SUBMIT(r, nof_ctrl_reset(r->ctrl, rig_done, op));
	rig_finish_all(r);
	assert_null(r->ctrl);
	nof_chan_close(three.chan[1]);
}

static void on_connect_over(void *arg, const struct nof_completion *c)
{
	re.calls++;
	re.process = nof_loop_process(re.r->loop);
	re.wait = nof_loop_wait(re.r->loop, 0);
	re.run = nof_loop_run(re.r->loop);
	re.pread = -EDEADLK;
	rig_done(arg, c);
}

static void t_no_turn_inside_free_of_a_connecting_one(struct rig *r)
{
	struct nof_opts opts;

	memset(&re, 0, sizeof(re));
	re.r = r;
	rig_target(r, NULL, "on=icreq do=drop");
	rig_loop(r);
	rig_opts(r, NULL, &opts);
	assert_int_equal(nof_ctrl_new(r->loop, &opts, NULL, NULL, &r->ctrl), 0);
	RIG_SUBMIT(r, nof_ctrl_connect(r->ctrl, on_connect_over, op));
	rig_turn(r, 10);
	nof_ctrl_free(r->ctrl);
	r->ctrl = NULL;
	check_refused();
}

/* What such a callback submits elsewhere is not forgotten. */
static void on_close_submit(void *arg, const struct nof_completion *c)
{
	struct rig *r = re.r;
	struct rig_op *op = rig_op(r);

	rig_accept(op, nof_flush(re.other, rig_done, op));
	op = rig_op(r);
	rig_accept(op, nof_write(re.other, re.buf, sizeof(re.buf), 0, 0, rig_done, op));
	rig_done(arg, c);
}

static void t_submit_inside_close(struct rig *r)
{
	open_two(r);
	RIG_SUBMIT(r, nof_read(r->chan, re.buf, sizeof(re.buf), 0, 0, on_close_submit, op));
	rig_turn(r, 10);
	nof_chan_close(r->chan);
	r->chan = NULL;
	rig_finish_all(r);
	assert_int_equal(r->last->error, 0);
	nof_chan_close(re.other);
	assert_int_equal(rig_disconnect(r), 0);
}

/* ---- a turn ends ---- */

static struct {
	unsigned count, limit;
	bool is_flush;
} flood;

static void on_flood(void *arg, const struct nof_completion *c)
{
	struct rig *r = arg;

	if (++flood.count >= flood.limit)
		return;
	if (flood.is_flush)
		assert_int_equal(nof_flush(r->chan, on_flood, r), 0);
	else
		assert_int_equal(nof_read(r->chan, NULL, 0, 0, 0, on_flood, r), 0);
}

/* Operations that need no command complete one turn later, not in the same one. */
static void t_instant_ones_end_a_turn(struct rig *r)
{
	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	flood.count = 0;
	flood.limit = FLOOD;
	flood.is_flush = r->arg && !(r->info.features & NOF_NS_VOLATILE_CACHE);
	on_flood(r, NULL);
	rig_turn(r, 0);
	assert_true(flood.count < 100);
	flood.limit = 0;
	while (nof_chan_get_inflight(r->chan))
		rig_turn(r, 100);
	assert_int_equal(rig_disconnect(r), 0);
}

static unsigned order[8], norder;

static void on_order(void *arg, const struct nof_completion *c)
{
	order[norder++] = (unsigned)(uintptr_t)arg;
}

static void t_instant_ones_keep_their_order(struct rig *r)
{
	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	norder = 0;
	for (uintptr_t i = 0; i < 8; i++)
		assert_int_equal(nof_read(r->chan, NULL, 0, 0, 0, on_order, (void *)i), 0);
	RIG_UNTIL(r, norder == 8);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(order[i], i);
	assert_int_equal(rig_disconnect(r), 0);
}

/* ---- sentences ---- */

static struct nof_chan *closing;

static void on_close_other(void *arg, const struct nof_completion *c)
{
	nof_chan_close(closing);
	closing = NULL;
	rig_done(arg, c);
}

/* A request that is half on its way when its channel is closed inside a callback. */
static void t_sentence_of_a_half_sent_request(struct rig *r)
{
	struct rig_op *big;
	char *buf = malloc(BIG), small[512];

	rig_target(r, NULL, "on=read do=delay:50");
	rig_open(r, "queue_size=4");
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &closing,
								rig_done, op))), 0);
	assert_int_equal(nof_chan_get_qid(closing), nof_chan_get_qid(r->chan));
	RIG_SUBMIT(r, nof_write(r->chan, small, sizeof(small), 0, 0, on_close_other, op));
	big = RIG_SUBMIT(r, nof_read(closing, buf, BIG, 0, 0, rig_done, op));
	rig_finish_all(r);
	assert_int_equal(big->error, -ECANCELED);
	assert_non_null(strstr(big->detail, "the channel was closed"));
	assert_int_equal(rig_disconnect(r), 0);
	free(buf);
}

/* ---- what a status says ---- */

/* Bits beside a status of success (DNR here) are no failure, and no end of the request. */
static void t_success_with_stray_bits(struct rig *r)
{
	uint8_t *out = malloc(BIG), *in = malloc(BIG);

	rig_target(r, NULL, NULL);
	rig_open(r, "queue_size=2");
	rig_fill(out, BIG, 1);
	rig_fault(r, "on=resp for=write do=set:status=0x4000");
	assert_int_equal(rig_write(r, out, BIG, 0, 0), 0);
	rig_control(r, "clear");
	assert_int_equal(rig_read(r, in, BIG, 0, 0), 0);
	assert_memory_equal(in, out, BIG);
	assert_int_equal(rig_disconnect(r), 0);
	free(out);
	free(in);
}

/* The same while connecting: the state and what the callback says agree. */
static void t_connect_with_stray_bits(struct rig *r)
{
	int e;

	rig_target(r, NULL, r->arg);
	e = rig_connect(r, NULL);
	assert_int_equal(e, 0);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_LIVE);
	assert_int_equal(rig_disconnect(r), 0);
}

/* ---- a dedicated loop, closed by another thread than the one that drives it ---- */

static struct {
	struct rig *r;
	struct nof_loop *loop;
	struct nof_chan *chan;
	pthread_barrier_t barrier;
	unsigned done;
	int error, opened;
	char buf[1 << 20];
} other;

static void on_other_thread(void *arg, const struct nof_completion *c)
{
	other.done++;
	other.error = c->error;
}

static void *drive(void *arg)
{
	other.opened = nof_chan_open_sync(other.r->ns, other.loop, &other.chan);
	if (!other.opened)
		nof_read(other.chan, other.buf, sizeof(other.buf), 0, 0, on_other_thread, NULL);
	nof_loop_wait(other.loop, 10);
	pthread_barrier_wait(&other.barrier);	/* at rest … */
	pthread_barrier_wait(&other.barrier);	/* … until it is closed */
	for (int i = 0; i < 10; i++)
		nof_loop_wait(other.loop, 1);
	return NULL;
}

static void t_close_by_another_thread(struct rig *r)
{
	pthread_t th;

	memset(&other, 0, sizeof(other));
	other.r = r;
	rig_target(r, NULL, "on=read do=drop");
	rig_open(r, "nr_io_queues=2");
	other.loop = rig_new_loop(r, NOF_LOOP_DEDICATED);
	pthread_barrier_init(&other.barrier, NULL, 2);
	assert_int_equal(pthread_create(&th, NULL, drive, NULL), 0);
	pthread_barrier_wait(&other.barrier);
	nof_chan_close(other.chan);
	pthread_barrier_wait(&other.barrier);
	pthread_join(th, NULL);
	pthread_barrier_destroy(&other.barrier);
	assert_int_equal(other.opened, 0);
	assert_int_equal(other.done, 1);
	assert_int_equal(other.error, -ECANCELED);
	nof_loop_free(other.loop);
	rig_fault(r, "");
	assert_int_equal(rig_disconnect(r), 0);
}

/* Closed before anybody has driven its loop: that belongs to who drives it then. */
static void t_close_of_a_loop_never_driven(struct rig *r)
{
	struct nof_chan *chan = NULL;
	struct rig_op *open;
	pthread_t th;

	memset(&other, 0, sizeof(other));
	other.r = r;
	rig_target(r, NULL, "on=read do=drop");
	rig_open(r, "nr_io_queues=2");
	other.loop = rig_new_loop(r, NOF_LOOP_DEDICATED);
	open = RIG_SUBMIT(r, nof_chan_open(r->ns, other.loop, &chan, rig_done, op));
	nof_ctrl_free(r->ctrl);
	r->ctrl = NULL;
	assert_int_equal(open->error, -ECANCELED);
	if (rig_connect(r, "nr_io_queues=2"))
		fail_msg("%s", r->last->detail);
	nof_chan_close(r->chan);
	r->chan = NULL;
	nof_ns_close(r->ns);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	pthread_barrier_init(&other.barrier, NULL, 2);
	assert_int_equal(pthread_create(&th, NULL, drive, NULL), 0);
	pthread_barrier_wait(&other.barrier);
	nof_chan_close(other.chan);
	pthread_barrier_wait(&other.barrier);
	pthread_join(th, NULL);
	pthread_barrier_destroy(&other.barrier);
	assert_int_equal(other.opened, 0);
	assert_int_equal(other.done, 1);
	nof_loop_free(other.loop);
	assert_int_equal(rig_disconnect(r), 0);
}

/* ---- a program that was busy elsewhere ---- */

enum { STALL_US = 400000 };		/* longer than the timeout of the commands */

static void on_stall(void *arg, const struct nof_completion *c)
{
	struct rig_op *op = rig_op(re.r);

	usleep(STALL_US);
	rig_accept(op, nof_read(re.r->chan, re.buf, sizeof(re.buf), 0, 0, rig_done, op));
	rig_done(arg, c);
}

/* Time that the program itself lost is not taken for the target's. */
static void t_a_stall_is_not_the_targets(struct rig *r)
{
	memset(&re, 0, sizeof(re));
	re.r = r;
	rig_target(r, NULL, NULL);
	rig_open(r, "io_timeout=0.2&keep_alive_tmo=10");
	/* The target's answer is a little later than at once: not in the first turn after. */
	rig_fault(r, "on=read do=delay:20");
	RIG_SUBMIT(r, nof_read(r->chan, re.buf, sizeof(re.buf), 0, 0, on_stall, op));
	rig_finish_all(r);
	assert_int_equal(r->last->error, 0);
	/* Submitted outside of a turn, and then nobody looks after the loop. */
	rig_submit_read(r, re.buf, sizeof(re.buf), 0);
	usleep(STALL_US);
	rig_finish_all(r);
	assert_int_equal(r->last->error, 0);
	/* It is excused once: a target that is silent is found out. */
	rig_fault(r, "on=read do=drop");
	rig_submit_read(r, re.buf, sizeof(re.buf), 0);
	usleep(STALL_US);
	rig_finish_all(r);
	assert_int_equal(r->last->error, -ETIMEDOUT);
}

static void t_no_buffer(struct rig *r)
{
	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	RIG_REFUSES(nof_read(r->chan, NULL, 512, 0, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_write(r->chan, NULL, 512, 0, 0, rig_done, NULL), EINVAL);
	assert_int_equal(rig_disconnect(r), 0);
}

static const struct rig_test tests[] = {
	{ "no_turn_inside_close", t_no_turn_inside_close },
	{ "no_turn_inside_free", t_no_turn_inside_free },
	{ "no_turn_inside_free_of_a_connecting_one", t_no_turn_inside_free_of_a_connecting_one },
	{ "free_inside_teardown", t_free_inside_teardown },
	{ "submit_inside_close", t_submit_inside_close },
	{ "instant_ones_end_a_turn", t_instant_ones_end_a_turn },
	{ "instant_flushes_end_a_turn", t_instant_ones_end_a_turn, "flush" },
	{ "instant_ones_keep_their_order", t_instant_ones_keep_their_order },
	{ "sentence_of_a_half_sent_request", t_sentence_of_a_half_sent_request },
	{ "success_with_stray_bits", t_success_with_stray_bits },
	{ "connect_with_stray_bits", t_connect_with_stray_bits,
	  "on=resp for=connect do=set:status=0x4000" },
	{ "identify_with_stray_bits", t_connect_with_stray_bits,
	  "on=resp for=identify do=set:status=0x2000" },
	{ "close_by_another_thread", t_close_by_another_thread },
	{ "close_of_a_loop_never_driven", t_close_of_a_loop_never_driven },
	{ "a_stall_is_not_the_targets", t_a_stall_is_not_the_targets },
	{ "no_buffer", t_no_buffer },
};

int main(void)
{
	return rig_main("audit_callbacks", tests, ARRAY_SIZE(tests));
}
