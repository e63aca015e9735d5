/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For bench/sweep.py only: NOF_SWEEP=STAGING,DIRECT,TAIL in bytes. */
#include "queue/sizes.h"

#ifdef NOFI_SWEEP

#include <stdio.h>
#include <stdlib.h>

struct nofi_sizes nofi_sizes = { .staging = 256 * 1024, .direct = 16 * 1024, .tail = 8 * 1024 };

__attribute__((constructor)) static void read_sizes(void)
{
	const char *text = getenv("NOF_SWEEP");
	struct nofi_sizes s;

	if (text && sscanf(text, "%u,%u,%u", &s.staging, &s.direct, &s.tail) == 3 &&
	    s.tail <= NOFI_TAIL_ROOM)
		nofi_sizes = s;
}

#endif
