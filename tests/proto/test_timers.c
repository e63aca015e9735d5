/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * No wait without a deadline: keep alive (F-14, F-15), command timers (2.5), and what
 * happens when they run out. Times are measured generously upwards: machines are slow.
 */
#include "rig.h"

static void idle(struct rig *r, int ms)
{
	uint64_t until = rig_now_ms() + (uint64_t)ms;

	while (rig_now_ms() < until)
		rig_turn(r, (int)(until - rig_now_ms()));
	rig_check(r);
}

/* F-14: one keep alive every half interval, and none when there is nothing to keep. */
static void t_keep_alives_come(struct rig *r)
{
	uint64_t start, n;

	rig_target(r, NULL, "on=keepalive do=split:0");
	start = rig_now_ms();
	rig_open(r, "keep_alive_tmo=0.4");
	idle(r, 1100);
	n = rig_stat(r, "faults_fired");
	assert_in_range(n, 4, (rig_now_ms() - start) / 200);
	assert_int_equal(r->failures, 0);
	assert_int_equal(rig_stat(r, "kato_expired"), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_no_keep_alive(struct rig *r)
{
	struct nof_ctrl_info info = { .size = sizeof(info) };
	char buf[512];

	rig_target(r, NULL, "on=keepalive do=split:0");
	rig_open(r, "keep_alive_tmo=0");
	assert_int_equal(nof_ctrl_get_info(r->ctrl, &info), 0);
	assert_int_equal(info.keep_alive_ms, 0);
	idle(r, 600);
	assert_int_equal(rig_stat(r, "faults_fired"), 0);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

struct silence {
	const char *fault;
	int error;
	const char *says;
	int min_ms, max_ms;
};

/* F-15 */
static void t_keep_alive_lost(struct rig *r)
{
	const struct silence *k = r->arg;
	uint64_t start;
	char buf[512];

	rig_target(r, "--kato-check=off", k->fault);
	rig_open(r, "keep_alive_tmo=0.4");
	start = rig_now_ms();
	RIG_UNTIL(r, r->failures);
	assert_in_range(rig_now_ms() - start, k->min_ms, k->max_ms);
	assert_int_equal(r->failure_error, k->error);
	if (!strstr(r->failure, k->says))
		fail_msg("want \"%s\": %s", k->says, r->failure);
	RIG_REFUSES(nof_read(r->chan, buf, sizeof(buf), 0, 0, rig_done, NULL), ENOTCONN);
	rig_all_closed(r);
}

/* Keep alives have a slot of their own: all others may be taken. */
static void t_keep_alive_beside_full_queue(struct rig *r)
{
	rig_target(r, NULL, "on=keepalive do=split:0; on=identify cns=0 do=drop");
	assert_int_equal(rig_connect(r, "keep_alive_tmo=0.3&admin_timeout=3"), 0);
	/* One runs, the others wait; none of them is answered. */
	for (int i = 0; i < 50; i++)
		RIG_SUBMIT(r, nof_ns_open(r->ctrl, "1", &r->ns, rig_done, op));
	RIG_UNTIL(r, rig_stat(r, "faults_fired") >= 5);	/* and the one identify */
	assert_int_equal(r->failures, 0);
	nof_ctrl_free(r->ctrl);
	r->ctrl = NULL;
	for (struct rig_op *op = r->ops; op && op->next; op = op->next)
		assert_int_equal(op->error, -ECANCELED);
}

/* 2.5: one command is never answered; all of the queue complete, each once. */
static void t_io_timeout(struct rig *r)
{
	enum { N = 16 };
	struct rig_op *ops[N];
	char buf[N][512];
	uint64_t start;

	rig_target(r, NULL, "on=read nth=5 do=drop; on=read nth=9- do=drop");
	rig_open(r, "io_timeout=0.3");
	start = rig_now_ms();
	for (int i = 0; i < N; i++)
		ops[i] = rig_submit_read(r, buf[i], sizeof(buf[i]), 0);
	rig_finish_all(r);
	assert_in_range(rig_now_ms() - start, 290, 1500);
	for (int i = 0; i < N; i++)
		assert_int_equal(ops[i]->error, i == 4 || i >= 8 ? -ETIMEDOUT : 0);
	assert_non_null(strstr(ops[4]->detail, "opcode 02h"));
	RIG_UNTIL(r, r->failures);
	assert_int_equal(r->failure_error, -ETIMEDOUT);
	rig_all_closed(r);
}

/* The timer of a queue follows its oldest command, not the first it ever saw. */
static void t_timeout_after_traffic(struct rig *r)
{
	uint64_t start;
	char buf[512];

	rig_target(r, NULL, NULL);
	rig_open(r, "io_timeout=0.4");
	start = rig_now_ms();
	while (rig_now_ms() - start < 300)
		assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	rig_fault(r, "on=read do=drop");
	start = rig_now_ms();
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), -ETIMEDOUT);
	assert_in_range(rig_now_ms() - start, 390, 1500);
}

/* A slow answer within the time is a good answer. */
static void t_slow_is_not_lost(struct rig *r)
{
	char buf[4096];

	rig_target(r, NULL, "on=read do=delay:300");
	rig_open(r, "io_timeout=5");
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	rig_fault(r, "on=c2hdata for=read do=delay:300");
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

#define ADMIN(name_, what_, error_, says_)                                              \
	RIG_CASE("admin_timeout_" name_, .fault = "on=" what_ " do=drop",                 \
		 .uri = "admin_timeout=0.3", .act = ACT_CONNECT, .error = error_,         \
		 .fes = NO_TERM, .says = says_)

#define LOST(name_, ...) { name_, t_keep_alive_lost, &(const struct silence){ __VA_ARGS__ } }

static const struct rig_test tests[] = {
	{ "f14_keep_alives_come", t_keep_alives_come },
	{ "f14_none", t_no_keep_alive },
	LOST("f15_silent_target", "on=keepalive do=silence", -ETIMEDOUT, "no answer", 390, 1800),
	LOST("f15_unanswered", "on=keepalive do=drop", -ETIMEDOUT, "no answer", 390, 1800),
	LOST("f15_stops_after_some", "on=keepalive nth=3- do=drop", -ETIMEDOUT, "no answer", 700,
	     2500),
	LOST("f15_expired", "on=keepalive do=status:0x19", -ETIMEDOUT, "association", 100, 1500),
	LOST("f15_refused", "on=keepalive do=status:6/dnr", -EIO, "association", 100, 1500),
	{ "f14_own_slot", t_keep_alive_beside_full_queue },
	{ "io_timeout", t_io_timeout },
	{ "io_timeout_after_traffic", t_timeout_after_traffic },
	{ "slow_is_not_lost", t_slow_is_not_lost },
	ADMIN("connect", "connect", -ETIMEDOUT, "Connect"),
	ADMIN("propget", "propget", -ETIMEDOUT, "CAP"),
	ADMIN("propset", "propset", -ETIMEDOUT, "CC"),
	ADMIN("identify", "identify", -ETIMEDOUT, "Identify"),
	ADMIN("features", "setfeatures fid=7", -ETIMEDOUT, "queues"),
	RIG_CASE("admin_timeout_io_connect", .fault = "on=connect qid=1 do=drop",
		 .uri = "admin_timeout=0.3", .act = ACT_OPEN, .error = -ETIMEDOUT, .fes = ANY_TERM),
};

int main(void)
{
	return rig_main("timers", tests, ARRAY_SIZE(tests));
}
