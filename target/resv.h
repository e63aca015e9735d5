/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reservations of one namespace; resv.c changes them, resv_log.c tells of them. */
#ifndef TARGET_RESV_H
#define TARGET_RESV_H

#include <stdint.h>

#include "target.h"

enum { REGISTRANTS_MAX = 256, NOTES_MAX = 64, HOSTID_LEN = 16 };

enum resv_type {
	RESV_NONE,
	RESV_WE, RESV_EA,		/* write exclusive, exclusive access: the holder */
	RESV_WE_RO, RESV_EA_RO,		/* … and registrants, while the holder holds it */
	RESV_WE_AR, RESV_EA_AR,		/* all registrants hold it */
};

struct registrant {
	uint8_t hostid[HOSTID_LEN];
	uint64_t key;
};

struct resv {
	uint32_t gen;			/* counts changes of registrations */
	enum resv_type type;		/* RESV_NONE: not held */
	uint8_t holder[HOSTID_LEN];	/* of the types without "all registrants" */
	struct registrant *reg;		/* in order of registration */
	unsigned int nreg;
};

enum note_type { NOTE_REG_PREEMPTED = 1, NOTE_RELEASED = 2, NOTE_PREEMPTED = 3 };

struct resv_note {
	uint64_t count;			/* log page count */
	uint32_t nsid;
	uint8_t type;			/* enum note_type */
};

/* To the controllers of the host. */
void resv_notify(const struct ns *ns, const uint8_t *hostid, enum note_type type);
bool resv_is_holder(const struct resv *r, const uint8_t *hostid);
struct registrant *resv_find(const struct resv *r, const uint8_t *hostid);
void exec_resv_report(struct cmd *cmd);

#endif
