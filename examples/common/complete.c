/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include <nof.h>

#include "complete.h"

static const char *values_of(const struct complete_values *values, const char *name)
{
	for (; values && values->name; values++)
		if (!strcmp(values->name, name))
			return values->values;
	return NULL;
}

void complete_print(const struct option *options, const struct complete_values *values,
		    const char *operands)
{
	const char *const *key;
	const char *v;

	for (; options->name; options++) {
		if (!strcmp(options->name, COMPLETE_OPTION))
			continue;
		printf("--%s%s", options->name,
		       options->has_arg == required_argument ? "=" :
		       options->has_arg == optional_argument ? "[=]" :
							       "");
		v = values_of(values, options->name);
		printf("%s%s\n", v ? " " : "", v ? v : "");
	}
	printf("operands %s\nkeys", operands);
	for (key = nof_opts_keys(); *key; key++)
		printf(" %s", *key);
	putchar('\n');
}
