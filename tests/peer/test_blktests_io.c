/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * I/O cases of blktests' tests/nvme, named after them: blktests_nvme_NNN and what it
 * tests there. The code is ours; the block layer's part is played by the library's API.
 */
#include <fcntl.h>
#include <unistd.h>

#include "peer.h"

/* A namespace in a file, as the file backed variants there. */
static void file_target(struct rig *r, char path[64], const char *options)
{
	char text[256];
	int fd;

	strcpy(path, "/tmp/nof-peer-ns-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 16 << 20), 0);
	close(fd);
	snprintf(text, sizeof(text), "--ns=file:%s,bs=512 %s", path, options);
	rig_target(r, text, NULL);
}

/* 010: a data verification job, on a device and on a file backed namespace. */
static void t_verify(struct rig *r)
{
	char path[64] = "";

	if (r->arg)
		rig_target(r, r->arg, NULL);
	else
		file_target(r, path, "--in-capsule=4096 --c2h-size=8192");
	rig_open(r, NULL);
	{
		struct load *l = peer_load(r, &(struct load_opts){ .has_zeroes = true });

		peer_more(r, l, 1500);
		peer_finish(r, l);
	}
	assert_int_equal(rig_disconnect(r), 0);
	if (*path)
		unlink(path);
}

/* 014: what was written is flushed by a command that reaches the controller. */
static void t_flush(struct rig *r)
{
	uint8_t buf[65536];
	char path[64];

	file_target(r, path, "");
	rig_open(r, NULL);
	rig_fault(r, "on=flush do=split:0");
	rig_fill(buf, sizeof(buf), 14);
	for (int i = 0; i < 16; i++)
		assert_int_equal(rig_write(r, buf, sizeof(buf), (uint64_t)i * sizeof(buf), 0), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_flush(r->chan, rig_done, op))), 0);
	assert_int_equal(rig_stat(r, "faults_fired"), 1);
	assert_int_equal(rig_disconnect(r), 0);
	unlink(path);
}

/* 018: nothing behind the end of a file backed namespace can be reached. */
static void t_out_of_range(struct rig *r)
{
	uint8_t buf[1024];
	char path[64];
	uint64_t end;
	int fd;

	file_target(r, path, "");
	rig_open(r, NULL);
	end = r->info.bytes;
	assert_int_equal(end, 16 << 20);
	assert_int_equal(rig_read(r, buf, 512, end - 512, 0), 0);
	RIG_REFUSES(nof_read(r->chan, buf, 512, end, 0, rig_done, NULL), ERANGE);
	RIG_REFUSES(nof_write(r->chan, buf, 1024, end - 512, 0, rig_done, NULL), ERANGE);
	RIG_REFUSES(nof_write_zeroes(r->chan, 1024, end - 512, 0, rig_done, NULL), ERANGE);
	RIG_REFUSES(nof_deallocate(r->chan, 1024, end - 512, 0, rig_done, NULL), ERANGE);
	/* The controller says so, too, when the host does not know better. */
	rig_fault(r, "on=read do=status:0x80/dnr");
	assert_int_equal(rig_read(r, buf, 512, end - 512, 0), -ERANGE);
	rig_control(r, "clear");
	/* The file does not grow by any of it. */
	fd = open(path, O_RDONLY);
	assert_int_equal(lseek(fd, 0, SEEK_END), 16 << 20);
	close(fd);
	assert_int_equal(rig_read(r, buf, 512, end - 512, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
	unlink(path);
}

/* 019: discard of the whole and of ranges; neighbours keep their data. */
static void t_discard(struct rig *r)
{
	enum { LEN = 1 << 20, AT = 300 << 10, HOLE = 200 << 10 };
	uint8_t *out = malloc(LEN), *in = malloc(LEN);

	rig_target(r, r->arg, NULL);
	rig_open(r, NULL);
	assert_true(r->info.features & NOF_NS_DEALLOCATE);
	rig_fill(out, LEN, 19);
	assert_int_equal(rig_write(r, out, LEN, 0, 0), 0);
	rig_fault(r, "on=dsm do=split:0");
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_deallocate(r->chan, HOLE, AT, 0, rig_done,
								 op))), 0);
	assert_true(rig_stat(r, "faults_fired") >= 1);
	assert_int_equal(rig_read(r, in, LEN, 0, 0), 0);
	assert_memory_equal(in, out, AT);
	assert_memory_equal(in + AT + HOLE, out + AT + HOLE, LEN - AT - HOLE);
	if (r->info.features & NOF_NS_DEALLOC_ZEROES)
		for (size_t i = AT; i < AT + HOLE; i++)
			assert_int_equal(in[i], 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_deallocate(r->chan, r->info.bytes, 0, 0,
								 rig_done, op))), 0);
	assert_int_equal(rig_disconnect(r), 0);
	free(out);
	free(in);
}

/* 003: a discovery controller gets keep alives too, and lives on them. */
static void t_discovery_keep_alive(struct rig *r)
{
	struct nof_discovery_log *log = NULL;

	rig_target(r, NULL, "on=keepalive do=split:0");
	assert_int_equal(rig_connect(r, "subnqn=" NOF_DISCOVERY_NQN "&keep_alive_tmo=0.3"), 0);
	/* The target gives up hosts that are silent for 1.5 times the timeout. */
	RIG_UNTIL(r, rig_stat(r, "faults_fired") >= 6);
	assert_int_equal(rig_stat(r, "kato_expired"), 0);
	assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_LIVE);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_discovery_get(r->ctrl, &log, rig_done, op))),
			 0);
	assert_true(log->count >= 1);
	nof_discovery_free(log);
	assert_int_equal(rig_disconnect(r), 0);
}

static const struct rig_test tests[] = {
	{ "blktests_nvme_003_discovery_keep_alive", t_discovery_keep_alive },
	{ "blktests_nvme_010_verify_device", t_verify, "--ns=mem:16M,bs=4096" },
	{ "blktests_nvme_010_verify_file", t_verify },
	{ "blktests_nvme_014_flush", t_flush },
	{ "blktests_nvme_018_out_of_range", t_out_of_range },
	{ "blktests_nvme_019_discard_512", t_discard, "--ns=mem:16M,bs=512" },
	{ "blktests_nvme_019_discard_4096", t_discard, "--ns=mem:16M,bs=4096" },
};

int main(void)
{
	return rig_main("blktests_io", tests, ARRAY_SIZE(tests));
}
