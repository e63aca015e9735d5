/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is known of a controller and its connections, for the user and for chan.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/internal.h"

const struct nof_opts *nofi_ctrl_opts(const struct nof_ctrl *ctrl)
{
	return &ctrl->opts;
}

bool nofi_ctrl_has_volatile_cache(const struct nof_ctrl *ctrl)
{
	return atomic_load_explicit(&ctrl->pub_has_cache, memory_order_relaxed);
}

uint16_t nofi_ctrl_oncs(const struct nof_ctrl *ctrl)
{
	return (uint16_t)atomic_load_explicit(&ctrl->pub_oncs, memory_order_relaxed);
}

uint32_t nofi_ctrl_queue_entries(const struct nof_ctrl *ctrl)
{
	return atomic_load_explicit(&ctrl->pub_entries, memory_order_relaxed);
}

const char *nofi_ctrl_subnqn(const struct nof_ctrl *ctrl)
{
	return ctrl->opts.subnqn;
}

/*
 * Without keep alive no time is known after which a target gives a silent host up: as
 * long as with the usual one is a guess.
 */
static uint64_t hold_ns(const struct nof_ctrl *ctrl)
{
	const struct nof_opts *o = &ctrl->opts;
	uint64_t kato_ms = o->keep_alive_tmo_ms ? o->keep_alive_tmo_ms : 5000;

	if (o->write_hold_ms >= 0)
		return (uint64_t)o->write_hold_ms * NOFI_MS;
	return (kato_ms * (ctrl->ident.has_tbkas ? 3 : 2) + ctrl->ident.cqt_ms) * NOFI_MS;
}

uint64_t nofi_ctrl_hold_ns(const struct nof_ctrl *ctrl)
{
	return atomic_load_explicit(&ctrl->pub_hold_ns, memory_order_relaxed);
}

void nofi_ctrl_publish(struct nof_ctrl *ctrl)
{
	atomic_store_explicit(&ctrl->pub_entries, ctrl->io_entries, memory_order_relaxed);
	atomic_store_explicit(&ctrl->pub_oncs, ctrl->ident.oncs, memory_order_relaxed);
	atomic_store_explicit(&ctrl->pub_has_cache, ctrl->ident.has_volatile_cache,
			      memory_order_relaxed);
	atomic_store_explicit(&ctrl->pub_hold_ns, hold_ns(ctrl), memory_order_relaxed);
}

int nof_ctrl_get_stats(const struct nof_ctrl *ctrl, struct nof_ctrl_stats *stats)
{
	struct nof_ctrl_stats s;

	if (!ctrl || !stats || stats->size < sizeof(stats->size))
		return nofi_fail(-EINVAL, "nof_ctrl_get_stats: ctrl and stats must not be NULL, "
				 "and stats->size must be sizeof(*stats)");
	s = ctrl->stats;
	s.size = stats->size;
	pthread_mutex_lock((pthread_mutex_t *)&ctrl->lock);
	s.timeouts = ctrl->late_commands;
	pthread_mutex_unlock((pthread_mutex_t *)&ctrl->lock);
	s.attempt = ctrl->state == NOF_CTRL_CONNECTING ? ctrl->fsm.attempts : 0;
	memcpy(stats, &s, s.size < sizeof(s) ? s.size : sizeof(s));
	return 0;
}

static int not_known(const struct nof_ctrl *ctrl, const char *call)
{
	return nofi_fail(-ENOTCONN, "%s: the controller has not been live yet, it is %s", call,
			 nof_ctrl_state_name(ctrl->state));
}

int nof_ctrl_get_info(const struct nof_ctrl *ctrl, struct nof_ctrl_info *info)
{
	struct nof_ctrl_info i = { 0 };
	const struct nofi_pdu_params *pp;

	if (!ctrl || !info || info->size < sizeof(info->size))
		return nofi_fail(-EINVAL, "nof_ctrl_get_info: ctrl and info must not be NULL, and "
				 "info->size must be sizeof(*info)");
	if (!ctrl->is_known)
		return not_known(ctrl, "nof_ctrl_get_info");
	i.size = info->size;
	memcpy(i.subnqn, ctrl->ident.subnqn, sizeof(i.subnqn));
	memcpy(i.model, ctrl->ident.model, sizeof(i.model));
	memcpy(i.serial, ctrl->ident.serial, sizeof(i.serial));
	memcpy(i.firmware, ctrl->ident.firmware, sizeof(i.firmware));
	i.cntlid = ctrl->cntlid;
	i.version = ctrl->vs;
	i.is_discovery = ctrl->ident.is_discovery;
	i.nn = ctrl->ident.nn;
	i.namespaces = ctrl->nnsids;
	i.nr_io_queues = ctrl->nr_io_queues;
	i.queue_size = ctrl->io_entries;
	i.max_transfer = ctrl->ident.max_transfer;
	i.in_capsule = ctrl->ident.incapsule;
	i.keep_alive_ms = ctrl->opts.keep_alive_tmo_ms;
	pp = ctrl->admin ? nofi_queue_params(ctrl->admin) : NULL;
	i.has_hdr_digest = pp && pp->hdgst;
	i.has_data_digest = pp && pp->ddgst;
	i.has_volatile_cache = ctrl->ident.has_volatile_cache;
	i.hold_ms = (uint32_t)(nofi_ctrl_hold_ns(ctrl) / NOFI_MS);
	memcpy(info, &i, i.size < sizeof(i) ? i.size : sizeof(i));
	return 0;
}

int nof_ctrl_get_nsids(const struct nof_ctrl *ctrl, uint32_t *nsids, size_t max)
{
	if (!ctrl || (!nsids && max))
		return nofi_fail(-EINVAL, "nof_ctrl_get_nsids: ctrl and nsids must not be NULL");
	if (!ctrl->is_known)
		return not_known(ctrl, "nof_ctrl_get_nsids");
	for (size_t i = 0; i < max && i < ctrl->nnsids; i++)
		nsids[i] = ctrl->nsids[i];
	return (int)ctrl->nnsids;
}
