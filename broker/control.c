/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The commands of $CONTROL/topics/v1 (docs/control.md): from JSON to a change, and the answer. Registrar's thread. */
#include "base/clock.h"
#include "base/log.h"
#include "base/secmem.h"
#include "base/textbytes.h"
#include "broker/audit.h"
#include "broker/direct.h"
#include "broker/registrar_int.h"
#include "crypto/envelope.h"
#include "mqtt/utf8.h"
#include "topics/topic.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_MAX 700U
#define NUMBER_MAX 9007199254740991.0 /* the largest that JSON's numbers can be trusted with */

struct command {
	struct registrar *r;
	const struct identity *who;
	const cJSON *json;
	const char *topic;     /* NULL: the command has none */
	size_t topic_len;
	struct space *space;   /* of that very name; NULL: there is none */
	cJSON *data;           /* of the answer; owned until it is there */
	char error[ERROR_MAX]; /* "": none */
};

static bool fail(struct command *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

static bool fail(struct command *c, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(c->error, sizeof c->error, fmt, args);
	va_end(args);
	return false;
}

static bool fail_err(struct command *c, enum err e)
{
	return e == ERR_NOMEM ? fail(c, "out of memory") : fail(c, "%.200s: the store failed: %s", c->topic, err_text(e));
}

/* ---- members of a command ---- */

static const cJSON *get(const cJSON *o, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(o, name);
}

static const char *text_of(const cJSON *o, const char *name)
{
	return cJSON_GetStringValue(get(o, name));
}

/* False: it is there and no whole number of that range. */
static bool number_of(const cJSON *o, const char *name, double max, uint64_t *out)
{
	const cJSON *x = get(o, name);
	if (!x)
		return true;
	if (!cJSON_IsNumber(x) || !(x->valuedouble >= 0) || x->valuedouble > max || floor(x->valuedouble) != x->valuedouble)
		return false;
	*out = (uint64_t)x->valuedouble;
	return true;
}

/* names: with a space before and after each. */
static bool known_members(struct command *c, const cJSON *o, const char *names)
{
	for (const cJSON *x = o->child; x; x = x->next) {
		char name[64];
		int n = snprintf(name, sizeof name, " %s ", x->string);
		if (n >= (int)sizeof name || strchr(x->string, ' ') || !strstr(names, name))
			return fail(c, "%.100s: unknown member of the command", x->string);
	}
	return true;
}

static bool is_topic(const char *t)
{
	size_t len = t ? strlen(t) : 0;
	return len > 0 && len <= SPACE_NAME_MAX && t[0] != '$' && !strpbrk(t, "+#") &&
	       mqtt_utf8_valid((const uint8_t *)t, len) && topic_levels((const uint8_t *)t, len) <= TOPIC_LEVELS_MAX;
}

static bool is_owner(const struct command *c)
{
	return c->space && strcmp(c->space->spec.owner, c->who->cn) == 0;
}

static bool may_manage(const struct command *c)
{
	return is_owner(c) || registrar_is_admin(c->r, c->who->cn);
}

/* Does it manage the space only because these are its direct messages? */
static bool owns_direct(const struct command *c)
{
	return is_owner(c) && direct_recipient(c->topic, c->who->cn) && !registrar_is_admin(c->r, c->who->cn);
}

static void audit(const struct command *c, enum audit_kind kind, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void audit(const struct command *c, enum audit_kind kind, const char *fmt, ...)
{
	const struct audit_who who = {.identity = c->who};
	char text[400];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	audit_event(kind, &who, text, AUDIT_PAIRS(AUDIT_PAIR("topic", c->topic, strlen(c->topic))));
}

static bool denied(struct command *c, const char *what)
{
	audit(c, AUDIT_CONTROL_DENIED, "%s", what);
	return fail(c, "%.200s: %s", c->topic, what);
}

/* The space, for who may manage it. */
static bool managed(struct command *c)
{
	if (may_manage(c) && c->space)
		return true;
	if (c->space && space_member(c->space, c->who->cn, c->who->cn_len))
		return denied(c, "you may not manage it");
	return c->space ? denied(c, "there is no such key space") : fail(c, "%.200s: there is no such key space", c->topic);
}

/* As above, and the topics_file leaves it to commands. */
static bool changeable(struct command *c)
{
	if (!managed(c))
		return false;
	return !declared(c->r, c->topic, c->topic_len) || fail(c, "%.200s: the topics_file declares it: change it there", c->topic);
}

/* ---- a list of members ---- */

/* Reads the certificate into m, whose CN then is the directory's. */
static bool certified(struct command *c, const char *pem, bool keys, struct space_member *m)
{
	size_t len = strlen(pem), der_len = 0;
	struct cert cert;
	struct der cn;
	const char *why = NULL;
	struct pubkey *key = NULL;
	uint8_t *der = malloc(len + 1);
	if (!der)
		return fail(c, "out of memory");
	if (keys_pem_to_der(pem, len, der, &der_len) != ERR_OK || cert_parse(&cert, der, der_len) != ERR_OK ||
		cert_common_name(&cert, &cn, &why) != ERR_OK) {
		free(der);
		return why ? fail(c, "certificate: %s", why) : fail(c, "certificate: expected one certificate in PEM");
	}
	int cn_len = (int)(cn.end - cn.p);
	enum tls_cause cause = c->r->policy->trust ? trust_check(c->r->policy->trust, &cert) : TLS_CAUSE_UNKNOWN_CA;
	bool good = cause == TLS_CAUSE_NONE;
	if (!good)
		fail(c, "certificate: CN '%.*s': %s", cn_len, (const char *)cn.p, tls_cause_text(cause));
	if (good && keys && (pubkey_new(&key, &cert) != ERR_OK || pubkey_kind(key) != KEY_RSA))
		good = fail(c, "certificate: CN '%.*s': expected an RSA key of 2048 to 4096 bits; an EC key cannot receive an envelope", cn_len,
		            (const char *)cn.p);
	pubkey_free(key);
	cert_fingerprint(&cert, m->fingerprint);
	m->pinned = true;
	if (good && registrar_keep_certificate(c->r, der, der_len) != ERR_OK)
		good = fail(c, "out of memory");
	if (good) {
		const struct known *k = directory_find(c->r->directory, m->fingerprint);
		m->cn = k->cn;
		m->cn_len = (uint16_t)k->cn_len;
	}
	free(der);
	return good;
}

static bool member_of(struct command *c, const cJSON *o, bool keys, struct space_member *m)
{
	const char *cn = text_of(o, "cn"), *pem = text_of(o, "certificate"), *access = text_of(o, "access");
	*m = (struct space_member){.access = SPACE_READ | SPACE_WRITE, .since = 1};
	if (!cJSON_IsObject(o) || (get(o, "cn") && get(o, "certificate")) || (!get(o, "cn") && !get(o, "certificate")))
		return fail(c, "members: expected a list of objects with cn or certificate");
	if (!known_members(c, o, " cn certificate access "))
		return false;
	if (get(o, "access") && (!access || !keyspace_access_of(access, &m->access)))
		return fail(c, "access: expected read, write or readwrite");
	if (get(o, "certificate"))
		return pem ? certified(c, pem, keys, m) : fail(c, "certificate: expected one certificate in PEM");
	struct der name = {(const uint8_t *)cn, cn ? (const uint8_t *)cn + strlen(cn) : NULL};
	if (!cn || cert_name_fault(name))
		return fail(c, "cn: expected a common name of 1 to 256 bytes");
	m->cn = cn;
	m->cn_len = (uint16_t)strlen(cn);
	return true;
}

/* since: the first epoch of who is new. */
static bool put_members(struct command *c, struct draft *d, uint32_t since)
{
	const cJSON *list = get(c->json, "members"), *o;
	if (!cJSON_IsArray(list))
		return fail(c, "members: expected a list of objects with cn or certificate");
	cJSON_ArrayForEach(o, list)
	{
		struct space_member m;
		if (!member_of(c, o, d->spec.mode != SPACE_OPEN, &m))
			return false;
		m.since = since;
		if (draft_add_member(d, &m) != ERR_OK)
			return fail(c, "out of memory");
	}
	return draft_unite_members(d) == ERR_OK || fail(c, "out of memory");
}

/* ---- settings ---- */

static bool history_of(struct command *c, struct space_history *out)
{
	const cJSON *o = get(c->json, "history");
	struct space_history h = {.given = true};
	if (!cJSON_IsObject(o) || !number_of(o, "count", NUMBER_MAX, &h.count) || !number_of(o, "age", 8640000000.0, &h.age_s) ||
		!number_of(o, "bytes", NUMBER_MAX, &h.bytes))
		return fail(c, "history: expected an object of count, age and bytes, numbers from 0");
	if (!known_members(c, o, " count age bytes "))
		return false;
	h.off = !o->child;
	*out = h;
	return true;
}

static bool settings_of(struct command *c, struct space_spec *s)
{
	const char *mode = text_of(c->json, "mode"), *sign = text_of(c->json, "sign"), *join = text_of(c->json, "newMembers");
	s->mode = SPACE_BROKER;
	s->sign = SPACE_SIGN_OPTIONAL;
	if (get(c->json, "mode") && (!mode || !keyspace_mode_of(mode, &s->mode)))
		return fail(c, "mode: expected broker, open or owner");
	if (get(c->json, "sign") && (!sign || !keyspace_sign_of(sign, &s->sign)))
		return fail(c, "sign: expected off, optional or required");
	s->from_join = join && strcmp(join, "from-join") == 0;
	if (get(c->json, "newMembers") && (!join || (!s->from_join && strcmp(join, "see-past") != 0)))
		return fail(c, "newMembers: expected see-past or from-join");
	if (s->from_join && s->mode == SPACE_OPEN)
		return fail(c, "newMembers: from-join is not for the mode open");
	if (!number_of(c->json, "rotateAge", 8640000000.0, &s->rotate_age_s))
		return fail(c, "rotateAge: expected whole seconds from 0");
	if (!number_of(c->json, "rotateCount", NUMBER_MAX, &s->rotate_count))
		return fail(c, "rotateCount: expected a number from 0");
	if (s->mode != SPACE_BROKER && (s->rotate_age_s > 0 || s->rotate_count > 0))
		return fail(c, "%s: not for the mode %s", s->rotate_age_s > 0 ? "rotateAge" : "rotateCount", keyspace_mode_text(s->mode));
	return !get(c->json, "history") || history_of(c, &s->history);
}

/* ---- applying ---- */

/* Takes the draft. False: c has the error. */
static bool apply(struct command *c, struct draft *d, struct change *change)
{
	change->old = c->space;
	change->next = draft_finish(d);
	enum err e = change->next ? registrar_apply(c->r, change) : ERR_NOMEM;
	if (e != ERR_OK) {
		space_unref(change->next);
		return fail_err(c, e);
	}
	c->space = space_map_get(c->r->map, c->topic, c->topic_len);
	space_unref(change->next);
	return true;
}

static bool add_epoch_data(struct command *c)
{
	c->data = cJSON_CreateObject();
	return (c->data && cJSON_AddNumberToObject(c->data, "epoch", space_epoch_number(c->space))) || fail(c, "out of memory");
}

static uint64_t wall_s(void)
{
	return clock_wall_ms() / 1000;
}

/* ---- getTopic ---- */

static bool has_envelope(const struct command *c, const uint8_t fingerprint[static 32])
{
	const uint8_t *der;
	size_t len;
	return envelopes_get(c->r->envelopes, c->space->spec.id, space_epoch_number(c->space), fingerprint, &der, &len);
}

static bool describe_member(const struct command *c, const struct space_member *m, cJSON *list, cJSON *pending)
{
	char hex[65];
	const struct known *k = m->pinned ? directory_find(c->r->directory, m->fingerprint) : directory_latest(c->r->directory, m->cn, m->cn_len);
	cJSON *o = cJSON_CreateObject();
	bool good = o && cJSON_AddItemToArray(list, o) && cJSON_AddStringToObject(o, "cn", m->cn) &&
	            cJSON_AddStringToObject(o, "access", keyspace_access_text(m->access)) && cJSON_AddNumberToObject(o, "since", m->since) &&
	            cJSON_AddBoolToObject(o, "pinned", m->pinned);
	if (!good || !k)
		return good;
	hex_write(hex, k->fingerprint, sizeof k->fingerprint);
	good = cJSON_AddStringToObject(o, "certificate", hex) != NULL;
	if (!pending || has_envelope(c, k->fingerprint))
		return good;
	o = cJSON_CreateObject();
	return good && o && cJSON_AddItemToArray(pending, o) && cJSON_AddStringToObject(o, "cn", m->cn) && cJSON_AddStringToObject(o, "certificate", hex);
}

static bool describe_history(cJSON *o, const struct space_history *h)
{
	if (!h->given)
		return true;
	cJSON *x = cJSON_AddObjectToObject(o, "history");
	return x && (h->count == 0 || cJSON_AddNumberToObject(x, "count", (double)h->count)) &&
	       (h->age_s == 0 || cJSON_AddNumberToObject(x, "age", (double)h->age_s)) &&
	       (h->bytes == 0 || cJSON_AddNumberToObject(x, "bytes", (double)h->bytes));
}

static bool describe(struct command *c)
{
	const struct space_spec *s = &c->space->spec;
	const struct space_epoch *e = space_current(c->space);
	char kid[2 * SPACE_KID_LEN + 1];
	cJSON *o = c->data = cJSON_CreateObject();
	bool good = o && cJSON_AddStringToObject(o, "topic", s->name) && cJSON_AddStringToObject(o, "mode", keyspace_mode_text(s->mode)) &&
	            cJSON_AddStringToObject(o, "sign", keyspace_sign_text(s->sign)) &&
	            cJSON_AddStringToObject(o, "newMembers", s->from_join ? "from-join" : "see-past") && cJSON_AddStringToObject(o, "owner", s->owner) &&
	            cJSON_AddNumberToObject(o, "epoch", e ? e->number : 0);
	if (good && e) {
		hex_write(kid, e->kid, sizeof e->kid);
		good = cJSON_AddStringToObject(o, "kid", kid) != NULL;
	}
	good = good && cJSON_AddNumberToObject(o, "created", (double)s->created_s) && cJSON_AddNumberToObject(o, "rotateAge", (double)s->rotate_age_s) &&
	       cJSON_AddNumberToObject(o, "rotateCount", (double)s->rotate_count) && describe_history(o, &s->history);
	if (good && declared(c->r, s->name, s->name_len))
		good = cJSON_AddTrueToObject(o, "declared") != NULL;
	cJSON *list = good ? cJSON_AddArrayToObject(o, "members") : NULL;
	cJSON *pending = list && may_manage(c) && s->mode == SPACE_OWNER ? cJSON_AddArrayToObject(o, "pending") : NULL;
	good = list != NULL;
	for (size_t i = 0; good && i < s->n_members; i++)
		good = describe_member(c, &s->members[i], list, pending);
	return good || fail(c, "out of memory");
}

static bool get_topic(struct command *c)
{
	if (!known_members(c, c->json, " command topic correlationData "))
		return false;
	if (!c->space || (!may_manage(c) && !space_member(c->space, c->who->cn, c->who->cn_len)))
		return fail(c, "%.200s: there is no such key space", c->topic);
	return describe(c);
}

static bool list_topics(struct command *c)
{
	if (!known_members(c, c->json, " command correlationData "))
		return false;
	c->data = cJSON_CreateObject();
	cJSON *list = c->data ? cJSON_AddArrayToObject(c->data, "topics") : NULL;
	bool good = list != NULL, admin = registrar_is_admin(c->r, c->who->cn);
	for (size_t i = 0; good && i < space_map_count(c->r->map); i++) {
		const struct space *space = space_map_at(c->r->map, i);
		const struct space_spec *s = &space->spec;
		if (!admin && strcmp(s->owner, c->who->cn) != 0 && !space_member(space, c->who->cn, c->who->cn_len))
			continue;
		cJSON *o = cJSON_CreateObject();
		good = o && cJSON_AddItemToArray(list, o) && cJSON_AddStringToObject(o, "topic", s->name) &&
		       cJSON_AddStringToObject(o, "mode", keyspace_mode_text(s->mode)) && cJSON_AddStringToObject(o, "sign", keyspace_sign_text(s->sign)) &&
		       cJSON_AddStringToObject(o, "owner", s->owner) && cJSON_AddNumberToObject(o, "epoch", space_epoch_number(space)) &&
		       cJSON_AddNumberToObject(o, "members", (double)s->n_members);
	}
	return good || fail(c, "out of memory");
}

/* ---- what changes a space ---- */

/* Who is no topic_admin creates spaces for direct messages, if the configuration says so, and so many. */
static bool may_write_directly(struct command *c)
{
	uint32_t most = c->r->policy->conf->direct_messages;
	if (most == 0 || !direct_recipient(c->topic, c->who->cn))
		return denied(c, "you may not create key spaces (topic_admin)");
	return c->space || direct_count(c->r->map, c->who->cn) < most || denied(c, "you write to as many as you may already (direct_messages)");
}

/* Are these direct messages, and nothing else? Their history is the broker's matter. */
static bool is_direct(struct command *c, struct space_spec *s)
{
	const char *fault = s->history.given ? "the history of direct messages is the broker's matter" : direct_fault(s);
	if (fault)
		return denied(c, fault);
	s->history = direct_history();
	return true;
}

static bool create_topic(struct command *c)
{
	struct draft d;
	struct change change = {.members = true};
	if (!known_members(c, c->json, " command topic correlationData mode sign members newMembers history rotateAge rotateCount "))
		return false;
	bool admin = registrar_is_admin(c->r, c->who->cn), direct = !admin || (c->r->policy->conf->direct_messages > 0 && direct_recipient(c->topic, c->who->cn));
	if (!admin && !may_write_directly(c))
		return false;
	if (c->space)
		return fail(c, "%.200s: exists already", c->topic);
	if (draft_begin(&d, NULL) != ERR_OK)
		return fail(c, "out of memory");
	struct space_spec *s = &d.spec;
	s->name = c->topic;
	s->name_len = c->topic_len;
	s->owner = c->who->cn;
	s->owner_len = c->who->cn_len;
	s->created_s = wall_s();
	bool good = settings_of(c, s) && (!get(c->json, "members") || put_members(c, &d, 1));
	if (good && direct)
		good = is_direct(c, s);
	if (good && s->mode == SPACE_BROKER && !c->r->policy->signer)
		good = fail(c, "mode: broker needs a TLS listener whose certificate has an RSA key of 2048 to 4096 bits, or P-256");
	if (good && s->mode == SPACE_BROKER && draft_turn(&d, s->created_s, 0) != ERR_OK)
		good = fail(c, "out of memory");
	if (!good) {
		draft_drop(&d);
		return false;
	}
	if (!apply(c, &d, &change))
		return false;
	audit(c, AUDIT_TOPIC_CREATED, "mode %s, sign %s, %zu members", keyspace_mode_text(c->space->spec.mode), keyspace_sign_text(c->space->spec.sign),
	      c->space->spec.n_members);
	return describe(c);
}

static void forget_uploads(struct command *c, uint64_t id, uint32_t below);

static bool delete_topic(struct command *c)
{
	if (!known_members(c, c->json, " command topic correlationData ") || !changeable(c))
		return false;
	struct change change = {.old = c->space, .members = true, .cut = true};
	struct space *old = space_ref(c->space);
	enum err e = registrar_apply(c->r, &change);
	if (e == ERR_OK) {
		forget_uploads(c, old->spec.id, UINT32_MAX);
		audit(c, AUDIT_TOPIC_DELETED, "%s", "");
	}
	c->space = NULL;
	space_unref(old);
	return e == ERR_OK || fail_err(c, e);
}

static bool add_members(struct command *c)
{
	struct draft d;
	if (!known_members(c, c->json, " command topic correlationData members ") || !changeable(c))
		return false;
	if (draft_begin(&d, c->space) != ERR_OK)
		return fail(c, "out of memory");
	bool turn = d.spec.from_join && d.spec.mode == SPACE_BROKER;
	uint32_t since = !d.spec.from_join ? 1 : space_epoch_number(c->space) + 1;
	size_t before = d.spec.n_members;
	bool good = put_members(c, &d, since);
	turn = turn && d.spec.n_members > before;
	if (good && owns_direct(c) && direct_fault(&d.spec))
		good = denied(c, direct_fault(&d.spec));
	if (good && turn && draft_turn(&d, wall_s(), clock_mono_ms() + KEYSPACE_GRACE_MS) != ERR_OK)
		good = fail(c, "out of memory");
	if (!good) {
		draft_drop(&d);
		return false;
	}
	size_t after = d.spec.n_members;
	struct change change = {.members = true, .turned = turn};
	if (!apply(c, &d, &change))
		return false;
	audit(c, AUDIT_MEMBERS_ADDED, "%zu more, now %zu", after - before, after);
	return add_epoch_data(c);
}

static bool remove_member(struct command *c)
{
	struct draft d;
	const char *cn = text_of(c->json, "cn");
	if (!known_members(c, c->json, " command topic correlationData cn ") || !changeable(c))
		return false;
	if (!cn)
		return fail(c, "cn: expected a common name of 1 to 256 bytes");
	if (draft_begin(&d, c->space) != ERR_OK)
		return fail(c, "out of memory");
	if (!draft_remove_member(&d, cn, strlen(cn))) {
		draft_drop(&d);
		return fail(c, "%.200s: '%.256s' is not a member", c->topic, cn);
	}
	struct change change = {.members = true, .cut = true, .turned = d.spec.mode == SPACE_BROKER};
	if (change.turned && draft_turn(&d, wall_s(), 0) != ERR_OK) {
		draft_drop(&d);
		return fail(c, "out of memory");
	}
	d.spec.no_grace = d.spec.mode == SPACE_OWNER;
	if (!apply(c, &d, &change))
		return false;
	audit(c, AUDIT_MEMBER_REMOVED, "'%.256s'", cn);
	return add_epoch_data(c);
}

static bool rotate_key(struct command *c)
{
	struct draft d;
	struct change change = {.turned = true};
	if (!known_members(c, c->json, " command topic correlationData ") || !managed(c))
		return false;
	if (c->space->spec.mode == SPACE_OWNER)
		return fail(c, "%.200s: its owner makes the keys: upload an epoch with putEnvelopes", c->topic);
	if (c->space->spec.mode == SPACE_OPEN)
		return fail(c, "%.200s: an open key space has no keys", c->topic);
	if (draft_begin(&d, c->space) != ERR_OK)
		return fail(c, "out of memory");
	if (draft_turn(&d, wall_s(), clock_mono_ms() + KEYSPACE_GRACE_MS) != ERR_OK) {
		draft_drop(&d);
		return fail(c, "out of memory");
	}
	if (!apply(c, &d, &change))
		return false;
	audit(c, AUDIT_KEY_ROTATED, "epoch %" PRIu32, space_epoch_number(c->space));
	return add_epoch_data(c);
}

static bool set_history(struct command *c)
{
	struct draft d;
	struct change change = {0};
	if (!known_members(c, c->json, " command topic correlationData history ") || !changeable(c))
		return false;
	if (owns_direct(c))
		return denied(c, "the history of direct messages is the broker's matter");
	if (draft_begin(&d, c->space) != ERR_OK)
		return fail(c, "out of memory");
	if (!history_of(c, &d.spec.history)) {
		draft_drop(&d);
		return false;
	}
	if (!apply(c, &d, &change))
		return false;
	audit(c, AUDIT_HISTORY_SET, "%s", "");
	return true;
}

/* ---- mode owner ---- */

static void upload_name(char *out, size_t cap, uint64_t id, uint32_t epoch, const uint8_t fingerprint[static 32])
{
	char hex[65];
	hex_write(hex, fingerprint, 32);
	snprintf(out, cap, UPLOAD_STORE_PREFIX "%016" PRIx64 "/%08" PRIx32 "/%s", id, epoch, hex);
}

struct storing {
	struct command *c;
	uint64_t id;
	enum err error;
	bool remove;
};

static void store_upload(void *arg, uint32_t epoch, const uint8_t fingerprint[static 32], const uint8_t *der, size_t len)
{
	struct storing *s = arg;
	char name[STORE_NAME_MAX + 1];
	upload_name(name, sizeof name, s->id, epoch, fingerprint);
	enum err e = registrar_store(s->c->r, name, s->remove ? NULL : der, s->remove ? 0 : len);
	if (s->error == ERR_OK)
		s->error = e;
}

static void forget_uploads(struct command *c, uint64_t id, uint32_t below)
{
	struct storing s = {.c = c, .id = id, .remove = true};
	envelopes_each(c->r->envelopes, id, below, -1, store_upload, &s);
	envelopes_forget(c->r->envelopes, id, below);
}

static bool take_envelope(struct command *c, const cJSON *o, uint32_t epoch)
{
	static const char expected[] = "envelopes: expected a list of objects with certificate (64 hex digits) and envelope (base64)";
	const char *hex = text_of(o, "certificate"), *text = text_of(o, "envelope");
	uint8_t fingerprint[32];
	struct envelope e;
	const char *why;
	size_t len = 0, cap = text ? strlen(text) : 0;
	if (!cJSON_IsObject(o) || !hex || !text || !hex_read(hex, fingerprint, sizeof fingerprint) || cap / 4 * 3 > ENVELOPE_MAX)
		return fail(c, "%s", expected);
	uint8_t *der = malloc(cap + 1);
	if (!der)
		return fail(c, "out of memory");
	bool good = base64_get(BASE64_STANDARD, text, cap, der, cap, &len) || fail(c, "%s", expected);
	if (good && envelope_parse(&e, der, len, &why) != ERR_OK)
		good = fail(c, "envelopes: %.16s…: %s", hex, why);
	if (good && envelopes_put(c->r->envelopes, c->space->spec.id, epoch, fingerprint, der, len) != ERR_OK)
		good = fail(c, "out of memory");
	free(der);
	return good;
}

static bool put_envelopes(struct command *c)
{
	struct draft d;
	uint64_t epoch = 0, grace = 60;
	uint8_t kid[SPACE_KID_LEN];
	const cJSON *list = get(c->json, "envelopes"), *o;
	const char *hex = text_of(c->json, "kid");
	bool activate = !cJSON_IsFalse(get(c->json, "activate"));
	if (!known_members(c, c->json, " command topic correlationData epoch kid envelopes activate grace ") || !managed(c))
		return false;
	if (c->space->spec.mode != SPACE_OWNER)
		return fail(c, "%.200s: is not of mode owner", c->topic);
	if (!is_owner(c))
		return denied(c, "only its owner may do that");
	const struct space_epoch *current = space_current(c->space);
	uint32_t now = current ? current->number : 0;
	if (!number_of(c->json, "epoch", UINT32_MAX, &epoch) || epoch < 1 || (epoch != now && epoch != now + 1))
		return now ? fail(c, "epoch: expected the current epoch, %" PRIu32 ", or the next, %" PRIu32, now, now + 1)
		           : fail(c, "epoch: expected the first epoch, 1");
	if (!hex_read(hex, kid, sizeof kid))
		return fail(c, "kid: expected 16 hex digits");
	if (epoch == now && current && memcmp(kid, current->kid, sizeof kid) != 0)
		return fail(c, "kid: another kid was given for epoch %" PRIu32, now);
	if (epoch > now && space_epoch_of(c->space, kid))
		return fail(c, "kid: an earlier epoch has it");
	if (!number_of(c->json, "grace", 60, &grace))
		return fail(c, "grace: expected seconds from 0 to 60");
	if (!cJSON_IsArray(list))
		return fail(c, "envelopes: expected a list of objects with certificate (64 hex digits) and envelope (base64)");
	cJSON_ArrayForEach(o, list) if (!take_envelope(c, o, (uint32_t)epoch)) return false;
	struct storing s = {.c = c, .id = c->space->spec.id};
	bool turn = epoch > now && activate;
	if (turn || epoch == now)
		envelopes_each(c->r->envelopes, c->space->spec.id, (uint32_t)epoch, 0, store_upload, &s);
	if (s.error != ERR_OK)
		return fail_err(c, s.error);
	if (turn) {
		struct change change = {.turned = true};
		if (draft_begin(&d, c->space) != ERR_OK)
			return fail(c, "out of memory");
		draft_turn_owner(&d, kid, wall_s(), grace && !d.spec.no_grace ? clock_mono_ms() + grace * 1000 : 0);
		d.spec.no_grace = false;
		if (!apply(c, &d, &change))
			return false;
		forget_uploads(c, c->space->spec.id, (uint32_t)epoch);
		audit(c, AUDIT_KEY_ROTATED, "epoch %" PRIu32 " uploaded by its owner", (uint32_t)epoch);
	} else if (epoch == now) {
		if (registrar_offer(c->r, c->space) != ERR_OK) /* who waits for one gets it */
			return fail(c, "out of memory");
	}
	c->data = cJSON_CreateObject();
	return (c->data && cJSON_AddNumberToObject(c->data, "epoch", (double)epoch) &&
	        cJSON_AddBoolToObject(c->data, "active", turn || epoch == now)) ||
	       fail(c, "out of memory");
}

/* ---- one command, all of them ---- */

static const struct {
	const char *name;
	bool (*run)(struct command *c);
	bool topic;
} commands[] = {
	{"createTopic", create_topic, true}, {"deleteTopic", delete_topic, true}, {"addMembers", add_members, true},
	{"removeMember", remove_member, true}, {"rotateKey", rotate_key, true}, {"setHistory", set_history, true},
	{"listTopics", list_topics, false}, {"getTopic", get_topic, true}, {"putEnvelopes", put_envelopes, true},
};

static bool run_one(struct command *c)
{
	const char *name = text_of(c->json, "command");
	for (size_t i = 0; name && i < sizeof commands / sizeof commands[0]; i++) {
		if (strcmp(commands[i].name, name) != 0)
			continue;
		c->topic = text_of(c->json, "topic");
		if (commands[i].topic && !is_topic(c->topic))
			return fail(c, "topic: expected a topic name without '+' and '#', not beginning with '$', of 1 to %u bytes and at most %u levels",
			            SPACE_NAME_MAX, TOPIC_LEVELS_MAX);
		c->topic_len = c->topic ? strlen(c->topic) : 0;
		c->space = commands[i].topic ? space_map_get(c->r->map, c->topic, c->topic_len) : NULL;
		return commands[i].run(c);
	}
	return fail(c, "command: expected createTopic, deleteTopic, addMembers, removeMember, rotateKey, setHistory, listTopics, getTopic or putEnvelopes");
}

static bool respond(struct command *c, cJSON *responses)
{
	bool done = run_one(c);
	const char *name = text_of(c->json, "command"), *correlation = text_of(c->json, "correlationData");
	cJSON *o = cJSON_CreateObject();
	bool good = o && cJSON_AddItemToArray(responses, o);
	if (!good) {
		cJSON_Delete(o);
		cJSON_Delete(c->data);
		return false;
	}
	if (name)
		good = cJSON_AddStringToObject(o, "command", name) != NULL;
	if (!done)
		good = good && cJSON_AddStringToObject(o, "error", c->error);
	if (done && c->data)
		good = good && cJSON_AddItemToObject(o, "data", c->data);
	if (!done || !good)
		cJSON_Delete(c->data);
	if (correlation)
		good = good && cJSON_AddStringToObject(o, "correlationData", correlation);
	return good;
}

/* Names and values that a C string cannot hold would be read as others. */
static bool has_nul(const uint8_t *json, size_t len)
{
	return memchr(json, 0, len) || memmem(json, len, "\\u0000", 6);
}

char *control_run(struct registrar *r, const struct identity *who, const uint8_t *json, size_t len)
{
	cJSON *in = len > 0 && !has_nul(json, len) ? cJSON_ParseWithLength((const char *)json, len) : NULL;
	cJSON *out = cJSON_CreateObject(), *responses = out ? cJSON_AddArrayToObject(out, "responses") : NULL;
	const cJSON *list = get(in, "commands"), *o;
	bool good = responses != NULL, wrong = !cJSON_IsArray(list);
	cJSON_ArrayForEach(o, list) wrong |= !cJSON_IsObject(o);
	if (good && wrong) {
		cJSON *e = cJSON_CreateObject();
		good = e && cJSON_AddItemToArray(responses, e) && cJSON_AddStringToObject(e, "error", "expected {\"commands\": [{\"command\": …}, …]}");
	} else if (good) {
		cJSON_ArrayForEach(o, list)
		{
			struct command c = {.r = r, .who = who, .json = o};
			good = good && respond(&c, responses);
		}
	}
	char *text = good ? cJSON_PrintUnformatted(out) : NULL;
	cJSON_Delete(in);
	cJSON_Delete(out);
	return text;
}
