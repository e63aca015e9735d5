/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The options of --ns: what is not simply kept in struct ns. */
#ifndef TARGET_NS_SPEC_H
#define TARGET_NS_SPEC_H

#include "target.h"

enum { GIVEN_UUID = 1, GIVEN_NGUID = 2, GIVEN_EUI64 = 4 };

struct ns_extra {
	unsigned int given;		/* identifiers that were given */
	uint64_t zone, zone_cap;	/* bytes; 0: no zones, all of a zone */
	uint32_t mar, mor;		/* UINT32_MAX: no limit */
};

/* option[,option…], taken apart in place. 0, or -1 with a sentence. */
int ns_parse_options(struct ns *ns, char *o, struct ns_extra *x, char *err, size_t errlen);

#endif
