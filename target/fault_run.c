/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Applies fault rules. An outgoing PDU is taken apart into header and payload,
 * changed, and put together again as flat bytes; what a rule does to a whole
 * connection (split, merge, silence …) is kept in struct conn_fault and felt by
 * every later send.
 */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "fault.h"
#include "target.h"
#include "pdu/crc32c.h"

enum { MERGE_MS = 200, SPLITAT_MS = 2, DEPTH = 8, RULES_PER_PDU = 256 };

/* A rule on C2HTermReq that itself terminates would never end. */
static int depth;

static void on_hold(struct timer *t)
{
	struct conn_fault *f = container_of(t, struct conn_fault, hold);
	struct conn *c = container_of(f, struct conn, fault);

	f->is_held = false;
	f->merge = 0;
	tx_flush(c);
}

static void hold(struct conn *c, uint64_t ms)
{
	c->fault.is_held = true;
	timer_set(&c->fault.hold, ms * MS, on_hold);
}

/* ---- matching ---- */

static bool is(int64_t want, uint64_t have)
{
	return want < 0 || (uint64_t)want == have;
}

static bool matches_cmd(const struct fault_rule *r, const struct conn *c, const struct cmd *cmd)
{
	uint16_t qid = c->qid;

	if (cmd && cmd->is_fabrics && cmd->sqe[4] == 1)
		qid = nofi_get16(cmd->sqe + 42);	/* Connect: the queue it is for */
	if (!is(r->qid, qid) || (r->is_io_only && !qid))
		return false;
	if (r->opc < 0 && r->fctype < 0 && r->cid < 0 && r->nsid < 0 && r->cns < 0 &&
	    r->fid < 0 && r->lid < 0 && r->prop < 0 && r->bit12 < 0)
		return true;
	if (!cmd)
		return false;
	if (!is(r->opc, cmd->opc) || !is(r->cid, cmd->cid) || !is(r->nsid, sqe_dw(cmd, 1)))
		return false;
	if (r->fctype >= 0 && (!cmd->is_fabrics || !is(r->fctype, cmd->sqe[4])))
		return false;
	if (r->prop >= 0 && (!cmd->is_fabrics || !is(r->prop, sqe_dw(cmd, 11))))
		return false;
	if (r->bit12 >= 0 && !(sqe_dw(cmd, 12) >> (r->bit12 & 31) & 1))
		return false;
	return is(r->cns, sqe_dw(cmd, 10) & 0xff) && is(r->fid, sqe_dw(cmd, 10) & 0xff) &&
	       is(r->lid, sqe_dw(cmd, 10) & 0xff);
}

static bool matches(struct fault_rule *r, enum fault_event ev, const struct conn *c,
		    const struct cmd *cmd)
{
	if (r->event != ev && !(r->event == FAULT_PDU && ev >= FAULT_ICRESP))
		return false;
	return is(r->conn, c->id) && matches_cmd(r, c, cmd);
}

/* Counts a match; true: the rule acts on it. */
static bool fires(struct fault_rule *r)
{
	uint64_t n = ++r->seen;

	if (n < r->nth || n > r->last || (n - r->nth) % r->every)
		return false;
	r->fired++;
	return true;
}

/* ---- building PDUs ---- */

struct build {
	uint8_t hdgst, ddgst;		/* 0, 'b'ad, 'k'eep */
	uint32_t cut;			/* bytes taken off the end */
	uint32_t pad;			/* more bytes than the alignment asks for before the data */
	unsigned int nsets;
	const struct fault_set *sets[RULES_PER_PDU];	/* one list per DO_SET or DO_INJECT */
};

static void apply_set(const struct fault_set *s, uint8_t *p, uint32_t len, uint32_t offset)
{
	uint64_t old = 0, v, mask;

	if ((uint64_t)offset + s->size > len)
		return;
	for (unsigned int i = 0; i < s->size; i++)
		old |= (uint64_t)p[offset + i] << (8 * i);
	mask = (s->mask ? s->mask : UINT64_MAX) << s->shift;
	v = (old & mask) >> s->shift;
	switch (s->op) {
	case '+':
		v += s->value;
		break;
	case '-':
		v -= s->value;
		break;
	case '^':
		v ^= s->value;
		break;
	default:
		v = s->value;
	}
	v = (old & ~mask) | ((v << s->shift) & mask);
	for (unsigned int i = 0; i < s->size; i++)
		p[offset + i] = (uint8_t)(v >> (8 * i));
}

static void apply_sets(const struct fault_set *s, struct pdu_out *p, uint8_t *data)
{
	for (; s; s = s->next) {
		uint32_t offset = s->offset;

		if (s->is_data) {
			apply_set(s, data, p->len, offset);
			continue;
		}
		if (offset == UINT32_MAX)	/* cid */
			offset = p->head[0] == NOFI_PDU_CAPSULE_RESP ? 20 : 8;
		apply_set(s, p->head, p->hlen, offset);
	}
}

/*
 * The wire bytes of p with all sets applied. The layout stays as it would have
 * been: only what the header says about it changes. NULL: no memory.
 */
static uint8_t *flatten(struct conn *c, struct pdu_out *p, const struct build *b, uint32_t *len)
{
	uint32_t head = tx_finish_head(c, p), pdo = p->head[3], start;
	bool has_hd = head > p->hlen, has_dd = p->head[1] & NOFI_PDU_F_DDGST;
	uint32_t hd, dd = 0;
	uint8_t *out;

	if (pdo && pdo + b->pad <= UINT8_MAX) {
		pdo += b->pad;
		p->head[3] = (uint8_t)pdo;
		nofi_put32(p->head + 4, nofi_get32(p->head + 4) + b->pad);
	}
	start = pdo ? pdo : head;
	out = calloc(1, start + p->len + NOFI_DIGEST_LEN);
	if (!out)
		return NULL;
	memset(out, 0xa5, start);	/* the pad: hosts must ignore it (T-1) */
	if (p->data)
		memcpy(out + start, p->data, p->len);
	hd = nofi_crc32c(p->head, p->hlen);
	if (has_dd)
		dd = nofi_crc32c(out + start, p->len);
	for (unsigned int i = 0; i < b->nsets; i++)
		apply_sets(b->sets[i], p, out + start);
	if (b->hdgst != 'k')
		hd = nofi_crc32c(p->head, p->hlen) ^ (b->hdgst == 'b');
	if (b->ddgst != 'k' && has_dd)
		dd = nofi_crc32c(out + start, p->len) ^ (b->ddgst == 'b');
	memcpy(out, p->head, p->hlen);
	if (has_hd)
		nofi_put32(out + p->hlen, hd);
	if (has_dd)
		nofi_put32(out + start + p->len, dd);
	*len = start + p->len + (has_dd ? NOFI_DIGEST_LEN : 0);
	*len -= b->cut < *len ? b->cut : *len;
	return out;
}

/* Puts finished bytes into the output, past whatever waits for its successor. */
static void queue_bytes(struct conn *c, const void *data, uint32_t len)
{
	struct conn_fault *f = &c->fault;

	if (f->is_silent || c->state == CONN_DEAD)
		return;
	tx_bytes(c, data, len);
	if (f->is_swapping && c->state != CONN_DEAD) {
		f->is_swapping = false;
		tx_bytes(c, f->swapped, f->swapped_len);
		free(f->swapped);
		f->swapped = NULL;
	}
	if (f->merge && ++f->merge_have >= f->merge)
		f->merge = 0;
}

static void queue_pdu(struct conn *c, const struct pdu_out *p, const struct build *b)
{
	struct pdu_out copy = *p;
	uint32_t len;
	uint8_t *bytes = flatten(c, &copy, b, &len);

	if (!bytes) {
		conn_close(c, true);
		return;
	}
	queue_bytes(c, bytes, len);
	free(bytes);
}

static void swap(struct conn *c, const struct pdu_out *p, const struct build *b)
{
	struct conn_fault *f = &c->fault;
	struct pdu_out copy = *p;

	if (f->is_swapping) {
		queue_pdu(c, p, b);
		return;
	}
	f->swapped = flatten(c, &copy, b, &f->swapped_len);
	f->is_swapping = f->swapped;
}

static void inject(struct conn *c, const struct fault_action *a, const struct cmd *cmd)
{
	uint8_t type = (uint8_t)a->arg[0];
	uint32_t len = (uint32_t)a->arg[1];
	uint16_t cid = cmd ? cmd->cid : 0;
	struct pdu_out p = { .head = { type }, .hlen = NOFI_DATA_HLEN };
	struct build b = { .nsets = 1, .sets = { a->sets } };

	switch (type) {
	case NOFI_PDU_ICRESP:
		p.hlen = NOFI_IC_LEN;
		p.head[10] = c->cpda;
		p.head[11] = (uint8_t)(c->hdgst | c->ddgst << 1);
		nofi_put32(p.head + 12, opt.maxh2cdata);
		break;
	case NOFI_PDU_C2H_TERM:
		nofi_put16(p.head + 8, NOFI_FES_INVALID_HDR);
		break;
	case NOFI_PDU_CAPSULE_RESP:
		nofi_put16(p.head + 16, c->sqhd);
		nofi_put16(p.head + 18, c->qid);
		nofi_put16(p.head + 20, cid);
		break;
	case NOFI_PDU_C2H_DATA:
		p.head[1] = NOFI_PDU_F_LAST;
		nofi_put16(p.head + 8, cid);
		nofi_put32(p.head + 16, len);
		p.len = len;		/* zeroes */
		break;
	case NOFI_PDU_R2T:
		nofi_put16(p.head + 8, cid);
		nofi_put16(p.head + 10, 0xbeef);
		nofi_put32(p.head + 16, len);
		break;
	}
	queue_pdu(c, &p, &b);
}

/* ---- what can be done to a connection at any event ---- */

static void kill_now(void)
{
	kill(getpid(), SIGKILL);
}

static void end_conn(struct conn *c, enum fault_verb how)
{
	switch (how) {
	case DO_CLOSE:
		conn_close_after_flush(c);
		break;
	case DO_RESET:
		conn_close(c, true);
		break;
	case DO_KILL:
		kill_now();
		break;
	case DO_SILENCE:
		c->fault.is_silent = true;
		break;
	case DO_STALL:
		c->fault.is_stalled = true;
		conn_update_events(c);
		break;
	default:
		break;
	}
}

static void do_common(struct conn *c, const struct fault_action *a, struct cmd *cmd,
		      const void *culprit, uint32_t culprit_len)
{
	struct conn_fault *f = &c->fault;

	switch (a->verb) {
	case DO_RAW:
		queue_bytes(c, a->raw, a->raw_len);
		break;
	case DO_INJECT:
		inject(c, a, cmd);
		break;
	case DO_SPLIT:
		f->split = (uint32_t)a->arg[0];
		break;
	case DO_SPLITAT:
		f->split_at = a->arg[0];
		f->split_at_ms = a->arg[1] ? (uint32_t)a->arg[1] : SPLITAT_MS;
		break;
	case DO_MERGE:
		f->merge = (uint32_t)a->arg[0];
		f->merge_have = 0;
		/* Held back no longer than this: the host may be waiting for it. */
		timer_set(&f->hold, (a->arg[1] ? a->arg[1] : MERGE_MS) * MS, on_hold);
		break;
	case DO_DELAY:
		tx_push(c);		/* what came before is not late */
		if (c->state != CONN_DEAD)
			hold(c, a->arg[0]);
		break;
	case DO_AT:
		f->kill_at_tx = a->arg[0];
		f->kill_how = (uint8_t)a->arg[1];
		break;
	case DO_TERM:
		if (depth < DEPTH)
			conn_term(c, (uint16_t)a->arg[0], (uint32_t)a->arg[1], culprit,
				  culprit_len, "a fault rule says so");
		break;
	case DO_SILENCE:
	case DO_KILL:
		tx_push(c);
		end_conn(c, a->verb);
		break;
	default:
		end_conn(c, a->verb);
		break;
	}
}

struct fault_verdict fault_in(struct conn *c, enum fault_event ev, struct cmd *cmd)
{
	struct fault_verdict v = { 0 };

	for (struct fault_rule *r = fault_rules; r; r = r->next) {
		if (!matches(r, ev, c, cmd) || !fires(r))
			continue;
		for (const struct fault_action *a = r->actions; a; a = a->next) {
			if (a->verb == DO_DROP) {
				v.is_dropped = true;
			} else if (a->verb == DO_STATUS) {
				v.is_status = true;
				v.status = (uint16_t)a->arg[0];
			} else if (a->verb == DO_DELAY && ev == FAULT_CMD) {
				v.delay_ms = (uint32_t)a->arg[0];
			} else {
				do_common(c, a, cmd, NULL, 0);
			}
			if (c->state == CONN_DEAD)
				return v;
		}
	}
	if (!c->in_rx && ev == FAULT_ACCEPT)
		tx_flush(c);
	return v;
}

static enum fault_event event_of(const struct pdu_out *p)
{
	switch (p->head[0]) {
	case NOFI_PDU_ICRESP:
		return FAULT_ICRESP;
	case NOFI_PDU_CAPSULE_RESP:
		return FAULT_RESP;
	case NOFI_PDU_C2H_DATA:
		return FAULT_C2HDATA;
	case NOFI_PDU_R2T:
		return FAULT_R2T;
	default:
		return FAULT_C2HTERM;
	}
}

static void shorten(struct pdu_out *p, uint32_t n)
{
	if (p->head[0] != NOFI_PDU_C2H_DATA || p->len <= n)
		return;
	p->len -= n;
	nofi_put32(p->head + 16, p->len);
}

/* The actions of one rule on one outgoing PDU; true: it was sent or is not to be. */
static bool act_out(struct conn *c, struct fault_rule *r, struct pdu_out *p, struct build *b)
{
	bool is_done = false;

	for (const struct fault_action *a = r->actions; a && c->state != CONN_DEAD; a = a->next) {
		switch (a->verb) {
		case DO_SET:
			if (b->nsets < RULES_PER_PDU)
				b->sets[b->nsets++] = a->sets;
			break;		/* applied when it is flattened */
		case DO_HDGST:
			b->hdgst = (uint8_t)a->arg[0];
			break;
		case DO_DDGST:
			b->ddgst = (uint8_t)a->arg[0];
			break;
		case DO_SHORT:
			shorten(p, (uint32_t)a->arg[0]);
			break;
		case DO_CUT:
			b->cut = (uint32_t)a->arg[0];
			break;
		case DO_PAD:
			b->pad = (uint32_t)a->arg[0];
			break;
		case DO_STATUS:
			nofi_put16(p->head + 22, (uint16_t)(a->arg[0] << 1));
			break;
		case DO_SEND:
			queue_pdu(c, p, b);
			is_done = true;
			break;
		case DO_DUP:
			for (uint64_t i = 0; i <= (a->arg[0] ? a->arg[0] : 1); i++)
				queue_pdu(c, p, b);
			is_done = true;
			break;
		case DO_DROP:
			is_done = true;
			break;
		case DO_SWAP:
			swap(c, p, b);
			is_done = true;
			break;
		case DO_CLOSE:
		case DO_RESET:
		case DO_KILL:
		case DO_TERM:
		case DO_SILENCE:
			is_done = true;
			/* fall through */
		default:
			do_common(c, a, p->cmd, p->head, p->hlen);
		}
	}
	return is_done || c->state == CONN_DEAD;
}

void fault_out(struct conn *c, struct pdu_out *p)
{
	enum fault_event ev = event_of(p);
	struct build b = { 0 };
	bool is_done = false, is_hit = false;

	if (c->state == CONN_CLOSING)
		return;			/* a rule closed it: nothing follows */
	depth++;
	for (struct fault_rule *r = fault_rules; r && depth < DEPTH && !is_done; r = r->next) {
		if (!matches(r, ev, c, p->cmd))
			continue;
		if (r->status >= 0 && (ev != FAULT_RESP ||
				       !is(r->status, nofi_get16(p->head + 22) >> 1)))
			continue;
		if (!fires(r))
			continue;
		is_done = act_out(c, r, p, &b);
		is_hit = true;
	}
	depth--;
	if (is_done || c->state == CONN_DEAD)
		return;
	if (is_hit || c->fault.is_silent || c->fault.is_swapping || c->fault.merge)
		queue_pdu(c, p, &b);
	else
		tx_pdu_plain(c, p);
}

/* ---- sending ---- */

uint64_t fault_send_limit(struct conn *c)
{
	const struct conn_fault *f = &c->fault;
	uint64_t limit = UINT64_MAX, sent = c->tx.sent;

	if (f->is_held || f->is_silent || (f->merge && f->merge_have < f->merge))
		return 0;
	if (f->split)
		limit = f->split;
	if (f->split_at > sent && f->split_at - sent < limit)
		limit = f->split_at - sent;
	if (f->kill_at_tx > sent && f->kill_at_tx - sent < limit)
		limit = f->kill_at_tx - sent;
	return limit;
}

void fault_sent(struct conn *c)
{
	struct conn_fault *f = &c->fault;

	if (f->split_at && c->tx.sent >= f->split_at) {
		f->split_at = 0;
		hold(c, f->split_at_ms);
	}
	if (!f->kill_at_tx || c->tx.sent < f->kill_at_tx)
		return;
	f->kill_at_tx = 0;
	if (f->kill_how == DO_CLOSE)
		conn_close(c, false);	/* what is still queued stays unsent */
	else
		end_conn(c, (enum fault_verb)f->kill_how);
}
