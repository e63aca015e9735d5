/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mistakes that the tools do not let anybody make, through the library: prints the sentence that
 * the caller gets. usage: misuse unaligned|past-the-end|read-only URI
 */
#include <nof.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int provoke(const char *what, struct nof_chan *chan, const struct nof_ns_info *ns)
{
	char *buf = calloc(2, ns->block_size);
	int err = 0;

	if (!buf)
		return 0;
	if (!strcmp(what, "unaligned"))
		err = nof_pread(chan, buf, ns->block_size, ns->block_size / 2, 0);
	else if (!strcmp(what, "past-the-end"))
		err = nof_pread(chan, buf, 2 * (size_t)ns->block_size, ns->bytes - ns->block_size,
				0);
	else if (!strcmp(what, "read-only"))
		err = nof_pwrite(chan, buf, ns->block_size, 0, 0);
	free(buf);
	return err;
}

int main(int argc, char **argv)
{
	struct nof_ns_info info = { .size = sizeof(info) };
	struct nof_loop *loop = NULL;
	struct nof_ctrl *ctrl = NULL;
	struct nof_chan *chan = NULL;
	struct nof_ns *ns = NULL;
	struct nof_opts opts;
	int err;

	if (argc != 3) {
		fputs("usage: misuse unaligned|past-the-end|read-only URI\n", stderr);
		return 2;
	}
	nof_opts_init(&opts);
	err = nof_uri_parse(argv[2], &opts);
	if (!err)
		err = nof_loop_new(NULL, &loop);
	if (!err)
		err = nof_ctrl_new(loop, &opts, NULL, NULL, &ctrl);
	if (!err)
		err = nof_ctrl_connect_sync(ctrl);
	if (!err)
		err = nof_ns_open_sync(ctrl, NULL, &ns);
	if (!err)
		err = nof_chan_open_sync(ns, loop, &chan);
	if (!err)
		err = nof_ns_get_info(ns, &info);
	if (!err)
		err = provoke(argv[1], chan, &info);
	if (err)
		fprintf(stderr, "misuse: %s\n", nof_strerror_detail());
	nof_chan_close(chan);
	nof_ns_close(ns);
	nof_ctrl_free(ctrl);
	nof_loop_free(loop);
	return err ? 1 : 0;
}
