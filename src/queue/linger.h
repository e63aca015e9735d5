/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NOF_QUEUE_LINGER_H
#define NOF_QUEUE_LINGER_H

struct nof_loop;

/* Closes all sockets that still drain: the loop ends. */
void nofi_linger_free_all(struct nof_loop *loop);

#endif
