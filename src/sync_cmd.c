/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting forms of the commands that are not plain reads and writes. */
#include "wait.h"

int nof_pverify(struct nof_chan *chan, uint64_t len, uint64_t offset, uint32_t flags)
{
	NOFI_WAIT_FOR(chan, nof_verify(chan, len, offset, flags, nofi_wait_done, &w));
}

int nof_pwrite_uncorrectable(struct nof_chan *chan, uint64_t len, uint64_t offset, uint32_t flags)
{
	NOFI_WAIT_FOR(chan, nof_write_uncorrectable(chan, len, offset, flags, nofi_wait_done, &w));
}

int nof_pcopy(struct nof_chan *chan, const struct nof_copy_range *ranges, size_t n,
	      uint64_t offset, uint32_t flags)
{
	NOFI_WAIT_FOR(chan, nof_copy(chan, ranges, n, offset, flags, nofi_wait_done, &w));
}

int nof_pcompare_write(struct nof_chan *chan, const void *expected, const void *data, size_t len,
		       uint64_t offset, uint32_t flags)
{
	NOFI_WAIT_FOR(chan, nof_compare_write(chan, expected, data, len, offset, flags,
					      nofi_wait_done, &w));
}

int nof_preadv_pi(struct nof_chan *chan, const struct iovec *iov, int iovcnt, void *md,
		  size_t md_len, uint64_t offset, uint32_t flags, const struct nof_pi *pi)
{
	NOFI_WAIT_FOR(chan, nof_readv_pi(chan, iov, iovcnt, md, md_len, offset, flags, pi,
					 nofi_wait_done, &w));
}

int nof_pwritev_pi(struct nof_chan *chan, const struct iovec *iov, int iovcnt, const void *md,
		   size_t md_len, uint64_t offset, uint32_t flags, const struct nof_pi *pi)
{
	NOFI_WAIT_FOR(chan, nof_writev_pi(chan, iov, iovcnt, md, md_len, offset, flags, pi,
					  nofi_wait_done, &w));
}

int nof_presv_register(struct nof_chan *chan, enum nof_resv_register_action action, uint64_t key,
		       uint64_t new_key, uint32_t flags)
{
	NOFI_WAIT_FOR(chan, nof_resv_register(chan, action, key, new_key, flags, nofi_wait_done,
					      &w));
}

int nof_presv_acquire(struct nof_chan *chan, enum nof_resv_acquire_action action,
		      enum nof_resv_type type, uint64_t key, uint64_t preempt_key, uint32_t flags)
{
	NOFI_WAIT_FOR(chan, nof_resv_acquire(chan, action, type, key, preempt_key, flags,
					     nofi_wait_done, &w));
}

int nof_presv_release(struct nof_chan *chan, enum nof_resv_release_action action,
		      enum nof_resv_type type, uint64_t key, uint32_t flags)
{
	NOFI_WAIT_FOR(chan, nof_resv_release(chan, action, type, key, flags, nofi_wait_done, &w));
}

int nof_pzone_mgmt(struct nof_chan *chan, uint64_t zone, enum nof_zone_action action)
{
	NOFI_WAIT_FOR(chan, nof_zone_mgmt(chan, zone, action, nofi_wait_done, &w));
}

/* ---- with a result ---- */

#define WAIT_RESULT(chan, w, r, call) \
	do { \
		r = nofi_wait_check(chan); \
		if (r == 0) \
			r = nofi_wait_finish(chan, w, call); \
	} while (0)

int nof_presv_report(struct nof_chan *chan, struct nof_resv_status *status,
		     struct nof_registrant *regs, uint32_t max)
{
	struct nofi_wait w = { 0 };
	int r;

	WAIT_RESULT(chan, &w, r, nof_resv_report(chan, status, regs, max, nofi_wait_done, &w));
	return r < 0 ? r : (int)w.result;
}

int nof_pzone_report(struct nof_chan *chan, uint64_t lba, enum nof_zone_filter filter,
		     struct nof_zone *zones, uint32_t max)
{
	struct nofi_wait w = { 0 };
	int r;

	/* What is returned is an int. */
	max = max < INT32_MAX ? max : INT32_MAX;
	WAIT_RESULT(chan, &w, r, nof_zone_report(chan, lba, filter, zones, max, nofi_wait_done,
						 &w));
	return r < 0 ? r : (int)w.result;
}

int nof_pzone_append(struct nof_chan *chan, const void *buf, size_t len, uint64_t zone,
		     uint32_t flags, uint64_t *lba)
{
	struct nofi_wait w = { 0 };
	int r;

	WAIT_RESULT(chan, &w, r, nof_zone_append(chan, buf, len, zone, flags, nofi_wait_done, &w));
	if (r == 0 && lba)
		*lba = w.result;
	return r;
}

int nof_pio_passthru(struct nof_chan *chan, const struct nof_passthru *cmd, uint64_t *result)
{
	struct nofi_wait w = { 0 };
	int r;

	WAIT_RESULT(chan, &w, r, nof_io_passthru(chan, cmd, nofi_wait_done, &w));
	if (r == 0 && result)
		*result = w.result;
	return r;
}
