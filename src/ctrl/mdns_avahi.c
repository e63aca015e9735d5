/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asks the Avahi daemon for services of type _nvme-disc._tcp, and each found for its
 * address and TXT record.
 *
 * The client library is loaded when the first browse wants it and stays: a program that
 * links libnof and never browses gets neither it nor D-Bus and what that pulls in.
 */
#include <avahi-client/client.h>
#include <avahi-client/lookup.h>
#include <avahi-common/error.h>
#include <avahi-common/simple-watch.h>
#include <dlfcn.h>
#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "ctrl/mdns.h"

#define LIBRARY "libavahi-client.so.3"
#define SERVICE_TYPE "_nvme-disc._tcp"

enum { SLEEP_MS = 100 };

/* What is used of the library, by its own types. */
#define FUNCTIONS(X)                                                                             \
	X(avahi_simple_poll_new) X(avahi_simple_poll_free) X(avahi_simple_poll_get)              \
	X(avahi_simple_poll_iterate) X(avahi_client_new) X(avahi_client_free)                    \
	X(avahi_client_errno) X(avahi_strerror) X(avahi_service_browser_new)                     \
	X(avahi_service_resolver_new) X(avahi_service_resolver_free) X(avahi_address_snprint)    \
	X(avahi_string_list_get_next) X(avahi_string_list_get_text) X(avahi_string_list_get_size)

#define DECLARE(name) static __typeof__(name) *p_##name;
FUNCTIONS(DECLARE)

struct ask {
	AvahiSimplePoll *poll;
	AvahiClient *client;
	struct nof_mdns_list *list;
	struct nofi_err *err;
	uint32_t resolving;		/* resolvers that have not answered */
	bool has_all;			/* the browser has told what there is for now */
};

static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;

static int load(struct nofi_err *err)
{
	static void *handle;
	const char *missing = NULL;
	int r = 0;

	pthread_mutex_lock(&load_lock);
	if (!handle) {
		void *h = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

#define LOAD(name)                                                                               \
	if (h && !(p_##name = (__typeof__(p_##name))dlsym(h, #name)))                            \
		missing = #name;
		FUNCTIONS(LOAD)
		if (h && !missing)
			handle = h;
	}
	if (!handle)
		r = nofi_err_set(err, -ENOSYS, "Avahi's client library (%s) cannot be used: %s; "
				 "install it (Debian: libavahi-client3)", LIBRARY,
				 missing ? missing : "it is not installed");
	pthread_mutex_unlock(&load_lock);
	return r;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void fail(struct ask *a, int avahi)
{
	if (a->err->code)
		return;
	switch (avahi) {
	case AVAHI_ERR_NO_DAEMON:
	case AVAHI_ERR_DISCONNECTED:
	case AVAHI_ERR_DBUS_ERROR:
		/* Without a bus it says that there is no daemon. */
		nofi_err_set(a->err, -ENOTCONN, "the Avahi daemon does not answer (%s); start it "
			     "(`systemctl start avahi-daemon`), and D-Bus if that is not running",
			     p_avahi_strerror(avahi));
		return;
	case AVAHI_ERR_ACCESS_DENIED:
		nofi_err_set(a->err, -EACCES, "the Avahi daemon does not permit it to this user");
		return;
	case AVAHI_ERR_NO_MEMORY:
		nofi_err_set(a->err, -ENOMEM, "out of memory");
		return;
	}
	nofi_err_set(a->err, -EIO, "the Avahi daemon reports: %s; see its log",
		     p_avahi_strerror(avahi));
}

static void resolved(AvahiServiceResolver *r, AvahiIfIndex interface, AvahiProtocol protocol,
		     AvahiResolverEvent event, const char *name, const char *type,
		     const char *domain, const char *host, const AvahiAddress *addr,
		     uint16_t port, AvahiStringList *txt, AvahiLookupResultFlags flags, void *arg)
{
	struct ask *a = arg;
	char text[AVAHI_ADDRESS_STR_MAX], iface[IF_NAMESIZE] = "";
	struct nofi_mdns_raw raw = { .name = name ? name : "", .host = host ? host : "",
				     .traddr = text, .iface = iface, .port = port };

	/* One that does not resolve is one less; it fails nothing. */
	if (event == AVAHI_RESOLVER_FOUND && addr) {
		p_avahi_address_snprint(text, sizeof(text), addr);
		if (interface > 0 && !if_indextoname((unsigned)interface, iface))
			iface[0] = '\0';
		for (; txt; txt = p_avahi_string_list_get_next(txt))
			nofi_mdns_txt(&raw, p_avahi_string_list_get_text(txt),
				      p_avahi_string_list_get_size(txt));
		if (nofi_mdns_add(a->list, &raw) < 0)
			nofi_err_set(a->err, -ENOMEM, "out of memory");
	}
	p_avahi_service_resolver_free(r);
	a->resolving--;
}

static void found(AvahiServiceBrowser *b, AvahiIfIndex interface, AvahiProtocol protocol,
		  AvahiBrowserEvent event, const char *name, const char *type, const char *domain,
		  AvahiLookupResultFlags flags, void *arg)
{
	struct ask *a = arg;

	switch (event) {
	case AVAHI_BROWSER_NEW:
		if (a->resolving >= NOFI_MDNS_MAX)
			return;
		if (p_avahi_service_resolver_new(a->client, interface, protocol, name, type,
						 domain, protocol, 0, resolved, a))
			a->resolving++;
		return;
	case AVAHI_BROWSER_ALL_FOR_NOW:
		a->has_all = true;
		return;
	case AVAHI_BROWSER_FAILURE:
		fail(a, p_avahi_client_errno(a->client));
		return;
	case AVAHI_BROWSER_REMOVE:
	case AVAHI_BROWSER_CACHE_EXHAUSTED:
		return;
	}
}

static void client_state(AvahiClient *client, AvahiClientState state, void *arg)
{
	if (state == AVAHI_CLIENT_FAILURE)
		fail(arg, p_avahi_client_errno(client));
}

static void run(struct ask *a, uint64_t until, bool (*is_cancelled)(void *arg), void *arg)
{
	int failure = 0;

	a->poll = p_avahi_simple_poll_new();
	if (!a->poll) {
		fail(a, AVAHI_ERR_NO_MEMORY);
		return;
	}
	a->client = p_avahi_client_new(p_avahi_simple_poll_get(a->poll), 0, client_state, a,
				       &failure);
	if (!a->client) {
		fail(a, failure);
		return;
	}
	if (!p_avahi_service_browser_new(a->client, AVAHI_IF_UNSPEC, AVAHI_PROTO_UNSPEC,
					 SERVICE_TYPE, NULL, 0, found, a)) {
		fail(a, p_avahi_client_errno(a->client));
		return;
	}
	while (!a->err->code && !(a->has_all && !a->resolving) && !is_cancelled(arg)) {
		uint64_t now = now_ms();

		if (now >= until)
			return;		/* what has answered by now is the answer */
		if (p_avahi_simple_poll_iterate(a->poll, until - now < SLEEP_MS ?
						(int)(until - now) : SLEEP_MS)) {
			fail(a, AVAHI_ERR_DISCONNECTED);
			return;
		}
	}
}

int nofi_mdns_ask(uint32_t timeout_ms, bool (*is_cancelled)(void *arg), void *arg,
		  struct nof_mdns_list *list, struct nofi_err *err)
{
	struct ask a = { .list = list, .err = err };

	err->code = 0;
	if (load(err) < 0)
		return err->code;
	run(&a, now_ms() + timeout_ms, is_cancelled, arg);
	if (a.client)
		p_avahi_client_free(a.client);
	if (a.poll)
		p_avahi_simple_poll_free(a.poll);
	return err->code;
}
