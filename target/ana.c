/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asymmetric namespace access: every port has a state for every group, and a
 * controller sees its namespaces through the port it was connected by.
 */
#include <nvme/types.h>
#include <stdio.h>
#include <stdlib.h>

#include "target.h"

bool ana_is_on;

static const struct {
	const char *name;
	uint8_t state;
	uint16_t status;		/* what I/O gets */
} states[] = {
	{ "optimized", 1, 0 },
	{ "non-optimized", 2, 0 },
	{ "inaccessible", 3, 0x300 | NVME_SC_ANA_INACCESSIBLE },
	{ "persistent-loss", 4, 0x300 | NVME_SC_ANA_PERSISTENT_LOSS },
	{ "change", 15, 0x300 | NVME_SC_ANA_TRANSITION },
};

enum { NSTATES = sizeof(states) / sizeof(states[0]), GROUP_LEN = 32, HEAD_LEN = 16 };

bool ana_parse_state(const char *name, uint8_t *state)
{
	for (unsigned int i = 0; i < NSTATES; i++) {
		if (strcmp(states[i].name, name))
			continue;
		*state = states[i].state;
		return true;
	}
	return false;
}

static uint16_t status_of(uint8_t state)
{
	for (unsigned int i = 0; i < NSTATES; i++)
		if (states[i].state == state)
			return states[i].status;
	return 0;
}

static void set_state(struct listener *l, uint32_t group, uint8_t state)
{
	l->ana[group] = state;
	l->has_blocked = false;
	for (unsigned int g = 1; g <= ANA_GROUPS; g++)
		l->has_blocked |= status_of(l->ana[g]) != 0;
}

int ana_parse(struct listener *l, const char *spec, char *err, size_t errlen)
{
	char group[16], state[32];
	uint64_t g;
	uint8_t s;

	if (sscanf(spec, "%15[0-9]:%31s", group, state) != 2 || !parse_size(group, &g) || !g ||
	    g > ANA_GROUPS || !ana_parse_state(state, &s)) {
		snprintf(err, errlen, "'%s' is no ANA state: write GROUP:STATE with a group from 1 "
			 "to %d and one of optimized, non-optimized, inaccessible, "
			 "persistent-loss, change", spec, ANA_GROUPS);
		return -1;
	}
	ana_is_on = true;
	set_state(l, (uint32_t)g, s);
	return 0;
}

void ana_set(struct listener *l, uint32_t group, uint8_t state)
{
	struct ctrl *next;

	set_state(l, group, state);
	l->ana_chgcnt++;
	l->ana_group_chgcnt[group] = l->ana_chgcnt;
	for (struct subsys *s = subsystems; s; s = s->next) {
		for (struct ctrl *k = s->ctrls; k; k = next) {
			next = k->next;		/* telling it may be the end of it */
			if (k->port == l && !s->is_discovery)
				ctrl_notify(k, EV_ANA);
		}
	}
}

uint16_t ana_status(const struct listener *l, const struct ns *ns)
{
	return status_of(l->ana[ns->anagrp]);
}

static unsigned int members(const struct subsys *s, uint32_t group)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < s->nns; i++)
		n += s->ns[i]->anagrp == group;
	return n;
}

uint8_t *log_ana(const struct ctrl *ctrl, bool is_rgo, size_t *len)
{
	const struct listener *l = ctrl->port;
	const struct subsys *s = ctrl->subsys;
	uint8_t *log = calloc(1, HEAD_LEN + ANA_GROUPS * GROUP_LEN + s->nns * 4), *p;
	uint16_t groups = 0;

	if (!log)
		return NULL;
	p = log + HEAD_LEN;
	for (uint32_t g = 1; g <= ANA_GROUPS; g++) {
		unsigned int n = members(s, g);

		if (!n)
			continue;
		groups++;
		nofi_put32(p, g);
		nofi_put32(p + 4, is_rgo ? 0 : n);
		nofi_put64(p + 8, l->ana_group_chgcnt[g]);
		p[16] = l->ana[g];
		p += GROUP_LEN;
		for (unsigned int i = 0; i < s->nns && !is_rgo; i++) {
			if (s->ns[i]->anagrp != g)
				continue;
			nofi_put32(p, s->ns[i]->nsid);
			p += 4;
		}
	}
	nofi_put64(log, l->ana_chgcnt);
	nofi_put16(log + 8, groups);
	*len = (size_t)(p - log);
	return log;
}
