/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The active namespace list, collected page by page and exchanged at the end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/internal.h"

void nofi_nslist_begin(struct nof_ctrl *ctrl)
{
	ctrl->nnew = 0;
	ctrl->new_last = 0;
}

void nofi_nslist_keep(struct nof_ctrl *ctrl)
{
	/* An attempt that failed on the way has kept the right one already. */
	if (ctrl->old_nsids || !ctrl->is_known)
		return;
	ctrl->old_nsids = malloc(ctrl->nnsids * sizeof(*ctrl->old_nsids) + 1);
	ctrl->nold_nsids = ctrl->nnsids;
	if (ctrl->old_nsids && ctrl->nnsids)
		memcpy(ctrl->old_nsids, ctrl->nsids, ctrl->nnsids * sizeof(*ctrl->old_nsids));
}

int nofi_nslist_take(struct nof_ctrl *ctrl, const uint8_t *page, struct nofi_err *err)
{
	uint32_t *ids;
	int n;

	ids = realloc(ctrl->new_nsids, (ctrl->nnew + NOFI_NSIDS_PER_PAGE) * sizeof(*ids));
	if (!ids)
		return nofi_err_set(err, -ENOMEM, "no memory for the list of namespaces");
	ctrl->new_nsids = ids;
	n = nofi_ident_nslist(page, ctrl->new_last, ids + ctrl->nnew, NOFI_NSIDS_PER_PAGE, err);
	if (n < 0)
		return n;
	ctrl->nnew += (uint32_t)n;
	if (n)
		ctrl->new_last = ids[ctrl->nnew - 1];
	if (n == NOFI_NSIDS_PER_PAGE && ctrl->new_last < 0xfffffffe) {
		if (ctrl->nnew < NOFI_NSIDS_MAX)
			return 1;
		nofi_log(ctrl->loop, NOF_LOG_WARN, "%s: more than %d namespaces; those behind NSID "
			 "%u can only be named by NSID", ctrl->opts.subnqn, NOFI_NSIDS_MAX,
			 ctrl->new_last);
	}
	free(ctrl->nsids);
	ctrl->nsids = ctrl->new_nsids;
	ctrl->nnsids = ctrl->nnew;
	ctrl->new_nsids = NULL;
	ctrl->nnew = 0;
	return 0;
}
