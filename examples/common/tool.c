/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "tool.h"

const char *tool_name = "nvmf";
static bool was_closed[3]; /* standard input, output, error */

void tool_init(const char *name)
{
	int fd;

	tool_name = name;
	for (fd = 0; fd <= STDERR_FILENO; fd++) {
		was_closed[fd] = fcntl(fd, F_GETFD) < 0;
		if (!was_closed[fd])
			continue;
		/* The lowest free number is this one. Whoever uses it shall get an error. */
		if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
			_exit(TOOL_FAILED);
	}
}

bool tool_is_open(int fd)
{
	return fd < 0 || fd > STDERR_FILENO || !was_closed[fd];
}

int tool_error(int code, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	/* A progress line may stand there: the sentence gets a line of its own. */
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	fprintf(stderr, "%s: ", tool_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return code;
}

int tool_output_failed(void)
{
	return tool_error(TOOL_FAILED, "standard output: %s.", strerror(errno ? errno : EIO));
}

bool tool_parse_size(const char *s, uint64_t *bytes)
{
	static const char units[] = "kmgtp";
	unsigned long long v;
	unsigned int shift = 0;
	const char *u;
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	v = strtoull(s, &end, 0);
	if (errno || end == s)
		return false;
	if (*end) {
		u = strchr(units, *end | 0x20);
		if (u) {
			shift = 10 * ((unsigned int)(u - units) + 1);
			end++;
			if (*end && strcasecmp(end, "b") && strcasecmp(end, "ib"))
				return false;
		} else if (strcasecmp(end, "b")) {
			return false;
		}
	}
	if (v > UINT64_MAX >> shift)
		return false;
	*bytes = (uint64_t)v << shift;
	return true;
}

bool tool_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *v)
{
	unsigned long long n;
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	n = strtoull(s, &end, 0);
	if (errno || end == s || *end || n < min || n > max)
		return false;
	*v = n;
	return true;
}

bool tool_parse_time(const char *s, uint64_t *ns)
{
	static const struct {
		const char *name;
		double seconds;
	} units[] = {
		{ "", 1 }, { "s", 1 }, { "ms", 1e-3 }, { "us", 1e-6 }, { "m", 60 }, { "h", 3600 },
	};
	double v;
	char *end;
	size_t i;

	if ((*s < '0' || *s > '9') && *s != '.')
		return false;
	v = strtod(s, &end);
	if (end == s || !isfinite(v) || v < 0)
		return false;
	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcasecmp(end, units[i].name))
			continue;
		v *= units[i].seconds;
		if (v > 1e9)
			return false;
		*ns = (uint64_t)(v * 1e9 + 0.5);
		return true;
	}
	return false;
}

const char *tool_format_bytes(char *buf, size_t len, double bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	size_t i = 0;

	while (bytes >= 1024 && i + 1 < sizeof(units) / sizeof(units[0])) {
		bytes /= 1024;
		i++;
	}
	if (i == 0 || bytes == floor(bytes))
		snprintf(buf, len, "%.0f %s", bytes, units[i]);
	else
		snprintf(buf, len, bytes < 10 ? "%.2f %s" : "%.1f %s", bytes, units[i]);
	return buf;
}
