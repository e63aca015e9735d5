/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ctrl/ident.h"
#include "ctrl/mdns.h"
#include "mptcp/sock.h"
#include "opts.h"

/* "tcp", also among others: "roce,tcp". */
static bool names_tcp(const char *value, size_t len)
{
	while (len) {
		const char *comma = memchr(value, ',', len);
		size_t n = comma ? (size_t)(comma - value) : len;

		if (n == 3 && !strncasecmp(value, "tcp", 3))
			return true;
		value += comma ? n + 1 : n;
		len -= comma ? n + 1 : n;
	}
	return false;
}

static void take_nqn(struct nofi_mdns_raw *raw, const char *value, size_t len)
{
	if (!len || len > NOFI_NQN_MAX || len < 4 || memcmp(value, "nqn.", 4))
		return;
	for (size_t i = 0; i < len; i++)
		if (value[i] <= 0x20 || value[i] > 0x7e)
			return;
	memcpy(raw->nqn, value, len);
	raw->nqn[len] = '\0';
}

void nofi_mdns_txt(struct nofi_mdns_raw *raw, const uint8_t *data, size_t len)
{
	const char *s = (const char *)data;
	const char *eq = len ? memchr(s, '=', len) : NULL;
	size_t key, n;

	if (!eq)
		return;
	key = (size_t)(eq - s);
	n = len - key - 1;
	/* RFC 6763: keys have no case, and the first of a kind counts. */
	if (key == 1 && (*s == 'p' || *s == 'P'))
		raw->is_other |= !names_tcp(eq + 1, n);
	else if (key == 3 && !strncasecmp(s, "nqn", 3) && !raw->nqn[0])
		take_nqn(raw, eq + 1, n);
}

static bool is_known(const struct nof_mdns_list *list, const struct nof_mdns_service *s)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct nof_mdns_service *t = &list->services[i];

		if (!strcmp(t->traddr, s->traddr) && !strcmp(t->trsvcid, s->trsvcid) &&
		    !strcmp(t->subnqn, s->subnqn))
			return true;
	}
	return false;
}

/* A link-local address means nothing without its interface. */
static bool put_address(struct nof_mdns_service *s, const struct nofi_mdns_raw *raw)
{
	struct nofi_addrs a;
	const struct sockaddr_in6 *in6 = (const void *)&a.addr[0].sa;

	memset(&a, 0, sizeof(a));
	if (strlen(raw->traddr) >= sizeof(s->traddr) || strchr(raw->traddr, '%') ||
	    nofi_resolve_numeric(raw->traddr, "1", &a) != 1)
		return false;
	strcpy(s->traddr, raw->traddr);
	if (a.addr[0].sa.ss_family != AF_INET6 || !IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr))
		return true;
	if (!raw->iface[0] || strlen(raw->traddr) + strlen(raw->iface) + 2 > sizeof(s->traddr))
		return false;
	strcat(s->traddr, "%");
	strcat(s->traddr, raw->iface);
	return true;
}

int nofi_mdns_add(struct nof_mdns_list *list, const struct nofi_mdns_raw *raw)
{
	struct nof_mdns_service s, *more;

	memset(&s, 0, sizeof(s));
	if (raw->is_other || !raw->port || list->count == NOFI_MDNS_MAX || !put_address(&s, raw))
		return 0;
	nofi_text_copy(s.name, (const uint8_t *)raw->name,
		       strnlen(raw->name, sizeof(s.name) - 1));
	nofi_text_copy(s.host, (const uint8_t *)raw->host,
		       strnlen(raw->host, sizeof(s.host) - 1));
	nofi_text_copy(s.iface, (const uint8_t *)raw->iface,
		       strnlen(raw->iface, sizeof(s.iface) - 1));
	snprintf(s.trsvcid, sizeof(s.trsvcid), "%u", raw->port);
	strcpy(s.subnqn, raw->nqn[0] ? raw->nqn : NOF_DISCOVERY_NQN);
	if (is_known(list, &s))
		return 0;
	more = realloc(list->services, (list->count + 1) * sizeof(s));
	if (!more)
		return -ENOMEM;
	list->services = more;
	list->services[list->count++] = s;
	return 0;
}

void nof_mdns_free(struct nof_mdns_list *list)
{
	if (!list)
		return;
	free(list->services);
	free(list);
}

int nof_mdns_service_opts(const struct nof_mdns_service *service, const struct nof_opts *base,
			  struct nof_opts *out)
{
	if (!service || !base || !out)
		return nofi_fail(-EINVAL, "nof_mdns_service_opts: service, base and out must not "
				 "be NULL");
	if (base->size < offsetof(struct nof_opts, pcap))
		return nofi_fail(-EINVAL, "nof_mdns_service_opts: base->size is %zu; call "
				 "nof_opts_init() first", base->size);
	memmove(out, base, base->size);
	strcpy(out->traddr, service->traddr);
	strcpy(out->trsvcid, service->trsvcid);
	strcpy(out->subnqn, service->subnqn);
	return 0;
}
