/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a controller says about itself and its namespaces, judged. Pure
 * functions over the pages it sent: every number is validated here before
 * anything is computed from it, and every string made printable.
 */
#ifndef NOF_CTRL_IDENT_H
#define NOF_CTRL_IDENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "nof.h"

struct nofi_ns_ident;

enum {
	NOFI_PAGE = 4096,		/* size of every Identify page */
	NOFI_NSIDS_PER_PAGE = 1024,	/* CNS 02 */
	NOFI_NSIDS_MAX = 16384,		/* active namespaces we remember; more are ignored */
	/*
	 * Data of one command when the controller names no limit (MDTS 0) or a
	 * larger one. 1 MiB is what kernels send, so every target has met it; larger
	 * requests are split and travel side by side.
	 */
	NOFI_TRANSFER_MAX = 1 << 20,
};

/* What Identify Controller is judged against. */
struct nofi_ident_ctx {
	uint16_t cntlid;		/* the answer to Connect (F-5) */
	uint8_t mpsmin;			/* CAP.MPSMIN, 0..15: units of MDTS are 2^(12+mpsmin) */
	bool is_discovery_nqn;		/* connected to the well-known discovery NQN */
	bool wants_keep_alive;		/* keep_alive_tmo is not 0 */
};

/* Identify Controller, validated. */
struct nofi_ctrl_ident {
	char subnqn[224];
	char model[41];
	char serial[21];
	char firmware[9];
	bool is_discovery;
	bool has_volatile_cache;	/* VWC b0 */
	bool has_mdts;			/* MDTS is not 0 */
	uint8_t dctype;			/* of a discovery controller: 1 direct, 2 central (CDC) */
	uint8_t aerl;			/* 0's based: outstanding AERs allowed */
	uint8_t acl;			/* 0's based: outstanding Aborts allowed */
	bool has_disconnect;		/* OFCS b0: Disconnect on I/O queues */
	bool has_tbkas;			/* CTRATT b6: every command counts as keep alive */
	uint16_t cqt_ms;		/* until a controller without keep alive has stopped */
	uint32_t crdt_ms[3];		/* retry delays that CRD 1..3 of a status name, 0 = none */
	uint16_t maxcmd;		/* commands per I/O queue, 0 = not said */
	uint16_t oncs;
	uint16_t oacs;
	uint16_t fuses;
	uint16_t ocfs;			/* copy descriptor formats, a bit each */
	uint8_t lpa;
	uint8_t fwug;			/* firmware piece: units of 4 KiB; 0: not said, FFh: any */
	uint8_t fna;
	uint16_t awun, awupf, acwu;	/* 0's based blocks: atomic writes, with power fail,
					   compare and write */
	uint32_t sanicap;
	uint32_t ver;			/* VER, 0 when not said */
	uint32_t nn;
	uint32_t oaes;
	uint32_t ctratt;
	uint32_t rtd3e_us;
	uint32_t kas_ms;		/* keep alive granularity, 0 = no keep alive */
	uint32_t incapsule;		/* data bytes of an I/O capsule, ≤ NOFI_TRANSFER_MAX */
	uint32_t max_transfer;		/* bytes, power of two, 4096..NOFI_TRANSFER_MAX */
	bool has_ana;			/* CMIC b3: access states differ (5.3) */
	uint8_t anatt;			/* seconds that a change of state may take */
	uint32_t anagrpmax;		/* highest ANA group */
	uint32_t nanagrpid;		/* how many there can be */
};

/* 0, −EPROTO (impossible) or −ENOTSUP (possible, not supported here). */
int nofi_ident_ctrl(const uint8_t page[NOFI_PAGE], const struct nofi_ident_ctx *ctx,
		    struct nofi_ctrl_ident *out, struct nofi_err *err);

/*
 * One page of the active namespace list (CNS 02) that starts behind prev. Copies
 * at most max ids; returns how many the page has, or −EPROTO unless they ascend.
 */
int nofi_ident_nslist(const uint8_t page[NOFI_PAGE], uint32_t prev, uint32_t *ids, size_t max,
		      struct nofi_err *err);

/*
 * Identify Namespace (CNS 00) into *ns, whose nsid is set: geometry, features and
 * the limits that follow from the controller's. −ENODEV: inactive; −ENOTSUP;
 * −EPROTO. Identifiers are those of CNS 00 until nofi_ident_descs() names others.
 */
int nofi_ident_ns(const uint8_t page[NOFI_PAGE], const struct nofi_ctrl_ident *ctrl,
		  struct nofi_ns_ident *ns, struct nofi_err *err);

/* Namespace Identification Descriptors (CNS 03) into *ns: ids and csi. 0 or −EPROTO. */
int nofi_ident_descs(const uint8_t page[NOFI_PAGE], struct nofi_ns_ident *ns, struct nofi_err *err);

/* NVM command set limits of the controller (CNS 06, CSI 0). All zeroes: none were said. */
struct nofi_nvm_limits {
	uint8_t vsl, wusl;		/* verify, write uncorrectable: as wzsl */
	uint8_t wzsl;			/* 2^wzsl units of 2^(12+mpsmin) bytes, 0 = none */
	uint8_t dmrl;			/* ranges, 0 = none */
	uint32_t dmrsl;			/* blocks of a range, 0 = none */
	uint64_t dmsl;			/* blocks of a command, 0 = none */
};
void nofi_ident_nvm(const uint8_t page[NOFI_PAGE], struct nofi_nvm_limits *out);

/* Narrows the limits of *ns, filled by nofi_ident_ns(). */
void nofi_ns_apply_limits(struct nofi_ns_ident *ns, const struct nofi_nvm_limits *lim,
			  uint8_t mpsmin);

/* One 1024-byte entry of the discovery log (F-31). */
void nofi_discovery_decode(const uint8_t raw[1024], struct nof_discovery_entry *out);

/* Copies a blank or NUL padded field: printable ASCII, others become '?'. dst has len+1 bytes. */
void nofi_text_copy(char *dst, const uint8_t *src, size_t len);

/*
 * HOST, or HOST:PORT, as it stands in a URI: [] around IPv6. port is for opts without one; NULL:
 * none is shown then. Returns buf.
 */
const char *nofi_text_host(const struct nof_opts *opts, const char *port, char *buf, size_t len);

/* The namespace a user names. */
enum nofi_ns_key { NOFI_NS_ANY, NOFI_NS_NSID, NOFI_NS_UUID, NOFI_NS_NGUID, NOFI_NS_EUI64 };
struct nofi_ns_name {
	enum nofi_ns_key key;
	uint32_t nsid;
	uint8_t id[16];			/* big-endian as on the wire; EUI64 uses 8 */
};

/* "" or NULL: ANY. −EINVAL with the fault. */
int nofi_ns_name_parse(const char *text, struct nofi_ns_name *out, struct nofi_err *err);
bool nofi_ns_name_matches(const struct nofi_ns_name *name, const struct nofi_ns_ident *ns);

/* 36 characters to 16 bytes; false when it is not a UUID. */
bool nofi_uuid_parse(const char *text, uint8_t out[16]);
void nofi_uuid_format(const uint8_t in[16], char out[37]);

#endif
