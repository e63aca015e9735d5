/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "copy.h"

volatile sig_atomic_t copy_signal;
static struct nof_loop *signal_loop; /* woken by the handler */

static void on_signal(int sig)
{
	copy_signal = sig;
	nof_loop_wake(signal_loop);
}

/* Before this nothing was changed and a signal may just end the program; a second one does. */
static void catch_signals(struct nof_loop *loop)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESETHAND };

	signal_loop = loop;
	if (!loop)
		sa.sa_handler = SIG_DFL;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

int copy_fail(struct copy *c, const char *fmt, ...)
{
	va_list ap;

	if (c->error[0])
		return -1;
	va_start(ap, fmt);
	vsnprintf(c->error, sizeof(c->error), fmt, ap);
	va_end(ap);
	if (!c->error[0])
		strcpy(c->error, "the copy failed and no reason was given.");
	return -1;
}

static bool has_file(const struct copy_opts *o)
{
	return !end_is_uri(o->src) || !end_is_uri(o->dst);
}

/* The loop both ends live on. A URI may ask for an engine, SRC before DST. */
static int open_loop(struct copy *c)
{
	const struct copy_opts *o = c->o;
	struct nof_loop_opts lo;
	struct nof_opts opts;
	unsigned int threads = 1;
	int ret;

	nof_loop_opts_init(&lo);
	lo.flags = NOF_LOOP_DEDICATED | NOF_LOOP_EXPLICIT_FLUSH;
	nof_opts_init(&opts);
	if (end_is_uri(o->src) && nof_uri_parse(o->src, &opts) == 0)
		lo.engine = opts.engine;
	nof_opts_init(&opts);
	if (lo.engine == NOF_ENGINE_AUTO && end_is_uri(o->dst) && nof_uri_parse(o->dst, &opts) == 0)
		lo.engine = opts.engine;
	if (nof_loop_new(&lo, &c->loop) < 0)
		return copy_fail(c, "%s", nof_strerror_detail());
	if (has_file(o))
		threads = o->requests < 16 ? o->requests : 16;
	ret = pool_new(c->loop, threads, &c->pool);
	if (ret < 0)
		return copy_fail(c, "no thread could be created: %s.", strerror(-ret));
	return 0;
}

/* All that can be known to go wrong before DST is touched. */
static int check_ends(struct copy *c)
{
	char a[32], b[32];
	uint64_t need;

	if (end_is_same(&c->src, &c->dst)) {
		copy_fail(c, "%s and %s are the same storage.", c->o->src, c->o->dst);
		return TOOL_USAGE;
	}
	if (c->o->verify && c->dst.kind == END_STREAM) {
		copy_fail(c, "--verify: %s cannot be read back.", c->dst.name);
		return TOOL_USAGE;
	}
	c->total = c->src.size;
	if (c->total == COPY_UNKNOWN || c->dst.size == COPY_UNKNOWN)
		return 0;
	need = (c->total + c->dst.align - 1) / c->dst.align * c->dst.align;
	if (need <= c->dst.size)
		return 0;
	return copy_fail(c,
			 "%s has %s (%llu bytes) and %s only %s (%llu bytes): nothing was copied.",
			 c->src.name, tool_format_bytes(a, sizeof(a), (double)c->total),
			 (unsigned long long)c->total, c->dst.name,
			 tool_format_bytes(b, sizeof(b), (double)c->dst.size),
			 (unsigned long long)c->dst.size);
}

static int verify(struct copy *c, struct check *check)
{
	uint64_t begin = tool_now();
	char hex[65];

	if (pass_verify(c, check) < 0)
		return -1;
	c->ns_verify = tool_now() - begin;
	c->mismatch = check_mismatch(check);
	if (check_end(check, hex) < 0)
		return copy_fail(c, "--verify: hashing failed.");
	c->verdict = c->mismatch == COPY_UNKNOWN && !strcmp(hex, c->sha256);
	if (c->verdict)
		return 0;
	if (c->mismatch == COPY_UNKNOWN)
		return copy_fail(c, "--verify: %s differs from what was read from %s.", c->dst.name,
				 c->src.name);
	return copy_fail(c,
			 "--verify: %s differs from what was read from %s, first within the %llu "
			 "bytes at %llu.",
			 c->dst.name, c->src.name, (unsigned long long)c->o->chunk,
			 (unsigned long long)c->mismatch);
}

static int copy_content(struct copy *c, struct check *check)
{
	uint64_t begin;

	c->started = tool_now();
	if (pass_copy(c, check) < 0)
		return -1;
	if (end_set_size(c, &c->dst, c->total) < 0)
		return -1;
	begin = tool_now();
	c->ns_copy = begin - c->started;
	/* Reading back what only a cache holds would prove little. */
	if ((c->o->flush || c->o->verify) && pass_flush(c) < 0)
		return -1;
	c->ns_flush = tool_now() - begin;
	c->is_complete = true;
	if (!check)
		return 0;
	if (check_end(check, c->sha256) < 0)
		return copy_fail(c, "--verify: hashing failed.");
	return verify(c, check);
}

/* What is left behind must not look like a copy: a file ends where the good bytes end. */
static void announce(struct copy *c)
{
	char total[64] = "", why[sizeof(c->error)];

	if (!c->has_begun || c->is_complete)
		return;
	if (!c->ns_copy)
		c->ns_copy = tool_now() - c->started;
	if (c->dst.kind == END_FILE)
		end_file_set_size(c, &c->dst, c->good);
	snprintf(why, sizeof(why), "%s", c->error);
	if (c->total != COPY_UNKNOWN)
		snprintf(total, sizeof(total), " of %llu", (unsigned long long)c->total);
	snprintf(c->error, sizeof(c->error),
		 "%s is incomplete, only its first %llu%s bytes are "
		 "good: %.500s",
		 c->dst.name, (unsigned long long)c->good, total, why);
}

static int run(struct copy *c)
{
	const struct copy_opts *o = c->o;
	struct check *check = NULL;
	uint64_t cell = o->chunk;
	int ret = open_loop(c), late;
	unsigned int i;

	if (ret == 0)
		ret = end_open_src(c, &c->src, o->src);
	if (ret == 0)
		ret = end_open_dst(c, &c->dst, o->dst);
	for (i = 0; ret == 0 && i < o->path_count; i++)
		ret = end_ns_add_path(c, o->paths[i]);
	if (ret == 0)
		ret = check_ends(c);
	if (ret == 0 && o->verify) {
		if (cell < c->src.align)
			cell = c->src.align;
		if (cell < c->dst.align)
			cell = c->dst.align;
		check = check_new(cell);
		if (!check)
			ret = copy_fail(c, "--verify: SHA-256 is not available.");
	}
	if (ret == 0) {
		catch_signals(c->loop);
		ret = end_begin_dst(c, &c->dst, c->total);
	}
	if (ret == 0) {
		c->has_begun = true;
		ret = copy_content(c, check);
	}
	if (ret < 0)
		announce(c);
	end_close(&c->src);
	late = end_close(&c->dst);
	if (late < 0 && ret == 0) {
		c->is_complete = false;
		ret = copy_fail(c, "%s: writing to it failed when it was closed: %s.", c->dst.name,
				strerror(-late));
	}
	catch_signals(NULL);
	pool_free(c->pool);
	nof_loop_free(c->loop);
	check_free(check);
	return ret < 0 ? TOOL_FAILED : ret;
}

int main(int argc, char **argv)
{
	static struct copy c;
	struct copy_opts o;
	int ret;

	tool_init("nvmf-copy");
	ret = copy_parse(argc, argv, &o);
	if (ret)
		return ret - 1;
	/* A pipe without a reader is an error of write(), with a sentence. */
	signal(SIGPIPE, SIG_IGN);
	c.o = &o;
	c.total = COPY_UNKNOWN;
	c.verdict = -1;
	c.mismatch = COPY_UNKNOWN;
	ret = run(&c);
	if (ret)
		tool_error(ret, "%s", c.error);
	if (ret != TOOL_USAGE && o.json && !report_json(&c, ret, stdout) && ret == 0)
		ret = tool_output_failed();
	end_ns_forget(&c.src);
	end_ns_forget(&c.dst);
	return ret;
}
