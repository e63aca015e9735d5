/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nof_connect_all(): which entries of a log are connected, and what is said of the others. */
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "farm.h"

#define DISCOVERY "subnqn=" NOF_DISCOVERY_NQN "&keep_alive_tmo=0"
#define NQN(name) "nqn.2025-11.org.example:" name

enum { REFERRAL = 1, NVM = 2, NCC = 4 };

struct all {
	struct nof_connect_all_opts opts;
	struct nof_discovery_log *log;
	struct nof_connect_result *result;
	unsigned live, failed;		/* events */
};

static void on_event(void *arg, const struct nof_event *ev)
{
	struct all *a = arg;

	a->live += ev->type == NOF_EVENT_CTRL_STATE && ev->state == NOF_CTRL_LIVE;
	a->failed += ev->type == NOF_EVENT_CTRL_STATE && ev->state == NOF_CTRL_FAILED;
}

static void begin(struct rig *r, struct all *a, const char *extra)
{
	char text[512];

	memset(a, 0, sizeof(*a));
	nof_connect_all_opts_init(&a->opts);
	a->opts.events = on_event;
	a->opts.events_arg = a;
	rig_loop(r);
	snprintf(text, sizeof(text), DISCOVERY "%s%s", extra ? "&" : "", extra ? extra : "");
	rig_opts(r, text, &r->opts);
}

static int run(struct rig *r, struct all *a)
{
	int e = rig_finish(RIG_SUBMIT(r, nof_connect_all(r->loop, &r->opts, &a->opts, a->log,
							 &a->result, rig_done, op)));
	size_t n = 0;

	if (e) {
		assert_null(a->result);
		return e;
	}
	for (size_t i = 0; i < a->result->count; i++) {
		const struct nof_connect_record *rec = &a->result->records[i];

		assert_true(rec->entry < a->result->log->count);
		assert_int_equal(!rec->error, !!rec->ctrl);
		assert_int_equal(!rec->error, !rec->detail[0]);
		if (rec->ctrl)
			assert_int_equal(nof_ctrl_get_state(rec->ctrl), NOF_CTRL_LIVE);
		n += !!rec->ctrl;
	}
	assert_int_equal(n, a->result->connected);
	assert_true(n > 0);
	return 0;
}

static void end(struct all *a)
{
	for (size_t i = 0; a->result && i < a->result->count; i++)
		nof_ctrl_free(a->result->records[i].ctrl);
	nof_connect_all_free(a->result);
	nof_discovery_free(a->log);
}

/* By name, from a walk: two services, three subsystems. */
static void t_walk(struct rig *r)
{
	struct farm farm = { 0 };
	struct rig *b = farm_target(&farm, r, "--nqn=" NQN("a") " --ns=null:1M --nqn=" NQN("b")
				    " --ns=null:2M");
	const struct forged e[] = {
		{ REFERRAL, NOF_DISCOVERY_NQN, .port = b->port },
		{ NVM, RIG_NQN, .port = 0 },
	};
	struct forged of_a[2];
	struct nof_ctrl_info info = { .size = sizeof(info) };
	struct all a;

	rig_target(r, NULL, NULL);
	memcpy(of_a, e, sizeof(e));
	of_a[1].port = r->port;
	forge(r, of_a, 2, 1);
	begin(r, &a, NULL);
	assert_int_equal(run(r, &a), 0);
	assert_int_equal(a.result->connected, 3);
	assert_int_equal(a.result->log->nservices, 2);
	assert_int_equal(nof_ctrl_get_info(a.result->records[0].ctrl, &info), 0);
	assert_string_equal(info.subnqn, RIG_NQN);
	assert_int_equal(info.keep_alive_ms, 5000);
	assert_int_equal(a.live, 3);
	end(&a);

	begin(r, &a, NULL);
	strcpy(a.opts.subnqn, NQN("b"));
	assert_int_equal(run(r, &a), 0);
	assert_int_equal(a.result->count, 1);
	assert_int_equal(nof_ctrl_get_info(a.result->records[0].ctrl, &info), 0);
	assert_string_equal(info.subnqn, NQN("b"));
	assert_int_equal(nof_ns_open_sync(a.result->records[0].ctrl, NULL, &r->ns), 0);
	nof_ns_close(r->ns);
	r->ns = NULL;
	end(&a);
	farm_end(&farm);
}

/* Part of it is success; each of the others says why not. */
static void t_partial(struct rig *r)
{
	static const struct { int error; const char *says; } want[] = {
		{ -ENOENT, "knows no subsystem" }, { 0 }, { -EEXIST, "as entry 2" },
		{ -EHOSTUNREACH, "NCC" }, { -ENOTSUP, "TLS" }, { -EPROTONOSUPPORT, "TRTYPE" },
		{ -ETIMEDOUT, "timeout_ms" }, { -E2BIG, "max_ctrls" },
	};
	struct farm farm = { 0 };
	struct rig *b = farm_target(&farm, r, NULL);
	struct nof_discovery_entry *e;
	struct all a;

	rig_target(r, NULL, NULL);
	rig_fault(b, "on=icreq do=silence");
	begin(r, &a, "addr_map=192.0.2.1=127.0.0.1");
	a.log = calloc(1, sizeof(*a.log));
	a.log->count = a.log->total = 9;
	a.log->entries = calloc(9, sizeof(*e));
	for (size_t i = 0; i < 9; i++) {
		e = &a.log->entries[i];
		e->trtype = 3;
		e->adrfam = 1;
		e->subtype = 2;
		strcpy(e->traddr, "127.0.0.1");
		sprintf(e->trsvcid, "%u", r->port);
		strcpy(e->subnqn, RIG_NQN);
	}
	e = a.log->entries;
	e[0].subtype = 3;
	strcpy(e[1].subnqn, NQN("none"));
	strcpy(e[3].traddr, "192.0.2.1");	/* entry 2, behind the map */
	e[4].eflags = NCC;
	e[5].treq = 1;
	e[6].trtype = 4;
	sprintf(e[7].trsvcid, "%u", b->port);
	strcpy(e[8].subnqn, NQN("more"));
	a.opts.max_ctrls = 3;
	a.opts.timeout_ms = 500;
	assert_int_equal(run(r, &a), 0);
	assert_int_equal(a.result->count, 8);
	assert_int_equal(a.result->connected, 1);
	assert_ptr_equal(a.result->log, a.log);
	for (size_t i = 0; i < 8; i++) {
		const struct nof_connect_record *rec = &a.result->records[i];

		assert_int_equal(rec->entry, i + 1);
		assert_int_equal(rec->error, want[i].error);
		if (want[i].error && !strstr(rec->detail, want[i].says))
			fail_msg("record %zu: \"%s\"", i, rec->detail);
	}
	assert_int_equal(a.live, 1);
	for (size_t i = 0; i < 8; i++)
		nof_ctrl_free(a.result->records[i].ctrl);
	nof_connect_all_free(a.result);
	a.result = NULL;
	/* The same path twice, where that is wanted. */
	r->opts.duplicate_connect = true;
	a.opts.max_ctrls = 64;
	a.opts.max_parallel = 1;
	assert_int_equal(run(r, &a), 0);
	assert_int_equal(a.result->connected, 2);
	end(&a);
	rig_all_closed(b);
	farm_end(&farm);
}

/* All ports of one subsystem are the paths of its namespace; one of them may go. */
static void t_paths(struct rig *r)
{
	struct nof_path_info info[4] = { { .size = sizeof(info[0]) } };
	char data[512], back[512];
	struct rig_op *op_;
	struct all a;

	rig_target(r, "--listen=127.0.0.1:0 --listen=127.0.0.1:0", NULL);
	begin(r, &a, "max_retries=5");
	strcpy(a.opts.subnqn, RIG_NQN);
	assert_int_equal(run(r, &a), 0);
	assert_int_equal(a.result->connected, 3);
	op_ = RIG_SUBMIT(r, nof_ns_open(a.result->records[0].ctrl, NULL, &r->ns, rig_done, op));
	assert_int_equal(rig_finish(op_), 0);
	for (size_t i = 1; i < 3; i++) {
		op_ = RIG_SUBMIT(r, nof_ns_add_path(r->ns, a.result->records[i].ctrl, rig_done,
						    op));
		assert_int_equal(rig_finish(op_), 0);
	}
	assert_int_equal(nof_ns_get_paths(r->ns, info, 4), 3);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &r->chan,
								rig_done, op))), 0);
	rig_fill(data, sizeof(data), 1);
	assert_int_equal(rig_write(r, data, sizeof(data), 0, 0), 0);
	assert_string_equal(rig_control(r, "unlisten 1"), "ok");
	assert_int_equal(rig_read(r, back, sizeof(back), 0, 0), 0);
	assert_memory_equal(data, back, sizeof(data));
	nof_chan_close(r->chan);
	r->chan = NULL;
	nof_ns_close(r->ns);
	r->ns = NULL;
	end(&a);
}

static void t_none(struct rig *r)
{
	const struct forged e[] = {
		{ NVM, NQN("a"), .port = 1, .treq = 1 }, { NVM, NQN("b"), .port = 1, .trtype = 2 },
	};
	struct all a;

	rig_target(r, NULL, NULL);
	begin(r, &a, NULL);
	strcpy(a.opts.subnqn, NQN("none"));
	assert_int_equal(run(r, &a), -ENOENT);
	assert_non_null(strstr(r->last->detail, NQN("none")));
	forge(r, NULL, 0, 1);
	begin(r, &a, NULL);
	assert_int_equal(run(r, &a), -ENOENT);
	forge(r, e, 2, 2);
	begin(r, &a, NULL);
	assert_int_equal(run(r, &a), -ENOTSUP);
	assert_non_null(strstr(r->last->detail, "none of 2 records"));
	rig_kill(r);
	begin(r, &a, NULL);
	assert_int_equal(run(r, &a), -ECONNREFUSED);
}

/* In the walk, between, and while controllers are connecting. */
static void t_cancel(struct rig *r)
{
	struct farm farm = { 0 };
	struct rig *b = farm_target(&farm, r, NULL);
	const struct forged e[] = {
		{ NVM, RIG_NQN, .port = 0 }, { NVM, RIG_NQN, .port = b->port },
	};
	struct forged of_a[2];
	struct all a;

	rig_target(r, NULL, NULL);
	memcpy(of_a, e, sizeof(e));
	of_a[0].port = r->port;
	rig_fault(b, "on=icreq do=silence");
	for (int turns = 0; turns < 40; turns += 3) {
		struct rig_op *op_;

		/* It counts the commands of a read, which may have been cut short. */
		forge(r, of_a, 2, 1);
		begin(r, &a, NULL);
		op_ = RIG_SUBMIT(r, nof_connect_all(r->loop, &r->opts, &a.opts, NULL, &a.result,
						    rig_done, op));
		for (int i = 0; i < turns; i++)
			rig_turn(r, 1);
		assert_int_equal(nof_discover_cancel(r->loop, op_), 1);
		assert_int_equal(op_->count, 1);
		assert_int_equal(op_->error, -ECANCELED);
		assert_null(a.result);
	}
	rig_all_closed(r);
	rig_all_closed(b);
	farm_end(&farm);
}

static void t_sync_and_refused(struct rig *r)
{
	struct nof_discover_opts o;
	struct all a;

	rig_target(r, NULL, NULL);
	begin(r, &a, NULL);
	if (r->drive != RIG_RUN) {
		assert_int_equal(nof_connect_all_sync(r->loop, &r->opts, NULL, NULL, &a.result),
				 0);
		assert_int_equal(a.result->connected, 1);
		end(&a);
		begin(r, &a, NULL);
	}
	nof_discover_opts_init(&o);
	a.opts.discover = &o;
	o.max_parallel = 0;
	RIG_REFUSES(nof_connect_all(r->loop, &r->opts, &a.opts, NULL, &a.result, rig_done, NULL),
		    EINVAL);
	a.opts.discover = NULL;
	a.opts.max_parallel = 65;
	RIG_REFUSES(nof_connect_all(r->loop, &r->opts, &a.opts, NULL, &a.result, rig_done, NULL),
		    EINVAL);
	a.opts.size = 8;
	RIG_REFUSES(nof_connect_all(r->loop, &r->opts, &a.opts, NULL, &a.result, rig_done, NULL),
		    EINVAL);
	RIG_REFUSES(nof_connect_all(r->loop, NULL, NULL, NULL, &a.result, rig_done, NULL), EINVAL);
	nof_connect_all_free(NULL);
}

static const struct rig_test tests[] = {
	{ "walk", t_walk },
	{ "partial", t_partial },
	{ "paths", t_paths },
	{ "none", t_none },
	{ "cancel", t_cancel },
	{ "sync_and_refused", t_sync_and_refused },
};

int main(void)
{
	return rig_main("connect_all", tests, ARRAY_SIZE(tests));
}
