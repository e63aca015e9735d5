/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the control socket understands; target/README.md describes every command. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "fault.h"
#include "target.h"
#include "zns.h"

static enum control_result failed(char *err, size_t errlen, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static enum control_result failed(char *err, size_t errlen, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, errlen, fmt, ap);
	va_end(ap);
	return CONTROL_FAILED;
}

/* ---- faults ---- */

static enum control_result do_fault(struct client *k, char *args, char *err, size_t errlen)
{
	struct fault_rule *old = fault_rules, *now;

	fault_rules = NULL;
	if (fault_add(args, err, errlen)) {
		fault_rules = old;
		return CONTROL_FAILED;
	}
	if (old) {
		now = fault_rules;
		fault_rules = old;
		fault_clear();
		fault_rules = now;
		faults_active = true;
	}
	return CONTROL_OK;
}

static enum control_result do_fault_add(struct client *k, char *args, char *err, size_t errlen)
{
	return fault_add(args, err, errlen) ? CONTROL_FAILED : CONTROL_OK;
}

static enum control_result do_clear(struct client *k, char *args, char *err, size_t errlen)
{
	fault_clear();
	return CONTROL_OK;
}

/* ---- what is going on ---- */

static enum control_result do_stats(struct client *k, char *args, char *err, size_t errlen)
{
	uint64_t fired = 0;

	for (struct fault_rule *r = fault_rules; r; r = r->next)
		fired += r->fired;
#define U(x) (unsigned long long)stats.x
	control_reply(k, "{\"accepted\":%llu,\"closed\":%llu,\"rejected\":%llu,\"conns\":%u,"
	      "\"commands\":%llu,\"reads\":%llu,\"writes\":%llu,\"read_bytes\":%llu,"
	      "\"write_bytes\":%llu,\"rx_bytes\":%llu,\"tx_bytes\":%llu,\"sends\":%llu,"
	      "\"h2c_term\":%llu,\"c2h_term\":%llu,\"digest_errors\":%llu,"
	      "\"kato_expired\":%llu,\"faults_fired\":%llu}",
	      U(accepted), U(closed), U(rejected), stats.conns, U(commands), U(reads),
	      U(writes), U(read_bytes), U(write_bytes), U(rx_bytes), U(tx_bytes), U(sends),
	      U(h2c_term), U(c2h_term), U(digest_errors), U(kato_expired),
	      (unsigned long long)fired);
#undef U
	return CONTROL_ANSWERED;
}

static enum control_result do_conns(struct client *k, char *args, char *err, size_t errlen)
{
	for (struct conn *c = conns; c; c = c->next)
		control_reply(k, "conn id=%llu qid=%d cntlid=%d peer=\"%s\" transport=%s "
		      "outstanding=%u rx_cmd=%d tx=%llu hdgst=%d ddgst=%d",
		      (unsigned long long)c->id,
		      c->ctrl ? c->qid : -1, c->ctrl ? c->ctrl->cntlid : -1, c->peer,
		      c->is_mptcp ? "mptcp" : "tcp", c->nused, c->rx_cmd != NULL,
		      (unsigned long long)c->tx.sent, c->hdgst, c->ddgst);
	return CONTROL_OK;
}

static enum control_result do_quit(struct client *k, char *args, char *err, size_t errlen)
{
	loop_stop();
	return CONTROL_OK;
}

/* drop [io|admin|ID]: closes connections with a reset. */
static enum control_result do_drop(struct client *k, char *args, char *err, size_t errlen)
{
	struct conn *c = conns;

	while (c) {
		bool is_hit = !*args || (!strcmp(args, "io") && c->ctrl && c->qid) ||
			      (!strcmp(args, "admin") && c->ctrl && !c->qid) ||
			      strtoull(args, NULL, 0) == c->id;

		if (is_hit) {
			conn_close(c, true);
			c = conns;	/* closing one may have closed others */
			continue;
		}
		c = c->next;
	}
	return CONTROL_OK;
}

/* ---- ports ---- */

static void tell_listener(struct client *k, const struct listener *l)
{
	control_reply(k, "listener addr=%s port=%s transport=%s index=%u portid=%u%s", l->addr,
		      l->port, l->is_mptcp ? "mptcp" : "tcp", l->index, l->portid,
		      l->is_paused ? " paused" : "");
}

static enum control_result do_listeners(struct client *k, char *args, char *err, size_t errlen)
{
	for (struct listener *l = listeners; l; l = l->next)
		tell_listener(k, l);
	return CONTROL_OK;
}

static struct listener *port_of(const char *args, char *err, size_t errlen)
{
	struct listener *l = listen_find((unsigned int)strtoul(args, NULL, 10));

	if (!l)
		failed(err, errlen, "no port has the index '%.20s'; see 'listeners'", args);
	return l;
}

static enum control_result do_listen(struct client *k, char *args, char *err, size_t errlen)
{
	struct listener *l = listen_add(args, err, errlen);

	if (!l)
		return CONTROL_FAILED;
	discovery_changed();
	tell_listener(k, l);
	return CONTROL_OK;
}

static enum control_result do_unlisten(struct client *k, char *args, char *err, size_t errlen)
{
	struct listener *l = port_of(args, err, errlen);

	if (!l)
		return CONTROL_FAILED;
	listen_remove(l);
	discovery_changed();
	return CONTROL_OK;
}

static enum control_result set_paused(const char *args, bool is_paused, char *err, size_t errlen)
{
	struct listener *l = port_of(args, err, errlen);

	if (!l)
		return CONTROL_FAILED;
	listen_pause(l, is_paused);
	return CONTROL_OK;
}

static enum control_result do_pause(struct client *k, char *args, char *err, size_t errlen)
{
	return set_paused(args, true, err, errlen);
}

static enum control_result do_resume(struct client *k, char *args, char *err, size_t errlen)
{
	return set_paused(args, false, err, errlen);
}

/* ana PORT GROUP STATE */
static enum control_result do_ana(struct client *k, char *args, char *err, size_t errlen)
{
	unsigned int group;
	struct listener *l;
	char index[16], name[32];
	uint8_t state;

	if (sscanf(args, "%15s %u %31s", index, &group, name) != 3 || !group ||
	    group > ANA_GROUPS || !ana_parse_state(name, &state))
		return failed(err, errlen, "not 'ana PORT-INDEX GROUP STATE' with a state of "
			      "optimized, non-optimized, inaccessible, persistent-loss, change");
	l = port_of(index, err, errlen);
	if (!l)
		return CONTROL_FAILED;
	if (!ana_is_on)
		return failed(err, errlen, "ANA is off: start with --ana=on, several --listen, "
			      "or an ANA group of a namespace or port");
	ana_set(l, group, state);
	return CONTROL_OK;
}

/* ---- limits, from now on ---- */

static enum control_result do_queues(struct client *k, char *args, char *err, size_t errlen)
{
	uint64_t v;

	if (!parse_size(args, &v) || !v || v > MAX_QUEUES)
		return failed(err, errlen, "queues wants a number from 1 to %d", MAX_QUEUES);
	opt.queues = (uint32_t)v;
	return CONTROL_OK;
}

static enum control_result do_mdts(struct client *k, char *args, char *err, size_t errlen)
{
	uint64_t v;

	if (!parse_size(args, &v) || v > 16)
		return failed(err, errlen, "mdts wants a number from 0 to 16");
	opt.mdts = (uint8_t)v;
	return CONTROL_OK;
}

/* ---- events and namespaces ---- */

/* aen TYPE INFO LID: completes one armed AER of every controller. */
static enum control_result do_aen(struct client *k, char *args, char *err, size_t errlen)
{
	unsigned int type, info, lid;
	bool is_any = false;

	if (sscanf(args, "%i %i %i", (int *)&type, (int *)&info, (int *)&lid) != 3)
		return failed(err, errlen, "not 'aen TYPE INFO LID'");
	for (struct subsys *s = subsystems; s; s = s->next)
		for (struct ctrl *c = s->ctrls; c; c = c->next)
			is_any |= ctrl_event(c, (uint8_t)type, (uint8_t)info, (uint8_t)lid);
	if (!is_any)
		return failed(err, errlen, "no event request is armed");
	return CONTROL_OK;
}

static struct subsys *subsys_of(const char *nqn, char *err, size_t errlen)
{
	struct subsys *s = *nqn ? subsys_find(nqn) : subsystems;

	if (!s || s->is_discovery) {
		failed(err, errlen, "there is no subsystem '%s'", nqn);
		return NULL;
	}
	return s;
}

static struct ns *ns_of(unsigned int nsid, const char *nqn, char *err, size_t errlen)
{
	struct subsys *s = subsys_of(nqn, err, errlen);
	struct ns *ns = s ? ns_find(s, nsid) : NULL;

	if (s && !ns)
		failed(err, errlen, "subsystem %s has no namespace %u", s->nqn, nsid);
	return ns;
}

/* resize NSID SIZE [NQN]: the hosts are told by a namespace attribute event. */
static enum control_result do_resize(struct client *k, char *args, char *err, size_t errlen)
{
	char size[32], nqn[NQN_MAX + 1] = "";
	unsigned int nsid;
	uint64_t bytes;
	struct ns *ns;

	if (sscanf(args, "%u %31s %223s", &nsid, size, nqn) < 2 || !parse_size(size, &bytes))
		return failed(err, errlen, "not 'resize NSID SIZE [NQN]'");
	ns = ns_of(nsid, nqn, err, errlen);
	if (!ns)
		return CONTROL_FAILED;
	if (ns_resize(ns, bytes))
		return failed(err, errlen, "only mem (up to its first size) and null namespaces "
			      "can be resized");
	subsys_ns_changed(ns->subsys, nsid);
	return CONTROL_OK;
}

/* ns-add SPEC [NQN] */
static enum control_result do_ns_add(struct client *k, char *args, char *err, size_t errlen)
{
	char spec[1024], nqn[NQN_MAX + 1] = "";
	struct subsys *s;
	struct ns *ns;

	if (sscanf(args, "%1023s %223s", spec, nqn) < 1)
		return failed(err, errlen, "not 'ns-add SPEC [NQN]'");
	s = subsys_of(nqn, err, errlen);
	ns = s ? ns_add(s, spec, err, errlen) : NULL;
	if (!ns)
		return CONTROL_FAILED;
	subsys_ns_changed(s, ns->nsid);
	return CONTROL_OK;
}

/* ns-remove NSID [NQN] */
static enum control_result do_ns_remove(struct client *k, char *args, char *err, size_t errlen)
{
	char nqn[NQN_MAX + 1] = "";
	unsigned int nsid;
	struct ns *ns;

	if (sscanf(args, "%u %223s", &nsid, nqn) < 1)
		return failed(err, errlen, "not 'ns-remove NSID [NQN]'");
	ns = ns_of(nsid, nqn, err, errlen);
	if (!ns)
		return CONTROL_FAILED;
	ns_remove(ns);
	subsys_ns_changed(ns->subsys, nsid);
	return CONTROL_OK;
}

/* ns-remap NSID SPEC [NQN] */
static enum control_result do_ns_remap(struct client *k, char *args, char *err, size_t errlen)
{
	char spec[1024], nqn[NQN_MAX + 1] = "";
	unsigned int nsid;
	struct ns *ns;

	if (sscanf(args, "%u %1023s %223s", &nsid, spec, nqn) < 2)
		return failed(err, errlen, "not 'ns-remap NSID SPEC [NQN]'");
	ns = ns_of(nsid, nqn, err, errlen);
	ns = ns ? ns_remap(ns, spec, err, errlen) : NULL;
	if (!ns)
		return CONTROL_FAILED;
	subsys_ns_changed(ns->subsys, nsid);
	return CONTROL_OK;
}

/* zone NSID SLBA STATE [NQN] */
static enum control_result do_zone(struct client *k, char *args, char *err, size_t errlen)
{
	char state[32], nqn[NQN_MAX + 1] = "";
	unsigned long long slba;
	unsigned int nsid;
	struct ns *ns;

	if (sscanf(args, "%u %llu %31s %223s", &nsid, &slba, state, nqn) < 3)
		return failed(err, errlen, "not 'zone NSID SLBA STATE [NQN]'");
	ns = ns_of(nsid, nqn, err, errlen);
	if (!ns)
		return CONTROL_FAILED;
	if (!zns_force(ns, slba, state))
		return failed(err, errlen, "no zone is there, or the state is none of empty, full, "
			      "read-only, offline");
	return CONTROL_OK;
}

/* ---- discovery and subsystems ---- */

static enum control_result do_discovery_add(struct client *k, char *args, char *err, size_t errlen)
{
	return discovery_add(args, err, errlen) ? CONTROL_FAILED : CONTROL_OK;
}

static enum control_result do_discovery_clear(struct client *k, char *args, char *err,
					      size_t errlen)
{
	discovery_clear();
	discovery_changed();
	return CONTROL_OK;
}

static enum control_result do_referral_add(struct client *k, char *args, char *err, size_t errlen)
{
	return discovery_referral_add(args, err, errlen) ? CONTROL_FAILED : CONTROL_OK;
}

static enum control_result do_referral_remove(struct client *k, char *args, char *err,
					      size_t errlen)
{
	return discovery_referral_remove(args, err, errlen) ? CONTROL_FAILED : CONTROL_OK;
}

/* subsys-add NQN [SPEC] */
static enum control_result do_subsys_add(struct client *k, char *args, char *err, size_t errlen)
{
	char *spec = strchr(args, ' ');
	struct subsys *s;

	if (spec)
		*spec++ = 0;
	s = subsys_new(args, err, errlen);
	if (!s)
		return CONTROL_FAILED;
	if (spec && !ns_add(s, spec, err, errlen)) {
		subsys_remove(s);
		return CONTROL_FAILED;
	}
	discovery_changed();
	return CONTROL_OK;
}

/* subsys-remove NQN: its controllers end. */
static enum control_result do_subsys_remove(struct client *k, char *args, char *err, size_t errlen)
{
	struct subsys *s = subsys_find(args);

	if (!s || s->is_discovery)
		return failed(err, errlen, "there is no subsystem '%s'", args);
	subsys_remove(s);
	discovery_changed();
	return CONTROL_OK;
}

/* fw REVISION [NQN]: another firmware runs. */
static enum control_result do_fw(struct client *k, char *args, char *err, size_t errlen)
{
	char revision[32], nqn[NQN_MAX + 1] = "";
	struct subsys *s;

	if (sscanf(args, "%31s %223s", revision, nqn) < 1)
		return failed(err, errlen, "not 'fw REVISION [NQN]'");
	s = subsys_of(nqn, err, errlen);
	if (!s)
		return CONTROL_FAILED;
	fw_set(s, revision);
	return CONTROL_OK;
}

static const struct {
	const char *name;
	enum control_result (*fn)(struct client *k, char *args, char *err, size_t errlen);
} commands[] = {
	{ "fault", do_fault }, { "fault+", do_fault_add }, { "clear", do_clear },
	{ "stats", do_stats }, { "conns", do_conns }, { "quit", do_quit }, { "drop", do_drop },
	{ "listeners", do_listeners }, { "listen", do_listen }, { "unlisten", do_unlisten },
	{ "pause", do_pause }, { "resume", do_resume }, { "ana", do_ana },
	{ "queues", do_queues }, { "mdts", do_mdts },
	{ "aen", do_aen }, { "resize", do_resize }, { "ns-add", do_ns_add },
	{ "ns-remove", do_ns_remove }, { "ns-remap", do_ns_remap },
	{ "zone", do_zone }, { "fw", do_fw },
	{ "discovery-add", do_discovery_add }, { "discovery-clear", do_discovery_clear },
	{ "referral-add", do_referral_add }, { "referral-remove", do_referral_remove },
	{ "subsys-add", do_subsys_add }, { "subsys-remove", do_subsys_remove },
};

enum control_result control_command(struct client *k, const char *name, char *args, char *err,
				    size_t errlen)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(commands[i].name, name))
			return commands[i].fn(k, args, err, errlen);
	return failed(err, errlen, "unknown command '%.40s'", name);
}
