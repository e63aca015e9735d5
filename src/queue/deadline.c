/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a connection waits for has an end: one timer, for the connect and then for the oldest
 * command, and one for silence.
 */
#include <errno.h>

#include "queue/conn.h"

enum {
	LATE_NS = 50 * 1000000,		/* a timer is late when it fires so long after its time */
};

/* The loop counts the queues that wait for something, and of these those with I/O in flight. */
static void count(struct nofi_queue *q, bool is_busy)
{
	uint32_t n = is_busy ? 1 : UINT32_MAX;

	q->loop->busy += n;
	if (is_busy)
		q->is_hot = q->qid && q->state == QUEUE_READY;
	if (q->is_hot)
		q->loop->hot += n;
}

int nofi_conn_arm(struct nofi_queue *q, uint64_t deadline)
{
	bool was_armed = q->timer.pos;
	int r = nofi_timer_arm(q->loop, &q->timer, deadline);

	if (!was_armed && q->timer.pos)
		count(q, true);
	return r;
}

void nofi_conn_disarm(struct nofi_queue *q)
{
	if (!q->timer.pos)
		return;
	nofi_timer_disarm(q->loop, &q->timer);
	count(q, false);
}

/*
 * A timer that fires late says that this program was busy elsewhere, and that deadlines are
 * as old as the clock they were made with. What was due before that is given as much time
 * again, at most its timeout, and only once.
 */
static bool is_excused(struct nofi_queue *q, uint64_t deadline, uint64_t timeout)
{
	uint64_t now = nofi_loop_now(q->loop), late = now - deadline;

	if (late < LATE_NS || deadline <= q->excused)
		return false;
	q->excused = now;
	return nofi_conn_arm(q, now + (late < timeout ? late : timeout)) == 0;
}

/* Reports those that are late for the first time. False: one is so for the second time. */
static bool give_grace(struct nofi_queue *q)
{
	uint64_t now = nofi_loop_now(q->loop);
	uint64_t deadline;

	while ((deadline = nofi_machine_deadline(&q->m)) && deadline <= now) {
		uint16_t cid;
		uint8_t opcode;

		if (!q->late || !nofi_machine_extend(&q->m, now + q->grace, &cid, &opcode))
			return false;
		nofi_log(q->loop, NOF_LOG_WARN, "queue %u to %s: no answer to a command (opcode "
			 "%02xh, CID %u) in time", q->qid, q->peer, opcode, cid);
		q->late(q->arg, cid, opcode);
	}
	if (deadline)
		nofi_conn_arm(q, deadline);
	return true;
}

void nofi_conn_on_timer(struct nofi_timer *t)
{
	struct nofi_queue *q = nofi_conn_of(t, timer);
	uint64_t deadline;
	const struct nofi_cmd *cmd;
	unsigned ms;

	count(q, false);	/* it is disarmed now */
	if (q->state != QUEUE_READY) {
		if (nofi_conn_race(q))
			return;
		if (nofi_conn_is_dropped(q)) {
			nofi_conn_die_of(q, -EPROTONOSUPPORT, "mptcp=require: %s", q->proto.reason);
			return;
		}
		/* It was answered at the last moment: its event is on the way. */
		if (t->deadline < q->connect_deadline && nofi_conn_arm(q, q->connect_deadline) == 0)
			return;
		if (is_excused(q, t->deadline, q->opts.connect_timeout_ns))
			return;
		ms = (unsigned)(q->opts.connect_timeout_ns / 1000000);
		if (q->state == QUEUE_STARTING)
			nofi_conn_die_of(q, -ETIMEDOUT, "connected, but the %s handshake did not "
					 "end within %u ms; does the target expect one on this "
					 "port?", q->stream->name, ms);
		else if (q->state == QUEUE_ICREQ)
			nofi_conn_die_of(q, -ETIMEDOUT, "connected, but no ICResp within %u ms; "
					 "is it an NVMe/TCP port, or is the target stuck?", ms);
		else
			nofi_conn_die_of(q, -ETIMEDOUT, "no connection within %u ms; suspect the "
					 "address, a firewall, or a target that is down", ms);
		return;
	}
	/* Armed for a command that may have completed long ago: look at today's oldest. */
	deadline = nofi_machine_deadline(&q->m);
	if (!deadline)
		return;
	/* Under load this comes once per timeout: often enough, on whatever loop the queue is. */
	nofi_queue_recheck(q);
	if (deadline > nofi_loop_now(q->loop)) {
		nofi_conn_arm(q, deadline);
		return;
	}
	if (is_excused(q, deadline, q->command_timeout) || give_grace(q))
		return;
	cmd = nofi_machine_oldest(&q->m);
	ms = cmd->timeout_ms ? cmd->timeout_ms : (unsigned)(q->command_timeout / 1000000);
	nofi_conn_die_of(q, -ETIMEDOUT, "no answer to a command (opcode %02xh, CID %u) within its "
			 "timeout of %u ms%s; the target is stuck or the network drops data",
			 cmd->opcode, cmd->cid, ms,
			 cmd->is_late ? ", nor after an attempt to abort it" : "");
}

/* ---- silence ---- */

/* There are several ways, and *rtt is the smallest round trip of the slowest. */
static bool has_ways(const struct nofi_sock_info *info, uint64_t *rtt)
{
	*rtt = 0;
	for (unsigned i = 0; i < info->subflow_count && i < NOFI_SUBFLOWS_MAX; i++)
		if (info->subflows[i].min_rtt_us < UINT32_MAX &&
		    info->subflows[i].min_rtt_us * 1000ull > *rtt)
			*rtt = info->subflows[i].min_rtt_us * 1000ull;
	return info->proto.is_mptcp && info->subflow_count > 1;
}

/* Not a command's deadline: what it finds may be that nothing waits any more. */
static void on_quiet(struct nofi_timer *t)
{
	struct nofi_queue *q = nofi_conn_of(t, quiet_timer);
	uint64_t now = nofi_loop_now(q->loop), limit;
	struct nofi_sock_info info;

	if (q->state != QUEUE_READY || !nofi_machine_waiting(&q->m))
		return;
	nofi_stall_calm(&q->pace, now);
	limit = nofi_stall_limit(&q->pace);
	if (now - q->heard >= limit) {
		if (nofi_queue_get_info(q, &info) < 0)
			return;
		if (!has_ways(&info, &q->pace.rtt_ns)) {
			q->heard = now;
		} else if (now - q->heard >= nofi_stall_limit(&q->pace)) {
			nofi_stall_alarmed(&q->pace, now);
			q->heard = now;
			q->quiet(q->arg, &info);
		}
		limit = nofi_stall_limit(&q->pace);
	}
	/* Without memory for it silence is not noticed: commands have their deadlines still. */
	(void)nofi_timer_arm(q->loop, t, q->heard + limit);
}

void nofi_conn_watch_quiet(struct nofi_queue *q)
{
	/* The first that waits: the silence before it was nobody's fault. */
	if (nofi_machine_waiting(&q->m) == 1)
		q->heard = nofi_loop_now(q->loop);
	if (!q->quiet_timer.pos)
		(void)nofi_timer_arm(q->loop, &q->quiet_timer,
				     q->heard + nofi_stall_limit(&q->pace));
}

/* ---- interface ---- */

void nofi_queue_set_timeout(struct nofi_queue *q, uint64_t ns)
{
	q->command_timeout = ns;
}

void nofi_queue_set_grace(struct nofi_queue *q, uint64_t ns, nofi_queue_late_fn *fn)
{
	q->grace = ns;
	q->late = fn;
}

void nofi_queue_set_quiet(struct nofi_queue *q, nofi_queue_quiet_fn *fn)
{
	q->quiet_timer.fn = on_quiet;
	q->heard = nofi_loop_now(q->loop);
	q->quiet = fn;
}

void nofi_conn_move_deadline(struct nofi_queue *q, uint64_t deadline)
{
	if (nofi_conn_arm(q, deadline) == 0 || q->pending.code)
		return;
	/* No command without a deadline. */
	nofi_err_set(&q->pending, -ENOMEM, "queue %u to %s: out of memory for a timer", q->qid,
		     q->peer);
	nofi_loop_defer(q->loop, &q->defer);
}
