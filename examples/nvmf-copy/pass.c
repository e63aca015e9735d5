/* SPDX-License-Identifier: MIT */
/*
 * One walk over the content: read chunk after chunk, many at a time; hash them in order; write
 * each as soon as it is there. Chunks lie on a grid of equal sizes (only a hole may be several
 * cells long), so that the reading back meets the same ones.
 *
 * Callbacks only change the state of their chunk; everything is started from pump().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "copy.h"

#define HOLE_CELLS   128u		/* chunks that one hole may cover */
#define SPARSE_GRAIN 4096u		/* zeroes shorter than this are sent */
#define DRAIN_LIMIT  (3 * NSEC_PER_SEC) /* for what is in flight, once the copy has failed */

enum chunk_state { CHUNK_READING, CHUNK_READY, CHUNK_WRITING, CHUNK_DONE, CHUNK_FAILED };

struct pass;

struct chunk {
	struct pass *p;
	TAILQ_ENTRY(chunk) link; /* in p->active by offset, or in p->idle */
	enum chunk_state state;
	struct io io; /* at most one at a time */
	unsigned char *buf;
	uint64_t offset, len;
	uint64_t done; /* bytes written of it */
	bool is_hole;  /* nothing was read: zeroes */
	bool is_hashed;
};

TAILQ_HEAD(chunk_list, chunk);

struct pass {
	struct copy *c;
	struct end *in, *out; /* out NULL: only reading back */
	struct check *check;  /* or NULL */
	struct chunk_list active, idle;
	struct chunk *chunks;
	unsigned char *mem;
	size_t mem_len;
	uint64_t cell;	/* bytes of a chunk */
	uint64_t next;	/* offset of the next read */
	uint64_t total; /* COPY_UNKNOWN until a stream ends */
	uint64_t bytes; /* done, in any order */
	unsigned int reading, writing;
	bool is_stopped; /* failed or interrupted: nothing new is started */
};

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

static bool is_zero(const unsigned char *p, size_t len)
{
	return p[0] == 0 && !memcmp(p, p + 1, len - 1);
}

/* The first failure is the reason for all others. */
static void io_failed(struct pass *p, const struct io *io, int error, const char *detail)
{
	static const char *const verbs[] = { "reading", "writing", "zeroing", "flushing" };

	p->is_stopped = true;
	if (detail[0])
		copy_fail(p->c, "%s %s at %llu: %s", verbs[io->kind], io->end->name,
			  (unsigned long long)io->offset, detail);
	else if (error == -EPIPE)
		copy_fail(p->c, "%s: nobody reads it any more.", io->end->name);
	else
		copy_fail(p->c, "%s %s at %llu: %s.", verbs[io->kind], io->end->name,
			  (unsigned long long)io->offset, strerror(-error));
}

static void read_done(struct io *io, int error, const char *detail)
{
	struct chunk *ch = io->arg;
	struct pass *p = ch->p;

	p->reading--;
	ch->state = CHUNK_READY;
	if (error) {
		ch->state = CHUNK_FAILED;
		io_failed(p, io, error, detail);
		return;
	}
	if (io->result >= ch->len)
		return;
	if (io->end->kind == END_STREAM) {
		ch->len = io->result;
		p->total = ch->offset + ch->len;
		p->c->total = p->total;
		return;
	}
	ch->state = CHUNK_FAILED;
	p->is_stopped = true;
	copy_fail(p->c, "%s became shorter while it was read: it ends at %llu.", io->end->name,
		  (unsigned long long)(io->offset + io->result));
}

/* True when the chunk is a hole of the source that needs no reading. */
static bool take_hole(struct pass *p, struct chunk *ch)
{
	uint64_t max = p->cell, hole;

	if (!p->out || !p->c->o->sparse || p->in->kind != END_FILE)
		return false;
	if (p->out->has_zero)
		max *= HOLE_CELLS;
	if (max > p->total - ch->offset)
		max = p->total - ch->offset;
	hole = end_file_hole(p->in, ch->offset, max);
	if (hole < ch->len)
		return false;
	ch->len = ch->offset + hole == p->total ? hole : hole / p->cell * p->cell;
	ch->is_hole = true;
	ch->state = CHUNK_READY;
	return true;
}

static void start_reads(struct pass *p)
{
	unsigned int limit = p->c->o->requests;
	struct chunk *ch;
	int ret;

	if (limit > p->in->limit)
		limit = p->in->limit;
	while (!p->is_stopped && p->next < p->total && p->reading < limit &&
	       (ch = TAILQ_FIRST(&p->idle))) {
		ch->offset = p->next;
		ch->len = p->total - p->next < p->cell ? p->total - p->next : p->cell;
		ch->done = 0;
		ch->is_hole = false;
		ch->is_hashed = false;
		if (!take_hole(p, ch)) {
			ch->io = (struct io){
				.end = p->in,
				.kind = IO_READ,
				.buf = ch->buf,
				.len = round_up(ch->len, p->in->align),
				.offset = ch->offset,
				.done = read_done,
				.arg = ch,
			};
			ch->state = CHUNK_READING;
			ret = end_submit(&ch->io);
			if (ret == -EAGAIN && p->in->busy)
				return;
			if (ret < 0) {
				io_failed(p, &ch->io, ret, nof_strerror_detail());
				return;
			}
			p->reading++;
		}
		p->next += ch->len;
		TAILQ_REMOVE(&p->idle, ch, link);
		TAILQ_INSERT_TAIL(&p->active, ch, link);
	}
}

static void write_done(struct io *io, int error, const char *detail)
{
	struct chunk *ch = io->arg;
	struct pass *p = ch->p;

	p->writing--;
	ch->state = CHUNK_READY;
	if (error) {
		ch->state = CHUNK_FAILED;
		io_failed(p, io, error, detail);
		return;
	}
	ch->done += io->len;
	if (io->kind == IO_ZERO)
		p->c->zeroed += io->len;
	else
		p->c->written += io->len;
	if (ch->done >= ch->len) {
		ch->state = CHUNK_DONE;
		p->bytes += ch->len;
	}
}

/* The next part of the chunk that is all zeroes, or has none that are worth it. */
static void next_part(const struct pass *p, struct chunk *ch, uint64_t padded)
{
	uint64_t grain = p->out->align > SPARSE_GRAIN ? p->out->align : SPARSE_GRAIN;
	uint64_t at = ch->done, n;
	bool first = false, zero;

	ch->io.kind = IO_WRITE;
	ch->io.len = padded - ch->done;
	if (!p->c->o->sparse || !p->out->has_zero)
		return;
	if (ch->is_hole) {
		ch->io.kind = IO_ZERO;
		return;
	}
	for (; at < padded; at += n) {
		n = padded - at < grain ? padded - at : grain;
		zero = is_zero(ch->buf + at, n);
		if (at == ch->done)
			first = zero;
		else if (zero != first)
			break;
	}
	ch->io.kind = first ? IO_ZERO : IO_WRITE;
	ch->io.len = at - ch->done;
}

/* 0, or a negative errno when nothing was started. */
static int start_write(struct pass *p, struct chunk *ch)
{
	uint64_t padded = round_up(ch->len, p->out->align);
	int ret;

	if (ch->offset + padded > p->out->size) {
		p->is_stopped = true;
		return copy_fail(p->c, "%s holds more than the %llu bytes of %s.", p->in->name,
				 (unsigned long long)p->out->size, p->out->name);
	}
	/* What is left of the last block becomes zero. */
	if (ch->done == 0 && ch->is_hole && !p->out->has_zero)
		memset(ch->buf, 0, padded);
	else if (ch->done == 0 && !ch->is_hole)
		memset(ch->buf + ch->len, 0, padded - ch->len);
	ch->io = (struct io){ .end = p->out, .done = write_done, .arg = ch };
	next_part(p, ch, padded);
	ch->io.buf = ch->buf + (ch->is_hole ? 0 : ch->done);
	ch->io.offset = ch->offset + ch->done;
	ret = end_submit(&ch->io);
	if (ret == -EAGAIN && p->out->busy)
		return ret;
	if (ret < 0) {
		io_failed(p, &ch->io, ret, nof_strerror_detail());
		return ret;
	}
	ch->state = CHUNK_WRITING;
	p->writing++;
	return 0;
}

static void start_writes(struct pass *p)
{
	unsigned int limit = p->c->o->requests;
	struct chunk *ch;

	if (p->out && limit > p->out->limit)
		limit = p->out->limit;
	TAILQ_FOREACH(ch, &p->active, link)
	{
		if (ch->state == CHUNK_READY && (!p->out || ch->len == 0)) {
			p->bytes += ch->len;
			ch->state = CHUNK_DONE;
			continue;
		}
		if (p->is_stopped || (p->out && p->writing >= limit))
			return;
		/* A stream takes them in order only. */
		if (p->out && p->out->kind == END_STREAM && ch != TAILQ_FIRST(&p->active))
			return;
		if (ch->state == CHUNK_READY && start_write(p, ch) < 0)
			return;
	}
}

static void hash_chunks(struct pass *p)
{
	struct chunk *ch;
	int ret;

	if (!p->check || p->is_stopped)
		return;
	TAILQ_FOREACH(ch, &p->active, link)
	{
		if (ch->state == CHUNK_READING)
			return;
		if (ch->is_hashed)
			continue;
		ret = check_add(p->check, ch->offset, ch->is_hole ? NULL : ch->buf, ch->len);
		if (ret < 0) {
			p->is_stopped = true;
			copy_fail(p->c, "--verify: hashing failed: %s.", strerror(-ret));
			return;
		}
		ch->is_hashed = true;
	}
}

static void retire_chunks(struct pass *p)
{
	struct chunk *ch, *next;

	for (ch = TAILQ_FIRST(&p->active); ch; ch = next) {
		next = TAILQ_NEXT(ch, link);
		if (ch->state != CHUNK_DONE || (p->check && !ch->is_hashed))
			continue;
		TAILQ_REMOVE(&p->active, ch, link);
		TAILQ_INSERT_HEAD(&p->idle, ch, link);
	}
}

/* DST is right up to the first chunk that is not written. */
static void note_good(struct pass *p)
{
	struct chunk *ch;

	if (!p->out)
		return;
	TAILQ_FOREACH(ch, &p->active, link)
	if (ch->state != CHUNK_DONE)
		break;
	p->c->good = ch ? ch->offset : p->next < p->total ? p->next : p->total;
}

static void pump(struct pass *p)
{
	pool_reap(p->c->pool);
	start_writes(p);
	hash_chunks(p);
	retire_chunks(p);
	start_reads(p);
	/* Holes are ready at once. */
	start_writes(p);
	nof_loop_flush(p->c->loop);
}

static bool is_finished(const struct pass *p)
{
	if (p->reading || p->writing)
		return false;
	return p->is_stopped || (p->next >= p->total && TAILQ_EMPTY(&p->active));
}

/* What does not end by itself is ended: a silent target must not keep us. */
static void abandon(struct pass *p)
{
	struct end *ends[2] = { p->in, p->out };
	unsigned int i;

	for (i = 0; i < 2; i++) {
		if (!ends[i] || ends[i]->kind != END_NS)
			continue;
		ends[i]->is_abandoned = true;
		end_close(ends[i]);
	}
	while (p->reading || p->writing) {
		pool_cancel(p->c->pool);
		nof_loop_wait(p->c->loop, 10);
		pool_reap(p->c->pool);
	}
}

static void drive(struct pass *p)
{
	uint64_t stopped = 0;
	int ret;

	for (;;) {
		if (copy_signal && !p->c->is_interrupted) {
			p->c->is_interrupted = true;
			p->is_stopped = true;
			copy_fail(p->c, "interrupted by %s.",
				  copy_signal == SIGINT ? "SIGINT" : "SIGTERM");
		}
		pump(p);
		progress_update(p->bytes, p->total);
		if (is_finished(p))
			break;
		if (p->is_stopped) {
			if (!stopped)
				stopped = tool_now();
			pool_cancel(p->c->pool);
		}
		if (stopped && tool_now() - stopped > DRAIN_LIMIT) {
			abandon(p);
			break;
		}
		/* Something is ready that a full queue refused, or all wait: both end here. */
		ret = nof_loop_wait(p->c->loop, 100);
		if (ret < 0 && ret != -EINTR && !p->is_stopped) {
			p->is_stopped = true;
			copy_fail(p->c, "%s", nof_strerror_detail());
		}
	}
	note_good(p);
}

static int allocate(struct pass *p)
{
	unsigned int i, count = p->c->o->requests * 2;
	struct copy *c = p->c;

	p->cell = c->o->chunk;
	/* Powers of two: the larger is a multiple of the smaller. */
	if (p->cell < c->src.align)
		p->cell = c->src.align;
	if (p->cell < c->dst.align)
		p->cell = c->dst.align;
	TAILQ_INIT(&p->active);
	TAILQ_INIT(&p->idle);
	p->mem_len = (size_t)(count * p->cell);
	p->mem = mmap(NULL, p->mem_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	p->chunks = calloc(count, sizeof(*p->chunks));
	if (p->mem == MAP_FAILED || !p->chunks) {
		if (p->mem == MAP_FAILED)
			p->mem = NULL;
		return copy_fail(c, "no memory for %u requests of %llu bytes.", count,
				 (unsigned long long)p->cell);
	}
	for (i = 0; i < count; i++) {
		p->chunks[i].p = p;
		p->chunks[i].buf = p->mem + i * p->cell;
		TAILQ_INSERT_TAIL(&p->idle, &p->chunks[i], link);
	}
	return 0;
}

static int run(struct pass *p, const char *phase)
{
	int ret = allocate(p);

	if (ret == 0) {
		progress_begin(p->c->o, phase, p->total);
		drive(p);
		progress_end(p->bytes, p->total, !p->is_stopped);
		ret = p->is_stopped ? -1 : 0;
	}
	if (p->mem)
		munmap(p->mem, p->mem_len);
	free(p->chunks);
	return ret;
}

int pass_copy(struct copy *c, struct check *check)
{
	struct pass p = { .c = c, .in = &c->src, .out = &c->dst, .check = check };

	p.total = c->total;
	return run(&p, "copy");
}

int pass_verify(struct copy *c, struct check *check)
{
	struct pass p = { .c = c, .in = &c->dst, .check = check, .total = c->total };
	int ret = run(&p, "verify");

	c->verified = p.bytes;
	return ret;
}

struct flush_wait {
	bool is_done;
	int error;
	char detail[512];
};

static void flush_done(struct io *io, int error, const char *detail)
{
	struct flush_wait *w = io->arg;

	w->is_done = true;
	w->error = error;
	snprintf(w->detail, sizeof(w->detail), "%s", detail);
}

int pass_flush(struct copy *c)
{
	struct flush_wait w = { .is_done = false };
	struct io io = { .end = &c->dst, .kind = IO_FLUSH, .done = flush_done, .arg = &w };
	int ret = end_submit(&io);

	if (ret < 0)
		return copy_fail(c, "flushing %s: %s", c->dst.name, nof_strerror_detail());
	nof_loop_flush(c->loop);
	/* Bounded by the command's timeout, or by the disk. */
	while (!w.is_done) {
		nof_loop_wait(c->loop, 100);
		pool_reap(c->pool);
	}
	if (w.error)
		return copy_fail(c, "flushing %s: %s", c->dst.name,
				 w.detail[0] ? w.detail : strerror(-w.error));
	return 0;
}
