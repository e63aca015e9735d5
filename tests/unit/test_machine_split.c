/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How the stream was split changes nothing. A session (handshake and a mix of
 * everything) is recorded as what the controller sends in each phase; the host
 * sends between phases. Then it is replayed whole, cut at every byte, byte by byte
 * and in random pieces, through staging alone and with direct placement, and must
 * give the same completions, buffers and bytes to the controller.
 */
#include <errno.h>

#include "machine_rig.h"

enum { LAST = NOFI_PDU_F_LAST, SUCCESS = NOFI_PDU_F_SUCCESS, PHASES = 5 };

struct session {
	struct rig_opts o;
	uint32_t big;			/* bytes of the largest read */
	bool is_hostile;		/* ends with a protocol error */
	struct rig *r;
	struct rig_cmd *c[10];
	unsigned n;
};

static struct rig_cmd *add(struct session *s, enum nofi_dir dir, uint32_t len,
			   enum rig_shape shape)
{
	struct rig_cmd *c = rig_submit(s->r, &(struct rig_spec){
		.dir = dir, .length = len, .shape = shape, .skip = s->n, .tail = s->n % 3,
		.deadline = 1 + s->n });

	assert_non_null(c);
	s->c[s->n++] = c;
	return c;
}

static void submit_all(struct session *s)
{
	add(s, NOFI_DIR_READ, s->big, RIG_RANDOM);
	add(s, NOFI_DIR_READ, 700, RIG_ZEROS);
	add(s, NOFI_DIR_READ, 512, RIG_ONE);	/* bad digest, if there are any */
	add(s, NOFI_DIR_WRITE, 2000, RIG_ZEROS);
	add(s, NOFI_DIR_WRITE, 300, RIG_BYTES);	/* in the capsule */
	add(s, NOFI_DIR_NONE, 0, RIG_ONE);
	add(s, NOFI_DIR_READ, 64, RIG_BYTES);	/* short */
	add(s, NOFI_DIR_WRITE, 900, RIG_ONE);	/* fails after its first R2T */
	add(s, NOFI_DIR_READ, s->big, RIG_ONE);
	rig_flush(s->r);
}

/* What the controller sends in one phase, into r->in. */
static void record(struct session *s, unsigned phase)
{
	struct rig *r = s->r;
	struct rig_cmd **c = s->c;
	uint32_t half = s->big / 2;

	switch (phase) {
	case 0:
		rig_put_icresp(r);
		break;
	case 1:
		rig_put_c2h(r, c[0], 0, half, 0);
		rig_put_r2t(r, c[3]->cid, 0xabcd, 0, 1000);
		rig_put_r2t(r, c[3]->cid, 0, 1000, 1);
		rig_put_c2h(r, c[1], 0, 699, 0);
		rig_put_resp(r, c[5]->cid, 0, 0xdeadbeef12345678u);
		rig_put_c2h(r, c[2], 0, 512, LAST);
		if (s->o.ddgst)
			r->in.p[r->in.len - 2] ^= 4;
		break;
	case 2:
		rig_put_c2h(r, c[0], half, s->big - half, LAST | SUCCESS);
		rig_put_resp(r, c[4]->cid, 0, 0);
		rig_put_r2t(r, c[7]->cid, 3, 0, 400);
		rig_put_r2t(r, c[7]->cid, 4, 400, 500);
		rig_put_resp(r, c[7]->cid, 0x2081, 5);
		rig_put_c2h(r, c[1], 699, 1, LAST);
		break;
	case 3:
		rig_put_resp(r, c[2]->cid, 0, 0);
		rig_put_resp(r, c[1]->cid, 0, 0);
		rig_put_r2t(r, c[3]->cid, 0xabcd, 1001, 999);
		rig_put_c2h(r, c[8], 0, s->big, LAST);
		rig_put_resp(r, c[8]->cid, 0, 0);
		rig_put_resp(r, c[6]->cid, 0, 0);
		break;
	case 4:
		if (s->is_hostile)
			rig_put_c2h(r, c[3], 0, 512, LAST);
		rig_put_resp(r, c[3]->cid, 0, 1);
		break;
	}
}

/* What a session came to; the bytes of the host are added behind. */
struct outcome {
	struct {
		unsigned done_order;
		int error;
		uint16_t status;
		uint64_t result;
	} c[10];
	unsigned notes, fatals;
	uint16_t fes;
	uint32_t fei;
	size_t out_len;
};

typedef void feed_fn(struct session *s, unsigned phase, const uint8_t *p, size_t len);

static struct rig_bytes play(struct session *s, bool use_place, feed_fn *feed)
{
	struct rig_opts o = s->o;
	struct rig_bytes result = { 0 };
	struct outcome out;

	o.no_handshake = true;
	s->r = rig_new(&o);
	s->r->use_place = use_place;
	s->n = 0;
	for (unsigned phase = 0; phase < PHASES; phase++) {
		struct rig_bytes in;

		record(s, phase);
		in = s->r->in;
		s->r->in = (struct rig_bytes){ 0 };
		feed(s, phase, in.p, in.len);
		free(in.p);
		if (phase == 0)
			submit_all(s);
		else
			rig_flush(s->r);
	}
	memset(&out, 0, sizeof(out));
	out.notes = s->r->note_count;
	out.fatals = s->r->fatal_count;
	out.fes = s->r->fatal.fes;
	out.fei = s->r->fatal.fei;
	if (out.fatals)
		rig_check_all_done(s->r);
	for (unsigned i = 0; i < s->n; i++) {
		assert_int_equal(s->c[i]->done_count, 1);
		out.c[i].done_order = s->c[i]->done_order;
		out.c[i].error = s->c[i]->error;
		out.c[i].status = s->c[i]->status;
		out.c[i].result = s->c[i]->result;
		rig_check_memory(s->c[i], i == 6 ? 0 : s->c[i]->spec.length);
	}
	out.out_len = s->r->out.len;
	rig_bytes_add(&result, &out, sizeof(out));
	rig_bytes_add(&result, s->r->out.p, s->r->out.len);
	rig_free(s->r);
	s->r = NULL;
	return result;
}

static size_t phase_len[PHASES];
static unsigned cut_phase;
static size_t cut_at;

static void feed_whole(struct session *s, unsigned phase, const uint8_t *p, size_t len)
{
	phase_len[phase] = len;
	rig_feed(s->r, p, len);
}

static void feed_cut(struct session *s, unsigned phase, const uint8_t *p, size_t len)
{
	if (phase != cut_phase) {
		rig_feed(s->r, p, len);
		return;
	}
	rig_feed(s->r, p, cut_at);
	rig_feed(s->r, p + cut_at, len - cut_at);
}

static void feed_bytes(struct session *s, unsigned phase, const uint8_t *p, size_t len)
{
	while (len--)
		rig_feed(s->r, p++, 1);
}

static void feed_random(struct session *s, unsigned phase, const uint8_t *p, size_t len)
{
	static const size_t most[] = { 3, 40, 200, 5000, 40000 };
	size_t max = most[random64() % 5];

	s->r->tail_len = 1 + random64() % 300;
	while (len) {
		size_t n = 1 + random64() % max;

		n = n < len ? n : len;
		rig_feed(s->r, p, n);
		p += n;
		len -= n;
	}
}

static void compare(struct rig_bytes *want, struct rig_bytes got)
{
	assert_int_equal(got.len, want->len);
	assert_memory_equal(got.p, want->p, want->len);
	free(got.p);
}

static void every_split(const struct rig_opts *o, uint32_t big, bool is_hostile, unsigned step)
{
	struct session s = { .o = *o, .big = big, .is_hostile = is_hostile };
	struct rig_bytes want = play(&s, false, feed_whole);
	const struct outcome *out = (const struct outcome *)want.p;

	assert_int_equal(out->fatals, is_hostile);
	assert_int_equal(out->c[0].error, 0);
	assert_int_equal(out->c[2].error, o->ddgst ? -EBADMSG : 0);
	assert_int_equal(out->c[6].error, -EIO);
	assert_int_equal(out->c[7].status, 0x2081);
	assert_int_equal(out->c[3].error, is_hostile ? -EPROTO : 0);
	for (int place = 0; place < 2; place++) {
		compare(&want, play(&s, place, feed_whole));
		compare(&want, play(&s, place, feed_bytes));
		for (int i = 0; i < 40; i++)
			compare(&want, play(&s, place, feed_random));
		for (cut_phase = 0; cut_phase < PHASES; cut_phase++)
			for (cut_at = 0; cut_at <= phase_len[cut_phase]; cut_at += step)
				compare(&want, play(&s, place, feed_cut));
	}
	free(want.p);
}

static void plain_session(void **state)
{
	every_split(&(struct rig_opts){ .incapsule = 512, .maxh2cdata = 4096 }, 1024, false, 1);
}

static void session_with_digests_and_pads(void **state)
{
	every_split(&(struct rig_opts){ .incapsule = 512, .hdgst = true, .ddgst = true,
		    .hpda = 31, .cpda = 31, .disable_sqflow = true }, 900, false, 1);
}

static void session_with_direct_placement(void **state)
{
	every_split(&(struct rig_opts){ .incapsule = 512, .ddgst = true }, 40000, false, 97);
}

static void session_of_large_payloads(void **state)
{
	every_split(&(struct rig_opts){ .incapsule = 512, .hdgst = true }, 200000, false, 4999);
}

static void hostile_session(void **state)
{
	every_split(&(struct rig_opts){ .incapsule = 512, .hdgst = true, .ddgst = true }, 600,
		    true, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_session),
		cmocka_unit_test(session_with_digests_and_pads),
		cmocka_unit_test(session_with_direct_placement),
		cmocka_unit_test(session_of_large_payloads),
		cmocka_unit_test(hostile_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
