/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Namespace cases of blktests' tests/nvme, named after them: identifiers, rescanning,
 * coming and going, and becoming another one. Our own code against the scripted target.
 */
#include "peer.h"

#define UUID_A "7d1ebb8a-0001-4444-8888-00000000000a"
#define UUID_B "7d1ebb8a-0002-4444-8888-00000000000b"

static void close_ns(struct rig *r)
{
	nof_ns_close(r->ns);
	r->ns = NULL;
}

static const char *hex(const uint8_t *p, size_t len)
{
	static char text[40];

	for (size_t i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", p[i]);
	return text;
}

/* 004: the UUID that the target was given is the one the host sees, in every connection. */
static void t_uuid(struct rig *r)
{
	rig_target(r, "--ns=mem:1M,uuid=" UUID_A " --ns=mem:1M,uuid=" UUID_B, NULL);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(rig_connect(r, NULL), 0);
		assert_int_equal(rig_open_ns(r, UUID_B), 0);
		assert_int_equal(r->info.nsid, 2);
		assert_true(r->info.has_uuid);
		assert_string_equal(hex(r->info.uuid, 16), "7d1ebb8a00024444888800000000000b");
		close_ns(r);
		assert_int_equal(rig_open_ns(r, "1"), 0);
		assert_string_equal(hex(r->info.uuid, 16), "7d1ebb8a00014444888800000000000a");
		assert_int_equal(rig_disconnect(r), 0);
		rig_close(r);
	}
}

/* 026: each namespace has the descriptors it has, and no others. */
static void t_descriptors(struct rig *r)
{
	static const struct {
		const char *nsid;
		bool has_uuid, has_nguid, has_eui64;
	} k[] = {
		{ "1", true, false, false },
		{ "2", false, true, false },
		{ "3", false, false, true },
		{ "4", true, true, true },
		{ "5", false, false, false },
	};

	rig_target(r, "--ns=mem:1M,nguid=none,eui64=none --ns=mem:1M,uuid=none,eui64=none "
		   "--ns=mem:1M,uuid=none,nguid=none --ns=mem:1M "
		   "--ns=mem:1M,uuid=none,nguid=none,eui64=none", NULL);
	assert_int_equal(rig_connect(r, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(k); i++) {
		assert_int_equal(rig_open_ns(r, k[i].nsid), 0);
		assert_int_equal(r->info.has_uuid, k[i].has_uuid);
		assert_int_equal(r->info.has_nguid, k[i].has_nguid);
		assert_int_equal(r->info.has_eui64, k[i].has_eui64);
		close_ns(r);
	}
	assert_int_equal(rig_disconnect(r), 0);
}

/* 027: what was added is found without connecting again, what was removed is gone. */
static void t_rescan(struct rig *r)
{
	uint32_t ids[8];
	char buf[512];

	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, NULL), 0);
	assert_int_equal(nof_ctrl_get_nsids(r->ctrl, ids, 8), 1);
	PEER_OK(r, "ns-add mem:2M,bs=512,nsid=9");
	RIG_UNTIL(r, nof_ctrl_get_nsids(r->ctrl, ids, 8) == 2);
	assert_int_equal(ids[1], 9);
	assert_int_equal(rig_open_ns(r, "9"), 0);
	assert_int_equal(r->info.bytes, 2 << 20);
	assert_int_equal(rig_open_chan(r), 0);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	nof_chan_close(r->chan);
	r->chan = NULL;
	close_ns(r);
	PEER_OK(r, "ns-remove 9");
	RIG_UNTIL(r, nof_ctrl_get_nsids(r->ctrl, ids, 8) == 1);
	assert_int_equal(ids[0], 1);
	assert_int_equal(rig_open_ns(r, "9"), -ENODEV);
	assert_int_equal(rig_disconnect(r), 0);
}

/* 051: a namespace comes and goes while it is opened, read and closed. */
static void t_churn(struct rig *r)
{
	unsigned opened = 0, refused = 0;
	uint32_t ids[8];
	char buf[512];

	rig_target(r, NULL, NULL);
	assert_int_equal(rig_connect(r, "keep_alive_tmo=5&nr_io_queues=16"), 0);
	for (int i = 0; i < 40; i++) {
		struct rig_op *opening;
		struct nof_ns *ns = NULL;

		/* In turn: it comes before, during and after the opening. */
		if (i % 4 == 0)
			PEER_OK(r, "ns-add mem:1M,bs=512,nsid=7");
		opening = RIG_SUBMIT(r, nof_ns_open(r->ctrl, "7", &ns, rig_done, op));
		if (i % 4 == 1) {
			rig_turn(r, 1);
			PEER_OK(r, "ns-remove 7");
		}
		if (i % 4 == 2) {
			rig_turn(r, 1);
			PEER_OK(r, "ns-add mem:1M,bs=512,nsid=7");
		}
		if (rig_finish(opening)) {
			refused++;
			assert_null(ns);
		} else {
			opened++;
			r->ns = ns;
			if (!rig_open_chan(r)) {
				struct rig_op *read = rig_submit_read(r, buf, sizeof(buf), 0);

				if (i % 4 == 3)
					PEER_OK(r, "ns-remove 7");
				rig_finish(read);
				nof_chan_close(r->chan);
				r->chan = NULL;
			}
			close_ns(r);
		}
		if (i % 4 == 3)
			rig_control(r, "ns-remove 7");	/* may be gone already */
	}
	assert_true(opened >= 10);
	assert_int_equal(opened + refused, 40);
	RIG_UNTIL(r, nof_ctrl_get_nsids(r->ctrl, ids, 8) == 1);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_LIVE);
	assert_int_equal(rig_open_ns(r, "1"), 0);
	if (rig_open_chan(r))
		fail_msg("opening ended with %d: %s", r->last->error, r->last->detail);
	if (rig_read(r, buf, sizeof(buf), 0, 0))
		fail_msg("reading ended with %d: %s", r->last->error, r->last->detail);
	assert_int_equal(rig_disconnect(r), 0);
}

/*
 * 051: its queue is opened again before the target has seen the end of its last
 * connection, which refuses the queue id as in use: it is asked again.
 */
static void t_queue_id_in_use(struct rig *r)
{
	char buf[512];

	rig_target(r, NULL, "on=connect qid=1 nth=1-3 do=status:0x0c/dnr");
	rig_open(r, NULL);
	assert_int_equal(rig_stat(r, "faults_fired"), 3);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	for (int i = 0; i < 30; i++) {
		nof_chan_close(r->chan);
		r->chan = NULL;
		if (rig_open_chan(r))
			fail_msg("opening ended with %d: %s", r->last->error, r->last->detail);
	}
	/* Not for ever. */
	rig_fault(r, "on=connect qid=1 do=status:0x0c/dnr");
	nof_chan_close(r->chan);
	r->chan = NULL;
	assert_int_equal(rig_open_chan(r), -EIO);
	assert_non_null(strstr(r->last->detail, "Sequence"));
	/* And given up in the middle of it. */
	RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &r->chan, rig_done, op));
	RIG_UNTIL(r, rig_stat(r, "faults_fired") > 10);
	assert_int_equal(rig_disconnect(r), 0);
	rig_finish_all(r);
	assert_true(r->ops->next->error < 0);
}

static const struct rig_test tests[] = {
	{ "blktests_nvme_004_uuid", t_uuid },
	{ "blktests_nvme_026_descriptors", t_descriptors },
	{ "blktests_nvme_027_rescan", t_rescan },
	{ "blktests_nvme_051_churn", t_churn },
	{ "blktests_nvme_051_queue_id_in_use", t_queue_id_in_use },
};

int main(void)
{
	return rig_main("blktests_ns", tests, ARRAY_SIZE(tests));
}
