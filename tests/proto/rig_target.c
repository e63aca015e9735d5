/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The target's side of the rig: the process and its control socket. */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "rig.h"
#include "rig_target.h"

enum { MAX_ARGS = 2048 };

static void exec_target(struct rig *r, const char *options, const char *fault, int ready,
			pid_t parent)
{
	char *argv[MAX_ARGS], *text = strdup(options), *save = NULL;
	char ready_arg[32], control_arg[128], listen_arg[48], *fault_arg = NULL;
	const char *path = getenv("NOF_TARGET");
	int n = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(125);
	snprintf(ready_arg, sizeof(ready_arg), "--ready-fd=%d", ready);
	snprintf(control_arg, sizeof(control_arg), "--control=%s/control", r->dir);
	argv[n++] = (char *)"nvmf-target";
	snprintf(listen_arg, sizeof(listen_arg), "--listen=127.0.0.1:%u",
		 r->port_fd >= 0 ? r->port : 0);
	argv[n++] = listen_arg;
	argv[n++] = (char *)(r->is_mptcp ? "--mptcp=prefer" : "--mptcp=off");
	argv[n++] = ready_arg;
	argv[n++] = control_arg;
	if (!strstr(options, "--ns="))
		argv[n++] = (char *)"--ns=mem:16M,bs=512";
	if (fault && asprintf(&fault_arg, "--fault=%s", fault) > 0)
		argv[n++] = fault_arg;
	for (char *p = strtok_r(text, " ", &save); p && n < MAX_ARGS - 1;
	     p = strtok_r(NULL, " ", &save))
		argv[n++] = p;
	argv[n] = NULL;
	/* stdout is the test's TAP. */
	dup2(open("/dev/null", O_WRONLY), 1);
	execv(path ? path : "nvmf-target", argv);
	fprintf(stderr, "cannot start NOF_TARGET=%s: %s\n", path ? path : "", strerror(errno));
	_exit(126);
}

static void connect_control(struct rig *r)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/control", r->dir);
	r->control = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(r->control >= 0);
	assert_int_equal(connect(r->control, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_string_equal(rig_control(r, "events"), "ok");
}

/*
 * Bound, but not listening: nobody else is given the port by the kernel, and the target
 * can bind it as well, for both permit it.
 */
void rig_keep_port(struct rig *r)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int one = 1;

	assert_int_equal(r->port_fd, -1);
	r->port_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(r->port_fd >= 0);
	setsockopt(r->port_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(r->port_fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(getsockname(r->port_fd, (struct sockaddr *)&sin, &len), 0);
	r->port = ntohs(sin.sin_port);
}

void rig_target(struct rig *r, const char *options, const char *fault)
{
	pid_t self = getpid();
	struct pollfd p = { .events = POLLIN };
	const char *port;
	char word[16];
	int fd[2];

	assert_int_equal(r->pid, 0);
	snprintf(r->dir, sizeof(r->dir), "/tmp/nof-rig-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	assert_int_equal(pipe(fd), 0);
	r->pid = fork();
	assert_true(r->pid >= 0);
	if (!r->pid) {
		close(fd[0]);
		exec_target(r, options ? options : "", fault, fd[1], self);
	}
	close(fd[1]);
	p.fd = fd[0];
	if (poll(&p, 1, RIG_DEADLINE_MS) != 1 || read(fd[0], word, sizeof(word)) <= 0) {
		close(fd[0]);
		fail_msg("nvmf-target %s --fault='%s' did not start", options ? options : "",
			 fault ? fault : "");
	}
	close(fd[0]);
	connect_control(r);
	port = strstr(rig_control(r, "listeners"), " port=");
	assert_non_null(port);
	r->port = (uint16_t)atoi(port + 6);
	/* Until "ok", which ends the list. */
	while (strcmp(rig_control(r, "%s", ""), "ok"))
		;
}

/* ---- control ---- */

/* The next whole line, or NULL after timeout_ms. Valid until the next call. */
static char *next_line(struct rig *r, uint64_t until)
{
	static char line[65536];
	struct pollfd p = { .fd = r->control, .events = POLLIN };

	for (;;) {
		char *nl = memchr(r->rx, '\n', r->rx_len);
		uint64_t now = rig_now_ms();
		ssize_t n;

		if (nl) {
			size_t len = (size_t)(nl - r->rx);

			memcpy(line, r->rx, len);
			line[len] = 0;
			r->rx_len -= len + 1;
			memmove(r->rx, nl + 1, r->rx_len);
			return line;
		}
		if (now >= until || poll(&p, 1, (int)(until - now)) <= 0)
			return NULL;
		n = recv(r->control, r->rx + r->rx_len, sizeof(r->rx) - r->rx_len, 0);
		if (n <= 0)
			return NULL;
		r->rx_len += (size_t)n;
	}
}

static bool take_event(struct rig *r, const char *line)
{
	if (strncmp(line, "event ", 6))
		return false;
	if (r->nevents < RIG_EVENTS)
		r->events[r->nevents++] = strdup(line);
	return true;
}

const char *rig_control(struct rig *r, const char *fmt, ...)
{
	char line[8192], *answer;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	assert_true(n >= 0 && n < (int)sizeof(line) - 1);
	if (n) {
		line[n++] = '\n';
		assert_int_equal(send(r->control, line, (size_t)n, MSG_NOSIGNAL), n);
	}
	do {
		answer = next_line(r, rig_now_ms() + RIG_DEADLINE_MS);
		if (!answer)
			fail_msg("the target does not answer '%s'", line);
	} while (take_event(r, answer));
	return answer;
}

void rig_fault(struct rig *r, const char *script)
{
	const char *answer = rig_control(r, "fault %s", script);

	if (strcmp(answer, "ok"))
		fail_msg("fault script '%s': %s", script, answer);
}

uint64_t rig_stat(struct rig *r, const char *name)
{
	char key[64];
	const char *p;

	snprintf(key, sizeof(key), "\"%s\":", name);
	p = strstr(rig_control(r, "stats"), key);
	assert_non_null(p);
	return strtoull(p + strlen(key), NULL, 10);
}

static const char *find_event(struct rig *r, const char *text)
{
	for (unsigned i = 0; i < r->nevents; i++)
		if (strstr(r->events[i], text))
			return r->events[i];
	return NULL;
}

bool rig_has_event(struct rig *r, const char *text)
{
	rig_control(r, "stats");	/* what was told before its answer has arrived */
	return find_event(r, text);
}

/* The loop goes on meanwhile: what the event is about may still have to be sent. */
const char *rig_event(struct rig *r, const char *text)
{
	uint64_t until = rig_now_ms() + RIG_DEADLINE_MS;
	const char *e;

	while (!(e = find_event(r, text))) {
		char *line;

		if (rig_now_ms() >= until)
			fail_msg("the target did not tell: %s", text);
		if (r->loop)
			rig_turn(r, 1);
		line = next_line(r, rig_now_ms() + 20);
		if (line)
			take_event(r, line);
	}
	return e;
}

void rig_all_closed(struct rig *r)
{
	uint64_t until = rig_now_ms() + RIG_DEADLINE_MS;

	while (rig_stat(r, "conns")) {
		if (rig_now_ms() >= until)
			fail_msg("connections to the target stay open");
		if (r->loop)
			rig_turn(r, 5);
	}
}

/* ---- the end ---- */

void rig_signal(struct rig *r, int sig)
{
	assert_true(r->pid > 0);
	assert_int_equal(kill(r->pid, sig), 0);
}

static int reap(struct rig *r, uint64_t until)
{
	int status = 0;

	while (r->pid > 0) {
		pid_t p = waitpid(r->pid, &status, until ? WNOHANG : 0);

		if (p == r->pid || (p < 0 && errno != EINTR)) {
			r->pid = 0;
			return status;
		}
		if (until && rig_now_ms() >= until)
			return -1;
		if (until)
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return 0;
}

void rig_kill(struct rig *r)
{
	r->was_killed = true;
	rig_signal(r, SIGKILL);
	reap(r, 0);
}

void rig_target_end(struct rig *r)
{
	int status;

	if (r->pid <= 0)
		return;
	kill(r->pid, SIGCONT);
	kill(r->pid, SIGTERM);
	status = reap(r, rig_now_ms() + RIG_DEADLINE_MS);
	if (status && !r->was_killed)
		fail_msg("the target did not end cleanly (status %#x)", status);
}

void rig_target_kill(struct rig *r)
{
	if (r->pid > 0) {
		kill(r->pid, SIGKILL);
		reap(r, 0);
	}
	if (r->control >= 0)
		close(r->control);
	r->control = -1;
	while (r->nevents)
		free(r->events[--r->nevents]);
	if (*r->dir) {
		char path[128];

		snprintf(path, sizeof(path), "%s/control", r->dir);
		unlink(path);
		rmdir(r->dir);
		*r->dir = 0;
	}
}

void rig_target_restart(struct rig *r)
{
	rig_target_end(r);
	rig_target_kill(r);
	r->was_killed = false;
}
