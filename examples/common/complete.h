/* SPDX-License-Identifier: MIT */
/*
 * What the shell's completion asks a tool: its options, from the table that it parses with.
 */
#ifndef TOOL_COMPLETE_H
#define TOOL_COMPLETE_H

#include <getopt.h>

/* The option that makes a tool answer; it is in no help text and completes nothing itself. */
#define COMPLETE_OPTION "bash-options"

/* Values of an option that takes one of a few, or a file name. */
struct complete_values {
	const char *name;   /* of the option */
	const char *values; /* words separated by blanks; "@file", "@uri" */
};

/*
 * One line for each option, "--name", "--name=" or "--name[=]" and its values behind a blank; a
 * line "operands" with what may stand without an option (words of uri, file and -); a line "keys"
 * with the keys of URIs. values ends with a NULL name and may be NULL.
 */
void complete_print(const struct option *options, const struct complete_values *values,
		    const char *operands);

#endif
