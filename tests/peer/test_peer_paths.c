/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One namespace over two paths: blktests' ANA failover (057) and SPDK's host cases
 * failover, multipath, aer and ns_hotplug_stress, with verified I/O going on. Our own
 * code against the scripted target, which has a port for each path.
 */
#include "recover.h"

enum { PATHS = 2 };

struct two {
	struct rig *r;
	struct nof_ctrl *ctrls[PATHS];
	uint16_t ports[PATHS];
};

/* Port of the target's listener with this index. */
static uint16_t port_of(struct rig *r, unsigned index)
{
	const char *line = rig_control(r, "listeners"), *p;
	uint16_t port = 0;

	for (unsigned i = 1; strcmp(line, "ok"); i++) {
		p = strstr(line, " port=");
		if (i == index && p)
			port = (uint16_t)atoi(p + 6);
		line = rig_control(r, "%s", "");
	}
	assert_true(port);
	return port;
}

static void open_two(struct two *two, struct rig *r, const char *options, const char *extra)
{
	struct nof_opts o;

	*two = (struct two){ .r = r };
	/* The test's argument, if any, is a fault script. */
	rig_target(r, options, r->arg);
	rig_open(r, extra);
	two->ctrls[0] = r->ctrl;
	for (unsigned i = 0; i < PATHS; i++)
		two->ports[i] = port_of(r, i + 1);
	rig_opts(r, extra, &o);
	snprintf(o.trsvcid, sizeof(o.trsvcid), "%u", two->ports[1]);
	assert_int_equal(nof_ctrl_new(r->loop, &o, rig_on_event, r, &two->ctrls[1]), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(two->ctrls[1], rig_done, op))),
			 0);
	if (rig_finish(RIG_SUBMIT(r, nof_ns_add_path(r->ns, two->ctrls[1], rig_done, op))))
		fail_msg("adding the path: %s", r->last->detail);
}

static void close_two(struct two *two)
{
	struct rig *r = two->r;

	nof_chan_close(r->chan);
	r->chan = NULL;
	nof_ns_close(r->ns);
	r->ns = NULL;
	nof_ctrl_free(two->ctrls[1]);
}

static void counters(const struct two *two, uint64_t commands[PATHS])
{
	struct nof_path_info p[PATHS];

	for (int i = 0; i < PATHS; i++)
		p[i].size = sizeof(p[i]);
	assert_int_equal(nof_ns_get_paths(two->r->ns, p, PATHS), PATHS);
	for (int i = 0; i < PATHS; i++)
		for (int k = 0; k < PATHS; k++)
			if (p[i].ctrl == two->ctrls[k])
				commands[k] = p[i].commands;
}

/* Waits until I/O goes by these paths only (a set of bits). */
static void by(struct two *two, struct load *l, unsigned want)
{
	uint64_t end = rig_now_ms() + PEER_DEADLINE_MS, before[PATHS], after[PATHS];
	unsigned seen = ~0u;

	while (seen != want) {
		if (rig_now_ms() >= end)
			fail_msg("I/O goes by paths %#x, want %#x", seen, want);
		counters(two, before);
		peer_more(two->r, l, 40);
		counters(two, after);
		seen = 0;
		for (unsigned i = 0; i < PATHS; i++)
			if (after[i] != before[i])
				seen |= 1u << i;
	}
	assert_int_equal(load_get(l)->errors, 0);
}

#define TWO_PORTS "--listen=127.0.0.1:0 "

/* 057 and multipath: states of the group change under I/O; I/O follows, at once and back. */
static void t_ana(struct rig *r)
{
	static const struct {
		const char *first, *second;
		unsigned want;
	} steps[] = {
		{ "optimized", "non-optimized", 1 },
		{ "non-optimized", "optimized", 2 },
		{ "inaccessible", "optimized", 2 },
		{ "inaccessible", "non-optimized", 2 },
		{ "non-optimized", "inaccessible", 1 },
		{ "optimized", "persistent-loss", 1 },
		{ "change", "non-optimized", 2 },
		{ "optimized", "non-optimized", 1 },
	};
	struct two two;
	struct load *l;

	open_two(&two, r, TWO_PORTS "--ana=on", RECOVERS "nr_io_queues=2");
	l = peer_load(r, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		/* The good one first: there is always a path. */
		if (steps[i].want & 1) {
			PEER_OK(r, "ana 1 1 %s", steps[i].first);
			PEER_OK(r, "ana 2 1 %s", steps[i].second);
		} else {
			PEER_OK(r, "ana 2 1 %s", steps[i].second);
			PEER_OK(r, "ana 1 1 %s", steps[i].first);
		}
		by(&two, l, steps[i].want);
	}
	peer_finish(r, l);
	for (int i = 0; i < PATHS; i++) {
		struct nof_ctrl_stats s = { .size = sizeof(s) };

		assert_int_equal(nof_ctrl_get_stats(two.ctrls[i], &s), 0);
		assert_int_equal(s.resets, 0);
	}
	close_two(&two);
}

/* multipath: all paths are inaccessible for a while: I/O waits, and goes on. */
static void t_all_inaccessible(struct rig *r)
{
	struct two two;
	struct load *l;
	uint64_t before;

	open_two(&two, r, TWO_PORTS "--ana=on", RECOVERS "nr_io_queues=2");
	l = peer_load(r, NULL);
	peer_more(r, l, 50);
	PEER_OK(r, "ana 1 1 inaccessible");
	PEER_OK(r, "ana 2 1 inaccessible");
	/* All of the load's operations wait: nothing completes any more. */
	do {
		before = load_get(l)->completed;
		for (int i = 0; i < 10; i++)
			rig_turn(r, 10);
	} while (load_get(l)->completed != before);
	assert_int_equal(load_get(l)->errors, 0);
	PEER_OK(r, "ana 2 1 non-optimized");
	by(&two, l, 2);
	PEER_OK(r, "ana 1 1 optimized");
	by(&two, l, 1);
	peer_finish(r, l);
	close_two(&two);
}

/* multipath: two optimized paths are both used by round-robin and queue-depth. */
static void t_policies(struct rig *r)
{
	struct two two;
	struct load *l;

	open_two(&two, r, TWO_PORTS "--ana=on", RECOVERS "nr_io_queues=2&iopolicy=round-robin");
	l = peer_load(r, NULL);
	by(&two, l, 3);
	assert_int_equal(nof_ns_set_iopolicy(r->ns, NOF_IOPOLICY_QUEUE_DEPTH), 0);
	by(&two, l, 3);
	PEER_OK(r, "ana 2 1 non-optimized");
	by(&two, l, 1);
	assert_int_equal(nof_ns_set_iopolicy(r->ns, NOF_IOPOLICY_ROUND_ROBIN), 0);
	by(&two, l, 1);
	PEER_OK(r, "ana 2 1 optimized");
	by(&two, l, 3);
	peer_finish(r, l);
	close_two(&two);
}

/* failover: listeners are removed and added again, first one, then the other. */
static void t_failover(struct rig *r)
{
	struct two two;
	struct load *l;

	open_two(&two, r, TWO_PORTS "--ana=on", RECOVERS "nr_io_queues=2&iopolicy=round-robin");
	l = peer_load(r, NULL);
	for (unsigned i = 0; i < 4; i++) {
		unsigned gone = i % PATHS;
		struct nof_ctrl_stats s = { .size = sizeof(s) };

		by(&two, l, 3);
		PEER_OK(r, "unlisten %u", gone + 1);
		by(&two, l, 1u << !gone);
		PEER_OK(r, "listen 127.0.0.1:%u", two.ports[gone]);
		PEER_UNTIL(r, l, nof_ctrl_get_state(two.ctrls[gone]) == NOF_CTRL_LIVE);
		by(&two, l, 3);
		/* Nobody else was touched. */
		assert_int_equal(nof_ctrl_get_stats(two.ctrls[!gone], &s), 0);
		assert_int_equal(s.resets, (i + 1) / 2);
	}
	peer_finish(r, l);
	close_two(&two);
}

/* failover: a path falls silent; I/O leaves it when the first timer says so. */
static void t_failover_silent(struct rig *r)
{
	struct two two;
	struct load *l;

	open_two(&two, r, TWO_PORTS "--ana=on",
		 RECOVERS "nr_io_queues=2&iopolicy=round-robin&io_timeout=0.4&keep_alive_tmo=1");
	l = peer_load(r, NULL);
	by(&two, l, 3);
	PEER_OK(r, "pause 1");
	by(&two, l, 2);
	PEER_OK(r, "resume 1");
	PEER_UNTIL(r, l, nof_ctrl_get_state(two.ctrls[0]) == NOF_CTRL_LIVE);
	by(&two, l, 3);
	peer_finish(r, l);
	close_two(&two);
}

/* ---- namespaces ---- */

struct heard {
	struct rig *r;
	unsigned count[NOF_EVENT_OTHER + 1];
	uint32_t nsid[NOF_EVENT_OTHER + 1];	/* of the last one */
};

static void on_event(void *arg, const struct nof_event *ev)
{
	struct heard *h = arg;

	h->count[ev->type]++;
	h->nsid[ev->type] = ev->nsid;
	rig_on_event(h->r, ev);
}

static uint64_t size_of(struct rig *r)
{
	struct nof_ns_info info = { .size = sizeof(info) };

	assert_int_equal(nof_ns_get_info(r->ns, &info), 0);
	return info.bytes;
}

/* aer: namespaces come, change and go; each is told, with its number. */
static void t_aer(struct rig *r)
{
	struct heard h = { .r = r };
	uint32_t ids[4];

	rig_target(r, "--ns=mem:4M,bs=512", NULL);
	rig_loop(r);
	rig_opts(r, NULL, &r->opts);
	assert_int_equal(nof_ctrl_new(r->loop, &r->opts, on_event, &h, &r->ctrl), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(r->ctrl, rig_done, op))), 0);
	assert_int_equal(rig_open_ns(r, "1"), 0);
	for (unsigned i = 1; i <= 3; i++) {
		PEER_OK(r, "ns-add mem:1M,nsid=5");
		RIG_UNTIL(r, h.count[NOF_EVENT_NS_ADDED] == i);
		assert_int_equal(h.nsid[NOF_EVENT_NS_ADDED], 5);
		assert_int_equal(nof_ctrl_get_nsids(r->ctrl, ids, 4), 2);
		PEER_OK(r, "ns-remove 5");
		RIG_UNTIL(r, h.count[NOF_EVENT_NS_REMOVED] == i);
		assert_int_equal(h.nsid[NOF_EVENT_NS_REMOVED], 5);
		assert_int_equal(nof_ctrl_get_nsids(r->ctrl, ids, 4), 1);
		h.count[NOF_EVENT_NS_CHANGED] = 0;
		PEER_OK(r, "resize 1 %uM", 4 - i);
		RIG_UNTIL(r, h.count[NOF_EVENT_NS_CHANGED]);
		assert_int_equal(h.nsid[NOF_EVENT_NS_CHANGED], 1);
		/* What is open knows its new size. */
		RIG_UNTIL(r, size_of(r) == (4 - i) << 20);
	}
	assert_int_equal(rig_disconnect(r), 0);
}

/* ns_hotplug_stress: other namespaces come and go under the I/O of one. */
static void t_hotplug(struct rig *r)
{
	struct load *l;

	rig_target(r, NULL, NULL);
	rig_open(r, RECOVERS "nr_io_queues=2");
	l = peer_load(r, NULL);
	for (unsigned i = 0; i < 30; i++) {
		PEER_OK(r, "ns-add mem:1M,nsid=%u", 2 + i % 7);
		peer_more(r, l, 10);
		PEER_OK(r, "ns-remove %u", 2 + i % 7);
		peer_more(r, l, 5);
	}
	peer_finish(r, l);
	assert_int_equal(peer_stats(r).resets, 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* ---- 058: the NSID becomes another namespace ---- */

#define OTHER "0123456789abcdef0123456789abcdef"

/* What is behind the NSID now is reached by its own name, and nobody wrote to it. */
static void other_is_untouched(struct rig *r)
{
	enum { LEN = 1 << 20 };
	uint8_t *in = malloc(LEN);

	nof_chan_close(r->chan);
	nof_ns_close(r->ns);
	r->chan = NULL;
	r->ns = NULL;
	assert_int_equal(rig_open_ns(r, OTHER), 0);
	assert_int_equal(rig_open_chan(r), 0);
	for (int k = 0; k < 4; k++) {
		assert_int_equal(rig_read(r, in, LEN, (uint64_t)k * LEN, 0), 0);
		for (size_t i = 0; i < LEN; i++)
			assert_int_equal(in[i], 0);
	}
	free(in);
}

/* While the controller is away, under I/O: nothing is read from it or written to it. */
static void t_remap_away(struct rig *r)
{
	uint16_t port;
	struct load *l;
	char buf[512] = { 0 };

	rig_target(r, NULL, NULL);
	rig_open(r, RECOVERS "nr_io_queues=2");
	port = port_of(r, 1);
	l = peer_load(r, NULL);
	peer_more(r, l, 100);
	PEER_OK(r, "unlisten 1");
	PEER_OK(r, "ns-remap 1 mem:16M,bs=512,nguid=" OTHER);
	PEER_OK(r, "listen 127.0.0.1:%u", port);
	PEER_UNTIL(r, l, load_get(l)->errors);
	load_stop(l);
	PEER_UNTIL(r, l, load_is_idle(l));
	assert_int_equal(load_get(l)->error, -ESTALE);
	assert_non_null(strstr(load_get(l)->detail, "another"));
	assert_int_equal(load_get(l)->mismatches, 0);
	assert_int_equal(load_get(l)->doubled, 0);
	assert_int_equal(load_get(l)->submitted, load_get(l)->completed);
	load_free(l);
	assert_true(rig_write(r, buf, sizeof(buf), 0, 0) < 0);
	other_is_untouched(r);
	assert_int_equal(rig_disconnect(r), 0);
}

/*
 * Under a live controller. Until its event has told of it nobody can know: reads may see
 * the other one, so there are no writes. Then it is refused.
 */
static void t_remap_live(struct rig *r)
{
	char buf[512] = { 0 };

	rig_target(r, NULL, NULL);
	rig_open(r, RECOVERS "nr_io_queues=2");
	for (int i = 0; i < 5; i++) {
		PEER_OK(r, "ns-remap 1 mem:16M,bs=512,nguid=%s",
			i & 1 ? "fedcba9876543210fedcba9876543210" : OTHER);
		RIG_UNTIL(r, rig_read(r, buf, sizeof(buf), 0, 0) < 0);
		assert_true(rig_write(r, buf, sizeof(buf), 0, 0) < 0);
	}
	other_is_untouched(r);
	assert_int_equal(rig_disconnect(r), 0);
}

static const struct rig_test tests[] = {
	{ "blktests_nvme_057_ana_failover", t_ana },
	/* As nvmet: room for so many groups that their log would need more than one read. */
	{ "blktests_nvme_057_ana_many_groups", t_ana,
	  "on=c2hdata for=identify cns=1 do=set:data32[344]=128,set:data32[348]=128" },
	{ "blktests_nvme_058_remap_away", t_remap_away },
	{ "blktests_nvme_058_remap_live", t_remap_live },
	{ "spdk_host_aer", t_aer },
	{ "spdk_host_failover", t_failover },
	{ "spdk_host_failover_silent", t_failover_silent },
	{ "spdk_host_multipath_all_inaccessible", t_all_inaccessible },
	{ "spdk_host_multipath_policies", t_policies },
	{ "spdk_host_ns_hotplug_stress", t_hotplug },
};

int main(void)
{
	return rig_main("peer_paths", tests, ARRAY_SIZE(tests));
}
