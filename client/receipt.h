/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Receipts (docs/formats.md 10.2): a holder's signature over what a transcript was at a time, as a compact JWS [RFC 7515] that carries its signer's
 * certificate; and checking one, with the transcript and every signature in it, without a network. One thread. */
#ifndef CLIENT_RECEIPT_H
#define CLIENT_RECEIPT_H

#include "client/transcript_scan.h"
#include "crypto/keys.h"
#include "crypto/trust.h"

struct receipt {
	uint8_t holder[HASH_LEN];      /* SHA-256 of the signer's certificate */
	uint64_t made_ms;
	uint64_t first, last;          /* messages that it is about, by their numbers in the transcript */
	struct transcript_known known; /* of the transcript up to message last */
};

/* Makes the receipt for messages first and later of the scanned transcript, at now_ms, signed by its holder: text for free(), NUL-terminated with a
 * line feed. ERR_REFUSED: key is not the holder's; ERR_INVALID: there is no such message. */
enum err receipt_make(const struct transcript_scan *s, uint64_t first, uint64_t now_ms, struct keypair *key, char **text) MUST_CHECK;

/* Reads text (white space at its end is left out), verifies its signature by the certificate that it carries. der: that certificate, for free(). Whether
 * it is trusted is the caller's matter. ERR_INVALID, ERR_NOMEM; *why tells. */
enum err receipt_read(struct receipt *out, uint8_t **der, size_t *der_bytes, const char *text, size_t len, const char **why) MUST_CHECK;

#endif
