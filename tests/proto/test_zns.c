/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zoned namespaces (nof.h, section Zones): report by pages, management, append, and writes
 * in order; what a controller says about zones is not believed unseen.
 */
#include "rig.h"

/* 64 zones of 256 blocks, 200 of them writable. */
#define NS "--ns=mem:8M,bs=512,zns=128k,zcap=100k"
#define REPORT "on=c2hdata for=zonerecv "

enum { BS = 512, ZONE = 256, CAP = 200, ZONES = 64 };

static int report(struct rig *r, uint64_t lba, enum nof_zone_filter f, struct nof_zone *z,
		  uint32_t max)
{
	return rig_finish(RIG_SUBMIT(r, nof_zone_report(r->chan, lba, f, z, max, rig_done, op)));
}

static int mgmt(struct rig *r, uint64_t zone, enum nof_zone_action a)
{
	return rig_finish(RIG_SUBMIT(r, nof_zone_mgmt(r->chan, zone, a, rig_done, op)));
}

static int append(struct rig *r, const void *buf, size_t len, uint64_t zone)
{
	return rig_finish(RIG_SUBMIT(r, nof_zone_append(r->chan, buf, len, zone, 0, rig_done, op)));
}

static void t_report(struct rig *r)
{
	static struct nof_zone z[ZONES + 1];

	rig_target(r, NS, NULL);
	rig_open(r, NULL);
	assert_int_equal(r->info.csi, 2);
	assert_int_equal(r->info.zone_size, ZONE);
	assert_int_equal(r->info.zones, ZONES);
	memset(z, 0x55, sizeof(z));
	assert_int_equal(report(r, 0, NOF_ZONES_ALL, z, ZONES + 1), 0);
	assert_int_equal(r->last->result, ZONES);
	for (unsigned i = 0; i < ZONES; i++) {
		assert_int_equal(z[i].start, i * ZONE);
		assert_int_equal(z[i].capacity, CAP);
		assert_int_equal(z[i].write_pointer, i * ZONE);
		assert_int_equal(z[i].state, NOF_ZONE_EMPTY);
		assert_int_equal(z[i].type, 2);
	}
	assert_int_equal(z[ZONES].state, 0x55);
	/* From the middle of a zone on, and less than there are. */
	assert_int_equal(report(r, 5 * ZONE + 17, NOF_ZONES_ALL, z, 3), 0);
	assert_int_equal(r->last->result, 3);
	assert_int_equal(z[0].start, 5 * ZONE);
	assert_int_equal(z[2].start, 7 * ZONE);
	/* Only those in a state. */
	assert_int_equal(mgmt(r, 9 * ZONE, NOF_ZONE_OPEN), 0);
	assert_int_equal(mgmt(r, 50 * ZONE, NOF_ZONE_FINISH), 0);
	assert_int_equal(nof_pzone_report(r->chan, 0, NOF_ZONES_EXPLICIT_OPEN, z, ZONES), 1);
	assert_int_equal(z[0].start, 9 * ZONE);
	assert_int_equal(nof_pzone_report(r->chan, 0, NOF_ZONES_FULL, z, ZONES), 1);
	assert_int_equal(z[0].start, 50 * ZONE);
	assert_true(z[0].write_pointer == UINT64_MAX);
	assert_int_equal(nof_pzone_report(r->chan, 0, NOF_ZONES_EMPTY, z, ZONES), ZONES - 2);
	assert_int_equal(nof_pzone_report(r->chan, 0, NOF_ZONES_OFFLINE, z, ZONES), 0);
	assert_int_equal(nof_pzone_report(r->chan, 51 * ZONE, NOF_ZONES_FULL, z, ZONES), 0);
	RIG_REFUSES(nof_zone_report(r->chan, ZONES * ZONE, NOF_ZONES_ALL, z, 1, rig_done, NULL),
		    ERANGE);
	RIG_REFUSES(nof_zone_report(r->chan, 0, NOF_ZONES_ALL, z, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_zone_report(r->chan, 0, NOF_ZONES_ALL, NULL, 1, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_zone_report(r->chan, 0, (enum nof_zone_filter)8, z, 1, rig_done, NULL),
		    EINVAL);
	assert_int_equal(rig_disconnect(r), 0);
}

/* 1024 zones of 8 blocks, 127 in one answer. */
#define MANY "--ns=mem:4M,bs=512,zns=4k --mdts=1"

static void t_pages(struct rig *r)
{
	enum { N = 1024 };
	struct nof_zone *z = calloc(N + 1, sizeof(*z));
	uint64_t before;

	rig_target(r, MANY, NULL);
	rig_open(r, NULL);
	assert_int_equal(r->info.zones, N);
	before = rig_stat(r, "commands");
	assert_int_equal(report(r, 0, NOF_ZONES_ALL, z, N + 1), 0);
	assert_int_equal(r->last->result, N);
	assert_int_equal(rig_stat(r, "commands") - before, 9);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(z[i].start, i * 8);
	/* Exactly a page, and one more. */
	assert_int_equal(report(r, 800, NOF_ZONES_ALL, z, 127), 0);
	assert_int_equal(r->last->result, 127);
	assert_int_equal(report(r, 800, NOF_ZONES_ALL, z, 128), 0);
	assert_int_equal(r->last->result, 128);
	assert_int_equal(z[127].start, 800 + 127 * 8);
	assert_int_equal(rig_disconnect(r), 0);
	free(z);
}

static void t_states(struct rig *r)
{
	static uint8_t buf[CAP * BS];
	struct nof_zone z;

	rig_target(r, NS ",mor=2,mar=3", NULL);
	rig_open(r, NULL);
	assert_int_equal(r->info.max_open_zones, 2);
	assert_int_equal(r->info.max_active_zones, 3);
	assert_int_equal(rig_write(r, buf, 10 * BS, 0, 0), 0);
	assert_int_equal(nof_pzone_report(r->chan, 0, NOF_ZONES_ALL, &z, 1), 1);
	assert_int_equal(z.state, NOF_ZONE_IMPLICIT_OPEN);
	assert_int_equal(z.write_pointer, 10);
	/* Not at the write pointer. */
	assert_true(rig_write(r, buf, BS, 0, 0) < 0);
	assert_int_equal(r->last->status & 0x7ff, 0x1bc);
	assert_int_equal(mgmt(r, 0, NOF_ZONE_CLOSE), 0);
	assert_int_equal(mgmt(r, ZONE, NOF_ZONE_OPEN), 0);
	assert_int_equal(mgmt(r, 2 * ZONE, NOF_ZONE_OPEN), 0);
	assert_true(mgmt(r, 3 * ZONE, NOF_ZONE_OPEN) < 0);
	assert_int_equal(mgmt(r, 0, NOF_ZONE_FINISH), 0);
	assert_true(rig_write(r, buf, BS, 10 * BS, 0) < 0);
	assert_int_equal(nof_pzone_mgmt(r->chan, 0, NOF_ZONE_RESET), 0);
	assert_int_equal(rig_write(r, buf, BS, 0, 0) == 0, false);	/* two are open */
	assert_int_equal(nof_pzone_mgmt(r->chan, NOF_ZONE_EVERY, NOF_ZONE_CLOSE), 0);
	assert_int_equal(nof_pzone_mgmt(r->chan, NOF_ZONE_EVERY, NOF_ZONE_RESET), 0);
	assert_int_equal(nof_pzone_report(r->chan, 0, NOF_ZONES_ALL, &z, 1), 1);
	assert_int_equal(z.state, NOF_ZONE_EMPTY);
	RIG_REFUSES(nof_zone_mgmt(r->chan, 7, NOF_ZONE_OPEN, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_zone_mgmt(r->chan, ZONES * ZONE, NOF_ZONE_OPEN, rig_done, NULL), ERANGE);
	RIG_REFUSES(nof_zone_mgmt(r->chan, 0, (enum nof_zone_action)6, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_zone_mgmt(NULL, 0, NOF_ZONE_OPEN, rig_done, NULL), EINVAL);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Many at a time: each says where it is, and there it is. */
static void t_append(struct rig *r)
{
	enum { N = 20 };
	static uint8_t buf[N][8 * BS], in[8 * BS];
	struct rig_op *ops[N];
	bool seen[CAP] = { false };
	uint64_t lba;

	rig_target(r, r->arg, NULL);
	rig_open(r, NULL);
	assert_true(r->info.features & NOF_NS_ZONE_APPEND);
	for (unsigned i = 0; i < N; i++) {
		rig_fill(buf[i], sizeof(buf[i]), i + 1);
		ops[i] = RIG_SUBMIT(r, nof_zone_append(r->chan, buf[i], (1 + i % 8) * BS, ZONE,
						       i & 1 ? NOF_IO_FUA : 0, rig_done, op));
	}
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(rig_finish(ops[i]), 0);
		assert_in_range(ops[i]->result, ZONE, ZONE + CAP - 1);
		for (unsigned k = 0; k < 1 + i % 8; k++) {
			assert_false(seen[ops[i]->result - ZONE + k]);
			seen[ops[i]->result - ZONE + k] = true;
		}
		assert_int_equal(rig_read(r, in, (1 + i % 8) * BS, ops[i]->result * BS, 0), 0);
		assert_memory_equal(in, buf[i], (1 + i % 8) * BS);
	}
	assert_int_equal(nof_pzone_append(r->chan, buf[0], BS, 3 * ZONE, 0, &lba), 0);
	assert_int_equal(lba, 3 * ZONE);
	RIG_REFUSES(nof_zone_append(r->chan, buf, BS, 1, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_zone_append(r->chan, buf, BS - 1, 0, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_zone_append(r->chan, buf, 0, 0, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_zone_append(r->chan, NULL, BS, 0, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_zone_append(r->chan, buf, BS, 0, NOF_IO_LBA, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_zone_append(r->chan, buf, BS, ZONES * ZONE, 0, rig_done, NULL), ERANGE);
	assert_int_equal(rig_disconnect(r), 0);
}

/* ZASL 1: 8 KiB, though MDTS allows more. */
static void t_zasl(struct rig *r)
{
	static uint8_t buf[32 * BS];

	rig_target(r, NS " --zasl=1", NULL);
	rig_open(r, NULL);
	assert_int_equal(r->info.max_append, 16 * BS);
	assert_int_equal(append(r, buf, 16 * BS, 0), 0);
	RIG_REFUSES(nof_zone_append(r->chan, buf, 17 * BS, 0, 0, rig_done, NULL), EMSGSIZE);
	assert_int_equal(rig_disconnect(r), 0);
}

/* A write that is split is written in order, whatever the target does with the first of it. */
static void t_split_write(struct rig *r)
{
	static uint8_t out[CAP * BS], in[CAP * BS];

	rig_target(r, NS " --mdts=1", NULL);
	rig_open(r, NULL);
	rig_fill(out, sizeof(out), 4);
	rig_fault(r, "on=write nth=1 do=delay:50");
	assert_int_equal(rig_write(r, out, sizeof(out), 0, 0), 0);
	assert_int_equal(rig_read(r, in, sizeof(in), 0, 0), 0);
	assert_memory_equal(in, out, sizeof(out));
	assert_int_equal(rig_disconnect(r), 0);
}

/* C-5: the effects log says that there is no Append. */
static void t_no_append(struct rig *r)
{
	static uint8_t buf[BS];

	rig_target(r, NS, "on=c2hdata for=log lid=5 do=set:data32[1524]=0");
	rig_open(r, NULL);
	assert_false(r->info.features & NOF_NS_ZONE_APPEND);
	RIG_REFUSES(nof_zone_append(r->chan, buf, BS, 0, 0, rig_done, NULL), EOPNOTSUPP);
	assert_non_null(strstr(nof_strerror_detail(), "log page 05h"));
	assert_int_equal(rig_disconnect(r), 0);
}

/* Reports that cannot be: EPROTO, and nothing hangs or is read twice. */
static void t_hostile(struct rig *r)
{
	static struct nof_zone z[ZONES];

	rig_target(r, NS, NULL);
	rig_open(r, NULL);
	rig_fault(r, r->arg);
	assert_int_equal(report(r, 0, NOF_ZONES_ALL, z, ZONES), -EPROTO);
	assert_non_null(strstr(r->last->detail, "target is at fault"));
	rig_control(r, "clear");
	assert_int_equal(report(r, 0, NOF_ZONES_ALL, z, ZONES), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Appended or not, nobody knows: it is not appended twice. A report begins its page again. */
static void t_append_lost(struct rig *r)
{
	static struct nof_zone z[1024];
	static uint8_t buf[BS];

	rig_target(r, MANY, NULL);
	rig_open(r, "ctrl_loss_tmo=10&reconnect_delay=0.2&write_hold=off&max_retries=5");
	rig_fault(r, "on=resp for=append nth=1 do=reset");
	assert_true(append(r, buf, BS, 0) < 0);
	rig_fault(r, "on=zonerecv nth=3 do=reset");
	assert_int_equal(report(r, 0, NOF_ZONES_ALL, z, 1024), 0);
	assert_int_equal(r->last->result, 1024);
	assert_int_equal(z[0].write_pointer, 1);
	/* A write of a zone neither. */
	rig_fault(r, "on=resp for=write nth=1 do=reset");
	assert_true(rig_write(r, buf, BS, 8 * BS, 0) < 0);
	assert_int_equal(r->last->status, 0);
	assert_int_equal(nof_pzone_report(r->chan, 8, NOF_ZONES_ALL, z, 1), 1);
	assert_int_equal(z[0].write_pointer, 9);
	assert_int_equal(rig_disconnect(r), 0);
}

/* The connection goes between two pages. */
static void t_lost(struct rig *r)
{
	static struct nof_zone z[1024];

	rig_target(r, MANY, NULL);
	rig_open(r, NULL);
	rig_fault(r, r->arg);
	assert_true(report(r, 0, NOF_ZONES_ALL, z, 1024) < 0);
	RIG_UNTIL(r, r->failures);
}

/* A namespace whose zones cannot be is not opened. */
static void t_bad_ident(struct rig *r)
{
	rig_target(r, NS, r->arg);
	assert_int_equal(rig_connect(r, NULL), 0);
	assert_true(rig_open_ns(r, NULL) < 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Two combinations of command sets: the one with zones is chosen. */
static void t_profile(struct rig *r)
{
	rig_target(r, NS, "on=c2hdata for=identify cns=0x1c do=set:data64[0]=1,set:data64[8]=5;"
		   "on=setfeatures fid=0x19 do=status:0");
	assert_int_equal(rig_connect(r, NULL), 0);
	assert_int_equal(rig_stat(r, "faults_fired"), 2);
	assert_int_equal(rig_open_ns(r, NULL), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

int main(void)
{
	const struct rig_test tests[] = {
		{ "report", t_report },
		{ "pages", t_pages },
		{ "states", t_states },
		{ "append", t_append, NS },
		{ "append_r2t", t_append, NS " --in-capsule=0" },
		{ "append_pi", t_append, NS ",ms=8,pi=1" },
		{ "append_zasl", t_zasl },
		{ "split_write", t_split_write },
		{ "c5_no_append", t_no_append },
		{ "hostile_count", t_hostile, REPORT "do=set:data64[0]=65" },
		{ "hostile_count_max", t_hostile, REPORT "do=set:data64[0]=0xffffffffffffffff" },
		{ "hostile_start", t_hostile, REPORT "do=set:data64[80]=1" },
		{ "hostile_start_again", t_hostile, REPORT "do=set:data64[144]=0" },
		{ "hostile_capacity", t_hostile, REPORT "do=set:data64[72]=257" },
		{ "hostile_state", t_hostile, REPORT "do=set:data8[65]=0x50" },
		{ "hostile_pointer", t_hostile, REPORT "do=set:data64[88]=999" },
		{ "append_lost", t_append_lost },
		{ "lost", t_lost, "on=zonerecv nth=3 do=reset" },
		{ "bad_zone_size_0", t_bad_ident,
		  "on=c2hdata for=identify cns=5 do=set:data64[2816]=0" },
		{ "bad_zone_size_max", t_bad_ident,
		  "on=c2hdata for=identify cns=5 do=set:data64[2816]=0xffffffffffffffff" },
		{ "bad_refused", t_bad_ident, "on=identify cns=5 do=status:2/dnr" },
		{ "f10_profile", t_profile },
	};

	return rig_main("zns", tests, ARRAY_SIZE(tests));
}
