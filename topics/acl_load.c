/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading an acl_file into struct acl. Every problem is reported before it gives up. One thread, at start and reload. */
#include "topics/acl.h"

#include "base/identity.h"
#include "base/textfile.h"
#include "topics/acl_int.h"
#include "topics/topic.h"

#include <stdlib.h>

#define FILTER_MAX 65535u /* bytes, as in a packet */

struct membership { uint32_t user, group; };

struct loader {
	struct acl *a;
	struct textfile t;
	struct membership *memberships;
	uint32_t nodes_size, users_size, groups_size, memberships_size, n_memberships; /* entries */
	struct acl_table groups_by_name;
	uint32_t user, group;      /* whose "topic" lines follow; both 0: nobody's (before the first user or group) */
	bool nobody_warned;
	bool no_memory;
};

/* Room for one more entry in an array of n that holds *size; grows by half. */
static void *grow(struct loader *l, void *array, uint32_t n, uint32_t *size, size_t entry)
{
	if (n < *size)
		return array;
	uint32_t more = *size < 16 ? 32 : *size + *size / 2;
	void *bigger = more > *size ? realloc(array, more * entry) : NULL; /* entries are small: no overflow in 64 bits */
	if (!bigger) {
		l->no_memory = true;
		return array;
	}
	*size = more;
	return bigger;
}

static uint32_t text_offset(const struct loader *l, const char *p) { return (uint32_t)(p - l->a->text); }

/* ---- tables */

static void table_place(struct acl_table *t, uint64_t hash, uint32_t index)
{
	while (t->slots[hash & t->mask])
		hash++;
	t->slots[hash & t->mask] = index;
}

static uint64_t node_hash(const struct acl *a, uint32_t n)
{
	return acl_child_hash(a->nodes[n].parent, acl_hash(a->text + a->nodes[n].name, a->nodes[n].name_len));
}
static uint64_t user_hash(const struct acl *a, uint32_t n) { return acl_hash(a->text + a->users[n].name, a->users[n].name_len); }
static uint64_t group_hash(const struct acl *a, uint32_t n) { return acl_hash(a->text + a->groups[n].name, a->groups[n].name_len); }

/* Adds an index; rebuilds the table twice as large when it is half full. */
static void table_add(struct loader *l, struct acl_table *t, uint32_t index, uint64_t (*hash)(const struct acl *, uint32_t))
{
	if (!t->slots || t->used >= t->mask / 2) {
		uint32_t size = t->slots ? (t->mask + 1) * 2 : 64;
		struct acl_table bigger = { calloc(size, sizeof *bigger.slots), size - 1, t->used };
		if (!bigger.slots) {
			l->no_memory = true;
			return;
		}
		for (uint32_t i = 0; t->slots && i <= t->mask; i++)
			if (t->slots[i])
				table_place(&bigger, hash(l->a, t->slots[i]), t->slots[i]);
		free(t->slots);
		*t = bigger;
	}
	table_place(t, hash(l->a, index), index);
	t->used++;
}

/* ---- nodes */

static uint32_t node_add(struct loader *l, uint32_t parent, enum node_kind kind, const char *name, size_t len)
{
	struct acl *a = l->a;
	a->nodes = grow(l, a->nodes, a->n_nodes + 1, &l->nodes_size, sizeof *a->nodes);
	if (l->no_memory)
		return 0;
	uint32_t n = ++a->n_nodes;
	a->nodes[n] = (struct acl_node){ .parent = parent, .kind = kind, .name = name ? text_offset(l, name) : 0, .name_len = (uint32_t)len };
	return n;
}

static bool has_macro(const char *p, size_t len)
{
	for (size_t i = 0; i + 1 < len; i++)
		if (p[i] == '%' && (p[i + 1] == 'u' || p[i + 1] == 'c'))
			return true;
	return false;
}

/* The child of parent for a level of a rule, which is made if there is none. 0: no memory. */
static uint32_t child_for(struct loader *l, uint32_t parent, const char *name, size_t len, bool is_pattern)
{
	struct acl *a = l->a;
	if (len == 1 && *name == '+') {
		if (!a->nodes[parent].plus) {
			uint32_t plus = node_add(l, parent, NODE_PLUS, NULL, 0);
			if (l->no_memory)
				return 0;
			a->nodes[parent].plus = plus;
		}
		return a->nodes[parent].plus;
	}
	uint32_t n = acl_find_child(a, parent, name, len, acl_hash(name, len));
	if (n)
		return n;
	bool is_template = is_pattern && has_macro(name, len);
	n = node_add(l, parent, is_template ? NODE_TEMPLATE : NODE_EXACT, name, len);
	if (l->no_memory)
		return 0;
	uint32_t *chain = is_template ? &a->nodes[parent].first_template : &a->nodes[parent].first_exact;
	a->nodes[n].next = *chain;
	*chain = n;
	table_add(l, &a->children, n, node_hash);
	return n;
}

static void set_first(uint32_t *line, unsigned now)
{
	if (*line == 0)
		*line = now;
}

/* verbs: bits of 1 << enum acl_verb. */
static void add_rule(struct loader *l, struct acl_set *set, bool is_pattern, unsigned verbs, const char *p, size_t len)
{
	struct acl *a = l->a;
	const char *end = p + len;
	uint32_t *root = &set->root[*p == '$'], n;
	bool hash = false;
	if (!*root)
		*root = node_add(l, 0, NODE_ROOT, NULL, 0);
	n = *root;
	while (p && !l->no_memory) {
		const char *slash = memchr(p, '/', (size_t)(end - p));
		size_t level_len = (size_t)((slash ? slash : end) - p);
		hash = level_len == 1 && *p == '#';
		if (!hash)
			n = child_for(l, n, p, level_len, is_pattern);
		p = slash ? slash + 1 : NULL;
	}
	if (l->no_memory)
		return;
	for (unsigned v = 0; v < N_VERBS; v++) {
		if (!(verbs & 1u << v))
			continue;
		set_first(hash ? &a->nodes[n].under[v] : &a->nodes[n].here[v], l->t.line);
		for (uint32_t m = n; m; m = a->nodes[m].parent)
			set_first(&a->nodes[m].below[v], l->t.line);
	}
	a->n_rules++;
}

/* ---- lines */

/* What makes p no topic filter; NULL: nothing. */
static const char *filter_fault(const char *p, size_t len)
{
	size_t levels = 1, start = 0;
	if (len > FILTER_MAX)
		return "longer than 65535 bytes";
	for (size_t i = 0; i <= len; i++) {
		if (i < len && p[i] != '/')
			continue;
		bool wild = memchr(p + start, '+', i - start) || memchr(p + start, '#', i - start);
		if (wild && i - start != 1)
			return "'+' and '#' must be a whole level (and an acl_file has comments on lines of their own)";
		if (wild && p[start] == '#' && i < len)
			return "'#' must be the last level";
		levels += i < len;
		start = i + 1;
	}
	return levels > TOPIC_LEVELS_MAX ? "more than 200 levels" : NULL;
}

/* "read FILTER" and so on; the verb is optional unless the filter holds a space. 0: reported. */
static unsigned parse_verbs(struct loader *l, const char *keyword, struct text_line *filter)
{
	char quoted[TEXT_QUOTED_MAX];
	unsigned verbs = 0;
	struct text_line rest = *filter, word = text_word(&rest);
	if (text_is(word, "read"))
		verbs = 1u << VERB_READ;
	if (text_is(word, "write"))
		verbs = 1u << VERB_WRITE;
	if (text_is(word, "readwrite"))
		verbs = 1u << VERB_READ | 1u << VERB_WRITE;
	if (text_is(word, "deny"))
		verbs = 1u << VERB_DENY;
	if (rest.len == 0) {
		if (verbs)
			textfile_warning(&l->t, "%s: means the topic %s, as in mosquitto; is a filter missing?", keyword, text_quote(quoted, word.p, word.len));
		return 1u << VERB_READ | 1u << VERB_WRITE;
	}
	if (!verbs)
		textfile_error(&l->t, "%s: %s is not an access; expected read, write, readwrite or deny, then the filter", keyword,
			text_quote(quoted, word.p, word.len));
	*filter = rest;
	return verbs;
}

static void parse_rule(struct loader *l, bool is_pattern, struct text_line filter)
{
	const char *keyword = is_pattern ? "pattern" : "topic";
	char quoted[TEXT_QUOTED_MAX];
	struct topic_share share;
	if (filter.len == 0) {
		textfile_error(&l->t, "%s: has no topic; expected [read|write|readwrite|deny] FILTER", keyword);
		return;
	}
	unsigned verbs = parse_verbs(l, keyword, &filter);
	if (!verbs)
		return;
	const char *fault = filter_fault(filter.p, filter.len);
	if (!fault && !topic_share_parse((const uint8_t *)filter.p, filter.len, &share))
		fault = "expected $share/GROUP/FILTER";
	if (fault) {
		textfile_error(&l->t, "%s: %s is not a topic filter: %s", keyword, text_quote(quoted, filter.p, filter.len), fault);
		return;
	}
	if (share.group) {
		textfile_warning(&l->t, "%s: means %s: a shared subscription is judged by its inner filter", keyword,
			text_quote(quoted, share.filter, share.filter_len));
		filter.len = share.filter_len;
		filter.p = (const char *)share.filter;
	}
	if (!is_pattern && has_macro(filter.p, filter.len))
		textfile_warning(&l->t, "topic: %%u and %%c are replaced in pattern lines alone");
	if (is_pattern)
		add_rule(l, &l->a->patterns, true, verbs, filter.p, filter.len);
	else if (l->user)
		add_rule(l, &l->a->users[l->user].set, false, verbs, filter.p, filter.len);
	else if (l->group)
		add_rule(l, &l->a->groups[l->group].set, false, verbs, filter.p, filter.len);
	else if (!l->nobody_warned) {
		textfile_warning(&l->t, "topic: has no effect before the first user or group line: every client has a name here");
		l->nobody_warned = true;
	}
}

static uint32_t user_for(struct loader *l, struct text_line cn)
{
	struct acl *a = l->a;
	char quoted[TEXT_QUOTED_MAX];
	uint32_t u = acl_find_user(a, cn.p, cn.len);
	if (u)
		return u;
	if (cn.len > IDENTITY_CN_MAX || memchr(cn.p, '/', cn.len) || memchr(cn.p, '+', cn.len) || memchr(cn.p, '#', cn.len))
		textfile_warning(&l->t, "%s: no certificate with this CN is accepted", text_quote(quoted, cn.p, cn.len));
	a->users = grow(l, a->users, a->n_users + 1, &l->users_size, sizeof *a->users);
	if (l->no_memory)
		return 0;
	u = ++a->n_users;
	a->users[u] = (struct acl_user){ .name = text_offset(l, cn.p), .name_len = (uint32_t)cn.len };
	table_add(l, &a->by_cn, u, user_hash);
	return u;
}

static void parse_user(struct loader *l, struct text_line cn)
{
	char quoted[TEXT_QUOTED_MAX];
	cn = text_uncommented(cn); /* a CN holds no '#' */
	l->user = l->group = 0;
	if (cn.len == 0) {
		textfile_error(&l->t, "user: has no name; expected the CN of a certificate");
		l->nobody_warned = true; /* what follows is not before the first user line */
		return;
	}
	if (*cn.p == '@')
		textfile_warning(&l->t, "user: %s is a CN like any other; rules for a group follow its group line", text_quote(quoted, cn.p, cn.len));
	l->user = user_for(l, cn);
}

static uint32_t find_group(const struct loader *l, struct text_line name)
{
	if (!l->groups_by_name.slots)
		return 0;
	for (uint64_t i = acl_hash(name.p, name.len);; i++) {
		uint32_t g = l->groups_by_name.slots[i & l->groups_by_name.mask];
		if (g == 0)
			return 0;
		if (l->a->groups[g].name_len == name.len && memcmp(l->a->text + l->a->groups[g].name, name.p, name.len) == 0)
			return g;
	}
}

static uint32_t group_for(struct loader *l, struct text_line name)
{
	struct acl *a = l->a;
	uint32_t g = find_group(l, name);
	if (g)
		return g;
	a->groups = grow(l, a->groups, a->n_groups + 1, &l->groups_size, sizeof *a->groups);
	if (l->no_memory)
		return 0;
	g = ++a->n_groups;
	a->groups[g] = (struct acl_group){ .name = text_offset(l, name.p), .name_len = (uint32_t)name.len };
	table_add(l, &l->groups_by_name, g, group_hash);
	return g;
}

static void add_member(struct loader *l, struct text_line cn)
{
	uint32_t user = user_for(l, cn);
	l->memberships = grow(l, l->memberships, l->n_memberships, &l->memberships_size, sizeof *l->memberships);
	if (!l->no_memory)
		l->memberships[l->n_memberships++] = (struct membership){ user, l->group };
}

/* The next CN: a word, or anything but '"' in quotes. False: reported. */
static bool next_cn(struct loader *l, struct text_line *line, struct text_line *cn)
{
	if (*line->p != '"') {
		*cn = text_word(line);
		if (!memchr(cn->p, '"', cn->len))
			return true;
	} else {
		const char *end = memchr(line->p + 1, '"', line->len - 1);
		struct text_line rest = end ? (struct text_line){ end + 1, line->len - (size_t)(end + 1 - line->p) } : *line;
		if (end && end > line->p + 1 && (rest.len == 0 || *rest.p == ' ' || *rest.p == '\t')) {
			*cn = (struct text_line){ line->p + 1, (size_t)(end - line->p) - 1 };
			(void)text_word(&rest); /* the white space */
			*line = rest;
			return true;
		}
	}
	textfile_error(&l->t, "group: bad quotes; expected CNs with white space between, \"in quotes\" where a CN holds some");
	return false;
}

static void parse_group(struct loader *l, struct text_line line)
{
	struct text_line cn;
	line = text_uncommented(line);
	l->user = l->group = 0;
	l->nobody_warned = true;
	if (line.len == 0) {
		textfile_error(&l->t, "group: has no name; expected NAME CN...");
		return;
	}
	l->group = group_for(l, text_word(&line));
	while (line.len && !l->no_memory && next_cn(l, &line, &cn))
		add_member(l, cn);
}

static void parse_line(struct loader *l, struct text_line line)
{
	char quoted[TEXT_QUOTED_MAX];
	struct text_line keyword = text_word(&line);
	if (text_is(keyword, "topic"))
		parse_rule(l, false, line);
	else if (text_is(keyword, "pattern"))
		parse_rule(l, true, line);
	else if (text_is(keyword, "user"))
		parse_user(l, line);
	else if (text_is(keyword, "group"))
		parse_group(l, line);
	else
		textfile_error(&l->t, "%s: unknown keyword; expected user, group, topic or pattern", text_quote(quoted, keyword.p, keyword.len));
}

/* ---- the whole */

static int by_user(const void *a, const void *b)
{
	const struct membership *x = a, *y = b;
	if (x->user != y->user)
		return x->user < y->user ? -1 : 1;
	return (x->group > y->group) - (x->group < y->group);
}

/* Turns the pairs into a slice of groups per user, each group once. */
static void store_members(struct loader *l)
{
	struct acl *a = l->a;
	const struct membership *m = l->memberships;
	if (l->n_memberships == 0)
		return;
	a->members = malloc(l->n_memberships * sizeof *a->members);
	if (!a->members) {
		l->no_memory = true;
		return;
	}
	qsort(l->memberships, l->n_memberships, sizeof *m, by_user);
	for (uint32_t i = 0; i < l->n_memberships; i++) {
		struct acl_user *u = &a->users[m[i].user];
		if (i && m[i].user == m[i - 1].user && m[i].group == m[i - 1].group)
			continue;
		if (u->n_groups++ == 0)
			u->first_group = a->n_members;
		a->members[a->n_members++] = m[i].group;
	}
}

/* take_text: len bytes from malloc, owned by the result or freed. */
static struct acl *load(char *take_text, size_t len, const char *name, FILE *errors)
{
	struct loader l = { 0 };
	struct text_line line;
	l.a = calloc(1, sizeof *l.a);
	if (!l.a) {
		free(take_text);
		if (errors)
			(void)fprintf(errors, "%s: out of memory\n", name);
		return NULL;
	}
	atomic_init(&l.a->refs, 1);
	l.a->text = take_text;
	l.a->text_len = len;
	size_t name_size = strlen(name) + 1;
	l.a->path = malloc(name_size);
	l.no_memory = !l.a->path;
	if (l.a->path)
		memcpy(l.a->path, name, name_size);
	textfile_start(&l.t, take_text, len, name, errors);
	while (!l.no_memory && textfile_next(&l.t, &line))
		parse_line(&l, line);
	if (!l.no_memory)
		store_members(&l);
	free(l.memberships);
	free(l.groups_by_name.slots);
	if (l.no_memory && errors)
		(void)fprintf(errors, "%s: out of memory\n", name);
	if (!l.no_memory && l.t.n_errors == 0)
		return l.a;
	acl_unref(l.a);
	return NULL;
}

struct acl *acl_load(const char *path, FILE *errors)
{
	size_t len = 0;
	char *text = textfile_read(path, &len, errors);
	return text ? load(text, len, path, errors) : NULL;
}

struct acl *acl_parse(const char *buf, size_t len, const char *name, FILE *errors)
{
	char *text = malloc(len ? len : 1);
	if (!text) {
		if (errors)
			(void)fprintf(errors, "%s: out of memory\n", name);
		return NULL;
	}
	if (len)
		memcpy(text, buf, len);
	return load(text, len, name, errors);
}
