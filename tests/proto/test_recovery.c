/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is lost comes back, or fails in bounded time, as the options say: each way of
 * losing an association (T-22, F-15, 2.5), the ends of recovery, and what a user may do
 * meanwhile. Counted and ordered, not timed, but where a time is what is promised.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rig.h"

#define FAST "ctrl_loss_tmo=20&reconnect_delay=0.2&"

/* ---- a resolver of our own: the library's calls of getaddrinfo() end here ---- */

static struct {
	atomic_int error;		/* EAI_…, 0: 127.0.0.1 */
	atomic_int calls;
	atomic_uint first;		/* another address in front, or 0 */
} names;

__attribute__((visibility("default")))
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **res)
{
	const uint32_t ip[2] = { atomic_load(&names.first), INADDR_LOOPBACK };
	int error = atomic_load(&names.error);

	(void)node;
	(void)hints;
	atomic_fetch_add(&names.calls, 1);
	*res = NULL;
	if (error)
		return error;
	for (int i = 1; i >= 0; i--) {
		struct {
			struct addrinfo ai;
			struct sockaddr_in sin;
		} *a;

		if (!ip[i])
			continue;
		a = calloc(1, sizeof(*a));
		assert_non_null(a);
		a->sin.sin_family = AF_INET;
		a->sin.sin_addr.s_addr = htonl(ip[i]);
		a->sin.sin_port = htons((uint16_t)atoi(service));
		a->ai.ai_family = AF_INET;
		a->ai.ai_socktype = SOCK_STREAM;
		a->ai.ai_addr = (struct sockaddr *)&a->sin;
		a->ai.ai_addrlen = sizeof(a->sin);
		a->ai.ai_next = *res;
		*res = &a->ai;
	}
	return 0;
}

__attribute__((visibility("default")))
void freeaddrinfo(struct addrinfo *ai)
{
	while (ai) {
		struct addrinfo *next = ai->ai_next;

		free(ai);
		ai = next;
	}
}

/* ---- helpers ---- */

static struct nof_ctrl_stats stats_of(const struct nof_ctrl *ctrl)
{
	struct nof_ctrl_stats s = { .size = sizeof(s) };

	assert_int_equal(nof_ctrl_get_stats(ctrl, &s), 0);
	return s;
}

static void reopen(struct rig *r)
{
	nof_chan_close(r->chan);
	r->chan = NULL;
	/* The target has to have seen its end, or the queue's id is still in use. */
	RIG_UNTIL(r, rig_stat(r, "conns") <= 1);
	nof_ns_close(r->ns);
	r->ns = NULL;
	if (rig_open_ns(r, NULL) || rig_open_chan(r))
		fail_msg("%s", r->last->detail);
}

/* The new association does what the old one did. */
static void works(struct rig *r)
{
	uint8_t out[4096], in[4096];

	rig_fill(out, sizeof(out), 7);
	if (rig_write(r, out, sizeof(out), 8192, 0))
		fail_msg("%s", r->last->detail);
	assert_int_equal(rig_read(r, in, sizeof(in), 8192, 0), 0);
	assert_memory_equal(in, out, sizeof(in));
}

/* ---- ways to lose it, all of which end well ---- */

enum trigger { READ, FLUSH, DROP_IO, DROP_ADMIN, WAIT };

struct loss {
	const char *target;
	const char *fault;		/* set once it works */
	const char *uri;
	enum trigger trigger;
	const char *says;		/* part of the sentence of RESETTING */
	int error;			/* of that event; 0: not looked at */
};

static void t_loss(struct rig *r)
{
	const struct loss *k = r->arg;
	char uri[256], buf[4096];
	struct rig_op *one = NULL;
	struct nof_ctrl_stats s;

	rig_target(r, k->target, NULL);
	snprintf(uri, sizeof(uri), FAST "%s", k->uri ? k->uri : "nr_io_queues=1");
	rig_open(r, uri);
	works(r);
	if (k->fault)
		rig_fault(r, k->fault);
	switch (k->trigger) {
	case READ:
		one = rig_submit_read(r, buf, sizeof(buf), 0);
		break;
	case FLUSH:
		one = RIG_SUBMIT(r, nof_flush(r->chan, rig_done, op));
		break;
	case DROP_IO:
		assert_string_equal(rig_control(r, "drop io"), "ok");
		break;
	case DROP_ADMIN:
		assert_string_equal(rig_control(r, "drop admin"), "ok");
		break;
	case WAIT:
		break;
	}
	RIG_UNTIL(r, r->states[NOF_CTRL_LIVE].count == 2);
	if (one)
		rig_finish(one);
	assert_int_equal(r->states[NOF_CTRL_RESETTING].count, 1);
	assert_int_equal(r->states[NOF_CTRL_CONNECTING].count, 2);
	assert_int_equal(r->failures, 0);
	if (!strstr(r->states[NOF_CTRL_RESETTING].detail, k->says))
		fail_msg("want \"%s\": %s", k->says, r->states[NOF_CTRL_RESETTING].detail);
	if (k->error)
		assert_int_equal(r->states[NOF_CTRL_RESETTING].error, k->error);
	assert_non_null(strstr(r->states[NOF_CTRL_CONNECTING].detail, "attempt 1"));
	assert_non_null(strstr(r->states[NOF_CTRL_LIVE].detail, "again"));
	s = stats_of(r->ctrl);
	assert_int_equal(s.resets, 1);
	assert_int_equal(s.reconnect_attempts, 1);
	assert_int_equal(s.reconnects, 1);
	reopen(r);
	works(r);
	assert_int_equal(rig_disconnect(r), 0);
}

/* ---- restarts ---- */

static void t_restart(struct rig *r)
{
	rig_keep_port(r);
	for (int i = 0; i < 3; i++) {
		rig_target(r, NULL, NULL);
		if (!i)
			rig_open(r, FAST);
		else
			RIG_UNTIL(r, r->states[NOF_CTRL_LIVE].count == (unsigned)i + 1);
		if (i)
			reopen(r);
		works(r);
		if (i == 2)
			break;
		rig_kill(r);
		/* Refused at once, each time: the pauses in between are what counts. */
		RIG_UNTIL(r, stats_of(r->ctrl).attempt == 3);
		assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_CONNECTING);
		assert_non_null(strstr(r->states[NOF_CTRL_CONNECTING].detail, "attempt "));
		assert_int_equal(r->states[NOF_CTRL_CONNECTING].error, -ECONNREFUSED);
		rig_target_restart(r);
	}
	assert_int_equal(stats_of(r->ctrl).resets, 2);
	assert_int_equal(stats_of(r->ctrl).reconnects, 2);
	assert_int_equal(r->failures, 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* F-11: what is granted may be less, or more, than last time. */
static void t_other_queues(struct rig *r)
{
	static const struct { const char *options; unsigned queues, size; } t[] = {
		{ "--queues=3 --queue-size=128", 3, 128 },
		{ "--queues=1 --queue-size=16", 1, 16 },
		{ "--queues=2 --queue-size=64", 2, 64 },
		{ "--queues=8 --queue-size=1024", 4, 128 },
	};
	struct nof_ctrl_info info = { .size = sizeof(info) };
	struct nof_chan *more[3] = { NULL };

	rig_keep_port(r);
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		rig_target(r, t[i].options, NULL);
		if (!i)
			rig_open(r, FAST "nr_io_queues=4");
		RIG_UNTIL(r, r->states[NOF_CTRL_LIVE].count == i + 1);
		assert_int_equal(nof_ctrl_get_info(r->ctrl, &info), 0);
		assert_int_equal(info.nr_io_queues, t[i].queues);
		assert_int_equal(info.queue_size, t[i].size);
		reopen(r);
		for (unsigned k = 0; k < ARRAY_SIZE(more); k++) {
			if (rig_finish(RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &more[k],
								   rig_done, op))))
				fail_msg("%s", r->last->detail);
			assert_in_range(nof_chan_get_qid(more[k]), 1, t[i].queues);
		}
		works(r);
		for (unsigned k = 0; k < ARRAY_SIZE(more); k++)
			nof_chan_close(more[k]);
		if (i + 1 < ARRAY_SIZE(t)) {
			rig_kill(r);
			rig_target_restart(r);
		}
	}
	assert_int_equal(rig_disconnect(r), 0);
}

/* F-12: what came and went while nobody could tell. */
static struct {
	char text[1024];		/* "+2 -1 "; "?": there was more */
} seen;

static void on_ns_event(void *arg, const struct nof_event *ev)
{
	size_t n = strlen(seen.text);

	rig_on_event(arg, ev);
	if (ev->type == NOF_EVENT_NS_ADDED || ev->type == NOF_EVENT_NS_REMOVED)
		snprintf(seen.text + n, sizeof(seen.text) - n, "%s%u ",
			 ev->type == NOF_EVENT_NS_ADDED ? "+" : "-", ev->nsid);
	if (ev->type == NOF_EVENT_NS_CHANGED && !ev->nsid)
		snprintf(seen.text + n, sizeof(seen.text) - n, "?");
}

static void t_other_namespaces(struct rig *r)
{
	static const struct { const char *options, *want; } t[] = {
		{ "--ns=mem:1M,nsid=1 --ns=mem:1M,nsid=3 --ns=mem:1M,nsid=7", "" },
		{ "--ns=mem:1M,nsid=2 --ns=mem:1M,nsid=3", "-1 +2 -7 " },
		{ "--ns=mem:1M,nsid=2 --ns=mem:1M,nsid=3", "" },
	};
	uint32_t nsids[4];

	rig_keep_port(r);
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		seen.text[0] = '\0';
		rig_target(r, t[i].options, NULL);
		if (!i) {
			rig_loop(r);
			rig_opts(r, FAST, &r->opts);
			assert_int_equal(nof_ctrl_new(r->loop, &r->opts, on_ns_event, r, &r->ctrl),
					 0);
			assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(r->ctrl,
							rig_done, op))), 0);
		}
		RIG_UNTIL(r, r->states[NOF_CTRL_LIVE].count == i + 1);
		RIG_UNTIL(r, strlen(seen.text) >= strlen(t[i].want));
		assert_string_equal(seen.text, t[i].want);
		assert_int_equal(nof_ctrl_get_nsids(r->ctrl, nsids, ARRAY_SIZE(nsids)), i ? 2 : 3);
		if (i + 1 == ARRAY_SIZE(t))
			break;
		rig_kill(r);
		rig_target_restart(r);
	}
	assert_int_equal(rig_disconnect(r), 0);
}

/* More than can wait: the user is told that some are missing, and of the state in any case. */
static void t_many_namespaces(struct rig *r)
{
	char options[2048] = "", last[8];
	size_t n = 0;

	for (int i = 1; i <= 60; i++)
		n += (size_t)snprintf(options + n, sizeof(options) - n, "--ns=null:1M,nsid=%d ", i);
	seen.text[0] = '\0';
	rig_keep_port(r);
	rig_target(r, "--ns=null:1M,nsid=100", NULL);
	rig_loop(r);
	rig_opts(r, FAST, &r->opts);
	assert_int_equal(nof_ctrl_new(r->loop, &r->opts, on_ns_event, r, &r->ctrl), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(r->ctrl, rig_done, op))), 0);
	rig_kill(r);
	rig_target_restart(r);
	rig_target(r, options, NULL);
	RIG_UNTIL(r, strstr(seen.text, "-100"));
	assert_int_equal(r->states[NOF_CTRL_LIVE].count, 2);
	assert_non_null(strchr(seen.text, '?'));
	assert_null(strchr(strchr(seen.text, '?') + 1, '?'));
	snprintf(last, sizeof(last), "+60 ");
	assert_non_null(strstr(seen.text, last));
	assert_int_equal(nof_ctrl_get_nsids(r->ctrl, NULL, 0), 60);
}

/* ---- ends ---- */

struct end {
	const char *uri;
	const char *fault;		/* NULL: the target is killed */
	int error;
	const char *says;
	unsigned attempts;		/* 0: not looked at */
	int min_ms, max_ms;		/* from the loss; 0: not looked at */
};

static void t_end(struct rig *r)
{
	const struct end *k = r->arg;
	uint64_t start;

	rig_target(r, NULL, NULL);
	rig_open(r, k->uri);
	if (k->fault)
		rig_fault(r, k->fault);
	start = rig_now_ms();
	if (k->fault)
		assert_string_equal(rig_control(r, "drop admin"), "ok");
	else
		rig_kill(r);
	RIG_UNTIL(r, r->failures);
	if (k->max_ms)
		assert_in_range(rig_now_ms() - start, k->min_ms, k->max_ms);
	assert_int_equal(r->failures, 1);
	assert_int_equal(r->failure_error, k->error);
	if (!strstr(r->failure, k->says))
		fail_msg("want \"%s\": %s", k->says, r->failure);
	if (k->attempts)
		assert_int_equal(stats_of(r->ctrl).reconnect_attempts, k->attempts);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_FAILED);
	RIG_REFUSES(nof_ctrl_reset(r->ctrl, rig_done, NULL), ENOTCONN);
	RIG_REFUSES(nof_ctrl_disconnect(r->ctrl, rig_done, NULL), ENOTCONN);
}

/* Refused, but not for good: tried again until it is accepted. */
static void t_busy_for_a_while(struct rig *r)
{
	rig_target(r, NULL, NULL);
	rig_open(r, FAST);
	rig_fault(r, "on=connect qid=0 nth=1-3 do=status:1/0x81; on=identify nth=1 do=close");
	rig_control(r, "drop admin");
	RIG_UNTIL(r, r->states[NOF_CTRL_LIVE].count == 2);
	assert_int_equal(stats_of(r->ctrl).reconnect_attempts, 5);
	reopen(r);
	works(r);
	assert_int_equal(rig_disconnect(r), 0);
}

/* ---- what the user does ---- */

static void t_reset(struct rig *r)
{
	struct rig_op *ops[3];
	struct nof_ctrl_info before = { .size = sizeof(before) }, after = before;

	rig_target(r, NULL, NULL);
	rig_open(r, r->arg);
	assert_int_equal(nof_ctrl_get_info(r->ctrl, &before), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
		ops[i] = RIG_SUBMIT(r, nof_ctrl_reset(r->ctrl, rig_done, op));
	/* What was accepted before ends, and nothing is accepted meanwhile. */
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_RESETTING);
	RIG_REFUSES(nof_ns_open(r->ctrl, "1", &r->ns, rig_done, NULL), ENOTCONN);
	assert_non_null(strstr(nof_strerror_detail(), "resetting"));
	rig_finish_all(r);
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
		assert_int_equal(ops[i]->error, 0);
	assert_int_equal(stats_of(r->ctrl).resets, 1);
	assert_int_equal(nof_ctrl_get_info(r->ctrl, &after), 0);
	assert_int_not_equal(before.cntlid, after.cntlid);
	reopen(r);
	works(r);
	if (r->drive != RIG_RUN) {
		assert_int_equal(nof_ctrl_reset_sync(r->ctrl), 0);
		assert_int_equal(stats_of(r->ctrl).resets, 2);
		reopen(r);
		works(r);
	}
	assert_int_equal(rig_disconnect(r), 0);
}

/* Operations of the user that run, or wait their turn, end with the reset. */
static void t_reset_with_ops(struct rig *r)
{
	struct nof_ns *ns[4] = { NULL };
	struct rig_op *ops[4], *reset;

	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, FAST), 0);
	rig_fault(r, "on=identify cns=0 nth=1 do=drop");
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
		ops[i] = RIG_SUBMIT(r, nof_ns_open(r->ctrl, "1", &ns[i], rig_done, op));
	RIG_UNTIL(r, rig_stat(r, "faults_fired"));
	reset = RIG_SUBMIT(r, nof_ctrl_reset(r->ctrl, rig_done, op));
	rig_finish_all(r);
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		assert_int_equal(ops[i]->error, -ECONNRESET);
		assert_null(ns[i]);
	}
	assert_int_equal(reset->error, 0);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	assert_int_equal(rig_open_chan(r), 0);
	works(r);
}

static void t_reset_refused(struct rig *r)
{
	struct rig_op *one;

	rig_target(r, NULL, NULL);
	rig_loop(r);
	rig_opts(r, FAST, &r->opts);
	assert_int_equal(nof_ctrl_new(r->loop, &r->opts, rig_on_event, r, &r->ctrl), 0);
	RIG_REFUSES(nof_ctrl_reset(NULL, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_ctrl_reset(r->ctrl, NULL, NULL), EINVAL);
	RIG_REFUSES(nof_ctrl_reset(r->ctrl, rig_done, NULL), ENOTCONN);
	one = RIG_SUBMIT(r, nof_ctrl_connect(r->ctrl, rig_done, op));
	RIG_REFUSES(nof_ctrl_reset(r->ctrl, rig_done, NULL), ENOTCONN);
	assert_int_equal(rig_finish(one), 0);
	one = RIG_SUBMIT(r, nof_ctrl_disconnect(r->ctrl, rig_done, op));
	RIG_REFUSES(nof_ctrl_reset(r->ctrl, rig_done, NULL), ENOTCONN);
	assert_int_equal(rig_finish(one), 0);
	RIG_REFUSES(nof_ctrl_reset(r->ctrl, rig_done, NULL), ENOTCONN);
}

/* Asked for with ctrl_loss_tmo=0: tried once, and the end if that fails. */
static void t_reset_fails(struct rig *r)
{
	struct rig_op *one;

	rig_target(r, NULL, "on=connect qid=0 nth=2- do=status:1/0x81");
	rig_open(r, NULL);
	one = RIG_SUBMIT(r, nof_ctrl_reset(r->ctrl, rig_done, op));
	assert_int_equal(rig_finish(one), -EBUSY);
	assert_int_equal(r->failures, 1);
	assert_int_equal(stats_of(r->ctrl).reconnect_attempts, 1);
}

enum what { DISCONNECT, FREE };
struct meddle {
	enum nof_ctrl_state in;		/* on the event of this state … */
	unsigned nth;			/* … the Nth time … */
	enum what what;			/* … the user does this, inside the callback or … */
	bool is_outside;		/* … as soon as it is over */
	bool has_target;		/* it comes back meanwhile */
};

static struct {
	struct rig *rig;
	const struct meddle *m;
	unsigned seen;
	bool is_due;
} meddler;

static void do_it(void)
{
	struct rig *r = meddler.rig;

	meddler.is_due = false;
	if (meddler.m->what == FREE) {
		nof_ctrl_free(r->ctrl);
		r->ctrl = NULL;
		/* rig_close() closes the channel and the namespace: that must be harmless. */
		return;
	}
	RIG_SUBMIT(r, nof_ctrl_disconnect(r->ctrl, rig_done, op));
}

static void on_event(void *arg, const struct nof_event *ev)
{
	rig_on_event(arg, ev);
	if (ev->type != NOF_EVENT_CTRL_STATE || ev->state != meddler.m->in ||
	    ++meddler.seen != meddler.m->nth)
		return;
	meddler.is_due = true;
	if (!meddler.m->is_outside)
		do_it();
}

static void t_meddle(struct rig *r)
{
	const struct meddle *m = r->arg;
	struct rig_op *reset;

	meddler.rig = r;
	meddler.m = m;
	meddler.seen = 0;
	meddler.is_due = false;
	rig_keep_port(r);
	rig_target(r, NULL, NULL);
	rig_loop(r);
	rig_opts(r, FAST "max_reconnects=4", &r->opts);
	assert_int_equal(nof_ctrl_new(r->loop, &r->opts, on_event, r, &r->ctrl), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(r->ctrl, rig_done, op))), 0);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	assert_int_equal(rig_open_chan(r), 0);
	if (m->has_target)
		rig_control(r, "drop admin");
	else
		rig_kill(r);
	RIG_UNTIL(r, r->states[NOF_CTRL_RESETTING].count);
	reset = meddler.seen == m->nth ? NULL :
		RIG_SUBMIT(r, nof_ctrl_reset(r->ctrl, rig_done, op));
	RIG_UNTIL(r, meddler.seen >= m->nth);
	if (meddler.is_due)
		do_it();
	rig_finish_all(r);
	if (reset && m->in != NOF_CTRL_LIVE && m->in != NOF_CTRL_FAILED)
		assert_int_equal(reset->error, -ECANCELED);
	if (m->what == DISCONNECT && m->in != NOF_CTRL_FAILED)
		assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_CLOSED);
	rig_close(r);
}

/* ---- anything at any time ---- */

static struct {
	enum nof_ctrl_state last;
	char wrong[64];
} order;

static void on_ordered(void *arg, const struct nof_event *ev)
{
	static const unsigned after[] = {
		[NOF_CTRL_NEW] = 1u << NOF_CTRL_CONNECTING,
		/* Each pause between attempts is told. */
		[NOF_CTRL_CONNECTING] = 1u << NOF_CTRL_LIVE | 1u << NOF_CTRL_CONNECTING,
		[NOF_CTRL_LIVE] = 1u << NOF_CTRL_RESETTING | 1u << NOF_CTRL_DELETING,
		[NOF_CTRL_RESETTING] = 1u << NOF_CTRL_CONNECTING,
		[NOF_CTRL_DELETING] = 1u << NOF_CTRL_CLOSED,
		[NOF_CTRL_FAILED] = 0, [NOF_CTRL_CLOSED] = 0,
	};

	rig_on_event(arg, ev);
	if (ev->type != NOF_EVENT_CTRL_STATE)
		return;
	if (!(after[order.last] & 1u << ev->state) && !*order.wrong)
		snprintf(order.wrong, sizeof(order.wrong), "%s after %s",
			 nof_ctrl_state_name(ev->state), nof_ctrl_state_name(order.last));
	order.last = ev->state;
}

/* A seeded mixture of losses, resets and refusals, with I/O whenever a channel can be had. */
static void t_anything(struct rig *r)
{
	static const char *const faults[] = {
		"clear", "fault on=connect nth=1 do=close", "fault on=identify nth=1 do=reset",
		"fault on=icresp nth=1 do=drop", "fault on=propset nth=2 do=status:6",
		"fault on=keepalive nth=1 do=status:0x19", "fault on=write nth=1 do=drop",
		"fault on=connect qid=io nth=1 do=status:1/0x81", "fault on=resp nth=3 do=term:1:4",
	};
	const unsigned *seed = r->arg;
	uint32_t x = *seed * 2654435761u + 1;
	static uint8_t buf[16][512];
	struct rig_op *one;

	order.last = NOF_CTRL_NEW;
	order.wrong[0] = '\0';
	rig_target(r, NULL, NULL);
	rig_loop(r);
	rig_opts(r, "ctrl_loss_tmo=-1&reconnect_delay=0.03&connect_timeout=0.2&admin_timeout=0.3&"
		 "io_timeout=0.2&keep_alive_tmo=0.3", &r->opts);
	assert_int_equal(nof_ctrl_new(r->loop, &r->opts, on_ordered, r, &r->ctrl), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(r->ctrl, rig_done, op))), 0);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	for (int i = 0; i < 60; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		switch (x % 8) {
		case 0:
			rig_control(r, "drop io");
			break;
		case 1:
			rig_control(r, "drop admin");
			break;
		case 2:
			RIG_SUBMIT(r, nof_ctrl_reset(r->ctrl, rig_done, op));
			break;
		case 3:
		case 4:
			rig_control(r, "%s", faults[x / 8 % ARRAY_SIZE(faults)]);
			break;
		case 5:
			nof_chan_close(r->chan);
			r->chan = NULL;
			if (nof_ctrl_get_state(r->ctrl) == NOF_CTRL_LIVE)
				rig_open_chan(r);
			break;
		default:
			for (unsigned k = 0; r->chan && k < ARRAY_SIZE(buf); k++)
				if (k & 1)
					rig_submit_read(r, buf[k], sizeof(buf[k]), k * 512);
				else
					rig_submit_write(r, buf[k], sizeof(buf[k]), k * 512);
		}
		for (uint32_t turns = x / 512 % 6; turns; turns--)
			rig_turn(r, 20);
	}
	rig_control(r, "clear");
	rig_finish_all(r);
	/* None of the connections to which something was done is left. */
	one = RIG_SUBMIT(r, nof_ctrl_reset(r->ctrl, rig_done, op));
	assert_int_equal(rig_finish(one), 0);
	reopen(r);
	works(r);
	assert_int_equal(r->failures, 0);
	assert_int_equal(rig_disconnect(r), 0);
	assert_string_equal(order.wrong, "");
}

/* ---- a channel on the loop of another thread ---- */

struct other {
	struct nof_ns *ns;
	struct nof_loop *loop;
	atomic_uint good;		/* I/Os that succeeded */
	atomic_bool is_over;
	atomic_bool has_ended;
	unsigned opened;		/* channels: one per association at least */
	atomic_int error;		/* other than what a reset brings about */
	char detail[256];		/* its sentence */
};

static void *other_main(void *arg)
{
	struct other *o = arg;
	struct nof_chan *chan = NULL;
	uint8_t buf[4096];

	rig_fill(buf, sizeof(buf), 3);
	while (!atomic_load(&o->is_over) && !o->error) {
		int e = 0;

		if (!chan) {
			e = nof_chan_open_sync(o->ns, o->loop, &chan);
			o->opened += !e;
			if (e)
				usleep(1000);	/* no event of this loop tells when to try */
		}
		if (!e)
			e = nof_pwrite(chan, buf, sizeof(buf), 65536, 0);
		if (!e)
			e = nof_pread(chan, buf, sizeof(buf), 65536, 0);
		if (!e && !rig_is_filled(buf, sizeof(buf), 3))
			o->error = -EILSEQ;
		if (!e) {
			atomic_fetch_add(&o->good, 1);
			continue;
		}
		if (e != -ECONNRESET && e != -ENOTCONN) {
			snprintf(o->detail, sizeof(o->detail), "%s", nof_strerror_detail());
			o->error = e;
		}
		nof_chan_close(chan);
		chan = NULL;
	}
	nof_chan_close(chan);
	atomic_store(&o->has_ended, true);
	return NULL;
}

/* Messages between the loops find an association that is not theirs any more. */
static void t_other_thread(struct rig *r)
{
	struct other o = { .opened = 0 };
	pthread_t thread;

	rig_target(r, NULL, NULL);
	rig_open(r, FAST "nr_io_queues=2&write_hold=off");
	o.ns = r->ns;
	o.loop = rig_new_loop(r, 0);
	assert_int_equal(pthread_create(&thread, NULL, other_main, &o), 0);
	for (int i = 0; i < 8; i++) {
		unsigned before = atomic_load(&o.good);

		RIG_UNTIL(r, atomic_load(&o.good) >= before + 20 || o.error);
		switch (i % 3) {
		case 0:
			assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_reset(r->ctrl, rig_done,
								op))), 0);
			break;
		case 1:
			rig_control(r, "drop io");
			break;
		case 2:
			rig_control(r, "drop admin");
			break;
		}
		RIG_UNTIL(r, r->states[NOF_CTRL_LIVE].count == (unsigned)i + 2 || o.error);
		if (o.error)
			break;
	}
	atomic_store(&o.is_over, true);
	/* Its last I/O may need this loop, and the target wants keep alives. */
	RIG_UNTIL(r, atomic_load(&o.has_ended));
	pthread_join(thread, NULL);
	if (o.error)
		fail_msg("the other thread met error %d: %s", o.error, o.detail);
	assert_int_equal(r->failures, 0);
	nof_loop_free(o.loop);
	if (rig_disconnect(r))
		fail_msg("%s", r->last->detail);
}

/* ---- names and addresses ---- */

static void by_name(struct rig *r, const char *extra)
{
	rig_loop(r);
	rig_opts(r, extra, &r->opts);
	strcpy(r->opts.traddr, "target.invalid");
	assert_int_equal(nof_ctrl_new(r->loop, &r->opts, rig_on_event, r, &r->ctrl), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(r->ctrl, rig_done, op))), 0);
}

/* The name is looked up at each attempt; that it cannot be is one more failed attempt. */
static void t_name_fails(struct rig *r)
{
	atomic_store(&names.error, 0);
	atomic_store(&names.first, 0);
	atomic_store(&names.calls, 0);
	rig_target(r, NULL, NULL);
	by_name(r, FAST);
	assert_int_equal(atomic_load(&names.calls), 1);
	atomic_store(&names.error, EAI_AGAIN);
	rig_control(r, "drop admin");
	RIG_UNTIL(r, stats_of(r->ctrl).attempt == 3);
	assert_int_equal(r->states[NOF_CTRL_CONNECTING].error, -EHOSTUNREACH);
	assert_non_null(strstr(r->states[NOF_CTRL_CONNECTING].detail, "target.invalid"));
	atomic_store(&names.error, EAI_NONAME);
	RIG_UNTIL(r, stats_of(r->ctrl).attempt == 5);
	assert_int_equal(r->states[NOF_CTRL_CONNECTING].error, -ENOENT);
	atomic_store(&names.error, 0);
	RIG_UNTIL(r, r->states[NOF_CTRL_LIVE].count == 2);
	assert_int_equal(atomic_load(&names.calls), 1 + (int)stats_of(r->ctrl).reconnect_attempts);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	assert_int_equal(rig_open_chan(r), 0);
	works(r);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Takes connections and says nothing, on the target's port of another loopback address. */
static int mute_listener(struct rig *r, uint32_t ip)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(ip),
				   .sin_port = htons(r->port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, r->is_mptcp ? IPPROTO_MPTCP : 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(fd, 64), 0);
	return fd;
}

enum { OTHER_IP = INADDR_LOOPBACK + 1 };

/* An NVMe/TCP port, but nobody behind it: answers ICReq, and ends at the first command. */
struct impostor {
	int fd;
	atomic_bool is_over;
};

static void *impostor_main(void *arg)
{
	static const uint8_t icresp[128] = { 1, 0, 128, 0, 128, [14] = 16 /* MAXH2CDATA 1 MiB */ };
	const struct timeval second = { .tv_sec = 1 };
	struct impostor *im = arg;
	struct pollfd p = { .fd = im->fd, .events = POLLIN };
	uint8_t buf[2048];

	while (!atomic_load(&im->is_over)) {
		int c = poll(&p, 1, 20) > 0 ? accept(im->fd, NULL, NULL) : -1;

		if (c < 0)
			continue;
		setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
		if (recv(c, buf, 128, MSG_WAITALL) == 128 &&
		    send(c, icresp, sizeof(icresp), MSG_NOSIGNAL) == sizeof(icresp))
			(void)!recv(c, buf, sizeof(buf), 0);
		close(c);
	}
	return NULL;
}

/* It must not keep us from the next address: attempts begin at different ones. */
static void t_addresses_rotate(struct rig *r)
{
	struct impostor im = { .is_over = false };
	pthread_t thread;

	atomic_store(&names.error, 0);
	atomic_store(&names.first, 0);
	rig_target(r, NULL, NULL);
	by_name(r, FAST);
	im.fd = mute_listener(r, OTHER_IP);
	assert_int_equal(pthread_create(&thread, NULL, impostor_main, &im), 0);
	atomic_store(&names.first, OTHER_IP);
	rig_control(r, "drop admin");
	RIG_UNTIL(r, r->states[NOF_CTRL_LIVE].count == 2);
	assert_int_equal(stats_of(r->ctrl).reconnect_attempts, 2);
	assert_non_null(strstr(r->states[NOF_CTRL_CONNECTING].detail, "127.0.0.2"));
	assert_int_equal(rig_disconnect(r), 0);
	atomic_store(&im.is_over, true);
	pthread_join(thread, NULL);
	close(im.fd);
}

/*
 * One controller's target is deaf: each of its attempts hangs until its timeout. The
 * other's keep alives go out all the same: its target gives hosts up that miss one.
 */
static void t_two_controllers(struct rig *r)
{
	struct nof_ctrl *deaf;
	uint64_t before;
	int fd;

	atomic_store(&names.error, 0);
	atomic_store(&names.first, 0);
	rig_target(r, NULL, NULL);
	by_name(r, "ctrl_loss_tmo=-1&reconnect_delay=0.1&connect_timeout=0.6&keep_alive_tmo=0.4");
	deaf = r->ctrl;
	assert_int_equal(rig_connect(r, "keep_alive_tmo=0.4"), 0);
	fd = mute_listener(r, OTHER_IP);
	/* Two addresses, both of no use: the time of an attempt is shared by them. */
	atomic_store(&names.first, OTHER_IP);
	rig_fault(r, "on=icreq do=drop");
	assert_int_equal(nof_ctrl_reset(deaf, rig_done, rig_op(r)), 0);
	before = stats_of(r->ctrl).keep_alives;
	RIG_UNTIL(r, stats_of(r->ctrl).keep_alives >= before + 10 &&
		  stats_of(deaf).reconnect_attempts >= 3);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_LIVE);
	assert_int_equal(nof_ctrl_get_state(deaf), NOF_CTRL_CONNECTING);
	assert_int_equal(stats_of(r->ctrl).resets, 0);
	assert_int_equal(rig_stat(r, "kato_expired"), 0);
	nof_ctrl_free(deaf);
	rig_finish_all(r);
	assert_int_equal(rig_disconnect(r), 0);
	close(fd);
}

#define LOSS(name_, ...) { "loss_" name_, t_loss, &(const struct loss){ __VA_ARGS__ } }
#define END(name_, ...) { "end_" name_, t_end, &(const struct end){ __VA_ARGS__ } }
#define MEDDLE(name_, ...) { name_, t_meddle, &(const struct meddle){ __VA_ARGS__ } }

static const struct rig_test tests[] = {
	LOSS("io_connection", .trigger = DROP_IO, .says = "queue 1"),
	LOSS("admin_connection", .trigger = DROP_ADMIN, .says = "queue"),
	LOSS("header_digest", .fault = "on=resp for=flush nth=1 do=hdgst:bad",
	     .uri = "hdr_digest=on", .trigger = FLUSH, .says = "digest"),
	LOSS("fatal_pdu", .fault = "on=resp for=flush nth=1 do=set:cid=0xfffe", .trigger = FLUSH,
	     .says = "queue 1", .error = -EPROTO),
	LOSS("c2h_term", .fault = "on=read nth=1 do=term:1:4", .trigger = READ,
	     .says = "queue 1"),
	LOSS("keep_alive", .target = "--kato-check=off",
	     .fault = "on=keepalive nth=1 do=drop", .uri = "keep_alive_tmo=0.3",
	     .trigger = WAIT, .says = "keep alive", .error = -ETIMEDOUT),
	LOSS("keep_alive_expired", .fault = "on=keepalive nth=1 do=status:0x19",
	     .uri = "keep_alive_tmo=0.3", .trigger = WAIT, .says = "association",
	     .error = -ETIMEDOUT),
	{ "restart", t_restart },
	{ "f11_other_queues", t_other_queues },
	{ "f12_other_namespaces", t_other_namespaces },
	{ "f12_many_namespaces", t_many_namespaces },
	END("no_reconnects", .uri = "ctrl_loss_tmo=0", .error = -ECONNRESET, .says = "queue",
	    .max_ms = 1500),
	END("ctrl_loss_tmo", .uri = "ctrl_loss_tmo=0.5&reconnect_delay=0.1",
	    .error = -ECONNREFUSED, .says = "(ctrl_loss_tmo)", .min_ms = 490, .max_ms = 2500),
	END("ctrl_loss_in_attempt", .uri = "ctrl_loss_tmo=0.5&connect_timeout=5",
	    .fault = "on=icreq do=drop", .error = -ECONNRESET, .says = "(ctrl_loss_tmo)",
	    .attempts = 1, .min_ms = 490, .max_ms = 2500),
	END("max_reconnects", .uri = "ctrl_loss_tmo=-1&reconnect_delay=0.1&max_reconnects=3",
	    .error = -ECONNREFUSED, .says = "after 3 attempts", .attempts = 3),
	END("max_reconnects_0", .uri = "ctrl_loss_tmo=20&max_reconnects=0",
	    .error = -ECONNRESET, .says = "(max_reconnects)"),
	END("dnr", .uri = FAST, .fault = "on=connect do=status:1/0x84/dnr", .error = -EACCES,
	    .says = "refused for good", .attempts = 1),
	END("authentication", .uri = FAST, .fault = "on=resp for=connect do=set:dw0^=0x20000",
	    .error = -ENOTSUP, .says = "DH-HMAC-CHAP", .attempts = 1),
	{ "busy_for_a_while", t_busy_for_a_while },
	{ "reset", t_reset, FAST },
	{ "reset_without_recovery", t_reset, "ctrl_loss_tmo=0" },
	{ "reset_with_ops", t_reset_with_ops },
	{ "reset_refused", t_reset_refused },
	{ "reset_fails", t_reset_fails },
	MEDDLE("disconnect_resetting", NOF_CTRL_RESETTING, 1, DISCONNECT),
	MEDDLE("disconnect_resetting_outside", NOF_CTRL_RESETTING, 1, DISCONNECT, true),
	MEDDLE("disconnect_waiting", NOF_CTRL_CONNECTING, 3, DISCONNECT),
	MEDDLE("disconnect_waiting_outside", NOF_CTRL_CONNECTING, 3, DISCONNECT, true),
	MEDDLE("disconnect_live_again", NOF_CTRL_LIVE, 2, DISCONNECT, false, true),
	MEDDLE("free_resetting", NOF_CTRL_RESETTING, 1, FREE),
	MEDDLE("free_resetting_outside", NOF_CTRL_RESETTING, 1, FREE, true),
	MEDDLE("free_waiting", NOF_CTRL_CONNECTING, 3, FREE),
	MEDDLE("free_waiting_outside", NOF_CTRL_CONNECTING, 2, FREE, true, true),
	MEDDLE("free_live_again", NOF_CTRL_LIVE, 2, FREE, false, true),
	MEDDLE("free_failed", NOF_CTRL_FAILED, 1, FREE),
	{ "anything_1", t_anything, &(const unsigned){ 1 } },
	{ "anything_2", t_anything, &(const unsigned){ 2 } },
	{ "anything_3", t_anything, &(const unsigned){ 3 } },
	{ "other_thread", t_other_thread },
	{ "name_fails", t_name_fails },
	{ "addresses_rotate", t_addresses_rotate },
	{ "two_controllers", t_two_controllers },
};

int main(void)
{
	return rig_main("recovery", tests, ARRAY_SIZE(tests));
}
