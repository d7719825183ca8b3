/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Decisions over loaded rules. Reads immutable data alone; any thread. */
#include "topics/acl.h"

#include "topics/acl_int.h"
#include "topics/topic.h"

#include <stdlib.h>

/* How a filter or name is held against the rules. */
enum relation {
	MATCHES,  /* a topic name: which rules match it */
	OVERLAPS, /* a filter: which rules share a topic with it */
	COVERED,  /* a filter: which rules match all its topics */
};

enum level_kind { LITERAL, PLUS, HASH, END };

struct level {
	const uint8_t *p;
	size_t len;
	uint64_t hash; /* valid if hashed */
	enum level_kind kind;
	bool hashed;
};

/* One question, held against several trees in turn. */
struct walk {
	const struct acl *a;
	const struct acl_subject *s;
	enum relation relation;
	unsigned verbs;              /* bits of 1 << enum acl_verb: what is looked for */
	bool all;                    /* find the first line of the file, not just any */
	bool id_is_level;            /* the client id is known and could be one level */
	unsigned found[N_VERBS];     /* lines */
	size_t n_levels;
	struct level levels[TOPIC_LEVELS_MAX + 1];
};

/* Cuts the topic into levels; false when there are too many (the codec refuses those before). */
static bool split(struct walk *w, const uint8_t *p, size_t len, bool is_filter)
{
	const uint8_t *end = p + len;
	w->n_levels = 0;
	for (;;) {
		const uint8_t *slash = memchr(p, '/', (size_t)(end - p));
		struct level *l = &w->levels[w->n_levels++];
		l->p = p;
		l->len = (size_t)((slash ? slash : end) - p);
		l->hashed = false;
		l->kind = LITERAL;
		if (is_filter && l->len == 1 && *p == '+')
			l->kind = PLUS;
		if (is_filter && l->len == 1 && *p == '#')
			l->kind = HASH;
		if (!slash)
			break;
		if (w->n_levels == TOPIC_LEVELS_MAX)
			return false;
		p = slash + 1;
	}
	w->levels[w->n_levels].kind = END;
	return true;
}

static uint64_t level_hash(struct level *l)
{
	if (!l->hashed) {
		l->hash = acl_hash(l->p, l->len);
		l->hashed = true;
	}
	return l->hash;
}

static bool take(const uint8_t **p, size_t *left, const void *bytes, size_t len)
{
	if (*left < len || memcmp(*p, bytes, len) != 0)
		return false;
	*p += len;
	*left -= len;
	return true;
}

/* Is the level what the template says for this subject? For PLUS: could it say any level? */
static bool template_fits(const struct walk *w, const struct acl_node *n, const struct level *l)
{
	const char *t = w->a->text + n->name;
	const uint8_t *p = l->p;
	size_t left = l->len;
	for (size_t i = 0; i < n->name_len; i++) {
		bool macro = t[i] == '%' && i + 1 < n->name_len;
		if (macro && t[i + 1] == 'c' && !w->id_is_level)
			return false;
		if (l->kind == PLUS)
			continue;
		if (macro && t[i + 1] == 'c') {
			if (!take(&p, &left, w->s->client_id, w->s->client_id_len))
				return false;
			i++;
		} else if (macro && t[i + 1] == 'u') {
			if (!take(&p, &left, w->s->cn, w->s->cn_len))
				return false;
			i++;
		} else if (!take(&p, &left, &t[i], 1)) {
			return false;
		}
	}
	return l->kind == PLUS || left == 0;
}

/* Is there anything to be found from this node down? */
static bool is_wanted(const struct walk *w, uint32_t node)
{
	const struct acl_node *n = &w->a->nodes[node];
	for (unsigned v = 0; v < N_VERBS; v++)
		if ((w->verbs & 1u << v) && n->below[v])
			return true;
	return false;
}

/* The next child of node to visit for the level l, after the child `from` (0: the first). Order: exact, '+', templates. */
static uint32_t next_child(const struct walk *w, uint32_t node, struct level *l, uint32_t from)
{
	const struct acl_node *nodes = w->a->nodes, *n = &nodes[node];
	uint32_t c = 0;
	enum node_kind kind = from ? nodes[from].kind : NODE_ROOT;
	if (l->kind == END || l->kind == HASH)
		return 0;
	bool every = l->kind == PLUS; /* of the exact children, where '+' overlaps */
	if (kind == NODE_ROOT || kind == NODE_EXACT) {
		if (every && w->relation == OVERLAPS)
			c = from ? nodes[from].next : n->first_exact;
		else if (!every && !from)
			c = acl_find_child(w->a, node, l->p, l->len, level_hash(l));
		/* A pattern's template is found by its text too, but stands for another one. */
		while (c && (nodes[c].kind != NODE_EXACT || !is_wanted(w, c)))
			c = every ? nodes[c].next : 0;
		if (c)
			return c;
		if (n->plus && is_wanted(w, n->plus))
			return n->plus;
	}
	if (every && w->relation == COVERED)
		return 0;
	for (c = kind == NODE_TEMPLATE ? nodes[from].next : n->first_template; c; c = nodes[c].next)
		if (is_wanted(w, c) && template_fits(w, &nodes[c], l))
			return c;
	return 0;
}

static void note(struct walk *w, const uint32_t lines[N_VERBS])
{
	for (unsigned v = 0; v < N_VERBS; v++)
		if ((w->verbs & 1u << v) && lines[v] && (w->found[v] == 0 || lines[v] < w->found[v]))
			w->found[v] = lines[v];
}

/* Notes the rules that end at this node, which has been reached before the level l. */
static void visit(struct walk *w, uint32_t node, const struct level *l, bool at_root)
{
	const struct acl_node *n = &w->a->nodes[node];
	note(w, n->under);
	if (l->kind == END)
		note(w, n->here);
	if (l->kind == HASH && w->relation == OVERLAPS)
		note(w, n->below);
	if (l->kind == HASH && w->relation == COVERED && at_root && n->plus)
		note(w, w->a->nodes[n->plus].under); /* every topic has a first level: "+/#" is all that "#" is */
}

/* Enough is known: a deny ends the search, and once something allows only a deny is of interest. */
static bool is_settled(struct walk *w)
{
	if (w->all)
		return false;
	if (w->found[VERB_DENY])
		return true;
	if (w->found[VERB_READ] || w->found[VERB_WRITE])
		w->verbs &= 1u << VERB_DENY;
	return w->verbs == 0;
}

/* Visits what is related to the question in one tree. Depth first, no stack: the node that was left says what comes next. */
static void walk_tree(struct walk *w, uint32_t root)
{
	uint32_t node = root, child;
	size_t depth = 0;
	if (!root || !is_wanted(w, root))
		return;
	for (;;) {
		visit(w, node, &w->levels[depth], depth == 0);
		if (is_settled(w))
			return;
		child = next_child(w, node, &w->levels[depth], 0);
		while (!child && node != root) {
			uint32_t from = node;
			node = w->a->nodes[node].parent;
			depth--;
			child = next_child(w, node, &w->levels[depth], from);
		}
		if (!child)
			return;
		node = child;
		depth++;
	}
}

static bool is_dollar(const struct walk *w) { return w->levels[0].len && w->levels[0].p[0] == '$'; }

static void walk_set(struct walk *w, const struct acl_set *set) { walk_tree(w, set->root[is_dollar(w)]); }

static void walk_user(struct walk *w)
{
	uint32_t u = acl_find_user(w->a, w->s->cn, w->s->cn_len);
	if (!u)
		return;
	const struct acl_user *user = &w->a->users[u];
	walk_set(w, &user->set);
	for (uint32_t i = 0; i < user->n_groups && !is_settled(w); i++)
		walk_set(w, &w->a->groups[w->a->members[user->first_group + i]].set);
}

static bool decide(struct acl_reason *why, bool allowed, enum acl_cause cause, unsigned line)
{
	if (why)
		*why = (struct acl_reason){ allowed, cause, line };
	return allowed;
}

/* mosquitto denies what a client whose id holds a wildcard asks of patterns. */
static bool has_wildcard(const struct acl_subject *s)
{
	for (size_t i = 0; i < s->client_id_len; i++)
		if (s->client_id[i] == '+' || s->client_id[i] == '#')
			return true;
	return false;
}

static void look(struct walk *w, enum relation relation, unsigned verbs, const struct acl_set *patterns)
{
	w->relation = relation;
	w->verbs = verbs;
	memset(w->found, 0, sizeof w->found);
	if (patterns)
		walk_set(w, patterns);
	else
		walk_user(w);
}

/* First the user's own rules and those of the groups, then the patterns; in each a deny goes before what allows. */
static bool decide_by_rules(struct walk *w, enum acl_verb verb, bool is_filter, struct acl_reason *why)
{
	const struct acl_set *stages[] = { NULL, &w->a->patterns };
	for (size_t i = 0; i < 2; i++) {
		unsigned deny = 0, allow = 0;
		if (stages[i] && has_wildcard(w->s))
			return decide(why, false, ACL_BAD_CLIENT_ID, 0);
		if (is_filter) {
			look(w, COVERED, 1u << VERB_DENY, stages[i]);
			deny = w->found[VERB_DENY];
			look(w, OVERLAPS, 1u << verb, stages[i]);
			allow = w->found[verb];
		} else {
			look(w, MATCHES, 1u << VERB_DENY | 1u << verb, stages[i]);
			deny = w->found[VERB_DENY];
			allow = w->found[verb];
		}
		if (deny || allow)
			return decide(why, !deny, ACL_BY_RULE, deny ? deny : allow);
	}
	return decide(why, false, ACL_NO_RULE, 0);
}

/* Without an acl_file: everything, but of '$' topics only what the broker says of itself, and one's own health. */
static bool decide_by_default(enum acl_access access, const uint8_t *topic, size_t len, struct acl_reason *why)
{
	static const char sys[] = "$SYS", health[] = "$SYS/health";
	bool allowed = len == 0 || topic[0] != '$';
	if (!allowed && access == ACL_WRITE)
		allowed = len == sizeof health - 1 && memcmp(topic, health, len) == 0;
	else if (!allowed)
		allowed = len >= sizeof sys - 1 && memcmp(topic, sys, sizeof sys - 1) == 0 && (len == sizeof sys - 1 || topic[sizeof sys - 1] == '/');
	return decide(why, allowed, ACL_NO_FILE, 0);
}

bool acl_allows(const struct acl *a, const struct acl_subject *s, enum acl_access access, const uint8_t *topic, size_t topic_len,
    struct acl_reason *why)
{
	struct walk w;
	bool is_filter = access == ACL_SUBSCRIBE;
	if (is_filter) {
		struct topic_share share;
		if (!topic_share_parse(topic, topic_len, &share))
			return decide(why, false, ACL_BAD_TOPIC, 0);
		topic = share.filter;
		topic_len = share.filter_len;
	}
	if (!a)
		return decide_by_default(access, topic, topic_len, why);
	w.a = a;
	w.s = s;
	w.all = why != NULL;
	w.id_is_level = s->client_id && !memchr(s->client_id, '/', s->client_id_len);
	if (!split(&w, topic, topic_len, is_filter))
		return decide(why, false, ACL_BAD_TOPIC, 0);
	return decide_by_rules(&w, access == ACL_WRITE ? VERB_WRITE : VERB_READ, is_filter, why);
}

bool acl_reads_all(const struct acl *a, const struct acl_subject *s, const uint8_t *filter, size_t len)
{
	struct walk w;
	struct topic_share share;
	if (!topic_share_parse(filter, len, &share))
		return false;
	w.a = a;
	w.s = s;
	w.all = false;
	w.id_is_level = s->client_id && !memchr(s->client_id, '/', s->client_id_len);
	if (!split(&w, share.filter, share.filter_len, true))
		return false;
	const struct acl_set *stages[] = { NULL, &a->patterns };
	for (size_t i = 0; i < 2; i++) {
		if (stages[i] && has_wildcard(s))
			return false;
		look(&w, OVERLAPS, 1u << VERB_DENY, stages[i]);
		if (w.found[VERB_DENY])
			return false;
		look(&w, COVERED, 1u << VERB_READ, stages[i]);
		if (w.found[VERB_READ])
			return true;
	}
	return false;
}

/* The text of a line, from 1, without its end. */
static const char *line_text(const struct acl *a, unsigned line, int *len)
{
	const char *p = a->text, *end = p + a->text_len;
	while (--line) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		if (!nl)
			break;
		p = nl + 1;
	}
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	const char *q = p;
	while (q < end && *q != '\n' && *q != '\r')
		q++;
	*len = (int)(q - p);
	return p;
}

bool acl_explain(const struct acl *a, const struct acl_subject *s, enum acl_access access, const char *topic, FILE *out)
{
	static const char *const names[] = { [ACL_READ] = "read", [ACL_WRITE] = "write", [ACL_SUBSCRIBE] = "subscribe to" };
	struct acl_reason why;
	int len = 0;
	bool allowed = acl_allows(a, s, access, (const uint8_t *)topic, strlen(topic), &why);
	(void)fprintf(out, "%.*s may%s %s %s: ", (int)s->cn_len, (const char *)s->cn, allowed ? "" : " not", names[access], topic);
	switch (why.cause) {
	case ACL_BY_RULE: {
		const char *text = line_text(a, why.line, &len);
		(void)fprintf(out, "%s:%u: %.*s\n", a->path, why.line, len, text);
		break;
	}
	case ACL_NO_RULE:
		(void)fprintf(out, "no rule in %s allows it\n", a->path);
		break;
	case ACL_NO_FILE:
		(void)fprintf(out, "there is no acl_file%s\n", allowed ? "" : ", so of topics that begin with $ only $SYS can be read and $SYS/health written");
		break;
	case ACL_BAD_TOPIC:
		(void)fprintf(out, "it has more than %u levels or is not $share/GROUP/FILTER\n", TOPIC_LEVELS_MAX);
		break;
	case ACL_BAD_CLIENT_ID:
		(void)fprintf(out, "patterns do not count for a client id that holds + or #\n");
		break;
	}
	return allowed;
}

void acl_stats(const struct acl *a, struct acl_stats *out)
{
	*out = (struct acl_stats){
		.rules = a->n_rules, .users = a->n_users, .groups = a->n_groups, .nodes = a->n_nodes,
		.bytes = sizeof *a + a->text_len + a->n_nodes * sizeof *a->nodes + a->n_users * sizeof *a->users + a->n_groups * sizeof *a->groups +
			a->n_members * sizeof *a->members + (a->children.mask + (size_t)a->by_cn.mask) * sizeof(uint32_t),
	};
}

struct acl *acl_ref(struct acl *a)
{
	atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
	return a;
}

void acl_unref(struct acl *a)
{
	if (!a || atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(a->text);
	free(a->path);
	free(a->nodes);
	free(a->users);
	free(a->groups);
	free(a->members);
	free(a->children.slots);
	free(a->by_cn.slots);
	free(a);
}
