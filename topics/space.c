/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "topics/space.h"

#include "base/secmem.h"
#include "base/siphash.h"
#include "topics/topic.h"

#include <stdlib.h>
#include <string.h>

/* ---- one space ---- */

int space_member_order(const struct space_member *a, const struct space_member *b)
{
	int c = memcmp(a->cn, b->cn, a->cn_len < b->cn_len ? a->cn_len : b->cn_len);
	return c ? c : (int)a->cn_len - (int)b->cn_len;
}

static int compare_members(const void *a, const void *b)
{
	return space_member_order(a, b);
}

/* Appends a NUL-terminated copy to the text; returns where it is. */
static const char *append(char **at, const char *from, size_t len)
{
	char *to = *at;
	if (len > 0)
		memcpy(to, from, len);
	to[len] = '\0';
	*at += len + 1;
	return to;
}

static size_t text_size(const struct space_spec *spec)
{
	size_t n = spec->name_len + spec->owner_len + 2;
	for (size_t i = 0; i < spec->n_members; i++)
		n += spec->members[i].cn_len + 1u;
	return n;
}

static void copy_text(struct space *s, const struct space_spec *from)
{
	char *at = s->text;
	s->spec.name = append(&at, from->name, from->name_len);
	s->spec.owner = append(&at, from->owner, from->owner_len);
	for (size_t i = 0; i < from->n_members; i++) {
		s->spec.members[i] = from->members[i];
		s->spec.members[i].cn = append(&at, from->members[i].cn, from->members[i].cn_len);
	}
}

static void copy_epochs(struct space *s, const struct space_spec *from)
{
	for (size_t i = 0; i < from->n_epochs; i++) {
		s->spec.epochs[i] = from->epochs[i];
		if (!from->epochs[i].root || !s->secret)
			continue;
		memcpy(s->secret + i * SPACE_KEY_LEN, from->epochs[i].root, SPACE_KEY_LEN);
		s->spec.epochs[i].root = s->secret + i * SPACE_KEY_LEN;
	}
}

struct space *space_new(const struct space_spec *spec)
{
	struct space *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	atomic_init(&s->refs, 1);
	s->spec = *spec;
	s->history_limits = (struct history_limits){ .count = spec->history.count, .age_s = spec->history.age_s, .bytes = spec->history.bytes };
	s->spec.members = calloc(spec->n_members + 1, sizeof *spec->members);
	s->spec.epochs = calloc(spec->n_epochs + 1, sizeof *spec->epochs);
	s->text = malloc(text_size(spec));
	bool keys = spec->n_epochs > 0 && spec->mode == SPACE_BROKER;
	s->secret = keys ? secmem_alloc(spec->n_epochs * SPACE_KEY_LEN) : NULL;
	if (!s->spec.members || !s->spec.epochs || !s->text || (keys && !s->secret)) {
		space_unref(s);
		return NULL;
	}
	copy_text(s, spec);
	copy_epochs(s, spec);
	qsort(s->spec.members, spec->n_members, sizeof *spec->members, compare_members);
	return s;
}

struct space *space_ref(struct space *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void space_unref(struct space *s)
{
	if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	secmem_free(s->secret);
	free(s->spec.members);
	free(s->spec.epochs);
	free(s->text);
	free(s);
}

const struct space_member *space_member(const struct space *s, const char *cn, size_t cn_len)
{
	const struct space_member key = {.cn = cn, .cn_len = (uint16_t)cn_len};
	return bsearch(&key, s->spec.members, s->spec.n_members, sizeof key, compare_members);
}

const struct space_epoch *space_epoch_of(const struct space *s, const uint8_t kid[static SPACE_KID_LEN])
{
	for (size_t i = s->spec.n_epochs; i-- > 0;)
		if (memcmp(s->spec.epochs[i].kid, kid, SPACE_KID_LEN) == 0)
			return &s->spec.epochs[i];
	return NULL;
}

/* ---- all of them ---- */

struct space_map {
	atomic_uint refs;
	size_t n;                   /* immutable as all below */
	size_t mask;                /* slots - 1 */
	size_t levels_min, levels_max; /* of the spaces' names */
	struct space **slots;       /* open addressing by name */
	struct space *list[];
};

static uint64_t hash_name(const void *name, size_t len) { return siphash13(&siphash_process_key, name, len); }

static struct space **slot_of(const struct space_map *m, const void *name, size_t len)
{
	for (size_t i = hash_name(name, len) & m->mask;; i = (i + 1) & m->mask) {
		struct space *s = m->slots[i];
		if (!s || (s->spec.name_len == len && memcmp(s->spec.name, name, len) == 0))
			return &m->slots[i];
	}
}

struct space_map *space_map_new(struct space *const *spaces, size_t n)
{
	size_t slots = 8;
	while (slots < 2 * n)
		slots *= 2;
	struct space_map *m = calloc(1, sizeof *m + n * sizeof(struct space *));
	struct space **table = calloc(slots, sizeof(struct space *));
	if (!m || !table) {
		free(m);
		free(table);
		return NULL;
	}
	atomic_init(&m->refs, 1);
	m->mask = slots - 1;
	m->slots = table;
	m->levels_min = TOPIC_LEVELS_MAX;
	for (size_t i = 0; i < n; i++) {
		struct space *s = m->list[m->n++] = space_ref(spaces[i]);
		size_t levels = topic_levels((const uint8_t *)s->spec.name, s->spec.name_len);
		*slot_of(m, s->spec.name, s->spec.name_len) = s;
		m->levels_max = levels > m->levels_max ? levels : m->levels_max;
		m->levels_min = levels < m->levels_min ? levels : m->levels_min;
	}
	return m;
}

struct space_map *space_map_ref(struct space_map *m)
{
	if (m)
		atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

void space_map_unref(struct space_map *m)
{
	if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < m->n; i++)
		space_unref(m->list[i]);
	free(m->slots);
	free(m);
}

size_t space_map_count(const struct space_map *m) { return m ? m->n : 0; }
struct space *space_map_at(const struct space_map *m, size_t i) { return m->list[i]; }
struct space *space_map_get(const struct space_map *m, const void *name, size_t len) { return m ? *slot_of(m, name, len) : NULL; }

/* Looks at the topic's own levels, the deepest that a space has first. */
struct space *space_map_find(const struct space_map *m, const uint8_t *topic, size_t len)
{
	uint16_t ends[TOPIC_LEVELS_MAX]; /* where the first 1, 2, … levels end */
	size_t n = 0;
	if (!m || m->n == 0 || (len > 0 && topic[0] == '$'))
		return NULL;
	for (size_t i = 0; i <= len && n < m->levels_max && n < TOPIC_LEVELS_MAX; i++) {
		const uint8_t *slash = memchr(topic + i, '/', len - i);
		i = slash ? (size_t)(slash - topic) : len;
		ends[n++] = (uint16_t)i;
	}
	while (n > 0 && n >= m->levels_min) {
		struct space *s = *slot_of(m, topic, ends[--n]);
		if (s)
			return s;
	}
	return NULL;
}

/* ---- filters ---- */

/* How many bytes of filter come before its first level with a wildcard, without the '/' there; *exact: there is none. */
static size_t literal_len(const uint8_t *filter, size_t len, bool *exact)
{
	size_t i = 0, level = 0;
	for (; i < len && filter[i] != '+' && filter[i] != '#'; i++)
		if (filter[i] == '/')
			level = i;
	*exact = i == len;
	return *exact ? len : level;
}

/* Does some topic of the space (its name, and all below) match filter? */
static bool meets(const struct space *s, const uint8_t *filter, size_t len)
{
	const uint8_t *a = (const uint8_t *)s->spec.name, *a_end = a + s->spec.name_len, *f = filter, *f_end = filter + len;
	for (;;) { /* level by level */
		const uint8_t *a_next = memchr(a, '/', (size_t)(a_end - a)), *f_next = memchr(f, '/', (size_t)(f_end - f));
		const uint8_t *a_stop = a_next ? a_next : a_end, *f_stop = f_next ? f_next : f_end;
		if (f_stop - f == 1 && *f == '#')
			return true;
		if (!(f_stop - f == 1 && *f == '+') && (a_stop - a != f_stop - f || memcmp(a, f, (size_t)(f_stop - f)) != 0))
			return false;
		if (!a_next)
			return true; /* what the filter has beyond is below the space */
		if (!f_next)
			return false;
		a = a_next + 1;
		f = f_next + 1;
	}
}

bool space_map_overlaps(const struct space_map *m, const uint8_t *filter, size_t len)
{
	bool exact;
	size_t literal = literal_len(filter, len, &exact);
	if (len > 0 && filter[0] == '$')
		return false;
	if ((exact || literal > 0) && space_map_find(m, filter, literal))
		return true;
	for (size_t i = 0; m && !exact && i < m->n; i++)
		if (meets(m->list[i], filter, len))
			return true;
	return false;
}

bool space_map_keeps_past(const struct space_map *m, const uint8_t *filter, size_t len)
{
	for (size_t i = 0; m && i < m->n; i++) {
		const struct space_history *h = &m->list[i]->spec.history;
		bool exact;
		if (h->given && !h->off && (meets(m->list[i], filter, len) || space_map_find(m, filter, literal_len(filter, len, &exact)) == m->list[i]))
			return true;
	}
	return false;
}

static bool reads(const struct space *s, const char *cn, size_t cn_len)
{
	const struct space_member *member = s ? space_member(s, cn, cn_len) : NULL;
	return member && member->access & SPACE_READ;
}

enum space_verdict space_map_judge(const struct space_map *m, const uint8_t *filter, size_t len, const char *cn, size_t cn_len)
{
	bool exact;
	if (!m || (len > 0 && filter[0] == '$'))
		return SPACE_ELSEWHERE;
	size_t literal = literal_len(filter, len, &exact);
	const struct space *around = exact || literal > 0 ? space_map_find(m, filter, literal) : NULL;
	if (reads(around, cn, cn_len))
		return SPACE_ALLOWED;
	for (size_t i = 0; !exact && i < m->n; i++)
		if (m->list[i]->spec.name_len > literal && meets(m->list[i], filter, len) && reads(m->list[i], cn, cn_len))
			return SPACE_ALLOWED; /* further in: those further out have nothing there */
	return around ? SPACE_DENIED : SPACE_ELSEWHERE;
}
