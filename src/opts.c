/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * struct nof_opts: defaults, the table of keys, checks.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/addrmap.h"
#include "ctrl/ident.h"
#include "ctrl/placement.h"
#include "mptcp/pm.h"
#include "opts.h"

enum kind { K_TEXT, K_SECONDS, K_FINE, K_UINT, K_INT, K_SIZE, K_BOOL, K_ENUM };

struct choice {
	const char *name;
	int value;
};

struct key {
	const char *name;
	enum kind kind;
	size_t offset;
	size_t size;
	/* The number; K_SECONDS: ms; K_FINE: µs; K_SIZE: bytes. zero_ok: 0 is allowed below min. */
	uint32_t min, max;
	bool zero_ok;
	bool is_local;			/* names a local file, or changes this system */
	/* K_ENUM: all values; numbers: words besides them. Ended by a NULL name. */
	const struct choice *choices;
};

static const struct choice digest_choices[] = {
	{ "off", NOF_OFF }, { "on", NOF_ON }, { "prefer", NOF_PREFER }, { NULL, 0 }
};
static const struct choice mptcp_choices[] = {
	{ "prefer", NOF_MPTCP_PREFER }, { "require", NOF_MPTCP_REQUIRE }, { "off", NOF_MPTCP_OFF },
	{ NULL, 0 }
};
static const struct choice engine_choices[] = {
	{ "auto", NOF_ENGINE_AUTO }, { "io_uring", NOF_ENGINE_IO_URING },
	{ "epoll", NOF_ENGINE_EPOLL }, { NULL, 0 }
};
static const struct choice iopolicy_choices[] = {
	{ "numa", NOF_IOPOLICY_NUMA }, { "round-robin", NOF_IOPOLICY_ROUND_ROBIN },
	{ "queue-depth", NOF_IOPOLICY_QUEUE_DEPTH },
	{ "service-time", NOF_IOPOLICY_SERVICE_TIME }, { NULL, 0 }
};
/* The first name of a value is the one that URIs are written with. */
static const struct choice forever_words[] = { { "-1", -1 }, { NULL, 0 } };
static const struct choice off_words[] = { { "off", -1 }, { "-1", -1 }, { NULL, 0 } };
static const struct choice hedge_words[] = {
	{ "off", -1 }, { "-1", -1 }, { "auto", 0 }, { NULL, 0 }
};
static const struct choice hold_words[] = {
	{ "auto", -1 }, { "-1", -1 }, { "off", 0 }, { NULL, 0 }
};

#define FIELD(f) offsetof(struct nof_opts, f), sizeof(((struct nof_opts *)0)->f)
#define DAY_MS 86400000u

static const struct key keys[] = {
	{ "hostnqn", K_TEXT, FIELD(hostnqn) },
	{ "hostid", K_TEXT, FIELD(hostid) },
	{ "host_traddr", K_TEXT, FIELD(host_traddr) },
	{ "host_iface", K_TEXT, FIELD(host_iface) },
	{ "nr_io_queues", K_UINT, FIELD(nr_io_queues), 1, NOFI_IO_QUEUES_LIMIT, true },
	{ "queue_size", K_UINT, FIELD(queue_size), 2, 1024 },
	{ "keep_alive_tmo", K_SECONDS, FIELD(keep_alive_tmo_ms), 100, DAY_MS, true },
	{ "connect_timeout", K_SECONDS, FIELD(connect_timeout_ms), 1, DAY_MS },
	{ "admin_timeout", K_SECONDS, FIELD(admin_timeout_ms), 1, DAY_MS },
	{ "io_timeout", K_SECONDS, FIELD(io_timeout_ms), 1, DAY_MS },
	{ "reconnect_delay", K_SECONDS, FIELD(reconnect_delay_ms), 10, DAY_MS },
	{ "ctrl_loss_tmo", K_SECONDS, FIELD(ctrl_loss_tmo_ms), 1, 20 * DAY_MS, true,
	  .choices = forever_words },
	{ "max_reconnects", K_INT, FIELD(max_reconnects), 0, 1000000, .choices = forever_words },
	{ "fast_io_fail_tmo", K_SECONDS, FIELD(fast_io_fail_tmo_ms), 1, 20 * DAY_MS, true,
	  .choices = off_words },
	{ "max_retries", K_UINT, FIELD(max_retries), 0, 255 },
	{ "write_hold", K_SECONDS, FIELD(write_hold_ms), 1, DAY_MS, true, .choices = hold_words },
	{ "iopolicy", K_ENUM, FIELD(iopolicy), .choices = iopolicy_choices },
	{ "duplicate_connect", K_BOOL, FIELD(duplicate_connect) },
	{ "hdr_digest", K_ENUM, FIELD(hdr_digest), .choices = digest_choices },
	{ "data_digest", K_ENUM, FIELD(data_digest), .choices = digest_choices },
	{ "disable_sqflow", K_BOOL, FIELD(disable_sqflow) },
	{ "tos", K_INT, FIELD(tos), 0, 255 },
	{ "congestion", K_TEXT, FIELD(congestion) },
	{ "priority", K_INT, FIELD(so_priority), 0, INT32_MAX },
	{ "mark", K_UINT, FIELD(so_mark), 0, UINT32_MAX, .is_local = true },
	{ "sndbuf", K_SIZE, FIELD(sndbuf), 4096, 1u << 30, true },
	{ "rcvbuf", K_SIZE, FIELD(rcvbuf), 4096, 1u << 30, true },
	{ "tcp_keepalive", K_SECONDS, FIELD(tcp_keepalive_ms), 1000, 32767000, true },
	{ "rto_min", K_FINE, FIELD(rto_min_us), 2000, 200000, true },
	{ "mptcp", K_ENUM, FIELD(mptcp), .choices = mptcp_choices },
	{ "engine", K_ENUM, FIELD(engine), .choices = engine_choices },
	{ "in_capsule", K_BOOL, FIELD(in_capsule) },
	{ "max_r2t", K_UINT, FIELD(max_r2t), 1, 4 },
	{ "pcap", K_TEXT, FIELD(pcap), .is_local = true },
	{ "addr_map", K_TEXT, FIELD(addr_map) },
	{ "queue_paths", K_TEXT, FIELD(queue_paths) },
	{ "mptcp_paths", K_TEXT, FIELD(mptcp_paths), .is_local = true },
	{ "hedge", K_FINE, FIELD(hedge_us), 50, 60000000, true, .choices = hedge_words },
};
enum { NKEYS = sizeof(keys) / sizeof(keys[0]) };

static const struct key *find_key(const char *name)
{
	for (size_t i = 0; i < NKEYS; i++)
		if (!strcmp(keys[i].name, name))
			return &keys[i];
	return NULL;
}

const char *const *nof_opts_keys(void)
{
	/* In the order of the table; a test compares both. */
	static const char *const names[NKEYS + 1] = { "hostnqn",
						      "hostid",
						      "host_traddr",
						      "host_iface",
						      "nr_io_queues",
						      "queue_size",
						      "keep_alive_tmo",
						      "connect_timeout",
						      "admin_timeout",
						      "io_timeout",
						      "reconnect_delay",
						      "ctrl_loss_tmo",
						      "max_reconnects",
						      "fast_io_fail_tmo",
						      "max_retries",
						      "write_hold",
						      "iopolicy",
						      "duplicate_connect",
						      "hdr_digest",
						      "data_digest",
						      "disable_sqflow",
						      "tos",
						      "congestion",
						      "priority",
						      "mark",
						      "sndbuf",
						      "rcvbuf",
						      "tcp_keepalive",
						      "rto_min",
						      "mptcp",
						      "engine",
						      "in_capsule",
						      "max_r2t",
						      "pcap",
						      "addr_map",
						      "queue_paths",
						      "mptcp_paths",
						      "hedge",
						      NULL };

	return names;
}

bool nofi_opts_is_local_key(const char *name)
{
	const struct key *k = find_key(name);

	return k && k->is_local;
}

static const struct nof_opts defaults = {
	.size = sizeof(struct nof_opts),
	.queue_size = 128,
	.keep_alive_tmo_ms = 5000,
	.connect_timeout_ms = 10000,
	.admin_timeout_ms = 60000,
	.io_timeout_ms = 30000,
	.in_capsule = true,
	.max_r2t = 4,
	.tos = -1,
	.so_priority = -1,
	.reconnect_delay_ms = 10000,
	.ctrl_loss_tmo_ms = 600000,
	.max_reconnects = -1,
	.fast_io_fail_tmo_ms = -1,
	.max_retries = 5,
	.write_hold_ms = -1,
	.iopolicy = NOF_IOPOLICY_NUMA,
	.hedge_us = -1,
};

void nof_opts_init_sized(struct nof_opts *opts, size_t size)
{
	if (!opts || size < sizeof(opts->size))
		return;
	memset(opts, 0, size);
	memcpy(opts, &defaults, size < sizeof(defaults) ? size : sizeof(defaults));
	opts->size = size;
}

/* ---- values ---- */

/* Decimal digits only, at most max (which fits 32 bits). */
static bool parse_uint(const char *s, uint32_t max, uint32_t *out)
{
	uint64_t v = 0;

	if (!*s)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return false;
		v = v * 10 + (uint64_t)(*s - '0');
		if (v > max)
			return false;
	}
	*out = (uint32_t)v;
	return true;
}

/* "65536", "64k", "4m" */
static bool parse_size(const char *s, uint32_t max, uint32_t *out)
{
	size_t n = strspn(s, "0123456789");
	uint32_t shift = !s[n] ? 0 : s[n] == 'k' || s[n] == 'K' ? 10 :
			 s[n] == 'm' || s[n] == 'M' ? 20 : 32;
	char digits[16];

	if (n >= sizeof(digits) || shift == 32 || (s[n] && s[n + 1]))
		return false;
	memcpy(digits, s, n);
	digits[n] = '\0';
	if (!parse_uint(digits, max >> shift, out))
		return false;
	*out <<= shift;
	return true;
}

/*
 * "30", "0.5", "2.25" into milliseconds (second: 1000) or µs; not strtod(), whose point
 * depends on the locale.
 */
static bool parse_seconds(const char *s, uint32_t second, uint32_t max, uint32_t *out)
{
	uint64_t v = 0;
	uint32_t unit = second / 10;
	bool has_digit = false;

	for (; *s >= '0' && *s <= '9'; s++) {
		v = v * 10 + (uint64_t)(*s - '0') * second;
		has_digit = true;
		if (v > max)
			return false;
	}
	if (*s == '.')
		for (s++; *s >= '0' && *s <= '9'; s++) {
			v += (uint64_t)(*s - '0') * unit;
			unit /= 10;
			has_digit = true;
		}
	if (*s || !has_digit || v > max)
		return false;
	*out = (uint32_t)v;
	return true;
}

/* "a, b or c"; for numbers, which may have words besides: " or a, b or c". */
static const char *choices_text(const struct key *k, char *buf, size_t len)
{
	bool is_enum = k->kind == K_ENUM;
	size_t n = 0;

	buf[0] = '\0';
	for (const struct choice *c = k->choices; c && c->name && n < len; c++)
		n += (size_t)snprintf(buf + n, len - n, "%s%s",
				      c == k->choices ? (is_enum ? "" : ", or ") :
				      c[1].name ? ", " : " or ", c->name);
	return buf;
}

static int bad_value(const struct key *k, const char *value, struct nofi_err *err)
{
	char words[80];

	choices_text(k, words, sizeof(words));
	switch (k->kind) {
	case K_SECONDS:
		return nofi_err_set(err, -EINVAL, "%s=%.64s: wants seconds from %s%u.%03u to %u, "
				    "like 30 or 0.5%s", k->name, value, k->zero_ok ? "0, or " : "",
				    k->min / 1000, k->min % 1000, k->max / 1000, words);
	case K_FINE:
		return nofi_err_set(err, -EINVAL, "%s=%.64s: wants seconds from %u.%06u to "
				    "%u, like 0.002%s", k->name, value, k->min / 1000000,
				    k->min % 1000000, k->max / 1000000, words);
	case K_BOOL:
		return nofi_err_set(err, -EINVAL, "%s=%.64s: wants on or off", k->name, value);
	case K_ENUM:
		return nofi_err_set(err, -EINVAL, "%s=%.64s: wants %s", k->name, value, words);
	case K_TEXT:
		return nofi_err_set(err, -EINVAL,
				    "%s: the value has %zu characters, at most %zu fit", k->name,
				    strlen(value), k->size - 1);
	case K_SIZE:
		return nofi_err_set(err, -EINVAL, "%s=%.64s: wants bytes from %u to %u, or like "
				    "64k or 4m%s", k->name, value, k->min, k->max,
				    k->zero_ok ? ", or 0 for the default" : "");
	case K_UINT:
	case K_INT:
		break;
	}
	return nofi_err_set(err, -EINVAL, "%s=%.64s: wants a number from %u to %u%s%s", k->name,
			    value, k->min, k->max, k->zero_ok ? ", or 0 for the default" : "",
			    words);
}

static bool find_choice(const struct key *k, const char *value, int *out)
{
	for (const struct choice *c = k->choices; c && c->name; c++)
		if (!strcmp(c->name, value)) {
			*out = c->value;
			return true;
		}
	return false;
}

/* How many letters must be added, dropped or changed to get from a to b. */
static size_t distance(const char *a, const char *b)
{
	size_t row[64], n = strlen(b);

	for (size_t i = 0; i <= n; i++)
		row[i] = i;
	for (; *a; a++) {
		size_t corner = row[0]++;

		for (size_t i = 1; i <= n; i++) {
			size_t change = corner + (*a != b[i - 1]);

			corner = row[i];
			row[i] = (row[i] < row[i - 1] ? row[i] : row[i - 1]) + 1;
			if (change < row[i])
				row[i] = change;
		}
	}
	return row[n];
}

static const char *nearest_key(const char *name)
{
	size_t best = SIZE_MAX;
	const char *found = "";

	/* What begins the same is meant rather than what is as long. */
	for (size_t i = 0; i < NKEYS; i++) {
		size_t d = 2 * distance(name, keys[i].name);

		if (*name && !strncmp(name, keys[i].name, strlen(name)))
			d = 1;
		if (d < best) {
			best = d;
			found = keys[i].name;
		}
	}
	return found;
}

static int check_queue_paths(const char *value, struct nofi_err *err)
{
	struct nofi_placement p;

	return nofi_placement_parse(value, "4420", &p, err);
}

static int check_mptcp_paths(const char *value, struct nofi_err *err)
{
	struct nofi_pm_list list;

	return nofi_pm_parse(value, &list, err);
}

int nofi_opts_set(struct nof_opts *opts, const char *name, const char *value,
		  struct nofi_err *err)
{
	const struct key *k = find_key(name);
	char *field;
	uint32_t v = 0;
	int word = 0;

	if (!k)
		return nofi_err_set(err, -EINVAL, "unknown key \"%.32s\"; the nearest one is %s, "
				    "nof.h and libnof(3) have them all", name, nearest_key(name));
	if (k->offset + k->size > opts->size)
		return nofi_err_set(err, -EINVAL,
				    "%s: the program's struct nof_opts is too old for "
				    "this key, or nof_opts_init() was not called",
				    name);
	field = (char *)opts + k->offset;
	if (find_choice(k, value, &word)) {
		memcpy(field, &word, sizeof(word));
		return 0;
	}
	switch (k->kind) {
	case K_TEXT:
		if (strlen(value) >= k->size)
			return bad_value(k, value, err);
		if (!strcmp(k->name, "addr_map") && nofi_addrmap_check(value, err) < 0)
			return err->code;
		if (!strcmp(k->name, "queue_paths") && check_queue_paths(value, err) < 0)
			return err->code;
		if (!strcmp(k->name, "mptcp_paths") && check_mptcp_paths(value, err) < 0)
			return err->code;
		memset(field, 0, k->size);
		memcpy(field, value, strlen(value));
		return 0;
	case K_SECONDS:
	case K_FINE:
		if (!parse_seconds(value, k->kind == K_FINE ? 1000000 : 1000, k->max, &v) ||
		    (v < k->min && !(k->zero_ok && !v)))
			return bad_value(k, value, err);
		break;
	case K_UINT:
	case K_INT:
		if (!parse_uint(value, k->max, &v) || (v < k->min && !(k->zero_ok && !v)))
			return bad_value(k, value, err);
		break;
	case K_SIZE:
		if (!parse_size(value, k->max, &v) || (v < k->min && !(k->zero_ok && !v)))
			return bad_value(k, value, err);
		break;
	case K_BOOL:
		if (strcmp(value, "on") && strcmp(value, "off"))
			return bad_value(k, value, err);
		*(bool *)field = !strcmp(value, "on");
		return 0;
	case K_ENUM:
		return bad_value(k, value, err);
	}
	memcpy(field, &v, sizeof(v));
	return 0;
}

_Static_assert(sizeof(enum nof_switch) == sizeof(int), "enums are set as int");

int nof_opts_set(struct nof_opts *opts, const char *key, const char *value)
{
	struct nofi_err err;
	int r;

	if (!opts || !key || !value)
		return nofi_fail(-EINVAL, "nof_opts_set: opts, key and value must not be NULL");
	r = nofi_opts_set(opts, key, value, &err);
	return r < 0 ? nofi_fail(r, "nof_opts_set: %s", err.text) : 0;
}

bool nofi_opts_get(const struct nof_opts *opts, const char *name, char *buf, size_t len)
{
	const struct key *k = find_key(name);
	const char *field = (const char *)opts + (k ? k->offset : 0);
	uint32_t v;

	if (!k || k->offset + k->size > opts->size)
		return false;
	if (k->kind == K_TEXT) {
		snprintf(buf, len, "%.*s", (int)k->size, field);
		return buf[0];
	}
	if (!memcmp(field, (const char *)&defaults + k->offset, k->size))
		return false;
	if (k->kind == K_BOOL) {
		snprintf(buf, len, "%s", *(const bool *)field ? "on" : "off");
		return true;
	}
	memcpy(&v, field, sizeof(v));
	for (const struct choice *c = k->choices; c && c->name; c++)
		if ((uint32_t)c->value == v) {
			snprintf(buf, len, "%s", c->name);
			return true;
		}
	if (k->kind == K_SECONDS) {
		if (v % 1000)
			snprintf(buf, len, "%u.%03u", v / 1000, v % 1000);
		else
			snprintf(buf, len, "%u", v / 1000);
	} else if (k->kind == K_FINE) {
		snprintf(buf, len, "%u.%06u", v / 1000000, v % 1000000);
	} else {
		snprintf(buf, len, "%u", v);
	}
	return true;
}

/* ---- checks ---- */

static bool is_choice(const struct key *k, uint32_t v)
{
	for (const struct choice *c = k->choices; c && c->name; c++)
		if ((uint32_t)c->value == v)
			return true;
	return false;
}

static int check_numbers(const struct nof_opts *o, struct nofi_err *err)
{
	for (size_t i = 0; i < NKEYS; i++) {
		const struct key *k = &keys[i];
		const char *field = (const char *)o + k->offset;
		uint32_t v;
		bool ok = true;

		if (k->kind == K_TEXT || k->kind == K_BOOL)
			continue;
		memcpy(&v, field, sizeof(v));
		if (is_choice(k, v))
			continue;
		if (k->kind == K_ENUM)
			ok = false;
		else if (k->kind == K_INT)
			ok = (int32_t)v == -1 || (v >= k->min && v <= k->max);
		else
			ok = (v >= k->min && v <= k->max) || (k->zero_ok && !v);
		if (!ok) {
			char text[16];

			snprintf(text, sizeof(text), "%d", (int)v);
			if (k->kind == K_SECONDS)
				snprintf(text, sizeof(text), "%u.%03u", v / 1000, v % 1000);
			if (k->kind == K_FINE)
				snprintf(text, sizeof(text), "%u.%06u", v / 1000000, v % 1000000);
			return bad_value(k, text, err);
		}
	}
	return 0;
}

static int check_texts(const struct nof_opts *o, struct nofi_err *err)
{
	const struct { const char *name, *text; size_t size; } texts[] = {
		{ "traddr", o->traddr, sizeof(o->traddr) },
		{ "trsvcid", o->trsvcid, sizeof(o->trsvcid) },
		{ "subnqn", o->subnqn, sizeof(o->subnqn) },
		{ "ns", o->ns, sizeof(o->ns) },
		{ "hostnqn", o->hostnqn, sizeof(o->hostnqn) },
		{ "hostid", o->hostid, sizeof(o->hostid) },
		{ "host_traddr", o->host_traddr, sizeof(o->host_traddr) },
		{ "host_iface", o->host_iface, sizeof(o->host_iface) },
		{ "pcap", o->pcap, sizeof(o->pcap) },
		{ "addr_map", o->addr_map, sizeof(o->addr_map) },
		{ "congestion", o->congestion, sizeof(o->congestion) },
		{ "queue_paths", o->queue_paths, sizeof(o->queue_paths) },
		{ "mptcp_paths", o->mptcp_paths, sizeof(o->mptcp_paths) },
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (!memchr(texts[i].text, 0, texts[i].size))
			return nofi_err_set(err, -EINVAL, "%s has no end: it is longer than %zu "
					    "characters", texts[i].name, texts[i].size - 1);
		for (const char *p = texts[i].text; *p; p++)
			if ((unsigned char)*p < 0x20 || *p == 0x7f)
				return nofi_err_set(err, -EINVAL,
						    "%s contains the control character "
						    "%#x",
						    texts[i].name, (unsigned char)*p);
	}
	return 0;
}

int nofi_opts_resolve(const struct nof_opts *in, struct nof_opts *o, struct nofi_err *err)
{
	struct nofi_ns_name name;
	bool is_discovery;
	uint32_t port;
	int r;

	if (in->size < offsetof(struct nof_opts, pcap))
		return nofi_err_set(err, -EINVAL, "opts->size is %zu; call nof_opts_init() first",
				    in->size);
	*o = defaults;
	memcpy(o, in, in->size < sizeof(*o) ? in->size : sizeof(*o));
	o->size = sizeof(*o);
	r = check_texts(o, err);
	if (r == 0)
		r = check_numbers(o, err);
	if (r == 0)
		r = nofi_ns_name_parse(o->ns, &name, err);
	if (r == 0)
		r = nofi_addrmap_check(o->addr_map, err);
	if (r == 0)
		r = check_queue_paths(o->queue_paths, err);
	if (r == 0)
		r = check_mptcp_paths(o->mptcp_paths, err);
	if (r < 0)
		return r;
	if (!o->traddr[0])
		return nofi_err_set(err, -EINVAL, "traddr is empty: which host?");
	if (!o->subnqn[0])
		strcpy(o->subnqn, NOF_DISCOVERY_NQN);
	is_discovery = !strcmp(o->subnqn, NOF_DISCOVERY_NQN);
	if (!o->trsvcid[0])
		strcpy(o->trsvcid, is_discovery ? "8009" : "4420");
	if (!parse_uint(o->trsvcid, 65535, &port) || !port)
		return nofi_err_set(err, -EINVAL, "port \"%s\" is not a number from 1 to 65535",
				    o->trsvcid);
	if (!o->nr_io_queues) {
		long n = sysconf(_SC_NPROCESSORS_ONLN);

		o->nr_io_queues = n < 1 ? 1 : n > NOFI_IO_QUEUES_LIMIT ? NOFI_IO_QUEUES_LIMIT :
				  (uint32_t)n;
	}
	return nofi_hostid_resolve(o, err);
}
