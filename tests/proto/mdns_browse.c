/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * usage: mdns_browse TIMEOUT_MS [cancel]
 *
 * For test_mdns.py: one browse, its services as lines "service TRADDR TRSVCID SUBNQN URI
 * NAME", or "error ERRNO SENTENCE". cancel: after 50 ms, which only works while the loop
 * turns although the thread that asks is stuck.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nof.h"

static int result = 1;		/* of the completion: ≤ 0 */

static void done(void *arg, const struct nof_completion *c)
{
	result = c->error;
	if (c->error)
		printf("error %d %s\n", -c->error, c->detail);
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
	struct nof_mdns_list *list = NULL;
	struct nof_loop *loop;
	double start;
	int r;

	if (argc < 2 || nof_loop_new(NULL, &loop) < 0)
		return 2;
	r = nof_mdns_browse(loop, (uint32_t)atoi(argv[1]), &list, done, &result);
	if (r < 0) {
		printf("refused %d %s\n", -r, nof_strerror_detail());
		nof_loop_free(loop);
		return 0;
	}
	start = now_ms();
	while (result > 0) {
		struct pollfd p = { .fd = nof_loop_fd(loop), .events = POLLIN };

		poll(&p, 1, 10);
		nof_loop_process(loop);
		if (argc > 2 && now_ms() - start > 50)
			printf("cancelled %d\n", nof_discover_cancel(loop, &result));
	}
	for (size_t i = 0; list && i < list->count; i++) {
		const struct nof_mdns_service *s = &list->services[i];
		struct nof_opts o;
		char uri[1024];

		nof_opts_init(&o);
		if (nof_mdns_service_opts(s, &o, &o) < 0 || nof_uri_format(&o, uri, 1024) < 0)
			return 2;
		printf("service %s %s %s %s %s\n", s->traddr, s->trsvcid, s->subnqn, uri, s->name);
	}
	nof_mdns_free(list);
	nof_loop_free(loop);
	return 0;
}
