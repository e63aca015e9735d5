/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The event loop of nvmf-target: one thread, epoll, level-triggered, and a
 * sorted list of timers. Everything in target/ runs from its callbacks.
 */
#ifndef TARGET_LOOP_H
#define TARGET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

/* Something with an fd. Embedded in its owner, which must outlive loop_del() by one turn. */
struct io {
	int fd;				/* -1 after loop_del() */
	uint32_t events;		/* what epoll currently watches */
	void (*fn)(struct io *io, uint32_t events);
};

struct timer {
	uint64_t at;			/* ns of loop_now(), valid while armed */
	void (*fn)(struct timer *t);
	bool is_armed;
	struct timer *next, *prev;	/* sorted by .at while armed */
};

int loop_init(void);			/* 0 or -errno */
void loop_run(void);			/* until loop_stop() */
void loop_stop(void);
void loop_set_spin(bool on);		/* asks again instead of sleeping, for measurements */
void loop_fini(void);

int loop_add(struct io *io, uint32_t events);	/* 0 or -errno */
void loop_mod(struct io *io, uint32_t events);
void loop_del(struct io *io);		/* stops watching and closes the fd */
/* Called once after every batch of events: the place to free what callbacks buried. */
void loop_set_reaper(void (*fn)(void));

uint64_t loop_now(void);		/* monotonic ns, read once per turn */
uint64_t loop_read_clock(void);		/* … read again now: this process may have been stopped */
void timer_set(struct timer *t, uint64_t delay_ns, void (*fn)(struct timer *t));
void timer_cancel(struct timer *t);

#define MS 1000000ull
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#endif
