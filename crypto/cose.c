/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sealed messages. The reader takes the one order and the one spelling that the writer produces, which is the same as encoding
 * again and comparing. Owns nothing. */
#include "crypto/cose.h"

#include "base/pool.h"
#include "base/secmem.h"
#include "crypto/aead.h"
#include "crypto/cbor.h"
#include "crypto/hash.h"

#include <string.h>

enum {
	TAG_ENCRYPT0 = 16, TAG_SIGN1 = 18,
	LABEL_ALG = 1, LABEL_KID = 4, LABEL_PARTIAL_IV = 6,
	/* negative integers n are written as -1 - n */
	LABEL_SENDER = 70001 - 1, LABEL_PUBLISHER = 70002 - 1, ALG_A256GCM = 3, ALG_ES256 = 7 - 1, ALG_PS256 = 37 - 1,
	PROTECTED_MAX = 64 + 8 + IDENTITY_CN_MAX, AAD_FIXED = 64, SIGN_PROTECTED_MAX = 8,
};

/* ---- reading */

static const char *read_sender(struct der *d, struct cose_head *h)
{
	struct der v;
	if (!cbor_take_exactly(d, CBOR_NEGATIVE, LABEL_SENDER) || !cbor_take_exactly(d, CBOR_ARRAY, 3))
		return "the sender is missing";
	if (!cbor_take_bytes(d, COSE_STREAM_LEN, &v))
		return "the stream id is not 8 bytes";
	memcpy(h->stream, v.p, COSE_STREAM_LEN);
	if (!cbor_take(d, CBOR_UINT, &h->time_ms) || h->time_ms > COSE_TIME_MAX)
		return "the time is malformed";
	if (!cbor_take_bytes(d, COSE_SENDER_LEN, &v))
		return "the sender is not 16 bytes";
	memcpy(h->sender, v.p, COSE_SENDER_LEN);
	return NULL;
}

static const char *read_head(struct der d, struct cose_head *h)
{
	struct der v;
	uint64_t labels;
	if (!cbor_take(&d, CBOR_MAP, &labels) || (labels != 4 && labels != 5))
		return "the protected header has not the right labels";
	if (!cbor_take_exactly(&d, CBOR_UINT, LABEL_ALG) || !cbor_take_exactly(&d, CBOR_UINT, ALG_A256GCM))
		return "the algorithm is not A256GCM";
	if (!cbor_take_exactly(&d, CBOR_UINT, LABEL_KID) || !cbor_take_bytes(&d, KEYTREE_KID_LEN, &v))
		return "the key id is not 8 bytes";
	memcpy(h->kid, v.p, KEYTREE_KID_LEN);
	if (!cbor_take_exactly(&d, CBOR_UINT, LABEL_PARTIAL_IV) || !cbor_take_bytes(&d, 8, &v))
		return "the partial IV is not 8 bytes";
	for (int i = 0; i < 8; i++)
		h->seq = h->seq << 8 | v.p[i];
	const char *why = read_sender(&d, h);
	if (why)
		return why;
	if (labels == 5) {
		if (!cbor_take_exactly(&d, CBOR_NEGATIVE, LABEL_PUBLISHER) || !cbor_take_string(&d, CBOR_TEXT, &v) || cert_name_fault(v))
			return "the publisher is malformed";
		h->publisher = (const char *)v.p;
		h->publisher_len = der_len(v);
	}
	return der_empty(d) ? NULL : "the protected header has trailing bytes";
}

/* Tag, array, protected header, empty unprotected header. */
static bool take_frame(struct der *d, uint64_t tag, uint64_t items, struct der *protected)
{
	return cbor_take_exactly(d, CBOR_TAG, tag) && cbor_take_exactly(d, CBOR_ARRAY, items) && cbor_take_string(d, CBOR_BYTES, protected) &&
	       cbor_take_exactly(d, CBOR_MAP, 0);
}

static const char *read_encrypt0(struct der d, struct cose *out)
{
	out->encrypt0 = d;
	if (!take_frame(&d, TAG_ENCRYPT0, 3, &out->protected) || !cbor_take_string(&d, CBOR_BYTES, &out->ciphertext) || !der_empty(d))
		return "not a COSE_Encrypt0 in its deterministic form";
	if (der_len(out->ciphertext) < AEAD_TAG_LEN || der_len(out->ciphertext) - AEAD_TAG_LEN > COSE_PLAIN_MAX)
		return "the ciphertext is too short or too long";
	out->ciphertext.end -= AEAD_TAG_LEN;
	out->tag = der_of(out->ciphertext.end, AEAD_TAG_LEN);
	return read_head(out->protected, &out->head);
}

static const char *read_sign1(struct der d, struct cose *out)
{
	struct der payload, p;
	uint64_t alg;
	if (!take_frame(&d, TAG_SIGN1, 4, &out->sign_protected) || !cbor_take_string(&d, CBOR_BYTES, &payload) ||
	    !cbor_take_string(&d, CBOR_BYTES, &out->signature) || !der_empty(d))
		return "not a COSE_Sign1 in its deterministic form";
	p = out->sign_protected;
	if (!cbor_take_exactly(&p, CBOR_MAP, 1) || !cbor_take_exactly(&p, CBOR_UINT, LABEL_ALG) || !cbor_take(&p, CBOR_NEGATIVE, &alg) || !der_empty(p) ||
	    (alg != ALG_ES256 && alg != ALG_PS256))
		return "the signature's algorithm is neither ES256 nor PS256";
	out->is_signed = true;
	out->signer_kind = alg == ALG_ES256 ? KEY_EC : KEY_RSA;
	return read_encrypt0(payload, out);
}

enum err cose_parse(struct cose *out, const void *message, size_t len, const char **why)
{
	struct der d = der_of(message, len);
	memset(out, 0, sizeof *out);
	*why = der_next_is(d, CBOR_TAG << 5 | TAG_SIGN1) ? read_sign1(d, out) : read_encrypt0(d, out);
	return *why ? ERR_INVALID : ERR_OK;
}

/* ---- what both sides compute */

void cose_content_key(const uint8_t topic_key[static KEYTREE_KEY_LEN], const char *topic, size_t topic_len, const struct cose_head *h,
                      uint8_t out[static 32])
{
	const struct hash_part info[] = { HASH_LABEL("sealmq v1 content"), { h->kid, sizeof h->kid }, { h->sender, sizeof h->sender }, { topic, topic_len } };
	hkdf_extract(h->stream, sizeof h->stream, topic_key, KEYTREE_KEY_LEN, out);
	hkdf_expand(out, info, 4, out);
}

/* CBOR ["sealmq v1", bstr topic, bool is_signed] */
static uint8_t *put_external_aad(uint8_t *p, const char *topic, size_t topic_len, bool is_signed)
{
	p = cbor_put_head(p, CBOR_ARRAY, 3);
	p = cbor_put_string(p, CBOR_TEXT, "sealmq v1", 9);
	p = cbor_put_string(p, CBOR_BYTES, topic, topic_len);
	return cbor_put_head(p, CBOR_SIMPLE, is_signed ? 21 : 20);
}

/* The beginning that Enc_structure and Sig_structure share [RFC 9052 5.3, 4.4]: array, context, protected header, external data.
 * The caller frees. */
static uint8_t *context_bytes(const char *context, unsigned items, struct der protected, const char *topic, size_t topic_len, bool is_signed,
                              size_t *len)
{
	uint8_t *bytes = pool_alloc(der_len(protected) + topic_len + AAD_FIXED);
	if (!bytes)
		return NULL;
	size_t external = 1 + 10 + cbor_head_size(topic_len) + topic_len + 1;
	uint8_t *p = cbor_put_head(bytes, CBOR_ARRAY, items);
	p = cbor_put_string(p, CBOR_TEXT, context, strlen(context));
	p = cbor_put_string(p, CBOR_BYTES, protected.p, der_len(protected));
	p = cbor_put_head(p, CBOR_BYTES, external);
	p = put_external_aad(p, topic, topic_len, is_signed);
	*len = (size_t)(p - bytes);
	return bytes;
}

static void content_nonce(uint64_t seq, uint8_t out[static AEAD_NONCE_LEN])
{
	memset(out, 0, 4);
	for (int i = 0; i < 8; i++)
		out[4 + i] = (uint8_t)(seq >> (56 - 8 * i));
}

/* The hash of the Sig_structure. */
static bool signed_hash(struct der protected, const char *topic, size_t topic_len, struct der payload, uint8_t out[static HASH_LEN])
{
	uint8_t head[CBOR_HEAD_MAX];
	size_t len;
	uint8_t *context = context_bytes("Signature1", 4, protected, topic, topic_len, true, &len);
	if (!context)
		return false;
	size_t head_len = (size_t)(cbor_put_head(head, CBOR_BYTES, der_len(payload)) - head);
	const struct hash_part parts[] = { { context, len }, { head, head_len }, { payload.p, der_len(payload) } };
	hash_sha256_parts(parts, 3, out);
	pool_free(context);
	return true;
}

enum err cose_verify(const struct cose *m, const char *topic, size_t topic_len, const struct cert *sender, struct pubkey *key, const char **why)
{
	uint8_t hash[HASH_LEN];
	cert_fingerprint(sender, hash);
	*why = NULL;
	if (!m->is_signed)
		*why = "not signed";
	else if (memcmp(hash, m->head.sender, COSE_SENDER_LEN) != 0)
		*why = "the certificate is not the sender's";
	else if (pubkey_kind(key) != m->signer_kind)
		*why = "the signature's algorithm does not fit the sender's key";
	else if (!signed_hash(m->sign_protected, topic, topic_len, m->encrypt0, hash))
		return ERR_NOMEM;
	else if (!pubkey_verify(key, SIG_COSE, hash, m->signature.p, der_len(m->signature)))
		*why = "the signature does not verify";
	return *why ? ERR_REFUSED : ERR_OK;
}

enum err cose_open(const struct cose *m, const char *topic, size_t topic_len, const uint8_t content_key[static 32], uint8_t *out)
{
	uint8_t nonce[AEAD_NONCE_LEN];
	size_t len;
	uint8_t *aad = context_bytes("Encrypt0", 3, m->protected, topic, topic_len, m->is_signed, &len);
	if (!aad)
		return ERR_NOMEM;
	content_nonce(m->head.seq, nonce);
	enum err e = aead_open(content_key, nonce, aad, len, m->ciphertext.p, der_len(m->ciphertext), m->tag.p, out);
	pool_free(aad);
	return e;
}

/* ---- writing */

static size_t put_protected(uint8_t bytes[static PROTECTED_MAX], const struct cose_head *h)
{
	uint8_t *p = cbor_put_head(bytes, CBOR_MAP, h->publisher ? 5 : 4);
	p = cbor_put_head(p, CBOR_UINT, LABEL_ALG);
	p = cbor_put_head(p, CBOR_UINT, ALG_A256GCM);
	p = cbor_put_head(p, CBOR_UINT, LABEL_KID);
	p = cbor_put_string(p, CBOR_BYTES, h->kid, sizeof h->kid);
	p = cbor_put_head(p, CBOR_UINT, LABEL_PARTIAL_IV);
	p = cbor_put_head(p, CBOR_BYTES, 8);
	for (int i = 0; i < 8; i++)
		*p++ = (uint8_t)(h->seq >> (56 - 8 * i));
	p = cbor_put_head(p, CBOR_NEGATIVE, LABEL_SENDER);
	p = cbor_put_head(p, CBOR_ARRAY, 3);
	p = cbor_put_string(p, CBOR_BYTES, h->stream, sizeof h->stream);
	p = cbor_put_head(p, CBOR_UINT, h->time_ms);
	p = cbor_put_string(p, CBOR_BYTES, h->sender, sizeof h->sender);
	if (h->publisher) {
		p = cbor_put_head(p, CBOR_NEGATIVE, LABEL_PUBLISHER);
		p = cbor_put_string(p, CBOR_TEXT, h->publisher, h->publisher_len);
	}
	return (size_t)(p - bytes);
}

static size_t protected_size(const struct cose_head *h)
{
	return 55 + cbor_head_size(h->time_ms) + (h->publisher ? 5 + cbor_head_size(h->publisher_len) + h->publisher_len : 0);
}

static size_t string_size(size_t len)
{
	return cbor_head_size(len) + len;
}

static size_t encrypt0_size(const struct cose_head *h, size_t plain_len)
{
	return 3 + string_size(protected_size(h)) + string_size(plain_len + AEAD_TAG_LEN);
}

size_t cose_size(const struct cose_head *h, size_t plain_len, struct keypair *signer)
{
	size_t inner = encrypt0_size(h, plain_len);
	return signer ? 3 + SIGN_PROTECTED_MAX + string_size(inner) + string_size(KEYS_SIGNATURE_MAX) : inner;
}

/* The tagged COSE_Encrypt0 at out; returns behind it, NULL when out of memory. */
static uint8_t *put_encrypt0(uint8_t *out, const struct cose_head *h, const char *topic, size_t topic_len, const uint8_t *key, const void *plain,
                             size_t plain_len, bool is_signed)
{
	uint8_t protected[PROTECTED_MAX], nonce[AEAD_NONCE_LEN];
	size_t n = put_protected(protected, h), aad_len;
	uint8_t *aad = context_bytes("Encrypt0", 3, der_of(protected, n), topic, topic_len, is_signed, &aad_len);
	if (!aad)
		return NULL;
	uint8_t *p = cbor_put_head(out, CBOR_TAG, TAG_ENCRYPT0);
	p = cbor_put_head(p, CBOR_ARRAY, 3);
	p = cbor_put_string(p, CBOR_BYTES, protected, n);
	p = cbor_put_head(p, CBOR_MAP, 0);
	p = cbor_put_head(p, CBOR_BYTES, plain_len + AEAD_TAG_LEN);
	content_nonce(h->seq, nonce);
	enum err e = aead_seal(key, nonce, aad, aad_len, plain, plain_len, p, p + plain_len);
	pool_free(aad);
	return e == ERR_OK ? p + plain_len + AEAD_TAG_LEN : NULL;
}

static bool writable(const struct cose_head *h, size_t plain_len, struct keypair *signer)
{
	uint8_t hash[HASH_LEN];
	if (plain_len > COSE_PLAIN_MAX || h->time_ms > COSE_TIME_MAX || (h->publisher && cert_name_fault(der_of(h->publisher, h->publisher_len))))
		return false;
	if (!signer)
		return true;
	cert_fingerprint(keypair_cert(signer), hash);
	return memcmp(hash, h->sender, COSE_SENDER_LEN) == 0;
}

enum err cose_seal(const struct cose_head *h, const char *topic, size_t topic_len, const uint8_t content_key[static 32], const void *plain,
                   size_t plain_len, struct keypair *signer, uint8_t *out, size_t *out_len)
{
	uint8_t protected[SIGN_PROTECTED_MAX], hash[HASH_LEN], sig[KEYS_SIGNATURE_MAX], *p = out;
	size_t sig_len;
	if (!writable(h, plain_len, signer))
		return ERR_INVALID;
	if (!signer) {
		p = put_encrypt0(out, h, topic, topic_len, content_key, plain, plain_len, false);
		*out_len = p ? (size_t)(p - out) : 0;
		return p ? ERR_OK : ERR_NOMEM;
	}
	bool ec = pubkey_kind(keypair_public(signer)) == KEY_EC;
	uint8_t *end = cbor_put_head(protected, CBOR_MAP, 1);
	end = cbor_put_head(end, CBOR_UINT, LABEL_ALG);
	end = cbor_put_head(end, CBOR_NEGATIVE, ec ? ALG_ES256 : ALG_PS256);
	struct der sign_protected = der_of(protected, (size_t)(end - protected));
	p = cbor_put_head(p, CBOR_TAG, TAG_SIGN1);
	p = cbor_put_head(p, CBOR_ARRAY, 4);
	p = cbor_put_string(p, CBOR_BYTES, sign_protected.p, der_len(sign_protected));
	p = cbor_put_head(p, CBOR_MAP, 0);
	p = cbor_put_head(p, CBOR_BYTES, encrypt0_size(h, plain_len));
	struct der payload = der_of(p, encrypt0_size(h, plain_len));
	p = put_encrypt0(p, h, topic, topic_len, content_key, plain, plain_len, true);
	if (!p || !signed_hash(sign_protected, topic, topic_len, payload, hash))
		return ERR_NOMEM;
	enum err e = keypair_sign(signer, SIG_COSE, hash, sig, &sig_len);
	if (e != ERR_OK)
		return e;
	p = cbor_put_string(p, CBOR_BYTES, sig, sig_len);
	*out_len = (size_t)(p - out);
	return ERR_OK;
}
