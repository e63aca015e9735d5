/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reservations (nof.h, section Reservations): two hosts, what each may do, who is told.
 */
#include "rig.h"

enum { BS = 512, KEY_A = 0xaaaa, KEY_B = 0xbbbb };

/* The other host: its own identity, controller, channel, and the events it hears. */
struct host {
	struct rig *rig;
	struct nof_ctrl *ctrl;
	struct nof_ns *ns;
	struct nof_chan *chan;
	unsigned events;
	uint32_t nsid;
	char detail[RIG_DETAIL];
};

static void on_event(void *arg, const struct nof_event *ev)
{
	struct host *h = arg;

	if (ev->type != NOF_EVENT_RESERVATION)
		return;
	h->events++;
	h->nsid = ev->nsid;
	snprintf(h->detail, sizeof(h->detail), "%s", ev->detail);
	if (h->rig->drive == RIG_RUN)
		nof_loop_stop(h->rig->loop);
}

static void host_opts(struct rig *r, unsigned id, struct nof_opts *o)
{
	char nqn[128];

	rig_opts(r, NULL, o);
	snprintf(nqn, sizeof(nqn), "nqn.2014-08.org.nvmexpress:uuid:01234567-89ab-4cde-8f01-"
		 "2345678900%02x", id);
	assert_int_equal(nof_opts_set(o, "hostnqn", nqn), 0);
}

static void open_host(struct rig *r, struct host *h, unsigned id)
{
	struct nof_opts o;

	memset(h, 0, sizeof(*h));
	h->rig = r;
	rig_loop(r);
	host_opts(r, id, &o);
	assert_int_equal(nof_ctrl_new(r->loop, &o, on_event, h, &h->ctrl), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(h->ctrl, rig_done, op))), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ns_open(h->ctrl, NULL, &h->ns, rig_done,
							      op))), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_chan_open(h->ns, r->loop, &h->chan, rig_done,
								op))), 0);
}

static void close_host(struct host *h)
{
	nof_chan_close(h->chan);
	nof_ns_close(h->ns);
	nof_ctrl_free(h->ctrl);
}

static int reg(struct host *h, enum nof_resv_register_action a, uint64_t key, uint64_t new_key,
	       uint32_t flags)
{
	struct rig *r = h->rig;

	return rig_finish(RIG_SUBMIT(r, nof_resv_register(h->chan, a, key, new_key, flags, rig_done,
							  op)));
}

static int acquire(struct host *h, enum nof_resv_acquire_action a, enum nof_resv_type type,
		   uint64_t key, uint64_t other)
{
	struct rig *r = h->rig;

	return rig_finish(RIG_SUBMIT(r, nof_resv_acquire(h->chan, a, type, key, other, 0, rig_done,
							 op)));
}

static int release(struct host *h, enum nof_resv_release_action a, enum nof_resv_type type,
		   uint64_t key)
{
	struct rig *r = h->rig;

	return rig_finish(RIG_SUBMIT(r, nof_resv_release(h->chan, a, type, key, 0, rig_done, op)));
}

static int report(struct host *h, struct nof_resv_status *st, struct nof_registrant *g,
		  uint32_t max)
{
	struct rig *r = h->rig;

	return rig_finish(RIG_SUBMIT(r, nof_resv_report(h->chan, st, g, max, rig_done, op)));
}

static int do_write(struct host *h)
{
	static uint8_t buf[BS];
	struct rig *r = h->rig;

	return rig_finish(RIG_SUBMIT(r, nof_write(h->chan, buf, BS, 0, 0, rig_done, op)));
}

static int do_read(struct host *h)
{
	static uint8_t buf[BS];
	struct rig *r = h->rig;

	return rig_finish(RIG_SUBMIT(r, nof_read(h->chan, buf, BS, 0, 0, rig_done, op)));
}

/* What each type lets the others do: b registered, c not. */
static void t_types(struct rig *r)
{
	static const struct {
		enum nof_resv_type type;
		bool b_writes, b_reads, c_writes, c_reads;
	} k[] = {
		{ NOF_RESV_WRITE_EXCLUSIVE, false, true, false, true },
		{ NOF_RESV_EXCLUSIVE_ACCESS, false, false, false, false },
		{ NOF_RESV_WRITE_EXCLUSIVE_REG, true, true, false, true },
		{ NOF_RESV_EXCLUSIVE_ACCESS_REG, true, true, false, false },
		{ NOF_RESV_WRITE_EXCLUSIVE_ALL, true, true, false, true },
		{ NOF_RESV_EXCLUSIVE_ACCESS_ALL, true, true, false, false },
	};
	struct host a, b, c;

	rig_target(r, NULL, NULL);
	open_host(r, &a, 1);
	open_host(r, &b, 2);
	open_host(r, &c, 3);
	assert_int_equal(reg(&a, NOF_RESV_REGISTER, 0, KEY_A, 0), 0);
	assert_int_equal(reg(&b, NOF_RESV_REGISTER, 0, KEY_B, 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(k); i++) {
		struct nof_resv_status st = { .size = sizeof(st) };

		assert_int_equal(acquire(&a, NOF_RESV_ACQUIRE, k[i].type, KEY_A, 0), 0);
		assert_int_equal(do_write(&a), 0);
		assert_int_equal(do_read(&a), 0);
		assert_int_equal(do_write(&b), k[i].b_writes ? 0 : -EBADE);
		assert_int_equal(do_read(&b), k[i].b_reads ? 0 : -EBADE);
		assert_int_equal(do_write(&c), k[i].c_writes ? 0 : -EBADE);
		assert_int_equal(do_read(&c), k[i].c_reads ? 0 : -EBADE);
		assert_int_equal(report(&b, &st, NULL, 0), 0);
		assert_int_equal(st.type, k[i].type);
		assert_int_equal(st.registrants, 2);
		assert_int_equal(release(&a, NOF_RESV_RELEASE, k[i].type, KEY_A), 0);
		assert_int_equal(do_write(&c), 0);
	}
	close_host(&a);
	close_host(&b);
	close_host(&c);
}

static void t_keys(struct rig *r)
{
	struct nof_resv_status st = { .size = sizeof(st) };
	struct nof_registrant g[4];
	struct host a, b;
	int n;

	rig_target(r, NULL, NULL);
	open_host(r, &a, 1);
	open_host(r, &b, 2);
	assert_int_equal(acquire(&a, NOF_RESV_ACQUIRE, NOF_RESV_WRITE_EXCLUSIVE, KEY_A, 0), -EBADE);
	assert_int_equal(reg(&a, NOF_RESV_REGISTER, 0, KEY_A, 0), 0);
	assert_int_equal(reg(&b, NOF_RESV_REGISTER, 0, KEY_B, 0), 0);
	assert_int_equal(reg(&a, NOF_RESV_REPLACE, 1, KEY_A + 1, 0), -EBADE);
	assert_int_equal(reg(&a, NOF_RESV_REPLACE, KEY_A, KEY_A + 1, 0), 0);
	assert_int_equal(reg(&a, NOF_RESV_REPLACE, 7, KEY_A, NOF_RESV_IGNORE_KEY), 0);
	assert_int_equal(acquire(&a, NOF_RESV_ACQUIRE, NOF_RESV_EXCLUSIVE_ACCESS, KEY_A, 0), 0);
	assert_int_equal(report(&a, &st, g, 4), 0);
	n = (int)r->last->result;
	assert_int_equal(n, 2);
	assert_int_equal(st.registrants, 2);
	assert_int_equal(st.type, NOF_RESV_EXCLUSIVE_ACCESS);
	for (int i = 0; i < n; i++) {
		bool is_a = g[i].key == KEY_A;

		assert_true(is_a || g[i].key == KEY_B);
		assert_int_equal(g[i].is_holder, is_a);
		assert_int_equal(g[i].hostid[15], is_a ? 1 : 2);
	}
	/* Room for one of two; the waiting form returns the count. */
	assert_int_equal(nof_presv_report(b.chan, &st, g, 1), 1);
	assert_int_equal(st.registrants, 2);
	assert_int_equal(reg(&b, NOF_RESV_UNREGISTER, KEY_A, 0, 0), -EBADE);
	assert_int_equal(nof_presv_register(b.chan, NOF_RESV_UNREGISTER, KEY_B, 0, 0), 0);
	assert_int_equal(nof_presv_release(a.chan, NOF_RESV_CLEAR, NOF_RESV_NONE, KEY_A, 0), 0);
	assert_int_equal(nof_presv_report(b.chan, &st, g, 4), 0);
	assert_int_equal(st.type, NOF_RESV_NONE);
	assert_int_equal(nof_presv_acquire(a.chan, NOF_RESV_ACQUIRE, NOF_RESV_WRITE_EXCLUSIVE,
					   KEY_A, 0, 0), -EBADE);
	close_host(&a);
	close_host(&b);
}

/* A preempts b: b hears of it, in words that name the namespace, and cannot write any more. */
static void t_notifications(struct rig *r)
{
	struct host a, b;

	rig_target(r, NULL, NULL);
	open_host(r, &a, 1);
	open_host(r, &b, 2);
	assert_int_equal(reg(&a, NOF_RESV_REGISTER, 0, KEY_A, 0), 0);
	assert_int_equal(reg(&b, NOF_RESV_REGISTER, 0, KEY_B, 0), 0);
	assert_int_equal(acquire(&b, NOF_RESV_ACQUIRE, NOF_RESV_WRITE_EXCLUSIVE_REG, KEY_B, 0), 0);
	assert_int_equal(acquire(&a, NOF_RESV_PREEMPT, NOF_RESV_WRITE_EXCLUSIVE, KEY_A, KEY_B), 0);
	RIG_UNTIL(r, b.events);
	assert_int_equal(b.nsid, 1);
	assert_non_null(strstr(b.detail, "preempted"));
	assert_int_equal(do_write(&b), -EBADE);
	assert_int_equal(a.events, 0);
	/* And again: the event was re-armed, the log emptied. */
	assert_int_equal(reg(&b, NOF_RESV_REGISTER, 0, KEY_B, 0), 0);
	b.events = 0;
	assert_int_equal(acquire(&a, NOF_RESV_PREEMPT_ABORT, NOF_RESV_EXCLUSIVE_ACCESS, KEY_A,
				 KEY_B), 0);
	RIG_UNTIL(r, b.events);
	close_host(&a);
	close_host(&b);
}

static void t_refusals(struct rig *r)
{
	struct nof_resv_status st = { .size = sizeof(st) };
	struct nof_registrant g;
	struct host a;

	rig_target(r, NULL, NULL);
	open_host(r, &a, 1);
	RIG_REFUSES(nof_resv_register(a.chan, (enum nof_resv_register_action)3, 0, 1, 0, rig_done,
				      NULL), EINVAL);
	RIG_REFUSES(nof_resv_register(a.chan, NOF_RESV_REGISTER, 0, 1, 8, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_resv_register(a.chan, NOF_RESV_REGISTER, 0, 1,
				      NOF_RESV_PERSIST | NOF_RESV_NO_PERSIST, rig_done, NULL),
		    EINVAL);
	RIG_REFUSES(nof_resv_acquire(a.chan, NOF_RESV_ACQUIRE, NOF_RESV_NONE, 1, 0, 0, rig_done,
				     NULL), EINVAL);
	RIG_REFUSES(nof_resv_acquire(a.chan, NOF_RESV_ACQUIRE, (enum nof_resv_type)7, 1, 0, 0,
				     rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_resv_acquire(a.chan, NOF_RESV_ACQUIRE, NOF_RESV_WRITE_EXCLUSIVE, 1, 0,
				     NOF_RESV_PERSIST, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_resv_release(a.chan, (enum nof_resv_release_action)2,
				     NOF_RESV_WRITE_EXCLUSIVE, 1, 0, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_resv_report(a.chan, NULL, &g, 1, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_resv_report(a.chan, &st, NULL, 1, rig_done, NULL), EINVAL);
	st.size = 1;
	RIG_REFUSES(nof_resv_report(a.chan, &st, &g, 1, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_resv_report(NULL, &st, &g, 1, rig_done, NULL), EINVAL);
	close_host(&a);
}

/*
 * P-4: who has registered is a host, not a controller. What it did by one path holds for all of
 * them, and goes on when the path goes; another host is refused by all of them.
 */
static void t_holds_for_all_paths(struct rig *r)
{
	uint16_t port1, port2;
	struct nof_path_info p[2];
	struct nof_ctrl *second;
	struct host a, b;
	struct nof_opts o;
	const char *port;

	rig_target(r, NULL, NULL);
	port1 = r->port;
	open_host(r, &a, 1);
	assert_int_equal(reg(&a, NOF_RESV_REGISTER, 0, KEY_A, 0), 0);
	assert_int_equal(acquire(&a, NOF_RESV_ACQUIRE, NOF_RESV_EXCLUSIVE_ACCESS, KEY_A, 0), 0);
	port = strstr(rig_control(r, "listen 127.0.0.1:0"), " port=");
	assert_non_null(port);
	port2 = (uint16_t)atoi(port + 6);
	assert_string_equal(rig_control(r, "%s", ""), "ok");
	/* The same host by the other port, without registering there. */
	r->port = port2;
	host_opts(r, 1, &o);
	assert_int_equal(nof_ctrl_new(r->loop, &o, NULL, NULL, &second), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(second, rig_done, op))), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ns_add_path(a.ns, second, rig_done, op))), 0);
	open_host(r, &b, 2);
	r->port = port1;
	assert_int_equal(do_write(&b), -EBADE);
	assert_int_equal(nof_ns_pin_path(a.ns, second), 0);
	do
		assert_int_equal(do_write(&a), 0);
	while (p[0].size = sizeof(p[0]), nof_ns_get_paths(a.ns, p, 2) == 2 && !p[1].commands);
	assert_int_equal(nof_ns_pin_path(a.ns, NULL), 0);
	assert_string_equal(rig_control(r, "unlisten 1"), "ok");
	RIG_UNTIL(r, nof_ctrl_get_state(a.ctrl) == NOF_CTRL_FAILED);
	assert_int_equal(do_write(&a), 0);
	assert_int_equal(do_write(&b), -EBADE);
	assert_int_equal(do_read(&b), -EBADE);
	assert_int_equal(release(&a, NOF_RESV_RELEASE, NOF_RESV_EXCLUSIVE_ACCESS, KEY_A), 0);
	assert_int_equal(do_write(&b), 0);
	close_host(&b);
	close_host(&a);
	nof_ctrl_free(second);
}

/* Reports that cannot be: the caller's places are as they were. */
static void t_hostile_report(struct rig *r)
{
	struct nof_resv_status st = { .size = sizeof(st), .generation = 0x5555 };
	struct nof_registrant g[2];
	struct host a;

	rig_target(r, NULL, NULL);
	open_host(r, &a, 1);
	assert_int_equal(reg(&a, NOF_RESV_REGISTER, 0, KEY_A, 0), 0);
	rig_fault(r, r->arg);
	assert_int_equal(report(&a, &st, g, 2), -EPROTO);
	assert_int_equal(st.generation, 0x5555);
	assert_non_null(strstr(r->last->detail, "target is at fault"));
	rig_control(r, "clear");
	assert_int_equal(report(&a, &st, g, 2), 0);
	assert_int_equal(r->last->result, 1);
	/* More registrants than there is room for in the universe: what came is what is read. */
	rig_fault(r, "on=c2hdata for=resvreport do=set:data16[5]=0xffff");
	assert_int_equal(report(&a, &st, g, 2), 0);
	assert_int_equal(r->last->result, 2);
	assert_int_equal(st.registrants, 0xffff);
	close_host(&a);
}

int main(void)
{
	const struct rig_test tests[] = {
		{ "types", t_types },
		{ "keys", t_keys },
		{ "notifications", t_notifications },
		{ "refusals", t_refusals },
		{ "p4_holds_for_all_paths", t_holds_for_all_paths },
		{ "hostile_type", t_hostile_report,
		  "on=c2hdata for=resvreport do=set:data8[4]=9" },
		{ "hostile_holder_of_nothing", t_hostile_report,
		  "on=c2hdata for=resvreport do=set:data8[66]=1" },
	};

	return rig_main("resv", tests, ARRAY_SIZE(tests));
}
