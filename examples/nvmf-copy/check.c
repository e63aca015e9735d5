/* SPDX-License-Identifier: MIT */
/*
 * SHA-256 over the whole content proves that two passes saw the same bytes; a CRC32C for each
 * chunk, 4 bytes of memory for each, tells where they did not.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "../common/crc32c.h"
#include "copy.h"

struct check {
	EVP_MD_CTX *sha;
	uint64_t chunk;	     /* bytes of all chunks but the last */
	uint32_t *crc;	     /* of the first pass */
	size_t count, room;  /* of crc: used, allocated */
	size_t at;	     /* chunk of the second pass that comes next */
	bool is_second;	     /* the first pass has ended */
	uint64_t mismatch;   /* COPY_UNKNOWN = none */
	unsigned char *zero; /* chunk zeroes */
	uint32_t zero_crc;   /* of them */
};

struct check *check_new(uint64_t chunk)
{
	struct check *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	tool_crc32c_init();
	k->chunk = chunk;
	k->mismatch = COPY_UNKNOWN;
	k->zero = calloc(1, chunk);
	k->sha = EVP_MD_CTX_new();
	if (!k->zero || !k->sha || EVP_DigestInit_ex(k->sha, EVP_sha256(), NULL) != 1) {
		check_free(k);
		return NULL;
	}
	k->zero_crc = tool_crc32c(0, k->zero, chunk);
	return k;
}

void check_free(struct check *k)
{
	if (!k)
		return;
	EVP_MD_CTX_free(k->sha);
	free(k->crc);
	free(k->zero);
	free(k);
}

static int add_crc(struct check *k, uint64_t offset, uint32_t crc)
{
	uint32_t *more;

	if (k->is_second) {
		if ((k->at >= k->count || k->crc[k->at] != crc) && k->mismatch == COPY_UNKNOWN)
			k->mismatch = offset;
		k->at++;
		return 0;
	}
	if (k->count == k->room) {
		k->room = k->room ? k->room * 2 : 1024;
		more = realloc(k->crc, k->room * sizeof(*k->crc));
		if (!more)
			return -ENOMEM;
		k->crc = more;
	}
	k->crc[k->count++] = crc;
	return 0;
}

int check_add(struct check *k, uint64_t offset, const unsigned char *buf, uint64_t len)
{
	uint64_t n;
	uint32_t crc;
	int ret;

	for (; len; len -= n, offset += n) {
		const unsigned char *p = buf ? buf : k->zero;

		n = len < k->chunk ? len : k->chunk;
		if (EVP_DigestUpdate(k->sha, p, n) != 1)
			return -EIO;
		crc = !buf && n == k->chunk ? k->zero_crc : tool_crc32c(0, p, n);
		ret = add_crc(k, offset, crc);
		if (ret < 0)
			return ret;
		if (buf)
			buf += n;
	}
	return 0;
}

int check_end(struct check *k, char hex[65])
{
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned int i, len = 0;

	if (EVP_DigestFinal_ex(k->sha, md, &len) != 1 || len != 32 ||
	    EVP_DigestInit_ex(k->sha, EVP_sha256(), NULL) != 1)
		return -EIO;
	for (i = 0; i < len; i++)
		sprintf(hex + 2 * i, "%02x", md[i]);
	k->is_second = true;
	return 0;
}

uint64_t check_mismatch(const struct check *k)
{
	return k->mismatch;
}
