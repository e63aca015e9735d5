/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A short whole session with everything in it, and a lost one: small enough for memcheck. */
#include "rig.h"

static void t_whole(struct rig *r)
{
	uint8_t out[20480], in[sizeof(out)];
	struct iovec iov[3] = { { in, 1 }, { in + 1, 5000 }, { in + 5001, sizeof(in) - 5001 } };

	rig_target(r, "--c2h-size=4096 --r2t=2 --r2t-size=4096", NULL);
	rig_open(r, r->arg);
	rig_fill(out, sizeof(out), 1);
	memset(in, 0, sizeof(in));
	assert_int_equal(rig_write(r, out, 512, 0, NOF_IO_FUA), 0);
	assert_int_equal(rig_write(r, out, sizeof(out), 0, 0), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_readv(r->chan, iov, 3, 0, 0, rig_done,
							    op))), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_flush(r->chan, rig_done, op))), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_write_zeroes(r->chan, 512, 0, 0, rig_done,
								   op))), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_lost(struct rig *r)
{
	char buf[4][4096];

	rig_target(r, NULL, "on=read nth=3 do=term:1:0");
	rig_open(r, r->arg);
	for (int i = 0; i < 4; i++)
		rig_submit_read(r, buf[i], sizeof(buf[i]), 0);
	rig_finish_all(r);
	RIG_UNTIL(r, r->failures == 1);
}

static const struct rig_test tests[] = {
	{ "whole", t_whole, "" },
	{ "whole_digests", t_whole, "hdr_digest=on&data_digest=on&disable_sqflow=on" },
	{ "lost", t_lost, "" },
};

int main(void)
{
	return rig_main("session", tests, ARRAY_SIZE(tests));
}
