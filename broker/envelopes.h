/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Envelopes for members: made (mode broker) and remembered up to a bound, or uploaded by the owner (mode owner) and kept. Registrar's thread. */
#ifndef BROKER_ENVELOPES_H
#define BROKER_ENVELOPES_H

#include "broker/directory.h"
#include "crypto/keys.h"
#include "topics/space.h"

struct envelopes;
struct envelopes *envelopes_new(void) MUST_CHECK;
void envelopes_free(struct envelopes *e); /* NULL is fine */

/* The envelope of a space of mode broker for a member with that certificate, signed by signer whose certificate's fingerprint is server; borrowed
 * until the next call. ERR_INVALID: the certificate's key cannot receive one, or there is no signer; *why tells. ERR_NOMEM. */
enum err envelopes_make(struct envelopes *e, const struct space *s, const struct space_member *m, const struct known *to, struct keypair *signer,
                        const uint8_t server[static 32], const uint8_t **der, size_t *len, const char **why) MUST_CHECK;

/* One that the owner has uploaded for epoch of space id: kept (replacing the one for that certificate), der copied. ERR_NOMEM. */
enum err envelopes_put(struct envelopes *e, uint64_t id, uint32_t epoch, const uint8_t fingerprint[static 32], const uint8_t *der,
                       size_t len) MUST_CHECK;
/* False: there is none of that epoch. */
bool envelopes_get(const struct envelopes *e, uint64_t id, uint32_t epoch, const uint8_t fingerprint[static 32], const uint8_t **der, size_t *len);
/* Calls fn for each uploaded one of space id whose epoch is below, at, or above (-1, 0, 1) epoch; fn may not change them. */
void envelopes_each(struct envelopes *e, uint64_t id, uint32_t epoch, int where,
                    void (*fn)(void *arg, uint32_t epoch, const uint8_t fingerprint[static 32], const uint8_t *der, size_t len), void *arg);
/* Forgets those of space id below epoch. */
void envelopes_forget(struct envelopes *e, uint64_t id, uint32_t epoch);

#endif
