/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <math.h>

#include "json.h"

/* Length of the valid UTF-8 sequence at s, 0 when there is none. */
static unsigned int utf8_len(const unsigned char *s)
{
	uint32_t cp, min;
	unsigned int n, i;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xf0 && s[0] < 0xf5) {
		n = 4;
		cp = s[0] & 7;
		min = 0x10000;
	} else if (s[0] >= 0xe0 && s[0] < 0xf0) {
		n = 3;
		cp = s[0] & 15;
		min = 0x800;
	} else if (s[0] >= 0xc2 && s[0] < 0xe0) {
		n = 2;
		cp = s[0] & 31;
		min = 0x80;
	} else {
		return 0;
	}
	for (i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		cp = cp << 6 | (s[i] & 0x3f);
	}
	if (cp < min || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
		return 0;
	return n;
}

static void put_string(FILE *f, const char *value)
{
	const unsigned char *s = (const unsigned char *)value;
	unsigned int n;

	fputc('"', f);
	while (*s) {
		n = utf8_len(s);
		if (n == 0) {
			fputs("\\ufffd", f);
			n = 1;
		} else if (*s == '"' || *s == '\\') {
			fprintf(f, "\\%c", *s);
		} else if (*s < 0x20) {
			fprintf(f, "\\u%04x", *s);
		} else {
			fwrite(s, 1, n, f);
		}
		s += n;
	}
	fputc('"', f);
}

static void indent(struct json *j)
{
	unsigned int i;

	if (j->is_line)
		return;
	fputc('\n', j->out);
	for (i = 0; i < j->depth; i++)
		fputs("  ", j->out);
}

/* Everything that stands in front of a value. */
static void lead(struct json *j, const char *key)
{
	if (j->has_item)
		fputs(j->is_line && j->depth ? ", " : ",", j->out);
	if (j->depth)
		indent(j);
	if (key) {
		put_string(j->out, key);
		fputs(": ", j->out);
	}
	j->has_item = true;
}

static void open_nest(struct json *j, const char *key, char c)
{
	lead(j, key);
	fputc(c, j->out);
	j->depth++;
	j->has_item = false;
}

static void close_nest(struct json *j, char c)
{
	j->depth--;
	if (j->has_item)
		indent(j);
	fputc(c, j->out);
	j->has_item = true;
}

void json_init(struct json *j, FILE *out)
{
	*j = (struct json){ .out = out };
}

void json_object(struct json *j, const char *key)
{
	open_nest(j, key, '{');
}

void json_object_end(struct json *j)
{
	close_nest(j, '}');
}

void json_array(struct json *j, const char *key)
{
	open_nest(j, key, '[');
}

void json_array_end(struct json *j)
{
	close_nest(j, ']');
}

void json_string(struct json *j, const char *key, const char *value)
{
	lead(j, key);
	put_string(j->out, value);
}

void json_u64(struct json *j, const char *key, uint64_t value)
{
	lead(j, key);
	fprintf(j->out, "%" PRIu64, value);
}

void json_i64(struct json *j, const char *key, int64_t value)
{
	lead(j, key);
	fprintf(j->out, "%" PRId64, value);
}

void json_double(struct json *j, const char *key, double value)
{
	lead(j, key);
	/* JSON has no infinities; the tools never set a locale, so this prints a point. */
	fprintf(j->out, "%.6f", isfinite(value) ? value : 0.0);
}

void json_bool(struct json *j, const char *key, bool value)
{
	lead(j, key);
	fputs(value ? "true" : "false", j->out);
}

void json_null(struct json *j, const char *key)
{
	lead(j, key);
	fputs("null", j->out);
}

bool json_finish(struct json *j)
{
	fputc('\n', j->out);
	return fflush(j->out) == 0 && !ferror(j->out);
}
