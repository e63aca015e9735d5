/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a namespace is kept in. Writes are taken as bytes in stream order, so a
 * write whose connection dies in the middle may leave part of its range
 * written; as with any disk, its content is undefined until it is written again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <nvme/types.h>
#include <sys/mman.h>
#include <unistd.h>

#include "target.h"

/* mem: may only shrink and grow back, so that no byte in flight loses its place. */
int ns_resize(struct ns *ns, uint64_t bytes)
{
	if (!(bytes >> ns->lbads) || ns->zns || ns->kind == NS_FILE ||
	    (ns->kind == NS_MEM && bytes > ns->bytes_max))
		return -EINVAL;
	ns->bytes = bytes;
	format_apply(ns);
	return 0;
}

uint16_t ns_write(struct ns *ns, uint64_t off, const void *data, uint32_t len)
{
	const uint8_t *p = data;

	if (ns->kind == NS_MEM) {
		memcpy(ns->map + off, data, len);
		return 0;
	}
	if (ns->kind == NS_NULL)
		return 0;
	while (len) {
		ssize_t n = pwrite(ns->fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && (errno == ENOSPC || errno == EDQUOT) ?
				NVME_SC_CAP_EXCEEDED | DNR : STATUS_MEDIA(NVME_SC_WRITE_FAULT);
		p += n;
		off += (uint64_t)n;
		len -= (uint32_t)n;
	}
	return 0;
}

uint16_t ns_read(struct ns *ns, uint64_t off, void *data, uint32_t len)
{
	uint8_t *p = data;

	if (ns->kind == NS_MEM) {
		memcpy(data, ns->map + off, len);
		return 0;
	}
	if (ns->kind == NS_NULL) {
		memset(data, 0, len);
		return 0;
	}
	while (len) {
		ssize_t n = pread(ns->fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)		/* also when the file was truncated under us */
			return STATUS_MEDIA(NVME_SC_READ_ERROR);
		p += n;
		off += (uint64_t)n;
		len -= (uint32_t)n;
	}
	return 0;
}

bool ns_equal(struct ns *ns, uint64_t off, const void *data, uint32_t len, uint16_t *status)
{
	uint8_t buf[16384];
	const uint8_t *p = data;

	if (ns->kind == NS_MEM)
		return !memcmp(ns->map + off, data, len);
	while (len) {
		uint32_t n = len < sizeof(buf) ? len : (uint32_t)sizeof(buf);

		*status = ns_read(ns, off, buf, n);
		if (*status || memcmp(buf, p, n))
			return false;
		p += n;
		off += n;
		len -= n;
	}
	return true;
}

static void zero_mem(struct ns *ns, uint64_t off, uint64_t len)
{
	uint64_t mask = ~(uint64_t)(PAGE - 1);
	uint64_t a = (off + PAGE - 1) & mask, b = (off + len) & mask;

	if (b <= a) {
		memset(ns->map + off, 0, len);
		return;
	}
	memset(ns->map + off, 0, a - off);
	memset(ns->map + b, 0, off + len - b);
	/* Fresh anonymous pages read as zeroes: deallocating is the fastest write. */
	if (madvise(ns->map + a, b - a, MADV_DONTNEED))
		memset(ns->map + a, 0, b - a);
}

uint16_t ns_zero(struct ns *ns, uint64_t off, uint64_t len, bool is_dealloc)
{
	static const uint8_t zero[65536];
	int mode = is_dealloc ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;

	if (!len || ns->kind == NS_NULL)
		return 0;
	if (ns->kind == NS_MEM) {
		zero_mem(ns, off, len);
		return 0;
	}
	if (!fallocate(ns->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len))
		return 0;
	while (len) {
		uint32_t n = len < sizeof(zero) ? (uint32_t)len : (uint32_t)sizeof(zero);
		uint16_t status = ns_write(ns, off, zero, n);

		if (status)
			return status;
		off += n;
		len -= n;
	}
	return 0;
}

uint16_t ns_flush(struct ns *ns)
{
	if (ns->kind == NS_FILE && fdatasync(ns->fd))
		return STATUS_MEDIA(NVME_SC_WRITE_FAULT);
	return 0;
}
