/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A queue whose bytes go through a stream with records, keys and a handshake of its own
 * (scramble.h): what holds for plain connections holds there. Each case runs on TCP and MPTCP,
 * with io_uring and epoll.
 */
#include <errno.h>
#include <stdio.h>

#include "queue/engine.h"
#include "queue/queue.h"
#include "queue/stream.h"
#include "stream_peer.h"
#include "unit_loop.h"

enum { DEPTH = 16, PATIENCE_MS = 20000 };
#define SECOND 1000000000ull

struct world;

struct unit {
	struct world *w;
	struct iovec iov[3];
	struct nofi_rw rw;		/* stays until the command is done */
	uint8_t *buf;
	uint32_t at, length;		/* blocks of 512 B are at / 512 */
	bool is_write, is_out;
};

struct world {
	bool is_mptcp;			/* the peer's listener */
	enum nof_engine engine;
	struct nof_loop *loop;
	struct peer *peer;
	struct scramble_host host;
	struct nofi_queue_opts o;
	struct nofi_queue *q;
	bool is_ready, is_dead;
	int code;
	char why[600];			/* of the queue's death */
	struct unit unit[DEPTH];
	unsigned out, good, failed, twice, wrong;
	int error;			/* of the last command that failed */
	char detail[600];
	unsigned left;			/* commands that are still to be sent */
	uint32_t length_max;
	uint8_t *model;			/* the peer's memory, where nothing is under way */
};

static void on_event(void *arg, enum nofi_queue_event ev, const struct nofi_err *err)
{
	struct world *w = arg;

	if (ev == NOFI_QUEUE_READY) {
		w->is_ready = true;
		return;
	}
	assert_false(w->is_dead);
	w->is_dead = true;
	w->code = err->code;
	snprintf(w->why, sizeof(w->why), "%s", err->text);
}

static struct world *new_world(bool is_mptcp, enum nof_engine engine)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->is_mptcp = is_mptcp;
	w->engine = engine;
	w->host.secret = 42;
	w->model = calloc(1, PEER_MEM);
	assert_non_null(w->model);
	w->loop = new_loop(engine, 0);
	w->peer = peer_new(is_mptcp, &w->o.addr.sa, &w->o.addr.len);
	w->o.qid = 1;
	w->o.entries = 64;
	w->o.sock = (struct nofi_sock_opts){ .mptcp = is_mptcp ? NOFI_MPTCP_REQUIRE :
					     NOFI_MPTCP_OFF, .tos = -1, .priority = -1 };
	w->o.maxr2t = 1;
	w->o.incapsule_max = 4096;
	w->o.connect_timeout_ns = 20 * SECOND;
	w->o.command_timeout_ns = 20 * SECOND;
	w->o.stream = &scramble_stream;
	w->o.stream_arg = &w->host;
	return w;
}

static void free_world(struct world *w)
{
	unsigned starts = w->host.starts;

	nofi_queue_free(w->q);
	nof_loop_free(w->loop);
	assert_int_equal(w->out, 0);
	assert_int_equal(w->twice, 0);
	assert_int_equal(w->wrong, 0);
	assert_true(w->host.frees >= starts);
	peer_free(w->peer);
	for (unsigned i = 0; i < DEPTH; i++)
		free(w->unit[i].buf);
	free(w->model);
	free(w);
}

/* Both sides go on until it is so. Who has nothing to do waits for the other one. */
static void run_until(struct world *w, bool (*is_so)(struct world *))
{
	while (!is_so(w)) {
		if (peer_turn(w->peer, w->loop) || is_so(w))
			continue;
		if (!peer_wait(w->peer, w->loop, PATIENCE_MS))
			fail_msg("nothing happens any more: %u commands out, %u good, %u failed",
				 w->out, w->good, w->failed);
	}
}

static bool is_settled(struct world *w)
{
	return w->is_ready || w->is_dead;
}

static bool is_dead(struct world *w)
{
	return w->is_dead;
}

static bool is_done(struct world *w)
{
	return !w->out;
}

static bool has_host_left(struct world *w)
{
	return w->peer->fd < 0;
}

static void start(struct world *w)
{
	struct nofi_err err;

	if (nofi_queue_new(w->loop, &w->o, on_event, w, &w->q, &err) < 0 ||
	    nofi_queue_start(w->q, &err) < 0)
		fail_msg("%s", err.text);
}

static void connect_queue(struct world *w)
{
	start(w);
	run_until(w, is_settled);
	if (w->is_dead)
		fail_msg("%s", w->why);
}

/* ---- commands ---- */

static void submit(struct unit *u);

static void on_done(void *arg, const struct nofi_cpl *cpl)
{
	struct unit *u = arg;
	struct world *w = u->w;

	if (!u->is_out)
		w->twice++;
	u->is_out = false;
	w->out--;
	if (cpl->error) {
		w->failed++;
		w->error = cpl->error;
		snprintf(w->detail, sizeof(w->detail), "%s", cpl->detail);
		return;
	}
	if (memcmp(u->buf, (u->is_write ? w->peer->mem : w->model) + u->at, u->length))
		w->wrong++;
	w->good++;
	if (w->left)
		submit(u);
}

/* Each unit has a piece of the memory for itself, so that the model is simple. */
static void submit(struct unit *u)
{
	struct world *w = u->w;
	uint32_t area = PEER_MEM / DEPTH, blocks, cut;

	w->left--;
	/* As many small ones as large ones. */
	blocks = w->length_max / 512 >> random64() % 10;
	blocks = 1 + (uint32_t)(random64() % (blocks ? blocks : 1));
	u->length = blocks * 512;
	u->at = (uint32_t)(u - w->unit) * area +
		(uint32_t)(random64() % ((area - u->length) / 512 + 1)) * 512;
	u->is_write = random64() & 1;
	if (u->is_write)
		random_fill(u->buf, u->length);
	else
		memset(u->buf, 0, u->length);
	if (u->is_write)
		memcpy(w->model + u->at, u->buf, u->length);
	cut = (uint32_t)(random64() % u->length);
	u->iov[0] = (struct iovec){ u->buf, cut };
	u->iov[1] = (struct iovec){ NULL, 0 };
	u->iov[2] = (struct iovec){ u->buf + cut, u->length - cut };
	u->rw = (struct nofi_rw){ .nsid = 1, .done = on_done, .arg = u, .iov = u->iov };
	u->rw.opcode = u->is_write ? 1 : 2;
	u->rw.dir = u->is_write ? NOFI_DIR_WRITE : NOFI_DIR_READ;
	u->rw.cdw[0] = u->at / 512;
	u->rw.cdw[2] = blocks - 1;
	u->rw.length = u->length;
	u->is_out = true;
	w->out++;
	assert_true(nofi_queue_rw(w->q, &u->rw) != 0);
}

static void begin_io(struct world *w, unsigned commands, uint32_t length_max)
{
	w->left = commands;
	w->length_max = length_max;
	for (unsigned i = 0; i < DEPTH && w->left; i++) {
		w->unit[i].w = w;
		w->unit[i].buf = realloc(w->unit[i].buf, length_max);
		assert_non_null(w->unit[i].buf);
		submit(&w->unit[i]);
	}
}

static void check_io(struct world *w, unsigned commands, uint32_t length_max)
{
	unsigned before = w->good;

	begin_io(w, commands, length_max);
	run_until(w, is_done);
	if (w->is_dead)
		fail_msg("%s", w->why);
	assert_int_equal(w->good - before, commands);
	assert_int_equal(w->failed, 0);
	assert_int_equal(w->peer->bad, 0);
}

/* ---- what works ---- */

static void any_pieces_any_sizes(struct world *w)
{
	static const size_t chunks[] = { 60000, 3000, 200 };

	w->o.hdgst = w->o.ddgst = NOFI_DIGEST_ON;
	connect_queue(w);
	for (unsigned i = 0; i < 3; i++) {
		w->peer->chunk = chunks[i];
		w->host.out_limit = i * 5000;
		check_io(w, i < 2 ? 120 : 24, 64 * 1024 >> i);
	}
	assert_true(w->host.staged > 0);
}

static void large_reads_are_placed(struct world *w)
{
	connect_queue(w);
	check_io(w, 40, PEER_MEM / DEPTH);
	assert_true(w->host.direct > 0);
}

/* Keys change in the middle of commands, on either side's wish. */
static void keys_change_under_way(struct world *w)
{
	w->peer->rekey_every = 3;
	w->peer->chunk = 5000;
	w->o.ddgst = NOFI_DIGEST_ON;
	connect_queue(w);
	check_io(w, 150, 64 * 1024);
	assert_true(w->host.rekeys_in > 10);
	assert_true(w->host.rekeys_out > 5);
	assert_int_equal(w->peer->rekeys_in, w->host.rekeys_out);
}

static void after_a_handover_bytes_are_plain(struct world *w)
{
	w->host.is_handover = 1;
	w->peer->is_handover = true;
	connect_queue(w);
	check_io(w, 60, 256 * 1024);
	assert_int_equal(w->host.direct + w->host.staged, 0);
}

static void without_a_stream_nothing_is_in_between(struct world *w)
{
	w->o.stream = NULL;
	w->peer->is_plain = true;
	connect_queue(w);
	check_io(w, 60, 256 * 1024);
	assert_int_equal(w->host.starts, 0);
}

/* MPTCP that becomes TCP in its handshake has become it before the stream's. */
static void a_fallback_precedes_the_handshake(struct world *w)
{
	struct nofi_sock_info info;

	if (!w->is_mptcp) {
		w->o.sock.mptcp = NOFI_MPTCP_PREFER;
		connect_queue(w);
		check_io(w, 20, 64 * 1024);
		assert_int_equal(nofi_queue_get_info(w->q, &info), 0);
		assert_false(info.proto.is_mptcp);
		return;
	}
	peer_free(w->peer);
	w->peer = peer_new(false, &w->o.addr.sa, &w->o.addr.len);
	start(w);
	run_until(w, is_settled);
	assert_true(w->is_dead);
	assert_int_equal(w->code, -EPROTONOSUPPORT);
	assert_int_equal(w->peer->in.len, 0);
}

/* ---- handshakes that fail ---- */

static void check_death(struct world *w, int code, const char *say)
{
	run_until(w, is_dead);
	if (w->code != code || !strstr(w->why, say))
		fail_msg("died of %d, \"%s\", and not of %d, \"… %s …\"", w->code, w->why, code,
			 say);
	assert_memory_equal(w->why, "queue 1 to 127.0.0.1:", 21);
	assert_int_equal(w->out, 0);
}

static void refuse(struct world *w, enum peer_fault fault, int code, const char *say)
{
	w->peer->fault = fault;
	start(w);
	check_death(w, code, say);
	assert_false(w->is_ready);
}

static void the_deadline_covers_a_silent_handshake(struct world *w)
{
	w->o.connect_timeout_ns = SECOND / 20;
	refuse(w, PEER_SILENT, -ETIMEDOUT, "the scramble handshake did not end within 50 ms");
}

static void the_deadline_covers_an_endless_handshake(struct world *w)
{
	w->o.connect_timeout_ns = SECOND / 20;
	refuse(w, PEER_CHATTY, -ETIMEDOUT, "the scramble handshake did not end within 50 ms");
	assert_true(w->host.records_in > 0);
}

static void a_peer_that_leaves_is_told(struct world *w)
{
	refuse(w, PEER_LEAVES, -ECONNRESET, "during the scramble handshake");
}

static void a_refusal_is_told_as_it_came(struct world *w)
{
	refuse(w, PEER_REFUSES, -EACCES, "the target refused: no such identity");
}

static void another_secret_is_told(struct world *w)
{
	refuse(w, PEER_OTHER_KEY, -EBADMSG, "the target has another secret");
}

static void a_plain_target_is_told(struct world *w)
{
	refuse(w, PEER_ANSWERS_PLAIN, -EBADMSG, "does not speak it");
}

/* ---- connections that end ---- */

/* With commands under way: each completes once, and none says that it was good when it was not. */
static void end_in_the_middle(struct world *w, enum peer_fault fault, int code, const char *say)
{
	w->peer->fault = fault;
	w->peer->fault_at = 40;
	w->peer->chunk = 7000;
	connect_queue(w);
	begin_io(w, 10000, 32 * 1024);
	check_death(w, code, say);
	assert_int_equal(w->failed, DEPTH);
	assert_int_equal(w->error, code);
	assert_string_equal(w->detail, w->why);
}

static void an_altered_record_ends_it(struct world *w)
{
	end_in_the_middle(w, PEER_ALTERS, -EBADMSG, "a record was altered on its way");
}

static void half_a_record_ends_it(struct world *w)
{
	end_in_the_middle(w, PEER_CUTS_RECORD, -ECONNABORTED, "in the middle of a record");
}

static void an_end_that_was_not_said_is_an_error(struct world *w)
{
	end_in_the_middle(w, PEER_CUTS, -ECONNABORTED, "did not say that it ends");
}

static void an_end_that_was_said_is_the_end(struct world *w)
{
	end_in_the_middle(w, PEER_ENDS, -ECONNRESET, "the target closed the connection");
}

static void a_stray_record_ends_it(struct world *w)
{
	end_in_the_middle(w, PEER_STRAY, -EPROTO, "has no business here");
}

/* T-20 through a stream: the last words are a whole record, and its end is said. */
static void last_words_go_through_it(struct world *w)
{
	w->peer->fault = PEER_BREAKS_PROTOCOL;
	w->peer->fault_at = 1;
	connect_queue(w);
	begin_io(w, 1, 512);
	check_death(w, -EPROTO, "broke the NVMe/TCP protocol");
	run_until(w, has_host_left);
	assert_true(w->peer->got_term);
	assert_true(w->peer->got_end);
	assert_int_equal(w->peer->bad, 0);
}

/* ---- the caller ends it ---- */

static void free_in_the_handshake(struct world *w)
{
	w->peer->fault = PEER_SILENT;
	start(w);
	while (w->peer->phase == 0 && !w->peer->rx.seq) {
		assert_true(nof_loop_process(w->loop) >= 0);
		peer_pump(w->peer);
	}
	nofi_queue_free(w->q);
	w->q = NULL;
	run_until(w, has_host_left);
	assert_false(w->is_dead);
	assert_int_equal(w->host.frees, 1);
}

static bool has_some(struct world *w)
{
	return w->good >= 20;
}

static void free_under_load(struct world *w)
{
	connect_queue(w);
	begin_io(w, 10000, 200 * 1024);
	run_until(w, has_some);
	w->left = 0;
	nofi_queue_free(w->q);
	w->q = NULL;
	assert_int_equal(w->out, 0);
	assert_int_equal(w->error, -ECANCELED);
	run_until(w, has_host_left);
	assert_int_equal(w->host.frees, 1);
}

/* ---- */

struct combination {
	void (*fn)(struct world *w);
	bool is_mptcp;
	enum nof_engine engine;
};

static void run(void **state)
{
	struct combination *c = *state;
	struct world *w = new_world(c->is_mptcp, c->engine);

	c->fn(w);
	free_world(w);
}

#define CASE(name) { #name, name }
static const struct { const char *name; void (*fn)(struct world *w); } cases[] = {
	CASE(any_pieces_any_sizes),
	CASE(large_reads_are_placed),
	CASE(keys_change_under_way),
	CASE(after_a_handover_bytes_are_plain),
	CASE(without_a_stream_nothing_is_in_between),
	CASE(a_fallback_precedes_the_handshake),
	CASE(the_deadline_covers_a_silent_handshake),
	CASE(the_deadline_covers_an_endless_handshake),
	CASE(a_peer_that_leaves_is_told),
	CASE(a_refusal_is_told_as_it_came),
	CASE(another_secret_is_told),
	CASE(a_plain_target_is_told),
	CASE(an_altered_record_ends_it),
	CASE(half_a_record_ends_it),
	CASE(an_end_that_was_not_said_is_an_error),
	CASE(an_end_that_was_said_is_the_end),
	CASE(a_stray_record_ends_it),
	CASE(last_words_go_through_it),
	CASE(free_in_the_handshake),
	CASE(free_under_load),
};

enum { CASES = sizeof(cases) / sizeof(cases[0]), WAYS = 4 };

int main(void)
{
	static struct combination all[CASES * WAYS];
	static char names[CASES * WAYS][96];
	static struct CMUnitTest tests[CASES * WAYS];

	for (unsigned i = 0; i < CASES * WAYS; i++) {
		bool is_mptcp = i % WAYS & 1, is_epoll = i % WAYS & 2;

		all[i] = (struct combination){ cases[i / WAYS].fn, is_mptcp,
					       is_epoll ? NOF_ENGINE_EPOLL : NOF_ENGINE_IO_URING };
		snprintf(names[i], sizeof(names[i]), "%s, %s, %s", cases[i / WAYS].name,
			 is_mptcp ? "MPTCP" : "TCP", is_epoll ? "epoll" : "io_uring");
		tests[i] = (struct CMUnitTest){ names[i], run, NULL, NULL, &all[i] };
	}
	return _cmocka_run_group_tests("stream", tests, CASES * WAYS, NULL, NULL);
}
