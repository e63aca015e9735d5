/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Discovery services announced by multicast DNS (TP8009).
 *
 *	mdns.c        nof_mdns_browse(): a thread for each browse, as for each name
 *	mdns_list.c   what was announced, made safe. Pure
 *	mdns_avahi.c  asks the Avahi daemon; only where its headers were at build time
 */
#ifndef NOF_CTRL_MDNS_H
#define NOF_CTRL_MDNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "nof.h"

enum { NOFI_MDNS_MAX = 256 };	/* services of one browse; more are ignored */

/* One announcement, as it came: nothing of it is trusted. */
struct nofi_mdns_raw {
	const char *name;		/* of the instance */
	const char *host;
	const char *traddr;		/* numeric, as the daemon formatted it */
	const char *iface;		/* "" = unknown */
	uint16_t port;
	/* From the TXT record, nofi_mdns_txt(). */
	bool is_other;			/* p names transports, and TCP is not among them */
	char nqn[224];			/* "" = none that can be one */
};

/* Takes one string "key=value" of a TXT record. */
void nofi_mdns_txt(struct nofi_mdns_raw *raw, const uint8_t *data, size_t len);
/* Adds it, unless it is not for us or there already. −ENOMEM. */
int nofi_mdns_add(struct nof_mdns_list *list, const struct nofi_mdns_raw *raw);

/*
 * Asks until all have answered, at most timeout_ms; sleeps at most 100 ms before it looks
 * at is_cancelled(arg) again. Blocks: for a thread of its own.
 */
int nofi_mdns_ask(uint32_t timeout_ms, bool (*is_cancelled)(void *arg), void *arg,
		  struct nof_mdns_list *list, struct nofi_err *err);

#endif
