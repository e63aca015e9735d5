/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "chaos.h"

static double seconds(const struct chaos *c)
{
	return c->begun ? (double)(now_ns() - c->begun) / 1e9 : 0;
}

/* A JSON string of text, in which there are no control characters. */
static void put_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar((unsigned char)*text < 0x20 ? ' ' : *text);
	}
	putchar('"');
}

void fail(struct chaos *c, const char *fmt, ...)
{
	static unsigned int told;
	char text[sizeof(c->first)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&c->lock);
	if (!c->first[0])
		memcpy(c->first, text, sizeof(text));
	if (told++ < 100) {
		printf("{\"t\": %.3f, \"failure\": ", seconds(c));
		put_string(text);
		puts("}");
		fflush(stdout);
	}
	pthread_mutex_unlock(&c->lock);
}

void report_phase(struct chaos *c, const char *phase)
{
	pthread_mutex_lock(&c->lock);
	printf("{\"t\": %.3f, \"phase\": \"%s\"}\n", seconds(c), phase);
	fflush(stdout);
	pthread_mutex_unlock(&c->lock);
}

void report_event(struct chaos *c, unsigned int path, const struct nof_event *ev)
{
	pthread_mutex_lock(&c->lock);
	printf("{\"t\": %.3f, \"path\": %u, \"event\": %d, \"state\": \"%s\", \"error\": %d, "
	       "\"detail\": ",
	       seconds(c), path, ev->type, nof_ctrl_state_name(ev->state), ev->error);
	put_string(ev->detail);
	puts("}");
	fflush(stdout);
	pthread_mutex_unlock(&c->lock);
}

static unsigned int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n > 3 ? n - 3 : 0;	/* ".", ".." and dir's own */
}

static uint64_t rss_kib(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long long pages = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%*u %llu", &pages) != 1)
		pages = 0;
	fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
}

static void sum_up(const struct chaos *c, struct counters *sum)
{
	unsigned int i, k;

	memset(sum, 0, sizeof(*sum));
	for (i = 0; i < c->o.workers; i++) {
		const struct counters *n = &c->workers[i].n;

		sum->submitted += GET(n->submitted);
		sum->completed += GET(n->completed);
		for (k = 0; k < KINDS; k++)
			sum->by_kind[k] += GET(n->by_kind[k]);
		sum->bytes += GET(n->bytes);
		sum->errors += GET(n->errors);
		sum->mismatches += GET(n->mismatches);
		sum->doubled += GET(n->doubled);
		sum->misplaced += GET(n->misplaced);
		sum->refused += GET(n->refused);
		sum->drains += GET(n->drains);
		sum->reread += GET(n->reread);
		if (GET(n->slowest) > sum->slowest)
			sum->slowest = GET(n->slowest);
	}
}

static void print_counters(const struct counters *n)
{
	static const char *const names[KINDS] = { "reads",   "writes",	 "write_zeroes",
						  "flushes", "compares", "miscompares" };
	unsigned int k;

	printf("\"submitted\": %llu, \"completed\": %llu, \"errors\": %llu, \"mismatches\": %llu, "
	       "\"doubled\": %llu, \"misplaced\": %llu, \"refused\": %llu, \"bytes\": %llu, "
	       "\"slowest_ms\": %llu",
	       (unsigned long long)n->submitted, (unsigned long long)n->completed,
	       (unsigned long long)n->errors, (unsigned long long)n->mismatches,
	       (unsigned long long)n->doubled, (unsigned long long)n->misplaced,
	       (unsigned long long)n->refused, (unsigned long long)n->bytes,
	       (unsigned long long)n->slowest / 1000000);
	for (k = 0; k < KINDS; k++)
		printf(", \"%s\": %llu", names[k], (unsigned long long)n->by_kind[k]);
}

void report_interval(struct chaos *c)
{
	uint64_t oldest = 0, now = now_ns();
	struct counters n;
	unsigned int i;

	sum_up(c, &n);
	for (i = 0; i < c->o.workers; i++) {
		uint64_t age = worker_oldest(&c->workers[i], now);

		oldest = age > oldest ? age : oldest;
	}
	pthread_mutex_lock(&c->lock);
	printf("{\"t\": %.3f, ", seconds(c));
	print_counters(&n);
	printf(", \"oldest_ms\": %llu, \"rss_kib\": %llu, \"fds\": %u}\n",
	       (unsigned long long)oldest / 1000000, (unsigned long long)rss_kib(), count_fds());
	fflush(stdout);
	pthread_mutex_unlock(&c->lock);
}

bool report_end(struct chaos *c)
{
	uint64_t doubtful = 0, units = 0;
	struct counters n;
	unsigned int i;
	bool ok;

	sum_up(c, &n);
	for (i = 0; i < c->o.workers; i++) {
		doubtful += c->workers[i].model.doubtful;
		units += c->workers[i].model.count;
	}
	ok = !c->first[0] && n.submitted == n.completed && !n.errors && !n.mismatches &&
	     !n.doubled && !n.misplaced && !c->lost && n.reread == units;
	printf("{\"final\": true, \"ok\": %s, \"seed\": %llu, \"seconds\": %.3f, ",
	       ok ? "true" : "false", (unsigned long long)c->o.seed, seconds(c));
	print_counters(&n);
	printf(", \"drains\": %llu, \"resets\": %llu, \"removals\": %llu, \"additions\": %llu",
	       (unsigned long long)n.drains, (unsigned long long)c->deeds.resets,
	       (unsigned long long)c->deeds.removals, (unsigned long long)c->deeds.additions);
	printf(", \"lost\": %llu, \"doubtful_units\": %llu, \"reread_units\": %llu, "
	       "\"units\": %llu, \"rss_kib\": %llu, \"fds\": %u, \"first_failure\": ",
	       (unsigned long long)c->lost, (unsigned long long)doubtful,
	       (unsigned long long)n.reread, (unsigned long long)units,
	       (unsigned long long)rss_kib(), count_fds());
	put_string(c->first);
	puts("}");
	fflush(stdout);
	return ok;
}
