/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a connection after a fatal error (T-20): the H2CTermReq has been
 * sent; the controller is to close. Its queue is gone already; only the descriptor
 * lives on here, until end of stream or 30 s.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mptcp/sock.h"
#include "queue/engine.h"
#include "queue/linger.h"

static const uint64_t LINGER_NS = 30ull * 1000000000;

struct nofi_linger {
	struct nofi_linger *next, **prev;
	struct nof_loop *loop;
	struct nofi_fd_watch watch;	/* readable: data to discard, or the end */
	struct nofi_timer timer;	/* 30 s */
};

static void linger_free(struct nofi_linger *l, bool is_clean)
{
	l->loop->eng->unwatch(l->loop, &l->watch);
	nofi_timer_disarm(l->loop, &l->timer);
	if (is_clean)
		close(l->watch.fd);
	else
		nofi_sock_abort(l->watch.fd);
	*l->prev = l->next;
	if (l->next)
		l->next->prev = l->prev;
	free(l);
}

static void on_readable(struct nofi_fd_watch *w)
{
	struct nofi_linger *l =
		(struct nofi_linger *)((char *)w - offsetof(struct nofi_linger, watch));
	char discard[16384];
	ssize_t n = 0;

	/* At most 1 MiB a turn: a target that keeps sending must not hold the loop. */
	for (int i = 0; i < 64; i++) {
		n = recv(w->fd, discard, sizeof(discard), MSG_DONTWAIT);
		if (n <= 0)
			break;
	}
	if (n == 0) {
		linger_free(l, true);
		return;
	}
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		linger_free(l, false);
		return;
	}
	if (l->loop->eng->watch(l->loop, w) < 0)
		linger_free(l, false);
}

static void on_timer(struct nofi_timer *t)
{
	linger_free((struct nofi_linger *)((char *)t - offsetof(struct nofi_linger, timer)), false);
}

void nofi_loop_linger(struct nof_loop *loop, int fd)
{
	struct nofi_linger *l = calloc(1, sizeof(*l));

	if (!l)
		goto abort;
	l->loop = loop;
	l->watch.fd = fd;
	l->watch.fn = on_readable;
	l->timer.fn = on_timer;
	if (nofi_timer_arm(loop, &l->timer, nofi_loop_now(loop) + LINGER_NS) < 0)
		goto abort;
	if (loop->eng->watch(loop, &l->watch) < 0) {
		nofi_timer_disarm(loop, &l->timer);
		goto abort;
	}
	l->next = loop->lingers;
	l->prev = &loop->lingers;
	if (l->next)
		l->next->prev = &l->next;
	loop->lingers = l;
	return;
abort:
	free(l);
	nofi_sock_abort(fd);
}

void nofi_linger_free_all(struct nof_loop *loop)
{
	while (loop->lingers)
		linger_free(loop->lingers, false);
}
