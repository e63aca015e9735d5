/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nof_discover() (F-30, F-31, F-32): referrals followed within limits, one log of all,
 * dead and hostile services reported and not obeyed.
 */
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "farm.h"

#define DISCOVERY "subnqn=" NOF_DISCOVERY_NQN "&keep_alive_tmo=0"
#define NQN(name) "nqn.2025-11.org.example:" name

enum { REFERRAL = 1, NVM = 2, CURRENT = 3, DUPRETINFO = 1, EPCSD = 2, NCC = 4 };

/* A port on which nothing listens: bound, so that nobody else takes it. */
static uint16_t dead_port(int *fd)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	*fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(*fd >= 0);
	assert_int_equal(bind(*fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(getsockname(*fd, (struct sockaddr *)&sin, &len), 0);
	return ntohs(sin.sin_port);
}

static int walk(struct rig *r, const char *extra, const struct nof_discover_opts *dopts,
		struct nof_discovery_log **log)
{
	char text[512];

	rig_loop(r);
	snprintf(text, sizeof(text), DISCOVERY "%s%s", extra ? "&" : "", extra ? extra : "");
	rig_opts(r, text, &r->opts);
	return rig_finish(RIG_SUBMIT(r, nof_discover(r->loop, &r->opts, dopts, log, rig_done,
						     op)));
}

static struct nof_discovery_log *walk_ok(struct rig *r, const char *extra,
					 const struct nof_discover_opts *dopts)
{
	struct nof_discovery_log *log = NULL;
	int e = walk(r, extra, dopts, &log);

	if (e)
		fail_msg("the walk failed with %d: %s", e, r->last ? r->last->detail : "");
	assert_non_null(log);
	for (size_t i = 0; i < log->count; i++)
		assert_true(log->entries[i].service < log->nservices);
	for (size_t i = 0; i < log->nservices; i++) {
		const struct nof_discovery_service *s = &log->services[i];

		assert_true(s->parent < log->nservices);
		assert_int_equal(!s->error, !s->detail[0]);
		assert_int_equal(s->depth, i ? log->services[s->parent].depth + 1 : 0);
	}
	return log;
}

static const struct nof_discovery_entry *entry(const struct nof_discovery_log *log,
					       const char *nqn)
{
	for (size_t i = 0; i < log->count; i++)
		if (!strcmp(log->entries[i].subnqn, nqn))
			return &log->entries[i];
	return NULL;
}

static const struct nof_discovery_service *service(const struct nof_discovery_log *log,
						   unsigned port)
{
	for (size_t i = 0; i < log->nservices; i++)
		if ((unsigned)atoi(log->services[i].trsvcid) == port)
			return &log->services[i];
	fail_msg("no service at port %u", port);
	return NULL;
}

/* One that refers to others only. */
static void refer(struct rig *from, const struct rig *to)
{
	const struct forged e = { REFERRAL, NOF_DISCOVERY_NQN, .port = to->port };

	forge(from, &e, 1, 5);
}

static void t_one(struct rig *r)
{
	struct nof_discovery_log *log;

	rig_target(r, NULL, NULL);
	log = walk_ok(r, NULL, NULL);
	assert_int_equal(log->nservices, 1);
	assert_int_equal(log->services[0].depth, 0);
	assert_int_equal(log->services[0].error, 0);
	assert_string_equal(log->services[0].traddr, "127.0.0.1");
	assert_int_equal(atoi(log->services[0].trsvcid), r->port);
	assert_int_equal(log->services[0].records, log->count);
	assert_int_equal(log->total, log->count);
	assert_int_equal(log->services[0].genctr, log->genctr);
	assert_non_null(entry(log, RIG_NQN));
	nof_discovery_free(log);
	rig_all_closed(r);
}

static void t_sync(struct rig *r)
{
	struct nof_discovery_log *log = NULL;

	if (r->drive != RIG_RUN) {
		rig_target(r, NULL, NULL);
		rig_loop(r);
		rig_opts(r, DISCOVERY, &r->opts);
		assert_int_equal(nof_discover_sync(r->loop, &r->opts, NULL, &log), 0);
		assert_non_null(entry(log, RIG_NQN));
		nof_discovery_free(log);
		log = NULL;
		rig_kill(r);
		assert_int_equal(nof_discover_sync(r->loop, &r->opts, NULL, &log), -ECONNREFUSED);
		assert_null(log);
		assert_non_null(strstr(nof_strerror_detail(), "nof_discover: "));
	}
}

static void t_referral(struct rig *r)
{
	struct farm farm = { 0 };
	struct rig *b = farm_target(&farm, r, "--nqn=" NQN("b") " --ns=null:1M");
	const struct forged e[] = {
		{ REFERRAL, NOF_DISCOVERY_NQN, .port = b->port },
		{ NVM, NQN("a"), .port = 4420 },
	};
	struct nof_discovery_log *log;

	rig_target(r, NULL, NULL);
	forge(r, e, 2, 7);
	log = walk_ok(r, NULL, NULL);
	assert_int_equal(log->nservices, 2);
	assert_int_equal(log->genctr, 7);
	assert_int_equal(service(log, b->port)->depth, 1);
	assert_int_equal(service(log, b->port)->parent, 0);
	assert_int_equal(service(log, b->port)->records, 1);
	assert_int_equal(log->count, 3);
	assert_int_equal(entry(log, NQN("a"))->service, 0);
	assert_int_equal(entry(log, NQN("b"))->service, 1);
	nof_discovery_free(log);
	/* What is known of the target's own address is not asked from it twice. */
	assert_int_equal(rig_stat(b, "accepted"), 1);
	rig_all_closed(b);
	farm_end(&farm);
}

/* F-32: a circle, and one that names itself. */
static void t_loop(struct rig *r)
{
	struct farm farm = { 0 };
	struct rig *b = farm_target(&farm, r, NULL);
	struct nof_discovery_log *log;

	rig_target(r, NULL, NULL);
	const struct forged e[] = {
		{ REFERRAL, NOF_DISCOVERY_NQN, .port = b->port },
		{ REFERRAL, NOF_DISCOVERY_NQN, .port = r->port },
		{ CURRENT, NOF_DISCOVERY_NQN, .port = r->port },
	};
	forge(r, e, 3, 1);
	refer(b, r);
	log = walk_ok(r, NULL, NULL);
	assert_int_equal(log->nservices, 2);
	assert_int_equal(rig_stat(r, "accepted"), 1);
	assert_int_equal(rig_stat(b, "accepted"), 1);
	nof_discovery_free(log);
	/* Asked by a name, it is known again by the address where it was reached. */
	rig_opts(r, DISCOVERY, &r->opts);
	strcpy(r->opts.traddr, "localhost");
	log = NULL;
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_discover(r->loop, &r->opts, NULL, &log,
							       rig_done, op))), 0);
	assert_int_equal(log->nservices, 2);
	assert_string_equal(log->services[0].traddr, "localhost");
	nof_discovery_free(log);
	farm_end(&farm);
}

static void t_depth(struct rig *r)
{
	static const struct { uint32_t max; size_t services; } cases[] = {
		{ 0, 1 }, { 1, 2 }, { 2, 3 }, { 64, 4 },
	};
	struct farm farm = { 0 };
	struct rig *d = farm_target(&farm, r, NULL), *c = farm_target(&farm, r, NULL),
		   *b = farm_target(&farm, r, NULL);

	rig_target(r, NULL, NULL);
	refer(r, b);
	refer(b, c);
	refer(c, d);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct nof_discover_opts o;
		struct nof_discovery_log *log;

		nof_discover_opts_init(&o);
		o.max_depth = cases[i].max;
		log = walk_ok(r, NULL, &o);
		assert_int_equal(log->nservices, cases[i].services);
		nof_discovery_free(log);
	}
	farm_end(&farm);
}

/* F-32: no log makes us ask more than so many. */
static void t_limits(struct rig *r)
{
	struct farm farm = { 0 };
	struct rig *b = farm_target(&farm, r, "--nqn=" NQN("b0") " --ns=null:1M --nqn="
				    NQN("b1") " --ns=null:1M --nqn=" NQN("b2") " --ns=null:1M");
	struct rig *c = farm_target(&farm, r, NULL);
	const struct forged e[] = {
		{ REFERRAL, NOF_DISCOVERY_NQN, .port = b->port },
		{ REFERRAL, NOF_DISCOVERY_NQN, .port = c->port },
	};
	struct nof_discovery_log *log;
	struct nof_discover_opts o;

	rig_target(r, NULL, NULL);
	forge(r, e, 2, 1);
	nof_discover_opts_init(&o);
	o.max_services = 2;
	o.max_parallel = 1;
	o.max_records = 3;
	log = walk_ok(r, NULL, &o);
	assert_int_equal(log->nservices, 2);
	assert_int_equal(rig_stat(c, "accepted"), 0);
	assert_int_equal(log->count, 3);	/* both referrals, and one of three */
	assert_int_equal(log->total, 5);
	nof_discovery_free(log);
	farm_end(&farm);
}

static void t_dead_referral(struct rig *r)
{
	int fd;
	const struct forged e[] = {
		{ REFERRAL, NOF_DISCOVERY_NQN, .port = dead_port(&fd) },
		{ NVM, NQN("a"), .port = 4420 },
	};
	struct nof_discovery_log *log;

	rig_target(r, NULL, NULL);
	forge(r, e, 2, 1);
	log = walk_ok(r, NULL, NULL);
	assert_int_equal(log->nservices, 2);
	assert_int_equal(service(log, e[0].port)->error, -ECONNREFUSED);
	assert_non_null(strstr(service(log, e[0].port)->detail, "refused"));
	assert_non_null(entry(log, NQN("a")));
	nof_discovery_free(log);
	close(fd);
}

/* One that accepts and says nothing costs its own time limit only. */
static void t_silent_referral(struct rig *r)
{
	struct farm farm = { 0 };
	struct rig *b = farm_target(&farm, r, NULL);
	struct nof_discovery_log *log;
	struct nof_discover_opts o;

	rig_target(r, NULL, NULL);
	refer(r, b);
	nof_discover_opts_init(&o);
	o.service_timeout_ms = 300;
	rig_fault(b, "on=log do=silence");
	log = walk_ok(r, NULL, &o);
	assert_int_equal(service(log, b->port)->error, -ETIMEDOUT);
	nof_discovery_free(log);
	rig_all_closed(b);
	/* The same by the limit of the whole walk. */
	o.service_timeout_ms = 10000;
	o.timeout_ms = 300;
	rig_fault(b, "on=icreq do=silence");
	log = walk_ok(r, NULL, &o);
	assert_int_equal(service(log, b->port)->error, -ETIMEDOUT);
	assert_non_null(strstr(service(log, b->port)->detail, "timeout_ms"));
	nof_discovery_free(log);
	farm_end(&farm);
}

/* Three that say nothing are waited for together, or one after the other. */
static void t_parallel(struct rig *r)
{
	struct nof_discovery_log *log = NULL;
	struct nof_discover_opts o;
	struct farm farm = { 0 };
	struct forged e[3];
	struct rig_op *op_;

	for (int i = 0; i < 3; i++) {
		e[i] = (struct forged){ REFERRAL, NOF_DISCOVERY_NQN };
		e[i].port = farm_target(&farm, r, NULL)->port;
		rig_fault(farm.at[i], "on=icreq do=silence");
	}
	rig_target(r, NULL, NULL);
	forge(r, e, 3, 1);
	rig_loop(r);
	rig_opts(r, DISCOVERY "&connect_timeout=30", &r->opts);
	nof_discover_opts_init(&o);
	op_ = RIG_SUBMIT(r, nof_discover(r->loop, &r->opts, &o, &log, rig_done, op));
	for (int i = 0; i < 3; i++)
		RIG_UNTIL(r, rig_stat(farm.at[i], "accepted") == 1);
	assert_int_equal(op_->count, 0);
	nof_discover_cancel(r->loop, op_);
	o.max_parallel = 1;
	op_ = RIG_SUBMIT(r, nof_discover(r->loop, &r->opts, &o, &log, rig_done, op));
	RIG_UNTIL(r, rig_stat(farm.at[0], "accepted") == 2);
	assert_int_equal(rig_stat(farm.at[1], "accepted"), 1);
	rig_control(farm.at[0], "drop");
	RIG_UNTIL(r, rig_stat(farm.at[1], "accepted") == 2);
	assert_int_equal(rig_stat(farm.at[2], "accepted"), 1);
	nof_discover_cancel(r->loop, op_);
	farm_end(&farm);
}

static void t_first_is_dead(struct rig *r)
{
	struct nof_discovery_log *log = NULL;
	struct nof_discover_opts o;

	nof_discover_opts_init(&o);
	o.timeout_ms = 200;
	rig_target(r, NULL, "on=icreq do=silence");
	assert_int_equal(walk(r, NULL, &o, &log), -ETIMEDOUT);
	rig_fault(r, "on=log nth=2 do=reset");
	assert_int_equal(walk(r, NULL, NULL, &log), -ECONNRESET);
	rig_kill(r);
	assert_int_equal(walk(r, NULL, NULL, &log), -ECONNREFUSED);
	assert_null(log);
}

/* Where a log must not lead us: each is reported and none is asked. */
static void t_unusable(struct rig *r)
{
	static const struct { struct forged e; int error; const char *says; } cases[] = {
		{ { REFERRAL, NOF_DISCOVERY_NQN, .trtype = 1 }, -EPROTONOSUPPORT, "RDMA" },
		{ { REFERRAL, NOF_DISCOVERY_NQN, .trtype = 4 }, -EPROTONOSUPPORT, "TRTYPE 4" },
		{ { REFERRAL, NOF_DISCOVERY_NQN, .adrfam = 4 }, -EAFNOSUPPORT, "ADRFAM 4" },
		{ { REFERRAL, NOF_DISCOVERY_NQN, .adrfam = 2 }, -EPROTO, "family" },
		{ { REFERRAL, NOF_DISCOVERY_NQN, "localhost" }, -EPROTO, "looked up" },
		{ { REFERRAL, NOF_DISCOVERY_NQN, "0.0.0.0" }, -EPROTO, "single host" },
		{ { REFERRAL, NOF_DISCOVERY_NQN, "239.1.2.3" }, -EPROTO, "single host" },
		{ { REFERRAL, NOF_DISCOVERY_NQN, "::", .adrfam = 2 }, -EPROTO, "single host" },
		{ { REFERRAL, NOF_DISCOVERY_NQN, "fe80::1%lo", .adrfam = 2 }, -EPROTO, "numeric" },
		{ { REFERRAL, NOF_DISCOVERY_NQN, .trsvcid = "0" }, -EPROTO, "TRSVCID" },
		{ { REFERRAL, NOF_DISCOVERY_NQN, .trsvcid = "65536" }, -EPROTO, "TRSVCID" },
		{ { REFERRAL, NOF_DISCOVERY_NQN, .trsvcid = "" }, -EPROTO, "TRSVCID" },
		{ { REFERRAL, "" }, -EPROTO, "NQN" },
		{ { REFERRAL, NOF_DISCOVERY_NQN, .treq = 1 }, -ENOTSUP, "TLS" },
		{ { CURRENT, NOF_DISCOVERY_NQN, .treq = 5 }, -ENOTSUP, "secure channel" },
	};
	struct farm farm = { 0 };
	struct rig *b = farm_target(&farm, r, NULL);

	rig_target(r, NULL, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct nof_discovery_log *log;
		struct forged e = cases[i].e;

		e.port = b->port;
		forge(r, &e, 1, i);
		log = walk_ok(r, NULL, NULL);
		assert_int_equal(log->count, 1);
		assert_int_equal(log->nservices, 2);
		assert_int_equal(log->services[1].error, cases[i].error);
		if (!strstr(log->services[1].detail, cases[i].says))
			fail_msg("case %zu: \"%s\"", i, log->services[1].detail);
		nof_discovery_free(log);
	}
	assert_int_equal(rig_stat(b, "accepted"), 0);
	farm_end(&farm);
}

/* EFLAGS.DUPRETINFO: one way to the same service is enough, another is for when it is dead. */
static void t_same_information(struct rig *r)
{
	struct farm farm = { 0 };
	struct rig *b = farm_target(&farm, r, NULL), *c = farm_target(&farm, r, NULL);
	int fd;
	struct forged e[] = {
		{ REFERRAL, NOF_DISCOVERY_NQN, .port = b->port, .eflags = DUPRETINFO },
		{ CURRENT, NOF_DISCOVERY_NQN, .port = c->port, .eflags = DUPRETINFO },
		{ CURRENT, NOF_DISCOVERY_NQN, .port = 0, .eflags = 0 },
	};
	struct nof_discovery_log *log;

	rig_target(r, NULL, NULL);
	e[2].port = b->port;
	forge(r, e, 3, 1);
	log = walk_ok(r, NULL, NULL);
	assert_int_equal(log->nservices, 2);
	assert_int_equal(rig_stat(b, "accepted"), 1);
	assert_int_equal(rig_stat(c, "accepted"), 0);
	nof_discovery_free(log);

	/* A name of its own: neither of these targets knows it, both refuse. */
	e[0] = (struct forged){ REFERRAL, NQN("cdc"), .port = b->port, .eflags = DUPRETINFO };
	e[1] = (struct forged){ REFERRAL, NQN("cdc"), .port = c->port, .eflags = DUPRETINFO };
	forge(r, e, 2, 2);
	log = walk_ok(r, NULL, NULL);
	assert_int_equal(log->nservices, 3);
	assert_int_equal(service(log, b->port)->error, -ENOENT);
	assert_int_equal(service(log, c->port)->error, -ENOENT);
	nof_discovery_free(log);
	assert_int_equal(rig_stat(c, "accepted"), 1);

	e[0] = (struct forged){ REFERRAL, RIG_NQN, .port = dead_port(&fd), .eflags = DUPRETINFO };
	e[1] = (struct forged){ REFERRAL, RIG_NQN, .port = c->port, .eflags = DUPRETINFO };
	forge(r, e, 2, 3);
	log = walk_ok(r, NULL, NULL);
	assert_int_equal(log->nservices, 3);
	assert_int_equal(service(log, e[0].port)->error, -ECONNREFUSED);
	/* That is a subsystem: it is left at once. */
	assert_int_equal(service(log, c->port)->error, -EOPNOTSUPP);
	nof_discovery_free(log);
	close(fd);
	farm_end(&farm);
}

/* Behind NAT: the log names addresses that only the map makes reachable. */
static void t_addr_map(struct rig *r)
{
	struct farm farm = { 0 };
	struct rig *b = farm_target(&farm, r, "--nqn=" NQN("b") " --ns=null:1M");
	const struct forged e[] = {
		{ REFERRAL, NOF_DISCOVERY_NQN, "192.0.2.7", .port = 8009 },
		{ REFERRAL, NOF_DISCOVERY_NQN, "2001:db8::1", .port = b->port, .adrfam = 2 },
	};
	struct nof_discovery_log *log;
	char map[256];

	rig_target(r, NULL, NULL);
	forge(r, e, 2, 1);
	snprintf(map, sizeof(map), "addr_map=[2001:db8:0::1]=127.0.0.1,192.0.2.7:8009=127.0.0.1:%u",
		 b->port);
	log = walk_ok(r, map, NULL);
	assert_int_equal(log->nservices, 2);	/* both are b */
	assert_int_equal(service(log, b->port)->error, 0);
	assert_string_equal(service(log, b->port)->traddr, "127.0.0.1");
	assert_non_null(entry(log, NQN("b")));
	assert_string_equal(log->entries[0].traddr, "192.0.2.7");	/* as told */
	nof_discovery_free(log);
	farm_end(&farm);
}

/* The same subsystem port from two services is one entry, of the first. */
static void t_merge(struct rig *r)
{
	struct farm farm = { 0 };
	struct rig *b = farm_target(&farm, r, NULL);
	const struct forged of_a[] = {
		{ REFERRAL, NOF_DISCOVERY_NQN, .port = b->port },
		{ NVM, NQN("a"), .port = 4420, .eflags = NCC },
		{ NVM, NQN("a"), .port = 4421 },
	}, of_b[] = {
		{ NVM, NQN("a"), .port = 4421 },
		{ NVM, NQN("a"), .port = 4420, .trtype = 1 },
		{ NVM, NQN("b"), .port = 4420 },
		{ NVM, NQN("a"), "127.0.0.2", .port = 4420 },
	};
	struct nof_discovery_log *log;

	rig_target(r, NULL, NULL);
	forge(r, of_a, 3, 1);
	forge(b, of_b, 4, 2);
	log = walk_ok(r, NULL, NULL);
	assert_int_equal(log->count, 6);
	assert_int_equal(log->total, 6);
	assert_int_equal(log->entries[2].service, 0);
	assert_int_equal(log->entries[3].service, 1);
	assert_int_equal(log->services[1].records, 4);
	/* NCC is a word of central controllers. */
	assert_int_equal(log->entries[1].eflags, 0);
	nof_discovery_free(log);
	rig_control(r, "fault+ on=c2hdata for=identify cns=1 do=set:data8[1806]=2");
	log = walk_ok(r, NULL, NULL);
	assert_int_equal(log->entries[1].eflags, NCC);
	nof_discovery_free(log);
	farm_end(&farm);
}

/* Another port of the same service, which says so itself (TP8013), and LSP.PLEO. */
static void t_two_ports(struct rig *r)
{
	struct nof_discovery_log *log;
	struct nof_discover_opts o;

	rig_target(r, "--listen=127.0.0.1:0 --discovery-nqn=" NQN("service"), NULL);
	log = walk_ok(r, NULL, NULL);
	assert_int_equal(log->nservices, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(log->services[i].error, 0);
		assert_string_equal(log->services[i].subnqn, NQN("service"));
		assert_int_equal(log->services[i].records, 4);
	}
	assert_int_equal(log->count, 4);	/* both tell the same */
	assert_int_equal(rig_stat(r, "accepted"), 2);
	nof_discovery_free(log);
	nof_discover_opts_init(&o);
	o.flags = NOF_DISCOVER_PORT_LOCAL;
	log = walk_ok(r, NULL, &o);
	assert_int_equal(log->nservices, 1);
	assert_int_equal(log->count, 2);
	nof_discovery_free(log);
}

/* A service that knows no LSP bits is asked without them. */
static void t_lsp(struct rig *r)
{
	struct nof_discovery_log *log;
	struct nof_discover_opts o;

	rig_target(r, NULL, "on=cmd for=log lid=0x70 nth=1 do=status:2/dnr");
	nof_discover_opts_init(&o);
	o.flags = NOF_DISCOVER_PORT_LOCAL | NOF_DISCOVER_ALL_SUBSYSTEMS;
	log = walk_ok(r, NULL, &o);
	assert_non_null(entry(log, RIG_NQN));
	assert_int_equal(rig_stat(r, "faults_fired"), 1);
	nof_discovery_free(log);
}

static void t_cancel(struct rig *r)
{
	struct farm farm = { 0 };
	struct rig *b = farm_target(&farm, r, NULL);
	struct nof_discovery_log *log = NULL;
	struct rig_op *ops[2];

	rig_target(r, NULL, NULL);
	refer(r, b);
	rig_fault(b, "on=icreq do=silence");
	rig_loop(r);
	rig_opts(r, DISCOVERY, &r->opts);
	ops[0] = RIG_SUBMIT(r, nof_discover(r->loop, &r->opts, NULL, &log, rig_done, op));
	RIG_UNTIL(r, rig_stat(b, "accepted"));
	ops[1] = RIG_SUBMIT(r, nof_discover(r->loop, &r->opts, NULL, &log, rig_done, op));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(nof_discover_cancel(r->loop, ops[i]), 1);
		assert_int_equal(ops[i]->count, 1);
		assert_int_equal(ops[i]->error, -ECANCELED);
		assert_int_equal(nof_discover_cancel(r->loop, ops[i]), 0);
	}
	assert_null(log);
	farm_end(&farm);
}

static struct {
	struct rig *r;
	struct nof_discovery_log *log;
	unsigned calls;
} stubborn;

/* Tries again whenever it failed, as programs do. */
static void on_failure(void *arg, const struct nof_completion *c)
{
	/* The test's own end: the loop that it looks for would not be one. */
	if (++stubborn.calls == 100)
		fail_msg("canceled %u times in one call", stubborn.calls);
	if (c->error && stubborn.r)
		assert_int_equal(nof_discover(stubborn.r->loop, &stubborn.r->opts, NULL,
					      &stubborn.log, on_failure, arg), 0);
}

/* One that is begun by the callback of one that was canceled is not canceled as well. */
static void t_cancel_ends(struct rig *r)
{
	rig_target(r, NULL, "on=icreq do=silence");
	rig_loop(r);
	rig_opts(r, DISCOVERY, &r->opts);
	memset(&stubborn, 0, sizeof(stubborn));
	stubborn.r = r;
	assert_int_equal(nof_discover(r->loop, &r->opts, NULL, &stubborn.log, on_failure,
				      &stubborn), 0);
	rig_turn(r, 10);
	assert_int_equal(nof_discover_cancel(r->loop, &stubborn), 1);
	assert_int_equal(stubborn.calls, 1);
	stubborn.r = NULL;
	assert_int_equal(nof_discover_cancel(r->loop, &stubborn), 1);
	assert_int_equal(nof_discover_cancel(r->loop, &stubborn), 0);
	assert_int_equal(stubborn.calls, 2);
}

static void t_refused(struct rig *r)
{
	struct nof_discovery_log *log = NULL;
	struct nof_discover_opts o;

	rig_loop(r);
	r->port = 1;
	rig_opts(r, DISCOVERY, &r->opts);
	nof_discover_opts_init(&o);
#define REFUSES(field, value)                                                                    \
	do {                                                                                     \
		nof_discover_opts_init(&o);                                                      \
		o.field = value;                                                                 \
		RIG_REFUSES(nof_discover(r->loop, &r->opts, &o, &log, rig_done, NULL), EINVAL);  \
	} while (0)
	REFUSES(size, 8);
	REFUSES(max_services, 0);
	REFUSES(max_services, 65);
	REFUSES(max_parallel, 0);
	REFUSES(timeout_ms, 0);
	REFUSES(flags, 4);
	strcpy(r->opts.addr_map, "nonsense");
	RIG_REFUSES(nof_discover(r->loop, &r->opts, NULL, &log, rig_done, NULL), EINVAL);
	r->opts.addr_map[0] = 0;
	r->opts.traddr[0] = 0;
	RIG_REFUSES(nof_discover(r->loop, &r->opts, NULL, &log, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_discover(NULL, &r->opts, NULL, &log, rig_done, NULL), EINVAL);
}

static const struct rig_test tests[] = {
	{ "f30_one_service", t_one },
	{ "f30_sync", t_sync },
	{ "f32_referral", t_referral },
	{ "f32_loop", t_loop },
	{ "f32_depth", t_depth },
	{ "f32_limits", t_limits },
	{ "f32_dead_referral", t_dead_referral },
	{ "f32_silent_referral", t_silent_referral },
	{ "f32_parallel", t_parallel },
	{ "f32_first_is_dead", t_first_is_dead },
	{ "f31_unusable", t_unusable },
	{ "f31_same_information", t_same_information },
	{ "f32_addr_map", t_addr_map },
	{ "f31_merge", t_merge },
	{ "f30_two_ports", t_two_ports },
	{ "f32_lsp", t_lsp },
	{ "f32_cancel", t_cancel },
	{ "f32_cancel_ends", t_cancel_ends },
	{ "f32_refused", t_refused },
};

int main(void)
{
	return rig_main("discovery_walk", tests, ARRAY_SIZE(tests));
}
