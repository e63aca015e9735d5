/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's own news about MPTCP connections (netlink "mptcp_pm_events"), for programs that
 * want events and may have these (CAP_NET_ADMIN in their network namespace). They are about all
 * connections of the namespace. A filter in the kernel lets those pass that have a token of ours,
 * so that others do not wake us. Without them transport_watch.c is left with keep alives.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#include <linux/filter.h>
#include <linux/mptcp.h>

#include "ctrl/internal.h"
#include "mptcp/netlink.h"

enum {
	/* A jump in a filter reaches 255 steps. Queues beyond are left to keep alives. */
	FILTER_TOKENS = 200,
	AT_TYPE = 16 + 4 + 2,		/* of the first attribute, behind both headers */
	AT_TOKEN = 16 + 4 + 4,
};

struct nofi_transport_events {
	struct nof_ctrl *ctrl;
	struct nofi_nl nl;		/* joined the group */
	struct nofi_fd_watch watch;	/* of nl */
};

/*
 * Every event of a connection begins with its token. The words of a filter are of network byte
 * order, and what it compares is of this machine's.
 */
int nofi_transport_events_filter(struct nof_ctrl *ctrl, const uint32_t *tokens, uint32_t count)
{
	struct sock_filter code[FILTER_TOKENS + 5];
	struct sock_fprog prog = { .filter = code };
	uint32_t n = 0;

	if (!ctrl->transport_events || ctrl->transport_events->nl.fd < 0)
		return -ENOENT;
	count = count < FILTER_TOKENS ? count : FILTER_TOKENS;
	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_H | BPF_ABS, AT_TYPE);
	code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
						 ntohs(MPTCP_ATTR_TOKEN), 0,
						 (uint8_t)(count + 1));
	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT_TOKEN);
	for (uint32_t i = 0; i < count; i++)
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							 ntohl(tokens[i]),
							 (uint8_t)(count - i), 0);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
	prog.len = (uint16_t)n;
	return setsockopt(ctrl->transport_events->nl.fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog,
			  sizeof(prog)) < 0 ? -errno : 0;
}

static int ignore(const struct nlmsghdr *msg, void *arg)
{
	return 0;
}

static void came(struct nofi_fd_watch *w)
{
	struct nofi_transport_events *e = nofi_of(w, struct nofi_transport_events, watch);
	int r;

	/* Each turn looks once, however many there were, and whether some were lost. */
	r = nofi_nl_receive(&e->nl, ignore, NULL);
	if (r < 0 && r != -ENOBUFS) {
		nofi_transport_events_stop(e->ctrl);
		return;
	}
	(void)nofi_loop_watch(e->ctrl->loop, w);
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
				&group) == 0 && group &&
		 nofi_transport_events_filter(ctrl, NULL, 0) == 0 &&
		 nofi_nl_join(&e->nl, group) == 0) {
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
