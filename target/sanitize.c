/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sanitize and Device Self-test: background operations of --op-time, and their logs. */
#include <nvme/types.h>
#include <stdlib.h>

#include "target.h"

enum {
	EXIT_FAILURE_MODE = 1, BLOCK_ERASE = 2, OVERWRITE = 3, CRYPTO_ERASE = 4,
	SHORT = 1, EXTENDED = 2, ABORT = 15,
	RESULTS = 20, RESULT_LEN = 28, SELF_TEST_LEN = 4 + RESULTS * RESULT_LEN,
	SANITIZE_LEN = 512,
};

/* ---- Sanitize ---- */

static void set_sanitizing(struct subsys *s, bool is_on)
{
	for (unsigned int i = 0; i < s->nns; i++) {
		if (is_on)
			s->ns[i]->special |= NS_SANITIZING;
		else
			s->ns[i]->special &= ~NS_SANITIZING;
	}
}

static void sanitize_done(struct subsys *s)
{
	struct ctrl *next;

	set_sanitizing(s, false);
	for (unsigned int i = 0; i < s->nns; i++)
		ns_erase(s->ns[i]);
	s->ops.sanitize_state = s->ops.sanitize_dw10 >> 9 & 1 ? 4 : 1;
	for (struct ctrl *k = s->ctrls; k; k = next) {
		next = k->next;		/* telling it may be the end of it */
		ctrl_notify(k, EV_SANITIZE);
	}
}

static void on_sanitized(struct timer *t)
{
	struct subsys_ops *ops = container_of(t, struct subsys_ops, sanitize);

	sanitize_done(container_of(ops, struct subsys, ops));
}

static void exec_sanitize(struct cmd *cmd)
{
	struct subsys *s = cmd->conn->ctrl->subsys;
	uint32_t dw10 = sqe_dw(cmd, 10), action = dw10 & 7;
	uint16_t status = 0;

	if (s->ops.sanitize.is_armed)
		status = NVME_SC_SANITIZE_IN_PROGRESS | DNR;
	else if (!action || action > CRYPTO_ERASE)
		status = NVME_SC_INVALID_FIELD | DNR;
	for (unsigned int i = 0; i < s->nns && !status; i++)
		if (s->ns[i]->is_readonly)
			status = NVME_SC_NS_WRITE_PROTECTED | DNR;
	cmd_done(cmd, status);
	if (status || action == EXIT_FAILURE_MODE)
		return;
	s->ops.sanitize_dw10 = dw10;
	s->ops.sanitize_state = 2;
	s->ops.sanitize_start = loop_now();
	if (!opt.op_time) {
		sanitize_done(s);
		return;
	}
	set_sanitizing(s, true);
	timer_set(&s->ops.sanitize, opt.op_time * MS, on_sanitized);
}

/* In units of total. */
static uint64_t progress(uint64_t start, uint64_t total)
{
	uint64_t past = loop_now() - start, whole = opt.op_time * MS;

	return whole && past < whole ? past * total / whole : total;
}

uint8_t *log_sanitize(const struct subsys *s, size_t *len)
{
	uint8_t *l = calloc(1, SANITIZE_LEN);
	bool is_running = s->ops.sanitize.is_armed;

	if (!l)
		return NULL;
	*len = SANITIZE_LEN;
	nofi_put16(l, is_running ? (uint16_t)progress(s->ops.sanitize_start, 0xffff) : 0xffff);
	nofi_put16(l + 2, s->ops.sanitize_state);
	nofi_put32(l + 4, s->ops.sanitize_dw10);
	memset(l + 8, 0xff, 24);		/* estimated times: not reported */
	return l;
}

/* ---- Device Self-test ---- */

static void add_result(struct subsys *s, uint8_t result)
{
	uint8_t *r = s->ops.results;

	memmove(r + RESULT_LEN, r, (RESULTS - 1) * RESULT_LEN);
	memset(r, 0, RESULT_LEN);
	r[0] = (uint8_t)(s->ops.self_test_code << 4 | result);
	nofi_put32(r + 12, s->ops.self_test_nsid);
	if (s->ops.nresults < RESULTS)
		s->ops.nresults++;
	s->ops.self_test_code = 0;
}

static void on_tested(struct timer *t)
{
	struct subsys_ops *ops = container_of(t, struct subsys_ops, self_test);

	add_result(container_of(ops, struct subsys, ops), 0);
}

static void exec_self_test(struct cmd *cmd)
{
	struct subsys *s = cmd->conn->ctrl->subsys;
	uint32_t code = sqe_dw(cmd, 10) & 15, nsid = sqe_dw(cmd, 1);
	bool is_running = s->ops.self_test_code;
	uint16_t status = 0;

	if (code != SHORT && code != EXTENDED && code != ABORT)
		status = NVME_SC_INVALID_FIELD | DNR;
	else if (nsid && nsid != 0xffffffff && !ns_find(s, nsid))
		status = NVME_SC_INVALID_NS | DNR;
	else if (is_running && code != ABORT)
		status = 0x100 | NVME_SC_SELF_TEST_IN_PROGRESS | DNR;
	if (!status && code == ABORT && is_running) {
		timer_cancel(&s->ops.self_test);
		add_result(s, 1);
	} else if (!status && code != ABORT) {
		s->ops.self_test_code = (uint8_t)code;
		s->ops.self_test_nsid = nsid;
		s->ops.self_test_start = loop_now();
		if (opt.op_time)
			timer_set(&s->ops.self_test, opt.op_time * MS, on_tested);
		else
			add_result(s, 0);
	}
	cmd_done(cmd, status);
}

uint8_t *log_self_test(const struct subsys *s, size_t *len)
{
	uint8_t *l = calloc(1, SELF_TEST_LEN);

	if (!l)
		return NULL;
	*len = SELF_TEST_LEN;
	l[0] = s->ops.self_test_code;
	if (l[0])
		l[1] = (uint8_t)progress(s->ops.self_test_start, 100);
	memcpy(l + 4, s->ops.results, RESULTS * RESULT_LEN);
	for (unsigned int i = s->ops.nresults; i < RESULTS; i++)
		l[4 + i * RESULT_LEN] = 0x0f;	/* not used */
	return l;
}

void ops_prepare(struct cmd *cmd)
{
	cmd->exec = cmd->opc == nvme_admin_sanitize_nvm ? exec_sanitize : exec_self_test;
}

void ops_cancel(struct subsys *s)
{
	timer_cancel(&s->ops.sanitize);
	timer_cancel(&s->ops.self_test);
}
