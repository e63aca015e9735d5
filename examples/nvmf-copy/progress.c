/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "copy.h"

#define EVERY (NSEC_PER_SEC / 5)
#define WIDTH 24 /* of the bar */
#define STALL (2 * NSEC_PER_SEC) /* without a byte: worth telling */

static struct {
	const char *phase;
	int fd;		/* of the lines, −1 = none */
	bool is_bar;	/* on standard error */
	uint64_t begun; /* ns */
	uint64_t last;	/* ns of the last output */
	uint64_t moved; /* ns of the last output with more bytes */
	uint64_t bytes; /* then */
	double rate;	/* bytes per second, smoothed; 0 before it is known */
	int percent;	/* of the last line */
} pg;

/* A reader that is slow gets fewer lines; it never holds the copy up. */
static void line(uint64_t bytes, uint64_t total, int patience)
{
	struct pollfd pfd = { .fd = pg.fd, .events = POLLOUT };
	char text[128], percent[16] = "-", of[32] = "-";
	int n;

	if (total != COPY_UNKNOWN) {
		snprintf(percent, sizeof(percent), "%d", pg.percent);
		snprintf(of, sizeof(of), "%llu", (unsigned long long)total);
	}
	n = snprintf(text, sizeof(text), "%s %s %llu %s\n", pg.phase, percent,
		     (unsigned long long)bytes, of);
	if (poll(&pfd, 1, patience) == 1 && write(pg.fd, text, (size_t)n) < 0 && errno == EPIPE)
		pg.fd = -1;
}

static void bar(uint64_t bytes, uint64_t total)
{
	char done[32], all[32] = "", rate[32], eta[32] = "", blocks[WIDTH + 1];
	double left = 0;
	int i;

	tool_format_bytes(done, sizeof(done), (double)bytes);
	tool_format_bytes(rate, sizeof(rate), pg.rate);
	if (total == COPY_UNKNOWN) {
		fprintf(stderr, "\r%s  %s  %s/s\033[K", pg.phase, done, rate);
		fflush(stderr);
		return;
	}
	for (i = 0; i < WIDTH; i++)
		blocks[i] = i * 100 < pg.percent * WIDTH ? '#' : '-';
	blocks[WIDTH] = '\0';
	tool_format_bytes(all, sizeof(all), (double)total);
	if (pg.rate > 0)
		left = (double)(total - bytes) / pg.rate;
	if (bytes < total && pg.last - pg.moved >= STALL)
		snprintf(eta, sizeof(eta), "  waiting for %d s",
			 (int)((pg.last - pg.moved) / NSEC_PER_SEC));
	else if (pg.rate > 0 && bytes < total && left < 360000)
		snprintf(eta, sizeof(eta), "  ETA %d:%02d:%02d", (int)left / 3600,
			 (int)left / 60 % 60, (int)left % 60);
	fprintf(stderr, "\r%s %3d%% [%s] %s of %s  %s/s%s\033[K", pg.phase, pg.percent, blocks,
		done, all, rate, eta);
	fflush(stderr);
}

static void show(uint64_t bytes, uint64_t total, uint64_t now, int patience)
{
	double seconds = (double)(now - pg.last) / 1e9, rate;

	if (seconds > 0.01) {
		rate = (double)(bytes - pg.bytes) / seconds;
		pg.rate = pg.rate > 0 ? pg.rate * 0.8 + rate * 0.2 : rate;
	}
	/* 100 is said once, when it is true. */
	pg.percent = total == COPY_UNKNOWN ? 0 :
		     total == 0		   ? 100 :
					     (int)((double)bytes / (double)total * 100);
	pg.last = now;
	if (bytes != pg.bytes)
		pg.moved = now;
	pg.bytes = bytes;
	if (pg.fd >= 0)
		line(bytes, total, patience);
	if (pg.is_bar)
		bar(bytes, total);
}

void progress_begin(const struct copy_opts *o, const char *phase, uint64_t total)
{
	uint64_t now = tool_now();

	memset(&pg, 0, sizeof(pg));
	pg.phase = phase;
	pg.fd = o->progress_fd;
	pg.is_bar = pg.fd < 0 && (o->wants_bar || isatty(STDERR_FILENO));
	pg.begun = now;
	pg.last = now;
	pg.moved = now;
	if (pg.fd >= 0 && total != 0)
		line(0, total, 1000);
}

void progress_update(uint64_t bytes, uint64_t total)
{
	uint64_t now;

	if (pg.fd < 0 && !pg.is_bar)
		return;
	now = tool_now();
	if (now - pg.last >= EVERY && bytes != total)
		show(bytes, total, now, 0);
}

void progress_end(uint64_t bytes, uint64_t total, bool is_complete)
{
	double seconds = (double)(tool_now() - pg.begun) / 1e9;

	if (pg.fd < 0 && !pg.is_bar)
		return;
	/* At the end the average says more than the last moment. */
	if (is_complete && seconds > 0)
		pg.rate = (double)bytes / seconds;
	pg.last = tool_now();
	show(bytes, total, pg.last, 1000);
	if (pg.is_bar)
		fputc('\n', stderr);
}
