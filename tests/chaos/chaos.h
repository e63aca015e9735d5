/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chaos: verified random I/O on one namespace over several paths, for scripts that break those
 * paths meanwhile. Exact about two things: every request that was accepted completes once, and
 * every byte that is read is one that may be there.
 *
 *	model.c	   what the namespace must hold
 *	worker.c   one thread: its loop, its channel, its part of the namespace
 *	chaos.c	   command line, controllers, the end
 *	shake.c	   --shake: what the program itself does to its paths
 *	report.c   JSON: a line for each interval and event, a document at the end
 */
#ifndef CHAOS_H
#define CHAOS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <nof.h>

#include "model.h"

enum { MAX_PATHS = 8, MAX_WORKERS = 16, MAX_DEPTH = 256, MAX_UNITS = 256 /* of a request */ };

enum kind { READ, WRITE, ZEROES, FLUSH, COMPARE, MISCOMPARE, KINDS };

enum plant { PLANT_NOTHING, PLANT_LOST, PLANT_DOUBLED, PLANT_CORRUPT };

struct options {
	const char *uris[MAX_PATHS];
	unsigned int paths;
	uint64_t seed;
	unsigned int workers;
	unsigned int depth;	/* requests in flight of each worker */
	uint64_t span;		/* bytes of the namespace, of all workers together */
	double seconds;		/* of load; then everything is read again */
	double interval;	/* seconds between two lines */
	double max_age;		/* seconds after which a request counts as lost */
	enum plant plant;	/* a fault of our own, to prove that it is seen */
	bool shake;		/* resets, paths taken out and put back, drains */
};

/* Counters are written by one thread and read by the main one: relaxed atomics. */
struct counters {
	uint64_t submitted, completed;
	uint64_t by_kind[KINDS];	/* completed well */
	uint64_t bytes;			/* of them */
	uint64_t errors;		/* completed with an error that was not asked for */
	uint64_t mismatches;		/* units that held something else */
	uint64_t doubled;		/* completions of requests that were not in flight */
	uint64_t misplaced;		/* completions in a submit call or on a foreign thread */
	uint64_t refused;		/* submits that were refused with EAGAIN */
	uint64_t drains;		/* completed */
	uint64_t reread;		/* units that were read at the end */
	uint64_t slowest;		/* ns: the longest that a request took */
};

#define ADD(counter, n) __atomic_fetch_add(&(counter), (n), __ATOMIC_RELAXED)
#define GET(counter)	__atomic_load_n(&(counter), __ATOMIC_RELAXED)
#define SET(to, value)	__atomic_store_n(&(to), (value), __ATOMIC_RELAXED)

struct slot {
	uint64_t serial;  /* 0: idle; what the completion must bring; atomic, as the next */
	uint64_t started; /* ns */
	enum kind kind;
	uint32_t first, count; /* units */
	uint32_t gen;	       /* WRITE, ZEROES: what it brings */
	unsigned char *buf;    /* MAX_UNITS units */
};

struct worker {
	struct chaos *chaos;
	unsigned int index;
	pthread_t thread;	/* not of worker 0, which is the main thread */
	struct nof_loop *loop;
	struct nof_chan *chan;
	struct model model;
	struct slot *slots;
	unsigned char *mem;	/* buffers of all slots */
	size_t mem_len;
	unsigned int inflight;	/* slots that are not idle */
	uint64_t serial;	/* of the last request */
	uint64_t rng;
	uint32_t next_unit;	/* filling and reading again: the unit that comes next */
	bool is_submitting;
	bool is_draining;	/* a drain is under way: … */
	uint64_t drain_serial;	/* … up to this request */
	uint64_t next_drain;	/* ns */
	bool has_lost;		/* waiting for a request was given up */
	bool has_planted;	/* PLANT_CORRUPT has been */
	int phase;		/* enum phase that it has finished; atomic */
	struct counters n;
};

/* What all workers do, one after the other; the main thread says when. */
enum phase { OPEN = 1, FILL, LOAD, REREAD, CLOSE };

struct chaos {
	struct options o;
	struct nof_opts opts[MAX_PATHS];
	struct nof_ctrl *ctrls[MAX_PATHS];
	struct nof_ns *ns;
	struct nof_ns_info info;
	struct worker workers[MAX_WORKERS];
	pthread_mutex_t lock;	/* of phase, for those who wait for it; of first and of stdout */
	pthread_cond_t changed;
	int phase;		/* that the workers may be in; atomic */
	bool is_ending;		/* atomic: nothing new */
	uint64_t begun;		/* ns */
	uint64_t ended;		/* ns: the load's end, as planned */
	uint64_t lost;		/* requests nobody waits for any more; atomic */
	struct {
		uint64_t resets, removals, additions;
	} deeds;		/* of shake.c; the main thread's */
	char first[1024];	/* sentence of the first failure */
};

uint64_t now_ns(void);

/* worker.c */
int worker_init(struct worker *w, struct chaos *c, unsigned int index);
int worker_open(struct worker *w);	/* on its thread: loop and channel */
/* Runs one phase to its end; turn(c) is called often, if not NULL. */
void worker_run(struct worker *w, enum phase phase, void (*turn)(struct chaos *c));
void worker_close(struct worker *w);
void worker_free(struct worker *w);
uint64_t worker_oldest(const struct worker *w, uint64_t now); /* ns, of a request in flight */

/* shake.c; the main thread */
void shake_begin(struct chaos *c);
void shake_turn(struct chaos *c);
bool shake_is_over(const struct chaos *c); /* nothing that it began is under way */

/* report.c; any thread */
void fail(struct chaos *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void report_phase(struct chaos *c, const char *phase);
void report_event(struct chaos *c, unsigned int path, const struct nof_event *ev);
void report_interval(struct chaos *c);
bool report_end(struct chaos *c); /* true: all is well */

#endif
