// SPDX-License-Identifier: LGPL-2.1-or-later
#include "linkmodel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t draw(struct lm_dir *dir)
{
	uint64_t z = dir->random += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

int lm_start(struct lm_dir *dir, const struct lm_params *params, uint32_t capacity, uint64_t seed)
{
	memset(dir, 0, sizeof(*dir));
	dir->params = *params;
	dir->random = seed;
	dir->capacity = capacity;
	/* One buffer more than can be held: the one that is being received. */
	dir->heap = calloc(capacity, sizeof(*dir->heap));
	dir->spare = calloc((size_t)capacity + 1, sizeof(*dir->spare));
	dir->lengths = calloc((size_t)capacity + 1, sizeof(*dir->lengths));
	dir->memory = malloc(((size_t)capacity + 1) * LM_PACKET_MAX);
	if (!dir->heap || !dir->spare || !dir->lengths || !dir->memory) {
		lm_end(dir);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i <= capacity; i++)
		dir->spare[i] = capacity - i;
	return 0;
}

void lm_end(struct lm_dir *dir)
{
	free(dir->heap);
	free(dir->spare);
	free(dir->lengths);
	free(dir->memory);
	dir->heap = NULL;
	dir->spare = NULL;
	dir->lengths = NULL;
	dir->memory = NULL;
	dir->held = 0;
}

/* spare[0 .. capacity - held] are free; the last of them is the one that receives. */
static uint32_t room(const struct lm_dir *dir)
{
	return dir->spare[dir->capacity - dir->held];
}

uint8_t *lm_room(struct lm_dir *dir)
{
	return dir->memory + (size_t)room(dir) * LM_PACKET_MAX;
}

static bool is_before(const struct lm_slot *a, const struct lm_slot *b)
{
	return a->due != b->due ? a->due < b->due : a->number < b->number;
}

static void push(struct lm_dir *dir, struct lm_slot slot)
{
	uint32_t i = dir->held++;

	while (i && is_before(&slot, &dir->heap[(i - 1) / 2])) {
		dir->heap[i] = dir->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	dir->heap[i] = slot;
}

static struct lm_slot pop(struct lm_dir *dir)
{
	struct lm_slot first = dir->heap[0], last = dir->heap[--dir->held];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < dir->held) {
		if (child + 1 < dir->held && is_before(&dir->heap[child + 1], &dir->heap[child]))
			child++;
		if (!is_before(&dir->heap[child], &last))
			break;
		dir->heap[i] = dir->heap[child];
		i = child;
	}
	dir->heap[i] = last;
	return first;
}

/* Three numbers are drawn for every packet, needed or not: one option does not shift another's. */
static bool is_lost(struct lm_dir *dir, uint32_t chance, uint32_t burst_chance)
{
	const struct lm_params *p = &dir->params;

	if (p->burst_enter) {
		dir->in_burst = dir->in_burst ? burst_chance >= p->burst_leave :
						burst_chance < p->burst_enter;
		if (dir->in_burst) {
			dir->stats.lost_burst++;
			return true;
		}
	}
	if (chance < p->loss) {
		dir->stats.lost_random++;
		return true;
	}
	return false;
}

bool lm_take(struct lm_dir *dir, uint64_t now, uint16_t length)
{
	const struct lm_params *p = &dir->params;
	uint64_t chance = draw(dir), burst_chance = draw(dir), jitter = draw(dir);
	struct lm_slot slot = {.number = ++dir->stats.packets, .due = now, .buffer = room(dir)};
	bool is_calm = slot.number <= p->calm;

	dir->stats.bytes += length;
	if (!is_calm && is_lost(dir, (uint32_t)chance, (uint32_t)burst_chance))
		return false;
	if (p->rate) {
		uint64_t begin = dir->free_at > now ? dir->free_at : now;
		uint64_t waiting = (uint64_t)((unsigned __int128)(begin - now) * p->rate /
					      8000000000u);

		if (waiting + length > p->queue_bytes) {
			dir->stats.lost_queue++;
			return false;
		}
		slot.due = begin + (uint64_t)length * 8000000000u / p->rate;
	}
	if (dir->held == dir->capacity) {
		dir->stats.lost_pool++;
		return false;
	}
	if (p->rate)
		dir->free_at = slot.due;
	slot.due += p->delay_ns;
	if (p->jitter_ns && !is_calm) {
		slot.due += jitter % (2 * p->jitter_ns + 1);
		slot.due -= slot.due - now < p->jitter_ns ? slot.due - now : p->jitter_ns;
	}
	if (!p->may_reorder && slot.due < dir->last_due)
		slot.due = dir->last_due;
	dir->last_due = slot.due;
	dir->lengths[slot.buffer] = length;
	push(dir, slot);
	if (dir->held > dir->stats.most_held)
		dir->stats.most_held = dir->held;
	return true;
}

uint64_t lm_due(const struct lm_dir *dir)
{
	return dir->held ? dir->heap[0].due : LM_NEVER;
}

const uint8_t *lm_give(struct lm_dir *dir, uint64_t now, uint16_t *length)
{
	struct lm_slot slot;

	if (lm_due(dir) > now)
		return NULL;
	slot = pop(dir);
	dir->spare[dir->capacity - dir->held] = slot.buffer;
	if (slot.number < dir->newest)
		dir->stats.overtaken++;
	else
		dir->newest = slot.number;
	dir->stats.delivered++;
	*length = dir->lengths[slot.buffer];
	return dir->memory + (size_t)slot.buffer * LM_PACKET_MAX;
}
