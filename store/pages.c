/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Verifies the form of every page that the newest meta page of an LMDB 0.9 file leads to, without the library: it trusts what it maps, and a
 * damaged page would end the process. Reads with pread, so that a bad disk is an error and not a signal. The opening thread, or the
 * writer's. */
#include "store/lmdb_int.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* LMDB's format on 64-bit machines, in the machine's byte order. */
#define PAGE_HEAD 16u                /* number 8, 0 2, flags 2, lower 2 and upper 2, or pages 4 */
#define NODE_HEAD 8u                 /* size or page number 4, flags 2 (or more of the page number), key length 2 */
#define DB_LEN 48u                   /* 0 4, flags 2, depth 2, branch, leaf and overflow pages 8 each, entries 8, root 8 */
#define FLAG_BRANCH 0x01u
#define FLAG_LEAF 0x02u
#define FLAG_OVERFLOW 0x04u
#define NODE_BIG 0x01u
#define NODE_TABLE 0x02u
#define META_MAGIC UINT32_C(0xbeefc0de)
#define META_DBS_AT 40u              /* behind head, magic 4, version 4, address 8, size 8 */
#define META_LAST_AT (META_DBS_AT + 2 * DB_LEN)
#define META_TXN_AT (META_LAST_AT + 8)
#define META_LEN (META_TXN_AT + 8)
#define FREE_LIST_FLAGS 0x08u         /* keys are numbers */
#define KEY_MAX 511u
#define DEPTH_MAX 32u
#define PAGE_MAX 65536u
#define NO_PAGE UINT64_MAX

enum kind { FREE_LIST, MAIN, TABLE };  /* pages by transaction, keys are numbers; the tables by name; a table */

struct tree {
	uint64_t root, entries, found;
	unsigned depth;
	enum kind kind;
	bool skip_leaves;
};

struct verifier {
	int fd;
	size_t page_size;
	uint64_t last_page, file_pages;  /* pages allocated and never written may lie beyond the file's end */
	uint8_t *seen;               /* a bit per page: none is used twice */
	uint8_t *buffers;            /* a page for each level */
	uint8_t *used;               /* a byte for each of the page in hand: no two nodes overlap */
	bool all;
	uint64_t bad_page;           /* out */
	const char *what;            /* out; NULL: nothing wrong */
};

static uint16_t u16(const uint8_t *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static uint32_t u32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static uint64_t u64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static bool bad(struct verifier *v, uint64_t page, const char *what)
{
	if (!v->what) {
		v->what = what;
		v->bad_page = page;
	}
	return false;
}

static bool take_page(struct verifier *v, uint64_t page, uint64_t n, uint64_t end)
{
	if (page < 2 || n == 0 || page >= end || n > end - page)
		return bad(v, page, "lies beyond the end of the file: it was cut short");
	for (uint64_t i = page; i < page + n; i++) {
		if (v->seen[i / 8] >> i % 8 & 1)
			return bad(v, i, "is used twice");
		v->seen[i / 8] = (uint8_t)(v->seen[i / 8] | 1u << i % 8);
	}
	return true;
}

static bool read_page_at(struct verifier *v, uint64_t page, uint8_t *to, size_t len)
{
	ssize_t n = pread(v->fd, to, len, (off_t)(page * v->page_size));
	if (n != (ssize_t)len)
		return bad(v, page, n < 0 ? "cannot be read" : "lies beyond the end of the file");
	return u64(to) == page || bad(v, page, "has another page's number");
}

static bool verify_big(struct verifier *v, uint64_t page, size_t size)
{
	uint8_t head[PAGE_HEAD];
	uint64_t n = (PAGE_HEAD + size - 1) / v->page_size + 1;
	if (!take_page(v, page, n, v->file_pages) || !read_page_at(v, page, head, sizeof head))
		return false;
	return (u16(head + 10) == FLAG_OVERFLOW && u32(head + 12) == n) || bad(v, page, "is no overflow page of its length");
}

/* One node of a page; its key, and for a leaf its data. */
struct node {
	const uint8_t *key, *data;
	size_t key_len, size;        /* size: of the data */
	uint64_t child;
	unsigned flags;
};

static void locate_node(const uint8_t *page, unsigned i, struct node *out)
{
	const uint8_t *p = page + u16(page + PAGE_HEAD + 2 * i);
	out->key_len = u16(p + 6);
	out->key = p + NODE_HEAD;
	out->data = out->key + out->key_len;
	out->child = (uint64_t)u16(p) | (uint64_t)u16(p + 2) << 16 | (uint64_t)u16(p + 4) << 32;
	out->flags = u16(p + 4);
	out->size = (size_t)u16(p) | (size_t)u16(p + 2) << 16;
}

static bool get_node(struct verifier *v, const uint8_t *page, unsigned i, bool leaf, struct node *out)
{
	size_t at = u16(page + PAGE_HEAD + 2 * i), room = v->page_size;
	uint64_t number = u64(page);
	if (at < u16(page + 14) || at + NODE_HEAD > room || at % 2)
		return bad(v, number, "has a node outside itself");
	locate_node(page, i, out);
	if (out->key_len > room - at - NODE_HEAD || out->key_len > KEY_MAX)
		return bad(v, number, "has a key outside itself");
	size_t here = !leaf ? 0 : out->flags & NODE_BIG ? 8 : out->size;
	if (here > room - at - NODE_HEAD - out->key_len)
		return bad(v, number, "has data outside itself");
	size_t whole = (NODE_HEAD + out->key_len + here + 1) & ~(size_t)1;
	if (memchr(v->used + at, 1, whole))
		return bad(v, number, "has nodes that overlap");
	memset(v->used + at, 1, whole);
	return true;
}

/* Nodes fill the page from its end down to `upper`, without a gap. */
static bool nodes_fill(struct verifier *v, uint64_t number, unsigned upper)
{
	return !memchr(v->used + upper, 0, v->page_size - upper) || bad(v, number, "has a gap between its nodes");
}

static int compare_keys(const struct node *a, const struct node *b)
{
	int c = memcmp(a->key, b->key, a->key_len < b->key_len ? a->key_len : b->key_len);
	return c ? c : a->key_len < b->key_len ? -1 : a->key_len > b->key_len;
}

/* NOLINTBEGIN(misc-no-recursion): as deep as a table in the main table, each of at most DEPTH_MAX levels */
static bool verify_tree(struct verifier *v, const uint8_t *db, enum kind kind, bool skip_leaves);

/* The free list's data: a count, then so many pages, none of which is in use. */
static bool verify_free(struct verifier *v, uint64_t page, const uint8_t *data, size_t size)
{
	if (size < 8 || size % 8 || u64(data) > size / 8 - 1)
		return bad(v, page, "has a malformed list of free pages");
	for (uint64_t i = 1; i <= u64(data); i++)
		if (!take_page(v, u64(data + 8 * i), 1, v->last_page + 1))
			return false;
	return true;
}

static bool verify_big_free(struct verifier *v, uint64_t page, size_t size)
{
	uint8_t *data = malloc(size + 1);
	if (!data)
		return bad(v, page, "cannot be verified: out of memory");
	bool good = pread(v->fd, data, size, (off_t)(page * v->page_size + PAGE_HEAD)) == (ssize_t)size ? verify_free(v, page, data, size)
	    : bad(v, page, "cannot be read");
	free(data);
	return good;
}

static bool verify_leaf_node(struct verifier *v, enum kind kind, uint64_t page, const struct node *n)
{
	static const char messages[] = "messages";
	unsigned allowed = kind == MAIN ? NODE_TABLE : NODE_BIG;
	if ((n->flags & ~allowed) || n->key_len == 0 || (kind == MAIN && !(n->flags & NODE_TABLE)) || (kind == FREE_LIST && n->key_len != 8))
		return bad(v, page, "has an entry of the wrong kind");
	if (n->flags & NODE_BIG)
		return verify_big(v, u64(n->data), n->size) && (kind != FREE_LIST || verify_big_free(v, u64(n->data), n->size));
	if (kind == FREE_LIST)
		return verify_free(v, page, n->data, n->size);
	if (kind == TABLE)
		return true;
	if (n->size != DB_LEN)
		return bad(v, page, "has a table of the wrong length");
	bool is_messages = n->key_len == sizeof messages - 1 && memcmp(n->key, messages, n->key_len) == 0;
	return verify_tree(v, n->data, TABLE, is_messages && !v->all);
}

static bool verify_page(struct verifier *v, struct tree *t, uint64_t number, unsigned level)
{
	bool leaf = level + 1 == t->depth;
	if (!take_page(v, number, 1, v->file_pages))
		return false;
	if (leaf && t->skip_leaves)
		return true;
	uint8_t *page = v->buffers + (size_t)level * v->page_size;
	if (!read_page_at(v, number, page, v->page_size))
		return false;
	unsigned lower = u16(page + 12), upper = u16(page + 14);
	if (u16(page + 10) != (leaf ? FLAG_LEAF : FLAG_BRANCH) || lower < PAGE_HEAD || lower % 2 || lower > upper || upper > v->page_size)
		return bad(v, number, "has a malformed head");
	unsigned n_nodes = (lower - PAGE_HEAD) / 2;
	if (n_nodes < (leaf ? 1u : 2u))
		return bad(v, number, "is empty");
	struct node before = { 0 }, n;
	memset(v->used, 0, v->page_size + 1);
	for (unsigned i = 0; i < n_nodes; i++, before = n) {
		if (!get_node(v, page, i, leaf, &n))
			return false;
		if (t->kind != FREE_LIST && i > (leaf ? 0u : 1u) && compare_keys(&before, &n) >= 0) /* a branch's first key is not used */
			return bad(v, number, "is out of order");
	}
	if (!nodes_fill(v, number, upper))
		return false;
	t->found += leaf ? n_nodes : 0;
	for (unsigned i = 0; i < n_nodes; i++) { /* only now: what lies below uses the same marks */
		locate_node(page, i, &n);
		if (leaf ? !verify_leaf_node(v, t->kind, number, &n) : !verify_page(v, t, n.child, level + 1))
			return false;
	}
	return true;
}

/* db: a table's head, as it stands in the meta page or in the main table. */
static bool verify_tree(struct verifier *v, const uint8_t *db, enum kind kind, bool skip_leaves)
{
	struct tree t = { .depth = u16(db + 6), .entries = u64(db + 32), .root = u64(db + 40), .kind = kind, .skip_leaves = skip_leaves };
	if (u16(db + 4) != (kind == FREE_LIST ? FREE_LIST_FLAGS : 0))
		return bad(v, t.root, "is the root of a table of the wrong kind");
	if (t.root == NO_PAGE)
		return t.entries == 0 || bad(v, 0, "names an empty table that has entries");
	if (t.depth == 0 || t.depth > DEPTH_MAX)
		return bad(v, t.root, "is the root of a table of impossible depth");
	/* Its own pages: those of the tree that holds it are still being read. */
	uint8_t *outer = v->buffers;
	v->buffers = malloc(t.depth * v->page_size);
	bool good = v->buffers ? verify_page(v, &t, t.root, 0) : bad(v, t.root, "cannot be verified: out of memory");
	free(v->buffers);
	v->buffers = outer;
	return good && (skip_leaves || t.found == t.entries || bad(v, t.root, "is the root of a table whose entries are not as many as it says"));
}

/* NOLINTEND(misc-no-recursion) */

/* The newer of the two meta pages. */
static bool read_newest_meta(struct verifier *v, uint8_t meta[static META_LEN])
{
	uint8_t other[META_LEN];
	if (pread(v->fd, meta, META_LEN, 0) != (ssize_t)META_LEN || u32(meta + PAGE_HEAD) != META_MAGIC)
		return bad(v, 0, "is no meta page");
	v->page_size = u32(meta + META_DBS_AT);
	if (v->page_size < 512 || v->page_size > PAGE_MAX || (v->page_size & (v->page_size - 1)))
		return bad(v, 0, "is no meta page");
	if (pread(v->fd, other, META_LEN, (off_t)v->page_size) != (ssize_t)META_LEN || u32(other + PAGE_HEAD) != META_MAGIC)
		return bad(v, 1, "is no meta page");
	if (u64(other + META_TXN_AT) > u64(meta + META_TXN_AT))
		memcpy(meta, other, META_LEN);
	return true;
}

enum err pages_verify(int fd, bool all, uint64_t *page, const char **what)
{
	struct verifier v = { .fd = fd, .all = all };
	uint8_t meta[META_LEN];
	struct stat st;
	bool good = read_newest_meta(&v, meta) && (fstat(fd, &st) == 0 || bad(&v, 0, "cannot be read"));
	if (good) {
		v.last_page = u64(meta + META_LAST_AT);
		v.file_pages = (uint64_t)st.st_size / v.page_size;
		if (v.file_pages > v.last_page + 1)
			v.file_pages = v.last_page + 1;
		good = v.last_page < UINT64_MAX / PAGE_MAX || bad(&v, 0, "is no meta page");
	}
	if (good) {
		v.seen = calloc(1, (size_t)(v.last_page / 8 + 1));
		v.used = malloc(v.page_size + 1);
		good = v.seen && v.used ? verify_tree(&v, meta + META_DBS_AT, FREE_LIST, false) && verify_tree(&v, meta + META_DBS_AT + DB_LEN, MAIN, false)
		    : bad(&v, 0, "cannot be verified: out of memory");
		free(v.seen);
		free(v.used);
	}
	*page = v.bad_page;
	*what = v.what;
	return good ? ERR_OK : ERR_CORRUPT;
}
