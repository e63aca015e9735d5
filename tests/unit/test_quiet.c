/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where silence begins: with the last byte, or with the first command that waits after it. A
 * connection on which nothing was waited for has not been silent.
 */
#include "queue/conn.h"
#include "stream_peer.h"
#include "unit_loop.h"

#define SECOND 1000000000ull

struct world {
	struct nof_loop *loop;
	struct peer *peer;
	struct nofi_queue *q;
	bool is_ready;
	unsigned out;
};

static void on_event(void *arg, enum nofi_queue_event ev, const struct nofi_err *err)
{
	struct world *w = arg;

	if (ev == NOFI_QUEUE_DEAD)
		fail_msg("%s", err->text);
	w->is_ready = true;
}

static void on_done(void *arg, const struct nofi_cpl *cpl)
{
	struct world *w = arg;

	(void)cpl;
	w->out--;
}

static void on_quiet(void *arg, const struct nofi_sock_info *info)
{
	(void)arg;
	(void)info;
}

static void run_until(struct world *w, const bool *flag, const unsigned *count)
{
	while (flag ? !*flag : *count) {
		if (peer_turn(w->peer, w->loop) || (flag && *flag))
			continue;
		if (!peer_wait(w->peer, w->loop, 20000))
			fail_msg("nothing happens any more");
	}
}

static void start(struct world *w, bool is_mptcp, enum nof_engine engine)
{
	struct nofi_queue_opts o = {
		.qid = 1, .entries = 64, .maxr2t = 1, .incapsule_max = 4096,
		.connect_timeout_ns = 20 * SECOND, .command_timeout_ns = 20 * SECOND,
		.sock = { .mptcp = is_mptcp ? NOFI_MPTCP_REQUIRE : NOFI_MPTCP_OFF, .tos = -1,
			  .priority = -1 },
	};
	struct nofi_err err;

	w->loop = new_loop(engine, 0);
	w->peer = peer_new(is_mptcp, &o.addr.sa, &o.addr.len);
	w->peer->is_plain = true;
	if (nofi_queue_new(w->loop, &o, on_event, w, &w->q, &err) < 0 ||
	    nofi_queue_start(w->q, &err) < 0)
		fail_msg("%s", err.text);
	run_until(w, &w->is_ready, NULL);
	nofi_queue_set_quiet(w->q, on_quiet);
}

/* A command without data, the long way. */
static void send_other(struct world *w, uint32_t flags)
{
	struct nofi_cmd_desc d;

	assert_int_equal(nofi_queue_take(w->q, flags, &d), 0);
	d.sqe[0] = 2;	/* the peer answers it at once */
	d.sqe[4] = 1;
	d.done = on_done;
	d.arg = w;
	w->out++;
	nofi_queue_send(w->q, &d);
}

static void send_read(struct world *w, struct nofi_rw *rw, struct iovec *iov)
{
	*rw = (struct nofi_rw){ .opcode = 2, .dir = NOFI_DIR_READ, .nsid = 1,
				.length = (uint32_t)iov->iov_len, .iov = iov, .done = on_done,
				.arg = w };
	w->out++;
	assert_true(nofi_queue_rw(w->q, rw) != 0);
}

static void run(void **state)
{
	const unsigned *way = *state;
	bool is_mptcp = *way & 1;
	struct world w = { 0 };
	static char buf[2][512];
	struct iovec iov[2] = { { buf[0], 512 }, { buf[1], 512 } };
	struct nofi_rw rw[2];
	uint64_t now, past;

	start(&w, is_mptcp, *way & 2 ? NOF_ENGINE_EPOLL : NOF_ENGINE_IO_URING);
	for (unsigned turn = 0; turn < 2; turn++) {
		now = nofi_loop_now(w.loop);
		past = now - 5 * SECOND;

		/* What has no deadline, as an Asynchronous Event Request, waits for nothing. */
		w.q->heard = past;
		send_other(&w, NOFI_CMD_NO_TIMEOUT);
		assert_int_equal(w.q->heard, past);
		assert_int_equal(w.q->quiet_timer.pos, 0);

		/* The first that waits: silence begins now. */
		if (turn)
			send_read(&w, &rw[0], &iov[0]);
		else
			send_other(&w, 0);
		assert_true(w.q->heard >= now);
		assert_true(w.q->quiet_timer.pos && w.q->quiet_timer.deadline > now);

		/* One waits already: it goes on. */
		w.q->heard = past;
		send_other(&w, 0);
		send_read(&w, &rw[1], &iov[1]);
		assert_int_equal(w.q->heard, past);
		w.q->heard = now;
		run_until(&w, NULL, &w.out);
		nofi_timer_disarm(w.loop, &w.q->quiet_timer);
	}
	nofi_queue_free(w.q);
	nof_loop_free(w.loop);
	peer_free(w.peer);
}

int main(void)
{
	static unsigned ways[] = { 0, 1, 2, 3 };
	const struct CMUnitTest tests[] = {
		{ "silence_begins, TCP, io_uring", run, NULL, NULL, &ways[0] },
		{ "silence_begins, MPTCP, io_uring", run, NULL, NULL, &ways[1] },
		{ "silence_begins, TCP, epoll", run, NULL, NULL, &ways[2] },
		{ "silence_begins, MPTCP, epoll", run, NULL, NULL, &ways[3] },
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
