/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 16, PIECES = MODEL_UNIT / PIECE };

#define MIX 0x9e3779b97f4a7c15ull

bool model_init(struct model *m, uint64_t base, uint32_t count, uint64_t seed)
{
	*m = (struct model){ .base = base, .count = count, .next_gen = 1 };
	m->seed = (seed + 1) * MIX;
	m->units = calloc(count, sizeof(*m->units));
	return m->units != NULL;
}

void model_free(struct model *m)
{
	free(m->units);
	m->units = NULL;
}

bool model_take(struct model *m, uint32_t first, uint32_t count)
{
	uint32_t i;

	for (i = first; i < first + count; i++)
		if (m->units[i].is_busy || m->units[i].is_doubtful)
			return false;
	for (i = first; i < first + count; i++)
		m->units[i].is_busy = true;
	return true;
}

void model_give_back(struct model *m, uint32_t first, uint32_t count)
{
	uint32_t i;

	for (i = first; i < first + count; i++)
		m->units[i].is_busy = false;
}

void model_written(struct model *m, uint32_t first, uint32_t count, uint32_t gen, bool is_good)
{
	uint32_t i;

	for (i = first; i < first + count; i++) {
		if (is_good) {
			m->units[i].gen = gen;
			continue;
		}
		/* It may even be executed later: nothing that is written now would be safe. */
		m->units[i].other = gen;
		m->units[i].is_doubtful = true;
		m->doubtful++;
	}
}

/* The second word of a piece names it, the first follows from the second. */
static uint64_t second(const struct model *m, uint64_t offset, uint32_t gen)
{
	return ((uint64_t)gen << 32 | (uint32_t)(offset / PIECE)) ^ m->seed;
}

static uint64_t first_of(uint64_t word)
{
	word *= MIX;
	return word ^ word >> 29;
}

static uint64_t offset_of(const struct model *m, uint32_t unit)
{
	return m->base + (uint64_t)unit * MODEL_UNIT;
}

static void fill_unit(const struct model *m, uint32_t unit, uint32_t gen, uint64_t *words)
{
	uint64_t offset = offset_of(m, unit);
	unsigned int i;

	if (gen == MODEL_ZERO) {
		memset(words, 0, MODEL_UNIT);
		return;
	}
	for (i = 0; i < PIECES; i++, offset += PIECE) {
		words[2 * i + 1] = second(m, offset, gen);
		words[2 * i] = first_of(words[2 * i + 1]);
	}
}

void model_fill(const struct model *m, uint32_t first, uint32_t count, uint32_t gen, void *buf)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		fill_unit(m, first + i, gen, (uint64_t *)buf + (size_t)i * 2 * PIECES);
}

void model_fill_expected(const struct model *m, uint32_t first, uint32_t count, void *buf)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		fill_unit(m, first + i, m->units[first + i].gen,
			  (uint64_t *)buf + (size_t)i * 2 * PIECES);
}

static void describe(const struct model *m, const struct unit *u, uint64_t offset,
		     const uint64_t *piece, struct mismatch *bad)
{
	uint64_t name = piece[1] ^ m->seed;
	uint32_t gen = (uint32_t)(name >> 32);
	uint64_t of = (name & 0xffffffff) * PIECE;

	bad->offset = offset;
	if (!piece[0] && !piece[1])
		snprintf(bad->text, sizeof(bad->text), "zeroes instead of generation %u", u->gen);
	else if (piece[0] != first_of(piece[1]))
		snprintf(bad->text, sizeof(bad->text),
			 "bytes of nobody (%016llx %016llx) instead of generation %u",
			 (unsigned long long)piece[0], (unsigned long long)piece[1], u->gen);
	else if (of != (offset & 0xfffffffffull))
		snprintf(bad->text, sizeof(bad->text),
			 "data of offset %llu, generation %u, instead of generation %u of here",
			 (unsigned long long)of, gen, u->gen);
	else
		snprintf(bad->text, sizeof(bad->text), "%s generation %u instead of %u",
			 gen < u->gen ? "the older" : "the newer", gen, u->gen);
}

static bool check_unit(const struct model *m, uint32_t unit, const uint64_t *words,
		       struct mismatch *bad)
{
	const struct unit *u = &m->units[unit];
	uint64_t want[2 * PIECES], other[2 * PIECES];
	unsigned int i;

	fill_unit(m, unit, u->gen, want);
	if (!memcmp(want, words, MODEL_UNIT))
		return true;
	if (u->is_doubtful)
		fill_unit(m, unit, u->other, other);
	for (i = 0; i < PIECES; i++) {
		if (!memcmp(&want[2 * i], &words[2 * i], PIECE))
			continue;
		if (u->is_doubtful && !memcmp(&other[2 * i], &words[2 * i], PIECE))
			continue;
		describe(m, u, offset_of(m, unit) + i * PIECE, &words[2 * i], bad);
		return false;
	}
	return true;
}

uint32_t model_check(const struct model *m, uint32_t first, uint32_t count, const void *buf,
		     struct mismatch *bad)
{
	struct mismatch this;
	uint32_t i, n = 0;

	for (i = 0; i < count; i++) {
		if (check_unit(m, first + i, (const uint64_t *)buf + (size_t)i * 2 * PIECES, &this))
			continue;
		if (!n++)
			*bad = this;
	}
	return n;
}
