/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The discovery subsystem: its log page and its event (F-30, F-31). */
#include <nvme/types.h>
#include <stdio.h>
#include <stdlib.h>

#include "target.h"

_Static_assert(sizeof(struct nvmf_disc_log_entry) == 1024, "discovery log entry");

static uint64_t discovery_genctr = 1;

void discovery_changed(void)
{
	struct ctrl *next;

	discovery_genctr++;
	for (struct subsys *s = subsystems; s; s = s->next) {
		for (struct ctrl *k = s->ctrls; k && s->is_discovery; k = next) {
			next = k->next;		/* telling it may be the end of it */
			ctrl_notify(k, EV_DISCOVERY);
		}
	}
}

static void fill_entry(struct nvmf_disc_log_entry *e, const struct conn *c,
		       const struct subsys *s, const struct listener *l)
{
	e->trtype = NVMF_TRTYPE_TCP;
	e->adrfam = l->is_ipv6 ? 2 : 1;
	e->subtype = 2;
	e->treq = 1u << 2 | 2;		/* no secure channel; SQ flow control may be off */
	e->portid = htole16(l->portid);
	e->cntlid = 0xffff;
	e->asqsz = htole16(32);
	copy_padded(e->trsvcid, l->port, sizeof(e->trsvcid));
	/* A wildcard address is of no use to a host: give the one it came to. */
	copy_padded(e->traddr, l->is_wildcard ? c->local : l->addr, sizeof(e->traddr));
	snprintf(e->subnqn, sizeof(e->subnqn), "%s", s->nqn);
}

uint8_t *log_discovery(const struct conn *c, size_t *len)
{
	size_t max = 0, n = 0;
	struct nvmf_discovery_log *log;

	for (const struct subsys *s = subsystems; s; s = s->next)
		for (const struct listener *l = listeners; l; l = l->next)
			max++;
	*len = sizeof(*log) + max * sizeof(log->entries[0]);
	log = calloc(1, *len);
	if (!log)
		return NULL;
	for (const struct subsys *s = subsystems; s; s = s->next) {
		for (const struct listener *l = listeners; l; l = l->next) {
			if (s->is_discovery || !subsys_allows(s, c->ctrl->hostnqn))
				continue;
			if (l->is_wildcard && l->is_ipv6 != c->is_ipv6)
				continue;
			fill_entry(&log->entries[n++], c, s, l);
		}
	}
	log->genctr = htole64(discovery_genctr);
	log->numrec = htole64(n);
	*len = sizeof(*log) + n * sizeof(log->entries[0]);
	return (uint8_t *)log;
}
