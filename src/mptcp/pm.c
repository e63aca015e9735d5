/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Addresses, the list in mptcp_paths, which addresses suit: pure. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "mptcp/pm.h"

bool nofi_pm_addr_from(const struct sockaddr *sa, struct nofi_pm_addr *out)
{
	struct nofi_pm_addr a = { .family = sa->sa_family };

	if (sa->sa_family == AF_INET) {
		memcpy(a.bytes, &((const struct sockaddr_in *)sa)->sin_addr, 4);
	} else if (sa->sa_family == AF_INET6) {
		const struct in6_addr *in6 = &((const struct sockaddr_in6 *)sa)->sin6_addr;

		/* A subflow of an IPv6 socket may be IPv4. */
		if (IN6_IS_ADDR_V4MAPPED(in6)) {
			a.family = AF_INET;
			memcpy(a.bytes, in6->s6_addr + 12, 4);
		} else {
			memcpy(a.bytes, in6, 16);
		}
	} else {
		return false;
	}
	*out = a;
	return true;
}

socklen_t nofi_pm_addr_to(const struct nofi_pm_addr *a, struct sockaddr_storage *out)
{
	memset(out, 0, sizeof(*out));
	out->ss_family = a->family;
	if (a->family == AF_INET) {
		memcpy(&((struct sockaddr_in *)out)->sin_addr, a->bytes, 4);
		return sizeof(struct sockaddr_in);
	}
	memcpy(&((struct sockaddr_in6 *)out)->sin6_addr, a->bytes, 16);
	return sizeof(struct sockaddr_in6);
}

const char *nofi_pm_addr_format(const struct nofi_pm_addr *a, char *buf, size_t len)
{
	if (!inet_ntop(a->family, a->bytes, buf, (socklen_t)len))
		snprintf(buf, len, "?");
	return buf;
}

bool nofi_pm_addr_equal(const struct nofi_pm_addr *a, const struct nofi_pm_addr *b)
{
	return a->family == b->family && !memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

/* ---- the list ---- */

static bool is_unusable(const struct nofi_pm_addr *a, const char **why)
{
	struct in6_addr in6;		/* the bytes need not be aligned */
	uint32_t v4;

	memcpy(&in6, a->bytes, sizeof(in6));
	*why = NULL;
	if (a->family == AF_INET) {
		memcpy(&v4, a->bytes, sizeof(v4));
		v4 = ntohl(v4);
		if (!v4)
			*why = "means any address";
		else if (v4 >= 0xe0000000)
			*why = "is a multicast or broadcast address";
		else if (v4 >> 16 == 0xa9fe)
			*why = "is link-local";
	} else if (IN6_IS_ADDR_UNSPECIFIED(&in6)) {
		*why = "means any address";
	} else if (IN6_IS_ADDR_MULTICAST(&in6)) {
		*why = "is a multicast address";
	} else if (IN6_IS_ADDR_LINKLOCAL(&in6)) {
		*why = "is link-local, and MPTCP makes no subflows from those";
	}
	return *why;
}

/* ADDR, [ADDR], each with %DEV behind it or, as IPv6 has it, inside the brackets. */
static int parse_addr(const char *word, struct nofi_pm_path *path, struct nofi_err *err)
{
	char text[INET6_ADDRSTRLEN + IFNAMSIZ + 4], *addr = text, *dev, *end;
	struct in6_addr in6;
	struct in_addr in;
	const char *why;

	if (strlen(word) >= sizeof(text))
		return nofi_err_set(err, -EINVAL, "mptcp_paths: \"%.64s\" is too long for "
				    "ADDRESS%%INTERFACE", word);
	strcpy(text, word);
	memset(path, 0, sizeof(*path));
	dev = strchr(text, '%');
	if (dev)
		*dev++ = '\0';
	if (*addr == '[') {
		end = strchr(dev ? dev : addr, ']');
		if (!end)
			end = strchr(addr, ']');
		if (!end || end[1])
			return nofi_err_set(err, -EINVAL, "mptcp_paths: \"%.64s\": a bracket is "
					    "missing, or something is behind it", word);
		addr++;
		*end = '\0';
	}
	if (dev && (!*dev || strlen(dev) >= IFNAMSIZ))
		return nofi_err_set(err, -EINVAL, "mptcp_paths: \"%.64s\": no interface has such "
				    "a name; write ADDRESS%%INTERFACE", word);
	if (inet_pton(AF_INET, addr, &in) == 1) {
		path->addr.family = AF_INET;
		memcpy(path->addr.bytes, &in, sizeof(in));
	} else if (inet_pton(AF_INET6, addr, &in6) == 1) {
		path->addr.family = AF_INET6;
		memcpy(path->addr.bytes, &in6, sizeof(in6));
	} else {
		return nofi_err_set(err, -EINVAL, "mptcp_paths: \"%.64s\" is neither a numeric "
				    "address nor backup or fullmesh; want auto or "
				    "ADDRESS[%%INTERFACE][,backup][,fullmesh],…", word);
	}
	if (is_unusable(&path->addr, &why))
		return nofi_err_set(err, -EINVAL, "mptcp_paths: \"%.64s\" %s: name an address "
				    "that one interface of this machine has", word, why);
	if (dev)
		strcpy(path->dev, dev);
	return 0;
}

static int take_word(const char *word, struct nofi_pm_list *l, struct nofi_err *err)
{
	struct nofi_pm_path path;
	int r;

	if (!strcmp(word, "backup") || !strcmp(word, "fullmesh")) {
		if (!l->count)
			return nofi_err_set(err, -EINVAL, "mptcp_paths: %s belongs behind the "
					    "address that it is about", word);
		if (*word == 'b')
			l->path[l->count - 1].is_backup = true;
		else
			l->path[l->count - 1].is_fullmesh = true;
		return 0;
	}
	r = parse_addr(word, &path, err);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < l->count; i++)
		if (nofi_pm_addr_equal(&l->path[i].addr, &path.addr))
			return nofi_err_set(err, -EINVAL, "mptcp_paths: %.64s is there twice",
					    word);
	if (l->count == NOFI_PM_PATHS_MAX)
		return nofi_err_set(err, -EINVAL, "mptcp_paths: more than %d addresses; the "
				    "kernel takes no more", NOFI_PM_PATHS_MAX);
	l->path[l->count++] = path;
	return 0;
}

int nofi_pm_parse(const char *text, struct nofi_pm_list *out, struct nofi_err *err)
{
	struct nofi_pm_list l = { 0 };
	char word[80];
	int r;

	if (!strcmp(text, "auto")) {
		l.is_auto = true;
		*out = l;
		return 0;
	}
	while (*text) {
		size_t len = strcspn(text, ",");

		if (!len || (text[len] && !text[len + 1]))
			return nofi_err_set(err, -EINVAL, "mptcp_paths: there is nothing between "
					    "two commas, or behind the last one");
		snprintf(word, sizeof(word), "%.*s", (int)len, text);
		r = take_word(word, &l, err);
		if (r < 0)
			return r;
		text += len + (text[len] != '\0');
	}
	*out = l;
	return 0;
}

bool nofi_pm_is_suitable(const struct nofi_link_addr *a)
{
	const char *why;

	return !a->is_loopback && a->is_usable && a->is_stable && a->is_global &&
	       !is_unusable(&a->addr, &why);
}
