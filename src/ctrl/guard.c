/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guards of passthrough (C-3). See guard.h. */
#include <errno.h>
#include <string.h>

#include <nvme/types.h>

#include "ctrl/guard.h"

/* One of the library's own opcodes, and what becomes of an association that meets it. */
struct owned {
	uint8_t value;
	const char *name, *why;
};

static const struct owned admin_owned[] = {
	{ nvme_admin_delete_sq, "Delete I/O Submission Queue", "queues end with their connection" },
	{ nvme_admin_create_sq, "Create I/O Submission Queue", "queues are made by Connect" },
	{ nvme_admin_delete_cq, "Delete I/O Completion Queue", "queues end with their connection" },
	{ nvme_admin_create_cq, "Create I/O Completion Queue", "queues are made by Connect" },
	{ nvme_admin_abort_cmd, "Abort", "only the library knows the identifiers of commands" },
	{ nvme_admin_async_event, "Asynchronous Event Request", "one is always outstanding; "
	  "events come to the function given to nof_ctrl_new()" },
	{ nvme_admin_keep_alive, "Keep Alive", "it is sent as keep_alive_tmo says" },
	{ nvme_admin_dbbuf, "Doorbell Buffer Config", "fabrics have no doorbells" },
};

static const struct owned features_owned[] = {
	{ NVME_FEAT_FID_NUM_QUEUES, "Number of Queues", "it is set by nr_io_queues" },
	{ NVME_FEAT_FID_ASYNC_EVENT, "Asynchronous Event Configuration",
	  "the library depends on the events it asked for" },
	{ NVME_FEAT_FID_KATO, "Keep Alive Timer", "it is set by keep_alive_tmo" },
	{ NVME_FEAT_FID_HOST_BEHAVIOR, "Host Behavior Support",
	  "it says what the library can do" },
	{ NVME_FEAT_FID_IOCS_PROFILE, "I/O Command Set Profile",
	  "namespaces that are open depend on it" },
	{ NVME_FEAT_FID_HOST_ID, "Host Identifier", "it is set by Connect, from hostid" },
};

static const struct owned *find(const struct owned *list, size_t n, uint8_t value)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].value == value)
			return &list[i];
	return NULL;
}

int nofi_args_copy(void *dst, size_t size, const void *src, const char *call, struct nofi_err *err)
{
	size_t theirs;

	if (!src)
		return nofi_err_set(err, -EINVAL, "%s: the argument struct is NULL", call);
	memcpy(&theirs, src, sizeof(theirs));
	if (theirs < sizeof(theirs))
		return nofi_err_set(err, -EINVAL, "%s: the argument struct's size is %zu; set it "
				    "to sizeof the struct, and what is not used to 0", call,
				    theirs);
	for (size_t i = size; i < theirs; i++)
		if (((const uint8_t *)src)[i])
			return nofi_err_set(err, -E2BIG, "%s: the argument struct has %zu bytes "
					    "and uses a field behind the %zu that this version "
					    "knows", call, theirs, size);
	memset(dst, 0, size);
	memcpy(dst, src, theirs < size ? theirs : size);
	return 0;
}

int nofi_guard_feature(uint8_t fid, struct nofi_err *err)
{
	const struct owned *o = find(features_owned, sizeof(features_owned) /
				     sizeof(features_owned[0]), fid);

	if (!o)
		return 0;
	return nofi_err_set(err, -EPERM, "feature %02xh (%s) is the library's to set: %s; reading "
			    "it is allowed", fid, o->name, o->why);
}

static int guard_fabrics(uint8_t fctype, struct nofi_err *err)
{
	/* Reading a property changes nothing; vendors' types are theirs. */
	if (fctype == nvme_fabrics_type_property_get || fctype >= 0xc0)
		return 0;
	return nofi_err_set(err, -EPERM, "Fabrics command %02xh is the library's to send: it would "
			    "change the association with the controller; of the defined ones only "
			    "Property Get (04h) may be passed through", fctype);
}

int nofi_guard_admin(uint8_t opcode, uint8_t fctype, uint32_t cdw10, struct nofi_err *err)
{
	const struct owned *o = find(admin_owned, sizeof(admin_owned) / sizeof(admin_owned[0]),
				     opcode);

	if (o)
		return nofi_err_set(err, -EPERM, "admin command %02xh (%s) is the library's to "
				    "send: %s", opcode, o->name, o->why);
	if (opcode == nvme_admin_fabrics)
		return guard_fabrics(fctype, err);
	if (opcode == nvme_admin_set_features)
		return nofi_guard_feature((uint8_t)cdw10, err);
	return 0;
}

int nofi_guard_io(uint8_t opcode, struct nofi_err *err)
{
	if (opcode == nvme_admin_fabrics)
		return nofi_err_set(err, -EPERM, "Fabrics commands on I/O queues are the library's "
				    "to send: they would change the association with the "
				    "controller");
	return 0;
}

int nofi_guard_dir(uint8_t opcode, uint8_t fctype, const void *data, size_t len,
		   enum nofi_dir *dir, struct nofi_err *err)
{
	static const enum nofi_dir dirs[] = { NOFI_DIR_NONE, NOFI_DIR_WRITE, NOFI_DIR_READ };
	unsigned way = (opcode == nvme_admin_fabrics ? fctype : opcode) & 3;

	if (way == 3)
		return nofi_err_set(err, -ENOTSUP, "command %02xh would move data both ways (bits "
				    "1:0 are 11b); no such command is defined, and none is "
				    "supported", opcode);
	if (len && !data)
		return nofi_err_set(err, -EINVAL, "command %02xh: %zu bytes of data, but the "
				    "buffer is NULL", opcode, len);
	if (len && !way)
		return nofi_err_set(err, -EINVAL, "command %02xh moves no data (bits 1:0 are 00b), "
				    "but %zu bytes were given", opcode, len);
	if (len % 4)
		return nofi_err_set(err, -EINVAL, "command %02xh: %zu bytes of data are not a "
				    "number of dwords", opcode, len);
	*dir = len ? dirs[way] : NOFI_DIR_NONE;
	return 0;
}
