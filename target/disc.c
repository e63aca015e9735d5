/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The discovery subsystem: its log page and its event (F-30, F-31). Besides our
 * own subsystems it tells of what it was told by the control socket: referrals,
 * and records of any content.
 */
#include <nvme/types.h>
#include <stdio.h>
#include <stdlib.h>

#include "target.h"

_Static_assert(sizeof(struct nvmf_disc_log_entry) == 1024, "discovery log entry");

enum { SUBTYPE_REFERRAL = 1, SUBTYPE_NVM = 2, SUBTYPE_CURRENT = 3, EXTRA_MAX = 4096 };

static uint64_t discovery_genctr = 1;

/* Records that were added, in this order. */
static struct nvmf_disc_log_entry *extra;
static size_t nextra;

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

/* ---- records from the control socket ---- */

static struct nvmf_disc_log_entry *new_record(char *err, size_t errlen)
{
	struct nvmf_disc_log_entry *e = NULL;

	if (nextra < EXTRA_MAX)
		e = realloc(extra, (nextra + 1) * sizeof(*e));
	if (!e) {
		snprintf(err, errlen, "too many records");
		return NULL;
	}
	extra = e;
	e = &extra[nextra];
	memset(e, 0, sizeof(*e));
	e->trtype = NVMF_TRTYPE_TCP;
	e->adrfam = 1;
	e->subtype = SUBTYPE_NVM;
	e->treq = 1u << 2 | 2;
	e->cntlid = 0xffff;
	e->asqsz = htole16(32);
	copy_padded(e->trsvcid, "4420", sizeof(e->trsvcid));
	return e;
}

static bool set_field(struct nvmf_disc_log_entry *e, const char *key, const char *v)
{
	uint64_t n = 0;
	bool is_number = parse_size(v, &n) && n <= 0xffff;

	if (!strcmp(key, "traddr")) {
		copy_padded(e->traddr, v, sizeof(e->traddr));
		e->adrfam = strchr(v, ':') ? 2 : 1;
	} else if (!strcmp(key, "trsvcid")) {
		copy_padded(e->trsvcid, v, sizeof(e->trsvcid));
	} else if (!strcmp(key, "nqn")) {
		snprintf(e->subnqn, sizeof(e->subnqn), "%s", v);
	} else if (!is_number) {
		return false;
	} else if (!strcmp(key, "trtype")) {
		e->trtype = (uint8_t)n;
	} else if (!strcmp(key, "adrfam")) {
		e->adrfam = (uint8_t)n;
	} else if (!strcmp(key, "subtype")) {
		e->subtype = (uint8_t)n;
	} else if (!strcmp(key, "treq")) {
		e->treq = (uint8_t)n;
	} else if (!strcmp(key, "portid")) {
		e->portid = htole16((uint16_t)n);
	} else if (!strcmp(key, "cntlid")) {
		e->cntlid = htole16((uint16_t)n);
	} else if (!strcmp(key, "asqsz")) {
		e->asqsz = htole16((uint16_t)n);
	} else if (!strcmp(key, "eflags")) {
		e->eflags = htole16((uint16_t)n);
	} else if (!strcmp(key, "sectype")) {
		e->tsas.common[0] = (char)n;
	} else {
		return false;
	}
	return true;
}

int discovery_add(const char *text, char *err, size_t errlen)
{
	struct nvmf_disc_log_entry *e = new_record(err, errlen);
	char *copy = e ? strdup(text) : NULL, *save = NULL;

	if (!copy)
		return -1;
	for (char *t = strtok_r(copy, " ", &save); t; t = strtok_r(NULL, " ", &save)) {
		char *v = strchr(t, '=');

		if (v)
			*v++ = 0;
		if (v && set_field(e, t, v))
			continue;
		snprintf(err, errlen, "not KEY=VALUE with traddr, trsvcid, nqn, trtype, adrfam, "
			 "subtype, treq, portid, cntlid, asqsz, eflags or sectype: '%.80s'", t);
		free(copy);
		return -1;
	}
	free(copy);
	nextra++;
	discovery_changed();
	return 0;
}

/* TRADDR:PORT[,NQN], where IPv6 is in brackets */
static bool parse_referral(const char *spec, char *addr, char *port, const char **nqn)
{
	const char *comma = strchr(spec, ',');
	size_t n = comma ? (size_t)(comma - spec) : strlen(spec);
	char place[300], *colon;

	if (n >= sizeof(place))
		return false;
	memcpy(place, spec, n);
	place[n] = 0;
	colon = strrchr(place, ':');
	*nqn = comma ? comma + 1 : DISCOVERY_NQN;
	if (!colon || colon == place || strlen(colon + 1) > 5 || strlen(*nqn) > NQN_MAX)
		return false;
	*colon = 0;
	strcpy(port, colon + 1);
	if (place[0] == '[' && colon[-1] == ']') {
		colon[-1] = 0;
		memmove(place, place + 1, strlen(place));
	}
	if (strlen(place) > 255)
		return false;
	strcpy(addr, place);
	return true;
}

int discovery_referral_add(const char *spec, char *err, size_t errlen)
{
	char addr[256], port[8];
	const char *nqn;
	struct nvmf_disc_log_entry *e;

	if (!parse_referral(spec, addr, port, &nqn)) {
		snprintf(err, errlen, "not TRADDR:PORT[,NQN]");
		return -1;
	}
	e = new_record(err, errlen);
	if (!e)
		return -1;
	e->subtype = SUBTYPE_REFERRAL;
	set_field(e, "traddr", addr);
	set_field(e, "trsvcid", port);
	set_field(e, "nqn", nqn);
	nextra++;
	discovery_changed();
	return 0;
}

int discovery_referral_remove(const char *spec, char *err, size_t errlen)
{
	char addr[256], port[8], a[sizeof(extra->traddr)], p[sizeof(extra->trsvcid)];
	const char *nqn;
	size_t i = 0;

	if (!parse_referral(spec, addr, port, &nqn)) {
		snprintf(err, errlen, "not TRADDR:PORT[,NQN]");
		return -1;
	}
	copy_padded(a, addr, sizeof(a));
	copy_padded(p, port, sizeof(p));
	while (i < nextra && (extra[i].subtype != SUBTYPE_REFERRAL ||
			      memcmp(extra[i].traddr, a, sizeof(a)) ||
			      memcmp(extra[i].trsvcid, p, sizeof(p))))
		i++;
	if (i == nextra) {
		snprintf(err, errlen, "there is no such referral");
		return -1;
	}
	memmove(extra + i, extra + i + 1, (nextra - i - 1) * sizeof(*extra));
	nextra--;
	discovery_changed();
	return 0;
}

void discovery_clear(void)
{
	free(extra);
	extra = NULL;
	nextra = 0;
}

/* ---- the log ---- */

static void fill_entry(struct nvmf_disc_log_entry *e, const struct conn *c,
		       const struct subsys *s, const struct listener *l)
{
	e->trtype = NVMF_TRTYPE_TCP;
	e->adrfam = l->is_ipv6 ? 2 : 1;
	e->subtype = s->is_discovery ? SUBTYPE_CURRENT : SUBTYPE_NVM;
	e->treq = 1u << 2 | 2;		/* no secure channel; SQ flow control may be off */
	e->portid = htole16(l->portid);
	e->cntlid = 0xffff;
	e->asqsz = htole16(32);
	copy_padded(e->trsvcid, l->port, sizeof(e->trsvcid));
	/* A wildcard address is of no use to a host: give the one it came to. */
	copy_padded(e->traddr, l->is_wildcard ? c->local : l->addr, sizeof(e->traddr));
	snprintf(e->subnqn, sizeof(e->subnqn), "%s", s->nqn);
	if (s->is_discovery)
		e->eflags = htole16(1u << 1);	/* persistent connections are welcome */
}

static bool is_told(const struct conn *c, const struct subsys *s, const struct listener *l,
		    bool is_port_local)
{
	if (s->is_discovery && !*s->alias)	/* everyone knows the well-known name */
		return false;
	if (is_port_local && l != c->port)
		return false;
	return subsys_allows(s, c->ctrl->hostnqn) && !(l->is_wildcard && l->is_ipv6 != c->is_ipv6);
}

uint8_t *log_discovery(const struct conn *c, bool is_port_local, size_t *len)
{
	struct nvmf_discovery_log *log;
	size_t max = nextra, n = 0;

	for (const struct subsys *s = subsystems; s; s = s->next)
		for (const struct listener *l = listeners; l; l = l->next)
			max++;
	log = calloc(1, sizeof(*log) + max * sizeof(log->entries[0]));
	if (!log)
		return NULL;
	for (const struct subsys *s = subsystems; s; s = s->next)
		for (const struct listener *l = listeners; l; l = l->next)
			if (is_told(c, s, l, is_port_local))
				fill_entry(&log->entries[n++], c, s, l);
	if (nextra)
		memcpy(&log->entries[n], extra, nextra * sizeof(*extra));
	n += nextra;
	log->genctr = htole64(discovery_genctr);
	log->numrec = htole64(n);
	*len = sizeof(*log) + n * sizeof(log->entries[0]);
	return (uint8_t *)log;
}
