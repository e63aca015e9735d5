/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * URIs: nvme+tcp://HOST[:PORT]/SUBNQN[/NS][?KEY=VALUE&…]
 *
 * Parsing works on a copy of the options, so that a fault leaves the caller's
 * as they were; every fault names its character.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/ident.h"
#include "opts.h"

struct parser {
	const char *uri;
	const char *allow;		/* comma separated keys */
	bool has_allow;			/* allow is to be obeyed (NULL then: all but files) */
	bool has_keep_alive;		/* keep_alive_tmo was given */
	struct nof_opts o;
	struct nofi_err *err;
};

__attribute__((format(printf, 4, 5)))
static int fault(struct parser *p, int code, const char *at, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return nofi_err_set(p->err, code, "URI, character %zu (\"%.24s\"): %s",
			    (size_t)(at - p->uri) + 1, at, text);
}

static int hex_value(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
	       c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Undoes %XX of [s, end) into out. what: the part, for the sentence. */
static int decode(struct parser *p, const char *s, const char *end, char *out, size_t size,
		  const char *what)
{
	const char *start = s;
	size_t n = 0;

	while (s < end) {
		unsigned char c = (unsigned char)*s;

		if (c == '%') {
			int hi = s + 1 < end ? hex_value(s[1]) : -1;
			int lo = hi >= 0 && s + 2 < end ? hex_value(s[2]) : -1;

			if (lo < 0)
				return fault(p, -EINVAL, s,
					     "%% has to be followed by two hex digits; "
					     "%% itself is written %%25");
			c = (unsigned char)(hi << 4 | lo);
		}
		if (c < 0x20 || c == 0x7f)
			return fault(p, -EINVAL, s, "the %s contains a control character", what);
		if (n + 1 >= size)
			return fault(p, -EINVAL, start, "the %s is longer than %zu characters",
				     what, size - 1);
		out[n++] = (char)c;
		s += *s == '%' ? 3 : 1;
	}
	memset(out + n, 0, size - n);
	return 0;
}

static int parse_port(struct parser *p, const char *s, const char *end)
{
	uint32_t v = 0;

	if (s == end)
		return fault(p, -EINVAL, s - 1, "a port has to follow the colon");
	for (const char *c = s; c < end; c++) {
		if (*c < '0' || *c > '9' || v > 65535)
			return fault(p, -EINVAL, s, "the port is not a number from 1 to 65535");
		v = v * 10 + (uint32_t)(*c - '0');
	}
	if (!v || v > 65535)
		return fault(p, -EINVAL, s, "the port is not a number from 1 to 65535");
	snprintf(p->o.trsvcid, sizeof(p->o.trsvcid), "%u", v);
	return 0;
}

static int parse_authority(struct parser *p, const char *s, const char *end)
{
	const char *host_end, *rest, *bad;
	int r;

	if (s == end)
		return fault(p, -EINVAL, s, "a host name or address is missing");
	bad = memchr(s, '@', (size_t)(end - s));
	if (bad)
		return fault(p, -EINVAL, bad, "user names are not possible");
	memset(p->o.trsvcid, 0, sizeof(p->o.trsvcid));
	if (*s == '[') {
		host_end = memchr(s, ']', (size_t)(end - s));
		if (!host_end)
			return fault(p, -EINVAL, s,
				     "the bracket of the IPv6 address is not closed");
		rest = host_end + 1;
		if (rest < end && *rest != ':')
			return fault(p, -EINVAL, rest,
				     "only a colon and a port can follow the address");
		s++;
	} else {
		host_end = memchr(s, ':', (size_t)(end - s));
		if (!host_end)
			host_end = end;
		rest = host_end;
		if (rest < end && memchr(rest + 1, ':', (size_t)(end - rest - 1)))
			return fault(p, -EINVAL, s, "an IPv6 address has to be in brackets: [%.*s]",
				     (int)(end - s), s);
	}
	if (s == host_end)
		return fault(p, -EINVAL, s, "a host name or address is missing");
	r = decode(p, s, host_end, p->o.traddr, sizeof(p->o.traddr), "host");
	if (r < 0)
		return r;
	return rest < end ? parse_port(p, rest + 1, end) : 0;
}

static int parse_path(struct parser *p, const char *s, const char *end)
{
	const char *nqn_end = s < end ? memchr(s, '/', (size_t)(end - s)) : NULL;
	const char *ns, *extra;
	struct nofi_ns_name name;
	struct nofi_err why;
	int r;

	if (!nqn_end)
		nqn_end = end;
	r = decode(p, s, nqn_end, p->o.subnqn, sizeof(p->o.subnqn), "subsystem NQN");
	if (r < 0)
		return r;
	memset(p->o.ns, 0, sizeof(p->o.ns));
	if (nqn_end == end || nqn_end + 1 == end)
		return 0;
	ns = nqn_end + 1;
	if (nqn_end == s)
		return fault(p, -EINVAL, s, "the subsystem NQN is missing before the namespace");
	extra = memchr(ns, '/', (size_t)(end - ns));
	if (extra)
		return fault(p, -EINVAL, extra,
			     "only NQN/NAMESPACE can follow the host; a slash inside "
			     "an NQN is written %%2F");
	r = decode(p, ns, end, p->o.ns, sizeof(p->o.ns), "namespace");
	if (r < 0)
		return r;
	if (nofi_ns_name_parse(p->o.ns, &name, &why) < 0)
		return fault(p, -EINVAL, ns, "%s", why.text);
	return 0;
}

static bool is_allowed(const struct parser *p, const char *key)
{
	size_t len = strlen(key);
	const char *s = p->allow;

	if (!p->has_allow)
		return true;
	if (!s)
		return !nofi_opts_is_local_key(key);
	while (*s) {
		size_t n = strcspn(s, ",");

		if (n == len && !memcmp(s, key, n))
			return true;
		s += n + (s[n] == ',');
	}
	return false;
}

static int parse_pair(struct parser *p, const char *s, const char *end)
{
	const char *eq = memchr(s, '=', (size_t)(end - s));
	char key[64], value[sizeof(p->o.pcap)];
	struct nofi_err why;
	int r;

	if (!eq)
		return fault(p, -EINVAL, s, "an option is KEY=VALUE");
	r = decode(p, s, eq, key, sizeof(key), "key");
	if (r == 0)
		r = decode(p, eq + 1, end, value, sizeof(value), "value");
	if (r < 0)
		return r;
	if (!is_allowed(p, key))
		return fault(p, -EPERM, s, "the key %s is not allowed here", key);
	if (nofi_opts_set(&p->o, key, value, &why) < 0)
		return fault(p, -EINVAL, s, "%s", why.text);
	if (!strcmp(key, "keep_alive_tmo"))
		p->has_keep_alive = true;
	return 0;
}

static int parse_query(struct parser *p, const char *s, const char *end)
{
	while (s < end) {
		const char *amp = memchr(s, '&', (size_t)(end - s));
		const char *stop = amp ? amp : end;
		int r = s < stop ? parse_pair(p, s, stop) : 0;

		if (r < 0)
			return r;
		s = stop + 1;
	}
	return 0;
}

static int parse(struct parser *p)
{
	static const char *const schemes[] = { "nvme+tcp://", "nvmf-tcp://" };
	const char *s = NULL, *end = p->uri + strlen(p->uri), *auth_end, *path_end, *hash;
	int r;

	for (size_t i = 0; i < 2; i++)
		if (!strncasecmp(p->uri, schemes[i], strlen(schemes[i])))
			s = p->uri + strlen(schemes[i]);
	if (!s)
		return fault(p, -EINVAL, p->uri, "a URI starts with nvme+tcp://, as in "
			     "nvme+tcp://192.0.2.1/nqn.2024-01.org.example:disk");
	hash = strchr(s, '#');
	if (hash)
		return fault(p, -EINVAL, hash, "fragments are not possible; write %%23 for #");
	auth_end = s + strcspn(s, "/?");
	r = parse_authority(p, s, auth_end);
	if (r < 0)
		return r;
	path_end = auth_end + strcspn(auth_end, "?");
	r = parse_path(p, auth_end < path_end ? auth_end + 1 : auth_end, path_end);
	if (r < 0)
		return r;
	if (path_end < end)
		r = parse_query(p, path_end + 1, end);
	if (r < 0)
		return r;
	/* Discovery is asked and left again: keep alive only when it was wanted. */
	if (!p->has_keep_alive && (!p->o.subnqn[0] || !strcmp(p->o.subnqn, NOF_DISCOVERY_NQN)))
		p->o.keep_alive_tmo_ms = 0;
	return 0;
}

static int uri_parse(const char *call, const char *uri, const char *allow, bool has_allow,
		     struct nof_opts *opts)
{
	struct nofi_err err;
	struct parser *p;
	size_t size;
	int r;

	if (!uri || !opts)
		return nofi_fail(-EINVAL, "%s: uri and opts must not be NULL", call);
	if (opts->size < offsetof(struct nof_opts, pcap))
		return nofi_fail(-EINVAL, "%s: opts->size is %zu; call nof_opts_init() first", call,
				 opts->size);
	p = calloc(1, sizeof(*p));
	if (!p)
		return nofi_fail(-ENOMEM, "%s: out of memory", call);
	size = opts->size < sizeof(p->o) ? opts->size : sizeof(p->o);
	p->uri = uri;
	p->allow = allow;
	p->has_allow = has_allow;
	p->err = &err;
	memcpy(&p->o, opts, size);
	r = parse(p);
	if (r < 0)
		r = nofi_fail(r, "%s: %s", call, err.text);
	else
		memcpy(opts, &p->o, size);
	free(p);
	return r;
}

int nof_uri_parse(const char *uri, struct nof_opts *opts)
{
	return uri_parse("nof_uri_parse", uri, NULL, false, opts);
}

int nof_uri_parse_allow(const char *uri, const char *allow, struct nof_opts *opts)
{
	return uri_parse("nof_uri_parse_allow", uri, allow, true, opts);
}

/* ---- format ---- */

struct writer {
	char *buf;
	size_t size;
	size_t len;		/* what a buffer of any size would hold */
};

static void put_char(struct writer *w, char c)
{
	if (w->len + 1 < w->size)
		w->buf[w->len] = c;
	w->len++;
}

static void put_raw(struct writer *w, const char *s)
{
	while (*s)
		put_char(w, *s++);
}

/* keep: characters that stand for themselves besides letters, digits and -._~ */
static void put_encoded(struct writer *w, const char *s, const char *keep)
{
	static const char plain[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	static const char hex[] = "0123456789ABCDEF";

	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (strchr(plain, c) || strchr(keep, c)) {
			put_char(w, *s);
		} else {
			put_char(w, '%');
			put_char(w, hex[c >> 4]);
			put_char(w, hex[c & 15]);
		}
	}
}

int nof_uri_format(const struct nof_opts *opts, char *buf, size_t len)
{
	struct writer w = { buf, len, 0 };
	bool is_v6, is_discovery, is_first = true;
	char value[4096];

	if (!opts || (!buf && len) || opts->size < offsetof(struct nof_opts, pcap))
		return nofi_fail(-EINVAL, "nof_uri_format: opts and buf must not be NULL, and "
				 "nof_opts_init() must have been called");
	is_v6 = strchr(opts->traddr, ':');
	is_discovery = !opts->subnqn[0] || !strcmp(opts->subnqn, NOF_DISCOVERY_NQN);
	put_raw(&w, "nvme+tcp://");
	if (is_v6)
		put_char(&w, '[');
	put_encoded(&w, opts->traddr, ":");
	if (is_v6)
		put_char(&w, ']');
	if (opts->trsvcid[0]) {
		put_char(&w, ':');
		put_encoded(&w, opts->trsvcid, "");
	}
	put_char(&w, '/');
	put_encoded(&w, opts->subnqn, ":+,;=@!$'()*");
	if (opts->ns[0] && opts->subnqn[0]) {
		put_char(&w, '/');
		put_encoded(&w, opts->ns, "");
	}
	for (const char *const *k = nof_opts_keys(); *k; k++) {
		/* Of discovery, 0 is what a URI without the key means. */
		if (is_discovery && !strcmp(*k, "keep_alive_tmo")) {
			if (!opts->keep_alive_tmo_ms)
				continue;
			snprintf(value, sizeof(value), "%u.%03u", opts->keep_alive_tmo_ms / 1000,
				 opts->keep_alive_tmo_ms % 1000);
		} else if (!nofi_opts_get(opts, *k, value, sizeof(value))) {
			continue;
		}
		put_char(&w, is_first ? '?' : '&');
		is_first = false;
		put_raw(&w, *k);
		put_char(&w, '=');
		put_encoded(&w, value, ":/+,;@!$'()*");
	}
	if (len)
		buf[w.len < len ? w.len : len - 1] = '\0';
	return (int)w.len;
}
