/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Endpoints and limits of the kernel: what is ours is undone, what is others' is not touched.
 * In a user and network namespace of its own, as `unshare -Urn` makes them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "mptcp/pm_table.h"

static struct nofi_pm kernel;		/* a view of its own */

static struct nofi_pm_path path(const char *text)
{
	struct nofi_pm_list l;

	assert_int_equal(nofi_pm_parse(text, &l, NULL), 0);
	return l.path[0];
}

/* How many endpoints the kernel has, and the one with this address. */
static int look(const char *text, struct nofi_pm_endpoint *out)
{
	struct nofi_pm_endpoint list[16];
	struct nofi_pm_path p = path(text);
	int n = nofi_pm_endpoints(&kernel, list, 16);

	memset(out, 0, sizeof(*out));
	for (int i = 0; i < n; i++)
		if (nofi_pm_addr_equal(&list[i].addr, &p.addr))
			*out = list[i];
	return n;
}

static void add_foreign(const char *text, uint32_t flags)
{
	struct nofi_pm_endpoint ep = { .addr = path(text).addr, .flags = flags };

	assert_int_equal(nofi_pm_add(&kernel, &ep), 0);
}

static void join(struct nofi_pm_user *u)
{
	memset(u, 0, sizeof(*u));
	assert_int_equal(nofi_pm_join(u, NULL), 0);
}

static void test_ours_is_undone(void **state)
{
	struct nofi_pm_path p = path("10.0.0.1,backup");
	struct nofi_pm_endpoint ep;
	struct nofi_pm_user u;

	join(&u);
	assert_int_equal(nofi_pm_check(&u, NULL), 0);
	assert_int_equal(nofi_pm_hold(&u, &p, 1, NULL), 0);
	assert_int_equal(look("10.0.0.1", &ep), 1);
	assert_int_equal(ep.flags, NOFI_PM_F_SUBFLOW | NOFI_PM_F_BACKUP);
	assert_int_equal(ep.ifindex, 1);
	assert_int_not_equal(ep.id, 0);
	nofi_pm_leave(&u);
	assert_int_equal(look("10.0.0.1", &ep), 0);
	nofi_pm_leave(&u);
}

static void test_the_last_user_undoes(void **state)
{
	struct nofi_pm_path p = path("2001:db8::1"), q = path("10.0.0.2");
	struct nofi_pm_endpoint ep;
	struct nofi_pm_user a, b;

	join(&a);
	join(&b);
	assert_ptr_equal(a.ns, b.ns);
	assert_int_equal(nofi_pm_hold(&a, &p, 0, NULL), 0);
	assert_int_equal(nofi_pm_hold(&b, &p, 0, NULL), 0);
	assert_int_equal(nofi_pm_hold(&b, &p, 0, NULL), 0);
	assert_int_equal(nofi_pm_hold(&b, &q, 0, NULL), 0);
	assert_int_equal(look("2001:db8::1", &ep), 2);
	nofi_pm_drop(&b, &q.addr);
	nofi_pm_leave(&b);
	assert_int_equal(look("2001:db8::1", &ep), 1);
	assert_int_not_equal(ep.id, 0);
	nofi_pm_leave(&a);
	assert_int_equal(look("2001:db8::1", &ep), 0);
}

static void test_foreign_is_not_touched(void **state)
{
	struct nofi_pm_path p = path("10.0.0.1"), q = path("10.0.0.2");
	struct nofi_pm_endpoint ep;
	struct nofi_pm_user u;

	/* The same as ours would be. */
	add_foreign("10.0.0.1", NOFI_PM_F_SUBFLOW);
	join(&u);
	assert_int_equal(nofi_pm_hold(&u, &p, 0, NULL), 1);
	assert_int_equal(nofi_pm_hold(&u, &q, 0, NULL), 0);
	assert_int_equal(nofi_pm_take_out(&u, &p.addr), -EPERM);
	assert_int_equal(look("10.0.0.1", &ep), 2);
	nofi_pm_leave(&u);
	assert_int_equal(look("10.0.0.1", &ep), 1);
	assert_int_equal(nofi_pm_del(&kernel, ep.id, &ep.addr), 0);
}

static void test_foreign_that_goes_becomes_ours(void **state)
{
	struct nofi_pm_path p = path("10.0.0.1,backup");
	struct nofi_pm_endpoint ep;
	struct nofi_pm_user u, other;

	add_foreign("10.0.0.1", NOFI_PM_F_SUBFLOW);
	join(&u);
	join(&other);
	assert_int_equal(nofi_pm_renew(&u, &p, 0, NULL), -ENOENT);
	assert_int_equal(nofi_pm_hold(&u, &p, 0, NULL), 1);
	assert_int_equal(nofi_pm_hold(&other, &p, 0, NULL), 1);
	assert_int_equal(nofi_pm_renew(&u, &p, 0, NULL), 1);
	look("10.0.0.1", &ep);
	assert_int_equal(ep.flags, NOFI_PM_F_SUBFLOW);
	assert_int_equal(nofi_pm_del(&kernel, ep.id, &ep.addr), 0);
	assert_int_equal(nofi_pm_renew(&u, &p, 1, NULL), 0);
	assert_int_equal(look("10.0.0.1", &ep), 1);
	assert_int_equal(ep.flags, NOFI_PM_F_SUBFLOW | NOFI_PM_F_BACKUP);
	assert_int_equal(ep.ifindex, 1);
	assert_int_equal(nofi_pm_renew(&other, &p, 1, NULL), 0);
	nofi_pm_leave(&u);
	assert_int_equal(look("10.0.0.1", &ep), 1);
	nofi_pm_leave(&other);
	assert_int_equal(look("10.0.0.1", &ep), 0);
}

static void test_replaced_by_somebody(void **state)
{
	struct nofi_pm_path p = path("10.0.0.1");
	struct nofi_pm_endpoint ep;
	struct nofi_pm_user u;

	join(&u);
	assert_int_equal(nofi_pm_hold(&u, &p, 0, NULL), 0);
	look("10.0.0.1", &ep);
	assert_int_equal(nofi_pm_del(&kernel, ep.id, &ep.addr), 0);
	add_foreign("10.0.0.1", NOFI_PM_F_SIGNAL);
	nofi_pm_leave(&u);
	assert_int_equal(look("10.0.0.1", &ep), 1);
	assert_int_equal(nofi_pm_del(&kernel, ep.id, &ep.addr), 0);
}

static void test_out_and_back(void **state)
{
	struct nofi_pm_path p = path("10.0.0.1"), q = path("10.0.0.2");
	struct nofi_pm_endpoint ep;
	struct nofi_pm_user u, other;
	uint8_t id;

	join(&u);
	join(&other);
	assert_int_equal(nofi_pm_hold(&u, &p, 0, NULL), 0);
	assert_int_equal(nofi_pm_take_out(&u, &p.addr), -EBUSY);
	assert_int_equal(nofi_pm_hold(&u, &q, 0, NULL), 0);
	look("10.0.0.1", &ep);
	id = ep.id;
	assert_int_equal(nofi_pm_take_out(&u, &p.addr), 0);
	assert_int_equal(nofi_pm_take_out(&u, &p.addr), 0);
	assert_int_equal(look("10.0.0.1", &ep), 1);
	assert_int_equal(ep.id, 0);
	/* Now the other is the last. */
	assert_int_equal(nofi_pm_take_out(&u, &q.addr), -EBUSY);
	assert_int_equal(nofi_pm_put_back(&u, &p.addr, NULL), 0);
	assert_int_equal(nofi_pm_put_back(&u, &p.addr, NULL), 0);
	assert_int_equal(look("10.0.0.1", &ep), 2);
	assert_int_equal(ep.id, id);
	/* Somebody else has nothing but this. */
	assert_int_equal(nofi_pm_hold(&other, &q, 0, NULL), 0);
	assert_int_equal(nofi_pm_take_out(&u, &q.addr), -EBUSY);
	nofi_pm_leave(&other);
	assert_int_equal(nofi_pm_take_out(&u, &q.addr), 0);
	nofi_pm_leave(&u);
	assert_int_equal(look("10.0.0.1", &ep), 0);
}

static void test_limits(void **state)
{
	struct nofi_pm_limits old = { 1, 6 }, want = { 4, 2 }, more = { 5, 7 }, now;
	struct nofi_pm_user u;

	assert_int_equal(nofi_pm_set_limits(&kernel, &old), 0);
	join(&u);
	assert_int_equal(nofi_pm_raise(&u, &want, NULL), 0);
	nofi_pm_get_limits(&kernel, &now);
	assert_int_equal(now.subflows, 4);
	assert_int_equal(now.add_addr_accepted, 6);
	assert_int_equal(nofi_pm_raise(&u, &more, NULL), 0);
	nofi_pm_leave(&u);
	nofi_pm_get_limits(&kernel, &now);
	assert_memory_equal(&now, &old, sizeof(now));

	/* High enough already, or changed by somebody meanwhile: theirs. */
	join(&u);
	assert_int_equal(nofi_pm_raise(&u, &old, NULL), 0);
	nofi_pm_leave(&u);
	join(&u);
	assert_int_equal(nofi_pm_raise(&u, &want, NULL), 0);
	assert_int_equal(nofi_pm_set_limits(&kernel, &more), 0);
	nofi_pm_leave(&u);
	nofi_pm_get_limits(&kernel, &now);
	assert_memory_equal(&now, &more, sizeof(now));
}

static int child(void (*fn)(struct nofi_pm_user *u), struct nofi_pm_user *u)
{
	pid_t pid = fork();
	int status = -1;

	if (!pid) {
		fn(u);
		exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void hold_and_exit(struct nofi_pm_user *u)
{
	struct nofi_pm_path p = path("10.0.0.9");
	struct nofi_pm_limits want = { 8, 8 };
	struct nofi_pm_endpoint ep;

	join(u);
	if (nofi_pm_hold(u, &p, 0, NULL) || nofi_pm_raise(u, &want, NULL) ||
	    look("10.0.0.9", &ep) != 1)
		_exit(1);
}

static void test_exit_undoes(void **state)
{
	struct nofi_pm_limits before, now;
	struct nofi_pm_endpoint ep;
	struct nofi_pm_user u;

	nofi_pm_get_limits(&kernel, &before);
	assert_int_equal(child(hold_and_exit, &u), 0);
	assert_int_equal(look("10.0.0.9", &ep), 0);
	nofi_pm_get_limits(&kernel, &now);
	assert_memory_equal(&now, &before, sizeof(now));
}

static void only_leave(struct nofi_pm_user *u)
{
	nofi_pm_leave(u);
}

static void test_a_forked_child_undoes_nothing(void **state)
{
	struct nofi_pm_path p = path("10.0.0.1");
	struct nofi_pm_endpoint ep;
	struct nofi_pm_user u;

	join(&u);
	assert_int_equal(nofi_pm_hold(&u, &p, 0, NULL), 0);
	assert_int_equal(child(only_leave, &u), 0);
	assert_int_equal(look("10.0.0.1", &ep), 1);
	nofi_pm_leave(&u);
	assert_int_equal(look("10.0.0.1", &ep), 0);
}

static void try_without(struct nofi_pm_user *u)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };
	struct nofi_pm_path p = path("10.0.0.1");
	struct nofi_err err = { 0 };

	if (syscall(SYS_capset, &head, none))
		_exit(9);
	join(u);
	if (nofi_pm_check(u, &err) != -EPERM || !strstr(err.text, "CAP_NET_ADMIN"))
		_exit(1);
	err.text[0] = '\0';
	if (nofi_pm_hold(u, &p, 0, &err) != -EPERM || !strstr(err.text, "CAP_NET_ADMIN"))
		_exit(2);
	if (nofi_pm_raise(u, &(struct nofi_pm_limits){ 8, 8 }, &err) != -EPERM)
		_exit(3);
	nofi_pm_leave(u);
}

static void test_without_the_privilege(void **state)
{
	struct nofi_pm_limits low = { 2, 0 };
	struct nofi_pm_endpoint ep;
	struct nofi_pm_user u;

	assert_int_equal(nofi_pm_set_limits(&kernel, &low), 0);
	assert_int_equal(child(try_without, &u), 0);
	assert_int_equal(look("10.0.0.1", &ep), 0);
}

static bool write_file(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* As root of a namespace of its own, or why not. */
static const char *isolate(void)
{
	char map[32];
	uid_t uid = getuid();
	gid_t gid = getgid();

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return "user and network namespaces are not permitted here";
	snprintf(map, sizeof(map), "0 %u 1", (unsigned)uid);
	(void)write_file("/proc/self/setgroups", "deny");
	if (!write_file("/proc/self/uid_map", map))
		return "the user cannot be mapped into a namespace here";
	snprintf(map, sizeof(map), "0 %u 1", (unsigned)gid);
	(void)write_file("/proc/self/gid_map", map);
	if (nofi_pm_open(&kernel, NULL))
		return "this kernel has no MPTCP path manager";
	return NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ours_is_undone),
		cmocka_unit_test(test_the_last_user_undoes),
		cmocka_unit_test(test_foreign_that_goes_becomes_ours),
		cmocka_unit_test(test_foreign_is_not_touched),
		cmocka_unit_test(test_replaced_by_somebody),
		cmocka_unit_test(test_out_and_back),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_exit_undoes),
		cmocka_unit_test(test_a_forked_child_undoes_nothing),
		cmocka_unit_test(test_without_the_privilege),
	};
	const char *why = isolate();
	int failed;

	if (why) {
		printf("1..0 # SKIP %s\n", why);
		return 0;
	}
	failed = cmocka_run_group_tests_name("pm_table", tests, NULL, NULL);
	nofi_pm_close(&kernel);
	return failed;
}
