/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NOF_QUEUE_TAP_H
#define NOF_QUEUE_TAP_H

#include "queue/queue.h"

/*
 * 0, or what went wrong with the file since it was opened (disk full, …): from
 * then on nothing more is recorded, and the file ends with a whole packet. What is
 * still buffered is written first.
 */
int nofi_tap_status(struct nofi_tap *tap, struct nofi_err *err);

#endif
