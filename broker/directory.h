/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The certificates that the registrar knows: of clients whose handshake brought them, and of members that were added with theirs. All were
 * verified against the authorities then. Kept in the store as cert/<fingerprint>. Registrar's thread. */
#ifndef BROKER_DIRECTORY_H
#define BROKER_DIRECTORY_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIRECTORY_STORE_PREFIX "cert/"

struct known {
	uint8_t fingerprint[32];
	const char *cn;     /* NUL-terminated */
	size_t cn_len;
	const uint8_t *der;
	size_t der_len;
};

struct directory;
struct directory *directory_new(void) MUST_CHECK;
void directory_free(struct directory *d); /* NULL is fine */

/* Adds a certificate, which becomes its CN's latest; *added: it was not known. ERR_INVALID: no identity can be read from it. ERR_NOMEM. */
enum err directory_add(struct directory *d, const uint8_t *der, size_t len, bool *added) MUST_CHECK;
/* NULL: not known. prefix: the first bytes of the fingerprint, 16 or 32. */
const struct known *directory_find(const struct directory *d, const uint8_t fingerprint[static 32]);
const struct known *directory_find_prefix(const struct directory *d, const uint8_t prefix[static 16]);
const struct known *directory_latest(const struct directory *d, const char *cn, size_t cn_len);

#endif
