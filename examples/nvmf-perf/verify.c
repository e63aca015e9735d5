/* SPDX-License-Identifier: MIT */
/*
 * Verification. The span of a queue is cut into units; each unit written carries a header that
 * says where and when it was written, and a CRC32C over all of it. A table remembers the
 * generation every unit must hold, so lost, stale, misplaced, torn and damaged data all show.
 *
 * Two I/Os in flight never overlap: the protocol orders nothing between them, and neither the
 * content of an overlapped write nor what an overlapped read sees would be known.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "../common/crc32c.h"
#include "perf.h"

#define MAGIC 0x6e6f662d70657266ull /* "nof-perf" */
#define POOL  65536u		    /* bytes of noise the payloads are cut from */

/* Table entry: generation, or one of these, and whether the unit is in flight. */
#define BUSY	0x80000000u
#define NEVER	0u
#define UNKNOWN 0x7fffffffu /* a write failed: either content is right */

/* Little endian; at the start of each unit. */
struct header {
	uint64_t magic;
	uint64_t seed;
	uint64_t run;	 /* another for each queue of each run */
	uint64_t offset; /* of the unit in the namespace */
	uint32_t gen;
	uint32_t crc; /* of the unit, with this field zero */
};

struct verify {
	struct run *run;
	uint64_t run_id; /* random: nothing an earlier run or another queue wrote passes */
	uint64_t base;	 /* first byte of the span */
	uint64_t units;
	uint32_t unit;	   /* bytes, a power of two times what the block size demands */
	uint32_t last_gen; /* given to the newest write */
	uint32_t *table;   /* one entry per unit, zero pages until touched */
	bool is_read_only; /* nothing known: judge blocks that an earlier run marked */
	bool has_written;
	uint64_t cursor;	    /* read-back: next unit to look at */
	uint64_t checked, unjudged; /* bytes */
};

/* Set once before any thread starts, then only read. */
static uint64_t run_seed;
static unsigned char *pool;

void verify_setup(uint64_t seed)
{
	uint64_t r = seed + 1;
	size_t i;

	tool_crc32c_init();
	run_seed = seed;
	pool = malloc(2 * POOL);
	for (i = 0; pool && i < 2 * POOL; i += 8) {
		r ^= r << 13;
		r ^= r >> 7;
		r ^= r << 17;
		memcpy(pool + i, &r, 8);
	}
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t t = a % b;

		a = b;
		b = t;
	}
	return a;
}

struct verify *verify_new(const struct job *job, uint64_t base, uint64_t span)
{
	const struct perf_opts *o = job->run->o;
	uint64_t lba = job->ns_info.block_size;
	struct verify *v;

	if (!pool)
		return NULL;
	v = calloc(1, sizeof(*v));
	if (!v)
		return NULL;
	v->run = job->run;
	if (getrandom(&v->run_id, sizeof(v->run_id), 0) != (ssize_t)sizeof(v->run_id))
		v->run_id = tool_now();
	v->base = base;
	/* Small units find misplaced pieces of a large I/O; bs_min is a multiple of lba. */
	v->unit = (uint32_t)gcd(o->bs_min, lba > 4096 ? lba : 4096);
	v->units = span / v->unit;
	v->is_read_only = !o->writes;
	v->table = mmap(NULL, v->units * sizeof(*v->table), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (v->table == MAP_FAILED) {
		free(v);
		return NULL;
	}
	return v;
}

void verify_free(struct verify *v)
{
	if (!v)
		return;
	munmap(v->table, v->units * sizeof(*v->table));
	free(v);
}

static uint32_t *entry(struct verify *v, uint64_t offset)
{
	return &v->table[(offset - v->base) / v->unit];
}

bool verify_begin(struct verify *v, uint64_t offset, uint32_t len)
{
	uint32_t *e = entry(v, offset), n = len / v->unit, i;

	for (i = 0; i < n; i++)
		if (e[i] & BUSY)
			return false;
	for (i = 0; i < n; i++)
		e[i] |= BUSY;
	return true;
}

static uint32_t unit_crc(const unsigned char *p, uint32_t unit)
{
	struct header h;
	uint32_t crc;

	memcpy(&h, p, sizeof(h));
	h.crc = 0;
	crc = tool_crc32c(0, &h, sizeof(h));
	return tool_crc32c(crc, p + sizeof(h), unit - sizeof(h));
}

static void fill_payload(unsigned char *p, uint32_t len, uint32_t gen, uint64_t offset)
{
	uint64_t mix = (gen + offset / 512) * 0x9e3779b97f4a7c15ull;

	while (len) {
		uint32_t n = len < POOL ? len : POOL;

		memcpy(p, pool + (mix >> 48), n);
		p += n;
		len -= n;
		mix *= 0x2545f4914f6cdd1dull;
	}
}

void verify_fill(struct verify *v, struct slot *s)
{
	uint32_t done;

	s->gen = v->last_gen = v->last_gen + 1 < UNKNOWN ? v->last_gen + 1 : 1;
	for (done = 0; done < s->len; done += v->unit) {
		unsigned char *p = s->buf + done;
		struct header h = {
			.magic = htole64(MAGIC),
			.seed = htole64(run_seed),
			.run = htole64(v->run_id),
			.offset = htole64(s->offset + done),
			.gen = htole32(s->gen),
		};

		memcpy(p, &h, sizeof(h));
		fill_payload(p + sizeof(h), v->unit - sizeof(h), s->gen, s->offset + done);
		h.crc = htole32(unit_crc(p, v->unit));
		memcpy(p, &h, sizeof(h));
	}
}

/* A byte that the library does not place must not look right by what the buffer held before. */
void verify_poison(struct verify *v, struct slot *s)
{
	memset(s->buf, 0xdb, s->len);
}

void verify_end_write(struct verify *v, const struct slot *s, bool ok)
{
	uint32_t *e = entry(v, s->offset), n = s->len / v->unit, i;

	for (i = 0; i < n; i++)
		e[i] = ok ? s->gen : UNKNOWN;
	v->has_written = v->has_written || ok;
}

/* Says what is wrong with a unit; NULL when nothing is. want is 0 when any generation will do. */
static const char *judge(const struct verify *v, const unsigned char *p, uint64_t offset,
			 uint32_t want)
{
	struct header h;

	memcpy(&h, p, sizeof(h));
	if (le64toh(h.magic) != MAGIC)
		return "it does not hold what was written (no header)";
	if (le64toh(h.offset) != offset)
		return "it holds a block that belongs elsewhere";
	if (want && le64toh(h.run) != v->run_id)
		return "it holds what somebody else or an earlier run wrote";
	if (want && le32toh(h.gen) != want)
		return le32toh(h.gen) < want ? "it holds an older generation: a write was lost" :
					       "it holds a newer generation than was completed";
	if (le32toh(h.crc) != unit_crc(p, v->unit))
		return "its CRC32C is wrong: the data was damaged or is a mixture";
	return NULL;
}

static bool is_marked(const unsigned char *p)
{
	struct header h;

	memcpy(&h, p, sizeof(h));
	return le64toh(h.magic) == MAGIC && le64toh(h.seed) == run_seed;
}

void verify_end_read(struct verify *v, const struct slot *s, bool ok)
{
	uint32_t *e = entry(v, s->offset), done;

	for (done = 0; done < s->len; done += v->unit, e++) {
		const unsigned char *p = s->buf + done;
		const char *fault;
		uint32_t gen;

		*e &= ~BUSY;
		gen = *e;
		if (!ok)
			continue;
		if (gen == UNKNOWN || (gen == NEVER && !(v->is_read_only && is_marked(p)))) {
			v->unjudged += v->unit;
			continue;
		}
		v->checked += v->unit;
		fault = judge(v, p, s->offset + done, gen);
		if (fault)
			run_error(v->run, &v->run->verify_errors,
				  "block at byte %llu of %s, read by queue %u as part of %u bytes "
				  "at %llu: %s; suspect the target's storage or the transport "
				  "(data_digest=on tells them apart).",
				  (unsigned long long)(s->offset + done), s->q->job->uri,
				  s->q->index, s->len, (unsigned long long)s->offset, fault);
	}
}

void verify_cancel(struct verify *v, const struct slot *s, bool is_readback)
{
	uint32_t *e = entry(v, s->offset), n = s->len / v->unit, i;

	for (i = 0; i < n; i++)
		e[i] &= ~BUSY;
	if (is_readback)
		v->cursor -= n;
}

bool verify_next_written(struct verify *v, uint64_t *offset, uint32_t *len, uint32_t max)
{
	uint64_t n = 0;

#define KNOWN(i) (v->table[i] != NEVER && v->table[i] != UNKNOWN && !(v->table[i] & BUSY))
	while (v->cursor < v->units && !KNOWN(v->cursor))
		v->cursor++;
	while (v->cursor + n < v->units && (n + 1) * v->unit <= max && KNOWN(v->cursor + n))
		n++;
#undef KNOWN
	if (n == 0)
		return false;
	*offset = v->base + v->cursor * v->unit;
	*len = (uint32_t)(n * v->unit);
	v->cursor += n;
	return true;
}

void verify_counts(const struct verify *v, uint64_t *checked, uint64_t *unjudged)
{
	*checked += v->checked;
	*unjudged += v->unjudged;
}

bool verify_has_written(const struct verify *v)
{
	return v->has_written;
}
