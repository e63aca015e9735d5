/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opens many connections, leaves them alone, and counts what that costs: how often poll() on
 * the loop's fd returns, how often any thread of the process is switched in, and the CPU used;
 * and, by the bytes on the admin connections, how many Keep Alive commands were sent meanwhile.
 * Each controller given is two connections, the admin queue and one I/O queue.
 */
#include <nof.h>

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define CAPSULE_LEN 72	/* a command without data and digests, as Keep Alive is */

struct peer {
	struct nof_ctrl *ctrl;
	struct nof_ns *ns;
	struct nof_chan *chan;
};

static unsigned int lost;	/* controllers that failed while idle */

static void on_event(void *arg, const struct nof_event *ev)
{
	if (ev->type != NOF_EVENT_CTRL_STATE || ev->state != NOF_CTRL_FAILED)
		return;
	if (!lost++)
		fprintf(stderr, "idle: %s\n", ev->detail);
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Times the scheduler took a thread of this process off a CPU because it slept: all threads. */
static long switches(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *ent;
	long total = 0;

	if (!dir)
		return -1;
	while ((ent = readdir(dir))) {
		char path[300], line[256];
		long n;
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/status", ent->d_name);
		f = ent->d_name[0] == '.' ? NULL : fopen(path, "r");
		if (!f)
			continue;
		while (fgets(line, sizeof(line), f))
			if (sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1)
				total += n;
		fclose(f);
	}
	closedir(dir);
	return total;
}

static double cpu_s(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
	       (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}

/* Bytes sent on all admin queues so far: the only thing there while idle is Keep Alive. */
static int admin_bytes(const struct peer *peers, unsigned int n, uint64_t *bytes)
{
	unsigned int i;
	int err;

	*bytes = 0;
	for (i = 0; i < n; i++) {
		struct nof_transport t = { .size = sizeof(t) };

		err = nof_ctrl_get_transport(peers[i].ctrl, &t);
		if (err)
			return err;
		*bytes += t.bytes_sent;
	}
	return 0;
}

/* Polls and processes for some seconds; counts the returns of poll() that found something. */
static int idle(struct nof_loop *loop, double seconds, unsigned int *wakes)
{
	double end = now_s() + seconds, left;
	int fd = nof_loop_fd(loop);
	int n;

	if (fd < 0)
		return fd;
	while ((left = end - now_s()) > 0) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };

		n = poll(&pfd, 1, (int)(left * 1e3) + 1);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n <= 0)
			continue;
		++*wakes;
		n = nof_loop_process(loop);
		if (n < 0)
			return n;
	}
	return 0;
}

static int open_peer(struct nof_loop *loop, const struct nof_opts *opts, struct peer *p)
{
	int err;

	err = nof_ctrl_new(loop, opts, on_event, NULL, &p->ctrl);
	if (err)
		return err;
	err = nof_ctrl_connect_sync(p->ctrl);
	if (err)
		return err;
	err = nof_ns_open_sync(p->ctrl, NULL, &p->ns);
	if (err)
		return err;
	return nof_chan_open_sync(p->ns, loop, &p->chan);
}

static int measure(struct nof_loop *loop, struct peer *peers, unsigned int n, double seconds)
{
	struct nof_ctrl_info info = { .size = sizeof(info) };
	unsigned int wakes = 0, settling = 0;
	uint64_t before, after;
	double cpu, start, took;
	long sw;
	int err;

	/* What set-up left behind (late acknowledgements, first timers) is not idleness. */
	err = idle(loop, 1, &settling);
	if (err)
		return err;
	err = admin_bytes(peers, n, &before);
	if (err)
		return err;
	cpu = cpu_s();
	sw = switches();
	start = now_s();
	err = idle(loop, seconds, &wakes);
	if (err)
		return err;
	took = now_s() - start;
	sw = switches() - sw;
	cpu = cpu_s() - cpu;
	err = admin_bytes(peers, n, &after);
	if (err)
		return err;
	err = nof_ctrl_get_info(peers[0].ctrl, &info);
	if (err)
		return err;
	printf("{\"engine\": \"%s\", \"controllers\": %u, \"connections\": %u, "
	       "\"seconds\": %.3f, \"keep_alive_ms\": %u, \"keep_alives\": %llu, "
	       "\"wakeups\": %u, \"switches\": %ld, \"cpu_s\": %.6f, \"lost\": %u}\n",
	       nof_loop_engine(loop), n, 2 * n, took, info.keep_alive_ms,
	       (unsigned long long)((after - before + CAPSULE_LEN - 1) / CAPSULE_LEN), wakes, sw,
	       cpu, lost);
	return 0;
}

int main(int argc, char **argv)
{
	struct nof_loop_opts lopts;
	struct nof_loop *loop = NULL;
	struct nof_opts opts;
	struct peer *peers = NULL;
	unsigned int i, n = 0;
	double seconds;
	int err;

	if (argc != 4 || (n = (unsigned int)strtoul(argv[1], NULL, 10)) < 1 || n > 4096 ||
	    (seconds = strtod(argv[2], NULL)) <= 0) {
		fprintf(stderr, "usage: idle CONTROLLERS SECONDS URI\n");
		return 2;
	}
	nof_opts_init(&opts);
	nof_loop_opts_init(&lopts);
	err = nof_uri_parse(argv[3], &opts);
	if (err)
		goto out;
	lopts.engine = opts.engine;
	err = nof_loop_new(&lopts, &loop);
	if (err)
		goto out;
	err = -ENOMEM;
	peers = calloc(n, sizeof(*peers));
	if (!peers)
		goto out;
	for (i = 0; i < n; i++) {
		err = open_peer(loop, &opts, &peers[i]);
		if (err)
			goto out;
	}
	err = measure(loop, peers, n, seconds);
out:
	if (err)
		fprintf(stderr, "idle: %s (%s)\n", nof_strerror_detail(), strerror(-err));
	for (i = 0; peers && i < n; i++) {
		nof_chan_close(peers[i].chan);
		nof_ns_close(peers[i].ns);
		nof_ctrl_free(peers[i].ctrl);
	}
	free(peers);
	nof_loop_free(loop);
	return err || lost ? 1 : 0;
}
