/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sealed messages: equal to the second implementation's, and nothing but the one form opens. */
#include "crypto/cose.h"

#include "crypto/cbor.h"
#include "crypto/hash.h"
#include "tests/unit/crypto/vectors.h"

static uint8_t message[4096], out[4096];
static size_t message_len;
static struct keypair *ec, *rsa;
static uint8_t key[32];

static struct cose_head head_by(struct keypair *sender)
{
	uint8_t fp[32];
	struct cose_head h = { .kid = "kid-kid", .stream = "stream0", .seq = 7, .time_ms = 1795173342000 };
	cert_fingerprint(keypair_cert(sender), fp);
	memcpy(h.sender, fp, COSE_SENDER_LEN);
	return h;
}

static void seal(const struct cose_head *h, const char *topic, const char *plain, struct keypair *signer)
{
	static const uint8_t topic_key[32] = "topic key of the test, 32 bytes";
	cose_content_key(topic_key, topic, strlen(topic), h, key);
	ck_assert_uint_le(cose_size(h, strlen(plain), signer), sizeof message);
	ck_assert_int_eq(cose_seal(h, topic, strlen(topic), key, plain, strlen(plain), signer, message, &message_len), ERR_OK);
	if (signer)
		ck_assert_uint_le(message_len, cose_size(h, strlen(plain), signer));
	else
		ck_assert_uint_eq(message_len, cose_size(h, strlen(plain), NULL));
}

/* NULL when the message is what sender (NULL: unsigned is fine) published to topic under key. */
static const char *judge(const uint8_t *bytes, size_t len, const char *topic, struct keypair *sender, const char *plain)
{
	struct cose m;
	const char *why;
	if (cose_parse(&m, bytes, len, &why) != ERR_OK)
		return why;
	if (sender && cose_verify(&m, topic, strlen(topic), keypair_cert(sender), keypair_public(sender), &why) != ERR_OK)
		return why;
	if (cose_open(&m, topic, strlen(topic), key, out) != ERR_OK)
		return "does not open";
	return der_equal(der_of(out, der_len(m.ciphertext)), plain, strlen(plain)) ? NULL : "another text";
}

START_TEST(the_second_implementations_messages_are_equal_or_open)
{
	cJSON *json = vectors_load(), *v;
	cJSON_ArrayForEach(v, cJSON_GetObjectItemCaseSensitive(json, "sealed")) {
		const char *topic = text_of(v, "topic"), *space = text_of(v, "space"), *why;
		const char *publisher = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(v, "publisher"));
		const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(v, "signer"));
		struct keypair *signer = !name ? NULL : strcmp(name, "ec") == 0 ? ec : rsa;
		struct hex plain = hex_of(v, "plain"), expect = hex_of(v, "message"), inner = hex_of(v, "encrypt0");
		struct cose m;
		struct cose_head h = { .seq = strtoull(text_of(v, "seq"), NULL, 10), .publisher = publisher };
		uint8_t topic_key[32], cek[32];
		size_t n;
		h.time_ms = (uint64_t)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(v, "time_ms"));
		h.publisher_len = publisher ? strlen(publisher) : 0;
		memcpy(h.kid, hex_of(v, "kid").p, 8);
		memcpy(h.stream, hex_of(v, "stream").p, 8);
		memcpy(h.sender, hex_of(v, "sender").p, 16);
		ck_assert_int_eq(keytree_topic(hex_of(v, "root").p, space, strlen(space), topic, strlen(topic), topic_key), ERR_OK);
		ck_assert_mem_eq(topic_key, hex_of(v, "topic_key").p, 32);
		cose_content_key(topic_key, topic, strlen(topic), &h, cek);
		ck_assert_mem_eq(cek, hex_of(v, "cek").p, 32);
		/* theirs by us */
		ck_assert_int_eq(cose_parse(&m, expect.p, expect.len, &why), ERR_OK);
		ck_assert(m.is_signed == (signer != NULL) && m.head.seq == h.seq && m.head.time_ms == h.time_ms);
		ck_assert(m.head.publisher_len == h.publisher_len);
		if (signer)
			ck_assert_int_eq(cose_verify(&m, topic, strlen(topic), keypair_cert(signer), keypair_public(signer), &why), ERR_OK);
		ck_assert_int_eq(cose_open(&m, topic, strlen(topic), cek, out), ERR_OK);
		ck_assert(der_equal(der_of(out, der_len(m.ciphertext)), plain.p, plain.len));
		/* ours */
		ck_assert_int_eq(cose_seal(&h, topic, strlen(topic), cek, plain.p, plain.len, signer, message, &n), ERR_OK);
		ck_assert_int_eq(cose_parse(&m, message, n, &why), ERR_OK);
		ck_assert(der_equal(m.encrypt0, inner.p, inner.len));
		if (!signer)
			ck_assert_uint_eq(n, expect.len);
	}
	cJSON_Delete(json);
	hex_free_all();
}
END_TEST

START_TEST(overhead_is_small)
{
	struct cose_head h = head_by(ec);
	char plain[1025];
	for (size_t n = 0; n <= 1024; n += 64) {
		memset(plain, 'x', n);
		plain[n] = '\0';
		seal(&h, "plant/line1/temperature", plain, NULL);
		ck_assert_uint_le(message_len - n, 96);
		seal(&h, "plant/line1/temperature", plain, ec);
		ck_assert_uint_le(message_len - n, 180);
	}
}
END_TEST

START_TEST(a_message_opens_only_for_its_topic)
{
	struct cose_head h = head_by(ec);
	for (int is_signed = 0; is_signed < 2; is_signed++) {
		struct keypair *signer = is_signed ? ec : NULL;
		seal(&h, "a/b", "hello", signer);
		ck_assert_ptr_null(judge(message, message_len, "a/b", signer, "hello"));
		ck_assert_ptr_nonnull(judge(message, message_len, "a/c", signer, "hello")); /* even under the same key */
		ck_assert_ptr_nonnull(judge(message, message_len, "a", signer, "hello"));
	}
}
END_TEST

START_TEST(every_truncation_and_flipped_bit_is_refused)
{
	struct cose_head h = head_by(ec);
	h.publisher = "device-17";
	h.publisher_len = 9;
	for (int is_signed = 0; is_signed < 2; is_signed++) {
		struct keypair *signer = is_signed ? ec : NULL;
		seal(&h, "a/b", "hello", signer);
		ck_assert_ptr_null(judge(message, message_len, "a/b", signer, "hello"));
		for (size_t i = 0; i < message_len; i++) {
			uint8_t *exact = malloc(i + 1);
			ck_assert_ptr_nonnull(exact);
			memcpy(exact, message, i);
			ck_assert_msg(judge(exact, i, "a/b", signer, "hello") != NULL, "cut to %zu", i);
			free(exact);
			for (unsigned bit = 0; bit < 8; bit++) {
				message[i] ^= (uint8_t)(1u << bit);
				ck_assert_msg(judge(message, message_len, "a/b", signer, "hello") != NULL, "byte %zu bit %u", i, bit);
				message[i] ^= (uint8_t)(1u << bit);
			}
		}
		message[message_len] = 0;
		ck_assert_ptr_nonnull(judge(message, message_len + 1, "a/b", signer, "hello"));
	}
}
END_TEST

START_TEST(a_stripped_signature_does_not_open)
{
	struct cose_head h = head_by(ec);
	struct cose m;
	const char *why;
	uint8_t inner[512];
	seal(&h, "a/b", "hello", ec);
	ck_assert_int_eq(cose_parse(&m, message, message_len, &why), ERR_OK);
	size_t n = der_len(m.encrypt0);
	memcpy(inner, m.encrypt0.p, n);
	ck_assert_str_eq(judge(inner, n, "a/b", NULL, "hello"), "does not open");
	ck_assert_str_eq(judge(inner, n, "a/b", ec, "hello"), "not signed");
}
END_TEST

/* A member takes another's ciphertext and signs it: the sender inside is not the signer. Naming itself inside changes the key. */
START_TEST(re_signing_is_refused)
{
	struct cose_head h = head_by(ec);
	struct cose m;
	const char *why;
	uint8_t forged[1024], *p;
	seal(&h, "a/b", "hello", ec);
	ck_assert_int_eq(cose_parse(&m, message, message_len, &why), ERR_OK);
	ck_assert_int_eq(cose_seal(&h, "a/b", 3, key, "hello", 5, rsa, forged, &(size_t){ 0 }), ERR_INVALID); /* the writer refuses */
	/* by hand: the COSE_Sign1 frame with a signature by rsa over the right bytes */
	static const uint8_t ps256[] = { 0xa1, 0x01, 0x38, 0x24 };
	uint8_t tbs[1024], hash[32], sig[KEYS_SIGNATURE_MAX];
	size_t sig_len;
	p = cbor_put_head(tbs, CBOR_ARRAY, 4);
	p = cbor_put_string(p, CBOR_TEXT, "Signature1", 10);
	p = cbor_put_string(p, CBOR_BYTES, ps256, sizeof ps256);
	p = cbor_put_string(p, CBOR_BYTES, "\x83\x69sealmq v1\x43" "a/b\xf5", 16);
	p = cbor_put_string(p, CBOR_BYTES, m.encrypt0.p, der_len(m.encrypt0));
	hash_sha256(tbs, (size_t)(p - tbs), hash);
	ck_assert_int_eq(keypair_sign(rsa, SIG_COSE, hash, sig, &sig_len), ERR_OK);
	p = cbor_put_head(forged, CBOR_TAG, 18);
	p = cbor_put_head(p, CBOR_ARRAY, 4);
	p = cbor_put_string(p, CBOR_BYTES, ps256, sizeof ps256);
	p = cbor_put_head(p, CBOR_MAP, 0);
	p = cbor_put_string(p, CBOR_BYTES, m.encrypt0.p, der_len(m.encrypt0));
	p = cbor_put_string(p, CBOR_BYTES, sig, sig_len);
	size_t n = (size_t)(p - forged);
	ck_assert_str_eq(judge(forged, n, "a/b", rsa, "hello"), "the certificate is not the sender's");
	ck_assert_str_eq(judge(forged, n, "a/b", ec, "hello"), "the signature's algorithm does not fit the sender's key");
	/* the frame itself is right: with the sender inside exchanged in place, the signature would hold, but not the seal */
	uint8_t fp[32];
	cert_fingerprint(keypair_cert(rsa), fp);
	ck_assert_int_eq(cose_parse(&m, forged, n, &why), ERR_OK);
	struct cose_head other = m.head;
	memcpy(other.sender, fp, 16);
	static const uint8_t topic_key[32] = "topic key of the test, 32 bytes";
	uint8_t k2[32];
	cose_content_key(topic_key, "a/b", 3, &other, k2);
	ck_assert_mem_ne(k2, key, 32);
}
END_TEST

START_TEST(the_content_key_depends_on_all_it_is_bound_to)
{
	static const uint8_t topic_key[32] = "topic key of the test, 32 bytes";
	uint8_t k[6][32];
	struct cose_head h = head_by(ec), other;
	cose_content_key(topic_key, "a/b", 3, &h, k[0]);
	other = h, other.kid[0] ^= 1;
	cose_content_key(topic_key, "a/b", 3, &other, k[1]);
	other = h, other.stream[7] ^= 1;
	cose_content_key(topic_key, "a/b", 3, &other, k[2]);
	other = h, other.sender[15] ^= 1;
	cose_content_key(topic_key, "a/b", 3, &other, k[3]);
	cose_content_key(topic_key, "a/c", 3, &h, k[4]);
	cose_content_key(key, "a/b", 3, &h, k[5]);
	for (int i = 0; i < 6; i++)
		for (int j = 0; j < i; j++)
			ck_assert_mem_ne(k[i], k[j], 32);
	other = h, other.seq = 99; /* the nonce's matter */
	cose_content_key(topic_key, "a/b", 3, &other, k[1]);
	ck_assert_mem_eq(k[0], k[1], 32);
}
END_TEST

#define KID "\x04\x48" "kidkidki"
#define IV "\x06\x48\0\0\0\0\0\0\0\1"
#define SENDER "\x3a\0\1\x11\x70\x83\x48" "streamst\x1a\x12\x34\x56\x78\x50" "sendersendersend"
#define PUBLISHER "\x3a\0\1\x11\x71\x61" "d"

static const char *judge_protected(const void *bytes, size_t len, const void *unprotected, size_t u_len)
{
	uint8_t m[512], *p = m;
	struct cose c;
	const char *why;
	p = cbor_put_head(p, CBOR_TAG, 16);
	p = cbor_put_head(p, CBOR_ARRAY, 3);
	p = cbor_put_string(p, CBOR_BYTES, bytes, len);
	memcpy(p, unprotected, u_len);
	p = cbor_put_string(p + u_len, CBOR_BYTES, "0123456789abcdef", 16);
	(void)!cose_parse(&c, m, (size_t)(p - m), &why);
	return why;
}

#define JUDGE(s) judge_protected(s, sizeof(s) - 1, "\xa0", 1)

START_TEST(headers_have_one_spelling)
{
	ck_assert_ptr_null(JUDGE("\xa4\x01\x03" KID IV SENDER));
	ck_assert_ptr_null(JUDGE("\xa5\x01\x03" KID IV SENDER PUBLISHER));
	ck_assert_ptr_nonnull(JUDGE("\xa4\x01\x03" KID IV SENDER "\0"));                  /* trailing byte */
	ck_assert_ptr_nonnull(JUDGE("\xa4\x01\x01" KID IV SENDER));                       /* A128GCM */
	ck_assert_ptr_nonnull(JUDGE("\xa4\x01\x03" IV KID SENDER));                       /* order */
	ck_assert_ptr_nonnull(JUDGE("\xa4\x01\x03" KID KID IV));                          /* duplicate key */
	ck_assert_ptr_nonnull(JUDGE("\xa5\x01\x03" KID KID IV SENDER));
	ck_assert_ptr_nonnull(JUDGE("\xa5\x01\x03\x01\x03" KID IV SENDER));
	ck_assert_ptr_nonnull(JUDGE("\xa4\x18\x01\x03" KID IV SENDER));                   /* 1 in two bytes */
	ck_assert_ptr_nonnull(JUDGE("\xa4\x01\x18\x03" KID IV SENDER));
	ck_assert_ptr_nonnull(JUDGE("\xb8\x04\x01\x03" KID IV SENDER));                   /* a map's length in two bytes */
	ck_assert_ptr_nonnull(JUDGE("\xbf\x01\x03" KID IV SENDER "\xff"));                /* indefinite map */
	ck_assert_ptr_nonnull(JUDGE("\xa4\x01\x03\x04\x58\x08" "kidkidki" IV SENDER));    /* a string's length in two bytes */
	ck_assert_ptr_nonnull(JUDGE("\xa4\x01\x03\x04\x5f\x48" "kidkidki\xff" IV SENDER));/* indefinite string */
	ck_assert_ptr_nonnull(JUDGE("\xa4\x01\x03\x04\x47" "kidkidk" IV SENDER));
	ck_assert_ptr_nonnull(JUDGE("\xa4\x01\x03\x04\x68" "kidkidki" IV SENDER));        /* text */
	ck_assert_str_eq(JUDGE("\xa4\x01\x03" KID "\x06\x47\0\0\0\0\0\0\1" SENDER), "the partial IV is not 8 bytes");
	ck_assert_str_eq(JUDGE("\xa4\x01\x03" KID "\x06\x49\0\0\0\0\0\0\0\0\1" SENDER), "the partial IV is not 8 bytes");
	ck_assert_ptr_nonnull(JUDGE("\xa4\x01\x03" KID "\x05\x48\0\0\0\0\0\0\0\1" SENDER)); /* a whole IV */
	ck_assert_ptr_nonnull(JUDGE("\xa3\x01\x03" KID IV));                              /* no sender */
	ck_assert_ptr_nonnull(JUDGE("\xa4\x01\x03" KID IV PUBLISHER));
	ck_assert_ptr_nonnull(JUDGE("\xa5\x01\x03" KID IV SENDER "\x07\x01"));            /* an unknown label */
	ck_assert_ptr_nonnull(JUDGE("\xa5\x01\x03" KID IV SENDER "\x3a\0\1\x11\x72\x61" "d"));
	ck_assert_ptr_nonnull(JUDGE("\xa5\x01\x03" KID IV SENDER "\x3a\0\1\x11\x71\x60"));    /* empty publisher */
	ck_assert_ptr_nonnull(JUDGE("\xa5\x01\x03" KID IV SENDER "\x3a\0\1\x11\x71\x61+"));
	ck_assert_ptr_nonnull(JUDGE("\xa5\x01\x03" KID IV SENDER "\x3a\0\1\x11\x71\x61\xff"));
	ck_assert_ptr_nonnull(JUDGE("\xa4\x01\x03" KID IV "\x3a\0\1\x11\x70\x83\x48" "streamst\x20\x50" "sendersendersend")); /* time -1 */
	ck_assert_ptr_nonnull(JUDGE("\xa4\x01\x03" KID IV "\x3a\0\1\x11\x70\x83\x48" "streamst\x1b\x80\0\0\0\0\0\0\0\x50" "sendersendersend"));
	ck_assert_ptr_nonnull(JUDGE("\xa4\x01\x03" KID IV "\x3a\0\1\x11\x70\x83\x48" "streamst\x1b\0\0\0\0\0\0\0\1\x50" "sendersendersend"));
	ck_assert_ptr_nonnull(JUDGE("\xa4\x01\x03" KID IV "\x3a\0\1\x11\x70\x84\x48" "streamst\x01\x50" "sendersendersend\x01"));
	static const char good[] = "\xa4\x01\x03" KID IV SENDER;
	ck_assert_ptr_nonnull(judge_protected(good, sizeof good - 1, "\xa1\x04\x40", 3)); /* unprotected not empty */
	ck_assert_ptr_nonnull(judge_protected(good, sizeof good - 1, "\xbf\xff", 2));     /* indefinite, empty */
	ck_assert_ptr_nonnull(judge_protected(good, sizeof good - 1, "\x80", 1));
}
END_TEST

START_TEST(cbor_heads_are_the_shortest_or_refused)
{
	static const struct { const char *s; size_t n; bool ok; } in[] = {
		{ "\x17", 1, true }, { "\x18\x18", 2, true }, { "\x18\x17", 2, false }, { "\x19\x01\x00", 3, true }, { "\x19\x00\xff", 3, false },
		{ "\x1a\x00\x01\x00\x00", 5, true }, { "\x1a\x00\x00\xff\xff", 5, false }, { "\x1b\0\0\0\1\0\0\0\0", 9, true },
		{ "\x1b\0\0\0\0\xff\xff\xff\xff", 9, false }, { "\x1c", 1, false }, { "\x1f", 1, false }, { "\x18", 1, false }, { "", 0, false },
		{ "\x1b\0\0\0\1\0\0\0", 8, false },
	};
	for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
		struct der d = der_of(in[i].s, in[i].n);
		enum cbor_major major;
		uint64_t v;
		ck_assert_msg(cbor_take_head(&d, &major, &v) == in[i].ok, "case %zu", i);
	}
	static const uint64_t values[] = { 0, 23, 24, 255, 256, 65535, 65536, UINT32_MAX, (uint64_t)UINT32_MAX + 1, UINT64_MAX };
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		uint8_t b[CBOR_HEAD_MAX];
		size_t n = (size_t)(cbor_put_head(b, CBOR_BYTES, values[i]) - b);
		struct der d = der_of(b, n);
		uint64_t v;
		ck_assert_uint_eq(n, cbor_head_size(values[i]));
		ck_assert(cbor_take(&d, CBOR_BYTES, &v) && v == values[i] && der_empty(d));
	}
}
END_TEST

static void set_up(void)
{
	ec = vectors_keypair("ec");
	rsa = vectors_keypair("rsa");
}

static void tear_down(void)
{
	keypair_free(ec);
	keypair_free(rsa);
}

int main(void)
{
	TCase *t = tcase_create("all");
	tcase_add_test(t, the_second_implementations_messages_are_equal_or_open);
	tcase_add_test(t, overhead_is_small);
	tcase_add_test(t, a_message_opens_only_for_its_topic);
	tcase_add_test(t, every_truncation_and_flipped_bit_is_refused);
	tcase_add_test(t, a_stripped_signature_does_not_open);
	tcase_add_test(t, re_signing_is_refused);
	tcase_add_test(t, the_content_key_depends_on_all_it_is_bound_to);
	tcase_add_test(t, headers_have_one_spelling);
	tcase_add_test(t, cbor_heads_are_the_shortest_or_refused);
	tcase_add_unchecked_fixture(t, set_up, tear_down);
	return run_case("cose", t);
}
