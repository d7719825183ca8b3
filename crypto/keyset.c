/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Key sets as JSON. Key material stays in secret memory, but for the JSON reader's strings, which are wiped. Owns nothing. */
#include "crypto/keyset.h"

#include "base/secmem.h"
#include "base/textbytes.h"
#include "crypto/json.h"

#include <stdio.h>
#include <string.h>

enum { ENTRY_FIXED_MAX = 640 };

static const char *const modes[] = { [SEAL_BROKER] = "broker", [SEAL_OWNER] = "owner" };
static const char *const signs[] = { [SIGN_OFF] = "off", [SIGN_OPTIONAL] = "optional", [SIGN_REQUIRED] = "required" };

/* ---- text forms */

static char *put_text(char *p, const char *text)
{
	while (*text)
		*p++ = *text++;
	return p; /* what is built is not NUL-terminated */
}

/* A JSON string [RFC 8259 7]; up to six characters a byte. */
static char *put_string(char *p, const char *text, size_t len)
{
	*p++ = '"';
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)text[i];
		if (c < 0x20) {
			p = put_text(p, "\\u00");
			p = hex_put(p, &c, 1);
			continue;
		}
		if (c == '"' || c == '\\')
			*p++ = '\\';
		*p++ = text[i];
	}
	*p++ = '"';
	return p;
}

/* ---- rules */

/* A space's name is empty or a topic; a topic is a grantable filter without '#'. */
static bool is_space(const char *space, size_t len)
{
	return len == 0 || (space[len - 1] != '#' && keytree_grantable(space, len));
}

/* Whether the grant stays inside the space. */
static bool fits(const struct keyset_entry *e)
{
	static const uint8_t any[KEYTREE_KEY_LEN];
	uint8_t out[KEYTREE_KEY_LEN];
	return keytree_grant(any, e->space, e->space_len, e->filter, e->filter_len, out) == ERR_OK;
}

static const char *entry_fault(const struct keyset_entry *e)
{
	if (e->filter_len > KEYSET_NAME_MAX || !keytree_grantable(e->filter, e->filter_len))
		return "the filter cannot be granted";
	if (e->space_len > KEYSET_NAME_MAX || !is_space(e->space, e->space_len) || !fits(e))
		return "the filter reaches out of the space";
	if (e->epoch == 0)
		return "the epoch is not a positive number";
	if (e->mode != SEAL_BROKER && e->mode != SEAL_OWNER)
		return "the mode is unknown";
	if (e->sign != SIGN_OFF && e->sign != SIGN_OPTIONAL && e->sign != SIGN_REQUIRED)
		return "the signature policy is unknown";
	if (e->issued_s > KEYSET_TIME_MAX || e->not_after_s > KEYSET_TIME_MAX)
		return "a time is out of range";
	return NULL;
}

/* ---- writing */

static char *put_entry(char *p, const struct keyset_entry *e)
{
	p = put_text(p, "{\"kty\":\"oct\",\"key_ops\":[\"deriveKey\"],\"kid\":\"");
	p = base64_put(BASE64_URL, p, e->kid, sizeof e->kid);
	p = put_text(p, "\",\"k\":\"");
	p = base64_put(BASE64_URL, p, e->key, sizeof e->key);
	p = put_text(p, "\",\"sealmq\":{\"filter\":");
	p = put_string(p, e->filter, e->filter_len);
	p = put_text(p, ",\"space\":");
	p = put_string(p, e->space, e->space_len);
	p += snprintf(p, ENTRY_FIXED_MAX / 4, ",\"epoch\":%u,\"mode\":\"%s\",\"sign\":\"%s\",\"issuer\":\"", e->epoch, modes[e->mode], signs[e->sign]);
	p = hex_put(p, e->issuer, sizeof e->issuer);
	p = put_text(p, "\",\"recipient\":\"");
	p = hex_put(p, e->recipient, sizeof e->recipient);
	p += snprintf(p, ENTRY_FIXED_MAX / 4, "\",\"issued\":%llu,\"not_after\":%llu}}", (unsigned long long)e->issued_s,
	              (unsigned long long)e->not_after_s);
	return p;
}

enum err keyset_format_with(const struct keyset_entry *entries, size_t n, const uint8_t *members, size_t members_len, char **out, size_t *len)
{
	size_t cap = 32 + base64_len(BASE64_URL, members_len);
	if (n == 0 || n > KEYSET_EPOCHS_MAX)
		return ERR_INVALID;
	for (size_t i = 0; i < n; i++) {
		if (entry_fault(&entries[i]))
			return ERR_INVALID;
		cap += ENTRY_FIXED_MAX + 6 * (entries[i].filter_len + entries[i].space_len);
	}
	char *text = secmem_alloc(cap), *p = text;
	if (!text)
		return ERR_NOMEM;
	p = put_text(p, "{\"keys\":[");
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			*p++ = ',';
		p = put_entry(p, &entries[i]);
	}
	p = put_text(p, "]");
	if (members_len > 0) {
		p = put_text(p, ",\"members\":\"");
		p = base64_put(BASE64_URL, p, members, members_len);
		p = put_text(p, "\"");
	}
	p = put_text(p, "}");
	*out = text;
	*len = (size_t)(p - text);
	return ERR_OK;
}

enum err keyset_format(const struct keyset_entry *entries, size_t n, char **out, size_t *len)
{
	return keyset_format_with(entries, n, NULL, 0, out, len);
}

/* ---- reading */

static bool has_repeats(const cJSON *object)
{
	for (const cJSON *a = object->child; a; a = a->next)
		for (const cJSON *b = a->next; b; b = b->next)
			if (a->string && b->string && strcmp(a->string, b->string) == 0)
				return true;
	return false;
}

static bool is_string(const cJSON *object, const char *name, const char *value)
{
	const char *s = json_text(object, name);
	return s && strcmp(s, value) == 0;
}

static int index_of(const char *text, const char *const *names, size_t n)
{
	for (size_t i = 0; text && i < n; i++)
		if (names[i] && strcmp(names[i], text) == 0)
			return (int)i;
	return -1;
}

static bool derives_keys(const cJSON *jwk)
{
	const cJSON *ops = cJSON_GetObjectItemCaseSensitive(jwk, "key_ops");
	const char *op = cJSON_IsArray(ops) ? cJSON_GetStringValue(cJSON_GetArrayItem(ops, 0)) : NULL;
	return op && cJSON_GetArraySize(ops) == 1 && strcmp(op, "deriveKey") == 0;
}

static bool key_get(const char *text, uint8_t *out, size_t len)
{
	size_t n;
	return text && base64_get(BASE64_URL, text, strlen(text), out, len, &n) && n == len;
}

static const char *read_entry(const cJSON *jwk, struct keyset_entry *e)
{
	const cJSON *about = cJSON_GetObjectItemCaseSensitive(jwk, "sealmq");
	uint64_t epoch;
	if (!cJSON_IsObject(jwk) || !cJSON_IsObject(about) || has_repeats(jwk) || has_repeats(about))
		return "a key is not an object with a sealmq object, or a member is repeated";
	if (!is_string(jwk, "kty", "oct") || !derives_keys(jwk))
		return "a key is not for key derivation";
	const char *kid = json_text(jwk, "kid"), *k = json_text(jwk, "k");
	if (!key_get(kid, e->kid, sizeof e->kid) || !key_get(k, e->key, sizeof e->key))
		return "kid or k is not base64url of 8 and 32 bytes";
	if (!json_hash(about, "issuer", e->issuer) || !json_hash(about, "recipient", e->recipient))
		return "issuer or recipient is not a fingerprint";
	e->filter = json_text(about, "filter");
	e->space = json_text(about, "space");
	if (!e->filter || !e->space)
		return "filter or space is missing";
	e->filter_len = strlen(e->filter);
	e->space_len = strlen(e->space);
	int mode = index_of(json_text(about, "mode"), modes, sizeof modes / sizeof modes[0]);
	int sign = index_of(json_text(about, "sign"), signs, sizeof signs / sizeof signs[0]);
	if (mode < 0 || sign < 0 || !json_whole(about, "epoch", UINT32_MAX, &epoch) || !json_whole(about, "issued", KEYSET_TIME_MAX, &e->issued_s) ||
	    !json_whole(about, "not_after", KEYSET_TIME_MAX, &e->not_after_s))
		return "mode, sign, epoch, issued or not_after is missing or out of range";
	e->epoch = (uint32_t)epoch;
	e->mode = (enum seal_mode)mode;
	e->sign = (enum seal_sign)sign;
	return entry_fault(e);
}

/* The tree's strings lie in plain memory: they go before they are freed. */
static void wipe_keys(const cJSON *keys)
{
	for (const cJSON *jwk = keys ? keys->child : NULL; jwk; jwk = jwk->next)
		for (const cJSON *member = jwk->child; member; member = member->next)
			if (cJSON_IsString(member))
				secmem_wipe(member->valuestring, strlen(member->valuestring));
}

static const char *copy_name(char **to, const char *name, size_t len)
{
	const char *start = memcpy(*to, name, len);
	*to += len;
	return start;
}

/* The list's bytes, if there is one, behind the names. */
static const char *read_members(const char *text, struct keyset *set, char *to)
{
	if (!text)
		return NULL;
	set->members = (uint8_t *)to;
	bool good = base64_get(BASE64_URL, text, strlen(text), to, strlen(text), &set->members_len) && set->members_len > 0;
	return good ? NULL : "the list of members is not base64url";
}

static enum err read_set(const cJSON *keys, const char *members, struct keyset **out, const char **why)
{
	size_t n = (size_t)cJSON_GetArraySize(keys), names = members ? strlen(members) : 0;
	struct keyset *set = secmem_alloc(sizeof *set + n * sizeof *set->entries);
	if (!set)
		return ERR_NOMEM;
	for (const cJSON *jwk = keys->child; jwk && !*why; jwk = jwk->next) {
		*why = read_entry(jwk, &set->entries[set->n]);
		names += set->entries[set->n].filter_len + set->entries[set->n].space_len;
		set->n++;
	}
	struct keyset *full = *why ? NULL : secmem_alloc(sizeof *set + n * sizeof *set->entries + names);
	if (full) {
		char *to = (char *)&full->entries[n];
		memcpy(full, set, sizeof *set + n * sizeof *set->entries);
		for (size_t i = 0; i < n; i++) {
			struct keyset_entry *e = &full->entries[i];
			e->filter = copy_name(&to, e->filter, e->filter_len);
			e->space = copy_name(&to, e->space, e->space_len);
		}
		*why = read_members(members, full, to);
		*out = full;
	}
	secmem_free(set);
	if (*why)
		secmem_free(full);
	return *why ? ERR_INVALID : full ? ERR_OK : ERR_NOMEM;
}

/* cJSON hands out C strings: a NUL, raw or escaped, would cut one short. No name may hold one. */
static bool holds_nul(const char *json, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (json[i] == '\0' || (json[i] == '\\' && len - i >= 6 && memcmp(json + i + 1, "u0000", 5) == 0))
			return true;
		if (json[i] == '\\')
			i++; /* what is escaped starts nothing */
	}
	return false;
}

enum err keyset_parse(struct keyset **out, const void *json, size_t len, const char **why)
{
	const char *end = NULL;
	cJSON *root = NULL;
	*why = NULL;
	enum err e = len > 0 && !holds_nul(json, len) ? json_parse(json, len, &end, &root) : ERR_INVALID;
	if (e == ERR_NOMEM)
		return e;
	e = ERR_INVALID;
	const cJSON *keys = cJSON_GetObjectItemCaseSensitive(root, "keys"), *members = cJSON_GetObjectItemCaseSensitive(root, "members");
	if (!root || end != (const char *)json + len)
		*why = "not JSON";
	else if (!cJSON_IsObject(root) || has_repeats(root) || !cJSON_IsArray(keys) || cJSON_GetArraySize(keys) < 1 ||
	         cJSON_GetArraySize(keys) > (int)KEYSET_EPOCHS_MAX)
		*why = "not a JWK Set of 1 to 64 keys";
	else if (members && !cJSON_IsString(members))
		*why = "the list of members is not base64url";
	else
		e = read_set(keys, cJSON_GetStringValue(members), out, why);
	wipe_keys(keys);
	cJSON_Delete(root);
	return e;
}
