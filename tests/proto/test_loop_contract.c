/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The contract of the loop (nof.h, section Loop): the fd is readable exactly when
 * there is something to do, nothing is forgotten, nothing completes where it must
 * not. These cases poll the fd themselves, whatever the rig does elsewhere.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "rig.h"

static bool is_readable(struct rig *r, int timeout_ms)
{
	struct pollfd p = { .fd = nof_loop_fd(r->loop), .events = POLLIN };

	return poll(&p, 1, timeout_ms) == 1;
}

/* Processes until there is nothing to do for a moment. */
static void settle(struct rig *r)
{
	while (is_readable(r, 50))
		assert_true(nof_loop_process(r->loop) >= 0);
}

static void open_polled(struct rig *r, const char *fault, const char *uri)
{
	r->drive = RIG_POLL;
	rig_target(r, NULL, fault);
	rig_open(r, uri);
}

/* Nothing to do: not readable, for as long as nobody says anything. */
static void t_idle_is_quiet(struct rig *r)
{
	char buf[512];

	open_polled(r, NULL, "keep_alive_tmo=0&io_timeout=60&admin_timeout=60");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
		settle(r);
		assert_false(is_readable(r, 150));
		assert_int_equal(nof_loop_process(r->loop), 0);
		assert_false(is_readable(r, 100));
	}
}

/* A submission that nobody flushed makes the fd readable by itself. */
static void t_submit_makes_readable(struct rig *r)
{
	struct rig_op *op;
	char buf[512];

	open_polled(r, NULL, "keep_alive_tmo=0");
	settle(r);
	op = rig_submit_read(r, buf, sizeof(buf), 0);
	assert_true(is_readable(r, 1000));
	assert_int_equal(op->count, 0);
	while (!op->count) {
		assert_true(is_readable(r, 2000));
		assert_true(nof_loop_process(r->loop) >= 0);
	}
	assert_int_equal(op->error, 0);
}

/* The same for what needs no command, and for opening things. */
static void t_all_calls_make_readable(struct rig *r)
{
	struct nof_ns *ns = NULL;
	struct nof_chan *chan = NULL;
	struct rig_op *done;
	char buf[512];

	open_polled(r, NULL, "keep_alive_tmo=0&nr_io_queues=2");
	for (int i = 0; i < 4; i++) {
		settle(r);
		done = i == 0 ? RIG_SUBMIT(r, nof_read(r->chan, buf, 0, 0, 0, rig_done, op)) :
		       i == 1 ? RIG_SUBMIT(r, nof_ns_open(r->ctrl, NULL, &ns, rig_done, op)) :
		       i == 2 ? RIG_SUBMIT(r, nof_chan_open(ns, r->loop, &chan, rig_done, op)) :
		       RIG_SUBMIT(r, nof_ctrl_disconnect(r->ctrl, rig_done, op));
		assert_int_equal(done->count, 0);
		while (!done->count) {
			assert_true(is_readable(r, 2000));
			assert_true(nof_loop_process(r->loop) >= 0);
		}
		assert_int_equal(done->error, 0);
	}
	nof_chan_close(chan);
	nof_ns_close(ns);
}

static void t_flush_sends(struct rig *r)
{
	struct rig_op *op;
	char buf[512];

	open_polled(r, "on=read do=split:0", "keep_alive_tmo=0");
	settle(r);
	op = rig_submit_read(r, buf, sizeof(buf), 0);
	assert_int_equal(nof_loop_flush(r->loop), 0);
	/* It is on its way without any further call. */
	RIG_EVENTUALLY(rig_stat(r, "faults_fired") == 1);
	assert_int_equal(op->count, 0);
	assert_true(is_readable(r, 2000));
	assert_int_equal(rig_finish(op), 0);
}

/* With EXPLICIT_FLUSH nothing is sent before the flush, everything after it. */
static void t_explicit_flush(struct rig *r)
{
	struct rig_op *op;
	char buf[512];

	r->drive = RIG_POLL;
	r->loop = rig_new_loop(r, NOF_LOOP_EXPLICIT_FLUSH);
	rig_target(r, NULL, "on=read do=split:0");
	rig_open(r, "keep_alive_tmo=0");
	settle(r);
	op = rig_submit_read(r, buf, sizeof(buf), 0);
	assert_int_equal(nof_loop_flush(r->loop), 0);
	while (!op->count) {
		assert_true(is_readable(r, 2000));
		assert_true(nof_loop_process(r->loop) >= 0);
	}
	assert_int_equal(op->error, 0);
}

/* Readable when a timer expires: here that of a command nobody answers. */
static void t_timer_makes_readable(struct rig *r)
{
	struct rig_op *op;
	uint64_t start;
	char buf[512];
	unsigned turns = 0;

	open_polled(r, "on=read do=drop", "io_timeout=0.4&keep_alive_tmo=0");
	settle(r);
	start = rig_now_ms();
	op = rig_submit_read(r, buf, sizeof(buf), 0);
	while (!op->count) {
		assert_true(is_readable(r, 3000));
		assert_true(nof_loop_process(r->loop) >= 0);
		turns++;
	}
	assert_int_equal(op->error, -ETIMEDOUT);
	assert_in_range(rig_now_ms() - start, 390, 1500);
	assert_true(turns < 20);
}

/* Level triggered: it stays readable until it was processed. */
static void t_level_triggered(struct rig *r)
{
	struct rig_op *op;
	char buf[512];

	open_polled(r, NULL, "keep_alive_tmo=0");
	settle(r);
	op = rig_submit_read(r, buf, sizeof(buf), 0);
	for (int i = 0; i < 5; i++)
		assert_true(is_readable(r, 1000));
	assert_int_equal(nof_loop_flush(r->loop), 0);
	RIG_EVENTUALLY(rig_stat(r, "reads") == 1);
	assert_true(is_readable(r, 2000));
	for (int i = 0; i < 5; i++)
		assert_true(is_readable(r, 0));
	assert_int_equal(op->count, 0);
	assert_int_equal(rig_finish(op), 0);
}

static void *wake_later(void *arg)
{
	nof_loop_wake(arg);
	return NULL;
}

static void t_wake(struct rig *r)
{
	pthread_t thread;

	open_polled(r, NULL, "keep_alive_tmo=0");
	for (int i = 0; i < 20; i++) {
		settle(r);
		assert_int_equal(pthread_create(&thread, NULL, wake_later, r->loop), 0);
		if (i & 1)
			assert_int_equal(nof_loop_wait(r->loop, 5000), 0);
		else
			assert_true(is_readable(r, 5000));
		pthread_join(thread, NULL);
		assert_true(nof_loop_process(r->loop) >= 0);
	}
	settle(r);
	assert_false(is_readable(r, 50));
}

/* A wait ends when its time is over, not much earlier, not much later. */
static void t_wait_times_out(struct rig *r)
{
	uint64_t start;

	open_polled(r, NULL, "keep_alive_tmo=0");
	settle(r);
	start = rig_now_ms();
	while (rig_now_ms() - start < 190)
		assert_int_equal(nof_loop_wait(r->loop, 200), 0);
	assert_in_range(rig_now_ms() - start, 190, 1200);
	start = rig_now_ms();
	assert_int_equal(nof_loop_wait(r->loop, 0), 0);
	assert_in_range(rig_now_ms() - start, 0, 150);
}

static struct {
	int process, wait, run, flush;
} ret;

static void call_all(void *arg, const struct nof_completion *c)
{
	struct rig_op *op = arg;

	ret.process = nof_loop_process(op->rig->loop);
	ret.wait = nof_loop_wait(op->rig->loop, 10);
	ret.run = nof_loop_run(op->rig->loop);
	ret.flush = nof_loop_flush(op->rig->loop);
	rig_done(arg, c);
}

/* Processing inside processing is refused; flushing is harmless. */
static void t_no_recursion(struct rig *r)
{
	struct rig_op *op;
	char buf[512];

	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	op = rig_op(r);
	assert_int_equal(nof_read(r->chan, buf, sizeof(buf), 0, 0, call_all, op), 0);
	assert_int_equal(rig_finish(op), 0);
	assert_int_equal(ret.process, -EDEADLK);
	assert_int_equal(ret.wait, -EDEADLK);
	assert_int_equal(ret.run, -EDEADLK);
	assert_int_equal(ret.flush, 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Returns how many operations completed; what is counted is what was seen. */
static void t_counts(struct rig *r)
{
	char buf[512];
	int n = 0, seen;

	open_polled(r, NULL, "keep_alive_tmo=0");
	settle(r);
	for (int i = 0; i < 30; i++)
		rig_submit_read(r, buf, sizeof(buf), 0);
	while (r->inflight) {
		assert_true(is_readable(r, 2000));
		seen = nof_loop_process(r->loop);
		assert_true(seen >= 0);
		n += seen;
	}
	assert_int_equal(n, 30);
}

/* No descriptor of ours survives an exec. */
static void t_cloexec(struct rig *r)
{
	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	for (int fd = 3; fd < 64; fd++) {
		int flags = fcntl(fd, F_GETFD);

		if (flags >= 0 && !(flags & FD_CLOEXEC)) {
			char link[64], path[256] = "";

			snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
			if (readlink(link, path, sizeof(path) - 1) < 0)
				continue;
			/* The test runner's own pipes and files are none of ours. */
			if (strstr(path, "socket:") || strstr(path, "anon_inode:"))
				fail_msg("fd %d (%s) is inherited", fd, path);
		}
	}
	assert_int_equal(rig_disconnect(r), 0);
}

/* The descriptors come back: opening and closing leaks none. */
static void t_no_fd_leak(struct rig *r)
{
	int before, after;

	rig_target(r, NULL, NULL);
	before = dup(0);
	close(before);
	for (int i = 0; i < 10; i++) {
		if (i & 1)
			rig_fault(r, "on=identify do=term:1:0");
		else
			rig_control(r, "clear");
		assert_int_equal(rig_try_open(r, NULL), i & 1 ? -ECONNRESET : 0);
		rig_close(r);
	}
	after = dup(0);
	close(after);
	assert_int_equal(after, before);
}

static void t_dedicated_has_no_fd(struct rig *r)
{
	r->drive = RIG_RUN;
	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	RIG_REFUSES(nof_loop_fd(r->loop), ENOTSUP);
	assert_int_equal(rig_disconnect(r), 0);
}

static const struct rig_test tests[] = {
	{ "idle_is_quiet", t_idle_is_quiet },
	{ "submit_makes_readable", t_submit_makes_readable },
	{ "all_calls_make_readable", t_all_calls_make_readable },
	{ "flush_sends", t_flush_sends },
	{ "explicit_flush", t_explicit_flush },
	{ "timer_makes_readable", t_timer_makes_readable },
	{ "level_triggered", t_level_triggered },
	{ "wake_from_thread", t_wake },
	{ "wait_times_out", t_wait_times_out },
	{ "no_recursion", t_no_recursion },
	{ "counts", t_counts },
	{ "cloexec", t_cloexec },
	{ "no_fd_leak", t_no_fd_leak },
	{ "dedicated_has_no_fd", t_dedicated_has_no_fd },
};

int main(void)
{
	return rig_main("loop_contract", tests, ARRAY_SIZE(tests));
}
