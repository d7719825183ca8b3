/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Writes tests/vectors/by_c.json, what this project's own code makes for the second implementation to open:
 *   make all && cc -D_GNU_SOURCE -I. -isystem build/wolfssl/include tests/interop/make_vectors.c build/release/libsealmq-internal.a
 *     -Lbuild/wolfssl/lib -lwolfssl -lcjson -lm -o build/make_vectors && build/make_vectors >tests/vectors/by_c.json
 * Signatures and envelopes are random, so every run gives others. */
#include "base/secmem.h"
#include "crypto/cose.h"
#include "crypto/envelope.h"
#include "crypto/keyset.h"
#include "tests/vectors/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct keypair *load(const char *name)
{
	struct keypair *k = vectors_load_keypair(name);
	if (!k)
		exit(1);
	return k;
}

static void put_hex(const char *name, const void *p, size_t len, const char *after)
{
	printf("\"%s\": \"", name);
	for (size_t i = 0; i < len; i++)
		printf("%02x", ((const uint8_t *)p)[i]);
	printf("\"%s", after);
}

static void message(const uint8_t root[static 32], const char *topic, const char *plain, struct keypair *sender, const char *name, const char *after)
{
	uint8_t fp[32], topic_key[32], key[32], out[4096];
	struct cose_head h = { .kid = "kid-kid", .stream = "stream0", .seq = 77, .time_ms = 1795173342123 };
	size_t n;
	cert_fingerprint(keypair_cert(sender), fp);
	memcpy(h.sender, fp, sizeof h.sender);
	if (keytree_topic(root, "", 0, topic, strlen(topic), topic_key) != ERR_OK)
		exit(1);
	cose_content_key(topic_key, topic, strlen(topic), &h, key);
	if (cose_seal(&h, topic, strlen(topic), key, plain, strlen(plain), sender, out, &n) != ERR_OK)
		exit(1);
	printf("  {\"topic\": \"%s\", \"plain\": \"%s\", \"signer\": \"%s\", ", topic, plain, name);
	put_hex("root", root, 32, ", ");
	put_hex("message", out, n, "}");
	printf("%s\n", after);
}

static void envelope(const uint8_t root[static 32], struct keypair *issuer, const char *issuer_name, struct keypair *recipient, const char *after)
{
	static uint8_t out[ENVELOPE_MAX];
	struct keyset_entry e = { .kid = "kid-kid", .filter = "plant/#", .filter_len = 7, .space = "plant", .space_len = 5, .epoch = 3, .mode = SEAL_BROKER,
		                  .sign = SIGN_REQUIRED, .issued_s = 1795173342, .not_after_s = 1826709342 };
	char *json;
	size_t len, n;
	memcpy(e.key, root, 32);
	cert_fingerprint(keypair_cert(issuer), e.issuer);
	cert_fingerprint(keypair_cert(recipient), e.recipient);
	if (keyset_format(&e, 1, &json, &len) != ERR_OK ||
	    envelope_seal(issuer, keypair_cert(recipient), keypair_public(recipient), json, len, out, &n) != ERR_OK)
		exit(1);
	printf("  {\"issuer\": \"%s\", ", issuer_name);
	put_hex("content", json, len, ", ");
	put_hex("envelope", out, n, "}");
	printf("%s\n", after);
	secmem_free(json);
}

int main(void)
{
	struct keypair *ec = load("ec"), *rsa = load("rsa");
	uint8_t root[32];
	for (size_t i = 0; i < sizeof root; i++)
		root[i] = (uint8_t)(0x40 + i);
	printf("{\"messages\": [\n");
	message(root, "a/b", "hello", ec, "ec", ",");
	message(root, "plant/line1", "", rsa, "rsa", "");
	printf("], \"envelopes\": [\n");
	envelope(root, ec, "ec", rsa, ",");
	envelope(root, rsa, "rsa", rsa, "");
	printf("]}\n");
	keypair_free(ec);
	keypair_free(rsa);
	return 0;
}
