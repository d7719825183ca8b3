/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The sealed message (docs/formats.md 4): COSE_Encrypt0, alone or as the payload of a COSE_Sign1 by its sender. One deterministic form is
 * written and nothing else is read. */
#ifndef CRYPTO_COSE_H
#define CRYPTO_COSE_H

#include "base/err.h"
#include "crypto/keys.h"
#include "crypto/keytree.h"

#define COSE_STREAM_LEN 8u
#define COSE_SENDER_LEN 16u      /* first bytes of the SHA-256 of the sender's certificate */
#define COSE_TIME_MAX INT64_MAX  /* milliseconds since 1970; 0: the sender has no clock */
#define COSE_PLAIN_MAX 268435455u

/* What the protected header says. */
struct cose_head {
	uint8_t kid[KEYTREE_KID_LEN];
	uint8_t stream[COSE_STREAM_LEN];
	uint8_t sender[COSE_SENDER_LEN];
	uint64_t seq;
	uint64_t time_ms;
	const char *publisher;   /* CN of the plain client that the broker sealed for; NULL: none; not NUL-terminated */
	size_t publisher_len;
};

/* Views into a sealed message. */
struct cose {
	struct cose_head head;
	bool is_signed;
	enum key_kind signer_kind;            /* by the signature's algorithm */
	struct der sign_protected, signature; /* of the COSE_Sign1 */
	struct der encrypt0;                  /* the tagged COSE_Encrypt0 */
	struct der protected, ciphertext, tag;
};

/* Reads the structure; nothing is trusted yet. ERR_INVALID, *why tells. Any thread. */
enum err cose_parse(struct cose *out, const void *message, size_t len, const char **why) MUST_CHECK;

/* The content-encryption key of one sender's stream in a topic: the same for all its messages. Any thread. */
void cose_content_key(const uint8_t topic_key[static KEYTREE_KEY_LEN], const char *topic, size_t topic_len, const struct cose_head *h,
                      uint8_t out[static 32]);

/* Whether the sender named inside signed it, for this topic. key: sender's. ERR_REFUSED, *why tells. Whether the sender's certificate is
 * trusted is the caller's matter. */
enum err cose_verify(const struct cose *m, const char *topic, size_t topic_len, const struct cert *sender, struct pubkey *key,
                     const char **why) MUST_CHECK;
/* Decrypts into out (at least der_len(m->ciphertext) bytes; that many are written). ERR_CORRUPT: not authentic for topic and key. */
enum err cose_open(const struct cose *m, const char *topic, size_t topic_len, const uint8_t content_key[static 32], uint8_t *out) MUST_CHECK;

/* The exact length of an unsigned message, an upper bound of a signed one. */
size_t cose_size(const struct cose_head *h, size_t plain_len, struct keypair *signer);
/* Seals plain into out (at least cose_size bytes); signer NULL: unsigned. The pair of stream and seq must be new.
 * ERR_INVALID: a head or length that cannot be written, or a signer that is not h->sender. signer's thread. */
enum err cose_seal(const struct cose_head *h, const char *topic, size_t topic_len, const uint8_t content_key[static 32], const void *plain,
                   size_t plain_len, struct keypair *signer, uint8_t *out, size_t *out_len) MUST_CHECK;

#endif
