/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Taking envelopes, and what a handle knows of key spaces. One thread at a time. */
#include "client/lib_int.h"

#include "base/pool.h"
#include "base/secmem.h"
#include "crypto/envelope.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whose signature it says to have, if that one may be trusted: known already, or sent along. */
static enum sealmq_err signer_of(struct sealmq *h, const struct envelope *e, struct peer **out)
{
	if (!der_empty(e->certificate)) {
		enum sealmq_err rc = lib_peer_add(h, e->certificate.p, der_len(e->certificate), out);
		if (rc != SEALMQ_OK)
			return rc;
	} else {
		*out = lib_peer_named(h, e->signer.ski, e->signer.issuer, e->signer.serial);
		if (!*out)
			return lib_refuse(h, "the issuer's certificate is neither sent along nor known");
	}
	enum tls_cause cause = lib_peer_judge(h, *out);
	if (cause == TLS_CAUSE_NONE)
		return SEALMQ_OK;
	snprintf(h->reason_text, sizeof h->reason_text, "the issuer: %s", tls_cause_text(cause));
	return lib_refuse(h, h->reason_text);
}

static enum sealmq_err take_set(struct sealmq *h, const char *topic, const struct peer *signer, const uint8_t *json, size_t len)
{
	struct keyset *set;
	struct memberlist *list = NULL;
	const char *why = "out of memory";
	enum err e = keyset_parse(&set, json, len, &why);
	if (e == ERR_OK) {
		e = lib_list_check(h, set, signer, &list, &why);
		if (e == ERR_OK)
			e = keyring_take(h->ring, set, signer->fingerprint, topic, topic ? strlen(topic) : 0, &why);
		secmem_free(set);
	}
	if (e == ERR_OK)
		lib_list_keep(h, list);
	else
		pool_free(list);
	if (e != ERR_OK)
		return e == ERR_NOMEM ? SEALMQ_NOMEM : lib_refuse(h, why);
	lib_content_flush(h);
	return SEALMQ_OK;
}

enum sealmq_err sealmq_take_keys(struct sealmq *h, const char *topic, const void *envelope, size_t len)
{
	struct envelope parsed;
	struct peer *signer;
	const char *why;
	size_t content_len;
	enum sealmq_err rc = lib_enter(h);
	if (rc != SEALMQ_OK)
		return rc;
	if (envelope_parse(&parsed, envelope, len, &why) != ERR_OK)
		return lib_refuse(h, why);
	rc = signer_of(h, &parsed, &signer);
	if (rc != SEALMQ_OK)
		return rc;
	if (envelope_verify(&parsed, &signer->cert, signer->key, &why) != ERR_OK)
		return lib_refuse(h, why);
	uint8_t *content = secmem_alloc(der_len(parsed.sealed) + 1);
	if (!content)
		return SEALMQ_NOMEM;
	enum err e = envelope_open(&parsed, h->key, content, &content_len, &why);
	rc = e == ERR_OK ? take_set(h, topic, signer, content, content_len) : e == ERR_NOMEM ? SEALMQ_NOMEM : lib_refuse(h, why);
	secmem_free(content);
	return rc;
}

enum sealmq_err sealmq_pin(struct sealmq *h, const char *space, const uint8_t issuer[32], enum sealmq_mode mode, enum sealmq_policy sign,
                           uint32_t epoch)
{
	enum sealmq_err rc = lib_enter(h);
	size_t len = strlen(space);
	if (rc != SEALMQ_OK)
		return rc;
	if (len > TOPIC_MAX || (len > 0 && (!keytree_grantable(space, len) || space[len - 1] == '#')))
		return lib_invalid(h, "a key space is named by a topic without '+' and '#', not beginning with '$'");
	if ((mode != SEALMQ_BROKER && mode != SEALMQ_OWNER) || (unsigned)sign > SEALMQ_SIGN_REQUIRED)
		return lib_invalid(h, "no such mode or signature policy");
	/* The two enums have the same values. */
	enum err e = keyring_pin(h->ring, space, len, issuer, (enum seal_mode)mode, (enum seal_sign)sign, epoch);
	lib_content_flush(h);
	return e == ERR_EXISTS ? lib_refuse(h, "the key space is known otherwise") : lib_of_err(h, e);
}

static enum sealmq_err describe(const struct sealmq *h, const struct keyring_space *s, struct sealmq_space *out)
{
	out->name = strndup(s->name, s->name_len);
	if (!out->name)
		return SEALMQ_NOMEM;
	memcpy(out->issuer, s->issuer, sizeof out->issuer);
	out->mode = (enum sealmq_mode)s->mode;
	out->sign = (enum sealmq_policy)s->sign;
	out->epoch = s->epoch;
	out->not_after_s = s->not_after_s;
	out->members = lib_list_number(h, s->name, s->name_len);
	return SEALMQ_OK;
}

enum sealmq_err sealmq_space_of(struct sealmq *h, const char *topic, struct sealmq_space *out)
{
	struct keyring_space s;
	enum sealmq_err rc = lib_enter(h);
	if (rc != SEALMQ_OK)
		return rc;
	if (strlen(topic) > TOPIC_MAX)
		return lib_invalid(h, "the topic is too long");
	if (keyring_space(h->ring, topic, strlen(topic), &s) != ERR_OK)
		return lib_want_keys(h, topic);
	return describe(h, &s, out);
}

enum sealmq_err sealmq_space_at(struct sealmq *h, size_t i, struct sealmq_space *out)
{
	struct keyring_space s;
	enum sealmq_err rc = lib_enter(h);
	if (rc != SEALMQ_OK)
		return rc;
	if (keyring_space_at(h->ring, i, &s) != ERR_OK)
		return lib_invalid(h, "so many key spaces are not known");
	return describe(h, &s, out);
}

/* ---- content keys */

static struct content_key *slot_of(struct sealmq *h, const char *topic, size_t topic_len, const struct cose_head *head)
{
	uint64_t stream;
	memcpy(&stream, head->stream, sizeof stream);
	return &h->cache[(siphash13(&h->hash, topic, topic_len) ^ stream) % CONTENT_KEYS];
}

struct content_key *lib_content_slot(struct sealmq *h, const char *topic, size_t topic_len, const struct cose_head *head, bool *hit)
{
	*hit = false;
	if (topic_len > CONTENT_TOPIC_MAX)
		return NULL;
	struct content_key *c = slot_of(h, topic, topic_len, head);
	*hit = c->used && c->topic_len == topic_len && memcmp(c->topic, topic, topic_len) == 0 && memcmp(c->kid, head->kid, sizeof c->kid) == 0 &&
	       memcmp(c->stream, head->stream, sizeof c->stream) == 0 && memcmp(c->sender, head->sender, sizeof c->sender) == 0;
	return c;
}

void lib_content_store(struct content_key *c, const char *topic, size_t topic_len, const struct cose_head *head, const uint8_t key[static 32],
                       const struct keyring_key *about)
{
	c->used = true;
	c->current = false;
	c->topic_len = (uint8_t)topic_len;
	memcpy(c->topic, topic, topic_len);
	memcpy(c->kid, head->kid, sizeof c->kid);
	memcpy(c->stream, head->stream, sizeof c->stream);
	memcpy(c->sender, head->sender, sizeof c->sender);
	memcpy(c->key, key, sizeof c->key);
	c->about = *about;
	secmem_wipe(c->about.topic_key, sizeof c->about.topic_key);
}

struct content_key *lib_content_current(struct sealmq *h, const char *topic, size_t topic_len, const struct cose_head *head)
{
	struct content_key *c = topic_len <= CONTENT_TOPIC_MAX ? slot_of(h, topic, topic_len, head) : NULL;
	bool is = c && c->used && c->current && c->topic_len == topic_len && memcmp(c->topic, topic, topic_len) == 0 &&
	          memcmp(c->stream, head->stream, sizeof c->stream) == 0 && memcmp(c->sender, head->sender, sizeof c->sender) == 0;
	return is ? c : NULL;
}

void lib_content_flush(struct sealmq *h)
{
	secmem_wipe(h->cache, CONTENT_KEYS * sizeof *h->cache);
}
