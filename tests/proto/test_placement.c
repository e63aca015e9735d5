/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The option queue_paths: which connection goes from and to where, in the first association
 * and in the next, and what becomes of an entry that cannot be connected. All addresses of
 * 127/8 are ours: no network is needed.
 */
#include "rig.h"

enum { QUEUES = 4 };

struct spread {
	struct nof_chan *chan[QUEUES];
	uint64_t received[QUEUES];
};

static void open_all(struct rig *r, struct spread *s)
{
	s->chan[0] = r->chan;
	for (int i = 1; i < QUEUES; i++)
		assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_chan_open(
			r->ns, r->loop, &s->chan[i], rig_done, op))), 0);
}

static void close_all(struct spread *s)
{
	for (int i = 1; i < QUEUES; i++)
		nof_chan_close(s->chan[i]);
}

static void read_all(struct rig *r, struct spread *s)
{
	static char buf[4096];

	for (int i = 0; i < QUEUES; i++)
		assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_read(s->chan[i], buf, sizeof(buf), 0,
								   0, rig_done, op))), 0);
}

static bool is_from(const struct nof_transport *t, const char *addr)
{
	size_t len = strlen(addr);

	return t->subflow_count && !strncmp(t->subflows[0].local, addr, len) &&
	       t->subflows[0].local[len] == ':';
}

/* odd, even: where queues 1, 3 and 2, 4 are to come from. */
static void expect(struct spread *s, const char *odd, const char *even)
{
	unsigned seen = 0;

	for (int i = 0; i < QUEUES; i++) {
		struct nof_transport t = { .size = sizeof(t) };
		uint16_t qid = nof_chan_get_qid(s->chan[i]);

		assert_int_equal(nof_chan_get_transport(s->chan[i], &t), 0);
		assert_int_equal(t.qid, qid);
		if (!is_from(&t, qid & 1 ? odd : even))
			fail_msg("queue %u is from %s", qid, t.subflows[0].local);
		seen |= 1u << qid;
	}
	assert_int_equal(seen, 0x1e);
}

static void expect_admin(struct rig *r, const char *from)
{
	struct nof_transport t = { .size = sizeof(t) };

	assert_int_equal(nof_ctrl_get_transport(r->ctrl, &t), 0);
	if (!is_from(&t, from))
		fail_msg("the admin queue is from %s", t.subflows[0].local);
}

#define OPTS "nr_io_queues=4&ctrl_loss_tmo=60&reconnect_delay=0.05&queue_paths="

static void lose(struct rig *r, const char *fault)
{
	uint32_t before = r->states[NOF_CTRL_LIVE].count;
	static char buf[512];

	rig_fault(r, fault);
	rig_submit_read(r, buf, sizeof(buf), 0);
	RIG_UNTIL(r, r->states[NOF_CTRL_LIVE].count > before);
	rig_finish_all(r);
}

static void t_spread(struct rig *r)
{
	struct spread s;

	rig_target(r, "--queues=4", NULL);
	rig_open(r, OPTS "127.0.0.2,127.0.0.3");
	open_all(r, &s);
	expect_admin(r, "127.0.0.2");
	expect(&s, "127.0.0.2", "127.0.0.3");
	for (int i = 0; i < 2; i++) {
		lose(r, "on=read nth=1 do=reset");
		read_all(r, &s);
		expect(&s, "127.0.0.2", "127.0.0.3");
	}
	close_all(&s);
	assert_int_equal(rig_disconnect(r), 0);
}

/* What cannot be connected does without: nothing listens on port 1. */
static void t_next_entry(struct rig *r)
{
	struct spread s;

	rig_target(r, "--queues=4", NULL);
	rig_open(r, OPTS "127.0.0.2-127.0.0.1:1,127.0.0.3");
	open_all(r, &s);
	expect_admin(r, "127.0.0.3");
	expect(&s, "127.0.0.3", "127.0.0.3");
	lose(r, "on=read nth=1 do=reset");
	read_all(r, &s);
	expect(&s, "127.0.0.3", "127.0.0.3");
	close_all(&s);
	assert_int_equal(rig_disconnect(r), 0);
}

/* An address that this machine has not (any more): refused before a packet is sent. */
static void t_lost_address(struct rig *r)
{
	struct spread s;

	rig_target(r, "--queues=4", NULL);
	rig_open(r, OPTS "127.0.0.2,192.0.2.1");
	open_all(r, &s);
	expect_admin(r, "127.0.0.2");
	expect(&s, "127.0.0.2", "127.0.0.2");
	close_all(&s);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_none_works(struct rig *r)
{
	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, "queue_paths=127.0.0.2-127.0.0.1:1,-127.0.0.1:1"),
			 -ECONNREFUSED);
	assert_non_null(strstr(r->last->detail, "none of the 2 ways (queue_paths) to"));
	rig_close(r);
	assert_int_equal(rig_connect(r, "queue_paths=::1"), -EAFNOSUPPORT);
	assert_non_null(strstr(r->last->detail, "of the sources in queue_paths"));
}

/* The target ends the queue that came by the second entry: the admin queue keeps the first. */
static void t_admin_follows(struct rig *r)
{
	struct spread s;

	rig_target(r, "--queues=4", NULL);
	rig_open(r, OPTS "127.0.0.2,127.0.0.3");
	open_all(r, &s);
	expect_admin(r, "127.0.0.2");
	/* r->chan's queue is 1, by the first entry: that is avoided when it was lost. */
	assert_int_equal(nof_chan_get_qid(r->chan), 1);
	lose(r, "on=read nth=1 do=reset");
	expect_admin(r, "127.0.0.3");
	read_all(r, &s);
	close_all(&s);
	assert_int_equal(rig_disconnect(r), 0);
}

static const struct rig_test tests[] = {
	{ "spread", t_spread },
	{ "next_entry", t_next_entry },
	{ "lost_address", t_lost_address },
	{ "none_works", t_none_works },
	{ "admin_follows", t_admin_follows },
};

int main(void)
{
	return rig_main("placement", tests, ARRAY_SIZE(tests));
}
