/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who a connection is: what its certificate says, read once, shared by reference. */
#ifndef BASE_IDENTITY_H
#define BASE_IDENTITY_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IDENTITY_CN_MAX 256 /* bytes */

struct identity {
	atomic_uint refs;
	uint16_t cn_len;           /* bytes; immutable as all below */
	uint8_t serial_len;        /* bytes */
	uint8_t serial[20];        /* certificate serial number, big endian */
	uint8_t fingerprint[32];   /* SHA-256 of the certificate's DER */
	bool rsa;                  /* the certificate's key is RSA: it can receive an envelope */
	int64_t not_after_s;       /* end of validity, seconds since 1970; 0: no certificate */
	char cn[];                 /* NUL-terminated; valid UTF-8 */
};

/* cn_len <= IDENTITY_CN_MAX bytes; NULL when out of memory. */
struct identity *identity_new(const void *cn, size_t cn_len) MUST_CHECK;
struct identity *identity_ref(struct identity *id);
void identity_unref(struct identity *id); /* NULL is fine */
bool identity_same(const struct identity *a, const struct identity *b); /* same CN */

#endif
