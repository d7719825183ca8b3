/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CBOR [RFC 8949] as far as sealed messages need it, in its one deterministic form (4.2.1): integers and lengths in their shortest
 * form, nothing indefinite. What is read any other way is refused, so that no second spelling of a message exists. Any thread. */
#ifndef CRYPTO_CBOR_H
#define CRYPTO_CBOR_H

#include "crypto/der.h"

enum cbor_major { CBOR_UINT = 0, CBOR_NEGATIVE = 1, CBOR_BYTES = 2, CBOR_TEXT = 3, CBOR_ARRAY = 4, CBOR_MAP = 5, CBOR_TAG = 6, CBOR_SIMPLE = 7 };

#define CBOR_HEAD_MAX 9u /* bytes */

/* Reading: each takes one item's head (and content) off d; false when it is not that, not deterministic or cut off. */
bool cbor_take_head(struct der *d, enum cbor_major *major, uint64_t *value);
bool cbor_take(struct der *d, enum cbor_major major, uint64_t *value); /* heads of integers, arrays, maps, tags */
bool cbor_take_exactly(struct der *d, enum cbor_major major, uint64_t value);
bool cbor_take_string(struct der *d, enum cbor_major major, struct der *content); /* CBOR_BYTES or CBOR_TEXT */
bool cbor_take_bytes(struct der *d, size_t len, struct der *content);             /* a byte string of that length */

/* Writing: appends at p, returns behind it. Room is the caller's matter. */
uint8_t *cbor_put_head(uint8_t *p, enum cbor_major major, uint64_t value);
uint8_t *cbor_put_string(uint8_t *p, enum cbor_major major, const void *content, size_t len);
size_t cbor_head_size(uint64_t value);

#endif
