/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sets of blocks: few ranges, sorted, never touching each other. */
#include <stdlib.h>

#include "target.h"

/* The first range that ends after block a, or ->n. */
static unsigned int first_after(const struct range_set *s, uint64_t a)
{
	unsigned int lo = 0, hi = s->n;

	while (lo < hi) {
		unsigned int mid = (lo + hi) / 2;

		if (s->v[mid].end > a)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

bool range_hits(const struct range_set *s, uint64_t start, uint64_t n)
{
	unsigned int i = first_after(s, start);

	return i < s->n && s->v[i].start < start + n;
}

static bool make_room(struct range_set *s)
{
	struct range *v;

	if (s->n < s->cap)
		return true;
	v = realloc(s->v, (s->cap + 64) * sizeof(*v));
	if (!v)
		return false;
	s->v = v;
	s->cap += 64;
	return true;
}

/* Takes [start, start + n) out. false: no memory, nothing changed. */
bool range_del(struct range_set *s, uint64_t start, uint64_t n)
{
	uint64_t end = start + n;
	unsigned int i = first_after(s, start);

	if (i < s->n && s->v[i].start < start && s->v[i].end > end) {
		if (!make_room(s))	/* the middle of one: it becomes two */
			return false;
		memmove(s->v + i + 1, s->v + i, (s->n - i) * sizeof(*s->v));
		s->n++;
		s->v[i].end = start;
		s->v[i + 1].start = end;
		return true;
	}
	while (i < s->n && s->v[i].start < end) {
		struct range *r = &s->v[i];

		if (r->start < start) {
			r->end = start;
			i++;
		} else if (r->end > end) {
			r->start = end;
		} else {
			memmove(r, r + 1, (s->n - i - 1) * sizeof(*r));
			s->n--;
		}
	}
	return true;
}

bool range_add(struct range_set *s, uint64_t start, uint64_t n)
{
	unsigned int i;

	if (!make_room(s) || !range_del(s, start, n) || !make_room(s))
		return false;
	i = first_after(s, start);
	memmove(s->v + i + 1, s->v + i, (s->n - i) * sizeof(*s->v));
	s->v[i].start = start;
	s->v[i].end = start + n;
	s->n++;
	return true;
}

void range_clear(struct range_set *s)
{
	free(s->v);
	memset(s, 0, sizeof(*s));
}
