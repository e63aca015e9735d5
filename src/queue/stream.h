/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a connection's bytes go through on their way between queue and engine.
 *
 *	queue ──start, send, finish, remove──► stream ──connect, send, remove──► engine
 *	queue ◄──started, place, received, sent, ended── stream ◄── the same ── engine
 *
 * Downwards a queue calls the table of its stream. Upwards there is no layer that is not
 * needed: the ops of a nofi_sock are the queue's, so with the plain stream the engine calls
 * the queue itself. A stream with records of its own (TLS) puts its ops in their place when it
 * starts, keeps the queue's, and calls those with what it made of the bytes; it receives into
 * staging only (its place() is 0), asks the queue's place() for where plain bytes go and points
 * recv_iov at the answer, and sends from buffers of its own. One that is done after its handshake,
 * because the kernel does the rest (kTLS), puts everything back as it was.
 */
#ifndef NOF_QUEUE_STREAM_H
#define NOF_QUEUE_STREAM_H

#include "queue/engine.h"

struct nofi_stream_ops {
	const char *name;		/* "TLS", for sentences; "" when there is nothing to say */
	/*
	 * The socket is connected, and in the engine. Whatever has to come before the first byte
	 * of the queue is done, then ops->started() is called, perhaps from inside. The
	 * connection's deadline runs meanwhile, and it is the queue that keeps it. −errno: with
	 * s->why, and nothing will be called.
	 */
	int (*start)(struct nof_loop *loop, struct nofi_sock *s, void *arg);
	/* As the engine's: one at a time, msg is stable until sent(), which may come inside. */
	void (*send)(struct nof_loop *loop, struct nofi_sock *s, struct msghdr *msg, size_t len);
	/*
	 * remove(), but these bytes are the last words: whole, or not at all, and without waiting.
	 * 0: they went out, with the stream's own end behind them; the socket is still open. The
	 * caller is between two sends, the stream may be in the middle of one of its own.
	 */
	int (*finish)(struct nof_loop *loop, struct nofi_sock *s, const void *bytes, size_t len);
	/*
	 * As the engine's, and before start() too: afterwards nothing is called. What can be
	 * said to the peer without waiting may be said. Possibly from inside of any of the ops.
	 */
	void (*remove)(struct nof_loop *loop, struct nofi_sock *s);
	/* Nothing is in flight any more (s->inflight), nothing on the stack: gives memory back. */
	void (*free)(struct nofi_sock *s);
};

/* Bytes as they are. */
extern const struct nofi_stream_ops nofi_stream_plain;

#endif
