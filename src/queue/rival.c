/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A second connect, made when the first has no answer for long. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "queue/engine.h"
#include "queue/rival.h"

struct nofi_rival {
	struct nofi_sock sock;		/* fd −1: failed, or given to the owner */
	struct nof_loop *loop;
	nofi_rival_fn *fn;
	void *arg;
	struct nofi_addr addr;		/* the engine reads it while it connects */
	struct nofi_defer defer;	/* frees: it may be on the stack, or in the ring */
};

#define of(ptr, field) ((struct nofi_rival *)((char *)(ptr) - offsetof(struct nofi_rival, field)))

static int detach(struct nofi_rival *r)
{
	int fd = r->sock.fd;

	if (fd < 0)
		return -1;
	r->loop->eng->remove(r->loop, &r->sock);
	r->sock.fd = -1;
	return fd;
}

static void on_connected(struct nofi_sock *s, int res)
{
	struct nofi_rival *r = of(s, sock);
	int fd = detach(r);

	if (res < 0)
		nofi_sock_abort(fd);
	else
		r->fn(r->arg, fd);
}

/* Nothing is ever received or sent by it. */
static const struct nofi_sock_ops ops = { .connected = on_connected };

static void on_defer(struct nofi_defer *d)
{
	struct nofi_rival *r = of(d, defer);

	/* Another thread drives the ring: see remove. */
	if (r->sock.inflight && r->loop->eng_data) {
		nofi_loop_defer(r->loop, d);
		return;
	}
	free(r);
}

int nofi_rival_start(struct nof_loop *loop, const struct nofi_sock_opts *opts,
		     const struct nofi_addr *addr, nofi_rival_fn *fn, void *arg,
		     struct nofi_rival **out)
{
	struct nofi_rival *r = calloc(1, sizeof(*r));
	struct nofi_sock_opts plain = *opts;
	struct nofi_sock_proto proto;
	int err;

	if (!r)
		return -ENOMEM;
	plain.mptcp = NOFI_MPTCP_OFF;
	r->loop = loop;
	r->fn = fn;
	r->arg = arg;
	r->addr = *addr;
	r->sock.ops = &ops;
	r->defer.fn = on_defer;
	err = nofi_sock_open(addr->sa.ss_family, &plain, &proto, NULL);
	if (err < 0) {
		free(r);
		return err;
	}
	r->sock.fd = err;
	err = loop->eng->add(loop, &r->sock);
	if (err < 0) {
		close(r->sock.fd);
		free(r);
		return err;
	}
	err = loop->eng->connect(loop, &r->sock, (struct sockaddr *)&r->addr.sa, r->addr.len);
	if (err < 0) {
		nofi_rival_free(r);
		return err;
	}
	*out = r;
	return 0;
}

void nofi_rival_free(struct nofi_rival *r)
{
	int fd;

	if (!r)
		return;
	fd = detach(r);
	if (fd >= 0)
		nofi_sock_abort(fd);
	nofi_loop_defer(r->loop, &r->defer);
}
