/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names: numeric addresses without blocking, look-ups in a thread that nobody has
 * to wait for. getaddrinfo() is replaced by one that a test can hold up.
 */
#include "unit.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "mptcp/sock.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool is_held;		/* look-ups of "held.test" wait for this to become false */
static int started, ended;	/* look-ups */
static int signals_open;	/* signals that were not blocked in a look-up */
static int calls;		/* of fn */
static bool fn_waits;		/* fn stays until this becomes false */
static bool fn_runs;
static struct nofi_addrs got;
static struct nofi_err got_err;
static struct nofi_resolve *cancel_in_fn;

static void wait_for(const int *value, int at_least)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	pthread_mutex_lock(&lock);
	while (*value < at_least) {
		if (pthread_cond_timedwait(&changed, &lock, &until))
			break;
	}
	pthread_mutex_unlock(&lock);
	assert_true(*value >= at_least);
}

static void set(bool *flag, bool value)
{
	pthread_mutex_lock(&lock);
	*flag = value;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void count(int *value)
{
	pthread_mutex_lock(&lock);
	(*value)++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **res)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	struct addrinfo numeric = *hints;
	sigset_t mask;
	int r;

	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	if (!sigismember(&mask, SIGTERM) || !sigismember(&mask, SIGALRM))
		count(&signals_open);
	count(&started);
	if (!strcmp(node, "held.test")) {
		pthread_mutex_lock(&lock);
		while (is_held)
			pthread_cond_wait(&changed, &lock);
		pthread_mutex_unlock(&lock);
		node = "192.0.2.7";
	}
	if (!strcmp(node, "again.test")) {
		r = EAI_AGAIN;
	} else if (!strcmp(node, "noname.test")) {
		r = EAI_NONAME;
	} else if (!strcmp(node, "system.test")) {
		errno = ENFILE;
		r = EAI_SYSTEM;
	} else {
		real = (int (*)(const char *, const char *, const struct addrinfo *,
				struct addrinfo **))dlsym(RTLD_NEXT, "getaddrinfo");
		if (strcmp(node, "localhost"))
			numeric.ai_flags |= AI_NUMERICHOST;
		r = real(node, service, &numeric, res);
	}
	count(&ended);
	return r;
}

static void on_result(void *arg, const struct nofi_addrs *addrs, const struct nofi_err *err)
{
	got = *addrs;
	got_err = *err;
	set(&fn_runs, true);
	pthread_mutex_lock(&lock);
	while (fn_waits)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	if (cancel_in_fn)
		nofi_resolve_cancel(cancel_in_fn);
	set(&fn_runs, false);
	count(arg);
}

static int reset(void **state)
{
	is_held = fn_waits = fn_runs = false;
	started = ended = calls = 0;
	cancel_in_fn = NULL;
	return 0;
}

static void test_numeric(void **state)
{
	struct nofi_addrs a;
	char text[80];

	assert_int_equal(nofi_resolve_numeric("127.0.0.1", "4420", &a), 1);
	assert_int_equal(a.count, 1);
	assert_string_equal(nofi_sockaddr_format((struct sockaddr *)&a.addr[0].sa, text,
						 sizeof(text)), "127.0.0.1:4420");
	assert_int_equal(a.addr[0].len, sizeof(struct sockaddr_in));
	assert_int_equal(nofi_resolve_numeric("2001:db8::1", "65535", &a), 1);
	assert_string_equal(nofi_sockaddr_format((struct sockaddr *)&a.addr[0].sa, text,
						 sizeof(text)), "[2001:db8::1]:65535");
	assert_int_equal(a.addr[0].len, sizeof(struct sockaddr_in6));
	assert_int_equal(nofi_resolve_numeric("fe80::1%lo", "1", &a), 1);
	assert_string_equal(nofi_sockaddr_format((struct sockaddr *)&a.addr[0].sa, text,
						 sizeof(text)), "[fe80::1%lo]:1");
	assert_int_equal(nofi_resolve_numeric("fe80::1%999999", "1", &a), 1);
	assert_string_equal(nofi_sockaddr_format((struct sockaddr *)&a.addr[0].sa, text,
						 sizeof(text)), "[fe80::1%999999]:1");
	assert_int_equal(nofi_resolve_numeric("fe80::1%nope0", "1", &a), -ENODEV);
	assert_int_equal(nofi_resolve_numeric("fe80::1%", "1", &a), -ENODEV);
	assert_int_equal(nofi_resolve_numeric("localhost", "4420", &a), 0);
	assert_int_equal(nofi_resolve_numeric("256.0.0.1", "4420", &a), 0);
	assert_int_equal(nofi_resolve_numeric("", "4420", &a), -EINVAL);
	assert_int_equal(nofi_resolve_numeric("::1", "0", &a), 1);
	assert_int_equal(nofi_resolve_numeric("::1", "65536", &a), -EINVAL);
	assert_int_equal(nofi_resolve_numeric("::1", "99999999999999999999", &a), -EINVAL);
	assert_int_equal(nofi_resolve_numeric("::1", "12x", &a), -EINVAL);
	assert_int_equal(nofi_resolve_numeric("::1", "", &a), -EINVAL);
	/* None of it asked the resolver. */
	assert_int_equal(started, 0);
}

static void test_lookup(void **state)
{
	struct nofi_resolve *r;
	struct nofi_err err;
	unsigned i;

	assert_int_equal(nofi_resolve_start("localhost", "4420", on_result, &calls, &r, &err), 0);
	wait_for(&calls, 1);
	nofi_resolve_cancel(r);
	assert_int_equal(got_err.code, 0);
	assert_true(got.count >= 1);
	for (i = 0; i < got.count; i++) {
		const struct sockaddr_in *in = (void *)&got.addr[i].sa;

		/* The port is at the same place in both families. */
		assert_int_equal(ntohs(in->sin_port), 4420);
	}
	assert_int_equal(signals_open, 0);
}

static void expect_error(const char *host, int code, const char *word)
{
	struct nofi_resolve *r;
	struct nofi_err err;
	int before = calls;

	assert_int_equal(nofi_resolve_start(host, "4420", on_result, &calls, &r, &err), 0);
	wait_for(&calls, before + 1);
	nofi_resolve_cancel(r);
	assert_int_equal(got_err.code, code);
	assert_int_equal(got.count, 0);
	assert_non_null(strstr(got_err.text, host));
	assert_non_null(strstr(got_err.text, word));
}

static void test_errors(void **state)
{
	struct nofi_resolve *r;
	struct nofi_err err;
	char longest[2000];

	expect_error("noname.test", -ENOENT, "spelling");
	expect_error("again.test", -EHOSTUNREACH, "name server");
	expect_error("system.test", -ENFILE, "look-up failed");

	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(nofi_resolve_start(longest, "1", on_result, NULL, &r, &err), -EINVAL);
	assert_int_equal(nofi_resolve_start("", "1", on_result, NULL, &r, &err), -EINVAL);
	assert_int_equal(nofi_resolve_start("a.test", "0", on_result, NULL, &r, &err), -EINVAL);
	assert_non_null(strstr(err.text, "port"));
}

/* A look-up that hangs is not waited for, and its result goes nowhere. */
static void test_cancel_while_looking_up(void **state)
{
	struct nofi_resolve *r;
	struct nofi_err err;

	is_held = true;
	assert_int_equal(nofi_resolve_start("held.test", "1", on_result, &calls, &r, &err), 0);
	wait_for(&started, 1);
	nofi_resolve_cancel(r);
	assert_int_equal(ended, 0);
	set(&is_held, false);
	wait_for(&ended, 1);
	assert_int_equal(nofi_resolve_start("held.test", "1", on_result, &calls, &r, &err), 0);
	wait_for(&calls, 1);
	nofi_resolve_cancel(r);
	assert_int_equal(calls, 1);
}

static void *release_fn(void *arg)
{
	set(&fn_waits, false);
	return NULL;
}

/* A call that runs already is waited for: after cancel nothing of it is left. */
static void test_cancel_while_calling(void **state)
{
	struct nofi_resolve *r;
	struct nofi_err err;
	pthread_t thread;

	fn_waits = true;
	assert_int_equal(nofi_resolve_start("held.test", "1", on_result, &calls, &r, &err), 0);
	pthread_mutex_lock(&lock);
	while (!fn_runs)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	assert_int_equal(pthread_create(&thread, NULL, release_fn, NULL), 0);
	nofi_resolve_cancel(r);
	assert_int_equal(calls, 1);
	pthread_join(thread, NULL);
}

static void test_cancel_in_call(void **state)
{
	struct nofi_resolve *r;
	struct nofi_err err;

	is_held = true;
	assert_int_equal(nofi_resolve_start("held.test", "1", on_result, &calls, &r, &err), 0);
	cancel_in_fn = r;
	set(&is_held, false);
	wait_for(&calls, 1);
}

/* Start and cancel at once, many times, whatever the thread has got to. */
static void test_cancel_races(void **state)
{
	struct nofi_resolve *r;
	struct nofi_err err;
	int i, seen;

	for (i = 0; i < 200; i++) {
		assert_int_equal(nofi_resolve_start("held.test", "1", on_result, &calls, &r, &err),
				 0);
		nofi_resolve_cancel(r);
	}
	seen = calls;
	wait_for(&ended, 200);
	assert_int_equal(calls, seen);
	nofi_resolve_cancel(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_numeric, reset),
		cmocka_unit_test_setup(test_lookup, reset),
		cmocka_unit_test_setup(test_errors, reset),
		cmocka_unit_test_setup(test_cancel_while_looking_up, reset),
		cmocka_unit_test_setup(test_cancel_while_calling, reset),
		cmocka_unit_test_setup(test_cancel_in_call, reset),
		cmocka_unit_test_setup(test_cancel_races, reset),
	};

	return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}
