/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The readers' side of the retained tree: a walk in depth over what a filter matches. No lock; any thread that is online in the epoch.
 *
 * It may be left and gone on with after quiescent states, when tables that it stood in have been replaced and nodes freed. So what is left of
 * each table is copied, and so is the path of children that led there. A child is recognised by its word in a table (hash and reference): going on,
 * the path is gone down again as far as the words still stand where they should, and a copied word counts only if it still stands in the table of
 * that node. A word that stands there for another child, whose reference is a freed one's, does no harm: nothing below it is as old as the walk.
 * Within a table that a walk is in, nothing moves and what is added is too new (node_int.h), so each child is met once. */
#include "topics/retained_int.h"
#include "topics/topic.h"

#include <stdlib.h>

/* The children of one node that are still to be met. */
struct frame {
	struct kids kids;         /* its table, in the part in which the walk came to it */
	uint64_t *words;          /* later: what was left of it, malloced; NULL: kids holds */
	const struct node *owner; /* whose children they are; with words */
	uint32_t next, n;         /* place, and how many there are */
	uint32_t depth;           /* of the children: how many levels lead to them */
};

struct walk {
	const struct tree *t;
	bool (*fn)(void *arg, struct msg *m);
	void *arg;
	uint64_t upto, visited;
	uint32_t n_levels; /* of the filter */
	bool all;          /* it ends with '#', which is not counted */
	uint32_t n_frames;
	struct level levels[TOPIC_LEVELS_MAX];
	uint32_t hashes[TOPIC_LEVELS_MAX]; /* of levels */
	struct frame frames[TOPIC_LEVELS_MAX];
	uint64_t path[TOPIC_LEVELS_MAX];   /* words of the children that were followed, by level */
};

struct retained_cursor {
	uint32_t n_frames;
	uint64_t *path;        /* behind frames; as long as the last frame is deep, less one */
	struct frame frames[];
};

static bool is_plus(struct level l) { return l.len == 1 && l.p[0] == '+'; }

/* False when there are more levels than any topic here has. */
static bool walk_parse(struct walk *w, const uint8_t *filter, size_t len)
{
	struct level_cursor c = level_first(filter, len);
	struct level level;
	w->n_levels = 0;
	w->n_frames = 0;
	w->all = false;
	while (level_next(&c, &level)) {
		if (level.len == 1 && level.p[0] == '#') {
			w->all = true;
			return true;
		}
		if (w->n_levels == TOPIC_LEVELS_MAX)
			return false;
		w->hashes[w->n_levels] = level_hash(&w->t->key, level.p, level.len);
		w->levels[w->n_levels++] = level;
	}
	return true;
}

static bool deliver(const struct walk *w, const struct node *n)
{
	struct msg *m = retained_msg(atomic_load_explicit(&n->value.who, memory_order_acquire));
	if (!m || atomic_load_explicit(&n->value.how, memory_order_relaxed) > w->upto)
		return true;
	return w->fn(w->arg, m);
}

/* From node n, that depth levels led to: follows levels without a wildcard, delivers, and leaves a frame where there are several ways
 * on. False when fn said stop. */
static bool walk_down(struct walk *w, const struct node *n, uint32_t depth)
{
	for (; depth < w->n_levels && !is_plus(w->levels[depth]); depth++) {
		struct level level = w->levels[depth];
		w->visited++;
		node_ref kid = kids_find(w->t, node_kids(n), w->hashes[depth], level.p, level.len);
		if (kid == 0)
			return true;
		w->path[depth] = (uint64_t)w->hashes[depth] << 32 | kid;
		n = tree_at(w->t, kid);
	}
	if (depth >= w->n_levels && !deliver(w, n))
		return false;
	struct kids k = node_kids(n);
	if (k.cap > 0 && (depth < w->n_levels || w->all))
		w->frames[w->n_frames++] = (struct frame){ .kids = k, .n = k.cap, .depth = depth + 1 };
	return true;
}

static uint64_t word_at(struct kids k, uint32_t i)
{
	return i < k.cap ? atomic_load_explicit(&k.b->kids[i], memory_order_acquire) : 0;
}

static const struct node *kid_at(const struct walk *w, struct kids k, uint32_t i)
{
	node_ref kid = (node_ref)word_at(k, i);
	return kid != 0 ? tree_at(w->t, kid) : NULL;
}

#define AHEAD 6u

/* The children lie anywhere: fetch nodes two strides ahead, and messages one. */
static void look_ahead(const struct walk *w, struct kids k, uint32_t i)
{
	const struct node *far = kid_at(w, k, i + 2 * AHEAD), *near = kid_at(w, k, i + AHEAD);
	if (far)
		__builtin_prefetch(far);
	if (near)
		__builtin_prefetch(retained_msg(atomic_load_explicit(&near->value.who, memory_order_relaxed)));
}

/* Is this very child in the table? */
static bool kids_have(struct kids k, uint64_t word)
{
	uint32_t i = kids_home(k, (uint32_t)(word >> 32));
	for (uint32_t left = k.cap; left > 0; left--, i = kids_next(k, i)) {
		uint64_t kid = word_at(k, i);
		if (kid == 0 || kid == word)
			return kid == word;
	}
	return false;
}

/* The next child's word; 0: that place has none, or no longer. */
static uint64_t frame_next(const struct walk *w, struct frame *f)
{
	uint32_t i = f->next++;
	if (!f->words) {
		look_ahead(w, f->kids, i);
		return word_at(f->kids, i);
	}
	if (i + AHEAD < f->n) /* an address, also of what is gone */
		__builtin_prefetch(tree_at(w->t, (node_ref)f->words[i + AHEAD]));
	return kids_have(node_kids(f->owner), f->words[i]) ? f->words[i] : 0;
}

/* False when fn said stop, or nothing is left. */
static bool walk_step(struct walk *w)
{
	struct frame *f = &w->frames[w->n_frames - 1];
	if (f->next == f->n) {
		free(f->words);
		return --w->n_frames > 0;
	}
	uint32_t depth = f->depth;
	uint64_t word = frame_next(w, f);
	w->visited++;
	if ((node_ref)word == 0)
		return true;
	const struct node *n = tree_at(w->t, (node_ref)word);
	/* A leading wildcard does not match '$' [MQTT-4.7.2-1]. */
	if (depth == 1 && n->level_len > 0 && node_level(n)[0] == '$')
		return true;
	w->path[depth - 1] = word;
	return walk_down(w, n, depth);
}

/* Forgets the frames from the n-th on. */
static void walk_cut(struct walk *w, uint32_t n)
{
	while (w->n_frames > n)
		free(w->frames[--w->n_frames].words);
}

/* ---- leaving it, and going on ---- */

/* Copies what is left of the table. */
static bool frame_keep(struct frame *f)
{
	if (f->words)
		return true;
	uint64_t *words = malloc((f->n - f->next + 1) * sizeof *words);
	uint32_t n = 0;
	if (!words)
		return false;
	for (uint32_t i = f->next; i < f->n; i++) {
		uint64_t word = word_at(f->kids, i);
		if ((node_ref)word != 0)
			words[n++] = word;
	}
	f->words = words;
	f->n = n;
	f->next = 0;
	return true;
}

/* NULL: out of memory. */
static struct retained_cursor *walk_leave(struct walk *w)
{
	uint32_t n_path = w->frames[w->n_frames - 1].depth - 1;
	for (uint32_t i = 0; i < w->n_frames; i++) {
		w->visited += (w->frames[i].words ? 0 : w->frames[i].n - w->frames[i].next) / 8; /* a copy costs less than a look */
		if (!frame_keep(&w->frames[i]))
			return NULL;
	}
	struct retained_cursor *c = malloc(sizeof *c + w->n_frames * sizeof *c->frames + n_path * sizeof *c->path);
	if (!c)
		return NULL;
	c->n_frames = w->n_frames;
	c->path = (uint64_t *)(void *)(c->frames + w->n_frames);
	memcpy(c->frames, w->frames, w->n_frames * sizeof *c->frames);
	if (n_path > 0)
		memcpy(c->path, w->path, n_path * sizeof *c->path);
	return c;
}

static void walk_go_on(struct walk *w, struct retained_cursor *take_c)
{
	const struct node *n = w->t->root;
	uint32_t depth = 0;
	w->n_frames = take_c->n_frames;
	memcpy(w->frames, take_c->frames, w->n_frames * sizeof *w->frames);
	memcpy(w->path, take_c->path, (w->frames[w->n_frames - 1].depth - 1) * sizeof *w->path);
	free(take_c);
	for (uint32_t i = 0; i < w->n_frames; i++) {
		for (; depth + 1 < w->frames[i].depth; depth++) {
			if (!kids_have(node_kids(n), w->path[depth])) { /* gone, with all below it */
				walk_cut(w, i);
				return;
			}
			n = tree_at(w->t, (node_ref)w->path[depth]);
		}
		w->frames[i].owner = n;
	}
}

void retained_cursor_free(struct retained_cursor *c)
{
	for (uint32_t i = 0; c && i < c->n_frames; i++)
		free(c->frames[i].words);
	free(c);
}

enum err retained_match_part(struct retained *r, const uint8_t *filter, size_t len, struct retained_part *p, bool (*fn)(void *arg, struct msg *m),
    void *arg)
{
	struct walk w;
	w.t = &r->tree;
	w.fn = fn;
	w.arg = arg;
	w.upto = p->upto;
	w.visited = 0;
	bool more = walk_parse(&w, filter, len);
	if (p->cursor)
		walk_go_on(&w, p->cursor);
	else
		more = more && walk_down(&w, r->tree.root, 0);
	p->cursor = NULL;
	more = more && w.n_frames > 0;
	while (more && w.visited < p->most)
		more = walk_step(&w);
	if (more)
		p->cursor = walk_leave(&w);
	if (!p->cursor)
		walk_cut(&w, 0);
	p->visited = w.visited;
	return more && !p->cursor ? ERR_NOMEM : ERR_OK;
}

/* Bounded by the nodes that the filter's beginning matches, each once. */
uint64_t retained_match(struct retained *r, const uint8_t *filter, size_t len, bool (*fn)(void *arg, struct msg *m), void *arg)
{
	struct retained_part all = { .upto = UINT64_MAX, .most = UINT64_MAX };
	enum err e = retained_match_part(r, filter, len, &all, fn, arg);
	return e == ERR_OK ? all.visited : 0; /* what is not left needs no memory */
}
