/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tree of discovery services without a network: logs are handed in, the tree and
 * the merged log come out. Hostile logs stay within the limits (F-31, F-32).
 */
#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "ctrl/disc.h"

static void no_step(struct nofi_disc *d)
{
}

struct rig {
	struct nof_loop *loop;
	struct nofi_disc d;
};

static void begin(struct rig *r, const struct nof_discover_opts *dopts)
{
	struct nof_loop_opts lo;
	struct nofi_err err;
	struct nof_opts o;

	memset(r, 0, sizeof(*r));
	nof_loop_opts_init(&lo);
	lo.engine = NOF_ENGINE_EPOLL;
	assert_int_equal(nof_loop_new(&lo, &r->loop), 0);
	nof_opts_init(&o);
	strcpy(o.traddr, "10.0.0.1");
	assert_int_equal(nofi_disc_init(&r->d, r->loop, &o, dopts, &err), 0);
	r->d.step = no_step;
	r->d.is_watch = true;
	assert_int_equal(nofi_disc_rebuild(&r->d), 0);
}

static void finish(struct rig *r)
{
	nofi_disc_fini(&r->d);
	nof_loop_free(r->loop);
}

static struct nofi_disc_service *at(struct rig *r, const char *addr)
{
	struct nofi_disc_service *s;

	for (s = r->d.root; s; s = s->next)
		if (!strcmp(s->ref.traddr, addr))
			return s;
	return NULL;
}

static struct nof_discovery_entry make(uint8_t subtype, const char *addr, const char *nqn,
				       uint16_t eflags)
{
	struct nof_discovery_entry e;

	memset(&e, 0, sizeof(e));
	e.trtype = 3;
	e.adrfam = strchr(addr, ':') ? 2 : 1;
	e.subtype = subtype;
	e.eflags = eflags;
	snprintf(e.traddr, sizeof(e.traddr), "%s", addr);
	snprintf(e.trsvcid, sizeof(e.trsvcid), "8009");
	snprintf(e.subnqn, sizeof(e.subnqn), "%s", nqn);
	return e;
}

/* As if the service had been read. */
static void give(struct rig *r, struct nofi_disc_service *s, const struct nof_discovery_entry *e,
		 size_t n)
{
	struct nof_discovery_log *log = calloc(1, sizeof(*log));

	assert_non_null(s);
	log->entries = calloc(n + 1, sizeof(*e));
	memcpy(log->entries, e, n * sizeof(*e));
	log->count = n;
	log->total = n;
	assert_int_equal(nofi_disc_take_refs(s, log), 0);
	nof_discovery_free(s->log);
	s->log = log;
	s->err.code = 0;
	s->is_due = false;
	assert_int_equal(nofi_disc_rebuild(&r->d), 0);
}

static void refer(struct rig *r, const char *from, const char *to)
{
	struct nof_discovery_entry e = make(1, to, NOF_DISCOVERY_NQN, 0);

	give(r, at(r, from), &e, to[0] ? 1 : 0);
}

static void test_grows_and_shrinks(void **state)
{
	struct rig r;

	begin(&r, NULL);
	refer(&r, "10.0.0.1", "10.0.0.2");
	refer(&r, "10.0.0.2", "10.0.0.3");
	refer(&r, "10.0.0.3", "10.0.0.1");
	assert_int_equal(r.d.nservices, 3);
	assert_int_equal(at(&r, "10.0.0.3")->depth, 2);
	assert_ptr_equal(at(&r, "10.0.0.3")->parent, at(&r, "10.0.0.2"));
	/* The way to 3 is cut: it goes, and what it says with it. */
	refer(&r, "10.0.0.2", "10.0.0.4");
	assert_int_equal(r.d.nservices, 3);
	assert_null(at(&r, "10.0.0.3"));
	assert_non_null(at(&r, "10.0.0.4"));
	refer(&r, "10.0.0.1", "");
	assert_int_equal(r.d.nservices, 1);
	finish(&r);
}

/* A circle that nobody outside refers to any more is not kept alive by itself. */
static void test_circle_falls_out(void **state)
{
	struct rig r;

	begin(&r, NULL);
	refer(&r, "10.0.0.1", "10.0.0.2");
	refer(&r, "10.0.0.2", "10.0.0.3");
	refer(&r, "10.0.0.3", "10.0.0.2");
	assert_int_equal(r.d.nservices, 3);
	refer(&r, "10.0.0.1", "10.0.0.9");
	assert_int_equal(r.d.nservices, 2);
	finish(&r);
}

static void test_alternatives(void **state)
{
	struct nof_discovery_entry e[] = {
		make(1, "10.0.0.2", "nqn.x:cdc", 1), make(1, "10.0.0.3", "nqn.x:cdc", 1),
		make(1, "10.0.0.4", "nqn.x:cdc", 0), make(1, "10.0.0.5", "nqn.x:other", 1),
		make(3, "10.0.0.6", "nqn.x:me", 1), make(3, "10.0.0.7", "nqn.x:me", 0),
	};
	struct nof_discovery_log *log;
	struct rig r;

	begin(&r, NULL);
	give(&r, r.d.root, e, 6);
	assert_int_equal(r.d.nservices, 6);
	assert_null(at(&r, "10.0.0.6"));	/* the same as what was read */
	assert_true(nofi_disc_is_wanted(at(&r, "10.0.0.2")));
	assert_false(nofi_disc_is_wanted(at(&r, "10.0.0.3")));
	assert_true(nofi_disc_is_wanted(at(&r, "10.0.0.4")));
	assert_true(nofi_disc_is_wanted(at(&r, "10.0.0.5")));
	assert_true(nofi_disc_is_wanted(at(&r, "10.0.0.7")));
	assert_int_equal(nofi_disc_merge(&r.d, &log), 0);
	assert_int_equal(log->nservices, 5);	/* one is in reserve */
	nof_discovery_free(log);
	nofi_err_set(&at(&r, "10.0.0.2")->err, -ECONNREFUSED, "dead");
	at(&r, "10.0.0.2")->is_due = false;
	assert_true(nofi_disc_is_wanted(at(&r, "10.0.0.3")));
	/* Asked instead; and let go when the first has been read after all. */
	refer(&r, "10.0.0.3", "10.0.0.8");
	assert_non_null(at(&r, "10.0.0.8"));
	refer(&r, "10.0.0.2", "10.0.0.9");
	assert_null(at(&r, "10.0.0.3")->log);
	assert_int_equal(nofi_disc_rebuild(&r.d), 0);
	assert_null(at(&r, "10.0.0.8"));
	assert_false(nofi_disc_is_wanted(at(&r, "10.0.0.3")));
	/* One that is lost while it is watched is no way either. */
	nofi_err_set(&at(&r, "10.0.0.2")->err, -ECONNRESET, "lost");
	assert_true(nofi_disc_is_wanted(at(&r, "10.0.0.3")));
	finish(&r);
}

/* Found out to be the same after it was asked: only as long as that one is there. */
static void test_same(void **state)
{
	struct nof_discovery_entry e[] = {
		make(1, "10.0.0.2", NOF_DISCOVERY_NQN, 0),
		make(1, "10.0.0.3", NOF_DISCOVERY_NQN, 0),
	};
	struct nofi_disc_service *s;
	struct nof_discovery_log *log;
	struct rig r;

	begin(&r, NULL);
	give(&r, r.d.root, e, 2);
	for (s = r.d.root->next; s; s = s->next) {
		strcpy(s->own_nqn, "nqn.x:same");
		s->peer = at(&r, "10.0.0.2")->ref.addr;
	}
	s = at(&r, "10.0.0.3");
	s->is_same = true;
	assert_int_equal(nofi_disc_rebuild(&r.d), 0);
	assert_true(s->is_same);
	assert_int_equal(nofi_disc_merge(&r.d, &log), 0);
	assert_int_equal(log->nservices, 2);
	nof_discovery_free(log);
	give(&r, r.d.root, e + 1, 1);
	assert_null(at(&r, "10.0.0.2"));
	assert_false(s->is_same);
	assert_true(nofi_disc_is_wanted(s));
	finish(&r);
}

/* A link-local address belongs to the interface by which its log came. */
static void test_link_local(void **state)
{
	struct nof_discovery_entry e = make(2, "fe80::2", "nqn.x:disk", 0);
	struct nof_opts o;

	nof_opts_init(&o);
	strcpy(o.traddr, "fe80::1%lo");
	strcpy(o.addr_map, "[fe80::3]=10.0.0.1");
	assert_int_equal(nof_discover_entry_opts(&e, &o, &o), 0);
	assert_string_equal(o.traddr, "fe80::2%lo");
	e = make(2, "fd00::2", "nqn.x:disk", 0);
	assert_int_equal(nof_discover_entry_opts(&e, &o, &o), 0);
	assert_string_equal(o.traddr, "fd00::2");
	strcpy(o.traddr, "fe80::1%lo");
	e = make(2, "fe80::3", "nqn.x:disk", 0);
	assert_int_equal(nof_discover_entry_opts(&e, &o, &o), 0);
	assert_string_equal(o.traddr, "10.0.0.1");
}

static void test_own_name(void **state)
{
	struct nof_discovery_entry e[] = {
		make(3, "10.0.0.1", "nqn.x:me", 0), make(1, "10.0.0.1", NOF_DISCOVERY_NQN, 0),
	};
	struct rig r;

	begin(&r, NULL);
	strcpy(r.d.root->own_nqn, "nqn.x:me");
	give(&r, r.d.root, e, 2);
	assert_int_equal(r.d.nservices, 1);	/* itself, by both names */
	finish(&r);
}

static void test_merge(void **state)
{
	struct nof_discovery_entry a[] = {
		make(2, "10.0.0.9", "nqn.x:d", 0), make(2, "10.0.0.9", "nqn.x:d", 0),
		make(1, "10.0.0.2", NOF_DISCOVERY_NQN, 0),
	}, b[] = {
		make(2, "10.0.0.9", "nqn.x:d", 2), make(2, "fd00::9", "nqn.x:d", 0),
	};
	struct nof_discovery_log *log;
	struct rig r;

	begin(&r, NULL);
	give(&r, r.d.root, a, 3);
	give(&r, at(&r, "10.0.0.2"), b, 2);
	at(&r, "10.0.0.2")->log->total = 100;
	assert_int_equal(nofi_disc_merge(&r.d, &log), 0);
	assert_int_equal(log->count, 3);
	assert_int_equal(log->total, 3 + 98);
	assert_int_equal(log->entries[0].service, 0);
	assert_int_equal(log->entries[0].eflags, 0);
	assert_int_equal(log->entries[2].service, 1);
	nof_discovery_free(log);
	at(&r, "10.0.0.2")->log->total = UINT64_MAX;
	assert_int_equal(nofi_disc_merge(&r.d, &log), 0);
	assert_true(log->total >= UINT64_MAX - 3);
	nof_discovery_free(log);
	finish(&r);
}

/* Raw bytes of an entry, often nearly right. */
static void hostile(uint8_t *raw)
{
	static const char *const addrs[] = { "10.0.0.1", "10.0.0.2", "fd00::1", "localhost", "",
					     "10.0.0.300", "0.0.0.0", "::", "224.0.0.1" };
	unsigned dice = random64() % 4;

	random_fill(raw, 1024);
	if (!dice)
		return;
	raw[0] = 3;
	raw[1] = 1 + random64() % 2;
	raw[2] = random64() % 5;
	raw[3] = random64() % 8;
	memset(raw + 32, 0, 32);
	sprintf((char *)raw + 32, "%u", (unsigned)(random64() % 70000));
	if (dice == 1)
		return;
	memset(raw + 256, 0, 512);
	strcpy((char *)raw + 256, random64() % 3 ? NOF_DISCOVERY_NQN : "nqn.x:a");
	if (dice == 2)
		sprintf((char *)raw + 512, "10.%u.%u.1", (unsigned)(random64() % 3),
			(unsigned)(random64() % 256));
	else
		strcpy((char *)raw + 512, addrs[random64() % 9]);
}

static void test_hostile_logs(void **state)
{
	enum { ENTRIES = 200 };
	static struct nof_discovery_entry e[ENTRIES];
	struct nof_discover_opts o;
	struct nof_discovery_log *log;
	struct rig r;

	nof_discover_opts_init(&o);
	o.max_services = 16;
	begin(&r, &o);
	for (int round = 0; round < 400; round++) {
		struct nofi_disc_service *s = r.d.root;
		uint32_t n = 0;

		for (unsigned k = random64() % r.d.nservices; k && s->next; k--)
			s = s->next;
		for (int i = 0; i < ENTRIES; i++) {
			uint8_t raw[1024];

			hostile(raw);
			nofi_discovery_decode(raw, &e[i]);
		}
		give(&r, s, e, random64() % ENTRIES);
		for (s = r.d.root; s; s = s->next, n++) {
			assert_true(s->is_seen);
			assert_true(s->depth <= o.max_depth);
			/* What may be asked has a checked address. */
			if (nofi_disc_is_wanted(s))
				assert_true(s->ref.addr.len && s->ref.trsvcid[0] && s->ref.nqn[0]);
			if (s->alternative_to)
				assert_true(s->alternative_to->is_seen);
		}
		assert_int_equal(n, r.d.nservices);
		assert_true(n <= 16);
		assert_int_equal(nofi_disc_merge(&r.d, &log), 0);
		assert_true(log->nservices <= n);
		for (size_t i = 0; i < log->count; i++) {
			assert_true(log->entries[i].service < log->nservices);
			for (size_t k = 0; k < i && k < 20; k++)
				assert_false(nofi_entry_same_place(&log->entries[i],
								   &log->entries[k]));
		}
		nof_discovery_free(log);
	}
	finish(&r);
}

static void test_entry_opts(void **state)
{
	struct nof_discovery_entry e = make(2, "10.0.0.9", "nqn.x:disk", 0);
	struct nof_opts base, o;

	nof_opts_init(&base);
	assert_int_equal(nof_uri_parse("nvme+tcp://h?disable_sqflow=on&tos=3&addr_map="
				       "10.0.0.9%3Dgate.example.org:99", &base), 0);
	nof_opts_init(&o);
	assert_int_equal(nof_discover_entry_opts(&e, &base, &o), 0);
	assert_string_equal(o.traddr, "gate.example.org");
	assert_string_equal(o.trsvcid, "99");
	assert_string_equal(o.subnqn, "nqn.x:disk");
	assert_int_equal(o.tos, 3);
	assert_false(o.disable_sqflow);
	assert_int_equal(o.keep_alive_tmo_ms, 5000);
	e.treq = 4;
	base.keep_alive_tmo_ms = 1000;
	assert_int_equal(nof_discover_entry_opts(&e, &base, &base), 0);
	assert_true(base.disable_sqflow);
	assert_int_equal(base.keep_alive_tmo_ms, 1000);
	assert_string_equal(base.traddr, "gate.example.org");

	e.treq = 1;
	memset(o.traddr, 'x', 4);
	assert_int_equal(nof_discover_entry_opts(&e, &base, &o), -ENOTSUP);
	assert_memory_equal(o.traddr, "xxxx", 4);
	assert_non_null(strstr(nof_strerror_detail(), "nqn.x:disk"));
	e.treq = 0;
	e.trtype = 2;
	assert_int_equal(nof_discover_entry_opts(&e, &base, &o), -EPROTONOSUPPORT);
	e.trtype = 3;
	memset(e.subnqn, 'n', 224);
	assert_int_equal(nof_discover_entry_opts(&e, &base, &o), -EPROTO);
	assert_int_equal(nof_discover_entry_opts(NULL, &base, &o), -EINVAL);
	base.size = 8;
	assert_int_equal(nof_discover_entry_opts(&e, &base, &o), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grows_and_shrinks),
		cmocka_unit_test(test_circle_falls_out),
		cmocka_unit_test(test_alternatives),
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_link_local),
		cmocka_unit_test(test_own_name),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_hostile_logs),
		cmocka_unit_test(test_entry_opts),
	};

	return cmocka_run_group_tests_name("disc_tree", tests, NULL, NULL);
}
