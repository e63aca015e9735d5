/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "info.h"

const struct feature features[] = {
	{ NOF_NS_WRITE_ZEROES, "write_zeroes" },
	{ NOF_NS_DEALLOCATE, "deallocate" },
	{ NOF_NS_COMPARE, "compare" },
	{ NOF_NS_VOLATILE_CACHE, "volatile_cache" },
	{ NOF_NS_READ_ONLY, "read_only" },
	{ NOF_NS_SHARED, "shared" },
	{ NOF_NS_DEALLOC_ZEROES, "deallocated_reads_zero" },
	{ NOF_NS_WRITE_ZEROES_DEAC, "write_zeroes_deallocates" },
	{ NOF_NS_VERIFY, "verify" },
	{ NOF_NS_WRITE_UNCORRECTABLE, "write_uncorrectable" },
	{ NOF_NS_COPY, "copy" },
	{ NOF_NS_COMPARE_WRITE, "compare_write" },
	{ NOF_NS_RESERVATIONS, "reservations" },
	{ NOF_NS_ZONE_APPEND, "zone_append" },
	{ 0, NULL },
};

const char *hex_id(char *buf, const uint8_t *id, size_t len, bool is_uuid)
{
	size_t i, n = 0;

	for (i = 0; i < len; i++) {
		if (is_uuid && (i == 4 || i == 6 || i == 8 || i == 10))
			buf[n++] = '-';
		n += (size_t)sprintf(buf + n, "%02x", id[i]);
	}
	buf[n] = '\0';
	return buf;
}

const char *ns_id(char *buf, const struct nof_ns_info *ns)
{
	if (ns->has_uuid)
		return hex_id(buf, ns->uuid, sizeof(ns->uuid), true);
	sprintf(buf, "%u", ns->nsid);
	return buf;
}

const char *entry_type(const struct nof_discovery_entry *e)
{
	switch (e->subtype) {
	case 1: return "referral";
	case 2: return "subsystem";
	case 3: return "discovery";
	}
	return "other";
}

const char *transport_name(uint8_t trtype)
{
	switch (trtype) {
	case 1: return "rdma";
	case 2: return "fc";
	case 3: return "tcp";
	}
	return "other";
}
