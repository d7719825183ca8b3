/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/sealing.h"

#include "base/clock.h"
#include "base/pool.h"
#include "base/secmem.h"
#include "base/siphash.h"
#include "broker/registrar.h"
#include "broker/spaces.h"
#include "crypto/hash.h"
#include "crypto/stream.h"

#include <string.h>

#define CONTENT_KEYS 256U /* a power of two; 80 bytes each, per loop */

struct content_key {
	uint8_t name[32]; /* SHA-256 of what the key follows from; zeros: free */
	uint8_t key[32];
};

struct sealer {
	struct stream stream;
	struct content_key keys[CONTENT_KEYS]; /* the process's hash under a secret key places them */
};

void sealer_free(struct sealer *s)
{
	secmem_free(s);
}

static struct sealer *sealer_of(struct loop *l)
{
	if (l->sealer)
		return l->sealer;
	l->sealer = secmem_alloc(sizeof *l->sealer);
	if (l->sealer)
		stream_start(&l->sealer->stream);
	return l->sealer;
}

/* The content key of a sender's stream in a topic, which follows from the epoch's root: remembered. ERR_NOMEM, ERR_INVALID. */
static enum err content_key(struct loop *l, const struct space *s, const struct space_epoch *e, const uint8_t *topic, size_t len,
                            const struct cose_head *h, const uint8_t **key)
{
	struct sealer *sealer = sealer_of(l);
	if (!sealer)
		return ERR_NOMEM;
	uint8_t name[32], topic_key[KEYTREE_KEY_LEN];
	const struct hash_part parts[] = {{&s->spec.id, sizeof s->spec.id}, {h->kid, sizeof h->kid}, {h->stream, sizeof h->stream},
	                                  {h->sender, sizeof h->sender}, {topic, len}};
	hash_sha256_parts(parts, sizeof parts / sizeof parts[0], name);
	struct content_key *k = &sealer->keys[siphash13(&siphash_process_key, name, sizeof name) & (CONTENT_KEYS - 1)];
	*key = k->key;
	if (memcmp(k->name, name, sizeof name) == 0)
		return ERR_OK;
	enum err r = keytree_topic(e->root, s->spec.name, s->spec.name_len, (const char *)topic, len, topic_key);
	if (r != ERR_OK)
		return r;
	cose_content_key(topic_key, (const char *)topic, len, h, k->key);
	memcpy(k->name, name, sizeof name);
	secmem_wipe(topic_key, sizeof topic_key);
	return ERR_OK;
}

/* ---- in ---- */

static void count_use(struct loop *l, struct space *s)
{
	if (s->spec.rotate_count == 0)
		return;
	uint64_t used = atomic_fetch_add_explicit(&s->used, 1, memory_order_relaxed) + 1;
	if (used >= s->spec.rotate_count && !atomic_exchange(&s->rotate_asked, true))
		registrar_rotate(l->broker, s);
}

/* For a plain client: the broker is the sender and names the publisher. */
static enum admission seal_for(struct loop *l, const struct identity *who, struct space *s, const struct msg_spec *spec, struct msg **out, const char **why)
{
	const struct space_epoch *e = space_current(s);
	struct sealer *sealer = sealer_of(l);
	struct cose_head h = {.time_ms = l->wall_ms, .publisher = who->cn, .publisher_len = who->cn_len};
	const uint8_t *key;
	if (!sealer)
		return ADMIT_NOMEM;
	memcpy(h.kid, e->kid, sizeof h.kid);
	memcpy(h.sender, l->policy->server, sizeof h.sender);
	stream_next(&sealer->stream, &h);
	if (content_key(l, s, e, spec->topic, spec->topic_len, &h, &key) != ERR_OK)
		return ADMIT_NOMEM;
	size_t size = cose_size(&h, spec->payload_len, NULL), len;
	struct msg_spec sealed = *spec;
	sealed.payload = NULL;
	sealed.payload_len = size;
	sealed.flags |= MSG_SEALED;
	struct msg *m = msg_new(&sealed), *opened = m ? msg_new(spec) : NULL;
	if (!opened) {
		msg_unref(m);
		if (size <= COSE_PLAIN_MAX)
			return ADMIT_NOMEM;
		*why = "it is too long to be sealed";
		return ADMIT_DROP;
	}
	uint8_t *payload = m->data + (msg_payload(m) - m->data);
	enum err r = cose_seal(&h, spec->topic, spec->topic_len, key, spec->payload, spec->payload_len, NULL, payload, &len);
	msg_set_opened(m, opened);
	if (r != ERR_OK) {
		msg_unref(m);
		*why = "its sender's CN or length cannot be sealed";
		return r == ERR_NOMEM ? ADMIT_NOMEM : ADMIT_DROP;
	}
	count_use(l, s);
	*out = m;
	return ADMIT_OK;
}

static const char *sign_fault(const struct space *s, bool is_signed)
{
	if (s->spec.sign == SPACE_SIGN_REQUIRED && !is_signed)
		return "the key space requires signatures";
	return s->spec.sign == SPACE_SIGN_OFF && is_signed ? "the key space takes no signatures" : NULL;
}

/* Sealed by the client: structure, sender, policy, epoch. */
static enum admission take_sealed(struct loop *l, const struct identity *who, struct space *s, const struct msg_spec *spec, struct msg **out, const char **why)
{
	struct cose m;
	if (cose_parse(&m, spec->payload, spec->payload_len, why) != ERR_OK)
		return ADMIT_DROP;
	*why = memcmp(m.head.sender, who->fingerprint, sizeof m.head.sender) != 0 ? "its sender is not this connection's certificate"
	       : m.head.publisher                                                          ? "it names a publisher"
	                                                                                   : sign_fault(s, m.is_signed);
	if (*why)
		return ADMIT_DROP;
	const struct space_epoch *e = space_epoch_of(s, m.head.kid);
	if (!e || (e != space_current(s) && e->accept_until_ms <= l->now_ms)) {
		*why = e ? "sealed under a past epoch" : "sealed under an unknown key";
		return ADMIT_END;
	}
	struct msg_spec sealed = *spec;
	sealed.flags |= MSG_SEALED;
	*out = msg_new(&sealed);
	if (!*out)
		return ADMIT_NOMEM;
	count_use(l, s);
	return ADMIT_OK;
}

/* The member may write. */
static enum admission admit_member(struct loop *l, const struct identity *who, struct space *s, const struct msg_spec *spec,
                                   bool sealed_view, struct msg **out, const char **why)
{
	bool clears = spec->payload_len == 0 && spec->flags & MSG_RETAIN;
	if (s->spec.mode == SPACE_OPEN || clears) {
		struct msg_spec plain = *spec;
		if (sealed_view && !clears) {
			*why = "the key space is open: it has no sealed view";
			return ADMIT_DROP;
		}
		if (s->spec.mode != SPACE_OPEN)
			plain.flags |= MSG_SEALED;
		*out = msg_new(&plain);
		return *out ? ADMIT_OK : ADMIT_NOMEM;
	}
	if (!space_current(s)) {
		*why = "its owner has not uploaded an epoch yet";
		return ADMIT_DROP;
	}
	if (sealed_view || s->spec.mode == SPACE_OWNER)
		return take_sealed(l, who, s, spec, out, why);
	if (s->spec.sign == SPACE_SIGN_REQUIRED) {
		*why = "the key space requires signatures";
		return ADMIT_DROP;
	}
	return seal_for(l, who, s, spec, out, why);
}

enum admission sealing_admit(struct loop *l, const struct identity *who, const struct msg_spec *spec, struct msg **out, const char **why)
{
	struct mqtt_bytes topic = {spec->topic, spec->topic_len};
	struct msg_spec inner = *spec;
	bool sealed_view = spaces_has_prefix(topic, SPACES_SEALED);
	if (sealed_view) {
		inner.topic = topic.p + sizeof SPACES_SEALED - 1;
		inner.topic_len = topic.len - (sizeof SPACES_SEALED - 1);
	}
	struct space *s = space_map_find(l->spaces, inner.topic, inner.topic_len);
	*why = "no key space covers it";
	if (!s)
		return sealed_view ? ADMIT_DROP : ADMIT_ELSEWHERE;
	const struct space_member *m = space_member(s, who->cn, who->cn_len);
	*why = !m                        ? "it is not a member of the key space"
	       : !(m->access & SPACE_WRITE) ? "it may only read"
	                                    : NULL;
	if (!*why && m->pinned && memcmp(m->fingerprint, who->fingerprint, sizeof m->fingerprint) != 0)
		*why = "another certificate is registered for this member";
	return *why ? ADMIT_DROP : admit_member(l, who, s, &inner, sealed_view, out, why);
}

/* ---- out ---- */

static enum err open_message(struct loop *l, const struct space *s, const struct space_epoch *e, struct msg *m, const struct cose *parsed)
{
	const uint8_t *key;
	enum err r = content_key(l, s, e, msg_topic(m), m->topic_len, &parsed->head, &key);
	if (r != ERR_OK)
		return r;
	struct msg_spec plain = {.topic = msg_topic(m), .topic_len = m->topic_len, .publisher = msg_publisher(m), .publisher_len = m->publisher_len,
	                         .props = msg_props(m), .props_len = m->props_len, .payload_len = der_len(parsed->ciphertext),
	                         .time_ms = m->time_ms, .expiry_ms = m->expiry_ms, .qos = m->qos, .flags = m->flags & (uint8_t)~MSG_SEALED};
	struct msg *opened = msg_new(&plain);
	if (!opened)
		return ERR_NOMEM;
	r = cose_open(parsed, (const char *)msg_topic(m), m->topic_len, key, opened->data + (msg_payload(opened) - opened->data));
	if (r != ERR_OK) {
		msg_unref(opened);
		return r;
	}
	msg_set_opened(m, opened);
	return ERR_OK;
}

bool sealing_give(struct session *s, struct msg *m, uint32_t sub_id, const char **why)
{
	const struct space *space = space_map_find(s->loop->spaces, msg_topic(m), m->topic_len);
	const struct space_member *member = space ? space_member(space, s->identity->cn, s->identity->cn_len) : NULL;
	*why = "the key space has gone, or it is no member";
	if (!member)
		return false;
	bool plain = !(sub_id & SUB_ID_SEALED) && space->spec.mode == SPACE_BROKER;
	if (m->payload_len == 0)
		return true;
	if (member->since <= 1 && (!plain || msg_opened(m)))
		return true;
	struct cose parsed;
	if (cose_parse(&parsed, msg_payload(m), m->payload_len, why) != ERR_OK)
		return false;
	const struct space_epoch *e = space_epoch_of(space, parsed.head.kid);
	*why = "its epoch is not granted to this member";
	if (e ? e->number < member->since : member->since > 1)
		return false;
	if (!plain || msg_opened(m))
		return true;
	*why = "it cannot be opened";
	return e && e->root && open_message(s->loop, space, e, m, &parsed) == ERR_OK;
}

const struct msg *sealing_view(const struct msg *m, uint32_t sub_id, struct mqtt_bytes *prefix)
{
	static const char sealed[] = SPACES_SEALED;
	if (sub_id & SUB_ID_SEALED) {
		*prefix = (struct mqtt_bytes){(const uint8_t *)sealed, sizeof sealed - 1};
		return m;
	}
	const struct msg *opened = msg_opened(m);
	return opened ? opened : m;
}
