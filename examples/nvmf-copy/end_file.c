/* SPDX-License-Identifier: MIT */
/*
 * Files, block devices and streams. Everything that may block runs on the pool's threads.
 *
 * The page cache of this host belongs to those who work on it: of SRC, pages that were not cached
 * before are given back after reading; of DST, what was written is pushed to the disk as the copy
 * goes and given back behind it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "copy.h"

#define DIRTY_WINDOW (64ull << 20) /* bytes of DST that may wait for the disk */

static int file_submit(struct io *io)
{
	pool_submit(io->end->pool, io);
	return 0;
}

static int file_close(struct end *end)
{
	int fd = end->fd;

	end->fd = -1;
	return fd > STDERR_FILENO && close(fd) < 0 ? -errno : 0;
}

static const struct end_ops file_ops = { .submit = file_submit, .close = file_close };

static int seekable_size(struct copy *c, struct end *end)
{
	off_t size = lseek(end->fd, 0, SEEK_END);

	if (size < 0)
		return copy_fail(c, "%s: its size cannot be found out: %s.", end->name,
				 strerror(errno));
	end->size = (uint64_t)size;
	return 0;
}

static int open_path(struct copy *c, struct end *end)
{
	struct stat st;
	int flags = O_CLOEXEC | O_RDONLY;

	if (end->is_dst) {
		/* A file that is not there is created when nothing else can go wrong. */
		if (stat(end->name, &st) < 0) {
			if (errno != ENOENT)
				return copy_fail(c, "%s: %s.", end->name, strerror(errno));
			end->kind = END_FILE;
			end->size = COPY_UNKNOWN;
			return 0;
		}
		/* O_EXCL: refuse a device that is mounted or otherwise held. */
		flags = O_CLOEXEC | (S_ISREG(st.st_mode) ? O_RDWR :
				     S_ISBLK(st.st_mode) ? O_RDWR | O_EXCL :
							   O_WRONLY);
	}
	end->fd = open(end->name, flags);
	if (end->fd < 0 && errno == EBUSY)
		return copy_fail(c, "%s is in use: mounted, or held by another program.",
				 end->name);
	if (end->fd < 0 || fstat(end->fd, &st) < 0)
		return copy_fail(c, "%s: %s.", end->name, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return copy_fail(c, "%s is a directory.", end->name);
	if (S_ISREG(st.st_mode))
		end->kind = END_FILE;
	else if (S_ISBLK(st.st_mode))
		end->kind = END_DEVICE;
	if (end->kind == END_STREAM)
		return 0;
	end->dev = end->kind == END_DEVICE ? st.st_rdev : st.st_dev;
	end->ino = end->kind == END_DEVICE ? 0 : st.st_ino;
	return seekable_size(c, end);
}

int end_file_open(struct copy *c, struct end *end)
{
	int ret = 0;

	end->ops = &file_ops;
	end->pool = c->pool;
	end->kind = END_STREAM;
	end->size = COPY_UNKNOWN;
	end->limit = COPY_MAX_REQUESTS;
	if (!strcmp(end->name, "-")) {
		end->fd = end->is_dst ? STDOUT_FILENO : STDIN_FILENO;
		end->name = end->is_dst ? "standard output" : "standard input";
		if (!tool_is_open(end->fd))
			return copy_fail(c, "%s is closed.", end->name);
	} else {
		ret = open_path(c, end);
		if (ret < 0)
			return ret;
	}
	if (end->kind == END_STREAM) {
		end->limit = 1;
		return 0;
	}
	end->has_zero = true;
	end->is_zeroed = end->kind == END_FILE;
	end->may_seek_data = end->kind == END_FILE;
	/* Files of any size are fine as DST: they grow. */
	if (end->is_dst && end->kind == END_FILE)
		end->size = COPY_UNKNOWN;
	/* Many requests are on their way anyway, and read-ahead would look like others' pages. */
	if (end->fd >= 0)
		posix_fadvise(end->fd, 0, 0, POSIX_FADV_RANDOM);
	return 0;
}

/* Room for all of SRC, as far as the file system can tell; holes need none. */
static int check_room(struct copy *c, struct end *end, uint64_t total)
{
	char a[32], b[32];
	struct statvfs fs;
	struct stat st;
	uint64_t room;

	if (c->o->sparse || total == COPY_UNKNOWN || fstat(end->fd, &st) < 0 ||
	    fstatvfs(end->fd, &fs) < 0)
		return 0;
	room = (uint64_t)fs.f_bavail * fs.f_frsize + (uint64_t)st.st_blocks * 512;
	if (room >= total)
		return 0;
	return copy_fail(c, "%s: its file system has room for %s and %s are wanted.", end->name,
			 tool_format_bytes(a, sizeof(a), (double)room),
			 tool_format_bytes(b, sizeof(b), (double)total));
}

int end_file_begin(struct copy *c, struct end *end, uint64_t total)
{
	bool is_new = end->fd < 0;

	if (is_new)
		end->fd = open(end->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (end->fd < 0)
		return copy_fail(c, "%s: %s.", end->name, strerror(errno));
	if (end->kind != END_FILE)
		return 0;
	if (check_room(c, end, total) < 0) {
		if (is_new)
			unlink(end->name);
		return -1;
	}
	/* The old content goes: from now on what is not written reads as zeroes. */
	if (ftruncate(end->fd, 0) < 0)
		return copy_fail(c, "%s: %s.", end->name, strerror(errno));
	return 0;
}

int end_file_set_size(struct copy *c, struct end *end, uint64_t size)
{
	if (end->fd < 0 || ftruncate(end->fd, (off_t)size) == 0)
		return 0;
	return copy_fail(c, "%s: its size cannot be set: %s.", end->name, strerror(errno));
}

uint64_t end_file_hole(struct end *end, uint64_t offset, uint64_t max)
{
	off_t at;

	if (!end->may_seek_data)
		return 0;
	if (end->data_at <= offset) {
		at = lseek(end->fd, (off_t)offset, SEEK_DATA);
		if (at < 0 && errno != ENXIO) {
			end->may_seek_data = false;
			return 0;
		}
		end->data_at = at < 0 ? end->size : (uint64_t)at;
	}
	if (end->data_at <= offset)
		return 0;
	return end->data_at - offset < max ? end->data_at - offset : max;
}

/* 0 when the stream can be read or written now. */
static int wait_stream(const struct end *end, short events)
{
	struct pollfd fds[2] = {
		{ .fd = end->fd, .events = events },
		{ .fd = pool_cancel_fd(end->pool), .events = POLLIN },
	};

	while (poll(fds, 2, -1) < 0)
		if (errno != EINTR)
			return -errno;
	return fds[1].revents ? -ECANCELED : 0;
}

static int read_stream(struct io *io)
{
	ssize_t n;
	int ret;

	while (io->result < io->len) {
		ret = wait_stream(io->end, POLLIN);
		if (ret < 0)
			return ret;
		n = read(io->end->fd, io->buf + io->result, io->len - io->result);
		if (n == 0)
			break;
		if (n > 0)
			io->result += (uint64_t)n;
		else if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
	return 0;
}

static int write_stream(struct io *io)
{
	uint64_t done = 0;
	ssize_t n;
	int ret;

	while (done < io->len) {
		ret = wait_stream(io->end, POLLOUT);
		if (ret < 0)
			return ret;
		n = write(io->end->fd, io->buf + done, io->len - done);
		if (n >= 0)
			done += (uint64_t)n;
		else if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
	return 0;
}

static int read_file(struct io *io)
{
	struct end *end = io->end;
	struct iovec iov = { io->buf, io->len };
	uint64_t cached;
	ssize_t n;

	/* What comes without waiting was cached before us, and stays. */
	n = preadv2(end->fd, &iov, 1, (off_t)io->offset, RWF_NOWAIT);
	if (n > 0)
		io->result = (uint64_t)n;
	cached = io->result;
	while (io->result < io->len) {
		n = pread(end->fd, io->buf + io->result, io->len - io->result,
			  (off_t)(io->offset + io->result));
		if (n == 0)
			break;
		if (n > 0)
			io->result += (uint64_t)n;
		else if (errno != EINTR)
			return -errno;
	}
	if (io->result > cached)
		posix_fadvise(end->fd, (off_t)(io->offset + cached), (off_t)(io->result - cached),
			      POSIX_FADV_DONTNEED);
	return 0;
}

static int write_file(struct io *io)
{
	struct end *end = io->end;
	uint64_t done = 0;
	off_t behind;
	ssize_t n;

	while (done < io->len) {
		n = pwrite(end->fd, io->buf + done, io->len - done, (off_t)(io->offset + done));
		if (n >= 0)
			done += (uint64_t)n;
		else if (errno != EINTR)
			return -errno;
	}
	sync_file_range(end->fd, (off_t)io->offset, (off_t)io->len, SYNC_FILE_RANGE_WRITE);
	if (io->offset < DIRTY_WINDOW)
		return 0;
	behind = (off_t)(io->offset - DIRTY_WINDOW);
	/* It reports a failed write-back once, and nobody after us would see it. */
	if (sync_file_range(end->fd, behind, (off_t)io->len,
			    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
				    SYNC_FILE_RANGE_WAIT_AFTER) < 0 &&
	    (errno == EIO || errno == ENOSPC || errno == EDQUOT))
		return -errno;
	posix_fadvise(end->fd, behind, (off_t)io->len, POSIX_FADV_DONTNEED);
	return 0;
}

static int zero_file(struct io *io)
{
	static unsigned char zeroes[64 << 10];
	struct end *end = io->end;
	uint64_t done = 0, n;
	struct io part = *io;
	int ret;

	if (end->is_zeroed)
		return 0;
	if (fallocate(end->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)io->offset,
		      (off_t)io->len) == 0 ||
	    fallocate(end->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)io->offset,
		      (off_t)io->len) == 0)
		return 0;
	for (; done < io->len; done += n) {
		n = io->len - done < sizeof(zeroes) ? io->len - done : sizeof(zeroes);
		part.buf = zeroes;
		part.offset = io->offset + done;
		part.len = n;
		ret = write_file(&part);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int flush_file(struct io *io)
{
	/* A pipe or terminal has nothing to flush and says so. */
	if (fsync(io->end->fd) < 0 && errno != EINVAL && errno != EROFS)
		return -errno;
	if (io->end->kind != END_STREAM)
		posix_fadvise(io->end->fd, 0, 0, POSIX_FADV_DONTNEED);
	return 0;
}

void end_file_run(struct io *io)
{
	bool is_stream = io->end->kind == END_STREAM;

	io->result = 0;
	switch (io->kind) {
	case IO_READ: io->error = is_stream ? read_stream(io) : read_file(io); break;
	case IO_WRITE: io->error = is_stream ? write_stream(io) : write_file(io); break;
	case IO_ZERO: io->error = zero_file(io); break;
	case IO_FLUSH: io->error = flush_file(io); break;
	}
}
