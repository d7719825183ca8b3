/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Envelopes: ours opened by openssl cms, its opened by ours, and everything that must be refused. */
#include "crypto/envelope.h"

#include "crypto/tls.h"
#include "tests/unit/crypto/pki.h"
#include "tests/unit/crypto/vectors.h"

static const char script[] =
	"set -e; cd %s; exec 2>>openssl.log\n"
	"printf 'extendedKeyUsage=clientAuth\\nsubjectKeyIdentifier=hash\\n' >ski.ext\n"
	"for n in 2048 3072 4096; do openssl genrsa -out r$n.key $n; openssl req -new -key r$n.key -out r$n.csr -subj /CN=r$n\n"
	"openssl x509 -req -in r$n.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out r$n.crt -days 5 -sha256 -extfile ski.ext; done\n"
	"for n in rsa r2048 r3072 r4096 good stranger; do openssl x509 -in $n.crt -outform DER -out $n.der; done\n"
	"printf '{\"keys\":[]}' >plain; OAEP='-keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256 -keyopt rsa_mgf1_md:sha256'\n"
	/* enc FILE RECIPIENT OPTIONS…, sign FILE SIGNER OPTIONS… */
	"enc() { f=$1; r=$2; shift 2; openssl cms -encrypt -in plain -binary -outform DER -out $f -recip $r.crt \"$@\"; }\n"
	"sign() { i=$1; o=$2; k=$3; shift 3; openssl cms -sign -nodetach -binary -in $i -outform DER -out $o -signer $k.crt -inkey $k.key \"$@\"; }\n"
	"for n in 2048 3072 4096; do enc e$n r$n -aes-256-gcm -keyid $OAEP; sign e$n by-openssl-$n good; done\n"
	"enc eserial rsa -aes-256-gcm $OAEP; sign eserial by-openssl-serial good; sign e2048 by-openssl-rsa r3072; sign e2048 by-openssl-keyid r3072 -keyid\n"
	"sign e2048 by-openssl-noattr good -noattr; sign e2048 by-openssl-nocerts good -nocerts; sign e2048 by-openssl-noattr-rsa r3072 -noattr\n"
	"enc bad1 r2048 -aes-256-gcm; sign bad1 bad-pkcs1v15 good; enc bad2 r2048 -aes-256-cbc $OAEP; sign bad2 bad-cbc good\n"
	"enc bad3 r2048 -aes-256-gcm -keyopt rsa_padding_mode:oaep; sign bad3 bad-oaep-sha1 good\n"
	"enc bad4 r2048 -aes-128-gcm $OAEP; sign bad4 bad-aes128 good; sign e2048 bad-sha512 good -md sha512\n"
	"enc bad5 r2048 -aes-256-gcm $OAEP -recip r3072.crt $OAEP; sign bad5 bad-two-recipients good\n"
	"sign e2048 bad-two-signers good -signer r3072.crt -inkey r3072.key; sign plain bad-not-enveloped good\n"
	"sign e2048 bad-ber good -stream -indef; sign e2048 bad-pss r3072 -keyopt rsa_padding_mode:pss\n"
	"sign e2048 bad-extra-certificate good -certfile r3072.crt\n";

static uint8_t env[ENVELOPE_MAX], out[ENVELOPE_MAX];
static size_t env_len;

/* NULL when it opens to the content; else why not. */
static const char *judge(const uint8_t *bytes, size_t len, struct keypair *signer, struct keypair *recipient, const char *content)
{
	struct envelope e;
	const char *why = NULL;
	size_t n;
	if (envelope_parse(&e, bytes, len, &why) != ERR_OK)
		return why;
	if (envelope_verify(&e, keypair_cert(signer), keypair_public(signer), &why) != ERR_OK)
		return why;
	if (envelope_open(&e, recipient, out, &n, &why) != ERR_OK)
		return why;
	ck_assert_uint_eq(n, strlen(content));
	ck_assert_mem_eq(out, content, n);
	return NULL;
}

static void seal(struct keypair *issuer, struct keypair *recipient, const char *content)
{
	size_t cap = envelope_size(keypair_cert(issuer), keypair_cert(recipient), strlen(content));
	ck_assert_uint_le(cap, sizeof env);
	ck_assert_int_eq(envelope_seal(issuer, keypair_cert(recipient), keypair_public(recipient), content, strlen(content), env, &env_len), ERR_OK);
	ck_assert_uint_le(env_len, cap);
}

START_TEST(ours_open_for_their_recipient)
{
	static const char *const issuers[] = { "good", "rsa", "r4096" }, *const recipients[] = { "rsa", "r2048", "r3072", "r4096" };
	for (int i = 0; i < 3; i++) {
		struct keypair *issuer = pki_keypair(issuers[i]);
		for (int r = 0; r < 4; r++) {
			struct keypair *recipient = pki_keypair(recipients[r]);
			seal(issuer, recipient, "{\"keys\":[]}");
			ck_assert_ptr_null(judge(env, env_len, issuer, recipient, "{\"keys\":[]}"));
			seal(issuer, recipient, "");
			ck_assert_ptr_null(judge(env, env_len, issuer, recipient, ""));
			keypair_free(recipient);
		}
		keypair_free(issuer);
	}
}
END_TEST

START_TEST(ours_open_with_stock_openssl)
{
	static const char *const issuers[] = { "good", "r3072" }, *const recipients[] = { "rsa", "r2048", "r3072", "r4096" };
	for (int i = 0; i < 2; i++) {
		struct keypair *issuer = pki_keypair(issuers[i]);
		for (int r = 0; r < 4; r++) {
			char cmd[1024], got[64] = "";
			struct keypair *recipient = pki_keypair(recipients[r]);
			seal(issuer, recipient, "{\"keys\":[1]}");
			FILE *f = fopen(pki_path("ours.cms"), "we");
			ck_assert(f && fwrite(env, 1, env_len, f) == env_len && fclose(f) == 0);
			/* the commands of docs/formats.md */
			snprintf(cmd, sizeof cmd, "cd %s && openssl cms -verify -inform DER -binary -purpose any -nointern -certfile %s.crt -CAfile ca.crt -in ours.cms "
				 "2>>openssl.log | openssl cms -decrypt -inform DER -inkey %s.key -recip %s.crt 2>>openssl.log", pki_dir, issuers[i], recipients[r],
				 recipients[r]);
			FILE *p = popen(cmd, "re");
			ck_assert_ptr_nonnull(p);
			(void)!fread(got, 1, sizeof got - 1, p);
			ck_assert_int_eq(pclose(p), 0);
			ck_assert_str_eq(got, "{\"keys\":[1]}");
			keypair_free(recipient);
		}
		keypair_free(issuer);
	}
}
END_TEST

static const char *judge_file(const char *file, const char *signer, const char *recipient)
{
	struct keypair *s = pki_keypair(signer), *r = pki_keypair(recipient);
	env_len = pki_read(file, env, sizeof env);
	ck_assert_msg(env_len > 0, "%s was not made", file);
	const char *why = judge(env, env_len, s, r, "{\"keys\":[]}");
	keypair_free(s);
	keypair_free(r);
	return why;
}

START_TEST(those_of_stock_openssl_open)
{
	static const struct { const char *file, *signer, *recipient; } in[] = {
		{ "by-openssl-2048", "good", "r2048" }, { "by-openssl-3072", "good", "r3072" }, { "by-openssl-4096", "good", "r4096" },
		{ "by-openssl-serial", "good", "rsa" }, { "by-openssl-rsa", "r3072", "r2048" }, { "by-openssl-keyid", "r3072", "r2048" },
		{ "by-openssl-noattr", "good", "r2048" }, { "by-openssl-nocerts", "good", "r2048" }, { "by-openssl-noattr-rsa", "r3072", "r2048" },
	};
	for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
		const char *why = judge_file(in[i].file, in[i].signer, in[i].recipient);
		ck_assert_msg(why == NULL, "%s: %s", in[i].file, why);
	}
}
END_TEST

START_TEST(other_forms_are_refused_with_their_reason)
{
	static const struct { const char *file, *signer, *why; } in[] = {
		{ "bad-pkcs1v15", "good", "the key is not wrapped by RSAES-OAEP with SHA-256" },
		{ "bad-cbc", "good", "the signed content is not AuthEnvelopedData" },
		{ "bad-oaep-sha1", "good", "the key is not wrapped by RSAES-OAEP with SHA-256" },
		{ "bad-aes128", "good", "the content is not encrypted by AES-256-GCM" },
		{ "bad-sha512", "good", "the digest algorithm is not SHA-256" },
		{ "bad-two-recipients", "good", "more than one recipient" },
		{ "bad-two-signers", "good", NULL },
		{ "bad-not-enveloped", "good", "the signed content is not AuthEnvelopedData" },
		{ "bad-ber", "good", "not SignedData in DER" },
		{ "bad-pss", "r3072", "the signature algorithm is malformed" },
		{ "bad-extra-certificate", "good", "not exactly one certificate is sent along" },
		{ "by-openssl-2048", "r3072", "signed by somebody else" },
		{ "by-openssl-2048", "stranger", "signed by somebody else" },
		{ "by-openssl-3072", "good", "the envelope is for somebody else" },
	};
	for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
		const char *why = judge_file(in[i].file, in[i].signer, "r2048");
		ck_assert_msg(why != NULL, "%s was accepted", in[i].file);
		if (in[i].why)
			ck_assert_msg(strcmp(why, in[i].why) == 0, "%s: %s", in[i].file, why);
	}
}
END_TEST

/* Replaces every occurrence of one sequence by another of the same length, signs again: only the reader's own checks are left. */
static const char *judge_altered(struct keypair *s, struct keypair *r, const void *from, const void *to, size_t n, int skip)
{
	struct envelope e;
	const char *why;
	uint8_t inner[8192], copy[ENVELOPE_MAX], hash[32], sig[KEYS_SIGNATURE_MAX];
	size_t sig_len;
	seal(s, r, "{}");
	memcpy(copy, env, env_len);
	ck_assert_int_eq(envelope_parse(&e, copy, env_len, &why), ERR_OK);
	size_t at = (size_t)(e.signed_content.p - copy), len = der_len(e.signed_content);
	bool found = false;
	for (size_t i = at; i + n <= at + len && !found; i++)
		if (memcmp(copy + i, from, n) == 0 && skip-- == 0) {
			memcpy(copy + i, to, n);
			found = true;
		}
	ck_assert(found);
	memcpy(inner, copy + at, len);
	ck_assert_int_eq(wc_Sha256Hash(inner, (word32)len, hash), 0);
	ck_assert_int_eq(keypair_sign(s, SIG_CMS, hash, sig, &sig_len), ERR_OK);
	/* RSA signers: the signature's length does not change */
	ck_assert_uint_eq(sig_len, der_len(e.signature));
	memcpy(copy + (e.signature.p - copy), sig, sig_len);
	return judge(copy, env_len, s, r, "{}");
}

START_TEST(signed_but_wrong_shapes_are_refused)
{
	struct keypair *s = pki_keypair("r3072"), *r = pki_keypair("r2048");
	ck_assert_ptr_null(judge_altered(s, r, "\x02\x01\x10", "\x02\x01\x10", 3, 0));
	ck_assert_str_eq(judge_altered(s, r, "\x02\x01\x10", "\x02\x01\x0c", 3, 0), "nonce or tag length is not 12 and 16 bytes"); /* icvlen 12 */
	ck_assert_str_eq(judge_altered(s, r, "\x04\x02\x01\x05\x00", "\x04\x02\x02\x05\x00", 5, 0), "the key is not wrapped by RSAES-OAEP with SHA-256");
	ck_assert_str_eq(judge_altered(s, r, "\x04\x02\x01\x05\x00", "\x04\x02\x02\x05\x00", 5, 1), "the key is not wrapped by RSAES-OAEP with SHA-256");
	ck_assert_str_eq(judge_altered(s, r, "\x01\x01\x08", "\x01\x01\x09", 3, 0), "the key is not wrapped by RSAES-OAEP with SHA-256"); /* MGF1 */
	ck_assert_str_eq(judge_altered(s, r, "\x01\x01\x07", "\x01\x01\x01", 3, 0), "the key is not wrapped by RSAES-OAEP with SHA-256");
	ck_assert_str_eq(judge_altered(s, r, "\x02\x01\x02", "\x02\x01\x03", 3, 0), "the recipient is not named by key identifier or issuer and serial");
	keypair_free(s);
	keypair_free(r);
}
END_TEST

START_TEST(the_holder_of_another_certificate_for_the_same_name_is_not_the_signer)
{
	/* issuer and serial are the same in "imposter"'s forgery only if the CA repeats serials: the signature decides */
	struct keypair *good = pki_keypair("good"), *other = pki_keypair("wrongeku"), *r = pki_keypair("r2048");
	struct envelope e;
	const char *why;
	seal(good, r, "x");
	ck_assert_int_eq(envelope_parse(&e, env, env_len, &why), ERR_OK);
	ck_assert_int_eq(envelope_verify(&e, keypair_cert(good), keypair_public(other), &why), ERR_REFUSED);
	ck_assert_int_eq(envelope_verify(&e, keypair_cert(other), keypair_public(other), &why), ERR_REFUSED);
	keypair_free(good);
	keypair_free(other);
	keypair_free(r);
}
END_TEST

/* Both ways of signing: with the certificate along and no attributes (ours), with attributes (openssl's). */
START_TEST(every_truncation_and_flipped_byte_is_refused)
{
	struct keypair *good = pki_keypair("good"), *r = pki_keypair("r2048");
	for (int way = 0; way < 2; way++) {
		if (way == 0)
			seal(good, r, "{\"keys\":[]}");
		else
			env_len = pki_read("by-openssl-2048", env, sizeof env);
		ck_assert_ptr_null(judge(env, env_len, good, r, "{\"keys\":[]}"));
		for (size_t i = 0; i < env_len; i++) {
			uint8_t *exact = malloc(i + 1);
			ck_assert_ptr_nonnull(exact);
			memcpy(exact, env, i);
			ck_assert_msg(judge(exact, i, good, r, "{\"keys\":[]}") != NULL, "cut to %zu", i);
			free(exact);
		}
		for (size_t i = 0; i < env_len; i++) {
			static const uint8_t flips[] = { 0x01, 0x80, 0xff };
			for (size_t k = 0; k < sizeof flips; k++) {
				env[i] ^= flips[k];
				ck_assert_msg(judge(env, env_len, good, r, "{\"keys\":[]}") != NULL, "byte %zu ^ %02x was accepted", i, flips[k]);
				env[i] ^= flips[k];
			}
		}
		env[env_len] = 0;
		ck_assert_ptr_nonnull(judge(env, env_len + 1, good, r, "{\"keys\":[]}"));
	}
	keypair_free(good);
	keypair_free(r);
}
END_TEST

START_TEST(two_envelopes_of_the_same_content_have_nothing_in_common)
{
	static uint8_t first[ENVELOPE_MAX];
	struct keypair *good = pki_keypair("good"), *r = pki_keypair("r2048");
	struct envelope a, b;
	const char *why;
	seal(good, r, "{\"keys\":[]}");
	memcpy(first, env, env_len);
	ck_assert_int_eq(envelope_parse(&a, first, env_len, &why), ERR_OK);
	seal(good, r, "{\"keys\":[]}");
	ck_assert_int_eq(envelope_parse(&b, env, env_len, &why), ERR_OK);
	ck_assert(!der_equal(a.nonce, b.nonce.p, der_len(b.nonce)));
	ck_assert(!der_equal(a.sealed, b.sealed.p, der_len(b.sealed)));
	ck_assert(!der_equal(a.wrapped_key, b.wrapped_key.p, der_len(b.wrapped_key)));
	keypair_free(good);
	keypair_free(r);
}
END_TEST

START_TEST(keys_that_do_not_fit_are_refused)
{
	static uint8_t crt[8192], key[8192];
	static const struct { const char *crt, *key; } in[] = { { "good.crt", "v1.key" }, { "r2048.crt", "r3072.key" }, { "r2048.crt", "good.key" },
		{ "rsa1024.crt", "rsa1024.key" }, { "good.key", "good.key" }, { "good.crt", "good.crt" } };
	struct keypair *k = NULL, *good = pki_keypair("good"), *r = pki_keypair("r2048");
	for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
		size_t n = pki_read(in[i].crt, crt, sizeof crt), m = pki_read(in[i].key, key, sizeof key);
		ck_assert_int_eq(keypair_new(&k, crt, n, key, m), ERR_INVALID);
		ck_assert_int_eq(keypair_new(&k, crt, n, key, 0), ERR_INVALID);
		ck_assert_int_eq(keypair_new(&k, crt, n / 2, key, m), ERR_INVALID);
	}
	/* an EC recipient has no RSA envelope */
	ck_assert_int_eq(envelope_seal(r, keypair_cert(good), keypair_public(good), "x", 1, env, &env_len), ERR_INVALID);
	keypair_free(good);
	keypair_free(r);
}
END_TEST

START_TEST(signatures_verify_in_their_own_format_only)
{
	static const char *const names[] = { "good", "rsa", "r4096" };
	uint8_t hash[32] = "some hash", sig[KEYS_SIGNATURE_MAX];
	size_t len;
	for (int i = 0; i < 3; i++) {
		struct keypair *k = pki_keypair(names[i]);
		for (int f = 0; f < 2; f++) {
			enum sig_format mine = f ? SIG_CMS : SIG_COSE, other = f ? SIG_COSE : SIG_CMS;
			ck_assert_int_eq(keypair_sign(k, mine, hash, sig, &len), ERR_OK);
			ck_assert(pubkey_verify(keypair_public(k), mine, hash, sig, len));
			ck_assert(!pubkey_verify(keypair_public(k), other, hash, sig, len));
			ck_assert(!pubkey_verify(keypair_public(k), mine, hash, sig, len - 1));
			hash[31] ^= 1;
			ck_assert(!pubkey_verify(keypair_public(k), mine, hash, sig, len));
			hash[31] ^= 1;
			for (size_t at = 0; at < len; at++) {
				sig[at] ^= 0x40;
				ck_assert(!pubkey_verify(keypair_public(k), mine, hash, sig, len));
				sig[at] ^= 0x40;
			}
		}
		memset(sig, 0, sizeof sig); /* r = s = 0 */
		ck_assert(!pubkey_verify(keypair_public(k), SIG_COSE, hash, sig, pubkey_kind(keypair_public(k)) == KEY_EC ? 64 : pubkey_size(keypair_public(k))));
		keypair_free(k);
	}
}
END_TEST

int main(void)
{
	char *cmd = malloc(sizeof script + 128);
	if (!cmd || tls_init() != ERR_OK)
		return 2;
	pki_create();
	snprintf(cmd, sizeof script + 128, script, pki_dir);
	FILE *f = fopen(pki_path("envelopes.sh"), "we");
	if (!f || fputs(cmd, f) == EOF || fclose(f) != 0)
		return 2;
	snprintf(cmd, sizeof script, "sh %s || { tail %s/openssl.log >&2; exit 1; }", pki_path("envelopes.sh"), pki_dir);
	if (system(cmd) != 0)
		return 2;
	free(cmd);
	TCase *t = tcase_create("all");
	tcase_add_test(t, ours_open_for_their_recipient);
	tcase_add_test(t, ours_open_with_stock_openssl);
	tcase_add_test(t, those_of_stock_openssl_open);
	tcase_add_test(t, other_forms_are_refused_with_their_reason);
	tcase_add_test(t, signed_but_wrong_shapes_are_refused);
	tcase_add_test(t, the_holder_of_another_certificate_for_the_same_name_is_not_the_signer);
	tcase_add_test(t, every_truncation_and_flipped_byte_is_refused);
	tcase_add_test(t, two_envelopes_of_the_same_content_have_nothing_in_common);
	tcase_add_test(t, keys_that_do_not_fit_are_refused);
	tcase_add_test(t, signatures_verify_in_their_own_format_only);
	int rc = run_case("envelope", t);
	tls_cleanup();
	return rc;
}
