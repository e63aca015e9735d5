/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors: an errno with its sentence, the sentence of the thread's last failed
 * call, and what an NVMe status means as text and as errno.
 */
#include <errno.h>
#include <libnvme.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "err.h"
#include "nof.h"

/* What nof_strerror_detail() returns in this thread. */
static _Thread_local char thread_detail[sizeof(((struct nofi_err *)0)->text)];

/*
 * One line that is safe on a terminal: a sentence may quote bytes that came from
 * the network. A cut sentence ends in "..." and not inside a UTF-8 character.
 */
static void tidy(char *text, size_t size, int full_len)
{
	unsigned char *p;
	size_t end;

	for (p = (unsigned char *)text; *p; p++) {
		if (*p < 0x20 || *p == 0x7f)
			*p = ' ';
	}
	if (full_len < 0 || (size_t)full_len < size)
		return;
	end = size - 4;
	while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80)
		end--;
	memcpy(text + end, "...", 4);
}

int nofi_err_vset(struct nofi_err *err, int code, const char *fmt, va_list ap)
{
	/* The arguments may include err->text: a layer that adds its part of the story. */
	char text[sizeof(err->text)] = "";
	int len;

	if (!err)
		return code;
	if (code) {
		len = vsnprintf(text, sizeof(text), fmt, ap);
		tidy(text, sizeof(text), len);
	}
	err->code = code;
	memcpy(err->text, text, sizeof(text));
	return code;
}

int nofi_err_set(struct nofi_err *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	nofi_err_vset(err, code, fmt, ap);
	va_end(ap);
	return code;
}

int nofi_err_files(struct nofi_err *err, int code, const char *call)
{
	struct rlimit rl = { 0, 0 };

	if (code != -EMFILE)
		return nofi_err_set(err, code, "%s: too many open files in the system: see sysctl "
				    "fs.file-max", call);
	getrlimit(RLIMIT_NOFILE, &rl);
	return nofi_err_set(err, code, "%s: too many open files in this process: its limit "
			    "(RLIMIT_NOFILE) is %llu, one for each queue; raise it up to %llu "
			    "with `ulimit -n`, beyond that as root (LimitNOFILE= of a systemd "
			    "unit), or use fewer queues", call,
			    (unsigned long long)rl.rlim_cur, (unsigned long long)rl.rlim_max);
}

int nofi_fail(int code, const char *fmt, ...)
{
	struct nofi_err err;
	va_list ap;

	va_start(ap, fmt);
	nofi_err_vset(&err, code, fmt, ap);
	va_end(ap);
	return nofi_fail_err(&err);
}

int nofi_fail_err(const struct nofi_err *err)
{
	memcpy(thread_detail, err->text, sizeof(thread_detail));
	return err->code;
}

NOF_API const char *nof_strerror_detail(void)
{
	return thread_detail;
}

NOF_API const char *nof_version(void)
{
	return NOFI_VERSION;
}

/*
 * libnvme's texts are a name, a colon and a sentence that explains the name to
 * those who have the specification at hand. The names alone, copied once: they
 * are returned to the caller for good.
 */
enum {
	SC_COUNT = 256,		/* per status code type */
	SCT_COUNT = 4,		/* generic, command specific, media, path */
	NAMES_SIZE = 16384,	/* libnvme 1.3 needs a third of it */
};

static char names[NAMES_SIZE];
static size_t names_used;
static uint16_t name_at[SCT_COUNT * SC_COUNT];	/* 1 + index in names[], 0: unknown */
static pthread_once_t names_once = PTHREAD_ONCE_INIT;

static size_t known_name(int status, bool fabrics, const char **text)
{
	*text = nvme_status_to_string(status, fabrics);
	if (!*text || !strcmp(*text, "unrecognized") || !strncmp(*text, "Unknown", 7))
		return 0;
	return strcspn(*text, ":");
}

static void name_status(int status)
{
	const char *io, *fabrics;
	size_t io_len = known_name(status, false, &io);
	size_t fabrics_len = known_name(status, true, &fabrics);
	size_t room = NAMES_SIZE - names_used;
	int len;

	if (io_len && fabrics_len && (io_len != fabrics_len || memcmp(io, fabrics, io_len)))
		/* The same number means one thing to Connect and another to a read or write. */
		len = snprintf(names + names_used, room, "%.*s, or for Connect %.*s", (int)io_len,
			       io, (int)fabrics_len, fabrics);
	else if (io_len || fabrics_len)
		len = snprintf(names + names_used, room, "%.*s",
			       (int)(io_len ? io_len : fabrics_len), io_len ? io : fabrics);
	else
		return;
	if (len < 0 || (size_t)len >= room)
		return;
	name_at[status] = 1 + names_used;
	names_used += len + 1;
}

static void name_all(void)
{
	int status;

	for (status = 0; status < SCT_COUNT * SC_COUNT; status++)
		name_status(status);
}

NOF_API const char *nof_status_string(uint16_t status)
{
	unsigned sct = status >> 8 & 7, sc = status & 0xff;

	pthread_once(&names_once, name_all);
	if (sct < SCT_COUNT && name_at[sct << 8 | sc])
		return names + name_at[sct << 8 | sc] - 1;
	if (sct == 7 || (sct < 3 && sc >= 0xc0))
		return "Vendor Specific Status";
	switch (sct) {
	case 0: return "Unknown Generic Status";
	case 1: return "Unknown Command Specific Status";
	case 2: return "Unknown Media Error";
	case 3: return "Unknown Path Error";
	default: return "Reserved Status Code Type";
	}
}

/*
 * libnvme's own mapping suits ioctls (it makes EWOULDBLOCK of an aborted command
 * and EACCES of a write-protected namespace); callers of a block device expect
 * what the block layer gives.
 */
static const struct {
	uint16_t status;	/* SCT << 8 | SC */
	int16_t code;
} errnos[] = {
	{ 0x000, 0 },
	{ 0x001, EOPNOTSUPP },	/* invalid opcode */
	{ 0x002, EINVAL },	/* invalid field */
	{ 0x007, ECANCELED },	/* abort requested */
	{ 0x008, ECANCELED },	/* submission queue deleted */
	{ 0x00b, ENODEV },	/* invalid namespace or format */
	{ 0x014, EINVAL },	/* atomic write unit exceeded */
	{ 0x015, EPERM },	/* operation denied */
	{ 0x019, ETIMEDOUT },	/* keep alive timer expired */
	{ 0x01b, ECANCELED },	/* preempt and abort */
	{ 0x01d, EBUSY },	/* sanitize in progress */
	{ 0x020, EROFS },	/* namespace is write protected */
	{ 0x021, EBUSY },	/* command interrupted */
	{ 0x023, EPERM },	/* command and feature lockdown */
	{ 0x024, EBUSY },	/* admin command media not ready */
	{ 0x080, ERANGE },	/* LBA out of range */
	{ 0x081, ENOSPC },	/* capacity exceeded */
	{ 0x082, EBUSY },	/* namespace not ready */
	{ 0x083, EBADE },	/* reservation conflict: Linux's block layer has EBADE too */
	{ 0x084, EBUSY },	/* format in progress */
	{ 0x109, EINVAL },	/* invalid log page */
	{ 0x10e, EPERM },	/* feature not changeable */
	{ 0x180, EINVAL },	/* conflicting attributes; Connect: incompatible format */
	{ 0x181, EILSEQ },	/* invalid protection information */
	{ 0x182, EROFS },	/* write to a read only range */
	{ 0x184, EACCES },	/* Connect: invalid host */
	{ 0x191, EACCES },	/* Connect: authentication required */
	{ 0x282, EILSEQ },	/* guard check */
	{ 0x283, EILSEQ },	/* application tag check */
	{ 0x284, EILSEQ },	/* reference tag check */
	{ 0x285, EILSEQ },	/* compare failure */
	{ 0x286, EACCES },	/* access denied */
	{ 0x287, ENODATA },	/* deallocated or unwritten block */
	{ 0x288, EILSEQ },	/* storage tag check */
	{ 0x301, ENOLINK },	/* ANA persistent loss */
	{ 0x302, ENOLINK },	/* ANA inaccessible */
	{ 0x303, ENOLINK },	/* ANA transition */
	{ 0x360, ENOLINK },	/* controller pathing error */
	{ 0x370, ENOLINK },	/* host pathing error */
	{ 0x371, ECANCELED },	/* aborted by the host */
};

NOF_API int nof_status_errno(uint16_t status)
{
	size_t i;

	for (i = 0; i < sizeof(errnos) / sizeof(errnos[0]); i++) {
		if (errnos[i].status == (status & 0x7ff))
			return -errnos[i].code;
	}
	return -EIO;
}
