/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who this host is: host NQN and host id (F-3). Both have to be the same each
 * time, and one host NQN has one host id: targets tie access, reservations and
 * authentication to them. Where they come from, first that exists:
 *
 *	host NQN  option, /etc/nvme/hostnqn, a UUID derived from the machine's id,
 *	          one made by libnvme (from firmware, or random)
 *	host id   option, the UUID inside the host NQN, /etc/nvme/hostid,
 *	          a UUID derived from the host NQN
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nvme/fabrics.h>
#include <openssl/evp.h>

#include "ctrl/ident.h"
#include "opts.h"

#define UUID_NQN "nqn.2014-08.org.nvmexpress:uuid:"

static bool is_zero_uuid(const uint8_t id[16])
{
	static const uint8_t zero[16];

	return !memcmp(id, zero, 16);
}

int nofi_hostnqn_check(const char *nqn, const char *what, struct nofi_err *err)
{
	size_t len = strlen(nqn);
	uint8_t id[16];
	static const char form[] = "nqn.dddd-dd.";

	if (!len || len > NOFI_NQN_MAX)
		return nofi_err_set(err, -EINVAL, "%s has %zu characters; an NQN has 1 to %d", what,
				    len, NOFI_NQN_MAX);
	if (!strncmp(nqn, UUID_NQN, strlen(UUID_NQN))) {
		if (!nofi_uuid_parse(nqn + strlen(UUID_NQN), id) || is_zero_uuid(id))
			return nofi_err_set(err, -EINVAL,
					    "%s \"%s\": a UUID (8-4-4-4-12 hex digits, not "
					    "all zero) has to follow \"uuid:\"",
					    what, nqn);
		return 0;
	}
	for (size_t i = 0; form[i]; i++)
		if (form[i] == 'd' ? !isdigit((unsigned char)nqn[i]) : nqn[i] != form[i])
			return nofi_err_set(err, -EINVAL,
					    "%s \"%s\": an NQN is nqn.YYYY-MM.DOMAIN:NAME "
					    "or %sUUID; character %zu does not fit",
					    what, nqn, UUID_NQN, i + 1);
	if (len == sizeof(form) - 1)
		return nofi_err_set(err, -EINVAL, "%s \"%s\": a domain name has to follow the date",
				    what, nqn);
	return 0;
}

void nofi_uuid_derive(const char *purpose, const char *text, char out[37])
{
	unsigned char md[EVP_MAX_MD_SIZE] = { 0 };
	char in[512];
	int n = snprintf(in, sizeof(in), "libnof %s %s", purpose, text);

	EVP_Digest(in, (size_t)n < sizeof(in) ? (size_t)n : sizeof(in) - 1, md, NULL, EVP_sha256(),
		   NULL);
	md[6] = (md[6] & 0x0f) | 0x80;	/* version 8: made by the application's own rule */
	md[8] = (md[8] & 0x3f) | 0x80;	/* variant */
	nofi_uuid_format(md, out);
}

/* The id is a secret of the machine (machine-id(5)): only a digest of it leaves. */
static bool machine_nqn(char *out, size_t size)
{
	static const char *const paths[] = { "/etc/machine-id", "/var/lib/dbus/machine-id" };
	char id[64], uuid[37];

	for (size_t i = 0; i < 2; i++) {
		FILE *f = fopen(paths[i], "re");
		bool ok = f && fgets(id, sizeof(id), f);

		if (f)
			fclose(f);
		if (!ok)
			continue;
		id[strcspn(id, "\n")] = '\0';
		if (strlen(id) != 32 || strspn(id, "0123456789abcdef") != 32 ||
		    strspn(id, "0") == 32)
			continue;	/* "uninitialized", or damaged */
		nofi_uuid_derive("host", id, uuid);
		snprintf(out, size, UUID_NQN "%s", uuid);
		return true;
	}
	return false;
}

/* Takes over a string of libnvme, without the line end older files carry. */
static bool take(char *s, char *out, size_t size)
{
	bool ok;

	if (!s)
		return false;
	s[strcspn(s, "\r\n")] = '\0';
	ok = s[0] && strlen(s) < size;
	if (ok)
		strcpy(out, s);
	free(s);
	return ok;
}

static int find_hostnqn(struct nof_opts *o, struct nofi_err *err)
{
	if (o->hostnqn[0])
		return nofi_hostnqn_check(o->hostnqn, "hostnqn", err);
	if (take(nvmf_hostnqn_from_file(), o->hostnqn, sizeof(o->hostnqn)))
		return nofi_hostnqn_check(o->hostnqn, "/etc/nvme/hostnqn:", err);
	if (machine_nqn(o->hostnqn, sizeof(o->hostnqn)))
		return 0;
	/* What firmware says has been seen malformed: checked like the rest. */
	if (take(nvmf_hostnqn_generate(), o->hostnqn, sizeof(o->hostnqn)))
		return nofi_hostnqn_check(o->hostnqn, "the generated hostnqn", err);
	return nofi_err_set(err, -ENOENT,
			    "this host has no name: there is neither /etc/nvme/hostnqn "
			    "nor /etc/machine-id; set hostnqn");
}

static int find_hostid(struct nof_opts *o, struct nofi_err *err)
{
	const char *from = "hostid";
	uint8_t id[16];

	if (!o->hostid[0] && !strncmp(o->hostnqn, UUID_NQN, strlen(UUID_NQN)))
		strcpy(o->hostid, o->hostnqn + strlen(UUID_NQN));
	if (!o->hostid[0] && take(nvmf_hostid_from_file(), o->hostid, sizeof(o->hostid)))
		from = "/etc/nvme/hostid:";
	if (!o->hostid[0])
		nofi_uuid_derive("hostid", o->hostnqn, o->hostid);
	if (!nofi_uuid_parse(o->hostid, id))
		return nofi_err_set(err, -EINVAL, "%s \"%s\" is not a UUID (8-4-4-4-12 hex digits)",
				    from, o->hostid);
	if (is_zero_uuid(id))
		return nofi_err_set(err, -EINVAL, "%s \"%s\": a host id must not be zero", from,
				    o->hostid);
	return 0;
}

int nofi_hostid_resolve(struct nof_opts *opts, struct nofi_err *err)
{
	int r = find_hostnqn(opts, err);

	return r < 0 ? r : find_hostid(opts, err);
}
