/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files in which an owner's key spaces travel to another machine, or lie in a safe (docs/formats.md 12.3): sealed by a password, or for a certificate. One thread. */
#ifndef CLIENT_KEYFILE_H
#define CLIENT_KEYFILE_H

#include "crypto/keys.h"
#include "crypto/trust.h"

/* For whom: a password, or (password NULL) a certificate in DER, to which own signs. */
struct keyfile_lock {
	const char *password;
	size_t password_len;
	const void *recipient;
	size_t recipient_len;
};

#define KEYFILE_MAX (64u * 1024 * 1024) /* bytes */

/* Seals content: *out of *len bytes for free(). ERR_INVALID: no such password or certificate (an EC key cannot receive one); ERR_NOMEM. */
enum err keyfile_make(const struct keyfile_lock *lock, struct keypair *own, const void *content, size_t content_len, uint8_t **out, size_t *len) MUST_CHECK;
/* Whether it wants a password: 1; no, it is for a certificate: 0; it is no such file: -1. */
int keyfile_wants_password(const void *file, size_t len);
/* Opens it: *content (secret memory) of *content_len bytes. Of one for a certificate the signer must be trusted and have own's CN. ERR_REFUSED, ERR_CORRUPT (the password
 * is another one, or the file was changed), ERR_INVALID; *why tells. */
enum err keyfile_open(const void *file, size_t len, const char *password, size_t password_len, struct keypair *own, struct trust *trust, uint8_t **content,
                      size_t *content_len, const char **why) MUST_CHECK;

#endif
