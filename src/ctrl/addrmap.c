/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctrl/addrmap.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "mptcp/sock.h"

/* ADDR[:PORT], not terminated. */
struct place {
	char addr[256];
	char port[6];		/* "" = none */
};

static bool is_numeric(const char *addr)
{
	struct nofi_addrs out;

	return nofi_resolve_numeric(addr, "0", &out) == 1;
}

static bool parse_port(const char *s, size_t len, char out[6])
{
	unsigned v = 0;

	if (!len || len > 5)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (unsigned)(s[i] - '0');
	}
	if (!v || v > 65535)
		return false;
	snprintf(out, 6, "%u", v);
	return true;
}

/* What is wrong with [s, s+len), or NULL. */
static const char *parse_place(const char *s, size_t len, struct place *p)
{
	bool is_v6 = len && *s == '[';
	const char *end, *rest;
	size_t n;

	p->port[0] = '\0';
	if (is_v6) {
		end = memchr(s, ']', len);
		if (!end)
			return "the bracket of the IPv6 address is not closed";
		rest = end + 1;
		s++;
		len--;
	} else {
		end = memchr(s, ':', len);
		if (!end)
			end = s + len;
		rest = end;
		if (rest < s + len && memchr(rest + 1, ':', (size_t)(s + len - rest - 1)))
			return "an IPv6 address has to be in brackets";
	}
	n = (size_t)(end - s);
	if (!n)
		return "an address is missing";
	if (n >= sizeof(p->addr))
		return "an address is too long";
	memcpy(p->addr, s, n);
	p->addr[n] = '\0';
	if (is_v6 && (!strchr(p->addr, ':') || !is_numeric(p->addr)))
		return "what stands in brackets is not an IPv6 address";
	if (rest == s + len)
		return NULL;
	if (*rest != ':')
		return "only a colon and a port can follow the bracket";
	return parse_port(rest + 1, (size_t)(s + len - rest - 1), p->port) ?
		       NULL : "the port is not a number from 1 to 65535";
}

/*
 * Takes one rule off *s. 0: there was none; 1: here it is; −1: *bad says what is wrong
 * with it, *s stays.
 */
static int next_rule(const char **s, struct place *from, struct place *to, const char **bad)
{
	size_t len = strcspn(*s, ",");
	const char *eq = memchr(*s, '=', len);

	if (!**s)
		return 0;
	if (!eq)
		*bad = "a rule is ADDR[:PORT]=ADDR[:PORT]";
	else
		*bad = parse_place(*s, (size_t)(eq - *s), from);
	if (!*bad && !is_numeric(from->addr))
		*bad = "the left side has to be a numeric address: logs hold no others";
	if (!*bad)
		*bad = parse_place(eq + 1, len - (size_t)(eq + 1 - *s), to);
	if (!*bad && strpbrk(to->addr, "=[]/?#@ "))
		*bad = "the right side is neither an address nor a name";
	if (*bad)
		return -1;
	*s += len;
	if (**s == ',')
		(*s)++;
	return 1;
}

int nofi_addrmap_check(const char *map, struct nofi_err *err)
{
	struct place from, to;
	const char *s = map, *bad = NULL;

	while (next_rule(&s, &from, &to, &bad) > 0)
		;
	if (!bad)
		return 0;
	return nofi_err_set(err, -EINVAL, "addr_map, character %zu (\"%.48s\"): %s; it is "
			    "ADDR[:PORT]=ADDR[:PORT],… as in 10.0.0.5:4420=192.0.2.1:14420",
			    (size_t)(s - map) + 1, s, bad);
}

bool nofi_addr_is_same(const char *a, const char *b)
{
	struct nofi_addrs x, y;

	memset(&x, 0, sizeof(x));
	memset(&y, 0, sizeof(y));
	if (nofi_resolve_numeric(a, "0", &x) != 1 || nofi_resolve_numeric(b, "0", &y) != 1)
		return !strcmp(a, b);
	return x.addr[0].len == y.addr[0].len &&
	       !memcmp(&x.addr[0].sa, &y.addr[0].sa, x.addr[0].len);
}

bool nofi_addrmap_apply(const char *map, char *addr, size_t addr_size, char *port,
			size_t port_size)
{
	struct place from, to;
	const char *s = map, *bad = NULL;

	while (next_rule(&s, &from, &to, &bad) > 0) {
		if ((from.port[0] && strcmp(from.port, port)) ||
		    !nofi_addr_is_same(from.addr, addr) || strlen(to.addr) >= addr_size)
			continue;
		strcpy(addr, to.addr);
		if (to.port[0])
			snprintf(port, port_size, "%s", to.port);
		return true;
	}
	return false;
}
