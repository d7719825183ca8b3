/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading a topics_file (docs/control.md): key spaces that the configuration declares. Loaded whole with the policy that names it, immutable
 * afterwards. What is made of it: broker/declare.c. */
#ifndef BROKER_TOPICS_FILE_H
#define BROKER_TOPICS_FILE_H

#include "crypto/trust.h"
#include "topics/space.h"

#include <stdio.h>

struct declared_member {
	struct space_member member; /* its CN is NUL-terminated and owned; since is not set */
	unsigned line;
	uint8_t *der;               /* its certificate, owned; NULL: named by CN alone */
	size_t der_len;
};

struct declared_space {
	struct space_spec spec;     /* name, owner (both NUL-terminated and owned; owner may be ""), mode, sign, from_join, rotation, history; no more */
	unsigned line;
	struct declared_member *members; /* by CN, each once */
	size_t n_members, cap;
};

struct topics_file {
	char *path;
	struct declared_space *spaces; /* in the file's order, each name once */
	size_t n_spaces;
};

/* Reads the file and the certificates that it names. NULL when anything is wrong: every problem was printed to errors as "FILE:LINE: KEY:
 * text". A certificate that trust (NULL: nothing is asked) does not accept now is a warning: the handshake keeps its client out. */
struct topics_file *topics_file_load(const char *path, struct trust *trust, FILE *errors) MUST_CHECK;
/* The same from memory: len bytes at buf, named name in messages. */
struct topics_file *topics_file_parse(const char *buf, size_t len, const char *name, struct trust *trust, FILE *errors) MUST_CHECK;
void topics_file_free(struct topics_file *f); /* NULL is fine */

/* NULL: not declared; f may be NULL. */
const struct declared_space *topics_file_find(const struct topics_file *f, const char *name, size_t len);

#endif
