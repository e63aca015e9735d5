/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See retry.h. */
#include "ctrl/retry.h"

#include "nof.h"

/* SCT and SC without CRD, M and DNR. */
enum {
	STATUS_CODE = 0x7ff,
	SCT_PATH = 3,
	DATA_TRANSFER = 0x004,
	INTERNAL = 0x006,
	ABORT_REQUESTED = 0x007,
	SQ_DELETED = 0x008,
	INTERRUPTED = 0x021,
	TRANSPORT = 0x022,
	NS_NOT_READY = 0x082,
	FORMATTING = 0x084,
	ANA_LOSS = 0x301,
	ANA_INACCESSIBLE = 0x302,
	ANA_CHANGE = 0x303,
};

/* A path that failed without saying for how long is left alone for a moment. */
#define PAUSE_NS 100000000ull
#define CRD_UNIT_NS 100000000ull

bool nofi_status_is_path(uint16_t status)
{
	return (status >> 8 & 7) == SCT_PATH;
}

bool nofi_status_is_ana(uint16_t status)
{
	uint16_t code = status & STATUS_CODE;

	return code == ANA_LOSS || code == ANA_INACCESSIBLE || code == ANA_CHANGE;
}

/* Refused before anything was done. */
static bool is_unexecuted(uint16_t status)
{
	uint16_t code = status & STATUS_CODE;

	return nofi_status_is_ana(status) || code == NS_NOT_READY || code == FORMATTING;
}

/* Worth another attempt: what went wrong may not go wrong again. */
static bool is_passing(uint16_t status)
{
	switch (status & STATUS_CODE) {
	case DATA_TRANSFER:
	case INTERNAL:
	case ABORT_REQUESTED:
	case SQ_DELETED:
	case INTERRUPTED:
	case TRANSPORT:
	case NS_NOT_READY:
	case FORMATTING:
		return true;
	}
	/* With a delay the controller asks for it, whatever it was. */
	return nofi_status_is_path(status) || status >> 11 & 3;
}

static uint64_t crd_ns(const struct nofi_retry_in *in)
{
	unsigned crd = in->status >> 11 & 3;

	return crd ? in->crdt[crd - 1] * CRD_UNIT_NS : 0;
}

static struct nofi_retry_out decide(const struct nofi_retry_in *in)
{
	struct nofi_retry_out out = { NOFI_RETRY_COMPLETE, 0, false };

	switch (in->end) {
	case NOFI_END_STATUS:
		out.is_ana = nofi_status_is_ana(in->status);
		if (in->status & NOF_STATUS_DNR || !is_passing(in->status) ||
		    (in->class == NOFI_IO_ONCE && !is_unexecuted(in->status)))
			return out;
		out.what = nofi_status_is_path(in->status) ? NOFI_RETRY_OTHER : NOFI_RETRY_SAME;
		out.wait_ns = crd_ns(in);
		/* Several attempts in a row would only meet the same moment. */
		if (!out.wait_ns && (out.what == NOFI_RETRY_SAME ? in->sent > 1 : !in->has_other))
			out.wait_ns = PAUSE_NS;
		return out;
	case NOFI_END_DATA:
		if (in->class == NOFI_IO_IDEMPOTENT)
			out.what = NOFI_RETRY_SAME;
		return out;
	case NOFI_END_UNSENT:
		out.what = NOFI_RETRY_OTHER;
		return out;
	case NOFI_END_LOST:
		if (in->class == NOFI_IO_ONCE)
			return out;
		out.what = NOFI_RETRY_OTHER;
		out.wait_ns = in->class == NOFI_IO_WRITE ? in->hold_ns : 0;
		return out;
	}
	return out;
}

struct nofi_retry_out nofi_retry_decide(const struct nofi_retry_in *in)
{
	struct nofi_retry_out out = decide(in);

	if (in->is_fail_fast || in->sent > in->max_retries)
		out.what = NOFI_RETRY_COMPLETE;
	if (out.what == NOFI_RETRY_COMPLETE)
		out.wait_ns = 0;
	return out;
}
