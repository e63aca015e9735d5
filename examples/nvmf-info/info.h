/* SPDX-License-Identifier: MIT */
/*
 * nvmf-info: what is behind a URI. Controller, namespaces, limits and transport of a subsystem,
 * or the log of a discovery controller.
 *
 *	main.c      command line; fetches everything that was asked for
 *	text.c      for people
 *	document.c  for programs: JSON
 *	ask.c       --can and --is: one question, answered by the exit code
 *	queues.c    --paths: the connections, their subflows, the path manager's settings
 *	doctor*.c   --doctor: is it MPTCP, why not, what to change
 *	fabric.c    --connect-all: all controllers, and which lead to the same namespaces
 *	follow.c    --follow: a discovery log and its changes
 *	names.c     names of features, types and identifiers
 */
#ifndef INFO_H
#define INFO_H

#include <stdbool.h>
#include <stdint.h>

#include <nof.h>

#include "../common/json.h"
#include "../common/tool.h"

#define INFO_MAX_PATHS 64 /* of a namespace that are shown */
#define INFO_MAX_QUEUES 16 /* of a controller that are shown */
#define INFO_NO 3 /* exit code: the answer to --can or --is is no */

enum what { SHOW_ALL, SHOW_LIST, SHOW_SIZE, SHOW_PATHS, SHOW_ANSWER, SHOW_DOCTOR, SHOW_FABRIC,
	    SHOW_CHANGES };

struct question;

struct space {
	struct nof_ns *ns;
	struct nof_ns_info info;
};

struct info {
	enum what what;
	bool json;
	const struct question *question; /* --can, --is; else NULL */
	const char *uri;
	struct nof_opts opts;
	struct nof_loop *loop;
	struct nof_ctrl *ctrl;
	struct nof_ctrl_info ci;
	enum nof_ctrl_state state;
	struct nof_ctrl_stats stats;
	struct space *ns; /* those the URI names, or all that can be opened */
	size_t ns_count;
	struct nof_discovery_log *log;	/* NULL unless it is a discovery controller */
	struct nof_transport transport; /* of the admin queue */
	struct nof_chan *chan;		/* --paths, --doctor: brings an I/O queue into being */
	uint64_t tcp_starts;		/* doctor_tcp_starts() before connecting */
	struct nof_mptcp_status status; /* the next four: of --paths and --doctor only */
	struct nof_transport total;	/* all queues together */
	unsigned int queue_count;
	struct nof_transport queues[INFO_MAX_QUEUES];
};

struct feature {
	uint32_t bit; /* enum nof_ns_feature */
	const char *name;
};

/* names.c */
extern const struct feature features[]; /* ends with a NULL name */
/* id in hexadecimal into buf, which it returns. */
const char *hex_id(char *buf, const uint8_t *id, size_t len, bool is_uuid);
/* The best name of a namespace that a URI can carry. */
const char *ns_id(char *buf, const struct nof_ns_info *ns);
const char *entry_type(const struct nof_discovery_entry *e);
const char *transport_name(uint8_t trtype);

/* text.c */
void print_text(const struct info *info);
void print_transport(const struct nof_transport *t);
void print_space(const struct space *space);
void print_entry(const struct nof_discovery_entry *e);

/* document.c: false when it could not be written. */
bool print_json(const struct info *info);
void json_entry(struct json *j, const struct nof_discovery_entry *e);
void json_service(struct json *j, const struct nof_discovery_service *s);
/* subnqn is NULL where it is clear. */
void json_space(struct json *j, const char *subnqn, const struct space *space);

/* ask.c: NULL when there is no such question. In names, _ and - are the same. */
const struct question *question_find(const char *option, const char *name);
const char *question_names(char *buf, size_t len, const char *option);
bool question_wants_namespace(const struct question *q);
/* TOOL_OK for yes, INFO_NO, or TOOL_FAILED. */
int question_answer(const struct info *info);

/* queues.c */
/* Reads all connections, after a short wait for subflows that are still to come. */
int queues_settle(struct info *info);
bool subflow_is_made(const struct nof_subflow *s);
unsigned int subflows_made(const struct nof_transport *t);
void print_queues(const struct info *info);
void print_path_manager(const struct nof_mptcp_status *s);
void print_wrapped(const char *label, unsigned int indent, const char *text);
void json_queues(struct json *j, const struct info *info);
void json_path_manager(struct json *j, const struct nof_mptcp_status *s);
void json_transport(struct json *j, const char *key, const struct nof_transport *t);

/* doctor_look.c: how often a connection of this namespace has begun as TCP for safety. */
uint64_t doctor_tcp_starts(void);
/* doctor.c: error is why there is no connection, or NULL. An exit code. */
int doctor(const struct info *info, const char *error);

/* fabric.c: an exit code. */
int fabric(char **uris, size_t count, bool wants_json);

/* follow.c: until a signal; an exit code. */
int follow(const char *uri, bool wants_json);

/* main.c: the defaults of the options of a URI. */
void info_opts(struct nof_opts *opts);

#endif
