/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "chaos.h"

enum { TRIES = 16 /* to find a range that is free */, PIECE = 64 /* units, filling, re-reading */,
       PLANTED = 200 /* the request that a fault of our own hits */ };

/* A completion's argument says whose it is: worker, slot, serial. No memory to be wrong about. */
static void *ticket(const struct worker *w, const struct slot *s)
{
	uintptr_t slot = (uintptr_t)(s - w->slots);

	_Static_assert(sizeof(void *) == 8, "a ticket has 64 bits");
	return (void *)(s->serial << 16 | slot << 4 | w->index);
}

static struct chaos *the_chaos; /* there is one */

static uint64_t rnd(struct worker *w, uint64_t below)
{
	uint64_t x = w->rng;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	w->rng = x;
	return (x * 0x2545f4914f6cdd1dull >> 11) % below;
}

static uint64_t offset_of(const struct worker *w, const struct slot *s)
{
	return w->model.base + (uint64_t)s->first * MODEL_UNIT;
}

static void check_read(struct worker *w, struct slot *s)
{
	struct mismatch bad;
	uint32_t n;

	if (w->chaos->o.plant == PLANT_CORRUPT && s->serial >= PLANTED && !w->has_planted) {
		w->has_planted = true;
		s->buf[s->count * MODEL_UNIT / 2 + 5] ^= 1;
	}
	n = model_check(&w->model, s->first, s->count, s->buf, &bad);
	if (!n)
		return;
	ADD(w->n.mismatches, n);
	fail(w->chaos, "MISMATCH at offset %llu of a read of %u bytes at %llu: %s",
	     (unsigned long long)bad.offset, s->count * MODEL_UNIT,
	     (unsigned long long)offset_of(w, s), bad.text);
}

/* What the result of a request says about the namespace. */
static void judge(struct worker *w, struct slot *s, const struct nof_completion *c)
{
	static const char *const names[KINDS] = { "read",  "write",   "write zeroes",
						  "flush", "compare", "compare" };
	bool is_good = !c->error;

	if (s->kind == MISCOMPARE)
		is_good = c->error == -EILSEQ;
	if (s->kind == WRITE || s->kind == ZEROES)
		model_written(&w->model, s->first, s->count, s->gen, is_good);
	if (s->kind == COMPARE && c->error == -EILSEQ) {
		ADD(w->n.mismatches, 1);
		fail(w->chaos, "MISMATCH: a compare of what was written at %llu, %u bytes, failed",
		     (unsigned long long)offset_of(w, s), s->count * MODEL_UNIT);
		return;
	}
	if (s->kind == MISCOMPARE && !c->error) {
		ADD(w->n.mismatches, 1);
		fail(w->chaos, "a compare with other data at %llu succeeded",
		     (unsigned long long)offset_of(w, s));
		return;
	}
	if (!is_good) {
		ADD(w->n.errors, 1);
		fail(w->chaos, "a %s of %u bytes at %llu failed: %d, %s", names[s->kind],
		     s->count * MODEL_UNIT, (unsigned long long)offset_of(w, s), c->error,
		     c->detail);
		return;
	}
	ADD(w->n.by_kind[s->kind], 1);
	ADD(w->n.bytes, (uint64_t)s->count * MODEL_UNIT);
	if (s->kind == READ)
		check_read(w, s);
}

static void done(void *arg, const struct nof_completion *c)
{
	uint64_t serial = (uintptr_t)arg >> 16, took;
	struct worker *w = &the_chaos->workers[(uintptr_t)arg & 15];
	struct slot *s = &w->slots[(uintptr_t)arg >> 4 & 4095];

	if (w->chaos->o.plant == PLANT_LOST && serial == PLANTED)
		return;
	if (w->is_submitting || !pthread_equal(pthread_self(), w->thread)) {
		ADD(w->n.misplaced, 1);
		fail(w->chaos, "a completion came %s",
		     w->is_submitting ? "inside a submit call" : "on a foreign thread");
	}
	if (s->serial != serial) {
		ADD(w->n.doubled, 1);
		fail(w->chaos, "request %llu of worker %u completed and was not in flight",
		     (unsigned long long)serial, w->index);
		return;
	}
	took = now_ns() - s->started;
	if (took > GET(w->n.slowest))
		SET(w->n.slowest, took);
	judge(w, s, c);
	model_give_back(&w->model, s->first, s->count);
	SET(s->serial, (uint64_t)0);
	w->inflight--;
	ADD(w->n.completed, 1);
	if (w->chaos->o.plant == PLANT_DOUBLED && serial == PLANTED)
		done(arg, c);
}

static int call(struct worker *w, struct slot *s, void *arg)
{
	uint64_t offset = offset_of(w, s);
	size_t len = (size_t)s->count * MODEL_UNIT;

	switch (s->kind) {
	case READ: return nof_read(w->chan, s->buf, len, offset, 0, done, arg);
	case WRITE: return nof_write(w->chan, s->buf, len, offset, 0, done, arg);
	case ZEROES: return nof_write_zeroes(w->chan, len, offset, 0, done, arg);
	case FLUSH: return nof_flush(w->chan, done, arg);
	default: return nof_compare(w->chan, s->buf, len, offset, 0, done, arg);
	}
}

static void prepare(struct worker *w, struct slot *s)
{
	switch (s->kind) {
	case READ:
		/* What the library does not write must not look right. */
		memset(s->buf, 0xa5, (size_t)s->count * MODEL_UNIT);
		break;
	case WRITE:
		s->gen = w->model.next_gen++;
		model_fill(&w->model, s->first, s->count, s->gen, s->buf);
		break;
	case ZEROES:
		s->gen = MODEL_ZERO;
		break;
	case COMPARE:
		model_fill_expected(&w->model, s->first, s->count, s->buf);
		break;
	case MISCOMPARE:
		model_fill_expected(&w->model, s->first, s->count, s->buf);
		s->buf[rnd(w, (uint64_t)s->count * MODEL_UNIT)] ^= 1u << rnd(w, 8);
		break;
	default:
		break;
	}
}

/* Submits what stands in an idle slot, its range taken. False when there is no room now. */
static bool submit(struct worker *w, struct slot *s)
{
	int ret;

	prepare(w, s);
	SET(s->started, now_ns());
	SET(s->serial, ++w->serial);
	w->is_submitting = true;
	ret = call(w, s, ticket(w, s));
	w->is_submitting = false;
	if (ret == 0) {
		w->inflight++;
		ADD(w->n.submitted, 1);
		return true;
	}
	SET(s->serial, (uint64_t)0);
	model_give_back(&w->model, s->first, s->count);
	if (ret == -EAGAIN) {
		ADD(w->n.refused, 1);
		return false;
	}
	ADD(w->n.errors, 1);
	fail(w->chaos, "a request was refused: %d, %s", ret, nof_strerror_detail());
	SET(w->chaos->is_ending, true);
	return false;
}

static enum kind draw_kind(struct worker *w)
{
	uint64_t x = rnd(w, 100);

	return x < 40 ? READ : x < 80 ? WRITE : x < 87 ? ZEROES : x < 90 ? FLUSH :
	       x < 97 ? COMPARE : MISCOMPARE;
}

/* Mostly small, some of the largest. */
static uint32_t draw_count(struct worker *w, enum kind kind)
{
	uint64_t x = rnd(w, 100);
	uint32_t max = kind == COMPARE || kind == MISCOMPARE ? 16 : MAX_UNITS;

	if (kind == FLUSH)
		return 0;
	if (x < 40)
		return 1;
	if (x < 80 || max == 16)
		return 1 + (uint32_t)rnd(w, 16);
	return 1 + (uint32_t)rnd(w, max);
}

static bool draw(struct worker *w, struct slot *s)
{
	unsigned int i;

	s->kind = draw_kind(w);
	s->count = draw_count(w, s->kind);
	s->first = 0;
	for (i = 0; i < TRIES && s->count; i++) {
		if (s->count > w->model.count)
			s->count = w->model.count;
		s->first = (uint32_t)rnd(w, w->model.count - s->count + 1);
		if (model_take(&w->model, s->first, s->count))
			return true;
		/* The fuller it is, the smaller are the gaps. */
		s->count = (s->count + 1) / 2;
	}
	return !s->count;
}

/* The next piece in order; false at the end of the range. */
static bool next_piece(struct worker *w, struct slot *s, enum kind kind)
{
	if (w->next_unit >= w->model.count)
		return false;
	s->kind = kind;
	s->first = w->next_unit;
	s->count = w->model.count - s->first < PIECE ? w->model.count - s->first : PIECE;
	return true;
}

static void fill_slots(struct worker *w, enum phase phase)
{
	unsigned int i;

	for (i = 0; i < w->chaos->o.depth && !GET(w->chaos->is_ending); i++) {
		struct slot *s = &w->slots[i];

		if (s->serial)
			continue;
		if (phase == LOAD) {
			if (!draw(w, s))
				continue;
		} else if (!next_piece(w, s, phase == FILL ? WRITE : READ)) {
			return;
		}
		if (!submit(w, s))
			return;
		if (phase != LOAD)
			w->next_unit += s->count;
		if (phase == REREAD)
			ADD(w->n.reread, s->count);
	}
}

static bool is_over(const struct worker *w, enum phase phase)
{
	if (GET(w->chaos->is_ending))
		return true;
	if (phase == LOAD)
		return now_ns() >= GET(w->chaos->ended);
	return w->next_unit >= w->model.count;
}

static unsigned int count_older(const struct worker *w, uint64_t now, uint64_t limit)
{
	unsigned int i, n = 0;

	for (i = 0; i < w->chaos->o.depth; i++)
		n += w->slots[i].serial && w->slots[i].started + limit < now;
	return n;
}

static void drained(void *arg, const struct nof_completion *c)
{
	struct worker *w = arg;
	unsigned int i;

	if (!w->is_draining)
		fail(w->chaos, "a drain of worker %u completed twice", w->index);
	if (c->error)
		fail(w->chaos, "a drain of worker %u failed: %s", w->index, c->detail);
	for (i = 0; i < w->chaos->o.depth; i++)
		if (w->slots[i].serial && w->slots[i].serial <= w->drain_serial)
			fail(w->chaos, "a drain of worker %u ended before request %llu", w->index,
			     (unsigned long long)w->slots[i].serial);
	w->is_draining = false;
	ADD(w->n.drains, 1);
}

/* While others come behind it: what was accepted before must be over. */
static void drain(struct worker *w, uint64_t now)
{
	if (w->is_draining || now < w->next_drain)
		return;
	w->next_drain = now + rnd(w, 1000000000);
	w->is_draining = true;
	w->drain_serial = w->serial;
	if (nof_chan_drain(w->chan, drained, w) == 0)
		return;
	w->is_draining = false;
	fail(w->chaos, "nof_chan_drain: %s", nof_strerror_detail());
}

void worker_run(struct worker *w, enum phase phase, void (*turn)(struct chaos *c))
{
	uint64_t limit = (uint64_t)(w->chaos->o.max_age * 1e9);

	w->next_unit = 0;
	/* Of what is lost in one phase nobody needs to hear in the next one again. */
	while (!w->has_lost && (!is_over(w, phase) || w->inflight || w->is_draining)) {
		uint64_t now = now_ns();

		if (!is_over(w, phase))
			fill_slots(w, phase);
		if (w->chaos->o.shake && phase == LOAD && !is_over(w, phase))
			drain(w, now);
		nof_loop_flush(w->loop);
		if (turn)
			turn(w->chaos);
		if (worker_oldest(w, now) > limit) {
			fail(w->chaos, "a request of worker %u is in flight for %.1f s", w->index,
			     (double)worker_oldest(w, now) / 1e9);
			SET(w->chaos->is_ending, true);
			w->has_lost = true;
			ADD(w->chaos->lost, count_older(w, now, limit));
			break;
		}
		if (nof_loop_wait(w->loop, 20) < 0)
			fail(w->chaos, "nof_loop_wait: %s", nof_strerror_detail());
	}
	__atomic_store_n(&w->phase, phase, __ATOMIC_RELEASE);
}

uint64_t worker_oldest(const struct worker *w, uint64_t now)
{
	uint64_t oldest = 0;
	unsigned int i;

	/* Another thread's slots: at worst one interval's number is a little off. */
	for (i = 0; i < w->chaos->o.depth; i++) {
		uint64_t started = GET(w->slots[i].started);

		if (GET(w->slots[i].serial) && now > started && now - started > oldest)
			oldest = now - started;
	}
	return oldest;
}

int worker_init(struct worker *w, struct chaos *c, unsigned int index)
{
	uint32_t units = (uint32_t)(c->o.span / MODEL_UNIT / c->o.workers);
	unsigned int i;

	the_chaos = c;
	w->chaos = c;
	w->index = index;
	w->thread = pthread_self();
	w->rng = (c->o.seed + 1) * 0x9e3779b97f4a7c15ull + index;
	w->slots = calloc(c->o.depth, sizeof(*w->slots));
	w->mem_len = (size_t)c->o.depth * MAX_UNITS * MODEL_UNIT;
	/* All of it at once: memory that is touched later would look like a leak. */
	w->mem = mmap(NULL, w->mem_len, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (w->mem == MAP_FAILED)
		w->mem = NULL;
	if (!w->slots || !w->mem ||
	    !model_init(&w->model, (uint64_t)index * units * MODEL_UNIT, units, c->o.seed)) {
		fail(c, "no memory for worker %u", index);
		return -1;
	}
	for (i = 0; i < c->o.depth; i++)
		w->slots[i].buf = w->mem + (size_t)i * MAX_UNITS * MODEL_UNIT;
	return 0;
}

int worker_open(struct worker *w)
{
	struct nof_loop_opts lo;

	nof_loop_opts_init(&lo);
	lo.engine = w->chaos->opts[0].engine;
	if (!w->loop && nof_loop_new(&lo, &w->loop) < 0) {
		fail(w->chaos, "worker %u: %s", w->index, nof_strerror_detail());
		return -1;
	}
	if (w->chaos->ns && nof_chan_open_sync(w->chaos->ns, w->loop, &w->chan) < 0) {
		fail(w->chaos, "worker %u: %s", w->index, nof_strerror_detail());
		return -1;
	}
	return 0;
}

void worker_close(struct worker *w)
{
	nof_chan_close(w->chan);
	w->chan = NULL;
}

void worker_free(struct worker *w)
{
	nof_loop_free(w->loop);
	model_free(&w->model);
	if (w->mem)
		munmap(w->mem, w->mem_len);
	free(w->slots);
}
