/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * F-12: what a controller reports becomes an event with a sentence, its log page is
 * read so that the next one can come, and a flood of the same is told once at a time.
 */
#include "rig.h"

enum { TYPES = NOF_EVENT_OTHER + 1 };

static struct seen {
	unsigned count;
	uint32_t nsid;
	uint8_t type, info, lid;
	char detail[RIG_DETAIL];
} seen[TYPES];

static void on_event(void *arg, const struct nof_event *ev)
{
	struct rig *r = arg;

	rig_on_event(arg, ev);
	if (ev->type == NOF_EVENT_CTRL_STATE || (unsigned)ev->type >= TYPES)
		return;
	seen[ev->type].count++;
	seen[ev->type].nsid = ev->nsid;
	seen[ev->type].type = ev->aen_type;
	seen[ev->type].info = ev->aen_info;
	seen[ev->type].lid = ev->log_page;
	snprintf(seen[ev->type].detail, RIG_DETAIL, "%s", ev->detail);
	if (r->drive == RIG_RUN)
		nof_loop_stop(r->loop);
}

static void open_ctrl(struct rig *r)
{
	memset(seen, 0, sizeof(seen));
	rig_loop(r);
	rig_opts(r, NULL, &r->opts);
	assert_int_equal(nof_ctrl_new(r->loop, &r->opts, on_event, r, &r->ctrl), 0);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(r->ctrl, rig_done, op))), 0);
}

struct kind {
	const char *aen;
	enum nof_event_type type;
	uint8_t aen_type, info, lid;
	const char *says;
};

static void t_kinds(struct rig *r)
{
	static const struct kind kinds[] = {
		{ "aen 0 4 1", NOF_EVENT_HEALTH, 0, 4, 1, "error" },
		{ "aen 1 1 2", NOF_EVENT_HEALTH, 1, 1, 2, "health" },
		{ "aen 2 1 3", NOF_EVENT_FIRMWARE, 2, 1, 3, "firmware" },
		{ "aen 2 0x55 0", NOF_EVENT_OTHER, 2, 0x55, 0, "notice" },
		{ "aen 7 0x12 0xc0", NOF_EVENT_OTHER, 7, 0x12, 0xc0, "event" },
	};

	rig_target(r, NULL, NULL);
	open_ctrl(r);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct kind *k = &kinds[i];
		struct seen *s = &seen[k->type];
		unsigned before = s->count;

		/* Armed again after the one before. */
		RIG_UNTIL(r, !strcmp(rig_control(r, "%s", k->aen), "ok"));
		RIG_UNTIL(r, s->count > before);
		assert_int_equal(s->type, k->aen_type);
		assert_int_equal(s->info, k->info);
		assert_int_equal(s->lid, k->lid);
		if (!strstr(s->detail, k->says))
			fail_msg("%s: want \"%s\", got \"%s\"", k->aen, k->says, s->detail);
	}
	assert_int_equal(rig_disconnect(r), 0);
}

/* The controller keeps quiet about a kind until its log page was read. */
static void t_log_is_read(struct rig *r)
{
	static const char *const logs[][2] = { { "aen 0 4 1", "1" }, { "aen 1 1 2", "2" },
					       { "aen 2 1 3", "3" } };
	char rule[64];

	rig_target(r, NULL, NULL);
	open_ctrl(r);
	for (size_t i = 0; i < ARRAY_SIZE(logs); i++) {
		snprintf(rule, sizeof(rule), "on=log lid=%s do=split:0", logs[i][1]);
		rig_fault(r, rule);
		RIG_UNTIL(r, !strcmp(rig_control(r, "%s", logs[i][0]), "ok"));
		RIG_UNTIL(r, rig_stat(r, "faults_fired") == 1);
	}
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_resized(struct rig *r)
{
	rig_target(r, "--ns=mem:4M --ns=mem:4M", NULL);
	open_ctrl(r);
	assert_string_equal(rig_control(r, "resize 2 2M"), "ok");
	RIG_UNTIL(r, seen[NOF_EVENT_NS_CHANGED].count);
	/* The one, or all when the controller does not say which. */
	assert_true(seen[NOF_EVENT_NS_CHANGED].nsid == 2 || !seen[NOF_EVENT_NS_CHANGED].nsid);
	assert_int_equal(seen[NOF_EVENT_NS_ADDED].count, 0);
	assert_int_equal(seen[NOF_EVENT_NS_REMOVED].count, 0);
	assert_int_equal(rig_disconnect(r), 0);
}

static const struct rig_test tests[] = {
	{ "f12_kinds", t_kinds },
	{ "f12_log_is_read", t_log_is_read },
	{ "f12_resized", t_resized },
};

int main(void)
{
	return rig_main("events", tests, ARRAY_SIZE(tests));
}
