/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The keys behind the store: the master key (a file) and the root under which stored messages are sealed (in the store, wrapped).
 * Opened by the main thread before loops and store run; immutable afterwards. */
#ifndef BROKER_VAULT_H
#define BROKER_VAULT_H

#include "conf/conf.h"
#include "crypto/masterkey.h"
#include "store/store.h"

#include <stdio.h>

struct vault;

/* Loads the configured master key file, or the one beside it that an interrupted rotation left. A missing file is not an error yet:
 * vault_unlock decides, when the store says whether it has been used before. NULL: error is filled. */
struct vault *vault_new(const struct conf *conf, char *error, size_t error_len) MUST_CHECK;
void vault_free(struct vault *v); /* wipes */

/* For store_options.crypto; valid as long as v, usable after vault_unlock. */
const struct store_crypto *vault_crypto(struct vault *v);

/* Unwraps the store's root, or makes one (and the key file, if there is none) for a store that has none yet. A missing or wrong
 * key file is ERR_REFUSED, and nothing was changed. */
enum err vault_unlock(struct vault *v, struct store *s, char *error, size_t error_len) MUST_CHECK;

/* A key space's root under the master key, and back; after vault_unlock. Any thread. ERR_CORRUPT: not wrapped under that label. */
enum err vault_wrap(const struct vault *v, const struct masterkey_label *label, const uint8_t root[static KEYTREE_KEY_LEN],
                    uint8_t out[static MASTERKEY_WRAPPED_LEN]) MUST_CHECK;
enum err vault_unwrap(const struct vault *v, const struct masterkey_label *label, const uint8_t wrapped[static MASTERKEY_WRAPPED_LEN],
                      uint8_t root[static KEYTREE_KEY_LEN]) MUST_CHECK;

/* A small value for the store, sealed under the store's root together with its name, so that none is changed or put in another's place unnoticed.
 * seal: *out_len bytes, for free(); NULL: out of memory. Any thread, after vault_unlock. */
uint8_t *vault_seal_value(struct vault *v, const char *name, const void *value, size_t len, size_t *out_len) MUST_CHECK;
/* The reverse: *out is for free(). ERR_CORRUPT: not sealed under that name. ERR_NOMEM. */
enum err vault_open_value(const struct vault *v, const char *name, const void *sealed, size_t len, uint8_t **out, size_t *out_len) MUST_CHECK;

/* sealmqd --rotate-master-key: a new master key, the root wrapped anew. No broker may be running on the store. Interrupted anywhere, the next
 * start finds the key that fits. */
enum err vault_rotate(const struct conf *conf, char *error, size_t error_len) MUST_CHECK;

/* sealmqd --check-store: verifies read-only, messages' contents too if the master key fits, and prints what the store holds. */
enum err vault_check_store(const struct conf *conf, FILE *out) MUST_CHECK;

#endif
