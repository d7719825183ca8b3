/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files that only one identity can read or write: sealed under its private key (crypto/ownseal, docs/formats.md 11), replaced as a whole, on disk when
 * a call returns. For an owner's keys, an outbox, and whatever else a command keeps between runs. They lie in
 *
 *   $XDG_DATA_HOME/sealmq/<kind>/<id of the key>/     (~/.local/share/… without XDG_DATA_HOME), folders of mode 0700, files of mode 0600
 *
 * One process at a time has a vault open. One thread. */
#ifndef CLIENT_VAULTFILE_H
#define CLIENT_VAULTFILE_H

#include "crypto/keys.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vault;

#define VAULT_ERROR_MAX 512u /* bytes */

/* Opens the folder of one kind ("owner", "outbox": also a part of what its files are sealed for) for the identity of k, making it as needed, and waits until
 * no other process has it open. k is not used afterwards. NULL: error says what is wrong with which file. */
struct vault *vault_open(const char *kind, struct keypair *k, char error[static VAULT_ERROR_MAX]) MUST_CHECK;
void vault_close(struct vault *v); /* NULL is fine */
/* Whether any identity of this user has ever opened one of that kind. */
bool vault_any(const char *kind);
const char *vault_folder(const struct vault *v);

/* A file's name is 1 to 255 characters of [a-z0-9._-], and is part of what it is sealed for: one file cannot be put in another's place.
 * Contents are of 0 to VAULT_FILE_MAX bytes. On failure error says what is wrong with which file:
 * ERR_NOT_FOUND, ERR_CORRUPT (damaged, or sealed for another place), ERR_REFUSED (sealed by another identity), ERR_INVALID (not such a file, or of a newer
 * version), ERR_IO, ERR_NOMEM. What was in the file before a failed vault_write is still there. */
#define VAULT_FILE_MAX (64u * 1024 * 1024)
enum err vault_read(const struct vault *v, const char *name, uint8_t **content, size_t *len, char error[static VAULT_ERROR_MAX]) MUST_CHECK; /* secret memory */
enum err vault_write(const struct vault *v, const char *name, const void *content, size_t len, char error[static VAULT_ERROR_MAX]) MUST_CHECK;
enum err vault_remove(const struct vault *v, const char *name, char error[static VAULT_ERROR_MAX]) MUST_CHECK;
/* Calls fn with the name of each file, in the names' order, until it returns false; fn may write and remove. ERR_IO, ERR_NOMEM. */
enum err vault_each(const struct vault *v, bool (*fn)(void *arg, const char *name), void *arg, char error[static VAULT_ERROR_MAX]) MUST_CHECK;

#endif
