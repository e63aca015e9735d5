/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The plain stream: the engine's socket is the connection. */
#include <errno.h>

#include "queue/stream.h"

static int plain_start(struct nof_loop *loop, struct nofi_sock *s, void *arg)
{
	(void)arg;
	loop->eng->recv_start(loop, s);
	/* It may have ended at once. */
	if (s->fd >= 0 && s->is_receiving)
		s->ops->started(s);
	return 0;
}

static void plain_send(struct nof_loop *loop, struct nofi_sock *s, struct msghdr *msg, size_t len)
{
	loop->eng->send(loop, s, msg, len);
}

static void plain_remove(struct nof_loop *loop, struct nofi_sock *s)
{
	loop->eng->remove(loop, s);
}

static int plain_finish(struct nof_loop *loop, struct nofi_sock *s, const void *bytes, size_t len)
{
	ssize_t r;

	loop->eng->remove(loop, s);
	r = send(s->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	return r == (ssize_t)len ? 0 : r < 0 ? -errno : -EAGAIN;
}

static void plain_free(struct nofi_sock *s)
{
	(void)s;
}

const struct nofi_stream_ops nofi_stream_plain = {
	.name = "",
	.start = plain_start,
	.send = plain_send,
	.finish = plain_finish,
	.remove = plain_remove,
	.free = plain_free,
};
