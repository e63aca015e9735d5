/* SPDX-License-Identifier: MIT */
/*
 * --doctor in three steps: look (doctor_look.c) collects what is so, judge (doctor_judge.c) says
 * what of it is in the way of several paths and how that is changed, and doctor.c prints both.
 */
#ifndef INFO_DOCTOR_H
#define INFO_DOCTOR_H

#include "info.h"

#define WAYS_MAX 16	/* local addresses that are looked at */
#define FINDINGS_MAX 24
#define COMMANDS_MAX 8

/* An address of this host from which packets could go to the target. */
struct way {
	char addr[64];
	char dev[16];
	bool is_up;		/* administratively */
	bool has_carrier;
	bool is_used;		/* a subflow starts here */
	bool shares_link;	/* with an address before it: the same device */
	int endpoint;		/* index into status.endpoints, −1: none */
	int rp_filter;		/* in effect for the device; −1: not known or IPv6 */
	int route_error;	/* 0, or the negative errno of asking for the route */
	struct nof_route route; /* to the target, from this address */
};

/* Numbers below /proc/sys/net: −1 where this kernel has none. */
struct sysctls {
	long enabled, pm_type, stale_loss_cnt, blackhole_timeout, add_addr_timeout, close_timeout,
		allow_join_initial_addr_port, checksum_enabled;
	long rto_min_us;
	long rmem[3], wmem[3]; /* smallest, first, largest */
	char path_manager[32], scheduler[32], congestion[32];
};

struct facts {
	const struct info *info;
	const char *error;	/* why there is no connection; NULL: there is one */
	int status_error;	/* of asking the path manager; then status is empty */
	struct nof_mptcp_status status;
	struct sysctls sysctl;
	bool is_v6;
	bool is_loopback;
	char peer[64];		/* address of the target without port; "" = not known */
	int route_error;
	struct nof_route route; /* to the target, of the first subflow */
	uint32_t rtt_us;	/* the longest of the subflows */
	bool is_blackholed;	/* this connection began as TCP: MPTCP SYNs had been swallowed */
	unsigned int ways_count;
	struct way ways[WAYS_MAX];
	/* Derived. */
	unsigned int links;	/* that are up, with an address of the connection's family */
	unsigned int subflows;	/* of the connection */
	uint32_t rto_min_us;	/* the floor in effect on the slowest way */
	uint64_t buffer_wanted; /* bytes for all links together */
};

enum level { LEVEL_PROBLEM, LEVEL_ADVICE, LEVEL_NOTE };

struct finding {
	enum level level;
	const char *id;		/* stable, for programs */
	char what[512];
	char cost[200];		/* of the remedy; "" = none worth a word */
	unsigned int count;
	struct {
		bool on_target; /* to be run there */
		bool is_pattern; /* words in capitals are to be replaced */
		char *text;
	} commands[COMMANDS_MAX];
};

struct findings {
	unsigned int count;
	struct finding list[FINDINGS_MAX]; /* most important first */
};

/* error: why the connection could not be made, NULL when it was. */
void doctor_look(struct facts *f, const struct info *info, const char *error);
/* out must be zeroes, or what was judged before. */
void doctor_judge(const struct facts *f, struct findings *out);
void doctor_free(struct findings *findings);

#endif
