/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "info.h"

struct question {
	const char *option; /* "can" or "is" */
	const char *name;
	uint32_t set, clear; /* features of the namespace that yes needs, and that forbid it */
	bool (*ask)(const struct info *info); /* not about a namespace */
	bool (*ask_ns)(const struct nof_ns_info *ns);
};

static bool is_mptcp(const struct info *info)
{
	return info->transport.is_mptcp;
}

static bool is_discovery(const struct info *info)
{
	return info->ci.is_discovery;
}

static bool has_hdr_digest(const struct info *info)
{
	return info->ci.has_hdr_digest;
}

static bool has_data_digest(const struct info *info)
{
	return info->ci.has_data_digest;
}

static bool is_protected(const struct nof_ns_info *ns)
{
	return ns->pi_type != 0;
}

static bool is_zoned(const struct nof_ns_info *ns)
{
	return ns->zone_size != 0;
}

static const struct question questions[] = {
	{ "can", "read" },
	{ "can", "write", 0, NOF_NS_READ_ONLY },
	{ "can", "flush" },
	{ "can", "write-zeroes", NOF_NS_WRITE_ZEROES, NOF_NS_READ_ONLY },
	{ "can", "zero-deallocating", NOF_NS_WRITE_ZEROES | NOF_NS_WRITE_ZEROES_DEAC,
	  NOF_NS_READ_ONLY },
	{ "can", "deallocate", NOF_NS_DEALLOCATE, NOF_NS_READ_ONLY },
	{ "can", "compare", NOF_NS_COMPARE },
	{ "can", "compare-write", NOF_NS_COMPARE_WRITE, NOF_NS_READ_ONLY },
	{ "can", "copy", NOF_NS_COPY, NOF_NS_READ_ONLY },
	{ "can", "verify", NOF_NS_VERIFY },
	{ "can", "write-uncorrectable", NOF_NS_WRITE_UNCORRECTABLE, NOF_NS_READ_ONLY },
	{ "can", "reserve", NOF_NS_RESERVATIONS },
	{ "can", "append", NOF_NS_ZONE_APPEND, NOF_NS_READ_ONLY },
	{ "is", "read-only", NOF_NS_READ_ONLY },
	{ "is", "shared", NOF_NS_SHARED },
	{ "is", "volatile-cache", NOF_NS_VOLATILE_CACHE },
	{ "is", "deallocated-zero", NOF_NS_DEALLOC_ZEROES },
	{ "is", "zoned", .ask_ns = is_zoned },
	{ "is", "protected", .ask_ns = is_protected },
	{ "is", "discovery", 0, 0, is_discovery },
	{ "is", "mptcp", 0, 0, is_mptcp },
	{ "is", "hdr-digest", 0, 0, has_hdr_digest },
	{ "is", "data-digest", 0, 0, has_data_digest },
};

#define QUESTIONS (sizeof(questions) / sizeof(questions[0]))

static bool is_same_name(const char *a, const char *b)
{
	while (*a && *b && (*a == '_' ? '-' : *a) == (*b == '_' ? '-' : *b)) {
		a++;
		b++;
	}
	return *a == *b;
}

const struct question *question_find(const char *option, const char *name)
{
	size_t i;

	for (i = 0; i < QUESTIONS; i++)
		if (!strcmp(questions[i].option, option) && is_same_name(questions[i].name, name))
			return &questions[i];
	return NULL;
}

const char *question_names(char *buf, size_t len, const char *option)
{
	size_t i, n = 0;

	buf[0] = '\0';
	for (i = 0; i < QUESTIONS && n < len; i++)
		if (!strcmp(questions[i].option, option))
			n += (size_t)snprintf(buf + n, len - n, "%s%s", n ? " " : "",
					      questions[i].name);
	return buf;
}

bool question_wants_namespace(const struct question *q)
{
	return !q->ask;
}

int question_answer(const struct info *info)
{
	const struct question *q = info->question;
	bool is_yes = false;
	struct json j;

	if (q->ask) {
		is_yes = q->ask(info);
	} else if (info->ns_count) {
		/* A discovery controller has no namespace, and so none that can. */
		const struct nof_ns_info *ns = &info->ns[0].info;

		is_yes = (ns->features & q->set) == q->set && !(ns->features & q->clear) &&
			 (!q->ask_ns || q->ask_ns(ns));
	}
	if (info->json) {
		json_init(&j, stdout);
		json_object(&j, NULL);
		json_string(&j, "question", q->option);
		json_string(&j, "name", q->name);
		json_bool(&j, "answer", is_yes);
		json_object_end(&j);
		if (!json_finish(&j))
			return tool_output_failed();
	}
	return is_yes ? TOOL_OK : INFO_NO;
}
