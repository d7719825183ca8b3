/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the file holds: the length of a JSON text (4 bytes, big endian), that text, and the keys of all epochs as an envelope's content. */
#include "client/owner_state.h"

#include "base/be.h"
#include "base/pool.h"
#include "base/secmem.h"
#include "base/textbytes.h"
#include "crypto/hash.h"
#include "crypto/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "sealmq v1"
#define HEAD_LEN 4u
#define NAME_SIZE (2 * 16 + 1)

static const char *const signs[] = { [SIGN_OFF] = "off", [SIGN_OPTIONAL] = "optional", [SIGN_REQUIRED] = "required" };

/* A topic may be longer than a file's name, and its letters are not all good for one. */
static void name_of(const char *topic, char out[static NAME_SIZE])
{
	uint8_t hash[HASH_LEN];
	hash_sha256(topic, strlen(topic), hash);
	*hex_put(out, hash, 16) = '\0';
}

/* ---- writing */

static bool add_bytes(cJSON *o, const char *name, const void *bytes, size_t len)
{
	char *text = malloc(base64_len(BASE64_STANDARD, len) + 1);
	if (text)
		*base64_put(BASE64_STANDARD, text, bytes, len) = '\0';
	bool added = text && cJSON_AddStringToObject(o, name, text);
	free(text);
	return added;
}

static bool add_member(cJSON *list, const struct owner_member *m)
{
	cJSON *o = cJSON_CreateObject();
	return cJSON_AddItemToArray(list, o) && cJSON_AddStringToObject(o, "cn", m->cn) && cJSON_AddNumberToObject(o, "access", m->access) &&
	       cJSON_AddNumberToObject(o, "since", m->since) && cJSON_AddNumberToObject(o, "until", m->until) &&
	       cJSON_AddBoolToObject(o, "pinned", m->pinned) &&
	       (!m->der || add_bytes(o, "certificate", m->der, m->der_len));
}

static char *json_of(const struct owner_space *s)
{
	cJSON *o = cJSON_CreateObject(), *list = NULL;
	bool good = o && cJSON_AddStringToObject(o, "owner", FORMAT) && cJSON_AddStringToObject(o, "topic", s->topic) &&
	            cJSON_AddStringToObject(o, "sign", signs[s->sign]) && cJSON_AddBoolToObject(o, "fromJoin", s->from_join) &&
	            (!s->settings || cJSON_AddStringToObject(o, "settings", s->settings)) && cJSON_AddNumberToObject(o, "number", (double)s->list_number) &&
	            (!s->list || add_bytes(o, "list", s->list, s->list_len)) && cJSON_AddBoolToObject(o, "created", s->created) &&
	            cJSON_AddBoolToObject(o, "deleting", s->deleting) && cJSON_AddNumberToObject(o, "sentEpoch", s->sent_epoch) &&
	            cJSON_AddNumberToObject(o, "sentNumber", (double)s->sent_list) && (list = cJSON_AddArrayToObject(o, "members"));
	for (size_t i = 0; good && i < s->n_members; i++)
		good = add_member(list, &s->members[i]);
	char *text = good ? cJSON_PrintUnformatted(o) : NULL;
	cJSON_Delete(o);
	return text;
}

enum err owner_state_format(const struct owner_space *s, const uint8_t own[static 32], uint8_t **out, size_t *len)
{
	char *keys = NULL, *json = json_of(s);
	size_t keys_len = 0, json_len = json ? strlen(json) : 0;
	enum err e = json ? owner_keys(s, own, own, &keys, &keys_len) : ERR_NOMEM;
	*out = e == ERR_OK ? secmem_alloc(HEAD_LEN + json_len + keys_len) : NULL;
	if (*out) {
		put_be(*out, json_len, HEAD_LEN);
		memcpy(*out + HEAD_LEN, json, json_len);
		memcpy(*out + HEAD_LEN + json_len, keys, keys_len);
		*len = HEAD_LEN + json_len + keys_len;
	} else if (e == ERR_OK) {
		e = ERR_NOMEM;
	}
	secmem_free(keys);
	cJSON_free(json);
	return e;
}

/* ---- reading */

/* Bytes in base64, for pool_free; an absent member is none. */
static enum err bytes_of(const cJSON *o, const char *name, uint8_t **out, size_t *len)
{
	const char *text = json_text(o, name);
	*out = NULL;
	*len = 0;
	if (!text)
		return ERR_OK;
	*out = pool_alloc(strlen(text) + 1);
	if (!*out)
		return ERR_NOMEM;
	return base64_get(BASE64_STANDARD, text, strlen(text), *out, strlen(text), len) ? ERR_OK : ERR_INVALID;
}

static enum err read_certificate(struct owner_member *m, const cJSON *o)
{
	uint8_t *der;
	size_t len;
	struct cert c;
	enum err e = bytes_of(o, "certificate", &der, &len);
	m->der = e == ERR_OK && der ? malloc(len + 1) : NULL;
	if (e == ERR_OK && der && !m->der)
		e = ERR_NOMEM;
	if (m->der) {
		memcpy(m->der, der, len);
		m->der_len = len;
		e = cert_parse(&c, m->der, len);
	}
	if (m->der && e == ERR_OK)
		cert_fingerprint(&c, m->fingerprint);
	pool_free(der);
	return e;
}

static enum err read_member(struct owner_space *s, const cJSON *o)
{
	struct owner_member *m = &s->members[s->n_members];
	uint64_t access, since, until;
	const char *cn = json_text(o, "cn");
	if (!cn || !json_whole(o, "access", MEMBER_READ | MEMBER_WRITE, &access) || !json_whole(o, "since", UINT32_MAX, &since) ||
	    !json_whole(o, "until", UINT32_MAX, &until))
		return ERR_INVALID;
	*m = (struct owner_member){ .cn = strdup(cn), .access = (unsigned)access, .since = (uint32_t)since, .until = (uint32_t)until,
		.pinned = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "pinned")) };
	s->n_members++;
	return m->cn ? read_certificate(m, o) : ERR_NOMEM;
}

static enum err read_members(struct owner_space *s, const cJSON *list)
{
	const cJSON *o;
	enum err e = ERR_OK;
	if (!cJSON_IsArray(list))
		return ERR_INVALID;
	s->members = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *s->members);
	if (!s->members)
		return ERR_NOMEM;
	for (o = list->child; o && e == ERR_OK; o = o->next)
		e = read_member(s, o);
	return e;
}

static enum err read_json(struct owner_space *s, const cJSON *o)
{
	const char *sign = json_text(o, "sign"), *settings = json_text(o, "settings"), *format = json_text(o, "owner");
	uint64_t sent_epoch = 0;
	for (s->sign = SIGN_OFF; sign && s->sign < SIGN_REQUIRED && strcmp(signs[s->sign], sign) != 0;)
		s->sign = (enum seal_sign)(s->sign + 1);
	if (!format || strcmp(format, FORMAT) != 0 || !sign || strcmp(signs[s->sign], sign) != 0 || !json_whole(o, "number", JSON_WHOLE_MAX, &s->list_number) ||
	    !json_whole(o, "sentEpoch", UINT32_MAX, &sent_epoch) || !json_whole(o, "sentNumber", JSON_WHOLE_MAX, &s->sent_list))
		return ERR_INVALID;
	s->sent_epoch = (uint32_t)sent_epoch;
	s->from_join = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "fromJoin"));
	s->created = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "created"));
	s->deleting = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "deleting"));
	if (settings && !(s->settings = strdup(settings)))
		return ERR_NOMEM;
	enum err e = bytes_of(o, "list", &s->list, &s->list_len);
	return e == ERR_OK ? read_members(s, cJSON_GetObjectItemCaseSensitive(o, "members")) : e;
}

enum err owner_state_parse(struct owner_space **out, const uint8_t *content, size_t len, const char **why)
{
	size_t json_len = len > HEAD_LEN ? (size_t)get_be(content, HEAD_LEN) : 0;
	cJSON *o = NULL;
	*why = "not the state of an owner's key space, or of a version that is not known";
	if (len <= HEAD_LEN || json_len > len - HEAD_LEN)
		return ERR_INVALID;
	enum err e = json_parse(content + HEAD_LEN, json_len, NULL, &o);
	const char *topic = json_text(o, "topic");
	if (e == ERR_OK && !topic)
		e = ERR_INVALID;
	struct owner_space *s = e == ERR_OK ? owner_space_new(topic, SIGN_OPTIONAL, false) : NULL;
	if (e == ERR_OK)
		e = s ? read_json(s, o) : ERR_NOMEM;
	cJSON_Delete(o);
	if (e == ERR_OK) {
		s->n_epochs = 0;
		e = owner_take_keys(s, content + HEAD_LEN + json_len, len - HEAD_LEN - json_len, why);
	}
	if (e == ERR_NOMEM)
		*why = err_text(e);
	if (e == ERR_OK)
		*out = s;
	else
		owner_space_free(s);
	return e;
}

/* ---- files */

enum err owner_state_load_file(const struct vault *v, const char *name, struct owner_space **out, char error[static VAULT_ERROR_MAX])
{
	uint8_t *content;
	size_t len;
	const char *why = "out of memory";
	enum err e = vault_read(v, name, &content, &len, error);
	if (e != ERR_OK)
		return e;
	e = owner_state_parse(out, content, len, &why);
	if (e != ERR_OK)
		snprintf(error, VAULT_ERROR_MAX, "%s/%s: %s", vault_folder(v), name, why);
	secmem_free(content);
	return e;
}

enum err owner_state_load(const struct vault *v, const char *topic, struct owner_space **out, char error[static VAULT_ERROR_MAX])
{
	char name[NAME_SIZE];
	name_of(topic, name);
	return owner_state_load_file(v, name, out, error);
}

enum err owner_state_save(const struct vault *v, const struct owner_space *s, const uint8_t own[static 32], char error[static VAULT_ERROR_MAX])
{
	char name[NAME_SIZE];
	uint8_t *content;
	size_t len;
	enum err e = owner_state_format(s, own, &content, &len);
	if (e != ERR_OK) {
		snprintf(error, VAULT_ERROR_MAX, "%.200s: %s", s->topic, err_text(e));
		return e;
	}
	name_of(s->topic, name);
	e = vault_write(v, name, content, len, error);
	secmem_free(content);
	return e;
}

enum err owner_state_remove(const struct vault *v, const char *topic, char error[static VAULT_ERROR_MAX])
{
	char name[NAME_SIZE];
	name_of(topic, name);
	return vault_remove(v, name, error);
}
