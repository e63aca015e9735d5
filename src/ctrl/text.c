/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Strings of the network made safe, the names of namespaces, and what goes into a URI.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/ident.h"
#include "ctrl/ns.h"

void nofi_text_copy(char *dst, const uint8_t *src, size_t len)
{
	size_t n = 0;

	while (n < len && src[n]) {
		dst[n] = src[n] >= 0x20 && src[n] < 0x7f ? (char)src[n] : '?';
		n++;
	}
	while (n && dst[n - 1] == ' ')
		n--;
	dst[n] = '\0';
}

const char *nofi_text_host(const struct nof_opts *opts, const char *port, char *buf, size_t len)
{
	bool is_v6 = strchr(opts->traddr, ':');

	if (opts->trsvcid[0])
		port = opts->trsvcid;
	snprintf(buf, len, "%s%s%s%s%s", is_v6 ? "[" : "", opts->traddr, is_v6 ? "]" : "",
		 port ? ":" : "", port ? port : "");
	return buf;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
	       c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool parse_hex(const char *text, uint8_t *out, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		int hi = hex_digit(text[2 * i]);
		int lo = hi < 0 ? -1 : hex_digit(text[2 * i + 1]);

		if (lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

bool nofi_uuid_parse(const char *text, uint8_t out[16])
{
	char hex[33];
	uint8_t id[16];
	size_t n = 0;

	if (strlen(text) != 36)
		return false;
	for (size_t i = 0; i < 36; i++) {
		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (text[i] != '-')
				return false;
		} else {
			hex[n++] = text[i];
		}
	}
	hex[n] = '\0';
	if (!parse_hex(hex, id, 16))
		return false;
	memcpy(out, id, 16);
	return true;
}

void nofi_uuid_format(const uint8_t in[16], char out[37])
{
	size_t n = 0;

	for (size_t i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			out[n++] = '-';
		n += (size_t)snprintf(out + n, 3, "%02x", in[i]);
	}
}

static bool is_zero(const uint8_t *id, size_t len)
{
	while (len--)
		if (id[len])
			return false;
	return true;
}

int nofi_ns_name_parse(const char *text, struct nofi_ns_name *out, struct nofi_err *err)
{
	struct nofi_ns_name name = { .key = NOFI_NS_ANY };
	size_t len = text ? strlen(text) : 0;
	size_t digits = len ? strspn(text, "0123456789") : 0;

	if (!len) {
		*out = name;
		return 0;
	}
	if (digits == len && len <= 10) {
		unsigned long long v = strtoull(text, NULL, 10);

		if (v < 1 || v > 0xfffffffe)
			return nofi_err_set(err, -EINVAL, "namespace \"%s\": an NSID is 1 to "
					    "4294967294", text);
		name.key = NOFI_NS_NSID;
		name.nsid = (uint32_t)v;
	} else if (len == 36 && nofi_uuid_parse(text, name.id)) {
		name.key = NOFI_NS_UUID;
	} else if (len == 32 && parse_hex(text, name.id, 16)) {
		name.key = NOFI_NS_NGUID;
	} else if (len == 16 && parse_hex(text, name.id, 8)) {
		name.key = NOFI_NS_EUI64;
	} else {
		return nofi_err_set(err, -EINVAL, "namespace \"%.64s\" is neither an NSID (decimal "
				    "number), nor a UUID (8-4-4-4-12 hex digits), an NGUID (32 hex "
				    "digits) or an EUI64 (16 hex digits)", text);
	}
	/* All zeroes mean "none": no namespace has such an id. */
	if (name.key != NOFI_NS_NSID && is_zero(name.id, name.key == NOFI_NS_EUI64 ? 8 : 16))
		return nofi_err_set(err, -EINVAL, "namespace \"%s\": an id of zeroes means that "
				    "there is none", text);
	*out = name;
	return 0;
}

bool nofi_ns_name_matches(const struct nofi_ns_name *name, const struct nofi_ns_ident *ns)
{
	switch (name->key) {
	case NOFI_NS_ANY:
		return true;
	case NOFI_NS_NSID:
		return ns->nsid == name->nsid;
	case NOFI_NS_UUID:
		return ns->has_uuid && !memcmp(ns->uuid, name->id, 16);
	case NOFI_NS_NGUID:
		return ns->has_nguid && !memcmp(ns->nguid, name->id, 16);
	case NOFI_NS_EUI64:
		return ns->has_eui64 && !memcmp(ns->eui64, name->id, 8);
	}
	return false;
}
