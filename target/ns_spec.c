/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parser of what follows KIND:ARG in a namespace's specification. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "ns_spec.h"
#include "pi.h"

/* n bytes of hex digits, '-' anywhere between bytes; "none" is all zeroes. */
static bool parse_hex(const char *s, uint8_t *out, size_t n)
{
	memset(out, 0, n);
	if (!strcmp(s, "none"))
		return true;
	for (size_t i = 0; i < n; i++) {
		char byte[3] = { 0 };

		while (*s == '-')
			s++;
		if (!isxdigit((unsigned char)s[0]) || !isxdigit((unsigned char)s[1]))
			return false;
		memcpy(byte, s, 2);
		out[i] = (uint8_t)strtoul(byte, NULL, 16);
		s += 2;
	}
	return !*s;
}

/* N[:BOUNDARY[:OFFSET]], in blocks. */
static bool parse_atomic(struct ns *ns, const char *s)
{
	unsigned int n, boundary = 0, offset = 0;

	if (sscanf(s, "%u:%u:%u", &n, &boundary, &offset) < 1 || !n || n > 0x10000 ||
	    boundary > 0xffff || offset > 0xffff || (boundary && boundary < n))
		return false;
	ns->atomic = (uint16_t)(n > 0xffff ? 0xffff : n);
	ns->atomic_boundary = (uint16_t)boundary;
	ns->atomic_offset = (uint16_t)offset;
	return true;
}

/* Metadata, protection information, zones. */
static bool parse_format_option(struct ns *ns, const char *t, struct ns_extra *x)
{
	uint64_t v;

	if (!strncmp(t, "ms=", 3) && parse_size(t + 3, &v) && (v == 8 || v == 16 || v == 64)) {
		ns->ms = (uint16_t)v;
		return true;
	}
	if (!strncmp(t, "pi=", 3) && parse_size(t + 3, &v) && v && v <= 3) {
		ns->pi_type = (uint8_t)v;
		ns->special |= NS_PI;
		return true;
	}
	if (!strncmp(t, "pif=", 4) && parse_size(t + 4, &v) && (v == 16 || v == 32 || v == 64)) {
		ns->pif = v == 16 ? PI_GUARD16 : v == 32 ? PI_GUARD32 : PI_GUARD64;
		return true;
	}
	if (!strcmp(t, "pil=first")) {
		ns->is_pi_first = true;
		return true;
	}
	if (!strncmp(t, "zns=", 4) && parse_size(t + 4, &x->zone))
		return x->zone >= 4096 && !(x->zone % 4096);
	if (!strncmp(t, "zcap=", 5) && parse_size(t + 5, &x->zone_cap))
		return x->zone_cap >= 4096 && !(x->zone_cap % 4096);
	if (!strncmp(t, "mar=", 4) && parse_size(t + 4, &v) && v && v < UINT32_MAX) {
		x->mar = (uint32_t)v;
		return true;
	}
	if (!strncmp(t, "mor=", 4) && parse_size(t + 4, &v) && v && v < UINT32_MAX) {
		x->mor = (uint32_t)v;
		return true;
	}
	return false;
}

/* MSSRL:MCL:MSRC, all as the host sees them but MSRC, which is 1's based here. */
static bool parse_copy(struct ns *ns, const char *s)
{
	unsigned int mssrl, mcl, msrc;

	if (sscanf(s, "%u:%u:%u", &mssrl, &mcl, &msrc) != 3 || !mssrl || mssrl > 0xffff ||
	    mcl < mssrl || mcl > 65536 || !msrc || msrc > 256)
		return false;
	ns->mssrl = (uint16_t)mssrl;
	ns->mcl = mcl;
	ns->msrc = (uint8_t)(msrc - 1);
	return true;
}

static bool parse_ns_option(struct ns *ns, const char *t, struct ns_extra *x)
{
	uint64_t v;

	if (!strcmp(t, "ro")) {
		ns->is_readonly = true;
		return true;
	}
	if (!strncmp(t, "bs=", 3) && parse_size(t + 3, &v) && (v == 512 || v == 4096)) {
		ns->lbads = v == 512 ? 9 : 12;
		return true;
	}
	if (!strncmp(t, "nsid=", 5) && parse_size(t + 5, &v) && v && v <= 65535) {
		ns->nsid = (uint32_t)v;
		return true;
	}
	if (!strncmp(t, "anagrp=", 7) && parse_size(t + 7, &v) && v && v <= ANA_GROUPS) {
		ana_is_on = true;
		ns->anagrp = (uint32_t)v;
		return true;
	}
	if (!strncmp(t, "copy=", 5))
		return parse_copy(ns, t + 5);
	if (!strncmp(t, "atomic=", 7))
		return parse_atomic(ns, t + 7);
	if (!strncmp(t, "uuid=", 5)) {
		x->given |= GIVEN_UUID;
		return parse_hex(t + 5, ns->uuid, sizeof(ns->uuid));
	}
	if (!strncmp(t, "nguid=", 6)) {
		x->given |= GIVEN_NGUID;
		return parse_hex(t + 6, ns->nguid, sizeof(ns->nguid));
	}
	if (!strncmp(t, "eui64=", 6)) {
		x->given |= GIVEN_EUI64;
		return parse_hex(t + 6, ns->eui64, sizeof(ns->eui64));
	}
	return parse_format_option(ns, t, x);
}

int ns_parse_options(struct ns *ns, char *o, struct ns_extra *x, char *err, size_t errlen)
{
	char *save = NULL;

	for (char *t = strtok_r(o, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
		if (parse_ns_option(ns, t, x))
			continue;
		snprintf(err, errlen, "unknown namespace option, or no value of it: '%s'; "
			 "nvmf-target --help lists them", t);
		return -1;
	}
	return 0;
}
