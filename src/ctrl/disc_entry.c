/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an entry of a discovery log leads to (F-31). It comes from the network: only
 * numeric addresses are taken, so that no log makes us ask name servers, and none
 * that mean "this machine, whichever" or a group.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/addrmap.h"
#include "ctrl/disc.h"
#include "opts.h"

enum { ADRFAM_IP4 = 1, ADRFAM_IP6 = 2, KEEP_ALIVE_MS = 5000 };

const char *nofi_disc_map(const struct nof_opts *opts)
{
	return opts->size >= offsetof(struct nof_opts, addr_map) + sizeof(opts->addr_map) ?
		       opts->addr_map : "";
}

/* A sentence begins with which entry it is about. */
__attribute__((format(printf, 4, 5)))
static int bad(struct nofi_disc_ref *ref, const struct nof_discovery_entry *e, int code,
	       const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return nofi_err_set(&ref->err, code, "\"%.80s\" at %.64s port %.8s: %s", e->subnqn,
			    e->traddr, e->trsvcid, text);
}

static const char *transport_name(uint8_t trtype)
{
	return trtype == 1 ? "RDMA" : trtype == 2 ? "Fibre Channel" :
	       trtype == 254 ? "the loop transport" : "an unknown transport";
}

/* Whether a host would send anything useful there. */
static bool is_unicast(const struct sockaddr_storage *sa)
{
	if (sa->ss_family == AF_INET) {
		uint32_t a = ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr);

		return a >> 24 && a < 0xe0000000u;
	}
	return !IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)sa)->sin6_addr) &&
	       !IN6_IS_ADDR_MULTICAST(&((const struct sockaddr_in6 *)sa)->sin6_addr);
}

static unsigned port_of(const struct nofi_addr *a)
{
	/* At the same place in both families. */
	return ntohs(((const struct sockaddr_in *)&a->sa)->sin_port);
}

void nofi_disc_ref_addr(struct nofi_disc_ref *ref)
{
	struct nofi_addrs a;

	memset(&a, 0, sizeof(a));
	/* A name is looked up when it is connected. */
	if (nofi_resolve_numeric(ref->traddr, ref->trsvcid, &a) == 1)
		ref->addr = a.addr[0];
}

/*
 * fe80::… of a log means the network where the log came from: the interface stands behind the %
 * of the address that was asked.
 */
static void add_interface(const struct nof_opts *opts, struct nofi_disc_ref *ref)
{
	const char *zone = strchr(opts->traddr, '%');
	size_t len = strlen(ref->traddr);
	struct in6_addr in6;

	if (zone && inet_pton(AF_INET6, ref->traddr, &in6) == 1 && IN6_IS_ADDR_LINKLOCAL(&in6) &&
	    len + strlen(zone) < sizeof(ref->traddr))
		strcpy(ref->traddr + len, zone);
}

static int take_address(const struct nof_discovery_entry *e, const struct nof_opts *opts,
			struct nofi_disc_ref *ref)
{
	struct nofi_addrs a;
	int family = e->adrfam == ADRFAM_IP4 ? AF_INET : AF_INET6;
	unsigned port;

	memset(&a, 0, sizeof(a));
	if (strlen(e->traddr) >= sizeof(ref->traddr) || strchr(e->traddr, '%') ||
	    nofi_resolve_numeric(e->traddr, "0", &a) != 1)
		return bad(ref, e, -EPROTO, "the address is not a numeric IP address; names from a "
			   "discovery log are not looked up; correct the target's configuration");
	if (a.addr[0].sa.ss_family != family)
		return bad(ref, e, -EPROTO, "the address is not of the family that the entry names "
			   "(ADRFAM %u); the target is at fault", e->adrfam);
	if (!is_unicast(&a.addr[0].sa))
		return bad(ref, e, -EPROTO, "the address names no single host; the target should "
			   "be told the address that hosts reach it by");
	memset(&a, 0, sizeof(a));
	port = nofi_resolve_numeric(e->traddr, e->trsvcid, &a) == 1 ? port_of(&a.addr[0]) : 0;
	if (!port)
		return bad(ref, e, -EPROTO,
			   "the port (TRSVCID) is not a number from 1 to 65535; the target is at "
			   "fault");
	strcpy(ref->traddr, e->traddr);
	snprintf(ref->trsvcid, sizeof(ref->trsvcid), "%u", port);
	if (!nofi_addrmap_apply(nofi_disc_map(opts), ref->traddr, sizeof(ref->traddr),
				ref->trsvcid, sizeof(ref->trsvcid)))
		add_interface(opts, ref);
	nofi_disc_ref_addr(ref);
	return 0;
}

int nofi_disc_ref(const struct nof_discovery_entry *e, const struct nof_opts *opts,
		  struct nofi_disc_ref *ref)
{
	memset(ref, 0, sizeof(*ref));
	ref->subtype = e->subtype;
	ref->treq = e->treq;
	ref->eflags = e->eflags;
	snprintf(ref->traddr, sizeof(ref->traddr), "%.255s", e->traddr);
	snprintf(ref->trsvcid, sizeof(ref->trsvcid), "%.31s", e->trsvcid);
	snprintf(ref->nqn, sizeof(ref->nqn), "%.223s", e->subnqn);
	if (e->trtype != NOFI_TRTYPE_TCP)
		return bad(ref, e, -EPROTONOSUPPORT, "is reached over %s (TRTYPE %u), this "
			   "library speaks TCP", transport_name(e->trtype), e->trtype);
	if (e->adrfam != ADRFAM_IP4 && e->adrfam != ADRFAM_IP6)
		return bad(ref, e, -EAFNOSUPPORT, "has neither an IPv4 nor an IPv6 address "
			   "(ADRFAM %u)", e->adrfam);
	if (!e->subnqn[0] || strlen(e->subnqn) > NOFI_NQN_MAX)
		return bad(ref, e, -EPROTO, "its NQN has %zu characters, 1 to %d are possible; "
			   "the target is at fault", strlen(e->subnqn), NOFI_NQN_MAX);
	if ((e->treq & NOFI_TREQ_SECURE_MASK) == NOFI_TREQ_SECURE_REQUIRED)
		return bad(ref, e, -ENOTSUP, "demands a secure channel (TLS), which this version "
			   "does not have; allow plain TCP at that port of the target");
	return take_address(e, opts, ref);
}

int nof_discover_entry_opts(const struct nof_discovery_entry *e, const struct nof_opts *base,
			    struct nof_opts *out)
{
	struct nofi_disc_ref ref;
	struct nofi_err err;
	size_t size;

	if (!e || !base || !out)
		return nofi_fail(-EINVAL, "nof_discover_entry_opts: entry, base and out must not "
				 "be NULL");
	if (base->size < offsetof(struct nof_opts, pcap))
		return nofi_fail(-EINVAL, "nof_discover_entry_opts: base->size is %zu; call "
				 "nof_opts_init() first", base->size);
	if (nofi_addrmap_check(nofi_disc_map(base), &err) < 0)
		return nofi_fail(-EINVAL, "nof_discover_entry_opts: %s", err.text);
	if (nofi_disc_ref(e, base, &ref) < 0)
		return nofi_fail(ref.err.code, "nof_discover_entry_opts: %s", ref.err.text);
	size = base->size;
	memmove(out, base, size);
	strcpy(out->traddr, ref.traddr);
	strcpy(out->trsvcid, ref.trsvcid);
	strcpy(out->subnqn, ref.nqn);
	if (!(e->treq & NOFI_TREQ_NO_SQFLOW))
		out->disable_sqflow = false;
	if (e->subtype == NOFI_SUBTYPE_NVM && !out->keep_alive_tmo_ms)
		out->keep_alive_tmo_ms = KEEP_ALIVE_MS;
	return 0;
}

/* ---- limits of a walk ---- */

static const struct nof_discover_opts defaults = {
	.size = sizeof(struct nof_discover_opts),
	.max_depth = 4,
	.max_services = NOFI_DISC_SERVICES_MAX,
	.max_parallel = 8,
	.max_records = 16384,
	.service_timeout_ms = 15000,
	.timeout_ms = 60000,
	.reread_ms = 60000,
};

void nof_discover_opts_init_sized(struct nof_discover_opts *opts, size_t size)
{
	if (!opts || size < sizeof(opts->size))
		return;
	memset(opts, 0, size);
	memcpy(opts, &defaults, size < sizeof(defaults) ? size : sizeof(defaults));
	opts->size = size;
}

int nofi_disc_opts(const struct nof_discover_opts *in, struct nof_discover_opts *out,
		   struct nofi_err *err)
{
	enum { DAY_MS = 86400000 };
	struct nof_discover_opts o = defaults;
	const uint32_t known = NOF_DISCOVER_PORT_LOCAL | NOF_DISCOVER_ALL_SUBSYSTEMS;

	if (in && in->size < offsetof(struct nof_discover_opts, reread_ms))
		return nofi_err_set(err, -EINVAL, "dopts->size is %zu; call "
				    "nof_discover_opts_init() first", in->size);
	if (in)
		memcpy(&o, in, in->size < sizeof(o) ? in->size : sizeof(o));
	o.size = sizeof(o);
	const struct { const char *name; uint32_t value, min, max; } limits[] = {
		{ "max_depth", o.max_depth, 0, NOFI_DISC_SERVICES_MAX },
		{ "max_services", o.max_services, 1, NOFI_DISC_SERVICES_MAX },
		{ "max_parallel", o.max_parallel, 1, NOFI_DISC_SERVICES_MAX },
		{ "max_records", o.max_records, 1, NOFI_DISC_RECORDS_MAX },
		{ "service_timeout_ms", o.service_timeout_ms, 1, DAY_MS },
		{ "timeout_ms", o.timeout_ms, 1, DAY_MS },
		{ "reread_ms", o.reread_ms, 1, DAY_MS },
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		if (limits[i].value < limits[i].min || limits[i].value > limits[i].max)
			return nofi_err_set(err, -EINVAL, "%s is %u, it can be from %u to %u",
					    limits[i].name, limits[i].value, limits[i].min,
					    limits[i].max);
	if (o.flags & ~known)
		return nofi_err_set(err, -EINVAL, "flags are %#x; known are %#x", o.flags, known);
	*out = o;
	return 0;
}
