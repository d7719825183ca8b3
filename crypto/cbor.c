/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Deterministic CBOR. Owns nothing; any thread. */
#include "crypto/cbor.h"

#include <string.h>

bool cbor_take_head(struct der *d, enum cbor_major *major, uint64_t *value)
{
	if (der_empty(*d))
		return false;
	uint8_t first = *d->p++, info = first & 31;
	*major = (enum cbor_major)(first >> 5);
	*value = info;
	if (info < 24)
		return true;
	if (info > 27) /* reserved, or indefinite */
		return false;
	size_t n = (size_t)1 << (info - 24);
	if (der_len(*d) < n)
		return false;
	*value = 0;
	for (size_t i = 0; i < n; i++)
		*value = *value << 8 | *d->p++;
	/* the next shorter form would not have held it */
	return n == 1 ? *value >= 24 : *value >> (4 * n) != 0;
}

bool cbor_take(struct der *d, enum cbor_major major, uint64_t *value)
{
	enum cbor_major found;
	return cbor_take_head(d, &found, value) && found == major;
}

bool cbor_take_exactly(struct der *d, enum cbor_major major, uint64_t value)
{
	uint64_t found;
	return cbor_take(d, major, &found) && found == value;
}

bool cbor_take_string(struct der *d, enum cbor_major major, struct der *content)
{
	uint64_t len;
	if (!cbor_take(d, major, &len) || len > der_len(*d))
		return false;
	*content = der_of(d->p, (size_t)len);
	d->p += len;
	return true;
}

bool cbor_take_bytes(struct der *d, size_t len, struct der *content)
{
	return cbor_take_string(d, CBOR_BYTES, content) && der_len(*content) == len;
}

size_t cbor_head_size(uint64_t value)
{
	return value < 24 ? 1 : value <= UINT8_MAX ? 2 : value <= UINT16_MAX ? 3 : value <= UINT32_MAX ? 5 : 9;
}

uint8_t *cbor_put_head(uint8_t *p, enum cbor_major major, uint64_t value)
{
	static const uint8_t info[] = { [2] = 24, [3] = 25, [5] = 26, [9] = 27 };
	size_t size = cbor_head_size(value);
	*p++ = (uint8_t)(major << 5 | (size == 1 ? (unsigned)value : info[size]));
	for (size_t i = size - 1; i > 0; i--)
		*p++ = (uint8_t)(value >> (8 * (i - 1)));
	return p;
}

uint8_t *cbor_put_string(uint8_t *p, enum cbor_major major, const void *content, size_t len)
{
	p = cbor_put_head(p, major, len);
	if (len)
		memcpy(p, content, len);
	return p + len;
}
