/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One context, many loops: handshakes at once, clients with intermediates (which wolfSSL caches in the context), a reload in between, and
 * connections that end on another thread than they began on. For make tsan. */
#include "crypto/tls.h"

#include "base/pool.h"
#include "tests/unit/base/suite.h"
#include "tests/unit/crypto/tls_peer.h"

#include <pthread.h>

enum { THREADS = 3, ROUNDS = 25 };

static _Atomic(struct tls_conn *) handed; /* taken and freed by whoever comes next */
static char ca[128], crt[128], key[128], names[2][2][128];

static void *one_loop(void *arg)
{
	struct tls_ctx *ctx = arg;
	tls_server_known = tls_known_new(16); /* this loop's */
	unsigned known = 0;
	for (int i = 0; i < ROUNDS; i++) {
		struct peer p = { .ctx = wolfSSL_CTX_new(i % 3 ? wolfTLSv1_3_client_method() : wolfTLSv1_2_client_method()) };
		wolfSSL_CTX_set_verify(p.ctx, WOLFSSL_VERIFY_NONE, NULL);
		bool loaded = wolfSSL_CTX_use_certificate_chain_file(p.ctx, names[i % 2][0]) == WOLFSSL_SUCCESS &&
			      wolfSSL_CTX_use_PrivateKey_file(p.ctx, names[i % 2][1], WOLFSSL_FILETYPE_PEM) == WOLFSSL_SUCCESS;
		wolfSSL_CTX_SetIORecv(p.ctx, peer_recv);
		wolfSSL_CTX_SetIOSend(p.ctx, peer_send);
		p.ssl = wolfSSL_new(p.ctx);
		wolfSSL_SetIOReadCtx(p.ssl, &p);
		wolfSSL_SetIOWriteCtx(p.ssl, &p);
		struct tls_conn *c = tls_conn_new(ctx);
		enum tls_status s = TLS_WANT_READ;
		for (int round = 0; loaded && round < 10 && s == TLS_WANT_READ; round++) {
			(void)!wolfSSL_connect(p.ssl);
			s = serve_accept(c, &p, 0);
		}
		if (s != TLS_DONE) {
			static char failure[128]; /* whose does not matter */
			snprintf(failure, sizeof failure, "%s", c ? tls_cause_text(tls_conn_cause(c)) : "no connection");
			return failure;
		}
		known += tls_conn_signatures(c).known;
		tls_conn_free(atomic_exchange(&handed, c));
		peer_close(&p);
	}
	tls_known_free(tls_server_known);
	pool_drain();
	static char none[] = "no certificate was known";
	return known > ROUNDS / 2 ? NULL : none;
}

START_TEST(loops_share_a_context)
{
	struct tls_options o = { .cafile = strcpy(ca, pki_path("ca.crt")), .certfile = strcpy(crt, pki_path("server.crt")),
		                 .keyfile = strcpy(key, pki_path("server.key")), .tls12 = true };
	pthread_t t[THREADS];
	strcpy(names[0][0], pki_path("viainter.pem"));
	strcpy(names[0][1], pki_path("viainter.key"));
	strcpy(names[1][0], pki_path("good.crt"));
	strcpy(names[1][1], pki_path("good.key"));
	struct tls_ctx *ctx = context(&o), *reloaded = context(&o);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, one_loop, i == 0 ? reloaded : ctx), 0);
	for (int i = 0; i < THREADS; i++) {
		void *why;
		ck_assert_int_eq(pthread_join(t[i], &why), 0);
		ck_assert_msg(why == NULL, "%s", (const char *)why);
	}
	tls_ctx_unref(ctx);
	tls_ctx_unref(reloaded);
	tls_conn_free(atomic_exchange(&handed, NULL));
}
END_TEST

int main(void)
{
	if (tls_init() != ERR_OK)
		return 2;
	pki_create();
	Suite *s = suite_create("tls_threads");
	TCase *t = tcase_create("all");
	tcase_set_timeout(t, 240);
	tcase_add_test(t, loops_share_a_context);
	suite_add_tcase(s, t);
	int bad = run_suite(s);
	tls_cleanup();
	pool_drain();
	return bad;
}
