/* SPDX-License-Identifier: MIT */
/*
 * nvmf-perf: load and verification of NVMe/TCP namespaces.
 *
 *	options.c   command line
 *	path.c      URIs: controllers, and which of them lead to the same namespace
 *	job.c       one namespace, and the queues over it
 *	worker.c    one thread: its loop, and the phases all threads go through together
 *	io.c        one queue: picks, submits and completes I/Os (the hot path)
 *	verify.c    what each block holds, and whether a read got it
 *	hist.c      latencies
 *	timeline.c  completions over time, and the longest wait for one
 *	report.c    tables for people; report_json.c: the document for programs
 *
 * The main thread is worker 0: the controllers live on its loop.
 */
#ifndef PERF_H
#define PERF_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <nof.h>

#include "../common/expand.h"
#include "../common/tool.h"
#include "hist.h"

#define PERF_MAX_QUEUES	 4096u
#define PERF_MAX_THREADS 256u
#define PERF_MAX_DEPTH	 1023u /* queue_size is at most 1024, one less is usable */
#define PERF_MAX_BS	 (1ull << 30)
#define PERF_MAX_PATHS	 64u /* of a namespace that are reported */
#define PERF_MAX_POINTS	 100000u /* intervals of --timeline */


enum { PERF_READ, PERF_WRITE }; /* index of per-direction arrays */

struct perf_opts {
	const char *rw;	    /* name of the mode */
	bool reads, writes; /* directions in it */
	bool random;
	unsigned int read_percent; /* share of reads when both */
	uint64_t bs_min, bs_max;   /* bytes; equal unless --bsrange */
	unsigned int iodepth;	   /* per queue */
	unsigned int queues;	   /* per namespace; 0 = as many as the threads want */
	unsigned int threads;
	uint64_t runtime;  /* ns, 0 = until a limit is reached */
	uint64_t ramp;	   /* ns */
	uint64_t size;	   /* bytes of the namespace that are used, 0 = all */
	uint64_t io_limit; /* I/Os per namespace, 0 = none */
	uint64_t io_size;  /* bytes per namespace, 0 = none */
	uint64_t rate;	   /* IOPS per namespace, 0 = as fast as it goes */
	bool verify;
	enum nof_poll_mode poll;
	uint64_t seed;
	bool json;
	const char *json_out; /* NULL = none */
	const char *pcap;     /* NULL = none */
	bool hist;
	uint64_t status;   /* ns, 0 = none */
	uint64_t timeline; /* ns of an interval, 0 = none */
	bool compare_tcp;
	char **uris;
	unsigned int uri_count;
};

struct run;
struct job;
struct worker;
struct verify;

/* One I/O that can be in flight. */
struct slot {
	struct queue *q;
	unsigned char *buf; /* bs_max bytes */
	uint64_t offset;
	uint64_t started; /* ns */
	uint32_t len;
	uint32_t gen; /* verify: generation a write brings */
	bool is_write;
};

/* A channel and the load on it. Belongs to its worker's thread while a phase runs. */
struct queue {
	struct run *run;
	struct job *job;
	struct worker *worker;
	struct nof_chan *chan; /* NULL before it is open and after the end */
	unsigned int index;    /* within the job */
	unsigned int depth;    /* iodepth, or the channel's limit when that is less */
	unsigned int inflight;
	struct slot *slots; /* depth of them */
	struct slot **idle; /* stack of those not in flight */
	unsigned int idle_count;
	unsigned char *mem; /* buffers of all slots */
	size_t mem_len;
	uint64_t rng;
	uint64_t base, span;		/* bytes of the namespace that this queue touches */
	uint64_t span_units, units_max; /* span and bs_max in units of bs_min */
	uint64_t next;			/* sequential: offset within span */
	uint64_t io_left, bytes_left;	/* until the limits; UINT64_MAX = no limit */
	double due, interval; /* --rate-iops: ns of the next I/O, ns between two; 0 = off */
	bool is_steady;			/* the usual load: see pick_steady() */
	uint64_t submitted, completed;	/* accepted by the library, and called back */
	uint64_t last_done;		/* ns of the last good completion */
	uint64_t waiting_since;		/* ns of the last completion, or submission after none */
	uint64_t stall, stall_at;	/* measured: longest such wait, and when it began; ns */
	uint32_t *timeline;		/* completions per interval; NULL without --timeline */
	struct hist *lat[2];		/* measured I/Os: reads, writes */
	struct verify *verify;		/* NULL without --verify */
	struct nof_transport transport; /* at the start, and again at the end if it still stands */
	struct nof_transport live; /* --status-interval: at the last look; under run->lock */
};

/* A namespace. */
struct job {
	struct run *run;
	const char *uri; /* of the first path to it */
	unsigned int index;
	struct nof_ns *ns;
	struct nof_ctrl_info ctrl_info; /* of the first path */
	struct nof_ns_info ns_info;
	struct queue *queues; /* run->queues of them */
	uint64_t size;	      /* bytes used of the namespace */
	uint32_t io_timeout_ms;
	unsigned int path_count;
};

/* A controller through which a namespace is reached. On the loop of worker 0. */
struct path {
	struct run *run;
	struct job *job; /* NULL until its namespace is known */
	const char *uri;
	unsigned int index;
	const struct nof_opts *opts;
	struct nof_ctrl *ctrl;
	struct nof_ctrl_info info;
	struct nof_ctrl_stats stats; /* these two: at the end of the load */
	struct nof_path_info io;
	bool is_closing;	     /* its end is our own doing */
	bool is_lost;		     /* it failed for good */
};

/* What all threads do together. Each phase begins when the main thread says so. */
enum perf_phase { PHASE_OPEN, PHASE_LOAD, PHASE_READBACK, PHASE_CLOSE };

/* One thread and its loop. */
struct worker {
	struct run *run;
	struct nof_loop *loop;
	pthread_t thread; /* not of worker 0 */
	unsigned int index;
	struct queue **queues; /* those that live here */
	unsigned int queue_count;
	uint64_t now;		  /* ns, refreshed as often as clock_every says */
	unsigned int clock_left;  /* completions that may still use now */
	unsigned int clock_every; /* 1: every completion gets its own reading */
	struct nof_loop_stats begun;	/* of the loop, where measuring began … */
	struct nof_loop_stats ended;	/* … and at the end of the load; main thread's */
	uint64_t next_sample;	  /* ns: the next look at the connections, see live.c */
	uint64_t sampled;	  /* ns of the last; atomic */
	enum perf_phase phase;	  /* last one finished; under run->lock */
	bool is_open;		  /* opening its queues has ended, well or not; likewise */
};

/* One load, from connecting to closing. */
struct run {
	const struct perf_opts *o;
	struct tool_targets targets; /* what the URIs stand for */
	struct path *paths;
	unsigned int path_count;
	struct job *jobs;
	unsigned int job_count;
	unsigned int queues; /* of each job */
	struct worker *workers;
	unsigned int worker_count;
	struct nof_transport live; /* main thread's: all queues, when they were printed last */
	uint64_t live_time;	   /* ns, 0 = never */
	uint64_t live_due;	   /* since when they are to be printed, 0 = not now */
	pthread_mutex_t lock; /* everything down to first */
	pthread_cond_t changed;
	enum perf_phase phase;		   /* what the workers may do now */
	unsigned int open_turn;		   /* counts queues opened, over all workers */
	bool is_given_up;		   /* a thread is missing: nobody may wait for its turn */
	unsigned int close_turn;	   /* PHASE_CLOSE: the worker that may close */
	uint64_t io_errors, verify_errors; /* I/Os that failed, blocks that mismatched */
	uint64_t other_errors;		   /* set-up, connections, loops */
	char first[640];		   /* sentence of the first error, "" = none */
	bool stop;			   /* atomic: no more submissions */
	uint64_t started, measured, deadline; /* ns; deadline UINT64_MAX without --runtime */
	uint64_t ended;			      /* ns of the last good completion, or of the end */
	double cpu_user, cpu_sys;	      /* seconds of the process, measured part */
	double usage_user, usage_sys;	      /* readings where measuring began */
	bool usage_taken;
	bool is_interrupted;	 /* by a signal */
	bool is_set_up;		 /* all channels were open: the numbers mean something */
	uint64_t readback_bytes; /* verified after the load */
	bool has_readback;	 /* the pass over everything written was completed */
	uint64_t checked_bytes, unjudged_bytes; /* of reads, by --verify */
	uint64_t submitted, completed;		/* all I/Os, read-back included */
	enum nof_engine engine_wanted;
	const char *engine;			/* of the loops */
	char engine_reason[256];
};

/* options.c: 0, or an exit code + 1 when the program is to end (sentence printed). */
int perf_parse(int argc, char **argv, struct perf_opts *o);

/* worker.c */
void run_init(struct run *run, const struct perf_opts *o);
/* 0, or TOOL_USAGE for what can only be seen now; all other errors are in run->first. */
int run_execute(struct run *run, const struct nof_opts *opts);
void run_free(struct run *run);
/* Counts an error and keeps the first sentence; any thread. */
void run_error(struct run *run, uint64_t *counter, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void run_stop(struct run *run);
extern volatile sig_atomic_t perf_signal; /* number of the signal that came, 0 = none */

static inline bool run_stopped(const struct run *run)
{
	return __atomic_load_n(&run->stop, __ATOMIC_RELAXED);
}

/*
 * path.c: sentences go to run_error(). Thread of worker 0. paths_open() connects all URIs and
 * makes the jobs: 0, −1, or TOOL_USAGE for what can only be seen now.
 */
int paths_open(struct run *run, const struct nof_opts *opts, struct nof_loop *loop);
void paths_note(struct run *run); /* what is known of them, for the reports */
void paths_close(struct run *run);

/* job.c: sentences go to run_error(). Thread of the loop that each names. */
int job_check(struct job *job); /* does the load fit the namespace? As paths_open(). */
int queue_open(struct queue *q);
void queue_close(struct queue *q);
void queue_transport(struct queue *q);

/*
 * timeline.c: how completions are spread over the measured time, and the longest time without.
 * timeline_open() is false without memory. timeline_at() adds up all queues.
 */
bool timeline_open(struct queue *q);
unsigned int timeline_points(const struct perf_opts *o);
uint64_t timeline_at(const struct job *job, unsigned int point);
void timeline_close(struct queue *q);
/* The queue of the job that waited longest for a completion; NULL when none has measured any. */
const struct queue *timeline_stalled(const struct job *job);

/* io.c */
void queue_fill(struct queue *q, uint64_t now); /* submits what may go out now */
bool queue_finished(const struct queue *q, uint64_t now);

/* verify.c */
struct verify *verify_new(const struct job *job, uint64_t base, uint64_t span);
void verify_free(struct verify *v);
/* False while a part of the range is in flight; else it is taken until verify_end_*(). */
bool verify_begin(struct verify *v, uint64_t offset, uint32_t len);
void verify_fill(struct verify *v, struct slot *s);
void verify_poison(struct verify *v, struct slot *s);
void verify_end_write(struct verify *v, const struct slot *s, bool ok);
void verify_end_read(struct verify *v, const struct slot *s, bool ok);
/* The range was taken but nothing was sent; the read-back will come to it again. */
void verify_cancel(struct verify *v, const struct slot *s, bool is_readback);
/* Next range of known content for the read-back, at most max bytes; false at the end. */
bool verify_next_written(struct verify *v, uint64_t *offset, uint32_t *len, uint32_t max);
void verify_counts(const struct verify *v, uint64_t *checked, uint64_t *unjudged);
/* True when a block was written whose content can be judged. */
bool verify_has_written(const struct verify *v);
void verify_setup(uint64_t seed);

/* report.c, report_json.c */
struct job_result {
	struct hist lat[2];
	double seconds; /* of measuring */
};

void job_result_get(const struct job *job, struct job_result *r);
double run_seconds(const struct run *run);
void report_text(const struct run *run, FILE *out);
void report_compare(const struct run *tcp, const struct run *mptcp, FILE *out);
/* tcp is NULL without --compare-tcp. False when it could not be written. */
bool report_json(const struct run *run, const struct run *tcp, FILE *out);
/* One line on standard error; clears it when the terminal shows progress. */
/* Looks at the connections of a worker if it is time to. Returns when it is the next time. */
uint64_t live_sample(struct worker *w, uint64_t now);
/* All workers have looked since then. One that has ended never will. */
bool live_is_complete(const struct run *run, uint64_t since);
/* A line for each path: rates since the last call. */
void live_print(struct run *run, uint64_t now, FILE *out);
void report_status(const struct run *run, uint64_t now, bool is_progress);

#endif
