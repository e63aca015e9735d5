/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is remembered of targets behind middleboxes: a small table, searched in a row. */
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "mptcp/memory.h"

#define SECOND 1000000000ull

struct nofi_memory nofi_memory = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* The part of an entry that names the target; false: no address of the internet. */
static bool make_key(uint64_t netns, const struct sockaddr *peer, struct nofi_memory_entry *key)
{
	const struct sockaddr_in6 *v6 = (const void *)peer;
	const struct sockaddr_in *v4 = (const void *)peer;

	memset(key, 0, sizeof(*key));
	key->netns = netns;
	key->family = peer->sa_family;
	if (peer->sa_family == AF_INET) {
		key->port = v4->sin_port;
		memcpy(key->addr, &v4->sin_addr, sizeof(v4->sin_addr));
		return true;
	}
	if (peer->sa_family != AF_INET6)
		return false;
	key->port = v6->sin6_port;
	key->scope = v6->sin6_scope_id;
	memcpy(key->addr, &v6->sin6_addr, sizeof(key->addr));
	return true;
}

static bool is_same(const struct nofi_memory_entry *a, const struct nofi_memory_entry *b)
{
	return a->netns == b->netns && a->family == b->family && a->port == b->port &&
	       a->scope == b->scope && !memcmp(a->addr, b->addr, sizeof(a->addr));
}

static struct nofi_memory_entry *find(struct nofi_memory *m, const struct nofi_memory_entry *key)
{
	for (unsigned i = 0; i < NOFI_MEMORY_MAX; i++)
		if (m->entries[i].family && is_same(&m->entries[i], key))
			return &m->entries[i];
	return NULL;
}

/* A free entry, or the one that was used longest ago. */
static struct nofi_memory_entry *make_room(struct nofi_memory *m)
{
	struct nofi_memory_entry *oldest = &m->entries[0];

	for (unsigned i = 0; i < NOFI_MEMORY_MAX; i++) {
		if (!m->entries[i].family) {
			m->count++;
			return &m->entries[i];
		}
		if (m->entries[i].used < oldest->used)
			oldest = &m->entries[i];
	}
	return oldest;
}

bool nofi_memory_avoids(struct nofi_memory *m, uint64_t netns, const struct sockaddr *peer,
			uint64_t now, struct nofi_memory_why *why)
{
	struct nofi_memory_entry key, *e;
	bool is_avoided = false;

	if (!m->count || !make_key(netns, peer, &key))
		return false;
	pthread_mutex_lock(&m->lock);
	e = find(m, &key);
	if (e && e->pause_s) {
		e->used = now;
		if (now < e->until) {
			is_avoided = true;
			if (why) {
				why->left_s = (uint32_t)((e->until - now + SECOND - 1) / SECOND);
				why->cause = e->cause;
			}
		} else {
			/* This one tries; its fellows, made at the same time, do not wait. */
			e->until = now + NOFI_MEMORY_TRIAL_S * SECOND;
		}
	}
	pthread_mutex_unlock(&m->lock);
	return is_avoided;
}

/* Longer each time. One more strike of several connections that tried together changes nothing. */
static void avoid(struct nofi_memory_entry *e, uint64_t now)
{
	if (!e->pause_s)
		e->pause_s = NOFI_MEMORY_FIRST_S;
	else if (now + NOFI_MEMORY_TRIAL_S * SECOND >= e->until)
		e->pause_s *= 2;
	else
		return;
	if (e->pause_s > NOFI_MEMORY_LONGEST_S)
		e->pause_s = NOFI_MEMORY_LONGEST_S;
	e->until = now + e->pause_s * SECOND;
}

static uint32_t strike(struct nofi_memory *m, uint64_t netns, const struct sockaddr *peer,
		       uint64_t now, uint32_t unanswered, enum nofi_memory_cause cause)
{
	struct nofi_memory_entry key, *e;
	uint32_t pause = 0;

	if (!make_key(netns, peer, &key))
		return 0;
	pthread_mutex_lock(&m->lock);
	e = find(m, &key);
	if (!e) {
		e = make_room(m);
		*e = key;
	}
	e->used = now;
	e->cause = cause;
	if (e->pause_s) {
		avoid(e, now);
	} else {
		if (now >= e->until)
			e->unanswered = 0;
		e->unanswered += unanswered < NOFI_MEMORY_PROOF ? unanswered : NOFI_MEMORY_PROOF;
		e->until = now + NOFI_MEMORY_DOUBT_S * SECOND;
		if (e->unanswered >= NOFI_MEMORY_PROOF)
			avoid(e, now);
	}
	if (e->pause_s)
		pause = (uint32_t)((e->until - now + SECOND - 1) / SECOND);
	pthread_mutex_unlock(&m->lock);
	return pause;
}

uint32_t nofi_memory_strike(struct nofi_memory *m, uint64_t netns, const struct sockaddr *peer,
			    uint64_t now, uint32_t unanswered)
{
	return strike(m, netns, peer, now, unanswered, NOFI_MEMORY_DROPPED);
}

uint32_t nofi_memory_break(struct nofi_memory *m, uint64_t netns, const struct sockaddr *peer,
			   uint64_t now)
{
	return strike(m, netns, peer, now, NOFI_MEMORY_PROOF, NOFI_MEMORY_BROKEN);
}

void nofi_memory_clear(struct nofi_memory *m, uint64_t netns, const struct sockaddr *peer)
{
	struct nofi_memory_entry key, *e;

	if (!m->count || !make_key(netns, peer, &key))
		return;
	pthread_mutex_lock(&m->lock);
	e = find(m, &key);
	if (e) {
		memset(e, 0, sizeof(*e));
		m->count--;
	}
	pthread_mutex_unlock(&m->lock);
}
