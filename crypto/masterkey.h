/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The master key: a small file whose key wraps the roots of all key spaces (docs/formats.md 5). The store holds its id and check value,
 * so that a missing or wrong file is noticed; making a new one is never automatic. Start-up and reload only. */
#ifndef CRYPTO_MASTERKEY_H
#define CRYPTO_MASTERKEY_H

#include "base/err.h"
#include "crypto/keytree.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MASTERKEY_ID_LEN 8u
#define MASTERKEY_CHECK_LEN 16u
#define MASTERKEY_TEXT_LEN 86u   /* bytes of the file */
#define MASTERKEY_WRAPPED_LEN 60u /* nonce 12, wrapped root 32, tag 16 */

/* Keep it in secret memory (base/secmem). */
struct masterkey {
	uint8_t key[32];
	uint8_t id[MASTERKEY_ID_LEN];       /* follows from the key; not secret */
	uint8_t check[MASTERKEY_CHECK_LEN]; /* follows from the key; not secret */
};

/* What a wrapped root is for. */
enum masterkey_purpose { MASTERKEY_STORE_ROOT = 1, MASTERKEY_EPOCH_ROOT = 2 };

struct masterkey_label {
	const char *space;               /* the key space's name */
	size_t space_len;                /* bytes, at most 65,535 */
	uint32_t epoch;                  /* 0 for a store root */
	uint8_t kid[KEYTREE_KID_LEN];    /* zeros for a store root */
	enum masterkey_purpose purpose;
};

void masterkey_new(struct masterkey *out);
/* The file's content, not NUL-terminated. Wipe it after use. */
void masterkey_format(const struct masterkey *k, char out[static MASTERKEY_TEXT_LEN]);
/* ERR_INVALID when text is not exactly such a file's content. */
enum err masterkey_parse(struct masterkey *out, const void *text, size_t len) MUST_CHECK;
/* Whether this is the key whose id and check value the store holds. Constant time. */
bool masterkey_is(const struct masterkey *k, const uint8_t id[static MASTERKEY_ID_LEN], const uint8_t check[static MASTERKEY_CHECK_LEN]);

/* Wraps a root key, bound to its label. ERR_INVALID: space_len. */
enum err masterkey_wrap(const struct masterkey *k, const struct masterkey_label *label, const uint8_t root[static KEYTREE_KEY_LEN],
                        uint8_t out[static MASTERKEY_WRAPPED_LEN]) MUST_CHECK;
/* ERR_CORRUPT: not wrapped by this key under this label. */
enum err masterkey_unwrap(const struct masterkey *k, const struct masterkey_label *label, const uint8_t wrapped[static MASTERKEY_WRAPPED_LEN],
                          uint8_t root[static KEYTREE_KEY_LEN]) MUST_CHECK;

/* Makes a new key and its file, which must not exist (mode 0600; file and directory are synced before this returns).
 * ERR_EXISTS, ERR_IO (errno). */
enum err masterkey_create(const char *path, struct masterkey *out) MUST_CHECK;
/* ERR_NOT_FOUND, ERR_IO (errno), ERR_INVALID (not a key file), ERR_REFUSED (group or others may read or write it). */
enum err masterkey_load(const char *path, struct masterkey *out) MUST_CHECK;
/* Renames from to path and syncs the directory: the last step of a rotation. ERR_IO (errno), ERR_NOMEM. */
enum err masterkey_replace(const char *from, const char *path) MUST_CHECK;

#endif
