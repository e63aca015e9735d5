/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a command whose system call io_uring_setup fails, as under kernel.io_uring_disabled=2 (the
 * default of deny: EPERM) or on a kernel without io_uring (ENOSYS): what containers do.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define USAGE_STATUS 2
#define EXEC_STATUS  127	/* as shells do */

static int install(unsigned int error)
{
	/* No look at the architecture: only the programs of this build are run under it. */
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) ? -errno : 0;
}

int main(int argc, char **argv)
{
	unsigned int error = EPERM;
	int at = 1, err;

	if (argc > 1 && !strcmp(argv[1], "--enosys")) {
		error = ENOSYS;
		at++;
	}
	if (at >= argc) {
		fputs("usage: deny [--enosys] COMMAND [ARGUMENT]...\n", stderr);
		return USAGE_STATUS;
	}
	err = install(error);
	if (err) {
		fprintf(stderr, "deny: the seccomp filter cannot be installed: %s\n",
			strerror(-err));
		return EXEC_STATUS;
	}
	execvp(argv[at], argv + at);
	fprintf(stderr, "deny: %s: %s\n", argv[at], strerror(errno));
	return EXEC_STATUS;
}
