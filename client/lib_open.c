/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Receiving: the checks of docs/formats.md 4.3, in their order. One thread at a time. */
#include "client/lib_int.h"

#include "base/clock.h"
#include "base/secmem.h"

#include <stdio.h>
#include <string.h>

/* One message on its way through the checks. */
struct receipt {
	const char *topic;
	size_t topic_len;
	unsigned flags;
	struct cose m;
	struct keyring_key about; /* of the kid's epoch */
	uint8_t content_key[32];
	struct replay_clock now;
	enum verdict window;      /* what the windows say */
	struct peer *peer;        /* the sender; NULL: this member itself */
	bool revoked;
	bool gone;                /* no member any more, by the owner's list */
};

/* The kid's epoch and the message's content key, out of the cache or the keyring. */
static enum sealmq_err find_key(struct sealmq *h, struct receipt *r)
{
	bool hit;
	struct content_key *slot = lib_content_slot(h, r->topic, r->topic_len, &r->m.head, &hit);
	if (hit) {
		r->about = slot->about;
		memcpy(r->content_key, slot->key, sizeof r->content_key);
		return SEALMQ_OK;
	}
	enum err e = keyring_find(h->ring, r->topic, r->topic_len, r->m.head.kid, &r->about);
	if (e == ERR_NOT_FOUND)
		return lib_want_keys(h, r->topic);
	if (e != ERR_OK)
		return lib_refuse(h, "the key id is another key space's");
	cose_content_key(r->about.topic_key, r->topic, r->topic_len, &r->m.head, r->content_key);
	secmem_wipe(r->about.topic_key, sizeof r->about.topic_key);
	return SEALMQ_OK;
}

/* Who may have made it so: a signature where one is required; a publisher's name from the broker alone. */
static enum sealmq_err check_policy(struct sealmq *h, const struct receipt *r)
{
	if (!r->m.is_signed && r->about.sign == SIGN_REQUIRED)
		return lib_refuse(h, "not signed, and the key space requires it");
	if (!r->m.is_signed && (r->flags & SEALMQ_REQUIRE_SIGNATURE))
		return lib_refuse(h, "not signed");
	if (r->m.head.publisher && (r->about.mode != SEAL_BROKER || memcmp(r->m.head.sender, r->about.issuer, COSE_SENDER_LEN) != 0))
		return lib_refuse(h, "a publisher is named by somebody else than the broker");
	return SEALMQ_OK;
}

static enum sealmq_err check_window(struct sealmq *h, struct receipt *r)
{
	r->now = (struct replay_clock){ .mono_ms = clock_mono_ms(), .wall_ms = lib_wall_ms(h) };
	bool past = (r->flags & SEALMQ_FROM_PAST) != 0;
	r->window = r->flags & SEALMQ_OWN_WINDOWS ? replay_judge_time(&r->m.head, past, &r->now)
	                                          : replay_judge(h->replay, r->topic, r->topic_len, &r->m.head, past, &r->now);
	return verdict_refused(r->window) ? lib_refuse(h, verdict_text(r->window)) : SEALMQ_OK;
}

static enum sealmq_err check_sender(struct sealmq *h, struct receipt *r)
{
	if (memcmp(r->m.head.sender, h->fingerprint, COSE_SENDER_LEN) == 0)
		return SEALMQ_OK;
	r->peer = lib_peer(h, r->m.head.sender);
	if (!r->peer)
		return lib_want_cert(h, r->m.head.sender);
	enum tls_cause cause = lib_peer_judge(h, r->peer);
	r->revoked = cause == TLS_CAUSE_REVOKED;
	if (cause == TLS_CAUSE_NONE || (r->revoked && r->window == VERDICT_PAST))
		return SEALMQ_OK;
	snprintf(h->reason_text, sizeof h->reason_text, "the sender: %s", tls_cause_text(cause));
	return lib_refuse(h, h->reason_text);
}

/* Mode owner: who has sent is judged by the owner's list, and not by what the broker has let in. */
static enum sealmq_err check_list(struct sealmq *h, struct receipt *r)
{
	if (r->about.mode != SEAL_OWNER)
		return SEALMQ_OK;
	const char *why = lib_list_refuses(h, r->topic, r->topic_len, r->peer ? r->peer->fingerprint : h->fingerprint, r->peer ? r->peer->cn : h->cn, r->about.epoch,
	                                   &r->gone);
	return why ? lib_refuse(h, why) : SEALMQ_OK;
}

static enum sealmq_err check_signature(struct sealmq *h, const struct receipt *r)
{
	const char *why = NULL;
	if (!r->m.is_signed)
		return SEALMQ_OK;
	const struct cert *cert = r->peer ? &r->peer->cert : keypair_cert(h->key);
	enum err e = cose_verify(&r->m, r->topic, r->topic_len, cert, r->peer ? r->peer->key : keypair_public(h->key), &why);
	return e == ERR_REFUSED ? lib_refuse(h, why) : lib_of_err(h, e);
}

/* Decrypts; only what is authentic reaches cache and windows. */
static enum sealmq_err decrypt(struct sealmq *h, struct receipt *r, void *plain)
{
	bool hit;
	enum err e = cose_open(&r->m, r->topic, r->topic_len, r->content_key, plain);
	if (e == ERR_CORRUPT)
		return lib_refuse(h, "not authentic for this topic, key and sender");
	if (e != ERR_OK)
		return lib_of_err(h, e);
	struct content_key *slot = lib_content_slot(h, r->topic, r->topic_len, &r->m.head, &hit);
	if (slot && !hit)
		lib_content_store(slot, r->topic, r->topic_len, &r->m.head, r->content_key, &r->about);
	if ((r->window != VERDICT_LIVE && r->window != VERDICT_LATE) || (r->flags & SEALMQ_OWN_WINDOWS))
		return SEALMQ_OK;
	e = replay_note(h->replay, r->topic, r->topic_len, &r->m.head, &r->now);
	if (e == ERR_OK)
		return SEALMQ_OK;
	secmem_wipe(plain, der_len(r->m.ciphertext));
	return e == ERR_FULL ? lib_refuse(h, verdict_text(VERDICT_REFUSED_FULL)) : lib_of_err(h, e);
}

static enum sealmq_verdict verdict_of(const struct receipt *r)
{
	switch (r->window) {
	case VERDICT_LIVE: return r->gone ? SEALMQ_LATE : SEALMQ_LIVE;
	case VERDICT_LATE: return SEALMQ_LATE;
	case VERDICT_DUPLICATE: return SEALMQ_DUPLICATE;
	case VERDICT_PAST:
	case VERDICT_REFUSED_AHEAD: /* the rest never comes this far */
	case VERDICT_REFUSED_OLD:
	case VERDICT_REFUSED_STREAM:
	case VERDICT_REFUSED_FULL: break;
	}
	return r->revoked ? SEALMQ_REVOKED_SINCE : SEALMQ_PAST;
}

static void describe(struct sealmq *h, const struct receipt *r, struct sealmq_message *out)
{
	const struct cose_head *head = &r->m.head;
	memset(out, 0, sizeof *out);
	out->verdict = verdict_of(r);
	snprintf(h->sender, sizeof h->sender, "%s", r->peer ? r->peer->cn : h->cn);
	if (head->publisher) {
		memcpy(h->sender, head->publisher, head->publisher_len); /* at most IDENTITY_CN_MAX */
		h->sender[head->publisher_len] = '\0';
	}
	out->sender = h->sender;
	out->by_broker = head->publisher != NULL;
	memcpy(out->fingerprint, r->peer ? r->peer->fingerprint : h->fingerprint, sizeof out->fingerprint);
	out->is_signed = r->m.is_signed;
	out->epoch = r->about.epoch;
	memcpy(out->kid, head->kid, sizeof out->kid);
	memcpy(out->stream, head->stream, sizeof out->stream);
	out->seq = head->seq;
	out->time_ms = head->time_ms;
	out->len = der_len(r->m.ciphertext);
}

static enum sealmq_err check_all(struct sealmq *h, struct receipt *r, void *plain)
{
	enum sealmq_err e = find_key(h, r);
	if (e == SEALMQ_OK)
		e = check_policy(h, r);
	if (e == SEALMQ_OK)
		e = check_window(h, r);
	if (e == SEALMQ_OK)
		e = check_sender(h, r);
	if (e == SEALMQ_OK)
		e = check_list(h, r);
	if (e == SEALMQ_OK)
		e = check_signature(h, r);
	return e == SEALMQ_OK ? decrypt(h, r, plain) : e;
}

enum sealmq_err sealmq_open(struct sealmq *h, const char *topic, const void *message, size_t len, unsigned flags, void *plain, size_t cap,
                            struct sealmq_message *out)
{
	struct receipt r = { .topic = topic, .topic_len = strlen(topic), .flags = flags };
	enum sealmq_err e = lib_enter(h);
	if (e != SEALMQ_OK)
		return e;
	if (r.topic_len == 0 || r.topic_len > TOPIC_MAX)
		return lib_invalid(h, "a topic has 1 to 65535 bytes");
	if (cose_parse(&r.m, message, len, &h->reason) != ERR_OK)
		return SEALMQ_NOT_SEALED;
	h->reason = "";
	if (cap < der_len(r.m.ciphertext))
		return SEALMQ_ROOM;
	e = check_all(h, &r, plain);
	if (e == SEALMQ_OK)
		describe(h, &r, out);
	secmem_wipe(r.content_key, sizeof r.content_key);
	secmem_wipe(&r.about, sizeof r.about);
	return e;
}
