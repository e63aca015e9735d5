/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Verified random I/O; see load.h. */
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum load_kind { LOAD_READ, LOAD_WRITE, LOAD_ZEROES, LOAD_FLUSH };

/* What a block may hold: version 0 is "nobody knows", ZEROES is zero bytes. */
#define UNKNOWN 0u
#define ZEROES 1u

struct block {
	uint32_t version;	/* acknowledged */
	uint32_t other;		/* of a write that failed since: may be there as well */
	bool is_vague;		/* several such writes */
};

struct slot {
	struct load *load;
	uint64_t first;		/* block of the namespace */
	uint64_t random;	/* state of its own generator */
	bool is_open;
	bool is_waiting;	/* chosen, but not accepted yet */
	enum load_kind kind;
	uint32_t at, count;	/* blocks of the operation in the slot */
	uint32_t version;	/* that it writes */
	uint32_t checked;	/* blocks read back, in read back mode */
	struct block blocks[LOAD_SLOT];
	uint8_t *buf;
};

struct load {
	struct load_opts opts;
	struct load_stats stats;
	struct nof_chan *chans[LOAD_CHANS];
	unsigned nchans, turn;
	uint32_t version;	/* last given */
	bool is_running;
	bool is_reading_back;
	uint64_t last_ms;	/* of the last completion, or of the start */
	unsigned open;
	struct slot *slots;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

/* The only contents of this block in this version. */
static void mark(const struct load *l, uint8_t *p, uint64_t block, uint32_t version)
{
	uint64_t x = l->opts.seed * 0x9e3779b97f4a7c15u + block * 0xbf58476d1ce4e5b9u + version;
	uint64_t words[LOAD_BLOCK / 8];

	if (version == ZEROES) {
		memset(p, 0, LOAD_BLOCK);
		return;
	}
	if (!x)
		x = 1;
	words[0] = block;
	words[1] = version;
	for (size_t i = 2; i < LOAD_BLOCK / 8; i++)
		words[i] = next(&x);
	memcpy(p, words, LOAD_BLOCK);
}

static bool holds(const struct load *l, const uint8_t *p, uint64_t block, uint32_t version)
{
	uint8_t want[LOAD_BLOCK];

	mark(l, want, block, version);
	return !memcmp(p, want, LOAD_BLOCK);
}

static bool is_mix(const struct load *l, const uint8_t *p, uint64_t block, const struct block *b)
{
	uint8_t old[LOAD_BLOCK], new[LOAD_BLOCK];

	mark(l, old, block, b->version);
	mark(l, new, block, b->other);
	for (size_t i = 0; i < LOAD_BLOCK; i++)
		if (p[i] != old[i] && p[i] != new[i])
			return false;
	return true;
}

static void mismatch(struct load *l, const uint8_t *p, uint64_t block, const struct block *b)
{
	uint64_t words[2];
	bool is_old;

	if (l->stats.mismatches++)
		return;
	memcpy(words, p, sizeof(words));
	is_old = words[0] == block && words[1] <= l->version &&
		 holds(l, p, block, (uint32_t)words[1]);
	snprintf(l->stats.mismatch, sizeof(l->stats.mismatch),
		 "block %" PRIu64 ": want version %u%s%s, found %s: block %" PRIu64
		 " version %" PRIu64, block, b->version, b->other ? " or a failed one" : "",
		 b->version == ZEROES ? " (zeroes)" : "",
		 is_old ? "another version of it, whole" : "something else", words[0], words[1]);
}

static void check_block(struct slot *s, const uint8_t *p, uint32_t i)
{
	struct load *l = s->load;
	struct block *b = &s->blocks[i];
	uint64_t block = s->first + i;

	if (b->version == UNKNOWN && !b->other)
		return;
	l->stats.checked++;
	if (b->version != UNKNOWN && holds(l, p, block, b->version))
		return;
	/* After a write that failed: old, new, or a part of each; after two anything. */
	if (b->other && (b->is_vague || b->version == UNKNOWN || is_mix(l, p, block, b)))
		return;
	mismatch(l, p, block, b);
}

static void failed(struct load *l, int error, const char *detail)
{
	if (l->stats.errors++)
		return;
	l->stats.error = error;
	snprintf(l->stats.detail, sizeof(l->stats.detail), "%s", detail);
}

static void succeeded(struct slot *s)
{
	struct load_stats *t = &s->load->stats;

	switch (s->kind) {
	case LOAD_READ:
		t->reads++;
		for (uint32_t i = 0; i < s->count; i++)
			check_block(s, s->buf + (size_t)i * LOAD_BLOCK, s->at + i);
		break;
	case LOAD_WRITE:
	case LOAD_ZEROES:
		*(s->kind == LOAD_WRITE ? &t->writes : &t->zeroes) += 1;
		for (uint32_t i = s->at; i < s->at + s->count; i++)
			s->blocks[i] = (struct block){ .version = s->version };
		break;
	case LOAD_FLUSH:
		t->flushes++;
		break;
	}
}

static void submit(struct slot *s);

static void on_done(void *arg, const struct nof_completion *c)
{
	struct slot *s = arg;
	struct load *l = s->load;
	uint64_t now = now_ms();

	if (!s->is_open) {
		l->stats.doubled++;
		return;
	}
	s->is_open = false;
	l->open--;
	l->stats.completed++;
	if (now - l->last_ms > l->stats.stall_ms)
		l->stats.stall_ms = now - l->last_ms;
	l->last_ms = now;
	if (!c->error) {
		succeeded(s);
	} else {
		failed(l, c->error, c->detail);
		for (uint32_t i = s->at; i < s->at + s->count; i++) {
			if (s->kind != LOAD_WRITE && s->kind != LOAD_ZEROES)
				break;
			s->blocks[i].is_vague = s->blocks[i].other != 0;
			s->blocks[i].other = s->version;
		}
		if (l->is_reading_back)
			s->checked = LOAD_SLOT;
	}
	if (l->is_running || l->is_reading_back)
		submit(s);
}

static void choose(struct slot *s)
{
	struct load *l = s->load;
	uint64_t x = next(&s->random);
	unsigned dice = (unsigned)(x % 100);

	s->count = 1 + (uint32_t)((x >> 16) % l->opts.max_blocks);
	if (x & 1ull << 60)	/* small ones as often as large ones */
		s->count = 1 + s->count % 4;
	if (s->count > l->opts.max_blocks)
		s->count = l->opts.max_blocks;
	s->at = (uint32_t)((x >> 32) % (LOAD_SLOT - s->count + 1));
	if (l->opts.is_reading || dice < 45)
		s->kind = LOAD_READ;
	else if (dice < 90 || (dice < 96 && !l->opts.has_zeroes))
		s->kind = LOAD_WRITE;
	else
		s->kind = dice < 96 ? LOAD_ZEROES : LOAD_FLUSH;
	if (s->kind == LOAD_FLUSH)
		s->count = 0;
	s->version = s->kind == LOAD_ZEROES ? ZEROES : s->kind == LOAD_WRITE ? ++l->version : 0;
}

static int call(struct slot *s)
{
	struct load *l = s->load;
	struct nof_chan *chan = l->chans[l->turn++ % l->nchans];
	uint64_t off = l->opts.base + (s->first + s->at) * LOAD_BLOCK;
	size_t len = (size_t)s->count * LOAD_BLOCK;

	switch (s->kind) {
	case LOAD_READ:
		memset(s->buf, 0xee, len);
		return nof_read(chan, s->buf, len, off, l->opts.flags, on_done, s);
	case LOAD_WRITE:
		for (uint32_t i = 0; i < s->count; i++)
			mark(l, s->buf + (size_t)i * LOAD_BLOCK, s->first + s->at + i, s->version);
		return nof_write(chan, s->buf, len, off, l->opts.flags, on_done, s);
	case LOAD_ZEROES:
		return nof_write_zeroes(chan, len, off, l->opts.flags, on_done, s);
	case LOAD_FLUSH:
		break;
	}
	return nof_flush(chan, on_done, s);
}

static void submit(struct slot *s)
{
	struct load *l = s->load;
	int r;

	if (s->is_open || !l->nchans)
		return;
	if (l->is_reading_back) {
		if (s->checked >= LOAD_SLOT)
			return;
		s->kind = LOAD_READ;
		s->at = s->checked;
		s->count = LOAD_SLOT - s->checked;
		if (s->count > l->opts.max_blocks)
			s->count = l->opts.max_blocks;
	} else if (!s->is_waiting) {
		choose(s);
	}
	s->is_waiting = false;
	s->is_open = true;
	r = call(s);
	if (!r) {
		l->open++;
		l->stats.submitted++;
		if (l->is_reading_back)
			s->checked += s->count;
		return;
	}
	s->is_open = false;
	s->is_waiting = true;
	if (r == -EAGAIN)
		return;
	/* Refused: nothing was sent, so nothing changed. */
	failed(l, r, nof_strerror_detail());
	l->is_running = false;
	if (l->is_reading_back)
		s->checked = LOAD_SLOT;
}

struct load *load_new(const struct load_opts *opts)
{
	struct load *l = calloc(1, sizeof(*l));
	uint64_t x = (opts->seed + 1) * 0x9e3779b97f4a7c15u;

	if (!l)
		return NULL;
	l->opts = *opts;
	l->version = ZEROES;
	if (!l->opts.depth)
		l->opts.depth = 16;
	if (!l->opts.max_blocks || l->opts.max_blocks > LOAD_SLOT)
		l->opts.max_blocks = LOAD_SLOT;
	l->slots = calloc(l->opts.depth, sizeof(*l->slots));
	if (!l->slots) {
		free(l);
		return NULL;
	}
	for (uint32_t i = 0; i < l->opts.depth; i++) {
		struct slot *s = &l->slots[i];

		s->load = l;
		s->first = (uint64_t)i * LOAD_SLOT;
		s->random = next(&x) | 1;
		s->buf = malloc((size_t)LOAD_SLOT * LOAD_BLOCK);
		if (!s->buf) {
			load_free(l);
			return NULL;
		}
	}
	return l;
}

void load_add(struct load *l, struct nof_chan *chan)
{
	if (l->nchans < LOAD_CHANS)
		l->chans[l->nchans++] = chan;
}

void load_start(struct load *l)
{
	l->is_running = true;
	l->is_reading_back = false;
	l->last_ms = now_ms();
	for (uint32_t i = 0; i < l->opts.depth && l->is_running; i++)
		submit(&l->slots[i]);
}

void load_stop(struct load *l)
{
	l->is_running = false;
	for (uint32_t i = 0; i < l->opts.depth; i++)
		l->slots[i].is_waiting = false;
}

static bool wants(const struct load *l, const struct slot *s)
{
	return !s->is_open && (l->is_running || (l->is_reading_back && s->checked < LOAD_SLOT));
}

bool load_is_idle(const struct load *l)
{
	if (l->open || l->is_running)
		return false;
	for (uint32_t i = 0; i < l->opts.depth; i++)
		if (wants(l, &l->slots[i]))
			return false;
	return true;
}

void load_read_back(struct load *l)
{
	load_stop(l);
	l->is_reading_back = true;
	l->last_ms = now_ms();
	for (uint32_t i = 0; i < l->opts.depth; i++) {
		l->slots[i].checked = 0;
		submit(&l->slots[i]);
	}
}

void load_tick(struct load *l)
{
	uint64_t now = now_ms();

	if (l->open && now - l->last_ms > l->stats.stall_ms)
		l->stats.stall_ms = now - l->last_ms;
	for (uint32_t i = 0; i < l->opts.depth; i++)
		if (wants(l, &l->slots[i]))
			submit(&l->slots[i]);
}

const struct load_stats *load_get(const struct load *l)
{
	return &l->stats;
}

void load_detach(struct load *l)
{
	l->nchans = 0;
}

void load_free(struct load *l)
{
	if (!l)
		return;
	for (uint32_t i = 0; l->slots && i < l->opts.depth; i++)
		free(l->slots[i].buf);
	free(l->slots);
	free(l);
}
