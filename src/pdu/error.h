/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the checks of this folder report: one call, so that no field is forgotten. */
#ifndef NOF_PDU_ERROR_H
#define NOF_PDU_ERROR_H

#include <errno.h>

#include "pdu/pdu.h"

static inline int nofi_pdu_fail(struct nofi_pdu_error *err, uint16_t fes, uint32_t fei,
				const char *what, uint64_t got, uint64_t want)
{
	*err = (struct nofi_pdu_error){
		.fes = fes, .fei = fei, .what = what, .got = got, .want = want,
	};
	return -EPROTO;
}

#endif
