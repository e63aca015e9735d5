/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random reads by libnbd's asynchronous calls, as fast as that library lets one connection go:
 * what libnof is compared with. A completion at once makes room for the next request, nothing is
 * cleared before it is read into, no call is checked twice, and the replies are of the short form.
 */
#include "ceiling.h"

#include <errno.h>
#include <libnbd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static const char usage[] =
"usage: nbd_client [--bs=BYTES] [--qd=N] [--runtime=S] nbd://HOST:PORT\n"
"\n"
"Random reads of --bs bytes (4096) with --qd (32) of them in flight, for --runtime seconds (2).\n"
"Prints one JSON object.\n";

struct request {			/* one of qd, busy all the time */
	uint8_t *buf;
	uint64_t sent_ns;
	bool is_done;			/* its callback ran: to be sent again */
};

static struct nbd_handle *nbd;
static struct hist hist;
static uint64_t blocks, bs = 4096, random_state = 88172645463325252u;
static unsigned int qd = 32, in_flight;
static double runtime = 2;

static void want(int rc)
{
	if (rc < 0)
		die("%s", nbd_get_error());
}

static uint64_t next_random(void)	/* xorshift64 */
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Not from here: libnbd's callbacks may not submit. Returning 1 retires the command. */
static int on_done(void *arg, int *error)
{
	struct request *r = arg;

	if (*error)
		die("a read failed: %s", strerror(*error));
	hist_add(&hist, now_ns() - r->sent_ns);
	r->is_done = true;
	in_flight--;
	return 1;
}

static void submit(struct request *r)
{
	nbd_completion_callback cb = { .callback = on_done, .user_data = r };

	r->is_done = false;
	r->sent_ns = now_ns();
	if (nbd_aio_pread(nbd, r->buf, bs, next_random() % blocks * bs, cb, 0) < 0)
		die("%s", nbd_get_error());
	in_flight++;
}

static void connect_to(const char *uri)
{
	int64_t size;

	nbd = nbd_create();
	if (!nbd)
		die("%s", nbd_get_error());
	want(nbd_set_request_structured_replies(nbd, false));
	want(nbd_set_pread_initialize(nbd, false));
	want(nbd_set_strict_mode(nbd, 0));
	want(nbd_connect_uri(nbd, uri));
	size = nbd_get_size(nbd);
	if (size < (int64_t)bs)
		die("the export is smaller than a read");
	blocks = (uint64_t)size / bs;
}

static double seconds(struct timeval tv)
{
	return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

static void run(struct request *v)
{
	struct rusage before, after;
	uint64_t start, end;
	double user, sys;

	getrusage(RUSAGE_SELF, &before);
	start = end = now_ns();
	for (unsigned int i = 0; i < qd; i++)
		v[i].is_done = true;
	while (end - start < (uint64_t)(runtime * 1e9)) {
		for (unsigned int i = 0; i < qd; i++)
			if (v[i].is_done)
				submit(&v[i]);
		if (in_flight == qd)
			want(nbd_poll(nbd, -1));
		end = now_ns();
	}
	getrusage(RUSAGE_SELF, &after);
	user = seconds(after.ru_utime) - seconds(before.ru_utime);
	sys = seconds(after.ru_stime) - seconds(before.ru_stime);
	printf("{\"client\": \"libnbd\", \"version\": \"%s\", \"ios\": %llu, \"iops\": %.1f, "
	       "\"user_s\": %.6f, \"sys_s\": %.6f, \"lat_ns\": {\"50.000000\": %llu, "
	       "\"99.000000\": %llu, \"99.900000\": %llu}}\n", nbd_get_version(nbd),
	       (unsigned long long)hist.count,
	       (double)hist.count * 1e9 / (double)(end - start), user, sys,
	       (unsigned long long)hist_percentile(&hist, 50),
	       (unsigned long long)hist_percentile(&hist, 99),
	       (unsigned long long)hist_percentile(&hist, 99.9));
}

static double number(const char *arg, double min, double max)
{
	char *end;
	double v = strtod(arg, &end);

	if (end == arg || *end || !(v >= min && v <= max))
		die("'%s' is no number from %g to %g\n%s", arg, min, max, usage);
	return v;
}

int main(int argc, char **argv)
{
	const char *uri = NULL;
	struct request *v;

	for (int i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "--bs=", 5))
			bs = (uint64_t)number(argv[i] + 5, 512, BS_MAX);
		else if (!strncmp(argv[i], "--qd=", 5))
			qd = (unsigned int)number(argv[i] + 5, 1, 4096);
		else if (!strncmp(argv[i], "--runtime=", 10))
			runtime = number(argv[i] + 10, 0, 86400);
		else if (argv[i][0] != '-' && !uri)
			uri = argv[i];
		else
			die("unexpected '%s'\n%s", argv[i], usage);
	}
	if (!uri)
		die("no URI\n%s", usage);
	connect_to(uri);
	v = calloc(qd, sizeof(*v));
	if (!v)
		die("out of memory");
	for (unsigned int i = 0; i < qd; i++) {
		if (posix_memalign((void **)&v[i].buf, 4096, bs))
			die("out of memory");
		memset(v[i].buf, 0, bs);
	}
	run(v);
	/* nbdkit 1.32 may fail an assertion (raw_send_socket) when a client hangs up on answers. */
	while (in_flight)
		want(nbd_poll(nbd, -1));
	want(nbd_shutdown(nbd, 0));
	nbd_close(nbd);
	return 0;
}
