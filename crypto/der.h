/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading DER [X.690 10.1], strictly: definite lengths in their shortest form, one-byte tags. A reader for a nested element
 * ends where that element ends, so it cannot read its parent. Pure; any thread. */
#ifndef CRYPTO_DER_H
#define CRYPTO_DER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	DER_BOOLEAN = 0x01, DER_INTEGER = 0x02, DER_BIT_STRING = 0x03, DER_OCTET_STRING = 0x04, DER_NULL = 0x05, DER_OID = 0x06,
	DER_UTF8_STRING = 0x0c, DER_PRINTABLE_STRING = 0x13, DER_IA5_STRING = 0x16, DER_UTC_TIME = 0x17, DER_GENERALIZED_TIME = 0x18,
	DER_SEQUENCE = 0x30, DER_SET = 0x31,
};
/* Context-specific tags [n]: primitive (implicit over a primitive type) and constructed. */
#define DER_CONTEXT(n) (0x80u | (n))
#define DER_CONTEXT_CONS(n) (0xa0u | (n))

/* Bytes still to read; borrows. */
struct der { const uint8_t *p, *end; };

static inline struct der der_of(const void *p, size_t len)
{
	struct der d = { p, p ? (const uint8_t *)p + len : p };
	return d;
}
static inline size_t der_len(struct der d) { return (size_t)(d.end - d.p); }
static inline bool der_empty(struct der d) { return d.p == d.end; }
static inline bool der_next_is(struct der d, unsigned tag) { return d.p != d.end && *d.p == tag; }
bool der_equal(struct der d, const void *bytes, size_t len);

/* Takes the next element: its tag, its content, and (whole may be NULL) header and content together. False when there is none or
 * it is not DER; d is then of no further use. */
bool der_take_any(struct der *d, unsigned *tag, struct der *content, struct der *whole);
/* Takes the next element, which must have this tag. */
bool der_take(struct der *d, unsigned tag, struct der *content);
bool der_take_whole(struct der *d, unsigned tag, struct der *content, struct der *whole);
/* A non-negative INTEGER in shortest form, without its sign byte: 0 is one zero byte. */
bool der_take_unsigned(struct der *d, struct der *magnitude);
/* An INTEGER from 0 to 255. */
bool der_take_small(struct der *d, uint8_t *value);
/* UTCTime or GeneralizedTime as certificates write it [RFC 5280 4.1.2.5]; seconds since 1970. */
bool der_take_time(struct der *d, int64_t *seconds);

#endif
