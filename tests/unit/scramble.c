/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "pdu/wire.h"
#include "scramble.h"

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdu;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53u;
	return x ^ x >> 33;
}

void scramble_keys(uint64_t secret, const uint8_t *host_nonce, const uint8_t *peer_nonce,
		   struct scramble_dir *to_peer, struct scramble_dir *to_host)
{
	uint64_t both = mix(mix(secret ^ nofi_get64(host_nonce)) ^ nofi_get64(peer_nonce));

	*to_peer = (struct scramble_dir){ .key = mix(both + 1) };
	*to_host = (struct scramble_dir){ .key = mix(both + 2) };
}

static void apply(uint64_t key, uint32_t seq, const uint8_t *in, size_t len, uint8_t *out)
{
	uint64_t stream = 0;

	for (size_t i = 0; i < len; i++) {
		if (i % 8 == 0)
			stream = mix(key ^ (uint64_t)seq << 32 ^ i);
		out[i] = in[i] ^ (uint8_t)(stream >> 8 * (i % 8));
	}
}

static uint64_t tag_of(uint64_t key, const uint8_t *p, size_t len)
{
	uint64_t h = key;

	for (; len >= 8; p += 8, len -= 8)
		h = (h ^ nofi_get64(p)) * 0x9e3779b97f4a7c15u ^ h >> 29;
	while (len--)
		h = (h ^ *p++) * 0x100000001b3u;
	return mix(h);
}

size_t scramble_seal(struct scramble_dir *d, enum scramble_type type, const void *payload,
		     size_t len, uint8_t *out)
{
	size_t pad = d->seq * 7 % SCRAMBLE_PAD_MAX;
	uint8_t *end = out + SCRAMBLE_HEAD + len + pad;

	out[0] = (uint8_t)type;
	out[1] = (uint8_t)pad;
	nofi_put16(out + 2, (uint16_t)len);
	nofi_put32(out + 4, d->seq);
	apply(d->key, d->seq, payload, len, out + SCRAMBLE_HEAD);
	memset(end - pad, 0, pad);
	nofi_put64(end, tag_of(d->key, out, (size_t)(end - out)));
	d->seq++;
	if (type == SCRAMBLE_REKEY)
		*d = (struct scramble_dir){ .key = mix(d->key) };
	return (size_t)(end - out) + SCRAMBLE_TAG;
}

int scramble_open(struct scramble_dir *d, const uint8_t *buf, size_t len,
		  struct scramble_record *r)
{
	size_t body;

	if (len < SCRAMBLE_HEAD)
		return 0;
	r->len = nofi_get16(buf + 2);
	if (r->len > SCRAMBLE_MAX || buf[1] >= SCRAMBLE_PAD_MAX || nofi_get32(buf + 4) != d->seq)
		return -EBADMSG;
	body = SCRAMBLE_HEAD + r->len + buf[1];
	if (len < body + SCRAMBLE_TAG)
		return 0;
	if (nofi_get64(buf + body) != tag_of(d->key, buf, body))
		return -EBADMSG;
	r->type = buf[0];
	apply(d->key, d->seq, buf + SCRAMBLE_HEAD, r->len, r->payload);
	d->seq++;
	if (r->type == SCRAMBLE_REKEY)
		*d = (struct scramble_dir){ .key = mix(d->key) };
	return (int)(body + SCRAMBLE_TAG);
}
