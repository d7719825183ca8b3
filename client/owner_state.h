/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An owner's key spaces on disk: one file of the vault "owner" for each (client/vaultfile; its content: docs/formats.md 12.2). One thread. */
#ifndef CLIENT_OWNER_STATE_H
#define CLIENT_OWNER_STATE_H

#include "client/owner_space.h"
#include "client/vaultfile.h"

#define OWNER_VAULT "owner"

/* The space of that topic. ERR_NOT_FOUND: this identity owns none here; else as vault_read, and error says what is wrong. */
enum err owner_state_load(const struct vault *v, const char *topic, struct owner_space **out, char error[static VAULT_ERROR_MAX]) MUST_CHECK;
/* By the file's name, as vault_each gives it. */
enum err owner_state_load_file(const struct vault *v, const char *name, struct owner_space **out, char error[static VAULT_ERROR_MAX]) MUST_CHECK;
/* own: SHA-256 of the owner's certificate. On disk when this returns. */
enum err owner_state_save(const struct vault *v, const struct owner_space *s, const uint8_t own[static 32], char error[static VAULT_ERROR_MAX]) MUST_CHECK;
enum err owner_state_remove(const struct vault *v, const char *topic, char error[static VAULT_ERROR_MAX]) MUST_CHECK;

/* The content of such a file: *out (secret memory) of *len bytes. */
enum err owner_state_format(const struct owner_space *s, const uint8_t own[static 32], uint8_t **out, size_t *len) MUST_CHECK;
/* ERR_INVALID, *why tells; ERR_NOMEM. */
enum err owner_state_parse(struct owner_space **out, const uint8_t *content, size_t len, const char **why) MUST_CHECK;

#endif
