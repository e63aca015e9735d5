/* SPDX-License-Identifier: MIT */
/*
 * A JSON writer: commas, indentation and escapes; nesting is the caller's duty.
 * key is NULL inside arrays and for the outermost value.
 */
#ifndef TOOL_JSON_H
#define TOOL_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json {
	FILE *out;
	unsigned int depth;
	bool is_line; /* set after json_init(): the whole document on one line */
	bool has_item; /* something stands before in the innermost object or array */
};

void json_init(struct json *j, FILE *out);

void json_object(struct json *j, const char *key);
void json_object_end(struct json *j);
void json_array(struct json *j, const char *key);
void json_array_end(struct json *j);

/* Bytes that are not valid UTF-8 become U+FFFD: many strings come from the network. */
void json_string(struct json *j, const char *key, const char *value);
void json_u64(struct json *j, const char *key, uint64_t value);
void json_i64(struct json *j, const char *key, int64_t value);
void json_double(struct json *j, const char *key, double value);
void json_bool(struct json *j, const char *key, bool value);
void json_null(struct json *j, const char *key);

/* Ends the document with a newline. False when writing failed anywhere. */
bool json_finish(struct json *j);

#endif
