/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Command cases named after blktests' tests/nvme (029 raw I/O, 054 reservations) and
 * SPDK's target/fused_ordering, with our own code against the scripted target.
 */
#include "peer.h"

static int raw(struct rig *r, const struct nof_passthru *c)
{
	return rig_finish(RIG_SUBMIT(r, nof_io_passthru(r->chan, c, rig_done, op)));
}

/* 029: reads and writes through the raw interface, from one block to the limit. */
static void t_raw_io(struct rig *r)
{
	struct nof_passthru c = { .size = sizeof(c) };
	uint8_t *out, *in;
	uint32_t bs, max;

	rig_target(r, r->arg, NULL);
	rig_open(r, NULL);
	bs = r->info.block_size;
	max = (uint32_t)r->info.max_transfer;
	out = malloc(max + bs);
	in = malloc(max + bs);
	for (uint32_t len = bs, lba = 0; len <= max; len *= 2) {
		uint32_t blocks = len / bs;

		rig_fill(out, len, len);
		memset(in, 0, len);
		c.cdw10 = lba;
		c.cdw11 = 0;
		c.cdw12 = blocks - 1;
		c.data_len = len;
		c.opcode = 1;
		c.data = out;
		assert_int_equal(raw(r, &c), 0);
		/* The same blocks by the raw and by the ordinary way. */
		c.opcode = 2;
		c.data = in;
		assert_int_equal(raw(r, &c), 0);
		assert_memory_equal(in, out, len);
		memset(in, 0, len);
		assert_int_equal(rig_read(r, in, len, (uint64_t)lba * bs, 0), 0);
		assert_memory_equal(in, out, len);
		lba += 3;
	}
	/* Behind the end: the controller says so, for nobody checks a raw command's range. */
	c.opcode = 2;
	c.data_len = bs;
	c.data = in;
	c.cdw10 = (uint32_t)r->info.blocks;
	c.cdw12 = 0;
	assert_int_equal(raw(r, &c), -ERANGE);
	/* More than one command may carry, and what belongs to the library. */
	c.cdw10 = 0;
	c.data_len = max + bs;
	c.cdw12 = c.data_len / bs - 1;
	assert_true(nof_io_passthru(r->chan, &c, rig_done, NULL) < 0);
	c.opcode = 0x7f;
	c.data_len = 0;
	RIG_REFUSES(nof_io_passthru(r->chan, &c, rig_done, NULL), EPERM);
	assert_int_equal(rig_read(r, in, bs, 0, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
	free(out);
	free(in);
}

/* ---- 054 ---- */

static int do_register(struct rig *r, struct nof_chan *c, enum nof_resv_register_action action,
		       uint64_t key, uint64_t new_key)
{
	return rig_finish(RIG_SUBMIT(r, nof_resv_register(c, action, key, new_key, 0, rig_done,
							  op)));
}

static int acquire(struct rig *r, struct nof_chan *c, enum nof_resv_type type, uint64_t key)
{
	return rig_finish(RIG_SUBMIT(r, nof_resv_acquire(c, NOF_RESV_ACQUIRE, type, key, 0, 0,
						      rig_done, op)));
}

static int release(struct rig *r, struct nof_chan *c, enum nof_resv_release_action action,
		   enum nof_resv_type type, uint64_t key)
{
	return rig_finish(RIG_SUBMIT(r, nof_resv_release(c, action, type, key, 0, rig_done, op)));
}

static void report(struct rig *r, struct nof_chan *c, enum nof_resv_type type,
		   uint32_t registrants, uint64_t first_key)
{
	struct nof_resv_status s = { .size = sizeof(s) };
	struct nof_registrant regs[4];

	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_resv_report(c, &s, regs, 4, rig_done, op))),
			 0);
	assert_int_equal(s.type, type);
	assert_int_equal(s.registrants, registrants);
	if (registrants)
		assert_int_equal(regs[0].key, first_key);
}

/* One host: register, replace, each type acquired and released, cleared, as there. */
static void t_resv_one(struct rig *r)
{
	struct nof_chan *c;

	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	c = r->chan;
	report(r, c, NOF_RESV_NONE, 0, 0);
	assert_int_equal(do_register(r, c, NOF_RESV_REGISTER, 0, 4), 0);
	report(r, c, NOF_RESV_NONE, 1, 4);
	assert_int_equal(do_register(r, c, NOF_RESV_REPLACE, 4, 5), 0);
	report(r, c, NOF_RESV_NONE, 1, 5);
	assert_int_equal(do_register(r, c, NOF_RESV_REPLACE, 4, 6), -EBADE);
	for (enum nof_resv_type t = NOF_RESV_WRITE_EXCLUSIVE; t <= NOF_RESV_EXCLUSIVE_ACCESS_ALL;
	     t++) {
		assert_int_equal(acquire(r, c, t, 5), 0);
		report(r, c, t, 1, 5);
		assert_int_equal(release(r, c, NOF_RESV_RELEASE, t, 5), 0);
		report(r, c, NOF_RESV_NONE, 1, 5);
	}
	assert_int_equal(acquire(r, c, NOF_RESV_WRITE_EXCLUSIVE, 5), 0);
	assert_int_equal(release(r, c, NOF_RESV_CLEAR, NOF_RESV_NONE, 5), 0);
	report(r, c, NOF_RESV_NONE, 0, 0);
	assert_int_equal(do_register(r, c, NOF_RESV_REGISTER, 0, 7), 0);
	assert_int_equal(do_register(r, c, NOF_RESV_UNREGISTER, 7, 0), 0);
	report(r, c, NOF_RESV_NONE, 0, 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Two hosts: the one without the reservation is kept out, until it preempts. */
static void t_resv_two(struct rig *r)
{
	struct nof_opts o;
	struct nof_ctrl *ctrl;
	struct nof_ns *ns;
	struct nof_chan *b;
	char buf[512] = { 0 };

	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	rig_opts(r, "hostnqn=nqn.2014-08.org.nvmexpress:uuid:"
		 "01234567-89ab-4cde-8f01-23456789abff", &o);
	assert_int_equal(nof_ctrl_new(r->loop, &o, rig_on_event, r, &ctrl), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(ctrl, rig_done, op))), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ns_open(ctrl, "1", &ns, rig_done, op))), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_chan_open(ns, r->loop, &b, rig_done, op))),
			 0);
	assert_int_equal(do_register(r, r->chan, NOF_RESV_REGISTER, 0, 0xa), 0);
	assert_int_equal(acquire(r, r->chan, NOF_RESV_WRITE_EXCLUSIVE, 0xa), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_write(b, buf, 512, 0, 0, rig_done, op))),
			 -EBADE);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_read(b, buf, 512, 0, 0, rig_done, op))), 0);
	assert_int_equal(rig_write(r, buf, 512, 0, 0), 0);
	assert_int_equal(acquire(r, b, NOF_RESV_WRITE_EXCLUSIVE, 0xb), -EBADE);
	assert_int_equal(do_register(r, b, NOF_RESV_REGISTER, 0, 0xb), 0);
	assert_int_equal(acquire(r, b, NOF_RESV_WRITE_EXCLUSIVE, 0xb), -EBADE);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_resv_acquire(b, NOF_RESV_PREEMPT,
		NOF_RESV_EXCLUSIVE_ACCESS, 0xb, 0xa, 0, rig_done, op))), 0);
	report(r, b, NOF_RESV_EXCLUSIVE_ACCESS, 1, 0xb);
	assert_int_equal(rig_read(r, buf, 512, 0, 0), -EBADE);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_write(b, buf, 512, 0, 0, rig_done, op))), 0);
	assert_int_equal(release(r, b, NOF_RESV_RELEASE, NOF_RESV_EXCLUSIVE_ACCESS, 0xb), 0);
	assert_int_equal(rig_read(r, buf, 512, 0, 0), 0);
	nof_chan_close(b);
	nof_ns_close(ns);
	nof_ctrl_free(ctrl);
	assert_int_equal(rig_disconnect(r), 0);
}

/* ---- fused_ordering ---- */

enum { COUNTERS = 8, STEPS = 40 };

struct counter {
	struct rig *r;
	struct rig_op *step;
	unsigned value;
	bool is_bad;
	uint8_t expected[512], data[512];
};

static void count(struct counter *c);

static void counted(void *arg, const struct nof_completion *cpl)
{
	struct counter *c = arg;

	rig_done(c->step, cpl);
	if (cpl->error)
		c->is_bad = true;
	else if (++c->value < STEPS)
		count(c);
}

/* The block must hold value, and then holds value + 1. */
static void count(struct counter *c)
{
	struct rig *r = c->r;
	uint64_t off = 8192 + (uint64_t)c->data[511] * 512;

	rig_fill(c->expected, 511, c->value);
	rig_fill(c->data, 511, c->value + 1);
	c->step = rig_op(r);
	rig_accept(c->step, nof_compare_write(r->chan, c->expected, c->data, 512, off, 0, counted,
					      c));
}

/* Pairs in the middle of other commands of all kinds stay pairs, and in their order. */
static void t_fused_ordering(struct rig *r)
{
	struct counter *c = calloc(COUNTERS, sizeof(*c));
	struct load *l;
	unsigned done;

	rig_target(r, r->arg, NULL);
	rig_open(r, "queue_size=32");
	for (unsigned i = 0; i < COUNTERS; i++) {
		c[i].r = r;
		c[i].expected[511] = c[i].data[511] = (uint8_t)i;
		rig_fill(c[i].data, 511, 0);
		assert_int_equal(rig_write(r, c[i].data, 512, 8192 + 512 * i, 0), 0);
	}
	l = peer_load(r, &(struct load_opts){ .base = 1 << 20, .depth = 12 });
	for (unsigned i = 0; i < COUNTERS; i++)
		count(&c[i]);
	do {
		peer_more(r, l, 10);
		done = 0;
		for (unsigned i = 0; i < COUNTERS; i++) {
			assert_false(c[i].is_bad);
			done += c[i].value == STEPS;
		}
	} while (done < COUNTERS);
	peer_finish(r, l);
	for (unsigned i = 0; i < COUNTERS; i++) {
		assert_int_equal(rig_read(r, c[i].data, 512, 8192 + 512 * i, 0), 0);
		assert_true(rig_is_filled(c[i].data, 511, STEPS));
	}
	assert_int_equal(rig_disconnect(r), 0);
	free(c);
}

/* Of several that expect the same, exactly one wins. */
static void t_fused_race(struct rig *r)
{
	enum { N = 10 };
	uint8_t old[512], new[N][512], now[512];
	struct rig_op *ops[N];
	int winner;

	rig_target(r, r->arg, NULL);
	rig_open(r, NULL);
	for (unsigned round = 0; round < 10; round++) {
		rig_fill(old, 512, round);
		assert_int_equal(rig_write(r, old, 512, 0, 0), 0);
		for (int i = 0; i < N; i++) {
			rig_fill(new[i], 512, 1000 * round + 100 + (uint32_t)i);
			ops[i] = RIG_SUBMIT(r, nof_compare_write(r->chan, old, new[i], 512, 0, 0,
								 rig_done, op));
		}
		rig_finish_all(r);
		winner = -1;
		for (int i = 0; i < N; i++) {
			if (!ops[i]->error) {
				assert_int_equal(winner, -1);
				winner = i;
			} else {
				assert_int_equal(ops[i]->error, -EILSEQ);
			}
		}
		assert_int_not_equal(winner, -1);
		assert_int_equal(rig_read(r, now, 512, 0, 0), 0);
		assert_memory_equal(now, new[winner], 512);
	}
	assert_int_equal(rig_disconnect(r), 0);
}

static const struct rig_test tests[] = {
	{ "blktests_nvme_029_raw_io_512", t_raw_io, "--ns=mem:16M,bs=512" },
	{ "blktests_nvme_029_raw_io_4096", t_raw_io, "--ns=mem:16M,bs=4096 --mdts=5" },
	{ "blktests_nvme_054_reservations", t_resv_one },
	{ "blktests_nvme_054_two_hosts", t_resv_two },
	{ "spdk_target_fused_ordering", t_fused_ordering, "--ns=mem:16M,bs=512" },
	{ "spdk_target_fused_ordering_r2t", t_fused_ordering,
	  "--ns=mem:16M,bs=512 --in-capsule=0 --r2t-size=256" },
	{ "spdk_target_fused_race", t_fused_race, "--ns=mem:16M,bs=512" },
};

int main(void)
{
	return rig_main("peer_commands", tests, ARRAY_SIZE(tests));
}
