/* SPDX-License-Identifier: MIT */
/*
 * What the command-line tools share: numbers with units, one-sentence errors, time.
 */
#ifndef TOOL_H
#define TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Exit codes of every tool. */
enum { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_USAGE = 2 };

#define NSEC_PER_SEC 1000000000ull

/* Name used in front of errors. */
extern const char *tool_name;

/*
 * Standard input, output or error may have been closed by who started us: /dev/null takes their
 * place, so that no socket or ring gets their number. First thing in main(), with tool_name.
 */
void tool_init(const char *name);
/* False: it was closed then. */
bool tool_is_open(int fd);

/* One sentence on standard error. Returns code, so that "return tool_error(...)" works. */
int tool_error(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Says why writing to standard output just failed (errno), and returns TOOL_FAILED. */
int tool_output_failed(void);

/* "4096", "4k", "1m", "2GiB": powers of 1024. False for anything else or overflow. */
bool tool_parse_size(const char *s, uint64_t *bytes);

/* Plain decimal or 0x number within [min, max]. */
bool tool_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *v);

/* "10", "0.5", "250ms", "2m", "1h": seconds unless a unit says otherwise. Result in ns. */
bool tool_parse_time(const char *s, uint64_t *ns);

/* "1.5 GiB" and the like into buf; returns buf. */
const char *tool_format_bytes(char *buf, size_t len, double bytes);

static inline uint64_t tool_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

#endif
