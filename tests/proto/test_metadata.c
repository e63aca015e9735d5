/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Metadata and protection information (nof.h; C-2), in every format, made and checked by
 * the library, the controller and the caller. The target computes its own, from code of its
 * own: what one side makes the other has to accept.
 */
#include "rig.h"

#define ALL (NOF_PI_GUARD | NOF_PI_APP_TAG | NOF_PI_REF_TAG | NOF_PI_STORAGE_TAG)

struct format {
	const char *options;
	uint32_t bs, ms;
	uint8_t type;		/* 0: metadata is the caller's */
	uint8_t len;		/* bytes of protection information */
	bool is_first;
};

enum { BLOCKS = 100 };

/* Cuts a buffer at places that do not care about blocks. */
static int cut(struct iovec *iov, uint8_t *buf, size_t len)
{
	static const size_t sizes[] = { 700, 0, 1, 4096, 511, 13, 0, 60000 };
	int n = 0;

	for (size_t done = 0; done < len; n++) {
		size_t k = sizes[n % 8] < len - done ? sizes[n % 8] : len - done;

		iov[n] = (struct iovec){ buf + done, k };
		done += k;
	}
	return n;
}

static int rw(struct rig *r, bool is_write, uint8_t *buf, size_t len, uint8_t *md, size_t md_len,
	      uint64_t lba, const struct nof_pi *pi)
{
	struct iovec *iov = calloc(len + 8, sizeof(*iov));
	int n = cut(iov, buf, len), e;

	e = rig_finish(is_write ? RIG_SUBMIT(r, nof_writev_pi(r->chan, iov, n, md, md_len, lba,
							      NOF_IO_LBA, pi, rig_done, op)) :
				  RIG_SUBMIT(r, nof_readv_pi(r->chan, iov, n, md, md_len, lba,
							     NOF_IO_LBA, pi, rig_done, op)));
	free(iov);
	return e;
}

/* Written in one way, read in every other. */
static void t_every_way(struct rig *r)
{
	const struct format *f = r->arg;
	size_t len = BLOCKS * f->bs, mlen = BLOCKS * f->ms;
	uint8_t *out = malloc(len), *in = malloc(len), *md = calloc(1, mlen);
	uint8_t *mout = malloc(mlen), *min = calloc(1, mlen);
	bool is_all = f->ms == f->len;
	struct nof_pi lib = { .size = sizeof(lib), .mode = NOF_PI_LIBRARY, .check = ALL,
			      .app_tag = 0x1234, .app_tag_mask = 0xffff, .ref_tag = 77 };
	struct nof_pi ctl = lib, user = lib;

	ctl.mode = NOF_PI_CONTROLLER;
	user.mode = NOF_PI_CALLER;
	rig_target(r, f->options, NULL);
	rig_open(r, NULL);
	assert_int_equal(r->info.metadata_size, f->ms);
	assert_int_equal(r->info.pi_type, f->type);
	assert_int_equal(r->info.is_pi_first, f->is_first);
	assert_int_equal(r->info.needs_metadata, !is_all);
	for (unsigned way = 0; way < 2; way++) {
		rig_fill(out, len, way + 1);
		rig_fill(mout, mlen, way + 11);
		memcpy(md, mout, mlen);
		/* The target checks what we made; then we what it made. */
		assert_int_equal(rw(r, true, out, len, is_all && way ? NULL : md,
				    is_all && way ? 0 : mlen, 300, way ? &ctl : &lib), 0);
		assert_memory_equal(md, mout, mlen);	/* the caller's was not changed */
		assert_int_equal(rw(r, false, in, len, min, mlen, 300, &lib), 0);
		assert_memory_equal(in, out, len);
		/* All but the protection information is as it was given. */
		for (uint32_t i = 0; i < BLOCKS * f->ms; i++) {
			uint32_t at = i % f->ms;
			bool is_pi = f->is_first ? at < f->len : at >= f->ms - f->len;

			if (!is_pi)
				assert_int_equal(min[i], mout[i]);
		}
		memset(in, 0, len);
		assert_int_equal(rw(r, false, in, len, is_all ? NULL : min, is_all ? 0 : mlen, 300,
				    &ctl), 0);
		assert_memory_equal(in, out, len);
		memset(in, 0, len);
		assert_int_equal(rw(r, false, in, len, md, mlen, 300, &user), 0);
		assert_memory_equal(in, out, len);
		if (!is_all)
			continue;
		assert_int_equal(rw(r, false, in, len, NULL, 0, 300, &lib), 0);
		assert_memory_equal(in, out, len);
	}
	/* Metadata goes back as it came, the controller checking it. */
	assert_int_equal(rw(r, true, out, len, md, mlen, 300, &user), 0);
	assert_int_equal(rw(r, false, in, len, NULL, 0, 300, &lib), is_all ? 0 : -EINVAL);
	assert_int_equal(rig_disconnect(r), 0);
	free(out);
	free(in);
	free(md);
	free(mout);
	free(min);
}

/* What is wrong is found, by whom it should be, and said of which block. */
static void t_wrong(struct rig *r)
{
	const struct format *f = r->arg;
	size_t len = 8 * f->bs, mlen = 8 * f->ms;
	uint8_t *buf = malloc(len), *md = malloc(mlen);
	struct nof_pi lib = { .size = sizeof(lib), .mode = NOF_PI_LIBRARY, .check = ALL,
			      .app_tag = 0x1234, .app_tag_mask = 0xffff, .ref_tag = 77 };
	struct nof_pi user = lib, p;
	uint32_t pos = f->is_first ? 0 : f->ms - f->len;

	user.mode = NOF_PI_CALLER;
	user.check = 0;
	rig_target(r, f->options, NULL);
	rig_open(r, NULL);
	rig_fill(buf, len, 1);
	memset(md, 0, mlen);
	assert_int_equal(rw(r, true, buf, len, md, mlen, 50, &lib), 0);
	/* A bit of the data of block 53, on its way: guards are for that. */
	p = lib;
	p.check = NOF_PI_GUARD;
	rig_fault(r, "on=c2hdata for=read do=set:data8[3000]^=4");
	if (f->bs == 512) {
		user.check = 0;
		/* The controller has seen nothing wrong. */
		assert_int_equal(rw(r, false, buf, len, md, mlen, 50, &user), 0);
		assert_int_equal(rw(r, false, buf, len, md, mlen, 50, &p), -EILSEQ);
		assert_int_equal(r->last->status, 0);
		assert_non_null(strstr(r->last->detail, "guard"));
		assert_non_null(strstr(r->last->detail, "block 55"));
	}
	rig_control(r, "clear");
	/* Garbage instead of protection information: written unchecked, found by both. */
	assert_int_equal(rw(r, false, buf, len, md, mlen, 50, &user), 0);
	md[3 * f->ms + pos] ^= 0x80;
	assert_int_equal(rw(r, true, buf, len, md, mlen, 50, &user), 0);
	assert_int_equal(rw(r, false, buf, len, md, mlen, 50, &p), -EILSEQ);
	assert_int_equal(r->last->status & 0x7ff, 0x282);
	p = user;
	p.check = NOF_PI_GUARD;
	assert_int_equal(rw(r, true, buf, len, md, mlen, 50, &p), -EILSEQ);
	assert_int_equal(r->last->status & 0x7ff, 0x282);
	/* Tags: right, masked, wrong. */
	rig_fill(buf, len, 1);
	memset(md, 0, mlen);
	assert_int_equal(rw(r, true, buf, len, md, mlen, 50, &lib), 0);
	p = lib;
	p.app_tag = 0x12ff;
	p.app_tag_mask = 0xff00;
	assert_int_equal(rw(r, false, buf, len, md, mlen, 50, &p), 0);
	p.app_tag_mask = 0xffff;
	assert_int_equal(rw(r, false, buf, len, md, mlen, 50, &p), -EILSEQ);
	assert_int_equal(r->last->status & 0x7ff, 0x283);
	p.check &= ~(uint32_t)NOF_PI_APP_TAG;
	assert_int_equal(rw(r, false, buf, len, md, mlen, 50, &p), 0);
	if (f->type == 2) {
		p.ref_tag = 78;
		assert_int_equal(rw(r, false, buf, len, md, mlen, 50, &p), -EILSEQ);
		assert_int_equal(r->last->status & 0x7ff, 0x284);
	}
	assert_int_equal(rig_disconnect(r), 0);
	free(buf);
	free(md);
}

/* A namespace whose metadata is protection information works like any other. */
static void t_plain(struct rig *r)
{
	enum { N = 300 };
	static uint8_t out[N * 512], in[N * 512];
	struct nof_copy_range range = { 0, N };
	struct nof_pi lib = { .size = sizeof(lib), .mode = NOF_PI_LIBRARY,
			      .check = NOF_PI_GUARD | NOF_PI_REF_TAG, .ref_tag = 1000 };

	rig_target(r, r->arg, NULL);
	rig_open(r, NULL);
	assert_false(r->info.needs_metadata);
	rig_fill(out, sizeof(out), 8);
	assert_int_equal(rig_write(r, out, sizeof(out), 0, 0), 0);
	assert_int_equal(rig_read(r, in, sizeof(in), 0, 0), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(rig_finish(RIG_SUBMIT(r, nof_compare(r->chan, out, sizeof(out), 0, 0,
							      rig_done, op))), 0);
	assert_int_equal(nof_pverify(r->chan, sizeof(out), 0, 0), 0);
	assert_int_equal(nof_pcompare_write(r->chan, out + 512, out + 512, 512, 512, 0), 0);
	/* Copied, the tags fit their new place. */
	assert_int_equal(nof_pcopy(r->chan, &range, 1, 1000, NOF_IO_LBA), 0);
	memset(in, 0, sizeof(in));
	assert_int_equal(rw(r, false, in, sizeof(in), NULL, 0, 1000, &lib), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(nof_pwrite_zeroes(r->chan, 100 * 512, 0, 0), 0);
	assert_int_equal(nof_pdeallocate(r->chan, 100 * 512, 100 * 512, 0), 0);
	assert_int_equal(rig_read(r, in, sizeof(in), 0, 0), 0);
	for (size_t i = 0; i < 200 * 512; i++)
		assert_int_equal(in[i], 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Where only the caller knows the metadata, plain calls name the right one. */
static void t_not_plain(struct rig *r)
{
	static uint8_t buf[4096];

	rig_target(r, r->arg, NULL);
	rig_open(r, NULL);
	assert_true(r->info.needs_metadata);
	RIG_REFUSES(nof_read(r->chan, buf, 512, 0, 0, rig_done, NULL), ENOTSUP);
	assert_non_null(strstr(nof_strerror_detail(), "nof_readv_pi"));
	RIG_REFUSES(nof_write(r->chan, buf, 512, 0, 0, rig_done, NULL), ENOTSUP);
	RIG_REFUSES(nof_compare(r->chan, buf, 512, 0, 0, rig_done, NULL), ENOTSUP);
	RIG_REFUSES(nof_compare_write(r->chan, buf, buf, 512, 0, 0, rig_done, NULL), ENOTSUP);
	assert_int_equal(nof_pwrite_zeroes(r->chan, 4096, 0, 0), 0);
	assert_int_equal(nof_pdeallocate(r->chan, 4096, 0, 0), 0);
	assert_int_equal(nof_pflush(r->chan), 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Blocks of 520 bytes in commands of 8 KiB: 15 at a time, as often as it takes. */
static void t_split(struct rig *r)
{
	enum { N = 200 };
	static uint8_t out[N * 512], in[N * 512], md[N * 8], mdin[N * 8];
	struct nof_pi user = { .size = sizeof(user), .mode = NOF_PI_CALLER };
	uint64_t before;

	rig_target(r, "--ns=mem:4M,bs=512,ms=8 --mdts=1", NULL);
	rig_open(r, "queue_size=4");
	rig_fill(out, sizeof(out), 1);
	rig_fill(md, sizeof(md), 2);
	before = rig_stat(r, "commands");
	assert_int_equal(rw(r, true, out, sizeof(out), md, sizeof(md), 7, &user), 0);
	assert_int_equal(rig_stat(r, "commands") - before, (N + 14) / 15);
	assert_int_equal(rw(r, false, in, sizeof(in), mdin, sizeof(mdin), 7, &user), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_memory_equal(mdin, md, sizeof(md));
	/* One of the many fails. */
	rig_fault(r, "on=read nth=9 do=status:2/0x81/dnr");
	assert_true(rw(r, false, in, sizeof(in), mdin, sizeof(mdin), 7, &user) < 0);
	assert_int_equal(r->last->status & 0x7ff, 0x281);
	/* The connection goes. */
	rig_fault(r, "on=write nth=5 do=reset");
	assert_true(rw(r, true, out, sizeof(out), md, sizeof(md), 7, &user) < 0);
	RIG_UNTIL(r, r->failures);
}

/*
 * More requests of many parts than the channel has room for: each waits for its own, none is
 * forgotten; and whatever is under way when the channel goes is told, once.
 */
static void t_crowd(struct rig *r)
{
	enum { N = 80, LEN = 60 * 512, MD = 60 * 8 };
	static uint8_t data[N][LEN], md[N][MD];
	struct nof_pi user = { .size = sizeof(user), .mode = NOF_PI_CALLER };
	struct iovec iov[N];
	unsigned accepted = 0, refused = 0;

	rig_target(r, "--ns=mem:4M,bs=512,ms=8 --mdts=1", NULL);
	rig_open(r, "queue_size=4");
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < N; i++) {
			struct rig_op *o;

			iov[i] = (struct iovec){ data[i], LEN };
			if (round & 1)
				o = RIG_SUBMIT(r, nof_readv_pi(r->chan, &iov[i], 1, md[i], MD, 0, 0,
							       &user, rig_done, op));
			else
				o = RIG_SUBMIT(r, nof_writev_pi(r->chan, &iov[i], 1, md[i], MD, 0,
								0, &user, rig_done, op));
			if (o->is_refused) {
				assert_int_equal(o->error, -EAGAIN);
				refused++;
			} else {
				accepted++;
			}
		}
		if (round == 2) {
			rig_turn(r, 0);
			nof_chan_close(r->chan);
			r->chan = NULL;
			break;
		}
		rig_finish_all(r);
		assert_int_equal(r->last->error, 0);
	}
	rig_finish_all(r);
	assert_true(accepted > 20 && refused > 0);
	assert_int_equal(rig_disconnect(r), 0);
}

/*
 * The controller comes back with a smaller MDTS: what was cut for the larger one is cut again,
 * tags and all.
 */
static void t_smaller_after_loss(struct rig *r)
{
	enum { LEN = 240 * 512 };
	static uint8_t out[LEN], in[LEN];

	rig_target(r, r->arg, NULL);
	rig_open(r, "ctrl_loss_tmo=10&reconnect_delay=0.2&write_hold=off&max_retries=5");
	assert_int_equal(r->info.max_transfer, 128 << 10);
	rig_fill(out, LEN, 3);
	rig_control(r, "mdts 1");
	rig_fault(r, "on=write nth=1 do=reset");
	assert_int_equal(rig_write(r, out, LEN, 7 * 512, 0), 0);
	assert_int_equal(rig_stat(r, "faults_fired"), 1);
	assert_int_equal(rig_read(r, in, LEN, 7 * 512, 0), 0);
	assert_memory_equal(in, out, LEN);
	rig_control(r, "mdts 5");
	rig_fault(r, "on=read nth=1 do=reset");
	assert_int_equal(rig_read(r, in, LEN, 7 * 512, 0), 0);
	rig_control(r, "mdts 2");
	rig_fault(r, "on=read nth=1 do=reset");
	memset(in, 0, LEN);
	assert_int_equal(rig_read(r, in, LEN, 7 * 512, 0), 0);
	assert_memory_equal(in, out, LEN);
	assert_int_equal(rig_disconnect(r), 0);
}

static void t_refusals(struct rig *r)
{
	static uint8_t buf[4096], md[64];
	struct iovec v = { buf, 1024 }, odd = { buf, 1000 };
	struct nof_pi p = { .size = sizeof(p), .mode = NOF_PI_LIBRARY };

	rig_target(r, "--ns=mem:4M,bs=512,ms=8,pi=1 --ns=mem:4M,bs=512,ms=16,nsid=2 "
		   "--ns=mem:4M,bs=512,nsid=3", NULL);
	rig_open(r, "ns=1");
	RIG_REFUSES(nof_readv_pi(r->chan, &v, 1, md, 15, 0, 0, &p, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_readv_pi(r->chan, &v, 1, NULL, 16, 0, 0, NULL, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_readv_pi(r->chan, &odd, 1, md, 16, 0, 0, &p, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_readv_pi(r->chan, &v, 1, md, 16, 100, 0, &p, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_readv_pi(r->chan, &v, 1, md, 16, r->info.bytes - 512, 0, &p, rig_done,
				 NULL), ERANGE);
	RIG_REFUSES(nof_readv_pi(r->chan, &v, 1, md, 16, 0, NOF_IO_DEALLOCATE, &p, rig_done, NULL),
		    EINVAL);
	RIG_REFUSES(nof_readv_pi(r->chan, NULL, 1, md, 16, 0, 0, &p, rig_done, NULL), EINVAL);
	RIG_REFUSES(nof_readv_pi(NULL, &v, 1, md, 16, 0, 0, &p, rig_done, NULL), EINVAL);
	p.check = 16;
	RIG_REFUSES(nof_writev_pi(r->chan, &v, 1, md, 16, 0, 0, &p, rig_done, NULL), EINVAL);
	p.check = 0;
	p.mode = (enum nof_pi_mode)3;
	RIG_REFUSES(nof_writev_pi(r->chan, &v, 1, md, 16, 0, 0, &p, rig_done, NULL), EINVAL);
	p.mode = NOF_PI_CONTROLLER;
	RIG_REFUSES(nof_writev_pi(r->chan, &v, 1, md, 16, 0, 0, &p, rig_done, NULL), EINVAL);
	p.mode = NOF_PI_CALLER;
	RIG_REFUSES(nof_writev_pi(r->chan, &v, 1, NULL, 0, 0, 0, &p, rig_done, NULL), EINVAL);
	/* Nothing at all completes. */
	assert_int_equal(nof_preadv_pi(r->chan, NULL, 0, NULL, 0, 0, 0, &p), 0);
	assert_int_equal(nof_pwritev_pi(r->chan, NULL, 0, NULL, 0, 0, 0, &p), 0);
	/* Metadata that is not protection information; none at all. */
	nof_chan_close(r->chan);
	nof_ns_close(r->ns);
	assert_int_equal(rig_open_ns(r, "2"), 0);
	assert_int_equal(rig_open_chan(r), 0);
	p.mode = NOF_PI_LIBRARY;
	RIG_REFUSES(nof_readv_pi(r->chan, &v, 1, md, 32, 0, 0, &p, rig_done, NULL), ENOTSUP);
	p.mode = NOF_PI_CALLER;
	assert_int_equal(nof_preadv_pi(r->chan, &v, 1, md, 32, 0, 0, &p), 0);
	p.check = NOF_PI_GUARD;
	RIG_REFUSES(nof_readv_pi(r->chan, &v, 1, md, 32, 0, 0, &p, rig_done, NULL), ENOTSUP);
	nof_chan_close(r->chan);
	nof_ns_close(r->ns);
	assert_int_equal(rig_open_ns(r, "3"), 0);
	assert_int_equal(rig_open_chan(r), 0);
	p.check = 0;
	RIG_REFUSES(nof_readv_pi(r->chan, &v, 1, md, 16, 0, 0, &p, rig_done, NULL), ENOTSUP);
	assert_int_equal(rig_disconnect(r), 0);
}

/* Formats that cannot be. */
static void t_bad_format(struct rig *r)
{
	rig_target(r, "--ns=mem:4M,bs=512,ms=16,pi=1,pif=64", r->arg);
	assert_int_equal(rig_connect(r, NULL), 0);
	assert_true(rig_open_ns(r, NULL) < 0);
	assert_int_equal(rig_disconnect(r), 0);
}

#define FORMAT(...) &(const struct format){ __VA_ARGS__ }
#define M "--ns=mem:4M,"

int main(void)
{
	const struct format
		*t1 = FORMAT(M "bs=512,ms=8,pi=1", 512, 8, 1, 8, false),
		*t2 = FORMAT(M "bs=512,ms=8,pi=2", 512, 8, 2, 8, false),
		*t3 = FORMAT(M "bs=512,ms=8,pi=3", 512, 8, 3, 8, false),
		*k4 = FORMAT(M "bs=4096,ms=8,pi=1", 4096, 8, 1, 8, false),
		*last = FORMAT(M "bs=512,ms=64,pi=1", 512, 64, 1, 8, false),
		*first = FORMAT(M "bs=512,ms=64,pi=2,pil=first", 512, 64, 2, 8, true),
		*g32 = FORMAT(M "bs=512,ms=16,pi=1,pif=32", 512, 16, 1, 16, false),
		*g64 = FORMAT(M "bs=512,ms=16,pi=1,pif=64", 512, 16, 1, 16, false),
		*g64_2 = FORMAT(M "bs=4096,ms=16,pi=2,pif=64", 4096, 16, 2, 16, false),
		*g64_3 = FORMAT(M "bs=4096,ms=64,pi=3,pif=64,pil=first", 4096, 64, 3, 16, true);
	const struct rig_test tests[] = {
		{ "every_way_type1", t_every_way, t1 },
		{ "every_way_type2", t_every_way, t2 },
		{ "every_way_type3", t_every_way, t3 },
		{ "every_way_4k", t_every_way, k4 },
		{ "every_way_last_of_64", t_every_way, last },
		{ "every_way_first_of_64", t_every_way, first },
		{ "every_way_guard32", t_every_way, g32 },
		{ "every_way_guard64", t_every_way, g64 },
		{ "every_way_guard64_type2", t_every_way, g64_2 },
		{ "every_way_guard64_type3_first", t_every_way, g64_3 },
		{ "wrong_type1", t_wrong, t1 },
		{ "wrong_type2", t_wrong, t2 },
		{ "wrong_last_of_64", t_wrong, last },
		{ "wrong_first_of_64", t_wrong, first },
		{ "wrong_guard32", t_wrong, g32 },
		{ "wrong_guard64", t_wrong, g64 },
		{ "plain_type1", t_plain, M "bs=512,ms=8,pi=1" },
		{ "plain_type2", t_plain, M "bs=512,ms=8,pi=2" },
		{ "plain_type3", t_plain, M "bs=512,ms=8,pi=3" },
		{ "plain_guard64_split", t_plain, M "bs=512,ms=16,pi=1,pif=64 --mdts=1" },
		{ "not_plain", t_not_plain, M "bs=512,ms=8" },
		{ "not_plain_pi", t_not_plain, M "bs=512,ms=64,pi=1" },
		{ "split", t_split },
		{ "crowd", t_crowd },
		{ "smaller_after_loss", t_smaller_after_loss, M "bs=512,ms=8,pi=1 --mdts=5" },
		{ "smaller_after_loss_64", t_smaller_after_loss,
		  M "bs=512,ms=16,pi=2,pif=64 --mdts=5" },
		{ "refusals", t_refusals },
		{ "bad_elbaf", t_bad_format,
		  "on=c2hdata for=identify cns=5 do=set:data32[12]=0xffffffff" },
		{ "bad_elbaf_refused", t_bad_format, "on=identify cns=5 do=status:2/dnr" },
		{ "bad_type", t_bad_format, "on=c2hdata for=identify cns=0 do=set:data8[29]=5" },
		{ "bad_not_extended", t_bad_format,
		  "on=c2hdata for=identify cns=0 do=set:data8[26]=0" },
	};

	return rig_main("metadata", tests, ARRAY_SIZE(tests));
}
