/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Netlink: sockets, requests with a deadline, dumps, families and groups. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "mptcp/netlink.h"

enum {
	/* The kernel fills at most 32 KiB of a dump into one datagram. */
	RECEIVE_LEN = 32768,
	DUMP_TRIES = 5,
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int nofi_nl_open(struct nofi_nl *nl, int protocol, struct nofi_err *err)
{
	const struct sockaddr_nl any = { .nl_family = AF_NETLINK };
	const int one = 1;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);

	if (fd < 0)
		return nofi_err_set(err, -errno, "cannot open a netlink socket (%s): a filter "
				    "(seccomp, a container's profile, SELinux) may forbid it",
				    strerror(errno));
	/* Refusals with a sentence, and without a copy of the request. Linux 4.12 has both. */
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	/* One without a port of its own hears no news of a group, though it can join. */
	if (bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0) {
		int r = -errno;

		close(fd);
		return nofi_err_set(err, r, "cannot bind a netlink socket: %s", strerror(-r));
	}
	nl->fd = fd;
	nl->seq = 0;
	nl->message[0] = '\0';
	return 0;
}

void nofi_nl_close(struct nofi_nl *nl)
{
	if (nl->fd >= 0)
		close(nl->fd);
	nl->fd = -1;
}

struct nlmsghdr *nofi_nl_put(void *buf, uint16_t type, uint16_t flags, size_t extra_len,
			     void **extra)
{
	struct nlmsghdr *req;
	void *p;

	/* libmnl leaves the padding of attributes as it was. */
	memset(buf, 0, NOFI_NL_MESSAGE_MAX);
	req = mnl_nlmsg_put_header(buf);
	p = mnl_nlmsg_put_extra_header(req, extra_len);
	req->nlmsg_type = type;
	req->nlmsg_flags = flags;
	if (extra)
		*extra = p;
	return req;
}

struct nlmsghdr *nofi_nl_put_genl(void *buf, uint16_t family, uint8_t cmd, uint8_t version,
				  uint16_t flags)
{
	struct genlmsghdr *genl;
	void *extra;
	struct nlmsghdr *req = nofi_nl_put(buf, family, flags, sizeof(*genl), &extra);

	genl = extra;
	genl->cmd = cmd;
	genl->version = version;
	return req;
}

static int send_request(struct nofi_nl *nl, struct nlmsghdr *req)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	ssize_t n;

	req->nlmsg_flags |= NLM_F_REQUEST;
	/* NLM_F_DUMP is two bits, each of which means something else in other requests. */
	if ((req->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
		req->nlmsg_flags |= NLM_F_ACK;
	req->nlmsg_seq = ++nl->seq;
	do {
		n = sendto(nl->fd, req, req->nlmsg_len, 0, (const struct sockaddr *)&kernel,
			   sizeof(kernel));
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* One datagram of the kernel. 0: it was another process's, or cut off, and does not count. */
static ssize_t receive(struct nofi_nl *nl, void *buf, size_t size)
{
	struct sockaddr_nl from = { 0 };
	struct iovec iov = { .iov_base = buf, .iov_len = size };
	struct msghdr msg = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov,
			      .msg_iovlen = 1 };
	ssize_t n;

	do {
		n = recvmsg(nl->fd, &msg, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (msg.msg_namelen != sizeof(from) || from.nl_pid || (msg.msg_flags & MSG_TRUNC))
		return 0;
	return n;
}

/* The kernel's words to an error, where it has any. */
static void keep_message(struct nofi_nl *nl, const struct nlmsghdr *h)
{
	const struct nlattr *attr;

	if (!(h->nlmsg_flags & NLM_F_ACK_TLVS) || !(h->nlmsg_flags & NLM_F_CAPPED))
		return;
	mnl_attr_for_each(attr, h, sizeof(struct nlmsgerr))
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG)
			(void)nofi_nl_string(attr, nl->message, sizeof(nl->message));
}

/*
 * 1: the answer is complete; 0: there is more; or a negative errno of the kernel's. What fn
 * or an inconsistent dump has against it stands in *failed until then: the kernel begins
 * no other dump before this one was taken to its end.
 */
static int take_answer(struct nofi_nl *nl, const void *buf, int len, nofi_nl_fn *fn, void *arg,
		       int *failed)
{
	const struct nlmsghdr *h;
	int r;

	for (h = buf; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len)) {
		if (h->nlmsg_seq != nl->seq)
			continue;
		if (h->nlmsg_flags & NLM_F_DUMP_INTR)
			*failed = -EINTR;
		if (h->nlmsg_type == NLMSG_DONE) {
			r = 0;
			if (mnl_nlmsg_get_payload_len(h) >= sizeof(int))
				memcpy(&r, mnl_nlmsg_get_payload(h), sizeof(r));
			return r < 0 ? r : 1;
		}
		if (h->nlmsg_type == NLMSG_ERROR) {
			if (mnl_nlmsg_get_payload_len(h) < sizeof(struct nlmsgerr))
				return -EBADMSG;
			r = ((const struct nlmsgerr *)mnl_nlmsg_get_payload(h))->error;
			if (r < 0)
				keep_message(nl, h);
			return r < 0 ? r : 1;
		}
		if (fn && !*failed && h->nlmsg_type >= NLMSG_MIN_TYPE)
			*failed = fn(h, arg);
	}
	return 0;
}

int nofi_nl_request(struct nofi_nl *nl, struct nlmsghdr *req, nofi_nl_fn *fn, void *arg)
{
	_Alignas(struct nlmsghdr) char buf[RECEIVE_LEN];
	uint64_t end = now_ms() + NOFI_NL_TIMEOUT_MS;
	int r, failed = 0;

	nl->message[0] = '\0';
	r = send_request(nl, req);
	while (r == 0) {
		ssize_t n = receive(nl, buf, sizeof(buf));
		struct pollfd pfd = { .fd = nl->fd, .events = POLLIN };
		uint64_t now;

		if (n >= 0) {
			r = take_answer(nl, buf, (int)n, fn, arg, &failed);
			continue;
		}
		if (n != -EAGAIN)
			return (int)n;
		now = now_ms();
		if (now >= end)
			return -ETIMEDOUT;
		(void)poll(&pfd, 1, (int)(end - now));
	}
	return r < 0 ? r : failed;
}

int nofi_nl_dump(struct nofi_nl *nl, struct nlmsghdr *req, nofi_nl_fn *fn,
		 void (*reset)(void *arg), void *arg)
{
	int r = -EINTR;

	req->nlmsg_flags |= NLM_F_DUMP;
	for (int i = 0; i < DUMP_TRIES && r == -EINTR; i++) {
		if (reset)
			reset(arg);
		r = nofi_nl_request(nl, req, fn, arg);
	}
	return r;
}

int nofi_nl_join(struct nofi_nl *nl, uint32_t group)
{
	return setsockopt(nl->fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0 ?
		       -errno : 0;
}

int nofi_nl_receive(struct nofi_nl *nl, nofi_nl_fn *fn, void *arg)
{
	_Alignas(struct nlmsghdr) char buf[RECEIVE_LEN];

	for (;;) {
		const struct nlmsghdr *h = (const struct nlmsghdr *)buf;
		ssize_t n = receive(nl, buf, sizeof(buf));
		int r, len = (int)n;

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		for (; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len)) {
			r = h->nlmsg_type >= NLMSG_MIN_TYPE ? fn(h, arg) : 0;
			if (r < 0)
				return r;
		}
	}
}

/* ---- families ---- */

struct family_query {
	const char *group_name;
	uint16_t family;
	uint32_t group;
};

static void take_group(struct family_query *q, const struct nlattr *nest)
{
	const struct nlattr *attr;
	char name[GENL_NAMSIZ] = "";
	uint32_t id = 0;

	mnl_attr_for_each_nested(attr, nest) {
		if (mnl_attr_get_type(attr) == CTRL_ATTR_MCAST_GRP_NAME)
			(void)nofi_nl_string(attr, name, sizeof(name));
		else if (mnl_attr_get_type(attr) == CTRL_ATTR_MCAST_GRP_ID)
			(void)nofi_nl_u32(attr, &id);
	}
	if (!strcmp(name, q->group_name))
		q->group = id;
}

static int take_family(const struct nlmsghdr *msg, void *arg)
{
	struct family_query *q = arg;
	const struct nlattr *attr, *group;

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(struct genlmsghdr))
		return -EBADMSG;
	mnl_attr_for_each(attr, msg, sizeof(struct genlmsghdr)) {
		if (mnl_attr_get_type(attr) == CTRL_ATTR_FAMILY_ID)
			(void)nofi_nl_u16(attr, &q->family);
		else if (mnl_attr_get_type(attr) == CTRL_ATTR_MCAST_GROUPS && q->group_name)
			mnl_attr_for_each_nested(group, attr)
				take_group(q, group);
	}
	return 0;
}

int nofi_nl_family(struct nofi_nl *nl, const char *name, uint16_t *family, const char *group_name,
		   uint32_t *group)
{
	_Alignas(struct nlmsghdr) char buf[NOFI_NL_MESSAGE_MAX];
	struct family_query q = { .group_name = group_name };
	struct nlmsghdr *req = nofi_nl_put_genl(buf, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1, 0);
	int r;

	mnl_attr_put_strz(req, CTRL_ATTR_FAMILY_NAME, name);
	r = nofi_nl_request(nl, req, take_family, &q);
	if (r < 0)
		return r;
	if (!q.family)
		return -EBADMSG;
	*family = q.family;
	if (group)
		*group = q.group;
	return 0;
}

/* ---- attributes ---- */

bool nofi_nl_bytes(const struct nlattr *attr, void *out, size_t len)
{
	if (mnl_attr_get_payload_len(attr) != len)
		return false;
	memcpy(out, mnl_attr_get_payload(attr), len);
	return true;
}

bool nofi_nl_u8(const struct nlattr *attr, uint8_t *out)
{
	return nofi_nl_bytes(attr, out, sizeof(*out));
}

bool nofi_nl_u16(const struct nlattr *attr, uint16_t *out)
{
	return nofi_nl_bytes(attr, out, sizeof(*out));
}

bool nofi_nl_u32(const struct nlattr *attr, uint32_t *out)
{
	return nofi_nl_bytes(attr, out, sizeof(*out));
}

bool nofi_nl_string(const struct nlattr *attr, char *out, size_t size)
{
	size_t len = strnlen(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr));

	if (len >= size)
		len = size - 1;
	memcpy(out, mnl_attr_get_payload(attr), len);
	out[len] = '\0';
	return len;
}
