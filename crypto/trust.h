/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whether a certificate that did not come by TLS (a sender's, an issuer's) is to be trusted now: issued by a known authority, valid, not
 * revoked, by the same rules as at a handshake. No chain comes with it: the authority that signed it must be known. */
#ifndef CRYPTO_TRUST_H
#define CRYPTO_TRUST_H

#include "base/err.h"
#include "crypto/cert.h"
#include "crypto/tls.h"

struct trust; /* immutable after trust_new; any thread */

/* From o's cafile, capath, crlfile, crl_expired_ok, pins and warn. NULL on failure, and error says which file and why. */
struct trust *trust_new(const struct tls_options *o, char *error, size_t error_len) MUST_CHECK;
void trust_free(struct trust *t); /* NULL is fine */

/* TLS_CAUSE_NONE: trusted. Otherwise why not (tls_cause_text); a revoked certificate of X.509 v1 or v3 is TLS_CAUSE_REVOKED. */
enum tls_cause trust_check(struct trust *t, const struct cert *c);
/* The same as of a time (seconds since 1970), for what was signed then: authority and certificate may have expired since. Revocation is what the
 * lists say now, and they have to be in force now; of an expired certificate they often say nothing any more. */
enum tls_cause trust_check_at(struct trust *t, const struct cert *c, int64_t time_s);

#endif
