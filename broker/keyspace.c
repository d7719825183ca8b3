/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/keyspace.h"

#include "base/random.h"
#include "base/secmem.h"
#include "base/textbytes.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STORED_VERSION 1

/* ---- words ---- */

static const char *const modes[] = {[SPACE_OPEN] = "open", [SPACE_BROKER] = "broker", [SPACE_OWNER] = "owner"};
static const char *const signs[] = {[SPACE_SIGN_OFF] = "off", [SPACE_SIGN_OPTIONAL] = "optional", [SPACE_SIGN_REQUIRED] = "required"};
static const char *const accesses[] = {[SPACE_READ] = "read", [SPACE_WRITE] = "write", [SPACE_READ | SPACE_WRITE] = "readwrite"};

static bool word_of(const char *const *words, unsigned n, const char *text, unsigned *out)
{
	for (unsigned i = 0; i < n; i++)
		if (words[i] && strcmp(words[i], text) == 0) {
			*out = i;
			return true;
		}
	return false;
}

const char *keyspace_mode_text(enum space_mode m)
{
	return modes[m];
}

const char *keyspace_sign_text(enum space_sign s)
{
	return signs[s];
}

const char *keyspace_access_text(unsigned access)
{
	return accesses[access];
}

bool keyspace_mode_of(const char *text, enum space_mode *out)
{
	unsigned i = 0;
	bool known = word_of(modes, 3, text, &i);
	*out = (enum space_mode)i;
	return known;
}

bool keyspace_sign_of(const char *text, enum space_sign *out)
{
	unsigned i = 0;
	bool known = word_of(signs, 3, text, &i);
	*out = (enum space_sign)i;
	return known;
}

bool keyspace_access_of(const char *text, uint8_t *out)
{
	unsigned i = 0;
	bool known = word_of(accesses, 4, text, &i);
	*out = (uint8_t)i;
	return known;
}

void hex_write(char *out, const uint8_t *p, size_t len)
{
	*hex_put(out, p, len) = '\0';
}

bool hex_read(const char *text, uint8_t *out, size_t len)
{
	return text && hex_get(text, strlen(text), out, len);
}

/* ---- drafts ---- */

enum err draft_begin(struct draft *d, struct space *from)
{
	*d = (struct draft){0};
	if (from)
		d->spec = from->spec;
	else
		random_bytes(&d->spec.id, sizeof d->spec.id);
	d->cap = d->spec.n_members + 16;
	d->members = malloc(d->cap * sizeof *d->members);
	d->root = secmem_alloc(SPACE_KEY_LEN);
	if (!d->members || !d->root) {
		draft_drop(d);
		return ERR_NOMEM;
	}
	if (from) {
		d->from = space_ref(from);
		memcpy(d->members, from->spec.members, d->spec.n_members * sizeof *d->members);
		memcpy(d->epochs, from->spec.epochs, d->spec.n_epochs * sizeof d->epochs[0]);
	}
	d->spec.members = d->members;
	d->spec.epochs = d->epochs;
	return ERR_OK;
}

static struct space_member *find_member(const struct draft *d, const char *cn, size_t cn_len)
{
	for (size_t i = 0; i < d->spec.n_members; i++)
		if (d->members[i].cn_len == cn_len && memcmp(d->members[i].cn, cn, cn_len) == 0)
			return &d->members[i];
	return NULL;
}

enum err draft_add_member(struct draft *d, const struct space_member *m)
{
	if (d->spec.n_members == d->cap) {
		struct space_member *more = realloc(d->members, 2 * d->cap * sizeof *more);
		if (!more)
			return ERR_NOMEM;
		d->members = d->spec.members = more;
		d->cap *= 2;
	}
	d->members[d->spec.n_members++] = *m;
	return ERR_OK;
}

/* By CN, and who came first before who came later. */
static int compare_arrivals(const void *a, const void *b)
{
	const struct space_member *x = *(const struct space_member *const *)a, *y = *(const struct space_member *const *)b;
	int c = space_member_order(x, y);
	return c ? c : x < y ? -1 : x > y;
}

enum err draft_unite_members(struct draft *d)
{
	size_t n = d->spec.n_members, kept = 0;
	const struct space_member **sorted = malloc((n + 1) * sizeof *sorted);
	struct space_member *members = sorted ? malloc((n + 1) * sizeof *members) : NULL;
	if (!members) {
		free(sorted);
		return ERR_NOMEM;
	}
	for (size_t i = 0; i < n; i++)
		sorted[i] = &d->members[i];
	qsort(sorted, n, sizeof *sorted, compare_arrivals);
	for (size_t i = 0; i < n; i++) {
		struct space_member m = *sorted[i];
		if (kept > 0 && space_member_order(&members[kept - 1], &m) == 0)
			m.since = members[--kept].since;
		members[kept++] = m;
	}
	free(sorted);
	free(d->members);
	d->members = d->spec.members = members;
	d->spec.n_members = kept;
	d->cap = n + 1;
	return ERR_OK;
}

enum err draft_set_members(struct draft *d, const struct space_member *list, size_t n)
{
	struct space_member *members = malloc((n + 1) * sizeof *members);
	if (!members)
		return ERR_NOMEM;
	if (n > 0)
		memcpy(members, list, n * sizeof *members);
	free(d->members);
	d->members = d->spec.members = members;
	d->spec.n_members = n;
	d->cap = n + 1;
	return ERR_OK;
}

bool draft_remove_member(struct draft *d, const char *cn, size_t cn_len)
{
	struct space_member *m = find_member(d, cn, cn_len);
	if (!m)
		return false;
	*m = d->members[--d->spec.n_members];
	return true;
}

static struct space_epoch *add_epoch(struct draft *d, uint64_t wall_s, uint64_t accept_until_ms)
{
	size_t n = d->spec.n_epochs;
	uint32_t number = n ? d->epochs[n - 1].number + 1 : 1;
	for (size_t i = 0; accept_until_ms == 0 && i < n; i++)
		d->epochs[i].accept_until_ms = 0;
	if (n)
		d->epochs[n - 1].accept_until_ms = accept_until_ms;
	if (n == SPACE_EPOCHS_MAX)
		memmove(d->epochs, d->epochs + 1, --n * sizeof d->epochs[0]);
	struct space_epoch *e = &d->epochs[n];
	*e = (struct space_epoch){.number = number, .made_s = wall_s};
	d->spec.n_epochs = n + 1;
	return e;
}

enum err draft_turn(struct draft *d, uint64_t wall_s, uint64_t accept_until_ms)
{
	struct space_epoch *e = add_epoch(d, wall_s, accept_until_ms);
	random_bytes(e->kid, sizeof e->kid);
	random_bytes(d->root, SPACE_KEY_LEN);
	e->root = d->root;
	return ERR_OK;
}

void draft_turn_owner(struct draft *d, const uint8_t kid[static SPACE_KID_LEN], uint64_t wall_s, uint64_t accept_until_ms)
{
	struct space_epoch *e = add_epoch(d, wall_s, accept_until_ms);
	memcpy(e->kid, kid, sizeof e->kid);
}

void draft_drop(struct draft *d)
{
	secmem_free(d->root);
	free(d->members);
	space_unref(d->from);
	*d = (struct draft){0};
}

struct space *draft_finish(struct draft *d)
{
	struct space *s = space_new(&d->spec);
	draft_drop(d);
	return s;
}

/* ---- as the store keeps it ---- */

void keyspace_store_name(const struct space *s, char out[static KEYSPACE_STORE_NAME])
{
	snprintf(out, KEYSPACE_STORE_NAME, KEYSPACE_STORE_PREFIX "%016" PRIx64, s->spec.id);
}

static struct masterkey_label label_of(const struct space_spec *s, const struct space_epoch *e)
{
	struct masterkey_label l = {.space = s->name, .space_len = s->name_len, .epoch = e->number, .purpose = MASTERKEY_EPOCH_ROOT};
	memcpy(l.kid, e->kid, sizeof l.kid);
	return l;
}

static bool encode_members(cJSON *list, const struct space_spec *s)
{
	char hex[65];
	bool good = list != NULL;
	for (size_t i = 0; good && i < s->n_members; i++) {
		const struct space_member *m = &s->members[i];
		cJSON *o = cJSON_CreateObject();
		good = o && cJSON_AddItemToArray(list, o) && cJSON_AddStringToObject(o, "cn", m->cn) &&
		       cJSON_AddStringToObject(o, "access", keyspace_access_text(m->access)) && cJSON_AddNumberToObject(o, "since", m->since);
		hex_write(hex, m->fingerprint, sizeof m->fingerprint);
		if (good && m->pinned)
			good = cJSON_AddStringToObject(o, "pinned", hex) != NULL;
	}
	return good;
}

static bool encode_epochs(cJSON *list, const struct space_spec *s, struct vault *v)
{
	bool good = list != NULL;
	for (size_t i = 0; good && i < s->n_epochs; i++) {
		const struct space_epoch *e = &s->epochs[i];
		cJSON *o = cJSON_CreateObject();
		char hex[2 * MASTERKEY_WRAPPED_LEN + 1];
		uint8_t wrapped[MASTERKEY_WRAPPED_LEN];
		struct masterkey_label label = label_of(s, e);
		hex_write(hex, e->kid, sizeof e->kid);
		good = o && cJSON_AddItemToArray(list, o) && cJSON_AddNumberToObject(o, "epoch", e->number) &&
		       cJSON_AddStringToObject(o, "kid", hex) && cJSON_AddNumberToObject(o, "made", (double)e->made_s);
		if (!good || !e->root)
			continue;
		good = vault_wrap(v, &label, e->root, wrapped) == ERR_OK;
		hex_write(hex, wrapped, sizeof wrapped);
		good = good && cJSON_AddStringToObject(o, "root", hex);
	}
	return good;
}

static bool encode_history(cJSON *o, const struct space_history *h)
{
	if (!h->given)
		return true;
	cJSON *x = cJSON_AddObjectToObject(o, "history");
	return x && cJSON_AddBoolToObject(x, "off", h->off) && cJSON_AddNumberToObject(x, "count", (double)h->count) &&
	       cJSON_AddNumberToObject(x, "age", (double)h->age_s) && cJSON_AddNumberToObject(x, "bytes", (double)h->bytes);
}

char *keyspace_encode(const struct space *s, struct vault *v)
{
	const struct space_spec *p = &s->spec;
	char id[17];
	snprintf(id, sizeof id, "%016" PRIx64, p->id);
	cJSON *o = cJSON_CreateObject();
	bool good = o && cJSON_AddNumberToObject(o, "version", STORED_VERSION) && cJSON_AddStringToObject(o, "id", id) &&
	            cJSON_AddStringToObject(o, "topic", p->name) && cJSON_AddStringToObject(o, "mode", keyspace_mode_text(p->mode)) &&
	            cJSON_AddStringToObject(o, "sign", keyspace_sign_text(p->sign)) && cJSON_AddBoolToObject(o, "fromJoin", p->from_join) &&
	            cJSON_AddBoolToObject(o, "noGrace", p->no_grace) &&
	            cJSON_AddStringToObject(o, "owner", p->owner) && cJSON_AddNumberToObject(o, "created", (double)p->created_s) &&
	            cJSON_AddNumberToObject(o, "rotateAge", (double)p->rotate_age_s) &&
	            cJSON_AddNumberToObject(o, "rotateCount", (double)p->rotate_count) && encode_history(o, &p->history) &&
	            encode_members(cJSON_AddArrayToObject(o, "members"), p) && encode_epochs(cJSON_AddArrayToObject(o, "epochs"), p, v);
	char *text = good ? cJSON_PrintUnformatted(o) : NULL;
	cJSON_Delete(o);
	return text;
}

/* ---- and back ---- */

static const char *text_of(const cJSON *o, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, name));
}

static uint64_t number_of(const cJSON *o, const char *name)
{
	double v = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(o, name));
	return v >= 0 && v < 9e15 ? (uint64_t)v : 0;
}

static bool flag_of(const cJSON *o, const char *name)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, name));
}

static enum err decode_member(struct draft *d, const cJSON *o)
{
	const char *cn = text_of(o, "cn"), *access = text_of(o, "access"), *pinned = text_of(o, "pinned");
	struct space_member m = {.cn = cn, .since = (uint32_t)number_of(o, "since")};
	if (!cn || !access || !keyspace_access_of(access, &m.access))
		return ERR_CORRUPT;
	m.cn_len = (uint16_t)strlen(cn);
	m.pinned = pinned != NULL;
	if (pinned && !hex_read(pinned, m.fingerprint, sizeof m.fingerprint))
		return ERR_CORRUPT;
	return draft_add_member(d, &m);
}

static enum err decode_epoch(struct draft *d, const cJSON *o, struct vault *v, uint8_t *roots)
{
	struct space_epoch *e = &d->epochs[d->spec.n_epochs];
	uint8_t wrapped[MASTERKEY_WRAPPED_LEN], *root = roots + d->spec.n_epochs * SPACE_KEY_LEN;
	*e = (struct space_epoch){.number = (uint32_t)number_of(o, "epoch"), .made_s = number_of(o, "made")};
	if (d->spec.n_epochs == SPACE_EPOCHS_MAX - 1 && o->next)
		return ERR_CORRUPT;
	if (e->number == 0 || !hex_read(text_of(o, "kid"), e->kid, sizeof e->kid))
		return ERR_CORRUPT;
	d->spec.n_epochs++;
	if (d->spec.mode != SPACE_BROKER)
		return ERR_OK;
	struct masterkey_label label = label_of(&d->spec, e);
	if (!hex_read(text_of(o, "root"), wrapped, sizeof wrapped))
		return ERR_CORRUPT;
	e->root = root;
	return vault_unwrap(v, &label, wrapped, root);
}

static enum err decode_head(struct draft *d, const cJSON *o)
{
	const char *topic = text_of(o, "topic"), *owner = text_of(o, "owner"), *mode = text_of(o, "mode"), *sign = text_of(o, "sign"),
	           *id = text_of(o, "id");
	const cJSON *history = cJSON_GetObjectItemCaseSensitive(o, "history");
	struct space_spec *s = &d->spec;
	if (number_of(o, "version") != STORED_VERSION || !topic || !owner || !mode || !sign || !id || !keyspace_mode_of(mode, &s->mode) ||
		!keyspace_sign_of(sign, &s->sign))
		return ERR_CORRUPT;
	s->id = strtoull(id, NULL, 16);
	s->name = topic;
	s->name_len = strlen(topic);
	s->owner = owner;
	s->owner_len = strlen(owner);
	s->from_join = flag_of(o, "fromJoin");
	s->no_grace = flag_of(o, "noGrace");
	s->created_s = number_of(o, "created");
	s->rotate_age_s = number_of(o, "rotateAge");
	s->rotate_count = number_of(o, "rotateCount");
	if (history)
		s->history = (struct space_history){.given = true, .off = flag_of(history, "off"), .count = number_of(history, "count"),
		                                    .age_s = number_of(history, "age"), .bytes = number_of(history, "bytes")};
	return ERR_OK;
}

enum err keyspace_decode(const void *value, size_t len, struct vault *v, struct space **out)
{
	struct draft d;
	*out = NULL;
	enum err e = draft_begin(&d, NULL);
	if (e != ERR_OK)
		return e;
	cJSON *o = cJSON_ParseWithLength(value, len);
	uint8_t *roots = secmem_alloc((size_t)SPACE_EPOCHS_MAX * SPACE_KEY_LEN);
	const cJSON *x;
	e = !roots ? ERR_NOMEM : o ? decode_head(&d, o) : ERR_CORRUPT;
	cJSON_ArrayForEach(x, cJSON_GetObjectItemCaseSensitive(o, "members")) if (e == ERR_OK) e = decode_member(&d, x);
	cJSON_ArrayForEach(x, cJSON_GetObjectItemCaseSensitive(o, "epochs")) if (e == ERR_OK) e = decode_epoch(&d, x, v, roots);
	if (e == ERR_OK) {
		*out = draft_finish(&d);
		e = *out ? ERR_OK : ERR_NOMEM;
	} else {
		draft_drop(&d);
	}
	secmem_free(roots);
	cJSON_Delete(o);
	return e;
}
