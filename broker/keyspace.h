/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Changing a key space: a draft is a copy that is edited and becomes a new, immutable space; and the form in which the store keeps
 * one (docs/store.md), its roots wrapped under the master key. Registrar's thread, or the main thread before it runs. */
#ifndef BROKER_KEYSPACE_H
#define BROKER_KEYSPACE_H

#include "broker/vault.h"
#include "topics/space.h"

#define KEYSPACE_STORE_PREFIX "space/"
#define KEYSPACE_STORE_NAME 32U /* bytes that hold a space's name in the store */

/* spec's texts borrow: from the space that it came from, or from the caller, until draft_finish. */
struct draft {
	struct space_spec spec;
	struct space *from;                       /* one reference; NULL: a new one */
	struct space_member *members;             /* spec.members */
	size_t cap;
	struct space_epoch epochs[SPACE_EPOCHS_MAX]; /* spec.epochs */
	uint8_t *root;                            /* of the epoch that was added; secret memory */
};

/* A copy of from, or (NULL) an empty one with a new id. ERR_NOMEM. */
enum err draft_begin(struct draft *d, struct space *from) MUST_CHECK;
/* Adds a member. One of its CN may be there already: draft_unite_members then makes one of them. ERR_NOMEM. */
enum err draft_add_member(struct draft *d, const struct space_member *m) MUST_CHECK;
/* Of members of one CN one stays: as the last one says, with the first epoch of the first one. Sorted by CN. ERR_NOMEM: the draft is as it was. */
enum err draft_unite_members(struct draft *d) MUST_CHECK;
/* These n members of different CNs, in place of all others. ERR_NOMEM. */
enum err draft_set_members(struct draft *d, const struct space_member *list, size_t n) MUST_CHECK;
bool draft_remove_member(struct draft *d, const char *cn, size_t cn_len);
/* A new current epoch with a random kid, and (mode broker) a random root; the one before is accepted until that monotonic time.
 * Drops the oldest of more than SPACE_EPOCHS_MAX. ERR_NOMEM. */
enum err draft_turn(struct draft *d, uint64_t wall_s, uint64_t accept_until_ms) MUST_CHECK;
/* The same with the kid that the owner has chosen. */
void draft_turn_owner(struct draft *d, const uint8_t kid[static SPACE_KID_LEN], uint64_t wall_s, uint64_t accept_until_ms);
/* The new space, or NULL when out of memory. The draft is freed either way. */
struct space *draft_finish(struct draft *d) MUST_CHECK;
void draft_drop(struct draft *d);

/* "space/<id>" */
void keyspace_store_name(const struct space *s, char out[static KEYSPACE_STORE_NAME]);
/* What the store keeps: a text for free(). NULL: out of memory. */
char *keyspace_encode(const struct space *s, struct vault *v) MUST_CHECK;
/* The reverse. ERR_CORRUPT, ERR_NOMEM. */
enum err keyspace_decode(const void *value, size_t len, struct vault *v, struct space **out) MUST_CHECK;

/* Lower-case hexadecimal digits, NUL-terminated: 2 × len + 1 bytes; and the reverse, which wants exactly 2 × len digits. */
void hex_write(char *out, const uint8_t *p, size_t len);
bool hex_read(const char *text, uint8_t *out, size_t len);
const char *keyspace_mode_text(enum space_mode m);
const char *keyspace_sign_text(enum space_sign s);
const char *keyspace_access_text(unsigned access);
bool keyspace_mode_of(const char *text, enum space_mode *out);
bool keyspace_sign_of(const char *text, enum space_sign *out);
bool keyspace_access_of(const char *text, uint8_t *out);

#endif
