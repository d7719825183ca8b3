/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the parser's files share: conf.c reads lines and checks the whole, set.c puts values into members. */
#ifndef CONF_CONF_INT_H
#define CONF_CONF_INT_H

#include "base/textfile.h"
#include "conf/conf.h"
#include "conf/keys.h"

#define CONF_CONNECTIONS_DEFAULT 100000u
#define CONF_PATH_MAX 4095u /* bytes */

/* The paths of included files, kept until the end since messages name them. */
struct included {
	struct included *next;
	char path[];
};

struct parser {
	struct conf *c;
	struct conf_listener defaults;  /* keys before the first listener line */
	const char **files;             /* of each listener, for messages; borrowed from included */
	struct included *included;
	struct textfile *t;             /* the file being read */
	FILE *errors;
	unsigned n_errors;
	unsigned *seen_global, *seen_listener; /* per key: the line it was on, 0: not yet */
	uint16_t port;                  /* of mosquitto's default listener (port, bind_address); 0: not asked for */
	char *bind_address;
	unsigned default_line;          /* 0: no such listener */
	const char *default_file;
	bool log_dest_given, log_type_given;
	bool includes_allowed;          /* the main file, from disk */
	char *include;                  /* a directory to be read before the next line; NULL: none */
	bool no_memory;
};

/* Copies; NULL (for a text: with no_memory set) when there is none. */
char *conf_copy_text(struct parser *p, const char *s, size_t len);
char *conf_copy_string(struct parser *p, const char *s);

/* Appends a listener with the defaults as they stand; NULL (and no_memory) when there is no memory. file is borrowed. */
struct conf_listener *conf_listener_add(struct parser *p, uint16_t port, const char *file, unsigned line);

/* Copies with all that it owns. False: out of memory; what could not be copied is NULL. */
bool conf_listener_copy(struct conf_listener *to, const struct conf_listener *from) MUST_CHECK;
/* Frees what it owns; all zero afterwards. */
void conf_listener_reset(struct conf_listener *l);

/* Puts the value of a key of class KEY_SUPPORTED into its member; a bad one is reported. */
void conf_set_key(struct parser *p, const struct conf_key *key, struct text_line value);

/* Values that name identities (identities.c). False: not valid. */
bool conf_set_pin(struct parser *p, struct text_line value) MUST_CHECK;
bool conf_set_clientid_pattern(struct parser *p, struct text_line value, size_t max) MUST_CHECK;
/* Appends a copy of text to a list that *list and *n hold; no_memory is set when there is none. */
void conf_append_text(struct parser *p, char ***list, size_t *n, struct text_line text);
void conf_free_texts(char **list, size_t n);

#endif
