/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Presence: consoles, sorted by name. */
#include "client/chat_people.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct seat {
	char id[PEOPLE_ID_LEN];
	char *name;
};

struct people {
	struct seat *seats; /* by name */
	size_t n, cap;
};

void presence_text(char out[static PRESENCE_LEN + 1], bool here, const char id[static PEOPLE_ID_LEN])
{
	snprintf(out, PRESENCE_LEN + 1, "%s %.*s", here ? "here" : "left", (int)PEOPLE_ID_LEN, id);
}

bool presence_read(const void *text, size_t len, bool *here, const char **id)
{
	const char *p = text;
	if (len != PRESENCE_LEN || (memcmp(p, "here ", 5) != 0 && memcmp(p, "left ", 5) != 0))
		return false;
	*here = *p == 'h';
	*id = p + 5;
	for (size_t i = 5; i < PRESENCE_LEN; i++)
		if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f')))
			return false;
	return true;
}

struct people *people_new(void)
{
	return calloc(1, sizeof(struct people));
}

void people_free(struct people *p)
{
	while (p && p->n > 0)
		free(p->seats[--p->n].name);
	if (p)
		free(p->seats);
	free(p);
}

/* Where the first seat of that name is, or would be. */
static size_t place_of(const struct people *p, const char *name)
{
	size_t i = 0;
	while (i < p->n && strcmp(p->seats[i].name, name) < 0)
		i++;
	return i;
}

bool people_is_here(const struct people *p, const char *name)
{
	size_t i = place_of(p, name);
	return i < p->n && strcmp(p->seats[i].name, name) == 0;
}

static bool add(struct people *p, const char *name, const char *id)
{
	if (p->n == p->cap) {
		size_t cap = p->cap ? 2 * p->cap : 8;
		struct seat *more = realloc(p->seats, cap * sizeof *more);
		if (!more)
			return false;
		p->seats = more;
		p->cap = cap;
	}
	char *copy = strdup(name);
	size_t i = place_of(p, name);
	if (!copy)
		return false;
	memmove(p->seats + i + 1, p->seats + i, (p->n - i) * sizeof *p->seats);
	p->seats[i].name = copy;
	memcpy(p->seats[i].id, id, PEOPLE_ID_LEN);
	p->n++;
	return true;
}

/* Whether the seat was taken; id NULL: all of that name. */
static bool drop(struct people *p, const char *name, const char *id)
{
	bool found = false;
	for (size_t i = place_of(p, name); i < p->n && strcmp(p->seats[i].name, name) == 0;) {
		if (id && memcmp(p->seats[i].id, id, PEOPLE_ID_LEN) != 0) {
			i++;
			continue;
		}
		free(p->seats[i].name);
		memmove(p->seats + i, p->seats + i + 1, (p->n - i - 1) * sizeof *p->seats);
		p->n--;
		found = true;
	}
	return found;
}

enum people_change people_note(struct people *p, const char *name, const char id[static PEOPLE_ID_LEN], bool here)
{
	bool was_here = people_is_here(p, name);
	(void)drop(p, name, id);
	if (here && !add(p, name, id))
		return PEOPLE_NOMEM;
	bool is_here = people_is_here(p, name);
	return was_here == is_here ? PEOPLE_SAME : is_here ? PEOPLE_JOINED : PEOPLE_LEFT;
}

enum people_change people_recall(struct people *p, const char *name, const char id[static PEOPLE_ID_LEN], bool here)
{
	bool was_here = drop(p, name, NULL);
	if (here && !add(p, name, id))
		return PEOPLE_NOMEM;
	return was_here == here ? PEOPLE_SAME : here ? PEOPLE_JOINED : PEOPLE_LEFT;
}

const char *people_at(const struct people *p, size_t i)
{
	for (size_t at = 0; at < p->n; at++)
		if ((at == 0 || strcmp(p->seats[at].name, p->seats[at - 1].name) != 0) && i-- == 0)
			return p->seats[at].name;
	return NULL;
}
