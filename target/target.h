/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nvmf-target: a small userspace NVMe/TCP target for the quick start, the
 * benchmarks and the tests. One thread; the way of a command:
 *
 *   listen.c ─► conn.c  bytes ─► PDU, checked (conn_check.c)
 *                 │ CapsuleCmd                 │ H2CData      (fast.c: the simplest reads)
 *                 ▼                            ▼
 *               cmd.c   struct cmd, SGL, R2T ──► sink (ns.c)
 *                 ▼
 *               fabrics.c / admin.c / nvm.c    exec, result
 *                 │          │          └──► fused.c copy.c resv.c zns.c block.c (pi.c)
 *                 │          └──► identify.c log.c nsmgmt.c format.c sanitize.c firmware.c …
 *                 ▼
 *               tx.c    C2HData, CapsuleResp ─► one sendmsg per batch
 *                 ▲
 *               fault.c, fault_run.c           rules that make it misbehave
 *
 * It shares only the layouts and CRC32C of src/pdu: encoder and checks are its
 * own, so that a mistake in the host's is not mirrored here.
 */
#ifndef TARGET_TARGET_H
#define TARGET_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "loop.h"
#include "pdu/wire.h"

enum {
	NQN_MAX = 223,			/* F-3 */
	HEAD_MAX = NOFI_TERM_MAX_PLEN,	/* header bytes a connection keeps while parsing */
	MAX_QUEUES = 1024,		/* I/O queues of one controller, at most */
	MAX_ENTRIES = 4096,		/* entries of a queue; bounds TTAG and memory */
	MAX_R2T = 16,			/* R2Ts of one command; TTAG = slot * 16 + index */
	AER_MAX = 4,			/* AERL is this minus one */
	TX_BACKLOG = 8 << 20,		/* copied output per connection before reads wait */
	PAGE = 4096,			/* CAP.MPSMIN, the unit of MDTS */
	ANA_GROUPS = 160,		/* ANAGRPMAX: a log of more than a page */
	CID_BUCKETS = 64,		/* a power of two */
	MIN_NN = 256,			/* NN of subsystems that may grow, at least */
};

#define DISCOVERY_NQN "nqn.2014-08.org.nvmexpress.discovery"
#define DEFAULT_NQN "nqn.2025-11.org.libnof:target"

/* The 15-bit status field (SCT<<8 | SC | DNR) with the bit hosts must honour. */
#define DNR 0x4000u
#define STATUS_TRANSIENT 0x22u	/* transient transport error: what a bad data digest gives (T-21) */
#define STATUS_MEDIA(sc) (0x200u | (sc))

enum ns_kind { NS_MEM, NS_FILE, NS_NULL };

/* Why a command may not simply move bytes; one test keeps the usual path short. */
enum ns_special {
	NS_PRIVATE = 1u << 0,		/* not attached to every host */
	NS_UNCOR = 1u << 1,		/* has blocks that were made unreadable */
	NS_RESERVED = 1u << 2,		/* a reservation is held */
	NS_PI = 1u << 3,		/* protection information is enabled */
	NS_ZONED = 1u << 4,
	NS_SANITIZING = 1u << 5,
	NS_BLOCKWISE = NS_PI | NS_ZONED,	/* read and written by block.c */
};

struct range {				/* of blocks */
	uint64_t start, end;
};

struct range_set {
	struct range *v;
	unsigned int n, cap;
};

struct host_ref {
	char nqn[NQN_MAX + 1];
	struct host_ref *next;
};

struct lba_format {
	uint8_t lbads;			/* log2 of the bytes of data */
	uint8_t ms;			/* bytes of metadata */
	uint8_t pif;			/* enum pi_guard */
};

struct ns {
	struct subsys *subsys;
	uint32_t nsid;
	uint32_t special;		/* enum ns_special */
	uint32_t anagrp;		/* ANA group, from 1 */
	enum ns_kind kind;
	struct lba_format first_format;	/* number 0 of its formats */
	uint8_t flbas;			/* number of the one in force; what follows from it: */
	uint8_t lbads;			/* log2 of the block size: 9 or 12 */
	bool is_readonly;
	uint32_t stride;		/* bytes of a block on the medium */
	uint64_t bytes, bytes_max;	/* its size now (a file: with metadata), and at first */
	uint64_t blocks;
	bool is_created;		/* by a host, of the capacity for that */
	uint8_t nmic;
	struct host_ref *hosts;		/* NS_PRIVATE: attached to these … */
	bool is_host_list_of_excluded;	/* … or to all but these */
	struct range_set uncor;		/* unreadable until they are written */
	uint16_t mssrl;			/* Copy: blocks of one range, of all, ranges less one */
	uint32_t mcl;
	uint8_t msrc;
	uint8_t acwu;			/* blocks of Compare and Write, less one */
	uint16_t ms;			/* metadata bytes of a block, behind its data */
	uint8_t pi_type;		/* 0: none */
	uint8_t pif;			/* enum pi_guard */
	bool is_pi_first;		/* at the start of the metadata, not its end */
	struct zns *zns;
	uint16_t atomic;		/* NAWUN, NAWUPF in blocks, 1's based; 0: not told */
	uint16_t atomic_boundary;	/* NABSN, NABSPF in blocks, 0: none */
	uint16_t atomic_offset;		/* NABO */
	struct resv *resv;		/* registrations, NULL: never any */
	uint8_t *map;			/* NS_MEM: the whole namespace, NORESERVE */
	size_t map_len;			/* what map was mapped with: a resize stays below */
	int fd;				/* NS_FILE */
	uint8_t nguid[16], eui64[8], uuid[16];	/* from NQN and NSID or given; 0: none */
	struct ns *next_dead;		/* removed: kept while something may refer to it */
};

enum { FW_SLOTS = 3, FW_REV_LEN = 8, FW_MAX = 4 << 20 };

struct firmware {
	char rev[FW_SLOTS][FW_REV_LEN];	/* 0 at its start: an empty slot */
	uint8_t active;			/* slot, from 1 */
	uint8_t next;			/* after a controller reset; 0: the same */
	uint8_t *image;			/* being downloaded */
	struct range_set have;		/* bytes of it */
};

struct subsys_ops {			/* background operations (sanitize.c) */
	struct timer sanitize, self_test;
	uint64_t sanitize_start, self_test_start;
	uint32_t sanitize_dw10;		/* of the last one */
	uint16_t sanitize_state;	/* SSTAT */
	uint8_t self_test_code;		/* running, 0: none */
	uint32_t self_test_nsid;
	uint8_t results[20 * 28];	/* as in log 06h, the newest first */
	unsigned int nresults;
};

struct subsys {
	char nqn[NQN_MAX + 1];
	char alias[NQN_MAX + 1];	/* discovery: the well-known name besides its own */
	char serial[21];
	bool is_discovery;
	struct ns **ns;			/* sorted by nsid */
	unsigned int nns;
	struct host_ref *hosts;		/* empty: any host may connect */
	struct ctrl *ctrls;
	struct firmware fw;
	struct subsys_ops ops;
	uint32_t generation;		/* counts namespaces that took the place of another */
	bool is_nssro;			/* CSTS.NSSRO: a subsystem reset has occurred */
	struct subsys *next;
};

enum tristate { OFF, ON };

/* The command line, fixed after start. */
struct options {
	bool is_mptcp;
	const char *congestion;		/* NULL: the system's */
	bool hdgst, ddgst;		/* agree when the host offers */
	bool success;			/* SUCCESS on the last C2HData where allowed (T-14) */
	bool spin;			/* --spin: never sleep */
	bool kato_check;
	bool vwc;
	bool verbose;
	uint32_t in_capsule;		/* bytes; IOCCSZ follows */
	uint32_t r2t;			/* R2Ts per command, at most */
	uint32_t r2t_size;		/* bytes per R2T, 0 = all at once */
	uint32_t c2h_size;		/* bytes per C2HData, 0 = all at once */
	uint32_t maxh2cdata;
	uint8_t cpda;
	uint8_t mdts;			/* power of two of PAGE, 0 = none */
	uint32_t queues;
	uint32_t queue_size;		/* entries */
	uint32_t max_conns;
	uint16_t cqt;			/* CQT, ms */
	uint16_t crdt[3];		/* CRDT1..3, units of 100 ms */
	uint8_t anatt;			/* seconds */
	uint8_t acl;			/* 0's based */
	bool tbkas;			/* any command keeps the association alive */
	uint16_t cntlid_min;		/* first controller id */
	uint8_t zasl;			/* power of two of PAGE, 0 = MDTS */
	uint64_t capacity;		/* of namespaces that hosts may make; 0: they may not */
	uint32_t op_time;		/* ms that a sanitize operation or self-test takes */
	int ready_fd;
	const char *control;		/* path of the control socket or NULL */
};

extern struct options opt;
extern struct subsys *subsystems;	/* the discovery subsystem is the last one */

struct stats {				/* since start; the control socket prints them */
	uint64_t accepted, closed, rejected;
	uint64_t commands, reads, writes, read_bytes, write_bytes;
	uint64_t rx_bytes, tx_bytes, sends;
	uint64_t h2c_term, c2h_term, digest_errors, kato_expired;
	uint32_t conns;
};
extern struct stats stats;

void verbose(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- cmd.c ---- */
struct conn;
struct cmd;

enum sink {				/* where the data of a write-direction command goes */
	SINK_DISCARD,
	SINK_WRITE,			/* into the namespace at ns_off */
	SINK_COMPARE,			/* against the namespace */
	SINK_BUF,			/* into .buf */
};

struct r2t {
	bool is_active;
	uint32_t offset, length;	/* R2TO, R2TL */
	uint32_t received;		/* bytes of it that arrived */
};

struct cmd {
	struct conn *conn;
	struct cmd *next, *prev;	/* in-use list of the connection, or free list (next) */
	struct cmd *same_bucket;	/* in use: the next one of conn.by_cid[cid % CID_BUCKETS] */
	void (*exec)(struct cmd *cmd);	/* when all data is here; ends in cmd_done() */
	uint8_t sqe[NOFI_SQE_LEN];
	uint16_t cid;
	uint16_t slot;			/* index, for TTAG */
	uint8_t opc;
	bool is_fabrics;
	bool is_incapsule;		/* data came in the capsule */
	bool is_parked;			/* AER, or held by a fault: may be aborted */
	bool is_muted;			/* a fault dropped it: no answer, data discarded */
	bool is_mismatch;		/* SINK_COMPARE found a difference */
	bool is_waiting;		/* on the wait list for output room */
	uint8_t fuse;			/* 1 first, 2 second half of a fused command */
	bool is_fused_ready;		/* waits for nothing but the other half */
	struct cmd *mate;		/* the other half */
	uint32_t delay_ms;		/* a fault: execute so much later */
	uint8_t dir;			/* bits 1:0 of the opcode: 1 to controller, 2 to host */
	enum sink sink;
	uint16_t status;		/* set early: the command fails once its data is gone */
	uint32_t len;			/* bytes the SGL describes */
	uint32_t received;		/* bytes of data received */
	uint32_t requested;		/* bytes covered by R2Ts */
	uint32_t dw0, dw1;		/* of the CQE */
	struct ns *ns;
	uint64_t ns_off;		/* bytes into the namespace */
	uint64_t slba;			/* of commands with a range */
	uint32_t nlb;			/* blocks, 1's based */
	uint8_t *buf;			/* SINK_BUF, .len bytes */
	struct r2t r2t[MAX_R2T];
	struct timer timer;		/* fault delay */
	struct cmd *wait_next;
};

/*
 * A CapsuleCmd arrived, incap_len bytes follow; its common header lies before sqe.
 * Returns the command if it takes that data, NULL if there is none or the connection died.
 */
struct cmd *cmd_start(struct conn *c, const uint8_t *sqe, uint32_t incap_len);
void cmd_incapsule_done(struct cmd *cmd, bool is_bad_digest);
void cmd_h2c_done(struct cmd *cmd, struct r2t *r, bool is_bad_digest);
/* Feeds payload at offset off of the command's data. */
void cmd_sink(struct cmd *cmd, uint32_t off, const void *data, uint32_t len);
/* Memory that payload at off may be received into directly, or NULL. */
void *cmd_sink_direct(struct cmd *cmd, uint32_t off);
void cmd_done(struct cmd *cmd, uint16_t status);
void cmd_go(struct cmd *cmd);		/* start after a delay */
/* Sends len bytes to the host as C2HData; then cmd_done(). is_stable: data outlives the send. */
void cmd_data_done(struct cmd *cmd, const void *data, uint32_t len, bool is_stable);
bool cmd_want_len(struct cmd *cmd, uint32_t len);	/* SGL length must be len */
bool cmd_alloc_buf(struct cmd *cmd);	/* SINK_BUF of .len bytes */
void cmd_wait_for_room(struct cmd *cmd);
void cmd_cancel_all(struct conn *c);	/* the connection is dead: no timer may fire */
void cmd_free_all(struct conn *c);	/* … and its memory goes */
struct cmd *cmd_find(struct conn *c, uint16_t cid);
void cmd_advance_sqhd(struct conn *c);
uint32_t sqe_dw(const struct cmd *cmd, unsigned int n);

/* ---- conn.c ---- */
enum conn_state {
	CONN_ICREQ,			/* waiting for ICReq */
	CONN_READY,
	CONN_TERM,			/* C2HTermReq sent: everything received is thrown away */
	CONN_CLOSING,			/* close once the output is drained */
	CONN_DEAD,			/* fd closed, memory goes at the end of the turn */
};

enum rx_state { RX_HEAD, RX_PAD, RX_DATA, RX_DDGST };

struct chunk {				/* output memory: headers and copied payload */
	struct chunk *next;
	uint64_t end;			/* stream position after its last byte */
	uint32_t size, used;
	uint8_t mem[];
};

struct tx {
	struct iovec *iov;		/* [head, n) is unsent */
	unsigned int head, n, cap;
	struct chunk *first, *last;	/* in stream order; last is being filled */
	uint64_t queued;		/* stream position after everything queued */
	uint64_t sent;			/* … handed to the kernel */
	uint64_t copied;		/* bytes held in chunks */
	bool is_blocked;		/* socket full: EPOLLOUT watched */
	uint64_t *resp_end;		/* ring: end positions of unsent responses; a power of 2 */
	unsigned int resp_head, resp_n, resp_cap;
};

/* What fault rules did to one connection (fault_run.c). */
struct conn_fault {
	uint32_t split;			/* bytes per send, 0 = off */
	uint64_t split_at;		/* stream position to pause at, once; 0 = off */
	uint32_t split_at_ms;		/* … for so long */
	uint32_t merge;			/* hold output until so many PDUs are queued */
	uint32_t merge_have;
	bool is_held;			/* no output until the timer fires */
	bool is_silent;			/* nothing is ever sent again */
	bool is_stalled;		/* nothing is ever read again */
	bool is_swapping;		/* swapped[] waits for the next PDU */
	uint8_t *swapped;		/* a PDU held back by swap */
	uint32_t swapped_len;
	uint64_t kill_at_tx;		/* stream position that ends it, 0 = off */
	uint8_t kill_how;		/* enum fault_verb */
	struct timer hold;
};

struct listener;

struct conn {
	struct io io;
	struct conn *next, *prev;	/* all connections */
	struct listener *port;		/* it came by; outlives it */
	bool is_paused;			/* control: neither read nor written */
	uint64_t id;			/* 1 for the first one accepted */
	enum conn_state state;
	bool is_mptcp;
	bool in_rx;			/* processing input: flush comes at the end */
	char peer[64];			/* for messages */
	char local[64];			/* address the host used: goes into the discovery log */
	char local_port[8];
	bool is_ipv6;
	struct timer timer;		/* handshake limit, then the linger after TermReq */

	bool hdgst, ddgst;		/* in force */
	uint8_t hpda, cpda;
	uint32_t maxr2t;		/* R2Ts per command: min(ours, host's) */

	enum rx_state rx;
	uint8_t head[HEAD_MAX];		/* header pieces that came one by one */
	uint32_t head_have;
	uint32_t rx_left;		/* bytes left of pad, data or digest */
	uint8_t rx_pad;			/* pad bytes before the data */
	uint8_t rx_type;
	uint32_t rx_data;		/* payload length of the PDU */
	uint32_t rx_off;		/* offset of the next payload byte in the command's data */
	uint32_t rx_crc;
	uint8_t rx_dgst[4];
	uint32_t batch;			/* reads answered by fast_read() in this turn */
	struct cmd *rx_cmd;		/* NULL: payload is discarded */
	struct r2t *rx_r2t;		/* H2CData */

	struct ctrl *ctrl;		/* after Connect */
	uint16_t qid;
	uint32_t entries;		/* of the submission queue */
	uint16_t sqhd;
	bool sqflow_off;		/* CATTR b2 */
	struct cmd **slots;		/* commands ever allocated, by slot */
	uint32_t nslots, slots_cap;
	struct cmd *free_cmds;
	struct cmd *used_cmds;
	struct cmd *by_cid[CID_BUCKETS];	/* the same, to find them */
	uint32_t nused;
	struct cmd *wait_head, **wait_tail;	/* reads waiting for output room */
	bool in_wait;
	struct cmd *fused_first;	/* came last, its second half is to come next */
	bool is_fused_failed;		/* … or it is over already */

	struct tx tx;
	struct conn_fault fault;
};

extern struct conn *conns;

void conn_accept(int fd, struct listener *l, const char *peer, const char *local,
		 const char *port, bool is_ipv6, bool is_mptcp);
void conn_close(struct conn *c, bool is_reset);
void conn_close_after_flush(struct conn *c);
/* Fatal error: C2HTermReq naming the offending header, then discard until the host closes. */
void conn_term(struct conn *c, uint16_t fes, uint32_t fei, const void *culprit, uint32_t len,
	       const char *what);
void conn_update_events(struct conn *c);
void conn_set_paused(struct conn *c, bool is_paused);
void conn_send_icresp(struct conn *c);
void conns_reap(void);
void conns_close_all(void);
int conn_rx_init(void);

/* conn_check.c: one received header against all rules; true or the connection is in CONN_TERM */
bool check_ch(struct conn *c, const uint8_t *h, uint32_t *need);
bool check_pdu(struct conn *c, const uint8_t *h);

/* ---- tx.c ---- */
uint8_t *tx_room(struct conn *c, size_t n);	/* NULL: no memory, the connection was closed */
void tx_commit(struct conn *c, size_t n);
void tx_bytes(struct conn *c, const void *data, size_t n);
void tx_flush(struct conn *c);
void tx_push(struct conn *c);	/* only sends: no clean-up, no waiting reads */
void tx_free(struct conn *c);
void tx_fini(void);		/* memory kept for connections to come */
uint32_t tx_unsent_responses(struct conn *c);
bool tx_is_full(const struct conn *c);

struct pdu_out {			/* one PDU before digests and padding are added */
	uint8_t head[128];
	uint8_t hlen;
	const void *data;		/* NULL with len: zeroes */
	uint32_t len;
	bool is_stable;			/* data may be referenced until sent */
	struct cmd *cmd;		/* it belongs to, or NULL */
};
void tx_pdu(struct conn *c, struct pdu_out *p);
/* The same without passing the fault rules. */
void tx_pdu_plain(struct conn *c, struct pdu_out *p);
/* Sets flags, PDO and PLEN of p; returns the header length with digest, without pad. */
uint32_t tx_finish_head(const struct conn *c, struct pdu_out *p);
void tx_icresp(struct conn *c);
void tx_c2hdata(struct conn *c, struct cmd *cmd, uint32_t off, const void *data, uint32_t len,
		uint8_t flags, bool is_stable);
void tx_r2t(struct conn *c, struct cmd *cmd, uint16_t ttag, uint32_t off, uint32_t len);
void tx_resp(struct conn *c, struct cmd *cmd, uint16_t cid, uint16_t status, uint32_t dw0,
	     uint32_t dw1, bool is_counted);
void tx_term(struct conn *c, uint16_t fes, uint32_t fei, const void *culprit, uint32_t len);

/*
 * The answer to a read, without digests and padding: data (NULL: zeroes; to stay until it is sent),
 * and unless is_success a response after it. Never while fault rules are active.
 */
void tx_read_answer(struct conn *c, uint16_t cid, const void *data, uint32_t len, bool is_success);

/* ---- fast.c ---- */
/* Answers the command whose header, without digest, lies before sqe; false: the long way. */
bool fast_read(struct conn *c, const uint8_t *sqe);

/* ---- event.c: what hosts are told by Async Event Requests ---- */
enum event_kind { EV_NS_CHANGED, EV_ANA, EV_DISCOVERY, EV_RESV, EV_FIRMWARE, EV_SANITIZE,
		  EV_KINDS };

struct ctrl_events {
	uint32_t pending;		/* 1 << kind: happened, not told yet */
	uint32_t masked;		/* told: silent until the host reads the log */
	struct cmd *aer[AER_MAX];	/* armed Async Event Requests */
	unsigned int naer;
};

/* ---- fabrics.c: controllers ---- */
enum { CHANGED_NS_MAX = 1024, ERRLOG_ENTRIES = 64 };

struct ctrl {
	struct subsys *subsys;
	struct listener *port;		/* its admin connection came by */
	struct ctrl *next;
	uint16_t cntlid;
	char hostnqn[NQN_MAX + 1];
	uint8_t hostid[16];
	struct conn *admin;
	struct conn **io;		/* by QID, [1..nio] */
	uint32_t nio;			/* opt.queues when it was made */
	uint32_t granted;		/* I/O queues */
	uint8_t mdts;			/* opt.mdts when it was made */
	uint32_t cc, csts;
	uint32_t kato_ms;
	uint64_t last_seen;		/* ns: when a command last arrived on any queue */
	struct timer kato;
	bool is_dead;			/* destroyed in this turn */
	uint32_t features[32];		/* FIDs below 20h that are a plain dword */
	uint8_t host_behavior[512];	/* FID 16h */
	struct ctrl_events ev;
	uint32_t *changed;		/* log 04h: NSIDs, sorted */
	unsigned int nchanged;		/* above CHANGED_NS_MAX: too many to list */
	struct resv_note *notes;	/* log 80h, oldest first */
	unsigned int nnotes;
	uint64_t note_count;		/* log page count of the last one */
	struct resv_mask {
		uint32_t nsid;
		uint8_t mask;
	} *resv_masks;			/* FID 82h */
	unsigned int nresv_masks;
	uint8_t *errors;		/* log 01h: a ring */
	uint64_t nerrors;
	uint8_t *security;		/* what was sent by Security Send */
	uint32_t security_len;
	uint32_t security_id;		/* CDW10 of it: protocol and its specifics */
	uint64_t timestamp;		/* FID 0Eh, at timestamp_at */
	uint64_t timestamp_at;
};

void fabrics_prepare(struct cmd *cmd);
void ctrl_destroy(struct ctrl *ctrl);	/* closes its connections; memory goes with ctrls_reap() */
void ctrls_reap(void);
void ctrl_conn_gone(struct conn *c);
void ctrl_seen(struct ctrl *ctrl, const struct cmd *cmd);
/* True when its controller is past its keep alive time, and then it is closed. */
bool conn_is_expired(struct conn *c);
void ctrl_set_kato(struct ctrl *ctrl, uint32_t ms);

/* event.c */
void exec_aer(struct cmd *cmd);
void forget_aer(struct ctrl *ctrl, const struct cmd *cmd);
void abort_aers(struct ctrl *ctrl);
/* Completes an armed AER. false: none armed. */
bool ctrl_event(struct ctrl *ctrl, uint8_t type, uint8_t info, uint8_t lid);
void ctrl_notify(struct ctrl *ctrl, enum event_kind kind);
void ctrl_log_read(struct ctrl *ctrl, enum event_kind kind);	/* the host read its log */
void ctrl_ns_changed(struct ctrl *ctrl, uint32_t nsid);
void subsys_ns_changed(struct subsys *s, uint32_t nsid);
uint8_t *log_ns_changed(struct ctrl *ctrl, bool is_kept, size_t *len);

/* ---- disc.c ---- */
void discovery_changed(void);		/* GENCTR, and event F0h to whoever waits for it */
uint8_t *log_discovery(const struct conn *c, bool is_port_local, size_t *len);
/* KEY=VALUE … ; 0, or -1 with a sentence. */
int discovery_add(const char *text, char *err, size_t errlen);
int discovery_referral_add(const char *spec, char *err, size_t errlen);
int discovery_referral_remove(const char *spec, char *err, size_t errlen);
void discovery_clear(void);

/* ---- ana.c ---- */
extern bool ana_is_on;			/* reported to hosts; never goes off again */
bool ana_parse_state(const char *name, uint8_t *state);
/* GROUP:STATE */
int ana_parse(struct listener *l, const char *spec, char *err, size_t errlen);
void ana_set(struct listener *l, uint32_t group, uint8_t state);
uint16_t ana_status(const struct listener *l, const struct ns *ns);	/* 0: accessible */
uint8_t *log_ana(const struct ctrl *ctrl, bool is_rgo, size_t *len);

/* ---- admin.c, identify.c, log.c, nvm.c: set exec or status ---- */
void admin_prepare(struct cmd *cmd);
void identify_prepare(struct cmd *cmd);
void log_prepare(struct cmd *cmd);
void nvm_prepare(struct cmd *cmd);

enum access { READS, WRITES, UNRESERVED /* what reservations do not forbid */ };

/* The namespace nsid as this command may see it; NULL and cmd->status. */
struct ns *nvm_find_ns(struct cmd *cmd, uint32_t nsid, enum access access);
bool nvm_fits(const struct cmd *cmd, uint64_t bytes);	/* MDTS */

/* ---- fused.c ---- */
void fused_arrived(struct cmd *cmd);
void fused_done(struct cmd *cmd);
void exec_fused(struct cmd *cmd);

/* ---- block.c, copy.c ---- */
struct pi_args;
uint16_t block_read(struct ns *ns, const struct pi_args *a, uint64_t slba, uint32_t nlb,
		    uint8_t *out);
uint16_t block_write(struct ns *ns, const struct pi_args *a, uint64_t slba, uint32_t nlb,
		     const uint8_t *in);
uint16_t block_zero(struct ns *ns, const struct pi_args *a, uint64_t slba, uint32_t nlb,
		    bool is_dealloc);
uint16_t block_compare(struct ns *ns, const struct cmd *cmd);	/* with cmd->buf */
uint16_t block_verify(struct cmd *cmd);
void block_prepare(struct cmd *cmd);
void block_written(struct ns *ns, uint64_t slba, uint64_t nlb);
void exec_write_uncorrectable(struct cmd *cmd);
void copy_prepare(struct cmd *cmd);

/* ---- format.c ---- */
unsigned int format_count(void);
struct lba_format format_at(const struct ns *ns, unsigned int i);
void format_apply(struct ns *ns);
uint64_t format_memory(const struct ns *ns);
bool format_is_valid(const struct ns *ns, unsigned int i, uint8_t pi_type);
uint16_t ns_erase(struct ns *ns);
void format_prepare(struct cmd *cmd);

/* ---- nsmgmt.c ---- */
bool ns_is_attached(const struct ns *ns, const struct ctrl *ctrl);
void ns_free_hosts(struct ns *ns);
uint64_t ns_unallocated(const struct subsys *s);
void nsmgmt_prepare(struct cmd *cmd);

/* ---- sanitize.c, firmware.c, security.c, errlog.c ---- */
void ops_prepare(struct cmd *cmd);
void ops_cancel(struct subsys *s);
uint8_t *log_sanitize(const struct subsys *s, size_t *len);
uint8_t *log_self_test(const struct subsys *s, size_t *len);
void fw_init(struct subsys *s);
void fw_free(struct subsys *s);
void fw_set(struct subsys *s, const char *revision);
void fw_reset(struct subsys *s);
void fw_prepare(struct cmd *cmd);
uint8_t *log_firmware(const struct subsys *s, size_t *len);
void security_prepare(struct cmd *cmd);
void errlog_add(struct ctrl *ctrl, const struct cmd *cmd, uint16_t status);
uint8_t *log_errors(const struct ctrl *ctrl, size_t *len);

/* ---- range.c ---- */
bool range_hits(const struct range_set *s, uint64_t start, uint64_t n);
bool range_add(struct range_set *s, uint64_t start, uint64_t n);
bool range_del(struct range_set *s, uint64_t start, uint64_t n);
void range_clear(struct range_set *s);

/* ---- resv.c ---- */
void resv_prepare(struct cmd *cmd);
bool resv_conflicts(const struct cmd *cmd, const struct ns *ns, enum access access);
void resv_free(struct ns *ns);
uint8_t *log_resv(struct ctrl *ctrl, bool is_kept, size_t *len);
void resv_set_mask(struct cmd *cmd);
void resv_get_mask(struct cmd *cmd);

/* ---- subsys.c ---- */
struct subsys *subsys_new(const char *nqn, char *err, size_t errlen);
struct subsys *subsys_find(const char *nqn);
bool subsys_rename(struct subsys *s, const char *nqn, char *err, size_t errlen);
bool subsys_allows(const struct subsys *s, const char *hostnqn);
struct ns *ns_add(struct subsys *s, const char *spec, char *err, size_t errlen);
/* Another namespace takes the NSID of ns, with identifiers of its own. */
struct ns *ns_remap(struct ns *ns, const char *spec, char *err, size_t errlen);
void ns_remove(struct ns *ns);
void ns_new_identity(struct ns *ns);
void subsys_remove(struct subsys *s);
uint32_t subsys_nn(const struct subsys *s);
struct ns *ns_find(const struct subsys *s, uint32_t nsid);
void subsys_free_all(void);

/* ---- ns.c ---- */
int ns_resize(struct ns *ns, uint64_t bytes);
/* 0 or an NVMe status */
uint16_t ns_write(struct ns *ns, uint64_t off, const void *data, uint32_t len);
uint16_t ns_read(struct ns *ns, uint64_t off, void *data, uint32_t len);
uint16_t ns_zero(struct ns *ns, uint64_t off, uint64_t len, bool is_dealloc);
uint16_t ns_flush(struct ns *ns);
bool ns_equal(struct ns *ns, uint64_t off, const void *data, uint32_t len, uint16_t *status);

/* ---- listen.c ---- */
struct listener {
	struct io io;
	struct listener *next;
	unsigned int index;		/* from 1; a new port gets the smallest free one */
	uint16_t portid;
	char addr[64];
	char port[8];
	bool is_ipv6, is_wildcard, is_mptcp;
	bool is_paused;			/* accepts nothing, its connections are silent */
	bool has_blocked;		/* some ANA group is not accessible here */
	uint8_t ana[ANA_GROUPS + 1];	/* state by group */
	uint64_t ana_chgcnt;		/* of the log */
	uint64_t ana_group_chgcnt[ANA_GROUPS + 1];
};
extern struct listener *listeners;
struct listener *listen_add(const char *spec, char *err, size_t errlen);
struct listener *listen_find(unsigned int index);
void listen_remove(struct listener *l);
void listen_pause(struct listener *l, bool is_paused);
void listen_close_all(void);
void listen_print(void);

/* ---- control.c ---- */
int control_open(const char *path, char *err, size_t errlen);
void control_close(void);
void control_event(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A line to one client. */
struct client;
void control_reply(struct client *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* control_cmd.c */
enum control_result { CONTROL_OK, CONTROL_FAILED, CONTROL_ANSWERED };
enum control_result control_command(struct client *k, const char *name, char *args, char *err,
				    size_t errlen);

/* ---- main.c ---- */
bool parse_size(const char *s, uint64_t *out);
void copy_padded(char *dst, const char *src, size_t n);	/* NVMe ASCII: space padded */

#endif
