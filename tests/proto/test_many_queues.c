/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hundreds of I/O queues on one loop: each command completes once, each connection is closed,
 * and what the process may not have more of is named. Many controllers connect at the same
 * time, and one target that is silent keeps none of the others waiting.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rig.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SLOW 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SLOW 1
#endif
#ifdef IS_SLOW
enum { QUEUES = 60, CTRLS = 20 };
#else
enum { QUEUES = 400, CTRLS = 100 };
#endif
enum { AT_ONCE = 3, LEN = 4096 };

static struct nof_chan *chans[QUEUES];
static uint8_t (*blocks)[LEN];		/* one for each read under way */

static void open_queues(struct rig *r, unsigned n)
{
	char uri[64];

	rig_target(r, "--queues=1024 --max-conns=1100", NULL);
	snprintf(uri, sizeof(uri), "nr_io_queues=%u", n);
	assert_int_equal(rig_connect(r, uri), 0);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	for (unsigned i = 0; i < n; i++) {
		chans[i] = NULL;
		RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &chans[i], rig_done, op));
	}
	rig_finish_all(r);
	for (unsigned i = 0; i < n; i++)
		assert_non_null(chans[i]);
}

static void close_queues(struct rig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		nof_chan_close(chans[i]);
		chans[i] = NULL;
	}
	rig_close(r);
	rig_all_closed(r);
}

/* Every queue has a connection of its own; all are readable at once, over and over. */
static void t_every_command_completes_once(struct rig *r)
{
	static bool is_seen[1025];

	open_queues(r, QUEUES);
	memset(is_seen, 0, sizeof(is_seen));
	for (unsigned i = 0; i < QUEUES; i++) {
		uint16_t qid = nof_chan_get_qid(chans[i]);

		assert_in_range(qid, 1, QUEUES);
		assert_false(is_seen[qid]);
		is_seen[qid] = true;
	}
	blocks = calloc(QUEUES * AT_ONCE, LEN);
	assert_non_null(blocks);
	for (unsigned i = 0; i < QUEUES; i++) {
		rig_fill(blocks[i], LEN, i);
		RIG_SUBMIT(r, nof_write(chans[i], blocks[i], LEN, (uint64_t)i * LEN, 0, rig_done,
					op));
	}
	rig_finish_all(r);
	for (unsigned round = 0; round < 2; round++) {
		memset(blocks, 0, (size_t)QUEUES * AT_ONCE * LEN);
		for (unsigned i = 0; i < QUEUES * AT_ONCE; i++)
			RIG_SUBMIT(r, nof_read(chans[i % QUEUES], blocks[i], LEN,
					       (uint64_t)(i % QUEUES) * LEN, 0, rig_done, op));
		rig_finish_all(r);
		for (unsigned i = 0; i < QUEUES * AT_ONCE; i++)
			assert_true(rig_is_filled(blocks[i], LEN, i % QUEUES));
	}
	for (struct rig_op *op = r->ops; op; op = op->next) {
		assert_int_equal(op->count, 1);
		assert_int_equal(op->error, 0);
	}
	close_queues(r, QUEUES);
	free(blocks);
}

/* Closed with reads on all of them: those end, too, as answered or as canceled. */
static void t_closing_completes_what_is_in_flight(struct rig *r)
{
	open_queues(r, QUEUES);
	blocks = calloc(QUEUES, LEN);
	assert_non_null(blocks);
	for (unsigned i = 0; i < QUEUES; i++)
		RIG_SUBMIT(r, nof_read(chans[i], blocks[i], LEN, 0, 0, rig_done, op));
	for (unsigned i = 0; i < QUEUES; i++)
		nof_chan_close(chans[i]);
	rig_finish_all(r);
	for (struct rig_op *op = r->ops; op; op = op->next) {
		assert_int_equal(op->count, 1);
		assert_true(op->error == 0 || op->error == -ECANCELED);
	}
	rig_close(r);
	rig_all_closed(r);
	free(blocks);
}

/* ---- many controllers at once ---- */

/* Takes connections, and never says anything. */
static int silent_listener(uint16_t *port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	*port = ntohs(sa.sin_port);
	return fd;
}

static void t_a_silent_target_delays_no_other(struct rig *r)
{
	static struct nof_ctrl *ctrls[CTRLS];
	static struct rig_op *ops[CTRLS];
	struct nof_opts opts, dead_opts;
	struct nof_ctrl *dead;
	struct rig_op *dead_op;
	uint16_t port;
	int fd = silent_listener(&port);

	rig_target(r, "--max-conns=1100", NULL);
	rig_loop(r);
	rig_opts(r, "nr_io_queues=1", &opts);
	rig_opts(r, "nr_io_queues=1&connect_timeout=60&mptcp=off", &dead_opts);
	snprintf(dead_opts.trsvcid, sizeof(dead_opts.trsvcid), "%u", port);
	assert_int_equal(nof_ctrl_new(r->loop, &dead_opts, NULL, NULL, &dead), 0);
	dead_op = RIG_SUBMIT(r, nof_ctrl_connect(dead, rig_done, op));
	for (unsigned i = 0; i < CTRLS; i++) {
		assert_int_equal(nof_ctrl_new(r->loop, &opts, rig_on_event, r, &ctrls[i]), 0);
		ops[i] = RIG_SUBMIT(r, nof_ctrl_connect(ctrls[i], rig_done, op));
	}
	for (unsigned i = 0; i < CTRLS; i++) {
		assert_int_equal(rig_finish(ops[i]), 0);
		assert_int_equal(nof_ctrl_get_state(ctrls[i]), NOF_CTRL_LIVE);
	}
	assert_int_equal(dead_op->count, 0);
	nof_ctrl_free(dead);
	assert_int_equal(rig_finish(dead_op), -ECANCELED);
	for (unsigned i = 0; i < CTRLS; i++)
		nof_ctrl_free(ctrls[i]);
	close(fd);
	rig_all_closed(r);
}

/* ---- limits ---- */

/* The next descriptors up to so many can be had, no more. */
static void limit_files(unsigned more, struct rlimit *old)
{
	int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct rlimit rl;

	assert_true(next >= 0);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, old), 0);
	rl = *old;
	rl.rlim_cur = (rlim_t)next + more;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &rl), 0);
}

static void t_the_limit_of_files_is_named(struct rig *r)
{
	enum { WANTED = 16, LEFT = 5 };
	struct nof_loop *loop = NULL;
	struct rig_op *last = NULL;
	struct rlimit old;
	unsigned opened = 0;

	rig_target(r, "--queues=64", NULL);
	assert_int_equal(rig_connect(r, "nr_io_queues=16"), 0);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	limit_files(LEFT, &old);
	for (; opened < WANTED; opened++) {
		chans[opened] = NULL;
		last = RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &chans[opened], rig_done,
						   op));
		if (last->is_refused || rig_finish(last))
			break;
	}
	/* With the loop's own way of saying no: a channel, and a loop. */
	assert_in_range(opened, 1, LEFT);
	assert_int_equal(last->error, -EMFILE);
	assert_non_null(strstr(last->detail, "RLIMIT_NOFILE"));
	assert_non_null(strstr(last->detail, "ulimit -n"));
	setrlimit(RLIMIT_NOFILE, &old);
	limit_files(0, &old);
	RIG_REFUSES(nof_loop_new(NULL, &loop), EMFILE);
	assert_non_null(strstr(nof_strerror_detail(), "RLIMIT_NOFILE"));
	setrlimit(RLIMIT_NOFILE, &old);
	/* As soon as there is room again it works. */
	assert_int_equal(rig_open_chan(r), 0);
	while (opened--)
		nof_chan_close(chans[opened]);
	rig_close(r);
}

static const struct rig_test tests[] = {
	{ "every command completes once", t_every_command_completes_once, NULL },
	{ "closing completes what is in flight", t_closing_completes_what_is_in_flight, NULL },
	{ "a silent target delays no other", t_a_silent_target_delays_no_other, NULL },
	{ "the limit of files is named", t_the_limit_of_files_is_named, NULL },
};

int main(void)
{
	return rig_main("many_queues", tests, ARRAY_SIZE(tests));
}
