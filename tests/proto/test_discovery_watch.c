/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nof_discover_watch() (F-30, F-32): services that stay connected, events, loss and
 * return, and what is told of all that.
 */
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "farm.h"

#define DISCOVERY "subnqn=" NOF_DISCOVERY_NQN "&keep_alive_tmo=1&reconnect_delay=0.1"
#define NQN(name) "nqn.2025-11.org.example:" name

enum { REFERRAL = 1, NVM = 2, CURRENT = 3, EPCSD = 2 };

struct seen {
	struct rig *rig;
	struct nof_discovery_watch *watch;
	unsigned calls;
	char names[1024];		/* of all entries, each followed by a blank */
	char added[1024], removed[1024];	/* of the last call that had some */
	size_t nservices;
	int errors[8];			/* of the services */
	char first[257];		/* NQN of the first */
	bool frees;			/* free the watch from inside */
};

static void list(char *out, const struct nof_discovery_entry *const *e, size_t n)
{
	if (n)
		*out = 0;
	for (size_t i = 0; i < n; i++)
		if (strchr(e[i]->subnqn, ':'))	/* not the discovery NQN */
			sprintf(out + strlen(out), "%s ", strrchr(e[i]->subnqn, ':') + 1);
}

static void on_update(void *arg, const struct nof_discovery_update *u)
{
	struct seen *s = arg;
	const struct nof_discovery_entry *all[16];

	s->calls++;
	assert_true(u->log->count <= 16);
	for (size_t i = 0; i < u->log->count; i++)
		all[i] = &u->log->entries[i];
	s->names[0] = 0;
	list(s->names, all, u->log->count);
	list(s->added, u->added, u->nadded);
	list(s->removed, u->removed, u->nremoved);
	s->nservices = u->log->nservices;
	strcpy(s->first, u->log->services[0].subnqn);
	for (size_t i = 0; i < u->log->nservices && i < 8; i++)
		s->errors[i] = u->log->services[i].error;
	if (s->frees) {
		nof_discover_watch_free(s->watch);
		s->watch = NULL;
	}
	if (s->rig->drive == RIG_RUN)
		nof_loop_stop(s->rig->loop);
}

static void watch_with(struct rig *r, struct seen *s, const struct nof_discover_opts *dopts,
		       const char *extra)
{
	s->rig = r;
	rig_loop(r);
	rig_opts(r, extra, &r->opts);
	assert_int_equal(nof_discover_watch(r->loop, &r->opts, dopts, on_update, s, &s->watch), 0);
	assert_int_equal(s->calls, 0);
}

static void watch(struct rig *r, struct seen *s, const struct nof_discover_opts *dopts)
{
	watch_with(r, s, dopts, DISCOVERY "&ctrl_loss_tmo=10");
}

static void finish(struct rig *r, struct seen *s)
{
	unsigned calls = s->calls;

	nof_discover_watch_free(s->watch);
	rig_all_closed(r);
	assert_int_equal(s->calls, calls);
}

/* As the target does it when its log has changed. */
static void tell_changed(struct rig *r, struct rig *target)
{
	RIG_UNTIL(r, !strcmp(rig_control(target, "aen 2 0xf0 0x70"), "ok"));
}

static void t_first(struct rig *r)
{
	struct seen s = { 0 };

	rig_target(r, "--nqn=" NQN("a") " --ns=null:1M --nqn=" NQN("b") " --ns=null:1M", NULL);
	watch(r, &s, NULL);
	RIG_UNTIL(r, s.calls);
	assert_non_null(strstr(s.names, "a b "));
	assert_string_equal(s.added, s.names);
	assert_string_equal(s.removed, "");
	assert_int_equal(s.nservices, 1);
	assert_int_equal(s.errors[0], 0);
	assert_int_equal(rig_stat(r, "conns"), 1);
	finish(r, &s);
}

static void t_event(struct rig *r)
{
	const struct forged e[] = {
		{ NVM, NQN("a"), .port = 1 }, { NVM, NQN("b"), .port = 1 },
		{ NVM, NQN("c"), .port = 1 },
	};
	struct seen s = { 0 };
	uint64_t commands;

	rig_target(r, NULL, NULL);
	forge(r, e, 2, 1);
	watch(r, &s, NULL);
	RIG_UNTIL(r, s.calls);
	assert_string_equal(s.names, "a b ");
	forge(r, e + 1, 2, 2);
	tell_changed(r, r);
	RIG_UNTIL(r, s.calls == 2);
	assert_string_equal(s.names, "b c ");
	assert_string_equal(s.added, "c ");
	assert_string_equal(s.removed, "a ");
	/* Read again, found the same: nobody is bothered. */
	commands = rig_stat(r, "commands");
	tell_changed(r, r);
	RIG_UNTIL(r, rig_stat(r, "commands") >= commands + 3);
	forge(r, e, 1, 3);
	tell_changed(r, r);
	RIG_UNTIL(r, s.calls == 3);
	assert_string_equal(s.removed, "b c ");
	assert_string_equal(s.added, "a ");
	forge(r, e, 0, 4);
	assert_int_equal(nof_discover_watch_refresh(s.watch), 0);
	RIG_UNTIL(r, s.calls == 4);
	assert_string_equal(s.names, "");
	finish(r, &s);
}

/* What the target does by itself when its configuration changes. */
static void t_listener(struct rig *r)
{
	struct seen s = { 0 };

	rig_target(r, NULL, NULL);
	watch(r, &s, NULL);
	RIG_UNTIL(r, s.calls);
	assert_string_equal(s.names, "target ");
	assert_non_null(strstr(rig_control(r, "listen 127.0.0.1:0"), " port="));
	assert_string_equal(rig_control(r, "%s", ""), "ok");	/* ends the list */
	RIG_UNTIL(r, !strcmp(s.names, "target target "));
	assert_string_equal(s.added, "target ");
	assert_string_equal(rig_control(r, "unlisten 2"), "ok");
	RIG_UNTIL(r, !strcmp(s.names, "target "));
	assert_string_equal(s.removed, "target ");
	finish(r, &s);
}

/* A service that is lost is asked again when it is back; what it told stays until then. */
static void t_lost(struct rig *r)
{
	const struct forged e[] = {
		{ NVM, NQN("a"), .port = 1 }, { NVM, NQN("b"), .port = 1 },
	};
	struct nof_discover_opts o;
	struct seen s = { 0 };

	rig_target(r, NULL, NULL);
	forge(r, e, 1, 1);
	nof_discover_opts_init(&o);
	o.reread_ms = 50;
	watch_with(r, &s, &o, r->arg);
	RIG_UNTIL(r, s.calls);
	forge(r, e, 2, 2);
	assert_string_equal(rig_control(r, "drop"), "ok");
	RIG_UNTIL(r, strstr(s.names, "b "));
	assert_string_equal(s.names, "a b ");
	assert_string_equal(s.removed, "");
	assert_int_equal(s.errors[0], 0);
	/* And it still tells. */
	forge(r, e + 1, 1, 3);
	tell_changed(r, r);
	RIG_UNTIL(r, !strcmp(s.names, "b "));
	finish(r, &s);
}

/* The target is away for a while: that is told, and nothing is forgotten. */
static void t_away(struct rig *r)
{
	struct seen s = { 0 };
	char options[128];

	rig_target(r, NULL, NULL);
	watch(r, &s, NULL);
	RIG_UNTIL(r, s.calls);
	snprintf(options, sizeof(options), "--listen=127.0.0.1:%u --nqn=" NQN("b")
		 " --ns=null:1M", r->port);
	rig_kill(r);
	RIG_UNTIL(r, s.errors[0]);
	assert_string_equal(s.names, "target ");
	rig_target_restart(r);
	rig_target(r, options, NULL);
	RIG_UNTIL(r, !s.errors[0]);
	RIG_UNTIL(r, strstr(s.names, "b "));
	assert_string_equal(s.removed, "target ");
	finish(r, &s);
}

static void t_referrals(struct rig *r)
{
	struct farm farm = { 0 };
	struct rig *b = farm_target(&farm, r, NULL);
	const struct forged of_a[] = {
		{ NVM, NQN("a"), .port = 1 },
		{ REFERRAL, NOF_DISCOVERY_NQN, .port = b->port, .eflags = EPCSD },
	}, of_b[] = {
		{ NVM, NQN("b"), .port = 1 }, { NVM, NQN("c"), .port = 1 },
	};
	struct seen s = { 0 };

	rig_target(r, NULL, NULL);
	forge(r, of_a, 2, 1);
	forge(b, of_b, 1, 1);
	watch(r, &s, NULL);
	RIG_UNTIL(r, strstr(s.names, "b "));
	assert_int_equal(s.nservices, 2);
	assert_int_equal(rig_stat(b, "conns"), 1);
	forge(b, of_b, 2, 2);
	tell_changed(r, b);
	RIG_UNTIL(r, strstr(s.names, "c "));
	/* The referral is gone, and with it the service and what it said. */
	forge(r, of_a, 1, 2);
	tell_changed(r, r);
	RIG_UNTIL(r, s.nservices == 1);
	assert_string_equal(s.names, "a ");
	assert_non_null(strstr(s.removed, "b c "));
	RIG_EVENTUALLY(!rig_stat(b, "conns"));
	finish(r, &s);
	farm_end(&farm);
}

/* No EPCSD: it is left after each read, and read again in intervals. */
static void t_not_kept(struct rig *r)
{
	struct farm farm = { 0 };
	struct rig *b = farm_target(&farm, r, NULL);
	const struct forged of_a = { REFERRAL, NOF_DISCOVERY_NQN, .port = b->port };
	struct forged of_b[] = {
		{ NVM, NQN("b"), .port = 1 }, { NVM, NQN("c"), .port = 1 },
	};
	struct nof_discover_opts o;
	struct seen s = { 0 };

	rig_target(r, NULL, NULL);
	forge(r, &of_a, 1, 1);
	forge(b, of_b, 1, 1);
	nof_discover_opts_init(&o);
	o.reread_ms = 50;
	watch(r, &s, &o);
	RIG_UNTIL(r, strstr(s.names, "b "));
	forge(b, of_b, 2, 2);
	RIG_UNTIL(r, strstr(s.names, "c "));
	assert_true(rig_stat(b, "accepted") >= 2);
	/* Its own entry offers it (TP8013): then it is kept. */
	of_b[1] = (struct forged){ CURRENT, NOF_DISCOVERY_NQN, .port = b->port, .eflags = EPCSD };
	forge(b, of_b, 2, 3);
	RIG_UNTIL(r, !strstr(s.names, "c "));
	of_b[1] = (struct forged){ NVM, NQN("d"), .port = 1 };
	forge(b, of_b, 2, 4);
	RIG_UNTIL(r, !strcmp(rig_control(b, "aen 2 0xf0 0x70"), "ok"));
	RIG_UNTIL(r, strstr(s.names, "d "));
	finish(r, &s);
	farm_end(&farm);
}

/* TP8013: asked by the well-known name, kept by its own. */
static void t_unique(struct rig *r)
{
	struct seen s = { 0 };

	rig_target(r, "--discovery-nqn=" NQN("service"), NULL);
	watch(r, &s, NULL);
	RIG_UNTIL(r, s.calls);
	assert_string_equal(s.first, NQN("service"));
	assert_non_null(strstr(s.names, "service "));	/* its own entry */
	assert_int_equal(s.nservices, 1);
	assert_int_equal(rig_stat(r, "accepted"), 2);
	RIG_UNTIL(r, rig_stat(r, "conns") == 1);
	assert_string_equal(rig_control(r, "subsys-add " NQN("new")), "ok");
	RIG_UNTIL(r, strstr(s.names, "new "));
	finish(r, &s);
}

/* The same as a target does it, without forged logs. */
static void t_referral_event(struct rig *r)
{
	struct farm farm = { 0 };
	struct rig *b = farm_target(&farm, r, "--nqn=" NQN("b") " --ns=null:1M");
	struct seen s = { 0 };

	rig_target(r, NULL, NULL);
	watch(r, &s, NULL);
	RIG_UNTIL(r, s.calls);
	assert_string_equal(rig_control(r, "referral-add 127.0.0.1:%u", b->port), "ok");
	RIG_UNTIL(r, strstr(s.added, "b "));
	assert_int_equal(s.nservices, 2);
	assert_string_equal(rig_control(r, "referral-remove 127.0.0.1:%u", b->port), "ok");
	RIG_UNTIL(r, strstr(s.removed, "b "));
	assert_int_equal(s.nservices, 1);
	assert_string_equal(rig_control(r, "subsys-remove " RIG_NQN), "ok");
	RIG_UNTIL(r, !s.names[0]);
	finish(r, &s);
	farm_end(&farm);
}

/* TP8013: one that has a name of its own, but refuses to be called by it. */
static void t_unique_refused(struct rig *r)
{
	struct seen s = { 0 };

	/* "nqn.x:me" as SUBNQN of Identify */
	rig_target(r, NULL, "on=c2hdata for=identify cns=1 do=set:data64[768]=0x656d3a782e6e716e,"
		   "set:data64[776]=0,set:data64[784]=0,set:data64[792]=0,set:data64[800]=0");
	watch(r, &s, NULL);
	RIG_UNTIL(r, s.calls);
	assert_int_equal(s.errors[0], 0);
	assert_int_equal(rig_stat(r, "accepted"), 3);
	RIG_UNTIL(r, rig_stat(r, "conns") == 1);	/* the target sees closes later */
	finish(r, &s);
}

/* A watch on something that is not there yet. */
static void t_late(struct rig *r)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);
	struct nof_discover_opts o;
	struct seen s = { 0 };
	char options[128];
	int fd;

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	r->port = ntohs(sin.sin_port);
	nof_discover_opts_init(&o);
	o.reread_ms = 50;
	watch(r, &s, &o);
	RIG_UNTIL(r, s.calls);
	assert_int_equal(s.errors[0], -ECONNREFUSED);
	assert_string_equal(s.names, "");
	close(fd);
	snprintf(options, sizeof(options), "--listen=127.0.0.1:%u", r->port);
	rig_target(r, options, NULL);
	RIG_UNTIL(r, s.calls == 2);
	assert_int_equal(s.errors[0], 0);
	assert_non_null(strstr(s.added, "target "));
	finish(r, &s);
}

/* It may be freed at any time. */
static void t_free(struct rig *r)
{
	struct seen s = { 0 };

	rig_target(r, NULL, NULL);
	s.frees = true;
	watch(r, &s, NULL);
	RIG_UNTIL(r, s.calls);
	rig_all_closed(r);
	assert_int_equal(s.calls, 1);
	for (int turns = 0; turns < 12; turns++) {
		memset(&s, 0, sizeof(s));
		watch(r, &s, NULL);
		for (int i = 0; i < turns; i++)
			rig_turn(r, 1);
		nof_discover_watch_free(s.watch);
	}
	rig_all_closed(r);
}

static void t_refused(struct rig *r)
{
	struct nof_discovery_watch *w = NULL;

	rig_loop(r);
	r->port = 1;
	rig_opts(r, DISCOVERY, &r->opts);
	RIG_REFUSES(nof_discover_watch(r->loop, &r->opts, NULL, NULL, NULL, &w), EINVAL);
	r->opts.traddr[0] = 0;
	RIG_REFUSES(nof_discover_watch(r->loop, &r->opts, NULL, on_update, NULL, &w), EINVAL);
	RIG_REFUSES(nof_discover_watch_refresh(NULL), EINVAL);
	assert_null(w);
	nof_discover_watch_free(NULL);
}

static const struct rig_test tests[] = {
	{ "f32_first", t_first },
	{ "f32_event", t_event },
	{ "f32_listener", t_listener },
	{ "f32_lost_and_recovered", t_lost, DISCOVERY "&ctrl_loss_tmo=10" },
	{ "f32_lost_and_asked_anew", t_lost, DISCOVERY },
	{ "f32_away", t_away },
	{ "f32_referrals", t_referrals },
	{ "f31_not_kept", t_not_kept },
	{ "f30_unique", t_unique },
	{ "f32_referral_event", t_referral_event },
	{ "f30_unique_refused", t_unique_refused },
	{ "f32_late", t_late },
	{ "f32_free", t_free },
	{ "f32_refused", t_refused },
};

int main(void)
{
	return rig_main("discovery_watch", tests, ARRAY_SIZE(tests));
}
