/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asymmetric namespace access: how well each group of namespaces can be reached through
 * a controller (checklist 5.3, log page 0Ch).
 */
#ifndef NOF_CTRL_ANA_H
#define NOF_CTRL_ANA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

enum {
	NOFI_ANA_HEADER = 16,
	NOFI_ANA_DESC = 32,
	NOFI_ANA_GROUPS_MAX = 4096,	/* that we keep; a controller with more is refused */
};

struct nofi_ana_group {
	uint32_t id;
	uint8_t state;			/* enum nof_ana_state */
};

/* What Identify Controller promises of the log. */
struct nofi_ana_limits {
	uint32_t anagrpmax;
	uint32_t nanagrpid;
	uint32_t nn;			/* NSIDs are at most this */
};

/*
 * The whole log, with or without NSIDs in its descriptors. Writes at most NOFI_ANA_GROUPS_MAX
 * groups and returns how many; −EPROTO with the sentence, nothing written that counts.
 */
int nofi_ana_parse(const uint8_t *log, size_t len, const struct nofi_ana_limits *lim,
		   struct nofi_ana_group *groups, struct nofi_err *err);

/* Of a controller, on its admin loop's thread. */
struct nofi_ana {
	bool is_known;			/* groups are those of the log */
	struct nofi_ana_group *groups;
	uint32_t ngroups;
	uint8_t *log;			/* being read */
	size_t len;			/* of it; known with its header */
	size_t have;			/* bytes read */
	bool is_retained;		/* the last read left the event with the controller */
	unsigned tries;			/* since it changed while being read */
};

struct nof_ctrl;
struct nofi_op;

/* Reads the log as part of op (which must be the running one), then calls next, also on failure. */
void nofi_ana_read(struct nofi_op *op, void (*next)(struct nofi_op *op));
/* State of a group: NONE where the controller does not report it. */
uint8_t nofi_ana_state(const struct nof_ctrl *ctrl, uint32_t group);
/* Something changed, or is said to have: reads the log and tells the paths. */
void nofi_ana_changed(struct nof_ctrl *ctrl);
/* The association ended: nothing is known. */
void nofi_ana_stop(struct nof_ctrl *ctrl);
void nofi_ana_free(struct nof_ctrl *ctrl);

#endif
