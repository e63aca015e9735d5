/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Zones: their states, what may be written where, Management Send, Append. */
#include <nvme/types.h>
#include <stdlib.h>

#include "pi.h"
#include "zns.h"

#define ZNS_STATUS(sc) (0x100u | (sc) | DNR)

enum {
	ACT_CLOSE = 1, ACT_FINISH = 2, ACT_OPEN = 3, ACT_RESET = 4, ACT_OFFLINE = 5,
	SELECT_ALL = 1u << 8,
	PIREMAP = 1u << 25,
};

void zns_reset(struct ns *ns)
{
	struct zns *z = ns->zns;

	z->size = z->bytes >> ns->lbads;
	z->cap = z->cap_bytes >> ns->lbads;
	z->nactive = z->nopen = 0;
	for (uint32_t i = 0; i < z->nzones; i++)
		z->zones[i] = (struct zone){ .wp = i * z->size, .state = ZONE_EMPTY };
	ns->blocks = z->nzones * z->size;
}

bool zns_init(struct ns *ns, uint64_t bytes, uint64_t cap, uint32_t mar, uint32_t mor)
{
	uint64_t n = ns->blocks / (bytes >> ns->lbads);
	struct zns *z;

	if (!n || n > 1 << 20)
		return false;
	z = calloc(1, sizeof(*z) + n * sizeof(z->zones[0]));
	if (!z)
		return false;
	z->bytes = bytes;
	z->cap_bytes = cap && cap < bytes ? cap : bytes;
	z->nzones = (uint32_t)n;
	z->mar = mar;
	z->mor = mor;
	ns->zns = z;
	ns->special |= NS_ZONED;
	zns_reset(ns);
	return true;
}

/* A command waited while its namespace was formatted: its blocks may be gone. */
static bool is_gone(const struct ns *ns, uint64_t slba, uint64_t nlb)
{
	return slba >= ns->blocks || nlb > ns->blocks - slba;
}

static uint64_t start_of(const struct zns *z, const struct zone *zone)
{
	return (uint64_t)(zone - z->zones) * z->size;
}

/* ---- states ---- */

static bool is_open(uint8_t state)
{
	return state == ZONE_IMPLICIT || state == ZONE_EXPLICIT;
}

static bool is_active(uint8_t state)
{
	return is_open(state) || state == ZONE_CLOSED;
}

static void set_state(struct zns *z, struct zone *zone, uint8_t state)
{
	z->nopen += is_open(state) - is_open(zone->state);
	z->nactive += is_active(state) - is_active(zone->state);
	zone->state = state;
}

/* Room for one more open zone, if need be by closing one that was opened by a write. */
static uint16_t make_room(struct zns *z, const struct zone *zone)
{
	if (!is_active(zone->state) && z->nactive >= z->mar)
		return ZNS_STATUS(NVME_SC_ZNS_TOO_MANY_ACTIVE);
	if (z->nopen < z->mor)
		return 0;
	for (uint32_t i = 0; i < z->nzones; i++) {
		if (z->zones[i].state != ZONE_IMPLICIT)
			continue;
		set_state(z, &z->zones[i], ZONE_CLOSED);
		return 0;
	}
	return ZNS_STATUS(NVME_SC_ZNS_TOO_MANY_OPENS);
}

static uint16_t open_zone(struct zns *z, struct zone *zone, uint8_t how)
{
	uint16_t status = is_open(zone->state) ? 0 : make_room(z, zone);

	if (!status)
		set_state(z, zone, how);
	return status;
}

static uint16_t reset_zone(struct ns *ns, struct zone *zone)
{
	uint64_t start = start_of(ns->zns, zone);
	uint16_t status = ns_zero(ns, start * ns->stride, ns->zns->size * ns->stride, true);

	if (status)
		return status;
	block_written(ns, start, ns->zns->size);
	zone->wp = start;
	set_state(ns->zns, zone, ZONE_EMPTY);
	return 0;
}

/* ---- reading and writing ---- */

uint16_t zns_check_read(const struct ns *ns, uint64_t slba, uint64_t nlb)
{
	const struct zns *z = ns->zns;

	if (is_gone(ns, slba, nlb))
		return NVME_SC_LBA_RANGE | DNR;
	for (uint64_t i = slba / z->size; i <= (slba + nlb - 1) / z->size; i++)
		if (z->zones[i].state == ZONE_OFFLINE)
			return ZNS_STATUS(NVME_SC_ZNS_OFFLINE);
	return 0;
}

static uint16_t check_state(const struct zone *zone)
{
	switch (zone->state) {
	case ZONE_FULL:
		return ZNS_STATUS(NVME_SC_ZNS_FULL);
	case ZONE_READ_ONLY:
		return ZNS_STATUS(NVME_SC_ZNS_READ_ONLY);
	case ZONE_OFFLINE:
		return ZNS_STATUS(NVME_SC_ZNS_OFFLINE);
	}
	return 0;
}

uint16_t zns_check_write(const struct ns *ns, uint64_t slba, uint64_t nlb)
{
	const struct zns *z = ns->zns;
	const struct zone *zone = &z->zones[slba / z->size];
	uint16_t status;

	if (is_gone(ns, slba, nlb))
		return NVME_SC_LBA_RANGE | DNR;
	status = check_state(zone);
	if (status)
		return status;
	if (slba + nlb > start_of(z, zone) + z->cap)
		return ZNS_STATUS(NVME_SC_ZNS_BOUNDARY_ERROR);
	return 0;
}

uint16_t zns_write(struct ns *ns, uint64_t slba, uint64_t nlb)
{
	struct zns *z = ns->zns;
	struct zone *zone = &z->zones[slba / z->size];
	uint16_t status = zns_check_write(ns, slba, nlb);

	if (!status && slba != zone->wp)
		status = ZNS_STATUS(NVME_SC_ZNS_INVALID_WRITE);
	if (!status && zone->state != ZONE_EXPLICIT)
		status = open_zone(z, zone, ZONE_IMPLICIT);
	if (status)
		return status;
	zone->wp += nlb;
	if (zone->wp == start_of(z, zone) + z->cap)
		set_state(z, zone, ZONE_FULL);
	return 0;
}

/* ---- Zone Management Send ---- */

static uint16_t act(struct ns *ns, struct zone *zone, uint8_t action)
{
	struct zns *z = ns->zns;
	uint8_t s = zone->state;

	switch (action) {
	case ACT_OPEN:
		if (s != ZONE_EMPTY && !is_active(s))
			break;
		return open_zone(z, zone, ZONE_EXPLICIT);
	case ACT_CLOSE:
		if (!is_active(s))
			break;
		set_state(z, zone, ZONE_CLOSED);
		return 0;
	case ACT_FINISH:
		if (s != ZONE_EMPTY && s != ZONE_FULL && !is_active(s))
			break;
		set_state(z, zone, ZONE_FULL);
		return 0;
	case ACT_RESET:
		if (s == ZONE_EMPTY)
			return 0;
		if (s != ZONE_FULL && !is_active(s))
			break;
		return reset_zone(ns, zone);
	case ACT_OFFLINE:
		if (s != ZONE_READ_ONLY && s != ZONE_OFFLINE)
			break;
		set_state(z, zone, ZONE_OFFLINE);
		return 0;
	}
	return ZNS_STATUS(NVME_SC_ZNS_INVAL_TRANSITION);
}

/* Which zones an action means when it is to take all of them. */
static bool is_selected(uint8_t state, uint8_t action)
{
	switch (action) {
	case ACT_OPEN:
		return state == ZONE_CLOSED;
	case ACT_CLOSE:
		return is_open(state);
	case ACT_FINISH:
		return is_active(state);
	case ACT_RESET:
		return is_active(state) || state == ZONE_FULL;
	}
	return state == ZONE_READ_ONLY;
}

/* All closed zones are opened, or none. */
static uint16_t check_open_all(const struct zns *z)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < z->nzones; i++)
		n += z->zones[i].state == ZONE_CLOSED;
	return n > z->mor - z->nopen ? ZNS_STATUS(NVME_SC_ZNS_TOO_MANY_OPENS) : 0;
}

static void exec_send(struct cmd *cmd)
{
	struct ns *ns = cmd->ns;
	struct zns *z = ns->zns;
	uint8_t action = (uint8_t)sqe_dw(cmd, 13);
	uint16_t status = 0;

	if (!(sqe_dw(cmd, 13) & SELECT_ALL)) {
		cmd_done(cmd, is_gone(ns, cmd->slba, 1) ? NVME_SC_LBA_RANGE | DNR :
			      act(ns, &z->zones[cmd->slba / z->size], action));
		return;
	}
	if (action == ACT_OPEN)
		status = check_open_all(z);
	for (uint32_t i = 0; i < z->nzones && !status; i++)
		if (is_selected(z->zones[i].state, action))
			status = act(ns, &z->zones[i], action);
	cmd_done(cmd, status);
}

static void prepare_send(struct cmd *cmd)
{
	const struct ns *ns = cmd->ns;
	uint8_t action = (uint8_t)sqe_dw(cmd, 13);

	cmd->exec = exec_send;
	if (!action || action > ACT_OFFLINE)
		cmd->status = NVME_SC_INVALID_FIELD | DNR;
	else if (sqe_dw(cmd, 13) & SELECT_ALL)
		cmd_want_len(cmd, 0);
	else if (cmd->slba >= ns->blocks)
		cmd->status = NVME_SC_LBA_RANGE | DNR;
	else if (cmd->slba % ns->zns->size)
		cmd->status = NVME_SC_INVALID_FIELD | DNR;
	else
		cmd_want_len(cmd, 0);
}

/* ---- Zone Append ---- */

static void exec_append(struct cmd *cmd)
{
	struct ns *ns = cmd->ns;
	uint16_t status = zns_check_write(ns, cmd->slba, 1);
	uint64_t at = 0;
	struct pi_args a;

	if (!status)
		at = ns->zns->zones[cmd->slba / ns->zns->size].wp;
	pi_args_of(cmd, &a);
	a.is_remapped = sqe_dw(cmd, 12) & PIREMAP;
	a.slba = at;
	if (!status)
		status = block_write(ns, &a, at, cmd->nlb, cmd->buf);
	if (!status && (sqe_dw(cmd, 12) >> 30 & 1))
		status = ns_flush(ns);
	if (!status) {
		stats.writes++;
		stats.write_bytes += cmd->len;
		cmd->dw0 = (uint32_t)at;
		cmd->dw1 = (uint32_t)(at >> 32);
	}
	cmd_done(cmd, status);
}

static void prepare_append(struct cmd *cmd)
{
	const struct ns *ns = cmd->ns;
	bool is_remap = sqe_dw(cmd, 12) & PIREMAP;
	struct pi_args a;
	uint64_t bytes;

	cmd->exec = exec_append;
	cmd->nlb = (sqe_dw(cmd, 12) & 0xffff) + 1;
	pi_args_of(cmd, &a);
	bytes = (uint64_t)cmd->nlb * (ns->special & NS_PI ? pi_host_block(ns, &a) : ns->stride);
	if (cmd->slba >= ns->blocks)
		cmd->status = NVME_SC_LBA_RANGE | DNR;
	else if (cmd->slba % ns->zns->size || !nvm_fits(cmd, bytes) ||
		 (opt.zasl && bytes > (uint64_t)PAGE << opt.zasl))
		cmd->status = NVME_SC_INVALID_FIELD | DNR;
	else if ((ns->pi_type == 1 && !is_remap) || (ns->pi_type == 3 && is_remap))
		cmd->status = 0x100 | NVME_SC_INVALID_PI | DNR;
	else if (ns->special & NS_PI)
		cmd->status = pi_validate(ns, &a, cmd->slba);
	if (!cmd->status && cmd_want_len(cmd, (uint32_t)bytes))
		cmd_alloc_buf(cmd);
}

/* ---- Zone Management Receive: the report ---- */

enum { REPORT_HEAD = 64, REPORT_ZONE = 64 };

static bool is_reported(uint8_t state, uint8_t which)
{
	static const uint8_t by_option[] = {
		[1] = ZONE_EMPTY, [2] = ZONE_IMPLICIT, [3] = ZONE_EXPLICIT, [4] = ZONE_CLOSED,
		[5] = ZONE_FULL, [6] = ZONE_READ_ONLY, [7] = ZONE_OFFLINE,
	};

	return !which || state == by_option[which];
}

static void put_zone(const struct zns *z, const struct zone *zone, uint8_t *p)
{
	bool has_wp = zone->state == ZONE_EMPTY || is_active(zone->state);

	p[0] = 2;			/* sequential write required */
	p[1] = (uint8_t)(zone->state << 4);
	nofi_put64(p + 8, z->cap);
	nofi_put64(p + 16, start_of(z, zone));
	nofi_put64(p + 24, has_wp ? zone->wp : UINT64_MAX);
}

static void exec_receive(struct cmd *cmd)
{
	const struct zns *z = cmd->ns->zns;
	uint8_t which = sqe_dw(cmd, 13) >> 8 & 0xff;
	bool is_partial = sqe_dw(cmd, 13) >> 16 & 1;
	uint64_t n = 0, put = 0, max = cmd->len < REPORT_HEAD ? 0 :
						  (cmd->len - REPORT_HEAD) / REPORT_ZONE;
	uint8_t *out = calloc(1, cmd->len < REPORT_HEAD ? REPORT_HEAD : cmd->len);

	if (!out) {
		cmd_done(cmd, NVME_SC_INTERNAL);
		return;
	}
	for (uint64_t i = cmd->slba / z->size; i < z->nzones; i++) {
		if (!is_reported(z->zones[i].state, which))
			continue;
		n++;
		if (put < max)
			put_zone(z, &z->zones[i], out + REPORT_HEAD + REPORT_ZONE * put++);
	}
	nofi_put64(out, is_partial ? put : n);
	cmd_data_done(cmd, out, cmd->len, false);
	free(out);
}

static void prepare_receive(struct cmd *cmd)
{
	uint32_t numd = sqe_dw(cmd, 12);

	cmd->exec = exec_receive;
	if ((sqe_dw(cmd, 13) & 0xff) || (sqe_dw(cmd, 13) >> 8 & 0xff) > 7 ||
	    !nvm_fits(cmd, ((uint64_t)numd + 1) * 4))
		cmd->status = NVME_SC_INVALID_FIELD | DNR;
	else if (cmd->slba >= cmd->ns->blocks)
		cmd->status = NVME_SC_LBA_RANGE | DNR;
	else
		cmd_want_len(cmd, (numd + 1) * 4);
}

void zns_prepare(struct cmd *cmd)
{
	bool is_read = cmd->opc == nvme_zns_cmd_mgmt_recv;

	cmd->ns = nvm_find_ns(cmd, sqe_dw(cmd, 1), is_read ? READS : WRITES);
	if (!cmd->ns)
		return;
	if (!cmd->ns->zns) {
		cmd->status = NVME_SC_INVALID_OPCODE | DNR;
		return;
	}
	cmd->slba = sqe_dw(cmd, 10) | (uint64_t)sqe_dw(cmd, 11) << 32;
	if (is_read)
		prepare_receive(cmd);
	else if (cmd->opc == nvme_zns_cmd_append)
		prepare_append(cmd);
	else
		prepare_send(cmd);
}

bool zns_force(struct ns *ns, uint64_t slba, const char *state)
{
	struct zone *zone;

	if (!ns->zns || slba >= ns->blocks)
		return false;
	zone = &ns->zns->zones[slba / ns->zns->size];
	if (!strcmp(state, "read-only"))
		set_state(ns->zns, zone, ZONE_READ_ONLY);
	else if (!strcmp(state, "offline"))
		set_state(ns->zns, zone, ZONE_OFFLINE);
	else if (!strcmp(state, "full"))
		set_state(ns->zns, zone, ZONE_FULL);
	else
		return !strcmp(state, "empty") && !reset_zone(ns, zone);
	return true;
}
