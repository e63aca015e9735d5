/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sockets on loopback: MPTCP where both ends have it, TCP with a reason in every
 * other case, options, source binding, counters, abortive close. What a kernel
 * without MPTCP would answer is answered by a seccomp filter, in a child.
 */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "mptcp/sock.h"

#define PROTO_MPTCP 262

/* For both sides of a fork: in a child an assertion of cmocka would go on with the next test. */
#define CHECK(what) do { \
	if (!(what)) { \
		fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #what, errno); \
		_exit(1); \
	} \
} while (0)

static const struct nofi_sock_opts prefer = { .mptcp = NOFI_MPTCP_PREFER, .tos = -1,
					     .priority = -1 };
static const struct nofi_sock_opts require = { .mptcp = NOFI_MPTCP_REQUIRE, .tos = -1,
					      .priority = -1 };
static const struct nofi_sock_opts off = { .mptcp = NOFI_MPTCP_OFF, .tos = -1,
					  .priority = -1 };

struct pair {
	int listener, fd, peer;
	struct sockaddr_storage sa;	/* of the listener */
	struct nofi_sock_proto proto;
	struct nofi_err err;
};

static int listen_on(int family, int protocol, struct sockaddr_storage *sa, socklen_t *len)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, protocol);

	CHECK(fd >= 0);
	memset(sa, 0, sizeof(*sa));
	sa->ss_family = family;
	if (family == AF_INET6) {
		((struct sockaddr_in6 *)sa)->sin6_addr = in6addr_loopback;
		*len = sizeof(struct sockaddr_in6);
	} else {
		((struct sockaddr_in *)sa)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		*len = sizeof(struct sockaddr_in);
	}
	CHECK(!bind(fd, (struct sockaddr *)sa, *len));
	CHECK(!listen(fd, 8));
	CHECK(!getsockname(fd, (struct sockaddr *)sa, len));
	return fd;
}

static void wait_io(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	CHECK(poll(&p, 1, 10000) == 1);
}

/* Connects a socket of the library to a new listener; 0, or what nofi_sock_check() said. */
static int pair_open(struct pair *p, int family, int protocol, const struct nofi_sock_opts *opts)
{
	socklen_t len, elen = sizeof(int);
	int e = 0;

	memset(p, 0, sizeof(*p));
	p->listener = listen_on(family, protocol, &p->sa, &len);
	p->fd = nofi_sock_open(family, opts, &p->proto, &p->err);
	CHECK(p->fd >= 0);
	CHECK(connect(p->fd, (struct sockaddr *)&p->sa, len) < 0 && errno == EINPROGRESS);
	wait_io(p->fd, POLLOUT);
	CHECK(!getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &e, &elen) && !e);
	p->peer = accept(p->listener, NULL, NULL);
	CHECK(p->peer >= 0);
	return nofi_sock_check(p->fd, opts, &p->proto, &p->err);
}

static void pair_close(struct pair *p)
{
	if (p->fd >= 0)
		close(p->fd);
	close(p->peer);
	close(p->listener);
}

static void send_all(int fd, size_t len)
{
	static char buf[65536];
	ssize_t n;

	while (len) {
		wait_io(fd, POLLOUT);
		n = send(fd, buf, len < sizeof(buf) ? len : sizeof(buf),
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		CHECK(n > 0 || errno == EAGAIN);
		if (n > 0)
			len -= n;
	}
}

static void receive_all(int fd, size_t len)
{
	static char buf[65536];
	ssize_t n;

	while (len) {
		wait_io(fd, POLLIN);
		n = recv(fd, buf, len < sizeof(buf) ? len : sizeof(buf), MSG_DONTWAIT);
		CHECK(n > 0);
		len -= n;
	}
}

static int get_int(int fd, int level, int option)
{
	int v = -1;
	socklen_t len = sizeof(v);

	CHECK(!getsockopt(fd, level, option, &v, &len));
	return v;
}

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	char x[80], y[80];

	nofi_sockaddr_format((const struct sockaddr *)a, x, sizeof(x));
	nofi_sockaddr_format((const struct sockaddr *)b, y, sizeof(y));
	return !strcmp(x, y);
}

/* What was sent is what is counted, once, and the one subflow has the addresses of the socket. */
static void check_counters(struct pair *p, bool is_mptcp)
{
	struct sockaddr_storage local;
	socklen_t len = sizeof(local);
	struct nofi_sock_info info;

	send_all(p->fd, 100000);
	receive_all(p->peer, 100000);
	send_all(p->peer, 5000);
	receive_all(p->fd, 5000);
	CHECK(!nofi_sock_get_info(p->fd, &p->proto, &info));
	CHECK(info.proto.is_mptcp == is_mptcp);
	CHECK(!strcmp(info.proto.reason, p->proto.reason));
	CHECK(info.subflow_count == 1);
	CHECK(info.bytes_sent == 100000);
	CHECK(info.bytes_received == 5000);
	CHECK(info.subflows[0].bytes_sent >= 100000);
	CHECK(info.subflows[0].bytes_received == 5000);
	CHECK(info.subflows[0].rtt_us > 0 && info.subflows[0].rto_us > 0);
	CHECK(info.subflows[0].cwnd > 0);
	CHECK(!getsockname(p->fd, (struct sockaddr *)&local, &len));
	CHECK(same_address(&info.subflows[0].local, &local));
	CHECK(same_address(&info.subflows[0].peer, &p->sa));
}

/* Runs body in a child; 77 from it is a skip. */
static void in_child(int (*body)(void *), void *arg)
{
	pid_t pid;
	int status;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		_exit(body(arg));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* From now on this system call fails with e when its argument has this value. */
static void refuse(long nr, unsigned arg, uint32_t value, int e)
{
	const bool is_big_endian = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
	const uint32_t at = offsetof(struct seccomp_data, args) + 8 * arg + 4 * is_big_endian;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)e),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

static void test_mptcp(void **state)
{
	static const int families[] = { AF_INET, AF_INET6 };
	struct pair p;
	unsigned i;

	for (i = 0; i < 2; i++) {
		assert_int_equal(pair_open(&p, families[i], PROTO_MPTCP, &require), 0);
		assert_true(p.proto.is_mptcp);
		assert_string_equal(p.proto.reason, "");
		assert_int_equal(get_int(p.fd, IPPROTO_TCP, TCP_NODELAY), 1);
		assert_true(fcntl(p.fd, F_GETFL) & O_NONBLOCK);
		assert_true(fcntl(p.fd, F_GETFD) & FD_CLOEXEC);
		check_counters(&p, true);
		pair_close(&p);
	}
}

static void test_silent_fallback(void **state)
{
	static const int families[] = { AF_INET, AF_INET6 };
	struct pair p;
	unsigned i;

	for (i = 0; i < 2; i++) {
		assert_int_equal(pair_open(&p, families[i], IPPROTO_TCP, &prefer), 0);
		assert_false(p.proto.is_mptcp);
		assert_non_null(strstr(p.proto.reason, "plain TCP"));
		check_counters(&p, false);
		pair_close(&p);

		assert_int_equal(pair_open(&p, families[i], IPPROTO_TCP, &require),
				 -EPROTONOSUPPORT);
		assert_int_equal(p.err.code, -EPROTONOSUPPORT);
		assert_non_null(strstr(p.err.text, "mptcp=require"));
		pair_close(&p);
	}
}

/* A large first window, without the socket option that would end autotuning. */
static void test_first_window(void **state)
{
	struct pair p;

	(void)state;
	assert_int_equal(pair_open(&p, AF_INET, PROTO_MPTCP, &require), 0);
	assert_int_equal(get_int(p.fd, SOL_SOCKET, SO_RCVLOWAT), 1);
	/* Kernels whose MPTCP does not know it leave the buffer as it was. */
	assert_true(get_int(p.fd, SOL_SOCKET, SO_RCVBUF) >=
		    get_int(p.peer, SOL_SOCKET, SO_RCVBUF));
	send_all(p.peer, 1000);
	receive_all(p.fd, 1000);
	pair_close(&p);
}

/* A connection that was MPTCP and is not so any more is ended, with PREFER too. */
static void test_recheck(void **state)
{
	const struct nofi_sock_proto claimed = { .is_mptcp = true };
	struct nofi_sock_proto data = claimed;
	struct pair p;

	(void)state;
	assert_int_equal(pair_open(&p, AF_INET, PROTO_MPTCP, &prefer), 0);
	assert_int_equal(nofi_sock_recheck(p.fd, &prefer, &claimed, &p.err), 0);
	assert_int_equal(nofi_sock_check_data(p.fd, &prefer, &data, &p.err), 0);
	assert_true(data.is_mptcp);
	pair_close(&p);

	assert_int_equal(pair_open(&p, AF_INET, IPPROTO_TCP, &prefer), 0);
	assert_int_equal(nofi_sock_recheck(p.fd, &prefer, &claimed, &p.err), -ECONNRESET);
	assert_non_null(strstr(p.err.text, "mid-connection"));
	assert_int_equal(nofi_sock_recheck(p.fd, &prefer, &p.proto, &p.err), 0);
	assert_int_equal(nofi_sock_check_data(p.fd, &require, &data, &p.err), -EPROTONOSUPPORT);
	data.is_mptcp = true;
	assert_int_equal(nofi_sock_check_data(p.fd, &prefer, &data, &p.err), 0);
	assert_false(data.is_mptcp);
	assert_non_null(strstr(data.reason, "first data"));
	pair_close(&p);
}

/* What is remembered of a target: TCP at once, unless MPTCP is required or TCP asked for. */
static void test_remembered(void **state)
{
	struct nofi_sock_opts o = prefer;
	struct nofi_sock_proto proto;
	struct pair p;
	int fd;

	(void)state;
	assert_int_equal(pair_open(&p, AF_INET, PROTO_MPTCP, &prefer), 0);
	o.peer = (const struct sockaddr *)&p.sa;
	fd = nofi_sock_open(AF_INET, &prefer, &proto, &p.err);
	assert_true(fd >= 0);
	/* Not connected: as if its SYN had got no answer, twice. */
	assert_true(nofi_sock_is_dropped(fd, &o, &proto));
	assert_false(proto.is_mptcp);
	assert_true(nofi_sock_is_dropped(fd, &o, &proto));
	assert_non_null(strstr(proto.reason, "tried again"));
	/* A connection that is there is not dropped. */
	assert_false(nofi_sock_is_dropped(p.fd, &o, &p.proto));
	close(fd);

	fd = nofi_sock_open(AF_INET, &o, &proto, &p.err);
	assert_true(fd >= 0);
	assert_false(proto.is_mptcp);
	assert_non_null(strstr(proto.reason, "earlier SYNs"));
	close(fd);
	o.mptcp = NOFI_MPTCP_REQUIRE;
	fd = nofi_sock_open(AF_INET, &o, &proto, &p.err);
	assert_true(fd >= 0 && proto.is_mptcp);
	close(fd);

	/* MPTCP was answered: forgotten. */
	proto = (struct nofi_sock_proto){ .is_mptcp = true };
	assert_int_equal(nofi_sock_check(p.fd, &o, &proto, &p.err), 0);
	o.mptcp = NOFI_MPTCP_PREFER;
	fd = nofi_sock_open(AF_INET, &o, &proto, &p.err);
	assert_true(fd >= 0 && proto.is_mptcp);
	close(fd);
	pair_close(&p);
}

/* Fallback that nobody has checked for yet shows in the counters, too. */
static void test_late_fallback(void **state)
{
	struct nofi_sock_proto claimed = { .is_mptcp = true };
	struct nofi_sock_info info;
	struct pair p;

	assert_int_equal(pair_open(&p, AF_INET, IPPROTO_TCP, &prefer), 0);
	assert_int_equal(nofi_sock_get_info(p.fd, &claimed, &info), 0);
	assert_false(info.proto.is_mptcp);
	assert_true(info.proto.reason[0]);
	assert_int_equal(info.subflow_count, 1);
	pair_close(&p);
	assert_true(nofi_sock_get_info(-1, &claimed, &info) < 0);
}

static void test_off(void **state)
{
	struct pair p;

	assert_int_equal(pair_open(&p, AF_INET, PROTO_MPTCP, &off), 0);
	assert_false(p.proto.is_mptcp);
	assert_non_null(strstr(p.proto.reason, "mptcp=off"));
	assert_int_equal(get_int(p.fd, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
	check_counters(&p, false);
	pair_close(&p);
}

static void test_source_address(void **state)
{
	struct nofi_sock_opts o = prefer;
	struct sockaddr_in *src = (struct sockaddr_in *)&o.src, from;
	socklen_t len = sizeof(from);
	struct nofi_sock_proto proto;
	struct nofi_err err;
	struct pair p;

	src->sin_family = AF_INET;
	src->sin_addr.s_addr = htonl(0x7f000009);
	o.src_len = sizeof(*src);
	assert_int_equal(pair_open(&p, AF_INET, PROTO_MPTCP, &o), 0);
	assert_true(p.proto.is_mptcp);
	assert_int_equal(getpeername(p.peer, (struct sockaddr *)&from, &len), 0);
	assert_int_equal(ntohl(from.sin_addr.s_addr), 0x7f000009);
	assert_true(from.sin_port != 0);
	check_counters(&p, true);
	pair_close(&p);

	src->sin_addr.s_addr = htonl(0xc0000201);	/* 192.0.2.1 is nobody's */
	assert_int_equal(nofi_sock_open(AF_INET, &o, &proto, &err), -EADDRNOTAVAIL);
	assert_non_null(strstr(err.text, "192.0.2.1"));
	assert_non_null(strstr(err.text, "not an address of this machine"));
	assert_int_equal(nofi_sock_open(AF_INET6, &o, &proto, &err), -EAFNOSUPPORT);
	assert_non_null(strstr(err.text, "IPv6"));
}

static void test_interface(void **state)
{
	struct nofi_sock_opts o = prefer;
	struct nofi_sock_proto proto;
	struct nofi_err err;
	struct pair p;

	o.iface = "lo";
	assert_int_equal(pair_open(&p, AF_INET, PROTO_MPTCP, &o), 0);
	assert_true(p.proto.is_mptcp);
	pair_close(&p);
	o.iface = "nope0";
	assert_int_equal(nofi_sock_open(AF_INET, &o, &proto, &err), -ENODEV);
	assert_non_null(strstr(err.text, "nope0"));
	o.iface = "a-name-that-is-longer-than-any-interface-has";
	assert_int_equal(nofi_sock_open(AF_INET, &o, &proto, &err), -ENODEV);
}

/* What was asked for is in force; what the kernel's MPTCP lacks is noted, and costs no MPTCP. */
static void test_tos(void **state)
{
	struct nofi_sock_opts o = prefer;
	struct pair p;

	o.tos = 0x28;
	assert_int_equal(pair_open(&p, AF_INET, PROTO_MPTCP, &o), 0);
	assert_true(p.proto.is_mptcp);
	assert_int_equal(get_int(p.fd, IPPROTO_IP, IP_TOS), 0x28);
	assert_string_equal(p.proto.note, "");
	pair_close(&p);

	assert_int_equal(pair_open(&p, AF_INET6, PROTO_MPTCP, &o), 0);
	assert_true(p.proto.is_mptcp);
	if (setsockopt(p.fd, IPPROTO_IPV6, IPV6_TCLASS, &o.tos, sizeof(o.tos)) < 0) {
		assert_non_null(strstr(p.proto.note, "tos is without effect"));
		assert_non_null(strstr(p.proto.note, "IPV6_TCLASS"));
	} else {
		assert_string_equal(p.proto.note, "");
	}
	pair_close(&p);

	o.mptcp = NOFI_MPTCP_OFF;
	assert_int_equal(pair_open(&p, AF_INET6, IPPROTO_TCP, &o), 0);
	assert_int_equal(get_int(p.fd, IPPROTO_IPV6, IPV6_TCLASS), 0x28);
	assert_string_equal(p.proto.note, "");
	pair_close(&p);
}

struct refusal {
	int e;			/* what socket(…, IPPROTO_MPTCP) answers */
	const char *word;	/* that the reason must have */
};

static int refused_child(void *arg)
{
	const struct refusal *r = arg;
	struct nofi_err err;
	struct pair p;

	refuse(SYS_socket, 2, PROTO_MPTCP, r->e);
	CHECK(!pair_open(&p, AF_INET, IPPROTO_TCP, &prefer));
	CHECK(!p.proto.is_mptcp);
	CHECK(strstr(p.proto.reason, r->word));
	check_counters(&p, false);
	CHECK(nofi_sock_open(AF_INET, &require, &p.proto, &err) == -EPROTONOSUPPORT);
	CHECK(strstr(err.text, r->word) && strstr(err.text, "mptcp=require"));
	return 0;
}

static void test_refused(void **state)
{
	static struct refusal refusals[] = {
		{ ENOPROTOOPT, "net.mptcp.enabled=1" },
		{ EPROTONOSUPPORT, "CONFIG_MPTCP" },
		{ EINVAL, "CONFIG_MPTCP" },
		{ EPERM, "seccomp" },
		{ EACCES, "seccomp" },
		{ EIO, "refused" },
	};
	unsigned i;

	for (i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
		in_child(refused_child, &refusals[i]);
}

static int exhausted_child(void *arg)
{
	struct nofi_sock_proto proto;
	struct nofi_err err;

	refuse(SYS_socket, 0, AF_INET, EMFILE);
	refuse(SYS_socket, 0, AF_INET6, EAFNOSUPPORT);
	CHECK(nofi_sock_open(AF_INET, &prefer, &proto, &err) == -EMFILE);
	CHECK(strstr(err.text, "ulimit -n"));
	CHECK(nofi_sock_open(AF_INET, &off, &proto, &err) == -EMFILE);
	CHECK(nofi_sock_open(AF_INET6, &require, &proto, &err) == -EAFNOSUPPORT);
	CHECK(strstr(err.text, "IPv6"));
	return 0;
}

/* Errors that are not MPTCP's are not hidden behind a fallback. */
static void test_exhausted(void **state)
{
	in_child(exhausted_child, NULL);
}

static int old_kernel_child(void *arg)
{
	static const int families[] = { AF_INET, AF_INET6 };
	struct pair p;
	unsigned i;

	refuse(SYS_getsockopt, 2, 43, ENOPROTOOPT);	/* TCP_IS_MPTCP, level TCP */
	refuse(SYS_getsockopt, 2, 4, EOPNOTSUPP);	/* MPTCP_FULL_INFO; SO_ERROR is 4, too… */
	for (i = 0; i < 2; i++) {
		memset(&p, 0, sizeof(p));
		/* …so this connects without asking for SO_ERROR. */
		socklen_t len;
		int protocol = arg ? IPPROTO_TCP : PROTO_MPTCP;

		p.listener = listen_on(families[i], protocol, &p.sa, &len);
		p.fd = nofi_sock_open(families[i], &prefer, &p.proto, &p.err);
		CHECK(p.fd >= 0);
		CHECK(connect(p.fd, (struct sockaddr *)&p.sa, len) < 0);
		p.peer = accept(p.listener, NULL, NULL);
		wait_io(p.fd, POLLOUT);
		CHECK(!nofi_sock_check(p.fd, &prefer, &p.proto, &p.err));
		CHECK(p.proto.is_mptcp == !arg);
		check_counters(&p, !arg);
		pair_close(&p);
	}
	return 0;
}

/* Linux 6.1 has neither TCP_IS_MPTCP nor MPTCP_FULL_INFO. */
static void test_old_kernel(void **state)
{
	in_child(old_kernel_child, NULL);
	in_child(old_kernel_child, "fallback");
}

static bool write_file(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text);
}

/* A network namespace of our own, as root or, where users may, as root of a user namespace. */
static int enter_netns(void)
{
	struct ifreq req = { .ifr_flags = IFF_UP };
	char map[32];
	int fd;

	snprintf(map, sizeof(map), "0 %u 1", getuid());
	if (unshare(CLONE_NEWNET)) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNET) ||
		    !write_file("/proc/self/uid_map", map))
			return -1;
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	strcpy(req.ifr_name, "lo");
	CHECK(!ioctl(fd, SIOCSIFFLAGS, &req));
	close(fd);
	return 0;
}

static int disabled_child(void *arg)
{
	struct nofi_sock_proto proto;
	struct nofi_err err;
	struct pair p;

	if (enter_netns() < 0 || !write_file("/proc/sys/net/mptcp/enabled", "0")) {
		fprintf(stderr, "needs a network namespace and to write net.mptcp.enabled\n");
		return 77;
	}
	CHECK(!pair_open(&p, AF_INET, IPPROTO_TCP, &prefer));
	CHECK(!p.proto.is_mptcp && strstr(p.proto.reason, "sysctl net.mptcp.enabled=1"));
	CHECK(nofi_sock_open(AF_INET, &require, &proto, &err) == -EPROTONOSUPPORT);
	return 0;
}

static void test_disabled_by_sysctl(void **state)
{
	in_child(disabled_child, NULL);
}

/* Sends and receives until there are two subflows; false after ten seconds. */
static bool exchange_until_two(struct pair *p, struct nofi_sock_info *info)
{
	struct timespec now;
	time_t end;

	clock_gettime(CLOCK_MONOTONIC, &now);
	end = now.tv_sec + 10;
	do {
		send_all(p->fd, 1000);
		receive_all(p->peer, 1000);
		send_all(p->peer, 1000);
		receive_all(p->fd, 1000);
		CHECK(!nofi_sock_get_info(p->fd, &p->proto, info));
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (info->subflow_count < 2 && now.tv_sec < end);
	return info->subflow_count == 2;
}

static int two_subflows_child(void *arg)
{
	struct nofi_sock_opts o = prefer;
	struct nofi_sock_info info;
	struct pair p;

	if (enter_netns() < 0 ||
	    system("ip mptcp limits set subflow 2 add_addr_accepted 2 && "
		   "ip mptcp endpoint add 127.0.0.2 dev lo subflow")) {
		fprintf(stderr, "needs a network namespace and ip mptcp\n");
		return 77;
	}
	o.tos = 0x28;
	CHECK(!pair_open(&p, AF_INET, PROTO_MPTCP, &o));
	CHECK(p.proto.is_mptcp);
	/* The join waits for the first data that is acknowledged. */
	CHECK(exchange_until_two(&p, &info));
	CHECK(!same_address(&info.subflows[0].local, &info.subflows[1].local));
	CHECK(((struct sockaddr_in *)&info.subflows[1].local)->sin_addr.s_addr ==
	      htonl(0x7f000002));
	CHECK(same_address(&info.subflows[1].peer, &p.sa));
	CHECK(info.bytes_sent == info.bytes_received);
	CHECK(info.subflows[0].bytes_sent + info.subflows[1].bytes_sent >= info.bytes_sent);
	return 0;
}

/* On MPTCP and TCP alike; on later subflows: tests/paths. */
static void test_options(void **state)
{
	static const int protocols[] = { PROTO_MPTCP, IPPROTO_TCP };
	struct nofi_sock_opts o = prefer;
	char name[16] = "";
	socklen_t len = sizeof(name);
	struct pair p;

	o.congestion = "reno";
	o.priority = 5;
	o.sndbuf = 65536;
	o.rcvbuf = 32768;
	o.keepalive_ms = 4500;
	for (unsigned i = 0; i < 2; i++) {
		o.mptcp = i ? NOFI_MPTCP_OFF : NOFI_MPTCP_REQUIRE;
		assert_int_equal(pair_open(&p, AF_INET, protocols[i], &o), 0);
		assert_string_equal(p.proto.note, "");
		assert_int_equal(get_int(p.fd, SOL_SOCKET, SO_PRIORITY), 5);
		assert_int_equal(get_int(p.fd, SOL_SOCKET, SO_SNDBUF), 2 * 65536);
		assert_int_equal(get_int(p.fd, SOL_SOCKET, SO_RCVBUF), 2 * 32768);
		assert_int_equal(get_int(p.fd, SOL_SOCKET, SO_KEEPALIVE), 1);
		assert_int_equal(get_int(p.fd, IPPROTO_TCP, TCP_KEEPIDLE), 5);
		assert_int_equal(get_int(p.fd, IPPROTO_TCP, TCP_KEEPINTVL), 1);
		assert_int_equal(get_int(p.fd, IPPROTO_TCP, TCP_KEEPCNT), 3);
		assert_int_equal(getsockopt(p.fd, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
		assert_string_equal(name, "reno");
		pair_close(&p);
	}
	/* More than the administrator permits: it is cut, and that is told. */
	o.sndbuf = 1u << 30;
	assert_int_equal(pair_open(&p, AF_INET, IPPROTO_TCP, &o), 0);
	assert_non_null(strstr(p.proto.note, "sndbuf=1073741824 was cut to"));
	assert_non_null(strstr(p.proto.note, "net.core.wmem_max"));
	pair_close(&p);
}

/* TCP has it since Linux 6.15; everything else is told how to get it. */
static void test_rto_min(void **state)
{
	static const int protocols[] = { PROTO_MPTCP, IPPROTO_TCP };
	struct nofi_sock_opts o = prefer;
	struct pair p;

	o.rto_min_us = 5000;
	for (unsigned i = 0; i < 2; i++) {
		int us = 0;
		socklen_t len = sizeof(us);

		o.mptcp = i ? NOFI_MPTCP_OFF : NOFI_MPTCP_REQUIRE;
		assert_int_equal(pair_open(&p, AF_INET, protocols[i], &o), 0);
		if (getsockopt(p.fd, IPPROTO_TCP, 45, &us, &len) < 0)
			assert_non_null(strstr(p.proto.note, "rto_min 5ms"));
		else if (p.proto.note[0])	/* the kernel counts in ticks of up to 10 ms */
			assert_in_range(us, 20001, INT32_MAX);
		else
			assert_in_range(us, 5000, 20000);
		pair_close(&p);
	}
}

static int refused_options_child(void *arg)
{
	struct nofi_sock_opts o = prefer;
	struct nofi_sock_proto proto;
	struct nofi_err err;
	int fd;

	o.congestion = "nonsense";
	CHECK(nofi_sock_open(AF_INET, &o, &proto, &err) == -EINVAL);
	CHECK(strstr(err.text, "congestion=nonsense") && strstr(err.text, "reno"));
	o.congestion = "";
	if (geteuid() == 0) {
		o.mark = 77;
		fd = nofi_sock_open(AF_INET, &o, &proto, &err);
		CHECK(fd >= 0 && get_int(fd, SOL_SOCKET, SO_MARK) == 77);
		close(fd);
		CHECK(!seteuid(65534));
	}
	o.mark = 78;
	CHECK(nofi_sock_open(AF_INET, &o, &proto, &err) == -EPERM);
	CHECK(strstr(err.text, "mark=78") && strstr(err.text, "CAP_NET_ADMIN"));
	o.mark = 0;
	o.priority = 7;
	CHECK(nofi_sock_open(AF_INET, &o, &proto, &err) == -EPERM);
	CHECK(strstr(err.text, "priority=7") && strstr(err.text, "CAP_NET_ADMIN"));
	/* Without MPTCP it is the same sentence. */
	o.mptcp = NOFI_MPTCP_OFF;
	CHECK(nofi_sock_open(AF_INET, &o, &proto, &err) == -EPERM);
	CHECK(strstr(err.text, "priority=7"));
	return 0;
}

static void test_refused_options(void **state)
{
	in_child(refused_options_child, NULL);
}

static void test_two_subflows(void **state)
{
	in_child(two_subflows_child, NULL);
}

/* An endpoint with a device: its subflow is bound to that, and has to be found all the same. */
static int backup_child(void *arg)
{
	static const uid_t users[] = { 0, 65534 };
	struct nofi_sock_info info;
	struct pair p;
	unsigned i;

	if (geteuid() || enter_netns() < 0 ||
	    system("ip mptcp limits set subflow 2 add_addr_accepted 2 && "
		   "ip mptcp endpoint add 127.0.0.2 dev lo subflow backup")) {
		fprintf(stderr, "needs root, a network namespace and ip mptcp\n");
		return 77;
	}
	CHECK(!pair_open(&p, AF_INET, PROTO_MPTCP, &prefer));
	CHECK(exchange_until_two(&p, &info));
	CHECK(info.token && info.subflows_max == 2);
	CHECK(!info.subflows[0].is_backup && !info.subflows[1].is_backup);
	/* The kernel's answer, and what is known without its permission. */
	for (i = 0; i < 2; i++) {
		CHECK(!seteuid(users[i]));
		CHECK(!nofi_sock_get_info(p.fd, &p.proto, &info));
		nofi_sock_find_backups(p.fd, &info);
		CHECK(!info.subflows[0].is_backup && info.subflows[1].is_backup);
	}
	return 0;
}

static void test_backup(void **state)
{
	in_child(backup_child, NULL);
}

/* The peer sees a reset and no queued data, though another reference keeps the socket open. */
static void test_abort(void **state)
{
	static const int protocols[] = { PROTO_MPTCP, IPPROTO_TCP };
	char buf[65536] = "";
	struct pair p;
	unsigned i;
	ssize_t n;
	int other;

	for (i = 0; i < 2; i++) {
		assert_int_equal(pair_open(&p, AF_INET, protocols[i], &prefer), 0);
		other = dup(p.fd);
		/* More than the receiver takes: some is queued on this side. */
		while (send(p.fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
			;
		assert_int_equal(errno, EAGAIN);
		nofi_sock_abort(p.fd);
		p.fd = -1;
		do {
			struct pollfd pfd = { .fd = p.peer, .events = POLLIN };

			assert_int_equal(poll(&pfd, 1, 10000), 1);
			n = recv(p.peer, buf, sizeof(buf), MSG_DONTWAIT);
		} while (n > 0);
		assert_int_equal(n, -1);
		assert_int_equal(errno, ECONNRESET);
		close(other);
		pair_close(&p);
	}
	nofi_sock_abort(-1);
}

static void test_connect_error(void **state)
{
	static const int codes[] = {
		ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ENETDOWN, EACCES, EPERM,
		EADDRNOTAVAIL, EADDRINUSE, EINVAL, EAFNOSUPPORT, ECONNRESET, EPIPE, ECANCELED,
		EMFILE, ENOBUFS, EIO,
	};
	struct sockaddr_storage sa;
	struct nofi_sock_proto proto;
	struct nofi_err err;
	socklen_t len, elen = sizeof(int);
	char name[80];
	unsigned i;
	int fd, e = 0;

	/* A port that was just given back refuses. */
	close(listen_on(AF_INET, IPPROTO_TCP, &sa, &len));
	nofi_sockaddr_format((struct sockaddr *)&sa, name, sizeof(name));
	fd = nofi_sock_open(AF_INET, &prefer, &proto, &err);
	assert_true(fd >= 0);
	if (connect(fd, (struct sockaddr *)&sa, len) < 0 && errno == EINPROGRESS) {
		wait_io(fd, POLLOUT);
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &elen);
	} else {
		e = errno;
	}
	close(fd);
	assert_int_equal(e, ECONNREFUSED);
	assert_int_equal(nofi_sock_connect_error(-e, (struct sockaddr *)&sa, &err), -e);
	assert_non_null(strstr(err.text, name));
	assert_non_null(strstr(err.text, "nothing listens there"));

	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		assert_int_equal(nofi_sock_connect_error(-codes[i], (struct sockaddr *)&sa, &err),
				 -codes[i]);
		assert_int_equal(err.code, -codes[i]);
		assert_non_null(strstr(err.text, name));
		assert_int_not_equal(strcmp(err.text + strlen(err.text) - 3, "..."), 0);
	}
}

static void test_format(void **state)
{
	struct sockaddr_storage sa = { .ss_family = AF_UNSPEC };
	char buf[80];

	assert_string_equal(nofi_sockaddr_format((struct sockaddr *)&sa, buf, sizeof(buf)),
			    "(no address)");
	sa.ss_family = AF_INET6;
	((struct sockaddr_in6 *)&sa)->sin6_addr = in6addr_loopback;
	((struct sockaddr_in6 *)&sa)->sin6_port = htons(4420);
	assert_string_equal(nofi_sockaddr_format((struct sockaddr *)&sa, buf, sizeof(buf)),
			    "[::1]:4420");
	assert_string_equal(nofi_sockaddr_format((struct sockaddr *)&sa, buf, 5), "[::1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mptcp),
		cmocka_unit_test(test_silent_fallback),
		cmocka_unit_test(test_late_fallback),
		cmocka_unit_test(test_first_window),
		cmocka_unit_test(test_recheck),
		cmocka_unit_test(test_remembered),
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_source_address),
		cmocka_unit_test(test_interface),
		cmocka_unit_test(test_tos),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_exhausted),
		cmocka_unit_test(test_old_kernel),
		cmocka_unit_test(test_disabled_by_sysctl),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_rto_min),
		cmocka_unit_test(test_refused_options),
		cmocka_unit_test(test_two_subflows),
		cmocka_unit_test(test_backup),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_connect_error),
		cmocka_unit_test(test_format),
	};

	return cmocka_run_group_tests_name("sock", tests, NULL, NULL);
}
