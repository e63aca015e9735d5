/* SPDX-License-Identifier: MIT */
/*
 * nvmf-copy: copies namespaces, files, block devices and pipes.
 *
 *	options.c   command line
 *	main.c      opens both ends, checks that they fit, copies, reports
 *	pass.c      one walk over all chunks: the copy, or the reading back of --verify
 *	end.c       which kind of end a name means; end_ns.c, end_file.c: the kinds
 *	pool.c      threads for system calls that may block
 *	check.c     hashes of what was read
 *	progress.c  the bar for people, the lines for programs
 *	report.c    the JSON document
 *
 * One thread owns the loop, all chunks and every decision. Namespaces are driven by the loop;
 * reads and writes of files run in the pool, so that a slow disk never delays a keep alive.
 */
#ifndef COPY_H
#define COPY_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>

#include <nof.h>

#include "../common/tool.h"

#define COPY_MAX_REQUESTS 1024u
#define COPY_MAX_QUEUES	  64u
#define COPY_MAX_PATHS	  16u
#define COPY_MAX_CHUNK	  (64ull << 20)
#define COPY_UNKNOWN	  UINT64_MAX /* size of a pipe before its end */

struct copy_opts {
	const char *src, *dst;
	unsigned int requests; /* in flight on each end */
	unsigned int queues;   /* I/O queues of each namespace */
	const char *paths[COPY_MAX_PATHS]; /* more ways to SRC or DST */
	unsigned int path_count;
	uint64_t chunk;	       /* bytes of a request */
	bool sparse;	       /* find zeroes, write them without sending them */
	bool flush;	       /* DST durable before the end */
	bool verify;	       /* read DST back and compare */
	bool json;
	bool wants_bar;	 /* --progress without a descriptor: also when stderr is no terminal */
	int progress_fd; /* --progress=FD, −1 = none */
};

struct io;
struct end;
struct pool;

/* How an I/O ended. detail is valid during the call only, never NULL. */
typedef void io_done_fn(struct io *io, int error, const char *detail);

enum io_kind { IO_READ, IO_WRITE, IO_ZERO, IO_FLUSH };

/* One operation on an end. The caller sets all but the last two and keeps it until done. */
struct io {
	struct end *end;
	enum io_kind kind;
	unsigned char *buf; /* READ, WRITE */
	uint64_t len;
	uint64_t offset;
	io_done_fn *done;
	void *arg;
	uint64_t result;       /* READ: bytes that came; less than len only at the end of a file */
	int error;	       /* the pool's: 0 or negative errno */
	STAILQ_ENTRY(io) link; /* in the pool's queues */
};

enum end_kind { END_NS, END_FILE, END_DEVICE, END_STREAM };

struct end_ops {
	/* 0: done will be called later. −EAGAIN: too many are open, try after a completion. */
	int (*submit)(struct io *io);
	int (*close)(struct end *end); /* 0 or a negative errno: writing failed late */
};

/* A controller through which a namespace is reached. */
struct path {
	struct path *next;
	const char *uri;
	struct nof_opts opts;
	struct nof_ctrl *ctrl;
	/* What was known of it when the end was closed. */
	struct nof_path_info io;
	struct nof_ctrl_stats stats;
};

/* SRC or DST. */
struct end {
	const struct end_ops *ops;
	const char *name; /* as on the command line; "standard input" for - */
	enum end_kind kind;
	bool is_dst;
	uint64_t size;	    /* bytes; COPY_UNKNOWN for streams */
	uint32_t align;	    /* offsets and lengths are multiples of it */
	bool has_zero;	    /* IO_ZERO works without sending the bytes */
	bool is_zeroed;	    /* every byte that is not written reads as zero: IO_ZERO is free */
	unsigned int limit; /* operations it takes at a time */
	unsigned int busy;  /* operations open now */
	/* END_NS */
	struct path *paths; /* the first is that of the name */
	struct nof_ns *ns;
	struct nof_ns_info info;
	struct nof_ctrl_info ctrl_info; /* of the first path */
	struct nof_transport transport; /* of the first queue */
	bool is_abandoned;		/* the target is silent: no leave is taken of it */
	struct nof_chan **chans;
	unsigned int chan_count, chan_next;
	/* the others */
	struct pool *pool;
	int fd;
	uint64_t dev, ino;  /* identity, to see that SRC is not DST */
	bool may_seek_data; /* SEEK_DATA works */
	uint64_t data_at;   /* what SEEK_DATA last found; 0 = not asked yet */
};

struct copy {
	const struct copy_opts *o;
	struct nof_loop *loop;
	struct pool *pool;
	struct end src, dst;
	uint64_t total;	     /* bytes of SRC; COPY_UNKNOWN until a stream ends */
	uint64_t good;	     /* the first bytes of DST that are right */
	uint64_t written;    /* bytes sent to DST as data */
	uint64_t zeroed;     /* bytes that became zero without being sent */
	uint64_t verified;   /* bytes read back */
	bool has_begun;	     /* DST may have been changed */
	bool is_complete;    /* all of it was written (and flushed, if wanted) */
	bool is_interrupted; /* by a signal */
	int verdict;	     /* --verify: 1 same, 0 differs, −1 not known */
	uint64_t mismatch;   /* offset of the first chunk that differs */
	char sha256[65];     /* of the content of SRC, --verify only */
	uint64_t started;    /* ns */
	uint64_t ns_copy, ns_flush, ns_verify;
	char error[768]; /* sentence of the first failure, "" = none */
};

/* options.c: 0, or an exit code + 1 when the program is to end (sentence printed). */
int copy_parse(int argc, char **argv, struct copy_opts *o);

/* main.c */
extern volatile sig_atomic_t copy_signal; /* number of the signal that came, 0 = none */
/* Keeps the first sentence. Returns −1. */
int copy_fail(struct copy *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* end.c: 0, or −1 with a sentence from copy_fail(), or TOOL_USAGE with one. */
int end_open_src(struct copy *c, struct end *end, const char *name);
int end_open_dst(struct copy *c, struct end *end, const char *name);
/* Nothing of DST was changed before; from here on it may be. total may be COPY_UNKNOWN. */
int end_begin_dst(struct copy *c, struct end *end, uint64_t total);
/* The size of a file becomes what it holds. */
int end_set_size(struct copy *c, struct end *end, uint64_t size);
int end_close(struct end *end);
bool end_is_same(const struct end *a, const struct end *b);
const char *end_kind_name(const struct end *end);
/* Submits io and counts it; see end_ops. */
int end_submit(struct io *io);

/* end_ns.c */
bool end_is_uri(const char *name);
int end_ns_open(struct copy *c, struct end *end);
/* Adds a path to the end whose namespace the URI leads to. 0, −1 or TOOL_USAGE, as above. */
int end_ns_add_path(struct copy *c, const char *uri);
/* After the report: frees what it was made of. */
void end_ns_forget(struct end *end);

/* end_file.c */
int end_file_open(struct copy *c, struct end *end);
int end_file_set_size(struct copy *c, struct end *end, uint64_t size);
int end_file_begin(struct copy *c, struct end *end, uint64_t total);
/* How many bytes from offset on are a hole of SRC, at most max, without reading them. */
uint64_t end_file_hole(struct end *end, uint64_t offset, uint64_t max);
void end_file_run(struct io *io); /* on a thread of the pool */

/* pool.c */
int pool_new(struct nof_loop *loop, unsigned int threads, struct pool **pool);
void pool_submit(struct pool *pool, struct io *io);
/* Calls done of everything that has ended. */
void pool_reap(struct pool *pool);
/*
 * Threads that wait in read() or write() of a pipe are told to give up. To be called again while
 * something is open: one may just have been about to enter the system call.
 */
void pool_cancel(struct pool *pool);
int pool_cancel_fd(const struct pool *pool);
/* Nothing may be open. NULL is accepted. */
void pool_free(struct pool *pool);

/* check.c: hashes of the content, chunk after chunk in order. */
struct check;
struct check *check_new(uint64_t chunk);
void check_free(struct check *k);
/* buf NULL: zeroes. Offsets must follow each other; len is one chunk, or any number of zero
 * chunks, or what is left at the end. */
int check_add(struct check *k, uint64_t offset, const unsigned char *buf, uint64_t len);
/* Ends the first pass, or with is_second the reading back; hex gets the SHA-256 of the pass. */
int check_end(struct check *k, char hex[65]);
/* Offset of the first chunk that differed from the first pass, or COPY_UNKNOWN. */
uint64_t check_mismatch(const struct check *k);

/* pass.c: 0, or −1 with the sentence kept. check may be NULL. */
int pass_copy(struct copy *c, struct check *check);
int pass_verify(struct copy *c, struct check *check);
int pass_flush(struct copy *c);

/* progress.c */
void progress_begin(const struct copy_opts *o, const char *phase, uint64_t total);
void progress_update(uint64_t bytes, uint64_t total);
void progress_end(uint64_t bytes, uint64_t total, bool is_complete);

/* report.c */
bool report_json(const struct copy *c, int code, FILE *out);

#endif
