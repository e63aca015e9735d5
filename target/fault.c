/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parser of fault scripts; target/README.md describes the language. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "fault.h"
#include "target.h"

bool faults_active;
struct fault_rule *fault_rules;

struct err {
	char *text;
	size_t len;
};

static int fail(struct err *e, const char *what, const char *token)
{
	snprintf(e->text, e->len, "fault script: %s: '%.80s'", what, token);
	return -1;
}

static bool number(const char *s, uint64_t *v)
{
	char *end;

	if (!isdigit((unsigned char)*s))
		return false;
	errno = 0;
	*v = strtoull(s, &end, 0);
	if (tolower((unsigned char)*end) == 'k') {
		*v <<= 10;
		end++;
	}
	return !*end && !errno;
}

/* ---- names ---- */

static const struct {
	const char *name;
	enum fault_event ev;
} events[] = {
	{ "accept", FAULT_ACCEPT }, { "icreq", FAULT_ICREQ }, { "cmd", FAULT_CMD },
	{ "h2cdata", FAULT_H2CDATA }, { "icresp", FAULT_ICRESP }, { "resp", FAULT_RESP },
	{ "c2hdata", FAULT_C2HDATA }, { "r2t", FAULT_R2T }, { "c2hterm", FAULT_C2HTERM },
	{ "pdu", FAULT_PDU },
};

/* Commands by name: for=NAME, and on=NAME for on=cmd for=NAME. */
static const struct {
	const char *name;
	uint8_t opc;
	int fctype;			/* -1: no Fabrics command */
	int queue;			/* 0 admin, 1 I/O, -1 either */
} commands[] = {
	{ "propset", 0x7f, 0, -1 }, { "connect", 0x7f, 1, -1 }, { "propget", 0x7f, 4, -1 },
	{ "disconnect", 0x7f, 8, -1 },
	{ "log", 0x02, -1, 0 }, { "identify", 0x06, -1, 0 }, { "abort", 0x08, -1, 0 },
	{ "setfeatures", 0x09, -1, 0 }, { "getfeatures", 0x0a, -1, 0 }, { "aer", 0x0c, -1, 0 },
	{ "keepalive", 0x18, -1, 0 }, { "nsmgmt", 0x0d, -1, 0 }, { "fwcommit", 0x10, -1, 0 },
	{ "fwdownload", 0x11, -1, 0 }, { "selftest", 0x14, -1, 0 }, { "nsattach", 0x15, -1, 0 },
	{ "format", 0x80, -1, 0 }, { "secsend", 0x81, -1, 0 }, { "secrecv", 0x82, -1, 0 },
	{ "sanitize", 0x84, -1, 0 },
	{ "flush", 0x00, -1, 1 }, { "write", 0x01, -1, 1 }, { "read", 0x02, -1, 1 },
	{ "compare", 0x05, -1, 1 }, { "writezeroes", 0x08, -1, 1 }, { "dsm", 0x09, -1, 1 },
	{ "verify", 0x0c, -1, 1 }, { "writeuncor", 0x04, -1, 1 }, { "copy", 0x19, -1, 1 },
	{ "resvreg", 0x0d, -1, 1 }, { "resvreport", 0x0e, -1, 1 }, { "resvacq", 0x11, -1, 1 },
	{ "resvrel", 0x15, -1, 1 }, { "zonesend", 0x79, -1, 1 }, { "zonerecv", 0x7a, -1, 1 },
	{ "append", 0x7d, -1, 1 },
};

#define OFFSET_CID 0xffffffffu		/* depends on the PDU: see fault_run.c */

static const struct {
	const char *name;
	uint32_t offset;
	uint8_t size, shift;
	uint64_t mask;
} fields[] = {
	{ "type", 0, 1, 0, 0 }, { "flags", 1, 1, 0, 0 }, { "hlen", 2, 1, 0, 0 },
	{ "pdo", 3, 1, 0, 0 }, { "plen", 4, 4, 0, 0 },
	{ "cccid", 8, 2, 0, 0 }, { "ttag", 10, 2, 0, 0 }, { "offset", 12, 4, 0, 0 },
	{ "length", 16, 4, 0, 0 },
	{ "dw0", 8, 4, 0, 0 }, { "dw1", 12, 4, 0, 0 }, { "sqhd", 16, 2, 0, 0 },
	{ "sqid", 18, 2, 0, 0 }, { "cid", OFFSET_CID, 2, 0, 0 },
	{ "status", 22, 2, 1, 0x7fff }, { "phase", 22, 2, 0, 1 },
	{ "pfv", 8, 2, 0, 0 }, { "cpda", 10, 1, 0, 0 }, { "dgst", 11, 1, 0, 0 },
	{ "maxh2cdata", 12, 4, 0, 0 },
	{ "fes", 8, 2, 0, 0 }, { "fei", 10, 4, 0, 0 },
};

static const struct {
	const char *name;
	enum fault_verb verb;
	int min, max;			/* numeric arguments; -1: parsed by hand */
	bool is_out_only;
} verbs[] = {
	{ "set", DO_SET, -1, -1, true },	{ "hdgst", DO_HDGST, -1, -1, true },
	{ "ddgst", DO_DDGST, -1, -1, true },	{ "raw", DO_RAW, -1, -1, false },
	{ "send", DO_SEND, 0, 0, true },	{ "drop", DO_DROP, 0, 0, false },
	{ "dup", DO_DUP, 0, 1, true },		{ "delay", DO_DELAY, 1, 1, false },
	{ "silence", DO_SILENCE, 0, 0, false },	{ "stall", DO_STALL, 0, 0, false },
	{ "close", DO_CLOSE, 0, 0, false },	{ "reset", DO_RESET, 0, 0, false },
	{ "kill", DO_KILL, 0, 0, false },	{ "term", DO_TERM, 1, 2, false },
	{ "split", DO_SPLIT, 1, 1, false },	{ "splitat", DO_SPLITAT, 1, 2, false },
	{ "merge", DO_MERGE, 1, 2, false },	{ "swap", DO_SWAP, 0, 0, true },
	{ "short", DO_SHORT, 1, 1, true },	{ "cut", DO_CUT, 1, 1, true },
	{ "pad", DO_PAD, 1, 1, true },
	{ "inject", DO_INJECT, -1, -1, false },	{ "status", DO_STATUS, -1, -1, false },
	{ "at", DO_AT, -1, -1, false },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- actions ---- */

static void free_rule(struct fault_rule *r)
{
	while (r->actions) {
		struct fault_action *a = r->actions;

		r->actions = a->next;
		while (a->sets) {
			struct fault_set *s = a->sets;

			a->sets = s->next;
			free(s);
		}
		free(a->raw);
		free(a);
	}
	free(r);
}

/* byte[N], u16[N]…, data8[N]… */
static bool indexed_field(const char *name, struct fault_set *s)
{
	static const struct {
		const char *name;
		uint8_t size;
		bool is_data;
	} kinds[] = {
		{ "byte", 1, false }, { "u8", 1, false }, { "u16", 2, false },
		{ "u32", 4, false }, { "u64", 8, false }, { "data8", 1, true },
		{ "data16", 2, true }, { "data32", 4, true }, { "data64", 8, true },
	};
	char copy[64], *open, *close;
	uint64_t n;

	if (strlen(name) >= sizeof(copy))
		return false;
	strcpy(copy, name);
	open = strchr(copy, '[');
	close = strchr(copy, ']');
	if (!open || !close || close[1])
		return false;
	*open++ = 0;
	*close = 0;
	if (!number(open, &n) || n > UINT32_MAX)
		return false;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		if (strcmp(copy, kinds[i].name))
			continue;
		s->offset = (uint32_t)n;
		s->size = kinds[i].size;
		s->is_data = kinds[i].is_data;
		return true;
	}
	return false;
}

/* FIELD=VALUE, FIELD+=VALUE, FIELD-=VALUE, FIELD^=VALUE */
static int parse_set(const char *text, struct fault_action *a, struct err *e)
{
	struct fault_set *s = calloc(1, sizeof(*s)), **tail;
	char copy[128], *eq;
	size_t i;

	if (!s)
		return fail(e, "out of memory", text);
	for (tail = &a->sets; *tail; tail = &(*tail)->next)
		;
	*tail = s;			/* freed with the rule from here on */
	if (strlen(text) >= sizeof(copy))
		return fail(e, "too long", text);
	strcpy(copy, text);
	eq = strchr(copy, '=');
	if (!eq || eq == copy || !number(eq + 1, &s->value))
		return fail(e, "not FIELD=NUMBER", text);
	*eq-- = 0;
	s->op = '=';
	if (*eq == '+' || *eq == '-' || *eq == '^') {
		s->op = *eq;
		*eq = 0;
	}
	for (i = 0; i < COUNT(fields) && strcmp(fields[i].name, copy); i++)
		;
	if (i < COUNT(fields)) {
		s->offset = fields[i].offset;
		s->size = fields[i].size;
		s->shift = fields[i].shift;
		s->mask = fields[i].mask;
		return 0;
	}
	if (!indexed_field(copy, s))
		return fail(e, "no such field", copy);
	return 0;
}

static int parse_raw(const char *hex, struct fault_action *a, struct err *e)
{
	size_t n = hex ? strlen(hex) : 0;

	if (!n || n % 2 || strspn(hex, "0123456789abcdefABCDEF") != n)
		return fail(e, "raw wants an even number of hex digits", hex ? hex : "");
	a->raw = malloc(n / 2);
	if (!a->raw)
		return fail(e, "out of memory", "raw");
	a->raw_len = (uint32_t)(n / 2);
	for (size_t i = 0; i < n / 2; i++) {
		char byte[3] = { hex[2 * i], hex[2 * i + 1], 0 };

		a->raw[i] = (uint8_t)strtoul(byte, NULL, 16);
	}
	return 0;
}

/* TYPE[:len=N][:FIELD=VALUE]… */
static int parse_inject(char *text, struct fault_action *a, struct err *e)
{
	static const struct {
		const char *name;
		uint8_t type;
	} types[] = {
		{ "icresp", NOFI_PDU_ICRESP }, { "c2hterm", NOFI_PDU_C2H_TERM },
		{ "resp", NOFI_PDU_CAPSULE_RESP }, { "c2hdata", NOFI_PDU_C2H_DATA },
		{ "r2t", NOFI_PDU_R2T },
	};
	char *save = NULL, *t = text ? strtok_r(text, ":", &save) : NULL;
	size_t i;

	for (i = 0; t && i < COUNT(types) && strcmp(types[i].name, t); i++)
		;
	if (!t || i == COUNT(types))
		return fail(e, "inject wants icresp, resp, c2hdata, r2t or c2hterm", t ? t : "");
	a->arg[0] = types[i].type;
	a->arg[1] = 512;
	while ((t = strtok_r(NULL, ":", &save))) {
		if (!strncmp(t, "len=", 4)) {
			if (!number(t + 4, &a->arg[1]) || a->arg[1] > 1 << 20)
				return fail(e, "len wants a number up to 1M", t);
		} else if (parse_set(t, a, e)) {
			return -1;
		}
	}
	return 0;
}

/* SC, SCT/SC, each with /dnr, /more or /crdN behind */
static int parse_status(char *text, struct fault_action *a, struct err *e)
{
	char *save = NULL, *t = text ? strtok_r(text, "/", &save) : NULL;
	uint64_t v, first = 0;
	unsigned int n = 0;

	for (; t; t = strtok_r(NULL, "/", &save)) {
		if (!strcmp(t, "dnr"))
			a->arg[0] |= 0x4000;
		else if (!strcmp(t, "more"))
			a->arg[0] |= 0x2000;
		else if (!strncmp(t, "crd", 3) && t[3] >= '0' && t[3] <= '3' && !t[4])
			a->arg[0] |= (uint64_t)(t[3] - '0') << 11;
		else if (number(t, &v) && n++ < 2)
			first = n == 1 ? v : first << 8 | (v & 0xff);
		else
			return fail(e, "no status: SC or SCT/SC, with /dnr /more /crdN", t);
	}
	if (!n || first > 0x7fff)
		return fail(e, "no status", text ? text : "");
	a->arg[0] |= first;
	return 0;
}

/* K:close, K:reset, K:kill, K:silence, K:stall */
static int parse_at(char *text, struct fault_action *a, struct err *e)
{
	char *how = text ? strchr(text, ':') : NULL;

	if (how)
		*how++ = 0;
	if (!how || !number(text, &a->arg[0]) || !a->arg[0])
		return fail(e, "at wants BYTES:ACTION", text ? text : "");
	for (size_t i = 0; i < COUNT(verbs); i++) {
		enum fault_verb v = verbs[i].verb;

		if (strcmp(verbs[i].name, how))
			continue;
		if (v != DO_CLOSE && v != DO_RESET && v != DO_KILL && v != DO_SILENCE &&
		    v != DO_STALL)
			break;
		a->arg[1] = v;
		return 0;
	}
	return fail(e, "at can close, reset, kill, silence or stall", how);
}

static int parse_numbers(char *text, int min, int max, struct fault_action *a, struct err *e)
{
	char *save = NULL, *t = text ? strtok_r(text, ":", &save) : NULL;
	int n = 0;

	for (; t; t = strtok_r(NULL, ":", &save)) {
		if (n == max || !number(t, &a->arg[n++]))
			return fail(e, "unexpected argument", t);
	}
	if (n < min)
		return fail(e, "an argument is missing", text ? text : "");
	return 0;
}

static int parse_action(char *text, struct fault_rule *r, struct err *e)
{
	struct fault_action *a = calloc(1, sizeof(*a)), **tail;
	char *arg;
	size_t i;

	if (!a)
		return fail(e, "out of memory", text);
	for (tail = &r->actions; *tail; tail = &(*tail)->next)
		;
	*tail = a;
	arg = strchr(text, ':');
	if (arg)
		*arg++ = 0;
	for (i = 0; i < COUNT(verbs) && strcmp(verbs[i].name, text); i++)
		;
	if (i == COUNT(verbs))
		return fail(e, "no such action", text);
	if (verbs[i].is_out_only && r->event < FAULT_ICRESP)
		return fail(e, "this action needs an outgoing PDU", text);
	a->verb = verbs[i].verb;
	switch (a->verb) {
	case DO_SET:
		return parse_set(arg ? arg : "", a, e);
	case DO_RAW:
		return parse_raw(arg, a, e);
	case DO_INJECT:
		return parse_inject(arg, a, e);
	case DO_STATUS:
		if (r->event != FAULT_CMD && r->event != FAULT_RESP)
			return fail(e, "status needs on=cmd or on=resp", text);
		return parse_status(arg, a, e);
	case DO_AT:
		return parse_at(arg, a, e);
	case DO_HDGST:
	case DO_DDGST:
		if (!arg || (strcmp(arg, "bad") && strcmp(arg, "keep")))
			return fail(e, "a digest is 'bad' or 'keep'", arg ? arg : "");
		a->arg[0] = arg[0] == 'b' ? 'b' : 'k';
		return 0;
	default:
		return parse_numbers(arg, verbs[i].min, verbs[i].max, a, e);
	}
}

/* ---- rules ---- */

static int for_command(struct fault_rule *r, const char *name, struct err *e)
{
	for (size_t i = 0; i < COUNT(commands); i++) {
		if (strcmp(commands[i].name, name))
			continue;
		r->opc = commands[i].opc;
		r->fctype = commands[i].fctype;
		if (commands[i].queue == 0)
			r->qid = 0;
		if (commands[i].queue == 1)
			r->is_io_only = true;
		return 0;
	}
	return fail(e, "no such event or command", name);
}

static int parse_event(struct fault_rule *r, const char *name, struct err *e)
{
	for (size_t i = 0; i < COUNT(events); i++) {
		if (strcmp(events[i].name, name))
			continue;
		r->event = events[i].ev;
		return 0;
	}
	r->event = FAULT_CMD;
	return for_command(r, name, e);
}

/* N, N- or N-M */
static int parse_nth(struct fault_rule *r, const char *v, struct err *e)
{
	char copy[64], *dash;

	if (strlen(v) >= sizeof(copy))
		return fail(e, "too long", v);
	strcpy(copy, v);
	dash = strchr(copy, '-');
	if (dash)
		*dash++ = 0;
	if (!number(copy, &r->nth) || !r->nth)
		return fail(e, "nth counts from 1", v);
	r->last = r->nth;
	if (dash && !*dash)
		r->last = UINT64_MAX;
	else if (dash && !number(dash, &r->last))
		return fail(e, "nth is N, N- or N-M", v);
	return 0;
}

static int parse_condition(struct fault_rule *r, const char *token, struct err *e)
{
	const struct {
		const char *name;
		int64_t *slot;
	} conds[] = {
		{ "qid", &r->qid }, { "opc", &r->opc }, { "fctype", &r->fctype },
		{ "cid", &r->cid }, { "nsid", &r->nsid }, { "cns", &r->cns },
		{ "fid", &r->fid }, { "lid", &r->lid }, { "prop", &r->prop },
		{ "bit12", &r->bit12 },
		{ "status", &r->status }, { "conn", &r->conn },
	};
	char name[32];
	const char *v = strchr(token, '=');
	uint64_t n;

	if (!v || v - token >= (ptrdiff_t)sizeof(name))
		return fail(e, "not NAME=VALUE", token);
	memcpy(name, token, (size_t)(v - token));
	name[v - token] = 0;
	v++;
	if (!strcmp(name, "nth"))
		return parse_nth(r, v, e);
	if (!strcmp(name, "every"))
		return number(v, &r->every) && r->every ? 0 : fail(e, "every=N", token);
	if (!strcmp(name, "for"))
		return for_command(r, v, e);
	if (!strcmp(token, "qid=io")) {
		r->is_io_only = true;
		return 0;
	}
	for (size_t i = 0; i < COUNT(conds); i++) {
		if (strcmp(conds[i].name, name))
			continue;
		if (!number(v, &n) || n > UINT32_MAX)
			return fail(e, "not a number", token);
		*conds[i].slot = (int64_t)n;
		return 0;
	}
	return fail(e, "no such condition", token);
}

static struct fault_rule *parse_rule(char *text, struct err *e)
{
	struct fault_rule *r = calloc(1, sizeof(*r));
	char *save = NULL, *save2;
	bool has_event = false;

	if (!r) {
		fail(e, "out of memory", "");
		return NULL;
	}
	r->qid = r->opc = r->fctype = r->cid = r->nsid = r->cns = r->fid = r->lid = r->prop = -1;
	r->bit12 = r->status = r->conn = -1;
	r->nth = 1;
	r->last = UINT64_MAX;
	r->every = 1;
	for (char *t = strtok_r(text, " \t\r", &save); t; t = strtok_r(NULL, " \t\r", &save)) {
		int rc = 0;

		if (!strncmp(t, "on=", 3) && !has_event) {
			has_event = true;
			rc = parse_event(r, t + 3, e);
		} else if (!has_event) {
			rc = fail(e, "a rule starts with on=EVENT", t);
		} else if (!strncmp(t, "do=", 3)) {
			save2 = NULL;
			for (char *a = strtok_r(t + 3, ",", &save2); a && !rc;
			     a = strtok_r(NULL, ",", &save2))
				rc = parse_action(a, r, e);
		} else {
			rc = parse_condition(r, t, e);
		}
		if (rc) {
			free_rule(r);
			return NULL;
		}
	}
	if (!r->actions) {
		fail(e, "a rule ends with do=ACTION", "");
		free_rule(r);
		return NULL;
	}
	return r;
}

static char *read_script(const char *script, struct err *e)
{
	enum { MAX = 1 << 20 };
	char *text;
	FILE *f;
	size_t n;

	if (script[0] != '@')
		return strdup(script);
	f = fopen(script + 1, "r");
	if (!f) {
		snprintf(e->text, e->len, "cannot open %s: %s", script + 1, strerror(errno));
		return NULL;
	}
	text = malloc(MAX);
	n = text ? fread(text, 1, MAX - 1, f) : 0;
	fclose(f);
	if (text)
		text[n] = 0;
	return text;
}

static void strip_comments(char *s)
{
	bool in_comment = false;

	for (; *s; s++) {
		if (*s == '#')
			in_comment = true;
		if (*s == '\n')
			in_comment = false;
		if (in_comment)
			*s = ' ';
	}
}

int fault_add(const char *script, char *errtext, size_t errlen)
{
	struct err e = { errtext, errlen };
	struct fault_rule *first = NULL, **tail = &first;
	char *save = NULL, *text;

	snprintf(errtext, errlen, "out of memory");
	text = read_script(script, &e);
	if (!text)
		return -1;
	strip_comments(text);
	for (char *t = strtok_r(text, ";\n", &save); t; t = strtok_r(NULL, ";\n", &save)) {
		if (t[strspn(t, " \t\r")] == 0)
			continue;
		*tail = parse_rule(t, &e);
		if (!*tail) {
			while (first) {
				struct fault_rule *r = first;

				first = r->next;
				free_rule(r);
			}
			free(text);
			return -1;
		}
		tail = &(*tail)->next;
	}
	free(text);
	for (tail = &fault_rules; *tail; tail = &(*tail)->next)
		;
	*tail = first;
	if (first)
		faults_active = true;
	return 0;
}

/* faults_active stays: connections may still be split, held or silenced. */
void fault_clear(void)
{
	while (fault_rules) {
		struct fault_rule *r = fault_rules;

		fault_rules = r->next;
		free_rule(r);
	}
}
