/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading the members of JSON objects [RFC 8259] with cJSON, and telling text that is none from memory that ran out. Pure; any thread. */
#ifndef CRYPTO_JSON_H
#define CRYPTO_JSON_H

#include "base/err.h"

#include <cjson/cJSON.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_WHOLE_MAX UINT64_C(9007199254740991) /* 2^53 - 1: whole numbers up to here are what was written */

/* One JSON value at the start of text: *out for cJSON_Delete. end (may be NULL): set to behind it. ERR_INVALID: it is none; ERR_NOMEM; *out is NULL then. */
enum err json_parse(const void *text, size_t len, const char **end, cJSON **out) MUST_CHECK;

/* A member that is a text; NULL: there is no such member. */
const char *json_text(const cJSON *object, const char *name);
/* A member that is a whole number up to max (at most JSON_WHOLE_MAX). */
bool json_whole(const cJSON *object, const char *name, uint64_t max, uint64_t *out) MUST_CHECK;
/* A text that is 64 lower-case hex digits: a SHA-256. Of a member (json_hash), or of the value itself. */
bool json_is_hash(const cJSON *value, uint8_t out[static 32]) MUST_CHECK;
bool json_hash(const cJSON *object, const char *name, uint8_t out[static 32]) MUST_CHECK;

#endif
