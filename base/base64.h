/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Base64 [RFC 4648 4], strictly: no white space, padded, unused bits zero. Pure; any thread. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes len characters into out (at least len / 4 * 3 bytes); *out_len bytes were written. False: it is not base64. */
bool base64_decode(const char *text, size_t len, uint8_t *out, size_t *out_len);

#endif
