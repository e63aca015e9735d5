/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NOF_TESTS_RIG_TARGET_H
#define NOF_TESTS_RIG_TARGET_H

struct rig;

/* Ends the target; it must have survived the test and end cleanly. */
void rig_target_end(struct rig *r);
/* Ends it whatever happened; cannot fail. */
void rig_target_kill(struct rig *r);

#endif
