/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting forms of the I/O calls, for simple tools: submit, run the loop until the
 * callback came. Every operation ends in bounded time, so these do.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chan.h"
#include "err.h"
#include "wait.h"

void nofi_wait_done(void *arg, const struct nof_completion *c)
{
	struct nofi_wait *w = arg;

	w->is_done = true;
	w->result = c->result;
	w->err.code = 0;
	if (c->error)
		nofi_err_set(&w->err, c->error, "%s", c->detail);
}

int nofi_wait_check(struct nof_chan *chan)
{
	if (!chan)
		return nofi_fail(-EINVAL, "no channel was given");
	if (nofi_loop_is_processing(chan->loop))
		return nofi_fail(-EDEADLK, "a waiting call was made inside a callback; use the "
				 "asynchronous form there");
	return 0;
}

int nofi_wait_finish(struct nof_chan *chan, struct nofi_wait *w, int r)
{
	if (r < 0)
		return r;
	r = nofi_loop_run_until(chan->loop, &w->is_done, 0);
	if (!w->is_done) {
		struct nofi_err why;

		/* The engine broke: the operation must not outlive our stack frame. */
		nofi_err_set(&why, r, "the %s engine failed while waiting: %s; the connection was "
			     "given up", nof_loop_engine(chan->loop), strerror(-r));
		nofi_chan_abort(chan, &why);
	}
	return w->err.code ? nofi_fail_err(&w->err) : 0;
}

int nof_pread(struct nof_chan *chan, void *buf, size_t len, uint64_t offset, uint32_t flags)
{
	NOFI_WAIT_FOR(chan, nof_read(chan, buf, len, offset, flags, nofi_wait_done, &w));
}

int nof_pwrite(struct nof_chan *chan, const void *buf, size_t len, uint64_t offset, uint32_t flags)
{
	NOFI_WAIT_FOR(chan, nof_write(chan, buf, len, offset, flags, nofi_wait_done, &w));
}

int nof_preadv(struct nof_chan *chan, const struct iovec *iov, int iovcnt, uint64_t offset,
	       uint32_t flags)
{
	NOFI_WAIT_FOR(chan, nof_readv(chan, iov, iovcnt, offset, flags, nofi_wait_done, &w));
}

int nof_pwritev(struct nof_chan *chan, const struct iovec *iov, int iovcnt, uint64_t offset,
		uint32_t flags)
{
	NOFI_WAIT_FOR(chan, nof_writev(chan, iov, iovcnt, offset, flags, nofi_wait_done, &w));
}

int nof_pcompare(struct nof_chan *chan, const void *buf, size_t len, uint64_t offset,
		 uint32_t flags)
{
	NOFI_WAIT_FOR(chan, nof_compare(chan, buf, len, offset, flags, nofi_wait_done, &w));
}

int nof_pflush(struct nof_chan *chan)
{
	NOFI_WAIT_FOR(chan, nof_flush(chan, nofi_wait_done, &w));
}

int nof_pwrite_zeroes(struct nof_chan *chan, uint64_t len, uint64_t offset, uint32_t flags)
{
	NOFI_WAIT_FOR(chan, nof_write_zeroes(chan, len, offset, flags, nofi_wait_done, &w));
}

int nof_pdeallocate(struct nof_chan *chan, uint64_t len, uint64_t offset, uint32_t flags)
{
	NOFI_WAIT_FOR(chan, nof_deallocate(chan, len, offset, flags, nofi_wait_done, &w));
}

/* On the heap: when the engine fails, the open that still goes on must find it. */
struct opening {
	struct nofi_wait w;
	bool is_abandoned;
	struct nof_chan *chan;
};

static void on_opened(void *arg, const struct nof_completion *c)
{
	struct opening *o = arg;

	if (!o->is_abandoned) {
		nofi_wait_done(&o->w, c);
		return;
	}
	if (!c->error)
		nof_chan_close(o->chan);
	free(o);
}

int nof_chan_open_sync(struct nof_ns *ns, struct nof_loop *loop, struct nof_chan **chan)
{
	struct opening *o;
	int r;

	if (!loop || !chan)
		return nofi_fail(-EINVAL, "nof_chan_open_sync: a NULL argument was given");
	if (nofi_loop_is_processing(loop))
		return nofi_fail(-EDEADLK, "nof_chan_open_sync: called inside a callback");
	o = calloc(1, sizeof(*o));
	if (!o)
		return nofi_fail(-ENOMEM, "nof_chan_open_sync: out of memory");
	r = nof_chan_open(ns, loop, &o->chan, on_opened, o);
	if (r < 0) {
		free(o);
		return r;
	}
	r = nofi_loop_run_until(loop, &o->w.is_done, 0);
	if (!o->w.is_done) {
		o->is_abandoned = true;
		return nofi_fail(r, "nof_chan_open_sync: the %s engine failed while waiting: %s",
				 nof_loop_engine(loop), strerror(-r));
	}
	r = o->w.err.code ? nofi_fail_err(&o->w.err) : 0;
	if (r == 0)
		*chan = o->chan;
	free(o);
	return r;
}
