/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table of all keys that a configuration file may hold: mosquitto 2.0's, and our own. Const; any thread.
 * docs/configuration.md has a row for each (a unit test compares). */
#ifndef CONF_KEYS_H
#define CONF_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum key_class {
	KEY_SUPPORTED, /* mosquitto's with its meaning, or our own */
	KEY_FIXED,     /* only the value that changes nothing is accepted; any other is refused, with the reason */
	KEY_HARMLESS,  /* accepted; one warning says why it has no effect */
	KEY_REFUSED,   /* an error, with the reason */
};

enum key_scope {
	KEY_GLOBAL,
	KEY_LISTENER, /* belongs to the listener line above it; before any, it is the default of all */
};

enum key_type {
	KEY_TEXT,     /* char *: the rest of the line, at most max bytes */
	KEY_BOOL,     /* bool: true, false, 1, 0 */
	KEY_NUMBER,   /* uint32_t, min..max */
	KEY_COUNT,    /* uint64_t, min..max */
	KEY_SIZE32,   /* uint32_t bytes, min..max, with K, M, G */
	KEY_SIZE64,   /* uint64_t bytes */
	KEY_SECONDS,  /* uint32_t; a bare number, or s m h d w y (m: minutes) */
	KEY_EXPIRY,   /* uint64_t seconds; a number with s h d w m y (m: months of 30 days, as in mosquitto), or 0 */
	KEY_WORD,     /* an enum: the index in words */
	KEY_WORD_BOOL,/* bool: the index in words */
	/* what needs code of its own */
	KEY_LISTENER_LINE, KEY_PORT, KEY_BIND_ADDRESS, KEY_SOCKET_DOMAIN, KEY_MAX_CONNECTIONS, KEY_INCLUDE_DIR, KEY_LOG_DEST, KEY_LOG_TYPE,
	KEY_PERSISTENCE, KEY_HISTORY, KEY_PIN, KEY_CLIENTID_PATTERN, KEY_TOPIC_ADMIN,
};

struct conf_key {
	const char *name;         /* a '*' at the end stands for any text */
	const char *reason;       /* fixed, harmless, refused: why */
	const char *expect;       /* what a value looks like, where the type does not say it */
	const char *fixed;        /* the one accepted value of a KEY_FIXED key */
	const char *const *words; /* NULL-terminated */
	uint64_t min, max;
	size_t offset;            /* of the member in struct conf or struct conf_listener */
	enum key_class class;
	enum key_scope scope;
	enum key_type type;
	bool filter;              /* the value may be a topic filter: '#' starts no comment in it */
};

extern const struct conf_key conf_keys[];
extern const size_t conf_n_keys;

/* The key of that name, or NULL. */
const struct conf_key *conf_key_find(const char *name, size_t len);
/* The key whose name is nearest to an unknown one, at most two edits away and never a refused one; NULL: none is. */
const struct conf_key *conf_key_nearest(const char *name, size_t len);

#endif
