/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzzes the header validator and the transfer rules with a stream of bytes as
 * a hostile controller would send it. The first three bytes choose what was
 * negotiated and the command; the rest is the stream, given to the parser in
 * growing pieces so that a verdict may not depend on the split.
 *
 * clang -fsanitize=fuzzer,address,undefined -DNOF_LIBFUZZER … for libFuzzer;
 * otherwise a program that replays the files given as arguments.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pdu/pdu.h"

/* A broken promise must look like a crash to the fuzzer. */
#define PROMISE(cond)								\
	do {									\
		if (!(cond)) {							\
			fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #cond); \
			abort();						\
		}								\
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All prefixes of one PDU must agree with the whole; returns bytes taken, 0 at the end. */
static size_t parse_one(const struct nofi_pdu_params *pp, const uint8_t *buf, size_t len,
			struct nofi_pdu *pdu)
{
	struct nofi_pdu_error err = { 0 }, early;
	size_t need = 0, cut, need2;
	struct nofi_pdu scratch;
	int ret, part;

	ret = nofi_pdu_parse(pp, buf, len, pdu, &need, &err);
	PROMISE(ret <= NOFI_PDU_HEAD_MAX && (ret <= 0 || (size_t)ret <= len));
	if (ret == 0)
		PROMISE(need > len && need <= NOFI_PDU_HEAD_MAX);
	if (ret < 0)
		PROMISE(err.what && err.fes <= NOFI_FES_UNSUPPORTED);

	for (cut = 0; cut < len && cut <= NOFI_PDU_HEAD_MAX; cut++) {
		uint8_t *exact = malloc(cut ? cut : 1);	/* so that ASan sees an overrun */

		if (!exact)
			return 0;
		memcpy(exact, buf, cut);
		part = nofi_pdu_parse(pp, exact, cut, &scratch, &need2, &early);
		free(exact);
		if (part < 0)
			PROMISE(ret < 0 && early.fes == err.fes && early.fei == err.fei);
		if (part > 0)
			PROMISE(part == ret && (size_t)part <= cut);
	}
	return ret > 0 ? ret : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nofi_pdu_params pp = { 0 };
	struct nofi_pdu_error err;
	struct nofi_xfer x;
	struct nofi_h2c h2c;
	struct nofi_pdu pdu;
	size_t used;
	int guard;

	if (size < 3)
		return 0;
	pp.is_ready = data[0] & 1;
	pp.hdgst = data[0] & 2;
	pp.ddgst = data[0] & 4;
	pp.hpda = data[0] >> 3;
	pp.maxr2t = 1 + (data[1] & 3);
	pp.maxh2cdata = 4096;
	nofi_xfer_init(&x, data[1] >> 2 & 1 ? NOFI_DIR_READ : NOFI_DIR_WRITE, data[2] * 512u,
		       data[1] >> 3 & 1);
	data += 3;
	size -= 3;

	while ((used = parse_one(&pp, data, size, &pdu)) > 0) {
		data += used;
		size -= used;
		switch (pdu.type) {
		case NOFI_PDU_ICRESP:
			if (nofi_icresp_check(&pp, &pdu, NOFI_DIGEST_PREFER, NOFI_DIGEST_PREFER,
					      &err))
				return 0;
			PROMISE(pp.is_ready && pp.cpda <= 31 && pp.maxh2cdata >= 4096);
			break;
		case NOFI_PDU_C2H_DATA:
			PROMISE(pdu.head_len >= used && pdu.head_len <= 128 && pdu.data_len > 0);
			if (nofi_xfer_c2hdata(&x, &pdu, &err))
				return 0;
			PROMISE(x.received <= x.length);
			/* Payload is not our matter here: headers follow one another. */
			break;
		case NOFI_PDU_R2T:
			if (nofi_xfer_r2t(&x, &pp, &pdu, &err))
				return 0;
			PROMISE(x.requested <= x.length && x.r2t_count <= pp.maxr2t);
			for (guard = 0; guard < 2 && nofi_xfer_next_h2c(&x, &pp, &h2c); guard++) {
				PROMISE(h2c.datal > 0 && h2c.datal <= pp.maxh2cdata);
				PROMISE((uint64_t)h2c.datao + h2c.datal <= x.requested);
			}
			break;
		default:
			(void)nofi_xfer_end(&x, 0, &err);
			return 0;
		}
	}
	return 0;
}

#ifndef NOF_LIBFUZZER
int main(int argc, char **argv)
{
	static uint8_t data[1 << 20];
	size_t n;
	FILE *f;
	int i;

	for (i = 1; i < argc; i++) {
		f = fopen(argv[i], "rb");
		if (!f) {
			perror(argv[i]);
			return 1;
		}
		n = fread(data, 1, sizeof(data), f);
		fclose(f);
		LLVMFuzzerTestOneInput(data, n);
	}
	return 0;
}
#endif
