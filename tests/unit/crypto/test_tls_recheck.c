/* SPDX-License-Identifier: GPL-3.0-or-later */
/* After a reload: which connections would not get in again. */
#include "crypto/tls.h"

#include "base/pool.h"
#include "tests/unit/base/suite.h"
#include "tests/unit/crypto/tls_peer.h"

struct pair { struct tls_ctx *ctx; struct tls_conn *c; struct peer p; };

static struct tls_ctx *with(const char *cafile, const char *crlfile)
{
	char ca[128], crl[128];
	struct tls_options o = pki_options();
	o.cafile = strcpy(ca, pki_path(cafile));
	o.crlfile = crlfile ? strcpy(crl, pki_path(crlfile)) : NULL;
	return context(&o);
}

static void connect_as(struct pair *x, const char *name, const char *chain, const char *cafile)
{
	x->ctx = with(cafile, NULL);
	x->c = tls_conn_new(x->ctx);
	peer_open(&x->p, wolfTLSv1_3_client_method(), name, chain, NULL);
	ck_assert_int_eq(handshake(x->c, &x->p, 0), TLS_DONE);
}

static void disconnect(struct pair *x)
{
	tls_conn_free(x->c);
	tls_ctx_unref(x->ctx);
	peer_close(&x->p);
}

/* What becomes of a connection when the files change to these, and then back. */
static void expect(struct pair *x, const char *cafile, const char *crlfile, enum tls_cause expected)
{
	struct tls_ctx *now = with(cafile, crlfile);
	ck_assert_str_eq(tls_cause_text(tls_conn_recheck(x->c, now)), tls_cause_text(expected));
	if (expected == TLS_CAUSE_NONE) /* it goes by the new ones, and would not go by older ones alone */
		ck_assert_int_eq(tls_conn_recheck(x->c, x->ctx), TLS_CAUSE_NONE);
	tls_ctx_unref(now);
}

START_TEST(unchanged_files_end_nothing)
{
	struct pair x;
	connect_as(&x, "good", "good.crt", "ca.crt");
	ck_assert_int_eq(tls_conn_recheck(x.c, x.ctx), TLS_CAUSE_NONE);
	expect(&x, "ca.crt", NULL, TLS_CAUSE_NONE);
	expect(&x, "cas.pem", "both.crl", TLS_CAUSE_NONE);
	disconnect(&x);
	connect_as(&x, "v1", "v1.crt", "ca.crt");
	expect(&x, "ca.crt", "ca.crl", TLS_CAUSE_NONE);
	disconnect(&x);
}
END_TEST

START_TEST(what_is_newly_listed_is_told_once)
{
	struct tls_ctx *none = with("cas.pem", NULL), *empty = with("cas.pem", "empty.crl"), *two = with("cas.pem", "both.crl"), *three = with("cas.pem", "interrevoked.crl");
	struct tls_ctx *twice = with("cas.pem", "stalenew.crl");
	struct tls_revoked out[4] = { 0 };
	ck_assert_uint_eq(tls_ctx_newly_revoked(none, two, out, 4), 2);
	ck_assert_str_eq(out[0].issuer, "Test CA");
	ck_assert_uint_gt(out[0].serial_len, 0);
	ck_assert(out[0].serial_len != out[1].serial_len || memcmp(out[0].serial, out[1].serial, 20) != 0);
	ck_assert_uint_eq(tls_ctx_newly_revoked(none, two, out, 1), 2); /* only one of them is written */
	ck_assert_uint_eq(tls_ctx_newly_revoked(empty, two, NULL, 0), 2);
	ck_assert_uint_eq(tls_ctx_newly_revoked(two, three, out, 4), 1);
	ck_assert_uint_eq(tls_ctx_newly_revoked(two, two, out, 4), 0);
	ck_assert_uint_eq(tls_ctx_newly_revoked(three, two, out, 4), 0); /* one that is no longer listed is no news of this kind */
	ck_assert_uint_eq(tls_ctx_newly_revoked(none, twice, out, 4), 3); /* two lists of one issuer, with five entries */
	tls_ctx_unref(none);
	tls_ctx_unref(empty);
	tls_ctx_unref(two);
	tls_ctx_unref(three);
	tls_ctx_unref(twice);
}
END_TEST

START_TEST(the_revoked_are_found)
{
	struct pair x;
	connect_as(&x, "revoked", "revoked.crt", "ca.crt");
	expect(&x, "ca.crt", "empty.crl", TLS_CAUSE_NONE);
	expect(&x, "ca.crt", "ca.crl", TLS_CAUSE_REVOKED);
	expect(&x, "cas.pem", "both.crl", TLS_CAUSE_REVOKED);
	disconnect(&x);
	connect_as(&x, "v1revoked", "v1revoked.crt", "ca.crt");
	expect(&x, "ca.crt", "ca.crl", TLS_CAUSE_REVOKED);
	disconnect(&x);
}
END_TEST

START_TEST(an_authority_that_went_is_missed)
{
	struct pair x;
	connect_as(&x, "good", "good.crt", "ca.crt");
	expect(&x, "other.crt", NULL, TLS_CAUSE_UNKNOWN_CA);
	disconnect(&x);
}
END_TEST

START_TEST(an_authority_of_the_same_name_is_another)
{
	struct pair x;
	connect_as(&x, "good", "good.crt", "ca.crt");
	expect(&x, "twin.crt", NULL, TLS_CAUSE_UNKNOWN_CA);
	disconnect(&x);
}
END_TEST

START_TEST(intermediates_are_judged_up_to_what_is_trusted)
{
	struct pair x;
	connect_as(&x, "viainter", "viainter.pem", "ca.crt");
	expect(&x, "ca.crt", NULL, TLS_CAUSE_NONE);
	expect(&x, "ca.crt", "ca.crl", TLS_CAUSE_NONE);
	expect(&x, "cas.pem", "interrevoked.crl", TLS_CAUSE_REVOKED);
	expect(&x, "other.crt", NULL, TLS_CAUSE_UNKNOWN_CA);
	disconnect(&x);
	connect_as(&x, "viainter", "viainter.crt", "cas.pem"); /* the intermediate is an authority, and not sent */
	expect(&x, "cas.pem", NULL, TLS_CAUSE_NONE);
	expect(&x, "ca.crt", NULL, TLS_CAUSE_UNKNOWN_CA);
	disconnect(&x);
}
END_TEST

START_TEST(authorities_of_a_directory_count)
{
	char dir[128], cmd[400];
	struct pair x;
	snprintf(cmd, sizeof cmd, "mkdir -p %s/cas && cp %s/ca.crt %s/cas/", pki_dir, pki_dir, pki_dir);
	ck_assert_int_eq(system(cmd), 0);
	connect_as(&x, "good", "good.crt", "ca.crt");
	struct tls_options o = pki_options();
	o.cafile = NULL;
	o.capath = strcpy(dir, pki_path("cas"));
	struct tls_ctx *now = context(&o);
	ck_assert_int_eq(tls_conn_recheck(x.c, now), TLS_CAUSE_NONE);
	tls_ctx_unref(now);
	disconnect(&x);
}
END_TEST

START_TEST(a_key_that_is_pinned_now_ends_those_with_another)
{
	struct pair x;
	struct tls_pin pin = { .cn = "good" }; /* no key has a hash of zeros */
	struct tls_options o = pki_options();
	connect_as(&x, "good", "good.crt", "ca.crt");
	o.pins = &pin;
	o.n_pins = 1;
	struct tls_ctx *now = context(&o);
	ck_assert_int_eq(tls_conn_recheck(x.c, now), TLS_CAUSE_PIN);
	tls_ctx_unref(now);
	pin.cn = "other";
	now = context(&o);
	ck_assert_int_eq(tls_conn_recheck(x.c, now), TLS_CAUSE_NONE);
	tls_ctx_unref(now);
	disconnect(&x);
}
END_TEST

int main(void)
{
	pki_create();
	if (tls_init() != ERR_OK)
		return 2;
	Suite *s = suite_create("tls_recheck");
	TCase *t = tcase_create("recheck");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, unchanged_files_end_nothing);
	tcase_add_test(t, what_is_newly_listed_is_told_once);
	tcase_add_test(t, the_revoked_are_found);
	tcase_add_test(t, an_authority_that_went_is_missed);
	tcase_add_test(t, an_authority_of_the_same_name_is_another);
	tcase_add_test(t, intermediates_are_judged_up_to_what_is_trusted);
	tcase_add_test(t, authorities_of_a_directory_count);
	tcase_add_test(t, a_key_that_is_pinned_now_ends_those_with_another);
	suite_add_tcase(s, t);
	int failed = run_suite(s);
	tls_cleanup();
	pool_drain();
	return failed;
}
