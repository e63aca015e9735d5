/* SPDX-License-Identifier: MIT */
/*
 * libnof in a program that has its own poll(2) loop.
 *
 * The program below already waits for something, here for standard input. It adds one file
 * descriptor to the set, nof_loop_fd(), and calls nof_loop_process() when that is readable. That
 * is all of the embedding: no thread, no timer and no second descriptor belongs to the library.
 *
 * It connects, opens a namespace and a channel, keeps DEPTH reads in flight until COUNT blocks
 * have been read, and takes leave of the controller. Each step is started by the completion of
 * the one before, so nothing here ever blocks. A line typed meanwhile prints the progress.
 *
 *	embed-poll nvme+tcp://127.0.0.1/nqn.2024-01.org.example:disk
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <nof.h>

#define DEPTH 8
#define COUNT 256

struct app;

/* One read that can be in flight. The buffer is the library's from nof_read() to the callback. */
struct request {
	struct app *app;
	char buf[4096];
};

struct app {
	struct nof_loop *loop;
	struct nof_ctrl *ctrl;
	struct nof_ns *ns;
	struct nof_chan *chan;
	struct request requests[DEPTH];
	uint64_t bytes;	      /* size of the namespace */
	uint64_t next;	      /* offset of the next read */
	unsigned int started; /* reads submitted */
	unsigned int inflight;
	unsigned int finished; /* reads that succeeded */
	bool failed;
	bool done; /* leave the poll loop */
};

/* Every error ends the same way: its sentence, once, and the way out. */
static void fail(struct app *app, const char *detail)
{
	if (!app->failed)
		fprintf(stderr, "embed-poll: %s\n", detail);
	app->failed = true;
	app->done = true;
}

static void on_disconnected(void *arg, const struct nof_completion *c)
{
	struct app *app = arg;

	if (c->error)
		fail(app, c->detail);
	app->done = true;
}

static void on_read(void *arg, const struct nof_completion *c);

static void start_read(struct request *r)
{
	struct app *app = r->app;

	if (app->next + sizeof(r->buf) > app->bytes)
		app->next = 0;
	/*
	 * Returning 0 is a promise: on_read() will be called exactly once, from
	 * nof_loop_process(), whatever happens to the connection. An error here is the opposite
	 * promise: on_read() will not be called for this one.
	 */
	if (nof_read(app->chan, r->buf, sizeof(r->buf), app->next, 0, on_read, r) < 0) {
		fail(app, nof_strerror_detail());
		return;
	}
	app->next += sizeof(r->buf);
	app->started++;
	app->inflight++;
}

static void on_read(void *arg, const struct nof_completion *c)
{
	struct request *r = arg;
	struct app *app = r->app;

	app->inflight--;
	/* After a failure the others in flight still come home; they have nothing to add. */
	if (app->failed)
		return;
	if (c->error) {
		fail(app, c->detail);
		return;
	}
	app->finished++;
	/* A callback may submit. What it submits is sent when nof_loop_process() ends. */
	if (app->started < COUNT) {
		start_read(r);
	} else if (app->inflight == 0) {
		/* The clean end: close the queue, then tell the controller. */
		nof_chan_close(app->chan);
		app->chan = NULL;
		if (nof_ctrl_disconnect(app->ctrl, on_disconnected, app) < 0)
			fail(app, nof_strerror_detail());
	}
}

static void on_chan(void *arg, const struct nof_completion *c)
{
	struct app *app = arg;
	unsigned int i;

	if (c->error) {
		fail(app, c->detail);
		return;
	}
	for (i = 0; i < DEPTH && !app->failed; i++)
		start_read(&app->requests[i]);
}

static void on_ns(void *arg, const struct nof_completion *c)
{
	struct nof_ns_info info = { .size = sizeof(info) };
	struct app *app = arg;

	if (c->error) {
		fail(app, c->detail);
		return;
	}
	if (nof_ns_get_info(app->ns, &info) < 0 ||
	    nof_chan_open(app->ns, app->loop, &app->chan, on_chan, app) < 0) {
		fail(app, nof_strerror_detail());
		return;
	}
	app->bytes = info.bytes;
}

static void on_connected(void *arg, const struct nof_completion *c)
{
	struct app *app = arg;

	if (c->error)
		fail(app, c->detail);
	else if (nof_ns_open(app->ctrl, NULL, &app->ns, on_ns, app) < 0)
		fail(app, nof_strerror_detail());
}

static int start(struct app *app, const char *uri)
{
	struct nof_opts opts;
	int ret;

	/* Plain options; the URI fills them and says where it is wrong. */
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

static void poll_loop(struct app *app)
{
	struct pollfd fds[2] = {
		{ .fd = nof_loop_fd(app->loop), .events = POLLIN },
		{ .fd = STDIN_FILENO, .events = POLLIN },
	};
	char line[256];

	while (!app->done) {
		/* No timeout: the library's timers make its descriptor readable, too. */
		if (poll(fds, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			fail(app, strerror(errno));
			return;
		}
		if (fds[0].revents && nof_loop_process(app->loop) < 0)
			fail(app, nof_strerror_detail());
		/* The program's own work goes on between. */
		if (fds[1].revents) {
			if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
				fds[1].fd = -1;
			else
				printf("%u of %u blocks read\n", app->finished, COUNT);
		}
	}
}

int main(int argc, char **argv)
{
	static struct app app;
	unsigned int i;

	if (argc != 2) {
		fprintf(stderr, "usage: embed-poll URI\n");
		return 2;
	}
	for (i = 0; i < DEPTH; i++)
		app.requests[i].app = &app;
	if (start(&app, argv[1]) < 0)
		fail(&app, nof_strerror_detail());
	else
		poll_loop(&app);
	/*
	 * All of these accept NULL, so this is also the way out of every half-built state. What
	 * is still in flight completes with ECANCELED in here: on_read() must still be able to
	 * run, which is why the application's memory goes last.
	 */
	nof_chan_close(app.chan);
	nof_ns_close(app.ns);
	nof_ctrl_free(app.ctrl);
	nof_loop_free(app.loop);
	if (!app.failed)
		printf("%u blocks read\n", app.finished);
	return app.failed ? 1 : 0;
}
