/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names to addresses. getaddrinfo() blocks for as long as the system's name
 * servers are silent and cannot be interrupted, so each look-up has a thread of
 * its own, and nobody waits for that thread: it shares one reference-counted
 * object with the caller, and the last of the two frees it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mptcp/sock.h"

struct nofi_resolve {
	pthread_mutex_t lock;
	pthread_cond_t call_ended;	/* signalled when in_call becomes false */
	pthread_t thread;		/* written by the thread itself, before in_call */
	unsigned refs;			/* the caller's, until cancel; the thread's */
	bool is_cancelled;		/* fn must not be called any more */
	bool in_call;			/* fn runs now */
	nofi_resolve_fn *fn;
	void *arg;			/* fn's first argument */
	char host[NI_MAXHOST];
	char port[8];
};

/* A port number, or -EINVAL. */
static int parse_port(const char *s)
{
	int n = 0;

	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		n = n * 10 + (*s - '0');
		if (n > 65535)
			return -EINVAL;
	}
	return n;
}

static int parse_ipv6(const char *host, struct in6_addr *addr, uint32_t *scope)
{
	const char *percent = strchr(host, '%');
	char text[INET6_ADDRSTRLEN];
	unsigned long index;
	char *end;

	*scope = 0;
	if (!percent)
		return inet_pton(AF_INET6, host, addr) == 1;
	if ((size_t)(percent - host) >= sizeof(text))
		return 0;
	memcpy(text, host, percent - host);
	text[percent - host] = '\0';
	if (inet_pton(AF_INET6, text, addr) != 1)
		return 0;
	*scope = if_nametoindex(percent + 1);
	if (*scope)
		return 1;
	index = strtoul(percent + 1, &end, 10);
	if (percent[1] < '0' || percent[1] > '9' || *end || !index || index > UINT32_MAX)
		return -ENODEV;
	*scope = index;
	return 1;
}

int nofi_resolve_numeric(const char *host, const char *port, struct nofi_addrs *out)
{
	int number = parse_port(port);
	struct nofi_addrs addrs = { .count = 1 };
	struct sockaddr_in *in = (struct sockaddr_in *)&addrs.addr[0].sa;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&addrs.addr[0].sa;
	int r;

	if (number < 0 || !*host)
		return -EINVAL;
	if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(number);
		addrs.addr[0].len = sizeof(*in);
		*out = addrs;
		return 1;
	}
	memset(&addrs.addr[0], 0, sizeof(addrs.addr[0]));
	r = parse_ipv6(host, &in6->sin6_addr, &in6->sin6_scope_id);
	if (r <= 0)
		return r;
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(number);
	addrs.addr[0].len = sizeof(*in6);
	*out = addrs;
	return 1;
}

static int lookup_error(const char *host, int gai, int saved_errno, struct nofi_err *err)
{
	switch (gai) {
	case EAI_NONAME:
#ifdef EAI_NODATA
	case EAI_NODATA:
#endif
		return nofi_err_set(err, -ENOENT, "host name %.255s: unknown: check its spelling, "
				    "/etc/hosts and the DNS (`getent hosts` looks it up)", host);
	case EAI_AGAIN:
	case EAI_FAIL:
		return nofi_err_set(err, -EHOSTUNREACH, "host name %.255s: the name server gave no "
				    "usable answer: check the network and /etc/resolv.conf, or use "
				    "an address", host);
	case EAI_MEMORY:
		return nofi_err_set(err, -ENOMEM, "host name %.255s: out of memory", host);
	case EAI_SYSTEM:
		return nofi_err_set(err, saved_errno ? -saved_errno : -EIO,
				    "host name %.255s: look-up failed: %s", host,
				    strerror(saved_errno));
	default:
		return nofi_err_set(err, -EIO, "host name %.255s: look-up failed: %s", host,
				    gai_strerror(gai));
	}
}

static int lookup(const char *host, const char *port, struct nofi_addrs *out, struct nofi_err *err)
{
	const struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV,
	};
	struct addrinfo *list = NULL, *ai;
	int gai;

	errno = 0;
	gai = getaddrinfo(host, port, &hints, &list);
	if (gai)
		return lookup_error(host, gai, errno, err);
	for (ai = list; ai && out->count < NOFI_ADDRS_MAX; ai = ai->ai_next) {
		struct nofi_addr *a = &out->addr[out->count];

		if (ai->ai_family != AF_INET && ai->ai_family != AF_INET6)
			continue;
		memcpy(&a->sa, ai->ai_addr, ai->ai_addrlen);
		a->len = ai->ai_addrlen;
		out->count++;
	}
	freeaddrinfo(list);
	if (!out->count)
		return lookup_error(host, EAI_NONAME, 0, err);
	return 0;
}

/* Drops a reference and the lock. */
static void put_unlock(struct nofi_resolve *r)
{
	bool is_last = !--r->refs;

	pthread_mutex_unlock(&r->lock);
	if (!is_last)
		return;
	pthread_cond_destroy(&r->call_ended);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static void *resolve_main(void *arg)
{
	struct nofi_resolve *r = arg;
	struct nofi_addrs addrs = { 0 };
	struct nofi_err err = { 0 };

	lookup(r->host, r->port, &addrs, &err);
	pthread_mutex_lock(&r->lock);
	if (!r->is_cancelled) {
		r->thread = pthread_self();
		r->in_call = true;
		pthread_mutex_unlock(&r->lock);
		r->fn(r->arg, &addrs, &err);
		pthread_mutex_lock(&r->lock);
		r->in_call = false;
		pthread_cond_broadcast(&r->call_ended);
	}
	put_unlock(r);
	return NULL;
}

/* Signals belong to the program's own threads: its handlers must not run in ours. */
static int start_thread(struct nofi_resolve *r)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int e;

	e = pthread_attr_init(&attr);
	if (e)
		return -e;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	e = pthread_create(&thread, &attr, resolve_main, r);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -e;
}

int nofi_resolve_start(const char *host, const char *port, nofi_resolve_fn *fn, void *arg,
		       struct nofi_resolve **out, struct nofi_err *err)
{
	struct nofi_resolve *r;
	int code;

	if (!*host || strlen(host) >= sizeof(r->host))
		return nofi_err_set(err, -EINVAL, "host name: %s", *host ? "too long" : "empty");
	if (parse_port(port) <= 0)
		return nofi_err_set(err, -EINVAL, "port %.32s: not a number from 1 to 65535", port);
	r = calloc(1, sizeof(*r));
	if (!r)
		return nofi_err_set(err, -ENOMEM, "host name %.255s: out of memory", host);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->call_ended, NULL);
	r->refs = 2;
	r->fn = fn;
	r->arg = arg;
	snprintf(r->host, sizeof(r->host), "%s", host);
	snprintf(r->port, sizeof(r->port), "%d", parse_port(port));

	*out = r;	/* before fn can run: it may look at it */
	code = start_thread(r);
	if (code < 0) {
		*out = NULL;
		pthread_mutex_lock(&r->lock);
		r->refs = 1;
		put_unlock(r);
		return nofi_err_set(err, code, "host name %.255s: cannot start a thread to look it "
				    "up: %s; an address needs none", host, strerror(-code));
	}
	return 0;
}

void nofi_resolve_cancel(struct nofi_resolve *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->is_cancelled = true;
	/* From inside fn itself there is nothing to wait for. */
	while (r->in_call && !pthread_equal(r->thread, pthread_self()))
		pthread_cond_wait(&r->call_ended, &r->lock);
	put_unlock(r);
}
