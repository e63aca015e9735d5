/* SPDX-License-Identifier: MIT */
/*
 * libnof in a glib main loop.
 *
 * g_unix_fd_add() watches nof_loop_fd() and calls nof_loop_process() when it is readable; the
 * library's callbacks then run in the thread of the main loop like those of any other source.
 * A tick every 100 ms stands for the rest of the application: it shows that nothing blocks.
 *
 * Connects, opens a namespace and a channel, keeps DEPTH reads in flight for two seconds, and
 * takes leave.
 *
 *	embed-glib nvme+tcp://127.0.0.1/nqn.2024-01.org.example:disk
 */
#include <glib.h>
#include <glib-unix.h>

#include <nof.h>

#define DEPTH	8
#define BLOCK	4096
#define SECONDS 2

typedef struct {
	GMainLoop *main_loop;
	struct nof_loop *loop;
	struct nof_ctrl *ctrl;
	struct nof_ns *ns;
	struct nof_chan *chan;
	gchar *buffers[DEPTH]; /* each the library's while its read is in flight */
	guint64 blocks;	       /* reads of BLOCK bytes the namespace has room for */
	guint64 finished;
	guint inflight;
	gboolean stopping; /* no new reads; the last one home begins the end */
	gboolean failed;
} App;

/* A read needs to know its buffer and its application: this is what the callback gets. */
typedef struct {
	App *app;
	gchar *buffer;
} Request;

static void fail(App *app, const char *detail)
{
	if (!app->failed)
		g_printerr("embed-glib: %s\n", detail);
	app->failed = TRUE;
	g_main_loop_quit(app->main_loop);
}

static void on_disconnected(void *arg, const struct nof_completion *c)
{
	App *app = arg;

	if (c->error)
		fail(app, c->detail);
	g_main_loop_quit(app->main_loop);
}

static void leave(App *app)
{
	nof_chan_close(app->chan);
	app->chan = NULL;
	if (nof_ctrl_disconnect(app->ctrl, on_disconnected, app) < 0)
		fail(app, nof_strerror_detail());
}

static void on_read(void *arg, const struct nof_completion *c);

static void start_read(Request *r)
{
	App *app = r->app;
	guint64 block = g_random_int() % app->blocks;

	if (nof_read(app->chan, r->buffer, BLOCK, block * BLOCK, 0, on_read, r) < 0)
		fail(app, nof_strerror_detail());
	else
		app->inflight++;
}

static void on_read(void *arg, const struct nof_completion *c)
{
	Request *r = arg;
	App *app = r->app;

	app->inflight--;
	if (app->failed)
		return;
	if (c->error) {
		fail(app, c->detail);
		return;
	}
	app->finished++;
	if (!app->stopping)
		start_read(r);
	else if (app->inflight == 0)
		leave(app);
}

static gboolean on_time_is_up(gpointer data)
{
	App *app = data;

	app->stopping = TRUE;
	return G_SOURCE_REMOVE;
}

static void on_chan(void *arg, const struct nof_completion *c)
{
	static Request requests[DEPTH];
	App *app = arg;
	guint i;

	if (c->error) {
		fail(app, c->detail);
		return;
	}
	g_timeout_add_seconds(SECONDS, on_time_is_up, app);
	for (i = 0; i < DEPTH && !app->failed; i++) {
		requests[i] = (Request){ app, app->buffers[i] };
		start_read(&requests[i]);
	}
}

static void on_ns(void *arg, const struct nof_completion *c)
{
	struct nof_ns_info info = { .size = sizeof(info) };
	App *app = arg;

	if (c->error) {
		fail(app, c->detail);
		return;
	}
	if (nof_ns_get_info(app->ns, &info) < 0) {
		fail(app, nof_strerror_detail());
		return;
	}
	app->blocks = info.bytes / BLOCK;
	if (app->blocks == 0)
		fail(app, "the namespace is smaller than one read.");
	else if (nof_chan_open(app->ns, app->loop, &app->chan, on_chan, app) < 0)
		fail(app, nof_strerror_detail());
}

static void on_connected(void *arg, const struct nof_completion *c)
{
	App *app = arg;

	if (c->error)
		fail(app, c->detail);
	else if (nof_ns_open(app->ctrl, NULL, &app->ns, on_ns, app) < 0)
		fail(app, nof_strerror_detail());
}

/* The whole embedding: the descriptor is readable, so there is something to do. */
static gboolean on_loop_readable(gint fd, GIOCondition condition, gpointer data)
{
	App *app = data;

	(void)fd;
	(void)condition;
	if (nof_loop_process(app->loop) < 0)
		fail(app, nof_strerror_detail());
	return G_SOURCE_CONTINUE;
}

static gboolean on_tick(gpointer data)
{
	App *app = data;

	g_print("%" G_GUINT64_FORMAT " reads so far\n", app->finished);
	return G_SOURCE_CONTINUE;
}

static int start(App *app, const char *uri)
{
	struct nof_opts opts;
	int ret;

	nof_opts_init(&opts);
	ret = nof_uri_parse(uri, &opts);
	if (ret < 0)
		return ret;
	ret = nof_loop_new(NULL, &app->loop);
	if (ret < 0)
		return ret;
	ret = nof_ctrl_new(app->loop, &opts, NULL, NULL, &app->ctrl);
	if (ret < 0)
		return ret;
	return nof_ctrl_connect(app->ctrl, on_connected, app);
}

int main(int argc, char **argv)
{
	App app = { 0 };
	guint source, tick, i;

	if (argc != 2) {
		g_printerr("usage: embed-glib URI\n");
		return 2;
	}
	app.main_loop = g_main_loop_new(NULL, FALSE);
	for (i = 0; i < DEPTH; i++)
		app.buffers[i] = g_malloc(BLOCK);
	if (start(&app, argv[1]) < 0) {
		fail(&app, nof_strerror_detail());
	} else {
		source = g_unix_fd_add(nof_loop_fd(app.loop), G_IO_IN, on_loop_readable, &app);
		tick = g_timeout_add(100, on_tick, &app);
		/* The connection is under way already; a failure may even have ended it. */
		if (!app.failed)
			g_main_loop_run(app.main_loop);
		/* Before the loop is freed: glib must not poll a closed descriptor. */
		g_source_remove(source);
		g_source_remove(tick);
	}
	nof_chan_close(app.chan);
	nof_ns_close(app.ns);
	nof_ctrl_free(app.ctrl);
	nof_loop_free(app.loop);
	for (i = 0; i < DEPTH; i++)
		g_free(app.buffers[i]);
	g_main_loop_unref(app.main_loop);
	if (!app.failed)
		g_print("%" G_GUINT64_FORMAT " reads\n", app.finished);
	return app.failed ? 1 : 0;
}
