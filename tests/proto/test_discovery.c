/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The discovery log (F-13, F-30, F-31): paging, changes meanwhile, hostile contents. */
#include "rig.h"

#define LOG "on=c2hdata for=log lid=0x70 "
#define DISCOVERY "subnqn=" NOF_DISCOVERY_NQN

static int get_log(struct rig *r, struct nof_discovery_log **log)
{
	return rig_finish(RIG_SUBMIT(r, nof_discovery_get(r->ctrl, log, rig_done, op)));
}

static void check_sane(const struct nof_discovery_log *log)
{
	assert_true(log->count <= 4096);
	for (size_t i = 0; i < log->count; i++) {
		const struct nof_discovery_entry *e = &log->entries[i];
		const char *s[] = { e->trsvcid, e->subnqn, e->traddr };

		assert_non_null(memchr(e->trsvcid, 0, sizeof(e->trsvcid)));
		assert_non_null(memchr(e->subnqn, 0, sizeof(e->subnqn)));
		assert_non_null(memchr(e->traddr, 0, sizeof(e->traddr)));
		for (int k = 0; k < 3; k++)
			for (const char *p = s[k]; *p; p++)
				assert_in_range(*p, ' ', '~');
	}
}

static void t_one(struct rig *r)
{
	struct nof_ctrl_info info = { .size = sizeof(info) };
	struct nof_discovery_log *log = NULL;
	char port[8];

	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, DISCOVERY), 0);
	assert_int_equal(nof_ctrl_get_info(r->ctrl, &info), 0);
	assert_true(info.is_discovery);
	assert_int_equal(get_log(r, &log), 0);
	check_sane(log);
	assert_int_equal(log->count, 1);
	assert_int_equal(log->total, 1);
	snprintf(port, sizeof(port), "%u", r->port);
	assert_int_equal(log->entries[0].trtype, 3);
	assert_int_equal(log->entries[0].adrfam, 1);
	assert_int_equal(log->entries[0].subtype, 2);
	assert_int_equal(log->entries[0].cntlid, 0xffff);
	assert_string_equal(log->entries[0].trsvcid, port);
	assert_string_equal(log->entries[0].subnqn, RIG_NQN);
	assert_string_equal(log->entries[0].traddr, "127.0.0.1");
	nof_discovery_free(log);
	RIG_REFUSES(nof_ns_open(r->ctrl, NULL, &r->ns, rig_done, NULL), ENODEV);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_paging(struct rig *r)
{
	enum { SUBSYSTEMS = 23 };
	struct nof_discovery_log *log = NULL;
	char options[4096], *p = options, nqn[64];

	for (int i = 0; i < SUBSYSTEMS; i++)
		p += sprintf(p, " --nqn=nqn.2025-11.org.example:disk%d --ns=null:1M", i);
	rig_target(r, options, NULL);
	assert_int_equal(rig_connect(r, DISCOVERY "&keep_alive_tmo=0"), 0);
	assert_int_equal(get_log(r, &log), 0);
	check_sane(log);
	assert_int_equal(log->count, SUBSYSTEMS);
	for (int i = 0; i < SUBSYSTEMS; i++) {
		bool is_there = false;

		snprintf(nqn, sizeof(nqn), "nqn.2025-11.org.example:disk%d", i);
		for (size_t k = 0; k < log->count; k++)
			is_there |= !strcmp(log->entries[k].subnqn, nqn);
		assert_true(is_there);
	}
	nof_discovery_free(log);
	assert_int_equal(rig_disconnect(r), 0);
}

/* One entry is read by three commands: header, entry, header. */
static void t_genctr_once(struct rig *r)
{
	struct nof_discovery_log *log = NULL;

	rig_target(r, NULL, LOG "nth=3 do=set:data64[0]=77");
	assert_int_equal(rig_connect(r, DISCOVERY), 0);
	assert_int_equal(get_log(r, &log), 0);
	assert_int_equal(log->count, 1);
	nof_discovery_free(log);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_genctr_always(struct rig *r)
{
	struct nof_discovery_log *log = NULL;

	rig_target(r, NULL, LOG "nth=3- every=3 do=set:data64[0]=77");
	assert_int_equal(rig_connect(r, DISCOVERY), 0);
	assert_int_equal(get_log(r, &log), -EAGAIN);
	assert_null(log);
	assert_int_equal(rig_stat(r, "faults_fired"), 6);
	rig_control(r, "clear");
	assert_int_equal(get_log(r, &log), 0);
	nof_discovery_free(log);
	assert_int_equal(rig_disconnect(r), 0);
}

struct numrec {
	const char *value;
	int error;
	uint64_t count;
};

static void t_numrec(struct rig *r)
{
	const struct numrec *k = r->arg;
	struct nof_discovery_log *log = NULL;
	char script[80];

	snprintf(script, sizeof(script), LOG "nth=1 do=set:data64[8]=%s", k->value);
	rig_target(r, NULL, script);
	assert_int_equal(rig_connect(r, DISCOVERY), 0);
	assert_int_equal(get_log(r, &log), k->error);
	if (!k->error) {
		check_sane(log);
		assert_int_equal(log->count, k->count);
	}
	nof_discovery_free(log);
	assert_int_equal(rig_disconnect(r), 0);
}

/* F-30: a target that has an entry for every question is stopped at 4096. */
static void t_numrec_endless(struct rig *r)
{
	struct nof_discovery_log *log = NULL;

	rig_target(r, NULL, LOG "do=set:data64[8]=0xffffffffffffffff; on=log lid=0x70 nth=2-1025 "
		   "do=inject:c2hdata:len=4096,status:0");
	assert_int_equal(rig_connect(r, DISCOVERY), 0);
	assert_int_equal(get_log(r, &log), 0);
	assert_int_equal(log->count, 4096);
	assert_true(log->total == UINT64_MAX);
	check_sane(log);
	nof_discovery_free(log);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_recfmt(struct rig *r)
{
	struct nof_discovery_log *log = NULL;

	rig_target(r, NULL, LOG "nth=1 do=set:data16[16]=1");
	assert_int_equal(rig_connect(r, DISCOVERY), 0);
	assert_int_equal(get_log(r, &log), -EPROTO);
	assert_int_equal(rig_disconnect(r), 0);
}

/* F-31: strings without an end, and with bytes that steer terminals. */
static void t_strings(struct rig *r)
{
	struct nof_discovery_log *log = NULL;
	char script[4096], *p = script;

	p += sprintf(p, LOG "nth=2 do=set:data8[0]=9");
	for (int i = 32; i < 64; i += 8)
		p += sprintf(p, ",set:data64[%d]=0x3131313131313131", i);
	for (int i = 256; i < 512; i += 8)
		p += sprintf(p, ",set:data64[%d]=0x4141414141414141", i);
	for (int i = 512; i < 768; i += 8)
		p += sprintf(p, ",set:data64[%d]=0x1b5b324a0a0d07ff", i);
	rig_target(r, NULL, script);
	assert_int_equal(rig_connect(r, DISCOVERY), 0);
	assert_int_equal(get_log(r, &log), 0);
	check_sane(log);
	assert_int_equal(log->entries[0].trtype, 9);
	assert_int_equal(strlen(log->entries[0].trsvcid), 32);
	assert_int_equal(strlen(log->entries[0].subnqn), 256);
	assert_int_equal(strlen(log->entries[0].traddr), 256);
	nof_discovery_free(log);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_not_a_discovery_controller(struct rig *r)
{
	struct nof_discovery_log *log = NULL;

	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, NULL), 0);
	RIG_REFUSES(nof_discovery_get(r->ctrl, &log, rig_done, NULL), EOPNOTSUPP);
	assert_int_equal(rig_disconnect(r), 0);
	RIG_REFUSES(nof_discovery_get(r->ctrl, &log, rig_done, NULL), EOPNOTSUPP);
}

static void t_lost_meanwhile(struct rig *r)
{
	struct nof_discovery_log *log = NULL;

	rig_target(r, NULL, "on=log lid=0x70 nth=2 do=reset");
	assert_int_equal(rig_connect(r, DISCOVERY), 0);
	assert_int_equal(get_log(r, &log), -ECONNRESET);
	assert_null(log);
	assert_int_equal(r->failures, 1);
}

static const struct rig_test tests[] = {
	{ "f30_one_entry", t_one },
	{ "f13_paging", t_paging },
	{ "f30_genctr_changes_once", t_genctr_once },
	{ "f30_genctr_changes_always", t_genctr_always },
	{ "f30_numrec_0", t_numrec, &(const struct numrec){ "0", 0, 0 } },
	{ "f30_numrec_more", t_numrec, &(const struct numrec){ "4", 0, 4 } },
	{ "f30_numrec_refused", t_numrec,
	  &(const struct numrec){ "0xffffffffffffffff", -EINVAL, 0 } },
	{ "f30_numrec_endless", t_numrec_endless },
	{ "f30_recfmt", t_recfmt },
	{ "f31_strings", t_strings },
	{ "f30_not_discovery", t_not_a_discovery_controller },
	{ "f30_lost_meanwhile", t_lost_meanwhile },
};

int main(void)
{
	return rig_main("discovery", tests, ARRAY_SIZE(tests));
}
