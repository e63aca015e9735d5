/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes the protocol machine with a script: what the host's owner does (submit,
 * send, the end of a send, failing) and what the controller sends (sound PDUs for
 * the commands there are, the same with a byte changed, any bytes), in any split.
 *
 * Whatever happens: every command completes exactly once, not before the send lets
 * go of its payload; nothing outside of a buffer is written; the stream to the
 * controller is well formed and carries bytes of writes only.
 *
 * clang -fsanitize=fuzzer,address,undefined -DNOF_LIBFUZZER … for libFuzzer;
 * otherwise a program that replays the files, or folders of files, given to it.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* CHECK() of the rig aborts: compiled with -DNOF_RIG_ABORT. */
#include "machine_rig.h"

enum { COMMANDS_MAX = 48 };

struct script {
	const uint8_t *p, *end;
	struct rig *r;
	struct rig_cmd *cmds[COMMANDS_MAX];
	unsigned count;
	bool is_over;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t next8(struct script *s)
{
	return s->p < s->end ? *s->p++ : 0;
}

static uint32_t next16(struct script *s)
{
	uint32_t low = next8(s);

	return low | (uint32_t)next8(s) << 8;
}

static void submit(struct script *s, enum nofi_dir dir)
{
	uint8_t how = next8(s);
	struct rig_spec spec = {
		.dir = dir, .shape = how % RIG_SHAPES, .skip = how >> 2 & 7, .tail = how >> 5 & 1,
		.flags = how >> 6, .deadline = 1 + (how >> 3 & 3),
	};

	if (s->count == COMMANDS_MAX)
		return;
	if (dir != NOFI_DIR_NONE)
		spec.length = 1 + next16(s) % 40000;
	s->cmds[s->count] = rig_submit(s->r, &spec);
	if (s->cmds[s->count])
		s->count++;
}

/* The latest commands are the interesting ones. */
static struct rig_cmd *pick(struct script *s)
{
	uint8_t k = next8(s);

	return s->count ? s->cmds[s->count - 1 - k % s->count] : NULL;
}

static void put_c2h(struct script *s)
{
	struct rig_cmd *c = pick(s);
	uint8_t how = next8(s);
	uint32_t len = 1 + next16(s), left;
	const struct nofi_xfer *x;

	if (!c)
		return;
	x = &s->r->m.cmds[c->slot].xfer;
	left = x->length > x->received ? x->length - x->received : 0;
	if (!(how & 1) && len > left)
		len = left ? left : 1;
	rig_put_c2h(s->r, c, x->received + (how >> 4 & 1), len,
		    (len >= left) ^ (how >> 5 & 1) ?
		    NOFI_PDU_F_LAST | (how & 2 ? NOFI_PDU_F_SUCCESS : 0) : 0);
	if (how & 8)
		s->r->in.p[s->r->in.len - 1] ^= 1;
}

static void put_r2t(struct script *s)
{
	struct rig_cmd *c = pick(s);
	uint8_t how = next8(s);
	uint32_t len = 1 + next16(s), left;
	const struct nofi_xfer *x;

	if (!c)
		return;
	x = &s->r->m.cmds[c->slot].xfer;
	left = x->length > x->requested ? x->length - x->requested : 0;
	if (!(how & 1) && len > left)
		len = left ? left : 1;
	rig_put_r2t(s->r, c->cid, how >> 1, x->requested, len);
}

static void put_resp(struct script *s)
{
	struct rig_cmd *c = pick(s);
	uint8_t how = next8(s);

	if (!c)
		return;
	s->r->sqhd = how >> 4;
	rig_put_resp(s->r, c->cid, how & 7 ? 0 : next16(s), how);
}

static void deliver_some(struct script *s, size_t n)
{
	struct rig *r = s->r;
	struct rig_bytes in = r->in;

	if (n >= in.len) {
		rig_deliver(r);
		return;
	}
	r->in = (struct rig_bytes){ 0 };
	rig_bytes_add(&r->in, in.p + n, in.len - n);
	rig_feed(r, in.p, n);
	free(in.p);
}

static void step(struct script *s)
{
	struct rig *r = s->r;
	size_t n;

	switch (next8(s) & 15) {
	case 0:
		submit(s, NOFI_DIR_READ);
		break;
	case 1:
		submit(s, NOFI_DIR_WRITE);
		break;
	case 2:
		submit(s, NOFI_DIR_NONE);
		break;
	case 3:
		if (!r->is_batch_busy)
			rig_build(r);
		break;
	case 4:
		if (r->is_batch_busy)
			rig_sent(r);
		break;
	case 5:
		rig_flush(r);
		break;
	case 6:
	case 7:
		put_c2h(s);
		break;
	case 8:
		put_r2t(s);
		break;
	case 9:
		put_resp(s);
		break;
	case 10:
		n = next8(s);
		if (n > (size_t)(s->end - s->p))
			n = (size_t)(s->end - s->p);
		rig_bytes_add(&r->in, s->p, n);
		s->p += n;
		break;
	case 11:
		n = next16(s);
		if (n < r->in.len)
			r->in.p[n] = next8(s);
		break;
	case 12:
		deliver_some(s, next16(s));
		break;
	case 13:
		rig_deliver(r);
		break;
	case 14:
		r->use_place = !r->use_place;
		break;
	case 15:
		/* Rarely: it ends the run. */
		s->is_over = next8(s) == 0xff;
		break;
	}
}

/* What the controller got: sound PDUs, data of writes only, each byte where it belongs. */
static void check_stream(struct script *s)
{
	struct rig_cmd *c;
	struct rig_pdu p;
	unsigned k;

	while (rig_next(s->r, &p)) {
		if (!p.data_len)
			continue;
		for (k = s->count, c = NULL; k-- > 0 && !c; )
			if (s->cmds[k]->cid == p.cid)
				c = s->cmds[k];
		CHECK(c && c->spec.dir == NOFI_DIR_WRITE);
		CHECK((uint64_t)p.offset + p.data_len <= c->spec.length);
		for (uint32_t i = 0; i < p.data_len; i++)
			CHECK(p.data[i] == rig_pattern(c, p.offset + i));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = { .p = data, .end = data + size };
	struct rig_opts o = { 0 };
	uint8_t a = next8(&s), b = next8(&s);

	o.qid = a & 1;
	o.hdgst = a & 2;
	o.ddgst = a & 4;
	o.disable_sqflow = a & 8;
	o.no_handshake = a & 16 && a & 32;
	o.fail_in_fatal = a & 64;
	o.incapsule = a & 128 ? 4096 : 0;
	o.entries = 2 + (b & 7);
	o.maxr2t = 1 + (b >> 3 & 3);
	o.maxh2cdata = b & 32 ? 4096 : 16384;
	o.hpda = b & 64 ? 31 : 0;
	o.cpda = b & 128 ? 3 : 0;
	s.r = rig_new(&o);
	if (o.no_handshake)
		rig_put_icresp(s.r);
	while (s.p < s.end && !s.is_over && !s.r->m.is_stopped)
		step(&s);
	if (!s.r->m.is_stopped || !o.fail_in_fatal)
		rig_fail(s.r);
	for (unsigned k = 0; k < s.count; k++) {
		CHECK(s.cmds[k]->done_count == 1);
		if (s.cmds[k]->spec.dir == NOFI_DIR_READ)
			rig_check_outside(s.cmds[k]);
		else
			rig_check_memory(s.cmds[k], 0);
	}
	CHECK(nofi_machine_unused(&s.r->m) == s.r->m.slots);
	CHECK(!nofi_machine_has_tx(&s.r->m));
	check_stream(&s);
	rig_free(s.r);
	return 0;
}

#ifndef NOF_LIBFUZZER
static int replay(const char *path)
{
	static uint8_t data[1 << 20];
	size_t n;
	FILE *f;

	f = fopen(path, "rb");
	if (!f) {
		perror(path);
		return -1;
	}
	n = fread(data, 1, sizeof(data), f);
	fclose(f);
	LLVMFuzzerTestOneInput(data, n);
	return 1;
}

/* Returns how many files were replayed, −1 if one cannot be read. */
static int replay_folder(DIR *dir, const char *path)
{
	struct dirent *entry;
	char name[4096];
	int count = 0;

	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (replay(name) < 0)
			return -1;
		count++;
	}
	return count;
}

int main(int argc, char **argv)
{
	int i, count = 0, n;
	DIR *dir;

	for (i = 1; i < argc; i++) {
		dir = opendir(argv[i]);
		n = dir ? replay_folder(dir, argv[i]) : replay(argv[i]);
		if (dir)
			closedir(dir);
		if (n < 0)
			return 1;
		count += n;
	}
	printf("%d inputs replayed\n", count);
	return count ? 0 : 1;
}
#endif
