/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes what judges the pages of a hostile controller: Identify of controller and
 * namespace with all that follows from them, reports of zones and reservations, logs. The first
 * byte chooses, the rest is the page.
 *
 * clang -fsanitize=fuzzer,address,undefined -DNOF_LIBFUZZER … for libFuzzer;
 * otherwise a program that replays the files given as arguments.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/ident_cs.h"
#include "ctrl/reports.h"
#include "pdu/pi.h"
#include "pdu/wire.h"

/* A broken promise must look like a crash to the fuzzer. */
#define PROMISE(cond)								\
	do {									\
		if (!(cond)) {							\
			fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #cond); \
			abort();						\
		}								\
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_limits(const struct nofi_ns_ident *ns)
{
	PROMISE(ns->lba_shift >= 9 && ns->lba_shift <= 16);
	PROMISE(ns->nblocks && ns->nblocks <= (uint64_t)INT64_MAX >> ns->lba_shift);
	PROMISE(ns->max_blocks && ns->max_blocks <= NOFI_NS_CMD_BLOCKS);
	PROMISE(ns->max_verify_blocks && ns->max_verify_blocks <= NOFI_NS_CMD_BLOCKS);
	PROMISE(ns->max_wu_blocks && ns->max_wu_blocks <= NOFI_NS_CMD_BLOCKS);
	PROMISE(ns->max_md_blocks <= NOFI_NS_CMD_BLOCKS);
	PROMISE((uint64_t)ns->max_md_blocks * ((1u << ns->lba_shift) + ns->ms) <= ns->max_bytes);
	PROMISE(ns->atomic && ns->atomic_pf && ns->atomic_cmp);
	PROMISE(!ns->atomic_boundary || ns->atomic_offset < ns->atomic_boundary);
	if (ns->features & NOF_NS_COPY)
		PROMISE(ns->copy_range && ns->copy_ranges && ns->copy_range <= ns->copy_total);
	PROMISE(ns->pi_type <= 3 && nofi_pi_is_possible(ns->pif, ns->sts));
	PROMISE(!ns->pi_type || ns->ms >= nofi_pi_len(ns->pif));
}

static void fuzz_ns(const uint8_t pages[4 * NOFI_PAGE])
{
	struct nofi_ident_ctx ctx = { .cntlid = nofi_get16(pages + 78), .mpsmin = pages[90] & 15 };
	struct nofi_ctrl_ident ctrl;
	struct nofi_ns_ident ns = { .nsid = 1 };
	struct nofi_nvm_limits lim;
	struct nofi_err err;

	if (nofi_ident_ctrl(pages, &ctx, &ctrl, &err) < 0 ||
	    nofi_ident_ns(pages + NOFI_PAGE, &ctrl, &ns, &err) < 0)
		return;
	nofi_ident_nvm(pages + 3 * NOFI_PAGE, &lim);
	nofi_ns_apply_limits(&ns, &lim, ctx.mpsmin);
	check_limits(&ns);
	if (nofi_ident_wants_elbaf(&ns, &ctrl))
		nofi_ident_elbaf(pages + 2 * NOFI_PAGE, &ns, &err);
	nofi_ns_set_plain(&ns);
	check_limits(&ns);
	if (nofi_ident_zns(pages + 2 * NOFI_PAGE, &ns, &err) == 0) {
		nofi_ns_apply_zasl(&ns, pages[3 * NOFI_PAGE], ctx.mpsmin);
		PROMISE(ns.zone_size && ns.zone_size <= ns.nblocks && ns.max_append_blocks);
	}
}

static void fuzz_zones(const uint8_t *data, size_t size)
{
	struct nof_zone zones[40];
	struct nofi_zone_ctx ctx = { .nblocks = 4000, .zone_size = 100, .filter = size % 8 };
	struct nofi_err err;
	int n = nofi_zones_parse(data, size, &ctx, zones, 40, &err);

	PROMISE(n == -EPROTO || (n >= 0 && n <= 40));
	for (int i = 0; i < n; i++) {
		PROMISE(zones[i].start % 100 == 0 && zones[i].start < 4000);
		PROMISE(!i || zones[i].start > zones[i - 1].start);
		PROMISE(zones[i].capacity <= 100);
	}
}

static void fuzz_resv(const uint8_t *data, size_t size)
{
	struct nof_registrant regs[8];
	struct nof_resv_status st;
	struct nofi_err err;
	int n = nofi_resv_parse(data, size, size & 1, &st, regs, 8, &err);

	PROMISE(n == -EPROTO || (n >= 0 && n <= 8));
	PROMISE(n < 0 || (uint32_t)n <= st.registrants);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t pages[4 * NOFI_PAGE];
	struct nofi_effects effects;
	struct nofi_resv_note note;

	if (!size)
		return 0;
	memset(pages, 0, sizeof(pages));
	memcpy(pages, data + 1, size - 1 < sizeof(pages) ? size - 1 : sizeof(pages));
	switch (data[0] & 3) {
	case 0:
		fuzz_ns(pages);
		break;
	case 1:
		fuzz_zones(data + 1, size - 1);
		break;
	case 2:
		fuzz_resv(data + 1, size - 1);
		break;
	case 3:
		nofi_effects_parse(pages, &effects);
		nofi_resv_note_parse(pages, &note);
		break;
	}
	return 0;
}

#ifndef NOF_LIBFUZZER
/* Without libFuzzer: pages of its own making, the same in every run, and files if any. */
static uint64_t seed = 0x9e3779b97f4a7c15u;

static uint64_t next(void)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * 0x2545f4914f6cdd1du;
}

static void one_of_own(uint8_t *buf, size_t max)
{
	size_t size = 1 + next() % max;

	memset(buf, 0, max);
	/* Something near to what is right, and then wrong here and there. */
	buf[0] = (uint8_t)(next() & 3);
	if (buf[0] == 0) {
		size = max;
		nofi_put32(buf + 1 + 536, 1);			/* SGLS */
		nofi_put32(buf + 1 + 1792, 4);			/* IOCCSZ */
		nofi_put16(buf + 1 + 520, 0xffff);		/* ONCS */
		nofi_put32(buf + 1 + 96, 1u << 15);		/* CTRATT */
		nofi_put64(buf + 1 + 4096, 100000);		/* NSZE */
		buf[1 + 4096 + 26] = 0x10;			/* FLBAS */
		nofi_put32(buf + 1 + 4096 + 128, 9u << 16 | 16);
		nofi_put16(buf + 1 + 4096 + 74, 8);		/* MSSRL */
		nofi_put32(buf + 1 + 4096 + 76, 16);		/* MCL */
		buf[1 + 4096 + 29] = 1;				/* DPS */
		nofi_put64(buf + 1 + 8192 + 2816, 1000);	/* ZSZE */
	} else if (buf[0] == 1) {
		nofi_put64(buf + 1, size / 64);
		for (size_t i = 0; 65 + 64 * i + 64 <= size; i++) {
			buf[65 + 64 * i + 1] = (uint8_t)(1 + next() % 4) << 4;
			nofi_put64(buf + 65 + 64 * i + 16, 100 * i);
			nofi_put64(buf + 65 + 64 * i + 24, 100 * i);
		}
	}
	for (unsigned n = (unsigned)(next() % 12); n; n--)
		buf[1 + next() % (buf[0] ? size : 12000) % max] = (uint8_t)next();
	LLVMFuzzerTestOneInput(buf, size);
}

int main(int argc, char **argv)
{
	enum { MAX = 1 + 4 * NOFI_PAGE };
	uint8_t *buf = malloc(MAX);

	if (!buf)
		return 1;
	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "rb");

		if (!f)
			return 1;
		LLVMFuzzerTestOneInput(buf, fread(buf, 1, MAX, f));
		fclose(f);
	}
	for (int i = 0; i < 200000; i++)
		one_of_own(buf, next() & 1 ? MAX : 1 + 64 * 40);
	free(buf);
	return 0;
}
#endif
