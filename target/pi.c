/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Protection information: guards, tags, insert, check and strip (NVM command set §5.3). */
#include <nvme/types.h>

#include "pi.h"
#include "target.h"
#include "pdu/crc32c.h"

#define INVALID_PI (0x100u | NVME_SC_INVALID_PI | DNR)

uint32_t pi_size(enum pi_guard pif)
{
	return pif == PI_GUARD16 ? 8 : 16;
}

/* ---- guards ---- */

/* T10 DIF: polynomial 8BB7h. */
static uint16_t crc16(const uint8_t *p, size_t n)
{
	static uint16_t table[256];
	uint16_t crc = 0;

	for (unsigned int i = 0; i < 256 && !table[255]; i++) {
		crc = (uint16_t)(i << 8);
		for (int k = 0; k < 8; k++)
			crc = (uint16_t)(crc << 1 ^ (crc & 0x8000 ? 0x8bb7 : 0));
		table[i] = crc;
	}
	for (crc = 0; n--; p++)
		crc = (uint16_t)(crc << 8 ^ table[(crc >> 8 ^ *p) & 0xff]);
	return crc;
}

/* NVMe's own: polynomial AD93D23594C93659h, reflected. */
static uint64_t crc64(const uint8_t *p, size_t n)
{
	static uint64_t table[256];
	uint64_t crc;

	for (unsigned int i = 0; i < 256 && !table[255]; i++) {
		crc = i;
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? 0x9a6c9329ac4bc9b5ull : 0);
		table[i] = crc;
	}
	for (crc = ~0ull; n--; p++)
		crc = crc >> 8 ^ table[(crc ^ *p) & 0xff];
	return ~crc;
}

static uint64_t guard(enum pi_guard pif, const uint8_t *p, size_t n)
{
	switch (pif) {
	case PI_GUARD16:
		return crc16(p, n);
	case PI_GUARD32:
		return nofi_crc32c(p, n);
	case PI_GUARD64:
		break;
	}
	return crc64(p, n);
}

/* ---- the tuple: big-endian fields ---- */

struct tuple {
	uint64_t guard, ref;
	uint16_t app, storage;
};

static void put_be(uint8_t *p, uint64_t v, unsigned int n)
{
	while (n--) {
		p[n] = (uint8_t)v;
		v >>= 8;
	}
}

static uint64_t get_be(const uint8_t *p, unsigned int n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | *p++;
	return v;
}

/* Bytes of guard, storage tag and reference tag. */
static const struct {
	uint8_t guard, storage, ref;
} layout[] = {
	[PI_GUARD16] = { 2, 0, 4 },
	[PI_GUARD32] = { 4, 2, 8 },
	[PI_GUARD64] = { 8, 0, 6 },
};

static void put_tuple(enum pi_guard pif, uint8_t *p, const struct tuple *t)
{
	put_be(p, t->guard, layout[pif].guard);
	p += layout[pif].guard;
	put_be(p, t->app, 2);
	p += 2;
	put_be(p, t->storage, layout[pif].storage);
	put_be(p + layout[pif].storage, t->ref, layout[pif].ref);
}

static void get_tuple(enum pi_guard pif, const uint8_t *p, struct tuple *t)
{
	t->guard = get_be(p, layout[pif].guard);
	p += layout[pif].guard;
	t->app = (uint16_t)get_be(p, 2);
	p += 2;
	t->storage = (uint16_t)get_be(p, layout[pif].storage);
	t->ref = get_be(p + layout[pif].storage, layout[pif].ref);
}

static uint64_t ref_mask(enum pi_guard pif)
{
	return layout[pif].ref == 8 ? UINT64_MAX : (1ull << 8 * layout[pif].ref) - 1;
}

/* ---- arguments ---- */

void pi_args_of(const struct cmd *cmd, struct pi_args *a)
{
	const struct ns *ns = cmd->ns;
	uint32_t dw15 = sqe_dw(cmd, 15);

	memset(a, 0, sizeof(*a));
	a->prinfo = sqe_dw(cmd, 12) >> 26 & 15;
	a->is_storage_checked = sqe_dw(cmd, 12) >> 24 & 1;
	a->app = (uint16_t)dw15;
	a->appmask = (uint16_t)(dw15 >> 16);
	a->ref = (sqe_dw(cmd, 14) | (uint64_t)sqe_dw(cmd, 3) << 32) & ref_mask(ns->pif);
	a->storage = ns->pif == PI_GUARD32 ? (uint16_t)sqe_dw(cmd, 2) : 0;
}

uint16_t pi_validate(const struct ns *ns, const struct pi_args *a, uint64_t slba)
{
	if (!(a->prinfo & PI_CHECK_REF))
		return 0;
	if (ns->pi_type == 3)		/* its reference tags mean nothing to us */
		return INVALID_PI;
	if (ns->pi_type == 1 && a->ref != (slba & ref_mask(ns->pif)))
		return INVALID_PI;
	return 0;
}

static bool is_stripped(const struct ns *ns, const struct pi_args *a)
{
	return (a->prinfo & PI_ACT) && ns->ms == pi_size(ns->pif) && !a->is_full;
}

uint32_t pi_host_block(const struct ns *ns, const struct pi_args *a)
{
	return is_stripped(ns, a) ? 1u << ns->lbads : ns->stride;
}

/* ---- one block ---- */

/* Where it is in the block; as many bytes are under the guard if it comes last. */
static uint32_t pi_offset(const struct ns *ns)
{
	return (1u << ns->lbads) + (ns->is_pi_first ? 0 : ns->ms - pi_size(ns->pif));
}

static uint64_t block_ref(const struct ns *ns, uint64_t first, uint32_t i)
{
	return ns->pi_type == 3 ? first : (first + i) & ref_mask(ns->pif);
}

static uint16_t check(const struct ns *ns, const struct pi_args *a, uint32_t i,
		      const uint8_t *block, const struct tuple *t)
{
	bool is_escaped = t->app == 0xffff &&
			  (ns->pi_type != 3 || t->ref == ref_mask(ns->pif));

	if (is_escaped)
		return 0;
	if ((a->prinfo & PI_CHECK_GUARD) && t->guard != guard(ns->pif, block, pi_offset(ns)))
		return STATUS_MEDIA(NVME_SC_GUARD_CHECK) | DNR;
	if ((a->prinfo & PI_CHECK_APP) && ((t->app ^ a->app) & a->appmask))
		return STATUS_MEDIA(NVME_SC_APPTAG_CHECK) | DNR;
	if ((a->prinfo & PI_CHECK_REF) && t->ref != block_ref(ns, a->ref, i))
		return STATUS_MEDIA(NVME_SC_REFTAG_CHECK) | DNR;
	if (a->is_storage_checked && ns->pif == PI_GUARD32 && t->storage != a->storage)
		return STATUS_MEDIA(NVME_SC_STORAGE_TAG_CHECK) | DNR;
	return 0;
}

bool pi_is_equal(const struct ns *ns, uint32_t nlb, const uint8_t *a, const uint8_t *b)
{
	uint32_t at = pi_offset(ns), end = at + pi_size(ns->pif);

	for (uint32_t i = 0; i < nlb; i++, a += ns->stride, b += ns->stride)
		if (memcmp(a, b, at) || memcmp(a + end, b + end, ns->stride - end))
			return false;
	return true;
}

static void complement(uint8_t *p, uint32_t n)
{
	while (n--)
		*p++ ^= 0xff;
}

uint16_t pi_to_medium(const struct ns *ns, const struct pi_args *a, uint32_t nlb,
		      const uint8_t *host, uint8_t *medium)
{
	uint32_t host_block = pi_host_block(ns, a), size = pi_size(ns->pif), at = pi_offset(ns);

	for (uint32_t i = 0; i < nlb; i++, host += host_block, medium += ns->stride) {
		struct tuple t;
		uint16_t status;

		memcpy(medium, host, host_block);
		if (a->prinfo & PI_ACT) {
			t.guard = guard(ns->pif, medium, at);
			t.app = a->app;
			t.storage = a->storage;
			t.ref = block_ref(ns, a->is_remapped ? a->slba : a->ref, i);
		} else {
			get_tuple(ns->pif, medium + at, &t);
			status = check(ns, a, i, medium, &t);
			if (status)
				return status;
			if (a->is_remapped)
				t.ref = block_ref(ns, a->slba, i);
		}
		put_tuple(ns->pif, medium + at, &t);
		complement(medium + at, size);
	}
	return 0;
}

uint16_t pi_from_medium(const struct ns *ns, const struct pi_args *a, uint32_t nlb,
			const uint8_t *medium, uint8_t *host)
{
	uint32_t host_block = pi_host_block(ns, a), size = pi_size(ns->pif), at = pi_offset(ns);

	for (uint32_t i = 0; i < nlb; i++, medium += ns->stride) {
		uint8_t pi[16];
		struct tuple t;
		uint16_t status;

		memcpy(pi, medium + at, size);
		complement(pi, size);
		get_tuple(ns->pif, pi, &t);
		status = check(ns, a, i, medium, &t);
		if (status)
			return status;
		if (!host)
			continue;
		memcpy(host, medium, host_block);
		if (host_block == ns->stride)
			memcpy(host + at, pi, size);
		host += host_block;
	}
	return 0;
}
