/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Running out of memory ends a connection and nothing else: every allocation of the server's side of a handshake and of a
 * little traffic is made to fail once. */
#include "crypto/tls.h"

#include "base/pool.h"
#include "tests/unit/base/suite.h"
#include "tests/unit/crypto/tls_peer.h"

static long countdown = -1; /* server's allocations until one fails; negative: none does */
static long counted;

static bool fails(void)
{
	if (!tls_serving)
		return false;
	counted++;
	return countdown >= 0 && countdown-- == 0;
}

#include "tests/unit/base/nomem.h" /* asks fails() */

/* A connection, a record each way, a close: whether all of it worked. */
static bool converse(struct tls_ctx *ctx, WOLFSSL_METHOD *method)
{
	static uint8_t buf[4 * TLS_RECORD_MAX], out[1024];
	struct peer p;
	size_t n = 0;
	bool ok = false;
	pool_drain(); /* else the pool's blocks hide allocations */
	peer_open(&p, method, "good", "good.crt", NULL);
	tls_serving = true;
	struct tls_conn *c = tls_conn_new(ctx);
	tls_serving = false;
	if (c && handshake(c, &p, 0) == TLS_DONE) {
		ck_assert_str_eq(tls_conn_identity(c)->cn, "good"); /* never let in without one */
		ck_assert_int_eq(wolfSSL_write(p.ssl, "ping", 4), 4);
		struct tls_io io = { .in = p.to_server.b + p.to_server.at, .in_len = p.to_server.n - p.to_server.at, .out = out, .out_cap = sizeof out };
		tls_serving = true;
		ok = tls_read(c, &io, buf, sizeof buf, &n) == TLS_WANT_READ && n == 4 && tls_write(c, &io, (const uint8_t *)"pong", 4) == TLS_DONE;
		tls_close(c, &io);
		tls_serving = false;
	} else if (c) {
		ck_assert_int_ne(tls_conn_cause(c), TLS_CAUSE_NONE);
		ck_assert_ptr_null(tls_conn_identity(c));
	}
	tls_conn_free(c);
	peer_close(&p);
	return ok;
}

static void every_allocation(WOLFSSL_METHOD *(*method)(void))
{
	struct tls_options o = pki_options();
	struct tls_ctx *ctx = context(&o);
	tls_server_known = tls_known_new(16);
	counted = 0;
	ck_assert(converse(ctx, method()));
	long total = counted, failed = 0;
	for (long i = 0; i < total; i++) {
		countdown = i;
		failed += !converse(ctx, method());
	}
	countdown = -1;
	printf("%ld allocations, %ld of them fatal\n", total, failed);
	ck_assert_int_gt(failed, 0);
	ck_assert(converse(ctx, method())); /* the context has not suffered */
	tls_known_free(tls_server_known);
	tls_server_known = NULL;
	tls_ctx_unref(ctx);
}

START_TEST(a_failed_allocation_ends_a_1_3_connection_and_nothing_else)
{
	every_allocation(wolfTLSv1_3_client_method);
}
END_TEST

START_TEST(a_failed_allocation_ends_a_1_2_connection_and_nothing_else)
{
	every_allocation(wolfTLSv1_2_client_method);
}
END_TEST

int main(void)
{
	if (tls_init() != ERR_OK)
		return 2;
	pki_create();
	Suite *s = suite_create("tls_nomem");
	TCase *t = tcase_create("all");
	tcase_set_timeout(t, 240);
	tcase_add_test(t, a_failed_allocation_ends_a_1_3_connection_and_nothing_else);
	tcase_add_test(t, a_failed_allocation_ends_a_1_2_connection_and_nothing_else);
	suite_add_tcase(s, t);
	int bad = run_suite(s);
	pool_drain();
	return bad;
}
