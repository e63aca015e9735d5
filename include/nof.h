/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NOF_H
#define NOF_H

/*
 * libnof — an NVMe/TCP initiator in user space, on Multipath TCP sockets.
 *
 * The objects, in the order in which a program meets them:
 *
 *	nof_loop   the engine: sockets, timers and completions of one thread,
 *	           behind one file descriptor that can be polled
 *	nof_opts   everything a connection needs, from a URI or field by field
 *	nof_ctrl   one association with a controller: admin queue, keep alive
 *	nof_ns     a namespace: identity, geometry, limits
 *	nof_chan   where I/O is submitted: a namespace on a loop, with a queue
 *
 * A program that reads one block:
 *
 *	struct nof_loop *loop;
 *	struct nof_ctrl *ctrl;
 *	struct nof_ns *ns;
 *	struct nof_chan *chan;
 *	char block[4096];
 *
 *	if (nof_loop_new(NULL, &loop) < 0 ||
 *	    nof_connect(loop, "nvme+tcp://127.0.0.1/nqn.2024-01.org.example:disk", &ctrl) < 0 ||
 *	    nof_ns_open_sync(ctrl, NULL, &ns) < 0 ||
 *	    nof_chan_open_sync(ns, loop, &chan) < 0 ||
 *	    nof_pread(chan, block, sizeof(block), 0, 0) < 0)
 *		fprintf(stderr, "%s\n", nof_strerror_detail());
 *
 * ERRORS. A call that can fail returns 0 (or a count) on success and a negative
 * errno on failure; outputs are untouched on failure. nof_strerror_detail()
 * then holds a sentence: which call, what was seen, whom to suspect, what to
 * try. Asynchronous results carry their own sentence. The library never prints,
 * never exits, never asserts on its input.
 *
 * THREADS. A loop and everything attached to it (controllers, channels, I/O)
 * belong to one thread at a time: calls on them must not run at the same time,
 * but need not come from the thread that created them. Exceptions are marked
 * "any thread". More threads means more loops: a channel may be on another
 * loop than its controller, and then belongs to that loop's thread. Plain data
 * (struct nof_opts, URIs) has no thread.
 *
 * COMPLETIONS. Every operation that was accepted (its call returned 0) calls
 * its callback exactly once: with success, an NVMe status, or a transport
 * error, in bounded time (the timeouts in struct nof_opts). Callbacks run inside
 * nof_loop_process(), nof_loop_wait(), nof_loop_run(), the *_sync and p* helpers,
 * and nof_ctrl_free()/nof_chan_close() — never inside a call that submits, and
 * never with a lock held. A callback may submit, close and free anything but
 * the loop. A call that returned an error never calls its callback.
 *
 * MEMORY. A buffer, and the iovec array that names it, belong to the library
 * from the submit call until the callback, and must not change meanwhile.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define NOF_API __attribute__((visibility("default")))
#else
#define NOF_API
#endif

struct nof_loop;
struct nof_ctrl;
struct nof_ns;
struct nof_chan;

/* ------------------------------------------------------------------------
 * Version and errors
 *
 * Thread: any.
 * ------------------------------------------------------------------------ */

/* "0.1.0": the library that runs, not the header. Any thread. */
NOF_API const char *nof_version(void);

/*
 * The sentence of the last nof_ call that failed in the calling thread, never
 * NULL, "" if none did. Valid until the next nof_ call of this thread.
 */
NOF_API const char *nof_strerror_detail(void);

/*
 * How an operation ended. Valid during the callback only.
 */
struct nof_completion {
	int error;		/* 0, or a negative errno: the one field to test */
	uint16_t status;	/* NVMe status field of the answer: SCT in bits 10:8, SC in
				   7:0, NOF_STATUS_MORE, NOF_STATUS_DNR; 0 when it succeeded
				   or no answer came */
	uint16_t qid;		/* queue that carried it (0: admin) */
	uint64_t result;	/* command specific result, DW1:DW0 of the answer */
	const char *detail;	/* sentence when error is not 0, else "" */
};

#define NOF_STATUS_MORE	0x2000u	/* the error log has more about it */
#define NOF_STATUS_DNR	0x4000u	/* do not retry: the same command would fail again */

/*
 * Errors of completions. An NVMe status becomes the errno that a block device
 * would give: EIO unless there is a closer one (ENOSPC capacity exceeded, EROFS
 * write protected, EILSEQ compare failure and digest or guard errors ... see
 * nof_status_errno()). Without an answer: ECONNRESET, EPIPE, ETIMEDOUT, EPROTO
 * (the target broke the protocol), EBADMSG (a data digest did not match),
 * ECANCELED (by the caller), ENOTCONN.
 *
 * A command that changes something and ends without an answer, whether lost, timed out or
 * canceled, may have been executed, may not have been, and MAY STILL BE EXECUTED by the target
 * for as long as nof_ctrl_info.hold_ms from then on. Assume neither outcome. Who repeats such
 * a write, or writes the same blocks by other means (another channel, another host), has to
 * wait that long first, or the old one may come to life behind the new one and undo it; so
 * does who releases a lock that protected them. The sentence says then that its outcome is
 * unknown. Requests that never left this host do not say so.
 */
NOF_API int nof_status_errno(uint16_t status);

/* Text of an NVMe status, e.g. "LBA Out of Range". Any thread, never NULL. */
NOF_API const char *nof_status_string(uint16_t status);

/* Called once per accepted operation. */
typedef void nof_done_fn(void *arg, const struct nof_completion *c);

/* ------------------------------------------------------------------------
 * Loop
 *
 * Thread: a loop's calls come from one thread at a time; nof_loop_wake() and
 * nof_loop_stop() from any. nof_loop_new() and _free(): any, nobody else using it.
 * ------------------------------------------------------------------------ */

enum nof_engine {
	NOF_ENGINE_AUTO,	/* io_uring, or epoll where io_uring is refused */
	NOF_ENGINE_IO_URING,	/* fail when it is refused */
	NOF_ENGINE_EPOLL,
};

enum nof_log_level { NOF_LOG_ERROR, NOF_LOG_WARN, NOF_LOG_INFO, NOF_LOG_DEBUG };

/* One line without newline. Must not call into the library. */
typedef void nof_log_fn(void *arg, enum nof_log_level level, const char *line);

enum nof_loop_flag {
	/*
	 * nof_loop_fd() will not be used: the loop is driven by nof_loop_run() or
	 * nof_loop_wait() from one thread, the first that calls it. Saves
	 * interrupts between cores, and system calls: what a call leaves to be
	 * sent (what callbacks submitted, data that a target has asked for, a keep
	 * alive) leaves with the next of these calls, or with nof_loop_flush().
	 */
	NOF_LOOP_DEDICATED = 1u << 0,
	/*
	 * The caller promises to call nof_loop_flush() after submitting from
	 * outside callbacks; without this flag the first such submission makes
	 * the fd readable by a system call, so that nothing is ever forgotten.
	 */
	NOF_LOOP_EXPLICIT_FLUSH = 1u << 1,
};

struct nof_loop_opts {
	size_t size;		/* sizeof(struct nof_loop_opts): set by nof_loop_opts_init() */
	enum nof_engine engine;	/* default NOF_ENGINE_AUTO */
	uint32_t flags;		/* enum nof_loop_flag, default 0 */
	nof_log_fn *log;	/* default NULL: no log */
	void *log_arg;
	enum nof_log_level log_level;	/* most detailed level wanted, default NOF_LOG_INFO */
};

NOF_API void nof_loop_opts_init_sized(struct nof_loop_opts *opts, size_t size);
#define nof_loop_opts_init(opts) nof_loop_opts_init_sized((opts), sizeof(*(opts)))

/*
 * A new loop, owned by the caller. opts NULL: defaults.
 * ENOMEM, EMFILE; ENOSYS or EPERM when io_uring was demanded and is refused.
 */
NOF_API int nof_loop_new(const struct nof_loop_opts *opts, struct nof_loop **loop);

/* Frees a loop. Its controllers and channels must have been freed before. NULL is accepted. */
NOF_API void nof_loop_free(struct nof_loop *loop);

/*
 * The one descriptor to poll for reading (level triggered): readable whenever
 * nof_loop_process() has something to do: data, completions, timers, submissions
 * that wait to be sent. The same for the loop's whole life; never read it. When a
 * loop moves to another thread, the old one must not keep computing without any
 * system call: what io_uring began for it is finished in its context.
 * ENOTSUP for a NOF_LOOP_DEDICATED loop.
 */
NOF_API int nof_loop_fd(struct nof_loop *loop);

/*
 * Does everything there is to do now, without waiting, and calls callbacks.
 * Returns how many operations completed. EDEADLK from inside a callback.
 */
NOF_API int nof_loop_process(struct nof_loop *loop);

/*
 * The same, after waiting for something to do for at most timeout_ms (−1: no
 * limit). Returns early, perhaps with 0, after nof_loop_wake().
 */
NOF_API int nof_loop_wait(struct nof_loop *loop, int timeout_ms);

/* The same with a finer limit; without Linux 5.11, epoll rounds it up to milliseconds. */
NOF_API int nof_loop_wait_ns(struct nof_loop *loop, int64_t timeout_ns);

/* Waits and processes until nof_loop_stop(). 0, or a negative errno of the engine. */
NOF_API int nof_loop_run(struct nof_loop *loop);

/* Makes nof_loop_run() return soon. Any thread, also from a callback. */
NOF_API void nof_loop_stop(struct nof_loop *loop);

/* Makes a wait return, or the fd readable, once. Any thread; async-signal-safe. */
NOF_API void nof_loop_wake(struct nof_loop *loop);

/*
 * Sends everything queued by submissions, one gathered send per connection.
 * The end of every process or wait call does the same, on a NOF_LOOP_DEDICATED loop the start of
 * the next one: a callback need not.
 */
NOF_API int nof_loop_flush(struct nof_loop *loop);

/*
 * How nof_loop_wait(), nof_loop_run() and the *_sync helpers wait for the answers to
 * commands. It is lower latency for CPU time: a thread that sleeps has to be woken.
 */
enum nof_poll_mode {
	NOF_POLL_SLEEP,		/* the default: in the kernel, at once */
	/*
	 * While I/O commands are in flight, look for their answers for a short time first, as
	 * long as that has paid lately; else sleep at once. A loop without commands in flight
	 * never looks: it costs nothing while it is idle.
	 */
	NOF_POLL_ADAPTIVE,
	/* Never sleep as long as the wait lasts, in flight or not: takes a whole core. */
	NOF_POLL_SPIN,
};

/*
 * Sets it: any thread, at any time, also while the loop waits, which it then does in the new
 * way (nof_loop_wait() may return early, as after nof_loop_wake()). Nothing is lost by it.
 * max_us: the longest that ADAPTIVE looks before it sleeps; 0: 50. EINVAL, ERANGE (above one
 * second).
 *
 * Whoever polls nof_loop_fd() decides for himself how to wait: nof_loop_process() never does.
 * He looks while there is something in flight, and sleeps in poll() otherwise or when it took
 * too long:
 *
 *	while (nof_chan_get_inflight(chan) > 0 && now() < until && !nof_loop_is_ready(loop))
 *		;
 *	poll(…, nof_loop_is_ready(loop) ? 0 : timeout);
 *	nof_loop_process(loop);
 *
 * Event loops that look by themselves before they sleep (as QEMU's AioContext does with
 * io_poll) call nof_loop_is_ready() for that.
 */
NOF_API int nof_loop_set_poll(struct nof_loop *loop, enum nof_poll_mode mode, uint32_t max_us);

/*
 * Whether nof_loop_process() would find something to do. With io_uring a few loads from
 * memory, with epoll a system call. The loop's thread; false from inside a callback.
 */
NOF_API bool nof_loop_is_ready(struct nof_loop *loop);

/* What a loop has done since it was made. Counters only grow. */
struct nof_loop_stats {
	size_t size;		/* set by the caller: sizeof(struct nof_loop_stats) */
	uint32_t mode;		/* enum nof_poll_mode, now */
	uint32_t max_us;	/* as set, or the default */
	uint64_t turns;		/* times it looked for things to do, and did them */
	uint64_t sleeps;	/* of these: it first let the kernel put the thread to sleep */
	uint64_t spins;		/* of these: it first looked without sleeping, for a time … */
	uint64_t spin_hits;	/* … and something came meanwhile */
	uint64_t spin_looks;	/* how often it looked in all of them */
	uint64_t spin_ns;	/* how long they took together */
	uint64_t spin_limit_ns;	/* how long the next may be; 0 = it sleeps at once */
	uint64_t completions;	/* operations that ended in a turn */
};

/* Fills in what fits into stats->size. Any thread. EINVAL. */
NOF_API int nof_loop_get_stats(const struct nof_loop *loop, struct nof_loop_stats *stats);

/* "io_uring" or "epoll". */
NOF_API const char *nof_loop_engine(const struct nof_loop *loop);

/* Why it is epoll, when AUTO fell back: a sentence; else "". */
NOF_API const char *nof_loop_engine_reason(const struct nof_loop *loop);

/* ------------------------------------------------------------------------
 * Options and URIs
 *
 * nvme+tcp://HOST[:PORT]/SUBNQN[/NSID|UUID|NGUID|EUI64][?KEY=VALUE&…]
 *
 * HOST is a name, an IPv4 address, or an IPv6 address in brackets. PORT is 4420,
 * or 8009 for the discovery NQN. Without a SUBNQN the discovery NQN is meant.
 * nvmf-tcp:// is accepted for nvme+tcp://. Keys are those of nof_opts_set().
 *
 * Thread: any; plain data, one thread at a time per struct.
 * ------------------------------------------------------------------------ */

#define NOF_DISCOVERY_NQN "nqn.2014-08.org.nvmexpress.discovery"

enum nof_switch { NOF_OFF, NOF_ON, NOF_PREFER };

/*
 * A target whose way drops or breaks MPTCP is remembered within the process, by address, port
 * and network namespace: further connections with PREFER use TCP at once. MPTCP is tried again
 * after two minutes, then four, up to an hour. A connection that stops being MPTCP later on is
 * given up, as its data may be damaged, and made anew.
 */
enum nof_mptcp {
	NOF_MPTCP_PREFER,	/* MPTCP, or TCP with the reason recorded */
	NOF_MPTCP_REQUIRE,	/* not being MPTCP is an error */
	NOF_MPTCP_OFF,		/* plain TCP */
};

/* How the paths of a namespace share its I/O; optimized paths always come first. */
enum nof_iopolicy {
	NOF_IOPOLICY_NUMA,		/* one path, the others in reserve: that whose network
					   interface is on a NUMA node nearest to the thread when
					   its queue was connected; of equals, or where that is
					   not known (bonds, VLANs), the one added first */
	NOF_IOPOLICY_ROUND_ROBIN,	/* each in turn */
	NOF_IOPOLICY_QUEUE_DEPTH,	/* the one with the fewest commands under way */
	NOF_IOPOLICY_SERVICE_TIME,	/* the one that would answer first */
};

struct nof_opts {
	size_t size;			/* sizeof(struct nof_opts): set by nof_opts_init() */
	char traddr[256];		/* host name or address of the target */
	char trsvcid[32];		/* port; "" = 4420, or 8009 for the discovery NQN */
	char subnqn[224];		/* subsystem; "" = discovery */
	char ns[64];			/* namespace named by the URI: NSID, UUID, NGUID or EUI64;
					   "" = the first active one */
	char hostnqn[224];		/* "" = /etc/nvme/hostnqn, or made from the machine id */
	char hostid[37];		/* UUID; "" = the one in hostnqn or /etc/nvme/hostid */
	char host_traddr[64];		/* source address; "" = the kernel's choice */
	char host_iface[16];		/* interface to bind to; "" = any */
	uint32_t nr_io_queues;		/* I/O queues to ask for; 0 = number of online CPUs */
	uint32_t queue_size;		/* entries of an I/O queue, 2..1024; default 128, clamped by
					   the controller; one less can be in flight */
	uint32_t keep_alive_tmo_ms;	/* default 5000; 0 = none, which is what a discovery URI
					   gets unless it says otherwise */
	uint32_t connect_timeout_ms;	/* name + TCP + ICResp of each connection; default 10000 */
	uint32_t admin_timeout_ms;	/* one admin or Fabrics command; default 60000 */
	uint32_t io_timeout_ms;		/* one I/O command; default 30000. All timeouts are
					   extended once when the program itself did not run
					   the loop in time */
	enum nof_switch hdr_digest;	/* default OFF; ON = the target must agree */
	enum nof_switch data_digest;	/* default OFF */
	enum nof_mptcp mptcp;		/* default PREFER */
	enum nof_engine engine;		/* what the URI asked for, for the caller's loop */
	bool disable_sqflow;		/* disable SQ flow control; default off */
	bool in_capsule;		/* send small writes inside the capsule; default on.
					   Off is for tests: Linux's nvmet never asks for data
					   that would have fitted, such writes hang there */
	uint32_t max_r2t;		/* open R2Ts of one command, 1..4; default 4 */
	int tos;			/* IP type of service / traffic class, −1 = default */
	char pcap[4096];		/* write plaintext PDUs to this file; "" = no */
	/* What happens when a controller that was live is lost. */
	uint32_t reconnect_delay_ms;	/* longest pause between two attempts to reconnect: the
					   first follows at once, the pauses double from 100 ms
					   up to this, ±25 % at random; default 10000 */
	int32_t ctrl_loss_tmo_ms;	/* since the loss: then the controller has failed;
					   −1 = never, 0 = no attempt is made; default 600000.
					   Writes that fail so may still be executed for
					   nof_ctrl_info.hold_ms after the loss */
	int32_t max_reconnects;		/* attempts after one loss; default −1 = any number */
	int32_t fast_io_fail_tmo_ms;	/* since the loss: then I/O that waits for the controller
					   fails, while attempts go on; default −1 = never */
	uint32_t max_retries;		/* how often a command is sent again after a status that
					   permits it, a timeout or a lost connection, 0..255;
					   default 5 */
	int32_t write_hold_ms;		/* how long a command that changes data, and whose fate is
					   unknown, waits before it is sent again, so that the old
					   one is dead by then; 0 = not at all; default −1 = auto:
					   2 (traffic based keep alive: 3) × keep_alive_tmo + the
					   controller's command quiesce time */
	enum nof_iopolicy iopolicy;	/* default NUMA */
	bool duplicate_connect;		/* permit the same path twice in one namespace;
					   default off */
	char addr_map[512];		/* "ADDR[:PORT]=ADDR[:PORT],…": replaces addresses that a
					   discovery log names; "" = none */
	char queue_paths[512];		/* "[SRC][-DST[:PORT]],…": I/O queue n goes from and to
					   entry (n − 1) mod count, or the next one that can be
					   connected; the admin queue takes the first that can;
					   "" = all as host_traddr and traddr say */
	char mptcp_paths[512];		/* "" (default) = the system's MPTCP configuration is left
					   alone. Else, while a controller with it exists, these
					   addresses of this host are endpoints of the kernel's path
					   manager, limits that are too low are raised, and a path
					   that fails is taken out until it works again: "auto" =
					   every suitable address, or "ADDR[%DEV][,backup]
					   [,fullmesh],…". Needs CAP_NET_ADMIN; without it, or when
					   the kernel refuses, a warning is logged and connections
					   are made as if it were "" */
	/*
	 * Of the sockets, set before they connect: they hold on every subflow that there is and
	 * will be. Nagle's algorithm is always off (TCP_NODELAY), and how long a close lingers is
	 * the library's business. What MPTCP of this kernel lacks costs no MPTCP: it has no
	 * effect, and nof_transport.note says so (tos over IPv6: IPV6_TCLASS, Linux 6.18).
	 */
	char congestion[16];		/* TCP_CONGESTION; "" = the system's. Connecting fails with
					   EINVAL when it is unknown, EPERM when not permitted */
	int so_priority;		/* SO_PRIORITY, above 6 with CAP_NET_ADMIN; −1 = default */
	uint32_t so_mark;		/* SO_MARK, takes CAP_NET_ADMIN; 0 = none */
	uint32_t sndbuf;		/* SO_SNDBUF, SO_RCVBUF in bytes, at most sysctl wmem_max,
					   rmem_max; 0 = the kernel's autotuning, often faster */
	uint32_t rcvbuf;
	uint32_t tcp_keepalive_ms;	/* the kernel probes a subflow that is silent for so long,
					   and ends it if nothing answers for as long again; whole
					   seconds; 0 = off. That of NVMe is keep_alive_tmo_ms */
	uint32_t rto_min_us;		/* floor of the retransmission timer of plain TCP, 2 to 200
					   ms (TCP_RTO_MIN_US, Linux 6.15); 0 = the system's, 200
					   ms. Of MPTCP the route has it: nof_transport.note */
	int32_t hedge_us;		/* a read of at most 12 KiB that has no answer after so
					   long is sent once more by a second I/O queue, at most
					   1 read of 20; 0: by what was measured; −1: off, the
					   default */
};

NOF_API void nof_opts_init_sized(struct nof_opts *opts, size_t size);
#define nof_opts_init(opts) nof_opts_init_sized((opts), sizeof(*(opts)))

/*
 * Sets one option by its URI key (names of `nvme connect` with underscores:
 * hostnqn, hostid, host_traddr, host_iface, nr_io_queues, queue_size,
 * keep_alive_tmo, connect_timeout, admin_timeout, io_timeout, reconnect_delay
 * (seconds, fractions allowed), ctrl_loss_tmo (seconds or -1), fast_io_fail_tmo
 * (seconds or off), duplicate_connect (on|off), hdr_digest, data_digest
 * (on|off|prefer), disable_sqflow (on|off), tos; and ours: max_reconnects,
 * max_retries, write_hold (seconds, auto or off), iopolicy (numa|round-robin|
 * queue-depth|service-time), mptcp (require|prefer|off), engine
 * (auto|io_uring|epoll), in_capsule (on|off), max_r2t, pcap, addr_map, queue_paths,
 * mptcp_paths (auto, or addresses), congestion, priority, mark, sndbuf, rcvbuf (bytes, or like
 * 64k, 4m), tcp_keepalive, rto_min (seconds), hedge (seconds, auto or off)).
 * EINVAL with a sentence: unknown key or bad value.
 */
NOF_API int nof_opts_set(struct nof_opts *opts, const char *key, const char *value);

/* Every key, NULL behind the last: for completion and help texts. Any thread. */
NOF_API const char *const *nof_opts_keys(void);

/* Fills initialised *opts from a URI. EINVAL with a sentence that points at the fault. */
NOF_API int nof_uri_parse(const char *uri, struct nof_opts *opts);

/*
 * As nof_uri_parse(), but with only the keys of the comma separated list allow
 * ("" = none, NULL = all but those that name local files or change this machine). For
 * programs that take URIs from others. EPERM with a sentence for a forbidden key.
 */
NOF_API int nof_uri_parse_allow(const char *uri, const char *allow, struct nof_opts *opts);

/* The URI of opts, without secrets, into buf; returns its length as snprintf() does. */
NOF_API int nof_uri_format(const struct nof_opts *opts, char *buf, size_t len);

/* ------------------------------------------------------------------------
 * Controller
 *
 * Thread: all calls on a controller, and its callbacks, are of its loop's thread.
 * ------------------------------------------------------------------------ */

enum nof_ctrl_state {
	NOF_CTRL_NEW,		/* not connected yet */
	NOF_CTRL_CONNECTING,	/* connections, Connect, enable, Identify under way, or after a
				   loss the pause before the next attempt */
	NOF_CTRL_LIVE,		/* usable */
	NOF_CTRL_DELETING,	/* clean shutdown under way */
	NOF_CTRL_FAILED,	/* lost or refused for good: all commands were completed */
	NOF_CTRL_CLOSED,	/* shut down cleanly */
	NOF_CTRL_RESETTING,	/* was live, its connections are being closed; then CONNECTING */
};

/*
 * What a program hears of a controller. While an event waits for its callback, a
 * further one of the same type and namespace replaces it, but not those of the
 * controller's state, of subflows and of fallback.
 */
enum nof_event_type {
	NOF_EVENT_CTRL_STATE,	/* the state changed: .state, .error, .detail */
	NOF_EVENT_NS_ADDED,	/* .nsid is active now */
	NOF_EVENT_NS_REMOVED,	/* .nsid is active no more */
	NOF_EVENT_NS_CHANGED,	/* size or attributes of .nsid; 0: more than could be told, look
				   at all of them again */
	NOF_EVENT_ANA,		/* access states of its namespaces */
	NOF_EVENT_PATH_UP,	/* this controller can be used for I/O to .nsid */
	NOF_EVENT_PATH_DOWN,	/* or not any more */
	NOF_EVENT_FIRMWARE,	/* firmware is being activated */
	NOF_EVENT_HEALTH,	/* the controller reports an error or a health condition */
	NOF_EVENT_DISCOVERY,	/* the discovery log changed */
	NOF_EVENT_RESERVATION,	/* the reservation log has an entry for .nsid */
	NOF_EVENT_OTHER,	/* .aen_type, .aen_info, .log_page as the controller sent them */
	/*
	 * Of the queues on the controller's own loop: where this program may hear of
	 * the kernel's path manager (CAP_NET_ADMIN), or mptcp_paths has done something, and
	 * else with each keep alive, half of keep_alive_tmo apart (never without keep alive).
	 */
	NOF_EVENT_SUBFLOW,	/* a subflow of queue .qid came, went, or is active, a backup or
				   stale now: .detail has its addresses */
	NOF_EVENT_FALLBACK,	/* the connection of queue .qid was MPTCP and is plain TCP now */
};

struct nof_event {
	enum nof_event_type type;
	struct nof_ctrl *ctrl;
	enum nof_ctrl_state state;	/* of CTRL_STATE; of others the state now */
	int error;		/* why, for RESETTING, CONNECTING after a loss, FAILED, PATH_DOWN */
	const char *detail;	/* a sentence, never NULL; valid during the callback */
	uint32_t nsid;		/* 0: of the controller as a whole */
	uint8_t aen_type;	/* of asynchronous events of the controller, else 0 */
	uint8_t aen_info;
	uint8_t log_page;
	uint16_t qid;		/* of SUBFLOW and FALLBACK; 0: the admin queue */
};

/* Called from the loop of the controller, like a completion. */
typedef void nof_event_fn(void *arg, const struct nof_event *ev);

/*
 * A controller object for opts (copied), attached to loop; nothing is sent yet.
 * events may be NULL. EINVAL with a sentence for impossible options; EPERM or
 * ENOENT for a pcap file that cannot be written.
 */
NOF_API int nof_ctrl_new(struct nof_loop *loop, const struct nof_opts *opts, nof_event_fn *events,
			 void *arg, struct nof_ctrl **ctrl);

/*
 * Connects the admin queue, enables the controller and identifies it (base
 * spec: Connect, Property Set CC, Identify; checklist 2.1–2.4). This is tried once; a
 * controller that was live and is lost (a connection ended, keep alive or a command
 * was not answered, the target broke the protocol) is RESETTING, then CONNECTING
 * until it is LIVE again, or FAILED when ctrl_loss_tmo or max_reconnects is over or
 * the target refuses for good (DNR). Each attempt resolves the name again. Completion
 * errors: ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ENOENT (name or NQN unknown to
 * the target), EACCES (host not allowed), EPROTO, EPROTONOSUPPORT (mptcp=require).
 * EALREADY unless the state is NEW.
 */
NOF_API int nof_ctrl_connect(struct nof_ctrl *ctrl, nof_done_fn *done, void *arg);

/*
 * Clean end: waits for nothing, fails what is in flight with ECANCELED, shuts the
 * controller down (CC.SHN) within its time limit, closes the connections. While it is
 * connecting or recovering there is nothing to shut down: that ends at once.
 */
NOF_API int nof_ctrl_disconnect(struct nof_ctrl *ctrl, nof_done_fn *done, void *arg);

/*
 * Frees a controller in any state; connections are closed abortively and what is
 * in flight completes with ECANCELED before this returns (channels on other
 * loops: their threads must be at rest). Namespaces and channels of it must be
 * closed before or never used again but for nof_chan_close()/nof_ns_close().
 * NULL is accepted.
 */
NOF_API void nof_ctrl_free(struct nof_ctrl *ctrl);

/*
 * Gives the association up and makes a new one, as after a loss: what is in flight
 * ends with a transport error or is repeated, as the options say. done is called when
 * the controller is live again or has failed. Of a controller that is recovering
 * already, it waits for that. One attempt is made even when ctrl_loss_tmo is 0. Writes that
 * were under way are held as after any loss (hold_ms), since no target can be relied upon to have
 * ended them: drain the channels first, and none is.
 * ENOTCONN unless the controller is live or recovering.
 */
NOF_API int nof_ctrl_reset(struct nof_ctrl *ctrl, nof_done_fn *done, void *arg);
NOF_API int nof_ctrl_reset_sync(struct nof_ctrl *ctrl);

/*
 * NVM Subsystem Reset: every controller of the subsystem resets, those of other hosts
 * too. Ends as nof_ctrl_reset() does, once the command was sent: done is called when this
 * controller is live again or has failed. Other controllers are lost, and recover as their
 * options say. A refusal has its NVMe status, and nothing was reset. EOPNOTSUPP without
 * CAP.NSSRS, ENOTCONN unless the controller is live.
 */
NOF_API int nof_ctrl_subsystem_reset(struct nof_ctrl *ctrl, nof_done_fn *done, void *arg);
NOF_API int nof_ctrl_subsystem_reset_sync(struct nof_ctrl *ctrl);

/* Parses, creates and connects; runs the loop meanwhile. */
NOF_API int nof_connect(struct nof_loop *loop, const char *uri, struct nof_ctrl **ctrl);
NOF_API int nof_ctrl_connect_sync(struct nof_ctrl *ctrl);
NOF_API int nof_ctrl_disconnect_sync(struct nof_ctrl *ctrl);

NOF_API enum nof_ctrl_state nof_ctrl_get_state(const struct nof_ctrl *ctrl);
NOF_API struct nof_loop *nof_ctrl_get_loop(const struct nof_ctrl *ctrl);

/* Name of a state: "live", … Any thread. */
NOF_API const char *nof_ctrl_state_name(enum nof_ctrl_state state);

struct nof_ctrl_info {
	size_t size;			/* in: sizeof the struct */
	char subnqn[224];		/* as the controller says */
	char model[41];			/* printable ASCII, trailing blanks removed */
	char serial[21];
	char firmware[9];
	uint16_t cntlid;
	uint32_t version;		/* VS: major in 31:16, minor 15:8, tertiary 7:0 */
	bool is_discovery;
	uint32_t nn;			/* highest possible NSID */
	uint32_t namespaces;		/* active ones found */
	uint32_t nr_io_queues;		/* granted */
	uint32_t queue_size;		/* entries per I/O queue in force */
	uint64_t max_transfer;		/* bytes of one command (MDTS, capped) */
	uint32_t in_capsule;		/* bytes of data a command capsule takes, I/O queues */
	uint32_t keep_alive_ms;		/* in force, 0 = none */
	bool has_hdr_digest;		/* in force on the admin queue */
	bool has_data_digest;
	bool has_volatile_cache;
	uint32_t hold_ms;		/* the target may still execute a lost command for so long:
					   option write_hold, 0 = it is off; see Errors */
};

/* What is known of a controller that has been live. ENOTCONN before. */
NOF_API int nof_ctrl_get_info(const struct nof_ctrl *ctrl, struct nof_ctrl_info *info);

/* Since nof_ctrl_new(). */
struct nof_ctrl_stats {
	size_t size;			/* in: sizeof the struct */
	uint64_t resets;		/* associations given up: lost, or by nof_ctrl_reset() */
	uint64_t reconnect_attempts;
	uint64_t reconnects;		/* attempts that succeeded */
	uint64_t keep_alives;		/* answered */
	uint64_t events;		/* asynchronous events of the controller */
	uint64_t timeouts;		/* I/O commands that were not answered in time */
	uint64_t aborts;		/* Abort commands sent for them */
	uint64_t aborts_done;		/* of those: the controller aborted the command */
	uint64_t aborts_failed;		/* it did not, or refused */
	uint32_t attempt;		/* of the present outage; 0: none was begun */
};

NOF_API int nof_ctrl_get_stats(const struct nof_ctrl *ctrl, struct nof_ctrl_stats *stats);

/*
 * The active NSIDs in ascending order: writes at most max of them and returns
 * how many there are. ENOTCONN before the controller has been live.
 */
NOF_API int nof_ctrl_get_nsids(const struct nof_ctrl *ctrl, uint32_t *nsids, size_t max);

/* ------------------------------------------------------------------------
 * Discovery
 *
 * Thread: the controller's loop's; nof_discovery_free(): any.
 * ------------------------------------------------------------------------ */

struct nof_discovery_entry {
	uint8_t trtype;		/* 3 = TCP, 1 = RDMA, 2 = FC, 4 … others */
	uint8_t adrfam;		/* 1 = IPv4, 2 = IPv6 */
	uint8_t subtype;	/* 1 = referral, 2 = NVM subsystem, 3 = this discovery service */
	uint8_t treq;
	uint16_t portid;
	uint16_t cntlid;
	uint16_t asqsz;
	uint16_t eflags;
	uint8_t sectype;	/* TSAS of TCP: 0 none, 2 TLS 1.3 */
	/* Strings come from the network: unprintable bytes were replaced by '?'. */
	char trsvcid[33];
	char subnqn[257];
	char traddr[257];
	uint32_t service;	/* nof_discover(): the first of log.services that had it */
};

/* A discovery service that was asked, and how that ended. */
struct nof_discovery_service {
	char traddr[257];	/* where it was asked: behind opts.addr_map */
	char trsvcid[33];
	char subnqn[257];	/* its own name if it has one, else the well-known one */
	uint32_t depth;		/* 0: the one named by the caller, 1: named by that one, … */
	uint32_t parent;	/* index of the service that named it; of the first: 0 */
	uint64_t genctr;	/* generation of its log */
	uint64_t records;	/* entries of it that were read */
	int error;		/* 0, or why its log is missing or old */
	char detail[512];	/* sentence, "" when error is 0 */
};

struct nof_discovery_log {
	uint64_t genctr;	/* generation of the log; of the first service's */
	size_t count;		/* entries read */
	uint64_t total;		/* entries the target says it has; count is capped. Of several
				   services: count and what the limits left out */
	struct nof_discovery_entry *entries;
	size_t nservices;	/* nof_discover(): those that were asked, else 0 */
	struct nof_discovery_service *services;
};

/*
 * Reads the discovery log of a live discovery controller, again from the start
 * when it changed meanwhile (GENCTR, EAGAIN after 6 tries); at most 4096 entries.
 * *log is set before done is called with success and is freed by the caller.
 * EOPNOTSUPP unless the controller is a discovery controller.
 */
NOF_API int nof_discovery_get(struct nof_ctrl *ctrl, struct nof_discovery_log **log,
			      nof_done_fn *done, void *arg);
NOF_API int nof_discovery_get_sync(struct nof_ctrl *ctrl, struct nof_discovery_log **log);
NOF_API void nof_discovery_free(struct nof_discovery_log *log);

/* ------------------------------------------------------------------------
 * Discovery of a whole fabric: referrals followed, logs merged, all of it
 * connected
 *
 * Addresses in logs are not trusted: only numeric ones are used, never a name, and
 * limits bound how many. opts.addr_map (ADDR[:PORT]=ADDR[:PORT],… with IPv6 in
 * brackets, or a name on the right) replaces addresses of logs, the first match
 * counts: for targets behind NAT or forwarded ports.
 *
 * Thread: the loop's. nof_discover_entry_opts(): any.
 * ------------------------------------------------------------------------ */

enum nof_discover_flag {
	/* Ask for the entries of the port asked only, or for all subsystems of the whole
	   service (LSP bits PLEO, ALLSUBE; a service that refuses is asked without). */
	NOF_DISCOVER_PORT_LOCAL = 1u << 0,
	NOF_DISCOVER_ALL_SUBSYSTEMS = 1u << 1,
};

struct nof_discover_opts {
	size_t size;		/* sizeof(struct nof_discover_opts): nof_discover_opts_init() */
	uint32_t flags;		/* enum nof_discover_flag, default 0 */
	uint32_t max_depth;	/* referrals of referrals; default 4, 0: follow none */
	uint32_t max_services;	/* services in all; default and at most 64 */
	uint32_t max_parallel;	/* asked at a time; default 8 */
	uint32_t max_records;	/* entries of all logs; default 16384, at most 262144 */
	uint32_t service_timeout_ms;	/* for one service, connect to last entry; default 15000 */
	uint32_t timeout_ms;	/* nof_discover(): for all of it; default 60000. What has not
				   been read by then counts as failed services */
	uint32_t reread_ms;	/* watch: how often a service is read again that cannot tell
				   changes; default 60000 */
};

NOF_API void nof_discover_opts_init_sized(struct nof_discover_opts *opts, size_t size);
#define nof_discover_opts_init(opts) nof_discover_opts_init_sized((opts), sizeof(*(opts)))

/*
 * Asks the discovery service of opts (its subnqn: "", the well-known discovery NQN,
 * or a unique one), and those it refers to: the logs without repetitions, each
 * entry with the service that told it. Entries of another port of the same service
 * (subtype 3) count as referrals unless EFLAGS says that they return the same
 * (DUPRETINFO); of several such ways to one service only one is taken. A service
 * that cannot be asked is one of log->services with its error, and no failure but of
 * the first. *log is set before done is called with success and is freed by the
 * caller (nof_discovery_free()). dopts NULL: defaults. Errors as nof_ctrl_connect()
 * and nof_discovery_get(); EINVAL for impossible options.
 */
NOF_API int nof_discover(struct nof_loop *loop, const struct nof_opts *opts,
			 const struct nof_discover_opts *dopts, struct nof_discovery_log **log,
			 nof_done_fn *done, void *arg);
NOF_API int nof_discover_sync(struct nof_loop *loop, const struct nof_opts *opts,
			      const struct nof_discover_opts *dopts,
			      struct nof_discovery_log **log);

/*
 * Ends what nof_discover(), nof_connect_all() or nof_mdns_browse() began on loop with
 * this arg and is not over: it completes with ECANCELED before this returns. What
 * its callback begins goes on. Returns how many. Needed before nof_loop_free(), if one is
 * under way.
 */
NOF_API int nof_discover_cancel(struct nof_loop *loop, void *arg);

/*
 * The options to connect to an entry: base (one of a discovery URI, say) with the
 * entry's address (addr_map applied), port and NQN. SQ flow control is not disabled
 * where the entry does not offer it (TREQ). base without keep alive, as discovery
 * has it, gets the default for a subsystem. Errors, with a sentence, when it cannot be
 * used: EPROTONOSUPPORT (not TCP), EAFNOSUPPORT (not IP), ENOTSUP (TREQ demands a secure
 * channel), EPROTO (no numeric address, port or NQN). Anything but an NQN and an
 * address is left to nof_ctrl_new(). out may be base. Any thread.
 */
NOF_API int nof_discover_entry_opts(const struct nof_discovery_entry *entry,
				    const struct nof_opts *base, struct nof_opts *out);

/*
 * A watch: the same walk, and then the controllers of the services that can tell
 * changes are kept (keep alive of opts, 30 s if it has none; the unique NQN is used
 * where there is one), and the others are read again every reread_ms. What a lost
 * service told stays until it can be asked again.
 */
struct nof_discovery_watch;

struct nof_discovery_update {
	size_t size;				/* sizeof of the library's struct */
	const struct nof_discovery_log *log;	/* all there is now, as of nof_discover() */
	const struct nof_discovery_entry *const *added;	/* of log->entries */
	size_t nadded;
	const struct nof_discovery_entry *const *removed;	/* of the log before */
	size_t nremoved;
};

/* Everything is valid during the call only. May free the watch. */
typedef void nof_discovery_fn(void *arg, const struct nof_discovery_update *update);

/*
 * fn is called when the first service was read and no other is being read, then
 * whenever entries or the state of a service changed. Changes are put together: fn
 * comes when nothing is being read any more, or after a second. A first service that
 * cannot be reached is no end: update.log has its error then, and it is tried again.
 */
NOF_API int nof_discover_watch(struct nof_loop *loop, const struct nof_opts *opts,
			       const struct nof_discover_opts *dopts, nof_discovery_fn *fn,
			       void *arg, struct nof_discovery_watch **watch);
/* Reads all logs again, soon. */
NOF_API int nof_discover_watch_refresh(struct nof_discovery_watch *watch);
/* fn is not called any more. NULL is accepted. */
NOF_API void nof_discover_watch_free(struct nof_discovery_watch *watch);

struct nof_connect_all_opts {
	size_t size;		/* sizeof(struct nof_connect_all_opts): its init call */
	char subnqn[224];	/* only this subsystem; default "": all */
	uint32_t max_parallel;	/* connected at a time; default 8, 1..64 */
	uint32_t max_ctrls;	/* records tried; default 64, 1..1024 */
	uint32_t timeout_ms;	/* for one record; default 30000 */
	nof_event_fn *events;	/* of the controllers, from their first state on, also of those
				   that fail and are freed again; default NULL */
	void *events_arg;
	const struct nof_discover_opts *discover;	/* of the walk; default NULL */
};

NOF_API void nof_connect_all_opts_init_sized(struct nof_connect_all_opts *opts, size_t size);
#define nof_connect_all_opts_init(opts) nof_connect_all_opts_init_sized((opts), sizeof(*(opts)))

/* What became of one entry of the log. */
struct nof_connect_record {
	size_t entry;		/* index in log->entries */
	struct nof_ctrl *ctrl;	/* live when it was connected, the caller's; NULL: see error */
	int error;
	char detail[512];	/* sentence, "" when error is 0 */
};

struct nof_connect_result {
	const struct nof_discovery_log *log;	/* the one given; or that of the walk */
	size_t count;				/* entries that are subsystems, in its order */
	struct nof_connect_record *records;
	size_t connected;			/* of them */
};

/*
 * Connects all subsystems of a log of nof_discover() or nof_discovery_get(), several
 * at a time: nof_discover_entry_opts() of each with opts. log NULL: of the walk that
 * nof_discover() makes with opts first; else it must stay until done is called. Each
 * controller may then give namespaces, and paths of them. Not connected are: what
 * nof_discover_entry_opts() refuses; an address, port and NQN that came before (EEXIST,
 * unless opts.duplicate_connect); ports that lead nowhere (EFLAGS.NCC: EHOSTUNREACH); more than
 * max_ctrls (E2BIG). One controller is success; none is the error of the first record
 * that failed, or ENOENT when the log has no such subsystem. *result is set before done is
 * called with success; the caller frees it by nof_connect_all_free(), and the
 * controllers apart from it. opts.pcap is written by the first controller only.
 */
NOF_API int nof_connect_all(struct nof_loop *loop, const struct nof_opts *opts,
			    const struct nof_connect_all_opts *aopts,
			    const struct nof_discovery_log *log,
			    struct nof_connect_result **result, nof_done_fn *done, void *arg);
NOF_API int nof_connect_all_sync(struct nof_loop *loop, const struct nof_opts *opts,
				 const struct nof_connect_all_opts *aopts,
				 const struct nof_discovery_log *log,
				 struct nof_connect_result **result);
/* Without the controllers. NULL is accepted. */
NOF_API void nof_connect_all_free(struct nof_connect_result *result);

/* A discovery service that announces itself on the local network (TP8009). */
struct nof_mdns_service {
	/* Strings come from the network: unprintable bytes were replaced by '?'. */
	char name[64];		/* of the instance, for people */
	char host[256];
	char traddr[64];	/* numeric; link-local IPv6 with %INTERFACE */
	char trsvcid[8];
	char subnqn[224];	/* the one announced, or the well-known discovery NQN */
	char iface[16];		/* where it was heard */
};

struct nof_mdns_list {
	size_t count;
	struct nof_mdns_service *services;
};

/*
 * Asks the Avahi daemon for services of type _nvme-disc._tcp (TXT: p=tcp, nqn=NQN), for at most
 * timeout_ms (0: 3000), less when all have answered before; none is an empty list. *list
 * is set before done is called with success and is freed by the caller. Anybody on the
 * network can announce anything: it is a place to look, not to trust. Errors: ENOSYS
 * (built without, or Avahi's library is not installed), ENOTCONN (no daemon), EACCES, ETIMEDOUT
 * (D-Bus is stuck). Ends early by nof_discover_cancel().
 */
NOF_API int nof_mdns_browse(struct nof_loop *loop, uint32_t timeout_ms,
			    struct nof_mdns_list **list, nof_done_fn *done, void *arg);
NOF_API int nof_mdns_browse_sync(struct nof_loop *loop, uint32_t timeout_ms,
				 struct nof_mdns_list **list);
NOF_API void nof_mdns_free(struct nof_mdns_list *list);

/* The options for nof_discover() to ask that service: base with address, port, NQN. Any thread. */
NOF_API int nof_mdns_service_opts(const struct nof_mdns_service *service,
				  const struct nof_opts *base, struct nof_opts *out);

/* ------------------------------------------------------------------------
 * Administration
 *
 * Commands for the admin queue of a live controller. They run one after the other, in
 * the order of the calls, and keep alives go on beside them. Argument structs are
 * copied by the call: set .size to sizeof the struct and what is not used to 0. Data
 * buffers are the library's until the callback; their lengths are multiples of 4.
 * A completion's .result is DW1:DW0 of the answer. The _sync forms take the same
 * arguments, run the loop meanwhile, and store the result where one is of use (result
 * may be NULL).
 *
 * Submit errors: EINVAL, E2BIG (a struct of a newer header uses what this version does
 * not know), ENOTCONN (not live), EOPNOTSUPP (the controller lacks it: the sentence
 * names the bit), EPERM (the library's to send, or to set), EMSGSIZE (more data than one
 * command moves). Completion errors: the NVMe status as errno, with .status; transport
 * errors. Numbers in parentheses are those of the NVMe base specification 2.0.
 *
 * timeout_ms: of each command, 0 = admin_timeout. When it is over, so is the association
 * with the controller: give formats and the like what they need.
 *
 * Thread: the controller's loop's.
 * ------------------------------------------------------------------------ */

/* A command in raw form, for nof_admin() and nof_io_passthru(). */
struct nof_passthru {
	size_t size;			/* in: sizeof the struct */
	uint8_t opcode;
	uint8_t fctype;			/* type of a Fabrics command (opcode 7Fh) */
	uint32_t nsid;
	uint32_t cdw2, cdw3;
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
	void *data;			/* its direction is in bits 1:0 of opcode (or fctype) */
	uint32_t data_len;		/* bytes, 0 = none */
	uint32_t timeout_ms;		/* admin commands only */
};

/*
 * Any admin command but those that are the library's: creating and deleting queues,
 * Abort, Asynchronous Event Request, Keep Alive, Fabrics commands other than Property
 * Get and vendors', and setting the features nof_set_feature() refuses (EPERM). Command
 * identifier, data pointer and fusing are the library's. What it does to namespaces that
 * are open is the caller's business.
 */
NOF_API int nof_admin(struct nof_ctrl *ctrl, const struct nof_passthru *cmd, nof_done_fn *done,
		      void *arg);
NOF_API int nof_admin_sync(struct nof_ctrl *ctrl, const struct nof_passthru *cmd,
			   uint64_t *result);

struct nof_identify_args {
	size_t size;
	uint8_t cns;			/* what is to be identified (5.17, figure 273) */
	uint8_t csi;			/* command set, for CNS that want one: 0 NVM, 2 ZNS */
	uint16_t cntid;
	uint16_t cns_id;		/* CNS specific identifier, e.g. an NVM set */
	uint32_t nsid;
	uint8_t uuid_index;
};

/* Identify (5.17): 4096 bytes into data, as the controller sent them. */
NOF_API int nof_identify(struct nof_ctrl *ctrl, const struct nof_identify_args *args, void *data,
			 nof_done_fn *done, void *arg);
NOF_API int nof_identify_sync(struct nof_ctrl *ctrl, const struct nof_identify_args *args,
			      void *data);

struct nof_log_args {
	size_t size;
	uint8_t lid;			/* log page */
	uint8_t lsp;			/* log specific parameter, 7 bits */
	uint16_t lsi;			/* log specific identifier */
	uint8_t csi;
	uint8_t uuid_index;
	bool keep_event;		/* do not let the controller report the next event (RAE) */
	uint32_t nsid;			/* 0 = FFFFFFFFh, the controller's own */
	uint64_t offset;		/* bytes, multiple of 4 */
};

/*
 * Get Log Page (5.16): len bytes of a page from offset on, in as many commands as MDTS
 * wants. A page that may change between them says so itself (a generation, a count): a
 * reader checks it. Behind the end of a page there are zeroes, or the command fails.
 */
NOF_API int nof_get_log(struct nof_ctrl *ctrl, const struct nof_log_args *args, void *data,
			size_t len, nof_done_fn *done, void *arg);
NOF_API int nof_get_log_sync(struct nof_ctrl *ctrl, const struct nof_log_args *args, void *data,
			     size_t len);

struct nof_feature_args {
	size_t size;
	uint8_t fid;
	uint8_t select;			/* get: 0 current, 1 default, 2 saved, 3 capabilities */
	bool save;			/* set: also for the time after a reset */
	uint8_t uuid_index;
	uint32_t nsid;
	uint32_t cdw11, cdw12, cdw13, cdw15;	/* get: cdw11 only */
	void *data;			/* of features that have some; set: not written to */
	uint32_t data_len;
};

/*
 * Get and Set Features (5.15, 5.27); the value is in the result. Features that the
 * library owns can be read only (EPERM): 07h queues, 0Bh events, 0Fh keep alive, 16h host
 * behaviour, 19h command set profile, 81h host identifier.
 */
NOF_API int nof_get_feature(struct nof_ctrl *ctrl, const struct nof_feature_args *args,
			    nof_done_fn *done, void *arg);
NOF_API int nof_get_feature_sync(struct nof_ctrl *ctrl, const struct nof_feature_args *args,
				 uint64_t *result);
NOF_API int nof_set_feature(struct nof_ctrl *ctrl, const struct nof_feature_args *args,
			    nof_done_fn *done, void *arg);
NOF_API int nof_set_feature_sync(struct nof_ctrl *ctrl, const struct nof_feature_args *args,
				 uint64_t *result);

struct nof_ns_create_args {
	size_t size;
	uint64_t blocks;		/* NSZE */
	uint64_t capacity;		/* NCAP, blocks; 0 = all of them */
	uint8_t format;			/* index of the LBA format, 0..63 */
	uint8_t csi;
	uint8_t pi_type;		/* protection information: 0 none, 1, 2, 3 */
	bool is_pi_first;		/* in the first bytes of the metadata, not the last */
	bool is_shared;			/* may be attached to several controllers */
	uint32_t ana_group;		/* 0 = the controller's choice */
	uint16_t nvmset;
	uint16_t endurance_group;
	uint32_t timeout_ms;
};

/*
 * Namespace Management (5.23): makes a namespace, whose NSID is the result, and that no
 * controller shows until it is attached; deletes one (FFFFFFFFh: all).
 */
NOF_API int nof_ns_create(struct nof_ctrl *ctrl, const struct nof_ns_create_args *args,
			  nof_done_fn *done, void *arg);
NOF_API int nof_ns_create_sync(struct nof_ctrl *ctrl, const struct nof_ns_create_args *args,
			       uint32_t *nsid);
NOF_API int nof_ns_delete(struct nof_ctrl *ctrl, uint32_t nsid, uint32_t timeout_ms,
			  nof_done_fn *done, void *arg);
NOF_API int nof_ns_delete_sync(struct nof_ctrl *ctrl, uint32_t nsid, uint32_t timeout_ms);

/* Namespace Attachment (5.22), to n controllers by CNTLID; n 0: the one that is asked. */
NOF_API int nof_ns_attach(struct nof_ctrl *ctrl, uint32_t nsid, const uint16_t *cntlids, size_t n,
			  nof_done_fn *done, void *arg);
NOF_API int nof_ns_attach_sync(struct nof_ctrl *ctrl, uint32_t nsid, const uint16_t *cntlids,
			       size_t n);
NOF_API int nof_ns_detach(struct nof_ctrl *ctrl, uint32_t nsid, const uint16_t *cntlids, size_t n,
			  nof_done_fn *done, void *arg);
NOF_API int nof_ns_detach_sync(struct nof_ctrl *ctrl, uint32_t nsid, const uint16_t *cntlids,
			       size_t n);

enum nof_erase { NOF_ERASE_NONE, NOF_ERASE_USER_DATA, NOF_ERASE_CRYPTO };

struct nof_format_args {
	size_t size;
	uint32_t nsid;			/* FFFFFFFFh = all */
	uint8_t format;			/* index of the LBA format, 0..63 */
	uint8_t pi_type;		/* protection information: 0 none, 1, 2, 3 */
	bool is_pi_first;
	enum nof_erase erase;
	uint32_t timeout_ms;
};

/* Format NVM (5.14): the namespace's data is gone. Close it before, open it again after. */
NOF_API int nof_format(struct nof_ctrl *ctrl, const struct nof_format_args *args,
		       nof_done_fn *done, void *arg);
NOF_API int nof_format_sync(struct nof_ctrl *ctrl, const struct nof_format_args *args);

enum nof_sanitize_action {
	NOF_SANITIZE_EXIT_FAILURE = 1,
	NOF_SANITIZE_BLOCK_ERASE = 2,
	NOF_SANITIZE_OVERWRITE = 3,
	NOF_SANITIZE_CRYPTO_ERASE = 4,
};

struct nof_sanitize_args {
	size_t size;
	enum nof_sanitize_action action;
	bool allow_unrestricted_exit;	/* AUSE: a failure may be left without success */
	bool no_deallocate;
	uint8_t overwrite_passes;	/* 1..16, 0 = 16 */
	bool invert_pattern;		/* between passes */
	uint32_t pattern;
	uint32_t timeout_ms;
};

/*
 * Sanitize (5.24): starts it; all data of the subsystem will be gone. It goes on by
 * itself: log page 81h tells how far it is, and an event when it is over.
 */
NOF_API int nof_sanitize(struct nof_ctrl *ctrl, const struct nof_sanitize_args *args,
			 nof_done_fn *done, void *arg);
NOF_API int nof_sanitize_sync(struct nof_ctrl *ctrl, const struct nof_sanitize_args *args);

enum nof_self_test {
	NOF_SELF_TEST_SHORT = 1,
	NOF_SELF_TEST_EXTENDED = 2,
	NOF_SELF_TEST_VENDOR = 14,
	NOF_SELF_TEST_ABORT = 15,
};

/* Device Self-test (5.9): starts or aborts one; log page 06h has the results. nsid 0: none. */
NOF_API int nof_self_test(struct nof_ctrl *ctrl, uint32_t nsid, enum nof_self_test test,
			  nof_done_fn *done, void *arg);
NOF_API int nof_self_test_sync(struct nof_ctrl *ctrl, uint32_t nsid, enum nof_self_test test);

/*
 * Firmware Image Download (5.13): len bytes of the image that belong at offset, in pieces
 * of the granularity the controller wants (FWUG).
 */
NOF_API int nof_fw_download(struct nof_ctrl *ctrl, const void *image, size_t len, uint64_t offset,
			    nof_done_fn *done, void *arg);
NOF_API int nof_fw_download_sync(struct nof_ctrl *ctrl, const void *image, size_t len,
				 uint64_t offset);
/*
 * Firmware Commit (5.12). action: 0 replace, 1 replace and activate at reset, 2 activate
 * at reset, 3 activate now. One that was done but takes effect only after a reset
 * succeeds; result is then the NVMe status that says which: 10Bh a conventional reset,
 * 110h of the subsystem, 111h of the controller; else DW0 of the answer.
 */
NOF_API int nof_fw_commit(struct nof_ctrl *ctrl, uint8_t slot, uint8_t action,
			  uint32_t timeout_ms, nof_done_fn *done, void *arg);
NOF_API int nof_fw_commit_sync(struct nof_ctrl *ctrl, uint8_t slot, uint8_t action,
			       uint32_t timeout_ms, uint64_t *result);

struct nof_security_args {
	size_t size;
	uint8_t secp;			/* security protocol */
	uint8_t nssf;			/* NVMe security specific field */
	uint16_t spsp;			/* specific to the protocol */
	uint32_t nsid;
	uint32_t timeout_ms;
};

/* Security Send and Receive (5.25, 5.26). */
NOF_API int nof_security_send(struct nof_ctrl *ctrl, const struct nof_security_args *args,
			      const void *data, uint32_t len, nof_done_fn *done, void *arg);
NOF_API int nof_security_send_sync(struct nof_ctrl *ctrl, const struct nof_security_args *args,
				   const void *data, uint32_t len);
NOF_API int nof_security_receive(struct nof_ctrl *ctrl, const struct nof_security_args *args,
				 void *data, uint32_t len, nof_done_fn *done, void *arg);
NOF_API int nof_security_receive_sync(struct nof_ctrl *ctrl, const struct nof_security_args *args,
				      void *data, uint32_t len);

/* ------------------------------------------------------------------------
 * Namespace
 *
 * What a namespace is known by and its block size never change while it is open; its
 * size may, and is what the controllers said last.
 *
 * Thread: nof_ns_open() the controller's loop's; the other calls may come from any thread.
 * ------------------------------------------------------------------------ */

/*
 * Identifies a namespace: Identify Namespace, descriptors, command set data.
 * id: NSID in decimal, or UUID, NGUID, EUI64 in hex; NULL or "": the one of the
 * options (URI), or else the first active. *ns is set before done is called with
 * success and is closed by the caller. ENODEV: no such active namespace; ENOTSUP:
 * a format this version cannot drive (metadata in a buffer of its own, which no fabric
 * moves; command sets other than NVM and zoned namespaces; blocks above 64 KiB).
 */
NOF_API int nof_ns_open(struct nof_ctrl *ctrl, const char *id, struct nof_ns **ns,
			nof_done_fn *done, void *arg);
NOF_API int nof_ns_open_sync(struct nof_ctrl *ctrl, const char *id, struct nof_ns **ns);

/* Frees the handle. Its channels must have been closed. NULL is accepted. */
NOF_API void nof_ns_close(struct nof_ns *ns);

enum nof_ns_feature {
	NOF_NS_WRITE_ZEROES = 1u << 0,
	NOF_NS_DEALLOCATE = 1u << 1,
	NOF_NS_COMPARE = 1u << 2,
	NOF_NS_VOLATILE_CACHE = 1u << 3,	/* flush matters */
	NOF_NS_READ_ONLY = 1u << 4,		/* write protected now */
	NOF_NS_SHARED = 1u << 5,		/* other controllers may reach it */
	NOF_NS_DEALLOC_ZEROES = 1u << 6,	/* deallocated blocks read as zeroes */
	NOF_NS_WRITE_ZEROES_DEAC = 1u << 7,	/* write zeroes may deallocate */
	NOF_NS_VERIFY = 1u << 8,
	NOF_NS_WRITE_UNCORRECTABLE = 1u << 9,
	NOF_NS_COPY = 1u << 10,
	NOF_NS_COMPARE_WRITE = 1u << 11,	/* compare and write, fused */
	NOF_NS_RESERVATIONS = 1u << 12,
	NOF_NS_ZONE_APPEND = 1u << 13,
};

struct nof_ns_info {
	size_t size;			/* in: sizeof the struct */
	uint32_t nsid;
	uint32_t block_size;		/* bytes of a logical block */
	uint64_t blocks;		/* NSZE */
	uint64_t bytes;			/* blocks * block_size */
	uint32_t features;		/* enum nof_ns_feature */
	uint64_t max_transfer;		/* bytes of one read or write command; larger are split */
	uint64_t max_write_zeroes;	/* bytes of one command; larger are split */
	uint64_t max_deallocate;	/* bytes of one command; larger are split */
	uint32_t preferred_io;		/* bytes: good multiple for I/O, 0 unknown (NPWG/NOIOB) */
	uint32_t preferred_deallocate;	/* bytes: good granularity, 0 unknown (NPDG) */
	uint8_t csi;			/* command set: 0 = NVM, 2 = ZNS */
	bool has_uuid, has_nguid, has_eui64;
	uint8_t uuid[16];
	uint8_t nguid[16];
	uint8_t eui64[8];
	uint32_t metadata_size;		/* bytes with each block, beyond block_size */
	uint8_t pi_type;		/* protection information: 0 = none, 1, 2, 3 */
	uint8_t pi_guard_bits;		/* 16, 32 or 64; 0 = none */
	uint8_t pi_storage_tag_bits;
	bool is_pi_first;		/* in front of other metadata, not behind it */
	bool needs_metadata;		/* nof_read() and the like are refused: nof_readv_pi() */
	uint64_t max_verify;		/* bytes of one command; larger are split */
	uint64_t max_compare_write;	/* bytes that are compared and written as one step */
	uint64_t atomic_write;		/* bytes that others see written all or not at all */
	uint64_t atomic_write_power_fail;	/* the same through power loss (NOF_IO_ATOMIC) … */
	uint64_t atomic_boundary;	/* … not across multiples of so many bytes, 0 = anywhere */
	uint64_t atomic_boundary_offset;	/* where the first of them begins */
	uint64_t max_copy_range;	/* bytes of a range of one Copy; larger are split */
	uint64_t max_copy;		/* bytes of one Copy */
	uint32_t max_copy_ranges;	/* of one Copy */
	uint32_t max_open_zones;	/* 0 = no limit */
	uint32_t max_active_zones;	/* 0 = no limit */
	uint64_t zone_size;		/* blocks, 0 = no zones */
	uint64_t zones;
	uint64_t max_append;		/* bytes of one nof_zone_append() */
};

NOF_API int nof_ns_get_info(const struct nof_ns *ns, struct nof_ns_info *info);

/* ------------------------------------------------------------------------
 * Paths: a namespace through several controllers
 *
 * A namespace has a path by the controller it was opened through, and as many as are
 * added. Its channels hold an I/O queue of every controller. Which path a command takes:
 * first what ANA says (optimized before non-optimized, no others), then the policy.
 *
 * When a path is lost, what was under way by it is sent again: reads at once by another
 * path, or when one is back; commands that change data not before the time in which the
 * target may still be executing the lost one (option write_hold); those that would do
 * something else the second time fail. Requests wait for as long as a path may return, and
 * for at most ctrl_loss_tmo; see NOF_IO_FAIL_FAST, nof_chan_set_fail_fast(),
 * nof_chan_cancel() and the option fast_io_fail_tmo for those that do not want to wait.
 *
 * A controller that comes back is asked again who the namespace is before any I/O goes
 * there: another identity, or another block size, and the path is refused (ESTALE).
 *
 * Thread: nof_ns_add_path() the new controller's loop's; the others any.
 * ------------------------------------------------------------------------ */

/* How a controller can access a namespace (ANA state of its group). */
enum nof_ana_state {
	NOF_ANA_NONE = 0,		/* the controller does not report it: always accessible */
	NOF_ANA_OPTIMIZED = 1,
	NOF_ANA_NON_OPTIMIZED = 2,	/* used while no path is optimized */
	NOF_ANA_INACCESSIBLE = 3,	/* not used, may return */
	NOF_ANA_PERSISTENT_LOSS = 4,	/* not used, does not return by itself */
	NOF_ANA_CHANGE = 15,		/* in transition: not used; when that takes longer than
					   twice what the controller said, it is reset */
};

enum nof_path_state {
	NOF_PATH_CHECKING,	/* live, the namespace is being identified */
	NOF_PATH_UP,		/* may be used, if its ANA state permits it */
	NOF_PATH_DOWN,		/* the controller is lost and may come back */
	NOF_PATH_REFUSED,	/* live, but what it shows is not this namespace: .detail */
	NOF_PATH_GONE,		/* the controller has failed or was closed: .detail */
};

struct nof_path_info {
	size_t size;			/* in, of the first: sizeof the struct */
	struct nof_ctrl *ctrl;		/* as given; it may have been freed since */
	char address[300];		/* HOST:PORT as in a URI */
	enum nof_path_state state;
	enum nof_ana_state ana;
	uint32_t ana_group;		/* 0: none */
	uint32_t nsid;			/* through this controller */
	bool is_usable;			/* UP, and accessible */
	bool is_preferred;
	bool is_pinned;
	uint32_t inflight;		/* commands under way */
	uint32_t avg_latency_us;	/* of commands lately, 0: none yet */
	uint64_t commands;		/* completed */
	uint64_t bytes;			/* of data of those that succeeded */
	uint64_t errors;		/* that ended badly; of these … */
	uint64_t retries;		/* … were sent again, by any path, and of these … */
	uint64_t failovers;		/* … because of the path */
	char detail[256];		/* why it is not up; "" = it is */
	uint64_t hedges;		/* reads that were sent once more (option hedge) … */
	uint64_t hedge_wins;		/* … and of those, how many the second answer completed */
};

/*
 * Adds the path through ctrl, which is live and of the same subsystem: looks there for the
 * namespace by its UUID, NGUID or EUI64. Channels that are open use it from then on. ENOTUNIQ:
 * the namespace has no such identifier; ESTALE: the controller does not show it, or another
 * subsystem's, or with another block size; EEXIST: is a path already, or has the same address
 * (unless the option duplicate_connect is on); ENOSPC: more than 32.
 */
NOF_API int nof_ns_add_path(struct nof_ns *ns, struct nof_ctrl *ctrl, nof_done_fn *done,
			    void *arg);
NOF_API int nof_ns_add_path_sync(struct nof_ns *ns, struct nof_ctrl *ctrl);

/*
 * Removes it: nothing new goes there. What is under way there runs to its end, within
 * io_timeout; when the controller is lost, freed or disconnected before, it is repeated
 * elsewhere by the rules above, or fails when there is no other path. ENOENT.
 */
NOF_API int nof_ns_remove_path(struct nof_ns *ns, struct nof_ctrl *ctrl);

/*
 * What is known of the paths, in the order in which they were added: writes at most max,
 * info->size bytes apart, and returns how many there are.
 */
NOF_API int nof_ns_get_paths(const struct nof_ns *ns, struct nof_path_info *info, size_t max);

/* The default is the option iopolicy of the first controller. */
NOF_API int nof_ns_set_iopolicy(struct nof_ns *ns, enum nof_iopolicy policy);

/* Only this path is used, whatever becomes of it; NULL: all. ENOENT. */
NOF_API int nof_ns_pin_path(struct nof_ns *ns, struct nof_ctrl *ctrl);

/*
 * Among equally accessible paths this one is used while it can be, and again as soon as it
 * can be; NULL: none is preferred. ENOENT.
 */
NOF_API int nof_ns_set_preferred(struct nof_ns *ns, struct nof_ctrl *ctrl);

/* "optimized", … and "up", …. */
NOF_API const char *nof_ana_state_name(enum nof_ana_state state);
NOF_API const char *nof_path_state_name(enum nof_path_state state);

/* ------------------------------------------------------------------------
 * Channel
 *
 * Thread: all calls on a channel, and its callbacks, are of the thread of the loop
 * it was opened on. Channels of one controller on different loops do not disturb
 * each other: their threads may open, use and close them at the same time.
 * ------------------------------------------------------------------------ */

/*
 * Opens a namespace for I/O on loop (its controller's, or another): connects an
 * I/O queue there for each path, or shares one that the controller already has on that
 * loop once all granted queues are in use. It is open as soon as one path is ready. While
 * none is, but one may return, it waits as requests do: for at most ctrl_loss_tmo, or
 * fast_io_fail_tmo since the loss; it ends when the last controller is freed. Call it
 * on the thread of loop. *chan is set before done is called with success. Completion
 * errors: as nof_ctrl_connect(), and the reason of the path that did not return; ENOSPC when
 * all queues live on other loops. ENOTCONN when there is nothing to wait for, or ctrl_loss_tmo
 * is 0.
 */
NOF_API int nof_chan_open(struct nof_ns *ns, struct nof_loop *loop, struct nof_chan **chan,
			  nof_done_fn *done, void *arg);
NOF_API int nof_chan_open_sync(struct nof_ns *ns, struct nof_loop *loop, struct nof_chan **chan);

/*
 * Closes a channel. A queue that no other channel uses is closed with it: what is
 * in flight completes with ECANCELED before this returns. On a shared queue, what
 * has been sent runs to its end (its buffers are still in use): this waits for it,
 * or, called inside a callback, returns at once and the rest completes later, as
 * it would have; the handle is gone in every case. NULL is accepted.
 *
 * Where the target has the Disconnect command, an idle queue on the controller's loop says
 * it and ends in turns that follow, within a second; nof_ctrl_disconnect() and
 * nof_ctrl_free() end it at once. Whoever wants the target to hear it runs the loop a while.
 */
NOF_API void nof_chan_close(struct nof_chan *chan);

NOF_API struct nof_ns *nof_chan_get_ns(const struct nof_chan *chan);
NOF_API struct nof_loop *nof_chan_get_loop(const struct nof_chan *chan);
NOF_API uint16_t nof_chan_get_qid(const struct nof_chan *chan);

/* Operations that can be open at a time; one more is refused with EAGAIN. */
NOF_API uint32_t nof_chan_get_limit(const struct nof_chan *chan);
NOF_API uint32_t nof_chan_get_inflight(const struct nof_chan *chan);

/*
 * Calls done when everything that was accepted before has completed; what is accepted
 * later does not delay it. ENOMEM.
 */
NOF_API int nof_chan_drain(struct nof_chan *chan, nof_done_fn *done, void *arg);

/*
 * Gives up what waits: for a slot, for a path, to be sent again. Those requests complete
 * with ECANCELED soon (not inside this call), or when the commands of theirs that are with
 * a controller have ended, which they do by themselves. Returns how many requests. What
 * was sent before and waited to be sent again may have been executed, and may still be: see
 * Errors; the sentence says of which this is so.
 */
NOF_API int nof_chan_cancel(struct nof_chan *chan);

/*
 * While on, all requests behave as with NOF_IO_FAIL_FAST; those that wait for a path when it is
 * switched on fail. Those of them that were sent before may still be executed: see Errors.
 */
NOF_API int nof_chan_set_fail_fast(struct nof_chan *chan, bool is_on);

/* ------------------------------------------------------------------------
 * I/O
 *
 * Offsets and lengths are bytes and multiples of the block size (EINVAL), within
 * the namespace (ERANGE). A request of any size is split by the controller's
 * limits and completes once, when all of it is done; when parts fail it reports
 * the first failure. Requests submitted are sent by nof_loop_flush() or at the end
 * of the current process call. Submit errors: EAGAIN (too many open, wait for a
 * completion), ENOTCONN (no path, and none may return), EOPNOTSUPP (the controller cannot), EROFS,
 * EINVAL, ERANGE.
 *
 * Thread: the channel's loop's.
 * ------------------------------------------------------------------------ */

enum nof_io_flag {
	NOF_IO_FUA = 1u << 0,		/* write, write zeroes, read: force unit access */
	NOF_IO_LR = 1u << 1,		/* limited retry */
	NOF_IO_DEALLOCATE = 1u << 2,	/* write zeroes: deallocate if possible (DEAC) */
	NOF_IO_LBA = 1u << 3,		/* offset, and the length where no buffer is given, count
					   logical blocks instead of bytes */
	NOF_IO_FAIL_FAST = 1u << 4,	/* not sent again after a failure, and not kept waiting
					   for a path; a write that fails so may still be
					   executed, see Errors */
	NOF_IO_ATOMIC = 1u << 5,	/* write: EMSGSIZE unless it is one command that is written
					   all or not at all, also when power fails */
};

NOF_API int nof_read(struct nof_chan *chan, void *buf, size_t len, uint64_t offset, uint32_t flags,
		     nof_done_fn *done, void *arg);
NOF_API int nof_write(struct nof_chan *chan, const void *buf, size_t len, uint64_t offset,
		      uint32_t flags, nof_done_fn *done, void *arg);
/* iovecs of any shape and alignment; their sum is the length. Up to INT_MAX elements. */
NOF_API int nof_readv(struct nof_chan *chan, const struct iovec *iov, int iovcnt, uint64_t offset,
		      uint32_t flags, nof_done_fn *done, void *arg);
NOF_API int nof_writev(struct nof_chan *chan, const struct iovec *iov, int iovcnt, uint64_t offset,
		       uint32_t flags, nof_done_fn *done, void *arg);
/* Compare the medium with a buffer: EILSEQ when they differ (NVM Compare). */
NOF_API int nof_compare(struct nof_chan *chan, const void *buf, size_t len, uint64_t offset,
			uint32_t flags, nof_done_fn *done, void *arg);
NOF_API int nof_comparev(struct nof_chan *chan, const struct iovec *iov, int iovcnt,
			 uint64_t offset, uint32_t flags, nof_done_fn *done, void *arg);
/*
 * All writes completed before become durable. Without a volatile cache there is
 * nothing to do: it succeeds, still asynchronously.
 */
NOF_API int nof_flush(struct nof_chan *chan, nof_done_fn *done, void *arg);
NOF_API int nof_write_zeroes(struct nof_chan *chan, uint64_t len, uint64_t offset, uint32_t flags,
			     nof_done_fn *done, void *arg);
/* A hint (Dataset Management): what is read afterwards is old data, zeroes or ones. */
NOF_API int nof_deallocate(struct nof_chan *chan, uint64_t len, uint64_t offset, uint32_t flags,
			   nof_done_fn *done, void *arg);

/* The same, waiting, and running the loop meanwhile. 0 or a negative errno. */
NOF_API int nof_pread(struct nof_chan *chan, void *buf, size_t len, uint64_t offset,
		      uint32_t flags);
NOF_API int nof_pwrite(struct nof_chan *chan, const void *buf, size_t len, uint64_t offset,
		       uint32_t flags);
NOF_API int nof_preadv(struct nof_chan *chan, const struct iovec *iov, int iovcnt, uint64_t offset,
		       uint32_t flags);
NOF_API int nof_pwritev(struct nof_chan *chan, const struct iovec *iov, int iovcnt,
			uint64_t offset, uint32_t flags);
NOF_API int nof_pcompare(struct nof_chan *chan, const void *buf, size_t len, uint64_t offset,
			 uint32_t flags);
NOF_API int nof_pflush(struct nof_chan *chan);
NOF_API int nof_pwrite_zeroes(struct nof_chan *chan, uint64_t len, uint64_t offset,
			      uint32_t flags);
NOF_API int nof_pdeallocate(struct nof_chan *chan, uint64_t len, uint64_t offset, uint32_t flags);

/* ------------------------------------------------------------------------
 * More commands of the NVM command set
 *
 * As in section I/O: bytes, or blocks with NOF_IO_LBA; split by the limits that the
 * controller has for each; EOPNOTSUPP with a sentence when it lacks the command. p
 * names wait.
 *
 * Thread: the channel's loop's.
 * ------------------------------------------------------------------------ */

/* Lets the controller read the medium and check it, without moving data (Verify). */
NOF_API int nof_verify(struct nof_chan *chan, uint64_t len, uint64_t offset, uint32_t flags,
		       nof_done_fn *done, void *arg);
NOF_API int nof_pverify(struct nof_chan *chan, uint64_t len, uint64_t offset, uint32_t flags);

/* Makes reading fail until it is written again (Write Uncorrectable). */
NOF_API int nof_write_uncorrectable(struct nof_chan *chan, uint64_t len, uint64_t offset,
				    uint32_t flags, nof_done_fn *done, void *arg);
NOF_API int nof_pwrite_uncorrectable(struct nof_chan *chan, uint64_t len, uint64_t offset,
				     uint32_t flags);

struct nof_copy_range {
	uint64_t offset;		/* bytes, or blocks with NOF_IO_LBA */
	uint64_t length;
};

/*
 * Copies ranges of the namespace, one behind the other, to offset, inside the
 * controller (Copy). Split by MSSRL, MSRC and MCL; the commands run one after the other,
 * in order. The ranges must not overlap the destination (EINVAL); they are copied by the
 * call. Protection information is checked and made anew, as for nof_read() and nof_write().
 */
NOF_API int nof_copy(struct nof_chan *chan, const struct nof_copy_range *ranges, size_t n,
		     uint64_t offset, uint32_t flags, nof_done_fn *done, void *arg);
NOF_API int nof_pcopy(struct nof_chan *chan, const struct nof_copy_range *ranges, size_t n,
		      uint64_t offset, uint32_t flags);

/*
 * Writes data where the medium holds expected, as one atomic step (Compare and Write,
 * fused): EILSEQ when it holds something else, and then nothing is written. Never
 * split: EMSGSIZE when len exceeds what the controller does atomically (or one command).
 */
NOF_API int nof_compare_write(struct nof_chan *chan, const void *expected, const void *data,
			      size_t len, uint64_t offset, uint32_t flags, nof_done_fn *done,
			      void *arg);
NOF_API int nof_pcompare_write(struct nof_chan *chan, const void *expected, const void *data,
			       size_t len, uint64_t offset, uint32_t flags);

/*
 * Any I/O command in raw form, to the channel's namespace (cmd->nsid: its NSID, or 0 for
 * it, or FFFFFFFFh where the command allows that): as one command, never split and, once
 * sent, never sent again. Fusing, data pointer and identifier are the library's;
 * Fabrics commands are refused (EPERM). Metadata travels inside the data, as part of each
 * block. cmd is copied, its data is not; cmd->timeout_ms must be 0. completion.result: DW1:DW0.
 */
NOF_API int nof_io_passthru(struct nof_chan *chan, const struct nof_passthru *cmd,
			    nof_done_fn *done, void *arg);
NOF_API int nof_pio_passthru(struct nof_chan *chan, const struct nof_passthru *cmd,
			     uint64_t *result);

/* ------------------------------------------------------------------------
 * Metadata and protection information
 *
 * A namespace whose format has metadata keeps that many bytes with each block
 * (nof_ns_info.metadata_size); over fabrics they travel behind the block's data. Where
 * they are protection information and nothing else, nof_read(), nof_write() and the like
 * work as usual: the controller makes and checks it (PRACT), with reference tags that are
 * the numbers of the blocks, also for type 2. Everything else is here.
 *
 * Thread: the channel's loop's.
 * ------------------------------------------------------------------------ */

enum nof_pi_mode {
	NOF_PI_CALLER,		/* metadata is the caller's, and moved as it is */
	NOF_PI_LIBRARY,		/* the library computes protection information of writes and
				   checks that of reads; the rest of the metadata is the caller's */
	NOF_PI_CONTROLLER,	/* PRACT: inserted and checked by the controller */
};

enum nof_pi_check {
	NOF_PI_GUARD = 1u << 0,
	NOF_PI_APP_TAG = 1u << 1,
	NOF_PI_REF_TAG = 1u << 2,
	NOF_PI_STORAGE_TAG = 1u << 3,
};

struct nof_pi {
	size_t size;		/* in: sizeof the struct */
	enum nof_pi_mode mode;
	uint32_t check;		/* enum nof_pi_check: what the controller checks, on reads
				   and writes, and with NOF_PI_LIBRARY also the library on reads */
	uint16_t app_tag;	/* written; expected where app_tag_mask has ones */
	uint16_t app_tag_mask;
	uint64_t ref_tag;	/* of the first block; type 1: not used, the block's number */
	uint64_t storage_tag;	/* of formats that have one */
};

/*
 * Read and write with metadata: md holds metadata_size bytes for each block and md_len is exactly
 * so much; NULL and 0 where the library or the controller has all of it, which is when
 * metadata_size is that of the protection information and mode is not NOF_PI_CALLER.
 * Lengths and offsets count the blocks' data only. ENOTSUP: a namespace without metadata
 * (or, for modes other than NOF_PI_CALLER, without protection information). A tag or guard that
 * the library finds wrong ends a read with EILSEQ and a sentence that names the block; what
 * was read is in the buffers then. pi is copied.
 */
NOF_API int nof_readv_pi(struct nof_chan *chan, const struct iovec *iov, int iovcnt, void *md,
			 size_t md_len, uint64_t offset, uint32_t flags, const struct nof_pi *pi,
			 nof_done_fn *done, void *arg);
NOF_API int nof_writev_pi(struct nof_chan *chan, const struct iovec *iov, int iovcnt,
			  const void *md, size_t md_len, uint64_t offset, uint32_t flags,
			  const struct nof_pi *pi, nof_done_fn *done, void *arg);
NOF_API int nof_preadv_pi(struct nof_chan *chan, const struct iovec *iov, int iovcnt, void *md,
			  size_t md_len, uint64_t offset, uint32_t flags,
			  const struct nof_pi *pi);
NOF_API int nof_pwritev_pi(struct nof_chan *chan, const struct iovec *iov, int iovcnt,
			   const void *md, size_t md_len, uint64_t offset, uint32_t flags,
			   const struct nof_pi *pi);

/* ------------------------------------------------------------------------
 * Reservations (NVMe 2.0, 8.19)
 *
 * A host registers a key with a namespace, and one of the registrants may hold a
 * reservation that keeps others from writing, or from access at all. What others do
 * to them comes as NOF_EVENT_RESERVATION. EOPNOTSUPP without ONCS bit 5; EBADE is a
 * reservation conflict.
 *
 * Thread: the channel's loop's.
 * ------------------------------------------------------------------------ */

enum nof_resv_type {
	NOF_RESV_NONE,
	NOF_RESV_WRITE_EXCLUSIVE,
	NOF_RESV_EXCLUSIVE_ACCESS,
	NOF_RESV_WRITE_EXCLUSIVE_REG,		/* registrants may write */
	NOF_RESV_EXCLUSIVE_ACCESS_REG,		/* registrants have access */
	NOF_RESV_WRITE_EXCLUSIVE_ALL,		/* and all of them hold it */
	NOF_RESV_EXCLUSIVE_ACCESS_ALL,
};

enum nof_resv_flag {
	NOF_RESV_IGNORE_KEY = 1u << 0,		/* the current key is not checked (IEKEY) */
	NOF_RESV_PERSIST = 1u << 1,		/* register: survive power loss (PTPL) */
	NOF_RESV_NO_PERSIST = 1u << 2,
};

enum nof_resv_register_action {
	NOF_RESV_REGISTER,			/* new_key */
	NOF_RESV_UNREGISTER,			/* key */
	NOF_RESV_REPLACE,			/* key by new_key */
};

NOF_API int nof_resv_register(struct nof_chan *chan, enum nof_resv_register_action action,
			      uint64_t key, uint64_t new_key, uint32_t flags, nof_done_fn *done,
			      void *arg);
NOF_API int nof_presv_register(struct nof_chan *chan, enum nof_resv_register_action action,
			       uint64_t key, uint64_t new_key, uint32_t flags);

enum nof_resv_acquire_action {
	NOF_RESV_ACQUIRE,
	NOF_RESV_PREEMPT,			/* unregister those with preempt_key */
	NOF_RESV_PREEMPT_ABORT,			/* and abort their commands */
};

/* key: the caller's registered one. */
NOF_API int nof_resv_acquire(struct nof_chan *chan, enum nof_resv_acquire_action action,
			     enum nof_resv_type type, uint64_t key, uint64_t preempt_key,
			     uint32_t flags, nof_done_fn *done, void *arg);
NOF_API int nof_presv_acquire(struct nof_chan *chan, enum nof_resv_acquire_action action,
			      enum nof_resv_type type, uint64_t key, uint64_t preempt_key,
			      uint32_t flags);

enum nof_resv_release_action {
	NOF_RESV_RELEASE,			/* of the type that is held */
	NOF_RESV_CLEAR,				/* the reservation and all registrations */
};

NOF_API int nof_resv_release(struct nof_chan *chan, enum nof_resv_release_action action,
			     enum nof_resv_type type, uint64_t key, uint32_t flags,
			     nof_done_fn *done, void *arg);
NOF_API int nof_presv_release(struct nof_chan *chan, enum nof_resv_release_action action,
			      enum nof_resv_type type, uint64_t key, uint32_t flags);

struct nof_resv_status {
	size_t size;			/* in: sizeof the struct */
	uint32_t generation;
	enum nof_resv_type type;
	bool is_persistent;		/* through power loss */
	uint32_t registrants;		/* how many there are: may be more than were stored */
};

struct nof_registrant {
	uint16_t cntlid;		/* FFFFh: a controller that does not exist now */
	bool is_holder;
	uint64_t key;
	uint8_t hostid[16];		/* 8 bytes with controllers that have short ones */
};

/*
 * Status and at most max registrants (more than one command holds are not read); the number that
 * was stored is completion.result. Both places are the library's until the callback, and
 * untouched on failure.
 */
NOF_API int nof_resv_report(struct nof_chan *chan, struct nof_resv_status *status,
			    struct nof_registrant *regs, uint32_t max, nof_done_fn *done,
			    void *arg);
/* Returns how many it stored. */
NOF_API int nof_presv_report(struct nof_chan *chan, struct nof_resv_status *status,
			     struct nof_registrant *regs, uint32_t max);

/* ------------------------------------------------------------------------
 * Zones (ZNS command set, nof_ns_info.csi 2)
 *
 * Zones are named by their first block, and all positions are in blocks. Reading
 * and writing are those of section I/O; a write has to begin at the zone's write
 * pointer, and a request must not be so large that it is split into commands that
 * overtake each other: nof_zone_append() has no such worries. ENOTSUP on namespaces
 * without zones.
 *
 * Thread: the channel's loop's.
 * ------------------------------------------------------------------------ */

enum nof_zone_state {
	NOF_ZONE_EMPTY = 1,
	NOF_ZONE_IMPLICIT_OPEN = 2,
	NOF_ZONE_EXPLICIT_OPEN = 3,
	NOF_ZONE_CLOSED = 4,
	NOF_ZONE_READ_ONLY = 13,
	NOF_ZONE_FULL = 14,
	NOF_ZONE_OFFLINE = 15,
};

struct nof_zone {
	uint64_t start;			/* first block */
	uint64_t capacity;		/* blocks that can be written */
	uint64_t write_pointer;		/* next block; UINT64_MAX where there is none */
	uint8_t state;			/* enum nof_zone_state */
	uint8_t type;			/* 2: sequential write required */
	uint8_t attributes;		/* ZA: b0 finished by controller, b1 finish and b2 reset
					   recommended, b7 has an extension */
	uint8_t attribute_info;
};

enum nof_zone_filter {
	NOF_ZONES_ALL,
	NOF_ZONES_EMPTY,
	NOF_ZONES_IMPLICIT_OPEN,
	NOF_ZONES_EXPLICIT_OPEN,
	NOF_ZONES_CLOSED,
	NOF_ZONES_FULL,
	NOF_ZONES_READ_ONLY,
	NOF_ZONES_OFFLINE,
};

/*
 * Zones from the one that holds block lba on, at most max, in as many commands as it
 * takes; their number is completion.result. What the target says is checked: EPROTO.
 * zones is the library's until the callback.
 */
NOF_API int nof_zone_report(struct nof_chan *chan, uint64_t lba, enum nof_zone_filter filter,
			    struct nof_zone *zones, uint32_t max, nof_done_fn *done, void *arg);
/* Returns how many it stored. */
NOF_API int nof_pzone_report(struct nof_chan *chan, uint64_t lba, enum nof_zone_filter filter,
			     struct nof_zone *zones, uint32_t max);

enum nof_zone_action {
	NOF_ZONE_CLOSE = 1,
	NOF_ZONE_FINISH = 2,
	NOF_ZONE_OPEN = 3,
	NOF_ZONE_RESET = 4,		/* its data is gone */
	NOF_ZONE_OFFLINE_NOW = 5,	/* a read only zone: its data is gone for ever */
};

#define NOF_ZONE_EVERY UINT64_MAX	/* all zones that are in a suitable state */

/* What is done to the zone that starts at block zone, or to NOF_ZONE_EVERY. */
NOF_API int nof_zone_mgmt(struct nof_chan *chan, uint64_t zone, enum nof_zone_action action,
			  nof_done_fn *done, void *arg);
NOF_API int nof_pzone_mgmt(struct nof_chan *chan, uint64_t zone, enum nof_zone_action action);

/*
 * Writes len bytes at the write pointer of the zone that starts at block zone:
 * completion.result is the block where they are. Never split: EMSGSIZE above
 * nof_ns_info.max_append. EOPNOTSUPP where the effects log says the command is missing.
 */
NOF_API int nof_zone_append(struct nof_chan *chan, const void *buf, size_t len, uint64_t zone,
			    uint32_t flags, nof_done_fn *done, void *arg);
NOF_API int nof_pzone_append(struct nof_chan *chan, const void *buf, size_t len, uint64_t zone,
			     uint32_t flags, uint64_t *lba);

/* ------------------------------------------------------------------------
 * Transport: what a queue's connection really is
 *
 * Thread: the channel's or the controller's loop's. Makes a few system calls for
 * each connection; what it costs does not depend on other sockets of the machine.
 * ------------------------------------------------------------------------ */

#define NOF_SUBFLOWS_MAX 8

enum nof_subflow_state {
	NOF_SUBFLOW_ACTIVE,	/* carries data */
	NOF_SUBFLOW_BACKUP,	/* carries data only while no active one can: one end flagged it
				   so. A sole subflow is active whatever its flag. The kernel tells
				   it where it permits (older ones: with CAP_NET_ADMIN), else the
				   flags of this host's endpoints do */
	NOF_SUBFLOW_STALE,	/* the way is believed to be dead: something sent here is not
				   acknowledged, its timer has run out at least twice, and other
				   subflows have heard from the target meanwhile. No kernel says
				   so, this is inferred, and only where something is on its way */
};

struct nof_subflow {
	char local[64];			/* address:port */
	char peer[64];
	uint64_t bytes_sent;		/* payload over this one, retransmits included */
	uint64_t bytes_received;
	uint32_t retransmits;		/* segments sent again by it */
	uint32_t rtt_us;		/* smoothed */
	uint32_t rto_us;		/* retransmission timeout now, backed off as it is */
	uint32_t cwnd;			/* segments */
	uint32_t share_permille;	/* of all bytes of the subflows here, both directions */
	uint32_t id;			/* the kernel's; 0: not known (before Linux 6.5), or TCP */
	enum nof_subflow_state state;
};

struct nof_transport {
	size_t size;			/* in: sizeof the struct */
	uint16_t qid;
	bool is_mptcp;			/* now: a later fallback shows */
	char reason[160];		/* why it is TCP, "" for MPTCP */
	uint64_t bytes_sent;		/* payload of the connection, all subflows */
	uint64_t bytes_received;
	uint32_t retransmits;		/* of the subflows, and between them */
	uint32_t subflow_count;		/* may exceed NOF_SUBFLOWS_MAX */
	struct nof_subflow subflows[NOF_SUBFLOWS_MAX];
	char note[200];			/* what was asked for and is not in effect (traffic class,
					   path manager), a sentence; else "" */
	uint64_t bytes_reinjected;	/* sent again over another subflow (Linux 6.5) */
	uint32_t token;			/* of the MPTCP connection, as `ss -M` and `ip mptcp` show
					   it; 0: not known, or TCP */
	uint32_t subflows_max;		/* beside the first: limit of this host's path manager */
	uint32_t connections;		/* 1; of a sum: how many there are in it */
	uint32_t mptcp_connections;	/* those of them that are MPTCP */
};

/* Of a channel's I/O queue, or of a controller's admin queue. ENOTCONN when it is down. */
NOF_API int nof_chan_get_transport(const struct nof_chan *chan, struct nof_transport *t);
NOF_API int nof_ctrl_get_transport(const struct nof_ctrl *ctrl, struct nof_transport *t);

/*
 * Of the admin queue and of every I/O queue on the controller's own loop, by queue id.
 * Returns how many there are and fills at most max; list may be NULL when max is 0.
 * list[0].size: sizeof the struct, as for the others. Queues that are connecting or
 * down are left out.
 */
NOF_API int nof_ctrl_get_transports(const struct nof_ctrl *ctrl, struct nof_transport *list,
				    uint32_t max);

/*
 * Adds connections up, of whatever queues and controllers. What goes between the same two
 * addresses (ports aside, which the sum does not show) becomes one subflow: bytes,
 * retransmits and cwnd are added, RTT and RTO are means; it is stale if one of them is,
 * else active if one is. sum->size: sizeof the struct. is_mptcp: all are; reason and
 * note: the first there is.
 */
NOF_API int nof_transport_sum(const struct nof_transport *list, uint32_t count,
			      struct nof_transport *sum);

/* "active", "backup", "stale"; "unknown" for other values. */
NOF_API const char *nof_subflow_state_name(enum nof_subflow_state state);

/* The way to an address, as the kernel's routing table has it. */
struct nof_route {
	size_t size;			/* in: sizeof the struct */
	char dev[16];			/* interface */
	char source[64];		/* numeric; "" = the kernel did not say */
	char gateway[64];		/* numeric; "" = on the link */
	uint32_t mtu;			/* of the route, else of the interface */
	uint32_t rto_min_us;		/* least retransmission timeout, 0: sysctl tcp_rto_min_us */
	uint32_t speed_mbit;		/* of the interface, 0: not known */
	bool has_carrier;
};

/*
 * In the network namespace of the calling thread. peer, and local, from where, or NULL: a
 * numeric address, a port behind it does not matter. EINVAL, EAFNOSUPPORT; the kernel's reason
 * when there is no route: ENETUNREACH, EHOSTUNREACH, EACCES …; EPERM where netlink is forbidden.
 */
NOF_API int nof_route_get(const char *peer, const char *local, struct nof_route *route);

#define NOF_ENDPOINTS_MAX 16

/* An address of this host that its kernel's MPTCP path manager knows. */
struct nof_mptcp_endpoint {
	char addr[64];
	char dev[16];			/* interface, "" when any will do */
	uint8_t id;
	bool is_subflow;		/* connections get a subflow from it */
	bool is_signal;			/* peers are told of it */
	bool is_backup;			/* its subflows wait until no other works */
	bool is_fullmesh;		/* subflows to every address of the peer */
};

struct nof_mptcp_status {
	size_t size;			/* in: sizeof the struct */
	bool is_supported;		/* the kernel has MPTCP */
	bool is_enabled;		/* and makes MPTCP sockets for this thread */
	char reason[160];		/* why not, and what changes it; "" else */
	bool can_configure;		/* this thread may: CAP_NET_ADMIN here */
	bool is_userspace_pm;		/* new connections are left to a daemon (mptcpd): the
					   endpoints and limits below are without effect */
	uint32_t subflows_max;		/* of a connection, beside the first */
	uint32_t add_addr_accepted_max;	/* addresses of the peer that are made use of */
	uint32_t endpoint_count;	/* may exceed NOF_ENDPOINTS_MAX */
	struct nof_mptcp_endpoint endpoints[NOF_ENDPOINTS_MAX];
};

/*
 * MPTCP in the network namespace of the calling thread. Takes a few system calls and no
 * privilege. What cannot be found out is false, 0 or "".
 */
NOF_API int nof_mptcp_get_status(struct nof_mptcp_status *status);

#ifdef __cplusplus
}
#endif
#endif
