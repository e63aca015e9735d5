/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Options behind the public calls: one table of keys, checks, host identity.
 */
#ifndef NOF_OPTS_H
#define NOF_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "nof.h"

enum { NOFI_NQN_MAX = 223, NOFI_IO_QUEUES_LIMIT = 1024 };

/* nof_opts_set() with the sentence in *err. */
int nofi_opts_set(struct nof_opts *opts, const char *key, const char *value, struct nofi_err *err);

/* The value of a key as text; false when it is the default (then nothing is written). */
bool nofi_opts_get(const struct nof_opts *opts, const char *key, char *buf, size_t len);

/* Whether a key names a local file or changes this system: strangers must not choose it. */
bool nofi_opts_is_local_key(const char *key);

/* Checks in (of any size) and completes it into *out: defaults by NQN, host identity. */
int nofi_opts_resolve(const struct nof_opts *in, struct nof_opts *out, struct nofi_err *err);

/* F-3: form and length of a host NQN. what: "hostnqn", for the sentence. */
int nofi_hostnqn_check(const char *nqn, const char *what, struct nofi_err *err);

/* Fills opts->hostnqn and hostid where empty, checks both (F-3). */
int nofi_hostid_resolve(struct nof_opts *opts, struct nofi_err *err);

/* A UUID that is always the same for the same text (SHA-256, version 8 of RFC 9562). */
void nofi_uuid_derive(const char *purpose, const char *text, char out[37]);

#endif
