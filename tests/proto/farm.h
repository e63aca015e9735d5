/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Several targets beside the rig's own, and entries of a discovery log as a test wants
 * them: forged by a fault script, so that a log can say what no target would.
 */
#ifndef NOF_TESTS_FARM_H
#define NOF_TESTS_FARM_H

#include "rig.h"

#define DISCOVERY_NQN NOF_DISCOVERY_NQN

enum { FARM_MAX = 8 };

struct farm {
	struct rig *at[FARM_MAX];	/* one target each; of rigs that hold nothing else */
	unsigned count;
};

/* Another target of the same variant. */
struct rig *farm_target(struct farm *f, struct rig *r, const char *options);
/* Ends all; each must have survived. */
void farm_end(struct farm *f);

struct forged {
	uint8_t subtype;
	const char *nqn;
	const char *traddr;		/* NULL: "127.0.0.1" */
	uint16_t port;
	uint8_t trtype;			/* 0: 3, TCP */
	uint8_t adrfam;			/* 0: 1, IPv4 */
	uint8_t treq;
	uint16_t eflags;
	const char *trsvcid;		/* NULL: port */
};

/* From now on the log of this target consists of these, at most 4. */
void forge(struct rig *target, const struct forged *entries, unsigned count, uint64_t genctr);

#endif
