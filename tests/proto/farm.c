/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "farm.h"

#include <unistd.h>

#include "rig_target.h"

struct rig *farm_target(struct farm *f, struct rig *r, const char *options)
{
	struct rig *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	assert_true(f->count < FARM_MAX);
	t->is_mptcp = r->is_mptcp;
	t->control = -1;
	f->at[f->count++] = t;
	rig_target(t, options, NULL);
	return t;
}

void farm_end(struct farm *f)
{
	for (unsigned i = 0; i < f->count; i++) {
		rig_target_end(f->at[i]);
		rig_target_kill(f->at[i]);
		free(f->at[i]);
	}
	f->count = 0;
}

static char *put(char *p, unsigned bits, unsigned offset, uint64_t value)
{
	return p + sprintf(p, "%sset:data%u[%u]=%llu", p[-1] == '=' ? "" : ",", bits, offset,
			   (unsigned long long)value);
}

/* A field of the log, padded with zeroes as far as a longer text could have been. */
static char *put_text(char *p, unsigned offset, const char *text, unsigned len)
{
	char field[256] = "";

	strncpy(field, text, sizeof(field) - 1);
	for (unsigned i = 0; i < len; i += 8) {
		uint64_t v;

		memcpy(&v, field + i, 8);
		p = put(p, 64, offset + i, v);
	}
	return p;
}

/* A log is read by three commands: header, entries, header; an empty one by two. */
void forge(struct rig *target, const struct forged *entries, unsigned count, uint64_t genctr)
{
	char path[128], port[8];
	char *script = calloc(1, 65536), *p = script;
	FILE *f;

	assert_true(script && count <= 4);
	for (unsigned nth = 1; nth <= 3; nth += 2) {
		p += sprintf(p, "on=c2hdata for=log lid=0x70 nth=%u- every=%u do=", nth,
			     count ? 3 : 1);
		p = put(p, 64, 0, genctr);
		p = put(p, 64, 8, count);
		*p++ = '\n';
		if (!count)
			break;
	}
	if (count)
		p += sprintf(p, "on=c2hdata for=log lid=0x70 nth=2- every=3 do=");
	for (unsigned i = 0; i < count; i++) {
		const struct forged *e = &entries[i];
		unsigned at = i * 1024;

		snprintf(port, sizeof(port), "%u", e->port);
		p = put(p, 8, at, e->trtype ? e->trtype : 3);
		p = put(p, 8, at + 1, e->adrfam ? e->adrfam : 1);
		p = put(p, 8, at + 2, e->subtype);
		p = put(p, 8, at + 3, e->treq);
		p = put(p, 16, at + 4, 1);		/* port id */
		p = put(p, 16, at + 6, 0xffff);		/* controllers are dynamic */
		p = put(p, 16, at + 8, 32);		/* entries of an admin queue */
		p = put(p, 16, at + 10, e->eflags);
		p = put_text(p, at + 32, e->trsvcid ? e->trsvcid : port, 32);
		p = put_text(p, at + 256, e->nqn, 256);
		p = put_text(p, at + 512, e->traddr ? e->traddr : "127.0.0.1", 256);
		p = put(p, 8, at + 768, 0);		/* no TLS */
	}
	/* Too long for a line of the control socket. */
	snprintf(path, sizeof(path), "%s/script", target->dir);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(script, f) >= 0);
	assert_int_equal(fclose(f), 0);
	snprintf(script, 65536, "@%s", path);
	rig_fault(target, script);
	unlink(path);
	free(script);
}
