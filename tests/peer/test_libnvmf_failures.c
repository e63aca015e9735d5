/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Nine ways in which another NVMe/TCP library in user space was seen to crash, hang or
 * corrupt data, each with what a host has to do instead. The names say what happens.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "recover.h"

/* ---- 1: C2HData that ends in the middle of iovecs ---- */

/* Each PDU covers a different part of the vector, and each receive another part of the PDU. */
static void t_partial_c2hdata(struct rig *r)
{
	enum { LEN = 16384 };
	static const size_t cuts[] = { 1, 699, 0, 300, 4096, 3, 1024, 5000 };
	static const char *const pdus[] = { "512", "1000", "2044", "4100", "16k" };
	static const char *const faults[] = { "on=accept do=split:0", "on=accept do=split:333",
					      "on=accept do=split:1460" };
	uint8_t *out = malloc(LEN), *in = malloc(LEN + 2);
	struct iovec iov[ARRAY_SIZE(cuts) + 1];
	char options[64];

	for (size_t i = 0; i < ARRAY_SIZE(pdus); i++) {
		size_t at = 0;
		int n = 0;

		snprintf(options, sizeof(options), "--c2h-size=%s", pdus[i]);
		rig_target(r, options, faults[i % ARRAY_SIZE(faults)]);
		rig_open(r, i & 1 ? "data_digest=on" : NULL);
		for (size_t k = 0; k < ARRAY_SIZE(cuts); k++) {
			iov[n++] = (struct iovec){ in + 1 + at, cuts[k] };
			at += cuts[k];
		}
		iov[n++] = (struct iovec){ in + 1 + at, LEN - at };
		rig_fill(out, LEN, (uint32_t)i);
		memset(in, 0xa5, LEN + 2);
		assert_int_equal(rig_write(r, out, LEN, 0, 0), 0);
		assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_readv(r->chan, iov, n, 0, 0,
								    rig_done, op))), 0);
		assert_memory_equal(in + 1, out, LEN);
		assert_int_equal(in[0], 0xa5);
		assert_int_equal(in[LEN + 1], 0xa5);
		assert_int_equal(rig_disconnect(r), 0);
		rig_close(r);
		rig_target_restart(r);
	}
	free(out);
	free(in);
}

/* ---- 4: a write that was half sent when its connection went ---- */

/*
 * Without reconnecting the write fails, once. The target had asked for data piece by
 * piece and got some: what it had must not count as a success.
 */
static void t_r2t_write_lost(struct rig *r)
{
	enum { LEN = 65536 };
	uint8_t *out = malloc(LEN);

	rig_fill(out, LEN, 4);
	rig_target(r, "--in-capsule=0 --r2t-size=8192", "on=h2cdata nth=3 do=reset");
	rig_open(r, NULL);
	assert_int_equal(rig_write(r, out, LEN, 0, 0), -ECONNRESET);
	RIG_UNTIL(r, r->failures == 1);
	free(out);
}

/*
 * With it, the write is done again from its first byte, with new data requests: what the
 * old ones had asked for is forgotten. Each of the target's H2CData in turn is the last.
 */
static void t_r2t_write_replayed(struct rig *r)
{
	enum { LEN = 65536 };
	uint8_t *out = malloc(LEN), *in = malloc(LEN);
	char fault[64];

	rig_target(r, "--in-capsule=0 --r2t-size=8192", NULL);
	rig_open(r, RECOVERS "max_r2t=2");
	for (unsigned i = 1; i <= 8; i++) {
		rig_fill(out, LEN, 40 + i);
		snprintf(fault, sizeof(fault), "on=h2cdata nth=%u do=%s", i,
			 i & 1 ? "reset" : "close");
		rig_fault(r, fault);
		assert_int_equal(rig_write(r, out, LEN, (uint64_t)i * LEN, 0), 0);
		assert_int_equal(rig_stat(r, "faults_fired"), 1);
		PEER_OK(r, "clear");
		memset(in, 0, LEN);
		assert_int_equal(rig_read(r, in, LEN, (uint64_t)i * LEN, 0), 0);
		assert_memory_equal(in, out, LEN);
		assert_int_equal(peer_stats(r).reconnects, i);
	}
	assert_int_equal(rig_stat(r, "c2h_term"), 0);
	assert_int_equal(rig_disconnect(r), 0);
	free(out);
	free(in);
}

/* ---- 2, 3, 6: what ends a connection is recovered from, under I/O on several queues ---- */

static void t_recovered(struct rig *r)
{
	enum { CHANS = 3 };
	struct nof_chan *more[CHANS - 1];
	struct load *l;

	rig_target(r, "--in-capsule=4096 --c2h-size=16384", NULL);
	rig_open(r, RECOVERS "nr_io_queues=3&hdr_digest=on");
	l = peer_load(r, NULL);
	for (int i = 0; i < CHANS - 1; i++) {
		assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &more[i],
									rig_done, op))), 0);
		load_add(l, more[i]);
	}
	for (unsigned i = 1; i <= 3; i++) {
		peer_more(r, l, 60);
		rig_fault(r, r->arg);
		PEER_UNTIL(r, l, peer_stats(r).reconnects >= i);
	}
	PEER_OK(r, "clear");
	peer_more(r, l, 60);
	peer_finish(r, l);
	for (int i = 0; i < CHANS - 1; i++)
		nof_chan_close(more[i]);
	assert_int_equal(rig_disconnect(r), 0);
}

/* ---- 5: creating a controller fails ---- */

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/*
 * The four places: nobody listens, ICResp is bad, Connect is refused, the connection
 * dies while the controller is enabled. Each ends with an errno and a sentence, leaves
 * no descriptor behind, and the same loop can connect afterwards.
 */
static void t_create_fails(struct rig *r)
{
	static const struct {
		const char *fault;
		int error;
	} k[] = {
		{ NULL, -ECONNREFUSED },
		{ "on=icresp do=set:pfv=7", -EPROTO },
		{ "on=connect do=status:1/0x84/dnr", -EACCES },
		{ "on=propset do=reset", -ECONNRESET },
	};
	unsigned fds;
	char buf[512];

	rig_target(r, NULL, NULL);
	rig_open(r, NULL);
	assert_int_equal(rig_disconnect(r), 0);
	rig_all_closed(r);
	fds = open_fds();
	for (size_t i = 0; i < 8; i++) {
		const char *fault = k[i % 4].fault;
		uint16_t port = r->port;
		int e;

		nof_chan_close(r->chan);
		nof_ns_close(r->ns);
		nof_ctrl_free(r->ctrl);
		r->chan = NULL;
		r->ns = NULL;
		r->ctrl = NULL;
		if (fault)
			rig_fault(r, fault);
		else
			r->port = 1;
		e = rig_connect(r, NULL);
		r->port = port;
		if (e != k[i % 4].error)
			fail_msg("way %zu ended with %d, want %d: %s", i, e, k[i % 4].error,
				 r->last->detail);
		assert_int_equal(nof_ctrl_get_state(r->ctrl), NOF_CTRL_FAILED);
		rig_control(r, "clear");
		nof_ctrl_free(r->ctrl);
		r->ctrl = NULL;
		rig_open(r, NULL);
		assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
		assert_int_equal(rig_disconnect(r), 0);
		rig_all_closed(r);
		assert_int_equal(open_fds(), fds);
	}
}

/* ---- 6: one I/O connection of several is lost ---- */

/* Without reconnecting: everything on all queues ends once, and nothing hangs. */
static void t_io_connection_lost(struct rig *r)
{
	enum { N = 12 };
	struct nof_chan *other;
	struct rig_op *ops[N];
	char buf[N][512];

	rig_target(r, NULL, "on=read do=drop");
	rig_open(r, "nr_io_queues=2");
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_chan_open(r->ns, r->loop, &other, rig_done,
								op))), 0);
	for (int i = 0; i < N; i++) {
		struct nof_chan *c = i & 1 ? other : r->chan;

		ops[i] = RIG_SUBMIT(r, nof_read(c, buf[i], 512, 0, 0, rig_done, op));
	}
	nof_loop_flush(r->loop);
	RIG_UNTIL(r, rig_stat(r, "faults_fired") == N);
	rig_fault(r, "on=flush qid=2 do=reset");
	RIG_SUBMIT(r, nof_flush(nof_chan_get_qid(other) == 2 ? other : r->chan, rig_done, op));
	rig_finish_all(r);
	for (int i = 0; i < N; i++)
		assert_int_equal(ops[i]->error, -ECONNRESET);
	RIG_UNTIL(r, r->failures == 1);
	nof_chan_close(other);
	rig_all_closed(r);
}

/* ---- 7: MDTS counts pages of CAP.MPSMIN, in powers of two ---- */

static void t_mdts_units(struct rig *r)
{
	enum { LEN = 512 << 10 };
	static const struct {
		unsigned mdts;
		const char *fault;	/* on CAP.MPSMIN, when it is read for the second time */
		uint64_t max;
	} k[] = {
		{ 1, "", 8192 },
		{ 2, "", 16384 },
		{ 5, "", 128 << 10 },
		{ 1, "on=resp for=propget prop=0 nth=2 do=set:dw1=0x00110820; ", 16384 },
		{ 2, "on=resp for=propget prop=0 nth=2 do=set:dw1=0x00220820; ", 65536 },
	};
	uint8_t *out = malloc(LEN), *in = malloc(LEN);
	char options[64], fault[128];

	rig_fill(out, LEN, 7);
	for (size_t i = 0; i < ARRAY_SIZE(k); i++) {
		snprintf(options, sizeof(options), "--mdts=%u", k[i].mdts);
		/* The target keeps to 4096-byte pages: let it take what the host was told. */
		if (*k[i].fault)
			snprintf(options, sizeof(options), "--mdts=8");
		snprintf(fault, sizeof(fault),
			 "%son=c2hdata for=identify cns=1 do=set:data8[77]=%u", k[i].fault,
			 k[i].mdts);
		rig_target(r, options, fault);
		rig_open(r, NULL);
		assert_int_equal(r->info.max_transfer, k[i].max);
		rig_fault(r, "on=write do=split:0");
		assert_int_equal(rig_write(r, out, LEN, 0, 0), 0);
		assert_int_equal(rig_stat(r, "faults_fired"), LEN / k[i].max);
		rig_fault(r, "on=read do=split:0");
		assert_int_equal(rig_read(r, in, LEN, 0, 0), 0);
		assert_int_equal(rig_stat(r, "faults_fired"), LEN / k[i].max);
		assert_memory_equal(in, out, LEN);
		assert_int_equal(rig_disconnect(r), 0);
		rig_close(r);
		rig_target_restart(r);
	}
	free(out);
	free(in);
}

/* ---- 8: a controller that has no namespaces, or says so ---- */

static void t_nn_0(struct rig *r)
{
	struct nof_ctrl_info info = { .size = sizeof(info) };
	uint32_t ids[4];

	/* A subsystem that is empty for real. */
	rig_target(r, "--nqn=" RIG_NQN ".empty",
		   "on=c2hdata for=identify cns=1 do=set:data32[516]=0");
	assert_int_equal(rig_connect(r, "subnqn=" RIG_NQN ".empty"), 0);
	assert_int_equal(nof_ctrl_get_info(r->ctrl, &info), 0);
	assert_int_equal(info.nn, 0);
	assert_int_equal(info.namespaces, 0);
	assert_int_equal(nof_ctrl_get_nsids(r->ctrl, ids, ARRAY_SIZE(ids)), 0);
	assert_int_equal(rig_open_ns(r, NULL), -ENODEV);
	assert_int_equal(rig_open_ns(r, "1"), -ENODEV);
	assert_int_equal(rig_disconnect(r), 0);
}

/* NN = 0 with a namespace in the list: the list is what counts. */
static void t_nn_0_but_listed(struct rig *r)
{
	char buf[512];

	rig_target(r, NULL, "on=c2hdata for=identify cns=1 do=set:data32[516]=0");
	rig_open(r, NULL);
	assert_int_equal(rig_read(r, buf, sizeof(buf), 0, 0), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* ---- 9: the host NQN that is made up when none is configured ---- */

#define UUID_NQN "nqn.2014-08.org.nvmexpress:uuid:"

/* 8-4-4-4-12 lower case hex digits, and nothing behind. */
static bool is_uuid(const char *s)
{
	for (int i = 0; i < 36; i++) {
		bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (is_dash ? s[i] != '-' : !strchr("0123456789abcdef", s[i]) || !s[i])
			return false;
	}
	return !s[36];
}

/* What a Connect of this process puts on the wire, from the PDUs it recorded. */
static int connect_data(struct rig *r, const char *pcap, char nqn[257], uint8_t hostid[16])
{
	struct nof_opts opts;
	struct nof_loop *loop = NULL;
	struct nof_ctrl *ctrl = NULL;
	static char file[1 << 20];
	const char *sub;
	FILE *f;
	size_t n;

	rig_opts(r, NULL, &opts);
	opts.hostnqn[0] = '\0';
	snprintf(opts.pcap, sizeof(opts.pcap), "%s", pcap);
	if (nof_loop_new(NULL, &loop) < 0 || nof_ctrl_new(loop, &opts, NULL, NULL, &ctrl) < 0 ||
	    nof_ctrl_connect_sync(ctrl) < 0) {
		fprintf(stderr, "connecting: %s\n", nof_strerror_detail());
		return 1;
	}
	nof_ctrl_free(ctrl);
	nof_loop_free(loop);
	f = fopen(pcap, "r");
	n = f ? fread(file, 1, sizeof(file), f) : 0;
	if (f)
		fclose(f);
	/* The data of Connect: host id, …, SUBNQN at 256, HOSTNQN at 512. */
	sub = memmem(file, n, RIG_NQN "\0\0", strlen(RIG_NQN) + 2);
	if (!sub || sub - file < 256 || sub + 512 > file + n) {
		fprintf(stderr, "no Connect in the %zu bytes of %s\n", n, pcap);
		return 2;
	}
	memcpy(hostid, sub - 256, 16);
	memcpy(nqn, sub + 256, 256);
	nqn[256] = '\0';
	for (size_t i = strlen(nqn); i < 256; i++)
		if (nqn[i])
			return 3;
	return 0;
}

/* Puts a file with this text in the place of path, for this process. */
static int hide(const char *path, const char *text)
{
	char instead[] = "/tmp/nof-peer-XXXXXX";
	int fd, r;

	if (access(path, F_OK) < 0)
		return *text ? -1 : 0;
	fd = mkstemp(instead);
	if (fd < 0)
		return -1;
	r = write(fd, text, strlen(text)) < 0 ? -1 : mount(instead, path, NULL, MS_BIND, NULL);
	close(fd);
	unlink(instead);
	return r;
}

/* In a process of its own: 0 good, 77 this machine does not let us hide its names. */
static int generated_name(struct rig *r, const char *machine_id, const char *pcap)
{
	char nqn[257], again[257], text[40];
	uint8_t id[16], id2[16];
	int e;

	if (machine_id &&
	    (unshare(geteuid() ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS) < 0 ||
	     mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	     hide("/etc/nvme/hostnqn", "") < 0 ||
	     hide("/etc/machine-id", machine_id) < 0))
		return 77;
	e = connect_data(r, pcap, nqn, id);
	if (!e)
		e = connect_data(r, pcap, again, id2);
	if (e)
		return e;
	if (strncmp(nqn, UUID_NQN, strlen(UUID_NQN)) || !is_uuid(nqn + strlen(UUID_NQN))) {
		fprintf(stderr, "the host calls itself \"%s\"\n", nqn);
		return machine_id ? 4 : 0;	/* /etc/nvme/hostnqn may say something else */
	}
	if (strcmp(nqn, again) || memcmp(id, id2, 16)) {
		fprintf(stderr, "\"%s\", and then \"%s\"\n", nqn, again);
		return 5;
	}
	for (int i = 0; i < 16; i++)
		snprintf(text + strlen(text) * !!i, 3, "%02x", id[i]);
	for (const char *p = nqn + strlen(UUID_NQN), *q = text; *p; p++)
		if (*p != '-' && *p != *q++)
			return 6;	/* one host NQN, one host id */
	return 0;
}

static void t_generated_hostnqn(struct rig *r)
{
	/* What this machine is called; a good machine id; one nobody may use. */
	static const char *const ids[] = { NULL, "0123456789abcdef0123456789abcdef\n",
					   "uninitialized\n" };
	char pcap[128];
	struct nof_opts opts;
	int status;

	rig_target(r, NULL, NULL);
	snprintf(pcap, sizeof(pcap), "%s/pcap", r->dir);
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (!pid)
			_exit(generated_name(r, ids[i], pcap));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		unlink(pcap);
		if (!WIFEXITED(status) || (WEXITSTATUS(status) && WEXITSTATUS(status) != 77))
			fail_msg("machine id %s: status %#x", ids[i] ? ids[i] : "as it is", status);
	}
	/* A malformed one that the caller hands over never reaches the wire. */
	rig_loop(r);
	rig_opts(r, NULL, &opts);
	snprintf(opts.hostnqn, sizeof(opts.hostnqn), UUID_NQN "0123456789abcdef0123456789abcdef");
	RIG_REFUSES(nof_ctrl_new(r->loop, &opts, NULL, NULL, &r->ctrl), EINVAL);
	snprintf(opts.hostnqn, sizeof(opts.hostnqn), UUID_NQN "Not Settable");
	RIG_REFUSES(nof_ctrl_new(r->loop, &opts, NULL, NULL, &r->ctrl), EINVAL);
}

static const struct rig_test tests[] = {
	{ "partial_c2hdata_over_iovecs", t_partial_c2hdata },
	RIG_CASE("c2h_term_req", .fault = "on=read do=term:1:0", .act = ACT_READ,
		 .error = -ECONNRESET, .fes = NO_TERM, .says = "C2HTermReq"),
	RIG_CASE("c2h_term_req_while_connecting", .fault = "on=propset do=term:2:0",
		 .act = ACT_CONNECT, .error = -ECONNRESET, .fes = NO_TERM, .says = "C2HTermReq"),
	RIG_CASE("header_digest_mismatch", .fault = "on=resp for=read do=hdgst:bad",
		 .uri = "hdr_digest=on", .act = ACT_READ, .error = -EPROTO, .fes = 3,
		 .fei = RIG_ANY_FEI, .says = "header digest"),
	RIG_CASE("header_digest_mismatch_of_data", .fault = "on=c2hdata for=read do=hdgst:bad",
		 .uri = "hdr_digest=on&data_digest=on", .act = ACT_READ, .error = -EPROTO, .fes = 3,
		 .fei = RIG_ANY_FEI, .says = "header digest"),
	{ "r2t_write_lost", t_r2t_write_lost },
	{ "r2t_write_replayed", t_r2t_write_replayed },
	{ "c2h_term_req_recovered", t_recovered, "on=read nth=5 do=term:1:0" },
	{ "header_digest_mismatch_recovered", t_recovered, "on=resp qid=io nth=5 do=hdgst:bad" },
	{ "one_io_connection_recovered", t_recovered, "on=cmd qid=2 nth=5 do=reset" },
	{ "create_fails_in_four_ways", t_create_fails },
	{ "one_io_connection_lost", t_io_connection_lost },
	{ "mdts_units", t_mdts_units },
	{ "nn_0", t_nn_0 },
	{ "nn_0_but_listed", t_nn_0_but_listed },
	{ "generated_hostnqn", t_generated_hostnqn },
};

int main(void)
{
	return rig_main("libnvmf_failures", tests, ARRAY_SIZE(tests));
}
