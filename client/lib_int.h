/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of libsealmq share. Private to client/. */
#ifndef CLIENT_LIB_INT_H
#define CLIENT_LIB_INT_H

#include "client/sealmq.h"

#include "base/siphash.h"
#include "crypto/keyring.h"
#include "crypto/keys.h"
#include "crypto/memberlist.h"
#include "crypto/replay.h"
#include "crypto/stream.h"
#include "crypto/trust.h"

#include <stdbool.h>

#define TOPIC_MAX 65535u          /* bytes */
#define PEER_RECHECK_MS 60000u    /* a sender's certificate is judged anew after that: dates pass, lists become stale */
#define CONTENT_KEYS 256u         /* slots of the cache; a power of two */
#define CONTENT_TOPIC_MAX 104u    /* bytes; messages of topics with longer names derive their key each time */

/* A certificate that the authorities vouched for when it was taken. */
struct peer {
	struct peer *next;
	struct pubkey *key;
	uint8_t fingerprint[32];
	struct cert cert;         /* views into der */
	uint64_t judged_ms;       /* steady clock */
	enum tls_cause cause;     /* what was found then */
	char cn[IDENTITY_CN_MAX + 1];
	uint8_t der[];
};

/* The content key of one stream in one topic, so that each message costs no derivation. */
struct content_key {
	bool used;
	bool current;             /* filled by sealing: the key of the newest epoch */
	uint8_t topic_len;
	char topic[CONTENT_TOPIC_MAX];
	uint8_t kid[KEYTREE_KID_LEN], stream[COSE_STREAM_LEN], sender[COSE_SENDER_LEN];
	uint8_t key[32];
	struct keyring_key about; /* of the epoch; without the topic's key */
};

#define PEER_BUCKETS 256u

struct sealmq {
	long pid;
	struct keypair *key;
	char cn[IDENTITY_CN_MAX + 1];
	uint8_t fingerprint[32];
	char *cafile, *crlfile;
	struct trust *trust;
	struct keyring *ring;
	struct space_list *lists; /* of members, by their owners: lib_list.c */
	struct replay *replay;
	struct stream stream;
	struct peer *peers[PEER_BUCKETS]; /* by the fingerprint's first byte */
	struct siphash_key hash;
	struct content_key *cache;        /* CONTENT_KEYS, secret memory */
	bool has_clock;
	const char *reason;
	char reason_text[160];
	char *wanted;                     /* heap; room for the longest */
	char sender[IDENTITY_CN_MAX + 1];
};

/* The check that begins every call: the handle is this process's. Clears reason and wanted. */
enum sealmq_err lib_enter(struct sealmq *h);
enum sealmq_err lib_refuse(struct sealmq *h, const char *why);
enum sealmq_err lib_invalid(struct sealmq *h, const char *why);
enum sealmq_err lib_want_keys(struct sealmq *h, const char *topic);
enum sealmq_err lib_want_cert(struct sealmq *h, const uint8_t fingerprint[static COSE_SENDER_LEN]);
enum sealmq_err lib_of_err(struct sealmq *h, enum err e); /* for what has no reason of its own */

uint64_t lib_wall_ms(const struct sealmq *h); /* 0: no clock */

/* The peer whose fingerprint begins with these bytes; NULL: not known. */
struct peer *lib_peer(struct sealmq *h, const uint8_t fingerprint[static COSE_SENDER_LEN]);
/* Whether its certificate is trusted now. */
enum tls_cause lib_peer_judge(struct sealmq *h, struct peer *p);
/* Adds a certificate in DER that the authorities vouch for; *out may be one that was known. */
enum sealmq_err lib_peer_add(struct sealmq *h, const void *der, size_t len, struct peer **out);
struct peer *lib_peer_named(struct sealmq *h, struct der ski, struct der issuer, struct der serial);
void lib_peers_free(struct sealmq *h);
void lib_peers_forget_judgement(struct sealmq *h);

/* The list of members that came with an envelope of signer's. ERR_REFUSED, *why tells. *out (may be NULL: there is none) is given to lib_list_keep when the
 * keys are taken, or to pool_free. */
enum err lib_list_check(struct sealmq *h, const struct keyset *set, const struct peer *signer, struct memberlist **out, const char **why);
void lib_list_keep(struct sealmq *h, struct memberlist *take);
/* Why the owner's list forbids that this certificate has sent to the topic in that epoch; NULL: it does not, or there is none. *gone: is no member any more. */
const char *lib_list_refuses(const struct sealmq *h, const char *topic, size_t topic_len, const uint8_t fingerprint[static 32], const char *cn, uint32_t epoch,
                             bool *gone);
uint64_t lib_list_number(const struct sealmq *h, const char *space, size_t len); /* 0: none is known */
void lib_lists_free(struct sealmq *h);

/* The cache's slot for a message: *hit says that it holds its key; if not, the caller may fill it by lib_content_store.
 * NULL: the topic is too long for one. */
struct content_key *lib_content_slot(struct sealmq *h, const char *topic, size_t topic_len, const struct cose_head *head, bool *hit);
void lib_content_store(struct content_key *c, const char *topic, size_t topic_len, const struct cose_head *head, const uint8_t key[static 32],
                       const struct keyring_key *about);
/* The slot with the key to seal under for the head's stream and sender, or NULL. */
struct content_key *lib_content_current(struct sealmq *h, const char *topic, size_t topic_len, const struct cose_head *head);
void lib_content_flush(struct sealmq *h); /* the keyring has changed */

/* ---- for the command line, which keeps messages over restarts */

/* A message's own: kept with its plain text, never for another one. So it can be sealed again: to the same bytes (but for a signature's) under the same
 * epoch, and as the same message under a later one. */
struct lib_place { uint8_t stream[COSE_STREAM_LEN]; uint64_t seq, time_ms; };
/* As sealmq_seal, for a message that has its place. */
enum sealmq_err lib_seal_kept(struct sealmq *h, const char *topic, const struct lib_place *at, const void *plain, size_t len, unsigned flags, void *out,
                              size_t out_cap, size_t *out_len) MUST_CHECK;

#endif
