/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host's side of the rig: variants, loop, operations. See rig.h. */
#include "rig.h"

#include <poll.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "rig_target.h"

uint64_t rig_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void rig_fill(void *p, size_t len, uint32_t seed)
{
	uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15u;
	uint8_t *b = p;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		b[i] = (uint8_t)(x >> 24);
	}
}

bool rig_is_filled(const void *p, size_t len, uint32_t seed)
{
	uint8_t *want = malloc(len ? len : 1);
	bool is_same;

	rig_fill(want, len, seed);
	is_same = !memcmp(p, want, len);
	free(want);
	return is_same;
}

/* ---- driving the loop ---- */

static struct nof_loop *alarmed;

static void on_alarm(int sig)
{
	if (alarmed)
		nof_loop_stop(alarmed);
}

static void run_for(struct nof_loop *loop, int timeout_ms)
{
	struct itimerval it = { .it_value = { timeout_ms / 1000, timeout_ms % 1000 * 1000 } };

	if (timeout_ms <= 0)
		it.it_value.tv_usec = 1;
	alarmed = loop;
	setitimer(ITIMER_REAL, &it, NULL);
	assert_int_equal(nof_loop_run(loop), 0);
	it = (struct itimerval){ 0 };
	setitimer(ITIMER_REAL, &it, NULL);
	alarmed = NULL;
}

void rig_turn(struct rig *r, int timeout_ms)
{
	struct pollfd p = { .events = POLLIN };

	switch (r->drive) {
	case RIG_POLL:
		p.fd = nof_loop_fd(r->loop);
		assert_true(p.fd >= 0);
		poll(&p, 1, timeout_ms);
		assert_true(nof_loop_process(r->loop) >= 0);
		break;
	case RIG_WAIT:
		assert_true(nof_loop_wait(r->loop, timeout_ms) >= 0);
		break;
	case RIG_RUN:
		run_for(r->loop, timeout_ms);
		break;
	}
}

void rig_check(struct rig *r)
{
	if (*r->wrong)
		fail_msg("%s", r->wrong);
}

static void wrong(struct rig *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Callbacks must not jump out of the library: what they find is told later. */
static void wrong(struct rig *r, const char *fmt, ...)
{
	va_list ap;

	if (*r->wrong)
		return;
	va_start(ap, fmt);
	vsnprintf(r->wrong, sizeof(r->wrong), fmt, ap);
	va_end(ap);
}

/* ---- operations ---- */

struct rig_op *rig_op(struct rig *r)
{
	struct rig_op *op = calloc(1, sizeof(*op));

	assert_non_null(op);
	op->rig = r;
	op->next = r->ops;
	r->ops = op;
	r->inflight++;
	return op;
}

struct rig_op *rig_accept(struct rig_op *op, int ret)
{
	if (ret == 0)
		return op;
	op->is_refused = true;
	op->error = ret;
	op->rig->inflight--;
	snprintf(op->detail, sizeof(op->detail), "%s", nof_strerror_detail());
	if (strlen(op->detail) < 15)
		wrong(op->rig, "a call failed with %d and explains \"%s\"", ret, op->detail);
	return op;
}

void rig_done(void *arg, const struct nof_completion *c)
{
	struct rig_op *op = arg;
	struct rig *r = op->rig;

	op->count++;
	op->error = c->error;
	op->status = c->status;
	op->qid = c->qid;
	op->result = c->result;
	snprintf(op->detail, sizeof(op->detail), "%s", c->detail ? c->detail : "(null)");
	if (op->count > 1)
		wrong(r, "an operation completed %u times", op->count);
	else
		r->inflight--;
	if (op->is_refused)
		wrong(r, "an operation that was refused completed");
	if (r->is_submitting)
		wrong(r, "an operation completed inside a submit call");
	if (c->error > 0)
		wrong(r, "an operation ended with the positive error %d", c->error);
	if (c->error && (!c->detail || strlen(c->detail) < 15))
		wrong(r, "an operation failed with %d and explains \"%s\"", c->error, op->detail);
	if (!c->error && *op->detail)
		wrong(r, "an operation succeeded and complains \"%.100s\"", op->detail);
	r->last = op;
	if (r->drive == RIG_RUN)
		nof_loop_stop(r->loop);
}

int rig_finish(struct rig_op *op)
{
	struct rig *r = op->rig;

	if (op->is_refused)
		return op->error;
	RIG_UNTIL(r, op->count);
	return op->error;
}

void rig_finish_all(struct rig *r)
{
	RIG_UNTIL(r, !r->inflight);
}

struct rig_op *rig_submit_read(struct rig *r, void *buf, size_t len, uint64_t off)
{
	return RIG_SUBMIT(r, nof_read(r->chan, buf, len, off, 0, rig_done, op));
}

struct rig_op *rig_submit_write(struct rig *r, const void *buf, size_t len, uint64_t off)
{
	return RIG_SUBMIT(r, nof_write(r->chan, buf, len, off, 0, rig_done, op));
}

int rig_read(struct rig *r, void *buf, size_t len, uint64_t off, uint32_t flags)
{
	return rig_finish(RIG_SUBMIT(r, nof_read(r->chan, buf, len, off, flags, rig_done, op)));
}

int rig_write(struct rig *r, const void *buf, size_t len, uint64_t off, uint32_t flags)
{
	return rig_finish(RIG_SUBMIT(r, nof_write(r->chan, buf, len, off, flags, rig_done, op)));
}

/* ---- loop, controller, namespace, channel ---- */

struct nof_loop *rig_new_loop(struct rig *r, uint32_t flags)
{
	struct nof_loop_opts o;
	struct nof_loop *loop;

	nof_loop_opts_init(&o);
	o.engine = r->engine;
	o.flags = flags;
	assert_int_equal(nof_loop_new(&o, &loop), 0);
	assert_string_equal(nof_loop_engine(loop),
			    r->engine == NOF_ENGINE_EPOLL ? "epoll" : "io_uring");
	return loop;
}

void rig_loop(struct rig *r)
{
	if (!r->loop)
		r->loop = rig_new_loop(r, r->drive == RIG_RUN ? NOF_LOOP_DEDICATED : 0);
}

void rig_opts(struct rig *r, const char *extra, struct nof_opts *opts)
{
	char uri[512], text[512], *save = NULL;

	snprintf(uri, sizeof(uri), "nvme+tcp://127.0.0.1:%u/" RIG_NQN "?mptcp=%s&nr_io_queues=1"
		 "&connect_timeout=2&admin_timeout=2&io_timeout=2&keep_alive_tmo=2&hostnqn="
		 "nqn.2014-08.org.nvmexpress:uuid:01234567-89ab-4cde-8f01-23456789abcd",
		 r->port, r->is_mptcp ? "require" : "off");
	nof_opts_init(opts);
	if (nof_uri_parse(uri, opts) < 0)
		fail_msg("%s: %s", uri, nof_strerror_detail());
	/* What fails, fails: what is to be repeated says so. */
	opts->ctrl_loss_tmo_ms = 0;
	opts->max_retries = 0;
	snprintf(text, sizeof(text), "%s", extra ? extra : "");
	for (char *p = strtok_r(text, "&", &save); p; p = strtok_r(NULL, "&", &save)) {
		char *value = strchr(p, '=');

		assert_non_null(value);
		*value++ = 0;
		if (!strcmp(p, "subnqn"))
			snprintf(opts->subnqn, sizeof(opts->subnqn), "%s", value);
		else if (!strcmp(p, "ns"))
			snprintf(opts->ns, sizeof(opts->ns), "%s", value);
		else if (nof_opts_set(opts, p, value) < 0)
			fail_msg("%s=%s: %s", p, value, nof_strerror_detail());
	}
}

void rig_on_event(void *arg, const struct nof_event *ev)
{
	struct rig *r = arg;

	if (!ev->detail)
		wrong(r, "an event without detail");
	if (ev->type != NOF_EVENT_CTRL_STATE)
		return;
	if (strlen(ev->detail) < 15)
		wrong(r, "the state %s explains itself with \"%s\"",
		      nof_ctrl_state_name(ev->state), ev->detail);
	r->states[ev->state].count++;
	r->states[ev->state].error = ev->error;
	snprintf(r->states[ev->state].detail, RIG_DETAIL, "%s", ev->detail);
	if (ev->state != NOF_CTRL_FAILED) {
		if (r->drive == RIG_RUN)
			nof_loop_stop(r->loop);
		return;
	}
	r->failures++;
	r->failure_error = ev->error;
	snprintf(r->failure, sizeof(r->failure), "%s", ev->detail);
	if (!ev->error || strlen(ev->detail) < 15)
		wrong(r, "FAILED event with error %d and \"%s\"", ev->error, ev->detail);
	if (r->drive == RIG_RUN)
		nof_loop_stop(r->loop);
}

int rig_connect(struct rig *r, const char *extra)
{
	rig_loop(r);
	rig_opts(r, extra, &r->opts);
	if (nof_ctrl_new(r->loop, &r->opts, rig_on_event, r, &r->ctrl) < 0)
		fail_msg("nof_ctrl_new: %s", nof_strerror_detail());
	return rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(r->ctrl, rig_done, op)));
}

int rig_open_ns(struct rig *r, const char *id)
{
	int e = rig_finish(RIG_SUBMIT(r, nof_ns_open(r->ctrl, id, &r->ns, rig_done, op)));

	if (e)
		return e;
	r->info.size = sizeof(r->info);
	assert_int_equal(nof_ns_get_info(r->ns, &r->info), 0);
	return 0;
}

int rig_open_chan(struct rig *r)
{
	struct nof_transport t = { .size = sizeof(t) };
	int e = rig_finish(RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &r->chan, rig_done, op)));

	if (e)
		return e;
	assert_int_equal(nof_chan_get_transport(r->chan, &t), 0);
	assert_int_equal(t.is_mptcp, r->is_mptcp);
	return 0;
}

int rig_try_open(struct rig *r, const char *extra)
{
	int e = rig_connect(r, extra);

	if (!e)
		e = rig_open_ns(r, NULL);
	if (!e)
		e = rig_open_chan(r);
	return e;
}

void rig_open(struct rig *r, const char *extra)
{
	int e = rig_try_open(r, extra);

	if (e)
		fail_msg("opening failed with %d: %s", e, r->last ? r->last->detail : "");
}

int rig_disconnect(struct rig *r)
{
	return rig_finish(RIG_SUBMIT(r, nof_ctrl_disconnect(r->ctrl, rig_done, op)));
}

void rig_close(struct rig *r)
{
	nof_chan_close(r->chan);
	r->chan = NULL;
	nof_ns_close(r->ns);
	r->ns = NULL;
	nof_ctrl_free(r->ctrl);
	r->ctrl = NULL;
	nof_loop_free(r->loop);
	r->loop = NULL;
}

/* ---- tables ---- */

static int act(struct rig *r, const struct rig_case *k, uint8_t *buf, uint32_t len)
{
	int e;

	switch (k->act) {
	case ACT_READ:
		return rig_read(r, buf, len, 0, 0);
	case ACT_READ_WRITE:
		e = rig_read(r, buf, len, 0, 0);
		return e ? e : rig_write(r, buf, len, 0, 0);
	case ACT_WRITE:
		return rig_write(r, buf, len, 0, 0);
	case ACT_FLUSH:
		return rig_finish(RIG_SUBMIT(r, nof_flush(r->chan, rig_done, op)));
	case ACT_ZEROES:
		return rig_finish(RIG_SUBMIT(r, nof_write_zeroes(r->chan, len, 0, 0, rig_done,
								 op)));
	case ACT_COMPARE:
		return rig_finish(RIG_SUBMIT(r, nof_compare(r->chan, buf, len, 0, 0, rig_done,
							    op)));
	case ACT_CONNECT:
	case ACT_OPEN:
		break;
	}
	return 0;
}

static void check_end(struct rig *r, const struct rig_case *k)
{
	char want[64];

	switch (k->fes) {
	case ANY_TERM:
		return;
	case NO_TERM:
		rig_all_closed(r);
		assert_int_equal(rig_stat(r, "h2c_term"), 0);
		return;
	}
	if (k->fei == RIG_ANY_FEI)
		snprintf(want, sizeof(want), " fes=%d ", k->fes);
	else
		snprintf(want, sizeof(want), " fes=%d fei=%u ", k->fes, k->fei);
	if (!strstr(rig_event(r, "host sent H2CTermReq"), want))
		fail_msg("want H2CTermReq%s, got: %s", want,
			 rig_event(r, "host sent H2CTermReq"));
	assert_int_equal(rig_stat(r, "h2c_term"), 1);
}

void rig_run_case(struct rig *r)
{
	const struct rig_case *k = r->arg;
	uint32_t len = k->len ? k->len : 4096;
	uint8_t *buf = calloc(1, len);
	const char *says;
	int e;

	rig_target(r, k->target, k->fault);
	e = k->act == ACT_CONNECT ? rig_connect(r, k->uri) : rig_try_open(r, k->uri);
	if (e && k->act > ACT_OPEN)
		fail_msg("opening failed with %d: %s", e, r->last->detail);
	if (!e)
		e = act(r, k, buf, len);
	says = r->last ? r->last->detail : "";
	if (k->is_after) {
		assert_int_equal(e, 0);
		RIG_UNTIL(r, r->failures);
		e = r->failure_error;
		says = r->failure;
	}
	if (e != k->error)
		fail_msg("ended with %d, want %d: %s", e, k->error, says);
	if (k->says && !strstr(says, k->says))
		fail_msg("want a sentence with \"%s\", got \"%s\"", k->says, says);
	if (k->fes == CLEAN) {
		rig_control(r, "clear");
		assert_int_equal(act(r, k, buf, len), 0);
		assert_int_equal(rig_stat(r, "h2c_term"), 0);
	} else {
		check_end(r, k);
		if (k->act > ACT_OPEN) {
			/* Losing one queue is losing the controller. */
			RIG_UNTIL(r, r->failures);
			RIG_REFUSES(nof_read(r->chan, buf, len, 0, 0, rig_done, NULL), ENOTCONN);
		}
	}
	rig_close(r);
	free(buf);
}

/* ---- cases ---- */

struct rig_variant {
	const struct rig_test *test;
	bool is_mptcp;
	enum nof_engine engine;
	enum rig_drive drive;
	char name[128];
	struct rig rig;
};

static void check_all(struct rig *r)
{
	rig_check(r);
	for (struct rig_op *op = r->ops; op; op = op->next)
		if (op->count != (op->is_refused ? 0 : 1))
			fail_msg("an operation completed %u times", op->count);
}

static void run_variant(void **state)
{
	struct rig_variant *v = *state;

	v->test->fn(&v->rig);
	rig_close(&v->rig);
	check_all(&v->rig);
	rig_target_end(&v->rig);
}

static int setup(void **state)
{
	struct rig_variant *v = *state;
	struct rig *r = &v->rig;

	memset(r, 0, sizeof(*r));
	r->is_mptcp = v->is_mptcp;
	r->engine = v->engine;
	r->drive = v->drive;
	r->arg = v->test->arg;
	r->control = -1;
	r->port_fd = -1;
	return 0;
}

static int teardown(void **state)
{
	struct rig_variant *v = *state;
	struct rig *r = &v->rig;
	struct rig_op *op;

	/* A failed test may have left all of it open. */
	rig_target_kill(r);
	rig_close(r);
	if (r->port_fd >= 0)
		close(r->port_fd);
	while ((op = r->ops)) {
		r->ops = op->next;
		free(op);
	}
	return 0;
}

static int run(const char *group, const struct rig_test *tests, size_t count, unsigned variants,
	       bool is_mptcp, enum nof_engine engine)
{
	struct CMUnitTest *cases = calloc(count * variants, sizeof(*cases));
	struct rig_variant *v = calloc(count * variants, sizeof(*v));
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	const char *only = getenv("RIG_ONLY");
	size_t n = 0;
	int r;

	if (!cases || !v)
		return 1;
	sigaction(SIGALRM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < count * variants; i++) {
		static const enum rig_drive drives[] = { RIG_POLL, RIG_WAIT, RIG_POLL, RIG_RUN };

		v[n].test = &tests[i / variants];
		v[n].is_mptcp = variants == 1 ? is_mptcp : i & 1;
		v[n].engine = variants == 1 ? engine :
			      i & 2 ? NOF_ENGINE_EPOLL : NOF_ENGINE_IO_URING;
		v[n].drive = drives[(i + i / variants) % ARRAY_SIZE(drives)];
		snprintf(v[n].name, sizeof(v[n].name), "%s[%s,%s]", v[n].test->name,
			 v[n].is_mptcp ? "mptcp" : "tcp",
			 v[n].engine == NOF_ENGINE_EPOLL ? "epoll" : "io_uring");
		if (only && !strstr(v[n].name, only))
			continue;
		cases[n].name = v[n].name;
		cases[n].test_func = run_variant;
		cases[n].setup_func = setup;
		cases[n].teardown_func = teardown;
		cases[n].initial_state = &v[n];
		n++;
	}
	r = _cmocka_run_group_tests(group, cases, n, NULL, NULL);
	free(cases);
	free(v);
	return r;
}

int rig_main(const char *group, const struct rig_test *tests, size_t count)
{
	return run(group, tests, count, 4, false, NOF_ENGINE_AUTO);
}

int rig_main_once(const char *group, const struct rig_test *tests, size_t count, bool is_mptcp,
		  enum nof_engine engine)
{
	return run(group, tests, count, 1, is_mptcp, engine);
}
