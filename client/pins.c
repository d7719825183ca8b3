/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/pins.h"

#include "base/durable.h"
#include "base/textbytes.h"
#include "base/textfile.h"
#include "client/sealmq.h"
#include "crypto/hash.h"
#include "crypto/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const modes[] = { "", "broker", "owner" }, *const signs[] = { "off", "optional", "required" };
#define FORMAT "sealmq v1"
#define ADVICE "; restore it from a backup, or remove it to trust what the brokers say next as if it were the first time"

PRINTF_LIKE(3, 4) static enum err fault(char error[static PINS_ERROR_MAX], enum err e, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(error, PINS_ERROR_MAX, fmt, ap);
	va_end(ap);
	return e;
}

static void free_pin(struct pin *p)
{
	free(p->broker);
	free(p->member);
	free(p->space);
}

void pins_free(struct pins *p)
{
	for (size_t i = 0; i < p->n; i++)
		free_pin(&p->items[i]);
	free(p->items);
	*p = (struct pins){ .n = 0 };
}

bool pins_append(struct pins *p, const struct pin *take)
{
	struct pin *more = realloc(p->items, (p->n + 1) * sizeof *more);
	if (!more)
		return false;
	p->items = more;
	p->items[p->n++] = *take;
	return true;
}

void pins_drop(struct pins *p, size_t i)
{
	free_pin(&p->items[i]);
	p->items[i] = p->items[--p->n];
}

static struct pin *find(struct pins *p, const char *broker, const char *member, const char *space)
{
	for (size_t i = 0; i < p->n; i++)
		if (strcmp(p->items[i].broker, broker) == 0 && strcmp(p->items[i].member, member) == 0 && strcmp(p->items[i].space, space) == 0)
			return &p->items[i];
	return NULL;
}

/* ---- reading */

/* The word's place among n. False: it is none of them. */
static bool word_of(const cJSON *o, const char *name, const char *const *words, int n, int *out)
{
	const char *s = json_text(o, name);
	for (*out = 0; s && *out < n; ++*out)
		if (*words[*out] && strcmp(words[*out], s) == 0)
			return true;
	return false;
}

static enum err line_of(const char *line, size_t len, struct pin *out)
{
	cJSON *o;
	uint64_t epoch = 0;
	*out = (struct pin){ .list = 0 };
	enum err e = json_parse(line, len, NULL, &o);
	const char *broker = json_text(o, "broker"), *member = json_text(o, "member"), *space = json_text(o, "space");
	bool good = broker && member && space && json_hash(o, "issuer", out->issuer) && word_of(o, "mode", modes, 3, &out->mode) &&
	            word_of(o, "sign", signs, 3, &out->sign) && json_whole(o, "epoch", UINT32_MAX, &epoch) &&
	            (!cJSON_HasObjectItem(o, "list") || json_whole(o, "list", JSON_WHOLE_MAX, &out->list));
	if (e == ERR_OK && !good)
		e = ERR_INVALID;
	if (e == ERR_OK) {
		out->epoch = (uint32_t)epoch;
		out->broker = strdup(broker);
		out->member = strdup(member);
		out->space = strdup(space);
		e = out->broker && out->member && out->space ? ERR_OK : ERR_NOMEM;
	}
	cJSON_Delete(o);
	return e;
}

#define HEAD_SIZE 128u
static void head_of(const char *rest, size_t len, char out[static HEAD_SIZE])
{
	uint8_t hash[HASH_LEN];
	char hex[2 * HASH_LEN + 1];
	hash_sha256(rest, len, hash);
	*hex_put(hex, hash, sizeof hash) = '\0';
	snprintf(out, HEAD_SIZE, "{\"pins\":\"" FORMAT "\",\"sha256\":\"%s\"}\n", hex);
}

/* Every byte is vouched for by the first line, so whoever breaks it later is told, not guessed at. */
static enum err parse(struct pins *p, const char *path, const char *text, size_t len, char error[static PINS_ERROR_MAX])
{
	char head[HEAD_SIZE];
	const char *at = memchr(text, '\n', len), *end = text + len;
	at = at ? at + 1 : end;
	head_of(at, (size_t)(end - at), head);
	if ((size_t)(at - text) != strlen(head) || memcmp(text, head, strlen(head)) != 0)
		return fault(error, ERR_CORRUPT, "%s: is damaged, or was not written by sealmq" ADVICE, path);
	for (unsigned n = 2; at < end; n++) {
		const char *nl = memchr(at, '\n', (size_t)(end - at));
		struct pin one = { .list = 0 };
		enum err e = nl ? line_of(at, (size_t)(nl - at), &one) : ERR_INVALID;
		if (e == ERR_OK && !pins_append(p, &one))
			e = ERR_NOMEM;
		if (e != ERR_OK)
			free_pin(&one);
		if (e == ERR_NOMEM)
			return fault(error, e, "%s: out of memory", path);
		if (e != ERR_OK)
			return fault(error, ERR_CORRUPT, "%s:%u: expected broker, member, space, issuer, mode, sign and epoch" ADVICE, path, n);
		at = nl + 1;
	}
	return ERR_OK;
}

enum err pins_read(struct pins *p, const char *path, char error[static PINS_ERROR_MAX])
{
	struct stat about;
	size_t len, line_len = 0;
	char *line = NULL;
	*p = (struct pins){ .n = 0 };
	if (stat(path, &about) != 0)
		return errno == ENOENT ? ERR_OK : fault(error, ERR_IO, "%s: %s", path, strerror(errno));
	if (about.st_mode & (S_IWGRP | S_IWOTH))
		return fault(error, ERR_REFUSED, "%s: others may write it; expected mode 0600", path);
	FILE *messages = open_memstream(&line, &line_len);
	char *text = textfile_read(path, &len, messages);
	if (messages)
		(void)fclose(messages);
	enum err e = text ? parse(p, path, text, len, error) : fault(error, ERR_IO, "%.*s", (int)strcspn(line ? line : path, "\n"), line ? line : path);
	free(line);
	free(text);
	if (e != ERR_OK)
		pins_free(p);
	return e;
}

/* ---- writing */

static bool print_line(FILE *f, const struct pin *p)
{
	char issuer[2 * sizeof p->issuer + 1];
	cJSON *o = cJSON_CreateObject();
	*hex_put(issuer, p->issuer, sizeof p->issuer) = '\0';
	bool good = cJSON_AddStringToObject(o, "broker", p->broker) && cJSON_AddStringToObject(o, "member", p->member) &&
	            cJSON_AddStringToObject(o, "space", p->space) && cJSON_AddStringToObject(o, "issuer", issuer) &&
	            cJSON_AddStringToObject(o, "mode", modes[p->mode]) && cJSON_AddStringToObject(o, "sign", signs[p->sign]) &&
	            cJSON_AddNumberToObject(o, "epoch", p->epoch) && (p->list == 0 || cJSON_AddNumberToObject(o, "list", (double)p->list));
	char *text = good ? cJSON_PrintUnformatted(o) : NULL;
	good = text && fprintf(f, "%s\n", text) > 0;
	cJSON_free(text);
	cJSON_Delete(o);
	return good;
}

/* The folder that a file is in, on the heap. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	return !slash ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* The lines behind the first, on the heap; NULL: no memory. A line that is missing would be a space that is trusted anew. */
static char *lines_of(const struct pins *p, size_t *len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, len);
	bool whole = f != NULL;
	for (size_t i = 0; whole && i < p->n; i++)
		whole = print_line(f, &p->items[i]);
	if (f && fclose(f) != 0)
		whole = false;
	if (whole)
		return text;
	free(text);
	return NULL;
}

/* Under the lock. */
static enum err write_all(const struct pins *p, const char *path, char error[static PINS_ERROR_MAX])
{
	char head[HEAD_SIZE];
	size_t len = 0;
	char *lines = lines_of(p, &len), *whole = lines ? malloc(sizeof head + len) : NULL;
	enum err e = whole ? ERR_OK : ERR_NOMEM;
	if (whole) {
		head_of(lines, len, head);
		memcpy(stpcpy(whole, head), lines, len);
		e = durable_replace(path, whole, strlen(head) + len);
	}
	free(lines);
	free(whole);
	return e == ERR_OK ? e : fault(error, e, "%s: cannot be written: %s", path, e == ERR_IO ? strerror(errno) : err_text(e));
}

/* The lock has a file of its own, since the other one is replaced. */
static int lock(const char *path)
{
	char *name = NULL;
	int fd = asprintf(&name, "%s.lock", path) < 0 ? -1 : open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0 && flock(fd, LOCK_EX) != 0) {
		close(fd);
		fd = -1;
	}
	free(name);
	return fd;
}

/* What a change does to what the file holds; *changed: it is to be written. */
typedef enum err change_fn(struct pins *p, const void *arg, bool *changed, char error[static PINS_ERROR_MAX]);

static enum err change(const char *path, change_fn *f, const void *arg, char error[static PINS_ERROR_MAX])
{
	struct pins now = { .n = 0 };
	bool changed = false;
	char *folder = folder_of(path);
	if (!folder)
		return fault(error, ERR_NOMEM, "%s: out of memory", path);
	int fd = -1;
	enum err e = durable_make_folder(folder);
	if (e == ERR_OK && (fd = lock(path)) < 0)
		e = ERR_IO;
	e = e != ERR_OK ? fault(error, e, "%s: %s", folder, e == ERR_IO ? strerror(errno) : err_text(e)) : pins_read(&now, path, error);
	if (e == ERR_OK)
		e = f(&now, arg, &changed, error);
	if (e == ERR_OK && changed)
		e = write_all(&now, path, error);
	pins_free(&now);
	if (fd >= 0)
		close(fd);
	free(folder);
	return e;
}

/* ---- the changes */

static enum err add_one(struct pins *p, const struct pin *seen, bool *changed, char error[static PINS_ERROR_MAX])
{
	struct pin *known = find(p, seen->broker, seen->member, seen->space);
	if (known && memcmp(known->issuer, seen->issuer, sizeof known->issuer) != 0)
		return fault(error, ERR_REFUSED, "the space '%s' is pinned to another issuer", seen->space);
	if (known && (known->epoch > seen->epoch ||
	              (known->epoch == seen->epoch && known->list >= seen->list && known->mode == seen->mode && known->sign == seen->sign)))
		return ERR_OK;
	*changed = true;
	if (known) {
		known->list = seen->list > known->list ? seen->list : known->list;
		known->mode = seen->mode;
		known->sign = seen->sign;
		known->epoch = seen->epoch;
		return ERR_OK;
	}
	struct pin copy = *seen;
	copy.broker = strdup(seen->broker);
	copy.member = strdup(seen->member);
	copy.space = strdup(seen->space);
	if (copy.broker && copy.member && copy.space && pins_append(p, &copy))
		return ERR_OK;
	free_pin(&copy);
	return fault(error, ERR_NOMEM, "out of memory");
}

static enum err add_seen(struct pins *p, const void *arg, bool *changed, char error[static PINS_ERROR_MAX])
{
	const struct pins *seen = arg;
	enum err e = ERR_OK;
	for (size_t i = 0; i < seen->n && e == ERR_OK; i++)
		e = add_one(p, &seen->items[i], changed, error);
	return e;
}

enum err pins_add(const char *path, const struct pins *seen, char error[static PINS_ERROR_MAX])
{
	return change(path, add_seen, seen, error);
}

struct removal { const char *broker, *space; size_t *n; };

static enum err remove_named(struct pins *p, const void *arg, bool *changed, char error[static PINS_ERROR_MAX])
{
	const struct removal *r = arg;
	(void)error;
	for (size_t i = p->n; i-- > 0;) {
		if (strcmp(p->items[i].broker, r->broker) != 0 || strcmp(p->items[i].space, r->space) != 0)
			continue;
		pins_drop(p, i);
		++*r->n;
		*changed = true;
	}
	return ERR_OK;
}

enum err pins_remove(const char *path, const char *broker, const char *space, size_t *n, char error[static PINS_ERROR_MAX])
{
	const struct removal r = { broker, space, n };
	*n = 0;
	return change(path, remove_named, &r, error);
}
