/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting forms of the I/O calls, for simple tools: submit, run the loop until the
 * callback came. Every operation ends in bounded time, so these do.
 */
#include <errno.h>

#include "chan.h"
#include "err.h"

struct waiting {
	bool is_done;
	struct nofi_err err;
};

static void on_done(void *arg, const struct nof_completion *c)
{
	struct waiting *w = arg;

	w->is_done = true;
	w->err.code = 0;
	if (c->error)
		nofi_err_set(&w->err, c->error, "%s", c->detail);
}

static int check(struct nof_chan *chan)
{
	if (!chan)
		return nofi_fail(-EINVAL, "no channel was given");
	if (nofi_loop_is_processing(chan->loop))
		return nofi_fail(-EDEADLK, "a waiting call was made inside a callback; use the "
				 "asynchronous form there");
	return 0;
}

static int finish(struct nof_chan *chan, struct waiting *w, int r)
{
	if (r < 0)
		return r;
	r = nofi_loop_run_until(chan->loop, &w->is_done, 0);
	if (!w->is_done) {
		/* The engine broke: the operation must not outlive our stack frame. */
		nof_chan_close(chan);
		return nofi_fail(r, "the loop failed while waiting; the channel was closed");
	}
	return w->err.code ? nofi_fail_err(&w->err) : 0;
}

#define WAIT_FOR(chan, call) \
	do { \
		struct waiting w = { 0 }; \
		int r_ = check(chan); \
		if (r_ < 0) \
			return r_; \
		return finish(chan, &w, call); \
	} while (0)

int nof_pread(struct nof_chan *chan, void *buf, size_t len, uint64_t offset, uint32_t flags)
{
	WAIT_FOR(chan, nof_read(chan, buf, len, offset, flags, on_done, &w));
}

int nof_pwrite(struct nof_chan *chan, const void *buf, size_t len, uint64_t offset, uint32_t flags)
{
	WAIT_FOR(chan, nof_write(chan, buf, len, offset, flags, on_done, &w));
}

int nof_preadv(struct nof_chan *chan, const struct iovec *iov, int iovcnt, uint64_t offset,
	       uint32_t flags)
{
	WAIT_FOR(chan, nof_readv(chan, iov, iovcnt, offset, flags, on_done, &w));
}

int nof_pwritev(struct nof_chan *chan, const struct iovec *iov, int iovcnt, uint64_t offset,
		uint32_t flags)
{
	WAIT_FOR(chan, nof_writev(chan, iov, iovcnt, offset, flags, on_done, &w));
}

int nof_pcompare(struct nof_chan *chan, const void *buf, size_t len, uint64_t offset,
		 uint32_t flags)
{
	WAIT_FOR(chan, nof_compare(chan, buf, len, offset, flags, on_done, &w));
}

int nof_pflush(struct nof_chan *chan)
{
	WAIT_FOR(chan, nof_flush(chan, on_done, &w));
}

int nof_pwrite_zeroes(struct nof_chan *chan, uint64_t len, uint64_t offset, uint32_t flags)
{
	WAIT_FOR(chan, nof_write_zeroes(chan, len, offset, flags, on_done, &w));
}

int nof_pdeallocate(struct nof_chan *chan, uint64_t len, uint64_t offset, uint32_t flags)
{
	WAIT_FOR(chan, nof_deallocate(chan, len, offset, flags, on_done, &w));
}

static void on_opened(void *arg, const struct nof_completion *c)
{
	on_done(arg, c);
}

int nof_chan_open_sync(struct nof_ns *ns, struct nof_loop *loop, struct nof_chan **chan)
{
	struct waiting w = { 0 };
	int r;

	if (loop && nofi_loop_is_processing(loop))
		return nofi_fail(-EDEADLK, "nof_chan_open_sync: called inside a callback");
	r = nof_chan_open(ns, loop, chan, on_opened, &w);
	if (r < 0)
		return r;
	r = nofi_loop_run_until(loop, &w.is_done, 0);
	if (!w.is_done)
		return nofi_fail(r, "nof_chan_open_sync: the loop failed while waiting");
	return w.err.code ? nofi_fail_err(&w.err) : 0;
}
