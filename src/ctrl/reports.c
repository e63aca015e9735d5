/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reports of zones, reservations and commands, judged. See reports.h. */
#include <errno.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/reports.h"
#include "pdu/wire.h"

_Static_assert(sizeof(struct nvme_zns_desc) == NOFI_ZONE_ENTRY, "zone descriptor");
_Static_assert(sizeof(struct nvme_registered_ctrl) == 24, "registered controller");
_Static_assert(sizeof(struct nvme_registered_ctrl_ext) == 64, "registered controller, extended");
_Static_assert(sizeof(struct nvme_resv_notification_log) == 64, "reservation notification");
_Static_assert(sizeof(struct nvme_cmd_effects_log) == 4096, "effects log");

/* ---- zones ---- */

static bool is_zone_state(uint8_t s)
{
	switch (s) {
	case NOF_ZONE_EMPTY:
	case NOF_ZONE_IMPLICIT_OPEN:
	case NOF_ZONE_EXPLICIT_OPEN:
	case NOF_ZONE_CLOSED:
	case NOF_ZONE_READ_ONLY:
	case NOF_ZONE_FULL:
	case NOF_ZONE_OFFLINE:
		return true;
	}
	return false;
}

static uint8_t state_of_filter(uint32_t filter)
{
	static const uint8_t states[] = {
		[NOF_ZONES_EMPTY] = NOF_ZONE_EMPTY,
		[NOF_ZONES_IMPLICIT_OPEN] = NOF_ZONE_IMPLICIT_OPEN,
		[NOF_ZONES_EXPLICIT_OPEN] = NOF_ZONE_EXPLICIT_OPEN,
		[NOF_ZONES_CLOSED] = NOF_ZONE_CLOSED, [NOF_ZONES_FULL] = NOF_ZONE_FULL,
		[NOF_ZONES_READ_ONLY] = NOF_ZONE_READ_ONLY,
		[NOF_ZONES_OFFLINE] = NOF_ZONE_OFFLINE,
	};

	return filter < sizeof(states) ? states[filter] : 0;
}

/* Only empty, open and closed zones have one. */
static bool has_write_pointer(uint8_t state)
{
	return state >= NOF_ZONE_EMPTY && state <= NOF_ZONE_CLOSED;
}

static const char *zone_fault(const struct nof_zone *z, const struct nofi_zone_ctx *ctx,
			      uint64_t next)
{
	uint8_t want = state_of_filter(ctx->filter);

	if (z->start >= ctx->nblocks || z->start % ctx->zone_size)
		return "does not start where a zone does";
	if (z->start < next)
		return "is not in order, or in front of what was asked for";
	if (!ctx->filter && z->start != next)
		return "does not follow the one before it";
	if (z->capacity > ctx->zone_size || z->capacity > ctx->nblocks - z->start)
		return "has more capacity than it has blocks";
	if (!is_zone_state(z->state))
		return "is in a state that is not defined";
	if (want && z->state != want)
		return "is not in the state that was asked for";
	if (has_write_pointer(z->state) && (z->write_pointer < z->start ||
					    z->write_pointer - z->start > z->capacity))
		return "has a write pointer outside of it";
	return NULL;
}

int nofi_zones_parse(const uint8_t *p, size_t len, const struct nofi_zone_ctx *ctx,
		     struct nof_zone *zones, uint32_t max, struct nofi_err *err)
{
	/* The zone that holds the first block asked for is the first reported. */
	uint64_t n, next = ctx->from - ctx->from % ctx->zone_size;

	if (len < NOFI_ZONE_HEADER)
		return nofi_err_set(err, -EPROTO, "a zone report of %zu bytes has no header", len);
	n = nofi_get64(p);
	if (n > (len - NOFI_ZONE_HEADER) / NOFI_ZONE_ENTRY)
		return nofi_err_set(err, -EPROTO, "a zone report claims %llu zones in %zu bytes; "
				    "the target is at fault", (unsigned long long)n, len);
	p += NOFI_ZONE_HEADER;
	for (uint64_t i = 0; i < n; i++, p += NOFI_ZONE_ENTRY) {
		struct nvme_zns_desc d;
		struct nof_zone z;
		const char *fault;

		memcpy(&d, p, sizeof(d));
		z = (struct nof_zone){ .start = le64toh(d.zslba), .capacity = le64toh(d.zcap),
				       .write_pointer = le64toh(d.wp), .type = d.zt & 0xf,
				       .state = d.zs >> 4, .attributes = d.za,
				       .attribute_info = d.zai };
		fault = zone_fault(&z, ctx, next);
		if (fault)
			return nofi_err_set(err, -EPROTO, "a reported zone (start %llu, capacity "
					    "%llu, write pointer %llu, state %u) %s; the target "
					    "is at fault", (unsigned long long)z.start,
					    (unsigned long long)z.capacity,
					    (unsigned long long)z.write_pointer, z.state, fault);
		next = z.start + ctx->zone_size;
		if (!has_write_pointer(z.state))
			z.write_pointer = UINT64_MAX;
		if (i < max)
			zones[i] = z;
	}
	return (int)(n < max ? n : max);
}

/* ---- reservations ---- */

enum { RESV_HEADER = 24, RESV_HEADER_EXT = 64, RESV_ENTRY = 24, RESV_ENTRY_EXT = 64 };

size_t nofi_resv_len(bool is_extended, uint32_t n)
{
	return is_extended ? RESV_HEADER_EXT + (size_t)n * RESV_ENTRY_EXT :
			     RESV_HEADER + (size_t)n * RESV_ENTRY;
}

int nofi_resv_parse(const uint8_t *p, size_t len, bool is_extended, struct nof_resv_status *status,
		    struct nof_registrant *regs, uint32_t max, struct nofi_err *err)
{
	size_t entry = is_extended ? RESV_ENTRY_EXT : RESV_ENTRY;
	uint32_t total, n, holders = 0;

	if (len < nofi_resv_len(is_extended, 0))
		return nofi_err_set(err, -EPROTO, "a reservation report of %zu bytes has no "
				    "header", len);
	if (p[4] > NOF_RESV_EXCLUSIVE_ACCESS_ALL)
		return nofi_err_set(err, -EPROTO, "the reservation is of type %u, which is not "
				    "defined; the target is at fault", p[4]);
	total = nofi_get16(p + 5);
	n = (uint32_t)((len - nofi_resv_len(is_extended, 0)) / entry);
	n = n < total ? n : total;
	n = n < max ? n : max;
	/* Before anything is touched. */
	for (uint32_t i = 0; i < n; i++)
		holders += p[nofi_resv_len(is_extended, 0) + i * entry + 2] & 1;
	if (holders && !p[4])
		return nofi_err_set(err, -EPROTO, "a registrant holds the reservation, but there "
				    "is none; the target is at fault");
	status->generation = nofi_get32(p);
	status->type = (enum nof_resv_type)p[4];
	status->is_persistent = p[9] & 1;
	status->registrants = total;
	p += nofi_resv_len(is_extended, 0);
	for (uint32_t i = 0; i < n; i++, p += entry) {
		struct nof_registrant r = { .cntlid = nofi_get16(p), .is_holder = p[2] & 1 };

		if (is_extended) {
			r.key = nofi_get64(p + 8);
			memcpy(r.hostid, p + 16, 16);
		} else {
			memcpy(r.hostid, p + 8, 8);
			r.key = nofi_get64(p + 16);
		}
		regs[i] = r;
	}
	return (int)n;
}

bool nofi_resv_note_parse(const uint8_t p[64], struct nofi_resv_note *out)
{
	struct nvme_resv_notification_log l;

	memcpy(&l, p, sizeof(l));
	*out = (struct nofi_resv_note){ .count = le64toh(l.lpc), .type = l.rnlpt, .more = l.nalp,
					.nsid = le32toh(l.nsid) };
	return l.rnlpt != NVME_RESV_NOTIFY_RNLPT_EMPTY;
}

const char *nofi_resv_note_text(uint8_t type)
{
	switch (type) {
	case NVME_RESV_NOTIFY_RNLPT_REGISTRATION_PREEMPTED:
		return "this host's registration was preempted by another";
	case NVME_RESV_NOTIFY_RNLPT_RESERVATION_RELEASED:
		return "the reservation was released";
	case NVME_RESV_NOTIFY_RNLPT_RESERVATION_PREEMPTED:
		return "the reservation was preempted";
	}
	return "the reservation changed";
}

/* ---- commands ---- */

void nofi_effects_parse(const uint8_t p[4096], struct nofi_effects *out)
{
	memset(out, 0, sizeof(*out));
	out->is_known = true;
	for (unsigned opc = 0; opc < 256; opc++) {
		if (nofi_get32(p + 4 * opc) & NVME_CMD_EFFECTS_CSUPP)
			out->admin[opc / 8] |= (uint8_t)(1u << opc % 8);
		if (nofi_get32(p + 1024 + 4 * opc) & NVME_CMD_EFFECTS_CSUPP)
			out->io[opc / 8] |= (uint8_t)(1u << opc % 8);
	}
}
