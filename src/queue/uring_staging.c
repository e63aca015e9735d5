/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where received bytes go. Staging comes from a ring of provided buffers shared by all
 * connections, so an idle connection pins none; the kernel picks one when data is there. It has
 * few buffers (they stay in the cache) and grows when they run out. A direct receive has a
 * small tail of its own behind the caller's memory, from a pool.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "lines.h"
#include "queue/uring.h"

enum { BUFS_MIN = 1 };		/* staging buffers at first */

bool nofi_staging_grow(struct nofi_uring *u)
{
	void *p;

	if (u->staging_count == NOFI_BUFS_MAX)
		return false;
	p = mmap(NULL, NOFI_STAGING_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		 -1, 0);
	if (p == MAP_FAILED)
		return false;
	u->staging[u->staging_count] = p;
	nofi_staging_give(u, u->staging_count++);
	return true;
}

struct nofi_tailbuf *nofi_tail_take(struct nofi_uring *u)
{
	struct nofi_tailbuf *t = u->tails;

	if (t)
		u->tails = t->next;
	else
		t = nofi_alloc_lines(sizeof(*t));
	return t;
}

void nofi_tail_put(struct nofi_uring *u, struct nofi_sock *s)
{
	if (!s->tail)
		return;
	s->tail->next = u->tails;
	u->tails = s->tail;
	s->tail = NULL;
}

int nofi_staging_open(struct nofi_uring *u)
{
	struct io_uring_buf_reg reg = { .ring_entries = NOFI_BUFS_MAX, .bgid = NOFI_BUF_GROUP };
	size_t len = NOFI_BUFS_MAX * sizeof(struct io_uring_buf);
	int r;

	u->bufs = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (u->bufs == MAP_FAILED) {
		u->bufs = NULL;
		return -ENOMEM;
	}
	reg.ring_addr = (uint64_t)(uintptr_t)u->bufs;
	r = io_uring_register_buf_ring(&u->ring, &reg, 0);
	if (r < 0)
		return r;
	io_uring_buf_ring_init(u->bufs);
	while (u->staging_count < BUFS_MIN)
		if (!nofi_staging_grow(u))
			return -ENOMEM;
	return 0;
}

void nofi_staging_close(struct nofi_uring *u)
{
	struct nofi_tailbuf *t;

	for (unsigned i = 0; i < u->staging_count; i++)
		munmap(u->staging[i], NOFI_STAGING_LEN);
	if (u->bufs)
		munmap(u->bufs, NOFI_BUFS_MAX * sizeof(struct io_uring_buf));
	while ((t = u->tails)) {
		u->tails = t->next;
		free(t);
	}
}
