/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Protection information: layout, tags, checks. See pi.h. */
#include <errno.h>
#include <string.h>

#include "pdu/crc32c.h"
#include "pdu/pi.h"

/* Bits of the storage and reference tag together, by PIF. */
static const uint8_t space_bits[] = { 32, 80, 48 };
static const uint8_t guard_bytes[] = { 2, 4, 8 };

bool nofi_pi_is_possible(uint8_t pif, uint8_t sts)
{
	static const uint8_t lo[] = { 0, 16, 0 }, hi[] = { 32, 64, 48 };

	return pif <= NOFI_PIF_64 && sts >= lo[pif] && sts <= hi[pif];
}

unsigned nofi_pi_ref_bits(const struct nofi_pi *pi)
{
	return (unsigned)(space_bits[pi->pif] - pi->sts);
}

static uint64_t low_bits(uint64_t v, unsigned n)
{
	return n >= 64 ? v : v & ((1ull << n) - 1);
}

static uint64_t ref_of(const struct nofi_pi *pi, uint64_t index)
{
	return low_bits(pi->type == 3 ? pi->ref : pi->ref + index, nofi_pi_ref_bits(pi));
}

/* The last field as a number of up to 80 bits. */
static void tags_of(const struct nofi_pi *pi, uint64_t index, uint64_t *hi, uint64_t *lo)
{
	unsigned bits = nofi_pi_ref_bits(pi);
	uint64_t storage = low_bits(pi->storage, pi->sts);

	*lo = ref_of(pi, index) | (bits < 64 ? storage << bits : 0);
	*hi = bits == 64 ? storage : bits ? storage >> (64 - bits) : 0;
}

void nofi_pi_cdws(const struct nofi_pi *pi, uint64_t index, uint32_t *cdw2, uint32_t *cdw3,
		  uint32_t *cdw14)
{
	uint64_t hi, lo;

	tags_of(pi, index, &hi, &lo);
	*cdw14 = (uint32_t)lo;
	*cdw3 = (uint32_t)(lo >> 32);
	*cdw2 = (uint32_t)(hi & 0xffff);
}

static void put_be(uint8_t *p, uint64_t v, unsigned bytes)
{
	while (bytes--) {
		p[bytes] = (uint8_t)v;
		v >>= 8;
	}
}

static uint64_t get_be(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | *p++;
	return v;
}

/* ---- guards ---- */

struct place {
	const struct iovec *iov;
	size_t off;
};

static uint64_t guard_update(uint8_t pif, uint64_t crc, const void *p, size_t len)
{
	switch ((enum nofi_pif)pif) {
	case NOFI_PIF_16: return nofi_crc16_update((uint16_t)crc, p, len);
	case NOFI_PIF_32: return nofi_crc32c_update((uint32_t)crc, p, len);
	case NOFI_PIF_64: return nofi_crc64_update(crc, p, len);
	}
	return 0;
}

/* The guard of the next block of data, and of the metadata before the protection information. */
static uint64_t guard_of(const struct nofi_pi *pi, struct place *at, const uint8_t *md, size_t pos)
{
	uint64_t crc = pi->pif == NOFI_PIF_16 ? 0 : UINT64_MAX;
	size_t left = pi->block;

	while (left) {
		size_t n = at->iov->iov_len - at->off;

		if (!n) {
			at->iov++;
			at->off = 0;
			continue;
		}
		if (n > left)
			n = left;
		crc = guard_update(pi->pif, crc, (const uint8_t *)at->iov->iov_base + at->off, n);
		at->off += n;
		left -= n;
	}
	if (!pi->is_first && pos)
		crc = guard_update(pi->pif, crc, md, pos);
	if (pi->pif == NOFI_PIF_32)
		return (uint32_t)~crc;
	return pi->pif == NOFI_PIF_64 ? ~crc : crc;
}

static struct place place_of(const struct iovec *iov, size_t off)
{
	while (off && off >= iov->iov_len) {
		off -= iov->iov_len;
		iov++;
	}
	return (struct place){ iov, off };
}

static size_t pi_pos(const struct nofi_pi *pi)
{
	return pi->is_first ? 0 : pi->ms - nofi_pi_len(pi->pif);
}

void nofi_pi_fill(const struct nofi_pi *pi, const struct iovec *iov, size_t off, uint8_t *md,
		  uint64_t blocks)
{
	struct place at = blocks ? place_of(iov, off) : (struct place){ 0 };
	unsigned guard = guard_bytes[pi->pif], space = space_bits[pi->pif] / 8u;
	size_t pos = pi_pos(pi);

	for (uint64_t i = 0; i < blocks; i++, md += pi->ms) {
		uint8_t *p = md + pos;
		uint64_t hi, lo;

		put_be(p, guard_of(pi, &at, md, pos), guard);
		put_be(p + guard, pi->app, 2);
		tags_of(pi, i, &hi, &lo);
		p += guard + 2;
		if (space > 8) {
			put_be(p, hi, space - 8);
			put_be(p + space - 8, lo, 8);
		} else {
			put_be(p, lo, space);
		}
	}
}

struct tags {
	uint16_t app;
	uint64_t ref, storage;
};

static struct tags read_tags(const struct nofi_pi *pi, const uint8_t *p)
{
	unsigned guard = guard_bytes[pi->pif], space = space_bits[pi->pif] / 8u;
	unsigned bits = nofi_pi_ref_bits(pi);
	struct tags t = { .app = (uint16_t)get_be(p + guard, 2) };
	uint64_t hi, lo;

	p += guard + 2;
	hi = space > 8 ? get_be(p, space - 8) : 0;
	lo = get_be(p + (space > 8 ? space - 8 : 0), space > 8 ? 8 : space);
	t.ref = low_bits(lo, bits);
	t.storage = bits >= 64 ? hi : bits ? lo >> bits | hi << (64 - bits) : lo;
	t.storage = low_bits(t.storage, pi->sts);
	return t;
}

/* "Do not check this block": the drive, or a copy tool, wrote it so. */
static bool is_escaped(const struct nofi_pi *pi, const struct tags *t)
{
	if (t->app != 0xffff)
		return false;
	return pi->type != 3 || t->ref == low_bits(UINT64_MAX, nofi_pi_ref_bits(pi));
}

static int fault_at(struct nofi_pi_fault *f, uint64_t index, enum nofi_pi_tag tag, uint64_t got,
		    uint64_t want)
{
	*f = (struct nofi_pi_fault){ .index = index, .tag = tag, .got = got, .want = want };
	return -EILSEQ;
}

int nofi_pi_check(const struct nofi_pi *pi, const struct iovec *iov, size_t off, const uint8_t *md,
		  uint64_t blocks, struct nofi_pi_fault *f)
{
	struct place at = blocks ? place_of(iov, off) : (struct place){ 0 };
	unsigned guard = guard_bytes[pi->pif];
	size_t pos = pi_pos(pi);

	for (uint64_t i = 0; i < blocks; i++, md += pi->ms) {
		const uint8_t *p = md + pos;
		struct tags t = read_tags(pi, p);
		uint64_t crc, want;

		/* Also of a block that is not checked: it moves on to the next one's data. */
		crc = guard_of(pi, &at, md, pos);
		if (is_escaped(pi, &t))
			continue;
		if (pi->checks & NOFI_PI_GUARD && get_be(p, guard) != crc)
			return fault_at(f, i, NOFI_PI_GUARD, get_be(p, guard), crc);
		if (pi->checks & NOFI_PI_APP && (t.app ^ pi->app) & pi->app_mask)
			return fault_at(f, i, NOFI_PI_APP, t.app, pi->app);
		want = ref_of(pi, i);
		if (pi->checks & NOFI_PI_REF && pi->type != 3 && t.ref != want)
			return fault_at(f, i, NOFI_PI_REF, t.ref, want);
		want = low_bits(pi->storage, pi->sts);
		if (pi->checks & NOFI_PI_STORAGE && t.storage != want)
			return fault_at(f, i, NOFI_PI_STORAGE, t.storage, want);
	}
	return 0;
}
