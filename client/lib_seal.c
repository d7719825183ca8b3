/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sealing, and signing other bytes. One thread at a time. */
#include "client/lib_int.h"

#include "base/secmem.h"
#include "crypto/hash.h"

#include <string.h>

enum sealmq_err sealmq_connected(struct sealmq *h)
{
	enum sealmq_err e = lib_enter(h);
	if (e == SEALMQ_OK)
		stream_start(&h->stream);
	return e;
}

size_t sealmq_sealed_size(const struct sealmq *h, size_t len)
{
	const struct cose_head longest = { .time_ms = COSE_TIME_MAX };
	return len > COSE_PLAIN_MAX ? 0 : cose_size(&longest, len, h->key);
}

static enum sealmq_err current_key(struct sealmq *h, const char *topic, size_t topic_len, struct keyring_key *key)
{
	if (topic_len == 0 || topic_len > TOPIC_MAX)
		return lib_invalid(h, "a topic has 1 to 65535 bytes");
	/* A machine without a clock cannot tell that an epoch is over. */
	enum err e = keyring_current(h->ring, topic, topic_len, lib_wall_ms(h) / 1000, key);
	return e == ERR_OK ? SEALMQ_OK : lib_want_keys(h, topic);
}

/* The next message's place: in the handle's stream, or in a stream of its own. */
static void place(struct sealmq *h, unsigned flags, struct cose_head *head)
{
	struct stream will;
	memcpy(head->sender, h->fingerprint, sizeof head->sender);
	head->time_ms = lib_wall_ms(h);
	if (!(flags & SEALMQ_WILL)) {
		stream_next(&h->stream, head);
		return;
	}
	stream_start(&will);
	stream_next(&will, head);
}

/* The key of the newest epoch for the head's stream: its kid in the head, *signs, and the content key. */
static enum sealmq_err content_key_of(struct sealmq *h, const char *topic, size_t topic_len, struct cose_head *head, enum seal_sign *sign,
                                      uint8_t content[static 32])
{
	struct keyring_key key = { .epoch = 0 };
	struct content_key *slot = lib_content_current(h, topic, topic_len, head);
	if (slot && (slot->about.not_after_s == 0 || lib_wall_ms(h) / 1000 <= slot->about.not_after_s)) {
		memcpy(head->kid, slot->kid, sizeof head->kid);
		memcpy(content, slot->key, 32);
		*sign = slot->about.sign;
		return SEALMQ_OK;
	}
	enum sealmq_err rc = current_key(h, topic, topic_len, &key);
	if (rc != SEALMQ_OK)
		return rc;
	bool hit;
	memcpy(head->kid, key.kid, sizeof head->kid);
	*sign = key.sign;
	cose_content_key(key.topic_key, topic, topic_len, head, content);
	slot = lib_content_slot(h, topic, topic_len, head, &hit);
	if (slot) {
		lib_content_store(slot, topic, topic_len, head, content, &key);
		slot->current = true;
	}
	secmem_wipe(&key, sizeof key);
	return SEALMQ_OK;
}

/* head: its place; the kid is set here. */
static enum sealmq_err seal(struct sealmq *h, const char *topic, const void *plain, size_t len, unsigned flags, struct cose_head *head, void *out,
                            size_t out_cap, size_t *out_len)
{
	uint8_t content[32];
	enum seal_sign sign;
	size_t topic_len = strlen(topic);
	if (len > COSE_PLAIN_MAX)
		return lib_invalid(h, "the payload is too long");
	enum sealmq_err rc = content_key_of(h, topic, topic_len, head, &sign, content);
	if (rc != SEALMQ_OK)
		return rc;
	struct keypair *signer = (flags & SEALMQ_SIGN) || sign == SIGN_REQUIRED ? h->key : NULL;
	enum err e = out_cap < cose_size(head, len, signer) ? ERR_FULL : cose_seal(head, topic, topic_len, content, plain, len, signer, out, out_len);
	secmem_wipe(content, sizeof content);
	return e == ERR_FULL ? SEALMQ_ROOM : lib_of_err(h, e);
}

enum sealmq_err sealmq_seal(struct sealmq *h, const char *topic, const void *plain, size_t len, unsigned flags, void *out, size_t out_cap,
                            size_t *out_len)
{
	struct cose_head head = { .seq = 0 };
	enum sealmq_err rc = lib_enter(h);
	if (rc != SEALMQ_OK)
		return rc;
	place(h, flags, &head);
	return seal(h, topic, plain, len, flags, &head, out, out_cap, out_len);
}

enum sealmq_err lib_seal_kept(struct sealmq *h, const char *topic, const struct lib_place *at, const void *plain, size_t len, unsigned flags, void *out,
                              size_t out_cap, size_t *out_len)
{
	struct cose_head head = { .seq = at->seq, .time_ms = at->time_ms };
	enum sealmq_err rc = lib_enter(h);
	if (rc != SEALMQ_OK)
		return rc;
	memcpy(head.stream, at->stream, sizeof head.stream);
	memcpy(head.sender, h->fingerprint, sizeof head.sender);
	return seal(h, topic, plain, len, flags, &head, out, out_cap, out_len);
}

int sealmq_is_current(struct sealmq *h, const char *topic, const void *message, size_t len)
{
	struct cose m;
	struct keyring_key key;
	const char *why;
	if (lib_enter(h) != SEALMQ_OK || cose_parse(&m, message, len, &why) != ERR_OK)
		return 0;
	bool is = current_key(h, topic, strlen(topic), &key) == SEALMQ_OK && memcmp(key.kid, m.head.kid, sizeof key.kid) == 0;
	secmem_wipe(&key, sizeof key);
	return is;
}

/* ---- signatures of other bytes */

static bool purpose_hash(const char *purpose, const void *data, size_t len, uint8_t out[static HASH_LEN])
{
	size_t n = strlen(purpose);
	if (n < 1 || n > 64)
		return false;
	for (size_t i = 0; i < n; i++)
		if (purpose[i] < 0x20 || purpose[i] > 0x7e)
			return false;
	const struct hash_part parts[] = { HASH_LABEL("sealmq v1 sign"), { purpose, n + 1 }, { data, len } };
	hash_sha256_parts(parts, 3, out);
	return true;
}

enum sealmq_err sealmq_sign(struct sealmq *h, const char *purpose, const void *data, size_t len, uint8_t signature[SEALMQ_SIGNATURE_MAX],
                            size_t *signature_len)
{
	uint8_t hash[HASH_LEN];
	enum sealmq_err rc = lib_enter(h);
	if (rc != SEALMQ_OK)
		return rc;
	if (!purpose_hash(purpose, data, len, hash))
		return lib_invalid(h, "a purpose is 1 to 64 printable ASCII characters");
	return lib_of_err(h, keypair_sign(h->key, SIG_COSE, hash, signature, signature_len));
}

enum sealmq_err sealmq_verify(struct sealmq *h, const char *purpose, const void *data, size_t len, const uint8_t signer[16],
                              const void *signature, size_t signature_len)
{
	uint8_t hash[HASH_LEN];
	enum sealmq_err rc = lib_enter(h);
	if (rc != SEALMQ_OK)
		return rc;
	if (!purpose_hash(purpose, data, len, hash))
		return lib_invalid(h, "a purpose is 1 to 64 printable ASCII characters");
	if (memcmp(signer, h->fingerprint, COSE_SENDER_LEN) == 0)
		return pubkey_verify(keypair_public(h->key), SIG_COSE, hash, signature, signature_len) ? SEALMQ_OK : lib_refuse(h, "the signature does not verify");
	struct peer *p = lib_peer(h, signer);
	if (!p)
		return lib_want_cert(h, signer);
	enum tls_cause cause = lib_peer_judge(h, p);
	if (cause != TLS_CAUSE_NONE)
		return lib_refuse(h, tls_cause_text(cause));
	return pubkey_verify(p->key, SIG_COSE, hash, signature, signature_len) ? SEALMQ_OK : lib_refuse(h, "the signature does not verify");
}
