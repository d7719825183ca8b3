/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/transcript_line.h"

#include "base/textbytes.h"
#include "crypto/json.h"

#include <stdlib.h>
#include <string.h>

#define VERSION_TEXT "sealmq v1"
#define TIME_MAX UINT64_C(253402300799999) /* milliseconds: the end of year 9999 */

/* ---- writing: cJSON keeps the order in which members are added, and prints whole numbers up to 2^53 as such */

static bool add_hex(cJSON *o, const char *name, const uint8_t *bytes, size_t len)
{
	char text[2 * HASH_LEN + 1];
	*hex_put(text, bytes, len) = '\0';
	return cJSON_AddStringToObject(o, name, text) != NULL;
}

static bool add_bytes(cJSON *o, const char *name, const uint8_t *bytes, size_t len)
{
	char *text = malloc(base64_len(BASE64_URL, len) + 1);
	if (!text)
		return false;
	*base64_put(BASE64_URL, text, bytes, len) = '\0';
	bool added = cJSON_AddStringToObject(o, name, text) != NULL;
	free(text);
	return added;
}

static bool add_seq(cJSON *o, uint64_t seq)
{
	char digits[24], *p = digits + sizeof digits;
	*--p = '\0'; /* 64 bits do not fit a JSON number */
	do
		*--p = (char)('0' + seq % 10);
	while (seq /= 10);
	return cJSON_AddStringToObject(o, "seq", p) != NULL;
}

static bool add_message(cJSON *o, const struct transcript_line *l, const struct cose *c)
{
	return cJSON_AddNumberToObject(o, "n", (double)l->n) && cJSON_AddNumberToObject(o, "received", (double)l->received_ms) &&
	       cJSON_AddStringToObject(o, "topic", l->topic) && cJSON_AddStringToObject(o, "verdict", l->verdict) &&
	       add_hex(o, "sender", l->sender, HASH_LEN) && add_hex(o, "stream", c->head.stream, COSE_STREAM_LEN) && add_seq(o, c->head.seq) &&
	       cJSON_AddNumberToObject(o, "sent", (double)c->head.time_ms) && add_bytes(o, "sealed", l->bytes, l->bytes_len) &&
	       (!c->is_signed || add_bytes(o, "signature", c->signature.p, der_len(c->signature)));
}

static bool add_members(cJSON *o, const struct transcript_line *l, const struct cose *c)
{
	switch (l->kind) {
	case TRANSCRIPT_HEAD:
		return cJSON_AddStringToObject(o, "transcript", VERSION_TEXT) && add_hex(o, "holder", l->holder, HASH_LEN) &&
		       cJSON_AddNumberToObject(o, "started", (double)l->started_ms);
	case TRANSCRIPT_CERTIFICATE:
		return add_bytes(o, "certificate", l->bytes, l->bytes_len) && add_hex(o, "prev", l->prev, HASH_LEN);
	case TRANSCRIPT_MESSAGE:
		return add_message(o, l, c) && add_hex(o, "prev", l->prev, HASH_LEN);
	}
	return false;
}

enum err transcript_line_format(const struct transcript_line *l, char **text, size_t *len)
{
	struct cose c = { .is_signed = false };
	const char *why;
	if (l->kind == TRANSCRIPT_MESSAGE &&
	    (cose_parse(&c, l->bytes, l->bytes_len, &why) != ERR_OK || memcmp(c.head.sender, l->sender, COSE_SENDER_LEN) != 0))
		return ERR_INVALID;
	cJSON *o = cJSON_CreateObject();
	*text = o && add_members(o, l, &c) ? cJSON_PrintUnformatted(o) : NULL;
	cJSON_Delete(o);
	if (!*text)
		return ERR_NOMEM;
	*len = strlen(*text);
	return ERR_OK;
}

/* ---- reading: takes what it needs; that nothing else stands there shows when the line is written again */

/* Decodes over the text itself, which is longer. */
static bool read_bytes(cJSON *o, const char *name, const uint8_t **bytes, size_t *len)
{
	cJSON *item = cJSON_GetObjectItemCaseSensitive(o, name);
	char *text = cJSON_GetStringValue(item);
	if (!text || !base64_get(BASE64_URL, text, strlen(text), text, strlen(text), len))
		return false;
	*bytes = (const uint8_t *)text;
	return true;
}

static const char *read_message(struct transcript_line *l, cJSON *o)
{
	const char *why;
	l->kind = TRANSCRIPT_MESSAGE;
	l->topic = json_text(o, "topic");
	l->verdict = json_text(o, "verdict");
	if (!json_whole(o, "n", JSON_WHOLE_MAX, &l->n) || !json_whole(o, "received", TIME_MAX, &l->received_ms) || !l->topic || !l->verdict ||
	    !json_hash(o, "sender", l->sender) || !json_hash(o, "prev", l->prev) || !read_bytes(o, "sealed", &l->bytes, &l->bytes_len))
		return "a member is missing or out of range";
	return cose_parse(&l->cose, l->bytes, l->bytes_len, &why) == ERR_OK ? NULL : why;
}

static const char *read_line(struct transcript_line *l, cJSON *o)
{
	const char *version = json_text(o, "transcript");
	if (version) {
		l->kind = TRANSCRIPT_HEAD;
		if (strcmp(version, VERSION_TEXT) != 0)
			return "the version is unknown; expected " VERSION_TEXT;
		return json_hash(o, "holder", l->holder) && json_whole(o, "started", TIME_MAX, &l->started_ms) ? NULL : "holder or started is missing";
	}
	if (!cJSON_HasObjectItem(o, "certificate"))
		return read_message(l, o);
	l->kind = TRANSCRIPT_CERTIFICATE;
	return read_bytes(o, "certificate", &l->bytes, &l->bytes_len) && json_hash(o, "prev", l->prev) ? NULL : "certificate or prev is missing";
}

enum err transcript_line_parse(struct transcript_line *out, const char *text, size_t len, const char **why)
{
	*out = (struct transcript_line){ .kind = TRANSCRIPT_HEAD };
	cJSON *o;
	enum err e = json_parse(text, len, NULL, &o);
	out->owned = o;
	*why = e == ERR_NOMEM ? err_text(e) : cJSON_IsObject(o) ? read_line(out, o) : "it is not a JSON object";
	if (*why)
		return e == ERR_NOMEM ? e : ERR_INVALID;
	char *again;
	size_t again_len;
	e = transcript_line_format(out, &again, &again_len);
	if (e == ERR_NOMEM) {
		*why = err_text(e);
		return e;
	}
	if (e == ERR_OK && (again_len != len || memcmp(again, text, len) != 0))
		*why = "it is not written as a transcript's lines are";
	else if (e != ERR_OK)
		*why = "the message is not by the sender that the line names";
	if (e == ERR_OK)
		free(again);
	return *why ? ERR_INVALID : ERR_OK;
}

void transcript_line_free(struct transcript_line *l)
{
	cJSON_Delete(l->owned);
	l->owned = NULL;
}
