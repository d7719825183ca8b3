/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the file holds: the length of a JSON text (4 bytes, big endian), that text, and the keys of all epochs as an envelope's content. */
#include "client/owner_state.h"

#include "base/pool.h"
#include "base/secmem.h"
#include "base/textbytes.h"
#include "crypto/hash.h"

#include <cjson/cJSON.h>

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
		for (unsigned i = 0; i < HEAD_LEN; i++)
			(*out)[i] = (uint8_t)(json_len >> (24 - 8 * i));
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

static const char *text_of(const cJSON *o, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
}

static bool number_of(const cJSON *o, const char *name, double max, uint64_t *out)
{
	const cJSON *n = cJSON_GetObjectItemCaseSensitive(o, name);
	if (!cJSON_IsNumber(n) || !(n->valuedouble >= 0) || n->valuedouble > max)
		return false;
	*out = (uint64_t)n->valuedouble;
	return true;
}

/* Bytes in base64, for pool_free; an absent member is none. False: they are not. */
static bool bytes_of(const cJSON *o, const char *name, uint8_t **out, size_t *len)
{
	const char *text = text_of(o, name);
	*out = NULL;
	*len = 0;
	if (!text)
		return true;
	*out = pool_alloc(strlen(text) + 1);
	return *out && base64_get(BASE64_STANDARD, text, strlen(text), *out, strlen(text), len);
}

static bool read_member(struct owner_space *s, const cJSON *o)
{
	struct owner_member *m = &s->members[s->n_members];
	uint64_t access, since, until;
	uint8_t *der = NULL;
	struct cert c;
	const char *cn = text_of(o, "cn");
	if (!cn || !number_of(o, "access", 3, &access) || !number_of(o, "since", UINT32_MAX, &since) || !number_of(o, "until", UINT32_MAX, &until))
		return false;
	*m = (struct owner_member){ .cn = strdup(cn), .access = (unsigned)access, .since = (uint32_t)since, .until = (uint32_t)until,
		.pinned = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "pinned")) };
	s->n_members++;
	bool good = m->cn && bytes_of(o, "certificate", &der, &m->der_len);
	m->der = good && der ? malloc(m->der_len + 1) : NULL;
	if (m->der) {
		memcpy(m->der, der, m->der_len);
		good = cert_parse(&c, m->der, m->der_len) == ERR_OK;
		if (good)
			cert_fingerprint(&c, m->fingerprint);
	}
	good = good && (!der || m->der);
	pool_free(der);
	return good;
}

static bool read_members(struct owner_space *s, const cJSON *list)
{
	const cJSON *o;
	s->members = cJSON_IsArray(list) ? calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *s->members) : NULL;
	if (!s->members)
		return false;
	cJSON_ArrayForEach(o, list)
		if (!read_member(s, o))
			return false;
	return true;
}

static bool read_json(struct owner_space *s, const cJSON *o)
{
	const char *sign = text_of(o, "sign"), *settings = text_of(o, "settings"), *format = text_of(o, "owner");
	uint64_t sent_epoch = 0;
	for (s->sign = SIGN_OFF; sign && s->sign < SIGN_REQUIRED && strcmp(signs[s->sign], sign) != 0;)
		s->sign = (enum seal_sign)(s->sign + 1);
	s->from_join = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "fromJoin"));
	s->created = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "created"));
	s->deleting = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "deleting"));
	s->settings = settings ? strdup(settings) : NULL;
	bool good = format && strcmp(format, FORMAT) == 0 && sign && (!settings || s->settings) && number_of(o, "number", 9e15, &s->list_number) &&
	            number_of(o, "sentEpoch", UINT32_MAX, &sent_epoch) && number_of(o, "sentNumber", 9e15, &s->sent_list) &&
	            bytes_of(o, "list", &s->list, &s->list_len) && read_members(s, cJSON_GetObjectItemCaseSensitive(o, "members"));
	s->sent_epoch = (uint32_t)sent_epoch;
	return good;
}

enum err owner_state_parse(struct owner_space **out, const uint8_t *content, size_t len, const char **why)
{
	size_t json_len = 0;
	*why = "not the state of an owner's key space, or of a version that is not known";
	for (unsigned i = 0; i < HEAD_LEN && len > HEAD_LEN; i++)
		json_len = json_len << 8 | content[i];
	if (len <= HEAD_LEN || json_len > len - HEAD_LEN)
		return ERR_INVALID;
	cJSON *o = cJSON_ParseWithLength((const char *)content + HEAD_LEN, json_len);
	const char *topic = text_of(o, "topic");
	struct owner_space *s = topic ? owner_space_new(topic, SIGN_OPTIONAL, false) : NULL;
	enum err e = !topic ? ERR_INVALID : !s ? ERR_NOMEM : read_json(s, o) ? ERR_OK : ERR_INVALID;
	cJSON_Delete(o);
	if (e == ERR_OK) {
		s->n_epochs = 0;
		e = owner_take_keys(s, content + HEAD_LEN + json_len, len - HEAD_LEN - json_len, why);
	}
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
