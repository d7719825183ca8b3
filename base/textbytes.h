/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bytes as text: hexadecimal in lower case, base64 [RFC 4648 4] and base64url without padding [RFC 7515 2]. One text for the same bytes:
 * what is read must be what would be written. Pure; any thread. */
#ifndef BASE_TEXTBYTES_H
#define BASE_TEXTBYTES_H

#include <stdbool.h>
#include <stddef.h>

enum base64 { BASE64_STANDARD, BASE64_URL }; /* with padding; without */

/* Characters that len bytes become. */
size_t base64_len(enum base64 kind, size_t len);

/* Write len bytes' text to p, not NUL-terminated (2 * len, base64_len characters). Return the end of what was written. */
char *hex_put(char *p, const void *in, size_t len);
char *base64_put(enum base64 kind, char *p, const void *in, size_t len);

/* Read exactly the text of text_len characters. hex: of len bytes. base64: of any number of bytes up to cap, *len says how many
 * (text_len / 4 * 3 + 2 is always enough). False when it is no such text. */
bool hex_get(const char *text, size_t text_len, void *out, size_t len);
bool base64_get(enum base64 kind, const char *text, size_t text_len, void *out, size_t cap, size_t *len);

#endif
