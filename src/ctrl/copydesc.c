/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Source ranges of Copy. See copydesc.h. */
#include <string.h>

#include "ctrl/copydesc.h"
#include "pdu/wire.h"

static void put_desc(uint8_t *d, uint8_t format, uint64_t slba, uint32_t blocks,
		     const struct nofi_pi *pi)
{
	uint32_t c2 = 0, c3 = 0, c14 = 0;

	memset(d, 0, format ? NOFI_COPY_DESC1 : NOFI_COPY_DESC0);
	nofi_put64(d + 8, slba);
	nofi_put16(d + 16, (uint16_t)(blocks - 1));
	if (!pi)
		return;
	/* The reference tag is the block's number, as plain writes have it (pi->ref is 0). */
	nofi_pi_cdws(pi, slba, &c2, &c3, &c14);
	if (!format) {
		nofi_put32(d + 24, c14);
		nofi_put16(d + 28, pi->app_mask);
		nofi_put16(d + 30, pi->app);
		return;
	}
	/* Ten bytes, most significant first. */
	for (int i = 0; i < 4; i++) {
		d[35 - i] = (uint8_t)(c14 >> 8 * i);
		d[31 - i] = (uint8_t)(c3 >> 8 * i);
	}
	d[27] = (uint8_t)c2;
	d[26] = (uint8_t)(c2 >> 8);
	nofi_put16(d + 36, pi->app_mask);
	nofi_put16(d + 38, pi->app);
}

unsigned nofi_copy_build(struct nofi_copy_cursor *at, const struct nofi_copy_limits *lim,
			 uint8_t format, const struct nofi_pi *pi, uint8_t *desc,
			 uint32_t *blocks)
{
	unsigned n = 0;

	*blocks = 0;
	while (at->left && n < lim->ranges && *blocks < lim->total) {
		uint64_t max = at->range->length - at->done;

		if (!max) {
			at->range++;
			at->left--;
			at->done = 0;
			continue;
		}
		if (max > lim->range)
			max = lim->range;
		if (max > lim->total - *blocks)
			max = lim->total - *blocks;
		put_desc(desc, format, at->range->offset + at->done, (uint32_t)max, pi);
		desc += format ? NOFI_COPY_DESC1 : NOFI_COPY_DESC0;
		at->done += max;
		*blocks += (uint32_t)max;
		n++;
	}
	return n;
}
