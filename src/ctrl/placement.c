/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See placement.h. */
#include "ctrl/placement.h"

#include <errno.h>
#include <string.h>

/* Part of the text. */
struct span {
	const char *s;
	size_t len;
};

/* An address up to one of the characters of end, or the end of the text; *rest is behind it. */
static const char *take_addr(struct span *rest, const char *end, struct span *out)
{
	size_t n = 0;

	if (rest->len && *rest->s == '[') {
		const char *close = memchr(rest->s, ']', rest->len);

		if (!close)
			return "the bracket of the IPv6 address is not closed";
		*out = (struct span){ rest->s + 1, (size_t)(close - rest->s - 1) };
		n = out->len + 2;
		if (!memchr(out->s, ':', out->len))
			return "what stands in brackets is not an IPv6 address";
	} else {
		while (n < rest->len && !strchr(end, rest->s[n]))
			n++;
		*out = (struct span){ rest->s, n };
	}
	rest->s += n;
	rest->len -= n;
	return NULL;
}

static const char *resolve(struct span a, const char *port, struct nofi_addr *out)
{
	struct nofi_addrs found;
	char text[128];
	int r;

	if (a.len >= sizeof(text))
		return "an address is too long";
	memcpy(text, a.s, a.len);
	text[a.len] = '\0';
	r = nofi_resolve_numeric(text, port, &found);
	if (r == -ENODEV)
		return "there is no such network interface as stands behind the %";
	if (r != 1)
		return "this is not a numeric address";
	*out = found.addr[0];
	return NULL;
}

/* ":PORT", all of it. */
static const char *take_port(struct span s, char out[6])
{
	uint32_t v = 0;

	if (s.len < 2 || s.len > 6)
		return "the port is not a number from 1 to 65535";
	for (size_t i = 1; i < s.len; i++) {
		if (s.s[i] < '0' || s.s[i] > '9')
			return "the port is not a number from 1 to 65535";
		v = v * 10 + (uint32_t)(s.s[i] - '0');
	}
	if (!v || v > 65535)
		return "the port is not a number from 1 to 65535";
	memcpy(out, s.s + 1, s.len - 1);
	out[s.len - 1] = '\0';
	return NULL;
}

/* Behind the dash. A bare IPv6 address is full of colons: none of them begins a port. */
static const char *parse_dst(struct span s, const char *port, struct nofi_addr *out)
{
	const char *colon = s.len ? memchr(s.s, ':', s.len) : NULL;
	bool is_bare_v6 = colon && *s.s != '[' &&
			  memchr(colon + 1, ':', (size_t)(s.s + s.len - colon - 1));
	struct span addr;
	char own[6];
	const char *bad;

	bad = take_addr(&s, is_bare_v6 ? "" : ":", &addr);
	if (!bad && s.len) {
		bad = *s.s == ':' ? take_port(s, own) :
				    "only a colon and a port can follow the bracket";
		port = own;
	}
	return bad ? bad : resolve(addr, port, out);
}

static const char *parse_entry(struct span s, const char *port, struct nofi_place *p)
{
	struct span src;
	const char *bad;

	memset(p, 0, sizeof(*p));
	if (!s.len)
		return "an entry is empty";
	bad = take_addr(&s, "-", &src);
	if (!bad && src.len)
		bad = resolve(src, "0", &p->from);
	if (bad)
		return bad;
	if (s.len) {
		if (*s.s != '-')
			return "only a dash and the target's address can follow the bracket";
		s.s++;
		s.len--;
		bad = parse_dst(s, port, &p->to);
		if (bad)
			return bad;
	}
	if (p->from.len && p->to.len && p->from.sa.ss_family != p->to.sa.ss_family)
		return "one address is IPv4, the other IPv6";
	return NULL;
}

int nofi_placement_parse(const char *text, const char *port, struct nofi_placement *out,
			 struct nofi_err *err)
{
	const char *s = text, *bad = NULL;

	out->count = 0;
	while (*text) {
		struct span entry = { s, strcspn(s, ",") };

		if (out->count == NOFI_PLACES_MAX)
			bad = "there are more than 16 entries";
		else
			bad = parse_entry(entry, port, &out->place[out->count]);
		if (bad)
			return nofi_err_set(err, -EINVAL, "queue_paths, character %zu (\"%.48s\"): "
					    "%s; it is [SRC][-DST],… with numeric addresses",
					    (size_t)(s - text + 1), s, bad);
		out->count++;
		s += entry.len;
		if (!*s)
			break;
		s++;
	}
	return 0;
}

static bool is_match(const struct nofi_place *place, const struct nofi_addr *to)
{
	return !place->from.len || place->from.sa.ss_family == to->sa.ss_family;
}

uint32_t nofi_placement_tries(const struct nofi_placement *p, const struct nofi_addrs *target,
			      uint32_t first, struct nofi_try out[NOFI_TRIES_MAX])
{
	uint32_t places = p->count ? p->count : 1, n = 0;

	for (uint32_t a = 0; a < target->count; a++)
		for (uint32_t i = 0; i < places; i++) {
			uint32_t k = (first + i) % places;

			if (p->count && (p->place[k].to.len ? a > 0 :
					 !is_match(&p->place[k], &target->addr[a])))
				continue;
			out[n++] = (struct nofi_try){ (uint8_t)k, (uint8_t)a };
		}
	return n;
}

const struct nofi_addr *nofi_place_to(const struct nofi_place *place,
				      const struct nofi_addrs *target, uint32_t preferred)
{
	if (place->to.len)
		return &place->to;
	if (is_match(place, &target->addr[preferred]))
		return &target->addr[preferred];
	for (uint32_t i = 0; i < target->count; i++)
		if (is_match(place, &target->addr[i]))
			return &target->addr[i];
	/* Binding to the source will say what is wrong. */
	return &target->addr[preferred];
}
