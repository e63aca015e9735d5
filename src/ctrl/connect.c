/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a name to a connected admin queue: look-up, one address after the other,
 * Fabrics Connect; and the Connect command of every other queue.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/internal.h"

/* ---- Connect command (F-1, F-2) ---- */

enum {
	CATTR_DISABLE_SQFLOW = 1u << 2,
	AUTHREQ_ATR = 1u << 17,		/* DW0: must authenticate */
	AUTHREQ_ASCR = 1u << 18,	/* DW0: the same, with secure channel concatenation */
	CNTLID_DYNAMIC = 0xffff,
};

void nofi_connect_build(const struct nof_ctrl *ctrl, uint16_t qid, uint16_t cntlid,
			uint32_t entries, uint8_t *sqe, uint8_t *data)
{
	memset(sqe, 0, NOFI_SQE_LEN);
	sqe[0] = nvme_admin_fabrics;
	sqe[4] = nvme_fabrics_type_connect;
	nofi_put16(sqe + 42, qid);
	nofi_put16(sqe + 44, (uint16_t)(entries - 1));
	sqe[46] = ctrl->opts.disable_sqflow ? CATTR_DISABLE_SQFLOW : 0;
	nofi_put32(sqe + 48, qid ? 0 : ctrl->opts.keep_alive_tmo_ms);

	memset(data, 0, NOFI_CONNECT_LEN);
	memcpy(data, ctrl->hostid, sizeof(ctrl->hostid));
	nofi_put16(data + 16, qid ? cntlid : CNTLID_DYNAMIC);
	memcpy(data + 256, ctrl->opts.subnqn, strlen(ctrl->opts.subnqn));
	memcpy(data + 512, ctrl->opts.hostnqn, strlen(ctrl->opts.hostnqn));
}

/* What IPO (offset of the bad parameter) points at, in the data or in the SQE. */
static const char *bad_parameter(uint16_t ipo, bool is_data)
{
	if (is_data)
		return ipo < 16 ? "the host id" : ipo < 256 ? "the controller id" :
		       ipo < 512 ? "the subsystem NQN" : "the host NQN";
	return ipo == 42 ? "the queue id" : ipo == 44 ? "the queue size" :
	       ipo == 46 ? "the connect attributes (disable_sqflow?)" :
	       ipo == 48 ? "the keep alive timeout" : "a field of the command";
}

int nofi_connect_status(const struct nof_opts *opts, uint16_t qid, uint16_t status,
			uint64_t result, struct nofi_err *err)
{
	uint16_t ipo = (uint16_t)result;
	bool is_data = result & 0x10000;
	char host[sizeof(opts->traddr) + sizeof(opts->trsvcid) + 4];

	switch (status & 0x7ff) {
	case 0x180:
		return nofi_err_set(err, -EPROTONOSUPPORT, "Connect of queue %u: the target does "
				    "not know the format of our Connect command; it speaks another "
				    "version of NVMe over Fabrics", qid);
	case 0x181:
		return nofi_err_set(
			err, -EBUSY,
			"Connect of queue %u: \"%s\" is busy, perhaps with "
			"an association that has just ended, or has no controller left; "
			"try again in some seconds",
			qid, opts->subnqn);
	case 0x182:
		if (is_data && ipo >= 256 && ipo < 512)
			return nofi_err_set(err, -ENOENT, "the target %s knows no subsystem named "
					    "\"%s\"; its discovery service lists those it has: "
					    "nvmf-info nvme+tcp://%s", opts->traddr, opts->subnqn,
					    nofi_text_host(opts, "4420", host, sizeof(host)));
		if (is_data && ipo >= 512)
			return nofi_err_set(err, -EACCES,
					    "the target does not accept the host NQN "
					    "\"%s\"; allow it there, or set hostnqn",
					    opts->hostnqn);
		/* Of an I/O queue it is the one that the target itself assigned a moment ago. */
		if (qid && is_data && ipo >= 16 && ipo < 256)
			return nofi_err_set(err, -ECONNRESET, "Connect of queue %u: the target "
					    "does not know the controller any more: it has ended "
					    "the association", qid);
		return nofi_err_set(err, -EINVAL, "Connect of queue %u: the target rejects %s "
				    "(offset %u of the %s)", qid, bad_parameter(ipo, is_data), ipo,
				    is_data ? "data" : "command");
	case 0x183:
		return nofi_err_set(err, -EAGAIN, "Connect of queue %u: the target's configuration "
				    "has changed and it asks to look at its discovery log again: "
				    "nvmf-info nvme+tcp://%s", qid,
				    nofi_text_host(opts, "4420", host, sizeof(host)));
	case 0x184:
		return nofi_err_set(err, -EACCES, "the subsystem \"%s\" does not allow this host "
				    "(\"%s\"); add that name to its list of hosts, or set hostnqn",
				    opts->subnqn, opts->hostnqn);
	case 0x191:
		return nofi_err_set(err, -ENOTSUP, "the subsystem \"%s\" wants DH-HMAC-CHAP "
				    "authentication, which this version does not have; turn it off "
				    "for this host at the target", opts->subnqn);
	}
	return nofi_err_set(err, nof_status_errno(status), "Connect of queue %u to \"%s\": the "
			    "target refused with \"%s\" (status %#x); its log should say why", qid,
			    opts->subnqn, nof_status_string(status), status);
}

static int connect_send(struct nof_ctrl *ctrl)
{
	struct nofi_acmd *c = &ctrl->step_cmd;

	nofi_cmd_simple(c, nvme_admin_fabrics, NOFI_CMD_FABRICS);
	nofi_connect_build(ctrl, 0, 0, NOFI_ADMIN_ENTRIES, c->sqe, ctrl->page);
	c->dir = NOFI_DIR_WRITE;
	c->iov.iov_base = ctrl->page;
	c->iov.iov_len = NOFI_CONNECT_LEN;
	return nofi_acmd_send(c);
}

static void connect_answer(struct nof_ctrl *ctrl, const struct nofi_cpl *cpl)
{
	struct nofi_err err;

	if (cpl->status) {
		ctrl->fail_status = cpl->status;
		nofi_connect_status(&ctrl->opts, 0, cpl->status, cpl->result, &err);
		if (cpl->status & NOF_STATUS_DNR)
			nofi_ctrl_refused(ctrl, &err);
		else
			nofi_ctrl_fail(ctrl, &err);
		return;
	}
	if (cpl->result & (AUTHREQ_ATR | AUTHREQ_ASCR)) {
		nofi_connect_status(&ctrl->opts, 0, 0x191, 0, &err);
		nofi_ctrl_refused(ctrl, &err);
		return;
	}
	ctrl->cntlid = (uint16_t)cpl->result;
	/* FFF0h and up are no controller ids; FFFFh would name any one in later Connects. */
	if (ctrl->cntlid >= 0xfff0) {
		nofi_ctrl_failf(ctrl, -EPROTO,
				"Connect: the target assigned the reserved controller "
				"id %#x; the target is at fault",
				ctrl->cntlid);
		return;
	}
	nofi_step_enter(ctrl, &nofi_step_cap);
}

const struct nofi_step nofi_step_connect = { "Connect", connect_send, connect_answer, true };

/* ---- transport ---- */

/* The admin queue's try decides for itself, and which of the target's addresses is preferred. */
static void fill_place(const struct nof_ctrl *ctrl, uint16_t qid, uint32_t n,
		       struct nofi_queue_opts *o)
{
	const struct nofi_try *t = &ctrl->tries[ctrl->try_next - 1];
	const struct nofi_placement *p = &ctrl->placement;
	const struct nofi_place *place;

	o->addr = ctrl->addrs.addr[t->addr];
	o->sock.src = ctrl->src;
	o->sock.src_len = ctrl->src_len;
	if (!p->count)
		return;
	place = &p->place[qid ? nofi_placement_of(p, qid, n) : t->place];
	o->addr = *nofi_place_to(place, &ctrl->addrs, t->addr);
	if (!place->from.len)
		return;
	o->sock.src = place->from.sa;
	o->sock.src_len = place->from.len;
}

void nofi_queue_opts_fill(const struct nof_ctrl *ctrl, uint16_t qid, uint32_t n,
			  struct nofi_queue_opts *o)
{
	const struct nof_opts *opts = &ctrl->opts;

	memset(o, 0, sizeof(*o));
	o->qid = qid;
	o->entries = qid ? ctrl->io_entries : NOFI_ADMIN_ENTRIES;
	o->sock.mptcp = opts->mptcp == NOF_MPTCP_OFF ? NOFI_MPTCP_OFF :
			opts->mptcp == NOF_MPTCP_REQUIRE ? NOFI_MPTCP_REQUIRE : NOFI_MPTCP_PREFER;
	o->sock.tos = opts->tos;
	o->sock.congestion = opts->congestion;
	o->sock.priority = opts->so_priority;
	o->sock.mark = opts->so_mark;
	o->sock.sndbuf = opts->sndbuf;
	o->sock.rcvbuf = opts->rcvbuf;
	o->sock.keepalive_ms = opts->tcp_keepalive_ms;
	o->sock.rto_min_us = opts->rto_min_us;
	o->sock.iface = opts->host_iface;
	fill_place(ctrl, qid, n, o);
	nofi_pathman_steer(ctrl, o);
	o->hdgst = opts->hdr_digest == NOF_ON ? NOFI_DIGEST_ON :
		   opts->hdr_digest == NOF_PREFER ? NOFI_DIGEST_PREFER : NOFI_DIGEST_OFF;
	o->ddgst = opts->data_digest == NOF_ON ? NOFI_DIGEST_ON :
		   opts->data_digest == NOF_PREFER ? NOFI_DIGEST_PREFER : NOFI_DIGEST_OFF;
	o->maxr2t = opts->max_r2t;
	o->disable_sqflow = opts->disable_sqflow;
	o->incapsule_max = !qid ? NOFI_ADMIN_INCAPSULE :
			   opts->in_capsule ? ctrl->ident.incapsule : 0;
	o->connect_timeout_ns = opts->connect_timeout_ms * NOFI_MS;
	/* Of an I/O queue that has other ways: all of them share it. */
	if (qid && ctrl->placement.count > 1)
		o->connect_timeout_ns = (opts->connect_timeout_ms / ctrl->placement.count + 1) *
					NOFI_MS;
	/* Of an I/O queue: of its Connect command; ioq.c sets the other later. */
	o->command_timeout_ns = opts->admin_timeout_ms * NOFI_MS;
	o->tap = ctrl->tap;
}

static void try_next(struct nof_ctrl *ctrl, const struct nofi_err *last);

static void admin_event(void *arg, enum nofi_queue_event ev, const struct nofi_err *err)
{
	struct nof_ctrl *ctrl = arg;

	if (ev == NOFI_QUEUE_READY) {
		ctrl->is_transport_up = true;
		nofi_step_enter(ctrl, &nofi_step_connect);
		return;
	}
	if (!ctrl->admin)
		return;		/* teardown() is closing it */
	if (ctrl->state == NOF_CTRL_CONNECTING && !ctrl->is_transport_up) {
		nofi_queue_free(ctrl->admin);
		ctrl->admin = NULL;
		try_next(ctrl, err);
		return;
	}
	nofi_place_lost(ctrl, ctrl->tries[ctrl->try_next - 1].place);
	nofi_ctrl_fail(ctrl, err);
}

void nofi_place_lost(struct nof_ctrl *ctrl, uint32_t place)
{
	if (ctrl->placement.count)
		ctrl->place_first = (place + 1) % ctrl->placement.count;
}

/* The time that is left is shared by the tries that are left. */
static void try_next(struct nof_ctrl *ctrl, const struct nofi_err *last)
{
	uint64_t now = nofi_loop_now(ctrl->loop);
	struct nofi_queue_opts o;
	struct nofi_err err;
	uint32_t left;

	if (last)
		err = *last;
	else if (ctrl->addrs.count)
		nofi_err_set(&err, -EAFNOSUPPORT, "\"%s\" has no address of the family (IPv4, "
			     "IPv6) of the sources in queue_paths", ctrl->opts.traddr);
	else
		nofi_err_set(&err, -EADDRNOTAVAIL, "\"%s\" has no address", ctrl->opts.traddr);
	for (;;) {
		left = ctrl->ntries - ctrl->try_next;
		if (!left || now >= ctrl->connect_deadline)
			break;
		ctrl->try_next++;
		nofi_queue_opts_fill(ctrl, 0, 0, &o);
		ctrl->peer = o.addr;
		if (ctrl->src_len && o.sock.src.ss_family != o.addr.sa.ss_family) {
			nofi_err_set(&err, -EAFNOSUPPORT,
				     "host_traddr \"%s\" and the target's address "
				     "are of different families (IPv4, IPv6)",
				     ctrl->opts.host_traddr);
			continue;
		}
		/* In whole ms, for the sentence that may name it. */
		o.connect_timeout_ns =
			((ctrl->connect_deadline - now) / left / NOFI_MS + 1) * NOFI_MS;
		if (o.connect_timeout_ns > ctrl->opts.connect_timeout_ms * NOFI_MS)
			o.connect_timeout_ns = ctrl->opts.connect_timeout_ms * NOFI_MS;
		if (nofi_queue_new(ctrl->loop, &o, admin_event, ctrl, &ctrl->admin, &err) < 0)
			continue;
		if (nofi_queue_start(ctrl->admin, &err) == 0)
			return;
		nofi_queue_free(ctrl->admin);
		ctrl->admin = NULL;
	}
	if (ctrl->ntries > 1) {
		struct nofi_err all;

		nofi_err_set(&all, err.code,
			     "none of the %u %s \"%s\" worked; the last one: %s", ctrl->ntries,
			     ctrl->placement.count ? "ways (queue_paths) to" : "addresses of",
			     ctrl->opts.traddr, err.text);
		nofi_ctrl_fail(ctrl, &all);
		return;
	}
	nofi_ctrl_fail(ctrl, &err);
}

/* ---- look-up ---- */

/*
 * Attempts begin at different addresses: one that takes connections but cannot serve
 * must not hide the others.
 */
static void use_addrs(struct nof_ctrl *ctrl, const struct nofi_addrs *found)
{
	uint32_t skip = ctrl->fsm.attempts ? ctrl->fsm.attempts - 1 : 0;

	ctrl->addrs.count = found->count;
	for (unsigned i = 0; i < found->count; i++)
		ctrl->addrs.addr[i] = found->addr[(i + skip) % found->count];
	ctrl->ntries = nofi_placement_tries(&ctrl->placement, &ctrl->addrs,
					    ctrl->place_first + skip, ctrl->tries);
	try_next(ctrl, NULL);
}

/* On the loop: the result, or what is left of a look-up that was given up. */
static void lookup_arrived(struct nofi_msg *m)
{
	struct nofi_lookup *l = nofi_of(m, struct nofi_lookup, msg);
	struct nof_ctrl *ctrl = l->ctrl;

	if (ctrl->lookup == l) {
		nofi_connect_cancel(ctrl);
		if (l->err.code)
			nofi_ctrl_fail(ctrl, &l->err);
		else
			use_addrs(ctrl, &l->addrs);
	}
	free(l);
	nofi_ctrl_unref(ctrl);
}

/* On the look-up's own thread; ctrl exists until nofi_resolve_cancel() has returned. */
static void lookup_done(void *arg, const struct nofi_addrs *addrs, const struct nofi_err *err)
{
	struct nofi_lookup *l = arg;

	if (err && err->code)
		l->err = *err;
	else
		l->addrs = *addrs;
	l->is_posted = true;
	nofi_ctrl_ref(l->ctrl);
	nofi_loop_post(l->ctrl->loop, &l->msg);
}

static void connect_timeout(struct nofi_timer *t)
{
	struct nof_ctrl *ctrl = nofi_of(t, struct nof_ctrl, connect_timer);
	struct nofi_addrs addrs = ctrl->addrs;

	if (ctrl->lookup) {
		nofi_connect_cancel(ctrl);
		nofi_ctrl_failf(ctrl, -ETIMEDOUT,
				"the name \"%s\" was not resolved within %u ms; is "
				"the name server (/etc/resolv.conf) reachable? A numeric address "
				"needs none",
				ctrl->opts.traddr, ctrl->opts.connect_timeout_ms);
		return;
	}
	/* A numeric address: the timer only takes us out of the submitting call. */
	use_addrs(ctrl, &addrs);
}

void nofi_connect_cancel(struct nof_ctrl *ctrl)
{
	struct nofi_lookup *l = ctrl->lookup;

	nofi_timer_disarm(ctrl->loop, &ctrl->connect_timer);
	ctrl->lookup = NULL;
	if (!l)
		return;
	/* From here on its thread calls no more; what it posted frees the rest. */
	nofi_resolve_cancel(l->resolve);
	if (!l->is_posted)
		free(l);
}

static int lookup_start(struct nof_ctrl *ctrl, struct nofi_err *err)
{
	struct nofi_lookup *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return nofi_err_set(err, -ENOMEM, "out of memory");
	l->ctrl = ctrl;
	l->msg.fn = lookup_arrived;
	r = nofi_resolve_start(ctrl->opts.traddr, ctrl->opts.trsvcid, lookup_done, l, &l->resolve,
			       err);
	if (r < 0)
		free(l);
	else
		ctrl->lookup = l;
	return r;
}

int nofi_connect_start(struct nof_ctrl *ctrl, struct nofi_err *err)
{
	const struct nof_opts *o = &ctrl->opts;
	uint64_t now = nofi_loop_now(ctrl->loop);
	struct nofi_addrs src;
	int r;

	if (o->host_traddr[0]) {
		if (nofi_resolve_numeric(o->host_traddr, "0", &src) != 1)
			return nofi_err_set(err, -EINVAL, "host_traddr \"%s\" is not a numeric "
					    "address", o->host_traddr);
		ctrl->src = src.addr[0].sa;
		ctrl->src_len = src.addr[0].len;
	}
	ctrl->ntries = ctrl->try_next = 0;
	ctrl->is_transport_up = false;
	ctrl->fail_status = 0;
	ctrl->has_nvm_limits = ctrl->has_zns = false;
	ctrl->zns_effects.is_known = false;
	ctrl->connect_deadline = now + o->connect_timeout_ms * NOFI_MS;
	ctrl->connect_timer.fn = connect_timeout;
	if (nofi_resolve_numeric(o->traddr, o->trsvcid, &ctrl->addrs) == 1) {
		r = nofi_timer_arm(ctrl->loop, &ctrl->connect_timer, now);
		return r < 0 ? nofi_err_set(err, r, "no memory for a timer") : 0;
	}
	r = nofi_timer_arm(ctrl->loop, &ctrl->connect_timer, ctrl->connect_deadline);
	if (r < 0)
		return nofi_err_set(err, r, "no memory for a timer");
	r = lookup_start(ctrl, err);
	if (r < 0)
		nofi_timer_disarm(ctrl->loop, &ctrl->connect_timer);
	return r;
}
