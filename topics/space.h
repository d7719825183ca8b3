/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Key spaces: which topics they cover, who their members are, which keys they have. A space and a map of spaces are immutable and
 * refcounted; a change makes new ones, and each loop goes over to the new map between packets. So finding takes no lock. */
#ifndef TOPICS_SPACE_H
#define TOPICS_SPACE_H

#include "base/err.h"
#include "topics/history_policy.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum space_mode { SPACE_OPEN = 0, SPACE_BROKER = 1, SPACE_OWNER = 2 };
enum space_sign { SPACE_SIGN_OFF = 0, SPACE_SIGN_OPTIONAL = 1, SPACE_SIGN_REQUIRED = 2 };
enum { SPACE_READ = 1, SPACE_WRITE = 2 };

#define SPACE_KEY_LEN 32u
#define SPACE_KID_LEN 8u
#define SPACE_EPOCHS_MAX 64u          /* the newest; what is older cannot be opened any more */
#define SPACE_NAME_MAX 65527u         /* "$SEALED/" fits before it */

struct space_member {
	const char *cn;                   /* NUL-terminated; owned by the space */
	uint16_t cn_len;
	uint8_t access;                   /* SPACE_READ, SPACE_WRITE */
	bool pinned;                      /* only the certificate of that fingerprint counts */
	uint8_t fingerprint[32];          /* SHA-256; if pinned */
	uint32_t since;                   /* first epoch granted */
};

struct space_epoch {
	uint32_t number;                  /* from 1 */
	uint8_t kid[SPACE_KID_LEN];
	uint64_t made_s;                  /* wall clock */
	uint64_t accept_until_ms;         /* monotonic; of a past epoch: messages under it are taken until then */
	const uint8_t *root;              /* SPACE_KEY_LEN bytes of the space's secret memory; mode owner: NULL */
};

struct space_history {                /* 0: no limit of that kind */
	uint64_t count, age_s, bytes;
	bool given, off;                  /* not given: the configuration rules */
};

/* What a space is made of; members and epochs in any order. Pointers borrow. */
struct space_spec {
	const char *name;
	size_t name_len;
	uint64_t id;                      /* random; names it in the store */
	enum space_mode mode;
	enum space_sign sign;
	bool no_grace;                    /* mode owner: a member was removed since the last epoch */
	bool from_join;                   /* new members get no epoch before they joined */
	const char *owner;
	size_t owner_len;
	uint64_t created_s, rotate_age_s, rotate_count;
	struct space_history history;
	struct space_member *members;     /* sorted by space_new */
	size_t n_members;
	struct space_epoch *epochs;       /* oldest first */
	size_t n_epochs;
};

struct space {
	atomic_uint refs;
	atomic_bool rotate_asked;         /* any loop */
	atomic_uint_fast64_t used;        /* messages under the current epoch since the start; any loop; counted if rotate_count > 0 */
	struct space_spec spec;           /* immutable as all below; what it points to is owned */
	struct history_limits history_limits; /* spec.history, if it keeps something */
	uint8_t *secret;                  /* roots of all epochs, in secret memory; NULL: none */
	char *text;                       /* name, owner, CNs */
};

/* Copies all that spec holds. NULL: out of memory. */
struct space *space_new(const struct space_spec *spec) MUST_CHECK;
struct space *space_ref(struct space *s);
void space_unref(struct space *s);    /* wipes; any thread; NULL is fine */

/* NULL: not a member. */
const struct space_member *space_member(const struct space *s, const char *cn, size_t cn_len);
/* By CN: below, at or above 0, as memcmp(). */
int space_member_order(const struct space_member *a, const struct space_member *b);
static inline const struct space_epoch *space_current(const struct space *s)
{
	return s->spec.n_epochs ? &s->spec.epochs[s->spec.n_epochs - 1] : NULL;
}
/* The number of the current epoch; 0: there is none. */
static inline uint32_t space_epoch_number(const struct space *s)
{
	return s->spec.n_epochs ? s->spec.epochs[s->spec.n_epochs - 1].number : 0;
}
/* NULL: no epoch has that key id. */
const struct space_epoch *space_epoch_of(const struct space *s, const uint8_t kid[static SPACE_KID_LEN]);

struct space_map;

/* A map of n spaces with different names (one reference of each is taken); NULL: out of memory. */
struct space_map *space_map_new(struct space *const *spaces, size_t n) MUST_CHECK;
struct space_map *space_map_ref(struct space_map *m);
void space_map_unref(struct space_map *m); /* any thread; NULL is fine */

size_t space_map_count(const struct space_map *m);
struct space *space_map_at(const struct space_map *m, size_t i);
/* The space of that very name. */
struct space *space_map_get(const struct space_map *m, const void *name, size_t len);
/* The innermost space that covers the topic; NULL: none does. m may be NULL. Topics that begin with '$' are covered by none. */
struct space *space_map_find(const struct space_map *m, const uint8_t *topic, size_t len);
/* Does some covered topic match filter? */
bool space_map_overlaps(const struct space_map *m, const uint8_t *filter, size_t len);

/* Can a topic that matches filter have a past because its space says so? May say yes in vain. */
bool space_map_keeps_past(const struct space_map *m, const uint8_t *filter, size_t len);

/* Who may have a subscription to filter (without $share): ALLOWED if they may read in some space that has topics in common with it, DENIED if it lies
 * within a space and they may not, else ELSEWHERE: other rules say. */
enum space_verdict { SPACE_ALLOWED, SPACE_DENIED, SPACE_ELSEWHERE };
enum space_verdict space_map_judge(const struct space_map *m, const uint8_t *filter, size_t len, const char *cn, size_t cn_len);

#endif
