/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What passthrough commands may be (C-3): pure functions over a command's dwords.
 * The library owns the queues, their association with the controller, the
 * identifiers of commands and how data is described; nothing that a caller sends
 * past it may change these.
 */
#ifndef NOF_CTRL_GUARD_H
#define NOF_CTRL_GUARD_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "pdu/pdu.h"

/*
 * Copies a caller's sized argument struct into *dst, which a newer or older caller
 * may know longer or shorter: what it does not have reads as 0. −EINVAL: no struct,
 * or no size; −E2BIG: it sets fields this version does not know.
 */
int nofi_args_copy(void *dst, size_t size, const void *src, const char *call, struct nofi_err *err);

/* May it be sent on the admin queue? cdw10 is that of the command. 0, −EPERM. */
int nofi_guard_admin(uint8_t opcode, uint8_t fctype, uint32_t cdw10, struct nofi_err *err);
/* The same for an I/O queue. */
int nofi_guard_io(uint8_t opcode, struct nofi_err *err);
/* May the feature be set by a caller? 0, −EPERM. */
int nofi_guard_feature(uint8_t fid, struct nofi_err *err);

/*
 * Direction of the data as the opcode (Fabrics: the command's type) says in its
 * lowest two bits. −EINVAL: data where none can be, length without buffer, or not
 * a number of dwords (T-3); −ENOTSUP: both directions.
 */
int nofi_guard_dir(uint8_t opcode, uint8_t fctype, const void *data, size_t len,
		   enum nofi_dir *dir, struct nofi_err *err);

#endif
