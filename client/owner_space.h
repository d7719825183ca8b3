/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A key space as its owner keeps it (mode owner): root keys, members with their certificates, the signed list of them, and how much of it the broker has got.
 * In memory, with its rules; client/owner_state puts it on disk, client/owner_sync brings it to the broker. Root keys lie in secret memory. One thread. */
#ifndef CLIENT_OWNER_SPACE_H
#define CLIENT_OWNER_SPACE_H

#include "crypto/keyset.h"
#include "crypto/memberlist.h"

#include <stdbool.h>

struct owner_member {
	char *cn;
	unsigned access;         /* MEMBER_READ, MEMBER_WRITE */
	uint32_t since, until;   /* epochs; until 0: a member now */
	uint8_t *der;            /* the certificate; NULL: not known yet (it has not connected), so there is no key for it yet */
	size_t der_len;
	uint8_t fingerprint[32];
	bool pinned;             /* named by its certificate: the broker is told so, too */
};

struct owner_epoch {
	uint32_t number;
	uint8_t kid[KEYTREE_KID_LEN], root[KEYTREE_KEY_LEN];
	uint64_t made_s;
};

struct owner_space {
	char *topic, *settings;      /* settings: what else createTopic is to say (a JSON object), or NULL */
	enum seal_sign sign;
	bool from_join;              /* new members get keys from their joining on */
	uint64_t list_number;
	uint8_t *list;               /* the signed list of that number; for pool_free */
	size_t list_len;
	struct owner_member *members;
	size_t n_members;
	struct owner_epoch *epochs;  /* oldest first, KEYSET_EPOCHS_MAX at most; secret memory */
	size_t n_epochs;
	bool created, deleting;      /* the broker knows it; it is to forget it */
	uint32_t sent_epoch;         /* what the broker has confirmed: envelopes of that epoch, with that list */
	uint64_t sent_list;
};

/* A space of the first epoch, without members. NULL: no memory. */
struct owner_space *owner_space_new(const char *topic, enum seal_sign sign, bool from_join) MUST_CHECK;
void owner_space_free(struct owner_space *s); /* wipes; NULL is fine */

const struct owner_epoch *owner_current(const struct owner_space *s);
/* Who is a member of that name now; NULL: nobody. */
struct owner_member *owner_member(const struct owner_space *s, const char *cn);
/* Whether somebody of that name was a member, and is none now. */
bool owner_was_member(const struct owner_space *s, const char *cn);

/* The changes. Each may turn the epoch; owner_publish makes the list that says so. ERR_NOMEM: nothing was changed.
 * owner_turn: a new epoch, for whatever reason. The oldest of 64 is forgotten. */
enum err owner_turn(struct owner_space *s) MUST_CHECK;
/* A member is added, or gets another access or certificate. der NULL: its certificate is not known, or stays. Turns the epoch when somebody is to lose
 * something by it (a certificate that is replaced, the right to write) and when new members start with their joining. *changed: whether it did anything. */
enum err owner_put(struct owner_space *s, const char *cn, unsigned access, const void *der, size_t der_len, bool *changed) MUST_CHECK;
/* Turns the epoch. ERR_NOT_FOUND: not a member. */
enum err owner_drop(struct owner_space *s, const char *cn) MUST_CHECK;

/* Makes the next list of members, signed. ERR_FULL: they do not fit into a list. */
enum err owner_publish(struct owner_space *s, struct keypair *own, uint64_t now_s) MUST_CHECK;
/* The envelope for a member with a certificate: the epochs that it may have, and the list; *out for free(). ERR_INVALID: its key cannot receive one (EC). */
enum err owner_envelope(const struct owner_space *s, const struct owner_member *m, struct keypair *own, uint8_t **out, size_t *len) MUST_CHECK;

/* The keys of all epochs as an envelope's content for recipient (docs/formats.md 3.3), newest first; *json for secmem_free. */
enum err owner_keys(const struct owner_space *s, const uint8_t issuer[static 32], const uint8_t recipient[static 32], char **json, size_t *len) MUST_CHECK;
/* Takes epochs from such a content: those that s has not. ERR_INVALID, *why tells. */
enum err owner_take_keys(struct owner_space *s, const void *json, size_t len, const char **why) MUST_CHECK;

#endif
