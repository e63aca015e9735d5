/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stream may be cut anywhere: a whole session (connect, identify, writes, reads,
 * compare, disconnect) byte by byte, in pieces of all sizes, with a pause at every
 * offset of what the target sends, and with PDUs merged.
 */
#include "rig.h"

static uint8_t out[24576], in[sizeof(out)];

static void session(struct rig *r, const char *uri)
{
	rig_fill(out, sizeof(out), 1);
	memset(in, 0, sizeof(in));
	rig_open(r, uri);
	rig_submit_write(r, out, 512, 0);
	rig_submit_write(r, out + 512, sizeof(out) - 512, 512);
	rig_finish_all(r);
	rig_submit_read(r, in, 1024, 0);
	rig_submit_read(r, in + 1024, sizeof(in) - 1024, 1024);
	rig_finish_all(r);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_compare(r->chan, in, sizeof(in), 0, 0,
							      rig_done, op))), 0);
	assert_int_equal(rig_disconnect(r), 0);
	for (struct rig_op *op = r->ops; op; op = op->next)
		assert_int_equal(op->error, 0);
	rig_close(r);
}

/* A short one: what is sent is mostly headers, so that all offsets can be tried. */
static void short_session(struct rig *r, const char *uri)
{
	rig_open(r, uri);
	rig_fill(out, 1024, 2);
	assert_int_equal(rig_write(r, out, 1024, 0, 0), 0);
	memset(in, 0, 1024);
	rig_submit_read(r, in, 512, 0);
	rig_submit_read(r, in + 512, 512, 512);
	rig_finish_all(r);
	assert_memory_equal(in, out, 1024);
	assert_int_equal(rig_disconnect(r), 0);
	rig_close(r);
}

static const char *const modes[] = {
	"",
	"hdr_digest=on",
	"data_digest=on",
	"hdr_digest=on&data_digest=on",
	"hdr_digest=on&data_digest=on&disable_sqflow=on",
};

static void t_pieces(struct rig *r)
{
	const unsigned *size = r->arg;
	char script[48];

	snprintf(script, sizeof(script), "on=accept do=split:%u", *size);
	rig_target(r, "--in-capsule=512 --r2t=4 --r2t-size=3000 --c2h-size=5000", script);
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		session(r, modes[i]);
}

/* How many bytes the target has sent on the connection of a queue. */
static unsigned sent_bytes(struct rig *r, const char *queue)
{
	const char *line, *tx;
	unsigned n = 0;

	for (line = rig_control(r, "conns"); strcmp(line, "ok"); line = rig_control(r, "%s", ""))
		if (strstr(line, queue) && (tx = strstr(line, " tx=")))
			n = (unsigned)atoi(tx + 4);
	return n;
}

/*
 * A pause at offset K of what one connection sends, for every K: the host has what is
 * before it, and nothing of what follows. Only in the inside of Identify data, which
 * is most of what the admin queue sends, the steps are larger.
 */
static void t_every_offset(struct rig *r)
{
	bool is_admin = !strcmp(r->arg, "admin");
	unsigned end, step = 1;
	char script[64];

	rig_target(r, "--in-capsule=0 --r2t=4 --r2t-size=512", NULL);
	rig_open(r, modes[3]);
	rig_write(r, out, 1024, 0, 0);
	rig_read(r, in, 512, 0, 0);
	rig_read(r, in, 512, 0, 0);
	end = sent_bytes(r, is_admin ? "qid=0" : "qid=1");
	rig_close(r);
	assert_in_range(end, is_admin ? 20000 : 1200, 60000);
	for (unsigned k = 1, n = 2; k <= end; k += step, n++) {
		snprintf(script, sizeof(script), "on=accept conn=%u do=splitat:%u:1",
			 n * 2 - is_admin, k);
		rig_fault(r, script);
		short_session(r, modes[3 + (n & 1)]);
		assert_int_equal(rig_stat(r, "faults_fired"), 1);
		step = is_admin && k > 700 ? 37 : 1;
	}
}

static void t_merged(struct rig *r)
{
	uint8_t buf[32][512];

	rig_target(r, "--c2h-size=128", NULL);
	rig_open(r, r->arg);
	for (unsigned merge = 2; merge < 40; merge += 5) {
		char script[64];

		snprintf(script, sizeof(script), "on=read nth=1 do=merge:%u", merge);
		rig_fault(r, script);
		for (int i = 0; i < 32; i++)
			rig_submit_read(r, buf[i], 512, (uint64_t)i * 512);
		rig_finish_all(r);
		assert_int_equal(r->last->error, 0);
	}
	assert_int_equal(rig_disconnect(r), 0);
}

static const unsigned sizes[] = { 1, 2, 3, 5, 7, 8, 13, 24, 25, 127, 128, 129, 1000, 4097 };

static struct rig_test tests[ARRAY_SIZE(sizes) + 4] = {
	{ "every_offset_admin", t_every_offset, "admin" },
	{ "every_offset_io", t_every_offset, "io" },
	{ "merged", t_merged, "" },
	{ "merged_digests", t_merged, "hdr_digest=on&data_digest=on" },
};

int main(void)
{
	static char names[ARRAY_SIZE(sizes)][32];

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(names[i], sizeof(names[i]), "pieces_of_%u", sizes[i]);
		tests[4 + i] = (struct rig_test){ names[i], t_pieces, &sizes[i] };
	}
	return rig_main("splits", tests, ARRAY_SIZE(tests));
}
