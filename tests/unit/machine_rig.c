/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machine_rig.h"
#include "pdu/crc32c.h"
#include "queue/engine.h"

enum { GAP = 8, CANARY = 0xa5, UNTOUCHED = 0xee, OUTSIDE = 0xdd };

void rig_bytes_add(struct rig_bytes *b, const void *p, size_t len)
{
	if (b->len + len > b->cap) {
		b->cap = (b->len + len) * 2 + 4096;
		b->p = realloc(b->p, b->cap);
		CHECK(b->p);
	}
	if (len)
		memcpy(b->p + b->len, p, len);
	b->len += len;
}

/* ---- the owner of the machine ---- */

static struct rig *of_machine(struct nofi_machine *m)
{
	return (struct rig *)((char *)m - offsetof(struct rig, m));
}

static void on_ready(struct nofi_machine *m)
{
	struct rig *r = of_machine(m);

	r->ready_count++;
	if (r->on_ready)
		r->on_ready(r);
}

static void on_fatal(struct nofi_machine *m, const struct nofi_pdu_error *pe,
		     const uint8_t *culprit, size_t culprit_len, const struct nofi_err *err)
{
	struct rig *r = of_machine(m);

	CHECK(err->code < 0 && err->text[0]);
	CHECK(culprit_len <= NOFI_IC_LEN);
	r->fatal_count++;
	CHECK(r->fatal_count == 1);
	r->fatal = *pe;
	r->fatal_err = *err;
	r->culprit_len = culprit_len;
	if (culprit_len)
		memcpy(r->culprit, culprit, culprit_len);
	if (r->o.fail_in_fatal)
		nofi_machine_fail(m, &r->fatal_err);
}

static void on_wants_tx(struct nofi_machine *m)
{
	of_machine(m)->wants_count++;
}

static void on_note(struct nofi_machine *m, const char *line)
{
	CHECK(line[0]);
	of_machine(m)->note_count++;
}

static const struct nofi_machine_ops ops = {
	.ready = on_ready,
	.fatal = on_fatal,
	.wants_tx = on_wants_tx,
	.note = on_note,
};

struct rig *rig_new(const struct rig_opts *o)
{
	struct rig *r = aligned_alloc(64, (sizeof(*r) + 63) & ~(size_t)63);
	struct nofi_queue_opts qo = {
		.qid = o->qid,
		.entries = o->entries ? o->entries : 128,
		.hdgst = o->hdgst ? NOFI_DIGEST_ON : NOFI_DIGEST_OFF,
		.ddgst = o->ddgst ? NOFI_DIGEST_ON : NOFI_DIGEST_OFF,
		.maxr2t = o->maxr2t ? o->maxr2t : 4,
		.disable_sqflow = o->disable_sqflow,
		.incapsule_max = o->incapsule,
	};

	CHECK(r);
	memset(r, 0, sizeof(*r));
	r->o = *o;
	r->batch = calloc(1, sizeof(*r->batch));
	CHECK(r->batch);
	CHECK(nofi_machine_init(&r->m, &ops, &qo) == 0);
	r->m.pp.hpda = o->hpda;
	if (!o->no_handshake) {
		rig_put_icresp(r);
		rig_deliver(r);
		CHECK(r->ready_count == 1 && !r->fatal_count);
	}
	return r;
}

void rig_free(struct rig *r)
{
	struct rig_cmd *c;

	while ((c = r->cmds)) {
		r->cmds = c->next;
		munmap(c->map, c->map_len);
		free(c->iov);
		free(c);
	}
	nofi_machine_free(&r->m);
	free(r->batch);
	free(r->in.p);
	free(r->out.p);
	free(r);
}

/* ---- commands and their memory ---- */

/* Small numbers that are the same in every run, whatever else draws numbers. */
static uint32_t draw(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

static size_t element_len(enum rig_shape shape, uint32_t *state, size_t left)
{
	size_t len = left;

	if (shape == RIG_BYTES)
		len = 1;
	else if (shape == RIG_ZEROS)
		len = draw(state) % 4;
	else if (shape == RIG_RANDOM)
		len = draw(state) % 5001;
	return len < left ? len : left;
}

uint8_t rig_pattern(const struct rig_cmd *c, uint32_t i)
{
	return (uint8_t)(c->seed + i * 31 + (i >> 8) * 7);
}

/* What byte i of the iovecs (skip and tail included) must be when n bytes were read. */
static uint8_t expect_at(const struct rig_cmd *c, size_t i, uint32_t n)
{
	if (i < c->spec.skip || i - c->spec.skip >= c->spec.length)
		return OUTSIDE;
	i -= c->spec.skip;
	if (c->spec.dir == NOFI_DIR_WRITE || i < n)
		return rig_pattern(c, (uint32_t)i);
	return UNTOUCHED;
}

static void make_memory(struct rig_cmd *c)
{
	size_t total = (size_t)c->spec.skip + c->spec.length + c->spec.tail, pos, i = 0;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint32_t state = c->seed;
	int cap = 0;

	for (pos = 0; pos < total; ) {
		size_t len = element_len(c->spec.shape, &state, total - pos);

		if (c->iovcnt == cap) {
			cap = cap * 2 + 4;
			c->iov = realloc(c->iov, (size_t)cap * sizeof(*c->iov));
			CHECK(c->iov);
		}
		c->iov[c->iovcnt++] = (struct iovec){ .iov_len = len };
		pos += len;
		c->area_len += GAP + len;
	}
	/* An exact array, so that ASan sees a look behind it. */
	c->iov = realloc(c->iov, (size_t)(c->iovcnt ? c->iovcnt : 1) * sizeof(*c->iov));
	CHECK(c->iov);
	c->map_len = (c->area_len + page - 1) / page * page + page;
	c->map = mmap(NULL, c->map_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(c->map != MAP_FAILED);
	CHECK(mprotect(c->map + c->map_len - page, page, PROT_NONE) == 0);
	c->area = c->map + c->map_len - page - c->area_len;
	memset(c->area, CANARY, c->area_len);
	pos = 0;
	for (int k = 0; k < c->iovcnt; k++) {
		pos += GAP;
		if (c->iov[k].iov_len)
			c->iov[k].iov_base = c->area + pos;
		for (size_t j = 0; j < c->iov[k].iov_len; j++, i++)
			c->area[pos + j] = expect_at(c, i, 0);
		pos += c->iov[k].iov_len;
	}
}

void rig_check_memory(const struct rig_cmd *c, uint32_t n)
{
	size_t pos = 0, i = 0;

	for (int k = 0; k < c->iovcnt; k++) {
		for (int j = 0; j < GAP; j++)
			CHECK(c->area[pos + j] == CANARY);
		pos += GAP;
		for (size_t j = 0; j < c->iov[k].iov_len; j++, i++)
			CHECK(c->area[pos + j] == expect_at(c, i, n));
		pos += c->iov[k].iov_len;
	}
}

void rig_check_outside(const struct rig_cmd *c)
{
	size_t pos = 0, i = 0;

	for (int k = 0; k < c->iovcnt; k++) {
		for (int j = 0; j < GAP; j++)
			CHECK(c->area[pos + j] == CANARY);
		pos += GAP;
		for (size_t j = 0; j < c->iov[k].iov_len; j++, i++)
			if (i < c->spec.skip || i - c->spec.skip >= c->spec.length)
				CHECK(c->area[pos + j] == OUTSIDE);
		pos += c->iov[k].iov_len;
	}
}

static void on_done(void *arg, const struct nofi_cpl *cpl)
{
	struct rig_cmd *c = arg;

	c->done_count++;
	CHECK(c->done_count == 1);
	CHECK(cpl->detail);
	CHECK(!cpl->error == !cpl->detail[0]);
	/* T-16: nothing under way may still name the payload. */
	if (!c->rig->m.is_stopped) {
		CHECK(c->rig->m.cmds[c->slot].tx_refs == 0);
		CHECK(c->rig->m.tx_cur != c->slot);
		CHECK(!c->rig->m.cmds[c->slot].is_in_fifo);
		for (unsigned i = 0; c->rig->is_batch_busy && i < c->rig->batch->iovs; i++) {
			const uint8_t *p = c->rig->batch->iov[i].iov_base;

			CHECK(p < c->area || p >= c->area + c->area_len);
		}
	}
	c->done_order = ++c->rig->done_count;
	c->error = cpl->error;
	c->status = cpl->status;
	c->result = cpl->result;
	snprintf(c->detail, sizeof(c->detail), "%s", cpl->detail);
	if (c->on_done)
		c->on_done(c);
}

static uint8_t opcode_of(const struct rig_spec *spec)
{
	return spec->dir == NOFI_DIR_READ ? 2 : spec->dir == NOFI_DIR_WRITE ? 1 : 0;
}

static struct rig_cmd *new_cmd(struct rig *r, const struct rig_spec *spec)
{
	struct rig_cmd *c = calloc(1, sizeof(*c));

	CHECK(c);
	c->rig = r;
	c->next = r->cmds;
	r->cmds = c;
	c->spec = *spec;
	c->seed = r->next_seed += 37;
	make_memory(c);
	return c;
}

/* As reads and writes are sent by the million. */
static struct rig_cmd *submit_rw(struct rig *r, const struct rig_spec *spec)
{
	struct rig_cmd *c;

	if (r->m.is_stopped || !r->m.pp.is_ready || !nofi_machine_room(&r->m)) {
		struct nofi_rw rw = { .length = 512, .dir = NOFI_DIR_READ };

		CHECK(!nofi_machine_rw(&r->m, &rw, 1));
		return NULL;
	}
	c = new_cmd(r, spec);
	c->rw = (struct nofi_rw){ .done = on_done, .arg = c, .iov = c->iov,
				  .iov_skip = spec->skip, .length = spec->length, .nsid = 7,
				  .cdw = { 11, 12, 13 }, .opcode = opcode_of(spec),
				  .dir = (uint8_t)spec->dir };
	CHECK(nofi_machine_rw(&r->m, &c->rw, spec->deadline ? spec->deadline : UINT64_MAX));
	c->slot = r->m.fifo[(uint16_t)(r->m.fifo_tail - 1) & r->m.fifo_mask];
	c->cid = r->m.cmds[c->slot].cid;
	CHECK(c->cid != 0xffff);
	return c;
}

struct rig_cmd *rig_submit(struct rig *r, const struct rig_spec *spec)
{
	struct nofi_cmd_desc d;
	struct rig_cmd *c;

	/* Every second one, in the same order in every run. */
	if (!spec->flags && spec->dir != NOFI_DIR_NONE && (r->next_seed / 37 & 1))
		return submit_rw(r, spec);
	if (nofi_machine_take(&r->m, spec->flags, &d) < 0)
		return NULL;
	for (int i = 0; i < NOFI_SQE_LEN; i++)
		CHECK(d.sqe[i] == 0);
	c = new_cmd(r, spec);
	c->slot = (uint16_t)d.slot;
	d.sqe[0] = opcode_of(spec);
	d.sqe[1] = 0x83;		/* what a careless caller may leave in PSDT */
	d.iov = c->iov;
	d.iovcnt = c->iovcnt;
	d.iov_skip = spec->skip;
	d.length = spec->length;
	d.dir = spec->dir;
	d.done = on_done;
	d.arg = c;
	nofi_machine_send(&r->m, &d, spec->deadline);
	c->cid = r->m.cmds[c->slot].cid;
	CHECK(c->cid != 0xffff);
	return c;
}

struct rig_cmd *rig_read(struct rig *r, uint32_t length)
{
	return rig_submit(r, &(struct rig_spec){ .dir = NOFI_DIR_READ, .length = length });
}

struct rig_cmd *rig_write(struct rig *r, uint32_t length)
{
	return rig_submit(r, &(struct rig_spec){ .dir = NOFI_DIR_WRITE, .length = length });
}

/* ---- the host's stream ---- */

bool rig_build(struct rig *r)
{
	struct nofi_batch *b = r->batch;
	size_t len = 0;

	CHECK(!r->is_batch_busy);
	b->len = 0;
	b->iovs = b->refs = b->arena_used = 0;
	if (!nofi_machine_tx_build(&r->m, b))
		return false;
	CHECK(b->iovs <= NOFI_BATCH_IOVS && b->refs <= NOFI_BATCH_REFS);
	CHECK(b->arena_used <= NOFI_BATCH_ARENA);
	CHECK(b->msg.msg_iov == b->iov && b->msg.msg_iovlen == b->iovs);
	for (unsigned i = 0; i < b->iovs; i++) {
		CHECK(b->iov[i].iov_len);
		rig_bytes_add(&r->out, b->iov[i].iov_base, b->iov[i].iov_len);
		len += b->iov[i].iov_len;
	}
	CHECK(len == b->len);
	r->is_batch_busy = true;
	return true;
}

void rig_sent(struct rig *r)
{
	CHECK(r->is_batch_busy);
	r->is_batch_busy = false;
	nofi_machine_tx_done(&r->m, r->batch);
}

void rig_flush(struct rig *r)
{
	if (r->is_batch_busy)
		rig_sent(r);
	while (rig_build(r))
		rig_sent(r);
}

void rig_drop_out(struct rig *r)
{
	r->out_pos = r->out.len;
}

bool rig_next(struct rig *r, struct rig_pdu *p)
{
	size_t left = r->out.len - r->out_pos, head, end;
	const uint8_t *b;
	bool is_cmd;
	uint32_t plen;

	if (!left)
		return false;
	b = r->out.p + r->out_pos;
	/* After the end of the connection half a PDU may be the last. */
	if (r->m.is_stopped && (left < NOFI_CH_LEN || left < nofi_get32(b + 4)))
		return false;
	CHECK(left >= NOFI_CH_LEN);
	*p = (struct rig_pdu){ .type = b[0], .flags = b[1], .pdo = b[3] };
	is_cmd = b[0] == NOFI_PDU_CAPSULE_CMD;
	CHECK(is_cmd || b[0] == NOFI_PDU_H2C_DATA);
	CHECK(b[2] == (is_cmd ? NOFI_CAPSULE_CMD_HLEN : NOFI_DATA_HLEN));
	plen = nofi_get32(b + 4);
	CHECK(plen <= left);
	CHECK(!(b[1] & NOFI_PDU_F_HDGST) == !r->tpp.hdgst);
	CHECK(!(b[1] & ~(NOFI_PDU_F_HDGST | NOFI_PDU_F_DDGST | (is_cmd ? 0 : NOFI_PDU_F_LAST))));
	head = b[2];
	if (r->tpp.hdgst) {
		CHECK(nofi_get32(b + head) == nofi_crc32c(b, head));
		head += NOFI_DIGEST_LEN;
	}
	if (is_cmd) {
		p->sqe = b + NOFI_CH_LEN;
		p->cid = nofi_get16(p->sqe + 2);
		/* T-10; FUSE and reserved bits stay the caller's */
		CHECK((p->sqe[1] & 0xc0) == NOFI_SQE_PSDT_SGL);
		CHECK(nofi_get64(p->sqe + 24) == 0);
		p->length = nofi_get32(p->sqe + 32);
		CHECK(p->sqe[39] == (b[3] ? NOFI_SGL_INCAPSULE : NOFI_SGL_TRANSPORT));
	} else {
		p->cid = nofi_get16(b + 8);
		p->ttag = nofi_get16(b + 10);
		p->offset = nofi_get32(b + 12);
		p->length = nofi_get32(b + 16);
		CHECK(p->length > 0 && b[3]);
	}
	if (b[3]) {
		size_t align = (r->tpp.cpda + 1u) * 4;

		CHECK(b[3] % align == 0 && b[3] >= head && b[3] - head < align);
		for (; head < b[3]; head++)
			CHECK(b[head] == 0);
		end = plen;
		CHECK(!(b[1] & NOFI_PDU_F_DDGST) == !r->tpp.ddgst);
		if (r->tpp.ddgst)
			end -= NOFI_DIGEST_LEN;
		p->data = b + head;
		p->data_len = (uint32_t)(end - head);
		CHECK(p->data_len == p->length);
		if (r->tpp.ddgst)
			CHECK(nofi_get32(b + end) == nofi_crc32c(p->data, p->data_len));
	} else {
		CHECK(plen == head && !(b[1] & NOFI_PDU_F_DDGST));
	}
	r->out_pos += plen;
	return true;
}

void rig_fail(struct rig *r)
{
	struct nofi_err err = { .code = -ECONNRESET, .text = "the test ended the connection" };

	nofi_machine_fail(&r->m, &err);
}

void rig_check_all_done(struct rig *r)
{
	CHECK(r->m.is_stopped);
	if (!r->o.fail_in_fatal)
		nofi_machine_fail(&r->m, &r->fatal_err);
	for (struct rig_cmd *c = r->cmds; c; c = c->next)
		CHECK(c->done_count == 1);
	CHECK(nofi_machine_unused(&r->m) == r->m.slots);
	CHECK(!nofi_machine_deadline(&r->m) && !nofi_machine_oldest(&r->m));
	CHECK(!nofi_machine_has_tx(&r->m));
}

/* ---- the controller ---- */

void rig_put_icresp(struct rig *r)
{
	uint8_t pdu[NOFI_PDU_ENC_MAX];
	size_t len;

	r->tpp = (struct nofi_pdu_params){
		.is_ready = true, .hdgst = r->o.hdgst, .ddgst = r->o.ddgst,
		.hpda = r->o.hpda, .cpda = r->o.cpda,
		.maxh2cdata = r->o.maxh2cdata ? r->o.maxh2cdata : 65536,
	};
	len = nofi_enc_icresp(pdu, r->tpp.cpda, r->tpp.hdgst, r->tpp.ddgst, r->tpp.maxh2cdata);
	rig_bytes_add(&r->in, pdu, len);
}

void rig_put_resp(struct rig *r, uint16_t cid, uint16_t status, uint64_t result)
{
	uint8_t cqe[NOFI_CQE_LEN] = { 0 }, pdu[NOFI_PDU_ENC_MAX];

	nofi_put64(cqe, result);
	nofi_put16(cqe + 8, r->sqhd);
	nofi_put16(cqe + 12, cid);
	nofi_put16(cqe + 14, (uint16_t)(status << 1 | 1));	/* a phase bit, to be ignored */
	rig_bytes_add(&r->in, pdu, nofi_enc_capsule_resp(pdu, &r->tpp, cqe));
}

void rig_put_c2h(struct rig *r, const struct rig_cmd *c, uint32_t offset, uint32_t length,
		 uint8_t flags)
{
	uint8_t pdu[NOFI_PDU_ENC_MAX], dgst[NOFI_DIGEST_LEN];
	uint8_t *data = malloc(length ? length : 1);
	size_t head;

	CHECK(data);
	for (uint32_t i = 0; i < length; i++)
		data[i] = rig_pattern(c, offset + i);
	head = nofi_enc_c2hdata(pdu, &r->tpp, c->cid, offset, length, flags);
	/* The pad is the sender's: it must be ignored, whatever it holds. */
	for (size_t i = NOFI_DATA_HLEN + (r->tpp.hdgst ? NOFI_DIGEST_LEN : 0); i < head; i++)
		pdu[i] = (uint8_t)(0x5a + i);
	rig_bytes_add(&r->in, pdu, head);
	rig_bytes_add(&r->in, data, length);
	if (r->tpp.ddgst && length) {
		nofi_put32(dgst, nofi_crc32c(data, length));
		rig_bytes_add(&r->in, dgst, sizeof(dgst));
	}
	free(data);
}

void rig_put_r2t(struct rig *r, uint16_t cid, uint16_t ttag, uint32_t offset, uint32_t length)
{
	uint8_t pdu[NOFI_PDU_ENC_MAX];

	rig_bytes_add(&r->in, pdu, nofi_enc_r2t(pdu, &r->tpp, cid, ttag, offset, length));
}

/* One receive as an engine makes it; returns the bytes it took. */
static size_t receive(struct rig *r, const uint8_t *data, size_t len)
{
	struct iovec iov[NOFI_PLACES_MAX];
	size_t limit = r->staging_len ? r->staging_len : nofi_machine_stage(&r->m);
	size_t direct = 0, staged, total = 0;
	unsigned n = nofi_machine_place(&r->m, iov, NOFI_PLACES_MAX);
	uint8_t *staging;

	for (unsigned i = 0; i < n; i++) {
		size_t k = len - direct < iov[i].iov_len ? len - direct : iov[i].iov_len;

		CHECK(iov[i].iov_len);
		memcpy(iov[i].iov_base, data + direct, k);
		direct += k;
		total += iov[i].iov_len;
	}
	if (n) {
		r->place_count++;
		limit = direct < total ? 0 : r->tail_len ? r->tail_len : NOFI_TAIL_LEN;
	}
	staged = len - direct < limit ? len - direct : limit;
	if (direct)
		nofi_machine_rx_direct(&r->m, direct);
	if (staged) {
		/* A copy of its own, and gone at once: nothing may refer to staging later. */
		staging = malloc(staged);
		CHECK(staging);
		memcpy(staging, data + direct, staged);
		nofi_machine_rx(&r->m, staging, staged);
		memset(staging, 0xbb, staged);
		free(staging);
	}
	return direct + staged;
}

void rig_feed(struct rig *r, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len && !r->m.is_stopped) {
		size_t n = len;

		if (r->use_place) {
			n = receive(r, p, len);
		} else {
			uint8_t *copy = malloc(len);

			CHECK(copy);
			memcpy(copy, p, len);
			nofi_machine_rx(&r->m, copy, len);
			memset(copy, 0xbb, len);
			free(copy);
		}
		p += n;
		len -= n;
	}
}

void rig_deliver(struct rig *r)
{
	struct rig_bytes in = r->in;

	r->in = (struct rig_bytes){ 0 };
	rig_feed(r, in.p, in.len);
	free(in.p);
}
