/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What MPTCP is and does in this network namespace, for nof_mptcp_get_status(). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mptcp/kernel.h"
#include "mptcp/pm.h"
#include "mptcp/sock.h"
#include "nof.h"

/* A socket is the truth: a sysctl, the kernel or a filter may forbid it. */
static bool can_open(char *reason, size_t len)
{
	const struct nofi_sock_opts opts = { .mptcp = NOFI_MPTCP_PREFER, .tos = -1 };
	struct nofi_sock_proto proto;
	struct nofi_err err;
	int fd = nofi_sock_open(AF_INET, &opts, &proto, &err);

	if (fd == -EAFNOSUPPORT)
		fd = nofi_sock_open(AF_INET6, &opts, &proto, &err);
	if (fd < 0) {
		snprintf(reason, len, "%.*s", (int)len - 1, err.text);
		return false;
	}
	close(fd);
	snprintf(reason, len, "%s", proto.reason);
	return proto.is_mptcp;
}

static void fill_endpoint(const struct nofi_pm_endpoint *e, struct nof_mptcp_endpoint *out)
{
	nofi_pm_addr_format(&e->addr, out->addr, sizeof(out->addr));
	if (e->ifindex && !if_indextoname(e->ifindex, out->dev))
		out->dev[0] = '\0';
	out->id = e->id;
	out->is_subflow = e->flags & NOFI_PM_F_SUBFLOW;
	out->is_signal = e->flags & NOFI_PM_F_SIGNAL;
	out->is_backup = e->flags & NOFI_PM_F_BACKUP;
	out->is_fullmesh = e->flags & NOFI_PM_F_FULLMESH;
}

/* Implicit endpoints are the kernel's own notes: nobody configured them. */
static void fill_endpoints(struct nofi_pm *pm, struct nof_mptcp_status *s)
{
	struct nofi_pm_endpoint list[NOFI_PM_ENDPOINTS_MAX];
	int n = nofi_pm_endpoints(pm, list, NOFI_PM_ENDPOINTS_MAX);

	for (int i = 0; i < n && i < NOFI_PM_ENDPOINTS_MAX; i++) {
		if (list[i].flags & NOFI_PM_F_IMPLICIT)
			continue;
		if (s->endpoint_count < NOF_ENDPOINTS_MAX)
			fill_endpoint(&list[i], &s->endpoints[s->endpoint_count]);
		s->endpoint_count++;
	}
}

int nof_mptcp_get_status(struct nof_mptcp_status *status)
{
	struct nof_mptcp_status s = { 0 };
	struct nofi_pm_limits limits;
	struct nofi_err err;
	struct nofi_pm pm;

	if (!status || status->size < sizeof(status->size))
		return nofi_fail(-EINVAL, "nof_mptcp_get_status: status must not be NULL, and "
				 "status->size must be sizeof(*status)");
	s.size = status->size;
	s.is_enabled = can_open(s.reason, sizeof(s.reason));
	s.is_userspace_pm = nofi_pm_is_userspace();
	if (nofi_pm_open(&pm, &err) < 0) {
		/* Without sysctl and path manager it is not in the kernel at all. */
		s.is_supported = s.is_enabled;
		if (s.is_enabled)
			snprintf(s.reason, sizeof(s.reason), "%.150s", err.text);
	} else {
		s.is_supported = true;
		s.can_configure = nofi_pm_may_configure(&pm) == 0;
		if (nofi_pm_get_limits(&pm, &limits) == 0) {
			s.subflows_max = limits.subflows;
			s.add_addr_accepted_max = limits.add_addr_accepted;
		}
		fill_endpoints(&pm, &s);
		nofi_pm_close(&pm);
	}
	memcpy(status, &s, s.size < sizeof(s) ? s.size : sizeof(s));
	return 0;
}
