/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The digital envelope (docs/formats.md 3): CMS AuthEnvelopedData for one RSA recipient (AES-256-GCM, RSAES-OAEP with SHA-256) inside CMS
 * SignedData of its issuer. One fixed shape is written; what is read must be that shape, in strict DER. */
#ifndef CRYPTO_ENVELOPE_H
#define CRYPTO_ENVELOPE_H

#include "base/err.h"
#include "crypto/cert.h"
#include "crypto/keys.h"

#define ENVELOPE_CONTENT_MAX 65536u /* bytes of content: 64 epochs of keys */
#define ENVELOPE_MAX (ENVELOPE_CONTENT_MAX + 16384u) /* bytes of a whole envelope, as read */

/* Whom a CMS structure names: by subject key identifier, or by issuer and serial number. */
struct envelope_name { struct der ski, issuer, serial; };

/* Views into an envelope. */
struct envelope {
	struct der signed_content;       /* the inner ContentInfo: what is signed */
	struct envelope_name signer, recipient;
	struct der certificate;          /* the signer's own, if sent along; else empty */
	struct der signed_attrs;         /* content of the SET, or empty */
	struct der digest;               /* messageDigest among them */
	enum key_kind signer_kind;
	struct der signature;
	struct der wrapped_key, nonce, sealed, tag;
};

/* Upper bound of envelope_seal's output. */
size_t envelope_size(const struct cert *issuer, const struct cert *recipient, size_t content_len);

/* Makes an envelope of content for the recipient, signed by issuer, into out (at least envelope_size bytes).
 * recipient_key is the key of recipient. ERR_INVALID: not RSA, or content too long. issuer's thread. */
enum err envelope_seal(struct keypair *issuer, const struct cert *recipient, struct pubkey *recipient_key, const void *content, size_t content_len,
                       uint8_t *out, size_t *out_len) MUST_CHECK;

/* Reads the structure; nothing is trusted yet. ERR_INVALID, *why tells. Any thread. */
enum err envelope_parse(struct envelope *e, const void *der, size_t len, const char **why) MUST_CHECK;
/* Whether signer, whose key is signer_key, signed it. ERR_REFUSED, *why tells. Trust in signer is the caller's matter. */
enum err envelope_verify(const struct envelope *e, const struct cert *signer, struct pubkey *signer_key, const char **why) MUST_CHECK;
/* Opens it into out (at least der_len(e->sealed) bytes). Only after envelope_verify. ERR_REFUSED (for somebody else), ERR_CORRUPT. */
enum err envelope_open(const struct envelope *e, struct keypair *recipient, uint8_t *out, size_t *out_len, const char **why) MUST_CHECK;

#endif
