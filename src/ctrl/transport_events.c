/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's own news about MPTCP connections (netlink "mptcp_pm_events"), for programs that
 * want events and may have these (CAP_NET_ADMIN in their network namespace). They are about all
 * connections of the namespace: the token says whether one is ours. Without them
 * transport_watch.c is left with keep alives.
 */
#include <errno.h>
#include <stdlib.h>

#include <linux/mptcp.h>

#include "ctrl/internal.h"
#include "mptcp/netlink.h"

struct nofi_transport_events {
	struct nof_ctrl *ctrl;
	struct nofi_nl nl;		/* joined the group */
	struct nofi_fd_watch watch;	/* of nl */
	bool is_ours;			/* one of those just received */
};

static int take(const struct nlmsghdr *msg, void *arg)
{
	struct nofi_transport_events *e = arg;
	const struct nlattr *attr;
	uint32_t token;

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(struct genlmsghdr))
		return 0;
	mnl_attr_for_each(attr, msg, sizeof(struct genlmsghdr))
		if (mnl_attr_get_type(attr) == MPTCP_ATTR_TOKEN && nofi_nl_u32(attr, &token))
			e->is_ours |= nofi_transport_has_token(e->ctrl, token);
	return 0;
}

static void came(struct nofi_fd_watch *w)
{
	struct nofi_transport_events *e = nofi_of(w, struct nofi_transport_events, watch);
	int r;

	e->is_ours = false;
	/* Lost ones may have been ours. Each turn looks once, however many there were. */
	r = nofi_nl_receive(&e->nl, take, e);
	if (r < 0 && r != -ENOBUFS) {
		nofi_transport_events_stop(e->ctrl);
		return;
	}
	(void)nofi_loop_watch(e->ctrl->loop, w);
	if (e->is_ours || r == -ENOBUFS)
		nofi_transport_changed(e->ctrl);
}

void nofi_transport_events_start(struct nof_ctrl *ctrl)
{
	struct nofi_transport_events *e;
	uint16_t family;
	uint32_t group = 0;

	if (!ctrl->events || ctrl->transport_events || ctrl->opts.mptcp == NOF_MPTCP_OFF)
		return;
	e = calloc(1, sizeof(*e));
	if (!e)
		return;
	ctrl->transport_events = e;
	e->ctrl = ctrl;
	e->watch.fn = came;
	if (nofi_nl_open(&e->nl, NETLINK_GENERIC, NULL) < 0)
		e->nl.fd = -1;
	else if (nofi_nl_family(&e->nl, MPTCP_PM_NAME, &family, MPTCP_PM_EV_GRP_NAME,
				&group) == 0 && group && nofi_nl_join(&e->nl, group) == 0) {
		e->watch.fd = e->nl.fd;
		if (nofi_loop_watch(ctrl->loop, &e->watch) == 0)
			return;
	}
	/* Not permitted, or not there: once is enough to know. */
	nofi_nl_close(&e->nl);
}

void nofi_transport_events_stop(struct nof_ctrl *ctrl)
{
	struct nofi_transport_events *e = ctrl->transport_events;

	if (!e)
		return;
	ctrl->transport_events = NULL;
	if (e->nl.fd >= 0)
		nofi_loop_unwatch(ctrl->loop, &e->watch);
	nofi_nl_close(&e->nl);
	free(e);
}
