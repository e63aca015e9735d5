/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exactly once, exhaustively: for small configurations every order of events
 * {build, sent, C2HData, C2HData with SUCCESS, R2T, good answer, bad answer, garbage,
 * end of the queue} is walked to a bounded depth, against a model that knows only
 * what the two sides have said. A node restores the machine in place.
 */
#include <errno.h>
#include <stdio.h>

#include "machine_rig.h"

enum {
	UNIT = 260,		/* one H2CData PDU; in elements of one byte it spans two batches */
	COMMANDS = 2,
	OUT_CAP = 1 << 16,
};

enum kind { READ, WRITE, CAPSULE };

enum event {
	BUILD, SENT, GARBAGE, FAIL,			/* of the connection */
	GLOBALS,
	C2H = GLOBALS, C2H_SUCCESS, R2T, GOOD, BAD,	/* of one command */
	EVENTS,
};

enum life { WAITS, IN_STREAM, ANSWERED, DONE };

/* What we know of a command without looking into the machine. */
struct model {
	enum life life;
	uint32_t got;		/* bytes of read data delivered */
	uint32_t asked;		/* bytes covered by R2Ts */
	uint32_t named;		/* payload bytes given to the stream */
	bool is_pinned;		/* the batch under way names payload */
	int error;		/* of the answer */
	uint16_t status;
};

struct walk {
	struct rig *r;
	unsigned n;
	enum kind kind[COMMANDS];
	uint32_t length[COMMANDS];
	struct rig_cmd *c[COMMANDS];
	struct model m[COMMANDS];
	bool is_over;
	unsigned long nodes, ends, goods;
};

struct snapshot {
	struct rig r;
	struct rig_cmd c[COMMANDS];
	struct model m[COMMANDS];
	struct nofi_cmd cmds[COMMANDS];
	uint16_t free[COMMANDS], fifo[2 * COMMANDS];
	uint8_t area[COMMANDS][3 * UNIT + 64];
	struct nofi_batch batch;
};

static void save(const struct walk *w, struct snapshot *s)
{
	const struct nofi_batch *b = w->r->batch;

	s->r = *w->r;
	memcpy(s->m, w->m, sizeof(s->m));
	for (unsigned i = 0; i < w->n; i++) {
		s->c[i] = *w->c[i];
		s->cmds[i] = w->r->m.cmds[i];
		s->free[i] = w->r->m.free[i];
		if (w->kind[i] == READ)
			memcpy(s->area[i], w->c[i]->area, w->c[i]->area_len);
	}
	memcpy(s->fifo, w->r->m.fifo, (w->r->m.fifo_mask + 1u) * sizeof(s->fifo[0]));
	s->batch.iovs = b->iovs;
	s->batch.refs = b->refs;
	memcpy(s->batch.iov, b->iov, b->iovs * sizeof(b->iov[0]));
	memcpy(s->batch.ref, b->ref, b->refs * sizeof(b->ref[0]));
}

static void restore(struct walk *w, const struct snapshot *s)
{
	struct nofi_batch *b = w->r->batch;

	*w->r = s->r;
	memcpy(w->m, s->m, sizeof(s->m));
	for (unsigned i = 0; i < w->n; i++) {
		*w->c[i] = s->c[i];
		w->r->m.cmds[i] = s->cmds[i];
		w->r->m.free[i] = s->free[i];
		if (w->kind[i] == READ)
			memcpy(w->c[i]->area, s->area[i], w->c[i]->area_len);
	}
	memcpy(w->r->m.fifo, s->fifo, (w->r->m.fifo_mask + 1u) * sizeof(s->fifo[0]));
	b->iovs = s->batch.iovs;
	b->refs = s->batch.refs;
	memcpy(b->iov, s->batch.iov, b->iovs * sizeof(b->iov[0]));
	memcpy(b->ref, s->batch.ref, b->refs * sizeof(b->ref[0]));
	w->is_over = false;
}

static bool is_mid_pdu(const struct walk *w, unsigned i)
{
	if (w->kind[i] == CAPSULE)
		return w->m[i].life != WAITS && w->m[i].named < w->length[i];
	return w->m[i].named % UNIT != 0;
}

static bool has_to_send(const struct walk *w)
{
	for (unsigned i = 0; i < w->n; i++)
		if (w->m[i].life == WAITS || is_mid_pdu(w, i) ||
		    (w->m[i].life == IN_STREAM && w->m[i].asked > w->m[i].named))
			return true;
	return false;
}

static void settle(struct walk *w, unsigned i)
{
	if (w->m[i].life == ANSWERED && !w->m[i].is_pinned && !is_mid_pdu(w, i))
		w->m[i].life = DONE;
}

static void answer(struct walk *w, unsigned i, int error, uint16_t status)
{
	w->m[i].life = ANSWERED;
	w->m[i].error = error;
	w->m[i].status = status;
	settle(w, i);
}

static void do_build(struct walk *w)
{
	const struct nofi_batch *b = w->r->batch;
	bool expect = has_to_send(w);

	assert_int_equal(nofi_machine_has_tx(&w->r->m), expect);
	assert_int_equal(rig_build(w->r), expect);
	if (!expect)
		return;
	for (unsigned i = 0; i < w->n; i++) {
		const uint8_t *area = w->c[i]->area, *end = area + w->c[i]->area_len;

		if (w->m[i].life == WAITS &&
		    w->r->m.cmds[w->c[i]->slot].state >= NOFI_SLOT_SENT)
			w->m[i].life = IN_STREAM;
		for (unsigned k = 0; k < b->iovs; k++) {
			const uint8_t *p = b->iov[k].iov_base;

			if (p < area || p >= end)
				continue;
			w->m[i].named += (uint32_t)b->iov[k].iov_len;
			w->m[i].is_pinned = true;
		}
		assert_true(w->m[i].named <= (w->kind[i] == WRITE ? w->m[i].asked : w->length[i]));
	}
}

static void do_sent(struct walk *w)
{
	for (unsigned i = 0; i < w->n; i++) {
		w->m[i].is_pinned = false;
		settle(w, i);
	}
	rig_sent(w->r);
}

/* Puts the PDU of an event; returns whether the protocol allows it, and does what it means. */
static bool put(struct walk *w, enum event e, unsigned i)
{
	struct model *m = &w->m[i];
	bool is_out = m->life == IN_STREAM, is_last = m->got + UNIT >= w->length[i];
	uint16_t cid = w->c[i]->cid;

	switch (e) {
	case C2H:
	case C2H_SUCCESS:
		rig_put_c2h(w->r, w->c[i], m->got, UNIT, !is_last ? 0 : e == C2H ?
			    NOFI_PDU_F_LAST : NOFI_PDU_F_LAST | NOFI_PDU_F_SUCCESS);
		if (!is_out || w->kind[i] != READ || m->got == w->length[i])
			return false;
		m->got += UNIT;
		if (is_last && e == C2H_SUCCESS)
			answer(w, i, 0, 0);
		return true;
	case R2T:
		rig_put_r2t(w->r, cid, (uint16_t)m->asked, m->asked, UNIT);
		if (!is_out || w->kind[i] != WRITE || m->asked == w->length[i])
			return false;
		m->asked += UNIT;
		return true;
	case GOOD:
		rig_put_resp(w->r, cid, 0, 0);
		if (!is_out || (w->kind[i] != READ && m->named < w->length[i]))
			return false;
		answer(w, i, w->kind[i] == READ && m->got < w->length[i] ? -EIO : 0, 0);
		return true;
	case BAD:
		rig_put_resp(w->r, cid, 0x281, 0);
		if (!is_out)
			return false;
		answer(w, i, 0, 0x281);
		return true;
	default:
		return false;
	}
}

static void check_done(struct walk *w)
{
	for (unsigned i = 0; i < w->n; i++) {
		assert_int_equal(w->c[i]->done_count, w->m[i].life == DONE);
		if (w->m[i].life == DONE) {
			assert_int_equal(w->c[i]->error, w->m[i].error);
			assert_int_equal(w->c[i]->status, w->m[i].status);
		}
	}
}

/* The stream carries each write's bytes, in order, and nothing else. */
static void check_stream(struct walk *w)
{
	struct rig_pdu p;

	while (rig_next(w->r, &p)) {
		for (unsigned i = 0; i < w->n && p.data_len; i++) {
			if (w->c[i]->cid != p.cid)
				continue;
			assert_int_not_equal(w->kind[i], READ);
			for (uint32_t k = 0; k < p.data_len; k++)
				CHECK(p.data[k] == rig_pattern(w->c[i], p.offset + k));
		}
	}
}

/* The end, by fatal error or by the owner: exactly one completion for each. */
static void check_end(struct walk *w)
{
	int code = w->r->fatal_count ? -EPROTO : -ECONNRESET;

	if (w->r->fatal_count)
		rig_check_all_done(w->r);
	else
		rig_fail(w->r);
	for (unsigned i = 0; i < w->n; i++) {
		bool is_answered = w->m[i].life >= ANSWERED;

		assert_int_equal(w->c[i]->done_count, 1);
		assert_int_equal(w->c[i]->error, is_answered ? w->m[i].error : code);
		if (is_answered && !w->m[i].error)
			assert_int_equal(w->c[i]->status, w->m[i].status);
		rig_check_memory(w->c[i], w->m[i].got);
	}
	check_stream(w);
	w->ends++;
}

/* False: the event cannot happen here. */
static bool apply(struct walk *w, enum event e, unsigned i)
{
	static const uint8_t garbage[NOFI_CH_LEN] = { 0xff };
	bool is_legal = false;

	switch (e) {
	case BUILD:
		if (w->r->is_batch_busy || !has_to_send(w))
			return false;
		do_build(w);
		is_legal = true;
		break;
	case SENT:
		if (!w->r->is_batch_busy)
			return false;
		do_sent(w);
		is_legal = true;
		break;
	case FAIL:
		w->is_over = true;
		return true;
	case GARBAGE:
		rig_feed(w->r, garbage, sizeof(garbage));
		break;
	default:
		is_legal = put(w, e, i);
		rig_deliver(w->r);
	}
	assert_int_equal(w->r->fatal_count, !is_legal);
	w->is_over = !is_legal;
	check_done(w);
	return true;
}

static void walk(struct walk *w, unsigned depth)
{
	struct snapshot *s = malloc(sizeof(*s));
	bool is_all_done = true;

	assert_non_null(s);
	w->nodes++;
	save(w, s);
	for (unsigned i = 0; i < w->n; i++)
		is_all_done &= w->m[i].life == DONE;
	w->goods += is_all_done;
	for (unsigned k = 0; k < GLOBALS + w->n * (EVENTS - GLOBALS); k++) {
		enum event e = k < GLOBALS ? k : GLOBALS + (k - GLOBALS) % (EVENTS - GLOBALS);
		unsigned i = k < GLOBALS ? 0 : (k - GLOBALS) / (EVENTS - GLOBALS);

		if (!apply(w, e, i))
			continue;
		if (w->is_over || depth == 1)
			check_end(w);
		else
			walk(w, depth - 1);
		restore(w, s);
	}
	free(s);
}

static void configure(unsigned n, const enum kind *kind, const uint32_t *units, unsigned depth,
		      uint8_t seed)
{
	struct rig_opts o = { .qid = 1, .entries = n + 1, .disable_sqflow = true,
			      .incapsule = 3 * UNIT };
	struct walk w = { .n = n };

	w.r = rig_new(&o);
	w.r->next_seed = seed;	/* says how the first command is sent: see rig_submit() */
	w.r->m.pp.maxh2cdata = UNIT;
	w.r->out.p = realloc(w.r->out.p, OUT_CAP);	/* never moves: snapshots share it */
	w.r->out.cap = OUT_CAP;
	assert_non_null(w.r->out.p);
	for (unsigned i = 0; i < n; i++) {
		struct rig_spec spec = {
			.dir = kind[i] == READ ? NOFI_DIR_READ : NOFI_DIR_WRITE,
			.length = units[i] * UNIT,
			.shape = kind[i] == READ ? RIG_ONE : RIG_BYTES,
			.deadline = i,
		};

		w.r->m.incapsule_max = kind[i] == CAPSULE ? 3 * UNIT : 0;
		w.kind[i] = kind[i];
		w.length[i] = spec.length;
		w.c[i] = rig_submit(w.r, &spec);
		assert_non_null(w.c[i]);
		assert_true(w.c[i]->area_len <= sizeof(((struct snapshot *)0)->area[0]) ||
			    kind[i] != READ);
	}
	walk(&w, depth);
	assert_true(w.goods > 0);
	print_message("# %u command(s), depth %u: %lu nodes, %lu ends\n", n, depth, w.nodes,
		      w.ends);
	rig_free(w.r);
}

static void one_command_in_every_order(void **state)
{
	static const enum kind kinds[] = { READ, WRITE, CAPSULE };

	for (unsigned k = 0; k < 3; k++)
		for (uint32_t units = 1; units <= 3; units++)
			for (uint8_t seed = 0; seed <= 37; seed += 37)
				configure(1, &kinds[k], &units, 24, seed);
}

static void two_commands_in_every_order(void **state)
{
	static const enum kind pairs[][2] = {
		{ READ, READ }, { READ, WRITE }, { READ, CAPSULE },
		{ WRITE, WRITE }, { WRITE, CAPSULE }, { CAPSULE, CAPSULE },
	};

	for (unsigned k = 0; k < 6; k++)
		configure(2, pairs[k], (const uint32_t[]){ 1, 1 }, 14, 0);
	configure(2, pairs[1], (const uint32_t[]){ 2, 1 }, 14, 37);
	configure(2, pairs[3], (const uint32_t[]){ 2, 1 }, 12, 0);
	configure(2, pairs[4], (const uint32_t[]){ 2, 2 }, 12, 37);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_command_in_every_order),
		cmocka_unit_test(two_commands_in_every_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
