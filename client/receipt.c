/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/receipt.h"

#include "base/textbytes.h"
#include "crypto/json.h"

#include <stdlib.h>
#include <string.h>

#define VERSION_TEXT "sealmq v1"
#define TYPE_TEXT "sealmq-receipt"
#define RECEIPT_MAX (1u << 20) /* characters */

static const char *const algorithms[] = { [KEY_RSA] = "PS256", [KEY_EC] = "ES256" };

/* ---- making */

static bool add_hash(cJSON *o, const char *name, const uint8_t hash[static HASH_LEN])
{
	char text[2 * HASH_LEN + 1];
	*hex_put(text, hash, HASH_LEN) = '\0';
	return cJSON_AddStringToObject(o, name, text) != NULL;
}

static cJSON *hash_text(const uint8_t hash[static HASH_LEN])
{
	char text[2 * HASH_LEN + 1];
	*hex_put(text, hash, HASH_LEN) = '\0';
	return cJSON_CreateString(text);
}

static bool add_marks(cJSON *o, const struct transcript_scan *s, uint64_t step)
{
	cJSON *marks = cJSON_AddArrayToObject(o, "marks");
	for (uint64_t line = step; marks && line < s->lines; line += step)
		if (!cJSON_AddItemToArray(marks, hash_text(s->hash[line - 1])))
			return false;
	return marks != NULL;
}

static char *payload_of(const struct transcript_scan *s, uint64_t first, uint64_t now_ms)
{
	uint64_t step = (s->lines + TRANSCRIPT_MARKS_MAX - 1) / TRANSCRIPT_MARKS_MAX;
	cJSON *o = cJSON_CreateObject();
	bool made = o && cJSON_AddStringToObject(o, "receipt", VERSION_TEXT) && add_hash(o, "holder", s->holder) &&
	            cJSON_AddNumberToObject(o, "made", (double)now_ms) && cJSON_AddNumberToObject(o, "first", (double)first) &&
	            cJSON_AddNumberToObject(o, "last", (double)s->messages) && cJSON_AddNumberToObject(o, "count", (double)(s->messages - first + 1)) &&
	            cJSON_AddNumberToObject(o, "lines", (double)s->lines) && add_hash(o, "hash", s->hash[s->lines - 1]) &&
	            cJSON_AddNumberToObject(o, "step", (double)step) && add_marks(o, s, step);
	char *text = made ? cJSON_PrintUnformatted(o) : NULL;
	cJSON_Delete(o);
	return text;
}

static char *header_of(const struct cert *c, enum key_kind kind)
{
	size_t len = der_len(c->whole);
	char *der = malloc(base64_len(BASE64_STANDARD, len) + 1); /* x5c is not base64url [RFC 7515 4.1.6] */
	cJSON *o = cJSON_CreateObject();
	if (der)
		*base64_put(BASE64_STANDARD, der, c->whole.p, len) = '\0';
	cJSON *chain = o && der && cJSON_AddStringToObject(o, "alg", algorithms[kind]) && cJSON_AddStringToObject(o, "typ", TYPE_TEXT)
	             ? cJSON_AddArrayToObject(o, "x5c") : NULL;
	char *text = chain && cJSON_AddItemToArray(chain, cJSON_CreateString(der)) ? cJSON_PrintUnformatted(o) : NULL;
	cJSON_Delete(o);
	free(der);
	return text;
}

enum err receipt_make(const struct transcript_scan *s, uint64_t first, uint64_t now_ms, struct keypair *key, char **text)
{
	uint8_t hash[HASH_LEN], sig[KEYS_SIGNATURE_MAX];
	size_t sig_len;
	cert_fingerprint(keypair_cert(key), hash);
	if (memcmp(hash, s->holder, HASH_LEN) != 0)
		return ERR_REFUSED;
	if (first == 0 || first > s->messages)
		return ERR_INVALID;
	char *payload = payload_of(s, first, now_ms), *header = header_of(keypair_cert(key), pubkey_kind(keypair_public(key)));
	char *out = NULL;
	if (payload && header)
		out = malloc(base64_len(BASE64_URL, strlen(header)) + base64_len(BASE64_URL, strlen(payload)) + base64_len(BASE64_URL, sizeof sig) + 4);
	enum err e = out ? ERR_OK : ERR_NOMEM;
	if (e == ERR_OK) {
		char *p = base64_put(BASE64_URL, out, header, strlen(header));
		*p++ = '.';
		p = base64_put(BASE64_URL, p, payload, strlen(payload));
		hash_sha256(out, (size_t)(p - out), hash);
		e = keypair_sign(key, SIG_COSE, hash, sig, &sig_len); /* JWS and COSE write ES256 and PS256 alike */
		if (e == ERR_OK) {
			*p++ = '.';
			p = base64_put(BASE64_URL, p, sig, sig_len);
			*p++ = '\n';
			*p = '\0';
		}
	}
	free(payload);
	free(header);
	if (e != ERR_OK)
		free(out);
	else
		*text = out;
	return e;
}

/* ---- reading */

static const char no_memory[] = "out of memory";

/* A part of the JWS up to the next '.', or to the end: decoded into *room, NUL-terminated. *text and *room move behind it. NULL: not base64url. */
static char *take_part(const char **text, const char *end, char **room, size_t *len)
{
	const char *dot = memchr(*text, '.', (size_t)(end - *text));
	size_t n = (size_t)((dot ? dot : end) - *text);
	char *out = *room;
	bool good = base64_get(BASE64_URL, *text, n, out, n, len);
	*text = dot ? dot + 1 : end;
	if (!good)
		return NULL;
	out[*len] = '\0';
	*room += *len + 1;
	return out;
}

static bool number(const cJSON *o, const char *name, uint64_t *out)
{
	return json_whole(o, name, JSON_WHOLE_MAX, out);
}

static bool read_marks(struct transcript_known *k, const cJSON *marks)
{
	const cJSON *mark;
	if (!cJSON_IsArray(marks) || k->step == 0)
		return false;
	cJSON_ArrayForEach(mark, marks)
		if (k->n_marks == TRANSCRIPT_MARKS_MAX || !json_is_hash(mark, k->mark[k->n_marks++]))
			return false;
	return k->n_marks < k->lines;
}

static const char *read_payload(struct receipt *r, const cJSON *o)
{
	uint64_t count;
	const char *version = json_text(o, "receipt");
	if (!version || strcmp(version, VERSION_TEXT) != 0)
		return "it is no receipt of a known version; expected \"receipt\": \"" VERSION_TEXT "\"";
	if (!number(o, "made", &r->made_ms) || !number(o, "first", &r->first) || !number(o, "last", &r->last) || !number(o, "count", &count) ||
	    !number(o, "lines", &r->known.lines) || !number(o, "step", &r->known.step) ||
	    !json_hash(o, "holder", r->holder) || !json_hash(o, "hash", r->known.last) ||
	    !read_marks(&r->known, cJSON_GetObjectItemCaseSensitive(o, "marks")))
		return "a member is missing or out of range";
	return r->first >= 1 && r->first <= r->last && count == r->last - r->first + 1 && r->last < r->known.lines ? NULL : "its numbers contradict each other";
}

static const char *read_header(const cJSON *o, uint8_t **der, size_t *len, const char **alg)
{
	const cJSON *chain = cJSON_GetObjectItemCaseSensitive(o, "x5c");
	const char *type = json_text(o, "typ");
	const char *text = cJSON_IsArray(chain) ? cJSON_GetStringValue(cJSON_GetArrayItem(chain, 0)) : NULL;
	*alg = json_text(o, "alg");
	if (!*alg || !type || strcmp(type, TYPE_TEXT) != 0 || !text || cJSON_GetArraySize(chain) != 1 || cJSON_HasObjectItem(o, "crit"))
		return "its header is not alg, typ \"" TYPE_TEXT "\" and x5c with one certificate";
	*der = malloc(strlen(text) + 1);
	if (!*der)
		return no_memory;
	return base64_get(BASE64_STANDARD, text, strlen(text), *der, strlen(text), len) ? NULL : "its certificate is not base64";
}

static const char *verify(struct receipt *r, const uint8_t *der, size_t der_bytes, const char *alg, const char *text, size_t text_len, const uint8_t *sig,
                          size_t sig_len)
{
	struct cert c;
	struct pubkey *key;
	uint8_t hash[HASH_LEN];
	enum err e = cert_parse(&c, der, der_bytes);
	if (e == ERR_OK)
		e = pubkey_new(&key, &c);
	if (e != ERR_OK)
		return e == ERR_NOMEM ? no_memory : "its certificate cannot be read, or has a kind of key that is not supported";
	cert_fingerprint(&c, hash);
	bool own = memcmp(hash, r->holder, HASH_LEN) == 0, same_alg = strcmp(alg, algorithms[pubkey_kind(key)]) == 0;
	hash_sha256(text, text_len, hash);
	bool good = pubkey_verify(key, SIG_COSE, hash, sig, sig_len);
	pubkey_free(key);
	return !own ? "it is signed by another certificate than the holder's" : !same_alg || !good ? "its signature is wrong: the receipt was changed" : NULL;
}

/* text without white space at its end; room: for its parts, decoded. */
static const char *read_all(struct receipt *out, uint8_t **der, size_t *der_bytes, const char *text, size_t len, char *room)
{
	size_t header_len = 0, payload_len = 0, sig_len = 0;
	const char *p = text, *end = text + len, *alg = NULL;
	cJSON *header_json = NULL, *payload_json = NULL;
	char *header = take_part(&p, end, &room, &header_len), *payload = take_part(&p, end, &room, &payload_len);
	size_t signed_len = (size_t)(p - text) - (p > text && p != end ? 1 : 0);
	const char *sig = take_part(&p, end, &room, &sig_len);
	enum err e = header && payload && sig && p == end ? json_parse(header, header_len, NULL, &header_json) : ERR_INVALID;
	if (e == ERR_OK)
		e = json_parse(payload, payload_len, NULL, &payload_json);
	const char *why = e == ERR_NOMEM ? no_memory : e != ERR_OK ? "it is not three parts in base64url with '.' between" : NULL;
	if (!why)
		why = read_header(header_json, der, der_bytes, &alg);
	if (!why)
		why = read_payload(out, payload_json);
	if (!why)
		why = verify(out, *der, *der_bytes, alg, text, signed_len, (const uint8_t *)sig, sig_len);
	cJSON_Delete(header_json);
	cJSON_Delete(payload_json);
	return why;
}

enum err receipt_read(struct receipt *out, uint8_t **der, size_t *der_bytes, const char *text, size_t len, const char **why)
{
	*out = (struct receipt){ .first = 0 };
	*der = NULL;
	while (len > 0 && strchr(" \t\r\n", text[len - 1]))
		len--;
	char *room = len <= RECEIPT_MAX ? malloc(len + 3) : NULL;
	*why = len > RECEIPT_MAX ? "it is too long to be a receipt" : room ? read_all(out, der, der_bytes, text, len, room) : no_memory;
	free(room);
	if (!*why)
		return ERR_OK;
	free(*der);
	*der = NULL;
	return *why == no_memory ? ERR_NOMEM : ERR_INVALID;
}
