/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rules in a tree of levels, each node's children sorted. The most specific match is the first that a search finds which tries the topic's
 * own text, then '+', then '#'. */
#include "topics/history_policy.h"

#include "topics/topic.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct node {
	struct node **children; /* sorted by text */
	size_t n;
	bool rule;
	struct history_limits limits;
	size_t len;
	uint8_t text[];
};

struct history_policy {
	atomic_uint refs;
	struct node *root;
};

static struct node *node_new(const uint8_t *text, size_t len)
{
	struct node *n = calloc(1, sizeof *n + len);
	if (n) {
		n->len = len;
		if (len)
			memcpy(n->text, text, len);
	}
	return n;
}

/* NOLINTBEGIN(misc-no-recursion): over the levels of the operator's own rules, which are at most TOPIC_LEVELS_MAX */
static void node_free(struct node *n)
{
	for (size_t i = 0; n && i < n->n; i++)
		node_free(n->children[i]);
	if (n)
		free(n->children);
	free(n);
}

struct history_policy *history_policy_new(void)
{
	struct history_policy *p = calloc(1, sizeof *p);
	if (p && !(p->root = node_new(NULL, 0))) {
		free(p);
		return NULL;
	}
	if (p)
		atomic_init(&p->refs, 1);
	return p;
}

struct history_policy *history_policy_ref(struct history_policy *p)
{
	if (p)
		atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void history_policy_unref(struct history_policy *p)
{
	if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	node_free(p->root);
	free(p);
}

static int compare(const struct node *n, const uint8_t *text, size_t len)
{
	int c = memcmp(n->text, text, n->len < len ? n->len : len);
	return c ? c : n->len < len ? -1 : n->len > len;
}

/* Where text is among the children, or belongs. */
static size_t child_at(const struct node *n, const uint8_t *text, size_t len)
{
	size_t low = 0, high = n->n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (compare(n->children[mid], text, len) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct node *child(const struct node *n, const uint8_t *text, size_t len)
{
	size_t i = child_at(n, text, len);
	return i < n->n && compare(n->children[i], text, len) == 0 ? n->children[i] : NULL;
}

static struct node *child_add(struct node *n, const uint8_t *text, size_t len)
{
	size_t i = child_at(n, text, len);
	struct node **more = realloc(n->children, (n->n + 1) * sizeof(struct node *));
	if (!more)
		return NULL;
	n->children = more;
	struct node *c = node_new(text, len);
	if (!c)
		return NULL;
	memmove(more + i + 1, more + i, (n->n - i) * sizeof(struct node *));
	more[i] = c;
	n->n++;
	return c;
}

static size_t level_end(const uint8_t *p, size_t len, size_t i)
{
	while (i < len && p[i] != '/')
		i++;
	return i;
}

struct history_limits *history_policy_rule(struct history_policy *p, const uint8_t *filter, size_t len)
{
	struct node *n = p->root;
	if (topic_levels(filter, len) > TOPIC_LEVELS_MAX)
		return NULL;
	for (size_t i = 0; n && i <= len;) {
		size_t end = level_end(filter, len, i);
		struct node *c = child(n, filter + i, end - i);
		n = c ? c : child_add(n, filter + i, end - i);
		i = end + 1;
	}
	if (!n)
		return NULL;
	n->rule = true;
	return &n->limits;
}

/* The best rule below n for what of the topic begins at i; i > len: nothing is left. At most TOPIC_LEVELS_MAX calls deep. */
static const struct node *search(const struct node *n, const uint8_t *topic, size_t len, size_t i)
{
	static const uint8_t plus = '+', hash = '#';
	const struct node *c, *found;
	if (i > len && n->rule)
		return n;
	bool wild = n->n > 0 && !(i == 0 && len > 0 && topic[0] == '$'); /* [MQTT-4.7.2-1] */
	if (i <= len && n->n > 0) {
		size_t end = level_end(topic, len, i);
		if ((c = child(n, topic + i, end - i)) && (found = search(c, topic, len, end + 1)))
			return found;
		if (wild && (c = child(n, &plus, 1)) && (found = search(c, topic, len, end + 1)))
			return found;
	}
	c = wild ? child(n, &hash, 1) : NULL; /* the parent level too */
	return c && c->rule ? c : NULL;
}

const struct history_limits *history_policy_find(const struct history_policy *p, const uint8_t *topic, size_t len)
{
	if (!p || p->root->n == 0 || topic_levels(topic, len) > TOPIC_LEVELS_MAX)
		return NULL;
	const struct node *n = search(p->root, topic, len, 0);
	return n && !n->limits.off ? &n->limits : NULL;
}

/* As search, for a filter: does one topic match it and a rule below n? */
static bool overlaps(const struct node *n, const uint8_t *filter, size_t len, size_t i)
{
	const struct node *hash = child(n, (const uint8_t *)"#", 1);
	if ((hash && hash->rule) || (i > len && n->rule))
		return true;
	size_t end = i <= len ? level_end(filter, len, i) : i;
	if (end == i + 1 && filter[i] == '#')
		return n->rule || n->n > 0;
	bool any = end == i + 1 && filter[i] == '+';
	for (size_t k = 0; i <= len && k < n->n; k++) {
		const struct node *c = n->children[k];
		bool fits = any || (c->len == 1 && c->text[0] == '+') || compare(c, filter + i, end - i) == 0;
		if (fits && overlaps(c, filter, len, end + 1))
			return true;
	}
	return false;
}

bool history_policy_overlaps(const struct history_policy *p, const uint8_t *filter, size_t len)
{
	return p && overlaps(p->root, filter, len, 0);
}

static bool same(const struct node *a, const struct node *b)
{
	const struct history_limits *x = &a->limits, *y = &b->limits;
	if (a->n != b->n || compare(a, b->text, b->len) != 0 || a->rule != b->rule || x->count != y->count || x->age_s != y->age_s || x->bytes != y->bytes || x->off != y->off)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!same(a->children[i], b->children[i]))
			return false;
	return true;
}

bool history_policy_equal(const struct history_policy *a, const struct history_policy *b)
{
	return a && b ? same(a->root, b->root) : a == b;
}

/* NOLINTEND(misc-no-recursion) */

/* ---- $HISTORY */

#define PREFIX "$HISTORY/"
#define PREFIX_LEN (sizeof PREFIX - 1)
#define NUMBER_MAX UINT64_C(1000000000000000) /* far beyond any count, age or time, far below an overflow */

bool history_is_spec(const uint8_t *p, size_t len) { return len >= PREFIX_LEN && memcmp(p, PREFIX, PREFIX_LEN) == 0; }

/* Digits at the front; how many bytes, 0: none, or too large. */
static size_t number(const uint8_t *p, size_t len, uint64_t *out)
{
	size_t i = 0;
	for (*out = 0; i < len && p[i] >= '0' && p[i] <= '9'; i++) {
		*out = *out * 10 + (uint64_t)(p[i] - '0');
		if (*out > NUMBER_MAX)
			return 0;
	}
	return i;
}

static uint64_t unit_ms(uint8_t c)
{
	return c == 's' ? 1000u : c == 'm' ? 60000u : c == 'h' ? 3600000u : c == 'd' ? 86400000u : c == 'w' ? 604800000u : 0;
}

static bool starts_with(const uint8_t *p, size_t len, const char *text)
{
	size_t n = strlen(text);
	return len >= n && memcmp(p, text, n) == 0;
}

static bool parse_spec(const uint8_t *p, size_t len, uint64_t now_ms, struct history_spec *out)
{
	static const char since[] = "since-";
	uint64_t n;
	if (len == 3 && starts_with(p, len, "all"))
		return true;
	if (starts_with(p, len, since)) {
		size_t skip = sizeof since - 1, digits = number(p + skip, len - skip, &n);
		out->since_ms = n;
		return digits > 0 && digits == len - skip;
	}
	size_t digits = number(p, len, &n);
	if (digits == 0 || n == 0)
		return false;
	if (digits == len) {
		out->newest = n;
		return true;
	}
	uint64_t unit = digits + 1 == len ? unit_ms(p[digits]) : 0;
	if (unit == 0)
		return false;
	out->since_ms = n < now_ms / unit ? now_ms - n * unit : 1;
	return true;
}

bool history_spec_parse(const uint8_t *p, size_t len, uint64_t now_ms, struct history_spec *out)
{
	*out = (struct history_spec){ 0 };
	if (!history_is_spec(p, len))
		return false;
	size_t end = level_end(p, len, PREFIX_LEN);
	if (end + 1 >= len || !parse_spec(p + PREFIX_LEN, end - PREFIX_LEN, now_ms, out))
		return false;
	out->filter = p + end + 1;
	out->filter_len = len - end - 1;
	return !starts_with(out->filter, out->filter_len, "$share/") && !history_is_spec(out->filter, out->filter_len);
}
