/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who takes part in a conversation. Somebody is here as long as one of their consoles is. One thread. */
#ifndef CLIENT_CHAT_PEOPLE_H
#define CLIENT_CHAT_PEOPLE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define PEOPLE_ID_LEN 16u /* characters: hexadecimal, drawn by each console */

/* "here 0123456789abcdef", "left 0123456789abcdef": what a console says of itself on <topic>/presence/<cn>. */
#define PRESENCE_LEN (5u + PEOPLE_ID_LEN)
void presence_text(char out[static PRESENCE_LEN + 1], bool here, const char id[static PEOPLE_ID_LEN]);
/* False: it is no such text. *id points into it. */
bool presence_read(const void *text, size_t len, bool *here, const char **id) MUST_CHECK;

struct people;
struct people *people_new(void) MUST_CHECK; /* NULL: no memory */
void people_free(struct people *p);

enum people_change { PEOPLE_SAME, PEOPLE_JOINED, PEOPLE_LEFT, PEOPLE_NOMEM };
/* A console of that name says so. */
enum people_change people_note(struct people *p, const char *name, const char id[static PEOPLE_ID_LEN], bool here) MUST_CHECK;
/* The same of the past: it is the last that is known of that name, and replaces what was. */
enum people_change people_recall(struct people *p, const char *name, const char id[static PEOPLE_ID_LEN], bool here) MUST_CHECK;
bool people_is_here(const struct people *p, const char *name);

/* Those who are here, by name: the i-th, from 0; NULL: there are no more. */
const char *people_at(const struct people *p, size_t i);

#endif
