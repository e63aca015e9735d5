/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A host that shows what the library says of its connections, for test_shown.py. Usage: shown URI.
 * Lines on stdin: "read N" does N reads, "show" prints every queue and the sum, "quit" ends. Lines
 * on stdout: "ready", "done", "event TYPE QID SENTENCE", and "end" behind what show printed.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nof.h>

static struct nof_loop *loop;
static struct nof_ctrl *ctrl;
static struct nof_chan *chan;

static void on_event(void *arg, const struct nof_event *ev)
{
	(void)arg;
	if (ev->type == NOF_EVENT_SUBFLOW || ev->type == NOF_EVENT_FALLBACK)
		printf("event %s %u %s\n", ev->type == NOF_EVENT_SUBFLOW ? "subflow" : "fallback",
		       ev->qid, ev->detail);
	fflush(stdout);
}

static void fail(const char *what)
{
	printf("error %s: %s\n", what, nof_strerror_detail());
	fflush(stdout);
	exit(1);
}

static void show_one(const char *name, const struct nof_transport *t)
{
	printf("%s qid=%u mptcp=%d token=%08x max=%u sent=%llu received=%llu connections=%u "
	       "note=%s\n", name, t->qid, t->is_mptcp, t->token, t->subflows_max,
	       (unsigned long long)t->bytes_sent, (unsigned long long)t->bytes_received,
	       t->connections, t->note);
	for (uint32_t i = 0; i < t->subflow_count && i < NOF_SUBFLOWS_MAX; i++) {
		const struct nof_subflow *s = &t->subflows[i];

		printf("subflow local=%s peer=%s state=%s sent=%llu received=%llu retransmits=%u "
		       "rtt=%u rto=%u cwnd=%u share=%u\n", s->local, s->peer,
		       nof_subflow_state_name(s->state), (unsigned long long)s->bytes_sent,
		       (unsigned long long)s->bytes_received, s->retransmits, s->rtt_us,
		       s->rto_us, s->cwnd, s->share_permille);
	}
}

static void show(void)
{
	struct nof_transport list[4] = { { .size = sizeof(list[0]) } };
	struct nof_transport sum = { .size = sizeof(sum) };
	int n = nof_ctrl_get_transports(ctrl, list, 4);

	if (n < 0 || nof_transport_sum(list, (uint32_t)n, &sum) < 0)
		fail("show");
	for (int i = 0; i < n; i++)
		show_one("queue", &list[i]);
	show_one("sum", &sum);
	puts("end");
}

static void obey(const char *line)
{
	static char buf[65536];

	if (!strncmp(line, "read ", 5))
		for (int i = atoi(line + 5); i > 0; i--)
			if (nof_pread(chan, buf, sizeof(buf), 0, 0) < 0)
				fail("read");
	if (!strcmp(line, "show"))
		show();
	else
		puts("done");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct nof_ns *ns;
	struct nof_loop_opts lo;
	struct nof_opts opts;
	char line[64];

	if (argc != 2)
		return 2;
	nof_opts_init(&opts);
	nof_loop_opts_init(&lo);
	if (nof_uri_parse(argv[1], &opts) < 0)
		fail("uri");
	lo.engine = opts.engine;
	if (nof_loop_new(&lo, &loop) < 0 ||
	    nof_ctrl_new(loop, &opts, on_event, NULL, &ctrl) < 0 ||
	    nof_ctrl_connect_sync(ctrl) < 0 || nof_ns_open_sync(ctrl, NULL, &ns) < 0 ||
	    nof_chan_open_sync(ns, loop, &chan) < 0)
		fail("connect");
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct pollfd p[2] = { { .fd = STDIN_FILENO, .events = POLLIN },
				       { .fd = nof_loop_fd(loop), .events = POLLIN } };

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return 1;
		if (p[1].revents)
			nof_loop_process(loop);
		if (!p[0].revents)
			continue;
		/* One line at a time comes: the test waits for the answer. */
		if (!fgets(line, sizeof(line), stdin) || !strcmp(line, "quit\n"))
			break;
		line[strcspn(line, "\n")] = '\0';
		obey(line);
	}
	nof_chan_close(chan);
	nof_ns_close(ns);
	nof_ctrl_free(ctrl);
	nof_loop_free(loop);
	return 0;
}
