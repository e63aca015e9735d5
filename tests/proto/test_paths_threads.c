/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Channels on loops of their own threads, with verified I/O, while paths are lost, found,
 * added, removed and chosen by the thread of the controllers. Under ThreadSanitizer this
 * shows that nothing is shared without a rule.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "rig.h"

#define FAST "ctrl_loss_tmo=20&reconnect_delay=0.2&max_retries=20&write_hold=0.05&" \
	     "nr_io_queues=16&queue_size=16"

enum { THREADS = 2, DEPTH = 8, LEN = 4096, PORTS = 2 };

struct worker {
	struct nof_ns *ns;
	struct nof_loop *loop;
	struct nof_chan *chan;
	pthread_t thread;
	bool is_open;
	int open_error;
	unsigned submitted, completed, twice, corrupt;
	int error;
	char detail[RIG_DETAIL];
	atomic_uint good;
	atomic_bool is_over;
	struct unit {
		struct worker *w;
		bool is_write, is_out;
		uint64_t offset;
		uint32_t seed;
		uint8_t buf[LEN];
	} unit[DEPTH];
};

static struct worker workers[THREADS];
static struct nof_ctrl *ctrls[PORTS];
static uint16_t ports[PORTS];

static void submit(struct unit *u);

static void on_done(void *arg, const struct nof_completion *c)
{
	struct unit *u = arg;
	struct worker *w = u->w;

	w->twice += !u->is_out;
	u->is_out = false;
	w->completed++;
	if (c->error) {
		if (!w->error)
			snprintf(w->detail, sizeof(w->detail), "%s", c->detail);
		w->error = w->error ? w->error : c->error;
		return;
	}
	w->corrupt += !u->is_write && !rig_is_filled(u->buf, LEN, u->seed);
	atomic_fetch_add(&w->good, 1);
	if (!atomic_load(&w->is_over))
		submit(u);
}

static void submit(struct unit *u)
{
	struct worker *w = u->w;
	int r;

	u->is_write = !u->is_write;
	if (u->is_write)
		rig_fill(u->buf, LEN, ++u->seed);
	else
		memset(u->buf, 0, LEN);
	u->is_out = true;
	r = u->is_write ? nof_write(w->chan, u->buf, LEN, u->offset, 0, on_done, u) :
	    nof_read(w->chan, u->buf, LEN, u->offset, 0, on_done, u);
	if (r == 0) {
		w->submitted++;
		return;
	}
	u->is_out = false;
	if (!w->error)
		snprintf(w->detail, sizeof(w->detail), "%s", nof_strerror_detail());
	w->error = w->error ? w->error : r;
}

static void on_open(void *arg, const struct nof_completion *c)
{
	struct worker *w = arg;

	w->is_open = true;
	w->open_error = c->error;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	if (nof_chan_open(w->ns, w->loop, &w->chan, on_open, w) < 0) {
		w->open_error = -1;
		return NULL;
	}
	while (!w->is_open)
		nof_loop_wait(w->loop, 100);
	if (!w->chan)
		return NULL;
	for (unsigned i = 0; i < DEPTH; i++) {
		struct unit *u = &w->unit[i];

		u->w = w;
		u->seed = (uint32_t)((w - workers) * 100000 + i * 1000);
		u->offset = ((uint64_t)(w - workers) * DEPTH + i) * LEN;
		submit(u);
	}
	while (!atomic_load(&w->is_over) || w->completed < w->submitted)
		if (nof_loop_wait(w->loop, 100) < 0)
			break;
	nof_chan_close(w->chan);
	w->chan = NULL;
	return NULL;
}

static uint16_t listen_on(struct rig *r, uint16_t port)
{
	const char *p = strstr(rig_control(r, "listen 127.0.0.1:%u", port), " port=");
	uint16_t n;

	assert_non_null(p);
	n = (uint16_t)atoi(p + 6);
	assert_string_equal(rig_control(r, "%s", ""), "ok");
	return n;
}

static struct nof_ctrl *connect_by(struct rig *r, uint16_t port)
{
	struct nof_ctrl *ctrl;
	struct nof_opts o;

	rig_opts(r, FAST, &o);
	snprintf(o.trsvcid, sizeof(o.trsvcid), "%u", port);
	assert_int_equal(nof_ctrl_new(r->loop, &o, rig_on_event, r, &ctrl), 0);
	if (rig_finish(RIG_SUBMIT(r, nof_ctrl_connect(ctrl, rig_done, op))))
		fail_msg("%s", r->last->detail);
	return ctrl;
}

static void add(struct rig *r, int i)
{
	if (rig_finish(RIG_SUBMIT(r, nof_ns_add_path(r->ns, ctrls[i], rig_done, op))))
		fail_msg("%s", r->last->detail);
}

/* Every worker has moved on by so much. */
static void progress(struct rig *r, unsigned n)
{
	for (int i = 0; i < THREADS; i++) {
		unsigned before = atomic_load(&workers[i].good);

		RIG_UNTIL(r, atomic_load(&workers[i].good) - before >= n);
	}
}

static bool is_usable(struct rig *r, int i)
{
	struct nof_path_info p[PORTS];

	p[0].size = sizeof(p[0]);
	return nof_ns_get_paths(r->ns, p, PORTS) > i && p[i].is_usable;
}

static void start(struct rig *r)
{
	r->drive = RIG_WAIT;
	rig_target(r, "--ana=on", NULL);
	rig_loop(r);
	ports[0] = r->port;
	ports[1] = listen_on(r, 0);
	for (int i = 0; i < PORTS; i++)
		ctrls[i] = connect_by(r, ports[i]);
	r->ctrl = ctrls[0];
	assert_int_equal(rig_open_ns(r, NULL), 0);
	add(r, 1);
	assert_int_equal(nof_ns_set_iopolicy(r->ns, NOF_IOPOLICY_ROUND_ROBIN), 0);
	memset(workers, 0, sizeof(workers));
	for (int i = 0; i < THREADS; i++) {
		workers[i].ns = r->ns;
		workers[i].loop = rig_new_loop(r, NOF_LOOP_DEDICATED);
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	progress(r, 20);
}

static void stop(struct rig *r, bool may_fail)
{
	for (int i = 0; i < THREADS; i++) {
		atomic_store(&workers[i].is_over, true);
		nof_loop_wake(workers[i].loop);
	}
	for (int i = 0; i < THREADS; i++) {
		struct worker *w = &workers[i];

		pthread_join(w->thread, NULL);
		nof_loop_free(w->loop);
		assert_int_equal(w->open_error, 0);
		assert_int_equal(w->completed, w->submitted);
		assert_int_equal(w->twice, 0);
		assert_int_equal(w->corrupt, 0);
		if (w->error && !may_fail)
			fail_msg("%d: %s", w->error, w->detail);
	}
	nof_ns_close(r->ns);
	r->ns = NULL;
	nof_ctrl_free(ctrls[1]);
	nof_ctrl_free(ctrls[0]);
	r->ctrl = NULL;
}

static void t_paths_come_and_go(struct rig *r)
{
	start(r);
	for (int i = 0; i < 6; i++) {
		int k = i & 1;

		assert_string_equal(rig_control(r, "unlisten %d", k + 1), "ok");
		RIG_UNTIL(r, !is_usable(r, k));
		progress(r, 20);
		assert_int_equal(listen_on(r, ports[k]), ports[k]);
		RIG_UNTIL(r, is_usable(r, k));
		progress(r, 20);
	}
	stop(r, false);
}

static void t_choices(struct rig *r)
{
	static const char *const states[] = { "non-optimized", "inaccessible", "change",
					      "optimized" };

	start(r);
	for (int i = 0; i < 24; i++) {
		assert_int_equal(nof_ns_set_iopolicy(r->ns, (enum nof_iopolicy)(i % 4)), 0);
		nof_ns_set_preferred(r->ns, i & 1 ? ctrls[0] : NULL);
		/* The first stays as it is: there is always one. */
		nof_ns_pin_path(r->ns, i % 5 ? NULL : ctrls[0]);
		rig_control(r, "ana 2 1 %s", states[i % 4]);
		progress(r, 10);
	}
	stop(r, false);
}

static void t_add_and_remove(struct rig *r)
{
	start(r);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(nof_ns_remove_path(r->ns, ctrls[1]), 0);
		progress(r, 20);
		add(r, 1);
		progress(r, 20);
	}
	stop(r, false);
}

/* Reset by its user, again and again. */
static void t_reset(struct rig *r)
{
	start(r);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_reset(ctrls[i & 1], rig_done,
									 op))), 0);
		progress(r, 10);
	}
	stop(r, false);
}

/* One controller ends in order, the channels go on with the other; then that one as well. */
static void t_disconnect(struct rig *r)
{
	start(r);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_disconnect(ctrls[1], rig_done, op))),
			 0);
	progress(r, 20);
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_ctrl_disconnect(ctrls[0], rig_done, op))),
			 0);
	stop(r, true);
}

static const struct rig_test tests[] = {
	{ "come_and_go", t_paths_come_and_go },
	{ "choices", t_choices },
	{ "add_and_remove", t_add_and_remove },
	{ "reset", t_reset },
	{ "disconnect", t_disconnect },
};

int main(void)
{
	return rig_main("paths_threads", tests, ARRAY_SIZE(tests));
}
