/* SPDX-License-Identifier: GPL-3.0-or-later */
/* tests/vectors/formats.json, made by the second implementation in tests/interop. Tests run in the project's root. */
#ifndef TESTS_UNIT_CRYPTO_VECTORS_H
#define TESTS_UNIT_CRYPTO_VECTORS_H

#include "tests/vectors/keys.h"
#include "tests/unit/base/suite.h"

#include <cjson/cJSON.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hex { uint8_t *p; size_t len; };

static inline char *read_text(const char *path, size_t *len)
{
	FILE *f = fopen(path, "re");
	ck_assert_msg(f != NULL, "%s: not found (run from the project's root)", path);
	char *text = malloc(1u << 20);
	ck_assert_ptr_nonnull(text);
	*len = fread(text, 1, (1u << 20) - 1, f);
	text[*len] = '\0';
	fclose(f);
	return text;
}

static inline cJSON *vectors_load_file(const char *path)
{
	size_t len;
	char *text = read_text(path, &len);
	cJSON *json = cJSON_Parse(text);
	free(text);
	ck_assert_ptr_nonnull(json);
	return json;
}

static inline cJSON *vectors_load(void)
{
	return vectors_load_file("tests/vectors/formats.json");
}

/* The key pair tests/vectors/<name>.crt and .key. */
static inline struct keypair *vectors_keypair(const char *name)
{
	struct keypair *k = vectors_load_keypair(name);
	ck_assert_msg(k != NULL, "tests/vectors/%s.crt, .key (run from the project's root)", name);
	return k;
}

static inline const char *text_of(const cJSON *o, const char *name)
{
	const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
	ck_assert_msg(s != NULL, "vector without %s", name);
	return s;
}

/* The decoded value of a hex member; freed by hex_free_all. */
static struct hex hexes[4096];
static size_t n_hexes;

static inline struct hex hex_of(const cJSON *o, const char *name)
{
	const char *s = text_of(o, name);
	struct hex h = { malloc(strlen(s) / 2 + 1), strlen(s) / 2 };
	ck_assert(h.p && n_hexes < sizeof hexes / sizeof hexes[0]);
	for (size_t i = 0; i < h.len; i++) {
		unsigned v;
		ck_assert_int_eq(sscanf(s + 2 * i, "%2x", &v), 1);
		h.p[i] = (uint8_t)v;
	}
	return hexes[n_hexes++] = h;
}

static inline void hex_free_all(void)
{
	while (n_hexes > 0)
		free(hexes[--n_hexes].p);
}

#endif
